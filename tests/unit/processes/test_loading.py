"""Schemas that change under a load, with the real SQLite (storage.md 2.7)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.catalog import Catalog
from anylog.disk.places import Places
from anylog.processes.intake import Intake
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLanes


def agree(dbms: str, table: str, columns: Any) -> Any:
    """No network."""
    return succeed(columns)


class ChangingSchemas(SynchronousTestCase):
    def setUp(self) -> None:
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.clock, lanes, places = Clock(), InlineLanes(), Places.under(Path(kept.name))
        self.clock.advance(1_800_000_000)
        places.folder("dbms_dir").mkdir(parents=True)
        catalog = Catalog(places=places, lanes=lanes, clock=self.clock, home_id="here")
        self.intake = Intake(
            clock=self.clock, disk=MemoryDisk(), lanes=lanes, folder=Path("/journal"), databases=catalog, agree=agree,
            token=lambda size: b"\1" * size,
        )  # fmt: skip
        self.successResultOf(Deferred.fromCoroutine(self.intake.start()))
        self.successResultOf(Deferred.fromCoroutine(catalog.connect("town", "sqlite")))
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(catalog.stop())))
        self.town = catalog.get("town")

    def put(self, row: dict[str, Any], **options: Any) -> None:
        """Accepted."""
        self.successResultOf(self.intake.accept("town", "t", orjson.dumps([row]), [row], **options))

    def ask(self, statement: str) -> list[Any]:
        """Rows."""
        rows: list[Any] = self.successResultOf(self.town.execute(statement))
        return rows

    def test_dropped_between_the_plan_and_the_load(self) -> None:
        """The table is made anew; nothing is parked."""
        self.put({"v": 1})
        self.clock.advance(1)
        load = self.town.load

        def late(loads: Any) -> Any:
            object.__setattr__(self.intake._loaders["town"], "database", self.town)
            self.ask("drop table t")
            return load(loads)

        class Late:
            name = "town"
            schema = staticmethod(self.town.schema)
            load = staticmethod(late)

        self.intake._loaders["town"].database = Late()  # type: ignore[assignment]
        self.put({"v": 2})
        self.clock.advance(1)
        self.assertEqual((self.ask("select v from t"), self.ask("select * from anylog_parked")), ([(2,)], []))

    def test_the_load_that_makes_the_table_is_left_out(self) -> None:
        """What came in the same round and counted on it is loaded all the same."""
        self.put({"v": 1}, whole=True)
        self.clock.advance(1)
        self.ask("drop table t")
        self.intake.once._known.clear()
        self.put({"v": 1}, whole=True)  # a duplicate by its mark
        self.put({"v": 2})
        self.clock.advance(1)
        self.assertEqual((self.ask("select v from t"), self.ask("select * from anylog_parked")), ([(2,)], []))

    def test_let_go_while_the_journal_is_read(self) -> None:
        """Rows that are let go while others are read back are not missed, and stopping takes no longer for it."""
        self.put({"v": 1})
        self.clock.advance(1)
        loader = self.intake._loaders["town"]
        waiting: Deferred[None] = Deferred()
        read = loader._journal.read

        class Slow:
            @staticmethod
            def read(wanted: Any) -> Any:
                found = read(list(wanted))
                return waiting.addCallback(lambda _: found)

        loader._journal = Slow()  # type: ignore[assignment]
        self.put({"v": 2})
        self.put({"v": 3})
        buffer = next(iter(loader._queue))
        buffer.pending[0].rows = None  # as after a refusal
        self.clock.advance(0)
        stopped = loader.stop()
        waiting.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.ask("select v from t order by v"), [(1,), (2,), (3,)])
