"""What was begun before the journal was opened anew, or before this node became another member, ends late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from attrs import evolve
from filing_case import MEMBER as OWNER
from test_filing import DAY, FilingCase
from twisted.internet.defer import Deferred

from anylog.databases.tsd import Done, Entry, Tsd, Wanted
from anylog.errors import AnyLogError
from anylog.processes.buffers import Buffer
from anylog.processes.filing import Filing, full_name
from anylog.processes.operating import AGAIN
from anylog.processes.recovery import UNREAD, Recovery
from anylog.processes.whole import FilingOptions
from anylog.waiting import gather
from tests.unit.processes.test_intake_restarts import FILES, FOLDER, MEMBER, Moody, RestartCase


class FormerMemberTests(FilingCase):
    def test_counted_under_its_id(self) -> None:
        """A stream of the member that this node was before is looked for among the files of that one."""
        self.begin()
        buffer = self.streamed(b'{"v":1}\n')
        buffer.member, buffer.recalled = OWNER + 1, True
        buffer.registered(1, "2026-09-21 14:13:20.000000")
        other = self.known("other", rows=5)
        self.assertEqual(other.entry.id, buffer.tsd)
        self.file(buffer, register=False)
        self.assertEqual(self.counted(buffer), 5)
        entry = self.entry(buffer, f"tsd_{OWNER + 1}")
        assert entry is not None
        self.assertEqual(entry.rows, 1)
        self.assertEqual(self.lies(DAY), [full_name(buffer, entry.hash, True)])

    def test_counted_there(self) -> None:
        """If that says that it is counted, its file is there."""
        self.begin()
        buffer = self.streamed(b'{"v":1}\n')
        buffer.member, buffer.recalled = OWNER + 1, True
        buffer.registered(1, "2026-09-21 14:13:20.000000")
        self.known("its hash", rows=1, id=1, time=buffer.time, into=f"tsd_{OWNER + 1}")
        self.file(buffer, register=False)
        self.assertEqual(self.lies(DAY), [])
        self.assertIn(buffer, self.told)


class AnewTests(RestartCase):
    """The journal is opened anew."""

    def setUp(self) -> None:
        super().setUp()
        self.held: list[Deferred[None]] = []

    def hold(self, name: str) -> None:
        """The first round of filing waits there."""
        step = getattr(Filing, name)

        async def held(filing: Filing, files: Sequence[Any], *options: Any) -> Any:
            if files and not self.held:
                self.held.append(Deferred())
                await self.held[0]
            return await step(filing, files, *options)

        self.patch(Filing, name, held)

    def stream(self) -> Buffer:
        """One whose file is being made."""
        self.put(3, "t0")
        (buffer,) = self.intake._buffers.values()
        while not self.held:
            self.clock.advance(0.01)
            self.intake.cut_due()
        return buffer

    def anew(self) -> None:
        self.intake._start_anew()
        self.clock.pump([0.01] * 200)
        self.assertTrue(self.intake._ready)

    def test_a_round_that_ends_after_it(self) -> None:
        """What was read back is looked after until it ends itself, though what it was before is a file by then."""
        self.begin()
        self.rest()
        self.hold("_count")
        before = self.stream()
        assert self.catalog is not None
        self.wait(Deferred.fromCoroutine(self.catalog.disconnect("town")))
        self.anew()
        (after,) = self.intake._buffers.values()
        self.assertIsNot(before, after)
        self.held[0].callback(None)
        self.clock.pump([0.01] * 20)
        self.assertEqual(list(self.intake._buffers.values()), [after])
        self.wait(Deferred.fromCoroutine(self.catalog.connect("town", "sqlite")))
        self.rest()
        self.assertFalse(self.intake.registry.has("tsd_info", before.tsd))
        self.check()

    def test_a_round_that_ends_meanwhile(self) -> None:
        """While the journal is read it is told of nothing that was read back already."""
        for moment in range(20):
            self.kill()
            self.setUp()
            with self.subTest(moment=moment):
                self.begin()
                self.rest()
                self.hold("_count")
                self.stream()
                self.intake._start_anew()
                self.clock.pump([0.1] * 10)
                self.clock.pump([0.001] * moment)
                self.held[0].callback(None)
                self.clock.pump([0.001] * 200)
                self.rest()
                self.assertEqual(list(self.intake.registry._live), [])
                self.check(f"after {moment} ms")

    def test_a_round_that_fails_after_it(self) -> None:
        """What was read back becomes the file; what it was before is not tried again."""
        self.begin()
        self.rest()
        self.hold("_publish")
        before = self.stream()
        self.anew()
        self.held[0].errback(AnyLogError(63, "the disk is away"))
        self.clock.advance(0)
        self.assertFalse(any(each is before for each in self.intake.filing._rounds._queue))
        self.rest()
        self.check()

    def test_registered_and_not_loaded(self) -> None:
        """It has its id still when it is read back."""
        self.begin()
        self.rest()
        loader: Any = self.intake._loaders["town"]

        class Away:
            def random(self) -> float:
                return 0.0

        loader.database = Moody(loader.database, Away())  # type: ignore[arg-type]
        for whole in (True, False):
            self.put(3, "t0", whole=whole)
        self.clock.pump([0.01] * 50)
        self.assertEqual(len(self.ask("select file_id from tsd_info", "almgm")), 2)
        self.anew()
        self.rest()
        self.check()


class ComparedTests(RestartCase):
    """A comparison of before ends after another one was begun."""

    def setUp(self) -> None:
        super().setUp()
        self.waits: list[Deferred[dict[str, int]]] = []

    def hold(self) -> None:
        """Comparisons end when they are told to."""
        self.begin()
        self.rest()
        self.assertTrue(self.intake.operating.agrees)

        def compare(*args: Any) -> Deferred[dict[str, int]]:
            self.waits.append(Deferred())
            return self.waits[-1]

        self.patch(Recovery, "compare", compare)

    def test_while_another_goes_on(self) -> None:
        """The database agrees when the one begun last has ended well."""
        self.hold()
        for _ in range(2):
            self.intake.operating.compared("town")
        self.waits[0].callback({})
        self.assertFalse(self.intake.operating.agrees)
        self.waits[1].callback({})
        self.assertTrue(self.intake.operating.agrees)

    def test_after_another_found_something(self) -> None:
        """What that one left is looked at again first."""
        self.hold()
        for _ in range(2):
            self.intake.operating.compared("town")
        self.waits[1].callback({UNREAD: 1})
        self.waits[0].callback({})
        self.assertFalse(self.intake.operating.agrees)
        self.clock.advance(AGAIN)
        self.waits[2].callback({})
        self.assertTrue(self.intake.operating.agrees)

    def test_told_meanwhile(self) -> None:
        """Rows that go while it is compared may be such as it has looked at, also if it is to be compared again."""
        self.hold()
        operating = self.intake.operating
        operating.compare_again("town")
        operating.compared("town")
        operating.compare_again("town")
        self.waits[0].callback({})
        self.assertFalse(operating.agrees)
        self.clock.advance(AGAIN)
        self.waits[1].callback({})
        self.assertTrue(operating.agrees)


class AnotherMemberTests(RestartCase):
    """The ledger says that this node is another member now."""

    def setUp(self) -> None:
        super().setUp()
        self.begin()
        self.rest()
        self.put(3, "t0")
        self.rest()
        self.put(2, "t0", whole=True)
        self.rest()
        self.before = self.entries("tsd_info")
        self.assertEqual([entry.rows for entry in self.before.values()], [3, 2])

    def tsd(self) -> Tsd:
        tsd = self.intake.registry.tsd
        assert isinstance(tsd, Tsd)
        return tsd

    def entries(self, into: str) -> dict[int, Entry]:
        if into not in self.wait(self.tsd().tables()):
            return {}
        found: dict[int, Entry] = self.wait(
            self.tsd().by_ids(into, [row[0] for row in self.ask(f"select file_id from {into} order by 1", "almgm")])
        )
        return found

    def become(self) -> Deferred[None]:
        """As the operator tells it at its next beat; fires when that is over."""
        self.member = MEMBER + 1

        async def told() -> None:
            await self.intake.operating.note(self.member)
            await self.intake.operate(FILES, lambda: self.member)

        return Deferred.fromCoroutine(told())

    def of_the_other(self) -> dict[int, Entry]:
        """Files that the other one had under the same ids, in a database that is not there now."""
        into = f"tsd_{MEMBER + 1}"
        for id in self.before:
            wanted = Wanted(
                dbms="city", table="t", source="0", hash=f"{id:032}", instructions="0", id=id, into=into,
                time="2026-11-21 10:00:00",
            )  # fmt: skip
            self.wait(self.tsd().register([wanted]))
            self.wait(self.tsd().finish([Done(into=into, id=id, rows=9)]))
        return self.entries(into)

    def is_another(self, others: Mapping[int, Entry] | None = None) -> None:
        """What it was before is in its own table, and nothing else has come."""
        self.rest()
        self.assertEqual(self.entries(f"tsd_{MEMBER}"), self.before)
        self.assertEqual(self.entries("tsd_info"), others or {})
        self.assertEqual(self.ask("select count(*) from t0"), [(5,)])

    def test_while_it_is_compared(self) -> None:
        """What an earlier comparison finds then is not of the tables of now: nothing comes into them, or goes."""
        steps, reached = ("sums", "lines", "by_ids", "pending", "leaning"), set[str]()
        for step in steps:
            for gone, moment in product((True, False), (5, 20)):
                self.kill()
                self.member = MEMBER
                self.setUp()
                with self.subTest(step=step, gone=gone, moment=moment):
                    others = self.of_the_other()
                    if gone:  # so that marks are found that nobody knows
                        self.wait(self.tsd().forget([("tsd_info", id) for id in self.before]))
                    else:  # and entries without marks
                        for table, id in [("t0", id) for id in self.before]:
                            self.wait(self.catalog.get("town").undo(table, MEMBER, id))  # type: ignore[union-attr]
                    held: list[Deferred[None]] = []
                    asked = getattr(Tsd, step)

                    def holds(
                        tsd: Tsd, *args: Any, asked: Any = asked, held: list[Deferred[None]] = held
                    ) -> Deferred[Any]:
                        told: Deferred[Any] = asked(tsd, *args)
                        if held:
                            return told
                        held.append(Deferred())
                        return told.addCallback(lambda found: held[0].addCallback(lambda _: found))

                    self.patch(Tsd, step, holds)
                    self.intake.operating.compared("town")
                    self.clock.pump([0.001] * 50)
                    self.patch(Tsd, step, asked)
                    became = self.become()
                    self.clock.pump([0.001] * moment)
                    reached.update([step] if held else [])
                    for told in held:
                        told.callback(None)
                    self.wait(became)
                    self.is_another(others)
        self.assertEqual(reached, set(steps))

    def test_compared_before_they_are_handed_over(self) -> None:
        """They are not taken for those of the new member, of which nothing is loaded."""
        self.member = MEMBER + 1
        self.wait(self.intake.operating.compared("town"))
        self.assertFalse(self.intake.operating.agrees)
        self.assertEqual(self.entries("tsd_info"), self.before)
        self.wait(self.become())
        self.is_another()

    def test_looked_at_while_it_is_noted(self) -> None:
        """Nothing is registered in what is not handed over, though the disk takes long to keep who operates here."""
        self.disk.refuses.add(FOLDER)
        self.become().addErrback(lambda failure: failure.trap(AnyLogError))
        self.clock.pump([0.1] * 30)
        self.assertTrue(self.intake.registry.unsure)
        self.put(2, "t1")
        self.clock.pump([0.1] * 30)
        self.assertEqual(self.entries("tsd_info"), self.before)
        self.disk.refuses.clear()
        self.wait(self.become())
        self.rest()
        self.assertEqual(self.entries(f"tsd_{MEMBER}"), self.before)
        self.assertEqual([entry.rows for entry in self.entries("tsd_info").values()], [2])

    def test_a_policy_that_comes_while_it_begins(self) -> None:
        """Files cannot be registered yet, and when they can this node is a member: that is kept first."""
        self.kill()
        self.member = 0
        RestartCase.setUp(self)
        self.begin(operates=False)
        see_ids = Recovery.see_ids

        async def away(recovery: Recovery, *args: Any, **options: Any) -> None:
            self.member = MEMBER
            self.patch(Recovery, "see_ids", see_ids)
            self.disk.refuses.add(FOLDER)
            raise AnyLogError(5, "almgm is away")

        self.patch(Recovery, "see_ids", away)
        begun = self.intake.operate(FILES, lambda: self.member)
        self.clock.pump([0.5] * 20)
        self.assertFalse(begun.called or self.intake.operating.agrees)  # the disk does not keep it
        self.disk.refuses.clear()
        self.wait(begun)
        self.assertEqual((self.intake.operating.noted, self.intake.operating.agrees), (MEMBER, True))

    def test_ended_and_begun_while_it_begins(self) -> None:
        """Only the newest operator goes on with it when files can be registered."""
        see_ids, other = Recovery.see_ids, evolve(FILES, archive_dir=Path("/elsewhere"))

        async def away(recovery: Recovery, *args: Any, **options: Any) -> None:
            raise AnyLogError(5, "almgm is away")

        self.intake.operating.end()
        self.patch(Recovery, "see_ids", away)
        first = self.intake.operate(FILES, lambda: self.member)
        self.clock.pump([0.01] * 10)
        self.intake.operating.end()
        second = self.intake.operate(other, lambda: self.member)
        self.clock.pump([0.01] * 10)
        taken: list[FilingOptions] = []

        async def there(recovery: Recovery, databases: Any, options: FilingOptions, **more: Any) -> None:
            taken.append(options)
            await see_ids(recovery, databases, options, **more)

        self.patch(Recovery, "see_ids", there)
        self.wait(Deferred.fromCoroutine(gather([first, second])))
        self.assertTrue(taken)
        self.assertEqual([options for options in [*taken, self.intake.filing.options] if options != other], [])
        self.assertTrue(self.intake.operating.agrees)

    def test_slower_than_the_one_after_it(self) -> None:
        """It was asked for what is registered when it ended, and hears of it when another goes on already."""
        see_ids, other = Recovery.see_ids, evolve(FILES, archive_dir=Path("/elsewhere"))
        held: list[Deferred[None]] = []

        async def slow(recovery: Recovery, *args: Any, **options: Any) -> None:
            self.patch(Recovery, "see_ids", see_ids)
            held.append(Deferred())
            await held[0]

        self.intake.operating.end()
        self.patch(Recovery, "see_ids", slow)
        first = self.intake.operate(FILES, lambda: self.member)
        self.clock.pump([0.01] * 10)
        self.intake.operating.end()
        self.wait(self.intake.operate(other, lambda: self.member))
        held[0].callback(None)
        self.wait(first)
        self.assertEqual(self.intake.filing.options, other)
        self.assertTrue(self.intake.operating.agrees)

    def test_given_up_as_the_one_before(self) -> None:
        """What nobody came with under that member's ids says nothing of the files of the new one."""
        for into in ("tsd_info", f"tsd_{MEMBER + 1}"):
            wanted = Wanted(
                dbms="city", table="t", source="0", hash=into.zfill(32), instructions="0", id=5, into=into,
                time="2026-11-21 10:00:00",
            )  # fmt: skip
            self.wait(self.tsd().register([wanted]))

        async def waiting() -> Sequence[str]:
            await self.become()
            return ()

        self.intake.recovery.waiting = waiting
        self.assertEqual(self.wait(Deferred.fromCoroutine(self.intake.recovery.orphans())), 2)
        self.assertTrue(self.entries("tsd_info")[5].pending)
