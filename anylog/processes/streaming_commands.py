"""Words about conditions on passing data (ingest.md 14, scheduler-alerts.md 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table, framed
from anylog.language.tokens import tokens_of
from anylog.language.where import read_where
from anylog.mapping.names import normalise
from anylog.mapping.streaming import ALL, read_condition

if TYPE_CHECKING:
    from anylog.node import Node


class _Given(Command):
    """The options of `set streaming condition`; they stand before its `if`."""

    words = "set streaming condition"
    where = {
        "dbms": Text(required=True),
        "table": Text(required=True),
        "limit": Whole(default=0, least=0),
    }


class SetStreamingCondition(Command):
    """Do something when a row comes that fulfils a condition, before it is stored, whatever door it comes through.

    `[column]` is a value of the row, in the condition and in the command; a comparison with a column that the row does
    not have is false. `then return ignore entry` removes the row; any other command runs beside the rows, which do not
    wait for it. All conditions are tried in the order of their declaration. `table = *` means all tables. After `limit`
    executions the condition does nothing more. `[threshold.max]` is a value of `set aggregation thresholds`.
    """

    words = "set streaming condition"
    also = ("set streaming conditions",)
    usage = (
        "set streaming condition where dbms = [name] and table = [name or *] [and limit = [number]]"
        " if [condition] then [command]"
    )
    operands = "where ... if ... then ..."
    raw = literal = True
    examples = (
        "set streaming condition where dbms = town and table = weather if [celsius] > 60 then return ignore entry",
        "set streaming condition where dbms = town and table = * and limit = 9 if [state] == off then print [device]",
        "set streaming condition where dbms = town and table = weather if [celsius] < -30 then coldest = [celsius]",
    )
    index = ("streaming", "monitor")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 40 (the same twice), 175, 181."""
        text = operands[0] if operands else ""
        tokens = tokens_of(text)
        begin = next((at for at, token in enumerate(tokens) if token.is_word("if")), 0)
        if not begin or not tokens[0].is_word("where"):
            raise AnyLogError(2, f"{self.words}: 'where ... if ... then ...' is missing; usage: {self.usage}")
        given = _Given.read((), read_where(tokens[1:begin], _Given.where, scope_of(node, context)))
        table = ALL if given["table"] == ALL else normalise(given["table"], "table")
        condition = read_condition(
            normalise(given["dbms"], "database"), table, given["limit"], text[tokens[begin].start :].strip()
        )
        node.stream.conditions.add(condition)
        node.stream.changed()
        return None


class GetStreamingConditions(Command):
    """Show the conditions on passing data; the ID of one is its place in its table."""

    words = "get streaming conditions"
    also = ("get streaming condition",)
    where = {"dbms": Text(), "table": Text(), "format": Format}
    examples = ("get streaming conditions", "get streaming conditions where dbms = town and table = weather")
    index = ("streaming", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        dbms, table = _place(self, options)
        found = node.stream.conditions.listed(dbms, table)
        titles = ("DBMS", "Table", "ID", "Condition", "Limit", "Executed")
        rows = [(each.dbms, each.table, place, each.text, each.limit, each.done) for place, each in found]
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        text = framed(bar_table(titles, rows)) if rows else "No streaming conditions"
        return Result(text=text, data=data, format=options["format"] or "table")


class ResetStreamingConditions(Command):
    """Remove conditions on passing data: all, of a database, of a table, or some by their ID."""

    words = "reset streaming conditions"
    also = ("reset streaming condition",)
    where = {"dbms": Text(), "table": Text(), "id": Whole(least=1, many=True)}
    examples = (
        "reset streaming conditions",
        "reset streaming conditions where dbms = town and table = weather and id = 2 and id = 4",
    )
    index = ("streaming", "monitor")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for an id without its table, 40 for one that is not there."""
        dbms, table = _place(self, options)
        if options["id"] and not table:
            raise AnyLogError(2, f"{self.words}: 'id' is given without 'table'")
        node.stream.conditions.reset(dbms, table, options["id"])
        node.stream.changed()
        return None


def _place(command: Command, options: dict[str, Any]) -> tuple[str, str]:
    """Database and table, empty if they are not given."""
    if options["table"] and not options["dbms"]:
        raise AnyLogError(2, f"{command.words}: 'table' is given without 'dbms'")
    table = options["table"] or ""
    return (
        normalise(options["dbms"], "database") if options["dbms"] else "",
        table if table in ("", ALL) else normalise(table, "table"),
    )


COMMANDS: tuple[type[Command], ...] = (SetStreamingCondition, GetStreamingConditions, ResetStreamingConditions)
