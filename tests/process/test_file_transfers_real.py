"""Files between two real nodes over loopback: 50 MB, others are answered meanwhile, kill -9 of either, a full disk."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess, free_port
from small_disk import small_disk

SIZE = 50 << 20
OFF = "set authentication off"
OTHERS = 3  # answers that others have at least meanwhile: it would be one if they waited
CONTENT = Random(9).randbytes(1 << 20)


class Two:
    """Two nodes that know each other by address; `there` takes and gives files."""

    def __init__(self, folder: Path, there: Path | None = None) -> None:
        ports: list[int] = []
        for _ in range(4):
            ports.append(free_port(ports))
        self.here = self._node(folder / "here", ports[0], ports[1])
        self.there = self._node(there or folder / "there", ports[2], ports[3], OFF)
        self.address = f"127.0.0.1:{ports[3]}"

    def _node(self, home: Path, port: int, tcp: int, *commands: str) -> NodeProcess:
        door = f"run tcp server where internal_ip = 127.0.0.1 and internal_port = {tcp} and bind = true"
        return NodeProcess(home, port=port, dbms="", commands=(*commands, door))

    def start(self) -> None:
        """Both."""
        for node in (self.here, self.there):
            node.start()

    def remove(self) -> None:
        """Both, with all that is theirs."""
        for node in (self.here, self.there):
            node.remove()

    def transfer(self, verb: str) -> tuple[int, str]:
        """Status and text of the transfer of `large` from `prep` to `bkup`, either way."""
        paths = "!prep_dir/large !!bkup_dir/" if verb == "copy" else "!!prep_dir/large !bkup_dir/"
        command = f"run client ({self.address}) file {verb} {paths}"
        status, body = self.here.request(
            "POST", "/", None, **{"User-Agent": "AnyLog/1.23", "timeout": "500", "command": command}
        )
        return status, body.decode()

    def ends(self, verb: str) -> tuple[NodeProcess, NodeProcess]:
        """Who has the file, and who is to have it."""
        return (self.here, self.there) if verb == "copy" else (self.there, self.here)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.remove()


def put(node: NodeProcess, size: int = SIZE) -> str:
    """A file of many bytes, each MB another one; its sha256."""
    digest = hashlib.sha256()
    with (node.folder("prep") / "large").open("wb") as file:
        for number in range(size >> 20):
            part = number.to_bytes(8, "big") + CONTENT[8:]
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def drafts(node: NodeProcess) -> list[Path]:
    return [path for path in node.folder("tmp").iterdir() if path.name.endswith(".part")]


def come(node: NodeProcess) -> int:
    size = 0
    for path in drafts(node):
        with suppress(FileNotFoundError):  # it has become the file meanwhile
            size += path.stat().st_size
    return size


def resident(node: NodeProcess) -> int:
    """Bytes of memory that it has ever had."""
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10


@pytest.mark.parametrize("verb", ["copy", "get"])
def test_fifty_megabytes(two: Two, verb: str) -> None:
    """Byte for byte, in little memory on both sides, and others are answered meanwhile."""
    source, target = two.ends(verb)
    wanted = put(source)
    two.here.command("get status")
    before = {node: resident(node) for node in (source, target)}
    over, answers = threading.Event(), 0

    def ask() -> None:
        nonlocal answers
        while not over.is_set():
            for node in (two.here, two.there):
                assert node.command("get status").endswith(b"running")
            answers += 1
            time.sleep(0.02)

    others = threading.Thread(target=ask)
    others.start()
    try:
        status, text = two.transfer(verb)
        answered = answers
    finally:
        over.set()
        others.join()
    assert (status, f"{SIZE:,} bytes" in text) == (200, True), text
    assert hash_of(target.folder("bkup") / "large") == wanted
    assert not drafts(target)
    assert answered >= OTHERS
    for node, was in before.items():
        assert resident(node) - was < 40 << 20


@pytest.mark.parametrize(
    ("verb", "whose"),
    [
        ("copy", "target"),
        ("get", "source"),
        pytest.param("copy", "source", marks=pytest.mark.long),
        pytest.param("get", "target", marks=pytest.mark.long),
    ],
)
def test_killed(two: Two, verb: str, whose: str) -> None:
    """kill -9 of either side in the middle: no part of the file is seen, and given again the command goes on."""
    source, target = two.ends(verb)
    wanted = put(source)
    victim = source if whose == "source" else target
    found: list[object] = []

    def transfer() -> None:
        try:
            found.append(two.transfer(verb))
        except OSError as gone:  # this very node was killed
            found.append(gone)

    at_work = threading.Thread(target=transfer)
    at_work.start()
    end = time.monotonic() + 60
    while come(target) < SIZE // 4 and time.monotonic() < end:
        time.sleep(0.001)
    victim.kill()
    path = target.folder("bkup") / "large"
    assert not path.exists()
    there = come(target)
    assert SIZE // 4 <= there < SIZE
    if victim is two.there:
        at_work.join(120)
        assert found[0][0] != 200, found  # type: ignore[index]
        assert "the same command goes on from there" in found[0][1], found  # type: ignore[index]
    at_work.join(120)
    assert not path.exists()
    (draft,) = drafts(target)
    inode = draft.stat().st_ino
    victim.start()
    assert two.transfer(verb)[0] == 200
    assert hash_of(path) == wanted
    assert path.stat().st_ino == inode  # it is the draft that was begun before
    assert not drafts(target)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a node, and not for the file besides."""
    with small_disk(tmp_path / "small", 150) as here:
        yield here


def test_a_disk_that_is_full(tmp_path: Path, small: Path) -> None:
    """Without room it is said before anything is sent; filled in the middle it stops, and goes on with room again."""
    two = Two(tmp_path, small / "there")
    try:
        two.start()
        wanted = put(two.here)
        filler = small / "filler"
        filler.write_bytes(bytes(60 << 20))
        status, text = two.transfer("copy")
        assert status != 200
        assert "bytes of disk are free" in text
        assert not come(two.there)
        filler.unlink()
        found: list[tuple[int, str]] = []
        at_work = threading.Thread(target=lambda: found.append(two.transfer("copy")))
        at_work.start()
        while not come(two.there) and at_work.is_alive():
            time.sleep(0.001)
        filler.write_bytes(bytes(60 << 20))
        at_work.join(120)
        assert found[0][0] != 200, found
        assert "bytes of disk are free" in found[0][1]
        assert not (two.there.folder("bkup") / "large").exists()
        assert two.there.command("get status").endswith(b"running")
        filler.unlink()
        assert two.transfer("copy")[0] == 200
        assert hash_of(two.there.folder("bkup") / "large") == wanted
    finally:
        two.remove()
