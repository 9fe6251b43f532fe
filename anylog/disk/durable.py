"""The only place that renames, syncs, or opens for writing (architecture.md 9).

What "lasting" means is decided here, once, for the whole node: `full` syncs data and names before it returns;
`none` is for tests and throw-away nodes, and is named at start.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import define, field
from twisted.logger import Logger

from anylog.disk.batch import FAULT, Batch, entries, kind_of
from anylog.disk.worker import Gone, Workers
from anylog.interfaces import Entry, Move, Publish, Read, Step

Policy = Literal["full", "none"]

FEW = 4  # steps, or names of a folder, for which no process is started

_ZEROS = bytes(1 << 20)


@define
class RealFile:
    """A file on the real disk, see `interfaces.DiskFile`."""

    _descriptor: int
    _policy: Policy

    def write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            offset += written
            view = view[written:]

    def sync(self) -> None:
        if self._policy == "full":
            os.fdatasync(self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        parts = []
        while size > 0:
            part = os.pread(self._descriptor, size, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


@define
class RealDisk:
    """The machine's own disk, see `interfaces.Disk`."""

    policy: Policy = "full"
    _workers: Workers = field(factory=Workers)
    log = Logger()

    def publish(self, final: Path, data: bytes) -> None:
        draft = final.with_name(f".{final.name}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if self.policy == "full":
                os.fsync(descriptor)
        except OSError:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        os.close(descriptor)
        draft.replace(final)
        self._sync_folder(final.parent)

    def create(self, path: Path, size: int) -> RealFile:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # Reserved at once, so that a full disk is met here and not in the middle of a record; and written, because
            # a sync of blocks that were written before takes half the time of one that must also note new blocks.
            if size:
                os.posix_fallocate(descriptor, 0, size)
                for start in range(0, size, len(_ZEROS)):
                    os.pwrite(descriptor, _ZEROS[: size - start], start)
            if self.policy == "full":
                os.fsync(descriptor)
            self._sync_folder(path.parent)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return RealFile(descriptor, self.policy)

    def open(self, path: Path) -> RealFile:
        return RealFile(os.open(path, os.O_RDWR | os.O_CLOEXEC), self.policy)

    def read(self, path: Path) -> bytes:
        # A pipe or a device would hold the thread for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "Not a regular file", str(path))
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)

    def move(self, source: Path, target: Path) -> None:
        source.replace(target)
        self._sync_folder(target.parent)
        if source.parent != target.parent:
            self._sync_folder(source.parent)

    def forget(self, path: Path) -> None:
        try:
            path.unlink()
        except FileNotFoundError:
            return
        self._sync_folder(path.parent)

    def names(self, folder: Path) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(folder))
        except FileNotFoundError:
            return []

    def make(self, folder: Path) -> None:
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
            self._sync_folder(each.parent)

    def lock(self, path: Path) -> RealFile:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return RealFile(descriptor, self.policy)

    def free(self, folder: Path) -> int:
        state = os.statvfs(folder)
        return state.f_bavail * state.f_frsize

    def _sync_folder(self, folder: Path) -> None:
        """A name is data too: it lasts only when its folder is synced."""
        if self.policy != "full":
            return
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def batch(self, steps: Sequence[Step]) -> list[Any]:
        plain = [_plain(step) for step in steps]
        lasting, again = self.policy == "full", False
        outcomes: list[Any] | None = None
        if len(plain) > FEW or (plain and self._workers.started):
            outcomes, again = self._ask("batch", plain, lasting, False), True
            if outcomes is None:
                outcomes = self._ask("batch", plain, lasting, True)
        if outcomes is None:
            outcomes = Batch(plain, lasting, again).run()
        return [_fault(outcome) or outcome for outcome in outcomes]

    def stat(self, path: Path) -> tuple[int, int, str]:
        found = os.lstat(path)
        return found.st_size, found.st_mtime_ns, kind_of(found.st_mode)

    def entries(self, folder: Path, most: int, first: Sequence[str] = ()) -> list[Entry]:
        # Each look at one name has to wait for the interpreter, so that of many is another process's work.
        found: Any = None
        if sum(1 for _ in zip(folder.iterdir(), range(FEW + 1), strict=False)) > FEW:
            found = self._ask("entries", str(folder), most, list(first))
        if found is None:
            found = entries(str(folder), most, first)
        fault = _fault(found)
        if fault is not None:
            raise fault
        return [Entry(name, size, mtime_ns, kind) for mtime_ns, name, size, kind in found]

    def stop(self) -> None:
        self._workers.stop()

    def _ask(self, *asked: Any) -> Any:
        """What a worker answers; None if it ended, or none can be started."""
        try:
            return self._workers.ask(*asked)
        except (Gone, OSError) as why:
            self.log.warn("a process for files: {why}", why=str(why))
            return None


def _plain(step: Step) -> tuple[Any, ...]:
    if isinstance(step, Publish):
        return "publish", str(step.path), step.data, step.compress
    if isinstance(step, Read):
        return "read", str(step.path), step.most
    if isinstance(step, Move):
        return "move", str(step.source), str(step.target), step.stamp
    return "forget", str(step.path), step.stamp


def _fault(outcome: Any) -> OSError | None:
    if isinstance(outcome, tuple) and outcome and outcome[0] == FAULT:
        _, number, text, path = outcome
        return OSError(number, text, path or None)
    return None
