"""What a node tells of its machine: real numbers of the machine of the test, on a whole node (monitoring.md 3)."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from twisted.internet.defer import Deferred

from anylog import host
from anylog.checkout import checked_out
from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.language.interpreter import collected
from anylog.testing.world import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World(77)
    made.add("roof", "10.0.0.1")
    yield made
    made.end()


def run(world: World, command: str) -> Any:
    return world.run(world.nodes["roof"], command)


def refused(world: World, command: str) -> AnyLogError:
    with pytest.raises(AnyLogError) as error:
        run(world, command)
    return error.value


def test_disk(world: World, tmp_path: Path) -> None:
    """One number each; `usage` all of them; percent is of what is free; a script can calculate with it."""
    whole = shutil.disk_usage(tmp_path)
    assert run(world, f"get disk total {tmp_path}").text == str(whole.total)
    told = run(world, f"get disk usage '{tmp_path}'")
    assert told.format == "json" and told.data["total"] == whole.total and told.data["node"] == "10.0.0.1"
    assert list(told.data) == ["node", "total", "used", "free"]
    run(world, f"space = get disk percentage {tmp_path}")
    assert re.fullmatch(r"[0-9]+\.[0-9]{2}", run(world, "!space").text)
    assert abs(float(run(world, "!space").text) - 100 * whole.free / whole.total) < 1
    assert run(world, f"if !space.float < 101 and !space.float > -1 then get disk free {tmp_path}").text.isdigit()
    assert "total" in run(world, f"get disk usage {tmp_path} where format = table").text


@pytest.mark.parametrize(
    ("command", "number", "names"),
    [
        ("get disk", 2, "usage"),
        ("get disk usage", 2, "path"),
        ("get disk used_up /", 2, "used_up"),
        ("get disk free /no/such/place", 12, "/no/such/place"),
        ("get node info", 2, "one counter"),
        ("get node info cpu", 2, "cpu_percent"),
        ("get node info cpu_percent idle", 2, "idle"),
        ("get node info net_io_counters packets", 2, "packets_recv"),
        ("get node info cpu_percent into dbms = town", 2, "into"),
        ("get node info cpu_percent into dbms = town and format = json", 2, "into"),
        ("get node info cpu_percent where format = xml", 175, "xml"),
        ("get os process word", 2, "word"),
        ("get os process 999999999", 40, "999999999"),
        ("get git version /", 12, "/"),
        ("get node id", 142, "key"),
        ("set license", 2, "activation_key"),
    ],
)
def test_refusals(world: World, command: str, number: int, names: str) -> None:
    """Each by its number, naming the culprit."""
    error = refused(world, command)
    assert (error.number, names in str(error)) == (number, True), str(error)


def test_memory_and_cores(world: World) -> None:
    """In MB of 1,048,576 bytes, with commas; JSON has the numbers."""
    told = run(world, "get memory info")
    total = psutil.virtual_memory().total >> 20
    assert told.text.split("\r\n")[0].split() == ["Total:", f"{total:,}"]
    assert run(world, "get memory info where format = json").data["Total"] == total
    assert list(told.data) == ["Total", "Available", "Used", "Free"]
    assert run(world, "get cpu info where format = json").data["Logical cores"] == psutil.cpu_count()
    assert isinstance(run(world, "get cpu temperature").data, dict)


def test_busy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Percent of what was spent since somebody asked before; the first asks for a tenth of a second, waiting for it."""
    looks = [
        [{"user": 10.0, "system": 5.0, "idle": 100.0, "iowait": 0.0, "guest": 9.0}],
        [{"user": 10.025, "system": 5.025, "idle": 100.04, "iowait": 0.01, "guest": 9.02}],
        [{"user": 40.025, "system": 5.025, "idle": 110.04, "iowait": 0.01, "guest": 39.02}],
    ]
    monkeypatch.setattr(host, "core_times", lambda: looks.pop(0))
    before = world.clock.seconds()
    told = run(world, "get cpu usage")
    assert world.clock.seconds() - before == pytest.approx(0.1)
    assert told.data == {"Core 1": 50.0, "Average": 50.0}
    assert told.text == "\r\nCore 1 Average \r\n------|-------|\r\n  50.0|   50.0|\r\n"
    assert run(world, "get node info cpu_percent").text == "50.0"  # too soon for another look
    world.advance(40)
    assert run(world, "get node info cpu_percent").data == 75.0
    shares = run(world, "get node info cpu_times_percent where format = json").data
    assert shares == {"user": 75.0, "system": 0.0, "idle": 25.0, "iowait": 0.0}
    assert run(world, "get node info cpu_times_percent idle").text == "25.0"


def test_real_cores(world: World) -> None:
    """The machine's own counters: each core has a number from 0 to 100."""
    told = run(world, "get cpu usage where format = json").data
    assert [*told][:-1] == [f"Core {n}" for n in range(1, psutil.cpu_count() + 1)]
    assert all(0 <= each <= 100 for each in told.values())


def test_counters(world: World) -> None:
    """The whole as text or JSON, or one number."""
    network = run(world, "get node info net_io_counters")
    assert network.text.startswith("snetio(bytes_sent=") and network.data["packets_recv"] >= 0
    assert int(run(world, "get node info net_io_counters packets_recv").text) >= network.data["packets_recv"]
    assert run(world, "get node info getloadavg where format = json").data.keys() == {"load_1", "load_5", "load_15"}
    assert run(world, "get node info swap_memory total").data == psutil.swap_memory().total


def test_into_a_table(world: World) -> None:
    """What is shown becomes a row with its time: one column for a number, a column each for several."""
    node = world.nodes["roof"]
    run(world, "connect dbms monitoring where type = sqlite and memory = true")
    for counter, table in (("swap_memory total", "swap"), ("getloadavg", "load")):
        assert run(world, f"get node info {counter} into dbms = monitoring and table = {table}").text is None
    world.advance(2)

    def asked(table: str, columns: str) -> list[dict[str, Any]]:
        text = f'sql monitoring format = json and stat = false "select {columns} from {table}"'
        pages = world.run(node, text).pages
        assert pages is not None
        rows: list[dict[str, Any]] = json.loads(world.wait(Deferred.fromCoroutine(collected(pages))))["Query"]
        return rows

    (swap,) = asked("swap", "timestamp, value")
    assert swap["value"] == psutil.swap_memory().total and swap["timestamp"].startswith("2027-01-15 08:00:0")
    (load,) = asked("load", "load_1, load_15")
    assert all(value >= 0 for value in load.values())


def test_processes(world: World) -> None:
    """This very process by itself, by number, among all, and by name."""
    (own,) = run(world, "get os process").data
    assert own["ID"] == os.getpid() and own["Memory(MB)"] > 1 and own["CPU(%)"] >= 0
    assert [each["ID"] for each in run(world, f"get os process {os.getpid()} where format = json").data] == [
        os.getpid()
    ]
    assert os.getpid() in [each["ID"] for each in run(world, "get os process all").data]
    names = run(world, "get os process list")
    assert os.getpid() in [each["ID"] for each in names.data] and "Name" in names.text


def test_resources_and_platform(world: World, tmp_path: Path) -> None:
    """What the machine is, in one table."""
    world.nodes["roof"].places.home = tmp_path
    told = run(world, "get node resources")
    assert told.data["logical_cores"] == psutil.cpu_count() and told.data["node"] == platform.node()
    assert told.data["ip"] == "10.0.0.1" and told.data["disk_total"] == shutil.disk_usage(tmp_path).total
    assert told.text.split("\r\n")[1].split() == ["Property", "Details"]


def test_identity(world: World) -> None:
    """The same for the machine, whichever node is asked; a licence is taken and ignored."""
    ident = run(world, "get hardware id").text
    assert re.fullmatch("[0-9a-f]{32}", ident)
    other = world.add("cellar", "10.0.0.2")
    assert world.run(other, "get hardware id").text == ident
    assert run(world, "set license where activation_key = abc").text is None
    assert re.fullmatch(r"\S+ : [0-9]{4}(-[0-9]{2}){2} [0-9:]{8}", run(world, "get timezone info").text)


def test_packages(world: World) -> None:
    """All, or those that are named; one that is not there has no version."""
    found = {row["Package"].lower(): row["Version"] for row in run(world, "get installed packages").data}
    assert found["psutil"] == psutil.__version__ and "twisted" in found
    told = run(world, "get installed packages where pkg = psutil,no-such and format = json")
    assert told.data == [
        {"Package": "psutil", "Version": psutil.__version__},
        {"Package": "no-such", "Version": ""},
    ]


def test_checkout(world: World, tmp_path: Path) -> None:
    """Commit, branch, time and subject as git tells them; also of a worktree, and of packed branches."""

    def git(*words: str, at: Path = tmp_path) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
        return subprocess.run(["git", *who, *words], cwd=at, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "Open the window\n\nIt is warm.", "--date", "2026-01-02T03:04:05Z")
    commit, at = git("rev-parse", "HEAD"), datetime.fromtimestamp(int(git("log", "-1", "--format=%ct")), UTC)
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    told = run(world, f"get git info {inside} where format = json").data
    assert told["Commit"] == commit and told["Branch"] == "main" and told["Subject"] == "Open the window"
    assert told["Time"] == f"{at:%Y-%m-%d %H:%M:%S}"
    assert run(world, f"get git version {tmp_path}").text == commit
    git("worktree", "add", "-b", "side", str(tmp_path / "side"))
    git("pack-refs", "--all")
    assert checked_out(str(tmp_path / "side")) == {**told, "Branch": "side"}
    git("checkout", "--detach")
    assert checked_out(str(tmp_path))["Branch"] == ""
    guest = Context(origin="rest", who="10.0.0.9", local=False)
    with pytest.raises(AnyLogError) as error:
        world.wait(world.nodes["roof"].execute(f"get git info {tmp_path}", guest))
    assert error.value.number == 212


def test_without_the_library(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where psutil is missing the commands say so, and the node lives."""
    monkeypatch.setitem(__import__("sys").modules, "psutil", None)
    error = refused(world, "get memory info")
    assert error.number == 99 and "Failed to import library: psutil" in str(error)
    assert run(world, "get status").text
