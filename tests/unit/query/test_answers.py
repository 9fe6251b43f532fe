"""Bytes of every layout, values without loss, pages, and what is let go (query.md 6, hard-parts.md 5.1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC
from functools import partial
from types import SimpleNamespace
from typing import Any

import orjson
from place import COLUMNS, NOW, ROWS, Asking
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed

from anylog.errors import AnyLogError
from anylog.query.answer import Answer
from anylog.query.formats import JsonRows
from anylog.query.rewrite import local_select
from anylog.query.sql import read_statement
from anylog.query.times import utc

TWO = "select device, value, ok from readings where n is not null order by row_id limit 2"
ROW1 = '{"device":"dev-0001","value":1.5,"ok":true}'
ROW2 = '{"device":"dev-0002","value":2.5,"ok":false}'
STAT = '"Statistics":[{"Count": 2,"Time":"00:00:00","Nodes": 1}]'
NONE = '"Statistics":[{"Count": 0,"Time":"00:00:00","Nodes": 1}]'


class LayoutTests(Asking):
    def test_bytes(self) -> None:
        """Each layout with and without statistics, with rows and without (decisions 13)."""
        table = "\ndevice   value ok\n-------- ----- ----- \ndev-0001   1.5 true \ndev-0002   2.5 false \n"
        for layout, stat, expected, empty in [
            ("json", "true", f'{{"Query":[{ROW1},\n{ROW2}],\n{STAT}}}', f'{{"Query":[],\n{NONE}}}'),
            ("json", "false", f'{{"Query":[{ROW1},\n{ROW2}]}}', '{"Query":[]}'),
            ("json:list", "true", f"[{ROW1},\n{ROW2}]\n{{{STAT}}}", f"[]\n{{{NONE}}}"),
            ("json:list", "false", f"[{ROW1},\n{ROW2}]", "[]"),
            ("json:output", "true", f"{ROW1}\n{ROW2}\n{{{STAT}}}", f"{{{NONE}}}"),
            ("json:output", "false", f"{ROW1}\n{ROW2}", ""),
            ("table", "false", table, "\ndevice value ok\n------ ----- -- \n"),
            ("table", "true", f"{table}\n{{{STAT}}}", f"\ndevice value ok\n------ ----- -- \n\n{{{NONE}}}"),
        ]:
            options = f"plant format={layout} and stat={stat}"
            self.assertEqual(self.body(f'{options} "{TWO}"'), expected, layout)
            nothing = "select device, value, ok from readings where value > 1e9"
            for order in ("", " order by value"):
                self.assertEqual(self.body(f'{options} "{nothing}{order}"'), empty, layout)

    def test_console(self) -> None:
        """On a console the statistics stand on several lines; a title stands above a table."""
        body = self.body(f'plant format = table and title = "Two of them" "{TWO}"', origin="console")
        self.assertTrue(body.startswith("\nTwo of them\n\ndevice "), body)
        apart = ",\n                "
        self.assertTrue(body.endswith(f'[{{"Count": 2{apart}"Time":"00:00:00"{apart}"Nodes": 1}}]}}'), body)

    def test_values(self) -> None:
        """Large numbers, text, NULL and the whole table as they were loaded."""
        for order in ("", " order by row_id"):
            rows = self.rows_of(f"select * from readings{order}")
            shown = [[row[name] for name in COLUMNS] for row in rows]
            self.assertEqual(shown, [[*row[:4], None if row[4] is None else bool(row[4])] for row in ROWS])
            self.assertEqual(list(rows[0]), ["row_id", "insert_timestamp", "tsd_name", "tsd_id", *COLUMNS])
        self.assertIn('"value":4.0', self.body('plant "select value from readings where n = 4"'))
        self.assertIn('"é"', self.body('plant format = table "select device from readings"'))

    def test_numbers_lose_nothing(self) -> None:
        """What JSON says of a real number is that number."""
        numbers = [0.1 + 0.2, 1 / 3, 1e-7, 123456789.123456789, 8.15, 1e20, -2.5e-30, 6.02214076e23, 1.602176634e-19]
        numbers += [22.485203181923062, 23.877111437210502, 0.40165182573034097, 999999999.999999, 12.345, 0.1234567]
        self.load("numbers", {"x": "FLOAT", "t": "VARCHAR"}, [[x, "a"] for x in numbers])
        self.assertEqual(self.column("select x from numbers"), numbers)
        self.assertEqual(self.column("select x * 1 as y from numbers order by row_id"), numbers)
        self.assertEqual(self.column("select 9e999"), [None])
        self.assertEqual(self.column("select x'0aff'"), ["0AFF"])

    def test_json_text_stays_text(self) -> None:
        """A column that holds JSON shows it as text."""
        self.load("docs", {"doc": "VARCHAR"}, [['{"a": [1]}']])
        self.assertEqual(self.column("select doc from docs"), ['{"a": [1]}'])
        self.assertEqual(self.column("select json_extract(doc, '$.a') from docs"), ["[1]"])

    def test_many_columns(self) -> None:
        """More columns than a function of the engine takes arguments."""
        wide = {f"c{place}": "BIGINT" for place in range(150)}
        self.load("wide", wide, [list(range(150))])
        (row,) = self.rows_of("select * from wide")
        self.assertEqual([row[name] for name in wide], list(range(150)))

    def test_very_many_columns(self) -> None:
        """The work grows with the columns, not with a power of them; every layout takes them."""
        wide = {f"c{place}": "FLOAT" for place in range(1200)}
        self.load("wide", wide, [[place / 2 for place in range(1200)], [None] * 1200])
        first, second = self.rows_of("select * from wide")
        self.assertEqual([first[name] for name in wide], [place / 2 for place in range(1200)])
        self.assertEqual({second[name] for name in wide}, {None})
        table = self.body('plant format = table "select * from wide"')
        self.assertEqual(table.splitlines()[3].split()[-2:], ["599.0", "599.5"])

    def test_a_value_has_an_end(self) -> None:
        """Nobody makes the node hold a gigabyte by asking for one."""
        for value in ("zeroblob(500000000)", "replace(hex(zeroblob(100000)), '0', hex(zeroblob(1000)))"):
            self.assertEqual(self.refusal(f'plant "select length({value}) as n"').number, 16, value)

    def test_zones(self) -> None:
        """Time columns in a zone, across a change of its clock; nothing else moves."""
        self.load("moments", {"at": "TIMESTAMP"}, [["2026-03-08 09:59:59.999999"], ["2026-03-08 10:00:00.000001"]])
        for zone, expected in [
            ("utc", ["2026-03-08 09:59:59.999999", "2026-03-08 10:00:00.000001"]),
            ("pt", ["2026-03-08 01:59:59.999999", "2026-03-08 03:00:00.000001"]),
            ("Asia/Kolkata", ["2026-03-08 15:29:59.999999", "2026-03-08 15:30:00.000001"]),
        ]:
            rows = self.rows_of("select at, 'x' as x from moments order by row_id", f"and timezone = {zone}")
            self.assertEqual([row["at"] for row in rows], expected, zone)
        for zone in ("Mars/Base", "../etc/passwd", "Europe"):
            self.assertEqual(self.refusal(f'plant timezone = {zone} "select at from moments"').number, 173)
        after = "select at from moments where at >= '2026-03-08 03:00:00'"
        self.assertEqual(len(self.rows_of(after, "and timezone = pt")), 1)


class PageTests(Asking):
    rows = [[f"d{n % 7}", f"2026-01-{n % 28 + 1:02} 00:00:00.000000", n / 8, n, n % 2] for n in range(10_000)]

    def test_pages_make_the_whole(self) -> None:
        """Ten thousand rows in pages are what one statement gives; nothing temporary stays."""
        for order in ("", " order by n desc"):
            result = self.ask(f'plant stat = false "select n, value from readings{order}"')
            assert result is not None and result.pages is not None
            pages = []
            while (page := self.successResultOf(result.pages.next())) is not None:
                pages.append(page)
            self.assertGreater(len(pages), 4)
            found = [row["n"] for row in orjson.loads(b"".join(pages))["Query"]]
            self.assertEqual(found, sorted(range(10_000), reverse=bool(order)))
        self.assertEqual((self.temporary(), self.database.busy), ([], 0))

    def test_limits(self) -> None:
        """Any limit gives as many rows, whether they come at once or in pages."""
        for limit in (0, 1, 25, 1999, 2000, 2001, 4000, 9999, 10_000, 20_000):
            for order in ("", " order by n"):
                found = self.column(f"select n from readings{order} limit {limit}")
                self.assertEqual(found, list(range(min(limit, 10_000))), limit)
        self.assertEqual(self.column("select top 3 n from readings"), [0, 1, 2])

    def test_close_in_the_middle(self) -> None:
        """A reader who leaves frees the connection and the temporary table, and gets no more."""
        result = self.ask('plant "select * from readings order by n"')
        assert result is not None and result.pages is not None
        self.assertTrue(self.successResultOf(result.pages.next()))
        self.assertEqual(self.database.busy, 1)
        result.pages.close()
        result.pages.close()
        self.assertEqual((self.temporary(), self.database.busy), ([], 0))
        self.assertIsNone(self.successResultOf(result.pages.next()))

    def test_tables(self) -> None:
        """The heading stands once below a thousand rows, else above each batch, whose columns have its widths."""
        for limit, headings in [(999, 1), (1000, 1), (2500, 3)]:
            body = self.body(f'plant format = table and stat = false "select n, device from readings limit {limit}"')
            self.assertEqual(body.count("\nn "), headings, limit)
            self.assertEqual(body.count(" d"), limit + headings, limit)

    def test_time_is_over(self) -> None:
        """A query without time left is refused, with the number that says whose limit it was."""
        statement = '"select count(*) from readings"'
        self.assertEqual(self.refusal(f"plant {statement}", deadline=NOW - 1).number, 26)
        self.assertEqual(self.body(f"plant max_time = 5 seconds and stat = false {statement}").count("10000"), 1)
        self.assertEqual(self.database.busy, 0)


class LaneTests(Asking):
    """What happens while a piece of work waits or runs in its lane."""

    def answer(self, lease: Held, until: float | None = None) -> Answer:
        self.lease = lease
        source: Any = SimpleNamespace(name="plant", kind="sqlite", lease=lambda: succeed(lease))
        ready = local_select(read_statement(SLOW)[1], self.database.schema, utc(NOW))
        return Answer(
            database=source,
            ready=ready,
            layout=JsonRows(","),
            clock=self.clock,
            name="anylog_answer_1",
            zone=UTC,
            until=until,
            late=76,
        )

    def test_interrupted(self) -> None:
        """At the deadline the running statement is stopped, and the connection goes back."""
        answer = self.answer(Held(lambda: self.clock.advance(5)), until=NOW + 5)
        opened = Deferred.fromCoroutine(answer.open())
        self.lease.work()
        self.assertEqual(self.failureResultOf(opened, AnyLogError).value.number, 76)
        self.assertEqual((self.lease.interrupts > 0, self.lease.released), (True, 1))

    def test_left_while_running(self) -> None:
        """A caller who leaves stops the statement; the connection is given back after it has ended, once."""
        lease = Held(lambda: (opened.cancel(), self.assertEqual(lease.released, 0)))
        answer = self.answer(lease)
        opened = Deferred.fromCoroutine(answer.open())
        lease.work()
        self.failureResultOf(opened, CancelledError)
        self.assertEqual((lease.interrupts > 0, lease.released), (True, 1))
        self.clock.pump([1] * 3)
        self.assertEqual((lease.released, self.clock.getDelayedCalls()), (1, []))

    def test_left_while_waiting(self) -> None:
        """Work that has not begun when its caller leaves is not done, and nothing of others is interrupted."""
        answer = self.answer(Held(lambda: self.fail("it was done")))
        opened = Deferred.fromCoroutine(answer.open())
        opened.cancel()
        self.failureResultOf(opened, CancelledError)
        self.lease.work()
        self.assertEqual((self.lease.interrupts, self.lease.released), (0, 1))


SLOW = "with r(n) as (select 1 union all select n + 1 from r) select count(*) as n from r"


class Held:
    """A lease whose work is done when the test says so; `meanwhile` is called once, while a statement runs."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.interrupts = self.released = 0
        self._queue: list[tuple[Callable[[Any], Any], Deferred[Any]]] = []

        def progress() -> int:
            self.connection.set_progress_handler(None, 0)
            meanwhile()
            return 0

        self.connection.set_progress_handler(progress, 1000)

    def run(self, work: Callable[[Any], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self._queue.append((work, done))
        return done

    def work(self) -> None:
        """Do what waits."""
        while self._queue:
            work, done = self._queue.pop(0)
            maybeDeferred(work, self.connection).chainDeferred(done)

    def interrupt(self) -> None:
        self.interrupts += 1
        self.connection.interrupt()

    def release(self) -> None:
        self.released += 1
        self.connection.close()


class Faults(Asking):
    def test_status(self) -> None:
        """What is wrong with the file or the disk is no fault of who asks; what is busy may be asked again."""
        for code, status in [(1, 400), (5, 503), (6, 503), (10, 500), (11, 500), (26, 500), (10 | 1 << 8, 500)]:
            fault = sqlite3.OperationalError(f"code {code}")
            fault.sqlite_errorcode = code

            class Broken:
                def __init__(self, fault: Exception) -> None:
                    self.fault = fault

                def execute(self, statement: str, parameters: Any = ()) -> Any:
                    raise self.fault

                def close(self) -> None:
                    """Nothing is open."""

            made = self.database._readers._make
            self.database._readers._idle.clear()
            self.database._readers._make = partial(Broken, fault)  # type: ignore[misc, assignment]
            error = self.refusal('plant "select n from readings"')
            told = self.failureResultOf(self.database.counts(["readings"]), AnyLogError).value
            self.database._readers._idle.clear()
            self.database._readers._make = made
            self.assertEqual((error.number, error.http, told.number, told.http), (16, status, 16, status), code)
