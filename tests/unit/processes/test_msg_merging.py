"""Values that come attribute by attribute: rows of their parents, each period, beside the rows of their own."""

from __future__ import annotations

from typing import Any

from msg_case import MessagesCase
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.topics import Topic, read_topic
from anylog.processes.msg_merging import UnsStreamer


def topic(more: str = "") -> Topic:
    return read_topic(f"(name = plant/# and dbms = town and dynamic = true{more})", Scope(Dictionary(), {}))


class MergingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.kept: list[tuple[str, str, dict[str, Any]]] = []
        self.why: AnyLogError | None = None

    def keep(self, dbms: str, table: str, rows: Any) -> Deferred[Any]:
        if self.why is not None:
            return fail(self.why)
        self.kept += [(dbms, table, dict(row)) for row in rows]
        return succeed(len(rows))

    def streamer(self, **more: Any) -> UnsStreamer:
        made = UnsStreamer(clock=self.clock, every=3.0, keep=self.keep, **more)  # type: ignore[arg-type]
        made.start()
        return made

    def test_a_row_for_each_parent_and_period(self):
        """The last value of each attribute that came, and the time of the last one; nothing came: no row."""
        streamer, plain = self.streamer(), topic()
        streamer.take(plain, "plant/line1/pump/speed", "town", 7, 1_795_000_000.0)
        streamer.take(plain, "plant/line1/pump/Flow Rate", "town", 1.5, 1_795_000_001.0)
        streamer.take(plain, "plant/line1/pump/speed", "town", 8, 1_795_000_002.0)
        streamer.take(plain, "plant/line1/pump/timestamp", "town", 9, 1_795_000_001.0)
        streamer.take(plain, "plant/line2/valve/open/", "town", True, 1_795_000_000.0)
        streamer.take(plain, "speed", "town", 1, 1_795_000_000.0)  # of nothing
        streamer.take(plain, "/speed", "town", 1, 1_795_000_000.0)
        self.clock.advance(2.9)
        self.assertEqual(self.kept, [])
        self.clock.advance(0.1)
        first = {"timestamp": "2026-11-18T11:06:42Z", "speed": 8, "flow_rate": 1.5, "timestamp_value": 9}
        second = {"timestamp": "2026-11-18T11:06:40Z", "open": True}
        self.assertEqual(self.kept, [("town", "pump", first), ("town", "valve", second)])
        self.clock.advance(3)
        self.assertEqual(len(self.kept), 2)
        streamer.take(plain, "plant/line1/pump/level", "town", None, 1_795_000_009.0)
        self.successResultOf(streamer.stop())
        self.assertEqual(self.kept[2][2], {"timestamp": "2026-11-18T11:06:49Z", "level": None})
        self.assertEqual(streamer.describe(), "Every 3 seconds, Rows: 3")
        self.clock.advance(9)
        self.assertEqual(len(self.kept), 3)

    def test_tables(self):
        """The one that a message of the parent would go to."""
        streamer = self.streamer()
        for more in ("", " and table_prefix = mill", " and table_name_as_topic = true", " and table = all"):
            streamer.take(topic(more), "plant/line1/pump/speed", "town", 1, 1.0)
        self.clock.advance(3)
        self.assertEqual([each[1] for each in self.kept], ["pump", "mill_pump", "plant_line1_pump", "all"])

    def test_what_could_not_be_kept_comes_again(self):
        """With the next period, unless something newer has come meanwhile; it is told once."""
        streamer, plain = self.streamer(), topic()
        self.why = AnyLogError(5, "there is no database 'town'")
        streamer.take(plain, "p/a", "town", 1, 10.0)
        streamer.take(plain, "p/b", "town", 1, 10.0)
        for _ in range(2):
            self.clock.advance(3)
        streamer.take(plain, "p/a", "town", 2, 9.0)
        self.assertIn("Failures: 2 (town.p: ", streamer.describe())
        self.why = None
        self.clock.advance(3)
        self.assertEqual(self.kept, [("town", "p", {"timestamp": "1970-01-01T00:00:10Z", "a": 2, "b": 1})])

    def test_bounded(self):
        """More values than there is room for are counted and left out; those that are held may change."""
        streamer, plain = self.streamer(most=2), topic()
        for number, name in enumerate(("p/a", "p/b", "p/c", "q/a", "p/a")):
            streamer.take(plain, name, "town", number, 1.0)
        streamer.take(plain, f"p/{'x' * 500}", "town", 1, 1.0)
        self.clock.advance(3)
        self.assertEqual([each[2] for each in self.kept], [{"timestamp": "1970-01-01T00:00:01Z", "a": 4, "b": 1}])
        self.assertIn("Values left out: 3", streamer.describe())
        streamer.take(plain, "q/a", "town", 1, 1.0)
        self.clock.advance(3)
        self.assertEqual(len(self.kept), 2)


class DynamicTests(MessagesCase):
    def test_values_of_messages(self):
        """What a message that is no object brings, converted; each keeps its own row. Objects are rows already."""
        self.begin()
        self.broke()
        client = self.client("(name = plant/# and dbms = town and dynamic = true)")
        told: list[tuple[str, str, Any]] = []
        for each in client.topics.values():
            each.merge = lambda topic, name, dbms, value, now: told.append((name, dbms, value))
        device = self.table.client("d")
        bodies = [b"7", b" true ", b'"on"', b"warm", b"null", b'{"v": 1}', b'[{"v": 2}]', b"{", b"1.5"]
        for number, body in enumerate(bodies, 1):
            device.publish("plant/pump/speed", body, 1, number)
        self.broker.turn()
        self.clock.advance(0)
        self.assertEqual(told, [("plant/pump/speed", "town", value) for value in (7, True, "on", "warm", None, 1.5)])
        self.assertEqual(client.counted.success, 8)
