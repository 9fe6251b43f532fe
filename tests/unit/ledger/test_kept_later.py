"""When the file of a node has what it inserted: at once, or a moment after the master it follows took it."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from village import VillageCase

from anylog.errors import AnyLogError
from anylog.ledger.ledger import APART, Ledger
from anylog.testing.lanes import InlineLane


class KeptCase(VillageCase):
    """The member has a synchronizer, and a file."""

    def setUp(self) -> None:
        super().setUp()
        self.roof.synchronized = True
        self.insert("first")
        self.assertEqual(self.names(), ["first"], "the first one makes the file")

    def insert(self, name: str) -> str:
        policy = json.dumps({"a": {"name": name, "id": f"id of {name}"}})
        done = self.roof.execute(
            f"blockchain insert where policy = {policy} and local = true and master = !ledger_conn", self.context
        )
        return self.successResultOf(done).text or ""

    def delete(self, name: str) -> str:
        done = self.roof.execute(
            f"blockchain delete policy where id = id of {name} and local = true and master = !ledger_conn", self.context
        )
        return self.successResultOf(done).text or ""

    def found(self) -> Ledger:
        """What the node finds if it is killed now."""
        ours = self.roof.ledger
        ledger = Ledger(
            disk=self.roof.disk, lane=InlineLane(), path=lambda: ours.path, clock=self.clock, chance=self.roof.chance
        )
        self.successResultOf(ledger.load())
        return ledger

    def names(self) -> list[str]:
        return [each.name for each in self.found().policies]


class KeptTests(KeptCase):
    """In a village."""

    def test_a_moment_later(self) -> None:
        """The master has it on disk when it is acknowledged; the node in memory then, on disk a moment later."""
        self.insert("second")
        self.assertEqual([each.name for each in self.roof.ledger.policies], ["first", "second"])
        self.assertEqual(self.names(), ["first"])
        self.clock.advance(3 * APART)
        self.assertEqual(self.names(), ["first", "second"])

    def test_killed_before(self) -> None:
        """It comes back with the ledger of the master."""
        self.insert("second")
        assert self.hill.master is not None
        killed = self.found()
        self.successResultOf(killed.take(self.hill.master.data))
        self.assertEqual([each.name for each in killed.policies], ["first", "second"])

    def test_stopped_before(self) -> None:
        """Whoever stops in order writes it."""
        self.insert("second")
        self.successResultOf(Deferred.fromCoroutine(self.roof.ledger.stop()))
        self.assertEqual(self.names(), ["first", "second"])

    def test_the_master_is_away(self) -> None:
        """It is nowhere else: on disk when it is acknowledged."""
        self.road.down.add(self.hill.address)
        self.assertIn("Warning", self.insert("second"))
        self.assertEqual(self.names(), ["first", "second"])

    def test_another_master(self) -> None:
        """What is not fetched from there is on disk when it is acknowledged."""
        self.roof.of = "10.0.0.9:32048"
        self.insert("second")
        self.assertEqual(self.names(), ["first", "second"])

    def test_a_deletion_waits(self) -> None:
        """Inserted again while the file says that it was deleted: on disk at once, else a restart would delete it."""
        self.road.down.add(self.hill.address)
        self.delete("first")
        self.assertEqual([stone.id for stone in self.found().tombstones()], ["id of first"])
        self.road.down.clear()
        assert self.hill.master is not None
        self.successResultOf(self.hill.master.drop(["id of first"]))
        self.insert("first")
        killed = self.found()
        self.assertEqual(([each.name for each in killed.policies], killed.tombstones()), (["first"], []))

    def test_refused(self) -> None:
        """What the master refuses is not kept, neither in memory nor in the file."""
        assert self.hill.master is not None
        policy = json.dumps({"cluster": {"name": "n", "company": "c"}})
        self.successResultOf(self.hill.master.push([json.loads(policy)]))
        words = f"blockchain insert where policy = {policy} and local = true and master = !ledger_conn"
        self.failureResultOf(self.roof.execute(words, self.context), AnyLogError)
        self.clock.advance(3 * APART)
        kinds = [each.type for each in self.roof.ledger.policies]
        self.assertEqual([each.type for each in self.found().policies], kinds)
        self.assertEqual(sum(each.local for each in self.roof.ledger.policies if each.type == "cluster"), 0)
