"""What a consumer keeps in mind: of other members, of files that it asked for, and of files that came."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred

from anylog.databases.dates import stored_date
from anylog.databases.tsd_ranges import Line, Range, Totals
from anylog.interfaces import Clock
from anylog.processes.missing import SELDOM, Tried
from anylog.processes.pulling import TOO_LARGE, Peer
from anylog.processes.registry import Conflict

NAMED = 5  # databases, or files, in one text
LARGE = 1000  # files that are remembered as too large
RECENT = 30.0  # seconds over which the rate is measured

File = tuple[int, int]  # whose, id


@frozen(kw_only=True)
class ConsumerOptions:
    """What `run data consumer` was told."""

    start: str
    end: str = ""

    @property
    def words(self) -> str:
        """How the range was asked for."""
        return f"{self.start} {self.end}"

    def range(self, now: float) -> Range:
        """As times are stored, in whole seconds: copies of an entry know no parts of one."""
        start = stored_date("start_date", self.start, now)[:19]
        return Range(start, stored_date("end_date", self.end, now)[:19] if self.end else "")


@define(eq=False)
class Look:
    """What the last pass over the files of one member at one other member found."""

    theirs: Totals
    ours: Totals
    open: int = 0  # files that are not here and may still come
    # Database that is not connected here -> files that can come only when it is. They are no reason to go on syncing.
    apart: dict[str, int] = field(factory=dict)
    first: int = 0  # lowest id that is not settled here
    until: float = 0.0  # while nothing changes there is nothing to do before that
    conflicts: Sequence[Conflict] = ()  # ids that have another content there, the first of them
    clash: int = 0  # the lowest such id; 0: none

    @property
    def lacking(self) -> int:
        """Files that are not here."""
        return self.open + sum(self.apart.values())


@define(eq=False)
class Large:
    """Files that a member has, and that are too large to be fetched."""

    _files: dict[File, str] = field(factory=dict)  # with the names of their tables

    def note(self, whose: int, asked: Sequence[Line], large: Collection[int]) -> None:
        """What came of a question for some."""
        for line in asked:
            if line.id not in large:
                self._files.pop((whose, line.id), None)
            elif len(self._files) < LARGE:
                self._files[whose, line.id] = f"{line.dbms}.{line.table}"

    def told(self) -> str:
        """Which, in words; empty: none."""
        named = [f"{id} of member {whose} ({table})" for (whose, id), table in list(self._files.items())[:NAMED]]
        more = f" and {len(self._files) - NAMED} more" if len(self._files) > NAMED else ""
        return f"not fetched, a file that {TOO_LARGE}: {', '.join(named)}{more}" if named else ""


@define(eq=False)
class Link:
    """Another member, and what goes on with it."""

    peer: Peer
    working: Deferred[None] | None = None
    again: bool = False
    fine: bool = False  # the last pass came to its end
    held: str = ""  # why this pass asks for no more files
    own: Deferred[None] | None = None  # fires when the pass over its own files is over
    contact: float = 0.0
    error: str = ""
    errors: int = 0
    complete: bool = False
    losses: int = 0  # of this member, when the last pass began
    range: Range = field(factory=lambda: Range(""))  # in which that looks
    ours: Mapping[str, Totals] = field(factory=dict)  # by table of files, at that time, too
    looks: dict[int, Look] = field(factory=dict)  # by the member whose files they are
    in_flight: int = 0
    large: Large = field(factory=Large)
    # By the same, when it was asked for files that nobody had, or that failed, and of which no time is kept.
    seldom: dict[int, float] = field(factory=dict)

    def unconnected(self) -> str:
        """Which databases it has files of that are not connected here, in words; empty: none."""
        files: dict[str, int] = {}
        for look in self.looks.values():
            for dbms, count in look.apart.items():
                files[dbms] = files.get(dbms, 0) + count
        named = [f"'{dbms}' ({count:,} files)" for dbms, count in sorted(files.items())]
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        return (
            f"not fetched, since the database is not connected here: {', '.join(named[:NAMED])}{more}" if named else ""
        )


@define(eq=False)
class Rate:
    """How fast files come."""

    _came: deque[tuple[float, int, int]] = field(factory=lambda: deque(maxlen=10_000))  # time, files, bytes

    def add(self, at: float, files: int, size: int) -> None:
        """Some came, of so many bytes."""
        self._came.append((at, files, size))

    def now(self, now: float) -> tuple[float, float]:
        """Files a second and bytes a second."""
        recent = [each for each in self._came if now - each[0] <= RECENT]
        if not recent:
            return 0.0, 0.0
        seconds = max(1.0, now - recent[0][0])
        return sum(each[1] for each in recent) / seconds, sum(each[2] for each in recent) / seconds


@define(eq=False)
class Tries:
    """When files were asked for last, of the newest `most` of them."""

    _most: int
    crowded: bool = False  # some were forgotten too early
    _tried: dict[File, Tried] = field(factory=dict)  # the oldest first

    def get(self, whose: int, id: int) -> Tried | None:
        """When that file was asked for."""
        return self._tried.get((whose, id))

    def put(self, whose: int, id: int, tried: Tried) -> None:
        """It is asked for, or was told to be missing."""
        self._tried.pop((whose, id), None)
        self._tried[whose, id] = tried
        if len(self._tried) > self._most:
            self._tried.pop(next(iter(self._tried)))
            self.crowded = True

    def ask(self, whose: int, ids: Sequence[int], now: float) -> dict[int, Tried | None]:
        """They are asked for; gives what was known of each before."""
        earlier = {id: self.get(whose, id) for id in ids}
        for id, before in earlier.items():
            fresh = before is None or now - before.at >= SELDOM
            self.put(
                whose, id, Tried(now) if fresh or before is None else evolve(before, at=now, times=before.times + 1)
            )
        return earlier

    def restore(self, whose: int, ids: Collection[int], earlier: Mapping[int, Tried | None]) -> None:
        """They came, and this node had no room for them: they may be asked for as if they never had been."""
        for id in ids:
            self.pop(whose, id)
            if (before := earlier[id]) is not None:
                self.put(whose, id, before)

    def pop(self, whose: int, id: int) -> None:
        """It is here."""
        self._tried.pop((whose, id), None)

    def forget(self, before: float) -> None:
        """What was asked for before a time."""
        self._tried = {key: each for key, each in self._tried.items() if each.at >= before}
        self.crowded = self.crowded and len(self._tried) > self._most // 2

    def __len__(self) -> int:
        return len(self._tried)


@frozen
class Arrival:
    """A file that was published in the watch directory."""

    at: float
    hash: str
    name: str
    size: int  # bytes


@define(eq=False)
class Arrivals:
    """Files that came, and are in the watch directory still or not loaded yet."""

    bytes: int = 0
    _files: dict[File, Arrival] = field(factory=dict)

    def add(self, whose: int, id: int, arrival: Arrival) -> None:
        """One came, perhaps again."""
        self.remove(whose, id)
        self._files[whose, id] = arrival
        self.bytes += arrival.size

    def remove(self, whose: int, id: int) -> None:
        """It is no longer waited for."""
        gone = self._files.pop((whose, id), None)
        if gone is not None:
            self.bytes -= gone.size

    def find(self, whose: int, id: int) -> Arrival | None:
        """That file, if it came."""
        return self._files.get((whose, id))

    def by_member(self) -> dict[int, list[int]]:
        """The ids of those of each member."""
        found: dict[int, list[int]] = {}
        for whose, id in self._files:
            found.setdefault(whose, []).append(id)
        return found

    def names(self, files: Collection[File]) -> set[str]:
        """How some of them are called."""
        return {self._files[each].name for each in files if each in self._files}

    def __contains__(self, file: object) -> bool:
        return file in self._files

    def __iter__(self) -> Iterator[File]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


async def over_or_late(clock: Clock, work: Deferred[None], seconds: float) -> None:
    """Wait until work that others wait for, too, is over; at most so many seconds of the clock."""
    waited: Deferred[None] = Deferred()
    late = clock.callLater(seconds, waited.callback, None)

    def over(result: None) -> None:
        if late.active():
            late.cancel()
            waited.callback(None)

    work.addCallback(over)
    try:
        await waited
    finally:
        if late.active():
            late.cancel()
