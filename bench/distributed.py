"""Figures of a network of real nodes: questions over two operators, the ledger, and what a dead operator costs."""

from __future__ import annotations

import http.client
import json
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).parent))
import load
from network import DBMS, Network
from node import NodeProcess

Show = Callable[[str, str, str, float, str, bool], None]
GROUP = (
    "select device, count(*) as n, avg(value) as mean, max(value) as hi from readings group by device order by device"
)


class Client:
    """One connection that is kept, as a dashboard has it."""

    def __init__(self, node: NodeProcess):
        self._connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)

    def ask(self, command: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        self._connection.request(method, "/", None, {"User-Agent": "AnyLog/1.23", "command": command, **headers})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def sql(self, statement: str, options: str = "format = json and stat = false") -> bytes:
        """The answer of the whole network."""
        status, body = self.ask(f'sql {DBMS} {options} "{statement}"', destination="network")
        if status != 200:
            raise RuntimeError(f"{statement}: {status} {body!r}")
        return body

    def close(self) -> None:
        """Let it go."""
        self._connection.close()


def seconds_of(times: int, do: Callable[[], Any]) -> list[float]:
    """How long each of so many calls takes, sorted."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        do()
        found.append(time.perf_counter() - begin)
    return sorted(found)


def fill(network: Network, table: str, made: Sequence[list[bytes]]) -> None:
    """The bodies of each operator, until the query node finds every row."""
    total = 0
    for node, bodies in zip(network.operators, made, strict=True):
        load.run(("127.0.0.1", node.port), iter([load.put(body, DBMS, table) for body in bodies]), 4)
        total += sum(body.count(b'"device"') for body in bodies)
    found = network.ask_until(f"select count(*) as n from {table}", [{"n": total}], 60)
    if found != [{"n": total}]:
        raise RuntimeError(f"{table}: {found} of {total} rows")


def bare(path: Path, bodies: Sequence[bytes], columns: Sequence[str]) -> sqlite3.Connection:
    """The same rows in one plain SQLite with the indexes that our tables have."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute(
        "create table readings (row_id integer primary key, insert_timestamp text, tsd_name text, tsd_id integer,"
        " device text, timestamp text, value real, humidity int, status text, seq int)"
    )
    connection.execute("create index a on readings (tsd_name, tsd_id)")
    connection.execute("create index b on readings (insert_timestamp)")
    connection.execute("create index c on readings (timestamp)")
    connection.execute("begin")
    for body in bodies:
        values = [tuple(row[name] for name in columns) for row in orjson.loads(body)]
        connection.executemany(
            f"insert into readings (insert_timestamp, tsd_name, tsd_id, {', '.join(columns)})"
            " values ('2026-11-21 00:00:00.000000', '0', 0, ?, ?, ?, ?, ?, ?)",
            values,
        )
    connection.execute("commit")
    return connection


def questions(folder: Path, show: Show, bodies: Sequence[bytes], columns: Sequence[str]) -> None:
    """Group by, count, raw rows, from two operators that hold half of the rows each."""
    network = Network(folder / "questions")
    try:
        network.start()
        half = len(bodies) // 2
        fill(network, "readings", [list(bodies[:half]), list(bodies[half:])])
        yard = bare(folder / "bare.db", bodies, columns)
        client = Client(network.query)

        wanted = [dict(zip(("device", "n", "mean", "hi"), row, strict=True)) for row in yard.execute(GROUP)]
        found = json.loads(client.sql(GROUP))["Query"]
        assert [row["n"] for row in found] == [row["n"] for row in wanted], (found[:2], wanted[:2])
        assert all(abs(a["mean"] - b["mean"]) < 1e-9 for a, b in zip(found, wanted, strict=True))
        ours = statistics.median(seconds_of(40, lambda: client.sql(GROUP)))
        theirs = statistics.median(seconds_of(20, lambda: yard.execute(GROUP).fetchall()))
        show("group by 10 devices, 100,000 rows on 2, p50", f"{ours * 1e3:.1f} ms", f"{theirs * 1e3:.1f} ms",
             ours / theirs, "<= 1.0", ours <= theirs)  # fmt: skip

        count = "select count(*) as n from readings"
        ours = statistics.median(seconds_of(200, lambda: client.sql(count)))
        theirs = statistics.median(seconds_of(50, lambda: yard.execute(count).fetchall()))
        show("count(*) on 2, p50", f"{ours * 1e3:.2f} ms", f"{theirs * 1e3:.2f} ms", ours * 1e3, "<= 3 ms",
             ours <= 0.003)  # fmt: skip

        raw = f"select {', '.join(columns)} from readings limit 10000"

        def dumped() -> bytes:
            rows = yard.execute(raw).fetchall()
            return orjson.dumps([dict(zip(columns, row, strict=True)) for row in rows])

        assert len(json.loads(client.sql(raw))["Query"]) == 10_000
        ours = statistics.median(seconds_of(40, lambda: client.sql(raw)))
        theirs = statistics.median(seconds_of(20, dumped))
        show("10,000 raw rows from 2, p50", f"{ours * 1e3:.1f} ms", f"{theirs * 1e3:.1f} ms", ours / theirs, "<= 3.0",
             ours / theirs <= 3.0)  # fmt: skip

        peer = f"run client (127.0.0.1:{network.tcp['operator0']}) get status"
        status, body = client.ask(peer, "POST")
        assert status == 200 and b"running" in body, (status, body)
        ours = statistics.median(seconds_of(500, lambda: client.ask(peer, "POST")))
        theirs = statistics.median(seconds_of(500, lambda: client.ask("get status")))
        show("run client (x) get status over REST, p50", f"{ours * 1e3:.2f} ms", f"{theirs * 1e3:.2f} ms here",
             ours * 1e3, "< 1 ms", ours < 0.001)  # fmt: skip
        client.close()
        yard.close()
    finally:
        network.remove()


def inserts(folder: Path, show: Show) -> None:
    """500 `blockchain insert` one after the other, through an operator to the master."""
    network = Network(folder / "inserts")
    try:
        network.start()
        client = Client(network.operators[0])
        master = f"127.0.0.1:{network.tcp['master']}"

        def insert(number: int) -> None:
            policy = json.dumps({"device": {"name": f"device {number}", "number": number}})
            text = f"blockchain insert where policy = {policy} and local = true and master = {master}"
            status, body = client.ask(text, "POST")
            assert status == 200, (status, body)

        begin = time.perf_counter()
        for number in range(500):
            insert(number)
        ours = time.perf_counter() - begin
        asked = Client(network.query)
        while True:
            _, body = asked.ask("blockchain get device bring.count")
            if body.strip() == b"500":
                break
            if time.perf_counter() - begin > 30:
                raise RuntimeError(f"{body!r} of 500 policies at the query node")
            time.sleep(0.01)
        seen = time.perf_counter() - begin
        show("500 blockchain insert through the master", f"{ours:.2f} s", f"{seen:.2f} s seen", ours, "<= 2 s",
             ours <= 2.0)  # fmt: skip
        client.close()
        asked.close()
    finally:
        network.remove()


def killed(folder: Path, show: Show, bodies: Sequence[bytes]) -> None:
    """One of three operators is killed: what the first question that needs it costs, and what others lose."""
    network = Network(folder / "killed", 3)
    try:
        network.start()
        third = len(bodies) // 3
        parts = [list(bodies[n * third : (n + 1) * third]) for n in range(3)]
        fill(network, "readings", parts)
        for number in range(2):
            for _ in range(2):
                load.run(
                    ("127.0.0.1", network.operators[number].port), iter([load.put(bodies[0], DBMS, f"own{number}")]), 1
                )
        client = Client(network.query)
        other = "select count(*) as n from own0"
        network.ask_until(other, [{"n": 200}])
        before = statistics.median(seconds_of(300, lambda: client.sql(other)))
        network.operators[2].kill()
        begin = time.perf_counter()
        status, body = client.ask(f'sql {DBMS} "select count(*) as n from readings"', destination="network")
        first = time.perf_counter() - begin
        assert status == 503 and b"cluster2" in body, (status, body)
        show("first question after a kill: fails by name", f"{first:.2f} s", f"status {status}", first, "<= 2 s",
             first <= 2.0)  # fmt: skip
        after = statistics.median(seconds_of(300, lambda: client.sql(other)))
        show("a question that does not need it, p50", f"{after * 1e3:.2f} ms", f"{before * 1e3:.2f} ms",
             after / before, "<= 1.1", after <= before * 1.1)  # fmt: skip
        client.close()
    finally:
        network.remove()
