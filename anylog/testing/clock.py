"""A clock that is moved by hand, quick with many calls: Twisted's sorts all of them whenever one is added."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled


class HeapCall:
    """A call that is to be made later."""

    __slots__ = ("_clock", "args", "call", "key", "kwargs", "time")

    def __init__(self, clock: HeapClock, time: float, call: Callable[..., object], args: Any, kwargs: Any) -> None:
        self._clock, self.time, self.args, self.kwargs = clock, time, args, kwargs
        self.call: Callable[..., object] | None = call
        self.key = 0  # by which the clock knows that it was not moved since; -1: cancelled

    def active(self) -> bool:
        """Whether it is still to be made."""
        return self.call is not None

    def getTime(self) -> float:
        """When."""
        return self.time

    def cancel(self) -> None:
        """Never make it. Raises AlreadyCalled or AlreadyCancelled."""
        self._check()
        self.call, self.key = None, -1

    def reset(self, seconds: float) -> None:
        """Make it so many seconds from now. Raises AlreadyCalled or AlreadyCancelled."""
        self._check()
        self.time = self._clock.seconds() + seconds
        self._clock.place(self)

    def delay(self, seconds: float) -> None:
        """Make it so much later. Raises AlreadyCalled or AlreadyCancelled."""
        self._check()
        self.time += seconds
        self._clock.place(self)

    def _check(self) -> None:
        if self.call is None:
            raise AlreadyCancelled if self.key == -1 else AlreadyCalled


class HeapClock:
    """`twisted.internet.task.Clock` with calls in a heap; those of one moment are made in the order they were asked."""

    def __init__(self, begin: float = 0.0) -> None:
        self._now = begin
        self._heap: list[tuple[float, int, HeapCall]] = []
        self._count = count(1)

    def seconds(self) -> float:
        """What it shows."""
        return self._now

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kwargs: Any) -> HeapCall:
        """Make a call so many seconds from now."""
        made = HeapCall(self, self._now + delay, call, args, kwargs)
        self.place(made)
        return made

    def place(self, call: HeapCall) -> None:
        """Its time was set."""
        call.key = next(self._count)
        heappush(self._heap, (call.time, call.key, call))

    def following(self) -> float | None:
        """When the next call is made, if there is one."""
        heap = self._heap
        while heap and heap[0][2].key != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else None

    def getDelayedCalls(self) -> list[HeapCall]:
        """All that are to be made, the next one first."""
        return [call for _, key, call in sorted(self._heap) if call.key == key]

    def advance(self, seconds: float) -> None:
        """Let that much time pass at once, and make all calls that are due then."""
        self._now += seconds
        while (following := self.following()) is not None and following <= self._now:
            _, _, due = heappop(self._heap)
            call, due.call, due.key = due.call, None, 0
            assert call is not None
            call(*due.args, **due.kwargs)
