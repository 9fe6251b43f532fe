"""Words that change the metadata: create policies, add them to the network, remove them (metadata.md 3.3, 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Flag, Text
from anylog.language.context import Context, Result
from anylog.language.dictionary import Scope, held, read_json, resolve_json
from anylog.language.later import not_here
from anylog.language.statements import scope_of
from anylog.language.tokens import Kind, Token, joined, tokens_of
from anylog.language.where import required_text, split_pairs
from anylog.ledger.checks import check, completed
from anylog.ledger.file_commands import COMMANDS as FILE_COMMANDS
from anylog.ledger.get_commands import COMMANDS as GET_COMMANDS
from anylog.ledger.master import Master, Outcome
from anylog.ledger.policy import NUMBERS, Policy, new_id, prepared
from anylog.ledger.reading_commands import dictionary_key, policies_of, policy_of
from anylog.ledger.sending import complete, delete, insert
from anylog.ledger.view_commands import COMMANDS as VIEW_COMMANDS
from anylog.ledger.where import Where

if TYPE_CHECKING:
    from anylog.node import Node

# Ports by type of node: TCP, REST (network.md 2).
PORTS: Mapping[str, tuple[int, int]] = {
    "master": (32048, 32049),
    "operator": (32148, 32149),
    "publisher": (32248, 32249),
    "query": (32348, 32349),
    "generic": (32548, 32549),
}


class CreatePolicy(Command):
    """Make a policy of a type out of attributes and show or assign it; it is not added to the ledger.

    Numbers stay text, except for ports and the member number; `!key.int` makes any a number. `with defaults` adds what
    is missing of the addresses and ports of a node and the status of a cluster, and checks the policy.
    """

    words = "create policy"
    raw = literal = True
    usage = "create policy [type] [with defaults] where [attribute] = [value] and ..."
    examples = (
        'create policy cluster where name = my-cluster and company = "My Company"',
        "create policy master with defaults where name = hill and company = Acme and ip = !ip and port = 32048",
    )
    index = ("blockchain", "policies")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        tokens = tokens_of(operands[0]) if operands else []
        place = next((at for at, token in enumerate(tokens) if token.is_word("where")), len(tokens))
        head, scope = [token.text for token in tokens[:place]], scope_of(node, context)
        defaults = [word.lower() for word in head[1:]] == ["with", "defaults"]
        if len(head) != 1 and not defaults:
            raise AnyLogError(2, f"create policy: '{' '.join(head)}' is no type; usage: {self.usage}")
        body: dict[str, Any] = {}
        for pair in split_pairs(tokens[place + 1 :]):
            if pair.key in body:
                raise AnyLogError(2, f"create policy: Multiple values to key '{pair.key}'")
            body[pair.key] = _typed(pair.key, _value(pair.value, scope))
        kind = str(scope.resolve(head[0]) or head[0])
        policy = Policy.read({kind: body})
        if defaults:
            policy = with_defaults(policy, scope)
            check(completed(prepared(policy, 0), node.ledger.policies, node.chance), node.ledger.policies)
        return Result(data=policy.value, format="json")


def with_defaults(policy: Policy, scope: Scope) -> Policy:
    """The policy with what is missing of it and the node knows."""
    if policy.type == "cluster":
        return policy if policy.get("status") else policy.having(status="active")
    if policy.type not in PORTS:
        return policy
    port, rest_port = PORTS[policy.type]
    known = {
        "ip": scope.resolve("!external_ip"),
        "local_ip": scope.resolve("!ip"),
        "port": port,
        "rest_port": rest_port,
    }
    return policy.having(**{key: value for key, value in known.items() if policy.get(key) is None and value})


def _value(value: Sequence[Token], scope: Scope) -> Any:
    """The typed value of a pair. AnyLogError 2 for an undefined reference."""
    token = value[0]
    if len(value) == 1 and token.kind is Kind.JSON:
        return read_json(resolve_json(token.text, scope))
    if len(value) == 1 and token.kind is Kind.SINGLE:
        return token.text[1:-1]
    if len(value) == 1 and token.kind is Kind.WORD:
        found = scope.resolve(token.text)
        if found is None:
            raise AnyLogError(2, f"Missing dictionary definition for '{token.text}'")
        text = found if isinstance(found, str) else ""
        # A key may hold JSON as text, which is a value here.
        return read_json(resolve_json(text, scope)) if token.text[:1] == "!" and text[:1] in ("{", "[") else found
    return joined(value, held(required_text(each, scope) for each in value))


def _typed(key: str, value: Any) -> Any:
    if key in NUMBERS and isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    return value


class Prepare(Command):
    """Add id and date to the policy that a key holds, and resolve the references in it."""

    words = "blockchain prepare policy"
    operands = "!key"
    raw = literal = True
    examples = ("blockchain prepare policy !new_policy",)
    index = ("blockchain", "policies")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        key = dictionary_key(operands[0]) if operands else ""
        if not key:
            raise AnyLogError(2, f"blockchain prepare policy: '{''.join(operands)}' is no key: !name")
        policy = prepared(policy_of(operands[0], node, context), unix(node.clock))
        node.dictionary.set(key, policy.value)
        return None


class Insert(Command):
    """Add a policy to the local ledger and to masters; id and date are added, and it is checked.

    At least one place has to be named: `local` (true unless said otherwise), `master` or `blockchain`. While a master
    cannot be reached, the policy waits in the local ledger and is sent with a later synchronisation; this is a
    warning. What the master refuses is an error, and is not kept here.
    """

    words = "blockchain insert"
    where = {
        "policy": Text(required=True, late=True, help="a policy, or !key"),
        "local": Flag(help="true or false"),
        "master": Text(many=True, help="ip:port"),
        "blockchain": Text(many=True, help="a connected platform"),
    }
    examples = (
        "blockchain insert where policy = !new_policy and local = true and master = !ledger_conn",
        'blockchain insert where policy = {"site": {"name": "roof"}} and local = true',
    )
    index = ("blockchain", "policies")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        masters = places(self.words, options)
        policy = policy_of(options["policy"], node, context)
        warning = await insert(node, policy, local=options["local"] is not False, masters=masters)
        if warning:
            node.logs.event.add("Warning", warning, context.who)
        return Result(text=warning) if warning else None


def places(words: str, options: Mapping[str, Any]) -> list[str]:
    """The masters that are named; AnyLogError 2 if no place is named at all, 237 for a platform."""
    if options["local"] is None and not options["master"] and not options["blockchain"]:
        raise AnyLogError(2, f"{words}: Missing ledger location: name 'local', 'master' or 'blockchain'")
    if options["blockchain"]:
        raise not_here(f"{words} where blockchain = {options['blockchain'][0][:80]}", "platforms")
    masters = [each.strip() for value in options["master"] for each in value.split(",") if each.strip()]
    for address in masters:
        check_address(words, address)
    return list(dict.fromkeys(masters))


def check_address(words: str, address: str) -> None:
    """AnyLogError 20 for what is no ip:port."""
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise AnyLogError(20, f"{words}: '{address[:80]}' is no ip:port")


class Add(Command):
    """Add a policy to the local ledger alone."""

    words = "blockchain add"
    operands = "[policy or !key]"
    raw = literal = True
    examples = ("blockchain add !new_policy",)
    index = ("blockchain", "policies")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        policy = complete(node, policy_of(needed(self, operands), node, context))
        await node.ledger.add(policy.having(ledger="local"))
        return None


def needed(command: Command, operands: Sequence[str]) -> str:
    """The operand; AnyLogError 2 if there is none."""
    if not operands or not operands[0].strip():
        raise AnyLogError(2, f"{command.words}: a value is missing; usage: {command.usage_text()}")
    return operands[0].strip()


def master_of(node: Node, words: str) -> Master:
    """The node's own store; AnyLogError 30 if it has none."""
    if node.master is None:
        raise AnyLogError(30, f"{words}: table 'ledger' of database 'blockchain' is not connected", http=400)
    return node.master


class Push(Command):
    """Store a policy, or a list of them, in this master's database; `ignore` lets be what is there already."""

    words = "blockchain push"
    operands = "[ignore] [policy or !key]"
    raw = literal = True
    examples = ("blockchain push !new_policy", "blockchain push ignore !new_policy")
    index = ("blockchain", "master")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        text = needed(self, operands)
        word, _, rest = text.partition(" ")
        ignore = word.lower() == "ignore"
        policies = policies_of(rest if ignore else text, node, context)
        if node.master is None and node.databases.known("blockchain") is not None:
            await node.execute("create table ledger where dbms = blockchain", context)
        raise_first(await master_of(node, self.words).push(policies, context.who or node.address, ignore))
        return None


def raise_first(outcomes: Sequence[Outcome]) -> None:
    """The first refusal as an error; 107 if some of several were stored."""
    wrong = [outcome for outcome in outcomes if outcome.code]
    if wrong and len(wrong) < len(outcomes):
        told = f"{len(outcomes) - len(wrong)} of {len(outcomes)} policies are stored; {wrong[0].text}"
        raise AnyLogError(107, told)
    if wrong:
        raise AnyLogError(wrong[0].code, wrong[0].text)


class Replace(Command):
    """Put another policy in the place of one in this master's database; type and id stay."""

    words = "blockchain replace policy"
    operands = "[id] with [policy or !key]"
    raw = literal = True
    examples = ("blockchain replace policy !policy_id with !new_policy",)
    index = ("blockchain", "master")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = re.fullmatch(r"(\S+)\s+with\s+(\S.*)", needed(self, operands), re.DOTALL | re.IGNORECASE)
        if found is None:
            raise AnyLogError(2, f"{self.words}: usage: {self.usage_text()}")
        ident = scope_of(node, context).text(found[1])
        if ident is None:
            raise AnyLogError(2, f"Missing dictionary definition for '{found[1]}'")
        await master_of(node, self.words).replace(ident, policy_of(found[2], node, context))
        return None


class DeletePolicy(Command):
    """Remove a policy from the local ledger and from masters.

    What is removed here stays away while the master still has it. A master that cannot be reached is told with a later
    synchronisation, if the policy was removed here.
    """

    words = "blockchain delete policy"
    where = {
        "id": Text(also=("policy_id",)),
        "policy": Text(late=True, help="the policy itself, or !key"),
        "local": Flag(help="true or false"),
        "master": Text(many=True, help="ip:port"),
        "blockchain": Text(many=True, help="a connected platform"),
    }
    examples = ("blockchain delete policy where id = !policy_id and local = true and master = !ledger_conn",)
    index = ("blockchain", "policies")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        masters = places(self.words, options)
        ident = options["id"]
        if options["policy"] is not None:
            policy = policy_of(options["policy"], node, context)
            ident = ident or policy.id or new_id(policy)
        if not ident:
            raise AnyLogError(2, f"{self.words}: Missing 'id'; usage: {self.usage_text()}")
        warning = await delete(node, ident, local=bool(options["local"]), masters=masters)
        if warning:
            node.logs.event.add("Warning", warning, context.who)
        return Result(text=warning) if warning else None


class DropPolicy(Command):
    """Remove policies from this master's database: by id, or those that a key holds.

    A list of policies needs conditions, so that not all is removed by mistake.
    """

    words = "blockchain drop policy"
    raw = literal = True
    usage = "blockchain drop policy where id = [id, ...] | !key [where attribute = value and ...]"
    examples = ("blockchain drop policy where id = !policy_id", "blockchain drop policy !old_policy")
    index = ("blockchain", "master")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        text = needed(self, operands)
        tokens, scope = tokens_of(text), scope_of(node, context)
        place = next((at for at, token in enumerate(tokens) if token.is_word("where")), len(tokens))
        named = (
            next((at for at in (0, len(tokens) - 2) if tokens[at].is_word("from")), None) if len(tokens) > 1 else None
        )
        if named is not None and tokens[named + 1].kind is Kind.WORD:
            raise not_here(f"{self.words} from {tokens[named + 1].text[:80]}", "platforms")
        if place == 0:
            idents = await self._idents(node, context, text[tokens[0].end :])
        else:
            end = tokens[place].start if place < len(tokens) else len(text)
            policies = policies_of(text[:end], node, context)
            if place < len(tokens):
                where = Where.read([_resolved(token, scope) for token in tokens[place + 1 :]])
                policies = [policy for policy in policies if where.matches(policy)]
            elif len(policies) > 1:
                raise AnyLogError(2, f"{self.words}: a list of policies needs conditions; usage: {self.usage}")
            idents = [policy.id or new_id(policy) for policy in policies]
        await drop_here(node, self.words, idents)
        return None

    async def _idents(self, node: Node, context: Context, text: str) -> list[str]:
        found = re.fullmatch(r"\s*(?:id|policy_id|policy)\s*=\s*(\S.*)", text, re.DOTALL | re.IGNORECASE)
        if found is None:
            raise AnyLogError(2, f"{self.words}: 'id = ...' is missing after 'where'; usage: {self.usage}")
        value: Any = found[1].strip()
        if value.lower().startswith("blockchain get"):
            result = await node.execute(value, context)
            value = result.data if result.data is not None and result.text is None else result.text or ""
        else:
            value = scope_of(node, context).resolve(value) if value[:1] in ("!", "$") else value
        if value is None:
            raise AnyLogError(2, f"Missing dictionary definition for '{found[1].strip()}'")
        if isinstance(value, list):
            return [str(each) for each in value]
        return [each.strip().strip("\"'") for each in str(value).split(",") if each.strip()]


def _resolved(token: Token, scope: Scope) -> Token:
    """The token with its reference replaced."""
    return Token(Kind.DOUBLE if "!" in token.text else token.kind, required_text(token, scope), token.start, token.end)


async def drop_here(node: Node, words: str, idents: Sequence[str]) -> None:
    """Remove from this master; AnyLogError 113 if there is none of them, 107 if some are missing."""
    dropped = await master_of(node, words).drop(idents)
    missing = [ident for ident in idents if ident not in dropped]
    if missing or not idents:
        told = f"no policy with the id '{missing[0][:80]}' is in the ledger" if missing else "no policy is named"
        raise AnyLogError(107 if dropped else 113, f"{words}: {told}")


class DropByHost(Command):
    """Remove from this master's database all policies that one host has sent."""

    words = "blockchain drop by host"
    operands = "[ip]"
    least = most = 1
    examples = ("blockchain drop by host 10.0.0.7",)
    index = ("blockchain", "master")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = await master_of(node, self.words).by_host(operands[0])
        if not found:
            raise AnyLogError(113, f"{self.words}: no policy came from '{operands[0]}'")
        await drop_here(node, self.words, found)
        return None


COMMANDS: tuple[type[Command], ...] = (
    CreatePolicy,
    Prepare,
    Insert,
    Add,
    Push,
    Replace,
    DeletePolicy,
    DropPolicy,
    DropByHost,
    *GET_COMMANDS,
    *FILE_COMMANDS,
    *VIEW_COMMANDS,
)
