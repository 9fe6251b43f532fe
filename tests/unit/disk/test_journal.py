"""The journal: success after the sync, nothing promised is lost, nothing torn is believed."""

from itertools import count
from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.journal import Journal
from anylog.disk.lanes import ThreadLane
from anylog.disk.records import Kind, pack_rows, scan, unpack_rows
from anylog.errors import AnyLogError
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLane, InlineLane

FOLDER = Path("/journal")


def tokens(seed=1):
    """Epochs that differ at each opening, and are the same at each run."""
    numbers = count(seed)
    return lambda size: next(numbers).to_bytes(size, "big")


class JournalCase(SynchronousTestCase):
    def setUp(self):
        self.disk = MemoryDisk()
        self.token = tokens()

    def journal(self, lane=None, **options):
        journal = Journal(
            disk=self.disk,
            lane=lane or InlineLane(),
            making=InlineLane(),
            folder=FOLDER,
            token=self.token,
            **{"segment_size": 4096} | options,
        )
        self.found = self.successResultOf(Deferred.fromCoroutine(journal.open()))
        return journal

    def close(self, journal):
        self.successResultOf(Deferred.fromCoroutine(journal.close()))

    def bodies(self, journal, kind=Kind.ROWS):
        wanted = [each for each in self.found if each.kind is kind]
        return self.successResultOf(journal.read(wanted))


class KeepingTests(JournalCase):
    def test_records_come_back_in_order(self):
        """What was appended is read back after a start, in order, with its kind and buffer."""
        journal = self.journal()
        buffer = journal.new_buffer()
        self.assertEqual(self.found, [])
        for kind, body in [(Kind.OPEN, b"{}"), (Kind.ROWS, b"one"), (Kind.ROWS, b"two"), (Kind.CUT, b"")]:
            self.successResultOf(journal.append(kind, buffer, body))
        self.close(journal)
        again = self.journal()
        self.assertEqual(
            [(each.kind, each.buffer, each.sequence) for each in self.found],
            [(Kind.OPEN, buffer, 1), (Kind.ROWS, buffer, 2), (Kind.ROWS, buffer, 3), (Kind.CUT, buffer, 4)],
        )
        self.assertEqual(self.bodies(again), [b"one", b"two"])
        self.assertEqual(again.append(Kind.ROWS, buffer, b"").addCallback(lambda s: s.sequence).result, 5)

    def test_yes_comes_after_the_sync(self):
        """Nobody hears yes before the lane has synced; all that waited meanwhile shares the next sync."""
        clock = Clock()
        journal = self.journal()
        journal._lane = ClockLane(clock, 1.0)
        buffer = journal.new_buffer()
        told = [journal.append(Kind.ROWS, buffer, b"first")]
        told += [journal.append(Kind.ROWS, buffer, b"x") for _ in range(10)]
        self.assertEqual([each.called for each in told], [False] * 11)
        clock.advance(1.0)
        self.assertEqual([each.called for each in told], [True] + [False] * 10)
        clock.advance(1.0)
        self.assertTrue(all(each.called for each in told))
        self.assertLessEqual(journal.counts["syncs"], 2)

    def test_segments_go_when_their_buffers_are_done(self):
        """A segment is removed as soon as no buffer needs it, and not before."""
        journal = self.journal()
        first, second = journal.new_buffer(), journal.new_buffer()
        for buffer in (first, second):
            for _ in range(6):
                self.successResultOf(journal.append(Kind.ROWS, buffer, bytes(1000)))
        spare = 1  # the next segment was made already
        self.assertEqual(len(self.disk.names(FOLDER)), 4 + spare)
        journal.release(first)
        self.assertEqual(len(self.disk.names(FOLDER)), 2 + spare)
        journal.release(second)
        self.close(journal)
        self.assertEqual(self.disk.names(FOLDER), [])

    def test_what_is_done_stays_done(self):
        """The record that says so lasts as long as a segment with records of that buffer, which another one keeps."""
        journal = self.journal()
        slow, quick, other = (journal.new_buffer() for _ in range(3))

        def write(buffer, count):
            for _ in range(count):
                self.successResultOf(journal.append(Kind.ROWS, buffer, bytes(1000)))

        write(slow, 1)
        write(quick, 2)
        write(other, 2)
        done = {}
        for buffer in (quick, other):
            done[buffer] = self.successResultOf(journal.append(Kind.DONE, buffer)).segment
            write(other, 2)
        self.assertEqual(done[quick], 2)
        journal.release(quick, done[quick])
        journal.release(other, done[other])
        self.close(journal)
        for _ in range(2):
            again = self.journal()
            self.assertIn((quick, Kind.ROWS), [(each.buffer, each.kind) for each in self.found])
            self.assertIn((quick, Kind.DONE), [(each.buffer, each.kind) for each in self.found])
            for buffer in (quick, other):
                again.release(buffer, done[buffer])
            self.close(again)
        last = self.journal()
        for buffer in (quick, slow, other):
            last.release(buffer, done.get(buffer))
        self.close(last)
        self.assertEqual(self.disk.names(FOLDER), [])

    def test_a_lane_that_takes_nothing(self):
        """Whoever waits is told, as of a disk that fails: nobody is left without an answer."""
        journal = self.journal()
        self.successResultOf(journal.append(Kind.ROWS, journal.new_buffer(), b"kept"))
        journal._lane = ThreadLane("journal", None, 0)
        error = self.failureResultOf(journal.append(Kind.ROWS, journal.new_buffer(), b"x"), AnyLogError).value
        self.assertEqual((error.number, error.http), (504, 503))

    def test_what_is_found_lasts(self):
        """A record whose sync failed, or never came, may be seen after a start: then it survives a power cut, too."""
        for seed in range(20):
            self.disk = MemoryDisk()
            journal = self.journal()
            buffer = journal.new_buffer()
            self.successResultOf(journal.append(Kind.ROWS, buffer, b"kept"))
            self.disk.fails = {"sync"}
            self.failureResultOf(journal.append(Kind.ROWS, buffer, b"refused"), AnyLogError)
            self.disk.fails = set()
            self.assertEqual(self.bodies(self.journal()), [b"kept", b"refused"])
            self.disk = self.disk.crash(Random(seed))
            again = self.journal()
            self.assertEqual((self.bodies(again), again.counts["damaged"]), ([b"kept", b"refused"], 0), f"seed {seed}")

    def test_a_record_larger_than_a_segment(self):
        """A large body gets a segment of its own size."""
        journal = self.journal()
        buffer = journal.new_buffer()
        self.successResultOf(journal.append(Kind.ROWS, buffer, b"y" * 50_000))
        self.close(journal)
        self.assertEqual(self.bodies(self.journal()), [b"y" * 50_000])

    def test_a_large_record_after_the_next_segment_was_made(self):
        """A segment that was made ahead and is too small for the next record gives way; nothing is lost or doubled."""
        journal = self.journal()
        buffer = journal.new_buffer()
        bodies = [b"a" * 3000, b"b" * 20_000, b"c" * 3000, b"d" * 3000]
        for body in bodies:
            self.successResultOf(journal.append(Kind.ROWS, buffer, body))
        self.close(journal)
        self.assertEqual(self.bodies(self.journal()), bodies)

    def test_buffer_ids_never_return(self):
        """Each opening has an epoch of its own, so a lost tail cannot bring an id back."""
        ids = set()
        for _ in range(3):
            journal = self.journal()
            ids |= {str(journal.new_buffer()) for _ in range(3)}
            self.close(journal)
        self.assertEqual(len(ids), 9)

    def test_rows_carry_their_description(self):
        """The description and the readings of a record come apart again."""
        for meta, body in [(b"", b"[]"), (b'{"key":"a"}', b'{"v":1}'), (b"m" * 70_000, b"")]:
            self.assertEqual(unpack_rows(pack_rows(meta, body)), (meta, body))


class FaultTests(JournalCase):
    def test_a_failed_sync_is_final(self):
        """After a failed sync nothing is promised any more, however healthy the disk looks later."""
        journal = self.journal()
        buffer = journal.new_buffer()
        self.successResultOf(journal.append(Kind.ROWS, buffer, b"kept"))
        self.disk.fails.add("sync")
        refused = [journal.append(Kind.ROWS, buffer, b"lost")]
        self.disk.fails.clear()
        refused.append(journal.append(Kind.ROWS, buffer, b"late"))
        for each in refused:
            self.assertEqual(self.failureResultOf(each, AnyLogError).value.number, 504)
        self.assertIn("sync failed", journal.broken)

    def test_a_full_disk_is_not(self):
        """No room for a new segment is a refusal that ends when there is room."""
        journal = self.journal()
        buffer = journal.new_buffer()
        self.disk.capacity = 100
        self.assertEqual(self.failureResultOf(journal.append(Kind.ROWS, buffer, b"x"), AnyLogError).value.number, 503)
        self.disk.capacity = 1 << 20
        self.successResultOf(journal.append(Kind.ROWS, buffer, b"x"))

    def test_a_fault_of_ours_leaves_nobody_waiting(self):
        """Whatever goes wrong while writing, those who wait hear of it, and nothing more is promised."""
        journal = self.journal()
        buffer = journal.new_buffer()
        self.successResultOf(journal.append(Kind.ROWS, buffer, b"kept"))
        journal.point = lambda name: 1 // 0
        for body in (b"lost", b"late"):
            refused = self.failureResultOf(journal.append(Kind.ROWS, buffer, body), AnyLogError).value
            self.assertEqual(refused.number, 504)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("division", journal.broken)

    def test_what_is_not_ours_in_the_folder(self):
        """Other files there are left alone, and no number among them is counted on."""
        strange = ["zzz.journal", ".journal", "-1.journal", "f" * 16 + ".journal", "0" * 17 + ".journal", "notes.txt"]
        for name in strange:
            self.disk.publish(FOLDER / name, b"not a segment")
        journal = self.journal()
        self.successResultOf(journal.append(Kind.ROWS, journal.new_buffer(), b"kept"))
        self.close(journal)
        self.assertEqual(self.bodies(self.journal()), [b"kept"])
        self.assertLessEqual(set(strange), set(self.disk.names(FOLDER)))

    def test_the_limit(self):
        """At its limit the journal takes no readings, but still lets buffers end."""
        journal = self.journal(most=8192)
        buffer = journal.new_buffer()
        for _ in range(3):
            self.successResultOf(journal.append(Kind.ROWS, buffer, bytes(1500)))
        self.assertEqual(self.failureResultOf(journal.append(Kind.ROWS, buffer, b"x"), AnyLogError).value.number, 502)
        self.successResultOf(journal.append(Kind.CUT, buffer))

    def test_a_torn_tail_is_cut_off_everywhere(self):
        """Wherever the last write was torn, what was answered comes back and the rest is whole or gone."""
        journal = self.journal()
        buffer = journal.new_buffer()
        for body in (b"a" * 40, b"b" * 40):
            self.successResultOf(journal.append(Kind.ROWS, buffer, body))
        name = self.disk.names(FOLDER)[0]
        data = self.disk.read(FOLDER / name)
        whole = scan(data)
        begins = whole.records[-1].offset - 40
        for cut in range(begins, whole.end):
            torn = scan(data[:cut] + bytes(len(data) - cut))
            self.assertEqual((len(torn.records), torn.damage), (1, ""), f"cut at {cut}")

    def test_damage_is_told_from_a_torn_tail(self):
        """A bad record that was answered is damage: reported, kept aside, and what is behind it is still used."""
        journal = self.journal()
        buffer = journal.new_buffer()
        stored = [self.successResultOf(journal.append(Kind.ROWS, buffer, body)) for body in (b"aaaa", b"bbbb", b"cccc")]
        self.close(journal)
        path = FOLDER / self.disk.names(FOLDER)[0]
        self.disk.damage(path, stored[1].offset, b"B")
        again = self.journal()
        self.assertEqual(self.bodies(again), [b"aaaa", b"cccc"])
        self.assertEqual(again.counts["damaged"], 1)
        self.assertEqual([name.partition(".")[2] for name in self.disk.names(FOLDER)], ["damaged", "journal"])

    def test_damage_at_the_end_of_an_older_segment(self):
        """The next segment remembers what was safe before it, so a missing end is noticed."""
        journal = self.journal()
        buffer = journal.new_buffer()
        stored = [self.successResultOf(journal.append(Kind.ROWS, buffer, bytes(1800))) for _ in range(3)]
        self.close(journal)
        self.disk.damage(FOLDER / self.disk.names(FOLDER)[0], stored[1].offset, b"B")
        again = self.journal()
        self.assertEqual([each.sequence for each in self.found], [1, 3])
        self.assertEqual(again.counts["damaged"], 1)

    def test_power_cuts(self):
        """Over many power cuts at any moment, each answered record is found once and none comes twice."""
        for seed in range(200):
            chance = Random(seed)
            self.disk, self.token = MemoryDisk(), tokens(seed * 100)
            promised: dict[bytes, None] = {}
            for _ in range(3):
                clock = Clock()
                journal = self.journal()
                bodies = self.bodies(journal)
                self.assertEqual(len(bodies), len(set(bodies)), f"seed {seed}")
                self.assertEqual([body for body in promised if body not in bodies], [], f"seed {seed}")
                journal._lane = ClockLane(clock, 0.01)
                buffer = journal.new_buffer()
                for number in range(chance.randint(1, 30)):
                    body = b"%d:%d:" % (seed, len(promised)) + bytes([65 + number]) * chance.randint(0, 900)
                    told = journal.append(Kind.ROWS, buffer, body)
                    told.addCallbacks(lambda _, body, kept: kept.update({body: None}), lambda _: None, (body, promised))
                    if chance.random() < 0.5:
                        clock.advance(0.01)
                self.disk = self.disk.crash(chance)
