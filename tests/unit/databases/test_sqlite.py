"""One database in one file: what is loaded is there, once, with its marks, or not at all (hard-parts.md 1.3, 2)."""

from __future__ import annotations

import json
import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

import apsw
from town import NOW, TownCase, load

from anylog.databases.library import STANDARD, Library
from anylog.interfaces import Parked
from anylog.testing.power import PowerVFS

SYSTEMS = count(1)
V = {"v": "INT"}


class Loads(TownCase):
    def test_all_of_a_load(self) -> None:
        """Rows, marks, parked rows and keys come together, and are there after the database was opened again."""
        parked = [Parked("b1", 2, 0, "t", "'x' is no INT", '{"v":"x"}')]
        keys = [("t/k1", self.clock.seconds(), "0")]
        faults = self.load(load("t", [{"v": 1}, {"v": 2}], 2, create=V, parked=parked, keys=keys))
        self.assertEqual(faults, [None])
        for _ in range(2):
            self.assertEqual(
                self.ask("select row_id, insert_timestamp, tsd_name, tsd_id, v from t"),
                [(1, NOW, "0", 0, 1), (2, NOW, "0", 0, 2)],
            )
            self.assertEqual(self.successResultOf(self.town.marks(["b1", "b2"])), {"b1": 2})
            self.assertEqual(self.successResultOf(self.town.parked("t")), [("t", "'x' is no INT", '{"v":"x"}', NOW)])
            self.assertEqual(self.successResultOf(self.town.keys(0)), keys)
            self.assertEqual(
                self.town.schema("t"),
                {"row_id": "SERIAL PRIMARY KEY", "insert_timestamp": "TIMESTAMP", "tsd_name": "CHAR(3)",
                 "tsd_id": "BIGINT", "v": "INT"},
            )  # fmt: skip
            self.reopen()

    def test_the_same_again(self) -> None:
        """A load that the mark covers changes nothing; the next of its buffer adds to the mark."""
        first = load("t", [{"v": 1}], 5, create=V)
        self.load(first)
        self.assertEqual(self.load(first, load("t", [{"v": 0}], 4)), [None, None])
        self.load(load("t", [{"v": 2}, {"v": 3}], 6))
        self.assertEqual(self.ask("select v from t"), [(1,), (2,), (3,)])
        self.assertEqual(self.ask("select sequence, rows from anylog_marks"), [(6, 3)])

    def test_one_poisoned_load(self) -> None:
        """What the engine refuses takes only itself, with what it was about to make."""
        self.load(load("t", [{"v": 1}], create=V))
        self.successResultOf(self.town.execute("create unique index one on t (v)"))
        faults = self.load(
            load("t", [{"v": 2}], 1, "b2"),
            load("t", [{"v": 3, "w": 1}, {"v": 1, "w": 1}], 1, "b3", alter={"w": "INT"}),
            load("u", [{"v": 9}], 1, "b4", create=V),
        )
        self.assertEqual(faults, [None, "engine", None])
        self.assertEqual(self.ask("select v from t"), [(1,), (2,)])
        self.assertEqual(self.ask("select v from u"), [(9,)])
        self.assertNotIn("w", self.town.schema("t") or ())
        self.assertEqual(self.successResultOf(self.town.marks(["b2", "b3", "b4"])), {"b2": 1, "b4": 1})

    def test_one_content_once(self) -> None:
        """The hash of a whole file that was loaded before is told as a duplicate, in one round and later."""
        one = [load("t", [{"v": 1}], 1, f"b{n}", hash="aa", create=V) for n in range(3)]
        self.assertEqual(self.load(one[0], one[1]), [None, "duplicate"])
        self.assertEqual(self.load(one[2]), ["duplicate"])
        self.assertEqual(self.load(one[0]), [None])  # the very same, repeated after a stop
        self.assertEqual(self.ask("select v from t"), [(1,)])

    def test_what_only_the_load_is_to_blame_for(self) -> None:
        """None of these stops the database: each is a fault of its own load."""
        self.load(load("t", [{"v": 1}], create=V))
        self.successResultOf(self.town.execute("create view seen as select v from t"))
        wide = {f"c{n}": "INT" for n in range(3000)}
        bad_json = load("t", [{"v": 1}], 1, "b2")
        object.__setattr__(bad_json, "values", "[[1")
        for bad, kind in [
            (bad_json, "engine"),
            (load("nowhere", [{"v": 1}], 1, "b2"), "missing table"),
            (load("t", [{"unknown": 1}], 1, "b2"), "missing table"),
            (load("wide", [dict.fromkeys(wide, 1)], 1, "b2", create=wide), "engine"),
            (load("t", [dict.fromkeys(wide, 1)], 1, "b2", alter=wide), "engine"),
            (load("sqlite_own", [{"v": 1}], 1, "b2", create=V), "engine"),
            (load("seen", [{"v": 1}], 1, "b2"), "engine"),
        ]:
            with self.subTest(bad.table):
                self.assertEqual(self.load(bad, load("t", [], 1, "b9")), [kind, None], bad.table)
        self.assertEqual(self.ask("select v from t"), [(1,)])
        self.assertEqual(set(self.successResultOf(self.town.tables())), {"t", "seen"})

    def test_any_name_and_any_text(self) -> None:
        """Names are quoted, values are bound: words of SQL, quotes and every script are only text."""
        for number, name in enumerate(["select", 'a"b', "Łódź 日本", "O'Brien", "; drop table t --"]):
            text = f'O\'Brien said "{name}" %s ? :x'
            faults = self.load(load(name, [{name: text}], 1, f"b{number}", create={name: "VARCHAR"}))
            self.assertEqual(faults, [None], name)
            schema = self.town.schema(name)
            assert schema is not None
            self.assertEqual(schema[name], "VARCHAR")
            column = '"' + name.replace('"', '""') + '"'
            self.assertEqual(self.ask(f"select {column} from {column}"), [(text,)])

    def test_values(self) -> None:
        """Each value comes back as it went in, in the form the engine has for its type."""
        types = {"b": "BOOLEAN", "i": "BIGINT", "f": "FLOAT", "s": "VARCHAR", "n": "INT", "digits": "VARCHAR"}
        row = {"b": True, "i": 2**63 - 1, "f": 0.1, "s": '{"a": [1]}', "n": None, "digits": "007"}
        self.load(load("t", [row], create=types))
        self.assertEqual(self.ask("select b, i, f, s, n, digits from t"), [(1, 2**63 - 1, 0.1, row["s"], None, "007")])

    def test_a_fault_takes_the_new_table_with_it(self) -> None:
        """Create, alter and rows are one transaction: after a fault neither table nor column is there or thought of."""
        armed = self.failing()
        self.load(load("t", [{"v": 1}], create=V))
        for sign in ('insert into "', "insert into anylog_marks", "commit"):
            armed[:] = [sign]
            grown = load("t", [{"v": 2, "w": 2}], 2, alter={"w": "INT", "v": "BIGINT"})
            self.assertEqual(self.refused(self.town.load([grown, load("u", [{"v": 1}], 1, "b2", create=V)])).number, 16)
            armed.clear()
            schema = self.town.schema("t") or {}
            self.assertEqual((self.town.schema("u"), schema["v"], "w" in schema), (None, "INT", False))
            self.assertEqual(list(self.successResultOf(self.town.tables())), ["t"])
        self.assertEqual(self.load(grown, load("u", [{"v": 1}], 1, "b2", create=V)), [None, None])
        self.assertEqual(self.ask("select v, w from t"), [(1, None), (2, 2)])
        self.assertEqual((self.town.schema("t") or {})["v"], "BIGINT")

    def test_created_twice(self) -> None:
        """A table that is there already keeps its types; a column that is there is not added again."""
        self.load(load("t", [{"v": 1}], create={"v": "DECIMAL"}))
        self.assertEqual(self.load(load("t", [{"v": 2, "w": 1}], 2, create=V, alter={"w": "INT"})), [None])
        self.assertEqual(self.load(load("t", [{"v": 3, "w": 1}], 3, create=V, alter={"w": "INT"})), [None])
        schema = self.town.schema("t") or {}
        self.assertEqual((schema["v"], schema["w"]), ("DECIMAL", "INT"))

    def test_tables_named_like_indexes(self) -> None:
        """Tables and indexes share their names in the engine: neither keeps rows out."""
        for number, table in enumerate(["t", "t_tsd_index", "u_tsd_index", "u"]):
            self.assertEqual(self.load(load(table, [{"v": number}], 1, f"b{number}", create=V)), [None], table)
            self.assertEqual(self.ask(f"select v from {table}"), [(number,)])

    def test_keys_are_trimmed(self) -> None:
        """Keys of yesterday go in the course of loads, and reading them goes by time."""
        now = self.clock.seconds()
        self.load(load("t", [{"v": 1}], create=V, keys=[("t/new", now, "0")]))
        self.clock.advance(86_401)
        for sequence in range(2, 300):
            self.load(load("t", [], sequence, keys=[(f"t/k{sequence}", now + 86_401, "0")]))
        found = [key for key, _, _ in self.successResultOf(self.town.keys(0))]
        self.assertNotIn("t/new", found)
        self.assertEqual(len(found), 298)
        self.assertEqual(self.successResultOf(self.town.keys(now + 90_000)), [])


class Schemas(TownCase):
    def test_what_others_change(self) -> None:
        """Tables made, grown and dropped by hand are known at once, and made anew they begin anew."""
        execute = self.town.execute
        self.successResultOf(execute("create table mine (a integer, b text, c timestamp, d char(4), e)"))
        self.assertEqual(
            self.town.schema("mine"), {"a": "BIGINT", "b": "VARCHAR", "c": "TIMESTAMP", "d": "CHAR(4)", "e": "VARCHAR"}
        )
        self.load(load("t", [{"v": True}], create={"v": "BOOLEAN"}))
        self.successResultOf(execute("alter table t add column w real"))
        self.assertEqual((self.town.schema("t") or {})["w"], "FLOAT")
        self.successResultOf(execute("drop table t"))
        self.assertIsNone(self.town.schema("t"))
        self.assertEqual(self.load(load("t", [{"v": 2}], 2)), ["missing table"])
        self.successResultOf(execute("create table t (v integer)"))
        self.assertEqual(self.town.schema("t"), {"v": "BIGINT"})

    def test_another_connection_changes_the_schema(self) -> None:
        """Before a load the cache is compared with the file."""
        other = sqlite3.connect(self.path)
        other.execute("create table theirs (v integer)")
        other.commit()
        other.close()
        self.load(load("t", [{"v": 1}], create=V))
        self.assertEqual(self.town.schema("theirs"), {"v": "BIGINT"})

    def test_a_view_whose_table_is_gone(self) -> None:
        """It is left out; everything else goes on."""
        self.load(load("t", [{"v": 1}], create=V))
        self.successResultOf(self.town.execute("create view seen as select v from t"))
        self.assertEqual(self.town.schema("seen"), {"v": "BIGINT"})
        self.successResultOf(self.town.execute("drop table t"))
        self.assertEqual(self.successResultOf(self.town.tables()), {})
        self.assertEqual(self.load(load("t", [{"v": 1}], 2, create=V)), [None])

    def test_a_statement_that_fails(self) -> None:
        """It says why, leaves nothing behind, and the next one works."""
        for statement, number in [("selec", 16), ("insert into nowhere values (1)", 16), ("commit", 16)]:
            self.assertEqual(self.refused(self.town.execute(statement)).number, number, statement)
        self.assertEqual(self.successResultOf(self.town.execute("select ?", ("O'Brien",))), [("O'Brien",)])

    def test_hidden_tables(self) -> None:
        """The node's own tables are in no list and have no schema."""
        self.assertEqual(self.successResultOf(self.town.tables()), {})
        self.assertIsNone(self.town.schema("anylog_marks"))
        self.load(load("anylogger", [{"v": 1}], create=V))
        self.assertEqual(list(self.successResultOf(self.town.tables())), ["anylogger"])


class Homes(TownCase):
    def test_another_nodes_database(self) -> None:
        """A database belongs to one home; the refusal leaves it as it was."""
        self.load(load("t", [{"v": 1}], create=V))
        self.successResultOf(self.town.close())
        database = self.made[-1].__class__(
            name="town", path=self.path, lanes=self.lanes, clock=self.clock, home="elsewhere"
        )
        self.assertEqual(self.refused(database.open()).number, 507)
        self.successResultOf(database.close())
        self.town = self.open()
        self.assertEqual(self.ask("select v from t"), [(1,)])

    def test_no_database_at_all(self) -> None:
        """A file of something else is refused and not touched."""
        path = self.folder / "letter.dbms"
        path.write_text("Dear all, " * 1000)
        before = path.read_bytes()
        database = self.town.__class__(name="letter", path=path, lanes=self.lanes, clock=self.clock, home="here")
        self.assertEqual(self.refused(database.open()).number, 16)
        self.successResultOf(database.close())
        self.assertEqual(path.read_bytes(), before)

    def test_names_that_a_uri_would_misread(self) -> None:
        """A path is a path, whatever is in it."""
        for name in ("50%.dbms", "a?mode=memory.dbms", "a#b.dbms", "ü ñ.dbms"):
            self.open(name=name, path=self.folder / name)
            self.assertTrue((self.folder / name).exists(), name)

    def test_in_memory(self) -> None:
        """No file is made; one connection reads and writes; a reader cannot write."""
        before = set(Path.cwd().iterdir())
        memory = self.open(name="ram", path=None)
        self.assertEqual(set(Path.cwd().iterdir()), before)
        self.town, town = memory, self.town
        self.assertEqual(self.load(load("t", [{"v": 1}], create=V)), [None])
        self.assertEqual((self.ask("select v from t"), memory.storage), ([(1,)], "MEMORY"))
        self.assertEqual(self.refused(memory.read(lambda c: c.execute("delete from t"))).number, 16)
        self.assertEqual(self.load(load("t", [{"v": 2}], 2)), [None])
        lease = self.successResultOf(memory.lease())
        self.assertEqual(memory.busy, 1)
        lease.release()
        self.assertEqual((memory.busy, self.ask("select count(*) from t")), (0, [(2,)]))
        self.town = town


class OtherLibrary(TownCase):
    """The same with apsw on a file system of its own: its faults are read alike."""

    def setUp(self) -> None:
        vfs = PowerVFS(f"town {next(SYSTEMS)}")
        self.addCleanup(vfs.unregister)
        self.library = Library(vfs.connect, (apsw.Error,))
        super().setUp()

    def test_faults(self) -> None:
        """Duplicates, poison, missing tables, faults of a statement and a full disk have the same names."""
        self.assertEqual(self.load(load("t", [{"v": 1}], create=V, hash="aa")), [None])
        self.successResultOf(self.town.execute("create unique index one on t (v)"))
        faults = self.load(
            load("t", [{"v": 7}], 1, "b2", hash="aa"),
            load("t", [{"v": 1}], 1, "b3"),
            load("nowhere", [{"v": 1}], 1, "b4"),
            load("t", [{"nothing": 1}], 1, "b5"),
            load("t", [{"v": 2}], 1, "b6"),
        )
        self.assertEqual(faults, ["duplicate", "engine", "missing table", "missing table", None])
        self.assertEqual(self.refused(self.town.execute("selec")).number, 16)
        self.assertEqual(self.refused(self.town.read(lambda c: c.execute("delete from t"))).number, 16)
        self.successResultOf(self.town.execute("pragma max_page_count = 30"))
        text = "x" * 200_000
        self.assertEqual(self.refused(self.town.load([load("t", [{"v": text}], 1, "b7")])).number, 503)
        self.successResultOf(self.town.execute("pragma max_page_count = 100000"))
        self.assertEqual(self.load(load("t", [{"v": text}], 1, "b7")), [None])
        self.reopen()
        self.assertEqual(len(self.ask("select v from t")), 3)


class FullDisk(TownCase):
    def test_no_room(self) -> None:
        """A full disk is 503 by name (507 for HTTP), leaves nothing of the load, and all is well once there is room."""
        pages = ["pragma max_page_count = 40"]

        def connect(path: str, readonly: bool) -> Any:
            connection = STANDARD.connect(path, readonly)
            connection.execute(pages[0])
            return connection

        self.reopen(library=Library(connect, STANDARD.faults))
        self.load(load("t", [{"v": 0}], create={"v": "VARCHAR"}))
        big = load("t", [{"v": "x" * 5000}] * 100, 2, alter={"w": "INT"})
        error = self.refused(self.town.load([big]))
        self.assertEqual((error.number, error.http), (503, 507))
        self.assertEqual(self.ask("select count(*) from t"), [(1,)])
        self.assertNotIn("w", self.town.schema("t") or ())
        self.assertEqual(self.load(load("t", [{"v": "small"}], 3, "b2")), [None])
        self.successResultOf(self.town.execute("pragma max_page_count = 1000000"))
        self.assertEqual(self.load(big), [None])
        pages[0] = "pragma max_page_count = 1000000"
        self.reopen(library=Library(connect, STANDARD.faults))
        self.assertEqual(self.ask("select count(*) from t"), [(102,)])
        self.assertEqual(self.ask("pragma integrity_check"), [("ok",)])

    def test_json_is_what_the_engine_takes(self) -> None:
        """Many rows are one statement."""
        rows = [{"v": number} for number in range(5000)]
        self.assertEqual(self.load(load("t", rows, create=V)), [None])
        self.assertEqual(self.ask("select count(*), sum(v) from t"), [(5000, sum(range(5000)))])
        self.assertEqual(
            json.loads(self.ask("select json_group_array(v) from (select v from t limit 3)")[0][0]), [0, 1, 2]
        )
