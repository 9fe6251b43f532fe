"""`twistd [-n] anylog ...`: from the command line to a node that runs, and from SIGTERM to one that stopped well.

Sources: architecture.md 4 (starting and stopping), cli-console.md 2 and 8 (commands on the command line).
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from anylog import __version__
from anylog.environment import read_variables
from anylog.errors import AnyLogError
from anylog.process import ROWS
from anylog.waiting import deadline

if TYPE_CHECKING:
    from anylog.node import Node

REST_PORT = 32149

# The node of `make run`: an embedded database, the streamer and REST. etc/single.al is the same with comments.
DEFAULT_COMMANDS = (
    "create work directories",
    "connect dbms town where type = sqlite",
    "run streamer",
    f"run rest server where internal_ip = 127.0.0.1 and internal_port = {REST_PORT} and bind = false",
)

SWITCH_SECONDS = 0.0002  # a lane that is ready to run waits at most this long for the reactor's turn to end
# Readings come as many small objects, none in a cycle. The collector would look at all of them again and again: at its
# own rate it takes a fourth of the time of a load.
GARBAGE = (50_000, 20, 50)
STOP_SECONDS = 75.0  # for all floors together; each has its own, shorter, limit

FIRST_STEPS = """\
Add a reading:
    curl -X PUT http://127.0.0.1:{port}/ -H 'type: json' -H 'dbms: town' -H 'table: weather' -H 'mode: streaming' \\
        -d '{{"timestamp": "2026-11-21 09:00:00", "station": "roof", "celsius": 7.5}}'
Ask for it:
    curl http://127.0.0.1:{port}/ -H 'User-Agent: AnyLog/1.23' \\
        -H 'command: sql town format = table "select timestamp, station, celsius from weather"'
"""

SECURITY = (
    "Authentication is not configured: readings and questions are taken from anyone who reaches a port, commands that "
    "change this node from this machine only; to give them from elsewhere, come through a tunnel (ssh -L)."
)


def commands_of(words: Sequence[str]) -> list[str]:
    """The commands that the words of a command line make (cli-console.md 2).

    Either each command is one quoted word, with the word `and` between them, or one command is spread over words.
    In a spread command an `and` after `where` or `if` belongs to it, unless a quoted command follows.
    Raises `usage.UsageError` for quoted commands with nothing between them.
    """
    commands: list[list[str]] = [[]]
    for place, word in enumerate(words):
        if word == "and" and commands[-1]:
            following = words[place + 1] if place + 1 < len(words) else ""
            spread = {"where", "if"} & {part.lower() for part in commands[-1]}
            if not spread or " " in following.strip():
                commands.append([])
                continue
        commands[-1].append(word)
    for command in commands:
        if len(command) > 1 and " " in command[0].strip():
            raise usage.UsageError(f"put the word 'and' between the commands '{command[0]}' and '{command[1]}'")
    if words and not commands[-1]:
        raise usage.UsageError("a command is missing after the last 'and'")
    return [
        command[0] if len(command) == 1 else " ".join(f'"{word}"' if " " in word else word for word in command)
        for command in commands
        if command
    ]


class Options(usage.Options):
    """What may stand after `twistd anylog`."""

    synopsis = "[--home DIR] [--name NAME] [--env FILE] [COMMAND and COMMAND ... | process SCRIPT]"
    longdesc = (
        "Runs one node. COMMANDs are quoted and have the word 'and' between them; 'process SCRIPT' runs the commands "
        "of a file. Without any, a node with the embedded database 'town' starts and listens for REST on port "
        f"{REST_PORT}."
    )
    optParameters = [
        ["home", "d", "anylog-data", "Directory of the node; everything it keeps lies below it."],
        ["name", None, "", "Name of the node, as shown in its prompt and its status."],
        ["env", None, None, "File of environment variables, NAME=value a line; it wins over what is there already."],
        ["telnet", None, None, "Port of a telnet console on the loopback interface, or tcp:PORT:interface=ADDRESS."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.commands: list[str] = []
        self.environ: dict[str, str] = {}

    def parseArgs(self, *words: str) -> None:
        """Called by Twisted with what is left after the options."""
        self.commands = commands_of(words)

    def postOptions(self) -> None:
        """Called by Twisted when all is read: checks what can be checked before anything starts."""
        if not self["home"]:
            raise usage.UsageError("--home needs a directory")
        if self["telnet"] is not None:
            telnet_command(self["telnet"])
        if self["env"] is not None:
            self.environ = variables_of(Path(self["env"]).expanduser())

    def opt_version(self) -> None:
        """Print the version and exit."""
        sys.stdout.write(f"anylog {__version__}\n")
        raise SystemExit(0)


def variables_of(path: Path) -> dict[str, str]:
    """What the file of `--env` says. Raises `usage.UsageError`."""
    try:
        return read_variables(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError) as fault:
        raise usage.UsageError(f"--env: {path} cannot be read: {getattr(fault, 'strerror', None) or fault}") from None
    except AnyLogError as odd:
        raise usage.UsageError(f"--env: {odd}") from None


def telnet_command(place: str) -> str:
    """The command for `--telnet`; raises `usage.UsageError` for a place that is none."""
    kind, _, rest = place.partition(":") if place.startswith("tcp:") else ("tcp", "", place)
    port, _, interface = rest.partition(":")
    address = interface.removeprefix("interface=").replace("\\:", ":") or "127.0.0.1"
    if kind != "tcp" or not port.isdecimal() or not 0 < int(port) < 65536:
        raise usage.UsageError(f"--telnet: '{place}' is neither a port nor tcp:PORT:interface=ADDRESS")
    return f"run telnet server where internal_ip = {address} and internal_port = {port}"


class NodeService(Service):
    """One node as a Twisted service: starts it once the reactor runs, and stops it before the reactor does."""

    log = Logger()

    def __init__(
        self, *, reactor: Any, make: Callable[[], Node], home: Path, commands: Sequence[str], plain: bool
    ) -> None:
        self._reactor, self._make, self.home, self._commands = reactor, make, home, commands
        self._plain = plain  # a person looks at the terminal: speak to it without the dress of a log
        self._node: Node | None = None
        self._starting: Deferred[None] | None = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.freeze()  # the code and what belongs to it stays
        gc.set_threshold(*GARBAGE)
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._end())

    def _begin(self) -> None:
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._failed)

    async def _start(self) -> None:
        node = self._node = self._make()
        node.exiting.addCallback(lambda _: self._leave())
        await node.start(self._commands or DEFAULT_COMMANDS, self._say)
        self._say(self._greeting(node))

    async def _end(self) -> None:
        if self._starting is not None:
            self._starting.cancel()  # a signal during the start; does nothing once it is done
        if self._node is None:
            return
        try:
            await deadline(self._reactor, STOP_SECONDS, self._node.stop(), "stopping the node")
        except (AnyLogError, CancelledError) as late:
            self.log.error("the node was left as it is, its journal tells the next start: {why}", why=str(late))
            # A thread that hangs would keep the process alive for ever.
            self._reactor.addSystemEventTrigger("after", "shutdown", leave_with, 1)

    def _leave(self) -> None:
        """The node asked for the end of its process (`exit node`)."""
        if self.running:
            self._reactor.stop()

    def _failed(self, failure: Failure) -> None:
        """The start did not succeed: say why, end the process with status 1."""
        why = failure.value
        if isinstance(why, CancelledError) and not self.running:
            return  # stopped while it started; that is no failure
        atexit.register(leave_with, 1)  # twistd itself always ends with 0
        if isinstance(why, AnyLogError):
            self._say(f"anylog: cannot start: {reason(why)}", failed=True)
        elif isinstance(why, OSError):
            self._say(f"anylog: cannot start: {why}", failed=True)
        else:
            self._say(f"anylog: cannot start:\n{failure.getTraceback()}", failed=True)
        if self.running:
            self._reactor.stop()

    def _greeting(self, node: Node) -> str:
        titles = {name: title for title, name in ROWS}
        doors = [(titles.get(door.name, door.name), door.describe()) for door in node.processes.running()]
        lines = [f"anylog {__version__}: {node.name or 'a node'} is ready, its data is in {self.home}"]
        lines += [f"    {title:<15} {text}" for title, text in doors if "Listening on" in text]
        if not self._commands:
            lines += ["", FIRST_STEPS.format(port=REST_PORT)]
        lines.append(SECURITY)
        return "\n".join(lines)

    def _say(self, text: str, failed: bool = False) -> None:
        stream = sys.__stderr__ if failed else sys.__stdout__  # twistd turns the others into its log
        if self._plain and stream is not None:
            stream.write(text + "\n")
            stream.flush()
        elif failed:
            self.log.critical("{text}", text=text)
        else:
            self.log.info("{text}", text=text)


def reason(error: AnyLogError) -> str:
    """General text and detail of an error, on one line."""
    return f"{error.text}: {error.detail}" if error.detail else error.text


def leave_with(status: int) -> None:
    """End the process with `status`, after all else at exit was done."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def build(reactor: Any, home: Path, name: str, environ: Mapping[str, str]) -> Node:
    """A node on this machine's clock, sockets, threads and disk; `environ` is beside the environment of the process."""
    from anylog.clock import SteadyClock
    from anylog.disk.durable import RealDisk
    from anylog.disk.lanes import ThreadLanes
    from anylog.host import name_of
    from anylog.net import Net
    from anylog.node import Node
    from anylog.programs import Programs

    return Node(
        home=home,
        name=name,
        clock=SteadyClock(reactor, steady=time.monotonic, wall=time.time),
        net=Net(reactor),
        lanes=ThreadLanes(reactor),
        disk=RealDisk(),
        chance=SystemRandom(),
        programs=Programs(reactor),
        name_of=name_of,
        environ={**os.environ, **environ},
        point=killer(os.environ.get("ANYLOG_KILL_AT", "")),
    )


def killer(told: str) -> Callable[[str], None]:
    """For tests with real processes: `NAME:N` kills this one when it passes the moment NAME for the Nth time."""
    wanted, _, times = told.partition(":")
    left = [int(times or 1)]

    def pass_by(name: str) -> None:
        if name == wanted:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return pass_by


def makeService(options: Options) -> NodeService:
    """Called by twistd. Nothing is opened yet: twistd may still fork."""
    from twisted.internet import reactor

    above: Mapping[str, Any] = options.parent or {}
    commands = list(options.commands)
    if options["telnet"] is not None:
        commands = [*(commands or DEFAULT_COMMANDS), telnet_command(options["telnet"])]
    home = Path(options["home"]).expanduser().resolve()
    return NodeService(
        reactor=reactor,
        make=partial(build, reactor, home, options["name"], options.environ),
        home=home,
        commands=commands,
        plain=bool(above.get("nodaemon")) and not above.get("logfile") and not above.get("syslog"),
    )
