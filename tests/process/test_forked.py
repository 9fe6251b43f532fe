"""Nodes that begin as copies of one process: each has its own life, and ends as one does that began by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from forked import Forked
from node import NodeProcess, free_port


def nodes(folder: Path, forked: bool, *names: str) -> list[NodeProcess]:
    """Some of one kind, not started."""
    made: list[NodeProcess] = []
    for name in names:
        made.append(NodeProcess(folder / name, port=free_port({node.port for node in made}), dbms=""))
        made[-1].forked = forked
    return made


@pytest.mark.parametrize("forked", [True, False])
def test_lives(forked: bool, tmp_path: Path) -> None:
    """Two at once do not disturb each other; statuses are those of the system, and each has its own log."""
    one, other = nodes(tmp_path, forked, "one", "other")
    one.start()
    try:
        other.start({"ANYLOG_TEST_WORD": "hello"})
        assert isinstance(one.process, Forked) is isinstance(other.process, Forked) is forked
        assert one.process is not None and other.process is not None and one.process.pid != other.process.pid
        with pytest.raises(subprocess.TimeoutExpired):
            one.process.wait(0.01)
        assert other.command("get $ANYLOG_TEST_WORD") == b"hello"
        with pytest.raises(RuntimeError, match="Missing key"):
            one.command("get $ANYLOG_TEST_WORD")
        one.kill()
        assert (one.process.poll(), one.process.returncode, other.process.poll()) == (-9, -9, None)
        assert other.command("get status").endswith(b"running")
        assert other.stop() == -15
        assert "Server Shut Down" in other.log.read_text() and "Server Shut Down" not in one.log.read_text()
    finally:
        one.remove()
        other.remove()


@pytest.mark.parametrize("forked", [True, False])
def test_does_not_start(forked: bool, tmp_path: Path) -> None:
    """What is registered for the end of a process is done: the status tells that the start failed."""
    (node,) = nodes(tmp_path, forked, "one")
    node.commands = ("run rubbish",)
    with pytest.raises(RuntimeError, match=r"ended with 1:[^$]*cannot start"):
        node.start()
    node.remove()


def test_what_python_reads_when_it_begins(tmp_path: Path) -> None:
    """A copy would be too late for it."""
    (node,) = nodes(tmp_path, True, "one")
    node.environ = {"PYTHONHASHSEED": "1"}
    node.start()
    try:
        assert isinstance(node.process, subprocess.Popen)
    finally:
        node.remove()
