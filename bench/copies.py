"""Figures of copies: two operators of one cluster, real processes on this machine."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import load
from files import THRESHOLD, put
from network import Network
from node import NodeProcess

Show = Callable[[str, str, str, float, str, bool], None]
_NEWER = "select rowid, tsd_id from anylog_marks where rowid > ? and table_name = 'readings'"
LONGEST = 180.0  # seconds until a figure is given up


def rows_in(node: NodeProcess, table: str = "readings") -> int:
    """Rows of a table, 0 if it is not there yet."""
    found = node.asked("town", f"select count(*) from {table}")
    return int(found[0][0]) if found else 0


def until(holds: Callable[[], bool], what: str, longest: float = LONGEST, every: float = 0.05) -> float:
    """Seconds until it holds."""
    begin = time.perf_counter()
    while not holds():
        if time.perf_counter() - begin > longest:
            raise RuntimeError(f"{what}: not within {longest:g} seconds")
        time.sleep(every)
    return time.perf_counter() - begin


def pair(folder: Path, **options: Any) -> Network:
    """Two operators that keep copies of each other's files, started and known to each other."""
    made = Network(folder, 2, clusters=(1, 1), every="5", copies=True, more=(THRESHOLD,), **options)
    made.start()
    return made


def feed(node: NodeProcess, bodies: Sequence[bytes], connections: int = 4, every: float = 0.0) -> None:
    """All bodies as files, by PUT."""
    requests = [put(body, "readings", "file") for body in bodies]
    outcome = load.run(("127.0.0.1", node.port), iter(requests), connections, every=every)
    assert not outcome.refused, f"{outcome.refused} refused"


class Seen(threading.Thread):
    """When each file of the other member could be queried here."""

    def __init__(self, node: NodeProcess) -> None:
        super().__init__(daemon=True)
        self._node = node
        self.at: dict[int, float] = {}
        self._over = threading.Event()

    def run(self) -> None:
        last = 0
        while not self._over.wait(0.01):
            found = self._node.asked("town", _NEWER, last)
            now = time.time()
            for rowid, id in found:
                last = max(last, rowid)
                self.at.setdefault(id, now)

    def stop(self) -> None:
        """No more."""
        self._over.set()
        self.join()


def delay(folder: Path, show: Show, bodies: Sequence[bytes], seconds: float = 10.0) -> None:
    """From the registration at one member until it can be queried at the other, at 20,000 rows a second."""
    network = pair(folder / "delay")
    try:
        one, other = network.operators
        feed(one, bodies[:1])
        until(lambda: rows_in(other) == 100, "the first file")
        seen = Seen(other)
        seen.start()
        count = int(200 * seconds)
        feed(one, bodies[1 : count + 1], 8, every=1 / 200)
        until(lambda: rows_in(other) == 100 * (count + 1), "all rows at the other")
        seen.stop()
        delays = []
        for id, at in one.asked("almgm", "select file_id, file_time from tsd_info where table_name = 'readings'"):
            if id in seen.at:
                registered = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
                delays.append(seen.at[id] - registered)
        delays.sort()
        p50, p99 = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
        show(
            "registered at one, queryable at the other, p99", f"{p99:.2f} s", f"p50 {p50:.2f} s", p99, "< 1 s", p99 < 1
        )
    finally:
        network.remove()


def plain_copy(sources: Sequence[Path], target: Path) -> float:
    """Bytes a second of files that are sent over one socket, written and synced, one after the other.

    Their names are not synced. Each file has a sync of its own, so this depends on the disk more than the push does:
    on a disk that syncs slowly the push looks better beside it than on a quick one.
    """
    target.mkdir()
    here, there = socket.socketpair()
    size = sum(path.stat().st_size for path in sources)

    def take() -> None:
        with there.makefile("rb") as stream:
            for path in sources:
                length = int(stream.readline())
                with (target / path.name).open("wb") as file:
                    file.write(stream.read(length))
                    file.flush()
                    os.fdatasync(file.fileno())

    taker = threading.Thread(target=take)
    taker.start()
    begin = time.perf_counter()
    for path in sources:
        data = path.read_bytes()
        here.sendall(b"%d\n" % len(data) + data)
    taker.join()
    seconds = time.perf_counter() - begin
    here.close()
    there.close()
    return size / seconds


def push(folder: Path, show: Show, bodies: Sequence[bytes]) -> None:
    """A heap of files of one member, until the other has them all."""
    network = Network(folder / "push", 2, clusters=(1, 1), every="5", more=(THRESHOLD,), distributes=True)
    try:
        network.start()
        one, other = network.operators
        feed(one, bodies)
        until(lambda: sum(1 for _ in one.folder("distr").glob("*.json.gz")) == len(bodies), "files to be sent")
        files = sorted(one.folder("distr").glob("*.json.gz"))
        size = sum(path.stat().st_size for path in files)
        yard = plain_copy(files, folder / "before")
        begin = time.perf_counter()
        one.command("run data distributor", "POST")
        until(lambda: not any(one.folder("distr").glob("*.json.gz")), "all files sent", every=0.01)
        rate = size / (time.perf_counter() - begin)
        until(lambda: rows_in(other) == sum(body.count(b'"device"') for body in bodies), "all rows at the other")
        yard = (yard + plain_copy(sorted(one.folder("archive").rglob("*.json.gz")), folder / "after")) / 2
        show(f"push of {len(bodies):,} files", f"{rate / 1e6:.1f} MB/s", f"{yard / 1e6:.1f} MB/s", rate / yard,
             ">= 0.5", rate / yard >= 0.5)  # fmt: skip
    finally:
        network.remove()


def wiped(folder: Path, show: Show, bodies: Sequence[bytes]) -> None:
    """A member that lost its home, until it holds everything again."""
    network = pair(folder / "wiped")
    try:
        one, other = network.operators
        rows = sum(body.count(b'"device"') for body in bodies)
        feed(one, bodies)
        until(lambda: rows_in(other) == rows, "all rows at the other")
        other.kill()
        other.remove()
        begin = time.perf_counter()
        other.start()
        until(lambda: rows_in(other) == rows, "all rows at the other again")
        seconds = time.perf_counter() - begin
        show(f"a wiped member with {rows:,} rows in {len(bodies):,} files", f"{seconds:.1f} s", "", seconds, "<= 60 s",
             seconds <= 60)  # fmt: skip
    finally:
        network.remove()


def healed(folder: Path, show: Show, bodies: Sequence[bytes]) -> None:
    """100,000 rows came while the other was away, until it holds them."""
    network = pair(folder / "healed")
    try:
        one, other = network.operators
        rows = sum(body.count(b'"device"') for body in bodies)
        feed(one, bodies[:1])
        until(lambda: rows_in(other) > 0, "the first file")
        other.kill()
        feed(one, bodies[1:])
        other.start()
        begin = time.perf_counter()
        until(lambda: rows_in(other) == rows, "all rows at the other")
        seconds = time.perf_counter() - begin
        show(f"{rows:,} rows missing, until equal", f"{seconds:.1f} s", "", seconds, "<= 30 s", seconds <= 30)
    finally:
        network.remove()


def idle(folder: Path, show: Show, bodies: Sequence[bytes], seconds: float = 60.0) -> None:
    """What distributor and consumer cost while nothing happens."""
    network = pair(folder / "idle")
    try:
        one, other = network.operators
        feed(one, bodies, 16)
        until(lambda: rows_in(other) == len(bodies), "all rows at the other")
        time.sleep(10.0)
        before = _used(one)
        time.sleep(seconds)
        share = (_used(one) - before) / seconds
        one.command("exit consumer", "POST")
        one.command("exit distributor", "POST")
        before = _used(one)
        time.sleep(seconds / 2)
        without = (_used(one) - before) / (seconds / 2)
        more = share - without
        show(f"idle with {len(bodies):,} files in the archive", f"{share * 100:.2f} %", f"{without * 100:.2f} %",
             more * 100, "< +1 %", more < 0.01)  # fmt: skip
    finally:
        network.remove()


def _used(node: NodeProcess) -> float:
    """Seconds of a core that a node has used."""
    assert node.process is not None
    fields = Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
