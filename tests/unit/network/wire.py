"""A REST server without sockets: bytes in, replies out, a clock moved by hand."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.interfaces import Receipt
from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.network.channel import Channel, Limits
from anylog.network.rest import RestOptions, RestServer
from anylog.network.upload import Uploads


class GetStatus(Command):
    """One command that reads."""

    words = "get status"
    http = ("GET",)


class RunStreamer(Command):
    """One command that changes."""

    words = "run streamer"


class FileTo(Command):
    """One whose body is a file."""

    words = "file to"
    http = ("POST", "GET")


class Sql(Command):
    """One that may be asked both ways."""

    words = "sql"
    http = ("GET", "POST")


def lookup(text: str) -> type[Command] | None:
    """The only words of these tests."""
    for command in (GetStatus, RunStreamer, FileTo, Sql):
        if text.lower().startswith(command.words):
            return command
    return None


def read_body(body: bytes) -> list[dict[str, Any]]:
    """Enough of the real one for these tests."""
    try:
        rows = json.loads(body)
    except ValueError:
        raise AnyLogError(6) from None
    return rows if isinstance(rows, list) else [rows]


@define
class FakeIntake:
    """Remembers what it was given; answers when told to."""

    taken: list[tuple[Any, ...]] = field(factory=list)
    answer: Any = None  # a Deferred, an error, or None for a receipt at once
    why_not: str = ""

    def accept(self, dbms: str, table: str, body: bytes, rows: Any, **options: Any) -> Deferred[Receipt]:
        """As IIntake."""
        self.taken.append((dbms, table, list(rows), options))
        if isinstance(self.answer, Deferred):
            return self.answer
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        return succeed(Receipt("5d41402abc4b2a76b9719d911017c592" if options["whole"] else "0", len(rows)))

    def refusal(self) -> AnyLogError | None:
        """As IIntake."""
        return AnyLogError(502, self.why_not) if self.why_not else None


class FakePages:
    """Pages that come when the test says so."""

    media = "application/json"

    def __init__(self, *pages: bytes | Exception) -> None:
        self.pages = list(pages)
        self.asked = 0
        self.closed = 0
        self.held: Deferred[bytes | None] | None = None  # given out instead of a page, once

    def next(self) -> Deferred[bytes | None]:
        """The next one."""
        self.asked += 1
        if self.held is not None:
            held, self.held = self.held, None
            return held
        if not self.pages:
            return succeed(None)
        page = self.pages.pop(0)
        return fail(page) if isinstance(page, Exception) else succeed(page)

    def close(self) -> None:
        """Counted."""
        self.closed += 1


class Line(StringTransport):
    """One end of a connection, with the notice that it ended."""

    def __init__(self, peer: str) -> None:
        super().__init__(hostAddress=IPv4Address("TCP", "127.0.0.1", 32149), peerAddress=IPv4Address("TCP", peer, 5555))
        self.over = False

    def abortConnection(self) -> None:
        """At once."""
        super().abortConnection()
        self.disconnecting = True


@define
class Answer:
    """One reply, taken apart."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes
    whole: bool = True  # the length was right, or the last chunk came

    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@define
class Client:
    """A connection to the server under test."""

    wire: Wire
    channel: Channel
    line: Line

    def send(self, data: bytes) -> bytes:
        """Bytes to the server; gives what it wrote."""
        self.channel.dataReceived(data)
        return self.seen()

    def seen(self) -> bytes:
        """What the server wrote since last asked; a closed line is told to it."""
        if self.line.disconnecting and not self.line.over:
            self.line.over = True
            self.channel.connectionLost(Failure(ConnectionDone()))
        data = self.line.value()
        self.line.clear()
        return data

    def leave(self) -> None:
        """The client goes away."""
        self.line.over = True
        self.channel.connectionLost(Failure(ConnectionDone()))


class Wire:
    """A server whose commands are answered by a table: text -> Result, AnyLogError or Deferred."""

    def __init__(self, limits: Limits | None = None, uploads: Uploads | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_790_000_000)
        self.intake = FakeIntake()
        self.asked: list[tuple[str, Context]] = []
        self.replies: dict[str, Any] = {"get status": Result(text="edge@10.0.0.5:32148 running")}
        self.server = RestServer(
            execute=self._execute,
            intake=self.intake,
            read_body=read_body,
            normalise=str.lower,
            lookup=lookup,
            net=None,  # type: ignore[arg-type]
            clock=self.clock,
            node_name=lambda: "10.0.0.5:32149",
            options=RestOptions(internal_ip="127.0.0.1", internal_port=32149, **options),
            limits=limits,
            uploads=uploads,
        )

    def _execute(self, text: Any, context: Context) -> Deferred[Result]:
        self.asked.append((text, context))
        reply = self.replies.get(text, AnyLogError(1, f"'{text}' is not a command"))
        if isinstance(reply, Deferred):
            return reply
        if callable(reply):
            reply = reply(context)
        return fail(reply) if isinstance(reply, Exception) else succeed(reply)

    def connect(self, peer: str = "127.0.0.1") -> Client:
        """A new connection."""
        line = Line(peer)
        channel = self.server.site.buildProtocol(line.getPeer())
        channel.makeConnection(line)
        return Client(self, channel, line)

    def ask(
        self, method: str = "GET", target: str = "/", body: bytes = b"", peer: str = "127.0.0.1", **more: str
    ) -> Answer:
        """One request on a connection of its own; header names have `_` for `-`."""
        return parse(self.connect(peer).send(request(method, target, body, **more)), method)


def request(method: str = "GET", target: str = "/", body: bytes = b"", **more: str) -> bytes:
    """The bytes of a request."""
    headers = {"Host": "127.0.0.1:32149", **{name.replace("_", "-"): value for name, value in more.items()}}
    if body or method in ("PUT", "POST"):
        headers.setdefault("Content-Length", str(len(body)))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parse(data: bytes, method: str = "GET") -> Answer:
    """The first reply of what a server wrote."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    _, status, reason = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    whole = True
    if headers.get("transfer-encoding") == "chunked":
        chunks, whole = b"", False
        while body:
            size, _, body = body.partition(b"\r\n")
            if int(size, 16) == 0:
                whole = True
                break
            chunks += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        body = chunks
    elif method != "HEAD":
        whole = len(body) == int(headers["content-length"])
    return Answer(int(status), reason, headers, body, whole)
