"""By what a message is known again that a publisher sends once more (decisions.md 36). Pure."""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

from anylog.interfaces import Arrived, Repeat
from anylog.wire.mqtt_session import Ticket

SHORT = 256  # characters of a topic up to which its checksum is remembered
REMEMBERED = 10_000  # of them


def repeat_of(ticket: Ticket | None, message: Arrived) -> Repeat | None:
    """At QoS 2 the use of a packet id says which message it is; at QoS 1 the sender may use it for another one, so what
    the message holds has to be the same, too (decisions.md 36). Of a session that ends with its connection nothing
    comes again."""
    if ticket is None or not ticket.lasts:
        return None
    key = f"{ticket.incarnation:x}.{ticket.packet_id}.{_client(ticket.client_id)}"
    if ticket.qos == 2:
        return key, f"2.{ticket.exchange}", True
    name = message.topic
    begun = _short_sum(name) if len(name) < SHORT else _sum(name)
    return key, f"1.{crc32(message.payload, begun):08x}", ticket.dup


def _sum(topic: str) -> int:
    return crc32(topic.encode("utf-8", "replace"))


_short_sum = lru_cache(REMEMBERED)(_sum)


def _client(client_id: str) -> str:
    """A client's id as a part of a key: of a long one its ends and a checksum; the incarnation tells most apart."""
    if len(client_id) <= 64:
        return client_id
    return f"{client_id[:24]}~{crc32(client_id.encode('utf-8', 'replace')):08x}~{client_id[-24:]}"
