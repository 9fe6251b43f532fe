"""Files between simulated nodes: links are cut, either node is killed at any step; the file is whole, or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import DeferredSemaphore

from anylog.disk.arrivals import Arrival
from anylog.disk.durable import RealDisk
from anylog.disk.forms import SLICE
from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.network.transfers import Transfers
from anylog.node import Node
from anylog.testing.disk import MemoryDisk
from anylog.testing.world import Place, World

CONTENT = Random(5).randbytes(SLICE * 4 + 4321)
SMALL = Random(6).randbytes(300_000)
HOSTS = {"a": "10.0.0.1", "b": "10.0.0.2"}
PORT = 32148


class Ended(OSError):
    """What a dead node tries to do has no effect."""


class Kept:
    """A file of the real disk, whose writes are moments at which its node may be killed."""

    def __init__(self, disk: TwoDisks, inner: Any) -> None:
        self._disk, self._inner = disk, inner

    def write(self, offset: int, data: bytes) -> None:
        """Half of it, then the other half."""
        half = len(data) // 2
        for begin, part in ((0, data[:half]), (half, data[half:])):
            self._disk.moment("write")
            self._inner.write(offset + begin, part)

    def sync(self) -> None:
        self._disk.moment("sync")

    def read(self, offset: int, size: int) -> bytes:
        found: bytes = self._inner.read(offset, size)
        return found

    def close(self) -> None:
        self._inner.close()


class TwoDisks(MemoryDisk):
    """The node's own things in memory; its work directories, which the file commands read, on the real disk."""

    below: Path
    dead = False
    now: Any = None

    def moment(self, kind: str) -> None:
        """Where a node may end."""
        if not self.dead:
            self.point(kind)
        if self.dead:
            raise Ended("this node was killed")

    def _real(self, path: Path) -> bool:
        return path.is_relative_to(self.below)

    def create(self, path: Path, size: int) -> Any:
        if not self._real(path):
            return super().create(path, size)
        self.moment("create")
        return Kept(self, RealDisk("none").create(path, size))

    def open(self, path: Path) -> Any:
        return Kept(self, RealDisk("none").open(path)) if self._real(path) else super().open(path)

    def move(self, source: Path, target: Path) -> None:
        if not self._real(target):
            super().move(source, target)
            return
        self.moment("move")
        RealDisk("none").move(source, target)
        self.moment("moved")

    def forget(self, path: Path) -> None:
        if not self._real(path):
            super().forget(path)
            return
        self.moment("forget")
        RealDisk("none").forget(path)

    def names(self, folder: Path) -> list[str]:
        return RealDisk("none").names(folder) if self._real(folder) else super().names(folder)

    def stat(self, path: Path) -> tuple[int, int, str]:
        if not self._real(path):
            return super().stat(path)
        size, _, kind = RealDisk("none").stat(path)
        return size, int(self.now() * 1e9), kind

    def crash(self, chance: Random, power: bool = True) -> MemoryDisk:
        self.dead = True
        after = super().crash(chance, False)
        found = TwoDisks(files=after._files, changes=after.changes)
        found.below, found.now = self.below, self.now
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(3)
    for name, host in HOSTS.items():
        below = tmp_path / name
        for folder in ("tmp", "prep", "bkup", "watch"):
            (below / "AnyLog-Network" / "data" / folder).mkdir(parents=True)
        disk = TwoDisks()
        disk.below, disk.now = below, lambda: unix(made.clock)
        door = f"run tcp server where internal_ip = {host} and internal_port = {PORT}"
        script = (f"set anylog home {below}", "set authentication off", door)
        made.places[name] = Place(name=name, host=host, script=script, disk=disk)
        made.wait(made.restart(name))
    yield made
    made.end()


def folder(world: World, name: str, which: str) -> Path:
    below: Path = world.places[name].disk.below  # type: ignore[attr-defined]
    return below / "AnyLog-Network" / "data" / which


def lies(world: World, name: str, content: bytes) -> None:
    """Nobody ever sees a part of a file, and no node tells another that it has it before it has."""
    target = folder(world, name, "bkup") / "file"
    assert not target.exists() or target.read_bytes() == content


COPY = f"run client ({HOSTS['b']}:{PORT}) file copy !prep_dir/file !!bkup_dir/"
GET = f"run client ({HOSTS['b']}:{PORT}) file get !!prep_dir/file !bkup_dir/"
WAYS = [pytest.param("copy", id="copy"), pytest.param("get", id="get")]


def way(verb: str) -> tuple[str, str, str]:
    """The command, who has the file, and who gets it."""
    return (COPY, "a", "b") if verb == "copy" else (GET, "b", "a")


def come(world: World, name: str) -> int:
    """Bytes of drafts."""
    return sum(path.stat().st_size for path in folder(world, name, "tmp").iterdir())


@pytest.mark.parametrize("verb", WAYS)
def test_a_link_that_breaks(world: World, verb: str) -> None:
    """The connection is reset again and again: one command goes on each time where it was."""
    command, source, target = way(verb)
    (folder(world, source, "prep") / "file").write_bytes(CONTENT)
    waited = world.begin(world.nodes["a"], command)
    breaks, seen = 0, 0
    while not waited.called:
        if come(world, target) > seen:
            seen = come(world, target)
            world.network.reset(*HOSTS.values())
            breaks += 1
        world.step(world.clock.seconds() + 1.0)
    assert "1 file" in (world.wait(waited).text or "")
    assert breaks >= 2
    assert (folder(world, target, "bkup") / "file").read_bytes() == CONTENT
    assert not come(world, target)


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("verb", WAYS)
def test_a_link_that_is_cut(world: World, verb: str, silent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is cut for long the command ends with a clear error; given again it goes on, and then it is whole."""
    command, source, target = way(verb)
    (folder(world, source, "prep") / "file").write_bytes(CONTENT)
    waited = world.begin(world.nodes["a"], command)
    world.until(lambda: come(world, target) >= SLICE // 2)
    world.network.cut(*HOSTS.values()) if not silent else world.network.mute(*HOSTS.values())
    with pytest.raises(AnyLogError) as error:
        world.wait(waited, 300.0)
    assert error.value.number == 35, error.value
    assert "the same command goes on from there" in str(error.value)
    assert not (folder(world, target, "bkup") / "file").exists()
    there = come(world, target)
    assert there >= SLICE // 2
    world.network.heal()
    wrote: list[int] = []
    write = Transfers.write

    def counted(transfers: Transfers, arrival: Arrival, at: int, data: bytes) -> Any:
        wrote.append(len(data))
        return write(transfers, arrival, at, data)

    monkeypatch.setattr(Transfers, "write", counted)
    assert "1 file" in (world.run(world.nodes["a"], command).text or "")
    assert sum(wrote) <= len(CONTENT) - there
    assert (folder(world, target, "bkup") / "file").read_bytes() == CONTENT
    assert not come(world, target)


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("verb", WAYS)
def test_killed_at_each_step(world: World, verb: str, who: str) -> None:
    """Either node is killed at each of its moments: never a part of a file, and the next life brings it to its end."""
    command, source, target = way(verb)
    path = folder(world, target, "bkup") / "file"
    kills = 0
    for moment in range(1, 40):
        content = SMALL + bytes([moment])
        (folder(world, source, "prep") / "file").write_bytes(content)
        path.unlink(missing_ok=True)
        world.crash_after(who, moment, power=False)
        waited = world.begin(world.nodes["a"], command)
        waited.addErrback(lambda failure: None)
        end = world.clock.seconds() + 300.0
        while who in world.nodes and not waited.called and world.clock.seconds() < end:
            world.step(end)
            lies(world, target, content)
        if who in world.nodes:
            world.places[who].moments = 0
            break
        kills += 1
        world.wait(world.restart(who))
        lies(world, target, content)
        if who == "b":  # the command may have gone on by itself
            world.until(lambda waited=waited: waited.called, 300.0)
        world.run(world.nodes["a"], command)
        assert path.read_bytes() == content
    assert kills >= (5 if who == target else 0)
    assert not [each for each in folder(world, target, "tmp").iterdir() if each.stat().st_size == len(content)]


@pytest.mark.parametrize("verb", WAYS)
def test_the_source_is_killed(world: World, verb: str) -> None:
    """Who sends is killed whenever some more has come; no byte that came is sent again when it lives once more."""
    command, source, target = way(verb)
    (folder(world, source, "prep") / "file").write_bytes(CONTENT)
    path, seen, kills = folder(world, target, "bkup") / "file", 0, 0
    while not path.exists():
        waited = world.begin(world.nodes["a"], command)
        waited.addErrback(lambda failure: None)
        world.until(lambda seen=seen, waited=waited: come(world, target) > seen or waited.called, 300.0)
        if path.exists():
            break
        assert come(world, target) > seen
        seen = come(world, target)
        world.crash(source, power=False)
        kills += 1
        world.wait(world.restart(source))
        if source == "b":  # the command goes on by itself
            world.until(lambda waited=waited: waited.called, 300.0)
    assert kills >= (3 if source == "a" else 1)
    assert path.read_bytes() == CONTENT
    assert not come(world, target)


def test_a_file_among_others(world: World) -> None:
    """A node that has a large file on its way asks and answers meanwhile, also where it asks one node at a time."""
    world.nodes["a"].peers.sends = DeferredSemaphore(1)
    (folder(world, "a", "prep") / "file").write_bytes(CONTENT)
    waited = world.begin(world.nodes["a"], COPY)
    world.until(lambda: come(world, "b") > 0)
    begun = world.clock.seconds()
    world.run(world.nodes["a"], f"run client ({HOSTS['b']}:{PORT}) get status")
    assert world.clock.seconds() - begun < 1.0
    assert not waited.called
    world.wait(waited)


def test_job_stop(world: World) -> None:
    """It ends the transfer on both sides; what came is kept for the next time."""
    (folder(world, "a", "prep") / "file").write_bytes(CONTENT)
    node = world.nodes["a"]
    waited = world.begin(node, COPY)
    world.until(lambda: come(world, "b") > 0)
    assert node.jobs.last is not None
    world.run(node, f"job stop {node.jobs.last.slot}")
    with pytest.raises(AnyLogError) as error:
        world.wait(waited)
    assert error.value.number == 23
    there = come(world, "b")
    world.advance(5.0)
    assert there <= come(world, "b") < len(CONTENT)
    assert not node.transfers.going
    world.run(node, COPY)
    assert (folder(world, "b", "bkup") / "file").read_bytes() == CONTENT


def test_time_is_over(world: World) -> None:
    """`timeout` holds for the whole, and what came is kept for the next time."""
    (folder(world, "a", "prep") / "file").write_bytes(CONTENT)
    node: Node = world.nodes["a"]
    world.network.slow(HOSTS["a"], HOSTS["b"], 0.2, 0.3)
    with pytest.raises(AnyLogError) as error:
        world.run(node, COPY.replace(f":{PORT})", f":{PORT}, timeout = 5)"))
    assert error.value.number == 26
    world.network.heal()
    world.advance(10.0)
    assert come(world, "b") > 0
    world.run(node, COPY, seconds=300.0)
    assert (folder(world, "b", "bkup") / "file").read_bytes() == CONTENT
