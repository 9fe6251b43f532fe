"""Conditions on passing data: what is done with a row before it is stored (ingest.md 14, scheduler-alerts.md 6). Pure.

A condition is read once. Its command is a template: values of the row stand in it as words or as text in quotes, and
whatever a device sends, they never become a part of the command itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from attrs import define, field, frozen

from anylog.errors import AnyLogError
from anylog.language.conditions import Test, condition
from anylog.language.dictionary import Scope, shown
from anylog.language.tokens import Kind, Token, logical_lines, tokens_of
from anylog.mapping.body import TooWide, written
from anylog.mapping.windows import spelled

ALL = "*"  # as a table: all of the database
REMEMBERED = 10_000  # tables whose conditions are remembered together
LONGEST_VALUE = 10_000  # characters of a value in a command

_COLUMN = r"\[\s*([A-Za-z_][^\[\]\"'`,\n]*?)\s*\]"
# A bracket that follows a name is a part of it, as in `x[key] = 1`; at most a few in a row are a path into the row.
_PATH = re.compile(rf"(?<![A-Za-z0-9_\]])(?:{_COLUMN})+")
_IN_QUOTES = re.compile(rf"(?:{_COLUMN})+")
_NAMES = re.compile(_COLUMN)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
# What could end a quoted text, or begin one, is replaced by what looks like it.
_HARMLESS = dict.fromkeys((*range(32), 127), " ") | {ord("'"): "’", ord("`"): "’", ord('"'): "”"}

_Path = tuple[str, ...]


@frozen
class _Place:
    """Where a value goes: as a word of its own, inside quotes, or inside JSON."""

    path: _Path
    quoted: bool
    json: bool


@frozen
class Template:
    """A command with places for values of a row."""

    written: str
    pieces: tuple[str | _Place, ...]
    key: str = ""  # it is `key = [column]`: the value is assigned as it is
    path: _Path = ()

    @classmethod
    def read(cls, text: str) -> Template:
        """Raises AnyLogError 2 for what is no statement."""
        tokens = tokens_of(text)
        if len(logical_lines(text, typed=True)) != 1:
            raise AnyLogError(2, f"'{text[:200]}' is not one command")
        key: str = ""
        path: _Path = ()
        if len(tokens) == 3 and tokens[1].is_operator("=") and _KEY.fullmatch(tokens[0].text):
            found = _IN_QUOTES.fullmatch(tokens[2].text) if tokens[2].kind is Kind.JSON else None
            key, path = (tokens[0].text, _path(tokens[2].text)) if found else ("", ())
        pieces: list[str | _Place] = []
        at = 0
        for token in tokens:
            pieces.append(text[at : token.start])
            pieces += _pieces(token, text[token.start : token.end])
            at = token.end
        return cls(text, (*pieces, text[at:]), key, path)

    def value(self, row: Mapping[str, Any]) -> Any:
        """What is assigned to the key for a row; a whole number beyond 64 bits as its digits."""
        found = value_at(row, self.path)
        return found.digits if isinstance(found, TooWide) else found

    def text(self, row: Mapping[str, Any]) -> str:
        """The command for a row. Raises AnyLogError 2 if it were another number of commands with its values."""
        whole = "".join([each if isinstance(each, str) else _placed(each, row) for each in self.pieces])
        if len(logical_lines(whole, typed=True)) != 1:
            raise AnyLogError(2, f"the values of a row would change the command '{self.written[:200]}'")
        return whole


@define(eq=False, kw_only=True)
class Condition:
    """One declaration, and how often it was acted upon."""

    dbms: str
    table: str  # or "*"
    text: str  # from `if` on, as written
    test: Test
    command: Template | None  # None: the row is removed
    columns: tuple[str, ...]
    limit: int = 0  # 0: none
    done: int = 0

    @property
    def spent(self) -> bool:
        """Whether its limit is reached."""
        return bool(self.limit) and self.done >= self.limit

    @property
    def thresholds(self) -> bool:
        """Whether values of `set aggregation thresholds` are asked for."""
        return any(name.startswith("threshold.") for name in self.columns)

    def holds(self, scope: Scope, row: Mapping[str, Any]) -> bool:
        """Whether it is true for a row; what cannot be evaluated is false."""
        try:
            return self.test(scope, row)
        except (AnyLogError, ArithmeticError, RecursionError, TypeError, ValueError):
            return False

    def view(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row with the attributes that the condition names in another spelling under that one, too."""
        missing = [name for name in self.columns if name not in row]
        if not missing:
            return row
        values: dict[str, Any] = {}
        for name, value in row.items():
            values.setdefault(spelled(name), value)
        found = {name: values[spelled(name)] for name in missing if spelled(name) in values}
        return {**row, **found} if found else row


def read_condition(dbms: str, table: str, limit: int, text: str) -> Condition:
    """`if <condition> then <command>`. Raises AnyLogError 2 or 181 for what cannot be read."""
    tokens = tokens_of(text)
    then = next((at for at, token in enumerate(tokens) if token.is_word("then")), 0)
    if not tokens or not tokens[0].is_word("if") or not then or then == len(tokens) - 1:
        raise AnyLogError(2, f"'if [condition] then [command]' is needed, not '{text[:200]}'")
    test = condition(tokens[1:then], strict=True)
    following = tokens[then + 1 :]
    command: Template | None = None
    if following[0].is_word("return"):
        if [token.text.lower() for token in following] != ["return", "ignore", "entry"]:
            raise AnyLogError(2, f"only 'return ignore entry' is known, not '{text[following[0].start :][:80]}'")
    else:
        command = Template.read(text[following[0].start :])
    used = text if command is not None else text[: tokens[then].start]
    columns = tuple(dict.fromkeys(_NAMES.findall(used)))
    return Condition(dbms=dbms, table=table, limit=limit, text=text, test=test, command=command, columns=columns)


Fire = Callable[[Condition, Mapping[str, Any]], object]


@define
class Conditions:
    """The conditions of a node, in the order in which they were declared."""

    _all: list[Condition] = field(factory=list)
    _found: dict[tuple[str, str], tuple[Condition, ...]] = field(factory=dict)

    def add(self, added: Condition) -> None:
        """Raises AnyLogError 40 for one that is there already."""
        words = added.text.split()
        for each in self._all:
            if (each.dbms, each.table, each.text.split()) == (added.dbms, added.table, words):
                raise AnyLogError(40, f"Duplicate Condition: {added.dbms}.{added.table}: {added.text[:200]}")
        self._all.append(added)
        self._found.clear()

    def of(self, dbms: str, table: str) -> tuple[Condition, ...]:
        """Those that are evaluated for rows of a table."""
        key = dbms, table
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            found = tuple([each for each in self._all if each.dbms == dbms and each.table in (table, ALL)])
            self._found[key] = found
        return found

    def listed(self, dbms: str = "", table: str = "") -> list[tuple[int, Condition]]:
        """Those of a database, or of one table, with their place in their table from 1; sorted by table."""
        places: dict[tuple[str, str], int] = {}
        rows = []
        for each in sorted(self._all, key=lambda each: (each.dbms, each.table)):
            key = each.dbms, each.table
            places[key] = places.get(key, 0) + 1
            if dbms in ("", each.dbms) and table in ("", each.table):
                rows.append((places[key], each))
        return rows

    def reset(self, dbms: str = "", table: str = "", ids: Sequence[int] = ()) -> int:
        """Remove them, all that match or those of some places; gives how many. Raises AnyLogError 40 for a place that
        is not there, and then removes none."""
        rows = self.listed(dbms, table)
        unknown = sorted(set(ids) - {place for place, _ in rows})
        if unknown:
            raise AnyLogError(40, f"{dbms}.{table} has no streaming condition {unknown[0]}")
        gone = {id(each) for place, each in rows if not ids or place in ids}
        self._all = [each for each in self._all if id(each) not in gone]
        self._found.clear()
        return len(gone)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Condition]:
        return iter(self._all)


def screen(
    conditions: Sequence[Condition],
    rows: Sequence[Mapping[str, Any]],
    scope: Scope,
    fire: Fire,
    thresholds: Callable[[], Mapping[str, Any]] = dict,
) -> list[Mapping[str, Any]]:
    """The rows that are left. `fire(condition, row)` is called for each row for which a command is to be run; all
    conditions are tried, in order, until one removes the row."""
    more = thresholds() if any(each.thresholds for each in conditions) else {}
    left: list[Mapping[str, Any]] = []
    for row in rows:
        for each in conditions:
            if each.spent:
                continue
            view = each.view({**row, **more} if more and each.thresholds else row)
            if not each.holds(scope, view):
                continue
            each.done += 1
            if each.command is None:
                break
            fire(each, view)
        else:
            left.append(row)
    return left


def value_at(row: Mapping[str, Any], path: _Path) -> Any:
    """What `[a][b]` stands for; None if it is not there."""
    found: Any = row
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _path(text: str) -> _Path:
    return tuple(_NAMES.findall(text))


def _pieces(token: Token, text: str) -> list[str | _Place]:
    """A token with its places; `text` is how it is written, quotes included."""
    if token.kind in (Kind.DOUBLE, Kind.SINGLE, Kind.ESCAPED):
        return _split(text, _IN_QUOTES, quoted=True, json=False)
    if token.kind in (Kind.GROUP, Kind.JSON):
        # Every second part stands in double quotes.
        pieces: list[str | _Place] = []
        json = text.startswith("{")
        for place, part in enumerate(text.split('"')):
            if place:
                pieces.append('"')
            inside = place % 2 == 1
            pieces += _split(part, _IN_QUOTES if inside else _PATH, quoted=inside, json=json)
        return pieces
    return _split(text, _PATH, quoted=False, json=False)


def _split(text: str, pattern: re.Pattern[str], *, quoted: bool, json: bool) -> list[str | _Place]:
    pieces: list[str | _Place] = []
    at = 0
    for found in pattern.finditer(text):
        pieces += [text[at : found.start()], _Place(_path(found[0]), quoted, json)]
        at = found.end()
    return [*pieces, text[at:]]


def _placed(place: _Place, row: Mapping[str, Any]) -> str:
    value = value_at(row, place.path)
    if isinstance(value, bool) or (isinstance(value, int | float) and isfinite(value)):
        return shown(value)
    if value is None and place.json and not place.quoted:
        return "null"
    text = written(value).decode() if isinstance(value, dict | list) else shown(value)
    text = text[:LONGEST_VALUE].translate(_HARMLESS)
    if place.json:
        text = text.replace("\\", "\\\\")
    return text if place.quoted else f'"{text}"'
