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
        """It moved into the archive between the look and the reading: it is looked for once more."""
        disk = Moving()
        disk.put(FOLDERS.distr / NAME, b"rows")
        found, later, data = _collect(disk, FOLDERS, [(7, NAME, "260921141320")])
        self.assertEqual(([file.path for file in found], later, data), ([ARCHIVED], [], b"rows"))

    def test_a_file_that_is_not_there(self) -> None:
        """It is neither."""
        self.assertEqual(_collect(MemoryDisk(), FOLDERS, [(7, NAME, "260921141320")]), ([], [], None))
