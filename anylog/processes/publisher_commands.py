"""Words about the publisher: files and streams that are sent to operators (operator-ha.md 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.names import normalise
from anylog.processes.files import KINDS, Limits
from anylog.processes.placing import ALL, Placing
from anylog.processes.probing import check_folder
from anylog.processes.publisher import Publisher, PublisherOptions
from anylog.processes.sending import Keeping, Sending
from anylog.processes.sync_commands import address
from anylog.processes.synchronizer import hms
from anylog.processes.watch import Watch, WatchOptions

if TYPE_CHECKING:
    from anylog.node import Node

TOPICS = ("config", "summary", "files")
_FOLDERS = ("watch_dir", "bkup_dir", "error_dir")
_Shown = tuple[str, Any]


class RunPublisher(Command):
    """Send what comes to this node to the operators that host its table: files of the watch directory, and readings.

    The node keeps no readings in a database. What PUT, POST and message clients bring is safe here when it is answered,
    becomes files by the thresholds of `set buffer threshold`, and each file goes to exactly one operator: one that `set
    data distribution` names, else one of a policy of type `distribution`, else one of the clusters that hold the table.
    The files of a stream go to these clusters by turns, a whole file to the one that its content decides, and in a
    cluster the operators take turns. A file is sent packed, and leaves the watch directory when an operator has said
    that it is on its disk; until then it waits. Then it is deleted (`delete_json`), or kept in the backup directory,
    or in the archive (`archive_json`). This node needs a policy in the ledger, by which operators know it.
    """

    words = "run publisher"
    where = {
        "watch_dir": Text(help="directory of files to be sent"),
        "bkup_dir": Text(help="directory of files that were sent"),
        "error_dir": Text(also=("err_dir",), help="directory of files that cannot be sent"),
        "archive_dir": Text(help="root of the archive, for archive_json"),
        "delete_json": Flag(default=False, help="delete JSON files that were sent"),
        "delete_sql": Flag(default=False, help="delete SQL files that were sent"),
        "compress_json": Flag(default=False, help="compress the JSON files that are kept"),
        "compress_sql": Flag(default=False, help="compress the SQL files that are kept"),
        "move_json": Flag(default=False, help="keep JSON files in the backup directory, as without any option"),
        "archive_json": Flag(
            default=False, also=("archive",), help="keep files in the archive, by the day they were sent"
        ),
        "archive_sql": Flag(default=False, also=("move_sql",), help="keep SQL files, as without any option"),
        "company": Text(help="whose operators take tables that the ledger does not know; the name of the database"),
        "master_node": Text(help="ip:port of the master"),
        "blockchain": Text(help="platform of the ledger"),
        "dbms_name": Text(help="file_name[0]: the database is the first segment of a file's name"),
        "table_name": Text(help="file_name[1]: the table is the second segment of a file's name"),
        "threads": Whole(default=1, least=1, most=10, help="batches of files that are read at a time"),
    }
    examples = (
        "run publisher where delete_json = true and delete_sql = true",
        "run publisher where company = anylog and delete_json = true and delete_sql = true",
        "run publisher where archive_json = true and compress_json = true and master_node = 10.0.0.7:32048"
        " and dbms_name = file_name[0] and table_name = file_name[1]",
    )
    index = ("background processes", "configuration", "data")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 20, 33, 63, 136, 175 or 237."""
        if options["blockchain"]:
            raise AnyLogError(237, f"not in this build: blockchain = {options['blockchain']}")
        for key, wanted in (("dbms_name", "file_name[0]"), ("table_name", "file_name[1]")):
            if options[key] and options[key].replace(" ", "").lower() != wanted:
                raise AnyLogError(175, f"run publisher: '{options[key]}' is not a value for '{key}': {wanted}")
        if node.processes.find("operator") is not None:
            raise AnyLogError(136, "run publisher: an operator runs on this node: use 'exit operator' first")
        master = address(options["master_node"], "master_node") if options["master_node"] else ""
        given = {key: value for key, value in options.items() if value not in (None, [])}
        folders = await _folders(node, options)
        given |= {key: str(path) for key, path in folders.items()}
        placing = Placing(
            clusters=node.clusters,
            policies=lambda: node.ledger.policies.of_type("distribution"),
            own=lambda: _own_policy(node),
            company=options["company"] or "",
            fixed=node.distribution,
        )
        sending = Sending(
            clock=node.clock,
            disk=node.disk,
            lane=node.lanes.open("disk", 2),
            cpu=node.lanes.open("cpu"),
            ask=node.peers.ask,
            groups=placing.groups,
            known=placing.known,
            state=node.peers.state,
            notes=node.intake.outgoing.notes,
            keeping=Keeping(
                bkup_dir=folders["bkup_dir"],
                archive_dir=folders["archive_dir"],
                delete=options["delete_json"],
                delete_sql=options["delete_sql"],
                archive=options["archive_json"],
                compress=options["compress_json"],
                compress_sql=options["compress_sql"],
            ),
            point=node.point,
            counts=node.publisher_counts,
            sent=node.publisher_sent,
        )
        watch = Watch(
            clock=node.clock,
            disk=node.disk,
            lanes=node.lanes,
            options=WatchOptions(
                folder=folders["watch_dir"],
                err_dir=folders["error_dir"],
                kinds=KINDS,
                threads=options["threads"],
                limits=Limits(connected=_nowhere),
            ),
            files=sending,
            member=lambda: 0,
            logs=node.logs,
            seen=node.publisher_seen,
            floor=0,  # what lies here needs no room to be sent
            point=node.point,
            who="publisher",
        )
        process = Publisher(
            clock=node.clock,
            options=PublisherOptions(
                company=options["company"] or "", master=master, watch_dir=folders["watch_dir"], given=given
            ),
            watch=watch,
            sending=sending,
            outgoing=node.intake.outgoing,
            flush=node.intake.cut_due,
        )
        try:
            await node.processes.start(process)
        except OSError as why:
            raise AnyLogError(63, f"run publisher: the notes of before: {why.strerror or why}") from None
        if _own_policy(node) is None:
            told = "this node has no policy in the ledger yet: operators take no files of nodes that they do not know"
            node.logs.event.add("Event", told, "publisher")
            return Result(text=told)
        return None


async def _folders(node: Node, options: Mapping[str, Any]) -> dict[str, Path]:
    """Raises AnyLogError 2 or 33."""
    keys = (*_FOLDERS, *(("archive_dir",) if options["archive_json"] else ()))
    paths = {
        key: Path(str(options[key] or node.dictionary.get("err_dir" if key == "error_dir" else key)))
        .expanduser()
        .absolute()
        for key in (*_FOLDERS, "archive_dir")
    }

    def check() -> None:
        for key in keys:
            if key != "watch_dir" and paths[key] == paths["watch_dir"]:
                raise AnyLogError(2, f"run publisher: {key} and watch_dir are both {paths[key]}")
            check_folder(node.disk, "run publisher", key, paths[key])

    await node.lanes.open("disk", 2).run(check)
    return paths


class _Nowhere:
    """A database of which nothing is kept here."""

    def schema(self, table: str) -> None:
        """No table is known."""


def _nowhere(dbms: str) -> _Nowhere:
    return _Nowhere()


def _own_policy(node: Node) -> Any:
    """The policy of this node, by its address: that of a publisher, else of any node."""
    found = [
        policy for policy in node.clusters.nodes() if node.address in node.clusters.addresses(policy)
    ]  # fmt: skip
    return next((policy for policy in found if policy.type == "publisher"), found[0] if found else None)


class SetDataDistribution(Command):
    """Send the files of a table from this publisher to these nodes, by turns; `*` stands for all tables of a database.

    A table goes before `*`, and both before what policies say. It holds until the node ends: scripts say it again.
    """

    words = "set data distribution"
    where = {
        "dbms": Text(required=True, help="database"),
        "table": Text(required=True, help="table, or * for all"),
        "dest": Text(many=True, help="ip:port of an operator"),
        "remove": Flag(default=False, help="take back what was set"),
    }
    examples = (
        "set data distribution where dbms = lsl_demo and table = * and dest = 10.0.0.78:32148",
        "set data distribution where dbms = lsl_demo and table = ping and dest = 10.0.0.7:32148"
        " and dest = 10.0.0.8:32148",
        "set data distribution where dbms = lsl_demo and table = ping and remove = true",
    )
    index = ("configuration", "data")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 12 or 20."""
        key = normalise(options["dbms"]), options["table"] if options["table"] == ALL else normalise(options["table"])
        dests = [address(each, "dest") for each in options["dest"] or ()]
        if options["remove"]:
            left = [each for each in node.distribution.get(key, ()) if dests and each not in dests]
            if key not in node.distribution or (dests and not set(dests) <= set(node.distribution[key])):
                raise AnyLogError(12, f"set data distribution: {key[0]}.{key[1]}: no such distribution")
            if left:
                node.distribution[key] = left
            else:
                del node.distribution[key]
            return None
        if not dests:
            raise AnyLogError(2, "set data distribution: 'dest = ip:port' is missing")
        node.distribution[key] = list(dict.fromkeys(dests))
        return None


class GetPublisherDistribution(Command):
    """Show what `set data distribution` said: where the files of tables are sent."""

    words = "get publisher distribution"
    where = {"format": Format}
    examples = ("get publisher distribution",)
    index = ("monitor", "data")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        rows = [(dbms, table, dest) for (dbms, table), dests in sorted(node.distribution.items()) for dest in dests]
        titles = ("DBMS", "Table", "Dest")
        data = [dict(zip(("dbms", "table", "dest"), row, strict=True)) for row in rows]
        return Result(text=framed(bar_table(titles, rows)), data=data, format=options["format"] or "table")


class GetPublisher(Command):
    """Show what the publisher has sent (`files`), its totals (`summary`), or its settings (`config`).

    Without a topic: summary and files. In `files` there is a line for each table and operator; below stands what waits,
    and why.
    """

    words = "get publisher"
    operands = "[config | summary | files]"
    most = 1
    where = {"format": Format}
    examples = ("get publisher", "get publisher config", "get publisher summary where format = json")
    index = ("monitor", "data")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for an unknown topic."""
        topics = [topic_of(operands[0], self.words)] if operands else ["summary", "files"]
        return told(node, topics, bool(operands), options["format"])


def topic_of(text: str, command: str) -> str:
    """Raises AnyLogError 2 for an unknown topic."""
    topic = {"stat": "summary", "stats": "summary", "json": "files"}.get(text.lower(), text.lower())
    if topic not in TOPICS:
        raise AnyLogError(2, f"{command}: '{text}' is not a topic: one of {', '.join(TOPICS)}")
    return topic


def told(node: Node, topics: Sequence[str], alone: bool, format: str | None) -> Result:
    """The numbers of the publisher by topic."""
    made = [(topic, *_MADE[topic](node)) for topic in topics]
    text = "\r\n".join(f"\r\nStats: PUBLISHER {topic.upper()}{framed(table)}" for topic, table, _ in made)
    return Result(text=text, data=made[0][2] if alone else [each[2] for each in made], format=format or "table")


def reset(node: Node, topics: Sequence[str]) -> None:
    """Count these topics from 0 again."""
    seen = node.publisher_seen
    if "summary" in topics:
        seen.forget("summary", {"": _totals(node)})
        seen.at, seen.rows, seen.errors = node.clock.seconds(), 0, 0
    if "files" in topics:
        node.publisher_sent.clear()


def _config(node: Node) -> _Shown:
    publisher = node.processes.find("publisher")
    if not isinstance(publisher, Publisher):
        return bar_table(("Status",), [("Not Active",)]), {"Status": "Not Active"}
    policy = _own_policy(node)
    row = {
        "Status": "Active",
        "Operational time": hms(node.clock.seconds() - publisher.started),
        "Timestamp": int(publisher.started),
        "Policy": policy.id if policy is not None else "",
    }
    given = dict(publisher.options.given)
    table = bar_table(tuple(row), [tuple(row.values())])
    return table + "\r\n\r\n" + bar_table(("Option", "Value"), sorted(given.items())), {**row, "options": given}


def _totals(node: Node) -> dict[str, float]:
    counts, seen = node.publisher_counts, node.publisher_seen
    return {
        "files": counts["files"],
        "repeats": counts["repeats"],
        "errors": counts["errors"] + seen.failed,
        "rows": sum(each.rows for each in seen.files.values()),
    }


def _summary(node: Node) -> _Shown:
    publisher = node.processes.find("publisher")
    active = isinstance(publisher, Publisher)
    seen, now = node.publisher_seen, node.clock.seconds()
    moments = [at for each in seen.files.values() for at in (each.first, each.last) if at]
    first, last = min(moments, default=0.0), max(moments, default=0.0)
    totals = {key: int(number) for key, number in seen.since("summary", "", _totals(node)).items()}
    here = publisher.watch.directory if isinstance(publisher, Publisher) else None
    row = {
        "Node name": f"{node.name or 'AnyLog'}@{node.address}",
        "Status": "Active" if active else "Not Active",
        "Operational time": hms(now - publisher.started) if isinstance(publisher, Publisher) else hms(0),
        "Processing time": hms(last - first),
        "Elapsed time": hms(now - seen.at) if seen.at else hms(0),
        "New files": totals["files"] - seen.rows,
        "Total files": totals["files"],
        "Total rows": totals["rows"],
        "Repeats": totals["repeats"],
        "New errors": totals["errors"] - seen.errors,
        "Total errors": totals["errors"],
        "Avg. files/sec": round(totals["files"] / (last - first), 2) if last > first else 0,
        "Waiting files": here.waiting if here is not None else 0,
        "In work": publisher.watch.in_work if isinstance(publisher, Publisher) else 0,
        "Failed files": seen.failed,
        "Last error": node.publisher_counts.last("errors"),
    }
    seen.at, seen.rows, seen.errors = now, totals["files"], totals["errors"]
    return bar_table(tuple(row), [tuple(row.values())]), {key.lower(): value for key, value in row.items()}


def _files(node: Node) -> _Shown:
    now = node.clock.seconds()
    titles = (
        "DBMS", "Table", "Destination", "Files", "Rows", "Bytes", "Repeats", "Errors", "Last file", "Elapsed time",
        "Last error",
    )  # fmt: skip
    rows = [
        (
            *key, each.files, each.rows, each.bytes, each.repeats, each.errors, each.last_file,
            hms(now - each.last) if each.last else "", each.last_error,
        )
        for key, each in sorted(node.publisher_sent.items())
    ]  # fmt: skip
    waits = _waits(node)
    table = bar_table(titles, rows)
    if waits:
        table += "\r\n\r\n" + bar_table(("Table", "Why its files wait"), waits)
    data = {
        "files": [dict(zip((title.lower() for title in titles), row, strict=True)) for row in rows],
        "waiting": [{"table": name, "why": why} for name, why in waits],
    }
    return table, data


def _waits(node: Node) -> list[tuple[str, str]]:
    """dbms.table, or the name of a cluster -> why its files wait."""
    publisher = node.processes.find("publisher")
    found = dict(node.intake.waiting())
    if isinstance(publisher, Publisher):
        for key, why in publisher.sending.waits.items():
            share = node.clusters.share(key)
            found[share.name if share is not None and share.name else key] = why
        if publisher.watch.holds:
            found["*"] = publisher.watch.holds
    return sorted(found.items())


_MADE: Mapping[str, Callable[[Any], _Shown]] = {"config": _config, "summary": _summary, "files": _files}

COMMANDS: tuple[type[Command], ...] = (RunPublisher, SetDataDistribution, GetPublisherDistribution, GetPublisher)
