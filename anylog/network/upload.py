"""A body that is a file goes to the disk while it comes: a slice or two of it are in memory (rest.md 2.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from anylog.disk.confined import naming
from anylog.disk.transfers import room
from anylog.errors import AnyLogError
from anylog.interfaces import Disk, DiskFile, ILane
from anylog.language.context import Upload
from anylog.network.asking import read_query
from anylog.network.multipart import FileReader

PENDING = 2 << 20  # bytes that may wait for the disk before the sender must


@frozen(kw_only=True)
class Uploads:
    """Where files are put that come by REST."""

    disk: Disk
    lane: Callable[[], ILane]
    folder: Callable[[], Path]
    token: Callable[[], str]

    def begin(self, content_type: str, length: int) -> Incoming:
        """A new one. Raises AnyLogError 110."""
        path = self.folder() / f".{self.token()}.upload"
        return Incoming(FileReader(content_type), path, self.disk, self.lane(), length)


@define(eq=False)
class Incoming:
    """One file that comes; every write takes the lane, in order."""

    _reader: FileReader
    _path: Path
    _disk: Disk
    _lane: ILane
    _length: int  # as its sender says, 0 if it does not
    error: AnyLogError | None = None
    came: int = 0
    _pending: list[bytes] = field(factory=list)
    _waiting: int = 0
    _writing: bool = False
    _file: DiskFile | None = None
    _size: int = 0
    _done: Deferred[None] | None = None
    _over: bool = False
    log = Logger()

    @property
    def full(self) -> bool:
        """Whether the sender should wait."""
        return self._waiting > PENDING

    def take(self, data: bytes, written: Callable[[], None]) -> None:
        """Some more; `written` is called whenever some of it is on the disk, or when that has failed."""
        self.came += len(data)
        if self.error is not None or self._over:
            return
        try:
            content = self._reader.receive(data)
        except AnyLogError as error:
            self.error = error
            written()
            return
        if content:
            self._pending.append(content)
            self._waiting += len(content)
        self._write_on(written)

    def finish(self) -> Deferred[None]:
        """Nothing more comes; fires when all is written, or has failed: see `error`."""
        if self.error is None:
            try:
                self._reader.end()
            except AnyLogError as error:
                self.error = error
        self._done = Deferred()
        self._settle()
        return self._done

    def upload(self) -> Upload:
        """For the command. Raises AnyLogError: why it could not be kept."""
        if self.error is not None:
            raise self.error
        return Upload(name=self._reader.name, path=self._path)

    def let_go(self) -> None:
        """The call is over: what is left of the file goes. Safe at any time and more than once."""
        if not self._over:
            self._over = True
            self._pending.clear()
            if not self._writing:
                self._remove()

    def _write_on(self, written: Callable[[], None]) -> None:
        if self._writing or (not self._pending and self._file is not None):
            return
        data = b"".join(self._pending)
        self._pending.clear()
        self._writing = True

        def ended(outcome: Any) -> None:
            self._writing = False
            self._waiting -= len(data)
            if isinstance(outcome, Failure):
                self._failed(outcome)
            if self._over:
                self._remove()
                return
            if self.error is None and self._pending:
                self._write_on(written)
            self._settle()
            written()

        self._lane.run(self._write, data).addBoth(ended)

    def _write(self, data: bytes) -> None:
        """In the lane."""
        with naming(self._path, 14):
            if self._file is None:
                room(self._disk, self._path, max(self._length, len(data)))
                self._file = self._disk.create(self._path, 0)
            else:
                room(self._disk, self._path, len(data))
            self._file.write(self._size, data)
        self._size += len(data)

    def _failed(self, failure: Failure) -> None:
        if failure.check(AnyLogError):
            self.error = failure.value  # type: ignore[assignment]
        else:
            self.log.failure("a file that came by REST could not be kept", failure)
            self.error = AnyLogError(500, "the file could not be kept; the log of the node has the rest")

    def _settle(self) -> None:
        """Tell whoever waits for the end."""
        if self._done is None or self._writing:
            return
        if self._file is None and self.error is None:  # an empty one
            self._write_on(lambda: None)
            if self._writing or self._done is None:
                return
        done, self._done = self._done, None
        done.callback(None)

    def _remove(self) -> None:
        self._lane.run(self._forget).addErrback(self._forget_here)

    def _forget(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            with naming(self._path, 14):
                self._disk.forget(self._path)

    def _forget_here(self, failure: Failure) -> None:
        """The lane takes nothing more, the node is stopping; or the disk refused, and the node's log says so."""
        if failure.check(AnyLogError) and failure.value.number == 506:  # type: ignore[attr-defined]
            self._forget()
        else:
            self.log.failure("a file that came by REST could not be removed", failure)


def asks_to_keep(command: bytes | None, uri: bytes) -> bool:
    """Whether a call with this header, or with this URL, brings a file: `file to`."""
    text = (command or b"").decode("latin-1")
    query = uri.partition(b"?")[2]
    if not text.strip() and query:
        try:
            text = read_query(query).get("command", "")
        except AnyLogError:
            return False
    return re.match(r"\s*file\s+to\b", text, re.IGNORECASE) is not None
