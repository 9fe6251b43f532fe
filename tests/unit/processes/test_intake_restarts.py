"""Ended at any moment and started again: with the real databases, the journal, files and their entries agree.

Every lane takes a millisecond of the clock for each piece of work, so a node that is left between two of them has been
killed there; what its lanes had not begun never happens.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.catalog import Catalog
from anylog.databases.tables import BUILT_IN
from anylog.databases.tsd import Tsd
from anylog.disk.archive import gunzip
from anylog.disk.places import Places
from anylog.disk.records import Kind, pack_ids, unpack_ids
from anylog.errors import AnyLogError
from anylog.processes import loading
from anylog.processes.intake import Intake
from anylog.processes.whole import FilingOptions
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLane

FOLDER = Path("/journal")
FILES = FilingOptions(
    archive_dir=Path("/archive"), distr_dir=Path("/distr"), bkup_dir=Path("/bkup"), err_dir=Path("/error"), tsd=True
)
MEMBER = 7


@define(eq=False)
class SlowLanes:
    """Lanes whose every piece of work takes a millisecond of the clock."""

    clock: Clock
    lanes: dict[str, ClockLane] = field(factory=dict)

    def open(self, name: str, threads: int = 1) -> ClockLane:
        return self.lanes.setdefault(name, ClockLane(self.clock, 0.001))

    def close(self, name: str) -> Deferred[None]:
        self.lanes.pop(name, None)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self.lanes.clear()
        return succeed(None)


def agree(dbms: str, table: str, columns: Any) -> Any:
    """No network."""
    return succeed(columns)


class RestartCase(SynchronousTestCase):
    member = MEMBER

    def setUp(self) -> None:
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.places = Places.under(Path(kept.name))
        self.places.folder("dbms_dir").mkdir(parents=True)
        self.disk, self.lives, self.sent = MemoryDisk(), count(1), 0
        numbers = count(1)
        self.token = lambda size: next(numbers).to_bytes(size, "big")
        self.acknowledged: set[int] = set()
        self.misfits: set[int] = set()
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.catalog: Catalog | None = None
        self.addCleanup(self.kill)

    def begin(self, operates: bool = True, town: bool = True) -> None:
        """Start a node on what is there."""
        before = self.clock.seconds()
        self.clock = Clock()
        self.clock.advance(before + 1)
        lanes = SlowLanes(self.clock)
        self.catalog = catalog = Catalog(places=self.places, lanes=lanes, clock=self.clock, home_id="here")
        self.wait(Deferred.fromCoroutine(catalog.connect("almgm", "sqlite")))
        self.wait(catalog.get("almgm").create("tsd_info", BUILT_IN["almgm", "tsd_info"]))
        tsd = Tsd(database=catalog.get("almgm"), clock=self.clock, chance=Random(1))
        self.intake = Intake(
            clock=self.clock, disk=self.disk, lanes=lanes, folder=FOLDER, databases=catalog, agree=agree,
            token=self.token, tsd=lambda: tsd, segment_size=8192,
            soon=lambda call: self.clock.callLater(0, call),
        )  # fmt: skip
        self.intake.thresholds.set(time=0.2, volume=1500)
        self.wait(Deferred.fromCoroutine(self.intake.start()))
        if town:
            self.wait(Deferred.fromCoroutine(catalog.connect("town", "sqlite")))
        if operates:
            self.operating = self.intake.operate(FILES, lambda: self.member)

    def kill(self, power: Random | None = None) -> None:
        """Nothing in memory survives; with `power` nothing that was not synced either."""
        if self.catalog is not None:
            for name in ("town", "almgm"):
                database: Any = self.catalog._open.get(name)
                if database is not None and database._writer is not None:
                    database._writer.close()
                    database._writer = None
            self.catalog = None
        if power is not None:
            self.disk = self.disk.crash(power)

    def wait(self, told: Deferred[Any]) -> Any:
        for _ in range(2000):
            if told.called:
                break
            self.clock.advance(0.001)
        return self.successResultOf(told)

    def put(self, rows: int = 1, table: str = "t", kind: str = "", **options: Any) -> Deferred[Any]:
        """Rows with numbers that never come again."""
        first, self.sent = self.sent, self.sent + rows
        made: list[dict[str, Any]] = [
            {"timestamp": "2026-11-21T10:00:00Z", "v": n, "value": n / 2} for n in range(first, self.sent)
        ]
        numbers = set(range(first, self.sent))
        odd = set()
        if kind == "timeless":
            del made[-1]["timestamp"]
        elif kind == "column":
            made[-1][f"c{first % 5}"] = "new"
        elif kind == "misfit":
            made[-1]["value"] = "many"
            odd = {self.sent - 1}

        def kept(_: object) -> None:
            self.acknowledged.update(numbers - odd)
            self.misfits.update(odd)

        told = self.intake.accept("town", table, orjson.dumps(made), made, **options)
        return told.addCallbacks(kept, lambda failure: None)

    def rest(self) -> None:
        """Until nothing is left to be done."""
        for _ in range(400):
            self.clock.pump([0.001] * 20)
            self.intake.cut_due()
            if not self.intake._buffers and not self.intake.filing.depth:
                break
        self.clock.pump([0.001] * 60)
        told = f"{self.intake.waiting()}, {self.intake.filing.waiting!r}"
        self.assertEqual(list(self.intake._buffers), [], told)
        self.assertEqual(self.intake.tank.held, 0)
        self.assertEqual(self.intake._drafts.held, 0)

    def ask(self, statement: str, name: str = "town") -> list[Any]:
        assert self.catalog is not None
        found: list[Any] = self.wait(self.catalog.get(name).execute(statement))
        return found

    def check(self, why: str = "") -> None:
        """Acknowledged is there, once; each entry has its rows, its mark, and its file with as many lines."""
        tables = [row[0] for row in self.ask("select distinct table_name from anylog_marks")]
        found: Counter[int] = Counter()
        tagged: Counter[int] = Counter()
        for table in tables:
            if self.catalog.get("town").schema(table) is None:  # type: ignore[union-attr, attr-defined]
                continue
            for v, id in self.ask(f"select v, tsd_id from {table}"):
                found[v] += 1
                if id:  # what came while no operator ran is not registered
                    tagged[id] += 1
        self.assertEqual([v for v, times in found.items() if times > 1], [], f"{why}: twice")
        self.assertEqual(sorted(self.acknowledged - found.keys()), [], f"{why}: lost")
        parked = Counter(row[0] for row in self.ask("select row->>'v' from anylog_parked"))
        self.assertEqual(sorted(v for v in self.misfits if parked[v] != 1), [], f"{why}: misfits")
        entries = self.ask("select file_id, rows, status1, file_hash from tsd_info", "almgm")
        self.assertEqual([e for e in entries if not e[1] and not e[2]], [], f"{why}: pending")
        self.assertEqual({e[0]: e[1] for e in entries if e[1]}, dict(tagged), f"{why}: counts")
        marks = {row[0]: row[1:] for row in self.ask("select tsd_id, rows, parked, hash from anylog_marks")}
        files = {int(Path(name).name.split(".")[6]): name for name in self.disk._files if name.startswith("/archive/")}
        self.assertEqual(sorted(files), sorted(tagged), f"{why}: files")
        for id, name in files.items():
            lines = gunzip(bytes(self.disk._files[name].data), 1 << 20).count(b"\n")
            rows, aside, hash = marks[id]
            self.assertEqual(lines, rows + (aside if hash else 0), f"{why}: {name}")


class OlderCopies(RestartCase):
    def test_of_when_all_of_a_stream_was_parked(self) -> None:
        """Its file is loaded again, though that copy of the database knows the stream already."""
        self.begin()
        self.put(2, "t0")
        self.rest()
        self.put(1, "t0", kind="misfit")
        self.clock.pump([0.001] * 30)
        (path,) = self.places.folder("dbms_dir").glob("town.dbms")
        copy = path.with_name("copy")
        with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(copy)) as kept:
            now.backup(kept)
            self.assertEqual(kept.execute("select count(*) from anylog_marks where rows = 0").fetchall(), [(1,)])
        self.put(2, "t0")
        self.rest()
        self.kill()
        for each in [*path.parent.glob("town.dbms*"), *path.parent.glob("almgm.dbms*")]:
            each.unlink()
        copy.rename(path)
        self.begin()
        self.wait(self.operating)
        self.rest()
        self.check()


class WholeRecords(RestartCase):
    def kinds(self) -> Counter[Kind]:
        """What the journal holds, as a start would find it."""
        found = self.wait(self.intake.journal._lane.run(self.intake.journal._scan_all))
        return Counter(each.kind for each in found)

    def test_at_any_moment(self) -> None:
        """Whole PUTs of few rows and of many, killed after each millisecond of their way."""
        for moment in range(60):
            self.kill()
            self.setUp()
            self.begin()
            self.clock.pump([0.001] * 40)
            for rows in (1, 40, 3):
                self.put(rows, whole=True)
            self.put(40, kind="timeless", whole=True)
            self.put(40, kind="column", whole=True)
            self.clock.pump([0.001] * moment)
            self.kill(Random(moment) if moment % 2 else None)
            self.begin()
            self.rest()
            self.check(f"killed after {moment} ms")

    def test_one_record(self) -> None:
        """A whole PUT is one record, and after it was loaded a start finds it to be done with."""
        self.begin()
        self.rest()
        self.put(40, whole=True)
        self.clock.pump([0.001] * 3)
        self.assertEqual(self.acknowledged, set(range(40)))
        self.assertEqual(self.kinds(), {Kind.WHOLE: 1})
        self.rest()
        self.kill()
        self.begin()
        self.assertEqual(self.intake._buffers, {})
        self.check()

    def test_before_its_database_is_there(self) -> None:
        """Over several starts without database and operator, its member and its hash are remembered."""
        self.begin()
        self.rest()
        told = self.put(40, whole=True)
        while not told.called:
            self.clock.advance(0.001)
        for _ in range(3):
            self.kill()
            self.begin(operates=False, town=False)
            self.clock.pump([0.001] * 100)
            self.assertEqual([len(each.pending) for each in self.intake._buffers.values()], [1])
        self.kill()
        self.begin()
        self.rest()
        self.check()
        ((rows,),) = self.ask("select rows from tsd_info", "almgm")
        self.assertEqual(rows, 40)

    def test_carried_on(self) -> None:
        """Written again further on in the journal, as OPEN and ROWS, killed before, between and after: still one."""
        for moment in range(25):
            self.kill()
            self.setUp()
            self.begin()
            self.rest()
            self.intake._loaders["town"].waiting = "away"  # and nothing is loaded in this life
            self.intake._loaders["town"]._stopped = True
            for number in range(4):
                self.put(40, whole=True)
                self.put(3, key=f"k{number}", whole=True)
                self.put(40)
            self.clock.pump([0.001] * 30)
            self.assertEqual(len(self.acknowledged), self.sent)
            self.intake.most = 1
            self.intake.relieve()
            self.clock.pump([0.001] * moment)
            if moment == 24:
                carried = self.kinds()
                self.assertGreater(carried[Kind.OPEN], 1)
                self.intake.relieve()  # and once more
                self.clock.pump([0.001] * 10)
            self.kill()
            self.begin()
            self.rest()
            self.check(f"killed {moment} ms into it")


class DoneRecords(RestartCase):
    def test_many_at_once(self) -> None:
        """One record tells of many; without it, or with half of the segments gone, nothing comes again."""
        self.begin()
        self.rest()
        told: list[tuple[Kind, bytes]] = []
        append = type(self.intake.journal).append

        def heard(journal: Any, kind: Kind, buffer: Any, body: bytes = b"") -> Any:
            told.append((kind, body))
            return append(journal, kind, buffer, body)

        self.patch(type(self.intake.journal), "append", heard)
        for _ in range(6):
            self.put(3, whole=True)
        self.rest()
        done = [1 + len(unpack_ids(body)) for kind, body in told if kind is Kind.DONE]
        self.assertEqual((sum(done), max(done)), (6, 6))
        for _ in range(2):
            self.kill()
            self.begin()
            self.rest()
            self.check()

    def test_some_are_done(self) -> None:
        """Those that the record names are forgotten at the start, all of them, and the others are looked after."""
        self.begin()
        self.rest()
        self.intake._loaders["town"]._stopped = True  # nothing is loaded in this life
        for _ in range(5):
            self.put(2, whole=True)
        self.clock.pump([0.001] * 5)
        self.kill()
        self.begin(town=False)
        ids = list(self.intake._buffers)
        self.wait(self.intake.journal.append(Kind.DONE, ids[1], pack_ids([ids[0], ids[3]])))
        self.kill()
        self.begin(town=False)
        self.assertEqual(list(self.intake._buffers), [ids[2], ids[4]])
        self.assertEqual(set(self.intake.journal._places), {ids[2], ids[4]})


@define(eq=False)
class Moody:
    """A database that refuses now and then: before it has committed, or after that."""

    database: Any
    chance: Random

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)

    def load(self, loads: Any) -> Any:
        mood = self.chance.random()
        if mood < 0.1:
            return fail(AnyLogError(16, "locked"))
        told = self.database.load(loads)
        return told.addCallback(lambda _: fail(AnyLogError(16, "it has gone away"))) if mood < 0.2 else told


class Storms(RestartCase):
    def test_storms(self) -> None:
        """Bodies of all kinds, records that are carried on, refusals, kills and power cuts: the laws hold."""
        self.patch(loading, "ROUND_BYTES", 6000)
        for seed in range(20):
            self.kill()
            self.setUp()
            self.storm(seed)

    def storm(self, seed: int) -> None:
        chance = Random(seed)
        self.begin()
        for table in ("t0", "t1"):  # from rows that fit: what is a misfit hangs on that
            self.put(3, table)
        self.rest()
        self.kill()
        for _ in range(4):
            self.begin(operates=chance.random() < 0.9)
            moody = chance.random() < 0.5
            for _ in range(chance.randint(5, 40)):
                loader: Any = self.intake._loaders.get("town")
                if moody and loader is not None and not isinstance(loader.database, Moody):
                    loader.database = Moody(loader.database, chance)
                kind = chance.choice(["", "", "", "timeless", "column", "misfit"])
                rows = chance.choice([1, 3, 40, 40, 120])
                table = f"t{chance.randint(0, 1)}"
                if kind == "misfit" and rows == 1:
                    kind = ""
                self.put(rows, table, kind, whole=chance.random() < 0.5)
                if chance.random() < 0.1:
                    self.intake.cut_due()
                if chance.random() < 0.1:
                    self.intake.most = chance.choice([1, 512 << 20])
                    self.intake.relieve()
                    self.intake.most = 512 << 20
                self.clock.pump([0.001] * chance.choice([0, 0, 1, 5, 30, 150 if moody else 5]))
            self.kill(chance if chance.random() < 0.5 else None)
        self.begin()
        self.rest()
        self.check(f"seed {seed}")
