"""Files that every member can read, and that are loaded again as what their names say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_lasting import TOWN, begin, calm, put, quiet
from test_publisher import Fleet
from test_pull import CONSUMER, Copies

from anylog.disk import archive
from anylog.disk.archive import gunzip
from anylog.disk.batch import packed
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.mapping.body import MOST_OBJECTS, content_hash
from anylog.node import Node
from anylog.processes import forms
from anylog.testing.disk import MemoryDisk

WATCH = Path("/op1/AnyLog-Network/data/watch")
ARCHIVE = Path("/op1/AnyLog-Network/data/archive")
LINE = b'{"v":[' + b",".join([b"1E9"] * 50_000) + b"]}\n"  # its normal form has three times as many bytes
BRACES = b'{"v":"' + b"\\u007b" * (MOST_OBJECTS // 2) + b'"}\n'  # of these two are more than a body may have


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies()
    yield made
    made.world.stop()


def refusal(made: Copies | Fleet, node: Node, body: bytes, *, whole: bool) -> AnyLogError:
    """Of a content that would be too large as a file."""
    rows = [json.loads(line) for line in body.splitlines()]
    with pytest.raises(AnyLogError) as told:
        made.world.wait(node.intake.accept("town", "wide", body, rows, whole=whole), 60)
    return told.value


def test_a_content_that_grows_beyond_what_a_file_may_have(copies: Copies) -> None:
    """24 MB in a short spelling have 78 MB in their normal form: refused where they come, not loaded at one member."""
    first = copies.add(1)
    watch, errors = first.places.folder("watch_dir"), first.places.folder("error_dir")
    assert isinstance(first.disk, MemoryDisk)
    first.disk.put(watch / "town.wide.json", LINE * 120)
    copies.world.advance(10)
    second = copies.add(2)
    copies.world.advance(100)
    assert copies.entries(first) == copies.entries(second, f"tsd_{copies.member(first)}") == []
    assert [name.split(".")[:2] for name in first.disk.names(errors)] == [["town", "wide"]], first.disk.names(errors)
    for whole in (True, False):
        why = refusal(copies, first, LINE * 120, whole=whole)
        assert why.number == 501
        assert "78,000,960 bytes, a file may have 67,108,864" in str(why)


def test_streams_that_grow_beyond_what_a_file_may_have(copies: Copies) -> None:
    """Whatever their threshold says, they are cut before others could not read them."""
    first = copies.add(1)
    copies.world.run(first, "set buffer threshold where dbms_name = town and volume = 500MB and time = 10 minutes")
    for body, table in ((LINE * 60, "wide"), (BRACES, "braces")):
        rows = [json.loads(line) for line in body.splitlines()]
        for _ in range(2):
            copies.world.wait(first.intake.accept("town", table, body, rows, whole=False), 60)
    copies.world.begin(first, "flush buffers").addErrback(lambda _: None)
    copies.world.advance(20)
    second = copies.add(2)
    copies.world.advance(200)
    theirs = copies.entries(second, f"tsd_{copies.member(first)}")
    assert sorted((each.table, each.rows) for each in theirs) == [("braces", 1)] * 2 + [("wide", 60)] * 2


def test_braces_that_were_escaped(copies: Copies) -> None:
    """In the normal form they count, as whoever reads it counts them."""
    first = copies.add(1)
    why = refusal(copies, first, BRACES * 2, whole=True)
    assert "1,000,002 objects and lists" in str(why)
    first.disk.put(first.places.folder("watch_dir") / "town.wide.json", BRACES * 2)  # type: ignore[attr-defined]
    copies.put(first, "a")
    copies.world.advance(20)
    assert [each.table for each in copies.entries(first)] == ["t"]


def test_a_publisher_refuses_what_grows() -> None:
    """What it takes it can send."""
    fleet = Fleet(("a",))
    try:
        for whole in (True, False):
            assert refusal(fleet, fleet.publisher, BRACES * 2, whole=whole).number == 501
    finally:
        fleet.end()


@pytest.mark.parametrize("content", [LINE * 120, BRACES * 2])
def test_a_good_file_that_is_taken_for_a_damaged_one(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database of readings is lost: a file larger than those that are taken today is loaded from the archive again,
    and is not put aside as a damaged one."""
    storm = calm(2)
    with monkeypatch.context() as older:
        older.setattr(forms, "LARGEST", 1 << 30)
        older.setattr(forms, "MOST_OBJECTS", 1 << 30)
        storm.world.places["op1"].disk.put(WATCH / "town.t0.json", content)
        storm.world.advance(10)
    lines = content.count(b"\n")
    assert len(storm.holding("op1").rows["t0"]) == lines
    storm.world.crash("op1", power=False)
    storm._files("op1").remove(TOWN)
    assert begin(storm) is not None
    storm.world.advance(60)
    held = storm.holding("op1")
    storm.world.end()
    assert (len(held.rows.get("t0", ())), list(held.files["err_dir"])) == (lines, [])


def test_a_file_that_is_too_large_to_be_read_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no damaged one, and lies where it lay."""
    storm = calm(2)
    put(storm, "t0", [7] * 200, True)  # small as long as it is packed
    quiet(storm)
    storm.world.crash("op1", power=False)
    storm._files("op1").remove(TOWN)
    before = storm.world.places["op1"].disk.under(ARCHIVE)
    with monkeypatch.context() as small:
        small.setattr(archive, "ARCHIVED", 500)
        assert begin(storm) is not None
        storm.world.advance(20)
        held = storm.holding("op1")
        assert (held.rows.get("t0", []), list(held.files["err_dir"])) == ([], [])
        assert storm.world.places["op1"].disk.under(ARCHIVE) == before
    storm.world.crash("op1", power=False)
    assert begin(storm) is not None
    held = quiet(storm)
    storm.world.end()
    assert [row["v"] for row in held.rows["t0"]] == [7] * 200


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_loaded_again_is_what_its_hash_says(whole: bool) -> None:
    """The database of readings is lost, and a file of the archive has another content by now: that is not loaded under
    the hash of what it was, and the right one comes from another member."""
    storm = calm(4)
    assert len(storm.names) > 1
    put(storm, "t0", [1, 2], whole)
    quiet(storm)
    storm.world.advance(20)
    storm.world.crash("op1", power=False)
    disk = storm.world.places["op1"].disk
    (path,) = [each for each in disk.under(ARCHIVE) if ".t0." in each]
    data = disk.read(Path(path))
    rotten = (gunzip(data, 1 << 20) if path.endswith(".gz") else data).replace(b'"v":2', b'"v":3')
    disk.put(Path(path), packed(rotten) if path.endswith(".gz") else rotten)
    storm._files("op1").remove(TOWN)
    assert begin(storm) is not None
    storm.world.advance(120)
    held = storm.holding("op1")
    storm.world.end()
    assert sorted(row["v"] for row in held.rows.get("t0", ())) == [1, 2]
    assert [path.rpartition("/")[2].split(".")[1] for path in held.files["err_dir"]] == ["t0"]


def test_an_id_that_nobody_gives(copies: Copies) -> None:
    """A file with a name of this member and an id beyond all that are given is put into the watch directory: what all
    are thought to have does not go beyond what comes later."""
    first, second = copies.add(1, pulls=CONSUMER), copies.add(2)
    copies.put(first, "a")
    copies.until_equal(first, second, 90)
    own = copies.member(first)
    normal = b'{"name":"odd","value":1}\n'
    name = FileName(
        dbms="town", table="t", hash=content_hash("town", "t", normal), member=str(own), id=1 << 62, date="270115080000"
    )
    first.disk.put(first.places.folder("watch_dir") / str(name), normal)  # type: ignore[attr-defined]
    copies.until_equal(first, second, 150)
    copies.world.advance(150)
    copies.world.run(second, "set consumer mode = suspend")
    copies.put(first, "late")
    copies.world.advance(70)
    late = max(entry.id for entry in copies.entries(first) if entry.id < 1 << 62)
    known: set[Any] = {entry.id for entry in copies.entries(second, f"tsd_{own}")}
    agreed = first.copying.consensus()[own]
    assert late in known or agreed < late
