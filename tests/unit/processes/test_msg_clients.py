"""What message clients promise: a yes when the rows are safe, each once, and a wrong message blocks nobody."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from msg_case import PLAIN, MessagesCase
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from anylog.errors import AnyLogError
from anylog.interfaces import Outside
from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.policies import compile_policy
from anylog.mapping.topics import Topic
from anylog.processes import msg_client
from anylog.processes.msg_client import SLICE
from anylog.processes.msg_repeats import repeat_of
from anylog.testing.lanes import ClockLane
from anylog.wire.mqtt_packets import Puback, Pubcomp, Publish, Pubrec, Pubrel, Reason
from anylog.wire.mqtt_session import Ticket


def payload(value: Any, **more: Any) -> bytes:
    return json.dumps({"v": value, **more}).encode()


class LocalTests(MessagesCase):
    def test_a_yes_follows_the_sync(self):
        """PUBACK is written after the rows lie on the disk, and not before."""
        self.begin()
        self.broke()
        self.client()
        device = self.table.lasting("d")
        self.intake.journal._lane = ClockLane(self.clock, 0.5)
        device.publish("plant/a", payload(1), 1, 5)
        self.broker.turn()
        self.assertEqual(device.got(Puback), [])
        self.clock.pump([0.3] * 10)
        self.assertEqual([each.packet_id for each in device.got(Puback)], [5])
        self.assertEqual(self.values(), [1])

    def test_log(self):
        """The log of messages has a line for each topic in a row, and one for each message that is not understood."""
        self.begin()
        self.broke()
        client = self.client()
        device = self.table.client("d")
        self.clock.advance(0)
        for number, text in enumerate((payload(1), b"no JSON", payload(2), payload(3)), 1):
            device.publish("plant/a", text, 1, number)
            self.broker.turn()
            self.clock.advance(0)
        rows = client._door.logs.msg.rows()
        self.assertEqual([(row["Count"], row["Type"]) for row in rows], [(1, "Message"), (1, "Error"), (2, "Message")])
        self.assertEqual((rows[0]["Text"], rows[0]["Thread"]), ("(OK) topic 'plant/a'", client.name))
        self.assertIn("a message of topic 'plant/a'", rows[1]["Text"])

    def test_one_record_for_a_batch(self):
        """Messages of one turn become one record of the journal, in their order."""
        self.begin()
        self.broke()
        client = self.client()
        device = self.table.client("d")
        self.clock.advance(0)
        for number in range(100):
            device.publish("plant/a", payload(number), 1, number + 1)
        self.broker.turn()
        self.clock.advance(0)
        self.assertEqual(self.values(), list(range(100)))
        self.assertEqual(len(device.got(Puback)), 100)
        self.assertEqual((client.counted.messages, client.counted.success, client.counted.errors), (100, 100, 0))
        traffic = self.intake.traffic[("town", "t")]
        self.assertEqual((traffic.calls, traffic.rows), (1, 100))

    def test_wrong_messages_block_nobody(self):
        """What cannot be mapped is acknowledged, counted and told; what is around it is kept."""
        self.begin()
        self.broke()
        client = self.client(log_error=True)
        device = self.table.client("d", 5)
        wrong = [b"{", b"", b"\xff", b"7", payload("much"), b"{}", b"[" * 3000, b'{"v": 99999999999999999999999}']
        for number, body in enumerate([payload(1), *wrong, payload(2)], 1):
            device.publish("plant/a", body, 1, number)
        self.broker.turn()
        self.clock.advance(0)
        answers = device.got(Puback)
        self.assertEqual([each.packet_id for each in answers], list(range(1, 11)))
        self.assertEqual({each.reason for each in answers}, {Reason.SUCCESS})
        self.assertEqual(self.values(), [1, 2])
        self.assertEqual((client.counted.messages, client.counted.success, client.counted.errors), (10, 2, 8))
        self.assertEqual(len(self.errors()), 8, self.errors())
        self.assertTrue(all("plant/a" in each for each in self.errors()))
        ((path, kept),) = self.disk.under(Path("/err_dir")).items()
        self.assertTrue(path.startswith("/err_dir/err_local_plant_a"), path)
        self.assertEqual(len(kept.splitlines()), 8)

    def test_many_at_once(self):
        """Messages that are mapped together, and those among which one or a whole slice is wrong: each counts once."""
        self.begin()
        self.broke()
        rule = "(name = {} and dbms = town and table = {} and column.v.int = 'bring [v]')"
        client = self.client(rule.format("plant/#", "t"), rule.format("hall/#", "h"))
        device = self.table.client("d", 5)
        bodies = [("plant/a", payload(number)) for number in range(SLICE + 200)]
        bodies[7] = ("plant/b", b'{"v": [1')
        bodies[8] = ("plant/b", b'2]},{"v": 3}')
        bodies[SLICE + 100] = ("hall/a", payload(77))
        for number, (topic, body) in enumerate(bodies, 1):
            device.publish(topic, body, 1, number)
        self.broker.turn()
        self.clock.advance(0)
        self.assertEqual([each.packet_id for each in device.got(Puback)], list(range(1, len(bodies) + 1)))
        self.assertEqual(self.values(), [each for each in range(SLICE + 200) if each not in (7, 8, SLICE + 100)])
        self.assertEqual(self.values("h"), [77])
        counted, (plant, hall) = client.counted, (each.counted for each in client.topics.values())
        self.assertEqual((counted.messages, counted.success, counted.errors), (SLICE + 200, SLICE + 198, 2))
        self.assertEqual((plant.messages, plant.success, plant.errors), (SLICE + 199, SLICE + 197, 2))
        self.assertEqual((hall.messages, hall.success, hall.errors), (1, 1, 0))
        self.assertEqual(len(self.errors()), 2, self.errors())

    def test_several_topics_at_once(self):
        """Messages of several topics, in turns, some of which nobody maps: each goes its way, and all are counted."""
        self.begin()
        self.broke()
        rule = "(name = {} and dbms = town and table = {} and column.v.int = 'bring [v]')"
        client = self.client(*(rule.format(*each) for each in [("plant/#", "t"), ("hall/#", "h"), ("yard/#", "t")]))
        device = self.table.client("d", 5)
        names = ["plant/a", "hall/a", "yard/a", "plant/b", "nowhere"]
        for number in range(100):
            body = b"{" if number == 51 else payload(number)  # of hall/a
            device.publish(names[number % 5], body, 1, number + 1)
        self.broker.turn()
        self.clock.advance(0)
        self.assertEqual([each.packet_id for each in device.got(Puback)], list(range(1, 101)))
        self.assertEqual(sorted(self.values()), [each for each in range(100) if each % 5 in (0, 2, 3)])
        self.assertEqual(self.values("h"), [each for each in range(100) if each % 5 == 1 and each != 51])
        self.assertEqual((client.counted.success, client.counted.errors), (79, 1))
        counts = [(each.counted.messages, each.counted.success) for each in client.topics.values()]
        self.assertEqual(counts, [(40, 40), (20, 19), (20, 20)])

    def test_the_most_specific_topic(self):
        """Of several topics of one client that match, the most specific one maps a message, once."""
        self.begin()
        self.broke()
        rule = "(name = '{}' and dbms = town and table = {} and column.v.int = 'bring [v]')"
        filters = {"#": "all", "plant/#": "below", "plant/+/speed": "plus", "plant/a/speed": "exact"}
        self.client(*(rule.format(filter, table) for filter, table in filters.items()))
        device = self.table.client("d")
        for number, topic in enumerate(["plant/a/speed", "plant/b/speed", "plant/b", "other"]):
            device.publish(topic, payload(number), 1, number + 1)
        self.broker.turn()
        self.clock.advance(0)
        found = {table: self.values(table) for table in filters.values()}
        self.assertEqual(found, {"exact": [0], "plus": [1], "below": [2], "all": [3]})

    def test_long_topics_are_not_remembered(self):
        """Ten thousand names of 65,535 bytes would be more than a node has."""
        self.begin()
        self.broke()
        client = self.client()
        for length in (10, 60_000):
            self.assertIsNotNone(client.route("plant/" + "x" * length))
        self.assertEqual(list(client._routes), ["plant/" + "x" * 10])

    def test_a_database_that_is_not_there(self):
        """It is no success: a client of 5.0 is told, one of 3.1.1 is closed and sends it again."""
        self.begin(connect=False)
        self.broke()
        client = self.client()
        new, old = self.table.client("new", 5), self.table.client("old", 4)
        new.publish("plant/a", payload(1), 1, 1)
        old.publish("plant/a", payload(2), 1, 1)
        self.broker.turn()
        (answer,) = new.got(Puback)
        self.assertEqual(answer.reason, Reason.IMPLEMENTATION_SPECIFIC_ERROR)
        self.assertEqual(old.got(Puback), [])
        self.assertTrue(old.link.closing)
        self.assertEqual((client.counted.success, client.counted.errors), (0, 2))
        self.assertIn("town", client.counted.error)

    def test_a_broker_that_comes_later_and_goes(self):
        """Clients subscribe as soon as there is a broker, and again when there is another one."""
        self.begin()
        client = self.client(user="u", password="p")
        self.assertIn("run message broker", client.state())
        for number in range(2):
            self.broke()
            self.assertEqual(client.state(), "Connected to local Message Server")
            self.assertEqual(self.broker.guarded, [("msg client 1", "plant/#", "u", "p")])
            self.table.client("d").publish("plant/a", payload(number), 1, 1)
            self.broker.turn()
            self.clock.advance(0)
            self.clients.use(None)
        self.assertEqual(self.values(), [0, 1])
        self.broke()
        self.assertTrue(self.successResultOf(self.clients.remove(1)))
        self.assertEqual(self.broker.delivers, {})

    def test_no_room(self):
        """While the journal is full the publisher waits, and is answered when its rows are kept."""
        self.begin()
        self.broke()
        client = self.client()
        device = self.table.client("d", 5)
        self.intake.most = 0
        for number in range(3):
            device.publish("plant/a", payload(number), 1, number + 1)
            self.broker.turn()
        self.clock.pump([0.5] * 10)
        self.assertEqual((device.got(Puback), self.values()), ([], []))
        self.intake.most = 1 << 20
        self.clock.pump([0.5] * 10)
        self.assertEqual(sorted(each.packet_id for each in device.got(Puback)), [1, 2, 3])
        self.assertEqual(sorted(self.values()), [0, 1, 2])
        self.intake.most = 0
        device.publish("plant/a", payload(9), 1, 9)
        self.broker.turn()
        self.successResultOf(self.clients.stop())
        self.clock.pump([0.5] * 10)
        (answer,) = device.got(Puback)
        self.assertEqual(answer.reason, Reason.QUOTA_EXCEEDED)
        self.assertEqual(client.counted.errors, 1)

    def test_the_same_topic_twice(self):
        """A topic belongs to one client of a broker; of a client that fails nothing is left."""
        self.begin()
        self.broke()
        self.client()
        error = self.assertRaises(AnyLogError, self.client, PLAIN.replace("plant/#", "a"), PLAIN)
        self.assertIn("client 1", str(error))
        self.assertEqual(list(self.broker.filters), ["msg client 1"])
        self.assertRaises(AnyLogError, self.client, PLAIN.replace("plant/#", "b"), PLAIN.replace("plant/#", "b"))
        self.assertEqual(self.client(PLAIN.replace("plant/#", "c")).number, 2)
        self.assertEqual(self.client(broker="rest", user_agent="x").number, 3)

    def test_only_logged(self):
        """Messages that are only logged, or persisted, are lines of a file before they are acknowledged."""
        self.begin()
        self.broke()
        self.client("(name = a)", "#", only_log=True)
        self.client("(name = keep/+ and persist = true)")
        device = self.table.client("d")
        for number, (topic, body) in enumerate([("a", b'{"x": 1}'), ("b", b"text"), ("keep/1", b'{"y":\n2}')], 1):
            device.publish(topic, body, 1, number)
        self.broker.turn()
        self.assertEqual(len(device.got(Puback)), 3)
        files = {path: data.decode().splitlines() for path, data in self.disk.under(Path("/prep_dir")).items()}
        logged = [{"topic": "a", "msg": {"x": 1}}, {"topic": "b", "msg": "text"}]
        self.assertEqual([json.loads(line) for line in files["/prep_dir/log_local_1883.json"]][:2], logged)
        self.assertEqual(files["/prep_dir/local.keep_1.json"], ['{"y": 2}'])

    def test_dynamic(self):
        """Attributes become columns, a bare value has a time; the table is named as it is declared."""
        self.begin()
        self.broke()
        for number, (more, table) in enumerate(
            [("", "speed"), (" and table = fixed", "fixed"), (" and table_prefix = p", "p_speed"),
             (" and table_name_as_topic = true", "site3_pump_speed")]
        ):  # fmt: skip
            self.client(f"(name = site{number}/# and dbms = town and dynamic = true{more})")
            device = self.table.client(f"d{number}")
            for place, body in enumerate([b'{"value": 1}', b"2", b'"3"', b"4.5", b"{", b""], 1):
                device.publish(f"site{number}/Pump/Speed", body, 1, place)
            self.broker.turn()
            self.clock.advance(0)
            self.assertEqual(len(device.got(Puback)), 6)
            self.assertEqual([row["value"] for row in self.engine.rows[table]], [1, 2, 3, 4.5], table)
        self.assertEqual(len(self.errors()), 8)

    def test_each_table_has_its_own_columns(self):
        """Policies of one topic that are for two tables do not mix the columns of these."""
        self.begin()
        self.broke()
        client = self.client("(name = p and dbms = town and table = x and column.v.int = 'bring [v]')")
        (to,) = client.topics.values()
        mappers = []
        for number, (table, kind) in enumerate([("a", "float"), ("b", "str")], 1):
            schema = {"v": {"type": kind}, f"only_{table}": {"type": "int", "optional": True}}
            body = {"id": f"p{number}", "dbms": "town", "table": table, "schema": schema}
            mappers.append(compile_policy({"mapping": body}, Scope(Dictionary(), {})))
        to.topic, to.policies = Topic("p", policies=("p1", "p2")), mappers
        self.table.client("d").publish("p", payload(1), 1, 1)
        self.broker.turn()
        self.clock.advance(0)
        self.assertEqual(self.engine.schemas["a"], {"v": "FLOAT", "only_a": "INT"})
        self.assertEqual(self.engine.schemas["b"], {"v": "VARCHAR", "only_b": "INT"})

    def test_two_topics_of_one_table(self):
        """What a topic declares counts for a table that rows of another one made: it has the columns of both."""
        self.begin()
        self.broke()
        place = "dbms = town and table = t"
        self.client(
            f"(name = one and {place} and column.v.float = 'bring [v]')",
            f"(name = two and {place} and column.v.int = 'bring [v]' and column.state.str = 'bring [s]')",
            "(name = three and dbms = town and table = 'bring [t]' and column.mine.str = 'bring [s]')",
        )
        device = self.table.client("d")
        for number, (name, body) in enumerate([("one", payload(1)), ("two", payload(2, s="7"))], 1):
            device.publish(name, body, 1, number)
            self.broker.turn()
            self.clock.advance(0)
        self.assertEqual(self.engine.schemas["t"], {"v": "FLOAT", "state": "VARCHAR"})
        self.assertEqual([row.get("state") for row in self.engine.rows["t"]], [None, "7"])

    def test_names_of_strangers_are_bounded(self):
        """A device may name a new database in each message: what was said of their tables does not pile up."""
        self.patch(msg_client, "TOPICS", 20)
        self.begin()
        self.broke()
        client = self.client("(name = p and dbms = 'bring [d]' and table = t and column.v.int = 'bring [v]')")
        said = []
        client._door.declare = lambda *args: said.append(args)
        for number in range(100):
            message = Publish("p", payload(1, d=f"d{number}"))
            self.successResultOf(client.take([(None, message)]))
        self.assertEqual((len(said), client.counted.errors), (20, 100))

    def test_bare_values(self):
        """Words for yes, no and nothing and numbers are what they say; other text stays text."""
        self.begin()
        (to,) = self.client("(name = a and dbms = town and dynamic = true)").topics.values()
        for body, value in [
            (b"true", True), (b"False", False), (b"null", None), (b'"12"', 12), (b"1e3", 1000.0), (b"007", "007"),
            (b"on", "on"), ("grün".encode(), "grün"),
        ]:  # fmt: skip
            ((_, table, (row,), _, _),) = to.rows("a", body, 1_800_000_000.5)
            self.assertEqual((table, row), ("a", {"timestamp": "2027-01-15T08:00:00.500000Z", "value": value}), body)


class OnceTests(MessagesCase):
    """Decisions 36: a message that comes again is one, also over crashes, whatever was loaded before."""

    def crash(self, power: bool = True) -> None:
        self.disk = self.disk.crash(Random(3), power)
        self.clock = Clock()
        self.clock.advance(1_800_000_100)
        self.begin()
        self.table.crash()
        self.table.synced = True
        self.broke(self.table)
        self.client()

    def test_repeats_of_qos_1(self):
        """With DUP, under the same packet id and with the same content it is a repeat; any other is a new reading."""
        self.begin()
        self.broke()
        self.client()
        device = self.table.lasting("d")
        device.publish("plant/a", payload(1), 1, 5)
        self.broker.turn()
        for loaded in (False, True):
            if loaded:
                self.clock.advance(1)
            self.crash()
            device = self.table.lasting("d")
            for again in (payload(1), payload(1)):
                device.publish("plant/a", again, 1, 5, dup=True)
                self.broker.turn()
            self.assertEqual(len(device.got(Puback)), 2)
            self.clock.advance(1)
            self.assertEqual(self.values(), [1], f"loaded: {loaded}")
        device.publish("plant/a", payload(2), 1, 5, dup=True)  # the id has another use, whose first copy was lost
        device.publish("plant/a", payload(1), 1, 6, dup=True)
        device.publish("plant/a", payload(1), 1, 5)
        self.broker.turn()
        self.clock.advance(1)
        self.assertEqual(self.values(), [1, 2, 1, 1])

    def test_repeats_while_the_first_is_on_its_way(self):
        """A repeat of what is not synced yet waits for it; one in the same batch is left out."""
        self.begin()
        self.intake.journal._lane = ClockLane(self.clock, 0.5)
        client = self.client()
        tickets = [Ticket(number, "d", 1, 5, 0, 1, number > 0, None, True) for number in range(4)]
        message = Publish("plant/a", payload(1), 1)
        first = client.deliver([(tickets[0], message), (tickets[1], message)])
        second = client.deliver([(tickets[2], message)])
        self.assertNoResult(second)
        self.clock.pump([0.3] * 10)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (None, None))
        self.assertIsNone(self.successResultOf(client.deliver([(tickets[3], message)])))
        self.clock.pump([0.3] * 10)
        self.assertEqual(self.values(), [1])

    def test_qos_2_over_a_crash(self):
        """An exchange that is taken up again after a crash is one reading; the next use of its packet id is another."""
        self.begin()
        self.broke()
        self.client()
        device = self.table.lasting("d")
        device.publish("plant/a", payload(1), 2, 5)
        self.table.synced = False
        self.broker.turn()  # the rows are synced, the record of the broker is not
        self.crash(power=False)
        device = self.table.lasting("d")
        device.publish("plant/a", payload(1), 2, 5, dup=True)
        self.broker.turn()
        self.assertEqual(len(device.got(Pubrec)), 1)
        device.send(Pubrel(5))
        self.assertEqual(len(device.got(Pubcomp)), 1)
        device.publish("plant/a", payload(1), 2, 5)
        self.broker.turn()
        self.clock.advance(1)
        self.assertEqual(self.values(), [1, 1])

    def test_a_packet_id_that_is_used_again(self):
        """What waits in the journal is newer than what the database remembers of the same packet id."""
        for qos in (1, 2):
            self.setUp()
            self.begin()
            self.broke()
            self.client()
            device = self.table.lasting("d")
            for number in (1, 2):
                device.publish("plant/a", payload(number), qos, 5)
                self.broker.turn()
                if number == 1:
                    device.send(Pubrel(5))
                    self.clock.advance(1)
                    self.assertEqual(self.values(), [1])
                    self.engine.refuses = "away"
            self.clock.advance(1)
            self.crash()
            self.engine.refuses = ""
            device = self.table.lasting("d")
            device.publish("plant/a", payload(2), qos, 5, dup=True)
            self.broker.turn()
            self.clock.pump([0.5] * 10)
            self.assertEqual(self.values(), [1, 2], qos)

    def test_repeats_among_many(self):
        """Messages that are mapped together are each known again after a crash."""
        self.begin()
        self.broke()
        rule = "(name = plant/# and dbms = town and table = t and column.v.int = 'bring [v]')"
        self.client(rule)
        device = self.table.lasting("d")
        for number in range(1, 21):
            device.publish("plant/a", payload(number), 1, number)
        self.broker.turn()
        self.crash()
        device = self.table.lasting("d")
        for number in range(1, 31):
            device.publish("plant/a", payload(number), 1, number, dup=True)
        self.broker.turn()
        self.clock.advance(1)
        self.assertEqual(len(device.got(Puback)), 30)
        self.assertEqual(self.values(), list(range(1, 31)))

    def test_what_never_comes_again_is_not_remembered(self):
        """A session that ends with its connection costs no memory and no rows of keys."""
        self.begin()
        self.broke()
        self.client()
        device = self.table.client("d", clean=True)
        device.publish("plant/a", payload(1), 1, 5)
        self.broker.turn()
        self.clock.advance(1)
        self.assertEqual(self.engine.stored_keys, {})
        self.assertIsNone(repeat_of(Ticket(1, "d", 1, 5, 0, 1), Publish("a")))

    def test_keys_are_bounded(self):
        """A client that uses packet ids again and again has a key for each id, not for each message."""
        self.begin()
        self.broke()
        self.client()
        device = self.table.lasting("d" * 5000)
        for number in range(50):
            device.publish("plant/a", payload(number), 1, number % 5 + 1)
            self.broker.turn()
            self.clock.advance(1)
        self.assertEqual(len(self.engine.stored_keys), 5)
        self.assertLess(max(map(len, self.engine.stored_keys)), 150)


class OutsideTests(MessagesCase):
    def test_a_broker_elsewhere(self):
        """It is told what to subscribe to; what it brings is kept by its keys, and it hears when it is not."""
        made: list[Outside] = []

        class Fake:
            def __init__(self, told: Outside) -> None:
                made.append(told)
                self.going = False
                self.host, self.port, self.client_id = told.broker, told.port, "me"

            def figures(self) -> dict[str, Any]:
                return {"Reconnects": 3}

            def start(self) -> None:
                self.going = True

            def stop(self, forget: bool = False) -> Deferred[None]:
                self.going, self.forgets = False, forget
                done: Deferred[None] = Deferred()
                done.callback(None)
                return done

            def describe(self) -> str:
                return "connected"

        self.begin()
        self.assertEqual(self.assertRaises(AnyLogError, self.client, broker="far.example").number, 237)
        self.clients.outside = Fake
        client = self.client(broker="far.example", port=8883)
        (told,) = made
        self.assertEqual((told.broker, told.port, told.topics), ("far.example", 8883, [("plant/#", 0)]))
        self.assertEqual((client.number, client.state(), client.options.place), (1, "connected", "far.example:8883"))
        batch = [
            (("k1", "t", True), Publish("plant/a", payload(1))),
            (None, Publish("plant/a", b"{")),
            (None, Publish("plant/a", payload(2))),
        ]
        for _ in range(2):
            self.assertIsNone(self.successResultOf(told.deliver(batch)))
        self.clock.advance(1)
        self.assertEqual(self.values(), [1, 2, 2])
        self.catalog.disconnect("town")
        self.assertEqual(self.failureResultOf(told.deliver(batch), AnyLogError).value.number, 5)
        with self.assertRaisesRegex(AnyLogError, "client_id 'me' is that of client 1"):
            self.client(PLAIN.replace("plant/#", "other"), broker="far.example", port=8883)
        self.assertTrue(self.successResultOf(self.clients.remove(1)))
