"""Answers the kind `select` of other nodes: one select on a database of this node, in pages (query.md 7.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from attrs import define, evolve, field
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Reply
from anylog.query.answer import Answer, Source
from anylog.query.rewrite import Ready, local_select
from anylog.query.rows import FORMS, SentPages, asked, layout_for, next_page
from anylog.query.sql import read_statement
from anylog.query.times import utc, zone_of
from anylog.query.watch import QueryTimes
from anylog.waiting import deferring

KEPT = 256  # statements whose translation is remembered
INLINE = 32 << 10  # bytes of a first page that travels in the head of the reply


class Database(Source, Protocol):
    """What a select of another node needs of a database."""

    def schema(self, table: str) -> Mapping[str, str] | None: ...


class Databases(Protocol):
    """The databases of this node."""

    def get(self, name: str) -> Any: ...


@define(kw_only=True, eq=False)
class SelectService:
    """Handler of the kind `select`.

    Question: dbms, table, statement (in the language, times in UTC), form, lines (objects: one a line), keys (keyed:
    how many), titles, types, columns (name -> ledger type: what the table must have), zone (in which times are shown),
    seconds (the longest it may take), late (the error number then). `describe` instead of a statement asks for the
    columns of the table.
    Reply: rows (in all), page (the first pages, framed), more by the body. Fails with AnyLogError 5, 16, 21, 26, 29,
    46, 76 or 212.
    """

    databases: Callable[[], Databases]
    clock: Clock
    times: QueryTimes
    ensure_table: Callable[[str, str, Sequence[str]], Deferred[Any]] | None = (
        None  # makes a table what the ledger says it is
    )
    _ready: OrderedDict[tuple[str, str], tuple[Mapping[str, str], Ready]] = field(factory=OrderedDict)

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        head = asked(head, body)
        dbms, table = _text(head, "dbms"), _text(head, "table")
        database = self.databases().get(dbms)
        if head.get("describe"):
            return Reply(head={"columns": dict(database.schema(table) or {})})
        await self._prepare(database, dbms, table, head.get("columns"))
        started = self.clock.seconds()
        zone = zone_of(_text(head, "zone", "utc"))
        until, late = self._limit(head, asker, started)
        form = _text(head, "form", "objects")
        if form not in FORMS:
            raise AnyLogError(21, f"'{form}' is not a form of rows")
        statement = _text(head, "statement")
        ready = self._translated(database, dbms, statement, table)
        answer = Answer(
            database=database,
            ready=_named(ready, head.get("titles"), head.get("types")),
            layout=layout_for(form, bool(head.get("lines")), _whole(head, "keys")),
            clock=self.clock,
            name=f"anylog_answer_{self.times.number()}",
            zone=zone,
            zoned=zone is not UTC,
            until=until,
            late=late,
        )
        try:
            await answer.open()
            answer.until = None  # from here on the reader sets the pace
            page = await next_page(answer) if answer.count else b""
        except BaseException:
            answer.close()
            raise
        finally:
            self.times.ended(self.clock.seconds() - started, dbms, statement)
        if page is not None and len(page) > INLINE:
            return Reply(head={"rows": answer.count}, body=SentPages(answer, page))
        rest = None if answer.over else SentPages(answer)
        if rest is None:
            answer.close()
        return Reply(head={"rows": answer.count, "page": page or b""}, body=rest)

    async def _prepare(self, database: Database, dbms: str, table: str, needed: Any) -> None:
        """Bring the table to what the ledger knows of it, if it lacks something."""
        wanted = list(needed) if isinstance(needed, Mapping) else []
        schema = database.schema(table)
        if schema is not None and all(column in schema for column in wanted):
            return
        if self.ensure_table is not None:
            made = self.ensure_table(dbms, table, wanted)
            await made
            schema = database.schema(table)
        if schema is None:
            raise AnyLogError(29, f"Table '{table}' in DBMS '{dbms}' not defined (using '{database.kind}')")
        for column in wanted:
            if column not in schema:
                raise AnyLogError(46, f"Column '{column}' is not in the table {dbms}.{table} of this node")

    def _limit(self, head: Mapping[str, Any], asker: Asker, started: float) -> tuple[float | None, int]:
        seconds = head.get("seconds")
        until = started + float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None
        if asker.until is not None and (until is None or asker.until < until):
            return asker.until, 26
        return until, 76 if head.get("late") == 76 else 26

    def _translated(self, database: Database, dbms: str, statement: str, table: str) -> Ready:
        """The statement for the engine, remembered as long as the table stays what it is."""
        schema = database.schema(table) or {}
        known = self._ready.get((dbms, statement))
        if known is not None and (known[0] is schema or known[0] == schema):
            self._ready.move_to_end((dbms, statement))
            return known[1]
        verb, tokens = read_statement(statement)
        if verb != "select":
            raise AnyLogError(212, f"'{verb}' is not served to other nodes, only select is")
        now = utc(self.clock.seconds())
        ready = local_select(tokens, database.schema, now, UTC)
        if local_select(tokens, database.schema, datetime(2000, 1, 1), UTC) == ready:  # whatever the time is
            self._ready[dbms, statement] = schema, ready
            while len(self._ready) > KEPT:
                self._ready.popitem(last=False)
        return ready


def _named(ready: Ready, titles: Any, types: Any) -> Ready:
    """With the titles and types of the node that asks, if it told them."""
    if not isinstance(titles, list) or not isinstance(types, list):
        return ready
    if len(titles) != len(types) or not all(isinstance(each, str) for each in (*titles, *types)):
        raise AnyLogError(21, "titles and types do not go together")
    more = len(ready.titles) - len(titles)  # sort keys
    return evolve(ready, titles=[*titles, *[f"key {n}" for n in range(more)]], types=[*types, *[""] * more])


def _text(head: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = head.get(name, default)
    if not isinstance(value, str):
        raise AnyLogError(21, f"a select without '{name}'")
    return value or (default or "")


def _whole(head: Mapping[str, Any], name: str) -> int:
    value = head.get(name, 0)
    if not isinstance(value, int) or not 0 <= value <= 1000:
        raise AnyLogError(21, f"a select with a wrong '{name}'")
    return value
