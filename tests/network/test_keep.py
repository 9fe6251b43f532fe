"""What members of a cluster may forget, and what they may say, is what is known of the others now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from attrs import evolve
from test_pull import CONSUMER, MASTER, Copies
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Publish
from anylog.node import Node


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies()
    yield made
    made.world.stop()


def copied(copies: Copies, node: Node) -> int:
    """How many of one day, today, may be deleted."""
    found = copies.world.wait(Deferred.fromCoroutine(_ask(node, today(copies))))
    return len(found)


async def _ask(node: Node, day: date) -> set[date]:
    return await node.copying.copied([day], node.places.folder("archive_dir"))


def today(copies: Copies) -> date:
    return datetime.fromtimestamp(copies.world.clock.seconds(), UTC).date()


def equal(copies: Copies, *nodes: Node) -> None:
    """All have the same, and all know it."""
    for node in nodes[1:]:
        copies.until_equal(nodes[0], node, 90)
    copies.world.until(lambda: all(node.copying.complete for node in nodes), 90)
    copies.world.advance(130)


def test_a_day_that_all_have(copies: Copies) -> None:
    """It may go, at both; not what another does not have yet, nor while the operator does not run: who is there?"""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    copies.put(second, "b")
    equal(copies, first, second)
    assert [copied(copies, node) for node in (first, second)] == [1, 1]
    copies.put(first, "new")
    assert copied(copies, first) == 0
    copies.world.advance(2)
    assert copied(copies, first) == 0
    equal(copies, first, second)
    assert copied(copies, first) == 1
    copies.world.run(first, "exit operator")
    assert copied(copies, first) == 0


def test_alone_by_the_ledger() -> None:
    """There is nobody who may miss anything."""
    copies = Copies(1)
    try:
        first = copies.add(1)
        copies.put(first, "a")
        copies.world.advance(2)
        assert copied(copies, first) == 1
        copies.world.run(first, "exit operator")
        assert copied(copies, first) == 0
    finally:
        copies.world.stop()


def test_a_member_that_cannot_be_asked(copies: Copies) -> None:
    """It is away; or the ledger says nothing of where it is."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    equal(copies, first, second)
    copies.world.stop(["op2"])
    assert copied(copies, first) == 0
    copies.world.advance(200)
    assert copied(copies, first) == 0


def test_a_member_without_an_address(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a member all the same: what it has is not known, and nothing is agreed with it."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    equal(copies, first, second)
    (other,) = first.copying.others() or ()
    for change in ({"address": ""}, {"member": None}):
        with monkeypatch.context() as patched:
            patched.setattr(type(first.copying), "others", lambda copying, change=change: [evolve(other, **change)])
            assert copied(copies, first) == 0
            agreed = first.copying.agreed_ids() or {}
            assert agreed.get(copies.member(first), 0) == 0 or "address" in change


def test_a_member_whose_disk_is_lost(copies: Copies) -> None:
    """What it had before is no evidence."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    equal(copies, first, second)
    assert copied(copies, first) == 1
    copies.world.stop(["op2"])
    second = copies.add(2, pulls=f"{CONSUMER} and mode = suspend")
    copies.world.advance(5)
    assert copied(copies, first) == 0
    copies.world.advance(130)
    assert copied(copies, first) == 0
    copies.world.run(second, "set consumer mode = active")
    equal(copies, first, second)
    assert copied(copies, first) == 1


def test_a_day_before_the_range_of_a_consumer(copies: Copies) -> None:
    """It looked at nothing there, whatever it validated."""
    first = copies.add(1)
    copies.put(first, "a")
    copies.world.advance(5)
    second = copies.add(2, pulls="run data consumer where start_date = -1s")
    copies.world.until(lambda: second.copying.complete, 90)
    copies.world.advance(130)
    assert copies.names(second) == []
    assert copied(copies, first) == 0


def test_a_file_that_another_gave_up(copies: Copies) -> None:
    """Nobody had it in the archive when that one looked: its safe ids went on, but it does not have it."""
    first = copies.add(1)
    copies.put(first, "a")
    copies.put(first, "b")
    copies.world.advance(2)
    gone, _ = copies.entries(first)
    disk = first.disk
    (path,) = [each for each in disk._files if gone.hash in each and "archive" in each]  # type: ignore[attr-defined]
    kept = disk._files.pop(path)  # type: ignore[attr-defined]
    second = copies.add(2)
    copies.world.until(lambda: second.copying.complete, 90)
    copies.world.advance(70)
    disk._files[path] = kept  # type: ignore[attr-defined]
    assert copied(copies, first) == 0


def test_a_file_that_no_table_knows(copies: Copies) -> None:
    """Nothing can be compared: it may be the only copy."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    equal(copies, first, second)
    folder = Path(first.places.folder("archive_dir")) / f"{today(copies):%y/%m/%d}"
    stamp = f"{today(copies):%y%m%d}101500"
    name = f"town.t.0.{'a' * 32}.0.{copies.member(first)}.99.{stamp}.json"
    first.disk.batch([Publish(folder / name, b'{"name":"x"}\n')])
    assert copied(copies, first) == 0


def test_files_of_a_member_that_left() -> None:
    """What all that are left have of it may go."""
    copies = Copies(3)
    try:
        first, second, third = copies.add(1), copies.add(2), copies.add(3)
        copies.put(third, "c")
        copies.put(first, "a")
        equal(copies, first, second, third)
        assert copied(copies, first) == 1
        copies.world.stop(["op3"])
        assert copied(copies, first) == 0
        master = copies.world.nodes["master"]
        copies.world.run(
            master, f"blockchain delete policy where id = {copies.policies[3]} and master = {MASTER} and local = true"
        )
        copies.world.until(lambda: len(first.copying.others() or ()) == 1, 30)
        assert copied(copies, first) == 1
    finally:
        copies.world.stop()


def test_committed_without_a_consumer(copies: Copies) -> None:
    """Which rows all have is not known there: it says so, and does not give all of them."""
    first = copies.add(1, pulls="")
    second = copies.add(2)
    copies.put(first, "a")
    copies.world.until(lambda: copies.names(second) != [], 90)
    with pytest.raises(AnyLogError, match="no consumer runs") as refused:
        first.copying.agreed_ids()
    assert refused.value.number == 508
    assert copies.member(first) in (second.copying.agreed_ids() or {})
    copies.world.run(second, "exit operator")
    with pytest.raises(AnyLogError, match="no operator runs"):
        second.copying.agreed_ids()
