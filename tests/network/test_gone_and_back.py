"""What goes away for a while and comes back: databases, and the operator. Nobody else waits, nothing is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_file_policies import Plant, values
from test_pull import MASTER, SYNC, Copies
from twisted.logger import globalLogPublisher

from anylog.databases.tsd import Tsd
from anylog.mapping.body import content_hash
from anylog.node import Node
from anylog.waiting import pause


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies()
    yield made
    made.world.stop()


@pytest.fixture
def plant() -> Iterator[Plant]:
    with Plant() as made:
        yield made


def stream(world: Any, node: Node, row: dict[str, Any]) -> None:
    world.wait(node.intake.accept("town", "t", json.dumps(row).encode(), [row], whole=False))
    world.advance(1)


def run_again(copies: Copies, number: int) -> None:
    copies.world.run(
        copies.world.nodes[f"op{number}"],
        f"run operator where policy = {copies.policies[number]} and master_node = {MASTER} and update_tsd_info = true",
    )


def test_a_database_that_is_gone_does_not_hold_up_the_files_of_others(copies: Copies) -> None:
    """A reading that fits no column came for it, and it was disconnected: what comes for other databases is filed, and
    reaches the other member. Its own file waits, and says why."""
    first, second = copies.add(1), copies.add(2)
    for node in (first, second):
        copies.world.run(node, "connect dbms plant where type = sqlite and memory = true")
    stream(copies.world, first, {"name": "x", "value": 1})
    stream(copies.world, first, {"name": "y", "value": "no number"})
    copies.world.run(first, "disconnect dbms town")
    rows = [{"v": 1}]
    copies.world.wait(first.intake.accept("plant", "p", json.dumps(rows).encode(), rows, whole=True))
    copies.world.advance(200)
    waits, depth = first.intake.filing.waiting, first.intake.filing.depth
    there = second.databases.get("plant").schema("p") is not None
    assert (there, waits[:8], depth) == (True, "town.t: ", 1)


def test_the_file_of_a_database_that_is_back(plant: Plant) -> None:
    """It waited for its database, which tells what of it was parked: it is made once that is back, without those."""
    node = plant.op(1)
    stream(plant.world, node, {"v": 1})
    stream(plant.world, node, {"v": "no number"})
    plant.world.run(node, "disconnect dbms town")
    plant.world.advance(120)
    assert node.intake.filing.depth == 1
    plant.world.run(node, "connect dbms town where type = sqlite")
    plant.world.advance(60)
    assert (node.intake.filing.depth, node.intake.filing.waiting) == (0, "")
    assert values(plant.both()) == [1]


def test_readings_between_exit_and_run_operator(copies: Copies) -> None:
    """The operator is ended and run again with other options, while readings come: the other member gets them, too."""
    first, second = copies.add(1, "run data distributor"), copies.add(2)
    copies.put(first, "a")
    copies.until_equal(first, second, 90)
    copies.world.run(first, "exit operator")
    copies.put(first, "between")
    copies.world.advance(2)
    run_again(copies, 1)
    copies.put(first, "c")
    copies.world.advance(200)
    names = copies.names(first)
    assert names == copies.names(second)
    assert len(names) == 9


def test_an_operator_that_is_ended_for_a_long_time(copies: Copies) -> None:
    """What comes from then on is in its table at once and becomes files: nothing piles up in the journal. The other
    member gets it as soon as there is somebody who gives it out."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    copies.until_equal(first, second, 90)
    copies.world.run(first, "exit operator")
    copies.put(first, "whole")
    stream(copies.world, first, {"name": "streamed", "value": 1})
    copies.world.run(first, "flush buffers")
    copies.world.advance(2)
    names = copies.names(first)
    assert [name for name in names if not name.startswith("a")] == ["streamed", "whole-0", "whole-1", "whole-2"]
    assert (first.intake.filing.depth, first.intake.in_work(), first.intake.waiting()) == (0, set(), {})
    assert [entry.rows for entry in copies.entries(first)] == [3, 3, 1]
    run_again(copies, 1)
    copies.until_equal(first, second, 90)
    assert copies.names(second) == names


def test_a_home_where_no_operator_ever_ran(copies: Copies) -> None:
    """What comes is loaded there without being registered."""
    node = copies.world.add("alone", "10.0.3.1")
    copies.world.run(
        node,
        "connect dbms almgm where type = sqlite and memory = true",
        "create table tsd_info where dbms = almgm",
        "connect dbms town where type = sqlite and memory = true",
    )
    copies.put(node, "a")
    copies.world.advance(5)
    assert len(copies.names(node)) == 3
    assert copies.entries(node) == []


def test_a_database_that_is_disconnected_while_a_file_gets_its_id(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And connected again at once: the file, which lies in the watch directory still, is loaded then."""
    first = copies.add(1)
    copies.put(first, "a")
    copies.world.advance(5)
    register = Tsd.register

    async def slowly(self: Tsd, *args: Any) -> Any:
        told = await register(self, *args)  # `almgm` has it; the node hears of that a moment later
        await pause(first.clock, 0.2)
        return told

    monkeypatch.setattr(Tsd, "register", slowly)
    first.disk.put(first.places.folder("watch_dir") / "town.t.json", b'{"name": "w", "value": 1}\n')  # type: ignore[attr-defined]
    copies.world.until(lambda: bool([each for each in copies.entries(first) if each.pending]), 10)
    copies.world.run(first, "disconnect dbms town", "connect dbms town where type = sqlite and memory = true")
    copies.world.advance(150)
    live = first.intake.registry._live.values()
    stale = [str(each.path.name) for each in live if each not in first.intake._buffers.values()]
    assert (copies.names(first)[-1:], stale) == (["w"], [])


def test_a_database_that_is_disconnected_while_a_file_gets_its_id_again(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one that was loaded before: it is let go of once its database is back. No failure is lost."""
    node, disk = plant.op(1), plant.world.places["op1"].disk
    receipt = plant.put_at([{"v": 1}], "0", whole=True)
    plant.rest()
    (path,) = [Path(each) for each in plant.holdings()["op1"].files["archive_dir"] if receipt.hash in each]
    data = disk.read(path)
    register = Tsd.register
    asked: list[float] = []

    async def slowly(self: Tsd, *args: Any) -> Any:
        asked.append(node.clock.seconds())
        told = await register(self, *args)
        await pause(node.clock, 0.2)
        return told

    monkeypatch.setattr(Tsd, "register", slowly)
    lost: list[str] = []  # failures that nobody took

    def observe(event: Any) -> None:
        if "Unhandled error in Deferred" in str(event.get("log_format")):
            lost.append(str(event))

    globalLogPublisher.addObserver(observe)
    try:
        disk.put(Path("/op1/AnyLog-Network/data/watch") / path.name, data)
        plant.world.until(lambda: bool(asked), 10)
        plant.world.run(node, "disconnect dbms town", "connect dbms town where type = sqlite")
        plant.world.advance(60)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert len(asked) > 1
    assert (plant.lying_at(1), lost, node.intake.in_work()) == ([], [], set())
    assert values(plant.both()) == [1]


def test_a_database_that_a_node_lets_go_of(plant: Plant) -> None:
    """Files in memory that last hear of that, and end as ever."""
    plant.put_at([{"v": 1}], "0", whole=True)
    plant.rest()
    plant.world.run(plant.op(1), "disconnect dbms town")


def test_a_table_that_is_new_while_the_operator_is_ended(copies: Copies) -> None:
    """It is agreed on as ever: readings of another kind come to the other member at that time, and both hold the same
    in the end, in columns of the same types."""
    first, second = copies.add(1), copies.add(2)
    copies.world.run(first, "exit operator")
    for node, value in ((second, 1), (first, "one")):
        row = [{"name": node.name, "value": value}]
        copies.world.wait(node.intake.accept("town", "u", json.dumps(row).encode(), row, whole=False))
        copies.world.advance(2)
        copies.world.run(node, "flush buffers")
    run_again(copies, 1)
    copies.world.advance(100)
    tables = [node.databases.get("town").schema("u") for node in (first, second)]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("whose", ["own", "of the other", "of a publisher"])
def test_a_file_of_a_node_waits_for_its_database(copies: Copies, whose: str) -> None:
    """Registered here, sent by the other member, or brought by a publisher, it was not loaded before its database was
    disconnected: it is once that is back. Put aside, it would be counted as failed here for ever."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    copies.until_equal(first, second, 90)
    copies.world.run(first, "disconnect dbms town")
    data = b'{"name":"b","value":1}\n'
    id = copies.entries(first)[0].id + 1
    member = {"own": copies.member(first), "of the other": copies.member(second)}.get(whose)
    registered = f".{member}.{id}.270115080000" if member else ""
    name = f"town.t.0.{content_hash('town', 't', data)}.0{registered}.json"
    copies.world.places["op1"].disk.put(first.places.folder("watch_dir") / name, data)
    copies.world.advance(20)
    assert first.disk.names(first.places.folder("err_dir")) == []
    events = copies.world.run(first, "get event log where format = json").data
    ((told, times),) = [(each["Text"], each["Count"]) for each in events if "not connected" in each["Text"]]
    assert (name in told, times) == (True, 1)
    assert "town" in copies.world.run(first, "get watch").text
    copies.world.run(first, "connect dbms town where type = sqlite and memory = true")
    copies.world.advance(5)
    assert not [each for each in first.disk.names(first.places.folder("watch_dir")) if each.startswith("town")]
    assert first.disk.names(first.places.folder("err_dir")) == []
    if whose != "of the other":
        assert [(entry.id, entry.rows) for entry in copies.entries(first)][-1] == (id, 1)


def test_a_table_that_is_new_when_the_node_stops(copies: Copies) -> None:
    """The master is out of reach: its readings stay in the journal. Made here it might be another than elsewhere."""
    first = copies.add(1)
    database, row = first.databases.get("town"), [{"name": "a", "value": "one"}]
    copies.world.network.cut(copies.world.places["master"].host, copies.world.places["op1"].host)
    copies.world.wait(first.intake.accept("town", "u", json.dumps(row).encode(), row, whole=False))
    copies.world.advance(45)
    copies.world.stop(["op1"])
    assert database.schema("u") is None


def test_a_table_that_is_new_after_the_node_became_its_own_master(copies: Copies) -> None:
    """The master of before is gone for good: nobody waits for it, while the operator runs and after it is ended."""
    first, world = copies.add(1), copies.world
    world.run(
        first,
        "connect dbms blockchain where type = sqlite and memory = true",
        "create table ledger where dbms = blockchain",
        "exit synchronizer",
        f"{SYNC} and dest = dbms",
    )
    insert = f"blockchain insert where policy = !p and local = true and master = {MASTER}"
    world.run(world.nodes["master"], "p = create policy cluster where name = other and company = acme", insert)
    world.advance(10)
    world.run(first, "exit operator", "exit synchronizer")
    world.network.cut(world.places["master"].host, world.places["op1"].host)
    world.run(first, "run blockchain sync where source = dbms and time = 2 seconds and dest = file")
    world.run(first, f"run operator where policy = {copies.policies[1]} and update_tsd_info = true")
    tables = ["u", "v", "w"]
    for table, ended in zip(tables, ("", "exit operator", "exit synchronizer"), strict=True):
        if ended:
            world.run(first, ended)
        row = [{"name": "a", "value": 1}]
        world.wait(first.intake.accept("town", table, json.dumps(row).encode(), row, whole=False))
        world.advance(70)
        assert (first.databases.get("town").schema(table) is not None, first.membership.agreement.waiting) == (True, {})
    assert [first.clusters.columns("town", table) is not None for table in tables] == [True, True, True]


@pytest.mark.parametrize("how", ["exit operator first", "switch"])
def test_a_table_that_is_new_after_the_master_moved(copies: Copies, how: str) -> None:
    """What is agreed on when all is ended goes to the master of now, not to the one that the operator was run with."""
    first, world = copies.add(1), copies.world
    second = "10.0.0.9:32048"
    world.run(first, "exit operator")
    if how == "switch":
        world.run(first, f"blockchain switch network where master = {second}")
    else:
        world.run(first, "exit synchronizer", SYNC.replace(MASTER, second))
    world.run(first, "exit synchronizer")
    assert first.membership._master() == second
