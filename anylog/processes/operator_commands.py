"""Words about the operator and the files it takes (operator-ha.md 2-4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import succeed

from anylog.disk.names import error_code, original_name
from anylog.errors import AnyLogError
from anylog.interfaces import Disk, Move
from anylog.language.command import Command, Flag, Format, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.ledger.policies import spelled
from anylog.processes.agreement import Place
from anylog.processes.failing import TOGETHER
from anylog.processes.files import KINDS, Limits
from anylog.processes.intake import FLOOR
from anylog.processes.operator import Filing, Operator, OperatorOptions, checked, of_another_cluster
from anylog.processes.probing import check_folder
from anylog.processes.stats_commands import COMMANDS as STATS
from anylog.processes.sync_commands import address
from anylog.processes.watch import Watch, WatchOptions
from anylog.processes.whole import FilingOptions
from anylog.waiting import pause

if TYPE_CHECKING:
    from anylog.node import Node

PATIENCE = 5.0  # seconds that the command waits for the TCP server, whose address identifies the operator
_FOLDERS = ("watch_dir", "bkup_dir", "error_dir", "distr_dir", "archive_dir")
_TABLE = re.compile(r"[\w\-]+(\.[\w\-]+)?")
HOPELESS = (86, 119)  # codes of failed files that fare no better when they are tried again


class RunOperator(Command):
    """Take the place in the network that an operator policy describes: a member of a cluster that keeps its data.

    The policy and its cluster must be in the ledger, and the TCP server must run. From then on tables and columns are
    made known to the ledger before they are made here, queries of the network are answered, and the files of the watch
    directory are loaded. A loaded file goes to the first of these that holds: `distributor` (also: while the
    distributor runs), `archive` (the default), `move_json`, `delete_json`; else to the backup directory.
    Without `update_tsd_info` files are not registered and cannot be given to other members.
    """

    words = "run operator"
    where = {
        "policy": Text(required=True, help="id of the operator policy"),
        "watch_dir": Text(help="directory of files to be loaded"),
        "bkup_dir": Text(help="directory of files that were loaded"),
        "error_dir": Text(also=("err_dir",), help="directory of files that failed"),
        "distr_dir": Text(help="directory of files for the other members"),
        "archive_dir": Text(help="root of the archive"),
        "create_table": Flag(
            default=True, also=("craete_table",), help="make tables that are missing; false: refuse their readings"
        ),
        "update_tsd_info": Flag(default=False, help="register files in almgm.tsd_info"),
        "master_node": Text(help="ip:port of the master"),
        "blockchain": Text(help="platform of the ledger"),
        "distributor": Flag(help="give files to the distributor"),
        "archive": Flag(also=("archive_json",), help="keep JSON files in the archive; false: delete them"),
        "compress_json": Flag(default=True, help="compress the JSON files that are kept"),
        "compress_sql": Flag(default=True, help="compress the SQL files that are kept"),
        "move_json": Flag(default=False, help="keep JSON files in the backup directory"),
        "move_sql": Flag(default=False, also=("archive_sql",), help="keep SQL files in the backup directory"),
        "delete_json": Flag(default=False, help="delete JSON files that are loaded"),
        "delete_sql": Flag(default=False, help="delete SQL files that are loaded"),
        "limit_tables": Text(help="(dbms.table, ...) that are taken, whichever way; all if not given"),
        "threads": Whole(default=1, least=1, most=10, help="batches of files that are loaded at a time"),
        "company": Text(help="of the cluster if not given"),
        "file_type": Text(many=True, help="json, sql, gz; all if not given"),
        "flush_streaming": Flag(default=False, help="cut buffers whose time is over, as 'run streamer' does"),
    }
    examples = (
        "run operator where policy = d93487bec012c8847bca734bcc31a3a6 and create_table = true and threads = 6",
        "run operator where policy = d93487bec012c8847bca734bcc31a3a6 and master_node = 10.0.0.7:32048",
        "run operator where policy = !operator_policy and update_tsd_info = true and archive = true",
    )
    index = ("background processes", "configuration", "data")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 5, 17, 20, 29, 33, 40, 87, 113, 118, 135, 136, 175, 222 or 237."""
        if options["blockchain"]:
            raise AnyLogError(237, f"not in this build: blockchain = {options['blockchain']}")
        checked(options, [process.name for process in node.processes.running()])
        master = address(options["master_node"], "master_node") if options["master_node"] else ""
        kinds = [kind.strip().lower() for kind in options["file_type"]]
        for kind in kinds:
            if kind not in KINDS:
                raise AnyLogError(175, f"run operator: '{kind}' is not a value for 'file_type': json, sql or gz")
        tables = [name for name in re.split(r"[\s,]+", (options["limit_tables"] or "").strip("() ")) if name]
        for name in tables:
            if not _TABLE.fullmatch(name):
                raise AnyLogError(175, f"run operator: '{name}' in 'limit_tables' is not dbms.table")
        if options["update_tsd_info"] and "tsd_info" not in await node.databases.get("almgm").tables():
            told = "update_tsd_info = true needs 'create table tsd_info where dbms = almgm'"
            raise AnyLogError(29, f"run operator: {told}")
        given = {key: value for key, value in options.items() if value not in (None, [])}
        given |= {key: node.dictionary.get(key) for key in _FOLDERS if key not in given}
        folders = {key: Path(str(given[key])).expanduser().absolute() for key in _FOLDERS}
        await node.lanes.open("disk", 2).run(check_folders, node.disk, folders)
        until = node.clock.seconds() + PATIENCE
        while node.processes.find("tcp") is None:
            if node.clock.seconds() >= until:
                raise AnyLogError(135, "run operator: use 'run tcp server' first: its address identifies the operator")
            await pause(node.clock, 0.1)
        if node.membership.place_of(options["policy"]) is None:
            await node.refresh(True)  # it may have been added elsewhere a moment ago
        place = node.membership.check_place(options["policy"])
        if told := of_another_cluster(place, node.intake.operating.cluster):
            if await _has_files(node):
                raise AnyLogError(118, f"run operator: {told}")
            node.intake.operating.cluster = ""  # nothing here is of the other one
        company, given["company"] = options["company"], place.company or options["company"]
        if company and spelled(company) != spelled(given["company"]):
            told = f"company = {company}: the cluster is of {place.company}, and so are the tables of this operator"
            node.logs.event.add("Event", told, "operator")
        if not options["update_tsd_info"]:
            told = "files are not registered (update_tsd_info = false): they cannot be given to other members"
            node.logs.event.add("Event", told, "operator")
        limits = Limits(
            connected=node.databases.get,
            members=lambda: _members(node, process.place),
            tables=Limits.read(tables),
            lacks=None if options["create_table"] else node.membership.agreement.lacks,
            departed=node.copying.departed,
        )
        process = Operator(
            clock=node.clock,
            options=OperatorOptions(
                policy=options["policy"],
                master=master,
                threads=options["threads"],
                create_table=options["create_table"],
                given=given,
            ),
            place=lambda: node.membership.place_of(options["policy"]),
            announce=node.membership.announce if options["create_table"] else lambda: succeed(None),
            watch=_watch(node, options, folders, kinds, limits, lambda: process.member()),
            filing=Filing(
                options=_filing(options, folders, lambda: node.processes.find("distributor") is not None),
                operate=node.intake.operate,
                note=node.intake.operating.note,
            ),
            flush=node.intake.cut_due if options["flush_streaming"] else None,
            before=node.intake.operating.noted or node.intake.operating.former,
            home=lambda: node.intake.operating.cluster,
            tell=lambda told: _tell(node, told),
            doors=lambda operates: _doors(node, limits if operates else None),
        )
        await node.processes.start(process)
        node.membership.operates(place)
        return None


def _doors(node: Node, limits: Limits | None) -> None:
    """What an operator says of tables holds for all ways in, and for what the journal has."""
    node.intake.accepting.door = limits.excluded if limits is not None and limits.limited else None
    fixed = limits is not None and limits.lacks is not None
    told = lambda text: node.logs.event.add("Event", text, "operator")  # noqa: E731
    node.membership.agreement.fixed = told if fixed else None


def _watch(
    node: Node,
    options: Mapping[str, Any],
    folders: Mapping[str, Path],
    kinds: Sequence[str],
    limits: Limits,
    member: Callable[[], int],
) -> Watch:
    return Watch(
        clock=node.clock,
        disk=node.disk,
        lanes=node.lanes,
        options=WatchOptions(
            folder=folders["watch_dir"],
            err_dir=folders["error_dir"],
            kinds=kinds or KINDS,
            threads=options["threads"],
            limits=limits,
        ),
        files=node.intake,
        member=member,
        logs=node.logs,
        seen=node.operator_seen,
        floor=FLOOR,
        trace=lambda: node.operator_seen.trace,
        point=node.intake.point,
        poison=node.intake.registry.fail,
    )


async def _has_files(node: Node) -> bool:
    """Whether any file is registered here, or nobody can say."""
    tsd = node.membership.tsd()
    if tsd is None:
        return True
    return any([(await tsd.info(table))[0] for table in await tsd.tables()])


def _tell(node: Node, told: str) -> None:
    for log in (node.logs.event, node.logs.error):
        log.add("Error", told, "operator")


def _members(node: Node, place: Place | None) -> set[int] | None:
    """The member ids of the cluster of that operator; None if the ledger does not tell."""
    share = node.clusters.cluster_of(place.operator) if place is not None else None
    return None if share is None else {operator.member for operator in share.operators if operator.member}


def _filing(options: Mapping[str, Any], folders: Mapping[str, Path], distributes: Callable[[], bool]) -> FilingOptions:
    """Where files go (operator-ha.md 2); with `archive = false` they are deleted if nothing else keeps them.

    Without `distributor = ...` it is as `distributes` says whether they go to the distributor.
    """
    return FilingOptions(
        archive_dir=folders["archive_dir"],
        distr_dir=folders["distr_dir"],
        bkup_dir=folders["bkup_dir"],
        err_dir=folders["error_dir"],
        watch_dir=folders["watch_dir"],
        distributor=bool(options["distributor"]),
        follows=distributes if options["distributor"] is None else None,
        archive=options["archive"] is not False,
        compress=options["compress_json"],
        move=options["move_json"],
        delete=options["delete_json"] or options["archive"] is False,
        keep_sql=options["move_sql"],
        compress_sql=options["compress_sql"],
        delete_sql=options["delete_sql"],
        tsd=options["update_tsd_info"],
    )


def check_folders(disk: Disk, folders: Mapping[str, Path]) -> None:
    """In a lane: they are there, can be written to, and no two that must be apart are one. Raises AnyLogError 2, 33."""
    for key, folder in folders.items():
        if key != "watch_dir" and folder == folders["watch_dir"]:
            raise AnyLogError(2, f"run operator: {key} and watch_dir are both {folder}")
        check_folder(disk, "run operator", key, folder)


def running(node: Node) -> Operator:
    """The operator that runs. Raises AnyLogError 203."""
    operator = node.processes.find("operator")
    if not isinstance(operator, Operator):
        raise AnyLogError(203, "the operator does not run: use 'run operator'")
    return operator


class GetOperatorPool(Command):
    """Show how many batches of files may be loaded at a time, and which are at work: 1 is busy, 0 is idle.

    The number behind them counts the batches that were taken. With details also files and bytes in work.
    """

    words = "get operator pool"
    where = {
        "details": Flag(default=False, help="show what is in work"),
        "reset": Flag(default=False, help="count from 0 again"),
    }
    examples = ("get operator pool", "get operator pool where details = true")
    index = ("monitor", "background processes")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        operator = node.processes.find("operator")
        if not isinstance(operator, Operator):
            return Result(text="Operator Pool is not declared")
        watch, threads = operator.watch, operator.options.threads
        slots = [0] * (threads - watch.busy) + [1] * watch.busy
        title = f"Operator Pool with {threads} threads:"
        text = f"{title:<60}{slots} ({watch.batches - watch.batches_before:,})"
        if options["details"]:
            rows = [("files in work", watch.in_work), ("bytes of files in work", watch.bytes_in_work)]
            rows += [(f"waiting: {name}", count) for name, count in sorted(watch.stalled().items())]
            text += "\r\n" + bar_table(("Detail", "Number"), rows)
        if options["reset"]:
            watch.batches_before = watch.batches
        return Result(text=text)


class GetWatch(Command):
    """Show the watch directory: what waits, what is in work, how old the oldest file is, and why nothing is taken.

    Tables whose files are in work for long are named with the reason: the ledger or their database may be away.
    """

    words = "get watch"
    where = {"format": Format}
    examples = ("get watch", "get watch where format = json")
    index = ("monitor", "data")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 203 without an operator."""
        watch, now = running(node).watch, node.clock.seconds()
        seen, here = node.operator_seen, watch.directory
        row = {
            "Directory": str(watch.options.folder),
            "Waiting files": here.waiting,
            "Waiting bytes": here.waiting_bytes,
            "In work": watch.in_work,
            "Oldest age": max(0, int(now - here.oldest / 1e9)) if here.oldest else 0,
            "Errors": seen.failed,
            "Stuck": len(watch.errors.held),
            "Left alone": len(here.ignored),
            "Status": watch.status,
        }
        reasons = node.intake.waiting()
        waits = [
            (name, count, reasons.get(name) or reasons.get(name.split(".")[0]) or node.intake.filing.waiting)
            for name, count in watch.stalled().items()
        ]
        shown = {**row, "Waiting files": f"more than {here.waiting}"} if watch.more else row
        text = bar_table(tuple(shown), [tuple(shown.values())])
        if waits:
            text += "\r\n\r\n" + bar_table(("Table", "Files", "Why they wait"), sorted(waits))
        data = {
            **row,
            "More": watch.more,
            "Tables": [{"table": t, "files": n, "why": why} for t, n, why in sorted(waits)],
        }
        return Result(text=framed(text), data=data, format=options["format"] or "table")


class GetWatchDirectories(Command):
    """Show the directories whose files are taken in."""

    words = "get watch directories"
    examples = ("get watch directories",)
    index = ("monitor", "data")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        operator = node.processes.find("operator")
        found = [f"{operator.watch.options.folder}/"] if isinstance(operator, Operator) else []
        return Result(text=f"[{', '.join(found)}]", data=found)


class FileRetry(Command):
    """Put failed files back into the watch directory, under the names they had, so that they are loaded once more.

    The name is that in the error directory, or the one that the file had. With `all` those are left where they are that
    cannot fare better: repeats (86) and files whose name says nothing (119). A file whose name is taken stays.
    """

    words = "file retry"
    operands = "[name | all]"
    least = most = 1
    examples = ("file retry all", "file retry town.weather.0.0.0.err_10.1795276167.json")
    index = ("file", "data", "high availability")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12 if there is no such file, 63, or 203 without an operator."""
        watch, wanted = running(node).watch, operands[0]
        folder, target = watch.errors.folder, watch.options.folder
        work = node.lanes.open("disk", 2).run
        try:
            names = await work(node.disk.names, folder)
            if wanted.lower() == "all":
                found = [name for name in names if error_code(name) not in (0, *HOPELESS)]
            else:
                found = [name for name in names if wanted in (name, original_name(name)) and error_code(name)]
            steps = [Move(folder / name, target / original_name(name)) for name in found]
            outcomes: list[Any] = []
            for first in range(0, len(steps), TOGETHER):
                outcomes += await work(node.disk.batch, steps[first : first + TOGETHER])
        except OSError as why:
            raise AnyLogError(63, f"{self.words}: {folder}: {why.strerror or why}") from None
        if not found and wanted.lower() != "all":
            raise AnyLogError(12, f"{self.words}: no file '{wanted[:120]}' is in {folder}")
        stay = [(step, why) for step, why in zip(steps, outcomes, strict=True) if isinstance(why, OSError)]
        told = "".join(f"\r\n{step.source.name}: {why.strerror or why}" for step, why in stay[:20])
        data = {"files": len(found) - len(stay), "left": len(stay)}
        return Result(text=f"Files: {data['files']:,}, left where they are: {len(stay):,}{told}", data=data)


COMMANDS: tuple[type[Command], ...] = (
    RunOperator,
    *STATS,
    GetOperatorPool,
    GetWatch,
    GetWatchDirectories,
    FileRetry,
)
