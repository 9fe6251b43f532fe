"""Readers, leases, closing, and the write-ahead log (hard-parts.md 2.5)."""

from __future__ import annotations

from typing import Any

from town import TownCase, load
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from anylog.databases.library import STANDARD, Library
from anylog.databases.sqlite import READERS
from anylog.testing.lanes import ClockLane

V = {"v": "INT"}


def count(connection: Any) -> int:
    """Rows of t."""
    rows: int = connection.execute("select count(*) from t").fetchone()[0]
    return rows


class Counting(TownCase):
    """A database of which it is known what connections are open."""

    def setUp(self) -> None:
        self.connections: list[Any] = []
        self.library = Library(self.connect, STANDARD.faults)
        self.fails = False
        super().setUp()
        self.load(load("t", [{"v": 1}], create=V))

    def connect(self, path: str, readonly: bool) -> Any:
        """Count it until it is closed."""
        if self.fails:
            raise STANDARD.faults[0]("unable to open database file")
        connection = STANDARD.connect(path, readonly)
        test = self

        class Counted:
            """Passes everything on."""

            def __getattr__(self, name: str) -> Any:
                return getattr(connection, name)

            def close(self) -> None:
                if self in test.connections:
                    test.connections.remove(self)
                connection.close()

        self.connections.append(Counted())
        return self.connections[-1]

    def test_readers_cannot_write(self) -> None:
        """Neither rows nor tables; and the next reader is as good as new."""
        for statement in ("insert into t (v) values (9)", "drop table t", "create table u (a)", "vacuum"):
            error = self.refused(self.town.read(lambda c, s=statement: c.execute(s)))  # type: ignore[misc]
            self.assertEqual(error.number, 16, statement)
        lease = self.successResultOf(self.town.lease())
        self.failureResultOf(lease.run(lambda c: c.execute("delete from t")), *STANDARD.faults)
        lease.release()
        self.assertEqual(self.successResultOf(self.town.read(count)), 1)

    def test_leases(self) -> None:
        """Each has a connection of its own, is counted as work, and gives it back once; few are kept for the next."""
        leases = [self.successResultOf(self.town.lease()) for _ in range(READERS + 2)]
        self.assertEqual(len({id(each.connection) for each in leases}), READERS + 2)
        self.assertEqual((self.town.busy, len(self.connections)), (READERS + 2, READERS + 3))
        for each in leases + leases:
            each.release()
        self.assertEqual((self.town.busy, len(self.connections)), (0, READERS + 1))
        self.assertEqual(self.refused(leases[0].run(count)).number, 10)
        leases[0].interrupt()
        self.assertEqual(self.successResultOf(self.successResultOf(self.town.lease()).run(count)), 1)

    def test_a_lease_that_cannot_be_had(self) -> None:
        """It fails by name and is not counted for ever."""
        self.fails = True
        self.assertEqual(self.refused(self.town.lease()).number, 16)
        self.assertEqual(self.refused(self.town.read(count)).number, 16)
        self.fails = False
        self.assertEqual(self.town.busy, 0)

    def test_a_lease_nobody_waits_for_any_more(self) -> None:
        """Cancelled while it is awaited, it is given back when it comes."""
        clock = Clock()
        self.town._reading = ClockLane(clock, 1.0)
        waited = self.town.lease()
        waited.cancel()
        self.failureResultOf(waited, CancelledError)
        clock.advance(1)
        self.assertEqual(self.town.busy, 0)
        self.town._reading = self.lanes.open("reading town")

    def test_closed_while_leases_are_out(self) -> None:
        """Closing ends them: no connection stays, and what they are asked later is refused, not left waiting."""
        leases = [self.successResultOf(self.town.lease()) for _ in range(2)]
        self.successResultOf(self.town.close())
        self.assertEqual(self.connections, [])
        for each in leases:
            self.assertEqual(self.refused(each.run(count)).number, 10)
            each.interrupt()
            each.release()
        for waited in (
            self.town.lease(), self.town.read(count), self.town.load([]), self.town.execute("select 1"),
            self.town.marks([]), self.town.tables(), self.town.open(),
        ):  # fmt: skip
            self.assertEqual(self.refused(waited).number, 10)
        self.successResultOf(self.town.close())
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["town.dbms"])

    def test_interrupt(self) -> None:
        """A statement that would run for ever stops; the connection goes on being of use."""
        lease = self.successResultOf(self.town.lease())
        steps: list[int] = []

        def endless(connection: Any) -> None:
            def step() -> int:
                steps.append(1)
                if len(steps) == 10:
                    lease.interrupt()
                return 0

            connection.create_function("step", 0, step)
            connection.execute("with recursive r(n) as (select 1 union all select n + step() + 1 from r)"
                               " select max(n) from r").fetchall()  # fmt: skip

        failure = self.failureResultOf(lease.run(endless), *STANDARD.faults)
        self.assertEqual(str(failure.value), "interrupted")
        self.assertEqual(self.successResultOf(lease.run(count)), 1)
        lease.release()

    def test_work_that_fails(self) -> None:
        """A reader that failed is not used again, whatever it still holds."""

        def broken(connection: Any) -> None:
            connection.execute("begin")
            connection.execute("select * from t").fetchone()
            raise KeyError("a fault of ours")

        self.failureResultOf(self.town.read(broken), KeyError)
        self.load(load("t", [{"v": 2}], 2))
        self.assertEqual((self.successResultOf(self.town.read(count)), len(self.connections)), (2, 2))


class Names(TownCase):
    def test_tables_named_like_indexes(self) -> None:
        """Tables and indexes share their names in the engine: neither keeps rows out."""
        for number, table in enumerate(["t", "t_tsd_index", "u_tsd_index", "u"]):
            self.assertEqual(self.load(load(table, [{"v": number}], 1, f"b{number}", create=V)), [None], table)
            self.assertEqual(self.ask(f"select v from {table}"), [(number,)])
