"""The bytes of another's encoder: paho's client and we say the same in the same bytes."""

from __future__ import annotations

from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes as types
from paho.mqtt.properties import Properties as properties

from anylog.wire.mqtt_fields import ALLOWED
from anylog.wire.mqtt_packets import (
    Connect,
    Disconnect,
    Filter,
    Pingreq,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
    Will,
)
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_write import encode


def said(version: int, do: Any) -> bytes:
    """What a client of paho would send: its packets are queued as there is no connection."""
    protocol = {4: paho.MQTTv311, 5: paho.MQTTv5}[version]
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="them", protocol=protocol)
    sent: list[bytes] = []
    client._packet_queue = lambda command, packet, mid, qos, info=None: sent.append(bytes(packet)) or 0
    client._sock = object()  # it queues only where it believes itself connected
    try:
        do(client)
    finally:
        client._sock = None
    return b"".join(sent)


def test_paho_and_we_say_the_same() -> None:
    """Bytes of paho's own encoder are read as what was meant, and ours are the same bytes."""

    def publish_5(client: Any) -> None:
        more = properties(types.PUBLISH)
        more.MessageExpiryInterval, more.TopicAlias, more.ResponseTopic = 60, 3, "r/s"
        more.UserProperty = [("k", "v"), ("k", "w")]
        client._send_publish(7, b"a/b", b"payload", 1, True, False, None, more)

    def connect_5(client: Any) -> None:
        more = properties(types.CONNECT)
        more.SessionExpiryInterval, more.ReceiveMaximum = 100, 9
        client.username_pw_set("u", "p")
        client.will_set("w", b"gone", 1, True)
        client._connect_properties = more
        client._send_connect(60)

    def connect_4(client: Any) -> None:
        client.username_pw_set("u")
        client._clean_session = False
        client._send_connect(60)

    def filters(client: Any) -> None:
        client._send_subscribe(False, [(b"a/+", 1), (b"#", 0)])

    for version, do, packet in [
        (
            4,
            lambda client: client._send_publish(7, b"a/b", b"payload", 2, True, True),
            Publish("a/b", b"payload", 2, True, True, 7),
        ),
        (4, lambda client: client._send_publish(0, b"a", b""), Publish("a")),
        (4, filters, Subscribe(1, (Filter("a/+", 1), Filter("#")))),
        (4, lambda client: client._send_unsubscribe(False, [b"a/+", b"#"]), Unsubscribe(1, ("a/+", "#"))),
        (4, lambda client: client._send_puback(9), Puback(9)),
        (4, lambda client: client._send_pubrec(9), Pubrec(9)),
        (4, lambda client: client._send_pubrel(9), Pubrel(9)),
        (4, lambda client: client._send_pubcomp(9), Pubcomp(9)),
        (4, lambda client: client._send_pingreq(), Pingreq()),
        (4, lambda client: client._send_disconnect(), Disconnect()),
        (4, connect_4, Connect("them", False, 60, user_name="u")),
        (5, connect_5, Connect("them", True, 60, 5, Will("w", b"gone", 1, True), "u", b"p", 100, 9)),
        (
            5,
            publish_5,
            Publish("a/b", b"payload", 1, True, False, 7, None, 60, 3, "r/s", user_properties=(("k", "v"), ("k", "w"))),
        ),
        (5, lambda client: client._send_publish(7, b"a", b"x", 1), Publish("a", b"x", 1, packet_id=7)),
    ]:
        data = said(version, do)
        first = type(packet) is Connect
        assert Reader(None if first else version).feed(data) == [packet]
        assert sorted(encode(packet, version)) == sorted(data)  # the order of properties is free
        if not ALLOWED.get(type(packet)) or version == 4:
            assert encode(packet, version) == data
