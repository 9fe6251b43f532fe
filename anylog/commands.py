"""Words about the node itself: its status, name, processes, directories, and its end (monitoring.md 2)."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from anylog import __version__
from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, Text
from anylog.language.context import Context, Result
from anylog.language.dictionary import HIDDEN, is_secret, shown
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table, framed
from anylog.process import ROWS

if TYPE_CHECKING:
    from anylog.node import Node

# Every name that `exit` and `test process` know -> the process (commands.md 14, monitoring.md 2.2).
PROCESSES: dict[str, str] = {
    **{name: name for _, name in ROWS},
    **{row.lower(): name for row, name in ROWS},
    "blockchain sync": "synchronizer",
    "msg client": "mqtt",
    "message broker": "broker",
    "blobs archiver": "archiver",
    "workers": "query pool",
    **{name: name for name in ("kafka", "grpc", "plc", "pull", "video", "threads")},
    "plc client": "plc",
    "kafka consumer": "kafka",
}
_NUMBERED = ("scheduler", "msg client", "kafka", "grpc", "plc client", "plc", "pull", "video")  # an id may follow


def node_title(node: Node) -> str:
    """`name@ip:port`; an unnamed node is called AnyLog."""
    name = node.name or "AnyLog"
    return f"{name}@{node.address}" if node.address else name


class GetStatus(Command):
    """Say that the node is running, and under which name and address; with `include` also values of its dictionary.

    A key is written `!!key`, so that it is resolved on the node that answers.
    """

    words = "get status"
    where = {"format": Format, "include": Text(many=True, late=True, help="a key whose value is shown too")}
    examples = (
        "get status",
        "get status where format = json",
        "get status where format = json and include = !!disk_space and include = !!cpu",
    )
    index = ("node info", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """JSON keys as in monitoring.md 2.1: those that known clients read, whichever they are."""
        title, scope = node_title(node), scope_of(node, context)
        status = f"{title} running"
        included: dict[str, Any] = {}
        for key in options["include"]:
            name = key.strip("\"'").lstrip("!")
            value = scope.resolve(f"!{name}")
            included[name] = HIDDEN if value is not None and is_secret(name) else value
        data = {"Status": status, "status": status, "assigned_name": title, "profiling": False, **included}
        lines = [status, *(f"{key}: {shown(value)}" for key, value in included.items())]
        return Result(text="\r\n".join(lines), data=data, format=options["format"] or "text")


class GetProcesses(Command):
    """Show the background processes, whether they run, and with what settings."""

    words = "get processes"
    where = {"format": Format}
    examples = ("get processes", "get processes where format = json")
    index = ("background processes", "node info", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        titles = {name: row for row, name in ROWS}
        running = {process.name: process for process in node.processes.running()}
        others = sorted(name for name in running if name not in titles)
        data: dict[str, dict[str, str]] = {}
        for name, row in [*titles.items(), *((name, name) for name in others)]:
            process = running.get(name)
            entry = data[row] = {"Status": "Running" if process else "Not declared"}
            details = process.describe() if process else ""
            if details:
                entry["Details"] = details
        rows = [(row, entry["Status"], entry.get("Details", "")) for row, entry in data.items()]
        text = framed(bar_table(("Process", "Status", "Details"), rows, indent=4))
        return Result(text=text, data=data, format=options["format"] or "table")


class TestProcess(Command):
    """Say true if a background process is running, and false if it is not."""

    words = "test process"
    operands = "[name]"
    least, most = 1, 3
    examples = ("test process rest", "ready = test process tcp")
    index = ("background processes", "test")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 40 for a name that no process has."""
        name = " ".join(operands)
        if name.lower() not in PROCESSES:
            raise AnyLogError(40, f"Wrong process name: '{name}'")
        runs = node.processes.find(PROCESSES[name.lower()]) is not None
        return Result(text="true" if runs else "false", data=runs)


class SetNodeName(Command):
    """Name the node, as shown in its prompt and its status; "" takes the name away."""

    words = "set node name"
    operands = "[name]"
    least = most = 1
    examples = ("set node name operator_3", 'set node name ""')
    index = ("configuration", "node info")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 175 for a name that cannot be shown on one line."""
        name = operands[0].strip()
        if not name.isprintable() or len(name) > 100:
            raise AnyLogError(175, "set node name: a name has up to 100 printable characters")
        node.name = name
        node.dictionary.set("node_name", name)
        return None


class GetNodeName(Command):
    """Show the name and the address of the node."""

    words = "get node name"
    examples = ("get node name",)
    index = ("node info",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=node_title(node))


class GetHostname(Command):
    """Show the name of the machine."""

    words = "get hostname"
    examples = ("get hostname", "hostname = get hostname")
    index = ("node info",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=platform.node())


class GetVersion(Command):
    """Show the version of the software."""

    words = "get version"
    where = {"format": Format}
    examples = ("get version", "get version where format = json")
    index = ("node info",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        data = {"version": __version__, "node_name": node_title(node)}
        return Result(text=f"AnyLog Version: {__version__}", data=data, format=options["format"] or "text")


class GetPlatformInfo(Command):
    """Show the machine and the operating system."""

    words = "get platform info"
    where = {"format": Format}
    examples = ("get platform info",)
    index = ("node info", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        data = await node.lanes.open("disk", 2).run(_platform)
        text = "\r\n".join(f"{key + ':':<11}{value}" for key, value in data.items())
        return Result(text=text, data=data, format=options["format"] or "text")


def _platform() -> dict[str, str]:
    """In a lane: asking for the processor may start a program."""
    found = platform.uname()
    return {
        "System": found.system,
        "Version": found.version,
        "Node": found.node,
        "Machine": found.machine,
        "Processor": found.processor,
        "Python": platform.python_version(),
    }


class GetConnections(Command):
    """Show where the node listens: for peers, for HTTP and for messages; and which addresses were set beside these."""

    words = "get connections"
    where = {"format": Format}
    examples = ("get connections", "get connections where format = json")
    index = ("node info", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """A server tells its addresses: external, internal, bound."""
        rows: list[tuple[str, ...]] = []
        data: dict[str, Any] = {}
        for title, name in (("TCP", "tcp"), ("REST", "rest"), ("Messaging", "broker")):
            server: Any = node.processes.find(name)
            places = ("Not declared",) * 3 if server is None else server.addresses()
            rows.append((title, *places))
            data[title] = dict(zip(("external", "local", "bind"), places, strict=True))
        ways = node.peers.ways
        for title, key, given in (("Reply Address", "reply", ways.reply), ("Self Address", "self", ways.itself)):
            if given is not None:
                rows.append((title, str(given), "", ""))
                data[key] = str(given)
        text = framed(bar_table(("Type", "External Address", "Internal Address", "Bind Address"), rows))
        return Result(text=text, data=data, format=options["format"] or "table")


class SetAnylogHome(Command):
    """Set the directory below which the work directories are; the keys of the dictionary follow."""

    words = "set anylog home"
    operands = "[path]"
    least = most = 1
    examples = ("set anylog home /var/lib/anylog",)
    index = ("configuration",)
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        node.places.move_to(Path(operands[0].strip("'")).expanduser())
        for key, path in node.places.keys().items():
            node.dictionary.set(key, path)
        return None


class CreateWorkDirectories(Command):
    """Make the directories of the node that are missing."""

    words = "create work directories"
    examples = ("create work directories",)
    index = ("configuration",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 3 if one cannot be made."""
        try:
            await node.lanes.open("disk", 2).run(node.places.make_all, node.disk)
        except OSError as why:
            raise AnyLogError(3, f"create work directories: {why}") from None
        return None


class Exit(Command):
    """Stop a background process; what it holds is finished first. One that is not running is left as it is."""

    words = "exit"
    operands = "[name of a process]"
    least, most = 1, None
    examples = ("exit rest", "exit streamer", "exit tcp")
    index = ("background processes",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for a name that no process has."""
        asked = " ".join(operands).lower()
        name = PROCESSES.get(asked)
        if name is None:
            for begin in _NUMBERED:
                if asked.startswith(begin + " "):
                    number = asked[len(begin) :].strip()
                    name = PROCESSES[begin] + ("" if number in ("all", "pool") else f" {number}")
        if name is None and node.processes.find(asked) is not None:
            name = asked  # a plug-in's
        if name is None:
            known = ", ".join(sorted(set(PROCESSES)))
            raise AnyLogError(2, f"exit: '{' '.join(operands)}' is not a process; one of {known}, scripts, node")
        if node.processes.find(name) is None:
            return Result(text=f"'{' '.join(operands)}' is not running")
        if name == "rest" and context.origin == "rest":
            # The answer goes out first: this very call is one of those the server waits for.
            node.clock.callLater(0.05, node.leave, name)
            return None
        await node.processes.exit(name)
        return None


class ExitNode(Command):
    """Stop the node: doors close, what is held is written, then the program ends."""

    words = "exit node"
    operands = "[force]"
    most = 1
    examples = ("exit node",)
    index = ("cli", "node info")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """The one who asks is answered first. `force` is for consoles, which ask back otherwise."""
        if operands and operands[0].lower() != "force":
            raise AnyLogError(2, f"exit node: unexpected '{operands[0]}'")
        node.exit()
        return Result(text="The node is stopping")


class TraceLevel(Command):
    """Say more about a process in the log of the node, or less: 0 ends it.

    Of the operator 1 is each file and what came of it, 2 its steps; of the REST server 1 is each request and its
    outcome, 2 its headers and body, too; of the message broker 2 is what comes, and from whom. Without a number the
    levels are shown, and `trace level = 0` ends all.
    """

    words = "trace level"
    operands = "[= level [run operator, run rest server or run message broker]]"
    raw = True
    examples = ("trace level = 1 run rest server", "trace level = 2 run operator", "trace level = 0", "trace level")
    index = ("debug",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another form, 3 for what does not run, 237 for what cannot be traced."""
        text = " ".join("".join(operands).split())
        if not text:
            traced = [f"{words}: {level}" for words, level in _traced(node).items() if level]
            return Result(text="\r\n".join(traced) or "nothing is traced")
        found = re.fullmatch(r"= ?([0-9])(?: (.+))?", text)
        if found is None or (found[2] is None and found[1] != "0"):
            raise AnyLogError(2, f"trace level: '{text}'; usage: {self.usage_text()}")
        level, what, levels = int(found[1]), (found[2] or "").lower(), _traced(node)
        if what and what not in levels:
            known = ", ".join(levels)
            raise AnyLogError(237, f"trace level: '{found[2]}' is not traced in this build; these are: {known}")
        if what and level and levels[what] is None:
            raise AnyLogError(3, f"trace level: nothing to trace: use '{what}' first", http=400)
        for words in [what] if what else list(levels):
            _trace(node, words, level)
        return None


def _traced(node: Node) -> dict[str, int | None]:
    """What can be traced, with its level; None if it does not run."""
    rest: Any = node.processes.find("rest")
    broker: Any = node.processes.find("broker")
    return {
        "run operator": node.operator_seen.trace,
        "run rest server": None if rest is None else rest.options.trace,
        "run message broker": None if broker is None else 2 * broker.trace,
    }


def _trace(node: Node, words: str, level: int) -> None:
    """Set the level of one of those."""
    rest: Any = node.processes.find("rest")
    broker: Any = node.processes.find("broker")
    if words == "run operator":
        node.operator_seen.trace = level
    elif words == "run rest server" and rest is not None:
        rest.options = evolve(rest.options, trace=level)
    elif words == "run message broker" and broker is not None:
        broker.trace = level > 1


COMMANDS: tuple[type[Command], ...] = (
    TraceLevel,
    GetStatus,
    GetProcesses,
    TestProcess,
    SetNodeName,
    GetNodeName,
    GetHostname,
    GetVersion,
    GetPlatformInfo,
    GetConnections,
    SetAnylogHome,
    CreateWorkDirectories,
    Exit,
    ExitNode,
)
