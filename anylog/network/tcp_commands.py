"""Words about the door for other nodes, and who of them answers (network.md 4, 9)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.network.tcp import TcpOptions, TcpServer

if TYPE_CHECKING:
    from anylog.node import Node


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise AnyLogError(221, f"run tcp server: '{text}' is not a port")
    return int(text)


class RunTcpServer(Command):
    """Listen for other nodes; being reachable here makes the node a member of the network.

    One of the two pairs of address and port is enough. With both, the external one is what others are told and the
    internal one is listened on. With `bind = true` only that address is listened on, else every interface of the
    machine. `threads` is how many commands of other nodes execute at once.
    """

    words = "run tcp server"
    operands = "[ip] [port] [local ip] [local port] [threads]"
    most = 5
    where = {
        "external_ip": Text(help="address that other nodes are told"),
        "external_port": Text(help="its port"),
        "internal_ip": Text(help="address in the local network"),
        "internal_port": Text(help="its port"),
        "bind": Flag(default=False, help="listen on one address only"),
        "threads": Whole(default=6, least=1, most=1000, also=("workers",)),
    }
    examples = (
        "run tcp server 10.0.0.78 32148",
        "run tcp server where external_ip = 203.0.113.5 and external_port = 32148 and internal_ip = 10.0.0.78 and"
        " internal_port = 32148 and bind = false and threads = 6",
    )
    index = ("background processes", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 136, 221, or 3 if the port cannot be had."""
        given = list(operands)
        names: tuple[str, ...] = ("external_ip", "external_port", "internal_ip", "internal_port", "threads")
        if len(given) == 3:  # ip, port and threads
            names = ("external_ip", "external_port", "threads")
        for name, text in zip(names, given, strict=False):
            options[name] = text
        threads = str(options["threads"])
        if not threads.isdecimal() or not 0 < int(threads) <= 1000:
            raise AnyLogError(175, f"run tcp server: '{threads}' is not a number of threads")
        ports = {key: _port(options[key]) if options[key] else 0 for key in ("external_port", "internal_port")}
        for side in ("external", "internal"):
            if bool(options[f"{side}_ip"]) != bool(ports[f"{side}_port"]):
                missing = f"{side}_port" if options[f"{side}_ip"] else f"{side}_ip"
                raise AnyLogError(2, f"run tcp server: Missing '{missing}'; usage: {self.usage_text()}")
        if not any(ports.values()):
            raise AnyLogError(2, f"run tcp server: an address and a port are missing; usage: {self.usage_text()}")
        made = TcpOptions(
            external_ip=options["external_ip"] or "",
            external_port=ports["external_port"],
            internal_ip=options["internal_ip"] or "",
            internal_port=ports["internal_port"],
            bind=options["bind"],
            threads=int(threads),
        )
        await node.processes.start(TcpServer(net=node.net, clock=node.clock, peers=node.peers, options=made))
        return None


class GetTcpPool(Command):
    """Show how many commands of other nodes may execute at once, and which of these slots are in use."""

    words = "get tcp pool"
    where = {"details": Flag(default=False), "reset": Flag(default=False)}
    examples = ("get tcp pool",)
    index = ("monitor",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        server = node.processes.find("tcp")
        if not isinstance(server, TcpServer):
            return Result(text="TCP server not running", data={"size": 0, "status": []})
        used = [int(number < server.busy) for number in range(server.options.threads)]
        return Result(text=f"TCP Pool with {len(used)} threads: {used}", data={"size": len(used), "status": used})


class SetCompression(Command):
    """Whether what is sent to other nodes is compressed (lz4) where that makes it smaller."""

    words = "set compression"
    operands = "on | off"
    least = most = 1
    examples = ("set compression on",)
    index = ("configuration",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2."""
        word = operands[0].lower()
        if word not in ("on", "off"):
            raise AnyLogError(2, f"set compression: '{operands[0]}' is neither on nor off")
        node.peers.compress = word == "on"
        return None


class GetCompression(Command):
    """Show whether what is sent to other nodes is compressed."""

    words = "get compression"
    examples = ("get compression",)
    index = ("configuration",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text="on" if node.peers.compress else "off")


class GetMembersStatus(Command):
    """Show the nodes this one talks to, and whether they answer."""

    words = "get members status"
    where = {"format": Format}
    examples = ("get members status", "get members status where format = json")
    index = ("monitor", "high availability")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        rows = [
            (
                state.address,
                "active" if state.active else "not responding",
                datetime.fromtimestamp(state.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            )
            for state in node.peers.states()
        ]
        titles = ("Address", "Status", "Recorded time")
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        return Result(text=framed(bar_table(titles, rows, indent=6)), data=data, format=options["format"] or "table")


COMMANDS: tuple[type[Command], ...] = (RunTcpServer, GetTcpPool, SetCompression, GetCompression, GetMembersStatus)
