"""What follows the fixed header of each kind of MQTT packet, and what is wrong with it (OASIS MQTT 5.0, 3).

Where 5.0 names the reason of a fault it is that one. Where it only forbids, what could not be parsed or sets a bit that
is reserved is malformed (0x81), and what can be read but is not allowed is a protocol error (0x82), as 4.13 of 5.0
tells them apart; a topic or filter against its grammar is 0x90 or 0x8F. 3.1.1 closes the connection for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anylog.wire.mqtt_fields import Body, decoded, malformed, properties_of
from anylog.wire.mqtt_packets import (
    BROKER_REASONS,
    CLIENT_REASONS,
    MQTT_3_1_1,
    MQTT_5,
    REASONS,
    RETURN_CODES,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Filter,
    Malformed,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Reason,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from anylog.wire.topics import filter_fault, name_fault, share

_BY_RETURN_CODE = {code: reason for reason, code in reversed(RETURN_CODES.items())}  # the first of each code
_BY_NUMBER = {int(reason): reason for reason in Reason}


Answer = TypeVar("Answer", Puback, Pubrec, Pubrel, Pubcomp)


def error(text: str) -> Malformed:
    """What can be read, and is not allowed."""
    return Malformed(Reason.PROTOCOL_ERROR, text)


def connect(body: Body) -> Connect:
    """Raises `Malformed` with the version in which it can be answered, if that is known by then."""
    try:
        name = body.binary("CONNECT: protocol name")
        if name not in (b"MQTT", b"MQIsdp"):
            raise Malformed(Reason.UNSUPPORTED_PROTOCOL_VERSION, f"protocol name {name[:20]!r}")
        level = body.byte("CONNECT: protocol level")
    except Malformed as wrong:
        wrong.version = None
        raise
    try:
        if name != b"MQTT" or level not in (MQTT_3_1_1, MQTT_5):
            raise Malformed(Reason.UNSUPPORTED_PROTOCOL_VERSION, f"version {level} of {name.decode()}")
        return _connect(body, level)
    except Malformed as wrong:
        # The highest bit marks bridges of some brokers, which then come again without it.
        wrong.version = MQTT_5 if name == b"MQTT" and level & 0x7F >= MQTT_5 else MQTT_3_1_1
        raise


def _connect(body: Body, version: int) -> Connect:
    flags = body.byte("CONNECT: flags")
    if flags & 1:
        raise malformed("CONNECT: the reserved flag is set")
    will_qos = flags >> 3 & 3
    if not flags & 4 and flags & 0x38:
        raise malformed("CONNECT: QoS or retain of a will that is not there")
    if will_qos == 3:
        raise malformed("CONNECT: will of QoS 3")
    if version == MQTT_3_1_1 and flags & 0xC0 == 0x40:
        raise malformed("CONNECT: a password without a user name")
    keep_alive = body.two("CONNECT: keep alive")
    settings = properties_of(body, Connect) if version == MQTT_5 else {}
    if "authentication_data" in settings and "authentication_method" not in settings:
        raise error("CONNECT: authentication data without a method")
    client_id = body.text("CONNECT: client id")
    clean = flags & 2 == 2
    will = None
    if flags & 4:
        more = properties_of(body, Will) if version == MQTT_5 else {}
        response_topic(more.get("response_topic"), "CONNECT: will")
        topic = body.text("CONNECT: will topic")
        if wrong := name_fault(topic):
            raise Malformed(Reason.TOPIC_NAME_INVALID, f"CONNECT: will: {wrong}")
        will = Will(topic, body.binary("CONNECT: will payload"), will_qos, flags & 0x20 == 0x20, **more)
    user_name = body.text("CONNECT: user name") if flags & 0x80 else None
    password = body.binary("CONNECT: password") if flags & 0x40 else None
    body.over("CONNECT")
    if version == MQTT_3_1_1 and not client_id and not clean:
        raise Malformed(Reason.CLIENT_IDENTIFIER_NOT_VALID, "CONNECT: no client id for a session that is kept")
    return Connect(client_id, clean, keep_alive, version, will, user_name, password, **settings)


def connack(body: Body, version: int) -> Connack:
    """The answer to a CONNECT."""
    flags = body.byte("CONNACK: flags")
    if flags & 0xFE:
        raise malformed("CONNACK: a reserved flag is set")
    code = body.byte("CONNACK: reason")
    if version == MQTT_5:
        reason = _reason(code, REASONS[Connack], "CONNACK")
        settings = properties_of(body, Connack)
        if "authentication_data" in settings and "authentication_method" not in settings:
            raise error("CONNACK: authentication data without a method")
    else:
        if code not in _BY_RETURN_CODE:
            raise error(f"CONNACK with return code {code}")
        reason, settings = _BY_RETURN_CODE[code], {}
    body.over("CONNACK")
    if flags and reason:
        raise error("CONNACK: a session is present though the connection is refused")
    return Connack(reason, flags == 1, **settings)


def publish(first: int, body: Body, version: int, broker: bool, payload: bytes | None) -> Publish:
    """A message; its payload is given, or it is what is left of the body. The first byte is known to be right."""
    topic = body.text("PUBLISH: topic name")
    if (topic or version == MQTT_3_1_1) and (wrong := name_fault(topic)):
        raise Malformed(Reason.TOPIC_NAME_INVALID, f"PUBLISH: {wrong}")
    packet_id = 0
    if first & 6:
        packet_id = identifier(body, "PUBLISH")
    settings = properties_of(body, Publish) if version == MQTT_5 else {}
    if settings:
        if broker and "subscription_identifiers" in settings:
            raise error("PUBLISH: a client sends a subscription identifier")
        response_topic(settings.get("response_topic"), "PUBLISH")
    if not topic and "topic_alias" not in settings:
        raise error("PUBLISH: neither topic name nor alias")
    if payload is None:
        payload = body.rest()
    return Publish(topic, payload, first >> 1 & 3, first & 1 == 1, first & 8 == 8, packet_id, **settings)


def text_payload(packet: Publish) -> None:
    """Raises `Malformed` with 0x99 if a payload is said to be UTF-8 and is not (5.0, 3.3.2.3.2)."""
    if packet.payload_format_indicator == 1:
        try:
            decoded(packet.payload, "PUBLISH: payload")
        except Malformed as wrong:
            raise Malformed(Reason.PAYLOAD_FORMAT_INVALID, wrong.text) from wrong


def response_topic(topic: str | None, what: str) -> None:
    """Raises `Malformed` for one that is no topic name."""
    if topic is not None and (wrong := name_fault(topic)):
        raise error(f"{what}: response topic: {wrong}")


def identifier(body: Body, what: str) -> int:
    """A packet id, which is not 0 ([MQTT-2.2.1-3]; 3.1.1: [MQTT-2.3.1-1])."""
    number = body.two(f"{what}: packet id")
    if not number:
        raise error(f"{what}: packet id 0")
    return number


def _reason(code: int, allowed: frozenset[Reason], what: str) -> Reason:
    reason = _BY_NUMBER.get(code)
    if reason is None or reason not in allowed:
        raise error(f"{what} with reason 0x{code:02x}")
    return reason


def answer(kind: type[Answer], what: str) -> Callable[[Body, int], Answer]:
    """The reader of PUBACK, PUBREC, PUBREL or PUBCOMP."""
    allowed = REASONS[kind]

    def read(body: Body, version: int) -> Answer:
        packet_id = identifier(body, what)
        if version == MQTT_3_1_1 or body.at == body.end:
            body.over(what)
            return kind(packet_id)
        reason = _reason(body.byte(f"{what}: reason"), allowed, what)
        settings = properties_of(body, kind) if body.at < body.end else {}
        body.over(what)
        return kind(packet_id, reason, **settings)

    return read


def subscribe(body: Body, version: int) -> Subscribe:
    """A wish for messages."""
    packet_id = identifier(body, "SUBSCRIBE")
    settings = properties_of(body, Subscribe) if version == MQTT_5 else {}
    filters: list[Filter] = []
    while body.at < body.end:
        filter = _filter(body, version, "SUBSCRIBE")
        options = body.byte("SUBSCRIBE: options")
        qos = options & 3
        if version == MQTT_3_1_1:
            if options > 2:
                raise malformed(f"SUBSCRIBE: options 0x{options:02x}")
            filters.append(Filter(filter, qos))
            continue
        handling = options >> 4 & 3
        if options & 0xC0:
            raise malformed(f"SUBSCRIBE: options 0x{options:02x}")
        if qos == 3 or handling == 3:
            raise error("SUBSCRIBE: QoS 3" if qos == 3 else "SUBSCRIBE: retain handling 3")
        if options & 4 and filter.startswith("$share/"):
            raise error("SUBSCRIBE: a shared subscription with no local")
        filters.append(Filter(filter, qos, options & 4 == 4, options & 8 == 8, handling))
    if not filters:
        raise error("SUBSCRIBE without a filter")
    return Subscribe(packet_id, tuple(filters), **settings)


def _filter(body: Body, version: int, what: str) -> str:
    filter = body.text(f"{what}: filter")
    wrong = filter_fault(filter)
    if not wrong and version == MQTT_5:
        try:
            share(filter)
        except ValueError as why:
            wrong = str(why)
    if wrong:
        raise Malformed(Reason.TOPIC_FILTER_INVALID, f"{what}: {wrong}")
    return filter


def suback(body: Body, version: int) -> Suback:
    """The answer to it."""
    packet_id = identifier(body, "SUBACK")
    settings = properties_of(body, Suback) if version == MQTT_5 else {}
    allowed = REASONS[Suback] if version == MQTT_5 else _GRANTED
    reasons = tuple(_reason(code, allowed, "SUBACK") for code in body.rest())
    if not reasons:
        raise error("SUBACK without a reason")
    return Suback(packet_id, reasons, **settings)


_GRANTED = frozenset({Reason.GRANTED_QOS_0, Reason.GRANTED_QOS_1, Reason.GRANTED_QOS_2, Reason.UNSPECIFIED_ERROR})


def unsubscribe(body: Body, version: int) -> Unsubscribe:
    """The end of subscriptions."""
    packet_id = identifier(body, "UNSUBSCRIBE")
    settings = properties_of(body, Unsubscribe) if version == MQTT_5 else {}
    filters: list[str] = []
    while body.at < body.end:
        filters.append(_filter(body, version, "UNSUBSCRIBE"))
    if not filters:
        raise error("UNSUBSCRIBE without a filter")
    return Unsubscribe(packet_id, tuple(filters), **settings)


def unsuback(body: Body, version: int) -> Unsuback:
    """The answer to it."""
    packet_id = identifier(body, "UNSUBACK")
    if version == MQTT_3_1_1:
        body.over("UNSUBACK")
        return Unsuback(packet_id)
    settings = properties_of(body, Unsuback)
    reasons = tuple(_reason(code, REASONS[Unsuback], "UNSUBACK") for code in body.rest())
    if not reasons:
        raise error("UNSUBACK without a reason")
    return Unsuback(packet_id, reasons, **settings)


def pingreq(body: Body, version: int) -> Pingreq:
    """Nothing follows."""
    body.over("PINGREQ")
    return Pingreq()


def pingresp(body: Body, version: int) -> Pingresp:
    """Nothing follows."""
    body.over("PINGRESP")
    return Pingresp()


def disconnect(body: Body, version: int, broker: bool) -> Disconnect:
    """The end, as read by a broker or by a client."""
    if version == MQTT_3_1_1 or body.at == body.end:
        body.over("DISCONNECT")
        return Disconnect()
    allowed = (CLIENT_REASONS if broker else BROKER_REASONS)[Disconnect]
    reason = _reason(body.byte("DISCONNECT: reason"), allowed, "DISCONNECT")
    settings = properties_of(body, Disconnect) if body.at < body.end else {}
    body.over("DISCONNECT")
    if broker and "server_reference" in settings:
        raise error("DISCONNECT: a client sends a server reference")
    if not broker and "session_expiry_interval" in settings:
        raise error("DISCONNECT: a broker sends a session expiry interval")
    return Disconnect(reason, **settings)


def auth(body: Body, version: int, broker: bool) -> Auth:
    """A step of an authentication, as read by a broker or by a client."""
    allowed = (CLIENT_REASONS if broker else BROKER_REASONS)[Auth]
    if body.at == body.end:  # the short form of success
        return Auth(_reason(Reason.SUCCESS, allowed, "AUTH"))
    reason = _reason(body.byte("AUTH: reason"), allowed, "AUTH")
    settings = properties_of(body, Auth)
    body.over("AUTH")
    if "authentication_method" not in settings:
        raise error("AUTH without an authentication method")
    return Auth(reason, **settings)


# What may come in a body that has no side of its own, by the upper half of the first byte.
BODIES: dict[int, Callable[[Body, int], Packet]] = {
    2: connack,
    4: answer(Puback, "PUBACK"),
    5: answer(Pubrec, "PUBREC"),
    6: answer(Pubrel, "PUBREL"),
    7: answer(Pubcomp, "PUBCOMP"),
    8: subscribe,
    9: suback,
    10: unsubscribe,
    11: unsuback,
    12: pingreq,
    13: pingresp,
}
