"""kill -9 at every step of a file's way: acknowledged is found, once, and every entry has its file (hard-parts 2)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from files_load import THRESHOLDS, WAYS, check, killed, sending, start, told_by
from member import Member

# Named moments by which readings come, in the order of their way.
POINTS = {
    "watch": ("read", "agreed", "looked", "registered", "renamed", "inserted", "loaded", "published", "counted",
              "removed"),
    "put": ("written", "synced", "agreed", "registered", "inserted", "loaded", "published", "counted",
            "done"),
    "streaming": ("written", "synced", "agreed", "registered", "inserted", "loaded", "published", "counted", "done"),
}  # fmt: skip


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Member]:
    made = Member(tmp_path / "home", commands=(THRESHOLDS,))
    made.start()
    made.kill()
    try:
        yield made
    finally:
        made.remove()


def lives(node: Member, ways: Sequence[str], ends: Sequence[tuple[str, int]], seed: int) -> None:
    """One life after the other, each ended at a named moment, under load; then one more, and the laws.

    Each life begins with what the one before has left, so two neighbours in `ends` are a pair of kills.
    """
    with sending(node, ways, seed) as senders:
        for point, times in ends:
            killed(node, point, times)
        start(node)
        time.sleep(0.2)
    check(node, senders, least=10)


@pytest.mark.parametrize("way", ["watch", "put", pytest.param("streaming", marks=pytest.mark.long)])
def test_killed_at_every_point(node: Member, way: str) -> None:
    """One kill at each named moment of one way of coming in, one life after the other."""
    lives(node, (way,), [(point, 1) for point in POINTS[way]], seed=11)


def test_killed_at_points_of_all_ways(node: Member) -> None:
    """All ways at once, kills later in each life, in an order that goes back and forth."""
    chance = random.Random(5)
    ends = [(point, chance.choice((2, 3, 6))) for point in chance.sample(POINTS["watch"], 4)]
    lives(node, WAYS, ends, seed=5)


@pytest.mark.long
@pytest.mark.parametrize("shift", range(10))
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_every_pair_of_points(node: Member, way: str, shift: int) -> None:
    """All ordered pairs of two kills: the shifts together put every moment behind every other, and itself."""
    points = POINTS[way]
    if shift >= len(points):
        pytest.skip("as many shifts as points")
    lives(node, (way,), [(points[place], 1) for place in walk(len(points), shift)], seed=shift)


def walk(size: int, shift: int) -> list[int]:
    """Places such that each is followed by the one `shift` further on, round and round, at least once."""
    places: list[int] = []
    todo = set(range(size))
    while todo:
        place = min(todo)
        places.append(place)
        while place in todo:
            todo.discard(place)
            place = (place + shift) % size
            places.append(place)
    return places


def test_the_shifts_cover_all_pairs() -> None:
    """What the long test leans on."""
    for size in (9, 10):
        walks = [walk(size, shift) for shift in range(size)]
        pairs = {pair for places in walks for pair in pairwise(places)}
        assert len(pairs & {(a, b) for a in range(size) for b in range(size)}) == size * size


def storm(node: Member, rounds: int, seed: int) -> None:
    """All ways under load, and `rounds` times a kill at a random moment."""
    chance = random.Random(seed)
    start(node)
    with sending(node, WAYS, seed) as senders:
        time.sleep(0.3)
        for _ in range(rounds):
            time.sleep(chance.uniform(0.0, 0.8))
            node.kill()
            start(node)
    check(node, senders, least=50)


def test_random_kills(node: Member) -> None:
    """A sample of the storm: a few kills at random moments."""
    storm(node, 5, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 10))
def test_many_random_kills(node: Member, seed: int) -> None:
    """200 kills at random moments, in eight homes."""
    storm(node, 25, seed)


def test_stopped_under_load(node: Member) -> None:
    """SIGTERM in the first second lets what is in work be finished, or says what stays; the laws hold after it."""
    start(node)
    with sending(node, WAYS, 3) as senders:
        time.sleep(1.0)
    assert node.stop() == -15
    left = list((node.home / "journal").glob("*.journal"))
    assert not left or "in the journal" in node.log.read_text(), told_by(node)
    start(node)
    check(node, senders, least=50)
    assert node.stop() == -15
    assert list((node.home / "journal").glob("*.journal")) == [], told_by(node)
