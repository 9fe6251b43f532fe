"""Both databases of a member are put back to an older moment: what its archive has that they do not is not lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_lasting import ALMGM, TOWN, begin, calm, put, quiet, values

from anylog.databases.tsd import Wanted
from anylog.interfaces import Forget
from anylog.mapping.body import content_hash, normal_form
from anylog.processes import unlisted
from anylog.testing import laws
from anylog.testing.disk import MemoryDisk
from anylog.testing.storm import Storm

Copies = dict[Path, dict[str, bytes]]


def copied(storm: Storm) -> Copies:
    """Both databases as they are."""
    return {path: storm._files("op1").copy(path) for path in (TOWN, ALMGM)}


def end(storm: Storm, copies: Copies) -> None:
    """The first operator crashes, and gets these."""
    storm.world.crash("op1", power=False)
    for path, copy in copies.items():
        storm._files("op1").put_back(path, copy)


def sound(held: laws.Holding) -> bool:
    """Whether the laws of one member hold."""
    return not [*laws.loaded_once(held), *laws.archived(held), *laws.in_one_place(held), *laws.summed(held)]


def facts(held: laws.Holding) -> list[tuple[int, str, int]]:
    """Its own files."""
    return [(each.id, each.hash, each.rows) for each in held.entries["tsd_info"]]


def test_what_the_archive_has() -> None:
    """Files that came after the copy have no entry and no rows: they are registered under their ids, and loaded, once,
    also with power cut at any moment of that."""
    moment = 0
    while True:
        moment += 23
        storm = calm(2)
        put(storm, "t0", [1], True)
        quiet(storm)
        copies = copied(storm)
        put(storm, "t0", [2, 3], True)
        put(storm, "t0", [4], False)
        put(storm, "t1", [5, 6], False)
        before = quiet(storm)
        assert values(before) == [1, 2, 3, 4, 5, 6]
        end(storm, copies)
        storm.world.crash_after("op1", moment)
        crashed = begin(storm) is None
        if crashed:
            assert begin(storm) is not None
        storm.world.places["op1"].moments = 0
        held = quiet(storm)
        assert values(held) == [1, 2, 3, 4, 5, 6], moment
        assert facts(held) == facts(before), moment
        assert sound(held), moment
        put(storm, "t1", [7], True)
        held = quiet(storm)
        assert held.entries["tsd_info"][-1].id > before.entries["tsd_info"][-1].id
        storm.world.end()
        if not crashed:
            break
    assert moment > 100


@pytest.mark.parametrize("folder", ["watch_dir", "err_dir"])
def test_ids_of_files_that_are_not_loaded(folder: str) -> None:
    """A file had its id, and both databases are put back to before that: it is not given to another content, whether
    the file waits in the watch directory still or is in that of errors."""
    storm = calm(2)
    put(storm, "t0", [1], True)
    held = quiet(storm)
    copies = copied(storm)
    put(storm, "t0", [3], False)  # in the journal still: registered before anybody looks into the watch directory
    end(storm, copies)
    (last,) = held.entries["tsd_info"]
    rows = [{"v": 2}]
    hash = content_hash("town", "t0", normal_form(rows))
    name = f"town.t0.s.{hash}.0.{held.member}.{last.id + 1}.270115080001"
    name += ".json" if folder == "watch_dir" else ".err_27.1800000001.json"
    path, at = held.places.folder(folder) / name, int(storm.world.clock.seconds() * 1e9)
    storm.world.places["op1"].disk.put(path, normal_form(rows), changed=at)
    assert begin(storm) is not None
    held = quiet(storm)
    assert values(held) == ([1, 2, 3] if folder == "watch_dir" else [1, 3])
    (entry,) = [each for each in held.entries["tsd_info"] if each.hash not in (last.hash, hash)]
    assert entry.id > last.id + 1
    storm.world.end()


def lost(storm: Storm, *paths: Path) -> None:
    """The first operator crashes, and lacks these."""
    storm.world.crash("op1", power=False)
    for path in paths:
        storm._files("op1").remove(path)


def archived(storm: Storm, held: laws.Holding, member: int, id: int, data: bytes, end: str = ".json") -> Path:
    """A file of the archive, and nothing else of it."""
    hash = content_hash("town", "t0", data)
    path = held.places.folder("archive_dir") / f"27/01/15/town.t0.s.{hash}.0.{member}.{id}.270115080001{end}"
    storm.world.places["op1"].disk.put(path, data)
    return path


@pytest.mark.parametrize("databases", [(ALMGM,), (ALMGM, TOWN)])
def test_tables_of_files_that_are_gone(databases: tuple[Path, ...]) -> None:
    """All is registered under the ids that it had, by its marks or by the names of its files."""
    storm = calm(2)
    put(storm, "t0", [1, 2], True)
    put(storm, "t1", [3], False)
    before = quiet(storm)
    lost(storm, *databases)
    assert begin(storm) is not None
    held = quiet(storm)
    assert values(held) == [1, 2, 3] and sound(held)
    assert facts(held) == facts(before)
    storm.world.end()


def test_what_was_dropped() -> None:
    """A table that was dropped stays away, as its files have entries or marks, whichever database is put back to a
    moment after that; and so do days of the archive that were deleted."""
    for almgm in ("older", "lost"):
        storm = calm(2)
        put(storm, "t0", [1], True)
        quiet(storm)
        storm.world.run(storm.world.nodes["op1"], "drop table t0 where dbms = town")
        copies = copied(storm)
        put(storm, "t1", [2], True)
        put(storm, "t2", [3], False)
        held = quiet(storm)
        (path,) = [Path(each) for each in held.files["archive_dir"] if ".t2." in each]
        storm.world.places["op1"].disk.batch([Forget(path)])
        if almgm == "older":
            end(storm, copies)
        else:
            lost(storm, ALMGM)
        assert begin(storm) is not None
        held = quiet(storm)
        assert values(held) == ([2] if almgm == "older" else [2, 3])
        storm.world.end()


def test_files_of_others_and_odd_ones() -> None:
    """A file of another member is registered as that one's; one that is damaged goes to the error directory; what has
    no full name, or is of no time, is left alone, as is what is older than the loss."""
    storm = calm(2)
    put(storm, "t0", [1], True)
    put(storm, "t0", [2], True)
    held = quiet(storm)
    copies, (first, last) = copied(storm), held.entries["tsd_info"]
    rows = {number: normal_form([{"v": number}]) for number in range(3, 10)}
    archived(storm, held, held.member, last.id + 1, rows[3])
    archived(storm, held, 99, 7, rows[4])
    damaged = archived(storm, held, held.member, last.id + 2, rows[5])
    storm.world.places["op1"].disk.put(damaged, b"{")
    left = [
        archived(storm, held, held.member, last.id + 3, rows[6], ".sql"),
        archived(storm, held, 300, 8, rows[7]),
        archived(storm, held, held.member, first.id - 1, rows[8]) if first.id > 1 else None,
    ]
    end(storm, copies)
    assert begin(storm) is not None
    held = quiet(storm)
    assert values(held) == [1, 2, 3, 4]
    assert [(each.id, each.rows) for each in held.entries["tsd_99"]] == [(7, 1)]
    assert [Path(each).name.partition(".err_")[0] for each in held.files["err_dir"]] == [damaged.stem]
    assert all(str(each) in held.files["archive_dir"] for each in left if each is not None)
    storm.world.end()


def test_content_that_waits_under_another_id() -> None:
    """The copy says that a content is to come under one id, and the archive has it under another: once it is clear
    that nobody comes with it, it is loaded."""
    storm = calm(2)
    put(storm, "t0", [1], True)
    held = quiet(storm)
    (last,) = held.entries["tsd_info"]
    data = normal_form([{"v": 2}])
    wanted = Wanted(dbms="town", table="t0", source="s", hash=content_hash("town", "t0", data), instructions="0")
    tsd = storm.world.nodes["op1"].membership.tsd()
    assert tsd is not None
    storm.world.wait(tsd.register([wanted]))
    copies = copied(storm)
    archived(storm, held, held.member, last.id + 5, data)
    end(storm, copies)
    assert begin(storm) is not None
    assert values(storm.holding("op1")) == [1]
    held = quiet(storm)
    assert values(held) == [1, 2] and sound(held)
    assert held.entries["tsd_info"][-1].id == last.id + 5
    storm.world.end()


def test_the_archive_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a loss; and at no other start."""
    asked, read = unlisted.days_in, []

    def days(disk: MemoryDisk, root: Path) -> Iterator[str]:
        read.append(root)
        return asked(disk, root)

    monkeypatch.setattr(unlisted, "days_in", days)
    storm = calm(2)
    put(storm, "t0", [1], True)
    quiet(storm)
    copies = copied(storm)
    put(storm, "t0", [2], True)
    quiet(storm)
    storm.world.crash("op1", power=True)
    assert begin(storm) is not None
    before = len(read)
    end(storm, copies)
    for _ in range(3):
        assert begin(storm) is not None
        assert values(quiet(storm)) == [1, 2]
        storm.world.crash("op1", power=True)
    assert (before, len(read)) == (0, 1)
    storm.world.end()
