"""`make demo`: a master, two operators and a query node on this machine, fed with the weather of two cities.

Each node is a process of its own that runs a script of etc/. Ctrl-C stops them all.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NoReturn

from anylog.prompt.door import Door, Refused, Unreachable, ask, copy

SCRIPTS = Path(__file__).resolve().parents[1]
HOST, DBMS, TABLE = "127.0.0.1", "town", "weather"
START_SECONDS = 30.0
SEEN_SECONDS = 20.0
STOP_SECONDS = 30.0
BATCH = 500  # readings in one request
LOG_LINES = 25

BY_CITY = (
    "select city, count(*) as readings, min(temp) as coldest, round(avg(temp), 1) as mean, max(temp) as warmest "
    f"from {TABLE} group by city order by city"
)
SUMMER = (
    f"select increments(month, 1, timestamp) as month, city, min(temp) as coldest, max(temp) as warmest from {TABLE} "
    "where timestamp >= '2010-06-01' and timestamp < '2010-09-01' group by city"
)

PICTURE = """
                         +---------------------+
                         |  master      {master:>5}  |  keeps the ledger: who is there,
                         +---------------------+  and who has which table
                          /         |         \\
   +---------------------+ +---------------------+ +---------------------+
   |  operator1   {operator1:>5}  | |  operator2   {operator2:>5}  | |  query       {query:>5}  |  asks both and puts
   |  Seattle            | |  San Francisco      | |                     |  the answers together
   +---------------------+ +---------------------+ +---------------------+
"""


class Failed(Exception):
    """The demo cannot go on; the text says why, the log of the node that is the reason shows more."""

    def __init__(self, text: str, node: Node | None = None) -> None:
        super().__init__(text)
        self.node = node


class Node:
    """One `anylog run` with a home and a log of its own."""

    def __init__(self, name: str, script: str, tcp: int, **keys: str) -> None:
        """`keys` are what the script is told before it runs; REST listens on the port after `tcp`."""
        self.name, self.script, self.tcp, self.rest = name, script, tcp, tcp + 1
        self.keys = {
            "ip": HOST, "external_ip": HOST, "tcp_bind": "true", "rest_bind": "true", "node_name": name,
            "company_name": "Demo", "tcp_port": str(tcp), "rest_port": str(tcp + 1), **keys,
        }  # fmt: skip
        self.log = Path()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path, scripts: Path) -> None:
        """Start the process; it is not yet ready."""
        self.log = folder / f"{self.name}.log"
        commands = [*(f"{key} = {value}" for key, value in self.keys.items()), f'process "{scripts / self.script}"']
        words = [word for command in commands for word in ("and", command)][1:]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "anylog.cli", "run", "--home", str(folder / self.name), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the nodes one by one
            )

    def wait(self) -> None:
        """Until it answers. Raises Failed with the end of its log if it ends instead, or takes too long."""
        assert self.process is not None
        end = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} did not start, it ended with status {self.process.returncode}", self)
            try:
                connection = HTTPConnection(HOST, self.rest, timeout=2)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except (OSError, HTTPException):
                pass
            finally:
                connection.close()
            if time.monotonic() > end:
                raise Failed(f"{self.name} does not answer after {START_SECONDS:g} seconds", self)
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to end; `ended` waits for that."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def ended(self) -> None:
        """Wait until it has ended; kill it if it takes too long."""
        if self.process is None:
            return
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            say(f"{self.name} does not stop, it is killed")
            self.process.kill()
            self.process.wait()

    def tail(self) -> str:
        """The end of its log, to be shown."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"The end of {self.log}:", *(f"    {line}" for line in lines)])

    def command(self, text: str) -> str:
        """Ask it. Raises Failed."""
        door = Door(HOST, self.rest, 30)
        pieces: list[bytes] = []
        try:
            copy(ask(door, text), pieces.append)
        except (Refused, Unreachable, OSError, HTTPException) as why:
            raise Failed(f"{self.name} was asked: {text}\n    {why}", self) from why
        finally:
            door.close()
        return b"".join(pieces).decode()


def readings(name: str, city: str) -> list[dict[str, Any]]:
    """The hourly temperatures of 2010, in degrees Fahrenheit, that the package vega_datasets brings along."""
    found = importlib.util.find_spec("vega_datasets")
    if found is None or found.origin is None:
        raise Failed("the data is missing; get it with: pip install --no-deps 'vega_datasets>=0.9,<1'")
    with (Path(found.origin).parent / "_data" / name).open(newline="") as file:
        return [
            {"timestamp": row["date"].replace("/", "-")[:16] + ":00", "city": city, "temp": float(row["temp"])}
            for row in csv.DictReader(file)
        ]


def feed(node: Node, rows: Sequence[dict[str, Any]]) -> None:
    """Send readings as a device would. A batch that is sent again, in a second demo of one home, counts once."""
    connection = HTTPConnection(HOST, node.rest, timeout=60)
    headers = {"type": "json", "dbms": DBMS, "table": TABLE, "mode": "streaming"}
    try:
        for first in range(0, len(rows), BATCH):
            headers["Idempotency-Key"] = f"demo-{node.name}-{first}"
            connection.request("PUT", "/", json.dumps(rows[first : first + BATCH]), headers)
            answer = connection.getresponse()
            told = answer.read()
            if answer.status != 200:
                raise Failed(f"{node.name} does not take readings: {told.decode(errors='replace')}", node)
    except (OSError, HTTPException) as why:
        raise Failed(f"{node.name} does not take readings: {why}", node) from why
    finally:
        connection.close()


def held(node: Node) -> int:
    """Readings that are there from an earlier demo."""
    try:
        told = json.loads(
            node.command(f'sql {DBMS} format = json and stat = false "select count(*) as n from {TABLE}"')
        )
        return int(told["Query"][0]["n"])
    except (Failed, ValueError, KeyError, IndexError):  # there is no such table yet
        return 0


def network_sql(statement: str, layout: str = "table") -> str:
    """What one types at the query node."""
    return f'run client () sql {DBMS} format = {layout} and stat = false "{statement}"'


def wait_for(query: Node, wanted: int) -> None:
    """Until the query node sees all readings. Raises Failed."""
    end = time.monotonic() + SEEN_SECONDS
    seen = ""
    while time.monotonic() < end:
        try:
            seen = query.command(network_sql(f"select count(*) as n from {TABLE}", "json"))
            if json.loads(seen)["Query"][0]["n"] == wanted:
                return
        except (Failed, ValueError, KeyError, IndexError, TypeError) as why:
            seen = str(why)
        time.sleep(0.1)
    raise Failed(f"the query node should count {wanted:,} readings; it says: {seen.strip()}", query)


def free(ports: Sequence[int]) -> None:
    """Raise Failed if somebody listens on one of them."""
    taken = []
    for port in ports:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((HOST, port))
            except OSError:
                taken.append(str(port))
    if taken:
        raise Failed(f"in use on this machine: port {', '.join(taken)}; try  make demo DEMO='--shift 1000'")


def show(nodes: Sequence[Node], folder: Path, kept: bool) -> None:
    """The tables, and what one may do next."""
    query, operator = nodes[-1], nodes[1]
    for title, statement in (("The year by city", BY_CITY), ("The summer by month", SUMMER)):
        say(f"{title}, in degrees Fahrenheit:\n\n    {network_sql(statement)}\n")
        say(query.command(network_sql(statement)).replace("\r\n", "\n").strip("\n") + "\n")
    anylog = Path(sys.executable).with_name("anylog")
    program = str(anylog) if anylog.exists() else f"{sys.executable} -m anylog.cli"
    say(f"The four nodes go on until Ctrl-C; their data and logs are in {folder}{'' if kept else ', until then'}.")
    say(f"Ask more, at a prompt:\n\n    {program} cli {HOST}:{query.rest}\n")
    for line in (
        network_sql(f"select city, avg(temp) as mean from {TABLE} group by city"),
        network_sql(f"select timestamp, city, temp from {TABLE} order by temp desc limit 3"),
        "query status",
        "get data nodes",
        "test network",
        "run client (operator) get status",
    ):
        say(f"        {line}")
    assert operator.process is not None
    say(f"\nOr kill an operator, kill {operator.process.pid}, and see what the network answers then.\n")
    sys.stdout.flush()


def stay(nodes: Sequence[Node]) -> None:
    """Until a signal comes; a node that ends is told of."""
    running = list(nodes)
    while running:
        for node in running[:]:
            assert node.process is not None
            if node.process.poll() is not None:
                running.remove(node)
                say(f"{node.name} has ended with status {node.process.returncode}. {node.tail()}")
        time.sleep(0.3)
    raise Failed("all nodes have ended")


def play(nodes: Sequence[Node], folder: Path, told: argparse.Namespace) -> None:
    """Start, feed, ask, and stay. Raises Failed and KeyboardInterrupt."""
    master, first, second, query = nodes
    cities = [(first, readings("seattle-temps.csv", "Seattle")), (second, readings("sf-temps.csv", "San Francisco"))]
    free([port for node in nodes for port in (node.tcp, node.rest)])
    begin = time.monotonic()
    master.start(folder, told.scripts)
    master.wait()
    for node in nodes[1:]:
        node.start(folder, told.scripts)
    for node in nodes[1:]:
        node.wait()
    say(f"Four nodes are up after {time.monotonic() - begin:.1f} s, REST on the ports shown:")
    say(PICTURE.format(**{node.name: node.rest for node in nodes}))
    begin = time.monotonic()
    for node, rows in cities:
        if held(node) < len(rows):
            feed(node, rows)
    total = sum(len(rows) for _, rows in cities)
    wait_for(query, total)
    seconds = time.monotonic() - begin
    say(f"{total:,} readings went in at the operators, and the query node sees them, after {seconds:.1f} s.\n")
    show(nodes, folder, kept=told.home is not None)
    if not told.once:
        stay(nodes)


def options() -> argparse.Namespace:
    """What was said on the command line."""
    parser = argparse.ArgumentParser(prog="make demo DEMO='...'", description="Four nodes on this machine.")
    parser.add_argument("--home", type=Path, help="keep everything below this directory; else it goes at the end")
    parser.add_argument("--shift", type=int, default=0, metavar="N", help="add N to each port")
    parser.add_argument("--once", action="store_true", help="end after the tables were shown")
    parser.add_argument("--scripts", type=Path, default=SCRIPTS, help="directory of master.al, operator.al, query.al")
    return parser.parse_args()


def cast(shift: int) -> list[Node]:
    """Who plays: the master first, the query node last."""
    ledger = f"{HOST}:{32048 + shift}"
    return [
        Node("master", "master.al", 32048 + shift),
        Node("operator1", "operator.al", 32148 + shift, ledger_conn=ledger, cluster_name="seattle", default_dbms=DBMS),
        Node("operator2", "operator.al", 32158 + shift, ledger_conn=ledger, cluster_name="sf", default_dbms=DBMS),
        Node("query", "query.al", 32348 + shift, ledger_conn=ledger),
    ]


def main() -> int:
    """Exit status: 0 shown and stopped, 1 failed."""
    told = options()
    told.scripts = told.scripts.resolve()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    folder = told.home.expanduser().resolve() if told.home else Path(tempfile.mkdtemp(prefix="anylog-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    nodes = cast(told.shift)
    status = 0
    try:
        play(nodes, folder, told)
    except KeyboardInterrupt:
        say("")
    except Failed as why:
        say(f"The demo has failed: {why}", sys.stderr)
        if why.node is not None and why.node.log.is_file():
            say(why.node.tail(), sys.stderr)
        status = 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what was begun is ended; each node has its limit
    for node in reversed(nodes):
        node.stop()
        node.ended()
    if told.home is None:
        shutil.rmtree(folder, ignore_errors=True)
    say("All nodes have stopped." + (f" Their data is in {folder}." if told.home else ""))
    return status


def say(text: str, stream: Any = None) -> None:
    """To whoever looks."""
    print(text, file=stream or sys.stdout, flush=True)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
