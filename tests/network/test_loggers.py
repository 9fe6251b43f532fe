"""Files named `backup.*` go to every node whose policy type is `logger`, each once, and then to the archive."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_pull import MASTER, SYNC, Copies, door

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.processes.backups import AGAIN, PATIENCE
from anylog.processes.courier import FILES
from anylog.testing.disk import MemoryDisk


class Logged(Copies):
    """Beside the members there are nodes that keep backups."""

    def declare(self, number: int) -> None:
        insert = f"blockchain insert where policy = !p and local = true and master = {MASTER}"
        made = f"p = create policy logger where name = log{number} and company = acme"
        self.world.run(self.world.nodes["master"], f"{made} and ip = 10.0.4.{number} and port = 32648", insert)

    def logger(self, number: int) -> Node:
        node = self.world.add(f"log{number}", f"10.0.4.{number}")
        self.world.run(node, door(f"10.0.4.{number}", 32648), SYNC)
        self.world.advance(5)
        return node

    def leave(self, node: Node, name: str, data: bytes = b"kept") -> None:
        """Somebody puts a backup into the distribution directory."""
        disk(node).put(node.places.folder("distr_dir") / name, data)

    def waits(self, node: Node) -> list[str]:
        return disk(node).names(node.places.folder("distr_dir"))

    def archived(self, node: Node) -> list[str]:
        return disk(node).names(node.places.folder("archive_dir") / "backup")

    def kept(self, node: Node) -> dict[str, bytes]:
        """Path below the backups of a logger -> content."""
        root = node.places.folder("archive_dir") / "backup"
        found = disk(node).under(root)
        return {str(Path(path).relative_to(root)): gzip.decompress(data) for path, data in found.items()}


def disk(node: Node) -> MemoryDisk:
    assert isinstance(node.disk, MemoryDisk)
    return node.disk


@pytest.fixture
def copies() -> Iterator[Logged]:
    made = Logged()
    yield made
    made.world.stop()


def sender(copies: Logged, number: int = 1) -> str:
    return f"op{number}-{copies.policies[number]}"


def test_each_logger_once(copies: Logged) -> None:
    """Both have it, packed, in a folder of its sender; another sender's file of that name is another one. Files of
    readings go on as before."""
    copies.declare(1), copies.declare(2)
    logs = [copies.logger(1), copies.logger(2)]
    first, second = copies.add(1, "run data distributor"), copies.add(2, "run data distributor")
    copies.world.advance(3)
    copies.leave(first, "backup.almgm.json"), copies.leave(second, "backup.almgm.json", b"other")
    copies.leave(first, "backup.x.json.gz", gzip.compress(b"packed before"))
    copies.put(first, "a")
    copies.world.until(lambda: len(copies.archived(first)) == 2 and len(copies.archived(second)) == 1, 30)
    copies.until_equal(first, second, 30)
    for log in logs:
        assert copies.kept(log) == {
            f"{sender(copies)}/backup.almgm.json.gz": b"kept",
            f"{sender(copies)}/backup.x.json.gz": b"packed before",
            f"{sender(copies, 2)}/backup.almgm.json.gz": b"other",
        }
    assert [name for name in copies.waits(first) if "backup" in name] == []
    shown = copies.world.run(first, "get distributor where format = json").data
    loggers = [(peer["Peer"], peer["Files"]) for peer in shown["Peers"] if peer["Member"] == "logger"]
    assert loggers == [("10.0.4.1:32648", 2), ("10.0.4.2:32648", 2)]


def test_one_that_is_away(copies: Logged) -> None:
    """The file waits for it, the sender may start anew meanwhile; the one that has it is told again and keeps one."""
    copies.declare(1), copies.declare(2)
    there = copies.logger(1)
    first = copies.add(1, "run data distributor")
    copies.world.advance(3)
    copies.leave(first, "backup.almgm.json")
    copies.world.until(lambda: len(copies.kept(there)) == 1, 30)
    copies.world.advance(120)
    assert (copies.waits(first), copies.archived(first)) == (["backup.almgm.json"], [])
    copies.world.run(first, "exit distributor", "run data distributor")
    late = copies.logger(2)
    copies.world.until(lambda: copies.archived(first) == ["backup.almgm.json"], 2 * AGAIN[-1] + 30)
    assert len(copies.kept(late)) == len(copies.kept(there)) == 1


def test_not_for_ever(copies: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never comes holds nothing up for longer than the sender is patient; that is told."""
    monkeypatch.setattr("anylog.processes.backups.PATIENCE", PATIENCE / 480)
    copies.declare(1)
    first = copies.add(1, "run data distributor")
    copies.world.advance(3)
    copies.leave(first, "backup.almgm.json")
    copies.world.advance(PATIENCE / 480 - 20)
    assert copies.archived(first) == []
    copies.world.advance(40)
    assert copies.archived(first) == ["backup.almgm.json"]
    told = [str(entry) for entry in first.logs.event.find(["no logger at 10.0.4.1:32648"])]
    assert len(told) == 1


def test_another_content_of_that_name(copies: Logged) -> None:
    """A later backup of the same name lies beside the first one."""
    copies.declare(1)
    log, first = copies.logger(1), copies.add(1, "run data distributor")
    copies.world.advance(3)
    copies.leave(first, "backup.almgm.json")
    copies.world.until(lambda: len(copies.kept(log)) == 1, 30)
    copies.world.advance(10)
    copies.leave(first, "backup.almgm.json", b"later")
    copies.world.until(lambda: len(copies.kept(log)) == 2, 30)
    assert sorted(copies.kept(log).values()) == [b"kept", b"later"]


def test_no_room(copies: Logged) -> None:
    """Nothing is taken on a disk that is about to be full; it comes once there is room."""
    copies.declare(1)
    log, first = copies.logger(1), copies.add(1, "run data distributor")
    copies.world.advance(3)
    full = disk(log).capacity - disk(log).free(Path("/")) + (10 << 20)
    disk(log).capacity = full
    copies.leave(first, "backup.almgm.json")
    copies.world.advance(30)
    assert (copies.kept(log), copies.waits(first)) == ({}, ["backup.almgm.json"])
    shown = copies.world.run(first, "get distributor where format = json").data
    assert "bytes of disk are free" in shown["Peers"][-1]["Last Error"]
    disk(log).capacity = 1 << 40
    copies.world.until(lambda: len(copies.kept(log)) == 1, 2 * AGAIN[-1])


def test_who_takes_them(copies: Logged) -> None:
    """Only a node whose policy says so, from nodes of the ledger, and only names that are those of backups."""
    copies.declare(1)
    log, first, second = copies.logger(1), copies.add(1), copies.add(2)
    copies.world.advance(3)

    def ask(address: str, name: str, by: Node = first) -> list[str]:
        told: list[str] = copies.world.wait(by.peers.ask(address, "backup", {"files": [[name, 1]]}, b"x")).head["told"]
        return told

    with pytest.raises(AnyLogError, match="this node is no logger"):
        ask(second.address, "backup.a")
    stranger = copies.world.add("stranger", "10.0.9.9")
    copies.world.run(stranger, door("10.0.9.9", 32148))
    with pytest.raises(AnyLogError, match="is no node of the ledger"):
        ask(log.address, "backup.a", stranger)
    for name in ("town.t.json", "backup/../../x", "../backup.x", "backup.\n", "backup." + "x" * 300):
        assert ask(log.address, name)[0].startswith("119 "), name
    assert ask(log.address, "backup.a") == ["taken"]
    assert ask(log.address, "backup.a") == ["known"]


def test_files_that_no_logger_can_be_given(copies: Logged) -> None:
    """Empty ones, more than go together: they are asked for again and again, and hold up no other. Nobody waits for
    those that were taken away."""
    copies.declare(1)
    first = copies.add(1, "run data distributor")
    log = copies.logger(1)
    for number in range(FILES + 10):
        copies.leave(first, f"backup.{number:03d}", b"")
    copies.world.advance(10)
    copies.leave(first, "backup.good")
    copies.world.advance(120)
    assert list(copies.kept(log).values()) == [b"kept"]
    assert copies.archived(first) == ["backup.good"]
    for name in copies.waits(first):
        disk(first).forget(first.places.folder("distr_dir") / name)
    copies.world.advance(30)
    assert "Files waiting: 0" in copies.world.run(first, "get distributor").text
