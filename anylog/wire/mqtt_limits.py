"""What a message broker allows, and what it counted."""

from __future__ import annotations

from attrs import define, field, frozen
from attrs.validators import and_, ge, le

from anylog.wire.mqtt_read import FIRST, MOST

FOREVER = 0xFFFFFFFF  # seconds of a session expiry that never comes (5.0, 3.1.2.11.2)
IDENTIFIERS = 60_000  # messages on their way to one client: each has a packet id, of which there are 65,535


@frozen
class Limits:
    """How much of each a broker takes; sizes in bytes, times in seconds. Nothing grows beyond it."""

    clients: int = 10_000  # connections that said CONNECT
    sessions: int = 100_000  # that wait for their clients: beyond it there are no new ones that last
    packet: int = MOST  # of one packet, header and all
    first: int = FIRST  # of a CONNECT
    begun: int = 64 << 20  # of large packets that are not whole, over all clients; at least two of the largest
    connect_seconds: float = 10.0  # from the connection to its CONNECT
    keep_alive: int = 0  # the most that a client of 5.0 may ask for; 0: whatever it likes
    session_seconds: int = FOREVER  # for which a session is kept without its client
    receive: int = field(default=1000, validator=and_(ge(1), le(65_535)))  # messages unanswered of one client
    inflight: int = field(default=100, validator=and_(ge(1), le(65_535)))  # the same on the way out
    aliases: int = field(default=64, validator=and_(ge(0), le(65_535)))  # topic aliases of one connection, each way
    queue_messages: int = field(default=10_000, validator=and_(ge(1), le(IDENTIFIERS)))  # of one session
    queue_bytes: int = 16 << 20
    pending: int = 1 << 20  # written and not taken; beyond it QoS 0 is dropped and the rest stays in the queue
    retained_messages: int = 100_000
    retained_bytes: int = 256 << 20
    subscriptions: int = 1000  # of one session
    topics: int = 10_000  # topic names whose subscribers are remembered
    sys_seconds: float = 10.0  # between two publications of `$SYS`; 0: never


@define(eq=False)
class Counts:
    """What happened since the start."""

    packets_in: int = 0
    packets_out: int = 0  # PUBLISH aside
    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0  # PUBLISH packets
    messages_out: int = 0
    connects: int = 0
    refused_connects: int = 0  # with a CONNACK that says why
    refused_messages: int = 0  # not allowed, or not taken by the node's own clients
    faults: int = 0  # connections closed because of what they sent
    unfinished: int = 0  # connections closed because too much was begun and not whole
    taken_over: int = 0
    dropped_slow: int = 0  # QoS 0 to a subscriber that does not read fast enough
    dropped_full: int = 0  # QoS 1 and 2 for which a session had no room
    dropped_large: int = 0  # larger than their subscriber reads
    dropped_shared: int = 0  # for which a group had nobody
    expired: int = 0  # in a queue, before they could be sent
    retained_refused: int = 0  # not retained, for want of room
    stray: int = 0  # acknowledgements of nothing
