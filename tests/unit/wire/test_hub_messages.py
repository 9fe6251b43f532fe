"""The broker and messages: who is sent what, in which form, and when it is told (OASIS MQTT 5.0, 3.3, 4.3 and 4.9)."""

from __future__ import annotations

import pytest
from hub_talk import QUIET, Client, Table, bye

from anylog.wire.mqtt_limits import Limits
from anylog.wire.mqtt_packets import (
    Filter,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Reason,
    Subscribe,
    Unsubscribe,
)

BOTH = pytest.mark.parametrize("version", [4, 5])


@BOTH
def test_qos_is_the_lower_of_both(version: int) -> None:
    """[MQTT-3.8.4-8], 4.3: each pair of the QoS of a message and of a subscription."""
    for sent in range(3):
        for granted in range(3):
            table = Table()
            subscriber, publisher = table.client("s", version), table.client("p", version)
            assert subscriber.subscribe("t/+", qos=granted).reasons == (granted,)
            publisher.publish("t/a", b"m", sent)
            assert subscriber.messages() == [("t/a", b"m", min(sent, granted))]
            kinds = [type(each) for each in publisher.got()]
            assert kinds == [[], [Puback], [Pubrec]][sent]


@BOTH
def test_qos_2_both_ways(version: int) -> None:
    """The whole exchange, step by step, with every step said twice ([MQTT-4.3.3-1] to [MQTT-4.3.3-13])."""
    table = Table()
    subscriber, publisher = table.lasting("s", version), table.lasting("p", version)
    subscriber.subscribe("t", qos=2)
    publisher.publish("t", b"m", 2, 9)
    assert publisher.one(Pubrec).packet_id == 9
    publisher.send(Publish("t", b"m", 2, dup=True, packet_id=9))
    assert publisher.one(Pubrec).packet_id == 9
    publisher.send(Pubrel(9), Pubrel(9))
    first, second = publisher.got(Pubcomp)
    assert first.reason is Reason.SUCCESS
    assert second.reason is (Reason.PACKET_IDENTIFIER_NOT_FOUND if version == 5 else Reason.SUCCESS)
    message = subscriber.one(Publish)
    assert not message.dup
    subscriber.send(Pubrec(message.packet_id)).send(Pubrec(message.packet_id))
    assert [type(each) for each in subscriber.got()] == [Pubrel, Pubrel]
    subscriber.send(Pubcomp(message.packet_id))
    assert not subscriber.got() and not table.hub.delivery.sessions["s"].out
    publisher.publish("t", b"m", 2, 9)
    assert subscriber.one(Publish).payload == b"m"


def test_nobody_was_there() -> None:
    """5.0 may say so (3.4.2.1), and nothing else is different."""
    for version, qos, reason in [(5, 1, 0x10), (5, 2, 0x10), (4, 1, 0), (4, 2, 0)]:
        publisher = Table().client("p", version)
        publisher.publish("t", b"m", qos)
        assert [int(each.reason) for each in publisher.got()] == [reason]


def test_overlapping_filters_are_one() -> None:
    """A message comes once, at the highest QoS, with all identifiers ([MQTT-3.3.4-2] to [MQTT-3.3.4-5])."""
    table = Table()
    client = table.client("a", 5)
    client.subscribe("t/#", qos=0, subscription_identifier=3)
    client.subscribe("t/a", qos=2, subscription_identifier=4)
    client.subscribe("+/a", qos=1)
    client.subscribe("t/+", qos=1, subscription_identifier=3)
    table.client("p").publish("t/a", b"m", 2)
    message = client.one(Publish)
    assert message.qos == 2 and sorted(message.subscription_identifiers) == [3, 4]
    client.subscribe("t/a", qos=0, subscription_identifier=5)  # [MQTT-3.8.4-3]: it replaces the old one
    table.client("p").publish("t/a", b"m", 2)
    message = client.one(Publish)
    assert message.qos == 1 and sorted(message.subscription_identifiers) == [3, 5]


def test_no_local() -> None:
    """What a client published comes back only by filters that want it ([MQTT-3.8.3-3])."""
    for filters, expected in [
        ((Filter("t", 1, no_local=True),), []),
        ((Filter("t", 1),), [1]),
        ((Filter("t", 1, no_local=True), Filter("+", 0)), [0]),
    ]:
        for qos in (0, 1):
            table = Table()
            client, other = table.client("a", 5), table.client("b", 5)
            client.subscribe(*filters)
            other.subscribe(*filters)
            client.publish("t", b"m", qos)
            assert [each[2] for each in client.messages()] == [min(qos, each) for each in expected]
            assert [each[2] for each in other.messages()] == [qos]


def test_retained() -> None:
    """What is retained is shown to new subscribers, as they ask for it ([MQTT-3.3.1-5] to [MQTT-3.3.1-13])."""
    for version, first, again, times in [
        (4, Filter("t/#", 1), Filter("t/#", 1), [2, 2]),
        (5, Filter("t/#", 1), Filter("t/#", 1), [2, 2]),
        (5, Filter("t/#", 1, retain_handling=1), Filter("t/#", 1, retain_handling=1), [2, 0]),
        (5, Filter("t/#", 1, retain_handling=2), Filter("t/#", 1, retain_handling=0), [0, 2]),
        (5, Filter("$share/g/t/#", 1), Filter("$share/g/t/#", 1), [0, 0]),
        (5, Filter("+", 1), Filter("t/+/#", 1), [0, 2]),
    ]:
        table = Table()
        publisher = table.client("p")
        publisher.publish("t/a", b"old", 1, retain=True).publish("t/a", b"new", 1, retain=True)
        publisher.publish("t/b", b"b", 0, retain=True)
        publisher.publish("t/c", b"c", 1, retain=True).publish("t/c", b"", 1, retain=True)  # [MQTT-3.3.1-6]
        publisher.publish("t/a", b"passing", 1)  # [MQTT-3.3.1-8]
        table.crash()
        client = table.client("a", version)
        for filter, count in zip((first, again), times, strict=True):
            client.subscribe(filter)
            got = client.got(Publish)
            for each in got:
                if each.qos:
                    client.send(Puback(each.packet_id))
            assert [(each.topic, each.payload, each.qos) for each in got] == (
                [("t/a", b"new", 1), ("t/b", b"b", 0)] if count else []
            ), (version, filter)
            assert all(each.retain for each in got)


def test_retain_as_published() -> None:
    """The flag of what comes as it is published is 0, unless it is asked for ([MQTT-3.3.1-12], [MQTT-3.3.1-13])."""
    for version, wanted in [(4, False), (5, False), (5, True)]:
        for qos in range(2):
            table = Table()
            client = table.client("a", version)
            client.subscribe(Filter("t", 1, retain_as_published=wanted))
            table.client("p").publish("t", b"m", qos, retain=True).publish("t", b"m", qos)
            assert [each.retain for each in client.got(Publish)] == [wanted, False]


def test_retained_messages_have_a_limit() -> None:
    """What there is no room for is passed on and not retained, and counted; a value may always be replaced."""
    for limits in (Limits(sys_seconds=0, retained_messages=2), Limits(sys_seconds=0, retained_bytes=500)):
        table = Table(limits)
        watcher, publisher = table.client("w"), table.client("p")
        watcher.subscribe("#")
        for topic in ("a", "b", "c", "a"):
            publisher.publish(topic, topic.encode(), retain=True)
        publisher.publish("b", b"", retain=True).publish("d", b"d", retain=True)
        assert len(watcher.messages()) == 6 and table.hub.counts.retained_refused == 1
        assert sorted(message.packet.topic for message in table.hub.delivery.shelf.everything()) == ["a", "d"]
        assert table.hub.delivery.shelf.bytes == sum(each.size for each in table.hub.delivery.shelf.everything())


def test_messages_expire() -> None:
    """A message says how long it still lasts, and is not sent after that ([MQTT-3.3.2-5], [MQTT-3.3.2-6])."""
    for wait, crash, expected in [(0, False, 60), (25, False, 35), (25, True, 35), (61, False, None), (61, True, None)]:
        table = Table()
        away = table.lasting("a", 5)
        away.subscribe("t", qos=1)
        away.cut()
        publisher = table.client("p", 5)
        publisher.publish("t", b"m", 1, message_expiry_interval=60, retain=True)
        table.wait(wait)
        if crash:
            table.crash()
        found = table.lasting("a", 5).got(Publish)
        assert [each.message_expiry_interval for each in found] == ([] if expected is None else [expected])
        new = table.client("b", 5)
        new.subscribe("t")
        assert [each.message_expiry_interval for each in new.got(Publish)] == ([] if expected is None else [expected])
        table.crash()
        assert len(table.hub.delivery.sessions["a"].out) == (expected is not None)
    assert len(table.hub.delivery.shelf) == 1  # of the log, where it has its end
    table.wait(1)
    assert len(table.hub.delivery.shelf) == 0 and table.hub.delivery.shelf.bytes == 0


def test_properties_are_passed_on() -> None:
    """All that belongs to the message arrives as it was sent ([MQTT-3.3.2-4], -15, -16, -17, -18, -20), also later."""
    message = {
        "payload_format_indicator": 1,
        "response_topic": "answer/here",
        "correlation_data": b"7",
        "content_type": "text/plain",
        "user_properties": (("b", "1"), ("a", "2"), ("b", "3")),
    }
    for qos in range(3):
        for later in (False, True):
            table = Table()
            client = table.lasting("a", 5)
            old = table.client("old", 4)
            client.subscribe("t", qos=qos)
            old.subscribe("t", qos=qos)
            if later and qos:
                client.cut()
            table.client("p", 5).publish("t", b"m", qos, **message)
            if later and qos:
                table.crash()
                client = table.lasting("a", 5)
            (packet,) = client.got(Publish)
            assert {name: getattr(packet, name) for name in message} == message
            if not later:
                assert old.messages() == [("t", b"m", qos)]


def test_topic_aliases_of_a_client() -> None:
    """They stand for a topic on this connection, until they stand for another ([MQTT-3.3.2-12], [MQTT-3.3.2-7])."""
    table = Table()
    watcher, client = table.client("w"), table.client("a", 5)
    watcher.subscribe("#", qos=1)
    client.publish("one", b"1", topic_alias=5).publish("", b"2", 1, topic_alias=5)
    client.publish("two", b"3", topic_alias=5).publish("", b"4", topic_alias=5)
    assert watcher.messages() == [("one", b"1", 0), ("one", b"2", 1), ("two", b"3", 0), ("two", b"4", 0)]
    client.cut()
    client = table.client("a", 5)
    client.publish("", b"5", topic_alias=5)
    assert bye(client) == Reason.PROTOCOL_ERROR  # 3.3.4
    client = table.client("a", 5)
    client.publish("one", b"6", topic_alias=table.hub.limits.aliases + 1)
    assert bye(client) == Reason.TOPIC_ALIAS_INVALID


def test_topic_aliases_of_the_broker() -> None:
    """As many as the client takes, the topic with the first use of each ([MQTT-3.1.2-26], [MQTT-3.1.2-27])."""
    for most, expected in [(0, [None] * 5), (1, [1, 1, None, None, 1]), (2, [1, 1, 2, 2, 1])]:
        table = Table()
        client = table.lasting("a", 5, topic_alias_maximum=most)
        client.subscribe("long/#", qos=1)
        publisher = table.client("p")
        for topic, qos in [("long/one", 1), ("long/one", 0), ("long/two", 0), ("long/two", 1), ("long/one", 1)]:
            publisher.publish(topic, b"m", qos)
        got = client.got(Publish)
        assert [each.topic_alias for each in got] == expected
        known: dict[int, str] = {}
        for each, topic in zip(got, ["one", "one", "two", "two", "one"], strict=True):
            assert (each.topic or known[each.topic_alias]) == f"long/{topic}"
            if each.topic_alias:
                known.setdefault(each.topic_alias, each.topic)
        client.cut()
        again = table.lasting("a", 5).got(Publish)  # what is sent again on another connection has its topic
        assert [(each.topic, each.dup) for each in again] == [
            ("long/one", True),
            ("long/two", True),
            ("long/one", True),
        ]


def test_receive_maximum_of_a_client() -> None:
    """No more messages of QoS 1 and 2 are in flight than it takes ([MQTT-3.3.4-9], 4.9), QoS 0 passes them."""
    table = Table()
    client, publisher = table.client("a", 5, receive_maximum=2), table.client("p")
    client.subscribe("t", qos=2)
    for number in range(1, 6):
        publisher.publish("t", b"%d" % number, 1 + number % 2, number)
    publisher.publish("t", b"0")
    got = client.got(Publish)
    assert [each.payload for each in got] == [b"1", b"2", b"0"]
    client.send(Pubrec(got[0].packet_id))
    assert not client.got(Publish)  # PUBCOMP is what ends it
    client.send(Pubcomp(got[0].packet_id), Puback(got[1].packet_id))
    got = client.got(Publish)
    assert [each.payload for each in got] == [b"3", b"4"]
    client.send(Pubrec(got[0].packet_id, Reason.QUOTA_EXCEEDED))  # it will not have it: that ends it as well
    assert [each.payload for each in client.got(Publish)] == [b"5"]


def test_receive_maximum_of_the_broker() -> None:
    """5.0 is held to it ([MQTT-3.3.4-7]); from 3.1.1, which cannot know it, nothing is read for a while."""
    limits = Limits(sys_seconds=0, receive=3)
    for version in (4, 5):
        table = Table(limits)
        keeper = table.lasting("s")
        keeper.subscribe("t", qos=1)
        table.synced = False
        client = table.client("p", version)
        for number in range(1, 4):
            client.publish("t", b"m", 1, number)
        assert client.link.hold and not client.got()
        table.sync()
        assert not client.link.hold and len(client.got(Puback)) == 3
        for number in range(1, 5):
            client.publish("t", b"m", 1, number)
        assert client.link.closing is (version == 5)
        if version == 5:
            assert bye(client) == Reason.RECEIVE_MAXIMUM_EXCEEDED


def test_the_largest_packet_of_a_client() -> None:
    """What is larger is not sent, and does not stand in the way ([MQTT-3.1.2-24], [MQTT-3.1.2-25])."""
    for qos in range(3):
        table = Table()
        client = table.client("a", 5, maximum_packet_size=100)
        client.subscribe("t", qos=qos)
        publisher = table.client("p")
        for number, size in enumerate((90, 95, 60), 1):
            publisher.publish("t", b"m" * size, qos, number if qos else 0)
        assert [len(payload) for _, payload, _ in client.messages()] == [90, 60]
        assert table.hub.counts.dropped_large == 1 and (qos == 2 or not table.hub.delivery.sessions["a"].out)


def test_slow_subscribers() -> None:
    """Who does not read loses QoS 0, which is counted; QoS 1 waits; who is too far behind is closed."""
    limits = Limits(sys_seconds=0, pending=2000, queue_messages=50)
    table = Table(limits)
    client, publisher = table.client("a", 5), table.client("p")
    client.subscribe("t", qos=1)
    for _ in range(30):
        publisher.publish("t", b"m" * 100)
    lost = table.hub.counts.dropped_slow
    assert 5 < lost < 15 and client.link.pending <= 2200
    for number in range(1, 31):
        publisher.publish("t", b"%d" % number, 1, number)
    assert client.link.pending <= 2200 and len(publisher.got(Puback)) == 30
    got = client.messages()
    while more := client.messages():
        got += more
    assert len(got) == 60 - lost and [each[1] for each in got if each[2]] == [b"%d" % n for n in range(1, 31)]
    for number in range(1, 60):
        publisher.publish("t", b"m" * 100, 1, number)
    assert bye(client) == Reason.QUOTA_EXCEEDED and table.hub.counts.dropped_full >= 1


def test_a_queue_has_a_limit() -> None:
    """For who is away so many are kept, the oldest ones; the others are counted."""
    for limits in (Limits(sys_seconds=0, queue_messages=3), Limits(sys_seconds=0, queue_bytes=3 * 202 + 100)):
        table = Table(limits)
        table.lasting("a").subscribe("t", qos=1)
        table.hub.close(next(iter(table.hub.links)), table.now)
        publisher = table.client("p")
        for number in range(1, 6):
            publisher.publish("t", b"%d" % number, 1, number)
        assert len(publisher.got(Puback)) == 5 and table.hub.counts.dropped_full == 2
        assert [payload for _, payload, _ in table.lasting("a").messages()] == [b"1", b"2", b"3"]
        assert table.hub.delivery.sessions["a"].size == 0


@BOTH
def test_sent_again(version: int) -> None:
    """After a new connection, and only then, in the old order with the old packet ids ([MQTT-4.4.0-1], 4.6)."""
    table = Table()
    client = table.lasting("a", version)
    client.subscribe("t", qos=2)
    publisher = table.client("p")
    for number, qos in enumerate((1, 2, 2, 1, 0), 1):
        publisher.publish("t", b"%d" % number, qos, number)
    got = client.got(Publish)
    client.send(Pubrec(got[1].packet_id))
    table.wait(3600)
    assert [type(each) for each in client.got()] == [Pubrel]
    client.cut()
    publisher.publish("t", b"6", 1, 6)
    again = table.lasting("a", version).got()
    first, second, third, fourth, sixth = again
    assert isinstance(second, Pubrel) and second.packet_id == got[1].packet_id
    for new, old in [(first, got[0]), (third, got[2]), (fourth, got[3])]:
        assert (new.payload, new.packet_id, new.dup) == (old.payload, old.packet_id, True)
    assert (sixth.payload, sixth.dup) == (b"6", False)  # [MQTT-3.3.1-3]


def test_a_clean_client_is_sent_nothing_again() -> None:
    """Its session ended, and what was on its way is gone ([MQTT-3.1.2-5] of 3.1.1)."""
    table = Table()
    client = table.client("a")
    client.subscribe("t", qos=1)
    table.client("p").publish("t", b"m", 1)
    client.cut()
    client = table.client("a")
    client.subscribe("t", qos=1)
    assert not client.got()


def test_acknowledgements_of_nothing() -> None:
    """They change nothing and are counted; a stray PUBREC of 5.0 is told so (4.3.3)."""
    for version, said in [(4, Reason.SUCCESS), (5, Reason.PACKET_IDENTIFIER_NOT_FOUND)]:
        table = Table()
        client = table.client("a", version)
        client.send(Puback(5), Pubcomp(6), Pubrec(7))
        assert client.one(Pubrel) == Pubrel(7, said) and table.hub.counts.stray == 3
        client.subscribe("t", qos=2)
        client.publish("t", b"m", 1)
        (number,) = [each.packet_id for each in client.got(Publish)]
        client.send(Pubcomp(number), Pubrec(number))
        assert len(table.hub.delivery.sessions["a"].out) == 1


def test_topics_are_remembered_to_a_limit() -> None:
    """However many topics there are: each finds its subscribers, also after these changed."""
    table = Table(Limits(sys_seconds=0, topics=3))
    client = table.client("a")
    client.subscribe("+/x")
    for number in range(10):
        client.publish(f"{number}/x")
    assert len(client.messages()) == 10
    client.subscribe("1/#", qos=1)
    client.publish("1/x", b"m", 1)
    assert client.messages() == [("1/x", b"m", 1)]
    client.send(Unsubscribe(4, ("1/#", "+/x")))
    client.publish("1/x")
    assert not client.messages()


def local(table: Table) -> list[tuple[str, tuple[str, ...]]]:
    return [(packet.topic, names) for _, packet, names in table.hub.local]


def test_the_nodes_own_clients() -> None:
    """They get each message once, whichever of their filters match, and publishers wait for them."""
    table = Table(QUIET)
    table.hub.subscribe_local("one", "t/#")
    table.hub.subscribe_local("one", "t/+")
    table.hub.subscribe_local("two", "t/a", 1)
    client = table.client("p", 5)
    client.publish("t/a", b"0").publish("t/a", b"1", 1, 5).publish("t/b", b"2", 2, 6).publish("u", b"3", 1, 7)
    assert local(table) == [("t/a", ("one", "two")), ("t/a", ("one", "two")), ("t/b", ("one",))]
    assert table.hub.local[0][0] is None and not client.got()
    (first, second) = [ticket for ticket, _, _ in table.hub.local if ticket is not None]
    assert (first.client_id, first.packet_id, first.exchange, first.qos) == ("p", 5, 0, 1)
    assert (second.client_id, second.packet_id, second.exchange, second.qos) == ("p", 6, 1, 2)
    table.hub.done(second)
    assert not client.got()  # in the order of the messages ([MQTT-4.6.0-2])
    table.hub.done(first)
    assert [(type(each), each.packet_id) for each in client.got()] == [(Puback, 5), (Pubrec, 6), (Puback, 7)]
    assert table.hub.unsubscribe_local("one", "t/#") and not table.hub.unsubscribe_local("one", "t/#")
    table.hub.local.clear()
    table.hub.publish(Publish("t/a", b"own", 1), table.now)
    assert local(table) == [("t/a", ("two", "one"))] and table.hub.local[0][0] is None
    with pytest.raises(ValueError, match="share nothing"):
        table.hub.subscribe_local("one", "$share/g/t")


def test_the_nodes_own_clients_refuse() -> None:
    """5.0 hears the reason; 3.1.1 is acknowledged where it would send the same in vain, else closed, as is QoS 2."""
    bad, full = Reason.PAYLOAD_FORMAT_INVALID, Reason.QUOTA_EXCEEDED
    for version, qos, reason, said, closed in [
        (5, 1, bad, bad, False),
        (5, 1, full, full, False),
        (5, 2, bad, bad, False),
        (5, 2, full, full, True),
        (4, 1, bad, Reason.SUCCESS, False),
        (4, 2, bad, Reason.SUCCESS, False),
        (4, 1, full, None, True),
        (4, 2, full, None, True),
    ]:
        table = Table(QUIET)
        table.hub.subscribe_local("one", "#")
        client = table.lasting("p", version)
        client.publish("t", b"m", qos, 5)
        ticket = table.hub.local.pop()[0]
        assert ticket is not None
        table.hub.done(ticket, reason)
        assert client.link.closing is closed
        assert [each.reason for each in client.got()] == ([] if said is None else [said])
        if closed:
            client = table.lasting("p", version)
        if said is not Reason.SUCCESS:  # what was not taken may be sent again, and is a new attempt
            client.send(Publish("t", b"m", qos, dup=True, packet_id=5))
            ticket = table.hub.local.pop()[0]
            assert ticket is not None
            table.hub.done(ticket)
            assert [each.packet_id for each in client.got()] == [5]


def test_done_after_the_publisher_left() -> None:
    """It is told on its next connection, without its message being handed out again ([MQTT-4.3.3-10])."""
    for early in (True, False):
        table = Table(QUIET)
        table.hub.subscribe_local("one", "#")
        client = table.lasting("p")
        client.publish("t", b"m", 2, 5)
        ticket = table.hub.local.pop()[0]
        assert ticket is not None
        client.cut()
        if early:
            table.hub.done(ticket)
        client = table.lasting("p")
        client.send(Publish("t", b"m", 2, dup=True, packet_id=5))
        if not early:
            assert not client.got()
            table.hub.done(ticket)
        assert client.one(Pubrec).packet_id == 5 and not table.hub.local


def test_one_who_publishes_to_itself_beyond_its_queue() -> None:
    """A client that is closed in the middle of its own messages takes nobody with it."""
    table = Table(Limits(sys_seconds=0, queue_messages=2))
    other = table.client("b")
    other.subscribe("t")
    client: Client = table.client("a")
    client.subscribe("t", qos=1)
    client.send(*(Publish("t", b"%d" % n, 1, packet_id=n) for n in range(1, 9)), Subscribe(9, (Filter("u"),)))
    assert client.link.closing and not other.link.closing
    assert [payload for _, payload, _ in other.messages()] == [b"%d" % n for n in range(1, 9)]
