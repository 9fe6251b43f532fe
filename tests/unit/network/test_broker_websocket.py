"""MQTT over WebSocket on the port of the broker (OASIS MQTT 5.0, 6)."""

from __future__ import annotations

import pytest
from broker_desk import Desk, Wire, payloads
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

from anylog.network.broker_device import LINGER, Device
from anylog.wire.mqtt_packets import Connack, Connect, Disconnect, Filter, Packet, Publish, Reason, Suback, Subscribe
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_write import encode


class Browser:
    """A client that speaks WebSocket."""

    def __init__(self, desk: Desk, path: str = "/mqtt", subprotocols: tuple[str, ...] = ("mqtt",)) -> None:
        client = desk.open()
        self.desk, self.wire, self.device = desk, client.wire, client.device
        self.socket, self.reader = WSConnection(ConnectionType.CLIENT), Reader(5, side="client")
        self.raw(self.socket.send(Request(host="edge", target=path, subprotocols=list(subprotocols))))

    wire: Wire
    device: Device

    def raw(self, data: bytes) -> None:
        """Bytes of whatever."""
        self.device.dataReceived(data)
        self.desk.turn()

    def say(self, event: Event) -> None:
        """A frame."""
        self.raw(self.socket.send(event))

    def events(self) -> list[Event]:
        """What came."""
        data = self.wire.value()
        self.wire.clear()
        if data:
            self.socket.receive_data(data)
        return list(self.socket.events())

    def packets(self) -> list[Packet]:
        """What came of MQTT, all of it in binary frames."""
        found: list[Packet] = []
        for event in self.events():
            assert isinstance(event, BytesMessage), event
            found += self.reader.feed(bytes(event.data))
        return found

    def send(self, *packets: Packet) -> None:
        """MQTT in one frame."""
        self.say(BytesMessage(data=b"".join(encode(packet, 5) for packet in packets)))


def joined(desk: Desk) -> Browser:
    """One that is connected."""
    browser = Browser(desk)
    assert isinstance(browser.events()[0], AcceptConnection)
    browser.send(Connect("b", version=5), Subscribe(1, (Filter("a/#", 1),)))
    connack, suback = browser.packets()
    assert isinstance(connack, Connack) and isinstance(suback, Suback)
    return browser


@pytest.mark.parametrize(
    ("path", "subprotocols", "answer"),
    [
        ("/mqtt", ("mqtt",), "mqtt"),
        ("/", ("mqtt",), "mqtt"),
        ("/mqtt?x=1", ("other", "mqtt"), "mqtt"),
        ("/mqtt", ("mqttv3.1",), "mqttv3.1"),
        ("/mqtt", (), 400),
        ("/mqtt", ("chat",), 400),
        ("/else", ("mqtt",), 404),
    ],
)
def test_upgrade(path: str, subprotocols: tuple[str, ...], answer: str | int) -> None:
    """Two paths, and a subprotocol that the client must ask for ([MQTT-6.0.0-3])."""
    browser = Browser(Desk(), path, subprotocols)
    said = browser.events()[0]
    if isinstance(answer, str):
        assert isinstance(said, AcceptConnection) and said.subprotocol == answer
    else:
        assert isinstance(said, RejectConnection) and said.status_code == answer
        assert browser.wire.half_closed


def test_no_websocket() -> None:
    """A request of plain HTTP is refused; so is what only begins like one."""
    for text in (b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n", b"GET nothing at all\r\n\r\n"):
        desk = Desk()
        client = desk.open().raw(text)
        assert client.wire.value().startswith(b"HTTP/1.1 400 ")
        assert client.wire.half_closed
        client.raw(b"more")
        client.lose()
        assert not desk.broker.devices


def test_the_first_bytes_one_by_one() -> None:
    """A request that comes in pieces is one; what only begins like one is not MQTT either, and closed."""
    desk = Desk()
    client = desk.open()
    for byte in b"GET / HTTP/1.1\r\n\r\n":
        client.raw(bytes([byte]))
    assert client.wire.value().startswith(b"HTTP/1.1 400 ") and client.device.kind == "MQTT/WS"
    other = desk.open()
    other.raw(b"GE").raw(b"TS")
    assert other.wire.half_closed and not other.wire.value() and other.device.kind == "UNKNOWN"


def test_packets_and_frames() -> None:
    """A packet in pieces over frames and fragments, several in one frame; answers one frame a turn ([MQTT-6.0.0-2])."""
    browser = joined(Desk())
    data = encode(Publish("a/1", b"one", 1, packet_id=7), 5)
    for byte in data[:-2]:
        browser.say(BytesMessage(data=bytes([byte])))
    browser.say(BytesMessage(data=data[-2:-1], message_finished=False))
    browser.say(Ping(payload=b"within"))
    assert [type(event) for event in browser.events()] == [Pong]
    browser.say(BytesMessage(data=data[-1:], message_finished=True))
    assert payloads(browser.packets()) == [b"one"]
    raw = browser.socket.send(BytesMessage(data=encode(Publish("a/2", b"cut"), 5)))
    for place in range(len(raw)):
        browser.raw(raw[place : place + 1])
    assert payloads(browser.packets()) == [b"cut"]
    browser.wire.writes.clear()
    browser.send(*(Publish("a/3", b"%d" % number) for number in range(50)))
    assert len(browser.wire.writes) == 1
    assert payloads(browser.packets()) == [b"%d" % number for number in range(50)]


def test_text_is_refused() -> None:
    """[MQTT-6.0.0-1]; the will is published."""
    desk = Desk()
    browser = joined(desk)
    browser.say(TextMessage(data="hello"))
    (said,) = browser.events()
    assert isinstance(said, CloseConnection) and said.code == 1003
    assert browser.wire.half_closed


def test_close() -> None:
    """A close is answered, and the client is gone when the connection is."""
    desk = Desk()
    browser = joined(desk)
    browser.say(CloseConnection(code=1000))
    (said,) = browser.events()
    assert isinstance(said, CloseConnection) and said.code == 1000
    assert browser.wire.half_closed
    desk.clock.advance(LINGER + 0.1)
    assert browser.wire.disconnected
    browser.device.connectionLost()
    assert not desk.broker.hub.clients


def test_the_broker_closes() -> None:
    """DISCONNECT with its reason, then the close of the WebSocket, then our half of the connection."""
    browser = joined(Desk())
    browser.say(BytesMessage(data=b"\xf0\0\xff"))
    message, close = browser.events()
    assert isinstance(message, BytesMessage) and isinstance(close, CloseConnection) and close.code == 1001
    (said,) = browser.reader.feed(bytes(message.data))
    assert isinstance(said, Disconnect) and said.reason in (Reason.MALFORMED_PACKET, Reason.PROTOCOL_ERROR)
    assert browser.wire.half_closed


def test_broken_frames() -> None:
    """What is no frame closes with the code of the standard."""
    browser = joined(Desk())
    browser.raw(b"\xff\xff\xff\xff")
    (said,) = browser.events()
    assert isinstance(said, CloseConnection) and said.code == 1002
    assert browser.wire.half_closed


def test_pings_of_who_does_not_read() -> None:
    """Pongs are not heaped up for it."""
    browser = joined(Desk())
    browser.wire.room = 3
    for _ in range(1000):
        browser.say(Ping(payload=bytes(100)))
    assert len(browser.wire.waiting) < 200
