"""What this node asks of others: a ring of slots, each with its participants and their states (network.md 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import define, field

from anylog.errors import AnyLogError
from anylog.interfaces import Clock

SLOTS = 500

SENDING, DELIVERED, PROCESSING = "Sending", "Delivered", "Processing"
COMPLETED, EMPTY, STOPPED = "Completed", "Empty Set", "Stopped"
UNREACHED = "Connection Failed"  # an error is "Error: " and its text


@define(eq=False)
class Part:
    """One node's share of a job, or one partition of it."""

    address: str
    number: int = 0  # of the partition
    status: str = SENDING
    blocks: int = 0  # pages that came
    rows: int = 0
    started: float = 0.0
    ended: float | None = None


@define(eq=False, kw_only=True)
class Job:
    """One command that other nodes take part in."""

    slot: int
    number: int  # grows for ever
    command: str
    output: str  # "stdout", "rest", ...
    sql: bool = False
    dbms: str = ""
    table: str = ""
    started: float
    ended: float | None = None
    status: str = PROCESSING
    parts: list[Part] = field(factory=list)
    explain: Mapping[str, Any] = field(factory=dict)  # of `query explain`
    stop: Callable[[], None] | None = None  # tells the participants to give up

    @property
    def active(self) -> bool:
        """Whether somebody still works on it."""
        return self.ended is None

    def part(self, address: str, now: float) -> Part:
        """One more participant."""
        made = Part(address, started=now)
        self.parts.append(made)
        return made

    def end(self, status: str, now: float) -> None:
        """Nobody works on it any more; the first end counts."""
        if self.ended is None:
            self.ended, self.status, self.stop = now, status, None


@define(eq=False)
class Jobs:
    """The last jobs of one node."""

    _clock: Clock
    _slots: list[Job | None] = field(factory=lambda: [None] * SLOTS)
    _count: int = 0
    last: Job | None = None

    def open(self, command: str, output: str, *, sql: bool = False, dbms: str = "", table: str = "") -> Job:
        """A slot for a new job, the next one whose job has ended. Raises AnyLogError 108 if all are in use."""
        for step in range(SLOTS):
            slot = (self._count + step) % SLOTS
            there = self._slots[slot]
            if there is None or not there.active:
                self._count += step + 1
                job = Job(
                    slot=slot,
                    number=self._count,
                    command=command,
                    output=output,
                    sql=sql,
                    dbms=dbms,
                    table=table,
                    started=self._clock.seconds(),
                )
                self._slots[slot] = self.last = job
                return job
        raise AnyLogError(108, f"all {SLOTS} job slots are in use")

    def find(self, slot: int) -> Job | None:
        """The job of a slot."""
        return self._slots[slot] if 0 <= slot < SLOTS else None

    def __iter__(self) -> Iterator[Job]:
        """All that are remembered, oldest first."""
        return iter(sorted((job for job in self._slots if job is not None), key=lambda job: job.number))
