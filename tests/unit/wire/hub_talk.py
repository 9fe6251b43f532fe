"""A message broker on a table: clients that say what a test wants, and a disk that keeps what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from attrs import define, field

from anylog.wire.mqtt_hub import Hub
from anylog.wire.mqtt_limits import Limits
from anylog.wire.mqtt_packets import (
    Connack,
    Connect,
    Disconnect,
    Filter,
    Packet,
    Puback,
    Publish,
    Pubrec,
    Suback,
    Subscribe,
)
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_records import (
    Came,
    Exchange,
    Left,
    Numbers,
    Opened,
    Received,
    Receiver,
    Record,
    pack,
    pack_message,
    pack_will,
    subscribed,
    unpack,
)
from anylog.wire.mqtt_session import Allow, Link, Message, Session
from anylog.wire.mqtt_write import encode

Kind = TypeVar("Kind", bound=Packet)
QUIET = Limits(sys_seconds=0)


@define(eq=False)
class Client:
    """One connection of a client; it answers nothing by itself."""

    table: Table
    link: Link
    version: int
    reader: Reader = field(init=False)
    heard: list[Packet] = field(factory=list)
    gone: bool = False

    def __attrs_post_init__(self) -> None:
        self.reader = Reader(self.version, side="client")

    def send(self, *packets: Packet) -> Client:
        """Say something."""
        data = b"".join(encode(packet, self.version) for packet in packets)
        self.table.hub.feed(self.link, data, self.table.now)
        self.table.turn()
        return self

    def raw(self, data: bytes) -> Client:
        """Say whatever."""
        self.table.hub.feed(self.link, data, self.table.now)
        self.table.turn()
        return self

    def got(self, kind: type[Kind] | None = None) -> list[Any]:
        """What came since the last time, or what of it is of a kind."""
        for data in self.link.take():
            self.heard += self.reader.feed(data)
        heard, self.heard = self.heard, []
        return [packet for packet in heard if kind is None or isinstance(packet, kind)]

    def one(self, kind: type[Kind]) -> Kind:
        """What came is this and nothing else."""
        got = self.got()
        assert [type(packet) for packet in got] == [kind], got
        packet: Kind = got[0]
        return packet

    def messages(self) -> list[tuple[str, bytes, int]]:
        """Topic, payload and QoS of the messages that came, all of which are answered as far as QoS 1."""
        found = self.got(Publish)
        for each in found:
            if each.qos == 1:
                self.send(Puback(each.packet_id))
            elif each.qos == 2:
                self.send(Pubrec(each.packet_id))
        return [(each.topic, each.payload, each.qos) for each in found]

    def subscribe(self, *filters: str | Filter, qos: int = 0, **settings: Any) -> Suback:
        """Subscribe, and read no further than the answer."""
        wanted = tuple(Filter(each, qos) if isinstance(each, str) else each for each in filters)
        self.send(Subscribe(77, wanted, **settings))
        got = self.got()
        self.heard = [each for each in got if not isinstance(each, Suback)]
        answer: Suback
        (answer,) = [each for each in got if isinstance(each, Suback)]
        return answer

    def publish(self, topic: str, payload: bytes = b"x", qos: int = 0, number: int = 0, **settings: Any) -> Client:
        """Publish."""
        return self.send(Publish(topic, payload, qos, packet_id=number or (1 if qos else 0), **settings))

    def cut(self) -> None:
        """The network is gone."""
        self.table.hub.close(self.link, self.table.now)
        self.table.turn()


@define(eq=False)
class Table:
    """The broker with its clients. `synced`: every record is kept at once; else when `sync` says so."""

    limits: Limits = QUIET
    allow: Allow | None = None
    synced: bool = True
    now: float = 1_000_000.0
    hub: Hub = field(init=False)
    log: list[bytes] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.hub = Hub(self.limits, self.allow)

    def turn(self) -> None:
        """What the disk does after a turn."""
        if self.synced:
            self.sync()

    def sync(self) -> int:
        """Keep all records; how many there were."""
        batch = self.hub.taken_records()
        self.log += [pack(record) for record in batch.records]
        self.hub.kept(batch.number)
        return len(batch.records)

    def crash(self, kept: int | None = None) -> None:
        """All is lost but the records; or the first `kept` of them alone."""
        self.log = self.log[:kept]
        self.hub = Hub(self.limits, self.allow)
        self.hub.restore([unpack(data) for data in self.log], self.now)

    def open(self, version: int = 4) -> Client:
        """A connection without a CONNECT."""
        return Client(self, self.hub.open("peer", self.now), version)

    def connect(self, client_id: str = "", version: int = 4, **settings: Any) -> tuple[Client, list[Packet]]:
        """A connection, and what the CONNECT was answered with."""
        client = self.open(version)
        client.send(Connect(client_id, version=version, **settings))
        return client, client.got()

    def client(self, client_id: str = "", version: int = 4, **settings: Any) -> Client:
        """A connection that is accepted."""
        client, got = self.connect(client_id, version, **settings)
        assert got and isinstance(got[0], Connack) and not got[0].reason, got
        client.heard = got[1:]
        return client

    def lasting(self, client_id: str, version: int = 4, **settings: Any) -> Client:
        """The same with a session that is kept."""
        if version == 5:
            settings.setdefault("session_expiry_interval", 3600)
        return self.client(client_id, version, clean=False, **settings)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        end = self.now + seconds
        while (due := self.hub.next_time()) is not None and due <= end:
            self.now = max(self.now, due)
            self.hub.tick(self.now)
            self.turn()
        self.now = end
        self.hub.tick(end)
        self.turn()


def bye(client: Client) -> int | None:
    """The reason of the DISCONNECT that a client got; None if it was closed without one."""
    found = [packet for packet in client.got() if isinstance(packet, Disconnect)]
    assert client.link.closing
    return int(found[0].reason) if found else None


def snapshot(hub: Hub) -> Iterator[Record]:
    """Records from which `restore` makes the state that a hub has, read from the hub itself."""
    delivery, incarnation = hub.delivery, hub._lives.incarnation
    yield Numbers(delivery.serial, incarnation)
    sessions = [session for session in delivery.sessions.values() if session.expiry]
    for session in sessions:
        yield Opened(session.client_id, session.incarnation, session.expiry, pack_will(session.will))
        for each in session.subscriptions.values():
            yield subscribed(session.client_id, each)
        yield Exchange(session.client_id, session.exchanges)
        for answer in session.received.values():
            again = answer.open or answer.again
            yield Exchange(session.client_id, session.exchanges, answer.packet_id, answer.number, again)
    yield from _queued(sessions)
    for session in sessions:
        if session.gone is not None:
            sent = max((out.serial for out in session.out.values() if out.sent), default=0)
            yield Left(session.client_id, session.gone, session.expiry, sent, session.will_due)
    for message in delivery.shelf.everything():
        if not message.packet.topic.startswith("$SYS/"):
            yield Came(pack_message(message), (), True)


def _queued(sessions: list[Session]) -> Iterator[Record]:
    """What is on its way: a message once, however many are to have it."""
    to: dict[Message, list[Receiver]] = {}
    for session in sessions:
        for out in session.out.values():
            if out.message is None:
                yield Received(session.client_id, out.packet_id, out.serial)
            else:
                to.setdefault(out.message, []).append(
                    (session.client_id, out.packet_id, out.qos, out.retain, out.identifiers, out.serial, out.group)
                )
    for message, receivers in to.items():
        yield Came(pack_message(message), tuple(receivers))
