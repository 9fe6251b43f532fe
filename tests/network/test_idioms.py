"""Scripts as people write them, run by whole nodes: one each for the idioms that language.md 13 lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.node import Node
from anylog.testing.world import World

IDIOMS = Path(__file__).parent / "idioms"
B = "10.0.0.2:32148"


@pytest.fixture
def world() -> Iterator[World]:
    made = World(1)
    for name, host in (("a", "10.0.0.1"), ("b", "10.0.0.2")):
        node = made.add(name, host)
        made.run(node, f"run tcp server where external_ip = {host} and external_port = 32148 and bind = true")
        for path in IDIOMS.glob("*.al"):
            node.disk.publish(node.places.folder("local_scripts") / path.name, path.read_bytes())
    yield made
    made.stop()
    assert not [call for call in made.clock.getDelayedCalls() if call.active()]


def printed(world: World, node: Node, *commands: str) -> list[str]:
    """What is printed."""
    told: list[str] = []
    for command in commands:
        world.wait(node.execute(command, Context(origin="console", who="test", write=told.append)))
    return told


def test_declare(world: World) -> None:
    """Check, create, publish, check again: the first time it is declared, after that it is known."""
    a = world.nodes["a"]
    keys = ("device_name = pump 7", "device_port = 5", "company_name = New Company")
    assert printed(world, a, *keys, "process declare.al") == ["device pump 7 is known", "it was declared here"]
    assert printed(world, a, "process declare.al") == ["device pump 7 is known"]
    (policy,) = world.run(a, "blockchain get device").data
    assert policy["device"]["port"] == 5 and policy["device"]["company"] == "New Company"
    assert printed(world, a, "device_port = none", "device_name = pump 8", "process declare.al") == [
        "the device could not be declared"
    ]


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        ("5", "9", ["ports are good"]),
        ("9", "5", ["ports are the wrong way round", "first phase: 1"]),
        ("1", "500", ["too many ports", "first phase: 2"]),
        ("x", "5", ["ports are good"]),
    ],
)
def test_hand_back(world: World, first: str, last: str, told: list[str]) -> None:
    """The error code of a script is a key; scripts that are missing or fail leave the caller alone."""
    a = world.nodes["a"]
    said = printed(world, a, f"first_port = {first}", f"last_port = {last}", "process hand_back.al")
    assert said == [*told, "failed, as it should", "went on", "end"]


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, ["Missing: COMPANY_NAME"]),
        ({"COMPANY_NAME": "My Company"}, ["no sync", "0.0, 0.0"]),
        ({"COMPANY_NAME": "c", "ENABLE_SYNC": "TRUE"}, ["sync", "0.0, 0.0"]),
        ({"COMPANY_NAME": "c", "ENABLE_SYNC": "True", "THREADS": "9", "LOCATION": "Reno"},
         ["sync with 9 threads", "location is a name: Reno", "Reno"]),
        ({"COMPANY_NAME": "c", "ENABLE_SYNC": "yes", "THREADS": "x", "LOCATION": "1.0, 2.0"},
         ["no sync", "location is a pair: 1.0, 2.0", "1.0, 2.0"]),
    ],
)  # fmt: skip
def test_settings(world: World, environ: dict[str, str], told: list[str]) -> None:
    """From the environment to the dictionary."""
    a = world.nodes["a"]
    a.environ.update(environ)
    assert printed(world, a, "process settings.al") == told
    if environ:
        assert a.dictionary.get("default_dbms") == environ["COMPANY_NAME"].lower().replace(" ", "_")


def test_config_policy(world: World) -> None:
    """References that another node is to resolve come through as they are written."""
    a = world.nodes["a"]
    keys = ("config_name = edge", "company_name = c", "threads = 6", "node_name = north")
    told = printed(world, a, *keys, "process config_policy.al")
    script = [
        "set node name !node_name",
        "process !local_scripts/settings.al",
        "if !enable_sync == true then run blockchain sync",
    ]
    assert told == script
    (policy,) = world.run(a, "blockchain get config").data
    assert policy["config"]["script"] == script
    assert (policy["config"]["ip"], policy["config"]["threads"]) == ("!external_ip", 6)
    assert policy["config"]["port"] == "!anylog_server_port.int"


def test_monitor(world: World) -> None:
    """A thread that tells another node of this one again and again, also when that is away, until it is stopped."""
    a, b = world.nodes["a"], world.nodes["b"]
    world.run(b, "set echo queue on")
    world.run(a, "threads = 4", f"thread monitor.al {B} 5")

    def reports() -> list[str]:
        return [message.text for message in b.echoes.messages()]

    world.until(lambda: len(reports()) == 3)
    assert reports()[0] == '[From Node 10.0.0.1:32148] report {"node": "a", "count": "1", "threads": 4}'
    assert [f'"count": "{count}"' in reports()[count - 1] for count in (1, 2, 3)] == [True] * 3
    world.run(b, "exit tcp")
    world.until(lambda: int(a.dictionary.get("count")) > 4, 600)
    world.run(b, "run tcp server where external_ip = 10.0.0.2 and external_port = 32148 and bind = true")
    world.until(lambda: len(reports()) > 3, 600)
    (thread,) = world.run(a, "get threads").data
    assert (thread["status"], thread["kind"]) == ("Running", "thread")
    world.run(a, "stop all")
    count = a.dictionary.get("count")
    begin = world.clock.seconds()
    world.until(lambda: world.clock.seconds() > begin + 20)
    assert a.dictionary.get("count") == count


def test_the_end_of_a_node_ends_its_scripts(world: World) -> None:
    """Threads and scripts that wait do not hold it."""
    a = world.nodes["a"]
    world.run(a, f"thread monitor.al {B} 5")
    waiting = world.begin(a, "wait 1000")
    world.wait(a.stop())
    waiting.cancel()
    waiting.addErrback(lambda failure: None)
    assert [run.state for run in a.runs] == ["Stopped"]
    with pytest.raises(AnyLogError):
        a.runs.find(1)
