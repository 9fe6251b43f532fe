"""Words around queries: times as they are written there, steps of `increments`, selects served (query.md 5, 8, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, cast

from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Format, Option, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.names import normalise
from anylog.query.rewrite import bounds_of, fixed
from anylog.query.select import Select
from anylog.query.series import POINTS, chosen
from anylog.query.state import Place
from anylog.query.times import moment_of, utc, zone_of
from anylog.query.tokens import tokenise

if TYPE_CHECKING:
    from anylog.node import Node


def _no_table(table: str) -> None:
    return None


class GetDatetime(Command):
    """Show what an expression of time means, in a time zone.

    The zone is utc, local, pt, mt, ct, et or a name such as Europe/Paris; the expression is one of the `where` of a
    query, such as `now() - 3 days` or `date('now', 'start of year')`. A time in it without a zone is of UTC.
    """

    words = "get datetime"
    operands = "[zone] [expression]"
    raw = True
    examples = (
        "get datetime utc now()",
        "get datetime Europe/Paris now() - 6 hours",
        "get datetime pt date('now', 'start of year')",
    )
    index = ("query", "node info")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 46 for what is no time, 173 for what is no zone."""
        name, _, expression = "".join(operands).strip().partition(" ")
        if not expression.strip():
            raise AnyLogError(2, f"get datetime: name a zone and a time; usage: {self.usage_text()}")
        zone = zone_of(name)
        tokens = tokenise(expression.strip())
        if tokens[0].says("+", "-"):  # `-3d` is `now() - 3d`
            tokens = [*tokenise("now() "), *tokens]
        found = fixed(tokens, _no_table, utc(unix(node.clock)), UTC)
        moment = moment_of(found[0].value) if len(found) == 1 and found[0].kind == "text" else None
        if moment is None:
            raise AnyLogError(46, f"get datetime: '{expression.strip()[:200]}' is no time")
        return Result(text=_in_zone(moment, zone))


class SetTimezone(Command):
    """Set the zone of queries of this node: times without a zone are of it, and times are shown in it.

    It is UTC at the start. The option `timezone` of a query goes before it. Readings without a zone are UTC always.
    """

    words = "set timezone"
    operands = "[zone]"
    least = most = 1
    examples = ("set timezone local", "set timezone Europe/Paris", "set timezone utc")
    index = ("query", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 173 for what is no zone."""
        name = operands[0].strip("\"'")
        zone_of(name)
        node.queries.zone = name
        return None


class GetTimezone(Command):
    """Show the zone of queries of this node."""

    words = "get timezone"
    examples = ("get timezone",)
    index = ("query", "configuration")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=node.queries.zone, data={"timezone": node.queries.zone})


def _in_zone(moment: datetime, zone: Any) -> str:
    if zone is UTC:
        return moment.isoformat("T", "microseconds") + "Z"
    try:
        there = moment.replace(tzinfo=UTC).astimezone(zone)
    except (ValueError, OverflowError):
        raise AnyLogError(46, f"{moment} is no date in that zone") from None
    return there.replace(tzinfo=None).isoformat(" ", "microseconds")


class GetIncrementsParams(Command):
    """Show which unit and number `increments(column)` takes for a span of time, so that about so many buckets come.

    The span is read from the condition, as in a query. It is answered for this node alone.
    """

    words = "get increments params"
    where: ClassVar[Mapping[str, Option]] = {
        "dbms": Text(required=True),
        "table": Text(required=True),
        "column": Text(required=True, help="a column of times"),
        "where": Text(required=True, help="the condition, in double quotes"),
        "data_points": Whole(default=POINTS, least=1, most=1_000_000),
        "format": Format,
    }
    examples = (
        "get increments params where dbms = town and table = weather and column = timestamp"
        ' and where = "timestamp >= now() - 1 day" and data_points = 500',
    )
    index = ("query",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 46 for a condition that does not say from when, 262 for another node."""
        if context.origin == "peer":
            raise AnyLogError(262, "get increments params: ask it on the node that runs the query")
        dbms, table = normalise(options["dbms"], "database", 5), normalise(options["table"], "table", 28)
        column = options["column"].strip().lower()
        now = utc(unix(node.clock))
        condition = options["where"].strip().removeprefix("where ")
        tokens = fixed(tokenise(f"select x from t where {condition}"), _no_table, now, UTC)
        select = Select.read(tokens)
        if select is None:
            raise AnyLogError(46, f"get increments params: '{condition[:200]}' is no condition")
        unit, number = chosen(*bounds_of(select, column, now), options["data_points"])
        titles = ("DBMS", "Table", "Column", "Interval", "Time Unit", "Data Points")
        row = (dbms, table, column, number, unit, options["data_points"])
        keys = ("dbms", "table", "column", "interval", "time_unit", "data_points")
        text = framed(bar_table(titles, [row]))
        return Result(text=text, data=dict(zip(keys, row, strict=True)), format=options["format"] or "table")


class GetOperatorExecution(Command):
    """Show the last selects that this node answered other nodes, or answers now: of all, of one node, or of its job.

    Times are in seconds: until the database had the first rows, and what fetching them took in all.
    """

    words = "get operator execution"
    also = ("get query execution",)
    where: ClassVar[Mapping[str, Option]] = {
        "ip": Text(also=("node",), help="of who asked, with or without its port; also written node = ip"),
        "job": Whole(least=0, help="number of the job there"),
        "format": Format,
    }
    examples = ("get operator execution", "get operator execution where node = 10.0.0.7 and job = 12")
    index = ("query", "monitor", "profiling")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        asked = options["ip"]
        rows = [
            each.row()
            for each in cast(Place, node).queries.executions
            if asked in (None, each.node, each.node.rpartition(":")[0]) and options["job"] in (None, each.job)
        ]
        if not rows and options["format"] is None:
            return Result(text="No select of another node was answered", data=[])
        titles = list(rows[0]) if rows else ["Node", "Job", "ID"]
        text = framed(bar_table(titles, [list(row.values()) for row in rows]))
        return Result(text=text, data=rows, format=options["format"] or "table")


COMMANDS: tuple[type[Command], ...] = (
    GetDatetime,
    GetIncrementsParams,
    GetOperatorExecution,
    SetTimezone,
    GetTimezone,
)
