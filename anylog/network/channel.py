"""One HTTP connection under limits: size, pace, number, memory (rest.md 12, security.md 9).

The protocol itself is Twisted's. What is added here is only what a stranger must not be able to do: hold a
connection for ever, send without end, or never read.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.server import Request as WebRequest
from twisted.web.server import Site as WebSite

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, DelayedCall
from anylog.network import replies
from anylog.network.turned_away import TurnedAway
from anylog.network.upload import Incoming
from anylog.tank import Tank

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress


@frozen(kw_only=True)
class Limits:
    """What one server allows. Times in seconds, sizes in bytes."""

    body: int = 64 << 20
    headers: int = 64 << 10  # request line and all headers
    header_seconds: float = 30.0  # from a request's first byte to the end of its headers
    body_seconds: float = 60.0  # a body may take this long; longer only at `body_rate`
    body_rate: int = 10 << 10  # bytes a second
    idle_seconds: float = 60.0  # between two requests
    reader_seconds: float = 20.0  # a client may leave a reply untaken this long
    linger_seconds: float = 5.0  # what comes after a refusal is read and dropped this long, so that it is seen
    connections: int = 1000
    held: int = 256 << 20  # bytes of all bodies at once


class Phase(Enum):
    """What a connection is about."""

    IDLE = "between requests"
    HEADERS = "sending headers"
    BODY = "sending a body"
    BUSY = "waiting for its reply"
    CLOSING = "refused or done"


def address_text(address: IAddress) -> str:
    """`ip:port`, or what the address says of itself."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        host = address.host[7:] if address.host.startswith("::ffff:") else address.host
        return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    return str(address)


class Request(WebRequest):
    """One request. Its body is kept in memory, within the limits, and counted in the site's tank."""

    channel: Channel | None  # type: ignore[assignment]
    body: bytes = b""
    incoming: Incoming | None = None  # a body that is a file
    _held = 0
    _cut = False

    def __init__(self, channel: Channel, queued: object = False) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)
        self._chunks: list[bytes] = []
        self._door = channel.site

    def gotLength(self, length: int | None) -> None:
        """No file is made for a body, however long (called by the channel)."""

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body, or refuse it all once it is too much."""
        channel = self.channel
        if channel is None or channel.phase is not Phase.BODY:
            return
        if self.incoming is not None:
            self.incoming.take(data, channel.written)
            channel.hold(self.incoming)
            return
        self._held += len(data)
        self._door.tank.put(len(data))
        if self._held > self._door.limits.body:
            channel.refuse(AnyLogError(501, f"a body may have {self._door.limits.body} bytes"))
        elif self._door.tank.full and self._held > len(data):
            channel.refuse(AnyLogError(502, "too many bodies are held at once"))
        else:
            self._chunks.append(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All is there: answer it. The query string is not parsed here; rest.md 5 has rules of its own."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, self.query = path.partition(b"?")
        self.args = {}
        self.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        if self.incoming is None:
            self.process()
        else:
            self.incoming.finish().addCallback(lambda _: None if self.gone else self.process())

    @property
    def came(self) -> int:
        """Bytes of the body so far."""
        return self.incoming.came if self.incoming is not None else self._held

    @property
    def held(self) -> bool:
        """The sender waits for this node, not the node for its sender."""
        return self.incoming is not None and self.incoming.full

    def process(self) -> None:
        """Readings go straight to their resource; all else takes the tree."""
        if self.method == b"PUT":
            self._door.readings(self)
            return
        self.site = self._door
        self.prepath = []
        self.postpath = [part for part in self.path.split(b"/") if part] or [b""]
        try:
            self.render(self._door.resource)
        except Exception:
            self.processingFailed(Failure())

    def getRequestHostname(self) -> bytes:
        """Routes do not depend on it, and a stranger may write anything there."""
        return b"node"

    def reply(self, status: int, reason: bytes, body: bytes, media: bytes = replies.JSON, extra: bytes = b"") -> None:
        """Write a whole reply at once and be done; nothing happens if the client has gone."""
        channel = self.channel
        if channel is None or self.gone:
            return
        self.startedWriting = 1
        self.code = status
        told = replies.whole(
            self.clientproto,
            status,
            reason,
            self._door.date(),
            body,
            close=not channel.persistent or self._door.closing,
            media=media,
            extra=extra,
        )
        channel.transport.write(told[: -len(body)] if body and self.method == b"HEAD" else told)
        self.finish()

    def begin(self, media: bytes) -> None:
        """Prepare the headers of a reply that is written in pieces."""
        for name, value in replies.COMMON:
            self.responseHeaders.setRawHeaders(name, [value])
        self.responseHeaders.setRawHeaders(b"Date", [self._door.date()])
        self.responseHeaders.setRawHeaders(b"Content-Type", [media])

    def cut(self, last: bytes) -> None:
        """After an error in the middle of a reply: write `last`, then end the connection without the final chunk."""
        if self.channel is not None and not self._disconnected:
            self.write(last)
            self._cut = True
            self.channel.loseConnection()

    @property
    def gone(self) -> bool:
        """Nobody can hear an answer any more."""
        return bool(self._disconnected or self._cut)

    def unregisterProducer(self) -> None:
        """As Twisted's, and fine after the connection was lost."""
        if self.channel is not None:
            super().unregisterProducer()
        else:
            self.producer = None

    def finish(self) -> None:
        """The reply is complete; a cut one never is."""
        if not self.gone:
            self._let_go()
            super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """The client went away."""
        self._let_go()
        self._chunks = []
        super().connectionLost(reason)

    def _let_go(self) -> None:
        if self.incoming is not None:
            self.incoming.let_go()
        held, self._held = self._held, 0
        if held:
            self._door.tank.take(held)
        self.body = b""


class Channel(HTTPChannel):
    """One connection: Twisted's HTTP/1.1 with a phase, the time it began, and a way to refuse."""

    transport: Any  # a zope interface with parts of several
    requests: list[Request]
    _networkProducer: Any
    _path: Any  # Twisted's: bytes, while a request is read
    timeOut = None  # the site's sweep watches instead: one timer for all connections
    requestFactory = Request  # type: ignore[assignment]
    site: Site
    phase = Phase.IDLE
    stalled: float | None = None  # since when the client takes nothing
    peer = ""
    log = Logger()

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.factory = site
        self.totalHeadersSize = self.MAX_LENGTH = site.limits.headers
        self.since = site.clock.seconds()
        self._line_next = True  # the next line is a request line

    def connectionMade(self) -> None:
        self.peer = address_text(self.transport.getPeer())
        self.site.joined(self)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEADERS)
            if not (data[:1].isalpha() or data[:1] in b"\r\n"):  # a TLS greeting has no line end to wait for
                self._drop()
                return
        elif self.phase is Phase.CLOSING:
            return
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if self.phase is Phase.CLOSING:
            return
        if self._line_next and line:
            self._line_next = False
            line = tidy_request_line(line)
        super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        if self.phase is not Phase.CLOSING:
            super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:
        """Refuse before the body comes, when the headers alone tell (architecture.md 7); then Twisted's part."""
        self._enter(Phase.BODY)
        if self.length != 0:
            request = self.requests[-1]
            try:
                request.incoming = self.site.uploading(request, self._command, self._path, self.length or 0)
                refused = self.site.refusal(request, self._command, self.length)
            except AnyLogError as error:
                refused = error
            if refused is not None:
                self.refuse(refused)
                return
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if self.phase is Phase.CLOSING:
            return
        self._line_next = True
        self._enter(Phase.BUSY)
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """The reply is written: wait for the next request, or end."""
        if self.persistent and not self.site.closing:
            self._enter(Phase.IDLE)
        else:
            self.persistent = False
        super().requestDone(request)

    def hold(self, incoming: Incoming) -> None:
        """Let the sender wait while the disk does not follow."""
        if incoming.full and self.phase is Phase.BODY:
            self._networkProducer.pauseProducing()

    def written(self) -> None:
        """The disk has followed, or never will."""
        incoming = self.requests[-1].incoming if self.requests else None
        if self.phase is not Phase.BODY or incoming is None:
            return
        if incoming.error is not None:
            self.refuse(incoming.error)
        elif not incoming.full:
            self._networkProducer.resumeProducing()

    def refuse(self, error: AnyLogError) -> None:
        """Say why and end the connection; what still comes is read and dropped for a while, so that this is heard."""
        if self.phase is Phase.CLOSING:
            return
        request = self.requests[-1] if self.requests else None
        if request is not None and request.incoming is not None:
            request.incoming.let_go()
        method = getattr(self, "_command", b"")
        self.site.refused(self, method, request, error)
        told = (
            replies.put_error_object(self.site.node_name(), error)
            if method == b"PUT"
            else replies.error_object(method.decode("latin-1"), self.site.node_name(), error)
        )
        self.transport.write(
            replies.whole(
                b"HTTP/1.1", error.http, replies.error_reason(error), self.site.date(), replies.dump(told), close=True
            )
        )
        self._enter(Phase.CLOSING)
        self._networkProducer.resumeProducing()
        if ITCPTransport.providedBy(self.transport):
            self.transport.loseWriteConnection()
        else:
            self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted could not read it. Too much is said to be so; what is no HTTP at all is dropped with one line."""
        if self._receivedHeaderSize > self.totalHeadersSize:
            self.refuse(AnyLogError(110, f"headers may have {self.totalHeadersSize} bytes", http=431))
        elif self.requests and not hasattr(self, "_command"):
            self._drop()
        else:
            self.refuse(AnyLogError(110, "a header or a chunk is malformed"))

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line without end."""
        if hasattr(self, "_command"):
            self.refuse(AnyLogError(110, f"headers may have {self.totalHeadersSize} bytes", http=431))
        elif line[:8].split(b" ")[0] in (b"GET", b"POST", b"PUT", b"OPTIONS", b"HEAD", b"DELETE"):
            self.refuse(AnyLogError(110, f"a request line may have {self.totalHeadersSize} bytes", http=414))
        else:
            self._drop()

    def _drop(self) -> None:
        self.log.info("what came from {peer} is not HTTP; the connection was dropped", peer=self.peer)
        self.site.counts.add("not HTTP", last=self.peer)
        self.loseConnection()

    def loseConnection(self) -> None:
        """Write what is pending, then close; the sweep cuts it off if that takes too long."""
        self._enter(Phase.CLOSING)
        super().loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.phase = Phase.CLOSING
        self.site.left(self)
        super().connectionLost(reason)

    def pauseProducing(self) -> None:
        if self.stalled is None:
            self.stalled = self.site.clock.seconds()
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self.stalled = None
        super().resumeProducing()

    def watch(self, now: float) -> None:
        """End what takes too long; called about every second."""
        limits, spent = self.site.limits, now - self.since
        if self.stalled is not None and now - self.stalled > limits.reader_seconds:
            self.site.counts.add("slow readers", last=self.peer)
            self.stalled = None
            self.transport.abortConnection()
        elif self.phase is Phase.IDLE and spent > limits.idle_seconds:
            self.loseConnection()
        elif self.phase is Phase.HEADERS and spent > limits.header_seconds:
            self.refuse(AnyLogError(505, f"headers took more than {limits.header_seconds:g} seconds"))
        elif self.phase is Phase.BODY and spent > limits.body_seconds:
            came, held = (self.requests[-1].came, self.requests[-1].held) if self.requests else (0, False)
            if came < spent * limits.body_rate and not held:
                self.refuse(AnyLogError(505, f"{came} bytes of the body came in {spent:g} seconds"))
        elif self.phase is Phase.CLOSING and spent > limits.linger_seconds:
            self.transport.abortConnection()

    def _enter(self, phase: Phase) -> None:
        if self.phase is not Phase.CLOSING:
            self.phase = phase
            self.since = self.site.clock.seconds()


def tidy_request_line(line: bytes) -> bytes:
    """Percent-encode what people type into a URL: blanks, quotes, letters beyond ASCII (rest.md 5)."""
    if line.count(b" ") == 2 and line.isascii() and b"\t" not in line:
        return line
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if not version.startswith(b"HTTP/"):
        return line
    return b"%s %s %s" % (
        method,
        b"".join(bytes((c,)) if 32 < c < 127 else b"%%%02X" % c for c in target.strip(b" ")),
        version,
    )


class Site(WebSite):
    """All connections of one REST server and what they share: limits, tank, clock."""

    def __init__(
        self,
        resource: Any,
        *,
        readings: Callable[[Request], None],
        refusing: Callable[[bytes], AnyLogError | None],
        clock: Clock,
        node_name: Callable[[], str],
        limits: Limits,
        refused: Callable[[bytes, bytes, str, AnyLogError], None],
        uploading: Callable[[Request, bytes, bytes, int], Incoming | None] = lambda *asked: None,
    ) -> None:
        """`readings` answers PUT; `refusing(method)` says why no body is taken now; `refused` counts refusals.

        `uploading(request, method, uri, length)` says where a body goes that is a file, or raises AnyLogError.
        """
        super().__init__(resource, requestFactory=Request, reactor=clock)
        self.clock, self.node_name, self.limits = clock, node_name, limits
        self.readings, self._refusing, self._tell_refused = readings, refusing, refused
        self.uploading = uploading
        self.tank = Tank(low=limits.held * 3 // 4, high=limits.held)
        self.counts = Counts()
        self.closing = False
        self.channels: dict[Channel, None] = {}  # in the order they came
        self._sweep: DelayedCall | None = None
        self._empty: list[Deferred[None]] = []
        self._date = (-1, b"")

    def date(self) -> bytes:
        """The Date header, made once a second."""
        now = self.clock.seconds()
        if self._date[0] != int(now):
            self._date = (int(now), datetimeToString(now))
        return self._date[1]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A channel, or a short reply if there are too many. The connection idle for longest makes room."""
        if len(self.channels) >= self.limits.connections:
            idle = [channel for channel in self.channels if channel.phase is Phase.IDLE]
            self.counts.add("connections over the limit")
            if not idle:
                error = AnyLogError(502, f"{self.limits.connections} connections are open")
                told = replies.dump(replies.error_object("", self.node_name(), error))
                return TurnedAway(
                    replies.whole(b"HTTP/1.1", 503, replies.error_reason(error), self.date(), told, close=True)
                )
            min(idle, key=lambda channel: channel.since).transport.abortConnection()
        return Channel(self)

    def refusal(self, request: Request, method: bytes, length: int | None) -> AnyLogError | None:
        """Why a body of `length` bytes (None: in chunks) is not even read."""
        if length is not None and length > self.limits.body and request.incoming is None:
            return AnyLogError(501, f"a body may have {self.limits.body} bytes, this one has {length}")
        if self.closing:
            return AnyLogError(506)
        why = self._refusing(method)
        if why is not None:
            return why
        if self.tank.full:
            return AnyLogError(502, "too many bodies are held at once")
        return None

    def refused(self, channel: Channel, method: bytes, request: Request | None, error: AnyLogError) -> None:
        """Count a request that was refused before it was read."""
        agent = (request.getHeader(b"user-agent") if request is not None else None) or b""
        self._tell_refused(agent, method, channel.peer, error)

    def joined(self, channel: Channel) -> None:
        """A connection was made."""
        self.channels[channel] = None
        if self._sweep is None:
            self._sweep = self.clock.callLater(1, self._watch)

    def left(self, channel: Channel) -> None:
        """A connection is gone."""
        self.channels.pop(channel, None)
        if not self.channels:
            if self._sweep is not None and self._sweep.active():
                self._sweep.cancel()
            self._sweep = None
            empty, self._empty = self._empty, []
            for waited in empty:
                waited.callback(None)

    def close(self) -> Deferred[None]:
        """Take no new request and end every connection once its reply is out; fires when none is left."""
        self.closing = True
        for channel in list(self.channels):
            if channel.phase is Phase.BUSY:
                channel.persistent = False
            else:
                channel.loseConnection()
        waited: Deferred[None] = Deferred(lambda gone: self._empty.remove(gone))
        if self.channels:
            self._empty.append(waited)
        else:
            waited.callback(None)
        return waited

    def abort(self) -> None:
        """End every connection now."""
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def startFactory(self) -> None:
        """No access log: calls are counted, and traced on request."""

    def stopFactory(self) -> None:
        """Nothing was opened."""

    def log(self, request: object) -> None:
        """No access log (it would cost more than a PUT)."""

    def _watch(self) -> None:
        now = self.clock.seconds()
        self._sweep = self.clock.callLater(1, self._watch)
        for channel in list(self.channels):
            channel.watch(now)


def channel_of(request: Request) -> Channel:
    """The connection of a request that is still being answered."""
    return cast(Channel, request.channel)
