"""The first file of a table is its oldest: what columns the table gets is not to hang on who is read sooner."""

from __future__ import annotations

from test_watch import WatchCase

from anylog.processes.watch import SMALL
from anylog.testing.lanes import ClockLane


class OrderTests(WatchCase):
    def setUp(self) -> None:
        super().setUp()
        self.lanes._lanes["cpu"] = ClockLane(self.clock, 5.0)  # type: ignore[assignment]
        self.large = b'{"v":%d}\n' % 10**9 * (SMALL // 10)

    def test_a_later_batch_does_not_overtake(self) -> None:
        """A large file is understood in another thread; a small one that is seen meanwhile waits for it."""
        self.begin()
        first = self.put("town.t.z.json", self.large)
        self.beat(2)
        later = self.put("town.t.a.json")
        other = self.put("town.other.a.json")
        self.beat(2)
        self.assertEqual(self.files.names, [other])
        self.beat(5)
        self.assertEqual((self.files.names, self.here()), ([other, first, later], []))

    def test_it_holds_nobody_up(self) -> None:
        """One that cannot be used makes room for the next; and once a table is known batches are read side by side."""
        self.begin()
        self.put("town.t.z.json", b"[" * SMALL)
        self.beat(2)
        second = self.put("town.t.b.json")
        self.beat(8)
        self.assertEqual((self.files.names, self.here()), ([second], []))
        third = self.put("town.t.z2.json", self.large)
        self.beat(2)
        fourth = self.put("town.t.a.json")
        self.beat(2)
        self.assertEqual(self.files.names, [second, fourth])
        self.beat(5)
        self.assertEqual((self.files.names, self.here()), ([second, fourth, third], []))
