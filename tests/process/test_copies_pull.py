"""Two real operators of one cluster: whoever was away, or lost its disk, has all again without new traffic."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import files_laws
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import DBMS, Network
from node import NodeProcess

FILES = 200


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path / "network", clusters=[0, 0], every="2")
    for number in range(2):
        script = made.folder / f"operator{number}.al"
        # Before the operator: it waits until there is a member id.
        text = script.read_text().replace("<run operator", "run data consumer where start_date = -30d\n<run operator")
        script.write_text(text)
    try:
        yield made
    finally:
        made.remove()


def put(node: NodeProcess, name: str) -> None:
    rows = [{"name": f"{name}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n in range(4)]
    status, said = node.request("PUT", "/", json.dumps(rows), type="json", dbms=DBMS, table=f"t{len(name) % 2}")
    assert status == 200, said


def asked(node: NodeProcess, command: str) -> Any:
    return json.loads(node.command(f"{command} where format = json"))


def until(holds: Callable[[], bool], seconds: float, doing: str) -> float:
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        try:
            if holds():
                return time.monotonic() - begin
        except (sqlite3.OperationalError, FileNotFoundError):
            pass  # a table that is not there yet
        time.sleep(0.05)
    raise AssertionError(f"{doing}: not within {seconds} seconds")


def state(node: NodeProcess) -> str:
    return str(asked(node, "get consumer")["State"])


def hashes(node: NodeProcess) -> set[str]:
    return {entry.hash for entry in files_laws.read(node.home).entries if entry.rows}


def own(node: NodeProcess) -> dict[int, tuple[str, int]]:
    found = files_laws.read(node.home).entries
    return {entry.id: (entry.hash, entry.rows) for entry in found if entry.into == "tsd_info" and entry.rows}


def test_down_then_wiped(network: Network) -> None:
    """One is down while the other takes 200 files; then its home is gone. Both times it is soon complete, its own files
    have the ids they had, and no id of before is given again."""
    network.start()
    first, second = network.operators
    for number in range(5):
        put(second, f"own{number}")
    # The first begins anew while nobody can tell it of ids: its ids are far above those of the second.
    first.stop()
    second.stop()
    shutil.rmtree(first.home)
    first.start()
    second.start()
    until(lambda: len(hashes(first)) == 5, 120, "files of the second at the first")
    until(lambda: state(second) == state(first) == "complete", 120, "completing both")
    second.stop()
    for number in range(FILES):
        put(first, f"file{number}")
    second.start()
    took = until(lambda: len(hashes(second)) == FILES + 5, 120, "pulling after being down")
    print(f"{FILES} files pulled in {took:.1f} s")
    assert state(second) == "complete"  # it was so before
    before = own(second)
    assert len(before) == 5
    second.stop()
    shutil.rmtree(second.home)
    second.start()
    took = until(lambda: state(second) == "complete", 120, "pulling everything anew")
    print(f"{FILES + 5} files pulled in {took:.1f} s")
    assert hashes(second) == hashes(first)
    assert {id: own(second).get(id) for id in before} == before
    names = files_laws.names(second.home)
    assert names == files_laws.names(first.home)
    assert set(names.values()) == {1}
    put(second, "new")
    until(lambda: len(own(second)) == 6, 60, "a new file")
    assert max(own(second)) > max(before)
    assert min(set(own(second)) - set(before)) > max(before)
    status = asked(second, "get tsd sync status")
    assert len(status) == 2
    assert b"syncing" not in second.command("get processes")
