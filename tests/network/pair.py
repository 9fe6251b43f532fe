"""Two nodes that know each other, for tests of what one asks of the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.testing.world import World

A, B = "10.0.0.1:32148", "10.0.0.2:32148"


def pair(seed: int) -> Iterator[World]:
    """Nodes `a` and `b`; nothing of theirs waits for its time when they have ended."""
    made = World(seed)
    for name, host in (("a", "10.0.0.1"), ("b", "10.0.0.2")):
        made.run(made.add(name, host), f"run tcp server where internal_ip = {host} and internal_port = 32148")
    yield made
    made.stop()
    assert not [call for call in made.clock.getDelayedCalls() if call.active()]


def refused(world: World, node: Node, command: str) -> AnyLogError:
    """The error of a command."""
    with pytest.raises(AnyLogError) as error:
        world.run(node, command)
    return error.value
