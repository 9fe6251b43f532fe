"""Digests stand for a multiset of rows, on every engine."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.sqlite import SQLite
from anylog.interfaces import Load, Mark
from anylog.mapping.body import normal_form
from anylog.processes.digests import NOTHING, UNKNOWN, Digest, canonical, of_content, of_files, of_lines
from anylog.testing.lanes import InlineLane, InlineLanes
from anylog.waiting import deferring

TIME = "2026-11-21 10:00:00.123456"
KINDS = {"a": "INT", "f": "FLOAT", "ok": "BOOLEAN", "s": "VARCHAR", "at": "TIMESTAMP"}


def digest(*rows: dict[str, Any], kinds: dict[str, str] | None = None, time: str = TIME) -> Digest:
    columns = kinds or KINDS
    lines = [[row.get(name) for name in columns] for row in rows]
    return of_lines(list(columns), list(columns.values()), lines, time)


class DigestTests(SynchronousTestCase):
    """What is equal, and what is not."""

    def test_equal(self) -> None:
        """Order of rows and of columns, columns that only one member has, engines."""
        row, other = {"a": 1, "f": 2.0, "ok": True, "s": "x"}, {"a": 2}
        turned = dict(reversed(list(KINDS.items())))
        for one, two in [
            (digest(row, other), digest(other, row)),
            (digest(row), digest(row, kinds=turned)),
            (digest(row), digest(row, kinds={**KINDS, "new": "VARCHAR"})),
            (digest({"f": 2}), digest({"f": 2.0})),  # a column that was INT once, and is FLOAT now
            (digest({"f": -0.0}), digest({"f": 0})),
            (digest({"ok": 1}), digest({"ok": True})),
            (digest({"a": 3.0}), digest({"a": 3})),
            (digest({"at": datetime(2026, 1, 2, 3, 4, 5)}), digest({"at": "2026-01-02 03:04:05.000000"})),
            (digest(), NOTHING),
        ]:
            self.assertEqual(one, two)

    def test_different(self) -> None:
        """One more of the same, one value, one type, one column, one kind of nothing."""
        row = {"a": 1, "f": 2.5, "s": "x"}
        known = {digest(row)}
        for rows in (
            [row, row], [{**row, "a": 2}], [{**row, "f": 2.5000000000000004}], [{**row, "s": "X"}], [{**row, "s": ""}],
            [{**row, "s": None}], [{**row, "ok": False}], [{**row, "a": "1"}], [{**row, "a": True}], [{"a": 1}],
        ):  # fmt: skip
            found = digest(*rows)
            self.assertNotIn(found, known, rows)
            self.assertFalse(any(found.same(each) for each in known), rows)
            known.add(found)
        self.assertNotEqual(digest({"s": "1"}, {"a": 2}), digest({"s": "2"}, {"a": 1}))

    def test_a_default_time_is_as_good_as_none(self) -> None:
        """A column of times that came after a file was loaded is NULL in its rows, and the default where it came
        later; another time is another row."""
        late, early = digest({"a": 1, "at": "2026-11-21 10:00:00.000000"}), digest({"a": 1})
        self.assertTrue(late.same(early))
        self.assertNotEqual(late, early)
        self.assertFalse(digest({"a": 1, "at": "2026-11-21 10:00:01.000000"}).same(early))
        # The same content under another time, where that is the time of a row: equal as it stands.
        row = {"a": 1, "at": "2026-11-21 10:00:00.000000"}
        self.assertTrue(digest(row).same(digest(row, time="2026-11-21 11:00:00")))

    def test_canonical(self) -> None:
        """What no conversion gives equals nothing that fits, and is no fault."""
        for kind, value in [("INT", "x"), ("INT", 1.5), ("FLOAT", "1"), ("BOOLEAN", 2), ("VARCHAR", 1), ("DATE", b"x")]:
            self.assertIsInstance(canonical(kind, value), list, (kind, value))
        digest({"s": "\ud800"})

    def test_widened(self) -> None:
        """The same numbers are equal in a column that was widened at one member alone; near ones are not."""
        for number in (0, 7, -1, 1 << 53, -(1 << 53)):
            found = {canonical(kind, value) for kind in ("INT", "BIGINT") for value in (number, float(number))}
            found |= {canonical(kind, value) for kind in ("FLOAT", "DECIMAL") for value in (number, float(number))}
            self.assertEqual(found, {number})
            whole, real = digest({"a": number}), digest({"a": float(number)}, kinds={**KINDS, "a": "FLOAT"})
            self.assertEqual(whole, real)
            self.assertNotEqual(real, digest({"a": number + 0.5 if abs(number) < 9 else number * 3}))
        for number in (1e300, -1e17, 0.1):
            self.assertIs(type(canonical("FLOAT", number)), float)

    def test_sums_wrap(self) -> None:
        """They are 64 bits wide, and adding pages is the same as one page."""
        rows = [{"a": number} for number in range(40)]
        self.assertEqual(digest(*rows[:13]).plus(digest(*rows[13:])), digest(*rows))
        self.assertTrue(0 <= digest(*rows).value < 1 << 64)


class TruthTests(SynchronousTestCase):
    """A file as it should be in its table."""

    def test_content(self) -> None:
        """As the loader converts it; without the rows that were parked; not if the table is another."""
        data = normal_form([{"A": "1", "f": 2}, {"a": 2, "f": "x"}, {"a": 3, "ok": 1}])
        at = "2026-11-21 10:00:00.000000"
        wanted = digest({"a": 1, "f": 2.0, "at": at}, {"a": 3, "ok": True, "at": at})
        self.assertEqual(of_content(data, KINDS, TIME), wanted)
        self.assertEqual(of_content(data, KINDS, TIME, {1}), wanted)
        self.assertEqual(of_content(data, KINDS, TIME, {0, 1, 2}), NOTHING)
        self.assertEqual(of_content(data, {"a": "INT"}, TIME), UNKNOWN)


class TableTests(SynchronousTestCase):
    """Rows of a real table."""

    def setUp(self) -> None:
        self.database = SQLite(
            name="d", path=Path(self.mktemp()).absolute(), lanes=InlineLanes(), clock=Clock(), home="h"
        )
        self.successResultOf(self.database.open())
        self.addCleanup(lambda: self.successResultOf(self.database.close()))

    def load(self, member: int, id: int, rows: str, count: int) -> None:
        """Rows as JSON, in the order of KINDS."""
        mark = Mark(f"file-{member}.{id}", "t", 1, count, 0, f"{member}.{id}", member, id, time=TIME)
        load = Load(
            table="t", columns=list(KINDS), values=rows, rows=count, marks=[mark], parked=[], keys=[],
            tsd_name=str(member), tsd_id=id, inserted=TIME, create=KINDS,
        )  # fmt: skip
        self.assertEqual(self.successResultOf(self.database.load([load])), [None])

    def files(self, member: int, *ids: int) -> dict[int, Digest]:
        """What is there of these files."""

        @deferring
        async def read() -> dict[int, Digest]:
            return await of_files(self.database, InlineLane("cpu"), "t", member, dict.fromkeys(ids, TIME))

        return self.successResultOf(read())

    def test_rows_of_files(self) -> None:
        """Of those that are asked for, and of nobody else's of that id; in several pages."""
        self.load(1, 5, '[[1,0.1,true,"x",null],[2,1e300,false,"\\u00e4\\n\\"",null]]', 2)
        self.load(1, 6, "[[7,null,null,null,null]]", 1)
        self.load(2, 5, "[[9,null,null,null,null]]", 1)
        many = 4100 * 5
        self.load(1, 7, "[" + ",".join(f"[{number},{number / 7},null,null,null]" for number in range(many)) + "]", many)
        found = self.files(1, 5, 6, 7, 8)
        wanted = digest({"a": 1, "f": 0.1, "ok": True, "s": "x"}, {"a": 2, "f": 1e300, "ok": False, "s": 'ä\n"'})
        self.assertEqual(found[5], wanted)
        self.assertEqual(found[6], digest({"a": 7}))
        self.assertEqual(found[7], digest(*({"a": number, "f": number / 7} for number in range(many))))
        self.assertEqual(set(found), {5, 6, 7})
        self.assertEqual(self.files(2, 5), {5: digest({"a": 9})})
        self.assertEqual(self.files(3, 5), {})

    def test_seen_before_the_table_is_known(self) -> None:
        """What was committed a moment ago is seen, although what is remembered of its table is older: as between the
        commit that makes a table, or lets it grow, and the look at it."""
        other = SQLite(name="d", path=self.database.path, lanes=InlineLanes(), clock=Clock(), home="h")
        self.successResultOf(other.open())
        self.addCleanup(lambda: self.successResultOf(other.close()))
        self.load(1, 5, '[[1,0.1,true,"x",null]]', 1)

        @deferring
        async def read() -> dict[int, Digest]:
            return await of_files(other, InlineLane("cpu"), "t", 1, {5: TIME, 6: TIME})

        self.assertIsNone(other.schema("t"))
        self.assertEqual(self.successResultOf(read()), {5: digest({"a": 1, "f": 0.1, "ok": True, "s": "x"})})
        self.successResultOf(other.tables())
        mark = Mark("file-1.6", "t", 1, 1, 0, "1.6", 1, 6, time=TIME)
        load = Load(
            table="t", columns=["a", "n"], values="[[7,8]]", rows=1, marks=[mark], parked=[], keys=[],
            tsd_name="1", tsd_id=6, inserted=TIME, alter={"n": "INT", "a": "FLOAT"},
        )  # fmt: skip
        self.assertEqual(self.successResultOf(self.database.load([load])), [None])
        self.assertNotIn("n", other.schema("t") or {})
        found = self.successResultOf(read())
        self.assertEqual(found, self.files(1, 5, 6))
        self.assertEqual(found[6], of_lines(["a", "n"], ["FLOAT", "INT"], [[7, 8]], TIME))

    def test_what_somebody_put_there_by_hand(self) -> None:
        """No value makes reading fail."""
        self.load(1, 5, '[[1,0.1,true,"x",null],[2,null,null,null,null]]', 2)
        before = self.files(1, 5)[5]
        connection = sqlite3.connect(str(self.database.path))
        for value in ("9e999", "x'00ff'", "cast(x'ff41' as text)", "'Inf'", "-9223372036854775808", "char(0)"):
            connection.execute(f"update t set s = {value}, f = {value} where a = 1")
            connection.commit()
            found = self.files(1, 5)[5]
            self.assertEqual(found.rows, 2)
            self.assertFalse(found.same(before), value)
        connection.close()
