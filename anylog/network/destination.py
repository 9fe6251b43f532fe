"""Who is meant by `run client (destination)`: the grammar of network.md 5.1. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import define, field

from anylog.errors import AnyLogError
from anylog.language.command import Seconds
from anylog.language.dictionary import Scope, shown
from anylog.language.tokens import Kind, tokens_of

NODES = ("master", "operator", "query", "publisher", "generic")
_FLAG = re.compile(r"(subset|timeout|dbms|table)\s*=\s*(.+)", re.IGNORECASE | re.DOTALL)
_AND = re.compile(r"\s+and\s+(?=(?:subset|timeout|dbms|table)\s*=)", re.IGNORECASE)
_QUERY = re.compile(r"blockchain\s+get\s+(.+)", re.IGNORECASE | re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]()=,]+):([0-9]{1,5})")


@define
class Destination:
    """What stands before the command."""

    addresses: list[str] = field(factory=list)  # ip:port
    queries: list[str] = field(factory=list)  # what follows `blockchain get`
    dbms: str = ""
    table: str = ""
    ledger: bool = False  # `()`: whoever holds the table of the sql
    subset: bool = False
    timeout: float | None = None  # seconds


def read_destination(text: str, scope: Scope) -> tuple[Destination, str]:
    """The destination at the begin of a text, and what follows. Raises AnyLogError 2, 20, 155 or 182."""
    text = text.strip()
    if text.startswith("("):
        group = tokens_of(text)[0]
        if group.kind is not Kind.GROUP:
            raise AnyLogError(2, "run client: the parenthesis of the destination is not closed")
        return read_group(group.text[1:-1], scope), text[group.end :].strip()
    words = text.split(None, 2)
    if not words:
        raise AnyLogError(155, "run client: a destination is missing")
    first, rest = _resolved(words[0], scope), text[len(words[0]) :].strip()
    if first is None:
        raise AnyLogError(155, f"run client: '{words[0]}' is not assigned")
    if ":" not in first and len(words) > 1:
        port = _resolved(words[1], scope) or ""
        if _PORT.fullmatch(port):
            rest = words[2] if len(words) > 2 else ""
            return Destination([checked(f"{first}:{port}")]), rest
    found = Destination()
    _add(found, first)
    return found, rest


def read_group(text: str, scope: Scope) -> Destination:
    """What stands between the parentheses."""
    found = Destination()
    parts = _parts(text)
    if not parts:
        found.ledger = True
        return found
    for part in parts:
        if _FLAG.fullmatch(part):
            for flag in map(_FLAG.fullmatch, _AND.split(part)):
                if flag:
                    _flag(found, flag[1].lower(), flag[2].strip(), scope)
            continue
        if part.startswith("!") and len(part.split()) == 1:
            part = _meant(part, scope)
        query = _QUERY.fullmatch(part)
        if query:
            found.queries.append(query[1].strip())
        elif part.split(None, 1)[0].lower() in NODES or part.startswith("("):
            found.queries.append(part)
        else:
            _named(found, part, scope)
    if not (found.addresses or found.queries or found.dbms):
        found.ledger = not found.table and all(map(_FLAG.fullmatch, parts))
        if not found.ledger and not found.table:
            raise AnyLogError(155, f"run client: '({text[:100]})' names no node")
    if found.table and not found.dbms:
        raise AnyLogError(155, "run client: dbms is missing beside table")
    return found


def _flag(found: Destination, name: str, text: str, scope: Scope) -> None:
    value = _resolved(text.strip().strip("\"'"), scope)
    if value is None:
        raise AnyLogError(155, f"run client: '{text}' is not assigned")
    if name == "subset":
        if value.lower() not in ("true", "false"):
            raise AnyLogError(2, f"run client: '{value}' is not a value for 'subset': true or false")
        found.subset = value.lower() == "true"
    elif name == "timeout":
        try:
            found.timeout = float(Seconds().read(value)) or None
        except ValueError as wanted:
            raise AnyLogError(182, f"run client: timeout: '{value}' is not {wanted}") from None
    elif name == "dbms":
        found.dbms = value.lower()
    else:
        found.table = value.lower()


def _meant(reference: str, scope: Scope) -> str:
    """A key may hold a whole query; any other reference is left as it is."""
    value = _resolved(reference, scope) or ""
    word = value.split(None, 1)[0].lower() if value.strip() else ""
    return value.strip() if word in (*NODES, "blockchain") else reference


def _named(found: Destination, part: str, scope: Scope) -> None:
    """`ip:port`, `ip port`, `!ref` or several of them with blanks between."""
    words = [word.strip("\"'") for word in part.split()]
    place = 0
    while place < len(words):
        value = _resolved(words[place], scope)
        following = _resolved(words[place + 1], scope) if place + 1 < len(words) else None
        place += 1
        if value is None:
            continue  # what is not assigned is skipped; nothing left is an error
        if ":" not in value and following is not None and _PORT.fullmatch(following):
            value, place = f"{value}:{following}", place + 1
        _add(found, value)


def _add(found: Destination, value: str) -> None:
    for each in re.split(r"[\s,]+", value.strip()):
        if each:
            address = checked(each)
            if address not in found.addresses:
                found.addresses.append(address)


def checked(address: str) -> str:
    """An ip:port as it is. Raises AnyLogError 20 for what is none."""
    fits = _ADDRESS.fullmatch(address)
    if fits is None or not 0 < int(fits[2]) < 65536:
        raise AnyLogError(20, f"'{address[:100]}' is not ip:port")
    return address


def _resolved(word: str, scope: Scope) -> str | None:
    value = scope.resolve(word)
    return None if value is None else ",".join(map(shown, value)) if isinstance(value, list) else shown(value)


def _parts(text: str) -> Sequence[str]:
    """What stands between commas outside brackets and quotes."""
    parts, depth, quote, begin = [], 0, "", 0
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and not depth:
            parts.append(text[begin:place])
            begin = place + 1
    parts.append(text[begin:])
    # A comma after `separator =` belongs to the query before it.
    joined: list[str] = []
    for part in parts:
        if joined and re.search(r"separator\s*=\s*$", joined[-1]):
            joined[-1] += "," + part
        else:
            joined.append(part)
    return [part.strip() for part in joined if part.strip()]
