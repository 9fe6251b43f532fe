"""Commands of the peer listener and of what is known of peers (network.md 4, 9)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, OneOf, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.network.tcp import TcpOptions, TcpServer

if TYPE_CHECKING:
    from anylog.node import Node


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise AnyLogError(221, f"'{text}' is not a port")
    return int(text)


def _threads(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= 1000:
        raise AnyLogError(175, f"run tcp server: '{text}' is not a number of threads from 1 up to 1000")
    return int(text)


class RunTcpServer(Command):
    """Listen for other nodes; who does is a member of the network.

    The external address is made known to the network, the internal one is the node's own; one of the two is enough.
    With bind = true one address is listened on, the internal one if there is one; else all, on the internal port.
    threads is the number of commands of other nodes that execute at once.
    The short form names external ip and port, then internal ip and port, then threads.
    """

    words = "run tcp server"
    operands = "[ip] [port] [internal ip] [internal port] [threads]"
    most = 5
    where = {
        "external_ip": Text(help="address that is made known"),
        "external_port": Text(),
        "internal_ip": Text(help="address in the local network"),
        "internal_port": Text(help="port that is listened on; 0 takes a free one"),
        "bind": Flag(default=False),
        "threads": Text(default="6", also=("workers",)),
    }
    examples = (
        "run tcp server where external_ip = !external_ip and external_port = 7850 and internal_ip = !ip"
        " and internal_port = 7850 and bind = false and threads = 6",
        "run tcp server !external_ip 7850 !ip 7850 6",
    )
    index = ("background processes", "configuration", "network")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 136, 221, or 3 if the port cannot be had."""
        if operands:
            names = ["external_ip", "external_port", "internal_ip", "internal_port", "threads"]
            if len(operands) == 3:  # without an internal address
                names = ["external_ip", "external_port", "threads"]
            for name, value in zip(names, operands, strict=False):
                if options[name] is not None and name != "threads":
                    raise AnyLogError(2, f"run tcp server: '{name}' is given twice")
                options[name] = value
        ports = {name: _port(options[name]) for name in ("external_port", "internal_port") if options[name] is not None}
        if not ports or not (options["external_ip"] or options["internal_ip"]):
            raise AnyLogError(2, f"run tcp server: an address and a port are missing; usage: {self.usage_text()}")
        server = TcpServer(
            peers=node.peers,
            net=node.net,
            clock=node.clock,
            options=TcpOptions(
                external_ip=options["external_ip"] or "",
                internal_ip=options["internal_ip"] or "",
                bind=options["bind"],
                threads=_threads(options["threads"]),
                **ports,
            ),
        )
        await node.processes.start(server)
        return None


class GetTcpPool(Command):
    """Show how many commands of other nodes execute at this moment, of how many that may, and how many came so far."""

    words = "get tcp pool"
    where = {"details": Flag(default=False), "reset": Flag(default=False)}
    examples = ("get tcp pool", "get tcp pool where details = true and reset = true")
    index = ("monitor", "network")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """With details also the connections, and what was refused or broke."""
        server = node.processes.find("tcp")
        if not isinstance(server, TcpServer):
            raise AnyLogError(135, "use 'run tcp server'")
        peers, threads = server.peers, server.options.threads
        busy = min(server.busy, threads)
        title = f"TCP Pool with {threads} threads:"
        text = f"{title:<60}{[1] * busy + [0] * (threads - busy)} ({peers.total - server.total_before:,})"
        if options["details"]:
            rows = [
                ["commands that wait for a thread", server.waiting, ""],
                ["connections", len(peers.carriers), ""],
                ["connections that came", sum(peers.carriers.values()), ""],
                *([name, number, peers.counts.last(name)] for name, number in peers.counts),
            ]
            text += "\r\n" + bar_table(("Detail", "Number", "Last"), rows) + "\r\n"
        if options["reset"]:
            server.total_before = peers.total
        return Result(text=text)


class SetCompression(Command):
    """Compress what goes to nodes on other machines, or not."""

    words = "set compression"
    operands = "[on | off]"
    least = most = 1
    examples = ("set compression on", "set compression off")
    index = ("configuration", "network")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 175 for another word."""
        try:
            wanted = OneOf(words=("on", "off")).read(operands[0])
        except ValueError as one_of:
            raise AnyLogError(175, f"set compression: '{operands[0]}' is not {one_of}") from None
        node.peers.set_squeeze(wanted == "on")
        return None


class GetCompression(Command):
    """Show whether what goes to nodes on other machines is compressed."""

    words = "get compression"
    examples = ("get compression",)
    index = ("configuration", "network")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """On, unless it was switched off."""
        return Result(text=f"Node Compression: {'On' if node.peers.squeeze else 'Off'}")


class GetMembersStatus(Command):
    """Show the nodes that were heard of, whether they answered last, and since when."""

    words = "get members status"
    where = {"format": Format}
    examples = ("get members status", "get members status where format = json")
    index = ("monitor", "network")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Times are UTC. The node itself is there while it listens."""
        found = {state.address: (state.active, state.at) for state in node.peers.states()}
        server = node.processes.find("tcp")
        if isinstance(server, TcpServer):
            found[server.addresses()[0]] = (True, server.since)
        data = [
            {
                "Address": address,
                "Status": "active" if active else "not responding",
                "Recorded time": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
            for address, (active, at) in sorted(found.items())
        ]
        rows = [list(row.values()) for row in data]
        text = framed(bar_table(("Address", "Status", "Recorded time"), rows, indent=6))
        return Result(text=text, data=data, format=options["format"] or "table")


COMMANDS: tuple[type[Command], ...] = (RunTcpServer, GetTcpPool, SetCompression, GetCompression, GetMembersStatus)
