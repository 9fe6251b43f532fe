"""Older copies of the databases are put back: whatever had come, each of the two of any moment, all is there once.

The archive and the journal are those of now. A life is lived once and copied on its way; each cell of the matrix
begins with its end, with the copies of two moments in the place of the databases.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from itertools import product
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import test_intake_restarts
from attrs import frozen
from test_intake_restarts import MEMBER
from test_members_once import ERRORS, WATCH, MembersCase
from twisted.internet.defer import Deferred, succeed

from anylog.disk.archive import gunzip
from anylog.disk.names import FileName
from anylog.mapping.body import content_hash, normal_form
from anylog.testing.disk import MemoryDisk

DATE = "270115080000"  # when these lives begin: ids go up with the time of their files
NAMES = ("town", "almgm")
# Of a copy: there is none; nothing of a life was there; it was registered; its first, or all of it was loaded; counted.
MOMENTS = ("lost", "before", "registered", "first", "last", "counted", "now")
FEWER = ("lost", "before", "first", "now")
TIME = "2026-11-21T10:00:00Z"


class Matrix(MembersCase):
    """A life, its copies, and what has to be there after any two of them were put back."""

    def setUp(self) -> None:
        super().setUp()
        self.ledger: dict[str, dict[str, str]] = {}
        self.patch(test_intake_restarts, "agree", self.agree)
        self.parked_whole: set[int] = set()  # misfits that are in a file
        self.copies = Path(self.places.folder("dbms_dir").parent, "copies")
        self.copies.mkdir()
        self.moments: list[str] = []
        self.content = b""  # of the file that came last
        self.given: dict[tuple[str, int], tuple[str, bytes]] = {}  # table of files and id -> files that others have
        self.keyed: dict[str, list[dict[str, Any]]] = {}  # idempotency key, as it is kept -> rows

    def agree(self, dbms: str, table: str, columns: Any) -> Deferred[Any]:
        """A ledger that keeps to what it said first."""
        known = self.ledger.setdefault(table, {})
        for name, kind in columns.items():
            known.setdefault(name, kind)
        return succeed(dict(known))

    # What comes

    def some(self, pattern: str) -> tuple[list[dict[str, Any]], set[int]]:
        """A row for each letter: `r`eading, `m`isfit, `t`imeless, with a new `c`olumn; and the numbers of misfits."""
        made, odd = [], set()
        for letter in pattern:
            row: dict[str, Any] = {"timestamp": TIME, "v": self.sent, "value": self.sent / 2}
            if letter == "m":
                row["value"] = "many"
                odd.add(self.sent)
            elif letter == "t":
                del row["timestamp"]
            elif letter == "c":
                row["extra"] = "new"
            made.append(row)
            self.sent += 1
        return made, odd

    def send(self, pattern: str, **options: Any) -> Deferred[Any]:
        """PUT."""
        rows, odd = self.some(pattern)
        if "key" in options:
            self.keyed[f"t/{options['key']}"] = rows

        def kept(_: object) -> None:
            self.acknowledged.update({row["v"] for row in rows} - odd)
            self.misfits.update(odd)
            if options.get("whole") and len(odd) < len(rows):  # else there is no file
                self.parked_whole.update(odd)

        told = self.intake.accept("town", "t", normal_form(rows), rows, **options)
        return told.addCallback(kept)

    def drop(self, pattern: str, member: int = 0, id: int = 0) -> None:
        """A whole file into the watch directory."""
        rows, odd = self.some(pattern)
        self.drop_again(normal_form(rows), member, id)
        if len(odd) < len(rows):  # else it is put aside
            self.acknowledged.update({row["v"] for row in rows} - odd)
            self.misfits.update(odd)
            self.parked_whole.update(odd)

    def drop_again(self, data: bytes, member: int = 0, id: int = 0) -> None:
        """Under another name."""
        self.content = data
        named: Any = {"member": str(member), "id": id, "date": DATE} if id else {"source": "s"}
        name = str(FileName(dbms="town", table="t", hash=content_hash("town", "t", data), **named))
        self.disk.put(WATCH / name, data)
        if id:
            self.given["tsd_info" if member == MEMBER else f"tsd_{member}", id] = name, data

    # Copies

    def path(self, name: str) -> Path:
        (path,) = self.places.folder("dbms_dir").glob(f"{name}.dbms")
        return path

    def copy(self, moment: str) -> None:
        """Both databases as they are now, while the node runs."""
        for name in NAMES:
            with (
                closing(sqlite3.connect(self.path(name))) as now,
                closing(sqlite3.connect(self.copies / f"{name}.{moment}")) as kept,
            ):
                now.backup(kept)
        self.moments.append(moment)

    def seen(self, name: str, statement: str) -> int:
        with closing(sqlite3.connect(self.path(name))) as now:
            try:
                found: int = now.execute(statement).fetchone()[0]
                return found
            except sqlite3.OperationalError:
                return 0

    def loaded(self) -> int:
        """Rows that were loaded or parked."""
        return self.seen("town", "select coalesce(sum(rows + parked), 0) from anylog_marks")

    def registered(self) -> int:
        tables = ("tsd_info", "tsd_2", "tsd_3")
        return sum(self.seen("almgm", f"select count(*) from {table}") for table in tables)

    def until(self, there: Callable[[], bool]) -> None:
        for _ in range(3000):
            if there():
                return
            self.clock.advance(0.001)
        self.fail("it never is there")

    def put_back(self, town: str, almgm: str) -> None:
        self.kill()
        folder = self.places.folder("dbms_dir")
        for each in folder.iterdir():
            each.unlink()
        for name, moment in zip(NAMES, (town, almgm), strict=True):
            if moment != "lost":
                copyfile(self.copies / f"{name}.{moment}", folder / f"{name}.dbms")

    # What has to be there

    def start(self) -> None:
        """And nothing waits for ever."""
        self.begin()
        self.wait(self.operating)
        self.settle()
        for _ in range(4):
            if self.intake.operating.agrees and not self.pending():
                break
            self.clock.advance(21)
            self.settle()
        self.assertEqual(self.pending(), [])
        self.assertTrue(self.intake.operating.agrees)

    def pending(self) -> list[Any]:
        return [key for key, (rows, status1, *_) in self.entries().items() if not rows and not status1]

    def state(self) -> dict[str, Any]:
        rows = self.ask("select v, value, timestamp, tsd_name, tsd_id from t order by v")
        return {
            "rows": rows,
            "entries": self.entries(),
            "parked": sorted(row[0] for row in self.ask("select row->>'v' from anylog_parked")),
            "files": sorted(name for name in self.disk._files if not name.startswith("/journal")),
        }

    def laws(self, gone: set[int]) -> None:
        """Each reading once; entries, rows, marks and files agree. `gone`: misfits of which nothing is left."""
        state = self.state()
        found = Counter(row[0] for row in state["rows"])
        self.assertEqual([v for v, times in found.items() if times > 1], [], "twice")
        self.assertEqual(sorted(self.acknowledged ^ found.keys()), [], "lost, or there though nobody sent it")
        parked = Counter(state["parked"])
        self.assertEqual([v for v, times in parked.items() if times > 1], [], "parked twice")
        self.assertEqual(sorted((self.misfits ^ parked.keys()) - gone), [], "misfits")
        loaded = {key: entry for key, entry in state["entries"].items() if entry[0]}
        names = {(str(MEMBER) if into == "tsd_info" else into[4:], id): e for (into, id), e in loaded.items()}
        tagged = Counter((row[3], row[4]) for row in state["rows"])
        self.assertEqual(dict(tagged), {name: entry[0] for name, entry in names.items()}, "counts")
        marks = {
            (str(row[0]), row[1]): row[2:]
            for row in self.ask("select member, tsd_id, rows, parked, hash from anylog_marks where rows")
        }
        self.assertEqual({name: mark[0] for name, mark in marks.items()}, dict(tagged), "marks")
        held = Counter(entry[3] for entry in loaded.values())
        self.assertEqual([hash for hash, times in held.items() if times > 1], [], "one content twice")
        holders = {entry[3]: f"{into} {id}" for (into, id), entry in loaded.items()}
        for key, (_, status1, status2, hash) in state["entries"].items():
            if status1 == "02":
                self.assertEqual(status2, holders[hash], key)
        for path in state["files"]:
            if path.startswith("/archive/"):
                file = FileName.parse(Path(path).name)
                into = "tsd_info" if file.member == str(MEMBER) else f"tsd_{file.member}"
                entry = state["entries"].get((into, file.id))
                self.assertIsNotNone(entry, f"{path} has no entry")
                self.assertEqual(entry[3], file.hash, path)
                lines = gunzip(bytes(self.disk._files[path].data), 1 << 20).count(b"\n")
                mark = marks.pop((file.member, file.id), None)
                if mark is not None:
                    self.assertEqual(lines, mark[0] + (mark[1] if mark[2] else 0), path)
        self.assertEqual(marks, {}, "without a file")

    # The matrix

    def live(self, life: Life, broken: bool) -> None:
        """Once, with a copy at each moment."""
        self.begin()
        self.wait(self.operating)
        self.send("rr")  # from rows that fit: what is a misfit hangs on that
        self.settle()
        self.copy("before")
        before, loaded = self.registered(), self.loaded()
        life.first(self)
        self.until(lambda: self.registered() > before)
        self.copy("registered")
        if life.loads[0]:
            self.until(lambda: self.loaded() == loaded + life.loads[0])
        self.copy("first")
        if life.apart:
            self.settle()
        if broken:
            life.second(self)
            self.clock.pump([0.001] * 3)
        else:
            loaded = self.loaded()
            life.second(self)
            if life.loads[1]:
                self.until(lambda: self.loaded() == loaded + life.loads[1])
            else:
                self.clock.pump([0.001] * 20)
            self.copy("last")
            self.settle()
            self.copy("counted")
            self.send("rr")
            self.settle()
        self.end()

    def end(self) -> None:
        """The moment from which each cell goes on."""
        self.copy("now")
        self.kill()
        self.left = self.disk._files, self.sent, self.acknowledged, self.misfits, self.parked_whole
        # Of the misfits of a stream nothing is left but what the database says: none is in a file.
        self.kept = {moment: self.read(moment, "select row->>'v' from anylog_parked") for moment in self.moments}
        self.keys = {moment: self.read(moment, "select key from anylog_keys") for moment in self.moments}
        self.kept["lost"] = self.keys["lost"] = set()

    def cells(self, pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
        """Gives what is wrong with those that break."""
        control: list[Any] = []
        for town, almgm in dict.fromkeys([("now", "now"), *pairs]):
            files, self.sent, *numbers = self.left
            self.disk = MemoryDisk(files=deepcopy(files))
            self.acknowledged, self.misfits, self.parked_whole = (set(each) for each in numbers)
            self.put_back(town, almgm)
            gone = self.kept["now"] - self.kept[town] - self.parked_whole
            # In the journal are the keys of what is not loaded; of what was loaded the database alone knows them.
            known = self.keyed.keys() - (self.keys["now"] - self.keys[town])
            try:
                self.cell(gone, known, control)
            except Exception as why:
                yield f"town {town}, almgm {almgm}: {type(why).__name__} {why}"

    def read(self, moment: str, statement: str) -> set[Any]:
        """From a copy of the user's database."""
        with closing(sqlite3.connect(self.copies / f"town.{moment}")) as kept:
            return {row[0] for row in kept.execute(statement)}

    def failed(self) -> Counter[str]:
        """Statuses that say that something is not here."""
        return Counter(status1 for _, status1, *_ in self.entries().values() if status1 not in ("", "02"))

    def cell(self, gone: set[int], known: set[str], control: list[Any]) -> None:
        self.start()
        # A copy of before they came, and no own file since: nothing says that entries were lost, so nobody looks for
        # them in the archive. Those of other members, and own ones that came back, can be had from others, and are.
        for key, (name, data) in self.given.items():
            if key not in self.entries():
                owner = MEMBER if key[0] == "tsd_info" else int(key[0][4:])
                asked = f"select 1 from anylog_marks where rows and member = {owner} and tsd_id = {key[1]}"
                self.assertEqual(self.ask(asked), [], f"{key} is loaded and not listed")
                self.disk.put(WATCH / name, data)
        for key in known:
            rows = self.keyed[key]
            self.wait(self.intake.accept("town", "t", normal_form(rows), rows, key=key.removeprefix("t/")))
        self.settle()
        self.laws(gone)
        if not control:
            control += [self.failed(), len(self.disk.names(ERRORS))]
        self.assertEqual(self.failed() - control[0], Counter(), "failed")
        self.assertEqual(len(self.disk.names(ERRORS)), control[1], "put aside")
        self.send("rr")  # ids go on above all that were given
        self.settle()
        self.laws(gone)
        before = self.state()
        self.kill()
        self.start()
        self.laws(gone)
        self.assertEqual(self.state(), before, "after a second start")


@frozen
class Life:
    """Two things that come, and how many rows of each are loaded or parked."""

    first: Callable[[Matrix], object]
    second: Callable[[Matrix], object]
    loads: tuple[int, int]
    apart: bool = False  # whether the second comes after all was done for the first


def sends(first: str, *others: str, **options: Any) -> Life:
    def second(case: Matrix) -> None:
        for other in others:
            case.send(other, **options)

    return Life(lambda case: case.send(first, **options), second, (len(first), len("".join(others))))


def drops(first: str, second: str, *whose: int) -> Life:
    """Files in the watch directory, of that member; with ids of theirs if it is another."""
    member = whose[0] if whose else 0
    return Life(
        lambda case: case.drop(first, member, 40 * bool(member)),
        lambda case: case.drop(second, member, 41 * bool(member)),
        (len(first), len(second)),
    )


def doubles(first: tuple[int, int], second: tuple[int, int], apart: bool = False) -> Life:
    """One content under two names."""
    return Life(
        lambda case: case.drop("rrm", *first), lambda case: case.drop_again(case.content, *second), (3, 0), apart
    )


LIVES = {
    "a stream": sends("rr", "rr"),
    "first misfits": sends("mm", "rr"),
    "last misfits": sends("rr", "mm"),
    "middle misfits": sends("r", "mm", "r"),
    "all misfits": sends("m", "mm"),
    "mixed": sends("rm", "mr"),
    "timeless": sends("tr", "rt"),
    "a new column": sends("rr", "cr"),
    "whole": sends("rr", "rm", whole=True),
    "whole misfits": sends("rr", "mm", whole=True),
    "whole misfits first": sends("mm", "rc", whole=True),
    "stream and whole": Life(lambda case: case.send("mr"), lambda case: case.send("rm", whole=True), (2, 2)),
    "misfits and whole": Life(lambda case: case.send("mm"), lambda case: case.send("rm", whole=True), (2, 2)),
    "two streams": Life(lambda case: case.send("mr"), lambda case: case.send("mm"), (2, 2), True),
    "two streams of misfits": Life(lambda case: case.send("m"), lambda case: case.send("mr"), (1, 2), True),
    "own files": drops("rr", "rmt"),
    "files of another": drops("rr", "rmt", 2),
    "own files with names": drops("rr", "rmt", MEMBER),
    "a double": doubles((3, 41), (2, 40)),
    "a double apart": doubles((3, 41), (2, 40), True),
    "a double of an own one": doubles((0, 0), (2, 40), True),
    "an own one that is a double": doubles((2, 40), (MEMBER, 40), True),
    "misfits in a file": Life(lambda case: case.drop("rr"), lambda case: case.drop("mm"), (2, 0)),
    "misfits in one of another": Life(lambda case: case.drop("rr", 2, 40), lambda case: case.drop("mm", 2, 41), (2, 0)),
    "keys": Life(lambda case: case.send("rr", key="one"), lambda case: case.send("rm", key="two"), (2, 2)),
}


class OlderCopies(Matrix):
    def test_a_double_comes_first(self) -> None:
        """By an older copy a file is not counted, and one of its content is in work already: it is counted, or loaded
        from the archive, nevertheless. It was forgotten after a while, though its rows were there."""
        for name in ("a double", "a double of an own one"):
            self.kill()
            self.setUp()
            self.live(LIVES[name], broken=True)
            self.assertEqual(list(self.cells([("now", "registered"), ("lost", "registered")])), [], name)

    def test_matrix(self) -> None:
        """Of fewer moments, and every other life ended within."""
        self.look_at(FEWER, [(name, place % 2 > 0) for place, name in enumerate(LIVES)])

    @pytest.mark.long
    def test_whole_matrix(self) -> None:
        """Of all."""
        self.look_at(MOMENTS, product(LIVES, (False, True)))

    def look_at(self, moments: Sequence[str], lives: Iterable[tuple[str, bool]]) -> None:
        wrong = []
        for name, broken in lives:
            self.kill()
            self.setUp()
            self.live(LIVES[name], broken)
            pairs = product([moment for moment in moments if moment in self.kept], repeat=2)
            wrong += [f"{name}{', ended within' * broken}: {why}" for why in self.cells(pairs)]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))
