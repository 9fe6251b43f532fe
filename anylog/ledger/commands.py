"""Words that change the ledger: create policy, blockchain insert, push, delete ... (metadata.md 3.3 and 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Text
from anylog.language.context import Context, Result
from anylog.language.dictionary import read_json, resolve_json, shown
from anylog.language.statements import scope_of
from anylog.language.tokens import tokens_of
from anylog.language.where import split_pairs, value_text
from anylog.ledger.checks import check, defaults
from anylog.ledger.policy import GLOBAL, Policy, read_lines
from anylog.ledger.reading_commands import COMMANDS as READING
from anylog.ledger.reading_commands import selected
from anylog.waiting import pause

if TYPE_CHECKING:
    from anylog.node import Node

UNREACHED = (8, 15, 26, 81, 208, 506)  # errors that say nothing about the policy


def policy_of(node: Node, context: Context, text: str) -> Policy:
    """A policy as it is given to a command: `!key`, or JSON, with references in it. Raises AnyLogError 2, 6 or 87."""
    scope = scope_of(node, context)
    text = text.strip()
    value: Any = text
    if text.startswith("!"):
        value = scope.resolve(text)
        if value is None:
            raise AnyLogError(2, f"Missing dictionary definition for '{text}'")
    if isinstance(value, str):
        value = read_json(resolve_json(value, scope))
    return Policy.read(value)


def master_of(node: Node) -> Any:
    """This node's own store. Raises AnyLogError 30."""
    if node.master is None:
        raise AnyLogError(30, "the table 'ledger' of dbms 'blockchain' is not here: this node is no master", http=400)
    return node.master


class CreatePolicy(Command):
    """Make a policy of attributes and show it, or assign it: `p = create policy ...`. It is not stored.

    Values keep the type of a reference (`!port.int`); ports and member ids are numbers. `with defaults` adds what is
    missing of ip, local_ip, port, rest_port (of nodes) or status (of clusters), and checks the policy.
    """

    words = "create policy"
    operands = "[type] [with defaults] where [attribute] = [value] and ..."
    least = most = 1
    raw = literal = True
    usage = "create policy [type] [with defaults] where [attribute] = [value] and [attribute] = [value] ..."
    examples = (
        'new_policy = create policy cluster where name = my-cluster and company = "My Company"',
        "create policy operator with defaults where name = op1 and company = acme and cluster = 06f093559c85",
    )
    index = ("blockchain", "metadata", "json")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 87 and what the checks say."""
        tokens = tokens_of(operands[0])
        where = next((place for place, token in enumerate(tokens) if token.is_word("where")), len(tokens))
        head = [token.text for token in tokens[:where]]
        with_defaults = [word.lower() for word in head[1:]] == ["with", "defaults"]
        if not head or (len(head) > 1 and not with_defaults):
            raise AnyLogError(2, f"create policy: unexpected '{' '.join(head[1:])}'; usage: {self.usage}")
        if where >= len(tokens) - 1 and not with_defaults:
            raise AnyLogError(2, f"create policy {head[0]}: attributes are missing after 'where'; usage: {self.usage}")
        scope = scope_of(node, context)
        body: dict[str, Any] = {}
        for pair in split_pairs(tokens[where + 1 :]):
            one = pair.value[0].text if len(pair.value) == 1 else ""
            value: Any = scope.resolve(one) if one.startswith(("!", "$")) else None
            if value is None:
                value = value_text(pair.value, scope)  # raises for what is undefined
            if isinstance(value, str) and value[:1] in ("{", "["):
                value = read_json(resolve_json(value, scope))
            if pair.key in body:
                raise AnyLogError(2, f"create policy {head[0]}: Multiple values to key '{pair.key}'")
            body[pair.key] = (
                {"true": True, "false": False}.get(str(value).lower(), value) if pair.key == "main" else value
            )
        if with_defaults:
            own = {key: node.dictionary.get(key) for key in ("ip", "external_ip")}
            body = {**body, **{key: value for key, value in defaults(head[0], own).items() if key not in body}}
        policy = Policy.read({head[0]: body})
        if with_defaults:
            check(policy, node.ledger.policies, node.chance)
        return Result(data=policy.value, format="json")


class BlockchainInsert(Command):
    """Store a policy: in the local copy of the ledger, on a master, or both; at least one must be named.

    The policy gets an id and a date if it has none, and is checked. With `local = true` it can be used on this node at
    once. If the master is away the policy waits in the local copy and is sent when it is back; what the master refuses
    is taken back here.
    """

    words = "blockchain insert"
    where = {
        "policy": Text(required=True, late=True, help="!key or JSON"),
        "local": Flag(help="in the local copy, true if not said otherwise"),
        "master": Text(many=True, help="ip:port of a master"),
        "blockchain": Text(many=True, help="a connected platform"),
    }
    examples = (
        "blockchain insert where policy = !new_policy and local = true and master = 10.0.0.7:32048",
        "blockchain insert where policy = !new_policy and local = true",
    )
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 6, 70, 87, 118, 149, 180, 222, 237; or 208 if nothing but a master was asked."""
        if options["blockchain"]:
            raise AnyLogError(237, f"not in this build: blockchain = {options['blockchain'][0]}")
        if options["local"] is None and not options["master"]:
            raise AnyLogError(2, "blockchain insert: Missing ledger location: local, master or blockchain")
        masters = [each for text in options["master"] for each in re.split(r"[\s,]+", text.strip()) if each]
        policy = policy_of(node, context, options["policy"]).prepared(node.clock.seconds())
        drawn = policy.type == "operator" and policy.get("member") is None
        here = options["local"] is not False
        policies = node.ledger.policies
        if here and policy.id in policies:
            raise AnyLogError(70, f"{policy.type}: a policy with the id {policy.id} is in the local ledger")
        if policy.ledger != GLOBAL:
            policy = check(policy, policies, node.chance)
        if here:
            node.ledger.show(policy)  # seen by questions at once; on disk before the answer
        failed: AnyLogError | None = None
        sent = False
        try:
            for master in masters:
                try:
                    policy = await self._send(node, master, policy, drawn)
                    sent = True
                except AnyLogError as error:
                    if error.number not in UNREACHED:
                        raise
                    failed = error
        except BaseException:
            if here:
                await node.ledger.remove(policy.id, node.clock.seconds(), forget=True)
            raise
        if here:
            await node.ledger.keep([policy], confirmed=sent)
        if failed is not None:
            if not here:
                raise failed
            warning = f"{policy.type} {policy.id} waits in the local ledger: {failed}"
            node.logs.event.add("Warning", warning, context.who)
            return Result(text=f"Warning: {warning}")
        return None

    async def _send(self, node: Node, master: str, policy: Policy, drawn: bool) -> Policy:
        """To one master; a member id that was drawn here and is taken there is drawn again (metadata.md 4.1)."""
        for attempt in range(3):
            ((_, code, text),) = await node.membership.push(master, [policy])
            if code == 180 and drawn and "member" in text and attempt < 2:
                await node.refresh()
                without = Policy(policy.type, {name: each for name, each in policy.body.items() if name != "member"})
                policy = check(without, node.ledger.policies, node.chance)
                continue
            if code:
                raise AnyLogError(code, text, node=master)
            return policy
        raise AnyLogError(180, text, node=master)


class BlockchainAdd(Command):
    """Store a policy in the local copy only."""

    words = "blockchain add"
    operands = "[policy]"
    least = most = 1
    raw = literal = True
    examples = ("blockchain add !new_policy",)
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        policy = policy_of(node, context, operands[0]).prepared(node.clock.seconds())
        if policy.id in node.ledger.policies:
            raise AnyLogError(70, f"{policy.type}: a policy with the id {policy.id} is in the local ledger")
        await node.ledger.add(check(policy, node.ledger.policies, node.chance))
        return None


class BlockchainPush(Command):
    """Store a policy in this node's own ledger table, as a master does. With `ignore` one that is there is no error."""

    words = "blockchain push"
    operands = "[ignore] [policy]"
    least = most = 1
    raw = literal = True
    examples = ("blockchain push !new_policy", "blockchain push ignore !new_policy")
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 30 without the table, 70 for an id that is known, and what the checks say."""
        text = operands[0].strip()
        ignore = text.lower().startswith("ignore ")
        policy = policy_of(node, context, text[7:] if ignore else text)
        ((_, code, told),) = await master_of(node).push([policy], context.who or node.address, ignore)
        if code:
            raise AnyLogError(code, told)
        return None


class BlockchainPreparePolicy(Command):
    """Give the policy of a key its id and its date, and store it in the key again."""

    words = "blockchain prepare policy"
    operands = "[!key]"
    least = most = 1
    raw = literal = True
    examples = ("blockchain prepare policy !new_policy",)
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        key = operands[0].strip()
        if not re.fullmatch(r"![\w.\-]+", key):
            raise AnyLogError(2, f"blockchain prepare policy: '{key[:60]}' is not a key (!key)")
        policy = policy_of(node, context, key).prepared(node.clock.seconds())
        node.dictionary.set(key[1:], policy.value)
        return None


class BlockchainGetId(Command):
    """Show the id that a policy would get."""

    words = "blockchain get id"
    operands = "[policy]"
    least = most = 1
    raw = literal = True
    examples = ("blockchain get id !new_policy",)
    index = ("blockchain", "metadata")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        policy = policy_of(node, context, operands[0])
        return Result(text=policy.id or policy.new_id())


class BlockchainDeletePolicy(Command):
    """Delete a policy from the local copy and from a master; if that is away the delete is sent when it is back."""

    words = "blockchain delete policy"
    where = {
        "id": Text(required=True, also=("policy_id",)),
        "local": Flag(),
        "master": Text(many=True, help="ip:port of a master"),
        "blockchain": Text(many=True),
    }
    examples = (
        "blockchain delete policy where id = 64b0a8bd8ba24feacc6b0ed8 and local = true and master = 10.0.0.7:32048",
    )
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 113 for an unknown id, 237."""
        if options["blockchain"]:
            raise AnyLogError(237, f"not in this build: blockchain = {options['blockchain'][0]}")
        if options["local"] is None and not options["master"]:
            raise AnyLogError(2, "blockchain delete policy: Missing ledger location: local, master or blockchain")
        id, here = options["id"], options["local"] is not False
        if here:
            await node.ledger.remove(id, node.clock.seconds())
        for master in options["master"]:
            try:
                until = node.clock.seconds() + 10.0
                reply = await node.peers.ask(master, "drop", {"ids": [id]}, until=until)
            except AnyLogError as error:
                if not here or error.number not in UNREACHED:
                    raise
                warning = f"the delete of {id} waits in the local ledger: {error}"
                node.logs.event.add("Warning", warning, context.who)
                return Result(text=f"Warning: {warning}")
            if not reply.head.get("dropped") and not here:
                raise AnyLogError(113, f"no policy with the id {id} is in the ledger of {master}")
        return None


class BlockchainDropPolicy(Command):
    """Delete policies from this node's own ledger table: by id, several ids, or by content."""

    words = "blockchain drop policy"
    operands = "[policy] | where id = [id], [id]"
    least = most = 1
    raw = literal = True
    examples = ("blockchain drop policy where id = 64b0a8bd8ba24feacc6b0ed8bb3e5f0a", "blockchain drop policy !policy")
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 30, 107 if some were not there, 113 if none was."""
        master, text = master_of(node), operands[0].strip()
        if text.lower().startswith("where"):
            found = re.fullmatch(r"where\s+(?:id|policy_id)\s*=\s*(.+)", text, re.IGNORECASE | re.DOTALL)
            if found is None:
                raise AnyLogError(2, f"blockchain drop policy: usage: {self.usage_text()}")
            scope, given = scope_of(node, context), found[1].strip()
            if given.lower().startswith("blockchain get "):
                given = shown(selected(node, context, given[15:]).text or "")
            else:
                given = value_text(tokens_of(given), scope)
            ids = [id for id in re.split(r"[\s,]+", given.strip("()[]")) if id]
        else:
            policy = policy_of(node, context, text)
            ids = [policy.id or policy.new_id()]
        if not ids:
            raise AnyLogError(2, "blockchain drop policy: an id is missing")
        dropped = await master.drop(ids)
        if not dropped:
            raise AnyLogError(113, f"no policy with the id {', '.join(ids)[:200]} is in the ledger")
        missing = [id for id in ids if id not in dropped]
        if missing:
            raise AnyLogError(107, f"{len(dropped)} policies were dropped, not there were: {', '.join(missing)[:200]}")
        return None


class BlockchainReplacePolicy(Command):
    """Put a policy in the place of the one with that id, in this node's own ledger table; the id stays."""

    words = "blockchain replace policy"
    operands = "[policy id] with [policy]"
    least = most = 1
    raw = literal = True
    examples = ("blockchain replace policy 64b0a8bd8ba24feacc6b0ed8bb3e5f0a with !policy",)
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 30, 113 or 247."""
        found = re.fullmatch(r"(\S+)\s+with\s+(.+)", operands[0].strip(), re.IGNORECASE | re.DOTALL)
        if found is None:
            raise AnyLogError(2, f"blockchain replace policy: usage: {self.usage_text()}")
        policy = policy_of(node, context, found[2])
        if policy.id and policy.id != found[1]:
            raise AnyLogError(247, f"the policy has the id {policy.id}, not {found[1]}")
        await master_of(node).change(policy.with_(id=found[1]).prepared(node.clock.seconds()), context.who)
        return None


class BlockchainPullToJson(Command):
    """Write this node's own ledger table to a file of one policy a line, or show it."""

    words = "blockchain pull to"
    operands = "json | stdout [file]"
    least, most = 1, 2
    examples = ("blockchain pull to json", "blockchain pull to stdout", "blockchain pull to json !blockchain_new")
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 30, 237, or 14 if the file cannot be written."""
        form = operands[0].lower()
        if form in ("sql", "dbms"):
            raise AnyLogError(237, f"not in this build: blockchain pull to {form}")
        text, _ = master_of(node).file()
        if form == "stdout":
            return Result(text=text.decode())
        if form not in ("json", "log"):
            raise AnyLogError(2, f"blockchain pull to: '{operands[0]}'; usage: {self.usage_text()}")
        path = Path(operands[1] if len(operands) > 1 else str(node.dictionary.get("blockchain_new")))
        try:
            await node.lanes.open("disk", 2).run(node.disk.publish, path, text)
        except OSError as fault:
            raise AnyLogError(14, f"{path}: {fault}") from fault
        return None


class BlockchainUpdateFile(Command):
    """Take a file of policies for the local copy; the file that was there stays beside it with the type `.old`."""

    words = "blockchain update file"
    operands = "[file]"
    most = 1
    examples = ("blockchain update file", "blockchain update file !blockchain_new")
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 63 for a file that cannot be read, 87 for one with lines that are no policies."""
        path = Path(operands[0] if operands else str(node.dictionary.get("blockchain_new")))
        await node.membership.take_file(path)
        return None


class BlockchainUpdateDbms(Command):
    """Put the policies of a file, or of the local copy, in this node's own ledger table; shows how many were new."""

    words = "blockchain update dbms"
    operands = "[file] [ignore message]"
    most = 3
    examples = ("blockchain update dbms",)
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        master = master_of(node)
        policies = list(node.ledger.policies)
        if operands and operands[0].lower() != "ignore":
            try:
                text = await node.lanes.open("disk", 2).run(node.disk.read, Path(operands[0]))
            except OSError as fault:
                raise AnyLogError(63, f"{operands[0]}: {fault}") from fault
            policies, wrong = read_lines(text)
            if wrong:
                raise AnyLogError(87, f"{operands[0]}: {wrong[0]}")
        before = len(master.policies)
        await master.push(policies, node.address, True)
        return Result(text=f"{len(master.policies) - before} policies added")


class BlockchainLoadMetadata(Command):
    """Read the file of the local copy again."""

    words = "blockchain load metadata"
    also = ("blockchain reload metadata",)
    examples = ("blockchain load metadata", "blockchain reload metadata")
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        await node.ledger.load()
        return None


class BlockchainDeleteLocalFile(Command):
    """Forget the local copy and its file."""

    words = "blockchain delete local file"
    examples = ("blockchain delete local file",)
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        await node.ledger.clear()
        return None


class BlockchainSeed(Command):
    """Take the ledger of any member that keeps it, once, as a first copy."""

    words = "blockchain seed from"
    also = ("seed from",)
    operands = "[ip:port]"
    least = most = 1
    examples = ("blockchain seed from 10.0.0.7:32048",)
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        await node.membership.look(operands[0])
        return None


class BlockchainWait(Command):
    """Fetch the ledger and wait until the local copy holds a policy; true, or false after the time is over."""

    words = "blockchain wait"
    also = ("blockchain wait for",)
    operands = "[where policy = !p | id = x | command = text] | for [policy]"
    least = most = 1
    raw = literal = True
    examples = ("blockchain wait where policy = !new_policy", "blockchain wait for !new_policy")
    index = ("blockchain", "metadata")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for what cannot be waited for."""
        text, scope = operands[0].strip(), scope_of(node, context)
        given: Mapping[str, str] = {"policy": text}
        if text.lower().startswith("where"):
            pairs = split_pairs(tokens_of(text[5:]))
            given = {pair.key.lower(): " ".join(token.text for token in pair.value) for pair in pairs}
        id, command = given.get("id", ""), given.get("command", "")
        if given.get("policy"):
            policy = policy_of(node, context, given["policy"])
            id = policy.id or policy.new_id()
        elif id:
            id = value_text(tokens_of(id), scope)
        if not id and not command.lower().startswith("blockchain get "):
            raise AnyLogError(2, f"blockchain wait: usage: {self.usage_text()}")
        synchronizer = node.membership.synchronizer
        patience = 15.0 + (synchronizer.options.seconds if synchronizer is not None else 0.0)
        until = node.clock.seconds() + patience
        while True:
            if id:
                found = id in node.ledger.policies
            else:
                result = selected(node, context, command[15:])
                found = bool(result.data or result.text)
            if found or node.clock.seconds() >= until:
                return Result(text=str(found).lower(), data=found)
            await node.refresh()
            await pause(node.clock, 0.25)


class BlockchainCreateTable(Command):
    """Create the ledger table of a master: the same as `create table ledger where dbms = blockchain`."""

    words = "blockchain create table"
    examples = ("blockchain create table",)
    index = ("blockchain", "dbms")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return await node.execute("create table ledger where dbms = blockchain", context)


class GetPoliciesDiff(Command):
    """Show in which attributes two policies differ."""

    words = "get policies diff"
    operands = "[policy] [policy]"
    least = most = 1
    raw = literal = True
    examples = ("get policies diff !policy1 !policy2",)
    index = ("metadata", "json")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        tokens = tokens_of(operands[0])
        if len(tokens) != 2:
            raise AnyLogError(2, f"get policies diff: usage: {self.usage_text()}")
        one, other = (policy_of(node, context, token.text) for token in tokens)
        names = list(dict.fromkeys([*one.body, *other.body]))
        data = {name: [one.get(name), other.get(name)] for name in names if one.get(name) != other.get(name)}
        lines = [f"{name}: {shown(left)} <> {shown(right)}" for name, (left, right) in data.items()]
        return Result(text="\r\n".join(lines) or "no difference", data=data)


COMMANDS: tuple[type[Command], ...] = (
    *READING,
    CreatePolicy,
    BlockchainInsert,
    BlockchainAdd,
    BlockchainPush,
    BlockchainPreparePolicy,
    BlockchainGetId,
    BlockchainDeletePolicy,
    BlockchainDropPolicy,
    BlockchainReplacePolicy,
    BlockchainPullToJson,
    BlockchainUpdateFile,
    BlockchainUpdateDbms,
    BlockchainLoadMetadata,
    BlockchainDeleteLocalFile,
    BlockchainSeed,
    BlockchainWait,
    BlockchainCreateTable,
    GetPoliciesDiff,
)
