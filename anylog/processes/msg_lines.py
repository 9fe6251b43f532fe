"""Files that grow by a line for each message: what is only logged, what could not be mapped (ingest.md 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import define
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Disk, ILane


@define(kw_only=True, eq=False)
class LineFiles:
    """Appends to files in a lane of their own, so that lines of one file do not mix."""

    _disk: Disk
    _lane: ILane

    def append(self, lines: Sequence[tuple[Path, bytes]]) -> Deferred[None]:
        """Add each text to its file; fires when all of them last. Fails with AnyLogError 14 naming the file."""
        return self._lane.run(append, self._disk, lines)


def append(disk: Disk, lines: Sequence[tuple[Path, bytes]]) -> None:
    """Blocking. Raises AnyLogError 14."""
    together: dict[Path, list[bytes]] = {}
    for path, text in lines:
        together.setdefault(path, []).append(text)
    for path, texts in together.items():
        try:
            _append(disk, path, b"".join(texts))
        except OSError as why:
            raise AnyLogError(14, f"{path}: {why}") from None


def _append(disk: Disk, path: Path, data: bytes) -> None:
    try:
        file = disk.open(path)
    except FileNotFoundError:
        disk.make(path.parent)
        disk.publish(path, b"")
        file = disk.open(path)
    try:
        size = disk.stat(path)[0]
        if size and file.read(size - 1, 1) != b"\n":
            data = b"\n" + data  # a crash cut off what came before
        file.write(size, data)
        file.sync()
    finally:
        file.close()
