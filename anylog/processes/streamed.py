"""Marks of streams of before, which do not say that all of a stream is there (ingest.md 8.4, hard-parts.md 2.3).

Such a mark grows with each load, and nothing is noted in it at the end. A database that is put back to a copy of when
a stream was open holds a part of its file, under the id of the whole. Only files say what the whole is: the one in the
archive or, if that is lost, too, the one of another member. Where a part is here and a member has the whole, the entry
says that the file is missing; the part stays until that comes, and makes way for it in the transaction that loads it.
What nobody else has is all there is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence, Set
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.logger import Logger

from anylog.databases.tsd import Entry
from anylog.disk.archive import folder_of, read_archived
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, ILane, Mark, Publish
from anylog.mapping.body import normal_form, read_body
from anylog.processes.audit import fits
from anylog.processes.filing import streamed_hash
from anylog.processes.others import LONGEST, NOBODYS, Elsewhere, Others, Told
from anylog.processes.whole import FilingOptions


class Marked(Protocol):
    """What is asked of the database."""

    def file_marks(self, files: Sequence[tuple[int, int]]) -> Awaitable[Mapping[tuple[int, int], Mark]]:
        """Marks by member and tsd id."""

    def rows_of(self, table: str, member: int, id: int) -> Awaitable[list[dict[str, Any]]]:
        """The rows of one file in their order of arrival."""


@frozen
class Named:
    """What is known of the file of a stream."""

    hash: str = ""  # empty: nothing yet
    whole: bool = True  # whether the rows that are here are all of it, as far as anybody can tell
    waits: str = ""  # whose answer is needed to say more


NOTHING = Named()


@define(kw_only=True, eq=False)
class Streamed:
    """The streams of one owner in one database."""

    _dbms: str
    _database: Marked
    _options: FilingOptions
    _member: int
    _owner: int
    _clock: Clock
    _disk: Disk
    _lane: ILane
    _others: Others
    _in_work: Callable[[], Set[str]]
    _find: Callable[[str, int], Awaitable[Path | None]]  # its file here, by its date of 12 digits and its id
    _since: MutableMapping[tuple[str, int], float]  # what waits for an answer -> since when
    _told: dict[int, Told] = field(factory=dict)
    log = Logger()

    async def named(self, mark: Mark) -> Named:
        """The hash of a streamed file: by the name of its file, which is right whatever a newer program would build; by
        what others have under its id, or by the rows."""
        if mark.buffer in self._in_work():
            return NOTHING  # it is made into a file now
        found = await self._find(digits(mark.time), mark.id)
        if found is not None:
            return Named(FileName.parse(found.name).hash)
        if self._owner != self._member:
            return NOTHING  # the hash of another's file is what its name says
        return await self._without_file(mark)

    async def in_part(self, marks: Sequence[Mark]) -> tuple[set[int], set[int]]:
        """Of marks with fewer rows than there were: the ids of those of which others have, or may have, more; and of
        those that are all there is. What changed while they were asked is in neither."""
        open = [mark.id for mark in marks if not mark.hash]
        await self.ask(open)
        now = await self._database.file_marks([(self._owner, mark.id) for mark in marks])
        same = {mark.id for mark in marks if now.get((self._owner, mark.id)) == mark}
        told = {id: self._told.pop(id, Told()) for id in open}
        parts = {id for id, each in told.items() if _files(each, id) or each.silent or each.loading} & same
        return parts, same - parts

    async def is_left(self, mark: Mark, missing: bool) -> bool:
        """Whether nobody is going to come with more of what an entry says is missing, or was given up."""
        if mark.hash or not mark.rows or self._owner != self._member or mark.buffer in self._in_work():
            return False
        return not missing or mark.id in (await self.in_part([mark]))[1]

    async def ask(self, ids: Sequence[int]) -> None:
        """Have the others tell of these at once, and not one by one."""
        if ids and self._owner == self._member:
            told = await self._others.known(ids, 0, ())
            self._told.update(dict.fromkeys(ids, told))

    async def _ask(self, id: int) -> Told:
        if id not in self._told:
            await self.ask([id])
        return self._told.pop(id)  # what is asked for later may be answered otherwise

    async def _without_file(self, mark: Mark) -> Named:
        """The journal was lost, and there is no file: it is made of the rows, unless others have more of them."""
        told, key = await self._ask(mark.id), (self._dbms, mark.id)
        now = (await self._database.file_marks([(self._member, mark.id)])).get((self._member, mark.id))
        if now is None or now.hash or mark.buffer in self._in_work():
            self._since.pop(key, None)
            return NOTHING  # its file came meanwhile, or its buffer did
        rows = await self._database.rows_of(mark.table, self._member, mark.id)
        if not rows:
            self._since.pop(key, None)
            return NOTHING
        data = normal_form(rows)
        hash = streamed_hash(f"{self._dbms}.{mark.table}.{self._member}.{mark.id}", data)
        files = _files(told, mark.id)
        if files and all(file.hash != hash for file in files):
            self._since.pop(key, None)
            best = max(files, key=lambda file: file.rows)
            self.log.warn(
                "{dbms}.{table} {id}: member {other} has {rows} rows of it, here are {here}: its file is asked for",
                dbms=self._dbms, table=mark.table, id=mark.id, other=best.member, rows=best.rows, here=len(rows),
            )  # fmt: skip
            return Named(best.hash, whole=False)
        waits = "" if files else told.silent or told.loading
        if waits and self._clock.seconds() < self._since.setdefault(key, self._clock.seconds()) + LONGEST:
            return Named(waits=waits)
        self._since.pop(key, None)
        if waits:
            told_late = "{dbms}.{table} {id} is made a file of {rows} rows, though {why}"
            self.log.warn(told_late, dbms=self._dbms, table=mark.table, id=mark.id, rows=len(rows), why=waits)
        await self._make(mark, hash, data)
        return Named(hash)

    async def _make(self, mark: Mark, hash: str, data: bytes) -> None:
        date = digits(mark.time)
        file = FileName(
            dbms=self._dbms, table=mark.table, source=mark.source, hash=hash, instructions=mark.instructions,
            member=str(self._member), id=mark.id, date=date, compressed=self._options.compress,
        )  # fmt: skip
        waits = self._options.distributes
        path = (self._options.distr_dir if waits else folder_of(self._options.archive_dir, date)) / str(file)
        (outcome,) = await self._lane.run(self._disk.batch, [Publish(path, data, self._options.compress)])
        if isinstance(outcome, OSError):
            raise AnyLogError(14, f"{path}: {outcome.strerror or outcome}")

    async def more_than(self, mark: Mark) -> Path | None:
        """The file of a mark of a stream if it has more rows than that: both databases are copies of when it was open.

        What has a hash was loaded in one transaction. Raises OSError if there is a file that cannot be read, Damaged
        if it is not what it was.
        """
        if mark.hash:
            return None
        date = digits(mark.time)
        found = await self._find(date, mark.id)
        if found is None:
            return None
        folder = folder_of(self._options.archive_dir, date)
        try:
            path, data = await self._lane.run(read_moving, self._disk, found, folder)
            rows = len(read_body(data, most=len(data)))
        except AnyLogError as damage:
            raise Damaged(found, damage) from None
        return path if rows > mark.rows else None


class Damaged(Exception):
    """A file of the archive that cannot be unpacked or read as rows."""

    def __init__(self, path: Path, why: AnyLogError) -> None:
        super().__init__(f"{path} is damaged: {why}")
        self.path, self.why = path, why


def _files(told: Told, id: int) -> list[Elsewhere]:
    """What is held of an id elsewhere."""
    return [file for file in told.known.get(id, ()) if file.state not in NOBODYS]


def read_moving(disk: Disk, path: Path, folder: Path) -> tuple[Path, bytes]:
    """In a lane: a file and where it lies; it may have gone on into its directory of the archive since it was seen."""
    try:
        return path, read_archived(disk, path)
    except FileNotFoundError:
        if path.parent == folder:
            raise
    return folder / path.name, read_archived(disk, folder / path.name)


def read_again(disk: Disk, path: Path, folder: Path, entry: Entry, owner: int) -> tuple[Path, bytes, bool]:
    """In a lane: as `read_moving`, and whether it is what the entry says; it may have rotted, or was edited."""
    path, data = read_moving(disk, path, folder)
    return path, data, fits(entry.hash, entry.dbms, entry.table, owner, entry.id, data)


def digits(time: str) -> str:
    """The date in the name of a file, "YYMMDDhhmmss", of a time."""
    return "".join(char for char in time[2:19] if char.isdigit())
