"""A node is configured from a policy: its services, then the commands of its `script` (metadata.md 9)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Format
from anylog.language.context import Call, Context, Result
from anylog.language.dictionary import Scope, read_json, shown
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table, framed
from anylog.language.where import replaced
from anylog.ledger.policy import Policy, utc_date
from anylog.ledger.reading_commands import Question, policy_of
from anylog.network.broker import Broker
from anylog.network.broker_commands import RunMessageBroker
from anylog.network.commands import RunRestServer
from anylog.network.rest import RestOptions, RestServer
from anylog.network.tcp import TcpOptions, TcpServer
from anylog.network.tcp_commands import RunTcpServer

if TYPE_CHECKING:
    from anylog.node import Node

RUNS = 136  # the error of a process that runs already: in the script of a policy it is as wanted
MOST = 1000  # policies of which is remembered what came of them
SOON = 0.05  # seconds after which the server that carries the question is started anew
USAGE = "config from policy where [attribute] = [value] and ... | policy = !key"
_GIVEN = re.compile(r"where\s+policy\s*=\s*(\{.*\}|!\S+)\s*", re.DOTALL | re.IGNORECASE)

log = Logger()


@frozen
class Outcome:
    """What came of one policy; code 0: all is done."""

    name: str
    at: float  # unix seconds
    code: int = 0
    text: str = ""


@frozen
class Configured:
    """What came of the policies that this node was configured from, by id, the last one last."""

    outcomes: dict[str, Outcome] = field(factory=dict)

    def note(self, ident: str, outcome: Outcome) -> None:
        """Remember it; the oldest is forgotten when there are too many."""
        self.outcomes.pop(ident, None)
        self.outcomes[ident] = outcome
        while len(self.outcomes) > MOST:
            del self.outcomes[next(iter(self.outcomes))]


@frozen
class Settings:
    """The network section of a policy, references resolved here and now."""

    policy: Policy
    scope: Scope

    def text(self, *names: str) -> str:
        """The first of these attributes that is there; AnyLogError 2 if its reference stands for nothing here."""
        for name in names:
            value = self.policy.get(name)
            if isinstance(value, str) and value[:1] in ("!", "$"):
                found = self.scope.resolve(value)
                if found is None:
                    told = f"policy {self.policy.id}: {name}: Missing dictionary definition for '{value}'"
                    raise AnyLogError(2, told)
                value = found
            if value not in (None, ""):
                return shown(value)
        return ""

    def whole(self, *names: str, most: int = 65535) -> int:
        """The same as a number, 0 if there is none; AnyLogError 87 for another text."""
        text = self.text(*names).strip()
        if text and (not re.fullmatch(r"[0-9]{1,6}", text) or not 0 < int(text) <= most):
            raise AnyLogError(87, f"policy {self.policy.id}: {names[0]}:{text[:80]} is no number from 1 up to {most}")
        return int(text or 0)

    def flag(self, name: str, default: bool) -> bool:
        """True or false; AnyLogError 87 for another text."""
        text = self.text(name).lower()
        if text not in ("", "true", "false"):
            raise AnyLogError(87, f"policy {self.policy.id}: {name}:{text[:80]} is not true or false")
        return text == "true" if text else default

    def tcp(self) -> TcpOptions | None:
        """What the listener for other nodes is told; None if the policy names no port of it."""
        port, local_port = self.whole("port"), self.whole("local_port", "port")
        if not local_port:
            return None
        ip, local_ip = self.text("ip"), self.text("local_ip")
        if not (ip and port) and not local_ip:
            raise AnyLogError(2, f"policy {self.policy.id}: '{'port' if ip else 'ip'}' is missing for the TCP server")
        return TcpOptions(
            external_ip=ip if port else "",
            external_port=port if ip else 0,
            internal_ip=local_ip,
            internal_port=local_port if local_ip else 0,
            bind=self.flag("tcp_bind", not (ip and local_ip)),
            threads=self.whole("tcp_threads", most=1000) or 6,
        )

    def service(self, port: str, ip: str, bind: str, threads: str, default: int) -> TcpOptions | None:
        """What another listener is told: bound to an address of its own, else on all; None without a port."""
        number = self.whole(port)
        if not number:
            return None
        external, own = self.text("ip"), self.text(ip, "local_ip", "ip")
        if not own:
            raise AnyLogError(2, f"policy {self.policy.id}: 'ip' is missing for '{port}'")
        return TcpOptions(
            external_ip=external,
            external_port=number if external else 0,
            internal_ip=own,
            internal_port=number,
            bind=self.flag(bind, bool(self.text(ip))),
            threads=self.whole(*threads.split(), most=1000) or default,
        )

    def rest(self) -> RestOptions | None:
        """What the REST server is told."""
        place = self.service("rest_port", "rest_ip", "rest_bind", "rest_threads", 5)
        if place is None:
            return None
        timeout, seconds = self.text("rest_timeout"), 20.0
        try:
            seconds = RunRestServer.where["timeout"].read(timeout) if timeout else seconds
        except ValueError as odd:
            raise AnyLogError(87, f"policy {self.policy.id}: rest_timeout:{timeout[:80]} is not {odd}") from None
        return RestOptions(
            internal_ip=place.internal_ip,
            internal_port=place.internal_port,
            external_ip=place.external_ip,
            external_port=place.external_port,
            bind=place.bind,
            timeout=seconds,
            threads=place.threads,
        )

    def broker(self) -> TcpOptions | None:
        """What the message broker is told."""
        return self.service("broker_port", "broker_ip", "broker_bind", "msg_threads broker_threads", 6)

    def script(self) -> list[str]:
        """The commands: a list, or a text of one in brackets. AnyLogError 87 for something else."""
        given = self.policy.get("script")
        if isinstance(given, str):
            given = _listed(given)
        if given is None:
            return []
        if not isinstance(given, list) or not all(isinstance(line, str) for line in given):
            raise AnyLogError(87, f"policy {self.policy.id}: script:{str(given)[:80]} is not a list of commands")
        return [line.strip() for line in given if line.strip()]


def _listed(text: str) -> Any:
    """The entries of `[a, b]`: as JSON, else parted by commas."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return [text]
    try:
        return read_json(text)
    except AnyLogError:
        return [line.strip().strip("\"'") for line in text[1:-1].split(",")]


def _given(options: Any, *, ports_as_text: bool) -> dict[str, Any]:
    """The same as options of a command."""
    names = ("external_ip", "external_port", "internal_ip", "internal_port")
    values = {name: getattr(options, name) for name in names if getattr(options, name)}
    if ports_as_text:
        values = {name: str(value) for name, value in values.items()}
    return {**values, "bind": options.bind}


class ConfigFromPolicy(Command):
    """Configure the node from a policy of any type: its services first, then the commands of its `script`.

    The conditions must be those of one policy. Attributes ip, port, local_ip, local_port, tcp_bind and tcp_threads are
    for the TCP server, rest_port, rest_ip, rest_bind, rest_threads and rest_timeout for REST, broker_port, broker_ip,
    broker_bind and msg_threads for the message broker; '!key' in them is of this node. A service that runs with these
    settings is left alone, with others it is started anew. The first command that fails ends the script, unless it
    says 'on error ...'; a process that runs already is no error.
    """

    words = "config from policy"
    raw = literal = True
    usage = USAGE
    examples: ClassVar[tuple[str, ...]] = (
        "config from policy where id = !policy_id",
        "config from policy where name = my-config and company = acme",
        "config from policy where policy = !new_policy",
    )
    index = ("blockchain", "configuration", "policies")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 113, 215 or 170 if the policy is not clear; what a service or command raises."""
        return await configure(node, context, self._policy(node, context, operands[0].strip() if operands else ""))

    def _policy(self, node: Node, context: Context, text: str) -> Policy:
        given = _GIVEN.fullmatch(text)
        if given is not None:
            return policy_of(given[1], node, context)
        question = Question.read(replaced(text, scope_of(node, context)), typed=False)
        if question.where is None or question.bring is not None or question.links:
            raise AnyLogError(2, f"{self.words}: conditions are missing after 'where'; usage: {self.usage}")
        found = question.find(node, node.ledger.policies)
        if not found:
            raise AnyLogError(113, f"{self.words}: no policy is in the ledger {text[:200]}")
        if len(found) > 1:
            told = ", ".join(each.id for each in found[:5])
            raise AnyLogError(215, f"{self.words}: {len(found)} policies {text[:200]}: {told}")
        return found[0]


class ConfigById(ConfigFromPolicy):
    """Configure the node from the policy of an id: the old name of 'config from policy where id = ...'."""

    words = "policy"
    operands = "[id]"
    raw = literal = False
    least = most = 1
    usage = "policy [id]"
    examples = ("policy 52612f21b18cf29f7d2e511e3ca56ca6",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 113 for an unknown id."""
        policy = node.ledger.policies.get(operands[0])
        if policy is None:
            raise AnyLogError(113, f"{self.words}: no policy with the id '{operands[0][:80]}' is in the ledger")
        return await configure(node, context, policy)


async def configure(node: Node, context: Context, policy: Policy) -> Result:
    """Services, then script, which may end its callers; what came of it is noted. AnyLogError 170 without an id."""
    if not policy.id:
        raise AnyLogError(170, f"{policy.summary}: a policy that a node is configured from has an id")
    code, text = 26, "given up"
    try:
        settings = Settings(policy, scope_of(node, context))
        # All is read before anything is done.
        tcp, rest, broker, lines = settings.tcp(), settings.rest(), settings.broker(), settings.script()
        if not (tcp or rest or broker or lines):
            raise AnyLogError(33, f"{policy.summary}: it has neither services nor a script")
        await _serve(node, context, policy, tcp, rest, broker)
        result = await node.run_lines(f"Policy {policy.id}", lines, context, pardoned=RUNS)
        code, text = 0, ""
        return result
    except AnyLogError as error:
        code, text = error.number, str(error)
        raise
    finally:
        node.configured.note(policy.id, Outcome(policy.name, unix(node.clock), code, text))


async def _serve(
    node: Node,
    context: Context,
    policy: Policy,
    tcp: TcpOptions | None,
    rest: RestOptions | None,
    broker: TcpOptions | None,
) -> None:
    running: Any = node.processes.find("tcp")
    if tcp is not None and not (isinstance(running, TcpServer) and running.options == tcp):
        await _anew(node, context, policy, "tcp", _call_of(tcp))
    running = node.processes.find("rest")
    if rest is not None and not (isinstance(running, RestServer) and evolve(running.options, trace=0) == rest):
        await _anew(node, context, policy, "rest", _call_of(rest))
    running = node.processes.find("broker")
    same = isinstance(running, Broker) and (evolve(running.options.place, threads=running.options.threads) == broker)
    if broker is not None and not same:
        await _anew(node, context, policy, "broker", _call_of(broker, RunMessageBroker))


def _call_of(options: TcpOptions | RestOptions, command: type[Command] = RunTcpServer) -> Call:
    """What starts a service with these settings."""
    if isinstance(options, RestOptions):
        given = {**_given(options, ports_as_text=False), "timeout": options.timeout, "threads": options.threads}
        return Call(command=RunRestServer, options=given)
    return Call(command=command, options={**_given(options, ports_as_text=True), "threads": str(options.threads)})


def _present(running: Any) -> Call | None:
    """What starts a service as it runs now; None for a broker with more than a policy tells of it."""
    if not isinstance(running, Broker):
        return _call_of(running.options) if isinstance(running, TcpServer | RestServer) else None
    if running.options.tls is not None or running.options.websocket >= 0:
        return None
    return _call_of(evolve(running.options.place, threads=running.options.threads), RunMessageBroker)


async def _anew(node: Node, context: Context, policy: Policy, name: str, call: Call) -> None:
    """Start a service, in the place of the one that runs."""
    if node.processes.find(name) is None:
        await node.execute(call, context)
        return
    if name == "rest" and context.origin == "rest":
        # The answer goes out first: this very call is one of those that the server waits for at its end.
        node.clock.callLater(SOON, _restart, node, policy, name, call)
        return
    await _replaced(node, context, name, call)


async def _replaced(node: Node, context: Context, name: str, call: Call) -> None:
    """End a service and start it with other settings; with those that it had if these cannot be had."""
    before = _present(node.processes.find(name))
    await node.processes.exit(name)
    try:
        await node.execute(call, context)
    except AnyLogError as error:
        if before is None:
            raise
        await node.execute(before, context)
        raise AnyLogError(error.number, f"{error}; {name} runs as before") from None


def _restart(node: Node, policy: Policy, name: str, call: Call) -> None:
    def failed(failure: Any) -> None:
        error = failure.value
        code = error.number if isinstance(error, AnyLogError) else 500
        node.configured.note(policy.id, Outcome(policy.name, unix(node.clock), code, str(error)))
        node.logs.event.add("Error", f"config from policy: {name}: {error}", "node")
        log.failure("{name} could not be started anew", failure, name=name)

    Deferred.fromCoroutine(_replaced(node, Context(origin="node"), name, call)).addErrback(failed)


class GetConfigPolicies(Command):
    """Show the policies that this node was configured from since it started, and what came of each."""

    words = "get config policies"
    where: ClassVar[Mapping[str, Any]] = {"format": Format}
    examples = ("get config policies", "get config policies where format = json")
    index = ("blockchain", "configuration", "policies")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        titles = ("Policy ID", "Policy Name", "Status", "Error", "Message", "Date")
        rows = [
            (ident, each.name, "Failed" if each.code else "Completed", each.code, each.text, utc_date(each.at))
            for ident, each in node.configured.outcomes.items()
        ]
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=framed(bar_table(titles, rows)), data=data, format="table")


COMMANDS: tuple[type[Command], ...] = (ConfigFromPolicy, ConfigById, GetConfigPolicies)
