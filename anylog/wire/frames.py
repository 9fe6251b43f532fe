"""Frames between nodes: length, flags, checksum, msgpack (network.md 8).

A frame is a 4-byte length of what follows the header, a byte of flags (1: lz4 block), a crc32 of what follows, and a
msgpack map. The length is checked before anything is held.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any
from zlib import crc32

import lz4.block
import msgpack

HEADER = Struct(">IBI")
LARGEST = 1 << 20  # bytes of a payload, also once it is decompressed
COMPRESSED = 1  # flag
WORTH = 1024  # bytes of a payload from which compressing is tried
DEEPEST = 32  # maps within maps


class Malformed(Exception):
    """Bytes that are no frame; the connection they came on cannot be trusted any further."""


def frame(message: Mapping[str, Any], compress: bool = True) -> bytes:
    """The bytes of one message. Raises ValueError for one that is too large to be sent."""
    payload: bytes = msgpack.packb(message)
    flags = 0
    if len(payload) > LARGEST:
        raise ValueError(f"a message of {len(payload):,} bytes, at most {LARGEST:,}")
    if compress and len(payload) >= WORTH:
        smaller = lz4.block.compress(payload)
        if len(smaller) < len(payload):
            payload, flags = smaller, COMPRESSED
    return HEADER.pack(len(payload), flags, crc32(payload)) + payload


class FrameReader:
    """Bytes in, whole messages out."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def held(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._held)

    def receive(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are complete now. Raises Malformed."""
        held = self._held
        held += data
        at, found = 0, []
        while len(held) - at >= HEADER.size:
            size, flags, sum = HEADER.unpack_from(held, at)
            if size > LARGEST:
                raise Malformed(f"a frame of {size:,} bytes, at most {LARGEST:,}")
            if flags & ~COMPRESSED:
                raise Malformed(f"a frame with unknown flags {flags:#x}")
            begin = at + HEADER.size
            if len(held) - begin < size:
                break
            payload = bytes(memoryview(held)[begin : begin + size])
            if crc32(payload) != sum:
                raise Malformed("a frame with a wrong checksum")
            found.append(_message(payload, flags))
            at = begin + size
        if at:
            del held[:at]
        return found


def _message(payload: bytes, flags: int) -> dict[str, Any]:
    if flags & COMPRESSED:
        if len(payload) < 4 or int.from_bytes(payload[:4], "little") > LARGEST:
            raise Malformed("a compressed frame that is too large")
        try:
            payload = lz4.block.decompress(payload)
        except lz4.block.LZ4BlockError as wrong:
            raise Malformed(f"a frame that cannot be decompressed: {wrong}") from None
    try:
        message = msgpack.unpackb(payload, max_str_len=LARGEST, max_bin_len=LARGEST)
    except (ValueError, msgpack.UnpackException, RecursionError) as wrong:
        raise Malformed(f"a frame that is no msgpack: {wrong}") from None
    if type(message) is not dict:
        raise Malformed(f"a frame that is no map but {type(message).__name__}")
    return message
