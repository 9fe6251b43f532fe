"""The way to the network: endpoints given as text become ports and connections (architecture.md 6).

A node is handed a `Net`; a test hands it one that lives in memory. Nobody else touches sockets.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Protocol, cast

from attrs import define
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol

from anylog.errors import AnyLogError

RECEIVE = 4 << 20  # bytes of datagrams that wait in the system


class INet(Protocol):
    """Listen and connect; endpoints are written as Twisted endpoint strings (`tcp:32149`, `unix:/run/a`)."""

    def listen(self, endpoint: str, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Serve `factory` there."""

    def connect(self, endpoint: str, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Reach what serves there."""

    def datagrams(self, interface: str, port: int, protocol: DatagramProtocol) -> Deferred[IListeningPort]:
        """Take datagrams (UDP) at an address, empty for all, and a port; 0 takes a free one."""

    def local_ip(self) -> str:
        """The address by which others in the local network reach this machine (network.md 2)."""


@define
class Net:
    """The sockets of this machine, through the reactor that is handed in."""

    _reactor: Any  # what the endpoints need of it depends on their kind

    def listen(self, endpoint: str, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Serve `factory` at an endpoint such as `tcp:32149:interface=127.0.0.1`.

        Raises AnyLogError 40 for a text that is no endpoint; fails with `CannotListenError` if the place is taken.
        """
        try:
            place = serverFromString(self._reactor, endpoint)
        except (ValueError, KeyError, TypeError) as wrong:
            raise AnyLogError(40, f"'{endpoint}' is not a place to listen on: {wrong}") from wrong
        return cast("Deferred[IListeningPort]", place.listen(factory))

    def connect(self, endpoint: str, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Reach an endpoint such as `tcp:10.0.0.5:32148:timeout=5`.

        Raises AnyLogError 40 for a text that is no endpoint; fails with `ConnectError` if nobody answers.
        """
        try:
            place = clientFromString(self._reactor, endpoint)
        except (ValueError, KeyError, TypeError) as wrong:
            raise AnyLogError(40, f"'{endpoint}' is not a place to connect to: {wrong}") from wrong
        return cast("Deferred[IProtocol]", place.connect(factory))

    def datagrams(self, interface: str, port: int, protocol: DatagramProtocol) -> Deferred[IListeningPort]:
        """Take datagrams (UDP) at an address, empty for all, and a port; 0 takes a free one.

        Fails with `CannotListenError` if the place is taken.
        """
        opened: Any = maybeDeferred(self._reactor.listenUDP, port, protocol, interface, maxPacketSize=65536)

        def roomy(port: Any) -> Any:
            # What comes while the reactor is busy waits there; the system may give less.
            with suppress(OSError):
                port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)
            return port

        return cast("Deferred[IListeningPort]", opened.addCallback(roomy))

    def local_ip(self) -> str:
        """The source address of a way out of this machine; no packet is sent. 127.0.0.1 if there is no way out."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # RFC 5737: nobody has this address
                return str(probe.getsockname()[0])
            except OSError:
                return "127.0.0.1"
