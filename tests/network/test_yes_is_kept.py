"""What somebody was told to be taken is kept: where two come with one content, where a database is made anew, and where
names are as long as they may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from test_file_policies import PUMP, Plant, raw, values
from test_publisher import Fleet
from test_pull import Copies
from twisted.python.failure import Failure

from anylog.disk.batch import packed
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.mapping.body import content_hash, normal_form
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLanes
from anylog.testing.lasting import LastingFiles

TOWN = Path("/op1/AnyLog-Network/data/dbms/town.dbms")


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies()
    yield made
    made.world.stop()


@pytest.mark.parametrize("fault", ["power", "write", ""])
def test_taken_while_the_journal_has_it_not_yet(fault: str) -> None:
    """A publisher offers a content that somebody else puts at that moment; the power fails before that one's readings
    are safe, or the disk refuses them. What the publisher was told to be taken is there: it has let go of it."""
    fleet = Fleet(("a",))
    world = fleet.world
    try:
        world.crash("op1", power=True)
        world.lanes = lambda clock: ClockLanes(clock, 0.2)
        world.wait(world.restart("op1"), 120)
        world.advance(5)
        rows = [{"v": 7}]
        normal = normal_form(rows)
        name = FileName(dbms="town", table="t", hash=content_hash("town", "t", normal), compressed=True)
        data = packed(normal)
        asked: list[Any] = []
        head = {"files": [[str(name), len(data)]]}

        def ask() -> None:
            asked.clear()
            fleet.publisher.peers.ask("10.0.1.1:32148", "publish", head, data).addBoth(asked.append)
            world.advance(0.1)

        ask()
        put: list[Any] = []
        world.nodes["op1"].intake.accept("town", "t", json.dumps(rows).encode(), rows, whole=True).addBoth(put.append)
        world.until(lambda: bool(asked), 5)
        told = asked[0].head["told"]
        assert not put and told == ["86 its content is coming in at this moment, and is not safe yet"]
        if fault == "power":
            world.crash("op1", power=True)
            world.wait(world.restart("op1"), 120)
        elif fault:
            disk = world.nodes["op1"].disk
            assert isinstance(disk, MemoryDisk)
            disk.fails.add(fault)
            world.until(lambda: bool(put), 5)
            disk.fails.clear()
            assert isinstance(put[0], Failure)
        world.advance(60)
        assert fleet.rows_of("op1") == ([] if fault else [7])
        ask()
        world.until(lambda: bool(asked), 5)
        assert asked[0].head["told"] == ["taken" if fault else "known"]
        world.advance(60)
        assert fleet.rows_of("op1") == [7]
    finally:
        fleet.end()


@pytest.fixture
def disconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in memory that last do not know that a node lets one go."""
    ended = LastingFiles.end

    def end(self: LastingFiles) -> None:
        self.connections = [each for each in self.connections if _is_open(each)]
        ended(self)

    monkeypatch.setattr(LastingFiles, "end", end)


def _is_open(connection: Any) -> bool:
    try:
        connection.changes()
    except apsw.ConnectionClosedError:
        return False
    return True


@pytest.mark.parametrize("key", ["", "k1"])
def test_a_put_again_after_its_database_was_dropped(disconnects: None, key: str) -> None:
    """What is acknowledged is in the table: also what was there before its database was dropped and made anew."""
    plant = Plant()
    try:
        node, place = plant.op(1), plant.world.places["op1"]
        options: dict[str, Any] = {"key": key} if key else {"whole": True}
        plant.put_at([{"v": 1}], "0", **options)
        plant.world.advance(70)
        plant.rest()
        assert values(plant.table(1)) == [1]
        plant.world.run(node, "disconnect dbms town")
        place.disk.put(TOWN, b"in another place")  # `drop dbms` looks for it on the disk
        plant.world.run(node, "drop dbms town where type = sqlite")
        assert place.files is not None
        place.files.remove(TOWN)
        plant.world.run(node, "connect dbms town where type = sqlite")
        receipt = plant.put_at([{"v": 1}], "0", **options)
        plant.world.advance(60)
        assert (receipt.repeated, values(plant.table(1))) == (False, [1])
    finally:
        plant.end()


@pytest.mark.parametrize("key", ["", "k1"])
def test_a_put_again_after_its_database_was_away(disconnects: None, key: str) -> None:
    """One that comes back as it was knows what was put: what it holds, and what the journal has for it yet."""
    plant = Plant()
    try:
        node = plant.op(1)
        options: dict[str, Any] = {"key": key} if key else {"whole": True}
        waits: dict[str, Any] = {"key": f"{key}, too"} if key else {"whole": True}
        plant.put_at([{"v": 1}], "0", **options)
        plant.world.advance(70)
        plant.rest()
        plant.world.run(node, "set buffer threshold where dbms = town and write_immediate = false")
        plant.put_at([{"v": 2}], "0", **waits)
        plant.world.run(node, "disconnect dbms town")
        plant.world.run(node, "connect dbms town where type = sqlite")
        receipts = [plant.put_at([{"v": 1}], "0", **options), plant.put_at([{"v": 2}], "0", **waits)]
        assert [each.repeated for each in receipts] == [True, True]
        plant.world.advance(70)
        plant.rest()
        assert values(plant.table(1)) == [1, 2]
    finally:
        plant.end()


def test_a_put_again_at_a_publisher_with_a_database() -> None:
    """What went to operators was never in a database of that name here: it is known, whether a file of it was made."""
    fleet = Fleet(("a",))
    world, node = fleet.world, fleet.publisher
    try:
        world.run(node, "connect dbms town where type = sqlite and memory = true")
        fleet.put([1], key="k1")
        world.advance(20)
        fleet.put([2], key="k2")
        world.run(node, "disconnect dbms town")
        world.run(node, "connect dbms town where type = sqlite and memory = true")
        for value, key in ((1, "k1"), (2, "k2")):
            fleet.put([value], key=key)
            fleet.values.pop()
        fleet.settle()
    finally:
        fleet.end()


@pytest.mark.parametrize("whole", [True, False])
def test_names_that_are_too_long_for_a_file(copies: Copies, whole: bool) -> None:
    """Database, table and data source as long as they may be: the file is made, and reaches the other member."""
    dbms, table, source = "d" * 63, "t" * 63, "s" * 64
    first, second = copies.add(1), copies.add(2)
    for node in (first, second):
        copies.world.run(node, f"connect dbms {dbms} where type = sqlite and memory = true")
    rows = [{"v": 1}]
    body = json.dumps(rows).encode()
    copies.world.wait(first.intake.accept(dbms, table, body, rows, source=source, whole=whole))
    copies.put(first, "beside")
    copies.world.begin(first, "flush buffers").addErrback(lambda _: None)
    copies.world.advance(150)
    waits, depth = first.intake.filing.waiting, first.intake.filing.depth
    assert (waits, depth) == ("", 0)
    there = second.databases.get(dbms).schema(table) is not None
    assert there


def test_a_policy_whose_id_does_not_fit_into_the_name_of_a_file() -> None:
    """What a policy is called is not cut, as it would be another one: the source is, or the content is refused."""
    plant = Plant()
    dbms, table = "d" * 63, "t" * 63
    try:
        plant.insert(*({"mapping": {**PUMP["mapping"], "id": each * 40}} for each in "pq"))
        plant.insert({"mapping": {**PUMP["mapping"], "id": "p" * 43}})
        nodes = [plant.op(1), plant.op(2)]
        for node in nodes:
            plant.world.run(node, f"connect dbms {dbms} where type = sqlite and memory = true")
        rows = [raw(1), raw(2)]

        def put(policy: str, whole: bool) -> Any:
            body, options = json.dumps(rows).encode(), {"source": "s" * 64, "instructions": policy, "whole": whole}
            return plant.world.wait(nodes[0].intake.accept(dbms, table, body, rows, **options))

        put("p" * 40, True)
        put("q" * 40, False)
        with pytest.raises(
            AnyLogError, match=f"policy '{'p' * 43}': such an id cannot be a part of the name"
        ) as refusal:
            put("p" * 43, True)
        assert refusal.value.number == 40
        plant.world.advance(150)
        for node in nodes:
            assert plant.world.wait(node.databases.get(dbms).counts([table])) == {table: 4}
    finally:
        plant.end()
