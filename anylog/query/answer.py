"""An answer made inside the engine, a page a statement: never a Python loop over rows (hard-parts.md 5.1).

A short answer comes in one statement and holds nothing. A long one is put in a temporary table of a leased connection
and paged by its row number, so that a slow reader keeps no snapshot of the database.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from anylog.databases.library import status_of
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, DelayedCall
from anylog.query.rewrite import Ready
from anylog.query.times import Zone, offsets
from anylog.query.tokens import failure

T = TypeVar("T")

PAGE = 2000  # rows, for rows of ordinary size
CELLS = 20_000  # values in a page, for rows of many columns
BYTES = 512 << 10  # aimed at in a page, once the size of rows is known
INSIST = 0.05  # seconds between interrupts of a statement that does not stop
_EXACT = (("1e9", "1e6"), ("1e6", "1e9"), ("1e3", "1e12"), ("1e12", "1e3"))
_TEXTS = ("VARCHAR", "CHAR", "UUID", "TIMESTAMP", "DATE", "TIME", "CIDR")
_WHOLE = ("INT", "BIGINT", "SERIAL")


class Connection(Protocol):
    """What an answer needs of a reading connection."""

    def execute(self, statement: str, parameters: Sequence[Any] = ...) -> Any: ...

    def interrupt(self) -> None: ...


class Lease(Protocol):
    """A reading connection for the life of one answer."""

    def run(self, work: Callable[[Any], T]) -> Deferred[T]: ...

    def interrupt(self) -> None: ...

    def release(self) -> None: ...


class Source(Protocol):
    """What an answer needs of a database."""

    name: str
    kind: str

    def lease(self) -> Deferred[Any]: ...


@frozen
class Column:
    """One column of an answer."""

    title: str
    type: str  # of the ledger, or empty
    source: str  # the expression that gives its value

    @property
    def number(self) -> bool:
        """Whether a value of it may be a fraction, or anything."""
        return not self.type.startswith((*_TEXTS, *_WHOLE)) and self.type != "BOOLEAN"

    @property
    def widened(self) -> bool:
        """Whether it may hold numbers of the time before its type was widened to text."""
        return self.type.startswith(("VARCHAR", "CHAR"))


class Layout(Protocol):
    """How rows become text."""

    def page(self, connection: Connection, columns: Sequence[Column], rows: str, count: int) -> str:
        """The text of `count` rows of the table expression `rows`; called in a lane."""

    def short(self, columns: Sequence[Column]) -> str | None:
        """An aggregate expression for all rows at once, if one statement is enough."""

    def rows(self, total: int, columns: int) -> int:
        """Rows of the first page."""


def real_text(value: str) -> str:
    """A real number as a JSON value: short where that is exact, else with 17 digits, so that nothing is lost."""
    return (
        f"case when {_short(value)} then {value} when abs({value}) > 1.7976931348623157e308 then null"
        f" else json(printf('%!.17g', {value})) end"
    )


def as_text(value: str) -> str:
    """Any value as text, numbers without loss; NULL stays."""
    return (
        f"case typeof({value}) when 'text' then {value} when 'blob' then hex({value})"
        f" when 'real' then case when {_short(value)} then cast({value} as text) else printf('%!.17g', {value}) end"
        f" else cast({value} as text) end"
    )


def _short(value: str) -> str:
    """Whether the engine's own 15 digits say exactly this real number."""
    return " or ".join(f"abs({value}) < {below} and round({value} * {by}) / {by} = {value}" for below, by in _EXACT)


@define(kw_only=True, eq=False)
class Answer:
    """The rows of one select, taken page by page. Fails with AnyLogError 16, 26, 29, 76 or 503."""

    database: Source
    ready: Ready
    layout: Layout
    clock: Clock
    name: str  # of the temporary table, unique in the node
    zone: Zone
    zoned: bool = False  # times are shown in `zone`, which is not UTC
    until: float | None = None  # seconds of the clock
    late: int = 26  # error number when `until` is over
    count: int = 0  # rows in all, known once open
    columns: list[Column] = field(factory=list)
    beside: Callable[[Connection], object] | None = None  # reads something else in the same snapshot
    _lease: Lease | None = None
    _working: bool = False  # in a lane, between the first and the last touch of the connection
    _lock: Any = field(factory=Lock)
    _busy: bool = False
    _table: bool = False
    _closed: bool = False
    _again: DelayedCall | None = None
    _expired: bool = False
    _short: str | None = None
    _taken: int = 0
    _step: int = 0  # rows of the next page
    _most: int = 0

    async def open(self) -> None:
        """Run the statement as far as its errors and the number of its rows are known."""
        try:
            waiting = self.database.lease()
            lease = await waiting
            self._lease = lease
            await self._run(self._begin)
        except BaseException:
            self.close()
            raise
        if not self._table:
            self.close()

    @property
    def over(self) -> bool:
        """Whether every row was given."""
        return self._taken >= self.count

    @property
    def taken(self) -> int:
        """Rows given so far."""
        return self._taken

    async def next(self) -> str | None:
        """The rows of the next page, or None after the last."""
        short, self._short = self._short, None
        if short is not None:
            self._taken = self.count
            return short
        if self.over:
            return None
        first, last = self._taken + 1, min(self._taken + self._step, self.count)
        text: str = await self._run(lambda connection: self._page(connection, first, last))
        self._taken = last
        if text:
            self._step = max(25, min(self._most, (last - first + 1) * BYTES // len(text)))
        if last == self.count:
            self.close()
        return text

    def close(self) -> None:
        """Stop what runs, drop the temporary table, give the connection back."""
        self._closed = True
        if self._busy:
            self._insist()
        else:
            self._free()

    def _free(self) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        if not self._table:
            lease.release()
            return
        self._table = False
        lease.run(self._drop).addErrback(lambda _: None).addBoth(lambda _: lease.release())

    # Waiting for the lane

    def _run(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Work on the connection that ends at the deadline, and that cancelling does not leave behind."""
        if self._lease is None or self._closed:
            raise AnyLogError(26, "the answer is closed")
        waited: Deferred[T] = Deferred(lambda _: self.close())
        self._expired = False
        left = None if self.until is None else self.until - self.clock.seconds()
        if left is not None and left <= 0:
            raise AnyLogError(self.late, "no time is left for the query")
        alarm = None if left is None else self.clock.callLater(left, self._expire)
        self._busy = True

        def ended(result: Any) -> None:
            self._busy = False
            for call in (alarm, self._again):
                if call is not None and call.active():
                    call.cancel()
            if self._closed:
                self._free()
            if not waited.called:
                waited.callback(result)

        self._lease.run(lambda connection: self._guarded(connection, work)).addBoth(ended)
        return waited

    def _expire(self) -> None:
        self._expired = True
        self._insist()

    def _insist(self) -> None:
        """Interrupt what runs, and again until it has ended: an interrupt between two statements is lost."""
        with self._lock:
            if self._working and self._lease is not None:
                self._lease.interrupt()
        if self._again is None or not self._again.active():
            self._again = self.clock.callLater(INSIST, self._insist)

    # In the lane

    def _guarded(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        if self._closed or self._expired:
            raise self._stopped()
        with self._lock:
            self._working = True
        try:
            return work(connection)
        except sqlite3.Error as fault:
            raise self._error(fault) from fault
        finally:
            with self._lock:
                self._working = False

    def _stopped(self) -> AnyLogError:
        if self._expired:
            return AnyLogError(self.late, f"the query of {self.database.name} took too long")
        return AnyLogError(26, "the answer is closed")

    def _error(self, fault: Exception) -> AnyLogError:
        text = str(fault)
        if text == "interrupted":
            return self._stopped()
        if missing := re.fullmatch(r"no such table: (?:main\.)?(.+)", text):
            kind = self.database.kind
            return AnyLogError(29, f"Table '{missing[1]}' in DBMS '{self.database.name}' not defined (using '{kind}')")
        if "full" in text and "disk" in text:
            return AnyLogError(503, f"{self.database.name}: {text}")
        return failure(self.ready.statement, text, http=status_of(fault))

    def _begin(self, connection: Connection) -> None:
        if self.beside is None:
            self._answer(connection)
            return
        connection.execute("begin")
        try:
            self.beside(connection)
            self._answer(connection)
        except BaseException:
            with suppress(sqlite3.Error):  # an interrupt may have done so
                connection.execute("rollback")
            raise
        connection.execute("commit")  # nothing was written but a temporary table

    def _answer(self, connection: Connection) -> None:
        ready = self.ready
        described = connection.execute(f"select * from ({ready.statement}) limit 0").description
        self.columns = self._named([each[0] for each in described])
        width = len(self.columns)
        most = max(25, min(PAGE, CELLS // width))
        names = ", ".join(f"c{place}" for place in range(width))
        bounded = ready.limit is not None and ready.limit <= most
        whole = self.layout.short(self.columns)
        if whole is not None and not self.zoned and (bounded or not ready.sifted):
            rows = ready.statement if bounded else f"select * from ({ready.statement}) limit {most + 1}"
            count, text = self._at_once(connection, names, rows, whole)
            if 0 <= count <= most:
                self.count, self._short = count, text or ""
                return
        self._table = True
        connection.execute("pragma query_only = off")  # which stops temporary tables, too
        connection.execute(f"create temp table {self.name} ({names})")
        self.count = connection.execute(f"insert into temp.{self.name} {ready.statement}").rowcount
        if self.zoned:
            self.columns = [self._in_zone(connection, column) for column in self.columns]
        self._most = self._step = max(25, self.layout.rows(self.count, width))

    def _at_once(self, connection: Connection, names: str, rows: str, whole: str) -> tuple[int, str | None]:
        try:
            found: tuple[int, str | None] = connection.execute(
                f"with {self.name}({names}) as ({rows}) select count(*), {whole} from {self.name}"
            ).fetchone()
        except sqlite3.DataError as fault:  # rows too large to be one text; pages of few rows follow
            if "too big" not in str(fault):
                raise
            return -1, None
        return found

    def _named(self, described: list[str]) -> list[Column]:
        """Titles and types: ours where the statement names a column, the engine's in place of `*`."""
        titles, types = list(self.ready.titles), list(self.ready.types)
        stars = [place for place, title in enumerate(titles) if title is None]
        if len(stars) == 1:
            at, more = stars[0], len(described) - len(titles) + 1
            titles[at : at + 1] = [None] * more
            types[at : at + 1] = [""] * more
        if len(titles) != len(described):
            titles, types = [None] * len(described), [""] * len(described)
        return [
            Column(
                title if title is not None else name,
                kind if title is not None else self.ready.columns.get(name.lower(), ""),
                f"c{place}",
            )
            for place, (name, title, kind) in enumerate(zip(described, titles, types, strict=True))
        ]

    def _page(self, connection: Connection, first: int, last: int) -> str:
        rows = f"(select * from temp.{self.name} where rowid between {first} and {last})"
        return self.layout.page(connection, self.columns, rows, last - first + 1)

    def _in_zone(self, connection: Connection, column: Column) -> Column:
        """A time column with the zone's offsets, those that hold between its first and its last time."""
        if column.type != "TIMESTAMP" or not self.count:
            return column
        first, last = connection.execute(
            f"select min({column.source}), max({column.source}) from temp.{self.name}"
        ).fetchone()
        if not isinstance(first, str) or not isinstance(last, str):
            return column
        steps = offsets(first, last, self.zone)
        shift = [
            f"datetime(substr({column.source}, 1, 19), '{seconds:+d} seconds') || substr({column.source}, 20)"
            for _, seconds in steps
        ]
        cases = "".join(
            f" when {column.source} < '{end}' then {text}"
            for (end, _), text in zip(steps[:-1], shift[:-1], strict=True)
        )
        return Column(column.title, column.type, f"(case{cases} else {shift[-1]} end)" if cases else f"({shift[-1]})")

    def _drop(self, connection: Connection) -> None:
        connection.execute(f"drop table if exists temp.{self.name}")
