"""`rest get where url = ...`: a request to anybody who speaks HTTP (language.md 10.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import orjson

from anylog.disk.confined import Use, naming
from anylog.errors import AnyLogError
from anylog.language.command import Command, Text
from anylog.language.context import Context, Result
from anylog.language.dictionary import read_json, resolve_json, shown
from anylog.language.statements import scope_of
from anylog.language.tokens import tokens_of
from anylog.language.where import read_where
from anylog.network.rest_client import AGENT, Answer

if TYPE_CHECKING:
    from anylog.node import Node

SECONDS = 20.0
LONGEST = 600.0
_RESERVED = ("url", "body", "data", "headers", "timeout", "details", "type")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\-]{1,200}")


class _Rest(Command):
    """A request."""

    method: ClassVar[str] = ""
    raw = literal = True
    index = ("api", "script")
    guarded = True

    @classmethod
    def usage_text(cls) -> str:
        """How it is written."""
        return f"{cls.words} where url = [address] [and body = text] [and timeout = seconds] [and header = value ...]"

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 51 for no reply or one that says no, 26 for a late one, 2, 40 or 175 for wrong options."""
        scope = scope_of(node, context)
        tokens = tokens_of(operands[0] if operands else "")
        if not tokens or not tokens[0].is_word("where"):
            raise AnyLogError(2, f"{self.words}: 'where url = ...' is missing; usage: {self.usage_text()}")
        given: dict[str, str] = {}
        for key, text in read_where(tokens[1:], {"body": Text(late=True), "data": Text(late=True)}, scope):
            if key.lower() in given:
                raise AnyLogError(2, f"{self.words}: Multiple values to key '{key}'")
            given[key.lower() if key.lower() in _RESERVED else key] = text
        url = self._url(given.pop("url", ""))
        seconds = self._seconds(given.pop("timeout", ""))
        details = given.pop("details", "").lower() == "true"
        body = given.pop("body", given.pop("data", None))
        sent = None if body is None else self._body(body, scope)
        answer = await node.rest_client.ask(self.method, url, self._headers(given, scope), sent, seconds)
        if not 200 <= answer.status < 300:
            told = answer.body[:200].decode("utf-8", "replace").strip()
            raise AnyLogError(51, f"{self.words}: {url[:200]} answered {answer.status} {answer.reason} {told}".strip())
        if context.into is not None:
            return await self._keep(node, context, answer)
        return _told(answer, details)

    def _url(self, url: str) -> str:
        if not url:
            raise AnyLogError(2, f"{self.words}: Missing 'url'; usage: {self.usage_text()}")
        if "://" not in url:
            url = f"http://{url}"
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or not url.isprintable() or " " in url:
            raise AnyLogError(40, f"{self.words}: '{url[:200]}' is no address of the web")
        return url

    def _seconds(self, text: str) -> float:
        if not text:
            return SECONDS
        found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(?: *seconds?)?", text.strip().lower())
        if not found or not 0 < float(found[1]) <= LONGEST:
            raise AnyLogError(175, f"{self.words}: '{text}' is not a value for 'timeout': seconds, at most {LONGEST:g}")
        return float(found[1])

    def _body(self, text: str, scope: Any) -> bytes:
        """JSON with its references resolved, else the text."""
        if text[:1] == "!" and not re.search(r"\s", text):
            value = scope.resolve(text)
            if value is None:
                raise AnyLogError(2, f"Missing dictionary definition for '{text}'")
            text = shown(value)
        if text[:1] in ("{", "["):
            text = resolve_json(text, scope)
        return text.encode("utf-8", "replace")

    def _headers(self, given: dict[str, str], scope: Any) -> list[tuple[str, str]]:
        named = given.pop("headers", "")
        found = {key: _bare(text) for key, text in given.items()}
        if named:
            value = read_json(resolve_json(named, scope))
            if not isinstance(value, dict):
                raise AnyLogError(175, f"{self.words}: '{named[:80]}' is not a value for 'headers': a dictionary")
            found.update({str(key): shown(each) for key, each in value.items()})
        for key, text in found.items():
            if not _HEADER.fullmatch(key):
                raise AnyLogError(2, f"{self.words}: '{key[:80]}' is no name of a header")
            if any(ord(char) < 32 for char in text):
                raise AnyLogError(175, f"{self.words}: the header '{key}' may not span lines")
        if not any(key.lower() == "user-agent" for key in found):
            found["User-Agent"] = AGENT
        return list(found.items())

    async def _keep(self, node: Node, context: Context, answer: Answer) -> Result:
        """`[file = f, key = k, show = true] =`: the rows of the reply into a file, one a line."""
        into = context.into or {}
        rows = _rows(answer, into.get("key", ""))
        if rows is None:
            data, told = answer.body, f"{len(answer.body):,} bytes"
        else:
            data = b"".join(orjson.dumps(row) + b"\n" for row in rows)
            told = f"{len(rows):,} rows"
        confines = node.file_access.confines(local=context.local)

        def keep() -> str:
            path = confines.real().name(into["file"], Use.CHANGE)
            with naming(path, 14):
                node.disk.publish(path, data)
            return str(path)

        path = await node.lanes.open("files", 2).run(keep)
        if into.get("show", "").lower() == "true":
            context.write(data.decode("utf-8", "replace").rstrip("\n"))
        return Result(text=f"{told} in {path}")


def _rows(answer: Answer, key: str) -> list[Any] | None:
    """The list that a reply holds, under a key or by itself; None if it is no list and no key is asked for."""
    value = _json(answer)
    if key:
        if not isinstance(value, dict) or key not in value:
            raise AnyLogError(51, f"the reply has no '{key}': {answer.body[:80].decode('utf-8', 'replace')}")
        value = value[key]
        return value if isinstance(value, list) else [value]
    return value if isinstance(value, list) else None


def _json(answer: Answer) -> Any:
    """The reply as JSON values, None if it is none."""
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None


def _bare(text: str) -> str:
    """A text in single quotes, which may hold double ones, without them."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text


def _told(answer: Answer, details: bool) -> Result:
    value = _json(answer)
    text = answer.body.decode("utf-8", "replace")
    if details:
        data = {
            "status": answer.status,
            "reason": answer.reason,
            "headers": dict(answer.headers),
            "body": text if value is None else value,
        }
        return Result(data=data, format="json")
    if isinstance(value, dict | list):
        return Result(data=value, format="json")
    return Result(text=text)


class RestGet(_Rest):
    """Ask another server by HTTP GET; its reply is the value.

    What is not one of url, body, headers, timeout (seconds, 20 unless said) and details is a header of the request. A
    reply that is not of 200 to 299 is an error. `details = true` gives status and headers, too. With
    `[file = f, key = k]` on the left the list `k` of the reply is written to a file, a row a line.
    """

    words, method = "rest get", "GET"
    examples = (
        "loc = rest get where url = https://example.com/json and timeout = 5",
        'rest get where url = http://127.0.0.1:32149 and command = "get status" and User-Agent = AnyLog/1.23',
    )


class RestPut(_Rest):
    """Send to another server by HTTP PUT; the options are those of `rest get`."""

    words, method = "rest put", "PUT"
    examples = (
        "rest put where url = http://10.0.0.5:32149 and dbms = town and table = weather and mode = streaming"
        " and type = json and body = !reading",
    )


class RestPost(_Rest):
    """Send to another server by HTTP POST; the options are those of `rest get`."""

    words, method = "rest post", "POST"
    examples = ("rest post where url = http://10.0.0.5:32149 and command = 'run streamer'",)


class RestView(_Rest):
    """Ask a node with which address and port it sees this one (HTTP VIEW); the options are those of `rest get`."""

    words, method = "rest view", "VIEW"
    examples = ("rest view where url = http://10.0.0.5:32149",)


class RestDelete(_Rest):
    """Send to another server by HTTP DELETE; the options are those of `rest get`."""

    words, method = "rest delete", "DELETE"
    examples = ("rest delete where url = http://example.com/items/7",)


COMMANDS: tuple[type[Command], ...] = (RestGet, RestPut, RestPost, RestView, RestDelete)
