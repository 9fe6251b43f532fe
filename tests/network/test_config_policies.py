"""A node is configured from a policy of the ledger: its services, then its commands (metadata.md 9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.node import Node
from anylog.testing.world import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World(5)
    yield made
    made.stop()


def keep(world: World, node: Node, **body: Any) -> None:
    """A policy of the local ledger."""
    world.run(node, f"blockchain add {json.dumps({body.pop('type', 'config'): body})}")


def refused(world: World, node: Node, command: str) -> AnyLogError:
    with pytest.raises(AnyLogError) as refusal:
        world.run(node, command)
    return refusal.value


def test_services_and_script(world: World) -> None:
    """Addresses are of this node, the script runs in order; a second time is no error and changes nothing."""
    node = world.add("n", "10.0.0.5")
    world.run(node, "my_port = 32148", "own = 10.0.0.5", "tcp_bind = true")
    script = ["set node name gate", "if 1 == 2 then shown = no", "else shown = yes", "run streamer"]
    keep(world, node, id="c", name="gate", ip="!own", local_ip="10.0.0.5", port="!my_port.int", rest_port=32149,
         tcp_bind="!tcp_bind", tcp_threads=3, broker_port="32150", broker_ip="!own", script=script)  # fmt: skip
    world.run(node, "config from policy where id = c")
    tcp: Any = node.processes.find("tcp")
    rest: Any = node.processes.find("rest")
    broker: Any = node.processes.find("broker")
    assert tcp.addresses() == ("10.0.0.5:32148",) * 3 and tcp.options.threads == 3
    assert rest.options.internal_port == 32149 and not rest.options.bind and rest.options.threads == 5
    assert broker.addresses() == ("10.0.0.5:32150",) * 3
    assert node.name == "gate" and node.dictionary.get("shown") == "yes"
    assert node.processes.find("streamer") is not None
    (row,) = world.run(node, "get config policies where format = json").data
    assert (row["Policy ID"], row["Policy Name"], row["Status"], row["Error"]) == ("c", "gate", "Completed", 0)
    world.run(node, "policy c")
    assert (node.processes.find("tcp"), node.processes.find("rest"), node.processes.find("broker")) == (
        tcp,
        rest,
        broker,
    )
    assert "Completed" in world.run(node, "get config policies").text


def test_other_settings(world: World) -> None:
    """A service with other settings is started anew, also if it carries the question."""
    node = world.add("n", "10.0.0.5")
    keep(world, node, id="c", name="c", ip="10.0.0.5", port=32148, rest_port=32149)
    world.run(node, "config from policy where id = c")
    tcp: Any = node.processes.find("tcp")
    rest: Any = node.processes.find("rest")
    assert tcp.options.bind, "with one address alone it is bound to it"
    world.run(node, "blockchain delete policy where id = c and local = true")
    keep(world, node, id="c", name="c", ip="10.0.0.5", local_ip="10.0.0.5", port=32148, rest_port=32159)
    asked = node.execute("config from policy where id = c", Context(origin="rest", who="test"))
    world.wait(asked)
    assert node.processes.find("tcp") is not tcp and not node.processes.find("tcp").options.bind  # type: ignore[union-attr]
    assert node.processes.find("rest") is rest, "the answer is not out yet"
    world.advance(1.0)
    again: Any = node.processes.find("rest")
    assert again is not rest and again.options.internal_port == 32159


def test_script_that_fails(world: World) -> None:
    """The first command that fails ends it and is named with its line; `on error ignore` goes on; it is noted."""
    node = world.add("n", "10.0.0.5")
    keep(world, node, id="c", name="bad", script=["a = 1", "connect dbms x where type = nosuch", "b = 2"])
    error = refused(world, node, "config from policy where id = c")
    assert "Policy c line 2: connect dbms x where type = nosuch" in str(error)
    assert node.dictionary.get("a") == "1" and node.dictionary.get("b") is None
    (row,) = world.run(node, "get config policies where format = json").data
    assert row["Status"] == "Failed" and row["Error"] == error.number and "line 2" in row["Message"]
    keep(world, node, id="d", name="good", script=["on error ignore", "connect dbms x where type = nosuch", "b = 2"])
    world.run(node, "config from policy where name = good")
    assert node.dictionary.get("b") == "2"
    keep(world, node, id="e", name="jumps", script=["goto end", "c = 1", ":end:", "d = 1", "end script", "e = 1"])
    world.run(node, "config from policy where id = e")
    assert [node.dictionary.get(key) for key in "cde"] == [None, "1", None]


def test_a_script_as_text(world: World) -> None:
    """A bracketed text is a list; references in the commands are of the moment at which they run."""
    node = world.add("n", "10.0.0.5")
    keep(world, node, id="t", name="t", script="[a = 1, b = !a]")
    world.run(node, "config from policy where id = t")
    assert node.dictionary.get("b") == "1"


def test_given(world: World) -> None:
    """A policy that is not on the ledger, by key or as text; it needs an id."""
    node = world.add("n", "10.0.0.5")
    world.run(
        node, 'p = {"config": {"id": "x", "name": "x", "script": ["a = 1"]}}', "config from policy where policy = !p"
    )
    assert node.dictionary.get("a") == "1"
    assert refused(world, node, 'config from policy where policy = {"config": {"script": ["a = 2"]}}').number == 170


def test_refused(world: World) -> None:
    """None, several, no conditions, no settings, wrong ones; itself; and from elsewhere nothing at all."""
    node = world.add("n", "10.0.0.5")
    for ident in "ab":
        keep(world, node, id=ident, name="same", script=["x = 1"])
    keep(world, node, id="n", name="nothing")
    keep(world, node, id="p", name="p", port=99999, ip="10.0.0.5")
    keep(world, node, id="q", name="q", port=32148, ip="!nowhere")
    keep(world, node, id="r", name="r", rest_port=32149)
    keep(world, node, id="s", name="s", script={"a": 1})
    keep(world, node, id="f", name="f", port=32148, ip="10.0.0.5", tcp_bind="perhaps")
    keep(world, node, id="u", name="u", rest_port=32149, ip="10.0.0.5", rest_timeout="long")
    keep(world, node, id="i", name="i", script=["config from policy where id = i"])
    for asked, number in [
        ("where id = nosuch", 113),
        ("where name = same", 215),
        ("", 2),
        ("where", 2),
        ("where id = !nothing", 2),
        ("where id = a bring [name]", 2),
        ("where id = n", 33),
        ("where id = p", 87),
        ("where id = q", 2),
        ("where id = r", 2),
        ("where id = s", 87),
        ("where id = f", 87),
        ("where id = u", 87),
        ("where id = i", 3),
    ]:
        assert refused(world, node, f"config from policy {asked}").number == number, asked
    assert refused(world, node, "policy nosuch").number == 113
    assert node.processes.find("tcp") is None and node.dictionary.get("x") is None
    waited = node.execute("config from policy where id = a", Context(origin="rest", local=False))
    with pytest.raises(AnyLogError) as refusal:
        world.wait(waited)
    assert refusal.value.number == 212


def test_settings_that_cannot_be_had(world: World) -> None:
    """A service that cannot be started with the settings of a policy runs as before: else nobody could mend it."""
    node = world.add("n", "10.0.0.5")
    keep(world, node, id="good", ip="10.0.0.5", port=32148, rest_port=32149, rest_ip="10.0.0.5", broker_port=32150)
    world.run(node, "config from policy where id = good")
    for name, body in [
        ("tcp", {"port": 32150}),
        ("rest", {"rest_port": 32150, "rest_ip": "10.0.0.5"}),
        ("broker", {"broker_port": 32149, "broker_ip": "10.0.0.5"}),
    ]:
        before: Any = node.processes.find(name)
        keep(world, node, id=name, ip="10.0.0.5", **body)
        assert f"{name} runs as before" in str(refused(world, node, f"config from policy where id = {name}"))
        after: Any = node.processes.find(name)
        assert after is not before and after.options == before.options

    world.wait(node.execute("config from policy where id = rest", Context(origin="rest", who="test")))
    world.advance(1)
    assert node.processes.find("rest") is not None
    told = world.run(node, "get config policies where format = json").data[-1]
    assert (told["Policy ID"], told["Status"]) == ("rest", "Failed")
    assert "rest runs as before" in told["Message"]


def test_exit_scripts(world: World) -> None:
    """In the script of a policy it ends the scripts that asked for the policy, too."""
    node = world.add("n", "10.0.0.5")
    keep(world, node, id="last", script=["a = 1", "exit scripts", "b = 1"])
    lines = ["config from policy where id = last", "c = 1"]
    world.wait(Deferred.fromCoroutine(node.process_lines("outer", lines, Context(origin="console", who="test"))))
    assert [node.dictionary.get(key) for key in "abc"] == ["1", None, None]
