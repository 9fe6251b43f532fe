"""Files that are no scripts: each is refused with what it is, and none is read for ever (language.md 9)."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from twisted.internet.task import Clock

from anylog.disk.durable import RealDisk
from anylog.disk.script_files import LONGEST_SCRIPT
from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.node import Node
from anylog.testing.lanes import InlineLanes
from anylog.testing.network import MemoryNetwork


@pytest.fixture
def node(tmp_path: Path) -> Node:
    clock = Clock()
    net = MemoryNetwork(clock, Random(1)).net("10.0.0.1")
    return Node(home=tmp_path / "home", clock=clock, net=net, lanes=InlineLanes(), disk=RealDisk(), chance=Random(1))


def outcome(node: Node, name: str) -> list[str] | AnyLogError:
    """What the script prints, or why it is refused."""
    told: list[str] = []
    ended: list[object] = []
    node.execute(f"process {name}", Context(origin="console", write=told.append)).addBoth(ended.append)
    error = getattr(ended[0], "value", None)
    return told if error is None else error


def test_scripts(node: Node, tmp_path: Path) -> None:
    """With a mark of its encoding, with line ends of another system, by way of a link; an empty one does nothing."""
    (tmp_path / "bom.al").write_bytes(b"\xef\xbb\xbfprint a\r\nprint b")
    (tmp_path / "empty.al").write_bytes(b"")
    (tmp_path / "link.al").symlink_to(tmp_path / "bom.al")
    assert outcome(node, f"{tmp_path}/bom.al") == ["a", "b"]
    assert outcome(node, f"{tmp_path}/link.al") == ["a", "b"]
    assert outcome(node, f"{tmp_path}/empty.al") == []


def test_beside_the_caller(node: Node, tmp_path: Path) -> None:
    """A script is also found beside the one that runs it, from the lines of a policy, too, before local scripts."""
    (tmp_path / "steps").mkdir()
    (tmp_path / "main.al").write_text("process steps/one.al\nprocess two.al\nthread two.al\nprocess one.al")
    (tmp_path / "two.al").write_text("print two")
    (tmp_path / "steps" / "one.al").write_text("print one\nprocess two.al")
    (tmp_path / "steps" / "two.al").write_text("print step two")
    local = node.places.folder("local_scripts")
    local.mkdir(parents=True)
    (local / "one.al").write_text("print local")
    assert outcome(node, f"{tmp_path}/main.al") == ["one", "step two", "two", "two", "Thread 2", "local"]
    error = outcome(node, "two.al")
    assert isinstance(error, AnyLogError) and str(local / "two.al") in str(error)
    (tmp_path / "list.al").write_text("config from policy where policy = !lines")
    node.dictionary.set("lines", '{"config": {"id": "x", "script": ["process two.al"]}}')
    assert outcome(node, f"{tmp_path}/list.al") == ["two"]


def test_no_scripts(node: Node, tmp_path: Path) -> None:
    """Devices, pipes, directories, other encodings, too much."""
    os.mkfifo(tmp_path / "pipe.al")
    (tmp_path / "latin.al").write_bytes(b"print caf\xe9")
    (tmp_path / "wide.al").write_bytes("print a".encode("utf-16"))
    (tmp_path / "large.al").write_bytes(b"x = 1\n" * (LONGEST_SCRIPT // 6 + 1))
    for name, told in [
        ("/dev/zero", "no regular file"),
        (f"{tmp_path}/pipe.al", "no regular file"),
        (str(tmp_path), "Missing script file"),
        (f"{tmp_path}/none.al", "Missing script file"),
        (f"{tmp_path}/latin.al", "cannot be read"),
        (f"{tmp_path}/wide.al", "cannot be read"),
        (f"{tmp_path}/large.al", "it may have"),
    ]:
        error = outcome(node, name)
        assert isinstance(error, AnyLogError) and error.number == 112, (name, error)
        assert told in str(error) and name in str(error)


def test_long_lines(node: Node, tmp_path: Path) -> None:
    """An error of a line tells its beginning, and the script is long past the reactor's turn."""
    (tmp_path / "long.al").write_text("print " + "z" * 2_000_000)
    error = outcome(node, f"{tmp_path}/long.al")
    assert isinstance(error, AnyLogError) and error.number == 2
    assert len(str(error)) < 1000 and "long.al line 1" in str(error)
