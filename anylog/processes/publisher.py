"""The publisher: takes files of its watch directory, and what came here as streams, to operators (operator-ha.md 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from anylog.interfaces import Clock
from anylog.process import WORKERS, Process, Rhythm
from anylog.processes.outgoing import Outgoing
from anylog.processes.sending import Sending
from anylog.processes.watch import Watch
from anylog.waiting import deferring

FLUSH = 0.5  # seconds between two looks at buffers whose time may be over


@frozen(kw_only=True)
class PublisherOptions:
    """What `run publisher` was told."""

    company: str = ""
    master: str = ""  # ip:port
    watch_dir: Path
    given: Mapping[str, Any]  # every option as it was resolved, as `get publisher config` shows it


class Publisher(Process):
    """Watches, and sends."""

    name = "publisher"
    floor = WORKERS
    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        options: PublisherOptions,
        watch: Watch,
        sending: Sending,
        outgoing: Outgoing,
        flush: Callable[[], object],
    ) -> None:
        """`flush` cuts the buffers whose time is over: here nobody can ask for what is in them."""
        self.options, self.watch, self.sending = options, watch, sending
        self.started = clock.seconds()
        self._outgoing = outgoing
        self._flushes = Rhythm(clock=clock, every=FLUSH, do=flush, name="buffers")

    @deferring
    async def start(self) -> None:
        """Readings are taken from now on. Fails with OSError if what was noted cannot be read."""
        await self._outgoing.notes.recall()
        await self.watch.start()
        self._outgoing.made = self.watch.delivered
        self._outgoing.watch = self.options.watch_dir
        self._flushes.start()

    @deferring
    async def stop(self) -> None:
        """Finish what an operator is being asked about; the rest stays where it lies."""
        self._outgoing.watch = None
        self._outgoing.made = lambda files: None
        await self._flushes.stop()
        self.sending.stop()
        await self.watch.stop()

    def describe(self) -> str:
        """As `get processes` shows it."""
        told = f"Watching: {self.options.watch_dir}"
        return f"{told}, Using Master: {self.options.master}" if self.options.master else told
