"""What the members of a cluster have each for itself (hard-parts.md 1).

A file reaches the other members when it is cut, up to a minute after its rows were acknowledged. So one member answers
for the bulk, and each other active member for those of its own files that the marks of the first do not hold in the
snapshot of its answer. What is known of the marks is remembered: a file that was held once is held for good, and only
what came since is looked at. Where a mark is removed all of that member's positions are void (`marks.remove`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from anylog.errors import AnyLogError
from anylog.interfaces import Reply

REMEMBERED = 10_000  # pairs of members and tables
CHECKED = 1000  # files of one question

Position = tuple[int, str]  # row and buffer of a mark
NOWHERE: Position = (0, "")


@frozen
class Known:
    """One member's own files of a table, seen from another: all of them up to `at` are held there, but `open`.

    True at `seen` of the other's marks, and later, as long as both databases are what they were.
    """

    at: Position = NOWHERE
    seen: Position = NOWHERE
    open: Mapping[int, str | None] = field(factory=dict)  # id -> hash, None for a file that may grow


@define(eq=False)
class Tails:
    """What a node remembers: chosen member, other member, database, table -> what is known."""

    _known: OrderedDict[tuple[str, str, str, str], Known] = field(factory=OrderedDict)

    def get(self, chosen: str, other: str, dbms: str, table: str) -> Known:
        """What was found last."""
        return self._known.get((chosen, other, dbms, table), Known())

    def keep(self, chosen: str, other: str, dbms: str, table: str, known: Known) -> None:
        """Remember what was found."""
        key = (chosen, other, dbms, table)
        self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


@frozen
class Peek:
    """What a member says of its own files behind a position."""

    files: Mapping[int, str | None]
    at: Position
    more: bool
    same: bool  # the position was one of its database

    @classmethod
    def read(cls, told: Any) -> Peek:
        """Raises AnyLogError 21."""
        match told:
            case {"files": list() as files, "at": [int() as row, str() as buffer], "more": more, "same": same}:
                return cls({int(id): hash for id, hash in files}, (row, buffer), bool(more), bool(same))
        raise AnyLogError(21, "not an answer to a peek")


@frozen
class Marked:
    """What the chosen member says of its marks beside its rows."""

    at: Position
    same: bool
    open: frozenset[tuple[int, int]]  # member, id

    @classmethod
    def read(cls, reply: Reply) -> Marked:
        """Raises AnyLogError 21."""
        match reply.head.get("marks"):
            case {"at": [int() as row, str() as buffer], "same": same, "open": list() as files}:
                return cls((row, buffer), bool(same), pairs(files))
        raise AnyLogError(21, "an answer to a select says nothing of its marks")


def pairs(files: Sequence[Any]) -> frozenset[tuple[int, int]]:
    """Member and id of each. Raises AnyLogError 21."""
    try:
        return frozenset((int(member), int(id)) for member, id in files)
    except (TypeError, ValueError):
        raise AnyLogError(21, "not a list of files") from None


def listed(member: int, files: Mapping[int, str | None]) -> list[list[Any]]:
    """Files as a question has them."""
    return [[member, id, hash] for id, hash in files.items()]


def shared_out(known: Mapping[str, Known]) -> dict[str, list[int]]:
    """Which files each member answers for: one content that several took in is given by the first of them."""
    given: set[str] = set()
    found: dict[str, list[int]] = {}
    for address, each in known.items():
        found[address] = [id for id, hash in each.open.items() if hash is None or hash not in given]
        given |= {hash for hash in each.open.values() if hash is not None}
    return {address: ids for address, ids in found.items() if ids}
