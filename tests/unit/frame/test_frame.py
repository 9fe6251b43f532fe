"""The frame of the house: waiting, tanks, counters, processes and their rhythm."""

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.process import DOORS, WORKERS, Process, Processes, Rhythm
from anylog.tank import Tank
from anylog.waiting import deadline, gather, pause


class WaitingTests(SynchronousTestCase):
    def test_deadline(self):
        """In time: the result. Too late: error 26 that says what was waited for, and the wait is cancelled."""
        clock = Clock()
        waited = Deferred()
        told = deadline(clock, 5, waited, "loading")
        waited.callback("fine")
        self.assertEqual((self.successResultOf(told), clock.getDelayedCalls()), ("fine", []))
        cancelled = []
        told = deadline(clock, 5, Deferred(cancelled.append), "loading")
        clock.advance(5)
        error = self.failureResultOf(told, AnyLogError).value
        self.assertEqual((error.number, str(error), len(cancelled)), (26, "loading: no result after 5 seconds", 1))

    def test_deadline_leaves_other_failures_alone(self):
        """What failed by itself keeps its reason, and so does a cancel from outside."""
        self.failureResultOf(deadline(Clock(), 5, fail(OSError("no")), "x"), OSError)
        told = deadline(Clock(), 5, Deferred(), "x")
        told.cancel()
        self.failureResultOf(told, CancelledError)
        self.assertEqual(self.successResultOf(deadline(Clock(), 0, succeed(1), "x")), 1)

    def test_gather(self):
        """All results in order; the first failure, but only when all have ended."""
        late = Deferred()
        told = Deferred.fromCoroutine(gather([succeed(1), late, succeed(3)]))
        self.assertNoResult(told)
        late.callback(2)
        self.assertEqual(self.successResultOf(told), [1, 2, 3])
        late = Deferred()
        told = Deferred.fromCoroutine(gather([fail(KeyError("a")), late]))
        self.assertNoResult(told)
        late.callback(None)
        self.failureResultOf(told, KeyError)

    def test_pause(self):
        """Fires after its time, and leaves no call behind when it is cancelled."""
        clock = Clock()
        told = pause(clock, 3)
        clock.advance(3)
        self.assertIsNone(self.successResultOf(told))
        told = pause(clock, 3)
        told.cancel()
        self.failureResultOf(told, CancelledError)
        self.assertEqual(clock.getDelayedCalls(), [])


class TankTests(SynchronousTestCase):
    def test_two_marks(self):
        """Full at the high mark, open again at the low one; each is told once."""
        tank, told = Tank(low=3, high=10), []
        tank.watch(told.append)
        for put in (4, 5):
            tank.put(put)
        self.successResultOf(tank.room())
        tank.put(1)
        waiting = tank.room()
        tank.put(5)
        tank.take(8)
        self.assertNoResult(waiting)
        tank.take(4)
        self.assertIsNone(self.successResultOf(waiting))
        self.assertEqual((told, tank.held, tank.full), ([True, False], 3, False))

    def test_who_gives_up_is_forgotten(self):
        """A wait that is cancelled is not fired later."""
        tank = Tank(low=0, high=1)
        tank.put(1)
        waiting = tank.room()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        tank.take(1)

    def test_told_one_gives_up_another(self):
        """Who is told may cancel others that waited: they hear of that, and all others go on."""
        tank = Tank(low=0, high=1)
        tank.put(1)
        waiting = [tank.room() for _ in range(3)]
        waiting[0].addCallback(lambda _: waiting[1].cancel())
        tank.take(1)
        self.failureResultOf(waiting[1], CancelledError)
        self.assertEqual([self.successResultOf(waiting[place]) for place in (0, 2)], [None, None])


class CountsTests(SynchronousTestCase):
    def test_counts(self):
        """Numbers by name, and the last event of each."""
        counts = Counts()
        counts.add("rows", 3)
        counts.add("rows")
        counts.add("lost", 1, "a file")
        self.assertEqual((counts["rows"], counts["none"], counts.last("lost")), (4, 0, "a file"))
        self.assertEqual(list(counts), [("lost", 1), ("rows", 4)])


class Noted(Process):
    """Notes what is asked of it."""

    def __init__(self, name, floor, noted, ended=None):
        self.name, self.floor, self.noted, self.ended = name, floor, noted, ended

    def start(self):
        self.noted.append(f"+{self.name}")

    def stop(self):
        self.noted.append(f"-{self.name}")
        return self.ended


class ProcessTests(SynchronousTestCase):
    def run_(self, coroutine):
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_start_and_exit(self):
        """One of a name at a time; ending what does not run is no error."""
        processes, noted = Processes(Clock()), []
        self.run_(processes.start(Noted("a", WORKERS, noted)))
        error = self.failureResultOf(Deferred.fromCoroutine(processes.start(Noted("a", WORKERS, noted)))).value
        self.assertEqual(error.number, 136)
        self.assertEqual([self.run_(processes.exit("a")), self.run_(processes.exit("a"))], [True, False])
        self.assertEqual(noted, ["+a", "-a"])

    def test_stopped_by_floors(self):
        """Doors first, whatever the order of starting; one that hangs is left behind after its time."""
        clock, noted = Clock(), []
        processes = Processes(clock)
        self.run_(processes.start(Noted("worker", WORKERS, noted)))
        self.run_(processes.start(Noted("door", DOORS, noted, Deferred())))
        stopped = Deferred.fromCoroutine(processes.stop(seconds=5))
        self.assertEqual(noted[2:], ["-door"])
        clock.advance(5)
        self.successResultOf(stopped)
        self.assertEqual((noted[2:], processes.running()), (["-door", "-worker"], []))

    def test_none_starts_while_all_stop(self):
        """What was starting meanwhile is stopped once it has started, and nothing new begins."""
        processes, noted, started = Processes(Clock()), [], Deferred()
        slow, late = Noted("slow", WORKERS, noted), Noted("late", DOORS, noted)
        slow.start = lambda: started
        starting = Deferred.fromCoroutine(processes.start(slow))
        self.run_(processes.stop())
        refused = self.failureResultOf(Deferred.fromCoroutine(processes.start(late))).value
        started.callback(None)
        stopped = self.failureResultOf(starting).value
        self.assertEqual((refused.number, stopped.number), (506, 506))
        self.assertEqual((noted, processes.running()), (["-slow"], []))

    def test_one_bad_beat_does_not_end_the_music(self):
        """A beat that fails is logged; the next one comes."""
        clock, played = Clock(), []

        def flush():
            played.append(clock.seconds())
            if len(played) == 2:
                raise OSError("disk full")

        rhythm = Rhythm(clock=clock, every=10, do=flush, name="flush")
        rhythm.start()
        clock.pump([10, 10, 10])
        self.assertEqual((played, len(self.flushLoggedErrors(OSError))), ([10, 20, 30], 1))
        self.successResultOf(rhythm.stop())
        clock.advance(100)
        self.assertEqual(len(played), 3)

    def test_a_slow_beat_is_waited_for(self):
        """Beats do not overlap, and the end waits for the one at hand."""
        clock, beats = Clock(), []
        rhythm = Rhythm(clock=clock, every=1, do=lambda: beats.append(Deferred()) or beats[-1], name="slow")
        rhythm.start()
        clock.pump([1, 1, 1])
        self.assertEqual(len(beats), 1)
        ended = rhythm.stop()
        self.assertNoResult(ended)
        beats[0].callback(None)
        self.successResultOf(ended)
