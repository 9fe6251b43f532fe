"""Members that lose their place in the ledger and get it back, or another one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from test_lasting import ALMGM, begin, calm, put, quiet, values
from test_pull import CONSUMER, MASTER, Copies, is_complete

from anylog.disk.names import FileName
from anylog.node import Node
from anylog.testing import laws
from anylog.testing.storm import Storm

STEP = 211  # moments between two crashes
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


def as_another(copies: Copies, number: int, member: int = 0) -> int:
    """The home of an operator comes back under a new policy, with another member id; gives the one it had."""
    node, master = copies.world.nodes[f"op{number}"], copies.world.nodes["master"]
    own = copies.member(node)
    policy = json.loads(delete(copies, number))["operator"]
    copies.world.run(node, "exit operator")
    policy = {key: value for key, value in policy.items() if key not in ("id", "date", "ledger", "member")}
    policy["member"] = member or own % 255 + 1
    put_back(copies, json.dumps({"operator": policy}))
    found = copies.world.run(master, f"blockchain get operator where name = op{number} bring.last [*][id]")
    copies.policies[number] = (found.text or "").strip()
    copies.world.run(
        node,
        f"run operator where policy = {copies.policies[number]} and master_node = {MASTER} and update_tsd_info = true",
    )
    assert copies.member(node) != own
    return own


def told(copies: Copies, node: Node, into: str) -> list[tuple[int, str, int, str]]:
    return [(entry.id, entry.hash, entry.rows, entry.status1) for entry in copies.entries(node, into)]


@pytest.mark.parametrize("left", [0, 1])
def test_a_home_of_another_member(left: int) -> None:
    """What it registered before stays that of the member it was, and reaches the others, also what waited to be pushed;
    nothing is registered again or lost, and what comes is of the new member. One that joins later gets all of it."""
    copies = Copies(3)
    try:
        first, second = copies.add(1, "run data distributor"), copies.add(2)
        copies.world.advance(2)
        copies.put(first, "a")
        copies.until_equal(first, second, 90)
        if left:
            operator = f"run operator where policy = {copies.policies[1]} and master_node = {MASTER}"
            waits = f"{operator} and update_tsd_info = true and distributor = true"
            copies.world.run(first, "exit distributor", "exit operator", waits)
            copies.world.run(second, "exit consumer")
        copies.put(first, "b")
        stream(copies, first, "s")
        before = told(copies, first, "tsd_info")
        assert len(first.disk.names(first.places.folder("distr_dir"))) == 2 or not left
        own = as_another(copies, 1)
        assert told(copies, first, f"tsd_{own}") == before
        assert told(copies, first, "tsd_info") == []
        if left:
            copies.world.run(first, "run data distributor")
            copies.world.run(second, CONSUMER)
        copies.world.until(lambda: copies.names(second) == OF_ONE, 90)
        copies.put(first, "new")
        copies.world.until(lambda: "new-2" in copies.names(second), 90)
        new = copies.member(first)
        assert [entry.rows for entry in copies.entries(first)] == [3]
        assert min(entry.id for entry in copies.entries(first)) > max(id for id, *_ in before)
        third = copies.add(3)
        copies.until_equal(first, third, 90)
        copies.world.advance(150)
        for node in (first, second, third):
            assert told(copies, node, f"tsd_{own}") == before, node.name
            assert is_complete(node)
            assert not copies.world.run(node, "get error log where format = json").data, node.name
        for node in (second, third):
            assert told(copies, node, f"tsd_{new}") == told(copies, first, "tsd_info")
        assert not first.disk.names(first.places.folder("distr_dir"))
    finally:
        copies.world.stop()


def test_files_of_a_member_that_left() -> None:
    """One that joins after it left gets them from the others; those of a stranger are not taken."""
    copies = Copies(3)
    try:
        first, second = copies.add(1), copies.add(2)
        copies.put(first, "a")
        copies.until_equal(first, second, 90)
        own = copies.member(first)
        before = told(copies, first, "tsd_info")
        delete(copies, 1)
        copies.world.stop(["op1"])
        third = copies.add(3)
        copies.until_equal(second, third, 90)
        copies.world.until(lambda: is_complete(third), 90)
        assert told(copies, third, f"tsd_{own}") == before
        limits = third.copying.operator().watch.options.limits  # type: ignore[union-attr]
        name = FileName(dbms="town", table="t", hash="1" * 32, member=str(own), id=99, date="260101000000")
        assert limits.refusal(name) is None
        stranger = next(id for id in range(1, 256) if id not in third.copying.cluster_ids() | {own})
        refusal = limits.refusal(name.having(member=str(stranger)))
        assert refusal is not None
        assert refusal.number == 131
    finally:
        copies.world.stop()


def test_another_member_at_every_moment() -> None:
    """Power is cut with readings in the journal; the home comes back as another member, and crashes again and again
    while it does: all readings are there once, and everybody has the same files."""
    moment = 0
    while True:
        moment += STEP
        storm = calm(4)
        assert len(storm.names) > 1
        put(storm, "t0", [1, 2], True)
        put(storm, "t1", [3], False)
        quiet(storm)
        put(storm, "t0", [4], True)
        put(storm, "t1", [5], False)
        storm.world.advance(0.1)
        put(storm, "t1", [6], False)
        storm.world.crash("op1", power=True)
        own = becomes(storm, 77)
        storm.world.crash_after("op1", moment)
        crashed = begin(storm) is None
        if crashed:
            assert begin(storm) is not None
        storm.world.places["op1"].moments = 0
        place = storm.world.nodes["op1"].membership.place()
        assert place is not None
        assert place.member == 77
        put(storm, "t1", [7], False)
        held = quiet(storm)
        assert values(held) == [1, 2, 3, 4, 5, 6, 7], moment
        assert {into for into, _ in held.all()} >= {"tsd_info", f"tsd_{own}"}
        storm.world.advance(60)  # the others get all of it
        wrong = [told for told in storm.breaches() if not told.endswith("never sent")]  # it was sent past the storm
        assert not wrong, moment
        storm.world.end()
        if not crashed:
            break
    assert moment > 100


def becomes(storm: Storm, member: int) -> int:
    """In the ledger the first operator, which is down, has another member id; gives the one it had."""
    master, id = storm.world.nodes["master"], storm._policy("op1")
    policy = storm.world.run(master, f"blockchain get operator where id = {id}").data[0]
    storm.world.run(master, f"blockchain delete policy where id = {id} and master = {MASTER} and local = true")
    kept = {key: value for key, value in policy["operator"].items() if key not in ("date", "ledger")}
    policy = json.dumps({"operator": {**kept, "member": member}})
    storm.world.run(master, f"blockchain insert where policy = {policy} and master = {MASTER}")
    own, storm.members["op1"] = storm.members["op1"], member
    storm.world.advance(5)
    return own


def files(held: laws.Holding, into: str) -> list[tuple[int, str, int, str]]:
    return [(entry.id, entry.hash, entry.rows, entry.status1) for entry in held.entries[into]]


def test_tables_of_files_of_the_member_it_was() -> None:
    """They alone are put back as they were before the home became another member, and it crashes again and again while
    it begins: they say themselves whose they are. The files of each stay those of each."""
    moment = 0
    while True:
        moment += STEP
        storm = calm(4)
        put(storm, "t0", [1, 2], True)
        put(storm, "t1", [3], False)
        quiet(storm)
        copy = storm._files("op1").copy(ALMGM)
        put(storm, "t0", [4], True)
        quiet(storm)
        storm.world.crash("op1", power=False)
        own = becomes(storm, 77)
        assert begin(storm) is not None
        put(storm, "t0", [5], True)
        put(storm, "t1", [6], False)
        before = quiet(storm)
        storm.world.advance(60)
        storm.world.crash("op1", power=False)
        storm._files("op1").put_back(ALMGM, copy)
        storm.world.crash_after("op1", moment)
        crashed = begin(storm) is None
        if crashed:
            assert begin(storm) is not None
        storm.world.places["op1"].moments = 0
        put(storm, "t1", [7], False)
        held = quiet(storm)
        assert values(held) == [1, 2, 3, 4, 5, 6, 7], moment
        assert files(held, f"tsd_{own}") == files(before, f"tsd_{own}"), moment
        assert files(held, "tsd_info")[:-1] == files(before, "tsd_info"), moment
        storm.world.advance(60)
        wrong = [told for told in storm.breaches() if not told.endswith("never sent")]  # it was sent past the storm
        assert not wrong, moment
        storm.world.end()
        if not crashed:
            break
    assert moment > 100
