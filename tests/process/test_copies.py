"""Two operators of one cluster: what one of them takes is soon on the other, in both archives, and nowhere twice."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import files_laws
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import DBMS, Network
from node import NodeProcess

FOLDERS = ("watch", "distr", "error")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path / "network", clusters=(1, 1), every="2")
    for node in made.operators:
        node.commands = ("run data distributor", *node.commands)
    try:
        yield made
    finally:
        for node in made.operators:  # shown if the test fails
            lines = node.log.read_text().splitlines() if node.log.exists() else []
            print(node.home.name, *[line for line in lines if "#info" not in line][-25:], sep="\n")
        made.remove()


def put(node: NodeProcess, rows: Sequence[dict[str, Any]], table: str) -> None:
    """As one file."""
    status, said = node.request("PUT", "/", json.dumps(rows).encode(), type="json", dbms=DBMS, table=table)
    assert status == 200, said


def rows(name: str, count: int = 3) -> list[dict[str, Any]]:
    return [{"name": f"{name}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n in range(count)]


def until(holds: Callable[[], Any], seconds: float = 60.0) -> float:
    """Wait for it; gives the seconds that took."""
    begin = time.monotonic()
    while not (found := holds()):
        assert time.monotonic() - begin < seconds, f"not within {seconds:g} seconds: {found!r}"
        time.sleep(0.01)
    return time.monotonic() - begin


def lying(node: NodeProcess, *folders: str) -> list[str]:
    """Names of files in folders of a home."""
    roots = [files_laws.data(node.home) / folder for folder in folders]
    return sorted(path.name for root in roots for path in root.rglob("*") if path.is_file())


def entries(node: NodeProcess, into: str) -> list[files_laws.Entry]:
    try:
        return [entry for entry in files_laws.read(node.home).entries if entry.into == into]
    except sqlite3.OperationalError:
        return []


def member_of(network: Network, number: int) -> int:
    found = network.operators[number].command(f"blockchain get operator where name = operator{number}")
    return int(json.loads(found)[0]["operator"]["member"])


def equal(network: Network, files: int) -> bool:
    """Both archives hold the same files, so many, and nothing is on its way or failed."""
    one, other = (lying(node, "archive") for node in network.operators)
    return one == other and len(one) == files and not any(lying(node, *FOLDERS) for node in network.operators)


def check(network: Network, files: int, sent: Sequence[str]) -> None:
    """All that is to hold of two equal members, once they are."""
    try:
        until(lambda: equal(network, files))
    except AssertionError:
        pytest.fail(f"{[lying(node, 'archive', *FOLDERS) for node in network.operators]}")
    members = [member_of(network, number) for number in (0, 1)]
    for place, node in enumerate(network.operators):
        until(lambda node=node: not files_laws.at_rest(node.home))
        found = files_laws.names(node.home)
        assert sorted(found.elements()) == sorted(sent)
        own = {(e.id, e.hash, e.dbms, e.table, e.date, e.rows) for e in entries(node, "tsd_info")}
        theirs = entries(network.operators[1 - place], f"tsd_{members[place]}")
        assert {(e.id, e.hash, e.dbms, e.table, e.date, e.rows) for e in theirs} == own


def start(network: Network) -> None:
    """Until both operators know each other."""
    network.start()
    until(lambda: all(len(distributor(node)["Peers"]) == 1 for node in network.operators))


def distributor(node: NodeProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.command("get distributor where format = json"))
    return found


def test_both_members_hold_what_either_took(network: Network) -> None:
    """Files of both members and of many tables are soon on the other, and lie in both archives under one name."""
    start(network)
    for number, node in enumerate(network.operators):
        put(node, rows(f"first{number}"), f"t{number}")
    for number, node in enumerate(network.operators):
        other = network.operators[1 - number]
        until(lambda other=other, number=number: other.count(f"t{number}") == 3)
        until(lambda node=node: distributor(node)["Status"] == "Running")
    sent = [row["name"] for number in (0, 1) for row in rows(f"first{number}")]
    took = []
    for body in range(20):
        number = body % 2
        put(network.operators[number], rows(f"b{body}"), f"t{number}")
        sent += [row["name"] for row in rows(f"b{body}")]
        want, other = 3 + 3 * (body // 2 + 1), network.operators[1 - number]
        took.append(until(lambda other=other, want=want, number=number: other.count(f"t{number}") == want))
    print(f"on the other member after {sorted(took)}")
    check(network, 22, sent)
    for node in network.operators:
        (peer,) = distributor(node)["Peers"]
        assert (peer["Files"] >= 10, peer["Errors"], peer["Status"]) == (True, 0, "Active")
        until(lambda node=node: distributor(node)["Files waiting"] == 0)  # told when the move is over
        assert "Distributor" in node.command("get processes").decode()


def test_files_of_a_member_that_was_alone(network: Network) -> None:
    """A member that is away delays nothing; what it missed is brought by hand, and known when it is brought again."""
    start(network)
    put(network.operators[0], rows("before"), "t0")
    until(lambda: equal(network, 1))
    until(lambda: not files_laws.at_rest(network.operators[1].home))
    network.operators[1].kill()
    put(network.operators[0], rows("alone"), "t0")
    until(lambda: len(lying(network.operators[0], "archive")) == 2)
    network.operators[1].start()
    until(lambda: [peer["Status"] for peer in distributor(network.operators[0])["Peers"]] == ["Active"])
    ids = ",".join(str(entry.id) for entry in entries(network.operators[0], "tsd_info"))
    deliver = f"file deliver 127.0.0.1 {network.tcp['operator1']} tsd_info {ids},77-79"
    told = network.operators[0].command(deliver, "POST").decode()
    assert "missing" in told and "known" in told and "taken" in told, told
    check(network, 2, [row["name"] for name in ("before", "alone") for row in rows(name)])
    told = network.operators[0].command(deliver, "POST").decode()
    assert "taken" not in told, told


KILLS = [(1, "delivered"), (0, "confirmed")]
MORE_KILLS = [(0, "archived"), (0, "published"), (0, "counted"), (1, "read"), (1, "loaded"), (1, "counted")]


@pytest.mark.parametrize(
    ("victim", "point"), [*KILLS, *(pytest.param(*each, marks=pytest.mark.long) for each in MORE_KILLS)]
)
def test_killed_on_the_way(network: Network, victim: int, point: str) -> None:
    """Whoever is killed on the way, after each step: every row is on both members once."""
    start(network)
    put(network.operators[0], rows("before"), "t0")
    until(lambda: network.operators[1].count("t0") == 3)
    until(lambda: equal(network, 1))
    node = network.operators[victim]
    node.stop()
    node.start({"ANYLOG_KILL_AT": f"{point}:1"})
    assert node.process is not None
    until(lambda: [peer["Status"] for peer in distributor(network.operators[0])["Peers"]] == ["Active"])
    put(network.operators[0], rows("killed"), "t0")
    until(lambda: node.process is not None and node.process.poll() == -9)
    node.start()
    until(lambda: [peer["Status"] for peer in distributor(network.operators[0])["Peers"]] == ["Active"])
    put(network.operators[0], rows("after"), "t0")
    until(lambda: network.operators[1].count("t0") in (6, 9))
    if network.operators[1].count("t0") == 6:  # its answer was lost: what a member did not confirm it fetches itself
        until(lambda: len(lying(network.operators[0], "archive")) == 3)
        ids = ",".join(str(entry.id) for entry in entries(network.operators[0], "tsd_info"))
        deliver = f"file deliver 127.0.0.1 {network.tcp['operator1']} tsd_info {ids}"
        network.operators[0].command(deliver, "POST")
    check(network, 3, [row["name"] for name in ("before", "killed", "after") for row in rows(name)])
