"""Connections that go wrong: silent, deaf, hostile, without credit. Nobody else is held up (network.md 9)."""

from __future__ import annotations

from typing import Any

import pytest
from town_of_peers import PORT, Body, Town, at
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone

from anylog.errors import AnyLogError
from anylog.interfaces import Reply
from anylog.network.carrier import UNREAD
from anylog.tank import Tank
from anylog.waiting import deferring
from anylog.wire.flow import FLOOR, WINDOW
from anylog.wire.frames import frame
from anylog.wire.messages import PIECE

HELLO = {"name": "x", "address": ""}


def held(town: Town, host: str) -> int:
    """Bytes of bodies that a node holds."""
    return sum(carrier.session.held for carrier in town.peers[host].carriers)


def test_half_open() -> None:
    """Who says nothing, or begins and does not go on, is let go after six seconds and a look."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    silent, slow = town.stranger("x", "a"), town.stranger("y", "a")
    hello = frame({"t": "hello", "v": 1, **HELLO})
    for byte in hello[:-1]:
        slow.transport.write(bytes([byte]))  # type: ignore[union-attr]
        town.advance(7.9 / len(hello))
    town.advance(0.5)
    assert silent.ended
    assert slow.ended
    assert a.counts["half open"] == 2
    assert town.wait(b.ask(at("a"), "echo", {})).head["host"] == "a"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "a frame of 1,195,725,856 bytes"),
        (b"\xff" * 9, "a frame of 4,294,967,295 bytes"),
        (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x81\xa1t\x01", "wrong checksum"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "a frame of 369,295,618 bytes"),
        (frame({"t": "ping", "n": 1}), "ping before hello"),
        (frame({"t": "hello", "v": 7}), "protocol version 7, this node speaks 1"),
        (frame({"t": "hello", "v": 1, "name": 5}), "hello: 'name' is wrong"),
        (frame({"t": "hello", "v": 1}) + b"\x7f" * 2000, "a frame of 2,139,062,143 bytes"),
    ],
)
def test_rubbish(data: bytes, why: str) -> None:
    """The reason is said and counted; the connection ends; others are served."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    stranger = town.stranger("x", "a")
    stranger.transport.write(data)  # type: ignore[union-attr]
    town.advance(0.5)
    assert stranger.ended
    assert stranger.heard[-1]["t"] == "error"
    assert stranger.heard[-1]["msg"].startswith(why)
    assert a.counts["garbage"] == 1
    assert why in a.counts.last("garbage")
    assert len(a.carriers) == 0
    assert town.wait(b.ask(at("a"), "echo", {})).head["host"] == "a"


def test_a_flood_of_rubbish() -> None:
    """A thousand connections of random bytes leave nothing behind but their number."""
    town = Town(5)
    a, b = town.add("a"), town.add("b")
    town.wait(b.ask(at("a"), "echo", {}))
    for number in range(1000):
        stranger = town.stranger(f"x{number % 7}", "a", HELLO if number % 2 else None)
        stranger.transport.write(town.chance.randbytes(town.chance.randint(9, 3000)))  # type: ignore[union-attr]
        if number % 50 == 0:
            town.advance(0.2)
            assert town.wait(b.ask(at("a"), "echo", {"n": number})).head["n"] == number
    town.advance(200)
    assert len(a.carriers) == 1
    assert a.counts["garbage"] + a.counts["half open"] + a.counts["silent"] == 1000
    assert held(town, "a") == 0


def test_whoever_answers_wrongly() -> None:
    """A node that speaks another version is named with 21, at once; rubbish in answers fails what was asked."""
    town = Town()
    a = town.add("a")
    strangers = town.impostor("b")
    asked = a.ask(at("b"), "echo", {})
    town.until(lambda: bool(strangers))
    strangers[0].say({"t": "hello", "v": 9})
    error = town.fails(asked, 1)
    assert (error.number, error.node) == (21, at("b"))
    asked = a.ask(at("b"), "echo", {})
    town.until(lambda: len(strangers) > 1)
    strangers[-1].say({"t": "hello", "v": 1, "name": "b"})
    town.advance(0.1)
    others = [a.ask(at("b"), "echo", {}) for _ in range(3)]
    town.advance(0.1)
    strangers[-1].say({"t": "reply", "re": 77, "head": {}})
    for each in (asked, *others):
        error = town.fails(each, 1)
        assert (error.number, error.node) == (15, at("b"))
    state = a.state(at("b"))
    assert state is not None
    assert not state.active


def test_a_dial_that_is_not_answered() -> None:
    """Who takes the connection and says nothing costs what a silent host costs."""
    town = Town()
    a = town.add("a")
    town.impostor("b")
    begin = town.clock.seconds()
    error = town.fails(a.ask(at("b"), "echo", {}))
    assert error.number == 208
    assert 18 < town.clock.seconds() - begin < 20
    town.advance(1)
    town.wait(a.stop())
    assert a.carriers == {}


def test_silence_is_noticed() -> None:
    """With work under way within ten seconds: error 15, flagged, closed; and the other node gives the work up."""
    for seed in range(5):
        town = Town(seed)
        a, b = town.add("a"), town.add("b")
        given_up: list[str] = []
        town.answers["sleep"] = lambda head, given_up=given_up: Deferred(lambda _: given_up.append("handler"))
        town.answers["select"] = lambda head: Reply(head={}, body=Body(b"x", endless=True))
        town.wait(a.ask(at("b"), "echo", {}))
        asked, reply = a.ask(at("b"), "sleep", {}), town.wait(a.ask(at("b"), "select", {}))
        town.advance(town.chance.random() * 10)
        assert not asked.called, "a long question with a peer that answers pings goes on"
        town.network.cut("a", "b")
        begin = town.clock.seconds()
        error = town.fails(asked, 12)
        assert 4 < town.clock.seconds() - begin <= 10
        assert (error.number, error.node) == (15, at("b"))
        state = a.state(at("b"))
        assert state is not None
        assert (state.active, state.at) == (False, town.clock.seconds())
        while True:  # what came before is still there
            page = reply.body.next()
            if page.called and page.result == b"x":
                continue
            assert town.fails(page).number == 15
            break
        town.advance(10)
        assert given_up == ["handler"]
        assert (len(a.carriers), len(b.carriers)) == (0, 0)


def test_idle_connections() -> None:
    """They are pinged every half minute and stay; a silent one ends after three pings."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    town.wait(a.ask(at("b"), "echo", {}))
    sent = town.network.connections[0].ends[0].written
    town.advance(600)
    assert len(a.carriers) == 1
    assert town.network.connections[0].ends[0].written - sent < 60 * 40
    town.network.cut("a", "b")
    begin = town.clock.seconds()
    town.until(lambda: not a.carriers, 200)
    assert 90 < town.clock.seconds() - begin < 160
    assert a.counts["silent"] == 1
    state = a.state(at("b"))
    assert state is not None
    assert not state.active
    town.network.heal()
    town.until(lambda: (now := a.state(at("b"))) is not None and now.active, 30)


def test_a_member_that_falls_silent() -> None:
    """Peers whose silence is to be noticed soon are pinged at every look; those that are not are not."""
    town = Town()
    a, _, _ = town.add("a"), town.add("b"), town.add("c")
    a.near = lambda: [at("b")]
    town.wait(a.ask(at("b"), "echo", {}))
    town.wait(a.ask(at("c"), "echo", {}))
    town.advance(60)
    assert len(a.carriers) == 2
    town.network.cut("a", "b")
    town.network.cut("a", "c")
    begin = town.clock.seconds()
    town.until(lambda: (now := a.state(at("b"))) is not None and not now.active, 10)
    assert town.clock.seconds() - begin <= 10
    other = a.state(at("c"))
    assert other is not None
    assert other.active
    town.network.heal()
    town.until(lambda: (now := a.state(at("b"))) is not None and now.active, 15)


def test_a_member_that_is_lost_is_looked_for() -> None:
    """One whose connection ended is dialled, so that it is known whether it is there; and it is told that it came."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    came: list[str] = []
    a.near, a.came = lambda: [at("b")], came.append
    town.wait(a.ask(at("b"), "echo", {}))
    town.add("c")
    town.wait(a.ask(at("c"), "echo", {}))  # one that stays, so that there are looks
    assert came == [at("b"), at("c")]
    b.close_taken()
    town.until(lambda: came.count(at("b")) == 2, 10)


def test_a_short_silence() -> None:
    """Five seconds without a byte cost nobody anything."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    waiting: Deferred[Any] = Deferred()
    town.answers["sleep"] = waiting
    asked = a.ask(at("b"), "sleep", {})
    town.advance(1)
    town.network.cut("a", "b")
    town.advance(4.5)
    town.network.heal("a", "b")
    waiting.callback(Reply(head={"fine": 1}))
    assert town.wait(asked, 1).head == {"fine": 1}
    assert len(town.network.connections) == 1


def test_a_connection_that_breaks() -> None:
    """Whoever waits is told; answers that are here in full are still read; the next question dials anew."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    town.answers["select"] = lambda head: Reply(head={}, body=Body(*[b"x" * 10_000] * head["pages"]))
    small = town.wait(a.ask(at("b"), "select", {"pages": 5}))
    large = town.wait(a.ask(at("b"), "select", {"pages": 50}))
    town.answers["sleep"] = lambda head: Deferred()
    asked, pinged = a.ask(at("b"), "sleep", {}), a.ping(at("b"), 5)
    town.network.reset("a", "b")
    assert [town.fails(each).number for each in (asked, pinged)] == [15, 15]
    town.advance(0.1)
    small2 = [town.wait(small.body.next()) for _ in range(1)]
    assert small2 != [None]
    with pytest.raises(Exception, match=r"b:32148"):
        while town.wait(large.body.next()) is not None:
            pass
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b"


def test_all_of_it_was_here() -> None:
    """An answer whose end came before the connection broke is whole."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    town.answers["select"] = Reply(head={}, body=Body(*[b"x" * 10_000] * 5))
    reply = town.wait(a.ask(at("b"), "select", {}))
    town.advance(1)
    town.network.reset("a", "b")
    pages = 0
    while town.wait(reply.body.next()) is not None:
        pages += 1
    assert pages == 5
    assert a.states()[0].active, "nothing was under way"


def test_a_sleeping_reader() -> None:
    """Of a hundred answers one is not read: the others finish; it holds little; after 30 seconds it is given up."""
    town = Town(3)
    a, b = town.add("a"), town.add("b")
    bodies = []

    def answer(head: Any) -> Reply:
        bodies.append(Body(*[b"x" * 60_000] * 20))
        return Reply(head={}, body=bodies[-1])

    town.answers["select"] = answer
    replies = [town.wait(a.ask(at("b"), "select", {})) for _ in range(100)]
    asleep = replies.pop()
    for reply in replies:
        size = 0
        while (page := town.wait(reply.body.next())) is not None:
            size += len(page)
        assert size == 1_200_000
    assert 0 < held(town, "a") <= WINDOW
    town.advance(28)
    assert sum(body.closed for body in bodies) == 99
    town.advance(6)
    assert sum(body.closed for body in bodies) == 100
    assert held(town, "a") == 0
    error = town.fails(asleep.body.next())
    assert (error.number, "without credit" in str(error)) == (26, True)
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b"
    one, other = next(iter(a.carriers)).session, next(iter(b.carriers)).session
    assert (one.open, other.open) == (0, 0)
    assert other.credit + one.owed == 64 << 20


def test_a_peer_that_grants_no_credit() -> None:
    """Its answers stop after the first window and are given up after 30 seconds; it costs nobody else anything."""
    town = Town()
    _a, b = town.add("a"), town.add("b")
    miser = town.stranger("x", "a", {**HELLO, "window": 1 << 20})
    body = Body(b"x" * 50_000, endless=True)
    town.answers["select"] = Reply(head={}, body=body)
    miser.say({"t": "ask", "id": 1, "kind": "select", "head": {}})

    def survive(seconds: int) -> None:
        for _ in range(seconds):
            town.advance(1)
            for ping in miser.said("ping"):
                miser.say({"t": "pong", "n": ping["n"]})
            miser.heard = [message for message in miser.heard if message["t"] != "ping"]

    survive(5)
    assert sum(len(message["d"]) for message in miser.said("data")) <= WINDOW
    assert town.wait(b.ask(at("a"), "echo", {})).head["host"] == "a"
    survive(35)
    assert body.closed == 1
    assert miser.said("error") == [{"t": "error", "re": 1, "code": 26, "msg": "30 seconds without credit"}]
    assert not miser.ended, "the exchange ends, not the connection"
    miser.say({"t": "ask", "id": 2, "kind": "echo", "head": {"fine": 1}})
    survive(1)
    assert miser.said("reply")[-1]["head"]["fine"] == 1


def test_a_body_that_nobody_takes() -> None:
    """A question whose body gets no credit fails after 30 seconds; those after it go on."""
    town = Town()
    a = town.add("a")
    strangers = town.impostor("b")
    asked = a.ask(at("b"), "echo", {}, b"x" * 1_000_000)
    town.until(lambda: bool(strangers))
    b = strangers[0]
    b.say({"t": "hello", "v": 1, "name": "b"})
    for _ in range(40):
        town.advance(1)
        for ping in b.said("ping"):
            b.say({"t": "pong", "n": ping["n"]})
        b.heard = [message for message in b.heard if message["t"] != "ping"]
    error = town.fails(asked, 1)
    assert (error.number, error.node) == (26, at("b"))
    assert sum(len(message["d"]) for message in b.said("data")) == WINDOW
    assert [message["id"] for message in b.said("cancel")] == [1]


def test_a_deaf_peer() -> None:
    """One that asks and never reads is cut off before its answers fill the memory."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    a.set_squeeze(False)
    deaf = town.stranger("x", "a", HELLO)
    town.answers["command"] = lambda head: Reply(head={"text": "x" * 60_000})
    deaf.transport.pauseProducing()  # type: ignore[union-attr]
    for number in range(1, 1000):
        deaf.say({"t": "ask", "id": number, "kind": "command", "head": {}})
        town.advance(0.01)
        assert sum(len(end._buffer) for each in town.network.connections for end in each.ends) < UNREAD + (1 << 20)
    town.advance(0.1)
    assert a.counts["deaf"] == 1
    assert len(a.carriers) == 0
    assert town.wait(b.ask(at("a"), "echo", {})).head["host"] == "a"


def test_a_storm_of_pings() -> None:
    """They are answered while the peer reads; one that does not read the answers is cut off."""
    town = Town()
    a = town.add("a")
    town.network.pieces = False
    noisy = town.stranger("x", "a", HELLO)
    for _ in range(20):
        noisy.say(*({"t": "ping", "n": n} for n in range(1000)))
        town.advance(0.1)
    assert len(noisy.said("pong")) == 20_000
    noisy.transport.pauseProducing()  # type: ignore[union-attr]
    for _ in range(400):
        noisy.say(*({"t": "ping", "n": n} for n in range(1000)))
        town.advance(0.01)
    assert len(a.carriers) == 0


def test_a_storm_of_cancels() -> None:
    """A thousand questions, each given up a moment later: no work, no memory and no credit is left behind."""
    town = Town(9)
    a, b = town.add("a"), town.add("b")
    bodies: list[Body] = []
    given_up: list[int] = []

    def answer(head: Any) -> Any:
        if head["n"] % 3 == 0:
            return Deferred(lambda _: given_up.append(1))
        bodies.append(Body(b"x" * 30_000, endless=True))
        return Reply(head={}, body=bodies[-1])

    town.answers["select"] = answer
    town.wait(a.ask(at("b"), "echo", {}))
    waiting: list[Any] = []
    for number in range(1000):
        asked = a.ask(at("b"), "select", {"n": number}, b"y" * town.chance.choice([0, 10, 100_000]))
        asked.addCallbacks(lambda reply: waiting.append(reply.body), lambda failure: None)
        waiting.append(asked)
        town.advance(town.chance.random() * 0.002)
        if town.chance.random() < 0.9:
            each = waiting.pop(town.chance.randrange(len(waiting)))
            each.cancel() if isinstance(each, Deferred) else each.close()
    for each in list(waiting):
        each.cancel() if isinstance(each, Deferred) else each.close()
    for each in waiting:
        if not isinstance(each, Deferred):
            each.close()
    town.advance(1)
    one, other = next(iter(a.carriers)).session, next(iter(b.carriers)).session
    assert (one.open, other.open, one.held, other.held) == (0, 0, 0, 0)
    assert all(body.closed == 1 for body in bodies)
    assert other.credit + one.owed == 64 << 20
    assert one.credit + other.owed == 64 << 20
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b"
    assert len(town.network.connections) == 1


def test_a_full_tank() -> None:
    """While the node holds too much for its readers nobody is granted more; it goes on when they read."""
    town = Town()
    tank = Tank(low=1 << 20, high=2 << 20)
    a, _ = town.add("a", tank=tank), town.add("b")
    town.answers["select"] = lambda head: Reply(head={}, body=Body(*[b"x" * 60_000] * 40))
    replies = [town.wait(a.ask(at("b"), "select", {})) for _ in range(30)]
    town.advance(5)
    assert held(town, "a") == tank.held <= 2 << 20
    sizes = [0] * 30

    @deferring
    async def read(number: int) -> None:
        while (page := await replies[number].body.next()) is not None:
            sizes[number] += len(page)

    for done in [read(number) for number in range(30)]:
        town.wait(done)
    assert sizes == [2_400_000] * 30
    assert tank.held == 0
    town.wait(a.ask(at("b"), "select", {}))
    town.advance(1)
    assert tank.held > 0
    town.network.reset("a", "b")
    town.advance(1)
    assert tank.held == 0, "what broke is not held"


def test_readers_that_sleep_together() -> None:
    """So many that they hold all credit of a connection: they are given up after half a minute, the others go on."""
    town = Town()
    a, b = town.add("a", tank=Tank(low=1 << 20, high=2 << 20)), town.add("b")
    bodies: list[Body] = []

    def answer(head: Any) -> Reply:
        bodies.append(Body(*[b"x" * 60_000] * 20))
        return Reply(head={}, body=bodies[-1])

    town.answers["select"] = answer
    replies = [town.wait(a.ask(at("b"), "select", {})) for _ in range(30)]
    town.advance(1)
    awake, begin = replies.pop(), town.clock.seconds()
    size = 0
    while (page := town.wait(awake.body.next())) is not None:
        size += len(page)
    assert size == 1_200_000
    assert town.clock.seconds() - begin < 40
    assert town.fails(replies[0].body.next()).number == 26
    for reply in replies:
        reply.body.close()
    town.advance(1)
    assert held(town, "a") == 0
    assert {body.closed for body in bodies} == {1}
    one, other = next(iter(a.carriers)).session, next(iter(b.carriers)).session
    assert (one.open, other.open, other.credit + one.owed) == (0, 0, 1 << 19)


def test_questions_of_strangers_fill_no_memory() -> None:
    """Bodies that are never whole: bounded on each connection, and by the tank for all of them together."""
    town = Town()
    tank = Tank(low=1 << 20, high=4 << 20)
    _a, b = town.add("a", tank=tank), town.add("b")
    town.network.pieces = False
    strangers = [town.stranger(f"x{n}", "a", HELLO) for n in range(10)]
    piece = {"t": "data", "d": b"x" * PIECE, "f": 1}
    for stranger in strangers:
        stranger.say(*({"t": "ask", "id": n, "kind": "echo", "head": {}, "more": True} for n in range(1, 9)))
    for _ in range(4):
        for stranger in strangers:
            stranger.say(*({**piece, "id": n} for n in range(1, 9)))
            town.advance(0.01)
    assert tank.held <= (4 << 20) + 10 * 8 * PIECE
    assert any("too much is waiting" in message["msg"] for each in strangers for message in each.said("error"))
    for stranger in strangers:
        stranger.transport.loseConnection()  # type: ignore[union-attr]
    town.advance(1)
    assert tank.held == 0
    assert town.wait(b.ask(at("a"), "echo", {}, b"x" * 100_000)).head["size"] == 100_000


def test_tiny_pages() -> None:
    """They cost more credit than their size, so that few of them are held."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    body = Body(b"x", endless=True)
    town.answers["select"] = Reply(head={}, body=body)
    reply = town.wait(a.ask(at("b"), "select", {}))
    town.advance(2)
    assert body.asked <= WINDOW // FLOOR + 2
    assert town.wait(reply.body.next()) == b"x"
    reply.body.close()


def test_goodbye_ends() -> None:
    """A peer that does not close after our goodbye is cut off."""
    town = Town()
    a = town.add("a")
    stranger = town.stranger("x", "a", HELLO)
    stranger.transport.pauseProducing()  # type: ignore[union-attr]
    carrier = next(iter(a.carriers))
    carrier.close("enough")
    town.advance(3)
    assert town.network.connections == []
    carrier.connectionLost()  # type: ignore[call-arg]


def test_ports_of_the_memory_network() -> None:
    """The stranger's `ConnectionDone` is that of a socket."""
    town = Town()
    a = town.add("a")
    stranger = town.stranger("x", "a", HELLO)
    next(iter(a.carriers)).close("enough")
    town.advance(1)
    assert stranger.ended == ConnectionDone().__str__() or stranger.ended.startswith("Connection was closed cleanly")
    assert PORT == 32148


@pytest.mark.parametrize("waits", ["answers", "pings"])
def test_told_of_a_lost_connection_one_gives_up_another(waits: str) -> None:
    """Also of those that waited on the same connection; all others are told as well."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    town.wait(a.ask(at("b"), "echo", {}))
    (carrier,) = a.carriers
    town.answers["sleep"] = lambda head: Deferred()
    asked: list[Deferred[Any]] = [carrier.ping() if waits == "pings" else a.ask(at("b"), "sleep", {}) for _ in range(4)]
    asked[0].addErrback(lambda failure: [asked[2].cancel(), asked[1].cancel()])
    carrier.abort("the test says so", counted="lost")
    outcomes: list[Any] = []
    for each in asked:
        each.addBoth(outcomes.append)
    assert len(outcomes) == 4
    assert [type(outcome.value) for outcome in outcomes[1:]] == [CancelledError, CancelledError, AnyLogError]
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b"


def test_ended_while_it_says_anew_who_it_is() -> None:
    """A connection that ends because of what came is not taken for one, if the peer says who it is behind that."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    town.wait(b.ask(at("a"), "echo", {}))
    (there,) = b.carriers
    a.serve("told", lambda head, body, asker: [each.close("as it was told") for each in list(a.carriers)])
    there.session.tell("told", {})
    there.session.greet({"name": "b", "address": at("b"), "version": "v1"})
    (here,) = a.carriers
    here.dataReceived(there.session.control())
    assert here.over
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b"


def test_told_anew_who_this_is() -> None:
    """Also to those behind one that is let go of at that moment."""
    town = Town()
    a, *_ = (town.add(host) for host in "abc")
    for host in "bc":
        town.wait(a.ask(at(host), "echo", {}))
    first, second = a.carriers
    first.pauseProducing()
    while first.session.waiting <= UNREAD:
        first.session.tell("told", {"much": "x" * 10_000})
    before = second.session.waiting
    a.greet()
    town.advance(0.5)
    assert a.counts["deaf"] == 1
    assert first.over and not second.over
    assert before == 0
