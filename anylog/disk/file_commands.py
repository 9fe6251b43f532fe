"""Words about files of this node: copy, move, compress, hash, send and receive (operator-ha.md 13)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define
from twisted.internet.defer import Deferred

from anylog.disk.forms import decoded, encoded, gunzipped, gzipped, plain
from anylog.disk.steps import Steps
from anylog.disk.transfers import Job, Told, Work, converted, deleted, exists, hashed, moved, pages, received
from anylog.errors import AnyLogError
from anylog.interfaces import ILane
from anylog.language.command import Command, Flag, Text
from anylog.language.context import Context, Result
from anylog.language.statements import scope_of

if TYPE_CHECKING:
    from anylog.node import Node

# By what a reply of raw bytes is called. Nothing that a browser would run: it would run as a page of this node.
MEDIA = {
    "json": "application/json",
    "csv": "text/csv",
    **dict.fromkeys(("txt", "al", "log", "sql"), "text/plain"),
    "gz": "application/gzip",
    "png": "image/png",
    **dict.fromkeys(("jpg", "jpeg"), "image/jpeg"),
    "gif": "image/gif",
    "mp4": "video/mp4",
}


def lane_of(node: Node) -> ILane:
    """Files that somebody asked for never stand before those of readings: they have a lane of their own."""
    return node.lanes.open("files", 2)


def path_of(node: Node, context: Context, text: str) -> str:
    """A path as it was given; in double quotes, and after `!!` on this very node, a leading `!key` is not replaced yet.

    Raises AnyLogError 2 for a key that is not defined.
    """
    if not text.startswith("!"):
        return text
    path = scope_of(node, context).text("!" + text.lstrip("!"))
    if path is None:
        raise AnyLogError(2, f"Missing dictionary definition for '{text}'")
    return path


class _Converts(Command):
    """One file becomes another, or all that match do."""

    least, most = 1, 2
    operands = "[source] [target]"
    index = ("file",)
    guarded = True
    verb: ClassVar[str] = ""
    grows: ClassVar[bool] = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12, 14, 40, 63, 86, 119, 152, 212, 501 or 503."""
        job = Job(
            disk=node.disk,
            confines=node.file_access.confines(local=context.local),
            source=path_of(node, context, operands[0]),
            target=path_of(node, context, operands[1]) if len(operands) > 1 else "",
            transform=self.transform,
            grows=self.grows,
            suffix=self.name_of_target,
            skip=self.left_out,
            token=f"{node.chance.getrandbits(64):016x}",
        )
        told = await Steps(lane_of(node), self.work(job)).result()
        return Result(text=told.text(self.verb))

    def work(self, job: Job) -> Work[Told]:
        """What is done."""
        return converted(job)

    def transform(self, chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
        """The content of the target, of that of the source."""
        return plain(chunks, size)

    @staticmethod
    def name_of_target(name: str) -> str:
        """What a target is called that was not named."""
        return name

    @staticmethod
    def left_out(name: str) -> bool:
        """Whether a pattern leaves it out."""
        return False


class FileCopy(_Converts):
    """Copy a file, or all that match a pattern, to another place on this node.

    A pattern such as `dir/*.json` or `dir/pre*.typ*` needs a directory as the target. What is there is replaced, but
    for the watch directories: there an equal file is there already, and another one of that name is refused. A target
    appears whole or not at all. `run client (ip:port) file copy` brings files to another node.
    """

    words = "file copy"
    least = 2
    examples = ("file copy !err_dir/data.json !prep_dir/json.data", "file copy !prep_dir/bl*.js* !tmp_dir/")
    verb = "copied"


class FileMove(_Converts):
    """Move a file, or all that match a pattern, to a directory; or one file to a new name.

    In a watch directory nothing is replaced, as with `file copy`.
    """

    words = "file move"
    operands = "[source] [directory]"
    least = 2
    examples = ("file move !prep_dir/my_file !watch_dir", "file move !prep_dir/*.json !watch_dir")
    verb = "moved"

    def work(self, job: Job) -> Work[Told]:
        return moved(job)


class FileDelete(_Converts):
    """Delete a file, or all that match a pattern. Directories and links stay."""

    words = "file delete"
    operands = "[path]"
    most = 1
    examples = ("file delete !prep_dir/my_file", "file delete !tmp_dir/old*.json")
    verb = "deleted"

    def work(self, job: Job) -> Work[Told]:
        return deleted(job)


class FileCompress(_Converts):
    """Compress a file with gzip, or all that match a pattern; the source stays.

    Without a target the new file is beside the source, with .gz behind its name.
    """

    words = "file compress"
    operands = "[source] [[target]]"
    examples = ("file compress !prep_dir/data.json !tmp_dir/data.gz", "file compress !prep_dir/*.json")
    verb = "compressed"
    grows = False

    def transform(self, chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
        return gzipped(chunks, size)

    @staticmethod
    def name_of_target(name: str) -> str:
        return f"{name}.gz"

    @staticmethod
    def left_out(name: str) -> bool:
        return name.endswith(".gz")


class FileDecompress(_Converts):
    """Decompress a gzip file, or all that match a pattern; the source stays.

    Without a target the new file is beside the source: without its .gz, or with .dat behind its name.
    """

    words = "file decompress"
    operands = "[source] [[target]]"
    examples = ("file decompress !tmp_dir/data.gz !prep_dir/data.json", "file decompress !prep_dir/*.gz")
    verb = "decompressed"

    def transform(self, chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
        return gunzipped(chunks, size)

    @staticmethod
    def name_of_target(name: str) -> str:
        return name[:-3] if name.endswith(".gz") and len(name) > 3 else f"{name}.dat"


class FileEncode(_Converts):
    """Write a file as base64, or all that match a pattern; without a target with .msg behind its name."""

    words = "file encode"
    operands = "[source] [[target]]"
    examples = ("file encode !blobs_dir/face.png !tmp_dir/face.msg", "file encode !blobs_dir/*.png")
    verb = "encoded"

    def transform(self, chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
        return encoded(chunks, size)

    @staticmethod
    def name_of_target(name: str) -> str:
        return f"{name}.msg"


class FileDecode(_Converts):
    """Write what a base64 file stands for, or all that match a pattern; without a target with .png behind its name."""

    words = "file decode"
    operands = "[source] [[target]]"
    examples = ("file decode !tmp_dir/face.msg !blobs_dir/face.png", "file decode !tmp_dir/*.msg")
    verb = "decoded"

    def transform(self, chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
        return decoded(chunks, size)

    @staticmethod
    def name_of_target(name: str) -> str:
        return f"{name}.png"


class FileTest(Command):
    """Say true if a file exists, and false if it does not."""

    words = "file test"
    operands = "[path]"
    least = most = 1
    examples = ("file test !prep_dir/my_file", "there = file test !prep_dir/my_file")
    index = ("file", "test")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 119 or 212."""
        found = await lane_of(node).run(
            exists, node.file_access.confines(local=context.local), path_of(node, context, operands[0])
        )
        return Result(text="true" if found else "false", data=found)


class FileCheck(Command):
    """Say true if a file exists, and nothing if it does not: for `if not !key` in scripts."""

    words = "file check"
    operands = "[path]"
    least = most = 1
    examples = ("there = file check !prep_dir/my_file",)
    index = ("file", "test", "script")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 119 or 212."""
        found = await lane_of(node).run(
            exists, node.file_access.confines(local=context.local), path_of(node, context, operands[0])
        )
        return Result(text="true" if found else "")


class FileHash(Command):
    """Show the md5 of a file's content.

    The hash in the name of a data file differs: it covers the names of database and table, too.
    """

    words = "file hash"
    operands = "[path]"
    least = most = 1
    examples = ("file hash !prep_dir/my_file", "hash = file hash !prep_dir/my_file")
    index = ("file",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12, 40, 63, 119 or 212."""
        work = hashed(node.file_access.confines(local=context.local), path_of(node, context, operands[0]))
        return Result(text=await Steps(lane_of(node), work).result())


class FileTo(Command):
    """Store the file that comes with a REST call, or a copy of one of this node's, under a path.

    curl sends a file with `-F file=@data.json` or `--data-binary @data.json`. If the path is a directory, the file
    keeps the name it was sent with. A path in a watch directory is read like any other file there.
    """

    words = "file to"
    operands = "[path]"
    most = 1
    where = {
        "dest": Text(also=("path",), help="where it is stored, if that is not said before 'where'"),
        "source": Text(help="a file of this node; without it the file comes with the REST call"),
    }
    examples = (
        "file to !prep_dir/data.json",
        "file to where dest = !prep_dir/data.json",
        "file to !prep_dir/data.json where source = !tmp_dir/data.json",
    )
    index = ("file",)
    http = ("POST", "GET")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 or 301 besides what `file copy` raises."""
        named, dest = (operands[0] if operands else ""), options["dest"] or ""
        if bool(named) == bool(dest):
            raise AnyLogError(2, f"file to: {'the path is given twice' if named else 'a path is missing'}")
        job = Job(
            disk=node.disk,
            confines=node.file_access.confines(local=context.local),
            source=path_of(node, context, options["source"] or ""),
            target=path_of(node, context, named or dest),
            token=f"{node.chance.getrandbits(64):016x}",
        )
        if job.source:
            work = converted(job)
        elif context.upload is not None:
            work = received(job, context.upload)
        else:
            raise AnyLogError(301, "file to: no file came with the call, and 'source' names none")
        return Result(text=(await Steps(lane_of(node), work).result()).text("copied"))


class FileFrom(Command):
    """Give the content of a file, byte by byte: as the reply of a REST call, in pages."""

    words = "file from"
    operands = "[path]"
    least = most = 1
    examples = ("file from !prep_dir/data.json",)
    index = ("file",)
    http = ("GET",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12, 40, 63, 119 or 212."""
        path = path_of(node, context, operands[0])
        kind = path.rpartition(".")[2].lower()
        content = Content(
            MEDIA.get(kind, "application/octet-stream"),
            Steps(lane_of(node), pages(node.file_access.confines(local=context.local), path)),
        )
        return Result(pages=content)


@define(eq=False)
class Content:
    """A file in pages, see `language.context.Pages`."""

    media: str
    _steps: Steps[bytes, None]

    def next(self) -> Deferred[bytes | None]:
        """The next slice. Fails with AnyLogError."""
        return self._steps.next().addCallback(lambda slice: slice[0])

    def close(self) -> None:
        """Let go of the file."""
        self._steps.close()


class FileGet(Command):
    """Fetch a file from another node, or all that match a pattern, as a part of `run client`.

    `!!key` is a key of the other node, `!key` one of this node. A target that is a directory keeps the name. It appears
    whole or not at all; what broke off goes on where it ended when the command is given again. The other node gives
    files after `set authentication off`. On one node there is `file copy`.
    """

    words = "file get"
    operands = "[source] [target]"
    most = None
    examples = ("file get !!blockchain_file !tmp_dir/blockchain.json", "file get !!prep_dir/bl*.js* !prep_dir/")
    index = ("file", "network")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 237."""
        raise AnyLogError(
            237,
            "file get: from which node? 'run client (ip:port) file get SOURCE TARGET'; on one node use 'file copy'",
        )


class SetFileAccess(Command):
    """Say which directories `file` commands may use besides the node's own; each call replaces what was said before.

    Without `path` and with `any = false` they keep to the directories of the node. `any = true` opens the whole
    machine. Either holds for who asks from this machine: others never see more than the node's own directories, and
    nobody can change its journal and its identity.
    """

    words = "set file access"
    where = {
        "path": Text(many=True, help="a directory that is opened, with all below it"),
        "any": Flag(default=False, help="open all directories"),
    }
    examples = (
        "set file access where path = /mnt/usb and path = /data/import",
        "set file access where any = true",
        "set file access where any = false",
    )
    index = ("file", "configuration", "secure")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 175 for a path that does not begin with `/`."""
        for path in options["path"]:
            if not path.startswith("/") or "\0" in path:
                raise AnyLogError(175, f"set file access: '{path}' does not begin with '/'")
        node.file_access.paths, node.file_access.any = tuple(options["path"]), options["any"]
        return None


class GetFileAccess(Command):
    """Show which directories the `file` commands may use."""

    words = "get file access"
    examples = ("get file access",)
    index = ("file", "configuration", "secure")
    http = ("GET",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        within = [str(path) for path in node.file_access.confines(local=True).within]
        return Result(text="\r\n".join(within), data=within)


COMMANDS: tuple[type[Command], ...] = (
    FileCopy,
    FileMove,
    FileDelete,
    FileCompress,
    FileDecompress,
    FileEncode,
    FileDecode,
    FileTest,
    FileCheck,
    FileHash,
    FileTo,
    FileFrom,
    FileGet,
    SetFileAccess,
    GetFileAccess,
)
