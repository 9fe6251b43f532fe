"""Words about databases: connect, disconnect, drop, and what is connected (storage.md 1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylog.databases.catalog import check_kind
from anylog.databases.table_commands import COMMANDS as TABLE_COMMANDS
from anylog.databases.tsd import DROPPED
from anylog.errors import AnyLogError
from anylog.interfaces import Disk
from anylog.language.command import Command, Flag, Format, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table

if TYPE_CHECKING:
    from anylog.node import Node

SYSTEM = ("almgm", "blockchain", "system_query")  # storage.md 1.4
SIDE_FILES = ("", "-wal", "-shm", "-journal")  # what SQLite keeps under the name of a database file
KINDS = "sqlite; later psql, mongo, bucket"


class ConnectDBMS(Command):
    """Bind a logical database name to a database on this node.

    With `type = sqlite` the data is in the file `<name>.dbms` of the directory `dbms_dir`, or, if the name carries a
    path, there; the last part of the path is the logical name. With `memory = true` the tables are in memory and are
    gone when the node ends. A database that is connected already stays as it is. A database belongs to one node: the
    file of another node is refused.

    Loads are always transactions that are synced to disk; `autocommit` is accepted and shown, and changes nothing.
    The short form of older scripts names type, user@ip:password, port and database, and may end with `memory`; a
    database in a file has no use for who and where.
    """

    words = "connect dbms"
    operands = "[name]"
    least, most, short = 1, 5, 4
    where = {
        "type": Text(required=True, help=KINDS),
        "user": Text(),
        "password": Text(also=("passwd",)),
        "ip": Text(),
        "port": Whole(least=1, most=65535),
        "memory": Flag(default=False, help="tables in memory (sqlite)"),
        "autocommit": Flag(default=True),
        "unlog": Flag(default=False, help="tables that a crash empties (psql)"),
        "connection": Text(help="connection string, or name of a bucket group"),
        "provider": Text(),
        "access_key": Text(),
        "secret_key": Text(),
        "region": Text(),
        "endpoint": Text(),
        "network_id": Text(),
    }
    examples = (
        "connect dbms plant where type = sqlite",
        "connect dbms system_query where type = sqlite and memory = true",
        "connect dbms sqlite !db_user !db_port plant memory",
    )
    index = ("dbms", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, and what the catalog of databases raises."""
        if len(operands) > 1:
            operands = _in_short(operands, options)
        if not context.local and ("/" in operands[0] or "\\" in operands[0]):
            raise AnyLogError(212, f"connect dbms: a path, as in '{operands[0]}', is named by this machine only")
        kind = options.pop("type").lower()
        if options["memory"] and kind != "sqlite":
            raise AnyLogError(2, f"connect dbms: 'memory' is for sqlite, not for {kind}")
        given = [key for key in ("user", "ip", "port", "unlog", "connection", "provider") if options[key]]
        if kind == "sqlite" and given:
            raise AnyLogError(2, f"connect dbms: '{given[0]}' is not for sqlite")
        await node.databases.connect(operands[0], kind, **options)
        name, _ = node.databases.named(operands[0])
        return Result(text=f"Database {name} using {kind} connected!")


def _in_short(operands: Sequence[str], options: dict[str, Any]) -> Sequence[str]:
    """The name, of the form without names; what else it tells comes among the options."""
    if len(operands) < 4 or options["type"] or (operands[4:] and operands[4].lower() != "memory"):
        raise AnyLogError(
            2, "connect dbms: '[name] where type = ...' or '[type] [user@ip:password] [port] [name] [memory]'"
        )
    kind, who, port, name, *memory = operands
    options["type"], options["memory"] = kind, bool(memory)
    if kind.lower() != "sqlite":
        user, _, place = who.partition("@")
        options["user"], (options["ip"], _, options["password"]) = user, place.partition(":")
        try:
            options["port"] = ConnectDBMS.where["port"].read(port)
        except ValueError as odd:
            raise AnyLogError(2, f"connect dbms: port '{port[:20]}' is not {odd}") from None
    return [name]


class DisconnectDBMS(Command):
    """Close a database. Refused while a load or a query uses it; readings for it wait, safe, until it is back."""

    words = "disconnect dbms"
    operands = "[name]"
    least = most = 1
    examples = ("disconnect dbms plant",)
    index = ("dbms",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        await node.databases.disconnect(operands[0])
        return None


class DropDBMS(Command):
    """Delete a database with all its tables. It must be disconnected first."""

    words = "drop dbms"
    operands = "[name] [from type]"
    least, most = 1, 3
    where = {
        "type": Text(help=KINDS),
        "user": Text(),
        "password": Text(also=("passwd",)),
        "ip": Text(),
        "port": Whole(least=1, most=65535),
    }
    examples = ("drop dbms plant from sqlite", "drop dbms plant where type = sqlite")
    index = ("dbms",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        kind = options["type"]
        if len(operands) > 1:
            if len(operands) != 3 or operands[1].lower() != "from" or kind:
                raise AnyLogError(2, f"drop dbms: usage: {self.usage_text()}")
            kind = operands[2]
        if not kind:
            raise AnyLogError(2, f"drop dbms: Missing 'type'; usage: {self.usage_text()}")
        check_kind(operands[0], kind.lower())
        name, file = node.databases.named(operands[0])
        if node.databases.known(name):
            raise AnyLogError(3, f"drop dbms {name}: it is connected; 'disconnect dbms {name}' comes first", http=400)
        lane = node.lanes.open("disk", 2)
        try:
            if file.name not in await lane.run(node.disk.names, file.parent):
                raise AnyLogError(5, f"drop dbms {name}: there is no {file}")
            tsd = node.membership.tsd()
            if tsd is not None and name != "almgm":
                # First, so that no start takes for lost what was dropped on purpose (hard-parts.md 2.4).
                await tsd.flag(name, DROPPED)
            await lane.run(_remove, node.disk, file)
        except OSError as fault:
            raise AnyLogError(3, f"drop dbms {name}: {fault}") from fault
        return None


def _remove(disk: Disk, file: Path) -> None:
    """In a lane: the file and what belongs to it."""
    for side in SIDE_FILES:  # the database first: a log without one is of no use to anybody
        disk.forget(file.with_name(file.name + side))


class GetDatabases(Command):
    """List the connected databases: type, owner, place, how they are used, and where they are stored."""

    words = "get databases"
    where = {"format": Format}
    examples = ("get databases", "get databases where format = json")
    index = ("dbms", "monitor", "node info")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = [node.databases.get(name) for name in node.databases.names()]
        data = {each.name: {"dbms_type": each.kind, "ip_port": "Local", "storage": each.storage} for each in found}
        if options["format"] == "json":
            return Result(data=data, format="json")
        if not found:
            return Result(text="No DBMS connections found", data=data)
        titles = ("Logical DBMS", "Database Type", "Owner", "IP:Port", "Configuration", "Storage")
        rows = [
            (
                each.name,
                each.kind,
                "system" if each.name in SYSTEM else "user",
                "Local",
                each.configuration,
                each.storage,
            )
            for each in found
        ]
        return Result(text=bar_table(titles, rows, heading="Active DBMS Connections"), data=data, format="table")


class GetDatabaseSize(Command):
    """Show the bytes a database takes on disk; 0 for one in memory, -1 if that is not known."""

    words = "get database size"
    operands = "[name]"
    least = most = 1
    examples = ("get database size plant",)
    index = ("dbms", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        database = node.databases.known(operands[0])
        size = -1 if database is None else await database.size()
        return Result(text=str(size), data=size)


COMMANDS: tuple[type[Command], ...] = (
    ConnectDBMS,
    DisconnectDBMS,
    DropDBMS,
    GetDatabases,
    GetDatabaseSize,
    *TABLE_COMMANDS,
)
