"""Names of files that are taken already when readings are to be loaded under them: nothing is lost, nobody waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_lasting import begin, calm, put, quiet, values

from anylog.testing.storm import Storm


@pytest.fixture
def storm() -> Iterator[Storm]:
    made = calm(3)
    put(made, "t0", [1], True)
    quiet(made)
    yield made
    made.world.end()


def do(storm: Storm, database: str, statement: str) -> list[Any]:
    """By somebody else, who writes into a database."""
    rows: list[Any] = storm.world.wait(storm.world.nodes["op1"].databases.get(database).execute(statement))
    return rows


def test_loaded_as_a_file_and_not_noted(storm: Storm) -> None:
    """A file was loaded, the node ended before it could note that, and its content comes by another door: once."""
    watch = storm.world.nodes["op1"].places.folder("watch_dir")
    storm.world.places["op1"].disk.put(watch / "town.t0.plc.json", b'{"v":7}\n')
    quiet(storm)
    ((id,),) = do(storm, "town", "select max(tsd_id) from anylog_marks where source = 'plc'")
    put(storm, "t1", [8], True)
    # As a crash between the two transactions leaves it: rows and mark are there, the entry is pending.
    do(storm, "almgm", f"update tsd_info set rows = 0 where file_id = {id}")
    rows = [{"v": 7}]
    storm.world.wait(storm.world.nodes["op1"].intake.accept("town", "t0", b'{"v":7}\n', rows, whole=True))
    put(storm, "t0", [9], True)
    held = quiet(storm)
    assert values(held) == [1, 7, 8, 9]
    assert do(storm, "almgm", f"select rows from tsd_info where file_id = {id}") == [(1,)]
    assert do(storm, "town", "select count(*) from anylog_parked") == [(0,)]


def test_a_name_of_something_else(storm: Storm) -> None:
    """What should never be: it is kept aside, with the reason, and what is behind it flows on."""
    ((id, member),) = do(storm, "town", "select max(tsd_id), max(member) from anylog_marks")
    assert isinstance(id, int)
    for number in (1, 2):
        do(
            storm,
            "town",
            "insert into anylog_marks (buffer, table_name, sequence, rows, parked, hash, member, tsd_id)"
            f" values ('strange-{number}', 't0', 1, 1, 0, 'strange {number}', {member}, {id + number})",
        )
    put(storm, "t0", [7], True)
    put(storm, "t0", [8], False)
    storm.world.advance(20)
    put(storm, "t0", [9], True)
    storm.world.advance(20)
    assert values(storm.holding("op1")) == [1, 9]
    reasons = do(storm, "town", "select row, reason from anylog_parked order by row")
    assert [row for row, _ in reasons] == ['{"v":7}', '{"v":8}']
    assert all("UNIQUE" in str(reason) for _, reason in reasons)
    storm.world.crash("op1", power=True)
    assert begin(storm) is not None
    storm.world.advance(20)
    assert values(storm.holding("op1")) == [1, 9]
    assert len(do(storm, "town", "select * from anylog_parked")) == 2
