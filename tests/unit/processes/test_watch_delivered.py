"""Files that this node publishes in its watch directory itself have nothing to settle."""

from __future__ import annotations

from test_watch import WatchCase


class DeliveredTests(WatchCase):
    def test_delivered(self) -> None:
        """What this node published there itself is taken at once, whatever its time of change; and once."""
        self.begin()
        name = self.put("town.t.json", b'{"v":1}\n')
        self.watch.delivered([(name, 8)])
        self.watch.delivered([(name, 8)])
        self.clock.advance(0)
        self.assertEqual((self.files.names, self.here()), ([name], []))
        self.beat(7)
        self.assertEqual((self.files.names, self.events("town.t.json")), ([name], 0))
        self.put(name, b'{"v":2}\n')  # and once more, under the name of before
        self.watch.delivered([(name, 8)])
        self.clock.advance(0)
        self.assertEqual((self.files.names, self.here()), ([name, name], []))

    def test_delivered_while_much_is_in_work(self) -> None:
        """It waits for its turn, and has not to settle then."""
        self.files.waits = True
        self.begin()
        first = self.put("town.t.first.json")
        self.watch.delivered([(first, 7)])
        self.clock.advance(0)
        names = [self.put(f"town.t.{number}.json") for number in range(5)]
        self.watch.delivered([(name, 7) for name in names])
        self.beat(3)
        self.files.load_all()
        self.clock.advance(0)
        self.files.load_all()
        for _ in range(4):
            self.clock.advance(0)
            self.files.load_all()
        self.assertEqual((sorted(self.files.names), self.here()), (sorted([first, *names]), []))
