"""Files that members list and do not have: when nobody has one, an entry says so (operator-ha.md 7.1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from attrs import define, field
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.databases.tsd import MISSING, Tsd
from anylog.databases.tsd_ranges import Line, record
from anylog.processes.exchange import table_of
from anylog.processes.pulled import File

MOST = 10_000  # files; of more the next cycle sees what becomes of them
TOLD = 1000  # entries in one commit


@define(kw_only=True, eq=False)
class Absent:
    """What at least one member said it does not have, since all members were asked last."""

    _counts: Counts
    _files: dict[File, tuple[Line, str]] = field(factory=dict)  # with why it cannot be given, if that is known
    _busy: set[File] = field(factory=set)  # asked for by one pass when another one looked at them
    log = Logger()

    def add(self, whose: int, line: Line, why: str = "") -> None:
        """A member does not have a file, or cannot give it (`why`). What finds no room here is open still, and seen
        again by the next cycle."""
        if len(self._files) < MOST:
            self._files[whose, line.id] = line, why or self._files.get((whose, line.id), (line, ""))[1]

    def came(self, whose: int, id: int) -> None:
        """Another member had it."""
        self._files.pop((whose, id), None)

    def busy(self, whose: int, ids: Collection[int]) -> None:
        """They were asked for by somebody else: whether they are nobody's is not known."""
        self._busy.update((whose, id) for id in ids)

    async def give_up(self, tsd: Tsd, own: int, arrived: Collection[File], check: Callable[[], object]) -> bool:
        """Those that every member that lists them has lost get an entry that says so (`01`). Whether to look again.

        Raises what `check` does, if this node is another member by then.
        """
        absent, self._files = self._files, {}
        busy, self._busy = self._busy, set()
        by_table: dict[str, list[tuple[Line, str, str]]] = {}
        for (whose, id), (line, why) in absent.items():
            if (whose, id) not in busy and (whose, id) not in arrived:
                told = why or f"Missing archived data with member {whose}"
                by_table.setdefault(table_of(whose, own), []).append((line, MISSING, told))
        for into, lines in sorted(by_table.items()):
            for at in range(0, len(lines), TOLD):
                await self._note(tsd, into, lines[at : at + TOLD], check)
        return bool(by_table or busy)

    async def _note(
        self, tsd: Tsd, into: str, lines: Sequence[tuple[Line, str, str]], check: Callable[[], object]
    ) -> None:  # fmt: skip
        known = await tsd.by_ids(into, [line.id for line, _, _ in lines])
        new = [each for each in lines if each[0].id not in known]
        if new:
            check()
            await record(tsd, into, new)
            self._counts.add("files nobody has", len(new), last=f"{into} {new[0][0].id}")
            self.log.warn("{count} files of {into} are in nobody's archive", count=len(new), into=into)

    def __len__(self) -> int:
        return len(self._files)
