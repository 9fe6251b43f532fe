"""Syslog over real sockets, by strangers' senders where there are any, into tables (ingest.md 12)."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess, free_port

PORT = free_port() + 20
BROKER = PORT + 1
COMMANDS = (
    f"run syslog server where ip = 127.0.0.1 and port = {PORT} and dbms = town and table = other and format = ietf",
    f"run message broker where internal_ip = 127.0.0.1 and internal_port = {BROKER} and bind = true",
    'set msg rule roof if header = "roof: " then dbms = town and table = roof and syslog = true and extend = ip',
    'set msg rule kern if ip = 127.0.0.1 and header = "kern: " then dbms = town and table = kern and syslog = true'
    " and format = ietf",
    f"set msg rule onbroker if port = {BROKER} then dbms = town and table = onbroker and syslog = true",
    'set msg rule wide if header = "wide " then dbms = town and table = wide and structure = included',
    'set msg rule topic if header = "topic " then topic = plant/text',
    "run msg client where broker = local and topic = (name = plant/text and dbms = town and table = told"
    ' and column.v.int = "bring [v]")',
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One node for all of this."""
    process = NodeProcess(tmp_path_factory.mktemp("syslog") / "home", commands=COMMANDS)
    process.start()
    yield process
    assert process.command("get status").endswith(b"running")
    process.remove()


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def tcp(data: bytes, port: int = PORT, pieces: int = 0) -> None:
    """Send it on a connection of its own, perhaps in pieces."""
    with socket.create_connection(("127.0.0.1", port), timeout=240) as line:  # for all of it
        for at in range(0, len(data), pieces or len(data)):
            line.sendall(data[at : at + (pieces or len(data))])


def udp(*datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        for each in datagrams:
            line.sendto(each, ("127.0.0.1", PORT))


def column(node: NodeProcess, table: str, name: str = "message") -> list[Any]:
    return [row[0] for row in node.asked("town", f'select "{name}" from {table} order by row_id')]


def rules(node: NodeProcess) -> dict[str, dict[str, Any]]:
    return {each["Name"]: each for each in json.loads(node.command("get msg rules where format = json"))}


needs_logger = pytest.mark.skipif(shutil.which("logger") is None, reason="logger of util-linux is missing")


FORMS = [("-d", "--rfc5424"), ("-T", "--rfc5424"), ("-d", "--rfc3164"), ("-T", "--rfc3164"), ("-T", "--octet-count")]


@needs_logger
@pytest.mark.parametrize(("how", "form"), FORMS)
def test_logger(node: NodeProcess, how: str, form: str) -> None:
    """What `logger` of util-linux sends is read in each of its forms."""
    text = f"by {how} {form}: 'quoted' [brackets] 50%"
    words = ["logger", how, form, "-n", "127.0.0.1", "-P", str(PORT), "-p", "auth.err", "-t", "pump", "-i", text]
    subprocess.run(words, check=True, timeout=30)

    def found() -> list[tuple[Any, ...]]:
        return node.asked(
            "town", "select priority, application, hostname, timestamp from other where message = ?", text
        )

    until(found)
    ((priority, application, hostname, moment),) = found()
    assert (priority, application) == (4 * 8 + 3, "pump")
    assert hostname.partition(".")[0] == socket.gethostname().partition(".")[0]
    assert moment[:4].isdigit() and moment[4] == "-"


def test_every_part_of_rfc_5424(node: NodeProcess) -> None:
    """The parts become columns with their types; what is `-` is null."""
    data = rb'[a@1 x="quo\"te" y="br\]ack"][b z=""]'
    event = b"kern: <165>1 2026-11-20T22:14:15.003+02:00 host.example app 77 ID47 " + data + b" \xef\xbb\xbfAn event"
    tcp(event + b"\n" + b"kern: <0>1 - - - - - -\r\n", pieces=7)
    until(lambda: len(column(node, "kern")) == 2)
    rows = node.asked(
        "town",
        "select priority, version, timestamp, hostname, application, process_id, message_id, structured_data, message"
        " from kern order by row_id",
    )
    assert rows[0][:2] == (165, 1) and rows[0][2].startswith("2026-11-20 20:14:15.003"), rows[0]
    assert rows[0][3:] == ("host.example", "app", "77", "ID47", data.decode(), "An event")
    assert rows[1][0] == 0 and rows[1][3] == "127.0.0.1" and rows[1][4:8] == (None,) * 4, rows[1]
    assert rules(node)["kern"]["Events"] == 2


def test_both_framings_on_one_connection(node: NodeProcess) -> None:
    """Octet counting and lines, cut into single bytes; a counted event may hold line ends."""
    one = b"<13>1 2026-11-20T22:14:15Z h framed 1 - - two\nlines"
    other = b"<13>1 2026-11-20T22:14:15Z h framed 2 - - plain"
    tcp(b"%d %s" % (len(one), one) + other + b"\r\n" + b"%d %s" % (len(one), one) + other, pieces=1)

    def found() -> list[Any]:
        asked = "select message from other where application = 'framed' order by row_id"
        return [row[0] for row in node.asked("town", asked)]

    until(lambda: len(found()) == 4)
    assert found() == ["two\nlines", "plain"] * 2


def test_a_header_and_the_sender(node: NodeProcess) -> None:
    """The header is taken away, and the sender's address is a column."""
    tcp(b"roof: <34>Oct 11 22:14:15 mymachine su[7]: 'su root' failed\n")
    until(lambda: column(node, "roof"))
    (row,) = node.asked("town", "select priority, hostname, tag, message, source_ip from roof")
    assert row == (34, "mymachine", "su[7]", "'su root' failed", "127.0.0.1")


def test_on_the_port_of_the_broker(node: NodeProcess) -> None:
    """What is not MQTT goes where the rules say, and MQTT goes on beside it."""
    tcp(b"<13>Nov 20 10:00:00 h a: one\n<13>Nov 20 10:00:01 h a: two\n", BROKER, pieces=5)
    until(lambda: column(node, "onbroker") == ["one", "two"])
    shown = json.loads(node.command("get local broker where format = json"))
    assert [(each["Event"], each["Success"]) for each in shown if each["Protocol"] == "RAW"] == [("EVENT", 2)]
    connect = bytes.fromhex("100d00044d5154540402003c000178")
    with socket.create_connection(("127.0.0.1", BROKER), timeout=30) as line:
        line.sendall(connect)
        assert line.recv(4) == b"\x20\x02\x00\x00"


def test_columns_by_width(node: NodeProcess) -> None:
    """The first event of a connection names the columns; the last one takes the rest."""
    lines = ["pump   speed  note", "p1     12     all is well", "p two  7      x"]
    tcp("".join(f"wide {line}\n" for line in lines).encode())
    until(lambda: column(node, "wide", "pump") == ["p1", "p two"])
    assert column(node, "wide", "note") == ["all is well", "x"]


def test_to_subscribers(node: NodeProcess) -> None:
    """An event of a rule with a topic is mapped by who subscribed to it."""
    tcp(b'topic {"v": 7}\ntopic {"v": 8}\n')
    until(lambda: column(node, "told", "v") == [7, 8])


def test_bad_input(node: NodeProcess) -> None:
    """Whatever comes, what is around it is kept, and what is dropped is counted."""
    before = rules(node)["roof"]["Events"]
    noise = [
        b"\xff\xfe\x00\x01",
        b"<999>no priority",
        b"roof: <13>1 broken header",
        b"roof: <13>Feb 30 10:00:00 h t: no such day",
        b"x" * 100_000,
        b"999999999 <13>never so long",
        b"",
    ]
    tcp(b"\n".join([*noise[:5], b"roof: <13>Nov 20 10:00:00 h t: behind", b""]))
    tcp(noise[5])
    udp(b"", b"\0", b"\xff" * 9000, b"roof: <13>Nov 20 10:00:00 h t: by udp\n")
    until(lambda: {"behind", "by udp"} <= set(column(node, "roof")))
    assert rules(node)["roof"]["Events"] == before + 4
    assert "1 broken header" in column(node, "roof")
    text = node.command("get msg rules").decode()
    assert "dropped: too long" in text and "not UTF-8" in text and "not syslog" in text, text


def test_nothing_is_lost_by_tcp(node: NodeProcess) -> None:
    """A hundred thousand events in one go: as many rows, in order."""
    count = 100_000
    tcp(b"".join(b"<13>1 2026-11-20T22:14:15Z h many - - - %d\n" % number for number in range(count)))

    def found() -> list[Any]:
        asked = "select message from other where application = 'many' order by row_id"
        return [int(row[0]) for row in node.asked("town", asked)]

    until(lambda: node.asked("town", "select count(*) from other where application = 'many'") == [(count,)], 240)
    assert found() == list(range(count))


def test_commands(node: NodeProcess) -> None:
    """What is wrong is named; a rule that is taken away is gone; it is all shown."""
    for command, told in (
        ("set msg rule roof if ip = 1.2.3.4 then dbms = a and table = b", "already"),
        ("set msg rule x then dbms = a and table = b", "usage"),
        ("set msg rule x if port = 0 then dbms = a and table = b", "port"),
        ("set msg rule x if ip = nowhere then dbms = a and table = b", "not an address"),
        ("set msg rule x if ip = 1.2.3.4 then dbms = a", "table"),
        ("set msg rule x if ip = 1.2.3.4 then dbms = a and table = anylog_x", "anylog_"),
        ("set msg rule x if ip = 1.2.3.4 then topic = a/#", "topic"),
        ("set msg rule x if ip = 1.2.3.4 then dbms = a and table = b and format = ietf", "syslog"),
        ("reset msg rule nosuch", "nosuch"),
        ("run syslog server where port = 1", "syslog"),
    ):
        status, said = node.request("POST", "/", b"", command=command, User_Agent="AnyLog/1.23")
        assert status == 400 and told.encode() in said, (command, said)
    node.command("set msg rule gone if ip = 1.2.3.4 then dbms = a and table = b", "POST")
    assert rules(node)["gone"]["IP"] == "1.2.3.4"
    node.command("reset msg rule gone", "POST")
    assert "gone" not in rules(node)
    assert f"127.0.0.1:{PORT} (udp and tcp)" in node.command("get processes").decode()
    assert "run syslog server" in node.command("get southbound").decode()
    assert "RFC 5424" in node.command("help run syslog server").decode()
