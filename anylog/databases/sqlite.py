"""SQLite: one writer in a lane of its own, readers beside it, rows and marks in one transaction (hard-parts.md 1-2).

Everything that must last is committed with `synchronous = FULL`. Connections are used through `execute` and `close`
alone, so that a test may put another library, with a disk that forgets, in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from anylog.columns import AUTOMATIC, read_type
from anylog.databases import file_sums, marks
from anylog.databases.library import (
    FULL,
    STANDARD,
    Connection,
    Library,
    check_same,
    code_of,
    file_of,
    status_of,
)
from anylog.databases.loads import Writing, make_hidden_tables
from anylog.databases.readers import Lease, Readers, parked_rows, row_count
from anylog.databases.tables import BuiltIn, belongs_to_the_node, ledger_type
from anylog.errors import AnyLogError
from anylog.interfaces import AnyLogFault, Clock, ILane, Lanes, Load, Mark
from anylog.waiting import deferring

__all__ = ["STANDARD", "Lease", "Library", "SQLite"]

T = TypeVar("T")

READERS = 3
BUSY = 5000  # milliseconds to wait for a lock
CHECKPOINT = 8 << 20  # bytes of readings after which the write-ahead log, some times larger, is written back
WRITTEN = 64 << 10  # bytes of the log for a transaction of which nothing is known
LOG_KEPT = 16 << 20  # bytes that its file keeps when it begins again
LONGEST_LOG = 64 << 20  # bytes of it after which loads wait until it does
PATIENCE = 500  # milliseconds that they wait for readers
FILES = "almgm"  # the database with the tables of files


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
    checkpoint: int = CHECKPOINT
    autocommit: bool = True  # as it was asked for; a load is one transaction in any case
    kind: str = "sqlite"
    log = Logger()

    _writing: ILane = field(init=False)
    _reading: ILane = field(init=False)
    _writer: Connection | None = None
    _readers: Readers = field(init=False)
    _leases: set[Lease] = field(factory=set)
    _leasing: int = 0
    _file: tuple[int, int] = (0, 0)  # device and inode, by which the file is known to be the same
    _schemas: dict[str, dict[str, str]] = field(factory=dict)
    _version: int = -1
    _written: Writing = field(init=False)
    _checkpointer: Connection | None = None
    _checkpointing: bool = False
    _unchecked: int = 0  # bytes of readings since the log was last written back
    _too_long: int = LONGEST_LOG
    _closed: bool = False

    def __attrs_post_init__(self) -> None:
        self._writing = self._lanes.open(f"database {self.name}")
        # A database in memory has one connection, so its readers stand in the writer's lane.
        self._reading = self._lanes.open(f"reading {self.name}", READERS) if self.path else self._writing
        self._readers = Readers(self._new_reader, READERS)
        self._written = Writing(library=self._library, clock=self._clock)

    @property
    def storage(self) -> str:
        """Where it is kept, as `get databases` shows it."""
        return str(self.path) if self.path else "MEMORY"

    @property
    def configuration(self) -> str:
        """How it is used, as `get databases` shows it."""
        commits = f"Autocommit {'On' if self.autocommit else 'Off'}"
        return f"{commits}, Fsync full (after each write)" if self.path else f"{commits}, RAM"

    @property
    def lasting(self) -> bool:
        """Whether it is kept on disk."""
        return self.path is not None

    @property
    def busy(self) -> int:
        """Pieces of work and answers under way."""
        reading = self._reading.depth if self.path else 0
        return self._writing.depth + reading + len(self._leases) + self._leasing

    def open(self) -> Deferred[None]:
        """Connect. AnyLogError 507 if it belongs to another home, 16 or 503 if the file cannot be used."""
        return self._run(self._writing, self._open)

    @deferring
    async def close(self) -> None:
        """Finish what is queued, stop answers, write the log back, and let the files go."""
        if self._closed:
            return
        self._closed = True  # from here on nothing new enters the lanes
        for lease in list(self._leases):
            lease.end()
        if self.path:
            await self._lanes.close(f"reading {self.name}")
        await self._writing.run(self._close)
        await self._lanes.close(f"database {self.name}")

    def schema(self, table: str) -> Mapping[str, str] | None:
        """Column -> ledger type, automatic columns included, without waiting; None if there is no such table."""
        return self._schemas.get(table)

    def tables(self) -> Deferred[dict[str, dict[str, str]]]:
        """All tables with their columns, read anew."""
        return self._run(self._writing, self._tables)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Deferred[list[tuple[Any, ...]]]:
        """One statement in one transaction of the writer. Fails with AnyLogError 16."""
        return self._run(self._writing, self._execute, statement, parameters)

    def create(self, table: str, definition: BuiltIn) -> Deferred[None]:
        """Make a table of the node's own if it is not there, with its indexes, in one transaction."""
        return self._run(self._writing, self._create_built_in, table, definition)

    def read(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """`work(connection)` in a reading lane, with a connection that cannot write."""
        return self._run(self._reading, self._read, work)

    def lease(self) -> Deferred[Lease]:
        """A reading connection for the life of one answer; cancelling the wait for it leaves nothing behind."""
        self._leasing += 1
        given: Deferred[Lease] = Deferred(lambda _: None)

        def made(lease: Lease) -> None:
            self._leasing -= 1
            self._leases.add(lease)
            if self._closed:
                lease.end()
            if given.called:
                lease.release()
            else:
                given.callback(lease)

        def failed(failure: Any) -> None:
            self._leasing -= 1
            if not given.called:
                given.errback(failure)

        self._run(self._reading, self._lease).addCallbacks(made, failed)
        return given

    def load(self, loads: Sequence[Load]) -> Deferred[list[AnyLogFault | None]]:
        """See `interfaces.IDatabase.load`."""
        done = self._run(self._writing, self._load, loads)
        return done.addCallback(self._after_load, sum(len(load.values) for load in loads))

    def write(self, work: Callable[[Connection], T], size: int = WRITTEN) -> Deferred[T]:
        """`work(connection)` in the writer's lane, in one transaction that adds about `size` bytes to the log."""
        return self._run(self._writing, self._transaction, work).addCallback(self._after_load, size)

    def marks(self, buffers: Sequence[str]) -> Deferred[dict[str, Mark]]:
        """See `interfaces.IDatabase.marks`."""
        return self._run(self._writing, lambda: marks.of_buffers(self._connection, buffers))

    def file_marks(self, files: Sequence[tuple[int, int]]) -> Deferred[dict[tuple[int, int], Mark]]:
        """See `interfaces.IDatabase.file_marks`."""
        return self._run(self._writing, lambda: marks.of_files(self._connection, files))

    def hash_marks(self, hashes: Sequence[str]) -> Deferred[dict[str, Mark]]:
        """See `interfaces.IDatabase.hash_marks`."""
        return self._run(self._writing, lambda: marks.of_hashes(self._connection, hashes))

    def mark_members(self) -> Deferred[list[int]]:
        """The members of whose files something is loaded here."""
        return self.read(marks.members)

    def parked_places(self, buffers: Sequence[str]) -> Deferred[dict[str, set[tuple[int, int]]]]:
        """See `interfaces.IDatabase.parked_places`."""
        return self._run(self._writing, lambda: marks.parked_places(self._connection, buffers))

    def mark_sums(self, member: int) -> Deferred[dict[str, tuple[int, int, int]]]:
        """Table -> files of a member that hold rows, their rows, and the sum of their ids."""
        return self.read(lambda connection: marks.sums(connection, member))

    def mark_lines(self, member: int, table: str, after: int, most: int) -> Deferred[list[Mark]]:
        """Marks of a member's files of one table, by id, from behind `after` on."""
        return self.read(lambda connection: marks.lines(connection, member, table, after, most))

    def highest_mark(self, member: int) -> Deferred[int]:
        """The highest id of a member's file that was loaded here."""
        return self.read(lambda connection: marks.highest(connection, member))

    def rows_of(self, table: str, member: int, id: int) -> Deferred[list[dict[str, Any]]]:
        """The rows of one file, without automatic columns and nulls, in order of arrival."""
        columns = [name for name in self._schemas.get(table, {}) if name not in AUTOMATIC]
        return self.read(lambda connection: marks.rows_of(connection, table, columns, member, id))

    def forget_parked(self, hash: str) -> Deferred[bool]:
        """Forget a whole content of which every row was parked, and what was parked; False if there is none."""
        return self.write(lambda connection: marks.forget_parked(connection, hash))

    def undo(self, table: str, member: int, id: int) -> Deferred[None]:
        """Forget the rows and the mark of one file, in one transaction."""
        return self.write(lambda connection: marks.undo(connection, table, member, id))

    def keys(self, since: float) -> Deferred[list[tuple[str, float, str]]]:
        """See `interfaces.IDatabase.keys`."""
        return self._run(self._writing, self._keys, since)

    def parked(self, table: str = "", most: int = 1000) -> Deferred[list[tuple[str, str, str, str]]]:
        """Table, reason, row and time of the newest parked rows, of one table or of all."""
        return self.read(lambda connection: parked_rows(connection, table, most))

    def counts(self, tables: Sequence[str]) -> Deferred[dict[str, int]]:
        """Rows of each of these tables."""
        return self.read(lambda connection: {table: row_count(connection, table) for table in tables})

    def size(self) -> Deferred[int]:
        """Bytes on disk, 0 for a database in memory, -1 if the file cannot be seen."""
        if not self.path:
            return succeed(0)
        return self._run(self._reading, self._size)

    # In the lanes

    def _run(self, lane: ILane, work: Callable[..., T], *args: Any) -> Deferred[T]:
        # A lane that was closed would drop the work without a word.
        if self._closed:
            return fail(AnyLogError(10, f"{self.name} is not open"))
        return lane.run(self._guarded, work, *args)

    def _guarded(self, work: Callable[..., T], *args: Any) -> T:
        """Faults of the library become errors of the house."""
        try:
            return work(*args)
        except self._library.faults as fault:
            if code_of(fault) == FULL:
                raise AnyLogError(503, f"{self.name}: {fault}") from fault
            raise AnyLogError(16, f"{self.name}: {fault}", http=status_of(fault)) from fault

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
                connection.execute(f"pragma journal_size_limit = {LOG_KEPT}")
            connection.execute("pragma cache_size = -16384")
            connection.execute("begin immediate")
            try:
                make_hidden_tables(connection)
                if self.name == FILES:
                    file_sums.keep(connection)
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
        self._file = file_of(self._library, self.path)
        self._tables()

    def _close(self) -> None:
        self._readers.close()
        for lease in self._leases if self.path else ():
            lease.connection.close()  # ended, and nobody is in the reading lane
        if self._checkpointer is not None:
            self._checkpointer.close()
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
            ours.setdefault(table, {})[column] = read_type(kind)
        for table, is_view in connection.execute(
            "select name, type = 'view' from sqlite_master where type in ('table', 'view')"
            " and name not like 'sqlite\\_%' escape '\\' order by name"
        ).fetchall():
            if belongs_to_the_node(table):
                continue
            try:
                columns = connection.execute("select name, type from pragma_table_info(?)", (table,)).fetchall()
            except self._library.faults:
                if not is_view:
                    raise
                continue  # a view of what is no more
            types = ours.get(table, {})
            known[table] = {column: types.get(column) or ledger_type(declared) for column, declared in columns}
        self._schemas = known
        self._version = connection.execute("pragma schema_version").fetchone()[0]
        return {table: dict(columns) for table, columns in known.items()}

    def _execute(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        connection = self._connection
        connection.execute("begin immediate")
        try:
            rows: list[tuple[Any, ...]] = connection.execute(statement, parameters).fetchall()
            changed = connection.execute("pragma schema_version").fetchone()[0] != self._version
            if changed:
                self._forget_dropped(connection)
            connection.execute("commit")
        except BaseException:
            self._roll_back(connection)
            raise
        if changed:
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

    def _load(self, loads: Sequence[Load]) -> list[AnyLogFault | None]:
        connection = self._connection
        check_same(self._library, self.name, self.path, self._file)
        if connection.execute("pragma schema_version").fetchone()[0] != self._version:
            self._tables()
        changed = any(load.create is not None or load.alter is not None for load in loads)
        connection.execute("begin immediate")
        try:
            faults = self._written.run(connection, loads)
            self.point("inserted")
            connection.execute("commit")
        except BaseException:
            self._roll_back(connection)
            if changed:
                self._tables()
            raise
        if changed:
            self._tables()
        return faults

    def _create_built_in(self, table: str, definition: BuiltIn) -> None:
        connection = self._connection
        connection.execute("begin immediate")
        try:
            self._written.create_built_in(connection, table, definition)
            connection.execute("commit")
        except BaseException:
            self._roll_back(connection)
            raise
        self._tables()

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        connection = self._connection
        check_same(self._library, self.name, self.path, self._file)
        connection.execute("begin immediate")
        try:
            result = work(connection)
            connection.execute("commit")
        except BaseException:
            self._roll_back(connection)
            raise
        if connection.execute("pragma schema_version").fetchone()[0] != self._version:
            self._tables()
        return result

    def _keys(self, since: float) -> list[tuple[str, float, str]]:
        rows: Iterable[Any] = self._connection.execute(
            "select key, at, hash from anylog_keys where at >= ? order by at", (since,)
        ).fetchall()
        return [(row[0], row[1], row[2]) for row in rows]

    # Reading

    def _read(self, work: Callable[[Connection], T]) -> T:
        if not self.path:
            connection = self._connection
            connection.execute("pragma query_only = on")
            try:
                return work(connection)
            finally:
                connection.execute("pragma query_only = off")
        reader = self._readers.take()
        try:
            result = work(reader)
        except BaseException:
            reader.close()  # it may still hold a snapshot, and would show the next one the rows of then
            raise
        self._readers.give(reader)
        return result

    def _new_reader(self) -> Connection:
        reader = self._library.connect(str(self.path), True)
        reader.execute(f"pragma busy_timeout = {BUSY}")
        reader.execute("pragma query_only = on")
        reader.execute("pragma cache_size = -8192")
        return reader

    def _lease(self) -> Lease:
        return Lease(self._readers.take() if self.path else self._connection, self._reading, self._returned)

    def _returned(self, lease: Lease) -> None:
        self._leases.discard(lease)
        if self.path:
            self._readers.give(lease.connection)

    def _size(self) -> int:
        assert self.path is not None
        try:
            return self._library.stat(self.path).st_size + self._log_size()
        except OSError:
            return -1

    # The write-ahead log

    def _log_size(self) -> int:
        if not self.path:
            return 0
        try:
            return self._library.stat(self.path.with_name(self.path.name + "-wal")).st_size
        except OSError:
            return 0

    def _after_load(self, result: T, size: int) -> T:
        self._unchecked += size
        if self._unchecked > self.checkpoint and self.path and not self._checkpointing and not self._closed:
            self._checkpointing = True
            self._unchecked = 0
            self._write_back().addErrback(lambda failure: self.log.warn("{name}: {f}", name=self.name, f=failure.value))
        return result

    @deferring
    async def _write_back(self) -> None:
        """Write the log back beside the loads.

        It begins again from its start once all of it is written back and nobody reads from it. Where steady loads or
        readers never leave it such a moment, the loads wait for one.
        """
        try:
            size = await self._run(self._reading, self._checkpoint)
            if size > self._too_long:
                await self._run(self._writing, self._checkpoint_now, size)
        finally:
            self._checkpointing = False

    def _checkpoint(self) -> int:
        if self._checkpointer is None:
            self._checkpointer = self._library.connect(str(self.path), False)
            self._checkpointer.execute(f"pragma busy_timeout = {BUSY}")
            self._checkpointer.execute("pragma synchronous = full")
        self._checkpointer.execute("pragma wal_checkpoint(passive)").fetchall()
        return self._log_size()

    def _checkpoint_now(self, size: int) -> None:
        connection = self._connection
        connection.execute(f"pragma busy_timeout = {PATIENCE}")
        try:
            (held, *_) = connection.execute("pragma wal_checkpoint(restart)").fetchone()
        finally:
            connection.execute(f"pragma busy_timeout = {BUSY}")
        # A reader that stays for minutes would make every load wait: try again when the log has grown as much again.
        self._too_long = size + LONGEST_LOG if held else LONGEST_LOG
