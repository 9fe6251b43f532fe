"""The archive: files of readings by the day of their registration, `YY/MM/DD` (operator-ha.md 3.5). Blocking."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from anylog.disk.names import LARGEST_ID
from anylog.errors import AnyLogError
from anylog.interfaces import Disk, Read

LARGEST = 64 << 20  # bytes of one file, also unpacked
ARCHIVED = 8 * LARGEST  # of one that lies in the own archive: once there was no limit to what came as a stream
_PIECE = 1 << 20


def folder_of(root: Path, date: str) -> Path:
    """The directory of a file whose TSD date is `date`, 12 digits YYMMDDHHMMSS."""
    return root / date[:2] / date[2:4] / date[4:6]


def ids_in(disk: Disk, folder: Path, member: int | str) -> dict[int, str]:
    """Id -> name of the files of that member in one directory. Raises OSError."""
    found = {}
    for name in disk.names(folder):
        parts = name.split(".")
        if len(parts) >= 9 and parts[5] == str(member) and parts[6].isdecimal():
            found[int(parts[6])] = name
    return found


def highest_id(disk: Disk, root: Path, member: int | str, today: str = "", below: int = LARGEST_ID + 1) -> int:
    """The highest id below `below` of that member's files; 0 if there is none. Raises OSError.

    A member's ids go up with its time, so it is in the newest day that has any of its files. Days behind `today`
    (YYMMDD, empty: any) are looked at, too, and prove nothing: a clock was wrong once.
    """
    highest = 0
    for day in days_in(disk, root):
        found = [id for id in ids_in(disk, folder_of(root, day), member) if id < below]
        highest = max([highest, *found])
        if found and not (today and day > today):
            break
    return highest


def days_in(disk: Disk, root: Path) -> Iterator[str]:
    """The days of the archive as YYMMDD, the newest first. Raises OSError."""
    for year in _numbers(disk, root):
        for month in _numbers(disk, root / year):
            for day in _numbers(disk, root / year / month):
                yield f"{year}{month}{day}"


def _numbers(disk: Disk, folder: Path) -> list[str]:
    return sorted((name for name in disk.names(folder) if len(name) == 2 and name.isdecimal()), reverse=True)


def read_archived(disk: Disk, path: Path) -> bytes:
    """The content of one file, unpacked. Raises OSError, AnyLogError 6 or 501."""
    (outcome,) = disk.batch([Read(path, ARCHIVED)])
    if isinstance(outcome, OSError):
        raise outcome
    data: bytes = outcome[0]
    return unpacked(path, data)


def unpacked(path: Path, data: bytes) -> bytes:
    """What a file of the archive holds. Raises AnyLogError 6 or 501."""
    return gunzip(data, ARCHIVED) if path.name.endswith(".gz") else data


def gunzip(data: bytes, most: int) -> bytes:
    """Unpack gzip (RFC 1952, several members too), `most` bytes at the most: a small file may hold a huge one.

    Raises AnyLogError 6 if it is damaged or cut, 501 if it holds more.
    """
    made: list[bytes] = []
    size = 0
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        while not unpacker.eof:
            try:
                piece = unpacker.decompress(data, min(_PIECE, most + 1 - size))
            except zlib.error as error:
                raise AnyLogError(6, f"the gzip file is damaged: {error}") from None
            data = unpacker.unconsumed_tail
            size += len(piece)
            if size > most:
                raise AnyLogError(501, f"the gzip file holds more than {most:,} bytes")
            made.append(piece)
            if not piece and not data and not unpacker.eof:
                raise AnyLogError(6, "the gzip file is cut off")
        data = unpacker.unused_data
        if data and not data.strip(b"\0"):
            break  # what is padded to blocks ends in zeros
    return b"".join(made)
