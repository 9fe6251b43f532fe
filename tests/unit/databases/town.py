"""What the tests of this room share: a database on a real file, and loads to put into it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.library import STANDARD, Library
from anylog.databases.sqlite import SQLite
from anylog.errors import AnyLogError
from anylog.interfaces import Load, Mark, Parked
from anylog.testing.lanes import InlineLanes

NOW = "2026-01-02 03:04:05.000000"


def load(table: str, rows: Sequence[dict[str, Any]], sequence: int = 1, buffer: str = "b1", **options: Any) -> Load:
    """Rows of one table with one mark."""
    columns = list(rows[0]) if rows else []
    parked: Sequence[Parked] = options.pop("parked", ())
    mark = Mark(buffer, table, sequence, len(rows), len(parked), options.pop("hash", None))
    return Load(
        table=table,
        columns=columns,
        values=json.dumps([[row[column] for column in columns] for row in rows]),
        rows=len(rows),
        marks=[mark],
        parked=parked,
        keys=options.pop("keys", ()),
        tsd_name="0",
        tsd_id=0,
        inserted=NOW,
        **options,
    )


class Wrapped:
    """A connection of which a test hears every statement, and that it may make fail."""

    def __init__(self, inner: Any, told: Callable[[str], None]) -> None:
        self.inner, self.told = inner, told

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Tell, then do."""
        self.told(statement)
        return self.inner.execute(statement, parameters)

    def interrupt(self) -> None:
        """Pass it on."""
        self.inner.interrupt()

    def close(self) -> None:
        """Pass it on."""
        self.inner.close()


class TownCase(SynchronousTestCase):
    """A database called town."""

    library: Library = STANDARD

    def setUp(self) -> None:
        self.clock, self.lanes = Clock(), InlineLanes()
        self.clock.advance(1_790_000_000)
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.folder = Path(kept.name)
        self.path = self.folder / "town.dbms"
        self.made: list[SQLite] = []
        self.town = self.open()
        self.addCleanup(self.close_all)

    def close_all(self) -> None:
        """No file stays open behind a test."""
        for each in self.made:
            self.successResultOf(each.close())

    def open(self, **options: Any) -> SQLite:
        """Open it, or another one."""
        given = {"name": "town", "path": self.path, "home": "here", "library": self.library, **options}
        database = SQLite(lanes=self.lanes, clock=self.clock, **given)
        self.made.append(database)
        self.successResultOf(database.open())
        return database

    def reopen(self, **options: Any) -> None:
        """Close it and open it again."""
        self.successResultOf(self.town.close())
        self.town = self.open(**options)

    def load(self, *loads: Load) -> list[str | None]:
        """The kinds of the faults."""
        faults = self.successResultOf(self.town.load(loads))
        return [fault and fault.kind for fault in faults]

    def ask(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Rows as a reader sees them."""
        rows: list[Any] = self.successResultOf(
            self.town.read(lambda connection: connection.execute(statement, parameters).fetchall())
        )
        return rows

    def refused(self, waited: Deferred[Any]) -> AnyLogError:
        """The error it fails with."""
        error = self.failureResultOf(waited, AnyLogError).value
        assert isinstance(error, AnyLogError)
        return error

    def failing(self, *signs: str, fault: Exception | None = None) -> list[str]:
        """Open it again; statements that begin with one of what the returned list holds fail."""
        armed: list[str] = list(signs)

        def told(statement: str) -> None:
            if any(statement.startswith(sign) for sign in armed):
                raise fault or sqlite3.OperationalError("disk I/O error")

        def connect(path: str, readonly: bool) -> Any:
            return Wrapped(STANDARD.connect(path, readonly), told)

        self.reopen(library=Library(connect, STANDARD.faults))
        return armed
