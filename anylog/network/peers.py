"""The other nodes: one connection to each, kept; who answers and who does not (network.md 8, 9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, PeerHandler, PeerState, Reply
from anylog.net import INet
from anylog.network.link import HELLO, Link
from anylog.waiting import deadline, deferring, gather, pause

CONNECT = 6.0  # seconds of one attempt
ATTEMPTS = 3
BETWEEN = 0.5  # seconds between attempts
FLAGGED = 1.5  # seconds that a node is tried which did not answer last time
MOST = 1000  # connections that others opened
MOST_OF_ONE = 200  # of one host
DEEPEST = 8  # nodes that a question may come through
PROBES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between attempts to hear of a flagged node again
REMEMBERED = 5000  # nodes whose state is kept


def split(address: str) -> tuple[str, int]:
    """Host and port of `ip:port`, `name:port` or `[ipv6]:port`. Raises AnyLogError 20."""
    host, colon, port = address.strip().rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536 or any(c in host for c in " ,/"):
        raise AnyLogError(20, f"'{address[:100]}' is not ip:port")
    return host.strip("[]"), int(port)


def endpoint(address: str, seconds: float) -> str:
    """As Twisted writes it."""
    host, port = split(address)
    escaped = host.replace(":", "\\:")
    return f"tcp:{escaped}:{port}:timeout={max(1, round(seconds))}"


class Door(Factory):
    """Makes a link of each connection that comes in."""

    noisy = False

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def buildProtocol(self, addr: Any) -> Link | None:
        """None refuses the connection."""
        return self._peers.admit(getattr(addr, "host", ""))


class Dial(Factory):
    """Makes the link of a connection that goes out."""

    noisy = False

    def __init__(self, peers: Peers, address: str) -> None:
        self._peers, self._address = peers, address

    def buildProtocol(self, addr: Any) -> Link:
        return Link(self._peers, address=self._address)


@define(kw_only=True, eq=False)
class Peers:
    """See `interfaces.IPeers`."""

    _net: INet
    clock: Clock
    _chance: Random
    _hello: Callable[[], Mapping[str, Any]]
    counts: Counts = field(factory=Counts)
    handlers: dict[str, PeerHandler] = field(factory=dict)
    own: set[str] = field(factory=set)  # addresses of this node
    compress: bool = True
    slots: DeferredSemaphore | None = None  # of commands that execute at a time
    log = Logger()

    _links: dict[str, Link] = field(factory=dict)  # by the address where the other node listens
    _all: set[Link] = field(factory=set)
    _came: dict[str, int] = field(factory=dict)  # connections that a host opened
    _hosts: dict[Link, str] = field(factory=dict)
    _dialling: dict[str, list[Deferred[Link]]] = field(factory=dict)
    _greeting: dict[Link, Deferred[None]] = field(factory=dict)
    _states: dict[str, PeerState] = field(factory=dict)
    _probing: dict[str, Deferred[None]] = field(factory=dict)
    _stopped: bool = False

    # ------------------------------------------------------------------ questions

    def serve(self, kind: str, handler: PeerHandler) -> None:
        """Answer this kind of question from now on."""
        self.handlers[kind] = handler if kind != "command" else self._in_slots(handler)

    def ask(
        self,
        address: str,
        kind: str,
        head: Mapping[str, Any],
        body: bytes = b"",
        *,
        until: float | None = None,
        hops: int = 0,
    ) -> Deferred[Reply]:
        """See `interfaces.IPeers.ask`."""
        if hops > DEEPEST:
            return fail(AnyLogError(3, f"the question has come through {hops} nodes", http=400))
        if address in self.own:
            return self._ask_self(address, kind, head, body, until, hops)
        link = self._links.get(address)
        if link is not None:
            return link.ask(kind, head, body, until, hops)
        return self._reach_and_ask(address, kind, head, body, until, hops)

    @deferring
    async def _reach_and_ask(
        self, address: str, kind: str, head: Mapping[str, Any], body: bytes, until: float | None, hops: int
    ) -> Reply:
        link = await self._reach(address, until)
        return await link.ask(kind, head, body, until, hops)

    @deferring
    async def _ask_self(
        self, address: str, kind: str, head: Mapping[str, Any], body: bytes, until: float | None, hops: int
    ) -> Reply:
        handler = self.handlers.get(kind)
        if handler is None:
            raise AnyLogError(224, f"'{kind}' is not known here", node=address)
        asker = Asker(host="", address=address, name=str(self._hello().get("name", "")), until=until, hops=hops)
        left = None if until is None else max(until - self.clock.seconds(), 0.001)
        try:
            return await deadline(self.clock, left, handler(head, body, asker), kind)
        except AnyLogError as error:
            error.node = error.node or address
            raise

    def tell(self, kind: str, head: Mapping[str, Any]) -> int:
        """See `interfaces.IPeers.tell`."""
        told = {id(link): link for link in self._links.values()}
        told |= {id(link): link for link in self._all if link.session.peer}
        for link in told.values():
            link.tell(kind, head)
        return len(told)

    @deferring
    async def ping(self, address: str, seconds: float) -> float:
        """See `interfaces.IPeers.ping`."""
        if address in self.own:
            return 0.0
        until = self.clock.seconds() + seconds
        link = self._links.get(address) or await self._reach(address, until)
        return await deadline(self.clock, max(until - self.clock.seconds(), 0.01), link.ping(), f"ping of {address}")

    def _in_slots(self, handler: PeerHandler) -> PeerHandler:
        @deferring
        async def served(head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
            slots = self.slots
            if slots is None or not asker.host:
                return await handler(head, body, asker)
            await slots.acquire()
            try:
                return await handler(head, body, asker)
            finally:
                slots.release()

        return served

    # ------------------------------------------------------------------ connections

    def door(self) -> Door:
        """What a listening port is given."""
        return Door(self)

    def admit(self, host: str) -> Link | None:
        """A connection that came in, or None if there are too many."""
        if self._stopped or sum(self._came.values()) >= MOST or self._came.get(host, 0) >= MOST_OF_ONE:
            self.count("refused connections", host)
            return None
        link = Link(self)
        self._came[host] = self._came.get(host, 0) + 1
        self._hosts[link] = host
        self._all.add(link)
        return link

    async def _reach(self, address: str, until: float | None) -> Link:
        """The link to a node, dialled if there is none; all who want it share the attempt."""
        if self._stopped:
            raise AnyLogError(506, "the node is shutting down")
        split(address)
        told: Deferred[Link] = Deferred(lambda waiting: self._leave(address, waiting))
        waiting = self._dialling.get(address)
        if waiting is None:
            waiting = self._dialling[address] = []
            waiting.append(told)
            self._dial(address)
        else:
            waiting.append(told)
        left = None if until is None else max(until - self.clock.seconds(), 0.01)
        try:
            return await deadline(self.clock, left, told, f"connecting to {address}")
        except AnyLogError as late:
            if late.number == 26:
                why = f"{address}: not connected in time"
                raise AnyLogError(208, why, node=address) from None
            raise

    def _leave(self, address: str, waiting: Deferred[Link]) -> None:
        if waiting in self._dialling.get(address, ()):
            self._dialling[address].remove(waiting)

    @deferring
    async def _dial(self, address: str) -> None:
        flagged = not self._states.get(address, PeerState(address=address, active=True, at=0.0)).active
        why = ""
        link: Link | None = None
        for attempt in range(1 if flagged else ATTEMPTS):
            if attempt:
                await pause(self.clock, BETWEEN)
            if address in self._links or self._stopped:
                break
            try:
                link = await self._connect(address, FLAGGED if flagged else CONNECT)
                break
            except CancelledError:
                raise
            except AnyLogError as failed:
                why = failed.detail
        link = self._links.get(address, link)
        waiting = self._dialling.pop(address, [])
        if link is None:
            error = AnyLogError(208, f"Failed to create a socket using: {address}: {why}", node=address)
            self._flag(address, why)
            for each in waiting:
                each.errback(error)
        else:
            for each in waiting:
                each.callback(link)

    async def _connect(self, address: str, seconds: float) -> Link:
        """One attempt, up to the hello of the other side. Raises AnyLogError 208."""
        try:
            connecting: Deferred[Any] = self._net.connect(endpoint(address, seconds), Dial(self, address))  # type: ignore[arg-type]
            link: Link = await deadline(self.clock, seconds, connecting, f"connecting to {address}")
        except (ConnectError, ConnectingCancelledError) as refused:
            raise AnyLogError(208, str(refused).rstrip("."), node=address) from None
        except AnyLogError as late:
            raise AnyLogError(208, f"no connection within {seconds:g} seconds", node=address) from late
        self._all.add(link)
        if not link.session.peer:
            greeted: Deferred[None] = Deferred()
            self._greeting[link] = greeted
            try:
                await deadline(self.clock, HELLO, greeted, f"{address} says hello")
            except AnyLogError as silent:
                link.abort("it did not say who it is")
                raise AnyLogError(208, silent.detail, node=address) from None
            finally:
                self._greeting.pop(link, None)
        return link

    # What links tell.

    def hello(self) -> Mapping[str, Any]:
        """Who this node is."""
        return self._hello()

    def greeted(self, link: Link) -> None:
        """The other side said who it is."""
        if link.address and link.address not in self.own:
            present = self._links.get(link.address)
            if present is None or present.closed:
                self._links[link.address] = link
            self._active(link.address)
        waiting = self._greeting.pop(link, None)
        if waiting is not None:
            waiting.callback(None)

    def heard(self, link: Link) -> None:
        """Any sign of life."""
        if link.address in self._states and not self._states[link.address].active:
            self._active(link.address)

    def lost(self, link: Link, why: str, under_way: bool) -> None:
        """A connection is gone."""
        self._all.discard(link)
        host = self._hosts.pop(link, None)
        if host is not None:
            self._came[host] -= 1
            if not self._came[host]:
                del self._came[host]
        waiting = self._greeting.pop(link, None)
        if waiting is not None:
            waiting.errback(AnyLogError(208, why))
        if self._links.get(link.address) is link:
            del self._links[link.address]
            if under_way and not self._stopped:
                self._flag(link.address, why)
            other = next((each for each in self._all if each.address == link.address and each.session.peer), None)
            if other is not None:
                self._links[link.address] = other

    def count(self, what: str, why: str = "") -> None:
        """One more of what should not happen."""
        self.counts.add(what, 1, why)

    # ------------------------------------------------------------------ who answers

    def state(self, address: str) -> PeerState | None:
        """See `interfaces.IPeers.state`."""
        return self._states.get(address)

    def states(self) -> Sequence[PeerState]:
        """See `interfaces.IPeers.states`."""
        return [self._states[address] for address in sorted(self._states)]

    @property
    def connected(self) -> int:
        """Open connections, both ways."""
        return len(self._all)

    def _active(self, address: str) -> None:
        self._note(PeerState(address=address, active=True, at=self.clock.seconds()))

    def _flag(self, address: str, why: str) -> None:
        self._note(PeerState(address=address, active=False, at=self.clock.seconds(), why=why))
        if address not in self._probing and not self._stopped:
            self._probing[address] = self._probe(address)

    def _note(self, state: PeerState) -> None:
        known = self._states.get(state.address)
        if known is not None and known.active == state.active:
            self._states[state.address] = evolve(known, why=state.why)
            return
        if known is None and len(self._states) >= REMEMBERED:
            self._states.pop(next(iter(self._states)))
        self._states[state.address] = state

    @deferring
    async def _probe(self, address: str) -> None:
        """A node that did not answer is looked for, so that it takes part again soon after it is back."""
        try:
            for number in range(10_000):
                await pause(self.clock, PROBES[min(number, len(PROBES) - 1)] * (0.9 + 0.2 * self._chance.random()))
                if self._stopped or address in self._links:
                    return
                state = self._states.get(address)
                if state is None or state.active:
                    return
                try:
                    await self._reach(address, None)
                    return
                except AnyLogError:
                    continue
        except CancelledError:
            pass
        finally:
            self._probing.pop(address, None)

    # ------------------------------------------------------------------ the end

    def close_idle(self) -> None:
        """Close the connections on which nothing is under way."""
        for link in list(self._all):
            if not link.under_way:
                link.close("the other node stops")

    @deferring
    async def stop(self) -> None:
        """Close all."""
        self._stopped = True
        for probing in list(self._probing.values()):
            probing.cancel()
        for link in list(self._all):
            link.close("this node stops")
        await gather([])
