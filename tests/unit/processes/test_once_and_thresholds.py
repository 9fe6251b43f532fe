"""Repeats are answered like the first; buffers are due by the limits that were set."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from anylog.errors import AnyLogError
from anylog.interfaces import Receipt
from anylog.processes.once import Once
from anylog.processes.thresholds import Threshold, Thresholds


class OnceTests(SynchronousTestCase):
    def test_repeats(self):
        """The first is new; a second one in flight and a third one later hear the same, marked as repeats."""
        once = Once()
        self.assertIsNone(once.begin("k", 0))
        second = once.begin("k", 0)
        self.assertNoResult(second)
        once.end("k", 0, Receipt("h", 3))
        for told in (second, once.begin("k", 10)):
            self.assertEqual(self.successResultOf(told), Receipt("h", 3, repeated=True))

    def test_a_failure_is_not_remembered(self):
        """Whoever waited with the first hears its failure; the next one is the first again."""
        once = Once()
        once.begin("k", 0)
        second = once.begin("k", 0)
        once.fail("k", AnyLogError(503))
        self.failureResultOf(second, AnyLogError)
        self.assertIsNone(once.begin("k", 0))

    def test_a_database_that_is_another_now(self):
        """What was known of it is new, but for what is still known; other databases keep theirs."""
        once = Once()
        for known in (("d", "t", "k"), ("d", "h"), ("d", "t", "kept"), ("e", "t", "k")):
            once.remember(known, 0, Receipt("h", 1))
        self.assertEqual(once.of("d"), [("d", "t", "k"), ("d", "h"), ("d", "t", "kept")])
        once.forget("d", {("d", "t", "kept")})
        self.assertEqual((once.of("d"), once.of("e")), ([("d", "t", "kept")], [("e", "t", "k")]))

    def test_bounded(self):
        """A key lasts its time; beyond the limit the oldest go, and are counted."""
        once = Once(most=2, lasting=100)
        for number in range(3):
            once.begin(number, number)
            once.end(number, number, Receipt("0", 1))
        self.assertEqual(once.counts["keys dropped early"], 1)
        self.assertIsInstance(once.begin(2, 50), Deferred)
        self.assertIsNone(once.begin(2, 102))


class ThresholdTests(SynchronousTestCase):
    def test_look_up(self):
        """A table's own limits win over its database's, and these over the node's; what is not given is the default."""
        limits = Thresholds()
        self.assertEqual(limits.of("d", "t"), Threshold(60.0, 10240, True))
        limits.set(time=5.0)
        limits.set("d", volume=100)
        limits.set("d", "t", write_immediate=False)
        for dbms, table, expected in [
            ("x", "t", Threshold(5.0, 10240, True)),
            ("d", "other", Threshold(60.0, 100, True)),
            ("d", "t", Threshold(60.0, 10240, False)),
        ]:
            self.assertEqual(limits.of(dbms, table), expected, (dbms, table))
        limits.set("d", "t", time=0, volume=0)
        self.assertEqual(limits.of("d", "t"), Threshold(60.0, 100, True))

    def test_refusals(self):
        """A table without its database, and nothing to set."""
        for arguments, options in [(("", "t"), {"time": 1.0}), (("d", "t"), {})]:
            with self.assertRaises(AnyLogError) as caught:
                Thresholds().set(*arguments, **options)
            self.assertEqual(caught.exception.number, 2)
