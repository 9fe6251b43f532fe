"""What somebody was told to be taken is kept: where two come with one content."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_publisher import Fleet
from twisted.python.failure import Failure

from anylog.disk.batch import packed
from anylog.disk.names import FileName
from anylog.mapping.body import content_hash, normal_form
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLanes


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
