"""The listener for other nodes: who can be reached here is a member (network.md 1, 4)."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.net import INet
from anylog.network.channel import address_text
from anylog.network.peers import THREADS, Peers
from anylog.process import DOORS, Process
from anylog.waiting import deferring, pause

STOP_SECONDS = 5.0  # running commands may finish this long after `exit tcp`
_LOOK = 0.05  # seconds between two looks whether they have


@frozen(kw_only=True)
class TcpOptions:
    """What `run tcp server` was told. One pair of address and port is enough."""

    external_ip: str = ""
    external_port: int = 0
    internal_ip: str = ""
    internal_port: int = 0
    bind: bool = False
    threads: int = THREADS

    @property
    def ip(self) -> str:
        """The address in the local network."""
        return self.internal_ip or self.external_ip

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self.internal_port or self.external_port

    def endpoint(self) -> str:
        """As Twisted writes it; without `bind` all interfaces are listened on."""
        escaped = self.ip.strip("[]").replace(":", "\\:")
        return f"tcp:{self.port}:interface={escaped}" if self.bind and self.ip else f"tcp:{self.port}"

    def addresses(self, port: int) -> tuple[str, str, str]:
        """External, internal and bound address, if `port` is what is listened on."""
        internal = joined(self.ip, port)
        external = joined(self.external_ip, self.external_port or port) if self.external_ip else internal
        return external, internal, internal if self.bind else f"0.0.0.0:{port}"


class TcpServer(Process):
    """Takes the connections of other nodes."""

    name = "tcp"
    floor = DOORS
    log = Logger()

    def __init__(self, *, peers: Peers, net: INet, clock: Clock, options: TcpOptions) -> None:
        self.options, self.peers = options, peers
        self.port = options.port
        self.total_before = 0  # commands when `get tcp pool` was reset
        self.since = 0.0  # unix seconds
        self._net, self._clock = net, clock
        self._port: Any = None  # an IListeningPort
        self._own: set[str] = set()

    @deferring
    async def start(self) -> None:
        """Listen. Raises AnyLogError 3 if the port cannot be had."""
        given = self.options
        try:
            self._port = await self._net.listen(given.endpoint(), self.peers.factory)
        except (CannotListenError, OSError) as why:
            raise AnyLogError(3, f"Failed to open a TCP server on {joined(given.ip, given.port)}: {why}") from None
        if not given.port:
            self.port = int(address_text(self._port.getHost()).rpartition(":")[2])
        self.since = self._clock.seconds()
        self.peers.set_threads(given.threads)
        self.claim()
        self.peers.greet()
        self.log.info("TCP server listens on {address}", address=self.addresses()[2])

    @deferring
    async def stop(self) -> None:
        """Listen no more, let running commands finish, then close the connections that came."""
        if self._port is None:
            return
        port, self._port = self._port, None
        self.peers.own -= self._own
        await port.stopListening()
        self.peers.greet()
        until = self._clock.seconds() + STOP_SECONDS
        self.peers.close_idle()
        while self.peers.answering and self._clock.seconds() < until:
            await pause(self._clock, _LOOK)
            self.peers.close_idle()
        self.peers.close_taken()

    def claim(self) -> None:
        """Say anew which addresses are this very node."""
        self.peers.own -= self._own
        self._own = {*self.addresses()[:2], *self.peers.ways.own(self.port)}
        if not self.options.bind:
            self._own.add(f"127.0.0.1:{self.port}")
        self.peers.own |= self._own

    def describe(self) -> str:
        """As `get processes` shows it."""
        external, internal, _ = self.addresses()
        places = external if external == internal else f"{external} and {internal}"
        return f"Listening on: {places}, Threads Pool: {self.options.threads}"

    def addresses(self) -> tuple[str, str, str]:
        """External, internal and bound address, as `get connections` shows them."""
        return self.options.addresses(self.port)

    @property
    def busy(self) -> int:
        """Commands of peers that run now."""
        slots = self.peers.slots()
        return slots.limit - slots.tokens

    @property
    def waiting(self) -> int:
        """Commands of peers that wait for a slot."""
        return len(self.peers.slots().waiting)


def joined(ip: str, port: int) -> str:
    """`ip:port`, with brackets where an address of IPv6 needs them."""
    host = ip.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
