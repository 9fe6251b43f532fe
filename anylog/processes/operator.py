"""The operator: a node's place among the copies of its cluster, and the files it loads (operator-ha.md 1-3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.process import WORKERS, Process, Rhythm
from anylog.processes.agreement import Place
from anylog.processes.record import Seen as Seen
from anylog.processes.watch import Watch
from anylog.processes.whole import FilingOptions
from anylog.waiting import deferring

FLUSH = 0.5  # seconds between two looks at buffers whose time may be over


@frozen(kw_only=True)
class OperatorOptions:
    """What `run operator` was told."""

    policy: str
    master: str = ""  # ip:port
    threads: int = 1
    create_table: bool = True
    given: Mapping[str, Any]  # every option as it was resolved, as `get operator config` shows it


@define(kw_only=True)
class Filing:
    """Where loaded files go, and whom to tell. Without `distributor = ...` that follows the distributor process."""

    options: FilingOptions
    operate: Callable[[FilingOptions | None, Callable[[], int]], object]
    distributes: Callable[[], bool]  # whether the distributor runs
    automatic: bool
    _told: FilingOptions | None = None

    def tell(self, member: Callable[[], int]) -> None:
        """Say where files go, if that is new."""
        wanted = evolve(self.options, distributor=self.distributes()) if self.automatic else self.options
        if wanted != self._told:
            self._told = wanted
            self.operate(wanted, member)

    def end(self, member: Callable[[], int]) -> None:
        """No more files."""
        self._told = None
        self.operate(None, member)


class Operator(Process):
    """Holds the node's place, and takes the files of the watch directory in.

    Announces the tables that were here before the place was taken.
    """

    name = "operator"
    floor = WORKERS
    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        options: OperatorOptions,
        place: Callable[[], Place | None],
        announce: Callable[[], Deferred[Any]],
        watch: Watch,
        filing: Filing,
        flush: Callable[[], object] | None = None,
    ) -> None:
        """`place` looks the policy up in the ledger of now; `announce` tells the ledger of the tables of this node;
        `flush` cuts the buffers whose time is over, if the operator is to do that."""
        self.options = options
        self.started = clock.seconds()
        self.watch = watch
        self._find, self._announce, self._filing = place, announce, filing
        self._announcing: Deferred[Any] | None = None
        self._beats = [Rhythm(clock=clock, every=1.0, do=lambda: filing.tell(self.member), name="operator")]
        if flush is not None:
            self._beats.append(Rhythm(clock=clock, every=FLUSH, do=flush, name="buffers"))

    @deferring
    async def start(self) -> None:
        """Readings are taken in any case; the tables are announced beside that. Raises AnyLogError 33."""
        self._filing.tell(self.member)
        try:
            await self.watch.start()
        except BaseException:
            self._filing.end(self.member)
            raise
        for beat in self._beats:
            beat.start()
        announcing = self._announcing = self._announce()
        announcing.addErrback(self._unannounced)

    @deferring
    async def stop(self) -> None:
        """Finish the files in work, and give the place up."""
        if self._announcing is not None:
            self._announcing.cancel()
        for beat in self._beats:
            await beat.stop()
        await self.watch.stop()
        self._filing.end(self.member)

    def _unannounced(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("announcing the tables of this node", failure)

    @property
    def policy(self) -> str:
        """The id of its policy."""
        return self.options.policy

    @property
    def place(self) -> Place | None:
        """Where it stands by the ledger of now; None if its policy is gone."""
        return self._find()

    def member(self) -> int:
        """Its member id in the cluster, 0 without a place."""
        place = self.place
        return place.member if place is not None else 0

    def describe(self) -> str:
        """As `get processes` shows it."""
        given = self.options
        told = f"Cluster Member: {self.place is not None}"
        if given.master:
            told += f", Using Master: {given.master}"
        return f"{told}, Threads Pool: {given.threads}"


def checked(given: Mapping[str, Any], running: Sequence[str]) -> None:
    """What does not go together in `run operator`. Raises AnyLogError 2 or 136."""
    if given["distributor"] and given["archive"] is False:
        raise AnyLogError(2, "run operator: archive = false and distributor = true: peers could not be served")
    if given["archive"] is False and {"distributor", "consumer"} & set(running):
        raise AnyLogError(2, "run operator: archive = false while the distributor or the consumer runs")
    if "publisher" in running:
        raise AnyLogError(136, "run operator: a publisher runs on this node: use 'exit publisher' first")
