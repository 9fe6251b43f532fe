"""Result tables: where partial results of several nodes meet: a private SQLite that spills to disk (query.md 7.2)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred, succeed

from anylog.databases.library import LONGEST, status_of
from anylog.databases.tables import quoted
from anylog.errors import AnyLogError
from anylog.interfaces import ILane

T = TypeVar("T")

IDLE = 4  # connections kept for the next queries
SMALL = 64 << 10  # bytes of partial results that are put together at once, without a lane


def create_statement(table: str, columns: Sequence[tuple[str, str]]) -> str:
    """The result table; its last column says which part a row came from."""
    listed = [f"{quoted(name)} {kind}".rstrip() for name, kind in columns]
    return f"create table {quoted(table)} ({', '.join([*listed, 'query_part integer'])})"


def insert_statement(table: str, columns: int) -> str:
    """Rows of one page, a JSON list of lists: one statement a page (hard-parts.md 5.1)."""
    values = ", ".join([*(f"value->>{place}" for place in range(columns)), "?"])
    return f"insert into {quoted(table)} select {values} from json_each(?)"


@define(eq=False)
class Scratches:
    """Idle private databases of a node."""

    _idle: list[sqlite3.Connection] = field(factory=list)
    _closed: bool = False

    def take(self) -> sqlite3.Connection:
        """One that nobody else uses. A database without a name lives in memory until it is large, then in a file."""
        if self._idle:
            return self._idle.pop()
        connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -16384", "temp_store = memory"):
            connection.execute(f"pragma {pragma}")
        return connection

    def give(self, connection: sqlite3.Connection) -> None:
        """Back again, empty."""
        if self._closed or len(self._idle) >= IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Let all go."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


@define(eq=False, kw_only=True)
class Scratch:
    """A result table of one query. It is a `Source` and its own lease for the unifying answer."""

    name: str  # for messages: the logical name of the database
    table: str
    columns: Sequence[tuple[str, str]]
    pool: Scratches
    lane: ILane
    inline: bool  # the work is small: it is done at once
    kind: str = "sqlite"
    _connection: sqlite3.Connection = field(init=False)
    _insert: str = field(init=False)
    _large: bool = False
    _busy: int = 0  # pieces of work in the lane
    _turn: DeferredLock = field(factory=DeferredLock)  # the lane has several threads, the connection is for one
    _gone: bool = False

    def __attrs_post_init__(self) -> None:
        self._connection = self.pool.take()
        self._insert = insert_statement(self.table, len(self.columns))

    def create(self) -> Deferred[None]:
        """Make the table."""
        return self.run(lambda connection: self._execute(connection, create_statement(self.table, self.columns)))

    def insert(self, part: int, rows: bytes) -> Deferred[None]:
        """Rows of one part: JSON lists with commas between them."""
        self._large = self._large or len(rows) > SMALL
        text = f"[{rows.decode()}]"
        return self.run(lambda connection: self._execute(connection, self._insert, (part, text)))

    def forget(self, part: int) -> Deferred[None]:
        """Leave out what a part has sent: another node sends it anew."""
        statement = f"delete from {quoted(self.table)} where query_part = ?"
        return self.run(lambda connection: self._execute(connection, statement, (part,)))

    def lease(self) -> Deferred[Any]:
        """Itself: nobody else reads it."""
        return succeed(self)

    def run(self, work: Callable[[Any], T]) -> Deferred[T]:
        """`work(connection)`, at once or in the lane."""
        if self.inline:
            return maybeDeferred(work, self._connection)
        self._busy += 1
        waited: Deferred[T] = Deferred(lambda _: None)

        def ended(result: Any) -> None:
            self._busy -= 1
            if self._gone and not self._busy:
                self._free()
            if not waited.called:
                waited.callback(result)

        self._turn.run(self.lane.run, work, self._connection).addBoth(ended)
        return waited

    def interrupt(self) -> None:
        """Make the statement that runs stop."""
        if not self._gone:
            self._connection.interrupt()

    def release(self) -> None:
        """Drop the table and give the connection back, once nothing runs on it; safe to call twice."""
        if not self._gone:
            self._gone = True
            if not self._busy:
                self._free()

    def _free(self) -> None:
        if self._large:
            self.lane.run(self._connection.close).addErrback(lambda _: None)
            return
        try:
            self._connection.execute("pragma query_only = off")
            self._connection.execute(f"drop table if exists {quoted(self.table)}")
        except sqlite3.Error:
            self._connection.close()
        else:
            self.pool.give(self._connection)

    def _execute(self, connection: sqlite3.Connection, statement: str, parameters: Sequence[Any] = ()) -> None:
        try:
            connection.execute(statement, parameters)
        except sqlite3.Error as fault:
            raise AnyLogError(16, f"{self.name}: {fault}", http=status_of(fault)) from fault
