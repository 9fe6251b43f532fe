"""Policies on their way to a master: until it has answered, a ledger without them proves nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attrs import define, field


@define(eq=False)
class Underway:
    """Ids of policies that a master may take later than anything it is asked now."""

    _asked: Counter[str] = field(factory=Counter)  # and how many questions with each wait for an answer
    _until: dict[str, float] = field(factory=dict)  # whose answer was not heard, and when it is surely too late

    def begin(self, idents: Iterable[str]) -> None:
        """They are about to be sent."""
        self._asked.update(idents)

    def end(self, idents: Iterable[str], until: float | None = None) -> None:
        """They were answered or, with `until` (seconds of the node's clock), nothing was heard and they may arrive."""
        for ident in idents:
            self._asked[ident] -= 1
            if self._asked[ident] <= 0:
                del self._asked[ident]
            if until is not None:
                self._until[ident] = max(until, self._until.get(ident, until))

    def ids(self, now: float) -> set[str]:
        """All that may still arrive."""
        self._until = {ident: until for ident, until in self._until.items() if until > now}
        return {*self._asked, *self._until}
