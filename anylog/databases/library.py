"""The SQLite library in use: sqlite3 of Python, or another one with a disk that forgets.

Connections are used through `execute`, `interrupt` and `close` alone, so that one can stand in for the other.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from anylog.errors import AnyLogError

LONGEST = 128 << 20  # bytes of one value of an answer; twice the largest body that is taken
FULL = 13  # result codes of SQLite, the same in every library
# Faults that lie in what was to be written: the statement, a constraint, a size, a type, a range. All others lie in the
# file, the disk or the memory, and would meet the next load as well.
_OF_THE_LOAD = {1, 18, 19, 20, 25}

# Faults of this node and not of who asks: memory, read-only, I/O, a damaged file, one that cannot be opened; and busy.
_OF_THE_NODE = {7, 8, 10, 11, 14, 15, 26}
_BUSY = {5, 6}


class Connection(Protocol):
    """A connection of sqlite3 (with `isolation_level = None`) or of apsw."""

    def execute(self, statement: str, parameters: Sequence[Any] = ...) -> Any: ...

    def interrupt(self) -> None: ...

    def close(self) -> Any: ...


@frozen
class Library:
    """How to connect (path, read only), and what is raised; and where it sees its files, if not where all do."""

    connect: Callable[[str, bool], Connection]
    faults: tuple[type[Exception], ...]
    stat: Callable[[Path], os.stat_result] = Path.stat
    has_folder: Callable[[Path], bool] = Path.is_dir


def code_of(fault: Exception) -> int:
    """The primary result code of a fault, -1 if it has none."""
    code = getattr(fault, "sqlite_errorcode", None)  # sqlite3
    if code is None:
        code = getattr(fault, "result", None)  # apsw
    return code & 0xFF if isinstance(code, int) else -1


def lies_in_the_load(fault: Exception) -> bool:
    """Whether only this load is at fault, so that others may go on."""
    return code_of(fault) in _OF_THE_LOAD or isinstance(fault, sqlite3.DataError)


def status_of(fault: Exception) -> int:
    """The HTTP status of a fault: the sender's, or ours, or of what may be asked again (decisions.md 32)."""
    if code_of(fault) in _BUSY:
        return 503
    return 500 if code_of(fault) in _OF_THE_NODE else 400


def kind_of(text: str) -> str:
    """What a fault of one load means to whoever asked for it."""
    if "anylog_marks.hash" in text:
        return "duplicate"
    if "anylog_marks.tsd_id" in text:
        return "conflict"
    # Dropped or altered by somebody else since the load was made.
    outdated = ("no such table", "no such column", "has no column named")
    return "missing table" if any(sign in text for sign in outdated) else "engine"


def file_of(library: Library, path: Path | None) -> tuple[int, int]:
    """Device and inode, by which a file is known to be the same; zeros if there is none."""
    try:
        state = library.stat(path) if path is not None else None
    except OSError:
        state = None
    return (state.st_dev, state.st_ino) if state is not None else (0, 0)


def check_same(library: Library, name: str, path: Path | None, known: tuple[int, int]) -> None:
    """AnyLogError 16 if the file was removed or replaced: what is committed now would be lost with it."""
    if file_of(library, path) != known:
        raise AnyLogError(16, f"{name}: {path} was removed or replaced; disconnect and connect it again", http=503)


def _connect(path: str, readonly: bool) -> Connection:
    uri = f"file:{_escaped(path)}?mode={'ro' if readonly else 'rwc'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256)
    if readonly:
        # A stranger may ask for zeroblob(1e9), which is a gigabyte until the answer is sent.
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    return connection


def _escaped(path: str) -> str:
    return "".join(
        char if char.isalnum() or char in "/._-" else "".join(f"%{byte:02x}" for byte in char.encode()) for char in path
    )


STANDARD = Library(_connect, (sqlite3.Error,))
