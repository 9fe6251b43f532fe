"""Bad input on the real door: a clear error that names the culprit, nothing stored, and the node goes on."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess
from small_disk import small_disk


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One node for all of this."""
    process = NodeProcess(tmp_path_factory.mktemp("bad") / "home")
    process.start()
    yield process
    assert process.command("get status").endswith(b"running")
    process.remove()


def put(node: NodeProcess, body: bytes, **headers: str) -> tuple[int, dict[str, object]]:
    """A streaming PUT: status and the reply."""
    named = {"type": "json", "dbms": "town", "table": "bad", "mode": "streaming", **headers}
    status, answer = node.request("PUT", "/", body, **{name: value for name, value in named.items() if value})
    return status, json.loads(answer)


def sql(node: NodeProcess, statement: str) -> list[dict[str, object]]:
    """Rows of a select."""
    rows: list[dict[str, object]] = json.loads(node.command(f"sql town format = json and stat = false {statement}"))[
        "Query"
    ]
    return rows


def stored(node: NodeProcess, statement: str) -> list[dict[str, object]]:
    """The same of a table that is only made when its first row is loaded, soon after the yes."""
    try:
        return sql(node, statement)
    except RuntimeError as refused:
        if "not defined" not in str(refused):
            raise
        return []


REFUSED = {
    "empty": (b"", {}, "Body is empty"),
    "no json": (b"hello", {}, "Failed to process JSON"),
    "half": (b'{"a": 1, "b"', {}, "Failed to process JSON"),
    "number": (b"17", {}, "Failed to process JSON"),
    "empty list": (b"[]", {}, "Failed to process JSON"),
    "list of numbers": (b"[1, 2]", {}, "Failed to process JSON"),
    "one bad in a list": (b'[{"a": 1}, 2]', {}, "1"),
    "deep": (b'{"a":' * 5000 + b"1" + b"}" * 5000, {}, "Failed to process JSON"),
    "not utf-8": (b'{"a": "\xff\xfe"}', {}, "UTF-8"),
    "nan": (b'{"a": NaN}', {}, "Failed to process JSON"),
    "infinite": (b'{"a": 1e999}', {}, "Failed to process JSON"),
    "no dbms": (b'{"a": 1}', {"dbms": ""}, "Missing 'dbms'"),
    "no table": (b'{"a": 1}', {"table": ""}, "Missing 'table'"),
    "unknown dbms": (b'{"a": 1}', {"dbms": "nosuch"}, "nosuch"),
    "unknown type": (b'{"a": 1}', {"type": "xml"}, "xml"),
    "long table": (b'{"a": 1}', {"table": "t" * 200}, "ttt"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(node: NodeProcess, name: str) -> None:
    """What is no reading is refused with 400 and the reason."""
    body, headers, text = REFUSED[name]
    status, answer = put(node, body, **headers)
    assert status == 400, answer
    assert text in json.dumps(answer, ensure_ascii=False), answer
    assert answer["err_text"] and answer["AnyLog.error on REST server"]


def test_odd_values_are_kept(node: NodeProcess) -> None:
    """Quotes, unicode, null, long text after short, all come back as they went in."""
    texts = ["O'Brien", 'say "hi"', "", "ünïcödé 漢字 🌡", "back\\slash", "x" * 5000, "'; drop table odd; --", "a\nb\tc"]
    for text in texts:
        status, _ = put(node, json.dumps({"text": text, "n": None}).encode(), table="odd")
        assert status == 200
    wait(lambda: len(stored(node, '"select text from odd"')) == len(texts))
    assert [row["text"] for row in sql(node, '"select text from odd order by row_id"')] == texts


def test_mixed_types(node: NodeProcess) -> None:
    """In one column: numbers widen, what fits no number is parked with its reason, nothing else is touched."""
    for value in (1, 2_000_000_000, 1.25, "7.5", "no number", True, 10**30, None):
        status, _ = put(node, json.dumps({"v": value}).encode(), table="mixed")
        assert status == 200
        if value is not True and value == 1:
            wait(lambda: node.count("mixed") == 1)
    command = "get parked rows where dbms = town and table = mixed and format = json"
    wait(lambda: len(json.loads(node.command(command))) + node.count("mixed") == 8)
    parked = json.loads(node.command(command))
    kept = sql(node, '"select v from mixed order by row_id"')
    assert len(parked) + len(kept) == 8
    assert any("no number" in row["reason"] for row in parked)
    assert [row["v"] for row in kept][:4] == [1, 2_000_000_000, 1.25, 7.5]


def test_reserved_and_odd_columns(node: NodeProcess) -> None:
    """Column names that are words of SQL, or hold odd characters, are made and can be asked."""
    status, _ = put(node, b'{"select": 1, "order": 2, "Two Words": 3, "a\\"b": 4, "7": 5}', table="group")
    assert status == 200
    wait(lambda: node.count('"group"') == 1 or node.count("'group'") == 1)
    answer = json.loads(
        node.command("get columns where dbms = town and table = group and sys_col = false and format = list")
    )
    assert answer[:3] == ["select", "order", "two_words"] and answer[4] == "_7"


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        ('sql town "selec"', 400, "syntax"),
        ('sql town "select nosuch from odd"', 400, "nosuch"),
        ('sql town "select * from nosuchtable"', 400, "nosuchtable"),
        ('sql nosuch "select 1"', 400, "nosuch"),
        ('sql town format = xml "select 1"', 400, "format"),
        ('sql town "select * from anylog_marks"', 400, "anylog_marks"),
        ("get columns where dbms = town and tabel = x", 400, "did you mean 'table'"),
        ("get columns where dbms = town", 400, "Missing 'table'"),
        ("get statsu", 400, "get status"),
        ("get rows count where dbms = town and format = xml", 400, "xml"),
        ("get dictionary \"", 400, "quot"),
        ("run streamer", 400, "method"),
    ],
)  # fmt: skip
def test_bad_commands(node: NodeProcess, command: str, status: int, text: str) -> None:
    """Commands that are wrong say what is wrong."""
    put(node, b'{"text": "x"}', table="odd")
    found, answer = node.get(**{"User-Agent": "AnyLog/1.23", "command": command})
    assert found == status, answer
    told = json.loads(answer)
    assert told["err_text"] and text.lower() in json.dumps(told).lower(), told


def test_scripts_name_file_and_line(node: NodeProcess, tmp_path: Path) -> None:
    """An error in line n of a script names the file, the line and the command."""
    script = tmp_path / "wrong.al"
    script.write_text("# a comment\nx = 1\n\nget columns where dbms = town and tabel = x\nprint never\n")
    status, answer = node.request("POST", "/", None, **{"User-Agent": "AnyLog/1.23", "command": f"process {script}"})
    assert status == 400
    assert f"{script} line 4" in json.loads(answer)["local_msg"]


HALF = b"PUT / HTTP/1.1\r\nHost: a\r\ndbms: town\r\ntable: t\r\nContent-Length: 100\r\n\r\n{"


def test_garbage_and_half_open_connections(node: NodeProcess) -> None:
    """20 MB of rubbish and 200 half-open requests keep nobody else from being served."""
    rubbish = socket.create_connection(("127.0.0.1", node.port))
    rubbish.settimeout(10)
    sent = 0
    block = os.urandom(65536)
    try:
        while sent < 20_000_000:
            sent += rubbish.send(block)
    except OSError:
        pass
    half = []
    for number in range(200):
        one = socket.create_connection(("127.0.0.1", node.port))
        one.sendall(
            b"PUT / HTTP/1.1\r\nHost: a\r\ndbms: town\r\ntable: t\r\nContent-Length: 100\r\n\r\n{"
            if number % 2
            else b"GE"
        )
        half.append(one)
    assert put(node, b'{"fine": true}', table="beside")[0] == 200
    assert node.command("get status").endswith(b"running")
    for one in [rubbish, *half]:
        one.close()


def test_a_large_garbage_body(node: NodeProcess) -> None:
    """20 MB that are no JSON are refused, and so is more than the limit without being read."""
    assert put(node, os.urandom(20_000_000))[0] == 400
    with socket.create_connection(("127.0.0.1", node.port)) as one:
        one.sendall(b"PUT / HTTP/1.1\r\nHost: a\r\ndbms: town\r\ntable: t\r\nContent-Length: 999999999\r\n\r\n")
        assert one.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_large_body_twice(node: NodeProcess) -> None:
    """50,000 rows in one body are taken off the reactor's turn; the same file again is one copy."""
    body = json.dumps([{"n": number, "text": "x" * 20} for number in range(50_000)]).encode()
    answers = [put(node, body, table="large", mode="file") for _ in range(2)]
    assert [status for status, _ in answers] == [200, 200]
    assert answers[0][1] == answers[1][1] and len(str(answers[0][1]["AnyLog.hash"])) == 32
    wait(lambda: node.count("large") == 50_000)
    assert put(node, body[:-1], table="large")[0] == 400


def test_full_disk(tmp_path: Path) -> None:
    """On a full disk readings are refused with 507; with room again they are taken, without a restart."""
    with small_disk(tmp_path / "small", 80) as small:
        node = NodeProcess(small / "home")
        try:
            node.start()
            assert put(node, b'{"v": 1}', table="full")[0] == 200
            filler = small / "filler"
            with filler.open("wb") as file:
                try:
                    while True:
                        file.write(bytes(1 << 20))
                        file.flush()
                except OSError:
                    pass
            time.sleep(0.6)
            status, answer = put(node, b'{"v": 2}', table="full")
            assert status == 507, answer
            assert node.command("get status").endswith(b"running")
            filler.unlink()
            wait(lambda: put(node, b'{"v": 3}', table="full")[0] == 200)
            wait(lambda: [row["v"] for row in stored(node, '"select v from full order by row_id"')][:1] == [1])
            wait(lambda: 3 in [row["v"] for row in sql(node, '"select v from full"')])
            assert 2 not in [row["v"] for row in sql(node, '"select v from full"')]
        finally:
            node.remove()


def wait(true: object, seconds: float = 60.0) -> None:
    """Until it is true."""
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)
