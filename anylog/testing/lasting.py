"""The databases of a node that loses its power: SQLite itself, whose files forget what was not synced.

The write-ahead log of SQLite needs memory that connections share, which no file system written in Python can give. So
the files are real ones, in a folder in memory where the machine has one; the node knows them by other names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import apsw
from attrs import define, field

from anylog.databases.library import Library
from anylog.testing.power import PowerVFS

IN_MEMORY = Path("/dev/shm")


@define(eq=False)
class Rows:
    """A cursor that has what those of sqlite3 have."""

    inner: apsw.Cursor
    description: Any = None

    @property
    def rowcount(self) -> int:
        """Rows that were changed."""
        return self.inner.connection.changes()

    def fetchone(self) -> Any:
        """The next row, None at the end."""
        return self.inner.fetchone()

    def fetchall(self) -> list[Any]:
        """All that is left."""
        return self.inner.fetchall()

    def fetchmany(self, size: int) -> list[Any]:
        """As many, or what is left."""
        return list(islice(self.inner, size))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.inner)

    def close(self) -> None:
        """No more rows are wanted."""
        self.inner.close(True)


@define(eq=False)
class Told:
    """A connection that tells before each statement."""

    inner: apsw.Connection
    point: Callable[[str], None]
    closed: Callable[[apsw.Connection], None]  # the node lets go of its database

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """See `library.Connection`."""
        self.point("statement")
        if not statement.endswith("limit 0"):
            return Rows(self.inner.execute(statement, parameters))
        cursor, described = self.inner.cursor(), []

        def trace(cursor: apsw.Cursor, *_: Any) -> bool:
            described.append(cursor.getdescription())  # afterwards it is not told any more
            return True

        cursor.exec_trace = trace
        return Rows(cursor.execute(statement, parameters), described[0])

    def interrupt(self) -> None:
        """See `library.Connection`."""
        self.inner.interrupt()

    def close(self) -> None:
        """See `library.Connection`."""
        self.inner.close()
        self.closed(self.inner)


@define(eq=False)
class LastingFiles:
    """The database files of one life of a node. `point` is told before each statement, write and sync."""

    point: Callable[[str], None] = field(default=lambda name: None)
    folder: Path = field(factory=lambda: Path(mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None)))
    connections: list[apsw.Connection] = field(factory=list)
    vfs: PowerVFS = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.vfs = PowerVFS(self.folder.name, lambda name: self.point(name))

    @property
    def library(self) -> Library:
        """For the node."""
        return Library(self._connect, (apsw.Error,), stat=self._stat, has_folder=lambda path: True)

    def real(self, path: Path) -> Path:
        """Where a file of the node lies."""
        return self.folder / str(path).lstrip("/")

    def crash(self, chance: Random, power: bool = True) -> LastingFiles:
        """The files as they are found after a power cut; without `power` the process alone is killed, and all last."""
        found = LastingFiles()
        self.vfs.cut(self.folder, found.folder, chance if power else None)
        return found

    def end(self) -> None:
        """This life is over: only let the files go."""
        for connection in self.connections:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        for connection in self.connections:
            connection.close(True)
        self.connections.clear()
        self.vfs.unregister()
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self, path: Path) -> None:
        """A database is deleted, while nobody has it open."""
        for each in self._parts(path):
            each.unlink(missing_ok=True)

    def copy(self, path: Path) -> dict[str, bytes]:
        """A database as it is now, while nobody has it open; empty if it is not there."""
        return {each.name: each.read_bytes() for each in self._parts(path) if each.exists()}

    def put_back(self, path: Path, copy: dict[str, bytes]) -> None:
        """What was copied takes the place of what is there, while nobody has it open."""
        self.remove(path)
        for name, data in copy.items():
            (self.real(path).parent / name).write_bytes(data)

    def look(self, path: Path) -> apsw.Connection | None:
        """A connection to read from, beside the node's own or while it is down; None if there is no file."""
        real = self.real(path)
        if not real.exists():
            return None
        made = apsw.Connection(str(real), flags=apsw.SQLITE_OPEN_READWRITE)  # a log that was left is read into memory
        made.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        return made

    def _parts(self, path: Path) -> list[Path]:
        real = self.real(path)
        return [real, real.with_name(f"{real.name}-wal"), real.with_name(f"{real.name}-shm")]

    def _connect(self, path: str, readonly: bool) -> Any:
        if path == ":memory:":
            return apsw.Connection(path)
        real = self.real(Path(path))
        real.parent.mkdir(parents=True, exist_ok=True)
        made = self.vfs.connect(str(real), readonly)
        self.connections.append(made)
        return Told(made, self.point, self._closed)

    def _closed(self, connection: apsw.Connection) -> None:
        if connection in self.connections:  # unless that life is over
            self.connections.remove(connection)

    def _stat(self, path: Path) -> os.stat_result:
        return self.real(path).stat()
