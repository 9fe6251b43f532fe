"""Where rows pass conditions and aggregation: every door, once a row, before it is kept; counted when it is safe."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from test_intake import IntakeCase
from twisted.internet.defer import Deferred, fail, succeed

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.body import content_hash, normal_form
from anylog.mapping.streaming import read_condition
from anylog.mapping.windows import Declared
from anylog.processes import streaming
from anylog.processes.accepting import Keyed
from anylog.processes.forms import early_of
from anylog.processes.streaming import PENDING, Stream
from anylog.processes.whole import Outcome, WholeFile
from anylog.testing.lanes import InlineLane

HERE = Path("/watch")


class StreamCase(IntakeCase):
    def begin(self, *args: Any, **options: Any) -> None:
        super().begin(*args, **options)
        self.dictionary, self.ran = Dictionary(), list[str]()
        self.running: list[Deferred[None]] = []
        self.slow = False
        self.stream = Stream(
            clock=self.clock,
            scope=Scope(self.dictionary, {}),
            execute=self.execute,
            assign=self.dictionary.set,
            store=self.intake.accepting.store,
            use=self.use,
            disk=self.disk,
            lane=InlineLane(),
            cpu=InlineLane(),
        )

    def use(self, stream: Stream | None) -> None:
        self.intake.accepting.stream = stream
        self.intake.passing = None if stream is None else stream.bring

    def execute(self, text: str) -> Deferred[None]:
        self.ran.append(text)
        done: Deferred[None] = Deferred()
        self.running.append(done)
        if text == "fail":
            done.errback(AnyLogError(3, "no"))
        elif not self.slow:
            done.callback(None)
        return done

    def when(self, text: str, table: str = "t", limit: int = 0) -> None:
        self.stream.conditions.add(read_condition("town", table, limit, f"if {text}"))
        self.stream.changed()

    def follow(self, table: str = "t", **options: Any) -> None:
        self.stream.aggregations.declare(Declared(dbms="town", table=table, value_column="v", time=60.0))
        if options:
            self.stream.aggregations.set_options("town", table, **options)
        self.stream.changed()

    def counted(self, table: str = "t") -> list[tuple[int, float]]:
        return [
            (each.count, each.total)
            for series in self.stream.aggregations.series("town", table)
            for each in series.intervals
        ]

    def beat(self, seconds: int = 2) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.clock.advance(0)


class DoorTests(StreamCase):
    def test_nothing_is_in_the_way(self) -> None:
        """Without a declaration, and after the last one is gone, rows pass nothing."""
        self.begin()
        self.assertIsNone(self.intake.accepting.stream)
        self.when("[v] > 1 then return ignore entry")
        self.follow()
        self.assertIs(self.intake.accepting.stream, self.stream)
        self.stream.conditions.reset()
        self.stream.aggregations.reset("town")
        self.stream.changed()
        self.assertIsNone(self.intake.accepting.stream)
        self.assertIsNone(self.intake.passing)

    def test_rows_that_stream(self) -> None:
        """Removed rows are neither stored nor counted; the others are kept as they are."""
        self.begin()
        self.when("[v] > 5 then return ignore entry")
        receipt = self.successResultOf(self.put({"v": 1}, {"v": 9}, {"v": 3}))
        self.assertEqual((receipt.hash, receipt.rows), ("0", 2))
        self.beat()
        self.assertEqual(self.values(), [1, 3])
        self.assertEqual(self.intake.traffic["town", "t"].rows, 2)
        self.assertEqual(self.successResultOf(self.put({"v": 9})).hash, "0")
        self.assertEqual(self.intake.traffic["town", "t"].calls, 1)
        self.successResultOf(self.put({"v": 9}, table="u"))
        self.beat()
        self.assertEqual(self.values("u"), [9])

    def test_whole_files(self) -> None:
        """A body that loses rows is named and kept by what is left."""
        self.begin()
        self.when("[v] > 5 then return ignore entry")
        receipt = self.successResultOf(self.put({"v": 1}, {"v": 9}, whole=True))
        self.assertEqual(receipt.hash, content_hash("town", "t", normal_form([{"v": 1}])))
        self.assertTrue(self.successResultOf(self.put({"v": 1}, {"v": 7}, whole=True)).repeated)
        self.beat()
        self.assertEqual(self.values(), [1])
        self.assertEqual(self.successResultOf(self.put({"v": 9}, whole=True)).hash, "0")

    def test_repeats_pass_once(self) -> None:
        """What comes again under its key is answered like the first; nothing is done about it, and it counts once."""
        self.begin()
        self.when("[v] > 0 then print [v]")
        self.follow()
        for _ in range(3):
            self.successResultOf(self.put({"v": 1}, key="k"))
        self.beat()
        self.assertEqual((self.ran, self.values(), self.counted()), (["print 1"], [1], [(1, 1)]))

    def test_messages(self) -> None:
        """Rows of messages pass as all others; a repeat is left out before."""
        self.begin()
        self.when("[v] > 5 then return ignore entry")
        self.when("[v] > 0 then print [v]")
        self.follow()

        def send(rows: Sequence[dict[str, Any]]) -> int:
            keyed = [Keyed(f"k{row['v']}", "1", place, place + 1) for place, row in enumerate(rows)]
            return self.successResultOf(self.intake.accepting.messages("town", "t", rows, keyed))  # type: ignore[no-any-return]

        self.assertEqual(send([{"v": 1}, {"v": 9}]), 1)
        self.assertEqual(send([{"v": 1}, {"v": 2}]), 1)
        self.assertEqual(send([{"v": 8}]), 0)
        self.beat()
        self.assertEqual((self.values(), self.ran, self.counted()), ([1, 2], ["print 1", "print 2"], [(2, 3)]))

    def test_counted_when_safe(self) -> None:
        """Rows that could not be kept are not counted."""
        self.begin()
        self.follow()
        self.successResultOf(self.put({"v": 1}))
        self.intake.accepting._keep = lambda *args: fail(AnyLogError(503))
        self.failureResultOf(self.put({"v": 1}), AnyLogError)
        self.assertEqual(self.counted(), [(1, 1)])

    def test_many_rows_let_others_in(self) -> None:
        """A large body passes in slices; meanwhile others are served, and the order within it stays."""
        self.begin(most=1 << 30, segment_size=1 << 20)
        self.patch(streaming, "SLICE", 10)
        self.when("[v] == 7 then return ignore entry")
        self.follow()
        large = self.put(*[{"v": each} for each in range(25)])
        self.assertNoResult(large)
        self.assertEqual(self.successResultOf(self.put({"v": 100})).rows, 1)
        self.beat(3)
        self.assertEqual(self.successResultOf(large).rows, 24)
        self.beat()
        self.assertEqual(self.values(), [100, *range(7), *range(8, 25)])
        self.assertEqual(self.counted(), [(25, 100 + sum(range(25)) - 7)])

    def test_not_into_a_node_that_stops(self) -> None:
        """A body that was in slices when the node began to stop is refused."""
        self.begin()
        self.patch(streaming, "SLICE", 1)
        self.when("[v] == 7 then return ignore entry")
        large = self.put({"v": 1}, {"v": 2})
        self.intake._closing = True
        self.beat()
        self.assertEqual(self.failureResultOf(large, AnyLogError).value.number, 506)


class CommandTests(StreamCase):
    def test_beside_the_rows(self) -> None:
        """Rows do not wait for what is done about them; of one condition it is done in order."""
        self.begin()
        self.slow = True
        self.when("[v] > 0 then print [v]")
        self.successResultOf(self.put({"v": 1}, {"v": 2}))
        self.assertEqual(self.ran, [])
        self.beat()
        self.assertEqual((self.ran, self.values()), (["print 1"], [1, 2]))
        self.running[0].callback(None)
        self.assertEqual(self.ran, ["print 1", "print 2"])

    def test_bounded(self) -> None:
        """More than a hundred that wait are dropped, said once, and counted."""
        self.begin()
        self.slow = True
        self.when("[v] > 0 then print [v]")
        self.successResultOf(self.put(*[{"v": each + 1} for each in range(PENDING + 20)]))
        self.assertEqual(self.stream.counts["commands dropped"], 20)
        self.beat()
        while self.running:
            self.running.pop().callback(None)
        self.assertEqual(self.ran[-1], f"print {PENDING}")
        self.assertEqual(self.stream.counts["commands run"], PENDING)

    def test_one_that_fails_or_hangs(self) -> None:
        """The row is stored, the next command runs."""
        self.begin()
        self.when("[v] == 1 then fail")
        self.when("[v] > 0 then print [v]")
        self.successResultOf(self.put({"v": 1}))
        self.beat()
        self.assertEqual((self.ran, self.values()), (["fail", "print 1"], [1]))
        self.assertEqual(self.stream.counts["commands failed"], 1)
        self.slow = True
        self.successResultOf(self.put({"v": 2}))
        self.beat()
        self.slow = False
        self.successResultOf(self.put({"v": 3}))
        self.beat(61)
        self.assertEqual(self.ran[2:], ["print 2", "print 3"])
        self.assertEqual(self.stream.counts["commands failed"], 2)

    def test_assignments(self) -> None:
        """The value as it came, of the newest row last."""
        self.begin()
        self.when("[v] contains o then last = [v]")
        self.successResultOf(self.put({"v": "o'clock"}, {"v": 'so "odd" & exit'}))
        self.beat()
        self.assertEqual((self.dictionary.get("last"), self.ran), ('so "odd" & exit', []))

    def test_thresholds(self) -> None:
        """What was set for a column is known to conditions of its table."""
        self.begin()
        self.when("[v] > [threshold.max] then return ignore entry")
        self.stream.aggregations.set_thresholds("town", "t", "v", {"max": 5.0})
        self.successResultOf(self.put({"v": 4}, {"v": 6}))
        self.beat()
        self.assertEqual(self.values(), [4])


class DerivedTests(StreamCase):
    def test_stored_and_not_counted_again(self) -> None:
        """What is made of intervals is stored as rows are; they pass nothing themselves."""
        self.begin()
        self.follow(table="", derived=True)
        self.stream.aggregations.set_options("town", "t", derived=True, encoding="bounds")
        self.successResultOf(self.put({"v": 1}, {"v": 3}))
        self.beat(63)
        self.assertEqual(self.values("bounds_t", "avg_val"), [2.0])
        self.assertEqual([each.table for each in self.stream.aggregations.series()], ["t"])

    def test_source_alone_is_not_stored(self) -> None:
        """With `source = false` rows are acknowledged and counted, and only what is made of them is stored."""
        self.begin()
        self.follow(source=False, derived=True)
        self.assertEqual(self.successResultOf(self.put({"v": 1}, {"v": 3})).hash, "0")
        self.assertEqual(self.successResultOf(self.intake.accepting.messages("town", "t", [{"v": 5}])), 0)
        self.beat(63)
        self.assertEqual(self.values("t", "events"), [3])

    def test_a_database_that_is_away(self) -> None:
        """Rows wait until it is there; why is known meanwhile."""
        self.begin()
        self.follow(derived=True)
        self.successResultOf(self.put({"v": 1}))
        self.beat(63)
        self.assertIn("agg_town", self.stream.failed["agg_town", "agg_t"])
        self.assertEqual(self.stream.late("agg_town", "agg_t"), 1)
        other = type(self.engine)()
        other.name = "agg_town"
        self.catalog.connect(other)
        self.beat(3)
        self.assertEqual([row["events"] for row in other.rows["agg_t"]], [1])
        self.assertEqual((self.stream.failed, self.stream.late("agg_town", "agg_t")), ({}, 0))

    def test_the_end_of_the_node(self) -> None:
        """What is open is ended and stored before the journal is closed."""
        self.begin()
        self.follow(derived=True, encoding="bounds")
        self.successResultOf(self.put({"v": 4}))
        self.run_(self.stream.stop())
        self.beat()
        self.assertEqual(self.values("bounds_t", "events"), [1])
        self.assertIsNone(self.intake.accepting.stream)

    def test_it_rests(self) -> None:
        """Nobody looks at intervals once nothing is followed."""
        self.begin()
        self.follow()
        self.stream.aggregations.reset("town")
        self.stream.changed()
        self.beat(3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.follow()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class FileTests(StreamCase):
    def bring(self, *rows: dict[str, Any], name: str = "town.t.json", early: bool = False, **more: Any) -> Outcome:
        """As the watch directory does."""
        normal = normal_form(rows)
        path = HERE / name
        self.disk.put(path, gzip.compress(normal) if name.endswith(".gz") else normal)
        columns = {"v": "INT"}
        converted = early_of([*rows], columns) if early else None
        file = WholeFile(
            path=path,
            dbms="town",
            table="t",
            source="0",
            instructions="0",
            hash=content_hash("town", "t", normal),
            rows=[] if converted is not None else list(rows),
            early=converted,
            normal=normal,
            stamp=self.disk.stat(path)[:2],
            **more,
        )
        self.assertEqual(early, file.early is not None)
        self.brought = []

        def loaded(file: WholeFile) -> Deferred[Outcome]:
            self.brought.append(file)
            file.let_go()
            return succeed(Outcome(kind="loaded", path=file.path))

        outcome: Outcome = self.successResultOf(self.stream.bring(file, loaded))
        return outcome

    def test_written_anew(self) -> None:
        """A file that loses rows lies there without them before all else: a crash cannot bring them back."""
        self.begin()
        self.when("[v] > 5 then return ignore entry")
        self.follow()
        for name, read in (("town.t.json", bytes), ("town.t.json.gz", gzip.decompress)):
            self.bring({"v": 1}, {"v": 9}, name=name)
            left = normal_form([{"v": 1}])
            (file,) = self.brought
            self.assertEqual(read(self.disk.read(HERE / name)), left)
            self.assertEqual((file.normal, file.hash), (left, content_hash("town", "t", left)))
            self.assertEqual(file.stamp, self.disk.stat(HERE / name)[:2])
        self.assertEqual(self.counted(), [(2, 2)])

    def test_rows_that_were_converted(self) -> None:
        """They are read once more, since conditions need them; a file that keeps all its rows goes on as it is."""
        self.begin()
        self.when("[v] > 50 then return ignore entry")
        self.bring(*[{"v": each} for each in range(40)], early=True)
        self.assertIsNotNone(self.brought[0].early)
        self.bring(*[{"v": each} for each in range(60)], early=True)
        self.assertIsNone(self.brought[0].early)
        self.assertEqual(len(self.brought[0].normal.splitlines()), 51)

    def test_nothing_left(self) -> None:
        """A file of which nothing is left is gone, and so is one whose rows are only counted."""
        self.begin()
        self.when("[v] > 5 then return ignore entry")
        outcome = self.bring({"v": 9})
        self.assertEqual((outcome.kind, self.brought, self.disk.names(HERE)), ("loaded", [], []))
        self.follow(source=False)
        self.bring({"v": 2})
        self.assertEqual((self.brought, self.disk.names(HERE), self.counted()), ([], [], [(1, 2)]))

    def test_files_that_passed_elsewhere(self) -> None:
        """Of members, of deliveries, of the archive, of statements: they are as they are."""
        self.begin()
        self.when("[v] > 5 then return ignore entry")
        self.follow()
        for more in (
            {"member": "2", "id": 7},
            {"member": "@"},
            {"delivered": True},
            {"archived": True},
            {"kind": "sql"},
        ):
            self.bring({"v": 9}, **more)
            self.assertEqual(len(self.brought), 1, more)
        self.assertEqual(self.counted(), [])

    def test_changed_meanwhile(self) -> None:
        """A file that somebody replaced is not overwritten: it is taken again."""
        self.begin()
        self.when("[v] > 5 then return ignore entry")
        kept = self.disk.stat
        self.patch(type(self.disk), "stat", lambda disk, path: (1, *kept(path)[1:]))
        normal = normal_form([{"v": 1}, {"v": 9}])
        self.disk.put(HERE / "town.t.json", normal)
        file = WholeFile(
            path=HERE / "town.t.json", dbms="town", table="t", source="0", instructions="0", hash="", normal=normal,
            rows=[{"v": 1}, {"v": 9}], stamp=(2, 2),
        )  # fmt: skip
        failed = self.failureResultOf(self.stream.bring(file, lambda file: self.fail("brought")), AnyLogError)
        self.assertEqual((failed.value.number, self.disk.read(file.path)), (63, normal))
