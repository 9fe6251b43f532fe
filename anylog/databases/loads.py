"""Rows, marks and schemas of one load, written by the one connection that writes (hard-parts.md 1.3, 2.2, 5.1).

Few statements: each that a thread gives to the engine stands in line for the interpreter, so loads of one table and the
same columns are written together, and one by one only where that fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import orjson
from attrs import define, field

from anylog.columns import AUTOMATIC, kept_type
from anylog.databases import file_sums
from anylog.databases.library import Connection, Library, kind_of, lies_in_the_load
from anylog.databases.marks import make_way
from anylog.databases.tables import (
    BuiltIn,
    belongs_to_the_node,
    engine_type,
    indexes,
    insert_statement,
    many_insert_statement,
    quoted,
)
from anylog.interfaces import AnyLogFault, Clock, Load

KEYS_KEPT = 100_000
WIDE = 100  # columns of a load beyond which its rows are inserted one by one

HIDDEN_TABLES = (
    "create table if not exists anylog_home (id text primary key)",
    "create table if not exists anylog_columns (table_name text, column_name text, type text,"
    " primary key (table_name, column_name))",
    "create table if not exists anylog_marks (buffer text primary key, table_name text not null,"
    " sequence integer not null, rows integer not null, parked integer not null, hash text, file_time text,"
    " member integer, tsd_id integer, source text, instructions text)",
    "create table if not exists anylog_parked (buffer text, sequence integer, position integer, table_name text,"
    " reason text, row text, parked_at text, primary key (buffer, sequence, position))",
    "create table if not exists anylog_keys (key text primary key, at real not null, hash text not null)",
    "create index if not exists anylog_keys_at on anylog_keys (at)",
)
# Columns that databases of earlier versions lack.
_ADDED = {"anylog_marks": {"member": "integer", "tsd_id": "integer", "source": "text", "instructions": "text"}}
_HIDDEN_INDEXES = (
    "create unique index if not exists anylog_marks_hash on anylog_marks (hash) where hash is not null",
    "create unique index if not exists anylog_marks_file on anylog_marks (member, tsd_id) where tsd_id is not null",
)

_MARKS = (
    "insert into anylog_marks (buffer, table_name, sequence, rows, parked, hash, file_time, member, tsd_id, source,"
    " instructions) select value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,"
    " value->>8, value->>9, value->>10 from json_each(?) where true on conflict (buffer) do update set"
    " sequence = excluded.sequence, rows = rows + excluded.rows, parked = parked + excluded.parked"
)


def make_hidden_tables(connection: Connection) -> None:
    """The node's own tables in a user's database, in the transaction at hand."""
    for statement in HIDDEN_TABLES:
        connection.execute(statement)
    for table, columns in _ADDED.items():
        there = {row[0] for row in connection.execute("select name from pragma_table_info(?)", (table,)).fetchall()}
        for column, kind in columns.items():
            if column not in there:
                connection.execute(f"alter table {table} add column {column} {kind}")
    for statement in _HIDDEN_INDEXES:
        connection.execute(statement)


SHORT, LONG = (
    4,
    1000,
)  # rows of a load up to which it is cheap to read it again for each row; from which it is not copied


def _how(load: Load) -> tuple[str, tuple[str, ...]]:
    """By which statement its rows are written best; and their columns."""
    columns = tuple(load.columns)
    if len(columns) > WIDE:
        return "wide", columns
    return "several" if load.rows < LONG else "long", columns


@define(kw_only=True, eq=False)
class Writing:
    """Statements of the writer. Every method works in its lane, inside a transaction."""

    _library: Library
    _clock: Clock
    _inserts: dict[tuple[str, tuple[str, ...], str], str] = field(factory=dict)
    _loads: int = 0

    def run(self, connection: Connection, loads: Sequence[Load]) -> list[AnyLogFault | None]:
        """Write all, each whole or not at all; gives for each why it was left out, or None."""
        faults: list[AnyLogFault | None] = [None] * len(loads)
        for places in self._groups(loads):
            group = [loads[place] for place in places]
            if len(group) > 1 and self._in_savepoint(connection, group) is None:
                continue
            for place in places:
                faults[place] = self._in_savepoint(connection, [loads[place]])
        if any(load.keys for load in loads):
            self._trim_keys(connection)
        return faults

    def _groups(self, loads: Sequence[Load]) -> list[list[int]]:
        """Places of loads that can be written by the same statements."""
        groups: list[list[int]] = []
        open_groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        for place, load in enumerate(loads):
            key = load.table, tuple(load.columns)
            group = open_groups.get(key)
            first = loads[group[0]] if group else None
            if (
                group is None
                or first is None
                or len(load.columns) > WIDE
                or (load.create, load.alter) != (first.create, first.alter)
            ):
                group = open_groups[key] = []
                groups.append(group)
            group.append(place)
        return groups

    def _in_savepoint(self, connection: Connection, group: Sequence[Load]) -> AnyLogFault | None:
        for load in group:
            if belongs_to_the_node(load.table) and (load.rows or load.create is not None or load.alter is not None):
                return AnyLogFault("engine", f"'{load.table}' is not a name for a table: anylog_ begins the node's own")
        connection.execute("savepoint one")
        try:
            self._write(connection, group)
        except self._library.faults as fault:
            if not lies_in_the_load(fault):
                raise
            connection.execute("rollback to one")
            connection.execute("release one")
            text = str(fault)
            return AnyLogFault(kind_of(text), text)
        connection.execute("release one")
        return None

    def _write(self, connection: Connection, group: Sequence[Load]) -> None:
        group = self._undone(connection, group)
        if not group:
            return
        first = group[0]
        if first.create is not None:
            self._create(connection, first.table, first.create)
        for column, kind in (first.alter or {}).items():
            self._alter(connection, first.table, column, kind)
        whole = [
            (mark.member, mark.id, mark.rows + mark.parked, mark.table)
            for load in group
            for mark in load.marks
            if mark.hash and mark.id
        ]
        if whole:
            make_way(connection, whole)
        self._rows(connection, [load for load in group if load.rows])
        marks = [
            (
                mark.buffer, mark.table, mark.sequence, mark.rows, mark.parked, mark.hash, mark.time or load.inserted,
                mark.member if mark.id else None, mark.id or None, mark.source, mark.instructions,
            )
            for load in group
            for mark in load.marks
        ]  # fmt: skip
        if marks:
            connection.execute(_MARKS, (orjson.dumps(marks).decode(),))
        for load in group:
            for each in load.parked:
                connection.execute(
                    "insert or replace into anylog_parked values (?, ?, ?, ?, ?, ?, ?)",
                    (each.buffer, each.sequence, each.position, each.table, each.reason, each.row, load.inserted),
                )
            for key in load.keys:
                connection.execute("insert or replace into anylog_keys values (?, ?, ?)", key)

    def _undone(self, connection: Connection, group: Sequence[Load]) -> Sequence[Load]:
        """Without what was committed before: the node ended before it noticed."""
        wanted = {mark.buffer: mark.sequence for load in group for mark in load.marks}
        if not wanted:
            return group
        found = dict(
            connection.execute(
                "select buffer, sequence from anylog_marks where buffer in (select value from json_each(?))",
                (orjson.dumps(list(wanted)).decode(),),
            ).fetchall()
        )
        if not found:
            return group
        return [load for load in group if not any(found.get(mark.buffer, -1) >= mark.sequence for mark in load.marks)]

    def _rows(self, connection: Connection, loads: Sequence[Load]) -> None:
        """In order, with few statements."""
        for (how, columns), run in groupby(loads, key=_how):
            part = list(run)
            first = part[0]
            if how == "several" and len(part) > 1:
                each = ",".join([f'["{load.tsd_name}",{load.tsd_id},{load.values}]' for load in part])
                connection.execute(self._insert(first.table, columns, how), (first.inserted, f"[{each}]"))
                continue
            statement = self._insert(first.table, columns, "long" if how == "several" else how)
            for load in part:
                stamp = (load.inserted, load.tsd_name, load.tsd_id)
                for values in orjson.loads(load.values) if how == "wide" else ((load.values,),):
                    connection.execute(statement, (*stamp, *values))

    def _trim_keys(self, connection: Connection) -> None:
        """Keys are kept for a day, and not without bound; looked at now and then."""
        self._loads += 1
        if self._loads % 256 == 1:
            connection.execute("delete from anylog_keys where at < ?", (self._clock.seconds() - 86_400,))
            connection.execute(
                "delete from anylog_keys where key in (select key from anylog_keys order by at desc limit -1 offset ?)",
                (KEYS_KEPT,),
            )

    def _insert(self, table: str, columns: tuple[str, ...], how: str) -> str:
        """One statement a batch: the engine takes the rows out of one JSON text (hard-parts.md 5.1)."""
        text = self._inserts.get((table, columns, how))
        if text is None:
            if len(self._inserts) > 1000:
                self._inserts.clear()
            if how == "several":
                text = many_insert_statement(table, columns)
            else:
                text = insert_statement(table, columns, how == "wide")
            self._inserts[table, columns, how] = text
        return text

    # Tables

    def _create(self, connection: Connection, table: str, columns: Mapping[str, str]) -> None:
        if connection.execute("select 1 from pragma_table_info(?)", (table,)).fetchone():
            # Somebody else made it in the meantime: it gets what it lacks, and keeps its types.
            for column, kind in columns.items():
                self._alter(connection, table, column, kind, known=True)
            return
        if connection.execute("select 1 from sqlite_master where type = 'index' and name = ?", (table,)).fetchone():
            connection.execute(f"drop index {quoted(table)}")  # of another table: rows matter more than their index
        defined = [
            "row_id integer primary key autoincrement",
            "insert_timestamp text not null default (strftime('%Y-%m-%d %H:%M:%f000', 'now'))",
            "tsd_name text not null default '0'",
            "tsd_id integer not null default 0",
            *(f"{quoted(column)} {engine_type(kind)}" for column, kind in columns.items()),
        ]
        connection.execute(f"create table {quoted(table)} ({', '.join(defined)})")
        for name, indexed in indexes(table, columns):
            self._index(connection, table, name, indexed)
        self._note_types(connection, table, {**AUTOMATIC, **columns})

    def _index(
        self, connection: Connection, table: str, name: str, columns: Sequence[str], unique: bool = False
    ) -> None:
        """Tables and indexes share their names in SQLite, so `a` with column `b_c` and `a_b` with `c` would meet."""
        free, number = name, 1
        while connection.execute("select 1 from sqlite_master where name = ?", (free,)).fetchone():
            number += 1
            free = f"{name}_{number}"
        listed = ", ".join(quoted(column) for column in columns)
        kind = "unique index" if unique else "index"
        connection.execute(f"create {kind} {quoted(free)} on {quoted(table)} ({listed})")

    def create_built_in(self, connection: Connection, table: str, definition: BuiltIn) -> None:
        """A table of the node's own, with its indexes, if it is not there."""
        if connection.execute("select 1 from pragma_table_info(?)", (table,)).fetchone():
            if definition.summed:
                file_sums.keep(connection)
            return
        defined = [
            f"{quoted(column)} integer primary key autoincrement"
            if kind == "SERIAL PRIMARY KEY"
            else f"{quoted(column)} {engine_type(kind)}{' not null' if column in definition.needed else ''}"
            for column, kind in definition.columns.items()
        ]
        connection.execute(f"create table {quoted(table)} ({', '.join(defined)})")
        for column in (*definition.unique, *definition.indexed):
            unique = column in definition.unique
            self._index(connection, table, f"{table}_{column}_index", (column,), unique)
        self._note_types(connection, table, definition.columns)
        if definition.summed:
            file_sums.keep(connection)

    def _alter(self, connection: Connection, table: str, column: str, kind: str, known: bool = False) -> None:
        """Add a column, or give it a wider type: SQLite stores any value, so only its name for it changes.

        With `known`, a column that is there stays as it is.
        """
        there = {row[0] for row in connection.execute("select name from pragma_table_info(?)", (table,)).fetchall()}
        if column not in there:
            connection.execute(f"alter table {quoted(table)} add column {quoted(column)} {engine_type(kind)}")
        elif known:
            return
        self._note_types(connection, table, {column: kind})

    def _note_types(self, connection: Connection, table: str, columns: Mapping[str, str]) -> None:
        for column, kind in columns.items():
            connection.execute(
                "insert or replace into anylog_columns values (?, ?, ?)", (table, column, kept_type(kind))
            )
