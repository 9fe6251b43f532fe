"""Copies of one member's databases are put back, or its files are lost, while the other members have what is of now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_home_older import same
from test_lasting import ALMGM, TOWN, begin, calm, put, quiet, values

from anylog.disk.names import FileName
from anylog.processes.others import LONGEST
from anylog.testing.laws import Holding
from anylog.testing.storm import Storm

ARCHIVE = Path("/op1/AnyLog-Network/data/archive")
JOURNAL = Path("/op1/journal")


def lose(storm: Storm, folder: Path) -> None:
    """All files below a directory of the first operator."""
    disk = storm.world.places["op1"].disk
    for name in list(disk.under(folder)):
        disk.forget(folder / name)


def damage(storm: Storm, folder: Path) -> None:
    """Each file below a directory of the first operator is shorter than it was."""
    disk = storm.world.places["op1"].disk
    for name, data in list(disk.under(folder).items()):
        disk.publish(folder / name, data[:-9])


def of_when_it_was_open(storm: Storm, almgm: str, rest: tuple[int, ...] = (2, 3)) -> None:
    """A stream of three readings becomes a file that both members have; then the first is down, and has the databases
    of when it had one of them."""
    put(storm, "t0", [1], False)
    storm.world.advance(0.2)
    files: Any = storm._files("op1")
    town, older = files.copy(TOWN), files.copy(ALMGM)
    put(storm, "t0", list(rest), False)
    quiet(storm)
    same(storm, [1, *rest])
    storm.world.crash("op1", power=False)
    storm._files("op1").put_back(TOWN, town)
    if almgm != "now":
        storm._files("op1").put_back(ALMGM, older if almgm == "older" else {})


def both(storm: Storm) -> list[Holding]:
    """What each member holds; nobody tells of a conflict, and who is there says that it is complete."""
    nodes = [storm.world.nodes[name] for name in storm.names]
    assert not any(node.copying.conflicts() for node in nodes)
    assert all(node.copying.consumer is not None and node.copying.consumer.complete for node in nodes)
    return [storm.holding(name) for name in storm.names]


@pytest.mark.parametrize("late", [False, True], ids=["there", "late"])
@pytest.mark.parametrize("harm", [lose, damage])
@pytest.mark.parametrize("almgm", ["now", "older", "lost"])
def test_of_when_a_buffer_was_open_and_the_archive_is_lost(almgm: str, harm: Any, late: bool) -> None:
    """The readings hold a part of a file, and no file says so: it comes back from the other member, also if that is
    not there at first."""
    storm = calm(7)
    of_when_it_was_open(storm, almgm)
    harm(storm, ARCHIVE)
    if late:
        storm.world.crash("op2", power=False)
    assert begin(storm) is not None
    if late:
        storm.world.advance(LONGEST / 2)
        storm.world.wait(storm.world.restart("op2"))
    storm.world.advance(180)
    held = [values(each) for each in both(storm)]
    places = [storm.world.places[name] for name in storm.names]
    files = [
        [Path(name).name for name in place.disk.under(place.home / "AnyLog-Network/data/archive")] for place in places
    ]
    storm.world.end()
    assert held == [[1, 2, 3]] * len(held)
    assert [len(names) for names in files] == [1] * len(files)
    assert len({name.removesuffix(".gz") for (name,) in files}) == 1


@pytest.mark.parametrize("almgm", ["now", "older", "lost"])
def test_a_part_stays_until_its_file_is_there(almgm: str) -> None:
    """Nobody else is there: what is here is to be had, and the node says that it is not all."""
    storm = calm(7)
    of_when_it_was_open(storm, almgm)
    lose(storm, ARCHIVE)
    storm.world.crash("op2", power=False)
    assert begin(storm) is not None
    storm.world.advance(LONGEST / 2)
    assert values(storm.holding("op1")) == [1]
    node = storm.world.nodes["op1"]
    assert node.copying.consumer is not None
    assert not node.copying.consumer.complete or not node.intake.operating.agrees
    storm.world.end()


def test_what_is_lost_twice_comes_twice() -> None:
    """A file of ours comes back from the other member also when it was lost a while ago, and came back, before."""
    storm = calm(7)
    put(storm, "t0", [1, 2], True)
    quiet(storm)
    for _ in range(3):
        same(storm, [1, 2])
        storm.world.crash("op1", power=False)
        storm._files("op1").put_back(TOWN, {})
        lose(storm, ARCHIVE)
        assert begin(storm) is not None
        storm.world.advance(120)
        assert [values(each) for each in both(storm)] == [[1, 2], [1, 2]]
    storm.world.end()


def test_another_that_is_lost_soon_after() -> None:
    """A second file is lost while the node runs, minutes after a first one came back: it comes back, too."""
    storm = calm(7)
    for value in (1, 2):
        put(storm, "t0", [value], True)
    same(storm, [1, 2])
    node = storm.world.nodes["op1"]
    disk, files = storm.world.places["op1"].disk, sorted(storm.world.places["op1"].disk.under(ARCHIVE))
    assert len(files) == 2
    for name in files:
        disk.forget(Path(name))
        town: Any = node.databases.get("town")
        storm.world.wait(town.undo("t0", storm.members["op1"], FileName.parse(Path(name).name).id))
        storm.world.wait(node.intake.operating.compared("town"))
        storm.world.advance(120)
        assert [values(each) for each in both(storm)] == [[1, 2], [1, 2]], name
    storm.world.end()


def entries(storm: Storm) -> list[tuple[str, int, str]]:
    """Of the first operator's own files: hash, rows and status."""
    return [(each.hash, each.rows, each.status1) for each in storm.holding("op1").of(storm.members["op1"])]


@pytest.mark.parametrize("slow", [False, True], ids=["refuses", "hangs"])
def test_a_stream_without_journal_while_nobody_tells(slow: bool) -> None:
    """Its readings are here, and the journal is not: it becomes a file when the others were waited for long enough,
    and is not given up before."""
    storm = calm(7)
    put(storm, "t0", [1, 2], False)
    storm.world.advance(0.2)
    if not slow:
        storm.world.crash("op2", power=False)
    storm.world.crash("op1", power=False)
    lose(storm, JOURNAL)
    if slow:
        storm.world.network.cut(storm._host("op1"), storm._host("op2"))
    assert begin(storm) is not None
    storm.world.advance(4 * LONGEST)
    ((hash, rows, status),) = entries(storm)
    assert (len(hash), rows, status) == (32, 2, "")
    if slow:
        storm.world.network.heal()
    else:
        storm.world.wait(storm.world.restart("op2"))
    storm.world.advance(180)
    assert [values(each) for each in both(storm)] == [[1, 2], [1, 2]]
    storm.world.end()


def test_a_part_that_nobody_has_more_of() -> None:
    """Its file is damaged, and who had it too has lost everything: what is left becomes a file when all say so."""
    storm = calm(7)
    of_when_it_was_open(storm, "older")
    damage(storm, ARCHIVE)
    storm.world.crash("op2", power=False)
    assert begin(storm) is not None
    storm.world.advance(LONGEST / 2)
    ((hash, rows, status),) = entries(storm)
    assert (len(hash), rows, status) == (32, 0, "01")
    storm._wipe("op2")
    storm.world.wait(storm.world.restart("op2"))
    storm.world.advance(60)
    storm.world.crash("op1", power=False)
    assert begin(storm) is not None
    storm.world.advance(180)
    assert [values(each) for each in both(storm)] == [[1], [1]]
    storm.world.end()


def test_what_was_open_when_it_was_copied_and_is_damaged() -> None:
    """The table of files is older and says that the stream is open; its file, which is filed by now, is damaged: that
    it is missing is told with its hash, so that the other member's file is known for it."""
    storm = calm(7)
    files: Any = storm._files("op1")
    town = files.copy(TOWN)
    put(storm, "t0", [1, 2], False)
    while not storm.holding("op1").of(storm.members["op1"]):
        storm.world.advance(0.1)
    ((hash, _, _),) = entries(storm)
    assert hash.startswith("open:")
    older = files.copy(ALMGM)
    quiet(storm)
    same(storm, [1, 2])
    ((hash, _, _),) = entries(storm)
    for name in ("op1", "op2"):
        storm.world.crash(name, power=False)
    files = storm._files("op1")
    files.put_back(TOWN, town)
    files.put_back(ALMGM, older)
    damage(storm, ARCHIVE)
    assert begin(storm) is not None
    storm.world.advance(LONGEST / 2)
    assert entries(storm) == [(hash, 0, "01")]
    storm.world.wait(storm.world.restart("op2"))
    storm.world.advance(180)
    assert [values(each) for each in both(storm)] == [[1, 2], [1, 2]]
    storm.world.end()
