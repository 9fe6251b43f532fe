"""Frames of the peer protocol: length, flags, checksum, one msgpack map (network.md 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct, error
from typing import Any
from zlib import crc32

import msgpack
from attrs import define, field
from lz4.block import LZ4BlockError, compress, decompress

LARGEST = 1 << 20  # bytes of a payload, packed as well as unpacked
COMPRESSED = 1  # flag: the payload is an lz4 block with its size before it
WORTH = 1024  # bytes from which compression is tried

_HEAD = Struct(">IBI")  # bytes of the payload, flags, crc32 of the payload, begun with the flags
_SIZE = Struct("<I")  # how lz4.block stores the unpacked size
_ITEMS = 8192  # of one list or map: a nest of lists that promise much would cost time beyond its size

Message = dict[str, Any]


class Malformed(Exception):
    """What came is no frame; the text says why. Nothing after it can be read."""


def frame(message: Mapping[str, Any], *, squeeze: bool = False, most: int = LARGEST) -> bytes:
    """The bytes of a message; with `squeeze` compressed where that makes them fewer.

    Raises TypeError, ValueError or OverflowError for values that msgpack does not know, and for more than `most`
    bytes before compression.
    """
    payload: bytes = msgpack.packb(message)
    if len(payload) > most:
        raise ValueError(f"{len(payload):,} bytes, at most {most:,}")
    flags = 0
    if squeeze and len(payload) >= WORTH:
        squeezed = compress(payload)
        if len(squeezed) < len(payload):
            payload, flags = squeezed, COMPRESSED
    return _HEAD.pack(len(payload), flags, crc32(payload, flags)) + payload


@define(eq=False)
class FrameReader:
    """Bytes in, whole messages out. Holds at most one frame that is not complete."""

    largest: int = LARGEST  # bytes of a payload
    fault: str = ""  # why nothing more is read
    _held: bytearray = field(factory=bytearray)

    def receive(self, data: bytes) -> Iterator[Message]:
        """The messages that became complete, each read when it is asked for: `largest` may change in between.

        To be taken to the end. After a fault, which is no message, all that comes is dropped.
        """
        if self.fault:
            return
        held: bytes | bytearray = data
        if self._held:
            self._held += data
            held = self._held
        position, end = 0, len(held)
        try:
            while end - position >= _HEAD.size:
                size, flags, check = _HEAD.unpack_from(held, position)
                if size > self.largest:
                    raise Malformed(f"a frame of {size:,} bytes, at most {self.largest:,}")
                start = position + _HEAD.size
                if end - start < size:
                    break
                payload = data[start : start + size] if held is data else bytes(memoryview(held)[start : start + size])
                message = _message(payload, flags, check, self.largest)
                position = start + size
                yield message
        except Malformed as wrong:
            self.fault = str(wrong)
            self._held.clear()
            return
        if held is self._held:
            del self._held[:position]
        elif position < end:
            self._held += memoryview(data)[position:]

    @property
    def held(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._held)


def _message(payload: bytes, flags: int, check: int, largest: int) -> Message:
    if flags & ~COMPRESSED:
        raise Malformed(f"unknown flags {flags:#x}")
    if crc32(payload, flags) != check:
        raise Malformed("wrong checksum")
    try:
        if flags:
            (size,) = _SIZE.unpack_from(payload)
            if size > largest:
                raise Malformed(f"a compressed frame of {size:,} bytes, at most {largest:,}")
            payload = decompress(payload)
        message = msgpack.unpackb(payload, max_array_len=_ITEMS, max_map_len=_ITEMS)
    except (ValueError, TypeError, OverflowError, RecursionError, error, LZ4BlockError) as wrong:
        raise Malformed(f"no message: {str(wrong) or type(wrong).__name__}") from wrong
    if type(message) is not dict:
        raise Malformed(f"a {type(message).__name__}, not a map")
    return message
