"""A file system with little room, for tests of full disks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(here: Path, megabytes: int) -> Iterator[Path]:
    """A tmpfs in that folder, which is made, unmounted at the end. Skips the test where nobody may mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    here.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(here)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small tmpfs failed: {mounted.stderr.decode()}")
    try:
        yield here
    finally:
        subprocess.run(["umount", "-l", str(here)], check=False)
