"""Words about aggregation of passing data (ingest.md 15, scheduler-alerts.md 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Flag, Format, OneOf, Option, Seconds, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.mapping.names import normalise
from anylog.mapping.windows import Declared, Frequency, Interval, Series, number_in
from anylog.processes.aggregation_values import Shown, read_functions
from anylog.query.times import Zone, zone_of

if TYPE_CHECKING:
    from anylog.node import Node


@frozen(kw_only=True)
class Number(Option):
    """A number; given as a float."""

    @property
    def shape(self) -> str:
        """What stands right of the `=` in the usage."""
        return "number"

    def read(self, text: str) -> float:
        found = number_in(text.strip())
        if found is None:  # NaN and the infinities, too: nothing can be compared with them
            raise ValueError("a number")
        return float(found)


class Percent(Number):
    """A number that is not negative, with or without a percent sign."""

    def read(self, text: str) -> float:
        value = super().read(text.strip().removesuffix("%"))
        if not 0 <= value < float("inf"):
            raise ValueError("a percentage from 0")
        return value


class Span(Seconds):
    """A time span that is not zero."""

    def read(self, text: str) -> float:
        found = super().read(text)
        if found <= 0:
            raise ValueError("more than no time")
        return found


_DECLARED: dict[str, Option] = {
    "dbms": Text(required=True),
    "table": Text(help="every table if not given"),
    "intervals": Whole(default=10, least=1, most=10_000, help="that are kept"),
    "time": Span(default=60.0, help="length of an interval"),
    "time_column": Text(default="timestamp"),
    "value_column": Text(default="value"),
}
_TABLE: dict[str, Option] = {"dbms": Text(required=True), "table": Text(required=True)}


def _names(options: Mapping[str, Any]) -> tuple[str, str]:
    dbms, table = options["dbms"], options["table"]
    return normalise(dbms, "database") if dbms else "", normalise(table, "table") if table else ""


def _declared(options: Mapping[str, Any]) -> Declared:
    dbms, table = _names(options)
    targets = [normalise(options[name]) if options.get(name) else "" for name in ("target_dbms", "target_table")]
    return Declared(
        dbms=dbms,
        table=table,
        intervals=options["intervals"],
        time=options["time"],
        time_column=options["time_column"],
        value_column=options["value_column"],
        target_dbms=targets[0],
        target_table=targets[1],
    )


class _Aggregation(Command):
    """What these words share."""

    index = ("streaming", "monitor", "aggregation")


class SetAggregation(_Aggregation):
    """Follow a column of passing data: count, minimum, maximum and average of its last intervals.

    Without a table every table of the database is followed. Intervals are cut by the time at which rows come, the first
    one begins with the first row; a late row counts in the interval in which it came. `time_column` says what an
    interval is about. Repeat it for each column. What is made of the intervals is stored with `set aggregation ingest`.
    Declarations and open intervals do not outlast the node.
    """

    words = "set aggregation"
    also = ("set aggregations",)
    where = {**_DECLARED, "target_dbms": Text(), "target_table": Text()}
    examples = (
        "set aggregation where dbms = town and table = weather and time = 1 minute and value_column = celsius",
        "set aggregations where dbms = town and intervals = 60 and time = 1 second",
    )
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        node.stream.aggregations.declare(_declared(options))
        node.stream.changed()
        return None


class DataMonitor(_Aggregation):
    """Follow a column of passing data, as `set aggregation` does; `get data monitored` shows it."""

    words = "data monitor"
    where = _DECLARED
    examples = ("data monitor where dbms = town and table = weather and intervals = 10 and time = 1 minute",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        declared = _declared(options)
        node.stream.monitored.add((declared.dbms, declared.table, declared.value_column))
        node.stream.aggregations.declare(declared)
        node.stream.changed()
        return None


class SetThresholds(_Aggregation):
    """Set values of a column that streaming conditions may ask for, as `[threshold.max]`.

    With several columns `[threshold.celsius.max]` names one; `[threshold.max]` is that of the column that came first.
    """

    words = "set aggregation thresholds"
    also = ("set aggregations thresholds",)
    where = {
        **_TABLE,
        "column": Text(required=True, also=("value_column",)),
        "min": Number(),
        "max": Number(),
        "avg": Number(),
        "count": Number(),
    }
    examples = ("set aggregation thresholds where dbms = town and table = weather and column = celsius and max = 40",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 if no value is given."""
        values = {name: options[name] for name in ("min", "max", "avg", "count") if options[name] is not None}
        if not values:
            raise AnyLogError(2, f"{self.words}: Missing 'min', 'max', 'avg' or 'count'")
        node.stream.aggregations.set_thresholds(*_names(options), options["column"], values)
        return None


class SetEncoding(_Aggregation):
    """Set how intervals become rows: `bounds` one row an interval, `arle` one row for a run of like values.

    A run ends with a value that differs from its first one by more than `tolerance` percent, and with its interval. The
    rows go to `bounds_<table>` and `arle_<table>`, once `set aggregation ingest` says `derived = true`.
    """

    words = "set aggregation encoding"
    also = ("set aggregations encoding", "set aggregation encodeing", "set aggregations encodeing")
    where = {
        **_TABLE,
        "encoding": OneOf(words=("none", "bounds", "arle"), required=True, also=("encodeing",)),
        "tolerance": Percent(default=0.0, help="percent"),
    }
    examples = (
        "set aggregation encoding where dbms = town and table = weather and encoding = bounds",
        "set aggregation encoding where dbms = town and table = weather and encoding = arle and tolerance = 5",
    )
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        given = {"encoding": options["encoding"], "tolerance": options["tolerance"]}
        node.stream.aggregations.set_options(*_names(options), **given)
        return None


class SetAggregationIngest(_Aggregation):
    """Set what is stored of a table that is followed: the rows themselves, and rows made of its intervals.

    With both and no target the made rows go to the database `agg_<dbms>` and the table `agg_<table>`, or to the table
    of their encoding. With `source = false` rows are acknowledged and counted, and only what is made of them is stored:
    what an open interval holds is lost if the node dies.
    """

    words = "set aggregation ingest"
    also = ("set aggregations ingest",)
    where = {**_TABLE, "source": Flag(default=True), "derived": Flag(default=False)}
    examples = ("set aggregation ingest where dbms = town and table = weather and source = true and derived = true",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        given = {"source": options["source"], "derived": options["derived"]}
        node.stream.aggregations.set_options(*_names(options), **given)
        return None


class SetIngestion(_Aggregation):
    """Set when rows made of intervals are stored: as they are made, every so often, or not at all."""

    words = "set ingestion in aggregations"
    also = ("set ingestion in aggregation",)
    where = {
        "dbms": Text(help="all if not given"),
        "table": Text(help="all if not given"),
        "frequency": OneOf(words=("continuous", "time", "none"), required=True),
        "interval": Span(help="of frequency = time"),
    }
    examples = (
        "set ingestion in aggregations where frequency = continuous",
        "set ingestion in aggregations where dbms = town and frequency = time and interval = 5 minutes",
    )
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for `time` without an interval."""
        dbms, table = _names(options)
        if table and not dbms:
            raise AnyLogError(2, f"{self.words}: 'table' is given without 'dbms'")
        if options["frequency"] == "time" and options["interval"] is None:
            raise AnyLogError(2, f"{self.words}: Missing 'interval'")
        frequency = Frequency(when=options["frequency"], interval=options["interval"] or 0.0)
        node.stream.aggregations.set_frequency(dbms, table, frequency)
        return None


class ResetAggregations(_Aggregation):
    """Follow a database, a table or a column no more."""

    words = "reset aggregations"
    also = ("reset aggregation",)
    where = {"dbms": Text(required=True), "table": Text(), "value_column": Text()}
    examples = ("reset aggregations where dbms = town", "reset aggregations where dbms = town and table = weather")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for a column without its table, 40 if there is nothing of the kind."""
        dbms, table = _names(options)
        column = options["value_column"] or ""
        if column and not table:
            raise AnyLogError(2, f"{self.words}: 'value_column' is given without 'table'")
        if not node.stream.aggregations.reset(dbms, table, column):
            place = ".".join(each for each in (dbms, table, column) if each)
            raise AnyLogError(40, f"{self.words}: {place} is not aggregated")
        node.stream.monitored = {
            key
            for key in node.stream.monitored
            if not (key[0] == dbms and table in ("", key[1]) and column in ("", key[2]))
        }
        node.stream.changed()
        return None


# ---------------------------------------------------------------------- what can be seen


class GetAggregation(_Aggregation):
    """Show the last intervals of what is followed, the oldest first.

    `function` (count, min, max, avg, with casts such as `avg::float(2)`) gives that value of the newest interval alone,
    `round` three decimals.
    """

    words = "get aggregation"
    also = ("get aggregations",)
    where = {
        "dbms": Text(),
        "table": Text(),
        "value_column": Text(),
        "function": Text(many=True),
        "round": Flag(default=False),
        "format": Format,
    }
    examples = (
        "get aggregation",
        "get aggregation where dbms = town and table = weather and value_column = celsius and function = max",
    )
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 40, 194 or 195."""
        aggregations, now = node.stream.aggregations, unix(node.clock)
        dbms, table = _names(options)
        column = options["value_column"] or ""
        found = aggregations.series(dbms, table, column)
        if options["function"]:
            return _newest(found, read_functions(options["function"]), options["format"])
        titles = (
            "DBMS", "Target DBMS", "Table", "Target Table", "Value Column", "Interval", "H:M:S", "Events/sec", "Count",
            "Min", "Max", "Avg",
        )  # fmt: skip
        rows: list[Sequence[Any]] = []
        for each in found:
            to_dbms, to_table = aggregations.target(each)
            head = (each.dbms, to_dbms, each.table, to_table, each.declared.value_column)
            for place, values in enumerate(_intervals(each, now, options["round"]), 1):
                rows.append((*head, place, *values))
        seen = {(each.dbms, each.table, each.declared.value_column) for each in found}
        for declared in aggregations.declarations():
            wanted = (
                dbms in ("", declared.dbms) and table in ("", declared.table) and column in ("", declared.value_column)
            )
            key = (declared.dbms, declared.table, declared.value_column)
            begun = key in seen if declared.table else any(key[0] == one[0] and key[2] == one[2] for one in seen)
            if wanted and not begun:
                to_dbms, to_table = aggregations.target(Series(declared.dbms, declared.table or "*", declared))
                head = (declared.dbms, to_dbms, declared.table or "*", to_table, declared.value_column)
                rows.append((*head, "---", "Not Started", 0, 0, 0, 0, 0))
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        text = framed(bar_table(titles, rows)) if rows else "Nothing is aggregated"
        return Result(text=text, data=data, format=options["format"] or "table")


def _newest(found: Sequence[Series], functions: Sequence[Shown], format: str | None) -> Result:
    """Values of the newest interval of each."""
    rows = []
    for each in found:
        if each.intervals:
            values = [function.of(each.intervals[-1]) for function in functions]
            rows.append((each.dbms, each.table, each.declared.value_column, *values))
    titles = ("DBMS", "Table", "Value Column", *(function.title for function in functions))
    data = [dict(zip(titles, row, strict=True)) for row in rows]
    if len(rows) == 1 and len(functions) == 1 and format is None:
        return Result(text=str(rows[0][-1]), data=rows[0][-1])
    return Result(text=framed(bar_table(titles, rows)) if rows else "", data=data, format=format or "table")


def _intervals(series: Series, now: float, rounded: bool, digits: int = 3) -> list[tuple[Any, ...]]:
    """H:M:S, events a second, count, min, max and avg of each interval."""
    rows = []
    for each in series.intervals:
        age = max(0.0, now - each.begin)
        seconds = max(1.0, min(age, series.declared.time)) if each is series.open else series.declared.time
        values = (round(each.count / seconds, digits), each.count, each.least, each.most, each.average)
        whole = max(0, int(age if each is not series.open else 0))
        shown = tuple(round(value, digits) if rounded else value for value in values)
        rows.append((f"{whole // 3600}:{whole // 60 % 60}:{whole % 60}", *shown))
    return rows


class GetDataMonitored(_Aggregation):
    """Show the last intervals of what `data monitor` follows, the oldest first."""

    words = "get data monitored"
    where = {"format": Format}
    examples = ("get data monitored",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        now, titles = unix(node.clock), ("DBMS", "Table", "H:M:S", "Events/sec", "Count", "Min", "Max", "Avg")
        rows = [
            (each.dbms, each.table, *values)
            for each in node.stream.aggregations.series()
            if (each.dbms, each.declared.table, each.declared.value_column) in node.stream.monitored
            for values in _intervals(each, now, True, 2)
        ]
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        text = framed(bar_table(titles, rows)) if rows else "No data is monitored"
        return Result(text=text, data=data, format=options["format"] or "table")


class GetAggregationByTime(_Aggregation):
    """Show one row for each interval, in the order of the times of its readings; with `limit` the newest first."""

    words = "get aggregation by time"
    also = ("get aggregations by time",)
    where = {
        **_TABLE,
        "value_column": Text(required=True, many=True, help="* for all"),
        "function": Text(many=True),
        "timezone": Text(default="utc"),
        "limit": Whole(least=1),
        "format": Format,
    }
    examples = (
        "get aggregation by time where dbms = town and table = weather and value_column = *",
        "get aggregations by time where dbms = town and table = weather and value_column = celsius"
        " and function = min::int and function = avg::float(2) and limit = 5 and format = json",
    )
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 40 for a column that is not followed, 173, 194 or 195."""
        dbms, table = _names(options)
        functions = read_functions(options["function"] or ("count", "avg", "min", "max"))
        zone, limit = zone_of(options["timezone"]), options["limit"]
        data: dict[str, list[dict[str, Any]]] = {}
        for column in options["value_column"]:
            found = node.stream.aggregations.series(dbms, table, column)
            if not found and column != "*":
                known = {each.value_column for each in node.stream.aggregations.declarations() if each.dbms == dbms}
                if column not in known:
                    raise AnyLogError(40, f"{self.words}: {dbms}.{table} is not aggregated by '{column[:80]}'")
            for each in found:
                data[each.declared.value_column] = _by_time(each, functions, zone, limit)
        titles = ("Value Column", "Timestamp", *(function.title for function in functions))
        rows = [(column, *row.values()) for column, some in data.items() for row in some]
        text = framed(bar_table(titles, rows)) if rows else "Nothing is aggregated"
        return Result(text=text, data=data, format=options["format"] or "table")


def _by_time(series: Series, functions: Sequence[Shown], zone: Zone, limit: int | None) -> list[dict[str, Any]]:
    ordered: list[Interval] = sorted(series.intervals, key=lambda each: each.first)
    if limit is not None:
        ordered = ordered[::-1][:limit]
    return [
        {"timestamp": _local(each.first, zone), **{function.title: function.of(each) for function in functions}}
        for each in ordered
    ]


def _local(moment: str, zone: Zone) -> str:
    if zone is UTC:
        return moment
    there = datetime.fromisoformat(moment).replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
    return there.isoformat(" ", "microseconds")


class _Settings(_Aggregation):
    """A list of settings."""

    where = {"dbms": Text(), "table": Text(), "format": Format}
    http = ("GET",)
    titles: tuple[str, ...]

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        dbms, table = _names(options)
        rows = [
            row
            for each in node.stream.aggregations.declarations()
            if dbms in ("", each.dbms) and table in ("", each.table)
            for row in self.rows(node, each)
        ]
        rows = list(dict.fromkeys(rows))
        data = [dict(zip(self.titles, row, strict=True)) for row in rows]
        text = framed(bar_table(self.titles, rows)) if rows else "Nothing is aggregated"
        return Result(text=text, data=data, format=options["format"] or "table")

    def rows(self, node: Node, declared: Declared) -> list[tuple[Any, ...]]:
        """What is said of one declaration."""
        raise NotImplementedError  # pragma: no cover

    def tables(self, node: Node, declared: Declared) -> list[Series]:
        """What is followed by it until now."""
        found = node.stream.aggregations.series(declared.dbms, declared.table, declared.value_column)
        return [each for each in found if each.declared == declared] or [
            Series(declared.dbms, declared.table or "*", declared)
        ]


class GetAggregationConfig(_Settings):
    """Show what was declared by `set aggregation` and `data monitor`."""

    words = "get aggregation configs"
    also = ("get aggregation config", "get aggregations config", "get aggregations configs")
    examples = ("get aggregation configs",)
    titles = (
        "DBMS", "Table", "Intervals", "Time", "Time Column", "Value Column", "Target DBMS", "Target Table", "Thresholds"
    )  # fmt: skip

    def rows(self, node: Node, declared: Declared) -> list[tuple[Any, ...]]:
        found = node.stream.aggregations.thresholds(declared.dbms, declared.table)
        prefix = f"threshold.{declared.value_column}."
        values = [f"{name[len(prefix) :]} = {value:g}" for name, value in found.items() if name.startswith(prefix)]
        each = declared
        limits = (each.intervals, f"{each.time:g} seconds", each.time_column, each.value_column)
        targets = (each.target_dbms, each.target_table)
        return [(each.dbms, each.table or "*", *limits, *targets, ", ".join(values))]


class GetAggregationIngest(_Settings):
    """Show what is stored of each table that is followed, and when."""

    words = "get aggregation ingest"
    also = ("get aggregations ingest",)
    examples = ("get aggregation ingest",)
    titles = ("DBMS", "Table", "Source", "Derived", "Encoding", "Tolerance", "Frequency", "Interval")

    def rows(self, node: Node, declared: Declared) -> list[tuple[Any, ...]]:
        aggregations, rows = node.stream.aggregations, []
        for each in self.tables(node, declared):
            options, frequency = (
                aggregations.options(each.dbms, each.table),
                aggregations.frequency(each.dbms, each.table),
            )
            kept = (options.source, options.derived, options.encoding, f"{options.tolerance:g}%")
            rows.append((each.dbms, each.table, *kept, frequency.when, f"{frequency.interval:g} seconds"))
        return rows


class GetAggregationTables(_Settings):
    """Show for each table that is followed where its made rows go, how many were stored, and what is in the way."""

    words = "get aggregation tables"
    also = ("get aggregations tables",)
    examples = ("get aggregation tables",)
    titles = ("DBMS", "Table", "Target DBMS", "Target Table", "Stored", "Waiting", "Skipped", "Last Error")

    def rows(self, node: Node, declared: Declared) -> list[tuple[Any, ...]]:
        stream, rows = node.stream, []
        for each in self.tables(node, declared):
            to = stream.aggregations.target(each)
            waiting = stream.aggregations.waiting(each.dbms, each.table) + stream.late(*to)
            state = (stream.stored.get(to, 0), waiting, each.skipped, stream.failed.get(to, ""))
            rows.append((each.dbms, each.table, *to, *state))
        return rows


COMMANDS: tuple[type[Command], ...] = (
    SetAggregation,
    SetThresholds,
    SetEncoding,
    SetAggregationIngest,
    SetIngestion,
    ResetAggregations,
    GetAggregation,
    GetAggregationByTime,
    GetAggregationConfig,
    GetAggregationIngest,
    GetAggregationTables,
    DataMonitor,
    GetDataMonitored,
)
