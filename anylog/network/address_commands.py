"""Words about addresses: of this node, of this machine, of others (network.md 2 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol

from anylog import host
from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.network.reply_to import DYNAMIC, read_given
from anylog.network.tcp import TcpServer
from anylog.waiting import deadline

if TYPE_CHECKING:
    from anylog.node import Node

NAMING = 5.0  # seconds that the name of an address is looked for
PORTS = {"master": 32048, "operator": 32148, "publisher": 32248, "query": 32348, "generic": 32548}  # for other nodes
LOOKUPS = 20  # names that are looked for at once
_TRIES = 100
_STEP = 10  # between two ports that are tried: the next ones are of other doors of the same node


def _listed(titles: Sequence[str], rows: Sequence[Sequence[Any]], format: str | None) -> Result:
    data = [dict(zip(titles, row, strict=True)) for row in rows]
    return Result(text=framed(bar_table(titles, rows)), data=data, format=format or "table")


def _claimed(node: Node) -> None:
    """What was set holds at once if the node listens, else when it does."""
    server = node.processes.find("tcp")
    if isinstance(server, TcpServer):
        server.claim()
    node.peers.greet()


class SetReplyIp(Command):
    """Set the address by which other nodes reach this one, where it is not the one that the node listens on.

    `dynamic` is the address that other nodes see this one come from. Without a port it is the port of the listener.
    """

    words = "set reply ip"
    operands = "= [ip or dynamic] | and port = [ip:port or dynamic:port]"
    raw = True
    examples = ("set reply ip = 10.0.0.9", "set reply ip = dynamic", "set reply ip and port = !external_ip:7850")
    index = ("configuration", "network")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 or 20. Nodes that are connected are told at once."""
        node.peers.ways.reply = read_given("".join(operands), self.words)
        _claimed(node)
        return None


class ResetReplyIp(Command):
    """Let other nodes reach this one by the address that it listens on."""

    words = "reset reply ip"
    examples = ("reset reply ip",)
    index = ("configuration", "network")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        node.peers.ways.reply = None
        _claimed(node)
        return None


class GetReplyIp(Command):
    """Show the address by which other nodes reach this one."""

    words = "get reply ip"
    examples = ("get reply ip",)
    index = ("configuration", "network")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Without a listener nobody reaches it."""
        listens = node.processes.find("tcp") is not None
        return Result(text=node.peers.ways.reply_to(node.address) if listens else "Not declared")


class SetSelfIp(Command):
    """Name one more address by which this node is itself, as in a container; `dynamic` is each one of the machine.

    What is asked of the node at that address stays inside it. Without a port it is the port of the listener.
    """

    words = "set self ip"
    operands = "= [ip or dynamic] | and port = [ip:port or dynamic:port]"
    raw = True
    examples = ("set self ip = 10.0.0.9", "set self ip = dynamic", "set self ip and port = 10.0.0.9:7850")
    index = ("configuration", "network")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 or 20."""
        given = read_given("".join(operands), self.words)
        found = await node.host.run(host.addresses) if given.ip == DYNAMIC else ()
        ways = node.peers.ways
        ways.itself = given
        ways.machine = [f"[{ip}]" if ":" in ip else ip for _, _, ip in found]
        _claimed(node)
        return None


class ResetSelfIp(Command):
    """Forget the address by which this node is itself beside those that it listens on."""

    words = "reset self ip"
    examples = ("reset self ip",)
    index = ("configuration", "network")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        node.peers.ways.itself = None
        node.peers.ways.machine = ()
        _claimed(node)
        return None


class SetInternalIp(Command):
    """Take the address of an interface as the node's own in the local network, `!ip`; `default` finds it again."""

    words = "set internal ip"
    operands = "with [interface or default]"
    least, most = 2, 3
    examples = ("set internal ip with eth0", "set internal ip with default")
    index = ("configuration", "network")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, or 40 for an interface that is not there or has no address; `!ip` stays then."""
        words = [word.strip("\"'") for word in operands]
        if words[0].lower() != "with" or (len(words) == 3 and words[1].lower() != "nic"):
            raise AnyLogError(2, f"set internal ip: '{' '.join(operands)}'; usage: {self.usage_text()}")
        if words[-1].lower() == "default":
            node.dictionary.set("ip", node.net.local_ip())
            return None
        found = {row["Name"]: row["IP"] for row in await node.host.run(host.interfaces)}
        if not found.get(words[-1]):
            known = ", ".join(name for name, ip in found.items() if ip)
            raise AnyLogError(40, f"set internal ip: '{words[-1]}' is no interface with an address: one of {known}")
        node.dictionary.set("ip", found[words[-1]])
        return None


class _OfMachine(Command):
    """What these commands share."""

    where: ClassVar[Any] = {"format": Format}
    index = ("network", "node info")
    http = ("GET",)


class GetNicsList(_OfMachine):
    """List the network interfaces of the machine: address, speed in Mbit/s (0 if unknown), whether it is up."""

    words = "get nics list"
    examples = ("get nics list", "get nics list where format = json")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        rows = [tuple(row.values()) for row in await node.host.run(host.interfaces)]
        return _listed(("Name", "IP", "Speed", "Is Up"), rows, options["format"])


class GetIpList(_OfMachine):
    """List the addresses of the machine."""

    words = "get ip list"
    examples = ("get ip list", "get ip list where format = json")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return _listed(("Family", "Interface", "Address"), await node.host.run(host.addresses), options["format"])


class GetDnsName(_OfMachine):
    """Show the name that belongs to an address; without one, to that of this node."""

    words = "get dns name"
    where: ClassVar[Any] = {"ip": Text(help="ip or ip:port")}
    examples = ("get dns name", "get dns name where ip = 10.0.0.5")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 15 if it has none, 26 if nobody tells within 5 seconds, 502 if too many ask."""
        ip = options["ip"] or str(node.dictionary.get("ip"))
        if ip.startswith("["):
            ip = ip[1:].partition("]")[0]
        elif ip.count(":") == 1:
            ip = ip.partition(":")[0]
        lane = node.lanes.open("names")
        if lane.depth >= LOOKUPS:
            raise AnyLogError(502, f"get dns name: {lane.depth} names are looked for already")
        wanted = [ip]  # emptied when nobody waits any more: what still stands in the queue then takes no time
        try:
            asked: Any = lane.run(lambda: host.name_of(wanted[0]) if wanted else "")
            return Result(text=await deadline(node.clock, NAMING, asked, f"get dns name of '{ip[:100]}'"))
        finally:
            wanted.clear()


class GetMachineConnections(_OfMachine):
    """List the sockets of the machine, or those of a port. Who is not root is not told all processes."""

    words = "get machine connections"
    where: ClassVar[Any] = {"port": Whole(least=1, most=65535), "format": Format}
    examples = ("get machine connections", "get machine connections where port = 32148")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        titles = ("FD", "Family", "Type", "Local Address", "Remote Address", "Status", "PID")
        return _listed(titles, await node.host.run(host.machine_connections, options["port"]), options["format"])


class _UnusedPort(Command):
    """A port of one kind of door."""

    after: ClassVar[int] = 0  # the port for other nodes
    operands = "for [master | operator | publisher | query | generic]"
    least = most = 2
    index = ("network", "configuration")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another type, 3 if none of the ports that are tried is free."""
        kind = operands[1].lower()
        if operands[0].lower() != "for" or kind not in PORTS:
            raise AnyLogError(2, f"{self.words}: '{' '.join(operands)}'; usage: {self.usage_text()}")
        first = PORTS[kind] + self.after
        of_others = {port + after for port in PORTS.values() for after in range(3)} - {first}
        for port in range(first, first + _TRIES * _STEP, _STEP):
            if port in of_others:
                continue
            try:
                taken: Any = await node.net.listen(f"tcp:{port}", Factory.forProtocol(Protocol))  # type: ignore[arg-type]
            except (CannotListenError, OSError):
                continue
            await maybeDeferred(taken.stopListening)
            return Result(text=str(port), data=port)
        raise AnyLogError(3, f"{self.words}: no port is free of {_TRIES} from {first} on")


class GetUnusedTcpPort(_UnusedPort):
    """Show a port that is free for other nodes to come in, for a node of a type: its own one, or one near to it."""

    words = "get unused tcp port"
    examples = ("get unused tcp port for operator", "tcp_port = get unused tcp port for query")


class GetUnusedRestPort(_UnusedPort):
    """Show a port that is free for the REST server of a node of a type: its own one, or one near to it."""

    words = "get unused rest port"
    after = 1
    examples = ("get unused rest port for operator",)


class GetUnusedMsgPort(_UnusedPort):
    """Show a port that is free for the message broker of a node of a type: its own one, or one near to it."""

    words = "get unused msg port"
    after = 2
    examples = ("get unused msg port for operator",)


COMMANDS: tuple[type[Command], ...] = (
    SetReplyIp,
    ResetReplyIp,
    GetReplyIp,
    SetSelfIp,
    ResetSelfIp,
    SetInternalIp,
    GetNicsList,
    GetIpList,
    GetDnsName,
    GetMachineConnections,
    GetUnusedTcpPort,
    GetUnusedRestPort,
    GetUnusedMsgPort,
)
