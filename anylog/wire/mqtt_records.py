"""What a message broker keeps of its sessions, as a log of small records (OASIS MQTT 5.0, 4.1 and 4.3).

Replayed in their order, any beginning of the log gives the state of some moment: each record is a whole step. A later
record that is lost was never answered for.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgpack
from attrs import astuple, define, field, frozen

from anylog.wire.mqtt_packets import Publish, Will
from anylog.wire.mqtt_session import Message, Subscription

# Client id, packet id, QoS, retain, subscription identifiers, serial, shared filter.
Receiver = tuple[str, int, int, bool, tuple[int, ...], int, str]


@frozen
class Opened:
    """A client connected to a session that lasts; one of another incarnation is gone with all it had."""

    KIND: ClassVar[int] = 1
    client_id: str
    incarnation: int
    expiry: int  # seconds
    will: bytes = b""  # empty: none


@frozen
class Left:
    """Its connection ended."""

    KIND: ClassVar[int] = 2
    client_id: str
    at: float  # unix seconds
    expiry: int
    sent: int  # the highest serial that it was sent
    will_due: float | None = None  # None: its will is settled


@frozen
class Ended:
    """The session is over."""

    KIND: ClassVar[int] = 3
    client_id: str


@frozen
class Subscribed:
    """A session has a subscription, new or with other options."""

    KIND: ClassVar[int] = 4
    client_id: str
    filter: str
    qos: int
    no_local: bool
    retain_as_published: bool
    retain_handling: int
    identifier: int


@frozen
class Unsubscribed:
    """It has it no more."""

    KIND: ClassVar[int] = 5
    client_id: str
    filter: str


@frozen
class Came:
    """A message came: all that follows from it, in one step."""

    KIND: ClassVar[int] = 6
    message: bytes
    to: tuple[Receiver, ...] = ()
    retained: bool = False
    client_id: str = ""  # of who published it at QoS 2 in a session that lasts
    packet_id: int = 0
    exchange: int = 0
    local: bool = False  # the node's own clients had to be asked


@frozen
class Received:
    """A receiver of QoS 2 has it (PUBREC)."""

    KIND: ClassVar[int] = 7
    client_id: str
    packet_id: int
    serial: int = 0  # in a snapshot: there is no message before it


@frozen
class Finished:
    """A message needs nothing more: it was acknowledged, refused, or expired."""

    KIND: ClassVar[int] = 8
    client_id: str
    packet_id: int


@frozen
class Released:
    """A publisher of QoS 2 may use its packet id again (PUBREL)."""

    KIND: ClassVar[int] = 9
    client_id: str
    packet_id: int


@frozen
class Moved:
    """A message of a shared subscription goes to another of the group."""

    KIND: ClassVar[int] = 10
    client_id: str
    packet_id: int
    to: Receiver


@frozen
class Numbers:
    """In a snapshot: numbers that are used up."""

    KIND: ClassVar[int] = 11
    serial: int
    incarnation: int


@frozen
class Exchange:
    """In a snapshot: what a session knows of its own exchanges of QoS 2; a packet id of 0 is none."""

    KIND: ClassVar[int] = 12
    client_id: str
    last: int
    packet_id: int = 0
    exchange: int = 0
    local: bool = False


Record = (
    Opened
    | Left
    | Ended
    | Subscribed
    | Unsubscribed
    | Came
    | Received
    | Finished
    | Released
    | Moved
    | Numbers
    | Exchange
)
_KINDS: dict[int, type[Record]] = {
    each.KIND: each
    for each in (
        *(Opened, Left, Ended, Subscribed, Unsubscribed, Came),
        *(Received, Finished, Released, Moved, Numbers, Exchange),
    )
}


def pack(record: Record) -> bytes:
    """The bytes of a record."""
    return bytes(msgpack.packb((record.KIND, *astuple(record, recurse=False))))


def unpack(data: bytes) -> Record:
    """The record again. Raises ValueError for what is none."""
    try:
        number, *values = msgpack.unpackb(data, use_list=False)
        kind = _KINDS[number]
        if kind is Came:
            values[1] = tuple(values[1])
        return kind(*values)
    except (KeyError, TypeError, IndexError, ValueError) as wrong:
        raise ValueError(f"no record of the message broker: {data[:40]!r}") from wrong


def pack_message(message: Message) -> bytes:
    """A message with all its properties."""
    packet = message.packet
    return bytes(
        msgpack.packb(
            (
                packet.topic,
                packet.payload,
                packet.qos,
                packet.retain,
                message.expires,
                packet.payload_format_indicator,
                packet.message_expiry_interval,
                packet.response_topic,
                packet.correlation_data,
                packet.content_type,
                packet.user_properties,
            )
        )
    )


def unpack_message(data: bytes) -> Message:
    """The message again. Raises ValueError for what is none."""
    try:
        topic, payload, qos, retain, expires, form, interval, response, correlation, content, pairs = _values(data)
    except (TypeError, ValueError) as wrong:
        raise ValueError(f"no message: {data[:40]!r}") from wrong
    packet = Publish(
        topic,
        payload,
        qos,
        retain,
        payload_format_indicator=form,
        message_expiry_interval=interval,
        response_topic=response,
        correlation_data=correlation,
        content_type=content,
        user_properties=pairs,
    )
    return Message(packet, expires)


def pack_will(will: Will | None) -> bytes:
    """A will; empty for none."""
    return bytes(msgpack.packb(astuple(will, recurse=False))) if will is not None else b""


def unpack_will(data: bytes) -> Will | None:
    """The will again. Raises ValueError for what is none."""
    if not data:
        return None
    try:
        return Will(*_values(data))
    except (TypeError, ValueError) as wrong:
        raise ValueError(f"no will: {data[:40]!r}") from wrong


def _values(data: bytes) -> tuple[Any, ...]:
    found: tuple[Any, ...] = msgpack.unpackb(data, use_list=False)
    return found


def subscribed(client_id: str, each: Subscription) -> Subscribed:
    """The record of a subscription."""
    return Subscribed(
        client_id,
        each.filter,
        each.qos,
        each.no_local,
        each.retain_as_published,
        each.retain_handling,
        each.identifier,
    )


@define(eq=False)
class Keeping:
    """Records on their way to the disk. They are numbered from 1, and are kept in that order."""

    number: int = 0  # of the newest
    kept: int = 0  # of the newest that is safe
    records: list[Record] = field(factory=list)  # that nobody took yet

    def add(self, record: Record) -> int:
        """The number of a new record."""
        self.records.append(record)
        self.number += 1
        return self.number


@frozen
class Batch:
    """Records to be written and synced together; `number` is to be told to `Hub.kept` when they are."""

    number: int
    records: tuple[Record, ...]
