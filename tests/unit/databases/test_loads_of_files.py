"""Loads of several files at once (hard-parts.md 2)."""

from __future__ import annotations

import sqlite3
from typing import Any

from attrs import evolve
from cases import DatabaseCase, T, load
from twisted.internet.task import Clock

from anylog.databases.library import STANDARD
from anylog.databases.loads import LONG, Writing, make_hidden_tables
from anylog.databases.marks import is_at, position
from anylog.interfaces import Load, Mark, Parked


class LoadsOfFiles(DatabaseCase):
    """Loads of several files at once, and what their marks say of them."""

    def file(self, id: int, rows: int = 2, **changes: Any) -> Load:
        mark = Mark(
            f"file-145.{id}", "t", 1, rows, 0, f"{id:032x}", 145, id, "plc", "0", f"2026-01-0{id} 00:00:00.000000"
        )
        made = load("t", ["a", "b"], [[id * 10 + n, "x"] for n in range(rows)], create=T)
        return evolve(made, rows=rows, marks=[mark], tsd_name="145", tsd_id=id, **changes)

    def test_together(self) -> None:
        """Files of one table are written by one statement, each with its own id and mark."""
        town = self.open()
        self.assertEqual(self.get(town.load([self.file(1), self.file(2, 3), self.file(3, 1)])), [None] * 3)
        found = self.all(town, "select tsd_name, tsd_id, count(*), min(a) from t group by 1, 2 order by 2")
        self.assertEqual(found, [("145", 1, 2, 10), ("145", 2, 3, 20), ("145", 3, 1, 30)])
        marks = self.get(town.file_marks([(145, 1), (145, 3), (145, 9), (7, 1)]))
        self.assertEqual({key: (mark.rows, mark.hash, mark.time[:10]) for key, mark in marks.items()}, {
            (145, 1): (2, f"{1:032x}", "2026-01-01"), (145, 3): (1, f"{3:032x}", "2026-01-03"),
        })  # fmt: skip
        self.assertEqual(self.get(town.mark_sums(145)), {"t": (3, 6, 20)})
        self.assertEqual(self.get(town.mark_sums(7)), {})
        self.assertEqual([mark.id for mark in self.get(town.mark_lines(145, "t", 1, 5))], [2, 3])
        self.assertEqual(self.get(town.highest_mark(145)), 3)
        large = [(1 << 62) - number for number in range(1, 5)]  # the sum of them is beyond what the engine can hold
        self.assertEqual(self.get(town.load([self.file(id) for id in large])), [None] * 4)
        self.assertEqual(self.get(town.mark_sums(145))["t"][:2], (7, 14))
        self.assertEqual(self.get(town.rows_of("t", 145, 2)), [{"a": 20 + n, "b": "x"} for n in range(3)])

    def test_few_statements(self) -> None:
        """Short files are written together; the text of a long one is not copied."""

        class Counting:
            def __init__(self) -> None:
                self.real = sqlite3.connect(":memory:", isolation_level=None)
                self.said: list[str] = []

            def execute(self, statement: str, *values: Any) -> Any:
                self.said.append(statement)
                return self.real.execute(statement, *values)

        connection: Any = Counting()
        make_hidden_tables(connection)
        writing = Writing(library=STANDARD, clock=Clock())
        files = [self.file(1, 300), self.file(2, LONG), *(self.file(id) for id in range(3, 9))]
        self.assertEqual(writing.run(connection, files), [None] * 8)
        self.assertEqual(sum(said.startswith(('insert into "t"', "with file")) for said in connection.said), 3)
        found = connection.execute("select tsd_id, count(*), min(row_id) from t group by 1 order by 1").fetchall()
        self.assertEqual(found[:3], [(1, 300, 1), (2, LONG, 301), (3, 2, LONG + 301)])

    def test_of_a_stream_with_fewer_rows(self) -> None:
        """Its mark makes way for that of its file, with its rows, and with what was parked left; one that holds as many
        rows as the file does not, nor does one of another table."""
        town = self.open()
        for id, rows, table in ((1, 0, "t"), (2, 1, "t"), (3, 2, "t"), (4, 1, "other")):
            stream = Mark(f"stream-{id}", table, 4, rows, 1, None, 145, id, "plc", "0", "2026-01-01 00:00:00.000000")
            parked = Parked(f"stream-{id}", 3, 0, table, "misfit", "{}")
            some = load(table, ["a", "b"], [[id, "x"]] * rows, create=T)
            some = evolve(some, rows=rows, marks=[stream], parked=[parked], tsd_name="145", tsd_id=id)
            self.assertEqual(self.get(town.load([some])), [None])
        before = self.get(town.read(position))
        first, second, third, fourth, fifth = self.get(town.load([self.file(id) for id in range(1, 6)]))
        self.assertEqual((first, second, fifth), (None, None, None))
        self.assertIn("UNIQUE", third.text)
        self.assertIn("UNIQUE", fourth.text)
        found = self.all(town, "select tsd_id, buffer, rows from anylog_marks order by 1")
        self.assertEqual(found, [
            (1, "file-145.1", 2), (2, "file-145.2", 2), (3, "stream-3", 2), (4, "stream-4", 1), (5, "file-145.5", 2),
        ])  # fmt: skip
        held = self.all(town, "select tsd_id, group_concat(a) from (select * from t order by row_id) group by 1")
        self.assertEqual(held, [(1, "10,11"), (2, "20,21"), (3, "3,3"), (5, "50,51")])
        self.assertEqual(len(self.all(town, "select * from other")), 1)
        self.assertEqual(len(self.all(town, "select * from anylog_parked")), 4)
        self.assertFalse(self.get(town.read(lambda connection: is_at(connection, *before))))

    def test_one_of_several(self) -> None:
        """One that is loaded already, or has the content of another, takes only itself."""
        town = self.open()
        self.get(town.load([self.file(1)]))
        again = evolve(self.file(4), marks=[evolve(self.file(4).marks[0], hash=f"{1:032x}")])
        taken = evolve(self.file(5), marks=[evolve(self.file(5).marks[0], id=1)])
        faults = self.get(town.load([self.file(2), again, self.file(1), taken, self.file(3)]))
        self.assertEqual(
            [fault.kind if fault else None for fault in faults], [None, "duplicate", None, "conflict", None]
        )
        self.assertEqual(self.get(town.mark_sums(145)), {"t": (3, 6, 20)})
        self.assertEqual(self.get(town.counts(["t"])), {"t": 6})

    def test_earlier_version(self) -> None:
        """A database whose marks knew no files is used as it is."""
        self.foreign(
            "create table anylog_marks (buffer text primary key, table_name text not null, sequence integer not null,"
            " rows integer not null, parked integer not null, hash text, file_time text)",
            "insert into anylog_marks values ('h/1', 't', 5, 7, 0, null, '2026-01-01 00:00:00.000000')",
        )
        town = self.open()
        self.assertEqual(self.marked(town, ["h/1"]), {"h/1": 5})
        self.assertEqual(self.get(town.load([self.file(1)])), [None])
        self.assertEqual(self.get(town.mark_sums(145)), {"t": (1, 2, 2)})
