"""Where scripts are looked for, and how they are read (language.md 9)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from attrs import define

from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Disk, ILane
from anylog.waiting import deferring

LONGEST_SCRIPT = 4 << 20  # bytes
_OPEN = ("local_scripts", "scripts_dir", "test_dir")  # folders whose scripts others may run, if they may run any


@define
class ScriptFiles:
    """The scripts of one node."""

    places: Places
    disk: Disk
    lane: Callable[[], ILane]

    @deferring
    async def read(self, name: str, folder: str, local: bool = True) -> tuple[str, str]:
        """The path and text of a script: as given, else in the folder of who asks, else under the local scripts.

        Raises AnyLogError 112; 212 for a path outside of the folders of scripts, if somebody of elsewhere names it.
        """
        tried = [Path(name), *([Path(folder, name)] if folder else []), self.places.folder("local_scripts") / name]
        for path in tried:
            try:
                data = await self.lane().run(self._bytes, path, local)
                return str(path), data.decode()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as fault:
                raise AnyLogError(112, f"script {path} cannot be read: {fault}") from fault
        raise AnyLogError(112, f"Missing script file: {', nor '.join(map(str, dict.fromkeys(tried)))}")

    def _bytes(self, path: Path, local: bool) -> bytes:
        """In a lane: a file of a bounded size; what is no file might never end."""
        real = Path(os.path.realpath(path))
        if not local:
            folders = [os.path.realpath(self.places.folder(key)) for key in _OPEN]
            if not any(real.is_relative_to(folder) for folder in folders):
                if not path.is_absolute():
                    raise FileNotFoundError(path)
                raise AnyLogError(212, f"script {path} lies outside of the folders of scripts of this node")
        size, _, kind = self.disk.stat(real)
        if kind == "folder":
            raise FileNotFoundError(path)
        if kind != "file":
            raise AnyLogError(112, f"script {path} is no regular file")
        if size > LONGEST_SCRIPT:
            raise AnyLogError(112, f"script {path} has {size:,} bytes, it may have {LONGEST_SCRIPT:,}")
        return self.disk.read(real)
