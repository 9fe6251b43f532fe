"""`run client` between whole nodes: replies, variables, failures, chains (network.md 5 to 8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.testing.world import World

A, B, DEAD = "10.0.0.1:32148", "10.0.0.2:32148", "10.0.0.9:32148"


@pytest.fixture
def world() -> Iterator[World]:
    made = World(1)
    for name, host in (("a", "10.0.0.1"), ("b", "10.0.0.2")):
        made.run(
            made.add(name, host), f"run tcp server where external_ip = {host} and external_port = 32148 and bind = true"
        )
    yield made
    made.stop()
    assert not [call for call in made.clock.getDelayedCalls() if call.active()]


@pytest.fixture
def a(world: World) -> Node:
    return world.nodes["a"]


def test_one_and_several(world: World, a: Node) -> None:
    """One destination or more, this very node among them; the text says who answered."""
    result = world.run(a, f"run client ({B}) get status")
    assert result.data == {B: f"b@{B} running"} and result.text == f"[From Node {B}]\r\nb@{B} running"
    result = world.run(a, f"run client ({A}, {B}) get node name")
    assert result.data == {A: f"a@{A}", B: f"b@{B}"}
    assert all(not job.active for job in a.jobs)


def test_variables(world: World, a: Node) -> None:
    """One reply, a list, pairs, or by address (decisions 15)."""
    for left, wanted in (("x", f"b@{B}"), ("x[]", [[B, f"b@{B}"]]), ("x{}", {B: f"b@{B}"})):
        world.run(a, f"{left} = run client ({B}) get node name")
        assert a.dictionary.get("x") == wanted, left
    world.run(a, f"x = run client ({A}, {B}) get node name")
    assert a.dictionary.get("x") == [f"a@{A}", f"b@{B}"]
    world.run(a, f"x{{}} = run client ({B}) get status where format = json")
    assert world.run(a, f"!x[{B}][Status]").text == f"b@{B} running"


def test_references(world: World, a: Node) -> None:
    """`!key` is of the node that asks, `!!key` of the one that answers; a quoted text is one command."""
    world.run(a, "where = here")
    world.run(world.nodes["b"], "where = there")
    result = world.run(a, f"run client ({B}) get status where format = json and include = !!where")
    assert result.data[B]["where"] == "there"
    assert world.run(a, f'run client ({B}) "get node name"').data == {B: f"b@{B}"}


def test_failures(world: World, a: Node) -> None:
    """Without subset the first failure is the error and names its node; with it the others' replies are given."""
    for command, number, node in [
        (f"run client ({DEAD}, {B}) get status", 208, DEAD),
        (f"run client ({B}) set node name x", 212, B),
        (f"run client ({B}) no such command", 1, B),
    ]:
        with pytest.raises(AnyLogError) as refused:
            world.run(a, command)
        assert (refused.value.number, refused.value.node) == (number, node), command
        assert node in str(refused.value) and refused.value.http == 502, command
    result = world.run(a, f"run client ({DEAD}, {B}, subset = true) get node name")
    assert result.data == {DEAD: "Not responding", B: f"b@{B}"} and "Not responding" in (result.text or "")
    result = world.run(a, f"run client ({A}, {B}, subset = true) no such command")
    assert [str(said).startswith("Unrecognized Command") for said in result.data.values()] == [True, True]
    world.run(a, f"x{{}} = run client ({DEAD}, {B}, subset = true) get node name")
    assert [world.run(a, f"!x.{cast}").text for cast in ("len", "replies", "diff")] == ["2", "1", "1"]
    assert world.nodes["b"].name == "b"
    world.run(a, 'blockchain insert where policy = {"device": {"name": "shed"}} and local = true')
    for command, number in [
        ("run client (!nothing) get status", 155),
        ("run client () get status", 155),
        ("run client (blockchain get device bring [*][name]) get status", 20),
        ("run client (blockchain get device bring [*][name]) sql town select x from y", 20),
    ]:
        with pytest.raises(AnyLogError) as refused:
            world.run(a, command)
        assert refused.value.number == number


def test_time_is_over(world: World, a: Node) -> None:
    """A node that works too long is given up after the time that was given, and told so."""
    begun = world.clock.seconds()
    with pytest.raises(AnyLogError) as late:
        world.run(a, f"run client ({B}, timeout = 2) wait 100")
    assert late.value.number == 26 and world.clock.seconds() - begun < 2.5
    world.advance(1)
    assert not any(job.active for job in a.jobs)


def test_a_silent_link(world: World, a: Node) -> None:
    """Without any limit it is noticed within ten seconds that nobody is there any more."""
    world.run(a, f"run client ({B}) get status")
    begun = world.clock.seconds()
    waiting = world.begin(a, f"run client ({B}) wait 100")
    world.advance(1)
    world.network.cut("10.0.0.1", "10.0.0.2")
    with pytest.raises(AnyLogError) as silent:
        world.wait(waiting)
    assert silent.value.number == 15 and world.clock.seconds() - begun < 11
    states = {row["Address"]: row["Status"] for row in world.run(a, "get members status").data}
    assert states[B] == "not responding"
    world.network.heal("10.0.0.1", "10.0.0.2")
    world.until(lambda: a.peers.state(B).active, 20)  # type: ignore[union-attr]


def test_chains(world: World, a: Node) -> None:
    """A question may come back to the node that asked, and a circle ends."""
    result = world.run(a, f"run client ({B}) run client ({A}) get node name")
    assert f"a@{A}" in str(result.data)
    circle = "get node name"
    for number in range(12):
        circle = f"run client ({(A, B)[number % 2]}) {circle}"
    with pytest.raises(AnyLogError):
        world.run(a, circle)


def test_more_than_the_pool(world: World, a: Node) -> None:
    """Commands beyond the pool of the other node wait for their turn, and all are answered."""
    asked = [world.begin(a, f"run client ({B}) wait 1") for _ in range(20)]
    for each in asked:
        world.wait(each)
    assert not any(job.active for job in a.jobs)


def test_job_stop(world: World, a: Node) -> None:
    """A job that is stopped ends for the asker and for the node that works."""
    waiting = world.begin(a, f"run client ({B}) wait 1000")
    waiting.addErrback(lambda failure: failure.value)
    world.advance(1)
    (job,) = [job for job in a.jobs if job.active]
    assert world.run(a, f"job stop {job.slot}").data == {f"job {job.slot} status": "stopped"}
    assert isinstance(world.wait(waiting, 5), AnyLogError)
    with pytest.raises(AnyLogError):
        world.run(a, f"job stop {job.slot}")
