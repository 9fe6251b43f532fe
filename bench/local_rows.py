"""Readings of ten MQTT devices to the node's own broker, until the rows can be queried, beside the same rows by PUT.

Raw sockets, QoS 1, 120 bytes of JSON a message, with their packets made before, so that little of the processor goes
to who sends. ``python bench/local_rows.py messages lasting``: their sessions outlive their connections.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import load
from node import NodeProcess, free_port

ROUNDS = 3
DEVICES = 10
WINDOW = 1000  # messages of a device that are not acknowledged
BLOCK = 50  # messages that are sent at once
BASE = datetime(2026, 1, 1, tzinfo=UTC)
THRESHOLD = "set buffer threshold where time = 2 seconds and volume = 1MB"
COMMAND = (
    "run msg client where broker = local and log = false"
    " and topic = (name = bench/# and qos = 1 and dbms = town and table = readings"
    ' and column.timestamp.timestamp = "bring [timestamp]" and column.device.str = "bring [device]"'
    ' and column.value.float = "bring [value]" and column.humidity.int = "bring [humidity]"'
    ' and column.seq.int = "bring [seq]")'
)


def payload(number: int) -> bytes:
    """One reading."""
    at = (BASE + timedelta(milliseconds=number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return b'{"device": "dev-%06d", "timestamp": "%b", "value": %.2f, "humidity": %d, "seq": %d}' % (
        number % 50, at.encode(), 20 + number * 7919 % 1000 / 100, number % 100, number
    )  # fmt: skip


def publish(topic: bytes, packet_id: int, body: bytes) -> bytes:
    """A PUBLISH of QoS 1."""
    rest = len(topic).to_bytes(2, "big") + topic + packet_id.to_bytes(2, "big") + body
    size = (len(rest),) if len(rest) < 128 else (0x80 | len(rest) & 127, len(rest) >> 7)
    return bytes((0x32, *size)) + rest


def connect(client_id: bytes, clean: bool) -> bytes:
    """A CONNECT of MQTT 3.1.1."""
    rest = b"\x00\x04MQTT\x04%b\x00\x00" % (b"\x02" if clean else b"\x00")
    rest += len(client_id).to_bytes(2, "big") + client_id
    return bytes((0x10, len(rest))) + rest


class Sender:
    """One device."""

    def __init__(self, port: int, number: int, numbers: range, clean: bool) -> None:
        topic = b"bench/device%d" % number
        bodies = [publish(topic, at % 65_535 + 1, payload(each)) for at, each in enumerate(numbers)]
        self.blocks = [b"".join(bodies[at : at + BLOCK]) for at in range(0, len(bodies), BLOCK)]
        self.count, self.acknowledged, self.bytes = len(bodies), 0, 0
        self.next, self.left = 0, b""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(connect(b"device%d" % number, clean))
        if self.socket.recv(4) not in (b"\x20\x02\x00\x00", b"\x20\x02\x01\x00"):
            raise ConnectionError("CONNECT is not accepted")
        self.socket.setblocking(False)

    def send(self) -> None:
        """What the window and the socket take."""
        while True:
            if not self.left:
                if self.next == len(self.blocks) or self.next * BLOCK - self.acknowledged + BLOCK > WINDOW:
                    return
                self.left = self.blocks[self.next]
                self.next += 1
            try:
                self.left = self.left[self.socket.send(self.left) :]
            except BlockingIOError:
                return

    def receive(self) -> bool:
        """Whether all is acknowledged. What comes are acknowledgements of 4 bytes each."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {self.acknowledged:,} of {self.count:,} acknowledgements")
        self.bytes += len(data)
        self.acknowledged = self.bytes // 4
        return self.acknowledged >= self.count


def send(senders: list[Sender]) -> None:
    """All there is, until all is acknowledged."""
    selector = selectors.DefaultSelector()
    for sender in senders:
        selector.register(sender.socket, selectors.EVENT_READ, sender)
        sender.send()
    waiting = len(senders)
    while waiting:
        for key, _ in selector.select(60):
            if key.data.receive():
                selector.unregister(key.fileobj)
                waiting -= 1
            else:
                key.data.send()
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if key.data.left else 0)
                if events != key.events:
                    selector.modify(key.fileobj, events, key.data)
    for sender in senders:
        sender.socket.close()


def measured(node: NodeProcess, table: str, count: int, work: Callable[[], object]) -> tuple[float, float]:
    """Rows a second until `count` rows are in a table, and microseconds of the node's processor for each."""
    before, begin = node.count(table), time.perf_counter()
    used = node.processor()
    work()
    while (found := node.count(table)) < before + count:
        if time.perf_counter() - begin > 600:
            raise RuntimeError(f"{found - before} of {count} rows after 10 minutes")
        time.sleep(0.01)
    seconds = time.perf_counter() - begin
    assert found == before + count, f"{found - before - count} rows too many"
    return count / seconds, (node.processor() - used) * 1e6 / count


def rows(folder: Path, show: Callable[..., None], count: int, goal: float = 40_000.0, clean: bool = True) -> None:
    """`count` messages a round; with `clean` no session outlives its connection."""
    count = count // (DEVICES * BLOCK) * DEVICES * BLOCK
    port = free_port()
    web = free_port({port})
    broker = f"run message broker where internal_ip = 127.0.0.1 and internal_port = {port} and bind = true"
    node = NodeProcess(folder / "local", port=web, commands=(THRESHOLD, broker, COMMAND))
    ours, costs, puts, put_costs = [], [], [], []
    try:
        node.start()
        for number in range(ROUNDS):
            first, share = number * count, count // DEVICES
            each = range(first, first + count, 100)
            made = [b"[%b]" % b",".join(map(payload, range(at, at + 100))) for at in each]
            requests = [load.put(body, "town", "puts") for body in made]
            rate, cost = measured(node, "puts", count, partial(load.run, ("127.0.0.1", web), iter(requests), 4))
            puts.append(rate)
            put_costs.append(cost)
            ranges = [range(first + at * share, first + (at + 1) * share) for at in range(DEVICES)]
            senders = [Sender(port, at, each, clean) for at, each in enumerate(ranges)]
            rate, cost = measured(node, "readings", count, partial(send, senders))
            ours.append(rate)
            costs.append(cost)
        ((found, distinct, total),) = node.asked(
            "town", "select count(*), count(distinct seq), sum(seq) from readings"
        )  # fmt: skip
        whole = ROUNDS * count
        assert (found, distinct, total) == (whole, whole, whole * (whole - 1) // 2), (found, distinct, total)
        rate, yard = statistics.median(ours), statistics.median(puts)
        what = "MQTT QoS 1 from 10" + ("" if clean else ", lasting")
        show(f"{what}, until queried", f"{rate:,.0f} rows/s", f"{yard:,.0f} rows/s", rate / yard,
             f">= {goal:,.0f}", rate >= goal)  # fmt: skip
        cost, yard = statistics.median(costs), statistics.median(put_costs)
        show("- processor time of the node", f"{cost:.1f} us/row", f"{yard:.1f} us/row", cost / yard, "<= 25",
             cost <= 25)  # fmt: skip
    finally:
        node.remove()


if __name__ == "__main__":

    def told(name: str, figure: str, yardstick: str, ratio: float, wanted: str, good: bool) -> None:
        print(f"{name:46} {figure:>22} {yardstick:>22} {ratio:8.2f}  {wanted:>10}  {'yes' if good else 'NO'}")

    with tempfile.TemporaryDirectory(prefix="anylog-bench-") as made:
        rows(Path(made), told, int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, clean=sys.argv[2:] != ["lasting"])
