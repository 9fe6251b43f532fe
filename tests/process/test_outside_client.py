"""`run msg client` with a Mosquitto elsewhere: from a publisher of others to rows that a query finds (ingest.md 4)."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from broker_clients import BrokerNode, Paho, until
from mosquitto import Mosquitto, certificates, needs_mosquitto
from node import NodeProcess, free_port

pytestmark = needs_mosquitto
TOPIC = (
    'topic = (name = {name} and qos = {qos} and dbms = town and table = {table} and column.ts.timestamp = "bring [ts]"'
    ' and column.seq.int = "bring [seq]" and column.qos.int = {qos})'
)


def client(port: int, *topics: tuple[str, int, str], more: str = "") -> str:
    """The command; topics by name, QoS and table."""
    said = " and ".join(TOPIC.format(name=name, qos=qos, table=table) for name, qos, table in topics)
    return f"run msg client where broker = 127.0.0.1 and port = {port}{more} and {said}"


def messages(count: int, first: int = 0) -> list[str]:
    return [json.dumps({"ts": "2026-11-20T10:00:00Z", "seq": each}) for each in range(first, first + count)]


def shown(node: NodeProcess, number: int = 1) -> dict[str, Any]:
    """As `get msg client` has it."""
    (found,) = json.loads(node.command(f"get msg client where id = {number} and format = json"))
    assert isinstance(found, dict)
    return found


def values(node: NodeProcess, table: str) -> Counter[int]:
    """How often each number is in a table, by the node's own SQL."""
    text = f'sql town format = json and stat = false "select seq from {table}"'
    status, body = node.get(**{"User-Agent": "AnyLog/1.23", "command": text})
    return Counter(int(row["seq"]) for row in json.loads(body)["Query"]) if status == 200 else Counter()


def connected(node: NodeProcess, number: int = 1) -> None:
    until(lambda: shown(node, number)["Connection"] == "connected")


@pytest.fixture
def broker(tmp_path: Path, node: NodeProcess) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path / "broker", port=free_port({node.port}))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    made = NodeProcess(tmp_path / "home")
    yield made
    made.remove()


def once_each(node: NodeProcess, table: str, count: int) -> None:
    """All of them are rows, each once, and so it stays when the node has nothing more to do."""
    until(lambda: len(values(node, table)) >= count, 120)
    assert values(node, table) == Counter(range(count)), table


def test_the_forms(node: NodeProcess, broker: Mosquitto) -> None:
    """Several topics of each QoS and wildcards become rows; the client is shown in all forms, and ends by number."""
    node.start()
    topics = (("plant/+/zero", 0, "zero"), ("plant/one/#", 1, "one"), ("plant/two", 2, "two"))
    node.command(client(broker.port, *topics), "POST")
    connected(node)
    for topic, qos in (("plant/x/zero", 0), ("plant/one/a/b", 1), ("plant/two", 2)):
        broker.send(topic, messages(50), qos)
    for _, _, table in topics:
        once_each(node, table, 50)
    broker.send("plant/two", ["no json"], 2)
    until(lambda: shown(node)["Errors"] == 1)
    found = shown(node)
    assert (found["Messages"], found["Success"], found["Broker"]) == (151, 150, f"127.0.0.1:{broker.port}")
    assert (found["Session"], found["Connects"], found["Reconnects"]) == ("lasts", 1, 0)
    assert found["Protocol"] == "MQTT 3.1.1" and found["Client ID"].startswith("anylog-")
    assert "JSON" in found["Last Error"] and found["Connected since"]
    # QoS 1 by a PUBACK, QoS 2 by a PUBREC and a PUBCOMP: the one that is no JSON, too, or it would come for ever.
    until(lambda: shown(node)["Answered"] == 50 + 2 * 51)
    text = node.command(f"get msg clients where broker = 127.0.0.1:{broker.port}").decode()
    for line in ("Subscription: 0001\r\n", "Connection:   connected\r\n", "Reconnects:   0\r\n", "plant/one/#"):
        assert line in text, text
    for asked in ("get msg client statistics", "get msg client where topic = plant/two", "get msg client detailed"):
        assert b"Connection:   connected\r\n" in node.command(asked)
    rows = json.loads(node.command("get msg brokers where format = json"))
    assert [(row["Topic"], row["Success"], row["Failure"]) for row in rows] == [
        ("plant/+/zero", 50, 0),
        ("plant/one/#", 50, 0),
        ("plant/two", 50, 1),
    ]
    processes = json.loads(node.command("get processes where format = json"))
    assert processes["MQTT"] == {"Status": "Running", "Details": f"Clients: 1, Brokers: 127.0.0.1:{broker.port}"}
    with pytest.raises(RuntimeError, match="belongs to client 1"):
        node.command(client(broker.port, topics[0]), "POST")
    for more, told in (
        (" and version = 6", "one of 3.1.1, 4, 5, 5.0"),
        (" and tls_key = x", "tls_cert"),
        (" and client_id = " + found["Client ID"], "is that of client 1"),
    ):
        with pytest.raises(RuntimeError, match=told):
            node.command(client(broker.port, ("other", 1, "other"), more=more), "POST")
    node.command("exit msg client 1", "POST")
    assert node.command("get msg client") == b"No message client subscriptions"
    # It has unsubscribed: what comes meanwhile is not for us, also when the same client comes back.
    broker.send("plant/two", messages(1, 1000), 2)
    node.command(client(broker.port, *topics), "POST")
    connected(node, 2)
    broker.send("plant/two", messages(1, 50), 2)
    once_each(node, "two", 51)
    node.command("exit mqtt", "POST")
    assert node.command("get msg client") == b"No message client subscriptions"


def test_who_cannot_be_reached(tmp_path: Path, node: NodeProcess) -> None:
    """The command answers at once; the state says why there is no connection, and that is tried again."""
    node.start()
    nobody = free_port({node.port})
    node.command(client(nobody, ("a", 1, "a")), "POST")
    until(lambda: shown(node)["Connection errors"] >= 2)
    assert "waiting to connect again: " in shown(node)["Connection"] or shown(node)["Connection"].startswith("conn")
    assert "refused" in shown(node)["Last connection error"] and shown(node)["Last connection error time"]
    node.command(client(1883, ("a", 1, "a")).replace("127.0.0.1", "nosuch.invalid"), "POST")
    until(lambda: "cannot be reached" in shown(node, 2)["Connection"])
    names = tmp_path / "names"
    names.write_text("edge:right\n")
    subprocess.run(["mosquitto_passwd", "-U", str(names)], check=True)
    rules = tmp_path / "rules"
    rules.write_text("user edge\ntopic read open/#\n")
    broker = Mosquitto(tmp_path / "broker", f"password_file {names}", f"acl_file {rules}", anonymous=False,
                       port=free_port({node.port, nobody}))  # fmt: skip
    broker.start()
    try:
        user = " and user = edge and password = "
        node.command(client(broker.port, ("open/a", 1, "a"), more=f"{user}wrong"), "POST")
        until(lambda: shown(node, 3)["Connection errors"] >= 2)
        assert "the broker refuses us: Not authorized" in shown(node, 3)["Last connection error"]
        node.command("exit msg client 3", "POST")
        node.command(client(broker.port, ("open/a", 1, "a"), ("shut/a", 1, "b"), more=f"{user}right"), "POST")
        said = ("-u", "edge", "-P", "right")
        until(lambda: shown(node, 4)["Connection"].startswith("connected"))
        # Mosquitto grants what it will not send.
        rules.write_text("user edge\ntopic readwrite #\n")
        assert broker.process is not None
        broker.process.send_signal(1)
        broker.send("open/a", messages(10), 1, said)
        once_each(node, "a", 10)
        assert "right" not in node.command("get msg client").decode()
    finally:
        broker.stop()


def test_a_topic_is_refused(tmp_path: Path, node: NodeProcess) -> None:
    """Another node is the broker: of a topic that it refuses the state tells why, and the others go on."""
    users = "user = (name = edge and password = right and publish = open/# and subscribe = open/#)"
    other = BrokerNode(tmp_path / "other", users)
    other.port = free_port({node.port})
    other.broker = free_port({node.port, other.port})
    other.set(users)
    node.start()
    try:
        other.start()
        topics = (("open/a", 2, "a"), ("shut/a", 1, "b"))
        for number, version in ((1, "3.1.1"), (2, "5")):
            more = f" and user = edge and password = right and client_id = edge{number} and version = {version}"
            node.command(client(other.broker, *topics, more=more), "POST")
            until(lambda number=number: "connected, refused: shut/a (" in shown(node, number)["Connection"])
            until(lambda number=number: shown(node, number)["Connection errors"] >= 2)  # it was asked for again
            assert shown(node, number)["Connects"] == 1
            where = f"broker = 127.0.0.1 and port = {other.broker} and user = edge and password = right and qos = 2"
            node.command(f"set reading = {messages(1, number - 1)[0]}", "POST")
            node.command(f"mqtt publish where {where} and topic = open/a and message = !reading", "POST")
            once_each(node, "a", number)
            node.command(f"exit msg client {number}", "POST")
    finally:
        other.remove()


def test_tls(tmp_path: Path, node: NodeProcess) -> None:
    """With our certificate and theirs, in both versions; a certificate of a stranger is told in the state."""
    keys = tmp_path / "keys"
    certificates(keys)
    broker = Mosquitto(
        tmp_path / "broker", f"cafile {keys}/ca.pem", f"certfile {keys}/server.pem", f"keyfile {keys}/server.key",
        "require_certificate true", port=free_port({node.port}),
    )  # fmt: skip
    broker.start()
    try:
        node.start()
        ours = f" and tls_cert = {keys}/client.pem and tls_key = {keys}/client.key"
        for number, version in ((1, "3.1.1"), (2, "5")):
            more = f"{ours} and tls_ca = {keys}/ca.pem and version = {version} and keep_alive = 10 seconds"
            node.command(client(broker.port, (f"v{number}", 2, f"v{number}"), more=more), "POST")
            connected(node, number)
            assert shown(node, number)["Protocol"] == f"TLS, MQTT {version}"
            shows = ("--cafile", f"{keys}/ca.pem", "--cert", f"{keys}/client.pem", "--key", f"{keys}/client.key")
            broker.send(f"v{number}", messages(200), 2, shows)
            once_each(node, f"v{number}", 200)
        node.command(client(broker.port, ("x", 2, "x"), more=f"{ours} and tls_ca = {keys}/other.pem"), "POST")
        until(lambda: "certificate of the broker is not accepted" in shown(node, 3)["Last connection error"])
    finally:
        broker.stop()


class Deaf:
    """Between node and broker: what the node says goes on for so many bytes, and then nowhere."""

    def __init__(self, port: int, taken: Container[int]) -> None:
        self.port, self.budget = free_port(taken), 1 << 60
        self._behind = port
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                front, _ = self._listening.accept()
            except OSError:
                return
            back = socket.create_connection(("127.0.0.1", self._behind))
            threading.Thread(target=self._pass, args=(back, front, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(front, back, True), daemon=True).start()

    def _pass(self, come: socket.socket, go: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := come.recv(65536):
                with self._lock:
                    if counted:
                        data, self.budget = data[: self.budget], self.budget - len(data[: self.budget])
                go.sendall(data)
        for end in (come, go):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.long)])
def test_kill_before_the_broker_has_heard(node: NodeProcess, broker: Mosquitto, rounds: int, version: str) -> None:
    """What was kept, but not answered to the end, comes again when the node is back, and is no second row.

    Anywhere between the first answer and the last one the broker hears no more; then the node is killed.
    """
    chance = Random(rounds)
    deaf = Deaf(broker.port, {node.port, broker.port})
    node.commands = (client(deaf.port, ("a", 1, "one"), ("b", 2, "two"), more=f" and version = {version}"),)
    node.start()
    connected(node)
    each = 500
    try:
        for number in range(rounds):
            deaf.budget = chance.randrange(0, 4 * 2 * each)  # there are three answers of 4 bytes for two messages
            for topic, qos in (("a", 1), ("b", 2)):
                broker.send(topic, messages(each, number * each), qos)
            for table in ("one", "two"):
                until(lambda table=table, wanted=(number + 1) * each: len(values(node, table)) >= wanted)
            node.kill()
            deaf.budget = 1 << 60
            node.start()
            until(lambda: shown(node)["Answered"] >= 1)
            broker.send("b", [json.dumps({"ts": "2026-11-20T10:00:00Z", "seq": -1 - number})], 2)
            until(lambda last=-1 - number: values(node, "two")[last] == 1)  # what waited for us came before it
            for table in ("one", "two"):
                found = values(node, table)
                assert {seq: often for seq, often in found.items() if often > 1} == {}, (number, table)
                assert len([seq for seq in found if seq >= 0]) == (number + 1) * each
        assert "Traceback" not in node.log.read_text()
    finally:
        deaf.close()


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.long)])
def test_kill_of_the_node(node: NodeProcess, broker: Mosquitto, rounds: int, version: str) -> None:
    """Killed under load again and again: each message of QoS 1 and 2 is one row."""
    chance = Random(rounds)
    node.commands = (client(broker.port, ("a", 1, "one"), ("b", 2, "two"), more=f" and version = {version}"),)
    node.start()
    connected(node)
    each = 1500
    for number in range(rounds):
        sent = [broker.sending(topic, messages(each, number * each), qos) for topic, qos in (("a", 1), ("b", 2))]
        wanted = number * each + chance.randrange(1, each)
        table = chance.choice(("one", "two"))
        question = f"select count(*) from {table}"
        until(lambda wanted=wanted, question=question: node.asked("town", question) >= [(wanted,)])
        node.kill()
        assert [process.wait(120) for process in sent] == [0, 0]
        node.start()
    for table in ("one", "two"):
        once_each(node, table, rounds * each)
    assert shown(node)["Connects"] == 1
    assert "Traceback" not in node.log.read_text()


def test_restart_of_the_broker(node: NodeProcess, broker: Mosquitto) -> None:
    """One that is stopped and comes back has the session; one that was killed has none, and is subscribed to anew.

    It is not stopped between PUBREL and PUBCOMP: Mosquitto 2.0.11 then sends the whole message again after its start,
    which the standard forbids (MQTT 3.1.1, 4.3.3), and nothing tells it from another message of that packet id.
    """
    node.start()
    node.command(client(broker.port, ("a", 1, "one"), ("b", 2, "two")), "POST")
    connected(node)
    for number in range(3):
        broker.send("b", messages(500, number * 500), 2)
        once_each(node, "two", 500 * number + 500)
        broker.send("a", messages(500, number * 500), 1)
        # What answers those of QoS 2 to the end went before the first of these.
        until(lambda number=number: len(values(node, "one")) > number * 500)
        broker.stop()
        until(lambda: shown(node)["Connection"] != "connected")
        broker.start()
        connected(node)
    for table in ("one", "two"):
        once_each(node, table, 1500)
    for number in range(2):
        broker.kill()
        until(lambda: shown(node)["Connection"] != "connected")
        broker.start()
        connected(node)
        for topic, qos in (("a", 1), ("b", 2)):
            broker.send(topic, messages(500, 1500 + number * 500), qos)
        for table in ("one", "two"):
            once_each(node, table, 2000 + number * 500)
    assert shown(node)["Reconnects"] == 5


def test_a_restart_of_the_node(node: NodeProcess, broker: Mosquitto) -> None:
    """A node that is stopped misses nothing; what the broker retains comes once, unless `clean` begins anew."""
    command = client(broker.port, ("a", 1, "one"))
    node.commands = (command,)
    node.start()
    connected(node)
    broker.send("a", messages(1), 1, ("-r",))
    once_each(node, "one", 1)
    node.stop()
    broker.send("a", messages(20, 1), 1)
    node.start()
    once_each(node, "one", 21)
    name = shown(node)["Client ID"]
    node.stop()
    node.commands = (command.replace(" and topic", " and clean = true and topic", 1),)
    broker.send("a", messages(1, 1000), 1)  # for the session that lasts, which is given up
    node.start()
    until(lambda: values(node, "one")[0] == 2)
    assert (shown(node)["Client ID"], shown(node)["Session"]) == (name, "ends with the connection")
    assert values(node, "one") == Counter(range(21)) + Counter([0])


def test_the_manual(node: NodeProcess, broker: Mosquitto) -> None:
    """The command as the manual prints it, between brackets and over lines, but for the place of the broker."""
    node.start()
    script = node.home / "manual.al"
    script.write_text(
        f"""<run mqtt client where broker=127.0.0.1 and port={broker.port} and user=ibglowct and password=MSY4e009J7ts
    and log=false and topic=(
        name=anylogedgex and
        dbms=town and
        table="bring [sourceName]" and
        column.timestamp.timestamp=now and
        column.value=(type=float and value="bring [readings][][value]"))>
"""
    )
    node.command(f"process {script}", "POST")
    connected(node)
    broker.send("anylogedgex", [json.dumps({"sourceName": "OS Temp", "readings": [{"value": 1}, {"value": 2.5}]})])
    until(lambda: node.asked("town", "select value from os_temp order by value") == [(1.0,), (2.5,)])
    assert shown(node)["User"] == "ibglowct"
    node.command("exit MQTT", "POST")
    assert node.command("get msg client") == b"No message client subscriptions"


def test_the_log(node: NodeProcess, broker: Mosquitto) -> None:
    """`log = true` tells the packets of one client, `set mqtt debug` those of all, and what became of messages."""
    node.start()
    node.command(client(broker.port, ("quiet", 1, "quiet")), "POST")
    node.command(client(broker.port, ("loud", 1, "loud"), more=" and log = true"), "POST")
    connected(node, 1)
    connected(node, 2)
    broker.send("loud", messages(1), 1)
    until(lambda: "'loud'" in node.log.read_text())
    broker.send("quiet", messages(1), 1)
    once_each(node, "quiet", 1)
    assert "'quiet'" not in node.log.read_text()
    node.command("set mqtt debug on", "POST")
    sent = 1
    while "msg client 1 quiet: " not in node.log.read_text() or "'quiet'" not in node.log.read_text():
        broker.send("quiet", messages(1, sent), 1)
        sent += 1
        once_each(node, "quiet", sent)
    node.command("set mqtt debug off", "POST")


def test_to_the_broker_of_the_node(tmp_path: Path) -> None:
    """`mqtt publish where broker = local` reaches clients of the node and of others; its address is the same broker."""
    node = BrokerNode(tmp_path / "home")
    node.dbms = "town"
    node.start()
    try:
        node.command(client(node.broker, ("a/#", 1, "one")), "POST")
        assert shown(node)["Broker"] == "local"
        reader = Paho(node, "reader")
        reader.subscribe("a/#", 2)
        for qos, text in enumerate(messages(3)):
            node.command(f"set reading = {text}", "POST")
            where = f"broker = local and topic = a/b and message = !reading and qos = {qos}"
            assert json.loads(node.command(f"mqtt publish where {where}", "POST")) == {"MQTT Publish": "OK"}
        assert [(each.payload.decode(), each.qos) for each in reader.take(3)] == [
            (text, qos) for qos, text in enumerate(messages(3))
        ]
        reader.close()
        once_each(node, "one", 3)
        node.command("exit broker", "POST")
        with pytest.raises(RuntimeError, match="broker is not running"):
            node.command("mqtt publish where broker = local and topic = a/b and message = x", "POST")
    finally:
        node.remove()
