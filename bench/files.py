"""Figures of files: from a door or the watch directory until loaded, registered and archived, on a real operator."""

from __future__ import annotations

import gzip
import hashlib
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parent))
import load
from member import Member

Show = Callable[[str, str, str, float, str, bool], None]
Yard = Callable[[], float]
THRESHOLD = "set buffer threshold where time = 2 seconds and volume = 1MB"
LONGEST = 300.0  # seconds until a figure is given up


def put(body: bytes, table: str, mode: str) -> bytes:
    """One PUT."""
    return (
        f"PUT / HTTP/1.1\r\nHost: x\r\ntype: json\r\ndbms: town\r\ntable: {table}\r\nmode: {mode}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def until_filed(node: Member, table: str, rows: int, files: int = 0, longest: float = LONGEST) -> int:
    """Until all rows of a table can be queried, are registered, and their files lie in the archive; how many files.

    Asked of the database files, now and then, so that the node has the machine for itself. `files`: if known before.
    """
    end = time.perf_counter() + longest
    while True:
        registered, counted = node.registered(table)
        if counted >= rows and registered >= files and node.rows_in(table) >= rows:
            break
        if time.perf_counter() > end:
            told = f"{node.rows_in(table):,} rows loaded, {counted:,} registered in {registered:,} files"
            raise RuntimeError(f"{table}: {told}, of {rows:,}")
        time.sleep(0.05)
    while node.archived(table) < registered:
        if time.perf_counter() > end:
            raise RuntimeError(f"{table}: {node.archived(table):,} files in the archive, of {registered:,}")
    assert (node.count(table), node.archived(table)) == (rows, registered), "more than was given"
    return registered


def warm(node: Member, body: bytes) -> None:
    """A first file of another table by each door, so that nothing is used for the first time later."""
    for mode in ("streaming", "file"):
        status, said = node.request("PUT", "/", body, dbms="town", table=f"warm_{mode}", mode=mode)
        assert status == 200, said
    draft = node.folder("prep") / "town.warm_watch.json"
    draft.write_bytes(body)
    draft.rename(node.watch / draft.name)
    rows = body.count(b'"device"')
    for table in ("warm_streaming", "warm_file", "warm_watch"):
        until_filed(node, table, rows, longest=20.0)


def sent(
    folder: Path, show: Show, bodies: Sequence[bytes], yard: Yard, *, name: str, mode: str, connections: int,
    unit: str, goal: float, of: int,
) -> None:  # fmt: skip
    """All bodies by PUT, until filed. `of`: what is counted, rows or bodies."""
    rows = sum(body.count(b'"device"') for body in bodies)
    requests = [put(body, "readings", mode) for body in bodies]
    node = Member(folder / "sent", commands=(THRESHOLD,))
    try:
        node.start()
        warm(node, bodies[0].replace(b"dev-", b"old-"))
        before = yard()
        begin = time.perf_counter()
        outcome = load.run(("127.0.0.1", node.port), iter(requests), connections)
        told = time.perf_counter() - begin
        files = until_filed(node, "readings", rows, len(bodies) if mode == "file" else 1)
        seconds = time.perf_counter() - begin
        assert not outcome.refused, f"{outcome.refused} refused"
        yardstick = (before + yard()) / 2
        rate = of / seconds
        show(name, f"{rate:,.0f} {unit}", f"{yardstick:,.0f} {unit}", rate / yardstick, f">= {goal:g}",
             rate / yardstick >= goal)  # fmt: skip
        print(f"    {files:,} files; the last yes after {told:.1f} s, filed after {seconds:.1f} s")
    finally:
        node.remove()


class Memory(threading.Thread):
    """The most memory that a node has had while the first fifth of its work was done, and in all."""

    def __init__(self, node: Member, table: str, rows: int) -> None:
        super().__init__(daemon=True)
        self._node, self._table, self._rows = node, table, rows
        self.early = self.most = node.memory()
        self._over = threading.Event()

    def run(self) -> None:
        begun = True
        while not self._over.wait(0.1):
            self.most = max(self.most, self._node.memory())
            if begun:
                self.early = self.most
                begun = self._node.rows_in(self._table) < self._rows // 5

    def stop(self) -> tuple[int, int]:
        """Bytes: at the end of the first fifth, and the most."""
        self._over.set()
        self.join()
        return self.early, self.most


def watched(folder: Path, show: Show, bodies: Sequence[bytes], yard: Yard) -> None:
    """So many files moved into the watch directory at once, until they are filed; and the memory that took."""
    rows = sum(body.count(b'"device"') for body in bodies)
    node = Member(folder / "watched", commands=(THRESHOLD,))
    try:
        node.start()
        warm(node, bodies[0].replace(b"dev-", b"old-"))
        drafts = []
        for number, body in enumerate(bodies):
            draft = node.folder("prep") / f"town.readings.s{number}.json"
            draft.write_bytes(body)
            drafts.append(draft)
        before = yard()
        memory = Memory(node, "readings", rows)
        memory.start()
        begin = time.perf_counter()
        for draft in drafts:
            draft.rename(node.watch / draft.name)
        until_filed(node, "readings", rows, len(bodies))
        seconds = time.perf_counter() - begin
        early, most = memory.stop()
        left = [path.name for path in node.watch.iterdir()]
        assert not left, f"{len(left)} files are left, such as {left[0]}"
        yardstick = (before + yard()) / 2
        rate = rows / seconds
        show(f"{len(bodies):,} files of 100 rows in the watch directory", f"{rate:,.0f} rows/s",
             f"{yardstick:,.0f} rows/s", rate / yardstick, ">= 0.25", rate / yardstick >= 0.25)  # fmt: skip
        more = (most - early) / 1e6
        show("    memory: most, and after the first fifth", f"{most / 1e6:.0f} MB", f"{early / 1e6:.0f} MB", more,
             "<= +24 MB", more <= 24)  # fmt: skip
    finally:
        node.remove()


def many(folder: Path, show: Show, body: bytes, count: int) -> None:
    """Ready with so many files in archive, table of files and marks: the first file of its own is filed."""
    seconds = {}
    for files in (0, count):
        node = Member(folder / f"many{files}", commands=(THRESHOLD,))
        try:
            node.start()
            warm(node, body)
            assert node.stop() == -15
            if files:
                grow(node, files)
            times = []
            for attempt in range(3):
                begin = time.perf_counter()
                node.start()
                answers = time.perf_counter() - begin
                status, said = node.request("PUT", "/", body, dbms="town", table=f"own{attempt}", mode="file")
                assert status == 200, said
                until_registered(node, f"own{attempt}")
                times.append((time.perf_counter() - begin, answers))
                assert node.stop() == -15
            seconds[files] = sorted(times)[1]
            if files:
                found, rows = node.registered("grown")
                assert (found, rows, node.rows_in("grown")) == (files, files, files), "what was there has changed"
        finally:
            node.remove()
    more = seconds[count][0] - seconds[0][0]
    show(f"start with {count:,} files, until one more is filed", f"{seconds[count][0]:.2f} s",
         f"{seconds[0][0]:.2f} s", more, "<= +2 s", more <= 2.0)  # fmt: skip
    print(f"    answers after {seconds[count][1]:.2f} s, empty after {seconds[0][1]:.2f} s")


def until_registered(node: Member, table: str) -> None:
    """Until a file of that table is counted."""
    end = time.perf_counter() + LONGEST
    while not node.registered(table)[0]:
        if time.perf_counter() > end:
            raise RuntimeError(f"nothing of {table} was registered")
        time.sleep(0.002)


def grow(node: Member, files: int) -> None:
    """Files of one row each that were loaded long ago, as the node itself leaves them: row, mark, entry, archive."""
    (pattern,) = node.asked("almgm", "select * from tsd_info where table_name = 'warm_file'")
    path = node.database("town")
    town = sqlite3.connect(path, isolation_level=None)
    town.row_factory = sqlite3.Row
    mark = dict(town.execute("select * from anylog_marks where table_name = 'warm_file'").fetchone())
    (definition,) = town.execute("select sql from sqlite_master where name = 'warm_file'").fetchone()
    types = town.execute("select * from anylog_columns where table_name = 'warm_file'").fetchall()
    row = dict(town.execute("select * from warm_file limit 1").fetchone())
    del row["row_id"]
    first = int(str(pattern[0])) + 1000
    member = mark["member"]
    entries, marks, rows = [], [], []
    now = datetime.now(UTC)
    for number in range(files):
        id = first + number
        at = now - timedelta(days=100) + timedelta(days=99) * (number / files)
        stamp = at.strftime("%Y-%m-%d %H:%M:%S.%f")
        line = orjson.dumps({"device": f"dev-{number}", "timestamp": stamp, "value": number}) + b"\n"
        hash = hashlib.md5(b"town.grown" + line, usedforsecurity=False).hexdigest()
        date = at.strftime("%y%m%d%H%M%S")
        there = node.folder("archive") / date[:2] / date[2:4] / date[4:6]
        if number % 1000 == 0 or not there.exists():
            there.mkdir(parents=True, exist_ok=True)
        name = f"town.grown.0.{hash}.0.{member}.{id}.{date}.json.gz"
        (there / name).write_bytes(gzip.compress(line, 1, mtime=0))
        entries.append((id, "town", "grown", "0", hash, "0", stamp, 1, "", ""))
        changed = {"buffer": f"grown-{number}", "table_name": "grown", "rows": 1, "hash": hash, "tsd_id": id}
        marks.append(tuple({**mark, **changed, "file_time": stamp}.values()))
        rows.append(tuple({**row, "tsd_id": id, "seq": number}.values()))
    town.execute("begin")
    town.execute(definition.replace("warm_file", "grown"))
    known = [("grown", *tuple(each)[1:]) for each in types]
    town.executemany("insert into anylog_columns values (?, ?, ?)", known)
    town.execute("create index grown_tsd_index on grown (tsd_name, tsd_id)")
    town.execute("create index grown_insert_timestamp_index on grown (insert_timestamp)")
    for table, values in (("anylog_marks", marks), ("grown", rows)):
        names = ", ".join(mark if table == "anylog_marks" else row)
        spaces = ", ".join("?" * len(values[0]))
        town.executemany(f"insert into {table} ({names}) values ({spaces})", values)
    town.execute("commit")
    town.close()
    almgm = sqlite3.connect(node.database("almgm"), isolation_level=None)
    almgm.execute("begin")
    almgm.executemany("insert into tsd_info values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", entries)
    almgm.execute("commit")
    almgm.close()
