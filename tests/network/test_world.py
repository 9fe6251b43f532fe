"""Whole nodes on one clock in a network in memory: the ledger spreads, waits, and is the same everywhere in the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.testing.world import World

MASTER = "10.0.0.1:32048"
SYNC = f"run blockchain sync where source = master and time = 60 seconds and dest = file and connection = {MASTER}"


def door(host: str, port: int) -> str:
    return f"run tcp server where external_ip = {host} and external_port = {port} and bind = true"


def master(world: World) -> Node:
    """A master with its ledger in memory."""
    node = world.add("master", "10.0.0.1")
    world.run(
        node,
        door("10.0.0.1", 32048),
        "connect dbms blockchain where type = sqlite and memory = true",
        "create table ledger where dbms = blockchain",
        SYNC,
    )
    return node


def member(world: World, name: str, host: str, ahead: float = 0.0) -> Node:
    """A node that follows the master; its clock may be wrong."""
    node = world.add(name, host, ahead)
    world.run(node, door(host, 32148), SYNC)
    return node


def operator(world: World, name: str, host: str, cluster: str, ahead: float = 0.0) -> Node:
    """An operator of a cluster, which is made if it is new."""
    node = member(world, name, host, ahead)
    insert = f"blockchain insert where policy = !p and local = true and master = {MASTER}"
    world.run(node, f"id = blockchain get cluster where name = {cluster} bring.first [*][id]")
    if not world.run(node, "!id").text:
        world.run(node, f"p = create policy cluster where name = {cluster} and company = acme", insert)
        world.run(node, f"id = blockchain get cluster where name = {cluster} bring.first [*][id]")
    made = f"p = create policy operator where name = {name} and company = acme and cluster = !id and ip = {host}"
    world.run(node, f"{made} and port = 32148", insert)
    world.run(
        node,
        f"id = blockchain get operator where name = {name} bring.last [*][id]",
        "connect dbms town where type = sqlite and memory = true",
        f"run operator where policy = !id and master_node = {MASTER}",
    )
    return node


def put(world: World, node: Node, table: str, rows: list[dict[str, Any]]) -> None:
    """Readings, acknowledged."""
    world.wait(node.intake.accept("town", table, json.dumps(rows).encode(), rows))


def ask(world: World, node: Node, statement: str, named: str = "") -> list[dict[str, Any]]:
    """Rows of the whole network, or of the nodes that are named. Raises AnyLogError."""
    result = world.run(node, f'run client ({named}) sql town format = json and stat = false "{statement}"')
    text = b""
    while (page := world.wait(result.pages.next())) is not None:  # type: ignore[union-attr]
        text += page
    rows: list[dict[str, Any]] = json.loads(text)["Query"]
    return rows


@pytest.mark.parametrize("count", [200])
def test_many_nodes_one_ledger(count: int) -> None:
    """200 nodes have the same ledger within 10 simulated seconds after an insert."""
    world = World(1)
    first = master(world)
    for number in range(count):
        member(world, f"n{number}", f"10.1.{number // 250}.{number % 250 + 1}")
    sender = world.nodes["n7"]
    world.run(sender, f"blockchain insert where policy = {json.dumps({'device': {'name': 'd'}})} and master = {MASTER}")
    wanted = first.master.version  # type: ignore[union-attr]
    seconds = world.until(lambda: all(node.ledger.version == wanted for node in world.nodes.values()), 10)
    assert seconds < 10 and all(len(node.ledger.policies) == 1 for node in world.nodes.values())
    world.stop()


def test_insert_while_the_master_is_away() -> None:
    """It is used here at once, is shown as waiting, is sent when the master is back, and is global everywhere then."""
    world = World(2)
    first = master(world)
    one, other = member(world, "one", "10.0.0.2"), member(world, "other", "10.0.0.3")
    world.network.cut("10.0.0.1", "10.0.0.2")
    policy = json.dumps({"device": {"name": "d"}})
    result = world.run(one, f"blockchain insert where policy = {policy} and local = true and master = {MASTER}")
    assert result.text is not None and "waits" in result.text
    assert len(one.ledger.waiting()) == 1 and len(other.ledger.policies) == 0
    assert world.run(one, "blockchain get device bring [*][name]").text == "d"
    world.network.heal("10.0.0.1", "10.0.0.2")
    world.until(lambda: len(other.ledger.policies) == 1 and not one.ledger.waiting(), 130)
    world.until(lambda: one.ledger.version == first.ledger.version == other.ledger.version, 130)
    (known,) = one.ledger.policies
    assert known.get("ledger") == "global" and world.run(one, "get synchronizer").data["Waiting"] == []
    world.stop()


def test_a_master_of_two_addresses() -> None:
    """A member that reaches the master by another address than the master tells is told of changes, too."""
    world = World(9)
    first = world.add("master", "10.0.0.1")
    world.run(
        first,
        "run tcp server where external_ip = 203.0.113.7 and external_port = 32048 and internal_ip = 10.0.0.1"
        " and internal_port = 32048 and bind = true",
        "connect dbms blockchain where type = sqlite and memory = true",
        "create table ledger where dbms = blockchain",
    )
    one, other = member(world, "one", "10.0.0.2"), member(world, "other", "10.0.0.3")
    policy = json.dumps({"device": {"name": "d"}})
    world.run(one, f"blockchain insert where policy = {policy} and local = true and master = {MASTER}")
    assert world.until(lambda: len(other.ledger.policies) == 1, 10) < 1.0
    world.stop()


def test_delete_while_the_master_is_away() -> None:
    """It stays deleted here whatever the ledger says, until that has heard of it."""
    world = World(3)
    first = master(world)
    one = member(world, "one", "10.0.0.2")
    policy = json.dumps({"device": {"name": "d", "id": "d1"}})
    world.run(one, f"blockchain insert where policy = {policy} and local = true and master = {MASTER}")
    world.network.cut("10.0.0.1", "10.0.0.2")
    world.run(one, f"blockchain delete policy where id = d1 and local = true and master = {MASTER}")
    assert len(one.ledger.policies) == 0 and len(first.master.policies) == 1  # type: ignore[union-attr]
    world.network.heal("10.0.0.1", "10.0.0.2")
    world.until(lambda: len(first.master.policies) == 0, 130)  # type: ignore[union-attr]
    world.until(lambda: not one.ledger.waiting(), 130)
    assert len(one.ledger.policies) == 0
    world.stop()


def test_the_master_refuses() -> None:
    """What is not unique there is taken back here; the error says why."""
    world = World(4)
    master(world)
    operator(world, "op", "10.0.0.2", "c")
    other = member(world, "late", "10.0.0.3")
    world.network.cut("10.0.0.1", "10.0.0.3")
    world.run(other, "blockchain delete local file")  # it knows of nobody
    world.network.heal("10.0.0.1", "10.0.0.3")
    id = world.nodes["op"].ledger.policies.of_type("cluster")[0].id
    cluster = json.dumps({"cluster": {"name": "c", "company": "acme", "id": id}})
    policy = json.dumps({"operator": {"name": "op", "company": "acme", "cluster": id, "ip": "10.0.0.9", "port": 1}})
    world.run(other, f"blockchain add {cluster}")
    with pytest.raises(AnyLogError) as refused:
        world.run(other, f"blockchain insert where policy = {policy} and local = true and master = {MASTER}")
    assert refused.value.number == 180 and "name:op" in str(refused.value)
    assert not [each for each in other.ledger.policies.of_type("operator") if each.get("ip") == "10.0.0.9"]
    world.stop()


def test_one_answer_of_many() -> None:
    """Two operators, a first row each at the same moment: one table, and one answer of both."""
    world = World(5)
    master(world)
    one, two = operator(world, "op1", "10.0.0.2", "c1"), operator(world, "op2", "10.0.0.3", "c2")
    query = member(world, "query", "10.0.0.4")
    both = [
        node.intake.accept("town", "t", b'[{"v": 1, "w": 2.5}]', [{"v": 1, "w": 2.5}])
        if node is one
        else node.intake.accept("town", "t", b'[{"v": 123456789012, "x": "a"}]', [{"v": 123456789012, "x": "a"}])
        for node in (one, two)
    ]
    for waiting in both:
        world.wait(waiting)

    def seen() -> bool:
        try:
            return ask(world, query, "select count(*) as n from t") == [{"n": 2}]
        except AnyLogError:
            return False

    begun = world.clock.seconds()
    while not seen():
        world.advance(0.05)
        assert world.clock.seconds() - begun < 5
    assert len(query.ledger.policies.of_type("table")) == 1
    rows = ask(world, query, "select v, w, x from t order by v")
    assert rows == [{"v": 1, "w": 2.5, "x": None}, {"v": 123456789012, "w": None, "x": "a"}]
    put(world, one, "t", [{"v": 5, "new": 1}])
    begun = world.clock.seconds()
    while ask(world, query, "select count(*) as n from t") != [{"n": 3}]:
        world.advance(0.05)
        assert world.clock.seconds() - begun < 1.0
    assert ask(world, query, "select sum(v) as s, count(new) as c from t") == [{"s": 123456789018, "c": 1}]
    world.stop()


def test_a_destination_by_table() -> None:
    """Of the operators of a table that share a cluster one is asked: rows they both hold are not counted twice."""
    world = World(5)
    master(world)
    nodes = [operator(world, f"op{n}", f"10.0.1.{n}", f"cluster{n // 2}") for n in range(4)]
    asking = member(world, "query", "10.0.2.1")
    for node in nodes:
        put(world, node, "t", [{"v": 1}])
    world.until(lambda: len(asking.clusters.shares("town", "t")) == 2)
    world.advance(2)
    for named in ("", "dbms = town and table = t", "dbms = town, table = t, subset = true", "dbms = town"):
        assert ask(world, asking, "select sum(v) as s from t", named) == [{"s": 2}], named
    world.stop()


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_an_hour_off(hours: int) -> None:
    """Deadlines travel as seconds that are left, so nothing is late before it began; and the ledger is the same."""
    world = World(11)
    first = master(world)
    one, two = operator(world, "op1", "10.0.0.2", "c1", hours * 3600.0), operator(world, "op2", "10.0.0.3", "c2")
    query = member(world, "query", "10.0.0.4", hours * -3600.0)
    for node in (one, two):
        put(world, node, "t", [{"v": 1}])
    world.advance(1.0)
    world.until(lambda: query.ledger.version == first.ledger.version == one.ledger.version, 5)
    assert ask(world, query, "select count(*) as n from t") == [{"n": 2}]
    result = world.run(query, "run client (operator, timeout = 2) get metadata version")
    assert set(result.data.values()) == {first.ledger.version}
    world.stop()


@pytest.mark.parametrize("seed", range(6))
def test_storm(seed: int) -> None:
    """Links fall silent, break and heal while policies are inserted everywhere: all end with the same ledger, and
    with every policy whose insert was answered."""
    world = World(100 + seed)
    chance = world.chance
    first = master(world)
    nodes = [member(world, f"n{number}", f"10.0.1.{number + 1}") for number in range(5)]
    hosts = ["10.0.0.1", *(f"10.0.1.{number + 1}" for number in range(5))]
    answered = []
    for number in range(40):
        what, (one, other) = chance.choice(("cut", "reset", "heal", "none")), chance.sample(hosts, 2)
        if what != "none":
            getattr(world.network, what)(one, other)
        policy = json.dumps({"device": {"name": f"d{number}"}})
        node = chance.choice(nodes)
        asked = world.begin(node, f"blockchain insert where policy = {policy} and local = true and master = {MASTER}")
        asked.addCallback(lambda _, number=number: answered.append(f"d{number}")).addErrback(lambda _: None)
        world.advance(chance.uniform(0.0, 8.0))
    for one in hosts:
        for other in hosts:
            if one < other:
                world.network.heal(one, other)
    world.until(
        lambda: len({node.ledger.version for node in world.nodes.values()}) == 1 and not first.ledger.waiting(), 300
    )
    world.advance(70)
    assert len({node.ledger.version for node in world.nodes.values()}) == 1, seed
    names = {policy.get("name") for policy in first.ledger.policies}
    assert set(answered) <= names and len(answered) == 40, (seed, len(answered), set(answered) - names)
    assert not any(node.ledger.waiting() for node in world.nodes.values())
    world.stop()
