"""Words about databases and tables, asked as anybody asks; replies compared with those that known clients parse."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.catalog import Catalog
from anylog.databases.commands import COMMANDS
from anylog.disk.durable import RealDisk
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Load, Mark, Parked
from anylog.language.context import Context, Result
from anylog.language.dictionary import Dictionary
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.words import Words
from anylog.testing.lanes import InlineLanes

AT = "2026-01-02 03:04:05.000006"


class Home:
    """What these words need of a node."""

    def __init__(self, folder: Path, home_id: str = "home") -> None:
        self.places = Places.under(folder)
        self.disk = RealDisk()
        self.places.make_all(self.disk)
        self.lanes, self.clock = InlineLanes(), Clock()
        self.databases = Catalog(places=self.places, lanes=self.lanes, clock=self.clock, home_id=home_id)
        self.membership = self
        self.clusters = SimpleNamespace(  # of the network there is nothing
            databases=lambda: [], tables=lambda dbms: [], columns=lambda dbms, table: None
        )
        self.tsd = lambda: None  # and no table of files
        self.told: list[tuple[str, bool]] = []
        self.databases.watch(lambda name, there: self.told.append((name, there)))
        self.interpreter = Interpreter(
            words=Words(COMMANDS),
            dictionary=Dictionary(),
            environ={},
            clock=self.clock,
            node=self,  # type: ignore[arg-type]
            logs=Logs(self.clock),
            read_file=lambda name, folder: None,  # type: ignore[arg-type, return-value]
        )

    def open_master(self) -> Any:
        """A ledger table may have been made."""
        return succeed(False)

    def ensure_table(self, dbms: str, table: str) -> Any:
        """The ledger has no policy of it."""
        return succeed(False)


class WordsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(mkdtemp())  # a short one: cells of tables are folded at 100 characters
        self.addCleanup(rmtree, self.folder)
        self.home = Home(self.folder)
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(self.home.databases.stop())))

    def ask(self, command: str, local: bool = True) -> Result:
        return self.successResultOf(self.home.interpreter.execute(command, Context(local=local)))

    def text(self, command: str) -> str | None:
        return self.ask(command).text

    def data(self, command: str) -> Any:
        result = self.ask(command)
        self.assertEqual(result.format, "json")
        return result.data

    def refusal(self, command: str, local: bool = True) -> tuple[int, str]:
        error = self.failureResultOf(self.home.interpreter.execute(command, Context(local=local)), AnyLogError).value
        assert isinstance(error, AnyLogError)
        return error.number, str(error)

    def refused(self, number: int, command: str, *parts: str) -> None:
        """The command is refused with that number, and names what is wrong."""
        found = self.refusal(command)
        self.assertEqual(found[0], number, found)
        for part in parts:
            self.assertIn(part, found[1])

    def fill(self, dbms: str, table: str, rows: int, columns: dict[str, str] | None = None) -> None:
        create = columns or {"value": "DECIMAL"}
        load = Load(
            table=table,
            columns=list(create),
            values=json.dumps([[1] * len(create)] * rows),
            rows=rows,
            marks=[Mark(f"h/{table}", table, 1, rows, 0)],
            parked=[],
            keys=[],
            tsd_name="0",
            tsd_id=0,
            inserted=AT,
            create=create,
        )
        self.assertEqual(self.successResultOf(self.home.databases.get(dbms).load([load])), [None])

    def bench(self) -> None:
        """The database of the recorded replies."""
        self.ask("connect dbms bench where type = sqlite")
        self.fill("bench", "readings", 5, {"device": "CHAR(8)", "timestamp": "TIMESTAMP", "value": "DECIMAL"})
        self.fill("bench", "rest_190116794", 9451)
        self.fill("bench", "t1", 2)


class Connecting(WordsCase):
    def test_connect(self) -> None:
        """A file is made in its directory; again is no error; who watches is told once."""
        for _ in range(2):
            self.assertEqual(
                self.text("connect dbms Bench where type = sqlite and autocommit = false"),
                "Database bench using sqlite connected!",
            )
        self.assertTrue((self.home.places.folder("dbms_dir") / "bench.dbms").exists())
        self.assertEqual(self.home.told, [("bench", True)])
        self.ask("disconnect dbms BENCH")
        self.assertEqual(self.home.told, [("bench", True), ("bench", False)])
        self.refused(5, "disconnect dbms bench", "'bench' not opened")

    def test_one_spelling(self) -> None:
        """Connected under the spelling under which readings come."""
        told = self.text("connect dbms sqlite anna@127.0.0.1:secret 5432 older memory")
        self.assertEqual(told, "Database older using sqlite connected!")
        self.ask("disconnect dbms older")
        self.ask('connect dbms "My-Plant 1" where type = sqlite')
        self.assertEqual(self.home.databases.names(), ["my_plant_1"])
        self.assertIs(self.home.databases.get("my_plant_1"), self.home.databases.get("My-Plant 1"))
        self.assertEqual(self.data('get tables where dbms = "MY-PLANT 1" and format = json'), {"my_plant_1": {}})

    def test_path(self) -> None:
        """The name may carry a path, and is its last part."""
        self.refused(12, "connect dbms sub/bench where type = sqlite", "sub")
        (self.home.places.folder("dbms_dir") / "sub").mkdir()
        self.ask("connect dbms sub/bench where type = sqlite")
        absolute = self.folder / "elsewhere"
        absolute.mkdir()
        self.ask(f'connect dbms "{absolute}/other" where type = sqlite')
        self.assertEqual(self.home.databases.names(), ["bench", "other"])
        self.assertTrue((absolute / "other.dbms").exists())

    def test_refused(self) -> None:
        """Each refusal names the culprit."""
        self.ask("connect dbms bench where type = sqlite")
        for number, command, *parts in (
            (136, "connect dbms bench where type = sqlite and memory = true", "bench", "disconnect"),
            (237, "connect dbms p where type = psql and user = u and password = p and ip = i and port = 1", "psql"),
            (237, "connect dbms p where type = mongo", "mongo"),
            (2, "connect dbms p where type = oracle", "oracle"),
            (2, "connect dbms p where type = psql and memory = true", "memory", "psql"),
            (2, "connect dbms p where type = sqlite and ip = 1.2.3.4", "ip"),
            (2, "connect dbms p where type = sqlite and colour = red", "colour"),
            (2, "connect dbms p", "type"),
            (237, "connect dbms psql u@1.2.3.4:pass 5432 p", "psql"),
            (2, "connect dbms psql u@1.2.3.4:pass five p", "five"),
            (2, "connect dbms sqlite u@1.2.3.4:pass 5432 p disk", "memory"),
            (2, "connect dbms sqlite u@1.2.3.4:pass 5432 p where type = sqlite", "type"),
            (2, "connect dbms sqlite p", "type"),
            (2, "connect dbms where type = sqlite", "name"),
            (2, 'connect dbms "" where type = sqlite', "name"),
            (2, f"connect dbms {'x' * 64} where type = sqlite", "63"),
        ):
            self.refused(number, command, *parts)
        self.assertEqual(self.home.databases.names(), ["bench"])

    def test_of_another_node(self) -> None:
        """A database belongs to one home; after the refusal its name is free."""
        self.ask("connect dbms bench where type = sqlite")
        self.ask("disconnect dbms bench")
        self.home = Home(self.folder, "another")
        self.refused(507, "connect dbms bench where type = sqlite", "bench")
        self.ask("connect dbms bench where type = sqlite and memory = true")

    def test_in_use(self) -> None:
        """A database that an answer is read from is not closed under it."""
        self.bench()
        lease = self.successResultOf(self.home.databases.get("bench").lease())
        self.refused(3, "disconnect dbms bench", "in use")
        lease.release()
        self.ask("disconnect dbms bench")

    def test_guarded(self) -> None:
        """What changes the node is not served to others; what only reads is."""
        self.bench()
        for command in (
            "connect dbms x where type = sqlite",
            "disconnect dbms bench",
            "drop dbms bench from sqlite",
            "drop table t1 where dbms = bench",
            "create table tsd_info where dbms = bench",
        ):
            self.assertEqual(self.refusal(command, local=False)[0], 212, command)
        for command in ("get databases", "get tables where dbms = *", "get rows count"):
            self.ask(command, local=False)

    def test_drop(self) -> None:
        """Deleted with all that belongs to it, once it is disconnected."""
        self.bench()
        folder = self.home.places.folder("dbms_dir")
        self.refused(3, "drop dbms bench from sqlite", "connected")
        self.ask("disconnect dbms bench")
        (folder / "bench.dbms-wal").write_bytes(b"")
        (folder / "bench.dbms2").write_bytes(b"")
        self.refused(2, "drop dbms bench", "type")
        self.refused(2, "drop dbms bench sqlite", "usage")
        self.refused(237, "drop dbms bench where type = psql", "psql")
        self.ask("drop dbms bench where type = sqlite")
        self.assertEqual([path.name for path in folder.iterdir()], ["bench.dbms2"])
        self.refused(5, "drop dbms bench from sqlite", "bench.dbms")

    def test_stop(self) -> None:
        """All are closed, and each closing is told."""
        self.bench()
        self.ask("connect dbms quick where type = sqlite and memory = true")
        self.successResultOf(Deferred.fromCoroutine(self.home.databases.stop()))
        self.assertEqual(self.home.told[2:], [("bench", False), ("quick", False)])
        self.assertEqual(self.home.databases.names(), [])


class Showing(WordsCase):
    maxDiff = None

    def lines(self, command: str, *expected: str) -> None:
        """Byte for byte what was recorded, but for the empty line before it."""
        self.assertEqual(self.text(command), "\r\n".join(expected))

    def test_databases(self) -> None:
        self.assertEqual(self.text("get databases"), "No DBMS connections found")
        self.assertEqual(self.data("get databases where format=json"), {})
        self.ask("connect dbms bench where type = sqlite")
        self.ask("connect dbms almgm where type = sqlite")
        self.ask("connect dbms system_query where type = sqlite and memory = true and autocommit = false")
        path = str(self.home.places.folder("dbms_dir"))
        size = len(f"{path}/almgm.dbms")
        on = "Autocommit On, Fsync full (after each write)"
        off = "Autocommit Off, RAM                         "
        self.lines(
            "get databases",
            "Active DBMS Connections",
            "Logical DBMS Database Type Owner  IP:Port Configuration                                "
            f"{'Storage':<{size + 1}}",
            f"------------|-------------|------|-------|--------------------------------------------|{'-' * size}|",
            f"almgm       |sqlite       |system|Local  |{on}|{path}/almgm.dbms|",
            f"bench       |sqlite       |user  |Local  |{on}|{path}/bench.dbms|",
            f"system_query|sqlite       |system|Local  |{off}|{'MEMORY':<{size}}|",
        )
        found = self.data("get databases where format=json")
        self.assertEqual(found["bench"], {"dbms_type": "sqlite", "ip_port": "Local", "storage": f"{path}/bench.dbms"})
        self.assertEqual(found["system_query"]["storage"], "MEMORY")

    def test_size(self) -> None:
        self.bench()
        self.ask("connect dbms quick where type = sqlite and memory = true")
        self.assertGreater(int(self.text("get database size bench") or 0), 9451)
        self.assertEqual(self.text("get database size quick"), "0")
        self.assertEqual(self.text("get database size nosuch"), "-1")

    def test_tables(self) -> None:
        """The ledger column is empty: there is none."""
        self.bench()
        expected = (
            "Database Table name     Local DBMS Blockchain ",
            "--------|--------------|----------|----------|",
            "bench   |readings      | V        |          |",
            "        |rest_190116794| V        |          |",
            "        |t1            | V        |          |",
        )
        self.lines("get tables where dbms=bench", *expected)
        self.lines("get tables for dbms bench", *expected)
        here = {"local": True, "blockchain": False}
        tables = {"readings": here, "rest_190116794": here, "t1": here}
        self.assertEqual(self.data("get tables where dbms=bench and format=json"), {"bench": tables})
        self.lines(
            "get local tables where dbms = bench",
            *(line[:35] for line in expected),
        )
        self.ask("connect dbms almgm where type = sqlite and memory = true")
        self.ask("create table tsd_info where dbms = almgm")
        self.lines(
            "get tables where dbms = *",
            *expected[:2],
            "almgm   |tsd_info      | V        |          |",
            *expected[2:],
        )
        self.refused(5, "get tables where dbms = nosuch", "nosuch")
        self.refused(2, "get tables", "dbms")

    def test_columns(self) -> None:
        self.bench()
        heading = (
            "Schema for DBMS: 'bench' and Table: 'readings'",
            "Column Name      Column Type                 ",
            "----------------|---------------------------|",
        )
        expected = (
            *heading,
            "row_id          |integer                    |",
            "insert_timestamp|timestamp without time zone|",
            "tsd_name        |char(3)                    |",
            "tsd_id          |bigint                     |",
            "device          |char(8)                    |",
            "timestamp       |timestamp without time zone|",
            "value           |decimal                    |",
        )
        self.lines("get columns where dbms=bench and table=readings", *expected)
        self.lines("info table Bench Readings columns", *expected)
        self.assertEqual(
            self.data("get columns where dbms=bench and table=readings and sys_col = false and format=json"),
            {"device": "char(8)", "timestamp": "timestamp without time zone", "value": "decimal"},
        )
        for kinds, names in (
            ("type = char(8)", ["device"]),
            ("type = char", ["tsd_name", "device"]),
            ("type = TIMESTAMP and type = decimal", ["insert_timestamp", "timestamp", "value"]),
            ("type = int", []),
        ):
            found = self.data(f"get columns where dbms = bench and table = readings and {kinds} and format = list")
            self.assertEqual(found, names, kinds)
        self.refused(132, "get columns where dbms=nosuch and table=x", "nosuch")
        self.refused(132, "get columns where dbms=bench and table=x", "'x'")
        self.refused(132, "get columns where dbms=bench and table=anylog_marks", "anylog_marks")

    def test_rows_count(self) -> None:
        """Numbers stand right; what belongs to queries under way is not counted."""
        self.bench()
        self.ask("connect dbms almgm where type = sqlite and memory = true")
        self.ask("create table tsd_info where dbms = almgm")
        self.ask("connect dbms system_query where type = sqlite and memory = true")
        self.successResultOf(self.home.databases.get("system_query").execute("create table q (a)"))
        expected = (
            "DBMS Name Table Name     Rows Count ",
            "---------|--------------|----------|",
            "almgm    |tsd_info      |         0|",
            "bench    |readings      |         5|",
            "         |rest_190116794|      9451|",
            "         |t1            |         2|",
        )
        self.lines("get rows count", *expected)
        self.lines("get rows count where group = table", *expected)
        self.lines("get rows count where dbms=bench", *expected[:2], *expected[3:])
        self.assertEqual(
            self.data("get rows count where dbms=bench and table=readings and format=json"), {"bench.readings": 5}
        )
        self.assertEqual(self.data("get rows count where table = t1 and format=json"), {"bench.t1": 2})
        self.refused(29, "get rows count where dbms = bench and table = nosuch", "nosuch")
        self.refused(5, "get rows count where dbms = nosuch", "nosuch")

    def test_table(self) -> None:
        self.bench()
        for asked, data in (
            ("local status", {"local": True}),
            ("exist status", {"local": True, "blockchain": False}),
            ("blockchain status", {"blockchain": False}),
            ("rows count", {"rows": 5}),
            ("complete status", {"local": True, "blockchain": False, "rows": 5, "partitions": 0}),
        ):
            self.assertEqual(self.data(f"get table {asked} where dbms=bench and name=readings"), data)
            self.assertEqual(self.data(f"get table {asked} where name = Readings and dbms = Bench"), data)
        self.assertEqual(
            self.data("get table complete status where dbms=bench and name=x"),
            {"local": False, "blockchain": False, "rows": 0, "partitions": 0},
        )
        self.refused(2, "get table good status where dbms = bench and name = readings", "good status")
        self.assertEqual(self.text("info table bench readings exists"), "true")
        self.assertEqual(self.text("info table bench x exists"), "false")
        self.assertEqual(self.text("info table bench anylog_marks exists"), "false")
        self.refused(2, "info table bench readings colour", "colour")
        self.refused(5, "info table nosuch readings exists", "nosuch")

    def test_parked(self) -> None:
        self.ask("connect dbms bench where type = sqlite")
        parked = [
            Parked("h/1", 1, place, table, f"'no' is no INT in {table}", '{"n": 123456789012345678901, "v": "no"}')
            for place, table in enumerate(("t1", "t2"))
        ]
        load = Load(
            table="t1", columns=(), values="[]", rows=0, marks=[Mark("h/1", "t1", 1, 0, 2)], parked=parked, keys=[],
            tsd_name="0", tsd_id=0, inserted=AT,
        )  # fmt: skip
        self.successResultOf(self.home.databases.get("bench").load([load]))
        self.lines(
            "get parked rows where dbms = bench and table = T1",
            "Table Reason               Row                                     Time                       ",
            "-----|--------------------|---------------------------------------|--------------------------|",
            f't1   |\'no\' is no INT in t1|{{"n": 123456789012345678901, "v": "no"}}|{AT}|',
        )
        found = self.data("get parked rows where dbms = bench and format = json")
        self.assertEqual([row["table"] for row in found], ["t1", "t2"])
        self.assertEqual(found[0]["row"], {"n": "123456789012345678901", "v": "no"})
        self.assertEqual(len(self.data("get parked rows where dbms = bench and limit = 1 and format = json")), 1)


class Changing(WordsCase):
    def test_create(self) -> None:
        """The node's own tables, once; no others."""
        self.ask("connect dbms almgm where type = sqlite")
        self.ask("connect dbms blockchain where type = sqlite")
        for _ in range(2):
            self.ask("create table tsd_info where dbms = almgm")
            self.ask("create table ledger where dbms = blockchain")
        columns = self.data("get columns where dbms = almgm and table = tsd_info and format = json")
        self.assertEqual(
            list(columns),
            [
                *("file_id", "dbms_name", "table_name", "source", "file_hash", "instructions"),
                *("file_time", "rows", "status1", "status2"),
            ],
        )
        self.assertEqual(columns["file_time"], "timestamp without time zone")
        ledger = self.data("get columns where dbms = blockchain and table = ledger and format = list")
        self.assertEqual(
            ledger,
            ["sequence_id", "policy_type", "policy_id", "company_name", "date", "host", "status", "policy"],
        )
        self.refused(17, "create table tsd_info where dbms = blockchain", "tsd_info", "blockchain")
        self.refused(17, "create table weather where dbms = almgm", "weather")
        self.refused(5, "create table tsd_info where dbms = nosuch", "nosuch")
        self.fill("almgm", "weather", 1)
        self.ask("create table weather where dbms = almgm")

    def test_drop(self) -> None:
        """Gone with its rows, and made anew by its next reading; the node's hidden ones are none of a user's."""
        self.bench()
        self.ask("drop table T1 where dbms = bench")
        self.assertEqual(self.text("info table bench t1 exists"), "false")
        self.refused(29, "drop table t1 where dbms = bench", "t1")
        self.refused(29, "drop table anylog_marks where dbms = bench", "anylog_marks")
        self.refused(29, "drop table ANYLOG_MARKS where dbms = bench")
        self.ask("disconnect dbms bench")
        path = self.home.places.folder("dbms_dir") / "bench.dbms"
        connection = sqlite3.connect(path)
        self.addCleanup(connection.close)
        types = connection.execute("select count(*) from anylog_columns where table_name = 't1'").fetchone()
        self.assertEqual(types, (0,))
