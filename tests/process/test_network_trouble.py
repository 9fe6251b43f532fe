"""Real nodes in trouble: an operator that dies or falls silent during an answer, clients that leave or hardly read."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import DBMS, Network
from node import NodeProcess

ROWS = 60_000
RAW = "select seq, text from big"
SMALL = [{"n": 1}]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    made = Network(tmp_path_factory.mktemp("faults") / "network", every="2")
    try:
        made.start()
        for first in range(0, ROWS, 2000):
            put(
                made.operators[first // 2000 % 2],
                "big",
                [{"seq": n, "text": "x" * 200} for n in range(first, first + 2000)],
            )
        put(made.operators[0], "small", [{"v": 1}])
        assert made.ask_until("select count(*) as n from big", [{"n": ROWS}]) == [{"n": ROWS}]
        assert made.ask_until("select count(*) as n from small", SMALL) == SMALL
        yield made
    finally:
        made.remove()


def put(node: NodeProcess, table: str, rows: list[dict[str, object]]) -> None:
    body = json.dumps(rows).encode()
    status, said = node.request("PUT", "/", body, type="json", dbms=DBMS, table=table, mode="streaming")
    assert status == 200, said


def asking(network: Network, statement: str) -> socket.socket:
    """A connection on which a question was sent, with a small window."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", network.query.port))
    made.settimeout(120)
    command = f'sql {DBMS} format = json and stat = false "{statement}"'
    headers = ("Host: x", "User-Agent: AnyLog/1", "destination: network", f"command: {command}")
    made.sendall("\r\n".join(("GET / HTTP/1.1", *headers, "", "")).encode())
    return made


def read(connection: socket.socket, after: int, do: Callable[[], None]) -> tuple[bytearray, bool]:
    """All that comes, and whether the reply was ended as whole; `do` is called after so many bytes."""
    got, done = bytearray(), False
    while got[-5:] != b"0\r\n\r\n":
        piece = connection.recv(65536)
        if not piece:
            return got, False
        got += piece
        if not done and len(got) > after:
            done = True
            do()
    return got, True


@pytest.mark.parametrize("order", ["", " order by seq"])
def test_killed_during_an_answer(network: Network, order: str) -> None:
    """The reply is cut and names the node; it is never short and well-formed."""
    victim = network.operators[1]
    address = f"127.0.0.1:{network.tcp['operator1']}"
    got, whole = read(asking(network, RAW + order), 100_000, victim.kill)
    try:
        assert not whole and address.encode() in got[-1000:], got[-300:]
        assert network.ask("select count(*) as n from small") == SMALL
        with pytest.raises(RuntimeError, match=r"503.*cluster1"):
            network.ask("select count(*) as n from big")
    finally:
        victim.start()
    assert network.ask_until("select count(*) as n from big", [{"n": ROWS}]) == [{"n": ROWS}]


def test_silent(network: Network) -> None:
    """An operator that stands still is found out, and is nothing to questions that do not need it."""
    victim = network.operators[1].process
    assert victim is not None
    os.kill(victim.pid, signal.SIGSTOP)
    try:
        with pytest.raises(RuntimeError, match=r"503.*cluster1"):
            network.ask("select count(*) as n from big")
        assert network.ask("select count(*) as n from small") == SMALL
        status, body = network.query.get(
            **{"User-Agent": "AnyLog/1", "destination": "network", "subset": "true",
               "command": f'sql {DBMS} "select count(*) as n from big"'}
        )  # fmt: skip
        told = json.loads(body)
        assert (status, told["Query"]) == (200, [{"n": ROWS // 2}])
        assert [each["Port"] for each in told["Reply errors"]] == [str(network.tcp["operator1"])]
    finally:
        os.kill(victim.pid, signal.SIGCONT)
    assert network.ask_until("select count(*) as n from big", [{"n": ROWS}]) == [{"n": ROWS}]


def test_slow_readers_and_leavers(network: Network) -> None:
    """Answers that hardly anybody reads are not held by the node that asks; when readers leave, operators stop."""
    before = network.query.memory()
    readers = [asking(network, RAW + order) for order in ("", " order by seq") * 5]
    for reader in readers:
        assert reader.recv(1000).startswith(b"HTTP/1.1 200")
    assert network.ask("select count(*) as n from small") == SMALL
    assert network.query.memory() - before < 100 << 20
    for reader in readers:
        reader.close()
    end = time.monotonic() + 60
    for operator in network.operators:
        while True:  # a database is let go once no answer holds it
            try:
                operator.command(f"disconnect dbms {DBMS}", "POST")
                break
            except RuntimeError as refused:
                assert re.search("in use", str(refused)) and time.monotonic() < end, refused
                time.sleep(0.05)
        operator.command(f"connect dbms {DBMS} where type = sqlite", "POST")
    assert network.ask_until("select count(*) as n from big", [{"n": ROWS}]) == [{"n": ROWS}]
    assert b"Processing" not in network.query.command("query status all")
