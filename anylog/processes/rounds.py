"""Buffers that wait to become files, taken in rounds, tried again while disk or `almgm` refuse (hard-parts.md 1.4).

A file that cannot be made holds up those of its table, and nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.disk.journal import Stored
from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.processes.buffers import Buffer
from anylog.waiting import deferring, pause

AT_ONCE = 512  # buffers of one round
BYTES_AT_ONCE = 8 << 20  # and their bytes, about
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between attempts while what is needed refuses


class Records(Protocol):
    """Where the readings of a buffer are read back from."""

    def read(self, wanted: Sequence[Stored]) -> Deferred[list[bytes]]:
        """The bodies of records, in the order asked."""

    def put_aside(self, record: Stored, why: str) -> Deferred[Path]:
        """Keep one that nobody understands."""


@define(eq=False)
class _Held:
    """Buffers of one table that have to be tried again."""

    until: float = 0.0
    attempt: int = 0
    why: str = ""
    files: list[Buffer] = field(factory=list)


@define(kw_only=True, eq=False)
class Rounds:
    """A queue of buffers; one round at a time."""

    _clock: Clock
    _counts: Counts
    # Gives why some have to be tried again; AnyLogError or OSError: all of them.
    _round: Callable[[Sequence[Buffer]], Awaitable[Mapping[Buffer, str]]]
    _open: Callable[[], bool]  # whether there is somewhere to put files
    _gather: float = 0.0  # seconds between rounds while little waits
    log = Logger()

    _queue: deque[Buffer] = field(factory=deque)
    _taken: list[Buffer] = field(factory=list)  # of the round on its way those that are tried again if it fails
    _held: dict[tuple[str, str], _Held] = field(factory=dict)  # by database and table
    _dozing: bool = False  # only what has to be tried again is there
    _making: bool = False  # a round is on its way
    _refused: str = ""  # why nothing at all becomes a file at the moment
    _running: bool = False
    _stopped: bool = False
    _pausing: Deferred[None] | None = None
    _idle: list[Deferred[None]] = field(factory=list)

    def add(self, buffer: Buffer) -> None:
        """One more."""
        held = self._held.get(_table(buffer))
        if held is not None and held.files:
            held.files.append(buffer)  # its turn comes with those
        else:
            self._queue.append(buffer)
            if self._dozing and self._pausing is not None:
                self._pausing.cancel()
        self.go_on()

    @property
    def waiting(self) -> str:
        """Why files are not made at the moment, all or some of them."""
        return self._refused or next((held.why for held in self._held.values()), "")

    def __len__(self) -> int:
        return len(self._queue) + sum(len(held.files) for held in self._held.values())

    def clear(self, but: Callable[[Buffer], bool] = lambda buffer: False) -> list[Buffer]:
        """Forget all, `but` some; gives what was there."""
        there = [*self._queue, *(buffer for held in self._held.values() for buffer in held.files)]
        self._queue = deque(buffer for buffer in there if but(buffer))
        self._held.clear()
        self._taken = [buffer for buffer in self._taken if but(buffer)]
        return there

    def go_on(self) -> None:
        """There may be somewhere to put files now."""
        if len(self) and not self._running and not self._stopped and self._open():
            self._running = True
            self._clock.callLater(0, self._work)

    def drained(self) -> Deferred[None]:
        """Fires when the queue is empty, or what is left has to wait."""
        more = bool(self._queue) or self._making or not self._held
        return self._told_idle(self._running and not self._refused and more)

    def stop(self) -> Deferred[None]:
        """No more after the round at hand; the rest stays where it is."""
        self._stopped = True
        return self._told_idle(self._running)

    def _told_idle(self, later: bool) -> Deferred[None]:
        told: Deferred[None] = Deferred()
        if not later:
            told.callback(None)
            return told
        self._idle.append(told)
        if self._pausing is not None:
            self._pausing.cancel()
        return told

    @deferring
    async def _work(self) -> None:
        attempt = 0
        try:
            while len(self) and self._open() and not self._stopped:
                self._release()
                if not self._queue:
                    self._tell_idle()
                    due = min(held.until for held in self._held.values() if held.files)
                    self._dozing = True
                    await self._wait(max(0.0, due - self._clock.seconds()))
                    self._dozing = False
                    continue
                taken, why, self._making = self._take(), "", True
                self._taken = taken
                try:
                    left = await self._round(taken)
                    self._hold(taken, {buffer: left[buffer] for buffer in self._taken if buffer in left})
                    attempt, self._refused = 0, ""
                except (AnyLogError, OSError) as refusal:
                    why = str(refusal)
                except CancelledError:
                    raise
                except Exception:  # a fault of ours: the readings are safe where they are, and the reason is told
                    self.log.failure("making files failed")
                    why = "internal error, see the log"
                self._making = False
                if why:
                    self._say(why, self._refused)
                    self._refused = why
                    self._queue.extend(self._taken)
                    self._tell_idle()
                    await self._wait(PAUSES[min(attempt, len(PAUSES) - 1)])
                    attempt += 1
                elif self._gather and not self._idle and len(self._queue) < AT_ONCE // 4:
                    await self._wait(self._gather)
        finally:
            self._running = self._making = False
            self._tell_idle()

    def _say(self, why: str, before: str) -> None:
        if why != before:
            self.log.warn("files wait: {why}", why=why)
            self._counts.add("refused", 1, why)

    def _hold(self, taken: Sequence[Buffer], left: Mapping[Buffer, str]) -> None:
        """Those that are left wait with all of their table, longer each time that none of it became a file."""
        done = {_table(buffer) for buffer in taken if buffer not in left}
        for table in done & self._held.keys():
            self._held[table].attempt = 0
            if not self._held[table].files:  # else some wait still, beside which these lay in the queue
                del self._held[table]
        again: dict[tuple[str, str], list[Buffer]] = {}
        for buffer in left:
            again.setdefault(_table(buffer), []).append(buffer)
        for table, files in again.items():
            held = self._held.setdefault(table, _Held())
            why = left[files[0]]
            self._say(why, held.why)
            held.until = self._clock.seconds() + PAUSES[min(held.attempt, len(PAUSES) - 1)]
            held.files, held.why, held.attempt = files + held.files, why, held.attempt + 1

    def _release(self) -> None:
        """Those whose pause is over are tried again."""
        now = self._clock.seconds()
        for held in self._held.values():
            if held.files and held.until <= now:
                self._queue.extend(held.files)
                held.files = []

    def _take(self) -> list[Buffer]:
        taken: list[Buffer] = []
        size = 0
        while self._queue and len(taken) < AT_ONCE and size < BYTES_AT_ONCE:
            taken.append(self._queue.popleft())
            size += taken[-1].volume
        return taken

    def _tell_idle(self) -> None:
        idle, self._idle = self._idle, []
        for told in idle:
            told.callback(None)

    async def _wait(self, seconds: float) -> None:
        if self._stopped:
            return
        self._pausing = pause(self._clock, seconds)
        try:
            await self._pausing
        except CancelledError:
            pass  # told to stop, or somebody waits for the end
        finally:
            self._pausing = None


def _table(buffer: Buffer) -> tuple[str, str]:
    return buffer.where.dbms, buffer.where.table
