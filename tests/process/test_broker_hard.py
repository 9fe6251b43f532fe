"""A message broker among strangers who do not behave: the reason is said, the others are served, the node goes on."""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "wire"))
from broker_clients import SECONDS, BrokerNode, Paho, read_all, until
from mqtt_cases import CONNECT_4, CONNECT_5, FIRST
from mqtt_cases_later import BROKER_4, BROKER_5

from anylog.wire.mqtt_packets import (
    REASONS,
    RETURN_CODES,
    Connack,
    Connect,
    Disconnect,
    Filter,
    Packet,
    Pingresp,
    Reason,
    Subscribe,
)
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_write import encode

GROWTH = 60 << 20  # bytes of memory that a subscriber who does not read may cost


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerNode]:
    process = BrokerNode(tmp_path_factory.mktemp("hard") / "home", "max_packet_size = 100000")
    process.start()
    yield process
    assert process.command("get status").endswith(b"running")
    log = process.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    process.remove()


def connected(node: BrokerNode, name: str, version: int = 5, keep_alive: int = 0) -> tuple[socket.socket, Reader]:
    """A bare client that has its CONNACK."""
    connection, reader = node.raw(), Reader(version, side="client")
    connection.sendall(encode(Connect(name, version=version, keep_alive=keep_alive), version))
    (answer,) = read(connection, reader, 1)
    assert isinstance(answer, Connack) and not answer.reason
    return connection, reader


def read(connection: socket.socket, reader: Reader, number: int) -> list[Packet]:
    """So many packets."""
    found: list[Packet] = []
    connection.settimeout(SECONDS)
    while len(found) < number:
        data = connection.recv(65536)
        assert data, f"closed after {found}"
        found += reader.feed(data)
    return found


def last_words(data: bytes, version: int) -> list[Packet]:
    """What a broker said before it closed."""
    return Reader(version, side="client").feed(data)


def test_a_subscriber_that_never_reads(node: BrokerNode) -> None:
    """It loses messages of QoS 0, which are counted; memory stays, the others get all."""
    deaf, _ = connected(node, "deaf")
    deaf.sendall(encode(Subscribe(1, (Filter("loud", 0),)), 5))
    hears = Paho(node, "hears")
    hears.subscribe("loud", 0)
    writer = Paho(node, "loud")
    before, payload = node.memory(), bytes(50_000)
    for number in range(2000):
        writer.client.publish("loud", payload, 0)
        if number % 20 == 19:
            hears.take(20)
    assert node.memory() - before < GROWTH
    assert hears.messages.empty()
    until(lambda: b"read too slowly" in node.command("get local broker"))
    writer.publish("loud", b"end", 1)
    assert hears.take(1)[0].payload == b"end"
    for client in (hears, writer):
        client.close()
    deaf.close()


def test_a_subscriber_that_never_answers(node: BrokerNode) -> None:
    """It is sent what its window holds, and closed when its queue is full; the publisher goes on."""
    mute, reader = connected(node, "mute")
    mute.sendall(encode(Subscribe(1, (Filter("quiet", 1),)), 5))
    read(mute, reader, 1)
    writer = Paho(node, "quiet")
    for number in range(10_200):
        info = writer.client.publish("quiet", b"%d" % number, 1)
        if number % 100 == 99:
            info.wait_for_publish(SECONDS)
    *messages, said = last_words(read_all(mute), 5)
    assert len(messages) == 100
    assert isinstance(said, Disconnect) and said.reason is Reason.QUOTA_EXCEEDED
    writer.publish("quiet", b"", 1)
    writer.close()


def test_half_open(node: BrokerNode) -> None:
    """Who says nothing for one and a half of its keep alive is told so and closed; its will is published."""
    silent, _ = connected(node, "silent", keep_alive=1)
    (said,) = last_words(read_all(silent), 5)
    assert isinstance(said, Disconnect) and said.reason is Reason.KEEP_ALIVE_TIMEOUT


def test_two_hundred_clients_with_one_id(node: BrokerNode) -> None:
    """At each moment one of them is connected; those before were told; the last stays."""
    data = encode(Connect("same", version=5, keep_alive=60), 5)
    connections = [node.raw() for _ in range(200)]
    threads = [threading.Thread(target=each.sendall, args=(data,)) for each in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    there, said = set(connections), []
    readers = {each: Reader(5, side="client") for each in connections}
    end = time.monotonic() + SECONDS
    heard: dict[socket.socket, list[Packet]] = {each: [] for each in connections}
    while time.monotonic() < end and (len(there) > 1 or not heard[next(iter(there))]):
        for each in select.select(list(there), [], [], 0.2)[0]:
            piece = each.recv(65536)
            if piece:
                heard[each] += readers[each].feed(piece)
            else:
                there.discard(each)
                said.append(heard[each][-1])
    assert len(there) == 1 and len(said) == 199
    assert {type(each) for each in said} == {Disconnect}
    assert {each.reason for each in said if isinstance(each, Disconnect)} == {Reason.SESSION_TAKEN_OVER}
    (last,) = there
    last.sendall(b"\xc0\0")
    assert any(isinstance(each, Pingresp) for each in read(last, readers[last], 1))
    for each in connections:
        each.close()


def closed(node: BrokerNode, version: int, data: bytes) -> list[Packet]:
    """What is said to who sends that, until the connection is closed."""
    with node.raw() as connection:
        connection.sendall(data)
        return last_words(read_all(connection), version)


def greeted(node: BrokerNode, version: int, data: bytes) -> list[Packet]:
    """The same after a CONNECT, without the CONNACK."""
    connack, *rest = closed(node, version, encode(Connect("m", version=version), version) + data)
    assert isinstance(connack, Connack) and not connack.reason
    return rest


def test_malformed_packets(node: BrokerNode) -> None:
    """Each case of the standard, as bytes on a socket: 5.0 is told the reason, 3.1.1 is closed; nobody else notices."""
    other = Paho(node, "other", version=5)
    other.subscribe("still/here", 1)
    for statement, _, data, _reason in FIRST:
        if data.startswith(b"GET "):
            continue  # here that is a WebSocket
        assert [each for each in closed(node, 5, data) if not isinstance(each, Connack)] == [], statement
    for version, cases in ((4, CONNECT_4), (5, CONNECT_5)):
        for statement, _, data, reason in cases:
            known = reason in (RETURN_CODES if version == 4 else REASONS[Connack])
            said = closed(node, version, data)
            assert len(said) <= known, (statement, said)
            if said and version == 5:
                assert [each.reason for each in said if isinstance(each, Connack)] == [reason], (statement, said)
    for statement, _, data, reason in BROKER_4:
        assert greeted(node, 4, data) == [], (statement, reason)
    for statement, _, data, reason in BROKER_5:
        *_, last = greeted(node, 5, data)
        assert isinstance(last, Disconnect) and last.reason is reason, (statement, last)
    assert len(FIRST) + len(CONNECT_4) + len(CONNECT_5) + len(BROKER_4) + len(BROKER_5) >= 180
    other.publish("still/here", b"yes", 1)
    assert other.take(1)[0].payload == b"yes"
    other.close()


@pytest.mark.parametrize("data", [b"\x16\x03\x01\0\x05hello", b"SSH-2.0-x\r\n", b"\0", b"\xff" * 70_000, b"GET"])
def test_what_is_not_mqtt(node: BrokerNode, data: bytes) -> None:
    """It is closed without a word and counted by address."""
    with node.raw() as connection:
        connection.sendall(data)
        if data == b"GET":  # it may become a request
            connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
    if data != b"GET":
        assert [row for row in node.rows() if row["Protocol"] == "UNKNOWN"]


def test_a_packet_that_is_too_large(node: BrokerNode) -> None:
    """It is refused by its header, before it has come."""
    client, _ = connected(node, "large")
    client.sendall(b"\x30\xff\xff\xff\x7f" + bytes(1000))
    (said,) = last_words(read_all(client), 5)
    assert isinstance(said, Disconnect) and said.reason is Reason.PACKET_TOO_LARGE
    client.close()


def test_many_connections_that_say_nothing(node: BrokerNode) -> None:
    """They do not keep others out, and are closed after the time for CONNECT."""
    begin = time.monotonic()
    silent = [node.raw() for _ in range(500)]
    client = Paho(node, "among", version=5)
    client.subscribe("among", 1)
    client.publish("among", b"x", 1)
    assert client.take(1)
    client.close()
    for each in silent:
        assert read_all(each) == b""
        each.close()
    assert time.monotonic() - begin > 5


def test_what_went_wrong_is_shown(node: BrokerNode) -> None:
    """The reasons by address, in JSON and as a table."""
    rows = [row for row in json.loads(node.command("get local broker where format = json")) if row["Error"]]
    assert {row["IP"] for row in rows} == {"127.0.0.1"}
    assert any(row["Event"] == "DISCONNECT" and row["Error Code"] for row in rows)
    assert b"closed for what they sent" in node.command("get broker")


def test_stop_and_start_again(node: BrokerNode) -> None:
    """Clients are told that the broker stops, the port is free, and it may be run again."""
    client, _ = connected(node, "stays")
    assert b"is not running" not in node.command("exit broker", "POST")
    (said,) = last_words(read_all(client), 5)
    assert isinstance(said, Disconnect) and said.reason is Reason.SERVER_SHUTTING_DOWN
    with pytest.raises(OSError):
        node.raw()
    assert node.command("test process broker") == b"false"
    node.command(f"run message broker 127.0.0.1 {node.broker}", "POST")
    again = Paho(node, "again")
    again.publish("x", b"", 2)
    again.close()
    assert b"Message Broker" in node.command("get processes")
    client.close()
