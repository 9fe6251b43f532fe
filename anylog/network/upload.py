"""A body that is a file goes to the disk while it comes: a slice or two of it are in memory (rest.md 2.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
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

PENDING = 1 << 20  # bytes that may wait for the disk before the sender must
UNSYNCED = 64 << 20  # bytes that may be lost by the disk: little is left to sync when the last has come
MOST = 64  # files that come at once; with PENDING this bounds their memory
LARGEST = 16 << 30  # bytes of one

_NAME = re.compile(r"\.[0-9a-f]{16}\.upload")


@define(kw_only=True, eq=False)
class Uploads:
    """Where files are put that come by REST."""

    disk: Disk
    lane: Callable[[], ILane]
    folder: Callable[[], Path]
    token: Callable[[], str]  # 16 hex digits, others each time
    largest: int = LARGEST
    most: int = MOST
    _coming: set[Incoming] = field(factory=set)

    def begin(self, content_type: str, length: int) -> Incoming:
        """A new one of `length` bytes, 0 if nobody said. Raises AnyLogError 110, 501 or 502."""
        if length > self.largest:
            raise AnyLogError(501, f"a file may have {self.largest:,} bytes, this one has {length:,}")
        if len(self._coming) >= self.most:
            raise AnyLogError(502, f"{self.most} files come at once")
        incoming = Incoming(
            reader=FileReader(content_type),
            path=self.folder() / f".{self.token()}.upload",
            disk=self.disk,
            lane=self.lane(),
            length=length,
            largest=self.largest,
            ended=self._coming.discard,
        )
        self._coming.add(incoming)
        return incoming

    def clear(self) -> Deferred[None]:
        """Remove what a kill has left. Only while nothing comes."""
        return self.lane().run(self._clear, self.folder())

    def _clear(self, folder: Path) -> None:
        for name in self.disk.names(folder):
            if _NAME.fullmatch(name):
                with naming(folder / name, 14):
                    self.disk.forget(folder / name)


@define(eq=False, kw_only=True)
class Incoming:
    """One file that comes; every write takes the lane, in order."""

    _reader: FileReader
    _path: Path
    _disk: Disk
    _lane: ILane
    _length: int  # as its sender says, 0 if it does not
    _largest: int
    _ended: Callable[[Incoming], None]
    error: AnyLogError | None = None  # why it cannot be kept
    came: int = 0
    _pending: list[bytes] = field(factory=list)
    _waiting: int = 0  # bytes that came and are not written, those that are being written included
    _writing: bool = False
    _file: DiskFile | None = None
    _size: int = 0
    _synced: int = 0
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
        if self._over:
            return
        try:
            if self.came > self._largest:
                raise AnyLogError(501, f"a file may have {self._largest:,} bytes")
            content = self._reader.receive(data)
        except AnyLogError as error:
            self._fail(error)
            written()
            return
        if content:
            self._pending.append(content)
            self._waiting += len(content)
            self._write_on(written)

    def finish(self) -> Deferred[None]:
        """Nothing more comes; fires when all is written, or has failed: see `error`."""
        self._done = Deferred()
        done = self._done
        if not self._over:
            try:
                self._reader.end()
            except AnyLogError as error:
                self._fail(error)
            else:
                self._write_on(self._settle)  # also if nothing came: an empty file is a file
        self._settle()
        return done

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
            if self._over:
                self._remove()
            elif isinstance(outcome, Failure):
                self._fail(self._reason(outcome))
            elif self._pending:
                self._write_on(written)
            self._settle()
            written()

        self._lane.run(self._write, data).addBoth(ended)

    def _write(self, data: bytes) -> None:
        """In the lane."""
        with naming(self._path, 14):
            if self._file is None:
                self._disk.make(self._path.parent)
                room(self._disk, self._path, max(self._length, len(data)))
                self._file = self._disk.create(self._path, 0)
            else:
                room(self._disk, self._path, len(data))
            self._file.write(self._size, data)
            self._size += len(data)
            if self._size - self._synced > UNSYNCED:
                self._file.sync()
                self._synced = self._size

    def _reason(self, failure: Failure) -> AnyLogError:
        if isinstance(failure.value, AnyLogError):
            return failure.value
        self.log.failure("a file that came by REST could not be kept", failure)
        return AnyLogError(500, "the file could not be kept; the log of the node has the rest")

    def _fail(self, error: AnyLogError) -> None:
        """It will never be whole: the disk is given back at once, not when its sender has heard of it."""
        self.error = error
        self.let_go()

    def _settle(self) -> None:
        """Tell whoever waits for the end."""
        if self._done is not None and not self._writing:
            done, self._done = self._done, None
            done.callback(None)

    def _remove(self) -> None:
        self._lane.run(self._forget).addErrback(self._forget_here).addBoth(lambda _: self._ended(self))

    def _forget(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            with naming(self._path, 14):
                self._disk.forget(self._path)

    def _forget_here(self, failure: Failure) -> None:
        """The lane takes nothing more, the node is stopping; or the disk refused, and the node's log says so."""
        if isinstance(failure.value, AnyLogError) and failure.value.number in (502, 506):
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
