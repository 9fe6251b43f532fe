"""What a message broker keeps, in memory: for tests of the broker, not of keeping."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from anylog.wire.mqtt_records import Record


@define(eq=False)
class MemoryKeeper:
    """A `Keeper`. With `slow` nothing is kept until `sync` is called."""

    records: list[Record] = field(factory=list)
    slow: bool = False
    batches: list[int] = field(factory=list)  # how many records each call had
    closed: bool = False
    fault: Exception | None = None  # raised instead of keeping
    _waiting: list[tuple[Sequence[Record], Deferred[None]]] = field(factory=list)

    def load(self) -> Deferred[list[Record]]:
        """What was kept."""
        return succeed(list(self.records))

    def keep(self, records: Sequence[Record]) -> Deferred[None]:
        """Keep them, now or at the next `sync`."""
        if self._waiting:
            raise AssertionError("asked for a second sync while one goes on")
        if self.fault is not None:
            raise self.fault
        self.batches.append(len(records))
        waited: Deferred[None] = Deferred()
        self._waiting.append((records, waited))
        if not self.slow:
            self.sync()
        return waited

    def sync(self) -> None:
        """What waits is kept."""
        waiting, self._waiting = self._waiting, []
        for records, waited in waiting:
            self.records += records
            waited.callback(None)

    def close(self) -> Deferred[None]:
        """Nothing more comes."""
        self.closed = True
        return succeed(None)
