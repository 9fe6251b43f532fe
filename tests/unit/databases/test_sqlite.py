"""SQLite on real files, in lanes that work at once: loads, their marks, and what is left when one of them fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import apsw
from cases import AT, DatabaseCase, T, load

from anylog.databases.library import STANDARD, Library
from anylog.databases.loads import KEYS_KEPT
from anylog.databases.sqlite import READERS
from anylog.databases.tables import BUILT_IN
from anylog.errors import AnyLogError
from anylog.interfaces import AnyLogFault, Parked
from anylog.testing.lanes import ClockLane, InlineLanes


class Loads(DatabaseCase):
    def test_rows(self) -> None:
        """A table is made with its automatic columns, its rows and its marks in one load."""
        town = self.open()
        self.assertEqual(self.get(town.load([load(create=T)])), [None])
        self.assertEqual(
            self.all(town, "select * from t order by row_id"), [(1, AT, "0", 0, 1, "x"), (2, AT, "0", 0, 2, "y")]
        )
        expected = {
            "row_id": "SERIAL PRIMARY KEY",
            "insert_timestamp": "TIMESTAMP",
            "tsd_name": "CHAR(3)",
            "tsd_id": "BIGINT",
            **T,
        }
        self.assertEqual(town.schema("t"), expected)
        self.assertEqual(list(town.schema("t") or {}), list(expected))
        self.assertIsNone(town.schema("nosuch"))
        self.assertEqual(self.get(town.tables()), {"t": expected})
        self.assertEqual(self.marked(town, ["h/1", "h/2"]), {"h/1": 1})

    def test_repeats(self) -> None:
        """What a mark covers is not loaded again, wherever the node ended before it noticed."""
        town = self.open()
        for _ in range(3):
            self.assertEqual(self.get(town.load([load(create=T)])), [None])
        self.assertEqual(self.get(town.load([load(sequence=2)])), [None])
        self.assertEqual(self.get(town.load([load(sequence=1), load(sequence=2)])), [None, None])
        self.assertEqual(self.get(town.counts(["t"])), {"t": 4})
        self.assertEqual(self.all(town, "select sequence, rows, parked from anylog_marks"), [(2, 4, 0)])

    def test_poison(self) -> None:
        """A load that the engine refuses takes only itself: what it made and marked is gone, the others are kept."""
        town = self.open()
        faults = self.get(
            town.load(
                [
                    load(create=T),
                    load("u", ["nosuch"], [[1]], buffer="h/2", create={"a": "INT"}),
                    load("v", ["a"], [[1]], buffer="h/3", create={"a": "INT"}),
                ]
            )
        )
        self.assertIsNone(faults[0])
        self.assertEqual(faults[1].kind, "missing table")
        self.assertIn("nosuch", faults[1].text)
        self.assertIsNone(faults[2])
        self.assertEqual(list(self.get(town.tables())), ["t", "v"])
        self.assertIsNone(town.schema("u"))
        self.assertEqual(self.marked(town, ["h/1", "h/2", "h/3"]), {"h/1": 1, "h/3": 1})
        self.assertEqual(self.all(town, "select distinct table_name from anylog_columns order by 1"), [("t",), ("v",)])

    def test_faults_of_a_load(self) -> None:
        """Whatever lies in what is to be written is a fault of that load, never of the database."""
        town = self.open()
        self.get(town.load([load(create=T, buffer="first")]))
        self.get(town.execute("create view view as select 1 as a"))
        for bad in (
            load("nosuch"),
            load("view", ["a"], [[1]]),
            load("wide", [f"c{n}" for n in range(3000)], [[0] * 3000], create={f"c{n}": "INT" for n in range(3000)}),
            load("sqlite_thing", ["a"], [[1]], create={"a": "INT"}),
            load("anylog_marks", ["a"], [[1]], create={"a": "INT"}),
            load("AnyLog_Keys", ["a"], [[1]], alter={"a": "INT"}),
        ):
            with self.subTest(table=bad.table):
                (bad_fault, fine) = self.get(town.load([bad, load(buffer=f"good/{bad.table}")]))
                kind = "missing table" if bad.table == "nosuch" else "engine"
                self.assertEqual((type(bad_fault), bad_fault.kind), (AnyLogFault, kind), bad.table)
                self.assertIsNone(fine)
        self.assertEqual(self.get(town.counts(["t"])), {"t": 14})
        self.assertEqual(len(self.all(town, "select * from pragma_table_info('anylog_marks')")), 11)

    def test_misfits_of_a_hidden_table_are_parked(self) -> None:
        """Rows for a table that nobody may write are kept aside, so that what is behind them flows on."""
        town = self.open()
        parked = [Parked("h/1", 1, 0, "anylog_marks", "no name", "{}")]
        self.assertEqual(self.get(town.load([load("anylog_marks", (), (), parked=parked)])), [None])
        self.assertEqual(self.get(town.parked()), [("anylog_marks", "no name", "{}", AT)])

    def test_duplicates(self) -> None:
        """One whole file is loaded once, whatever its buffer is called."""
        town = self.open()
        first = self.get(town.load([load(create=T, hash="f" * 32), load(buffer="h/2", hash="f" * 32)]))
        self.assertIsNone(first[0])
        self.assertEqual(first[1].kind, "duplicate")
        (again,) = self.get(town.load([load(buffer="h/3", hash="f" * 32)]))
        self.assertEqual(again.kind, "duplicate")
        self.assertEqual(self.get(town.counts(["t"])), {"t": 2})
        self.assertEqual(self.marked(town, ["h/1", "h/2", "h/3"]), {"h/1": 1})
        self.assertEqual(self.get(town.load([load(buffer="h/4"), load(buffer="h/5")])), [None, None])

    def test_schema_grows(self) -> None:
        """Columns are added and widened in the transaction of the rows that need them."""
        town = self.open()
        self.get(town.load([load(create=T)]))
        grown = load(columns=["a", "c"], rows=[[2**40, 1.5]], sequence=2, alter={"a": "BIGINT", "c": "DECIMAL"})
        self.assertEqual(self.get(town.load([grown])), [None])
        self.assertEqual(self.all(town, "select a, b, c from t order by row_id")[-1], (2**40, None, 1.5))
        self.assertEqual(
            list((town.schema("t") or {}).items())[4:], [("a", "BIGINT"), ("b", "CHAR(8)"), ("c", "DECIMAL")]
        )
        refused = load(columns=["a", "nosuch"], rows=[[1, 1]], sequence=3, alter={"d": "INT", "a": "DECIMAL"})
        (fault,) = self.get(town.load([refused]))
        self.assertEqual(fault.kind, "missing table")
        self.assertEqual(
            list((town.schema("t") or {}).items())[4:], [("a", "BIGINT"), ("b", "CHAR(8)"), ("c", "DECIMAL")]
        )

    def test_made_by_somebody_else_meanwhile(self) -> None:
        """A table that is there when it is to be made gets the columns it lacks and keeps its own."""
        town = self.open()
        self.get(town.execute("create table t (insert_timestamp, tsd_name, tsd_id, a real)"))
        self.assertEqual(self.get(town.load([load(create=T)])), [None])
        self.assertEqual(self.all(town, "select a, b from t"), [(1.0, "x"), (2.0, "y")])
        self.assertEqual((town.schema("t") or {})["a"], "FLOAT")

    def test_values_come_back(self) -> None:
        """What JSON holds comes back unchanged, by the type of its column."""
        columns = {"i": "BIGINT", "f": "FLOAT", "s": "VARCHAR", "b": "BOOLEAN", "j": "VARCHAR"}
        rows: list[list[Any]] = [
            [2**63 - 1, 0.1, "O'Brien", True, '{"a": [1]}'],
            [-(2**63), 1e300, "'; drop table t; --", False, "0012"],
            [0, -0.5, "ünïcödé 漢字 🌡\n\t\\", None, "1e5"],
            [None, None, "", None, "\x7f"],
        ]
        town = self.open()
        self.assertEqual(self.get(town.load([load(columns=list(columns), rows=rows, create=columns)])), [None])
        self.assertEqual(self.all(town, "select i, f, s, b, j from t order by row_id"), [tuple(row) for row in rows])

    def test_any_name(self) -> None:
        """Every identifier is quoted."""
        names = ["select", 'a"b', "漢字", "a b", "Order", "it's", "semi;colon", "%s", "[x]"]
        town = self.open()
        for number, name in enumerate(names):
            create = {name: "INT", f"{name} 2": "TIMESTAMP"}
            one = load(f"{name}_t", list(create), [[1, AT]], buffer=f"h/{number}", create=create)
            self.assertEqual(self.get(town.load([one])), [None], name)
            more = load(
                f"{name}_t", [f"{name} 3"], [["x"]], buffer=f"h/{number}", sequence=2, alter={f"{name} 3": "UUID"}
            )
            self.assertEqual(self.get(town.load([more])), [None], name)
            self.assertEqual(list(town.schema(f"{name}_t") or {})[4:], [name, f"{name} 2", f"{name} 3"])
        self.assertEqual(set(self.get(town.counts([f"{name}_t" for name in names])).values()), {2})

    def test_indexes(self) -> None:
        """Those of storage.md 2.2, under names that do not meet in a namespace that is shared with tables."""
        town = self.open()
        columns = {"at": "TIMESTAMP", "u": "UUID", "u2": "UUID", "my_sensor_id": "INT", "x": "INT"}
        self.get(town.load([load("t", ["x"], [[1]], create=columns)]))
        self.get(town.load([load("a", ["b_c"], [[AT]], buffer="h/2", create={"b_c": "TIMESTAMP"})]))
        self.get(town.load([load("a_b", ["c"], [[AT]], buffer="h/3", create={"c": "TIMESTAMP"})]))
        self.get(town.load([load("z_tsd_index", ["c"], [[1]], buffer="h/4", create={"c": "INT"})]))
        self.assertEqual(self.get(town.load([load("z", ["c"], [[1]], buffer="h/5", create={"c": "INT"})])), [None])
        found = self.all(town, "select tbl_name, name from sqlite_master where type = 'index' and sql is not null")
        of = {table: sorted(name for other, name in found if other == table) for table, _ in found}
        self.assertEqual(
            of["t"],
            ["t_at_index", "t_insert_timestamp_index", "t_my_sensor_id_index", "t_tsd_index", "t_u_index"],
        )
        self.assertEqual(of["a"], ["a_b_c_index", "a_insert_timestamp_index", "a_tsd_index"])
        self.assertEqual(of["a_b"], ["a_b_c_index_2", "a_b_insert_timestamp_index", "a_b_tsd_index"])
        self.assertEqual(of["z"], ["z_insert_timestamp_index", "z_tsd_index_2"])

    def test_parked(self) -> None:
        """Rows kept aside come with their reason, the newest first, of one table or of all."""
        town = self.open()
        parked = [Parked("h/1", 1, place, "t", f"reason {place}", '{"a": "no"}') for place in range(3)]
        self.get(town.load([load(create=T, parked=parked)]))
        self.get(town.load([load("u", (), (), buffer="h/2", parked=[Parked("h/2", 1, 0, "u", "r", "{}")])]))
        self.assertEqual(self.get(town.parked("t"))[1], ("t", "reason 1", '{"a": "no"}', AT))
        self.assertEqual([row[0] for row in self.get(town.parked())], ["t", "t", "t", "u"])
        self.assertEqual(len(self.get(town.parked("", 2))), 2)
        self.assertEqual(self.all(town, "select parked from anylog_marks order by buffer"), [(3,), (1,)])

    def test_keys(self) -> None:
        """Idempotency-Keys last a day, oldest first."""
        town = self.open()
        self.clock.advance(1_000_000)
        self.get(town.load([load(create=T, keys=[("b", 999_000.0, "0"), ("a", 998_000.0, "f")])]))
        self.assertEqual(self.get(town.keys(0)), [("a", 998_000.0, "f"), ("b", 999_000.0, "0")])
        self.assertEqual(self.get(town.keys(998_500)), [("b", 999_000.0, "0")])
        self.clock.advance(86_400 - 1_500)
        for sequence in range(2, 300):  # old ones are looked for now and then
            self.get(town.load([load(sequence=sequence, rows=(), keys=[(f"k{sequence}", 1_080_000.0, "0")])]))
        self.assertEqual(self.get(town.keys(0))[0][0], "b")
        self.assertLess(len(self.get(town.keys(0))), KEYS_KEPT)

    def test_whole_refusal(self) -> None:
        """What lies in the disk or the file fails all loads, leaves nothing behind, and is told by number."""
        for code, number in ((13, 503), (10, 16), (5, 16), (11, 16), (7, 16)):
            broken: dict[str, int] = {}
            town = self.open(library=self.failing(broken))
            self.get(town.load([load("first", create=T, buffer=f"h/{code}")]))
            broken['insert into "t"'] = code
            error = self.refused(town.load([load("u", create=T, buffer="h/2"), load(create=T, buffer="h/3")]))
            self.assertEqual(error.number, number)
            self.assertEqual(self.marked(town, [f"h/{code}", "h/2", "h/3"]), {f"h/{code}": 1})
            self.assertEqual(list(self.get(town.tables())), ["first"])
            self.assertIsNone(town.schema("u"))
            broken.clear()
            self.assertEqual(self.get(town.load([load("first", buffer=f"h/{code}", sequence=2)])), [None])
            self.get(town.close())

    def test_commit_fails(self) -> None:
        """A commit that fails leaves nothing; the same load may be given again."""
        broken: dict[str, int] = {}
        town = self.open(library=self.failing(broken))
        broken["commit"] = 10
        self.assertEqual(self.refused(town.load([load(create=T)])).number, 16)
        self.assertEqual((town.schema("t"), self.get(town.tables())), (None, {}))
        broken.clear()
        self.assertEqual(self.get(town.load([load(create=T)])), [None])
        self.assertEqual(self.get(town.counts(["t"])), {"t": 2})

    def failing(self, faults: Mapping[str, int]) -> Library:
        """The library, but statements that begin so fail with that code."""
        real = self.library

        class Broken:
            def __init__(self, path: str, readonly: bool) -> None:
                self.real = real.connect(path, readonly)

            def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
                for begin, number in faults.items():
                    if statement.startswith(begin):
                        fault = sqlite3.OperationalError(f"code {number}")
                        fault.sqlite_errorcode = number
                        raise fault
                return self.real.execute(statement, parameters)

            def interrupt(self) -> None:
                self.real.interrupt()

            def close(self) -> None:
                self.real.close()

        return Library(Broken, (*real.faults, sqlite3.Error))


class LoadsInMemory(Loads):
    in_memory = True

    def test_foreign_home(self) -> None:
        """Nothing is left behind in a folder, and another one finds nothing."""
        self.get(self.open().load([load(create=T)]))
        self.assertEqual(self.get(self.open(home="other").tables()), {})
        self.assertEqual(list(self.folder.iterdir()), [])


def _connect(path: str, readonly: bool) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    return apsw.Connection(path, flags=flags)


class LoadsByAnotherLibrary(Loads):
    """The tests with a disk that forgets put apsw in the place of sqlite3: it must mean the same."""

    library = Library(_connect, (apsw.Error,))


class Files(DatabaseCase):
    def test_reopened(self) -> None:
        """All is there again, and no log is left, after a close."""
        town = self.open()
        self.get(town.load([load(create=T, keys=[("k", 1.0, "0")], parked=[Parked("h/1", 1, 9, "t", "r", "{}")])]))
        self.get(town.close())
        self.assertEqual([path.name for path in self.folder.iterdir()], ["town.dbms"])
        again = self.open()
        self.assertEqual((again.schema("t") or {})["b"], "CHAR(8)")
        self.assertEqual(self.get(again.load([load()])), [None])
        self.assertEqual(self.get(again.counts(["t"])), {"t": 2})
        self.assertEqual(self.get(again.keys(0)), [("k", 1.0, "0")])
        self.assertEqual(len(self.get(again.parked())), 1)

    def test_lasting(self) -> None:
        """A load is synced at its commit; the log is not written back within one."""
        town = self.open()
        pragmas = ("journal_mode", "synchronous", "wal_autocheckpoint", "foreign_keys")
        found = [
            self.get(town._writing.run(lambda p=p: town._connection.execute(f"pragma {p}").fetchone()[0]))
            for p in pragmas
        ]
        self.assertEqual(found, ["wal", 2, 0, 0])

    def test_home(self) -> None:
        """A database belongs to one home; a file of nobody is adopted with its tables."""
        self.get(self.open(home="one").close())
        other = self.database(home="other")
        error = self.refused(other.open())
        self.assertEqual((error.number, str(error)), (507, "database 'town' belongs to another node"))
        self.get(other.close())
        self.get(self.open(home="one").close())
        self.path.unlink()
        self.foreign(
            "create table mine (a integer, b varchar(20), c timestamp)", "insert into mine values (1, 'x', null)"
        )
        adopted = self.open(home="other")
        self.assertEqual(adopted.schema("mine"), {"a": "BIGINT", "b": "VARCHAR", "c": "TIMESTAMP"})
        self.assertEqual(self.all(adopted, "select * from mine"), [(1, "x", None)])

    def test_no_database(self) -> None:
        """A file that is something else is refused and left as it is."""
        self.path.write_bytes(b"something else" * 100)
        self.assertEqual(self.refused(self.database().open()).number, 16)
        self.assertEqual(self.path.read_bytes(), b"something else" * 100)

    def test_odd_paths(self) -> None:
        """A path may hold what a URI gives a meaning to."""
        self.path = self.folder / "a?b#c%41 d'\"é.dbms"
        town = self.open()
        self.get(town.load([load(create=T)]))
        self.assertEqual(self.get(town.counts(["t"])), {"t": 2})
        self.assertIn(self.path, list(self.folder.iterdir()))

    def test_foreign_changes(self) -> None:
        """What others do to the tables is seen: at the next load, and whenever tables are asked for."""
        town = self.open()
        self.get(town.load([load(create=T)]))
        self.foreign(
            "create table f (x double precision, y decimal(10,2), z bool, w)", "alter table t add column c blob"
        )
        types = {"x": "FLOAT", "y": "DECIMAL", "z": "BOOLEAN", "w": "VARCHAR"}
        self.assertEqual(self.get(town.tables())["f"], types)
        self.foreign("drop table f")
        self.get(town.load([load(sequence=2)]))
        self.assertIsNone(town.schema("f"))
        self.assertIn("c", town.schema("t") or {})

    def test_execute(self) -> None:
        """Statements of the user: results, types of what is made and gone, and a refusal that changes nothing."""
        town = self.open()
        self.get(town.load([load(create={"a": "BOOLEAN"}, columns=["a"], rows=[[True]])]))
        self.assertEqual(self.get(town.execute("update t set a = ? returning row_id", (0,))), [(1,)])
        self.get(town.execute("drop table t"))
        self.assertIsNone(town.schema("t"))
        self.get(town.execute("create table t (a integer)"))
        self.assertEqual(town.schema("t"), {"a": "BIGINT"})  # not what the first t said of its column
        for statement in ("selec", "insert into t values (1), (2, 3)", "insert into nosuch values (1)", "vacuum"):
            self.assertEqual(self.refused(town.execute(statement)).number, 16, statement)
        self.assertEqual(self.get(town.counts(["t"])), {"t": 0})

    def test_broken_view(self) -> None:
        """A view of what is no more hides nothing but itself."""
        town = self.open()
        self.get(town.execute("create table t (a)"))
        self.get(town.execute("create view v as select a from t"))
        self.assertEqual(list(self.get(town.tables())), ["t", "v"])
        self.get(town.execute("drop table t"))
        self.assertEqual(self.get(town.tables()), {})
        self.assertEqual(self.get(town.load([load(create=T)])), [None])

    def test_built_in(self) -> None:
        """Tables of the node's own have all their columns, and no content twice."""
        almgm = self.open()
        definition = BUILT_IN["almgm", "tsd_info"]
        for _ in range(2):
            self.get(almgm.create("tsd_info", definition))
        self.assertEqual(almgm.schema("tsd_info"), definition.columns)
        row = "insert into tsd_info (dbms_name, table_name, source, file_hash, instructions, file_time) values "
        self.get(almgm.execute(row + "('d', 't', '0', 'f', '0', ?)", (AT,)))
        for values in ("('d', 't', '0', 'f', '0', 'x')", "('d', 't', '0', 'g', '0', null)"):
            self.assertEqual(self.refused(almgm.execute(row + values)).number, 16)
        self.get(almgm.execute("delete from tsd_info"))
        self.assertEqual(self.get(almgm.execute(row + "('d','t','0','h','0','x') returning file_id")), [(2,)])

    def test_log_is_written_back(self) -> None:
        """Once it is long, the log is written back beside the loads, and does not grow for ever."""
        town = self.open()
        rows = [[number, "x" * 1000] for number in range(2000)]
        self.get(town.load([load(create=T, rows=rows)]))
        most = 0
        for sequence in range(2, 30):
            self.get(town.load([load(sequence=sequence, rows=rows)]))
            most = max(most, town._log_size())
        self.assertLess(most, 24 << 20)
        self.assertGreater(self.path.stat().st_size, 40 << 20)
        self.assertEqual(self.get(town.size()), self.path.stat().st_size + town._log_size())


class Reading(DatabaseCase):
    def test_nothing_is_written(self) -> None:
        """A reader cannot change anything, in a file or in memory."""
        for in_memory in (False, True):
            self.in_memory = in_memory
            town = self.open()
            self.get(town.load([load(create=T)]))
            for statement in ("delete from t", "drop table t", "create table u (a)"):
                self.assertEqual(self.refused(town.read(lambda c, s=statement: c.execute(s).fetchall())).number, 16)
            self.assertEqual(self.get(town.load([load(sequence=2)])), [None])
            self.assertEqual(self.get(town.counts(["t"])), {"t": 4})

    def test_connections_are_used_again(self) -> None:
        """Readings one after the other share a connection; idle ones are kept up to a number."""
        made: list[bool] = []

        def connect(path: str, readonly: bool) -> Any:
            made.append(readonly)
            return STANDARD.connect(path, readonly)

        town = self.open(library=Library(connect, STANDARD.faults))
        for _ in range(5):
            self.all(town, "select 1")
        self.assertEqual(made.count(True), 1)
        leases = [self.get(town.lease()) for _ in range(READERS + 2)]
        self.assertEqual(made.count(True), READERS + 2)
        for lease in leases:
            lease.release()
            lease.release()
        self.assertEqual(town.busy, 0)
        for _ in range(READERS):
            self.get(town.lease())
        self.assertEqual(made.count(True), READERS + 2)

    def test_snapshot(self) -> None:
        """What an answer reads does not change under it, and loads go on meanwhile."""
        town = self.open()
        self.get(town.load([load(create=T)]))
        lease = self.get(town.lease())
        self.get(lease.run(lambda c: c.execute("begin").fetchall()))
        count = lambda c: c.execute("select count(*) from t").fetchone()[0]  # noqa: E731
        self.assertEqual(self.get(lease.run(count)), 2)
        self.get(town.load([load(sequence=2)]))
        self.assertEqual((self.get(lease.run(count)), self.get(town.counts(["t"]))), (2, {"t": 4}))
        lease.release()

    def test_closed(self) -> None:
        """Once closed, everything is refused aloud; answers that are under way end, and give their connection back."""
        town = self.open()
        self.get(town.load([load(create=T)]))
        lease = self.get(town.lease())
        self.get(town.close())
        self.get(town.close())
        for waited in (
            lease.run(lambda c: c.execute("select 1")),
            town.load([load()]),
            town.tables(),
            town.execute("select 1"),
            town.read(lambda c: None),
            town.lease(),
            town.marks([]),
            town.keys(0),
        ):
            self.assertEqual(self.refused(waited).number, 10)
        lease.release()
        lease.interrupt()
        self.assertEqual(town.busy, 0)

    def test_nobody_waits_for_a_lease(self) -> None:
        """A lease whose asker left is given back; one that cannot be had is not counted."""
        lane = ClockLane(self.clock, 1.0)

        class Slow(InlineLanes):
            def open(self, name: str, threads: int = 1) -> Any:
                return lane if name.startswith("reading") else super().open(name, threads)

        town = self.open(lanes=Slow())
        waited = town.lease()
        self.assertEqual(town.busy, 2)  # the work in the lane, and the lease to come
        waited.addErrback(lambda _: None)
        waited.cancel()
        self.clock.advance(1)
        self.assertEqual(town.busy, 0)
        self.path.unlink()
        self.get(town._writing.run(town._readers.close))
        failing = town.lease()
        self.clock.advance(1)
        self.failureResultOf(failing, AnyLogError)
        self.assertEqual(town.busy, 0)
