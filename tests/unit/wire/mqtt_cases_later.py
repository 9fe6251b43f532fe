"""What breaks the standard after the CONNECT, written as in `mqtt_cases`: to a broker, and to a client."""

from __future__ import annotations

from mqtt_cases import ALIAS, BAD, FILTER, ID, ILL, LARGE, MOST, NAME, NONE, PAIR, WRONG, Case, c4, c5, p, q, t


def both(statement_4: str, statement_5: str, text: str, data: bytes, reason: int) -> tuple[str, str, str, bytes, int]:
    """A case of both versions, whose statements are numbered apart."""
    return statement_4, statement_5, text, data, reason


# ---------------------------------------------------------------------- from a client, in both versions

_BOTH = [
    both("MQTT-3.1.0-2", "MQTT-3.1.0-2", "a second CONNECT", c4(2, t("c")), WRONG),
    both("MQTT-3.1.0-2", "MQTT-3.1.0-2", "a second CONNECT", c5(2, NONE, t("c")), WRONG),
    both("2.2.1", "2.1.2", "the reserved type 0", p(0x00), BAD),
    both("2.2.1", "2.1.2", "the reserved type 0", p(0x0F, b"xyz"), BAD),
    both("2.2.3", "1.5.5", "a remaining length runs past four bytes", b"\x30\xff\xff\xff\xff", BAD),
    both("2.2.3", "1.5.5", "a remaining length runs past four bytes", b"\xc0\x80\x80\x80\x80\0", BAD),
    both("2.2.3", "MQTT-3.2.2-15", "a packet of 100,001 bytes", p(0x30, b"x" * (MOST - 3)), LARGE),
    both("2.2.3", "MQTT-3.2.2-15", "a packet of 268,435,460 bytes", b"\x30\xff\xff\xff\x7f", LARGE),
    both("3.2", "2.1.2", "CONNACK comes from the wrong end", p(0x20, b"\0\0"), WRONG),
    both("3.9", "2.1.2", "SUBACK comes from the wrong end", p(0x90, ID, b"\0"), WRONG),
    both("3.11", "2.1.2", "UNSUBACK comes from the wrong end", p(0xB0, ID), WRONG),
    both("3.13", "2.1.2", "PINGRESP comes from the wrong end", p(0xD0), WRONG),
    both("MQTT-2.2.2-2", "MQTT-2.1.3-1", "PUBACK with flags 0x1", p(0x41, ID), BAD),
    both("MQTT-2.2.2-2", "MQTT-2.1.3-1", "PUBREC with flags 0x2", p(0x52, ID), BAD),
    both("MQTT-3.6.1-1", "MQTT-3.6.1-1", "PUBREL with flags 0x0", p(0x60, ID), BAD),
    both("MQTT-3.6.1-1", "MQTT-3.6.1-1", "PUBREL with flags 0x3", p(0x63, ID), BAD),
    both("MQTT-2.2.2-2", "MQTT-2.1.3-1", "PUBCOMP with flags 0x8", p(0x78, ID), BAD),
    both("MQTT-3.8.1-1", "MQTT-3.8.1-1", "SUBSCRIBE with flags 0x0", p(0x80, ID, t("a"), b"\0"), BAD),
    both("MQTT-3.8.1-1", "MQTT-3.8.1-1", "SUBSCRIBE with flags 0xa", p(0x8A, ID, t("a"), b"\0"), BAD),
    both("MQTT-3.10.1-1", "MQTT-3.10.1-1", "UNSUBSCRIBE with flags 0x0", p(0xA0, ID, t("a")), BAD),
    both("MQTT-3.10.1-1", "MQTT-3.10.1-1", "UNSUBSCRIBE with flags 0x1", p(0xA1, ID, t("a")), BAD),
    both("MQTT-2.2.2-2", "MQTT-2.1.3-1", "PINGREQ with flags 0x1", p(0xC1), BAD),
    both("MQTT-3.14.1-1", "MQTT-3.14.1-1", "DISCONNECT with flags 0x2", p(0xE2), BAD),
    both("MQTT-3.3.1-4", "MQTT-3.3.1-4", "PUBLISH of QoS 3", p(0x36, t("a"), ID), BAD),
    both("MQTT-3.3.1-4", "MQTT-3.3.1-4", "PUBLISH of QoS 3", p(0x3F, t("a"), ID), BAD),
    both("MQTT-3.3.1-2", "MQTT-3.3.1-2", "QoS 0 that was sent before", p(0x38, t("a"), b"\0x"), BAD),
    both("MQTT-3.3.1-2", "MQTT-3.3.1-2", "QoS 0 that was sent before", p(0x39, t("a"), b"\0x"), BAD),
    both("MQTT-3.3.2-1", "MQTT-3.3.2-1", "topic name is cut off", p(0x30), BAD),
    both("MQTT-3.3.2-1", "MQTT-3.3.2-1", "topic name is cut off", p(0x30, b"\0"), BAD),
    both("MQTT-3.3.2-1", "MQTT-3.3.2-1", "topic name is cut off", p(0x30, b"\0\5abcd"), BAD),
    both("MQTT-1.4.0-2", "MQTT-1.5.4-2", "topic name holds U+0000", p(0x30, t("a\0"), NONE), BAD),
    both("MQTT-3.3.2-2", "MQTT-3.3.2-2", "has a wildcard", p(0x30, t("a/#"), NONE), NAME),
    both("MQTT-3.3.2-2", "MQTT-3.3.2-2", "has a wildcard", p(0x30, t("a/+/c"), NONE), NAME),
    both("MQTT-3.3.2-2", "MQTT-3.3.2-2", "has a wildcard", p(0x30, t("a+"), NONE), NAME),
    both("MQTT-3.3.2-2", "MQTT-3.3.2-2", "has a wildcard", p(0x30, t("x" * 300 + "#"), NONE), NAME),
    both("3.3.2.2", "3.3.2.2", "packet id is cut off", p(0x32, t("a")), BAD),
    both("3.3.2.2", "3.3.2.2", "packet id is cut off", p(0x34, t("a"), b"\1"), BAD),
    both("MQTT-2.3.1-1", "MQTT-2.2.1-3", "PUBLISH: packet id 0", p(0x32, t("a"), b"\0\0", NONE), WRONG),
    both("MQTT-2.3.1-1", "MQTT-2.2.1-3", "PUBLISH: packet id 0", p(0x34, t("a"), b"\0\0", NONE), WRONG),
    both("3.4.2", "3.4.2", "PUBACK: packet id is cut off", p(0x40), BAD),
    both("3.4.2", "3.4.2", "PUBACK: packet id is cut off", p(0x40, b"\1"), BAD),
    both("3.5.2", "3.5.2", "PUBREC: packet id is cut off", p(0x50, b"\1"), BAD),
    both("3.6.2", "3.6.2", "PUBREL: packet id is cut off", p(0x62, b"\1"), BAD),
    both("3.7.2", "3.7.2", "PUBCOMP: packet id is cut off", p(0x70, b"\1"), BAD),
    both("MQTT-2.3.1-6", "2.2.1", "PUBACK: packet id 0", p(0x40, b"\0\0"), WRONG),
    both("MQTT-2.3.1-6", "2.2.1", "PUBREC: packet id 0", p(0x50, b"\0\0"), WRONG),
    both("MQTT-2.3.1-6", "2.2.1", "PUBREL: packet id 0", p(0x62, b"\0\0"), WRONG),
    both("MQTT-4.3.3-2", "2.2.1", "PUBCOMP: packet id 0", p(0x70, b"\0\0"), WRONG),
    both("3.8.2", "3.8.2", "SUBSCRIBE: packet id is cut off", p(0x82), BAD),
    both("3.8.2", "3.8.2", "SUBSCRIBE: packet id is cut off", p(0x82, b"\1"), BAD),
    both("MQTT-2.3.1-1", "MQTT-2.2.1-3", "SUBSCRIBE: packet id 0", p(0x82, b"\0\0", NONE, t("a"), b"\0"), WRONG),
    both("3.10.2", "3.10.2", "UNSUBSCRIBE: packet id is cut off", p(0xA2, b"\0"), BAD),
    both("MQTT-2.3.1-1", "MQTT-2.2.1-3", "UNSUBSCRIBE: packet id 0", p(0xA2, b"\0\0", NONE, t("a")), WRONG),
    both("3.12", "3.12", "PINGREQ is followed by 1 bytes", p(0xC0, b"\0"), BAD),
    *(
        both("MQTT-1.4.0-1", "MQTT-1.5.4-1", "topic name is not UTF-8", p(0x30, t(b"a" + ill), NONE), BAD)
        for ill in ILL
    ),
]


def _filters(version: int) -> list[Case]:
    """What is wrong with filters, in SUBSCRIBE and UNSUBSCRIBE: the properties of 5.0 stand before them."""
    gap, single, multi = (
        (b"", "MQTT-4.7.1-3", "MQTT-4.7.1-2") if version == 4 else (NONE, "MQTT-4.7.1-2", "MQTT-4.7.1-1")
    )
    utf8, null = ("MQTT-1.4.0-1", "MQTT-1.4.0-2") if version == 4 else ("MQTT-1.5.4-1", "MQTT-1.5.4-2")
    found: list[Case] = []
    for statement, text, filter, reason in [
        ("MQTT-4.7.3-1", "a topic filter is empty", "", FILTER),
        (multi, "'#' is not the whole last level", "a/#/b", FILTER),
        (multi, "'#' is not the whole last level", "a#", FILTER),
        (multi, "'#' is not the whole last level", "#/a", FILTER),
        (multi, "'#' is not the whole last level", "##", FILTER),
        (multi, "'#' is not the whole last level", "a/b#", FILTER),
        (single, "'+' is not a whole level", "a+", FILTER),
        (single, "'+' is not a whole level", "a/+b/c", FILTER),
        (single, "'+' is not a whole level", "++", FILTER),
        (multi, "'#' is not the whole last level", "+#", FILTER),
        (utf8, "filter is not UTF-8", b"\xff", BAD),
        (utf8, "filter is not UTF-8", b"a/\xed\xa0\x80", BAD),
        (null, "filter holds U+0000", "a/\0", BAD),
    ]:
        found.append((statement, f"SUBSCRIBE: {text}", p(0x82, ID, gap, t(filter), b"\0"), reason))
        found.append((statement, f"UNSUBSCRIBE: {text}", p(0xA2, ID, gap, t(filter)), reason))
        later = p(0x82, ID, gap, t("good"), b"\0", t(filter), b"\0")
        found.append((statement, f"SUBSCRIBE: {text}", later, reason))
    return [
        *found,
        ("MQTT-3.8.3-3" if version == 4 else "MQTT-3.8.3-2", "SUBSCRIBE without a filter", p(0x82, ID, gap), WRONG),
        ("MQTT-3.10.3-2", "UNSUBSCRIBE without a filter", p(0xA2, ID, gap), WRONG),
        ("3.8.3", "SUBSCRIBE: filter is cut off", p(0x82, ID, gap, b"\0"), BAD),
        ("3.8.3", "SUBSCRIBE: filter is cut off", p(0x82, ID, gap, b"\0\3ab"), BAD),
        ("3.8.3", "SUBSCRIBE: options is cut off", p(0x82, ID, gap, t("a")), BAD),
        ("3.8.3", "SUBSCRIBE: options is cut off", p(0x82, ID, gap, t("a"), b"\0", t("b")), BAD),
        ("3.10.3", "UNSUBSCRIBE: filter is cut off", p(0xA2, ID, gap, b"\0\3ab"), BAD),
        ("3.10.3", "UNSUBSCRIBE: filter is cut off", p(0xA2, ID, gap, t("a"), b"\0"), BAD),
    ]


BROKER_4: list[Case] = [
    *((four, text, data, reason) for four, _, text, data, reason in _BOTH),
    *_filters(4),
    ("2.2.1", "the reserved type 15", p(0xF0), BAD),
    ("2.2.1", "the reserved type 15", p(0xF0, b"\x18", q(b"\x15\0\1m")), BAD),
    ("MQTT-4.7.3-1", "a topic name is empty", p(0x30, t("")), NAME),
    ("MQTT-4.7.3-1", "a topic name is empty", p(0x32, t(""), ID, b"x"), NAME),
    ("3.4.1", "PUBACK is followed by 1 bytes", p(0x40, ID, b"\0"), BAD),
    ("3.5.1", "PUBREC is followed by 1 bytes", p(0x50, ID, b"\0"), BAD),
    ("3.6.1", "PUBREL is followed by 2 bytes", p(0x62, ID, b"\0\0"), BAD),
    ("3.7.1", "PUBCOMP is followed by 1 bytes", p(0x70, ID, b"\0"), BAD),
    ("3.14.1", "DISCONNECT is followed by 1 bytes", p(0xE0, b"\0"), BAD),
    ("MQTT-3-8.3-4", "SUBSCRIBE: options 0x03", p(0x82, ID, t("a"), b"\3"), BAD),
    ("MQTT-3-8.3-4", "SUBSCRIBE: options 0x04", p(0x82, ID, t("a"), b"\4"), BAD),
    ("MQTT-3-8.3-4", "SUBSCRIBE: options 0x80", p(0x82, ID, t("a"), b"\x80"), BAD),
    ("MQTT-3-8.3-4", "SUBSCRIBE: options 0x11", p(0x82, ID, t("a"), b"\1", t("b"), b"\x11"), BAD),
]


def _publish(settings: bytes, topic: str | bytes = "a") -> bytes:
    return p(0x30, t(topic), settings, b"payload")


def _twice(data: bytes) -> bytes:
    return _publish(q(data * 2))


BROKER_5: list[Case] = [
    *((five, text, data, reason) for _, five, text, data, reason in _BOTH),
    *_filters(5),
    ("MQTT-1.5.5-1", "a remaining length is longer", b"\x30\x84\0" + t("a") + NONE, BAD),
    ("MQTT-1.5.5-1", "a remaining length is longer", b"\xc0\x80\0", BAD),
    ("MQTT-1.5.5-1", "a remaining length is longer", b"\xc0\x80\x80\0", BAD),
    ("MQTT-1.5.5-1", "a remaining length is longer", b"\xc0\x80\x80\x80\0", BAD),
    # PUBLISH
    ("3.3.2.1", "neither topic name nor alias", p(0x30, t(""), NONE), WRONG),
    ("3.3.2.1", "neither topic name nor alias", p(0x32, t(""), ID, q(PAIR), b"x"), WRONG),
    ("MQTT-2.2.2-1", "length of the properties is cut off", p(0x30, t("a")), BAD),
    ("MQTT-2.2.2-1", "length of the properties is cut off", p(0x32, t("a"), ID), BAD),
    ("MQTT-2.2.2-1", "length of the properties is cut off", p(0x30, t("a"), b"\x80"), BAD),
    ("MQTT-2.2.2-1", "PUBLISH: properties is cut off", p(0x30, t("a"), b"\5\1\1"), BAD),
    ("MQTT-1.5.5-1", "length of the properties is longer", p(0x30, t("a"), b"\x80\0"), BAD),
    ("1.5.5", "length of the properties runs past", p(0x30, t("a"), b"\xff\xff\xff\xff\x7f"), BAD),
    ("2.2.2.2", "PUBLISH has no property 0x4", _publish(q(b"\4\0")), BAD),
    ("2.2.2.2", "PUBLISH has no property session_expiry", _publish(q(b"\x11\0\0\0\1")), BAD),
    ("2.2.2.2", "PUBLISH has no property server_keep_alive", _publish(q(b"\x13\0\5")), BAD),
    ("2.2.2.2", "PUBLISH has no property will_delay_interval", _publish(q(b"\x18\0\0\0\1")), BAD),
    ("2.2.2.2", "PUBLISH has no property reason_string", _publish(q(b"\x1f\0\1r")), BAD),
    ("2.2.2", "message_expiry_interval is cut off", _publish(q(b"\2\0\0\0")), BAD),
    ("2.2.2", "content_type is cut off", _publish(q(b"\3\0\4abc")), BAD),
    ("2.2.2", "correlation_data is cut off", _publish(q(b"\x09\0\4abc")), BAD),
    ("3.3.2.3.2", "payload_format_indicator comes twice", _twice(b"\1\1"), WRONG),
    ("3.3.2.3.2", "payload_format_indicator is 2", _publish(q(b"\1\2")), WRONG),
    ("3.3.2.3.3", "message_expiry_interval comes twice", _twice(b"\2\0\0\0\1"), WRONG),
    ("3.3.2.3.4", "topic_alias comes twice", _twice(b"\x23\0\1"), WRONG),
    ("MQTT-3.3.2-8", "topic_alias is 0", _publish(q(b"\x23\0\0")), ALIAS),
    ("MQTT-3.3.2-8", "topic_alias is 0", _publish(q(b"\x23\0\0"), ""), ALIAS),
    ("3.3.2.3.5", "response_topic comes twice", _twice(b"\x08\0\1r"), WRONG),
    ("MQTT-3.3.2-13", "response_topic is not UTF-8", _publish(q(b"\x08\0\1\xff")), BAD),
    ("MQTT-3.3.2-14", "response topic: the topic name", _publish(q(b"\x08\0\1+")), WRONG),
    ("MQTT-3.3.2-14", "response topic: the topic name", _publish(q(b"\x08\0\3r/#")), WRONG),
    ("MQTT-4.7.3-1", "response topic: a topic name is empty", _publish(q(b"\x08\0\0")), WRONG),
    ("3.3.2.3.6", "correlation_data comes twice", _twice(b"\x09\0\1c"), WRONG),
    ("2.2.2.2", "user_properties is cut off", _publish(q(b"\x26\0\1k\0")), BAD),
    ("MQTT-1.5.7-1", "user_properties is not UTF-8", _publish(q(b"\x26\0\1\xff\0\1v")), BAD),
    ("MQTT-1.5.7-1", "user_properties is not UTF-8", _publish(q(b"\x26\0\1k\0\1\xff")), BAD),
    ("MQTT-3.3.4-6", "a client sends a subscription identifier", _publish(q(b"\x0b\1")), WRONG),
    ("3.3.2.3.8", "subscription_identifier is 0", _publish(q(b"\x0b\0")), WRONG),
    ("1.5.5", "subscription_identifier runs past four bytes", _publish(q(b"\x0b\xff\xff\xff\xff\1")), BAD),
    ("3.3.2.3.9", "content_type comes twice", _twice(b"\3\0\1x"), WRONG),
    ("MQTT-3.3.2-19", "content_type is not UTF-8", _publish(q(b"\3\0\1\xff")), BAD),
    # PUBACK and its kin
    ("MQTT-3.4.2-1", "PUBACK with reason 0x01", p(0x40, ID, b"\1"), WRONG),
    ("MQTT-3.4.2-1", "PUBACK with reason 0x92", p(0x40, ID, b"\x92"), WRONG),
    ("MQTT-3.4.2-1", "PUBACK with reason 0xff", p(0x40, ID, b"\xff", NONE), WRONG),
    ("MQTT-3.5.2-1", "PUBREC with reason 0x92", p(0x50, ID, b"\x92", NONE), WRONG),
    ("MQTT-3.6.2-1", "PUBREL with reason 0x10", p(0x62, ID, b"\x10"), WRONG),
    ("MQTT-3.7.2-1", "PUBCOMP with reason 0x80", p(0x70, ID, b"\x80"), WRONG),
    ("2.2.2.2", "PUBACK has no property content_type", p(0x40, ID, b"\0", q(b"\3\0\1x")), BAD),
    ("2.2.2.2", "PUBREL has no property server_reference", p(0x62, ID, b"\0", q(b"\x1c\0\1x")), BAD),
    ("3.4.2.2.2", "reason_string comes twice", p(0x40, ID, b"\0", q(b"\x1f\0\1r" * 2)), WRONG),
    ("3.5.2.2.2", "reason_string comes twice", p(0x50, ID, b"\0", q(b"\x1f\0\1r" * 2)), WRONG),
    ("3.6.2.2.2", "reason_string comes twice", p(0x62, ID, b"\0", q(b"\x1f\0\1r" * 2)), WRONG),
    ("3.7.2.2.2", "reason_string comes twice", p(0x70, ID, b"\0", q(b"\x1f\0\1r" * 2)), WRONG),
    ("3.4.2", "PUBACK is followed by 1 bytes", p(0x40, ID, b"\0", NONE, b"x"), BAD),
    ("3.7.2", "PUBCOMP is followed by 2 bytes", p(0x70, ID, b"\0", q(PAIR), b"xy"), BAD),
    ("MQTT-2.2.2-1", "PUBREC: properties is cut off", p(0x50, ID, b"\0\3"), BAD),
    # SUBSCRIBE and UNSUBSCRIBE
    ("3.8.2.1", "length of the properties is cut off", p(0x82, ID), BAD),
    ("2.2.2.2", "SUBSCRIBE has no property reason_string", p(0x82, ID, q(b"\x1f\0\1r"), t("a"), b"\0"), BAD),
    ("3.8.2.1.2", "subscription_identifier is 0", p(0x82, ID, q(b"\x0b\0"), t("a"), b"\0"), WRONG),
    ("3.8.2.1.2", "subscription_identifier comes twice", p(0x82, ID, q(b"\x0b\1\x0b\2"), t("a"), b"\0"), WRONG),
    ("MQTT-1.5.5-1", "subscription_identifier is longer", p(0x82, ID, q(b"\x0b\x81\0"), t("a"), b"\0"), BAD),
    ("3.8.3.1", "SUBSCRIBE: QoS 3", p(0x82, ID, NONE, t("a"), b"\3"), WRONG),
    ("3.8.3.1", "SUBSCRIBE: retain handling 3", p(0x82, ID, NONE, t("a"), b"\x30"), WRONG),
    ("MQTT-3.8.3-5", "SUBSCRIBE: options 0x40", p(0x82, ID, NONE, t("a"), b"\x40"), BAD),
    ("MQTT-3.8.3-5", "SUBSCRIBE: options 0x81", p(0x82, ID, NONE, t("a"), b"\x81"), BAD),
    ("MQTT-3.8.3-4", "a shared subscription with no local", p(0x82, ID, NONE, t("$share/g/a"), b"\4"), WRONG),
    ("MQTT-4.8.2-1", "has no share name", p(0x82, ID, NONE, t("$share/"), b"\0"), FILTER),
    ("MQTT-4.8.2-1", "has no share name", p(0x82, ID, NONE, t("$share//a"), b"\0"), FILTER),
    ("MQTT-4.8.2-2", "has no topic filter", p(0x82, ID, NONE, t("$share/g"), b"\0"), FILTER),
    ("MQTT-4.8.2-2", "has no topic filter", p(0x82, ID, NONE, t("$share/g/"), b"\0"), FILTER),
    ("MQTT-4.8.2-2", "the share name in", p(0x82, ID, NONE, t("$share/+/a"), b"\0"), FILTER),
    ("MQTT-4.8.2-2", "the share name in", p(0xA2, ID, NONE, t("$share/#"), t("a")), FILTER),
    ("MQTT-4.8.2-2", "has no topic filter", p(0xA2, ID, NONE, t("$share/g")), FILTER),
    ("3.10.2.1", "length of the properties is cut off", p(0xA2, ID), BAD),
    ("2.2.2.2", "UNSUBSCRIBE has no property subscription_id", p(0xA2, ID, q(b"\x0b\1"), t("a")), BAD),
    # DISCONNECT and AUTH
    ("MQTT-3.14.2-1", "DISCONNECT with reason 0x01", p(0xE0, b"\1"), WRONG),
    ("MQTT-3.14.2-1", "DISCONNECT with reason 0x8e", p(0xE0, b"\x8e"), WRONG),
    ("MQTT-3.14.2-1", "DISCONNECT with reason 0x8b", p(0xE0, b"\x8b", NONE), WRONG),
    ("2.2.2.2", "DISCONNECT has no property topic_alias", p(0xE0, b"\0", q(b"\x23\0\1")), BAD),
    ("3.14.2.2.2", "session_expiry_interval comes twice", p(0xE0, b"\0", q(b"\x11\0\0\0\1" * 2)), WRONG),
    ("3.14.2.2.3", "reason_string comes twice", p(0xE0, b"\0", q(b"\x1f\0\1r" * 2)), WRONG),
    ("3.14.2.2.5", "a client sends a server reference", p(0xE0, b"\0", q(b"\x1c\0\1s")), WRONG),
    ("3.14.2", "DISCONNECT is followed by 1 bytes", p(0xE0, b"\0", NONE, b"x"), BAD),
    ("MQTT-3.15.1-1", "AUTH with flags 0x1", p(0xF1, b"\x18", q(b"\x15\0\1m")), BAD),
    ("MQTT-3.15.2-1", "AUTH with reason 0x00", p(0xF0), WRONG),
    ("MQTT-3.15.2-1", "AUTH with reason 0x00", p(0xF0, b"\0", q(b"\x15\0\1m")), WRONG),
    ("MQTT-3.15.2-1", "AUTH with reason 0x87", p(0xF0, b"\x87", q(b"\x15\0\1m")), WRONG),
    ("3.15.2.2", "length of the properties is cut off", p(0xF0, b"\x18"), BAD),
    ("3.15.2.2.2", "AUTH without an authentication method", p(0xF0, b"\x18", NONE), WRONG),
    ("3.15.2.2.2", "AUTH without an authentication method", p(0xF0, b"\x19", q(b"\x16\0\1d")), WRONG),
    ("3.15.2.2.2", "authentication_method comes twice", p(0xF0, b"\x18", q(b"\x15\0\1m" * 2)), WRONG),
    ("2.2.2.2", "AUTH has no property server_reference", p(0xF0, b"\x18", q(b"\x15\0\1m\x1c\0\1s")), BAD),
    ("3.15.2", "AUTH is followed by 1 bytes", p(0xF0, b"\x18", q(b"\x15\0\1m"), b"x"), BAD),
]

# ---------------------------------------------------------------------- from a broker

CLIENT_4: list[Case] = [
    ("3.1", "CONNECT comes from the wrong end", c4(2, t("c")), WRONG),
    ("3.8", "SUBSCRIBE comes from the wrong end", p(0x82, ID, t("a"), b"\0"), WRONG),
    ("3.10", "UNSUBSCRIBE comes from the wrong end", p(0xA2, ID, t("a")), WRONG),
    ("3.12", "PINGREQ comes from the wrong end", p(0xC0), WRONG),
    ("3.14", "DISCONNECT comes from the wrong end", p(0xE0), WRONG),
    ("MQTT-2.2.2-2", "CONNACK with flags 0x1", p(0x21, b"\0\0"), BAD),
    ("MQTT-2.2.2-2", "SUBACK with flags 0x2", p(0x92, ID, b"\0"), BAD),
    ("MQTT-2.2.2-2", "UNSUBACK with flags 0x2", p(0xB2, ID), BAD),
    ("MQTT-2.2.2-2", "PINGRESP with flags 0x4", p(0xD4), BAD),
    ("3.2.2.1", "CONNACK: flags is cut off", p(0x20), BAD),
    ("3.2.2.3", "CONNACK: reason is cut off", p(0x20, b"\0"), BAD),
    ("3.2.2.1", "a reserved flag is set", p(0x20, b"\2\0"), BAD),
    ("3.2.2.1", "a reserved flag is set", p(0x20, b"\x80\0"), BAD),
    ("3.2.2.3", "CONNACK with return code 6", p(0x20, b"\0\6"), WRONG),
    ("3.2.2.3", "CONNACK with return code 255", p(0x20, b"\0\xff"), WRONG),
    ("MQTT-3.2.2-4", "though the connection is refused", p(0x20, b"\1\5"), WRONG),
    ("3.2.1", "CONNACK is followed by 1 bytes", p(0x20, b"\0\0\0"), BAD),
    ("MQTT-3.9.3-2", "SUBACK with reason 0x03", p(0x90, ID, b"\3"), WRONG),
    ("MQTT-3.9.3-2", "SUBACK with reason 0x81", p(0x90, ID, b"\0\x81"), WRONG),
    ("MQTT-3.8.4-5", "SUBACK without a reason", p(0x90, ID), WRONG),
    ("MQTT-2.3.1-7", "SUBACK: packet id 0", p(0x90, b"\0\0\0"), WRONG),
    ("MQTT-2.3.1-7", "UNSUBACK: packet id 0", p(0xB0, b"\0\0"), WRONG),
    ("3.11.1", "UNSUBACK is followed by 1 bytes", p(0xB0, ID, b"\0"), BAD),
    ("3.13", "PINGRESP is followed by 2 bytes", p(0xD0, b"\0\0"), BAD),
]

CLIENT_5: list[Case] = [
    ("3.1", "CONNECT comes from the wrong end", c5(2, NONE, t("c")), WRONG),
    ("3.8", "SUBSCRIBE comes from the wrong end", p(0x82, ID, NONE, t("a"), b"\0"), WRONG),
    ("3.12", "PINGREQ comes from the wrong end", p(0xC0), WRONG),
    ("MQTT-3.2.2-1", "a reserved flag is set", p(0x20, b"\2\0", NONE), BAD),
    ("MQTT-3.2.2-8", "CONNACK with reason 0x01", p(0x20, b"\0\1", NONE), WRONG),
    ("MQTT-3.2.2-8", "CONNACK with reason 0x8b", p(0x20, b"\0\x8b", NONE), WRONG),
    ("MQTT-3.2.2-6", "though the connection is refused", p(0x20, b"\1\x87", NONE), WRONG),
    ("3.2.2.3.1", "length of the properties is cut off", p(0x20, b"\0\0"), BAD),
    ("2.2.2.2", "CONNACK has no property topic_alias", p(0x20, b"\0\0", q(b"\x23\0\1")), BAD),
    ("3.2.2.3.2", "session_expiry_interval comes twice", p(0x20, b"\0\0", q(b"\x11\0\0\0\1" * 2)), WRONG),
    ("3.2.2.3.3", "receive_maximum is 0", p(0x20, b"\0\0", q(b"\x21\0\0")), WRONG),
    ("3.2.2.3.4", "maximum_qos is 2", p(0x20, b"\0\0", q(b"\x24\2")), WRONG),
    ("3.2.2.3.4", "maximum_qos comes twice", p(0x20, b"\0\0", q(b"\x24\1" * 2)), WRONG),
    ("3.2.2.3.5", "retain_available is 2", p(0x20, b"\0\0", q(b"\x25\2")), WRONG),
    ("3.2.2.3.6", "maximum_packet_size is 0", p(0x20, b"\0\0", q(b"\x27\0\0\0\0")), WRONG),
    ("3.2.2.3.7", "assigned_client_identifier comes", p(0x20, b"\0\0", q(b"\x12\0\1c" * 2)), WRONG),
    ("3.2.2.3.8", "topic_alias_maximum comes twice", p(0x20, b"\0\0", q(b"\x22\0\1" * 2)), WRONG),
    ("3.2.2.3.9", "reason_string comes twice", p(0x20, b"\0\0", q(b"\x1f\0\1r" * 2)), WRONG),
    ("3.2.2.3.11", "wildcard_subscription_available is 2", p(0x20, b"\0\0", q(b"\x28\2")), WRONG),
    ("3.2.2.3.12", "subscription_identifiers_available is 9", p(0x20, b"\0\0", q(b"\x29\x09")), WRONG),
    ("3.2.2.3.13", "shared_subscription_available is 2", p(0x20, b"\0\0", q(b"\x2a\2")), WRONG),
    ("3.2.2.3.14", "server_keep_alive comes twice", p(0x20, b"\0\0", q(b"\x13\0\1" * 2)), WRONG),
    ("3.2.2.3.15", "response_information comes twice", p(0x20, b"\0\0", q(b"\x1a\0\1r" * 2)), WRONG),
    ("3.2.2.3.16", "server_reference comes twice", p(0x20, b"\0\0", q(b"\x1c\0\1r" * 2)), WRONG),
    ("3.2.2.3.18", "authentication data without a method", p(0x20, b"\0\0", q(b"\x16\0\1d")), WRONG),
    ("3.3.2.3.8", "subscription_identifier is 0", p(0x30, t("a"), q(b"\x0b\0")), WRONG),
    ("MQTT-3.9.3-2", "SUBACK with reason 0x03", p(0x90, ID, NONE, b"\3"), WRONG),
    ("3.9.3", "SUBACK without a reason", p(0x90, ID, NONE), WRONG),
    ("MQTT-2.2.1-6", "SUBACK: packet id 0", p(0x90, b"\0\0", NONE, b"\0"), WRONG),
    ("3.9.2.1.2", "reason_string comes twice", p(0x90, ID, q(b"\x1f\0\1r" * 2), b"\0"), WRONG),
    ("MQTT-3.11.3-2", "UNSUBACK with reason 0x01", p(0xB0, ID, NONE, b"\1"), WRONG),
    ("3.11.3", "UNSUBACK without a reason", p(0xB0, ID, NONE), WRONG),
    ("3.11.2.1", "length of the properties is cut off", p(0xB0, ID), BAD),
    ("MQTT-3.14.2-1", "DISCONNECT with reason 0x04", p(0xE0, b"\4"), WRONG),
    ("MQTT-3.14.2-2", "a broker sends a session expiry", p(0xE0, b"\0", q(b"\x11\0\0\0\1")), WRONG),
    ("MQTT-3.15.2-1", "AUTH with reason 0x19", p(0xF0, b"\x19", q(b"\x15\0\1m")), WRONG),
]
