"""What the tests of this room share: a real SQLite file with a small table, and a node just large enough to ask."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import orjson
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.access import Access
from anylog.databases.sqlite import SQLite
from anylog.errors import AnyLogError
from anylog.interfaces import Load, Mark
from anylog.language.context import Context, Result
from anylog.language.logs import Logs
from anylog.query.commands import Sql
from anylog.query.watch import QueryTimes
from anylog.testing.lanes import InlineLanes

NOW = 1_767_268_800.0  # 2026-01-01 12:00:00 UTC
COLUMNS = {"device": "VARCHAR", "timestamp": "TIMESTAMP", "value": "FLOAT", "n": "BIGINT", "ok": "BOOLEAN"}
ROWS: list[list[Any]] = [
    ["dev-0001", "2026-01-01 00:00:00.000000", 1.5, 1, 1],
    ["dev-0002", "2026-01-01 00:00:20.123456", 2.5, 9007199254740993, 0],
    ["dev-0001", "2026-01-01 00:01:10.000000", -3.25, None, None],
    ["dev-0003", "2026-01-01 01:05:00.500000", 4.0, 4, 1],
    ['it\'s "é"', "2026-02-01 10:00:00.000000", None, 5, 0],
]


class Asking(SynchronousTestCase):
    """Asks `sql` of a database in a file."""

    rows = ROWS

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.database = SQLite(
            name="plant", path=Path(folder.name) / "plant.dbms", lanes=InlineLanes(), clock=self.clock, home="h"
        )
        self.successResultOf(self.database.open())
        self.addCleanup(lambda: self.successResultOf(self.database.close()))
        self.load("readings", COLUMNS, self.rows)
        logs = Logs(self.clock)
        self.node: Any = SimpleNamespace(
            access=Access(), clock=self.clock, logs=logs, queries=QueryTimes(self.clock, logs), databases=self
        )

    def get(self, name: str) -> SQLite:
        """As the catalog does."""
        if name != "plant":
            raise AnyLogError(5, f"Logical DBMS '{name}' not opened on Operator Node")
        return self.database

    def load(self, table: str, columns: dict[str, str], rows: list[list[Any]]) -> None:
        """Rows as the intake brings them."""
        values = orjson.dumps(rows).decode()
        load = Load(
            table=table,
            columns=list(columns),
            values=values,
            rows=len(rows),
            marks=[Mark(f"b-{table}", table, 1, len(rows), 0)],
            parked=[],
            keys=[],
            tsd_name="0",
            tsd_id=0,
            inserted="2026-01-01 12:00:00.000000",
            create=columns,
        )
        self.assertEqual(self.successResultOf(self.database.load([load])), [None])

    def ask(self, line: str, **context: Any) -> Result | None:
        """What `sql` gives."""
        asked = Deferred.fromCoroutine(Sql().run(self.node, Context(**context), [line]))
        result: Result | None = self.successResultOf(asked)
        return result

    def body(self, line: str, **context: Any) -> str:
        """The pages of an answer, joined."""
        result = self.ask(line, **context)
        assert result is not None and result.pages is not None
        parts = []
        while (page := self.successResultOf(result.pages.next())) is not None:
            parts.append(page.decode())
        return "".join(parts)

    def rows_of(self, statement: str, options: str = "") -> list[dict[str, Any]]:
        """The rows of a select."""
        body = self.body(f'plant format = json:list and stat = false {options} "{statement}"')
        found: list[dict[str, Any]] = orjson.loads(body)
        return found

    def column(self, statement: str) -> list[Any]:
        """The only column of a select."""
        return [next(iter(row.values())) for row in self.rows_of(statement)]

    def refusal(self, line: str, **context: Any) -> AnyLogError:
        """The error that `sql` ends with."""
        asked = Deferred.fromCoroutine(Sql().run(self.node, Context(**context), [line]))
        error = self.failureResultOf(asked, AnyLogError).value
        assert isinstance(error, AnyLogError)
        return error

    def temporary(self) -> list[str]:
        """Temporary tables left behind in any reading connection."""
        found: list[str] = []
        for reader in self.database._readers._idle:
            assert isinstance(reader, sqlite3.Connection)
            found += [row[0] for row in reader.execute("select name from temp.sqlite_master").fetchall()]
        return found
