"""What is loaded becomes a file: where it goes, in which order it is let go, and what happens where that fails."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from filing_case import BEGIN, DATE, MEMBER, WATCH, FilesCase
from twisted.internet.defer import Deferred, fail, succeed

from anylog.disk.records import pack_rows
from anylog.errors import AnyLogError
from anylog.interfaces import Publish, Step
from anylog.processes.buffers import Buffer, Drafts, Pending, Where
from anylog.processes.earlier import Earlier
from anylog.processes.filing import DUPLICATE, FAILED, GATHER, NOT_LOADED, Filing, full_name, streamed_hash
from anylog.processes.others import Elsewhere, Others, Told
from anylog.processes.rounds import PAUSES
from anylog.processes.whole import FilingOptions, Outcome
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane

OPTIONS = FilingOptions(
    archive_dir=Path("/archive"), distr_dir=Path("/distr"), bkup_dir=Path("/bkup"), err_dir=Path("/err"), tsd=True
)
DAY = Path("/archive/26/09/21")


@define(eq=False)
class Disk(MemoryDisk):
    """Whose files of some names cannot be published."""

    stubborn: str = "never"
    steps: list[Step] = field(factory=list)

    def batch(self, steps: Sequence[Step]) -> list[Any]:
        self.steps += steps
        return [
            OSError(28, "No space left on device")
            if isinstance(step, Publish) and self.stubborn in step.path.name
            else super(Disk, self).batch([step])[0]
            for step in steps
        ]


class FilingCase(FilesCase):
    def setUp(self) -> None:
        super().setUp()
        self.disk = self.far = Disk()
        self.told: dict[Buffer, Outcome] = {}
        self.points: dict[str, Callable[[], None]] = {}
        self.filing = Filing(
            clock=self.clock, disk=self.far, lane=InlineLane(), registry=self.registry, records=self.no_records,
            database=self.no_database, finished=self.told.__setitem__, drafts=Drafts(),
            point=lambda name: self.points.get(name, lambda: None)(),
        )  # fmt: skip

    def no_records(self) -> Any:
        raise AssertionError("nothing is read back here")

    def no_database(self, name: str) -> Any:
        raise AssertionError("nobody is asked here")

    def begin(self, **options: Any) -> None:
        self.filing.options = evolve(OPTIONS, **options)

    def file(self, *buffers: Buffer, register: bool = True) -> None:
        """Register and file them."""
        if register:
            for verdict in self.register(*buffers):
                self.assertEqual(verdict.kind, "load")
        for buffer in buffers:
            self.filing.add(buffer)
        self.clock.pump([0, GATHER])

    def counted(self, buffer: Buffer) -> int:
        entry = self.entry(buffer)
        return -1 if entry is None else entry.rows

    def lies(self, folder: str | Path) -> list[str]:
        return self.disk.names(Path(folder))


class WhereTests(FilingCase):
    def test_by_options(self) -> None:
        """The first of distributor, archive, move and delete that holds; else the backup directory."""
        for options, folder in [
            ({}, DAY), ({"distributor": True}, "/distr"), ({"distributor": True, "archive": False}, "/distr"),
            ({"archive": False}, "/bkup"), ({"archive": False, "move": True}, "/bkup"),
            ({"archive": False, "move": True, "delete": True}, "/bkup"), ({"move": True}, DAY), ({"delete": True}, DAY),
            ({"archive": False, "delete": True}, None),
        ]:  # fmt: skip
            for compress in (True, False):
                self.setUp()
                self.begin(compress=compress, **options)
                buffer = self.buffer()
                self.file(buffer)
                name = f"town.t.s1.{buffer.whole}.0.{MEMBER}.1.{DATE}.json" + (".gz" if compress else "")
                kept = [] if folder is None else [Path(folder) / name]
                self.assertEqual([Path(path) for path in self.disk._files], kept, options)
                for path in kept:
                    data = self.disk.read(path)
                    self.assertEqual(gzip.decompress(data) if compress else data, b'{"v":1}\n' * 2)
                self.assertEqual((self.counted(buffer), self.told[buffer].kind), (2, "loaded"))

    def test_of_another_member(self) -> None:
        """It is archived, under the name that member gave it, and never distributed by us."""
        self.begin(distributor=True)
        buffer = self.buffer(member="7", id=40, date="260920000000")
        self.file(buffer)
        name = f"town.t.s1.{buffer.whole}.0.7.40.260920000000.json.gz"
        self.assertEqual((self.lies("/archive/26/09/20"), self.lies("/distr")), ([name], []))
        entry = self.entry(buffer, "tsd_7")
        assert entry is not None
        self.assertEqual(entry.rows, 2)

    def test_one_that_came_back_before_a_start(self) -> None:
        """An own file that others gave back is archived at once: they have it."""
        self.begin(distributor=True)
        self.registry.returned.add(40)
        buffer, other = (self.buffer(member=str(MEMBER), id=id, date=DATE) for id in (40, 41))
        self.file(buffer)
        self.file(other)
        self.assertEqual([name.split(".")[6] for name in self.lies("/distr")], ["41"])
        self.assertEqual([name.split(".")[6] for name in self.lies("/archive/26/09/21")], ["40"])
        self.assertEqual(self.registry.returned, set())

    def test_without_a_table_of_files(self) -> None:
        """Nothing is registered: a short name, in the archive of the day it came."""
        self.begin(tsd=False)
        self.there = None
        buffer = self.buffer()
        self.file(buffer, register=False)
        self.assertEqual(self.lies(DAY), [f"town.t.s1.{buffer.whole}.0.json.gz"])
        self.assertEqual((self.told[buffer].id, self.lies(WATCH)), (0, []))

    def test_streamed(self) -> None:
        """Its hash says whose it is, and takes the place of the placeholder."""
        self.begin()
        first, second = self.streamed(b'{"v":1}\n', b'{"v":2}\n'), self.streamed(b'{"v":1}\n', b'{"v":2}\n')
        self.file(first, second)
        hashes = []
        for buffer in (first, second):
            hash = streamed_hash(f"town.t.{MEMBER}.{buffer.tsd}", b'{"v":1}\n{"v":2}\n')
            hashes.append(hash)
            entry = self.entry(buffer)
            assert entry is not None
            self.assertEqual((entry.hash, entry.rows), (hash, 2))
            self.assertIn(full_name(buffer, hash, True), self.lies(DAY))
        self.assertNotEqual(*hashes)

    def test_statements(self) -> None:
        """SQL files are kept in the backup directory if that is wanted, and never archived."""
        for keep, compress, end in [(True, True, f".{BEGIN}.gz"), (True, False, f".{BEGIN}"), (False, True, None)]:
            self.setUp()
            self.begin(keep_sql=keep, compress_sql=compress)
            buffer = self.buffer(name="town.t.sql", kind="sql")
            self.file(buffer, register=False)
            self.assertEqual(self.lies("/bkup"), [] if end is None else [f"town.t.sql{end}"])
            self.assertEqual((self.lies("/archive"), self.lies(WATCH), self.told[buffer].kind), ([], [], "loaded"))

    def test_archived_already(self) -> None:
        """Its rows were loaded once more: it is counted, and stays where it is."""
        self.begin()
        buffer = self.buffer(archived=True)
        self.file(buffer)
        self.assertEqual((self.counted(buffer), self.told[buffer].kind), (2, "loaded"))
        self.assertEqual((self.far.steps, len(self.lies(WATCH))), ([], 1))


class DistributionTests(FilingCase):
    def test_who_distributes_is_told(self) -> None:
        """Of files of our own, once they are counted; of none if nobody is to distribute."""
        told: dict[int, Path] = {}
        self.filing.to_distribute = told.update
        self.begin(distributor=False)
        self.file(self.buffer())
        self.assertEqual(told, {})
        self.begin(distributor=True)
        buffer = self.buffer()
        self.file(buffer)
        self.assertEqual({id: path.parent for id, path in told.items()}, {buffer.tsd: OPTIONS.distr_dir})

    def test_a_distributor_that_starts_later(self) -> None:
        """Files go to it from that moment on; those of before are archived, and told of as well."""
        told: dict[int, Path] = {}
        runs = False
        self.filing.to_distribute = told.update
        self.begin(follows=lambda: runs)
        one, two = self.buffer(), self.buffer()
        self.file(one)
        runs = True
        self.file(two)
        self.assertEqual({id: path.parent for id, path in told.items()}, {one.tsd: DAY, two.tsd: OPTIONS.distr_dir})


class OrderTests(FilingCase):
    def test_published_counted_let_go(self) -> None:
        """Whenever it ends, what comes next finds what it needs."""
        self.begin()
        buffer = self.buffer()
        seen = []

        def note(point: str) -> None:
            seen.append((point, len(self.lies(DAY)), self.counted(buffer), len(self.lies(WATCH)), buffer in self.told))

        for point in ("published", "counted", "removed"):
            self.points[point] = lambda point=point: note(point)  # type: ignore[misc]
        self.file(buffer)
        expected = [("published", 1, 0, 1, False), ("counted", 1, 2, 1, False), ("removed", 1, 2, 0, False)]
        self.assertEqual(seen, expected)
        self.assertTrue(buffer in self.told and not self.registry.has("tsd_info", buffer.tsd))

    def test_no_operator(self) -> None:
        """Files wait until somebody says where they go."""
        buffer = self.buffer()
        self.file(buffer)
        self.clock.advance(10)
        self.assertEqual((self.told, self.filing.depth, self.lies(WATCH)), ({}, 1, ["town.t.s1.json"]))
        self.begin()
        self.clock.advance(0)
        self.assertEqual((list(self.told), self.filing.depth), ([buffer], 0))

    def test_counted_before_the_end(self) -> None:
        """What was read back from the journal and is counted already needs nothing more."""
        self.begin()
        buffer = self.streamed(b'{"v":1}\n')
        self.register(buffer)
        self.known("x" * 32)
        self.get(Deferred.fromCoroutine(self.registry.finish([(buffer, "a" * 32, 1, "", "")])))
        buffer.recalled = True
        self.file(buffer, register=False)
        self.assertEqual((self.far.steps, self.told[buffer].kind), ([], "loaded"))
        entry = self.entry(buffer)
        assert entry is not None
        self.assertEqual((entry.hash, entry.rows), ("a" * 32, 1))

    def test_stopped(self) -> None:
        """No round begins after it; what is left stays where it lies."""
        self.begin()
        self.get(self.filing.stop())
        buffer = self.buffer()
        self.file(buffer)
        self.clock.advance(10)
        self.assertEqual((self.told, self.lies(WATCH), self.lies("/archive")), ({}, ["town.t.s1.json"], []))


class TroubleTests(FilingCase):
    def test_one_that_cannot_be_published(self) -> None:
        """It waits, is not counted and not let go, and the reason is told; the others go on."""
        self.begin()
        self.far.stubborn = ".s1."
        first, second = self.buffer(), self.buffer(source="other")
        self.file(first, second)
        self.assertEqual((list(self.told), self.counted(first), self.lies(WATCH)), ([second], 0, ["town.t.s1.json"]))
        self.assertIn("No space left on device", self.filing.waiting)
        self.assertEqual((self.filing.counts["refused"], self.filing.depth), (1, 1))
        third = self.buffer(source="third")
        self.file(third)
        self.clock.advance(PAUSES[0])
        self.assertEqual(set(self.told), {second, third})
        self.far.stubborn = "never"
        self.clock.pump([0.5] * 20)
        self.assertEqual((len(self.told), self.counted(first), self.lies(WATCH)), (3, 2, []))
        self.assertEqual((self.filing.waiting, self.filing.depth, len(self.lies(DAY))), ("", 0, 3))

    def test_nobody_waits_for_another_table(self) -> None:
        """While one file cannot be made for long, those of other databases and tables are made at once, each time."""
        self.begin()
        self.far.stubborn = ".s1."
        first = self.buffer()
        self.file(first)
        self.clock.pump([0.1] * 300)
        for number in range(20):
            other = self.buffer(source=f"other{number}")
            other.where = Where("plant", "t", other.where.source) if number % 2 else Where("town", "u", "x")
            self.file(other)
            self.clock.pump([0.01] * 7)
            self.assertIn(other, self.told)
            self.assertIn("No space left on device", self.filing.waiting)
        self.assertLess(len(self.far.steps), 60)
        waited = self.filing.drained()
        self.successResultOf(waited)
        behind = self.buffer(source="behind")
        self.file(behind)
        self.far.stubborn = "never"
        self.clock.pump([0.5] * 20)
        self.assertEqual((self.filing.waiting, self.filing.depth, {first, behind} <= set(self.told)), ("", 0, True))

    def test_attempts_get_rarer(self) -> None:
        """A full disk is not asked ten times a second."""
        self.begin()
        self.far.stubborn = ".json"
        self.file(self.buffer())
        self.clock.pump([0.1] * 300)
        self.assertLess(len(self.far.steps), 12)
        self.assertGreater(len(self.far.steps), 6)

    def test_another_file_of_its_name(self) -> None:
        """Neither is overwritten: the new one goes to the error directory, and its rows count."""
        self.begin()
        buffer = self.buffer()
        self.register(buffer)
        target = DAY / full_name(buffer, buffer.whole, True)
        self.disk.put(target, b"old")
        self.file(buffer, register=False)
        (name,) = self.lies("/err")
        self.assertIn(f".err_{DUPLICATE}.{BEGIN}.", name)
        self.assertEqual(self.disk.read(target), b"old")
        self.assertEqual(gzip.decompress(self.disk.read(Path("/err") / name)), b'{"v":1}\n' * 2)
        self.assertEqual((self.counted(buffer), self.told[buffer].kind, self.lies(WATCH)), (2, "loaded", []))
        self.assertEqual(self.filing.counts["conflicts"], 1)

    def test_neither_here_nor_there(self) -> None:
        """If the error directory refuses, too, it waits as it is, and says why; the others of its round do not."""
        self.begin()
        buffer, beside = self.buffer(), self.buffer()
        self.register(buffer, beside)
        self.disk.put(DAY / full_name(buffer, buffer.whole, True), b"old")
        self.disk.refuses.add(Path("/err"))
        self.file(buffer, beside, register=False)
        self.assertEqual((list(self.told), self.counted(buffer), self.lies(WATCH)), ([beside], 0, ["town.t.s1.json"]))
        self.assertIn("/err/", self.filing.waiting)
        self.disk.refuses.clear()
        self.clock.pump([0.5] * 10)
        self.assertEqual((self.told[buffer].kind, len(self.lies("/err"))), ("loaded", 1))

    def test_almgm_goes_away_between(self) -> None:
        """It is published, and waits to be counted; nothing is let go before; once only it lies there."""
        self.begin()
        buffer = self.buffer()
        self.points["published"] = lambda: setattr(self, "there", None)
        self.file(buffer)
        self.assertEqual((self.told, len(self.lies(DAY)), self.lies(WATCH)), ({}, 1, ["town.t.s1.json"]))
        self.assertIn("almgm", self.filing.waiting)
        self.points.clear()
        self.there = self.tsd
        self.clock.pump([0.5] * 10)
        self.assertEqual((self.counted(buffer), len(self.lies(DAY)), self.lies(WATCH)), (2, 1, []))

    def test_changed_after_it_was_read(self) -> None:
        """Somebody put another file of that name there: it is not ours to remove."""
        self.begin()
        buffer = self.buffer()
        self.points["counted"] = lambda: self.disk.put(buffer.path, b'{"new":1}')
        self.file(buffer)
        outcome = self.told[buffer]
        self.assertEqual((outcome.kind, outcome.rows, self.counted(buffer)), ("loaded", 2, 2))
        self.assertEqual((self.disk.read(buffer.path), outcome.text), (b'{"new":1}', ""))

    def test_not_to_be_removed(self) -> None:
        """It is loaded and stays so; that it lies there still is told."""
        self.begin()
        buffer = self.buffer()
        self.disk.refuses.add(WATCH)
        self.file(buffer)
        outcome = self.told[buffer]
        self.assertEqual((outcome.kind, self.counted(buffer), len(self.lies(WATCH))), ("loaded", 2, 1))
        self.assertIn("cannot be removed: Read-only file system", outcome.text)

    def test_a_fault_of_ours(self) -> None:
        """What was not foreseen does not lose anything, and does not end the filing."""
        self.begin()
        buffer = self.buffer()

        def broken() -> None:
            self.points.clear()
            raise ZeroDivisionError("a fault")

        self.points["published"] = broken
        self.file(buffer)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.told, {})
        self.clock.pump([0.5] * 4)
        self.assertEqual((self.told[buffer].kind, self.counted(buffer)), ("loaded", 2))


class VerdictTests(FilingCase):
    def test_failed(self) -> None:
        """It says so in its entry, stays where it lies for whoever brought it, and is not archived."""
        self.begin()
        buffer = self.buffer(rows=0)
        buffer.verdict, buffer.fault = "failed", "no such column"
        self.file(buffer)
        outcome, entry = self.told[buffer], self.entry(buffer)
        assert entry is not None
        self.assertEqual((outcome.kind, outcome.code, outcome.text), ("failed", NOT_LOADED, "no such column"))
        self.assertEqual((entry.rows, entry.status1, entry.status2), (0, FAILED, "no such column"))
        self.assertEqual((outcome.path, self.lies(WATCH), self.far.steps), (buffer.path, ["town.t.s1.json"], []))

    def test_duplicate(self) -> None:
        """An entry that was made for it goes; the file is for the error directory."""
        self.begin()
        for registered in (True, False):
            buffer = self.buffer()
            if registered:
                self.register(buffer)
            buffer.verdict, buffer.fault, buffer.stored = "duplicate", "its content is loaded", 0
            self.file(buffer, register=False)
            outcome = self.told[buffer]
            self.assertEqual((outcome.kind, outcome.code), ("failed", DUPLICATE))
            self.assertEqual((self.entry(buffer), self.lies("/archive")), (None, []))
            self.assertTrue(buffer.path.name in self.lies(WATCH))

    def test_conflict(self) -> None:
        """The entry of the other is not touched."""
        self.begin()
        self.known("a" * 32, rows=5, into="tsd_7", id=40)
        buffer = self.buffer(member="7", id=40, date=DATE)
        (verdict,) = self.register(buffer)
        self.assertEqual(verdict.kind, "conflict")
        buffer.verdict, buffer.fault, buffer.stored = "conflict", verdict.text, 0
        self.file(buffer, register=False)
        self.assertEqual((self.told[buffer].kind, self.told[buffer].code), ("failed", DUPLICATE))
        entry = self.get(self.tsd.by_ids("tsd_7", [40]))[40]
        self.assertEqual((entry.hash, entry.rows), ("a" * 32, 5))

    def test_no_row_fits(self) -> None:
        """A watched file fails where it lies, and is not put into the error directory twice; one that came through a
        door is put there by us."""
        self.begin()
        for watched in (True, False):
            self.setUp()
            self.begin()
            buffer = self.buffer()
            buffer.stored, buffer.parked = 0, 2
            if not watched:
                buffer.file, buffer.normal = None, [b'{"v":1}\n']
            self.file(buffer)
            outcome, entry = self.told[buffer], self.entry(buffer)
            assert entry is not None
            self.assertEqual((outcome.kind, outcome.code, entry.status1), ("failed", NOT_LOADED, FAILED))
            self.assertEqual((len(self.lies("/err")), len(self.lies(WATCH))), (0 if watched else 1, 1))
            self.assertEqual(self.lies("/archive"), [])


class ReadBackTests(FilingCase):
    def test_without_what_was_parked(self) -> None:
        """A streamed buffer that is read back holds what is in the table, no more."""
        self.begin()
        buffer = self.streamed(b"")
        buffer.normal, buffer.stored, buffer.parked = None, 2, 1
        bodies = [b'[{"v":1},{"v":"x"}]', b'{"v":3}']
        stored: list[Any] = ["first", "second"]
        buffer.records = [Pending(each, place, 1, None) for place, each in enumerate(stored, 1)]
        packed = dict(zip(stored, (pack_rows(b"", body) for body in bodies), strict=True))

        class Records:
            def read(self, wanted: Sequence[Any]) -> Deferred[list[bytes]]:
                return succeed([packed[each] for each in wanted])

        class Database:
            def parked_places(self, keys: Sequence[str]) -> Deferred[dict[str, set[tuple[int, int]]]]:
                return succeed({keys[0]: {(1, 1)}})

        self.filing._records, self.filing._database = Records, lambda name: Database()
        self.file(buffer)
        (name,) = self.lies(DAY)
        self.assertEqual(gzip.decompress(self.disk.read(DAY / name)), b'{"v":1}\n{"v":3}\n')

    def test_a_database_that_is_away(self) -> None:
        """Which rows were parked is not known: the file waits."""
        self.begin()
        buffer = self.streamed(b"")
        buffer.normal, buffer.stored, buffer.parked = None, 1, 1

        class Away:
            def parked_places(self, keys: Sequence[str]) -> Deferred[dict[str, set[tuple[int, int]]]]:
                return fail(AnyLogError(10, "the database 'town' is not connected"))

        self.filing._database = lambda name: Away()  # type: ignore[assignment, return-value]
        self.file(buffer)
        self.assertEqual((self.told, self.far.steps), ({}, []))
        self.assertIn("town", self.filing.waiting)

    def test_what_the_journal_cannot_read(self) -> None:
        """Its file waits, and says why; the others of its round do not."""
        self.begin()
        buffer, beside = self.streamed(b""), self.streamed(b'{"v":1}\n')
        stored: Any = "damaged"
        buffer.normal, buffer.stored, buffer.records = None, 1, [Pending(stored, 1, 1, None)]

        class Records:
            def read(self, wanted: Sequence[Any]) -> Deferred[list[bytes]]:
                return fail(OSError(5, "Input/output error"))

        self.filing._records = Records
        self.file(buffer, beside)
        self.assertEqual((list(self.told), self.filing.depth), ([beside], 1))
        self.assertEqual(self.filing.waiting, "town.t: [Errno 5] Input/output error")

    def test_what_the_journal_cannot_read_of_before(self) -> None:
        """A recalled stream that others may have waits; the others that were recalled with it do not."""
        self.begin()
        buffer, beside = self.streamed(b""), self.streamed(b'{"v":1}\n')
        self.register(buffer, beside)
        stored: Any = "damaged"
        buffer.normal, buffer.stored, buffer.records = None, 1, [Pending(stored, 1, 1, None)]
        buffer.recalled = beside.recalled = True

        class Records:
            def read(self, wanted: Sequence[Any]) -> Deferred[list[bytes]]:
                return fail(OSError(5, "Input/output error"))

        class Another(Others):
            async def known(self, ids: Sequence[int], first: int, wheres: Collection[Where]) -> Told:
                there = Elsewhere(member=4, id=ids[0], hash="f" * 32, rows=1, state="loaded")
                return Told(known={ids[0]: [there]}) if ids[0] == buffer.tsd else Told()

        async def lacking(member: int) -> None:
            raise AssertionError("nothing was given up")

        self.filing._records = Records
        earlier = Earlier(
            clock=self.clock, registry=self.registry, filing=self.filing, database=self.no_database,
            accept=self.no_records, ended=self.no_records, lacking=lacking, buffers={}, others=Another(),
        )  # fmt: skip
        earlier.add(buffer)
        earlier.add(beside)
        self.clock.pump([0, GATHER, GATHER])
        self.assertEqual(
            (list(self.told), earlier.depth, earlier.waiting), ([beside], 1, "[Errno 5] Input/output error")
        )
