"""What other nodes may do before and after `set authentication off` (security.md 2, 8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pair import B, pair, refused

from anylog.node import Node
from anylog.testing.world import World


@pytest.fixture
def world() -> Iterator[World]:
    yield from pair(11)


@pytest.fixture
def a(world: World) -> Node:
    return world.nodes["a"]


@pytest.fixture
def b(world: World) -> Node:
    return world.nodes["b"]


CHANGES = (
    "connect dbms town where type = sqlite and memory = true",
    "place = roof",
    "set node name other",
    "reset event log",
)


@pytest.mark.parametrize("command", CHANGES)
def test_changes(world: World, a: Node, b: Node, command: str) -> None:
    """Refused while nothing was said, or of users of REST alone; served after `off`."""
    assert refused(world, a, f"run client ({B}) {command}").number == 212
    world.run(b, "set user authentication off")
    assert refused(world, a, f"run client ({B}) {command}").number == 212
    world.run(b, "set authentication off")
    world.run(a, f"run client ({B}) {command}")
    if command == "place = roof":
        assert world.run(b, "!place").text == "roof"


@pytest.mark.parametrize(
    "command",
    [
        "system ls", "python 1 + 1", "subprocess ls", "thread a.al", "exit node", "set debug on", "get stack trace",
        "set authentication off", "set file access where any = true", "set anylog home /", "set cli off",
        "schedule time = 1 minute task system ls", "task run where id = 1",
        "watch_dir = /etc", "blockchain_file = /etc/passwd", "set archive_dir = /", "local_scripts = /tmp",
        "blockchain pull to json /etc/x.json", "blockchain update file /etc/passwd",
        "blockchain load metadata where dest = x",
        "connect dbms /etc/town where type = sqlite", "connect dbms ../town where type = sqlite",
        "run telnet server where internal_port = 7000", "process /etc/passwd", "process ../../node.id",
        "file move ../node.id x", "file compress /etc/passwd", "file delete local_scripts/start.al",
    ],
)  # fmt: skip
def test_only_here(world: World, a: Node, b: Node, command: str) -> None:
    """What runs programs, moves directories or leads out of them stays a matter of the machine itself."""
    world.run(b, "set authentication off")
    assert refused(world, a, f"run client ({B}) {command}").number in (112, 212), command


def test_scripts(world: World, a: Node, b: Node) -> None:
    """A script that lies where scripts lie may be run, and has no more rights than who runs it."""
    folder = b.places.folder("local_scripts")
    scripts = {"good.al": "process more.al\n", "more.al": "place = north\n", "bad.al": "system ls\n"}
    for name, text in scripts.items():
        b.disk.publish(folder / name, text.encode())
    assert refused(world, a, f"run client ({B}) process good.al").number == 212
    world.run(b, "set authentication off")
    world.run(a, f"run client ({B}) process good.al")
    assert world.run(b, "!place").text == "north"
    assert refused(world, a, f"run client ({B}) process bad.al").number == 212


def test_shown(world: World, b: Node) -> None:
    """`get authentication` tells, and the log of events has what it means."""
    assert "refused" in (world.run(b, "get authentication").text or "")
    world.run(b, "set node authentication off")
    assert "Node authentication: OFF, User authentication: not" in (world.run(b, "get authentication").text or "")
    assert "may change this node" in (world.run(b, "get event log").text or "")
