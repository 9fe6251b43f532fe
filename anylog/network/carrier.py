"""A conversation on a connection: moves the bytes, keeps the time, joins questions and those who wait.

Sources: network.md 8, 9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from anylog.errors import ERRORS, AnyLogError
from anylog.interfaces import Asker, Clock, DelayedCall, IBody, Reply
from anylog.network.reply_to import answered_at
from anylog.wire.messages import Asked, Dropped, Ended, Failed, Opened, Paged, Ponged, Replied, Told
from anylog.wire.peer_session import PeerSession

HELLO = 6.0  # seconds until the peer must have said who it is
BEAT = 2.0  # seconds between two looks at a connection
IDLE = 30.0  # seconds of silence after which a peer without work is pinged
MISSES = 3  # pings without any sign of life
STARVED = 30.0  # seconds without credit of its own that end an exchange
CROWDED = 60.0  # and without credit of the connection: those who hold it are ended first
LINGER = 2.0  # seconds that a goodbye may take
UNREAD = 4 << 20  # bytes of small messages that a peer may leave unread


class Owner(Protocol):
    """Whoever has the connections of a node: what a carrier tells it and asks of it."""

    def answer(self, kind: str, head: Mapping[str, Any], body: bytes, asker: Asker) -> Deferred[Reply]:
        """Answer a question of a peer."""

    def heard(self, kind: str, head: Mapping[str, Any], asker: Asker) -> None:
        """A peer told something."""

    def opened(self, carrier: Carrier) -> None:
        """The peer said who it is (again)."""

    def lost(self, carrier: Carrier, why: str, *, counted: str, working: bool) -> None:
        """The connection is of no use any more; `working`: questions were under way."""

    def believed(self, carrier: Carrier) -> None:
        """Something came of a peer that was doubted."""

    def gone(self, carrier: Carrier) -> None:
        """And now it is closed."""

    def holds(self, amount: int) -> None:
        """So many bytes more, or fewer, are held for readers."""


@define(eq=False)
class PeerPages:
    """The pages of an answer, as they come; an `IBody`."""

    _carrier: Carrier
    _number: int
    read: float  # when a page was wanted last
    waited: Deferred[bytes | None] | None = None
    error: AnyLogError | None = None
    over: bool = False  # the end was seen, or it was closed

    def next(self) -> Deferred[bytes | None]:
        """Fails with AnyLogError 15 (the connection broke), 26 (late), or what the node met on the way."""
        if self.error is not None:
            return fail(self.error)
        if self.over:
            return succeed(None)
        self.read = self._carrier.now()
        page = self._carrier.take(self._number)
        if page is None:
            self.over = True
        elif not page:
            self.waited = Deferred(lambda _: self.close())
            return self.waited
        return succeed(page)

    def close(self) -> None:
        """The rest is not wanted: the work at the other node is cancelled."""
        waited, self.waited = self.waited, None
        if not self.over:
            self.over = True
            self._carrier.drop(self._number)
        if waited is not None:
            waited.cancel()

    def come(self) -> None:
        """What was waited for is here."""
        waited, self.waited = self.waited, None
        if waited is not None:
            self.next().chainDeferred(waited)

    def fail(self, error: AnyLogError) -> None:
        """The rest will not come."""
        self.error = error
        waited, self.waited = self.waited, None
        if waited is not None:
            waited.errback(error)


@define(eq=False)
class _Question:
    """Who waits for an answer: first for its head, then for pages."""

    waited: Deferred[Reply]
    late: DelayedCall | None = None
    pages: PeerPages | None = None

    def end(self) -> None:
        """Nobody waits any more."""
        if self.late is not None and self.late.active():
            self.late.cancel()

    def fail(self, error: AnyLogError) -> None:
        """Tell whoever waits."""
        self.end()
        if self.pages is not None:
            self.pages.fail(error)
        elif not self.waited.called:
            self.waited.errback(error)


@define(eq=False)
class _Task:
    """A question of the peer: its handler at work, or the body that it made."""

    work: Deferred[Reply] | None = None
    body: IBody | None = None


class Carrier(TwistedProtocol):
    """One connection to a peer, dialled or taken."""

    log = Logger()
    transport: Any

    def __init__(self, *, session: PeerSession, owner: Owner, clock: Clock, address: str = "") -> None:
        """`address` is the ip:port that was dialled; empty for a connection that came."""
        self.session, self.address, self.host = session, address, ""
        self.hello: Mapping[str, Any] = {}
        self.over = False  # nothing more is asked or answered here
        self.doubted = False  # it did not answer in time, and nothing came since
        self.began = clock.seconds()
        self._owner, self._clock = owner, clock
        self._why, self._counted, self._code = "", "", 15
        self._opening: list[Deferred[None]] = []
        self._questions: dict[int, _Question] = {}
        self._tasks: dict[int, _Task] = {}
        self._pings: dict[int, tuple[Deferred[float], float]] = {}
        self._paused = self._pumping = self._again = False
        self._alive = self._tested = False  # something came since the last look; a ping went since anything came
        self._misses, self._pinged, self._quiet_since, self._held = 0, self.began, self.began, 0
        self._linger: DelayedCall | None = None

    # ------------------------------------------------------------------ a protocol

    def connectionMade(self) -> None:
        """Say hello."""
        self.host = str(getattr(self.transport.getPeer(), "host", ""))
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.pump()

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        self._alive = True
        if self.doubted:
            self.doubted = False
            self._owner.believed(self)
        for event in self.session.receive(data):
            _RULES[type(event)](self, event)
        self.settle()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """It is gone."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._stop(self._why or reason.getErrorMessage(), self._counted or "lost", self._code)
        self._owner.gone(self)

    def pauseProducing(self) -> None:
        """The peer does not read as fast as we write."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It does again."""
        self._paused = False
        self.pump()

    def stopProducing(self) -> None:
        """The transport takes nothing any more; `connectionLost` tells why."""
        self._paused = True

    # ------------------------------------------------------------------ asking

    def ready(self) -> Deferred[None]:
        """Fires when the peer said who it is. Fails with AnyLogError 21 if it speaks otherwise, or 15."""
        if self.over:
            return fail(self._refusal())
        if self.hello:
            return succeed(None)
        waited: Deferred[None] = Deferred(lambda gone: self._opening.remove(gone))
        self._opening.append(waited)
        return waited

    @property
    def name(self) -> str:
        """How the peer is called in messages: by address, else by where it comes from."""
        return self.address or str(self.hello.get("address") or self.host)

    @property
    def busy(self) -> bool:
        """Questions are under way, one way or the other."""
        return self.session.open > 0

    def ask(
        self, kind: str, head: Mapping[str, Any], body: bytes = b"", *, until: float | None = None, hops: int = 0
    ) -> Deferred[Reply]:
        """As `IPeers.ask`."""
        late = None if until is None else until - self._clock.seconds()
        try:
            if self.over:
                raise AnyLogError(15, f"{self.name}: {self._why or 'the connection is closed'}", node=self.name)
            if late is not None and late <= 0:
                raise AnyLogError(26, f"{self.name} was not asked: it is too late", node=self.name)
            number = self.session.ask(kind, head, body, late=late, hops=hops)
        except AnyLogError as refused:
            refused.node = self.name
            return fail(refused)
        question = _Question(Deferred(lambda _: self.drop(number)))
        if late is not None:
            question.late = self._clock.callLater(late, self._late, number, late)
        self._questions[number] = question
        self.pump()
        return question.waited

    def now(self) -> float:
        """Seconds of the clock."""
        return self._clock.seconds()

    def take(self, number: int) -> bytes | None:
        """The next page of an answer, as the session gives it; empty while it must be waited for."""
        try:
            page = self.session.take(number)
        except LookupError:
            return b""  # the reason is on its way
        if page is None:
            self._questions.pop(number).end()
        if not self.over:
            self.settle()
        return page

    def drop(self, number: int) -> None:
        """An answer is not wanted any more."""
        question = self._questions.pop(number, None)
        if question is not None:
            question.end()
            self.session.cancel(number)
            self.settle()

    def tell(self, kind: str, head: Mapping[str, Any]) -> None:
        """As `IPeers.tell`, for this peer."""
        self.session.tell(kind, head)
        self.pump()

    def ping(self) -> Deferred[float]:
        """Fires with the seconds of a round trip."""
        number = self.session.ping()
        waited: Deferred[float] = Deferred(lambda _: self._unping(number))
        self._pings[number] = (waited, self._clock.seconds())
        self.pump()
        return waited

    def _unping(self, number: int) -> None:
        self._pings.pop(number, None)

    # ------------------------------------------------------------------ keeping it going

    def pump(self) -> None:
        """Write what may go: small messages at once, pages while the transport takes them."""
        if self._pumping:
            self._again = True
            return
        self._pumping = self._again = True
        session = self.session
        try:
            while self._again and not self.over:
                self._again = False
                if session.wanted:
                    self._fetch()
                if self._paused or self.transport is None:
                    break
                if session.waiting:
                    self.transport.write(session.control())
                while not self._paused and (data := session.next_data()):
                    self.transport.write(data)
                if session.wanted:
                    self._again = True
        finally:
            self._pumping = False
        if session.waiting > UNREAD and not self.over:
            self.abort("it does not read", counted="deaf")

    def settle(self) -> None:
        """After something changed: tell what is held, write what may go."""
        held = self.session.held
        if held != self._held:
            change, self._held = held - self._held, held
            self._owner.holds(change)
        self.pump()

    def beat(self, now: float, *, near: bool = False) -> None:
        """Look at the connection; called every `BEAT` seconds. One that is `near` is pinged each time."""
        if self.over:
            return
        if not self.hello:
            if now - self.began >= HELLO:
                self.abort(f"no hello within {HELLO:g} seconds", counted="half open")
            return
        if self._alive:
            self._alive, self._tested, self._misses, self._quiet_since = False, False, 0, now
        if near or self.busy or (now - self._quiet_since >= IDLE and now - self._pinged >= IDLE):
            self._misses += self._tested
            if self._misses >= MISSES:
                self.abort(f"no sign of life for {now - self._quiet_since:.0f} seconds", counted="silent")
                return
            self._pinged, self._tested = now, True
            self.session.ping()
        for flow in self.session.starving():
            if flow.since is None:
                flow.since = now
            elif now - flow.since >= (STARVED if flow.price > flow.credit else CROWDED):
                self._starved(flow.number, flow.upload)
        if self.session.tight:
            self._drop_unread(now - STARVED)
        self.pump()

    def close(self, why: str, code: int = 15, *, counted: str = "closed") -> None:
        """Say goodbye and close; an end of its own if that takes too long."""
        if self.over:
            return
        self.session.end(why, code)
        self._paused = False
        self.pump()
        self._leave(why, counted, code)

    def abort(self, why: str, *, counted: str) -> None:
        """Close at once."""
        self._stop(why, counted, 15)
        if self.transport is not None:
            self.transport.abortConnection()

    # ------------------------------------------------------------------ what the peer says

    def _opened(self, event: Opened) -> None:
        if self.over:  # by what came before this
            return
        self.hello = answered_at(event.hello, self.host)
        self._owner.opened(self)
        while self._opening:  # who is told may cancel others
            self._opening.pop(0).callback(None)

    def _asked(self, event: Asked) -> None:
        until = None if event.late is None else self._clock.seconds() + event.late
        task = self._tasks[event.number] = _Task()
        work = self._owner.answer(event.kind, event.head, event.body, self._asker(until, event.hops))
        task.work = work
        work.addCallbacks(
            self._answer, self._refuse, callbackArgs=(event.number, task), errbackArgs=(event.number, task)
        )
        work.addErrback(self._unexpected)

    def _answer(self, reply: Reply, number: int, task: _Task) -> None:
        task.work, task.body = None, reply.body
        if self._tasks.get(number) is not task:  # dropped in the meantime
            if reply.body is not None:
                reply.body.close()
            return
        try:
            self.session.reply(number, reply.head, more=reply.body is not None)
        except AnyLogError as refused:
            self._end_task(number)
            self.session.fail(number, 500, str(refused))
        if reply.body is None:
            self._tasks.pop(number, None)
        self.pump()

    def _refuse(self, failure: Failure, number: int, task: _Task) -> None:
        task.work = None
        if self._tasks.pop(number, None) is None:
            return
        error = failure.value
        if isinstance(error, AnyLogError):
            self.session.fail(number, error.number, str(error))
        elif failure.check(CancelledError):
            self.session.fail(number, 15, "it was given up")
        else:
            self._unexpected(failure)
            self.session.fail(number, 500, ERRORS[500][0])
        self.pump()

    def _dropped(self, event: Dropped) -> None:
        self._end_task(event.number)

    def _told(self, event: Told) -> None:
        self._owner.heard(event.kind, event.head, self._asker(None, 0))

    def _replied(self, event: Replied) -> None:
        question = self._questions.get(event.number)
        if question is None:
            return
        if event.more:
            question.pages = PeerPages(self, event.number, self._clock.seconds())
        else:
            question.end()
            del self._questions[event.number]
        question.waited.callback(Reply(head=event.head, body=question.pages))

    def _paged(self, event: Paged) -> None:
        question = self._questions.get(event.number)
        if question is not None and question.pages is not None:
            question.pages.come()

    def _failed(self, event: Failed) -> None:
        question = self._questions.pop(event.number, None)
        if question is not None:
            code = event.code if event.code in ERRORS else 39
            question.fail(AnyLogError(code, event.text, node=self.name))

    def _ponged(self, event: Ponged) -> None:
        waited, began = self._pings.pop(event.number, (None, 0.0))
        if waited is not None:
            waited.callback(self._clock.seconds() - began)

    def _ended(self, event: Ended) -> None:
        if event.ours:
            self._paused = False
            self.pump()
        self._leave(event.why, "garbage" if event.ours else "ended by peer", event.code)

    # ------------------------------------------------------------------ inside

    def _asker(self, until: float | None, hops: int) -> Asker:
        hello = self.hello
        return Asker(
            host=self.host,
            address=str(hello.get("address", "")),
            name=str(hello.get("name", "")),
            until=until,
            hops=hops,
        )

    def _fetch(self) -> None:
        """Ask the bodies for the pages that can go."""
        wanted, self.session.wanted = self.session.wanted, []
        for number in wanted:
            task = self._tasks.get(number)
            if task is not None and task.body is not None:
                following = maybeDeferred(task.body.next)
                following.addCallbacks(self._page, self._broke, callbackArgs=(number, task), errbackArgs=(number, task))
                following.addErrback(self._unexpected)

    def _page(self, page: bytes | None, number: int, task: _Task) -> None:
        if self._tasks.get(number) is task:
            if page is None:
                self._end_task(number)
            self.session.page(number, page)
            self.pump()

    def _broke(self, failure: Failure, number: int, task: _Task) -> None:
        if self._tasks.get(number) is task:
            if task.body is not None:
                task.body.close()
            self._refuse(failure, number, task)

    def _end_task(self, number: int) -> None:
        task = self._tasks.pop(number, None)
        if task is None:
            return
        if task.work is not None:
            task.work.cancel()
        if task.body is not None:
            task.body.close()

    def _late(self, number: int, seconds: float) -> None:
        question = self._questions.pop(number, None)
        if question is not None:
            self.session.cancel(number)
            self.settle()
            question.fail(AnyLogError(26, f"{self.name} did not answer within {seconds:g} seconds", node=self.name))

    def _starved(self, number: int, upload: bool) -> None:
        text = f"{STARVED:g} seconds without credit"
        if not upload:
            self._end_task(number)
            self.session.fail(number, 26, text)
        elif (question := self._questions.pop(number, None)) is not None:
            self.session.cancel(number)
            question.fail(AnyLogError(26, f"{self.name}: {text}", node=self.name))

    def _drop_unread(self, since: float) -> None:
        """Nobody read these for so long, and they hold the credit of the others."""
        for number, question in list(self._questions.items()):
            if question.pages is not None and question.pages.waited is None and question.pages.read <= since:
                self.drop(number)
                question.fail(AnyLogError(26, f"{self.name}: nobody read the answer", node=self.name))

    def _leave(self, why: str, counted: str, code: int) -> None:
        self._stop(why, counted, code)
        if self.transport is not None and not self.transport.disconnecting:
            self.transport.unregisterProducer()  # one that is registered would hold the connection open
            self.transport.loseConnection()
            self._linger = self._clock.callLater(LINGER, self.transport.abortConnection)

    def _stop(self, why: str, counted: str, code: int) -> None:
        """Nobody is served here any more: whoever waits is told."""
        if self.over:
            return
        self.over, self._why, self._counted, self._code = True, why, counted, code
        self.session.end(why, code)
        complete = [number for number in self._questions if self.session.complete(number)]  # these are still read
        working = len(self._questions) > len(complete) or bool(self._tasks)
        self._owner.lost(self, why, counted=counted, working=working)
        for number in list(self._tasks):
            self._end_task(number)
        self.session.abandon()
        error = AnyLogError(15, f"{self.name}: {why}", node=self.name)
        for number in list(self._questions):
            if number not in complete and (question := self._questions.pop(number, None)) is not None:
                self.session.cancel(number)
                question.fail(error)  # who is told may cancel others, also below
        while self._pings:
            waited, _ = self._pings.pop(next(iter(self._pings)))
            waited.errback(error)
        while self._opening:
            self._opening.pop(0).errback(self._refusal())
        self.settle()

    def _refusal(self) -> AnyLogError:
        return AnyLogError(21 if self._code == 21 else 15, self._why, node=self.name)

    def _unexpected(self, failure: Failure) -> None:
        self.log.failure("answering {peer}", failure, peer=self.name)


_RULES: Mapping[type, Callable[[Carrier, Any], None]] = {
    Opened: Carrier._opened,
    Asked: Carrier._asked,
    Dropped: Carrier._dropped,
    Told: Carrier._told,
    Replied: Carrier._replied,
    Paged: Carrier._paged,
    Failed: Carrier._failed,
    Ponged: Carrier._ponged,
    Ended: Carrier._ended,
}
