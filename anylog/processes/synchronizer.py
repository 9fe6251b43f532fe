"""Keeps the local copy of the ledger like the global one (metadata.md 7)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from attrs import define, evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.process import LEDGER, Process, Rhythm
from anylog.waiting import deadline, deferring

SOON = 0.02  # seconds that changes are gathered before they are fetched
APART = 0.25  # seconds between two looks because of changes
REMEMBERED = 1.0  # seconds for which what was just fetched is taken as it is
FIRST = 5.0  # seconds that the start waits for the first look at the ledger


@frozen(kw_only=True)
class SyncOptions:
    """What `run blockchain sync` was told."""

    source: str  # "master" or "dbms"
    connection: str  # ip:port of the master; empty for dbms
    seconds: float
    dest: tuple[str, ...] = ("file",)


class Look(Protocol):
    """One look at the global ledger: fetch what changed, merge it, send what waits."""

    def __call__(self, connection: str) -> Awaitable[bool]:
        """Whether anything had changed. Raises AnyLogError while the ledger cannot be reached or makes no sense."""


@define
class Looks:
    """How often it was looked, and what came of it."""

    calls: int = 0
    loads: int = 0
    errors: int = 0
    last: float = -1e9  # when the last one began
    updated: float | None = None  # unix seconds of the last one that ended well
    failure: str = ""


class Synchronizer(Process):
    """Looks at the ledger at a rhythm, and at once when told that it moved."""

    name = "synchronizer"
    floor = LEDGER
    log = Logger()

    def __init__(self, *, clock: Clock, options: SyncOptions, look: Look) -> None:
        self.options, self.looks = options, Looks()
        self._clock, self._look = clock, look
        self._rhythm = self._new_rhythm()
        self._looking: Deferred[None] | None = None
        self._again: list[Deferred[None]] = []  # who waits for the look after the one at hand
        self._soon = False
        self._going = False

    @deferring
    async def start(self) -> None:
        """Look once, then at the rhythm; a ledger that is away is no reason not to start."""
        self._going = True
        self._rhythm.start()
        try:
            await deadline(self._clock, FIRST, self.look(), "looking at the ledger")
        except AnyLogError as late:
            self.log.warn("{why}", why=str(late))

    @deferring
    async def stop(self) -> None:
        """Look no more; the look at hand may end."""
        self._going = False
        await self._rhythm.stop()
        if self._looking is not None:
            self._looking.cancel()

    @property
    def every(self) -> float:
        """Seconds between two looks."""
        return self.options.seconds

    def describe(self) -> str:
        """As `get processes` shows it."""
        given = self.options
        told = f"Sync every {given.seconds:g} seconds with {given.source}"
        if given.source == "master":
            told += f" using: {given.connection}"
        return f"{told}; {self.looks.failure}" if self.looks.failure else told

    def switch(self, connection: str) -> None:
        """Another master from now on (`blockchain switch network`)."""
        self.options = evolve(self.options, source="master", connection=connection)
        self.moved()

    def moved(self) -> None:
        """The ledger has changed: look soon, once for all changes that come meanwhile."""
        if self._going and not self._soon:
            self._soon = True
            rest = self.looks.last + APART - self._clock.seconds()
            self._clock.callLater(max(SOON, rest), self._now)

    def _now(self) -> None:
        self._soon = False
        if self._going:
            self.look()

    def refresh(self) -> Deferred[None]:
        """Look now, unless that was done a moment ago. Never fails: what is known then is all there is to know."""
        if self._looking is None and self._clock.seconds() - self.looks.last < REMEMBERED and not self._soon:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        return self.look()

    def look(self) -> Deferred[None]:
        """A look that begins after this call; shared by all who ask for one. Never fails."""
        told: Deferred[None] = Deferred(lambda _: None)
        self._again.append(told)
        if self._looking is None:
            self._begin()
        return told

    def _begin(self) -> None:
        waiting, self._again = self._again, []
        looking = self._looking = Deferred.fromCoroutine(self._once())

        def ended(result: object) -> None:
            if self._looking is looking:
                self._looking = None
            if self._again:
                self._begin()
            for told in waiting:
                if not told.called:
                    told.callback(None)

        looking.addBoth(ended)

    async def _once(self) -> None:
        looks, connection = self.looks, self.options.connection
        looks.calls += 1
        looks.last = self._clock.seconds()
        try:
            if await self._look(connection):
                looks.loads += 1
            if looks.failure:
                self.log.info("the ledger is back")
            looks.failure, looks.updated = "", self._clock.seconds()
        except CancelledError:
            raise
        except AnyLogError as away:
            looks.errors += 1
            if away.number in (208, 15, 26, 506):
                why = f"Failed to connect to master using: {connection}"
            else:
                why = f"Failed to use the ledger of {connection or 'this node'}: {away}"
            if why != looks.failure:
                self.log.warn("{why} ({cause})", why=why, cause=str(away))
            looks.failure = why

    def _new_rhythm(self) -> Rhythm:
        # A beat waits for its look, so that a slow ledger is not asked twice at once.
        return Rhythm(clock=self._clock, every=self.options.seconds, do=self.look, name="synchronizer")


def hms(seconds: float) -> str:
    """Seconds as HH:MM:SS."""
    whole = max(0, int(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
