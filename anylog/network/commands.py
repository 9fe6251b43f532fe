"""Commands of the doors: start them, look at them (rest.md 1 and 9, cli-console.md 9)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anylog.disk.file_commands import lane_of
from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, Option, Seconds, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.script_commands import on_or_off
from anylog.mapping.body import read_body
from anylog.mapping.names import normalise
from anylog.network.rest import RestOptions, RestServer
from anylog.network.telnet import TelnetOptions, TelnetServer
from anylog.network.upload import Uploads

if TYPE_CHECKING:
    from anylog.node import Node

_ADDRESS: dict[str, Option] = {
    "internal_ip": Text(help="address that is listened on"),
    "internal_port": Whole(least=0, most=65535, help="its port; 0 takes a free one"),
}


def _running(node: Node) -> RestServer:
    server = node.processes.find("rest")
    if not isinstance(server, RestServer):
        raise AnyLogError(3, "the REST server is not running: use 'run rest server'", http=400)
    return server


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise AnyLogError(221, f"'{text}' is not a port")
    return int(text)


class RunRestServer(Command):
    """Listen for commands and readings by HTTP.

    The address is given after the words, or as internal_ip and internal_port. With bind = false all interfaces
    are listened on. The timeout is the limit for a reply; 0 waits for ever. threads is the number of requests
    that execute at once.
    """

    words = "run rest server"
    operands = "[ip] [port]"
    most = 2
    where = {
        **_ADDRESS,
        "external_ip": Text(help="address that is made known; listened on if there is no internal one"),
        "external_port": Whole(least=0, most=65535),
        "bind": Flag(default=True),
        "timeout": Seconds(default=20.0),
        "threads": Whole(default=5, least=1, most=1000),
        "ssl": Flag(default=False),
        "ca_org": Text(),
        "server_org": Text(),
    }
    examples = (
        "run rest server 127.0.0.1 32149 where timeout = 0 and threads = 6",
        "run rest server where internal_ip = 127.0.0.1 and internal_port = 32149 and bind = true",
    )
    index = ("api", "background processes", "rest")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 136, 221, 237, or 3 if the port cannot be had."""
        if options.pop("ssl"):
            raise AnyLogError(237, "run rest server: not in this build: ssl")
        del options["ca_org"], options["server_org"]
        if operands:
            options["internal_ip"] = operands[0]
            if len(operands) < 2:
                raise AnyLogError(2, f"run rest server: a port is missing after '{operands[0]}'")
            options["internal_port"] = _port(operands[1])
        given = {name: value for name, value in options.items() if value is not None}
        if "internal_port" not in given and "external_port" not in given:
            raise AnyLogError(2, f"run rest server: an address and a port are missing; usage: {self.usage_text()}")
        server = RestServer(
            execute=node.execute,
            intake=node.intake,
            read_body=read_body,
            normalise=normalise,
            lookup=node.words.command_of,
            net=node.net,
            clock=node.clock,
            node_name=lambda: node.address,
            options=RestOptions(**given, trace=context.trace),
            lane=node.lanes.open("cpu"),
            posts=node.msg_clients,
            note=node.logs.call,
            uploads=Uploads(
                disk=node.disk,
                lane=lambda: lane_of(node),
                folder=lambda: node.places.folder("tmp_dir"),
                token=lambda: f"{node.chance.getrandbits(64):016x}",
            ),
        )
        await node.processes.start(server)
        return None


class GetRestCalls(Command):
    """Show who called the REST server, how often, and what went wrong last."""

    words = "get rest calls"
    also = ("get rest",)
    where = {"format": Format}
    examples = ("get rest calls",)
    index = ("monitor", "rest")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Times are UTC."""
        server = _running(node)
        titles = ("Caller", "Call", "Processed", "Errors", "Last Error", "First Call", "Last Call", "Last Caller")
        data = [
            dict(
                zip(
                    titles,
                    (
                        calls.caller,
                        calls.method,
                        calls.processed,
                        calls.errors,
                        calls.last_error,
                        _moment(calls.first),
                        _moment(calls.last),
                        calls.peer,
                    ),
                    strict=True,
                )
            )
            for calls in server.calls
        ]
        rows = [list(row.values()) for row in data]
        for earlier, row in zip(reversed(data[:-1]), reversed(rows), strict=False):
            if earlier["Caller"] == row[0]:
                row[0] = ""
        text = f"Statistics for REST calls using http://{server.address}\r\n" + bars(titles, rows)
        return Result(text="\r\n" + text, data=data, format=options["format"] or "text")


class GetRestServerInfo(Command):
    """Show the settings of the REST server. Of keys only file names are shown."""

    words = "get rest server info"
    where = {"format": Format}
    examples = ("get rest server info",)
    index = ("monitor", "rest")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Attribute names are those of the documentation."""
        server = _running(node)
        limits = server.site.limits
        data = {
            "buff_size": limits.body,
            "ca_public_key": "",
            "connection": server.address,
            "is_ssl": False,
            "lib_open_ssl": False,
            "node_cr": "",
            "node_private_key": "",
            "streaming_log": node.logs.rest_all,
            "timeout": server.options.timeout,
            "trace": server.options.trace,
            "workers_count": server.options.threads,
        }
        text = bars(("Attribute", "Value"), [[name, _shown(value)] for name, value in data.items()])
        return Result(text=text, data=data, format=options["format"] or "text")


class GetRestPool(Command):
    """Show how many requests execute at this moment, of how many that may, and how many came so far."""

    words = "get rest pool"
    where = {"details": Flag(default=False), "reset": Flag(default=False)}
    examples = ("get rest pool", "get rest pool where details = true")
    index = ("monitor", "rest")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """With details also what waits, and what was refused before it was read."""
        server = _running(node)
        busy, threads = server.busy, server.options.threads
        slots = [0] * (threads - busy) + [1] * busy
        title = f"REST Pool with {threads} threads:"
        text = f"{title:<60}{slots} ({server.total - server.total_before:,})"
        if options["details"]:
            rows = [
                ["requests that wait for a thread", server.waiting],
                ["connections", len(server.site.channels)],
                ["bytes of message bodies held", server.site.tank.held],
                *([name, number] for name, number in server.site.counts),
            ]
            text += "\r\n" + bars(("Detail", "Number"), rows)
        if options["reset"]:
            server.total_before = server.total
        return Result(text=text)


class SetRestTimeout(Command):
    """Change the limit for a reply of the REST server, for requests from now on; 0 waits for ever."""

    words = "set rest timeout"
    operands = "[time]"
    least = 1
    most = 1
    raw = True
    examples = ("set rest timeout 2 minutes",)
    index = ("rest", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 182 for what is no time."""
        try:
            seconds = float(Seconds().read(operands[0]))
        except ValueError as wanted:
            raise AnyLogError(182, f"set rest timeout: '{operands[0]}' is not {wanted}") from None
        _running(node).set_timeout(seconds)
        return None


class SetRestLog(Command):
    """Log all HTTP calls (`on`), or again those alone that fail (`off`); `get rest log` shows the log."""

    words = "set rest log"
    also = ("set streaming log",)
    operands = "[on | off]"
    least = most = 1
    examples = ("set rest log on", "set rest log off")
    index = ("rest", "log", "debug")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 175 for another word."""
        wanted = operands[0].lower()
        if wanted not in ("on", "off"):
            raise AnyLogError(175, f"set rest log: '{operands[0]}' is not one of on, off")
        node.logs.rest_all = wanted == "on"
        return None


class RunTelnetServer(Command):
    """Open a console for telnet clients.

    There is no login yet, so only this machine may come in, unless allow_remote = true is said.
    """

    words = "run telnet server"
    where = {
        "internal_ip": Text(default="127.0.0.1", help="address that is listened on"),
        "internal_port": Whole(required=True, least=0, most=65535, help="its port; 0 takes a free one"),
        "allow_remote": Flag(default=False),
    }
    examples = ("run telnet server where internal_ip = 127.0.0.1 and internal_port = 7852",)
    index = ("background processes", "cli")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 136, or 3 if the port cannot be had."""
        server = TelnetServer(
            execute=node.execute,
            net=node.net,
            clock=node.clock,
            node_name=lambda: node.name,
            complete=node.words.starting_with,
            messages=lambda: node.echoes.count if node.echoes.on else 0,
            serves=lambda: node.consoles,
            options=TelnetOptions(
                ip=options["internal_ip"], port=options["internal_port"], allow_remote=options["allow_remote"]
            ),
        )
        await node.processes.start(server)
        return None


class SetCli(Command):
    """Take the commands of consoles (`on`, as at the start), or refuse all but those that leave (`off`).

    From then on the node is driven by scripts and REST alone, where `set cli on` opens the consoles again.
    """

    words = "set cli"
    operands = "on | off"
    least = most = 1
    examples = ("set cli off", "set cli on")
    index = ("cli",)
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word."""
        node.consoles = on_or_off(self.words, operands)
        return None


COMMANDS: tuple[type[Command], ...] = (
    RunRestServer,
    GetRestCalls,
    GetRestServerInfo,
    GetRestPool,
    SetRestTimeout,
    SetRestLog,
    RunTelnetServer,
    SetCli,
)


def bars(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of bars, numbers to the right; a bar in a cell is shown broken, for clients count bars (rest.md 11.3)."""
    cells = [[_shown(value).replace("|", "¦") for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    lines = [
        " ".join(title.ljust(width) for title, width in zip(titles, widths, strict=True)),
        "".join("-" * width + "|" for width in widths),
    ]
    for row, shown in zip(rows, cells, strict=True):
        lines.append(
            "".join(
                (text.rjust(width) if isinstance(value, int) and not isinstance(value, bool) else text.ljust(width))
                + "|"
                for value, text, width in zip(row, shown, widths, strict=True)
            )
        )
    return "\r\n".join(lines) + "\r\n"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
