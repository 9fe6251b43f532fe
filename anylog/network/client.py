"""Commands for other nodes, and commands of other nodes (network.md 5 to 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define
from twisted.internet.defer import Deferred, DeferredList, succeed

from anylog.errors import AnyLogError
from anylog.interfaces import Asker, IBody, Reply
from anylog.jobs import COMPLETED, STOPPED, UNREACHED
from anylog.language.context import Call, Context, Result
from anylog.language.dictionary import shown
from anylog.language.replies import Replies
from anylog.waiting import deferring

if TYPE_CHECKING:
    from anylog.node import Node

LARGE = 128 << 10  # characters of a reply beyond which it travels in pages
LARGEST = 16 << 20  # bytes of a reply that is held
UNREACHABLE = (8, 15, 26, 208)

Execute = Callable[[str | Call, Context], Deferred[Result]]


@define(eq=False)
class _Once:
    """A text that is there already, in pages."""

    _left: bytes

    def next(self) -> Deferred[bytes | None]:
        page, self._left = self._left[:LARGE], self._left[LARGE:]
        return succeed(page or None)

    def close(self) -> None:
        self._left = b""


@define(kw_only=True, eq=False)
class CommandService:
    """Handler of the kind `command`: runs a command of another node, as far as others may (decisions.md 10)."""

    _execute: Execute
    _write: Callable[[str], None]  # where `print` of another node goes

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        text = body.decode("utf-8", "replace") if body else head.get("text")
        if not isinstance(text, str) or not text.strip():
            raise AnyLogError(2, "a command is missing")
        if text.split(None, 1)[0].lower() == "help":
            raise AnyLogError(224, "help is answered by the node that asks")
        who = asker.address or asker.host or "this node"
        context = Context(
            origin="peer",
            who=who,
            local=False,
            deadline=asker.until,
            hops=asker.hops + 1,
            write=lambda line: self._write(f"[From Node {who}] {line}"),
        )
        result = await self._execute(text, context)
        if result.pages is not None:
            return Reply(head={"paged": True, "media": result.pages.media}, body=result.pages)
        data = None if result.data is None else orjson.dumps(result.data, default=str, option=orjson.OPT_NON_STR_KEYS)
        told: dict[str, Any] = {"format": result.format, "text": result.text, "data": data}
        for key in ("text", "data"):
            size = len(told[key] or "")
            if size > LARGE:
                large = told.pop(key)
                other = "data" if key == "text" else "text"
                if len(told.get(other) or "") > LARGE:
                    told.pop(other)  # the same in another form
                wide = large.encode("utf-8", "replace") if isinstance(large, str) else large
                return Reply(head={**told, "in_body": key}, body=_Once(wide))
        return Reply(head=told)


async def value_of(reply: Reply) -> tuple[str, Any]:
    """What another node answered: as text, and as a value (JSON where it is). Raises AnyLogError 77."""
    head, body = reply.head, reply.body
    if head.get("paged"):
        text = (await _all(body)).decode("utf-8", "replace")
        if str(head.get("media", "")).startswith("application/json"):
            try:
                return text, orjson.loads(text)
            except orjson.JSONDecodeError:
                return text, text
        return text, text
    told: dict[str, Any] = dict(head)
    if body is not None and head.get("in_body") in ("text", "data"):
        whole = await _all(body)
        told[head["in_body"]] = whole.decode("utf-8", "replace") if head["in_body"] == "text" else whole
    said, data, form = told.get("text"), told.get("data"), told.get("format")
    if isinstance(data, bytes | str) and data and (form == "json" or not isinstance(said, str)):
        value = orjson.loads(data)
        return shown(value), value
    said = said if isinstance(said, str) else ""
    return said, said.strip("\r\n")


async def _all(body: IBody | None) -> bytes:
    parts: list[bytes] = []
    size = 0
    if body is None:
        return b""
    try:
        while (page := await body.next()) is not None:
            parts.append(page)
            size += len(page)
            if size > LARGEST:
                raise AnyLogError(77, f"a reply of more than {LARGEST >> 20} MB")
    finally:
        body.close()
    return b"".join(parts)


async def ask_nodes(
    node: Node,
    context: Context,
    text: str,
    addresses: Sequence[str],
    *,
    subset: bool = False,
    timeout: float | None = None,
) -> Result:
    """Run a command on nodes and collect what they answer.

    Without `subset` the first failure in the order of the nodes is raised: AnyLogError 208, 15, 26 or what the node
    said, its `node` the address. With it a node that fails has no entry, and its error stands in the text.
    """
    now = node.clock.seconds()
    ends = [each for each in (context.deadline, None if timeout is None else now + timeout) if each is not None]
    until = min(ends, default=None)
    job = node.jobs.open(text, "rest" if context.origin == "rest" else "stdout")
    parts = [job.part(address, now) for address in addresses]
    asked: list[Deferred[tuple[str, Any]]] = []
    head = {"text": text, "wants": True}
    for address in addresses:
        waiting = node.peers.ask(address, "command", head, until=until, hops=context.hops)
        asked.append(waiting.addCallback(lambda reply: Deferred.fromCoroutine(value_of(reply))))

    def stop() -> None:
        for each in asked:
            each.cancel()

    job.stop = stop
    answers: list[tuple[str, Any]] = []
    lines: list[str] = []
    failure: AnyLogError | None = None
    try:
        outcome: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
    except BaseException:
        stop()
        job.end(STOPPED, node.clock.seconds())
        raise
    for address, part, (fine, found) in zip(addresses, parts, outcome, strict=True):
        part.ended = node.clock.seconds()
        if fine:
            part.status = COMPLETED
            said, value = found
            answers.append((address, value))
            lines.append(f"[From Node {address}]\r\n{said.strip()}" if said.strip() else f"[From Node {address}]")
            continue
        error = found.value
        if not isinstance(error, AnyLogError):
            error = AnyLogError(23 if job.ended else 26, f"{address}: stopped", node=address)
        error.node = error.node or address
        part.status = UNREACHED if error.number in UNREACHABLE else f"Error: {error}"
        unreached = error.number in UNREACHABLE
        lines.append(f"[From Node {address}] {'Not responding' if unreached else 'Failed'}: {error}")
        if failure is None:
            http = error.http if unreached else 502
            failure = AnyLogError(error.number, f"{address}: {error}" if address not in str(error) else str(error),
                                  http=http, node=address)  # fmt: skip
    job.end(COMPLETED if failure is None else f"Error: {failure}", node.clock.seconds())
    if failure is not None and not subset:
        raise failure
    replies = Replies(list(addresses), answers)
    objects = dict(answers)
    return Result(
        text="\r\n\r\n".join(lines),
        data=objects,
        format="json" if context.origin == "rest" else "text",
        replies=replies,
    )
