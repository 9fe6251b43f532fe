"""The operator: a node's place among the copies of its cluster, and the files it loads (operator-ha.md 1-3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, frozen
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


class Operate(Protocol):
    """`intake.operate`."""

    def __call__(self, options: FilingOptions | None, member: Callable[[], int] = ...) -> Deferred[None]:
        """Files are made and kept by these options from now on; None: no more."""


@define(kw_only=True)
class Filing:
    """Where loaded files go, and whom to tell."""

    options: FilingOptions
    operate: Operate
    # Keep in mind, also after a crash, which member operates here, and in which cluster, if that is known.
    note: Callable[[int, str], Deferred[None]]
    _told: tuple[FilingOptions, int] | None = None  # what, and as which member

    @property
    def distributor(self) -> bool:
        """Whether files of this node's own go to the distributor."""
        return self.options.distributes

    async def remember(self, member: Callable[[], int], cluster: str) -> None:
        """Fires when a start after a crash knows which member operated here. Raises AnyLogError 63."""
        await self.note(member() if self.options.tsd else 0, cluster)

    async def tell(self, member: Callable[[], int]) -> None:
        """Say where files go, if that is new; what was in work at the last end is looked at first."""
        wanted = self.options, member()
        if wanted != self._told:
            await self.operate(wanted[0], member)
            self._told = wanted

    async def end(self) -> None:
        """No more files."""
        self._told = None
        await self.operate(None)


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
        before: int = 0,
        home: Callable[[], str] = lambda: "",
        tell: Callable[[str], object] = lambda told: None,
        doors: Callable[[bool], object] = lambda opened: None,
    ) -> None:
        """`place` looks the policy up in the ledger of now; `announce` tells the ledger of the tables of this node;
        `flush` cuts the buffers whose time is over, if the operator is to do that; `before` is the member id that this
        home had last, 0 for none; `home` gives the cluster of the files that it has, "" if none is noted; `tell` is
        told what is wrong; `doors` whether what the options say of tables holds for all that comes."""
        self.options = options
        self._clock, self._before = clock, before
        self._member, self._home, self._tell = 0, home, tell
        self.started = clock.seconds()
        self.watch = watch
        self._find, self._announce, self._filing = place, announce, filing
        self._doors = doors
        self._announcing: Deferred[Any] | None = None
        self._telling: Deferred[Any] | None = None
        self._watching = self._ended = False
        self._placeless: str | None = None  # what was told of that
        self._beats = Rhythm(clock=clock, every=1.0, do=self._beat, name="operator")
        self._flushes = None if flush is None else Rhythm(clock=clock, every=FLUSH, do=flush, name="buffers")

    @deferring
    async def start(self) -> None:
        """Readings are taken in any case; files are once what was left at the last end is looked at. The tables are
        announced beside that."""
        self._doors(True)
        try:
            await self._remember()
        except AnyLogError as why:  # it is tried again at each beat; readings that come are this member's in this life
            self.log.error("keeping in mind who operates here: {why}", why=str(why))
        if self._flushes is not None:
            self._flushes.start()
        self._telling = self._beat()
        self._telling.addErrback(self._failed, "taking files")
        self._telling.addCallback(lambda _: None if self._ended else self._beats.start())
        self._announcing = self._announce()
        self._announcing.addErrback(self._failed, "announcing the tables of this node")

    @deferring
    async def _beat(self) -> None:
        self._look_for_place()
        await self._remember()
        await self._filing.tell(self.member)
        if not self._watching:
            self._watching = True
            await self.watch.start()

    def _remember(self) -> Awaitable[None]:
        place = self.place
        return self._filing.remember(self.member, place.cluster if place is not None else "")

    def _look_for_place(self) -> None:
        """Say it once if the policy is gone, or that of another cluster, and once if it is back."""
        self._see_member()
        placeless, astray, member = self.place is None, self.astray, self.member()
        if placeless and astray != self._placeless:
            kept = f": files are registered as those of member {member} until it is back" if member else ""
            if astray:
                self._tell(f"{astray}{kept}")
            self.log.warn("{why}{kept}", why=astray or f"the policy {self.policy} is not in the ledger", kept=kept)
        elif self._placeless is not None and not placeless:
            self.log.warn("the policy {id} is in the ledger again, as member {member}", id=self.policy, member=member)
        self._placeless = astray if placeless else None

    @deferring
    async def stop(self) -> None:
        """Finish the files in work, and give the place up."""
        self._ended = True
        for begun in (self._announcing, self._telling):
            if begun is not None:
                begun.cancel()
        await self._beats.stop()
        if self._flushes is not None:
            await self._flushes.stop()
        await self.watch.stop()
        await self._filing.end()
        self._doors(False)

    def _failed(self, failure: Any, doing: str) -> None:
        if failure.check(AnyLogError):
            self.log.error("{doing}: {why}", doing=doing, why=str(failure.value))
        elif not failure.check(CancelledError):
            self.log.failure("{doing}", failure, doing=doing)

    @property
    def policy(self) -> str:
        """The id of its policy."""
        return self.options.policy

    @property
    def distributor(self) -> bool:
        """Whether files of this node's own go to the distributor."""
        return self._filing.distributor

    @property
    def place(self) -> Place | None:
        """Where it stands by the ledger of now; None if its policy is gone, or that of another cluster."""
        place = self._find()
        return None if place is not None and of_another_cluster(place, self._home()) else place

    @property
    def astray(self) -> str:
        """Why it has no place although its policy is there: it is of another cluster than the files here; else ""."""
        place = self._find()
        return of_another_cluster(place, self._home()) if place is not None else ""

    def member(self) -> int:
        """Its member id in the cluster, 0 if it never had one; another in the ledger is taken over at a beat.

        Without a place it is the one of before: what is cut until the policy is back must have a name by which the
        others can get it.
        """
        if not self._member:
            self._see_member()
        return self._member

    def _see_member(self) -> None:
        place = self.place
        self._member = (place.member if place is not None else 0) or self._member or self._before

    def describe(self) -> str:
        """As `get processes` shows it."""
        given = self.options
        told = f"Cluster Member: {self.place is not None}"
        if given.master:
            told += f", Using Master: {given.master}"
        return f"{told}, Threads Pool: {given.threads}"


def of_another_cluster(place: Place, home: str) -> str:
    """What is wrong, and what to do, if the files of a home are those of another cluster; else ""."""
    if home in ("", place.cluster):
        return ""
    return (
        f"the policy {place.operator} is of the cluster {place.cluster} ({place.cluster_name}), the rows and files of"
        f" this node are of the cluster {home}: they would be counted in both. Give the operator of that cluster an"
        f" empty home and empty databases, or give this one a policy of the cluster {home}"
    )


def checked(given: Mapping[str, Any], running: Sequence[str]) -> None:
    """What does not go together in `run operator`. Raises AnyLogError 2 or 136."""
    if given["distributor"] and given["archive"] is False:
        raise AnyLogError(2, "run operator: archive = false and distributor = true: peers could not be served")
    if given["archive"] is False and {"distributor", "consumer"} & set(running):
        raise AnyLogError(2, "run operator: archive = false while the distributor or the consumer runs")
    if "publisher" in running:
        raise AnyLogError(136, "run operator: a publisher runs on this node: use 'exit publisher' first")
