"""Files of the watch directory that wait for a database that is not connected."""

from __future__ import annotations

from test_watch import HERE, WatchCase

from anylog.mapping.body import content_hash
from anylog.processes import watch

SECOND = 10**9


class WaitingTests(WatchCase):
    def named(self, dbms: str, number: int) -> str:
        data = b'{"v":%d}' % number
        return self.put(f"{dbms}.t.0.{content_hash(dbms, 't', data)}.0.json", data)

    def test_many(self) -> None:
        """More than are looked at together: what came later for another database is loaded all the same. They are told
        of once, and loaded once their database is there."""
        self.patch(watch, "LOOKED_AT", 10)
        for number in range(15):
            self.named("village", number)
        self.disk.changes += SECOND
        self.begin()
        self.put("town.t.json")
        self.beat(20)
        self.assertEqual((self.files.names, len(self.here()), self.events("village")), (["town.t.json"], 15, 1))
        self.assertEqual(self.watch.status, "files wait for databases that are not connected: village")
        self.connected.add("village")
        self.beat(5)
        self.assertEqual((len(self.files.names), self.here(), self.watch.status), (16, [], "watching"))

    def test_taken_away(self) -> None:
        """Nobody waits for what was removed meanwhile; and what waits again later is told of again."""
        name = self.named("village", 1)
        self.begin()
        self.beat(3)
        self.disk.forget(HERE / name)
        self.beat(20)
        self.assertEqual((self.watch.status, self.events("village")), ("watching", 1))
        self.named("village", 2)
        self.beat(5)
        self.assertEqual(self.events("village"), 2)
