"""Sums of the tables of files: always what a count of the entries gives, whoever changed them, and after what."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import apsw
from files_desk import FilesDesk
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases import file_sums
from anylog.databases.file_sums import Place, Sums
from anylog.databases.loads import HIDDEN_TABLES, Writing
from anylog.databases.sqlite import STANDARD, SQLite
from anylog.databases.tables import BUILT_IN, MEMBER_FILES
from anylog.databases.tsd import FOREIGN_IDS, Done, Tsd, Wanted
from anylog.databases.tsd_ranges import Line, Totals, check_sums, counted, part, record, totals
from anylog.testing.lanes import InlineLanes

OWN = BUILT_IN["almgm", "tsd_info"]
IDS = (1, 2, 3, 1022, 1023, 1024, 1025, 2047, 2048, 5000, FOREIGN_IDS, (1 << 63) - 1)
HASHES = ("a1" * 16, "0123456789abcdef" * 2, "f" * 32, "open:7", "")
TIMES = (
    *(f"2026-01-{day} {hour}:00:00.000000" for day in ("01", "02", "09") for hour in ("00", "12", "23")),
    "2026-01-02",
    "odd",
)
LIMITS = ("", "2026-01-01 12:00:00", "2026-01-02", "2026-01-02 12:00:00", "2026-01-09 23:00:01", "odd")

entries = st.tuples(
    st.sampled_from(IDS), st.sampled_from(("town", "plant")), st.sampled_from(("a", "b")), st.sampled_from(HASHES),
    st.sampled_from(TIMES), st.sampled_from((None, 0, 7)), st.sampled_from((None, "", "01", "02", "03")),
)  # fmt: skip
INSERT = (
    'insert or {how} into {table} (file_id, dbms_name, table_name, file_hash, file_time, "rows", status1, source,'
    " instructions) values (?, ?, ?, ?, ?, ?, ?, '0', '0')"
)
UPDATE = (
    "update or {how} {table} set file_id = ?, dbms_name = ?, table_name = ?, file_hash = ?, file_time = ?,"
    ' "rows" = ?, status1 = ? where file_id = ?'
)
changes = st.one_of(
    st.tuples(st.just("insert"), st.sampled_from(("ignore", "abort")), entries),
    st.tuples(st.just("update"), st.sampled_from(("ignore", "abort")), entries, st.sampled_from(IDS)),
    st.tuples(st.just("loaded"), st.sampled_from(IDS)),
    st.tuples(st.just("delete"), st.sampled_from(IDS)),
    st.tuples(st.just("clear")),
)


def change(connection: Any, table: str, each: tuple[Any, ...]) -> None:
    """As anybody may change an entry; what the engine refuses is no change."""
    kind = each[0]
    try:
        if kind == "insert":
            connection.execute(INSERT.format(how=each[1], table=table), each[2])
        elif kind == "update":
            connection.execute(UPDATE.format(how=each[1], table=table), (*each[2], each[3]))
        elif kind == "loaded":
            connection.execute(f"update {table} set \"rows\" = 9, status1 = '' where file_id = ?", (each[1],))
        elif kind == "delete":
            connection.execute(f"delete from {table} where file_id = ?", (each[1],))
        else:
            connection.execute(f"delete from {table}")
    except (sqlite3.IntegrityError, apsw.ConstraintError):
        pass


def hash_number(id: int, hash: str) -> int:
    places = sum((hash.find(str(digit)) + 1) % 64 << 4 * digit for digit in range(8))
    return (id % 65521 + 1) * (places % 65521)


def by_hand(connection: Any, table: str, start: str, end: str, upto: int) -> Sums:
    """The same, counted here."""
    rows = connection.execute(f'select file_id, file_hash, file_time, "rows", status1 from {table}').fetchall()
    rows = [r for r in rows if r[2] >= start and (not end or r[2] < end) and r[0] <= upto]
    held = [r for r in rows if r[3] or r[4] == "02"]
    return Sums(
        held=len(held),
        ids=sum(r[0] % (1 << 32) + (r[0] % 65521) ** 2 for r in held),
        hashes=sum(hash_number(r[0], r[1]) for r in held),
        absent=sum(r[4] == "01" for r in rows),
        first=min((r[0] for r in held), default=0),
        last=max((r[0] for r in held), default=0),
        last_time=max((r[2] for r in held), default=""),
        pending=min((r[0] for r in rows if (not r[3] and not r[4]) or r[1].startswith("open:")), default=0),
    )


def counted_by_hand(connection: Any, table: str, start: str, end: str) -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], tuple[int, int]] = {}
    statement = f'select dbms_name, table_name, coalesce("rows", 0), file_time from {table}'
    for dbms, name, rows, time in connection.execute(statement).fetchall():
        if time >= start and (not end or time < end):
            before = found.get((dbms, name), (0, 0))
            found[dbms, name] = before[0] + 1, before[1] + rows
    return found


def wrong(connection: Any, table: str) -> list[str]:
    """All that `faults` finds, and it does come to an end."""
    found: list[str] = []
    at: Place | None = Place()
    while at is not None:
        told, at = file_sums.faults(connection, table, at)
        found += told
    return found


class ChangeTests(SynchronousTestCase):
    """Both libraries that are in use."""

    def tables(self, connection: Any) -> Any:
        for statement in HIDDEN_TABLES:
            connection.execute(statement)
        written = Writing(library=STANDARD, clock=Clock())
        written.create_built_in(connection, "tsd_info", OWN)
        written.create_built_in(connection, "tsd_7", MEMBER_FILES)
        self.addCleanup(connection.close)
        return connection

    def agree(self, connection: Any, limits: Sequence[str] = LIMITS) -> None:
        for table in ("tsd_info", "tsd_7"):
            self.assertTrue(file_sums.kept(connection, table))
            self.assertEqual(wrong(connection, table), [])
            for start in limits:
                for end in limits:
                    self.assertEqual(
                        file_sums.counted(connection, table, start, end),
                        counted_by_hand(connection, table, start, end), (table, start, end),
                    )  # fmt: skip
                    for upto in (2, 1023, 1024, 6000, (1 << 63) - 1):
                        self.assertEqual(
                            file_sums.sums(connection, table, start, end, upto),
                            by_hand(connection, table, start, end, upto), (table, start, end, upto),
                        )  # fmt: skip

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from(("tsd_info", "tsd_7")), changes), max_size=30),
        st.booleans(),
        st.lists(st.sampled_from(LIMITS), min_size=2, max_size=3),
    )
    def test_any_changes(self, done: list[tuple[str, tuple[Any, ...]]], other: bool, limits: list[str]) -> None:
        """Entries that come, change and go in any order, also those that the engine refuses or passes over."""
        connection: Any = apsw.Connection(":memory:") if other else sqlite3.connect(":memory:", isolation_level=None)
        self.tables(connection)
        with patch.object(file_sums, "PAGE", 2):
            for table, each in done:
                change(connection, table, each)
            self.agree(connection, limits)

    def test_rolled_back(self) -> None:
        """What is not committed is in no sum, as after a crash."""
        connection = self.tables(sqlite3.connect(":memory:", isolation_level=None))
        entry = (1, "town", "a", HASHES[0], TIMES[0], 7, "")
        change(connection, "tsd_7", ("insert", "abort", entry))
        connection.execute("begin")
        change(connection, "tsd_7", ("insert", "abort", (2, *entry[1:])))
        change(connection, "tsd_7", ("delete", 1))
        connection.execute("rollback")
        self.assertEqual(file_sums.sums(connection, "tsd_7", "", "").last, 1)
        self.agree(connection)

    def test_little_is_looked_at(self) -> None:
        """Of many entries only those at the edges of the limits are looked at, whatever is asked."""
        connection = self.tables(sqlite3.connect(":memory:", isolation_level=None))
        connection.execute(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000) insert into tsd_7 select"
            " i, 'town', 'a', '0', 'h' || i, '0', strftime('%Y-%m-%d %H:%M:%S', 1790000000 + i * 60, 'unixepoch'), 7,"
            " '', '' from n"
        )
        steps = []

        def asked(statement: Any) -> int:
            steps.clear()
            connection.set_progress_handler(lambda: steps.append(1) or 0, 100)
            try:
                statement()
            finally:
                connection.set_progress_handler(None, 100)
            return len(steps)

        start, end = "2026-09-25", "2026-10-14 01:01:01"
        questions = [
            lambda: file_sums.sums(connection, "tsd_7", "", ""),
            lambda: file_sums.sums(connection, "tsd_7", start, end),
            lambda: file_sums.sums(connection, "tsd_7", start, "", 20_000),
            lambda: file_sums.counted(connection, "tsd_7", "", ""),
            lambda: file_sums.counted(connection, "tsd_7", start, end),
        ]
        answers = [question() for question in questions]
        quick = [asked(question) for question in questions]
        connection.execute("drop trigger anylog_tsd_7_0")
        self.assertEqual(answers, [question() for question in questions])
        for place, slow in enumerate(asked(question) for question in questions):
            self.assertLess(quick[place], slow / 5, place)


class DatabaseTests(SynchronousTestCase):
    """`almgm` as a node has it."""

    def setUp(self) -> None:
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.path = Path(kept.name).resolve() / "almgm.dbms"
        self.clock = Clock()
        self.clock.advance(1_790_000_000.0)
        self.open()
        self.addCleanup(lambda: self.get(self.files.database.close()))
        self.get(self.files.database.create("tsd_info", OWN))

    def get(self, waited: Any) -> Any:
        return self.successResultOf(waited if isinstance(waited, Deferred) else Deferred.fromCoroutine(waited))

    def open(self, path: Path | None = None) -> None:
        database = SQLite(
            name="almgm", path=path or self.path, lanes=InlineLanes(), clock=self.clock, home="here"
        )  # fmt: skip
        self.get(database.open())
        self.files = Tsd(database=database, clock=self.clock, chance=Random(4))

    def close(self) -> None:
        self.get(self.files.database.close())

    def register(self, *hashes: str, into: str = "tsd_info", first: int = 0, rows: int = 3) -> None:
        wanted = [
            Wanted(dbms="town", table="a", source="0", instructions="0", hash=hash, into=into,
                   id=first and first + place)
            for place, hash in enumerate(hashes)
        ]  # fmt: skip
        told = self.get(self.files.register(wanted))
        self.get(self.files.finish([Done(into=into, id=each.entry.id, rows=rows) for each in told]))

    def by_hand(self) -> dict[str, Totals]:
        found = {}
        connection = sqlite3.connect(self.path)
        for table in self.get(self.files.tables()):
            s = by_hand(connection, table, "", "", (1 << 63) - 1)
            found[table] = Totals(s.held, s.ids + s.hashes, s.first, s.last, s.last_time, s.absent, s.pending)
        connection.close()
        return found

    def agree(self) -> dict[str, Totals]:
        told = self.get(totals(self.files, "", ""))
        self.assertEqual(told, self.by_hand())
        return told

    def by_another_program(self, *statements: str) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    def test_what_the_node_does(self) -> None:
        """Whatever changes entries changes the sums: registered, loaded, noted, recorded, flagged, removed, dropped."""
        self.register(HASHES[0], HASHES[1], HASHES[2])
        self.register("b" * 32, "c" * 32, into="tsd_9", first=1023)
        self.agree()
        self.get(record(self.files, "tsd_9", [(Line(5000, "d" * 32, "town", "a", 3, "loaded", TIMES[0]), "01", "x")]))
        self.assertEqual(self.agree()["tsd_9"].absent, 1)
        self.register("d" * 32, into="tsd_9", first=5000)
        self.assertEqual(self.agree()["tsd_9"].absent, 0)
        self.get(self.files.note(HASHES[0], "02", None))
        self.get(self.files.flag("town", "gone"))
        self.agree()
        self.assertEqual(self.get(part(self.files, "tsd_9", "", "", 1023))[0], 1)
        self.assertEqual(self.get(part(self.files, "tsd_8", "", "", 1023)), (0, 0, 0))
        self.assertEqual(self.get(counted(self.files, "", "")), {("town", "a"): (6, 18)})
        self.get(self.files.remove([("tsd_info", 2), ("tsd_9", 1024)]))
        self.assertEqual([each.files for each in self.agree().values()], [2, 2])
        self.get(self.files.drop(["tsd_9"]))
        self.register("b" * 32, into="tsd_9", first=1)
        self.assertEqual(self.agree()["tsd_9"].files, 1)
        self.assertEqual(self.get(check_sums(self.files)), [])

    def test_another_hash(self) -> None:
        """Two members with the same ids and another hash under one of them have other sums."""
        self.register(HASHES[0], into="tsd_7", first=5)
        self.register(HASHES[1], into="tsd_8", first=5)
        told = self.agree()
        self.assertNotEqual(told["tsd_7"].sum, told["tsd_8"].sum)

    def test_copy_put_back(self) -> None:
        """A copy from yesterday has the sums of yesterday; one of a time before there were sums gets them."""
        self.register(HASHES[0])
        self.close()
        yesterday, before = self.path.with_name("yesterday"), self.path.with_name("before")
        shutil.copy(self.path, yesterday)
        shutil.copy(self.path, before)
        old = sqlite3.connect(before, isolation_level=None)
        for name in range(4):
            old.execute(f"drop trigger anylog_tsd_info_{name}")
        for name in ("anylog_sums", "anylog_days"):
            old.execute(f"drop table {name}")
        old.execute("insert into tsd_info values (7, 'town', 'a', '0', 'x', '0', '2026-01-01', 5, '', '')")
        old.close()
        self.open()
        self.register(HASHES[1], HASHES[2])
        self.assertEqual(self.agree()["tsd_info"].files, 3)
        for copy, files in ((yesterday, 1), (before, 2)):
            self.close()
            shutil.copy(copy, self.path)
            self.open()
            self.assertEqual(self.agree()["tsd_info"].files, files)
            self.assertEqual(self.get(check_sums(self.files)), [])
            self.register("e" * 32)
            self.assertEqual(self.agree()["tsd_info"].files, files + 1)

    def test_not_kept(self) -> None:
        """Where the sums are not kept, as of a table that another program made, entries are counted; then they are."""
        self.register(HASHES[0])
        self.by_another_program(
            "create table tsd_5 as select * from tsd_info", "drop trigger anylog_tsd_info_0",
            "insert into tsd_info select 2, dbms_name, table_name, '0', 'x', '0', file_time, 3, '', '' from tsd_5",
        )  # fmt: skip
        self.assertEqual([each.files for each in self.agree().values()], [2, 1])
        self.assertEqual(self.get(counted(self.files, "", "")), {("town", "a"): (3, 9)})
        self.close()
        self.open()
        self.assertEqual([each.files for each in self.agree().values()], [2, 1])
        found = self.get(self.files.database.read(lambda c: [file_sums.kept(c, t) for t in ("tsd_info", "tsd_5")]))
        self.assertEqual(found, [True, True])

    def test_wrong_sums(self) -> None:
        """Sums that do not agree with the entries are found, told, and made anew."""
        for statement, where in (
            ("update anylog_sums set held = held + 1 where block = 1", "ids from 1024"),
            ("delete from anylog_sums where block = 0", "ids from 0"),
            ("update anylog_sums set last_time = '2026' where block = 1", "ids from 1024"),
            ("insert into anylog_sums values ('tsd_9', 8, 1, 1, 1, 1, 0, 0, '', '')", "ids from 8192"),
            ("update anylog_days set counted = 0", "town.a on 2026-09-21"),
            ("insert into anylog_days values ('tsd_9', '2027-01-01', 'x', 'y', 1, 1, '', '')", "x.y on 2027-01-01"),
            # The entry that has to give way fires no trigger.
            ("insert or replace into tsd_9 values (1, 'town', 'a', '0', 'x', '0', '2026-09-21', 5, '', '')",
             "ids from 0"),
            ("drop trigger anylog_tsd_9_1", "has no sums"),
        ):  # fmt: skip
            self.register(HASHES[0], HASHES[1], into="tsd_9", first=1)
            self.register(HASHES[2], into="tsd_9", first=1500)
            self.by_another_program(statement)
            found = self.get(check_sums(self.files))
            self.assertEqual([each.removeprefix("tsd_9, ").removeprefix("tsd_9 ") for each in found], [where])
            self.assertEqual(self.get(check_sums(self.files)), [], statement)
            self.agree()
            self.get(self.files.drop(["tsd_9"]))

    def test_ended_early(self) -> None:
        """A check ends when it is told to."""
        self.register(HASHES[0])
        self.by_another_program("update anylog_sums set held = 9")
        self.assertEqual(self.get(check_sums(self.files, lambda: False)), [])

    def test_in_memory(self) -> None:
        """A database in memory has the same sums."""
        database = SQLite(name="almgm", path=None, lanes=InlineLanes(), clock=self.clock, home="here")
        self.get(database.open())
        self.get(database.create("tsd_info", OWN))
        self.close()
        self.files = Tsd(database=database, clock=self.clock, chance=Random(4))
        self.register(HASHES[0], HASHES[1])
        self.assertEqual(self.get(totals(self.files, "", ""))["tsd_info"].files, 2)
        self.register(HASHES[2])
        self.assertEqual(self.get(totals(self.files, "", ""))["tsd_info"].files, 3)


class NodeTests(FilesDesk):
    def test_looked_at_when_an_operator_starts(self) -> None:
        """Sums that somebody changed by hand are right again once an operator runs."""
        self.register("a" * 32, rows=3)
        database = self.node.databases.get("almgm")
        self.get(database.write(lambda connection: connection.execute("update anylog_sums set held = 41")))
        self.assertEqual(self.get(totals(self.files, "", ""))["tsd_info"].files, 41)
        self.become_member()
        self.ask("exit operator")
        self.ask("run operator where policy = o7 and update_tsd_info = true")
        for _ in range(40):
            self.clock.advance(0.25)  # other members are asked for ids first, and do not answer
        self.assertEqual(self.get(totals(self.files, "", ""))["tsd_info"].files, 1)
