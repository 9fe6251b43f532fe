"""Open and cut buffers of readings, and what waits of each to be loaded."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from anylog.disk.journal import Stored
from anylog.disk.records import BufferId
from anylog.processes.thresholds import Threshold


@frozen
class Where:
    """Which buffer a reading belongs to (ingest.md 8.1)."""

    dbms: str
    table: str
    source: str = "0"
    instructions: str = "0"


@define(eq=False)
class Pending:
    """One journal record of readings that is not loaded yet."""

    stored: Stored
    sequence: int  # its own, also after it was written again further on in the journal
    weight: int  # bytes
    rows: Sequence[Mapping[str, Any]] | None  # None: read them back from the journal when needed
    key: str = ""  # Idempotency-Key


@define(eq=False)
class Buffer:
    """A run of readings of one table: open until it is due, then cut, then loaded and done."""

    id: BufferId
    where: Where
    threshold: Threshold
    since: float  # seconds of the node's clock
    at: str  # UTC time of its first row, to the second: default of missing timestamps (hard-parts.md 4.1)
    whole: str = ""  # the hash, if it is one whole file
    opened: bool = False  # its OPEN record is synced
    opening: list[Deferred[None]] = field(factory=list)  # who waits for that, where it was refused at first
    lost: bool = False  # it was refused again: nothing of it was promised
    volume: int = 0  # bytes of its readings as they came
    rows: int = 0
    last: int = 0  # sequence of its newest record
    unsynced: int = 0  # records that are on their way to the disk
    applied: int = 0  # sequence up to which it is loaded
    state: Literal["open", "cut", "done"] = "open"
    pending: deque[Pending] = field(factory=deque)

    def due(self, now: float) -> bool:
        """Whether its time is over."""
        return self.state == "open" and now - self.since >= self.threshold.time

    @property
    def loadable(self) -> bool:
        """Whether its rows may go to the table now (`write_immediate`, ingest.md 8.4)."""
        return self.threshold.write_immediate or self.state != "open"

    @property
    def finished(self) -> bool:
        """Cut, and everything of it is in the table."""
        return self.state == "cut" and not self.pending and not self.unsynced

    def describe(self) -> bytes:
        """The body of its OPEN record."""
        return orjson.dumps(
            {
                "dbms": self.where.dbms,
                "table": self.where.table,
                "source": self.where.source,
                "instructions": self.where.instructions,
                "at": self.at,
                "whole": self.whole,
                "immediate": self.threshold.write_immediate,
            }
        )

    @classmethod
    def described(cls, id: BufferId, body: bytes, now: float) -> Buffer:
        """The buffer of an OPEN record read back after a start: no more rows come to it, so it counts as cut."""
        told = orjson.loads(body)
        where = Where(told["dbms"], told["table"], told["source"], told["instructions"])
        return cls(id, where, Threshold(), now, told["at"], told["whole"], opened=True, state="cut")


@define
class Traffic:
    """What came for one table, for `get streaming`."""

    file_calls: int = 0
    file_rows: int = 0
    calls: int = 0
    rows: int = 0
    immediate: int = 0
    parked: int = 0
    first: float = 0.0  # seconds of the node's clock
    last: float = 0.0
