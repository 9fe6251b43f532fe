"""Digests of rows: equal on all members that hold the same, whatever their engine and the order of arrival.

The digest of a row covers its user columns that are not NULL, each as its ledger type says; that of a file is the sum
over its rows modulo 2^64, so it stands for a multiset.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

import orjson
from attrs import define, frozen

from anylog.columns import AUTOMATIC, DATED
from anylog.databases import audits
from anylog.databases.library import Connection
from anylog.databases.tables import columns_of
from anylog.interfaces import ILane
from anylog.mapping.body import read_body
from anylog.mapping.rows import convert
from anylog.mapping.times import timestamp

T = TypeVar("T")

_WHOLE, _REAL = ("INT", "BIGINT", "SERIAL"), ("FLOAT", "DECIMAL")
_MODULUS = 1 << 64
_EXACT = 1 << 53  # whole numbers up to here are floats without loss
# What NULL and the default of a time are alike: a column that came after a file was loaded is NULL in its rows here,
# and has the default where the file was loaded later.
_SPELLED = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


@frozen
class Digest:
    """Of the rows of one file."""

    rows: int = 0
    value: int = 0  # without times that are the default of the file
    exact: int = 0  # with them

    def plus(self, other: Digest) -> Digest:
        """Of both."""
        return Digest(
            self.rows + other.rows, (self.value + other.value) % _MODULUS, (self.exact + other.exact) % _MODULUS
        )

    def same(self, other: Digest) -> bool:
        """Whether the rows are the same."""
        return self.rows == other.rows and (self.value == other.value or self.exact == other.exact)


NOTHING = Digest()
UNKNOWN = Digest(-1)  # of what cannot be a file of its table as that is


def canonical(kind: str, value: Any) -> Any:
    """A value as its ledger type says; what no conversion gives is marked, so that it equals nothing that fits.

    Whole numbers are alike in columns of whole and of other numbers: of two members one may have widened its column
    already, and the other not yet.
    """
    sort = type(value)
    if kind in _REAL:
        if sort is float or sort is int:
            number = float(value) + 0.0  # an engine may lose the sign of zero
            return int(number) if -_EXACT <= number <= _EXACT and number.is_integer() else number
    elif kind in _WHOLE:
        if sort is int:
            return value
        if sort is float and value.is_integer():
            return int(value)
    elif kind == "BOOLEAN":
        if sort is bool or (sort is int and value in (0, 1)):
            return bool(value)
    elif sort is str:
        return value
    elif sort is datetime:
        return value.isoformat(" ", "microseconds")
    elif sort is date:
        return value.isoformat()
    return [sort.__name__, str(value)]


def defaults(time: str) -> dict[str, str]:
    """What stands in columns of times that a row of a file lacks; `time` is that of its registration."""
    moment = timestamp(time[:19])
    return {} if moment is None else {"TIMESTAMP": moment, "DATE": moment[:10], "TIME": moment[11:]}


def of_lines(names: Sequence[str], kinds: Sequence[str], lines: Collection[Sequence[Any]], time: str) -> Digest:
    """Of rows as lists of values in the order of `names`."""
    default = defaults(time)
    dated = [place for place, kind in enumerate(kinds) if kind in DATED]
    value = exact = 0
    for line in lines:
        row = {
            name: canonical(kind, each) for name, kind, each in zip(names, kinds, line, strict=True) if each is not None
        }
        full = part = _of_row(row)
        left_out = [names[place] for place in dated if line[place] is not None and line[place] == default[kinds[place]]]
        if left_out:
            part = _of_row({name: each for name, each in row.items() if name not in left_out})
        value, exact = value + part, exact + full
    return Digest(len(lines), value % _MODULUS, exact % _MODULUS)


def _of_row(row: Mapping[str, Any]) -> int:
    try:
        text = orjson.dumps(row, option=_SPELLED)
    except (TypeError, orjson.JSONEncodeError):  # half a surrogate
        text = json.dumps(row, sort_keys=True).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def data_columns(schema: Mapping[str, str]) -> dict[str, str]:
    """Those of the user."""
    return {name: kind for name, kind in schema.items() if name not in AUTOMATIC}


def of_content(data: bytes, columns: Mapping[str, str], time: str, parked: Collection[int] = ()) -> Digest:
    """The truth: of the rows of a file as the loader converts them; `parked` are the places of those that did not fit.

    UNKNOWN if its table would have to be grown for it. Raises AnyLogError 6 or 501.
    """
    rows: list[dict[str, Any]] = read_body(data)
    if parked:
        rows = [row for place, row in enumerate(rows) if place not in parked]
    if not rows:
        return NOTHING
    converted = convert(rows, columns, time[:19])
    if converted.wanted:
        return UNKNOWN
    kinds = [columns[name] for name in converted.names]
    return of_lines(converted.names, kinds, orjson.loads(converted.values), time)


class Read(Protocol):
    """A database whose rows are read."""

    def read(self, work: Callable[[Connection], T]) -> Awaitable[T]:
        """`work` in a reading lane."""


@define
class _Page:
    """What one page holds."""

    digests: dict[int, Digest]
    last: tuple[int, int] | None  # tsd id and row id; None: there is no more


async def of_files(database: Read, cpu: ILane, table: str, member: int, times: Mapping[int, str]) -> dict[int, Digest]:
    """Of the files of a member whose ids and times are given, as their rows are in a table now."""
    if not times:
        return {}
    # As the engine has them: a file that made its table, or let it grow, is seen before that is known in memory.
    schema = await database.read(lambda connection: columns_of(connection, table))
    if schema is None or not AUTOMATIC.keys() <= schema.keys():
        return {}
    columns = data_columns(schema)
    found: dict[int, Digest] = {}
    after, last = (min(times), -1), max(times)
    while True:
        place = after
        data = await database.read(
            lambda connection, place=place: audits.rows_page(  # type: ignore[misc]
                connection, table, list(columns), member, place, last
            )
        )
        page = await cpu.run(_of_page, data, columns, times)
        for id, digest in page.digests.items():
            found[id] = found.get(id, NOTHING).plus(digest)
        if page.last is None:
            return found
        after = page.last


def _of_page(data: bytes, columns: Mapping[str, str], times: Mapping[int, str]) -> _Page:
    try:
        rows = orjson.loads(data)
    except orjson.JSONDecodeError:
        rows = json.loads(data.decode("utf-8", "surrogateescape"), strict=False)
    files: dict[int, list[list[Any]]] = {}
    for id, _, *lists in rows:
        if id in times:
            files.setdefault(id, []).append([each for part in lists for each in part])
    names, kinds = list(columns), list(columns.values())
    digests = {id: of_lines(names, kinds, lines, times[id]) for id, lines in files.items()}
    return _Page(digests, (rows[-1][0], rows[-1][1]) if rows else None)
