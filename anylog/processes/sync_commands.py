"""Words about the synchronizer (metadata.md 7)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, OneOf, Seconds, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.processes.synchronizer import Synchronizer, SyncOptions, hms

if TYPE_CHECKING:
    from anylog.node import Node

DESTINATIONS = ("file", "dbms")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]+):([0-9]{1,5})")


def address(text: str, option: str) -> str:
    """An `ip:port` as it was given. Raises AnyLogError 20 for what is none."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or not 0 < int(found[2]) < 65536:
        raise AnyLogError(20, f"{option}: '{text}' is not ip:port")
    return found[0]


def synchronizer(node: Node) -> Synchronizer:
    """The one that runs. Raises AnyLogError 150."""
    found = node.processes.find("synchronizer")
    if not isinstance(found, Synchronizer):
        raise AnyLogError(150, "the synchronizer is not running: use 'run blockchain sync where ...'")
    return found


class RunBlockchainSync(Command):
    """Keep the local copy of the ledger like the global one; without options: look at once, one more time.

    With `source = master` the ledger is fetched from the node at `connection`, or, if that is not given, from the one
    that the master policy of the local copy names. With `source = dbms` it is taken from this node's own database
    `blockchain`. The first look is waited for, some seconds at most. A change is also fetched as soon as the master
    tells of it, whatever `time` says. While the ledger is away work goes on from the local copy, and what was inserted
    meanwhile is sent when it is back.
    """

    words = "run blockchain sync"
    not_yet = {"source": (("blockchain",), "blockchain platforms")}
    also = ("run synchronizer", "run blockchain synchronizer")
    where = {
        "source": OneOf(words=("master", "dbms", "blockchain"), help="where the ledger is"),
        "time": Seconds(help="between two looks"),
        "dest": Text(many=True, help="file, dbms or both"),
        "connection": Text(help="ip:port of the master"),
        "platform": Text(help="a connected blockchain"),
        "file": Text(help="the local copy, blockchain_file if not given"),
    }
    usage = (
        "run blockchain sync [where source = master/dbms and time = [time] and dest = file and connection = [ip:port]]"
    )
    examples = (
        "run blockchain sync where source = master and time = 1 minute and dest = file and connection = 10.0.0.7:32048",
        "run blockchain sync",
    )
    index = ("blockchain", "metadata", "background processes")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 3, 20, 30, 136, 150 or 237."""
        if not any(options.values()):
            synchronizer(node).moved()
            return None
        source, seconds = options["source"], options["time"]
        if source is None or seconds is None:
            raise AnyLogError(
                2, f"run blockchain sync: Missing '{'time' if source else 'source'}'; usage: {self.usage}"
            )
        if seconds <= 0:
            raise AnyLogError(175, "run blockchain sync: time must be more than 0 seconds")
        if source == "blockchain":
            raise AnyLogError(237, f"not in this build: source = blockchain (platform {options['platform'] or 'none'})")
        dest = [word for given in options["dest"] for word in re.split(r"[\s,]+", given.strip().lower()) if word]
        for word in dest:
            if word not in DESTINATIONS:
                raise AnyLogError(175, f"run blockchain sync: '{word}' is not a value for 'dest': file or dbms")
        if not dest:
            raise AnyLogError(2, f"run blockchain sync: Missing 'dest'; usage: {self.usage}")
        if options["file"]:
            node.dictionary.set("blockchain_file", options["file"])
            await node.ledger.load()
        connection = ""
        if source == "master":
            connection = address(options["connection"] or node.membership.master_address(), "connection")
        elif node.master is None:
            raise AnyLogError(30, "run blockchain sync: the table 'ledger' of dbms 'blockchain' is not here")
        if "dbms" in dest and node.master is None:
            raise AnyLogError(
                30, "run blockchain sync: dest = dbms needs 'create table ledger where dbms = blockchain'"
            )
        given = SyncOptions(source=source, connection=connection, seconds=seconds, dest=tuple(dest))
        process = Synchronizer(clock=node.clock, options=given, look=node.membership.look)
        await node.processes.start(process)
        node.membership.follows_another()
        return None


class GetSynchronizer(Command):
    """Show where the ledger is fetched from, how often that was done, and what of this node still waits for it."""

    words = "get synchronizer"
    where = {"format": Format}
    examples = ("get synchronizer", "get synchronizer where format = json")
    index = ("blockchain", "metadata", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = node.processes.find("synchronizer")
        if not isinstance(found, Synchronizer):
            return Result(text="Blockchain synchronizer not declared", data={"Status": "Not declared"})
        looks, given = found.looks, found.options
        since = "" if looks.updated is None else hms(node.clock.seconds() - looks.updated)
        titles = (
            "Status", "Sync\nSource", "Connection", "Sync\nTime", "Metadata Version", "Time\nSince Update", "Calls",
            "Loads", "Policies", "Sync OK", "Sync Err", "Waiting",
        )  # fmt: skip
        waiting = [
            *node.ledger.waiting(),
            *(f"{dbms}.{table}" for dbms, table in sorted(node.membership.agreement.waiting)),
        ]
        row = (
            "Running" if not looks.failure else looks.failure,
            given.source,
            given.connection,
            int(given.seconds),
            node.ledger.version,
            since,
            looks.calls,
            looks.loads,
            len(node.ledger.policies),
            looks.calls - looks.errors,
            looks.errors,
            len(waiting),
        )
        data = {title.replace("\n", " "): value for title, value in zip(titles, row, strict=True)}
        data["Waiting"] = waiting
        text = framed(bar_table(titles, [row]))
        if waiting:
            text += "\r\n" + "\r\n".join(f"Waits for the ledger: {what}" for what in waiting[:100]) + "\r\n"
        return Result(text=text, data=data, format=options["format"] or "table")


class SwitchNetwork(Command):
    """Fetch the ledger from another master from now on, without stopping the synchronizer."""

    words = "blockchain switch network"
    where = {"master": Text(required=True, help="ip:port of the new master")}
    examples = ("blockchain switch network where master = 10.0.0.8:32048",)
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 20 or 150."""
        synchronizer(node).switch(address(options["master"], "master"))
        node.membership.follows_another()
        return None


COMMANDS: tuple[type[Command], ...] = (RunBlockchainSync, GetSynchronizer, SwitchNetwork)
