"""One content, one copy; and a file that fails takes no other with it (operator-ha.md 9, I-15, I-16)."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator

import files_laws
import pytest
from files_load import THRESHOLDS, check, drop, flush, normal, start, wait_until_at_rest
from member import Member


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    made = Member(tmp_path_factory.mktemp("once") / "home", commands=(THRESHOLDS,))
    made.start()
    try:
        yield made
    finally:
        made.remove()


def rows_of(name: str, count: int = 3) -> list[dict[str, object]]:
    return [{"name": f"{name}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n in range(count)]


def put(node: Member, rows: object, table: str, **headers: str) -> tuple[int, dict[str, str]]:
    status, said = node.request("PUT", "/", json.dumps(rows), dbms="town", table=table, **headers)
    return status, json.loads(said)


def entries(node: Member, table: str) -> list[files_laws.Entry]:
    return [entry for entry in files_laws.read(node.home).entries if entry.table == table]


def until_filed(node: Member, table: str, files: int) -> None:
    """Until so many files of a table hold rows and nothing is left to do."""
    until = time.monotonic() + 60
    while len([entry for entry in entries(node, table) if entry.rows]) < files:
        assert time.monotonic() < until, f"no {files} files of {table} are registered: {entries(node, table)}"
        time.sleep(0.05)
    wait_until_at_rest(node)


def test_twenty_identical_puts(node: Member) -> None:
    """Twenty at once: each is told the same success, the rows are there once (I-15)."""
    replies: list[tuple[int, dict[str, str]]] = []
    barrier = threading.Barrier(20)

    def send() -> None:
        barrier.wait()
        replies.append(put(node, rows_of("same"), "twenty"))

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(replies) == 20
    assert {status for status, _ in replies} == {200}
    assert len({said["AnyLog.hash"] for _, said in replies}) == 1
    until_filed(node, "twenty", 1)
    check(node)
    (entry,) = entries(node, "twenty")
    assert (entry.hash, entry.rows) == (replies[0][1]["AnyLog.hash"], 3)


def test_the_same_after_a_start(node: Member) -> None:
    """A repeat long after is still one, also behind a new start."""
    status, first = put(node, rows_of("again"), "again")
    assert status == 200
    until_filed(node, "again", 1)
    node.kill()
    start(node)
    status, second = put(node, rows_of("again"), "again")
    assert (status, second["AnyLog.hash"]) == (200, first["AnyLog.hash"])
    drop(node, "town.again.dropped", rows_of("again"))
    wait_until_at_rest(node)
    check(node)
    assert len([entry for entry in entries(node, "again") if entry.rows]) == 1


def test_the_same_by_every_door(node: Member) -> None:
    """Files of one content under many names, packed and not, beside PUTs of it: one holds the rows."""
    rows = rows_of("door")
    for number in range(6):
        drop(node, f"town.door.d{number}", rows, packed=number % 2 == 1)
        assert put(node, rows, "door")[0] == 200
    until_filed(node, "door", 1)
    check(node)
    assert len([entry for entry in entries(node, "door") if entry.rows]) == 1
    codes = {name: code for name, code in files_laws.errors(node.home).items() if name.startswith("town.door.")}
    assert set(codes.values()) <= {files_laws.DUPLICATE}
    assert len(codes) >= 5  # of six names at most one was the one to be loaded


def test_the_same_rows_elsewhere_are_others(node: Member) -> None:
    """Another table is another content; equal streamed readings are as many readings."""
    for table in ("one", "other"):
        assert put(node, rows_of(f"in-{table}"), table)[0] == 200
    for _ in range(2):
        assert put(node, [{"k": 1}], "equal", mode="streaming")[0] == 200
        flush(node)
        wait_until_at_rest(node)
    until_filed(node, "equal", 2)
    assert len({entry.hash for entry in entries(node, "equal")}) == 2
    assert node.rows_in("equal") == 2
    check(node)


def test_a_file_that_fails_takes_no_other_with_it(node: Member) -> None:
    """Good files are loaded, every bad one is in the error directory with its code, none disappears (I-16)."""
    bad = {
        "onlyone": "119",  # no table
        "town.bad.0.0.0.7.3": "119",  # seven segments
        "town.bad.broken": "6",
        "town.bad.empty": "6",
        "village.bad.0": "10",  # not connected
        "town.bad.0.00000000000000000000000000000001.0.0.1.261120154927": "131",  # of a stranger: members count from 1
    }
    contents: dict[str, bytes] = {"town.bad.broken": b'{"name": "x"', "town.bad.empty": b""}
    good = set()
    for number, name in enumerate(bad):
        drop(node, name, contents[name] if name in contents else rows_of(f"bad{number}"))
        drop(node, f"town.good.g{number}", rows_of(f"good{number}"))
        good |= {f"good{number}-{n}" for n in range(3)}
    (node.watch / "town.bad.notzip.json.gz").write_bytes(gzip.compress(normal(rows_of("zip")))[:-9])
    until_filed(node, "good", len(bad))
    assert {name for name in files_laws.names(node.home) if name.startswith(("good", "bad"))} == good
    found = files_laws.errors(node.home)
    assert {name: found.get(name) for name in bad} == bad
    assert any(name.startswith("town.bad.notzip") for name in found)
    check(node)


def test_what_is_no_file_of_readings_is_left_alone(node: Member) -> None:
    """Other types, folders, links and hidden files stay where they are and hold nothing up."""
    others = [node.watch / "notes.txt", node.watch / "town.odd.tmpfile_tmp", node.watch / ".town.odd.json"]
    for path in others:
        path.write_text("{}")
    folder = node.watch / "town.odd.folder.json"
    folder.mkdir()
    link = node.watch / "town.odd.link.json"
    link.symlink_to(others[0])
    try:
        drop(node, "town.plain.p", rows_of("plain"))
        until_filed(node, "plain", 1)
        assert folder.is_dir()
        assert link.is_symlink()
        assert all(path.exists() for path in others)
    finally:
        link.unlink()
        folder.rmdir()
        for path in others:
            path.unlink(missing_ok=True)


def test_a_file_that_still_grows_is_not_taken(node: Member) -> None:
    """Whoever writes in place, slowly, has its whole file loaded, once, when it is finished."""
    path = node.watch / "town.slow.s.json"
    with path.open("wb") as out:
        for number in range(8):
            out.write(normal(rows_of(f"slow{number}", 1)))
            out.flush()
            time.sleep(0.25)
            assert path.exists(), "it was taken while it grew"
    until_filed(node, "slow", 1)
    check(node)
    (entry,) = entries(node, "slow")
    assert entry.rows == 8
