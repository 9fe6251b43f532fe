"""What lanes do in a watch directory: a look at it, and order after whoever was killed (operator-ha.md 3.1, 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from anylog.interfaces import Disk, Entry, Forget
from anylog.processes.lying import DRAFTS


@frozen
class Look:
    """What a lane saw."""

    free: int
    stamp: object  # of the directory itself
    entries: Sequence[Entry] | None  # None: as before


def look_at(disk: Disk, folder: Path, most: int, known: object, ends: Sequence[str]) -> Look:
    """In a lane: the entries of the directory, unless its stamp is `known`; names with these ends are seen before any
    others, however many there are. Raises OSError."""
    free, stamp = disk.free(folder), disk.stat(folder)
    return Look(free, stamp, None if stamp == known else disk.entries(folder, most, ends))


def clear_drafts(disk: Disk, folder: Path) -> None:
    """In a lane: delete what was being written when somebody was killed (operator-ha.md 3.4)."""
    steps = [Forget(folder / name) for name in disk.names(folder) if name.endswith(DRAFTS)]
    if steps:
        disk.batch(steps)
