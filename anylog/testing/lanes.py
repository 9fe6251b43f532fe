"""Lanes without threads: work is done at once, or when a clock says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred, succeed

from anylog.interfaces import Clock
from anylog.waiting import deferring

T = TypeVar("T")


@define(eq=False)
class InlineLane:
    """Does its work at once; the Deferred has fired already."""

    name: str = "inline"
    depth: int = 0

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Do it now."""
        return maybeDeferred(work, *args)


@define(eq=False)
class ClockLane:
    """Does its work in order, each piece `seconds` of the clock after the one before has ended."""

    _clock: Clock
    seconds: float
    name: str = "clock"
    depth: int = 0
    _queue: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = field(factory=list)

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Do it later."""
        done: Deferred[T] = Deferred()
        self._queue.append((done, work, args))
        self.depth += 1
        if self.depth == 1:
            self._clock.callLater(self.seconds, self._next)
        return done

    def _next(self) -> None:
        done, work, args = self._queue.pop(0)
        self.depth -= 1
        if self._queue:
            self._clock.callLater(self.seconds, self._next)
        maybeDeferred(work, *args).chainDeferred(done)


@define(eq=False)
class InlineLanes:
    """All lanes of a node under test."""

    _lanes: dict[str, InlineLane] = field(factory=dict)

    def open(self, name: str, threads: int = 1) -> InlineLane:
        """The lane of that name."""
        return self._lanes.setdefault(name, InlineLane(name))

    def close(self, name: str) -> Deferred[None]:
        """Forget it."""
        self._lanes.pop(name, None)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Forget all."""
        self._lanes.clear()
        return succeed(None)


@define(eq=False)
class ClockLanes:
    """Lanes whose work takes some seconds of the clock each; that of lanes with more threads, too, one at a time."""

    _clock: Clock
    seconds: float
    _lanes: dict[str, ClockLane] = field(factory=dict)

    def open(self, name: str, threads: int = 1) -> ClockLane:
        """The lane of that name."""
        if name not in self._lanes:
            self._lanes[name] = ClockLane(self._clock, self.seconds, name)
        return self._lanes[name]

    def close(self, name: str) -> Deferred[None]:
        """Fires when all its work is done."""
        lane = self._lanes.pop(name, None)
        return lane.run(lambda: None) if lane is not None else succeed(None)

    @deferring
    async def stop(self) -> None:
        """Fires when all work of all lanes is done."""
        for name in list(self._lanes):
            await self.close(name)
