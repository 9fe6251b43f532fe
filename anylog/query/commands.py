"""The words about queries: `sql` on this node's databases, query times and the query log (query.md 1, 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import CancelledError

import anylog.query.fact_commands
import anylog.query.status_commands
from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Flag, Format, OneOf, Option, Seconds, Text
from anylog.language.context import Context, Result
from anylog.query.answer import Answer
from anylog.query.formats import Laid, layout_of
from anylog.query.rewrite import local, local_select
from anylog.query.sql import read_line, read_statement
from anylog.query.times import utc, zone_of
from anylog.query.tokens import failure

if TYPE_CHECKING:
    from anylog.node import Node

SHOWN = ("stdout", "rest")  # destinations that mean: to whoever asked
DESTINATIONS = (*SHOWN, "none", "file", "dbms", "buffer")


class Sql(Command):
    """Run a statement on a database of this node.

    The options stand between the name of the database and the statement, joined by `and`. The statement may stand in
    double quotes; texts inside it stand in single quotes. A select gives its rows; insert, update, delete, create,
    drop and alter are for callers who may change the node. A suffix `--> ...` is for graphical tools and not read.

    Times in a statement are UTC unless they carry a zone, or `set timezone` or the option `timezone` says otherwise.
    In a select:
    now() and date() with spans (now() - 3 days, -4t), date('now', 'start of month'), increments(unit, n, column),
    increments(column), period(unit, n, time, column), date_trunc('unit', column), extract(unit from column) and
    range(column).

    drop, table, topic, info, nodes, committed and pass_through mean something only to queries of the network; a
    query of this node alone takes them and does nothing with them. A title is shown above a table only, since JSON
    has no place for it.
    """

    words = "sql"
    operands = "[dbms] [option = value and ...] [statement]"
    least = 1
    most = 1
    raw = True
    where: ClassVar[Mapping[str, Option]] = {
        "format": Text(default="json", help="json, json:list, json:output or table"),
        "timezone": Text(help="utc, local, pt, mt, ct, et or a name as Europe/Paris"),
        "stat": Flag(default=True, help="statistics after the rows"),
        "title": Text(default="", help="line above a table"),
        "max_time": Seconds(help="the longest the query may take"),
        "dest": Text(default="rest", help="stdout or rest: to whoever asks; none: rows are not shown"),
        "output": Flag(default=True, help="false: rows are not shown"),
        "file": Text(help="file for the rows"),
        "include": Text(many=True, help="more tables of the same form"),
        "extend": Text(help="more columns, about the node that answers"),
        "drop": Flag(default=True, help="network: begin with an empty result table"),
        "table": Text(help="network: name of the result table"),
        "test": Flag(default=False, help="test layout"),
        "source": Text(help="file to compare with"),
        "option": Text(many=True, help="of the comparison"),
        "topic": Text(help="network: topic of a broker"),
        "info": Text(help="network: address that @ip and @port give"),
        "nodes": OneOf(words=("main", "all"), default="main", help="network: which operator of a cluster"),
        "committed": Flag(default=False, help="network: only rows that every member has"),
        "pass_through": Flag(default=True, help="network: rows need no result table"),
    }
    usage = "sql [dbms] [option = value and ...] [statement]"
    examples = (
        'sql plant format = table "select timestamp, value from pump1 where timestamp >= now() - 1 hour limit 10"',
        'sql plant stat = false and timezone = pt "select increments(minute, 5, timestamp) as at, avg(value) from m1"',
        "sql plant \"insert into places (name) values ('hall 3')\"",
    )
    index = ("query", "sql", "data")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        line = read_line(operands[0])
        options = self.read((line.statement,), line.options)
        layout = layout_of(options["format"].lower())
        zone = zone_of(options["timezone"] or node.queries.zone)
        self._check(options)
        verb, tokens = read_statement(line.statement)
        if verb != "select" and not node.access.allows(context):
            raise AnyLogError(212, f"sql: '{verb}' is not served to {context.who or 'others'}, only select is")
        database = node.databases.get(line.dbms)
        now = utc(unix(node.clock))
        if verb != "select":
            statement = local(tokens, database.schema, now, zone)
            await self._change(database, statement)
            return None
        started = node.clock.seconds()
        limit = options["max_time"]
        until = started + limit if limit else None
        overall = context.deadline is not None and (until is None or context.deadline < until)
        number = node.queries.number()
        ready = local_select(tokens, database.schema, now, zone)
        answer = Answer(
            database=database,
            ready=ready,
            layout=layout,
            clock=node.clock,
            name=f"anylog_answer_{number}",
            zone=zone,
            zoned=zone is not zone_of("utc"),
            until=context.deadline if overall else until,
            late=26 if overall else 76,
        )

        def elapsed() -> float:
            return node.clock.seconds() - started

        fault: BaseException | None = None
        try:
            await answer.open()
        except BaseException as error:
            fault = error
            raise
        finally:
            node.queries.ended(elapsed(), line.dbms, ready.statement, fault)
        answer.until = None  # from here on the reader sets the pace
        if options["dest"].lower() == "none" or not options["output"]:
            answer.close()
            return None
        return Result(
            pages=Laid(
                answer=answer,
                format=options["format"].lower(),
                stat=options["stat"],
                lines=context.origin in ("console", "start", "script"),
                title=options["title"],
                elapsed=elapsed,
            )
        )

    def _check(self, options: Mapping[str, Any]) -> None:
        """Options of which this build knows the name only. Raises AnyLogError 175 or 237."""
        dest = options["dest"].lower()
        if dest not in DESTINATIONS and not re.fullmatch(r"kafka@[^@\s]+:[0-9]+", dest):
            raise AnyLogError(175, f"sql: '{dest}' is not a value for 'dest': {', '.join(DESTINATIONS)}, kafka@ip:port")
        wrong = [name for name in ("file", "include", "extend", "source", "option", "test") if options[name]]
        if dest not in (*SHOWN, "none"):
            wrong.append(f"dest = {dest}")
        if wrong:
            raise AnyLogError(237, f"not in this build for a query of one node: {', '.join(wrong)}")

    async def _change(self, database: Any, statement: str) -> None:
        try:
            await database.execute(statement)
        except CancelledError:
            raise
        except AnyLogError as error:
            why = error.detail.removeprefix(f"{database.name}: ")
            missing = re.fullmatch(r"no such table: (?:main\.)?(.+)", why)
            if missing:
                raise AnyLogError(
                    29, f"Table '{missing[1]}' in DBMS '{database.name}' not defined (using '{database.kind}')"
                ) from None
            if error.number == 16:
                raise failure(statement, why, http=error.http) from None
            raise


class GetQueriesTime(Command):
    """Show how many queries took up to 1, 2, ... seconds."""

    words = "get queries time"
    where = {"format": Format}
    examples = ("get queries time", "get queries time where format = json")
    index = ("query", "monitoring", "profiling")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=node.queries.text(), data=node.queries.values(), format=options["format"] or "text")


class ResetQueryTimer(Command):
    """Count the times of queries anew."""

    words = "reset query timer"
    examples = ("reset query timer",)
    index = ("query", "monitoring", "profiling")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        node.queries.reset()
        return None


class SetQueryLog(Command):
    """Log all queries, no queries, or those that take some seconds or longer.

    `get query log` shows the log and `reset query log` empties it.
    """

    words = "set query log"
    operands = "on | off | profile [number] seconds"
    least = 1
    most = 3
    usage = "set query log on | off | profile [number] seconds"
    examples = ("set query log on", "set query log profile 5 seconds")
    index = ("query", "log", "profiling")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        words = [word.lower() for word in operands]
        if words == ["on"]:
            node.logs.query_seconds = 0
        elif words == ["off"]:
            node.logs.query_seconds = None
        elif words[0] == "profile" and len(words) > 1:
            try:
                node.logs.query_seconds = Seconds().read(" ".join(words[1:]))
            except ValueError as wanted:
                raise AnyLogError(175, f"set query log profile: {wanted}") from None
        else:
            raise AnyLogError(2, f"set query log: '{' '.join(operands)}'; usage: {self.usage}")
        return None


COMMANDS: tuple[type[Command], ...] = (
    Sql,
    GetQueriesTime,
    ResetQueryTimer,
    SetQueryLog,
    *anylog.query.status_commands.COMMANDS,
    *anylog.query.fact_commands.COMMANDS,
)
