"""Long messages are mapped in parts, between which others can be served. Pure: who drives them decides when."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

ROWS = 500  # rows, or values, that are worked on in one part

T = TypeVar("T")

# Work that can be laid down for a while: it says now and then for how many rows or values it has worked since it said
# so last, and ends with its result.
Parts = Generator[int, None, T]


def at_once(parts: Parts[T]) -> T:
    """The result, without laying it down."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            result: T = end.value
            return result
