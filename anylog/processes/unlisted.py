"""Files of the archive that no table of files lists: of when the databases were lost, or put back to an older moment.

The archive is read once after such a loss, a directory at a time, so that a start without one costs nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from attrs import define, frozen

from anylog.databases.returned import note_here
from anylog.databases.tsd import OWN, Entry, Tsd
from anylog.disk.archive import days_in, folder_of
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Disk, ILane
from anylog.processes.registry import table_of_member, time_of
from anylog.processes.whole import FilingOptions
from anylog.waiting import gather

PAGE = 1000  # files looked up together
TOGETHER = 32  # files that are loaded at the same time


@frozen
class Found:
    """A file that lies somewhere under its full name."""

    owner: int
    id: int
    path: Path


@define(kw_only=True, eq=False)
class Unlisted:
    """Finds them for one database of readings."""

    _disk: Disk
    _lane: ILane
    _tsd: Tsd
    _member: int  # this one
    _dbms: str
    _options: FilingOptions
    _busy: Callable[[str, int], bool]  # whether that entry (table of files, id) belongs to what is in work
    _load: Callable[[int, Entry, Path], Awaitable[None]]  # the file of an owner, under this entry

    async def load(self, above: int) -> bool:
        """Load those of other members, and of our own those whose id is above that. False if some have to wait.

        Raises AnyLogError.
        """
        # In the order in which files move: one on its way is seen before, or after, and never missed.
        done = await self._folder(self._options.distr_dir, above)
        for day in await self._days():
            done &= await self._folder(folder_of(self._options.archive_dir, day), above)
        return done

    async def _folder(self, folder: Path, above: int) -> bool:
        try:
            found = await self._lane.run(_files, self._disk, folder, self._dbms)
        except OSError as fault:
            raise AnyLogError(63, f"{folder}: {fault.strerror or fault}") from None
        by_owner: dict[int, list[Found]] = {}
        for file in found:
            if file.owner and (file.owner != self._member or file.id > above):
                by_owner.setdefault(file.owner, []).append(file)
        done = True
        for owner, files in sorted(by_owner.items()):
            for first in range(0, len(files), PAGE):
                done &= await self._page(owner, files[first : first + PAGE])
        return done

    async def _page(self, owner: int, files: Sequence[Found]) -> bool:
        into = table_of_member(owner, self._member)
        known = await self._tsd.by_ids(into, [file.id for file in files])
        entries = [
            (entry, file.path)
            for file in files
            if file.id not in known and (entry := _entry(file)) is not None and not self._busy(into, file.id)
        ]
        same = await self._tsd.by_hash([entry.hash for entry, _ in entries]) if entries else {}
        done = True
        now = []
        for entry, path in entries:
            # Its content has another id here, under which nobody came with it yet: it may come, or is given up later.
            if into == OWN and any(
                other == OWN and each.pending and not self._busy(OWN, each.id)
                for other, each in same.get(entry.hash, ())
            ):
                done = False
            else:
                now.append((entry, path))
        if into == OWN and now:
            await note_here(self._tsd, [entry.id for entry, _ in now])
        for first in range(0, len(now), TOGETHER):
            await gather([self._load(owner, entry, path) for entry, path in now[first : first + TOGETHER]])
        return done

    async def _days(self) -> list[str]:
        root = self._options.archive_dir
        try:
            return await self._lane.run(lambda: sorted(days_in(self._disk, root)))
        except OSError as fault:
            raise AnyLogError(63, f"{fault.filename or root}: {fault.strerror or fault}") from None


def _files(disk: Disk, folder: Path, dbms: str) -> list[Found]:
    """In a lane: the files of a database in one directory under full names, by id; looked at no closer than that."""
    found = {}
    for name in disk.names(folder):
        parts = name.split(".")
        if len(parts) >= 9 and parts[0] == dbms and parts[5].isdecimal() and parts[6].isdecimal():
            found[int(parts[5]), int(parts[6])] = name
    return [Found(owner, id, folder / name) for (owner, id), name in sorted(found.items())]


def _entry(file: Found) -> Entry | None:
    """As it is to be registered; None if somebody gave it a name that is none."""
    try:
        name = FileName.parse(file.path.name)
    except AnyLogError:
        return None
    if name.kind != "json" or not name.full or not name.date or name.hash == "0":
        return None
    return Entry(
        id=name.id, dbms=name.dbms, table=name.table, source=name.source, hash=name.hash,
        instructions=name.instructions, time=time_of(name.date), rows=0,
    )  # fmt: skip
