"""A connection that is not served: it is told why, and closed."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol


class TurnedAway(Protocol):
    """Says one thing and closes."""

    transport: Any

    def __init__(self, text: bytes) -> None:
        self._text = text

    def connectionMade(self) -> None:
        self.transport.write(self._text)
        self.transport.loseConnection()
