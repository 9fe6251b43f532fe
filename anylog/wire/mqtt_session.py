"""What a message broker knows of one client: its connection, and the session that may outlive it (OASIS MQTT 5.0, 4.1).

These hold state and keep it straight; what happens when is decided in `mqtt_deliver` and `mqtt_hub`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from anylog.wire.mqtt_packets import Connect, Malformed, Packet, Publish, Reason, Will
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_write import PublishBytes

OVERHEAD = 200  # bytes that a message in a queue costs beside topic and payload


@define(eq=False)
class Message:
    """A message that waits for somebody, or is retained. `packet` has its whole topic, and no packet id that counts."""

    packet: Publish
    expires: float | None = None  # unix seconds
    # Bytes by (version, QoS, retain, identifiers), while it is handed to many at once.
    made: dict[tuple[int, int, bool, tuple[int, ...]], PublishBytes] | None = None

    @property
    def size(self) -> int:
        """Bytes that it costs to hold it."""
        packet = self.packet
        size = OVERHEAD + len(packet.topic) + len(packet.payload) + len(packet.correlation_data or b"")
        size += len(packet.response_topic or "") + len(packet.content_type or "")
        for key, value in packet.user_properties:
            size += OVERHEAD + len(key) + len(value)
        return size


@define(eq=False)
class Group:
    """A share name with its filter: of those who subscribed, one is sent each message."""

    name: str  # the whole filter, `$share/name/filter`
    members: dict[Session, Subscription] = field(factory=dict)
    order: list[tuple[Session, Subscription]] = field(factory=list)  # the same
    turn: int = 0  # whose turn it is

    def join(self, session: Session, subscription: Subscription) -> None:
        """A member, new or with other options."""
        self.members[session] = subscription
        self.order = list(self.members.items())

    def leave(self, session: Session) -> None:
        """One less."""
        del self.members[session]
        self.order = list(self.members.items())


@frozen
class Subscription:
    """A filter of a session, with its options."""

    filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int = 0  # 0: none


@define(eq=False)
class Out:
    """A message of QoS 1 or 2 on its way to a client. Its packet id is chosen when it is queued and never changes."""

    packet_id: int
    message: Message | None  # None once it is received: nothing will ask for it again
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    serial: int  # orders all that any session was given
    needs: int = 0  # number of the record without which the next step of QoS 2 is not taken
    live: bool = False  # it was sent on this connection
    sent: bool = False  # it was sent, perhaps on one that is gone
    received: bool = False  # at QoS 2: PUBREC came, PUBREL is sent or about to be
    group: str = ""  # the shared subscription by which it came
    shown: bool = False  # it was retained when the client subscribed
    size: int = 0


@define(eq=False)
class Answer:
    """What a client is told about a message of its own, as soon as it is true."""

    link: Link | None
    packet_id: int
    qos: int
    needs: int = 0  # number of the record that must be kept first
    open: bool = False  # the node's own clients are not done with it
    reason: Reason = Reason.SUCCESS
    number: int = 0  # of the exchange of QoS 2 within its session, from 1
    again: bool = False  # restored: if it comes again, the node's own clients are asked again
    said: bool = False


@define(eq=False)
class Session:
    """What is kept of a client while it is there, and as long as agreed after that."""

    client_id: str
    incarnation: int  # no two sessions of a client have the same, also across restarts
    expiry: int = 0  # seconds; 0: it ends with its connection and is not recorded
    link: Link | None = None
    subscriptions: dict[str, Subscription] = field(factory=dict)
    out: dict[int, Out] = field(factory=dict)  # by packet id, in their order
    unsent: deque[Out] = field(factory=deque)  # those of them that were not sent on this connection
    inflight: int = 0  # those that were
    size: int = 0  # bytes of all of them
    shown: int = 0  # those of them that were retained when the client subscribed
    swept: float = 0.0  # when those that are too old were last looked for, unix seconds
    received: dict[int, Answer] = field(factory=dict)  # of QoS 2, until they are released
    exchanges: int = 0  # of QoS 2 that were begun by the client
    ending: bool = False  # the client said that it ends with this connection
    gone: float | None = None  # since when there is no connection, unix seconds
    will: Will | None = None
    will_due: float | None = None  # when it is published if the client does not come back
    last: int = 0  # packet id

    @property
    def lasting(self) -> bool:
        """Whether it outlives its connection, and the broker."""
        return self.expiry > 0

    def identifier(self) -> int:
        """A packet id that is free; the caller makes sure that there is one."""
        number, used = self.last, self.out
        while True:  # as a rule it is the next one
            number = number % 65_535 + 1
            if number not in used:
                self.last = number
                return number

    def add(self, out: Out) -> None:
        """Queue a message."""
        self.out[out.packet_id] = out
        self.unsent.append(out)
        self.size += out.size
        self.shown += out.shown

    def finish(self, out: Out) -> None:
        """A message needs nothing more. It is not among the unsent any more, or `tidy` follows."""
        del self.out[out.packet_id]
        self.size -= out.size
        self.inflight -= out.live
        self.shown -= out.shown

    def tidy(self) -> None:
        """Take what is finished from among the unsent."""
        self.unsent = deque(out for out in self.unsent if self.out.get(out.packet_id) is out)

    def rewind(self) -> None:
        """Whatever was not acknowledged is to be sent again, in its order ([MQTT-4.4.0-1], [MQTT-4.6.0-1])."""
        self.inflight = 0
        self.unsent = deque(self.out.values())
        for out in self.unsent:
            out.live = False


@define(eq=False)
class Link:
    """One connection, of which the caller moves the bytes.

    The caller writes what `take` gives, once a turn, reads nothing while `hold` is true, and closes after the last
    bytes once `closing` is. `peer` is the caller's: whatever tells it who that is.
    """

    peer: Any
    reader: Reader
    opened: float
    heard: float
    _taken: Callable[[Link, int], None]
    version: int = 0  # 0: there was no CONNECT
    connect: Connect | None = None
    client_id: str = ""
    session: Session | None = None
    closing: bool = False
    over: bool = False  # the caller knows that it is closed
    hold: bool = False
    pending: int = 0  # bytes that wait to be taken
    keep_alive: int = 0  # seconds
    listed: bool = False  # among the dirty
    muted: bool = False  # its CONNACK waits for a record, and nothing may precede it
    connack: bytes = b""
    connack_needs: int = 0
    asked: bool = False  # whether it may connect is being found out
    stash: list[Packet] = field(factory=list)  # what came meanwhile
    fault: Malformed | None = None  # and what was wrong after it
    out: list[bytes] = field(factory=list)
    # Lists, since they are short and mostly empty, and an empty deque takes 600 bytes of each idle connection.
    shown: deque[tuple[str, tuple[int, ...]]] | None = None  # topics of what is retained, for QoS 0, with identifiers
    answers: list[Answer] = field(factory=list)  # to its messages, in their order
    others: list[tuple[int, bytes, int]] = field(factory=list)  # number of a record, answer, packet id that it ends
    using: set[int] = field(factory=set)  # packet ids of its messages that it was not told the end of
    window: int = 0  # messages of QoS 1 and 2 that may be in flight to it
    largest: int = 0  # bytes of a packet that it reads; 0: any
    problems: bool = True  # it wants to be told reasons in words
    aliases: dict[int, str] = field(factory=dict)  # its own
    given: dict[str, int] = field(factory=dict)  # ours
    given_most: int = 0
    published: int = 0  # messages that came on it
    refused: int = 0  # those of them that were not taken
    last: float = 0.0  # when the newest came, unix seconds; 0: never
    accepted: bool = False  # a CONNACK said so
    ended: tuple[Reason, str] | None = None  # why the broker closed it or did not take a message, in words

    @property
    def ready(self) -> bool:
        """Whether it said CONNECT, or is gone."""
        return self.closing or self.over or (self.version != 0 and not self.asked)

    @property
    def user_name(self) -> str | None:
        """As whom it connected."""
        return self.connect.user_name if self.connect else None

    @property
    def password(self) -> bytes | None:
        """Its password; forgotten once it was looked at."""
        return self.connect.password if self.connect else None

    def take(self) -> list[bytes]:
        """What is to be written now."""
        self.listed = False
        if self.muted:
            return []
        out, self.out = self.out, []
        size, self.pending = self.pending, 0
        self._taken(self, size)
        return out


# Whether a client may "connect" (the topic is empty), "publish" or "subscribe". Only for "connect" None may be said: it
# is being found out, and `Hub.admit` tells.
Allow = Callable[[Link, str, str], bool | None]


@define(eq=False)
class Ticket:  # not frozen, which costs four times as much: nobody changes it
    """A message that the node's own clients were given and whose publisher waits.

    `client_id`, `incarnation` and `packet_id` say which message it is, of one client within one session, `exchange`
    which use of that packet id at QoS 2: a message that comes again after a crash has the same four. At QoS 1
    `exchange` is 0 and `dup` says that it may have been there before. The client id is empty for the node's own.
    `lasts`: whether the session outlives its connection, so that the message may come again at all.
    """

    number: int
    client_id: str = ""
    incarnation: int = 0
    packet_id: int = 0
    exchange: int = 0
    qos: int = 0
    dup: bool = False
    answer: Answer | None = None
    lasts: bool = False
