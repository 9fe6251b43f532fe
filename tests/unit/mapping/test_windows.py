"""Aggregation: intervals by arrival, what they hold, and the rows that are made of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from anylog.mapping import windows
from anylog.mapping.windows import Aggregations, Declared, Frequency, number_in

BEGIN = 1_800_000_000.0


def row(value: Any, second: int = 0, **more: Any) -> dict[str, Any]:
    return {"timestamp": f"2026-11-21T10:00:{second:02d}Z", "value": value, **more}


def at(second: int) -> str:
    return f"2026-11-21 10:00:{second:02d}.000000"


class WindowsCase(SynchronousTestCase):
    def begin(self, **options: Any) -> None:
        self.all = Aggregations()
        self.all.declare(Declared(**{"dbms": "town", "table": "weather", "time": 60.0, **options}))

    def feed(self, after: float, *rows: dict[str, Any], table: str = "weather") -> None:
        self.all.feed("town", table, list(rows), BEGIN + after)

    def intervals(self, table: str = "weather") -> list[tuple[Any, ...]]:
        (series,) = self.all.series("town", table)
        return [(each.begin - BEGIN, each.count, each.least, each.most, each.average) for each in series.intervals]

    def made(self, after: float = 0.0, all: bool = False) -> list[dict[str, Any]]:
        self.all.close(BEGIN + after, all=all)
        return [dict(each.row) for each in self.all.take(BEGIN + after, all=all)]


class ColumnsTests(WindowsCase):
    def test_other_columns_go_on(self) -> None:
        """Declaring one more column, or ending one, leaves the intervals of the others as they are."""
        self.begin()
        self.feed(0, row(1, other=5))
        (first,) = self.all.series()
        self.all.declare(Declared(dbms="town", table="weather", time=60.0, value_column="other"))
        self.assertEqual(self.all.series(), [first])
        self.feed(10, row(3, other=7))
        self.assertEqual(
            {each.declared.value_column: [i.count for i in each.intervals] for each in self.all.series()},
            {"value": [2], "other": [1]},
        )
        self.all.reset("town", "weather", "other")
        self.feed(20, row(4, other=9))
        self.assertEqual((self.all.series(), first.intervals[0].count), ([first], 3))
        self.assertEqual(self.all._count, 1)

    def test_a_column_declared_anew_begins_anew(self) -> None:
        """It has its new settings, in every table of the database; what it had open is given out."""
        self.begin(table="")
        self.all.set_options("town", "weather", derived=True)
        self.feed(0, row(1))
        self.feed(0, row(1), table="wind")
        self.all.declare(Declared(dbms="town", time=5.0))
        self.assertEqual([each["events"] for each in self.made()], [1])
        self.feed(1, row(2))
        self.feed(7, row(2))
        self.assertEqual(self.intervals(), [(1, 1, 2, 2, 2.0), (6, 1, 2, 2, 2.0)])
        self.assertEqual(self.all.reset("town"), 1)
        self.feed(8, row(2))
        self.assertEqual((self.all.series(), self.all._count), ([], 0))


class IntervalTests(WindowsCase):
    def test_by_arrival(self) -> None:
        """Aligned at the first row; the time of a row does not decide where it counts."""
        self.begin()
        self.feed(7, row(1), row(3))
        self.feed(66.9, row(5, 59))
        self.feed(67, row(10, 0))  # as late as the first one, and in the next interval
        self.assertEqual(self.intervals(), [(7, 3, 1, 5, 3.0), (67, 1, 10, 10, 10.0)])

    def test_times_are_those_of_the_rows(self) -> None:
        """An interval is about the times of its rows, in whatever order they came; without one, about their arrival."""
        self.begin()
        self.feed(0, row(1, 30), row(2, 10), row(3, 50), row(4, 20))
        (series,) = self.all.series()
        self.assertEqual((series.intervals[0].first, series.intervals[0].last), (at(10), at(50)))
        self.feed(60, {"value": 1})
        self.assertEqual(series.intervals[1].first, "2027-01-15 08:01:00.000000")

    def test_only_the_last_are_kept(self) -> None:
        """Memory is bounded by `intervals`; silence makes no empty ones."""
        self.begin(intervals=3)
        for minute in range(10):
            self.feed(minute * 60, row(minute))
        self.assertEqual([each[2] for each in self.intervals()], [7, 8, 9])
        self.feed(6000, row(1))
        self.assertEqual([each[0] for each in self.intervals()], [480, 540, 6000])

    def test_a_clock_that_is_set_back(self) -> None:
        """The open interval goes on; one that is over never comes again."""
        self.begin()
        self.feed(0, row(1))
        self.feed(120, row(2))
        self.feed(50, row(3))
        self.assertEqual([each[1] for each in self.intervals()], [1, 2])
        self.all.close(BEGIN + 200)
        self.feed(10, row(4))
        (series,) = self.all.series()
        numbers = [each.number for each in series.intervals]
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_what_is_no_number(self) -> None:
        """It is not counted, and that is."""
        self.begin()
        self.feed(0, row("x"), row(None), row(True), row([1]), {"timestamp": "x"}, row("2.5"), row(float("nan")))
        self.assertEqual(self.intervals(), [(0, 1, 2.5, 2.5, 2.5)])
        self.assertEqual(self.all.series()[0].skipped, 6)
        for odd in ("1_0", "1e999", "x" * 50, 10**400, "inf"):
            self.assertIsNone(number_in(odd), odd)

    def test_columns_in_another_spelling(self) -> None:
        """Exact names first, else names as columns are spelled."""
        self.begin(value_column="engine_temp", time_column="Time Stamp")
        self.feed(0, {"Engine Temp": 4, "time_stamp": "2026-11-21T10:00:09Z"})
        self.assertEqual(self.all.series()[0].intervals[0].first, at(9))

    def test_every_table(self) -> None:
        """Without a table all of a database are followed; a table's own declaration wins for its column."""
        self.begin(table="")
        self.all.declare(Declared(dbms="town", table="noise", time=5.0))
        for table in ("weather", "noise"):
            self.feed(0, row(1), table=table)
            self.feed(6, row(1), table=table)
        self.assertEqual([len(self.intervals(table)) for table in ("weather", "noise")], [1, 2])
        self.assertFalse(self.all.follows("village", "weather"))

    def test_tables_are_bounded(self) -> None:
        """The one that is silent for longest is let go; what was open of it is made."""
        self.patch(windows, "MOST_SERIES", 3)
        self.begin(table="")
        for number in range(3):
            self.all.set_options("town", f"t{number}", derived=True)
            self.feed(0, row(number), table=f"t{number}")
        self.feed(1, row(7), table="t0")
        self.feed(2, row(9), table="t3")
        self.assertEqual([each.table for each in self.all.series()], ["t0", "t2", "t3"])
        self.assertEqual([each["min_val"] for each in self.made(2)], [1.0])

    @given(
        some.lists(some.tuples(some.floats(0, 30), some.integers(-(10**6), 10**6), some.integers(0, 59)), max_size=40)
    )
    def test_nothing_is_lost(self, steps: list[tuple[float, int, int]]) -> None:
        """Whatever the order and the pauses: each value is in one interval, and that is as long as it was said."""
        self.begin(intervals=1000, time=20.0)
        now, values = 0.0, []
        for pause, value, second in steps:
            now += pause
            values.append(value)
            self.feed(now, row(value, second))
        for series in self.all.series():
            self.assertEqual(sum(each.count for each in series.intervals), len(values))
            self.assertEqual(sum(each.total for each in series.intervals), sum(values))
            begins = [each.begin for each in series.intervals]
            self.assertTrue(all(later - begin >= 20 - 1e-3 for begin, later in pairwise(begins)))


class DerivedTests(WindowsCase):
    def derive(self, **options: Any) -> None:
        self.begin()
        self.all.set_options("town", "weather", derived=True, **options)

    def test_nothing_by_default(self) -> None:
        """Rows are stored, what is made of them is not."""
        self.begin()
        self.feed(0, row(1))
        self.assertTrue(self.all.stores("town", "weather"))
        self.assertEqual(self.made(100, all=True), [])

    def test_bounds(self) -> None:
        """One row an interval, once its time is over, with or without another row."""
        self.derive(encoding="bounds")
        self.feed(0, row(1, 10), row(4, 5))
        self.assertEqual(self.made(59), [])
        expected = {
            "timestamp": at(5),
            "end_interval": at(10),
            "min_val": 1.0,
            "max_val": 4.0,
            "avg_val": 2.5,
            "events": 2,
        }
        self.assertEqual(self.made(60), [expected])
        self.assertEqual(self.made(200), [])
        self.feed(240, row(7, 20))
        self.feed(300, row(8, 30))
        self.assertEqual([each["avg_val"] for each in self.made(300)], [7.0])

    def test_arle(self) -> None:
        """A run ends with a value too far from its first one, and with its interval."""
        self.derive(encoding="arle", tolerance=10)
        self.feed(0, row(100, 1), row(110, 2), row(109, 3), row(120, 4), row(90, 5), row(0, 6), row(0, 7), row(0.1, 8))
        self.assertEqual(
            [(each["timestamp"], each["end_interval"], each["events"]) for each in self.made(1)],
            [(at(1), at(3), 3), (at(4), at(4), 1), (at(5), at(5), 1), (at(6), at(7), 2)],
        )
        self.assertEqual(self.made(60), [{"timestamp": at(8), "end_interval": at(8), "avg_val": 0.1, "events": 1}])

    def test_where_they_go(self) -> None:
        """A target, the table of the encoding, or `agg_` beside the source."""
        for declared, options, expected in [
            ({}, {}, ("agg_town", "agg_weather")),
            ({}, {"source": False}, ("town", "weather")),
            ({}, {"encoding": "bounds"}, ("town", "bounds_weather")),
            ({"target_dbms": "sums"}, {"encoding": "arle"}, ("sums", "arle_weather")),
            ({"target_dbms": "sums"}, {}, ("sums", "weather")),
            ({"target_table": "minutes"}, {}, ("town", "minutes")),
        ]:
            self.begin(**declared)
            self.all.set_options("town", "weather", derived=True, **options)
            self.feed(0, row(1))
            self.all.close(BEGIN, all=True)
            (made,) = self.all.take(BEGIN)
            self.assertEqual((made.dbms, made.table), expected, (declared, options))

    def test_source(self) -> None:
        """Rows are kept back only where they are counted."""
        self.all = Aggregations()
        self.all.set_options("town", "weather", source=False)
        self.assertTrue(self.all.stores("town", "weather"))
        self.all.declare(Declared(dbms="town", table="weather"))
        self.assertFalse(self.all.stores("town", "weather"))

    def test_how_often(self) -> None:
        """Of a table, of a database, of all: as they are made, every so often, never."""
        self.derive(encoding="bounds")
        self.all.set_frequency("town", "", Frequency(when="time", interval=300.0))
        self.feed(0, row(1))
        self.assertEqual(self.made(60), [])
        self.feed(100, row(2))
        self.assertEqual(self.made(160), [])
        self.assertEqual(len(self.made(361)), 2)
        self.all.set_frequency("town", "weather", Frequency(when="none"))
        self.feed(400, row(1))
        self.assertEqual(self.made(500, all=True), [])
        self.assertEqual(self.all.frequency("village", "x").when, "continuous")

    def test_waiting_rows_are_bounded(self) -> None:
        """Where nobody takes them the newest are counted and let go."""
        self.patch(windows, "MOST_WAITING", 2)
        self.derive(encoding="arle")
        self.feed(0, *[row(value) for value in range(5)])
        self.assertEqual((len(self.made(1)), self.all.dropped), (2, 2))

    def test_reset(self) -> None:
        """What is followed no more gives what it has to where it went; options go with it."""
        self.begin(target_dbms="sums")
        self.all.set_options("town", "weather", derived=True, encoding="bounds")
        self.feed(0, row(1))
        self.assertEqual(self.all.reset("town"), 1)
        self.assertEqual([(each.dbms, each.row["events"]) for each in self.all.take(BEGIN)], [("sums", 1)])
        self.assertFalse(self.all.active)
        self.assertEqual(self.all.options("town", "weather").encoding, "none")
        self.assertEqual(self.all.reset("town"), 0)

    def test_thresholds(self) -> None:
        """By column, and of the first column by themselves."""
        self.begin()
        self.all.set_thresholds("town", "weather", "value", {"max": 5.0})
        self.all.set_thresholds("town", "weather", "wind", {"max": 7.0, "min": 1.0})
        self.assertEqual(
            self.all.thresholds("town", "weather"),
            {
                "threshold.max": 5.0,
                "threshold.value.max": 5.0,
                "threshold.wind.max": 7.0,
                "threshold.min": 1.0,
                "threshold.wind.min": 1.0,
            },
        )
