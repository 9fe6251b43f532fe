"""Databases on real files, and what is loaded into them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.library import STANDARD, Library
from anylog.databases.sqlite import SQLite
from anylog.errors import AnyLogError
from anylog.interfaces import Load, Mark, Parked
from anylog.testing.lanes import InlineLanes

AT = "2026-01-02 03:04:05.000006"


def load(
    table: str = "t",
    columns: Sequence[str] = ("a", "b"),
    rows: Sequence[Sequence[Any]] = ((1, "x"), (2, "y")),
    *,
    buffer: str = "h/1",
    sequence: int = 1,
    hash: str | None = None,
    parked: Sequence[Parked] = (),
    keys: Sequence[tuple[str, float, str]] = (),
    create: Mapping[str, str] | None = None,
    alter: Mapping[str, str] | None = None,
) -> Load:
    return Load(
        table=table,
        columns=columns,
        values=json.dumps(rows),
        rows=len(rows),
        marks=[Mark(buffer, table, sequence, len(rows), len(parked), hash)],
        parked=parked,
        keys=keys,
        tsd_name="0",
        tsd_id=0,
        inserted=AT,
        create=create,
        alter=alter,
    )


T = {"a": "INT", "b": "CHAR(8)"}


class DatabaseCase(SynchronousTestCase):
    library: Library = STANDARD
    in_memory = False

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "town.dbms"
        self.clock = Clock()
        self.lanes = InlineLanes()
        self.opened: list[SQLite] = []
        self.addCleanup(lambda: [self.get(each.close()) for each in self.opened])

    def get(self, waited: Deferred[Any]) -> Any:
        return self.successResultOf(waited)

    def refused(self, waited: Deferred[Any]) -> AnyLogError:
        error = self.failureResultOf(waited, AnyLogError).value
        assert isinstance(error, AnyLogError)
        return error

    def database(self, home: str = "home", **options: Any) -> SQLite:
        database = SQLite(
            name="town",
            path=None if self.in_memory else self.path,
            lanes=options.pop("lanes", self.lanes),
            clock=self.clock,
            home=home,
            library=options.pop("library", self.library),
            **options,
        )
        self.opened.append(database)
        return database

    def open(self, **options: Any) -> SQLite:
        database = self.database(**options)
        self.get(database.open())
        return database

    def all(self, database: SQLite, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.get(database.read(lambda c: c.execute(statement, parameters).fetchall()))]

    def marked(self, database: SQLite, buffers: Sequence[str]) -> dict[str, int]:
        """Up to which record each is loaded."""
        return {buffer: mark.sequence for buffer, mark in self.get(database.marks(buffers)).items()}

    def foreign(self, *statements: str) -> None:
        """What another program does to the file."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()
