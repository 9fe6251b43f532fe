"""Files that other members ask for, while the distributor moves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from anylog.interfaces import Move, Step
from anylog.processes.exchange import Folders, _collect
from anylog.testing.disk import MemoryDisk

NAME = "town.t.0.0123456789abcdef0123456789abcdef.0.3.7.260921141320.json"
FOLDERS = Folders(watch=Path("/watch"), archive=Path("/archive"), distr=Path("/distr"), error=Path("/error"))
ARCHIVED = Path("/archive/26/09/21") / NAME


class Moving(MemoryDisk):
    """Just before a file is read it goes on into the archive."""

    def batch(self, steps: Sequence[Step]) -> list[Any]:
        if self.names(FOLDERS.distr):
            super().batch([Move(FOLDERS.distr / NAME, ARCHIVED)])
        return super().batch(steps)


class CollectTests(SynchronousTestCase):
    def test_a_file_on_its_way(self) -> None:
        """It is for later, and no missing one: then it is found in the archive."""
        disk = Moving()
        disk.put(FOLDERS.distr / NAME, b"rows")
        asked = [(7, NAME, "260921141320")]
        self.assertEqual(_collect(disk, FOLDERS, asked), ([], [7], b""))
        found, later, data = _collect(disk, FOLDERS, asked)
        self.assertEqual(([file.path for file in found], later, data), ([ARCHIVED], [], b"rows"))

    def test_a_file_that_is_not_there(self) -> None:
        """It is neither."""
        self.assertEqual(_collect(MemoryDisk(), FOLDERS, [(7, NAME, "260921141320")]), ([], [], None))
