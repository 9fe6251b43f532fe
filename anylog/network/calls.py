"""Who called the REST server, how often, and what went wrong: the rows of `get rest calls` (rest.md 9)."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

MOST_CALLERS = 100  # product names come from strangers; beyond this many they share one row a method
METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"))  # so do methods; all others are one


@define
class Calls:
    """One caller's calls by one method."""

    caller: str
    method: str
    processed: int = 0
    errors: int = 0
    last_error: str = ""
    first: float = 0.0  # unix seconds
    last: float = 0.0
    peer: str = ""  # ip:port of the last one


@define
class CallCounts:
    """All callers, by agent product and method."""

    _rows: dict[tuple[str, str], Calls] = field(factory=dict)

    def add(self, caller: str, method: str, peer: str, now: float, error: str | None = None) -> None:
        """Count one call at `now`; `error` is its text if it was refused or failed."""
        method = method if method in METHODS else "-"
        row = self._rows.get((caller, method))
        if row is None:
            if len(self._rows) >= MOST_CALLERS:
                caller = "others"
            row = self._rows.setdefault((caller, method), Calls(caller, method, first=now))
        row.processed += 1
        row.last, row.peer = now, peer
        if error is not None:
            row.errors += 1
            row.last_error = error

    def __iter__(self) -> Iterator[Calls]:
        """Rows sorted by caller, in the order its methods were first used."""
        first_seen = {row.caller: number for number, row in reversed(list(enumerate(self._rows.values())))}
        return iter(sorted(self._rows.values(), key=lambda row: first_seen[row.caller]))
