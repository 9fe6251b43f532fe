"""What a consumer keeps in mind is bounded, and what is forgotten is the oldest."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from anylog.processes.missing import Tried
from anylog.processes.pulled import Arrival, Arrivals, Tries


class PulledTests(SynchronousTestCase):
    def test_the_newest_tries_are_kept(self) -> None:
        """Of more than there is room for the one that was asked for longest ago goes, not all."""
        tries = Tries(3)
        for id in (1, 2, 3):
            tries.put(7, id, Tried(100.0 + id))
        self.assertFalse(tries.crowded)
        tries.put(7, 1, Tried(110.0))
        tries.put(7, 4, Tried(111.0))
        self.assertEqual([tries.get(7, id) is not None for id in (1, 2, 3, 4)], [True, False, True, True])
        self.assertEqual((len(tries), tries.crowded), (3, True))
        tries.forget(110.0)
        self.assertEqual([tries.get(7, id) is not None for id in (1, 3, 4)], [True, False, True])
        tries.pop(7, 1)
        tries.pop(7, 1)
        tries.forget(110.0)
        self.assertEqual((len(tries), tries.crowded), (1, False))

    def test_bytes_that_came(self) -> None:
        """They are those of the files that are waited for, each once."""
        arrived = Arrivals()
        arrived.add(7, 1, Arrival(0.0, "h", "a", 10))
        arrived.add(7, 1, Arrival(1.0, "h", "a", 12))
        arrived.add(8, 1, Arrival(1.0, "g", "b", 5))
        self.assertEqual((arrived.bytes, len(arrived), arrived.by_member()), (17, 2, {7: [1], 8: [1]}))
        self.assertEqual(arrived.names([(7, 1), (9, 9)]), {"a"})
        arrived.remove(7, 1)
        arrived.remove(7, 1)
        self.assertEqual((arrived.bytes, list(arrived)), (5, [(8, 1)]))
