"""What was typed before, in a file that only its owner reads; secrets are not in it (cli-console.md 5)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import History

from anylog.disk.durable import RealDisk
from anylog.language.logs import masked

KEPT = 1000  # lines; the file may have twice as many before it is cut


class Remembered(History):
    """The history of all sessions of one user: a line each, the oldest first."""

    def __init__(self, path: Path | None) -> None:
        """Without a path, or where it cannot be written, the history lasts as long as the session."""
        super().__init__()
        self._path = path
        self.pasted = False  # the next lines came from a paste: a block of it is not kept

    def load_history_strings(self) -> Iterable[str]:
        """The newest first, as the base class wants them."""
        return reversed(self.lines())

    def lines(self) -> list[str]:
        """What the file holds, at most `KEPT` lines."""
        if self._path is None:
            return []
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
            if len(lines) > 2 * KEPT:
                RealDisk().publish(self._path, "".join(f"{line}\n" for line in lines[-KEPT:]).encode())
                self._path.chmod(0o600)
        except OSError:
            return []
        return [line for line in lines[-KEPT:] if line.strip()]

    def append_string(self, string: str) -> None:
        """Keep one line; a block is kept as one line, a repeat of the last one is not kept."""
        if self.pasted and "\n" in string.strip():
            return
        line = masked(" ".join(part.strip() for part in string.splitlines()).strip())
        if line and [line] != self.get_strings()[-1:]:
            super().append_string(line)

    def store_string(self, string: str) -> None:
        """Called by the base class."""
        if self._path is None:
            return
        try:
            place = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(place, 0o600)
                os.write(place, f"{string}\n".encode("utf-8", "replace"))
            finally:
                os.close(place)
        except OSError:
            self._path = None
