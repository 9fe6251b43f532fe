"""A network in memory: it delays, chops, pauses, cuts and falls silent, all by one clock and one seed."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure

HIGH = 64 << 10  # bytes that wait in a transport until its producer is told to pause


@define(eq=False)
class Transport:
    """One end of a connection: what is written here comes out at the other end."""

    _network: MemoryNetwork
    host: str
    other_host: str
    port: int
    protocol: Any = None
    other: Transport | None = None
    closed: bool = False
    _sent: deque[bytes] = field(factory=deque)  # on its way to us
    _size: int = 0
    _free_at: float = 0.0
    _paused: bool = False
    _closing: bool = False
    _ends: Failure | None = None  # comes after what is on its way
    _producer: Any = None
    _producer_paused: bool = False
    _scheduled: bool = False

    # What protocols call.

    def write(self, data: bytes) -> None:
        """On its way to the other end."""
        if data and not self.closed and not self._closing and self.other is not None:
            self.other.accept(bytes(data))

    def writeSequence(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def loseConnection(self) -> None:
        """Closes once all that was written has arrived."""
        if not self.closed and not self._closing:
            self._closing = True
            if self.other is not None:
                self.other.finish(Failure(ConnectionDone()))
            self._network.clock.callLater(0, self._gone, Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """Closes at once."""
        other = self.other
        self._gone(Failure(ConnectionLost()))
        if other is not None and not self._network.silent(self.host, self.other_host):
            self._network.clock.callLater(self._network.delay(), other._gone, Failure(ConnectionLost()))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._schedule()

    def stopProducing(self) -> None:
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """As a socket has it."""

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self.other_host, self.port)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", self.host, self.port)

    # What the network does.

    def accept(self, data: bytes) -> None:
        """Bytes for this end."""
        self._sent.append(data)
        self._size += len(data)
        sender = self.other
        if sender is not None and self._size > HIGH and sender._producer is not None and not sender._producer_paused:
            sender._producer_paused = True
            sender._producer.pauseProducing()
        self._schedule()

    def finish(self, why: Failure) -> None:
        """The other end closed."""
        self._ends = why
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._paused and not self.closed and (self._sent or self._ends):
            self._scheduled = True
            now = self._network.clock.seconds()
            self._free_at = max(self._free_at, now + self._network.delay())
            self._network.clock.callLater(self._free_at - now, self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        if self.closed or self._paused or self._network.silent(self.host, self.other_host):
            return
        if self._sent:
            data = b"".join(self._sent)
            self._sent.clear()
            cut = self._network.chance.randint(1, len(data)) if self._network.chops else len(data)
            if cut < len(data):
                self._sent.append(data[cut:])
            self._size -= cut
            self.protocol.dataReceived(data[:cut])
            sender = self.other
            if sender is not None and sender._producer_paused and self._size <= HIGH // 2:
                sender._producer_paused = False
                if sender._producer is not None:
                    sender._producer.resumeProducing()
        elif self._ends is not None:
            self._gone(self._ends)
        self._schedule()

    def wake(self) -> None:
        """After a silence."""
        self._schedule()

    def _gone(self, why: Failure) -> None:
        if not self.closed:
            self.closed = True
            self._network.ends.discard(self)
            self.protocol.connectionLost(why)


@define(eq=False)
class Port:
    """A listening port."""

    _network: MemoryNetwork
    _place: tuple[str, int]

    def stopListening(self) -> None:
        self._network.listeners.pop(self._place, None)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", *self._place)


@define(eq=False)
class MemoryNet:
    """The network as one host sees it; an `anylog.net.INet`."""

    _network: MemoryNetwork
    host: str

    def listen(self, endpoint: str, factory: Any) -> Deferred[Any]:
        """`tcp:PORT[:interface=IP]`; the host is what it is."""
        parts = endpoint.split(":")
        place = (self.host, int(parts[1]))
        if place in self._network.listeners:
            return fail(CannotListenError(self.host, place[1], OSError("address in use")))
        self._network.listeners[place] = factory
        done: Deferred[Any] = Deferred()
        done.callback(Port(self._network, place))
        return done

    def connect(self, endpoint: str, factory: Any) -> Deferred[Any]:
        """`tcp:HOST:PORT...`."""
        _, host, port, *_ = endpoint.split(":")
        return self._network.connect(self.host, host, int(port), factory)

    def local_ip(self) -> str:
        """Its own address."""
        return self.host


@define(eq=False)
class MemoryNetwork:
    """Hosts by address."""

    clock: Clock
    chance: Random
    chops: bool = True  # segments are split at random
    slowest: float = 0.005  # seconds that a segment takes at most
    listeners: dict[tuple[str, int], Factory] = field(factory=dict)
    ends: set[Transport] = field(factory=set)
    _silences: set[frozenset[str]] = field(factory=set)
    _order: list[Transport] = field(factory=list)

    def net(self, host: str) -> MemoryNet:
        """The network as `host` sees it."""
        return MemoryNet(self, host)

    def delay(self) -> float:
        """Seconds of the next segment."""
        return self.chance.uniform(0.0001, self.slowest)

    def silent(self, one: str, other: str) -> bool:
        """Whether nothing passes between two hosts."""
        return frozenset((one, other)) in self._silences

    def silence(self, one: str, other: str) -> None:
        """From now on nothing passes, and nobody is told."""
        self._silences.add(frozenset((one, other)))

    def heal(self, one: str, other: str) -> None:
        """All passes again; what was on its way arrives."""
        self._silences.discard(frozenset((one, other)))
        for end in self._between(one, other):
            end.wake()

    def cut(self, one: str, other: str) -> None:
        """Break the connections between two hosts; both are told."""
        for end in self._between(one, other):
            end._gone(Failure(ConnectionLost()))

    def vanish(self, host: str) -> None:
        """The host dies: its connections break, nobody listens there."""
        for place in [place for place in self.listeners if place[0] == host]:
            del self.listeners[place]
        for end in [end for end in self._order if end.other_host == host and not end.closed]:
            end._gone(Failure(ConnectionLost()))

    def connect(self, source: str, host: str, port: int, factory: Any) -> Deferred[Any]:
        """A connection from one host to another."""
        told: Deferred[Any] = Deferred(lambda _: None)

        def arrive() -> None:
            if told.called or self.silent(source, host):
                return
            door: Any = self.listeners.get((host, port))
            theirs = door.buildProtocol(IPv4Address("TCP", source, port)) if door is not None else None
            if theirs is None:
                told.errback(ConnectionRefusedError())
                return
            ours = factory.buildProtocol(IPv4Address("TCP", host, port))
            one: Any = Transport(self, source, host, port)
            other: Any = Transport(self, host, source, port)
            one.protocol, other.protocol, one.other, other.other = ours, theirs, other, one
            self.ends |= {one, other}
            self._order = [end for end in self._order if not end.closed] + [one, other]
            theirs.makeConnection(other)
            ours.makeConnection(one)
            told.callback(ours)

        self.clock.callLater(self.delay(), arrive)
        return told

    def _between(self, one: str, other: str) -> list[Transport]:
        pair = frozenset((one, other))
        return [end for end in self._order if frozenset((end.host, end.other_host)) == pair and not end.closed]
