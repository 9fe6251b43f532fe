"""What a message broker holds has a bound, and its work for one client, too."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import pytest
from hub_talk import Table, bye

from anylog.wire.mqtt_limits import Limits
from anylog.wire.mqtt_packets import (
    Connack,
    Connect,
    Disconnect,
    Filter,
    Packet,
    Puback,
    Publish,
    Reason,
    Suback,
    Subscribe,
    Unsubscribe,
    Will,
)


def test_connections_that_are_over() -> None:
    """Nothing of them is held for as long as they might have been silent."""
    table = Table()
    links: WeakSet[Any] = WeakSet()
    for _ in range(2500):
        client = table.client("a", 5, keep_alive=65_535)
        links.add(client.link)
        client.send(Disconnect())
        table.hub.close(client.link, table.now)
        table.hub.taken_dirty()
    del client
    assert len(links) < 1500 and len(table.hub._due) < 1500


def test_retained_messages_that_were_replaced() -> None:
    """They are not held until they would have expired; the last one is, and not longer."""
    table = Table()
    client = table.client("a", 5)
    messages: WeakSet[Any] = WeakSet()
    for number in range(1000):
        client.publish("t", b"%d" % number, retain=True, message_expiry_interval=86_400 if number else 100)
        messages.update(table.hub.delivery.shelf.everything())
        table.hub.next_time()
    assert len(messages) < 5
    table.wait(86_000)
    assert [each.packet.payload for each in table.hub.delivery.shelf.everything()] == [b"999"]
    table.wait(500)
    assert not len(table.hub.delivery.shelf)


def test_sessions_whose_clients_come_and_go() -> None:
    """Each has one end that is waited for, with its will, and that comes."""
    table = Table()
    watcher = table.client("w")
    watcher.subscribe("will")
    for _ in range(2500):
        client = table.lasting("a", 5, session_expiry_interval=1000)
        table.now += 0.001
        client.cut()
    assert len(table.hub._due) < 1500
    table.wait(999)
    assert "a" in table.hub.delivery.sessions
    table.wait(2)
    assert "a" not in table.hub.delivery.sessions


def test_one_of_a_group_who_does_not_read() -> None:
    """QoS 0 is dropped for it and counted, as for any other subscriber."""
    table = Table(Limits(sys_seconds=0, pending=2000))
    client, publisher = table.client("a", 5), table.client("p")
    client.subscribe("$share/g/t")
    for _ in range(100):
        publisher.publish("t", bytes(100))
    assert client.link.pending < 2200 and table.hub.counts.dropped_slow > 70
    assert len(client.messages()) + table.hub.counts.dropped_slow == 100


def test_all_that_is_retained() -> None:
    """At QoS 0 it is written as it is read, as it is by then. It may be asked for again and again."""
    table = Table(Limits(sys_seconds=0, pending=5000, retained_messages=200))
    publisher, client = table.client("p"), table.client("a", 5)
    for number in range(200):
        publisher.publish(f"t/{number}", b"%d" % number + bytes(100), retain=True)
    client.send(Subscribe(1, (Filter("#"),)))
    assert client.link.pending < 5500
    publisher.publish("t/150", b"new", retain=True).publish("t/151", b"", retain=True)
    got: list[Publish] = []
    while more := client.got(Publish):
        assert sum(len(each.payload) for each in more) < 5500
        got += more
    assert [each.topic for each in got] == [f"t/{number}" for number in range(200) if number != 151]
    assert got[150].payload == b"new" and all(each.retain for each in got)
    assert table.hub.counts.dropped_slow == 2  # what came while so much waited
    for _ in range(50):
        client.send(Subscribe(1, (Filter("#"),)))
    assert client.link.pending < 5500 and client.link.shown is not None and len(client.link.shown) <= 201


def test_more_is_retained_than_a_queue_holds() -> None:
    """Who subscribed to it at QoS 1 and reads is not closed for what else comes."""
    table = Table(Limits(sys_seconds=0, queue_messages=20, queue_bytes=5000, inflight=5))
    publisher, client = table.client("p"), table.client("a", 5)
    for number in range(100):
        publisher.publish(f"t/{number}", bytes(100), 1, retain=True)
    client.send(Subscribe(1, (Filter("#", 1),)))
    for _ in range(19):
        publisher.publish("t/new", b"new", 1)
    got = 0
    while more := client.got(Publish):
        got += len(more)
        client.send(*(Puback(each.packet_id) for each in more))
    assert got == 119 and not client.link.closing and table.hub.delivery.sessions["a"].shown == 0
    for _ in range(40):  # but what comes has its limit
        publisher.publish("t/new", b"new", 1)
    assert client.link.closing


def test_properties_have_a_size() -> None:
    """A queue and what is retained count them as well."""
    limits = Limits(sys_seconds=0, queue_bytes=10_000, retained_bytes=10_000)
    table = Table(limits)
    client, publisher = table.lasting("a", 5), table.client("p", 5)
    client.subscribe("t/#", qos=1)
    client.cut()
    more = {"user_properties": (("a", "b" * 3000),), "response_topic": "r" * 1000, "correlation_data": bytes(1000)}
    for number in range(1, 5):
        publisher.publish(f"t/{number}", b"m", 1, number, retain=True, **more)
    assert (table.hub.counts.dropped_full, table.hub.counts.retained_refused) == (3, 3)


def test_long_topics_are_not_remembered() -> None:
    """Ten thousand of 65,535 bytes would be more than there is."""
    table = Table()
    client, publisher = table.client("a"), table.client("p")
    client.subscribe("#")
    for length in (10, 60_000):
        publisher.publish("t" * length)
    assert len(client.messages()) == 2 and list(table.hub.delivery.routes.known) == ["t" * 10]


def test_what_is_too_old_takes_no_room() -> None:
    """A queue that is full of it takes what is new ([MQTT-3.3.2-5]), also what does not expire; and after a crash."""
    table = Table(Limits(sys_seconds=0, queue_messages=10))
    client, publisher = table.lasting("a", 5), table.client("p", 5)
    client.subscribe("t", qos=1)
    client.cut()
    for number in range(1, 21):
        publisher.publish("t", b"%d" % number, 1, number, message_expiry_interval=60 if number % 2 else None)
    assert table.hub.counts.dropped_full == 10
    table.wait(100)
    for number in range(21, 31):
        publisher.publish("t", b"%d" % number, 1, number)
    assert (table.hub.counts.expired, table.hub.counts.dropped_full) == (5, 15)
    table.crash()
    got = table.lasting("a", 5).messages()
    assert [payload for _, payload, _ in got] == [b"2", b"4", b"6", b"8", b"10", b"21", b"22", b"23", b"24", b"25"]


def test_to_hand_over_a_long_queue_is_no_long_work() -> None:
    """Each message is looked at once, however many there are."""
    table = Table(Limits(sys_seconds=0, inflight=1, queue_messages=20_000, queue_bytes=1 << 30))
    members = [table.client(name, 5) for name in "ab"]
    members[0].subscribe("$share/g/t", qos=1)
    publisher = table.client("p")
    session = table.hub.delivery.sessions["a"]
    for _ in range(3000):
        publisher.publish("t", b"m", 1)
    members[1].subscribe("$share/g/t", qos=1)
    session.unsent = Watched(session.unsent)
    members[0].cut()
    assert len(table.hub.delivery.sessions["b"].out) == 3000
    assert Watched.looks <= 3


class Watched(deque[Any]):
    """Counts how often it is gone through."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        Watched.looks += 1
        return super().__iter__()


def test_a_group_gives_to_who_has_room() -> None:
    """One who does not read and whose queue is full is passed over as long as another has room."""
    table = Table(Limits(sys_seconds=0, inflight=1, queue_messages=5))
    members = [table.client(name, 5) for name in "ab"]
    for member in members:
        member.subscribe("$share/g/t", qos=1)
    publisher = table.client("p")
    for _ in range(4):  # each has one, and is behind
        publisher.publish("t", b"m", 1)
    table.hub.delivery.routes.groups["$share/g/t"].leave(table.hub.delivery.sessions["b"])
    for _ in range(3):
        publisher.publish("t", b"m", 1)
    members[1].subscribe("$share/g/t", qos=1)
    for _ in range(3):
        publisher.publish("t", b"m", 1)
    assert not table.hub.counts.dropped_full and not any(member.link.closing for member in members)


def test_sessions_that_wait() -> None:
    """Beyond a number there are no new ones that last; who has one comes back, and who leaves none is let in."""
    table = Table(Limits(sys_seconds=0, sessions=3))
    for name in "abc":
        table.lasting(name, 5).cut()
    for version, code in ((5, Reason.QUOTA_EXCEEDED), (4, Reason.SERVER_UNAVAILABLE)):
        client = table.open(version)
        lasting = 3600 if version == 5 else None
        client.send(Connect("d", clean=False, version=version, session_expiry_interval=lasting))
        assert client.one(Connack).reason == code and client.link.closing
    table.client("e").cut()
    back = table.lasting("a", 5)
    table.lasting("d", 5)
    back.cut()
    assert set(table.hub.delivery.sessions) == set("abcd")


def test_the_last_word_fits() -> None:
    """Without words if the client does not read as many bytes ([MQTT-3.14.2-3], [MQTT-3.2.2-19])."""
    table = Table(allow=lambda link, action, topic: action == "connect")
    for most in (None, 60, 20):
        client = table.client("a", 5, maximum_packet_size=most)
        client.publish("", topic_alias=1)
        (said,) = client.got()
        assert isinstance(said, Disconnect) and said.reason is Reason.PROTOCOL_ERROR
        assert (said.reason_string is None) == (most == 20)
        _, (refused,) = table.connect("b", 5, maximum_packet_size=most, will=Will("a" * 20))
        assert isinstance(refused, Connack) and refused.reason is Reason.NOT_AUTHORIZED
        assert (refused.reason_string is None) == (most is not None)


@pytest.mark.parametrize("version", [4, 5])
def test_packets_of_very_many_parts(version: int) -> None:
    """They are refused before everybody waits for their being read."""
    table = Table(Limits(sys_seconds=0, packet=20 << 20))
    many = tuple(Filter("a") for _ in range(90_000))
    kinds: list[Packet] = [Subscribe(1, many), Unsubscribe(1, ("a",) * 90_000)]
    if version == 5:
        kinds.append(Publish("t", user_properties=(("a", "b"),) * 40_000))
    for packet in kinds:
        client = table.client("a", version).send(packet)
        assert client.link.closing and (version == 4 or bye(client) == Reason.QUOTA_EXCEEDED)
    client = table.client("a", version).send(Subscribe(1, many[:10_000]))
    assert len(client.one(Suback).reasons) == 10_000
