"""The message broker between sockets, time and the disk (ingest.md 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from broker_desk import BEGIN, Desk, payloads
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs, formatEvent

from anylog.errors import AnyLogError
from anylog.network.broker import Broker, BrokerOptions
from anylog.network.broker_device import LINGER
from anylog.network.tcp import TcpOptions
from anylog.testing.keeper import MemoryKeeper
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
    Subscribe,
    Will,
)
from anylog.wire.mqtt_records import Record
from anylog.wire.mqtt_session import Ticket

Batch = Sequence[tuple[Ticket | None, Publish]]
Outcome = Deferred[Mapping[Ticket, int] | None]


class Own:
    """One of the node's own clients, which says itself when it is done."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.waiting: list[Outcome] = []

    def deliver(self, batch: Batch) -> Outcome:
        """As the broker calls it."""
        self.batches.append(batch)
        waited: Outcome = Deferred()
        self.waiting.append(waited)
        return waited

    @property
    def topics(self) -> list[list[str]]:
        """Of each batch."""
        return [[packet.topic for _, packet in batch] for batch in self.batches]


def acks(packets: list[Packet]) -> list[tuple[int, int]]:
    """Packet id and reason of each PUBACK."""
    return [(packet.packet_id, packet.reason) for packet in packets if isinstance(packet, Puback)]


def test_one_write_a_turn() -> None:
    """All that arrived in one turn goes out in one write to each connection, at once to the socket."""
    desk = Desk()
    subscriber = desk.client("s", ("a/#", 0))
    publisher = desk.client("p")
    subscriber.wire.writes.clear()
    for number in range(100):
        publisher.send(Publish("a/b", b"%d" % number), turn=False)
    assert not subscriber.wire.writes
    desk.turn()
    assert len(subscriber.wire.writes) == 1
    assert payloads(subscriber.got()) == [b"%d" % number for number in range(100)]
    assert not subscriber.wire.waiting


def test_who_does_not_read() -> None:
    """What the socket does not take stays in the hub and counts there; QoS 0 beyond it is dropped, the rest arrives."""
    limits = Limits(sys_seconds=0, pending=10_000)
    desk = Desk(limits=limits)
    subscriber = desk.open()
    subscriber.send(Connect("s"), Subscribe(1, (Filter("a", 0),)))
    subscriber.got()
    subscriber.wire.room = 1000
    publisher = desk.client("p")
    for _ in range(100):
        publisher.send(Publish("a", bytes(1000)))
    assert len(subscriber.wire.waiting) < 1100, "the transport holds more than the rest of one write"
    link = subscriber.device.link
    assert 10_000 < link.pending < 12_000
    assert desk.broker.hub.counts.dropped_slow == 100 - desk.broker.hub.counts.messages_out
    subscriber.wire.drain(1 << 20)
    desk.turn()
    assert len(payloads(subscriber.got())) == 100 - desk.broker.hub.counts.dropped_slow
    assert not link.pending
    publisher.send(Publish("a", b"after"))
    assert payloads(subscriber.got()) == [b"after"]


def test_who_reads_fast() -> None:
    """What the socket takes goes to it in one turn, though the transport offers it less at a time."""
    desk = Desk(limits=Limits(sys_seconds=0))
    subscriber = desk.open()
    subscriber.send(Connect("s"), Subscribe(1, (Filter("a", 0),)))
    subscriber.got()
    publisher = desk.client("p")
    publisher.send(*[Publish("a", bytes(100_000)) for _ in range(10)])
    assert not subscriber.wire.waiting and not subscriber.device.link.pending
    assert len(payloads(subscriber.got())) == 10
    subscriber.wire.room = 500_000
    publisher.send(*[Publish("a", bytes(100_000)) for _ in range(10)])
    assert len(subscriber.wire.waiting) > 500_000, "the socket took what it could not take"
    subscriber.wire.drain(1 << 20)
    assert len(payloads(subscriber.got())) == 10


def test_reading_pauses() -> None:
    """Who has too much unanswered is not read from, until it is answered."""
    desk = Desk(limits=Limits(sys_seconds=0, receive=3))
    own = Own()
    desk.broker.subscribe_local("own", "a", 1, own.deliver)
    publisher = desk.client("p", version=4)
    for number in range(1, 4):
        publisher.send(Publish("a", b"x", 1, packet_id=number))
    assert publisher.wire.producerState == "paused"
    for waited in own.waiting:
        waited.callback(None)
    desk.turn()
    assert acks(publisher.got()) == [(1, 0), (2, 0), (3, 0)]
    assert publisher.wire.producerState == "producing"


def test_close_can_be_read() -> None:
    """The reason is written, then our half is closed; a client that stays is cut off after a while."""
    desk = Desk()
    client = desk.client("c")
    client.raw(b"\xf0\xff\xff\xff\xff\xff")
    (said,) = client.got()
    assert isinstance(said, Disconnect) and said.reason is Reason.MALFORMED_PACKET
    assert client.wire.half_closed and client.wire.producer is None
    client.raw(b"more")
    assert not client.got()
    desk.clock.advance(LINGER + 0.1)
    assert client.wire.disconnected
    client.lose()
    assert not desk.broker.devices


def test_close_of_who_does_not_read() -> None:
    """The reason is written when there is room; without room the connection is cut off all the same."""
    for reads in (True, False):
        desk = Desk()
        client = desk.open(room=1000)
        client.send(Connect("c"), Subscribe(1, (Filter("a", 0),)))
        client.got()
        client.wire.room = 10
        desk.client("p").send(Publish("a", bytes(100)))
        client.raw(b"\xf0\0")
        assert not client.wire.half_closed
        if reads:
            client.wire.drain(1000)
            desk.turn()
            assert isinstance(client.got()[-1], Disconnect)
            assert client.wire.half_closed
        desk.clock.advance(LINGER + 0.1)
        assert client.wire.disconnected


def test_who_says_nothing_is_closed() -> None:
    """The deadline of CONNECT, by the one timer of the broker."""
    desk = Desk()
    silent = desk.open()
    desk.clock.advance(desk.broker.hub.limits.connect_seconds + 0.1)
    desk.turn()
    assert silent.wire.half_closed
    talker = desk.client("t", keep_alive=10)
    for _ in range(4):
        desk.clock.advance(9)
        talker.raw(b"\xc0\0")
    talker.got()
    desk.clock.advance(16)
    desk.turn()
    (said,) = talker.got()
    assert isinstance(said, Disconnect) and said.reason is Reason.KEEP_ALIVE_TIMEOUT


def test_one_sync_serves_all_that_came_meanwhile() -> None:
    """One at a time; nothing is said before it."""
    desk = Desk(slow=True)
    clients = [desk.open() for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(Connect(f"c{number}", session_expiry_interval=100))
        assert not client.got()
    assert len(desk.keeper.batches) == 1
    desk.keeper.sync()
    desk.turn()
    assert isinstance(clients[0].got()[0], Connack)
    assert not clients[1].got() and not clients[2].got()
    assert len(desk.keeper.batches) == 2
    desk.keeper.sync()
    desk.turn()
    assert all(isinstance(client.got()[0], Connack) for client in clients[1:])


def test_a_disk_that_fails() -> None:
    """Nothing is said and nobody is read from until the same records could be kept."""
    desk = Desk()
    bystander = desk.client("b")
    desk.keeper.fault = OSError("disk full")
    client = desk.open()
    client.send(Connect("c", session_expiry_interval=100))
    assert not client.got()
    assert bystander.wire.producerState == "paused"
    assert desk.broker.counts["syncs failed"] == 1
    desk.clock.advance(1)
    assert desk.broker.counts["syncs failed"] == 2
    desk.keeper.fault = None
    desk.clock.advance(2)
    desk.turn()
    assert isinstance(client.got()[0], Connack)
    assert bystander.wire.producerState == "producing"
    assert len(desk.keeper.records) == 1


def test_what_was_kept_is_there_again() -> None:
    """Sessions and retained messages outlive a broker."""
    first = Desk()
    client = first.client("c", ("a/#", 1), session_expiry_interval=1000)
    client.lose()
    first.client("p").send(Publish("a/1", b"one", 1, True, packet_id=1))
    second = Desk(records=first.keeper.records)
    again = second.open().send(Connect("c", clean=False, session_expiry_interval=1000))
    connack, *rest = again.got()
    assert isinstance(connack, Connack) and connack.session_present
    assert payloads(rest) == [b"one"]
    assert payloads(second.open().send(Connect("n"), Subscribe(1, (Filter("a/1", 0),))).got()) == [b"one"]


def test_own_clients_get_a_turn_at_once() -> None:
    """One call a turn to each client, with tickets where a publisher waits; the answer follows what it returns."""
    desk = Desk()
    mine, yours = Own(), Own()
    desk.broker.subscribe_local("mine", "a/#", 1, mine.deliver)
    desk.broker.subscribe_local("yours", "a/2", 0, yours.deliver)
    one, two = desk.client("one"), desk.client("two", version=4)
    one.send(Publish("a/1", b"x"), Publish("a/2", b"y", 1, packet_id=5), turn=False)
    two.send(Publish("a/3", b"z", 1, packet_id=6), Publish("b", b"!", 1, packet_id=7), turn=False)
    desk.turn()
    assert mine.topics == [["a/1", "a/2", "a/3"]] and yours.topics == [["a/2"]]
    (_, second, third) = [ticket for ticket, _ in mine.batches[0]]
    assert mine.batches[0][0][0] is None and second is not None and third is not None
    assert (second.client_id, second.packet_id, second.qos) == ("one", 5, 1)
    mine.waiting[0].callback(None)
    desk.turn()
    assert not one.got(), "the other client is not done"
    assert acks(two.got()) == [(6, 0), (7, 0)]
    yours.waiting[0].callback({second: Reason.QUOTA_EXCEEDED})
    desk.turn()
    assert acks(one.got()) == [(5, Reason.QUOTA_EXCEEDED)]
    assert not desk.broker.tank.held


def test_own_clients_that_fail() -> None:
    """The publisher is told so if it can be, and the failure is counted by name."""
    desk = Desk()
    desk.broker.subscribe_local("own", "a", 0, lambda batch: fail(AnyLogError(502, "full")))
    five, four = desk.client("five"), desk.client("four", version=4)
    five.send(Publish("a", b"", 1, packet_id=1))
    assert acks(five.got()) == [(1, Reason.UNSPECIFIED_ERROR)]
    four.send(Publish("a", b"", 1, packet_id=1))
    assert not four.got() and four.wire.half_closed
    assert desk.broker.counts["messages not taken"] == 2
    assert desk.broker.counts.last("messages not taken") == "own: full"


@pytest.mark.parametrize(
    "message",
    [
        Publish("a", bytes(1000)),
        Publish("a", correlation_data=bytes(1000)),
        Publish("a", user_properties=(("a", "b" * 500), ("a", "b" * 500))),
    ],
)
def test_own_clients_that_are_slow(message: Publish) -> None:
    """Beyond a number of bytes nobody is read from until half of them is dealt with."""
    desk = Desk(held=10_000)
    own = Own()
    desk.broker.subscribe_local("own", "a", 0, own.deliver)
    publisher = desk.client("p")
    while publisher.wire.producerState == "producing":
        publisher.send(message)
        assert len(own.waiting) < 20, "never full"
    assert desk.broker.tank.held >= 10_000
    for waited in own.waiting[:5]:
        waited.callback(None)
    desk.turn()
    assert publisher.wire.producerState == "producing"


def test_a_disk_that_is_slow() -> None:
    """Also who gets no answers, as for what is retained at QoS 0, is not read from while too much waits for it."""
    desk = Desk(slow=True, held=10_000)
    publisher = desk.client("p")
    sent = 0
    while publisher.wire.producerState == "producing":
        publisher.send(Publish("a", b"%d" % sent + bytes(1000), retain=True))
        sent += 1
        assert sent < 20, "it is read from, however slow the disk is"
    desk.keeper.sync()
    desk.turn()
    assert publisher.wire.producerState == "producing" and desk.keeper.batches == [1, sent - 1]


def test_a_fault_over_one_connection() -> None:
    """The others get what is for them, then and later."""
    desk = Desk()
    clients = [desk.client(f"c{number}", ("a", 0)) for number in range(3)]

    def fault(data: bytes) -> int:
        raise RuntimeError("no")

    clients[1].device._direct = fault
    with capturedLogs() as logged:
        desk.client("p").send(Publish("a", b"1")).send(Publish("a", b"2"))
    assert [payloads(each.got()) for each in clients] == [[b"1", b"2"], [], [b"1", b"2"]]
    assert clients[1].wire.disconnected and any("writing to" in (formatEvent(each) or "") for each in logged)


def test_own_clients_leave() -> None:
    """Who unsubscribed gets nothing more; a publisher that waits for what it was given is answered still."""
    desk = Desk()
    own = Own()
    desk.broker.subscribe_local("own", "a", 0, own.deliver)
    publisher = desk.client("p")
    publisher.send(Publish("a", b"", 1, packet_id=1))
    assert desk.broker.unsubscribe_local("own") and not desk.broker.unsubscribe_local("own")
    publisher.send(Publish("a", b"", 1, packet_id=2))
    own.waiting[0].callback(None)
    desk.turn()
    assert acks(publisher.got()) == [(1, 0), (2, Reason.NO_MATCHING_SUBSCRIBERS)]
    assert len(own.batches) == 1
    with pytest.raises(AnyLogError, match="cannot be subscribed"):
        desk.broker.subscribe_local("own", "a/#/b", 0, own.deliver)


def test_the_node_publishes() -> None:
    """At once to those who are there; what is to last has fired when it does; no topic with wildcards."""
    desk = Desk(slow=True)
    own = Own()
    subscriber = desk.client("s", ("a", 1))
    desk.broker.subscribe_local("own", "a", 0, own.deliver)
    fired: list[None] = []
    desk.broker.publish("a", b"0").addCallback(fired.append)
    assert fired == [None]
    desk.broker.publish("a", b"1", 1, True).addCallback(fired.append)
    desk.turn()
    assert fired == [None] and payloads(subscriber.got()) == [b"0", b"1"]
    desk.keeper.sync()
    assert fired == [None, None]
    assert own.topics == [["a", "a"]] and own.batches[0][0][0] is None
    with pytest.raises(AnyLogError, match="not a topic to publish to"):
        desk.broker.publish("a/+", b"")
    for topic in ("a\0b", "a" * 65_536, "\ud800"):
        with pytest.raises(AnyLogError, match="not a topic to publish to"):
            desk.broker.publish(topic, b"", retain=True)
    assert not [row for row in desk.broker.rows() if row.event == "PUBLISH"]


def test_too_many_connections() -> None:
    """Those that are too many are told so, and those that are far too many are closed at once."""
    desk = Desk(connections=2)
    for name in "ab":
        desk.client(name)
    refused = desk.open()
    refused.send(Connect("c"))
    (said,) = refused.got()
    assert isinstance(said, Connack) and said.reason is Reason.SERVER_BUSY
    for _ in range(9):
        desk.open()
    (door,) = desk.places.doors.values()
    assert door.buildProtocol(None) is None
    assert desk.broker.counts["connections refused"] == 1
    refused.lose()
    assert door.buildProtocol(None) is not None


def test_stop() -> None:
    """What was taken is answered, clients are told, sessions are kept, who does not leave is cut off."""
    desk = Desk()
    own = Own()
    desk.broker.subscribe_local("own", "a", 0, own.deliver)
    leaves = desk.client("leaves", session_expiry_interval=100)
    stays = desk.client("stays")
    leaves.send(Publish("a", b"", 1, packet_id=1))
    stopped: list[None] = []
    desk.broker.stop().addCallback(stopped.append)
    assert desk.places.doors and not leaves.got()
    own.waiting[0].callback(None)
    for _ in range(3):
        desk.clock.advance(0.05)
        desk.turn()
    answered, told = leaves.got()
    assert isinstance(answered, Puback)
    assert isinstance(told, Disconnect) and told.reason is Reason.SERVER_SHUTTING_DOWN
    leaves.lose(clean=True)
    assert not stopped
    for _ in range(101):
        desk.clock.advance(0.05)
    assert stopped == [None] and stays.wire.disconnected and desk.keeper.closed
    assert len(desk.keeper.records) == 2  # opened, left


def test_a_port_in_use() -> None:
    """It is named, and nothing is left behind."""
    desk = Desk()
    desk.places.taken = "tcp:1884:interface=127.0.0.1"
    other = Broker(
        net=desk.places,  # type: ignore[arg-type]
        clock=desk.clock,  # type: ignore[arg-type]
        keeper=desk.keeper,
        options=BrokerOptions(place=TcpOptions(internal_ip="127.0.0.1", internal_port=1884, bind=True)),
    )
    failures: list[str] = []
    other.start().addErrback(lambda failure: failures.append(str(failure.value)))
    assert failures == ["Failed to open a message broker on 127.0.0.1:1884: in use"]
    assert desk.keeper.closed


def test_who_came() -> None:
    """By address and event: what went well, what did not, and why."""
    desk = Desk()
    client = desk.client("c", user_name="pump")
    client.send(Publish("a", b""), Publish("$SYS/x", b"", 1, packet_id=1))
    desk.open().raw(b"SSH-2.0\r\n").lose()
    client.raw(b"\xf0\0")
    client.lose()
    desk.client("d").lose()
    rows = {(row.protocol, row.event): row for row in desk.broker.rows()}
    assert {key: (row.success, row.errors) for key, row in rows.items()} == {
        ("MQTT", "CONNECT"): (2, 0),
        ("MQTT", "PUBLISH"): (1, 1),
        ("MQTT", "DISCONNECT"): (2, 0),
        ("UNKNOWN", "CONNECT"): (0, 1),
    }
    assert rows["MQTT", "CONNECT"].user == "pump" and rows["MQTT", "CONNECT"].ip == "10.0.0.7"


@pytest.mark.parametrize("version", [4, 5])
def test_hold_is_not_silence(version: int) -> None:
    """Who is not read from is not blamed for saying nothing."""
    desk = Desk(limits=Limits(sys_seconds=0, receive=1))
    own = Own()
    desk.broker.subscribe_local("own", "a", 1, own.deliver)
    publisher = desk.client("p", version=version, keep_alive=10)
    publisher.send(Publish("a", b"x", 1, packet_id=1))
    assert publisher.wire.producerState == "paused"
    for _ in range(10):
        desk.clock.advance(10)
        desk.turn()
    assert not publisher.wire.half_closed
    own.waiting[0].callback(None)
    desk.turn()
    assert acks(publisher.got()) == [(1, 0)]


def test_trace() -> None:
    """What comes is logged with its source, shortened, and nothing of a CONNECT, which may hold a password."""
    desk = Desk(trace=2)
    with capturedLogs() as events:
        client = desk.client("c", user_name="u", password=b"secret")
        client.send(Publish("a", b"payload" * 100))
    texts = [str(formatEvent(event)) for event in events]
    assert texts[0] == "10.0.0.7:40000 CONNECT"
    assert texts[1].startswith("10.0.0.7:40000 0\\xc0\\x05") and texts[1].endswith(" ...") and "payload" in texts[1]
    assert "secret" not in "".join(texts)


def test_who_came_is_shown_by_the_time_of_day() -> None:
    """Also after the clock of the machine was set, which deadlines do not follow."""
    desk = Desk()
    desk.client("c")
    setattr(desk.clock, "unix", lambda: desk.clock.seconds() + 3600)  # noqa: B010
    (row,) = desk.broker.rows()
    assert (row.last, row.last_error) == (BEGIN + 3600, 0)


class Unreadable(MemoryKeeper):
    """Of which nothing can be had."""

    def load(self) -> Deferred[list[Record]]:
        """Fails."""
        return fail(AnyLogError(504, "damaged"))


def test_what_was_kept_cannot_be_read() -> None:
    """The broker does not start, and lets go of what it had opened."""
    desk = Desk()
    keeper = Unreadable()
    place = TcpOptions(internal_ip="127.0.0.1", internal_port=1884, bind=True)
    broker = Broker(net=desk.places, clock=desk.clock, keeper=keeper, options=BrokerOptions(place=place))  # type: ignore[arg-type]
    failed: list[object] = []
    broker.start().addErrback(failed.append)
    assert len(failed) == 1 and keeper.closed and "tcp:1884:interface=127.0.0.1" not in desk.places.doors


def test_a_certificate_is_read_once() -> None:
    """Its name is asked for with each message."""
    desk = Desk()
    client = desk.client("c")
    asked: list[None] = []
    setattr(client.wire, "getPeerCertificate", lambda: asked.append(None))  # noqa: B010
    client.device.encrypted = True
    assert [client.device.common_name() for _ in range(3)] == [""] * 3 and len(asked) == 1


def test_a_will_after_a_crash() -> None:
    """The node's own clients have it as well: they are there before what was kept goes on."""
    first = Desk()
    first.client("c", session_expiry_interval=1000, will=Will("w", b"gone", 1))
    own = Own()
    second = Desk()
    broker = Broker(
        net=second.places,  # type: ignore[arg-type]
        clock=second.clock,  # type: ignore[arg-type]
        keeper=MemoryKeeper(list(first.keeper.records)),
        options=BrokerOptions(place=TcpOptions(internal_ip="127.0.0.1", internal_port=1884, bind=True)),
        ready=lambda broker: None if broker is None else broker.subscribe_local("own", "w", 1, own.deliver),
    )
    broker.start()
    second.turn()
    assert [[packet.payload for _, packet in batch] for batch in own.batches] == [[b"gone"]]
