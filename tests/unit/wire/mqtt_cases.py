"""Packets that break the standard: each with the statement that it breaks, what is said, and the reason 5.0 gives.

Statements in brackets are the normative ones of the version at hand; others name the section that says it.
"""

from __future__ import annotations

from anylog.wire.mqtt_fields import variable
from anylog.wire.mqtt_packets import Reason

Case = tuple[str, str, bytes, Reason]

BAD, WRONG = Reason.MALFORMED_PACKET, Reason.PROTOCOL_ERROR
NAME, FILTER, ALIAS = Reason.TOPIC_NAME_INVALID, Reason.TOPIC_FILTER_INVALID, Reason.TOPIC_ALIAS_INVALID
VERSION, LARGE, CLIENT = (
    Reason.UNSUPPORTED_PROTOCOL_VERSION,
    Reason.PACKET_TOO_LARGE,
    Reason.CLIENT_IDENTIFIER_NOT_VALID,
)
MOST = 100_000  # bytes of a packet, for all cases
ILL = [  # what UTF-8 is not
    b"\xff",
    b"\xc3",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
]


def t(content: str | bytes) -> bytes:
    """A text, or what stands in its place."""
    data = content.encode() if isinstance(content, str) else content
    return len(data).to_bytes(2, "big") + data


def p(first: int, *parts: bytes) -> bytes:
    """A packet whose remaining length is right."""
    body = b"".join(parts)
    return bytes([first]) + variable(len(body)) + body


def q(*parts: bytes) -> bytes:
    """Properties with their length."""
    return variable(sum(map(len, parts))) + b"".join(parts)


def c4(flags: int, *payload: bytes, name: bytes = b"MQTT", level: int = 4) -> bytes:
    """A CONNECT of 3.1.1 with a keep alive of a minute."""
    return p(0x10, t(name), bytes([level, flags]), b"\0\x3c", *payload)


def c5(flags: int, settings: bytes, *payload: bytes) -> bytes:
    """A CONNECT of 5.0."""
    return p(0x10, b"\0\4MQTT\5", bytes([flags]), b"\0\x3c", settings, *payload)


PAIR = b"\x26" + t("k") + t("v")
NONE = b"\0"  # no properties
ID = b"\0\7"

# ---------------------------------------------------------------------- before a CONNECT

FIRST: list[Case] = [
    ("MQTT-3.1.0-1", "the first packet is no CONNECT", p(0x30, t("a")), WRONG),
    ("MQTT-3.1.0-1", "the first packet is no CONNECT", p(0x20, b"\0\0"), WRONG),
    ("MQTT-3.1.0-1", "the first packet is no CONNECT", p(0x82, ID, t("a"), b"\0"), WRONG),
    ("MQTT-3.1.0-1", "the first packet is no CONNECT", p(0xC0), WRONG),
    ("MQTT-3.1.0-1", "the first packet is no CONNECT", p(0xE0), WRONG),
    ("MQTT-3.1.0-1", "the first packet is no CONNECT", p(0xF0), WRONG),
    ("MQTT-3.1.0-1", "the first packet is no CONNECT", p(0x00), WRONG),
    ("MQTT-3.1.0-1", "the first packet is no CONNECT", b"GET / HTTP/1.1\r\n\r\n", WRONG),
    ("MQTT-2.2.2-2", "CONNECT with flags 0x1", p(0x11, t("MQTT")), BAD),
    ("MQTT-2.2.2-2", "CONNECT with flags 0x8", p(0x18, t("MQTT")), BAD),
    ("2.2.3", "runs past four bytes", b"\x10\xff\xff\xff\xff\x01", BAD),
    ("2.2.3", "runs past four bytes", b"\x10\x80\x80\x80\x80", BAD),
    ("3.1.2.11.4", "a packet of 268,435,460 bytes, at most 100,000", b"\x10\xff\xff\xff\x7f", LARGE),
    ("3.1.2.1", "protocol name is cut off", p(0x10), BAD),
    ("3.1.2.1", "protocol name is cut off", p(0x10, b"\0"), BAD),
    ("3.1.2.1", "protocol name is cut off", p(0x10, b"\0\4MQT"), BAD),
    ("3.1.2.2", "protocol level is cut off", p(0x10, t("MQTT")), BAD),
    ("MQTT-3.1.2-1", "protocol name b'MQTZ'", c4(2, t("c"), name=b"MQTZ"), VERSION),
    ("MQTT-3.1.2-1", "protocol name b'mqtt'", c4(2, t("c"), name=b"mqtt"), VERSION),
    ("MQTT-3.1.2-1", "protocol name b''", c4(2, t("c"), name=b""), VERSION),
    ("MQTT-3.1.2-1", "protocol name b'\\xff'", c4(2, t("c"), name=b"\xff"), VERSION),
]

# ---------------------------------------------------------------------- CONNECT of 3.1.1

CONNECT_4: list[Case] = [
    ("MQTT-3.1.2-2", "version 3 of MQIsdp", c4(2, t("c"), name=b"MQIsdp", level=3), VERSION),
    ("MQTT-3.1.2-2", "version 4 of MQIsdp", c4(2, t("c"), name=b"MQIsdp", level=4), VERSION),
    ("MQTT-3.1.2-2", "version 5 of MQIsdp", c4(2, t("c"), name=b"MQIsdp", level=5), VERSION),
    ("MQTT-3.1.2-2", "version 3 of MQTT", c4(2, t("c"), level=3), VERSION),
    ("MQTT-3.1.2-2", "version 0 of MQTT", c4(2, t("c"), level=0), VERSION),
    ("MQTT-3.1.2-2", "version 132 of MQTT", c4(2, t("c"), level=0x84), VERSION),
    ("3.1.2.3", "flags is cut off", p(0x10, b"\0\4MQTT\4"), BAD),
    ("3.1.2.10", "keep alive is cut off", p(0x10, b"\0\4MQTT\4\2"), BAD),
    ("3.1.2.10", "keep alive is cut off", p(0x10, b"\0\4MQTT\4\2\0"), BAD),
    ("MQTT-3.1.2-3", "the reserved flag is set", c4(3, t("c")), BAD),
    ("MQTT-3.1.2-13", "a will that is not there", c4(0x0A, t("c")), BAD),
    ("MQTT-3.1.2-13", "a will that is not there", c4(0x12, t("c")), BAD),
    ("MQTT-3.1.2-11", "a will that is not there", c4(0x1A, t("c")), BAD),
    ("MQTT-3.1.2-15", "a will that is not there", c4(0x22, t("c")), BAD),
    ("MQTT-3.1.2-14", "will of QoS 3", c4(0x1E, t("c"), t("w"), t("x")), BAD),
    ("MQTT-3.1.2-22", "a password without a user name", c4(0x42, t("c"), t("secret")), BAD),
    ("MQTT-3.1.3-3", "client id is cut off", c4(2), BAD),
    ("MQTT-3.1.3-3", "client id is cut off", c4(2, b"\0"), BAD),
    ("MQTT-3.1.3-3", "client id is cut off", c4(2, b"\0\5four"), BAD),
    ("MQTT-3.1.3-8", "no client id for a session that is kept", c4(0, t("")), CLIENT),
    ("MQTT-3.1.2-9", "will topic is cut off", c4(6, t("c")), BAD),
    ("MQTT-3.1.2-9", "will payload is cut off", c4(6, t("c"), t("w")), BAD),
    ("MQTT-3.1.2-9", "will payload is cut off", c4(6, t("c"), t("w"), b"\0\1"), BAD),
    ("MQTT-3.1.2-19", "user name is cut off", c4(0x82, t("c")), BAD),
    ("MQTT-3.1.2-21", "password is cut off", c4(0xC2, t("c"), t("u")), BAD),
    ("MQTT-3.1.2-21", "password is cut off", c4(0xC2, t("c"), t("u"), b"\0\2x"), BAD),
    ("MQTT-3.1.2-18", "CONNECT is followed by 3 bytes", c4(2, t("c"), t("u")), BAD),
    ("MQTT-3.1.2-20", "CONNECT is followed by 3 bytes", c4(0x82, t("c"), t("u"), t("p")), BAD),
    ("MQTT-3.1.2-11", "CONNECT is followed by 6 bytes", c4(2, t("c"), t("w"), t("x")), BAD),
    ("3.1.3", "CONNECT is followed by 1 bytes", c4(2, t("c"), b"\0"), BAD),
    *(("MQTT-1.4.0-1", "client id is not UTF-8", c4(2, t(ill)), BAD) for ill in ILL),
    ("MQTT-1.4.0-2", "client id holds U+0000", c4(2, t("a\0b")), BAD),
    ("MQTT-3.1.3-10", "will topic is not UTF-8", c4(6, t("c"), t(b"\xff"), t("x")), BAD),
    ("MQTT-1.4.0-2", "will topic holds U+0000", c4(6, t("c"), t("\0"), t("x")), BAD),
    ("MQTT-4.7.1-1", "has a wildcard", c4(6, t("c"), t("a/#"), t("x")), NAME),
    ("MQTT-4.7.1-1", "has a wildcard", c4(6, t("c"), t("a/+/b"), t("x")), NAME),
    ("MQTT-4.7.3-1", "a topic name is empty", c4(6, t("c"), t(""), t("x")), NAME),
    ("MQTT-3.1.3-11", "user name is not UTF-8", c4(0x82, t("c"), t(b"\xed\xa0\x80")), BAD),
    ("MQTT-1.4.0-2", "user name holds U+0000", c4(0x82, t("c"), t("u\0")), BAD),
]

# ---------------------------------------------------------------------- CONNECT of 5.0

CONNECT_5: list[Case] = [
    ("MQTT-3.1.2-2", "version 6 of MQTT", c4(2, NONE, t("c"), level=6), VERSION),
    ("MQTT-3.1.2-2", "version 255 of MQTT", c4(2, NONE, t("c"), level=255), VERSION),
    ("MQTT-3.1.2-2", "version 133 of MQTT", c4(2, NONE, t("c"), level=0x85), VERSION),
    ("MQTT-1.5.5-1", "longer than it need be", b"\x10\x8e\0" + c5(2, NONE, t("c"))[2:], BAD),
    ("MQTT-1.5.5-1", "longer than it need be", b"\x10\x8e\x80\0" + c5(2, NONE, t("c"))[2:], BAD),
    ("3.1.2.3", "flags is cut off", p(0x10, b"\0\4MQTT\5"), BAD),
    ("3.1.2.10", "keep alive is cut off", p(0x10, b"\0\4MQTT\5\2\0"), BAD),
    ("MQTT-3.1.2-3", "the reserved flag is set", c5(3, NONE, t("c")), BAD),
    ("MQTT-3.1.2-13", "a will that is not there", c5(0x0A, NONE, t("c")), BAD),
    ("MQTT-3.1.2-11", "a will that is not there", c5(0x3A, NONE, t("c")), BAD),
    ("MQTT-3.1.2-15", "a will that is not there", c5(0x22, NONE, t("c")), BAD),
    ("MQTT-3.1.2-14", "will of QoS 3", c5(0x1E, NONE, t("c"), NONE, t("w"), t("x")), BAD),
    ("MQTT-2.2.2-1", "length of the properties is cut off", c5(2, b""), BAD),
    ("MQTT-2.2.2-1", "CONNECT: properties is cut off", c5(2, b"\x7f", t("c")), BAD),
    ("MQTT-1.5.5-1", "length of the properties is longer than it need be", c5(2, b"\x80\0", t("c")), BAD),
    ("1.5.5", "length of the properties runs past four bytes", c5(2, b"\x80\x80\x80\x80\1", t("c")), BAD),
    ("2.2.2.2", "CONNECT has no property 0x0", c5(2, q(b"\0\0"), t("c")), BAD),
    ("2.2.2.2", "CONNECT has no property 0x7f", c5(2, q(b"\x7f\0"), t("c")), BAD),
    ("2.2.2.2", "CONNECT has no property 0xff", c5(2, q(b"\xff\1\0"), t("c")), BAD),
    ("MQTT-1.5.5-1", "number of a property is longer", c5(2, q(b"\x91\0\0\0\0\1"), t("c")), BAD),
    ("2.2.2.2", "CONNECT has no property payload_format_indicator", c5(2, q(b"\1\1"), t("c")), BAD),
    ("2.2.2.2", "CONNECT has no property server_keep_alive", c5(2, q(b"\x13\0\1"), t("c")), BAD),
    ("2.2.2.2", "CONNECT has no property will_delay_interval", c5(2, q(b"\x18\0\0\0\1"), t("c")), BAD),
    ("2.2.2.2", "CONNECT has no property topic_alias", c5(2, q(b"\x23\0\1"), t("c")), BAD),
    ("2.2.2.2", "CONNECT has no property reason_string", c5(2, q(b"\x1f" + t("r")), t("c")), BAD),
    ("2.2.2", "session_expiry_interval is cut off", c5(2, q(b"\x11\0\0\0"), t("c")), BAD),
    ("2.2.2", "receive_maximum is cut off", c5(2, q(b"\x21\0"), t("c")), BAD),
    ("2.2.2", "maximum_packet_size is cut off", c5(2, q(b"\x27"), t("c")), BAD),
    ("2.2.2", "request_problem_information is cut off", c5(2, q(b"\x17"), t("c")), BAD),
    ("2.2.2", "authentication_method is cut off", c5(2, q(b"\x15\0\5abc"), t("c")), BAD),
    ("2.2.2", "authentication_data is cut off", c5(2, q(b"\x16\0\5abc"), t("c")), BAD),
    ("2.2.2", "user_properties is cut off", c5(2, q(b"\x26" + t("k")), t("c")), BAD),
    ("3.1.2.11.2", "session_expiry_interval comes twice", c5(2, q(b"\x11\0\0\0\1" * 2), t("c")), WRONG),
    ("3.1.2.11.3", "receive_maximum comes twice", c5(2, q(b"\x21\0\1" * 2), t("c")), WRONG),
    ("3.1.2.11.3", "receive_maximum is 0", c5(2, q(b"\x21\0\0"), t("c")), WRONG),
    ("3.1.2.11.4", "maximum_packet_size comes twice", c5(2, q(b"\x27\0\1\0\0" * 2), t("c")), WRONG),
    ("3.1.2.11.4", "maximum_packet_size is 0", c5(2, q(b"\x27\0\0\0\0"), t("c")), WRONG),
    ("3.1.2.11.5", "topic_alias_maximum comes twice", c5(2, q(b"\x22\0\1" * 2), t("c")), WRONG),
    ("3.1.2.11.6", "request_response_information comes twice", c5(2, q(b"\x19\1" * 2), t("c")), WRONG),
    ("3.1.2.11.6", "request_response_information is 2", c5(2, q(b"\x19\2"), t("c")), WRONG),
    ("3.1.2.11.7", "request_problem_information comes twice", c5(2, q(b"\x17\1" * 2), t("c")), WRONG),
    ("3.1.2.11.7", "request_problem_information is 255", c5(2, q(b"\x17\xff"), t("c")), WRONG),
    ("3.1.2.11.9", "authentication_method comes twice", c5(2, q(b"\x15\0\1m" * 2), t("c")), WRONG),
    ("3.1.2.11.10", "authentication_data comes twice", c5(2, q(b"\x15\0\1m", b"\x16\0\1d" * 2), t("c")), WRONG),
    ("3.1.2.11.10", "authentication data without a method", c5(2, q(b"\x16\0\1d"), t("c")), WRONG),
    ("MQTT-1.5.4-1", "user_properties is not UTF-8", c5(2, q(b"\x26" + t(b"\xff") + t("v")), t("c")), BAD),
    ("MQTT-1.5.4-2", "user_properties holds U+0000", c5(2, q(b"\x26" + t("k") + t("\0")), t("c")), BAD),
    ("MQTT-1.5.4-1", "authentication_method is not UTF-8", c5(2, q(b"\x15" + t(b"\xc3")), t("c")), BAD),
    ("MQTT-3.1.3-3", "client id is cut off", c5(2, NONE), BAD),
    *(("MQTT-1.5.4-1", "client id is not UTF-8", c5(2, NONE, t(ill)), BAD) for ill in ILL),
    ("MQTT-1.5.4-2", "client id holds U+0000", c5(2, NONE, t("\0")), BAD),
    ("3.1.3.2", "will: length of the properties is cut off", c5(6, NONE, t("c")), BAD),
    ("3.1.3.2", "will: properties is cut off", c5(6, NONE, t("c"), b"\x20", t("w"), t("x")), BAD),
    ("2.2.2.2", "will has no property topic_alias", c5(6, NONE, t("c"), q(b"\x23\0\1"), t("w"), t("x")), BAD),
    ("2.2.2.2", "will has no property receive_max", c5(6, NONE, t("c"), q(b"\x21\0\1"), t("w"), t("x")), BAD),
    ("3.1.3.2.2", "will_delay_interval comes twice", c5(6, NONE, t("c"), q(b"\x18\0\0\0\1" * 2), t("w"), t("")), WRONG),
    ("3.1.3.2.3", "payload_format_indicator comes", c5(6, NONE, t("c"), q(b"\1\1" * 2), t("w"), t("")), WRONG),
    ("3.1.3.2.3", "payload_format_indicator is 2", c5(6, NONE, t("c"), q(b"\1\2"), t("w"), t("")), WRONG),
    ("3.1.3.2.4", "message_expiry_interval comes", c5(6, NONE, t("c"), q(b"\2\0\0\0\1" * 2), t("w"), t("")), WRONG),
    ("3.1.3.2.5", "content_type comes twice", c5(6, NONE, t("c"), q(b"\3\0\1x" * 2), t("w"), t("")), WRONG),
    ("3.1.3.2.6", "response_topic comes twice", c5(6, NONE, t("c"), q(b"\x08\0\1x" * 2), t("w"), t("")), WRONG),
    ("3.1.3.2.6", "response topic: the topic name", c5(6, NONE, t("c"), q(b"\x08\0\1#"), t("w"), t("")), WRONG),
    ("3.1.3.2.7", "correlation_data comes twice", c5(6, NONE, t("c"), q(b"\x09\0\1x" * 2), t("w"), t("")), WRONG),
    ("MQTT-3.1.3-9", "will topic is not UTF-8", c5(6, NONE, t("c"), NONE, t(b"\xff"), t("x")), BAD),
    ("MQTT-4.7.0-1", "has a wildcard", c5(6, NONE, t("c"), NONE, t("w/+"), t("x")), NAME),
    ("MQTT-4.7.3-1", "a topic name is empty", c5(6, NONE, t("c"), NONE, t(""), t("x")), NAME),
    ("MQTT-3.1.2-9", "will payload is cut off", c5(6, NONE, t("c"), NONE, t("w")), BAD),
    ("MQTT-3.1.2-19", "user name is cut off", c5(0x82, NONE, t("c")), BAD),
    ("MQTT-3.1.3-10", "user name is not UTF-8", c5(0x82, NONE, t("c"), t(b"\xff")), BAD),
    ("MQTT-3.1.2-21", "password is cut off", c5(0x42, NONE, t("c")), BAD),
    ("MQTT-3.1.2-20", "CONNECT is followed by 3 bytes", c5(2, NONE, t("c"), t("p")), BAD),
]
