"""Connections that only read: a few that are taken in turn, and leases for answers that take their time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.databases.library import Connection
from anylog.databases.tables import quoted
from anylog.errors import AnyLogError
from anylog.interfaces import ILane

T = TypeVar("T")


@define(eq=False)
class Readers:
    """Idle connections, at most `most`. `take` and `give` may be called in any thread."""

    _make: Callable[[], Connection]
    most: int
    _idle: deque[Connection] = field(factory=deque)
    _closed: bool = False

    def take(self) -> Connection:
        """One that nobody else has until it is given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._make()

    def give(self, connection: Connection) -> None:
        """Back again."""
        if self._closed or len(self._idle) >= self.most:
            connection.close()
        else:
            self._idle.append(connection)

    def __iter__(self) -> Iterator[Connection]:
        """The idle ones."""
        return iter(tuple(self._idle))

    def close(self) -> None:
        """Close the idle ones, and each other one when it comes back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


@define(eq=False)
class Lease:
    """A reading connection that one answer holds until it is released."""

    connection: Connection
    _lane: ILane
    _returned: Callable[[Lease], None]
    _ended: bool = False
    _released: bool = False

    def run(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """`work(connection)` in the reading lane; fails with AnyLogError 10 once the database is being closed."""
        if self._ended or self._released:
            refused: Deferred[T] = Deferred()
            refused.errback(AnyLogError(10))
            return refused
        return self._lane.run(self._work, work)

    def _work(self, work: Callable[[Connection], T]) -> T:
        if self._ended:
            raise AnyLogError(10)
        return work(self.connection)

    def interrupt(self) -> None:
        """Make the statement that runs stop; safe from any thread, and when none runs."""
        if not self._released and not self._ended:
            self.connection.interrupt()

    def end(self) -> None:
        """The database is being closed: what runs is stopped, and nothing more is begun."""
        self.interrupt()
        self._ended = True

    def release(self) -> None:
        """Give it back; safe to call twice. Nothing may run on it any more."""
        if not self._released:
            self._released = True
            self._returned(self)


def row_count(connection: Connection, table: str) -> int:
    """Rows of a table."""
    counted: int = connection.execute(f"select count(*) from {quoted(table)}").fetchone()[0]
    return counted


def parked_rows(connection: Connection, table: str, most: int) -> list[tuple[str, str, str, str]]:
    """Table, reason, row and time of the newest parked rows, of one table or of all."""
    rows: Iterable[Any] = connection.execute(
        "select table_name, reason, row, parked_at from anylog_parked where ? in ('', table_name)"
        " order by parked_at desc, buffer, sequence, position limit ?",
        (table, most),
    ).fetchall()
    return [(row[0], row[1], row[2], row[3]) for row in rows]
