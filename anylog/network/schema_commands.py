"""Words that compare tables with what the ledger says of them, here and elsewhere (network.md 11, monitoring.md 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList

from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table
from anylog.names import normalise

if TYPE_CHECKING:
    from anylog.node import Node

PASSED = "Passed"
PATIENCE = 4.0  # seconds for all operators
_UNREACHABLE = (8, 15, 26, 208)


def difference(ledger: Mapping[str, str], found: Mapping[str, str]) -> str:
    """`Passed`, or which columns are missing, are not in the ledger, or have another type."""
    parts = []
    if missing := [name for name in ledger if name not in found]:
        parts.append(f"missing: {', '.join(missing)}")
    if added := [name for name in found if name not in ledger]:
        parts.append(f"not in the ledger: {', '.join(added)}")
    for name, kind in ledger.items():
        if name in found and found[name].upper() != kind.upper():
            parts.append(f"{name} is {found[name]}, in the ledger {kind}")
    return "; ".join(parts) or PASSED


def _named(node: Node, asked: str, dbms: str) -> list[str]:
    """The tables that a name or `*` means, as the ledger has them. AnyLogError 132 if it has none."""
    if asked != "*":
        return [normalise(asked, "table", 28)]
    tables = node.clusters.tables(dbms)
    if not tables:
        raise AnyLogError(132, f"the ledger has no tables of '{dbms}'")
    return tables


def _known(node: Node, dbms: str, table: str) -> dict[str, str]:
    known = node.clusters.columns(dbms, table)
    if known is None:
        raise AnyLogError(132, f"the ledger has no table '{table}' of '{dbms}'")
    return known


class TestTable(Command):
    """Compare a table of this node, or with `*` all of a database, with what the ledger says of it."""

    words = "test table"
    operands = "[name | *]"
    least = most = 1
    where = {"dbms": Text(required=True), "format": Format}
    examples = ("test table weather where dbms = town", "test table * where dbms = town")
    index = ("test", "tables", "metadata")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5 for a database that is not connected, 132 for a table that the ledger does not know."""
        database = node.databases.get(options["dbms"])
        here = await database.tables()
        told: dict[str, str] = {}
        for table in _named(node, operands[0], database.name):
            known = _known(node, database.name, table)
            told[table] = difference(known, here[table]) if table in here else "not on this node"
        if operands[0] != "*" and options["format"] is None:
            (text,) = told.values()
            return Result(text=text, data=told)
        rows = list(told.items())
        heading = f"Tables of DBMS: '{database.name}'"
        data = [{"Table": table, "Status": status} for table, status in rows]
        text = bar_table(("Table", "Status"), rows, heading=heading)
        return Result(text=text, data=data, format=options["format"] or "table")


class TestNetworkTable(Command):
    """Compare a table, or with `*` all of a database, with what the ledger says of it, on every operator with it."""

    words = "test network table"
    operands = "[name | *]"
    most = 1
    where = {"dbms": Text(required=True), "name": Text(help="the table, or *"), "format": Format}
    examples = (
        "test network table weather where dbms = town",
        "test network table where name = * and dbms = town",
    )
    index = ("test", "tables", "metadata")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 132, or 211 if no operator has such a table."""
        named = [*operands, *([options["name"]] if options["name"] else [])]
        if len(named) != 1:
            raise AnyLogError(2, f"{self.words}: name one table, or *; usage: {self.usage_text()}")
        dbms = normalise(options["dbms"], "database", 5)
        data: list[dict[str, str]] = []
        texts = []
        for table in _named(node, named[0], dbms):
            rows = await self._compared(node, dbms, table)
            data += [{"Table": table, "Operator": row[0], "IP:Port": row[1], "Status": row[2]} for row in rows]
            heading = f"Network status for DBMS: '{dbms}' Table '{table}'"
            texts.append(bar_table(("Operator", "IP:Port", "Status"), rows, heading=heading))
        if not data:
            raise AnyLogError(211, f"no operator has a table '{named[0]}' of '{dbms}'")
        return Result(text="\r\n\r\n".join(texts), data=data, format=options["format"] or "table")

    async def _compared(self, node: Node, dbms: str, table: str) -> list[tuple[str, str, str]]:
        known = _known(node, dbms, table)
        operators = [each for share in node.clusters.shares(dbms, table) for each in share.operators if each.address]
        question = {"dbms": dbms, "table": table, "describe": True}
        until = node.clock.seconds() + PATIENCE
        asked: list[Deferred[Any]] = [
            node.peers.ask(each.address, "select", question, until=until) for each in operators
        ]
        outcome = await DeferredList(asked, consumeErrors=True)
        rows = []
        for operator, (fine, reply) in zip(operators, outcome, strict=True):
            found = reply.head.get("columns") if fine else None
            if not fine:
                error = reply.value
                unreached = isinstance(error, AnyLogError) and error.number in _UNREACHABLE
                status = "No reply from node" if unreached else str(error)
            elif not isinstance(found, Mapping):
                status = "its answer makes no sense"
            else:
                told = {str(name): str(kind) for name, kind in found.items()}
                status = difference(known, told) if told else "the table is not there"
            rows.append((operator.name, operator.address, status))
        return rows


COMMANDS: tuple[type[Command], ...] = (TestTable, TestNetworkTable)
