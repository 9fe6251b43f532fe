"""One connection to another node: carries a session over a transport, serves questions, waits for answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from anylog.errors import ERRORS, AnyLogError
from anylog.interfaces import Asker, Clock, DelayedCall, IBody, PeerHandler, Reply
from anylog.waiting import deadline, deferring
from anylog.wire.peer_session import (
    Answered,
    Asked,
    Broken,
    Cancelled,
    Ended,
    Event,
    Failed,
    Greeted,
    Key,
    Page,
    PeerSession,
    State,
    Told,
)

HELLO = 6.0  # seconds for the other side to say who it is
BUSY, IDLE = 2.0, 30.0  # seconds between pings while somebody waits, and while nobody does
MISSES = 3  # pings without any sign of life
NO_CREDIT = 30.0  # seconds after which an answer that nobody takes is given up
LARGEST_BODY = 32 << 20  # bytes of a question
UNWRITTEN = 8 << 20  # bytes of small frames for a node that reads nothing, beyond which it is cut off


class Owner(Protocol):
    """What a link asks of those who hold it."""

    clock: Clock
    compress: bool

    @property
    def handlers(self) -> Mapping[str, PeerHandler]: ...

    def hello(self) -> Mapping[str, Any]: ...

    def greeted(self, link: Link) -> None: ...

    def lost(self, link: Link, why: str, under_way: bool) -> None: ...

    def heard(self, link: Link) -> None: ...

    def count(self, what: str, why: str = "") -> None: ...


@define(eq=False)
class Asking:
    """A question that is under way, and the body of its answer."""

    _link: Link
    _key: Key
    reply: Deferred[Reply] = field(init=False)
    _pages: deque[tuple[bytes, int]] = field(factory=deque)
    _waiting: Deferred[bytes | None] | None = None
    _failure: AnyLogError | None = None
    _over: bool = False
    _closed: bool = False
    timer: DelayedCall | None = None

    def __attrs_post_init__(self) -> None:
        self.reply = Deferred(lambda _: self.close())

    def next(self) -> Deferred[bytes | None]:
        """See `interfaces.IBody`; credit goes back as pages are taken."""
        told: Deferred[bytes | None] = Deferred(lambda _: self.close())
        if self._pages:
            page, owed = self._pages.popleft()
            self._link.grant(self._key, owed)
            told.callback(page)
        elif self._failure is not None:
            told.errback(self._failure)
        elif self._over or self._closed:
            self._end()
            told.callback(None)
        else:
            self._waiting = told
        return told

    def close(self) -> None:
        """Nobody waits for the rest."""
        if not self._closed:
            self._closed = True
            self._pages.clear()
            self._end()
            self._link.cancel(self._key)

    def _end(self) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self._link.ended(self._key)

    # The link tells what comes.

    def answered(self, head: Mapping[str, Any], more: bool) -> None:
        if not more:
            self._over = True
            self._end()
        if not self.reply.called:
            self.reply.callback(Reply(head=head, body=self if more else None))

    def page(self, data: bytes, owed: int) -> None:
        if self._waiting is not None:
            told, self._waiting = self._waiting, None
            self._link.grant(self._key, owed)
            told.callback(data)
        else:
            self._pages.append((data, owed))

    def over(self) -> None:
        self._over = True
        if self._waiting is not None:
            told, self._waiting = self._waiting, None
            self._end()
            told.callback(None)
        elif self.timer is not None and self.timer.active():
            self.timer.cancel()

    def failed(self, error: AnyLogError) -> None:
        self._failure = error
        self._end()
        if not self.reply.called:
            self.reply.errback(error)
        elif self._waiting is not None:
            told, self._waiting = self._waiting, None
            told.errback(error)


@define(eq=False)
class Serving:
    """A question of the other node, and the work on it."""

    asked: Asked
    parts: list[bytes] = field(factory=list)
    size: int = 0
    work: Deferred[None] | None = None
    room: Deferred[None] | None = None


@implementer(IPushProducer)
class Link(TwistedProtocol):
    """See the module."""

    log = Logger()

    def __init__(self, owner: Owner, *, address: str = "") -> None:
        """`address` is where it was dialled; empty: the other node came to us."""
        self.address = address
        self.name = self.host = ""
        self.session = PeerSession(owner.hello(), compress=owner.compress)
        self.closed = False
        self._owner, self._clock = owner, owner.clock
        self._asking: dict[Key, Asking] = {}
        self._serving: dict[Key, Serving] = {}
        self._paused = False
        self._beat: DelayedCall | None = None
        self._interval = HELLO
        self._silent = 0
        self._heard = False
        self._pings: list[Deferred[float]] = []
        self._why = ""

    # ------------------------------------------------------------------ transport

    def connectionMade(self) -> None:
        transport: Any = self.transport
        peer = transport.getPeer()
        self.host = getattr(peer, "host", "")
        transport.registerProducer(self, True)
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        self._beat = self._clock.callLater(HELLO, self._on_beat)
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        self._heard = True
        pongs = self.session.pongs
        for event in self.session.receive(data):
            self._on(event)
        if self.session.pongs != pongs:
            self._ponged()
        if self.session.state is State.OPEN:
            self._owner.heard(self)
        self.flush()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.closed = True
        if self._beat is not None and self._beat.active():
            self._beat.cancel()
        under_way = bool(self._asking)
        why = self._why or "the connection broke"
        self._owner.lost(self, why, under_way)
        error = AnyLogError(15, f"{self.address or self.host}: {why}", node=self.address)
        for asking in list(self._asking.values()):
            asking.failed(error)
        for serving in list(self._serving.values()):
            self._drop(serving)
        for waiting in self._pings:
            waiting.errback(error)
        self._pings = []

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.flush()

    def stopProducing(self) -> None:
        self._paused = True

    def flush(self) -> None:
        """Write what may be written."""
        transport: Any = self.transport
        if transport is None or self.closed:
            return
        if said := self.session.control():
            transport.write(said)
            if self._paused:
                self._unread(len(said))
        while not self._paused and (made := self.session.data()):
            transport.write(made)
        for serving in list(self._serving.values()):
            waiting = serving.room  # looked at anew: what is told below may come here again
            if waiting is not None and self.session.room(serving.asked.key):
                serving.room = None
                waiting.callback(None)

    def _unread(self, size: int) -> None:
        """A node that asks and reads nothing is cut off before its answers fill our memory."""
        transport: Any = self.transport
        if len(getattr(transport, "dataBuffer", b"")) + getattr(transport, "_tempDataLen", 0) > UNWRITTEN:
            self.abort("it reads nothing")

    def close(self, why: str) -> None:
        """After what was said is written."""
        self._why = self._why or why
        transport: Any = self.transport
        if transport is not None and not self.closed:
            transport.unregisterProducer()
            transport.loseConnection()
            # A node that reads nothing would keep it open for ever.
            self._clock.callLater(1.0, self.abort, why)

    def abort(self, why: str) -> None:
        """At once."""
        self._why = self._why or why
        transport: Any = self.transport
        if transport is not None and not self.closed:
            transport.abortConnection()

    # ------------------------------------------------------------------ heartbeat

    def _hasten(self) -> None:
        """Somebody waits now: look more often."""
        if self._interval == IDLE and self._beat is not None and self._beat.active():
            self._interval, self._silent = BUSY, 0
            self._beat.reset(BUSY)  # type: ignore[attr-defined]

    def _on_beat(self) -> None:
        if self.session.state is State.FRESH:
            self.abort("it did not say who it is")
            return
        busy = bool(self._asking or self._serving or self._pings)
        self._silent = 0 if self._heard else self._silent + 1
        self._heard = False
        if self._silent > MISSES:
            self.abort("it is silent")
            return
        self._interval = BUSY if busy or self._silent else IDLE
        self.session.ping()
        self.flush()
        self._beat = self._clock.callLater(self._interval, self._on_beat)

    def ping(self) -> Deferred[float]:
        """Seconds of a round trip."""
        begun = self._clock.seconds()
        told: Deferred[float] = Deferred(lambda waiting: self._pings.remove(waiting))
        told.addCallback(lambda _: self._clock.seconds() - begun)
        self._pings.append(told)
        self._hasten()
        self.session.ping()
        self.flush()
        return told

    def _ponged(self) -> None:
        waiting, self._pings = self._pings, []
        for told in waiting:
            told.callback(0.0)

    # ------------------------------------------------------------------ asking

    @property
    def under_way(self) -> int:
        """Questions, both ways."""
        return len(self._asking) + len(self._serving)

    def ask(self, kind: str, head: Mapping[str, Any], body: bytes, until: float | None, hops: int) -> Deferred[Reply]:
        """See `interfaces.IPeers.ask`."""
        left = None if until is None else max(0.0, until - self._clock.seconds())
        try:
            key = self.session.ask(kind, head, body, left, hops)
        except ValueError as large:
            failed: Deferred[Reply] = Deferred()
            failed.errback(AnyLogError(21, f"{kind}: {large}", node=self.address))
            return failed
        asking = self._asking[key] = Asking(self, key)
        if left is not None:
            asking.timer = self._clock.callLater(left, self._late, asking, key, kind)
        self._hasten()
        self.flush()
        return asking.reply

    def tell(self, kind: str, head: Mapping[str, Any]) -> None:
        """See `interfaces.IPeers.tell`."""
        self.session.tell(kind, head)
        self.flush()

    def _late(self, asking: Asking, key: Key, kind: str) -> None:
        self.cancel(key)
        asking.failed(AnyLogError(26, f"{self.address}: no answer in time to '{kind}'", node=self.address))

    def grant(self, key: Key, owed: int) -> None:
        """A page was taken."""
        self.session.grant(key, owed)
        self.flush()

    def cancel(self, key: Key) -> None:
        """We do not wait for it any more."""
        self.session.cancel(key)
        self.flush()

    def ended(self, key: Key) -> None:
        """Nothing more is expected of that question."""
        self._asking.pop(key, None)
        self.session.taken(key)

    # ------------------------------------------------------------------ what comes

    def _on(self, event: Event) -> None:
        match event:
            case Page(key, data, owed):
                if key[0]:
                    asking = self._asking.get(key)
                    if asking is not None:
                        asking.page(data, owed)
                elif (serving := self._serving.get(key)) is not None:
                    self._gather(serving, data, owed)
            case Answered(key, head, more):
                if (asking := self._asking.get(key)) is not None:
                    asking.answered(head, more)
            case Ended(key):
                if key[0] and (asking := self._asking.get(key)) is not None:
                    asking.over()
                elif not key[0] and (serving := self._serving.get(key)) is not None and serving.work is None:
                    self._begin(serving)
            case Failed(key, number, text):
                if (asking := self._asking.get(key)) is not None:
                    known = number if number in ERRORS else 39
                    asking.failed(AnyLogError(known, text, node=self.address))
            case Asked():
                serving = self._serving[event.key] = Serving(event)
                if not event.more:
                    self._begin(serving)
            case Told(kind, head):
                handler = self._owner.handlers.get(kind)
                if handler is not None:
                    told = handler(head, b"", self._asker(None, 0))
                    told.addErrback(lambda failure: self._owner.count("failed tellings", str(failure.value)))
            case Cancelled(key):
                if (serving := self._serving.get(key)) is not None:
                    self._drop(serving)
            case Greeted(hello):
                self.name = str(hello.get("name", ""))
                self.address = self.address or str(hello.get("address", ""))
                self._interval = BUSY
                if self._beat is not None and self._beat.active():
                    self._beat.reset(BUSY)  # type: ignore[attr-defined]
                self._owner.greeted(self)
            case Broken(why):
                self._owner.count("broken connections", f"{self.host}: {why}")
                self.flush()
                self.close(why)

    def _gather(self, serving: Serving, data: bytes, owed: int) -> None:
        serving.parts.append(data)
        serving.size += len(data)
        self.session.grant(serving.asked.key, owed)
        if serving.size > LARGEST_BODY:
            self.session.fail(serving.asked.key, 501, f"a question of more than {LARGEST_BODY:,} bytes")
            self._drop(serving)

    def _asker(self, left: float | None, hops: int) -> Asker:
        until = None if left is None else self._clock.seconds() + left
        return Asker(host=self.host, address=self.address, name=self.name, until=until, hops=hops)

    def _begin(self, serving: Serving) -> None:
        serving.work = Deferred()  # taken, also while the work below runs at once
        self._hasten()
        serving.work = self._serve(serving)

    @deferring
    async def _serve(self, serving: Serving) -> None:
        asked = serving.asked
        key, session = asked.key, self.session
        body: IBody | None = None
        try:
            handler = self._owner.handlers.get(asked.kind)
            if handler is None:
                raise AnyLogError(224, f"'{asked.kind[:60]}' is not known here")
            asker = self._asker(asked.left, asked.hops)
            question = b"".join(serving.parts) if asked.more else asked.body
            reply = await deadline(self._clock, asked.left or None, handler(asked.head, question, asker), asked.kind)
            body = reply.body
            session.answer(key, reply.head, body is not None)
            if body is not None:
                while (page := await body.next()) is not None:
                    if not session.send(key, page):
                        break
                    if not session.room(key):
                        self.flush()
                    if not session.room(key) and key in session.exchanges:
                        serving.room = Deferred()
                        await deadline(self._clock, NO_CREDIT, serving.room, "nobody takes the answer")
                session.end(key)
        except CancelledError:
            pass
        except AnyLogError as error:
            session.fail(key, error.number, error.detail or error.text)
        except ValueError as large:
            session.fail(key, 21, str(large))
        except Exception as fault:  # the other node must hear of it; the log has the rest
            self.log.failure("serving '{kind}' to {who}", kind=asked.kind, who=self.address or self.host)
            session.fail(key, 500, f"a fault of the other node: {type(fault).__name__}")
        finally:
            self._serving.pop(key, None)
            serving.room = None
            if body is not None:
                body.close()
            self.flush()

    def _drop(self, serving: Serving) -> None:
        """Nobody waits for its answer any more."""
        self._serving.pop(serving.asked.key, None)
        if serving.work is not None:
            serving.work.cancel()
