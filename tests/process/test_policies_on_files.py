"""Two real operators of one cluster, curl, and kill -9: what names a mapping policy is mapped on both, once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import DBMS, Network
from node import NodeProcess

LONDON = {
    "mapping": {
        "id": "london",
        "dbms": "gb",
        "table": "air",
        "condition": "if [site] != test",
        "schema": {
            "timestamp": {"type": "timestamp", "bring": "[at]", "default": "now()"},
            "value": {"type": "float", "bring": "[no2][mean]"},
            "station": {"type": "varchar", "bring": "[site]"},
            "*": {"type": "*", "bring": ["extra"]},
        },
    }
}
LATE = {
    "mapping": {
        "id": "late",
        "dbms": "gb",
        "table": "air",
        "schema": {
            "value": {"type": "float", "bring": "[v]"},
            "station": {"type": "varchar", "default": "late", "bring": "[site]"},
        },
    }
}


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path / "network", clusters=(1, 1), every="2", copies=True)
    try:
        made.start()
        insert(made, LONDON)
        yield made
    finally:
        for node in made.operators:  # shown if the test fails
            lines = node.log.read_text().splitlines() if node.log.exists() else []
            print(node.home.name, *[line for line in lines if "#info" not in line][-25:], sep="\n")
        made.remove()


def insert(network: Network, policy: dict[str, Any]) -> None:
    master = f"127.0.0.1:{network.tcp['master']}"
    network.master.command(f"blockchain insert where policy = {json.dumps(policy)} and master = {master}", "POST")
    (ident,) = [body["id"] for body in policy.values()]
    for node in network.operators:
        until(lambda node=node: ident in node.command("blockchain get mapping").decode())


def until(holds: Callable[[], Any], seconds: float = 90.0) -> None:
    begin = time.monotonic()
    while not (found := holds()):
        assert time.monotonic() - begin < seconds, f"not within {seconds:g} seconds: {found!r}"
        time.sleep(0.02)


def curl(node: NodeProcess, rows: Sequence[dict[str, Any]], **headers: str) -> tuple[int, dict[str, Any]]:
    """PUT rows: status and reply."""
    words = ["curl", "-s", "-X", "PUT", "-w", "\n%{http_code}", "--data-binary", "@-"]
    for name, value in {"dbms": DBMS, "table": "t", "type": "json", **headers}.items():
        words += ["-H", f"{name}: {value}"]
    body = json.dumps(list(rows)).encode()
    done = subprocess.run(
        [*words, f"http://127.0.0.1:{node.port}/"], input=body, capture_output=True, timeout=30, check=True
    )
    text, _, status = done.stdout.decode().rpartition("\n")
    return int(status), json.loads(text)


def raw(value: int, site: str = "HF4", **more: Any) -> dict[str, Any]:
    return {"at": f"2026-11-21T10:00:{value:02d}Z", "site": site, "no2": {"mean": value}, **more}


def drop(node: NodeProcess, name: str, rows: Sequence[dict[str, Any]]) -> None:
    draft = node.folder("prep") / name
    draft.write_text("\n".join(map(json.dumps, rows)) + "\n")
    draft.rename(node.watch / name)


def held(node: NodeProcess, table: str = "t", columns: str = "value, station") -> list[tuple[Any, ...]]:
    return node.asked(DBMS, f"select {columns} from {table} order by value")


def lying(node: NodeProcess, folder: str) -> list[Path]:
    return sorted(path for path in node.folder(folder).rglob("*") if path.is_file())


def test_dropped_and_killed(network: Network) -> None:
    """Files are dropped at one operator, which is killed on the way; both load them mapped, archived as they came."""
    one, other = network.operators
    for number, point in enumerate(("agreed", "registered", "renamed", "loaded", "published"), 1):
        table = f"t_{point}"
        rows = [raw(1), raw(2, "test"), raw(3, extra="x"), {"site": "HF4", "no2": 5}]
        one.kill()
        drop(one, f"{DBMS}.{table}.0.0.london.json", rows)
        try:
            one.start({"ANYLOG_KILL_AT": f"{point}:1"})
        except RuntimeError:
            pass  # before it answered
        assert one.process is not None and one.process.wait(120) == -9
        one.start()
        for node in network.operators:
            until(lambda node=node, table=table: held(node, table) == [(1.0, "HF4"), (3.0, "HF4")])
            until(lambda node=node, number=number: len(lying(node, "archive")) == number and not lying(node, "watch"))
            assert held(node, table, "extra, timestamp") == [
                (None, "2026-11-21 10:00:01.000000"), ("x", "2026-11-21 10:00:03.000000"),
            ]  # fmt: skip
            parked = node.asked(DBMS, "select reason, row from anylog_parked where table_name = ?", table)
            assert len(parked) == 1 and "'london'" in parked[0][0] and json.loads(parked[0][1]) == rows[3]
    assert [path.name for path in lying(one, "archive")] == [path.name for path in lying(other, "archive")]
    drop(one, f"{DBMS}.t_loaded.9.0.london.json", rows)  # the same content
    until(lambda: any(".err_86." in path.name for path in lying(one, "error")))
    assert [len(held(node, "t_loaded")) for node in network.operators] == [2, 2]


def test_by_curl(network: Network) -> None:
    """Both modes with the header `instructions`; what is refused, what is skipped; a policy that comes late."""
    one, other = network.operators
    assert curl(one, [raw(1), raw(2, "test")], instructions="london", mode="streaming") == (
        200,
        {"AnyLog.status": "Success", "AnyLog.hash": "0"},
    )
    status, told = curl(one, [raw(3), raw(4, "test")], instructions="london")
    assert status == 200 and len(told["AnyLog.hash"]) == 32
    for mode in ("file", "streaming"):
        status, told = curl(one, [raw(5, "test")], instructions="london", mode=mode)
        assert (status, told["AnyLog.hash"]) == (200, "0")
        status, told = curl(one, [raw(5)], instructions="nosuch", mode=mode)
        assert status == 400 and "there is no policy 'nosuch'" in json.dumps(told), told
        cluster = json.loads(one.command("blockchain get cluster"))[0]["cluster"]["id"]
        status, told = curl(one, [raw(5)], instructions=cluster, mode=mode)
        assert status == 400 and "neither a 'mapping' nor a 'transform' policy" in json.dumps(told), told
        status, told = curl(one, [raw(5, "test")], instructions="london", mode=mode, dbms="nowhere")
        assert status == 400 and "nowhere" in json.dumps(told), told
    until(lambda: [value for value, _ in held(one)] == [1.0, 3.0])
    one.kill()  # what was acknowledged lasts
    one.start()
    one.command("flush buffers", "POST")
    for node in network.operators:
        until(lambda node=node: held(node) == [(1.0, "HF4"), (3.0, "HF4")])
    until(lambda: len(lying(other, "archive")) == 2)
    drop(one, f"{DBMS}.t.0.0.late.json", [{"v": 7}])
    until(lambda: len(lying(one, "error")) == 1)
    until(lambda: "there is no policy 'late'" in one.command("get error log").decode().replace("\r\n", ""))
    insert(network, LATE)
    one.command("file retry all", "POST")
    for node in network.operators:
        until(lambda node=node: held(node)[-1:] == [(7.0, "late")])
