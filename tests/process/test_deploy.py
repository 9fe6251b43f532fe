"""Real nodes that are given nothing but a file of variables each, those of etc/deploy/examples (docs/deploy.rst)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from node import NodeProcess, free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "etc" / "deploy"
NAMES = ("master", "operator1", "operator2", "publisher", "query")
DBMS, TABLE = "town", "weather"


class Deployed(NodeProcess):
    """One `anylog run --env`, from a directory where nothing of the project is."""

    def __init__(self, home: Path, variables: Path, port: int) -> None:
        super().__init__(home, port=port, dbms=DBMS)
        self.variables = variables

    def start(self, environ: dict[str, str] | None = None, wait: float = 60.0) -> float:
        """Start it and wait until the script is done, which the log tells."""
        begin = time.perf_counter()
        self.launch(environ)
        seen = self.ready()
        while self.ready() == seen and time.perf_counter() - begin < wait:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)
        assert self.ready() > seen, self.log.read_text()[-3000:]
        return time.perf_counter() - begin

    def launch(self, environ: dict[str, str] | None = None) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            words = ("run", "--home", str(self.home), "--env", str(self.variables), "process", str(DEPLOY / "main.al"))
            self.process = subprocess.Popen(
                [sys.executable, "-m", "anylog.cli", *words],
                cwd=self.home.parent,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
            )

    def ready(self) -> int:
        """How many of its lives have started."""
        return self.log.read_text().count(" is ready, its data is in ") if self.log.exists() else 0

    def asked(self, command: str) -> Any:  # type: ignore[override]
        """JSON, or text, over REST."""
        said = self.command(command).decode()
        try:
            return json.loads(said)
        except ValueError:
            return said.strip()

    def running(self) -> list[str]:
        """Processes."""
        found = self.asked("get processes where format = json")
        return sorted(name for name, each in found.items() if "Running" in str(each))

    def put(self, numbers: range) -> None:
        """Readings."""
        rows = [{"timestamp": "2026-11-21 10:00:00", "number": number} for number in numbers]
        headers = {"type": "json", "dbms": DBMS, "table": TABLE, "mode": "streaming"}
        status, said = self.request("PUT", "/", json.dumps(rows).encode(), **headers)
        assert status == 200, said

    def numbers(self, **more: str) -> list[int]:
        """Of the readings that it answers with; of the network with `destination`."""
        text = f'sql {DBMS} format = json and stat = false "select number from {TABLE} order by number"'
        status, body = self.get(**{"User-Agent": "AnyLog/1.23", "command": text, **more})
        return [row["number"] for row in json.loads(body)["Query"]] if status == 200 else []


def variables(folder: Path, name: str, ports: dict[str, int]) -> Path:
    """The example of that name, with ports of this test and nothing else changed."""
    text = (DEPLOY / "examples" / f"{name}.env").read_text()
    text, tcp = re.subn(r"(?m)^ANYLOG_SERVER_PORT=.*", f"ANYLOG_SERVER_PORT={ports[name]}", text)
    text, rest = re.subn(r"(?m)^ANYLOG_REST_PORT=.*", f"ANYLOG_REST_PORT={ports[f'{name} rest']}", text)
    text, ledger = re.subn(r"(?m)^LEDGER_CONN=.*", f"LEDGER_CONN=127.0.0.1:{ports['master']}", text)
    assert (tcp, rest, ledger) == (1, 1, 1)
    path = folder / f"{name}.env"
    path.write_text(text)
    return path


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[str, Deployed]]:
    ports: dict[str, int] = {}
    for name in NAMES:
        for door in (name, f"{name} rest"):
            ports[door] = free_port(ports.values())
    made = {name: Deployed(tmp_path / name, variables(tmp_path, name, ports), ports[f"{name} rest"]) for name in NAMES}
    try:
        yield made
    finally:
        for node in made.values():
            node.remove()


def until(holds: Callable[[], object], seconds: float = 60.0) -> Any:
    """What is asked, once it holds."""
    end = time.monotonic() + seconds
    while True:
        found = holds()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def test_five_files(nodes: dict[str, Deployed]) -> None:
    """Data in through the publisher and an operator, equal copies, one answer; all of it again after a restart."""
    for node in nodes.values():
        node.start()
    operators = (nodes["operator1"], nodes["operator2"])
    nodes["operator2"].put(range(20))
    assert until(lambda: nodes["operator2"].numbers() == list(range(20)))  # the ledger has the table
    nodes["operator2"].command("flush buffers", "POST")
    assert until(lambda: all(node.numbers() == list(range(20)) for node in operators))
    nodes["publisher"].put(range(20, 50))
    nodes["publisher"].command("flush buffers", "POST")
    everything = list(range(50))
    assert until(lambda: all(node.numbers() == everything for node in operators)), [len(n.numbers()) for n in operators]
    assert until(lambda: nodes["query"].numbers(destination="network") == everything)

    def version() -> str:
        """Of the ledger, if all nodes have the same."""
        found = {str(node.asked("get metadata version")) for node in nodes.values()}
        return found.pop() if len(found) == 1 else ""

    def looked(name: str) -> list[Any]:
        return [nodes[name].asked("blockchain get *"), nodes[name].running()]

    before, seen = until(version), {name: looked(name) for name in NAMES}
    assert before and len(seen["query"][0]) > len(NAMES)
    assert {"Operator", "Distributor", "Consumer", "Streamer"} <= set(seen["operator1"][1])
    assert seen["operator1"][1] == seen["operator2"][1]
    assert {"Publisher", "Streamer"} <= set(seen["publisher"][1])
    for node in nodes.values():
        assert node.stop() in (0, -15)
    for node in nodes.values():
        node.start()
    assert until(version) == before
    until(lambda: {name: looked(name) for name in NAMES} == seen)
    assert {name: looked(name) for name in NAMES} == seen
    nodes["publisher"].put(range(50, 60))
    nodes["publisher"].command("flush buffers", "POST")
    everything = list(range(60))
    assert until(lambda: all(node.numbers() == everything for node in operators))
    assert until(lambda: nodes["query"].numbers(destination="network") == everything)


def test_ends_with_the_reason(nodes: dict[str, Deployed]) -> None:
    """A variable that cannot be ends the process with status 1; the file wins over what is there."""
    node = nodes["master"]
    text = node.variables.read_text()
    node.variables.write_text(text + "DB_TYPE=oracle\n")
    node.launch({"DB_TYPE": "sqlite"})
    assert node.process is not None and node.process.wait(60) == 1
    assert "DB_TYPE is oracle and should be sqlite or psql" in node.log.read_text()
    node.variables.write_text(text + "DB_TYPE\n")
    node.launch()
    assert node.process.wait(60) == 1
    assert "master.env line" in node.log.read_text() and "this is not NAME=value" in node.log.read_text()
    node.variables.write_text(text)
    node.start({"DB_TYPE": "sqlite", "NODE_TYPE": "query"})
    assert "blockchain" in node.asked("get databases")
