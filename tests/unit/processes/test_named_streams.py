"""A stream keeps its id: the journal knows it before anybody sees its file, whatever databases are lost then."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail

from anylog.databases.tsd import DROPPED, Done, Tsd, Wanted
from anylog.disk.archive import folder_of
from anylog.disk.records import Kind
from anylog.errors import AnyLogError
from anylog.processes.buffers import Buffer
from tests.unit.processes.test_intake_restarts import RestartCase


class NamedStreams(RestartCase):
    def lose(self, *names: str) -> None:
        """While the node is down."""
        for name in names:
            for path in self.places.folder("dbms_dir").glob(f"{name}.dbms*"):
                path.unlink()

    def tsd(self) -> Tsd:
        tsd = self.intake.registry.tsd
        assert isinstance(tsd, Tsd)
        return tsd

    def until(self, point: str) -> None:
        """Readings are cut and filed up to that point, at which the process is killed."""
        reached: list[str] = []

        def at(name: str) -> None:
            if name == point and not reached:
                reached.append(name)
                self.kill()

        self.intake.filing.point = self.intake.point = at
        for _ in range(3000):
            if reached:
                return
            self.clock.advance(0.001)
            self.intake.cut_due()
        self.fail(f"never {point}")

    def files(self) -> list[str]:
        return sorted(name for name in self.disk._files if name.startswith("/archive/"))

    def test_at_any_moment(self) -> None:
        """Killed or without power at each millisecond from the cut on, and at each of the next life, with both
        databases lost each time: one file, and its rows once."""
        kept: Counter[int] = Counter()
        for moment, immediate in product(range(30), (True, False)):
            self.kill()
            self.setUp()
            self.begin()
            self.intake.thresholds.set(time=0.2, volume=1500, write_immediate=immediate)
            self.rest()
            for rows in (3, 2):
                self.put(rows, "t0")
                self.put(rows, "t1", "timeless")
            self.clock.pump([0.001] * 20)
            self.wait(Deferred.fromCoroutine(self.flushed()))
            for _ in range(2):
                self.clock.pump([0.001] * moment)
                ends = {buffer.id for buffer in self.intake._buffers.values()}
                kept[len(ends)] += 1
                before = self.files()
                self.kill(Random(moment) if moment % 2 else None)
                if len(ends) < 2:
                    break  # the journal has forgotten one, and what is left of that is its file alone
                self.lose("town", "almgm")
                self.begin()
            else:
                self.rest()
                self.check(f"killed after {moment} ms")
                self.assertEqual([name for name in before if name not in self.files()], [], f"after {moment} ms")
        self.assertGreater(kept[2], 20)

    async def flushed(self) -> None:
        for buffer in list(self.intake._open.values()):
            self.intake._cut(buffer)

    def test_with_a_file(self) -> None:
        """Killed when its file is there, with its tables of files and readings lost, twice: all is as it would be."""
        for point in ("published", "counted", "done"):
            self.kill()
            self.setUp()
            self.begin()
            self.rest()
            self.put(3, "t0")
            self.until(point)
            for _ in range(2):
                (file,) = self.files()
                self.lose("town", "almgm")
                self.begin()
                self.until(point)
            self.lose("town", "almgm")
            self.begin()
            self.rest()
            self.check(point)
            self.assertEqual(self.files(), [file], point)

    def test_one_of_the_databases(self) -> None:
        """Each alone, and with the other one as it was."""
        for point in ("published", "counted", "done"):
            for lost in ("town", "almgm"):
                self.kill()
                self.setUp()
                self.begin()
                self.rest()
                self.put(3, "t0")
                self.until(point)
                (file,) = self.files()
                self.lose(lost)
                self.begin()
                self.rest()
                self.check(f"{point}, {lost}")
                self.assertEqual(self.files(), [file], f"{point}, {lost}")

    def test_with_a_hash(self) -> None:
        """Loaded, and its file cannot be made: with the tables of files lost it is not counted without its file."""
        self.begin()
        self.rest()
        day = folder_of(Path("/archive"), "270115")
        self.disk.refuses.add(day)
        self.put(3, "t0", whole=True)
        self.clock.pump([0.001] * 500)
        self.assertEqual(self.ask("select rows from anylog_marks where hash is not null"), [(3,)])
        self.kill()
        self.lose("almgm")
        self.begin()
        self.clock.pump([0.001] * 500)
        self.assertEqual(self.files(), [])
        self.disk.refuses.discard(day)
        self.rest()
        self.check()
        self.assertEqual(len(self.files()), 1)

    def test_a_database_that_was_dropped(self) -> None:
        """What was counted before that is not loaded again from the journal."""
        self.begin()
        self.rest()
        self.put(3, "t0")
        self.until("counted")
        self.lose("town")
        self.begin(operates=False, town=False)
        self.wait(self.intake.registry.tsd.flag("town", DROPPED))
        self.kill()
        self.begin()
        self.rest()
        self.assertIsNone(self.catalog and self.catalog.get("town").schema("t0"))  # type: ignore[attr-defined]
        self.assertEqual(self.ask("select rows, status2 from tsd_info", "almgm"), [(3, DROPPED)])

    def test_its_id_is_that_of_another(self) -> None:
        """In tables of files that were put back from elsewhere: it gets another one, and nothing is lost."""
        for hash in ("ab" * 16, "open:of another"):
            self.kill()
            self.setUp()
            self.begin()
            self.rest()
            self.put(3, "t0")
            self.until("published")
            self.lose("town", "almgm")
            (buffer,) = self.named()
            other = Wanted(dbms="town", table="t0", source="0", hash=hash, instructions="0", id=buffer.tsd)
            self.wait(self.intake.registry.tsd.register([other]))
            self.wait(self.intake.registry.tsd.finish([Done(into="tsd_info", id=buffer.tsd, rows=0, status1="03")]))
            self.kill()
            self.begin()
            self.rest()
            self.assertEqual({row[0] for row in self.ask("select v from t0")}, self.acknowledged)
            entries = dict(self.ask("select file_id, rows from tsd_info", "almgm"))
            self.assertEqual(entries.pop(buffer.tsd), 0)
            self.assertEqual(list(entries.values()), [3])

    def named(self) -> list[Buffer]:
        """Start without the database: what the journal says of its buffers."""
        self.begin(operates=False, town=False)
        return [buffer for buffer in self.intake._buffers.values() if buffer.named]

    def test_its_file_was_loaded_instead(self) -> None:
        """Under its id, by somebody who knew nothing of the journal: it is done with."""
        self.begin()
        self.rest()
        self.put(3, "t0")
        self.until("counted")
        self.begin(town=False, operates=False)
        self.wait(Deferred.fromCoroutine(self.catalog.connect("town", "sqlite")))  # type: ignore[union-attr]
        self.ask("update anylog_marks set buffer = 'file-7.' || tsd_id, hash = 'ab'")
        self.kill()
        self.lose("almgm")
        self.begin()
        self.rest()
        self.check()

    def test_a_journal_of_before(self) -> None:
        """Without ids it is read as ever: whatever was counted is not loaded again."""
        description = Buffer.description
        self.patch(
            Buffer, "description",
            lambda buffer: {name: told for name, told in description(buffer).items() if name not in ("tsd", "time")},
        )  # fmt: skip
        for point in ("published", "counted", "done"):
            self.kill()
            self.setUp()
            self.begin()
            self.rest()
            self.put(3, "t0")
            self.until(point)
            self.assertEqual(self.named(), [])
            self.kill()
            self.begin()
            self.rest()
            self.check(point)

    def test_carried_on(self) -> None:
        """A file that cannot be counted for long: its records are written again further on, with its id."""
        self.begin()
        self.rest()
        self.put(3, "t0")
        finish = type(self.intake.registry).finish
        self.patch(type(self.intake.registry), "finish", lambda *_: fail(AnyLogError(16, "locked")))
        for _ in range(400):
            self.clock.advance(0.001)
            self.intake.cut_due()
        (file,) = self.files()
        while len(self.intake.journal._segments) < 2:
            self.put(40, "t0")
            self.clock.pump([0.001] * 10)
        self.intake.most = 1
        self.intake.relieve()
        self.clock.pump([0.001] * 10)
        self.kill()
        self.patch(type(self.intake.registry), "finish", finish)
        self.lose("town", "almgm")
        self.begin()
        self.rest()
        self.check()
        self.assertIn(file, self.files())

    def test_once(self) -> None:
        """Loaded as it comes, it has its id when it is cut: one record; else another one follows, for all of a round
        with one sync. Whole contents need none."""
        for immediate, records in ((True, 1), (False, 2)):
            self.kill()
            self.setUp()
            self.begin()
            self.intake.thresholds.set(time=0.2, volume=1500, write_immediate=immediate)
            self.rest()
            told: Counter[str] = Counter()
            append = type(self.intake.journal).append

            def heard(
                journal: Any, kind: Kind, buffer: Any, body: bytes = b"", told: Any = told, append: Any = append
            ) -> Any:
                told[f"{kind.name}{' with its id' if kind is Kind.CUT and body else ''}"] += 1
                return append(journal, kind, buffer, body)

            self.patch(type(self.intake.journal), "append", heard)
            for number in range(5):
                self.put(2, f"t{number}")
            self.put(40, "t9", whole=True)
            self.rest()
            self.check()
            self.patch(type(self.intake.journal), "append", append)
            self.assertEqual(told["CUT with its id"], 5)
            self.assertEqual(told["CUT"], 5 * (records - 1))

    def test_a_journal_without_room(self) -> None:
        """What it refuses holds nothing back: the journal gets room by what becomes a file."""
        self.begin()
        self.intake.thresholds.set(time=0.2, volume=1500, write_immediate=False)
        self.rest()
        self.put(3, "t0")
        append = type(self.intake.journal).append

        def refuses(journal: Any, kind: Kind, buffer: Any, body: bytes = b"") -> Any:
            if kind is Kind.CUT and body:
                return fail(AnyLogError(503, "no room"))
            return append(journal, kind, buffer, body)

        self.patch(type(self.intake.journal), "append", refuses)
        self.rest()
        self.check()
        self.assertEqual(self.intake.counts["unnamed"], 1)
