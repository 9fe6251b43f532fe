"""Peers on hosts of a memory network, and strangers that say what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from anylog.interfaces import Asker, Reply
from anylog.network.peers import PeerLimits, Peers
from anylog.tank import Tank
from anylog.testing.network import MemoryNetwork
from anylog.waiting import deferring
from anylog.wire.frames import FrameReader, frame

PORT = 32148
BEGIN = 1_800_000_000.0


class Body:
    """Pages that are there at once, or when the test says so."""

    def __init__(self, *pages: bytes | Exception, endless: bool = False) -> None:
        self.pages, self.endless = list(pages), endless
        self.asked = self.closed = 0
        self.held: Deferred[bytes | None] | None = None  # given out instead of a page, once

    def next(self) -> Deferred[bytes | None]:
        """The next one."""
        self.asked += 1
        if self.held is not None:
            held, self.held = self.held, None
            return held
        if not self.pages:
            return succeed(None)
        page = self.pages[0] if self.endless else self.pages.pop(0)
        if isinstance(page, Exception):
            raise page
        return succeed(page)

    def close(self) -> None:
        """Counted."""
        self.closed += 1


class Stranger(Protocol):
    """Says bytes, hears frames; knows no rules."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.ended = ""
        self._reader = FrameReader()

    def dataReceived(self, data: bytes) -> None:
        self.heard += self._reader.receive(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.ended = reason.getErrorMessage()

    def say(self, *messages: Mapping[str, Any]) -> None:
        """As frames."""
        transport: Any = self.transport
        transport.write(b"".join(frame(message) for message in messages))

    def said(self, kind: str) -> list[dict[str, Any]]:
        """What was heard of one kind."""
        return [message for message in self.heard if message["t"] == kind]


@define(eq=False)
class Town:
    """All that happens follows from the seed."""

    seed: int = 1
    clock: Clock = field(factory=Clock)
    chance: Random = field(init=False)
    network: MemoryNetwork = field(init=False)
    peers: dict[str, Peers] = field(factory=dict)
    asked: list[tuple[str, str, Mapping[str, Any], bytes, Asker]] = field(factory=list)
    answers: dict[str, Any] = field(factory=dict)  # kind -> Reply, Exception, Deferred or what makes one of them

    def __attrs_post_init__(self) -> None:
        self.clock.advance(BEGIN)
        self.chance = Random(self.seed)
        self.network = MemoryNetwork(self.clock, Random(self.chance.random()))

    def add(
        self,
        host: str,
        *,
        name: str = "",
        address: str | None = None,
        listens: bool = True,
        tank: Tank | None = None,
        limits: PeerLimits | None = None,
    ) -> Peers:
        """A node that answers as `answers` says; kind `echo` tells what it heard."""
        clock: Any = self.clock
        where = f"{host}:{PORT}" if address is None else address
        made = Peers(
            net=self.network.net(host),
            clock=clock,
            chance=Random(self.chance.random()),
            hello=lambda: {"name": name or host, "address": where if listens else "", "version": "v1"},
            tank=tank,
            limits=limits,
        )
        for kind in ("echo", "command", "select", "told", "sleep", *self.answers):
            made.serve(kind, self._answering(host, kind))
        if listens:
            self.network.net(host).listen(f"tcp:{PORT}", made.factory)
            made.own.add(f"{host}:{PORT}")
        self.peers[host] = made
        return made

    def _answering(self, host: str, kind: str) -> Any:
        @deferring
        async def answer(head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
            self.asked.append((host, kind, head, body, asker))
            given = self.answers.get(kind)
            if given is None:
                return Reply(head={**head, "host": host, "size": len(body)})
            if isinstance(given, Callable):  # type: ignore[arg-type]
                given = given(head)
            if isinstance(given, Deferred):
                given = await given
            if isinstance(given, Exception):
                raise given
            reply: Reply = given
            return reply

        return answer

    def stranger(self, host: str, to: str, hello: Mapping[str, Any] | None = None) -> Stranger:
        """Somebody who connects to a node; with `hello` it says that at once."""
        made: list[Any] = []
        self.network.net(host).connect(f"tcp:{to}:{PORT}", Factory.forProtocol(Stranger)).addCallback(made.append)
        self.until(lambda: bool(made))
        found: Stranger = made[0]
        if hello is not None:
            found.say({"t": "hello", "v": 1, **hello})
        self.advance(0.05)
        return found

    def impostor(self, host: str) -> list[Stranger]:
        """Somebody who listens where a node should; gives those who talk to the nodes that come."""
        found: list[Stranger] = []

        class Door(Factory):
            def buildProtocol(self, addr: Any) -> Any:
                found.append(Stranger())
                return found[-1]

        self.network.net(host).listen(f"tcp:{PORT}", Door())
        return found

    def wait(self, waited: Deferred[Any], seconds: float = 60.0) -> Any:
        """Let time pass until it fires, and give what came of it. Raises TimeoutError."""
        found: list[Any] = []
        waited.addBoth(found.append)
        self.until(lambda: bool(found), seconds)
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def fails(self, waited: Deferred[Any], seconds: float = 60.0) -> Any:
        """The same for what comes to nothing; gives the error."""
        found: list[Any] = []
        waited.addBoth(found.append)
        self.until(lambda: bool(found), seconds)
        assert isinstance(found[0], Failure), found[0]
        return found[0].value

    def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> float:
        """Let time pass until it holds; gives the seconds that took. Raises TimeoutError."""
        begin = self.clock.seconds()
        while not holds():
            if self.clock.seconds() - begin > seconds:
                raise TimeoutError(f"seed {self.seed}: not within {seconds:g} simulated seconds")
            self.step(begin + seconds + 0.001)
        return self.clock.seconds() - begin

    def advance(self, seconds: float) -> None:
        """Let that much time pass, event by event."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.step(end)

    def step(self, end: float) -> None:
        """To the next event, or to `end`."""
        following = [call.getTime() for call in self.clock.getDelayedCalls()[:1]]
        self.clock.advance(max(0.0, min([*following, end]) - self.clock.seconds()))


def at(host: str) -> str:
    """Where a node listens."""
    return f"{host}:{PORT}"
