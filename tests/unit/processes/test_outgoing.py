"""Files of a publisher: one that cannot be made holds up nobody else."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.journal import Stored
from anylog.disk.records import BufferId, Kind, pack_rows
from anylog.processes.buffers import Buffer, Pending, Where
from anylog.processes.outgoing import Outgoing
from anylog.processes.thresholds import Threshold
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane

WATCH = Path("/watch")


@define(eq=False)
class Journal:
    """Records, some of which the disk does not give, or which cannot be put aside."""

    bodies: dict[int, bytes] = field(factory=dict)
    refuses: bool = True

    def read(self, wanted: Sequence[Stored]) -> Deferred[list[bytes]]:
        if self.refuses and any(each.sequence not in self.bodies for each in wanted):
            return fail(OSError(errno.EIO, "Input/output error"))
        return succeed([self.bodies.get(each.sequence, pack_rows(b"", b'{"v": 0}')) for each in wanted])

    def put_aside(self, record: Stored, why: str) -> Deferred[Path]:
        raise AssertionError(why)


class OutgoingTests(SynchronousTestCase):
    def test_one_that_the_disk_does_not_give(self) -> None:
        """The files of other tables are made; its own is once it can be read."""
        clock, disk, journal = Clock(), MemoryDisk(), Journal()
        lane = InlineLane()
        outgoing = Outgoing(
            clock=clock, disk=disk, lane=lane, cpu=lane, folder=Path("/notes"), records=lambda: journal,
            finished=lambda buffer: None,
        )  # fmt: skip
        outgoing.watch = WATCH
        for number, table in enumerate(("bad", "good"), 1):
            buffer = Buffer(BufferId(b"epoch---", number), Where("town", table), Threshold(), 0.0, "")
            stored = Stored(number, Kind.ROWS, buffer.id, 1, 0, 8)
            buffer.records = [Pending(stored, number, 8, None)]
            outgoing.add(buffer)
        journal.bodies[2] = pack_rows(b"", b'{"v": 2}')
        clock.pump([0.01] * 30)
        self.assertEqual([name.split(".")[1] for name in disk.names(WATCH)], ["good"])
        self.assertEqual((outgoing.depth, outgoing.waiting), (1, "town.bad: [Errno 5] Input/output error"))
        journal.refuses = False
        clock.pump([0.1] * 30)
        self.assertEqual(sorted(name.split(".")[1] for name in disk.names(WATCH)), ["bad", "good"])
        self.assertEqual((outgoing.depth, outgoing.waiting), (0, ""))
