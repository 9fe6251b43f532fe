"""The tables of files of a real operator, asked and changed by command (operator-ha.md 10)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from files_load import check, drop
from member import Member
from test_files_once import rows_of, until_filed


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Member]:
    made = Member(tmp_path / "home", commands=("set buffer threshold where time = 1 second and volume = 1MB",))
    made.start()
    try:
        yield made
    finally:
        made.remove()


def ids(node: Member) -> dict[int, str]:
    """Id -> hash, as the command tells."""
    told = json.loads(node.command("time file get where limit = 0 and format = json"))
    return {entry["file_id"]: entry["file_hash"] for entry in told["tsd_info"]}


def test_tables_of_files_are_made_anew_from_the_marks(node: Member) -> None:
    """Dropped and made anew while the operator runs: the same entries, and no id again; what comes meanwhile waits."""
    for name in ("a", "b", "c"):
        drop(node, f"town.t.{name}", rows_of(name))
    until_filed(node, "t", 3)
    before = ids(node)
    assert len(before) == 3
    node.command("drop table tsd_info where dbms = almgm", "POST")
    body = json.dumps(rows_of("between")).encode()
    assert node.request("PUT", "/", body, dbms="town", table="t", mode="file")[0] == 200
    node.command("create table tsd_info where dbms = almgm", "POST")
    drop(node, "town.t.d", rows_of("d"))
    until_filed(node, "t", 5)
    until = time.monotonic() + 60
    while not before.items() <= ids(node).items() and time.monotonic() < until:
        time.sleep(0.05)
    after = ids(node)
    assert before.items() <= after.items()
    assert min(after.keys() - before.keys()) > max(before)
    check(node)


def test_a_deleted_entry_does_not_bring_rows_twice(node: Member) -> None:
    """Its content is in its table still: it goes to the error directory as a duplicate."""
    drop(node, "town.t.a", rows_of("a"))
    until_filed(node, "t", 1)
    (id,) = ids(node)
    node.command(f"time file delete {id} from tsd_info", "POST")
    assert ids(node) == {}
    drop(node, "town.t.again", rows_of("a"))
    until = time.monotonic() + 60
    while not list(node.folder("error").glob("*.err_86.*")) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(list(node.folder("error").glob("*.err_86.*"))) == 1
    assert node.rows_in("t") == len(rows_of("a"))
