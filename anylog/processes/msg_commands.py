"""Words about clients of message brokers (ingest.md 4, 8.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import orjson
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, OneOf, Option, Seconds, Text, Whole
from anylog.language.context import Call, Context, Result
from anylog.language.dictionary import Scope
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table
from anylog.ledger.commands import Insert, check_address
from anylog.mapping.columns import Column
from anylog.mapping.policies import compile_policy
from anylog.mapping.topics import Place, Topic, read_topic
from anylog.processes import msg_kafka_commands as msg_kafka
from anylog.processes.msg_client import Client, ClientOptions
from anylog.processes.msg_cloud import OPTIONS, check_cloud
from anylog.processes.msg_merging import NAME, UnsStreamer
from anylog.processes.msg_namespace import Namespace
from anylog.processes.msg_topics import Subscribed
from anylog.processes.probing import check_folder
from anylog.waiting import gather
from anylog.wire.topics import filter_fault

if TYPE_CHECKING:
    from anylog.node import Node

NONE = "No message client subscriptions"
_INDENT = 5
_DIRECTORIES = ("prep_dir", "watch_dir", "err_dir", "blobs_dir", "bwatch_dir")
_REACH = ("version", "tls_ca", "tls_cert", "tls_key", "tls_insecure", *OPTIONS)  # how an outside broker is reached
_ELSEWHERE = ("version", "tls_ca", "tls_cert", "tls_key", "tls_insecure", "keep_alive", "clean")


class RunMsgClient(Command):
    """Subscribe to topics of a message broker; what comes is mapped to rows of tables.

    The broker is `local` (the one of this node), `rest` (messages by POST, whose user agent is named), `kafka` (with
    the options of `run kafka consumer`, which it runs), or the address of one elsewhere. A topic is `( name = ..
    and dbms = .. and table = .. and column.name.type = .. )`: values are literals, `now`, or `"bring [key][key]"`,
    which takes them from the message. Instead of table and columns it may name policies, or say `dynamic = true`:
    attributes become columns. A message that cannot be mapped is in the error log with the reason; with log_error =
    true it is also kept in the error directory.

    A broker of a cloud that wants a token instead of a password is told project_id and private_key; the token is signed
    for each connection, and renewed before it is over.
    """

    words = "run msg client"
    also = ("run mqtt client",)
    where: ClassVar[Mapping[str, Option]] = {
        "broker": Text(required=True, help="local, rest, kafka, or host or URL of a broker"),
        "port": Whole(least=0, most=65535, help="of the broker; 1883 if not given, 8883 with TLS"),
        "user": Text(default="unused"),
        "password": Text(default="unused"),
        "client_id": Text(help="by which an outside broker knows the client; made of node and topics if not given"),
        "version": OneOf(default="3.1.1", words=("3.1.1", "4", "5", "5.0"), help="of MQTT, with an outside broker"),
        "tls_ca": Text(default="", help="file with the authorities that are trusted; the system's if not given"),
        "tls_cert": Text(default="", help="file with our own certificate, if an outside broker asks for one"),
        "tls_key": Text(default="", help="file with its key"),
        "tls_insecure": Flag(default=False, help="take any certificate of an outside broker"),
        "keep_alive": Seconds(default=60.0, help="silence after which an outside broker is asked whether it lives"),
        "clean": Flag(default=False, help="an outside broker forgets us with the connection, also at QoS 1 and 2"),
        "project_id": Text(help="of a broker of a cloud, which takes a signed token as the password"),
        "location": Text(help="of the project; with it client_id is completed to the path of a device"),
        "private_key": Text(help="PEM file with the key that signs it: RSA, P-256 or Ed25519"),
        "user-agent": Text(also=("user_agent",), help="who sends by POST, with broker = rest"),
        "log": Flag(default=False, help="show what an outside broker says"),
        "only_log": Flag(default=False, help="write messages to a file, and nothing else"),
        "log_error": Flag(default=False, help="keep messages that could not be mapped"),
        "qos": Whole(default=0, least=0, most=2, help="of topics that do not say theirs"),
        "prep_dir": Text(),
        "watch_dir": Text(),
        "err_dir": Text(also=("error_dir",)),
        "blobs_dir": Text(),
        "bwatch_dir": Text(),
        "master_node": Text(help="ip:port of the master, with a topic that is dynamic"),
        "blockchain": Text(),
        **msg_kafka.OPTIONS,
        "topic": Text(required=True, many=True, late=True, nested=True, help="( name = .. and .. )"),
    }
    examples = (
        'run msg client where broker = local and topic = (name = plant/# and dbms = plant and table = "bring [sensor]"'
        ' and column.timestamp.timestamp = "bring [ts]" and column.value.float = "bring [value]")',
        "run msg client where broker = rest and user-agent = anylog and topic = (name = new-data and policy = 6a77)",
    )
    index = ("background processes", "streaming", "mqtt")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 33, 40, 87, 99, 113, 175, 237."""
        broker = self._broker(node, options)
        if broker == "kafka":
            await msg_kafka.consume(node, context, type(self), options)
            return None
        msg_kafka.without_kafka(type(self), options)
        if options["blockchain"] is not None:
            raise AnyLogError(237, f"{self.words}: not in this build: blockchain = {options['blockchain']}")
        self._check_own(options)
        check_cloud(self.words, options, outside=broker not in ("local", "rest"))
        if broker == "rest" and not options["user_agent"]:
            raise AnyLogError(2, f"{self.words}: broker = rest needs 'user-agent'")
        named = {name: Path(options[name]).expanduser().absolute() for name in _DIRECTORIES if options[name]}

        def check() -> None:
            for name, path in named.items():
                check_folder(node.disk, self.words, name, path)

        if named:
            await node.lanes.open("disk", 2).run(check)
        folders = {name: named.get(name) or node.places.folder(name) for name in _DIRECTORIES}
        settings = ClientOptions(
            broker=broker,
            port=(1883 if broker in ("local", "rest") else 0) if options["port"] is None else options["port"],
            user=options["user"],
            password=options["password"],
            client_id=options["client_id"] or "",
            user_agent=(options["user_agent"] or "").partition("/")[0].strip().lower(),
            log=options["log"],
            only_log=options["only_log"],
            log_error=options["log_error"],
            reach={name: options[name] for name in _REACH},
            clean=options["clean"],
            keep_alive=min(65535, round(options["keep_alive"])),
            **folders,
        )
        scope = scope_of(node, context)
        topics = self.topics(node, scope, options["topic"], settings, options["qos"], options["master_node"])
        if options["master_node"] is not None and not any(each.topic.dynamic for each in topics):
            raise AnyLogError(40, f"{self.words}: 'master_node' has a meaning with 'dynamic = true' in a topic alone")
        clients = node.msg_clients
        clients.add(settings, topics)
        if node.processes.find(clients.name) is None:
            await node.processes.start(clients)
        return None

    def topics(
        self,
        node: Node,
        scope: Scope,
        texts: Sequence[str],
        settings: ClientOptions,
        qos: int = 0,
        master: str | None = None,
    ) -> list[Subscribed]:
        """What stands after `topic =`, compiled. Raises AnyLogError 2, 40, 87, 113."""
        topics = [self._topic(node, scope, text, settings, qos) for text in texts]
        if any(each.topic.dynamic for each in topics):
            namespace = self._namespace(node, master)
            for each in topics:
                if each.topic.dynamic:
                    each.seen, each.merge = namespace.seen, partial(_merge, node)
        return topics

    def _check_own(self, options: Mapping[str, Any]) -> None:
        """Raises AnyLogError 40 for what is said of a connection where there is none.

        Not where the address of a server of this node is named: that it is one is not for the sender to know.
        """
        if str(options["broker"]).strip().lower() not in ("local", "rest"):
            return
        for name in msg_kafka.given(type(self), options):
            if name in _ELSEWHERE:
                raise AnyLogError(40, f"{self.words}: '{name}' has a meaning with a broker elsewhere alone")

    def _broker(self, node: Node, options: Mapping[str, Any]) -> str:
        """`local` or `rest` also for the addresses of this node's own servers."""
        broker = str(options["broker"]).strip()
        if broker.lower() in ("local", "rest", "kafka"):
            return broker.lower()
        places = {broker, f"{broker}:{1883 if options['port'] is None else options['port']}"}
        for name, own in (("broker", "local"), ("rest", "rest")):
            server: Any = node.processes.find(name)
            if server is not None and not places.isdisjoint(server.addresses()):
                return own
        return broker

    def _namespace(self, node: Node, master: str | None) -> Namespace:
        """Policies are written to the ledger of this node, and to the master that is named."""
        if master is not None:
            check_address(self.words, master)

        def find(namespace: str) -> str:
            found = [each for each in node.ledger.policies.find("uns", namespace=namespace) if each.id]
            exact = [each for each in found if each.get("namespace") == namespace]
            return (exact or found)[0].id if found else ""

        def write(policy: dict[str, Any]) -> Deferred[None]:
            asked = {"policy": orjson.dumps(policy).decode(), "local": True, "blockchain": []}
            call = Call(command=Insert, options={**asked, "master": [] if master is None else [master]})
            return node.execute(call, Context(origin="node", who=self.words)).addCallback(lambda result: None)

        return Namespace(find, write, lambda text: node.logs.error.add("Error", text, self.words))

    def _topic(self, node: Node, scope: Scope, text: str, options: ClientOptions, qos: int) -> Subscribed:
        topic = read_topic(text, scope, only_log=options.only_log)
        wrong = filter_fault(topic.name)
        if wrong:
            raise AnyLogError(40, f"{self.words}: {wrong}")
        if options.only_log and not topic.only_log:
            topic = read_topic(topic.name, scope)
        policies = node.ledger.policies

        def find(ident: str) -> Mapping[str, Any] | None:
            found = policies.get(ident)
            return None if found is None else {found.type: found.body}

        compiled = []
        for ident in topic.policies:
            policy = find(ident)
            if policy is None:
                raise AnyLogError(113, f"{self.words}: topic '{topic.name[:80]}': there is no policy '{ident[:80]}'")
            compiled.append(compile_policy(policy, scope, find))
        return Subscribed(topic, qos if topic.qos is None else topic.qos, compiled)


def _merge(node: Node, topic: Topic, name: str, dbms: str, value: Any, now: float) -> None:
    """A value for the streamer of the unified namespace, if it runs."""
    streamer = node.processes.find(NAME)
    if isinstance(streamer, UnsStreamer):
        streamer.take(topic, name, dbms, value, now)


class ExitMsgClient(Command):
    """End a message client by its number, or all of them; what they were given is kept first."""

    words = "exit msg client"
    also = ("exit mqtt client",)
    operands = "[id or all]"
    least = most = 1
    examples = ("exit msg client 1", "exit msg client all")
    index = ("background processes", "mqtt")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for what is no number."""
        asked, clients = operands[0].lower(), node.msg_clients
        if asked == "all":
            ended = await gather([clients.remove(each.number) for each in clients])
            ran = await node.processes.exit(clients.name)  # not if a plug-in made all of them
            return None if ran or any(ended) else Result(text=NONE)
        if not re.fullmatch(r"[0-9]{1,9}", asked):
            raise AnyLogError(2, f"{self.words}: '{operands[0]}' is neither the number of a client nor 'all'")
        if not await clients.remove(int(asked)):
            return Result(text=f"there is no message client {int(asked)}")
        if not list(clients):
            await node.processes.exit(clients.name)
        return None


class GetMsgClient(Command):
    """Show the message clients: their brokers, counters, and how the messages of their topics become columns.

    `statistics` leaves the topics out; with `detailed` the directories are shown, too. A number is the same as `id`.
    """

    words = "get msg client"
    also = ("get msg clients",)
    operands = "[statistics or detailed] [id]"
    most = 2
    where = {
        "id": Whole(least=1, help="number of a client"),
        "broker": Text(help="local, rest or ip:port"),
        "topic": Text(help="a topic that was subscribed to"),
        "detailed": Flag(default=False),
        "format": Format,
    }
    examples = (
        "get msg client",
        "get msg client 1",
        "get msg clients statistics",
        "get msg client where id = 1 and detailed = true",
        "get msg clients where topic = new-data",
    )
    index = ("monitor", "streaming", "mqtt")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word than these."""
        said = [operand.lower() for operand in operands]
        for word in said:
            if re.fullmatch(r"0*[1-9][0-9]{0,8}", word) and options["id"] in (None, int(word)):
                options["id"] = int(word)
            elif word not in ("statistics", "detailed") or said[0] != word:
                raise AnyLogError(2, f"{self.words}: unexpected '{word}'; usage: {self.usage_text()}")
        brief = "statistics" in said
        detailed = options["detailed"] or "detailed" in said
        found = [each for each in node.msg_clients if _is_meant(each, options)]
        if not found:
            return Result(text=NONE, data=[], format=options["format"] or "text")
        data = [_data(each, brief, detailed) for each in found]
        text = "\r\n\r\n".join(_block(each, brief, detailed) for each in found)
        return Result(text=text + "\r\n", data=data, format=options["format"] or "text")


def _is_meant(client: Client, options: Mapping[str, Any]) -> bool:
    return (
        options["id"] in (None, client.number)
        and (options["broker"] is None or options["broker"].lower() == client.options.place.lower())
        and (options["topic"] is None or options["topic"] in client.topics)
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""


_FOLDERS = (
    ("Prep", "prep_dir"),
    ("Watch", "watch_dir"),
    ("Bwatch", "bwatch_dir"),
    ("Error", "err_dir"),
    ("Blobs", "blobs_dir"),
)
_TITLES = (
    "Topic", "Dynamic", "QOS", "DBMS", "Table", "Column name", "Column Type", "Mapping Function", "Optional",
    "Policies",
)  # fmt: skip


def _block(client: Client, brief: bool, detailed: bool) -> str:
    """What a console shows of one client."""
    options, counted = client.options, client.counted
    lines = [
        f"Subscription: {client.number:04d}",
        f"User:         {options.user}",
        f"Broker:       {options.place}",
        f"Connection:   {_one_line(client.state())}",
        *(f"{title + ':':13} {_one_line(str(value))}".rstrip() for title, value in client.figures().items()),
        "",
        "     Messages    Success     Errors      Last message time    Last error time      Last Error",
        "     ----------  ----------  ----------  -------------------  -------------------  "
        "----------------------------------",
        f"     {counted.messages:>10}  {counted.success:>10}  {counted.errors:>10}  "
        f"{_moment(counted.last_message):19}  {_moment(counted.last_error):19}  {_one_line(counted.error)}".rstrip(),
    ]
    if not brief:
        lines += ["", "     Subscribed Topics:"]
        lines.append(bar_table(_TITLES, _rows(client), indent=_INDENT))
    if detailed:
        rows = [(name, str(getattr(options, key))) for name, key in _FOLDERS]
        lines += ["", bar_table(("Directory Name", "Location"), rows, indent=_INDENT)]
    return "\r\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "¦").split())[:200]


def _rows(client: Client) -> list[tuple[str, ...]]:
    """A line for each column of each topic."""
    rows: list[tuple[str, ...]] = []
    for each in client.topics.values():
        topic = each.topic
        first = (
            topic.name,
            str(topic.dynamic),
            str(each.qos),
            _place(topic.dbms),
            _place(topic.table),
        )
        columns = [_column(column) for column in topic.mapping.columns] if topic.mapping else []
        policies = list(topic.policies)
        for number in range(max(len(columns), len(policies), 1)):
            begin = first if number == 0 else ("", str(topic.dynamic), "", "", "")
            middle = columns[number] if number < len(columns) else ("", "", "", "")
            rows.append((*begin, *middle, policies[number] if number < len(policies) else ""))
    return rows


def _place(place: Place | None) -> str:
    return "" if place is None else _path(place.bring.text) if place.bring else place.text


def _column(column: Column) -> tuple[str, str, str, str]:
    kind = column.kind.name if column.kind else _path(column.type_from.text) if column.type_from else ""
    return column.name, kind, _path(column.path), str(column.optional)


def _path(text: str) -> str:
    """A mapping function without the word `bring` before it."""
    return re.sub(r"(?i)^bring\s+", "", text)


def _data(client: Client, brief: bool, detailed: bool) -> dict[str, Any]:
    """The same as JSON."""
    options, counted = client.options, client.counted
    data: dict[str, Any] = {
        "Subscription": client.number,
        "User": options.user,
        "Broker": options.place,
        "Connection": client.state(),
        **client.figures(),
        "Messages": counted.messages,
        "Success": counted.success,
        "Errors": counted.errors,
        "Last message time": _moment(counted.last_message),
        "Last error time": _moment(counted.last_error),
        "Last Error": counted.error,
    }
    if not brief:
        data["Topics"] = [_topic_data(each) for each in client.topics.values()]
    if detailed:
        data["Directories"] = {name: str(getattr(options, key)) for name, key in _FOLDERS}
    return data


def _topic_data(each: Subscribed) -> dict[str, Any]:
    topic: Topic = each.topic
    columns: Iterable[Column] = topic.mapping.columns if topic.mapping else ()
    names = ("Column name", "Column Type", "Mapping Function")
    return {
        "Topic": topic.name,
        "Dynamic": topic.dynamic,
        "QOS": each.qos,
        "DBMS": _place(topic.dbms),
        "Table": _place(topic.table),
        "Columns": [
            {**dict(zip(names, _column(column), strict=False)), "Optional": column.optional} for column in columns
        ],
        "Policies": list(topic.policies),
    }


class GetMsgBrokers(Command):
    """Show for each topic that was subscribed to how many messages came, and how many were taken."""

    words = "get msg brokers"
    also = ("get msg broker",)
    where = {"format": Format}
    examples = ("get msg brokers",)
    index = ("monitor", "streaming", "mqtt")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        titles = ("Broker", "Topic", "Client ID", "Messages", "Success", "Failure")
        rows = [
            (
                client.options.place,
                filter,
                client.number,
                each.counted.messages,
                each.counted.success,
                each.counted.errors,
            )
            for client in node.msg_clients
            for filter, each in client.topics.items()
        ]
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        if not rows:
            return Result(text=NONE, data=data, format=options["format"] or "text")
        text = "\r\n" + bar_table(titles, rows, indent=_INDENT)
        return Result(text=text, data=data, format=options["format"] or "text")


COMMANDS: tuple[type[Command], ...] = (RunMsgClient, ExitMsgClient, GetMsgClient, GetMsgBrokers)
