"""A database that is slower than the traffic: senders are paused, memory stays, and what was acknowledged is stored."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker_clients import until

from anylog.wire.mqtt_packets import Connack, Connect, Puback, Publish
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_write import encode

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess, free_port

LAUNCHER = Path(__file__).with_name("narrow_node.py")
LONG = 240.0  # seconds that all may take on a busy machine
ROOM = 64 << 20  # bytes by which the process may grow: buffers, pools and threads, and far less than what is offered
MESSAGES, PAYLOAD = 16_000, 4000  # 64 MB
STALLED = 2.0  # seconds for which a socket takes nothing


class Narrow(NodeProcess):
    """See `narrow_node`."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.broker = free_port({self.port})
        self.slow = home.parent / "slow"
        self.within = (sys.executable, str(LAUNCHER))
        self.environ = {"ANYLOG_TEST_SLOW": str(self.slow)}
        self.commands = (
            "set buffer threshold where time = 1 second and volume = 256KB",
            f"run message broker where internal_ip = 127.0.0.1 and internal_port = {self.broker}",
            "run msg client where broker = local and topic = (name = load and qos = 1 and dbms = town and table = mqtt"
            ' and column.name.str = "bring [name]" and column.text.str = "bring [text]")',
        )
        self.most = 0
        self._watching = threading.Event()

    def watch_memory(self) -> None:
        """Remember the most that the process had, from now on."""
        self.most = self.memory()

        def look() -> None:
            while not self._watching.wait(0.02):
                with contextlib.suppress(OSError):
                    self.most = max(self.most, self.memory())

        threading.Thread(target=look, daemon=True).start()

    def remove(self) -> None:
        self._watching.set()
        super().remove()

    def names(self, table: str) -> Counter[str]:
        """Every name in a table, and how often."""
        return Counter(row[0] for row in self.asked("town", f"select name from {table}"))


class Publisher(threading.Thread):
    """Writes as fast as the socket takes it, whatever is acknowledged, and reads what is."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.sent = 0
        self.stalled = False  # the socket took nothing for a while
        self.acknowledged: list[str] = []
        self.reasons: Counter[int] = Counter()
        self.problem = ""
        self.connection = socket.create_connection(("127.0.0.1", port), LONG)

    def begin(self) -> None:
        """Connect; then write and read at once."""
        self.reader = Reader(4, side="client")
        self.connection.sendall(encode(Connect("load", keep_alive=0), 4))
        (answer,) = self.reader.feed(self.connection.recv(100))
        assert isinstance(answer, Connack)
        self.connection.settimeout(STALLED)
        self.listening = threading.Thread(target=self.listen, daemon=True)
        self.listening.start()
        self.start()

    def run(self) -> None:
        try:
            text = "x" * PAYLOAD
            for number in range(MESSAGES):
                payload = json.dumps({"name": f"m{number}", "text": text}).encode()
                data = memoryview(encode(Publish("load", payload, 1, packet_id=number + 1), 4))
                while data:
                    try:
                        data = data[self.connection.send(data) :]
                    except TimeoutError:
                        self.stalled = True
                self.sent += 1
        except Exception as trouble:  # told by the test
            self.problem = repr(trouble)

    def listen(self) -> None:
        try:
            while len(self.acknowledged) < MESSAGES:
                try:
                    data = self.connection.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    self.problem = self.problem or "closed"
                    return
                for packet in self.reader.feed(data):
                    assert isinstance(packet, Puback)
                    self.reasons[packet.reason] += 1
                    self.acknowledged.append(f"m{packet.packet_id - 1}")
        except Exception as trouble:  # told by the test
            self.problem = self.problem or repr(trouble)


class Caller(threading.Thread):
    """PUTs one body after the other; what is refused is sent again when it was said that it may be."""

    def __init__(self, node: Narrow, number: int, bodies: int) -> None:
        super().__init__(daemon=True)
        self.node, self.number, self.bodies = node, number, bodies
        self.acknowledged: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.without_hint = 0
        self.problem = ""
        self.hurry = threading.Event()

    def run(self) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=LONG)
            for body in range(self.bodies):
                rows = [{"name": f"r{self.number}-{body}-{each}", "text": "y" * 1000} for each in range(100)]
                while True:
                    connection.request(
                        "PUT", "/", json.dumps(rows), {"dbms": "town", "table": "rest", "mode": "streaming"}
                    )
                    answer = connection.getresponse()
                    answer.read()
                    self.statuses[answer.status] += 1
                    if answer.status == 200:
                        self.acknowledged += [row["name"] for row in rows]
                        break
                    assert answer.status == 503, answer.status
                    self.without_hint += answer.headers["Retry-After"] is None
                    self.hurry.wait(0.1)
        except Exception as trouble:  # told by the test
            self.problem = repr(trouble)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Narrow]:
    made = Narrow(tmp_path / "home")
    made.start()
    # Both tables are there before anything is slow.
    for table in ("rest", "mqtt"):
        status, _ = made.request(
            "PUT", "/", b'[{"name": "first", "text": "x"}]', dbms="town", table=table, mode="streaming"
        )
        assert status == 200
        until(lambda table=table: made.names(table) == Counter(["first"]), LONG)
    yield made
    made.remove()


def check(node: Narrow, publisher: Publisher, callers: list[Caller]) -> None:
    """All that was acknowledged is found, each once, and nothing else."""
    assert not publisher.problem and not any(caller.problem for caller in callers)
    assert publisher.reasons == Counter({0: MESSAGES})
    for table, names in [
        ("mqtt", publisher.acknowledged),
        ("rest", [name for caller in callers for name in caller.acknowledged]),
    ]:
        wanted = Counter(["first", *names])
        until(lambda table=table, wanted=wanted: node.names(table).total() >= wanted.total(), LONG)
        assert node.names(table) == wanted
        assert len(wanted) == wanted.total()


def test_a_database_that_takes_nothing(node: Narrow) -> None:
    """Somebody holds the file: what there is room for is taken, then HTTP says 503 and MQTT is read from no more."""
    node.watch_memory()
    before = node.most
    holder = sqlite3.connect(node.database("town"), isolation_level=None, timeout=LONG)
    holder.execute("begin immediate")
    publisher, callers = Publisher(node.broker), [Caller(node, number, 60) for number in range(2)]
    publisher.begin()
    for caller in callers:
        caller.start()
    until(lambda: all(caller.statuses[503] > 2 for caller in callers) and publisher.stalled, LONG)
    assert not publisher.problem and publisher.sent < MESSAGES / 2
    assert len(publisher.acknowledged) <= publisher.sent
    assert node.names("rest") == node.names("mqtt") == Counter(["first"])
    assert b"town" in node.command("get streaming")  # it says what waits, and why; and is served meanwhile
    holder.execute("rollback")
    holder.close()
    until(lambda: publisher.problem or len(publisher.acknowledged) == MESSAGES, LONG)
    for caller in callers:
        caller.join(LONG)
    check(node, publisher, callers)
    assert not sum(caller.without_hint for caller in callers)
    assert node.most - before < ROOM, f"grew by {node.most - before:,} bytes"


def test_a_database_that_is_slow(node: Narrow) -> None:
    """Offered is far more than twice of what it takes: all who send wait, and none is refused or lost."""
    node.watch_memory()
    before, rate = node.most, 500_000
    node.slow.write_text(str(rate))
    publisher, callers = Publisher(node.broker), [Caller(node, number, 40) for number in range(2)]
    publisher.begin()
    for caller in callers:
        caller.start()
    begin = time.monotonic()
    until(lambda: publisher.stalled and len(publisher.acknowledged) > 200, LONG)
    # Whoever is read from at the pace of the database gets its yes at that pace.
    until(lambda: len(publisher.acknowledged) > 600, LONG)
    taken = len(publisher.acknowledged) * PAYLOAD + sum(len(caller.acknowledged) for caller in callers) * 1000
    assert taken < (time.monotonic() - begin) * rate * 2 + (24 << 20)
    assert publisher.sent < MESSAGES / 2
    assert node.most - before < ROOM, f"grew by {node.most - before:,} bytes"
    node.slow.unlink()
    until(lambda: publisher.problem or len(publisher.acknowledged) == MESSAGES, LONG)
    for caller in callers:
        caller.join(LONG)
    check(node, publisher, callers)
    assert node.most - before < ROOM, f"grew by {node.most - before:,} bytes"
