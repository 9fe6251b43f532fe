"""The real disk and real threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from anylog.disk.durable import RealDisk
from anylog.disk.lanes import ThreadLanes


class Turns:
    """As much of a reactor as lanes ask for: what threads send is called in the test's own."""

    def __init__(self) -> None:
        self.queue: Queue[tuple[Callable[..., Any], tuple[Any, ...]]] = Queue()

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        self.queue.put((call, args))

    def until(self, done: Callable[[], bool]) -> None:
        while not done():
            call, args = self.queue.get(timeout=10)
            call(*args)


def test_lanes() -> None:
    """Work is done in order, off this thread; failures come back; a closed lane refuses; no thread stays."""
    turns = Turns()
    before = threading.active_count()
    lanes = ThreadLanes(turns)  # type: ignore[arg-type]
    lane, wide = lanes.open("one"), lanes.open("three", 3)
    seen: list[Any] = []
    for number in range(20):
        lane.run(lambda n: (n, threading.current_thread().name), number).addCallback(seen.append)
    turns.until(lambda: len(seen) == 20)
    assert [number for number, _ in seen] == list(range(20))
    assert {name for _, name in seen} == {"one 0"}
    barrier = threading.Barrier(3, timeout=10)
    together: list[int] = []
    for _ in range(3):
        wide.run(barrier.wait).addCallback(together.append)
    turns.until(lambda: len(together) == 3)
    failed: list[Any] = []
    lane.run(lambda: 1 // 0).addErrback(lambda failure: failed.append(failure.type))
    dropped = lane.run(lambda: "late")
    dropped.addErrback(lambda failure: failed.append("cancelled"))
    dropped.cancel()
    turns.until(lambda: len(failed) == 2 and lane.depth == 0)
    assert set(failed) == {ZeroDivisionError, "cancelled"}
    ended: list[None] = []
    lanes.stop().addCallback(ended.append)
    turns.until(lambda: bool(ended))
    lane.run(print).addErrback(lambda failure: failed.append(failure.value.number))
    assert failed[-1] == 506
    assert threading.active_count() == before


def test_disk(tmp_path: Path) -> None:
    """Files appear whole, reserved room reads as zeros, a lock is held by one, and a missing folder is an empty one."""
    disk = RealDisk()
    disk.make(tmp_path / "a" / "b")
    file = tmp_path / "a" / "b" / "file"
    disk.publish(file, b"first")
    disk.publish(file, b"second")
    assert (disk.read(file), disk.names(file.parent)) == (b"second", ["file"])
    made = disk.create(tmp_path / "segment", 10_000)
    made.write(5_000, b"data")
    made.sync()
    assert made.read(4_998, 8) == b"\0\0data\0\0"
    made.close()
    again = disk.open(tmp_path / "segment")
    assert (again.read(5_000, 4), len(again.read(0, 20_000))) == (b"data", 10_000)
    again.close()
    disk.move(file, tmp_path / "moved")
    disk.forget(tmp_path / "moved")
    disk.forget(tmp_path / "moved")
    assert disk.names(file.parent) == disk.names(tmp_path / "nowhere") == []
    held = disk.lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        disk.lock(tmp_path / "lock")
    held.close()
    disk.lock(tmp_path / "lock").close()
    assert disk.free(tmp_path) > 0
    assert (tmp_path / "segment").stat().st_mode & 0o077 == 0


def test_a_draft_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """What cannot be written whole is not written at all."""
    disk = RealDisk()
    file = tmp_path / "file"
    disk.publish(file, b"old")
    with pytest.raises(FileNotFoundError):
        disk.publish(tmp_path / "missing" / "file", b"new")
    assert disk.read(file) == b"old"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """A pipe would hold the thread until somebody writes, a device for ever."""
    path = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(OSError, match=r"regular file|directory") as refused:
        RealDisk().read(path)
    assert isinstance(refused.value, IsADirectoryError) == (kind == "folder")
