"""Every command, asked of nodes that run: the lines of the corpus, each with its answer (see corpus/README.rst)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from corpus import Line, Lying, problem, read, rooms

from anylog.language.words import Words
from anylog.node import ALL_COMMANDS
from anylog.plugins import find
from anylog.southbound.commands import commands

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from network import Network
from node import NodeProcess, free_port

WORDS = Words((*ALL_COMMANDS, *commands(find().plugins.values())))
PATIENCE = 60.0  # seconds until an answer that is waited for has to be there
CORPUS = {path.stem: read(path) for path in rooms()}
LINES = [entry for entries in CORPUS.values() for entry in entries if isinstance(entry, Line)]
IN_NETWORK = ("master", "operator0", "operator1", "query")


OPERATORS = "blockchain get operator bring.count"


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"{what} is not ready"
        time.sleep(0.05)  # between two looks at another process


def settled(operator: NodeProcess) -> bool:
    """Whether it knows both members of its cluster to be complete."""
    told = json.loads(operator.command("get cluster info where format = json"))
    return [each["Status"] for each in told.get("Participating Operators", ())] == ["active", "active"]


class Town:
    """The nodes of the corpus, each started when a line first asks for it; the lines of a room are asked in order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: set[int] = set()
        self._alone: NodeProcess | None = None
        self._network: Network | None = None
        self._asked: dict[str, int] = {}  # by room: how many of its entries
        self._answers: dict[Line, str] = {}

    def stop(self) -> None:
        """All that was started."""
        if self._network is not None:
            self._network.stop()
        if self._alone is not None and self._alone.process is not None and self._alone.process.poll() is None:
            self._alone.stop()

    def outcome(self, line: Line) -> str:
        """Why the answer to a line is wrong, or nothing. What stands above it in its room is asked before."""
        entries = CORPUS[line.room]
        while line not in self._answers:
            at = self._asked.get(line.room, 0)
            self._asked[line.room] = at + 1
            entry = entries[at]
            if isinstance(entry, Lying):
                path = self._node(entry.node).root / entry.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(entry.text)
            else:
                self._answers[entry] = self._ask(entry)
        return self._answers[line]

    def _ask(self, line: Line) -> str:
        end = time.monotonic() + (PATIENCE if line.patient else 0)
        while True:
            status, body = self._request(line)
            told = body.decode()
            wrong = problem(line.expected, status, told)
            if not wrong or time.monotonic() > end:
                return wrong and f"{line.node}> {line.text}\n{wrong}:\n{status}\n{told}"
            time.sleep(0.05)  # between two looks at another process

    def _request(self, line: Line) -> tuple[int, bytes]:
        node = self._node(line.node)
        command = WORDS.command_of(line.text)
        method = line.method or ("GET" if command is not None and "GET" in command.http else "POST")
        headers = {"User-Agent": "AnyLog/1.23", "command": line.text}
        if line.destination:
            headers["destination"] = line.destination
        if "\n" not in line.text:
            return node.request(method, "/", None, **headers)
        return node.request("POST", "/", line.text.encode(), **{**headers, "command": "body"})

    def _node(self, name: str) -> NodeProcess:
        if name == "alone":
            if self._alone is None:
                self._alone = self._start_alone()
            return self._alone
        if self._network is None:
            self._network = self._start_network()
        return dict(zip(IN_NETWORK, self._network.nodes, strict=True))[name]

    def _port(self) -> int:
        port = free_port(self._ports)
        self._ports.add(port)
        return port

    def _start_alone(self) -> NodeProcess:
        """A node that knows nobody."""
        tcp = self._port()
        node = NodeProcess(self._folder / "alone", port=self._port(), dbms="town")
        listen = f"internal_ip = 127.0.0.1 and internal_port = {tcp} and bind = true"
        node.commands = ("set node name alone", f"run tcp server where {listen}")
        node.start()
        spare = {f"{name}_port": self._port() for name in ("broker", "spare", "telnet", "syslog")}
        for key, value in {"url": f"http://127.0.0.1:{node.port}", "rest_port": node.port, **spare}.items():
            node.command(f"{key} = {value}", "POST")
        return node

    def _start_network(self) -> Network:
        """A master, two operators of one cluster that hold copies of each other, and a query node."""
        network = Network(self._folder / "network", 2, clusters=[0, 0], copies=True, every="1")
        network.master.start()
        with ThreadPoolExecutor() as starting:  # the second operator finds the cluster of the first
            list(starting.map(NodeProcess.start, (network.operators[0], network.query)))
        network.operators[1].start()
        until(lambda: all(map(settled, network.operators)) and network.query.command(OPERATORS) == b"2", "the cluster")
        self._ports |= {node.port for node in network.nodes} | set(network.tcp.values())
        for node in network.nodes:
            for name, port in network.tcp.items():
                node.command(f"{name}_conn = 127.0.0.1:{port}", "POST")
        return network


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Town(tmp_path_factory.mktemp("corpus"))
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("line", LINES, ids=str)
def test_line(line: Line, town: Town) -> None:
    """The node answers as it is written."""
    wrong = town.outcome(line)
    assert not wrong, wrong
