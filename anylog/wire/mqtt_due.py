"""What time brings to a message broker, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any

from attrs import define, field

LEAST = 500  # entries from which a look is worth it


@define(eq=False)
class Due:
    """Entries with their times in unix seconds. What happens is looked up again when it is time.

    Most of what was expected never comes: who says good-bye at once was to be looked at in an hour. So entries that
    mean nothing any more, as `lives` says of time, kind and object, go when they are about as many as the others.
    """

    lives: Callable[[float, str, Any], bool]
    _entries: list[tuple[float, int, str, Any]] = field(factory=list)
    _pushed: int = 0
    _most: int = LEAST

    def __len__(self) -> int:
        return len(self._entries)

    def at(self, when: float, what: str, whom: Any) -> None:
        """To be taken at a time."""
        self._pushed += 1
        heappush(self._entries, (when, self._pushed, what, whom))
        if len(self._entries) > self._most:
            self._entries = [each for each in self._entries if self.lives(each[0], each[2], each[3])]
            heapify(self._entries)
            self._most = max(LEAST, 2 * len(self._entries))

    def first(self) -> float | None:
        """The time of the next; None if nothing is expected."""
        return self._entries[0][0] if self._entries else None

    def taken(self, now: float) -> Iterator[tuple[str, Any]]:
        """Those whose time has come, also such as come meanwhile."""
        while self._entries and self._entries[0][0] <= now:
            yield heappop(self._entries)[2:]
