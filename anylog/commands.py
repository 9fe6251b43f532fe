"""Words about the node itself (monitoring.md 2, cli-console.md 7, commands.md 2, 3 and 14)."""

from __future__ import annotations

import platform
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylog import __version__
from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, Text
from anylog.language.context import Context, Result
from anylog.language.dictionary import shown
from anylog.language.tables import bar_table
from anylog.process import ROWS

if TYPE_CHECKING:
    from anylog.node import Node

# What may stand after `exit`, and the process that is meant (commands.md 14).
EXITS = {
    **{name: name for _, name in ROWS},
    "msg client": "mqtt",
    "blockchain sync": "synchronizer",
    "message broker": "broker",
    "blobs archiver": "archiver",
    "kafka": "kafka",
    "grpc": "grpc",
    "plc": "plc",
    "pull": "pull",
}


def called(node: Node) -> str:
    """`name@ip:port` as status shows it; an unnamed node is AnyLog."""
    return f"{node.name or 'AnyLog'}@{node.address}"


class GetStatus(Command):
    """Say that the node runs, and under which name and address.

    With `format = json` also the values of keys named by `include = !!key`.
    """

    words = "get status"
    where = {"format": Format, "include": Text(many=True, help="a key of the dictionary, as !!key")}
    examples = ("get status", "get status where format = json", "get status where format = json and include = !!ip")
    index = ("monitor", "node info")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        text = f"{called(node)} running"
        data: dict[str, Any] = {"Status": text, "status": text, "assigned_name": called(node), "profiling": False}
        for word in options["include"]:
            key = word.lstrip("!")
            data[key] = node.dictionary.get(key)
        if options["format"] == "json":
            return Result(data=data, format="json")
        extra = "".join(f"\r\n{word.lstrip('!')}: {shown(data[word.lstrip('!')])}" for word in options["include"])
        return Result(text=text + extra, data=data)


class GetProcesses(Command):
    """List the background processes, whether they run, and their main settings."""

    words = "get processes"
    where = {"format": Format}
    examples = ("get processes", "get processes where format = json")
    index = ("monitor", "background processes")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        rows, data = [], {}
        for row, name in ROWS:
            process = node.processes.find(name)
            status = "Running" if process is not None else "Not declared"
            details = process.describe() if process is not None else ""
            rows.append((row, status, details))
            data[row] = {"Status": status, **({"Details": details} if details else {})}
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=bar_table(("Process", "Status", "Details"), rows, indent=4), data=data, format="table")


class TestProcess(Command):
    """Say true if a background process runs, false if not."""

    words = "test process"
    operands = "[name]"
    least, most = 1, 3
    examples = ("test process rest",)
    index = ("monitor", "background processes")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        name = " ".join(operands).lower()
        if name not in EXITS:
            raise AnyLogError(2, f"Wrong process name: '{name}'")
        runs = node.processes.find(EXITS[name]) is not None
        return Result(text=shown(runs), data=runs)


class SetNodeName(Command):
    """Give the node a name, shown in its prompt and its status; an empty one takes it away."""

    words = "set node name"
    operands = "[name]"
    least = most = 1
    examples = ("set node name plant_7",)
    index = ("configuration",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        name = operands[0].strip()
        if len(name) > 100 or not all(char.isprintable() for char in name):
            raise AnyLogError(175, f"set node name: {name[:40]!r} is not a name of up to 100 characters")
        node.name = name
        node.dictionary.set("node_name", name or None)
        return None


class GetNodeName(Command):
    """Show the node's name and address."""

    words = "get node name"
    examples = ("get node name",)
    index = ("node info",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=called(node))


class GetHostname(Command):
    """Show the name of the machine."""

    words = "get hostname"
    examples = ("get hostname", "hostname = get hostname")
    index = ("node info",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=socket.gethostname())


class GetVersion(Command):
    """Show the version of the software."""

    words = "get version"
    where = {"format": Format}
    examples = ("get version", "get version where format = json")
    index = ("node info",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        data = {"version": __version__, "node_name": called(node)}
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=f"AnyLog Version: {__version__}", data=data)


class GetPlatformInfo(Command):
    """Show the operating system and the machine."""

    words = "get platform info"
    where = {"format": Format}
    examples = ("get platform info",)
    index = ("node info",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        told = platform.uname()
        data = {
            "System": told.system,
            "Version": told.version,
            "Node": told.node,
            "Machine": told.machine,
            "Processor": told.processor or told.machine,
        }
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text="\r\n".join(f"{key}: {value}" for key, value in data.items()), data=data)


class GetConnections(Command):
    """Show the addresses at which the node listens."""

    words = "get connections"
    where = {"format": Format}
    examples = ("get connections", "get connections where format = json")
    index = ("node info", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        rows, data = [], {}
        for row, name in (("TCP", "tcp"), ("REST", "rest"), ("Messaging", "broker")):
            process: Any = node.processes.find(name)
            if process is None:
                external = internal = bound = "Not declared"
            else:
                external, internal, bound = process.addresses()
            rows.append((row, external, internal, bound))
            data[row] = {"external": external, "local": internal, "bind": bound}
        if options["format"] == "json":
            return Result(data=data, format="json")
        titles = ("Type", "External Address", "Internal Address", "Bind Address")
        return Result(text=bar_table(titles, rows), data=data, format="table")


class SetHome(Command):
    """Let the work directories lie under another path; `create work directories` makes them."""

    words = "set anylog home"
    operands = "[path]"
    least = most = 1
    examples = ("set anylog home /var/lib/anylog",)
    index = ("configuration",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        node.places.move_to(Path(operands[0]))
        for key, path in node.places.keys().items():
            node.dictionary.set(key, path)
        return None


class CreateWorkDirectories(Command):
    """Make the node's work directories where they are missing."""

    words = "create work directories"
    examples = ("create work directories",)
    index = ("configuration",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        try:
            await node.lanes.open("disk", 2).run(node.places.make_all, node.disk)
        except OSError as fault:
            raise AnyLogError(3, f"create work directories: {fault}") from fault
        return None


class Exit(Command):
    """End a background process, or the node.

    `exit node` cuts the buffers, waits until their rows are in the tables, closes the databases and ends the process.
    Ending a process that does not run is no error.
    """

    words = "exit"
    operands = "[name]"
    least, most = 1, 3
    examples = ("exit streamer", "exit rest", "exit node")
    index = ("background processes", "cli")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        name = " ".join(operands).lower()
        if name in ("node", "node force"):
            node.exit()
            return None
        wanted = EXITS.get(name) or EXITS.get(name.rsplit(" ", 1)[0])
        if wanted is None:
            raise AnyLogError(2, f"exit: '{name}' is not one of {', '.join(sorted(EXITS))}, scripts, node")
        if node.processes.find(wanted) is None:
            return Result(text=f"{wanted} was not running")
        if wanted == "rest" and context.origin == "rest":
            # The answer goes out first: this very call is one of those the server waits for.
            node.clock.callLater(0.05, node.leave, wanted)
            return None
        await node.processes.exit(wanted)
        return None


COMMANDS: tuple[type[Command], ...] = (
    GetStatus,
    GetProcesses,
    TestProcess,
    SetNodeName,
    GetNodeName,
    GetHostname,
    GetVersion,
    GetPlatformInfo,
    GetConnections,
    SetHome,
    CreateWorkDirectories,
    Exit,
)
