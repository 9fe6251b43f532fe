"""SQLite files that forget what was not synced: a VFS for apsw, so that power can be cut (architecture.md 11).

Real files are written as ever; beside each, the image of what would be found after a power cut is kept: it takes over a
write when the file is synced. `cut` writes those images, with unsynced writes lasting, torn or gone, to another folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import apsw


class PowerVFS(apsw.VFS):
    """A VFS under a name of its own on top of the system's."""

    def __init__(self, name: str, point: Callable[[str], None] = lambda name: None) -> None:
        self.name = name
        self.point = point  # told before each write, truncation and sync
        self.images: dict[str, Image] = {}
        self.gone: set[str] = set()
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> PowerFile:
        return PowerFile(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:
        super().xDelete(name, sync)
        # A name that went may come back until something is synced after it: file systems keep that order.
        self.gone.add(name)
        if sync:
            self.synced()

    def synced(self) -> None:
        """Something was synced: names that went before are gone for good."""
        for name in self.gone:
            self.images.pop(name, None)
        self.gone.clear()

    def cut(self, source: Path, target: Path, chance: Random | None) -> None:
        """Write what would be found of the files under `source` to `target`; without a chance nothing is lost."""
        for path in sorted(source.rglob("*")):  # files of before that were not opened yet
            if path.is_file() and not path.name.endswith("-shm") and str(path) not in self.images:
                self.images[str(path)] = Image(path.read_bytes())
        for name, image in sorted(self.images.items()):
            path = Path(name)
            back = name not in self.gone or (chance is not None and chance.random() < 0.5)
            if source in path.parents and back and not name.endswith("-shm"):
                found = target / path.relative_to(source)
                found.parent.mkdir(parents=True, exist_ok=True)
                found.write_bytes(image.found(chance))

    def connect(self, path: str, readonly: bool = False) -> apsw.Connection:
        """A connection on this VFS."""
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        return apsw.Connection(path, flags=flags, vfs=self.name)


class Image:
    """One file as it would be found after a power cut, and the writes since its last sync."""

    def __init__(self, data: bytes = b"") -> None:
        self.lasting = bytearray(data)
        self.unsynced: list[tuple[int, bytes | None]] = []  # None: truncated to that size

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _apply(self.lasting, offset, data)
        self.unsynced.clear()

    def found(self, chance: Random | None) -> bytes:
        data = bytearray(self.lasting)
        if chance is None:
            for offset, written in self.unsynced:
                _apply(data, offset, written)
            return bytes(data)
        for offset, written in self.unsynced:
            fate = chance.random()
            if written is None or fate < 0.3:
                if fate < 0.3:
                    _apply(data, offset, written)
            elif fate < 0.7:
                # Sectors are torn apart, not bytes: a disk writes 512 bytes or none of them.
                begin, end = sorted(chance.randint(0, len(written) // 512 + 1) * 512 for _ in range(2))
                if written[begin:end]:
                    _apply(data, offset + begin, written[begin:end])
        return bytes(data)


class PowerFile(apsw.VFSFile):
    """A file whose writes are noted until they are synced."""

    def __init__(self, vfs: PowerVFS, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._image: Image | None = None
        self._vfs = vfs
        if name is not None:
            key = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
            if key in vfs.gone:  # made anew: nothing of the old file is in it
                vfs.gone.discard(key)
                vfs.images[key] = Image()
            if key not in vfs.images:
                path = Path(key)
                vfs.images[key] = Image(path.read_bytes() if path.exists() else b"")
            self._image = vfs.images[key]

    def xWrite(self, data: bytes, offset: int) -> None:
        self._vfs.point("xWrite")
        super().xWrite(data, offset)
        if self._image is not None:
            self._image.unsynced.append((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        self._vfs.point("xTruncate")
        super().xTruncate(size)
        if self._image is not None:
            self._image.unsynced.append((size, None))

    def xSync(self, flags: int) -> None:
        self._vfs.point("xSync")
        super().xSync(flags)
        if self._image is not None:
            self._image.sync()
        self._vfs.synced()


def _apply(data: bytearray, offset: int, written: bytes | None) -> None:
    if written is None:
        del data[offset:]
        return
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(written)] = written
