"""The REST server: HTTP for everybody outside the network. It says nothing of its own (style.md 5, rest.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import evolve, frozen
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, IIntake, ILane, IPosts, unix
from anylog.language.context import Call, Context, Pages, Result
from anylog.language.logs import masked
from anylog.network import replies
from anylog.network.asking import (
    Asked,
    Lookup,
    check_method,
    decode_value,
    from_page,
    loopback,
    passed_on,
    read_request,
    sent_on,
)
from anylog.network.calls import CallCounts
from anylog.network.channel import Limits, Request, Site, address_text
from anylog.network.ingest import Ingest
from anylog.network.posted import Data, Posted
from anylog.network.stream import send
from anylog.network.upload import Incoming, Uploads, asks_to_keep
from anylog.process import DOORS, Process
from anylog.waiting import deadline, deferring

Execute = Callable[[str | Call, Context], Deferred[Result]]

LONGEST = 600.0  # seconds that a stranger's question may take where the server itself waits for ever
STOP_SECONDS = 10.0  # running requests may finish this long after `exit rest`
PRINTED = 1 << 20  # characters of `print` kept for one reply
LONGEST_AGENT = 500  # bytes of a user agent that is remembered: a stranger may send some of 64 KB
GATHERED = 1 << 20  # bytes of pages gathered for a reply that should have a length


class Net(Protocol):
    """Where a server listens: sockets in life, memory in tests."""

    def listen(self, endpoint: str, factory: Any) -> Deferred[Any]:
        """Listen on a Twisted endpoint string."""


@frozen(kw_only=True)
class RestOptions:
    """What `run rest server` was told (rest.md 1.1)."""

    internal_ip: str = ""
    internal_port: int = 0
    external_ip: str = ""
    external_port: int = 0
    bind: bool = True
    timeout: float = 20.0  # seconds; 0: for ever
    threads: int = 5
    trace: int = 0

    @property
    def ip(self) -> str:
        """The address that is listened on or, without `bind`, named."""
        return self.internal_ip or self.external_ip

    @property
    def port(self) -> int:
        """The port of that address."""
        return self.internal_port if self.internal_ip or self.internal_port else self.external_port

    def endpoint(self) -> str:
        """As Twisted writes it."""
        escaped = self.ip.strip("[]").replace(":", "\\:")
        return f"tcp:{self.port}:interface={escaped}" if self.bind and self.ip else f"tcp:{self.port}"


class RestServer(Process):
    """Commands by header, URL or body, readings by PUT; one listener."""

    name = "rest"
    floor = DOORS
    app = Klein()
    log = Logger()

    def __init__(
        self,
        *,
        execute: Execute,
        intake: IIntake,
        read_body: Callable[[bytes], list[dict[str, Any]]],
        normalise: Callable[[str], str],
        lookup: Lookup,
        net: Net,
        clock: Clock,
        node_name: Callable[[], str],
        options: RestOptions,
        limits: Limits | None = None,
        lane: ILane | None = None,
        uploads: Uploads | None = None,
        posts: IPosts | None = None,
        note: Callable[[str, str, str | None], None] = lambda text, who, error: None,
    ) -> None:
        """`lookup` gives the command class of a text, or None; it tells which HTTP methods may ask it.

        `note` is told of each call, of who called, and of its error.
        """
        self._note = note
        self._uploads = uploads
        self._posted = Posted(intake=intake, posts=posts) if posts is not None else None
        self.options = options
        self.calls = CallCounts()
        self.address = f"{options.ip}:{options.port}"
        self._execute, self._intake, self._lookup = execute, intake, lookup
        self._net, self._clock, self._node_name = net, clock, node_name
        self._slots = DeferredSemaphore(options.threads)
        # One slot is kept for this machine: strangers together cannot shut its people out.
        self._guests = DeferredSemaphore(max(1, options.threads - 1))
        self._port: Any = None  # an IListeningPort
        self.total = self.total_before = 0  # requests answered; and when last reset
        self._faults = 0
        self._agents: dict[bytes, str] = {}
        readings = Ingest(
            intake=intake,
            read_body=read_body,
            normalise=normalise,
            node_name=node_name,
            counted=self._counted,
            failed=self._unexpected,
            lane=lane,
        )
        self.site = Site(
            self.app.resource(),
            readings=readings.take,
            refusing=self._refusing,
            clock=clock,
            node_name=node_name,
            limits=limits or Limits(reader_seconds=options.timeout or Limits().reader_seconds),
            refused=self._refused_early,
            uploading=self._uploading,
        )

    # ------------------------------------------------------------------ a process

    @deferring
    async def start(self) -> None:
        """Listen. Raises AnyLogError 3 if the port cannot be had."""
        if self._uploads is not None:
            try:
                await self._uploads.clear()
            except (AnyLogError, OSError) as why:
                self.log.warn("what came before the node was ended is still there: {why}", why=why)
        try:
            self._port = await self._net.listen(self.options.endpoint(), self.site)
        except (CannotListenError, OSError) as why:
            raise AnyLogError(3, f"Failed to open a REST server on {self.address}: {why}") from None
        if not self.options.port:
            self.address = address_text(self._port.getHost())
        self.log.info("REST server listens on {address}", address=self.address)

    @deferring
    async def stop(self) -> None:
        """Listen no more, let running requests finish, then cut off what is left."""
        if self._port is not None:
            port, self._port = self._port, None
            await _done(port.stopListening())
        ended = self.site.close()
        try:
            await deadline(self._clock, STOP_SECONDS, ended, "waiting for running requests")
        except AnyLogError:
            self.site.abort()

    def describe(self) -> str:
        """As `get processes` shows it."""
        return (
            f"Listening on: {self.addresses()[2]}, Threads Pool: {self.options.threads}, "
            f"Timeout: {self.options.timeout:g}, SSL: False"
        )

    def addresses(self) -> tuple[str, str, str]:
        """External, internal and bound address, as `get connections` shows them."""
        given = self.options
        external = f"{given.external_ip}:{given.external_port}" if given.external_port else self.address
        port = self.address.rpartition(":")[2]
        return external, self.address, self.address if given.bind else f"0.0.0.0:{port}"

    @property
    def busy(self) -> int:
        """Requests that execute now."""
        return self._slots.limit - self._slots.tokens

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._slots.waiting) + len(self._guests.waiting)

    def set_timeout(self, seconds: float) -> None:
        """For requests from now on; 0: for ever."""
        self.options = evolve(self.options, timeout=seconds)
        self.site.limits = evolve(self.site.limits, reader_seconds=seconds or Limits().reader_seconds)

    # ------------------------------------------------------------------ the tree

    @app.route("/health", methods=["GET"])
    def health(self, request: Request) -> None:
        """For load balancers (rest.md 5.1)."""
        told = {"status": "healthy", "service": "anylog-rest-server", "timestamp": int(unix(self._clock))}
        request.reply(200, b"OK", replies.dump(told))

    @app.route("/api/status", methods=["GET"])
    def api_status(self, request: Request) -> None:
        """A shorter one."""
        request.reply(200, b"OK", b'{"status":"ok"}')

    @app.route("/api", methods=["GET"])
    @app.route("/api/<path:rest>", methods=["GET"])
    def api_unknown(self, request: Request, rest: str = "") -> None:
        """The rest of that namespace is nobody's."""
        request.reply(404, b"Not Found", b'{"error":"unknown command"}')

    @app.handle_errors(HTTPException)
    async def other(self, request: Request, failure: Failure) -> None:
        """A listed path with another method is a path like any other."""
        await self.command(request)

    @app.route("/")
    @app.route("/<path:ignored>")
    async def command(self, request: Request, ignored: str = "") -> None:
        """All else is a command, whatever the path."""
        method = request.method.decode("latin-1").upper()
        if method == "OPTIONS":
            wanted = request.getHeader(b"access-control-request-headers") or b""
            request.reply(204, b"No Content", b"", replies.TEXT, replies.preflight(wanted))
        elif method not in ("GET", "POST"):
            request.reply(501, replies.reason_of(501, f"{method} NOT SUPPORTED"), b"", replies.TEXT)
        else:
            await self._answer(request, method)

    async def _answer(self, request: Request, method: str) -> None:
        headers = {
            name.decode("latin-1").lower(): decode_value(values[0])
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        error: AnyLogError
        try:
            data = self._posted.addressed(headers, request.query) if method == "POST" and self._posted else None
            if data is not None:
                await self._take(request, data)
                return
            asked = read_request(method, request.query, headers, request.body)
            if not asked.command:
                self._counted(request, None)
                grafana = asked.agent == "grafana"
                request.reply(200, b"OK", b"OK" if grafana else b"", b"text/html" if grafana else replies.TEXT)
                return
            if not asked.natural:
                check_method(method, asked.command, self._lookup)
            if asked.destination:
                asked = sent_on(asked)
            timeout = self.options.timeout if asked.timeout is None else asked.timeout
            context = self._context(request, asked, headers)
            if not context.local:
                longest = self.options.timeout or LONGEST
                timeout = min(timeout or longest, longest)
            context.deadline = self._clock.seconds() + timeout if timeout else None
            printed = _Printed()
            context.write = printed.add
            result, first = await deadline(
                self._clock,
                timeout,
                Deferred.fromCoroutine(self._ask(asked, context, method)),
                f"'{asked.command[:100]}'",
            )
            await self._give(request, method, asked, result, first, printed, timeout)
            return
        except AnyLogError as refused:
            error = refused
        except CancelledError:
            if request.gone:
                self._counted(request, "Client left")
                raise
            error = AnyLogError(506)
        except Exception:  # the client must hear of it; the log has the rest
            error = self._unexpected(Failure(), headers.get("command", request.uri.decode("latin-1")))
        self._fail(request, method, error)

    async def _take(self, request: Request, data: Data) -> None:
        """Messages by POST are answered when they are safe; they are kept also if the client leaves."""
        assert self._posted is not None
        try:
            await _unhurried(self._posted.take(data, request.body), self._nobody_waits)
        except AnyLogError as refused:
            self._fail(request, "POST", refused, data=True)
            return
        self._counted(request, None)
        request.reply(200, b"OK", b"", replies.TEXT)

    async def _give(
        self,
        request: Request,
        method: str,
        asked: Asked,
        result: Result,
        first: bytes | None,
        printed: _Printed,
        limit: float,
    ) -> None:
        if result.pages is None:
            body, media = replies.body_of(result)
            if printed.text:
                body = printed.text.encode("utf-8", "replace") + body
                media = replies.media_of(body[:1].decode("latin-1"))
            self._counted(request, None)
            request.reply(200, b"OK", body, media)
            return
        pages, media = result.pages, _media(result.pages)
        if asked.by_url and first is not None:
            try:
                gathering = Deferred.fromCoroutine(_gather(pages, first))
                body, more = await deadline(self._clock, limit, gathering, "waiting for the next page")
            except BaseException:
                pages.close()
                raise
            if not more:
                pages.close()
                self._counted(request, None)
                request.reply(200, b"OK", body, media)
                return
            first = body
        if first is None:
            pages.close()
            self._counted(request, None)
            request.reply(200, b"OK", b"", media)
            return
        request.begin(media)
        await send(request, pages, first, clock=self._clock, limit=limit)
        self._counted(request, None)
        request.finish()

    async def _ask(self, asked: Asked, context: Context, method: str) -> tuple[Result, bytes | None]:
        """The result and its first page, made in one of the slots.

        What changes something goes on when the client leaves or its time is over; what only reads is cancelled, and
        who asks from elsewhere may only read: a stranger's `wait` must not keep a slot.
        """
        if not context.local:
            await self._guests.acquire()
        try:
            await self._slots.acquire()
        except CancelledError:
            self._leave_guests(None, context)
            raise
        work = Deferred.fromCoroutine(self._work(asked, context))
        work.addBoth(self._leave_slot).addBoth(self._leave_guests, context)
        if method != "GET" and context.local:
            work = _unhurried(work, self._nobody_listens)
        return await work

    async def _work(self, asked: Asked, context: Context) -> tuple[Result, bytes | None]:
        for number, line in enumerate(asked.before, 1):
            try:
                await self._execute(line, context)
            except AnyLogError as error:
                told = f"Error with command #{number} in the message body: '{line[:200]}'"
                raise AnyLogError(error.number, f"{told}: {error}", http=400) from None
        result = await self._execute(asked.text, context)
        if result.pages is None:
            return result, None
        try:
            return result, await result.pages.next()
        except BaseException:
            result.pages.close()
            raise

    def _leave_slot(self, outcome: Any) -> Any:
        self._slots.release()
        return outcome

    def _leave_guests(self, outcome: Any, context: Context) -> Any:
        if not context.local:
            self._guests.release()
        return outcome

    def _nobody_listens(self, outcome: Any) -> None:
        """A command ended after its client had gone."""
        if isinstance(outcome, Failure):
            if not outcome.check(AnyLogError, CancelledError):
                self._unexpected(outcome, "a command whose client has left")
        elif outcome[0].pages is not None:
            outcome[0].pages.close()

    def _nobody_waits(self, outcome: Any) -> None:
        """Messages came to their end after their client had gone."""
        if isinstance(outcome, Failure) and not outcome.check(AnyLogError, CancelledError):
            self._unexpected(outcome, "messages whose client has left")

    def _context(self, request: Request, asked: Asked, headers: dict[str, str]) -> Context:
        peer = request.getClientAddress()
        return Context(
            origin="rest",
            who=address_text(peer),
            local=self._is_local(request, headers),
            page=self._is_page(request, headers),
            destination=asked.destination,
            subset=asked.subset,
            trace=self.options.trace,
            upload=request.incoming.upload() if request.incoming is not None else None,
        )

    # ------------------------------------------------------------------ what went wrong, and how often

    def _fail(self, request: Request, method: str, error: AnyLogError, data: bool = False) -> None:
        self._counted(request, error.text)
        operator = str(error) if error.node else ""  # what another node said, or that it says nothing
        told = replies.error_object(method, self._node_name(), error, operator=operator)
        if error.number == 163 or data:  # known clients look for these two
            told["Error"] = error.detail or error.text
            told["Source"] = address_text(request.getClientAddress()).rpartition(":")[0]
        if request.startedWriting:
            request.cut(replies.dump(told))
        else:
            request.reply(error.http, replies.error_reason(error), replies.dump(told))

    def _unexpected(self, failure: Failure, doing: str) -> AnyLogError:
        """Log what nobody expected, and give the error that leads whoever asked to that place in the log."""
        self._faults += 1
        short = f"{int(self._clock.seconds()) & 0xFFFFFF:06x}-{self._faults}"
        self.log.failure("fault {id} in {doing}", failure, id=short, doing=doing[:200])
        return AnyLogError(500, f"a fault of this node; its log has the rest under {short}")

    def _refusing(self, method: bytes) -> AnyLogError | None:
        """Why a body is not read now: only readings wait for room in the journal."""
        return self._intake.refusal() if method == b"PUT" else None

    def _uploading(self, request: Request, method: bytes, uri: bytes, length: int) -> Incoming | None:
        """Where a body goes that is a file. AnyLogError 110, 501, 502; 212 for a stranger, who would fill the disk."""
        if method not in (b"POST", b"GET"):
            return None
        commands = request.requestHeaders.getRawHeaders(b"command")
        if not asks_to_keep(commands[0] if commands else None, uri):
            return None
        if self._uploads is None:
            raise AnyLogError(237, "this server takes no files")
        headers = {
            name.decode("latin-1").lower(): decode_value(values[0])
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        if not self._is_local(request, headers):
            raise AnyLogError(212, "'file to' changes this node: it is served to this machine only")
        coding = headers.get("content-encoding", "identity")
        if coding.lower() != "identity":  # it would be stored packed under a name that does not say so
            raise AnyLogError(110, f"a file is taken as it is, not with Content-Encoding: {coding[:40]}", http=415)
        return self._uploads.begin(headers.get("content-type", ""), length)

    def _is_local(self, request: Request, headers: dict[str, str]) -> bool:
        here = loopback(getattr(request.getClientAddress(), "host", ""))
        return here and not passed_on(headers) and not self._is_page(request, headers)

    def _is_page(self, request: Request, headers: dict[str, str]) -> bool:
        return from_page(headers, getattr(request.host, "port", 0))

    def _refused_early(self, agent: bytes, method: bytes, peer: str, error: AnyLogError) -> None:
        self.calls.add(self._product(agent), method.decode("latin-1") or "-", peer, self._clock.seconds(), error.text)
        self._note(method.decode("latin-1") or "-", peer, error.text)

    def _counted(self, request: Request, error: str | None) -> None:
        agents = request.requestHeaders.getRawHeaders(b"user-agent")
        channel = request.channel
        self.total += 1
        self.calls.add(
            self._product(agents[0]) if agents else "unknown",
            request.method.decode("latin-1"),
            channel.peer if channel is not None else "",
            self._clock.seconds(),
            error,
        )
        self._note(_asked(request), channel.peer if channel is not None else "", error)
        if self.options.trace:
            self._trace(request, error)

    def _product(self, agent: bytes) -> str:
        """The part of a user agent before `/`; remembered, for it is asked at every call."""
        product = self._agents.get(agent)
        if product is None:
            product = decode_value(agent).partition("/")[0].strip().lower()[:40] or "unknown"
            if len(self._agents) > 1000:
                self._agents.clear()
            if len(agent) <= LONGEST_AGENT:
                self._agents[agent] = product
        return product

    def _trace(self, request: Request, error: str | None) -> None:
        """`trace level = 1` a line for each request, from 2 headers and body too (rest.md 1.2)."""
        self.log.info(
            "{peer} {method} {uri} agent: {agent} command: {command} result: {result}",
            peer=address_text(request.getClientAddress()),
            method=request.method.decode("latin-1"),
            uri=request.uri.decode("latin-1"),
            agent=request.getHeader("user-agent") or "",
            command=masked(request.getHeader("command") or ""),
            result=error or "Success",
        )
        if self.options.trace > 1:
            headers = {
                name.decode("latin-1"): "***" if name.lower() == b"authorization" else masked(decode_value(values[0]))
                for name, values in request.requestHeaders.getAllRawHeaders()
            }
            body = masked(request.body[:10_000].decode("utf-8", "replace"))
            self.log.info("headers: {headers} body: {body}", headers=headers, body=body)


class _Printed:
    """What `print` said during one request."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str) -> None:
        """One more line, up to a limit."""
        if len(self.text) < PRINTED:
            self.text += text if text.endswith("\n") else text + "\r\n"


def _asked(request: Request) -> str:
    """Method, and the command or where readings go; else the path."""
    headers = [request.getHeader(name) for name in ("command", "dbms", "table")]
    what = headers[0] or (f"{headers[1]}.{headers[2]}" if headers[1] else request.uri.decode("latin-1"))
    return f"{request.method.decode('latin-1')} {what}"


async def _gather(pages: Pages, first: bytes) -> tuple[bytes, bool]:
    """Pages up to a size, and whether there are more (rest.md 5: a reply to a URL has a length)."""
    gathered = [first]
    while sum(map(len, gathered)) < GATHERED:
        page = await pages.next()
        if page is None:
            return b"".join(gathered), False
        gathered.append(page)
    return b"".join(gathered), True


def _media(pages: Pages) -> bytes:
    media = pages.media
    return (f"{media}; charset=utf-8" if media == "text/plain" else media).encode("latin-1", "replace")


def _unhurried(work: Deferred[Any], dropped: Callable[[Any], None]) -> Deferred[Any]:
    """Follows `work`, but being cancelled does not stop it; then `dropped` gets the outcome."""
    waited: Deferred[Any] = Deferred()

    def ended(outcome: Any) -> None:
        if waited.called:
            dropped(outcome)
        elif isinstance(outcome, Failure):
            waited.errback(outcome)
        else:
            waited.callback(outcome)

    work.addBoth(ended)
    return waited


async def _done(waited: Any) -> None:
    """Await what may be a Deferred or nothing."""
    if isinstance(waited, Deferred):
        await waited
