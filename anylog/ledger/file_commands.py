"""Words about where the metadata is kept: the file, the master's database, another node (metadata.md 4.4, 4.5)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.language.command import Command, Text
from anylog.language.context import Context, Result
from anylog.ledger.lines import read_lines
from anylog.ledger.policy import new_id
from anylog.ledger.reading_commands import Question, policy_of
from anylog.ledger.sending import fetch
from anylog.waiting import deadline

if TYPE_CHECKING:
    from anylog.node import Node

PATIENCE = 15.0  # seconds that `blockchain wait` waits beyond the time between synchronisations
SYNC_TIME = 30.0  # where that is not known


async def _read(node: Node, path: Path) -> bytes:
    try:
        return await node.lanes.open("disk", 2).run(node.disk.read, path)
    except FileNotFoundError:
        raise AnyLogError(58, f"{path} does not exist") from None
    except OSError as fault:
        raise AnyLogError(63, f"{path}: {fault}") from fault


async def _write(node: Node, path: Path, data: bytes) -> None:
    def publish() -> None:
        with suppress(FileNotFoundError):
            if node.disk.stat(path)[2] not in ("file", "link"):
                raise AnyLogError(14, f"{path} is there, and no file: it is not replaced", http=400)
        node.disk.publish(path, data)

    try:
        await node.lanes.open("disk", 2).run(publish)
    except OSError as fault:
        raise AnyLogError(503 if fault.errno == errno.ENOSPC else 14, f"{path}: {fault}") from fault


class LoadMetadata(Command):
    """Read the file with this node's metadata again."""

    words = "blockchain load metadata"
    also = ("blockchain reload metadata",)
    examples = ("blockchain reload metadata",)
    index = ("blockchain",)
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        await node.ledger.load()
        return None


class UpdateFile(Command):
    """Make a downloaded file, or `blockchain.new`, this node's metadata; the old one is kept as `.old`."""

    words = "blockchain update file"
    operands = "[path]"
    most = 1
    examples = ("blockchain update file", "blockchain update file !blockchain_new")
    index = ("blockchain",)
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        path = Path(operands[0]) if operands else node.ledger.path.with_suffix(".new")
        await node.ledger.take(await _read(node, path))
        return None


class UpdateDBMS(Command):
    """Copy a file of policies, or the local one, into this master's database, and say how many were new."""

    words = "blockchain update dbms"
    operands = "[path] [ignore message]"
    most = 3
    examples = ("blockchain update dbms", "blockchain update dbms !blockchain_file ignore message")
    index = ("blockchain", "master")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        quiet = [word.lower() for word in operands[-2:]] == ["ignore", "message"]
        named = operands[:-2] if quiet else operands
        if len(named) > 1:
            raise AnyLogError(2, f"{self.words}: unexpected '{named[1]}'; usage: {self.usage_text()}")
        path = Path(named[0]) if named else node.ledger.path
        if node.master is None:
            raise AnyLogError(30, f"{self.words}: table 'ledger' of database 'blockchain' is not connected", http=400)
        lines = read_lines(await _read(node, path))
        before = len(node.master)
        outcomes = await node.master.push(lines.policies, node.address, True)
        wrong = [outcome for outcome in outcomes if outcome.code]
        told = f"{len(node.master) - before} policies added"
        if wrong and not quiet:
            told += f"; {len(wrong)} refused, the first: {wrong[0].text}"
        if lines.faults and not quiet:
            number, why = lines.faults[0]
            told += f"; {len(lines.faults)} lines left out, the first: line {number}: {why}"
        return Result(text=told, data=len(node.master) - before)


class PullTo(Command):
    """Write the policies of this master's database to a file: as JSON lines or as SQL; or show them (`stdout`)."""

    words = "blockchain pull to"
    operands = "json | sql | stdout [path]"
    least, most = 1, 2
    examples = ("blockchain pull to json", "blockchain pull to stdout")
    index = ("blockchain", "master")
    guarded = here = True
    kinds: ClassVar[dict[str, str]] = {"json": "json", "log": "json", "sql": "sql", "dbms": "sql", "stdout": "stdout"}

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        kind = self.kinds.get(operands[0].lower())
        if kind is None:
            raise AnyLogError(2, f"{self.words}: '{operands[0]}' is not one of json, sql, stdout")
        if node.master is None:
            raise AnyLogError(30, f"{self.words}: table 'ledger' of database 'blockchain' is not connected", http=400)
        data = node.master.data
        if kind == "stdout":
            return Result(text=data.decode())
        path = (
            Path(operands[1])
            if len(operands) > 1
            else node.ledger.path.with_suffix(".new" if kind == "json" else ".sql")
        )
        if kind == "sql":
            data = "".join(
                "insert into ledger (policy_type, policy_id, company_name, date, policy) values "
                f"({', '.join(map(_quoted, (each.type, each.id, each.text_of('company'), each.date, each.text)))});\n"
                for each in read_lines(data).policies
            ).encode()
        await _write(node, path, data)
        return None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class CreateTable(Command):
    """Create the table of the metadata in the database `blockchain`, which makes this node a master."""

    words = "blockchain create table"
    examples = ("blockchain create table",)
    index = ("blockchain", "master")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return await node.execute("create table ledger where dbms = blockchain", context)


class DropTable(Command):
    """Delete the table of the metadata with all policies in it."""

    words = "blockchain drop table"
    examples = ("blockchain drop table",)
    index = ("blockchain", "master")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return await node.execute("drop table ledger where dbms = blockchain", context)


class DeleteLocalFile(Command):
    """Remove the file with this node's metadata, and forget what was in it."""

    words = "blockchain delete local file"
    examples = ("blockchain delete local file",)
    index = ("blockchain",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        await node.ledger.clear()
        return None


class SeedFrom(Command):
    """Copy the metadata of another node, any member of the network."""

    words = "blockchain seed from"
    also = ("seed from",)
    operands = "[ip:port]"
    least = most = 1
    examples = ("blockchain seed from 10.0.0.7:32048",)
    index = ("blockchain",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        data = await fetch(node, operands[0], seed=True)
        if data is not None:
            await node.ledger.take(data)
        return None


class Wait(Command):
    """Synchronise, and wait until a policy is in the local ledger, or a metadata query finds something.

    It waits no longer than the time between synchronisations and 15 seconds; assigned to a key it gives true or false,
    else not finding it is an error.
    """

    words = "blockchain wait"
    also = ("blockchain wait for",)
    operands = "[!policy]"
    most = 1
    where = {
        "policy": Text(late=True, help="a policy, or !key"),
        "id": Text(help="of a policy"),
        "command": Text(help='a query in quotes: "blockchain get ..."'),
    }
    examples = (
        "blockchain wait where id = 52612f21b18cf29f7d2e511e3ca56ca6",
        'blockchain wait where command = "blockchain get operator where name = my-operator1"',
    )
    index = ("blockchain",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = self._test(node, context, operands, options)
        try:
            await node.refresh()
        except AnyLogError as error:
            node.logs.event.add("Warning", f"{self.words}: {error}", context.who)
        process: Any = node.processes.find("synchronizer")
        limit = float(getattr(process, "every", SYNC_TIME)) + PATIENCE
        if await _until(node, found, limit):
            return Result(data=True, format="json")
        what = options["id"] or options["command"] or options["policy"] or " ".join(operands)
        missing = AnyLogError(151, f"{self.words}: after {limit:g} seconds the local ledger has no {what[:80]}")
        return Result(data=False, format="json", unassigned=missing)

    def _test(
        self, node: Node, context: Context, operands: Sequence[str], options: dict[str, Any]
    ) -> Callable[[], bool]:
        given = [name for name in ("policy", "id", "command") if options[name]]
        if len(given) + len(operands) != 1:
            raise AnyLogError(2, f"{self.words}: one of 'policy', 'id' and 'command' is needed")
        if options["command"]:
            text = options["command"].strip()
            begin = "blockchain get"
            if not text.lower().startswith(begin):
                raise AnyLogError(2, f"{self.words}: '{text[:80]}' is no 'blockchain get ...'")
            question = Question.read(text[len(begin) :])
            return lambda: bool(question.find(node, node.ledger.policies))
        ident = options["id"]
        if not ident:
            policy = policy_of(options["policy"] or operands[0], node, context)
            ident = policy.id or new_id(policy)
        return lambda: ident in node.ledger.policies


async def _until(node: Node, found: Callable[[], bool], limit: float) -> bool:
    """Whether it was found within so many seconds."""
    if found():
        return True
    waited: Deferred[None] = Deferred()
    leave = node.ledger.watch(lambda: waited.callback(None) if not waited.called and found() else None)
    try:
        await deadline(node.clock, limit, waited, "blockchain wait")
    except AnyLogError:
        return found()
    finally:
        leave()
    return True


COMMANDS: tuple[type[Command], ...] = (
    LoadMetadata,
    UpdateFile,
    UpdateDBMS,
    PullTo,
    CreateTable,
    DropTable,
    DeleteLocalFile,
    SeedFrom,
    Wait,
)
