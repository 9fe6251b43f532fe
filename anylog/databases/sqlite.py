"""SQLite: one writer in a lane of its own, readers beside it, rows and marks in one transaction (hard-parts.md 1-2).

Everything that must last is committed with `synchronous = FULL`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from anylog.databases.library import STANDARD, Connection, Lease, Library, is_full, of_the_row
from anylog.databases.tables import AUTOMATIC, HIDDEN, indexes, quoted
from anylog.errors import AnyLogError
from anylog.interfaces import AnyLogFault, Clock, ILane, Lanes, Load
from anylog.waiting import deferring

T = TypeVar("T")

READERS = 3
BUSY = 5000  # milliseconds to wait for a lock
CHECKPOINT = 16 << 20  # bytes of write-ahead log after which it is written back
KEYS_KEPT = 100_000

# What the engine says when the schema is not what the load was prepared for.
_STALE = ("no such table", "no such column", "has no column named")

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
    checkpoint: int = CHECKPOINT
    log = Logger()

    _writing: ILane = field(init=False)
    _reading: ILane = field(init=False)
    _writer: Connection | None = None
    _readers: list[Connection] = field(factory=list)
    _leases: int = 0  # given out or asked for
    _out: set[Lease] = field(factory=set)
    _schemas: dict[str, dict[str, str]] = field(factory=dict)
    _version: int = -1
    _inserts: dict[tuple[str, tuple[str, ...]], str] = field(factory=dict)
    _checkpointing: bool = False
    _logged: int = 0  # bytes of log after the last load
    _tried: int = 0  # bytes of log when it was last written back, 0 once it began again
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
        return self._run(self._writing, self._open)

    @deferring
    async def close(self) -> None:
        """Finish what is queued, end the answers that are out, write the log back, and let the files go.

        What is asked of it from now on fails with AnyLogError 10.
        """
        if self._closed:
            return
        self._closed = True
        for lease in self._out:
            lease.end()
        if self.path:
            await self._lanes.close(f"reading {self.name}")  # nobody reads any more
        await self._writing.run(self._close)
        await self._lanes.close(f"database {self.name}")

    def schema(self, table: str) -> Mapping[str, str] | None:
        """Column -> ledger type, automatic columns included, without waiting; None if there is no such table."""
        return self._schemas.get(table)

    def tables(self) -> Deferred[dict[str, dict[str, str]]]:
        """All tables with their columns, read anew."""
        return self._run(self._writing, self._tables)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Deferred[list[tuple[Any, ...]]]:
        """One statement in one transaction of the writer. Fails with AnyLogError 16 or 503."""
        return self._run(self._writing, self._execute, statement, parameters)

    def read(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """`work(connection)` in a reading lane, with a connection that cannot write. Fails with AnyLogError 16."""
        return self._run(self._reading, self._read, work)

    def lease(self) -> Deferred[Lease]:
        """A reading connection for the life of one answer. Cancelling it while it is awaited is clean."""
        told: Deferred[Lease] = Deferred(lambda _: None)
        self._leases += 1

        def came(connection: Connection) -> None:
            lease = Lease(connection, self._reading, self._returned)
            self._out.add(lease)
            if told.called or self._closed:
                lease.release()
            if not told.called:
                told.callback(lease)

        def failed(failure: Any) -> None:
            self._leases -= 1
            if not told.called:
                told.errback(failure)

        self._run(self._reading, self._leased).addCallbacks(came, failed)
        return told

    def load(self, loads: Sequence[Load]) -> Deferred[list[AnyLogFault | None]]:
        """See `interfaces.IDatabase.load`."""
        return self._run(self._writing, self._load, loads).addCallback(self._after_load)

    def marks(self, buffers: Sequence[str]) -> Deferred[dict[str, int]]:
        """See `interfaces.IDatabase.marks`."""
        return self._run(self._writing, self._marks, buffers)

    def keys(self, since: float) -> Deferred[list[tuple[str, float, str]]]:
        """See `interfaces.IDatabase.keys`."""
        return self._run(self._writing, self._keys, since)

    def parked(self, table: str = "", most: int = 1000) -> Deferred[list[tuple[str, str, str, str]]]:
        """Table, reason, row and time of the newest parked rows."""
        return self._run(self._writing, self._parked, table, most)

    def _run(self, lane: ILane, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Work in a lane; a closed database has none, and one that is full says so like any other refusal."""
        if self._closed:
            return fail(AnyLogError(10, f"{self.name} is closed"))
        try:
            return lane.run(self._guarded, work, *args)
        except AnyLogError:
            return fail()

    # In the lanes

    def _guarded(self, work: Callable[..., T], *args: Any) -> T:
        """Engine faults become errors of the house."""
        try:
            return work(*args)
        except self._library.faults as fault:
            raise self._error(fault) from fault

    def _error(self, fault: Exception) -> AnyLogError:
        return AnyLogError(503 if is_full(fault) else 16, f"{self.name}: {fault}")

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
                # A log that begins again is cut to this size, so that its length says how much is in it.
                connection.execute(f"pragma journal_size_limit = {self.checkpoint // 4}")
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
                self._roll_back(connection)
                raise
        except BaseException:
            connection.close()
            raise
        self._writer = connection
        self._tables()

    def _close(self) -> None:
        if self.path:
            for reader in [*self._readers, *(lease.connection for lease in self._out)]:
                reader.close()
        self._readers.clear()
        self._out.clear()
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
        names = connection.execute(
            "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite\\_%' escape '\\'"
            f" and name not like '{HIDDEN[:-1]}\\_%' escape '\\' order by name"
        ).fetchall()
        for (table,) in names:
            try:
                columns = connection.execute(
                    "select name, type from pragma_table_info(?) order by cid", (table,)
                ).fetchall()
            except self._library.faults as fault:
                if not of_the_row(fault):
                    raise
                continue  # a view whose tables are gone
            types = ours.get(table, {})
            known[table] = {column: types.get(column) or _declared(declared) for column, declared in columns}
        self._schemas = known
        self._version = connection.execute("pragma schema_version").fetchone()[0]
        return {table: dict(columns) for table, columns in known.items()}

    def _execute(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        connection = self._connection
        connection.execute("begin immediate")
        try:
            rows: list[tuple[Any, ...]] = connection.execute(statement, parameters).fetchall()
            changed = self._changed(connection)
            if changed:
                self._forget_dropped(connection)
            connection.execute("commit")
        except BaseException:
            self._roll_back(connection)
            raise
        if changed:
            self._tables()
        return rows

    def _changed(self, connection: Connection) -> bool:
        """Whether the schema is another than the one in the cache."""
        version: int = connection.execute("pragma schema_version").fetchone()[0]
        return version != self._version

    def _forget_dropped(self, connection: Connection) -> None:
        """Types of columns that are no more; a table made again begins anew."""
        connection.execute(
            "delete from anylog_columns where not exists (select 1 from pragma_table_info(table_name) c"
            " where c.name = column_name)"
        )

    def _roll_back(self, connection: Connection) -> None:
        self._version = -1
        try:
            connection.execute("rollback")
        except self._library.faults:
            pass  # the engine has rolled back by itself, as it does when the disk is full

    def _load(self, loads: Sequence[Load]) -> tuple[list[AnyLogFault | None], int]:
        connection = self._connection
        if self._changed(connection):
            self._tables()
        connection.execute("begin immediate")
        try:
            faults = [self._one(connection, load) for load in loads]
            if any(load.keys for load in loads):
                self._trim_keys(connection)
            self.point("inserted")
            connection.execute("commit")
        except BaseException:
            self._roll_back(connection)
            raise
        if self._changed(connection) or any(load.alter for load in loads):
            self._tables()  # a wider type is no change to the engine
        return faults, self._log_size()

    def _one(self, connection: Connection, load: Load) -> AnyLogFault | None:
        connection.execute("savepoint one")
        try:
            self._write(connection, load)
        except self._library.faults as fault:
            if not of_the_row(fault):
                raise
            connection.execute("rollback to one")
            connection.execute("release one")
            text = str(fault)
            if "anylog_marks.hash" in text:
                return AnyLogFault("duplicate", text)
            return AnyLogFault("missing table" if any(sign in text for sign in _STALE) else "engine", text)
        connection.execute("release one")
        return None

    def _write(self, connection: Connection, load: Load) -> None:
        done = self._marks([mark.buffer for mark in load.marks])
        if any(done.get(mark.buffer, 0) >= mark.sequence for mark in load.marks):
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
        if self._is_there(connection, "table", table):
            return
        if self._is_there(connection, "index", table):
            # An index of another table has the name that this one needs; rows matter more than their index.
            connection.execute(f"drop index {quoted(table)}")
        defined = [
            "row_id integer primary key autoincrement",
            "insert_timestamp text not null default (strftime('%Y-%m-%d %H:%M:%f000', 'now'))",
            "tsd_name text not null default '0'",
            "tsd_id integer not null default 0",
            *(f"{quoted(column)} {_engine_type(kind)}" for column, kind in columns.items()),
        ]
        connection.execute(f"create table {quoted(table)} ({', '.join(defined)})")
        for name, indexed in indexes(table, columns):
            if self._is_there(connection, "table", name):
                name = f"{name} of {table}"
            listed = ", ".join(quoted(column) for column in indexed)
            connection.execute(f"create index if not exists {quoted(name)} on {quoted(table)} ({listed})")
        self._note_types(connection, table, {**AUTOMATIC, **columns})

    def _is_there(self, connection: Connection, kind: str, name: str) -> bool:
        found = connection.execute(
            "select 1 from sqlite_master where type = ? and name = ? collate nocase", (kind, name)
        ).fetchone()
        return found is not None

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
            return self._read_in_memory(work)
        reader = self._take_reader()
        try:
            result = work(reader)
        except BaseException:
            reader.close()  # who knows what it still holds
            raise
        self._put_back(reader)
        return result

    def _read_in_memory(self, work: Callable[[Connection], T]) -> T:
        connection = self._connection
        connection.execute("pragma query_only = on")
        try:
            return work(connection)
        finally:
            connection.execute("pragma query_only = off")

    def _take_reader(self) -> Connection:
        try:
            return self._readers.pop()
        except IndexError:  # asked by several threads, so not looked at before
            pass
        reader = self._library.connect(str(self.path), True)
        try:
            reader.execute(f"pragma busy_timeout = {BUSY}")
            reader.execute("pragma query_only = on")
            reader.execute("pragma cache_size = -8192")
        except BaseException:
            reader.close()
            raise
        return reader

    def _put_back(self, reader: Connection) -> None:
        if len(self._readers) >= READERS:
            reader.close()
        else:
            self._readers.append(reader)

    def _leased(self) -> Connection:
        return self._take_reader() if self.path else self._connection

    def _returned(self, lease: Lease) -> None:
        self._leases -= 1
        self._out.discard(lease)
        if self.path:
            self._put_back(lease.connection)

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
        if size < self._logged:
            self._tried = 0  # the log began again
        self._logged = size
        if size > self._tried + self.checkpoint and not self._checkpointing and not self._closed:
            self._checkpointing = True
            self._write_back().addErrback(
                lambda failure: self.log.warn("{name}: {why}", name=self.name, why=str(failure.value))
            )
        return faults

    @deferring
    async def _write_back(self) -> None:
        """Write the log back, most of it beside the loads; then it begins again from its start if nobody reads it.

        What the loads have added meanwhile is little, and written back between two of them: else a log under steady
        load would never be written back to its end, and so never begin again.
        """
        try:
            await self._run(self._reading, self._write_back_beside)
            await self._run(self._writing, self._write_back_rest)
        finally:
            self._checkpointing = False
            # If a reader holds the log, another attempt is worth its while only after as much again.
            self._tried = self._logged

    def _write_back_beside(self) -> None:
        connection = self._library.connect(str(self.path), False)
        try:
            connection.execute(f"pragma busy_timeout = {BUSY}")
            connection.execute("pragma wal_checkpoint(passive)").fetchall()
        finally:
            connection.close()

    def _write_back_rest(self) -> None:
        self._connection.execute("pragma wal_checkpoint(passive)").fetchall()


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
