"""MQTT packets as bytes, for 3.1.1 and 5.0 (OASIS MQTT 3.1.1 and 5.0, 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from attrs import frozen

from anylog.wire.mqtt_fields import binary, number, properties, text, variable
from anylog.wire.mqtt_packets import (
    KINDS,
    MQTT_3_1_1,
    MQTT_5,
    RETURN_CODES,
    Auth,
    Connack,
    Connect,
    Disconnect,
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

_CACHED = 256  # characters of a topic that may be remembered


def encode(packet: Packet, version: int) -> bytes:
    """The bytes of a packet for a peer that speaks `version`, 4 or 5.

    What 3.1.1 does not know is left out there: properties, options of a filter, and reasons, which become a return code
    in CONNACK and 0x80 in SUBACK. Raises ValueError for what the version cannot say at all, and for values that no
    packet may have: texts and data of more than 65,535 bytes, numbers out of range, topics against the grammar.
    """
    if version not in (MQTT_3_1_1, MQTT_5):
        raise ValueError(f"no version {version} of MQTT")
    return _WRITERS[type(packet)](packet, version)


@frozen
class PublishBytes:
    """A PUBLISH that goes to many: all of it but the packet id is made once, and what is large is shared.

    For subscribers to whom the version, the QoS, the retain flag and the properties are the same.
    """

    qos: int
    _first: int
    _head: bytes  # from the remaining length to the topic
    _rest: bytes  # properties and payload
    _whole: bytes  # all of it, where there is no packet id

    @classmethod
    def of(cls, packet: Publish, version: int, *, qos: int | None = None, retain: bool | None = None) -> PublishBytes:
        """Of a packet, with its own QoS and retain flag or others; its packet id and dup do not count.

        Raises ValueError as `encode` does.
        """
        if version not in (MQTT_3_1_1, MQTT_5):
            raise ValueError(f"no version {version} of MQTT")
        if qos is None:
            qos = packet.qos
        first, topic, rest = _publish_parts(packet, version, qos, packet.retain if retain is None else retain)
        head = variable(len(topic) + len(rest) + (2 if qos else 0)) + topic
        return cls(qos, first, head, rest, b"" if qos else bytes([first]) + head + rest)

    def parts(self, packet_id: int = 0, dup: bool = False) -> tuple[bytes, ...]:
        """The bytes for one subscriber, to be written one after the other; only the first few are made anew.

        The packet id is left out of account where the QoS is 0. Raises ValueError if there is to be one and it is 0.
        """
        if not self.qos:
            return (self._whole,)
        first = self._first | 0x08 if dup else self._first
        return bytes([first]) + self._head + number(packet_id, 2, 1), self._rest

    def bytes_for(self, packet_id: int = 0, dup: bool = False) -> bytes:
        """The same as one piece."""
        return b"".join(self.parts(packet_id, dup))


def publish_bytes(packet: Publish, version: int, qos: int, retain: bool, packet_id: int, dup: bool) -> bytes:
    """A PUBLISH for one subscriber, whose version, QoS and packet id are known to be right.

    Raises ValueError as `encode` does.
    """
    first, topic, rest = _publish_parts(packet, version, qos, retain)
    size = len(topic) + len(rest) + 2
    return b"".join((_FIRST[first | 8 if dup else first], variable(size), topic, packet_id.to_bytes(2, "big"), rest))


_FIRST = [bytes([number]) for number in range(256)]


def _framed(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([first]) + variable(len(body)) + body


@lru_cache(4096)
def _short_topic(topic: str) -> bytes:
    return _topic(topic)


def _topic(topic: str) -> bytes:
    wrong = name_fault(topic)
    if wrong:
        raise ValueError(wrong)
    return text(topic)


def _publish_parts(packet: Publish, version: int, qos: int, retain: bool) -> tuple[int, bytes, bytes]:
    """First byte without dup, topic, and all that comes after the packet id."""
    topic = packet.topic
    if not 0 <= qos <= 2:
        raise ValueError(f"a QoS of {qos}")
    first = 0x31 | qos << 1 if retain else 0x30 | qos << 1
    if version == MQTT_5:
        if packet.response_topic is not None and (wrong := name_fault(packet.response_topic)):
            raise ValueError(f"response topic: {wrong}")
        rest = properties(packet) + packet.payload
        if not topic and packet.topic_alias is not None:
            return first, b"\0\0", rest
    else:
        rest = packet.payload
    return first, _short_topic(topic) if len(topic) <= _CACHED else _topic(topic), rest


def _publish(packet: Publish, version: int) -> bytes:
    qos = packet.qos
    first, topic, rest = _publish_parts(packet, version, qos, packet.retain)
    if packet.dup:
        if not qos:
            raise ValueError("a PUBLISH of QoS 0 is not sent again")  # [MQTT-3.3.1-2]
        first |= 8
    identifier = number(packet.packet_id, 2, 1) if qos else b""
    size = len(topic) + len(identifier) + len(rest)
    return b"".join((bytes([first]), variable(size), topic, identifier, rest))


def _connect(packet: Connect, version: int) -> bytes:
    if packet.version != version:
        raise ValueError(f"a CONNECT of version {packet.version} to a peer of {version}")
    will = packet.will
    flags = 2 if packet.clean else 0
    payload = [text(packet.client_id)]
    if will is not None:
        if not 0 <= will.qos <= 2:
            raise ValueError(f"a QoS of {will.qos}")
        flags |= 4 | will.qos << 3 | (0x20 if will.retain else 0)
        payload += [_will_properties(will, version), _topic(will.topic), binary(will.payload)]
    if packet.user_name is not None:
        flags |= 0x80
        payload.append(text(packet.user_name))
    if packet.password is not None:
        if packet.user_name is None and version == MQTT_3_1_1:
            raise ValueError("a password without a user name")  # [MQTT-3.1.2-22]
        flags |= 0x40
        payload.append(binary(packet.password))
    if version == MQTT_3_1_1 and not packet.client_id and not packet.clean:
        raise ValueError("a session that is kept has a client id")  # [MQTT-3.1.3-7]
    if packet.authentication_data is not None and packet.authentication_method is None:
        raise ValueError("authentication data without a method")
    settings = properties(packet) if version == MQTT_5 else b""
    head = text("MQTT") + bytes([version, flags]) + number(packet.keep_alive, 2)
    return _framed(0x10, head, settings, *payload)


def _will_properties(will: Will, version: int) -> bytes:
    if version == MQTT_3_1_1:
        return b""
    if will.response_topic is not None and (wrong := name_fault(will.response_topic)):
        raise ValueError(f"response topic: {wrong}")
    return properties(will)


def _connack(packet: Connack, version: int) -> bytes:
    if packet.session_present and packet.reason:
        raise ValueError("no session is present where the connection is refused")  # [MQTT-3.2.2-6]
    present = b"\1" if packet.session_present else b"\0"
    if version == MQTT_5:
        return _framed(0x20, present, bytes([packet.reason]), properties(packet))
    if packet.reason not in RETURN_CODES:
        raise ValueError(f"3.1.1 closes without a CONNACK for {packet.reason.name}")  # [MQTT-3.2.2-6] of 3.1.1
    return _framed(0x20, present, bytes([RETURN_CODES[packet.reason]]))


def _answer(packet: Puback | Pubrec | Pubrel | Pubcomp, version: int) -> bytes:
    first = KINDS[type(packet)] << 4 | (2 if type(packet) is Pubrel else 0)
    identifier = number(packet.packet_id, 2, 1)
    if version == MQTT_5:
        settings = properties(packet)
        if len(settings) > 1:
            return _framed(first, identifier, bytes([packet.reason]), settings)
        if packet.reason:
            return _framed(first, identifier, bytes([packet.reason]))
    return bytes([first, 2]) + identifier


def _subscribe(packet: Subscribe, version: int) -> bytes:
    if not packet.filters:
        raise ValueError("no filter to subscribe to")  # [MQTT-3.8.3-2]
    parts = [number(packet.packet_id, 2, 1)]
    if version == MQTT_5:
        parts.append(properties(packet))
    for each in packet.filters:
        if not 0 <= each.qos <= 2 or not 0 <= each.retain_handling <= 2:
            raise ValueError(f"a QoS of {each.qos}, a retain handling of {each.retain_handling}")
        options = each.qos
        if version == MQTT_5:
            options |= (4 if each.no_local else 0) | (8 if each.retain_as_published else 0) | each.retain_handling << 4
            if share(each.filter)[0] and each.no_local:
                raise ValueError("a shared subscription with no local")  # [MQTT-3.8.3-4]
        parts.append(_filter(each.filter) + bytes([options]))
    return _framed(0x82, *parts)


def _filter(filter: str) -> bytes:
    wrong = filter_fault(filter)
    if wrong:
        raise ValueError(wrong)
    return text(filter)


def _suback(packet: Suback, version: int) -> bytes:
    if not packet.reasons:
        raise ValueError("no reason to answer with")
    identifier = number(packet.packet_id, 2, 1)
    if version == MQTT_5:
        return _framed(0x90, identifier, properties(packet), bytes(packet.reasons))
    return _framed(0x90, identifier, bytes(min(reason, 0x80) for reason in packet.reasons))


def _unsubscribe(packet: Unsubscribe, version: int) -> bytes:
    if not packet.filters:
        raise ValueError("no filter to unsubscribe from")  # [MQTT-3.10.3-2]
    settings = properties(packet) if version == MQTT_5 else b""
    return _framed(0xA2, number(packet.packet_id, 2, 1), settings, *map(_filter, packet.filters))


def _unsuback(packet: Unsuback, version: int) -> bytes:
    identifier = number(packet.packet_id, 2, 1)
    if version == MQTT_3_1_1:
        return _framed(0xB0, identifier)
    if not packet.reasons:
        raise ValueError("no reason to answer with")
    return _framed(0xB0, identifier, properties(packet), bytes(packet.reasons))


def _disconnect(packet: Disconnect, version: int) -> bytes:
    if version == MQTT_3_1_1:
        return b"\xe0\0"
    settings = properties(packet)
    if len(settings) > 1:
        return _framed(0xE0, bytes([packet.reason]), settings)
    return _framed(0xE0, bytes([packet.reason])) if packet.reason else b"\xe0\0"


def _auth(packet: Auth, version: int) -> bytes:
    if version == MQTT_3_1_1:
        raise ValueError("3.1.1 knows no AUTH")
    settings = properties(packet)
    if len(settings) == 1 and packet.reason is Reason.SUCCESS:
        return b"\xf0\0"
    if packet.authentication_method is None:
        raise ValueError("an AUTH without a method")
    return _framed(0xF0, bytes([packet.reason]), settings)


_WRITERS: dict[type[Packet], Callable[[Any, int], bytes]] = {
    Connect: _connect,
    Connack: _connack,
    Publish: _publish,
    Puback: _answer,
    Pubrec: _answer,
    Pubrel: _answer,
    Pubcomp: _answer,
    Subscribe: _subscribe,
    Suback: _suback,
    Unsubscribe: _unsubscribe,
    Unsuback: _unsuback,
    Pingreq: lambda packet, version: b"\xc0\0",
    Pingresp: lambda packet, version: b"\xd0\0",
    Disconnect: _disconnect,
    Auth: _auth,
}
