"""A real node among the files of its cluster, whose other members are policies only: doubles, conflicts, poison, kills,
and databases that are lost (operator-ha.md 9 and 14: I-4, I-5, I-7, I-10, I-16)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import files_laws
import pytest
from files_load import THRESHOLDS, drop, killed, normal, start, told_by, wait_until_at_rest
from member import COMPANY, Member

DATE = "261121100000"


def others() -> list[str]:
    """Two more operators of the cluster; a start that finds them in the ledger is refused, and goes on."""
    steps = []
    for number in (1, 2):
        steps += [
            f'new_policy = create policy operator where name = other{number} and company = "{COMPANY}"'
            f" and cluster = !cluster_id and ip = 127.0.0.1 and port = {number}",
            "blockchain insert where policy = !new_policy and local = true and master = !master",
        ]
    return steps


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Member]:
    made = Member(tmp_path / "home", commands=(THRESHOLDS,))
    made._more = (f"master = 127.0.0.1:{made.tcp}", *others(), THRESHOLDS)
    made.commands = (f"process {made._script()}",)
    made.start()
    try:
        yield made
    finally:
        made.remove()


def members(node: Member) -> tuple[int, int, int]:
    """Own id, and those of the others."""
    until = time.monotonic() + 60
    while True:
        policies = [each["operator"] for each in json.loads(node.command("blockchain get operator"))]
        found = {policy["name"]: policy for policy in policies}
        if len(found) == 3:
            own = next(each for name, each in found.items() if not name.startswith("other"))
            return int(own["member"]), int(found["other1"]["member"]), int(found["other2"]["member"])
        assert time.monotonic() < until, found
        time.sleep(0.1)


def rows_of(name: str) -> list[dict[str, Any]]:
    return [{"name": f"{name}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n in range(3)]


def full(rows: list[dict[str, Any]], member: int, id: int, table: str = "t") -> str:
    hash = hashlib.md5(f"town.{table}".encode() + normal(rows), usedforsecurity=False).hexdigest()
    return f"town.{table}.0.{hash}.0.{member}.{id}.{DATE}"


def give(node: Member, letter: str, member: int, id: int) -> None:
    drop(node, full(rows_of(letter), member, id), rows_of(letter), packed=id % 2 == 1)


def states(node: Member) -> dict[tuple[str, int], tuple[int, str]]:
    return {(e.into, e.id): (e.rows, e.status1) for e in files_laws.read(node.home).entries}


def check(node: Member, member: int, letters: str, ids: dict[tuple[str, int], str] | None = None) -> None:
    """All laws; each reading of these contents is there once."""
    wait_until_at_rest(node)
    given = {f"{letter}-{n}" for letter in letters for n in range(3)}
    until = time.monotonic() + 60
    while set(files_laws.names(node.home)) != given and time.monotonic() < until:
        time.sleep(0.05)
    wait_until_at_rest(node)
    told = files_laws.broken(node.home, member, acknowledged=given, sent=given, ids=ids)
    assert not told, "\n".join(told[:12]) + f"\n{told_by(node)}"


def test_doubles_conflicts_and_poison(node: Member) -> None:
    """Each content once; doubles recorded and archived; a conflict and poison put aside, told, and tried again."""
    own, second, third = members(node)
    ids: dict[tuple[str, int], str] = {}
    for letter, member, id in (("a", second, 1), ("a", third, 2), ("b", third, 3), ("c", own, 900)):
        give(node, letter, member, id)
    check(node, own, "abc", ids)
    found = states(node)
    assert sorted([found[f"tsd_{second}", 1], found[f"tsd_{third}", 2]]) == [(0, "02"), (3, "")]
    assert found["tsd_info", 900] == (3, "")
    for letter, member, id in (("a", second, 1), ("a", third, 2), ("d", third, 3), ("e", second, 5)):
        give(node, letter, member, id)  # repeats, a conflict, and one behind it
    drop(node, "town.t.own", rows_of("b"))
    check(node, own, "abce", ids)
    codes = files_laws.errors(node.home)
    assert sorted(codes.values()) == ["86", "86"]
    poison = full(rows_of("f"), second, 6)
    for _ in range(2):
        drop(node, poison, b'{"name": ')
        wait_until_at_rest(node)
    until = time.monotonic() + 60
    while states(node).get((f"tsd_{second}", 6)) != (0, "03"):
        assert time.monotonic() < until, states(node)
        time.sleep(0.05)
    (path,) = (node.folder("error")).glob("*.err_6.*")
    path.write_bytes(normal(rows_of("f")))
    assert "Files: 1" in node.command("file retry all", "POST").decode()
    check(node, own, "abcef", ids)
    assert states(node)[f"tsd_{second}", 6] == (3, "")


OFTEN, SELDOM = ("registered", "counted"), ("read", "renamed", "inserted", "loaded", "published", "removed")


@pytest.mark.parametrize("point", [*OFTEN, *(pytest.param(point, marks=pytest.mark.long) for point in SELDOM)])
def test_killed(node: Member, point: str) -> None:
    """Ended at each step of their way, twice: two of one content, and one of another."""
    own, second, third = members(node)
    node.kill()
    give(node, "a", second, 1)
    give(node, "a", third, 2)
    give(node, "b", third, 4)
    for times in (1, 2):
        start(node, f"{point}:{times}")
        assert node.process is not None
        try:
            node.process.wait(3)
        except Exception:  # too few are left for that many passes
            node.kill()
    start(node)
    check(node, own, "ab")
    found = states(node)
    assert sorted([found[f"tsd_{second}", 1], found[f"tsd_{third}", 2]]) == [(0, "02"), (3, "")]
    assert files_laws.errors(node.home) == {}


@pytest.mark.parametrize("name", ["almgm", "town"])
def test_a_database_is_lost(node: Member, name: str) -> None:
    """What is loaded is registered again, or loaded again from the archive, for all members."""
    own, second, third = members(node)
    ids: dict[tuple[str, int], str] = {}
    given = (("a", second, 1), ("a", third, 2), ("b", third, 3), ("c", own, 900))
    for each in given:
        give(node, *each)
    check(node, own, "abc", ids)
    before = states(node)
    node.kill()
    for path in node.folder("dbms").glob(f"{name}.dbms*"):
        path.unlink()
    start(node)
    until = time.monotonic() + 60
    while {key for key, (rows, _) in before.items() if rows} - states(node).keys():
        assert time.monotonic() < until, told_by(node)
        time.sleep(0.1)
    if name == "almgm":  # doubles are known by nobody here: they come again
        for each in given:
            give(node, *each)
        wait_until_at_rest(node)
    check(node, own, "abc", ids)
    assert states(node) == before


def test_killed_while_registering(node: Member) -> None:
    """A named moment that surely passes: nothing of it is lost."""
    own, second, _ = members(node)
    node.kill()
    give(node, "a", second, 1)
    killed(node, "registered")
    start(node)
    check(node, own, "a")
