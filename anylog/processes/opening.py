"""How buffers begin in the journal, before anything of them is promised, are cut, and end (hard-parts.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from anylog.counts import Counts
from anylog.disk.journal import Journal, Stored
from anylog.disk.records import BufferId, Kind, pack_ids
from anylog.errors import AnyLogError
from anylog.processes.buffers import Buffer, Where


@define(kw_only=True, eq=False)
class Opening:
    """Writes OPEN records, without which readings would not be understood after a start, and CUT records."""

    counts: Counts
    _journal: Callable[[], Journal]
    _open: MutableMapping[Where, Buffer]  # buffers that take readings
    _cut: Callable[[Buffer], object]

    def describe(self, buffer: Buffer) -> Deferred[None]:
        """Its OPEN record."""

        def opened(stored: Stored) -> None:
            buffer.opened = True

        return self._journal().append(Kind.OPEN, buffer.id, orjson.dumps(buffer.description())).addCallback(opened)

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

    def end(self, buffer: Buffer) -> Deferred[Stored]:
        """Its CUT record, with its id if it has one."""
        body = orjson.dumps(buffer.description()) if buffer.tsd else b""

        def kept(stored: Stored) -> Stored:
            buffer.noted = bool(body)
            return stored

        return self._journal().append(Kind.CUT, buffer.id, body).addCallback(kept)

    def name(self, buffer: Buffer) -> Deferred[None]:
        """Another CUT record if none has its id: others may get the file before the journal hears of that again.

        Never fails: what is refused is counted. A journal that has no room gets it by what becomes a file.
        """
        if buffer.noted:
            return succeed(None)

        def refused(failure: Failure) -> None:
            failure.trap(AnyLogError)
            self.counts.add("unnamed", 1, str(failure.value))

        return self.end(buffer).addCallbacks(lambda stored: None, refused)


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

        def told(stored: object) -> None:
            for buffer in done:
                journal.release(buffer, stored.segment if isinstance(stored, Stored) else None)

        journal.append(Kind.DONE, done[0], pack_ids(done[1:])).addBoth(told)
