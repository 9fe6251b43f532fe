"""`trace level` of commands and of questions between nodes (language.md 9.9, monitoring.md 9, network.md 8.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pair import A, B, pair, refused
from twisted.logger import formatEvent, globalLogPublisher

from anylog.testing.world import World


@pytest.fixture
def world() -> Iterator[World]:
    yield from pair(12)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is traced meanwhile."""
    found: list[str] = []

    def heard(event: dict[str, Any]) -> None:
        if (text := formatEvent(event)).startswith("trace: "):
            found.append(text)

    globalLogPublisher.addObserver(heard)  # type: ignore[arg-type]
    yield found
    globalLogPublisher.removeObserver(heard)  # type: ignore[arg-type]


def test_commands(world: World, lines: list[str]) -> None:
    """Each time one that begins with the words is run: by whom, and what came of it; without secrets."""
    a = world.nodes["a"]
    world.run(a, "trace level = 1 get processes", "get  Processes", "get status")
    assert lines == ["trace: test: get  Processes --> ok"]
    world.run(a, "trace level = 1 connect dbms", "trace level = 1 get nod")
    assert refused(world, a, "connect dbms town where type = psql and password = geheim").number == 237
    assert len(lines) == 2 and "Not supported" in lines[1] and "geheim" not in lines[1]
    world.run(a, "get node name")
    assert len(lines) == 2, "words, not letters"
    world.run(a, "trace level = 1 get node", "get node name")
    assert lines[2:] == ["trace: test: get node name --> ok"]
    world.run(a, "trace level = 0 get processes", "get processes")
    assert len(lines) == 3
    long = f'place = "{"x" * 300}"'
    world.run(a, "trace level = 0", "trace level = 1", long)
    assert lines[3:] == ["trace: test: trace level = 1 --> ok", f"trace: test: {long[:200]} --> ok"]
    world.run(a, "trace level = 2", long)
    assert lines[-1] == f"trace: test: {long} --> ok"
    world.run(a, "trace level = 0", "get processes")
    assert "get processes" not in lines[-1]


def test_questions(world: World, lines: list[str]) -> None:
    """Those to others here, those of others there."""
    a, b = world.nodes["a"], world.nodes["b"]
    world.run(a, "trace level = 1 tcp out", f"run client ({B}) get status")
    assert lines == [f"trace: tcp out: command to {B}, 0 bytes"]
    world.run(b, "trace level = 1 tcp", f"run client ({A}) get status")
    world.run(a, f"run client ({B}) get status")
    assert lines[1:] == [
        f"trace: tcp out: command to {A}, 0 bytes",
        f"trace: tcp out: command to {B}, 0 bytes",
        f"trace: tcp in: command from {A}, 0 bytes",
    ]
    world.run(a, "trace level = 0")
    world.run(b, "trace level = 0 tcp in")
    world.run(a, f"run client ({B}) get status")
    assert len(lines) == 4
