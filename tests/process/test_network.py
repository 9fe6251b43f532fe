"""Four real processes: the steps of the seed as printed, equal answers, and kills in any order (issue: the network)."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import load
from distributed import bare
from network import DBMS, Network
from run import COLUMNS, bodies

SEED_STEPS = Path(__file__).parent / "seed_operator.al"

QUESTIONS = [
    "select count(*) as n from readings",
    "select min(value) as a, max(value) as b, sum(seq) as c, avg(seq) as d, count(status) as e from readings",
    "select device, count(*) as n, max(value) as hi from readings group by device order by device",
    "select device, avg(humidity) as mean from readings where value > 25 group by device order by mean desc, device",
    "select count(distinct device) as n from readings",
    "select distinct device from readings order by device",
    "select seq, device, value from readings order by seq desc limit 100",
    "select seq from readings where seq between 40000 and 60000 order by seq limit 30",
    "select status, count(*) as n from readings group by status having count(*) > 10 order by status",
    "select device, sum(seq) as s from readings where timestamp >= '2026-01-01T00:05:00Z' group by device"
    " order by s desc limit 7",
]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path / "network", every="2")
    try:
        yield made
    finally:
        made.remove()


def put(network: Network, number: int, table: str, rows: list[dict[str, Any]]) -> None:
    node = network.operators[number]
    status, body = node.request(
        "PUT", "/", json.dumps(rows).encode(), type="json", dbms=DBMS, table=table, mode="streaming"
    )
    assert status == 200, body


def test_equal_to_one_database(network: Network, tmp_path: Path) -> None:
    """100,000 readings through both operators: every answer is that of the same SQL on one plain SQLite."""
    network.start()
    made = bodies(100_000, 500)
    chance = Random(3)
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for body in made:
        parts[chance.random() < 0.4].append(body)
    for node, part in zip(network.operators, parts, strict=True):
        load.run(("127.0.0.1", node.port), iter([load.put(body, DBMS, "readings") for body in part]), 4)
    assert network.ask_until("select count(*) as n from readings", [{"n": 100_000}], 60) == [{"n": 100_000}]
    truth = bare(tmp_path / "bare.db", made, COLUMNS)
    for statement in QUESTIONS:
        cursor = truth.execute(statement.replace("2026-01-01T00:05:00Z", "2026-01-01T00:05:00.000000Z"))
        titles = [column[0] for column in cursor.description]
        wanted = [dict(zip(titles, row, strict=True)) for row in cursor]
        found = network.ask(statement)
        assert len(found) == len(wanted), statement
        for one, other in zip(found, wanted, strict=True):
            assert one == pytest.approx(other, rel=1e-12) if _floats(other) else one == other, (statement, one, other)


def _floats(row: dict[str, Any]) -> bool:
    return any(isinstance(value, float) for value in row.values()) and not any(
        isinstance(value, str) for value in row.values()
    )


def test_first_row_of_a_new_table(network: Network) -> None:
    """A table that nobody knew is found by the query node soon after the yes."""
    network.start()
    for number in range(4):
        put(network, number % 2, f"new{number}", [{"value": number}])
        wanted = [{"value": number}]
        assert network.ask_until(f"select value from new{number}", wanted) == wanted


def kills(network: Network, rounds: int, seed: int) -> None:
    """Master and operators are killed and started in any order, during readings, questions and policies.

    Every answer that is given is right: all that was acknowledged before it was asked, nothing twice, and nothing that
    was never sent; or it is an error.
    """
    chance = Random(seed)
    network.start()
    acknowledged: list[set[int]] = [set(), set()]
    sent: list[set[int]] = [set(), set()]
    wrong: list[str] = []
    over = threading.Event()
    answers = {"right": 0, "refused": 0}

    def feed(number: int) -> None:
        at = number
        while not over.is_set():
            sent[number].add(at)
            try:
                put(network, number, "storm", [{"v": at}])
                acknowledged[number].add(at)
            except (OSError, AssertionError, Exception):
                sent[number].add(at)
                time.sleep(0.01)
            at += 2

    def ask() -> None:
        while not over.is_set():
            before = acknowledged[0] | acknowledged[1]
            began = time.time()
            try:
                found = [row["v"] for row in network.ask("select v from storm")]
            except (RuntimeError, OSError, ValueError):
                answers["refused"] += 1
                time.sleep(0.01)
                continue
            answers["right"] += 1
            ever = sent[0] | sent[1]
            if len(found) != len(set(found)) or not set(found) <= ever:
                wrong.append(f"twice or never sent: {len(found)} rows, {len(set(found))} different")
            missing = [v for v in before if v not in set(found) and settled.get(v, began) < began - 1.0]
            if missing:
                wrong.append(f"acknowledged and missing: {sorted(missing)[:10]}")

    settled: dict[int, float] = {}

    def settle() -> None:
        """Notes since when a reading is known as acknowledged: it may take a second to be seen."""
        while not over.is_set():
            now = time.time()
            for each in (*acknowledged[0], *acknowledged[1]):
                settled.setdefault(each, now)
            time.sleep(0.05)

    put(network, 0, "storm", [{"v": -1}])
    put(network, 1, "storm", [{"v": -2}])
    for number, value in ((0, -1), (1, -2)):
        sent[number].add(value)
        acknowledged[number].add(value)
    network.ask_until("select count(*) as n from storm", [{"n": 2}])
    threads = [
        threading.Thread(target=each, daemon=True) for each in (settle, ask, *(lambda n=n: feed(n) for n in (0, 1)))
    ]
    for thread in threads:
        thread.start()
    victims = [network.master, *network.operators]
    policies: list[str] = []
    try:
        for round in range(rounds):
            victim = chance.choice(victims)
            time.sleep(chance.uniform(0.0, 0.3))
            victim.kill()
            alive = [node for node in network.operators if node.process is not None and node.process.poll() is None]
            if alive:
                policy = json.dumps({"device": {"name": f"device {round}"}})
                master = f"127.0.0.1:{network.tcp['master']}"
                text = f"blockchain insert where policy = {policy} and local = true and master = {master}"
                status, _ = chance.choice(alive).request(
                    "POST", "/", None, **{"User-Agent": "AnyLog/1", "command": text}
                )
                if status == 200:
                    policies.append(f"device {round}")
            if chance.random() < 0.3:
                other = chance.choice([node for node in victims if node is not victim])
                other.kill()
                other.start()
            time.sleep(chance.uniform(0.0, 0.3))
            victim.start()
            assert not wrong, (seed, round, wrong[:3])
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    known = acknowledged[0] | acknowledged[1]
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            found = {row["v"] for row in network.ask("select v from storm")}
            names = network.query.command("blockchain get device bring.json [*][name]")
            there = {each["name"] for each in json.loads(names)}
        except RuntimeError:
            continue
        if known <= found and set(policies) <= there:
            break
        time.sleep(0.1)
    assert known <= found, (seed, sorted(known - found)[:10])
    assert found <= sent[0] | sent[1]
    assert set(policies) <= there, (seed, set(policies) - there)
    assert answers["right"] > rounds // 5, answers
    assert not wrong, (seed, wrong[:3])


def test_kills(network: Network) -> None:
    """A sample of the storm."""
    kills(network, 5, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_fifty_kills(network: Network, seed: int) -> None:
    """Fifty rounds; `make kill`."""
    kills(network, 50, seed=100 + seed)
