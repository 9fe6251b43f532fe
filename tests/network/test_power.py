"""Power cuts on the whole path of a reading, from the yes to its table (decisions.md 1, hard-parts.md 1 and 2).

The intake is the real one, its journal on a disk in memory that forgets what was not synced; the database is the real
SQLite on a file system of its own that forgets likewise. Power is cut before any statement, write or sync of either:
so also in the middle of a load, of its commit, and while the log is written back. What is found is started again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import apsw
import orjson
import pytest
from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from anylog.databases.catalog import Catalog
from anylog.databases.library import Library
from anylog.databases.sqlite import SQLite
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Receipt
from anylog.processes.intake import Intake
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLane, InlineLanes
from anylog.testing.power import PowerVFS

TABLES = ("t0", "t1", "t2")
LIVES = 4
SYSTEMS = count(1)


@define(eq=False)
class Sent:
    """One body of readings and what its sender knows of it."""

    table: str
    rows: list[dict[str, Any]]
    key: str = ""
    whole: bool = False
    heard: bool = False

    @property
    def numbers(self) -> list[int]:
        return [row["v"] for row in self.rows]


@define(eq=False)
class Counted:
    """A connection that tells before each statement."""

    inner: apsw.Connection
    point: Callable[[str], None]
    full: bool

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        self.point("statement")
        if not self.full and statement == "pragma synchronous = full":
            statement = "pragma synchronous = normal"
        return self.inner.execute(statement, parameters)

    def interrupt(self) -> None:
        self.inner.interrupt()

    def close(self) -> None:
        self.inner.close()


def agree(dbms: str, table: str, columns: Any) -> Any:
    """No network: what is wanted is agreed on."""
    return succeed(columns)


@define(kw_only=True, eq=False)
class Storm:
    """A node that loses its power again and again, and those who send to it."""

    folder: Path
    seed: int
    full: bool = True
    chance: Random = field(init=False)
    disk: MemoryDisk = field(factory=MemoryDisk)
    sent: list[Sent] = field(factory=list)
    inside: int = 0  # cuts in the middle of something
    lives: int = 0
    _numbers: Iterator[int] = field(factory=lambda: count(1))
    _tokens: Iterator[int] = field(factory=lambda: count(1))
    _left: int = -1  # moments until the power is cut; negative: it is not
    _found: MemoryDisk | None = None
    _heard: list[Sent] = field(factory=list)  # since the node was started
    vfs: PowerVFS = field(init=False)
    clock: Clock = field(init=False)
    catalog: Catalog = field(init=False)
    intake: Intake = field(init=False)
    connections: list[Counted] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.vfs = PowerVFS(f"storm {next(SYSTEMS)}", self.moment)

    @property
    def home(self) -> Path:
        """Where this life's database files are."""
        return self.folder / str(self.lives)

    def moment(self, name: str) -> None:
        """Something is about to happen; the power may be cut before it does."""
        if self._left > 0:
            self._left -= 1
            if self._left == 0:
                self.inside += 1
                self.cut()

    def cut(self) -> None:
        """Remember what would be found, and what the senders have heard by now."""
        self._left = -1
        self._found = self.disk.crash(self.chance)
        self.vfs.cut(self.home, self.folder / str(self.lives + 1), self.chance)
        for each in self._heard:
            each.heard = True

    def connect(self, path: str, readonly: bool) -> Counted:
        """A connection whose writes are forgotten unless synced."""
        made = Counted(self.vfs.connect(path, readonly), self.moment, self.full)
        self.connections.append(made)
        return made

    def start(self) -> None:
        """Begin on what is found."""
        self._found, self._heard = None, []
        self.clock = Clock()
        self.clock.advance(1_800_000_000 + 100 * self.lives)
        lanes = InlineLanes()
        lanes._lanes["journal"] = ClockLane(self.clock, 0.003)  # type: ignore[assignment]
        lanes._lanes["database town"] = ClockLane(self.clock, 0.005)  # type: ignore[assignment]
        places = Places.under(self.home)
        places.folder("dbms_dir").mkdir(parents=True, exist_ok=True)
        self.catalog = Catalog(
            places=places, lanes=lanes, clock=self.clock, home_id="here", point=self.moment,
            checkpoint=self.chance.choice([40_000, 4_000_000]), library=Library(self.connect, (apsw.Error,)),
        )  # fmt: skip
        self.intake = Intake(
            clock=self.clock, disk=self.disk, lanes=lanes, folder=Path("/journal"), databases=self.catalog,
            agree=agree, token=lambda size: next(self._tokens).to_bytes(size, "big"), point=self.moment,
            segment_size=4096, most=1 << 20,
        )  # fmt: skip
        self.wait(Deferred.fromCoroutine(self.intake.start()))
        self.wait(Deferred.fromCoroutine(self.catalog.connect("town", "sqlite")))
        self.intake.thresholds.set(time=0.05, volume=self.chance.choice([100, 1000, 100_000]))

    def wait(self, waited: Deferred[Any]) -> Any:
        """Let time pass until it fires."""
        told: list[Any] = []
        waited.addBoth(told.append)
        for _ in range(1000):
            if told:
                break
            self.clock.advance(0.003)
        assert told and not hasattr(told[0], "raiseException"), told
        return told[0]

    def put(self, each: Sent) -> None:
        """Send it; a repeat if it was sent before."""
        body = orjson.dumps(each.rows)
        waited = self.intake.accept("town", each.table, body, each.rows, key=each.key, whole=each.whole)

        def heard(receipt: Receipt) -> None:
            self._heard.append(each)

        waited.addCallbacks(heard, lambda failure: failure.trap(AnyLogError))

    def readings(self) -> Sent:
        """Something new: one reading or several, some with new columns, some that fit no column."""
        chance, rows = self.chance, []
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            number = next(self._numbers)
            row: dict[str, Any] = {"v": number, "n": number * 1000 if chance.random() < 0.9 else "no number"}
            if chance.random() < 0.1:
                row[f"c{chance.randint(0, 5)}"] = f"text of {number}"
            if chance.random() < 0.05:
                row["n"] = number * 10**9 + 0.5  # a wider number
            rows.append(row)
        fate = chance.random()
        key = f"k{rows[0]['v']}" if fate < 0.3 else ""
        return Sent(chance.choice(TABLES), rows, key, 0.3 < fate < 0.4)

    def live(self) -> None:
        """Send until the power is cut, at a random moment, and leave what is found for the next life."""
        chance = self.chance
        self._left = chance.choice([-1, chance.randint(1, 100), chance.randint(1, 1500)])
        self.start()
        again = [each for each in self.sent if each.key or each.whole]
        for _ in range(chance.randint(10, 60)):
            step = chance.random()
            if step < 0.6:
                each = self.readings()
                self.sent.append(each)
                for _ in range(2 if each.key and chance.random() < 0.3 else 1):
                    self.put(each)
            elif step < 0.7 and again:
                self.put(chance.choice(again))
            elif step < 0.75:
                self.intake.cut_due()
            self.clock.advance(chance.choice([0, 0.001, 0.01, 0.1]))
            if self._found is not None:
                break
        if self._found is None:
            self.cut()
        assert self._found is not None
        self.end()
        self.disk = self._found
        self.lives += 1

    def end(self) -> None:
        """This life is over: only let the files go."""
        self._left = -1
        for connection in reversed(self.connections):  # readers before the writer, who tidies up
            connection.close()
        self.connections.clear()

    def rage(self) -> None:
        """All lives, and what must hold at the end."""
        for _ in range(LIVES):
            self.live()
        self.start()
        for _ in range(100):
            self.clock.advance(0.01)
        try:
            self.check()
        finally:
            self.end()
            self.vfs.unregister()

    def check(self) -> None:
        """Everything that was acknowledged is there once, nothing is there twice, and the file is whole."""
        town = self.catalog.get("town")
        assert self.ask(town, "pragma integrity_check") == [("ok",)]
        found: dict[int, tuple[Any, ...]] = {}
        for table, columns in self.wait(town.tables()).items():
            texts = [name for name in columns if name.startswith("c")]
            for number, *row in self.ask(town, f"select {', '.join(['v', 'n', *texts])} from {table}"):
                assert number not in found, f"{number} is there twice"
                found[number] = (table, row[0], {text for text in row[1:] if text is not None})
        for table, text in self.ask(town, "select table_name, row from anylog_parked"):
            row = orjson.loads(text)
            assert row["v"] not in found, f"{row['v']} is there twice"
            found[row["v"]] = (table, row["n"], {text for name, text in row.items() if name.startswith("c")})
        for each in self.sent:
            there = [number in found for number in each.numbers]
            assert all(there) or not any(there), f"{each.numbers}: a body in parts"
            assert all(there) or not each.heard, f"{each.numbers}: acknowledged and lost"
            for row in each.rows if all(there) else ():
                table, value, texts = found[row["v"]]
                assert (table, str(value)) == (each.table, str(row["n"])) or value == row["n"], (row, found[row["v"]])
                assert texts == {text for name, text in row.items() if name.startswith("c")}, (row, texts)
        assert self.intake.tank.held == 0
        assert not [buffer for buffer in self.intake._buffers.values() if buffer.pending]

    def ask(self, database: SQLite, statement: str) -> list[Any]:
        """Rows, read by a reader."""
        rows: list[Any] = self.wait(database.read(lambda connection: connection.execute(statement).fetchall()))
        return rows


def storms(folder: Path, seeds: range, full: bool = True) -> tuple[list[str], int]:
    """What failed, and how many cuts fell in the middle of something."""
    failed, inside = [], 0
    for seed in seeds:
        storm = Storm(folder=folder / str(seed), seed=seed, full=full)
        try:
            storm.rage()
        except AssertionError as fault:
            failed.append(f"seed {seed}: {str(fault)[:300]}")
        inside += storm.inside
    return failed, inside


def test_power_cuts(tmp_path: Path) -> None:
    """Forty storms, most of their cuts in the middle of a statement, a write or a sync."""
    failed, inside = storms(tmp_path, range(40))
    assert not failed
    assert inside > 40


def test_the_storm_has_teeth(tmp_path: Path) -> None:
    """A database that does not sync its commits loses what was acknowledged: most of the first 100 storms see it."""
    failed, _ = storms(tmp_path, range(15), full=False)
    assert [each for each in failed if "acknowledged and lost" in each]


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 1500, 50))
def test_many_power_cuts(tmp_path: Path, first: int) -> None:
    """Five hundred storms."""
    failed, _ = storms(tmp_path, range(first, first + 50))
    assert not failed
