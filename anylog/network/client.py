"""Commands for other nodes, and commands of other nodes (network.md 5 to 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from attrs import define
from twisted.internet.defer import Deferred, succeed

from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Reply
from anylog.language.context import Call, Context, Result
from anylog.language.dictionary import shown
from anylog.network.replies import dump
from anylog.pages import all_pages
from anylog.waiting import deadline, deferring

LARGE = 128 << 10  # characters of a reply beyond which it travels in pages
LARGEST = 16 << 20  # bytes of a reply that is held
LONGEST = 600.0  # seconds that a command of another node may take where that sets no limit

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
    _clock: Clock
    _write: Callable[[str], None]  # where `print` of another node goes

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        text = body.decode("utf-8", "replace") if body else head.get("text")
        if not isinstance(text, str) or not text.strip():
            raise AnyLogError(2, "a command is missing")
        who = asker.address or asker.host or "this node"
        longest = self._clock.seconds() + LONGEST
        context = Context(
            origin="peer",
            who=who,
            local=False,
            deadline=min(asker.until or longest, longest),
            hops=asker.hops + 1,
            write=lambda line: self._write(f"[From Node {who}] {line}"),
        )
        left = max(context.deadline or 0.0, self._clock.seconds()) - self._clock.seconds()
        result = await deadline(self._clock, max(left, 0.001), self._execute(text, context), f"'{text[:100]}'")
        if result.pages is not None:
            return Reply(head={"paged": True, "media": result.pages.media}, body=result.pages)
        data = None if result.data is None else dump(result.data)
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
        text = (await all_pages(body, LARGEST, "a reply")).decode("utf-8", "replace")
        if str(head.get("media", "")).startswith("application/json"):
            try:
                return text, orjson.loads(text)
            except orjson.JSONDecodeError:
                return text, text
        return text, text
    told: dict[str, Any] = dict(head)
    if body is not None and head.get("in_body") in ("text", "data"):
        whole = await all_pages(body, LARGEST, "a reply")
        told[head["in_body"]] = whole.decode("utf-8", "replace") if head["in_body"] == "text" else whole
    said, data, form = told.get("text"), told.get("data"), told.get("format")
    if isinstance(data, bytes | str) and data and (form == "json" or not isinstance(said, str)):
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError as wrong:
            raise AnyLogError(21, f"a reply that is no JSON: {wrong}") from None
        return shown(value), value
    said = said if isinstance(said, str) else ""
    return said, said.strip("\r\n")
