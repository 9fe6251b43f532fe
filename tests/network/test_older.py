"""Both databases of a member are put back to an older moment: what its archive has that they do not is not lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_lasting import ALMGM, TOWN, begin, calm, put, quiet, values

from anylog.mapping.body import content_hash, normal_form
from anylog.testing import laws
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
