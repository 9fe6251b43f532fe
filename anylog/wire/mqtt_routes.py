"""Who is to have the messages of a topic."""

from __future__ import annotations

from attrs import define

from anylog.wire.mqtt_packets import Publish
from anylog.wire.mqtt_session import Group, Session, Subscription


@define(eq=False)
class Local:
    """One of the node's own clients."""

    name: str


@define(eq=False)
class Target:
    """A session that is to have the messages of a topic: all its filters that match, as one."""

    session: Session
    qos: int
    identifiers: tuple[int, ...]
    retain_as_published: bool
    own: Target | None = None  # for what it published itself: without the filters that want none of it


@define(eq=False)
class Route:
    """Everybody who is to have the messages of a topic, as long as nobody subscribes or unsubscribes."""

    topic: bytes  # as it is written
    targets: list[Target]
    groups: list[Group]
    locals: tuple[str, ...]


def merged(session: Session, subscriptions: list[Subscription]) -> Target:
    """Of overlapping filters the highest QoS counts, and all identifiers are told ([MQTT-3.3.4-2], [MQTT-3.3.4-4])."""
    return Target(
        session,
        max(each.qos for each in subscriptions),
        tuple(dict.fromkeys(each.identifier for each in subscriptions if each.identifier)),
        any(each.retain_as_published for each in subscriptions),
    )


def bare(packet: Publish) -> bool:
    """Whether it has no properties."""
    return (
        packet.message_expiry_interval is None
        and packet.payload_format_indicator is None
        and packet.response_topic is None
        and packet.correlation_data is None
        and packet.content_type is None
        and not packet.user_properties
    )
