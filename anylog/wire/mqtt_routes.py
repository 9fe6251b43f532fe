"""Who subscribed to what, and who is to have the messages of a topic."""

from __future__ import annotations

from attrs import define, field

from anylog.wire.mqtt_fields import text
from anylog.wire.mqtt_packets import Publish
from anylog.wire.mqtt_session import Group, Session, Subscription
from anylog.wire.topics import Filters

_LONGEST = 256  # characters of a topic whose subscribers are remembered


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


@define(eq=False)
class Routes:
    """All subscriptions, of sessions, of groups and of the node's own clients."""

    most: int  # topics that are remembered
    filters: Filters[Session | Local, Subscription] = field(factory=Filters)
    groups: dict[str, Group] = field(factory=dict)
    known: dict[str, Route] = field(factory=dict)  # by topic

    def add(self, session: Session, each: Subscription) -> None:
        """Raises ValueError for a filter that cannot be kept."""
        self.filters.add(each.filter, session, each)
        self.known.clear()
        if each.filter.startswith("$share/"):
            self.groups.setdefault(each.filter, Group(each.filter)).join(session, each)

    def remove(self, session: Session, filter: str) -> Group | None:
        """A subscription that there is goes; the group that it was in, if it was in one."""
        self.filters.remove(filter, session)
        self.known.clear()
        group = self.groups.get(filter)
        if group is not None:
            group.leave(session)
            if not group.members:
                del self.groups[filter]
        return group

    def add_local(self, name: str, filter: str, qos: int) -> None:
        """The node's own client `name` wants messages. Raises ValueError for a filter that is none or is shared."""
        if filter.startswith("$share/"):
            raise ValueError("the node's own clients share nothing")
        for who in self._locals(filter):
            if who.name == name:
                self.filters.remove(filter, who)
        self.filters.add(filter, Local(name), Subscription(filter, qos))
        self.known.clear()

    def remove_local(self, name: str, filter: str) -> bool:
        """Whether there was such a subscription."""
        found = [who for who in self._locals(filter) if who.name == name]
        for who in found:
            self.filters.remove(filter, who)
        self.known.clear()
        return bool(found)

    def of(self, topic: str) -> Route:
        """Everybody who is to have the messages of a topic."""
        return self.known.get(topic) or self._found(topic)

    def _locals(self, filter: str) -> list[Local]:
        return [who for who in self.filters.group(filter) if isinstance(who, Local)]

    def _found(self, topic: str) -> Route:
        wanted: dict[Session, list[Subscription]] = {}
        names: dict[str, None] = {}
        for who, each in self.filters.match(topic):
            if isinstance(who, Local):
                names[who.name] = None
            else:
                wanted.setdefault(who, []).append(each)
        targets: list[Target] = []
        for session, subscriptions in wanted.items():
            target = merged(session, subscriptions)
            own = [each for each in subscriptions if not each.no_local]
            if len(own) == len(subscriptions):
                target.own = target
            elif own:
                target.own = merged(session, own)
            targets.append(target)
        groups = [
            self.groups[each.filter]
            for _, members in self.filters.match_shared(topic)
            for each in list(members.values())[:1]
        ]
        route = Route(text(topic), targets, groups, tuple(names))
        if len(topic) <= _LONGEST:
            if len(self.known) >= self.most:
                self.known.clear()
            self.known[topic] = route
        return route


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
