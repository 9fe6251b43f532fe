"""Column types of the ledger: how they are written, what two are together, and the statement of a table.

Sources: storage.md 2.2, 2.4 and 2.7, hard-parts.md 4.4. They are BOOLEAN, INT, BIGINT, DECIMAL, FLOAT, VARCHAR,
CHAR(n), UUID, CIDR, TIMESTAMP, DATE and TIME; the last three are NOT NULL DEFAULT NOW() in a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from anylog.columns import AUTOMATIC, DATED, indexes
from anylog.errors import AnyLogError
from anylog.names import column as column_name

MIXED_CHAR = 32  # CHAR together with another type

_NUMBERS = {
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
    "DATETIME": "TIMESTAMP",
    "TIMESTAMPTZ": "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}
_PLAIN = frozenset(("BOOLEAN", "INT", "BIGINT", "DECIMAL", "FLOAT", "VARCHAR", "UUID", "CIDR", *DATED))
_TYPE = re.compile(
    r"(?P<name>[A-Z0-9]+(?: (?:PRECISION|VARYING|WITH(?:OUT)? TIME ZONE))?)"
    r" ?(?:\( ?(?P<size>[0-9]+)(?: ?, ?[0-9]+)? ?\))?"
)
_CONSTRAINT = re.compile(r" (?:NOT NULL|NULL|DEFAULT|PRIMARY|UNIQUE|CHECK|REFERENCES)\b.*")


def merge(a: str, b: str) -> str:
    """The type of a column that holds values of both types (storage.md 2.4); in any order the same."""
    if a == b:
        return a
    number = _NUMBERS.get(frozenset((a, b)))
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
    if frozenset((have, want)) in _NUMBERS:
        return merge(have, want)
    if _is_text(have) and _is_text(want):
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


def create_statement(table: str, columns: Mapping[str, str]) -> str:
    """The ledger's text for a table with these data columns: automatic columns, columns in order, then the indexes.

    In the PostgreSQL flavour (storage.md 2.2); each database translates it for its engine. `table` and the columns are
    normalised names.
    """
    defined = [f'"{column}" {_definition(kind)}' for column, kind in AUTOMATIC.items()]
    defined += [f'"{column}" {_definition(kind)}' for column, kind in columns.items()]
    statements = [f'CREATE TABLE IF NOT EXISTS "{table}" ({", ".join(defined)})']
    for name, indexed in indexes(table, columns):
        listed = ", ".join(f'"{column}"' for column in indexed)
        statements.append(f'CREATE INDEX IF NOT EXISTS "{name}" ON "{table}" ({listed})')
    return "; ".join(statements) + ";"


_OPENING = re.compile(
    r"\s*create\s+(?:(?:temporary|temp|unlogged)\s+)?table\s+(?:if\s+not\s+exists\s+)?[^(]*\(", re.IGNORECASE
)
_OF_THE_TABLE = re.compile(r"(?:constraint|primary\s+key|unique|foreign\s+key|check|exclude)\b", re.IGNORECASE)
_COLUMN = re.compile(r"(?:\"((?:[^\"]|\"\")+)\"|`([^`]+)`|\[([^\]]+)\]|([^\s\"`\[]+))\s+(\S.*)", re.DOTALL)
_NAME_PIECE = re.compile(r"\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|`[^`]*`|[(),]")


def columns_of(create: str) -> dict[str, str]:
    """Column -> ledger type of a `create table` text, ours or as people write it; what follows the table is ignored.

    Names are spelled our way. Raises AnyLogError 40 naming what cannot be read.
    """
    opening = _OPENING.match(create)
    if opening is None:
        raise AnyLogError(40, f"not a 'create table' statement: {create[:80]!r}")
    columns: dict[str, str] = {}
    for text in _parts(create, opening.end()):
        found = _COLUMN.fullmatch(text)
        if _OF_THE_TABLE.match(text):
            continue
        if found is None:
            raise AnyLogError(40, f"a column without a type: {text[:80]!r}")
        name = column_name((found[1] or "").replace('""', '"') or found[2] or found[3] or found[4])
        columns[name] = AUTOMATIC.get(name) or parse_type(found[5])
    if not columns:
        raise AnyLogError(40, f"a table without columns: {create[:80]!r}")
    return columns


def _parts(create: str, start: int) -> Iterator[str]:
    """What stands between the commas up to the closing parenthesis, commas in quotes and parentheses aside."""
    depth, begin = 0, start
    for piece in _NAME_PIECE.finditer(create, start):
        mark = piece[0]
        if mark == "(":
            depth += 1
        elif mark == ")" and depth:
            depth -= 1
        elif mark in (",", ")") and not depth:
            if text := create[begin : piece.start()].strip():
                yield text
            begin = piece.end()
            if mark == ")":
                return
    raise AnyLogError(40, f"a parenthesis is not closed: {create[:80]!r}")


def _definition(kind: str) -> str:
    return f"{kind} NOT NULL DEFAULT NOW()" if kind in DATED else kind


def _is_text(kind: str) -> bool:
    return kind == "VARCHAR" or kind.startswith("CHAR(")
