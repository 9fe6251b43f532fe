"""A network in memory: bytes take time, come in pieces, and links can be cut (architecture.md 11).

What happens follows from the clock and the seed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    CannotListenError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import IConsumer, IListeningPort, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from anylog.errors import AnyLogError
from anylog.interfaces import DelayedCall

BUFFER = 1 << 16  # bytes that wait to be sent before a producer is paused
SEGMENT = 1 << 16  # bytes that are delivered at once, at most
LOOPBACK = "127.0.0.1"


@define(eq=False)
class MemoryNetwork:
    """Hosts and the links between them.

    `delay` is the least and the most that a segment takes, in seconds; with `pieces` segments are split at random.
    """

    clock: Any  # a Clock
    chance: Random
    delay: tuple[float, float] = (0.0001, 0.001)
    pieces: bool = True
    connections: list[MemoryConnection] = field(factory=list)  # all that are not over, oldest first
    told: Callable[[str, str, bytes], None] | None = None  # of what arrives: from, to, and the bytes
    datagram_ports: dict[tuple[str, int], MemoryDatagrams] = field(factory=dict)
    _ports: dict[tuple[str, int], MemoryPort] = field(factory=dict)
    _cut: set[tuple[str, str]] = field(factory=set)  # from, to
    _slow: dict[tuple[str, str], tuple[float, float]] = field(factory=dict)
    _down: set[str] = field(factory=set)  # hosts without power
    _nets: dict[str, MemoryNet] = field(factory=dict)
    _next_port: int = 49152

    def net(self, host: str) -> MemoryNet:
        """The way to the network of one host, for its next life if it had one before."""
        made = self._nets[host] = MemoryNet(self, host)
        return made

    def cut(self, one: str, other: str) -> None:
        """Nothing arrives between two hosts any more, without a word; it is kept, as by a sender that repeats."""
        self.mute(one, other)
        self.mute(other, one)

    def mute(self, one: str, other: str) -> None:
        """Nothing that `one` sends arrives at `other`; the other way works still."""
        self._cut.add((one, other))

    def slow(self, one: str, other: str, least: float, most: float) -> None:
        """Segments between two hosts take that long."""
        self._slow[_link(one, other)] = (least, most)

    def heal(self, one: str = "", other: str = "") -> None:
        """The link works again, or all links do, as fast as they should; what was kept arrives."""
        if one:
            self._cut -= {(one, other), (other, one)}
            self._slow.pop(_link(one, other), None)
        else:
            self._cut.clear()
            self._slow.clear()
        for connection in list(self.connections):
            connection.move()

    def isolate(self, host: str, others: Sequence[str]) -> None:
        """Cut the links of a host to others."""
        for other in others:
            self.cut(host, other)

    def partition(self, *groups: Sequence[str]) -> None:
        """Cut all links from one group to another."""
        for place, group in enumerate(groups):
            for other in groups[place + 1 :]:
                for host in group:
                    self.isolate(host, other)

    def reset(self, one: str, other: str) -> None:
        """Break the connections between two hosts; both ends hear of it."""
        for connection in list(self.connections):
            if _link(*connection.hosts) == _link(one, other):
                connection.reset()

    def kill(self, host: str, silent: bool = False) -> None:
        """A process dies: its connections break for the others, its ports are free, and it hears nothing more.

        `silent`: its host loses power, so the others are told nothing; their ends are half-open until they try to send
        something after `revive`.
        """
        for key in [key for key in self._ports if key[0] == host]:
            del self._ports[key]
        if host in self._nets:
            self._nets[host].dead = True
        if silent:
            self._down.add(host)
        for connection in list(self.connections):
            for end in connection.ends:
                if end.host == host:
                    end.die()
            if host in connection.hosts and not silent and not self.is_cut(*connection.hosts):
                connection.reset()

    def revive(self, host: str) -> None:
        """The host has power again: whoever has sent it something meanwhile is told that nobody is there."""
        self._down.discard(host)
        for connection in list(self.connections):
            connection.move()

    def is_down(self, host: str) -> bool:
        """Whether it has no power."""
        return host in self._down

    def is_cut(self, one: str, other: str) -> bool:
        """Whether nothing arrives that `one` sends to `other`."""
        return (one, other) in self._cut

    def wait(self, one: str, other: str) -> float:
        """How long the next segment takes."""
        return self.chance.uniform(*self._slow.get(_link(one, other), self.delay))

    def free_port(self) -> int:
        """A port that nobody had before."""
        self._next_port += 1
        return self._next_port

    def port(self, host: str, number: int) -> MemoryPort | None:
        """Who listens there."""
        return self._ports.get((host, number))

    def bind(self, port: MemoryPort) -> None:
        """Let it listen. Raises CannotListenError if somebody does."""
        key = (port.host, port.number)
        if key in self._ports:
            raise CannotListenError(port.interface, port.number, OSError(98, "Address already in use"))
        self._ports[key] = port

    def unbind(self, port: MemoryPort) -> None:
        """It listens no more."""
        if self._ports.get((port.host, port.number)) is port:
            del self._ports[(port.host, port.number)]


@define(eq=False)
class MemoryNet:
    """An `INet` for one host of a memory network."""

    network: MemoryNetwork
    host: str
    dead: bool = False  # whoever uses it was killed

    def local_ip(self) -> str:
        """The address of the host."""
        return self.host

    def listen(self, endpoint: str, factory: Any) -> Deferred[Any]:
        """`tcp:PORT` or `tcp:PORT:interface=IP`; port 0 takes a free one."""
        words, options = _parse(endpoint)
        if len(words) != 2 or not words[1].isdigit():
            raise AnyLogError(40, f"'{endpoint}' is not a place to listen on")
        port = MemoryPort(
            self.network, self.host, int(words[1]) or self.network.free_port(), options.get("interface", ""), factory
        )
        try:
            if self.dead:
                raise CannotListenError(port.interface, port.number, OSError(100, "Network is down"))
            if port.interface not in ("", "0.0.0.0", LOOPBACK, self.host):
                raise CannotListenError(port.interface, port.number, OSError(99, "Cannot assign requested address"))
            self.network.bind(port)
        except CannotListenError as refused:
            return fail(refused)
        factory.doStart()
        return succeed(port)

    def datagrams(self, interface: str, port: int, protocol: Any) -> Deferred[Any]:
        """Of one address a host has; what is on its way when the host is cut off is lost."""
        taken = MemoryDatagrams(self.network, self.host, port or self.network.free_port(), protocol)
        ports = self.network.datagram_ports
        if self.dead or (self.host, taken.number) in ports:
            return fail(CannotListenError(interface, port, OSError(98, "Address already in use")))
        ports[(self.host, taken.number)] = taken
        protocol.makeConnection(taken)
        return succeed(taken)

    def connect(self, endpoint: str, factory: Any) -> Deferred[Any]:
        """`tcp:HOST:PORT`, with `timeout=SECONDS` (30)."""
        words, options = _parse(endpoint)
        if len(words) != 3 or not words[2].isdigit():
            raise AnyLogError(40, f"'{endpoint}' is not a place to connect to")
        attempt = _Attempt(self, words[1], int(words[2]), factory, float(options.get("timeout", "30")))
        return attempt.start()


@implementer(IListeningPort)
@define(eq=False)
class MemoryPort:
    """Somebody listens."""

    network: MemoryNetwork
    host: str
    number: int
    interface: str
    factory: Any

    def startListening(self) -> None:
        """Again."""
        self.network.bind(self)

    def stopListening(self) -> Deferred[None]:
        """No more; connections that are open stay so."""
        self.network.unbind(self)
        self.factory.doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address:
        """The address that is listened on."""
        return _address(self.interface or "0.0.0.0", self.number)

    def takes(self, local: bool) -> bool:
        """Whether who comes by the loopback address, or from outside, finds it."""
        bound = self.interface if self.interface in (LOOPBACK, self.host) else ""
        return self.host == LOOPBACK or not bound or local == (bound == LOOPBACK)


@define(eq=False)
class MemoryDatagrams:
    """A place for datagrams, and the transport of who is there."""

    network: MemoryNetwork
    host: str
    number: int
    protocol: Any

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        """To another place, after a while; nobody says whether it came."""
        net = self.network
        if not net.is_cut(self.host, address[0]):
            net.clock.callLater(net.wait(self.host, address[0]), self._arrive, data, address)

    def _arrive(self, data: bytes, address: tuple[str, int]) -> None:
        there = self.network.datagram_ports.get(address)
        if there is not None and not self.network.is_down(there.host):
            there.protocol.datagramReceived(data, (self.host, self.number))

    def stopListening(self) -> Deferred[None]:
        """No more."""
        self.network.datagram_ports.pop((self.host, self.number), None)
        return succeed(None)

    def getHost(self) -> IPv4Address:
        """The address that is listened on."""
        return IPv4Address("UDP", self.host, self.number)


@define(eq=False)
class _Attempt:
    """A connection that is being made."""

    net: MemoryNet
    target: str
    number: int
    factory: Any
    timeout: float
    waited: Deferred[Any] = field(init=False)
    call: DelayedCall = field(init=False)
    until: float = 0.0

    def start(self) -> Deferred[Any]:
        """The first segment is on its way."""
        self.waited = Deferred(lambda _: self.call.cancel())
        self.until = self.net.network.clock.seconds() + self.timeout
        self.call = self.net.network.clock.callLater(self.net.network.wait(self.net.host, self.target), self.arrive)
        return self.waited

    def arrive(self) -> None:
        """It arrives, or is sent again a little later."""
        network, host = self.net.network, self.net.host
        local = self.target in (LOOPBACK, "localhost")
        target = host if local else self.target
        if self.net.dead:
            return
        if network.is_cut(host, target) or network.is_cut(target, host) or network.is_down(target):
            left = self.until - network.clock.seconds()
            if left <= 0:
                self.waited.errback(TimeoutError())
            else:
                self.call = network.clock.callLater(min(left, 0.2), self.arrive)
            return
        port = network.port(target, self.number)
        if port is None or not port.takes(local):
            self.waited.errback(ConnectionRefusedError())
            return
        ours = _address(LOOPBACK if local else host, network.free_port())
        theirs = _address(LOOPBACK if local else target, self.number)
        server = port.factory.buildProtocol(ours)
        client = self.factory.buildProtocol(theirs)
        if client is None or server is None:
            self.waited.errback(ConnectionRefusedError())
            return
        connection = MemoryConnection(network, (host, target))
        near = MemoryTransport(connection, host, client, ours, theirs)
        far = MemoryTransport(connection, target, server, theirs, ours)
        near.other, far.other = far, near
        connection.ends = (near, far)
        network.connections.append(connection)
        server.makeConnection(far)
        client.makeConnection(near)
        self.waited.callback(client)


@define(eq=False)
class MemoryConnection:
    """Two ends and what is between them."""

    network: MemoryNetwork
    hosts: tuple[str, str]
    ends: tuple[MemoryTransport, ...] = ()

    def reset(self) -> None:
        """Both ends are lost at once."""
        for end in self.ends:
            end.lose(ConnectionLost())

    def move(self) -> None:
        """What waited goes on."""
        for end in self.ends:
            end.flow()

    def over(self) -> None:
        """Forget it when both ends are closed."""
        if all(end.closed for end in self.ends) and self in self.network.connections:
            self.network.connections.remove(self)


@implementer(ITransport, IConsumer, IPushProducer)
@define(eq=False)
class MemoryTransport:
    """One end of a connection; what it writes arrives at the other."""

    connection: MemoryConnection
    host: str
    protocol: Any
    _ours: IPv4Address
    _theirs: IPv4Address
    other: MemoryTransport = field(init=False)
    connected: bool = True
    disconnecting: bool = False
    closed: bool = False  # the protocol was told
    dead: bool = False  # nobody is there to be told
    paused: bool = False  # the protocol does not want to read
    written: int = 0  # bytes in all
    producer: Any = None
    _streaming: bool = True
    _producer_paused: bool = False
    _buffer: bytearray = field(factory=bytearray)
    _end: Exception | None = None  # what the other end hears after the last byte
    _call: DelayedCall | None = None

    def write(self, data: bytes) -> None:
        """Bytes for the other end."""
        if self.connected and not self.disconnecting and data and not self.dead:
            self.written += len(data)
            self._buffer += data
            if self.producer is not None and len(self._buffer) > BUFFER and not self._producer_paused:
                self._producer_paused = True
                self.producer.pauseProducing()
            self.flow()

    def writeSequence(self, data: Sequence[bytes]) -> None:
        """All of them."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when all is written."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.flow()

    def abortConnection(self) -> None:
        """Close at once; what was not delivered is lost."""
        if self.connected:
            self._buffer.clear()
            self._soon(lambda: self.lose(ConnectionLost()))
            self.connected, self._end = False, ConnectionLost()
            self.flow()

    def getPeer(self) -> IPv4Address:
        """The other end."""
        return self._theirs

    def getHost(self) -> IPv4Address:
        """This one."""
        return self._ours

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Somebody writes, and wants to be told when to wait."""
        if self.producer is not None:
            raise RuntimeError("there is a producer already")
        self.producer, self._streaming, self._producer_paused = producer, streaming, False
        if self.closed:
            producer.stopProducing()
        elif not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Nobody does any more."""
        self.producer, self._producer_paused = None, False
        self.flow()

    def pauseProducing(self) -> None:
        """Do not deliver."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Deliver again."""
        self.paused = False
        self.other.flow()

    def stopProducing(self) -> None:
        """Nothing more is wanted."""
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is none."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nor this."""

    # ------------------------------------------------------------------ time passes

    def flow(self) -> None:
        """See that what is to be delivered is on its way."""
        to_do = self._end is not None or (not self.closed and (self._buffer or self.disconnecting))
        if to_do and self._call is None and not self._held():
            network = self.connection.network
            self._call = network.clock.callLater(network.wait(self.host, self.other.host), self._deliver)

    def lose(self, why: Exception) -> None:
        """The protocol at this end hears that it is over."""
        if self.closed:
            return
        self.closed, self.connected = True, False
        producer, self.producer = self.producer, None
        if not self.dead:
            if producer is not None:
                producer.stopProducing()
            self.protocol.connectionLost(Failure(why))
        self.connection.over()

    def die(self) -> None:
        """Nobody is at this end any more; what was sent is on its way."""
        self.dead = self.closed = True
        self.connected, self.producer = False, None

    def _deliver(self) -> None:
        self._call = None
        network = self.connection.network
        if self._held():
            return
        if self._buffer:
            size = len(self._buffer)
            if network.pieces and network.chance.random() < 0.5:
                size = network.chance.randint(1, min(size, 4096))
            data = bytes(self._buffer[: min(size, SEGMENT)])
            del self._buffer[: len(data)]
            if not self.other.closed and not self.other.dead:
                if network.told is not None:
                    network.told(self.host, self.other.host, data)
                self.other.protocol.dataReceived(data)
            elif self.connected:
                self.lose(ConnectionLost())  # nobody is there
                return
        if self._producer_paused and len(self._buffer) <= BUFFER // 2 and self.producer is not None:
            self._producer_paused = False
            self.producer.resumeProducing()
        elif self.producer is not None and not self._streaming and not self._buffer:
            self.producer.resumeProducing()
        if self._buffer:
            self.flow()
        elif self._end is not None:
            end, self._end = self._end, None
            self.other.lose(end)
        elif self.disconnecting and self.producer is None and self.connected:
            self.connected = False
            self.other.lose(ConnectionDone())
            self.lose(ConnectionDone())

    def _held(self) -> bool:
        """Whether nothing can be delivered now."""
        network, other = self.connection.network, self.other
        return (
            network.is_cut(self.host, other.host)
            or network.is_down(other.host)
            or (other.paused and not other.dead and bool(self._buffer))
        )

    def _soon(self, call: Callable[[], None]) -> None:
        self.connection.network.clock.callLater(0, call)


def _link(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)


def _address(host: str, port: int) -> IPv4Address:
    return IPv4Address("TCP", host, port)


def _parse(endpoint: str) -> tuple[list[str], dict[str, str]]:
    """The words and the options of an endpoint. Raises AnyLogError 40 for one that is not `tcp`."""
    words: list[str] = []
    options: dict[str, str] = {}
    for part in endpoint.replace("\\:", "\0").split(":"):
        name, equals, value = part.replace("\0", ":").partition("=")
        if equals:
            options[name] = value
        else:
            words.append(name)
    if words[0] != "tcp":
        raise AnyLogError(40, f"'{endpoint}' is not in this network")
    return words, options
