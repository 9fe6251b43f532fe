"""Words that compare the members of a cluster, on whole nodes in a network in memory (operator-ha.md 11)."""

from __future__ import annotations

from typing import Any

import pytest
from test_world import master, operator, put

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.testing.world import World

ALMGM = ("connect dbms almgm where type = sqlite and memory = true", "create table tsd_info where dbms = almgm")


def cluster(world: World) -> list[Node]:
    """A master, and two operators of one cluster that register their files."""
    nodes = [master(world)]
    for number in (1, 2):
        node = operator(world, f"op{number}", f"10.0.1.{number}", "pair")
        world.run(node, "exit operator", *ALMGM)
        world.run(node, f"run operator where policy = !id and update_tsd_info = true and master_node = {MASTER}")
        nodes.append(node)
    world.advance(3.0)
    return nodes


MASTER = "10.0.0.1:32048"


def told(world: World, node: Node, command: str) -> Any:
    return world.run(node, command if " where " in command else f"{command} where format = json").data


def test_setup() -> None:
    """The same under both names; a node that is no operator says what it lacks."""
    world = World(3)
    first, one, _ = cluster(world)
    setup = told(world, one, "test ha setup")
    place = one.membership.place()
    assert place is not None
    assert setup == {
        "Operator": "Running: distributor flag disabled", "Distributor": "Disabled", "Consumer": "Disabled",
        "Operator Name": "op1", "Member ID": place.member, "Cluster ID": place.cluster, "almgm.tsd_info": "Defined",
    }  # fmt: skip
    assert told(world, one, "test cluster setup") == setup
    text = world.run(one, "test ha setup").text
    assert text.splitlines()[1].split() == ["Functionality", "Details"]
    bare = told(world, first, "test ha setup")
    assert [bare[key] for key in ("Operator", "Member ID", "almgm.tsd_info")] == [
        "Disabled",
        "Not Defined",
        "Not Defined",
    ]


def test_data() -> None:
    """What one member has and the other has not is seen; a member that is away has an empty column."""
    world = World(4)
    _, one, two = cluster(world)
    put(world, one, "t", [{"v": 1}, {"v": 2}])
    world.advance(2.0)
    world.run(one, "flush buffers")
    world.advance(5.0)
    members = [each.membership.place().member for each in (one, two)]  # type: ignore[union-attr]
    (row,) = told(world, two, "test cluster data")
    assert row == {"DBMS": "town", "Table": "t", f"Node_{members[0]}": "1/2", f"Node_{members[1]}": "0/0"}
    text = world.run(two, "test cluster data").text
    assert "The members differ in town.t" in text
    assert "TSD Summary on all nodes in the cluster (files/rows)" in text
    assert told(world, one, "test cluster data where start_date = 2099-01-01 and format = json") == []
    assert told(world, one, "test cluster databases") == [
        {"DBMS": "town", f"Node_{min(members)}": "+", f"Node_{max(members)}": "+"}
    ]
    (row,) = told(world, one, "test cluster partitions")
    assert row == {
        "DBMS": "town",
        "Table": "t",
        "Partition": "none",
        f"Node_{members[0]}": "+",
        f"Node_{members[1]}": "",
    }
    assert "No partitions declared" in world.run(one, "test cluster partitions").text
    world.stop(["op1"])
    (row,) = told(world, two, "test cluster data") or [{}]
    assert row == {}
    assert "op1 does not answer" in world.run(two, "test cluster data").text


def test_members() -> None:
    """Tables of files beside the ledger, of this node and of all operators."""
    world = World(5)
    _, one, two = cluster(world)
    rows = told(world, one, "test node cluster")
    assert [row["Status"] for row in rows] == ["Passed", "No files yet"]
    assert [row["Operator"] for row in rows] == ["op1", "op2"]
    listed = told(world, one, "test network clusters")
    assert sorted((row["Operator"], row["TSD Tables"], row["Status"]) for row in listed) == [
        ("op1", "tsd_info", "Passed"), ("op2", "tsd_info", "Passed"),
    ]  # fmt: skip
    place = two.membership.place()
    assert place is not None
    world.stop(["op2"])
    assert [row["Status"] for row in told(world, one, "test network clusters") if row["Operator"] == "op2"] == [
        "No reply"
    ]


def test_what_nobody_knows_is_named() -> None:
    """A database, table or member that is not there is an error, no empty answer; so is an option without use."""
    world = World(9)
    _, one, _ = cluster(world)
    put(world, one, "t", [{"v": 1}])
    world.run(one, "run data consumer where start_date = -1d")
    world.advance(3.0)
    for command, number, name in (
        ("test cluster data where dbms = nix", 5, "'nix'"),
        ("test cluster data where dbms = town and table = nix", 28, "'town.nix'"),
        ("test cluster data where archive = false", 175, "'archive = false'"),
        ("get tsd sync status where table = tsd_9", 29, "'tsd_9'"),
    ):
        with pytest.raises(AnyLogError, match=name) as refused:
            world.run(one, command)
        assert refused.value.number == number
    assert world.run(one, "get operator config where format = json").data["options"]["distributor"] is False


def test_what_waits_for_the_ledger_is_named() -> None:
    """While the master is away `flush buffers` says whose readings wait for it; when it is back they are loaded."""
    world = World(8)
    _, one, _ = cluster(world)
    world.network.cut("10.0.0.1", "10.0.1.1")
    put(world, one, "t", [{"v": 1}])
    with pytest.raises(AnyLogError, match=r"^town\.t: waits for the ledger$") as refused:
        world.run(one, "flush buffers")
    assert refused.value.number == 3
    world.network.heal()
    world.until(lambda: not one.intake.waiting())
    world.run(one, "flush buffers")
    assert one.intake.open_buffers() == []


def test_who_is_syncing() -> None:
    """A member that told that it lacks something is `syncing`, one that is away `not responding`."""
    world = World(7)
    _, one, two = cluster(world)
    place = two.membership.place()
    assert place is not None

    def status() -> dict[str, str]:
        found = told(world, one, "get cluster info")["Participating Operators"]
        return {str(row["Member"]): row["Status"] for row in found}

    assert set(status().values()) == {"active"}
    one.copying.standing.hear(place.member, {}, False, world.clock.seconds())
    assert status()[str(place.member)] == "syncing"
    one.copying.standing.hear(place.member, {}, True, world.clock.seconds())
    assert status()[str(place.member)] == "active"
    one.copying.standing.hear(place.member, {}, False, world.clock.seconds())
    world.stop(["op2"])
    assert told(world, one, "test cluster databases")
    assert status()[str(place.member)] == "not responding"


def test_not_a_member() -> None:
    """A node without a place says so."""
    world = World(6)
    first = master(world)
    for command in ("test cluster data", "test cluster databases", "test cluster partitions", "test node cluster"):
        with pytest.raises(AnyLogError, match="no operator with a place"):
            world.run(first, command)
    with pytest.raises(AnyLogError, match="no cluster with operators"):
        world.run(first, "test network clusters")
