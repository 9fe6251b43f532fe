"""The table of figures: each is a ratio to a yardstick measured in the same run. `make bench`."""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).parent))
import broker
import copies
import distributed
import files
import language
import ledger
import load
import local_rows
import outside_rows
from node import NodeProcess

BASE = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = ("device", "timestamp", "value", "humidity", "status", "seq")
THRESHOLD = "set buffer threshold where time = 2 seconds and volume = 1MB"


def reading(number: int) -> dict[str, object]:
    """One reading of a sensor: six columns, about 120 bytes of JSON."""
    return {
        "device": f"dev-{number % 50:04d}",
        "timestamp": (BASE + timedelta(milliseconds=10 * number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "value": 20 + (number * 7919 % 1000) / 100,
        "humidity": number % 100,
        "status": "ok",
        "seq": number,
    }


def bodies(rows: int, size: int) -> list[bytes]:
    """So many readings in bodies of `size`."""
    return [orjson.dumps([reading(n) for n in range(first, first + size)]) for first in range(0, rows, size)]


def bare_sqlite(bodies: list[bytes], folder: Path, rows: int) -> float:
    """Rows a second of one bare loop: WAL, FULL, 1,000 rows a transaction, no index, JSON parsed."""
    path = folder / "bare.db"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("create table t (device text, timestamp text, value real, humidity int, status text, seq int)")
    step = max(1, 1000 * len(bodies) // rows)
    begin = time.perf_counter()
    for first in range(0, len(bodies), step):
        connection.execute("begin")
        for body in bodies[first : first + step]:
            values = [tuple(row[name] for name in COLUMNS) for row in orjson.loads(body)]
            connection.executemany("insert into t values (?, ?, ?, ?, ?, ?)", values)
        connection.execute("commit")
    seconds = time.perf_counter() - begin
    connection.close()
    return rows / seconds


def bare_sync(folder: Path, seconds: float = 1.5) -> float:
    """fdatasyncs a second of one writer, one row each."""
    row = orjson.dumps(reading(1))
    descriptor = os.open(folder / "bare.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        os.write(descriptor, row)
        os.fdatasync(descriptor)
        count += 1
    os.close(descriptor)
    return count / (time.perf_counter() - begin)


def show(name: str, figure: str, yardstick: str, ratio: float, wanted: str, good: bool) -> None:
    print(f"{name:46} {figure:>22} {yardstick:>22} {ratio:8.2f}  {wanted:>10}  {'yes' if good else 'NO'}", flush=True)


def batches(folder: Path, rows: int) -> None:
    """Streaming PUT, 100-row bodies, 4 connections, until all rows can be queried."""
    made = bodies(rows, 100)
    requests = [load.put(body, "town", "readings") for body in made]
    yard = bare_sqlite(made, folder, rows)
    node = NodeProcess(folder / "batches", commands=(THRESHOLD,))
    try:
        node.start()
        node.request("PUT", "/", made[0], dbms="town", table="warm", mode="streaming")
        begin = time.perf_counter()
        outcome = load.run(("127.0.0.1", node.port), iter(requests), 4)
        while (found := node.count("readings")) < rows:
            if time.perf_counter() - begin > 300:
                raise RuntimeError(f"{found} of {rows} rows after 5 minutes")
            time.sleep(0.01)
        seconds = time.perf_counter() - begin
        assert found == rows and not outcome.refused, (found, outcome.refused)
        yard = (yard + bare_sqlite(made, folder, rows)) / 2
        rate = rows / seconds
        show("PUT 100 rows x 4, until queried", f"{rate:,.0f} rows/s", f"{yard:,.0f} rows/s", rate / yard, ">= 0.28",
             rate / yard >= 0.28)  # fmt: skip
    finally:
        node.remove()


def singles(folder: Path, rows: int) -> None:
    """Streaming PUT, 1-row bodies, 64 connections, acknowledged."""
    requests = [load.put(orjson.dumps(reading(n)), "town", "readings") for n in range(rows)]
    node = NodeProcess(folder / "singles", commands=(THRESHOLD,))
    try:
        node.start()
        yard = bare_sync(folder)
        load.run(("127.0.0.1", node.port), iter(requests[:200]), 4)
        outcome = load.run(("127.0.0.1", node.port), iter(requests), 64)
        yard = (yard + bare_sync(folder)) / 2
        rate = rows / outcome.seconds
        assert not outcome.refused
        show("PUT 1 row x 64, acknowledged", f"{rate:,.0f}/s", f"{yard:,.0f} syncs/s", rate / yard, ">= 1.0",
             rate / yard >= 1.0)  # fmt: skip
    finally:
        node.remove()


def raw_rows(folder: Path, seconds: float) -> None:
    """10,000 raw rows over REST, p50, while 20,000 rows/s come in."""
    rows = 10_000
    made = bodies(rows, 100)
    node = NodeProcess(folder / "raw", commands=(THRESHOLD,))
    try:
        node.start()
        load.run(("127.0.0.1", node.port), iter([load.put(body, "town", "history") for body in made]), 4)
        while node.count("history") < rows:
            time.sleep(0.01)
        path = next(node.home.rglob("town.dbms"))
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        statement = f"select {', '.join(COLUMNS)} from history limit {rows}"
        yards = []
        for _ in range(20):
            begin = time.perf_counter()
            fetched = connection.execute(statement).fetchall()
            orjson.dumps([dict(zip(COLUMNS, row, strict=True)) for row in fetched])
            yards.append(time.perf_counter() - begin)
        connection.close()
        yard = statistics.median(yards)
        feeding = subprocess.Popen([sys.executable, __file__, "--feed", str(node.port), "--seconds", str(seconds + 1)])
        time.sleep(1.0)
        times = []
        end = time.perf_counter() + seconds
        text = f'sql town format = json and stat = false "{statement}"'
        while time.perf_counter() < end:
            begin = time.perf_counter()
            status, answer = node.get(**{"User-Agent": "AnyLog/1.23", "command": text})
            times.append(time.perf_counter() - begin)
        assert status == 200 and len(orjson.loads(answer)["Query"]) == rows
        assert feeding.wait() == 0, "the feed could not keep its rate"
        p50 = statistics.median(times)
        show("10,000 raw rows, p50, 20,000 rows/s coming in", f"{p50 * 1e3:.1f} ms", f"{yard * 1e3:.1f} ms", p50 / yard,
             "<= 5.0", p50 / yard <= 5.0)  # fmt: skip
    finally:
        node.remove()


def filed(folder: Path, scale: float) -> dict[str, Callable[[], None]]:
    """The figures of files; `scale`: how much of it, of 1."""

    def some(count: int) -> int:
        return max(10_000, int(count * scale)) // 10_000 * 10_000

    def sent(rows: int, size: int, *, lone: bool = False, **told: Any) -> None:
        made = bodies(rows, size)
        yard = partial(bare_sync, folder) if lone else partial(bare_sqlite, made, folder, rows)
        files.sent(folder, show, made, yard, of=rows, **told)

    def watched() -> None:
        made = bodies(some(1_000_000), 100)
        files.watched(folder, show, made, partial(bare_sqlite, made, folder, some(1_000_000)))

    return {
        "streamed": lambda: sent(some(2_000_000), 100, name="PUT 100 rows x 4, until filed", mode="streaming",
                                 connections=4, unit="rows/s", goal=0.25),
        "lone": lambda: sent(some(30_000), 1, lone=True, name="PUT a file of 1 row x 16, until filed", mode="file",
                             connections=16, unit="/s", goal=0.6),
        "large": lambda: sent(some(1_000_000), 5000, name="PUT a file of 5,000 rows x 4, until filed", mode="file",
                              connections=4, unit="rows/s", goal=0.45),
        "watched": watched,
        "local": lambda: local_rows.rows(folder, show, some(200_000)),
        "outside": lambda: outside_rows.rows(folder, show, some(60_000)),  # packet ids end at 65,535
        "delay": lambda: copies.delay(folder, show, bodies(202_000, 100)),
        "push": lambda: copies.push(folder, show, bodies(some(500_000), 1000)),
        "wiped": lambda: copies.wiped(folder, show, bodies(some(1_000_000), 1000)),
        "healed": lambda: copies.healed(folder, show, bodies(some(100_000), 1000)),
        "idle": lambda: copies.idle(folder, show, bodies(some(10_000), 1)),
        "many": lambda: files.many(folder, show, orjson.dumps([reading(1)]), some(100_000)),
    }  # fmt: skip


def feed(port: int, seconds: float) -> int:
    """20,000 rows a second in bodies of 100; 1 if that rate was not reached."""
    made = [load.put(body, "town", "feed") for body in bodies(20_000, 100)]
    count = int(200 * seconds)
    outcome = load.run(("127.0.0.1", port), (made[n % len(made)] for n in range(count)), 8, every=1 / 200)
    return int(outcome.seconds > seconds * 1.1 or outcome.refused > 0)


def start_and_memory(folder: Path) -> None:
    """Ready after start and idle memory, beside an empty twistd with one web site."""
    starts, memories, bare_starts, bare_memories = [], [], [], []
    for number in range(4):
        node = NodeProcess(folder / f"start{number}")
        try:
            starts.append(node.start())
            time.sleep(1.0)
            memories.append(node.memory())
        finally:
            node.remove()
        bare = NodeProcess(folder / f"bare{number}")
        begin = time.perf_counter()
        bare.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "twisted",
                "web",
                "--listen",
                f"tcp:{bare.port}:interface=127.0.0.1",
                "--path",
                "/var/empty",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while True:
                try:
                    bare.get("/")
                    break
                except OSError:
                    time.sleep(0.005)
            bare_starts.append(time.perf_counter() - begin)
            time.sleep(1.0)
            bare_memories.append(bare.memory())
        finally:
            bare.remove()
    more = statistics.median(starts) - statistics.median(bare_starts)
    show("ready after start", f"{statistics.median(starts):.2f} s", f"{statistics.median(bare_starts):.2f} s", more,
         "<= +0.4 s", more <= 0.4)  # fmt: skip
    ours, bare_size = statistics.median(memories) / 1e6, statistics.median(bare_memories) / 1e6
    more = ours - bare_size
    show("idle memory", f"{ours:.0f} MB", f"{bare_size:.0f} MB", more, "<= +40 MB", more <= 40)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the figures of files, of 1")
    parser.add_argument("--only", default="")
    parser.add_argument("--feed", type=int)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--folder", type=Path, help="where nodes keep their data; default: a temporary folder")
    options = parser.parse_args()
    if options.feed:
        return feed(options.feed, options.seconds)
    print(f"{'work':46} {'figure':>22} {'yardstick':>22} {'ratio':>8}  {'reach':>10}  there")
    with tempfile.TemporaryDirectory(prefix="anylog-bench-", dir=options.folder) as made:
        folder = Path(made)
        jobs = {
            "batches": lambda: batches(folder, options.rows),
            "singles": lambda: singles(folder, 60_000),
            "raw": lambda: raw_rows(folder, options.seconds),
            "start": lambda: start_and_memory(folder),
            "questions": lambda: distributed.questions(folder, show, bodies(100_000, 100), COLUMNS),
            "killed": lambda: distributed.killed(folder, show, bodies(30_000, 100)),
            "inserts": lambda: distributed.inserts(folder, show),
            "language": lambda: language.language(show),
            "ledger": lambda: ledger.ledger(folder, show),
            "broker": lambda: broker.broker(folder, show, options.scale),
            **filed(folder, options.scale),
        }
        for name, job in jobs.items():
            if not options.only or name in options.only.split(","):
                job()
    return 0


if __name__ == "__main__":
    sys.exit(main())
