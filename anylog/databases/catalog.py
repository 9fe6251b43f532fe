"""Logical names and the databases behind them: connect, disconnect (storage.md 1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import define, field

from anylog.databases.library import STANDARD, Library
from anylog.databases.sqlite import CHECKPOINT, SQLite
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Lanes
from anylog.names import normalise

LATER = ("psql", "mongo", "bucket", "pi")


def check_kind(name: str, kind: str) -> None:
    """AnyLogError 237 for a type of database that comes later, 2 for one that is none."""
    if kind in LATER:
        raise AnyLogError(237, f"not in this build: {kind} (dbms {name})")
    if kind != "sqlite":
        raise AnyLogError(2, f"'{kind}' is not a type of database (dbms {name})")


@define(kw_only=True, eq=False)
class Catalog:
    """The databases of one node."""

    _places: Places
    _lanes: Lanes
    _clock: Clock
    _home_id: str
    _library: Library = STANDARD
    point: Callable[[str], None] = field(default=lambda name: None)
    checkpoint: int = CHECKPOINT  # bytes of readings after which a write-ahead log is written back
    _open: dict[str, SQLite] = field(factory=dict)
    _changing: set[str] = field(factory=set)  # being connected or disconnected
    _stopped: bool = False
    _watchers: list[Callable[[str, bool], None]] = field(factory=list)

    def watch(self, told: Callable[[str, bool], None]) -> None:
        """Call `told(name, True)` after each connect and `told(name, False)` before each disconnect."""
        self._watchers.append(told)

    def names(self) -> list[str]:
        """Logical names that are connected."""
        return sorted(self._open)

    def known(self, name: str) -> SQLite | None:
        """The database of that name, in whatever spelling, or None if it is not connected."""
        return self._open.get(name) or self._open.get(normalise(name, "database", 5))

    def get(self, name: str) -> SQLite:
        """The same; AnyLogError 5 if it is not connected."""
        database = self.known(name)
        if database is None:
            raise AnyLogError(5, f"Logical DBMS '{name}' not opened on Operator Node")
        return database

    def named(self, name: str) -> tuple[str, Path]:
        """The logical name and the file that `name` stands for; it may carry a path (storage.md 1.1).

        Raises AnyLogError 2 for what is no name.
        """
        path = PurePosixPath(name)
        logical = normalise(path.name, "database", 2)
        return logical, self._places.folder("dbms_dir") / path.parent / f"{logical}.dbms"

    async def connect(
        self, name: str, kind: str, *, memory: bool = False, autocommit: bool = True, **options: Any
    ) -> bool:
        """Bind a logical name to a database; False if it is bound to the same kind already.

        `name` may carry a path, whose last element is the logical name. Raises AnyLogError 2 for what does not go
        together, 12 for a path that is not there, 136 for a name that is bound to another kind, 237 for kinds that come
        later, 507 for a database of another node.
        """
        logical, file = self.named(name)
        check_kind(name, kind)
        known = self._open.get(logical)
        if known is not None:
            if (known.path is None) != memory:
                raise AnyLogError(136, f"{logical} is connected, with storage {known.storage}: disconnect it first")
            return False
        if logical in self._changing or self._stopped:
            raise AnyLogError(136, f"{logical} is being connected or disconnected")
        if not memory and not self._library.has_folder(file.parent):
            raise AnyLogError(12, f"connect dbms {name}: the directory {file.parent} is missing")
        database = SQLite(
            name=logical,
            path=None if memory else file,
            lanes=self._lanes,
            clock=self._clock,
            home=self._home_id,
            library=self._library,
            point=self.point,
            checkpoint=self.checkpoint,
            autocommit=autocommit,
        )
        self._changing.add(logical)
        try:
            await database.open()
            if self._stopped:
                raise AnyLogError(506, f"connect dbms {logical}: the node is shutting down")
        except BaseException:
            await database.close()
            raise
        finally:
            self._changing.discard(logical)
        self._open[logical] = database
        for told in self._watchers:
            told(logical, True)
        return True

    async def disconnect(self, name: str) -> None:
        """Close it; AnyLogError 5 if it is not connected, 3 while a load or a query uses it."""
        database = self.get(name)
        if database.busy:
            raise AnyLogError(
                3, f"disconnect dbms {name}: it is in use, {database.busy} pieces of work are under way", http=503
            )
        for told in self._watchers:
            told(database.name, False)
        del self._open[database.name]
        self._changing.add(database.name)  # its lanes are its own until they are closed
        try:
            await database.close()
        finally:
            self._changing.discard(database.name)

    async def stop(self) -> None:
        """Close all."""
        self._stopped = True
        for name in list(self._open):
            for told in self._watchers:
                told(name, False)
            await self._open.pop(name).close()
