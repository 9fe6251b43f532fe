"""What the words about the operator show: as tables and as JSON, since the start and since a reset."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.durable import RealDisk
from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.node import Node
from anylog.processes.operator_commands import check_folders
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLanes
from anylog.testing.network import MemoryNetwork

BEGIN = 1_790_000_000.0
TOPICS = ("config", "summary", "json", "sql", "inserts", "error")
EACH = ("json", "sql", "inserts", "error")
GOOD = b'{"v":1}\n{"v":2}\n{"v":3}\n'


class OperatorDesk(SynchronousTestCase):
    """A node with a database, on a real disk; member 7 of a cluster once its operator runs."""

    def setUp(self) -> None:
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.clock = Clock()
        self.clock.advance(BEGIN)
        self.node = Node(
            home=Path(kept.name).resolve() / "home",
            clock=self.clock,
            net=MemoryNetwork(self.clock, Random(1)).net("127.0.0.1"),
            lanes=InlineLanes(),
            disk=RealDisk("none"),
            chance=Random(1),
        )
        self.successResultOf(Deferred.fromCoroutine(self.node.start()))
        self.addCleanup(self.stop)
        self.here = self.node.places.folder("watch_dir")
        self.errors = self.node.places.folder("error_dir")
        self.ask("connect dbms town where type = sqlite")

    def stop(self) -> None:
        stopped = self.node.stop()
        for _ in range(20):
            self.clock.advance(0.5)
        self.successResultOf(stopped)

    def run_operator(self, options: str = "") -> None:
        self.ask(
            "run tcp server where external_ip = 127.0.0.1 and external_port = 32148 and"
            " internal_ip = 127.0.0.1 and internal_port = 32148 and bind = true and threads = 1"
        )
        policies: list[dict[str, Any]] = [
            {"cluster": {"id": "c1", "name": "north", "company": "acme"}},
            {"operator": {"id": "o7", "name": "op7", "company": "acme", "cluster": "c1", "ip": "127.0.0.1",
                          "port": 32148, "member": 7}},
        ]  # fmt: skip
        for policy in policies:
            self.node.dictionary.set("p", json.dumps(policy))
            self.ask("blockchain insert where policy = !p and local = true")
        self.ask(f"run operator where policy = o7{options}")
        self.beat()

    def ask(self, command: str) -> str:
        waited = self.node.execute(command, Context(origin="console", local=True))
        self.clock.advance(0)
        return self.successResultOf(waited).text or ""

    def data(self, command: str) -> Any:
        """What JSON shows."""
        waited = self.node.execute(command, Context(origin="console", local=True))
        result = self.successResultOf(waited)
        self.assertEqual(result.format, "json")
        return result.data

    def refused(self, command: str) -> int:
        waited = self.node.execute(command, Context(origin="console", local=True))
        error: AnyLogError = self.failureResultOf(waited, AnyLogError).value
        return error.number

    def beat(self, seconds: int = 3) -> None:
        for _ in range(seconds * 4):
            self.clock.advance(0.25)

    def put(self, name: str, data: bytes = GOOD) -> None:
        (self.here / name).write_bytes(data)

    def numbers(self) -> dict[str, Any]:
        return {topic: self.data(f"get operator {topic} where format = json") for topic in TOPICS}


class WithoutTests(OperatorDesk):
    def test_nothing_yet(self) -> None:
        """Every topic has its table before anything happened."""
        found = self.numbers()
        self.assertEqual(found["config"], {"Status": "Not Active"})
        self.assertEqual((found["json"], found["sql"], found["inserts"]), ({}, {}, {}))
        self.assertEqual(
            [(row["type"], row["counter"]) for row in found["error"]], [("JSON Errors", 0), ("SQL Errors", 0)]
        )
        self.assertEqual((found["summary"]["status"], found["summary"]["total rows"]), ("Not Active", 0))
        for topic in TOPICS:
            self.assertIn(f"OPERATOR {topic.upper()}", self.ask(f"get operator {topic}"))

    def test_no_operator(self) -> None:
        """Words about what runs say that nothing does."""
        self.assertEqual(self.ask("get operator pool"), "Operator Pool is not declared")
        self.assertEqual(self.refused("get watch"), 203)
        self.assertEqual(self.ask("get watch directories"), "[]")

    def test_retry_without(self) -> None:
        """Nobody would take the files."""
        self.assertEqual(self.refused("file retry all"), 203)

    def test_unknown(self) -> None:
        """Topics and services that are none."""
        for command, number in [
            ("get operator other", 2), ("get stats where service = operator and topic = other", 2),
            ("get stats where service = publisher and topic = sql", 2),
            ("reset stats where service = publisher and topic = x", 2),
            ("reset stats where service = operator and topic = other", 2),
            ("trace level = x run operator", 2), ("trace level = 1 run rest server", 3),
            ("trace level = 1 run message broker", 3), ("trace level = 1 nosuch", 1),
        ]:  # fmt: skip
            self.assertEqual(self.refused(command), number, command)

    def test_trace(self) -> None:
        """Set, shown, and ended."""
        self.assertEqual(self.ask("trace level"), "nothing is traced")
        self.ask("trace level = 2 run operator")
        self.assertEqual((self.ask("trace level"), self.node.operator_seen.trace), ("run operator: 2", 2))
        self.ask("trace level = 0")
        self.assertEqual((self.ask("trace level"), self.node.operator_seen.trace), ("nothing is traced", 0))


class RunningTests(OperatorDesk):
    def test_what_was_loaded(self) -> None:
        """Files, rows and errors, by table."""
        self.run_operator()
        self.put("town.t.json")
        self.put("town.t.second.json", b'{"v":9}\n')
        self.put("town.u.sql", b"insert into u (v) values (1), (2);")
        self.put("town.bad.json", b"x")
        self.put("town.bad.sql", b"drop table bad;")
        self.beat(5)
        self.assertEqual(list(self.here.iterdir()), [])
        found = self.numbers()
        self.assertEqual(list(found["json"]), ["town"])
        self.assertEqual({table: cells[0] for table, cells in found["json"]["town"].items()}, {"t": 2})
        self.assertEqual({table: cells[0] for table, cells in found["sql"]["town"].items()}, {"u": 1})
        self.assertEqual(
            {table: cells[4:6] for table, cells in found["inserts"]["town"].items()}, {"t": (4, 0), "u": (2, 0)}
        )
        told = [(row["counter"], row["dbms name"], row["table name"], row["last error"]) for row in found["error"]]
        self.assertEqual(told, [(1, "town", "bad", 6), (1, "town", "bad", 16)])
        summary = found["summary"]
        told = summary["status"], summary["total rows"], summary["new rows"], summary["total errors"]
        self.assertEqual(told, ("Active", 6, 6, 2))
        self.assertEqual(self.data("get operator summary where format = json")["new rows"], 0)

    def test_tables(self) -> None:
        """All but config and summary without a topic, one after another; the older names of topics."""
        self.run_operator()
        self.put("town.t.json")
        self.put("town.bad.json", b"x")
        self.beat(5)
        text = self.ask("get operator")
        places = [text.index(f"OPERATOR {topic.upper()}") for topic in EACH]
        self.assertEqual(places, sorted(places))
        self.assertNotIn("SUMMARY", text)
        self.assertIn("JSON Errors", self.ask("get operator errors"))
        self.assertIn("OPERATOR SUMMARY", self.ask("get operator stat"))
        self.assertEqual(len(self.data("get operator where format = json")), 4)

    def test_config(self) -> None:
        """Its place, and every option as it was resolved."""
        self.run_operator(" and threads = 4 and compress_json = false")
        config = self.data("get operator config where format = json")
        told = config["Status"], config["Member"], config["Policy"], config["Cluster"]
        self.assertEqual(told, ("Active", 7, "o7", "c1"))
        options = config["options"]
        self.assertEqual((options["threads"], options["compress_json"], options["company"]), (4, False, "acme"))
        self.assertEqual(str(options["watch_dir"]).rstrip("/"), str(self.here))
        text = self.ask("get operator config")
        self.assertIn("compress_json", text)

    def test_stats(self) -> None:
        """The same numbers as `get operator`: of one topic, of several, and of the summary if none is named."""
        self.run_operator()
        self.put("town.t.json")
        self.beat(5)
        one = self.data("get stats where service = operator and topic = json and format = json")
        self.assertEqual(one["town"]["t"][0], 1)
        both = self.data("get stats where service = operator and topic = inserts and topic = error and format = json")
        self.assertEqual((both[0]["town"]["t"][4], len(both[1])), (3, 2))
        self.assertEqual(self.data("get stats where service = operator and format = json")["total rows"], 3)

    def test_reset(self) -> None:
        """Of one topic, the others go on; of all; what comes later is counted from there."""
        self.run_operator()
        self.put("town.t.json")
        self.put("town.bad.json", b"x")
        self.beat(5)
        self.ask("reset stats where service = operator and topic = json")
        found = self.numbers()
        self.assertEqual((found["json"], found["inserts"]["town"]["t"][4], found["error"][0]["counter"]), ({}, 3, 1))
        self.ask("reset stats where service = operator")
        found = self.numbers()
        self.assertEqual((found["json"], found["inserts"], found["error"][0]["counter"]), ({}, {}, 0))
        summary = found["summary"]
        self.assertEqual((summary["total rows"], summary["new rows"], summary["total errors"]), (0, 0, 0))
        self.put("town.t.more.json", b'{"v":7}\n')
        self.put("town.bad.json", b"y")
        self.beat(5)
        found = self.numbers()
        told = found["json"]["town"]["t"][0], found["inserts"]["town"]["t"][4], found["error"][0]["counter"]
        self.assertEqual(told, (1, 1, 1))
        self.assertEqual((found["summary"]["total rows"], found["summary"]["total errors"]), (1, 1))
        self.assertEqual(found["error"][1]["counter"], 0)

    def test_numbers_outlive_the_process(self) -> None:
        """`exit operator` and `run operator` follow each other; what was loaded stays loaded."""
        self.run_operator()
        self.put("town.t.json")
        self.beat(5)
        left = self.node.execute("exit operator", Context(origin="console", local=True))
        self.beat(2)
        self.successResultOf(left)
        self.assertEqual(self.data("get operator summary where format = json")["status"], "Not Active")
        self.assertEqual(self.data("get operator json where format = json")["town"]["t"][0], 1)

    def test_watch(self) -> None:
        """What waits, what is left alone, and what went wrong."""
        self.run_operator()
        self.put("other.txt")
        self.put("town.bad.json", b"x")
        self.beat(4)
        self.put("town.t.json")
        self.clock.advance(1)
        found = self.data("get watch where format = json")
        told = found["Directory"], found["Waiting files"], found["Waiting bytes"], found["In work"]
        self.assertEqual(told, (str(self.here), 1, len(GOOD), 0))
        told = found["Errors"], found["Stuck"], found["Left alone"], found["Status"], found["Tables"]
        self.assertEqual(told, (1, 0, 1, "watching", []))
        self.beat(3)
        self.assertEqual(self.data("get watch where format = json")["Waiting files"], 0)
        text = self.ask("get watch")
        for word in ("Directory", str(self.here), "watching"):
            self.assertIn(word, text)
        self.assertEqual(self.ask("get watch directories"), f"[{self.here}/]")

    def test_pool(self) -> None:
        """Idle threads, and how many batches were taken until now, or since it was reset."""
        self.run_operator(" and threads = 3")
        self.assertTrue(self.ask("get operator pool").endswith("[0, 0, 0] (0)"))
        self.put("town.t.json")
        self.beat(4)
        self.assertTrue(self.ask("get operator pool").endswith("[0, 0, 0] (1)"))
        self.assertIn("files in work", self.ask("get operator pool where details = true"))
        self.ask("get operator pool where reset = true")
        self.assertTrue(self.ask("get operator pool").endswith("[0, 0, 0] (0)"))

    def test_twice(self) -> None:
        """One operator is enough."""
        self.run_operator()
        self.assertEqual(self.refused("run operator where policy = o7"), 136)

    def test_refused(self) -> None:
        """What does not go together, and what is no value."""
        for options, number in [
            ("archive = false and distributor = true", 2), ("file_type = csv", 175), ("limit_tables = (a.b.c)", 175),
            ("blockchain = ethereum", 237), ("update_tsd_info = true", 5),
        ]:  # fmt: skip
            self.assertEqual(self.refused(f"run operator where policy = o7 and {options}"), number, options)


class ArchiveTests(OperatorDesk):
    def test_of_the_operator(self) -> None:
        """The words about the archive look where `run operator` was told; without an operator where the key says."""
        for root, name in (("archive_dir", "key.json"), ("tmp_dir", "told.json")):
            day = self.node.places.folder(root) / "26/09/01"
            day.mkdir(parents=True)
            (day / name).write_bytes(b"12345")
        self.assertEqual(self.ask("get archived files 2026-09-01"), "key.json")
        self.run_operator(" and archive_dir = !tmp_dir")
        self.assertEqual(self.ask("get archived files 2026-09-01"), "told.json")
        self.assertEqual(self.ask("delete archive where days = 1"), "Days: 1, files: 1, bytes: 5")
        self.assertEqual(self.ask("get archived files 2026-09-01"), "")
        self.assertTrue((self.node.places.folder("archive_dir") / "26/09/01/key.json").exists())


class FolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.folders = {
            key: Path("/") / key for key in ("watch_dir", "bkup_dir", "error_dir", "distr_dir", "archive_dir")
        }

    def refusal(self) -> AnyLogError:
        return self.assertRaises(AnyLogError, check_folders, self.disk, self.folders)

    def test_fine(self) -> None:
        """Nothing is left behind."""
        check_folders(self.disk, self.folders)
        self.assertEqual(self.disk.names(Path("/")), [])

    def test_two_that_are_one(self) -> None:
        """A file must not be kept where files are taken from; elsewhere two may be one."""
        for key in ("bkup_dir", "error_dir", "distr_dir", "archive_dir"):
            self.setUp()
            self.folders[key] = self.folders["watch_dir"]
            error = self.refusal()
            self.assertEqual(error.number, 2)
            self.assertIn(key, str(error))
        self.setUp()
        self.folders["bkup_dir"] = self.folders["distr_dir"]
        check_folders(self.disk, self.folders)

    def test_not_to_be_written(self) -> None:
        """Each is tried; the message names it and says why."""
        for key, folder in self.folders.items():
            self.disk.refuses = {folder}
            error = self.refusal()
            self.assertEqual(error.number, 33)
            self.assertIn(f"{key} {folder}: Read-only file system", str(error))

    def test_not_there(self) -> None:
        """On a real disk: none of that name, or a file."""
        with TemporaryDirectory() as kept:
            root = Path(kept)
            for name in ("watch_dir", "bkup_dir", "distr_dir", "archive_dir"):
                (root / name).mkdir()
            self.folders = {key: root / key for key in self.folders}
            for number in (errno.ENOENT, errno.ENOTDIR):
                with self.assertRaises(AnyLogError) as caught:
                    check_folders(RealDisk("none"), self.folders)
                self.assertEqual(caught.exception.number, 33)
                self.assertIn("error_dir", str(caught.exception))
                if number == errno.ENOENT:
                    (root / "error_dir").write_bytes(b"")
            self.assertEqual(sorted(path.name for path in root.rglob(".*")), [])


class RetryTests(OperatorDesk):
    def test_retry(self) -> None:
        """Failed files are put back under their names; repeats and odd names stay, and what is taken; one by name."""
        self.run_operator()
        ends = {"town.a.err_6.1.json": GOOD, "town.b.err_86.1.json": b"b", "x.err_119.1.json": b"c", "town.d": b"d"}
        for name, data in ends.items():
            (self.errors / name).write_bytes(data)
        self.assertEqual(self.ask("file retry all"), "Files: 1, left where they are: 0")
        self.assertEqual([path.name for path in self.here.iterdir()], ["town.a.json"])
        self.assertEqual(self.refused("file retry nothing.json"), 12)
        (self.here / "town.b.json").write_bytes(b"{")
        self.assertIn("Files: 0, left where they are: 1", self.ask("file retry town.b.err_86.1.json"))
        (self.here / "town.b.json").unlink()
        self.assertEqual(self.ask("file retry town.b.json"), "Files: 1, left where they are: 0")
        self.assertEqual(sorted(path.name for path in self.errors.iterdir()), ["town.d", "x.err_119.1.json"])
