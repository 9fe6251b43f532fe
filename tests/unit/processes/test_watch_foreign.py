"""Names in a watch directory that are nobody's, more of them than can be looked at."""

from __future__ import annotations

from test_watch import WatchCase

from anylog.processes import watch


class ForeignTests(WatchCase):
    def test_more_than_can_be_looked_at(self) -> None:
        """Names that are nobody's, older ones, hide no file, also after a start; each is told of once."""
        self.patch(watch, "LOOKED_AT", 10)
        for number in range(300):
            self.put(f"note{number}.txt")
        self.put("town.t.json")
        self.begin()
        self.beat(3)
        self.assertEqual(self.files.names, ["town.t.json"])
        for number in range(40):
            self.put(f"town.t.{number}.json")
            self.beat(3)
        self.assertEqual(len(self.files.names), 41)
        self.beat(60)
        shown = [str(entry) for entry in self.logs.event.find(["left alone"])]
        self.assertLess(len(shown), 300)
        self.assertEqual([each for each in shown if "note1.txt" in each][1:], [])
        before = self.events("left alone")
        for number in range(40, 60):
            self.put(f"town.t.{number}.json")
        self.beat(60)
        self.assertEqual((len(self.files.names), self.events("left alone")), (61, before))
