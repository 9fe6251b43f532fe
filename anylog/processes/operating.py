"""Whether an operator runs here, and as which member: what comes is registered and kept as files then (S3 to S9)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, ILane
from anylog.processes.agreement import SYSTEM
from anylog.processes.filing import Filing
from anylog.processes.recovery import Marked, Recovery
from anylog.processes.registry import Registry
from anylog.processes.whole import FilingOptions
from anylog.waiting import deferring, gather, pause

NOTE = "member"  # beside the journal: in whose name readings were registered here last
AGAIN = 1.0  # seconds between attempts to learn which ids were given
LATE = 60.0  # seconds after which nobody comes any more with what was registered before this start


class Databases(Protocol):
    """What is asked of the catalog."""

    def get(self, name: str) -> Marked:
        """The connected database of that name; AnyLogError 5."""


@define(kw_only=True, eq=False)
class Operating:
    """The operator's part in what the intake does."""

    _clock: Clock
    _disk: Disk
    _lane: ILane
    _folder: Path  # of the journal
    _databases: Databases
    _registry: Registry
    _filing: Filing
    _recovery: Recovery
    _registers: Callable[[], bool]  # whether the tables of files are here
    _attached: Callable[[], Collection[str]]  # databases that take readings
    runs: bool = False
    remembered: int = 0  # the member id of the operator that ran here last, until one runs again; 0 for none
    _late: Any = None  # the call that looks for what nobody came with
    _again: Any = None  # the call that looks whether the tables of files are still the same
    log = Logger()

    async def recall(self) -> None:
        """Read who operated here last."""
        self.remembered = await self._lane.run(_noted, self._disk, self._folder / NOTE)

    @deferring
    async def begin(self, options: FilingOptions, member: Callable[[], int]) -> None:
        """An operator runs from now on; `member` gives its id in its cluster as the ledger says at the moment.

        Fires when databases, tables of files and archive agree; readings are taken in the meantime.
        """
        self.runs = True
        self._registry.member = member if options.tsd else lambda: 0
        self.remembered = 0
        note = str(self._registry.member()).encode()
        await self._lane.run(self._disk.publish, self._folder / NOTE, note)
        if options.tsd:
            await self._see_ids(options)
        self._filing.options = options
        await gather([self.compared(name) for name in sorted(self._attached())])
        if options.tsd and self.runs and self._late is None:
            self._late = self._clock.callLater(LATE, self._look_late)
        if options.tsd and self.runs and self._again is None:
            self._again = self._clock.callLater(AGAIN, self._look_again)

    @deferring
    async def _look_again(self) -> None:
        """Tables of files that were connected or made anew meanwhile may have forgotten what came before."""
        options = self._filing.options
        try:
            if options is not None and self._registry.unsure:
                self.log.warn("the tables of files are others than before: they are compared with all databases")
                await self._see_ids(options)
                await gather([self.compared(name) for name in sorted(self._attached())])
        except Exception:  # a fault of ours: it is tried again, and the reason is told
            self.log.failure("comparing the tables of files")
        if self.runs and (self._again is None or not self._again.active()):
            self._again = self._clock.callLater(AGAIN, self._look_again)

    async def _see_ids(self, options: FilingOptions) -> None:
        """As often as it takes: nothing is registered before."""
        while self.runs:
            try:
                tsd = self._registry.tsd
                if tsd is self._registry.sure:
                    return
                await self._recovery.see_ids([self._databases.get(name) for name in self._attached()], options)
                self._registry.sure = tsd
            except AnyLogError as why:
                self.log.warn("ids of files cannot be looked at yet: {why}", why=str(why))
                await pause(self._clock, AGAIN)

    def end(self) -> None:
        """No operator runs: what comes is not kept as files; what is registered still is, where it was to go."""
        self.runs = False
        for call in (self._late, self._again):
            if call is not None and call.active():
                call.cancel()
        self._late = self._again = None

    @deferring
    async def compared(self, name: str) -> None:
        """What the databases say of each other, if an operator runs (hard-parts.md 2.3)."""
        options = self._filing.options
        if not self.runs or options is None or not options.tsd or name in SYSTEM:
            return
        try:
            await self._recovery.compare(name, self._databases.get(name), options)
        except AnyLogError as why:
            self.log.error("{name} and almgm cannot be compared: {why}", name=name, why=str(why))

    def member(self, dbms: str) -> tuple[bool, int]:
        """Whether readings of now become files, and the member in whose name; its id 0: they are not registered."""
        if dbms in SYSTEM:
            return False, 0
        if self.runs:
            return True, self._registry.member()
        # Until the operator of before runs again its readings wait for it, if that is what this node is going to be.
        if self.remembered and self._registers():
            return True, self.remembered
        return False, 0

    def _look_late(self) -> None:
        self._late = None
        looked = Deferred.fromCoroutine(self._recovery.orphans())
        looked.addErrback(lambda failure: self.log.warn("orphans of almgm: {why}", why=str(failure.value)))


def _noted(disk: Disk, path: Path) -> int:
    """The member id in the note of the operator that ran here last, 0 if there is none."""
    try:
        return int(disk.read(path))
    except (OSError, ValueError):
        return 0
