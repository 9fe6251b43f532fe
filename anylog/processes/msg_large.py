"""Long messages of a message client are mapped in parts: others are served meanwhile (ingest.md 4.3).

What comes behind a long message of the same topic waits for it, so that the order of a topic is kept; other topics do
not wait. One long message at a time is mapped on a node, since while it is it takes many times its size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList

from anylog.errors import AnyLogError
from anylog.interfaces import Arrived, Clock, Repeat
from anylog.mapping.parts import ROWS, Parts
from anylog.waiting import deferring, pause

LONG = 32 << 10  # bytes of a message from which it may take long to map it
LARGE = 256 << 10  # bytes from which it is worth a hop to another thread to read it

T = TypeVar("T")
Item = tuple[Repeat | None, Arrived]
Lost = dict[int, AnyLogError]  # those of a batch that are not kept, by their place


@define(eq=False)
class Pace:
    """Drives work that is done in parts, with a pause after every `ROWS` rows."""

    _clock: Clock
    _done: int = 0

    async def through(self, parts: Parts[T]) -> T:
        """The result of the work. Raises what it raises."""
        while True:
            try:
                self._done += next(parts)
            except StopIteration as end:
                result: T = end.value
                return result
            await self.rest()

    async def rest(self, rows: int = 0) -> None:
        """So many rows more are done: a pause if it is time for one."""
        self._done += rows
        if self._done >= ROWS:
            self._done = 0
            await pause(self._clock, 0)


@define(eq=False)
class Lines:
    """Messages that wait in line for long ones of their topics."""

    _take: Callable[[Sequence[Item]], Deferred[Lost]]  # short ones, at once
    _long: Callable[[Item], Deferred[Lost]]  # one, in parts; fires when it is dealt with
    _lines: dict[str, deque[tuple[Sequence[Item], Deferred[Lost]]]] = field(factory=dict)  # by topic

    def needed(self, batch: Sequence[Item]) -> bool:
        """Whether a batch cannot be taken at once as a whole."""
        if self._lines:
            return True
        return max([len(message.payload) for _, message in batch], default=0) >= LONG

    def take(self, batch: Sequence[Item]) -> Deferred[Lost]:
        """Fires when all of a batch are dealt with."""
        at_once: list[int] = []
        later: dict[str, list[int]] = {}
        for place, (_, message) in enumerate(batch):
            topic = message.topic
            if topic in later:
                later[topic].append(place)
            elif topic in self._lines or len(message.payload) >= LONG:
                later[topic] = [place]
            else:
                at_once.append(place)
        waits: list[tuple[Sequence[int], Deferred[Lost]]] = []
        if at_once:
            waits.append((at_once, self._take([batch[place] for place in at_once])))
        for topic, places in later.items():
            waits.append((places, self._behind(topic, [batch[place] for place in places])))
        return _together(waits)

    def _behind(self, topic: str, items: Sequence[Item]) -> Deferred[Lost]:
        told: Deferred[Lost] = Deferred()
        line = self._lines.get(topic)
        if line is not None:
            line.append((items, told))
        else:
            self._lines[topic] = deque([(items, told)])
            self._work(topic)
        return told

    @deferring
    async def _work(self, topic: str) -> None:
        """Goes along a line until nobody is left in it."""
        line = self._lines[topic]
        while line:
            items, told = line.popleft()
            try:
                taken = _together(await self._begin(items))
            except Exception as why:  # whoever waits must hear of it, and those behind must not wait for ever
                told.errback(why)
            else:
                taken.addCallbacks(told.callback, told.errback)
        del self._lines[topic]

    async def _begin(self, items: Sequence[Item]) -> list[tuple[Sequence[int], Deferred[Lost]]]:
        """One after the other: short ones are not waited for."""
        waits: list[tuple[Sequence[int], Deferred[Lost]]] = []
        short: list[int] = []
        for place, item in enumerate(items):
            if len(item[1].payload) < LONG:
                short.append(place)
                continue
            if short:
                waits.append((short, self._take([items[each] for each in short])))
                short = []
            kept: Deferred[Lost] = Deferred()
            waits.append(([place], kept))
            try:
                lost = await self._long(item)
            except Exception as why:  # a fault of ours over one of them
                kept.errback(why)
            else:
                kept.callback(lost)
        if short:
            waits.append((short, self._take([items[each] for each in short])))
        return waits


def _together(waits: Sequence[tuple[Sequence[int], Deferred[Lost]]]) -> Deferred[Lost]:
    """What is lost of several parts of a batch, each with its places in it; fails with the first that fails."""

    def ended(outcomes: list[tuple[bool, Any]]) -> Any:
        lost: Lost = {}
        for (fine, value), (places, _) in zip(outcomes, waits, strict=True):
            if not fine:
                return value
            some: Mapping[int, AnyLogError] = value
            lost.update({places[place]: why for place, why in some.items()})
        return lost

    return DeferredList([wait for _, wait in waits], consumeErrors=True).addCallback(ended)
