"""What another member tells, read strictly: nothing that came is used before it is what it should be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import orjson
from attrs import frozen

from anylog.databases.tsd_ranges import Line, Totals
from anylog.disk.archive import LARGEST
from anylog.disk.names import LARGEST_ID
from anylog.errors import AnyLogError
from anylog.processes.exchange import ANSWER, numbers

STATES = ("loaded", "dropped", "double", "pending", "missing", "failed")  # of a `Line`
LONGEST_TIME = 40  # characters
MEMBERS = 256


@frozen(kw_only=True)
class State:
    """What a member told of itself."""

    complete: bool
    tables: Mapping[int, Totals]
    safe: Mapping[int, int]
    parts: Mapping[int, tuple[int, int, int]]
    known: int  # the last id it knows of this node's own files


@frozen(kw_only=True)
class Files:
    """What a member answers to a question for files, before their bytes."""

    files: Sequence[tuple[int, str, int]]  # id, name, bytes
    without: Collection[int]  # of those that were asked for
    later: Collection[int]
    large: Collection[int] = ()  # of those without: it has them, and they are larger than what can be loaded here

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(size for _, _, size in self.files)


def state_told(head: Mapping[str, Any]) -> State:
    """The answer to a question of the kind `members`. Raises AnyLogError 21 if it makes no sense."""
    try:
        tables = {whose: _totals(each) for whose, each in _by_member(head["tables"]).items()}
        parts = {whose: _part(each) for whose, each in _by_member(head["parts"]).items()}
        known = _whole(head["yours"])
    except (KeyError, ValueError):
        raise AnyLogError(21, "its state makes no sense") from None
    return State(
        complete=head.get("complete") is True, tables=tables, safe=numbers(head, "safe"), parts=parts, known=known
    )  # fmt: skip


def lines_told(data: bytes, after: int) -> list[Line]:
    """A page of entries: their ids grow, and begin behind `after`. Raises AnyLogError 21 if it makes no sense."""
    try:
        told = orjson.loads(data)
        if not isinstance(told, list):
            raise ValueError
        found = [_line(each) for each in told]
    except (orjson.JSONDecodeError, TypeError, ValueError):
        raise AnyLogError(21, "its entries make no sense") from None
    ids = [after, *(line.id for line in found)]
    if any(second <= first for first, second in pairwise(ids)):
        raise AnyLogError(21, "its entries make no sense")
    return found


def files_told(head: Mapping[str, Any], wanted: Collection[int]) -> Files:
    """The answer to a question of the kind `fetch` for the ids `wanted`. Raises AnyLogError 21 if it makes no sense."""
    try:
        files = [_file(each) for each in _list(head["files"])]
        missing = [_list(each)[0] for each in _list(head["missing"])]  # each is an id and a name
        told = Files(
            files=files,
            without={_whole(id) for id in missing} & set(wanted),
            later={_whole(id) for id in _list(head["later"])} & set(wanted),
            large={_whole(_list(each)[0]) for each in _list(head.get("large", []))} & set(wanted),
        )
        if told.size > LARGEST or (len(files) > 1 and told.size > 2 * ANSWER):
            raise ValueError(f"{told.size:,} bytes in {len(files)} files")
    except (IndexError, KeyError, ValueError) as odd:
        raise AnyLogError(21, f"files that make no sense: {odd}"[:300]) from None
    return told


def known_told(head: Mapping[str, Any], wanted: Collection[int]) -> tuple[dict[int, tuple[str, int, str]], bool]:
    """The answer to a question of the kind `known`: id -> hash, rows, state; and whether files wait to be registered.

    Raises AnyLogError 21 if it makes no sense."""
    try:
        found = [_list(each) for each in _list(head["known"])]
        told = {_whole(id): (_text(hash), _whole(rows), _text(state)) for id, hash, rows, state in found}
    except (KeyError, ValueError):
        raise AnyLogError(21, "what it knows of ids makes no sense") from None
    if not told.keys() <= set(wanted) or any(state not in STATES for _, _, state in told.values()):
        raise AnyLogError(21, "what it knows of ids makes no sense")
    return told, head.get("waits") is True


def _whole(value: Any, least: int = 0, most: int = LARGEST_ID) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{str(value)[:40]} is no number from {least} to {most}")
    return value


def _text(value: Any, longest: int = LONGEST_TIME) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError(f"{str(value)[:40]!a} is no text of {longest} characters")
    return value


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{str(value)[:40]!a} is no list")
    return value


def _by_member(value: Any) -> dict[int, Any]:
    if not isinstance(value, Mapping) or len(value) > MEMBERS:
        raise ValueError("not by member")
    return {_whole(int(_text(member, 3)), 0, MEMBERS - 1): each for member, each in value.items()}


def _totals(value: Any) -> Totals:
    files, sum, first, last, last_time, absent, pending = _list(value)[:7]
    _text(last_time)
    for number in (files, sum, first, last, absent, pending):
        _whole(number)
    return Totals(files, sum, first, last, last_time, absent, pending)


def _part(value: Any) -> tuple[int, int, int]:
    files, sum, absent = _list(value)
    return _whole(files), _whole(sum), _whole(absent)


def _line(value: Any) -> Line:
    line = Line(*_list(value)[:9])
    texts = (line.hash, line.dbms, line.table, line.source, line.instructions)
    _whole(line.id, 1)
    _whole(line.rows)
    _text(line.time)
    if line.state not in STATES or not all(isinstance(each, str) for each in texts):
        raise ValueError
    return line


def _file(value: Any) -> tuple[int, str, int]:
    id, name, size = _list(value)
    return _whole(id), _text(name, 1000), _whole(size, 1)
