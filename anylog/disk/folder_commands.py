"""Words about directories of this node: what lies in them, how large they are, how old (operator-ha.md 13)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define
from twisted.internet.defer import Deferred, succeed

from anylog.disk.file_commands import lane_of, path_of
from anylog.disk.folders import FILE, FOLDER, access, in_pages, listed, old_days, sizes, timestamp, without_days
from anylog.disk.steps import Steps
from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Flag, Format, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed

if TYPE_CHECKING:
    from anylog.node import Node

SHORT = 1000  # names that are given at once; more come in pages

STRUCTURE = (
    "[dbms name].[table name].[data source].[hash value].[mapping policy].[TSD member ID].[TSD row ID].[TSD date].json"
)


@define(eq=False)
class Listing:
    """A long listing in pages, see `language.context.Pages`."""

    media: str
    _pages: list[bytes]

    def next(self) -> Deferred[bytes | None]:
        """The next page."""
        return succeed(self._pages.pop(0) if self._pages else None)

    def close(self) -> None:
        """Forget the rest."""
        self._pages.clear()


async def listing(
    node: Node,
    context: Context,
    folder: str,
    kind: str,
    form: str | None,
    fits: Callable[[str], bool] = lambda name: True,
) -> Result:
    """Names in a directory, one a line; as JSON they are a list."""
    lane, confines = lane_of(node), node.file_access.confines(local=context.local)
    names = await Steps(lane, listed(confines, path_of(node, context, folder), kind, fits)).result()
    if form == "json" or len(names) <= SHORT:
        return Result(text="\r\n".join(names), data=names, format=form or "text")
    return Result(pages=Listing("text/plain", await Steps(lane, in_pages(names)).result()))


class _Lists(Command):
    """Names in a directory."""

    operands = "[directory]"
    least = most = 1
    where = {"format": Format}
    index = ("file", "monitor")
    http = ("GET",)
    kind: ClassVar[str] = FILE

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12, 63, 77, 119 or 212."""
        return await listing(node, context, operands[0], self.kind, options["format"])


class GetFiles(_Lists):
    """List the files in a directory of the node, by name.

    On another node: `run client (ip:port) get files !!key`.
    """

    words = "get files"
    examples = ("get files !archive_dir/21/04/04", "get files !err_dir where format = json")


class GetDirectories(_Lists):
    """List the directories in a directory of the node, by name."""

    words = "get directories"
    examples = ("get directories !archive_dir",)
    kind = FOLDER


class GetFilesIn(Command):
    """List the files of a type in a directory, or those whose name holds a hash.

    The type is what stands behind the last dot; compressed files are of both types, so json finds x.json.gz, too.
    """

    words = "get files in"
    operands = "[directory]"
    least = most = 1
    where = {
        "type": Text(help="what stands behind the last dot of the name"),
        "hash": Text(help="the hash in the name"),
        "format": Format,
    }
    examples = (
        "get files in !archive_dir/21/04/04 where type = json",
        "get files in !archive_dir/21/04/04 where type = json and hash = bd617b6ddb873750d9db561814297f23",
    )
    index = ("file", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12, 63, 77, 119 or 212."""
        kind, wanted = (options["type"] or "").lstrip("*").lstrip(".").lower(), (options["hash"] or "").lower()

        def fits(name: str) -> bool:
            parts = name.lower().split(".")
            if kind and not any(".".join(parts).endswith(f".{kind}{packed}") for packed in ("", ".gz")):
                return False
            return not wanted or wanted in parts

        return await listing(node, context, operands[0], FILE, options["format"], fits)


class GetArchivedFiles(Command):
    """List the files that were archived on a day, in UTC."""

    words = "get archived files"
    operands = "[YYYY-MM-DD]"
    least = most = 1
    where = {"format": Format}
    examples = ("get archived files 2026-11-20",)
    index = ("file", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """A day without files is an empty list. Raises AnyLogError 63, 77, 119, 175 or 212."""
        folder = day_folder(archive_of(node), operands[0])
        try:
            return await listing(node, context, folder, FILE, options["format"])
        except AnyLogError as error:
            if error.number != 12:
                raise
        return Result(text="", data=[], format=options["format"] or "text")


class GetSize(Command):
    """Show how many files and bytes a directory holds with all below it, then each directory in it.

    With a date it is the directory of that day, as in the archive: `!archive_dir 2026-11-20` is !archive_dir/26/11/20.
    """

    words = "get size"
    operands = "[directory] [[YYYY-MM-DD]]"
    least, most = 1, 2
    where = {"format": Format}
    examples = ("get size !archive_dir", "get size !archive_dir 2026-11-20")
    index = ("file", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12, 63, 77, 119, 175 or 212."""
        folder = path_of(node, context, operands[0])
        if len(operands) > 1:
            folder = day_folder(folder, operands[1])
        found = await Steps(lane_of(node), sizes(node.file_access.confines(local=context.local), folder)).result()
        rows = [(each.name, f"{each.files:,}", f"{each.size:,}") for each in found]
        data = [{"Directory": each.name, "Files": each.files, "Size": each.size} for each in found]
        text = framed(bar_table(("Directory", "Files", "Size(Bytes)"), rows))
        return Result(text=text, data=data, format=options["format"] or "table")


class GetFileTimestamp(Command):
    """Show when a file was last changed, in UTC."""

    words = "get file timestamp"
    operands = "[path]"
    least = most = 1
    examples = ("get file timestamp !blockchain_file",)
    index = ("file", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12, 63, 119 or 212."""
        confines = node.file_access.confines(local=context.local)
        return Result(text=await lane_of(node).run(timestamp, confines, path_of(node, context, operands[0])))


class GetAccess(Command):
    """Show what the node may do with a file or a directory: read, write, execute."""

    words = "get access"
    operands = "[path]"
    least = most = 1
    where = {"format": Format}
    examples = ("get access !watch_dir", "get access !blockchain_file where format = json")
    index = ("file", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12, 63, 119 or 212."""
        confines = node.file_access.confines(local=context.local)
        data = await lane_of(node).run(access, confines, path_of(node, context, operands[0]))
        rights = [right for right in ("read", "write", "execute") if data[right]]
        text = f"{data['mode']} {', '.join(rights) or 'no access'}"
        return Result(text=text, data=data, format=options["format"] or "text")


class GetJsonFileStructure(Command):
    """Show how files of readings are named: with the first two parts, or with all of them once they are registered.

    A file that names a mapping policy is mapped by it when it is loaded; `0` is none.
    """

    words = "get json file structure"
    also = ("get json file struct", "show json file structure", "show json file struct")
    examples = ("get json file structure",)
    index = ("file", "data")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=STRUCTURE)


class DeleteArchive(Command):
    """Delete the days of the archive that are older than a number of days, in UTC; 0 keeps today alone.

    What is deleted cannot be loaded again from here, nor be given to a member of the cluster that misses it. So the
    other members are asked, and days stay whose files are not all at each of them at that moment, unless `force =
    true`: all of them while one of these does not answer, says that it is syncing, or while no operator runs here. The
    only operator of its cluster keeps nothing. Rows in databases stay.
    """

    words = "delete archive"
    where = {
        "days": Whole(required=True, least=0, most=100_000, help="days before today that are kept"),
        "force": Flag(default=False, help="also days that other members may miss"),
    }
    examples = ("delete archive where days = 30", "delete archive where days = 30 and force = true")
    index = ("file", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 if other members may miss all of it, 12, 14, 63 or 212."""
        today = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=unix(node.clock))).date()
        before = max(today.toordinal() - options["days"], 1)
        confines = node.file_access.confines(local=context.local)
        archive, lane = archive_of(node), lane_of(node)
        days = await Steps(lane, old_days(confines, archive, date.fromordinal(before))).result()
        known = set(days) if options["force"] else await node.copying.copied(days, Path(archive))
        told = await Steps(lane, without_days(confines, archive, [day for day in days if day in known])).result()
        kept = len(days) - len(known & set(days))
        data = {"days": told.days, "files": told.files, "bytes": told.size}
        text = f"Days: {told.days:,}, files: {told.files:,}, bytes: {told.size:,}"
        if kept:
            data["kept"] = kept
            text += f"; {kept:,} days are kept: other members may miss their files (force = true deletes them)"
        if kept and not known:
            raise AnyLogError(2, f"{self.words}: {text}")
        return Result(text=text, data=data)


def archive_of(node: Node) -> str:
    """The root of the archive: that of the operator that runs, else where a script has put it, or the node's own."""
    folders = node.copying.folders()
    if folders is not None:
        return str(folders.archive)
    told = node.dictionary.get("archive_dir")
    return told if isinstance(told, str) and told.startswith("/") else str(node.places.folder("archive_dir"))


def day_folder(root: str, day: str) -> str:
    """`root/YY/MM/DD` of a day YYYY-MM-DD. AnyLogError 175 if it is none."""
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
            raise ValueError
        found = date.fromisoformat(day)
    except ValueError:
        raise AnyLogError(175, f"'{day[:40]}' is not a day as YYYY-MM-DD") from None
    return f"{root.rstrip('/')}/{found:%y/%m/%d}"


COMMANDS: tuple[type[Command], ...] = (
    GetFiles,
    GetDirectories,
    GetFilesIn,
    GetArchivedFiles,
    GetSize,
    GetFileTimestamp,
    GetAccess,
    GetJsonFileStructure,
    DeleteArchive,
)
