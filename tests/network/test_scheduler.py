"""Schedulers and their tasks on a whole node (scheduler-alerts.md 1 to 5)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.testing.world import World


class Desk:
    """One node, asked by its commands."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.add("town", "10.0.0.1")
        self.node: Node = world.nodes["town"]

    def __call__(self, line: str) -> Any:
        return self.world.run(self.node, line)

    def value(self, key: str) -> Any:
        value = self.node.dictionary.get(key)
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    def tasks(self, number: int = 1) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("get scheduler where format = json").data[str(number)]["tasks"]
        return found

    def errors(self) -> str:
        return json.dumps(self.node.logs.error.rows())


@pytest.fixture
def desk() -> Iterator[Desk]:
    world = World(77)
    yield Desk(world)
    world.end()


def test_repeats(desk: Desk) -> None:
    """At once, then every period; keys are replaced at each run, not when it is declared."""
    desk("schedule time = 15 seconds and name = beat task n = incr !n")
    desk("n = 0")
    assert desk.tasks()[0]["mode"] == "Paused"
    assert "Scheduler Status: Not Running" in desk("get scheduler 1").text
    desk("run scheduler")
    desk.world.advance(1)
    assert desk.value("n") == 1
    desk.world.advance(14)
    assert desk.value("n") == 2
    desk.world.advance(60)
    assert desk.value("n") == 6
    assert [(each["mode"], each["counter"], each["run_status"], each["task"]) for each in desk.tasks()] == [
        ("Active", 6, "Success", "n = incr !n")
    ]


def test_shown(desk: Desk) -> None:
    """As clients read it, and in `get processes`; secrets are hidden."""
    desk("run scheduler 1")
    desk("schedule name = a and time = 5 minutes task x = 1")
    desk("schedule name = hidden and time = 1 day and start = +1d task password = berta1")
    desk.world.advance(1)
    text = desk("get scheduler").text
    head, _, rest = text.partition("Scheduler ID:     1\r\nScheduler Status: Running\r\nScheduled Tasks\r\n")
    assert head.startswith("\r\n\r\nScheduler ID:     0\r\nScheduler Status: Running\r\nScheduled Tasks\r\n")
    assert " 1|Active|Metadata Ping|      1|Success   |" in head and "|0:1:0      |set servers ping|" in head
    assert rest.startswith("ID Mode   Name   Counter Run Status Start-Time                 Repeat-Time Task")
    assert " 1|Active|a     |      1|Success   |" in rest and "|0:5:0      |x = 1" in rest
    assert "Paused|hidden|      0|No runs" in rest and "|24:0:0     |password = ****" in rest
    assert "berta1" not in text and "berta1" not in json.dumps(desk("get scheduler where format = json").data)
    assert "Schedulers IDs in use: [0 (system)] [1 (user)]" in desk("get processes").text
    assert desk("test process scheduler").data is True
    assert desk("get scheduler 4").text == "Scheduler 4 not declared"


def test_stopped_and_again(desk: Desk) -> None:
    """Tasks stay declared; what was left out is not made up for."""
    desk("n = 0")
    desk("run scheduler")
    desk("schedule name = n and time = 10 seconds task n = incr !n")
    desk.world.advance(1)
    with pytest.raises(AnyLogError, match="Scheduler already running") as error:
        desk("run scheduler")
    assert error.value.number == 136
    desk("run scheduler 2")
    desk("exit scheduler 1")
    desk.world.advance(100)
    assert (desk.value("n"), "[2]" in desk("get processes").text) == (1, True)
    desk("run scheduler")
    desk.world.advance(1)
    assert desk.value("n") == 2
    desk("exit scheduler")
    assert desk("test process scheduler").data is False
    assert desk("exit scheduler").text == "'scheduler' is not running"
    desk.world.advance(30)
    assert desk.value("n") == 2


def test_steered(desk: Desk) -> None:
    """Stop, resume, run, init, remove, by name and by id."""
    desk("n = 0")
    desk("run scheduler")
    desk("schedule name = n and time = 10 seconds task n = incr !n")
    desk.world.advance(1)
    desk("task stop where name = n")
    desk.world.advance(30)
    assert (desk.value("n"), desk.tasks()[0]["mode"]) == (1, "Stopped")
    assert desk("task run where scheduler = 1 and id = 1").text is None and desk.value("n") == 2
    assert desk.tasks()[0]["mode"] == "Stopped"
    desk("task resume where id = 1")
    assert desk.tasks()[0]["mode"] == "Paused"
    desk.world.advance(11)
    assert (desk.value("n"), desk.tasks()[0]["mode"]) == (4, "Active")
    desk("task init where name = n and start = +1d")
    assert desk.tasks()[0]["mode"] == "Paused"
    desk.world.advance(80_000)
    assert desk.value("n") == 4
    desk.world.advance(6_410)
    assert desk.value("n") in (5, 6)
    desk("schedule task init where scheduler = 1 and name = n and start +2h")
    desk.world.advance(3600)
    assert desk.value("n") in (5, 6)
    desk("task remove where name = n")
    assert desk.tasks() == []
    desk("schedule name = n and time = 10 seconds task n = incr !n")
    assert [each["id"] for each in desk.tasks()] == [1]


def test_a_task_that_fails_comes_again(desk: Desk) -> None:
    """Its reason is told, in the error log too, and others go on."""
    desk("run scheduler")
    desk("schedule name = wrong and time = 10 seconds task connect dbms x where type = nothing")
    desk("schedule name = unknown and time = 10 seconds task no such command")
    desk("schedule name = right and time = 10 seconds task n = incr !n 2")
    desk("n = 0")
    desk.world.advance(25)
    first, second, third = desk.tasks()
    assert (first["counter"], second["counter"], third["counter"], desk.value("n")) == (3, 3, 3, 6)
    assert "nothing" in first["run_status"] and "Unrecognized" in second["run_status"]
    assert third["run_status"] == "Success"
    assert "task 'wrong'" in desk.errors() and "task 'unknown'" in desk.errors()


def test_one_after_the_other(desk: Desk) -> None:
    """In the order of ids; one that waits holds up its scheduler, not another, and never runs twice at once."""
    desk("order = start")
    desk("run scheduler")
    desk("run scheduler 2")
    desk("schedule name = slow and time = 4 seconds task wait 10")
    desk("schedule name = second and time = 4 seconds task order = !order + b")
    desk("schedule name = other and time = 4 seconds and scheduler = 2 task other = incr !other 1")
    desk("other = 0")
    desk.world.advance(9)
    assert (desk.value("order"), desk.value("other")) == ("start", 3)
    desk.world.advance(2)
    assert desk.value("order") == "startb"
    slow, second = desk.tasks()
    assert slow["counter"] <= 2 and second["counter"] == 1
    assert "others of its scheduler wait" in json.dumps(desk.node.logs.event.rows())
    desk.world.begin(desk.node, "exit scheduler")
    desk.world.advance(15)
    assert desk("test process scheduler").data is False


def test_conditions_and_scripts(desk: Desk) -> None:
    """A rule, and the alert that makes itself silent for a day."""
    script = "if !free.int < 100 then alarms = incr !alarms\ndo task init where name = disk and start = +1d\n"
    desk.world.places["town"].disk.put(desk.node.places.folder("local_scripts") / "watch.al", script.encode())
    desk("alarms = 0")
    desk("free = 500")
    desk("run scheduler")
    desk("schedule name = disk and time = 1 minute task process watch.al")
    desk("schedule name = rule and time = 1 minute task if !free.int < 100 then low = yes")
    desk.world.advance(90)
    assert (desk.value("alarms"), desk.value("low")) == (0, None)
    desk("free = 50")
    desk.world.advance(600)
    assert (desk.value("alarms"), desk.value("low")) == (1, "yes")
    desk.world.advance(86_400)
    assert desk.value("alarms") == 2


@pytest.mark.parametrize(
    ("line", "number", "text"),
    [
        ("schedule time = 5 minutes and name = x", 2, "Missing 'task'"),
        ("schedule", 2, "Missing 'task'"),
        ("schedule time = 5 minutes task", 2, "Missing scheduled command"),
        ("schedule name = x task get status", 2, "Missing 'time'"),
        ("schedule time = soon task get status", 175, "'soon' is not a value for 'time'"),
        ("schedule time = 1 day and start = then task get status", 175, "'then' is not a value for 'start'"),
        ("schedule time = 1 day and every = 2 task get status", 2, "Unknown key in command: every"),
        ("schedule time = 1 day and scheduler = 11 task get status", 175, "'11' is not a value for 'scheduler'"),
        ("schedule time = !nothing task get status", 2, "!nothing"),
        ("run scheduler 11", 2, "Scheduler ID is above limit"),
        ("run scheduler one", 175, "'one' is not the id of a scheduler"),
        ("run scheduler 1 2", 2, "unexpected '2'"),
        ("task stop where name = x", 162, "Task 'x' in scheduler '1' is not valid"),
        ("task stop", 2, "'where' is missing"),
        ("task", 2, "is none of"),
        ("task pause where name = x", 2, "'pause' is none of"),
        ("task stop where scheduler = 1", 2, "needs to be provided"),
        ("task init where name = known", 2, "Missing start date"),
        ("task stop where name = known and start = +1d", 2, "belongs to 'task init'"),
        ("schedule name = known and time = 1 day task get status", 2, "Duplicate task name: 'known'"),
        ("get scheduler x", 175, "'x' is not the id"),
    ],
)
def test_refused(desk: Desk, line: str, number: int, text: str) -> None:
    """By name of what is wrong, and nothing is declared."""
    desk("schedule name = known and time = 1 day task get status")
    with pytest.raises(AnyLogError) as error:
        desk(line)
    assert error.value.number == number and text in str(error.value), str(error.value)
    assert [each["name"] for each in desk.tasks()] == ["known"]


def test_repeatable_query(desk: Desk) -> None:
    """Each run asks for what came since the last one, so that all runs together count every row once."""
    desk("connect dbms town where type = sqlite and memory = true")
    desk('stream {"v": 1} where dbms = town and table = t')
    desk.world.advance(2)
    desk("run scheduler")
    desk(
        "schedule name = roll and time = 1 minute task found = "
        'sql town format = json and stat = false "select count(*) as n from t where insert_timestamp >= TIME(PREVIOUS)'
        ' and insert_timestamp < TIME(CURRENT)"'
    )
    counted = []
    for number in range(6):
        desk.world.advance(1)
        counted.append(json.loads(desk.value("found"))["Query"][0]["n"])
        for _ in range(number):
            desk('stream {"v": 1} where dbms = town and table = t')
        desk.world.advance(59)
    assert counted == [1, 0, 1, 2, 3, 4]


def test_new_start_from_within(desk: Desk) -> None:
    """A task that comes once a day and gives itself another start begins then, not a day later."""
    desk("schedule time = 1 day and name = day task process /nowhere.al")
    desk("schedule time = 1 day and name = rest task task init where name = rest and start = +1h")
    desk("run scheduler")
    desk.world.advance(5)
    assert [each["counter"] for each in desk.tasks()] == [1, 1]
    desk.world.advance(3700)
    assert [each["counter"] for each in desk.tasks()] == [1, 2]
