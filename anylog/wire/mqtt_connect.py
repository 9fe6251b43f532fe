"""What a client and a message broker agree on when they meet (OASIS MQTT 5.0, 3.1 and 3.2)."""

from __future__ import annotations

from attrs import evolve

from anylog.wire.mqtt_limits import Limits
from anylog.wire.mqtt_packets import MQTT_5, Connack, Connect, Disconnect, Publish, Will
from anylog.wire.mqtt_session import Link, Session
from anylog.wire.mqtt_write import encode


def expiry_of(limits: Limits, packet: Connect) -> int:
    """For how many seconds a session is kept without its client; 3.1.1 knows only not at all and for good."""
    if packet.version == MQTT_5:
        return min(packet.session_expiry_interval or 0, limits.session_seconds)
    return 0 if packet.clean else limits.session_seconds


def settle(limits: Limits, link: Link, packet: Connect) -> None:
    """What the client asked for, within the limits."""
    link.window = min(packet.receive_maximum or 65_535, limits.inflight)
    link.largest = packet.maximum_packet_size or 0
    link.given_most = min(packet.topic_alias_maximum or 0, limits.aliases)
    link.keep_alive = packet.keep_alive
    if link.version == MQTT_5 and limits.keep_alive and not 0 < link.keep_alive <= limits.keep_alive:
        link.keep_alive = limits.keep_alive


def accepted(limits: Limits, link: Link, session: Session, packet: Connect, present: bool) -> Connack:
    """The answer, with all that is different from what was asked for."""
    if link.version != MQTT_5:
        return Connack(session_present=present)
    return Connack(
        session_present=present,
        session_expiry_interval=session.expiry if session.expiry != (packet.session_expiry_interval or 0) else None,
        receive_maximum=limits.receive if limits.receive < 65_535 else None,
        maximum_packet_size=limits.packet,
        assigned_client_identifier=None if packet.client_id else session.client_id,
        topic_alias_maximum=limits.aliases or None,
        server_keep_alive=link.keep_alive if link.keep_alive != packet.keep_alive else None,
    )


def last_packet(packet: Connack | Disconnect, most: int) -> bytes:
    """What a client of 5.0 is told before it is closed: in words if it reads as many bytes ([MQTT-3.2.2-19],
    [MQTT-3.14.2-3]), and nothing if it reads none as long as that; `most` of 0 is any number."""
    for each in (packet, evolve(packet, reason_string=None)):
        data = encode(each, MQTT_5)
        if not 0 < most < len(data):
            return data
    return b""


def last_words(will: Will) -> Publish:
    """A will as the message that it becomes."""
    return Publish(
        will.topic,
        will.payload,
        will.qos,
        will.retain,
        payload_format_indicator=will.payload_format_indicator,
        message_expiry_interval=will.message_expiry_interval,
        content_type=will.content_type,
        response_topic=will.response_topic,
        correlation_data=will.correlation_data,
        user_properties=will.user_properties,
    )
