"""Rows of several nodes as one answer: passed on as they come, or merged by their sort keys (query.md 7.2).

Both hold one page of each node at most, and count: an answer that ends early is an error, never a short answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from operator import itemgetter
from typing import Any

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.query.answer import Column
from anylog.query.leader import Asked, Stream
from anylog.waiting import gather


@define(eq=False, kw_only=True)
class _Gathered:
    """What both have: who sends, what is left out, where it ends."""

    asked: Sequence[Asked]
    separator: bytes
    limit: int | None
    offset: int
    columns: list[Column] = field(factory=list)
    _skip: int = field(init=False)
    _given: int = 0
    _closed: bool = False

    def __attrs_post_init__(self) -> None:
        self._skip = self.offset

    @property
    def count(self) -> int:
        """Rows in all."""
        there = max(0, sum(each.rows for each in self.asked) - self.offset)
        return there if self.limit is None else min(there, self.limit)

    @property
    def over(self) -> bool:
        """Whether every row was given."""
        return self._given >= self.count

    def close(self) -> None:
        """The nodes stop."""
        self._closed = True
        for each in self.asked:
            each.stop()

    def _cut(self, rows: list[bytes]) -> list[bytes]:
        """Without those to leave out, and not more than wanted."""
        skipped = min(self._skip, len(rows))
        self._skip -= skipped
        kept = rows[skipped : skipped + self.count - self._given]
        self._given += len(kept)
        return kept


@define(eq=False, kw_only=True)
class Passed(_Gathered):
    """Pages as they are, in turn from each node."""

    _turn: int = 0

    async def next(self) -> bytes | None:
        """The text of the next rows, or None after the last. Raises AnyLogError as `Asked.next`."""
        while not self.over:
            if self._closed:
                raise AnyLogError(23, "the query was stopped")
            live = [each for each in self.asked if not each.over]
            if not live:
                raise AnyLogError(15, f"{self.count - self._given} rows are missing")
            self._turn += 1
            page = await live[self._turn % len(live)].next()
            if page is None:
                continue
            rows, text = page
            if self._skip or rows > self.count - self._given:
                kept = self._cut(text.split(self.separator))
                text = self.separator.join(kept)
                if not kept:
                    continue
            else:
                self._given += rows
            if self.over:
                self.close()
            return text
        return None


@define(eq=False, kw_only=True)
class Merged(_Gathered):
    """Pages that each node has sorted, merged: whatever a node may still send sorts after what was given."""

    falling: Sequence[bool]  # for each sort key
    _held: list[list[Any]] = field(factory=list)  # sorted: keys, then the sender, then the row

    async def next(self) -> bytes | None:
        """The text of the next rows, or None after the last. Raises AnyLogError as `Asked.next`, or 21."""
        while not self.over:
            if self._closed:
                raise AnyLogError(23, "the query was stopped")
            holding = {entry[-2] for entry in self._held}
            hungry = [(each, stream) for each, stream in self._unread() if _sender(each, stream) not in holding]
            if hungry:
                first = [(each, stream) for each, stream in hungry if each.ready(stream)]
                pages: list[Awaitable[Any]] = [Deferred.fromCoroutine(each.take(stream)) for each, stream in first]
                for (each, stream), page in zip(first, await gather(pages), strict=True):
                    if page is not None:
                        self._held += self._entries(each, stream, *page)
                self._sort()
                continue  # until each has something here
            kept = self._cut(self._safe())
            if self.over:
                self.close()
            if kept:
                return self.separator.join(kept)
        return None

    def _unread(self) -> list[tuple[Asked, Stream]]:
        return [(each, stream) for each in self.asked for stream in each.streams if not stream.over]

    def _entries(self, each: Asked, stream: Stream, count: int, text: bytes) -> list[list[Any]]:
        lists, *rows = text.split(b"\n")
        keys = orjson.loads(lists)
        if not len(keys) == len(rows) == count or any(len(key) != len(self.falling) for key in keys):
            raise AnyLogError(21, "rows and their sort keys do not go together", node=stream.address)
        sender = _sender(each, stream)
        for key, row in zip(keys, rows, strict=True):
            key.append(sender)
            key.append(row)
        entries: list[list[Any]] = keys
        return entries

    def _sort(self) -> None:
        """One stable pass for each key, from the last to the first; each sender's rows are sorted, so that is quick."""
        self._held.sort(key=itemgetter(-2))
        for place in reversed(range(len(self.falling))):
            kinds = set(map(type, map(itemgetter(place), self._held)))
            plain = kinds <= {int, float, bool} or kinds == {str}
            key: Any = itemgetter(place) if plain else lambda entry, place=place: _rank(entry[place])
            self._held.sort(key=key, reverse=self.falling[place])

    def _safe(self) -> list[bytes]:
        """Rows that no later one can come before: up to the first end of a page of a sender that has more."""
        last: dict[tuple[int, int], int] = {}
        unfinished = {_sender(each, stream) for each, stream in self._unread()}
        if unfinished:
            for place, entry in enumerate(self._held):
                if entry[-2] in unfinished:
                    last[entry[-2]] = place
        end = min(last.values()) + 1 if last else len(self._held)
        rows = [entry[-1] for entry in self._held[:end]]
        del self._held[:end]
        return rows


def _sender(each: Asked, stream: Stream) -> tuple[int, int]:
    return each.number, stream.number


def _rank(value: Any) -> tuple[int, Any]:
    """NULL before numbers before texts, as the engine sorts."""
    if value is None:
        return 0, 0
    return (2, value) if isinstance(value, str) else (1, value)
