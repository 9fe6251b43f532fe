"""The archive: files of readings by the day of their registration, `YY/MM/DD` (operator-ha.md 3.5). Blocking."""

from __future__ import annotations

import zlib
from pathlib import Path

from anylog.errors import AnyLogError
from anylog.interfaces import Disk, Read

LARGEST = 64 << 20  # bytes of one file, also unpacked
_PIECE = 1 << 20


def folder_of(root: Path, date: str) -> Path:
    """The directory of a file whose TSD date is `date`, 12 digits YYMMDDHHMMSS."""
    return root / date[:2] / date[2:4] / date[4:6]


def find(disk: Disk, root: Path, date: str, member: int | str, id: int) -> Path | None:
    """The file of that member and id, packed or not; None if it is not in its directory. Raises OSError."""
    folder = folder_of(root, date)
    part = f".{member}.{id}.{date}."
    return next((folder / name for name in disk.names(folder) if part in name and not name.startswith(".")), None)


def read_archived(disk: Disk, path: Path, most: int = LARGEST) -> bytes:
    """The content of one file, unpacked. Raises OSError, AnyLogError 6 or 501."""
    (outcome,) = disk.batch([Read(path, most)])
    if isinstance(outcome, OSError):
        raise outcome
    data: bytes = outcome[0]
    return gunzip(data, most) if path.name.endswith(".gz") else data


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
