"""Peers in bad weather: links are cut and broken, nodes die and come back, questions are given up at any moment.

What must hold: every question comes to an end in bounded time; an answer is the right one, and whole; when the weather
is over nothing is held, no credit is missing, and everybody reaches everybody. All of it follows from a seed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Reply
from anylog.waiting import deferring, pause
from anylog.wire.flow import CONNECTION

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "network"))
from town_of_peers import Town, at

HOSTS = ("a", "b", "c", "d")
LONGEST = 20.0  # seconds that a question may take


def made(host: str, number: int) -> list[bytes]:
    """The pages of an answer: known to who asks, so that it can tell a right one."""
    chance = Random(f"{host} {number}")
    return [chance.randbytes(chance.choice([1, 900, 70_000, 200_000])) for _ in range(chance.randint(0, 12))]


class Made:
    """These pages, some of them a little later."""

    def __init__(self, weather: Weather, host: str, number: int) -> None:
        self._weather, self._pages = weather, made(host, number)
        self._slow = Random(number).random() < 0.3
        self.closed = False
        weather.bodies.append(self)

    @deferring
    async def next(self) -> bytes | None:
        """The next one."""
        if self._slow:
            clock: Any = self._weather.town.clock
            await pause(clock, 0.3)
        return self._pages.pop(0) if self._pages else None

    def close(self) -> None:
        self.closed = True


@define(eq=False)
class Weather:
    """Some nodes, and what happens to them."""

    seed: int
    town: Town = field(init=False)
    chance: Random = field(init=False)
    bodies: list[Made] = field(factory=list)
    open: dict[int, float] = field(factory=dict)  # questions that have not come to an end, and when they were asked
    told: dict[str, int] = field(factory=dict)
    story: list[tuple[float, int, str]] = field(factory=list)
    count: int = 0

    def __attrs_post_init__(self) -> None:
        self.town = Town(self.seed)
        self.chance = Random(self.seed)
        for host in HOSTS:
            self.join(host)

    def join(self, host: str) -> None:
        """A node begins, or begins anew."""
        made = self.town.add(host)

        @deferring
        async def answer(head: Any, body: bytes, asker: Asker) -> Reply:
            if head["n"] % 5 == 0:
                clock: Any = self.town.clock
                await pause(clock, 0.5)
            if head["n"] % 11 == 0:
                raise AnyLogError(29, f"no {head['n']}")
            return Reply(head={"size": len(body), "n": head["n"]}, body=Made(self, host, head["n"]))

        made.serve("select", answer)

    def ask(self) -> None:
        """Somebody asks somebody."""
        one, other = self.chance.choice(HOSTS), self.chance.choice(HOSTS)
        self.count += 1
        self.open[self.count] = self.town.clock.seconds()
        asked = self.reading(one, other, self.count, self.chance.random())
        number = self.count
        asked.addBoth(lambda result: self.ended(number, result))
        if self.chance.random() < 0.2:
            self.town.clock.callLater(self.chance.random(), asked.cancel)

    @deferring
    async def reading(self, one: str, other: str, number: int, patience: float) -> str:
        """Ask, read, compare."""
        size = [0, 10, 100_000][number % 3]
        until = self.town.clock.seconds() + 15 if patience < 0.8 else None
        reply = await self.town.peers[one].ask(at(other), "select", {"n": number}, b"?" * size, until=until)
        assert reply.head == {"size": size, "n": number}
        assert reply.body is not None
        pages: list[bytes] = []
        clock: Any = self.town.clock
        try:
            while (page := await reply.body.next()) is not None:
                pages.append(page)
                if patience < 0.05:
                    return "given up"
                if patience > 0.9:
                    await pause(clock, 0.1)
        finally:
            reply.body.close()
        assert pages == made(other, number), f"seed {self.seed}: a wrong answer to {number}"
        return "right"

    def ended(self, number: int, result: Any) -> None:
        """It came to an end: right, given up, or an error that names where."""
        del self.open[number]
        if isinstance(result, str):
            how = result
        elif result.check(CancelledError):
            how = "cancelled"
        else:
            assert result.check(AnyLogError), result
            how = str(result.value.number)
            assert result.value.node, result.value
        self.told[how] = self.told.get(how, 0) + 1
        self.story.append((round(self.town.clock.seconds(), 6), number, how))

    def change(self) -> None:
        """The weather changes."""
        network, (one, other) = self.town.network, self.chance.sample(HOSTS, 2)
        match self.chance.randrange(6):
            case 0:
                network.cut(one, other)
            case 1 | 2:
                network.heal(one, other)
            case 3:
                network.reset(one, other)
            case 4 if self.chance.random() < 0.3:
                old = self.town.peers[one]
                network.kill(one)
                old.stop()
                self.join(one)
            case _:
                pass

    def blow(self, seconds: float) -> None:
        """Questions and changes for a while."""
        end = self.town.clock.seconds() + seconds
        while self.town.clock.seconds() < end:
            for _ in range(self.chance.randint(0, 4)):
                self.ask()
            if self.chance.random() < 0.3:
                self.change()
            self.town.advance(self.chance.random() * 0.2)
            late = {n: begin for n, begin in self.open.items() if self.town.clock.seconds() - begin > LONGEST + 15}
            assert not late, f"seed {self.seed}: these never end: {late}"

    def clear(self) -> None:
        """The sun comes out."""
        self.town.network.heal()
        self.town.advance(2 * LONGEST)
        assert not self.open, f"seed {self.seed}"
        assert all(body.closed for body in self.bodies), f"seed {self.seed}"
        for one in HOSTS:
            for other in HOSTS:
                assert self.town.wait(self.town.peers[one].ask(at(other), "echo", {}), 25).head["host"] == other
        for one in HOSTS:
            for carrier in self.town.peers[one].carriers:
                session = carrier.session
                assert (session.open, session.held) == (0, 0), f"seed {self.seed}: {one} to {carrier.name}"
        for connection in self.town.network.connections:
            ours, theirs = (end.protocol.session for end in connection.ends)
            assert ours.credit + theirs.owed == theirs.credit + ours.owed == CONNECTION, f"seed {self.seed}"


def storm(seed: int, seconds: float) -> Weather:
    weather = Weather(seed)
    weather.blow(seconds)
    weather.clear()
    return weather


@pytest.mark.parametrize("seed", range(6))
def test_storms(seed: int) -> None:
    """Some bad weather."""
    weather = storm(seed, 40)
    assert weather.told["right"] > 50, weather.told


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 300))
def test_many_storms(seed: int) -> None:
    """The same, for long."""
    storm(seed, 120)


def test_replay() -> None:
    """A seed tells the whole story, to the microsecond."""
    assert storm(77, 15).story == storm(77, 15).story


def test_two_hundred_nodes() -> None:
    """Around one of them: all ask it, all are told by it within a tenth of a second, and are asked back."""
    town = Town(1)
    master = town.add("master")
    hosts = [f"n{number}" for number in range(200)]
    asked: list[Deferred[Any]] = [town.add(host).ask(at("master"), "echo", {}) for host in hosts]
    for each in asked:
        town.wait(each)
    assert len(town.network.connections) == 200
    town.asked.clear()
    assert master.tell("told", {"version": "v"}) == 200
    town.advance(0.1)
    assert len(town.asked) == 200
    for each in [master.ask(at(host), "echo", {}) for host in hosts]:
        town.wait(each)
    assert len(town.network.connections) == 200
    for host in hosts:
        town.peers[host].stop()
    town.advance(10)
    assert len(master.carriers) == 0
