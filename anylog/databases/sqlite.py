"""SQLite: one writer in a lane of its own, readers beside it, rows and marks in one transaction (hard-parts.md 1-2).

Everything that must last is committed with `synchronous = FULL`. Connections are used through `execute` and `close`
alone, so that a test may put another library, with a disk that forgets, in their place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.databases.tables import AUTOMATIC, HIDDEN, indexes, quoted
from anylog.errors import AnyLogError
from anylog.interfaces import AnyLogFault, Clock, ILane, Lanes, Load
from anylog.waiting import deferring

T = TypeVar("T")

READERS = 3
BUSY = 5000  # milliseconds to wait for a lock
CHECKPOINT = 16 << 20  # bytes of write-ahead log after which it is written back
KEYS_KEPT = 100_000

_TYPES = {"BOOLEAN": "INTEGER", "INT": "INTEGER", "BIGINT": "INTEGER", "DECIMAL": "REAL", "FLOAT": "REAL"}
_DECLARED = {"INTEGER": "BIGINT", "INT": "INT", "REAL": "FLOAT", "NUMERIC": "DECIMAL", "TEXT": "VARCHAR"}

_HIDDEN_TABLES = (
    "create table if not exists anylog_home (id text primary key)",
    "create table if not exists anylog_columns (table_name text, column_name text, type text,"
    " primary key (table_name, column_name))",
    "create table if not exists anylog_marks (buffer text primary key, table_name text not null,"
    " sequence integer not null, rows integer not null, parked integer not null, hash text, file_time text)",
    "create unique index if not exists anylog_marks_hash on anylog_marks (hash) where hash is not null",
    "create table if not exists anylog_parked (buffer text, sequence integer, position integer, table_name text,"
    " reason text, row text, parked_at text, primary key (buffer, sequence, position))",
    "create table if not exists anylog_keys (key text primary key, at real not null, hash text not null)",
    "create index if not exists anylog_keys_at on anylog_keys (at)",
)


class Rows(Protocol):
    """What an execute gives."""

    def fetchall(self) -> list[Any]: ...

    def fetchone(self) -> Any: ...


class Connection(Protocol):
    """A connection of sqlite3 (with `isolation_level = None`) or of apsw."""

    def execute(self, statement: str, parameters: Sequence[Any] = ...) -> Any: ...

    def interrupt(self) -> None: ...

    def close(self) -> Any: ...


@frozen
class Library:
    """The SQLite library in use: how to connect, and what it raises."""

    connect: Callable[[str, bool], Connection]
    faults: tuple[type[Exception], ...]


def _connect(path: str, readonly: bool) -> Connection:
    uri = f"file:{_escaped(path)}?mode={'ro' if readonly else 'rwc'}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256)


def _escaped(path: str) -> str:
    return "".join(
        char if char.isalnum() or char in "/._-" else "".join(f"%{b:02x}" for b in char.encode()) for char in path
    )


STANDARD = Library(_connect, (sqlite3.Error,))


@define(kw_only=True, eq=False)
class SQLite:
    """One logical database in one file, or in memory. See `interfaces.IDatabase`."""

    name: str
    path: Path | None  # None: in memory
    _lanes: Lanes
    _clock: Clock
    _home: str
    _library: Library = STANDARD
    point: Callable[[str], None] = field(default=lambda name: None)
    kind: str = "sqlite"
    log = Logger()

    _writing: ILane = field(init=False)
    _reading: ILane = field(init=False)
    _writer: Connection | None = None
    _readers: list[Connection] = field(factory=list)
    _leases: int = 0
    _schemas: dict[str, dict[str, str]] = field(factory=dict)
    _version: int = -1
    _inserts: dict[tuple[str, tuple[str, ...]], str] = field(factory=dict)
    _checkpointing: bool = False
    _loads: int = 0
    _closed: bool = False

    def __attrs_post_init__(self) -> None:
        self._writing = self._lanes.open(f"database {self.name}")
        # A database in memory has one connection, so its readers stand in the writer's lane.
        self._reading = self._lanes.open(f"reading {self.name}", READERS) if self.path else self._writing

    @property
    def storage(self) -> str:
        """Where it is kept, as `get databases` shows it."""
        return str(self.path) if self.path else "MEMORY"

    @property
    def busy(self) -> int:
        """Pieces of work and answers under way."""
        return self._writing.depth + (self._reading.depth if self.path else 0) + self._leases

    def open(self) -> Deferred[None]:
        """Connect. AnyLogError 507 if it belongs to another home, 16 or 503 if the file cannot be used."""
        return self._writing.run(self._guarded, self._open)

    @deferring
    async def close(self) -> None:
        """Finish what is queued, write the log back, and let the files go."""
        if self._closed:
            return
        self._closed = True
        await self._reading.run(lambda: None)
        await self._writing.run(self._close)
        await self._lanes.close(f"database {self.name}")
        if self.path:
            await self._lanes.close(f"reading {self.name}")

    def schema(self, table: str) -> Mapping[str, str] | None:
        """Column -> ledger type, automatic columns included, without waiting; None if there is no such table."""
        return self._schemas.get(table)

    def tables(self) -> Deferred[dict[str, dict[str, str]]]:
        """All tables with their columns, read anew."""
        return self._writing.run(self._guarded, self._tables)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Deferred[list[tuple[Any, ...]]]:
        """One statement in one transaction of the writer. Fails with AnyLogError 16."""
        return self._writing.run(self._guarded, self._execute, statement, parameters)

    def read(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """`work(connection)` in a reading lane, with a connection that cannot write."""
        return self._reading.run(self._read, work)

    def lease(self) -> Deferred[Lease]:
        """A reading connection for the life of one answer."""
        self._leases += 1
        return self._reading.run(self._lease)

    def load(self, loads: Sequence[Load]) -> Deferred[list[AnyLogFault | None]]:
        """See `interfaces.IDatabase.load`."""
        done = self._writing.run(self._guarded, self._load, loads)
        return done.addCallback(self._after_load)

    def marks(self, buffers: Sequence[str]) -> Deferred[dict[str, int]]:
        """See `interfaces.IDatabase.marks`."""
        return self._writing.run(self._guarded, self._marks, buffers)

    def keys(self, since: float) -> Deferred[list[tuple[str, float, str]]]:
        """See `interfaces.IDatabase.keys`."""
        return self._writing.run(self._guarded, self._keys, since)

    def parked(self, table: str = "", most: int = 1000) -> Deferred[list[tuple[str, str, str, str]]]:
        """Table, reason, row and time of the newest parked rows."""
        return self._writing.run(self._guarded, self._parked, table, most)

    # In the lanes

    def _guarded(self, work: Callable[..., T], *args: Any) -> T:
        """Engine faults become errors of the house."""
        try:
            return work(*args)
        except self._library.faults as fault:
            raise self._error(fault) from fault

    def _error(self, fault: Exception) -> AnyLogError:
        text = str(fault)
        if "full" in text and "disk" in text:
            return AnyLogError(503, f"{self.name}: {text}")
        return AnyLogError(16, f"{self.name}: {text}")

    @property
    def _connection(self) -> Connection:
        if self._writer is None:
            raise AnyLogError(10, f"{self.name} is not open")
        return self._writer

    def _open(self) -> None:
        connection = self._library.connect(str(self.path) if self.path else ":memory:", False)
        try:
            connection.execute(f"pragma busy_timeout = {BUSY}")
            if self.path:
                mode = connection.execute("pragma journal_mode = wal").fetchone()[0]
                if mode != "wal":
                    raise AnyLogError(16, f"{self.name}: {self.path} cannot be used with a write-ahead log")
                connection.execute("pragma synchronous = full")
                # Written back by a call of its own, so that no load waits for it (hard-parts.md 2.5).
                connection.execute("pragma wal_autocheckpoint = 0")
            connection.execute("pragma cache_size = -16384")
            connection.execute("begin immediate")
            try:
                for statement in _HIDDEN_TABLES:
                    connection.execute(statement)
                homes = connection.execute("select id from anylog_home").fetchall()
                if not homes:
                    connection.execute("insert into anylog_home values (?)", (self._home,))
                elif homes[0][0] != self._home:
                    raise AnyLogError(507, f"database '{self.name}' belongs to another node")
                connection.execute("commit")
            except BaseException:
                connection.execute("rollback")
                raise
        except BaseException:
            connection.close()
            raise
        self._writer = connection
        self._tables()

    def _close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.execute("pragma wal_checkpoint(truncate)").fetchall()
            except self._library.faults as fault:
                self.log.warn("{name}: {why}; the next start writes the log back", name=self.name, why=str(fault))
            writer.close()

    def _tables(self) -> dict[str, dict[str, str]]:
        connection = self._connection
        known: dict[str, dict[str, str]] = {}
        ours: dict[str, dict[str, str]] = {}
        for table, column, kind in connection.execute(
            "select table_name, column_name, type from anylog_columns"
        ).fetchall():
            ours.setdefault(table, {})[column] = kind
        for table, column, declared in connection.execute(
            "select m.name, c.name, c.type from sqlite_master m, pragma_table_info(m.name) c"
            " where m.type in ('table', 'view') and m.name not like 'sqlite\\_%' escape '\\'"
            f" and m.name not like '{HIDDEN[:-1]}\\_%' escape '\\' order by m.name, c.cid"
        ).fetchall():
            kind = ours.get(table, {}).get(column) or _declared(declared)
            known.setdefault(table, {})[column] = kind
        self._schemas = known
        self._version = connection.execute("pragma schema_version").fetchone()[0]
        return {table: dict(columns) for table, columns in known.items()}

    def _execute(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        connection = self._connection
        connection.execute("begin immediate")
        try:
            rows: list[tuple[Any, ...]] = connection.execute(statement, parameters).fetchall()
            connection.execute("commit")
        except BaseException:
            self._roll_back(connection)
            raise
        if connection.execute("pragma schema_version").fetchone()[0] != self._version:
            self._forget_dropped(connection)
            self._tables()
        return rows

    def _forget_dropped(self, connection: Connection) -> None:
        """Types of columns that are no more; a table made again begins anew."""
        connection.execute(
            "delete from anylog_columns where not exists (select 1 from pragma_table_info(table_name) c"
            " where c.name = column_name)"
        )

    def _roll_back(self, connection: Connection) -> None:
        try:
            connection.execute("rollback")
        except self._library.faults:
            pass  # the engine has rolled back by itself, as it does when the disk is full

    def _load(self, loads: Sequence[Load]) -> tuple[list[AnyLogFault | None], int]:
        connection = self._connection
        if connection.execute("pragma schema_version").fetchone()[0] != self._version:
            self._tables()
        changed = any(load.create is not None or load.alter is not None for load in loads)
        connection.execute("begin immediate")
        try:
            faults = [self._one(connection, load, len(loads) == 1 and not changed) for load in loads]
            if any(load.keys for load in loads):
                self._trim_keys(connection)
            self.point("inserted")
            connection.execute("commit")
        except BaseException:
            self._roll_back(connection)
            if changed:
                self._tables()
            raise
        if changed:
            self._tables()
        size = self._log_size()
        return faults, size

    def _one(self, connection: Connection, load: Load, alone: bool) -> AnyLogFault | None:
        connection.execute("savepoint one")
        try:
            self._write(connection, load)
        except self._library.faults as fault:
            text = str(fault)
            if not _of_the_row(fault, text):
                raise
            connection.execute("rollback to one")
            connection.execute("release one")
            kind = "duplicate" if "anylog_marks.hash" in text else "engine"
            return AnyLogFault(kind, text)
        connection.execute("release one")
        return None

    def _write(self, connection: Connection, load: Load) -> None:
        for mark in load.marks:
            done = connection.execute("select sequence from anylog_marks where buffer = ?", (mark.buffer,)).fetchone()
            if done is not None and done[0] >= mark.sequence:
                return  # this very load was committed before: the node ended before it noticed
        if load.create is not None:
            self._create(connection, load.table, load.create)
        for column, kind in (load.alter or {}).items():
            self._alter(connection, load.table, column, kind)
        if load.rows:
            connection.execute(
                self._insert(load.table, tuple(load.columns)),
                (load.inserted, load.tsd_name, load.tsd_id, load.values),
            )
        for mark in load.marks:
            connection.execute(
                "insert into anylog_marks values (?, ?, ?, ?, ?, ?, ?) on conflict (buffer) do update set"
                " sequence = excluded.sequence, rows = rows + excluded.rows, parked = parked + excluded.parked",
                (mark.buffer, mark.table, mark.sequence, mark.rows, mark.parked, mark.hash, load.inserted),
            )
        for each in load.parked:
            connection.execute(
                "insert or replace into anylog_parked values (?, ?, ?, ?, ?, ?, ?)",
                (each.buffer, each.sequence, each.position, each.table, each.reason, each.row, load.inserted),
            )
        for key in load.keys:
            connection.execute("insert or replace into anylog_keys values (?, ?, ?)", key)

    def _trim_keys(self, connection: Connection) -> None:
        """Keys are kept for a day, and not without bound; looked at now and then."""
        self._loads += 1
        if self._loads % 256 == 1:
            connection.execute("delete from anylog_keys where at < ?", (self._clock.seconds() - 86_400,))
            connection.execute(
                "delete from anylog_keys where key in (select key from anylog_keys order by at desc limit -1 offset ?)",
                (KEYS_KEPT,),
            )

    def _insert(self, table: str, columns: tuple[str, ...]) -> str:
        """One statement a batch: the engine takes the rows out of one JSON text (hard-parts.md 5.1)."""
        text = self._inserts.get((table, columns))
        if text is None:
            names = ", ".join(quoted(column) for column in ("insert_timestamp", "tsd_name", "tsd_id", *columns))
            values = ", ".join(["?, ?, ?", *(f"value->>{place}" for place in range(len(columns)))])
            if len(self._inserts) > 1000:
                self._inserts.clear()
            text = self._inserts[table, columns] = (
                f"insert into {quoted(table)} ({names}) select {values} from json_each(?)"
            )
        return text

    def _create(self, connection: Connection, table: str, columns: Mapping[str, str]) -> None:
        defined = [
            "row_id integer primary key autoincrement",
            "insert_timestamp text not null default (strftime('%Y-%m-%d %H:%M:%f000', 'now'))",
            "tsd_name text not null default '0'",
            "tsd_id integer not null default 0",
            *(f"{quoted(column)} {_engine_type(kind)}" for column, kind in columns.items()),
        ]
        connection.execute(f"create table if not exists {quoted(table)} ({', '.join(defined)})")
        for name, indexed in indexes(table, columns):
            listed = ", ".join(quoted(column) for column in indexed)
            connection.execute(f"create index if not exists {quoted(name)} on {quoted(table)} ({listed})")
        self._note_types(connection, table, {**AUTOMATIC, **columns})

    def _alter(self, connection: Connection, table: str, column: str, kind: str) -> None:
        """Add a column, or give it a wider type: SQLite stores any value, so only its name for it changes."""
        known = {row[0] for row in connection.execute("select name from pragma_table_info(?)", (table,)).fetchall()}
        if column not in known:
            connection.execute(f"alter table {quoted(table)} add column {quoted(column)} {_engine_type(kind)}")
        self._note_types(connection, table, {column: kind})

    def _note_types(self, connection: Connection, table: str, columns: Mapping[str, str]) -> None:
        for column, kind in columns.items():
            connection.execute("insert or replace into anylog_columns values (?, ?, ?)", (table, column, kind))

    def _marks(self, buffers: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for buffer in buffers:
            row = self._connection.execute("select sequence from anylog_marks where buffer = ?", (buffer,)).fetchone()
            if row is not None:
                found[buffer] = row[0]
        return found

    def _keys(self, since: float) -> list[tuple[str, float, str]]:
        rows: Iterable[Any] = self._connection.execute(
            "select key, at, hash from anylog_keys where at >= ? order by at", (since,)
        ).fetchall()
        return [(row[0], row[1], row[2]) for row in rows]

    def _parked(self, table: str, most: int) -> list[tuple[str, str, str, str]]:
        rows: Iterable[Any] = self._connection.execute(
            "select table_name, reason, row, parked_at from anylog_parked where ? in ('', table_name)"
            " order by parked_at desc, buffer, sequence, position limit ?",
            (table, most),
        ).fetchall()
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    # Reading

    def _read(self, work: Callable[[Connection], T]) -> T:
        if not self.path:
            return work(self._connection)
        reader = self._take_reader()
        try:
            return work(reader)
        finally:
            self._readers.append(reader)

    def _take_reader(self) -> Connection:
        if self._readers:
            return self._readers.pop()
        reader = self._library.connect(str(self.path), True)
        reader.execute(f"pragma busy_timeout = {BUSY}")
        reader.execute("pragma query_only = on")
        reader.execute("pragma cache_size = -8192")
        return reader

    def _lease(self) -> Lease:
        connection = self._take_reader() if self.path else self._connection
        return Lease(connection, self._reading, self._returned)

    def _returned(self, connection: Connection) -> None:
        self._leases -= 1
        if not self.path:
            return
        if self._closed or len(self._readers) >= READERS:
            connection.close()
        else:
            self._readers.append(connection)

    # The write-ahead log

    def _log_size(self) -> int:
        if not self.path:
            return 0
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except OSError:
            return 0

    def _after_load(self, loaded: tuple[list[AnyLogFault | None], int]) -> list[AnyLogFault | None]:
        faults, size = loaded
        if size > CHECKPOINT and not self._checkpointing and not self._closed:
            self._checkpointing = True
            self._write_back().addErrback(lambda failure: self.log.warn("{name}: {f}", name=self.name, f=failure.value))
        return faults

    @deferring
    async def _write_back(self) -> None:
        """Write the log back beside the loads; the log itself begins again from its start when nobody reads it."""
        try:
            await self.read(self._checkpoint)
        finally:
            self._checkpointing = False

    def _checkpoint(self, _: Connection) -> None:
        connection = self._library.connect(str(self.path), False)
        try:
            connection.execute(f"pragma busy_timeout = {BUSY}")
            connection.execute("pragma wal_checkpoint(passive)").fetchall()
        except self._library.faults as fault:
            self.log.warn("{name}: writing the log back: {why}", name=self.name, why=str(fault))
        finally:
            connection.close()


@define(eq=False)
class Lease:
    """A reading connection that one answer holds until it is released."""

    connection: Connection
    _lane: ILane
    _returned: Callable[[Connection], None]
    _over: bool = False

    def run(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """`work(connection)` in the reading lane."""
        return self._lane.run(work, self.connection)

    def interrupt(self) -> None:
        """Make the statement that runs stop; safe from any thread."""
        self.connection.interrupt()

    def release(self) -> None:
        """Give it back; safe to call twice. Nothing may run on it any more."""
        if not self._over:
            self._over = True
            self._returned(self.connection)


def _engine_type(kind: str) -> str:
    return _TYPES.get(kind, "TEXT")


def _declared(declared: str) -> str:
    """The ledger type of a column that somebody else declared."""
    plain = declared.upper().strip()
    if plain.startswith(("TIMESTAMP", "DATETIME")):
        return "TIMESTAMP"
    if plain.startswith(("CHAR(", "CHARACTER(")):
        return "CHAR" + plain[plain.index("(") :]
    if plain in ("BOOLEAN", "INT", "BIGINT", "DECIMAL", "FLOAT", "UUID", "DATE", "TIME", "CIDR"):
        return plain
    for ending, kind in _DECLARED.items():
        if ending in plain:
            return kind
    return "VARCHAR"


def _of_the_row(fault: Exception, text: str) -> bool:
    """Whether the fault lies in what was to be written, and not in the file, the disk or the engine."""
    name = type(fault).__name__
    if name in ("IntegrityError", "ConstraintError", "MismatchError", "DataError", "TooBigError"):
        return True
    signs = ("no such table", "no such column", "has no column named", "malformed JSON", "too big", "datatype mismatch",
             "duplicate column", "cannot modify", "is not a table", "may not be", "parse error")  # fmt: skip
    return any(sign in text for sign in signs)
