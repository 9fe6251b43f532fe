"""Words about files that this member brings to the others of its cluster (operator-ha.md 6, 13)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylog.databases.tsd import OWN, is_files
from anylog.disk.archive import folder_of, ids_in
from anylog.errors import AnyLogError
from anylog.interfaces import Disk
from anylog.language.command import Command, Format, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.processes.distributor import Distributor, Folders, Line
from anylog.processes.operator import Operator
from anylog.processes.probing import check_folder
from anylog.processes.sync_commands import address

if TYPE_CHECKING:
    from anylog.node import Node

IDS = 10_000  # of one `file deliver`
_RANGES = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?(,[0-9]{1,19}(-[0-9]{1,19})?)*")
_TITLES = ("Peer", "Member", "Status", "Files", "Errors", "Last File", "Last Error", "Last Time")


def folders_of(node: Node, given: Mapping[str, Any] | None = None) -> Folders:
    """Where files are distributed from and archived: as given, else as the operator has it, else as the node."""
    operator = node.processes.find("operator")
    known = operator.options.given if isinstance(operator, Operator) else {}
    paths = {
        key: Path(str((given or {}).get(key) or known.get(key) or node.dictionary.get(key))).expanduser().absolute()
        for key in ("distr_dir", "archive_dir")
    }
    errors = Path(str(known.get("error_dir") or node.dictionary.get("err_dir"))).expanduser().absolute()
    return Folders(distr=paths["distr_dir"], archive=paths["archive_dir"], errors=errors)


def apart(node: Node, folders: Folders) -> str:
    """What the operator that runs has otherwise than these folders, in words; empty: nothing, or none runs.

    Its files would not be found, or what is archived could not be given to other members.
    """
    operator = node.processes.find("operator")
    if not isinstance(operator, Operator):
        return ""
    known = folders_of(node)
    for key, here, there in (
        ("distr_dir", folders.distr, known.distr),
        ("archive_dir", folders.archive, known.archive),
    ):
        if here != there:
            return f"{key} is {str(here)[:200]}, and the operator runs with {there}"
    return ""


class RunDistributor(Command):
    """Bring new files to the other members of the cluster, and then to the archive.

    From then on the operator puts the files of its own sources into the distribution directory. Each goes to every
    other operator of the cluster that is not known to be away, and is moved to the archive when all have it or failed
    to take it; what a member did not take its consumer fetches. Files named `backup.*` that are put there go to all
    nodes with a policy of the type `logger`, and then to `backup` in the archive. May be given before `run operator`,
    and waits for it.
    """

    words = "run data distributor"
    where = {
        "cluster_id": Text(help="only as a member of this cluster"),
        "distr_dir": Text(help="directory of the files"),
        "archive_dir": Text(help="root of the archive"),
    }
    examples = ("run data distributor", "run data distributor where cluster_id = 2436e8aeeee5f0b0d9a55aa8de396cc2")
    index = ("background processes", "configuration", "data")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 33, 136 or 211."""
        operator = node.processes.find("operator")
        if isinstance(operator, Operator) and operator.options.given.get("archive") is False:
            raise AnyLogError(2, "run data distributor: the operator has archive = false: peers could not be served")
        for key in ("distr_dir", "archive_dir"):
            if ".." in Path(options[key] or "").parts:
                raise AnyLogError(2, f"{self.words}: {key} = {options[key][:200]}: a path without '..' is needed")
        copying, folders = node.copying, folders_of(node, options)
        if folders.distr == folders.archive:
            raise AnyLogError(2, f"{self.words}: distr_dir and archive_dir are both {folders.distr}")
        if why := apart(node, folders):
            raise AnyLogError(2, f"{self.words}: {why}")
        await node.lanes.open("disk", 2).run(_check, node.disk, self.words, folders)
        await self._check_cluster(node, options["cluster_id"] or "")
        process = Distributor(
            clock=node.clock,
            disk=node.disk,
            lane=node.lanes.open("disk", 2),
            courier=copying.courier,
            cluster=copying.cluster,
            active=copying.active,
            folders=lambda: folders_of(node, options),
            logs=node.logs,
            only=options["cluster_id"] or "",
            apart=lambda: apart(node, folders_of(node, options)),
            unpushed=copying.unpushed.take,
            went=copying.went,
            backups=copying.backups,
            loggers=copying.loggers,
            point=copying.point,
        )
        await node.processes.start(process)
        return None

    async def _check_cluster(self, node: Node, id: str) -> None:
        """It is in the ledger, and the one of the operator that runs. Raises AnyLogError 2 or 211."""
        if id and node.clusters.share(id) is None:
            await node.refresh(True)  # it may have been added elsewhere a moment ago
            if node.clusters.share(id) is None:
                raise AnyLogError(211, f"{self.words}: no cluster with the id '{id[:80]}' is in the ledger")
        place = node.membership.place()
        if id and place is not None and place.cluster != id:
            raise AnyLogError(2, f"{self.words}: this node is in cluster {place.cluster}, not in {id[:80]}")


def _check(disk: Disk, words: str, folders: Folders) -> None:
    """In a lane. Raises AnyLogError 33."""
    for key, folder in (("distr_dir", folders.distr), ("archive_dir", folders.archive)):
        check_folder(disk, words, key, folder, make=True)


class GetDistributor(Command):
    """Show how many files wait to be brought to other members, and for each member what became of those before.

    Nodes that keep backups have `logger` instead of a member.
    """

    words = "get distributor"
    where = {"format": Format}
    examples = ("get distributor", "get distributor where format = json")
    index = ("monitor", "background processes")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = node.processes.find("distributor")
        if not isinstance(found, Distributor):
            return Result(text="Distributor not declared", data={"Status": "Not declared"})
        rows = []
        lines = dict(found.lines)
        for member in node.copying.members():
            lines.setdefault(member.address, Line(member.address, member.member or 0))
        for line in sorted(lines.values(), key=lambda each: (each.member, each.address)):
            status = "Active" if node.copying.active(line.address) else "Not Active"
            rows.append(
                {
                    "Peer": line.address,
                    "Member": line.member,
                    "Status": "Sending" if line.sending else status,
                    "Files": line.files,
                    "Errors": line.errors,
                    "Last File": line.last_file,
                    "Last Error": line.last_error,
                    "Last Time": _time(line.last_time),
                }
            )
        for _, logger in sorted(found.loggers.lines.items()):
            status = "Active" if node.copying.active(logger.address) else "Not Active"
            rows.append(
                {
                    "Peer": logger.address,
                    "Member": "logger",
                    "Status": "Sending" if logger.going else status,
                    "Files": logger.files,
                    "Errors": logger.errors,
                    "Last File": logger.last_file,
                    "Last Error": logger.last_error,
                    "Last Time": _time(logger.last_time),
                }
            )
        text = f"Files waiting: {found.waiting}{f' ({found.status})' if found.status else ''}\r\n"
        if found.left:
            text += f"Files left alone: {found.left} ({found.left_for})\r\n"
        text += "\r\n" + bar_table(_TITLES, [tuple(row.values()) for row in rows])
        data = {"Files waiting": found.waiting, "Status": found.status or "Running", "Peers": rows}
        if found.left:
            data |= {"Files left alone": found.left, "Reason": found.left_for}
        return Result(text=framed(text), data=data, format=options["format"] or "table")


class FileDeliver(Command):
    """Bring files of the archive to another member of the cluster: those of one table of files with these ids.

    `tsd_info`, or `tsd_` with the own member id, is for the files of this member's own sources. Ids are numbers and
    ranges such as `3,8,10-15`, without blanks; the end of a range is not included. Each is told with what came of it:
    taken; known, if the other has it already; missing, if there is no such file here; or why it failed.
    """

    words = "file deliver"
    operands = "[ip] [port] [table of files] [ids]"
    least = most = 4
    examples = ("file deliver 10.0.0.8 32148 tsd_128 3,8,10-15", "file deliver 10.0.0.8 32148 tsd_info 21")
    index = ("file", "data")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5, 20, 28, 40, 63 or 203."""
        host = f"[{operands[0]}]" if ":" in operands[0].strip("[]") else operands[0]
        peer, ids = address(f"{host}:{operands[1]}", "file deliver"), read_ids(operands[3])
        table = operands[2].lower()
        if not is_files(table):
            raise AnyLogError(28, f"file deliver: '{operands[2]}' is not a table of files: tsd_info, or tsd_ and an id")
        tsd = node.membership.tsd()
        if tsd is None:
            raise AnyLogError(5, "file deliver: almgm.tsd_info is not there")
        cluster = node.copying.cluster()
        if cluster is None:
            raise AnyLogError(203, "file deliver: this node has no place in a cluster: use 'run operator'")
        member = cluster.member if table == OWN else int(table.removeprefix("tsd_"))
        entries = await tsd.by_ids(OWN if member == cluster.member else table, ids)
        dates = {id: re.sub(r"\D", "", entry.time)[2:14] for id, entry in entries.items()}
        try:
            paths = await node.lanes.open("disk", 2).run(files_of, node.disk, folders_of(node), member, dates)
        except OSError as fault:
            raise AnyLogError(63, f"file deliver: {fault.strerror or fault}") from None
        wanted = [id for id in ids if id in paths]
        told = dict(zip(wanted, await node.copying.courier.send(peer, [paths[id] for id in wanted]), strict=True))
        rows = []
        for id in ids:
            what = told.get(id)
            result = what.kind if what is not None else "missing"
            rows.append({"ID": id, "Result": result, "File": paths[id].name if id in paths else "",
                         "Reason": what.why if what is not None else ""})  # fmt: skip
        text = bar_table(("ID", "Result", "File", "Reason"), [tuple(row.values()) for row in rows])
        return Result(text=framed(text), data=rows)


def read_ids(text: str) -> list[int]:
    """`3,8,10-15` as ids, each once, in order; the end of a range is not included. Raises AnyLogError 40."""
    if not _RANGES.fullmatch(text):
        raise AnyLogError(40, f"file deliver: '{text[:100]}' is not a list of ids such as 3,8,10-15")
    found: dict[int, None] = {}
    for part in text.split(","):
        first, _, end = part.partition("-")
        if end and int(end) <= int(first):
            raise AnyLogError(40, f"file deliver: the range {part} is empty, its end is not included")
        wanted = range(int(first), int(end) if end else int(first) + 1)
        if len(found) + min(len(wanted), IDS + 1) > IDS:
            raise AnyLogError(40, f"file deliver: more than {IDS:,} ids")
        found.update(dict.fromkeys(wanted))
    return sorted(found)


def files_of(disk: Disk, folders: Folders, member: int, dates: Mapping[int, str]) -> dict[int, Path]:
    """In a lane: where files lie, by the date of each id, 12 digits. Raises OSError."""
    found: dict[int, Path] = {}
    listed: dict[Path, dict[int, str]] = {}
    for id, date in dates.items():
        for folder in (folder_of(folders.archive, date), folders.distr):
            if folder not in listed:
                listed[folder] = ids_in(disk, folder, member)
            if id in listed[folder]:
                found[id] = folder / listed[folder][id]
                break
    return found


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""


COMMANDS: tuple[type[Command], ...] = (RunDistributor, GetDistributor, FileDeliver)
