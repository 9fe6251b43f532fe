"""What the message broker must remember, as a journal in a folder of its own (see `wire.mqtt_records`).

Each record of the journal holds the records of one call of `keep`, whole or not at all. When the log has grown to a
multiple of what it amounts to, that is written behind it, in pieces between which new records go on, with a last one
that says how far it covers the log; then the segments before it go. It is made from the log alone and in slices in a
lane, so that it is a state of one moment, all of which is synced, and costs the reactor next to nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.disk.journal import Journal, Stored
from anylog.disk.records import BufferId, Kind, scan
from anylog.disk.steps import Steps
from anylog.errors import AnyLogError
from anylog.interfaces import Disk, DiskFile, ILane
from anylog.waiting import deferring
from anylog.wire.mqtt_records import Came, Record, pack, unpack
from anylog.wire.mqtt_replay import Replay

_RECORDS, _PIECE, _BASE = Kind.ROWS, Kind.CUT, Kind.DONE  # the journal's names for what is kept here
_NUMBER = struct.Struct("<Q")  # of a call of `keep`, before its records
_COVER = struct.Struct(
    "<QI"
)  # before a piece: last sequence covered, place among the pieces; last of all: their number
_SIZE = struct.Struct("<I")  # of a packed record, before it

FILES = 32  # segments that are open at once for reading: a long log has more than a process may open
SLICE = 200  # records that are read or made before others may use the lane

T = TypeVar("T")
_Place = tuple[Path, int, int]  # segment, offset and size of a packed record


@define(eq=False)
class _Base:
    """A short log that stands for all up to a sequence number."""

    buffer: BufferId
    covers: int
    size: int  # bytes


@define(kw_only=True, eq=False)
class BrokerStore:
    """Keeps the records of a broker: `load` once, then `keep`, and `close`.

    After a `keep` that failed nothing of it may be acknowledged. Its records are not given up: they are written before
    those of the next call, which may bring them again as its first ones (the very same objects) or leave them out. So
    nothing is written twice, and no hole is left in the log. It is for the caller to read from nobody meanwhile and to
    try again a little later; that bounds what waits here.
    """

    _disk: Disk
    _lane: ILane  # of one thread: writes and syncs
    _making: ILane  # where segments are made before they are needed
    _work: ILane  # reads, and makes the log short
    folder: Path
    _token: Callable[[int], bytes]
    _now: Callable[[], float]  # unix seconds
    segment_size: int = 4 << 20
    most: int = 1 << 40  # bytes on disk beyond which `keep` fails with 502
    least: int = 16 << 20  # bytes of records before the log is made short at all
    factor: int = 4  # and how many times as long as its short form it is then, at least
    piece: int = 256 << 10  # bytes that are written at a time then
    point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    failing: str = ""  # why the last `keep` failed; empty again once one did not
    log = Logger()

    _journal: Journal = field(init=False)
    _begun: bool = False  # there is one
    _live: BufferId = field(init=False)  # of the records that are written now
    _lives: list[BufferId] = field(factory=list)  # of all that no base covers
    _base: _Base | None = None
    _rows: int = 0  # bytes of records behind the base
    _next: int = 0  # bytes behind it from which it is made short again, after that has failed
    _last: int = 0  # sequence number of the last of them
    _number: int = 0  # of the last call of `keep` that was written
    _waiting: list[tuple[list[Record], Deferred[None]]] = field(factory=list)
    _writing: bool = False
    _owed: list[Record] = field(factory=list)  # of calls of `keep` that failed
    _there: int = 0  # how many of them were found to be kept all the same
    _unsure: tuple[BufferId, int, int] | None = None  # where to look, number of the call, and how many more that may be
    _shortening: Deferred[None] | None = None
    _opened: bool = False
    _closed: bool = False
    _idle: list[Deferred[None]] = field(factory=list)

    # ------------------------------------------------------------------ from the disk

    @deferring
    async def load(self) -> Iterable[Record]:
        """Records for `Hub.restore`: the state that was kept, nothing that is over. To be called once, first.

        What is damaged is kept aside and reported; what then makes no sense any more is left out and counted. Fails
        with AnyLogError 504.
        """
        await self._open()
        steps = Steps(self._work, self._loaded(*self._sources()))
        try:
            found, wrong = await steps.result()
        except OSError as fault:
            raise AnyLogError(504, f"what the message broker kept in {self.folder} cannot be read: {fault}") from fault
        self._opened = True
        if wrong:
            self.counts.add("unfollowed", len(wrong), wrong[0])
            self.log.error(
                "{number} records that the message broker kept follow nothing and are left out; the first: {why}",
                number=len(wrong),
                why=wrong[0],
            )
        if wrong or self.counts["damaged"]:
            self._next = 0
            self._shorten()  # so that it is reported once, and not at each start
        else:
            self._look()
        return found

    async def _open(self) -> list[Stored]:
        """Read the journal, decide where its log begins, and let go of what is before. Raises AnyLogError 504."""
        journal = self._journal = Journal(
            disk=self._disk,
            lane=self._lane,
            making=self._making,
            folder=self.folder,
            token=self._token,
            segment_size=self.segment_size,
            most=self.most,
            point=self.point,
            counts=self.counts,
        )
        self._begun = True
        journal.broken = "it was not read"  # else it would begin anew, over what is there
        try:
            found = await journal.open()
            self._base = await self._chosen(found)
        except (OSError, AnyLogError) as fault:
            raise AnyLogError(504, str(fault)) from fault
        journal.broken = ""
        covered = self._base.covers if self._base else 0
        rows = [each for each in found if each.kind is _RECORDS and each.sequence > covered]
        self._rows, self._next = sum(each.size for each in rows), 0
        self._last = max([covered, *(each.sequence for each in rows)])
        self._live = journal.new_buffer()
        self._lives = [*dict.fromkeys(each.buffer for each in rows), self._live]
        needed = {*self._lives, self._base.buffer if self._base else self._live}
        for buffer in dict.fromkeys(each.buffer for each in found):
            if buffer not in needed:
                journal.release(buffer)
        return rows

    async def _chosen(self, found: list[Stored]) -> _Base | None:
        """The newest short log that was finished."""
        pieces: dict[BufferId, list[Stored]] = {}
        for each in found:
            if each.kind is _PIECE:
                pieces.setdefault(each.buffer, []).append(each)
        for end in [each for each in found if each.kind is _BASE][-1:]:
            (body,) = await self._journal.read([end])
            covers, number = _COVER.unpack_from(body)
            there = pieces.get(end.buffer, [])
            if len(there) != number:
                why = f"{number - len(there)} of {number} pieces of the short log are missing"
                self.counts.add("damaged", 1, why)
                self.log.critical("what the message broker kept is damaged: {why}", why=why)
            return _Base(end.buffer, covers, sum(each.size for each in there))
        for buffer, there in reversed(pieces.items()):
            (body,) = await self._journal.read(there[:1])
            covers, _ = _COVER.unpack_from(body)
            if not any(each.kind is _RECORDS and each.sequence <= covers for each in found):
                # What it stands for was removed, so it was finished: its end was damaged.
                self.counts.add("damaged", 1, "the end of the short log is missing")
                self.log.critical("what the message broker kept is damaged: the end of the short log is missing")
                return _Base(buffer, covers, sum(each.size for each in there))
        return None

    def _sources(self) -> tuple[_Base | None, list[Path], list[Path], int]:
        """What `_replayed` is to read."""
        rows = dict.fromkeys(path for buffer in self._lives for path in self._journal.holding(buffer))
        base = self._journal.holding(self._base.buffer) if self._base else []
        return self._base, base, sorted(rows), self._last

    def _loaded(
        self, base: _Base | None, pieces: list[Path], rows: list[Path], last: int
    ) -> Generator[None, None, tuple[list[Record], list[str]]]:
        """In the lane: the records for a hub, and what could not follow."""
        replay: Replay[_Place] = Replay()
        wrong = yield from self._replayed(replay, base, pieces, rows, last)
        found: list[Record] = []
        with _Places(self._disk) as places:
            for record in replay.records(places.message, self._now()):
                found.append(record)
                if not len(found) % SLICE:
                    yield
        return found, wrong

    def _replayed(
        self, replay: Replay[_Place], base: _Base | None, pieces: list[Path], rows: list[Path], last: int
    ) -> Generator[None, None, list[str]]:
        """In the lane: bring the whole log into `replay`; what could not follow."""
        wrong: list[str] = []
        covered, done = 0, 0
        parts: list[tuple[list[Path], Callable[[Kind, BufferId, int], bool], int]] = []
        if base is not None:
            covered = base.covers
            parts.append((pieces, lambda kind, buffer, _: kind is _PIECE and buffer == base.buffer, _COVER.size))
        parts.append((rows, lambda kind, _, number: kind is _RECORDS and covered < number <= last, _NUMBER.size))
        for paths, wanted, head in parts:
            for path in paths:
                data = self._disk.read(path)
                seen = scan(data)
                for each in seen.records if seen is not None else ():
                    if not wanted(each.kind, each.buffer, each.sequence):
                        continue
                    for offset, packed in _split(data, each.offset + head, each.offset + each.size):
                        try:
                            why = replay.apply(unpack(packed), (path, offset, len(packed)))
                        except ValueError as fault:
                            why = str(fault)
                        if why:
                            wrong.append(why)
                        done += 1
                        if not done % SLICE:
                            yield
                yield
        return wrong

    # ------------------------------------------------------------------ to the disk

    def keep(self, records: Sequence[Record]) -> Deferred[None]:
        """Fires once they are synced; what is asked meanwhile shares the next sync.

        Fails with AnyLogError 502 (at `most`), 503 (disk full), 504 (the disk failed) or 506 (closed).
        """
        told: Deferred[None] = Deferred()
        if self._closed or not self._opened:
            why = "closed" if self._closed else "not loaded"
            told.errback(AnyLogError(506 if self._closed else 504, f"what the message broker keeps is {why}"))
            return told
        self._waiting.append((list(records), told))
        if not self._writing:
            self._writing = True
            self._write().addErrback(lambda failure: self.log.failure("keeping records of the broker", failure))
        return told

    @deferring
    async def _write(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                try:
                    await self._append([record for records, _ in asked for record in records])
                except Exception as fault:
                    if not isinstance(fault, AnyLogError):  # ours: nobody may wait for ever
                        self.log.failure("keeping records of the broker")
                        fault = AnyLogError(500, str(fault))
                    self._failed(fault)
                    for _, told in asked:
                        told.errback(AnyLogError(fault.number, fault.detail))
                else:
                    if self.failing:
                        self.log.info("the message broker keeps its records again")
                        self.failing = ""
                    self._look()
                    for _, told in asked:
                        told.callback(None)
        finally:
            self._writing = False
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)

    def _failed(self, fault: AnyLogError) -> None:
        self.counts.add("unkept", 1, str(fault))
        first, self.failing = not self.failing, str(fault)
        if first:
            self.log.error("the message broker cannot keep its records: {why}", why=self.failing)
            if fault.number in (502, 503) and self._rows > (self._base.size if self._base else 0):
                self._shorten()  # in the room that is left: then there is more

    async def _append(self, records: list[Record]) -> None:
        """All that is owed, and these. Raises AnyLogError, and owes all of it then."""
        owed = self._owed
        again = len(records) >= len(owed) and all(ours is theirs for ours, theirs in zip(owed, records, strict=False))
        self._owed = records if again else owed + records
        if self._journal.broken:
            await self._open_anew()
        missing = self._owed[self._there :]
        if missing:
            self._number += 1
            number, buffer = self._number, self._live
            body = b"".join([_NUMBER.pack(number), *_joined(missing)])
            try:
                stored = await self._journal.append(_RECORDS, buffer, body)
            except AnyLogError as fault:
                if self._journal.broken:
                    self._unsure = buffer, number, len(missing)
                if fault.number == 502:
                    raise AnyLogError(502, f"it holds {self._journal.size} bytes, {self.most} at most") from fault
                raise
            self._last = stored.sequence
            self._rows += len(body)
        self._owed, self._there = [], 0

    async def _open_anew(self) -> None:
        """The journal promises nothing more: go on from what the disk holds. Raises AnyLogError."""
        if self._shortening is not None:
            await _ended(self._shortening)
        try:
            await self._journal.close()
        except (OSError, AnyLogError) as fault:
            self.log.warn("closing the broken journal of the broker: {why}", why=str(fault))
        rows = await self._open()
        if self._unsure is not None:
            buffer, number, count = self._unsure
            if rows and rows[-1].buffer == buffer:
                (body,) = await self._journal.read(rows[-1:])
                if _NUMBER.unpack_from(body) == (number,):
                    self._there += count
            self._unsure = None
        self.counts.add("opened anew")
        self.log.warn("what the message broker keeps was opened anew")

    # ------------------------------------------------------------------ the short log

    def _look(self) -> None:
        """Make the log short if it is worth it."""
        living = self._base.size if self._base else 0
        if self._rows >= max(self.least, (self.factor - 1) * living, self._next):
            self._shorten()

    def _shorten(self) -> None:
        if self._shortening is None and not self._closed:
            # No record is being written at this moment: those before it are covered, and have buffers of their own.
            sources, before = self._sources(), self._lives
            self._live = self._journal.new_buffer()
            self._lives = [*before, self._live]
            ended = self._short(self._journal, sources, before)
            if not ended.called:
                self._shortening = ended
                ended.addBoth(self._over)

    def _over(self, result: T) -> T:
        self._shortening = None
        return result

    @deferring
    async def _short(
        self, journal: Journal, sources: tuple[_Base | None, list[Path], list[Path], int], before: list[BufferId]
    ) -> None:
        base, _, _, covers = sources
        made, rows = journal.new_buffer(), self._rows
        steps = Steps(self._work, self._pieces(*sources))
        count = size = 0
        try:
            while not self._closed:
                piece, _, over = await steps.next()
                if over:
                    break
                if piece:
                    size += len(piece)
                    await journal.append(_PIECE, made, _COVER.pack(covers, count) + piece)
                    count += 1
            if self._closed:
                raise AnyLogError(506, "it was closed")
            await journal.append(_BASE, made, _COVER.pack(covers, count))
        except Exception as fault:  # nothing is lost by it: the long log is all there
            if not journal.broken:  # else its end may be found all the same, and then it counts
                journal.release(made)
            self._next = self._rows + self.least
            if isinstance(fault, AnyLogError | OSError):
                self.counts.add("not shortened", 1, str(fault))
                self.log.warn("the log of the message broker stays long: {why}", why=str(fault))
            else:
                self.log.failure("the log of the message broker stays long")
            return
        finally:
            steps.close()
        self._base, self._next = _Base(made, covers, size), 0
        self._rows -= rows
        self._lives = [each for each in self._lives if each not in before]
        for buffer in before if base is None else [base.buffer, *before]:
            journal.release(buffer)
        self.counts.add("shortened")

    def _pieces(
        self, base: _Base | None, pieces: list[Path], rows: list[Path], last: int
    ) -> Generator[bytes, None, None]:
        """In the lane: the short log. An empty piece says only that others may use the lane."""
        replay: Replay[_Place] = Replay()
        for _ in self._replayed(replay, base, pieces, rows, last):
            yield b""
        parts: list[bytes] = []
        size = 0
        with _Places(self._disk) as places:
            for number, part in enumerate(_joined(replay.records(places.message, self._now()))):
                parts.append(part)
                size += len(part)
                if size >= self.piece:
                    yield b"".join(parts)
                    parts, size = [], 0
                elif not number % SLICE:
                    yield b""
        yield b"".join(parts)

    # ------------------------------------------------------------------ the end

    @deferring
    async def close(self) -> None:
        """Wait for what is being written, and let the files go; a second time it waits for nothing."""
        if self._closed:
            return
        self._closed = True
        if self._writing:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle
        if self._shortening is not None:
            await _ended(self._shortening)
        if self._begun:
            try:
                await self._journal.close()
            except (OSError, AnyLogError) as fault:
                self.log.warn("closing the journal of the broker: {why}", why=str(fault))


def _ended(waited: Deferred[None]) -> Deferred[None]:
    """Fires when it does, beside whoever else waits for it."""
    ended: Deferred[None] = Deferred()

    def tell(result: T) -> T:
        ended.callback(None)
        return result

    waited.addBoth(tell)
    return ended


def _joined(records: Sequence[Record] | Iterator[Record]) -> Iterator[bytes]:
    for record in records:
        packed = pack(record)
        yield _SIZE.pack(len(packed)) + packed


def _split(data: bytes, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The packed records in a part of a segment, each with its offset."""
    while begin < end:
        (size,) = _SIZE.unpack_from(data, begin)
        begin += _SIZE.size
        yield begin, data[begin : begin + size]
        begin += size


@define(eq=False)
class _Places:
    """Messages read back from their places."""

    _disk: Disk
    _files: dict[Path, DiskFile] = field(factory=dict)

    def __enter__(self) -> _Places:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def message(self, place: _Place) -> bytes:
        """That of a `Came`. Raises OSError, or ValueError if something else lies there."""
        path, offset, size = place
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= FILES:
                self._files.pop(next(iter(self._files))).close()
            file = self._files[path] = self._disk.open(path)
        record = unpack(file.read(offset, size))
        if not isinstance(record, Came):
            raise ValueError(f"no message at {offset} of {path}")
        return record.message
