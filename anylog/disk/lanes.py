"""Blocking work takes a lane: one name, one queue, an order (architecture.md 8).

The threads are our own and not Twisted's pool: a hop costs a third, and the journal makes one for each write.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.waiting import deferring

T = TypeVar("T")

_Work = tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]


@define(eq=False)
class ThreadLane:
    """Work done by threads of its own, in order if there is one thread."""

    name: str
    _reactor: IReactorFromThreads
    _most: int
    depth: int = 0
    _queue: SimpleQueue[_Work | None] = field(factory=SimpleQueue)
    _threads: list[Thread] = field(factory=list)
    _ended: Deferred[None] = field(factory=Deferred)
    _serving: int = 0
    _closed: bool = False

    def begin(self, threads: int) -> None:
        """Start the threads."""
        for number in range(threads):
            # Not daemons: a lane is always emptied and joined by `end`.
            thread = Thread(target=self._serve, name=f"{self.name} {number}")
            self._threads.append(thread)
            self._serving += 1
            thread.start()

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Do `work(*args)`; fails with AnyLogError 502 if too much waits, 506 if it was closed."""
        if self.depth >= self._most:
            return fail(AnyLogError(502, f"lane {self.name}: {self.depth} pieces of work wait"))
        if self._closed:
            return fail(AnyLogError(506, f"lane {self.name} is closed"))
        self.depth += 1
        done: Deferred[T] = Deferred(_ignore)
        self._queue.put((done, work, args))
        return done

    def end(self) -> Deferred[None]:
        """Finish what is queued and let the threads go."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        if not self._threads:
            self._ended.callback(None)
        return self._ended

    def _serve(self) -> None:
        """In a thread: one piece of work after the other."""
        while (asked := self._queue.get()) is not None:
            done, work, args = asked
            try:
                result = work(*args)
            except BaseException:  # it is raised where the work was asked for
                self._reactor.callFromThread(self._failed, done, Failure())
            else:
                self._reactor.callFromThread(self._done, done, result)
            del asked, done, work, args
        self._reactor.callFromThread(self._gone)

    def _done(self, done: Deferred[Any], result: Any) -> None:
        self.depth -= 1
        if not done.called:
            done.callback(result)

    def _failed(self, done: Deferred[Any], failure: Failure) -> None:
        self.depth -= 1
        if not done.called:
            done.errback(failure)

    def _gone(self) -> None:
        self._serving -= 1
        if not self._serving:
            for thread in self._threads:
                thread.join()  # each has said goodbye and is at its very end
            self._ended.callback(None)


def _ignore(cancelled: Deferred[Any]) -> None:
    """Work in a thread cannot be called back: whoever cancels waits no longer, and the result is dropped."""


@define(eq=False)
class ThreadLanes:
    """All lanes of one node."""

    _reactor: IReactorFromThreads
    most: int = 10_000  # pieces of work that may wait in one lane
    _lanes: dict[str, ThreadLane] = field(factory=dict)

    def open(self, name: str, threads: int = 1) -> ThreadLane:
        """The lane of that name, made when first asked for."""
        if name not in self._lanes:
            lane = self._lanes[name] = ThreadLane(name, self._reactor, self.most)
            lane.begin(threads)
        return self._lanes[name]

    def close(self, name: str) -> Deferred[None]:
        """Finish what is queued in that lane and let its threads go."""
        lane = self._lanes.pop(name, None)
        if lane is None:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        return lane.end()

    def depths(self) -> dict[str, int]:
        """Lane name -> pieces of work that wait or run."""
        return {name: lane.depth for name, lane in sorted(self._lanes.items())}

    @deferring
    async def stop(self) -> None:
        """Close all, in order of name."""
        for name in sorted(self._lanes):
            await self.close(name)
