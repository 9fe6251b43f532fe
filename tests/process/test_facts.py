"""A real node asked by HTTP what its machine is and does: the forms that known clients parse, and the log of calls."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from node import NodeProcess


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    made = NodeProcess(tmp_path_factory.mktemp("facts") / "home")
    made.start()
    yield made
    made.remove()


def test_the_machine(node: NodeProcess) -> None:
    """Numbers of this machine, in their forms; each is asked as a client does, and nothing is waited for long."""
    cores = psutil.cpu_count() or 1
    told = node.command("get cpu usage").decode()
    titles, dashes, values = told.strip("\r\n").split("\r\n")
    assert titles.split("  ")[0].startswith("Core 1") and titles.rstrip().endswith("Average")
    assert dashes.count("|") == values.count("|") == cores + 1
    assert all(0 <= float(value) <= 100 for value in values.strip("|").split("|"))
    assert 0 <= float(node.command("get node info cpu_percent")) <= 100
    disk = json.loads(node.command(f"get disk usage {node.home}"))
    assert list(disk) == ["node", "total", "used", "free"] and disk["free"] <= disk["total"]
    assert re.fullmatch(rb"[0-9]+\.[0-9]{2}", node.command(f"get disk percentage {node.home}").strip())
    (own,) = json.loads(node.command("get os process where format = json"))
    assert node.process is not None and own["ID"] == node.process.pid
    assert node.command(f"get os process {os.getpid()}").decode().count("|") == 10
    assert "IPv4  |lo       |" in node.command("get ip list").decode()
    sockets = json.loads(node.command(f"get machine connections where port = {node.port} and format = json"))
    assert any(row["Status"] == "LISTEN" and row["PID"] == node.process.pid for row in sockets)
    assert json.loads(node.command("get node resources where format = json"))["logical_cores"] == cores


def test_log_of_calls(node: NodeProcess) -> None:
    """Calls that fail are noted, with who called; all of them while the log is on."""
    node.command("reset rest log", "POST")
    node.command("get status")
    node.request("GET", command="no such command")
    (row,) = json.loads(node.command("get rest log where format = json"))
    assert (row["Type"], row["Text"]) == ("Error", "(Failed: Unrecognized Command) GET no such command")
    assert row["Thread"].startswith("127.0.0.1:")
    node.command("set streaming log on", "POST")
    node.command("get status")
    assert json.loads(node.command("get rest server info where format = json"))["streaming_log"] is True
    noted = json.loads(node.command("get streaming log where format = json and keys = (OK)"))
    assert "(OK) GET get status" in [each["Text"] for each in noted]
    node.command("set rest log off", "POST")
    before = node.command("get rest log")
    assert node.command("get rest log") == before


def test_not_in_this_build(node: NodeProcess) -> None:
    """A command of a later build is known: it says so by its number, and help lists it with what brings it."""
    status, said = node.request("GET", command="get blobs archiver")
    answer = json.loads(said)
    assert (status, answer["err_code"]) == (400, 237) and "not in this build: get blobs archiver" in json.dumps(answer)
    missing = json.loads(node.command("help status where format = json"))
    assert "get relay" in missing["platforms"] and "run smtp client" in missing["mail and messages"]
    assert "platforms\r\n     blockchain " in node.command("help status").decode()
    assert b"Not in this build: " in node.command("help run smtp client")
