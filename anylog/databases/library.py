"""The SQLite library behind a database: how to connect, what it raises, and what its faults mean.

Connections are used through `execute`, `interrupt` and `close` alone, so that a test may put another library, with a
disk that forgets, in place of the standard one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from attrs import define, frozen
from twisted.internet.defer import Deferred, fail

from anylog.errors import AnyLogError
from anylog.interfaces import ILane

T = TypeVar("T")

# Primary result codes of the engine (its C interface): the fault lies in what was asked, not in the file or the disk.
_OF_THE_ROW = {1, 18, 19, 20, 25}  # ERROR, TOOBIG, CONSTRAINT, MISMATCH, RANGE
_FULL = 13


class Connection(Protocol):
    """A connection of sqlite3 (with `isolation_level = None`) or of apsw."""

    def execute(self, statement: str, parameters: Sequence[Any] = ...) -> Any: ...

    def interrupt(self) -> None: ...

    def close(self) -> Any: ...


@frozen
class Library:
    """The SQLite library in use: how to connect (path, read only), and what it raises."""

    connect: Callable[[str, bool], Connection]
    faults: tuple[type[Exception], ...]


def _connect(path: str, readonly: bool) -> Connection:
    uri = f"file:{_escaped(path)}?mode={'ro' if readonly else 'rwc'}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256)


def _escaped(path: str) -> str:
    return "".join(
        char if char.isalnum() or char in "/._-" else "".join(f"%{b:02x}" for b in char.encode()) for char in path
    )


STANDARD = Library(_connect, (sqlite3.Error,))


def _code(fault: Exception) -> int | None:
    """The primary result code: sqlite3 and apsw name it differently; None if the fault is the library's own."""
    code = getattr(fault, "sqlite_errorcode", getattr(fault, "result", None))
    return code & 0xFF if isinstance(code, int) else None


def of_the_row(fault: Exception) -> bool:
    """Whether the fault lies in what was to be written, and not in the file, the disk or the engine."""
    code = _code(fault)
    return type(fault).__name__ == "DataError" if code is None else code in _OF_THE_ROW


def is_full(fault: Exception) -> bool:
    """Whether there is no room for what was to be written."""
    return _code(fault) == _FULL


@define(eq=False)
class Lease:
    """A reading connection that one answer holds until it is released, or until the database is closed."""

    connection: Connection
    _lane: ILane
    _returned: Callable[[Lease], None]
    _over: bool = False

    def run(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """`work(connection)` in the reading lane. Fails with AnyLogError 10 once the lease is over."""
        if self._over:
            return fail(self._refusal())
        try:
            return self._lane.run(self._work, work)
        except AnyLogError:  # the lane is full
            return fail()

    def _work(self, work: Callable[[Connection], T]) -> T:
        if self._over:
            raise self._refusal()
        return work(self.connection)

    def interrupt(self) -> None:
        """Make the statement that runs stop; safe from any thread and at any time."""
        if not self._over:
            self.connection.interrupt()

    def release(self) -> None:
        """Give it back; safe to call twice. Nothing may run on it any more."""
        if not self._over:
            self._over = True
            self._returned(self)

    def end(self) -> None:
        """The database is being closed: stop what runs and take nothing more. Who ends it closes the connection."""
        self.interrupt()
        self._over = True

    def _refusal(self) -> AnyLogError:
        return AnyLogError(10, "the answer's connection was given back")
