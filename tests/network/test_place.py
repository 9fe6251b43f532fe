"""Members that lose their place in the ledger and get it back, or another one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from test_pull import CONSUMER, MASTER, Copies, is_complete

from anylog.node import Node

OF_ONE = [f"{name}-{n}" for name in ("a", "b", "s") for n in range(3)]


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies()
    yield made
    made.world.stop()


def delete(copies: Copies, number: int) -> str:
    """Take the policy of an operator out of the ledger; gives it, to be put back."""
    master, id = copies.world.nodes["master"], copies.policies[number]
    policy = copies.world.run(master, f"blockchain get operator where id = {id}").data[0]
    copies.world.run(master, f"blockchain delete policy where id = {id} and master = {MASTER} and local = true")
    node = copies.world.nodes[f"op{number}"]
    copies.world.until(lambda: node.membership.place_of(id) is None, 30)
    return json.dumps(policy)


def put_back(copies: Copies, policy: str) -> None:
    """Into the ledger, as it was."""
    copies.world.run(
        copies.world.nodes["master"],
        f"blockchain insert where policy = {policy} and local = true and master = {MASTER}",
    )


def stream(copies: Copies, node: Node, name: str) -> None:
    """Readings that become a file as they are flushed."""
    rows = [{"name": f"{name}-{n}", "value": n} for n in range(3)]
    copies.world.wait(node.intake.accept("town", "t", json.dumps(rows).encode(), rows, whole=False))
    copies.world.run(node, "flush buffers")


@pytest.mark.parametrize("ways", [("run data distributor", CONSUMER), ("", CONSUMER), ("run data distributor", "")])
def test_a_policy_that_vanishes(ways: tuple[str, str]) -> None:
    """What comes meanwhile is registered as the member's, so that the others have all of it once the policy is back;
    whether it is pushed or pulled."""
    pushes, pulls = ways
    copies = Copies()
    try:
        first, second = copies.add(1, *([pushes] if pushes else [])), copies.add(2, pulls=pulls)
        copies.world.advance(2)  # so that the operator knows of the distributor
        copies.put(first, "a")
        copies.until_equal(first, second, 90)
        own = copies.member(first)
        policy = delete(copies, 1)
        copies.world.advance(5)
        copies.put(first, "b")
        stream(copies, first, "s")
        copies.world.advance(5)
        assert [entry.rows for entry in copies.entries(first)] == [3, 3, 3]
        assert copies.names(second) == ["a-0", "a-1", "a-2"]
        put_back(copies, policy)
        copies.world.until(lambda: copies.names(second) == OF_ONE, 90)
        assert copies.member(first) == own
        theirs, mine = copies.entries(first), copies.entries(second, f"tsd_{own}")
        assert [(e.id, e.hash, e.rows) for e in mine] == [(e.id, e.hash, e.rows) for e in theirs]
        copies.world.advance(10)
        assert not first.disk.names(first.places.folder("distr_dir"))
        assert is_complete(first)
    finally:
        copies.world.stop()
