"""An ordered log with group commit: one lane, one sync for all that waits, success after the sync (hard-parts.md 1).

The journal knows buffers only by their id: which segments hold records of which buffer, so that a segment goes when all
its buffers are done. What records mean is its owner's affair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from anylog.counts import Counts
from anylog.disk.records import (
    RECORD_HEADER,
    SEGMENT_HEADER,
    BufferId,
    Kind,
    pack_record,
    pack_segment,
    scan,
)
from anylog.errors import AnyLogError
from anylog.interfaces import Disk, DiskFile, ILane
from anylog.waiting import deferring

_SEGMENT_NAME = re.compile(r"0[0-9a-f]{15}\.journal")  # what else lies in the folder is not ours
ENOSPC = 28
EDQUOT = 122
PUT_ASIDE = "records put aside"  # what is counted


@frozen
class Stored:
    """Where a record lies: what is needed to read it back."""

    sequence: int
    kind: Kind
    buffer: BufferId
    segment: int
    offset: int
    size: int


@define(eq=False)
class _Segment:
    number: int
    path: Path
    size: int
    end: int
    file: DiskFile | None = None
    buffers: set[BufferId] = field(factory=set)
    # Segments that are still there, with records of buffers of which one here tells that they are done with.
    speaks_for: set[int] = field(factory=set)
    told_by: set[int] = field(factory=set)  # the other way round


@define(eq=False)
class _Waiting:
    sequence: int
    kind: Kind
    buffer: BufferId
    body: bytes
    told: Deferred[Stored]


@define(kw_only=True, eq=False)
class Journal:
    """Keeps records in order until their buffers are done.

    `most`: bytes of all segments together, beyond which `append` fails with 502. `token(n)` gives n random bytes.
    `point(name)` is called in the lane at the named moments where a test may kill the process.
    """

    _disk: Disk
    _lane: ILane
    _making: ILane  # where segments are made before they are needed
    folder: Path
    _token: Callable[[int], bytes]
    segment_size: int = 16 << 20
    most: int = 512 << 20
    point: Callable[[str], None] = field(default=lambda name: None)
    # Begin to write at the end of the reactor's turn: what came in one turn shares one sync.
    _soon: Callable[[Callable[[], object]], object] = field(default=lambda write: write())
    counts: Counts = field(factory=Counts)
    broken: str = ""  # why nothing is promised any more
    log = Logger()

    _epoch: bytes = b""
    _next_sequence: int = 1
    _synced: int = 0
    _next_number: int = 1
    _next_segment: int = 1
    _segments: dict[int, _Segment] = field(factory=dict)
    _size: int = 0  # of all of them
    _places: dict[BufferId, set[int]] = field(factory=dict)
    _current: _Segment | None = None
    _spare: Deferred[DiskFile | None] | None = None  # the next segment, being made or ready
    _waiting: list[_Waiting] = field(factory=list)
    _writing: bool = False
    _idle: list[Deferred[None]] = field(factory=list)

    async def open(self) -> list[Stored]:
        """Read what the disk holds, oldest first, and be ready for new records. Raises AnyLogError 504.

        Bodies stay on disk (`read`). A damaged segment is reported and a copy of it kept aside under `.damaged`.
        """
        self._epoch = self._token(8)
        try:
            found = await self._lane.run(self._scan_all)
        except OSError as fault:
            raise AnyLogError(504, f"the journal in {self.folder} cannot be read: {fault}") from fault
        return found

    def new_buffer(self) -> BufferId:
        """An id that no buffer ever had."""
        number, self._next_number = self._next_number, self._next_number + 1
        return BufferId(self._epoch, number)

    def append(self, kind: Kind, buffer: BufferId, body: bytes = b"") -> Deferred[Stored]:
        """Add a record; fires once it is synced. Fails with AnyLogError 502 (full), 503 (disk full) or 504 (broken)."""
        told: Deferred[Stored] = Deferred()
        if self.broken:
            told.errback(AnyLogError(504, self.broken))
            return told
        if self.size >= self.most and kind in (Kind.OPEN, Kind.ROWS, Kind.WHOLE):
            told.errback(AnyLogError(502, f"{self.size} bytes wait in the journal to be loaded"))
            return told
        sequence, self._next_sequence = self._next_sequence, self._next_sequence + 1
        self._waiting.append(_Waiting(sequence, kind, buffer, body, told))
        if not self._writing:
            self._writing = True
            self._soon(self._begin_write)
        return told

    def read(self, wanted: Iterable[Stored]) -> Deferred[list[bytes]]:
        """The bodies of records, in the order asked."""
        places = [(self._segments[each.segment], each.offset, each.size) for each in wanted]
        return self._lane.run(_read_all, self._disk, places)

    @deferring
    async def put_aside(self, record: Stored, why: str) -> Path:
        """Keep the body of a record that nobody understands, whatever becomes of its segment. Raises AnyLogError 503.

        Doing it twice gives one file.
        """
        path = self.folder / f"{record.buffer}-{record.sequence}.unreadable"
        place = self._segments[record.segment], record.offset, record.size
        try:
            await self._lane.run(lambda: self._disk.publish(path, _read_all(self._disk, [place])[0]))
        except OSError as fault:
            raise AnyLogError(503, f"{path} cannot be written: {fault.strerror or fault}") from None
        self.counts.add(PUT_ASIDE, 1, f"{path}: {why}")
        self.log.critical("a record of the journal is put aside as {path}: {why}", path=path, why=why)
        return path

    def release(self, buffer: BufferId, told: int | None = None) -> None:
        """All that became of `buffer` lasts elsewhere: its segments may go.

        `told`: the segment of the record that says so. It stays as long as one that others keep has records of
        `buffer`, or these would be read back without it.
        """
        teller = self._segments.get(told) if told is not None else None
        for number in sorted(self._places.pop(buffer, ())):
            segment = self._segments[number]
            segment.buffers.discard(buffer)
            gone = self._let_go(segment)
            if teller is not None and not gone and number < teller.number:
                teller.speaks_for.add(number)
                segment.told_by.add(teller.number)

    def _let_go(self, segment: _Segment) -> bool:
        """Remove it if nothing needs it any more, and those that were needed for it alone; whether it is gone."""
        if segment.buffers or segment.speaks_for or segment is self._current:
            return False
        self._forget(segment)
        for number in sorted(segment.told_by):
            teller = self._segments[number]
            teller.speaks_for.discard(segment.number)
            self._let_go(teller)
        return True

    def moved(self, buffer: BufferId, segment: int) -> None:
        """Nothing in `segment` is needed any more for `buffer`: its records were written again further on."""
        held = self._places.get(buffer, set())
        if segment in held and held != {segment}:
            held.discard(segment)
            kept = self._segments[segment]
            kept.buffers.discard(buffer)
            self._let_go(kept)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._size

    def oldest(self, most: int) -> list[tuple[int, frozenset[BufferId]]]:
        """Up to `most` of the oldest segments that are not being written, each with the buffers that keep it."""
        settled = (segment for segment in self._segments.values() if segment is not self._current)
        return [(segment.number, frozenset(segment.buffers)) for segment in islice(settled, most)]

    def holding(self, buffer: BufferId) -> list[Path]:
        """The segments with records of `buffer`, the oldest first; what is synced may be read there by `scan`."""
        return [self._path(number) for number in sorted(self._places.get(buffer, ()))]

    async def close(self) -> None:
        """Wait for what is being written and let the files go. An empty journal leaves no segment behind."""
        if self._writing:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle
        self.broken = self.broken or "the journal is closed"
        spare = await self._spare if self._spare is not None else None
        if spare is not None:
            spare.close()
            await self._lane.run(self._disk.forget, self._path(self._next_segment))
        current, self._current = self._current, None
        if current is not None:
            self._let_go(current)
        await self._lane.run(self._close_all)

    def _begin_write(self) -> None:
        self._write().addErrback(lambda failure: self.log.failure("writing the journal", failure))

    @deferring
    async def _write(self) -> None:
        """Write and sync all that waits, tell, and again, until nothing waits. No timer (platform-notes.md 7)."""
        try:
            while self._waiting and not self.broken:
                batch, self._waiting = self._waiting, []
                try:
                    await self._write_batch(batch)
                except Exception as fault:
                    # A fault of ours: what is on disk is not known any more, and nobody may wait for ever.
                    self.log.failure("writing the journal")
                    self._break(fault, [each for each in batch if not each.told.called])
        finally:
            self._writing = False
            idle, self._idle = self._idle, []
            for told in idle:
                told.callback(None)

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        while batch:
            segment = self._current
            first = RECORD_HEADER + len(batch[0].body)
            if segment is None or segment.end + first > segment.size:
                try:
                    segment = await self._next(max(self.segment_size, SEGMENT_HEADER + first))
                except (OSError, AnyLogError) as fault:
                    self._refuse(batch, fault)
                    return
            start = position = segment.end
            parts: list[bytes] = []
            taken: list[tuple[_Waiting, Stored]] = []
            for each in batch:
                size = RECORD_HEADER + len(each.body)
                if position + size > segment.size:
                    break
                parts.append(pack_record(each.sequence, self._synced, each.kind, each.buffer, each.body))
                parts.append(each.body)
                where = position + RECORD_HEADER
                taken.append(
                    (each, Stored(each.sequence, each.kind, each.buffer, segment.number, where, len(each.body)))
                )
                position += size
                segment.buffers.add(each.buffer)
                self._places.setdefault(each.buffer, set()).add(segment.number)
            batch = batch[len(taken) :]
            if start == SEGMENT_HEADER:
                parts.insert(0, pack_segment(self._epoch, segment.number, self._synced))
                start = 0
            segment.end = position
            if position > segment.size // 2:
                self._provide()
            assert segment.file is not None
            try:
                await self._lane.run(self._keep, segment.file, start, parts)
            except (OSError, AnyLogError) as fault:  # the lane may refuse, too
                self._break(fault, [each for each, _ in taken] + batch)
                return
            self._synced = taken[-1][0].sequence
            self.counts.add("syncs")
            self.counts.add("records", len(taken))
            for each, stored in taken:
                each.told.callback(stored)

    def _keep(self, file: DiskFile, offset: int, parts: list[bytes]) -> None:
        file.write(offset, b"".join(parts))
        self.point("written")
        file.sync()
        self.point("synced")

    async def _next(self, size: int) -> _Segment:
        """Begin a new segment of at least `size` bytes. Its header lasts with its first records."""
        file = None
        if self._spare is not None:
            spare, self._spare = self._spare, None
            file = await spare
        if file is not None and size != self.segment_size:
            file.close()  # made anew under the same name, larger
            file = None
        number = self._next_segment
        path = self._path(number)
        if file is None:
            file = await self._making.run(self._disk.create, path, size)
        self._next_segment = number + 1
        before, self._current = self._current, _Segment(number, path, size, SEGMENT_HEADER, file)
        self._segments[number] = self._current
        self._size += size
        if before is not None:
            self._let_go(before)
        return self._current

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:016x}.journal"

    def _provide(self) -> None:
        """Have the next segment made beside the writing: reserving it takes longer than a sync."""
        if self._spare is None:

            def absent(failure: Failure) -> None:
                # No room, perhaps: whoever needs the segment tries again and hears of it.
                failure.trap(OSError, AnyLogError)

            path = self._path(self._next_segment)
            made = self._making.run(self._disk.create, path, self.segment_size)
            self._spare = made.addCallbacks(lambda file: file, absent)

    def _refuse(self, batch: list[_Waiting], fault: OSError | AnyLogError) -> None:
        """Nothing was written, so nothing is broken: say no to those who wait, and try again with the next."""
        full = isinstance(fault, OSError) and fault.errno in (ENOSPC, EDQUOT)
        error = AnyLogError(503 if full else 504, f"the journal cannot grow: {fault}")
        self.counts.add("refused", len(batch), str(fault))
        for each in batch:
            each.told.errback(error)

    def _break(self, fault: Exception, unkept: list[_Waiting]) -> None:
        """A failed write or sync is final: the kernel may have dropped the pages (hard-parts.md 1.2)."""
        self.broken = f"the journal failed and promises nothing more: {fault}"
        self.log.critical("{why}", why=self.broken)
        self.counts.add("broken", 1, str(fault))
        waiting, self._waiting = self._waiting, []
        for each in unkept + waiting:
            each.told.errback(AnyLogError(504, self.broken))

    def _forget(self, segment: _Segment) -> None:
        """Remove a segment whose buffers are all done. Doing it late or twice is harmless, so nobody waits for it."""
        del self._segments[segment.number]
        self._size -= segment.size
        self._lane.run(self._remove, segment).addErrback(
            lambda failure: self.log.error("segment {path} stays: {why}", path=segment.path, why=failure.value)
        )

    def _remove(self, segment: _Segment) -> None:
        if segment.file is not None:
            segment.file.close()
        self._disk.forget(segment.path)

    def _close_all(self) -> None:
        for segment in self._segments.values():
            if segment.file is not None:
                segment.file.close()
                segment.file = None

    def _scan_all(self) -> list[Stored]:
        """In the lane: every readable record of every segment; blocking."""
        self._disk.make(self.folder)
        found: list[Stored] = []
        before: tuple[int, Path, bytes, int] | None = None
        for name in self._disk.names(self.folder):
            path = self.folder / name
            if not _SEGMENT_NAME.fullmatch(name):
                continue
            data = self._disk.read(path)
            seen = scan(data)
            number = int(path.stem, 16)
            self._next_segment = max(self._next_segment, number + 1)
            if seen is None:
                # A segment that was never begun holds no promise; one with data in it is damage.
                if data.strip(b"\0"):
                    self._aside(path, data, "its header is not readable")
                self._disk.forget(path)
                continue
            if before is not None and before[0] == number - 1 and before[3] < seen.synced:
                # The segment before it was synced to its end before this one began. (One between them may be gone.)
                self._aside(before[1], before[2], f"it ends after record {before[3]}, not {seen.synced}")
            if seen.damage:
                self._aside(path, data, seen.damage)
            before = (number, path, data, seen.last)
            segment = self._segments[number] = _Segment(number, path, len(data), seen.end)
            for record in seen.records:
                self._next_sequence = max(self._next_sequence, record.sequence + 1)
                segment.buffers.add(record.buffer)
                self._places.setdefault(record.buffer, set()).add(number)
                found.append(Stored(record.sequence, record.kind, record.buffer, number, record.offset, record.size))
            if not segment.buffers:
                del self._segments[number]
                self._disk.forget(path)
            self._next_sequence = max(self._next_sequence, seen.last + 1)
        self._size = sum(segment.size for segment in self._segments.values())
        if before is not None and before[0] in self._segments:
            self._keep_found(self._segments[before[0]], before[2])
        self._synced = self._next_sequence - 1
        return found

    def _keep_found(self, segment: _Segment, data: bytes) -> None:
        """What was read of the newest segment may be in the memory of the kernel alone, which would not tell.

        So it is after a process was killed between a write and its sync, and after a sync that failed, whose pages the
        kernel holds for written: hence it is written again, and not only synced.
        """
        segment.file = self._disk.open(segment.path)
        segment.file.write(0, data[: segment.end])
        segment.file.sync()

    def _aside(self, path: Path, data: bytes, why: str) -> None:
        kept = path.with_suffix(".damaged")
        self._disk.publish(kept, data)
        self.counts.add("damaged", 1, f"{path.name}: {why}")
        self.log.critical("journal segment {path} is damaged: {why}; kept as {kept}", path=path, why=why, kept=kept)


def _read_all(disk: Disk, places: list[tuple[_Segment, int, int]]) -> list[bytes]:
    bodies = []
    for segment, offset, size in places:
        if segment.file is None:
            segment.file = disk.open(segment.path)
        bodies.append(segment.file.read(offset, size))
    return bodies
