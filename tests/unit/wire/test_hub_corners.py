"""The broker where it is narrow: what has no room, comes too late, or is too large to be copied."""

from __future__ import annotations

from hub_talk import Table, bye

from anylog.wire.mqtt_limits import Limits
from anylog.wire.mqtt_packets import Connack, Connect, Disconnect, Filter, Puback, Publish, Reason

GROUP = "$share/g/t"


def test_large_payloads_are_shared() -> None:
    """At QoS 1 to many the payload is one object, and what each reads is whole."""
    table = Table()
    clients = [table.client(name, 4) for name in "abc"]
    for client in clients:
        client.subscribe("t", qos=1)
    payload = b"x" * 5000
    table.client("p").publish("t", payload, 1)
    taken = [client.link.take() for client in clients]
    assert len({id(part) for parts in taken for part in parts if len(part) >= 5000}) == 1
    for client, parts in zip(clients, taken, strict=True):
        assert [each.payload for each in client.reader.feed(b"".join(parts))] == [payload]


def test_retained_for_a_lasting_session_survives() -> None:
    """What was retained and shown at QoS 1, and not acknowledged, is sent again after a crash."""
    table = Table()
    table.client("p").publish("t", b"m", 1, retain=True)
    client = table.lasting("a", 5)
    client.subscribe("t", qos=1, subscription_identifier=7)
    assert [(each.retain, each.subscription_identifiers) for each in client.got(Publish)] == [(True, (7,))]
    table.crash()
    again = table.lasting("a", 5).got(Publish)
    assert [(each.retain, each.dup, each.subscription_identifiers) for each in again] == [(True, True, (7,))]


def test_identifiers_at_qos_0() -> None:
    """[MQTT-3.3.4-3]: whatever the QoS, and only where the subscription has one."""
    table = Table()
    client = table.client("a", 5)
    client.subscribe("t", subscription_identifier=7)
    client.subscribe("u")
    table.client("p").publish("t").publish("u").publish("t", b"x", 1)
    assert [each.subscription_identifiers for each in client.got(Publish)] == [(7,), (), (7,)]


def test_a_slow_subscriber_at_qos_0_to_a_message_of_qos_1() -> None:
    """It loses the message, which its publisher is told was received; that is counted."""
    table = Table(Limits(sys_seconds=0, pending=100))
    client, publisher = table.client("a"), table.client("p")
    client.subscribe("t")
    for number in range(1, 6):
        publisher.publish("t", b"m" * 60, 1, number)
    assert len(publisher.got(Puback)) == 5
    assert len(client.messages()) == 2 and table.hub.counts.dropped_slow == 3


def test_a_group_of_nobody() -> None:
    """A message of QoS 0 for a group whose members are away is lost, and counted; so is what none of them may have."""
    table = Table()
    table.lasting("a", 5).subscribe(Filter(GROUP, 0))
    table.hub.close(next(iter(table.hub.links)), table.now)
    table.client("p").publish("t").publish("t", b"x", 1)
    assert table.hub.counts.dropped_shared == 2


def test_messages_change_hands_to_one_with_less() -> None:
    """At QoS 0 if that is what the other asked for; beyond its queue only if the session is gone, and counted."""
    for qos, ended, expected, dropped, stayed in [
        (0, False, [b"2", b"3"], 0, [b"1"]),
        (1, False, [b"2"], 0, [b"1", b"3"]),
        (1, True, [b"1"], 2, []),
    ]:
        table = Table(Limits(sys_seconds=0, inflight=1, queue_messages=3))
        a, b = table.lasting("a", 5), table.lasting("b", 5)
        a.subscribe(GROUP, qos=1)
        publisher = table.client("p")
        for number in range(1, 4):
            publisher.publish("t", b"%d" % number, 1, number)
        b.subscribe("own", qos=1)
        for number in range(1, 3):
            publisher.publish("own", b"own", 1, number)
        b.subscribe(GROUP, qos=qos)
        if ended:
            a.send(Disconnect(session_expiry_interval=0))
        else:
            a.cut()
        got = [each[1] for _ in range(4) for each in b.messages() if each[0] == "t"]
        assert (got, table.hub.counts.dropped_full) == (expected, dropped)
        table.crash()
        a = table.lasting("a", 5)
        assert [payload for _ in range(3) for _, payload, _ in a.messages()] == stayed


def test_an_alias_is_not_used_up_by_what_is_not_sent() -> None:
    """The next message has its topic ([MQTT-3.3.2-12])."""
    table = Table()
    client = table.client("a", 5, topic_alias_maximum=5, maximum_packet_size=100)
    client.subscribe("long/#")
    table.client("p").publish("long/topic", b"m" * 200).publish("long/topic", b"m")
    (message,) = client.got(Publish)
    assert (message.topic, message.topic_alias) == ("long/topic", 1)


def test_the_nodes_own_client_subscribes_again() -> None:
    """It replaces what it had."""
    table = Table()
    for _ in range(2):
        table.hub.subscribe_local("one", "t", 1)
    assert len(table.hub.delivery.routes.filters) == 1
    table.client("p").publish("t")
    assert [names for _, _, names in table.hub.local] == [("one",)]


def test_a_decision_that_comes_too_late() -> None:
    """Who gave up meanwhile is nobody; who broke the standard meanwhile is closed after it was let in."""
    table = Table(allow=lambda link, action, topic: None if action == "connect" else True)
    client = table.open(5)
    client.send(Connect("a", version=5)).cut()
    table.hub.admit(client.link, True, table.now)
    assert not table.hub.delivery.sessions and not table.hub.clients
    client = table.open(5)
    client.send(Connect("a", version=5)).raw(b"\x36\x05\0\1a\0\1")
    table.hub.admit(client.link, True, table.now)
    kinds = client.got()
    assert isinstance(kinds[0], Connack) and client.link.closing
    assert [int(each.reason) for each in kinds] == [0, Reason.MALFORMED_PACKET]
    client = table.open(5)
    client.send(Connect("a", version=5))
    table.wait(11)  # the deadline is for the whole of it
    assert client.link.closing and bye(client) is None


def test_a_topic_of_too_many_levels_is_not_retained() -> None:
    """It is passed on, and counted."""
    table = Table()
    client = table.client("a")
    client.subscribe("#")
    client.publish("/".join("a" * 200), b"m", retain=True)
    assert len(client.messages()) == 1 and table.hub.counts.retained_refused == 1
    assert not len(table.hub.delivery.shelf)
