"""A node becomes the master when the table of the ledger is there, however often that is looked for at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from anylog.ledger.master import Master
from anylog.node import Node
from anylog.testing.world import World

CONNECT = "connect dbms blockchain where type = sqlite and memory = true"
CREATE = "create table ledger where dbms = blockchain"


@pytest.fixture
def world() -> Iterator[World]:
    made = World(1)
    yield made
    made.stop()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Deferred[None]]:
    """Whoever reads the table hears of it when its part of this list fires."""
    waiting: list[Deferred[None]] = []
    load = Master.load

    def late(master: Master) -> Deferred[None]:
        loaded = load(master)
        waiting.append(Deferred())
        return waiting[-1].addCallback(lambda _: loaded)

    monkeypatch.setattr(Master, "load", late)
    return waiting


def begin(world: World) -> Node:
    node = world.add("m", "10.0.0.1")
    world.run(node, CONNECT)
    return node


def test_twice_at_once(world: World, held: list[Deferred[None]]) -> None:
    """What was pushed to the first is known to the one that answers from then on."""
    node = begin(world)
    first, second = world.begin(node, CREATE), world.begin(node, CREATE)
    world.until(lambda: len(held) == 2)
    held[0].callback(None)
    world.wait(first)
    master = node.membership.master
    assert master is not None
    world.wait(master.push([{"config": {"id": "x", "name": "one"}}]))
    held[1].callback(None)
    world.wait(second)
    assert node.membership.master is not None
    assert "x" in node.membership.master.policies


def test_disconnected_meanwhile(world: World, held: list[Deferred[None]]) -> None:
    """A database that is gone by then answers for nobody, and the next one of that name does."""
    node = begin(world)
    opening = world.begin(node, CREATE)
    world.until(lambda: bool(held))
    world.run(node, "disconnect dbms blockchain")
    held[0].callback(None)
    world.wait(opening)
    assert node.membership.master is None
    world.run(node, CONNECT)
    opening = world.begin(node, CREATE)
    world.until(lambda: len(held) == 2)
    held[1].callback(None)
    world.wait(opening)
    assert node.membership.master is not None
    (outcome,) = world.wait(node.membership.master.push([{"config": {"id": "x", "name": "one"}}]))
    assert outcome.code == 0
