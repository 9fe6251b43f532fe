"""Rows that are converted as soon as they are read, and the table changes before they get there (storage.md 2.7)."""

from __future__ import annotations

from typing import Any

import orjson
from test_loading import ChangingSchemas as Case
from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.records import unpack_rows
from anylog.mapping.rows import convert
from anylog.processes.forms import MANY, early_of, joined


class EarlyRows(SynchronousTestCase):
    """With the real SQLite."""

    setUp = Case.setUp
    ask = Case.ask

    def many(self, first: int, count: int = MANY, **more: Any) -> list[dict[str, Any]]:
        return [{"v": first + n, "w": f"w{first + n}", **more} for n in range(count)]

    def put(self, rows: list[dict[str, Any]], **options: Any) -> None:
        self.successResultOf(self.intake.accept("town", "t", orjson.dumps(rows), rows, **options))

    def known(self) -> None:
        """The table, with its columns."""
        self.put(self.many(-MANY))
        self.clock.advance(1)
        self.ask("delete from t")

    def waiting(self) -> list[Any]:
        """What is to be loaded."""
        return [pending for queue in self.intake._loaders["town"]._queue.values() for pending in queue]

    def early(self, count: int) -> None:
        """So many of the records that wait are converted, and hold no rows beside."""
        found = self.waiting()
        self.assertEqual(sum(each.early is not None for each in found), count)
        self.assertTrue(all(each.rows is None for each in found if each.early is not None))

    def loaded(self, count: int) -> None:
        """All of them, once, in order, with the values in their columns; nothing is parked."""
        self.clock.advance(1)
        found = self.ask("select v, w from t order by row_id")
        self.assertEqual(found, [(n, f"w{n}") for n in range(count)])
        self.assertEqual(self.ask("select * from anylog_parked"), [])
        self.assertEqual(self.intake.tank.held, 0)

    def test_as_they_are(self) -> None:
        """Several records of one buffer, and a whole file, that are converted early."""
        self.known()
        for number in range(3):
            self.put(self.many(number * MANY))
        self.put(self.many(3 * MANY), whole=True)
        self.early(4)
        self.loaded(4 * MANY)

    def test_a_few_rows_behind_them(self) -> None:
        """Records that are converted, and others of the same buffer that are not."""
        self.known()
        self.put(self.many(0))
        self.put(self.many(MANY, 2))
        self.early(1)
        self.loaded(MANY + 2)

    def test_dropped(self) -> None:
        """The table is made anew from the rows as they came."""
        self.known()
        self.put(self.many(0))
        self.put(self.many(MANY), whole=True)
        self.early(2)
        self.ask("drop table t")
        self.loaded(2 * MANY)

    def test_made_anew_in_another_order(self) -> None:
        """Records before and after belong to one buffer: each value goes to its own column."""
        self.known()
        self.put(self.many(0))
        self.ask("drop table t")
        self.successResultOf(self.town.load([]))
        other = [{"w": row["w"], "v": row["v"]} for row in self.many(-MANY)]
        hold = self.intake._loaders["town"]
        before = [(buffer, list(queue)) for buffer, queue in hold._queue.items()]
        queue, hold._queue = hold._queue, {}
        self.successResultOf(self.intake.accept("town", "t", orjson.dumps(other), other, whole=True))
        self.clock.advance(1)
        self.ask("delete from t")
        self.assertEqual(list(self.town.schema("t") or ())[-2:], ["w", "v"])
        self.assertEqual(len(before), 1)
        hold._queue = queue
        self.put(self.many(MANY))
        self.early(2)
        self.loaded(2 * MANY)

    def test_a_column_came(self) -> None:
        """It is added by what goes before, in the same load or in another; or by hand."""
        self.known()
        self.put(self.many(0))
        self.put(self.many(MANY, x="new"))
        self.put(self.many(2 * MANY))
        self.early(1)
        self.loaded(3 * MANY)
        (buffer,) = self.intake.open_buffers()
        self.intake._cut(buffer)  # to which no more is converted early, after those that needed a second look
        self.put(self.many(3 * MANY))
        self.early(1)
        self.ask("alter table t add column y integer")
        self.successResultOf(self.town.load([]))
        self.loaded(4 * MANY)
        self.assertEqual(self.ask("select count(*) from t where x = 'new'"), [(MANY,)])

    def test_a_wider_type(self) -> None:
        """Numbers that need more than the column has widen it, behind those that were converted for it as it was."""
        self.known()
        self.put(self.many(0))
        self.put([{"v": 5_000_000_000, "w": "large"}] * MANY)
        self.put(self.many(MANY))
        self.early(1)
        self.clock.advance(1)
        self.assertEqual(self.ask("select count(*), count(distinct v) from t"), [(3 * MANY, 2 * MANY + 1)])
        self.assertEqual((self.town.schema("t") or {})["v"], "BIGINT")

    def test_misfits(self) -> None:
        """A body with a row that does not fit waits as it came, and only that row is parked."""
        self.known()
        rows = self.many(0)
        self.put([*rows[:5], {"v": "many", "w": "misfit"}, *rows[5:]])
        self.early(0)
        self.clock.advance(1)
        self.assertEqual(self.ask("select v from t order by row_id"), [(n,) for n in range(MANY)])
        self.assertEqual(self.ask("select position, row->>'w' from anylog_parked"), [(5, "misfit")])

    def test_a_refusal(self) -> None:
        """Converted rows that are let go are read back from the journal."""
        self.known()
        self.put(self.many(0))
        (pending,) = self.waiting()
        self.intake._loaders["town"]._let_go([pending])
        self.assertIsNone(pending.early)
        (packed,) = self.successResultOf(self.intake.journal.read([pending.stored]))
        self.assertEqual(orjson.loads(unpack_rows(packed)[1]), self.many(0))
        self.loaded(MANY)


class Converting(SynchronousTestCase):
    COLUMNS = {"timestamp": "TIMESTAMP", "v": "INT", "day": "DATE", "text": "CHAR(4)"}

    def row(self, n: int, **more: Any) -> dict[str, Any]:
        return {"timestamp": "2026-11-21T10:00:00Z", "v": n, "day": "2026-11-21", "text": "abcd", **more}

    def test_the_same_as_later(self) -> None:
        """Whatever is converted early is what it would be later, whenever that is."""
        parts = [[self.row(n + k * MANY) for n in range(MANY)] for k in range(3)]
        early = [early_of(part, self.COLUMNS) for part in parts]
        done = joined([each for each in early if each is not None])
        self.assertEqual(done, convert([row for part in parts for row in part], self.COLUMNS, "2001-01-01 00:00:00"))

    def test_what_is_left_for_later(self) -> None:
        """Rows that hang on the time of their file or on a change of the schema, and rows that do not fit."""
        rows = [self.row(n) for n in range(MANY)]
        self.assertIsNotNone(early_of(rows, self.COLUMNS))
        for odd in (
            {"timestamp": None}, {"timestamp": ""}, {"day": None}, {"day": " "}, {"v": 1 << 40}, {"v": 0.5},
            {"v": "x"}, {"text": "abcde"}, {"text": "a\0b"}, {"new": 1}, {"timestamp": "soon"},
        ):  # fmt: skip
            self.assertIsNone(early_of([*rows, self.row(MANY, **odd)], self.COLUMNS), odd)
        without = [{k: v for k, v in row.items() if k != "timestamp"} for row in rows]
        self.assertIsNone(early_of([*rows, without[0]], self.COLUMNS))
        self.assertIsNone(early_of(without, self.COLUMNS))
