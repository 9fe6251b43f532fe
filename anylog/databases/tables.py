"""What tables are made of, whatever the engine: automatic columns, indexes, quoting (storage.md 2.2, 2.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from anylog.columns import AUTOMATIC as AUTOMATIC
from anylog.columns import DATED as DATED
from anylog.columns import indexes as indexes
from anylog.columns import read_type
from anylog.databases.library import Connection

HIDDEN = "anylog_"  # tables of the node's own in a user's database; they are never shown
# How no table of a user may begin: what the node and the engine keep for themselves, and no question reaches.
RESERVED = (HIDDEN, "sqlite_", "pragma_")


@frozen(kw_only=True)
class BuiltIn:
    """A table that the node needs for itself; its columns are all there is."""

    columns: Mapping[str, str]  # ledger types
    needed: tuple[str, ...] = ()  # NOT NULL
    unique: tuple[str, ...] = ()  # one unique index each
    indexed: tuple[str, ...] = ()
    summed: bool = False  # a table of files, see `file_sums`


def _files(id: str, unique: tuple[str, ...], indexed: tuple[str, ...]) -> BuiltIn:
    return BuiltIn(
        columns={
            "file_id": id,
            "dbms_name": "VARCHAR",
            "table_name": "VARCHAR",
            "source": "VARCHAR",
            "file_hash": "VARCHAR",
            "instructions": "VARCHAR",
            "file_time": "TIMESTAMP",
            "rows": "INT",
            "status1": "VARCHAR",
            "status2": "VARCHAR",
        },
        needed=("dbms_name", "table_name", "source", "file_hash", "instructions", "file_time"),
        unique=unique,
        indexed=indexed,
        summed=True,
    )


# tsd_<member>: ids are those that the member gave (storage.md 5); it may have given two to one content, after a loss.
MEMBER_FILES = _files("BIGINT PRIMARY KEY", (), ("file_hash", "file_time"))

BUILT_IN: Mapping[tuple[str, str], BuiltIn] = {
    # storage.md 5
    ("almgm", "tsd_info"): _files("SERIAL PRIMARY KEY", ("file_hash",), ("file_time",)),
    # metadata.md 6
    ("blockchain", "ledger"): BuiltIn(
        columns={
            "sequence_id": "SERIAL PRIMARY KEY",
            "policy_type": "VARCHAR",
            "policy_id": "VARCHAR",
            "company_name": "VARCHAR",
            "date": "TIMESTAMP",
            "host": "VARCHAR",
            "status": "VARCHAR",
            "policy": "VARCHAR",
        },
        unique=("policy_id",),
        indexed=("date",),
    ),
}

# The types of SQLite for ledger types; TEXT for all others, which changes nothing (storage.md 2.6).
_TYPES = {
    "BOOLEAN": "INTEGER",
    "INT": "INTEGER",
    "BIGINT": "INTEGER",
    "BIGINT PRIMARY KEY": "INTEGER PRIMARY KEY",
    "DECIMAL": "REAL",
    "FLOAT": "REAL",
}
# Parts of declared types that somebody else wrote, the first that fits, in the order of SQLite's own rules.
_DECLARED = {
    "INTEGER": "BIGINT",
    "SERIAL": "BIGINT",
    "INT": "INT",
    "TEXT": "VARCHAR",
    "REAL": "FLOAT",
    "FLOA": "FLOAT",
    "DOUB": "FLOAT",
    "NUMERIC": "DECIMAL",
    "DEC": "DECIMAL",
    "BOOL": "BOOLEAN",
}

# How the types of columns are shown; all others as they are, in lower case.
_SHOWN = {
    "SERIAL PRIMARY KEY": "integer",
    "BIGINT PRIMARY KEY": "bigint",
    "TIMESTAMP": "timestamp without time zone",
    "TIME": "time without time zone",
    "FLOAT": "double precision",
}


def shown_type(kind: str) -> str:
    """A ledger type as `get columns` shows it."""
    return _SHOWN.get(kind, kind.lower())


def belongs_to_the_node(table: str) -> bool:
    """Whether that is the name of a hidden table; letter case makes no other name for the engine."""
    return table.lower().startswith(HIDDEN)


def engine_type(kind: str) -> str:
    """The type of an SQLite column for a ledger type."""
    return _TYPES.get(kind, "TEXT")


def ledger_type(declared: str) -> str:
    """The ledger type of an SQLite column that somebody else declared."""
    plain = declared.upper().strip()
    if plain.startswith(("TIMESTAMP", "DATETIME")):
        return "TIMESTAMP"
    if plain.startswith(("CHAR(", "CHARACTER(")):
        return "CHAR" + plain[plain.index("(") :]
    if plain in ("BOOLEAN", "INT", "BIGINT", "DECIMAL", "FLOAT", "UUID", "DATE", "TIME", "CIDR"):
        return plain
    for part, kind in _DECLARED.items():
        if part in plain:
            return kind
    return "VARCHAR"


def columns_of(connection: Connection, table: str) -> dict[str, str] | None:
    """Column -> ledger type, automatic columns included, by the state that the engine shows now; None: no such table.

    What is remembered of a table is older for a moment: its rows are committed before anybody reads it anew.
    """
    found = connection.execute(
        "select there.name, there.type, ours.type from pragma_table_info(?1) as there left join anylog_columns as ours"
        " on ours.table_name = ?1 and ours.column_name = there.name order by there.cid",
        (table,),
    ).fetchall()
    return {name: read_type(kind) if kind else ledger_type(declared) for name, declared, kind in found} or None


def id_number(column: str) -> str:
    """An expression: equal sets of ids have equal sums of it; two of one size and one sum that differ are not met by
    chance. A plain sum of ids that are times in milliseconds leaves the 64 bits of the engine after some millions.
    """
    return f"({column} % 4294967296 + ({column} % 65521) * ({column} % 65521))"


def id_sum(column: str) -> str:
    """The sum of that."""
    return f"coalesce(sum({id_number(column)}), 0)"


def quoted(name: str) -> str:
    """An identifier as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def insert_statement(table: str, columns: Sequence[str], one: bool) -> str:
    """For all rows of a JSON list of lists, which is the last parameter; or for one row and its values.

    Out of a JSON list the engine counts from its start for each value, which is too slow for rows of many columns.
    """
    names = ", ".join(quoted(column) for column in ("insert_timestamp", "tsd_name", "tsd_id", *columns))
    values = ", ".join(["?, ?, ?", *("?" if one else f"value->>{place}" for place in range(len(columns)))])
    return f"insert into {quoted(table)} ({names}) " + (
        f"values ({values})" if one else f"select {values} from json_each(?)"
    )


def many_insert_statement(table: str, columns: Sequence[str]) -> str:
    """As `insert_statement`, for several files: the last parameter is a list of [tsd_name, tsd_id, list of lists].

    The text of each file is cut out once; else the engine would read it again for each of its rows.
    """
    names = ", ".join(quoted(column) for column in ("insert_timestamp", "tsd_name", "tsd_id", *columns))
    values = ", ".join(["?1, file.name, file.id", *(f"each.value->>{place}" for place in range(len(columns)))])
    return (
        "with file as materialized"
        " (select value->>0 as name, value->>1 as id, value->'$[2]' as rows from json_each(?2))"
        f" insert into {quoted(table)} ({names}) select {values} from file cross join json_each(file.rows) as each"
    )
