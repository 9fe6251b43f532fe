"""Logical names: connect, disconnect, and who is told (storage.md 1)."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.catalog import Catalog
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.testing.lanes import ClockLane, InlineLanes


class Connects(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.lanes = Clock(), InlineLanes()
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.places = Places.under(Path(kept.name))
        self.folder = self.places.folder("dbms_dir")
        (self.folder / "deep").mkdir(parents=True)
        self.told: list[tuple[str, bool]] = []
        self.catalog = self.make("here")

    def make(self, home: str) -> Catalog:
        """A catalog of that home."""
        catalog = Catalog(places=self.places, lanes=self.lanes, clock=self.clock, home_id=home)
        catalog.watch(lambda name, connected: self.told.append((name, connected)))
        self.addCleanup(lambda: self.run_(catalog.stop()))
        return catalog

    def run_(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Its result."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def refused(self, coroutine: Coroutine[Any, Any, Any]) -> int:
        """The number of its error."""
        failure = self.failureResultOf(Deferred.fromCoroutine(coroutine), AnyLogError)
        number: int = failure.value.number
        return number

    def test_connect_and_disconnect(self) -> None:
        """A second connect has no effect; watchers are told once of each."""
        self.assertTrue(self.run_(self.catalog.connect("Town", "sqlite")))
        self.assertFalse(self.run_(self.catalog.connect("town", "sqlite")))
        self.assertEqual(self.catalog.names(), ["town"])
        self.assertIs(self.catalog.get("TOWN"), self.catalog.get("town"))
        self.assertEqual(self.catalog.get("town").path, self.folder / "town.dbms")
        self.run_(self.catalog.disconnect("town"))
        self.assertEqual(self.told, [("town", True), ("town", False)])
        with self.assertRaises(AnyLogError) as caught:
            self.catalog.get("town")
        self.assertEqual(caught.exception.number, 5)
        self.assertEqual(self.refused(self.catalog.disconnect("town")), 5)

    def test_refusals(self) -> None:
        """Each says by number why; nothing stays connected, and no lane open."""
        self.run_(self.catalog.connect("ram", "sqlite", memory=True))
        for name, kind, options, number in [
            ("x", "psql", {}, 237), ("x", "mongo", {}, 237), ("x", "oracle", {}, 2),
            ("ram", "sqlite", {}, 136), ("", "sqlite", {}, 2),
            ("missing/x", "sqlite", {}, 12),
        ]:  # fmt: skip
            self.assertEqual(self.refused(self.catalog.connect(name, kind, **options)), number, name)
        self.assertEqual((self.catalog.names(), self.told), (["ram"], [("ram", True)]))
        self.assertEqual(list(self.lanes._lanes), ["database ram"])

    def test_a_path(self) -> None:
        """The last element of a path is the logical name."""
        self.run_(self.catalog.connect("deep/town", "sqlite"))
        self.assertEqual(self.catalog.names(), ["town"])
        self.assertTrue((self.folder / "deep" / "town.dbms").exists())

    def test_another_home(self) -> None:
        """A database of another node is refused, and free for its own afterwards."""
        self.run_(self.catalog.connect("town", "sqlite"))
        self.run_(self.catalog.disconnect("town"))
        self.assertEqual(self.refused(self.make("elsewhere").connect("town", "sqlite")), 507)
        self.assertTrue(self.run_(self.catalog.connect("town", "sqlite")))

    def test_in_use(self) -> None:
        """While an answer is out it stays connected."""
        self.run_(self.catalog.connect("town", "sqlite"))
        lease = self.successResultOf(self.catalog.get("town").lease())
        self.assertEqual(self.refused(self.catalog.disconnect("town")), 3)
        lease.release()
        self.run_(self.catalog.disconnect("town"))

    def test_one_thing_at_a_time(self) -> None:
        """While a name is being connected or disconnected it cannot be connected: its lanes are taken."""
        self.lanes._lanes["database town"] = lane = ClockLane(self.clock, 1.0)  # type: ignore[assignment]
        first = Deferred.fromCoroutine(self.catalog.connect("town", "sqlite"))
        self.assertEqual(self.refused(self.catalog.connect("town", "sqlite")), 136)
        self.clock.advance(1)
        self.assertTrue(self.successResultOf(first))
        closing = Deferred.fromCoroutine(self.catalog.disconnect("town"))
        self.assertEqual(self.refused(self.catalog.connect("town", "sqlite")), 136)
        self.clock.advance(1)
        self.successResultOf(closing)
        self.assertEqual(lane.depth, 0)
        self.assertTrue(self.run_(self.catalog.connect("town", "sqlite")))

    def test_stopped_while_connecting(self) -> None:
        """What was about to be connected when the node stopped is closed again."""
        self.lanes._lanes["database town"] = ClockLane(self.clock, 1.0)  # type: ignore[assignment]
        first = Deferred.fromCoroutine(self.catalog.connect("town", "sqlite"))
        self.run_(self.catalog.stop())
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.failureResultOf(first, AnyLogError).value.number, 506)
        self.assertEqual((self.catalog.names(), self.told), ([], []))
