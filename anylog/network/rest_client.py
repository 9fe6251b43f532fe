"""Asking others by HTTP: one request, within limits of time and of size (language.md 10.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.language.logs import masked
from anylog.net import INet
from anylog.waiting import deadline

if TYPE_CHECKING:
    from treq.client import HTTPClient

LARGEST = 16 << 20  # bytes of a reply
CONNECTING = 20  # seconds
AGENT = "AnyLog/1.23"


@frozen(kw_only=True)
class Answer:
    """What came back."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


@define
class _Place:
    """An endpoint on the node's network."""

    net: INet
    endpoint: str

    def connect(self, factory: Any) -> Deferred[Any]:
        """Called by Twisted."""
        return self.net.connect(self.endpoint, factory)


class _Places:
    """Where an address of the web is, on the node's network."""

    def __init__(self, net: INet) -> None:
        self._net = net

    def endpointForURI(self, uri: Any) -> _Place:
        """Called by Twisted. Raises AnyLogError 40 for a scheme other than http and https."""
        kinds = {b"http": "tcp", b"https": "tls"}
        if uri.scheme not in kinds:
            raise AnyLogError(40, f"'{uri.scheme.decode('latin-1')}' is neither http nor https")
        host = uri.host.decode("ascii").replace("\\", "\\\\").replace(":", "\\:")
        return _Place(self._net, f"{kinds[uri.scheme]}:{host}:{uri.port}:timeout={CONNECTING}")


class RestClient:
    """Requests of one node."""

    def __init__(self, *, net: INet, clock: Clock) -> None:
        self._net, self._clock = net, clock
        self._client: HTTPClient | None = None

    async def ask(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes | None, seconds: float
    ) -> Answer:
        """One request and the whole of its reply; redirects are followed.

        Raises AnyLogError 40 for an address that is none, 51 if there is no reply or one of more than `LARGEST`, 26 if
        it takes longer than so many seconds.
        """
        what = f"{method} {masked(url)[:200]}"
        try:
            return await deadline(
                self._clock, seconds, Deferred.fromCoroutine(self._ask(method, url, headers, body)), what
            )
        except AnyLogError as why:
            raise AnyLogError(why.number, str(why) if what in str(why) else f"{what}: {why}") from None
        except CancelledError:
            raise
        except Exception as why:  # of many kinds: sockets, names, TLS, HTTP; each means that there is no reply
            raise AnyLogError(51, f"{what}: {_reason(why)}") from None

    async def _ask(self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes | None) -> Answer:
        from treq.client import HTTPClient
        from twisted.web.client import Agent, ResponseFailed
        from twisted.web.http_headers import Headers
        from twisted.web.iweb import IAgentEndpointFactory

        if self._client is None:  # slow to load, so not before it is wanted
            places = implementer(IAgentEndpointFactory)(_Places)(self._net)
            self._client = HTTPClient(Agent.usingEndpointFactory(self._clock, places))
        sent = Headers()
        for name, value in headers:
            sent.addRawHeader(name.encode("ascii"), value.encode("utf-8"))
        try:
            response: Any = await self._client.request(method, url, headers=sent, data=body, unbuffered=True)
        except ResponseFailed as why:
            if any(reason.check(CancelledError) for reason in why.reasons):
                raise CancelledError from None  # we gave it up
            raise
        body_read = _Body()
        response.deliverBody(body_read)
        try:
            content = await body_read.whole
        except CancelledError:
            body_read.give_up()
            raise
        return Answer(
            status=response.code,
            reason=(response.phrase or b"").decode("latin-1"),
            headers={
                name.decode("latin-1").lower(): values[-1].decode("latin-1")
                for name, values in response.headers.getAllRawHeaders()
            },
            body=content,
        )


class _Body(Protocol):
    """Gathers the body of a reply, up to a limit."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        """Called by Twisted."""
        self._size += len(data)
        if self._size <= LARGEST:
            self._parts.append(data)
        elif not self.whole.called:
            self._parts = []
            self.whole.errback(AnyLogError(51, f"a reply of more than {LARGEST >> 20} MB"))
            self.give_up()

    def give_up(self) -> None:
        """Nobody wants the rest."""
        transport: Any = self.transport
        if transport is not None:
            getattr(transport, "abortConnection", transport.loseConnection)()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called by Twisted: that was all of it, or the connection broke."""
        from twisted.web.client import ResponseDone
        from twisted.web.http import PotentialDataLoss

        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(AnyLogError(51, f"the reply broke off after {self._size:,} bytes"))


def _reason(why: BaseException) -> str:
    """The first of what was wrong, in words."""
    reasons = getattr(why, "reasons", None)
    if reasons:
        inner = reasons[0]
        return _reason(inner.value) if isinstance(inner, Failure) and inner.value else str(inner)
    return str(why) or type(why).__name__
