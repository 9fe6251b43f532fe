"""Words about databases and tables (storage.md 1 and 2.9, monitoring.md 4.3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.databases.sqlite import SQLite
from anylog.databases.tables import AUTOMATIC, quoted
from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, OneOf, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table

if TYPE_CHECKING:
    from anylog.node import Node

# How types are shown (recorded replies of existing nodes): the name an engine of the field would use.
_SHOWN = {
    "SERIAL PRIMARY KEY": "integer",
    "TIMESTAMP": "timestamp without time zone",
    "TIME": "time without time zone",
    "FLOAT": "double precision",
}

# Tables of the node's own, made by `create table` without a policy: statement for each, and its columns' types.
_BUILT_IN = {
    ("almgm", "tsd_info"): (
        "create table if not exists tsd_info (file_id integer primary key autoincrement, dbms_name text not null,"
        " table_name text not null, source text not null, file_hash text not null, instructions text not null,"
        " file_time text not null, rows integer, status1 text, status2 text)",
        "create unique index if not exists tsd_info_hash_index on tsd_info (file_hash)",
        "create index if not exists tsd_info_time_index on tsd_info (file_time)",
    ),
}


def _type(kind: str) -> str:
    return _SHOWN.get(kind, kind.lower())


class ConnectDbms(Command):
    """Bind a logical database name to a database.

    With type sqlite it is a file in `!dbms_dir`, or lies in memory (`memory = true`) and is lost at exit. A name may
    carry a path. Connecting again is no error. A database belongs to one node: that of another one is refused.
    """

    words = "connect dbms"
    operands = "[name]"
    least = most = 1
    where = {
        "type": Text(required=True, help="sqlite; psql, mongo and bucket are not in this build"),
        "user": Text(),
        "password": Text(also=("passwd",)),
        "ip": Text(),
        "port": Whole(least=1, most=65535),
        "memory": Flag(default=False, help="keep the tables in memory"),
        "autocommit": Flag(default=True, help="accepted: every load is one transaction"),
        "unlog": Flag(default=False, help="accepted for sqlite without effect"),
        "connection": Text(),
        "provider": Text(),
        "access_key": Text(),
        "secret_key": Text(),
        "region": Text(),
        "endpoint": Text(),
        "network_id": Text(),
    }
    examples = (
        "connect dbms town where type = sqlite",
        "connect dbms system_query where type = sqlite and memory = true",
    )
    index = ("dbms", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        kind, memory = options["type"].lower(), options["memory"]
        if memory and kind != "sqlite":
            raise AnyLogError(2, f"connect dbms {operands[0]}: memory = true does not go with type = {kind}")
        await node.databases.connect(operands[0], kind, memory=memory)
        return Result(text=f"Database {operands[0]} using {kind} connected!")


class DisconnectDbms(Command):
    """Close a database. Refused while a load or a query uses it."""

    words = "disconnect dbms"
    operands = "[name]"
    least = most = 1
    examples = ("disconnect dbms town",)
    index = ("dbms",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        await node.databases.disconnect(operands[0])
        return None


class DropDbms(Command):
    """Delete a database with all its content. It must be disconnected first."""

    words = "drop dbms"
    operands = "[name] [from sqlite]"
    least, most = 1, 3
    where = {"type": Text(help="sqlite"), "ip": Text(), "port": Text(), "user": Text(), "password": Text()}
    examples = ("drop dbms town from sqlite", "drop dbms town where type = sqlite")
    index = ("dbms",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        name = operands[0].lower()
        kind = options["type"] or (operands[2] if len(operands) == 3 and operands[1] == "from" else "")
        if kind.lower() != "sqlite":
            raise AnyLogError(2 if not kind else 237, f"drop dbms {name}: type '{kind}'; usage: {self.usage_text()}")
        if name in node.databases.names():
            raise AnyLogError(3, f"drop dbms {name}: it is connected, use 'disconnect dbms {name}' first")
        path = node.places.folder("dbms_dir") / f"{name}.dbms"
        lane = node.lanes.open("disk", 2)
        if path.name not in await lane.run(node.disk.names, path.parent):
            raise AnyLogError(12, f"drop dbms {name}: there is no {path}")
        for ending in ("-wal", "-shm", ""):
            await lane.run(node.disk.forget, path.with_name(path.name + ending))
        return None


class GetDatabases(Command):
    """List the connected databases with their type and where they are kept."""

    words = "get databases"
    where = {"format": Format}
    examples = ("get databases", "get databases where format = json")
    index = ("dbms", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        rows, data = [], {}
        for name in node.databases.names():
            database = node.databases.get(name)
            owner = "system" if name in ("almgm", "blockchain", "system_query") else "user"
            how = "Autocommit On, Fsync full (after each write)" if database.path else "Autocommit On, RAM"
            rows.append((name, database.kind, owner, "Local", how, database.storage))
            data[name] = {"dbms_type": database.kind, "ip_port": "Local", "storage": database.storage}
        if options["format"] == "json":
            return Result(data=data, format="json")
        if not rows:
            return Result(text="No DBMS connections found")
        titles = ("Logical DBMS", "Database Type", "Owner", "IP:Port", "Configuration", "Storage")
        return Result(text=bar_table(titles, rows, heading="Active DBMS Connections"), data=data, format="table")


class GetDatabaseSize(Command):
    """Show how many bytes a database takes; 0 in memory, -1 if it is not known."""

    words = "get database size"
    operands = "[name]"
    least = most = 1
    examples = ("get database size town",)
    index = ("dbms", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        if operands[0] not in node.databases.names():
            return Result(text="-1", data=-1)
        database = node.databases.get(operands[0])
        size = 0
        if database.path is not None:
            size = await database.read(
                lambda connection: connection.execute(
                    "select page_count * page_size from pragma_page_count(), pragma_page_size()"
                ).fetchone()[0]
            )
        return Result(text=str(size), data=size)


class CreateTable(Command):
    """Create a table that the node knows by itself: tsd_info in almgm. If it is there, nothing changes.

    Tables of readings are made when their first reading comes.
    """

    words = "create table"
    operands = "[name]"
    least = most = 1
    where = {"dbms": Text(required=True)}
    examples = ("create table tsd_info where dbms = almgm",)
    index = ("dbms",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        database = node.databases.get(options["dbms"])
        if await _table(database, operands[0], missing=True) is not None:
            return None
        statements = _BUILT_IN.get((database.name, operands[0]))
        if statements is None:
            raise AnyLogError(
                17, f"create table {operands[0]}: no policy and no definition of its own in '{database.name}' is known"
            )
        for statement in statements:
            await database.execute(statement)
        return None


class DropTable(Command):
    """Delete a table of this node with all its rows. A later reading makes it anew."""

    words = "drop table"
    operands = "[name]"
    least = most = 1
    where = {"dbms": Text(required=True)}
    examples = ("drop table weather where dbms = town",)
    index = ("dbms",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        database = node.databases.get(options["dbms"])
        await _table(database, operands[0])
        await database.execute(f"drop table {quoted(operands[0])}")
        return None


async def _table(database: SQLite, table: str, missing: bool = False) -> dict[str, str] | None:
    """Columns of a table; AnyLogError 29 if there is none, unless it may be missing."""
    columns = (await database.tables()).get(table)
    if columns is None and not missing:
        raise AnyLogError(29, f"Table '{table}' in DBMS '{database.name}' not defined (using '{database.kind}')")
    return columns


class GetTables(Command):
    """List tables, of one database or of all (`dbms = *`), and where they are known."""

    words = "get tables"
    also = ("get local tables",)
    where = {"dbms": Text(required=True, help="a database, or *"), "format": Format}
    examples = ("get tables where dbms = town", "get tables where dbms = * and format = json")
    index = ("dbms", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        names = node.databases.names() if options["dbms"] == "*" else [options["dbms"]]
        data: dict[str, Any] = {}
        rows = []
        for name in names:
            first = True
            for table in sorted(await node.databases.get(name).tables()):
                data.setdefault(name, {})[table] = {"local": True, "blockchain": False}
                rows.append((name if first else "", table, " V", ""))
                first = False
        if options["format"] == "json":
            return Result(data=data, format="json")
        titles = ("Database", "Table name", "Local DBMS", "Blockchain")
        return Result(text=bar_table(titles, rows), data=data, format="table")


class GetColumns(Command):
    """List the columns of a table with their types.

    `sys_col = false` leaves out the automatic columns, `type = x` shows only columns of that type (repeatable).
    """

    words = "get columns"
    where = {
        "dbms": Text(required=True),
        "table": Text(required=True),
        "sys_col": Flag(default=True, help="false hides the automatic columns"),
        "type": Text(many=True, help="columns of this type"),
        "format": OneOf(words=("table", "json", "list")),
    }
    examples = (
        "get columns where dbms = town and table = weather",
        "get columns where dbms = town and table = weather and sys_col = false and format = list",
    )
    index = ("dbms", "metadata")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        dbms, table = options["dbms"], options["table"]
        columns = await _table(node.databases.get(dbms), table) or {}
        wanted = {kind.lower() for kind in options["type"]}
        data = {
            column: _type(kind)
            for column, kind in columns.items()
            if (options["sys_col"] or column not in AUTOMATIC)
            and (not wanted or _type(kind) in wanted or kind.lower() in wanted)
        }
        if options["format"] == "json":
            return Result(data=data, format="json")
        if options["format"] == "list":
            return Result(data=list(data), format="json")
        heading = f"Schema for DBMS: '{dbms}' and Table: '{table}'"
        text = bar_table(("Column Name", "Column Type"), list(data.items()), heading=heading)
        return Result(text=text, data=data, format="table")


class GetRowsCount(Command):
    """Count the rows of tables: of all, of a database, or of one table."""

    words = "get rows count"
    where = {
        "dbms": Text(),
        "table": Text(),
        "group": OneOf(words=("partition", "table"), default="partition"),
        "format": Format,
    }
    examples = ("get rows count", "get rows count where dbms = town and table = weather and format = json")
    index = ("dbms", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        names = [options["dbms"]] if options["dbms"] else [n for n in node.databases.names() if n != "system_query"]
        rows, data = [], {}
        for name in names:
            database = node.databases.get(name)
            tables = [options["table"]] if options["table"] else sorted(await database.tables())
            first = True
            for table in tables:
                await _table(database, table)
                count = await _count(database, table)
                rows.append((name if first else "", table, f"{count:,}"))
                data[f"{name}.{table}"] = count
                first = False
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=bar_table(("DBMS Name", "Table Name", "Rows Count"), rows), data=data, format="table")


async def _count(database: SQLite, table: str) -> int:
    statement = f"select count(*) from {quoted(table)}"
    count: int = await database.read(lambda connection: connection.execute(statement).fetchone()[0])
    return count


class GetTableStatus(Command):
    """Say of one table whether it is there, and how many rows it has."""

    words = "get table"
    operands = "exist status | local status | rows count | complete status"
    least = most = 2
    where = {"name": Text(required=True), "dbms": Text(required=True)}
    examples = (
        "get table local status where name = weather and dbms = town",
        "get table complete status where dbms = town and name = weather",
    )
    index = ("dbms", "metadata")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        asked = " ".join(operands).lower()
        if asked not in ("exist status", "local status", "blockchain status", "rows count", "complete status"):
            raise AnyLogError(2, f"get table: '{asked}'; usage: {self.usage_text()}")
        database = node.databases.get(options["dbms"])
        known = await _table(database, options["name"], missing=True) is not None
        data: dict[str, Any] = {}
        if asked in ("exist status", "local status", "complete status"):
            data["local"] = known
        if asked in ("exist status", "blockchain status", "complete status"):
            data["blockchain"] = False
        if asked in ("rows count", "complete status"):
            data["rows"] = await _count(database, options["name"]) if known else 0
        return Result(data=data, format="json")


class InfoTable(Command):
    """Show the columns of a table, or whether it exists."""

    words = "info table"
    operands = "[dbms] [table] columns | exists"
    least = most = 3
    examples = ("info table town weather columns", "info table town weather exists")
    index = ("dbms", "metadata")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        dbms, table, what = operands
        database = node.databases.get(dbms)
        if what == "exists":
            there = await _table(database, table, missing=True) is not None
            return Result(text="true" if there else "false", data=there)
        if what != "columns":
            raise AnyLogError(2, f"info table: unexpected '{what}'; usage: {self.usage_text()}")
        columns = await _table(database, table) or {}
        rows = [(column, _type(kind)) for column, kind in columns.items()]
        return Result(text=bar_table(("Column Name", "Column Type"), rows), data=dict(rows), format="table")


class GetParkedRows(Command):
    """Show rows that were kept aside because they do not fit their table's column types, with the reason.

    They were acknowledged and are safe in the database, but in no table that `sql` reads. The newest come first.
    """

    words = "get parked rows"
    where = {
        "dbms": Text(required=True),
        "table": Text(),
        "limit": Whole(default=100, least=1, most=100_000),
        "format": Format,
    }
    examples = ("get parked rows where dbms = town", "get parked rows where dbms = town and table = weather")
    index = ("dbms", "monitor", "streaming")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = await node.databases.get(options["dbms"]).parked(options["table"] or "", options["limit"])
        if options["format"] == "json":
            data = [
                {"table": table, "reason": reason, "row": json.loads(row), "time": at}
                for table, reason, row, at in found
            ]
            return Result(data=data, format="json")
        rows = [(table, reason, row, at) for table, reason, row, at in found]
        return Result(text=bar_table(("Table", "Reason", "Row", "Time"), rows), format="table")


COMMANDS: tuple[type[Command], ...] = (
    ConnectDbms,
    DisconnectDbms,
    DropDbms,
    GetDatabases,
    GetDatabaseSize,
    CreateTable,
    DropTable,
    GetTables,
    GetColumns,
    GetRowsCount,
    GetTableStatus,
    InfoTable,
    GetParkedRows,
)
