"""Kafka from a broker's socket to the table: nothing lost and nothing doubled, also when the node is killed."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kafka_cluster import Cluster, confluent_kafka
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from anylog.disk.lanes import ThreadLanes
from anylog.errors import AnyLogError
from anylog.interfaces import Arrived, Outside, Repeat
from anylog.network.southbound import kafka
from anylog.network.southbound.kafka import Consumer
from anylog.network.southbound.kafka_reader import Access

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess

SESSION = 6.0


class Kept:
    """Where messages are kept: of two with one key one."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self.keys: set[tuple[str, str]] = set()
        self.repeats = self.failures = 0
        self.hold = False
        self.held: list[Deferred[None]] = []

    def deliver(self, batch: Sequence[tuple[Repeat | None, Arrived]]) -> Deferred[None]:
        if self.failures:
            self.failures -= 1
            raise AnyLogError(5, "there is no such database")
        for repeat, message in batch:
            assert repeat is not None
            if repeat[:2] in self.keys and repeat[2]:
                self.repeats += 1
                continue
            self.keys.add(repeat[:2])
            self.values.append(json.loads(message.payload))
        if not self.hold:
            return succeed(None)
        self.held.append(Deferred())
        return self.held[-1]

    def let_go(self) -> None:
        self.hold = False
        held, self.held = self.held, []
        for each in held:
            each.callback(None)


class ConsumerTests(TestCase):
    """One consumer, on a cluster of its own."""

    timeout = 240

    def setUp(self) -> None:
        self.cluster = Cluster()
        self.lanes = ThreadLanes(reactor)  # type: ignore[arg-type]
        self.kept = Kept()
        self.made: list[Consumer] = []
        self.ended: list[Consumer] = []
        self.patch(kafka, "FIRST_WAIT", 0.05)

    async def tearDown(self) -> None:
        self.kept.let_go()
        for each in self.made:
            await each.stop()
        await self.lanes.stop()

    def consumer(self, *topics: str, **more: Any) -> Consumer:
        limits = {name: more.pop(name) for name in ("high", "low") if name in more}
        number = len(self.made) + 1
        made = Consumer(
            clock=reactor,  # type: ignore[arg-type]
            lanes=self.lanes,
            chance=Random(1),
            library=confluent_kafka,
            access=Access(
                **{
                    "brokers": f"{self.cluster.host}:{self.cluster.port}",
                    "group": "g",
                    "instance": "i",
                    "earliest": True,
                    "session": SESSION,
                    **more,
                }
            ),
            outside=Outside(
                number=number,
                broker=self.cluster.host,
                port=self.cluster.port,
                user="unused",
                password="unused",
                client_id="",
                log=False,
                reach={},
                clean=False,
                keep_alive=0,
                topics=[(topic, 0) for topic in topics],
                deliver=self.kept.deliver,
            ),
            stopped=self.ended.append,
            **limits,
        )
        self.made.append(made)
        made.start()
        return made

    async def until(self, what: Callable[[], object], seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, (
                [(each.describe(), dict(each.counts)) for each in self.made],
                len(self.kept.values),
            )
            await deferLater(reactor, 0.02, lambda: None)

    async def test_all_of_it_and_where_it_ended(self) -> None:
        """All partitions from their beginning; who comes after goes on where the first one ended."""
        self.cluster.send("t", range(1000))
        first = self.consumer("t")
        await self.until(lambda: len(self.kept.values) == 1000)
        self.assertEqual(sorted(self.kept.values), list(range(1000)))
        self.assertIn("connected, 4 partitions", first.describe())
        await first.stop()
        self.assertEqual(self.ended, [first])
        self.cluster.send("t", range(1000, 1100))
        self.consumer("t")
        await self.until(lambda: len(self.kept.values) >= 1100)
        self.assertEqual((sorted(self.kept.values), self.kept.repeats), (list(range(1100)), 0))

    async def test_latest_is_written_down(self) -> None:
        """What was there before is left; what comes while a consumer that never got anything is away is not."""
        self.cluster.send("t", range(100))
        first = self.consumer("t", earliest=False)
        await self.until(lambda: first.assigned == 4)
        await first.stop()
        self.cluster.send("t", range(100, 120))
        self.consumer("t", earliest=False)
        await self.until(lambda: len(self.kept.values) >= 20)
        self.assertEqual(sorted(self.kept.values), list(range(100, 120)))

    async def test_what_cannot_be_kept_comes_again(self) -> None:
        """From the first message that was not kept on all is read once more; none is left out."""
        self.kept.failures = 3
        self.cluster.send("t", range(500))
        consumer = self.consumer("t")
        await self.until(lambda: len(self.kept.values) == 500)
        self.assertEqual(sorted(self.kept.values), list(range(500)))
        self.assertGreater(consumer.counts["again"], 0)
        self.assertIn("no such database", consumer.last_error)
        await self.until(lambda: consumer.counts["kept"] >= 500)

    async def test_partitions_are_paused(self) -> None:
        """While what was handed over is not safe no more is read than the limit, and nothing is committed."""
        self.kept.hold = True
        self.cluster.send("t", [*range(2000)])
        consumer = self.consumer("t", high=100_000, low=50_000)
        await self.until(lambda: consumer.counts["pauses"] == 1)
        taken = len(self.kept.values)
        looks = consumer.counts["looks"]
        await self.until(lambda: consumer.counts["looks"] >= looks + 10)
        self.assertEqual(len(self.kept.values), taken)
        self.assertLess(taken, 2000)
        self.kept.let_go()
        await self.until(lambda: len(self.kept.values) == 2000)
        self.assertEqual((sorted(self.kept.values), self.kept.repeats), (list(range(2000)), 0))

    async def test_nothing_in_a_message(self) -> None:
        """A message without content marks a deletion in Kafka: it is counted, and its offset is done with."""
        self.cluster.send("t", [None, 1, None], partition=0)
        consumer = self.consumer("t")
        await self.until(lambda: self.kept.values == [1] and consumer.counts["without content"] == 2)
        await consumer.stop()
        self.cluster.send("t", [2], partition=0)
        again = self.consumer("t")
        await self.until(lambda: self.kept.values == [1, 2])
        self.assertEqual(again.counts["without content"], 0)

    async def test_nobody_there(self) -> None:
        """A cluster that cannot be reached is told, and stopping does not wait for it."""
        consumer = self.consumer("t", brokers="127.0.0.1:1")
        await self.until(lambda: "refused" in consumer.last_error.lower() or "down" in consumer.last_error.lower())
        self.assertTrue(consumer.describe().startswith("connecting"))
        await consumer.stop()
        self.assertEqual(self.ended, [consumer])


def until(what: Callable[[], object], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    """Not started."""
    process = NodeProcess(tmp_path / "home")
    yield process
    process.remove()


def command(cluster: Cluster, *topics: str, more: str = "") -> str:
    texts = [
        f"topic = (name = {topic} and dbms = town and table = {topic}_rows and column.v.int = 'bring [v]')"
        for topic in topics
    ]
    return (
        f"run kafka consumer where ip = {cluster.host} and port = {cluster.port} and reset = earliest"
        f" and session_timeout = 6 seconds{more} and {' and '.join(texts)}"
    )


def values(node: NodeProcess, table: str) -> list[int]:
    return [row[0] for row in node.asked("town", f"select v from {table}")]


def test_killed_again_and_again(node: NodeProcess) -> None:
    """The node is killed while messages come: each is in the table once."""
    cluster = Cluster()
    cluster.make("loads")
    node.commands = (command(cluster, "loads"),)
    sent = 0
    for step in (2000, 5000, 20_000):
        node.start()
        cluster.send("loads", ({"v": number} for number in range(sent, sent + step)))
        sent += step
        until(lambda sent=sent, step=step: len(values(node, "loads_rows")) > sent - step + step // 4)
        node.kill()
    node.start()
    cluster.send("loads", ({"v": number} for number in range(sent, sent + 10)))
    sent += 10
    until(lambda: len(set(values(node, "loads_rows"))) == sent)
    doubled = [value for value, times in Counter(values(node, "loads_rows")).items() if times > 1]
    assert not doubled, doubled[:20]
    node.stop()
    node.start()  # what was committed does not come again
    cluster.send("loads", [{"v": sent}])
    until(lambda: sent in values(node, "loads_rows"))
    assert len(values(node, "loads_rows")) == sent + 1
    shown = json.loads(node.command("get msg client where format = json"))
    assert shown[0]["Messages"] == 1, shown


def test_commands(node: NodeProcess) -> None:
    """Wrong messages are told and block nobody; it is shown where it says; it ends by `exit kafka`, or one by one."""
    cluster = Cluster()
    cluster.make("a", "b", "c")
    node.commands = (command(cluster, "a", "b", more=" and log_error = true"),)
    node.start()
    place = f"{cluster.host}:{cluster.port}"
    cluster.send("a", [{"v": 1}, b"{", b"\xff", {"v": "much"}, {"v": 2}], partition=0)
    cluster.send("b", [{"v": 3}])
    until(lambda: values(node, "a_rows") == [1, 2] and values(node, "b_rows") == [3])
    asked = f"get msg client where broker = {place} and format = json"
    # What fits is in its table before what does not is in its file; then both are counted.
    until(lambda: json.loads(node.command(asked))[0]["Success"] == 3)
    shown = json.loads(node.command(asked))
    assert (shown[0]["Messages"], shown[0]["Success"], shown[0]["Errors"]) == (6, 3, 3), shown
    assert "connected, 8 partitions" in shown[0]["Connection"]
    assert (shown[0]["Protocol"], shown[0]["Connection errors"]) == ("Kafka", 0), shown
    assert shown[0]["Group"].startswith("anylog-") and shown[0]["Client ID"].startswith(shown[0]["Group"]), shown
    text = node.command("get processes").decode()
    assert re.search(rf"Kafka Consumer *\|Running *\|Clients: 1, Brokers: {place}", text), text
    assert node.command("test process kafka") == b"true"
    assert len(list(node.folder("error").glob("err_*a.json"))) == 1

    def refused(line: str) -> bytes:
        status, said = node.request("POST", "/", b"", command=line, User_Agent="AnyLog/1.23")
        assert status == 400, said
        return bytes(said)

    assert b"belongs to client 1" in refused(command(cluster, "a"))
    assert b"not the name of a topic" in refused(command(cluster, "c").replace("name = c", "name = c/#"))
    assert b"'reset'" in refused(command(cluster, "c").replace("earliest", "sometimes"))
    assert b"broker = kafka needs 'ip'" in refused("run msg client where broker = kafka and topic = '#'")
    assert b"own broker" in refused(command(cluster, "c").replace(f"ip = {cluster.host}", "ip = local"))
    assert "Clients: 1" in node.command("get processes").decode()  # of what was refused nothing is left
    node.command(command(cluster, "c"), "POST")
    cluster.send("c", [{"v": 4}])
    until(lambda: values(node, "c_rows") == [4])
    numbers = [each["Subscription"] for each in json.loads(node.command("get msg client where format = json"))]
    node.command(f"exit msg client {numbers[0]}", "POST")
    assert "Clients: 1" in node.command("get processes").decode()
    node.command("exit kafka", "POST")
    assert node.command("test process kafka") == b"false"
    assert b"No message client" in node.command("get msg client")
    node.command(command(cluster, "c"), "POST")
    cluster.send("c", [{"v": 5}])
    until(lambda: sorted(values(node, "c_rows")) == [4, 5])
    assert b"No message client" not in node.command("exit msg client all", "POST")
    until(lambda: node.command("test process kafka") == b"false")
    node.command(command(cluster, "c"), "POST")
    cluster.send("c", [{"v": 6}])
    until(lambda: sorted(values(node, "c_rows")) == [4, 5, 6])
    (only,) = json.loads(node.command("get msg client where format = json"))
    node.command(f"exit msg client {only['Subscription']}", "POST")
    until(lambda: node.command("test process kafka") == b"false")


def test_without_the_extra(node: NodeProcess, tmp_path: Path) -> None:
    """Where the library is missing the command says what to install, and the node is well."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "confluent_kafka.py").write_text("raise ImportError('hidden by a test')\n")
    root = Path(__file__).resolve().parents[2]
    node.environ = {"PYTHONPATH": f"{hidden}:{root}"}
    node.start()
    line = (
        "run kafka consumer where ip = 127.0.0.1 and topic = (name = a and dbms = d and table = t and column.v.int = 1)"
    )
    status, said = node.request("POST", "/", b"", command=line, User_Agent="AnyLog/1.23")
    assert status == 400 and b"anylog[kafka]" in said, said
    assert node.command("test process kafka") == b"false"
    assert b"kafka" in node.command("get southbound")


def test_as_a_message_client(node: NodeProcess) -> None:
    """`broker = kafka` runs the same consumer, shown and ended like it; what Kafka does not have is refused by name."""
    cluster = Cluster()
    cluster.make("m")
    node.start()

    def line(more: str = "", broker: str = "kafka") -> str:
        plain = command(cluster, "m").removeprefix("run kafka consumer where ")
        return f"run mqtt client where broker = {broker} and {plain}{more}"

    def refused(line: str) -> bytes:
        status, said = node.request("POST", "/", b"", command=line, User_Agent="AnyLog/1.23")
        assert status == 400, said
        return bytes(said)

    for wrong in ("only_log = true", "client_id = me", "qos = 1", "user-agent = anylog", "clean = true"):
        assert b"'" + wrong.split()[0].encode() + b"' has no meaning" in refused(line(f" and {wrong}")), wrong
    assert b"'ip' has a meaning with 'broker = kafka' alone" in refused(line(broker="127.0.0.1"))
    assert b"No message client" in node.command("get msg client")
    node.command(line(" and log = false and log_error = true"), "POST")
    cluster.send("m", [{"v": 1}, b"{", {"v": 2}])
    until(lambda: values(node, "m_rows") == [1, 2])
    until(lambda: list(node.folder("error").glob("err_*m.json")))
    (shown,) = json.loads(node.command("get msg client where format = json"))
    assert (shown["Protocol"], shown["Messages"], shown["Errors"]) == ("Kafka", 3, 1), shown
    assert len(list(node.folder("error").glob("err_*m.json"))) == 1
    assert node.command("test process kafka") == b"true"
    assert b"belongs to client 1" in refused(line())
    node.command("exit msg client 1", "POST")
    until(lambda: node.command("test process kafka") == b"false")
