"""How the journal looks on disk: segments of records, each with a checksum (hard-parts.md 1.1). Pure: bytes to values.

Segment: a header, then records without gaps; the rest of the reserved file reads as zeros.
Record: length u32, crc32 u32, sequence u64, synced u64, kind u8, 3 zero bytes, epoch 8 bytes, number u32, body.
`length` counts the body, the crc covers all behind itself. `synced` is the highest sequence that was known to last when
the record was written: a bad record whose number is not above the `synced` of a later good one was promised to somebody
and is damage; any other bad record is the torn tail of the last, unanswered write.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from enum import IntEnum

from attrs import frozen

_MAGIC = b"ALjournl"
_SEGMENT = struct.Struct("<8sHxxxxxx8sQQ")  # magic, version, epoch, segment number, last sequence synced before it
_VERSION = 1
SEGMENT_HEADER = _SEGMENT.size + 4
_OUTER = struct.Struct("<II")
_INNER = struct.Struct("<QQB3x8sI")
RECORD_HEADER = _OUTER.size + _INNER.size


class Kind(IntEnum):
    """What a record says of its buffer."""

    OPEN = 1  # a buffer begins; body: its JSON description
    ROWS = 2  # readings; body: `pack_rows`
    CUT = 3  # no more readings come; body: its JSON description again, if it has the id of its file by then
    DONE = 4  # all that became of it lasts elsewhere; body: `pack_ids` of others of which the same is true
    WHOLE = 5  # readings of a buffer that has no other record; body: `pack_rows`, which describes the buffer, too


@frozen
class BufferId:
    """Names a buffer for ever: the epoch is random at each opening of a journal, the number counts within it.

    So an id never returns, even if a power cut took the last records of the epoch before (hard-parts.md 1.1, 3.4).
    """

    epoch: bytes
    number: int

    def __str__(self) -> str:
        return f"{self.epoch.hex()}-{self.number}"


_KINDS = frozenset(map(int, Kind))
_ID = struct.Struct("<8sI")


@frozen
class Record:
    """One record as read back; `offset` is where its body begins in the segment."""

    sequence: int
    synced: int
    kind: Kind
    buffer: BufferId
    offset: int
    size: int


@frozen
class Scan:
    """What a segment holds."""

    epoch: bytes
    number: int
    synced: int  # the last sequence that was synced before the segment began
    last: int  # the last sequence read, or `synced`
    records: tuple[Record, ...]
    damage: str  # what was promised and cannot be read, or an empty text
    end: int  # where the next record would begin


def pack_segment(epoch: bytes, number: int, synced: int) -> bytes:
    """The header of a segment; all records up to `synced` were safe in older ones when it began."""
    header = _SEGMENT.pack(_MAGIC, _VERSION, epoch, number, synced)
    return header + struct.pack("<I", zlib.crc32(header))


def pack_record(sequence: int, synced: int, kind: Kind, buffer: BufferId, body: bytes) -> bytes:
    """The header of one record; its body follows."""
    inner = _INNER.pack(sequence, synced, kind, buffer.epoch, buffer.number)
    return _OUTER.pack(len(body), zlib.crc32(body, zlib.crc32(inner))) + inner


def pack_ids(buffers: Iterable[BufferId]) -> bytes:
    """Ids of buffers, one behind the other."""
    return b"".join([_ID.pack(each.epoch, each.number) for each in buffers])


def unpack_ids(packed: bytes) -> list[BufferId]:
    """The ids of `pack_ids`."""
    return [BufferId(*each) for each in _ID.iter_unpack(packed)]


def pack_rows(meta: bytes, body: bytes) -> bytes:
    """The body of a ROWS record: a short description (JSON, may be empty) and the readings as they came."""
    return len(meta).to_bytes(4, "little") + meta + body


def unpack_rows(packed: bytes) -> tuple[bytes, bytes]:
    """The description and the readings of a ROWS record."""
    size = 4 + int.from_bytes(packed[:4], "little")
    return packed[4:size], packed[size:]


def scan(data: bytes) -> Scan | None:
    """Read a segment; None if even its header is not readable.

    Reading goes on behind a bad record if a good one can be found there, so damage costs no more than itself.
    """
    if len(data) < SEGMENT_HEADER:
        return None
    header = data[: _SEGMENT.size]
    if int.from_bytes(data[_SEGMENT.size : SEGMENT_HEADER], "little") != zlib.crc32(header):
        return None
    magic, version, epoch, number, synced = _SEGMENT.unpack(header)
    if magic != _MAGIC or version != _VERSION:
        return None
    records: list[Record] = []
    damage = ""
    position = SEGMENT_HEADER
    promised = 0
    missing = -1  # where a bad stretch began
    for record in _records(data, position):
        begins = record.offset - RECORD_HEADER
        last = records[-1].sequence if records else synced
        if begins != position and missing < 0:
            missing = position
        promised = max(promised, record.synced)
        if missing >= 0 and promised > last:
            damage = damage or f"unreadable bytes {missing} to {begins}, after record {last}"
        if missing >= 0 and not damage:
            # Behind the torn tail of an unanswered write: parts of the same write. Nobody was promised any of it.
            break
        records.append(record)
        position = record.offset + record.size
        missing = -1
    last = records[-1].sequence if records else synced
    return Scan(epoch, number, synced, last, tuple(records), damage, position)


def _records(data: bytes, position: int) -> Iterator[Record]:
    """Good records from `position` on, in order; bytes that are none are passed over."""
    view = memoryview(data)
    written = len(data.rstrip(b"\0"))
    while position + RECORD_HEADER <= len(data):
        record = _record(view, position)
        if record is None:
            if position >= written:
                return
            position += 1
            continue
        yield record
        position = record.offset + record.size


def _record(view: memoryview, position: int) -> Record | None:
    size, crc = _OUTER.unpack_from(view, position)
    sequence, synced, kind, epoch, number = _INNER.unpack_from(view, position + _OUTER.size)
    offset = position + RECORD_HEADER
    if kind not in _KINDS or offset + size > len(view) or synced >= sequence:
        return None
    if zlib.crc32(view[position + _OUTER.size : offset + size]) != crc:
        return None
    return Record(sequence, synced, Kind(kind), BufferId(bytes(epoch), number), offset, size)
