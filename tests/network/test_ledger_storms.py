"""The master dies and comes back while three nodes insert and delete: all end with one ledger (metadata.md 7.3)."""

from __future__ import annotations

import json
from random import Random

import pytest
from test_world import MASTER, SYNC, door
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.testing.world import World

NODES = ("one", "two", "three")
SCRIPT = (
    door("10.0.0.1", 32048),
    "connect dbms blockchain where type = sqlite",
    "create table ledger where dbms = blockchain",
    SYNC.replace("60 seconds", "5 seconds"),
)


def insert(world: World, node: Node, name: str) -> bool:
    """Whether it was acknowledged, here or at the master."""
    policy = json.dumps({"device": {"id": name, "name": name, "from": node.name}})
    try:
        world.run(node, f"blockchain insert where policy = {policy} and local = true and master = {MASTER}")
    except AnyLogError:
        return False
    return True


def delete(world: World, node: Node, name: str) -> bool:
    """Whether it was acknowledged."""
    try:
        world.run(node, f"blockchain delete policy where id = {name} and local = true and master = {MASTER}")
    except AnyLogError:
        return False
    return True


def _settled(world: World) -> bool:
    """Whether all nodes have what the master has."""
    master = world.nodes["master"].master
    return master is not None and all(node.ledger.version == master.version for node in world.nodes.values())


@pytest.mark.parametrize("seed", range(6))
def test_master_dies(seed: int) -> None:
    """What was inserted is on all, what was deleted is on none, and the version is one."""
    world, chance = World(seed), Random(seed)
    world.add("master", "10.0.0.1", script=SCRIPT, lasting=True)
    for number, name in enumerate(NODES, 2):
        world.add(name, f"10.0.0.{number}", chance.choice([0.0, -40.0, 7.0]))
        world.run(world.nodes[name], door(f"10.0.0.{number}", 32148), SCRIPT[-1])
    inserted: set[str] = set()
    deleted: set[str] = set()
    down = 0
    for step in range(120):
        if "master" in world.nodes and chance.random() < 0.06:
            world.crash("master", power=chance.random() < 0.5)
            down += 1
        elif "master" in world.nodes and chance.random() < 0.05:
            world.crash_after("master", chance.randrange(1, 12))
            down += 1
        elif "master" not in world.nodes and chance.random() < 0.15:
            world.wait(world.restart("master"))
        node = world.nodes[chance.choice(NODES)]
        known = [each.id for each in node.ledger.policies.of_type("device")]
        if known and chance.random() < 0.3:
            name = chance.choice(known)
            # Deleted from the moment at which it is asked for: without an answer it may be either.
            inserted.discard(name)
            if delete(world, node, name):
                deleted.add(name)
        elif insert(world, node, f"d{step}"):
            inserted.add(f"d{step}")
        world.advance(chance.choice([0.0, 0.01, 0.3, 2.0]))
    if "master" in world.nodes:
        world.crash("master")
    world.advance(30.0)
    world.wait(world.restart("master"))
    world.until(lambda: _settled(world), 120)
    for node in world.nodes.values():
        ids = {each.id for each in node.ledger.policies}
        assert not inserted - ids, (node.name, "lost")
        assert not deleted & ids, (node.name, "came back")
        assert not node.ledger.waiting()
    assert down and inserted and deleted
    world.stop()


@pytest.mark.parametrize("seed", range(6))
def test_anybody_dies(seed: int) -> None:
    """Nodes and master lose their power right after an answer; what is inserted again after a deletion is there."""
    world, chance = World(seed), Random(seed)
    world.add("master", "10.0.0.1", script=SCRIPT, lasting=True)
    for number, name in enumerate(NODES, 2):
        world.add(name, f"10.0.0.{number}", script=(door(f"10.0.0.{number}", 32148), SCRIPT[-1]), lasting=True)
    there: dict[str, str] = {}  # what is in the ledger by what nodes were told last, and who was asked
    gone: dict[str, str] = {}
    again = died = 0
    for step in range(200):
        for name in ("master", *NODES):
            if name not in world.nodes:
                if chance.random() < 0.3:
                    world.wait(world.restart(name))
            elif chance.random() < (0.03 if name == "master" else 0.1):
                world.crash(name, power=chance.random() < 0.7)
                died += 1
        node = chance.choice([*NODES, ""])
        if node not in world.nodes:
            world.advance(chance.choice([0.0, 0.05, 2.0]))
            continue
        # Only who inserted one deletes it, so that it is known which came last.
        known, buried = ([each for each, by in which.items() if by == node] for which in (there, gone))
        if known and chance.random() < 0.4:
            name = chance.choice(known)
            del there[name]
            if delete(world, world.nodes[node], name):
                gone[name] = node
        elif buried and chance.random() < 0.6:
            name = chance.choice(buried)
            del gone[name]
            if insert(world, world.nodes[node], name):
                there[name] = node
                again += 1
        elif insert(world, world.nodes[node], f"{node}{step}"):
            there[f"{node}{step}"] = node
        world.advance(chance.choice([0.0, 0.0, 0.01, 0.3]))
    for name in ("master", *NODES):
        if name not in world.nodes:
            world.wait(world.restart(name))
    world.until(lambda: _settled(world), 120)
    for name, each in world.nodes.items():
        ids = {policy.id for policy in each.ledger.policies}
        assert not there.keys() - ids, (name, "lost")
        assert not gone.keys() & ids, (name, "came back")
        assert not each.ledger.waiting()
    assert died and again and there and gone
    world.stop()


@pytest.mark.parametrize("seed", range(6))
def test_many_at_once(seed: int) -> None:
    """Three at a time insert and delete at each node, over slow links: what they were told holds."""
    world, chance = World(seed), Random(seed)
    world.add("master", "10.0.0.1", script=SCRIPT, lasting=True)
    for number, name in enumerate(NODES, 2):
        world.add(name, f"10.0.0.{number}")
        world.run(world.nodes[name], door(f"10.0.0.{number}", 32148), SCRIPT[-1])
        world.network.slow("10.0.0.1", f"10.0.0.{number}", 0.001, chance.choice([0.01, 0.3, 2.0]))
    inserted: set[str] = set()
    deleted: set[str] = set()
    under_way: dict[str, int] = dict.fromkeys(NODES, 0)

    def ended(result: object, node: str, name: str, into: set[str]) -> None:
        under_way[node] -= 1
        if not isinstance(result, Failure):
            into.add(name)

    for step in range(400):
        if "master" in world.nodes and chance.random() < 0.02:
            world.crash("master", power=chance.random() < 0.5)
        elif "master" in world.nodes and chance.random() < 0.02:
            world.crash_after("master", chance.randrange(1, 12))
        elif "master" not in world.nodes and chance.random() < 0.1:
            world.wait(world.restart("master"))
        node = chance.choice([name for name in NODES if under_way[name] < 3] or [""])
        if node:
            under_way[node] += 1
            mine = sorted(name for name in inserted if name.startswith(node))
            if mine and chance.random() < 0.4:
                name = chance.choice(mine)
                inserted.discard(name)
                command, into = f"delete policy where id = {name}", deleted
            else:
                name, into = f"{node}{step}", inserted
                command = f"insert where policy = {json.dumps({'device': {'id': name, 'name': name}})}"
            world.begin(world.nodes[node], f"blockchain {command} and local = true and master = {MASTER}").addBoth(
                ended, node, name, into
            )
        world.advance(chance.choice([0.0, 0.01, 0.1, 0.5]))
    world.until(lambda: not any(under_way.values()), 120)
    world.places["master"].moments = 0
    if "master" not in world.nodes:
        world.wait(world.restart("master"))
    world.until(lambda: _settled(world), 120)
    for name in (*NODES, "master"):
        ids = {each.id for each in world.nodes[name].ledger.policies}
        assert not inserted - ids, (name, "lost")
        assert not deleted & ids, (name, "came back")
        assert not world.nodes[name].ledger.waiting()
    assert inserted and deleted
    world.stop()


def test_deleted_by_another_node_at_once() -> None:
    """What one node has inserted another one deletes before the first has looked again: it does not come back."""
    world = World(4)
    world.add("master", "10.0.0.1", script=SCRIPT, lasting=True)
    for number, name in enumerate(NODES, 2):
        world.add(name, f"10.0.0.{number}")
        world.run(world.nodes[name], door(f"10.0.0.{number}", 32148), SCRIPT[-1])
    one, two = world.nodes["one"], world.nodes["two"]
    assert insert(world, one, "stays") and insert(world, one, "goes")
    assert one.ledger.raw.get("goes").local, "it has not looked yet"  # type: ignore[union-attr]
    world.run(two, f"blockchain delete policy where id = goes and master = {MASTER}")
    world.advance(20.0)
    for node in world.nodes.values():
        assert [each.id for each in node.ledger.policies] == ["stays"], node.name
    world.stop()


def test_a_copy_in_a_database() -> None:
    """A node whose dest is dbms, too: its database loses what the master lost, and keeps what others put there."""
    world = World(6)
    world.add("master", "10.0.0.1", script=SCRIPT, lasting=True)
    node = world.add("copy", "10.0.0.2")
    world.run(
        node,
        door("10.0.0.2", 32148),
        "connect dbms blockchain where type = sqlite and memory = true",
        "create table ledger where dbms = blockchain",
        'blockchain push {"own": {"id": "own"}}',
        SCRIPT[-1].replace("dest = file", "dest = file and dest = dbms"),
    )
    assert insert(world, node, "a") and insert(world, node, "b")
    world.advance(10.0)
    assert node.master is not None
    assert {each.id for each in node.master.policies} == {"own", "a", "b"}
    assert delete(world, node, "a")
    world.run(world.nodes["master"], 'blockchain replace policy b with {"device": {"name": "other"}}')
    world.advance(10.0)
    assert {each.id: each.name for each in node.master.policies} == {"own": "", "b": "other"}
    world.stop()
