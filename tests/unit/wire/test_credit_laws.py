"""Credit (hard-parts.md 5): whatever happens in whatever order, none is lost, none is made, and nobody starves another.

The law, for each direction of a connection: what the sender may still send + what is on its way + what the receiver
holds or has not given back = the window.
"""

from __future__ import annotations

from collections import deque
from random import Random

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from talk import Talk, opened

from anylog.wire.flow import CONNECTION, LEAST, WINDOW, cost
from anylog.wire.frames import FrameReader
from anylog.wire.messages import Asked, Dropped, Failed, Replied
from anylog.wire.peer_session import PeerSession

SEEDS = st.integers(0, 2**32)


def on_the_way(line: bytearray) -> tuple[int, int]:
    """Data that it costs credit to send, and credit of the connection, in what was not delivered yet."""
    data = credit = 0
    for message in FrameReader().receive(bytes(line)):
        if message["t"] == "data":
            data += cost(len(message["d"]), message["f"])
        elif message["t"] == "credit" and "id" not in message and "re" not in message:
            credit += message["n"]
    return data, credit


@define(eq=False)
class Storm:
    """Questions with bodies and answers with pages, cancelled and failed at any moment, in pieces of any size."""

    seed: int
    window: int
    chance: Random = field(init=False)
    talk: Talk = field(init=False)
    bodies: dict[int, deque[bytes]] = field(factory=dict)  # pages that `b` will send
    made: dict[int, bytes] = field(factory=dict)  # all of them together
    taken: dict[int, bytes] = field(factory=dict)  # what `a` took
    whole: set[int] = field(factory=set)
    given_up: set[int] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.talk = opened(self.window)

    def step(self) -> None:
        """Something happens."""
        chance, a, b = self.chance, self.talk.a, self.talk.b
        match chance.randrange(8):
            case 0 if len(self.made) < 40:
                size = chance.choice([0, 10, 40_000, 200_000])
                number = a.ask("select", {}, b"q" * size)
                pages = [bytes([number % 256]) * chance.choice([1, 700, 70_000, 300_000]) for _ in range(5)]
                self.bodies[number], self.made[number] = deque(pages), b"".join(pages)
                self.taken[number] = b""
            case 1 if self.taken and chance.random() < 0.3:
                number = chance.choice(sorted(self.taken))
                a.cancel(number)
                self.given_up.add(number)
            case 2 if self.taken and chance.random() < 0.3:
                number = chance.choice(sorted(self.taken))
                b.fail(number, 16, "as the test wants it")
                self.given_up.add(number)
            case 3 | 4:
                for number in sorted(self.taken):
                    if chance.random() < 0.5:
                        self.take(number)
            case 5:
                wanted, b.wanted = b.wanted, []
                for number in wanted:
                    pages = self.bodies[number]
                    b.page(number, pages.popleft() if pages else None)
            case 6:
                self.talk.push()
            case _:
                self.talk.deliver(chance)
                self.hear()

    def take(self, number: int) -> None:
        try:
            page = self.talk.a.take(number)
        except LookupError:
            return
        if page is None:
            self.whole.add(number)
        else:
            self.taken[number] += page

    def hear(self) -> None:
        for event in self.talk.heard_b:
            if isinstance(event, Asked):
                self.talk.b.reply(event.number, {}, more=True)
            elif isinstance(event, Dropped):
                self.given_up.add(event.number)
        for event in self.talk.heard_a:
            if isinstance(event, Failed):
                self.given_up.add(event.number)
        self.talk.clear()

    def finish(self) -> None:
        """Everybody takes what is left."""
        for _ in range(10_000):
            wanted, self.talk.b.wanted = self.talk.b.wanted, []
            for number in wanted:
                pages = self.bodies[number]
                self.talk.b.page(number, pages.popleft() if pages else None)
            self.talk.settle()
            self.hear()
            for number in self.taken:
                self.take(number)
            if not self.talk.a.open and not self.talk.b.open:
                break
        self.talk.settle()


def law(sender: PeerSession, receiver: PeerSession, line: bytearray, back: bytearray, window: int) -> bool:
    """Only right while no frame is half delivered."""
    data, _ = on_the_way(line)
    _, credit = on_the_way(back)
    return sender.credit + data + credit + receiver.owed == window


@given(SEEDS, st.sampled_from([LEAST, 3 * LEAST, CONNECTION]))
@settings(max_examples=150, deadline=None)
def test_storms(seed: int, window: int) -> None:
    """Every answer that was not given up arrives whole and in order; all credit is accounted for; nothing is held."""
    storm = Storm(seed, window)
    for _ in range(300):
        storm.step()
    storm.finish()
    a, b = storm.talk.a, storm.talk.b
    assert (a.open, b.open) == (0, 0)
    assert (a.held, b.held) == (0, 0)
    assert b.credit + a.owed == window
    assert a.credit + b.owed == window
    assert a.owed < window / 2
    for number, made in storm.made.items():
        if number in storm.given_up:
            assert made.startswith(storm.taken[number])
        else:
            assert number in storm.whole
            assert storm.taken[number] == made, number
    assert storm.whole.isdisjoint(number for number in storm.given_up if storm.taken[number] != storm.made[number])


@given(SEEDS)
@settings(max_examples=100, deadline=None)
def test_the_law_holds_at_every_moment(seed: int) -> None:
    """Also in the middle: credit is only ever in one place."""
    storm = Storm(seed, 2 * LEAST)
    for _ in range(150):
        storm.step()
        if storm.chance.random() < 0.2:
            talk = storm.talk
            while talk.deliver():  # no frame is half delivered
                storm.hear()
            talk.push()
            assert law(talk.b, talk.a, talk.to_a, talk.to_b, 2 * LEAST)
            assert law(talk.a, talk.b, talk.to_b, talk.to_a, 2 * LEAST)


@pytest.mark.parametrize("readers", [1, 100])
def test_a_sleeping_reader_stops_nobody(readers: int) -> None:
    """Of a hundred answers one is not read: the others come to their end, it holds what it was granted and no more."""
    talk = opened()
    numbers = [talk.a.ask("select", {}) for _ in range(readers + 1)]
    talk.settle()
    left = dict.fromkeys(numbers, 20)
    for number in numbers:
        talk.b.reply(number, {}, more=True)
    asleep, done = numbers[0], set()
    for _ in range(2000):
        wanted, talk.b.wanted = talk.b.wanted, []
        for number in wanted:
            left[number] -= 1
            talk.b.page(number, b"x" * 60_000 if left[number] >= 0 else None)
        talk.settle()
        done |= {number for number in numbers if number not in done | {asleep} and talk.a.take(number) is None}
        if len(done) == readers:
            break
    assert len(done) == readers
    assert 0 < talk.a.held <= WINDOW
    assert [flow.number for flow in talk.b.starving()] == [asleep]
    assert talk.b.credit >= CONNECTION - CONNECTION // 4 - WINDOW
    talk.a.cancel(asleep)
    talk.settle()
    assert (talk.a.held, talk.b.open) == (0, 0)
    assert talk.b.credit + talk.a.owed == CONNECTION


def test_turns() -> None:
    """Answers that have credit go in turns, a piece of each; a small one does not wait for a large one."""
    talk = opened()
    numbers = [talk.a.ask("select", {}) for _ in range(3)]
    talk.settle()
    for number, size in zip(numbers, (250_000, 250_000, 10), strict=True):
        talk.b.reply(number, {}, more=True)
        talk.b.page(number, b"x" * size)
    reader = FrameReader()
    order = []
    while data := talk.b.next_data():
        order += [message["re"] for message in reader.receive(data)]
    assert order[:5] == [1, 2, 3, 1, 2]


def test_nothing_is_sent_without_credit() -> None:
    """A peer that grants none gets its first window and no more; all else still works."""
    talk = opened()
    number = talk.a.ask("select", {})
    talk.settle()
    talk.b.reply(number, {}, more=True)
    talk.b.squeeze, sent = False, 0
    for _ in range(50):
        if talk.b.wanted:
            talk.b.wanted.clear()
            talk.b.page(number, b"x" * 50_000)
        while data := talk.b.next_data():
            sent += len(data)
    assert WINDOW - 65_536 < sent < WINDOW + 1000
    other = talk.a.ask("k", {})
    talk.settle()
    talk.b.reply(other, {"fine": True})
    talk.settle()
    assert Replied(other, {"fine": True}, False) in talk.heard_a
