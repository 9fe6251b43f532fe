"""Repeats are answered like the first time (decisions.md 8)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.counts import Counts
from anylog.interfaces import Receipt

Known = tuple[str, ...]  # database, table, key; or database, hash of a whole content


@define(kw_only=True, eq=False)
class Once:
    """Remembers receipts by key: `most` of them, each for `lasting` seconds; the oldest go first and are counted."""

    most: int = 100_000
    lasting: float = 86_400.0
    counts: Counts = field(factory=Counts)
    _known: OrderedDict[Known, tuple[float, Receipt]] = field(factory=OrderedDict)
    _coming: dict[Known, list[Deferred[Receipt]]] = field(factory=dict)

    def begin(self, key: Known, now: float) -> Deferred[Receipt] | None:
        """None: it is new, and `end` or `fail` must follow. Else what fires like the first one does or did."""
        while self._known:
            oldest, (at, _) = next(iter(self._known.items()))
            if now - at < self.lasting:
                break
            del self._known[oldest]
        told: Deferred[Receipt] = Deferred()
        if key in self._known:
            receipt = self._known[key][1]
            told.callback(Receipt(receipt.hash, receipt.rows, repeated=True))
        elif key in self._coming:
            self._coming[key].append(told)
        else:
            self._coming[key] = []
            return None
        self.counts.add("repeats")
        return told

    def knows(self, key: Known) -> bool:
        """Whether it is a repeat, of what is safe or of what is on its way."""
        return key in self._known or key in self._coming

    def known(self, key: Known) -> Receipt | None:
        """What is remembered under it."""
        found = self._known.get(key)
        return None if found is None else found[1]

    def end(self, key: Known, now: float, receipt: Receipt) -> None:
        """It is safe: remember it and tell those who asked meanwhile."""
        self.remember(key, now, receipt)
        for told in self._coming.pop(key, ()):
            told.callback(Receipt(receipt.hash, receipt.rows, repeated=True))

    def fail(self, key: Known, error: Exception) -> None:
        """It was not kept: the next one with this key is the first again."""
        for told in self._coming.pop(key, ()):
            told.errback(error)

    def of(self, dbms: str) -> list[Known]:
        """What is remembered of that database."""
        return [key for key in self._known if key[0] == dbms]

    def forget(self, dbms: str, but: Collection[Known]) -> None:
        """What is remembered of that database is new again, but for some."""
        for key in self.of(dbms):
            if key not in but:
                del self._known[key]

    def remember(self, key: Known, at: float, receipt: Receipt) -> None:
        """Known from before, for instance from a database."""
        self._known[key] = (at, receipt)
        self._known.move_to_end(key)
        while len(self._known) > self.most:
            self._known.popitem(last=False)
            self.counts.add("keys dropped early")
