"""Long messages are mapped in parts: others are served meanwhile, and nothing of what is promised changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msg_case import PLAIN, MessagesCase

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.parts import ROWS, at_once
from anylog.mapping.policies import compile_policy
from anylog.mapping.topics import Topic, read_topic
from anylog.processes.msg_large import LONG
from anylog.processes.msg_topics import Subscribed
from anylog.wire.mqtt_packets import Puback

MANY = 20_000
NESTED = (
    "(name = nested/# and dbms = town and table = t and column.v.int = 'bring [readings][][v]'"
    " and column.at = (type = timestamp and value = 'bring [at]' and optional = true))"
)
POLICY = {
    "mapping": {"id": "p", "dbms": "town", "table": "t", "readings": "readings", "schema": {"v": {"type": "int"}}}
}


def entries(numbers: Sequence[int]) -> list[dict[str, Any]]:
    return [{"v": number} for number in numbers]


def long_list(first: int = 0) -> bytes:
    return json.dumps(entries(range(first, first + MANY))).encode()


class LongTests(MessagesCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()
        self.broke()

    def turns(self, number: int = 1) -> None:
        """As the reactor does it: what becomes due in a turn has the next one."""
        for _ in range(number):
            due = [call for call in self.clock.calls if call.getTime() <= self.clock.seconds()]
            for call in due:
                if call.active():
                    self.clock.calls.remove(call)
                    call.called = 1
                    call.func(*call.args, **call.kw)

    def test_others_are_served_meanwhile(self):
        """A short message of another topic is kept and answered while a long one is mapped; that follows whole."""
        client = self.client()
        device = self.table.client("d")
        device.publish("plant/long", long_list(), 1, 1)
        device.publish("plant/short", b'{"v": -1}', 1, 2)
        self.broker.turn()
        self.turns(3)
        self.assertEqual(self.values(), [-1])
        device.publish("plant/other", b'{"v": -2}', 1, 3)
        self.broker.turn()
        self.turns(3)
        self.assertEqual(self.values(), [-1, -2], "nothing of a message is there before all of it is mapped")
        # To this session's client answers come in the order of its messages.
        self.assertEqual(device.got(Puback), [])
        self.turns(MANY // ROWS + 3)
        self.assertEqual(self.values(), [-1, -2, *range(MANY)])
        self.assertEqual([each.packet_id for each in device.got(Puback)], [1, 2, 3])
        self.assertEqual((client.counted.messages, client.counted.success, client.counted.errors), (3, 3, 0))

    def test_the_order_of_a_topic(self):
        """What comes behind a long message of its topic waits for it, whenever it comes."""
        self.client()
        device = self.table.client("d")
        device.publish("plant/a", b'{"v": -1}', 1, 1)
        device.publish("plant/a", long_list(), 1, 2)
        device.publish("plant/a", b'{"v": -2}', 1, 3)
        self.broker.turn()
        self.turns(2)
        device.publish("plant/a", b'{"v": -3}', 1, 4)
        device.publish("plant/a", long_list(MANY), 1, 5)
        device.publish("plant/a", b'{"v": -4}', 1, 6)
        self.broker.turn()
        self.turns(2)
        self.assertEqual(self.values(), [-1])
        self.turns(2 * MANY // ROWS + 20)
        self.assertEqual(self.values(), [-1, *range(MANY), -2, -3, *range(MANY, 2 * MANY), -4])
        self.assertEqual([each.packet_id for each in device.got(Puback)], [1, 2, 3, 4, 5, 6])
        device.publish("plant/a", b'{"v": -5}', 1, 7)
        self.broker.turn()
        self.turns()
        self.assertEqual(self.values()[-1], -5, "the line is over")

    def test_one_at_a_time(self):
        """Of long messages of several topics the second is read when the first is mapped."""
        self.client()
        device = self.table.client("d")
        device.publish("plant/a", long_list(), 1, 1)
        device.publish("plant/b", long_list(MANY), 1, 2)
        self.broker.turn()
        self.turns(MANY // ROWS + 3)
        self.assertEqual(self.values(), list(range(MANY)))
        self.turns(MANY // ROWS + 3)
        self.assertEqual(self.values(), list(range(2 * MANY)))

    def test_whole_or_not_at_all(self):
        """One wrong entry, and nothing of it is kept; it is acknowledged and told, and what is behind it is kept."""
        client = self.client(log_error=True)
        device = self.table.client("d")
        wrong = json.dumps([*entries(range(MANY)), {"v": "much"}]).encode()
        for number, body in enumerate((wrong, b"[" + b" " * LONG, b'{"v": 7}'), 1):
            device.publish("plant/a", body, 1, number)
        self.broker.turn()
        self.turns(MANY // ROWS + 5)
        self.assertEqual(self.values(), [7])
        self.assertEqual([each.packet_id for each in device.got(Puback)], [1, 2, 3])
        self.assertEqual((client.counted.messages, client.counted.success, client.counted.errors), (3, 1, 2))
        self.assertEqual(len(self.errors()), 2, self.errors())
        self.assertIn("much", self.errors()[0])

    def test_a_fault_of_the_reading_is_not_the_messages(self):
        """Where a message cannot be read because the node ends, it is not acknowledged."""

        class Gone:
            def run(self, work: Any, *args: Any) -> Any:
                raise AnyLogError(506, "it ends")

        client = self.client()
        self.clients.door.lane = Gone()
        device = self.table.client("d", 5)
        long = json.dumps([{"v": number, "text": "x" * 20} for number in range(MANY)]).encode()
        device.publish("plant/a", long, 1, 1)
        (given,) = self.broker.turn()
        self.turns(3)
        self.failureResultOf(given, AnyLogError)
        self.assertEqual((self.values(), device.got(Puback), client.counted.errors), ([], [], 0))

    def test_by_post(self):
        """Many messages of one body are mapped and put together in parts; the yes follows when all are kept."""
        self.client(broker="rest", user_agent="anylog")
        answer = self.clients.posted("anylog", "plant/a", long_list(), "")
        self.turns(MANY // ROWS + 5)
        self.assertNoResult(answer)
        self.assertEqual(self.values(), [])
        self.turns(MANY // ROWS + 5)
        self.assertEqual(self.successResultOf(answer), MANY)
        self.assertEqual(self.values(), list(range(MANY)))


def test_no_part_is_long() -> None:
    """Lists of messages, lists within a message, readings of a policy, attributes of a transform."""
    scope = Scope(Dictionary(), {})
    nested = {"at": "2026-11-20T10:00:00Z", "readings": entries(range(MANY))}
    policy = compile_policy(POLICY, scope)
    wide = compile_policy(
        {"transform": {"id": "w", "dbms": "town", "re_match": "(.)_.*", "table": "t", "column": "re.group(1)"}}, scope
    )
    both = Topic("x", policies=("p",))
    for subscribed, message, rows in (
        (Subscribed(read_topic(PLAIN, scope), 0), entries(range(MANY)), MANY),
        (
            Subscribed(read_topic(PLAIN.replace("table = t", "table = 'bring [t]'"), scope), 0),
            [{"v": 1, "t": "t"}] * MANY,
            MANY,
        ),
        (Subscribed(both, 0, [policy]), nested, MANY),
        (Subscribed(both, 0, [policy]), [{"readings": entries([1, 2])}] * MANY, 2 * MANY),
        (Subscribed(both, 0, [wide]), [{"a_1": 1}] * MANY, MANY),
    ):
        parts = subscribed.parts("x", message, 0.0)
        sizes: list[int] = []
        try:
            while True:
                sizes.append(next(parts))
        except StopIteration as end:
            found = end.value
        assert max(sizes) <= ROWS, (rows, max(sizes))
        assert sum(sizes) >= MANY, (rows, sum(sizes))
        assert sum(len(each.rows) for each in found) == rows
        assert found == at_once(subscribed.parts("x", message, 0.0))
    # A path through a list is followed in one go; what is made of its values is not.
    sizes = list(Subscribed(read_topic(NESTED, scope), 0).parts("x", nested, 0.0))
    assert len(sizes) == 2 * MANY // ROWS + 1
    flat = list(wide.parts({f"{number}_": number for number in range(5 * ROWS)}, 0.0))
    assert len(flat) == 6
    assert max(flat) <= ROWS
