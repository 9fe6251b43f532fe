"""A disk that fills up in the middle of everything: nothing acknowledged is lost, and with room again all goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from files_load import THRESHOLDS, WAYS, check, sending, wait_until_at_rest
from member import Member
from small_disk import small_disk

TIMES = 3  # that it fills up


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 150 MB."""
    with small_disk(tmp_path / "small", 150) as here:
        yield here


def fill(path: Path) -> None:
    """Take every byte that is left, and what is given back within half a second."""
    with path.open("ab", buffering=0) as file:
        end = time.monotonic() + 0.5
        piece = 1 << 20
        while time.monotonic() < end:
            try:
                file.write(bytes(piece))
            except OSError:
                piece = 4096
                time.sleep(0.01)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 10))])
def test_a_disk_that_fills_up(small: Path, seed: int) -> None:
    """Journal, databases, watch directory and archive lie on it; every way in is under load while it is full."""
    node = Member(small / "home", commands=(THRESHOLDS,))
    try:
        node.start()
        with sending(node, WAYS, seed) as senders:
            for number in range(TIMES):
                time.sleep(1.0)
                filler = small / f"filler{number}"
                fill(filler)
                assert node.command("get status").endswith(b"running")
                filler.unlink()
        time.sleep(1.0)
        wait_until_at_rest(node)
        check(node, senders)
    finally:
        node.remove()
