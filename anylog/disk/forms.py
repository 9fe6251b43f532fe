"""From one form of a file to another, slice by slice: gzip and base64. Pure."""

from __future__ import annotations

import binascii
import zlib
from base64 import b64encode
from collections.abc import Iterator

from anylog.errors import AnyLogError

SLICE = 1 << 20  # bytes that are worked on at once
LARGEST_RATIO = 100  # of what is unpacked to what is packed (security.md 9) ...
ALWAYS = 64 << 20  # ... beyond so many bytes


def plain(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """As it is."""
    return chunks


def gzipped(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """RFC 1952, without name and time: equal content gives equal files."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    for data in chunks:
        yield packer.compress(data)
    yield packer.flush()


def gunzipped(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Back again, also several members one after the other. AnyLogError 63 if it is none, or 501 for a bomb."""
    most, made, unpacker, begun = max(ALWAYS, size * LARGEST_RATIO), 0, zlib.decompressobj(31), False
    for data in chunks:
        while data:
            if unpacker.eof:
                if not data.strip(b"\0"):
                    break  # padding behind the last member
                unpacker, begun = zlib.decompressobj(31), False
            try:
                unpacked = unpacker.decompress(data, SLICE)
            except zlib.error as wrong:
                raise AnyLogError(63, f"not compressed with gzip, or damaged: {wrong}") from None
            begun = True
            made += len(unpacked)
            if made > most:
                raise AnyLogError(501, f"more than {most:,} bytes come out of {size:,}")
            yield unpacked
            data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    while begun and not unpacker.eof and (unpacked := unpacker.decompress(unpacker.unconsumed_tail, SLICE)):
        yield unpacked
    if not begun or not unpacker.eof:
        raise AnyLogError(63, "not compressed with gzip, or it ends too early")


def encoded(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Base64, in one line."""
    kept = b""
    for data in chunks:
        data = kept + data
        whole = len(data) - len(data) % 3
        kept = data[whole:]
        yield b64encode(data[:whole])
    yield b64encode(kept)


def decoded(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Base64 in one line or many. AnyLogError 63 for anything else."""
    kept, ended = b"", False
    for data in chunks:
        data = kept + data.translate(None, b" \t\r\n")
        whole = len(data) - len(data) % 4
        kept, data = data[whole:], data[:whole]
        if ended and data:
            raise AnyLogError(63, "not base64: it goes on behind its end")
        ended = data.endswith(b"=")
        yield _from_base64(data)
    if kept:
        raise AnyLogError(63, "not base64, or it ends too early")


def _from_base64(data: bytes) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True) if data else b""
    except binascii.Error as wrong:
        raise AnyLogError(63, f"not base64: {wrong}") from None
