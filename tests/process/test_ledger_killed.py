"""A real master is killed and started again while three nodes insert: all nodes end with the same ledger."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import pytest
from network import Network
from node import NodeProcess


class Writer(threading.Thread):
    """Inserts policies at its node, and deletes some of its own, until it has had enough."""

    def __init__(self, number: int, node: NodeProcess, master: str) -> None:
        super().__init__(daemon=True)
        self.number, self.node, self.master, self.chance = number, node, master, Random(number)
        self.inserted: set[str] = set()
        self.deleted: set[str] = set()
        self.warned = 0
        self.enough = threading.Event()

    def ask(self, text: str) -> bytes | None:
        """The answer, None if it was refused."""
        status, body = self.node.request("POST", "/", None, **{"User-Agent": "AnyLog/1.23", "command": text})
        return body if status == 200 else None

    def run(self) -> None:
        step = 0
        while not self.enough.is_set():
            name = f"n{self.number}-{step}"
            policy = json.dumps({"device": {"id": name, "name": name}})
            told = self.ask(f"blockchain insert where policy = {policy} and local = true and master = {self.master}")
            if told is not None:
                self.inserted.add(name)
                self.warned += b"waits" in told
            if self.inserted and self.chance.random() < 0.2:
                gone = self.chance.choice(sorted(self.inserted))
                self.inserted.discard(gone)
                where = f"id = {gone} and local = true and master = {self.master}"
                if self.ask(f"blockchain delete policy where {where}") is not None:
                    self.deleted.add(gone)
            step += 1


def ids(node: NodeProcess) -> set[str]:
    return {each["device"]["id"] for each in json.loads(node.command("blockchain get device"))}


def until(holds: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        threading.Event().wait(0.05)
    return False


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.long)])
def test_master_killed(tmp_path: Path, times: int) -> None:
    """What was acknowledged is on all nodes, what was deleted on none, and they tell the same version."""
    network = Network(tmp_path / "network", 2, every="1")
    try:
        network.start()
        nodes = [*network.operators, network.query]
        master = f"127.0.0.1:{network.tcp['master']}"
        writers = [Writer(number, node, master) for number, node in enumerate(nodes)]
        for writer in writers:
            writer.start()
        for _ in range(times):
            before = [len(writer.inserted) for writer in writers]
            assert until(lambda: all(len(w.inserted) > n + 5 for w, n in zip(writers, before, strict=True)), 60)  # noqa: B023
            network.master.kill()
            before = [writer.warned for writer in writers]
            assert until(lambda: all(w.warned > n + 3 for w, n in zip(writers, before, strict=True)), 60)  # noqa: B023
            network.master.start()
        for writer in writers:
            writer.enough.set()
        for writer in writers:
            writer.join(60)
            assert not writer.is_alive()
        inserted = {name for writer in writers for name in writer.inserted}
        deleted = {name for writer in writers for name in writer.deleted}
        assert deleted and len(inserted) > 30

        def versions() -> set[bytes]:
            return {node.command("get metadata version").strip() for node in network.nodes}

        def waiting() -> list[int]:
            """How much each node has still to hear of from the master."""
            told = [json.loads(node.command("get metadata info where format = json")) for node in network.nodes]
            return [each["Waiting"] for each in told]

        assert until(lambda: not any(waiting()) and len(versions()) == 1, 60), (waiting(), versions())
        for node in network.nodes:
            found = ids(node)
            assert not inserted - found, (node.home.name, "lost")
            back = sorted(deleted & found)
            assert not back, (node.home.name, "came back", back)
        assert not any(waiting())
        network.stop()
        network.start()
        assert until(lambda: len(versions()) == 1, 60), versions()
        assert not inserted - ids(network.query) and not deleted & ids(network.operators[0])
    finally:
        network.remove()
