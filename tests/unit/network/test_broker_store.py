"""What the broker keeps: safe at "yes", short, read on behind damage, and nothing twice after a failure."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from shutil import copytree, rmtree
from tempfile import mkdtemp
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from anylog.disk.durable import RealDisk
from anylog.disk.lanes import ThreadLane, ThreadLanes
from anylog.disk.records import RECORD_HEADER, SEGMENT_HEADER, Kind, scan
from anylog.errors import AnyLogError
from anylog.network.broker_store import BrokerStore
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLane, InlineLane
from anylog.waiting import gather
from anylog.wire.mqtt_packets import Publish
from anylog.wire.mqtt_records import Came, Exchange, Finished, Numbers, Opened, Record, pack_message
from anylog.wire.mqtt_session import Message

MEMORY = Path("/home/broker")


def opened(name: str) -> Opened:
    return Opened(name, 1, 100)


def came(name: str, number: int, payload: bytes = b"m") -> Came:
    return Came(pack_message(Message(Publish("t", payload, 1))), ((name, number, 1, False, (), number, ""),))


def retained(topic: str, payload: bytes) -> Came:
    return Came(pack_message(Message(Publish(topic, payload, 1, True))), (), True)


def queued(records: list[Record]) -> list[tuple[str, int]]:
    """Who has which messages."""
    return [(each[0], each[1]) for record in records if isinstance(record, Came) for each in record.to]


class Memory(MemoryDisk):
    """A disk that can be made to fail when it is read."""

    reading: Callable[[Path], object] | None = None

    def read(self, path: Path) -> bytes:
        if self.reading is not None:
            self.reading(path)
        return super().read(path)


class Files(RealDisk):
    """Counts the files that are open at once."""

    def __init__(self) -> None:
        super().__init__()
        self.open_now = self.most = 0

    def open(self, path: Path) -> Any:
        """One more."""
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        return File(super().open(path), self)


class File:
    """One of them."""

    def __init__(self, file: Any, files: Files) -> None:
        self._file, self._files = file, files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        """One less."""
        self._files.open_now -= 1
        self._file.close()


class StoreCase(SynchronousTestCase):
    """Real files; where the disk must be full or fail, one in memory."""

    def setUp(self) -> None:
        self.folder = Path(mkdtemp())
        self.addCleanup(rmtree, self.folder)
        self.disk: Any = RealDisk()
        self.home = self.folder / "broker"
        self.tokens = count(1)

    def store(self, **options: Any) -> BrokerStore:
        made = self.new(**options)
        self.records = self.successResultOf(made.load())
        return made

    def new(self, **options: Any) -> BrokerStore:
        given: dict[str, Any] = {
            "disk": self.disk,
            "lane": InlineLane(),
            "making": InlineLane(),
            "work": InlineLane(),
            "folder": self.home,
            "token": lambda size: next(self.tokens).to_bytes(size, "big"),
            "now": lambda: 1_000_000.0,
            "segment_size": 4096,
        }
        return BrokerStore(**given | options)

    def keep(self, store: BrokerStore, *records: Record) -> None:
        self.successResultOf(store.keep(records))

    def refused(self, waited: Deferred[Any]) -> int:
        number: int = self.failureResultOf(waited, AnyLogError).value.number
        return number

    def again(self, **options: Any) -> list[Record]:
        """What a start after `kill -9` finds."""
        copy = self.folder / "copy"
        if isinstance(self.disk, RealDisk):
            rmtree(copy, ignore_errors=True)
            copytree(self.home, copy)
            options["folder"] = copy
        store = self.new(**options)
        found = self.successResultOf(store.load())
        self.found = store.counts
        return found

    def in_memory(self) -> Memory:
        made = Memory()
        self.disk, self.home = made, MEMORY
        return made

    def segments(self) -> list[Path]:
        return sorted(self.home.glob("*.journal"))


class KeepingTests(StoreCase):
    def test_what_was_kept_comes_back(self) -> None:
        """Only what still lasts, in an order in which it can be replayed; after a clean end as well."""
        store = self.store()
        self.assertEqual(self.records, [Numbers(0, 0)])
        self.keep(store, opened("a"), came("a", 1), came("a", 2))
        self.keep(store, Finished("a", 1), retained("r", b"1"), retained("r", b"2"))
        expected = [Numbers(2, 1), opened("a"), Exchange("a", 0), came("a", 2), retained("r", b"2")]
        self.assertEqual(self.again(), expected)
        self.successResultOf(store.close())
        self.successResultOf(store.close())
        self.assertEqual(self.again(), expected)

    def test_yes_comes_after_the_sync(self) -> None:
        """What is asked meanwhile shares the next sync."""
        clock = Clock()
        store = self.store()
        store._journal._lane = ClockLane(clock, 1.0)
        store._journal._making = InlineLane()
        told = [store.keep([opened(f"{number}")]) for number in range(10)]
        self.assertFalse(any(each.called for each in told))
        clock.advance(1.0)
        self.assertEqual([each.called for each in told], [True] + [False] * 9)
        clock.advance(1.0)
        self.assertTrue(all(each.called for each in told))
        self.assertEqual(store.counts["syncs"], 2)
        self.assertEqual(sum(isinstance(each, Opened) for each in self.again()), 10)

    def test_a_call_is_kept_whole_or_not_at_all(self) -> None:
        """A tail that was torn anywhere is cut off without a word."""
        store = self.store()
        self.keep(store, opened("a"), came("a", 1))
        self.keep(store, came("a", 2), came("a", 3), Finished("a", 1))
        (path,) = self.segments()
        data = path.read_bytes()
        seen = scan(data)
        assert seen is not None
        for cut in range(seen.records[-1].offset - RECORD_HEADER, seen.end):
            path.write_bytes(data[:cut] + bytes(len(data) - cut))
            self.assertEqual(queued(self.again()), [("a", 1)], f"cut at {cut}")
            self.assertEqual((self.found["damaged"], self.found["unfollowed"]), (0, 0))
        path.write_bytes(data)
        self.assertEqual(queued(self.again()), [("a", 2), ("a", 3)])

    def test_what_is_over_when_it_is_closed_and_before_it_is_loaded(self) -> None:
        """Nobody is left to wait."""
        store = self.new()
        self.assertEqual(self.refused(store.keep([opened("a")])), 504)
        self.successResultOf(store.load())
        self.successResultOf(store.close())
        self.assertEqual(self.refused(store.keep([opened("a")])), 506)
        self.successResultOf(self.new().close())

    def test_a_folder_that_cannot_be_read(self) -> None:
        """The start says so; nothing is begun anew over what may be there."""
        self.home.write_bytes(b"a file")
        self.assertEqual(self.refused(self.new().load()), 504)
        disk = self.in_memory()
        store = self.store()
        self.keep(store, opened("a"))

        def unreadable(path: Path) -> None:
            raise OSError(errno.EIO, "no")

        disk.reading = unreadable
        self.assertEqual(self.refused(self.new().load()), 504)


class ShortTests(StoreCase):
    def test_the_log_stays_short(self) -> None:
        """However much comes and goes, the disk holds a multiple of what lasts."""
        disk = self.in_memory()
        store = self.store(least=2000)
        self.keep(store, *(opened(name) for name in "abc"), retained("r", bytes(500)))
        for number in range(1, 400):
            self.keep(store, came("a", number, bytes(100)), came("b", number, bytes(100)))
            self.keep(store, Finished("a", number))
            if number > 5:
                self.keep(store, Finished("b", number - 5))
        self.assertGreater(store.counts["shortened"], 10)
        self.assertLess(len(disk.names(MEMORY)), 8)
        self.assertEqual(queued(self.again()), [("b", number) for number in range(395, 400)])
        self.assertEqual(sum(isinstance(each, Opened) for each in self.again()), 3)

    def test_no_more_than_a_multiple(self) -> None:
        """Where much lasts the log is not made short again and again."""
        self.in_memory()
        store = self.store(least=1000, factor=4)
        self.keep(store, opened("a"))
        for number in range(1, 1001):
            self.keep(store, came("a", number, bytes(100)))
        self.assertLess(store.counts["shortened"], 12)
        self.assertEqual(len(queued(self.again())), 1000)

    def test_a_long_log_is_read_with_few_files(self) -> None:
        """It may have more segments than a process may open."""
        store = self.store()
        self.keep(store, opened("a"))
        for number in range(1, 101):
            self.keep(store, came("a", number, bytes(2000)))
        self.assertGreater(len(self.segments()), 45)
        disk = Files()
        self.assertEqual(len(queued(self.again(disk=disk))), 100)
        self.assertLess(disk.most, 40)

    def test_what_comes_meanwhile_follows(self) -> None:
        """Whatever is kept at whichever moment of it, and whenever power is cut, is there once and in its order."""
        for meanwhile in range(40):
            self.in_memory()
            clock = Clock()
            lane = ClockLane(clock, 1.0)
            store = self.store(least=1, piece=50)
            store._work = store._journal._lane = lane
            self.keep_on(store, clock, [opened("a"), *(came("a", number) for number in range(1, 30))])
            for _ in range(meanwhile):
                clock.advance(1.0)
            self.keep_on(store, clock, [Finished("a", 7), came("a", 30)])
            told = store.keep([Finished("a", 8)])
            clock.advance(1.0)
            expected = [number for number in range(1, 31) if number != 7]
            for _ in range(60):
                found = [number for _, number in queued(self.again())]
                self.assertIn(found, [expected, [number for number in expected if number != 8]], meanwhile)
                clock.advance(1.0)
            self.assertTrue(told.called)
            self.assertGreater(store.counts["shortened"], 0)

    def keep_on(self, store: BrokerStore, clock: Clock, records: list[Record]) -> None:
        told = store.keep(records)
        while not told.called:
            clock.advance(1.0)
        self.successResultOf(told)

    def test_killed_in_the_middle_of_it_again_and_again(self) -> None:
        """What was written of short logs that have no end goes at the next start."""
        disk = self.in_memory()
        self.keep(self.store(), opened("a"), *(came("a", number) for number in range(1, 30)))
        for _ in range(20):
            clock = Clock()  # the work of the dead is not done
            store = self.store(least=1 << 30, piece=50, segment_size=512)
            store._work = ClockLane(clock, 1.0)
            store._shorten()
            clock.pump([1.0] * 8)
            self.assertEqual(store.counts["shortened"], 0)
        self.assertEqual(len(queued(self.again())), 29)
        self.assertLess(len(disk.names(MEMORY)), 10)

    def test_what_was_retained_too_long(self) -> None:
        """It leaves the log as it leaves the broker: without a record."""
        message = Message(Publish("r", b"m", 1, True, message_expiry_interval=5), 1_000_005.0)
        store = self.store()
        self.keep(store, Came(pack_message(message), (), True))
        self.assertEqual(len(self.again()), 2)
        self.assertEqual(len(self.again(now=lambda: 1_000_006.0)), 1)

    def test_it_fails(self) -> None:
        """Without room for the short log the long one goes on, and it is tried again later."""
        disk = self.in_memory()
        store = self.store(least=1000, piece=500)
        self.keep(store, opened("a"))
        disk.reading = self.no_room
        for number in range(1, 60):
            self.keep(store, came("a", number))
        self.assertGreater(store.counts["not shortened"], 0)
        self.assertLess(store.counts["not shortened"], 10)
        self.assertEqual(store.counts["shortened"], 0)
        disk.reading = None
        self.assertEqual(len(queued(self.again())), 59)
        for number in range(60, 100):
            self.keep(store, came("a", number))
        self.assertGreater(store.counts["shortened"], 0)
        self.assertEqual(len(queued(self.again())), 99)

    def no_room(self, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def test_a_sync_fails_meanwhile(self) -> None:
        """Whichever it is: if the end of the short log is found although its sync failed, so are all its pieces."""
        for moment in range(1, 20):
            disk = self.in_memory()
            store = self.store(least=1 << 30, piece=300, segment_size=512)
            self.keep(store, opened("a"), *(came("a", number) for number in range(1, 30)))
            syncs = count(1)

            def point(kind: str, disk: Memory = disk, moment: int = moment, syncs: Iterator[int] = syncs) -> None:
                if kind == "sync" and next(syncs) == moment:
                    disk.fails = {"sync"}

            disk.point = point
            store._shorten()
            failed, disk.fails = bool(disk.fails), set()
            disk.point = lambda kind: None
            self.disk = disk.crash(Random(moment), power=False)
            self.assertEqual([number for _, number in queued(self.again())], [*range(1, 30)], f"killed at {moment}")
            self.disk = disk
            self.keep(store, came("a", 30))
            self.assertEqual(store.counts["shortened"], 0 if failed else 1)
            self.assertEqual([number for _, number in queued(self.again())], [*range(1, 31)], moment)
            self.assertEqual((self.found["damaged"], self.found["unfollowed"]), (0, 0))
        self.assertFalse(failed, "there are more of them")

    def test_closed_meanwhile(self) -> None:
        """The end does not wait for the whole of it, and nothing is lost."""
        clock = Clock()
        store = self.store(least=1, piece=50)
        store._work = ClockLane(clock, 1.0)
        self.keep(store, opened("a"), *(came("a", number) for number in range(1, 50)))
        self.keep(store, Finished("a", 9))
        ended = store.close()
        self.assertNoResult(ended)
        clock.pump([1.0] * 3)
        self.successResultOf(ended)
        self.assertEqual(store.counts["shortened"], 0)
        self.assertEqual(len(queued(self.again())), 48)


class DamageTests(StoreCase):
    def damage(self, path: Path, offset: int) -> None:
        data = bytearray(path.read_bytes())
        data[offset] ^= 0xFF
        path.write_bytes(data)

    def test_a_record_in_the_middle(self) -> None:
        """It is reported, kept aside, and the rest is read on; what needs it is counted and left out. Once."""
        store = self.store()
        for records in ([opened("a")], [opened("b")], [came("a", 1), came("b", 1)], [came("b", 2)]):
            self.keep(store, *records)
        (path,) = self.segments()
        seen = scan(path.read_bytes())
        assert seen is not None
        self.damage(path, seen.records[0].offset + 12)
        del store
        store = self.store()
        self.assertEqual(queued(self.records), [("b", 1), ("b", 2)])
        self.assertEqual((store.counts["damaged"], store.counts["unfollowed"]), (1, 1))
        self.assertIn("'a' is not there", store.counts.last("unfollowed"))
        self.assertEqual([each.stem for each in self.home.glob("*.damaged")], [path.stem])
        self.keep(store, came("b", 3))
        self.assertEqual(queued(self.again()), [("b", 1), ("b", 2), ("b", 3)])
        self.assertEqual((self.found["damaged"], self.found["unfollowed"]), (0, 0))

    def test_a_record_of_another_version(self) -> None:
        """What is whole and not understood is left out."""
        store = self.store()
        self.keep(store, opened("a"))
        self.patch("anylog.network.broker_store.pack", lambda record: b"\x91\x63")
        self.keep(store, opened("b"))
        self.assertEqual([each for each in self.again() if isinstance(each, Opened)], [opened("a")])
        self.assertEqual(self.found["unfollowed"], 1)

    def patch(self, name: str, value: Any) -> None:  # type: ignore[override]
        from anylog.network import broker_store

        super().patch(broker_store, name.rpartition(".")[2], value)

    def shortened(self) -> Path:
        """A log that was made short in pieces, and two records behind it."""
        store = self.store(least=1, piece=200, segment_size=1 << 16)
        self.keep(store, opened("a"), *(came("a", number) for number in range(1, 20)))
        store.least = 1 << 30
        store._shorten()
        self.keep(store, came("a", 20))
        (path,) = self.segments()[:1]
        return path

    def test_a_piece_of_the_short_log(self) -> None:
        """The others, and all that came after it, are there."""
        path = self.shortened()
        seen = scan(path.read_bytes())
        assert seen is not None
        place = [each for each in seen.records if each.kind is Kind.CUT][-2]
        self.damage(path, place.offset + 20)
        found = queued(self.again())
        self.assertTrue(10 < len(found) < 20, found)
        self.assertEqual(found[-1], ("a", 20))
        self.assertEqual(self.found["damaged"], 2)

    def test_the_end_of_the_short_log(self) -> None:
        """What it stands for is gone already, so it counts without its end."""
        path = self.shortened()
        seen = scan(path.read_bytes())
        assert seen is not None
        data = path.read_bytes()
        first = min(each.offset for each in seen.records if each.kind is Kind.CUT) - RECORD_HEADER
        end = [each for each in seen.records if each.kind is Kind.DONE][-1]
        # As if the segment before had gone with all that is covered.
        path.write_bytes(
            data[:SEGMENT_HEADER] + data[first : end.offset] + bytes(end.size) + data[end.offset + end.size :]
        )
        found = queued(self.again())
        self.assertEqual(len(found), 20)
        self.assertEqual(self.found["unfollowed"], 0)


class FailingTests(StoreCase):
    def full(self) -> tuple[Memory, BrokerStore]:
        disk = self.in_memory()
        store = self.store(segment_size=1024)
        self.keep(store, opened("a"))
        disk.fails = {"grow"}
        for number in range(1, 100):
            told = store.keep([came("a", number, bytes(100))])
            if store.failing:
                self.assertEqual(self.refused(told), 503)
                self.number = number
                return disk, store
        raise AssertionError("it is never full")

    def test_a_full_disk(self) -> None:
        """The refusal names it; whether the same records are brought again or others, none is lost or doubled."""
        for bring in ("the same", "the same and more", "more", "nothing"):
            disk, store = self.full()
            self.assertIn("No space left", store.failing)
            before = len(queued(self.again()))
            self.assertEqual(before, self.number - 1)
            owed, more = list(store._owed), came("a", 200)
            self.assertEqual(self.refused(store.keep(owed)), 503)
            disk.fails = set()
            self.keep(store, *{"the same": owed, "the same and more": [*owed, more], "more": [more]}.get(bring, []))
            self.assertEqual(store.failing, "")
            self.assertEqual(store.counts["unkept"], 2)
            expected = [*range(1, self.number + 1), *([200] if "more" in bring else [])]
            self.assertEqual([number for _, number in queued(self.again())], expected, bring)

    def test_equal_records_are_not_the_same(self) -> None:
        """Two messages may be equal; that one is brought again is known by the very object."""
        disk, store = self.full()
        (owed,) = store._owed
        disk.fails = set()
        assert isinstance(owed, Came)
        self.keep(store, evolve(owed))
        bodies = [each for each in self.disk.under(MEMORY).values() if each.count(owed.message) == 2]
        self.assertTrue(bodies)

    def test_at_most(self) -> None:
        """Beyond its limit it takes no more, unless what is over can be left out."""
        for lasts in (True, False):
            self.in_memory()
            store = self.store(most=30_000, least=1 << 30)
            self.keep(store, opened("a"))
            told: Deferred[None] = Deferred()
            for number in range(1, 100):
                told = store.keep([came("a", number, bytes(1000)), *([] if lasts else [Finished("a", number)])])
                if store.failing:
                    break
            self.assertEqual(self.refused(told), 502)
            self.assertIn("most", store.failing)
            self.assertEqual(store.counts["shortened"], 1)
            if lasts:
                told = gather([store.keep([came("a", 100 + more, bytes(1000))]) for more in range(20)])
                self.assertEqual(self.refused(told), 502)
            else:
                self.keep(store)
                self.assertEqual(self.again(), [Numbers(number, 1), opened("a"), Exchange("a", 0)])

    def test_a_sync_that_fails(self) -> None:
        """Nothing is said; the next call begins anew from the disk, and what was found there is not written twice."""
        for power in (False, True):
            for bring in (0, 1, 2):
                disk = self.in_memory()
                store = self.store()
                self.keep(store, opened("a"))
                disk.fails = {"sync"}
                lost, more = came("a", 1), came("a", 2)
                self.assertEqual(self.refused(store.keep([lost])), 504)
                self.assertEqual(self.refused(store.keep([lost])), 504)
                disk.fails = set()
                if power:  # the pages were dropped
                    for inode in disk._files.values():
                        inode.data[:] = inode.lasting
                self.keep(store, *[[], [lost], [lost, more]][bring])
                self.assertEqual(store.counts["opened anew"], 1)
                written = b"".join(data for path, data in disk.under(MEMORY).items())
                self.assertEqual(written.count(lost.message), 1 + (bring == 2))
                expected = [("a", 1), ("a", 2)][: 2 if bring == 2 else 1]
                self.assertEqual(queued(self.again()), expected)

    def test_it_fails_again_and_again(self) -> None:
        """What was found on the disk is not written again, however often the rest fails."""
        disk = self.in_memory()
        store = self.store()
        self.keep(store, opened("a"))
        first, second = came("a", 1, b"first"), came("a", 2, b"second")
        disk.fails = {"sync"}
        self.assertEqual(self.refused(store.keep([first])), 504)
        disk.fails = set()
        disk.reading = lambda path: 1 // 0
        self.assertEqual(self.refused(store.keep([first])), 500)
        disk.reading = None
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.keep(store, first, second)
        written = b"".join(disk.under(MEMORY).values())
        self.assertEqual((written.count(b"first"), written.count(b"second")), (1, 1))
        self.assertEqual(queued(self.again()), [("a", 1), ("a", 2)])

    def test_a_lane_that_takes_nothing(self) -> None:
        """Whoever waits is told, as of a disk that fails."""
        store = self.store()
        store._journal._lane = ThreadLane("journal", None, 0)  # type: ignore[arg-type]
        self.assertEqual(self.refused(store.keep([opened("a")])), 504)


class ThreadTests(TestCase):
    async def test_in_threads(self) -> None:
        """The same with the threads of a node, while the log is made short again and again."""
        folder = Path(mkdtemp())
        self.addCleanup(rmtree, folder)
        lanes = ThreadLanes(reactor)
        stores = [
            BrokerStore(
                disk=RealDisk(),
                lane=lanes.open("broker"),
                making=lanes.open("disk", 2),
                work=lanes.open("cpu", 2),
                folder=folder / "broker",
                token=os.urandom,
                now=lambda: 0.0,
                segment_size=1 << 14,
                least=1 << 13,
                piece=1 << 10,
            )
            for _ in range(2)
        ]
        try:
            store = stores[0]
            await store.load()
            await store.keep([opened("a")])
            for number in range(1, 301):
                await gather([store.keep([came("a", number, bytes(200))]), store.keep([retained("r", b"%d" % number)])])
                if number > 20:
                    await store.keep([Finished("a", number - 20)])
            self.assertGreater(store.counts["shortened"], 1)
            await store.close()
            records = await stores[1].load()
            await stores[1].close()
        finally:
            await lanes.stop()
        self.assertEqual(queued(records), [("a", number) for number in range(281, 301)])
        self.assertEqual(records[-1], retained("r", b"300"))
