"""The sockets in the wall: what one room asks of another it may not import (architecture.md 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError

T = TypeVar("T")


class DelayedCall(Protocol):
    """A call that was put off."""

    def active(self) -> bool: ...

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Where every second comes from: the reactor, or a clock that a test moves by hand."""

    def seconds(self) -> float:
        """Unix seconds."""

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kwargs: Any) -> DelayedCall:
        """Call it after `delay` seconds."""


class DiskFile(Protocol):
    """A file that is written at places of its own and read back; nothing lasts before `sync` returned."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""

    def sync(self) -> None:
        """Return when all that was written lasts."""

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`."""

    def close(self) -> None: ...


class Disk(Protocol):
    """The only way to make things last; blocking, so called in lanes. `testing.MemoryDisk` forgets what was not synced.

    All raise OSError.
    """

    def publish(self, final: Path, data: bytes) -> None:
        """Make `final` appear whole or not at all, even across a power cut (draft, sync, rename, sync the folder)."""

    def create(self, path: Path, size: int) -> DiskFile:
        """A new file with `size` bytes reserved (reading as zeros), whose name lasts when this returns."""

    def open(self, path: Path) -> DiskFile:
        """An existing file, to read and write."""

    def read(self, path: Path) -> bytes:
        """The whole file."""

    def move(self, source: Path, target: Path) -> None:
        """Rename within one file system; lasts when it returns."""

    def forget(self, path: Path) -> None:
        """Remove the file if it is there; lasts when it returns."""

    def names(self, folder: Path) -> list[str]:
        """Names in `folder`, sorted; a folder that is missing is an empty one."""

    def make(self, folder: Path) -> None:
        """Make the folder and its parents if missing."""

    def lock(self, path: Path) -> DiskFile:
        """Hold `path` until the file is closed or the process ends; BlockingIOError if somebody else holds it."""

    def free(self, folder: Path) -> int:
        """Bytes that may still be written there."""


class ILane(Protocol):
    """One queue of blocking work, done in order off the reactor; plain values in, plain values out."""

    name: str

    @property
    def depth(self) -> int:
        """Pieces of work that wait or run."""

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Do `work(*args)` in the lane."""


class Lanes(Protocol):
    """Every thread of a node comes from here."""

    def open(self, name: str, threads: int = 1) -> ILane:
        """The lane of that name, made when first asked for."""

    def close(self, name: str) -> Deferred[None]:
        """Finish what is queued in that lane and let its threads go."""

    def stop(self) -> Deferred[None]:
        """Close all."""


@frozen
class Receipt:
    """What a sender is told once its readings are safe."""

    hash: str  # 32 hex digits for a whole file, "0" for rows that stream
    rows: int
    repeated: bool = False  # an Idempotency-Key or hash seen before: answered like the first time


class IIntake(Protocol):
    """Where readings go, whatever door they came through."""

    def accept(
        self,
        dbms: str,
        table: str,
        body: bytes,
        rows: Sequence[Mapping[str, Any]],
        *,
        source: str = "0",
        instructions: str = "0",
        whole: bool = False,
        key: str = "",
    ) -> Deferred[Receipt]:
        """Keep the rows; fires when they are synced to disk (decisions.md 1).

        `body` is what came, `rows` what it holds (the parse is not done twice); `whole` is PUT in file mode: the
        body is one content, kept once; `key` is an Idempotency-Key. Fails with AnyLogError 5, 502, 503, 504 or 506.
        """

    def refusal(self) -> AnyLogError | None:
        """Why nothing is taken at the moment, or None; asked before a body is read."""


@frozen
class Mark:
    """How far one buffer is loaded; written in the same transaction as its rows (hard-parts.md 1.3)."""

    buffer: str
    table: str
    sequence: int  # of the last journal record that this load covers
    rows: int  # loaded by this load
    parked: int  # parked by this load
    hash: str | None = None  # a whole file's; unique among loaded marks of the database


@frozen
class Parked:
    """A row that fits no column type, kept aside with its reason."""

    buffer: str
    sequence: int
    position: int  # in its record, from 0
    table: str
    reason: str
    row: str  # JSON text


@frozen
class Load:
    """Rows of one table, to be loaded in one transaction with their marks."""

    table: str
    columns: Sequence[str]
    values: str  # a JSON list of lists, one inner list a row, in the order of `columns`
    rows: int
    marks: Sequence[Mark]
    parked: Sequence[Parked]
    keys: Sequence[tuple[str, float, str]]  # Idempotency-Key, unix seconds, reply hash
    tsd_name: str
    tsd_id: int
    inserted: str  # insert_timestamp, "YYYY-MM-DD HH:MM:SS.ffffff" UTC
    create: Mapping[str, str] | None = None  # the table's columns and types, if it must be made first
    alter: Mapping[str, str] | None = None  # columns to add or to widen first


class IDatabase(Protocol):
    """One logical database on one engine. Every method but `name` and `kind` works in the database's own lanes."""

    name: str
    kind: str  # "sqlite", "psql"

    def tables(self) -> Deferred[dict[str, dict[str, str]]]:
        """Table name -> column name -> ledger type, in column order; hidden tables left out."""

    def load(self, loads: Sequence[Load]) -> Deferred[list[AnyLogFault | None]]:
        """Write all loads in one transaction, each in a savepoint of its own.

        Gives, load by load, None or why it was left out (the others are kept). A mark whose hash another loaded
        mark has is such a fault of kind "duplicate". Fails as a whole (AnyLogError) if the transaction does.
        """

    def marks(self, buffers: Sequence[str]) -> Deferred[dict[str, int]]:
        """The last sequence number loaded, for those of `buffers` that have a mark."""

    def keys(self, since: float) -> Deferred[list[tuple[str, float, str]]]:
        """Idempotency-Keys not older than `since` (unix seconds), oldest first."""

    def close(self) -> Deferred[None]:
        """Finish and let the files go."""


@frozen
class AnyLogFault:
    """Why one load of several was left out."""

    kind: str  # "duplicate", "misfit", "missing table", "engine"
    text: str
