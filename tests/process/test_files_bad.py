"""Bad files, and trouble around good ones: nothing is lost or doubled, and others go on (operator-ha.md 3)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import files_laws
import pytest
from files_load import THRESHOLDS, check, drop, start, wait_until_at_rest
from member import Member


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    made = Member(tmp_path_factory.mktemp("bad") / "home", commands=(THRESHOLDS,))
    start(made)
    try:
        yield made
    finally:
        made.remove()


def rows_of(name: str, count: int = 3) -> list[dict[str, object]]:
    return [{"name": f"{name}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n in range(count)]


def until_there(node: Member, *names: str) -> None:
    """Until the first reading of each is in its table."""
    wanted, until = {f"{name}-0" for name in names}, time.monotonic() + 60
    while missing := wanted - set(files_laws.names(node.home)):
        assert time.monotonic() < until, f"{missing} did not arrive"
        time.sleep(0.05)


def test_names_as_long_as_a_file_system_takes_them(node: Member) -> None:
    """Registered they would be too long: their source is cut; and so is the name of a policy, which nobody has."""
    drop(node, f"town.long.{'s' * 240}", rows_of("source"))
    drop(node, f"town.long.0.0.{'i' * 235}", rows_of("instructions"))
    drop(node, f"town.long.{'ü' * 118}", rows_of("unicode"))
    drop(node, f"town.long.{'f' * 218}.0.0.1.7.261120154927", rows_of("full"))
    until_there(node, "source", "unicode")
    check(node)
    errors = files_laws.errors(node.home)
    assert {code for name, code in errors.items() if name.startswith("town.long.f")} == {"119"}
    assert {code for name, code in errors.items() if ".ii" in name} == {"27"}


def test_member_0_is_in_no_cluster(node: Member) -> None:
    drop(node, "town.nobody.0.0.0.0.7.261120154927", rows_of("nobody"))
    drop(node, "town.somebody.s", rows_of("somebody"))
    until_there(node, "somebody")
    wait_until_at_rest(node)
    assert files_laws.errors(node.home)["town.nobody.0.0.0.0.7.261120154927"] == "131"


def put(node: Member, name: str, **headers: str) -> None:
    """Readings of that name, sent by PUT and acknowledged."""
    status, said = node.request("PUT", "/", json.dumps(rows_of(name)), dbms="town", table="t", **headers)
    assert status == 200, said


def send(node: Member, name: str) -> list[str]:
    """One file by each way in; gives the names of their readings."""
    put(node, f"{name}put")
    put(node, f"{name}stream", mode="streaming")
    drop(node, f"town.t.{name}", rows_of(f"{name}file"))
    return [f"{name}put", f"{name}stream", f"{name}file"]


def test_tables_of_files_made_anew_while_it_runs(node: Member) -> None:
    """What was registered before is registered again under its id, and what waited goes on by itself."""
    sent = send(node, "before")
    until_there(node, *sent)
    check(node)
    node.command("drop table tsd_info where dbms = almgm", "POST")
    waiting = send(node, "dropped")
    node.command("create table tsd_info where dbms = almgm", "POST")
    until_there(node, *waiting, *send(node, "made"))
    put(node, "beforeput")  # a repeat of what nothing but the readings' database knows
    until_all_are_told(node)
    check(node)


def test_an_empty_almgm_in_place_of_the_other_while_it_runs(node: Member) -> None:
    """Ids that were given are not given again, or files would be taken for others and be lost."""
    sent = send(node, "kept")
    until_there(node, *sent)
    check(node)
    node.command("disconnect dbms almgm", "POST")
    for path in node.folder("dbms").glob("almgm.dbms*"):
        path.unlink()
    waiting = send(node, "away")
    node.command("connect dbms almgm where type = sqlite", "POST")
    node.command("create table tsd_info where dbms = almgm", "POST")
    until_there(node, *waiting, *send(node, "back"))
    until_all_are_told(node)
    check(node)


def test_a_file_of_the_same_name_while_the_first_waits(node: Member) -> None:
    """Whoever sends each file under one name loses none of them, however long the first is in work."""
    node.command("disconnect dbms almgm", "POST")
    drop(node, "town.same", rows_of("first"))
    until = time.monotonic() + 60
    while b'"Inwork":1,' not in node.command("get watch where format = json").replace(b" ", b""):
        assert time.monotonic() < until
        time.sleep(0.05)
    drop(node, "town.same", rows_of("second", 4))
    node.command("connect dbms almgm where type = sqlite", "POST")
    until_there(node, "first", "second")
    check(node)


def until_all_are_told(node: Member) -> None:
    """Until every file that the readings' database holds is registered again."""
    until = time.monotonic() + 60
    while True:
        home = files_laws.read(node.home)
        if {mark.id for mark in home.marks["town"] if mark.rows} == {entry.id for entry in home.entries if entry.rows}:
            return
        assert time.monotonic() < until, "not all files are registered again"
        time.sleep(0.05)


def test_an_operator_that_ends_and_begins_with_files_in_work(node: Member) -> None:
    """Files that it had taken are loaded once; those behind them stay where they are until it runs again."""
    names = [f"work{number}" for number in range(120)]
    for number, name in enumerate(names):
        drop(node, f"town.w{number % 4}.{name}", rows_of(name))
    until_there(node, names[0])
    node.command("exit operator", "POST")
    drop(node, "town.w0.later", rows_of("later"))
    run_operator(node)
    until_there(node, *names, "later")
    check(node)


def run_operator(node: Member) -> None:
    """With the options of this node."""
    script = node.home.parent / "operator.al"
    steps = node._steps()
    script.write_text("\n".join(steps[next(n for n, step in enumerate(steps) if step.startswith("<run operator")) :]))
    node.command(f"process {script}", "POST")


def test_a_day_of_the_archive_that_cannot_be_written_to(node: Member) -> None:
    """Rows are in their tables meanwhile, files that fail are put aside, and nothing is loaded twice afterwards."""
    until_there(node, *send(node, "early"))
    check(node)
    (day,) = node.folder("archive").glob("*/*/*")
    kept = day.rename(day.with_name("kept"))
    day.write_text("in the way")
    try:
        until_there(node, *send(node, "blocked"))
        drop(node, "town.t.half", b'{"name":"half"}\n{"na')
        until = time.monotonic() + 60
        while "town.t.half" not in files_laws.errors(node.home):
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        day.unlink()
        kept.rename(day)
    check(node)
