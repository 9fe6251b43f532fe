"""Counters of a room: what was done, dropped or refused, by name. Shown by `get ...` and for metrics."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field


@define
class Counts:
    """Named numbers that only grow, and the last event of each name."""

    _numbers: dict[str, int] = field(factory=dict)
    _last: dict[str, str] = field(factory=dict)

    def add(self, name: str, number: int = 1, last: str | None = None) -> None:
        """Count `number` more of `name`; `last` says what the newest one was."""
        self._numbers[name] = self._numbers.get(name, 0) + number
        if last is not None:
            self._last[name] = last

    def __getitem__(self, name: str) -> int:
        return self._numbers.get(name, 0)

    def last(self, name: str) -> str:
        """The newest event counted under `name`, or an empty text."""
        return self._last.get(name, "")

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(sorted(self._numbers.items()))
