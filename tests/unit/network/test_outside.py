"""An outside broker by hand: time is moved, and what the broker would say is said by our own codec."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as paho
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.interfaces import Repeat
from anylog.network.outside import CONNECTED, STOPPED, WAITING, OutsideBroker
from anylog.network.outside_access import Access, Debug, Refused, Tls, TlsLayer, read_broker
from anylog.network.outside_memory import Exchanges
from anylog.network.outside_websocket import WebSocketLayer
from anylog.network.publish_commands import access_of
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane
from anylog.wire.mqtt_packets import (
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Reason,
    Suback,
    Subscribe,
)
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_write import encode


class Wire(StringTransport):
    """A transport that can be cut."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk, self.aborted = desk, False

    def abortConnection(self) -> None:
        self.aborted = True
        self.desk.clock.callLater(0, self.desk.cut)


def remembering(disk: MemoryDisk) -> Exchanges:
    return Exchanges(disk=disk, lane=InlineLane(), path=Path("/home/outside/x.session"), token=os.urandom)


class Desk:
    """A broker on paper: what it is told, and what it says."""

    def __init__(self, disk: MemoryDisk | None = None, **more: Any) -> None:
        self.disk = disk or MemoryDisk()
        self.clock = Clock()
        self.clock.advance(1000)
        self.up, self.attempts = True, []
        self.line: Any = None
        self.kept: list[tuple[Repeat | None, Publish]] = []
        self.waits: list[Deferred[None]] = []
        access = Access(**{"host": "h", "client_id": "me", "persistent": True, "keep_alive": 20, **more})
        self.version = access.version
        self.broker = OutsideBroker(
            clock=self.clock, net=self, chance=Random(1), read=lambda function: succeed(function()),  # type: ignore
            token=bytes, access=access, topics=[("a/#", 2)], deliver=self.deliver, memory=remembering(self.disk),
        )  # fmt: skip
        self.broker.start()

    def connect(self, endpoint: str, factory: Any) -> Deferred[Any]:
        self.attempts.append(self.clock.seconds())
        if not self.up:
            raise ConnectionRefusedError
        self.reader = Reader(side="broker")
        self.line, self.wire = factory.buildProtocol(None), Wire(self)
        self.line.makeConnection(self.wire)
        return succeed(self.line)

    def deliver(self, items: Sequence[tuple[Repeat | None, Publish]]) -> Deferred[None]:
        self.kept += items
        self.waits.append(Deferred())
        return self.waits[-1]

    def told(self) -> list[Any]:
        """What the broker was told since the last time."""
        data = self.wire.value()
        self.wire.clear()
        return list(self.reader.feed(data))

    def say(self, *packets: Any) -> None:
        self.line.dataReceived(b"".join(encode(packet, self.version) for packet in packets))

    def cut(self) -> None:
        self.line.connectionLost(Failure(ConnectionDone()))

    def accept(self, present: bool = False) -> list[Any]:
        """Up to the subscription."""
        before = self.told()
        self.say(Connack(session_present=present))
        asked = self.told()
        for packet in asked:
            if isinstance(packet, Subscribe):
                self.say(Suback(packet.packet_id, (Reason.GRANTED_QOS_2,)))
        return before + asked


def test_answers_follow_the_disk_in_order() -> None:
    """Nothing is answered before it is kept; what is kept early waits for what came before it."""
    desk = Desk()
    first = desk.accept()
    assert isinstance(first[0], Connect) and not first[0].clean
    assert desk.broker.state == CONNECTED
    desk.say(Publish("a/1", b"x", 1, packet_id=1), Publish("a/2", b"y", 2, packet_id=2), Publish("a/0", b"z"))
    desk.say(Publish("a/3", b"x", 1, packet_id=3))
    assert [len(desk.waits), len(desk.kept), desk.told()] == [2, 4, []]
    desk.waits[1].callback(None)
    assert desk.told() == []
    desk.waits[0].callback(None)
    assert desk.told() == [Puback(1), Pubrec(2), Puback(3)]
    desk.say(Pubrel(2))
    assert desk.told() == [Pubcomp(2)]
    desk.say(Pubrel(9))
    assert desk.told() == [Pubcomp(9)]
    known = [known for known, _ in desk.kept]
    assert known[2] is None and len({each[0] for each in known if each}) == 3


def test_repeats_are_known() -> None:
    """At QoS 1 with DUP, packet id and content it is the same message; at QoS 2 by its id, until that is released.

    When the broker has forgotten the session nothing is a repeat.
    """
    desk = Desk()
    desk.accept()

    def again(packet: Publish) -> Repeat | None:
        """With what it is handed over, None if it is only answered."""
        before = len(desk.kept)
        desk.say(packet)
        if len(desk.kept) > before:
            desk.waits[-1].callback(None)
            return desk.kept[-1][0]
        return None

    first = again(Publish("a/1", b"x", 1, packet_id=1))
    assert first is not None and not first[2]
    desk.told()
    desk.cut()
    desk.clock.advance(2)
    desk.accept(present=True)
    assert again(Publish("a/1", b"x", 1, dup=True, packet_id=1)) is None
    assert desk.told() == [Puback(1)] and desk.broker.counts["repeated"] == 1
    other = again(Publish("a/1", b"other", 1, dup=True, packet_id=1))
    assert other is not None and other[0] == first[0] and other[1] != first[1]
    assert again(Publish("a/1", b"other", 1, packet_id=1)) == (*other[:2], False)
    second = again(Publish("a/2", b"y", 2, packet_id=2))
    assert second is not None
    assert again(Publish("a/2", b"y", 2, packet_id=2)) is None
    assert again(Publish("a/2", b"y", 2, dup=True, packet_id=2)) is None
    desk.say(Pubrel(2))
    third = again(Publish("a/2", b"y", 2, dup=True, packet_id=2))
    assert third is not None and third[0] == second[0] and third[1] != second[1]
    desk.cut()
    desk.clock.advance(2)
    desk.accept(present=False)
    last = again(Publish("a/1", b"other", 1, dup=True, packet_id=1))
    assert last is not None and last[1] != other[1]


def test_repeats_are_known_after_a_crash() -> None:
    """What is on its way has the name of the first time; what was released since has not."""
    desk = Desk()
    assert desk.accept()
    desk.say(Publish("a/1", b"x", 1, packet_id=1), Publish("a/2", b"y", 2, packet_id=2))
    desk.waits[0].callback(None)
    one, two = (known for known, _ in desk.kept)
    assert one is not None and two is not None

    def crashed(desk: Desk) -> Desk:
        found = Desk(desk.disk.crash(Random(1)))
        assert not [each for each in found.accept(present=True) if isinstance(each, Subscribe)]
        return found

    desk = crashed(desk)
    assert desk.broker.state == CONNECTED
    desk.say(Publish("a/1", b"x", 1, dup=True, packet_id=1), Publish("a/2", b"y", 2, dup=True, packet_id=2))
    assert [known for known, _ in desk.kept] == [(*one[:2], True), two]
    desk.waits[0].callback(None)
    desk.say(Pubrel(2))
    assert desk.told() == [Puback(1), Pubrec(2), Pubcomp(2)]
    desk = crashed(desk)
    desk.say(Publish("a/2", b"y", 2, dup=True, packet_id=2))
    ((known, _),) = desk.kept
    assert known is not None and known[0] == two[0] and known[1] != two[1]


def test_a_broken_memory() -> None:
    """A line that was not whole says nothing; what cannot be written is not answered, and is made good by the next."""
    disk = MemoryDisk()
    memory = remembering(disk)
    memory.open()
    memory.subscribed([("a", 1)])
    memory.release([5, 6, 5])
    path = Path("/home/outside/x.session")
    names = {memory.exchange(each) for each in (5, 6, 7)}
    assert len(names) == 3
    whole = disk.read(path)
    for cut in range(2, 30):
        disk.publish(path, whole[:-cut])
        again = remembering(disk)
        again.open()
        assert again.session == memory.session and again.topics == {"a": 1}
        assert again.exchange(6) == again.exchange(7)
    disk.publish(path, whole)
    again = remembering(disk)
    again.open()
    assert {again.exchange(each) for each in (5, 6, 7)} == names and again.topics == {"a": 1}
    again.begin()
    assert again.exchange(7) not in names and not again.topics


def test_what_was_not_kept_has_the_key_of_the_first_time() -> None:
    """The connection is dropped and nothing more is answered on it; the next waits until it is known what was kept."""
    desk = Desk()
    desk.accept()
    desk.say(Publish("a/1", b"x", 1, packet_id=1))
    desk.say(Publish("a/1", b"y", 1, packet_id=2))
    desk.told()
    desk.waits[0].errback(AnyLogError(503, "full"))
    assert desk.wire.aborted
    desk.clock.advance(0)
    assert "could not be kept: full" in desk.broker.last_error
    desk.clock.advance(100)
    assert len(desk.attempts) == 1
    desk.waits[1].callback(None)
    assert desk.told() == []
    desk.clock.advance(2)
    desk.accept(present=True)
    desk.say(Publish("a/1", b"x", 1, dup=True, packet_id=1), Publish("a/1", b"y", 1, dup=True, packet_id=2))
    (before, _), _, (after, _) = desk.kept
    assert before is not None and after == (*before[:2], True)
    desk.waits[-1].callback(None)
    assert desk.told() == [Puback(1), Puback(2)]


def test_silence() -> None:
    """We say that we live; a broker that does not is left; one that we do not read is not silent."""
    desk = Desk()
    desk.accept()
    for _ in range(10):
        desk.clock.advance(1)
    assert desk.told() == [Pingreq()]
    desk.line.pause("test")
    for _ in range(100):
        desk.clock.advance(1)
    assert len(desk.told()) >= 9 and not desk.wire.aborted
    desk.line.resume("test")
    wire = desk.wire
    for _ in range(29):
        desk.clock.advance(1)
    assert not wire.aborted
    for _ in range(2):
        desk.clock.advance(1)
    assert wire.aborted and "silent for" in desk.broker.last_error


def test_pauses_grow_up_to_a_minute() -> None:
    """Each pause is between half of it and all of it; a connection that proved itself begins anew."""
    desk = Desk()
    desk.up = False
    desk.cut()
    for _ in range(4000):
        desk.clock.advance(0.25)
    waits = [after - before for before, after in zip(desk.attempts[1:], desk.attempts[2:], strict=False)]
    for number, wait in enumerate(waits):
        most = min(60.0, 2.0 ** (number + 1))
        assert most / 2 <= wait <= most + 0.25, (number, waits)
    assert waits[-1] >= 30 and len(set(waits[-8:])) > 4
    assert "cannot be reached" in desk.broker.last_error and desk.broker.state == WAITING
    desk.up = True
    desk.clock.advance(60)
    desk.accept()
    desk.clock.advance(31)
    desk.up = False
    before = len(desk.attempts)
    desk.cut()
    desk.clock.advance(1)
    assert len(desk.attempts) == before + 1


def test_no_answer_and_refusals() -> None:
    """Each with its own words."""
    desk = Desk(patience=5)
    for _ in range(6):
        desk.clock.advance(1)
    assert "no answer to CONNECT within 5 seconds" in desk.broker.last_error
    for version, packet, told in (
        (4, Connack(Reason.BAD_USER_NAME_OR_PASSWORD), "the broker refuses us: Bad user name or password"),
        (5, Connack(Reason.BANNED, reason_string="go away"), "the broker refuses us: Banned (go away)"),
        (4, Connack(Reason.UNSUPPORTED_PROTOCOL_VERSION), "does not speak this version of MQTT"),
    ):
        desk = Desk(version=version)
        desk.told()
        desk.say(packet)
        desk.cut()
        assert told in desk.broker.last_error
    desk = Desk(version=5)
    desk.accept()
    desk.say(Disconnect(Reason.SERVER_SHUTTING_DOWN))
    desk.cut()
    assert "the broker ended it: Server shutting down" in desk.broker.last_error
    desk = Desk(largest=1000)
    desk.accept()
    desk.line.dataReceived(encode(Publish("a/b", b"x" * 5000), 4)[:100])
    assert desk.wire.aborted
    desk.clock.advance(0)
    assert "at most 1,000 are taken" in desk.broker.last_error
    desk = Desk(version=5)
    desk.told()
    desk.say(Connack())
    (asked,) = desk.told()
    desk.say(Suback(asked.packet_id, (Reason.NOT_AUTHORIZED,)))
    assert desk.broker.refused == {"a/#": "Not authorized"}
    assert desk.broker.last_error == "the broker does not send a/#: Not authorized"
    for _ in range(2):  # it is asked for again, later each time
        desk.clock.advance(2)
        (asked,) = desk.told()
        desk.say(Suback(asked.packet_id, (Reason.NOT_AUTHORIZED,)))
    desk.clock.advance(0.5)
    assert desk.told() == []
    desk.clock.advance(4)
    (asked,) = desk.told()
    desk.say(Suback(asked.packet_id, (Reason.GRANTED_QOS_2,)))
    assert not desk.broker.refused


def test_topics_that_are_no_text() -> None:
    """Such a message is counted and answered: it would come again for ever."""
    desk = Desk()
    desk.accept()
    desk.line.dataReceived(b"\x32\x06\x00\x02\xff\xfe\x00\x07")
    assert (desk.told(), desk.broker.counts["malformed"], desk.kept) == ([Puback(7)], 1, [])


class Shown(Debug):
    """`set mqtt debug = on`."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(on=True)
        self.texts = texts

    def say(self, text: str) -> None:
        self.texts.append(text)


def messages(version: int) -> list[Publish]:
    """All that a PUBLISH can be."""
    found = [
        Publish("a/1", b"x", 0),
        Publish("a/1", b"", 0, True),
        Publish("a", b'{"v": 1}' * 30, 1, packet_id=1),
        Publish("a/ü", b"\x00\xff", 1, dup=True, packet_id=65_535),
        Publish("a/2", b"y" * 118, 2, packet_id=256),
        Publish("a/2", b"z" * 20_000, 2, True, True, packet_id=257),
        Publish("a/3", b"", 1, packet_id=2),
    ]
    if version == 5:
        found.append(Publish("a/4", b"w", 1, packet_id=3, content_type="text", user_properties=(("k", "v"),)))
        found.append(Publish("a/4", b"w", 0, message_expiry_interval=7))
    return [*found, Publish("a/5", b"last", 1, packet_id=4)]


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("version", [4, 5])
def test_messages_by_both_ways(version: int, shown: bool) -> None:
    """What goes past paho is what paho makes of it, however the bytes are cut; what is shown goes through paho."""
    whole = b"".join(encode(each, version) for each in messages(version))
    wanted = messages(version)
    cuts = [range(0, len(whole), step) for step in (len(whole), 1000, 64, 7)] + [[0, at] for at in range(1, 1200, 3)]
    for cut in cuts:
        desk = Desk(version=version)
        shows: list[str] = []
        desk.accept()
        if shown:
            desk.line._debug = Shown(shows)
            desk.clock.advance(1)
            desk.told()
        for begin, end in zip(cut, [*cut[1:], len(whole)], strict=True):
            desk.line.dataReceived(whole[begin:end])
        assert [packet for _, packet in desk.kept] == wanted, cut
        for wait in desk.waits:
            wait.callback(None)
        ids = [(each.packet_id, Puback if each.qos == 1 else Pubrec) for each in wanted if each.qos]
        assert [(each.packet_id, type(each)) for each in desk.told()] == ids
        assert sum("Received PUBLISH" in text for text in shows) == (len(wanted) if shown else 0)


@pytest.mark.parametrize("version", [4, 5])
def test_many_messages_go_past_paho(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are whole and plain cost it nothing."""
    desk = Desk(version=version)
    desk.accept()
    monkeypatch.setattr(paho.Client, "_packet_read", None)
    plain = [Publish("a/1", b"%d" % number, number % 3, packet_id=number if number % 3 else 0) for number in range(99)]
    desk.say(*plain)
    assert [packet for _, packet in desk.kept] == plain


@pytest.mark.parametrize(
    "odd",
    [
        b"\x36\x05\x00\x01a\x00\x01",  # QoS 3
        b"\x32\x05\x00\x09a\x00\x01",  # a topic longer than the packet
        b"\x32\x03\x00\x01a",  # no packet id
    ],
)
def test_odd_messages(odd: bytes) -> None:
    """The connection ends, and what came before is kept."""
    desk = Desk()
    desk.accept()
    desk.line.dataReceived(encode(Publish("a/1", b"x", 1, packet_id=7), 4) + odd)
    assert [packet.packet_id for _, packet in desk.kept] == [7]
    assert desk.wire.aborted or desk.wire.disconnecting


def test_stopping_before_there_is_an_answer() -> None:
    """Whatever it was doing, nothing is left."""
    desk = Desk()
    Deferred.fromCoroutine(desk.broker.stop())
    desk.clock.advance(0)
    assert desk.broker.state == STOPPED and desk.wire.aborted and not desk.clock.getDelayedCalls()
    desk = Desk()
    desk.up = False
    desk.cut()
    Deferred.fromCoroutine(desk.broker.stop())
    assert not desk.clock.getDelayedCalls()


@pytest.mark.parametrize(
    ("text", "port", "wanted"),
    [
        ("10.0.0.5", None, ("10.0.0.5", 1883, False, "")),
        ("10.0.0.5", 8883, ("10.0.0.5", 8883, True, "")),
        ("b.example:1884", None, ("b.example", 1884, False, "")),
        ("mqtts://b.example", None, ("b.example", 8883, True, "")),
        ("mqtts://b.example", 9000, ("b.example", 9000, True, "")),
        ("mqtt://[::1]:1", None, ("::1", 1, False, "")),
        ("ws://b.example", None, ("b.example", 80, False, "/mqtt")),
        ("wss://b.example:444/x/y", None, ("b.example", 444, True, "/x/y")),
        *((text, None, None) for text in ("", "a b", "http://x", "mqtt://x/y", "x:0", "x:70000", "a:1:2", "mqtt://")),
    ],
)
def test_addresses(text: str, port: int | None, wanted: Any) -> None:
    """Scheme, port and path say how; what is no address is named."""
    if wanted is None:
        with pytest.raises(AnyLogError, match=r"is not|have a path"):
            read_broker(text, port)
    else:
        assert read_broker(text, port) == wanted


def test_access_by_options() -> None:
    """`unused` stands for nobody, TLS for any of its options."""
    options: dict[str, Any] = {
        "port": None, "user": "unused", "password": "unused", "client_id": "", "version": "5", "tls_ca": "",
        "tls_cert": "", "tls_key": "", "tls_insecure": False,
    }  # fmt: skip
    found = access_of("h", options, client_id="made")
    assert (found.user, found.password, found.client_id, found.version, found.tls) == ("", "", "made", 5, None)
    assert access_of("h", {**options, "tls_insecure": True}, client_id="x").tls == Tls(insecure=True)
    for wrong in ({"version": "6"}, {"tls_key": "k"}):
        with pytest.raises(AnyLogError):
            access_of("h", {**options, **wrong}, client_id="x")


def test_websocket_refuses_what_is_none() -> None:
    """Each wrong answer and frame by name, wherever the bytes are cut."""
    head = b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: "
    good = head + b"ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"  # for a key of zeros
    for data, told in (
        (b"HTTP/1.1 200 OK\r\n\r\n", "no WebSocket there"),
        (head + b"x\r\n\r\n", "not one to ours"),
        (good.replace(b"mqtt", b"chat"), "does not speak MQTT"),
        (b"x" * 20_000, "has no end"),
        (good + b"\x82\x80", "is masked"),
        (good + b"\xf2\x00", "nobody agreed on"),
        (good + b"\x81\x00", "kind 1 carries no MQTT"),
        (good + b"\x89\x7e", "too long, or in pieces"),
        (good + b"\x82\x7f" + b"\x01" * 8, "at most"),
        (good + b"\x88\x02\x03\xf0", "closed the WebSocket with code 1008"),
    ):
        for step in (1, 5, len(data)):
            layer = WebSocketLayer(Access(host="h", client_id="c", websocket="/mqtt"), bytes)
            with pytest.raises(Refused, match=told):
                for at in range(0, len(data), step):
                    layer.receive(data[at : at + step])
    layer = WebSocketLayer(Access(host="h", client_id="c", websocket="/mqtt"), bytes)
    assert layer.taken().startswith(b"GET /mqtt HTTP/1.1\r\nHost: h:1883\r\n")
    assert layer.receive(good + b"\x02\x02ab\x89\x01p\x80\x01c") == b"abc"
    assert layer.taken() == b"\x8a\x81\0\0\0\0p"
    assert layer.wrap(b"x" * 126)[:8] == b"\x82\xfe\x00\x7e\0\0\0\0"


def test_tls_refuses_what_is_none() -> None:
    """What is no TLS is said to be so."""
    layer = TlsLayer(ssl.create_default_context(), "h")
    assert layer.taken().startswith(b"\x16\x03")
    with pytest.raises(Refused, match="TLS failed"):
        layer.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")
