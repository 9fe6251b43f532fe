"""kill -9 under load, at random and at every named point: acknowledged is found, once (hard-parts.md 1)."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess

THRESHOLDS = "set buffer threshold where time = 1 second and volume = 20KB"
# Named moments at which the process kills itself; the number says at which time it comes by.
POINTS = ("written", "synced", "inserted", "loaded", "done")


class Client(threading.Thread):
    """Sends readings one body after another and repeats each, with its key, until it hears yes."""

    def __init__(self, number: int, port: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.number, self.port, self.chance = number, port, random.Random(f"{seed}-{number}")
        self.sent: list[str] = []
        self.acknowledged: set[str] = set()
        self.enough = threading.Event()
        self.refusals: Counter[int] = Counter()

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        body_number = 0
        while not self.enough.is_set():
            names = [f"{self.number}-{body_number}-{n}" for n in range(self.chance.choice([1, 1, 3, 50]))]
            rows = [{"name": name, "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n, name in enumerate(names)]
            if self.chance.random() < 0.05:
                rows[0][f"extra{self.chance.randint(0, 5)}"] = "o'clock"
            headers = {"dbms": "town", "table": f"t{self.number % 2}", "mode": "streaming"}
            headers["Idempotency-Key"] = f"{self.number}-{body_number}"
            self.sent += names
            while True:
                try:
                    connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                    connection.request("PUT", "/", json.dumps(rows), headers)
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status == 200:
                        self.acknowledged.update(names)
                        break
                    self.refusals[answer.status] += 1
                    assert answer.status in (503, 507), answer.status
                except (OSError, http.client.HTTPException):
                    if connection is not None:
                        connection.close()
                    connection = None
                    if self.enough.wait(0.01):
                        return
            body_number += 1


def names_in(node: NodeProcess) -> Counter[str]:
    """Every name found in the tables, and how often."""
    found: Counter[str] = Counter()
    for table in ("t0", "t1"):
        answer = node.command(f'sql town format = json:list and stat = false "select name from {table}"')
        found.update(row["name"] for row in json.loads(answer))
    return found


def check(node: NodeProcess, clients: list[Client]) -> int:
    """All that was acknowledged is found, nothing twice; gives how many readings there are."""
    acknowledged = set().union(*(client.acknowledged for client in clients))
    until = time.monotonic() + 60
    while True:
        try:
            found = names_in(node)
        except RuntimeError:  # a table may be made yet, of what the journal has
            if time.monotonic() > until:
                raise
            found = Counter()
        if acknowledged <= set(found) or time.monotonic() > until:
            break
        time.sleep(0.05)
    lost = sorted(acknowledged - set(found))
    twice = sorted(name for name, times in found.items() if times > 1)
    assert (lost, twice) == ([], []), f"lost {lost[:5]} ({len(lost)}), twice {twice[:5]} ({len(twice)})"
    assert set(found) <= set().union(*(client.sent for client in clients))
    return len(found)


def sent_enough(clients: list[Client], least: int) -> None:
    """Wait until so many readings are acknowledged."""
    until = time.monotonic() + 60
    while sum(len(client.acknowledged) for client in clients) <= least:
        assert time.monotonic() < until, [(client.refusals, len(client.acknowledged)) for client in clients]
        time.sleep(0.05)


def storm(tmp_path: Path, rounds: int, seed: int) -> int:
    """Several clients, and `rounds` times a kill at a random moment; gives the readings that arrived."""
    chance = random.Random(seed)
    node = NodeProcess(tmp_path / "home", commands=(THRESHOLDS,))
    node.start()
    clients = [Client(number, node.port, seed) for number in range(4)]
    try:
        for client in clients:
            client.start()
        time.sleep(0.3)
        for _ in range(rounds):
            time.sleep(chance.uniform(0.0, 0.5))
            node.kill()
            node.start()
        sent_enough(clients, 100)
        for client in clients:
            client.enough.set()
        for client in clients:
            client.join(20)
        return check(node, clients)
    finally:
        for client in clients:
            client.enough.set()
        node.remove()


def test_random_kills(tmp_path: Path) -> None:
    """A sample of the storm: a few kills at random moments."""
    assert storm(tmp_path, rounds=5, seed=1) > 100


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_random_kills(tmp_path: Path, seed: int) -> None:
    """100 rounds of kill -9 under load, in four homes."""
    assert storm(tmp_path, rounds=25, seed=seed) > 100


@pytest.mark.parametrize("point", POINTS)
def test_kill_at_point(tmp_path: Path, point: str) -> None:
    """Killed at each named moment of a reading's way, early and late, it loses and doubles nothing."""
    node = NodeProcess(tmp_path / "home", commands=(THRESHOLDS,))
    node.start()
    clients = [Client(number, node.port, 7) for number in range(3)]
    try:
        for client in clients:
            client.start()
        for times in (1, 2, 7, 20):
            node.kill()
            with contextlib.suppress(RuntimeError):  # it may be killed before it was seen to answer
                node.start({"ANYLOG_KILL_AT": f"{point}:{times}"})
            assert node.process is not None
            assert node.process.wait(120) == -9, f"{point} was not passed {times} times"
            node.start()
        for client in clients:
            client.enough.set()
        for client in clients:
            client.join(20)
        assert check(node, clients) > 10
    finally:
        for client in clients:
            client.enough.set()
        node.remove()


def test_stop_and_start(tmp_path: Path) -> None:
    """SIGTERM under load ends cleanly with an empty journal, and the next start has everything."""
    node = NodeProcess(tmp_path / "home", commands=(THRESHOLDS,))
    node.start()
    clients = [Client(number, node.port, 3) for number in range(3)]
    try:
        for client in clients:
            client.start()
        time.sleep(1.0)
        sent_enough(clients, 100)
        for client in clients:
            client.enough.set()
        for client in clients:
            client.join(20)
        assert node.stop() == -signal.SIGTERM  # twistd lets the signal be the last word
        assert list((node.home / "journal").glob("*.journal")) == []
        node.start()
        assert check(node, clients) > 100
    finally:
        for client in clients:
            client.enough.set()
        node.remove()
