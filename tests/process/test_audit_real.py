"""Rows and archive files of a real node are changed by hand: that is found, named, and repaired (I-2, I-4, I-5)."""

from __future__ import annotations

import http.client
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import files_laws
import pytest
from files_load import THRESHOLDS, WAYS, check, drop, flush, sending, start, told_by, wait_until_at_rest
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


def fill(node: Member) -> None:
    """Three files of one table: put, streamed and dropped."""
    for way in ("put", "stream", "watch"):
        rows = [
            {"name": f"{way}-{n}", "timestamp": f"2026-11-21T10:00:0{n}Z", "value": n / 7, "on": n > 2}
            for n in range(ROWS)
        ]
        if way == "stream":
            rows[1]["value"] = "many"  # parked
            rows[2].pop("timestamp")
        if way == "watch":
            drop(node, "town.t.watch", rows)
            continue
        headers = {"mode": "streaming"} if way == "stream" else {}
        status, said = node.request("PUT", "/", json.dumps(rows), dbms="town", table="t", **headers)
        assert status == 200, said
        flush(node)
    wait_until_at_rest(node)
    assert node.registered("t") == (3, 3 * ROWS - 1)


def by_hand(node: Member, statement: str) -> None:
    """Beside the node, as an administrator with a tool might."""
    connection = sqlite3.connect(node.database("town"), timeout=20)
    try:
        connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def deep(node: Member) -> Any:
    return json.loads(node.command("test cluster data where deep = true and format = json"))


def repair(node: Member, more: str = "") -> Any:
    return json.loads(node.command(f"repair table t where dbms = town and format = json{more}", "POST"))


def content(node: Member) -> list[tuple[object, ...]]:
    return node.asked("town", 'select name, timestamp, value, "on", tsd_name, tsd_id from t order by name')


def test_rows_changed_by_hand(node: Member) -> None:
    """Whatever was done to rows, the table is that of the files again; a clean table is left alone."""
    fill(node)
    before = content(node)
    (day,) = deep(node)["Days"]
    assert day["Verdict"] == "+"
    clean = repair(node)
    assert (clean["Looked at"], clean["Loaded again"], clean["Left"]) == (3, [], [])
    for statement, files in [
        ("update t set value = value + 0.001 where name in ('put-3', 'stream-3', 'watch-3')", 3),
        ("update t set timestamp = null where name = 'put-1'", 1),
        ("delete from t where name = 'watch-4'", 1),
        ("insert into t (tsd_name, tsd_id, name) select tsd_name, tsd_id, 'more' from t where name = 'stream-0'", 1),
        ("update t set \"on\" = 7 where name = 'put-0'", 1),
    ]:
        by_hand(node, statement)
        report = repair(node)
        assert (len(report["Loaded again"]), report["Left"]) == (files, []), (statement, report)
        assert content(node) == before, statement
    by_hand(node, "delete from t where name = 'put-1'")
    (wrong,) = deep(node)["Files"]
    assert "4 of 5 rows" in wrong["Wrong"][0]
    repair(node)
    by_hand(node, "delete from t where name like 'put%'")
    report = repair(node)
    assert (report["Dropped"], report["Loaded again"]) == (1, [])
    assert len(repair(node, " and dropped = true")["Loaded again"]) == 1
    assert content(node) == before
    assert len(files_laws.parked(node.home)) == 1
    check(node, least=3 * ROWS - 1)


def test_killed_while_it_repairs(node: Member) -> None:
    """Between taking rows out and loading them again: the next start loads them from the archive."""
    fill(node)
    before = content(node)
    by_hand(node, "update t set value = 99 where name = 'watch-2'")
    assert node.stop() == -15
    start(node, "taken out:1")
    until = time.monotonic() + 60
    while node.process is not None and node.process.poll() is None:
        assert time.monotonic() < until, "it was not killed"
        try:  # refused until the operator has looked at what is here
            repair(node)
        except (OSError, RuntimeError, http.client.HTTPException):
            time.sleep(0.05)
    assert node.process is not None and node.process.poll() == -9
    assert len(content(node)) == len(before) - ROWS
    start(node)
    until = time.monotonic() + 60
    while content(node) != before and time.monotonic() < until:
        time.sleep(0.05)
    check(node, least=3 * ROWS - 1)
    assert content(node) == before


def test_a_flipped_byte_in_the_archive(node: Member) -> None:
    """Found and named; without another member that has it nothing is touched, neither the file nor its rows."""
    fill(node)
    before = content(node)
    paths = sorted(node.folder("archive").rglob("town.t.watch*"))
    paths = paths or sorted(node.folder("archive").rglob("town.t.*"))
    data = bytearray(paths[0].read_bytes())
    data[len(data) // 2] ^= 4
    paths[0].write_bytes(data)
    found = deep(node)
    (wrong,) = found["Files"]
    assert wrong["File"] + ".gz" == paths[0].name and "archive rotten" in wrong["Wrong"][0]
    assert found["Days"][0]["Verdict"] == "1 archive"
    assert paths[0].name[:-3] in node.command("test cluster data where deep = true").decode()
    by_hand(node, "update t set value = 99")
    report = repair(node)
    assert [each["File"] + ".gz" for each in report["Left"]] == [paths[0].name]
    assert "damaged" in report["Left"][0]["Reason"] and len(report["Loaded again"]) == 2
    assert paths[0].read_bytes() == bytes(data)
    assert len([row for row in content(node) if row not in before]) in (ROWS, ROWS - 1)
    paths[0].unlink()
    assert "archive missing" in deep(node)["Files"][0]["Wrong"][0]


def explained(node: Member, wrong: Sequence[Any]) -> str:
    """What is known of these files a moment later: entry, mark, rows, where their files lie, and the log of them."""
    lines = [f"an audit finds fault with {len(wrong)} files, such as:"]
    for each in wrong[:3]:
        lines.append(json.dumps(each))
        table, member, id = (each["File"].split(".")[place] for place in (1, 5, 6))
        for database, statement in (
            ("almgm", f"select * from tsd_info where file_id = {id}"),
            ("town", f"select * from anylog_marks where member = {member} and tsd_id = {id}"),
            ("town", f"select count(*) from {table} where tsd_name = '{member}' and tsd_id = {id}"),
        ):
            lines.append(f"{database}: {node.asked(database, statement)}")
        lines += [str(path) for path in node.home.rglob(f"*.{member}.{id}.*")]
        lines += [line for line in node.log.read_text().splitlines() if f".{id}." in line or each["File"] in line]
    return "\n".join([*lines, f"asked again: {deep(node)['Files']}", told_by(node)])


def test_nothing_is_wrong_while_readings_come(node: Member) -> None:
    """Under load by every way in, no audit sees a difference, and no repair finds anything to do."""
    with sending(node, WAYS, 7, each=1) as senders:
        until = time.monotonic() + 5
        looked = 0
        while time.monotonic() < until or (looked <= 20 and time.monotonic() < until + 60):
            found = deep(node)
            assert found["Silent"] == []
            assert not found["Files"], explained(node, found["Files"])
            for table in ("t0", "t1"):
                if table in {day["Table"] for day in found["Days"]}:
                    command = f"repair table {table} where dbms = town and format = json"
                    asked = {"User-Agent": "AnyLog/1.23", "command": command, "timeout": "100"}
                    status, said = node.request("POST", **asked)
                    assert status == 200, said
                    report = json.loads(said)
                    assert (report["Loaded again"], report["Fetched"], report["Healed"]) == ([], [], []), report
                    assert {each["Reason"] for each in report["Left"]} <= {"it is in work"}
                    looked += report["Looked at"]
    assert looked > 20
    check(node, senders)
