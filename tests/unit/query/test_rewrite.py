"""What becomes of times and of the language's own functions; titles (query.md 2, 3, 5; decisions 28, 31)."""

from __future__ import annotations

from datetime import datetime

import pytest
from place import COLUMNS, Asking

from anylog.errors import AnyLogError
from anylog.query.rewrite import local, local_select
from anylog.query.series import chosen
from anylog.query.sql import read_statement
from anylog.query.times import moment_of, offsets, zone_of

NOW = datetime(2026, 3, 31, 12, 0, 0, 5)


def schema(table: str) -> dict[str, str] | None:
    return {"row_id": "BIGINT", **COLUMNS} if table == "readings" else None


def rewritten(condition: str, zone: str = "utc") -> str:
    tokens = read_statement(f"select n from readings where {condition}")[1]
    return local_select(tokens, schema, NOW, zone_of(zone)).statement.partition(" where ")[2]


def test_time_functions() -> None:
    """Replaced once, by the time that is handed in."""
    for text, expected in [
        ("n = now()", "2026-03-31 12:00:00.000005"),
        ("n = NOW() - 3 days", "2026-03-28 12:00:00.000005"),
        ("n = now() -3d", "2026-03-28 12:00:00.000005"),
        ("n = now() + 2 hours - 5 minutes", "2026-03-31 13:55:00.000005"),
        ("n = now() - 1 month", "2026-02-28 12:00:00.000005"),
        ("n = now() - 1 m", "2026-02-28 12:00:00.000005"),
        ("n = now() + 1 year", "2027-03-31 12:00:00.000005"),
        ("n = -4t", "2026-03-31 11:56:00.000005"),
        ("n = date()", "2026-03-31"),
        ("n = date() - 1 day", "2026-03-30"),
        ("n = date('now')", "2026-03-31"),
        ("n = date('now','start of year','+2 weeks','-1 hour')", "2026-01-14"),
        ("n = timestamp('2024-02-01 08:00:00','-3 days')", "2024-01-29 08:00:00.000000"),
        ("n = timestamp(now, '- 1 day')", "2026-03-30 12:00:00.000005"),
        ("n = timestamp('now', 'start of day')", "2026-03-31 00:00:00.000000"),
        ("n = datetime('now', '-1 month')", "2026-02-28 12:00:00.000005"),
    ]:
        assert rewritten(text) == f"n = '{expected}'", text
    for untouched in ("date(timestamp) = n", "n > -4", "n = 3 - 4 and n = -4", "n = datetime(timestamp, 'localtime')"):
        assert rewritten(untouched) == untouched
    for wrong in ("n = date('now', 'soon')", "n = timestamp('now', '+3 parsecs')", "n = now() - 9999 years"):
        with pytest.raises(AnyLogError) as refused:
            rewritten(wrong)
        assert refused.value.number == 46


def test_literals() -> None:
    """Beside a time column every form of a time is that of stored times; elsewhere a text stays a text."""
    first = "'2026-01-01 00:00:00.000000'"
    for text, expected in [
        ("timestamp >= '2026-01-01 00:00:00'", f"timestamp >= {first}"),
        ("timestamp >= '2026-01-01T00:00:00Z'", f"timestamp >= {first}"),
        ("timestamp >= '2026-01-01'", f"timestamp >= {first}"),
        ("timestamp >= '2026-01-01 00:00'", f"timestamp >= {first}"),
        ("timestamp = '2026-01-01 05:30:00.000+05:30'", f"timestamp = {first}"),
        ("'2025-12-31 19:00:00-05' < timestamp", f"{first} < timestamp"),
        ("r.timestamp < '2024-07-19T18:57:46.909Z'", "r.timestamp < '2024-07-19 18:57:46.909000'"),
        ("\"timestamp\" != '2026-01-01'", f'"timestamp" != {first}'),
        ("timestamp not between '2026-01-01' and '2026-01-01'", f"timestamp not between {first} and {first}"),
        ("timestamp in ('2026-01-01', '2026-01-01T00:00:00')", f"timestamp in ({first}, {first})"),
        ("max(timestamp) > '2026-01-01'", f"max(timestamp) > {first}"),
    ]:
        assert rewritten(text) == expected, text
    for untouched in ("timestamp like '2026-01-01%'", "device = '2026-01-01 00:00:00'", "timestamp > 'soon'"):
        assert rewritten(untouched) == untouched
    assert rewritten("timestamp > '2026-01-01 00:00:00'", "pt") == "timestamp > '2026-01-01 08:00:00.000000'"
    assert rewritten("timestamp > '2026-01-01T00:00:00'", "pt") == f"timestamp > {first}"
    insert = "insert into readings (n, timestamp) values (1, '2026-01-01'), (2, '2026-01-01 00:00Z')"
    assert local(read_statement(insert)[1], schema, NOW).count(first) == 2


def test_titles() -> None:
    """The alias, else the column, else the expression as it is written."""
    for projected, titles in [
        ("count(*), min( timestamp ), r.device", ["count(*)", "min(timestamp)", "device"]),
        ("value as V, n total", ["v", "total"]),
        ("distinct(device), range(value)", ["distinct(device)", "range(value)"]),
        ("distinct device, value + 1", ["device", "value + 1"]),
        ("count(distinct device) as \"Big N\"", ["Big N"]),
        ("increments(day, 1, timestamp), max(value)", ["max(value)"]),
        ("increments(day, 1, timestamp) as day, max(value)", ["day", "max(value)"]),
        ("case when n is null then 0 else 1 end, n is null", ["case when n is null then 0 else 1 end", "n is null"]),
        ("*", [None]),
    ]:  # fmt: skip
        tokens = read_statement(f"select {projected} from readings r")[1]
        assert local_select(tokens, schema, NOW).titles == titles, projected


def test_zone_changes() -> None:
    """The offsets of a zone between two times, to the second."""
    steps = offsets("2026-01-01 00:00:00.000000", "2026-12-31 00:00:00.5", zone_of("et"))
    assert steps == [
        ("2026-03-08 07:00:00.000000", -18000),
        ("2026-11-01 06:00:00.000000", -14400),
        ("", -18000),
    ]
    assert moment_of("2026-02-30") is None and moment_of("2026-01-01 25:00") is None


def test_chosen() -> None:
    """A day in a thousand points is minutes."""
    for days, expected in [(1, ("minute", 1)), (0.001, ("second", 1)), (365, ("hour", 9)), (0, ("second", 1))]:
        end = datetime.fromtimestamp(NOW.timestamp() + days * 86400)
        assert chosen(NOW, end, 1000) == expected


class EngineTests(Asking):
    def test_the_very_second(self) -> None:
        """A bound of a whole second includes it and finds it (decisions 28)."""
        for condition, count in [
            ("timestamp >= '2026-01-01 00:00:00'", 5),
            ("timestamp > '2026-01-01 00:00:00'", 4),
            ("timestamp = '2026-01-01 00:00:00'", 1),
            ("timestamp = '2026-01-01'", 1),
            ("timestamp <= '2026-01-01T00:00:00Z'", 1),
            ("timestamp between '2026-01-01 00:00:00' and '2026-01-01 00:01:10'", 3),
            ("timestamp in ('2026-01-01 00:01:10', '2026-02-01 10:00')", 2),
            ("timestamp < now()", 4),
            ("timestamp > now() and timestamp < now() + 31 days", 1),
        ]:
            self.assertEqual(self.column(f"select count(*) from readings where {condition}"), [count], condition)

    def test_increments(self) -> None:
        """Buckets of any unit and number, in order, with a column of their own only if it is named."""
        for arguments, starts, counts in [
            ("minute, 1, timestamp", ["01-01 00:00", "01-01 00:01", "01-01 01:05", "02-01 10:00"], [2, 1, 1, 1]),
            ("timestamp, 2, minutes", ["01-01 00:00", "01-01 01:04", "02-01 10:00"], [3, 1, 1]),
            ("hour, 1, timestamp", ["01-01 00:00", "01-01 01:00", "02-01 10:00"], [3, 1, 1]),
            ("'day', 7, timestamp", ["01-01 00:00", "02-01 00:00"], [4, 1]),
            ("week, 1, timestamp", ["01-01 00:00", "02-01 00:00"], [4, 1]),
            ("month, 3, timestamp", ["01-01 00:00"], [5]),
            ("year, 1, timestamp", ["01-01 00:00"], [5]),
        ]:
            rows = self.rows_of(f"select increments({arguments}) as at, count(*) as n from readings")
            self.assertEqual([row["at"] for row in rows], [f"2026-{start}:00.000000" for start in starts], arguments)
            self.assertEqual([row["n"] for row in rows], counts, arguments)
            self.assertEqual(self.column(f"select increments({arguments}), count(*) from readings"), counts)
        rows = self.rows_of("select increments(second, 30, timestamp) as at, max(value) as hi from readings limit 2")
        self.assertEqual(rows[0], {"at": "2026-01-01 00:00:00.000000", "hi": 2.5})
        self.assertEqual(rows[1], {"at": "2026-01-01 00:01:00.000000", "hi": -3.25})
        grouped = "select increment(day, 1, timestamp), device, count(*) as n from readings group by device"
        self.assertEqual(
            [row["device"] for row in self.rows_of(f"{grouped} order by n desc, device limit 1")], ["dev-0001"]
        )
        bounded = "where timestamp >= '2026-01-01' and timestamp < '2026-01-02'"
        self.assertEqual(self.column(f"select increments(timestamp, 24), count(*) from readings {bounded}"), [3, 1])
        for wrong in ("increments(timestamp)", "increments(fortnight, 1, timestamp)", "increments(day, 0, timestamp)"):
            self.assertEqual(self.refusal(f'plant "select {wrong}, count(*) from readings"').number, 46, wrong)

    def test_period(self) -> None:
        """The last while before the newest row that fits."""
        for arguments, found in [
            ("minute, 1, now(), timestamp", [4]),
            ("hours, 1, '2026-01-01 00:01:10', timestamp", [1, 9007199254740993, None]),
            ("second, 50, '2026-01-01 00:01:10', timestamp", [9007199254740993, None]),
            ("month, 1, '2026-02-01 10:00:00', timestamp", [5]),
            ("month, 2, '2026-02-01 10:00:00', timestamp", [1, 9007199254740993, None, 4, 5]),
            ("day, 1, now(), timestamp, and device = 'dev-0001' and n in (1, 2)", [1]),
            ("day, 1, '2020-01-01', timestamp", []),
        ]:
            self.assertEqual(self.column(f"select n from readings where period({arguments})"), found, arguments)
        both = "select n from readings where (period(day, 1, now(), timestamp)) and value > 2"
        self.assertEqual(self.column(both), [9007199254740993, 4])
        for wrong in ("minute, now(), timestamp", "minute, 0, now(), timestamp", "minute, 1, soon, timestamp",
                      "minute, 1, now(), timestamp, device = 'a'"):  # fmt: skip
            error = self.refusal(f'plant "select n from readings where period({wrong})"')
            self.assertEqual(error.detail, "Inconsistent arguments for function: 'period'", wrong)

    def test_period_keeps_the_day(self) -> None:
        """A month before the last of March ends with February; fractions stay."""
        self.load("ends", {"at": "TIMESTAMP"}, [["2026-02-28 08:00:00.000001"], ["2026-02-28 08:00:00.000002"],
                                                 ["2026-03-31 08:00:00.000001"]])  # fmt: skip
        found = self.column("select at from ends where period(month, 1, '2026-04-01', at)")
        self.assertEqual(found, ["2026-02-28 08:00:00.000002", "2026-03-31 08:00:00.000001"])

    def test_functions(self) -> None:
        """date_trunc, extract and range."""
        for expression, value in [
            ("date_trunc('hour', timestamp)", "2026-01-01 01:00:00.000000"),
            ("date_trunc('day', timestamp)", "2026-01-01 00:00:00.000000"),
            ("date_trunc('week', timestamp)", "2025-12-29 00:00:00.000000"),
            ("extract(minute from timestamp)", 5),
            ("extract(year from timestamp)", 2026),
            ("extract(dow from timestamp)", 4),
        ]:
            self.assertEqual(self.column(f"select {expression} from readings where n = 4"), [value], expression)
        self.assertEqual(self.rows_of("select range(value) from readings"), [{"range(value)": 7.25}])
        self.assertEqual(self.refusal("plant select date_trunc('eon', timestamp) from readings").number, 46)
        self.assertEqual(sorted(self.column("select distinct(device) from readings"))[:2], ["dev-0001", "dev-0002"])
