"""A query of the network equals the same query on one big database, whatever the nodes hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from place import COLUMNS, NOW
from twisted.internet.defer import Deferred
from world import Network

from anylog.language.context import Context
from anylog.query.commands import Sql

DEVICES = [None, "a", "B", "b", "é", "10", "9"]
TIMES = [f"2026-01-0{day} {hour:02}:{minute:02}:00.{fraction}" for day in (1, 2) for hour in (0, 7, 23)
         for minute in (0, 4, 59) for fraction in ("000000", "123456")]  # fmt: skip
VALUES = [None, -2.5, 0.0, 0.125, 1.0, 3.5, 1e6]
NUMBERS = [None, -3, 0, 1, 2, 1_099_511_627_777]

ROW = st.tuples(
    st.sampled_from(DEVICES), st.sampled_from(TIMES), st.sampled_from(VALUES), st.sampled_from(NUMBERS),
    st.sampled_from([None, 0, 1]), st.integers(0, 3),
)  # fmt: skip
KEYS = ["device", "n", "ok", "value", "timestamp", "date_trunc('hour', timestamp)", "extract(hour from timestamp)",
        "n % 2", "coalesce(device, 'none')"]  # fmt: skip
AGGREGATES = ["count(*)", "count(value)", "sum(value)", "min(value)", "max(n)", "avg(value)", "avg(n)", "range(value)",
              "count(distinct device)", "count(distinct n)", "min(device)", "max(timestamp)", "total(value)",
              "sum(value) / count(*)", "round(avg(value), 1) + 1", "max(timestamp) || 'x'", "min(ok)",
              "sum(distinct value)", "coalesce(sum(value), 0) + count(*)"]  # fmt: skip
WHERE = ["", "where value > 0", "where device in ('a', 'b') or n is null", "where timestamp >= '2026-01-01 07:00:00'",
         "where timestamp < '2026-01-02' and not ok", "where device like 'b%'", "where value between 0 and 2",
         "where 1 = 0"]  # fmt: skip
HAVING = ["", "having count(*) > 1", "having max(value) >= 1 or min(value) is null"]
BUCKETS = ["increments(hour, 1, timestamp)", "increments(minute, 5, timestamp)", "increments(timestamp, day, 1)"]


@st.composite
def statements(draw: Any) -> str:
    """A select whose answer is one list of rows and no other."""
    way = draw(st.sampled_from(["rows", "distinct", "group", "all", "increments"]))
    where = draw(st.sampled_from(WHERE))
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
    aggregates = draw(st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=4, unique=True))
    falls = [draw(st.sampled_from(["", " desc"])) for _ in keys]
    limit = draw(st.sampled_from(["", "limit 0", "limit 2", "limit 5", "limit 3 offset 2", "limit 1000"]))
    if way == "all":
        return f"select {', '.join(aggregates)} from readings {where} {limit}"
    named = [f"{key} as k{place}" for place, key in enumerate(keys)]
    titles = draw(st.sampled_from([keys, [f"k{place}" for place in range(len(keys))]]))
    order = ", ".join(f"{title}{fall}" for title, fall in zip(titles, falls, strict=True))
    if way == "rows":
        return f"select {', '.join(named)} from readings {where} order by {order} {limit}"
    if way == "distinct":
        return f"select distinct {', '.join(named)} from readings {where} order by {order} {limit}"
    having = draw(st.sampled_from(HAVING))
    if way == "increments":
        bucket = draw(st.sampled_from(BUCKETS))
        item = draw(st.sampled_from([bucket, f"{bucket} as at"]))
        return f"select {item}, {', '.join(aggregates)} from readings {where} {having} {limit}"
    shown = [each for each in [*named, *aggregates] if draw(st.booleans())] or aggregates
    group = ", ".join(keys)
    order = ", ".join(f"{key}{fall}" for key, fall in zip(keys, falls, strict=True))
    if draw(st.booleans()):
        order = f"{aggregates[0]}{falls[0]}, {order}"
    return f"select {', '.join(shown)} from readings {where} group by {group} {having} order by {order} {limit}"


class TruthTests(Network):
    operators = 4

    def setUp(self) -> None:
        super().setUp()
        self.whole = self.start_operator("whole:1")
        self.declare("readings", COLUMNS, [[f"op{number}:1"] for number in (1, 2, 3, 4)])
        self.one: Any = SimpleNamespace(
            clock=self.clock, queries=self.node.queries, databases=SimpleNamespace(get=lambda name: self.whole)
        )
        for address in self.databases:
            self.fill(address, "readings", [])

    def truth(self, line: str) -> str:
        """What the one database says."""
        result = self.successResultOf(Deferred.fromCoroutine(Sql().run(self.one, Context(), [line])))
        assert result is not None
        return self.pages(result)

    def spread(self, rows: list[tuple[Any, ...]]) -> None:
        """Each row to one operator, and all of them to the one database."""
        for database in self.databases.values():
            self.successResultOf(database.execute("delete from readings"))
        for number in range(4):
            self.fill(f"op{number + 1}:1", "readings", [row[:5] for row in rows if row[5] == number])
        self.fill(self.whole, "readings", [row[:5] for row in rows])

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(ROW, max_size=30), st.lists(statements(), min_size=1, max_size=8))
    def test_any_select(self, rows: list[tuple[Any, ...]], asked: list[str]) -> None:
        """Rows, groups, buckets, limits: the bytes are the same."""
        self.spread(rows)
        for statement in asked:
            for layout in ("json:list", "table"):
                line = f'plant format = {layout} and stat = false "{statement}"'
                self.assertEqual(self.body(line), self.truth(line), statement)

    def test_pages(self) -> None:
        """Many pages of each node, cut anywhere, are merged in order; each row comes once."""
        rows = [
            (f"d{n % 7}", f"2026-01-{n % 28 + 1:02} 00:00:00.000000", n / 8, n, n % 2, n * n % 4) for n in range(12_000)
        ]
        self.spread(rows)
        for statement in (
            "select n, value from readings order by n",
            "select n, value from readings order by n desc limit 7001 offset 3",
            "select device, n, ok from readings order by device desc, ok, n desc",
            "select value, n from readings where ok order by device, n limit 5000",
            "select distinct device from readings order by device",
            "select n from readings group by n order by n limit 3000",
        ):
            for layout in ("json:list", "json:output", "table"):
                line = f'plant format = {layout} and stat = false "{statement}"'
                self.assertEqual(self.body(line), self.truth(line), statement)
        passed = [row["n"] for row in self.rows_of("select n from readings")]
        self.assertEqual(sorted(passed), list(range(12_000)))
        for limit in (0, 1, 5, 3000, 11_999, 20_000):
            found = [row["n"] for row in self.rows_of(f"select n from readings limit {limit}")]
            self.assertEqual((len(found), len(set(found))), (min(limit, 12_000),) * 2, limit)
        found = [row["n"] for row in self.rows_of("select n from readings limit 100 offset 11950")]
        self.assertEqual(len(found), 50)
        self.assertEqual([database.busy for database in self.databases.values()], [0] * 5)

    def test_collations(self) -> None:
        """Texts that an expression calls equal on the nodes are equal where the parts meet, too."""
        devices = ["a", "A", "b", "B", "a ", None, "C"]
        self.spread([(device, TIMES[0], 1.0, place, 1, place % 4) for place, device in enumerate(devices * 2)])
        for statement in (
            "select upper(device collate nocase) as d, count(*) as n from readings group by device collate nocase"
            " order by n desc, d",
            "select count(distinct device collate nocase) as d from readings",
            "select count(*) as n from readings group by lower(device) collate rtrim order by n",
            "select n from readings order by (device collate nocase) desc, n",
            "select n from readings order by device collate nocase nulls last, n limit 9",
        ):
            line = f'plant format = json:list and stat = false "{statement}"'
            self.assertEqual(self.body(line), self.truth(line), statement)
        found = self.rows_of("select distinct device collate nocase as d from readings")
        self.assertEqual(sorted(str(row["d"]).lower() for row in found), ["a", "a ", "b", "c", "none"])

    def test_numbers_lose_nothing(self) -> None:
        """Reals arrive as the numbers they are, by every way."""
        numbers = [0.1 + 0.2, 1 / 3, 1e-7, 123456789.123456789, 8.15, 1e20, -2.5e-30, 6.02214076e23, 1.602176634e-19]
        numbers += [22.485203181923062, 23.877111437210502, 0.40165182573034097, 999999999.999999, 12.345, 1e300]
        self.spread([("a", TIMES[0], number, None, None, place % 4) for place, number in enumerate(numbers)])
        for statement in (
            "select value from readings",
            "select value from readings order by value",
            "select value from readings group by value",
            "select distinct value as value from readings order by 1 desc",
            "select max(value) as value from readings group by value",
        ):
            for options in ("", "and pass_through = false"):
                found = [row["value"] for row in self.rows_of(statement, options)]
                self.assertEqual(sorted(found), sorted(numbers), statement)

    def test_zones(self) -> None:
        """Times are shown in a zone, and read in it, by every way."""
        self.spread([("a", time, 1.0, place, 1, place % 4) for place, time in enumerate(TIMES)])
        for statement in (
            "select timestamp, n from readings order by n",
            "select timestamp, n from readings where timestamp >= '2026-01-01 18:00:00' order by timestamp, n",
            "select max(timestamp) as t, device from readings group by device",
            "select increments(day, 1, timestamp) as at, count(*) from readings",
        ):
            for zone in ("utc", "pt", "Asia/Kolkata", "local"):
                for layout in ("json", "table"):
                    line = f'plant format = {layout} and stat = false and timezone = {zone} "{statement}"'
                    self.assertEqual(self.body(line), self.truth(line), f"{statement} {zone}")

    def test_period(self) -> None:
        """The window ends at the newest time of all nodes, not of each."""
        self.spread(
            [("a", f"2026-01-01 {place:02}:30:00.250000", 1.0, place, place % 2, place % 4) for place in range(12)]
        )
        for condition in (
            "period(hour, 3, now(), timestamp)",
            "period(minute, 90, '2026-01-01 05:45:00', timestamp)",
            "period(day, 1, now(), timestamp, and n < 5)",
            "period(month, 1, now(), timestamp) and ok",
            "period(hour, 1, '2020-01-01 00:00:00', timestamp)",
            "(period(hour, 1, now(), timestamp) or period(hour, 2, now(), readings.timestamp, and n < 8)) and n > 5",
        ):
            for projection in ("n, timestamp", "count(*) as n"):
                line = f'plant format = json:list and stat = false "select {projection} from readings where {condition}'
                line += '"' if "count" in projection else ' order by n"'
                self.assertEqual(orjson.loads(self.body(line)), orjson.loads(self.truth(line)), condition)

    def test_increments_without_a_unit(self) -> None:
        """Unit and number are chosen once, for all nodes."""
        self.spread([("a", time, 1.0, place, 1, place % 4) for place, time in enumerate(TIMES)])
        for statement in (
            "select increments(timestamp, 10) as at, count(*) as n from readings where timestamp > now() - 1 day",
            "select increments(timestamp), max(n) from readings where timestamp >= '2026-01-01' and timestamp < '2026-01-03'",  # noqa: E501
        ):
            line = f'plant stat = false "{statement}"'
            self.assertEqual(self.body(line), self.truth(line), statement)
            self.clock.advance(86_400 * 2)
            self.assertEqual(self.body(line), self.truth(line), statement)
            self.clock.advance(NOW - self.clock.seconds())
