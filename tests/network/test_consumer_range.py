"""The range of the consumer is changed: what the longer one asks for is fetched, and until then the member says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_pull import CONSUMER, Copies, is_complete, validated

from anylog.node import Node
from anylog.processes.pulling import Puller
from anylog.testing.lanes import ClockLanes


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies()
    yield made
    made.world.stop()


def old_and_new(copies: Copies, pulls: str) -> tuple[Node, Node]:
    """Files that a member took more than a minute ago, and later ones; and another member that pulls some of them."""
    first = copies.add(1)
    for number in range(5):
        copies.put(first, f"old{number}")
    copies.world.advance(100)
    copies.put(first, "new")
    copies.world.advance(2)
    second = copies.add(2, pulls=pulls)
    copies.world.until(lambda: is_complete(second) and copies.names(second) == ["new-0", "new-1", "new-2"], 20)
    copies.world.advance(70)
    return first, second


@pytest.mark.parametrize("recalled", [False, True])
def test_an_earlier_start(copies: Copies, recalled: bool) -> None:
    """With -30d instead of a few seconds the older files come, and the member is `syncing` until they are here."""
    first, second = old_and_new(copies, "run data consumer where start_date = -60s")
    own, other = copies.member(second), copies.member(first)
    before = validated(second, own, other)
    assert before
    copies.world.run(second, "exit consumer")
    if recalled:
        second.copying.standing._of = (None, 0)  # what is known is read back from `almgm`, as after a start
    copies.world.run(second, "run data consumer where start_date = -30d and mode = suspend")
    copies.world.advance(10)
    complete = is_complete(second)
    shown = copies.world.run(second, "get consumer where format = json").data
    low = validated(second, own, other)
    copies.world.run(second, "set consumer mode = active")
    took = copies.until_equal(first, second, 30)
    copies.world.until(lambda: second.copying.complete, 30)
    copies.world.advance(70)
    assert (complete, shown["State"], shown["Files Missing"]) == (False, "syncing", 5)
    assert low < copies.entries(first)[0].id
    assert took < 10
    assert validated(second, own, other) == copies.entries(first)[-1].id


def test_a_later_end(copies: Copies) -> None:
    """The same: what came after the end of before is fetched, and is missing until then."""
    first, second = copies.add(1), copies.add(2, pulls="")
    copies.put(first, "a")
    copies.world.advance(2)
    end = copies.entries(first)[-1].time[:17] + "59"
    copies.world.run(second, f'run data consumer where start_date = -30d and end_date = "{end}"')
    copies.world.until(lambda: is_complete(second) and len(copies.names(second)) == 3, 20)
    copies.world.advance(100)
    copies.put(first, "b")
    copies.world.advance(70)
    before = is_complete(second), len(copies.names(second))
    copies.world.run(second, "exit consumer", f"{CONSUMER} and mode = suspend")
    copies.world.advance(10)
    after = is_complete(second)
    copies.world.run(second, "set consumer mode = active")
    copies.until_equal(first, second, 10)
    copies.world.until(lambda: second.copying.complete, 10)
    assert (before, after) == ((True, 3), False)


def test_words_and_not_times(copies: Copies) -> None:
    """The same words mean the same range, though it begins earlier once the clock was set back."""
    _, second = old_and_new(copies, "run data consumer where start_date = -60s")
    second.copying.standing._covered = 99990101000000, 10**14, second.copying.standing._covered[2]  # type: ignore[index]
    copies.world.run(second, "exit consumer", "run data consumer where start_date = -60s")
    copies.world.advance(3)
    assert is_complete(second)


def test_a_later_start(copies: Copies) -> None:
    """One that looks at less is complete at once: what it has it has."""
    first, second = old_and_new(copies, "run data consumer where start_date = -60s")
    copies.world.run(second, "exit consumer", "run data consumer where start_date = -20s")
    copies.world.advance(3)
    assert is_complete(second)
    assert validated(second, copies.member(second), copies.member(first))


def test_ended_while_own_files_come_back(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emptied member: its consumer is ended while own files are being written into its watch directory. They are
    loaded, and pushed to nobody: they came from a member."""
    first, second = copies.add(1), copies.add(2)
    for number in range(5):
        copies.put(second, f"b{number}")
    copies.world.until(lambda: len(copies.names(first)) == 15, 90)
    copies.world.stop(["op2"])
    copies.world.advance(2)
    copies.world.lanes = lambda clock: ClockLanes(clock, 0.1)
    begun: list[int] = []
    publish = Puller._publish

    def noticed(self: Puller, *args: Any) -> Any:
        begun.append(1)
        return publish(self, *args)

    monkeypatch.setattr(Puller, "_publish", noticed)
    second = copies.add(2, "run data distributor")
    copies.world.until(lambda: bool(begun), 60)
    copies.world.run(second, "exit consumer")
    copies.world.until(lambda: len(copies.names(second)) == 15, 60)
    copies.world.advance(30)
    shown = copies.world.run(second, "get distributor where format = json").data
    assert sum(peer["Files"] for peer in shown["Peers"]) == 0
