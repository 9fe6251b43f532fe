"""Long blocking work in short slices: others use the lane between them, and whoever asked may give up."""

from __future__ import annotations

from collections.abc import Generator
from threading import Lock
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from anylog.interfaces import ILane
from anylog.waiting import deferring

Y = TypeVar("Y")
R = TypeVar("R")


@define(eq=False)
class Steps(Generic[Y, R]):
    """A generator that is run from `yield` to `yield` in a lane; each slice may be done by another thread.

    Its `finally` blocks run in the lane, too, however it ends.
    """

    _lane: ILane
    _work: Generator[Y, None, R]
    _held: Lock = field(factory=Lock)  # a thread may still be in a slice when it is to be closed
    _over: bool = False

    def next(self) -> Deferred[tuple[Y | None, R | None, bool]]:
        """One slice: what it yielded, or what it returned and that it is over. Fails as the work, or as the lane."""
        return self._lane.run(self._slice)

    @deferring
    async def result(self) -> R:
        """All of it. Cancelling ends it after the slice that is being done."""
        try:
            while True:
                _, returned, over = await self.next()
                if over:
                    return returned  # type: ignore[return-value]
        finally:
            self.close()

    def close(self) -> None:
        """Let go of what it holds; safe at any time and more than once."""
        if not self._over:
            self._lane.run(self._end).addErrback(self._end_here)

    def _slice(self) -> tuple[Y | None, R | None, bool]:
        with self._held:
            try:
                return next(self._work), None, False
            except StopIteration as end:
                self._over = True
                return None, end.value, True
            except BaseException:
                self._over = True
                raise

    def _end(self) -> None:
        with self._held:
            self._over = True
            self._work.close()

    def _end_here(self, failure: Failure) -> Any:
        """The lane takes nothing more, the node is stopping: a file or two are closed at once."""
        self._end()
