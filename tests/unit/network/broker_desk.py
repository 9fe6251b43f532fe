"""A message broker with connections that a test holds in its hand."""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import define, evolve, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from anylog.network.broker import Broker, BrokerOptions
from anylog.network.broker_device import Device
from anylog.network.broker_users import Users
from anylog.network.tcp import TcpOptions
from anylog.testing.keeper import MemoryKeeper
from anylog.wire.mqtt_limits import Limits
from anylog.wire.mqtt_packets import Connack, Connect, Filter, Packet, Publish, Subscribe
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_write import encode

BEGIN = 1_790_000_000.0
Kind = TypeVar("Kind", bound=Packet)


class Wire(StringTransport):
    """A transport whose socket takes `room` bytes at once; the rest waits until the client has read."""

    SEND_LIMIT = 128 << 10  # bytes of one call, as Twisted has it

    def __init__(self, room: int = 1 << 30) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "10.0.0.7", 40000))
        self.room = room
        self.waiting = b""
        self.producerPaused = False
        self.writes: list[int] = []  # bytes of each write that reached the socket
        self.half_closed = False

    def writeSomeData(self, data: bytes) -> int:
        """At once to the socket."""
        taken = data[: min(self.room, self.SEND_LIMIT)]
        self.room -= len(taken)
        if taken:
            self.writes.append(len(taken))
            super().write(taken)
        return len(taken)

    def write(self, data: bytes) -> None:
        """As soon as the socket takes it."""
        self.waiting += data

    def drain(self, room: int) -> None:
        """The client reads so much."""
        self.room += room
        data, self.waiting = self.waiting, b""
        while data and (taken := self.writeSomeData(data)):
            data = data[taken:]
        self.waiting = data
        if not self.waiting and self.producerPaused and self.producer is not None:
            self.producerPaused = False
            self.producer.resumeProducing()

    def loseWriteConnection(self) -> None:
        """Nothing more is written."""
        self.half_closed = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """As a socket has it."""


@define(eq=False)
class Client:
    """One connection."""

    desk: Desk
    wire: Wire
    device: Device
    version: int = 5
    reader: Reader = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reader = Reader(self.version, side="client")

    def raw(self, data: bytes, turn: bool = True) -> Client:
        """Bytes of whatever."""
        self.device.dataReceived(data)
        if turn:
            self.desk.turn()
        return self

    def send(self, *packets: Packet, turn: bool = True) -> Client:
        """Say something."""
        said = [evolve(each, version=self.version) if isinstance(each, Connect) else each for each in packets]
        return self.raw(b"".join(encode(packet, self.version) for packet in said), turn)

    def got(self) -> list[Packet]:
        """What came since the last time."""
        data = self.wire.value()
        self.wire.clear()
        return self.reader.feed(data) if data else []

    def lose(self, clean: bool = False) -> None:
        """The connection breaks."""
        self.device.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))
        self.desk.turn()


class Port:
    """A listening port."""

    def __init__(self, number: int) -> None:
        self.number = number

    def stopListening(self) -> None:
        """At once."""

    def getHost(self) -> IAddress:
        """Where it listens."""
        return IPv4Address("TCP", "127.0.0.1", self.number)


class Places:
    """Remembers where the broker listens, and with what."""

    def __init__(self) -> None:
        self.doors: dict[str, Any] = {}
        self.taken = ""  # an endpoint that somebody else has

    def listen(self, endpoint: str, factory: Any) -> Deferred[Any]:
        """A port."""
        endpoint = endpoint.partition(":backlog")[0]
        if endpoint == self.taken:
            raise OSError("in use")
        self.doors[endpoint] = factory
        return succeed(Port(21000 + len(self.doors)))


class Desk:
    """The broker, its clock and its keeper."""

    def __init__(
        self,
        *,
        slow: bool = False,
        limits: Limits | None = None,
        users: Users | None = None,
        held: int = 1 << 20,
        records: Any = (),
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(BEGIN)
        self.keeper = MemoryKeeper(slow=slow, records=list(records))
        self.places = Places()
        place = TcpOptions(internal_ip="127.0.0.1", internal_port=1883, bind=True)
        self.broker = Broker(
            net=self.places,  # type: ignore[arg-type]
            clock=self.clock,  # type: ignore[arg-type]
            keeper=self.keeper,
            options=BrokerOptions(place=place, **options),
            limits=limits or Limits(sys_seconds=0, clients=options.get("connections", 10_000)),
            users=users,
            held=held,
        )
        self.started = self.broker.start()
        self.turn()

    def turn(self) -> None:
        """The reactor comes round, until nothing is left for this moment."""
        for _ in range(50):
            due = [call for call in self.clock.getDelayedCalls() if call.getTime() <= self.clock.seconds()]
            if not due:
                return
            self.clock.advance(0)
        raise AssertionError("the broker does not come to rest")

    def open(self, version: int = 5, room: int = 1 << 30) -> Client:
        """A connection that has said nothing yet."""
        door = self.places.doors["tcp:1883:interface=127.0.0.1"]
        device = door.buildProtocol(None)
        assert device is not None
        wire = Wire(room)
        device.makeConnection(wire)
        self.turn()
        return Client(self, wire, device, version)

    def client(self, name: str, *filters: tuple[str, int], version: int = 5, **how: Any) -> Client:
        """A client that is connected, with subscriptions."""
        client = self.open(version)
        client.send(Connect(name, **how))
        (answer,) = client.got()
        assert isinstance(answer, Connack) and not answer.reason, answer
        if filters:
            client.send(Subscribe(1, tuple(Filter(*each) for each in filters)))
            client.got()
        return client


def payloads(packets: list[Packet]) -> list[bytes]:
    """Of the messages among them."""
    return [packet.payload for packet in packets if isinstance(packet, Publish)]
