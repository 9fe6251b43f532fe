"""A publisher before two operators, as real processes, some of them killed: each row is in the answer once."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from network import Network
from node import NodeProcess

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
START = 300.0  # seconds for a node to start, on a machine that has other work


class Published(Network):
    """Two operators of one cluster, and a publisher that is started by the script of `etc`."""

    def __init__(self, folder: Path):
        super().__init__(folder, 2, clusters=(1, 1), every="2", copies=True)
        self.publisher = self._node("publisher", "")
        self.publisher.commands = self._publisher()

    @property
    def nodes(self) -> list[NodeProcess]:
        made = [self.master, *self.operators, self.query]
        return [*made, self.publisher] if hasattr(self, "publisher") else made

    def _publisher(self) -> tuple[str, ...]:
        """The script as it is, but for what this harness starts itself: the REST server, and the streamer."""
        text = (ROOT / "etc" / "publisher.al").read_text()
        text = text[: text.index("# --- Senders put")].replace("run streamer\n", "")
        (self.folder / "publisher.al").write_text(text)
        self.tcp["publisher"] = self._port()
        given = {
            "ip": "127.0.0.1", "external_ip": "127.0.0.1", "tcp_port": self.tcp["publisher"], "tcp_bind": "true",
            "rest_port": self.publisher.port, "ledger_conn": f"127.0.0.1:{self.tcp['master']}",
            "company_name": "My Company", "node_name": "publisher", "blockchain_sync": "2 seconds",
        }  # fmt: skip
        thresholds = "set buffer threshold where time = 1 seconds and volume = 2KB"
        lines = [f"{key} = {value}" for key, value in given.items()]
        return (*lines, f"process {self.folder / 'publisher.al'}", thresholds)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Published]:
    made = Published(tmp_path / "network")
    try:
        yield made
    finally:
        made.remove()


def put(node: NodeProcess, values: list[int], mode: str) -> bool:
    """Whether the rows were acknowledged."""
    try:
        status, _ = node.request(
            "PUT", "/", json.dumps([{"v": value} for value in values]).encode(), type="json", dbms="town", table="t",
            mode=mode, **{"User-Agent": "AnyLog/1.23", "Content-Type": "application/json"},
        )  # fmt: skip
    except OSError:
        return False
    except Exception as broken:  # http.client has its own for what ends in the middle
        if type(broken).__module__ != "http.client":
            raise
        return False
    return status == 200


class Feeder(threading.Thread):
    """Puts rows, each number once, until it is told to stop."""

    def __init__(self, node: NodeProcess) -> None:
        super().__init__(daemon=True)
        self.node, self.sure, self.tried, self.ended = node, list[int](), 0, threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            values = list(range(self.tried, self.tried + 5))
            self.tried += 5
            if put(self.node, values, ("file", "streaming")[self.tried % 2]):
                self.sure += values
            self.ended.wait(0.02)


def found(node: NodeProcess) -> list[int]:
    return sorted(row[0] for row in node.asked("town", "select v from t"))


def test_killed_under_load(network: Published) -> None:
    """Operators and the publisher are killed while it is fed: what it said yes to is on both operators, once."""
    for node in network.nodes:
        node.start(wait=START)
    chance = random.Random(3)
    feeder = Feeder(network.publisher)
    feeder.start()
    for number in range(ROUNDS):
        end = time.monotonic() + START
        wanted = len(feeder.sure) + chance.randint(20, 100)
        while len(feeder.sure) < wanted:
            assert time.monotonic() < end
            time.sleep(0.01)
        victim = network.publisher if number % 2 else chance.choice(network.operators)
        victim.kill()
        victim.start(wait=START)
    feeder.ended.set()
    feeder.join(60)
    lying = network.publisher.watch
    end = time.monotonic() + 240
    while True:
        one, two = (found(node) for node in network.operators)
        waiting = [path for path in lying.iterdir() if ".json" in path.name]
        if not waiting and one == two and set(feeder.sure) <= set(one):
            break
        assert time.monotonic() < end, (len(waiting), len(one), len(two), len(feeder.sure))
        time.sleep(0.2)
    assert len(one) == len(set(one))
    assert network.ask_until("select count(*) from t", [{"count(*)": len(one)}], 60) == [{"count(*)": len(one)}]
    status, body = network.publisher.get(
        command="get publisher summary where format = json", **{"User-Agent": "AnyLog/1.23"}
    )
    assert status == 200 and json.loads(body)["status"] == "Active"
    assert b"Publisher" in network.publisher.command("get processes")
