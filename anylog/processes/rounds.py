"""Buffers that wait to become files, taken in rounds, tried again while disk or `almgm` refuse (hard-parts.md 1.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
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


@define(kw_only=True, eq=False)
class Rounds:
    """A queue of buffers; one round at a time."""

    _clock: Clock
    _counts: Counts
    # Gives those that have to be tried again, and why; AnyLogError or OSError: all of them.
    _round: Callable[[Sequence[Buffer]], Awaitable[tuple[Sequence[Buffer], str]]]
    _open: Callable[[], bool]  # whether there is somewhere to put files
    _gather: float = 0.0  # seconds between rounds while little waits
    waiting: str = ""  # why nothing becomes a file at the moment
    log = Logger()

    queue: deque[Buffer] = field(factory=deque)
    _running: bool = False
    _stopped: bool = False
    _pausing: Deferred[None] | None = None
    _idle: list[Deferred[None]] = field(factory=list)

    def add(self, buffer: Buffer) -> None:
        """One more."""
        self.queue.append(buffer)
        self.go_on()

    def go_on(self) -> None:
        """There may be somewhere to put files now."""
        if self.queue and not self._running and not self._stopped and self._open():
            self._running = True
            self._clock.callLater(0, self._work)

    def drained(self) -> Deferred[None]:
        """Fires when the queue is empty, or what is left has to wait."""
        return self._told_idle(self._running and not self.waiting)

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
            while self.queue and self._open() and not self._stopped:
                taken = self._take()
                left: Sequence[Buffer] = taken
                try:
                    left, why = await self._round(taken)
                    attempt = 0 if len(left) < len(taken) else attempt
                except (AnyLogError, OSError) as refusal:
                    why = str(refusal)
                except CancelledError:
                    raise
                except Exception:  # a fault of ours: the readings are safe where they are, and the reason is told
                    self.log.failure("making files failed")
                    why = "internal error, see the log"
                if why and why != self.waiting:
                    self.log.warn("files wait: {why}", why=why)
                    self._counts.add("refused", 1, why)
                self.waiting = why
                self.queue.extend(left)
                if left:
                    self._tell_idle()
                    await self._wait(PAUSES[min(attempt, len(PAUSES) - 1)])
                    attempt += 1
                elif self._gather and not self._idle and len(self.queue) < AT_ONCE // 4:
                    await self._wait(self._gather)
        finally:
            self._running = False
            self._tell_idle()

    def _take(self) -> list[Buffer]:
        taken: list[Buffer] = []
        size = 0
        while self.queue and len(taken) < AT_ONCE and size < BYTES_AT_ONCE:
            taken.append(self.queue.popleft())
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
