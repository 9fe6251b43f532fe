"""What any background process is: start, exit, describe, and the floor on which it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, DelayedCall
from anylog.waiting import deadline

# The order in which a node stops: doors first, so that nothing new comes in (architecture.md 4).
DOORS, SOURCES, STREAMER, WORKERS, LEDGER = range(5)

# Rows of `get processes` in order, with the name used by `test process` and `exit` (monitoring.md 2.2).
ROWS: tuple[tuple[str, str], ...] = (
    ("TCP", "tcp"),
    ("REST", "rest"),
    ("Operator", "operator"),
    ("Publisher", "publisher"),
    ("Blockchain Sync", "synchronizer"),
    ("Scheduler", "scheduler"),
    ("Distributor", "distributor"),
    ("Consumer", "consumer"),
    ("Blobs Archiver", "archiver"),
    ("MQTT", "mqtt"),
    ("Kafka Consumer", "kafka"),
    ("Syslog", "syslog"),
    ("Message Broker", "broker"),
    ("SMTP", "smtp"),
    ("Streamer", "streamer"),
    ("UNS Streamer", "uns streamer"),
    ("Query Pool", "query pool"),
    ("Telnet Console", "telnet"),
    ("SSH Console", "ssh"),
)
PLUGGED = frozenset({"kafka", "syslog"})  # those that are southbound plug-ins


class Process:
    """One background process. Subclasses set `name` (as in `exit name`) and do the work."""

    name: str = ""
    floor: int = WORKERS

    def start(self) -> Deferred[None] | None:
        """Begin; may take a while. Raises or fails with AnyLogError if it cannot."""

    def stop(self) -> Deferred[None] | None:
        """Finish what is held and end."""

    def describe(self) -> str:
        """The details column of `get processes`."""
        return ""


class Rhythm:
    """Do one thing at every beat, and survive the beats that fail (style.md 4)."""

    log = Logger()

    def __init__(self, *, clock: Clock, every: float, do: Callable[[], object], name: str) -> None:
        self._clock, self._every, self._do, self._name = clock, every, do, name
        self._next: DelayedCall | None = None
        self._beating: Deferred[object] | None = None
        self._going = False

    def start(self) -> None:
        """The first beat comes after one interval."""
        self._going = True
        self._next = self._clock.callLater(self._every, self._beat)

    def stop(self) -> Deferred[None]:
        """No more beats; fires when the one at hand has ended."""
        self._going = False
        if self._next is not None:
            self._next.cancel()
            self._next = None
        ended: Deferred[None] = Deferred()
        if self._beating is None:
            ended.callback(None)
        else:
            self._beating.addBoth(lambda result: ended.callback(None))
        return ended

    def _beat(self) -> None:
        self._next = None
        self._beating = maybeDeferred(self._do)
        self._beating.addErrback(lambda failure: self.log.failure("{name} missed a beat", failure, name=self._name))
        self._beating.addBoth(self._again)

    def _again(self, result: object) -> None:
        self._beating = None
        if self._going:
            self._next = self._clock.callLater(self._every, self._beat)


@define
class Processes:
    """The processes that run on one node, by name."""

    _clock: Clock
    _running: dict[str, Process] = field(factory=dict)
    _starting: set[str] = field(factory=set)
    _ending: set[str] = field(factory=set)
    _stopped: bool = False
    log = Logger()

    async def start(self, process: Process) -> None:
        """Start and keep it. Raises AnyLogError 136 if one of that name runs, or has something in work still; 506 if
        the node is shutting down, or began to while the process started: then it was stopped again."""
        if self._stopped:
            raise AnyLogError(506, f"{process.name} is not started: the node is shutting down")
        if process.name in self._running or process.name in self._starting:
            raise AnyLogError(136, f"{process.name} is already running: use 'exit {process.name}' first")
        if process.name in self._ending:  # two of them would take the same files in hand
            raise AnyLogError(136, f"{process.name} is still ending: what it has in work is being finished")
        self._starting.add(process.name)
        try:
            await maybeDeferred(process.start)
            if self._stopped:
                await maybeDeferred(process.stop)
                raise AnyLogError(506, f"{process.name} was stopped again: the node is shutting down")
            self._running[process.name] = process
        finally:
            self._starting.discard(process.name)

    async def exit(self, name: str) -> bool:
        """Stop one; False if it was not running."""
        process = self._running.pop(name, None)
        if process is None:
            return False
        self._ending.add(name)
        try:
            await maybeDeferred(process.stop)
        finally:
            self._ending.discard(name)
        return True

    def find(self, name: str) -> Process | None:
        """The running process of that name."""
        return self._running.get(name)

    def running(self) -> Sequence[Process]:
        """All that run, in the order they are stopped."""
        return sorted(self._running.values(), key=lambda process: (process.floor, process.name))

    async def stop(self, seconds: float = 15.0) -> None:
        """Stop all, floor by floor; a process that takes longer than `seconds` is reported and left behind."""
        self._stopped = True
        for process in self.running():
            self._running.pop(process.name, None)
            try:
                await deadline(self._clock, seconds, maybeDeferred(process.stop), f"stopping {process.name}")
            except (AnyLogError, CancelledError) as late:
                self.log.error("{name} did not stop: {why}", name=process.name, why=str(late))
            except Exception:  # nobody above us could do better than to go on stopping the rest
                self.log.failure("{name} failed to stop", name=process.name)
