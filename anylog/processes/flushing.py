"""What a node still does with the readings it took, before it ends (hard-parts.md 1.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.processes.loading import Loader
from anylog.waiting import deadline, pause

# Seconds that a node which ends waits for what is not ready at the moment: a database whose marks are being read, a
# table that the ledger is asked for, a content that is registered once the operator has looked around, or made a file
# once others were asked whether they have it. Each takes an instant, unless something is missing.
SOON = 2.0
LOOK = 0.05  # seconds between two looks at it


async def drained(clock: Clock, seconds: float, loaders: Mapping[str, Loader], makers: Sequence[Any]) -> None:
    """Wait until all is loaded and made into files that can be; after `seconds` each is given up, which is logged."""
    log = Logger()
    waits: list[tuple[Callable[[], Deferred[None]], str, str]] = [
        (loader.drained, f"loading into {name}", "it stays in the journal") for name, loader in sorted(loaders.items())
    ]
    waits += [(maker.drained, "making files", "they are made after the next start") for maker in makers]
    for begin, doing, outcome in waits:
        try:
            await deadline(clock, seconds, begin(), doing)
        except AnyLogError as late:
            log.warn("{why}; {outcome}", why=str(late), outcome=outcome)


async def held_up(clock: Clock, seconds: float, held: Callable[[], bool], flush: Callable[[], Awaitable[Any]]) -> None:
    """Give what is held up for an instant only another try with `flush`, until nothing is, or `seconds` are over."""
    end = clock.seconds() + seconds
    while held() and clock.seconds() < end:
        await pause(clock, LOOK)
        await flush()
