"""Blocking work takes a lane: one name, one queue, an order (architecture.md 8)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from anylog.errors import AnyLogError
from anylog.waiting import deferring

T = TypeVar("T")


@define(eq=False)
class ThreadLane:
    """Work done by threads of its own, in order if there is one thread."""

    name: str
    _reactor: IReactorFromThreads
    _pool: ThreadPool
    _most: int
    depth: int = 0

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Do `work(*args)`; fails with AnyLogError 502 when more than the lane's limit waits."""
        if self.depth >= self._most:
            raise AnyLogError(502, f"lane {self.name}: {self.depth} pieces of work wait")
        self.depth += 1
        done: Deferred[T] = deferToThreadPool(self._reactor, self._pool, work, *args)
        return done.addBoth(self._ended)

    def _ended(self, result: Any) -> Any:
        self.depth -= 1
        return result


@define(eq=False)
class ThreadLanes:
    """All lanes of one node."""

    _reactor: IReactorFromThreads
    most: int = 10_000  # pieces of work that may wait in one lane
    _lanes: dict[str, ThreadLane] = field(factory=dict)
    _pools: dict[str, ThreadPool] = field(factory=dict)

    def open(self, name: str, threads: int = 1) -> ThreadLane:
        """The lane of that name, made when first asked for."""
        if name not in self._lanes:
            # Not daemon threads: a lane is always emptied and joined by `close`.
            pool = ThreadPool(1 if threads == 1 else 0, threads, name)
            pool.start()
            self._pools[name] = pool
            self._lanes[name] = ThreadLane(name, self._reactor, pool, self.most)
        return self._lanes[name]

    def close(self, name: str) -> Deferred[None]:
        """Finish what is queued in that lane and let its threads go."""
        pool = self._pools.pop(name, None)
        self._lanes.pop(name, None)
        if pool is None:
            return maybeDeferred(lambda: None)
        # ThreadPool.stop joins its threads, so it is called from a thread that is not one of them.
        closer = ThreadPool(0, 1, f"close {name}")
        closer.start()
        done: Deferred[None] = deferToThreadPool(self._reactor, closer, pool.stop)
        return done.addBoth(partial(self._let_go, closer))

    def depths(self) -> dict[str, int]:
        """Lane name -> pieces of work that wait or run."""
        return {name: lane.depth for name, lane in sorted(self._lanes.items())}

    @deferring
    async def stop(self) -> None:
        """Close all, in order of name."""
        for name in sorted(self._lanes):
            await self.close(name)

    def _let_go(self, closer: ThreadPool, result: Any) -> Any:
        # Its one thread has finished its work and only waits for the word to end.
        closer.stop()
        return result
