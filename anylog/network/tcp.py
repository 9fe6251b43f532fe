"""The door for other nodes (network.md 4)."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.error import CannotListenError

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.net import INet
from anylog.network.peers import Peers
from anylog.process import DOORS, Process
from anylog.waiting import deferring, pause

STOP_SECONDS = 5.0  # commands of peers may finish this long after `exit tcp`


@frozen(kw_only=True)
class TcpOptions:
    """What `run tcp server` was told."""

    external_ip: str = ""
    external_port: int = 0
    internal_ip: str = ""
    internal_port: int = 0
    bind: bool = False
    threads: int = 6

    @property
    def ip(self) -> str:
        """The address that is listened on, with `bind`."""
        return self.internal_ip or self.external_ip

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self.internal_port or self.external_port

    def endpoint(self) -> str:
        """As Twisted writes it."""
        escaped = self.ip.strip("[]").replace(":", "\\:")
        return f"tcp:{self.port}:interface={escaped}" if self.bind and self.ip else f"tcp:{self.port}"


class TcpServer(Process):
    """Being reachable here makes a node a member of the network."""

    name = "tcp"
    floor = DOORS

    def __init__(self, *, net: INet, clock: Clock, peers: Peers, options: TcpOptions) -> None:
        self.options = options
        self._net, self._clock, self._peers = net, clock, peers
        self._port: Any = None

    @deferring
    async def start(self) -> None:
        """Raises AnyLogError 3 if the port cannot be had."""
        given = self.options
        try:
            self._port = await self._net.listen(given.endpoint(), self._peers.door())  # type: ignore[arg-type]
        except CannotListenError as taken:
            told = f"Failed to open a TCP server on {given.ip or '0.0.0.0'}:{given.port}: {taken.socketError}"
            raise AnyLogError(3, told) from None
        self._peers.slots = DeferredSemaphore(given.threads)
        external, internal, _ = self.addresses()
        self._peers.own |= {external, internal}
        if not given.bind:
            self._peers.own.add(f"127.0.0.1:{given.port}")

    @deferring
    async def stop(self) -> None:
        """Listen no more; commands under way may finish."""
        if self._port is None:
            return
        port, self._port = self._port, None
        stopped = port.stopListening()
        if isinstance(stopped, Deferred):
            await stopped
        slots = self._peers.slots
        until = self._clock.seconds() + STOP_SECONDS
        while slots is not None and slots.tokens < slots.limit and self._clock.seconds() < until:
            await pause(self._clock, 0.05)
        self._peers.close_idle()
        self._peers.own.clear()

    def addresses(self) -> tuple[str, str, str]:
        """External, internal and bound address, as `get connections` shows them."""
        given = self.options
        external = f"{given.external_ip or given.internal_ip}:{given.external_port or given.internal_port}"
        internal = f"{given.internal_ip or given.external_ip}:{given.internal_port or given.external_port}"
        return external, internal, internal if given.bind else f"0.0.0.0:{given.port}"

    def describe(self) -> str:
        """As `get processes` shows it."""
        external, internal, _ = self.addresses()
        places = external if external == internal else f"{external} and {internal}"
        return f"Listening on: {places}, Threads Pool: {self.options.threads}"

    @property
    def busy(self) -> int:
        """Commands of peers that execute now."""
        slots = self._peers.slots
        return 0 if slots is None else slots.limit - slots.tokens
