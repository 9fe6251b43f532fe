"""`stream`: rows of the command line for a table (ingest.md 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from anylog.errors import AnyLogError
from anylog.language.command import Command, Option, Text
from anylog.language.context import Context, Result
from anylog.language.statements import scope_of
from anylog.language.tokens import tokens_of
from anylog.language.where import read_where
from anylog.mapping.body import normal_form, read_body
from anylog.mapping.names import normalise

if TYPE_CHECKING:
    from anylog.node import Node


class _Given(Command):
    """The options of `stream`; they stand behind the rows."""

    words = "stream"
    where: ClassVar[Mapping[str, Option]] = {
        "dbms": Text(required=True, also=("dbms_name",), help="database"),
        "table": Text(required=True, also=("table_name",), help="table"),
    }


class StreamRows(Command):
    """Add rows to a table, as PUT does in streaming mode; it answers when they are synced to disk.

    The rows are a JSON object or a list of them, as written or as the value of a key.
    """

    words = "stream"
    usage = "stream [JSON or !key] where dbms = [name] and table = [name]"
    operands = "[JSON or !key] where ..."
    raw = literal = True
    examples = (
        'stream {"celsius": 21.5} where dbms = town and table = weather',
        "stream !node_insight where dbms = monitoring and table = node_insight",
    )
    index = ("streaming", "data")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 6, 87, and as rows are refused by PUT."""
        text = operands[0] if operands else ""
        tokens = tokens_of(text)
        begin = max((at for at, token in enumerate(tokens) if token.is_word("where")), default=0)
        if not begin:
            raise AnyLogError(2, f"{self.words}: rows and 'where ...' are needed; usage: {self.usage}")
        scope = scope_of(node, context)
        given = _Given.read((), read_where(tokens[begin + 1 :], _Given.where, scope))
        written = text[: tokens[begin].start].strip()
        value: Any = written
        if written.startswith("!"):
            value = scope.resolve(written)
            if value is None:
                raise AnyLogError(87, f"{self.words}: {written[:80]} has no value")
        body = value.encode() if isinstance(value, str) else orjson.dumps(value)
        rows = read_body(body)
        dbms, table = normalise(given["dbms"], "database"), normalise(given["table"], "table")
        await node.intake.accept(dbms, table, normal_form(rows), rows)
        return None


COMMANDS: tuple[type[Command], ...] = (StreamRows,)
