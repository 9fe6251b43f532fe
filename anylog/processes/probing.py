"""Whether a directory can be used; in a lane."""

from __future__ import annotations

import errno
from pathlib import Path

from anylog.errors import AnyLogError
from anylog.interfaces import Disk, Forget, Publish

PROBE = ".anylog.probe"


def check_folder(disk: Disk, words: str, key: str, folder: Path, *, make: bool = False) -> None:
    """It is there and can be written to; with `make` it is made if it is missing. `words` is the command, and `key` its
    option. Raises AnyLogError 33."""
    try:
        if make:
            disk.make(folder)
        disk.names(folder)
        if disk.stat(folder)[2] not in ("folder", "link"):
            raise OSError(errno.ENOTDIR, "not a directory")
        for outcome in disk.batch([Publish(folder / PROBE, b""), Forget(folder / PROBE)]):
            if isinstance(outcome, OSError):
                raise outcome
    except OSError as why:
        raise AnyLogError(33, f"{words}: {key} {str(folder)[:200]}: {why.strerror or why}") from None
