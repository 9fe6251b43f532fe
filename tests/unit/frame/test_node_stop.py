"""A node stops all of itself, whatever a part of it says."""

from __future__ import annotations

from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.node import Node
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLanes
from anylog.testing.network import MemoryNetwork


class Stopping(SynchronousTestCase):
    def test_every_part_is_stopped(self) -> None:
        """A part that fails to stop is logged; those after it are stopped, and the home is let go."""
        disk, lanes = MemoryDisk(), InlineLanes()
        clock = Clock()
        net = MemoryNetwork(clock, Random(1)).net("127.0.0.1")
        node = Node(home=Path("/h"), clock=clock, net=net, lanes=lanes, disk=disk, chance=Random(1))
        self.successResultOf(Deferred.fromCoroutine(node.start()))

        class Broken:
            async def stop(self) -> None:
                raise OSError("read-only file system")

        node.intake = Broken()  # type: ignore[assignment]
        self.successResultOf(node.stop())
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual((lanes._lanes, disk.locked, node.databases._stopped), ({}, set(), True))
