"""Data in as the manual of background processes prints it, with the page on message brokers that it refers to: every
command is typed as it stands there, to real nodes. Only addresses, ports and work directories are those of here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mosquitto import Mosquitto, needs_mosquitto

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from network import Network
from node import NodeProcess, free_port

# --- The page on message brokers. The database is the company of the message: "Anylog", which is spelled anylog.
MAPPING = """
    name = test and
    dbms = "bring [metadata][company]" and
    table = "bring [metadata][machine_name] _ [metadata][serial_number]" and
    column.timestamp.timestamp = "bring [ts]" and
    column.value.int = "bring [value]"
)>"""
MESSAGE = """<message = {"value":210,
            "ts":1607959427550,
            "protocol":"modbus",
            "measurement":"temp02",
            "metadata":{
                    "company":"Anylog",
                    "machine_name":"cutter 23",
                    "serial_number":"1234567890"}}>"""
TABLE, STORED = "cutter_23_1234567890", ("2020-12-14 15:23:47.550000", 210)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    process = NodeProcess(tmp_path / "home", dbms="anylog")
    process.start()
    say(process, "exit streamer")  # every process is started by its section
    say(process, "ip = 127.0.0.1")
    say(process, "external_ip = 127.0.0.1")
    yield process
    process.remove()


def post(node: NodeProcess, command: str) -> tuple[int, str]:
    """A command as a person types it, over several lines or on one."""
    body = json.dumps({"command": command}).encode()
    status, said = node.request("POST", "/", body, **{"Content-Type": "application/json"})
    return status, said.decode()


def say(node: NodeProcess, command: str) -> str:
    status, said = post(node, command)
    assert status == 200, (command, said)
    return said


def until(what: Callable[[], object], seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


def processes(node: NodeProcess) -> dict[str, str]:
    return {row: each["Status"] for row, each in json.loads(say(node, "get processes where format = json")).items()}


def stored(node: NodeProcess, table: str = TABLE) -> list[tuple[str, int]]:
    asked = f'sql anylog format = json and stat = false "select timestamp, value from {table}"'
    status, said = post(node, asked)
    return [(row["timestamp"], row["value"]) for row in json.loads(said)["Query"]] if status == 200 else []


def line_of(text: str, *words: str) -> str:
    """The line that has all these words."""
    (found,) = [line for line in text.splitlines() if all(word in line for word in words)]
    return found


def columns(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def test_streamer(node: NodeProcess) -> None:
    """Buffers are cut by time and by volume, and `get streaming` shows them. Given directories must be there."""
    assert "Not declared" in say(node, "get streaming").splitlines()[2]
    directories = "prep_dir = !prep_dir and watch_dir = !watch_dir and err_dir = !err_dir"
    status, said = post(node, f"run streamer where {directories.replace('!watch_dir', '/no/such')}")
    assert status == 400 and "watch_dir /no/such" in said, said
    assert say(node, f"run streamer where {directories}") == ""
    assert "Default Time" in say(node, "get streaming") and processes(node)["Streamer"] == "Running"
    client = "run mqtt client where broker = local and err_dir = /no/such and topic = (name = a and flush = true)"
    status, said = post(node, client)
    assert status == 400 and "err_dir /no/such" in said, said
    status, said = post(node, "run streamer")
    assert status == 400 and "already running" in said, said
    say(node, "set buffer threshold where time = 1 second and volume = 100KB")

    def put(rows: Sequence[int]) -> None:
        body = json.dumps([{"timestamp": "2026-11-20T10:00:00Z", "value": each} for each in rows]).encode()
        assert node.request("PUT", "/", body, type="json", dbms="anylog", table="ping", mode="streaming")[0] == 200

    def seen() -> dict[str, Any]:
        return dict(json.loads(say(node, "get streaming where format = json"))[0])

    put([1, 2])
    until(lambda: seen()["Streaming Cached"] == 0)  # by time
    until(lambda: [value for _, value in stored(node, "ping")] == [1, 2])
    say(node, "set buffer threshold where time = 1 hour and volume = 1KB")
    put(range(3, 200))
    until(lambda: seen()["Streaming Cached"] == 0)  # by volume
    assert (seen()["Streaming Put"], seen()["Streaming Rows"]) == (2, 199)
    assert say(node, "exit streamer") == "" and processes(node)["Streamer"] == "Not declared"


def test_message_broker(node: NodeProcess) -> None:
    """A message of a device is mapped and can be queried; who came is shown; `exit` ends the processes."""
    port = free_port({node.port})
    say(node, "run streamer")
    say(node, f"run message broker !external_ip {port} !ip {port} 6")
    assert f"Listening on: 127.0.0.1:{port}, Threads Pool: 6" in say(node, "get processes")
    say(node, "<run mqtt client where broker = local and user = mqwdtklv and password = uRimssLO4dIo and topic = ("
        + MAPPING)  # fmt: skip
    say(node, MESSAGE)
    publish = f"mqtt publish where broker = !ip and port = {port} and user = mqwdtklv and"
    say(node, f"{publish} password = uRimssLO4dIo and topic = test and message = !message")
    until(lambda: stored(node) == [STORED])
    seen = line_of(say(node, "get local broker"), "PUBLISH", "127.0.0.1")
    assert columns(seen)[:6] == ["MQTT", "127.0.0.1", "PUBLISH", "false", "mqwdtklv", "1"], seen
    # Data that is published using "local" is not included in these statistics.
    say(node, "mqtt publish where broker = local and topic = test and qos = 1 and message = !message")
    until(lambda: stored(node) == [STORED, STORED])
    assert line_of(say(node, "get local broker"), "PUBLISH", "127.0.0.1") == seen
    # Not with another password: the topic of the client is guarded. (MQTT 3.1.1 has no way to say so.)
    for version, answer in (("5", 502), ("3.1.1", 200)):
        more = f"password = other and version = {version} and qos = 1 and topic = test and message = !message"
        assert post(node, f"{publish} {more}")[0] == answer, version
    assert stored(node) == [STORED, STORED]
    if shutil.which("mosquitto_pub"):  # a third party's
        body = json.dumps({"ts": 1607959427550, "value": 211, "metadata": {
            "company": "Anylog", "machine_name": "cutter 23", "serial_number": "1234567890"}})  # fmt: skip
        subprocess.run(["mosquitto_pub", "-p", str(port), "-u", "mqwdtklv", "-P", "uRimssLO4dIo", "-t", "test", "-q",
                        "2", "-m", body], check=True, timeout=60)  # fmt: skip
        until(lambda: (STORED[0], 211) in stored(node))
    came = len(stored(node))
    shown = say(node, "get msg clients")
    assert shown.startswith("Subscription: 0001") and "Broker:       local" in shown
    assert "mqwdtklv" in shown and "uRimssLO4dIo" not in shown
    assert "[metadata][machine_name] _ [metadata][serial_number]" in shown
    assert say(node, "get msg client 1") == shown
    counted = say(node, "get msg clients statistics")
    assert "Subscribed Topics" not in counted and counted in shown.replace(
        shown[shown.index("\r\n\r\n     Sub") :], "\r\n"
    )
    assert columns(line_of(say(node, "get msg brokers"), "test"))[:4] == ["local", "test", "1", str(came)]
    assert columns(line_of(say(node, "get streaming"), f"anylog.{TABLE}"))[4:6] == [str(came)] * 2
    assert say(node, "get msg pool").startswith("Message Pool with 6 threads:")
    assert (processes(node)["MQTT"], processes(node)["Message Broker"]) == ("Running", "Running")
    assert say(node, "exit MQTT") == "" and say(node, "get msg client") == "No message client subscriptions"
    assert say(node, "exit broker") == "" and processes(node)["Message Broker"] == "Not declared"


@needs_mosquitto
def test_mqtt_client_of_a_third_party(node: NodeProcess, tmp_path: Path) -> None:
    """The examples with a broker elsewhere: mapped topics, messages that are flushed to files, and those in error."""
    names = tmp_path / "names"
    names.write_text("mqwdtklv:uRimssLO4dIo\n")
    subprocess.run(["mosquitto_passwd", "-U", str(names)], check=True)
    broker = Mosquitto(tmp_path / "broker", f"password_file {names}", anonymous=False, port=free_port({node.port}))
    broker.start()
    try:
        say(node, "run streamer")
        there = f'broker = "127.0.0.1" and port = {broker.port} and user = mqwdtklv and password = uRimssLO4dIo'
        say(node, f"<run mqtt client where {there} \n    and log = true and topic = (" + MAPPING.replace(
            'column.value.int = "bring [value]"', 'column.value = (type=int and value = "bring [value]")'))  # fmt: skip
        say(node, MESSAGE)
        until(lambda: "Connection:   connected" in say(node, "get msg client 1"))
        say(node, f"mqtt publish where {there} and topic = test and message = !message")
        until(lambda: stored(node) == [STORED])
        place = f"127.0.0.1:{broker.port}"
        assert columns(line_of(say(node, "get msg brokers"), "test"))[:4] == [place, "test", "1", "1"]
        # The topic belongs to that client until it ends.
        log_error = f"<run mqtt client where {there} \n    and log_error = true and topic = (" + MAPPING
        status, said = post(node, log_error)
        assert status == 400 and "belongs to client 1" in said, said
        say(node, "exit mqtt 1")
        say(node, log_error)
        say(node, "set mqtt debug on")
        until(lambda: "Connection:   connected" in say(node, "get msg client 2"))
        say(node, f'mqtt publish where {there} and topic = test and message = "hello world"')

        def failed() -> list[Path]:
            return list(node.folder("error").glob("err_*test*"))

        until(lambda: [path for path in failed() if b"hello world" in path.read_bytes()])
        counted = say(node, "get msg client statistics 2")
        assert "Errors" in counted and counted.splitlines()[-1].split()[:3] == ["1", "0", "1"], counted
        assert "hello world" in node.log.read_text()
        say(node, "exit mqtt")
        # Messages as they are: those of one topic, and of all that nobody asked for.
        say(node, f"run mqtt client where {there} and topic = anylog")
        say(node, f'run mqtt client where {there} and topic = "#"')
        for number in (3, 4):
            until(lambda number=number: "Connection:   connected" in say(node, f"get msg client {number}"))
        say(node, f"mqtt publish where {there} and topic = anylog and message = plain")
        say(node, f"mqtt publish where {there} and topic = other and message = words")

        def kept(text: str) -> list[Path]:
            folders = (node.folder("watch"), node.folder("prep"))
            with suppress(FileNotFoundError):  # one that goes from here to there meanwhile
                return [path for folder in folders for path in folder.rglob("*") if text.encode() in path.read_bytes()]
            return []

        until(lambda: kept("plain") and kept("words"))
        until(lambda: "to a file" in node.log.read_text())
        say(node, "set mqtt debug off")
        say(node, "exit mqtt")
    finally:
        broker.stop()


def test_rest_as_a_broker(node: NodeProcess) -> None:
    """The example with curl: two readings of one POST."""
    say(node, "run streamer")
    client = "run mqtt client where broker = rest and user-agent=anylog and user = mqwdtklv and password = uRimssLO4dIo"
    say(node, f"{client} and topic = ({' '.join(MAPPING.split()).removesuffix('>')}")
    one = MESSAGE[len("<message = ") : -1]
    done = subprocess.run(
        ["curl", "--silent", "--fail", "--location", "--request", "POST", f"127.0.0.1:{node.port}",
         "--header", "User-Agent: AnyLog/1.23", "--header", "command: data", "--header", "topic: test",
         "--header", "Content-Type: text/plain", "--data-raw", f"[{one},\n{one}\n]"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == b""
    until(lambda: stored(node) == [STORED, STORED])


class Companies(Network):
    """A network of the company anylog: one operator, and a publisher of which nothing runs yet."""

    def __init__(self, folder: Path):
        super().__init__(folder, 1, every="2", more=[f"connect dbms {name} where type = sqlite" for name in
                                                     ("anylog", "lsl_demo")])  # fmt: skip
        self.publisher = self._node("publisher", "")
        self.tcp["publisher"] = self._port()
        ledger = f"127.0.0.1:{self.tcp['master']}"
        self.publisher.commands = self._scripted("publisher", [
            *self._tcp("publisher"), self._sync(),
            "new_policy = create policy publisher where name = gate and company = anylog and ip = 127.0.0.1 and"
            f" port = {self.tcp['publisher']}",
            f"blockchain insert where policy = !new_policy and local = true and master = {ledger}",
        ])  # fmt: skip

    @property
    def nodes(self) -> list[NodeProcess]:
        made = super().nodes
        return [*made, self.publisher] if hasattr(self, "publisher") else made

    def _scripted(self, name: str, lines: Sequence[str]) -> tuple[str, ...]:
        return super()._scripted(name, [line.replace('"My Company"', "anylog") for line in lines])


def test_publisher(tmp_path: Path) -> None:
    """Files of the watch directory go to an operator of the company, which the database or the option names."""
    network = Companies(tmp_path / "network")
    gate = network.publisher
    try:
        network.start()

        def drop(name: str, value: int) -> Path:
            """A file as somebody copies it to the watch directory."""
            made = gate.folder("prep") / name
            made.write_text(json.dumps({"timestamp": "2026-11-20T10:00:00Z", "value": value}) + "\n")
            return made.rename(gate.watch / name)

        def asked(dbms: str, table: str) -> list[int]:
            try:
                return [row["value"] for row in network.ask(f"select value from {table}", dbms=dbms)]
            except RuntimeError:
                return []

        say(gate, "run publisher where delete_json = true and delete_sql = true")
        first = drop("anylog.weather.json", 7)
        until(lambda: asked("anylog", "weather") == [7])
        until(lambda: not first.exists())
        place = f"127.0.0.1:{network.tcp['operator0']}"
        sent = columns(line_of(say(gate, "get publisher"), "weather", place))
        assert sent[:5] == ["anylog", "weather", place, "1", "1"], sent
        assert processes(gate)["Publisher"] == "Running"
        status, said = post(gate, "run operator where policy = none")
        assert status == 400, said
        say(gate, "exit publisher")
        say(gate, "run publisher where company = anylog and delete_json = true and delete_sql = true")
        second = drop("lsl_demo.ping.json", 8)
        until(lambda: asked("lsl_demo", "ping") == [8])
        until(lambda: not second.exists())
        assert columns(line_of(say(gate, "get publisher"), "ping", place))[:2] == ["lsl_demo", "ping"]
        assert not list(gate.folder("bkup").rglob("*.json*"))
        say(gate, "exit publisher")
        assert processes(gate)["Publisher"] == "Not declared"
    finally:
        network.remove()
