"""The conversation of two nodes: bytes in, events out; calls in, bytes out (network.md 8, hard-parts.md 5).

Both ask and both answer, any number of questions at a time. Whoever carries it moves the bytes and keeps the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from attrs import define, field

from anylog.errors import AnyLogError
from anylog.wire.flow import CONNECTION, LEAST, WINDOW, Inflow, Outflow, cost
from anylog.wire.frames import FrameReader, Malformed, Message, frame
from anylog.wire.messages import (
    HEAD,
    INLINE,
    LAST,
    LONGEST,
    VERSION,
    Asked,
    Dropped,
    Ended,
    Event,
    Failed,
    Opened,
    Paged,
    Ponged,
    Replied,
    Told,
    check,
)

MOST = 1000  # questions that may be open, each way
BODY = 16 << 20  # bytes of the body of a question
GATHERED = 32 << 20  # bytes of such bodies that are not whole, of one connection
_FRESH = 32 << 10  # bytes of a frame before the peer said who it is
_ENVELOPE = 1 << 10  # what a message adds to head and body
_LARGEST = 256 << 10  # bytes of any frame after that


class State(Enum):
    """How far the conversation is."""

    FRESH = "before hello"
    OPEN = "open"
    OVER = "over"


@define(eq=False)
class _Question:
    """One of ours: without an answer until `flow` or the end."""

    upload: Outflow | None = None
    flow: Inflow | None = None


@define(eq=False)
class _Task:
    """One of the peer's: `flow` while its body comes, `answer` while ours goes."""

    asked: Asked
    flow: Inflow | None = None
    answer: Outflow | None = None
    parts: list[bytes] = field(factory=list)
    size: int = 0


class PeerSession:
    """One end of a conversation. `receive` gives events; after each call `control` and `next_data` give bytes."""

    def __init__(
        self, hello: Mapping[str, Any], *, window: int = CONNECTION, most: int = MOST, squeeze: bool = True
    ) -> None:
        """`window` is the credit in bytes that the peer gets for all bodies together; `squeeze`: compress."""
        self.state = State.FRESH
        self.squeeze = squeeze
        self.full = False  # the node holds too much: only who waits for a page is given credit
        self.held = 0  # bytes of bodies that came and were not taken
        self.waiting = 0  # bytes of `control`
        self.credit = 0  # what we may still send
        self.wanted: list[int] = []  # questions of the peer whose next page should be handed over
        self._most = most
        self._reader = FrameReader(largest=_FRESH)
        self._out: list[bytes] = []
        self._window = self._whole = min(max(window, LEAST), CONNECTION)  # what the peer may still send
        self._owed = 0
        self._questions: dict[int, _Question] = {}
        self._tasks: dict[int, _Task] = {}
        self._last_asked = self._last_seen = self._pings = 0
        self._gathered = 0
        self._turns: deque[Outflow] = deque()
        self._uploads: deque[Outflow] = deque()
        self._events: list[Event] = []
        self._send({**hello, "t": "hello", "v": VERSION, "window": self._window})

    # ------------------------------------------------------------------ what comes

    def receive(self, data: bytes) -> list[Event]:
        """What the bytes mean. After `Ended` nothing means anything."""
        self._events = []
        events = self._events
        for message in self._reader.receive(data):
            if self.state is State.OVER:
                continue
            try:
                self._hear(message)
            except Malformed as wrong:
                self._end(str(wrong))
        if self._reader.fault and self.state is not State.OVER:
            self._end(self._reader.fault)
        return events

    def _hear(self, message: Message) -> None:
        kind = check(message)
        rule = RULES.get((self.state, kind))
        if rule is None:
            raise Malformed(f"{kind} {self.state.value}")
        rule(self, message)

    def _hello(self, message: Message) -> None:
        if message["v"] != VERSION:
            raise Malformed(f"protocol version {message['v']}, this node speaks {VERSION}")
        if self.state is State.FRESH:
            self.state = State.OPEN
            self._reader.largest = _LARGEST
            self.credit = min(max(message.get("window", CONNECTION), LEAST), CONNECTION)
        self._events.append(Opened(message))

    def _asked(self, message: Message) -> None:
        number = message["id"]
        if number <= self._last_seen:
            raise Malformed(f"question {number} after {self._last_seen}")
        self._last_seen = number
        if len(self._tasks) >= self._most:
            self._refuse(number, 502, f"{self._most} questions are under way on this connection")
            return
        body = message.get("body", b"")
        asked = Asked(number, message["kind"], message["head"], body, message.get("late"), message.get("hops", 0))
        if message.get("more"):
            flow = Inflow()
            flow.take()
            self._tasks[number] = _Task(asked, flow)
        else:
            self._tasks[number] = _Task(asked)
            self._events.append(asked)

    def _replied(self, message: Message) -> None:
        question = self._question(message["re"])
        if question is None:
            return
        if question.flow is not None:
            raise Malformed("a second reply")
        more = message.get("more", False)
        if more:
            question.flow = Inflow()
        else:
            self._forget(message["re"])
        self._events.append(Replied(message["re"], message["head"], more))

    def _data(self, message: Message) -> None:
        piece, flags = message["d"], message["f"]
        price = cost(len(piece), flags)
        if price > self._window:
            raise Malformed("data without credit of the connection")
        self._window -= price
        if "re" in message:
            self._page(message["re"], piece, flags, price)
        elif "id" in message:
            self._body(message["id"], piece, flags, price)
        else:
            raise Malformed("data of no question")

    def _page(self, number: int, piece: bytes, flags: int, price: int) -> None:
        """A piece of an answer to us."""
        question = self._question(number)
        if question is None:  # it was cancelled while this was on its way
            self._repay(price)
            return
        flow = question.flow
        if flow is None or flow.ended:
            raise Malformed("data before a reply" if flow is None else "data after the last")
        waited = flow.waited
        taken = flow.receive(piece, flags)
        self.held += price - taken
        if waited and flow.ready:
            self._events.append(Paged(number))
        self._return("id", number, flow)
        self._repay(taken)

    def _body(self, number: int, piece: bytes, flags: int, price: int) -> None:
        """A piece of a question to us: gathered until it is whole."""
        task = self._task(number)
        if task is None:
            self._repay(price)
            return
        flow = task.flow
        if flow is None:
            raise Malformed("data after the last")
        flow.receive(piece, flags)
        while page := flow.take()[0]:
            task.parts.append(page)
        self._repay(price)
        task.size += len(piece)
        self._gathered += len(piece)
        self.held += len(piece)
        if flow.ended:
            self._let_go(task)
            asked, body, task.parts, task.flow = task.asked, b"".join(task.parts), [], None
            task.asked = Asked(number, asked.kind, asked.head, body, asked.late, asked.hops)
            self._events.append(task.asked)
            task.asked = asked  # the body is its handler's alone
        elif task.size > BODY:
            self.fail(number, 501, f"the body of a question has at most {BODY:,} bytes")
        elif self._gathered > GATHERED or self.full:
            self.fail(number, 502, "too much is waiting")
        else:
            self._return("re", number, flow)

    def _credit(self, message: Message) -> None:
        flow: Outflow | None = None
        if "id" in message:
            task = self._task(message["id"])
            flow = task.answer if task is not None else None
        elif "re" in message:
            question = self._question(message["re"])
            flow = question.upload if question is not None else None
        else:
            self.credit += message["n"]
        if flow is not None:
            flow.credit += message["n"]
            flow.since = None
            self._queue(flow)

    def _cancelled(self, message: Message) -> None:
        if self._task(message["id"]) is not None:
            self._finish(message["id"])
            self._events.append(Dropped(message["id"]))

    def _erred(self, message: Message) -> None:
        if "re" not in message:
            self.state = State.OVER
            self._events.append(Ended(message["msg"], message["code"], ours=False))
        elif self._question(message["re"]) is not None:
            self._forget(message["re"])
            self._events.append(Failed(message["re"], message["code"], message["msg"]))

    def _told(self, message: Message) -> None:
        self._events.append(Told(message["kind"], message["head"]))

    def _pinged(self, message: Message) -> None:
        self._send({"t": "pong", "n": message["n"]})

    def _ponged(self, message: Message) -> None:
        self._events.append(Ponged(message["n"]))

    # ------------------------------------------------------------------ what we ask

    def ask(
        self, kind: str, head: Mapping[str, Any], body: bytes = b"", *, late: float | None = None, hops: int = 0
    ) -> int:
        """Ask; gives the number of the question. `late` is how many seconds its answer is waited for.

        Raises AnyLogError 502 for too many, 501 for a body and 40 for a head that cannot be sent.
        """
        if len(self._questions) >= self._most:
            raise AnyLogError(502, f"{self._most} questions are under way with this node")
        if len(body) > BODY:
            raise AnyLogError(501, f"a body of {len(body):,} bytes, a question may have {BODY:,}")
        number = self._last_asked + 1
        message: Message = {"t": "ask", "id": number, "kind": kind, "head": head}
        if late is not None:
            message["late"] = late
        if hops:
            message["hops"] = hops
        upload: Outflow | None = None
        if len(body) > INLINE:
            message["more"] = True
            upload = Outflow("id", number)
            upload.add(body)
            upload.end()
        elif body:
            message["body"] = body
        self._send_head(message, HEAD + INLINE)
        self._last_asked = number
        self._questions[number] = _Question(upload)
        if upload is not None:
            # One after the other: whoever gathers them never holds many that are not whole.
            self._uploads.append(upload)
            self._queue(self._uploads[0])
        return number

    def take(self, number: int) -> bytes | None:
        """The next page of an answer; None after the last, empty if it must be waited for (`Paged` will come).

        Raises LookupError if the question failed or was cancelled, so that no answer ends early without a word.
        """
        question = self._questions[number]
        flow = question.flow
        if flow is None:
            raise LookupError(number)
        page, taken = flow.take()
        self.held -= taken
        if page is None:
            self._forget(number)
        else:
            self._return("id", number, flow)
        self._repay(taken)
        return page

    def complete(self, number: int) -> bool:
        """Whether all of an answer is here, though not taken."""
        question = self._questions.get(number)
        return question is not None and question.flow is not None and question.flow.ended

    def cancel(self, number: int) -> None:
        """The answer is not wanted any more."""
        if number in self._questions:
            self._forget(number)
            self._send({"t": "cancel", "id": number})

    def tell(self, kind: str, head: Mapping[str, Any]) -> None:
        """Say something that is not answered. Raises AnyLogError 40 for a head that cannot be sent."""
        self._send_head({"t": "tell", "kind": kind, "head": head}, HEAD)

    def ping(self) -> int:
        """Ask for a sign of life; `Ponged` brings the same number."""
        self._pings += 1
        self._send({"t": "ping", "n": self._pings})
        return self._pings

    def greet(self, hello: Mapping[str, Any]) -> None:
        """Say anew who we are."""
        self._send({**hello, "t": "hello", "v": VERSION})

    # ------------------------------------------------------------------ what we answer

    def reply(self, number: int, head: Mapping[str, Any], *, more: bool = False) -> None:
        """Answer; with `more` pages follow, asked for through `wanted`.

        Nothing happens if the question was dropped. Raises AnyLogError 40 for a head that cannot be sent.
        """
        task = self._tasks.get(number)
        if task is None:
            return
        self._send_head({"t": "reply", "re": number, "head": head, "more": more}, HEAD)
        if more:
            task.answer = Outflow("re", number)
            self.wanted.append(number)
        else:
            self._finish(number)

    def page(self, number: int, page: bytes | None) -> None:
        """The page that was wanted, or None after the last."""
        task = self._tasks.get(number)
        if task is None or task.answer is None:
            return
        if page is None:
            task.answer.end()
        else:
            task.answer.add(page)
        if task.answer:
            self._queue(task.answer)
        else:
            self.wanted.append(number)  # an empty page is none

    def fail(self, number: int, code: int, text: str) -> None:
        """A question of the peer comes to nothing, before or in the middle of its answer."""
        if number in self._tasks:
            self._finish(number)
            self._refuse(number, code, text)

    # ------------------------------------------------------------------ what goes

    def control(self) -> bytes:
        """All that goes at once, whatever the credit."""
        data = b"".join(self._out)
        self._out.clear()
        self.waiting = 0
        return data

    def next_data(self) -> bytes:
        """One data frame of the body whose turn it is, or nothing."""
        while self._turns:
            flow = self._turns[0]
            if flow.price > flow.credit:  # it comes back when it is given some
                self._turns.popleft()
                flow.queued = False
                continue
            if flow.price > self.credit:
                return b""
            self._turns.popleft()
            self.credit -= flow.price
            piece, flags = flow.pop()
            data = frame({"t": "data", flow.side: flow.number, "d": piece, "f": flags}, squeeze=self.squeeze)
            if flow:
                self._turns.append(flow)
            else:
                flow.queued = False
                if flags & LAST:
                    self._sent(flow)
                else:
                    self.wanted.append(flow.number)
            return data
        return b""

    def starving(self) -> list[Outflow]:
        """Bodies that could go if there were credit."""
        flows = [task.answer for task in self._tasks.values() if task.answer is not None]
        return [flow for flow in [*flows, *self._uploads] if flow and flow.price > min(flow.credit, self.credit)]

    @property
    def open(self) -> int:
        """Questions under way, both ways."""
        return len(self._questions) + len(self._tasks)

    @property
    def answering(self) -> int:
        """Questions of the peer that are under way, until the last of their answer went."""
        return len(self._tasks)

    @property
    def tight(self) -> bool:
        """Whether what nobody reads leaves the others little credit."""
        return self._window < self._whole // 4

    @property
    def owed(self) -> int:
        """Credit of the connection that the peer has not: what is held, and what was not given back yet."""
        return self._whole - self._window

    def abandon(self) -> None:
        """The questions of the peer come to nothing, without a word."""
        for number in list(self._tasks):
            self._finish(number)

    def relieve(self, full: bool) -> None:
        """Grant credit only to those that are read at this moment, or to all again."""
        self.full = full
        if not full:
            for number, question in self._questions.items():
                if question.flow is not None:
                    self._return("id", number, question.flow)
            for number, task in self._tasks.items():
                if task.flow is not None:
                    self._return("re", number, task.flow)

    def end(self, why: str, code: int = 15) -> None:
        """Say goodbye; nothing is understood or sent after that."""
        if self.state is not State.OVER:
            self._send({"t": "error", "code": code, "msg": why[:LONGEST]})
            self.state = State.OVER
            for flow in self._turns:
                flow.queued = False
            self._turns.clear()

    # ------------------------------------------------------------------ inside

    def _end(self, why: str) -> None:
        self.end(why, 21)
        self._events.append(Ended(why))

    def _question(self, number: int) -> _Question | None:
        """One of ours; None if it is over. Raises `Malformed` for one that never was."""
        if number > self._last_asked:
            raise Malformed(f"an answer to question {number}, which was not asked")
        return self._questions.get(number)

    def _task(self, number: int) -> _Task | None:
        if number > self._last_seen:
            raise Malformed(f"question {number} was never asked")
        return self._tasks.get(number)

    def _forget(self, number: int) -> None:
        """One of ours is over: the credit of what it held goes back."""
        question = self._questions.pop(number)
        if question.upload is not None and question.upload in self._uploads:
            self._silence(question.upload)
            self._sent(question.upload)
        if question.flow is not None:
            held = question.flow.drop()
            self.held -= held
            self._repay(held)

    def _finish(self, number: int) -> None:
        """One of the peer's is over."""
        task = self._tasks.pop(number)
        self._let_go(task)
        if task.answer is not None:
            self._silence(task.answer)

    def _sent(self, flow: Outflow) -> None:
        """The last of a body went, or will not go."""
        if not flow.upload:
            self._tasks.pop(flow.number, None)
        elif flow in self._uploads:
            self._uploads.remove(flow)
            if self._uploads:
                self._queue(self._uploads[0])

    def _silence(self, flow: Outflow) -> None:
        if flow.queued:
            self._turns.remove(flow)
            flow.queued = False

    def _let_go(self, task: _Task) -> None:
        if task.flow is not None:
            self._gathered -= task.size
            self.held -= task.size

    def _queue(self, flow: Outflow) -> None:
        """Let it take its turn, if it can."""
        if flow and not flow.queued and flow.credit >= flow.price and (not flow.upload or flow is self._uploads[0]):
            flow.queued = True
            self._turns.append(flow)

    def _return(self, side: str, number: int, flow: Inflow) -> None:
        """Give an exchange its credit back, not too often."""
        if flow.owed >= WINDOW // 4 and not flow.ended and (flow.waited or not self.full):
            flow.window += flow.owed
            self._send({"t": "credit", side: number, "n": flow.owed})
            flow.owed = 0

    def _repay(self, taken: int) -> None:
        """Give the connection its credit back, not too often."""
        self._owed += taken
        if self._owed >= self._whole // 4:
            self._window += self._owed
            self._send({"t": "credit", "n": self._owed})
            self._owed = 0

    def _refuse(self, number: int, code: int, text: str) -> None:
        self._send({"t": "error", "re": number, "code": code, "msg": text[:LONGEST]})

    def _send_head(self, message: Message, most: int) -> None:
        try:
            data = frame(message, squeeze=self.squeeze, most=most + _ENVELOPE)
        except (TypeError, ValueError, OverflowError) as wrong:
            raise AnyLogError(40, f"'{message['t']}' cannot be sent: {wrong}") from wrong
        self._put(data)

    def _send(self, message: Message) -> None:
        self._put(frame(message))

    def _put(self, data: bytes) -> None:
        if self.state is not State.OVER:
            self._out.append(data)
            self.waiting += len(data)


Rule = Callable[[PeerSession, Message], None]

# What may be heard when; what is not here ends the conversation. `_question` and `_task` tell whether an exchange
# is known, over (what comes late is ignored), or never was.
RULES: Mapping[tuple[State, str], Rule] = {
    (State.FRESH, "hello"): PeerSession._hello,
    (State.FRESH, "error"): PeerSession._erred,
    (State.OPEN, "hello"): PeerSession._hello,
    (State.OPEN, "ask"): PeerSession._asked,
    (State.OPEN, "reply"): PeerSession._replied,
    (State.OPEN, "data"): PeerSession._data,
    (State.OPEN, "credit"): PeerSession._credit,
    (State.OPEN, "cancel"): PeerSession._cancelled,
    (State.OPEN, "error"): PeerSession._erred,
    (State.OPEN, "tell"): PeerSession._told,
    (State.OPEN, "ping"): PeerSession._pinged,
    (State.OPEN, "pong"): PeerSession._ponged,
}
