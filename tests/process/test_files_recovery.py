"""A database that is lost, or an older copy put back: the other one and the archive mend it (hard-parts.md 2.3)."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import files_laws
import pytest
from files_load import THRESHOLDS, check, drop, flush, member_of, normal, start, wait_until_at_rest
from member import Member

ROWS = 5


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Member]:
    made = Member(tmp_path / "home", commands=(THRESHOLDS,))
    made.start()
    try:
        yield made
    finally:
        made.remove()


def rows_of(name: str) -> list[dict[str, object]]:
    return [{"name": f"{name}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n in range(ROWS)]


def put(node: Member, name: str, **headers: str) -> str:
    """Give five readings; the hash in the reply."""
    status, said = node.request("PUT", "/", json.dumps(rows_of(name)), dbms="town", **headers)
    assert status == 200, said
    return str(json.loads(said)["AnyLog.hash"])


def fill(node: Member, part: str) -> set[str]:
    """Files by every way, until they are filed; the names of their readings."""
    given = []
    for number in range(4):
        table = f"t{number % 2}"
        put(node, f"{part}put{number}", table=table)
        put(node, f"{part}stream{number}", table=table, mode="streaming")
        drop(node, f"town.{table}.{part}{number}", rows_of(f"{part}watch{number}"), packed=number == 3)
        given += [f"{part}{way}{number}" for way in ("put", "stream", "watch")]
    flush(node)
    wait_until_at_rest(node)
    return {f"{name}-{n}" for name in given for n in range(ROWS)}


def lost(node: Member, name: str) -> None:
    """A database as if it had never been."""
    for path in node.folder("dbms").glob(f"{name}.dbms*"):
        path.unlink()


def copied(node: Member, name: str, copy: Path) -> None:
    """A copy of a database; the node does not run."""
    copy.mkdir(exist_ok=True)
    for path in node.folder("dbms").glob(f"{name}.dbms*"):
        shutil.copy2(path, copy)


def put_back(node: Member, name: str, copy: Path) -> None:
    """The copy instead of what is there."""
    lost(node, name)
    for path in copy.iterdir():
        shutil.copy2(path, node.folder("dbms"))


def end(node: Member, how: str) -> None:
    if how == "killed":
        node.kill()
    else:
        assert node.stop() == -15


def known(node: Member) -> dict[tuple[str, int], tuple[str, str, str, int]]:
    """Entries of files that hold rows."""
    return {
        (entry.into, entry.id): (entry.hash, entry.table, entry.date, entry.rows)
        for entry in files_laws.read(node.home).entries
        if entry.rows
    }


HOW = ["stopped", pytest.param("killed", marks=pytest.mark.long)]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("what", ["lost", "older"])
@pytest.mark.parametrize("name", ["almgm", "town"])
def test_a_database_is_lost_or_older(node: Member, tmp_path: Path, name: str, what: str, how: str) -> None:
    """Nothing is lost or doubled, entries keep their ids and hashes, and no id comes again."""
    ids: dict[tuple[str, int], str] = {}
    given = fill(node, "a")
    if what == "older":
        end(node, how)
        copied(node, name, tmp_path / "copy")
        start(node)
        given |= fill(node, "b")
    check(node, ids=ids)
    before = known(node)
    assert len(before) >= 10
    end(node, how)
    if what == "older":
        put_back(node, name, tmp_path / "copy")
    else:
        lost(node, name)
    start(node)
    given |= fill(node, "c")
    found = check_all(node, given, ids)
    assert found == given
    after = known(node)
    assert {key: after.get(key) for key in before} == before
    new = [id for into, id in after if into == "tsd_info" and (into, id) not in before]
    assert new
    assert min(new) > max(id for _, id in before), "an id came again"


def check_all(node: Member, given: set[str], ids: dict[tuple[str, int], str]) -> set[str]:
    """The laws, once all that was given is there; the readings found."""
    until = time.monotonic() + 60
    while not given <= set(files_laws.names(node.home)) and time.monotonic() < until:
        time.sleep(0.05)
    missing = given - set(files_laws.names(node.home))
    assert not missing, f"{len(missing)} of {len(given)} readings are missing, such as {sorted(missing)[:3]}"
    return set(check(node, ids=ids))


def test_both_older(node: Member, tmp_path: Path) -> None:
    """Both databases from yesterday: what came since is in the archive alone, and what is there still agrees."""
    given = fill(node, "a")
    end(node, "stopped")
    copied(node, "almgm", tmp_path / "almgm")
    copied(node, "town", tmp_path / "town")
    start(node)
    fill(node, "b")
    end(node, "stopped")
    put_back(node, "almgm", tmp_path / "almgm")
    put_back(node, "town", tmp_path / "town")
    start(node)
    later = fill(node, "c")
    found = files_laws.names(node.home)
    assert given | later <= set(found)
    assert max(found.values()) == 1
    # Ids that the archive has seen must not name other files: its names and those of the entries would meet.
    seen: dict[tuple[str, str], set[str]] = {}
    for path in files_laws.read(node.home).files["archive"]:
        parts = path.name.split(".")
        seen.setdefault((parts[5], parts[6]), set()).add(parts[3])
    assert {key: hashes for key, hashes in seen.items() if len(hashes) > 1} == {}


def test_what_is_dropped_stays_dropped(node: Member) -> None:
    """Marks without rows mean dropped on purpose: no start brings them back (I-9)."""
    fill(node, "a")
    node.command("drop table t0 where dbms = town", "POST")
    left = files_laws.names(node.home)
    assert 0 < len(left) < 12 * ROWS
    end(node, "stopped")
    start(node)
    fill(node, "b")
    assert {name for name in files_laws.names(node.home) if name.startswith("a")} == set(left)


def test_files_found_at_start(node: Member) -> None:
    """What a crash may leave in the watch directory is finished: not loaded again, not left (operator-ha.md 3.4)."""
    given = fill(node, "a")
    before = known(node)
    end(node, "stopped")
    archived = files_laws.read(node.home).files["archive"]
    for path in archived[:2]:  # killed between the archive and S9
        (node.watch / path.name.removesuffix(".gz")).write_bytes(files_laws.unpacked(path))
    moved = archived[2]  # killed after S7, before the archive
    (node.watch / moved.name.removesuffix(".gz")).write_bytes(files_laws.unpacked(moved))
    moved.unlink()
    (node.watch / "town.t0.half.json.tmp").write_bytes(b'{"name": "no')
    (node.watch / "town.t0.half.json.uzp").write_bytes(b'{"name": "no')
    (node.watch / ".town.t0.hidden.json.draft").write_bytes(b'{"name": "no')
    packed = node.watch / "town.t0.both.json"  # killed between unpacking and removing the packed one
    packed.write_bytes(normal(rows_of("both")))
    drop(node, "town.t0.both", rows_of("both"), packed=True)
    start(node)
    given |= {f"both-{n}" for n in range(ROWS)}
    wait_until_at_rest(node)
    errors = {name: code for name, code in files_laws.errors(node.home).items() if code != files_laws.DUPLICATE}
    assert errors == {}
    found = check_all(node, given, {})
    assert found == given
    assert {key: known(node).get(key) for key in before} == before
    assert moved.exists()


def test_full_names_after_almgm_was_lost(node: Member) -> None:
    """Own files under their full names, neither registered nor marked, are loaded with the ids of their names."""
    given = fill(node, "a")
    before = known(node)
    member = member_of(node)
    end(node, "stopped")
    for path in files_laws.read(node.home).files["archive"]:
        (node.watch / path.name.removesuffix(".gz")).write_bytes(files_laws.unpacked(path))
        path.unlink()
    lost(node, "almgm")
    lost(node, "town")
    start(node)
    assert member_of(node) == member
    found = check_all(node, given, {})
    assert found == given
    assert known(node) == before
