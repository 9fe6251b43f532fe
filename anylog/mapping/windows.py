"""Aggregation of passing data: the last intervals of a column, and what is stored of them (ingest.md 15). Pure.

Intervals are cut by the time at which rows arrive, from the first row on: a late row counts in the interval in which it
came. The times of the rows themselves, of their time column, say what an interval is about.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, Literal

from attrs import define, field, frozen

from anylog.errors import AnyLogError
from anylog.mapping.times import timestamp_of
from anylog.names import normalise

MOST_SERIES = 10_000  # columns of tables that are followed; beyond it the one that is silent for longest is let go
MOST_WAITING = 100_000  # rows that wait to be stored; beyond it the newest are let go

FUNCTIONS = ("count", "min", "max", "avg")


@frozen(kw_only=True)
class Declared:
    """One `set aggregation`: a column of a table, or of every table of a database."""

    dbms: str
    table: str = ""  # every one
    intervals: int = 10
    time: float = 60.0  # seconds
    time_column: str = "timestamp"
    value_column: str = "value"
    target_dbms: str = ""
    target_table: str = ""


@frozen(kw_only=True)
class Options:
    """What is stored of a table (`set aggregation encoding`, `... ingest`)."""

    encoding: Literal["none", "bounds", "arle"] = "none"
    tolerance: float = 0.0  # percent
    source: bool = True  # the rows themselves
    derived: bool = False  # rows made of the intervals


@frozen(kw_only=True)
class Frequency:
    """When derived rows are stored (`set ingestion in aggregations`)."""

    when: Literal["continuous", "time", "none"] = "continuous"
    interval: float = 0.0  # seconds, of `time`


@frozen
class Derived:
    """A row made of an interval, and where it goes."""

    dbms: str
    table: str
    row: Mapping[str, Any]


@define(eq=False)
class Interval:
    """The values that came in one span of time, or one run of them."""

    number: int
    begin: float  # seconds of the clock
    count: int = 0
    least: float = 0.0
    most: float = 0.0
    total: float = 0.0
    first: str = ""  # of the time column, UTC
    last: str = ""

    def add(self, value: float, moment: str) -> None:
        """One more value, with the time of its row."""
        if not self.count:
            self.least = self.most = value
            self.first = self.last = moment
        elif value < self.least:
            self.least = value
        elif value > self.most:
            self.most = value
        if moment < self.first:
            self.first = moment
        elif moment > self.last:
            self.last = moment
        self.total += value
        self.count += 1

    @property
    def average(self) -> float:
        """Of all its values; 0 of none."""
        return self.total / self.count if self.count else 0.0

    def value(self, function: str) -> float:
        """`count`, `min`, `max` or `avg`."""
        return {"count": self.count, "min": self.least, "max": self.most, "avg": self.average}[function]

    def row(self, bounds: bool) -> dict[str, Any]:
        """As it is stored."""
        # As floats, so that a column is not made for whole numbers because the first ones were whole.
        limits = {"min_val": float(self.least), "max_val": float(self.most)} if bounds else {}
        times = {"timestamp": self.first, "end_interval": self.last}
        return {**times, **limits, "avg_val": float(self.average), "events": self.count}


@define(eq=False)
class Series:
    """One column of one table that is followed."""

    dbms: str
    table: str
    declared: Declared
    began: float | None = None  # seconds of the clock: when the first row came
    open: Interval | None = None
    intervals: deque[Interval] = field(factory=deque)  # the last ones that have values, the open one included
    skipped: int = 0  # rows without a number in that column
    _run: Interval | None = None
    _start: float = 0.0  # the first value of the run

    def feed(self, rows: Iterable[Mapping[str, Any]], now: float, options: Options) -> list[dict[str, Any]]:
        """Count rows; gives the rows that are to be stored of what is over."""
        made = self.close(now, options)
        column, time_column = self.declared.value_column, self.declared.time_column
        arrived = ""
        for row in rows:
            value = number_in(attribute(row, column))
            if value is None:
                self.skipped += 1
                continue
            moment = timestamp_of(attribute(row, time_column))
            if moment is None:
                moment = arrived = arrived or _text(now)
            interval = self.open if self.open is not None else self._begin(now)
            interval.add(value, moment)
            if options.encoding == "arle":
                made += self._running(value, moment, now, options)
        return made

    def close(self, now: float, options: Options) -> list[dict[str, Any]]:
        """End the open interval if its time is over; gives the rows to be stored of it."""
        if self.open is None or now < self.open.begin + self.declared.time:
            return []
        return self.end(options)

    def end(self, options: Options) -> list[dict[str, Any]]:
        """End the open interval, whatever the time."""
        ended, run, self.open, self._run = self.open, self._run, None, None
        if options.encoding == "arle":
            return [run.row(False)] if run is not None else []
        return [ended.row(True)] if ended is not None else []

    def _begin(self, now: float) -> Interval:
        time = self.declared.time
        if self.began is None:
            self.began = now
        number = max(0, int((now - self.began) // time))
        if self.intervals:  # a clock that was set back does not make an interval come again
            number = max(number, self.intervals[-1].number + 1)
        began = self.open = Interval(number, self.began + number * time if number * time <= now - self.began else now)
        self.intervals.append(began)
        while len(self.intervals) > self.declared.intervals:
            self.intervals.popleft()
        return began

    def _running(self, value: float, moment: str, now: float, options: Options) -> list[dict[str, Any]]:
        run, made = self._run, []
        if run is not None and abs(value - self._start) > abs(self._start) * options.tolerance / 100:
            made.append(run.row(False))
            run = None
        if run is None:
            run = self._run = Interval(0, now)
            self._start = value
        run.add(value, moment)
        return made


@define(eq=False)
class Aggregations:
    """All that is aggregated on a node."""

    _declared: dict[tuple[str, str, str], Declared] = field(factory=dict)
    _options: dict[tuple[str, str], Options] = field(factory=dict)
    _frequencies: dict[tuple[str, str], Frequency] = field(factory=dict)
    _thresholds: dict[tuple[str, str], dict[str, dict[str, float]]] = field(factory=dict)
    _series: OrderedDict[tuple[str, str], list[Series]] = field(factory=OrderedDict)
    _stale: set[tuple[str, str]] = field(factory=set)  # tables of which not all columns may be in `_series`
    _count: int = 0
    _waiting: dict[tuple[str, str], list[dict[str, Any]]] = field(factory=dict)  # source table -> rows made
    _held: int = 0
    _due: dict[tuple[str, str], float] = field(factory=dict)  # when the rows of a table are given out next
    dropped: int = 0  # rows that found no room

    # ------------------------------------------------------------------ declarations

    def declare(self, declared: Declared) -> None:
        """Begin to follow a column, or begin anew with other settings."""
        self._declared[declared.dbms, declared.table, declared.value_column] = declared
        self._forget(declared.dbms, declared.table, declared.value_column)

    def set_options(self, dbms: str, table: str, **given: Any) -> None:
        """What is stored of a table; what is not given stays."""
        now = self.options(dbms, table)
        told = {"encoding": now.encoding, "tolerance": now.tolerance, "source": now.source, "derived": now.derived}
        options = Options(**{**told, **given})
        if options.encoding != now.encoding:
            for series in self._series.get((dbms, table), ()):
                self._keep(series, series.end(now))
        self._options[dbms, table] = options

    def set_frequency(self, dbms: str, table: str, frequency: Frequency) -> None:
        """When derived rows are stored: of a table, a database, or of all."""
        self._frequencies[dbms, table] = frequency
        self._due.clear()

    def set_thresholds(self, dbms: str, table: str, column: str, values: Mapping[str, float]) -> None:
        """Values that conditions may ask for; those not given stay."""
        self._thresholds.setdefault((dbms, table), {}).setdefault(column, {}).update(values)

    def reset(self, dbms: str, table: str = "", column: str = "") -> int:
        """Follow no more: a database, a table or a column; gives how many declarations that were.

        Rows of what was followed until now are still given out.
        """
        gone = [key for key in self._declared if key[0] == dbms and table in ("", key[1]) and column in ("", key[2])]
        self._forget(dbms, table, column)
        for key in gone:
            del self._declared[key]
        if not column:
            for settings in (self._options, self._thresholds, self._frequencies):
                for place in [key for key in settings if key[0] == dbms and table in ("", key[1])]:
                    settings.pop(place)
        return len(gone)

    def _forget(self, dbms: str, table: str, column: str) -> None:
        """End what is followed of a database, a table or a column; other columns of a table go on as they are."""
        for key in [key for key in self._series if key[0] == dbms and table in ("", key[1])]:
            left = []
            for series in self._series[key]:
                if column in ("", series.declared.value_column):
                    self._count -= 1
                    self._keep(series, series.end(self.options(*key)))
                else:
                    left.append(series)
            self._stale.add(key)
            if left:
                self._series[key] = left
            else:
                del self._series[key]

    # ------------------------------------------------------------------ rows

    def follows(self, dbms: str, table: str) -> bool:
        """Whether a column of that table is declared."""
        return bool(self._declared) and bool(self._of(dbms, table))

    def stores(self, dbms: str, table: str) -> bool:
        """Whether the rows of that table are stored themselves."""
        return self.options(dbms, table).source or not self.follows(dbms, table)

    def feed(self, dbms: str, table: str, rows: Sequence[Mapping[str, Any]], now: float) -> None:
        """Count rows that came."""
        key, options = (dbms, table), self.options(dbms, table)
        for series in self._of(dbms, table):
            self._keep(series, series.feed(rows, now, options))
        if key in self._series:
            self._series.move_to_end(key)

    def close(self, now: float, *, all: bool = False) -> None:
        """End the intervals whose time is over, or all of them."""
        for (dbms, table), found in self._series.items():
            options = self.options(dbms, table)
            for series in found:
                self._keep(series, series.end(options) if all else series.close(now, options))

    def take(self, now: float, *, all: bool = False) -> list[Derived]:
        """The rows that are to be stored now."""
        made: list[Derived] = []
        for (dbms, table), rows in list(self._waiting.items()):
            frequency = self.frequency(dbms, table)
            if frequency.when == "time" and not all:
                due = self._due.setdefault((dbms, table), now + frequency.interval)
                if now < due:
                    continue
            self._due.pop((dbms, table), None)
            del self._waiting[dbms, table]
            self._held -= len(rows)
            made += [Derived(row.pop(_DBMS), row.pop(_TABLE), row) for row in rows]
        return made

    def _keep(self, series: Series, rows: list[dict[str, Any]]) -> None:
        dbms, table = series.dbms, series.table
        if not rows or not self.options(dbms, table).derived or self.frequency(dbms, table).when == "none":
            return
        to_dbms, to_table = self.target(series)
        kept = self._waiting.setdefault((dbms, table), [])
        for row in rows:
            if self._held >= MOST_WAITING:
                self.dropped += 1
                continue
            kept.append({**row, _DBMS: to_dbms, _TABLE: to_table})
            self._held += 1

    def _of(self, dbms: str, table: str) -> list[Series]:
        key = dbms, table
        found = self._series.get(key)
        if found is None or key in self._stale:
            self._stale.discard(key)
            own = {each.value_column: each for each in self._declared.values() if (each.dbms, each.table) == (dbms, "")}
            own |= {each.value_column: each for each in self._declared.values() if (each.dbms, each.table) == key}
            if not own:
                return []
            going = {each.declared.value_column: each for each in found or ()}
            self._count += len(own) - len(going)
            found = [going.get(column) or Series(dbms, table, each) for column, each in own.items()]
            self._series[key] = found
            while self._count > MOST_SERIES and len(self._series) > 1:
                (old_dbms, old_table), old = self._series.popitem(last=False)
                self._count -= len(old)
                for series in old:
                    self._keep(series, series.end(self.options(old_dbms, old_table)))
        return found

    # ------------------------------------------------------------------ what can be seen

    def options(self, dbms: str, table: str) -> Options:
        """What is stored of a table."""
        return self._options.get((dbms, table), _DEFAULT)

    def frequency(self, dbms: str, table: str) -> Frequency:
        """When its derived rows are stored."""
        for key in ((dbms, table), (dbms, ""), ("", "")):
            if key in self._frequencies:
                return self._frequencies[key]
        return _CONTINUOUS

    def thresholds(self, dbms: str, table: str) -> dict[str, float]:
        """`threshold.max` of the column for which values were set first, `threshold.<column>.max` of each."""
        found: dict[str, float] = {}
        for column, values in self._thresholds.get((dbms, table), {}).items():
            for name, value in values.items():
                found.setdefault(f"threshold.{name}", value)
                found[f"threshold.{column}.{name}"] = value
        return found

    def target(self, series: Series) -> tuple[str, str]:
        """Database and table of its derived rows."""
        dbms, table = series.dbms, series.table
        options = self.options(dbms, table)
        to_dbms, to_table = series.declared.target_dbms, series.declared.target_table
        if options.encoding != "none":
            return to_dbms or dbms, f"{options.encoding}_{to_table or table}"
        if options.source and not (to_dbms or to_table):
            return f"agg_{dbms}", f"agg_{table}"
        return to_dbms or dbms, to_table or table

    def declarations(self) -> list[Declared]:
        """All of them, sorted."""
        return [self._declared[key] for key in sorted(self._declared)]

    def series(self, dbms: str = "", table: str = "", column: str = "") -> list[Series]:
        """What is followed, sorted."""
        return [
            each
            for key in sorted(self._series)
            if dbms in ("", key[0]) and table in ("", key[1])
            for each in self._series[key]
            if column in ("", "*", each.declared.value_column)
        ]

    def waiting(self, dbms: str, table: str) -> int:
        """Rows made of it that are not given out yet."""
        return len(self._waiting.get((dbms, table), ()))

    @property
    def active(self) -> bool:
        """Whether anything is declared, or is still to be stored."""
        return bool(self._declared) or bool(self._waiting)

    @property
    def declares(self) -> bool:
        """Whether anything is declared."""
        return bool(self._declared)


_DBMS, _TABLE = "\0dbms", "\0table"  # no attribute of a row is called that
_DEFAULT, _CONTINUOUS = Options(), Frequency()


def attribute(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column: by its exact name, else by the same name in another spelling; None if it is not there."""
    if column in row:
        return row[column]
    wanted = spelled(column)
    return next((value for name, value in row.items() if spelled(name) == wanted), None)


@lru_cache(10_000)  # devices send the same few names over and over
def spelled(name: str) -> str:
    """A name in normal form, or as it is if it has none."""
    try:
        return normalise(name)
    except AnyLogError:
        return name


def number_in(value: Any) -> float | None:
    """A finite number, or a text that is one; None for others."""
    if type(value) is float or type(value) is int:
        found = value
    elif type(value) is str and len(value) <= 40 and "_" not in value:
        try:
            found = float(value)
        except ValueError:
            return None
    else:
        return None
    try:
        return found if isfinite(found) else None
    except OverflowError:  # a whole number beyond all floats
        return None


def _text(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
