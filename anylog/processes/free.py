"""Whether the disk has room for readings (architecture.md 7)."""

from __future__ import annotations

from pathlib import Path

from attrs import define

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk

EVERY = 0.5  # seconds between looks at the disk


@define(kw_only=True, eq=False)
class Free:
    """Knows how many bytes are free beside a folder, as of a moment ago."""

    _clock: Clock
    _disk: Disk
    _folder: Path
    _looked: float = -1e9
    _bytes: int = 0

    def refusal(self, floor: int) -> AnyLogError | None:
        """Why nothing is taken, if it is less than `floor`."""
        now = self._clock.seconds()
        if now - self._looked >= EVERY:
            try:
                self._bytes = self._disk.free(self._folder)
            except OSError as fault:
                return AnyLogError(504, f"the folder of the journal cannot be used: {fault}")
            self._looked = now
        if self._bytes < floor:
            return AnyLogError(503, f"{self._bytes:,} bytes of disk are free, {floor:,} are needed")
        return None
