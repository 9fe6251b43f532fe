"""Nodes that crash and are found again, and the ways a network fails, in the simulation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import succeed

from anylog.interfaces import Move
from anylog.node import Node
from anylog.processes import recovery, streamed
from anylog.processes.distributor import Distributor
from anylog.testing import laws
from anylog.testing.clock import HeapClock
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLanes
from anylog.testing.storm import Storm
from anylog.testing.world import World

TOWN = Path("/op1/AnyLog-Network/data/dbms/town.dbms")
ALMGM = Path("/op1/AnyLog-Network/data/dbms/almgm.dbms")


def calm(seed: int) -> Storm:
    """A cluster in which nothing happens by itself; nobody looks after processes."""
    storm = Storm(seed)
    storm.make()
    storm.world.crashed = lambda name, at: None
    return storm


def put(storm: Storm, table: str, values: list[int], whole: bool) -> None:
    """Readings, acknowledged by the first operator."""
    rows = [{"v": value} for value in values]
    node = storm.world.nodes["op1"]
    storm.world.wait(node.intake.accept("town", table, json.dumps(rows).encode(), rows, whole=whole))


def quiet(storm: Storm) -> laws.Holding:
    """Let it come to rest."""
    storm.world.until(lambda: not list(storm.unquiet()), 200)
    return storm.holding("op1")


def begin(storm: Storm) -> Node | None:
    """Start the first operator; None if it crashed while it did."""
    begun = storm.world.restart("op1")
    begun.addErrback(lambda _: None)
    storm.world.advance(3)
    return storm.world.nodes.get("op1")


def values(held: laws.Holding) -> list[int]:
    """What is in the tables."""
    return sorted(row["v"] for rows in held.rows.values() for row in rows)


def test_a_crash_at_every_moment_of_a_reload() -> None:
    """The database of readings is lost, and power is cut again and again while the archive is loaded: all are there."""
    moment = 0
    while True:
        moment += 17
        storm = calm(2)
        put(storm, "t0", [1, 2], True)
        put(storm, "t1", [3], False)
        quiet(storm)
        storm.world.crash("op1", power=True)
        storm._files("op1").remove(TOWN)
        storm.world.crash_after("op1", moment)
        crashed = begin(storm) is None
        if crashed:
            assert begin(storm) is not None
        held = quiet(storm)
        assert values(held) == [1, 2, 3], moment
        assert not [*laws.loaded_once(held), *laws.archived(held), *laws.in_one_place(held)], moment
        storm.world.end()
        if not crashed:
            break
    assert moment > 100


def test_who_operates_lasts() -> None:
    """Power is cut as soon as `run operator` is done for the first time: what comes after that, and before the
    operator runs again, is the member's nevertheless, and so reaches the others."""
    storm = Storm(2)
    storm.world.crashed = lambda name, at: None
    storm.world.lanes = lambda clock: ClockLanes(clock, 0.02)
    storm.make()
    name = storm.names[-1]
    place = storm.world.places[name]
    assert place.script[-3].startswith("run operator ")
    storm.world.crash(name, power=True)
    place.script = place.script[:-3]
    storm.world.wait(storm.world.restart(name))
    assert storm.world.nodes[name].intake.operating.member("town") == (True, storm.members[name])
    storm.world.end()


def test_readings_before_almgm_is_connected() -> None:
    """A script connects the database of readings first, and what comes at that moment after a start is the member's: it
    is registered when `almgm` is there, and reaches the others."""
    storm = calm(4)
    assert len(storm.names) == 2
    place = storm.world.places["op1"]
    script = list(place.script)
    storm.world.crash("op1", power=True)
    later = [line for line in script if "almgm" in line or line.startswith(("run operator", "run data"))]
    place.script = [line for line in script if line not in later]
    node = begin(storm)
    assert node is not None
    put(storm, "t0", [1, 2], False)
    put(storm, "t1", [3], True)
    storm.world.advance(30)
    assert values(storm.holding("op1")) == []
    storm.world.run(node, *later)
    storm.world.until(lambda: all(values(storm.holding(name)) == [1, 2, 3] for name in storm.names), 120)
    assert not list(laws.same_rows([storm.holding(name) for name in storm.names]))
    storm.world.end()


def test_a_copy_of_when_a_buffer_was_open() -> None:
    """Put back, it holds a part of a file: the rest is loaded, and nothing twice."""
    storm = calm(2)
    put(storm, "t0", [1], False)
    storm.world.advance(0.2)
    storm.world.crash("op1", power=False)
    files = storm._files("op1")
    copy = files.copy(TOWN)
    assert begin(storm) is not None
    put(storm, "t0", [2, 3], False)
    assert values(quiet(storm)) == [1, 2, 3]
    storm.world.crash("op1", power=False)
    storm._files("op1").put_back(TOWN, copy)
    assert begin(storm) is not None
    held = quiet(storm)
    assert values(held) == [1, 2, 3]
    assert not [*laws.loaded_once(held), *laws.archived(held)]
    storm.world.end()


@pytest.mark.parametrize("almgm", ["older", "lost"])
def test_both_databases_of_when_a_buffer_was_open(almgm: str) -> None:
    """Put back when the journal has forgotten the buffer, also with power cut at any moment: what the databases hold
    is the beginning of a file of the archive, and all of that is loaded, once."""
    moment = 0
    while True:
        moment += 23
        storm = calm(2)
        put(storm, "t0", [1], False)
        storm.world.advance(0.2)
        files = storm._files("op1")
        copies = {TOWN: files.copy(TOWN), ALMGM: files.copy(ALMGM) if almgm == "older" else {}}
        put(storm, "t0", [2, 3], False)
        before = quiet(storm)
        assert values(before) == [1, 2, 3]
        storm.world.crash("op1", power=False)
        for path, copy in copies.items():
            storm._files("op1").put_back(path, copy)
        storm.world.crash_after("op1", moment)
        crashed = begin(storm) is None
        if crashed:
            assert begin(storm) is not None
        held = quiet(storm)
        assert values(held) == [1, 2, 3], moment
        assert [(each.id, each.hash, each.rows) for each in held.entries["tsd_info"]] == [
            (each.id, each.hash, each.rows) for each in before.entries["tsd_info"]
        ], moment
        assert not [*laws.loaded_once(held), *laws.archived(held), *laws.in_one_place(held)], moment
        storm.world.end()
        if not crashed:
            break
    assert moment > 100


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_counted_and_the_journal_does_not_know(copied: bool, late: bool) -> None:
    """The node ends before the journal hears that a file is counted, and its database is lost, or put back as it was
    with a part of it, also one that is connected once the operator runs: all rows are there once."""
    storm = calm(2)
    put(storm, "t0", [1], False)
    storm.world.advance(0.2)
    copy = storm._files("op1").copy(TOWN)
    node = storm.world.nodes["op1"]
    ended = []

    def end(point: str) -> None:
        if point == "counted" and not ended:
            ended.append(point)
            storm.world.crash("op1", power=False)

    node.intake.filing.point = end
    put(storm, "t0", [2, 3], False)
    storm.world.until(lambda: bool(ended), 60)
    storm._files("op1").remove(TOWN)
    if copied:
        storm._files("op1").put_back(TOWN, copy)
    if late:
        place = storm.world.places["op1"]
        place.script = sorted(place.script, key=lambda line: line.startswith("connect dbms town"))
    assert begin(storm) is not None
    held = quiet(storm)
    assert values(held) == [1, 2, 3]
    assert not [*laws.loaded_once(held), *laws.archived(held), *laws.in_one_place(held)]
    storm.world.end()


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("at", ["published", "counted", "done"])
def test_a_file_whose_id_only_its_name_says(at: str, copied: bool) -> None:
    """The node ends before the journal hears what became of a buffer, and both databases are lost, or that of its
    readings is one of before: the buffer has the id that its file has, so no row is there twice, here or elsewhere."""
    storm = calm(5)
    assert len(storm.names) > 1
    copy = storm._files("op1").copy(TOWN)
    node = storm.world.nodes["op1"]
    ended = []

    def end(point: str) -> None:
        if point == at and not ended:
            ended.append(point)
            storm.world.crash("op1", power=False)

    node.intake.filing.point = node.intake.point = end
    put(storm, "t0", [1, 2, 3], False)
    storm.world.until(lambda: bool(ended), 60)
    storm._files("op1").remove(ALMGM)
    storm._files("op1").remove(TOWN)
    if copied:
        storm._files("op1").put_back(TOWN, copy)
    assert begin(storm) is not None
    quiet(storm)
    storm.world.advance(60)
    for name in storm.names:
        held = storm.holding(name)
        assert values(held) == [1, 2, 3], name
        assert not [*laws.loaded_once(held), *laws.archived(held), *laws.in_one_place(held)], name
    storm.world.end()


@pytest.mark.parametrize("moved", ["before it is read", "after the archive was listed"])
def test_a_file_that_moves_while_it_is_looked_for(moved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The distributor archives a file while a database that was lost is loaded again: it is found, before or after."""
    storm = calm(2)
    put(storm, "t0", [1, 2], False)
    held = quiet(storm)
    storm.world.crash("op1", power=False)
    storm._files("op1").remove(TOWN)
    (path,) = [Path(each) for each in held.files["archive_dir"]]
    waits = held.places.folder("distr_dir") / path.name
    disk = storm.world.places["op1"].disk
    (outcome,) = disk.batch([Move(path, waits)])
    assert not isinstance(outcome, OSError)
    begun = (recovery, "ids_in") if moved == "after the archive was listed" else (streamed, "read_archived")
    asked = getattr(*begun)

    def moves(disk: MemoryDisk, folder: Path, *more: Any) -> Any:
        found = None if moved == "before it is read" else asked(disk, folder, *more)
        if disk.under(waits.parent) and folder in (waits, path.parent):
            disk.batch([Move(waits, path)])
        return asked(disk, folder, *more) if found is None else found

    compare, done = recovery.Recovery.compare, []

    async def compared(*asked: Any) -> Any:
        done.append(await compare(*asked))
        return done[-1]

    monkeypatch.setattr(*begun, moves)
    monkeypatch.setattr(recovery.Recovery, "compare", compared)
    monkeypatch.setattr(Distributor, "look", lambda self: succeed(None))
    assert begin(storm) is not None
    held = quiet(storm)
    assert values(held) == [1, 2]
    assert [each for each in done if each] == [{"loaded again": 1}]
    assert not [*laws.loaded_once(held), *laws.archived(held), *laws.in_one_place(held)]
    storm.world.end()


@pytest.mark.parametrize("power", [True, False])
def test_what_lasts(power: bool) -> None:
    """A commit lasts through a crash; the dead node does nothing more; its successor knows the home as its own."""
    storm = calm(2)
    put(storm, "t0", [7], True)
    old = storm.world.nodes["op1"]
    storm.world.crash("op1", power=power, silent=True)
    before = dict(storm.world.places["op1"].disk.under(Path("/op1")))
    old.intake.cut_due()
    storm.world.advance(30)
    assert storm.world.places["op1"].disk.under(Path("/op1")) == before
    new = begin(storm)
    assert new is not None and new.home_id == old.home_id
    assert values(quiet(storm)) == [7]
    storm.world.end()


def test_a_host_without_power() -> None:
    """Who is connected to it is told nothing until it is up again and something is sent."""
    storm = calm(3)
    network = storm.world.network
    (connection, *_) = [each for each in network.connections if "10.0.1.1" in each.hosts]
    ours = next(end for end in connection.ends if end.host != "10.0.1.1")
    storm.world.crash("op1", power=True, silent=True)
    storm.world.advance(1)
    assert ours.connected and not ours.closed
    ours.write(b"somebody there?")
    storm.world.advance(1)
    assert not ours.closed
    network.revive("10.0.1.1")
    storm.world.advance(1)
    assert ours.closed
    storm.world.end()


def test_one_way() -> None:
    """What one sends is lost, the other way works; healed, what was kept arrives."""
    storm = calm(2)
    world: World = storm.world
    world.network.mute("10.0.1.1", "10.0.0.1")
    assert world.network.is_cut("10.0.1.1", "10.0.0.1") and not world.network.is_cut("10.0.0.1", "10.0.1.1")
    policy = json.dumps({"device": {"name": "d"}})
    command = f"blockchain insert where policy = {policy} and local = true and master = 10.0.0.1:32048"
    asked = world.begin(world.nodes["op1"], command)
    world.advance(3)
    assert len(world.nodes["master"].ledger.policies.of_type("device")) == 0
    world.network.heal()
    world.wait(asked)
    world.until(lambda: len(world.nodes["master"].ledger.policies.of_type("device")) == 1, 130)
    storm.world.end()


def test_the_clock() -> None:
    """Calls are made in the order of their times, those of one moment in the order they were asked for."""
    clock, told = HeapClock(), []
    for name, delay in [("b", 1.0), ("c", 1.0), ("a", 0.5), ("d", 9.0)]:
        clock.callLater(delay, told.append, name)
    moved, gone = clock.callLater(5.0, told.append, "moved"), clock.callLater(1.0, told.append, "gone")
    moved.reset(0.1)
    gone.cancel()
    assert [call.getTime() for call in clock.getDelayedCalls()] == [0.1, 0.5, 1.0, 1.0, 9.0]
    clock.advance(2)
    assert told == ["moved", "a", "b", "c"] and not moved.active() and clock.following() == 9.0
