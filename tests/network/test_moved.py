"""Members hear that the ledger has changed: soon, and not for each change (metadata.md 7)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from anylog.membership import SPREAD, TELL
from anylog.testing.world import World
from anylog.waiting import deferring

MASTER = "10.0.0.1:32048"


@pytest.fixture
def world() -> Iterator[World]:
    made = World(7)
    for name, host in (("m", "10.0.0.1"), ("b", "10.0.0.2")):
        made.run(made.add(name, host), f"run tcp server where internal_ip = {host} and internal_port = 32048")
    made.run(
        made.nodes["m"],
        "connect dbms blockchain where type = sqlite and memory = true",
        "create table ledger where dbms = blockchain",
    )
    made.run(
        made.nodes["b"],
        f"run blockchain sync where source = master and time = 1 hour and dest = file and connection = {MASTER}",
    )
    yield made
    made.stop()
    assert not [call for call in made.clock.getDelayedCalls() if call.active()]


def test_many_changes(world: World) -> None:
    """One change is told at once, many beside each other with some time between; the last one is always told."""
    master, member = world.nodes["m"], world.nodes["b"]
    heard: list[tuple[float, str]] = []

    @deferring
    async def moved(head: Any, body: bytes, asker: Any) -> Any:
        heard.append((world.clock.seconds(), str(head["version"])))
        return await told(head, body, asker)

    told = member.peers._handlers["moved"]
    member.peers.serve("moved", moved)
    world.advance(2)
    begin = world.clock.seconds()
    world.run(master, 'blockchain push {"site": {"name": "first"}}')
    world.advance(0.05)
    assert len(heard) == 1 and heard[0][0] - begin < 2 * TELL, heard
    for number in range(100):
        world.run(master, f'blockchain push {{"site": {{"name": "s{number}"}}}}')
        world.advance(0.01)
    seconds = world.clock.seconds() - begin
    world.advance(2 * SPREAD)
    times = [at for at, _ in heard]
    assert seconds / SPREAD / 2 <= len(heard) <= seconds / SPREAD + 3, (seconds, len(heard))
    assert min(after - before for before, after in pairwise(times)) > SPREAD / 2
    assert master.master is not None and heard[-1][1] == master.master.version
    world.advance(1)
    assert member.ledger.version == master.master.version
