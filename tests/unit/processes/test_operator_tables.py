"""Which tables an operator takes, and whether it makes them: the same whichever way readings come."""

from __future__ import annotations

import json
from typing import Any

from test_operator_commands import OperatorDesk

from anylog.language.context import Context
from anylog.mapping.schema import create_statement
from anylog.processes.files import retried


class TablesCase(OperatorDesk):
    def stream(self, table: str, **row: Any) -> int:
        """Give a reading; the number of the error that it is refused with, or 0."""
        words = f"stream {json.dumps(row)} where dbms = town and table = {table}"
        waited = self.node.execute(words, Context(origin="console", local=True))
        self.beat(1)
        failed: list[int] = []
        waited.addErrback(lambda failure: failed.append(failure.value.number))
        return failed[0] if failed else 0

    def insert(self, policy: dict[str, Any]) -> None:
        self.node.dictionary.set("p", json.dumps(policy))
        self.ask("blockchain insert where policy = !p and local = true")

    def prepare(self, table: str) -> None:
        """As an administrator does who lets no operator make tables."""
        made = create_statement(table, {"v": "INT"})
        self.insert({"table": {"name": table, "dbms": "town", "company": "acme", "source": "me", "create": made}})
        self.insert(
            {"cluster": {"parent": "c1", "name": "north", "company": "acme",
                         "table": [{"dbms": "town", "name": table, "status": "active"}]}}
        )  # fmt: skip
        self.ask(f"create table {table} where dbms = town")

    def rows(self, table: str) -> list[Any]:
        found: list[Any] = self.successResultOf(self.node.databases.get("town").execute(f"select * from {table}"))
        return found

    def failed(self) -> list[str]:
        return sorted(path.name.split(".1")[0] for path in self.errors.iterdir())

    def waits(self) -> Any:
        return self.node.intake.waiting()


class LimitedTests(TablesCase):
    def test_whichever_way(self) -> None:
        """Readings of other tables are refused by name, files of them put aside, as long as that operator runs."""
        self.run_operator(" and limit_tables = (town.good, any)")
        for table, number in (("good", 0), ("any", 0), ("other", 130)):
            self.assertEqual(self.stream(table, v=1), number, table)
        self.put("town.good.a.json")
        self.put("town.other.b.json")
        self.beat(10)
        self.assertEqual(self.failed(), ["town.other.b.err_130"])
        self.ask("exit operator")
        self.assertEqual(self.stream("other", v=2), 0)


class UnmadeTests(TablesCase):
    def test_nothing_is_made(self) -> None:
        """Neither here nor in the ledger, and what would need it is refused; a table that was prepared is loaded."""
        self.run_operator(" and create_table = false")
        self.prepare("known")
        self.assertEqual([self.stream("new", v=1), self.stream("known", v=1)], [171, 0])
        self.put("town.new.a.json")
        self.put("town.known.b.json")
        self.beat(10)
        self.assertEqual(self.failed(), ["town.new.a.err_171"])
        self.assertEqual(len(self.rows("known")), 4)
        self.assertEqual(self.ask("blockchain get table where name = new bring [*][name]"), "")
        self.assertEqual(self.waits(), {})
        self.ask("exit operator")
        self.assertEqual(self.stream("new", v=1), 0)

    def test_a_table_that_is_here_alone(self) -> None:
        """It is not announced; each thing that the ledger lacks is named."""
        self.assertEqual(self.stream("mine", v=1), 0)
        self.run_operator(" and create_table = false")
        self.assertEqual(self.ask("blockchain get table where name = mine bring [*][name]"), "")
        self.assertEqual(self.stream("mine", v=2), 171)
        limits = self.node.processes.find("operator").watch.options.limits  # type: ignore[union-attr]
        self.assertIn("and is not in the ledger", str(limits.excluded("town", "mine")))

    def test_a_new_attribute_is_left_out(self) -> None:
        """The row is taken without it, no column is made, and the log says it once."""
        self.run_operator(" and create_table = false")
        self.prepare("known")
        for number in (1, 2):
            self.assertEqual(self.stream("known", v=number, w="more"), 0)
        self.assertEqual(len(self.rows("known")), 2)
        self.assertNotIn("w", self.node.databases.get("town").schema("known"))  # type: ignore[arg-type]
        self.assertEqual(self.ask("blockchain get column where table = known bring [*][name]"), "")
        self.assertEqual(self.ask("get event log").count("w is left out"), 1)

    def test_what_the_journal_has_waits(self) -> None:
        """A yes was said before: it is kept, what it waits for is told, and it is loaded once its table is there."""
        self.run_operator(" and create_table = false")
        self.node.intake.accepting.door = None  # as readings that were taken in an earlier life
        self.assertEqual(self.stream("late", v=1), 0)
        self.assertEqual(list(self.waits()), ["town.late"])
        self.assertIn("create_table = false", self.node.membership.agreement.waiting["town", "late"])
        self.prepare("late")
        self.beat(10)
        self.assertEqual((len(self.rows("late")), self.waits()), (1, {}))

    def test_a_failed_copy_may_come_again(self) -> None:
        """What is refused for a table that was missing is fetched again, as with a database that is not connected."""
        self.run_operator(" and create_table = false")
        limits = self.node.processes.find("operator").watch.options.limits  # type: ignore[union-attr]
        refusal = limits.excluded("town", "new")
        entry = type("Entry", (), {"dbms": "town", "table": "new", "status2": refusal.detail})
        self.assertTrue(retried(entry))
        entry.status2 = "the file is damaged"
        self.assertFalse(retried(entry))

    def test_another_company(self) -> None:
        """Tables are those of the cluster's company; the event log says so."""
        self.run_operator(" and company = Other")
        self.assertEqual(self.data("get operator config where format = json")["options"]["company"], "acme")
        self.assertIn("company = Other", self.ask("get event log"))
