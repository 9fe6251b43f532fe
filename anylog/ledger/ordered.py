"""Policies in the order of the ledger, and the version of their text, both kept up change by change. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from hashlib import md5
from typing import Any

from anylog.ledger.policy import Policy

Placed = tuple[str, int, Policy]  # date, arrival, policy: what orders them
STRIDE = 16  # policies between two places at which the sum so far is remembered


class Ordered:
    """By date, then by arrival.

    The version is the MD5 of the text with a line each (metadata.md 1.3). New policies stand at the end, nearly always,
    so it is computed from the last place before the change, not from the beginning.
    """

    def __init__(self) -> None:
        self._placed: list[Placed] = []
        self._sums: list[Any] = [md5(usedforsecurity=False)]  # of the first 0, 16, 32 ... policies

    def __len__(self) -> int:
        return len(self._placed)

    def __iter__(self) -> Iterator[Policy]:
        return (placed[2] for placed in self._placed)

    def last(self, count: int) -> list[Policy]:
        """The last ones."""
        return [placed[2] for placed in self._placed[-count:]] if count else []

    def add(self, placed: Placed) -> None:
        """Put it where it belongs; arrivals are all different."""
        if self._placed and placed[:2] < self._placed[-1][:2]:
            self._change(bisect_left(self._placed, placed[:2]))
            insort(self._placed, placed)
        else:
            self._placed.append(placed)

    def remove(self, placed: Placed) -> None:
        """Take it out; it is there."""
        at = bisect_left(self._placed, placed[:2])
        self._change(at)
        del self._placed[at]

    def _change(self, at: int) -> None:
        del self._sums[at // STRIDE + 1 :]

    def version(self, further: Iterable[Policy] = ()) -> str:
        """The version with the lines of `further` at the end."""
        whole = self._sums[-1].copy()
        at = (len(self._sums) - 1) * STRIDE
        while at < len(self._placed):
            part = self._placed[at : at + STRIDE]
            whole.update("".join(f"{placed[2].text}\n" for placed in part).encode())
            at += len(part)
            if len(part) == STRIDE:
                self._sums.append(whole.copy())
        for policy in further:
            whole.update(f"{policy.text}\n".encode())
        return str(whole.hexdigest())

    def version_without(self, left_out: Iterable[Placed]) -> str:
        """The version that it would have without these, all of which are here."""
        gone = list(left_out)
        whole_version = self.version()  # the sums are there then
        if not gone:
            return whole_version
        out = {placed[1] for placed in gone}
        first = bisect_left(self._placed, min(placed[:2] for placed in gone))
        sums = first // STRIDE
        whole = self._sums[sums].copy()
        for placed in self._placed[sums * STRIDE :]:
            if placed[1] not in out:
                whole.update(f"{placed[2].text}\n".encode())
        return str(whole.hexdigest())
