"""The other nodes: one connection to each, dialled when first asked, used both ways (network.md 8, 9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, TypeVar

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from anylog.counts import Counts
from anylog.errors import ERRORS, AnyLogError
from anylog.interfaces import Asker, Clock, DelayedCall, PeerHandler, PeerState, Reply
from anylog.net import INet
from anylog.network.carrier import BEAT, LINGER, Carrier
from anylog.network.reply_to import Ways
from anylog.network.turned_away import TurnedAway
from anylog.tank import Tank
from anylog.waiting import deadline, deferring, pause
from anylog.wire.flow import CONNECTION
from anylog.wire.frames import frame
from anylog.wire.messages import HOPS
from anylog.wire.peer_session import PeerSession

T = TypeVar("T")

CONNECT = 6.0  # seconds until a peer must have answered
AGAIN = 2.0  # and one that did not answer before
ATTEMPTS = 3
PAUSE = 0.5  # seconds between two attempts
SEARCH = (0.5, 1.0, 2.0, 5.0, 10.0)  # seconds between attempts to reach a node again that did not answer
SEARCHES = 5000
UNUSED = 60.0  # seconds after which a node is no longer looked for that the ledger does not name and nobody asked
REMEMBERED = 5000  # nodes whose state is kept
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%a-z]{2,60})\]|([\w.-]{1,253})):([0-9]{1,5})", re.ASCII)
THREADS = 6  # commands of peers that run at once


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[ipv6]:port`. Raises AnyLogError 20."""
    found = _ADDRESS.fullmatch(address.strip())
    if found is None:
        raise AnyLogError(20, f"'{address[:200]}' is not an ip:port")
    if not 0 < int(found[3]) < 65536:
        raise AnyLogError(20, f"'{address}': {found[3]} is not a port")
    return found[1] or found[2], int(found[3])


def endpoint(address: str, seconds: float) -> str:
    """Where to connect, as Twisted writes it, with `seconds` for the attempt. Raises AnyLogError 20."""
    host, port = split_address(address)
    escaped = host.replace(":", "\\:")
    return f"tcp:{escaped}:{port}:timeout={max(1, round(seconds))}"


def loopback(host: str) -> bool:
    """Whether a host is this very machine, where bytes cost nothing."""
    return host.startswith("127.") or host in ("::1", "localhost")


@define(kw_only=True)
class PeerLimits:
    """How many connections are taken."""

    connections: int = 1000
    host: int = 200  # of one host


class Peers:
    """All peers of one node; an `IPeers`, and the owner of the connections."""

    log = Logger()

    def __init__(
        self,
        *,
        net: INet,
        clock: Clock,
        chance: Random,
        hello: Callable[[], Mapping[str, Any]],
        tank: Tank | None = None,
        limits: PeerLimits | None = None,
    ) -> None:
        """`hello` gives what peers are told of this node: name, type, address (ip:port, empty if it does not listen),
        version (of its metadata). `tank` counts the bytes held for readers; while it is full no credit is given.
        """
        self.own: set[str] = set()  # the addresses of this very node
        self.ways = Ways()
        self.sends: DeferredSemaphore | None = None  # how many nodes commands ask at once; None: as many as there are
        self.counts = Counts()
        self.trace_in = self.trace_out = 0  # whether each question of others, and to others, is logged
        self.limits = limits or PeerLimits()
        self.factory: Any = _Taken(self)  # an IProtocolFactory
        self.carriers: dict[Carrier, bool] = {}  # all that are connected; True: it came to us
        self.near: Callable[[], Collection[str]] = lambda: ()  # addresses whose silence is to be noticed soon
        # Whether a node is one of the network: others are looked for only as long as somebody asks them.
        self.listed: Callable[[str], bool] = lambda address: True
        self.came: Callable[[str], None] = lambda address: None  # told of each address that is connected anew
        self.threads = THREADS
        self.total = 0  # commands of peers that were taken
        self.window = CONNECTION if tank is None else min(CONNECTION, tank.high // 4)
        self._net, self._clock, self._chance, self._hello, self._tank = net, clock, chance, hello, tank
        self._squeeze = True
        self._handlers: dict[str, PeerHandler] = {}
        self._known: dict[str, Carrier] = {}
        self._states: dict[str, PeerState] = {}
        self._dials: dict[str, _Dial] = {}
        self._slots: dict[int, DeferredSemaphore] = {}
        self._searches: dict[str, Deferred[None]] = {}
        self._used: dict[str, float] = {}  # when those that are looked for were asked last
        self.leaving: dict[Carrier, None] = {}  # connections that say goodbye
        self._beat: DelayedCall | None = None
        self._stopped = False
        if tank is not None:
            tank.watch(self._relieve)

    # ------------------------------------------------------------------ asking

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
        """As `IPeers.ask`. A question that came through more than 8 nodes is refused with error 15."""
        if self.trace_out:
            self.log.info("trace: tcp out: {kind} to {to}, {size} bytes", kind=kind, to=address, size=len(body))
        if address in self.own:
            return self._ask_self(address, kind, head, body, until, hops)
        carrier = self._known.get(address)
        if carrier is not None:
            return carrier.ask(kind, head, body, until=until, hops=hops)
        return self._ask_new(address, kind, head, body, until, hops)

    @deferring
    async def _ask_new(
        self, address: str, kind: str, head: Mapping[str, Any], body: bytes, until: float | None, hops: int
    ) -> Reply:
        self._use(address)
        carrier = await self._reached(address, until)
        return await carrier.ask(kind, head, body, until=until, hops=hops)

    @deferring
    async def _ask_self(
        self, address: str, kind: str, head: Mapping[str, Any], body: bytes, until: float | None, hops: int
    ) -> Reply:
        asker = Asker(host="", address=address, name=str(self._hello().get("name", "")), until=until, hops=hops)
        try:
            return await self._in_time(self.answer(kind, head, body, asker), until, address)
        except (AnyLogError, CancelledError) as refused:
            if isinstance(refused, AnyLogError):
                refused.node = refused.node or address
            raise
        except Exception:  # what a peer would be told
            self.log.failure("answering {kind} of this very node", kind=kind)
            raise AnyLogError(500, ERRORS[500][0], node=address) from None

    @deferring
    async def ping(self, address: str, seconds: float) -> float:
        """As `IPeers.ping`."""
        if address in self.own:
            return 0.0
        self._use(address)
        return await self._ping(address, seconds)

    def _use(self, address: str) -> None:
        if address in self._searches:
            self._used[address] = self._clock.seconds()

    async def _ping(self, address: str, seconds: float) -> float:
        until = self._clock.seconds() + seconds
        carrier = await self._reached(address, until)
        return await self._in_time(carrier.ping(), until, address)

    def tell(self, kind: str, head: Mapping[str, Any]) -> int:
        """As `IPeers.tell`; a peer that is connected twice hears it once."""
        told: dict[tuple[str, str], Carrier] = {}
        for carrier in self.carriers:
            if carrier.hello and not carrier.over:
                hello = carrier.hello
                address = str(hello.get("address", ""))
                if address not in self.own or not address:
                    told.setdefault((address, "" if address else f"{id(carrier)}"), carrier)
        for carrier in told.values():
            carrier.tell(kind, head)
        return len(told)

    def state(self, address: str) -> PeerState | None:
        """As `IPeers.state`."""
        return self._states.get(address)

    def doubt(self, address: str, why: str) -> None:
        """As `IPeers.doubt`."""
        if address in self.own:
            return
        self._flag(address, why)
        carrier = self._known.get(address)
        if carrier is not None:
            carrier.doubted = True

    def believed(self, carrier: Carrier) -> None:
        """As `Owner.believed`."""
        for address in [address for address, known in self._known.items() if known is carrier]:
            self._flag(address, "", active=True)

    def states(self) -> Sequence[PeerState]:
        """As `IPeers.states`."""
        return [self._states[address] for address in sorted(self._states)]

    # ------------------------------------------------------------------ answering

    def serve(self, kind: str, handler: PeerHandler) -> None:
        """Answer questions of that kind, and hear what is told of it."""
        self._handlers[kind] = handler

    def answer(self, kind: str, head: Mapping[str, Any], body: bytes, asker: Asker) -> Deferred[Reply]:
        """As `Owner.answer`. Fails with AnyLogError 224 for a kind that nobody serves."""
        handler = self._handlers.get(kind)
        if handler is None:
            return fail(AnyLogError(224, f"this node answers no '{kind[:64]}'"))
        if asker.hops > HOPS:
            return fail(AnyLogError(15, f"the question came through more than {HOPS} nodes"))
        self.counts.add(f"{kind} answered")
        if self.trace_in:
            who = asker.address or asker.host
            self.log.info("trace: tcp in: {kind} from {who}, {size} bytes", kind=kind, who=who, size=len(body))
        if kind == "command":
            self.total += 1
            return self.slots(asker.hops).run(handler, head, body, asker)
        return maybeDeferred(handler, head, body, asker)

    def heard(self, kind: str, head: Mapping[str, Any], asker: Asker) -> None:
        """As `Owner.heard`."""
        handler = self._handlers.get(kind)
        if handler is not None:
            maybeDeferred(handler, head, b"", asker).addErrback(
                lambda failure: self.log.failure("hearing {kind} of {peer}", failure, kind=kind, peer=asker.host)
            )

    def slots(self, hops: int = 0) -> DeferredSemaphore:
        """Commands of peers wait for one of these. Each hop has slots of its own, so that no circle of nodes can
        wait for itself."""
        if hops not in self._slots:
            self._slots[hops] = DeferredSemaphore(self.threads)
        return self._slots[hops]

    def set_threads(self, threads: int) -> None:
        """How many commands of peers run at once, from now on."""
        self.threads = threads
        self._slots = {}

    # ------------------------------------------------------------------ connections

    @property
    def squeeze(self) -> bool:
        """Whether what goes to other machines is compressed."""
        return self._squeeze

    def set_squeeze(self, on: bool) -> None:
        """Compress what goes to other machines, or not, from now on."""
        self._squeeze = on
        for carrier in self.carriers:
            carrier.session.squeeze = on and not loopback(carrier.host)

    def greet(self) -> None:
        """Tell all peers anew who this node is."""
        for carrier in list(self.carriers):  # one that does not read is let go of
            carrier.session.greet(self._hello())
            carrier.pump()

    def connect(self, address: str) -> Deferred[Carrier]:
        """The connection to a peer; those who ask at the same time share one dial. Fails with AnyLogError 208 or 20."""
        carrier = self._known.get(address)
        if carrier is not None:
            return succeed(carrier)
        dial = self._dials.get(address)
        if dial is None:
            try:
                host, _ = split_address(address)
            except AnyLogError as wrong:
                return fail(wrong)
            if self._stopped:
                return fail(AnyLogError(506, "this node stops"))
            dial = self._dials[address] = _Dial()
            dial.work = Deferred.fromCoroutine(self._dial(address, host))
            dial.work.addBoth(partial(self._dialled, address, dial))
        return dial.wait()

    async def _dial(self, address: str, host: str) -> Carrier:
        before = self._states.get(address)
        flagged = before is not None and not before.active
        seconds, attempts = (AGAIN, 1) if flagged else (CONNECT, ATTEMPTS)
        begin, why = self._clock.seconds(), ""
        for attempt in range(1, attempts + 1):
            if attempt > 1:
                await pause(self._clock, PAUSE * (1 + 0.2 * self._chance.random()))
                if address in self._known:
                    break
            try:
                return await deadline(self._clock, seconds, self._reach(address, host, seconds), "connecting")
            except AnyLogError as refused:
                why = str(refused)
                if refused.number == 21 and address not in self._known:
                    self._flag(address, why)
                    raise
            except (ConnectError, OSError) as refused:
                why = str(refused) or type(refused).__name__
            self.counts.add("failed to connect", last=f"{address}: {why}")
            self.log.emit(
                LogLevel.debug if flagged else LogLevel.info,
                "{address} not reached, attempt {attempt} of {attempts}, after {elapsed:.1f} s: {why}",
                address=address,
                attempt=attempt,
                attempts=attempts,
                elapsed=self._clock.seconds() - begin,
                why=why,
            )
        if address in self._known:  # it dialled us in the meantime: nothing that fails here says that it is away
            return self._known[address]
        self._flag(address, why)
        raise AnyLogError(208, f"Failed to create a socket using: {address}: {why}", node=address)

    @deferring
    async def _reach(self, address: str, host: str, seconds: float) -> Carrier:
        """A connection on which the peer said hello. Fails with ConnectError, OSError or AnyLogError."""
        factory: Any = Factory.forProtocol(partial(self._carrier, address, host))
        factory.noisy = False
        made: Any = await self._net.connect(endpoint(address, seconds), factory)
        carrier: Carrier = made
        try:
            await carrier.ready()
        except CancelledError:
            carrier.abort("it did not say hello in time", counted="no hello")
            raise
        self.counts.add("connections dialled")
        return carrier

    def _dialled(self, address: str, dial: _Dial, result: Carrier | Failure) -> None:
        if self._dials.get(address) is dial:
            del self._dials[address]
        dial.end(result)

    def _carrier(self, address: str, host: str) -> Carrier:
        session = PeerSession(self._hello(), window=self.window, squeeze=self._squeeze and not loopback(host))
        if self._tank is not None and self._tank.full:
            session.relieve(True)
        carrier = Carrier(session=session, owner=self, clock=self._clock, address=address)
        self.carriers[carrier] = not address
        if self._beat is None:
            self._beat = self._clock.callLater(BEAT, self._look)
        return carrier

    def taken(self, host: str) -> Carrier | None:
        """A connection that comes from a host; None if there are too many."""
        incoming = [carrier for carrier, came in self.carriers.items() if came]
        same = sum(carrier.host == host for carrier in incoming)
        if self._stopped or len(incoming) >= self.limits.connections or same >= self.limits.host:
            self.counts.add("turned away", last=host)
            return None
        self.counts.add("connections taken")
        carrier = self._carrier("", host)
        carrier.host = host
        return carrier

    def opened(self, carrier: Carrier) -> None:
        """As `Owner.opened`.

        A peer that dialled us is asked on that connection, too, if it listens on the host it comes from: otherwise any
        node could take the questions that are meant for another.
        """
        said = str(carrier.hello.get("address", ""))
        addresses = [carrier.address] if carrier.address else []
        try:
            if said and said not in addresses and split_address(said)[0] == carrier.host:
                addresses.append(said)
        except AnyLogError as wrong:
            self.counts.add("strange addresses", last=str(wrong))
        for address in addresses:
            if address in self.own:
                continue
            there = self._known.get(address)
            names = [each.hello.get("name") for each in (there, carrier) if each is not None]
            if there is not None and names[0] != names[1]:
                self.counts.add("two nodes of one address", last=f"{names[0]} and {names[1]} say they are {address}")
                self.log.warn("{names} both say that they are {address}", names=names, address=address)
                continue
            self._known[address] = carrier
            if there is not carrier:
                self.came(address)
            self._flag(address, "", active=True)
            dial = self._dials.get(address)
            if dial is not None:
                dial.end(carrier)

    def gone(self, carrier: Carrier) -> None:
        """As `Owner.gone`."""
        self.leaving.pop(carrier, None)

    def lost(self, carrier: Carrier, why: str, *, counted: str, working: bool) -> None:
        """As `Owner.lost`."""
        self.carriers.pop(carrier, None)
        self.leaving[carrier] = None
        self.counts.add(counted, last=f"{carrier.name}: {why}")
        if counted not in ("closed", "lost"):
            self.log.info("connection with {peer} ended: {why}", peer=carrier.name, why=why)
        for address in [address for address, known in self._known.items() if known is carrier]:
            del self._known[address]
            if counted != "closed" and (working or counted in ("silent", "ended by peer")):
                self._flag(address, why)
            for other in list(self.carriers):  # the same peer, connected a second time
                if other.hello and address in (other.address, other.hello.get("address")):
                    self.opened(other)

    def holds(self, amount: int) -> None:
        """As `Owner.holds`."""
        if self._tank is not None:
            if amount > 0:
                self._tank.put(amount)
            else:
                self._tank.take(-amount)

    def close_idle(self) -> None:
        """Close the connections that came and have no work under way."""
        for carrier, came in list(self.carriers.items()):
            if came and not carrier.busy:
                carrier.close("this node takes no connections any more")

    def close_taken(self) -> None:
        """Close the connections that came."""
        for carrier, came in list(self.carriers.items()):
            if came:
                carrier.close("this node takes no connections any more")

    @property
    def answering(self) -> int:
        """Questions of peers that are under way."""
        return sum(carrier.session.answering for carrier in self.carriers)

    @deferring
    async def stop(self) -> None:
        """Close all connections; nobody is asked or answered any more. Fires when they are closed."""
        self._stopped = True
        for search in list(self._searches.values()):
            search.cancel()
        for dial in list(self._dials.values()):
            if dial.work is not None:
                dial.work.cancel()
        for carrier in list(self.carriers):
            carrier.close("the node stops")
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        until = self._clock.seconds() + 2 * LINGER
        while self.leaving and self._clock.seconds() < until:
            await pause(self._clock, 0.01)

    # ------------------------------------------------------------------ inside

    def _look(self) -> None:
        self._beat = self._clock.callLater(BEAT, self._look) if self.carriers else None
        now, near = self._clock.seconds(), [address for address in self.near() if address not in self.own]
        for carrier in list(self.carriers):  # all of a peer: when one is silent, another would be taken for it
            carrier.beat(now, near=carrier.address in near or carrier.hello.get("address") in near)
        for address in near:  # a member whose connection ended may be gone: nobody would notice without a connection
            state = self._states.get(address)
            if address not in self._known and address not in self._dials and (state is None or state.active):
                self.ping(address, CONNECT).addErrback(
                    lambda failure: failure.trap(AnyLogError, CancelledError) and None
                )

    def _flag(self, address: str, why: str, *, active: bool = False) -> None:
        there = self._states.get(address)
        if there is None and len(self._states) >= REMEMBERED:
            del self._states[next(iter(self._states))]
        if there is None or there.active != active:
            self._states[address] = PeerState(address=address, active=active, at=self._clock.seconds(), why=why)
        elif there.why != why:
            self._states[address] = evolve(there, why=why)
        if not active and address not in self._searches and not self._stopped:
            self._searches[address] = search = self._search(address)
            search.addBoth(partial(self._searched, address))

    def _searched(self, address: str, result: object) -> None:
        self._searches.pop(address, None)
        self._used.pop(address, None)

    @deferring
    async def _search(self, address: str) -> None:
        """Look for a node that did not answer until it does, so that it takes part again soon after it is back."""
        began = self._clock.seconds()
        for number in range(SEARCHES):
            await pause(self._clock, SEARCH[min(number, len(SEARCH) - 1)] * (0.9 + 0.2 * self._chance.random()))
            state = self._states.get(address)
            if self._stopped or state is None or state.active:
                return
            if self._clock.seconds() - self._used.get(address, began) >= UNUSED and not self.listed(address):
                del self._states[address]  # as if it was never heard of: should it be listed later, it is asked
                return
            try:
                await self._ping(address, AGAIN)
                self._flag(address, "", active=True)
                return
            except AnyLogError:
                continue

    def _relieve(self, full: bool) -> None:
        for carrier in list(self.carriers):
            carrier.session.relieve(full)
            carrier.pump()

    @deferring
    async def _reached(self, address: str, until: float | None) -> Carrier:
        """The connection to a peer. Fails with AnyLogError 208 also when it is too late for it."""
        try:
            return await self._in_time(self.connect(address), until, address)
        except AnyLogError as late:
            if late.number != 26:
                raise
            why = f"Failed to create a socket using: {address}: not connected in time"
            raise AnyLogError(208, why, node=address) from None

    def _in_time(self, waited: Deferred[T], until: float | None, address: str) -> Deferred[T]:
        """Give `waited`, or fail with error 26 when it is `until`."""
        if until is None:
            return waited
        left = max(until - self._clock.seconds(), 0.000001)

        def named(failure: Failure) -> T:
            error = failure.value
            if isinstance(error, AnyLogError) and not error.node:
                error.node = address
            failure.raiseException()

        return deadline(self._clock, left, waited, f"asking {address}").addErrback(named)


@define(eq=False)
class _Dial:
    """A connection that is being made, and those who wait for it."""

    work: Deferred[Any] | None = None
    result: Carrier | Failure | None = None
    _waiting: list[Deferred[Carrier]] = field(factory=list)

    def wait(self) -> Deferred[Carrier]:
        """One more who waits; may give up alone."""
        waited: Deferred[Carrier] = Deferred(lambda gone: self._waiting.remove(gone))
        if isinstance(self.result, Carrier) and self.result.over:
            self.result = None  # the peer had come, and went: the one that is being made is waited for
        if self.result is not None:
            waited.callback(self.result)
        else:
            self._waiting.append(waited)
        return waited

    def end(self, result: Carrier | Failure) -> None:
        """It is there, or it failed."""
        if isinstance(result, Failure) and result.check(CancelledError):
            result = Failure(AnyLogError(506, "this node stops"))
        self.result = result
        while self._waiting:  # who is told may cancel others
            self._waiting.pop(0).callback(result)


class _Taken(Factory):
    """Connections that come."""

    noisy = False

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A conversation, or a word why there is none."""
        carrier = self._peers.taken(str(getattr(addr, "host", "")))
        if carrier is not None:
            return carrier
        return TurnedAway(frame({"t": "error", "code": 502, "msg": "too many connections, try again later"}))
