"""Words about tables: create, drop, and what is in them (storage.md 2, monitoring.md 4.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from anylog.columns import AUTOMATIC
from anylog.databases.sqlite import SQLite
from anylog.databases.tables import BUILT_IN, quoted, shown_type
from anylog.databases.tsd import DBMS, Tsd, is_files
from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, OneOf, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table
from anylog.names import normalise

if TYPE_CHECKING:
    from anylog.node import Node

HERE = " V"  # as known clients see it
TEMPORARY = "system_query"  # tables of queries under way; never counted


def _table(name: str) -> str:
    return normalise(name, "table", 28)


async def _found(database: SQLite, name: str) -> tuple[str, dict[str, str]] | None:
    """The table of that name, as it is or in our spelling, and column -> ledger type; None if there is none.

    Read behind the loads that wait, so that a table is seen whose first row is on its way.
    """
    tables = await database.tables()
    for spelled in (name, _table(name)):
        if spelled in tables:
            return spelled, tables[spelled]
    return None


async def _existing(database: SQLite, name: str) -> tuple[str, dict[str, str]]:
    """The same; AnyLogError 29 if there is none."""
    found = await _found(database, name)
    if found is None:
        raise AnyLogError(29, f"Table '{name}' in DBMS '{database.name}' not defined (using '{database.kind}')")
    return found


def _asked(node: Node, dbms: str) -> list[SQLite]:
    """The databases that `dbms = name` or `dbms = *` means. AnyLogError 5 for a name that is not connected."""
    return [node.databases.get(name) for name in (node.databases.names() if dbms == "*" else [dbms])]


def _of_the_network(node: Node, dbms: str) -> list[tuple[str, str]]:
    """(dbms, table) that the ledger knows, of one database or with `*` of all."""
    asked = node.clusters.databases() if dbms == "*" else [normalise(dbms, "database", 5)]
    return [(name, table) for name in asked for table in node.clusters.tables(name)]


class CreateTable(Command):
    """Create a table, if it is not there: one that the node needs for itself, or one of readings by its policy.

    `tsd_info` of the database `almgm` lists the data files of an operator, `ledger` of `blockchain` holds the metadata
    of a network. Other tables are made as the ledger has them; they are also made by their first reading, unless an
    operator was told `create_table = false`.
    """

    words = "create table"
    operands = "[name]"
    least = most = 1
    where = {"dbms": Text(required=True)}
    examples = (
        "create table tsd_info where dbms = almgm",
        "create table ledger where dbms = blockchain",
        "create table weather where dbms = town",
    )
    index = ("dbms", "tables")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        database, table = node.databases.get(options["dbms"]), _table(operands[0])
        definition = BUILT_IN.get((database.name, table))
        if definition is not None:
            await database.create(table, definition)
            await node.membership.open_master()
        elif await _found(database, table) is None and not await node.membership.ensure_table(database.name, table):
            told = f"create table {table}: no policy and no definition of its own in '{database.name}' is known"
            raise AnyLogError(17, told)
        return None


class DropTable(Command):
    """Delete a table with its rows from this node. The next reading for it makes it anew.

    Without `tsd_info` of `almgm`, files that came before are not recognised any more if they come again.
    """

    words = "drop table"
    operands = "[name]"
    least = most = 1
    where = {"dbms": Text(required=True)}
    examples = ("drop table weather where dbms = town",)
    index = ("dbms", "tables")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        database = node.databases.get(options["dbms"])
        table, _ = await _existing(database, operands[0])
        if database.name == DBMS and is_files(table):
            await (node.membership.tsd() or Tsd(database=database, clock=node.clock, chance=node.chance)).drop([table])
            return None
        await database.execute(f"drop table {quoted(table)}")
        return None


class GetTables(Command):
    """List the tables of a database, or with `dbms = *` of all; V shows where a table is known."""

    words = "get tables"
    where = {"dbms": Text(required=True, help="name, or * for all"), "format": Format}
    examples: ClassVar[tuple[str, ...]] = (
        "get tables where dbms = town",
        "get tables where dbms = * and format = json",
    )
    index = ("dbms", "tables", "monitor")
    http = ("GET",)
    titles: ClassVar[tuple[str, ...]] = ("Database", "Table name", "Local DBMS", "Blockchain")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        data: dict[str, dict[str, Any]] = {}
        rows: list[Sequence[str]] = []
        asked = options["dbms"]
        network = _of_the_network(node, asked)
        only_there = {dbms for dbms, _ in network if node.databases.known(dbms) is None}
        here = [] if asked in only_there else _asked(node, asked)
        local = {database.name: set(await database.tables()) for database in here}
        everywhere = len(self.titles) > 3
        for dbms in sorted({*local, *(only_there if everywhere else ())}):
            known = {table for name, table in network if name == dbms}
            tables = sorted(local.get(dbms, set()) | (known if everywhere else set()))
            data[dbms] = {
                table: {"local": table in local.get(dbms, ()), "blockchain": table in known} for table in tables
            }
            for place, (table, told) in enumerate(data[dbms].items()):
                row = (
                    dbms if not place else "",
                    table,
                    HERE if told["local"] else "",
                    HERE if told["blockchain"] else "",
                )
                rows.append(row[: len(self.titles)])
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=bar_table(self.titles, rows), data=data, format="table")


class GetLocalTables(GetTables):
    """List the tables of a database that are on this node."""

    words = "get local tables"
    examples = ("get local tables where dbms = town",)
    titles = ("Database", "Table name", "Local DBMS")


class GetGlobalTables(GetTables):
    """List the tables of a database that the ledger knows."""

    words = "get global tables"
    examples = ("get global tables where dbms = town",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        data: dict[str, dict[str, Any]] = {}
        for dbms, table in _of_the_network(node, options["dbms"]):
            data.setdefault(dbms, {})[table] = {"blockchain": True}
        if options["format"] == "json":
            return Result(data=data, format="json")
        rows = [
            ("" if place else dbms, table, HERE)
            for dbms, tables in data.items()
            for place, table in enumerate(sorted(tables))
        ]
        return Result(text=bar_table(("Database", "Table name", "Blockchain"), rows), data=data, format="table")


class GetTablesFor(GetTables):
    """List the tables of a database: the older spelling of `get tables where dbms = name`."""

    words = "get tables for dbms"
    operands = "[name]"
    least = most = 1
    where = {"format": Format}
    examples = ("get tables for dbms town",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return await super().run(node, context, (), dbms=operands[0], **options)


async def _columns(node: Node, dbms: str, name: str) -> tuple[str, str, dict[str, str]]:
    """Names as they are spelled here, and column -> ledger type: of the table here, else as the ledger knows it.

    AnyLogError 132 if neither knows the table.
    """
    try:
        database = node.databases.get(dbms)
        table, columns = await _existing(database, name)
    except AnyLogError as error:
        dbms, table = normalise(dbms, "database", 5), _table(name)
        known = node.clusters.columns(dbms, table)
        if known is not None:
            return dbms, table, dict(known)
        raise AnyLogError(132, str(error)) from error
    return database.name, table, columns


def _schema(dbms: str, table: str, columns: dict[str, str]) -> str:
    heading = f"Schema for DBMS: '{dbms}' and Table: '{table}'"
    return bar_table(("Column Name", "Column Type"), list(columns.items()), heading=heading)


class GetColumns(Command):
    """Show the columns of a table and their types.

    `sys_col = false` leaves out the columns that every table has; `type = int` shows the columns of that type alone,
    and may be repeated. `format = list` gives the names.
    """

    words = "get columns"
    where = {
        "dbms": Text(required=True),
        "table": Text(required=True),
        "sys_col": Flag(default=True, help="with the automatic columns"),
        "type": Text(many=True, help="only columns of this type"),
        "format": OneOf(words=("table", "json", "list"), help="layout of the reply"),
    }
    examples = (
        "get columns where dbms = town and table = weather",
        "get columns where dbms = town and table = weather and sys_col = false and type = float and type = int",
    )
    index = ("dbms", "tables", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        dbms, table, known = await _columns(node, options["dbms"], options["table"])
        wanted = {kind.lower() for kind in options["type"]}
        columns = {}
        for column, kind in known.items():
            if column in AUTOMATIC and not options["sys_col"]:
                continue
            name = shown_type(kind)
            # `char` means char(8) as well, and `timestamp` the whole of its long name.
            if not wanted or wanted & {name, kind.lower(), name.split("(")[0], name.split(" ")[0]}:
                columns[column] = name
        if options["format"] == "json":
            return Result(data=columns, format="json")
        if options["format"] == "list":
            return Result(data=list(columns), format="json")
        return Result(text=_schema(dbms, table, columns), data=columns, format="table")


class InfoTable(Command):
    """Say whether a table is on this node, true or false, or show its columns."""

    words = "info table"
    operands = "[dbms] [table] [exists | columns]"
    least = most = 3
    examples = ("info table town weather exists", "info table town weather columns")
    index = ("dbms", "tables")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        dbms, name, what = operands
        if what.lower() == "exists":
            there = await _found(node.databases.get(dbms), name) is not None
            return Result(text=str(there).lower(), data=there)
        if what.lower() == "partitions":
            raise AnyLogError(237, "not in this build: info table ... partitions (partitions)")
        if what.lower() != "columns":
            raise AnyLogError(2, f"info table: '{what}' is not one of exists, columns")
        dbms, table, known = await _columns(node, dbms, name)
        columns = {column: shown_type(kind) for column, kind in known.items()}
        return Result(text=_schema(dbms, table, columns), data=columns, format="table")


class GetTable(Command):
    """Say of one table where it is known, how many rows it has here, and in how many partitions.

    `local status`, `blockchain status` and `rows count` say one of these, `exist status` the first two, and
    `complete status` all.
    """

    words = "get table"
    operands = "exist status | local status | blockchain status | rows count | complete status"
    least = most = 2
    where = {"name": Text(required=True, also=("table",)), "dbms": Text(required=True)}
    examples = (
        "get table local status where name = weather and dbms = town",
        "get table complete status where dbms = town and name = weather",
    )
    index = ("dbms", "tables", "monitor")
    http = ("GET",)
    told: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "exist status": ("local", "blockchain"),
        "local status": ("local",),
        "blockchain status": ("blockchain",),
        "rows count": ("rows",),
        "complete status": ("local", "blockchain", "rows", "partitions"),
    }

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        asked = " ".join(operands).lower()
        if asked == "partitions names":
            raise AnyLogError(237, "not in this build: get table partitions names (partitions)")
        if asked not in self.told:
            raise AnyLogError(2, f"get table: '{asked}'; usage: {self.usage_text()}")
        table = _table(options["name"])
        known = (normalise(options["dbms"], "database", 5), table) in _of_the_network(node, options["dbms"])
        database = node.databases.known(options["dbms"]) if known else node.databases.get(options["dbms"])
        found = await _found(database, options["name"]) if database is not None else None
        data: dict[str, Any] = {"local": found is not None, "blockchain": known, "rows": 0, "partitions": 0}
        if database is not None and found is not None and "rows" in self.told[asked]:
            data["rows"] = (await database.counts([found[0]]))[found[0]]
        return Result(data={key: data[key] for key in self.told[asked]}, format="json")


class GetRowsCount(Command):
    """Count the rows of all tables, of the tables of a database, or of one table."""

    words = "get rows count"
    where = {
        "dbms": Text(help="database, all if not given"),
        "table": Text(help="table, all if not given"),
        "group": OneOf(words=("partition", "table"), default="partition", help="a line each, or one for a table"),
        "format": Format,
    }
    examples = ("get rows count", "get rows count where dbms = town and table = weather and format = json")
    index = ("dbms", "tables", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        asked, name = options["dbms"] or "*", options["table"]
        data: dict[str, int] = {}
        rows: list[tuple[str, str, int]] = []
        for database in _asked(node, asked):
            if asked == "*" and database.name == TEMPORARY:
                continue
            tables = sorted(await database.tables())
            if name and asked != "*":
                tables = [(await _existing(database, name))[0]]
            elif name:
                tables = [table for table in tables if table in (name, _table(name))]
            counted = await database.counts(tables)
            for place, table in enumerate(tables):
                data[f"{database.name}.{table}"] = counted[table]
                rows.append((database.name if not place else "", table, counted[table]))
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=bar_table(("DBMS Name", "Table Name", "Rows Count"), rows), data=data, format="table")


class GetParkedRows(Command):
    """Show rows that could not be loaded, the newest first, each with the reason.

    A reading whose value fits no type of its column is kept aside in the database while the rest of its batch is
    loaded. It is safe there, but in no table that `sql` reads. The row is shown as it came; the time is UTC.
    """

    words = "get parked rows"
    where = {
        "dbms": Text(required=True),
        "table": Text(help="table, all if not given"),
        "limit": Whole(default=100, least=1, most=100_000, help="rows at most"),
        "format": Format,
    }
    examples = ("get parked rows where dbms = town", "get parked rows where dbms = town and table = weather")
    index = ("dbms", "streaming", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        database = node.databases.get(options["dbms"])
        # A table whose every row was parked may not exist, so the name is taken as it is given.
        table = _table(options["table"]) if options["table"] else ""
        found = await database.parked(table, options["limit"])
        data = [
            {"table": table, "reason": reason, "row": json.loads(row, parse_int=_whole), "time": at}
            for table, reason, row, at in found
        ]
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=bar_table(("Table", "Reason", "Row", "Time"), found), data=data, format="table")


def _whole(digits: str) -> int | str:
    """A number of a parked row; one that no reader of JSON could keep is shown as its digits."""
    return int(digits) if len(digits) < 19 else digits


COMMANDS: tuple[type[Command], ...] = (
    CreateTable,
    DropTable,
    GetTables,
    GetLocalTables,
    GetGlobalTables,
    GetTablesFor,
    GetColumns,
    InfoTable,
    GetTable,
    GetRowsCount,
    GetParkedRows,
)
