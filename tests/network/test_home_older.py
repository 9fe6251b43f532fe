"""A member's whole home, journal too, is put back from an older copy; the others have what was filed since."""

from __future__ import annotations

from typing import Any

import pytest
from test_lasting import begin, calm, put, quiet, values

from anylog.node import Node
from anylog.testing import laws
from anylog.testing.snapshot import Snapshot
from anylog.testing.storm import Storm


def copied(storm: Storm) -> Snapshot:
    """The home of the first operator as it is now."""
    return Snapshot.of(storm.world.places["op1"], storm.load, storm.chance, storm.holding("op1"))


def back(storm: Storm, home: Snapshot) -> None:
    """It dies, and that is put back."""
    storm.world.crash("op1", power=False)
    others = [storm.holding(name) for name in storm.names if name != "op1"]
    home.put_back(storm.world.places["op1"], storm.load, storm.chance, others, storm.members["op1"])


def sound(storm: Storm) -> list[str]:
    """What is wrong once all is quiet."""
    held = [storm.holding(name) for name in storm.names]
    told: list[str] = []
    for each in held:
        for law in laws.ALONE:
            told += law(each)
        told += laws.loaded_once(each)
    for cluster in laws.CLUSTER:
        told += cluster(held)
    return [*told, *laws.same_rows(held)]


def same(storm: Storm, wanted: list[int]) -> None:
    """All members come to have these readings, each once, and nothing stands against them."""

    def there() -> bool:
        return not list(storm.unquiet()) and all(values(storm.holding(name)) == wanted for name in storm.names)

    storm.world.until(there, 300)
    storm.world.until(lambda: not sound(storm), 300)
    for name in storm.names:
        assert not storm.world.nodes[name].copying.conflicts()


def earlier(node: Node) -> Any:
    return node.intake.operating.earlier


def begun(storm: Storm) -> Node:
    node = begin(storm)
    assert node is not None
    return node


@pytest.mark.parametrize("registered", [True, False])
def test_a_buffer_that_was_filed_since(registered: bool) -> None:
    """The copy has its first readings, the others its file, which has more: that comes back, and all is there once.

    It had its id when the copy was taken, or not yet.
    """
    storm = calm(7)
    put(storm, "t0", [1], True)
    quiet(storm)
    put(storm, "t0", [2, 3], False)
    node = storm.world.nodes["op1"]

    def stream() -> Any:
        return next(buffer for buffer in node.intake._buffers.values() if not buffer.whole)

    assert stream().tsd == 0 or registered
    if registered:
        storm.world.until(lambda: stream().stored == 2)
    home = copied(storm)
    put(storm, "t0", [4], False)
    same(storm, [1, 2, 3, 4])
    for _ in range(2):  # the same copy once more: nothing is different then
        back(storm, home)
        begun(storm)
        same(storm, [1, 2, 3, 4])
    home.end()
    storm.world.end()


def test_a_member_that_does_not_answer() -> None:
    """What was open is not filed before it has told; the operator takes other readings meanwhile, and says why."""
    storm = calm(7)
    put(storm, "t0", [1], True)
    quiet(storm)
    put(storm, "t0", [2, 3], False)
    storm.world.until(lambda: any(buffer.stored == 2 for buffer in storm.world.nodes["op1"].intake._buffers.values()))
    home = copied(storm)
    put(storm, "t0", [4], False)
    same(storm, [1, 2, 3, 4])
    for name in storm.names[1:]:
        storm.world.crash(name, power=False)
    back(storm, home)
    node = begun(storm)
    storm.world.until(lambda: bool(earlier(node).waiting), 60)
    put(storm, "t1", [5], True)
    storm.world.until(lambda: values(storm.holding("op1")) == [1, 2, 3, 5], 60)
    storm.world.advance(60)
    assert earlier(node).depth == 1
    told = str(storm.world.run(node, "get operator").text)
    assert "member 22" in told and "wait" in told, told
    for name in storm.names[1:]:
        storm.world.wait(storm.world.restart(name))
    same(storm, [1, 2, 3, 4, 5])
    assert "wait" not in str(storm.world.run(node, "get operator").text)
    home.end()
    storm.world.end()


def test_nobody_knows_it() -> None:
    """The copy is of now: what was open becomes a file, with the id that it had."""
    storm = calm(7)
    put(storm, "t0", [1, 2], False)
    storm.world.until(lambda: any(buffer.stored == 2 for buffer in storm.world.nodes["op1"].intake._buffers.values()))
    id = next(buffer.tsd for buffer in storm.world.nodes["op1"].intake._buffers.values())
    back(storm, home := copied(storm))
    begun(storm)
    same(storm, [1, 2])
    assert [entry.id for entry in storm.holding("op1").of(storm.members["op1"])] == [id]
    home.end()
    storm.world.end()


def test_killed_at_every_moment() -> None:
    """While the buffer is given up for the file of the others: whatever is cut short is done again."""
    moment = 0
    while True:
        moment += 9
        storm = calm(7)
        put(storm, "t0", [1, 2], False)
        node = storm.world.nodes["op1"]
        storm.world.until(lambda node=node: any(each.stored == 2 for each in node.intake._buffers.values()))  # type: ignore[misc]
        home = copied(storm)
        put(storm, "t0", [3], False)
        same(storm, [1, 2, 3])
        back(storm, home)
        storm.world.crash_after("op1", moment, power=bool(moment % 2))
        died = begin(storm) is None
        if died:
            begun(storm)
        same(storm, [1, 2, 3])
        home.end()
        storm.world.end()
        if not died:
            assert moment > 100
            return
