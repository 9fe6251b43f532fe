"""Whether an operator runs here, and as which member: what comes is registered and kept as files then (S3 to S9)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.databases.owners import hand_over, note_owner, owner
from anylog.databases.returned import returned
from anylog.databases.tsd import Tsd
from anylog.databases.tsd_ranges import check_sums
from anylog.disk.records import BufferId
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, ILane
from anylog.process import Rhythm
from anylog.processes.agreement import SYSTEM
from anylog.processes.buffers import Buffer
from anylog.processes.earlier import Accept, Earlier
from anylog.processes.filing import Filing
from anylog.processes.recovery import UNMADE, UNREAD, UNTOLD, Marked, Recovery
from anylog.processes.registry import Registry
from anylog.processes.whole import FilingOptions
from anylog.waiting import deferring, gather, pause

NOTE = "member"  # beside the journal: in whose name readings were registered here last
BEAT = 1.0  # seconds between looks at the tables of files
LATE = 60.0  # seconds after which nobody comes any more with what was registered before this start
AGAIN = 20.0  # seconds until a database that could not be brought into agreement is compared once more


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
    _tsd: Callable[[], Tsd | None]  # the tables of files, if they are here
    _attached: Callable[[], Collection[str]]  # databases that take readings
    _buffers: Mapping[BufferId, Buffer]  # all that are not done
    _accept: Accept
    _ended: Callable[[Buffer], None]  # nothing of it is left here: the journal may let go of it
    earlier: Earlier = field(init=False)
    runs: bool = False
    remembered: int = 0  # the member id of the operator that ran here last, until one runs again; 0 for none
    _left: int = 0  # the member id of the operator that was ended, until one runs again
    noted: int = 0  # what the note says: the member in whose name readings were registered here last
    cluster: str = ""  # and the cluster whose files this home has, by the id of its policy
    former: int = 0  # the member whose files are in `tsd_info` still, if that is another
    _beats: Rhythm | None = None
    _told: bool = False  # that nothing can be registered
    _beginning: object = None  # another one for each operator that begins
    _begun: bool = False  # the databases that were there at first are compared
    # Databases that may lack what the tables of files say is loaded, each with what has been begun last to mend that.
    _apart: dict[str, object] = field(factory=dict)
    _again: dict[str, Any] = field(factory=dict)  # database -> the call that compares it once more
    _seen: Tsd | None = None  # of which it is known whose files are in `tsd_info`
    _checked: Tsd | None = None  # whose sums were compared with what they are sums of
    _late: Any = None  # the call that looks for what nobody came with
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.earlier = Earlier(
            clock=self._clock,
            registry=self._registry,
            filing=self._filing,
            database=self._databases.get,
            accept=self._accept,
            ended=self._ended,
            lacking=lambda member: self._recovery.lacking(member),
            buffers=self._buffers,
        )

    @property
    def waits(self) -> bool:
        """Whether nobody knows how long some files are not made."""
        return self._filing.options is None or self.earlier.depth > 0

    def begin_anew(self) -> None:
        """The journal is read again: forget what was known of before."""
        self._filing.begin_anew()
        self.earlier.begin_anew()

    @property
    def agrees(self) -> bool:
        """False while databases may lack rows that were loaded here: they are not compared yet, or are loaded again."""
        if not self.runs:
            return not self.remembered  # whose operator is about to run
        return self._begun and not self._apart

    async def recall(self) -> None:
        """Read who operated here last."""
        self.noted, self.former, self.cluster = await self._lane.run(_noted, self._disk, self._folder / NOTE)
        self.remembered = self.noted

    @deferring
    async def note(self, member: int, cluster: str = "") -> None:
        """From now on what comes is of this member, also after a crash; 0: it is not registered. Without a `cluster` it
        stays the one that it was.

        Fires when that lasts: before, a start after a crash would take this for a node that never was an operator.
        Raises AnyLogError 63.
        """
        if not self.runs:
            self.remembered = member
        if member == self.noted and cluster in ("", self.cluster):
            return
        former = self.former or self.noted
        if former and member and former != member:
            self._registry.sure = None  # nothing is registered until its files are handed over
        await self._publish(member, former if former != member else 0, cluster or self.cluster)

    async def _publish(self, member: int, former: int, cluster: str) -> None:
        path = self._folder / NOTE
        text = f"{member} {former} {cluster}".strip()
        try:
            await self._lane.run(self._disk.publish, path, text.encode())
        except OSError as fault:
            raise AnyLogError(63, f"{path}: {fault.strerror or fault}") from None
        self.noted, self.former, self.cluster = member, former, cluster

    def settled(self, member: int) -> bool:
        """Whether `tsd_info` is of that member, as far as it is of any; not before an operator has looked at it."""
        return not self.noted or (self.noted == member and not self.former and self._seen is self._tsd())

    async def _hand_over(self, tsd: Tsd) -> None:
        """What this node registered as another member stays that one's: under its id the others have it."""
        member = self._registry.member()
        if not member:
            return
        if member != self.noted:
            raise AnyLogError(63, f"it is not kept yet that this node is member {member}")
        known = await owner(tsd)
        former = known or self.former or member  # they may be a copy of when this node was somebody else
        if former != member or tsd.has_of(member):
            count = await hand_over(tsd, former, member)
            self._registry.handed_over(former, member)
            told = "this node was member {former} and is {member}: {count} files stay those of {former}"
            self.log.warn(told, former=former, member=member, count=count)
        elif not known:
            await note_owner(tsd, member)
        if self.former:
            await self._publish(member, 0, self.cluster)
        self._seen = tsd

    @deferring
    async def begin(self, options: FilingOptions, member: Callable[[], int]) -> None:
        """An operator runs from now on; `member` gives its id in its cluster as the ledger says at the moment.

        Fires when databases, tables of files and archive agree; readings are taken in the meantime.
        """
        self.runs = True
        mine = self._beginning = object()
        self._registry.member = member if options.tsd else lambda: 0
        self.remembered = self._left = 0
        await self.note(self._registry.member())
        if not options.tsd:
            self._filing.options = options
            self.earlier.go_on()
            self._begun = True
            return
        while self._goes_on(mine) and not await self._begin_with(options):
            await pause(self._clock, BEAT)
            if self._goes_on(mine):
                with suppress(AnyLogError):  # then nothing is handed over, and all of it tried again
                    await self.note(self._registry.member())  # it may have become one, or another, meanwhile
        if not self._goes_on(mine):
            return
        self._begun = True
        if self._late is None:
            self._late = self._clock.callLater(LATE, self._look_late)
        if self._beats is None:
            self._beats = Rhythm(clock=self._clock, every=BEAT, do=self._look, name="tables of files")
            self._beats.start()

    def _goes_on(self, beginning: object) -> bool:
        """False if that operator ended; another may have begun since, with options of its own."""
        return self.runs and self._beginning is beginning

    @deferring
    async def _begin_with(self, options: FilingOptions) -> bool:
        """Ids first: nothing is registered before. False if it has to be tried again."""
        tsd, beginning = self._tsd(), self._beginning
        try:
            if tsd is None:
                raise AnyLogError(5, "almgm.tsd_info is not there")
            await self._hand_over(tsd)
            await self._recovery.see_ids([self._databases.get(name) for name in self._attached()], options)
        except AnyLogError as why:
            if not self._told:
                self.log.warn("files cannot be registered yet: {why}", why=str(why))
            self._told = True
            return False
        self._registry.returned.update(await returned(tsd))
        await self.earlier.settle(tsd)
        if self._beginning is not beginning:
            return False  # the one that began since says where files go
        self._told, self._registry.sure = False, tsd
        self._filing.options = options
        self.earlier.go_on()
        await gather([self.compared(name) for name in sorted(self._attached())])
        if tsd is not self._checked:
            self._checked = tsd
            try:
                await check_sums(tsd, lambda: self.runs)
            except AnyLogError as why:
                self.log.warn("sums of the tables of files: {why}", why=str(why))
        return True

    @deferring
    async def _look(self) -> None:
        """Tables of files that were dropped and made anew, or put back, are compared with what is here."""
        options = self._filing.options
        if self.runs and options is not None and self._registry.unsure:
            self.log.warn("the tables of files are others than before: they are compared with all databases")
            await self._begin_with(options)

    def end(self) -> None:
        """No operator runs: what comes is registered, and kept as files where they were to go, as what of its member.

        Nothing is compared from now on.
        """
        if self.runs:
            self._left = self._registry.member()
        self.runs = self._begun = False
        self._apart.clear()
        self._recovery.since.clear()
        for call in self._again.values():
            call.cancel()
        self._again.clear()
        if self._beats is not None:
            self._beats.stop()
            self._beats = None
        if self._late is not None:
            self._late.cancel()
            self._late = None

    @deferring
    async def compared(self, name: str) -> None:
        """What the databases say of each other, if an operator runs (hard-parts.md 2.3)."""
        options = self._filing.options
        if not self.runs or options is None or not options.tsd or name in SYSTEM:
            return
        if not self.settled(self._registry.member()):  # what is here may be taken for another member's
            self.compare_again(name)
            return
        mine = self._apart[name] = object()
        try:
            done = await self._recovery.compare(name, self._databases.get(name), options)
            if not {UNREAD, UNMADE, UNTOLD} & done.keys():
                if self._apart.get(name) is mine:  # else another comparison is to say so, or it lacks rows since then
                    del self._apart[name]
                return
        except AnyLogError as why:
            self.log.error("{name} and almgm cannot be compared: {why}", name=name, why=str(why))
        self.compare_again(name)

    def compare_again(self, name: str) -> None:
        """A database lacks rows that its tables of files say are loaded: it is compared again in a while."""
        if not self.runs:
            return
        self._apart[name] = object()
        if name not in self._again:
            self._again[name] = self._clock.callLater(AGAIN, self._compare_again, name)

    def _compare_again(self, name: str) -> None:
        del self._again[name]
        if name in self._attached():
            compared = self.compared(name)
            compared.addErrback(lambda failure: self.log.failure("comparing {name}", failure, name=name))
        else:
            self._apart.pop(name, None)  # it is compared when it is connected again

    def member(self, dbms: str) -> tuple[bool, int]:
        """Whether readings of now become files, and the member in whose name; its id 0: they are not registered."""
        if dbms in SYSTEM:
            return False, 0
        if self.runs:
            return True, self._registry.member()
        # Until the operator of before runs again this node is its member: the others are to get what comes meanwhile.
        # It waits to be registered, also while `almgm` is not connected.
        member = self.remembered or self._left
        return bool(member), member

    def _look_late(self) -> None:
        self._late = None
        looked = Deferred.fromCoroutine(self._recovery.orphans())
        looked.addCallbacks(
            self._still_late, lambda failure: self.log.warn("orphans of almgm: {why}", why=str(failure.value))
        )

    def _still_late(self, waiting: int) -> None:
        """Some of them wait in a long directory: they are looked at again."""
        if waiting and self.runs and self._late is None:
            self._late = self._clock.callLater(LATE, self._look_late)


def _noted(disk: Disk, path: Path) -> tuple[int, int, str]:
    """The member id in the note of the operator that ran here last, 0 if there is none; whose `tsd_info` is, if it is
    another's; and the cluster of its files, "" in an old note."""
    try:
        member, former, cluster = [*disk.read(path).decode().split(), "0", ""][:3]
        return int(member), int(former), cluster
    except (OSError, ValueError):
        return 0, 0, ""
