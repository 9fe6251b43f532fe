"""Replies of several nodes, as an assignment keeps them (network.md 6, decisions.md 15, 16)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen


class ReplyList(list[Any]):
    """`x[] = run client ...`: `[[ip:port, reply], ...]`; knows how many nodes were asked."""

    targets: int = 0


class ReplyDict(dict[str, Any]):
    """`x{} = run client ...`: `{ip:port: reply}`."""

    targets: int = 0


@frozen
class Replies:
    """What nodes answered, in the order in which they were named; a node without an answer has no entry."""

    targets: Sequence[str]
    answers: Sequence[tuple[str, Any]]

    def value(self, collects: str) -> Any:
        """As `x =`, `x[] =` or `x{} =` keeps it: a single destination without brackets gives its reply."""
        if collects == "{}":
            made = ReplyDict(self.answers)
            made.targets = len(self.targets)
            return made
        if not collects and len(self.targets) == 1:
            return self.answers[0][1] if self.answers else None
        if not collects:
            listed = ReplyList(reply for _, reply in self.answers)
        else:
            listed = ReplyList([address, reply] for address, reply in self.answers)
        listed.targets = len(self.targets)
        return listed
