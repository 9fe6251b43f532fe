"""Words for other nodes: run client, tests of the network, jobs (network.md 5, 7, 11)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.jobs import COMPLETED, STOPPED, UNREACHED, Job
from anylog.language.command import Command, Format
from anylog.language.context import Context, Result
from anylog.language.replies import Replies
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table, framed
from anylog.language.where import replaced
from anylog.network.client import LONGEST, value_of
from anylog.network.destination import NODES, Destination, checked, read_destination, read_group
from anylog.network.transfer_commands import Ask, prepared
from anylog.waiting import deadline

if TYPE_CHECKING:
    from anylog.node import Node

PATIENCE = 4.0  # seconds that a test of other nodes takes at most
LARGE = 600_000  # characters of a command
INLINE = 8 << 10  # and of one that travels in the head of the question
UNREACHABLE = (8, 15, 26, 208)

log = Logger()


async def resolved(node: Node, context: Context, found: Destination) -> list[str]:
    """ip:port of the nodes that are meant. Raises AnyLogError 20 or 155."""
    addresses = list(found.addresses)
    for asked in found.queries:
        query = asked if " bring" in asked else f"{asked} bring.ip_port"
        result = await node.execute(f"blockchain get {query}", context)
        text = result.text if result.text is not None else ",".join(map(str, result.data or ()))
        addresses += [checked(each) for each in re.split(r"[\s,]+", text) if each]
    if found.dbms:
        for table in [found.table] if found.table else node.clusters.tables(found.dbms):
            for share in node.clusters.shares(found.dbms, table):
                addresses += [each.address for each in share.operators if each.address]
    if not addresses:
        what = ", ".join(found.queries) or (f"dbms = {found.dbms} and table = {found.table}" if found.dbms else "")
        raise AnyLogError(155, f"no node is found by ({what})" if what else "no node is named")
    return list(dict.fromkeys(addresses))


async def ask_nodes(
    node: Node,
    context: Context,
    text: str,
    addresses: Sequence[str],
    *,
    subset: bool = False,
    timeout: float | None = None,
    do: Ask | None = None,
) -> Result:
    """Run a command on nodes and collect what they answer; or `do` something else with each of them.

    Without `subset` the first failure in the order of the nodes is raised: AnyLogError 208, 15, 26 or what the node
    said, its `node` the address. With it the error that a node tells is its reply; one that does not respond has none,
    and is named as such in the text and to REST.
    """
    now = node.clock.seconds()
    ends = [each for each in (context.deadline, None if timeout is None else now + timeout) if each is not None]
    until = min(ends, default=now + LONGEST)
    job = node.jobs.open(text, "rest" if context.origin == "rest" else "stdout")
    parts = [job.part(address, now) for address in addresses]
    head: dict[str, Any] = {"wants": True}
    body = b""
    if len(text) < INLINE:
        head["text"] = text
    else:
        body = text.encode("utf-8", "replace")

    def ask(address: str) -> Deferred[Any]:
        if do is not None:
            left = min(ends) - now if ends else None
            return deadline(
                node.clock, left if left is None else max(left, 0.001), do(address), f"{address}: {text[:100]}"
            )
        reply = node.peers.ask(address, "command", head, body, until=until, hops=context.hops)
        return reply.addCallback(lambda reply: Deferred.fromCoroutine(value_of(reply)))

    sends = node.peers.sends if do is None else None  # who does something else has a limit of its own
    asked = [ask(address) if sends is None else sends.run(ask, address) for address in addresses]

    def stop() -> None:
        for each in asked:
            each.cancel()

    job.stop = stop
    answers: list[tuple[str, Any]] = []
    told: list[tuple[str, Any]] = []  # errors of nodes
    lines: list[str] = []
    failure: AnyLogError | None = None
    outcome: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
    if job.active and any(not fine and found.check(CancelledError) for fine, found in outcome):
        # Nobody waits any more. Being cancelled a list of Deferreds ends well.
        for part in parts:
            part.status, part.ended = STOPPED, node.clock.seconds()
        job.end(STOPPED, node.clock.seconds())
        raise CancelledError
    for address, part, (fine, found) in zip(addresses, parts, outcome, strict=True):
        part.ended = node.clock.seconds()
        if fine:
            part.status = COMPLETED
            said, value = found
            answers.append((address, value))
            lines.append(f"[From Node {address}]\r\n{said.strip()}" if said.strip() else f"[From Node {address}]")
            continue
        error = found.value
        if isinstance(error, CancelledError):  # by `job stop`
            error, part.status = AnyLogError(23, f"{address}: stopped"), STOPPED
        elif not isinstance(error, AnyLogError):
            log.failure("the answer of {address}", found, address=address)
            error = AnyLogError(21, f"{address}: {type(error).__name__}")
        unreached = error.number in UNREACHABLE
        if part.status != STOPPED:
            part.status = UNREACHED if unreached else f"Error: {error}"
        lines.append(f"[From Node {address}] {'Not responding' if unreached else 'Failed'}: {error}")
        if not unreached:
            told.append((address, str(error)))
        if failure is None:
            http = error.http if unreached else 502
            failure = AnyLogError(error.number, f"{address}: {error}" if address not in str(error) else str(error),
                                  http=http, node=address)  # fmt: skip
    job.end(COMPLETED if failure is None else f"Error: {failure}", node.clock.seconds())
    if failure is not None and not subset:
        failure.kept = Replies(list(addresses), answers) if answers else None
        raise failure
    there = dict([*answers, *told])
    replies = Replies(list(addresses), [(address, there[address]) for address in addresses if address in there])
    return Result(
        text="\r\n\r\n".join(lines),
        data={address: there.get(address, "Not responding") for address in addresses},
        format="json" if context.origin == "rest" else "text",
        replies=replies,
    )


class RunClient(Command):
    """Send a command to other nodes and show their replies.

    The destination is ip:port, or in parentheses: several of them; `operator where ...`, `master` or any `blockchain
    get ...` of policies of nodes; `dbms = d and table = t` for the operators of a table; and `()` before `sql`, for
    whoever holds its table. `subset = true` accepts that some do not answer, `timeout = n` limits the wait in seconds.

    References `!key` are replaced here, `!!key` on the nodes. Assigned, `x = ` keeps the reply of one node or a list,
    `x[] = ` pairs of address and reply, `x{} = ` replies by address; `!x.len`, `!x.replies` and `!x.diff` tell how many
    nodes were asked, have answered, have not.

    `file copy SOURCE TARGET` brings a file of this node, or all that match a pattern, to the nodes, `file get SOURCE
    TARGET` fetches them from one node. `!!key` is a key of the other node. A target that is a directory keeps the
    names; it appears whole or not at all. What broke off goes on where it ended when the command is given again. The
    other node takes part in it after `set authentication off`.
    """

    words = "run client"
    operands = "([destination]) [command]"
    least = most = 1
    raw = literal = True
    usage = "run client ([destination] [, subset = true/false] [, timeout = seconds]) [command]"
    examples = (
        "run client (10.0.0.5:32148, 10.0.0.6:32148) get status",
        'run client (operator where company = "My Company", subset = true, timeout = 3) get processes',
        'run client () sql town format = table "select count(*) from weather"',
        "x{} = run client (operator) get status",
        "run client (10.0.0.5:32148, 10.0.0.6:32148) file copy !prep_dir/bl*.js* !!prep_dir/",
        "run client (10.0.0.5:32148) file get !!blockchain_file !tmp_dir/",
    )
    index = ("query", "secure network", "monitor")
    http = ("POST",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 15, 20, 26, 155, 182, 208, 237, 262, and what the nodes say."""
        scope = scope_of(node, context)
        found, command = read_destination(operands[0], scope)
        if not command:
            raise AnyLogError(
                262, "run client: a command is missing; a console is assigned to nodes by its own program"
            )
        if command[:1] == '"' and command[-1:] == '"' and command.count('"') == 2:
            command = command[1:-1].strip()
        subset = found.subset or context.subset
        words = command.split(None, 1)
        transfer = " ".join(command.lower().split(None, 2)[:2])
        if transfer == "file deliver":
            raise AnyLogError(237, f"not in this build: {transfer}, between nodes")
        if transfer in ("file copy", "file get"):
            addresses = await resolved(node, context, found)
            rest = command.split(None, 2)[2] if len(command.split(None, 2)) > 2 else ""
            do = prepared(node, context, transfer[5:], rest, addresses)
            return await ask_nodes(node, context, command, addresses, subset=subset, timeout=found.timeout, do=do)
        text = replaced(command, scope, documents=True)
        if len(text) > LARGE:
            raise AnyLogError(2, f"run client: a command of {len(text):,} characters, at most {LARGE:,}")
        if words[0].lower() == "sql":
            from anylog.query.network import network_sql

            line = text.split(None, 1)[1] if len(words) > 1 else ""
            # Members of a cluster hold the same rows: of those who have a table, one of each cluster is asked.
            dbms = line.split(None, 1)[0].lower() if line else ""
            whoever = found.ledger or (bool(dbms) and found.dbms == dbms and not (found.addresses or found.queries))
            targets = None if whoever else await resolved(node, context, found)
            return await network_sql(node, context, line, targets, subset=subset, timeout=found.timeout)
        if found.ledger:
            raise AnyLogError(155, "run client (): an empty destination is for sql only")
        addresses = await resolved(node, context, found)
        return await ask_nodes(node, context, text, addresses, subset=subset, timeout=found.timeout)


def _titled(titles: Sequence[str], rows: Sequence[Sequence[Any]], format: str | None) -> Result:
    data = [dict(zip(titles, row, strict=True)) for row in rows]
    return Result(text=framed(bar_table(titles, rows)), data=data, format=format or "table")


async def _outcome(waiting: Deferred[Any]) -> tuple[bool, Any]:
    """Whether it went well, and the value or the error."""
    ((fine, value),) = await DeferredList([waiting], consumeErrors=True)
    return fine, value if fine else value.value


class TestNode(Command):
    """Test this node: its copy of the metadata, its door for other nodes, its REST server."""

    words = "test node"
    where = {"format": Format}
    examples = ("test node",)
    index = ("test", "node info")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        ledger = node.ledger
        whole = "Pass" if ledger.test() else "Failed"
        rows = [("Metadata Version", ledger.version), ("Metadata Test", whole)]
        for title, name in (("TCP test", "tcp"), ("REST test", "rest")):
            server: Any = node.processes.find(name)
            if server is None:
                rows.append((title, "[Not declared]"))
                continue
            address = server.addresses()[1]
            fine, told = await _outcome(_reached(node, address, name))
            rows.append((title, str(told) if fine else f"[Failed] {told}"))
        return _titled(("Test", "Status"), rows, options["format"])


def _reached(node: Node, address: str, name: str) -> Deferred[str]:
    async def tcp() -> str:
        until = node.clock.seconds() + PATIENCE
        reply = await node.peers.ask(address, "command", {"text": "get status"}, until=until)
        return (await value_of(reply))[0]

    async def rest() -> str:
        from anylog.network.probe import probe

        return await probe(node.net, node.clock, address, PATIENCE)

    return Deferred.fromCoroutine(tcp() if name == "tcp" else rest())


class TestConnection(Command):
    """Say whether something listens at an address, and why not if not. Assigned it is true or false."""

    words = "test connection"
    operands = "[ip:port]"
    least, most = 1, 2
    examples = ("test connection 10.0.0.5:32148", "there = test connection !ledger_conn")
    index = ("test", "node info")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        from anylog.network.probe import opened

        address = ":".join(operands)
        read_group(address, scope_of(node, context))
        try:
            await opened(node.net, node.clock, address, 5.0)
        except AnyLogError as failed:
            return Result(text=f"Failed: {failed}", data=False, value=False)
        return Result(text="Success", data=True, value=True)


class TestNetwork(Command):
    """Ask every node of the ledger whether it is there; `+` means that it answered.

    `with operator` or `with ip:port` takes some of them. `metadata version` shows the version of the ledger that each
    has.
    """

    words = "test network"
    operands = "[with type | with ip:port | metadata version]"
    most = 3
    where = {"format": Format}
    examples = ("test network", "test network with operator", "test network metadata version")
    index = ("test", "metadata")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, or 211 if the ledger has no nodes."""
        words = [word.lower() for word in operands]
        types: Sequence[str] = ("master", "operator", "query", "publisher")
        only = ""
        versions = words == ["metadata", "version"]
        if words and not versions:
            if words[0] != "with" or len(words) != 2:
                raise AnyLogError(2, f"test network: '{' '.join(operands)}'; usage: {self.usage_text()}")
            if words[1] in NODES:
                types = (words[1],)
            else:
                only = words[1]
        found: dict[str, tuple[str, str]] = {}
        for policy in node.clusters.nodes(types):
            address = node.clusters.address_of(policy)
            if address and (not only or only in node.clusters.addresses(policy)):
                found.setdefault(address, (policy.type, policy.name))
        if only and not found:
            found[only] = ("", "")
        if not found:
            raise AnyLogError(211, "the local copy of the ledger has no policies of nodes")
        until = node.clock.seconds() + PATIENCE
        asked: list[Deferred[Any]] = []
        for address in found:
            if versions:
                waiting = node.peers.ask(address, "command", {"text": "get metadata version"}, until=until)
                asked.append(waiting.addCallback(lambda reply: Deferred.fromCoroutine(value_of(reply))))
            else:
                asked.append(node.peers.ping(address, PATIENCE))
        outcome = await DeferredList(asked, consumeErrors=True)
        rows = []
        for (address, (kind, name)), (fine, value) in zip(found.items(), outcome, strict=True):
            status = value[0] if fine and versions else "+" if fine else str(value.value)[:80] if versions else ""
            rows.append((address, kind, name, status))
        return _titled(("Address", "Node Type", "Node Name", "Status"), rows, options["format"])


def _jobs(node: Node, operands: Sequence[str], words: str) -> list[Job]:
    if not operands:
        return [node.jobs.last] if node.jobs.last is not None else []
    if operands[0].lower() == "all":
        return list(node.jobs)
    if not operands[0].isdecimal():
        raise AnyLogError(2, f"{words}: '{operands[0]}' is not a number of a job")
    found = node.jobs.find(int(operands[0]))
    return [found] if found is not None else []


def _hms(seconds: float) -> str:
    whole = max(0, int(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class JobStatus(Command):
    """Show the last command sent to other nodes, one by the number of its job, or all that are remembered."""

    words = "job status"
    operands = "[n | all]"
    most = 1
    where = {"format": Format}
    examples = ("job status", "job status all")
    index = ("monitor", "profiling")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        now = node.clock.seconds()
        rows: list[tuple[Any, ...]] = []
        for job in _jobs(node, operands, self.words):
            took = _hms((now if job.ended is None else job.ended) - job.started)
            rows.append((f"{job.slot:04}", job.number, job.output, took, "All", job.command))
            rows += [
                (
                    "",
                    "",
                    "",
                    _hms((now if part.ended is None else part.ended) - part.started),
                    part.address,
                    part.status,
                )
                for part in job.parts
            ]
        if not rows:
            return Result(text="Job instances do not contain data", data=[])
        return _titled(("Job", "ID", "Output", "Run Time", "Node", "Command/Status"), rows, options["format"])


class JobActive(Command):
    """Show the commands that other nodes work on now."""

    words = "job active"
    operands = "[all]"
    most = 1
    where = {"format": Format}
    examples = ("job active all",)
    index = ("monitor", "profiling")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        now = node.clock.seconds()
        rows = [(job.slot, _hms(now - job.started), job.status, job.command) for job in node.jobs if job.active]
        return _titled(("ID", "Time", "Status", "Command"), rows, options["format"])


class JobStop(Command):
    """Stop a command that other nodes work on; they are told to give up."""

    words = "job stop"
    operands = "[n]"
    most = 1
    examples = ("job stop 12",)
    index = ("monitor", "query")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 23 for a job that is not active."""
        found = _jobs(node, operands, self.words)
        if not found or not found[0].active:
            raise AnyLogError(23, found[0].status if found else "no such job")
        job = found[0]
        stop = job.stop
        job.end(STOPPED, node.clock.seconds())
        if stop is not None:
            stop()
        return Result(data={f"job {job.slot} status": "stopped"}, format="json")


class JobRun(Command):
    """Run the command of a job again."""

    words = "job run"
    operands = "[n]"
    most = 1
    examples = ("job run 12",)
    index = ("monitor", "query")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 23 if there is no such job."""
        found = _jobs(node, operands, self.words)
        if not found:
            raise AnyLogError(23, "no such job")
        job = found[0]
        if job.sql:
            return await node.execute(f'run client () sql {job.dbms} "{job.command}"', context)
        named = ", ".join(part.address for part in job.parts)
        return await node.execute(f"run client ({named}) {job.command}", context)


COMMANDS: tuple[type[Command], ...] = (
    RunClient,
    TestNode,
    TestConnection,
    TestNetwork,
    JobStatus,
    JobActive,
    JobStop,
    JobRun,
)
