"""Members that become what they were before, that are to be of another cluster, or that do not know the time."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from test_place import as_another, delete, put_back
from test_publisher import Fleet
from test_pull import MASTER, Copies, is_complete
from test_world import ask
from twisted.internet.defer import Deferred

from anylog.databases.tsd import GAP, Tsd
from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.processes.operating import NOTE
from anylog.processes.standing import Standing
from anylog.testing.world import BEGIN


@pytest.fixture
def copies(request: pytest.FixtureRequest) -> Iterator[Copies]:
    made = Copies(getattr(request, "param", 2))
    yield made
    made.world.stop()


def told(copies: Copies, node: Node, into: str = "tsd_info") -> list[tuple[int, str, int]]:
    return [(entry.id, entry.hash, entry.rows) for entry in copies.entries(node, into)]


def tables_of_files(copies: Copies, node: Node) -> list[str]:
    tsd = node.membership.tsd()
    assert tsd is not None
    found: list[str] = copies.world.wait(tsd.tables())
    return found


def test_a_member_that_is_what_it_was_before(copies: Copies) -> None:
    """It gets another id in the ledger, and later the first one again: what it takes then is pulled by the others."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    copies.until_equal(first, second, 90)
    own = as_another(copies, 1)
    copies.put(first, "b")
    copies.until_equal(first, second, 90)
    other = as_another(copies, 1, own)
    copies.put(first, "c")
    copies.world.until(lambda: copies.names(first) == copies.names(second), 300)
    assert tables_of_files(copies, first) == ["tsd_info", f"tsd_{other}"]
    assert told(copies, first) == told(copies, second, f"tsd_{own}")
    assert told(copies, first, f"tsd_{other}") == told(copies, second, f"tsd_{other}")
    copies.world.until(lambda: is_complete(first), 90)


@pytest.mark.parametrize("copies", [3], indirect=True)
def test_the_id_of_a_member_that_left(copies: Copies) -> None:
    """Another operator takes it over: the files of the one that left are its own now, and what it takes is pulled."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    copies.put(second, "b")
    copies.until_equal(first, second, 90)
    left = copies.member(first)
    before = told(copies, first)
    delete(copies, 1)
    copies.world.stop(["op1"])
    as_another(copies, 2, left)
    assert told(copies, second) == before
    third = copies.add(3)
    copies.put(second, "c")
    copies.world.until(lambda: copies.names(second) == copies.names(third), 300)
    assert told(copies, second)[0] == before[0]
    assert told(copies, second)[1][0] > before[0][0] + GAP
    assert told(copies, second) == told(copies, third, f"tsd_{left}")


def test_a_member_that_changes_while_it_runs(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept of the new member is recalled when the files are handed over: until then it may be another's."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    copies.until_equal(first, second, 90)
    recalled: list[tuple[int, bool]] = []
    recall = Standing.recall

    def noted(standing: Standing, tsd: Tsd, member: int) -> Deferred[None]:
        if standing is first.copying.standing:
            recalled.append((member, first.copying.own_tsd() is tsd))
        return recall(standing, tsd, member)

    monkeypatch.setattr(Standing, "recall", noted)
    member = copies.member(first) % 255 + 1
    policy = json.loads(delete(copies, 1))["operator"]
    policy = {key: value for key, value in policy.items() if key not in ("date", "ledger")}
    put_back(copies, json.dumps({"operator": {**policy, "member": member}}))
    copies.world.advance(10)
    assert set(recalled) == {(member, True)}


def test_a_table_of_files_under_the_own_id(copies: Copies) -> None:
    """An older program left one behind beside `tsd_info`: others are told of all of it, at once and after a start."""
    first, second = copies.add(1), copies.add(2)
    own = copies.member(first)
    tsd = first.membership.tsd()
    assert tsd is not None
    copies.put(first, "a")
    copies.world.advance(5)
    copies.world.wait(tsd.make_of(own))
    copies.until_equal(first, second, 90)
    run = f"run operator where policy = {copies.policies[1]} and master_node = {MASTER} and update_tsd_info = true"
    copies.world.run(first, "exit operator", run)
    copies.world.advance(5)
    assert tables_of_files(copies, first) == ["tsd_info"]
    assert told(copies, first) == told(copies, second, f"tsd_{own}")


def to_cluster(fleet: Fleet, number: int, cluster: str) -> None:
    """Its policy, changed in the ledger."""
    master, id = fleet.world.nodes["master"], f"{number:032}"
    policy = fleet.world.run(master, f"blockchain get operator where id = {id}").data[0]
    fleet.world.run(master, f"blockchain delete policy where id = {id} and master = {MASTER} and local = true")
    kept = {key: value for key, value in policy["operator"].items() if key not in ("date", "ledger")}
    fleet.policy({"operator": {**kept, "cluster": cluster * 32}})


def put(fleet: Fleet, value: int) -> None:
    """A file at the first operator."""
    rows = [{"v": value}]
    body = json.dumps(rows).encode()
    fleet.world.wait(fleet.world.nodes["op1"].intake.accept("town", "t", body, rows, whole=True))


def test_an_operator_that_moves_to_another_cluster() -> None:
    """Both clusters take the table. What it holds of the one it left is there still: no answer counts it twice, nor is
    anything of it registered in the new one, which it is told. In the old one again it goes on."""
    fleet = Fleet(("a", "a", "b"))
    try:
        fleet.hold("t")
        put(fleet, 1)
        put(fleet, 2)
        fleet.rest()
        master, count = fleet.world.nodes["master"], "select count(*) as n from t"
        assert ask(fleet.world, master, count) == [{"n": 2}]
        to_cluster(fleet, 1, "b")
        fleet.world.advance(120)
        for _ in range(4):  # each in turn
            assert ask(fleet.world, master, count) == [{"n": 2}]
        op1 = fleet.world.nodes["op1"]
        (told,) = [each["Text"] for each in fleet.world.run(op1, "get error log where format = json").data]
        assert f"of the cluster {'b' * 32} (b)" in told
        assert f"of the cluster {'a' * 32}: they would be counted in both" in told
        put(fleet, 3)
        fleet.world.advance(20)
        assert fleet.rows_of("op1") == [1, 2, 3]
        assert fleet.rows_of("op3") == []
        run = f"run operator where policy = {1:032} and master_node = {MASTER} and update_tsd_info = true"
        fleet.world.run(op1, "exit operator")
        with pytest.raises(AnyLogError, match="an empty home") as refused:
            fleet.world.run(op1, run)
        assert refused.value.number == 118
        to_cluster(fleet, 1, "a")
        fleet.world.advance(10)
        fleet.world.run(op1, run)
        fleet.rest()
        assert fleet.rows_of("op2") == [1, 2, 3]
        assert ask(fleet.world, master, count) == [{"n": 3}]
    finally:
        fleet.end()


def test_the_only_operator_of_another_cluster() -> None:
    """Nobody can answer for that cluster, and the error says why; a start of that operator is refused, too."""
    fleet = Fleet(("a", "a", "b"))
    try:
        fleet.hold("t")
        put(fleet, 1)
        fleet.rest()
        to_cluster(fleet, 1, "b")
        fleet.world.crash("op3", power=True)
        fleet.world.advance(60)
        with pytest.raises(AnyLogError, match="they would be counted in both"):
            ask(fleet.world, fleet.world.nodes["master"], "select count(*) as n from t")
        fleet.world.crash("op1", power=True)
        with pytest.raises(AnyLogError, match=r"run operator: .* an empty home"):
            fleet.world.wait(fleet.world.restart("op1"), 120)
    finally:
        fleet.end()


def test_a_home_without_files_may_go_where_it_likes() -> None:
    """Whoever gave it the wrong cluster at first mends the policy, and that is all."""
    fleet = Fleet(("a", "b", "b"))
    try:
        op1 = fleet.world.nodes["op1"]
        fleet.world.run(op1, "exit operator")
        to_cluster(fleet, 1, "b")
        fleet.world.advance(10)
        run = f"run operator where policy = {1:032} and master_node = {MASTER} and update_tsd_info = true"
        fleet.world.run(op1, run)
        fleet.world.advance(5)
        fleet.hold("t")
        put(fleet, 1)
        fleet.rest()
        assert fleet.rows_of("op2") == [1]
        assert op1.intake.operating.cluster == "b" * 32
    finally:
        fleet.end()


def test_a_home_that_does_not_say_of_which_cluster_it_is() -> None:
    """The note of an older program names the member only: it is of the cluster in which it operates next."""
    fleet = Fleet(("a", "b"))
    try:
        fleet.hold("t")
        put(fleet, 1)
        fleet.rest()
        note = fleet.world.nodes["op1"].places.journal / NOTE
        fleet.world.crash("op1", power=False)
        disk = fleet.world.places["op1"].disk
        assert disk.read(note) == b"11 0 " + b"a" * 32
        disk.put(note, b"11")
        fleet.world.wait(fleet.world.restart("op1"), 120)
        fleet.rest()
        assert disk.read(note) == b"11 0 " + b"a" * 32
        assert fleet.rows_of("op1") == [1]
    finally:
        fleet.end()


def rows_of(copies: Copies, node: Node) -> list[tuple[str, str]]:
    database, asked = node.databases.get("town"), "select name, timestamp from t order by name"
    found: list[tuple[str, str]] = copies.world.wait(database.read(lambda on: on.execute(asked).fetchall()))
    return found


@pytest.mark.parametrize("pushes", ["run data distributor", ""])
def test_a_new_box_whose_clock_begins_in_1970(pushes: str) -> None:
    """It takes readings before its clock is set: the other member gets them, and they are the same there, also the
    times that they lack: not before the newest policy."""
    copies = Copies()
    try:
        first = copies.add(1, *([pushes] if pushes else []), ahead=60.0 - BEGIN)
        second = copies.add(2)
        copies.world.advance(5)
        made = [{"name": "a", "timestamp": "2027-01-14 12:00:00"}, {"name": "b"}]
        copies.world.wait(first.intake.accept("town", "t", json.dumps(made).encode(), made, whole=True))
        copies.world.advance(10)
        made = [{"name": "c"}]
        copies.world.wait(first.intake.accept("town", "t", json.dumps(made).encode(), made, whole=False))
        copies.world.run(first, "flush buffers")
        copies.world.advance(5)
        newest = max(policy.date for policy in first.ledger.policies if policy.date < "2027-01-15T08:00:10")
        copies.world.set_ahead("op1", 0.0)
        copies.world.advance(200)
        own = copies.member(first)
        mine = [(each.id, each.hash, each.time[:19], each.rows) for each in copies.entries(first)]
        theirs = [(each.id, each.hash, each.time[:19], each.rows) for each in copies.entries(second, f"tsd_{own}")]
        assert theirs == mine
        assert all(time >= newest[:19].replace("T", " ") for _, _, time, _ in mine)
        assert rows_of(copies, second) == rows_of(copies, first)
        assert [time[:5] for _, time in rows_of(copies, first)] == ["2027-"] * 3
    finally:
        copies.world.stop()
