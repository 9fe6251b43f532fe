"""An answer in pages, written as fast as its reader takes them and no faster (rest.md 3, architecture.md 7)."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from anylog.interfaces import Clock
from anylog.language.context import Pages
from anylog.network.channel import Request, channel_of
from anylog.waiting import deadline


@implementer(IPushProducer)
class Taker:
    """Knows whether the client takes more."""

    def __init__(self, paused: bool) -> None:
        self._paused = paused
        self._waiting: Deferred[None] | None = None

    def pauseProducing(self) -> None:
        """Enough for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """All was taken."""
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """Nobody is there any more; the request's own notice ends the wait."""

    def ready(self) -> Deferred[None]:
        """Fires when the client takes more."""
        waiting: Deferred[None] = Deferred(self._forget)
        if self._paused:
            self._waiting = waiting
        else:
            waiting.callback(None)
        return waiting

    def _forget(self, _: object) -> None:
        self._waiting = None


async def send(request: Request, pages: Pages, first: bytes | None, *, clock: Clock, limit: float | None) -> None:
    """Write `first` and the pages after it. Raises what `pages.next` fails with; always closes the pages.

    Each page may take `limit` seconds to be made (AnyLogError 26), None or 0: for ever.
    """
    try:
        taker = Taker(paused=channel_of(request).stalled is not None)
        request.registerProducer(taker, True)
        try:
            page = first
            while page is not None and not request.gone:
                if page:
                    request.write(page)
                await taker.ready()
                page = await deadline(clock, limit, pages.next(), "waiting for the next page")
        finally:
            request.unregisterProducer()
    finally:
        pages.close()
