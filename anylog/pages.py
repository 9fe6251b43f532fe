"""Bodies that come in pages, read at once."""

from __future__ import annotations

from attrs import define
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, IBody
from anylog.waiting import deadline


@define(eq=False)
class Patient:
    """A body of which each page may take `silence` seconds, and all of them until `until` (seconds of the clock)."""

    _body: IBody
    _clock: Clock
    _silence: float
    _until: float

    def next(self) -> Deferred[bytes | None]:
        """The next page. Fails as the body does, and with AnyLogError 26 if it takes too long; then ask no more."""
        left = max(0.001, min(self._silence, self._until - self._clock.seconds()))
        return deadline(self._clock, left, self._body.next(), "waiting for the next bytes")

    def close(self) -> None:
        """Let go of the body."""
        self._body.close()


async def all_pages(body: IBody | None, most: int | None, what: str = "an answer") -> bytes:
    """All pages of a body, which is closed then whatever happens; empty if there is none.

    Raises AnyLogError 77, which says `what` it is, as soon as there are more than `most` bytes; None: as many as come.
    """
    data = bytearray()
    if body is None:
        return b""
    try:
        while (page := await body.next()) is not None:
            data += page
            if most is not None and len(data) > most:
                raise AnyLogError(77, f"{what} of more than {most >> 20} MB")
    finally:
        body.close()
    return bytes(data)
