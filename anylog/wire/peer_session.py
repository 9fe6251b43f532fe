"""One conversation of two nodes: hello, questions and answers both ways, credit, heartbeat (network.md 8).

Bytes in, events out; calls in, bytes out. It knows no socket and no clock. Frames carry `id` for an exchange that their
sender began and `re` for one that their receiver began.

Data frames spend credit of their exchange and of the connection; all other frames spend none. Credit comes back when a
page was taken, and when data was dropped, so that nothing is ever lost of it (hard-parts.md 5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import define, field, frozen

from anylog.wire.frames import FrameReader, Malformed, frame

VERSION = 1
CHUNK = 64 << 10  # bytes of data in a frame
WINDOW = 256 << 10  # bytes an exchange may send before any was taken
CONNECTION = 64 << 20  # the same for all exchanges of a connection together
MOST = 1000  # exchanges that one side may have begun at a time
LARGEST_PAGE = 16 << 20  # bytes

Key = tuple[bool, int]  # whether we began the exchange, and its number


class State(Enum):
    """Who may speak."""

    FRESH = "before hello"
    OPEN = "open"
    OVER = "over"


@frozen
class Greeted:
    """The other side said who it is."""

    hello: Mapping[str, Any]


@frozen
class Asked:
    """It asks; its data follows if `more`."""

    key: Key
    kind: str
    head: Mapping[str, Any]
    body: bytes
    left: float | None  # seconds that it waits
    hops: int
    more: bool


@frozen
class Told:
    """It tells, and waits for nothing."""

    kind: str
    head: Mapping[str, Any]


@frozen
class Answered:
    """The head of an answer; pages follow if `more`."""

    key: Key
    head: Mapping[str, Any]
    more: bool


@frozen
class Page:
    """One page, put together from its chunks."""

    key: Key
    data: bytes
    owed: int  # bytes to be granted once it is taken


@frozen
class Ended:
    """No more pages of that exchange."""

    key: Key


@frozen
class Failed:
    """The other side could not do it."""

    key: Key
    number: int
    text: str


@frozen
class Cancelled:
    """Nobody there waits for it any more."""

    key: Key


@frozen
class Broken:
    """The rules were broken: close the connection."""

    why: str


Event = Greeted | Asked | Told | Answered | Page | Ended | Failed | Cancelled | Broken


@define(eq=False)
class Exchange:
    """What is under way: our data that waits for credit, and theirs that is not taken."""

    key: Key
    credit: int = WINDOW
    queue: deque[tuple[bytes, bool]] = field(factory=deque)  # chunks, and whether their page goes on
    queued: int = 0
    finishing: bool = False  # `end` follows the queue
    parts: list[bytes] = field(factory=list)  # of the page that is coming
    coming: int = 0
    owed: int = 0  # bytes that came and were not granted back
    answered: bool = False  # the head of the answer went or came


class PeerSession:
    """One end of a connection between two nodes."""

    def __init__(self, hello: Mapping[str, Any], *, compress: bool = True) -> None:
        self.state = State.FRESH
        self.compress = compress
        self.peer: Mapping[str, Any] = {}
        self.exchanges: dict[Key, Exchange] = {}
        self.credit = CONNECTION  # bytes of data that may be sent
        self.owed = 0  # bytes of theirs that we hold
        self.pongs = 0  # answers to our pings
        self._reader = FrameReader()
        self._control: list[bytes] = []
        self._turns: deque[Key] = deque()  # exchanges with data to send, each in its turn
        self._count = 0
        self._theirs = 0  # exchanges that they began and that go on
        self._say({"t": "hello", "v": VERSION, **hello})

    # ------------------------------------------------------------------ what goes out

    def ask(
        self, kind: str, head: Mapping[str, Any], body: bytes = b"", left: float | None = None, hops: int = 0
    ) -> Key:
        """Begin an exchange. Raises ValueError for a head that is too large."""
        self._count += 1
        key = (True, self._count)
        large = len(body) > CHUNK
        message = {"t": "ask", "id": self._count, "kind": kind, "head": head, "hops": hops}
        if left is not None:
            message["left"] = left
        if body:
            message["body"] = b"" if large else body
        if large:
            message["more"] = True
        self._say(message)
        exchange = self.exchanges[key] = Exchange(key)
        if large:
            self._enqueue(exchange, body)
            self._finish(exchange)
        return key

    def tell(self, kind: str, head: Mapping[str, Any]) -> None:
        """Say something for which no answer is waited."""
        self._say({"t": "tell", "kind": kind, "head": head})

    def answer(self, key: Key, head: Mapping[str, Any], more: bool) -> None:
        """The head of an answer, with pages to follow or not. Raises ValueError for one that is too large."""
        exchange = self.exchanges.get(key)
        if exchange is None or exchange.answered:
            return
        self._say({"t": "answer", "re": key[1], "head": head, "more": more})
        exchange.answered = True
        if not more:
            self._forget(exchange)

    def send(self, key: Key, page: bytes) -> bool:
        """A page of an answer; False if nobody waits for it any more."""
        exchange = self.exchanges.get(key)
        if exchange is None:
            return False
        self._enqueue(exchange, page)
        return True

    def end(self, key: Key) -> None:
        """No more pages."""
        exchange = self.exchanges.get(key)
        if exchange is not None:
            self._finish(exchange)

    def fail(self, key: Key, number: int, text: str) -> None:
        """It cannot be done, or not to its end."""
        exchange = self.exchanges.get(key)
        if exchange is not None:
            self._say({"t": "error", "re": key[1], "code": number, "msg": text[:4000]})
            self._forget(exchange)

    def cancel(self, key: Key) -> None:
        """We do not wait for it any more; what still comes of it is dropped, and its credit given back."""
        exchange = self.exchanges.get(key)
        if exchange is not None:
            self._say({"t": "cancel", "id": key[1]})
            self._forget(exchange)

    def grant(self, key: Key, size: int) -> None:
        """A page was taken."""
        exchange = self.exchanges.get(key)
        if exchange is not None and size:
            exchange.owed -= size
            self._grant(key, size)

    def ping(self) -> None:
        """Are you there?"""
        self._say({"t": "ping"})

    def refuse(self, why: str) -> None:
        """A last word."""
        self._say({"t": "error", "code": 21, "msg": why[:1000]})
        self.state = State.OVER

    def room(self, key: Key) -> bool:
        """Whether another page of this exchange may be made: what is queued of it is less than it may send."""
        exchange = self.exchanges.get(key)
        return exchange is not None and exchange.queued < exchange.credit and self.credit > 0

    @property
    def over(self) -> bool:
        """Whether nobody may speak any more."""
        return self.state is State.OVER

    @property
    def sending(self) -> bool:
        """Whether data waits that has credit."""
        return self.credit > 0 and any(self.exchanges[key].credit > 0 for key in self._turns if key in self.exchanges)

    def control(self) -> bytes:
        """Frames that spend no credit, to be written at once."""
        if not self._control:
            return b""
        said, self._control = self._control, []
        return said[0] if len(said) == 1 else b"".join(said)

    def data(self, most: int = 4 * CHUNK) -> bytes:
        """Data frames of the exchanges that have credit, a chunk of each in turn, of about `most` bytes."""
        made: list[bytes] = []
        size = 0
        stuck = 0
        while self._turns and size < most and stuck < len(self._turns):
            key = self._turns.popleft()
            exchange = self.exchanges.get(key)
            if exchange is None:
                continue
            if exchange.queue and (exchange.credit <= 0 or self.credit <= 0):
                self._turns.append(key)
                stuck += 1
                continue
            stuck = 0
            if exchange.queue:
                chunk, goes_on = exchange.queue.popleft()
                exchange.queued -= len(chunk)
                exchange.credit -= len(chunk)
                self.credit -= len(chunk)
                message: dict[str, Any] = {"t": "data", "id" if key[0] else "re": key[1], "data": chunk}
                if goes_on:
                    message["more"] = True
                made.append(frame(message, self.compress))
                size += len(made[-1])
            if exchange.queue:
                self._turns.append(key)
            elif exchange.finishing:
                exchange.finishing = False
                made.append(frame({"t": "end", "id" if key[0] else "re": key[1]}))
                if not key[0]:
                    self._forget(exchange)
        return b"".join(made)

    # ------------------------------------------------------------------ what comes in

    def receive(self, data: bytes) -> list[Event]:
        """What the bytes say. After `Broken` nothing more is heard."""
        if self.state is State.OVER:
            return []
        events: list[Event] = []
        try:
            for message in self._reader.receive(data):
                self._hear(message, events)
                if self.over:
                    break
        except Malformed as wrong:
            self.refuse(str(wrong))
            events.append(Broken(str(wrong)))
        return events

    def _hear(self, message: Mapping[str, Any], events: list[Event]) -> None:
        said = message.get("t")
        if self.state is State.FRESH:
            if said != "hello":
                raise Malformed(f"'{str(said)[:40]}' before hello")
            if message.get("v") != VERSION:
                raise Malformed(f"protocol version {str(message.get('v'))[:40]}, this node speaks {VERSION}")
            for name in ("name", "address", "type", "version"):
                if type(message.get(name, "")) is not str or len(message.get(name, "")) > 300:
                    raise Malformed(f"hello with a wrong '{name}'")
            self.state, self.peer = State.OPEN, message
            events.append(Greeted(message))
            return
        hear = _HEARS.get(said) if type(said) is str else None
        if hear is not None:
            hear(self, message, events)
        elif type(said) is not str:
            raise Malformed("a frame without a type")

    def _hear_ask(self, message: Mapping[str, Any], events: list[Event]) -> None:
        number, kind, head = _whole(message, "id"), _text(message, "kind"), _map(message, "head")
        key = (False, number)
        if key in self.exchanges:
            raise Malformed(f"exchange {number} begins twice")
        body, left = message.get("body", b""), message.get("left")
        if type(body) is not bytes or (left is not None and type(left) not in (int, float)):
            raise Malformed("a question with a wrong body or time")
        if self._theirs >= MOST:
            self._say({"t": "error", "re": number, "code": 108, "msg": f"{MOST} questions are under way"})
            return
        self._theirs += 1
        self.exchanges[key] = Exchange(key)
        more = message.get("more") is True
        events.append(Asked(key, kind, head, body, left, _whole(message, "hops"), more))

    def _hear_tell(self, message: Mapping[str, Any], events: list[Event]) -> None:
        events.append(Told(_text(message, "kind"), _map(message, "head")))

    def _hear_answer(self, message: Mapping[str, Any], events: list[Event]) -> None:
        exchange = self.exchanges.get((True, _whole(message, "re")))
        head = _map(message, "head")
        if exchange is None:
            return
        if exchange.answered:
            raise Malformed("a second answer")
        exchange.answered = True
        more = message.get("more") is True
        events.append(Answered(exchange.key, head, more))
        if not more:
            self._forget(exchange)

    def _hear_data(self, message: Mapping[str, Any], events: list[Event]) -> None:
        key, data = _key(message), message.get("data")
        if type(data) is not bytes or len(data) > CHUNK:
            raise Malformed("data that is none, or too much")
        exchange = self.exchanges.get(key)
        self.owed += len(data)
        if self.owed > CONNECTION:
            raise Malformed("data without credit")
        if exchange is None:
            self._grant(key, len(data))  # of an exchange that was cancelled
            return
        exchange.owed += len(data)
        if exchange.owed > WINDOW + CHUNK:
            raise Malformed("data without credit of its exchange")
        exchange.parts.append(data)
        exchange.coming += len(data)
        if exchange.coming > LARGEST_PAGE:
            raise Malformed(f"a page of more than {LARGEST_PAGE:,} bytes")
        if message.get("more") is True:
            # A page may be larger than the window: what waits for its end cannot wait to be taken.
            exchange.owed -= len(data)
            self._grant(key, len(data))
            return
        page = data if len(exchange.parts) == 1 else b"".join(exchange.parts)
        exchange.parts, exchange.coming = [], 0
        events.append(Page(key, page, len(data)))

    def _hear_end(self, message: Mapping[str, Any], events: list[Event]) -> None:
        exchange = self.exchanges.get(_key(message))
        if exchange is None:
            return
        events.append(Ended(exchange.key))

    def _hear_credit(self, message: Mapping[str, Any], events: list[Event]) -> None:
        size = _whole(message, "n")
        self.credit = min(self.credit + size, CONNECTION)
        exchange = self.exchanges.get(_key(message))
        if exchange is not None:
            exchange.credit = min(exchange.credit + size, WINDOW)

    def _hear_cancel(self, message: Mapping[str, Any], events: list[Event]) -> None:
        exchange = self.exchanges.get((False, _whole(message, "id")))
        if exchange is not None:
            events.append(Cancelled(exchange.key))
            self._forget(exchange)

    def _hear_error(self, message: Mapping[str, Any], events: list[Event]) -> None:
        number, text = _whole(message, "code"), message.get("msg")
        if type(text) is not str:
            raise Malformed("an error without a text")
        if "re" not in message:
            self.state = State.OVER
            events.append(Broken(f"the other node says: {text}"))
            return
        exchange = self.exchanges.get((True, _whole(message, "re")))
        if exchange is not None:
            events.append(Failed(exchange.key, number, text))
            self._forget(exchange)

    def _hear_ping(self, message: Mapping[str, Any], events: list[Event]) -> None:
        self._say({"t": "pong"})

    def _hear_pong(self, message: Mapping[str, Any], events: list[Event]) -> None:
        self.pongs += 1

    # ------------------------------------------------------------------ bookkeeping

    def _say(self, message: Mapping[str, Any]) -> None:
        if self.state is not State.OVER:
            self._control.append(frame(message, self.compress))

    def _grant(self, key: Key, size: int) -> None:
        self.owed -= size
        self._say({"t": "credit", "id" if key[0] else "re": key[1], "n": size})

    def _enqueue(self, exchange: Exchange, page: bytes) -> None:
        if not exchange.queue:
            self._turns.append(exchange.key)
        for at in range(0, max(len(page), 1), CHUNK):
            exchange.queue.append((page[at : at + CHUNK], at + CHUNK < len(page)))
        exchange.queued += len(page)

    def _finish(self, exchange: Exchange) -> None:
        exchange.finishing = True
        if not exchange.queue:
            self._turns.append(exchange.key)

    def _forget(self, exchange: Exchange) -> None:
        """It is over: what was not taken of it is granted back, what was not sent is dropped."""
        self.exchanges.pop(exchange.key, None)
        if exchange.owed:
            owed, exchange.owed = exchange.owed, 0
            self._grant(exchange.key, owed)
        if not exchange.key[0]:
            self._theirs -= 1

    def taken(self, key: Key) -> None:
        """The last page of an answer was taken."""
        exchange = self.exchanges.get(key)
        if exchange is not None:
            self._forget(exchange)


def _whole(message: Mapping[str, Any], name: str) -> int:
    value = message.get(name)
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Malformed(f"'{name}' is not a number")
    return value


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if type(value) is not str or len(value) > 100:
        raise Malformed(f"'{name}' is not a short text")
    return value


def _map(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = message.get(name)
    if type(value) is not dict:
        raise Malformed(f"'{name}' is not a map")
    return value


def _key(message: Mapping[str, Any]) -> Key:
    """Their `id` is an exchange that they began, their `re` one that we began."""
    return (True, _whole(message, "re")) if "re" in message else (False, _whole(message, "id"))


_HEARS: Mapping[str, Any] = {
    "ask": PeerSession._hear_ask,
    "tell": PeerSession._hear_tell,
    "answer": PeerSession._hear_answer,
    "data": PeerSession._hear_data,
    "end": PeerSession._hear_end,
    "credit": PeerSession._hear_credit,
    "cancel": PeerSession._hear_cancel,
    "error": PeerSession._hear_error,
    "ping": PeerSession._hear_ping,
    "pong": PeerSession._hear_pong,
}
