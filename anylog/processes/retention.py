"""Which days of the archive every other member has: only those may be deleted (operator-ha.md 7.3, 13).

The members are asked at that moment, and for those days. What they told before is no evidence: a disk may have been
lost since, safe ids go past files that nobody had at the time, and a consumer looks at nothing before its own start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import date, timedelta
from pathlib import Path

from attrs import define
from twisted.logger import Logger

from anylog.databases.tsd import Tsd
from anylog.databases.tsd_ranges import Range, Totals, state_of, totals
from anylog.disk.archive import folder_of
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Disk, ILane
from anylog.processes.agreement import Place
from anylog.processes.exchange import member_of, table_of
from anylog.processes.missing import SETTLED
from anylog.processes.pulling import Peer
from anylog.processes.told import State

QUESTIONS = 200  # to one member; the days that are not compared then stay
TOGETHER = 1000  # entries looked up at a time


@define(kw_only=True, eq=False)
class Retention:
    """Compares days of the archive with what the tables of files say, here and at the others."""

    _disk: Disk
    _lane: ILane
    _tsd: Tsd
    _place: Place
    _ask: Callable[[Peer, Range], Awaitable[State]]  # how far a member is, as `Puller.members`
    log = Logger()

    async def copied(self, days: Sequence[date], root: Path, others: Collection[Peer]) -> set[date]:
        """Those of the days whose files in the archive at `root` all of the others have, too."""
        left = sorted(set(days))
        before = {day: await self._held(day, day) for day in left}
        for peer in others:
            left = await self._had_by(peer, left)
        found = [day for day in left if await self._entered(root, day)]
        # What came while they were asked was asked for of those alone that were left then.
        return {day for day in found if await self._held(day, day) == before[day]}

    def _held(self, first: date, last: date) -> Awaitable[dict[str, Totals]]:
        """What is held here of these days, by table of files."""
        return totals(self._tsd, first.isoformat(), (last + timedelta(days=1)).isoformat())

    async def _had_by(self, peer: Peer, days: Sequence[date]) -> list[date]:
        """Days of which a member says that it has the same files: many with one question, halves where it differs."""
        found: list[date] = []
        spans, asked = [list(days)], 0
        while spans:
            span = spans.pop()
            if not span:
                continue
            if asked >= QUESTIONS:
                break
            asked += 1
            try:
                same = await self._same(peer, span[0], span[-1])
            except AnyLogError as why:
                self.log.info("member {member} tells nothing of these days: {why}", member=peer.member, why=str(why))
                return []
            if same:
                found += span
            elif len(span) > 1:
                spans += [span[len(span) // 2 :], span[: len(span) // 2]]
        return sorted(found)

    async def _same(self, peer: Peer, first: date, last: date) -> bool:
        """Whether what is held here of these days is held there, by number and ids. Raises AnyLogError."""
        range = Range(first.isoformat(), (last + timedelta(days=1)).isoformat())
        told = await self._ask(peer, range)
        if not told.complete:
            raise AnyLogError(508, "it says that it misses something")
        for into, ours in (await self._held(first, last)).items():
            theirs = told.tables.get(member_of(into, self._place.member))
            if ours.pending:
                return False  # it may be archived in a moment
            if ours.files and (theirs is None or (theirs.files, theirs.sum) != (ours.files, ours.sum)):
                return False
        return True

    async def _entered(self, root: Path, day: date) -> bool:
        """Whether all files of a day are those that the tables of files say are loaded: others know of no others."""
        folder = folder_of(root, f"{day:%y%m%d}")
        try:
            names = await self._lane.run(_files, self._disk, folder)
        except OSError as why:
            self.log.warn("{folder} is kept: {why}", folder=str(folder), why=why.strerror or str(why))
            return False
        by_table: dict[str, dict[int, str]] = {}
        for text in names:
            try:
                name = FileName.parse(text)
            except AnyLogError:
                return False
            if not name.full or not name.member.isdecimal():
                return False
            by_table.setdefault(table_of(int(name.member), self._place.member), {})[name.id] = name.hash
        for into, hashes in by_table.items():
            ids = sorted(hashes)
            for at in range(0, len(ids), TOGETHER):
                page = ids[at : at + TOGETHER]
                known = await self._tsd.by_ids(into, page)
                for id in page:
                    entry = known.get(id)
                    if entry is None or entry.hash != hashes[id] or state_of(entry) not in SETTLED:
                        return False
                    if entry.time[:10] != day.isoformat():
                        return False  # it was compared with another day
        return True


# In a lane.


def _files(disk: Disk, folder: Path) -> list[str]:
    """Names of the files of one day, what is being written left out. Raises OSError."""
    return [name for name in disk.names(folder) if not name.startswith(".") and disk.stat(folder / name)[2] == "file"]
