"""The network in memory behaves as sockets do, as far as our code can tell; and as the seed says."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IConsumer, IListeningPort, IPushProducer, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from anylog.errors import AnyLogError
from anylog.testing.network import BUFFER, MemoryNet, MemoryNetwork


class End(Protocol):
    """Hears bytes, and how it ended."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.segments: list[int] = []
        self.ended = ""
        self.flow: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.segments.append(len(data))

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.ended = reason.type.__name__

    def pauseProducing(self) -> None:
        self.flow.append("pause")

    def resumeProducing(self) -> None:
        self.flow.append("resume")

    def stopProducing(self) -> None:
        self.flow.append("stop")


@define(eq=False)
class Two:
    """Two hosts and a connection."""

    seed: int = 1
    clock: Clock = field(factory=Clock)
    network: MemoryNetwork = field(init=False)
    taken: list[End] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.network = MemoryNetwork(self.clock, Random(self.seed))

    def listen(self, host: str, endpoint: str = "tcp:1") -> Any:
        """Somebody listens."""
        two = self

        class Door(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> End:
                two.taken.append(End())
                return two.taken[-1]

        found: list[Any] = []
        self.network.net(host).listen(endpoint, Door()).addBoth(found.append)
        return found[0]

    def connect(self, host: str, endpoint: str, seconds: float = 1.0) -> Any:
        """The end that connected, or the failure, or None as long as nothing came of it."""
        found: list[Any] = []
        factory = Factory.forProtocol(End)
        factory.noisy = False
        self.network.net(host).connect(endpoint, factory).addBoth(found.append)
        self.pass_(seconds)
        return found[0] if found else None

    def joined(self) -> tuple[End, End]:
        """Both ends of a connection from a to b."""
        self.listen("b")
        near = self.connect("a", "tcp:b:1")
        return near, self.taken[-1]

    def pass_(self, seconds: float) -> None:
        """Event by event."""
        end = self.clock.seconds() + seconds
        while self.clock.getDelayedCalls() and self.clock.getDelayedCalls()[0].getTime() <= end:
            self.clock.advance(max(0, self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds()))
        self.clock.advance(end - self.clock.seconds())


def test_it_is_what_it_says() -> None:
    """The interfaces of Twisted are kept."""
    two = Two()
    port = two.listen("b")
    near, _ = two.connect("a", "tcp:b:1"), None
    assert verifyObject(IListeningPort, port)
    for interface in (ITransport, IPushProducer, IConsumer):
        assert verifyObject(interface, near.transport)


def test_bytes_arrive() -> None:
    """All of them, in order, in pieces, later; and the same way back."""
    two = Two()
    near, far = two.joined()
    sent = Random(2).randbytes(300_000)
    near.transport.write(sent[:100])
    assert far.heard == b""
    near.transport.writeSequence([sent[100:1000], sent[1000:]])
    far.transport.write(b"back")
    two.pass_(5)
    assert (far.heard, near.heard) == (sent, b"back")
    assert len(far.segments) > 5
    assert (near.transport.getPeer().host, far.transport.getPeer().host) == ("b", "a")
    assert near.transport.getHost() == far.transport.getPeer()


def test_the_same_seed_the_same_pieces() -> None:
    """Another seed, other pieces."""

    def pieces(seed: int) -> list[int]:
        two = Two(seed)
        near, far = two.joined()
        near.transport.write(b"x" * 50_000)
        two.pass_(5)
        return far.segments

    assert pieces(3) == pieces(3)
    assert pieces(3) != pieces(4)


def test_endings() -> None:
    """Closing delivers what was written; aborting does not; both sides hear of it."""
    two = Two()
    near, far = two.joined()
    near.transport.write(b"x" * 200_000)
    near.transport.loseConnection()
    near.transport.write(b"too late")
    two.pass_(5)
    assert (len(far.heard), far.ended, near.ended) == (200_000, "ConnectionDone", "ConnectionDone")
    assert two.network.connections == []
    near, far = Two().joined(), None  # type: ignore[assignment]
    two = Two()
    near, far = two.joined()
    near.transport.write(b"x" * 200_000)
    near.transport.abortConnection()
    near.transport.abortConnection()
    two.pass_(5)
    assert (far.heard, far.ended, near.ended) == (b"", "ConnectionLost", "ConnectionLost")
    assert two.network.connections == []


def test_nobody_listens() -> None:
    """Refused at once; a listener on the loopback address is not found from elsewhere; nor after it stopped."""
    for listening, host, endpoint, found in [
        ("tcp:1", "a", "tcp:b:1:timeout=3", True),
        ("tcp:1", "a", "tcp:b:2", False),
        ("tcp:1", "a", "tcp:c:1", False),
        ("tcp:1", "b", "tcp:127.0.0.1:1", True),
        ("tcp:1", "b", "tcp:b:1", True),
        ("tcp:1:interface=127.0.0.1", "a", "tcp:b:1", False),
        ("tcp:1:interface=127.0.0.1", "b", "tcp:127.0.0.1:1", True),
        ("tcp:1:interface=b", "a", "tcp:b:1", True),
        ("tcp:1:interface=b", "b", "tcp:127.0.0.1:1", False),
        ("tcp:1:interface=0.0.0.0", "b", "tcp:localhost:1", True),
    ]:
        two = Two()
        two.listen("b", listening)
        result = two.connect(host, endpoint)
        assert isinstance(result, End) is found, (listening, host, endpoint)
        assert found or result.check(ConnectionRefusedError), (listening, host, endpoint)
    two = Two()
    port = two.listen("b")
    port.stopListening()
    assert two.connect("a", "tcp:b:1").check(ConnectionRefusedError)
    port.startListening()
    assert isinstance(two.connect("a", "tcp:b:1"), End)


def test_ports() -> None:
    """One that is taken is refused; 0 takes a free one; an address of another host cannot be listened on."""
    two = Two()
    two.listen("b")
    assert two.listen("b").check(CannotListenError)
    assert two.listen("c").getHost().port == 1
    assert two.listen("b", "tcp:0").getHost().port != two.listen("b", "tcp:0").getHost().port
    assert two.listen("b", "tcp:5:interface=9.9.9.9").check(CannotListenError)
    assert two.network.net("b").local_ip() == "b"
    for wrong in ("udp:1", "tcp:x", "tcp", "tcp:1:2:3"):
        with pytest.raises(AnyLogError):
            two.network.net("b").listen(wrong, Factory())
        with pytest.raises(AnyLogError):
            two.network.net("b").connect(wrong, Factory())


def test_a_cut() -> None:
    """Nothing arrives and nobody hears of it; after healing all arrives, also the end."""
    for ending in ("", "loseConnection", "abortConnection"):
        two = Two()
        near, far = two.joined()
        two.network.cut("b", "a")
        near.transport.write(b"kept")
        if ending:
            getattr(near.transport, ending)()
        two.pass_(100)
        assert (far.heard, far.ended) == (b"", ""), ending
        two.network.heal("a", "b")
        two.pass_(1)
        assert far.heard == (b"" if ending == "abortConnection" else b"kept"), ending
        assert bool(far.ended) is bool(ending), ending


def test_connecting_over_a_cut() -> None:
    """It takes until healed, or as long as it may."""
    two = Two()
    two.listen("b")
    two.network.cut("a", "b")
    assert two.connect("a", "tcp:b:1:timeout=5", 4.9) is None
    assert two.connect("a", "tcp:b:1:timeout=5", 5.1).check(TimeoutError)
    found: list[Any] = []
    waiting = two.network.net("a").connect("tcp:b:1:timeout=5", Factory.forProtocol(End))
    waiting.addCallback(found.append)
    two.pass_(2)
    two.network.heal()
    two.pass_(1)
    assert len(found) == 1
    gone: Deferred[Any] = two.network.net("a").connect("tcp:b:1", Factory.forProtocol(End))
    gone.cancel()
    gone.addErrback(lambda failure: None)
    two.pass_(1)
    assert len(two.network.connections) == 1


def test_partitions() -> None:
    """Groups that do not reach one another; within them all is well."""
    two = Two()
    for host in ("b", "c", "d"):
        two.listen(host)
    two.network.partition(["a", "b"], ["c"], ["d"])
    assert isinstance(two.connect("a", "tcp:b:1"), End)
    assert two.connect("a", "tcp:c:1") is None
    assert two.connect("c", "tcp:d:1") is None
    two.network.heal()
    assert isinstance(two.connect("c", "tcp:d:1"), End)


def test_resets_and_deaths() -> None:
    """A reset breaks what is between two hosts; a host that dies takes its ports along, and hears nothing."""
    two = Two()
    near, far = two.joined()
    other = two.connect("c", "tcp:b:1")
    two.network.reset("a", "b")
    assert (near.ended, far.ended, other.ended) == ("ConnectionLost", "ConnectionLost", "")
    two.network.kill("b")
    assert (other.ended, two.taken[-1].ended) == ("ConnectionLost", "")
    assert two.connect("c", "tcp:b:1").check(ConnectionRefusedError)
    assert two.network.connections == []
    two.listen("b")
    assert isinstance(two.connect("c", "tcp:b:1"), End)


def test_backpressure() -> None:
    """Who writes is told to wait while the reader does not read, and to go on when it does."""
    two = Two()
    near, far = two.joined()
    near.transport.registerProducer(near, True)
    with pytest.raises(RuntimeError):
        near.transport.registerProducer(near, True)
    far.transport.pauseProducing()
    near.transport.write(b"x" * BUFFER)
    assert near.flow == []
    near.transport.write(b"y")
    two.pass_(5)
    assert (near.flow, far.heard) == (["pause"], b"")
    far.transport.resumeProducing()
    two.pass_(5)
    assert (near.flow, len(far.heard)) == (["pause", "resume"], BUFFER + 1)
    near.transport.loseConnection()
    two.pass_(1)
    assert near.ended == "", "a registered producer holds the connection, as it does on sockets"
    near.transport.unregisterProducer()
    two.pass_(1)
    assert near.ended == "ConnectionDone"
    assert isinstance(two.network.net("x"), MemoryNet)
