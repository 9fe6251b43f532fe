"""Messages by POST, from curl to the table: `run msg client where broker = rest` (ingest.md 3, 4, 8.5)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess

CLIENT = (
    "run mqtt client where broker = rest and port = 32149 and user-agent = anylog and log = false and log_error = true"
    ' and topic = (name = new-data and dbms = "bring [dbms]" and table = "bring [table]"'
    ' and column.timestamp.timestamp = "bring [ts]" and column.value.float = "bring [value]")'
    ' and topic = (name = lists and dbms = town and table = lists and column.timestamp.timestamp = "bring [ts]"'
    ' and column.value = (type = int and value = "bring [readings][][v]" and optional = true))'
    " and topic = (name = plant/# and dbms = town and dynamic = true)"
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One node for all of this."""
    process = NodeProcess(tmp_path_factory.mktemp("messages") / "home", commands=(CLIENT,))
    process.start()
    yield process
    assert process.command("get status").endswith(b"running")
    process.remove()


def curl(node: NodeProcess, body: str, *headers: str) -> tuple[int, str]:
    """POST a body: status, and what came back."""
    words = ["curl", "-s", "-X", "POST", "-A", "AnyLog/1.23", "-w", "\n%{http_code}", "--data-binary", "@-"]
    for header in headers or ("command: data", "topic: new-data"):
        words += ["-H", header]
    done = subprocess.run(
        [*words, f"http://127.0.0.1:{node.port}/"], input=body.encode(), capture_output=True, timeout=30, check=True
    )
    text, _, status = done.stdout.decode().rpartition("\n")
    return int(status), text


def message(table: str, value: object, second: int = 0) -> dict[str, object]:
    return {"dbms": "town", "table": table, "ts": f"2026-11-20T10:00:{second:02d}Z", "value": value}


def values(node: NodeProcess, table: str) -> list[object]:
    return [row[0] for row in node.asked("town", f"select value from {table} order by row_id")]


def until(what: Callable[[], object], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_a_list_is_as_many_messages(node: NodeProcess) -> None:
    """What is acknowledged is found by a query, with the types that were declared."""
    assert curl(node, json.dumps([message("lots", each, each) for each in range(50)])) == (200, "")
    until(lambda: values(node, "lots") == list(range(50)))
    types = dict(node.asked("town", "select name, type from pragma_table_info('lots')"))
    assert types["value"] == "REAL", types  # whole numbers came, a float was declared


def test_lines_and_objects(node: NodeProcess) -> None:
    """Every form of a body that PUT takes is taken."""
    one, other = json.dumps(message("forms", 1)), json.dumps(message("forms", 2))
    for body in (one, f"{one}\n{other}", f"{one},{other}", f"[{one}, {other}]"):
        assert curl(node, body) == (200, "")
    until(lambda: values(node, "forms") == [1, 1, 2, 1, 2, 1, 2])


def test_readings_and_the_first_topic(node: NodeProcess) -> None:
    """A list in a message gives a row for each entry; without a topic the first one is meant."""
    body = {"ts": "2026-11-20T10:00:00Z", "readings": [{"v": 1}, {"v": 2}, {}]}
    assert curl(node, json.dumps(body), "command: data", "topic: lists") == (200, "")
    assert curl(node, json.dumps(message("first", 7)), "command: data") == (200, "")
    until(lambda: values(node, "lists") == [1, 2, None] and values(node, "first") == [7])


def test_attributes_become_columns(node: NodeProcess) -> None:
    """A dynamic topic makes a table of its last level."""
    assert curl(node, '{"speed": 3, "on": true}', "command: data", "topic: plant/line 2/Pump") == (200, "")
    until(lambda: node.asked("town", 'select speed, "on" from pump') == [(3, 1)])


def test_levels_have_policies(node: NodeProcess) -> None:
    """Each level of a dynamic topic has a policy of the namespace, which names its parent; the last has its table."""
    for topic in ("plant/x/Fan", "plant/x/fan 2", "plant/x/Fan"):
        assert curl(node, "3".join(('{"speed": ', "}")), "command: data", f"topic: {topic}") == (200, "")

    def levels() -> dict[str, dict[str, str]]:
        found = json.loads(node.command("blockchain get uns"))
        return {each["uns"]["namespace"]: each["uns"] for each in found}

    until(lambda: "plant/x/fan 2" in levels())
    found = levels()
    assert found["plant/x"]["parent"] == found["plant"]["id"] and "table" not in found["plant/x"]
    assert found["plant/x/Fan"]["parent"] == found["plant/x"]["id"]
    assert (found["plant/x/Fan"]["dbms"], found["plant/x/fan 2"]["table"]) == ("town", "fan_2")


POLICY = {
    "mapping": {
        "id": "panel",
        "dbms": "town",
        "table": "bring [name]",
        "source": {"bring": "[device]", "default": "none"},
        "readings": "readings",
        "schema": {
            "timestamp": {"type": "timestamp", "bring": "[ts]", "root": True},
            "value": {"type": "float", "bring": "[v]"},
            "note": {"type": "str", "bring": "[note]", "default": ""},
        },
    }
}


def test_a_policy_maps(node: NodeProcess) -> None:
    """A policy of the ledger maps what comes, also after the node was started again; one that is missing is named."""
    command = "run msg client where broker = rest and user-agent = panels and topic = (name = panels and policy = {})"
    status, told = node.request("POST", "/", b"", command=command.format("nosuch"), User_Agent="AnyLog/1.23")
    assert status == 400 and b"nosuch" in told, told
    node.command(f"blockchain add {json.dumps(POLICY)}", "POST")
    node.command(command.format("panel"), "POST")
    body = {
        "name": "Panel 7",
        "ts": "2026-11-20T10:00:00Z",
        "device": "d1",
        "readings": [{"v": 1}, {"v": 2, "note": 5}],
    }
    assert curl(node, json.dumps(body), "command: data", "User-Agent: Panels/3", "topic: panels") == (200, "")
    # Who is known by its name alone needs no command.
    assert curl(node, json.dumps({**body, "readings": [{"v": 3}]}), "User-Agent: Panels/3") == (200, "")
    until(lambda: node.asked("town", "select value, note from panel_7 order by value") == [(1, ""), (2, "5"), (3, "")])
    types = dict(node.asked("town", "select name, type from pragma_table_info('panel_7')"))
    assert types["value"] == "REAL", types
    shown = node.command("get msg clients where topic = panels").decode()
    assert "|panel" in shown.replace(" ", ""), shown
    number = int(shown.split("\r\n")[0].split()[-1])
    node.command(f"exit msg client {number}", "POST")


REFUSED = {
    "no such topic": ("{}", ("command: data", "topic: nosuch"), "nosuch"),
    "no json": ('{"dbms":', (), "JSON"),
    "empty": ("", (), "empty"),
    "not an object": ("[1]", (), "entry 1"),
    "an attribute is missing": ('{"dbms": "town", "table": "missing", "value": 5}', (), "[ts]"),
    "no such database": (json.dumps({**message("t", 1), "dbms": "nosuch"}), (), "nosuch"),
    "reserved table": (json.dumps(message("anylog_marks", 1)), (), "anylog_marks"),
    "another agent": ("{}", ("command: data", "User-Agent: Stranger/2", "topic: new-data"), "stranger"),
    "not a number": (json.dumps(message("t", "much")), (), "value"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(node: NodeProcess, name: str) -> None:
    """What cannot be mapped is 400 with the culprit, and where it came from."""
    body, headers, text = REFUSED[name]
    status, told = curl(node, body, *headers)
    assert status == 400 and text in told, told
    answer = json.loads(told)
    assert answer["Source"] == "127.0.0.1" and answer["Error"] and answer["err_text"], answer


def test_how_far_a_list_came(node: NodeProcess) -> None:
    """The first wrong entry stops the call, those before it are kept, and the reply says how many."""
    body = [message("partly", 1), message("partly", 2), {"dbms": "town", "table": "partly"}, message("partly", 4)]
    status, told = curl(node, json.dumps(body))
    assert status == 400 and "2 of 4 messages processed" in told and "message 3" in told, told
    until(lambda: values(node, "partly") == [1, 2])
    kept = list(node.folder("error").glob("err_rest_new_data*"))
    assert len(kept) == 1
    lines = [json.loads(line) for line in kept[0].read_text().splitlines()]
    assert any(line["msg"] == body[2] and "[ts]" in line["error"] for line in lines), lines


def test_a_key_makes_repeats_one(node: NodeProcess) -> None:
    """A call that is repeated with its Idempotency-Key, also over a crash, is answered like the first."""
    body = json.dumps([message("once", 1), message("once", 2)])
    headers = ("command: data", "topic: new-data", "Idempotency-Key: k-1")
    for _ in range(2):
        assert curl(node, body, *headers) == (200, "")
    node.kill()
    node.start()
    assert curl(node, body, *headers) == (200, "")
    assert curl(node, body) == (200, "")
    until(lambda: values(node, "once") == [1, 2, 1, 2])


def test_what_is_shown(node: NodeProcess) -> None:
    """Clients, topics, columns and counters; a number ends one."""
    text = node.command("get msg client").decode()
    assert text.startswith("Subscription: 0001\r\n"), text
    assert "Broker:       rest\r\n" in text and "Connected to local Message Server" in text
    for line in ("new-data|False  |  0|[dbms]|[table]|timestamp  |timestamp  |[ts]", "plant/# |True"):
        assert line in text, text
    (shown,) = json.loads(node.command("get msg client where id = 1 and format = json"))
    assert shown["Messages"] == shown["Success"] + shown["Errors"] >= 0
    assert [topic["Topic"] for topic in shown["Topics"]] == ["new-data", "lists", "plant/#"]
    assert "Location" in node.command("get msg client where detailed = true").decode()
    assert b"Subscription: 0001" in node.command("get msg clients where topic = new-data")
    assert node.command("get msg client where topic = other") == b"No message client subscriptions"
    assert "new-data" in node.command("get msg brokers").decode()
    processes = json.loads(node.command("get processes where format = json"))
    assert processes["MQTT"] == {"Status": "Running", "Details": "Clients: 1, Brokers: rest"}
    status, told = node.request("POST", "/", b"", command=CLIENT, **{"User-Agent": "AnyLog/1.23"})
    assert status == 400 and b"belongs to client 1" in told, told
    node.command("exit msg client 1", "POST")
    assert node.command("get msg client") == b"No message client subscriptions"
    status, text = curl(node, "{}")
    assert status == 400 and "run msg client" in text, text
    node.command(CLIENT, "POST")
    assert node.command("get msg client where id = 2").startswith(b"Subscription: 0002")
