"""Columns and their ledger types: names, what two types are together, and the text of a `create table`.

Sources: storage.md 2.2 to 2.4 and 2.7, hard-parts.md 4.4. Ledger types are BOOLEAN, INT, BIGINT, DECIMAL, FLOAT,
VARCHAR, CHAR(n), UUID, CIDR, TIMESTAMP, DATE and TIME.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from anylog.errors import AnyLogError

AUTOMATIC: Mapping[str, str] = {
    "row_id": "SERIAL PRIMARY KEY",
    "insert_timestamp": "TIMESTAMP",
    "tsd_name": "CHAR(3)",
    "tsd_id": "BIGINT",
}
DATED = ("TIMESTAMP", "DATE", "TIME")
MIXED_CHAR = 32  # CHAR together with another type

NUMBERS = {
    frozenset(("DECIMAL", "INT")): "DECIMAL",
    frozenset(("DECIMAL", "FLOAT")): "FLOAT",
    frozenset(("FLOAT", "INT")): "FLOAT",
    frozenset(("BIGINT", "INT")): "BIGINT",
    frozenset(("BIGINT", "DECIMAL")): "DECIMAL",
    frozenset(("BIGINT", "FLOAT")): "FLOAT",
}

_OTHER_NAMES = {
    "BOOL": "BOOLEAN",
    "INTEGER": "INT",
    "SMALLINT": "INT",
    "INT4": "INT",
    "INT8": "BIGINT",
    "NUMERIC": "DECIMAL",
    "REAL": "FLOAT",
    "DOUBLE": "FLOAT",
    "DOUBLE PRECISION": "FLOAT",
    "TEXT": "VARCHAR",
    "STRING": "VARCHAR",
    "CHARACTER VARYING": "VARCHAR",
    "CHARACTER": "CHAR",
    "INET": "CIDR",
    "TIMESTAMP WITHOUT TIME ZONE": "TIMESTAMP",
    "TIME WITHOUT TIME ZONE": "TIME",
}
_PLAIN = frozenset(("BOOLEAN", "INT", "BIGINT", "DECIMAL", "FLOAT", "VARCHAR", "UUID", "CIDR", *DATED))
_TYPE = re.compile(
    r"(?P<name>[A-Z0-9]+(?: (?:PRECISION|VARYING|WITHOUT TIME ZONE))?) ?(?:\( ?(?P<size>[0-9]+)(?: ?, ?[0-9]+)? ?\))?"
)
_CONSTRAINT = re.compile(r" (?:NOT NULL|NULL|DEFAULT|PRIMARY|UNIQUE|CHECK|REFERENCES)\b.*")


def merge(a: str, b: str) -> str:
    """The type of a column that holds values of both types (storage.md 2.4); in any order the same."""
    if a == b:
        return a
    number = NUMBERS.get(frozenset((a, b)))
    if number is not None:
        return number
    sizes = [size for size in (char_size(a), char_size(b)) if size is not None]
    if len(sizes) == 2:
        return f"CHAR({max(sizes)})"
    if len(sizes) == 1 and "VARCHAR" not in (a, b):
        return f"CHAR({max(*sizes, MIXED_CHAR)})"
    return "VARCHAR"


def widened(have: str, want: str) -> str | None:
    """The type a column of type `have` must be widened to, to hold values of type `want` as well.

    `have` itself if they fit as they are, None if no widening helps: those values are misfits (hard-parts.md 4.4).
    """
    if have == want:
        return have
    if frozenset((have, want)) in NUMBERS:
        return merge(have, want)
    if is_text(have) and is_text(want):
        return merge(have, want)
    return None


def char_size(kind: str) -> int | None:
    """The n of CHAR(n), None for other types."""
    return int(kind[5:-1]) if kind.startswith("CHAR(") else None


def parse_type(text: str) -> str:
    """A column type of a statement or a mapping policy as a ledger type: `numeric(10,2)` is DECIMAL.

    Constraints after the type are left out. Raises AnyLogError 40 for a type that is none of ours.
    """
    spaced = " ".join(text.upper().split())
    if spaced.startswith("SERIAL"):
        return "SERIAL PRIMARY KEY" if spaced == "SERIAL PRIMARY KEY" else "INT"
    found = _TYPE.fullmatch(_CONSTRAINT.sub("", spaced).strip())
    if found is not None:
        name = _OTHER_NAMES.get(found["name"], found["name"])
        if name in _PLAIN:
            return name
        if name == "CHAR" and int(found["size"] or 1) > 0:
            return f"CHAR({int(found['size'] or 1)})"
    raise AnyLogError(40, f"{text!r} is not a column type")


def is_text(kind: str) -> bool:
    """Whether a column of it takes any text, up to a length."""
    return kind == "VARCHAR" or kind.startswith("CHAR(")


_COLUMN = re.compile(r"""\s*(?:"(?P<quoted>[^"]+)"|(?P<name>[A-Za-z_][\w$]*))\s+(?P<type>.+)""", re.DOTALL)
_NO_COLUMN = ("primary", "unique", "constraint", "check", "foreign", "key", "index", "exclude")


def columns_of(create: str) -> dict[str, str]:
    """Column -> ledger type of a `create table` text, automatic columns included. Raises AnyLogError 40 for no such.

    It may be written by people: `create table if not exists t (a int, b varchar(20) not null, primary key (a))`. A
    type that is none of ours is VARCHAR, which takes any value.
    """
    found = re.match(r"\s*create\s+table\s+[^(]*\(", create, re.IGNORECASE)
    if found is None:
        raise AnyLogError(40, f"not a 'create table' statement: '{create[:60]}'")
    columns: dict[str, str] = {}
    for part in _parts(create, found.end()):
        column = _COLUMN.fullmatch(part)
        if column is None or (column["name"] or "").lower() in _NO_COLUMN:
            continue
        kind = " ".join(column["type"].split())
        name = column["quoted"] or column["name"].lower()
        if name in AUTOMATIC:
            columns[name] = AUTOMATIC[name]
            continue
        try:
            columns[name] = parse_type(kind)
        except AnyLogError:
            columns[name] = "VARCHAR"
    return columns


def _parts(text: str, at: int) -> list[str]:
    """What stands between commas, up to the parenthesis that closes."""
    parts, depth, begin = [], 0, at
    for place in range(at, len(text)):
        char = text[place]
        if char == "(":
            depth += 1
        elif char == ")":
            if not depth:
                parts.append(text[begin:place])
                break
            depth -= 1
        elif char == "," and not depth:
            parts.append(text[begin:place])
            begin = place + 1
    return parts
