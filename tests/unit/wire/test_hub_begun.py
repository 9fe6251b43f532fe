"""Large packets that are begun and never whole: they take no more than a broker allows for all of them together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from attrs import evolve

sys.path.insert(0, str(Path(__file__).resolve().parent))
from hub_talk import QUIET, Client, Table

from anylog.wire.mqtt_begun import LARGE
from anylog.wire.mqtt_packets import Disconnect, Puback, Publish, Reason
from anylog.wire.mqtt_write import encode

MB = 1 << 20
PACKET = 2 * MB
LIMITS = evolve(QUIET, packet=PACKET, begun=8 * MB)


def large(size: int, version: int = 4) -> bytes:
    return encode(Publish("big", b"x" * size, 1, packet_id=1), version)


def begin(table: Table, number: int, size: int = MB, version: int = 4) -> list[Client]:
    """Clients that say the beginning of a packet."""
    clients = [table.client(f"c{each}", version) for each in range(number)]
    for client in clients:
        client.raw(large(PACKET - 100, version)[:size])
    return clients


def held(table: Table) -> int:
    return sum(link.reader.held for link in table.hub.links)


@pytest.mark.parametrize("version", [4, 5])
def test_all_together_are_bounded(version: int) -> None:
    """Beyond the limit connections are closed, and what they sent is let go of; who knows 5.0 is told why."""
    table = Table(LIMITS)
    clients = begin(table, 60, version=version)
    assert held(table) == table.hub.begun.held <= 8 * MB
    closed = [client for client in clients if client.link.closing]
    assert len(closed) == table.hub.counts.unfinished == 52
    assert not any(client.link.reader.held for client in closed)
    assert all(client.link.ended[0] is Reason.QUOTA_EXCEEDED for client in closed)
    if version == 5:
        said = closed[0].one(Disconnect)
        assert said.reason is Reason.QUOTA_EXCEEDED and "not whole" in (said.reason_string or "")


def test_a_client_that_goes_on_is_untouched() -> None:
    """Those who hold much for long are closed, not who sends a large message meanwhile."""
    table = Table(LIMITS)
    silent = begin(table, 8, size=MB - 1000)
    table.now += 5
    good = table.client("good")
    data = large(PACKET - 100)
    for at in range(0, len(data), 64 << 10):
        good.raw(data[at : at + (64 << 10)])
        table.now += 0.1
    assert [each.packet_id for each in good.got(Puback)] == [1]
    assert not good.link.closing
    assert sum(each.link.closing for each in silent) == 2
    assert held(table) == table.hub.begun.held


def test_what_is_whole_is_not_counted() -> None:
    """Neither whole packets, nor the beginnings of small ones; what ends is let go of."""
    table = Table(LIMITS)
    client = table.client("a")
    for _ in range(20):
        data = large(MB)
        client.raw(data[: MB // 2])
        assert table.hub.begun.held == MB // 2
        client.raw(data[MB // 2 :] + data[:LARGE])
        assert table.hub.begun.held == 0
        client.raw(data[LARGE:])
    assert len(client.got(Puback)) == 40
    for taken_over in (False, True):
        client = table.client("b")
        client.raw(large(MB)[: MB // 2])
        assert table.hub.begun.held == MB // 2
        if taken_over:
            table.client("b")
        else:
            table.hub.close(client.link, table.now)
        assert table.hub.begun.held == client.link.reader.held == 0
    assert table.hub.counts.unfinished == 0


def test_the_largest_packet_has_room() -> None:
    """Whatever the limit is, two of the largest packets are taken at the same time."""
    table = Table(evolve(LIMITS, begun=1))
    one, other = begin(table, 2, size=PACKET - 200)
    for client in (one, other):
        client.raw(large(PACKET - 100)[PACKET - 200 :])
        assert client.got(Puback)


def test_strangers() -> None:
    """Before a CONNECT, too."""
    table = Table(evolve(LIMITS, begun=4 * MB, packet=MB))
    for _ in range(100):
        table.open().raw(b"\x10\x80\x80\x0d" + b"\0\4MQTT\4\2\0\0" + b"x" * (100 << 10))
    assert held(table) == table.hub.begun.held <= 4 * MB
    assert table.hub.counts.unfinished > 50
