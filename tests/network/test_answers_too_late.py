"""What is asked for may be something else when the answer is there: files move and come, databases go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from test_audit import ROWS, archived, filed, sql
from test_clusters import cluster
from test_keep import equal
from test_pull import MASTER, Copies, door
from twisted.internet.defer import Deferred

from anylog.ledger.master import Master
from anylog.node import Node
from anylog.processes.audit import Question
from anylog.processes.pulling import Peer, Puller
from anylog.testing.disk import MemoryDisk
from anylog.testing.world import World


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies(3)
    yield made
    made.world.stop()


def today(copies: Copies) -> date:
    return datetime.fromtimestamp(copies.world.clock.seconds(), UTC).date()


def copied(copies: Copies, node: Node) -> Deferred[set[date]]:
    archive = node.places.folder("archive_dir")
    return Deferred.fromCoroutine(node.copying.copied([today(copies)], archive))


def test_a_file_that_comes_while_members_are_asked(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them was asked before, and does not have it: that day is not known to be everywhere."""
    nodes = [copies.add(number) for number in (1, 2, 3)]
    first = nodes[0]
    copies.put(first, "a")
    equal(copies, *nodes)
    by_member = {copies.member(node): node for node in nodes}
    early, late = (by_member[peer.member] for peer in first.copying.peers_of_cluster())
    assert copies.world.wait(copied(copies, first)) == {today(copies)}
    copies.world.run(early, "set consumer mode = suspend")
    waits: Deferred[None] = Deferred()
    members = Puller.members
    asked: list[int] = []

    async def asking(puller: Puller, peer: Peer, *args: Any, **options: Any) -> Any:
        if options["safe"] is None:
            asked.append(peer.member)
            if len(asked) == 2:
                await waits
        return await members(puller, peer, *args, **options)

    monkeypatch.setattr(Puller, "members", asking)
    found = copied(copies, first)
    copies.world.until(lambda: len(asked) == 2, 10)
    copies.put(late, "b")
    copies.until_equal(first, late, 90)
    copies.world.advance(5)
    waits.callback(None)
    assert copies.world.wait(found) == set()
    assert asked == [copies.member(early), copies.member(late)]
    assert copies.names(early) != copies.names(first)
    monkeypatch.undo()
    copies.world.run(early, "set consumer mode = active")
    equal(copies, *nodes)
    assert copies.world.wait(copied(copies, first)) == {today(copies)}


@pytest.mark.parametrize("moves", [True, False])
def test_a_file_that_moves_while_it_is_repaired(moves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on into the archive between a look there and one where it waited: it is found. One that is gone is
    named, and the repair goes on."""
    world = World(14)
    _, one, _ = cluster(world)
    filed(world, one, ROWS)
    disk: Any = one.disk
    path = archived(one)
    waiting = one.places.folder("distr_dir") / path.name
    disk.put(waiting, disk.read(path))
    disk.forget(path)
    sql(world, one, "update t set v = 3 where v = 2")
    repair, names = one.copying.repair(), MemoryDisk.names

    def moved(this: MemoryDisk, folder: Path) -> list[str]:
        there = names(this, folder)
        if this is disk and folder == path.parent and waiting.name in names(this, waiting.parent):
            if moves:
                disk.put(path, disk.read(waiting))
            disk.forget(waiting)
        return there

    def point(what: str) -> None:
        if what == "taken out":
            repair.audit.forget()  # as when another file was healed
            monkeypatch.setattr(MemoryDisk, "names", moved)

    repair.point = point
    report = world.wait(Deferred.fromCoroutine(repair.table(Question(dbms="town", table="t"))))
    assert report.looked == 1
    if moves:
        assert (len(report.loaded), report.left) == (1, [])
        assert sorted(sql(world, one, "select v from t")) == [(1,), (2,)]
    else:
        ((name, why),) = report.left
        assert path.name.startswith(name.removesuffix(".json"))
        assert "its rows are out" in why and "not found" in why
    world.end()


def test_the_database_of_the_ledger_goes_while_it_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that keeps what it fetched in a database of its own: there is nothing to be made equal any more, and what
    it has to tell the master is told."""
    copies = Copies(1)
    try:
        world = copies.world
        node = world.add("keeper", "10.0.2.1")
        sync = (
            f"run blockchain sync where source = master and time = 2 seconds and dest = file and connection = {MASTER}"
        )
        world.run(
            node,
            door("10.0.2.1", 32248),
            "connect dbms blockchain where type = sqlite and memory = true",
            "create table ledger where dbms = blockchain",
            sync.replace("dest = file", "dest = file and dest = dbms"),
        )
        world.advance(5)
        by_host, waits = Master.by_host, []

        async def late(master: Master, host: str) -> Any:
            found = await by_host(master, host)
            if not waits:
                waits.append(Deferred())
                await waits[-1]
            return found

        monkeypatch.setattr(Master, "by_host", late)
        insert = f"blockchain insert where policy = !p and local = true and master = {MASTER}"
        world.run(world.nodes["master"], "p = create policy cluster where name = d and company = acme", insert)
        world.until(lambda: bool(waits), 30)
        synchronizer: Any = node.membership.synchronizer
        loads = synchronizer.looks.loads
        world.run(node, "disconnect dbms blockchain")
        gone = node.membership.master is None
        assert gone
        waits[0].callback(None)
        world.advance(0.5)
        now = synchronizer.looks.loads
        assert now == loads + 1
    finally:
        copies.world.stop()
