"""A disk in memory that forgets what was not synced, and can be full or broken (architecture.md 11)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field

from anylog.disk.batch import packed
from anylog.interfaces import Entry, Forget, Move, Publish, Read, Step

ENDLESS = 1 << 40  # bytes that nobody writes


@define(eq=False)
class MemoryFile:
    """One open file of a `MemoryDisk`."""

    _disk: MemoryDisk
    _inode: _Inode
    _held: str = ""

    def write(self, offset: int, data: bytes) -> None:
        self._disk.touch("write")
        self._disk.need(max(0, offset + len(data) - len(self._inode.data)))
        _put(self._inode.data, offset, data)
        self._inode.unsynced.append((offset, bytes(data)))

    def sync(self) -> None:
        self._disk.touch("sync")
        self._inode.sync()

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._inode.data[offset : offset + size])

    def close(self) -> None:
        self._disk.locked.discard(self._held)


@define(eq=False)
class _Inode:
    data: bytearray
    lasting: bytearray
    unsynced: list[tuple[int, bytes]] = field(factory=list)
    changed: int = 0
    kind: str = "file"

    def sync(self) -> None:
        for offset, written in self.unsynced:
            _put(self.lasting, offset, written)
        self.unsynced.clear()


@define(eq=False)
class MemoryDisk:
    """Files in memory. `capacity`: bytes that fit; `fails`: "write" and "sync" raise EIO, "grow" raises ENOSPC.

    What is published, moved or removed lasts at once. In folders of `refuses` nothing can be changed. `point` is told
    before each write, sync and change.
    """

    capacity: int = ENDLESS
    fails: set[str] = field(factory=set)
    calls: int = 0
    locked: set[str] = field(factory=set)
    refuses: set[Path] = field(factory=set)
    changes: int = 0
    point: Callable[[str], None] = field(default=lambda name: None)
    _files: dict[str, _Inode] = field(factory=dict)

    def touch(self, kind: str) -> None:
        """Count a call that may fail."""
        self.calls += 1
        self.point(kind)
        if kind in self.fails:
            raise OSError(errno.EIO, f"{kind} failed")

    def need(self, size: int) -> None:
        """Raise ENOSPC if `size` more bytes do not fit."""
        full = self.capacity < ENDLESS and size > self.free(Path("/"))
        if full or (size and "grow" in self.fails):
            raise OSError(errno.ENOSPC, "No space left on device")

    def publish(self, final: Path, data: bytes) -> None:
        self.touch("write")
        self.need(len(data))
        self.touch("sync")
        self.put(final, data)

    def put(self, path: Path, data: bytes, *, changed: int | None = None, kind: str = "file") -> None:
        """Somebody else writes a file, or makes something of another kind, at a time in nanoseconds."""
        self._may_change(path)
        self.changes += 1
        at = self.changes if changed is None else changed
        self._files[str(path)] = _Inode(bytearray(data), bytearray(data), changed=at, kind=kind)

    def create(self, path: Path, size: int) -> MemoryFile:
        _may_be_called(path)
        self.touch("write")
        self.need(size)
        inode = self._files[str(path)] = _Inode(bytearray(size), bytearray(size))
        return MemoryFile(self, inode)

    def open(self, path: Path) -> MemoryFile:
        return MemoryFile(self, self._inode(path))

    def read(self, path: Path) -> bytes:
        return bytes(self._inode(path).data)

    def move(self, source: Path, target: Path) -> None:
        self.point("move")
        self._may_change(source)
        self._may_change(target)
        self.changes += 1
        inode = self._inode(source)
        del self._files[str(source)]
        self._files[str(target)] = inode

    def forget(self, path: Path) -> None:
        self.point("forget")
        self._may_change(path)
        self.changes += 1
        self._files.pop(str(path), None)

    def batch(self, steps: Sequence[Step]) -> list[Any]:
        return [self._step(step) for step in steps]

    def _step(self, step: Step) -> Any:
        self.point("step")
        try:
            match step:
                case Publish(path, data, compress):
                    content = packed(data) if compress else data
                    if str(path) in self._files:
                        return "same" if self._files[str(path)].data == content else "other"
                    self.publish(path, content)
                    return "new"
                case Read(path, most):
                    inode = self._inode(path)
                    if inode.kind != "file":
                        raise OSError(errno.EINVAL, "Not a regular file", str(path))
                    if len(inode.data) > most:
                        raise OSError(errno.EFBIG, "File too large", str(path))
                    return bytes(inode.data), len(inode.data), inode.changed
                case Move(source, target, stamp):
                    self._check(source, stamp)
                    if str(target) in self._files:
                        raise FileExistsError(errno.EEXIST, "File exists", str(target))
                    return self.move(source, target)
                case Forget(path, stamp):
                    self._check(path, stamp)
                    return self.forget(path)
        except OSError as fault:
            return fault

    def _check(self, path: Path, stamp: tuple[int, int] | None) -> None:
        inode = self._files.get(str(path))
        if stamp is not None and inode is not None and (len(inode.data), inode.changed) != stamp:
            raise OSError(errno.ESTALE, "It was replaced meanwhile", str(path))

    def stat(self, path: Path) -> tuple[int, int, str]:
        if str(path) in self._files:
            inode = self._inode(path)
            return len(inode.data), inode.changed, inode.kind
        return 0, self.changes, "folder"  # every folder is there

    def entries(self, folder: Path, most: int, first: Sequence[str] = ()) -> list[Entry]:
        below = f"{str(folder).rstrip('/')}/"
        found = [
            Entry(name, len(inode.data), inode.changed, inode.kind)
            for path, inode in self._files.items()
            if path.startswith(below) and "/" not in (name := path[len(below) :])
        ]
        ends = tuple(first)
        found.sort(key=lambda each: (bool(ends) and not each.name.endswith(ends), each.mtime_ns, each.name))
        return found[:most]

    def stop(self) -> None:
        pass  # nothing was started

    def _may_change(self, path: Path) -> None:
        _may_be_called(path)
        if path.parent in self.refuses:
            raise OSError(errno.EROFS, "Read-only file system", str(path))

    def names(self, folder: Path) -> list[str]:
        below = f"{str(folder).rstrip('/')}/"
        return sorted({path[len(below) :].partition("/")[0] for path in self._files if path.startswith(below)})

    def under(self, folder: Path) -> dict[str, bytes]:
        """Path -> content of every file below a folder, by path."""
        below = f"{str(folder).rstrip('/')}/"
        return {path: bytes(inode.data) for path, inode in sorted(self._files.items()) if path.startswith(below)}

    def make(self, folder: Path) -> None:
        pass  # every folder is there

    def lock(self, path: Path) -> MemoryFile:
        if str(path) in self.locked:
            raise BlockingIOError(errno.EAGAIN, "held by another")
        self.locked.add(str(path))
        inode = self._files.setdefault(str(path), _Inode(bytearray(), bytearray()))
        return MemoryFile(self, inode, str(path))

    def free(self, folder: Path) -> int:
        return self.capacity - sum(len(inode.data) for inode in self._files.values())

    def crash(self, chance: Random, power: bool = True) -> MemoryDisk:
        """The disk as it is found after a power cut: of what was not synced, each write lasts, is torn, or is gone.

        Without `power` it is the process alone that was killed: all writes last.
        """
        found: dict[str, _Inode] = {}
        for path, inode in sorted(self._files.items()):
            data = bytearray(inode.lasting if power else inode.data)
            for offset, written in inode.unsynced if power else ():
                fate = chance.random()
                if fate < 0.3:
                    _put(data, offset, written)
                elif fate < 0.7:
                    begin, end = sorted(chance.randint(0, len(written)) for _ in range(2))
                    _put(data, offset + begin, written[begin:end])
            found[path] = _Inode(data, bytearray(data), changed=inode.changed, kind=inode.kind)
        return MemoryDisk(capacity=self.capacity, files=found, changes=self.changes)

    def damage(self, path: Path, offset: int, data: bytes) -> None:
        """Overwrite bytes behind everybody's back."""
        inode = self._inode(path)
        _put(inode.data, offset, data)
        inode.sync()

    def _inode(self, path: Path) -> _Inode:
        try:
            return self._files[str(path)]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "No such file", str(path)) from None


def _may_be_called(path: Path) -> None:
    if len(path.name.encode(errors="surrogateescape")) > 255:  # as most file systems have it
        raise OSError(errno.ENAMETOOLONG, "File name too long", str(path))


def _put(data: bytearray, offset: int, written: bytes) -> None:
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(written)] = written
