"""Answers the kind `select` of other nodes: one select on a database of this node, in pages (query.md 7.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from attrs import Factory, define, evolve, field
from twisted.internet.defer import Deferred

from anylog.databases import marks
from anylog.databases.taken_out import TakenOut
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Reply, unix
from anylog.query.answer import Answer, Source
from anylog.query.rewrite import Ready, local_select
from anylog.query.rows import FORMS, SentPages, asked, layout_for, next_page
from anylog.query.sql import read_statement
from anylog.query.times import utc, zone_of
from anylog.query.watch import QueryTimes
from anylog.waiting import deferring

T = TypeVar("T")

KEPT = 256  # statements whose translation is remembered
PEEKED, BESIDE = 1000, 200  # files of one reply, and of one that has rows
TRIES = 3  # looks at a table from which something was taken out meanwhile
LISTED = 100  # ids that stand in a statement as they are
INLINE = 32 << 10  # bytes of a first page that travels in the head of the reply


class Database(Source, Protocol):
    """What a select of another node needs of a database."""

    def schema(self, table: str) -> Mapping[str, str] | None: ...

    def read(self, work: Callable[[Any], T]) -> Deferred[T]: ...


class Databases(Protocol):
    """The databases of this node."""

    def get(self, name: str) -> Any: ...


@define(kw_only=True, eq=False)
class SelectService:
    """Handler of the kind `select`.

    Question: dbms, table, statement (in the language, times in UTC), form, lines (objects: one a line), keys (keyed:
    how many), titles, types, columns (name -> ledger type: what the table must have), zone (in which times are shown),
    seconds (the longest it may take), late (the error number then). `describe` instead of a statement asks for the
    columns of the table. Of the members of a cluster (hard-parts.md 1):

    anyway      answer although this member has not taken over yet all that it missed
    committed   only rows that every member is known to have
    marks       `since` (positions) and `open` (files): the reply says in `marks` which position of the marks the answer
                was given at, whether `since` are of this database, and which of `open` its rows are without
    peek        instead of a statement, or beside `only`: which files of a `member` came `after` a position
    check       instead of a statement: which of `files` no mark up to the row `at` holds
    only        of rows of these `ids` of `member` only

    A position is the row and the buffer of a mark, a file its member, id and hash.

    Reply: rows (in all), page (the first pages, framed), more by the body. Fails with AnyLogError 5, 16, 21, 26, 29,
    46, 76, 212, 508 or 509.
    """

    databases: Callable[[], Databases]
    clock: Clock
    times: QueryTimes
    ensure_table: Callable[[str, str, Sequence[str]], Deferred[Any]] | None = (
        None  # makes a table what the ledger says it is
    )
    complete: Callable[[], bool] = field(default=lambda: True)  # whether this member missed nothing
    astray: Callable[[], str] = field(default=lambda: "")  # why nobody may be answered for a cluster; "": they may
    # The id up to which every member has the files of each member; None: there is nobody to agree with.
    consensus: Callable[[], Mapping[int, int] | None] = field(default=lambda: None)
    # Tables from which a file is taken out for a moment.
    out: TakenOut = Factory(lambda self: TakenOut(self.clock), takes_self=True)
    _ready: OrderedDict[tuple[str, str, bool], tuple[Mapping[str, str], Ready]] = field(factory=OrderedDict)

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        head = asked(head, body)
        dbms, table = _text(head, "dbms"), _text(head, "table")
        database = self.databases().get(dbms)
        if head.get("describe"):
            return Reply(head={"columns": dict(database.schema(table) or {})})
        if told := self.astray():
            raise AnyLogError(509, told)
        for _ in range(TRIES):
            number, whole = await self.out.look(dbms, table), False
            try:
                reply = await self._reply(head, dbms, table, database, asker)
            finally:
                whole = self.out.looked(dbms, table, number)
            if whole:
                return reply
            if reply.body is not None:
                reply.body.close()
        raise AnyLogError(508, f"files of {dbms}.{table} are being loaded again")

    async def _reply(
        self, head: Mapping[str, Any], dbms: str, table: str, database: Database, asker: Asker
    ) -> Reply:  # fmt: skip
        """The answer, whatever is out meanwhile."""
        peeked: dict[str, Any] = {}
        if "peek" in head:
            peeked = await self._peek(database, table, head["peek"], BESIDE if "only" in head else PEEKED)
        if peeked and "only" not in head:
            return Reply(head=peeked)
        if "check" in head:
            return await self._check(database, head["check"])
        condition = self._condition(head)
        await self._prepare(database, dbms, table, head.get("columns"))
        started = self.clock.seconds()
        zone = zone_of(_text(head, "zone", "utc"))
        until, late = self._limit(head, asker, started)
        form = _text(head, "form", "objects")
        if form not in FORMS:
            raise AnyLogError(21, f"'{form}' is not a form of rows")
        statement = _text(head, "statement")
        ready = self._translated(database, dbms, statement, table, bool(condition))
        if condition:
            ready = ready.among(condition)
        told: dict[str, dict[str, Any]] = {"marks": {}} if "marks" in head else {}
        told |= {"peek": peeked} if peeked else {}
        answer = Answer(
            beside=_beside(head["marks"], told["marks"]) if "marks" in head else None,
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
        execution = self.times.executions.begin(asker, head, dbms, table, statement)
        fault: BaseException | None = None
        try:
            await answer.open()
            answer.until = None  # from here on the reader sets the pace
            page = await next_page(answer) if answer.count else b""
        except BaseException as error:
            fault = error
            execution.failed(error)
            answer.close()
            raise
        finally:
            self.times.ended(self.clock.seconds() - started, dbms, statement, fault)
        if page is not None and len(page) > INLINE:
            execution.opened(answer.count, None)  # this page is the first of the body
            return Reply(head={"rows": answer.count, **told}, body=execution.watched(SentPages(answer, page)))
        execution.opened(answer.count, page)
        rest = None if answer.over else execution.watched(SentPages(answer))
        if rest is None:
            execution.completed = True
            answer.close()
        return Reply(head={"rows": answer.count, "page": page or b"", **told}, body=rest)

    async def _peek(self, database: Database, table: str, asked: Any, most: int) -> dict[str, Any]:
        member, (row, buffer) = _member(asked), _position(asked, "after")

        def work(connection: Any) -> dict[str, Any]:
            same = marks.is_at(connection, row, buffer)
            files, at, more = marks.files_after(connection, member, table, row if same else 0, most)
            return {"files": files, "at": list(at), "more": more, "same": same}

        looked: Deferred[dict[str, Any]] = database.read(work)
        return await looked

    async def _check(self, database: Database, asked: Any) -> Reply:
        files = _files(asked, "files")
        row = asked.get("at")
        if not isinstance(row, int):
            raise AnyLogError(21, "a check without 'at'")
        looked: Deferred[list[list[int]]] = database.read(lambda connection: marks.not_held(connection, row, files))
        return Reply(head={"open": await looked})

    def _condition(self, head: Mapping[str, Any]) -> str:
        """Which rows the answer is of; empty: all. Raises AnyLogError 508 unless this member may answer."""
        only = head.get("only")
        if only is not None:
            ids = only.get("ids") if isinstance(only, Mapping) else None
            if not isinstance(ids, list) or not all(type(each) is int for each in ids):
                raise AnyLogError(21, "a select with a wrong 'only'")
            listed = ", ".join(map(str, ids))
            if len(ids) > LISTED:
                listed = f"select value from json_each('[{listed}]')"
            return f"tsd_name = '{_member(only)}' and tsd_id in ({listed})"
        if not head.get("anyway") and not self.complete():
            raise AnyLogError(508, "this operator has not taken over yet all that it missed")
        agreed = self.consensus() if head.get("committed") else None
        if agreed is None:
            return ""
        members = [f"tsd_name = '{member}' and tsd_id <= {id}" for member, id in sorted(agreed.items())]
        return " or ".join(["tsd_name = '0'", *members])

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

    def _translated(
        self, database: Database, dbms: str, statement: str, table: str, conditional: bool = False
    ) -> Ready:
        """The statement for the engine, remembered as long as the table stays what it is."""
        schema = database.schema(table) or {}
        known = self._ready.get((dbms, statement, conditional))
        if known is not None and (known[0] is schema or known[0] == schema):
            self._ready.move_to_end((dbms, statement, conditional))
            return known[1]
        verb, tokens = read_statement(statement)
        if verb != "select":
            raise AnyLogError(212, f"'{verb}' is not served to other nodes, only select is")
        now = utc(unix(self.clock))
        ready = local_select(tokens, database.schema, now, UTC, conditional)
        then = datetime(2000, 1, 1)
        if local_select(tokens, database.schema, then, UTC, conditional) == ready:  # whatever the time is
            self._ready[dbms, statement, conditional] = schema, ready
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


def _beside(asked: Any, told: dict[str, Any]) -> Callable[[Any], None]:
    """What is read of the marks in the snapshot that the rows are of."""
    since = asked.get("since") if isinstance(asked, Mapping) else None
    if not isinstance(since, list):
        raise AnyLogError(21, "a question about marks without 'since'")
    positions = [_position({"since": each}, "since") for each in since]
    files = _files(asked, "open")

    def work(connection: Any) -> None:
        at = marks.position(connection)
        told["at"], told["same"] = list(at), all(marks.is_at(connection, *each) for each in positions)
        told["open"] = marks.not_held(connection, at[0], files)

    return work


def _member(asked: Any) -> int:
    member = asked.get("member") if isinstance(asked, Mapping) else None
    if not isinstance(member, int):
        raise AnyLogError(21, "a question about a member that it does not name")
    return member


def _position(asked: Any, name: str) -> tuple[int, str]:
    found = asked.get(name) if isinstance(asked, Mapping) else None
    match found:
        case [int() as row, str() as buffer]:
            return row, buffer
    raise AnyLogError(21, f"a question about marks with a wrong '{name}'")


def _files(asked: Any, name: str) -> list[list[Any]]:
    found = asked.get(name) if isinstance(asked, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(each, list) and len(each) == 3 for each in found):
        raise AnyLogError(21, f"a question about marks with wrong '{name}'")
    return found


def _whole(head: Mapping[str, Any], name: str) -> int:
    value = head.get(name, 0)
    if not isinstance(value, int) or not 0 <= value <= 1000:
        raise AnyLogError(21, f"a select with a wrong '{name}'")
    return value
