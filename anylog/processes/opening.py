"""A buffer is described in the journal before anything of it is promised (hard-parts.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, fail

from anylog.disk.journal import Stored
from anylog.disk.records import BufferId, Kind
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

        return self._append(Kind.OPEN, buffer.id, buffer.describe()).addCallback(opened)

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
