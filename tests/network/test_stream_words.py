"""Words of data in on a whole node: `stream`, clients by their numbers and their pool, the trace of servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.language.interpreter import collected
from anylog.testing.world import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World(1613)
    made.add("town", "10.0.0.1")
    made.run(made.nodes["town"], "connect dbms town where type = sqlite and memory = true")
    yield made
    made.end()


def asked(world: World, table: str) -> Any:
    node = world.nodes["town"]
    text = f'sql town format = json and stat = false "select value from {table}"'
    pages = world.run(node, text).pages
    assert pages is not None
    return [row["value"] for row in json.loads(world.wait(Deferred.fromCoroutine(collected(pages))))["Query"]]


def test_rows(world: World) -> None:
    """One object, a list, a key; the word `where` in a text is a text."""
    node = world.nodes["town"]
    for line in (
        'stream {"value": "a where b"} where dbms = town and table = T-1',
        'stream [{"value": 2}, {"value": 3}] where dbms=town and table=t2',
        'insight = {"value": 4}',
        "stream !insight where dbms = town and table = t2",
    ):
        world.run(node, line)
    world.advance(2)
    assert (asked(world, "t_1"), asked(world, "t2")) == (["a where b"], [2, 3, 4])


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("stream", 2),
        ('stream {"v": 1}', 2),
        ("stream where dbms = town and table = t", 2),
        ('stream {"v": 1} where dbms = town', 2),
        ('stream {"v": 1} where dbms = town and tabel = t', 2),
        ("stream !nothing where dbms = town and table = t", 87),
        ("stream 7 where dbms = town and table = t", 6),
        ('stream {"v": where dbms = town and table = t', 2),
    ],
)
def test_refused(world: World, line: str, number: int) -> None:
    """By what is wrong with it."""
    with pytest.raises(AnyLogError) as error:
        world.run(world.nodes["town"], line)
    assert error.value.number == number, str(error.value)


def test_trace(world: World) -> None:
    """Of servers that run, as long as it is wanted."""
    node = world.nodes["town"]
    servers = ("run rest server", "run message broker")
    for port, words in enumerate(servers, 7001):
        with pytest.raises(AnyLogError, match="nothing to trace"):
            world.run(node, f"trace level = 2 {words}")
        world.run(node, f"{words} where internal_ip = 10.0.0.1 and internal_port = {port}")
        world.run(node, f"trace level = 2 {words}")
    rest: Any = node.processes.find("rest")
    broker: Any = node.processes.find("broker")
    assert world.run(node, "trace level").text == "run rest server: 2\r\nrun message broker: 2"
    assert (rest.options.trace, broker.trace) == (2, True)
    world.run(node, "trace level = 1 run rest server", "trace level = 1 run message broker")
    assert (rest.options.trace, broker.trace) == (1, False)
    world.run(node, "trace level = 0")
    assert (rest.options.trace, world.run(node, "trace level").text) == (0, "nothing is traced")


def test_clients_by_number(world: World) -> None:
    """Shown and ended one by one; a pool that is none is neither made nor ended, and the clients go on."""
    node = world.nodes["town"]
    for topic in ("a", "b", "c"):
        world.run(node, f"run msg client where broker = local and topic = (name = {topic} and flush = true)")

    def shown(text: str) -> list[int]:
        return [each["Subscription"] for each in world.run(node, text).data]

    assert shown("get msg clients") == [1, 2, 3]
    for text in ("get msg client 2", "get msg client statistics 2", "get msg client detailed 02"):
        assert shown(text) == [2], text
    assert "Topics" not in world.run(node, "get msg client statistics 2").data[0]
    assert "Directories" in world.run(node, "get msg client detailed 2").data[0]
    for text in ("set msg client pool 4", "exit msg client pool"):
        assert "no pool" in str(world.run(node, text).text)
    assert shown("get msg client") == [1, 2, 3]
    world.run(node, "exit mqtt 2")
    assert shown("get msg client") == [1, 3]
    for text, number in (
        ("get msg client 0", 2),
        ("get msg client 1 3", 2),
        ("get msg client 1 statistics", 2),
        ("get msg client two", 2),
        ("exit mqtt two", 2),
        ("exit msg client", 2),
        ("set msg client pool none", 175),
        ("run uns streamer where frequency = 0", 175),
        ("run uns streamer where frequncy = 3", 2),
    ):
        with pytest.raises(AnyLogError) as error:
            world.run(node, text)
        assert error.value.number == number, text
    world.run(node, "EXIT MQTT")
    assert shown("get msg client") == []
    assert node.processes.find("mqtt") is None


def test_values_of_the_namespace(world: World) -> None:
    """While `run uns streamer` runs there are rows of parents, beside those of each value."""
    node = world.nodes["town"]
    world.run(
        node,
        "run message broker where internal_ip = 10.0.0.1 and internal_port = 7001",
        "run msg client where broker = local and topic = (name = plant/# and dbms = town and dynamic = true)",
        "mqtt publish where broker = local and topic = plant/pump/value and message = 1",
        "run uns streamer where frequency = 3",
    )
    for number in (2, 3):
        world.run(node, f"mqtt publish where broker = local and topic = plant/pump/value and message = {number}")
    world.advance(4)
    world.run(node, "exit uns streamer")
    world.advance(2)
    assert (asked(world, "value"), asked(world, "pump")) == ([1, 2, 3], [3])
    assert node.processes.find("uns streamer") is None
