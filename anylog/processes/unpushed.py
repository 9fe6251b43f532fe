"""Own files that went into the archive while no distributor ran: one that starts soon after brings them, too.

A script starts the operator first. What was in work at the last end is filed at once then, before the distributor that
the script starts next is there; without a push the other members would have it seconds later, when they ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define, field

from anylog.interfaces import Clock

MOST = 5000  # files
RECENT = 120.0  # seconds after which all members that are there have asked for a file: they do that every minute


@define(kw_only=True, eq=False)
class Unpushed:
    """The newest of these files, and which members fetched them meanwhile."""

    _clock: Clock
    _files: dict[int, tuple[float, Path, set[int]]] = field(factory=dict)  # id -> since when, where, who has it

    def __len__(self) -> int:
        return len(self._files)

    def note(self, files: Mapping[int, Path]) -> None:
        """Files, by id, that lie in the archive and were brought to nobody."""
        now = self._clock.seconds()
        for id, path in files.items():
            self._files[id] = now, path, set()
        for id in list(self._files)[: max(0, len(self._files) - MOST)]:
            del self._files[id]

    def given(self, member: int, ids: Sequence[int]) -> None:
        """That member fetched own files with these ids."""
        for id in ids:
            if id in self._files:
                self._files[id][2].add(member)

    def take(self) -> list[tuple[Path, set[int]]]:
        """What is to be brought now, with the members that have it, each file once."""
        files, self._files = self._files, {}
        since = self._clock.seconds() - RECENT
        return [(path, members) for at, path, members in files.values() if at >= since]
