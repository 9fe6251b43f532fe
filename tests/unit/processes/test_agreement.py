"""A new table or column waits for the ledger; all else goes on (hard-parts.md 4)."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.columns import AUTOMATIC
from anylog.databases.catalog import Catalog
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.processes.agreement import Agreement, Place, bring_up
from anylog.processes.intake import Intake
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLanes

PLACE = Place(
    operator="o1", cluster="c1", cluster_name="north", company="acme", member=7, address="127.0.0.1:1", name="op1"
)


@define(eq=False)
class Ledger:
    """A ledger as small as can be: it stores what it is sent, or is away, or was told otherwise before."""

    tables: dict[tuple[str, str], dict[str, str]] = field(factory=dict)
    held: set[tuple[str, str, str]] = field(factory=set)
    away: bool = False
    sent: list[Any] = field(factory=list)
    news: list[Any] = field(factory=list)  # what others did, seen at the next refresh

    def columns(self, dbms: str, table: str) -> Any:
        found = self.tables.get((dbms, table))
        return None if found is None else {**AUTOMATIC, **found}

    def lists(self, cluster_id: str, dbms: str, table: str) -> bool:
        return (cluster_id, dbms, table) in self.held

    async def publish(self, policies: Any) -> list[tuple[int, str]]:
        if self.away:
            raise AnyLogError(208, "127.0.0.1:9: nobody answers")
        self.sent += policies
        results = []
        for policy in policies:
            ((kind, body),) = policy.items()
            if kind == "table" and any(("table", body["name"]) == (name, each[1]) for name, each in self.news):
                results.append((180, "there is such a table"))
                continue
            if kind == "table":
                made = body["create"].partition(";")[0]
                columns = dict(re.findall(r'"(\w+)" ([A-Z]+)', made.partition("BIGINT, ")[2]))
                self.tables[body["dbms"], body["name"]] = columns
            elif kind == "column":
                self.tables[body["dbms"], body["table"]][body["name"]] = body["type"]
            else:
                self.held |= {(body["parent"], each["dbms"], each["name"]) for each in body["table"]}
            results.append((0, ""))
        return results

    async def refresh(self) -> None:
        for _, (dbms, table, columns) in self.news:
            self.tables[dbms, table] = columns
        self.news.clear()


class Agreeing(SynchronousTestCase):
    def setUp(self) -> None:
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.clock, lanes, places = Clock(), InlineLanes(), Places.under(Path(kept.name))
        self.clock.advance(1_800_000_000)
        places.folder("dbms_dir").mkdir(parents=True)
        catalog = Catalog(places=places, lanes=lanes, clock=self.clock, home_id="here")
        self.ledger, self.place = Ledger(), PLACE
        self.agreement = Agreement(
            clock=self.clock,
            tables=self.ledger,
            publish=self.ledger.publish,
            refresh=self.ledger.refresh,
            place=lambda: self.place,
        )
        self.intake = Intake(
            clock=self.clock, disk=MemoryDisk(), lanes=lanes, folder=Path("/journal"), databases=catalog,
            agree=self.agreement.agree, token=lambda size: b"\1" * size,
        )  # fmt: skip
        self.successResultOf(Deferred.fromCoroutine(self.intake.start()))
        self.successResultOf(Deferred.fromCoroutine(catalog.connect("town", "sqlite")))
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(catalog.stop())))
        self.town = catalog.get("town")

    def put(self, table: str, row: dict[str, Any]) -> None:
        self.successResultOf(self.intake.accept("town", table, orjson.dumps([row]), [row]))
        self.clock.pump([0, 0, 0])

    def ask(self, statement: str) -> list[Any]:
        rows: list[Any] = self.successResultOf(self.town.execute(statement))
        return rows

    def test_first_row(self) -> None:
        """Table and child cluster go to the ledger in one message, then the row is loaded, at once."""
        self.put("t", {"v": 1})
        self.assertEqual([list(policy) for policy in self.ledger.sent], [["table"], ["cluster"]])
        self.assertEqual(self.ask("select v from t"), [(1,)])

    def test_master_away(self) -> None:
        """What is new waits, shown by name and not in memory; all other tables go on; then it is there once."""
        self.put("old", {"v": 1})
        self.ledger.away = True
        self.put("new", {"v": 1})
        for number in range(2, 5):
            self.put("old", {"v": number})
            self.put("new", {"v": number})
        self.assertEqual(self.ask("select count(*) from old"), [(4,)])
        self.assertEqual(self.ask("select count(*) from sqlite_master where name = 'new'"), [(0,)])
        self.assertEqual(self.intake.waiting(), {"town.new": "waits for the ledger"})
        self.assertIn("nobody answers", self.agreement.waiting["town", "new"])
        self.assertEqual(self.intake.tank.held, 0)
        self.put("old", {"v": 9, "w": "a column that is new"})
        self.assertEqual(set(self.intake.waiting()), {"town.new", "town.old"})
        self.ledger.away = False
        self.clock.pump([1] * 5)
        self.assertEqual(self.ask("select v from new order by v"), [(1,), (2,), (3,), (4,)])
        self.assertEqual(self.ask("select w from old where v = 9"), [("a column that is new",)])
        self.assertEqual((self.intake.waiting(), self.agreement.waiting), ({}, {}))

    def test_two_ask_for_a_table(self) -> None:
        """One of them gives up while the ledger is away: the other waits on, and is shown."""
        self.ledger.away = True
        first = self.agreement.agree("town", "t", {"v": "INT"})
        second = self.agreement.agree("town", "t", {"w": "INT"})
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.clock.pump([1] * 5)
        self.assertIn("nobody answers", self.agreement.waiting["town", "t"])
        self.ledger.away = False
        self.clock.pump([1] * 5)
        self.assertEqual(self.successResultOf(second), {"w": "INT"})
        self.assertEqual(self.agreement.waiting, {})

    def test_somebody_was_first(self) -> None:
        """The table of another operator is taken as it is, and widened where our rows need it."""
        self.ledger.news.append(("table", ("town", "t", {"v": "INT", "w": "VARCHAR"})))
        self.put("t", {"v": 1.5})
        self.clock.pump([1] * 5)
        self.assertEqual(self.ask("select v, w from t"), [(1.5, None)])
        self.assertIn({"column": {"dbms": "town", "table": "t", "name": "v", "type": "DECIMAL"}}, self.ledger.sent)

    def test_the_ledger_keeps_its_types(self) -> None:
        """A value that does not fit the ledger's type is a misfit here as everywhere, and nothing turns in circles."""
        self.ledger.tables["town", "t"] = {"v": "TIMESTAMP"}
        self.ledger.held.add(("c1", "town", "t"))
        self.put("t", {"v": "no time at all"})
        self.put("t", {"v": "2026-01-01 00:00:00"})
        self.assertEqual(self.ask("select count(*) from t"), [(1,)])
        self.assertEqual(self.ask("select count(*) from anylog_parked"), [(1,)])

    def test_alone(self) -> None:
        """Without a place in the network nobody is asked; nor are databases of the node's own."""
        self.assertEqual(self.successResultOf(self.agreement.agree("almgm", "t", {"v": "INT"})), {"v": "INT"})
        self.place = None  # type: ignore[assignment]
        self.put("t", {"v": 1})
        self.assertEqual((self.ledger.sent, self.ask("select v from t")), ([], [(1,)]))

    def test_bring_up(self) -> None:
        """A table is made, then grown, as the ledger knows it; nothing is done twice."""
        for columns, done in [
            ({"v": "INT"}, True),
            ({"v": "INT"}, False),
            ({**AUTOMATIC, "v": "FLOAT", "w": "TIMESTAMP"}, True),
            ({"v": "INT", "w": "TIMESTAMP"}, False),
        ]:
            found = self.successResultOf(Deferred.fromCoroutine(bring_up(self.town, "t", columns)))
            self.assertEqual(found, done, columns)
        schema = {name: kind for name, kind in (self.town.schema("t") or {}).items() if name not in AUTOMATIC}
        self.assertEqual(schema, {"v": "FLOAT", "w": "TIMESTAMP"})

    def test_failing_agreement(self) -> None:
        """If asking fails for a reason of its own, it is asked again a second later, and other tables do not wait."""
        asked: list[str] = []

        def agree(dbms: str, table: str, columns: Any) -> Any:
            asked.append(table)
            bad = table == "bad" and len(asked) < 4
            return fail(AnyLogError(500, "a fault")) if bad else succeed(columns)

        self.intake._loaders["town"]._agree = agree
        self.put("bad", {"v": 1})
        self.put("good", {"v": 1})
        self.assertEqual(self.ask("select v from good"), [(1,)])
        self.assertEqual(asked.count("bad"), 1)
        self.clock.pump([1.0] * 6)
        self.assertEqual(self.ask("select v from bad"), [(1,)])
        self.flushLoggedErrors()
