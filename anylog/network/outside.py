"""Subscriptions of an outside message broker: what it sends is answered when it is safe here (ingest.md 4).

`OutsideBroker` keeps a connection, whatever happens to it: it subscribes, hands over what comes in the order in which
it came, and answers in that order. What could not be kept is not answered: the connection is dropped, and the broker
sends it again. A message that comes again is known by what its key and token say (decisions.md 36):

* At QoS 2 the packet id is the broker's name for the message until it is released. How often an id was released lasts
  (`Exchanges`), so the token says which message it was, also after a crash.
* At QoS 1 nobody says when an id is free again: the token says what the message holds, and only one that is marked as
  sent again is a repeat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, DelayedCall, Repeat, unix
from anylog.net import INet
from anylog.network.handed import Handed
from anylog.network.outside_access import Access, Debug, Layer, TlsLayer
from anylog.network.outside_memory import Exchanges
from anylog.network.outside_websocket import WebSocketLayer
from anylog.tank import Tank
from anylog.waiting import deadline, gather
from anylog.wire.mqtt_packets import Publish

if TYPE_CHECKING:
    from anylog.network.outside_link import Link, Listener

Deliver = Callable[[Sequence[tuple[Repeat | None, Publish]]], Deferred[Any]]

OVERHEAD = 200  # bytes that a message costs beside its topic and payload
HIGH, LOW = 8 << 20, 4 << 20  # bytes that wait for `deliver`: reading pauses, goes on
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds until the next attempt
STEADY = 30.0  # seconds after which a connection has proved itself
SETTLE = 10.0  # seconds that stopping waits for what is being kept; some more for the end of the connection

IDLE, CONNECTING, SUBSCRIBING, CONNECTED, WAITING, STOPPED = (
    "not started", "connecting", "subscribing", "connected", "waiting", "stopped",
)  # fmt: skip


async def open_link(
    *,
    clock: Clock,
    net: INet,
    read: Callable[..., Deferred[Any]],
    token: Callable[[int], bytes],
    access: Access,
    listener: Listener,
    debug: Debug | None = None,
) -> Link:
    """A connection on which CONNECT is said as soon as TLS and WebSocket are up; nothing here waits in the reactor.

    `read(function)` runs what reads files in a lane. Raises AnyLogError 99 without paho, 40 for certificates or keys
    that cannot be read, 81 if nobody answers.
    """
    try:
        from anylog.network.outside_link import Link
    except ImportError:
        raise AnyLogError(99, "outside brokers need paho-mqtt: install anylog[mqtt]") from None
    if access.token is not None:
        password = await read(partial(access.token.sign, unix(clock)))
        access = evolve(access, user=access.user or "unused", password=password)
    layers: list[Layer] = []
    if access.tls is not None:
        try:
            layers.append(TlsLayer(await read(access.tls.context), access.host))
        except (OSError, ValueError) as wrong:
            raise AnyLogError(40, f"{access.address}: the certificates cannot be read: {wrong}") from None
    if access.websocket:
        layers.append(WebSocketLayer(access, token))
    link = Link(clock=clock, access=access, layers=layers, listener=listener, debug=debug)
    try:
        factory: Any = Factory.forProtocol(lambda: link)
        factory.noisy = False
        await net.connect(access.endpoint, factory)
    except (AnyLogError, CancelledError):
        raise
    except Exception as why:  # of whatever kind: a name that is none, no way there, nobody at home
        raise AnyLogError(81, f"{access.address} cannot be reached: {why}") from None
    return link


@define
class Known:
    """The newest message that came under a packet id."""

    token: str
    safe: bool


@define(eq=False)
class Batch(Handed):
    """What came in one turn of the reactor."""

    link: Link
    items: list[tuple[Repeat | None, Publish]] = field(factory=list)
    answers: list[tuple[int, int]] = field(factory=list)  # QoS and packet id, in the order of the broker
    known: list[Known] = field(factory=list)
    released: list[int] = field(factory=list)  # packet ids


class OutsideBroker:
    """A client of one outside broker. Its numbers are in `counts`, for `get msg client`."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        net: INet,
        chance: Random,
        read: Callable[..., Deferred[Any]],
        token: Callable[[int], bytes],
        access: Access,
        topics: Sequence[tuple[str, int]],
        deliver: Deliver,
        memory: Exchanges | None = None,
        high: int = HIGH,
        low: int = LOW,
        debug: Debug | None = None,
    ) -> None:
        """Nothing happens before `start`.

        `deliver` is given (what tells a repeat, message) in order and fires when all are durable; it fails if any could
        not be kept. Something tells a repeat where the broker may send a message again: QoS 1 and 2 of a persistent
        session, which needs a `memory`. `high` and `low` are the bytes waiting for `deliver` at which reading pauses
        and goes on. `debug` is told of each packet.
        """
        if access.persistent and memory is None:
            raise ValueError("a session that lasts needs a memory")
        self.access, self.topics = access, list(topics)
        self.counts = Counts()
        self.state = IDLE
        self.last_error, self.last_error_at = "", 0.0  # unix seconds
        self.last_message_at = self.connected_at = 0.0
        self.refused: dict[str, str] = {}  # topic filter -> why the broker does not send it
        self._clock, self._net, self._chance, self._read, self._token = clock, net, chance, read, token
        self._deliver, self._debug = deliver, debug
        self._memory = memory if access.persistent else None
        self._tank = Tank(low=low, high=high)
        self._tank.watch(self._filled)
        self._link: Link | None = None  # on which we are connected
        self._fresh: Link | None = None  # on which the broker has not answered yet
        self._subscribed = False
        self._broken = False  # something was not kept: nothing more is answered on this connection
        self._attempt: Deferred[Any] | None = None
        self._retry: DelayedCall | None = None
        self._failures = 0
        self._answered = False  # on this connection
        self._owed: deque[Batch] = deque()
        self._settled: list[Deferred[None]] = []
        self._gone: list[Deferred[None]] = []
        who = f"{access.address}/{access.client_id}".encode()
        self._who = blake2b(who, digest_size=8).hexdigest()
        self._known: dict[int, Known] = {}
        self._asked: list[tuple[str, int]] = []  # by the last SUBSCRIBE
        self._refusals = 0
        self._ask_again: DelayedCall | None = None
        self._renewal: DelayedCall | None = None  # of the token by which the broker knows us
        self._renewing = False

    # Going and stopping.

    def start(self) -> None:
        """Connect, and again whenever the connection is lost."""
        if self.state == IDLE:
            self._try()

    @property
    def waiting(self) -> int:
        """Bytes that wait for `deliver`."""
        return self._tank.held

    async def stop(self, forget: bool = False) -> None:
        """Take nothing more, answer what is being kept, and take leave; at most some seconds.

        With `forget` the broker is told to send nothing more, not even later (it forgets a persistent session's
        topics, not what it has queued).
        """
        if self.state == STOPPED:
            return
        self.state = STOPPED
        for call in (self._retry, self._ask_again, self._renewal):
            if call is not None and call.active():
                call.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        if self._fresh is not None:
            self._fresh.drop("stopped")
        link = self._link
        if link is not None:
            link.pause("stopping")
        gone: Deferred[None] = Deferred()
        self._gone.append(gone)
        try:
            await deadline(self._clock, SETTLE, self._all_settled(), "keeping the last messages")
        except AnyLogError as late:
            self._error(str(late))
        if forget:
            await self._forget()
        if link is not None and self._link is link:
            if forget:
                link.unsubscribe([name for name, _ in self.topics])
            link.disconnect()
            await gone
        if self._memory is not None:
            await self._memory.close()

    async def _forget(self) -> None:
        """Whoever takes up the session later is to subscribe: known before the broker is told."""
        if self._memory is not None:
            try:
                await self._memory.open()
                await self._memory.subscribed(())
            except AnyLogError as why:
                self._error(str(why))

    def _try(self) -> None:
        self.state, self._retry = CONNECTING, None
        self._attempt = Deferred.fromCoroutine(self._open())
        self._attempt.addCallbacks(self._opened, self._unreached)

    async def _open(self) -> Link:
        if self._memory is not None:
            await self._memory.open()
        return await open_link(
            clock=self._clock,
            net=self._net,
            read=self._read,
            token=self._token,
            access=self.access,
            listener=self,
            debug=self._debug,
        )

    def _opened(self, link: Link) -> None:
        self._attempt = None
        self._fresh = link if self._link is None else None
        if self.state == STOPPED:
            link.drop("stopped")

    def _unreached(self, failure: Failure) -> None:
        self._attempt = None
        if self.state == STOPPED:
            return
        if not failure.check(AnyLogError):
            self.log.failure("connecting to {broker}", failure, broker=self.access.address)
        self._error(failure.getErrorMessage())
        self._again()

    def _again(self) -> None:
        """Try later: a little more later each time, and not all at once with others."""
        self.state = WAITING
        self._retry = self._clock.callLater(self._wait(self._failures), self._try)
        self._failures += 1

    def _wait(self, failures: int) -> float:
        """Seconds, after so many failures."""
        return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures, 16)) * (0.5 + 0.5 * self._chance.random())

    def _error(self, why: str) -> None:
        self.last_error, self.last_error_at = why, self._clock.seconds()
        self.counts.add("errors", last=why)
        self.log.info("{broker}: {why}", broker=self.access.address, why=why)

    # What the link tells.

    def connected(self, link: Link, session_present: bool) -> None:
        """Subscribe, unless the broker has kept the subscriptions that were made by this very client."""
        if self.state == STOPPED:
            link.disconnect()
            return
        self._link, self._fresh, self._broken, self._answered = link, None, False, False
        self.connected_at = self._clock.seconds()
        self.counts.add("connects")
        if self.access.token is not None:
            self._renewal = self._clock.callLater(self.access.token.renewed_after, self._renew, link)
        self.refused.clear()
        self._refusals = 0
        if self._tank.full:
            link.pause("full")
        if session_present and self._subscribed:
            self.state = CONNECTED
            return
        self.state = SUBSCRIBING
        begun: Deferred[None] = succeed(None)
        if not session_present:
            self._known.clear()  # packet ids begin anew
            if self._memory is not None:
                begun = self._memory.begin()
        begun.addCallbacks(lambda _: self._subscribe(link), lambda failure: link.drop(failure.getErrorMessage()))

    def _renew(self, link: Link) -> None:
        """Its token is nearly over: what came is kept and answered, then we connect with another one."""
        if self._link is not link or self.state == STOPPED:
            return
        self._renewing = True
        link.pause("renewing")
        self._all_settled().addCallback(lambda _: link.disconnect() if self._link is link else None)

    def _subscribe(self, link: Link) -> None:
        """What is not subscribed yet; what an earlier run subscribed to and nobody wants any more is given up."""
        if self._link is not link or self.state != SUBSCRIBING:
            return
        before = dict(self._memory.topics) if self._memory is not None else {}
        wanted = dict(self.topics)
        if unwanted := [name for name in before if name not in wanted]:
            link.unsubscribe(unwanted)
        # In 3.1.1 each SUBSCRIBE brings retained messages once more: what the broker has is not asked for again.
        self._ask(link, [each for each in self.topics if before.get(each[0]) != each[1]], bool(unwanted))

    def _ask(self, link: Link, topics: list[tuple[str, int]], changed: bool = False) -> None:
        self._asked = topics
        if topics:
            link.subscribe(topics)
            link.flush()
            return
        self.state, self._subscribed = CONNECTED, True
        if changed:
            self._remember()
        link.flush()

    def _remember(self) -> None:
        """In the memory: what the broker sends. If that fails it is asked for again some time, which does no harm."""
        if self._memory is not None:
            done = self._memory.subscribed([each for each in self.topics if each[0] not in self.refused])
            done.addErrback(lambda failure: self._error(failure.getErrorMessage()))

    def subscribed(self, link: Link, refused: Sequence[tuple[int, str]]) -> None:
        """Refused filters are named and asked for again, later each time; the others go on."""
        asked, self._asked = self._asked, []
        for name, _ in asked:
            self.refused.pop(name, None)
        self.refused.update({asked[at][0]: why for at, why in refused if at < len(asked)})
        self._subscribed = not self.refused
        if self.state == SUBSCRIBING:
            self.state = CONNECTED
        if self.state == STOPPED:
            return
        if len(refused) < len(asked):
            self._remember()
        for at, why in refused:
            if at < len(asked):
                self._error(f"the broker does not send {asked[at][0]}: {why}")
        if refused:
            self._ask_again = self._clock.callLater(self._wait(self._refusals), self._asking, link)
            self._refusals += 1

    def _asking(self, link: Link) -> None:
        if self._link is link and self.state == CONNECTED:
            self._ask(link, [each for each in self.topics if each[0] in self.refused])

    def published(self, link: Link, packet_id: int, why: str) -> None:
        """Nothing is published here."""

    def received(self, link: Link, events: Sequence[Publish | int]) -> None:
        """Hand over what is new; what was safe before is answered without asking again."""
        batch = Batch(link)
        for event in events:
            if isinstance(event, int):
                self._let_go(batch, event)
            else:
                self._take(batch, event)
        self.counts.add("batches")
        self.counts.add("messages", len(events) - len(batch.released))
        if batch.items:
            self.last_message_at = self._clock.seconds()
        self._owed.append(batch)
        self._tank.put(batch.size)
        kept = Deferred.fromCoroutine(self._keep(batch))
        kept.addErrback(batch.not_kept, self.log, self.access.address)
        kept.addCallback(lambda _: self._ended(batch))
        kept.addErrback(lambda failure: self.log.failure("answering {broker}", failure, broker=self.access.address))

    def lost(self, link: Link, why: str) -> None:
        """Connect again, but not before it is known what of the old connection is safe."""
        if self._link is not link and self._link is not None:
            return
        self._link = self._fresh = None
        for call in (self._ask_again, self._renewal):
            if call is not None and call.active():
                call.cancel()
        for gone in self._gone:
            gone.callback(None)
        self._gone.clear()
        renewing, self._renewing = self._renewing, False
        if self.state == STOPPED:
            return
        if renewing:
            self.counts.add("renewed")
            self.state, self._failures = WAITING, 0
            self._all_settled().addCallback(lambda _: self._try() if self.state == WAITING else None)
            return
        if self.state in (CONNECTED, SUBSCRIBING):
            self.counts.add("disconnects")
            if self._answered or self._clock.seconds() - self.connected_at >= STEADY:
                self._failures = 0
        self._error(why)
        self.state = WAITING
        self._all_settled().addCallback(lambda _: self._again() if self.state == WAITING else None)

    # Messages on their way to `deliver`, and the answers.

    def _take(self, batch: Batch, packet: Publish) -> None:
        batch.size += OVERHEAD + len(packet.topic) + len(packet.payload)
        if packet.qos:
            batch.answers.append((packet.qos, packet.packet_id))
        if not packet.topic:
            # Not to be kept by anybody: it is answered, else it would come again for ever.
            self.counts.add("malformed", last="a topic that is not UTF-8")
            return
        if not packet.qos or self._memory is None:
            batch.items.append((None, packet))
            return
        digest = blake2b(packet.topic.encode() + b"\0" + packet.payload, digest_size=8).hexdigest()
        if packet.qos == 2:
            # Until it is released it is the same message, whether it is marked or not (MQTT 4.3.3).
            token, repeat = f"2.{self._memory.exchange(packet.packet_id)}.{digest}", True
        else:
            token, repeat = f"1.{self._memory.session}.{digest}", packet.dup
        known = self._known.get(packet.packet_id) if repeat else None
        if known is None or known.token != token:
            known = self._known[packet.packet_id] = Known(token, False)
        elif known.safe:
            self.counts.add("repeated")
            return
        batch.known.append(known)
        batch.items.append(((f"{self._who}.{packet.packet_id}", token, repeat), packet))

    def _let_go(self, batch: Batch, packet_id: int) -> None:
        from anylog.network.outside_link import RELEASED

        batch.answers.append((RELEASED, packet_id))
        self._known.pop(packet_id, None)
        batch.released.append(packet_id)

    async def _keep(self, batch: Batch) -> None:
        waits: list[Deferred[Any]] = []
        if batch.items:
            waits.append(maybeDeferred(self._deliver, batch.items))
        if batch.released and self._memory is not None:
            waits.append(self._memory.release(batch.released))
        await gather(waits)

    def _ended(self, batch: Batch) -> None:
        batch.ended = True
        for known in batch.known:
            known.safe = not batch.why
        while self._owed and self._owed[0].ended:
            self._answer(self._owed.popleft())
        if self._link is not None:
            self._link.flush()
        self._tank.take(batch.size)
        if not self._owed:
            settled, self._settled = self._settled, []
            for waited in settled:
                waited.callback(None)

    def _answer(self, batch: Batch) -> None:
        """Of what was kept the broker is told; what was not it shall send again."""
        mine = batch.link is self._link and not self._broken
        if not batch.why:
            self.counts.add("kept", len(batch.items))
            if mine and batch.answers:
                batch.link.answer(batch.answers)
                self.counts.add("answered", len(batch.answers))
                self._answered = True
            return
        self.counts.add("failed", len(batch.items), last=batch.why)
        self.counts.add("lost", sum(1 for _, packet in batch.items if not packet.qos))
        if mine and batch.answers:
            self._broken = True
            batch.link.drop(f"messages could not be kept: {batch.why}")
        else:
            self._error(f"messages could not be kept: {batch.why}")

    def _all_settled(self) -> Deferred[None]:
        waited: Deferred[None] = Deferred(lambda gone: self._settled.remove(gone))
        if self._owed:
            self._settled.append(waited)
        else:
            waited.callback(None)
        return waited

    def _filled(self, full: bool) -> None:
        if full:
            self.counts.add("pauses")
        if self._link is not None:
            (self._link.pause if full else self._link.resume)("full")
