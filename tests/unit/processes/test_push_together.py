"""Heaps of files: two questions to a member at a time, and loading waits a little while they are published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filing_case import BEGIN, MEMBER
from push_case import ARCHIVE, DAY, DISTR, ERRORS, Asks, Peer, named
from test_watch import WatchCase
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.errors import AnyLogError
from anylog.language.logs import Logs
from anylog.processes.courier import BYTES, Courier
from anylog.processes.distributor import MANY, PATIENCE, Cluster, Distributor, Folders
from anylog.processes.precedence import BETWEEN, LONGEST, Precedence
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane


class SendingTests(SynchronousTestCase):
    """What is on its way to one member at the same time."""

    def setUp(self) -> None:
        self.clock, self.disk, self.ask = Clock(), MemoryDisk(), Asks()
        self.clock.advance(BEGIN)
        self.courier = Courier(clock=self.clock, disk=self.disk, lane=InlineLane(), ask=self.ask)

    def put(self, *sizes: int) -> list[Path]:
        paths = [DISTR / named(number + 1) for number in range(len(sizes))]
        for path, size in zip(paths, sizes, strict=True):
            self.disk.put(path, b"x" * size)
        return paths

    def test_two_questions_at_a_time(self) -> None:
        """A third sending to a member waits for one of two; another member is asked meanwhile."""
        paths = self.put(1, 1, 1)
        self.ask.waits = {"a:1"}
        sent = [self.courier.send("a:1", [path]) for path in paths]
        self.assertEqual(len(self.ask.asked), 2)
        self.successResultOf(self.courier.send("b:1", paths))
        self.ask.answer("a:1")
        self.successResultOf(sent[0])
        self.assertEqual(self.ask.asked[-1][:2], ("a:1", [paths[2].name]))
        self.ask.answer("a:1")
        self.ask.answer("a:1")
        for each in sent[1:]:
            self.successResultOf(each)

    def test_one_large_file_at_a_time(self) -> None:
        """Two sendings do not both hold files that are larger than a whole question; a failure lets go of it too."""
        paths = self.put(BYTES + 1, BYTES + 1, BYTES + 1)
        self.ask.waits = {"a:1"}
        first, second = (self.courier.send("a:1", [path]) for path in paths[:2])
        self.assertEqual(self.ask.to("a:1"), [paths[0].name])
        self.ask.open.pop()[2].errback(AnyLogError(208, "no connection"))
        self.assertEqual([each.kind for each in self.successResultOf(first)], ["failed"])
        self.assertEqual(self.ask.to("a:1"), [path.name for path in paths[:2]])
        third = self.courier.send("a:1", paths[2:])
        self.assertEqual(len(self.ask.asked), 2)
        self.ask.answer("a:1")
        self.successResultOf(second)
        self.ask.answer("a:1")
        self.successResultOf(third)


class HeapTests(SynchronousTestCase):
    """The distributor asks two questions at a time for a heap of files, and each file goes once."""

    def setUp(self) -> None:
        self.clock, self.disk, self.ask = Clock(), MemoryDisk(), Asks(waits={"a:1"})
        self.clock.advance(BEGIN)
        lane = InlineLane()
        self.away: set[str] = set()
        self.distributor = Distributor(
            clock=self.clock,
            disk=self.disk,
            lane=lane,
            courier=Courier(clock=self.clock, disk=self.disk, lane=lane, ask=self.ask),
            cluster=lambda: Cluster(id="c", member=MEMBER, others=[Peer(8, "a:1")]),
            active=lambda address: address not in self.away,
            folders=lambda: Folders(distr=DISTR, archive=ARCHIVE, errors=ERRORS),
            logs=Logs(self.clock),
        )

    def begin(self, count: int) -> list[str]:
        names = [named(id) for id in range(1, count + 1)]
        for name in names:
            self.disk.put(DISTR / name, b'{"v":1}')
        self.distributor.start()
        self.clock.advance(0)
        return names

    def add(self, first: int, count: int) -> list[str]:
        names = [named(id) for id in range(first, first + count)]
        for name in names:
            self.disk.put(DISTR / name, b'{"v":1}')
        self.distributor.nudge([DISTR / name for name in names])
        self.clock.advance(0)
        return names

    def asked(self) -> list[int]:
        return [len(names) for _, names, _ in self.ask.asked]

    def answer(self) -> None:
        self.ask.answer("a:1")
        self.clock.advance(0)

    def test_a_heap(self) -> None:
        """Never more than two are on their way, the lowest ids first, and all is archived in the end."""
        names = self.begin(900)
        while self.ask.open:
            self.assertLessEqual(len(self.ask.open), 2)
            self.answer()
        self.assertEqual(self.asked(), [256, 256, 256, 132])
        self.assertEqual(self.ask.to("a:1"), names)
        self.assertEqual(self.disk.names(DAY), sorted(names))

    def test_in_the_archive_as_well(self) -> None:
        """Made again in the archive, as no distributor ran then: it goes once to each that has not fetched it, and is
        left in the archive alone."""
        self.ask.waits = {"a:1", "b:1"}
        others = [Peer(8, "a:1"), Peer(9, "b:1")]
        self.distributor._cluster = lambda: Cluster(id="c", member=MEMBER, others=others)
        names = [named(id) for id in range(1, 6)]
        for name in names:
            self.disk.put(DISTR / name, b'{"v":1}')
        for name in names[1:3]:
            self.disk.put(DAY / name, b'{"v":1}')
        there = [[(DAY / name, {9}) for name in names[1:3]]]
        self.distributor._unpushed = lambda: there.pop() if there else []
        self.distributor.start()
        self.clock.advance(0)
        self.clock.pump([6.0] * 3)
        while self.ask.open:
            self.ask.answer(self.ask.open[0][0])
            self.clock.pump([0, 6.0])
        self.assertEqual(self.ask.to("a:1"), names)
        self.assertEqual(self.ask.to("b:1"), [names[0], *names[3:]])
        self.assertEqual(self.distributor.waiting, 0)
        self.assertEqual((self.disk.names(DISTR), sorted(self.disk.names(DAY))), ([], names))

    def test_a_few_wait_for_the_answer(self) -> None:
        """One by one they would make many small questions; from some number on they are worth one."""
        self.begin(1)
        self.add(2, MANY - 1)
        self.assertEqual(self.asked(), [1])
        self.add(1000, 1)
        self.assertEqual(self.asked(), [1, MANY])
        self.add(2000, 5)
        self.answer()
        self.assertEqual(self.asked(), [1, MANY])
        self.answer()
        self.assertEqual(self.asked(), [1, MANY, 5])
        self.answer()
        self.assertEqual((self.ask.open, self.disk.names(DISTR)), ([], []))

    def test_one_of_two_fails(self) -> None:
        """Its files are not sent again; the others are answered for on their own."""
        names = self.begin(300)
        self.ask.open.pop(0)[2].errback(AnyLogError(15, "broke"))
        self.answer()
        line = self.distributor.lines["a:1"]
        self.assertEqual((line.files, line.errors), (44, 256))
        self.assertEqual(self.ask.to("a:1"), names)
        self.assertEqual(self.disk.names(DAY), sorted(names))

    def test_stopped_with_two_on_their_way(self) -> None:
        """Both are waited for, and both are given up."""
        names = self.begin(320)
        stopped = self.distributor.stop()
        self.answer()
        self.assertNoResult(stopped)
        self.clock.advance(PATIENCE)
        self.successResultOf(stopped)
        self.assertEqual((self.disk.names(DAY), self.disk.names(DISTR)), (sorted(names[:256]), sorted(names[256:])))


class PrecedenceTests(SynchronousTestCase):
    """Loading waits while files come, for a bounded time."""

    def setUp(self) -> None:
        self.clock, self.over, self.idle = Clock(), list[float](), True
        self.precedence = Precedence(self.clock, lambda: self.idle, lambda: self.over.append(self.clock.seconds()))

    def seen(self, *steps: float) -> list[bool]:
        found = []
        for step in steps:
            self.clock.advance(step)
            with self.precedence.given():
                found.append(self.precedence.taken)
        return found

    def test_as_long_as_files_come(self) -> None:
        """Also if two questions overlap; who waits is told when the last one ended, however it ended."""
        self.assertFalse(self.precedence.taken)
        with self.precedence.given():
            with self.assertRaises(KeyError), self.precedence.given():
                raise KeyError
            self.assertTrue(self.precedence.taken)
            self.assertEqual(self.over, [])
        self.assertFalse(self.precedence.taken)
        self.assertEqual(self.over, [0.0])

    def test_not_for_ever(self) -> None:
        """However many come, loading has its share of the time; also if the clock was set back."""
        with self.precedence.given():
            self.clock.advance(LONGEST)
            self.assertFalse(self.precedence.taken)
            self.assertEqual(self.seen(BETWEEN / 2, BETWEEN / 2, LONGEST / 2), [False, True, True])
            self.assertEqual(self.seen(LONGEST, BETWEEN), [False, True])
            self.clock.rightNow -= 1000
            self.assertFalse(self.precedence.taken)
            self.assertEqual(self.seen(0), [True])

    def test_not_where_much_is_to_be_loaded(self) -> None:
        """Who is behind with loading goes on; a wait that was begun goes on too, over the files of it."""
        self.idle = False
        self.assertEqual(self.seen(0), [False])
        self.idle = True
        with self.precedence.given():
            self.idle = False
            self.assertEqual(self.seen(LONGEST / 2), [True])


class LoadingWaitsTests(WatchCase):
    def deliver(self, names: Sequence[str]) -> None:
        self.watch.delivered([(name, 7) for name in names])
        self.clock.advance(0)

    def test_it_begins_when_nothing_comes_any_more(self) -> None:
        """At once, without waiting for the next look."""
        self.begin()
        names = [self.put(f"town.t.{number}.json") for number in range(3)]
        with self.watch.precedence.given():
            self.deliver(names)
            self.assertEqual(self.files.names, [])
        self.clock.advance(0)
        self.assertEqual((sorted(self.files.names), self.here()), (names, []))

    def test_it_begins_when_they_come_for_too_long(self) -> None:
        """With the next look at the latest."""
        self.begin()
        names = [self.put(f"town.t.{number}.json") for number in range(3)]
        with self.watch.precedence.given():
            self.deliver(names)
            self.clock.advance(LONGEST * 0.9)
            self.assertEqual(self.files.names, [])
            self.beat()
            self.assertEqual((sorted(self.files.names), self.here()), (names, []))
