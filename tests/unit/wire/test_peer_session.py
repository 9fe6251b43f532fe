"""The conversation of two nodes: who may say what when, and what comes of it (network.md 8)."""

from __future__ import annotations

from typing import Any

import pytest
from talk import Talk, opened

from anylog.errors import AnyLogError
from anylog.wire.flow import CONNECTION, FLOOR, LEAST, PAGE, WINDOW
from anylog.wire.frames import frame
from anylog.wire.messages import (
    FIELDS,
    HEAD,
    INLINE,
    PIECE,
    Asked,
    Dropped,
    Ended,
    Failed,
    Opened,
    Paged,
    Ponged,
    Replied,
    Told,
)
from anylog.wire.peer_session import BODY, GATHERED, RULES, PeerSession, State


def question(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"t": "ask", "id": number, "kind": "k", "head": {}, **more}


def test_hello_comes_first() -> None:
    """Both say who they are; questions come after."""
    talk = Talk(PeerSession({"name": "a", "address": "10.0.0.1:1", "type": "master"}), PeerSession({"name": "b"}))
    assert talk.a.state is State.FRESH
    talk.settle()
    assert [type(event) for event in talk.heard_b] == [Opened]
    hello = talk.heard_b[0].hello  # type: ignore[union-attr]
    assert (hello["name"], hello["address"], hello["type"], hello["v"]) == ("a", "10.0.0.1:1", "master", 1)
    assert (talk.a.state, talk.b.state) == (State.OPEN, State.OPEN)
    talk.a.greet({"name": "renamed"})
    talk.settle()
    assert talk.heard_b[1].hello["name"] == "renamed"  # type: ignore[union-attr]
    assert talk.a.credit == CONNECTION


def test_another_version() -> None:
    """It is refused with a reason, which the other side is told."""
    session = PeerSession({})
    session.control()
    why = "protocol version 2, this node speaks 1"
    assert session.receive(frame({"t": "hello", "v": 2, "strange": object.__name__})) == [Ended(why)]
    assert frame({"t": "error", "code": 21, "msg": why}) == session.control()
    assert session.receive(frame({"t": "hello", "v": 1})) == []
    other = PeerSession({})
    assert other.receive(frame({"t": "error", "code": 21, "msg": why})) == [Ended(why, 21, ours=False)]


def test_a_small_question() -> None:
    """Head, body, deadline and hops arrive; the answer comes back; nothing is left behind."""
    talk = opened()
    number = talk.a.ask("command", {"text": "get status"}, b"body", late=5.5, hops=2)
    talk.settle()
    assert talk.heard_b == [Asked(number, "command", {"text": "get status"}, b"body", 5.5, 2)]
    assert (talk.a.open, talk.b.open) == (1, 1)
    talk.b.reply(number, {"text": "running"})
    talk.settle()
    assert talk.heard_a == [Replied(number, {"text": "running"}, False)]
    assert (talk.a.open, talk.b.open, talk.a.credit) == (0, 0, CONNECTION)


def test_both_ask_at_once() -> None:
    """Numbers of the two sides have nothing to do with each other; answers may come in any order."""
    talk = opened()
    ours = [talk.a.ask("x", {"n": n}) for n in range(3)]
    theirs = [talk.b.ask("y", {"n": n}) for n in range(3)]
    talk.settle()
    for number in reversed(ours):
        talk.b.reply(number, {"for": number})
    for number in theirs:
        talk.a.fail(number, 29, f"no {number}")
    talk.clear()
    talk.settle()
    assert talk.heard_a == [Replied(number, {"for": number}, False) for number in reversed(ours)]
    assert talk.heard_b == [Failed(number, 29, f"no {number}") for number in theirs]


@pytest.mark.parametrize("size", [0, 1, INLINE, INLINE + 1, PIECE, WINDOW + 1, PAGE + 1, 3 * PAGE, BODY])
def test_bodies_of_questions(size: int) -> None:
    """A body arrives whole, whatever its size; its credit comes back."""
    talk = opened()
    body = bytes(range(251)) * (size // 251 + 1)
    number = talk.a.ask("push", {}, body[:size])
    talk.settle()
    assert talk.heard_b == [Asked(number, "push", {}, body[:size], None, 0)]
    assert talk.b.held == 0
    assert talk.a.credit + talk.b.owed == CONNECTION


def test_too_large_to_ask() -> None:
    """It is refused before a byte goes; the conversation goes on."""
    talk = opened()
    for head, body, number in [
        ({}, b"x" * (BODY + 1), 501),
        ({"x": "y" * (HEAD + INLINE + 1000)}, b"", 40),
        ({"x": object()}, b"", 40),
        ({"x": 1 << 70}, b"", 40),
    ]:
        with pytest.raises(AnyLogError) as refused:
            talk.a.ask("k", head, body)
        assert refused.value.number == number
    with pytest.raises(AnyLogError, match="cannot be sent"):
        talk.a.tell("moved", {"x": object()})
    assert talk.a.control() == b""
    assert talk.a.ask("k", {}) == 1
    talk.settle()
    with pytest.raises(AnyLogError):
        talk.b.reply(1, {"x": "y" * 100_000})
    talk.b.fail(1, 500, "too large")
    talk.settle()
    assert talk.heard_a == [Failed(1, 500, "too large")]


def test_pages() -> None:
    """Pages arrive as they were made, each when it is taken; then the end."""
    talk = opened()
    number = talk.a.ask("select", {})
    talk.settle()
    talk.b.reply(number, {"columns": ["a"]}, more=True)
    pages = [b"one", b"", b"x" * PIECE, b"y" * (PIECE + 1), b"z" * PAGE, b"last"]
    taken = []
    given = iter([*pages, None])
    for _ in range(100):
        while talk.b.wanted:
            talk.b.wanted.clear()
            talk.b.page(number, next(given))
        talk.settle()
        page = talk.a.take(number)
        if page is None:
            break
        if page:
            taken.append(page)
    assert taken == [page for page in pages if page]
    assert talk.heard_a[0] == Replied(number, {"columns": ["a"]}, True)
    assert (talk.a.open, talk.b.open, talk.a.held) == (0, 0, 0)
    assert talk.b.credit + talk.a.owed == CONNECTION
    assert talk.b.answering == 0


def test_a_very_long_page() -> None:
    """It arrives as several."""
    talk = opened()
    number = talk.a.ask("select", {})
    talk.settle()
    talk.b.reply(number, {}, more=True)
    talk.b.page(number, b"x" * (2 * PAGE + 5))
    sizes = []
    while len(sizes) < 3:
        talk.settle()
        if page := talk.a.take(number):
            sizes.append(len(page))
    assert sizes == [PAGE, PAGE, 5]


def test_waiting_for_a_page() -> None:
    """Who waits is told once; what comes after that page is not taken by itself."""
    talk = opened()
    number = talk.a.ask("select", {})
    talk.settle()
    talk.b.reply(number, {}, more=True)
    talk.settle()
    talk.clear()
    assert talk.a.take(number) == b""
    talk.b.page(number, b"1" * 1000)
    talk.settle()
    talk.b.page(number, b"2" * 1000)
    talk.b.page(number, None)
    talk.settle()
    assert talk.heard_a == [Paged(number)]
    assert talk.a.held == 1000, "the second page is not taken"
    assert [talk.a.take(number), talk.a.take(number), talk.a.take(number)] == [b"1" * 1000, b"2" * 1000, None]
    with pytest.raises(LookupError):
        talk.a.take(number)


def test_an_answer_never_ends_early_without_a_word() -> None:
    """After an error or a cancel `take` says that there is no end, not that this is it."""
    talk = opened()
    for give_up in (False, True):
        number = talk.a.ask("select", {})
        talk.settle()
        talk.b.reply(number, {}, more=True)
        talk.b.page(number, b"first")
        talk.settle()
        assert not talk.a.complete(number)
        if give_up:
            talk.a.cancel(number)
        else:
            talk.b.fail(number, 76, "took too long")
        talk.settle()
        with pytest.raises(LookupError):
            talk.a.take(number)
        assert talk.a.held == 0
    assert Failed(1, 76, "took too long") in talk.heard_a
    assert Dropped(2) in talk.heard_b
    assert (talk.a.open, talk.b.open) == (0, 0)


def test_cancelled_at_every_moment() -> None:
    """Before the answer, in the middle of it, with data on its way: it is heard of once, and no credit is lost."""
    for moment in range(5):
        talk = opened()
        number = talk.a.ask("select", {}, b"u" * (3 * PIECE if moment == 4 else 10))
        if moment < 4:
            talk.settle()
        if moment > 0:
            talk.b.reply(number, {}, more=True)
        if moment > 1:
            talk.b.page(number, b"x" * PAGE)
        if moment > 2:
            talk.push()  # on its way when it is cancelled
        talk.a.cancel(number)
        talk.a.cancel(number)
        talk.settle()
        assert (talk.a.open, talk.b.open) == (0, 0), moment
        assert talk.b.credit + talk.a.owed == CONNECTION, moment
        assert talk.a.credit + talk.b.owed == CONNECTION, moment
        assert (talk.a.held, talk.b.held) == (0, 0), moment
        assert talk.heard_b.count(Dropped(number)) == 1, moment
        after = talk.a.ask("k", {})
        talk.settle()
        assert talk.heard_b[-1] == Asked(after, "k", {}, b"", None, 0), moment


def test_an_error_overtakes_pages() -> None:
    """What waits for credit is dropped when the answer fails, and its credit is not lost."""
    talk = opened()
    number = talk.a.ask("select", {})
    talk.settle()
    talk.b.reply(number, {}, more=True)
    talk.b.page(number, b"x" * PAGE)
    talk.settle()
    assert talk.a.held == WINDOW
    assert [flow.number for flow in talk.b.starving()] == [number]
    talk.b.fail(number, 16, "disk")
    talk.b.fail(number, 16, "again")
    talk.settle()
    assert talk.heard_a[-1] == Failed(number, 16, "disk")
    assert (talk.a.held, talk.b.starving()) == (0, [])
    assert talk.b.credit + talk.a.owed == CONNECTION


def test_told_and_pinged() -> None:
    """Neither opens an exchange."""
    talk = opened()
    talk.a.tell("moved", {"version": "v"})
    numbers = [talk.a.ping(), talk.a.ping()]
    talk.settle()
    assert talk.heard_b == [Told("moved", {"version": "v"})]
    assert talk.heard_a == [Ponged(number) for number in numbers]
    assert talk.a.open == 0


def test_too_many_questions() -> None:
    """Ours are refused here, the peer's there; both go on afterwards."""
    talk = opened(most=3)
    numbers = [talk.a.ask("k", {}) for _ in range(3)]
    with pytest.raises(AnyLogError) as refused:
        talk.a.ask("k", {})
    assert refused.value.number == 502
    talk.settle()
    talk.b.reply(numbers[0], {})
    talk.settle()
    talk.a.ask("k", {})

    busy = PeerSession({}, most=2)
    busy.receive(frame({"t": "hello", "v": 1}))
    busy.control()
    events = busy.receive(b"".join(frame(question(number)) for number in (1, 2, 3)))
    assert len(events) == 2
    text = "2 questions are under way on this connection"
    assert busy.control() == frame({"t": "error", "re": 3, "code": 502, "msg": text})
    assert busy.receive(frame({"t": "data", "id": 3, "d": b"x" * 10, "f": 3})) == [], "what comes of it is dropped"
    assert busy.owed == FLOOR


def test_bodies_that_are_never_whole() -> None:
    """They are gathered up to a limit, of one question and of all; beyond it they are refused."""
    many = opened()
    many.said_to_b(*(question(number, more=True) for number in range(1, 9)))
    refused = 0
    for _ in range(100):
        for number in range(1, 9):
            many.said_to_b({"t": "data", "id": number, "d": b"x" * PIECE, "f": 1})
        refused += many.b.control().count(b"too much is waiting")
        assert many.b.held <= GATHERED
    assert 0 < refused < 8, "those that fit are gathered on"

    large = opened()
    large.said_to_b(question(1, more=True))
    for _ in range(BODY // PIECE + 1):
        large.said_to_b({"t": "data", "id": 1, "d": b"x" * PIECE, "f": 1})
    assert b"at most 16,777,216 bytes" in large.b.control()
    assert (large.b.held, large.b.state) == (0, State.OPEN)

    full = opened()
    full.b.relieve(True)
    full.said_to_b(question(1, more=True), {"t": "data", "id": 1, "d": b"x" * PIECE, "f": 1})
    assert b"too much is waiting" in full.b.control()
    assert full.b.held == 0


def test_uploads_go_one_after_the_other() -> None:
    """So that who gathers them never holds many that are not whole; small questions pass them."""
    talk = opened()
    first = talk.a.ask("push", {}, b"1" * PAGE)
    second = talk.a.ask("push", {}, b"2" * PAGE)
    third = talk.a.ask("k", {})
    talk.settle()
    assert [event.number for event in talk.heard_b] == [third, first, second]  # type: ignore[union-attr]
    big = talk.a.ask("push", {}, b"3" * PAGE)
    last = talk.a.ask("push", {}, b"4" * PAGE)
    talk.a.cancel(big)
    talk.settle()
    assert talk.heard_b[-1].number == last  # type: ignore[union-attr]


def test_early_answer() -> None:
    """A question may be answered, or refused, before all of its body went."""
    talk = opened()
    number = talk.a.ask("push", {}, b"1" * PAGE)
    talk.a.control()
    for _ in range(2):
        talk.a.next_data()
    talk.said_to_b(question(number, more=True))
    talk.b.fail(number, 212, "no")
    talk.a.receive(talk.b.control())
    assert talk.a.next_data() == b""
    assert (talk.a.open, talk.a.starving()) == (0, [])


def test_full() -> None:
    """While the node holds too much, only who waits for a page is granted more; afterwards all are."""
    talk = opened()
    numbers = [talk.a.ask("select", {}) for _ in range(2)]
    talk.settle()
    for number in numbers:
        talk.b.reply(number, {}, more=True)
        for _ in range(8):
            talk.b.page(number, b"x" * (128 << 10))
    talk.settle()
    talk.a.relieve(True)
    for _ in range(2):  # what is here can be read
        assert talk.a.take(numbers[0])
    talk.settle()
    assert talk.a.held == WINDOW, "no more comes of what is not waited for"
    taken = 0
    while taken < 6:
        if talk.a.take(numbers[0]):
            taken += 1
        talk.settle()
    assert talk.a.held == WINDOW
    assert talk.a.take(numbers[1])
    talk.settle()
    assert talk.a.held == WINDOW // 2
    talk.a.relieve(False)
    talk.settle()
    assert talk.a.held == WINDOW


def test_who_has_little_credit() -> None:
    """A window is never smaller than what one exchange needs to go on, nor larger than what we can count on."""
    for said, wanted in [(1, LEAST), (LEAST + 1, LEAST + 1), (1 << 40, CONNECTION)]:
        session = PeerSession({})
        session.receive(frame({"t": "hello", "v": 1, "window": said}))
        assert session.credit == wanted, said


def test_unknown_fields() -> None:
    """They are ignored, in every message."""
    talk = opened()
    events = talk.said_to_b(
        {"t": "hello", "v": 1, "color": [1]},
        question(1, color="red"),
        {"t": "tell", "kind": "k", "head": {}, "x": None},
        {"t": "ping", "n": 0, "x": {}},
    )
    assert [type(event) for event in events] == [Opened, Asked, Told]


# What breaks the rules, said after hello; the peer has asked question 1, we have asked questions 1 and 2, 2 is answered
# with pages and its end is here.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "unknown message 'None'"),
    ({"t": "fly"}, "unknown message 'fly'"),
    ({"t": ["ask"]}, "unknown message"),
    ({"t": "hello"}, "hello: 'v' is missing or wrong"),
    ({"t": "hello", "v": "1"}, "hello: 'v' is missing or wrong"),
    ({"t": "hello", "v": True}, "hello: 'v' is missing or wrong"),
    ({"t": "hello", "v": 3}, "protocol version 3"),
    ({"t": "hello", "v": 1, "name": b"x"}, "hello: 'name' is wrong"),
    ({"t": "hello", "v": 1, "address": "x" * 301}, "hello: 'address' is wrong"),
    ({"t": "hello", "v": 1, "features": ["x", 1]}, "hello: 'features' is wrong"),
    ({"t": "hello", "v": 1, "window": 0}, "hello: 'window' is wrong"),
    (question(1), "question 1 after 1"),
    (question(0), "ask: 'id' is missing or wrong"),
    (question(-1), "ask: 'id' is missing or wrong"),
    (question(1 << 63), "ask: 'id' is missing or wrong"),
    (question(2, kind=5), "ask: 'kind' is missing or wrong"),
    (question(2, kind="x" * 65), "ask: 'kind' is missing or wrong"),
    (question(2, head=[]), "ask: 'head' is missing or wrong"),
    (question(2, head={b"k": 1}), "ask: 'head' is missing or wrong"),
    (question(2, body="text"), "ask: 'body' is wrong"),
    (question(2, body=b"x" * (INLINE + 1)), "ask: 'body' is wrong"),
    (question(2, more=1), "ask: 'more' is wrong"),
    (question(2, late=-1), "ask: 'late' is wrong"),
    (question(2, late=float("nan")), "ask: 'late' is wrong"),
    (question(2, late=float("inf")), "ask: 'late' is wrong"),
    (question(2, hops=-1), "ask: 'hops' is wrong"),
    ({"t": "reply", "head": {}}, "reply: 're' is missing"),
    ({"t": "reply", "re": 1}, "reply: 'head' is missing"),
    ({"t": "reply", "re": 3, "head": {}}, "an answer to question 3, which was not asked"),
    ({"t": "reply", "re": 2, "head": {}}, "a second reply"),
    ({"t": "data", "d": b"x", "f": 0}, "data of no question"),
    ({"t": "data", "re": 1, "f": 0}, "data: 'd' is missing"),
    ({"t": "data", "re": 1, "d": "x", "f": 0}, "data: 'd' is missing or wrong"),
    ({"t": "data", "re": 1, "d": b"x" * (PIECE + 1), "f": 0}, "data: 'd' is missing or wrong"),
    ({"t": "data", "re": 1, "d": b"x", "f": 4}, "data: 'f' is missing or wrong"),
    ({"t": "data", "re": 1, "d": b"x", "f": 1}, "data before a reply"),
    ({"t": "data", "re": 2, "d": b"x", "f": 1}, "data after the last"),
    ({"t": "data", "re": 9, "d": b"x", "f": 1}, "an answer to question 9"),
    ({"t": "data", "id": 1, "d": b"x", "f": 1}, "data after the last"),
    ({"t": "data", "id": 9, "d": b"x", "f": 1}, "question 9 was never asked"),
    ({"t": "credit"}, "credit: 'n' is missing"),
    ({"t": "credit", "n": 0}, "credit: 'n' is missing or wrong"),
    ({"t": "credit", "n": -5}, "credit: 'n' is missing or wrong"),
    ({"t": "credit", "n": 1 << 41}, "credit: 'n' is missing or wrong"),
    ({"t": "credit", "n": 1, "re": 9}, "an answer to question 9"),
    ({"t": "credit", "n": 1, "id": 9}, "question 9 was never asked"),
    ({"t": "cancel"}, "cancel: 'id' is missing"),
    ({"t": "cancel", "id": 9}, "question 9 was never asked"),
    ({"t": "error", "msg": "x"}, "error: 'code' is missing"),
    ({"t": "error", "code": 1, "msg": b"x"}, "error: 'msg' is missing or wrong"),
    ({"t": "error", "code": 1, "msg": "x" * 20_000}, "error: 'msg' is missing or wrong"),
    ({"t": "error", "code": 1, "msg": "x", "re": 9}, "an answer to question 9"),
    ({"t": "tell", "kind": "k"}, "tell: 'head' is missing"),
    ({"t": "ping"}, "ping: 'n' is missing"),
    ({"t": "pong", "n": "1"}, "pong: 'n' is missing or wrong"),
]


@pytest.mark.parametrize(("message", "why"), WRONG, ids=[why + str(n) for n, (_, why) in enumerate(WRONG)])
def test_what_breaks_the_rules(message: dict[str, Any], why: str) -> None:
    """It ends the conversation with a reason that the peer is told; nothing after it is heard."""
    session = PeerSession({})
    session.receive(frame({"t": "hello", "v": 1}) + frame(question(1)))
    session.ask("k", {})
    session.ask("k", {})
    session.receive(frame({"t": "reply", "re": 2, "head": {}, "more": True}))
    session.receive(frame({"t": "data", "re": 2, "d": b"x", "f": 3}))
    session.control()
    events = session.receive(frame(message) + frame(question(5)))
    assert [type(event) for event in events][-1] is Ended, events
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.why.startswith(why), ended.why
    assert ended.ours
    assert session.control() == frame({"t": "error", "code": 21, "msg": ended.why})
    assert session.receive(frame(question(7))) == []
    session.ping()
    assert session.control() == b"", "nothing is said after goodbye"


def test_nothing_but_hello_before_hello() -> None:
    """Every other message ends the conversation."""
    for kind in FIELDS:
        session = PeerSession({})
        message = {"t": kind, "v": 1, "id": 1, "re": 1, "kind": "k", "head": {}, "d": b"", "f": 0, "n": 1, "code": 1}
        events = session.receive(frame({**message, "msg": ""}))
        if kind == "hello":
            assert [type(event) for event in events] == [Opened]
        elif kind != "error":
            assert events == [Ended(f"{kind} before hello")], kind
        assert ((State.OPEN, kind) in RULES) is True, kind


def test_before_hello_frames_are_small() -> None:
    """A stranger makes us hold little."""
    session = PeerSession({})
    events = session.receive(frame({"t": "hello", "v": 1, "x": "y" * 40_000})[:50])
    assert events == [Ended("a frame of 40,017 bytes, at most 32,768")]
    open_ = PeerSession({})
    large = frame({"t": "tell", "kind": "k", "head": {"x": "y" * 40_000}})
    assert len(open_.receive(frame({"t": "hello", "v": 1}) + large)) == 2, "in one segment with hello"


def test_data_without_credit() -> None:
    """More than was granted ends the conversation: of the exchange, and of the connection."""
    talk = opened()
    number = talk.a.ask("select", {})
    talk.settle()
    data = {"t": "data", "re": number, "d": b"x" * PIECE, "f": 1}
    talk.a.receive(frame({"t": "reply", "re": number, "head": {}, "more": True}))
    for _ in range(WINDOW // PIECE):
        assert talk.a.receive(frame(data)) == []
    assert talk.a.receive(frame(data)) == [Ended("data without credit")]

    poor = opened(window=LEAST)
    numbers = [poor.a.ask("select", {}) for _ in range(3)]
    poor.settle()
    for number in numbers:
        poor.a.receive(frame({"t": "reply", "re": number, "head": {}, "more": True}))
    said = [frame({**data, "re": number}) for number in numbers]
    assert [poor.a.receive(each) for each in said] == [[], [], [Ended("data without credit of the connection")]]

    empty = opened()
    number = empty.a.ask("select", {})
    empty.settle()
    events = empty.a.receive(
        frame({"t": "reply", "re": number, "head": {}, "more": True})
        + frame({"t": "data", "re": number, "d": b"", "f": 1})
    )
    assert events[-1] == Ended("data without content")
    assert FLOOR * 1000 > WINDOW, "tiny pages cost enough that few are held"


def test_a_page_without_end() -> None:
    """A page that grows beyond the limit while somebody waits for it ends the conversation."""
    talk = opened()
    number = talk.a.ask("select", {})
    talk.settle()
    talk.a.receive(frame({"t": "reply", "re": number, "head": {}, "more": True}))
    assert talk.a.take(number) == b""
    events: list[Any] = []
    for _ in range(PAGE // PIECE + 1):
        events += talk.a.receive(frame({"t": "data", "re": number, "d": b"x" * PIECE, "f": 0}))
    assert events == [Ended("a page of more than 1,048,576 bytes")]


def test_goodbye() -> None:
    """It is said once; nobody answers it."""
    talk = opened()
    talk.a.ask("k", {})
    talk.a.end("the node stops")
    talk.a.end("twice")
    talk.settle()
    assert talk.heard_b[-1] == Ended("the node stops", 15, ours=False)
    assert talk.b.control() == b""
