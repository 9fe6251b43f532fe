"""Words that ask the metadata: policies by type and condition, tests, versions (metadata.md 5, 10)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from anylog.errors import AnyLogError
from anylog.language.command import Command, Format
from anylog.language.context import Context, Result
from anylog.language.dictionary import shown
from anylog.language.tables import bar_table, framed
from anylog.language.tokens import Kind, tokens_of
from anylog.ledger.lines import read_lines
from anylog.ledger.policies import Policies
from anylog.ledger.policy import TOMBSTONE, new_id
from anylog.ledger.reading_commands import Question, policies_of, policy_of

if TYPE_CHECKING:
    from anylog.node import Node


PLATFORMS = "No connections to blockchain platforms"


class Get(Command):
    """Show policies of one or of several types, those for which the conditions hold.

    Conditions are pairs (`name = roof and table[dbms] = town`, `port with [1, 2]`) or comparisons
    (`[country] contains US and ([city] == Reno or [city] == Elko)`). `root policies` are those without a parent.

    `join (blockchain get ...)` puts beside each policy those that belong to it, and drops it if there are none; `merge
    (...)` adds the attributes of the first one that belongs to it. In the parentheses `[type][attribute]` is a value of
    the policy on the left.

    `bring` tells parts of the policies; its flags are unique, first, last, json, null, list, table, sort, count,
    ip_port, min, max, children, parents, paths and extend: `extend` adds the policy that `object_id` names, `parents`
    the ids of those that name this one, `paths` the way to it from the root.
    """

    words = "blockchain get"
    raw = True
    usage = (
        "blockchain get [type | (type, type) | * | root policies] [where conditions]"
        " [join | merge (blockchain get ...)] [bring.flags items] [separator = text]"
    )
    examples: ClassVar[tuple[str, ...]] = (
        "blockchain get operator",
        'blockchain get cluster where name = my-cluster and company = "My Company" bring.first [*][id]',
        "blockchain get (operator, query) bring.ip_port",
        "blockchain get table where dbms = town bring.table [*][dbms] [*][name]",
        "blockchain get bucket join (blockchain get operator where name = [bucket][operator]) bring.ip_port",
        "blockchain get object where name = Generator bring.paths|extend",
        "blockchain get root policies exclude operator",
    )
    index = ("blockchain", "policies")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return self.question(operands).answer(node, node.ledger.policies)

    def question(self, operands: Sequence[str]) -> Question:
        """What is asked."""
        if not operands:
            raise AnyLogError(2, f"{self.words}: a policy type is missing; usage: {self.usage}")
        return Question.read(operands[0])


class GetRootPolicies(Get):
    """Show the policies that have no parent, of all types or of some."""

    words = "get root policies"
    usage = "get root policies [include types | exclude types] [where conditions] [bring.flags items]"
    examples: ClassVar[tuple[str, ...]] = ("get root policies", "get root policies include uns bring.table [*] [name]")

    def question(self, operands: Sequence[str]) -> Question:
        """The same as `blockchain get root policies`."""
        return Question.read(" ".join(("root policies", *operands)))


class Read(Get):
    """Show policies as they are in the file on disk: `blockchain get` of what is there."""

    words = "blockchain read"
    usage = Get.usage.replace("blockchain get", "blockchain read")
    examples = ("blockchain read operator where name = my-operator1",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        question = self.question(operands)
        path = node.ledger.path
        lane = node.lanes.open("disk", 2)
        try:
            data = await lane.run(node.disk.read, path)
        except FileNotFoundError:
            raise AnyLogError(58, f"{path} does not exist") from None
        except OSError as fault:
            raise AnyLogError(63, f"{path}: {fault}") from fault
        lines = await lane.run(read_lines, data)
        return question.answer(node, Policies(lines.policies))


class GetId(Command):
    """Show the id that a policy gets, without storing it."""

    words = "blockchain get id"
    operands = "[policy or !key]"
    raw = literal = True
    examples = ("blockchain get id !new_policy",)
    index = ("blockchain", "policies")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        if not operands:
            raise AnyLogError(2, f"{self.words}: a policy is missing")
        return Result(text=new_id(policy_of(operands[0], node, context)))


class Test(Command):
    """Say whether the local copy of the metadata was whole when it was read."""

    words = "blockchain test"
    examples = ("blockchain test",)
    index = ("blockchain", "monitor")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        fine = node.ledger.test()
        if fine is None:
            return Result(text="Blockchain file status: data not available", data=False)
        if fine:
            return Result(text="Blockchain file status: OK", data=True)
        return Result(text=f"Blockchain file status: Failure\r\n{node.ledger.damaged}", data=False)


class TestId(Command):
    """Say whether a policy with that id is in the local ledger."""

    words = "blockchain test id"
    operands = "[id]"
    least = most = 1
    examples = ("blockchain test id 52612f21b18cf29f7d2e511e3ca56ca6",)
    index = ("blockchain",)
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        there = operands[0] in node.ledger.policies
        return Result(text=f"Policy '{operands[0]}' is {'' if there else 'not '}in the local ledger", data=there)


class GetPolicyTypes(Command):
    """List the types of policies in the ledger, and how many there are of each."""

    words = "get policy types"
    where = {"format": Format}
    examples = ("get policy types", "get policy types where format = json")
    index = ("blockchain", "policies")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        data = node.ledger.policies.types()
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=framed(bar_table(("Type", "Policies"), list(data.items()))), data=data, format="table")


class GetPoliciesDiff(Command):
    """Compare two policies, or two lists of them, attribute by attribute."""

    words = "get policies diff"
    operands = "!policy1 !policy2"
    raw = literal = True
    where = {}
    examples = ("get policies diff !policy1 !policy2",)
    index = ("blockchain", "policies")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        parts = (
            [token.text for token in tokens_of(operands[0]) if token.kind in (Kind.WORD, Kind.JSON)] if operands else []
        )
        if len(parts) != 2:
            raise AnyLogError(2, f"{self.words}: two policies are expected; usage: {self.usage_text()}")
        one, other = (policies_of(part, node, context) for part in parts)
        if len(one) == 1:
            one = one * len(other)
        elif len(other) == 1:
            other = other * len(one)
        if len(one) != len(other):
            raise AnyLogError(2, f"{self.words}: lists of {len(one)} and {len(other)} policies cannot be compared")
        rows = []
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            if left.type != right.type:
                rows.append((place, "policy type", left.type, right.type))
            for name in dict.fromkeys((*left.body, *right.body)):
                if left.body.get(name) != right.body.get(name):
                    rows.append((place, name, shown(left.body.get(name)), shown(right.body.get(name))))
        if not rows:
            return Result(text="No differences", data=[], format="text")
        titles = ("Policy", "Attribute", "First", "Second")
        return Result(
            text=framed(bar_table(titles, rows)),
            data=[dict(zip(titles, row, strict=True)) for row in rows],
            format="table",
        )


class GetMetadataVersion(Command):
    """Show the version of this node's metadata: nodes with the same one know the same policies."""

    words = "get metadata version"
    examples = ("get metadata version",)
    index = ("blockchain", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=node.ledger.version or f"damaged: {node.ledger.damaged}")


class GetMetadataInfo(Command):
    """Show the state of this node's metadata: version, file, policies, what waits for the master."""

    words = "get metadata info"
    where = {"format": Format}
    examples = ("get metadata info",)
    index = ("blockchain", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        ledger = node.ledger
        loaded = "" if ledger.loaded is None else f"{datetime.fromtimestamp(ledger.loaded, UTC):%Y-%m-%d %H:%M:%S}"
        data = {
            "Version": ledger.version,
            "File": str(ledger.path),
            "Policies": len(ledger.policies),
            "Waiting": len(ledger.waiting()),
            "Displaced": ledger.displaced,
            "Loaded": loaded,
            "Master": node.master is not None,
            "Fault": ledger.damaged,
        }
        if options["format"] == "json":
            return Result(data=data, format="json")
        rows = [(key, shown(value)) for key, value in data.items()]
        return Result(text=framed(bar_table(("Key", "Value"), rows)), data=data, format="table")


class GetWaitingPolicies(Command):
    """List what the master has still to be told: policies that were added and deleted while it could not be reached."""

    words = "get waiting policies"
    where = {"format": Format}
    examples = ("get waiting policies",)
    index = ("blockchain", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        titles = ("Date", "What", "Type", "Name", "ID", "Reason")
        rows = []
        for policy in node.ledger.waiting():
            deleted = policy.type == TOMBSTONE
            kind = "" if deleted else policy.type
            why = node.ledger.refusals.get(policy.id, "")
            rows.append((policy.date, "delete" if deleted else "insert", kind, policy.name, policy.id, why))
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=framed(bar_table(titles, rows)), data=data, format="table")


class GetPlatforms(Command):
    """Show the connections to blockchain platforms, and the master that has the ledger.

    Blockchain platforms are not in this build, so there is none: the ledger is at a master.
    """

    words = "get platforms"
    where = {"format": Format}
    examples = ("get platforms", "get platforms where format = json")
    index = ("blockchain", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """The first line is what clients know as the answer of a node without platforms."""
        titles = ("Name", "Active", "Balance", "URL", "Public Key/Contract")
        data: list[dict[str, Any]] = []
        process: Any = node.processes.find("synchronizer")
        if process is not None:
            active = not process.looks.failure
            data.append(
                dict(zip(titles, ("master", active, "", process.options.connection or node.address, ""), strict=True))
            )
        elif node.master is not None:
            data.append(dict(zip(titles, ("master", True, "", node.address, ""), strict=True)))
        if options["format"] == "json":
            return Result(data=data, format="json")
        if not data:
            return Result(text=PLATFORMS, data=data)
        table = bar_table(titles, [list(row.values()) for row in data])
        return Result(text=f"{PLATFORMS}\r\n{framed(table)}", data=data, format="table")


COMMANDS: tuple[type[Command], ...] = (
    Get,
    GetRootPolicies,
    Read,
    GetId,
    Test,
    TestId,
    GetPolicyTypes,
    GetPoliciesDiff,
    GetMetadataVersion,
    GetMetadataInfo,
    GetWaitingPolicies,
    GetPlatforms,
)
