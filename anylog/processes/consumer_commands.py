"""Words about the consumer, and about how far the members of the cluster are (operator-ha.md 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.databases.dates import stored_date
from anylog.databases.tsd import OWN, is_files
from anylog.databases.tsd_commands import own_member
from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Format, OneOf, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.processes.consumer import NOBODY, Consumer
from anylog.processes.exchange import table_of
from anylog.processes.operator import Operator
from anylog.processes.pulled import ConsumerOptions
from anylog.processes.synchronizer import hms

if TYPE_CHECKING:
    from anylog.node import Node

MODES = ("active", "suspend")
NOT_AVAILABLE = "Info on TSD not available - enable Consumer process"


def consumer_of(node: Node) -> Consumer:
    """The one that runs. Raises AnyLogError 203."""
    found = node.copying.consumer
    if found is None:
        raise AnyLogError(203, "the consumer does not run: use 'run data consumer where start_date = ...'")
    return found


class RunConsumer(Command):
    """Pull files that are missing here from the other members of the cluster.

    That is done once a minute, and soon when a member comes back, or when files were pushed here that could not be
    taken; nothing is pulled while the disk is full. Files that were registered from `start_date` on are looked at, and
    before `end_date` if there is one. A date may be fixed, or so long before now: -30d, or -30 for days; then it moves
    with the time. The command may come before `run operator`: nothing happens until this node is a
    member of a cluster. With `mode = suspend` no files are asked for; how far the members are is told and heard, and
    files are given to others.
    """

    words = "run data consumer"
    also = ("run consumer",)
    where = {
        "start_date": Text(required=True, help="files registered then or later"),
        "end_date": Text(help="files registered before; without it there is no end"),
        "mode": OneOf(words=MODES, default="active", help="suspend: ask for no files"),
    }
    examples = (
        'run data consumer where start_date = "-30"',
        "run data consumer where start_date = -30d and mode = suspend",
        'run data consumer where start_date = "26-01-01 00:00:00" and end_date = "2026-06-30 12:00:00"',
    )
    index = ("background processes", "high availability")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 40, 136 or 175."""
        given = ConsumerOptions(
            start=options["start_date"].strip("\"' "), end=(options["end_date"] or "").strip("\"' ")
        )  # fmt: skip
        range = given.range(unix(node.clock))
        if range.end and range.end <= range.start:
            raise AnyLogError(40, f"start_date = {given.start[:60]} is not before end_date = {given.end[:60]}")
        if range.start > stored_date("now", "now", unix(node.clock)):
            raise AnyLogError(40, f"{self.words}: start_date = {given.start[:60]} is in the future: nothing is pulled")
        operator = node.processes.find("operator")
        if isinstance(operator, Operator) and operator.options.given.get("archive") is False:
            raise AnyLogError(2, "run data consumer: the operator runs with archive = false: peers could not be served")
        await node.processes.start(node.copying.new_consumer(given, options["mode"]))
        return None


class SetConsumerMode(Command):
    """Ask other members for files, or stop asking until further notice. Files that were asked for are still loaded."""

    words = "set consumer mode"
    operands = "= active/suspend"
    least, most = 1, 2
    examples = ("set consumer mode = suspend", "set consumer mode = active")
    index = ("background processes", "high availability")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 175 or 203."""
        words = [word for word in "".join(operands).lower().split("=") if word]
        if len(words) != 1:
            raise AnyLogError(2, f"{self.words}: usage: {self.usage_text()}")
        if words[0] not in MODES:
            raise AnyLogError(175, f"{self.words}: '{words[0][:40]}' is not a mode: active or suspend")
        consumer_of(node).set_mode("suspend" if words[0] == "suspend" else "active")
        return None


class GetConsumer(Command):
    """Show what the consumer does: its range, whether this member has all files, and how far it is with each peer.

    Missing bytes and the time left are reckoned from the files that came so far.
    """

    words = "get consumer"
    where = {"format": Format}
    examples = ("get consumer", "get consumer where format = json")
    index = ("high availability", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = node.copying.consumer
        if found is None:
            return Result(
                text="Consumer not declared", data={"Status": "Not declared"}, format=options["format"] or "table"
            )
        now = node.clock.seconds()
        going = found.progress()
        left = going["seconds left"]
        state = {
            "Mode": found.mode,
            "Start": found.range.start,
            "End": found.range.end or "now",
            "State": found.state,
            "Files Missing": going["files"],
            "Bytes Missing": going["bytes"],
            "Files/Second": going["rate"],
            "Time Left": "" if left is None else hms(left),
            "Files Pulled": found.counts["files"],
        }
        peers, own = [], own_member(node)
        mine = found.standing.of(own)
        for _, link in sorted(found.links.items()):
            base = {"Peer": link.peer.address, "Member": link.peer.member}
            end = {
                "In Flight": link.in_flight,
                "Last Contact": hms(now - link.contact) if link.contact else "",
                "Errors": link.errors,
                "Last Error": link.error,
            }
            looks = [
                {
                    "Table": table_of(whose, own),
                    "Last Peer ID": look.theirs.last,
                    "Validated ID": mine.get(whose, 0),
                    "Missing": look.lacking,
                }
                for whose, look in sorted(link.looks.items())
            ] or [{"Table": "", "Last Peer ID": 0, "Validated ID": 0, "Missing": 0}]
            peers += [{**base, **look, **end} for look in looks]
        text = framed(bar_table(tuple(state), [tuple(state.values())]))
        text += (
            framed(bar_table(tuple(peers[0]), [tuple(row.values()) for row in peers])) if peers else f"\r\n{NOBODY}\r\n"
        )
        return Result(text=text, data={**state, "Peers": peers}, format=options["format"] or "table")


class GetTsdSyncStatus(Command):
    """Show up to which file each member has the files of each member, and up to which all of them have (consensus).

    A line for the files of each member, a column for what each member told last. Up to that id every file is loaded
    there, or known to be nobody's any more.
    """

    words = "get tsd sync status"
    also = ("get ha cluster status", "get tsd info")
    operands = "[table]"
    most = 1
    where = {"table": Text(help="tsd_ and a member id, or tsd_info"), "format": Format}
    examples = (
        "get tsd sync status",
        "get tsd sync status where table = tsd_12",
        "get ha cluster status",
        "get tsd info",
    )
    index = ("high availability", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 28 or 29."""
        consumer, asked = node.copying.consumer, options["table"] or (operands[0] if operands else "")
        if asked and not is_files(asked.lower()):
            raise AnyLogError(28, f"'{asked[:80]}' is not a table of files: tsd_info, or tsd_ and a member id")
        if consumer is None:
            return Result(text=NOT_AVAILABLE, data={"status": NOT_AVAILABLE}, format=options["format"] or "table")
        own, members = own_member(node), sorted(node.copying.cluster_ids())
        if asked:
            name = asked.lower()
            wanted = own if name == OWN else int(name.removeprefix("tsd_"))
            if members and wanted not in members:
                raise AnyLogError(29, f"'{name}': the cluster has no member {wanted}")
        agreed = node.copying.consensus()
        rows = [
            {
                "TSD table": f"tsd_{whose}",
                "Consensus": agreed[whose],
                **{f"Member {member}": consumer.standing.of(member).get(whose, 0) for member in members},
            }
            for whose in members
            if not asked or whose == wanted
        ]
        titles = ("TSD table", "Consensus", *(f"Member {member}" for member in members))
        text = framed(bar_table(titles, [tuple(row.values()) for row in rows]))
        return Result(text=text, data=rows, format=options["format"] or "table")


COMMANDS: tuple[type[Command], ...] = (RunConsumer, SetConsumerMode, GetConsumer, GetTsdSyncStatus)
