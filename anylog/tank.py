"""A measure with two marks: who is told to pause, and when to go on."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred


@define
class Tank:
    """Counts bytes (or any unit) held. At `high` it is full until it falls to `low`, so nothing flutters."""

    low: int
    high: int
    held: int = 0
    full: bool = False
    _waiting: list[Deferred[None]] = field(factory=list)
    _watchers: list[Callable[[bool], None]] = field(factory=list)

    def watch(self, told: Callable[[bool], None]) -> None:
        """Call `told(True)` when the tank becomes full and `told(False)` when it may be filled again."""
        self._watchers.append(told)

    def put(self, amount: int) -> None:
        """Hold `amount` more. Never refuses: what was accepted is held; the mark is for what comes next."""
        self.held += amount
        if not self.full and self.held >= self.high:
            self.full = True
            for told in self._watchers:
                told(True)

    def take(self, amount: int) -> None:
        """Let go of `amount`."""
        self.held -= amount
        if self.full and self.held <= self.low:
            self.full = False
            waiting, self._waiting = self._waiting, []
            for told in self._watchers:
                told(False)
            for waited in waiting:
                if not waited.called:  # who is told may cancel others
                    waited.callback(None)

    def room(self) -> Deferred[None]:
        """Fires when the tank may be filled (at once if it is not full)."""
        waited: Deferred[None] = Deferred(self._forget)
        if self.full:
            self._waiting.append(waited)
        else:
            waited.callback(None)
        return waited

    def _forget(self, gone: Deferred[None]) -> None:
        if gone in self._waiting:
            self._waiting.remove(gone)
