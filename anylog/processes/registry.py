"""Files and buffers get their names: a row in `almgm` each, before any of their rows is loaded (S4, S5).

The verdict on what was seen before is the table of hard-parts.md 3; that nothing is loaded twice is decided by the
unique marks of the database, not here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from anylog.databases.entries import PLACEHOLDER as PLACEHOLDER
from anylog.databases.tsd import DROPPED, FAILED, FOREIGN_IDS, OWN, Done, Tsd, Wanted
from anylog.disk.names import FileName, century
from anylog.errors import AnyLogError
from anylog.interfaces import IDatabase
from anylog.processes.buffers import Buffer


@frozen
class Verdict:
    """What is to be done with a buffer."""

    kind: Literal["load", "wait", "repeated", "duplicate", "conflict", "double"]
    text: str = ""
    again: bool = False  # a repeat under its very name: its mark is looked at, as the database may have lost it

    def tell(self, buffer: Buffer) -> None:
        """Put it down in the buffer; nothing of that is loaded."""
        assert self.kind != "load"
        assert self.kind != "wait"
        buffer.verdict, buffer.fault = self.kind, self.text


LOAD = Verdict("load")
UNREGISTERED = "rows that are not registered"  # status 2 of a double of such rows
CONFLICTS = 100  # of them the last are kept


@frozen(kw_only=True)
class Conflict:
    """An id that came with two contents (operator-ha.md 9.3)."""

    at: float  # unix seconds
    into: str
    id: int
    hash: str  # that it has here
    other: str  # that came
    name: str  # of the file that came
    dbms: str = ""
    table: str = ""


def table_of(buffer: Buffer, member: int) -> str:
    """The table of files a buffer belongs in."""
    file = buffer.file
    if file is None or file.member in ("", "@"):
        return table_of_member(buffer.member, member) if buffer.member and member else OWN
    return table_of_member(int(file.member), member)


def table_of_member(owner: int, member: int) -> str:
    """The table of the files of `owner` at `member`."""
    return OWN if owner == member else f"tsd_{owner}"


def member_of_table(into: str, member: int) -> int:
    """Whose files are in a table of files at `member`."""
    return member if into == OWN else int(into.removeprefix("tsd_"))


@define(kw_only=True, eq=False)
class Registry:
    """Gives buffers their ids in the tables of files."""

    _tsd: Callable[[], Tsd | None]
    member: Callable[[], int] = field(default=lambda: 0)
    # For which tables ids go on above all that were ever given here; until an operator has seen to that, readings wait.
    sure: Tsd | None = None
    _live: dict[tuple[str, int], Buffer] = field(factory=dict)  # (table of files, id) -> who has it now
    # Ids that came with two contents, for those who look after the cluster.
    conflicts: deque[Conflict] = field(factory=lambda: deque(maxlen=CONFLICTS))
    conflicted: int = 0
    returned: set[int] = field(factory=set)  # own files that came back from other members and are not loaded yet
    _now: Callable[[], float] = field(default=lambda: 0.0)
    log = Logger()

    @property
    def unsure(self) -> bool:
        """Whether there are tables of files of which it is not known yet which ids they may give."""
        tsd = self._tsd()
        return tsd is not None and tsd is not self.sure

    def highest(self) -> int:
        """The highest id of what is in work and came here, 0 if there is none."""
        return max((id for into, id in self._live if into == OWN and id < FOREIGN_IDS), default=0)

    @property
    def tsd(self) -> Tsd:
        """The tables of files. Raises AnyLogError 5 while `almgm` is not there."""
        tsd = self._tsd()
        if tsd is None:
            raise AnyLogError(5, "almgm.tsd_info is not there: use 'connect dbms almgm' and 'create table tsd_info'")
        return tsd

    def still(self, member: int) -> None:
        """Raises AnyLogError 203 once this node is another member than that: its tables of files are others then."""
        if self.member() != member:
            raise AnyLogError(203, f"this node is not member {member} now")

    async def register(self, buffers: Sequence[Buffer]) -> list[Verdict]:
        """Rows for all of them in one commit. Raises AnyLogError while `almgm` cannot be used."""
        tsd = self.tsd
        if self.sure is not tsd:
            raise AnyLogError(502, "its files are registered once the operator runs")
        for buffer in buffers:
            if not buffer.tsd and buffer.member and (buffer.file is None or buffer.file.member in ("", "@")):
                buffer.member = self.member() or buffer.member  # it came when this node was another member
        wanted = [self._wanted(buffer) for buffer in buffers]
        found = await tsd.register(wanted, self.has)
        verdicts = []
        for buffer, want, each in zip(buffers, wanted, found, strict=True):
            entry, mine = each.entry, (each.into, each.entry.id)
            if buffer.named and not (each.kind != "conflict" and mine == (want.into, want.id)):
                # Somebody else has its id, or it has another one: as if the journal had none.
                self.unname(buffer)
                verdicts.append(Verdict("wait", f"{want.into} {want.id} is that of another"))
                continue
            if buffer.named and each.kind == "loaded":
                # The journal did not hear of it. Its rows are here, or come from its file if they should.
                self.unname(buffer)
                verdicts.append(Verdict("duplicate", f"its content is loaded as {each.into} {entry.id}"))
                continue
            if each.kind == "conflict":
                verdicts.append(Verdict("conflict", self.conflict(buffer, want.into, want.id, entry.hash)))
                continue
            if each.kind == "repeated":
                held = f"{each.holder[0]} {each.holder[1].id}" if each.holder is not None else ""
                verdicts.append(Verdict("repeated", f"its content is loaded as {held}"))
                continue
            if want.before and not want.id and each.kind == "pending" and entry.id in self.returned:
                # It was given up for the file that others have, which is not back yet.
                verdicts.append(Verdict("duplicate", f"its content comes back as {each.into} {entry.id}"))
                continue
            same = each.into == want.into and (not want.id or entry.id == want.id)
            # What comes again after its database was dropped is wanted; what the journal did not let go of came before.
            dropped = entry.status2 == DROPPED and each.into == want.into and not want.before
            if each.kind == "loaded" and not (same and want.id) and not dropped:
                told = f"its content is loaded as {each.into} {entry.id}"
                verdicts.append(Verdict("duplicate", told))
                continue
            if buffer.interrupted:  # while it got its id; that goes to the buffer it comes with again
                verdicts.append(Verdict("wait", f"{each.into} {entry.id} was interrupted"))
                continue
            other = self._live.get(mine)
            if other is not None and other.id != buffer.id:  # else it is what it was before the journal was read anew
                verdicts.append(Verdict("wait", f"{each.into} {entry.id} is in work"))
                continue
            if not same:  # of another member, and not loaded: what becomes of it decides
                verdicts.append(Verdict("wait", f"{each.into} {entry.id} is not loaded yet"))
                continue
            self._live[mine] = buffer
            # Registered before under another name, and not loaded: the file is called as its row says.
            where = buffer.where
            if (where.source, where.instructions) != (entry.source, entry.instructions):
                buffer.where = evolve(where, source=entry.source, instructions=entry.instructions)
            buffer.registered(entry.id, entry.time)
            buffer.known_to = tsd
            # One that says it is loaded is looked at by its mark: the database may have lost it.
            if each.holder is not None:
                verdicts.append(Verdict("double", f"{each.holder[0]} {each.holder[1].id}"))
            else:
                verdicts.append(Verdict("repeated", again=True) if each.kind == "loaded" and not dropped else LOAD)
        return verdicts

    def conflict(self, buffer: Buffer, into: str, id: int, hash: str) -> str:
        """Keep in mind that an id came with two contents; gives that in words."""
        self.conflicted += 1
        self.conflicts.append(
            Conflict(
                at=self._now(), into=into, id=id, hash=hash, other=buffer.whole, name=buffer.path.name,
                dbms=buffer.where.dbms, table=buffer.where.table,
            )
        )  # fmt: skip
        return f"TSD id conflict: {into} {id} has the hash {hash}"

    async def held(self, buffer: Buffer, database: IDatabase) -> Verdict:
        """What becomes of a file whose content, or whose id, turned out to be there when it was to be loaded."""
        mark = (await database.hash_marks([buffer.whole])).get(buffer.whole)
        if mark is not None:
            into = table_of_member(mark.member, self.member())
            return Verdict("double", f"{into} {mark.id}" if mark.id else UNREGISTERED)
        whose = buffer.owner, buffer.tsd
        mark = (await database.file_marks([whose])).get(whose)
        if mark is None:
            raise AnyLogError(16, f"{buffer.path.name}: what held its content is gone")
        # Its id is that of another content: the entry that was just made for it is that one's.
        into, id = table_of(buffer, self.member()), buffer.tsd
        await self.tsd.forget([(into, id)])
        self.forget(buffer)
        buffer.tsd = 0
        return Verdict("conflict", self.conflict(buffer, into, id, mark.hash or "of a stream"))

    async def fail(self, name: FileName, text: str) -> bool:
        """A file of another member cannot be understood or loaded: its entry says so (operator-ha.md 3.3).

        False if there was nothing to say: it is loaded, in work, recorded otherwise, or nothing is registered here.
        """
        tsd, member = self._tsd(), self.member()
        if tsd is None or tsd is not self.sure or not member or not name.full or name.member == "@":
            return False
        into = table_of_member(int(name.member), member)
        if into == OWN or self.has(into, name.id):
            return False
        (found,) = await tsd.register([self._failing(name, into)], self.has)
        entry = found.entry
        if found.kind not in ("new", "pending") or (found.into, entry.id) != (into, name.id) or self.has(into, name.id):
            return False
        await tsd.finish([Done(into=into, id=name.id, rows=0, status1=FAILED, status2=text)])
        return True

    def _failing(self, name: FileName, into: str) -> Wanted:
        return Wanted(
            dbms=name.dbms,
            table=name.table,
            source=name.source,
            hash=name.hash if name.hash != "0" else f"{FAILED}:{name.member}.{name.id}",
            instructions=name.instructions,
            id=name.id,
            time=time_of(name.date),
            into=into,
        )

    def _wanted(self, buffer: Buffer) -> Wanted:
        where, file = buffer.where, buffer.file
        id, time = buffer.tsd, buffer.time if buffer.tsd else ""
        if not id and file is not None and file.id:
            id, time = file.id, time_of(file.date) if file.date else ""
        return Wanted(
            dbms=where.dbms,
            table=where.table,
            source=where.source,
            hash=buffer.whole or stream_of(buffer),
            instructions=where.instructions,
            id=id,
            time=time,
            into=table_of(buffer, self.member()),
            known=buffer.known,
            before=buffer.recalled and not buffer.whole,
        )

    async def finish(self, done: Sequence[tuple[Buffer, str, int, str, str]]) -> None:
        """Rows (and hashes) of buffers in one commit: buffer, hash, rows, status 1, status 2."""
        if done:
            member, tsd = self.member(), self.tsd
            self.returned.difference_update(each[0].tsd for each in done if table_of(each[0], member) == OWN)
            lost = [each[0] for each in done if each[0].known_to is not tsd]
            if lost:  # registered in tables that are gone, or before this start: under the same ids
                await tsd.register([self._wanted(buffer) for buffer in lost])
            await tsd.finish(
                [
                    Done(
                        into=table_of(buffer, member),
                        id=buffer.tsd,
                        rows=rows,
                        hash=hash,
                        stream=stream_of(buffer),
                        status1=status1,
                        status2=status2,
                    )
                    for buffer, hash, rows, status1, status2 in done
                ]
            )

    def adopt(self, buffer: Buffer) -> None:
        """It had its row before this start."""
        if buffer.tsd:
            self._live[table_of(buffer, self.member()), buffer.tsd] = buffer

    def unname(self, buffer: Buffer) -> None:
        """Its id of the journal is of no use."""
        self.forget(buffer)
        buffer.tsd, buffer.time, buffer.named, buffer.noted = 0, "", False, False

    def handed_over(self, member: int, to: int) -> None:
        """The entries of `tsd_info` are in the table of the files of `member` now, and those of `to` in `tsd_info`."""
        self.returned.clear()
        for (into, id), buffer in list(self._live.items()):
            if member != to and into == OWN and buffer.member == member:
                self._live[f"tsd_{member}", id] = self._live.pop((into, id))
            elif into == f"tsd_{to}":
                self._live[OWN, id] = self._live.pop((into, id))

    def has(self, into: str, id: int) -> bool:
        """Whether that row belongs to what is in work."""
        return (into, id) in self._live

    def stored(self, into: str, id: int) -> int:
        """The rows of it that were loaded, if it is in work; else 0."""
        buffer = self._live.get((into, id))
        return buffer.stored if buffer is not None else 0

    def forget(self, buffer: Buffer) -> None:
        """It is no longer in work."""
        if buffer.tsd:
            mine = table_of(buffer, self.member()), buffer.tsd
            if self._live.get(mine) is buffer:
                del self._live[mine]


def stream_of(buffer: Buffer) -> str:
    """What stands for the hash of a stream until it is a file; empty for what has one."""
    return "" if buffer.whole else f"{PLACEHOLDER}{buffer.id}"


def time_of(date: str) -> str:
    """The time of 12 digits of a file name, "YYYY-MM-DD HH:MM:SS.000000"."""
    year, month, day, hour, minute, second = (date[place : place + 2] for place in range(0, 12, 2))
    return f"{century(date)}{year}-{month}-{day} {hour}:{minute}:{second}.000000"
