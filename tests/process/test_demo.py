"""`make demo` as a process: what it shows, and that nothing is left behind however it ends."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anylog.node import ALL_COMMANDS

ROOT = Path(__file__).resolve().parents[2]
ALONE = """\
create work directories
connect dbms town where type = sqlite
run streamer
run rest server where internal_ip = !ip and internal_port = !rest_port and bind = true
"""


def shift() -> int:
    """A number that brings the demo to ports nobody uses."""
    for tried in range(-11000 + os.getpid() % 4000, -2000, 400):
        try:
            for port in (32048, 32049, 32148, 32149, 32158, 32159, 32348, 32349):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + tried))
            return tried
        except OSError:
            continue
    raise AssertionError("no free ports")


def demo(*words: str, home: Path | None = None) -> subprocess.Popen[str]:
    """The demo, its output piped; with its temporary files below `home`."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **({"TMPDIR": str(home)} if home else {})}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "etc" / "demo" / "demo.py"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ,
    )


def nodes_below(folder: Path) -> list[str]:
    """Processes whose command line names a home below the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"--home {folder}" in line:
            found.append(line)
    return found


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """Scripts of nodes that know of no network."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name in ("master", "operator", "query"):
        (folder / f"{name}.al").write_text(ALONE)
    return folder


def test_a_port_in_use(scripts: Path, tmp_path: Path) -> None:
    """It is named before anything is started."""
    moved = shift()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 32158 + moved))
        taken.listen()
        run = demo("--shift", str(moved), "--scripts", str(scripts), home=tmp_path)
        told, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert f"port {32158 + moved};" in told and "--shift" in told


def test_a_node_that_fails(scripts: Path, tmp_path: Path) -> None:
    """Which one, why, and the end of its log; the others are stopped, the folder is removed."""
    (scripts / "query.al").write_text(ALONE + "run nonsense\n")
    run = demo("--shift", str(shift()), "--scripts", str(scripts), home=tmp_path)
    told, _ = run.communicate(timeout=90)
    assert run.returncode == 1, told
    assert "query did not start" in told and "query.al line 5: run nonsense" in told
    assert told.rstrip().endswith("All nodes have stopped.")
    assert nodes_below(tmp_path) == [] and list(tmp_path.glob("anylog-demo-*")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_starts(scripts: Path, tmp_path: Path, number: signal.Signals) -> None:
    """A signal at any time stops the nodes that run and leaves nothing."""
    (scripts / "master.al").write_text("wait 60\n")  # it never comes to its REST server
    run = demo("--shift", str(shift()), "--scripts", str(scripts), home=tmp_path)
    until = time.monotonic() + 20
    while not nodes_below(tmp_path) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.5)
    run.send_signal(number)
    told, _ = run.communicate(timeout=60)
    assert (run.returncode, told.strip()) == (0, "All nodes have stopped.")
    assert nodes_below(tmp_path) == [] and list(tmp_path.glob("anylog-demo-*")) == []


@pytest.mark.skipif(
    not {command.words for command in ALL_COMMANDS} >= {"run tcp server", "run client", "blockchain insert"},
    reason="the commands of a network are not registered",
)
def test_the_whole(tmp_path: Path) -> None:
    """Both cities are in the table of the query node; a second demo of the same home counts no reading twice."""
    if importlib.util.find_spec("vega_datasets") is None:
        pytest.skip("the package vega_datasets, which holds the temperatures of two cities, is not installed")
    ports = str(shift())  # the same both times: an operator of one name has one address
    for _ in range(2):
        run = demo("--once", "--home", str(tmp_path / "kept"), "--shift", ports)
        told, _ = run.communicate(timeout=180)
        assert run.returncode == 0, told
        assert re.search(r"San Francisco +8759 +45\.6 +56\.9 +72\.2", told), told
        assert re.search(r"Seattle +8759 +37\.5 +52(\.0)? +75\.9", told), told
        assert re.search(r"2010-08-01 .*Seattle +\S+ +75\.6", told), told
    assert nodes_below(tmp_path) == []


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """As `head` has: the word for the cluster of the drills ends without a complaint."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        ended = subprocess.run(
            [sys.executable, str(ROOT / "etc" / "demo" / "cluster.py"), "--home", str(tmp_path), "show"],
            stdout=writes,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
        )
    finally:
        os.close(writes)
    assert (ended.returncode, ended.stderr) == (1, "")
