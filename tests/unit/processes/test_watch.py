"""The watch directory: what is taken and when, how much at a time, and where files go that fail."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.errors import AnyLogError
from anylog.interfaces import Move, Step
from anylog.language.logs import Logs
from anylog.mapping.body import content_hash
from anylog.processes.files import LARGEST, Limits
from anylog.processes.record import Seen
from anylog.processes.watch import BYTES, FILES, PATIENCE, Watch, WatchOptions
from anylog.processes.whole import Outcome, WholeFile
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLane, InlineLane, InlineLanes

BEGIN = 1_800_000_000
HERE, ERRORS = Path("/watch"), Path("/errors")


@define(eq=False, slots=False)
class Disk(MemoryDisk):
    """One on which something may happen just before a batch, and whose error directory may be elsewhere."""

    before: Callable[[], object] | None = None
    reads: int = 0
    far: bool = False
    answers: list[OSError] = field(factory=list)  # instead of the next batches

    def batch(self, steps: Sequence[Step]) -> list[Any]:
        if self.before is not None:
            before, self.before = self.before, None
            before()
        if self.answers:
            return [self.answers.pop(0)] * len(steps)
        if self.far and any(isinstance(step, Move) for step in steps):
            return [OSError(errno.EXDEV, "Invalid cross-device link")] * len(steps)
        return super().batch(steps)


@define(eq=False, slots=False)
class Files:
    """Takes files in, and tells what came of them when the test says so."""

    disk: MemoryDisk
    waits: bool = False  # else every file is loaded at once
    brought: list[WholeFile] = field(factory=list)
    open: list[tuple[WholeFile, Deferred[Outcome]]] = field(factory=list)

    def bring(self, file: WholeFile) -> Deferred[Outcome]:
        self.brought.append(file)
        self.open.append((file, told := Deferred()))
        if not self.waits:
            self.load(file.path.name)
        return told

    def take(self, name: str) -> tuple[WholeFile, Deferred[Outcome]]:
        (place,) = (place for place, each in enumerate(self.open) if each[0].path.name == name)
        return self.open.pop(place)

    def load(self, name: str) -> None:
        """As the last step of the way of a file."""
        file, told = self.take(name)
        self.disk.forget(file.path)
        told.callback(Outcome(kind="loaded", path=file.path, rows=file.count))

    def load_all(self) -> None:
        for file, _ in list(self.open):
            self.load(file.path.name)

    def fail(self, name: str, code: int, now: str = "") -> None:
        file, told = self.take(name)
        path = file.path.with_name(now or name)
        if now:
            self.disk.move(file.path, path)
        told.callback(Outcome(kind="failed", path=path, code=code, text="no"))

    @property
    def names(self) -> list[str]:
        return [file.path.name for file in self.brought]


@define(eq=False)
class RefusingLane(InlineLane):
    """Too much waits when it is asked for the second time."""

    calls: int = 0

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.calls += 1
        return fail(AnyLogError(502, "lane disk")) if self.calls == 2 else super().run(work, *args)


class WatchCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.disk, self.seen = Clock(), Disk(), Seen()
        self.clock.advance(BEGIN)
        self.disk.changes = 2 * BEGIN * 10**9  # what is written is newer than the clock, so it is never still at once
        self.files, self.logs, self.connected = Files(self.disk), Logs(self.clock), {"town"}
        self.lanes = InlineLanes()
        self.number = 0

    def begin(self, threads: int = 1, settle: bool = True, slow: bool = False, **options: Any) -> None:
        def database(name: str) -> Any:
            if name not in self.connected:
                raise AnyLogError(5, name)
            return self

        limits = Limits(connected=database)
        self.watch = Watch(
            clock=self.clock, disk=self.disk, lanes=self.lanes, files=self.files, member=lambda: 3, logs=self.logs,
            seen=self.seen, floor=1000,
            options=WatchOptions(
                folder=HERE, err_dir=ERRORS, kinds=("json", "sql", "gz"), threads=threads, limits=limits
            ), **options,
        )  # fmt: skip
        started = self.watch.start()
        if slow:
            return
        self.successResultOf(started)
        if settle:
            self.beat()

    def schema(self, table: str) -> None:
        """No table is there."""

    def put(self, name: str, data: bytes | None = None) -> str:
        self.number += 1
        self.disk.put(HERE / name, b'{"v":%d}' % self.number if data is None else data)
        return name

    def beat(self, beats: int = 1) -> None:
        for _ in range(beats):
            self.clock.advance(1)
            self.clock.advance(0)
            self.clock.advance(0)

    def here(self) -> list[str]:
        return self.disk.names(HERE)

    def failed(self) -> list[str]:
        return self.disk.names(ERRORS)

    def events(self, word: str) -> int:
        return sum(entry.count for entry in self.logs.event.find([word]))


class TakingTests(WatchCase):
    def test_a_file_is_taken_once_it_is_still(self) -> None:
        """Not at the first look, at the second; in order of their times; and told of."""
        names = [self.put("town.t.z.json"), self.put("town.t.a.json"), self.put("town.u.json")]
        self.begin(settle=False)
        self.assertEqual((self.files.brought, self.watch.directory.waiting), ([], 3))
        self.beat()
        self.assertEqual((self.files.names, self.here(), self.watch.in_work), (names, [], 0))
        first = self.files.brought[0]
        self.assertEqual((first.dbms, first.table, first.source, first.member, first.id), ("town", "t", "z", "", 0))
        self.assertEqual((first.normal, first.hash), (b'{"v":1}\n', content_hash("town", "t", b'{"v":1}\n')))
        self.assertEqual((first.stamp[0], first.kind), (7, "json"))
        self.assertEqual([row["File"] for row in self.logs.file.rows()], names)
        self.assertEqual(self.seen.files["town", "t", "json"].files, 2)

    def test_a_file_that_grows(self) -> None:
        """Somebody writes it slowly: it is taken whole, when it is still, and once."""
        self.begin()
        for part in range(4):
            self.put("town.t.json", b'{"v":1}\n' * (part + 1))
            self.beat()
            self.assertEqual(self.files.brought, [])
        self.beat(5)
        self.assertEqual([file.count for file in self.files.brought], [4])

    def test_written_in_place_behind_a_directory_that_does_not_change(self) -> None:
        """A directory has no new time when a file in it grows: while one has to settle it is looked at."""
        self.disk.stat = lambda path: (0, 7, "folder")  # type: ignore[method-assign]
        self.put("town.t.json", b'{"v":1}\n')
        self.begin(settle=False)
        for part in range(3):
            self.put("town.t.json", b'{"v":1}\n' * (part + 2))
            self.beat()
        self.assertEqual(self.files.brought, [])
        self.beat()
        self.assertEqual([file.count for file in self.files.brought], [4])
        self.put("town.t.json")  # nothing said so, but every few seconds all is looked at
        self.beat(7)
        self.assertEqual([file.count for file in self.files.brought], [4, 1])

    def test_grown_between_look_and_read(self) -> None:
        """What was read is not what was seen: nothing of it is used, and it settles again."""
        self.put("town.t.json", b'{"v":1}')
        self.begin(settle=False)
        self.disk.before = lambda: self.put("town.t.json", b'{"v":1}\n{"v":2}')
        self.beat()
        self.assertEqual((self.files.brought, self.here(), self.watch.in_work), ([], ["town.t.json"], 0))
        self.beat()
        self.assertEqual(self.files.brought, [])
        self.beat()
        self.assertEqual([file.count for file in self.files.brought], [2])

    def test_removed_before_it_was_read(self) -> None:
        """That is nobody's error; it is told of, and nothing waits for it."""
        self.put("town.t.json")
        self.begin(settle=False)
        self.disk.before = lambda: self.disk.forget(HERE / "town.t.json")
        self.beat(3)
        self.assertEqual((self.files.brought, self.failed(), self.watch.in_work), ([], [], 0))
        self.assertEqual(self.events("removed before it was read"), 1)

    def test_not_to_be_read_now(self) -> None:
        """What passes by is waited for; the file stays and is read later."""
        for number in (errno.EMFILE, errno.ENOMEM, errno.EAGAIN):
            self.setUp()
            self.put("town.t.json")
            self.begin(settle=False)
            self.disk.answers = [OSError(number, "busy")]
            self.beat()
            self.assertEqual((self.files.brought, self.here(), self.failed()), ([], ["town.t.json"], []))
            self.beat(3)
            self.assertEqual(self.files.names, ["town.t.json"])

    def test_not_to_be_read_at_all(self) -> None:
        """No permission, a bad block: an error of this file."""
        self.put("town.t.json")
        self.begin(settle=False)
        self.disk.answers = [OSError(errno.EACCES, "Permission denied")]
        self.beat()
        self.assertEqual((self.here(), self.failed()), ([], [f"town.t.err_63.{BEGIN + 1}.json"]))

    def test_a_lane_that_refuses(self) -> None:
        """A whole batch that could not be read is read later."""
        self.put("town.t.json")
        self.begin(settle=False)
        lane = self.lanes._lanes["disk"] = self.watch._disk_lane = RefusingLane()
        self.beat()
        self.assertEqual((self.files.brought, self.watch.in_work, lane.calls), ([], 0, 2))
        self.beat(3)
        self.assertEqual(self.files.names, ["town.t.json"])

    def test_the_same_content_twice(self) -> None:
        """The second waits until it is known what came of the first."""
        data = b'{"v":1}\n'
        hash = content_hash("town", "t", data)
        first, second = self.put(f"town.t.a.{hash}.json", data), self.put(f"town.t.b.{hash}.json", data)
        self.files.waits = True
        self.begin()
        self.beat(2)
        self.assertEqual(self.files.names, [first])
        self.files.load(first)
        self.beat(3)
        self.assertEqual(self.files.names, [first, second])

    def test_nothing_twice_while_it_is_in_work(self) -> None:
        """However long it takes, and however often the directory is looked at."""
        name = self.put("town.t.json")
        self.files.waits = True
        self.begin()
        self.beat(30)
        self.assertEqual((self.files.names, self.watch.in_work), ([name], 1))
        self.files.load(name)
        self.beat(10)
        self.assertEqual((self.files.names, self.watch.in_work), ([name], 0))

    def test_a_new_file_under_an_old_name(self) -> None:
        """It is another file."""
        self.begin()
        for number in range(3):
            self.put("town.t.json")
            self.beat(2)
            self.assertEqual(len(self.files.brought), number + 1)


class BoundsTests(WatchCase):
    def test_little_disk(self) -> None:
        """Nothing is taken while little is free; said once, and over when there is room again."""
        self.put("town.t.json")
        self.disk.capacity = 900
        self.begin()
        self.beat(4)
        self.assertEqual(self.files.brought, [])
        self.assertIn("893 bytes of disk are free, 1,000 are needed", self.watch.status)
        self.assertEqual((self.events("no files are taken"), self.events("taken again")), (1, 0))
        self.disk.capacity = 1 << 30
        self.beat(2)
        self.assertEqual((len(self.files.brought), self.watch.status, self.events("taken again")), (1, "watching", 1))

    def test_a_directory_that_cannot_be_read(self) -> None:
        """It is said, and looked at again."""
        self.put("town.t.json")
        entries = self.disk.entries

        def away(folder: Path, most: int, first: Sequence[str] = ()) -> Any:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

        self.disk.entries = away  # type: ignore[method-assign]
        self.begin()
        self.beat(2)
        self.assertEqual(self.watch.status, "/watch cannot be read: Transport endpoint is not connected")
        self.disk.entries = entries  # type: ignore[method-assign]
        self.beat(2)
        self.assertEqual(len(self.files.brought), 1)

    def test_so_many_at_a_time(self) -> None:
        """The first of a table alone, it may have to make it; then more and more; never more than the bound."""
        for number in range(FILES + 200):
            self.put(f"town.t.{number}.json")
        self.files.waits = True
        self.begin()
        sent: list[int] = []
        for _ in range(4):
            sent.append(len(self.files.open))
            self.assertLessEqual(self.watch.in_work, FILES)
            self.files.load_all()
        self.assertEqual(sent[:2], [1, 2])
        self.assertEqual(sorted(sent), sent)
        self.files.waits = False
        self.files.load_all()
        self.beat(5)
        self.assertEqual((len(self.files.brought), self.here()), (FILES + 200, []))
        numbers = [int(file.source) for file in self.files.brought]
        self.assertEqual(numbers, sorted(numbers))

    def test_so_many_bytes_at_a_time(self) -> None:
        """Large files are taken a few at a time, one that is larger than all that alone."""
        sizes = [3 << 20] * 4 + [BYTES + 1, 3 << 20]
        for place, size in enumerate(sizes):
            self.put(f"town.t{place}.json", b'{"v":"%s"}' % (b"x" * (size - 8)))
        self.files.waits = True
        self.begin()
        self.assertEqual((len(self.files.open), self.watch.bytes_in_work), (2, 2 * ((3 << 20) + 1)))
        most = 0
        while self.files.open:
            most = max(most, self.watch.bytes_in_work)
            self.files.load(self.files.open[0][0].path.name)
            self.clock.advance(0)
        self.assertEqual(len(self.files.brought), len(sizes))
        self.assertLessEqual(most, BYTES + (3 << 20) + 16)
        self.assertEqual(self.watch.bytes_in_work, 0)

    def test_tables_that_wait_make_room(self) -> None:
        """While one table cannot be loaded the others can; its other files are not even read."""
        self.put("town.slow.json")  # with it the table is known, and several batches of it may be in work
        self.begin()
        for number in range(600):
            self.put(f"town.slow.{number}.json")
        self.files.waits = True
        self.beat(2)
        self.put("town.quick.json")
        self.beat(3)
        self.assertNotIn("town.quick.json", self.files.names)
        self.beat(4)
        self.assertIn("town.quick.json", self.files.names)
        self.assertEqual(self.watch.stalled(), {"town.slow": self.watch.in_work - 1})
        self.assertIn("waiting: town.slow", self.watch.status)
        in_work = self.watch.in_work
        self.put("town.slow.last.json")
        self.beat(10)
        self.assertEqual(self.watch.in_work, in_work)
        self.files.waits = False
        self.files.load_all()
        self.beat(8)
        self.assertEqual((self.here(), self.watch.in_work, self.watch.stalled()), ([], 0, {}))
        self.assertEqual(len(set(self.files.names)), 603)


class FailingTests(WatchCase):
    def test_each_with_its_error(self) -> None:
        """The name says which, the logs say what."""
        for name, data, code in [
            ("town.json", b"{}", 119), ("town.t.json", b"", 6), ("town.t.sql", b"drop table t", 16),
            ("village.t.json", b"{}", 10), ("almgm.t.json", b"{}", 171),
        ]:  # fmt: skip
            self.setUp()
            self.put(name, data)
            self.begin()
            stem, _, end = name.rpartition(".")
            told = self.here(), self.failed(), self.files.brought
            self.assertEqual(told, ([], [f"{stem}.err_{code}.{BEGIN + 1}.{end}"], []))
            self.assertEqual(self.disk.read(ERRORS / self.failed()[0]), data)
            (row,) = self.logs.file.rows()
            self.assertEqual((row["File"], row["Code"], row["Type"]), (name, code, "Failed"))
            self.assertEqual(len(self.logs.error.find([f"error {code}"])), 1)
            self.assertEqual((self.seen.failed, self.watch.in_work), (1, 0))

    def test_too_large(self) -> None:
        """It is not even read."""
        self.disk.put(HERE / "town.t.json", b"")
        self.disk._files[str(HERE / "town.t.json")].data = _Long()
        self.begin()
        self.assertEqual(self.failed(), [f"town.t.err_501.{BEGIN + 1}.json"])

    def test_what_cannot_be_loaded(self) -> None:
        """From where it lies by then, under the name it has by then."""
        self.put("town.t.a.json")
        self.put("town.t.b.json")
        self.files.waits = True
        self.begin()
        self.files.fail("town.t.a.json", 27)
        self.files.fail("town.t.b.json", 86, now="town.t.b.0.0.3.9.260921141320.json")
        self.clock.advance(0)
        self.beat(3)
        names = [f"town.t.a.err_27.{BEGIN + 1}.json", f"town.t.b.0.0.3.9.260921141320.err_86.{BEGIN + 1}.json"]
        self.assertEqual((self.failed(), self.here(), len(self.files.brought)), (names, [], 2))
        self.assertEqual(self.seen.failures["json"].count, 2)

    def test_one_bad_file_does_not_stop_the_others(self) -> None:
        """Of one batch."""
        for number in range(20):
            self.put(f"town.t.{number}.json", b"x" if number % 5 == 0 else None)
        self.begin()
        self.assertEqual((len(self.files.brought), len(self.failed()), self.here()), (16, 4, []))

    def test_names_that_are_taken(self) -> None:
        """Nothing in the error directory is overwritten, whoever put it there."""
        taken = f"town.t.err_6.{BEGIN + 1}.json"
        self.disk.put(ERRORS / taken, b"old")
        self.put("town.t.json", b"")
        self.begin()
        self.put("town.t.json", b" ")
        self.beat(2)
        self.assertEqual((len(self.failed()), self.here()), (3, []))
        self.assertEqual(sorted(self.disk.read(ERRORS / name) for name in self.failed()), [b"", b" ", b"old"])

    def test_an_error_directory_that_refuses(self) -> None:
        """The file stays, is not read again and again, and goes when it can; others are loaded meanwhile."""
        self.put("town.t.json", b"bad")
        self.disk.refuses.add(ERRORS)
        self.begin()
        self.put("town.u.json")
        self.beat(10)
        self.assertEqual((self.here(), self.files.names), (["town.t.json"], ["town.u.json"]))
        self.assertEqual((self.seen.failed, len(self.watch.errors.held)), (1, 1))
        self.assertIn("1 failed files cannot be moved: /errors: Read-only file system", self.watch.status)
        self.assertEqual(self.events("cannot be moved to"), 1)
        self.disk.refuses.clear()
        self.beat(20)
        self.assertEqual((self.here(), self.seen.failed, self.watch.status), ([], 1, "watching"))
        self.assertTrue(self.failed()[0].startswith("town.t.err_6."))

    def test_repaired_where_it_lies(self) -> None:
        """Another file of the name of one that could not be moved is a new one; one that is removed is forgotten."""
        self.put("town.t.json", b"bad")
        self.put("town.u.json", b"bad")
        self.disk.refuses.add(ERRORS)
        self.begin()
        self.beat(2)
        self.put("town.t.json", b'{"v":"good"}')
        self.disk.forget(HERE / "town.u.json")
        self.beat(8)
        self.assertEqual((self.files.names, self.here(), self.watch.errors.held), (["town.t.json"], [], {}))

    def test_on_another_file_system(self) -> None:
        """It is copied there, whole, and only then removed here."""
        self.disk.far = True
        self.put("town.t.json", b"bad")
        self.begin()
        self.assertEqual((self.here(), len(self.failed())), ([], 1))
        self.assertEqual(self.disk.read(ERRORS / self.failed()[0]), b"bad")

    def test_copies_do_not_pile_up(self) -> None:
        """Where a file can be copied and not removed it is not copied again at every attempt."""
        self.disk.far = True
        self.put("town.t.json", b"bad")
        self.disk.refuses.add(HERE)
        self.begin()
        self.beat(30)
        self.assertEqual((self.here(), self.failed(), self.seen.failed), (["town.t.json"], [], 1))
        self.disk.refuses.clear()
        self.beat(60)
        self.assertEqual((self.here(), len(self.failed())), ([], 1))


class _Long(bytearray):
    """Says that it is large."""

    def __len__(self) -> int:
        return LARGEST + 1

    def __bytes__(self) -> bytes:
        raise AssertionError("it was read")


class StoppingTests(WatchCase):
    def test_what_is_in_work_is_finished(self) -> None:
        """And nothing more is taken."""
        self.put("town.t.json")
        self.files.waits = True
        self.begin()
        stopped = self.watch.stop()
        self.put("town.u.json")
        self.beat(3)
        self.assertNoResult(stopped)
        self.files.load("town.t.json")
        self.successResultOf(stopped)
        self.beat(10)
        self.assertEqual((self.files.names, self.here()), (["town.t.json"], ["town.u.json"]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_does_not_wait_for_ever(self) -> None:
        """What takes too long stays in the directory."""
        self.put("town.t.json")
        self.files.waits = True
        self.begin()
        stopped = self.watch.stop()
        self.clock.advance(PATIENCE + 0.1)
        self.successResultOf(stopped)
        self.assertEqual((self.here(), self.events("1 files were not finished")), (["town.t.json"], 1))

    def test_told_that_the_node_stops(self) -> None:
        """The file is let alone, without an error."""
        self.put("town.t.json")
        self.files.waits = True
        self.begin()
        stopped = self.watch.stop()
        self.files.take("town.t.json")[1].errback(AnyLogError(506, "stopping"))
        self.successResultOf(stopped)
        self.assertEqual((self.here(), self.failed(), self.seen.failed), (["town.t.json"], [], 0))
        self.assertEqual(self.events("tried again"), 0)

    def test_stopped_while_it_reads(self) -> None:
        """The look at hand is waited for."""
        self.lanes._lanes["disk"] = ClockLane(self.clock, 0.3)  # type: ignore[assignment]
        self.put("town.t.json")
        self.begin(slow=True)
        self.clock.pump([0.1] * 19)
        stopped = self.watch.stop()
        self.assertNoResult(stopped)
        self.clock.pump([0.1] * 20)
        self.successResultOf(stopped)
        self.assertEqual(self.watch.in_work, 0)

    def test_started_again(self) -> None:
        """What was in work is taken again; what writers left half written is deleted, and nothing else."""
        self.put("town.t.json")
        self.files.waits = True
        self.begin()
        for name in (".town.t.json.draft", "a.json.tmp", "b.json.uzp"):
            self.put(name)
        for name in (".keep", "other.txt"):
            self.put(name)
        self.files.take("town.t.json")
        self.files.waits = False
        self.clock = Clock()
        self.clock.advance(BEGIN + 100)
        self.begin()
        self.assertEqual(self.files.names, ["town.t.json"] * 2)
        self.assertEqual(self.here(), [".keep", "other.txt"])

    def test_brought_again_after_a_refusal(self) -> None:
        """A database that goes away while the file waits: the file settles again, and is loaded once it can be."""
        self.put("town.t.json")
        self.files.waits = True
        self.begin()
        self.files.take("town.t.json")[1].errback(AnyLogError(502, "not now"))
        self.assertEqual((self.watch.in_work, self.events("is tried again")), (0, 1))
        self.files.waits = False
        self.beat(3)
        self.assertEqual((self.files.names, self.here()), (["town.t.json"] * 2, []))

    def test_refused_at_once(self) -> None:
        """Many files of a table whose database just went away: each is let alone, and all are loaded later."""
        for number in range(FILES):
            self.put(f"town.t.{number}.json")
        self.files.waits = True
        self.begin()
        bring = self.files.bring
        self.files.bring = lambda file: fail(AnyLogError(10, "gone"))  # type: ignore[method-assign]
        self.files.take("town.t.0.json")[1].errback(AnyLogError(10, "gone"))
        self.assertEqual((self.watch.in_work, len(self.here())), (0, FILES))
        self.files.bring, self.files.waits = bring, False  # type: ignore[method-assign]
        self.beat(5)
        self.assertEqual((self.watch.in_work, self.here()), (0, []))

    def test_an_intake_that_breaks(self) -> None:
        """A fault of ours does not stop the watching; the file stays."""
        self.put("town.t.json")
        bring = self.files.bring

        def broken(file: WholeFile) -> Deferred[Outcome]:
            raise ZeroDivisionError("a fault")

        self.files.bring = broken  # type: ignore[method-assign]
        self.begin()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.here(), self.watch.in_work), (["town.t.json"], 0))
        self.files.bring = bring  # type: ignore[method-assign]
        self.beat(3)
        self.assertEqual(self.files.names, ["town.t.json"])
