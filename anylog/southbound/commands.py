"""The commands that start southbound plug-ins, made from what each says of itself (architecture.md 6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Connection, Outside
from anylog.language.command import Command, Format, Option
from anylog.language.context import Context, Result
from anylog.language.dictionary import Scope
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table, framed
from anylog.plugins import find
from anylog.process import PLUGGED, ROWS, Process
from anylog.processes.msg_client import ClientOptions
from anylog.processes.msg_commands import RunMsgClient
from anylog.southbound.intake import SouthboundIntake

if TYPE_CHECKING:
    from anylog.node import Node

log = Logger()
_FOLDERS = ("prep_dir", "watch_dir", "err_dir", "blobs_dir", "bwatch_dir")
_TAKEN = {name for _, name in ROWS} - PLUGGED


def commands(plugins: Iterable[Any]) -> list[type[Command]]:
    """A command for each. One that cannot be a command is told in the log by name, and left out."""
    made: list[type[Command]] = []
    for plugin in plugins:
        try:
            made.append(command_of(plugin))
        except Exception as why:  # of whatever kind: it is somebody else's
            log.error("plug-in {name} is left out: {why}", name=getattr(plugin, "name", "?"), why=str(why))
    return made


def command_of(plugin: Any) -> type[Command]:
    """Raises AnyLogError 40 saying what is wrong."""
    name, words = plugin.name, " ".join(plugin.words.lower().split())
    if not re.fullmatch(r"[a-z][a-z0-9 ]{0,39}", name) or name in _TAKEN:
        raise AnyLogError(40, f"'{name}' cannot be the name of a process")
    if not re.fullmatch(r"run( [a-z][a-z0-9]*){1,5}", words):
        raise AnyLogError(40, f"'{words}' is not a command that begins with run")
    if not plugin.example.lower().startswith(words):
        raise AnyLogError(40, f"the example does not begin with '{words}'")
    options: Mapping[str, Option] = plugin.where
    if not all(isinstance(option, Option) for option in options.values()):
        raise AnyLogError(40, "an option is not a language.command.Option")

    class RunSouthbound(_Run):
        pass

    RunSouthbound.__doc__ = cleandoc(plugin.help)
    RunSouthbound.__name__ = RunSouthbound.__qualname__ = f"Run{name.title().replace(' ', '')}"
    RunSouthbound.words, RunSouthbound.where = words, options
    RunSouthbound.examples, RunSouthbound.plugin = (plugin.example,), plugin
    return RunSouthbound


class _Run(Command):
    """Start a southbound."""

    index = ("background processes", "data ingestion", "streaming")
    guarded = True
    plugin: Any = None

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 136 if it runs, and what the plug-in raises."""
        plugin = self.plugin
        running = node.processes.find(plugin.name)
        process = await maybeDeferred(
            plugin.make,
            intake_of(node, plugin.name, scope_of(node, context)),
            net=node.net,
            clock=node.clock,
            lanes=node.lanes,
            chance=node.chance,
            running=running,
            **options,
        )
        if process is None:
            return None
        if not isinstance(process, Process) or process.name != plugin.name:
            raise AnyLogError(3, f"plug-in {plugin.name} made {process!r}, which is not a process of that name")
        await node.processes.start(process)
        return None


def intake_of(node: Node, name: str, scope: Scope) -> SouthboundIntake:
    """The doors of a plug-in; `scope` is that of who asked."""

    def subscribe(
        outside: Outside, topics: Sequence[str], make: Callable[[Outside], Connection]
    ) -> tuple[int, Connection]:
        folders: dict[str, Any] = {each: node.places.folder(each) for each in _FOLDERS}
        settings = ClientOptions(
            broker=outside.broker,
            port=outside.port or 0,
            user=outside.user,
            password=outside.password,
            client_id=outside.client_id,
            log=outside.log,
            log_error=outside.log_error,
            reach=outside.reach,
            clean=outside.clean,
            keep_alive=outside.keep_alive,
            **folders,
        )
        read = RunMsgClient().topics(node, scope, topics, settings)
        made: list[Connection] = []

        def connect(told: Outside) -> Connection:
            made.append(make(evolve(told, log_error=outside.log_error)))
            return made[0]

        return node.msg_clients.add(settings, read, connect).number, made[0]

    return SouthboundIntake(
        who=name,
        node=node.home_id[:16],
        rules=node.msg_rules,
        intake=node.intake,
        subscribing=subscribe,
        remove=node.msg_clients.remove,
        leave=node.leave,
        logs=node.logs,
    )


class GetSouthbound(Command):
    """Show the southbound plug-ins that are installed, their commands, and whether they run.

    One that was found and cannot be used is shown with the reason.
    """

    words = "get southbound"
    where = {"format": Format}
    examples = ("get southbound",)
    index = ("monitor", "data ingestion", "background processes")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        titles = ("Name", "Command", "Status", "Details")
        found = find()
        rows = []
        for name, plugin in found.plugins.items():
            process = node.processes.find(name)
            status = "Running" if process is not None else "Not declared"
            rows.append((name, plugin.words, status, process.describe() if process is not None else ""))
        rows += [(name, "", "Broken", why) for name, why in sorted(found.broken.items())]
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        return Result(text=framed(bar_table(titles, rows)), data=data, format=options["format"] or "table")


COMMANDS: tuple[type[Command], ...] = (GetSouthbound,)
