"""Peers: one connection to each, questions both ways, who is there and who is not (network.md 8, 9)."""

from __future__ import annotations

from typing import Any

import pytest
from town_of_peers import BEGIN, PORT, Body, Town, at
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher

from anylog.errors import AnyLogError
from anylog.interfaces import Reply
from anylog.network.peers import PeerLimits, Peers, endpoint, split_address


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10.0.0.1:32148", ("10.0.0.1", 32148)),
        ("edge-1.example:1", ("edge-1.example", 1)),
        (" 10.0.0.1:65535 ", ("10.0.0.1", 65535)),
        ("[::1]:2048", ("::1", 2048)),
        *((text, None) for text in ("", "x", ":1", "1:", "1.2.3.4", "a:0", "a:65536", "a:-1", "a:1x", "a:٣")),
        *(
            (text, None)
            for text in ("a b:1", "tcp:a@b:1", "a,b:1", "x/y:1", "(a):1", "'a':1", "a:123456", "a=b:1", "a\n:1")
        ),
    ],
)
def test_addresses(text: str, wanted: tuple[str, int] | None) -> None:
    """Host and port, or error 20 that names what is none."""
    if wanted is not None:
        assert split_address(text) == wanted
        assert str(wanted[1]) in endpoint(text, 6.0)
    else:
        with pytest.raises(AnyLogError) as refused:
            split_address(text)
        assert refused.value.number == 20
        assert text in str(refused.value)


def test_a_question() -> None:
    """Head and body arrive with who asks; the answer comes back on a connection that is used again."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    begin = town.clock.seconds()
    reply = town.wait(a.ask(at("b"), "echo", {"x": 1}, b"123", until=begin + 5, hops=2))
    assert (reply.head, reply.body) == ({"x": 1, "host": "b", "size": 3}, None)
    host, kind, _, body, asker = town.asked[0]
    assert (host, kind, body, asker.host, asker.address, asker.name, asker.hops) == (
        "b", "echo", b"123", "a", at("a"), "a", 2,
    )  # fmt: skip
    assert begin + 4.9 < asker.until <= begin + 5.01  # type: ignore[operator]
    for n in range(5):
        assert town.wait(a.ask(at("b"), "echo", {"x": n})).head["x"] == n
    assert len(town.network.connections) == 1
    state = a.state(at("b"))
    assert state is not None
    assert (state.active, state.address, state.at > BEGIN) == (True, at("b"), True)
    assert b.states() == [b.state(at("a"))]


def test_a_large_body() -> None:
    """It travels in frames and arrives whole."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    assert town.wait(a.ask(at("b"), "echo", {}, b"x" * 3_000_000)).head["size"] == 3_000_000


def test_both_ways_on_one_connection() -> None:
    """Who was dialled asks back on the same connection, when the other side listens at the host it came from."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    town.wait(a.ask(at("b"), "echo", {}))
    town.wait(b.ask(at("a"), "echo", {}))
    assert len(town.network.connections) == 1
    assert town.asked[-1][0] == "a"


def test_an_address_is_no_proof() -> None:
    """A node that says it listens elsewhere does not get the questions that are meant for who does."""
    town = Town()
    a, master = town.add("a"), town.add("master")
    thief = town.stranger("thief", "a", {"name": "thief", "address": at("master")})
    assert a.state(at("master")) is None
    assert town.wait(a.ask(at("master"), "echo", {})).head["host"] == "master"
    assert thief.said("ask") == []
    assert len(master.carriers) == 1
    for strange in ("x" * 200, "no address", "::::", "a:b:c"):
        town.stranger("thief", "a", {"name": "thief", "address": strange})
    assert town.wait(a.ask(at("master"), "echo", {})).head["host"] == "master"


def test_two_nodes_of_one_address() -> None:
    """The first keeps it, the second is noted; a node that comes back under its own name is itself."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    town.wait(a.ask(at("b"), "echo", {}))
    second = town.stranger("b", "a", {"name": "another", "address": at("b")})
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b"
    assert second.said("ask") == []
    assert "b and another" in a.counts.last("two nodes of one address")
    back = town.stranger("b", "a", {"name": "b", "address": at("b")})
    asked = a.ask(at("b"), "echo", {})
    town.advance(0.1)
    back.say({"t": "reply", "re": back.said("ask")[0]["id"], "head": {"back": True}})
    assert town.wait(asked).head == {"back": True}


def test_asking_at_the_same_time_shares_one_dial() -> None:
    """Twenty questions to a node that is not connected make one connection; who gives up, gives up alone."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    asked = [a.ask(at("b"), "echo", {"n": n}) for n in range(20)]
    asked[3].cancel()
    assert isinstance(town.fails(asked.pop(3)), CancelledError)
    assert [town.wait(each).head["n"] for each in asked] == [n for n in range(20) if n != 3]
    assert len(town.network.connections) == 1


@pytest.mark.parametrize("there", [True, False])
def test_told_of_a_connection_one_gives_up_another(there: bool) -> None:
    """Also of those that waited for the same connection, and hear of it later."""
    town = Town()
    a = town.add("a")
    if there:
        town.add("b")
    first = a.connect(at("b"))
    second = a.connect(at("b"))
    first.addBoth(lambda result: second.cancel())
    assert isinstance(town.fails(second), CancelledError)
    assert first.called


def test_came_and_went_while_it_is_dialled() -> None:
    """What is asked then waits for the connection that is being made: it was surely not asked if there is none."""
    town = Town()
    a = town.add("a")
    first = a.ask(at("b"), "echo", {})
    town.advance(0.1)
    stranger = town.stranger("b", "a", {"name": "b", "address": at("b")})
    assert len(stranger.said("ask")) == 1
    stranger.transport.loseConnection()  # type: ignore[union-attr]
    assert town.fails(first).number == 15
    second = a.ask(at("b"), "echo", {})
    assert town.fails(second).number == 208


def test_oneself() -> None:
    """Questions to oneself need no socket, and are like any other: number, node, deadline, cancel."""
    town = Town()
    a = town.add("a")
    reply = town.wait(a.ask(at("a"), "echo", {"x": 1}, b"12", hops=3))
    assert (reply.head["size"], town.network.connections) == (2, [])
    assert (town.asked[0][4].host, town.asked[0][4].hops) == ("", 3)
    assert town.wait(a.ping(at("a"), 1)) == 0.0
    town.answers["select"] = AnyLogError(46, "no such column")
    error = town.fails(a.ask(at("a"), "select", {}))
    assert (error.number, error.node, str(error)) == (46, at("a"), "no such column")
    assert town.fails(a.ask(at("a"), "nonsense", {})).number == 224
    given_up: list[str] = []
    town.answers["sleep"] = lambda head: Deferred(lambda _: given_up.append("x"))
    assert town.fails(a.ask(at("a"), "sleep", {}, until=town.clock.seconds() + 2)).number == 26
    waiting = a.ask(at("a"), "sleep", {})
    waiting.cancel()
    assert isinstance(town.fails(waiting), CancelledError)
    assert len(given_up) == 2


def test_errors_travel() -> None:
    """As number and detail, with the node they come from; faults of ours as 500 without what was inside."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    for given, number, text in [
        (AnyLogError(29, "no table 'x'"), 29, "no table 'x'"),
        (AnyLogError(16), 16, "SQL Failure"),
        (AnyLogError(40, "z" * 50_000), 40, "z" * 16_384),
    ]:
        town.answers["select"] = given
        error = town.fails(a.ask(at("b"), "select", {}))
        assert (error.number, str(error), error.node) == (number, text, at("b"))
    assert town.fails(a.ask(at("b"), "nonsense", {})).number == 224
    assert town.fails(a.ask(at("b"), "echo", {}, hops=9)).number == 15
    town.answers["select"] = Reply(head={"x": "y" * 100_000})
    assert town.fails(a.ask(at("b"), "select", {})).number == 500
    assert town.fails(a.ask(at("b"), "echo", {"x": "y" * 200_000})).number == 40
    assert town.fails(a.ask(at("b"), "echo", {}, b"x" * (17 << 20))).number == 501
    assert town.fails(a.ask("nowhere", "echo", {})).number == 20
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b", "the connection is as good as before"
    assert len(town.network.connections) == 1


def test_faults_are_told_as_such() -> None:
    """A handler that breaks is our fault: 500, logged here, without its text there."""
    town, seen = Town(), []  # type: ignore[var-annotated]
    globalLogPublisher.addObserver(seen.append)
    try:
        a, _ = town.add("a"), town.add("b")
        town.answers["select"] = ZeroDivisionError("secret")
        for address in (at("b"), at("a")):
            error = town.fails(a.ask(address, "select", {}))
            assert (error.number, str(error)) == (500, "Internal error"), address
    finally:
        globalLogPublisher.removeObserver(seen.append)
    assert sum("log_failure" in event for event in seen) == 2


def test_nobody_there() -> None:
    """Three attempts, then 208 that names it; after that one attempt is enough to say so."""
    town = Town()
    a = town.add("a")
    begin = town.clock.seconds()
    error = town.fails(a.ask(at("c"), "echo", {}))
    assert (error.number, error.node) == (208, at("c"))
    assert str(error).startswith(f"Failed to create a socket using: {at('c')}")
    assert 1.0 <= town.clock.seconds() - begin < 1.5
    assert a.counts["failed to connect"] == 3
    state = a.state(at("c"))
    assert state is not None
    assert not state.active
    begin = town.clock.seconds()
    assert town.fails(a.ask(at("c"), "echo", {})).number == 208
    assert town.clock.seconds() - begin < 0.1


def test_silence_on_the_way() -> None:
    """A host that does not answer costs at most 18 seconds and two pauses, later two; or what the asker has."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    town.network.cut("a", "b")
    begin = town.clock.seconds()
    assert town.fails(a.ask(at("b"), "echo", {}, until=begin + 1.5)).number == 208
    assert town.clock.seconds() - begin == pytest.approx(1.5, abs=0.01)
    assert town.fails(a.ask(at("b"), "echo", {})).number == 208
    assert 17.9 < town.clock.seconds() - begin < 19.5
    begin = town.clock.seconds()
    assert town.fails(a.ask(at("b"), "echo", {})).number == 208
    assert town.clock.seconds() - begin <= 2.1
    assert town.fails(a.ping(at("b"), 0.5)).number == 208


def test_found_again() -> None:
    """A node that did not answer is looked for, so that it is known to be there soon after it is back."""
    town = Town()
    a = town.add("a")
    town.fails(a.ask(at("b"), "echo", {}))
    town.advance(20)
    town.add("b")
    took = town.until(lambda: (state := a.state(at("b"))) is not None and state.active, 40)
    assert took <= 11
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b"
    town.wait(a.stop())
    town.advance(100)


def dials(town: Town, a: Peers) -> int:
    """Attempts of a node in the next five minutes that came to nothing."""
    before = a.counts["failed to connect"]
    town.advance(300)
    return a.counts["failed to connect"] - before


def test_strangers_are_not_looked_for() -> None:
    """A node that the ledger does not name is dialled for a minute after it was asked last, others until they answer.
    Should it be named later it is taken to be there until it is asked."""
    town = Town()
    a = town.add("a")
    listed = {at("b")}
    a.listed = listed.__contains__
    for host in ("b", "c"):
        town.fails(a.ask(at(host), "echo", {}))
    town.advance(40)
    town.fails(a.ask(at("c"), "echo", {}))
    town.advance(40)
    assert a.state(at("c")) is not None
    town.advance(40)
    assert a.state(at("c")) is None
    assert dials(town, a) >= 25  # of the one that is named
    listed.clear()
    town.advance(20)
    assert dials(town, a) == 0
    assert a.states() == []
    town.add("c")
    assert town.wait(a.ask(at("c"), "echo", {})).head["host"] == "c"


@pytest.mark.parametrize("flagged", [False, True])
def test_dialled_by_whom_it_dials(flagged: bool) -> None:
    """An attempt that comes to nothing says nothing of a node that has dialled in the meantime."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    town.network.unbind(town.network.port("b", PORT))  # type: ignore[arg-type]
    town.impostor("b")  # who never says hello
    if flagged:
        a.doubt(at("b"), "it was away")
    begin = town.clock.seconds()
    asked = a.ask(at("b"), "echo", {"x": 1})
    town.advance(1)
    town.wait(b.ask(at("a"), "echo", {}))
    assert town.wait(asked).head["x"] == 1
    assert town.clock.seconds() - begin < 1.5
    town.advance(30)
    assert a.counts["failed to connect"] == 1  # the one that was under way
    assert a.state(at("b")).active  # type: ignore[union-attr]


def test_pings() -> None:
    """The seconds of a round trip."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    for _ in range(5):
        assert 0 < town.wait(a.ping(at("b"), 1)) < 0.01
    town.network.cut("a", "b")
    error = town.fails(a.ping(at("b"), 1))
    assert (error.number, error.node) == (26, at("b"))


def test_telling() -> None:
    """All who are connected hear it once; those who are not, not; nobody waits."""
    town = Town()
    hosts = ["b", "c", "d"]
    a = town.add("a")
    for host in hosts:
        town.add(host)
    client = town.add("client", listens=False)
    town.wait(a.ask(at("b"), "echo", {}))
    town.wait(town.peers["b"].connect(at("a")))
    town.wait(town.peers["c"].ask(at("a"), "echo", {}))
    town.wait(client.ask(at("a"), "echo", {}))
    town.asked.clear()
    assert a.tell("told", {"version": "v"}) == 3
    town.advance(0.1)
    assert sorted((host, kind) for host, kind, *_ in town.asked) == [("b", "told"), ("c", "told"), ("client", "told")]
    assert a.tell("nobody hears this", {}) == 3
    town.advance(0.1)
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b"


def test_pages() -> None:
    """They come in order, are made as they are taken, and the body is closed at the end."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    body = Body(*(bytes([n]) * 100_000 for n in range(20)))
    town.answers["select"] = Reply(head={"columns": 1}, body=body)
    reply = town.wait(a.ask(at("b"), "select", {}))
    town.advance(5)
    assert body.asked < 8, "nobody takes them"
    pages = []
    while (page := town.wait(reply.body.next())) is not None:
        pages.append(page)
    assert pages == [bytes([n]) * 100_000 for n in range(20)]
    assert town.wait(reply.body.next()) is None
    assert body.closed == 1
    reply.body.close()
    assert next(iter(a.carriers)).session.open == 0


def test_pages_that_break() -> None:
    """What the other node meets on the way is told, and never looks like an end."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    for fault, number in [(AnyLogError(76, "too long"), 76), (OSError("disk"), 500)]:
        body = Body(b"first", fault)
        town.answers["select"] = Reply(head={}, body=body)
        reply = town.wait(a.ask(at("b"), "select", {}))
        town.advance(1)
        error = town.fails(reply.body.next())
        assert (error.number, error.node, body.closed) == (number, at("b"), 1)
        assert town.fails(reply.body.next()).number == number
        reply.body.close()


def test_cancelled_work() -> None:
    """Giving up a question, or its pages, ends the work at the other node."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    given_up: list[str] = []
    town.answers["sleep"] = lambda head: Deferred(lambda _: given_up.append("handler"))
    waiting = a.ask(at("b"), "sleep", {})
    town.advance(0.1)
    assert len(town.asked) == 1
    waiting.cancel()
    assert isinstance(town.fails(waiting), CancelledError)
    town.advance(0.1)
    assert given_up == ["handler"]

    body = Body(b"x" * 1000, endless=True)
    town.answers["select"] = Reply(head={}, body=body)
    reply = town.wait(a.ask(at("b"), "select", {}))
    town.wait(reply.body.next())
    reply.body.close()
    reply.body.close()
    town.advance(0.1)
    asked = body.asked
    town.advance(10)
    assert (body.closed, body.asked) == (1, asked)
    assert town.wait(reply.body.next()) is None

    slow = Body(b"x")
    slow.held = Deferred(lambda _: given_up.append("page"))
    town.answers["select"] = Reply(head={}, body=slow)
    reply = town.wait(a.ask(at("b"), "select", {}))
    page = reply.body.next()
    page.cancel()
    assert isinstance(town.fails(page), CancelledError)
    town.advance(0.1)
    assert slow.closed == 1
    assert [carrier.session.open for peers in (a, b) for carrier in peers.carriers] == [0, 0]


def test_late() -> None:
    """A deadline holds for the head and for the body; the other node is told how much is left, and stops."""
    town = Town()
    a, _ = town.add("a"), town.add("b")
    given_up: list[str] = []
    town.answers["sleep"] = lambda head: Deferred(lambda _: given_up.append("handler"))
    error = town.fails(a.ask(at("b"), "sleep", {}, until=town.clock.seconds() + 2))
    assert (error.number, error.node) == (26, at("b"))
    town.advance(0.1)
    assert given_up == ["handler"]
    body = Body(b"x" * 10, endless=True)
    town.answers["select"] = Reply(head={}, body=body)
    reply = town.wait(a.ask(at("b"), "select", {}, until=town.clock.seconds() + 2))
    town.wait(reply.body.next())
    town.advance(3)
    assert town.fails(reply.body.next()).number == 26
    assert body.closed == 1
    assert town.fails(a.ask(at("b"), "echo", {}, until=town.clock.seconds() - 1)).number == 26


def test_commands_wait_for_a_slot() -> None:
    """So many at once; other kinds need none; each hop has its own, so that no circle waits for itself."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    b.set_threads(2)
    running: list[Deferred[Any]] = []
    town.answers["command"] = lambda head: running.append(Deferred()) or running[-1]  # type: ignore[func-returns-value]
    asked = [a.ask(at("b"), "command", {}) for _ in range(5)]
    town.advance(1)
    assert (len(running), b.total, b.slots().tokens) == (2, 5, 0)
    assert town.wait(a.ask(at("b"), "echo", {})).head["host"] == "b"
    nested = a.ask(at("b"), "command", {}, hops=1)
    town.advance(0.1)
    assert len(running) == 3
    asked[4].cancel()
    town.fails(asked.pop(4))
    town.advance(0.1)
    while asked or not nested.called:
        for work in running:
            if not work.called:
                work.callback(Reply(head={}))
        town.advance(0.1)
        asked = [each for each in asked if not each.called]
    assert len(running) == 5, "the one that was given up never ran"
    assert b.slots().tokens == 2


def test_limits_of_connections() -> None:
    """Of one host, and in all; who is turned away hears why, the others are served on."""
    town = Town()
    a = town.add("a", limits=PeerLimits(connections=5, host=3))
    one = [town.stranger("x", "a", {"name": "x"}) for _ in range(4)]
    assert [bool(each.ended) for each in one] == [False, False, False, True]
    assert one[3].heard == [{"t": "error", "code": 502, "msg": "too many connections, try again later"}]
    others = [town.stranger(host, "a", {"name": host}) for host in ("y", "z", "w")]
    assert [bool(each.ended) for each in others] == [False, False, True]
    assert (a.counts["turned away"], len(a.carriers)) == (2, 5)
    one[0].transport.loseConnection()  # type: ignore[union-attr]
    town.advance(0.1)
    assert not town.stranger("w", "a", {"name": "w"}).ended
    b = town.add("b")
    error = town.fails(b.ask(at("a"), "echo", {}))
    assert error.number == 208
    assert "too many connections" in str(error)


def test_stop() -> None:
    """Who waits is told, work is given up, connections end; nobody is asked or dialled any more."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    given_up: list[str] = []
    town.answers["sleep"] = lambda head: Deferred(lambda _: given_up.append("handler"))
    ours, theirs = a.ask(at("b"), "sleep", {}), b.ask(at("a"), "sleep", {})
    dialling = a.ask(at("c"), "echo", {})
    town.advance(0.2)
    stopped = a.stop()
    assert (town.fails(ours).number, town.fails(dialling).number) == (15, 506)
    town.wait(stopped)
    error = town.fails(theirs)
    assert (error.number, "the node stops" in str(error)) == (15, True)
    assert len(given_up) == 2
    assert (town.network.connections, a.carriers, b.carriers) == ([], {}, {})
    assert town.fails(a.ask(at("b"), "echo", {})).number == 506
    assert [state.active for state in b.states()] == [False], "who says goodbye is not asked"
    assert [state.active for state in a.states()] == [True], "it was we who left"
    town.wait(a.stop())


def test_the_same_seed_the_same_story() -> None:
    """All that happens follows from clock and chance."""

    def story(seed: int) -> list[Any]:
        town, told = Town(seed), []
        for host in ("a", "b", "c"):
            town.add(host)
        town.answers["select"] = lambda head: Reply(head={}, body=Body(*[b"x" * 70_000] * 4))
        for number in range(30):
            one, other = town.chance.sample(["a", "b", "c"], 2)
            kind = town.chance.choice(["echo", "select", "nonsense"])
            asked = town.peers[one].ask(at(other), kind, {"n": number})
            asked.addBoth(lambda result, number=number: told.append((town.clock.seconds(), number, str(result)[:40])))
            town.advance(town.chance.random() / 100)
        town.advance(1)
        return told + [(str(host), kind) for host, kind, *_ in town.asked]

    assert story(7) == story(7)
    assert story(7) != story(8)


def test_a_node_that_is_doubted() -> None:
    """It is not active until something is heard of it; it is pinged with pauses, and no answer is taken for one."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    town.wait(a.ask(at("b"), "echo", {}))
    town.network.cut("a", "b")
    a.doubt(at("b"), "no answer in time")
    state = a.state(at("b"))
    assert state is not None
    assert (state.active, state.why) == (False, "no answer in time")
    town.advance(4)
    assert not a.state(at("b")).active  # type: ignore[union-attr]
    town.network.heal("a", "b")
    took = town.until(lambda: (state := a.state(at("b"))) is not None and state.active, 40)
    assert took <= 15
    a.doubt(at("b"), "once more")
    b.tell("moved", {})
    town.advance(0.2)
    assert a.state(at("b")).active  # type: ignore[union-attr]
    a.doubt(at("a"), "oneself")
    assert a.state(at("a")) is None
    town.wait(a.stop())
    town.advance(100)


def test_a_member_that_is_connected_twice() -> None:
    """Both dialled at the same moment: when it falls silent, both connections end, and it is found out as soon."""
    town = Town()
    a, b = town.add("a"), town.add("b")
    asked = [a.ask(at("b"), "echo", {}), b.ask(at("a"), "echo", {})]
    for each in asked:
        town.wait(each)
    assert len(a.carriers) == 2
    a.near = lambda: [at("b")]
    town.advance(5)
    town.network.cut("a", "b")
    begin = town.clock.seconds()
    town.until(lambda: (state := a.state(at("b"))) is not None and not state.active, 40)
    town.advance(1.0)
    assert not a.state(at("b")).active  # type: ignore[union-attr]
    assert town.clock.seconds() - begin < 10
    assert not a.carriers
