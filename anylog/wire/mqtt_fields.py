"""The fields that MQTT packets are made of: numbers, texts, bytes and properties (OASIS MQTT 5.0, 1.5 and 2.2.2)."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Any

from attrs import define, frozen

from anylog.wire.mqtt_packets import (
    LARGEST,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Malformed,
    Packet,
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

LONGEST = 65_535  # bytes of a text or of binary data
# Bytes of the properties of a packet, and of a whole packet that is no PUBLISH. Each few of them become a value of a
# hundred: of as many megabytes as a payload may have, one packet would hold everybody up for seconds.
MOST_VALUES = 256 << 10


class Kind(Enum):
    """How a property is written."""

    FLAG = "a byte that is 0 or 1, read as a bool"
    BYTE = "a byte"
    TWO = "a two byte integer"
    FOUR = "a four byte integer"
    VARIABLE = "a variable byte integer"
    TEXT = "a UTF-8 string"
    BINARY = "binary data"
    PAIR = "two UTF-8 strings"


@frozen
class Property:
    """One property: its number, the attribute that holds it, and what it may be."""

    number: int
    name: str
    kind: Kind
    least: int = 0
    most: int = 0xFFFFFFFF
    refusal: Reason = Reason.PROTOCOL_ERROR  # of a value that is not in between


PROPERTIES: dict[int, Property] = {
    each.number: each
    for each in (
        Property(0x01, "payload_format_indicator", Kind.BYTE, most=1),
        Property(0x02, "message_expiry_interval", Kind.FOUR),
        Property(0x03, "content_type", Kind.TEXT),
        Property(0x08, "response_topic", Kind.TEXT),
        Property(0x09, "correlation_data", Kind.BINARY),
        Property(0x0B, "subscription_identifier", Kind.VARIABLE, least=1),
        Property(0x11, "session_expiry_interval", Kind.FOUR),
        Property(0x12, "assigned_client_identifier", Kind.TEXT),
        Property(0x13, "server_keep_alive", Kind.TWO),
        Property(0x15, "authentication_method", Kind.TEXT),
        Property(0x16, "authentication_data", Kind.BINARY),
        Property(0x17, "request_problem_information", Kind.FLAG, most=1),
        Property(0x18, "will_delay_interval", Kind.FOUR),
        Property(0x19, "request_response_information", Kind.FLAG, most=1),
        Property(0x1A, "response_information", Kind.TEXT),
        Property(0x1C, "server_reference", Kind.TEXT),
        Property(0x1F, "reason_string", Kind.TEXT),
        Property(0x21, "receive_maximum", Kind.TWO, least=1),
        Property(0x22, "topic_alias_maximum", Kind.TWO),
        Property(0x23, "topic_alias", Kind.TWO, least=1, refusal=Reason.TOPIC_ALIAS_INVALID),
        Property(0x24, "maximum_qos", Kind.BYTE, most=1),
        Property(0x25, "retain_available", Kind.FLAG, most=1),
        Property(0x26, "user_properties", Kind.PAIR),
        Property(0x27, "maximum_packet_size", Kind.FOUR, least=1),
        Property(0x28, "wildcard_subscription_available", Kind.FLAG, most=1),
        Property(0x29, "subscription_identifiers_available", Kind.FLAG, most=1),
        Property(0x2A, "shared_subscription_available", Kind.FLAG, most=1),
    )
}

_REASONED = (0x1F, 0x26)
# Which packet has which properties, in the order in which they are written.
ALLOWED: dict[type[Packet] | type[Will], tuple[int, ...]] = {
    Connect: (0x11, 0x21, 0x27, 0x22, 0x19, 0x17, 0x26, 0x15, 0x16),
    Will: (0x18, 0x01, 0x02, 0x03, 0x08, 0x09, 0x26),
    Connack: (
        *(0x11, 0x21, 0x24, 0x25, 0x27, 0x12, 0x22, 0x1F, 0x26),
        *(0x28, 0x29, 0x2A, 0x13, 0x1A, 0x1C, 0x15, 0x16),
    ),
    Publish: (0x01, 0x02, 0x23, 0x08, 0x09, 0x26, 0x0B, 0x03),
    Puback: _REASONED,
    Pubrec: _REASONED,
    Pubrel: _REASONED,
    Pubcomp: _REASONED,
    Subscribe: (0x0B, 0x26),
    Suback: _REASONED,
    Unsubscribe: (0x26,),
    Unsuback: _REASONED,
    Disconnect: (0x11, 0x1F, 0x26, 0x1C),
    Auth: (0x15, 0x16, 0x1F, 0x26),
}

_LABELS: dict[type[Packet] | type[Will], str] = {
    owner: "CONNECT: will" if owner is Will else owner.__name__.upper() for owner in ALLOWED
}
_LENGTHS = {owner: f"{label}: length of the properties" for owner, label in _LABELS.items()}
_MANY = ("user_properties", "subscription_identifiers")  # attributes of what may come more than once


def _owned(owner: type[Packet] | type[Will]) -> dict[int, tuple[Property, str, bool, str]]:
    """The properties of a packet: each with its attribute, whether it may come again, and what it is called."""
    found: dict[int, tuple[Property, str, bool, str]] = {}
    for number in ALLOWED[owner]:
        each = PROPERTIES[number]
        name = "subscription_identifiers" if number == 0x0B and owner is Publish else each.name
        found[number] = each, name, name in _MANY, f"{_LABELS[owner]}: {each.name}"
    return found


_OWNED = {owner: _owned(owner) for owner in ALLOWED}


def malformed(text: str) -> Malformed:
    """The fault that has no better name."""
    return Malformed(Reason.MALFORMED_PACKET, text)


# ---------------------------------------------------------------------- reading


def decoded(data: bytes, what: str) -> str:
    """The text of a UTF-8 string.

    Raises `Malformed` if it is none ([MQTT-1.5.4-1]; 3.1.1: [MQTT-1.4.0-1]), or holds U+0000 ([MQTT-1.5.4-2]; 3.1.1:
    [MQTT-1.4.0-2]). A byte order mark is a character like any other ([MQTT-1.5.4-3]).
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as wrong:
        raise malformed(f"{what} is not UTF-8") from wrong
    if "\0" in text:
        raise malformed(f"{what} holds U+0000")
    return text


@define(eq=False)
class Body:
    """What follows a fixed header, read from `at` to `end`. Each reading raises `Malformed` where `end` comes first."""

    data: bytes
    at: int
    end: int

    def take(self, size: int, what: str) -> int:
        """Where the next `size` bytes begin; they are passed."""
        at = self.at
        if self.end - at < size:
            raise malformed(f"{what} is cut off")
        self.at = at + size
        return at

    def byte(self, what: str) -> int:
        """A byte."""
        return self.data[self.take(1, what)]

    def two(self, what: str) -> int:
        """A two byte integer."""
        at = self.take(2, what)
        return self.data[at] << 8 | self.data[at + 1]

    def four(self, what: str) -> int:
        """A four byte integer."""
        at = self.take(4, what)
        return int.from_bytes(self.data[at : at + 4], "big")

    def variable(self, what: str) -> int:
        """A variable byte integer, which must be as short as it can ([MQTT-1.5.5-1])."""
        if self.at < self.end and self.data[self.at] < 0x80:
            self.at += 1
            return self.data[self.at - 1]
        number = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte(what)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                if shift and not byte:
                    raise malformed(f"{what} is longer than it need be")
                return number
        raise malformed(f"{what} runs past four bytes")

    def binary(self, what: str) -> bytes:
        """Bytes with their number before them."""
        data, at = self.data, self.at + 2
        if at > self.end:
            raise malformed(f"{what} is cut off")
        stop = at + (data[at - 2] << 8 | data[at - 1])
        if stop > self.end:
            raise malformed(f"{what} is cut off")
        self.at = stop
        return data[at:stop]

    def text(self, what: str) -> str:
        """A UTF-8 string with its length before it."""
        return decoded(self.binary(what), what)

    def rest(self) -> bytes:
        """All that is left."""
        at, self.at = self.at, self.end
        return self.data[at : self.end]

    def over(self, what: str) -> None:
        """Raises `Malformed` if something is left."""
        if self.at != self.end:
            raise malformed(f"{what} is followed by {self.end - self.at} bytes")


def properties_of(body: Body, owner: type[Packet] | type[Will]) -> dict[str, Any]:
    """The properties that come next, by attribute.

    Raises `Malformed`: 0x81 for what is cut off, unknown, or not of this packet; 0x82 for what comes twice, and for
    a value that is not allowed, except a topic alias, where it is 0x94; 0x97 for more than MOST_VALUES bytes of them.
    """
    found: dict[str, Any] = {}
    size = body.variable(_LENGTHS[owner])
    if not size:
        return found
    what = _LABELS[owner]
    if size > MOST_VALUES:
        raise Malformed(Reason.QUOTA_EXCEEDED, f"{what}: {size:,} bytes of properties, at most {MOST_VALUES:,}")
    outer, body.end = body.end, body.take(size, f"{what}: properties") + size
    body.at = body.end - size
    owned = _OWNED[owner]
    while body.at < body.end:
        number = body.variable(f"{what}: number of a property")
        if number not in owned:
            known = PROPERTIES.get(number)
            raise malformed(f"{what} has no property {known.name if known else hex(number)}")
        each, name, many, label = owned[number]
        kind = each.kind
        content: Any
        if kind is Kind.PAIR:
            content = body.text(label), body.text(label)
        elif kind is Kind.TEXT:
            content = body.text(label)
        elif kind is Kind.BINARY:
            content = body.binary(label)
        else:
            content = _NUMBERS[kind](body, label)
            if not each.least <= content <= each.most:
                raise Malformed(each.refusal, f"{label} is {content}")
            if kind is Kind.FLAG:
                content = content == 1
        if many:
            found.setdefault(name, []).append(content)
        elif name in found:
            raise Malformed(Reason.PROTOCOL_ERROR, f"{label} comes twice")
        else:
            found[name] = content
    for name in _MANY:
        if name in found:
            found[name] = tuple(found[name])
    body.end = outer
    return found


_NUMBERS = {
    Kind.FLAG: Body.byte,
    Kind.BYTE: Body.byte,
    Kind.TWO: Body.two,
    Kind.FOUR: Body.four,
    Kind.VARIABLE: Body.variable,
}


# ---------------------------------------------------------------------- writing


def variable(number: int) -> bytes:
    """A variable byte integer. Raises ValueError outside of 0 to 268,435,455."""
    if 0 <= number < 0x80:
        return _SHORT[number]
    return _variable(number)


@lru_cache(1024)
def _variable(number: int) -> bytes:
    if not 0 <= number <= LARGEST:
        raise ValueError(f"{number:,} is not from 0 to {LARGEST:,}")
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_SHORT = [bytes([number]) for number in range(0x80)]


def binary(content: bytes) -> bytes:
    """Bytes with their number before them. Raises ValueError for more than 65,535."""
    if len(content) > LONGEST:
        raise ValueError(f"{len(content):,} bytes, at most {LONGEST:,}")
    return len(content).to_bytes(2, "big") + content


def text(content: str) -> bytes:
    """A UTF-8 string. Raises ValueError for what MQTT does not know as one."""
    if "\0" in content:
        raise ValueError("a text that holds U+0000")
    return binary(content.encode())


def number(content: int, size: int, least: int = 0) -> bytes:
    """An integer of `size` bytes. Raises ValueError where it does not fit."""
    if not least <= content < 1 << 8 * size:
        raise ValueError(f"{content} is no number of {size} bytes from {least}")
    return content.to_bytes(size, "big")


def properties(packet: Packet | Will) -> bytes:
    """All properties of a packet, with their length before them. Raises ValueError for a value that is not allowed."""
    parts: list[bytes] = []
    for each, name, _, _ in _OWNED[type(packet)].values():
        content = getattr(packet, name)
        if content is None or content == ():
            continue
        if each.kind is Kind.PAIR:
            parts += [b"\x26" + text(key) + text(item) for key, item in content]
        elif type(content) is tuple:
            parts += [_written(each, item) for item in content]
        else:
            parts.append(_written(each, content))
    if not parts:
        return b"\0"
    block = b"".join(parts)
    return variable(len(block)) + block


def _written(each: Property, content: Any) -> bytes:
    kind = each.kind
    if kind is Kind.TEXT:
        data = text(content)
    elif kind is Kind.BINARY:
        data = binary(content)
    elif not each.least <= content <= each.most:
        raise ValueError(f"{each.name} of {content}")
    elif kind is Kind.VARIABLE:
        data = variable(content)
    else:
        data = number(content, _SIZES[kind])
    return bytes([each.number]) + data


_SIZES = {Kind.FLAG: 1, Kind.BYTE: 1, Kind.TWO: 2, Kind.FOUR: 4}
