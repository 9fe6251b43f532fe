"""What the other members of the cluster have of this node's own files, as far as they tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import field, frozen

from anylog.databases.tsd_ranges import Line
from anylog.errors import AnyLogError
from anylog.processes.buffers import Where

LONGEST = 60.0  # seconds since the operator began, or since something was kept back if that was later
NOBODYS = ("missing", "failed")  # states of an id at a member who has nothing under it


@frozen(kw_only=True)
class Elsewhere:
    """A file of this node's own at another member."""

    member: int
    id: int
    hash: str
    rows: int
    state: str
    where: Where | None = None  # not known of what was asked for by its id
    time: str = ""

    @classmethod
    def of(cls, member: int, line: Line) -> Elsewhere:
        """As its entry there says."""
        where = Where(line.dbms, line.table, line.source, line.instructions)
        return cls(
            member=member, id=line.id, hash=line.hash, rows=line.rows, state=line.state, where=where, time=line.time
        )


@frozen(kw_only=True)
class Told:
    """What the other members know of ids."""

    known: Mapping[int, Sequence[Elsewhere]] = field(factory=dict)  # by id, at each member that has something there
    later: Sequence[Elsewhere] = ()  # those of a later life, at each member
    silent: str = ""  # who did not tell, and why; empty: all did
    loading: str = ""  # who has files of this node still that it did not register, so that it tells nothing of them


class Suspended(AnyLogError):
    """No files are asked for until further notice."""


class Others:
    """The other members of the cluster. This one has none."""

    async def known(self, ids: Sequence[int], first: int, wheres: Collection[Where]) -> Told:
        """What they have under these ids of this node's own, and in these tables from the id `first` on, unless 0."""
        return Told()

    async def content(self, where: Where, file: Elsewhere) -> bytes | None:
        """The file, unpacked; None if that member cannot give it. Raises AnyLogError; Suspended while nobody is asked,
        and that takes as long as it takes."""
        return None

    async def back(self, where: Where, file: Elsewhere) -> None:
        """Have it come to the watch directory soon. Raises AnyLogError."""
