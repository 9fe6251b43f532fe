"""How buffers begin in the journal, before anything of them is promised, and how they end (hard-parts.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred, fail

from anylog.disk.journal import Journal, Stored
from anylog.disk.records import BufferId, Kind, pack_ids
from anylog.errors import AnyLogError
from anylog.processes.buffers import Buffer, Where


@define(kw_only=True, eq=False)
class Opening:
    """Writes OPEN records, without which readings would not be understood after a start."""

    _append: Callable[[Kind, BufferId, bytes], Deferred[Stored]]
    _open: MutableMapping[Where, Buffer]  # buffers that take readings
    _cut: Callable[[Buffer], object]

    def describe(self, buffer: Buffer) -> Deferred[None]:
        """Its OPEN record."""

        def opened(stored: Stored) -> None:
            buffer.opened = True

        return self._append(Kind.OPEN, buffer.id, orjson.dumps(buffer.description())).addCallback(opened)

    def late(self, buffer: Buffer) -> Deferred[None]:
        """Describe a buffer once for all who wait. If that fails nothing of it is understood after a start, so nothing
        of it may be promised, now or later: its id is never used again."""
        told: Deferred[None] = Deferred()
        buffer.opening.append(told)
        if len(buffer.opening) == 1:
            if self._open.get(buffer.where) is buffer:
                del self._open[buffer.where]
            refused = AnyLogError(503, "the journal has no room")
            described = fail(refused) if buffer.lost else self.describe(buffer)

            def ended(result: Any) -> None:
                waiting, buffer.opening = buffer.opening, []
                for each in waiting:
                    if buffer.opened:
                        each.callback(None)
                    else:
                        buffer.lost = True
                        each.errback(result.value)
                if buffer.opened and buffer.state == "open":
                    self._cut(buffer)  # nothing more comes to it, so nobody else would

            described.addBoth(ended)
        return told


@define(kw_only=True, eq=False)
class Ending:
    """Tells the journal what is done with: of one turn of the reactor by one record."""

    _journal: Callable[[], Journal]
    _soon: Callable[[Callable[[], object]], object]
    _done: list[BufferId] = field(factory=list)

    def add(self, buffer: BufferId) -> None:
        """All that became of this buffer lasts elsewhere."""
        self._done.append(buffer)
        if len(self._done) == 1:
            self._soon(self.tell)

    def tell(self) -> None:
        """Not awaited: if it is lost, the mark says the same at the next start."""
        done, self._done = self._done, []
        if not done:
            return
        journal = self._journal()

        def told(_: object) -> None:
            for buffer in done:
                journal.release(buffer)

        journal.append(Kind.DONE, done[0], pack_ids(done[1:])).addBoth(told)
