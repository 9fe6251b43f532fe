"""A slow or waiting table must not pin the journal: what waits is written again at its end (hard-parts.md 1.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson
from attrs import define, field
from twisted.logger import Logger

from anylog.disk.journal import Journal
from anylog.disk.records import BufferId, Kind, pack_rows
from anylog.processes.buffers import Buffer
from anylog.processes.readback import Unreadable, described
from anylog.waiting import deferring, gather

LOOKED_AT = 8  # of the oldest segments in one go


@define(eq=False)
class Relief:
    """Frees the oldest segments of a journal."""

    _carrying: set[BufferId] = field(factory=set)
    log = Logger()

    def look(
        self,
        journal: Journal,
        buffers: Mapping[BufferId, Buffer],
        cut: Callable[[Buffer], object],
        waits: Callable[[Buffer], bool],
    ) -> None:
        """Cut the buffers that keep them, and carry on those that wait for nobody knows how long."""
        for segment, ids in journal.oldest(LOOKED_AT):
            for buffer in [buffers[id] for id in sorted(ids, key=str) if id in buffers]:
                if buffer.state == "open":
                    cut(buffer)
                elif waits(buffer) and buffer.id not in self._carrying:
                    self._carrying.add(buffer.id)
                    self._carry(journal, buffer, segment).addErrback(
                        lambda failure: self.log.warn("carrying on: {why}", why=failure.value)
                    ).addBoth(lambda _, id: self._carrying.discard(id), buffer.id)

    @deferring
    async def _carry(self, journal: Journal, buffer: Buffer, segment: int) -> None:
        """Write what is needed of `buffer` in `segment` again at the end, so that the segment may go."""
        old, places = [], []
        for pending in buffer.records if buffer.filed or buffer.published else buffer.pending:
            if pending.stored is not None and pending.stored.segment == segment:
                old.append(pending)
                places.append(pending.stored)
        kept = journal.append(Kind.OPEN, buffer.id, orjson.dumps(buffer.description()))
        written = []
        for pending, packed in zip(old, await journal.read(places), strict=True):
            try:
                told, body = described(packed)
            except Unreadable:
                written.append(journal.append(Kind.ROWS, buffer.id, packed))  # as it is, for who puts it aside
                continue
            again = pack_rows(orjson.dumps({**told, "was": pending.sequence}), body)
            written.append(journal.append(Kind.ROWS, buffer.id, again))
        await kept
        for pending, stored in zip(old, await gather(written), strict=True):
            pending.stored = stored
        journal.moved(buffer.id, segment)
        if buffer.state == "done":
            # It was done with meanwhile: what was written again is needed no more.
            journal.release(buffer.id, (await journal.append(Kind.DONE, buffer.id)).segment)
