"""The packets of MQTT 3.1.1 and 5.0 as values, with the names that the standard gives (OASIS MQTT 3.1.1 and 5.0, 3).

A packet is the same in both versions; what only 5.0 knows is absent in 3.1.1 and is not written there. An attribute
that is None or an empty tuple is a property that is absent. Times are whole seconds, sizes are bytes.
"""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as value
else:
    from attrs import define

    # A slotted class that is made four times as fast as a frozen one: a PUBLISH is made for each message. That nobody
    # assigns to it is the work of the type checker.
    value = partial(define, unsafe_hash=True)

MQTT_3_1_1 = 4  # protocol levels
MQTT_5 = 5
LARGEST = 268_435_455  # bytes that may follow a fixed header

Pairs = tuple[tuple[str, str], ...]  # user properties, in their order


class Reason(IntEnum):
    """Reason codes (5.0, 2.4); the first name of a number is the one that is shown."""

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


# What a CONNACK of 3.1.1 can say (3.1.1, 3.2.2.3). For what is not here the connection is closed without a CONNACK.
RETURN_CODES: dict[Reason, int] = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_PROTOCOL_VERSION: 1,
    Reason.CLIENT_IDENTIFIER_NOT_VALID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.BAD_USER_NAME_OR_PASSWORD: 4,
    Reason.NOT_AUTHORIZED: 5,
    # These are said with the nearest that 3.1.1 knows.
    Reason.SERVER_BUSY: 3,
    Reason.QUOTA_EXCEEDED: 3,
    Reason.CONNECTION_RATE_EXCEEDED: 3,
    Reason.BAD_AUTHENTICATION_METHOD: 4,
    Reason.BANNED: 5,
}


@value
class Will:
    """What is published in the name of a client that is gone."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    will_delay_interval: int | None = None  # seconds
    payload_format_indicator: int | None = None  # 1: UTF-8
    message_expiry_interval: int | None = None  # seconds
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user_properties: Pairs = ()


@value
class Connect:
    """The first packet of a client."""

    client_id: str = ""
    clean: bool = True  # clean session in 3.1.1, clean start in 5.0
    keep_alive: int = 0  # seconds; 0: none
    version: int = MQTT_3_1_1
    will: Will | None = None
    user_name: str | None = None
    password: bytes | None = None
    session_expiry_interval: int | None = None  # seconds; 0xFFFFFFFF: never
    receive_maximum: int | None = None
    maximum_packet_size: int | None = None  # bytes
    topic_alias_maximum: int | None = None
    request_response_information: bool | None = None
    request_problem_information: bool | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    user_properties: Pairs = ()


@value
class Connack:
    """The answer to it. In 3.1.1 the reason is one of those in `RETURN_CODES`."""

    reason: Reason = Reason.SUCCESS
    session_present: bool = False
    session_expiry_interval: int | None = None  # seconds
    receive_maximum: int | None = None
    maximum_qos: int | None = None
    retain_available: bool | None = None
    maximum_packet_size: int | None = None  # bytes
    assigned_client_identifier: str | None = None
    topic_alias_maximum: int | None = None
    reason_string: str | None = None
    wildcard_subscription_available: bool | None = None
    subscription_identifiers_available: bool | None = None
    shared_subscription_available: bool | None = None
    server_keep_alive: int | None = None  # seconds
    response_information: str | None = None
    server_reference: str | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    user_properties: Pairs = ()


@value
class Publish:
    """A message. The packet id is 0 where the QoS is 0; the topic may be empty where there is an alias."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    payload_format_indicator: int | None = None  # 1: UTF-8
    message_expiry_interval: int | None = None  # seconds
    topic_alias: int | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    content_type: str | None = None
    subscription_identifiers: tuple[int, ...] = ()
    user_properties: Pairs = ()


@value
class Puback:
    """The answer to a PUBLISH of QoS 1. In 3.1.1 there is no reason, which reads as success."""

    packet_id: int
    reason: Reason = Reason.SUCCESS
    reason_string: str | None = None
    user_properties: Pairs = ()


@value
class Pubrec:
    """The first answer to a PUBLISH of QoS 2."""

    packet_id: int
    reason: Reason = Reason.SUCCESS
    reason_string: str | None = None
    user_properties: Pairs = ()


@value
class Pubrel:
    """The answer to a PUBREC."""

    packet_id: int
    reason: Reason = Reason.SUCCESS
    reason_string: str | None = None
    user_properties: Pairs = ()


@value
class Pubcomp:
    """The answer to a PUBREL."""

    packet_id: int
    reason: Reason = Reason.SUCCESS
    reason_string: str | None = None
    user_properties: Pairs = ()


@value
class Filter:
    """What is subscribed to, and how. The options after `qos` are of 5.0."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0  # 0: send what is retained, 1: if the subscription is new, 2: never


@value
class Subscribe:
    """The wish to be sent what matches the filters, of which there is at least one."""

    packet_id: int
    filters: tuple[Filter, ...]
    subscription_identifier: int | None = None
    user_properties: Pairs = ()


@value
class Suback:
    """The answer to it: one reason a filter, the QoS that is granted or why not (in 3.1.1 `UNSPECIFIED_ERROR`)."""

    packet_id: int
    reasons: tuple[Reason, ...]
    reason_string: str | None = None
    user_properties: Pairs = ()


@value
class Unsubscribe:
    """The end of subscriptions, of which there is at least one."""

    packet_id: int
    filters: tuple[str, ...]
    user_properties: Pairs = ()


@value
class Unsuback:
    """The answer to it: one reason a filter, in 3.1.1 none."""

    packet_id: int
    reasons: tuple[Reason, ...] = ()
    reason_string: str | None = None
    user_properties: Pairs = ()


@value
class Pingreq:
    """The client is there."""


@value
class Pingresp:
    """So is the broker."""


@value
class Disconnect:
    """The last packet. In 3.1.1 only a client sends it, and it says no reason."""

    reason: Reason = Reason.NORMAL_DISCONNECTION
    session_expiry_interval: int | None = None  # seconds; of a client alone
    reason_string: str | None = None
    server_reference: str | None = None  # of a broker alone
    user_properties: Pairs = ()


@value
class Auth:
    """A step of an authentication that is more than a password; of 5.0 alone."""

    reason: Reason = Reason.SUCCESS
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    reason_string: str | None = None
    user_properties: Pairs = ()


Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)

# The number of each kind of packet: the upper half of its first byte.
KINDS: dict[type[Packet], int] = {
    Connect: 1,
    Connack: 2,
    Publish: 3,
    Puback: 4,
    Pubrec: 5,
    Pubrel: 6,
    Pubcomp: 7,
    Subscribe: 8,
    Suback: 9,
    Unsubscribe: 10,
    Unsuback: 11,
    Pingreq: 12,
    Pingresp: 13,
    Disconnect: 14,
    Auth: 15,
}

_COMMON = {0x80, 0x83, 0x87, 0x97}
_ACKNOWLEDGED = frozenset(map(Reason, {0x00, 0x10, 0x90, 0x91, 0x99} | _COMMON))
_RELEASED = frozenset(map(Reason, {0x00, 0x92}))
_BOTH_ENDS = {0x00, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99}  # of a DISCONNECT

# The reasons that a packet may give; of DISCONNECT and AUTH by who sends it.
REASONS: dict[type[Packet], frozenset[Reason]] = {
    Connack: frozenset(
        Reason(code) for code in (0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F)
    ),
    Puback: _ACKNOWLEDGED,
    Pubrec: _ACKNOWLEDGED,
    Pubrel: _RELEASED,
    Pubcomp: _RELEASED,
    Suback: frozenset(map(Reason, {0x00, 0x01, 0x02, 0x8F, 0x91, 0x9E, 0xA1, 0xA2} | _COMMON)),
    Unsuback: frozenset(map(Reason, {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91})),
}
CLIENT_REASONS: dict[type[Packet], frozenset[Reason]] = {
    Disconnect: frozenset(map(Reason, _BOTH_ENDS | {0x04})),
    Auth: frozenset(map(Reason, {0x18, 0x19})),
}
BROKER_REASONS: dict[type[Packet], frozenset[Reason]] = {
    Disconnect: frozenset(
        map(Reason, _BOTH_ENDS | {0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F} | set(range(0x9A, 0xA3)))
    ),
    Auth: frozenset(map(Reason, {0x00, 0x18})),
}


class Malformed(Exception):
    """What came breaks the standard; nothing after it can be read and the connection is to be closed.

    `reason` is what 5.0 answers in a DISCONNECT, or in a CONNACK where CONNECT itself is wrong, `text` says what is
    wrong, and `packets` are those that were whole before it. `version` is the protocol level in which the peer
    understands an answer, None if there is no telling.
    """

    def __init__(self, reason: Reason, text: str, *, version: int | None = None) -> None:
        super().__init__(f"{text} (0x{reason:02x})")
        self.reason = reason
        self.text = text
        self.version = version
        self.packets: list[Packet] = []

    @property
    def return_code(self) -> int | None:
        """What a CONNACK of 3.1.1 answers to a wrong CONNECT; None: it closes without one ([MQTT-3.1.4-1])."""
        return RETURN_CODES.get(self.reason)
