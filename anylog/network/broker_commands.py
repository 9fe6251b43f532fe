"""Commands of the message broker (ingest.md 7)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from anylog.errors import AnyLogError
from anylog.interfaces import Keeper
from anylog.language.command import Bytes, Command, Flag, Format, Option, Seconds, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.language.tokens import joined, tokens_of
from anylog.language.where import split_pairs
from anylog.network.broker import Broker, BrokerOptions
from anylog.network.broker_store import BrokerStore
from anylog.network.broker_tls import context_of
from anylog.network.broker_users import User, Users
from anylog.network.tcp import TcpOptions
from anylog.wire.mqtt_limits import IDENTIFIERS, Limits
from anylog.wire.topics import filter_fault

if TYPE_CHECKING:
    from anylog.node import Node

_LIMITS: dict[str, Option] = {
    "max_connections": Whole(default=10_000, least=1, most=1_000_000, help="clients at once"),
    "max_packet_size": Bytes(default=20 << 20, help="the largest packet that is taken"),
    "max_inflight_messages": Whole(least=1, most=65_535, help="sent to one client and not acknowledged"),
    "max_queued_messages": Whole(least=1, most=IDENTIFIERS, help="that wait for one client"),
    "max_queued_bytes": Bytes(help="that wait for one client"),
    "max_keepalive": Seconds(help="the longest that a client may be silent"),
    "persistent_client_expiration": Seconds(help="how long a session waits for its client"),
    "sys_interval": Seconds(help="between two publications of $SYS; 0: never"),
}
LARGEST = 268_435_460  # bytes of a packet, of which the standard can say no more
_PLACES = ("external_ip", "external_port", "internal_ip", "internal_port", "threads")


def make_keeper(node: Node) -> Keeper:
    """Where the broker of a node keeps what must last: the one place where a store is wired to it."""
    return BrokerStore(
        disk=node.disk,
        lane=node.lanes.open("broker"),
        making=node.lanes.open("disk", 2),
        work=node.lanes.open("broker reading"),
        folder=node.places.broker,
        token=node.token,
        now=node.clock.seconds,
        point=node.point,
    )


def _port(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise AnyLogError(221, f"run message broker: '{text}' is not a port for '{name}'")
    return int(text)


class BrokerUser(Command):
    """What is said of one user in `user = ( ... )`."""

    words = "run message broker: user"
    where = {
        "name": Text(default="", help="without it: all who give no name"),
        "password": Text(),
        "allow": Text(many=True, help="topics to publish and to subscribe to"),
        "publish": Text(many=True),
        "subscribe": Text(many=True),
        "deny": Text(many=True),
    }


def user_of(text: str) -> User:
    """The user of `( name = .. and password = .. and allow = .. )`. Raises AnyLogError 2 or 175."""
    inner = text.strip()
    if not (inner.startswith("(") and inner.endswith(")")):
        raise AnyLogError(175, "run message broker: 'user' is written as user = (name = .. and password = ..)")
    pairs = [(pair.key, _bare(joined(pair.value))) for pair in split_pairs(tokens_of(inner[1:-1]))]
    given = BrokerUser.read((), pairs)
    if given["password"] is not None and not given["name"]:
        raise AnyLogError(
            2, "run message broker: 'password' is given to a user without a 'name': nobody would be asked"
        )
    if given["name"] and given["password"] is None:
        raise AnyLogError(2, f"run message broker: user '{given['name']}' has no password")
    for each in (*given["allow"], *given["publish"], *given["subscribe"], *given["deny"]):
        if fault := filter_fault(each):
            raise AnyLogError(175, f"run message broker: '{each}' is not a pattern of topics: {fault}")
    password = given["password"]
    return User(
        name=given["name"],
        proof=Users.proof(None if password is None else password.encode()),
        publish=(*given["allow"], *given["publish"]),
        subscribe=(*given["allow"], *given["subscribe"]),
        deny=tuple(given["deny"]),
    )


def _bare(text: str) -> str:
    """Without single quotes, which the language keeps."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text


class RunMessageBroker(Command):
    """Listen for devices that speak MQTT 3.1.1 or 5, plain or over WebSocket.

    One pair of address and port is enough; the internal one is listened on if there is one. With bind = false all
    interfaces are. A WebSocket is taken on the same port (path /mqtt, subprotocol mqtt); websocket names a further one.
    The short form names external ip and port, then internal ip and port, then threads.

    With enable_tls = true all ports take TLS only: tls_cert and tls_key are PEM files, with users_ca a client needs a
    certificate of that authority, and with allowed_users one with such a common name. A file name without a path is
    looked for in !pem_dir.

    Each user = ( ... ) names a user, its password, and the topics that it may (allow, publish, subscribe) and may not
    (deny) use, as topic filters in which %u is the user and %c the client id; without a name it is about clients that
    give none. Once there is a user others may not connect, unless allow_anonymous = true. The limits are named as
    those of Mosquitto.
    """

    words = "run message broker"
    operands = "[ip] [port] [local ip] [local port] [threads]"
    most = 5
    where = {
        "external_ip": Text(help="address that is made known"),
        "external_port": Text(),
        "internal_ip": Text(help="address in the local network"),
        "internal_port": Text(help="port that is listened on; 0 takes a free one"),
        "bind": Flag(default=True),
        "threads": Text(default="6", also=("workers",)),
        "websocket": Text(help="a further port for MQTT over WebSocket"),
        "enable_tls": Flag(default=False, also=("tls", "ssl")),
        "tls_cert": Text(help="file with the certificate, and those that lead to its authority"),
        "tls_key": Text(help="file with its key"),
        "users_ca": Text(help="file with the authority of client certificates"),
        "allowed_users": Text(many=True, also=("allowed_user",), help="common name of a client certificate"),
        "user": Text(many=True, nested=True, help="( name = .. and password = .. and allow = topics )"),
        "allow_anonymous": Flag(also=("anonymous",)),
        **_LIMITS,
    }
    examples = (
        "run message broker !external_ip 7850 !ip 7850 6",
        "run message broker where external_ip = !external_ip and external_port = 1883 and internal_ip = !ip"
        " and internal_port = 1883 and bind = false and threads = 6",
        "run message broker where internal_ip = !ip and internal_port = 8883 and enable_tls = true"
        " and tls_cert = broker.crt and tls_key = broker.key",
        "run message broker where internal_ip = !ip and internal_port = 1883"
        " and user = (name = pump and password = secret and publish = plant/%u/# and subscribe = plant/#)",
    )
    index = ("background processes", "configuration", "mqtt", "data ingestion")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 12, 99, 136, 175, 221, or 3 if a port cannot be had."""
        place = _place(operands, options)
        threads = options["threads"]
        if not threads.isascii() or not threads.isdigit() or not 0 < int(threads[:9]) <= 1000:
            raise AnyLogError(175, f"run message broker: '{threads}' is not a number of threads from 1 up to 1000")
        users = _users(options)
        broker = Broker(
            net=node.net,
            clock=node.clock,
            keeper=make_keeper(node),
            options=BrokerOptions(
                place=place,
                threads=int(threads),
                websocket=-1 if options["websocket"] is None else _port("websocket", options["websocket"]),
                tls=await _tls(node, options),
                connections=options["max_connections"],
                trace=context.trace,
            ),
            limits=_limits(options),
            users=users,
            rules=node.msg_rules,
            client_name=lambda: f"auto-{node.chance.getrandbits(64):016x}",
            ready=lambda broker: setattr(node, "broker", broker),
        )
        await node.processes.start(broker)
        return None


def _place(operands: Sequence[str], options: dict[str, Any]) -> TcpOptions:
    """Where to listen."""
    names: Sequence[str] = _PLACES
    if len(operands) == 3:  # without a local address
        names = ("external_ip", "external_port", "threads")
    for name, value in zip(names, operands, strict=False):
        if options[name] is not None and name != "threads":
            raise AnyLogError(2, f"run message broker: '{name}' is given twice")
        options[name] = value
    ports = {name: _port(name, options[name]) for name in _PLACES if "port" in name and options[name] is not None}
    if not ports or not (options["external_ip"] or options["internal_ip"]):
        usage = RunMessageBroker.usage_text()
        raise AnyLogError(2, f"run message broker: an address and a port are missing; usage: {usage}")
    return TcpOptions(
        external_ip=options["external_ip"] or "",
        internal_ip=options["internal_ip"] or "",
        bind=options["bind"],
        **ports,
    )


def _users(options: dict[str, Any]) -> Users:
    known: dict[str, User] = {}
    for text in options["user"]:
        user = user_of(text)
        if user.name in known:
            raise AnyLogError(2, f"run message broker: user '{user.name}' is given twice")
        known[user.name] = user
    anonymous = options["allow_anonymous"]
    if anonymous is None:
        anonymous = not any(known) or "" in known
    if options["allowed_users"] and options["users_ca"] is None:
        raise AnyLogError(2, "run message broker: 'allowed_users' needs 'users_ca': names are read from certificates")
    return Users(known=known, anonymous=anonymous, certified=tuple(options["allowed_users"]))


async def _tls(node: Node, options: dict[str, Any]) -> Any:
    """What makes connections TLS, or None."""
    if not options["enable_tls"]:
        for name in ("tls_cert", "tls_key", "users_ca"):
            if options[name] is not None:
                raise AnyLogError(2, f"run message broker: '{name}' is given without enable_tls = true")
        return None
    read: dict[str, bytes | None] = {"users_ca": None}
    for name in ("tls_cert", "tls_key", "users_ca"):
        given = options[name]
        if given is None:
            if name != "users_ca":
                raise AnyLogError(2, f"run message broker: enable_tls = true needs '{name}'")
            continue
        path = Path(given).expanduser()
        if path.name == given:
            path = node.places.folder("pem_dir") / given
        try:
            read[name] = await node.lanes.open("disk", 2).run(node.disk.read, path)
        except OSError as why:
            raise AnyLogError(12, f"run message broker: the file of '{name}' cannot be read: {why}") from None
    return context_of(read["tls_cert"] or b"", read["tls_key"] or b"", read["users_ca"])


def _limits(options: dict[str, Any]) -> Limits:
    limits = Limits(clients=options["max_connections"])
    named = {
        "packet": options["max_packet_size"],
        "inflight": options["max_inflight_messages"],
        "queue_messages": options["max_queued_messages"],
        "queue_bytes": options["max_queued_bytes"],
        "keep_alive": None if options["max_keepalive"] is None else min(int(options["max_keepalive"]), 65_535),
        "sys_seconds": options["sys_interval"],
    }
    expiration = options["persistent_client_expiration"]
    if expiration is not None:
        named["session_seconds"] = min(int(expiration), limits.session_seconds)
    packet = named["packet"]
    if not 128 <= packet <= LARGEST:
        raise AnyLogError(
            175, f"run message broker: 'max_packet_size' is from 128 up to {LARGEST:,} bytes, not {packet:,}"
        )
    return evolve(limits, **{name: value for name, value in named.items() if value is not None})


class GetLocalBroker(Command):
    """Show who came to the message broker, what they did and what went wrong, by address and event."""

    words = "get local broker"
    also = ("get broker",)
    where = {"format": Format}
    examples = ("get local broker", "get local broker where format = json")
    index = ("monitor", "mqtt", "data ingestion")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Times are UTC. A message that the node publishes itself is not counted."""
        broker = node.processes.find("broker")
        if not isinstance(broker, Broker):
            raise AnyLogError(3, "the message broker is not running: use 'run message broker'", http=400)
        titles = (
            *("Protocol", "IP", "Event", "TLS", "User", "Success", "Last message time"),
            *("Error", "Last error time", "Error Code", "Details"),
        )
        cells = [
            (
                *(row.protocol, row.ip, row.event, row.tls, row.user, row.success, _moment(row.last)),
                *(row.errors, _moment(row.last_error), row.code, row.details),
            )
            for row in broker.rows()
        ]
        data = [dict(zip(titles, row, strict=True)) for row in cells]
        text = framed(bar_table(titles, cells)) + counts_text(broker)
        return Result(text=text, data=data, format=options["format"] or "table")


def counts_text(broker: Broker) -> str:
    """The counters of a broker, one line each; those that are 0 only where their being 0 says something."""
    hub, counts = broker.hub, broker.hub.counts
    lines = [
        ("clients connected", hub.clients),
        ("sessions", len(hub.delivery.sessions)),
        ("subscriptions", len(hub.delivery.routes.filters)),
        ("messages retained", len(hub.delivery.shelf)),
        ("messages received", counts.messages_in),
        ("messages sent", counts.messages_out),
        ("bytes received", counts.bytes_in),
        ("bytes sent", counts.bytes_out),
        *(
            (text, number)
            for text, number in (
                ("logins and connects refused", counts.refused_connects),
                ("messages not allowed or not taken", counts.refused_messages),
                ("closed for what they sent", counts.faults),
                ("bytes of large packets that are not whole", hub.begun.held),
                ("closed: too much of large packets that are not whole", counts.unfinished),
                ("taken over by a client of the same id", counts.taken_over),
                ("dropped: QoS 0 to subscribers that read too slowly", counts.dropped_slow),
                ("dropped: a queue was full", counts.dropped_full),
                ("dropped: larger than the subscriber takes", counts.dropped_large),
                ("dropped: nobody in the shared subscription", counts.dropped_shared),
                ("expired before they could be sent", counts.expired),
                ("not retained, for want of room", counts.retained_refused),
                *broker.counts,
            )
            if number
        ),
    ]
    return "\r\n" + bar_table(("Counter", "Number"), lines) + "\r\n"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""


COMMANDS: tuple[type[Command], ...] = (RunMessageBroker, GetLocalBroker)
