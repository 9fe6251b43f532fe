"""Is something there? A connection, or an answer by HTTP (network.md 11)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.net import INet
from anylog.network.peers import endpoint
from anylog.waiting import deadline

LARGEST = 64 << 10  # bytes of an answer


class _Asking(Protocol):
    """Says something and gathers what comes until the end."""

    def __init__(self, said: bytes) -> None:
        self._said, self._heard = said, b""
        self.ended: Deferred[bytes] = Deferred(lambda _: self.leave())

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if self._said:
            transport.write(self._said)
        else:
            transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        if len(self._heard) > LARGEST:
            self.leave()

    def leave(self) -> None:
        """Hear no more."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if not self.ended.called:
            self.ended.callback(self._heard)


class _Dial(Factory):
    noisy = False

    def __init__(self, said: bytes) -> None:
        self.made = _Asking(said)

    def buildProtocol(self, addr: Any) -> _Asking:
        return self.made


async def opened(net: INet, clock: Clock, address: str, seconds: float, said: bytes = b"") -> bytes:
    """Connect, say something, and give what was answered. Raises AnyLogError 20, 208."""
    dial = _Dial(said)
    try:
        connecting: Deferred[Any] = net.connect(endpoint(address, seconds), dial)  # type: ignore[arg-type]
        await deadline(clock, seconds, connecting, f"connecting to {address}")
    except ConnectError as refused:
        raise AnyLogError(208, f"{address}: {str(refused).rstrip('.')}") from None
    except AnyLogError as late:
        raise AnyLogError(208, late.detail) from None
    return await deadline(clock, seconds, dial.made.ended, f"an answer of {address}") if said else b""


async def probe(net: INet, clock: Clock, address: str, seconds: float) -> str:
    """The status of a node by HTTP. Raises AnyLogError 26, 51 or 208."""
    said = f"GET / HTTP/1.0\r\nHost: {address}\r\nUser-Agent: AnyLog/test\r\ncommand: get status\r\n\r\n"
    answer = await opened(net, clock, address, seconds, said.encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise AnyLogError(51, f"{address}: {head[:100].decode('latin-1')}")
    return body.decode("utf-8", "replace").strip()
