"""Where readings go, whatever door they came through: journal, yes, database (hard-parts.md 1, architecture.md 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.databases.tables import RESERVED
from anylog.disk.journal import Journal, Stored
from anylog.disk.records import BufferId, Kind, pack_rows, unpack_rows
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Lanes, Receipt
from anylog.mapping.body import content_hash, normal_form
from anylog.processes.buffers import Buffer, Pending, Traffic, Where
from anylog.processes.loading import Agree, Loader, Schemas
from anylog.processes.once import Once
from anylog.processes.thresholds import Thresholds
from anylog.tank import Tank
from anylog.waiting import deadline, deferring, gather, pause

FLOOR = 24 << 20  # bytes of free disk below which doors refuse
LONGEST_KEY = 200  # characters of an Idempotency-Key; of a longer one its hash is kept
IN_MEMORY = 24 << 20  # bytes of readings held to be loaded, beyond which the yes waits
LARGE = 256 << 10  # bytes of a whole file from which its hash is worth a hop to another thread
READ_AT_ONCE = 256  # journal records read back together at a start
RELIEVED = 8  # of the oldest segments looked at in one go
ANEW = 1.0  # seconds before a journal that failed is opened anew


class Databases(Protocol):
    """What the intake asks of the catalog."""

    def get(self, name: str) -> Schemas:
        """The connected database of that name; AnyLogError 5."""

    def watch(self, told: Callable[[str, bool], None]) -> None:
        """Call `told(name, connected)`."""


@define(kw_only=True, eq=False)
class Intake:
    """Takes readings in, keeps them safe, and sees them into their tables."""

    _clock: Clock
    _disk: Disk
    _lanes: Lanes
    _folder: Path
    _databases: Databases
    _agree: Agree
    _token: Callable[[int], bytes]
    thresholds: Thresholds = field(factory=Thresholds)
    point: Callable[[str], None] = field(default=lambda name: None)
    _soon: Callable[[Callable[[], object]], object] = field(default=lambda call: call())  # at the end of this turn
    _gather: float = 0.0  # see `Loader`
    segment_size: int = 16 << 20
    most: int = 512 << 20
    counts: Counts = field(factory=Counts)
    traffic: dict[tuple[str, str], Traffic] = field(factory=dict)
    log = Logger()

    journal: Journal = field(init=False)
    once: Once = field(init=False)
    tank: Tank = field(init=False)
    _open: dict[Where, Buffer] = field(factory=dict)
    _buffers: dict[BufferId, Buffer] = field(factory=dict)  # all that are not done
    _loaders: dict[str, Loader] = field(factory=dict)
    _attaching: dict[str, list[Deferred[None]]] = field(factory=dict)
    _carrying: set[BufferId] = field(factory=set)
    _closing: bool = False
    _ready: bool = False
    _free: tuple[float, int] = (-1e9, 0)

    def __attrs_post_init__(self) -> None:
        self.once = Once(counts=self.counts)
        self.tank = Tank(IN_MEMORY // 2, IN_MEMORY)
        self.journal = self._new_journal()
        self._databases.watch(self._connected)

    # Starting and stopping

    async def start(self) -> None:
        """Read the journal; what is not loaded yet follows as its databases are connected. There is no other start."""
        stored = await self.journal.open()
        bodies: dict[BufferId, bytes] = {}
        opened = [each for each in stored if each.kind is Kind.OPEN]
        for each, body in zip(opened, await self.journal.read(opened), strict=True):
            bodies[each.buffer] = body
        done = {each.buffer for each in stored if each.kind is Kind.DONE}
        for id, body in bodies.items():
            if id not in done:
                self._buffers[id] = Buffer.described(id, body, self._clock.seconds())
        await self._recall([each for each in stored if each.kind is Kind.ROWS and each.buffer in self._buffers])
        for id in {each.buffer: None for each in stored}:
            if id not in self._buffers:
                self.journal.release(id)
        self._ready = True
        for name in sorted(self._attaching):
            self._attach(name)
        if self._buffers:
            rows = sum(len(buffer.pending) for buffer in self._buffers.values())
            self.log.info("{records} records of the journal are looked after", records=rows)

    async def _recall(self, stored: Sequence[Stored]) -> None:
        """Hang the records of unfinished buffers on them, each once, in order; and the keys they carry."""
        seen: set[tuple[BufferId, int]] = set()
        for first in range(0, len(stored), READ_AT_ONCE):
            part = stored[first : first + READ_AT_ONCE]
            for each, packed in zip(part, await self.journal.read(part), strict=True):
                meta, _ = unpack_rows(packed)
                told = orjson.loads(meta) if meta else {}
                sequence = told.get("was", each.sequence)
                if (each.buffer, sequence) in seen:
                    continue
                seen.add((each.buffer, sequence))
                buffer = self._buffers[each.buffer]
                key = told.get("key", "")
                buffer.pending.append(Pending(each, sequence, each.size, None, key))
                if key:
                    where = buffer.where
                    self.once.remember(
                        (where.dbms, where.table, key), told["at"], Receipt(buffer.whole or "0", told["rows"])
                    )
        for buffer in self._buffers.values():
            ordered = sorted(buffer.pending, key=lambda pending: pending.sequence)
            buffer.pending.clear()
            buffer.pending.extend(ordered)
            buffer.last = ordered[-1].sequence if ordered else 0

    async def stop(self, seconds: float = 10.0) -> None:
        """Take nothing more, cut all, load what can be loaded within `seconds`, and close the journal."""
        self._closing = True
        await self.flush(seconds)
        for name in list(self._loaders):
            await self._loaders[name].stop()
        await self.journal.close()

    async def flush(self, seconds: float = 10.0) -> int:
        """Cut every open buffer and wait until it is loaded; give how many there were."""
        due = list(self._open.values())
        await gather([self._cut(buffer) for buffer in due])
        for name, loader in sorted(self._loaders.items()):
            try:
                await deadline(self._clock, seconds, loader.drained(), f"loading into {name}")
            except AnyLogError as late:
                self.log.warn("{why}; it stays in the journal", why=str(late))
        return len(due)

    # Readings come in

    def refusal(self) -> AnyLogError | None:
        """Why nothing is taken at the moment, or None; asked before a body is read."""
        if self._closing:
            return AnyLogError(506, "the node is shutting down")
        if not self._ready:
            return AnyLogError(502, "the journal is being read")
        if self.journal.broken:
            return AnyLogError(504, self.journal.broken)
        if self.journal.size >= self.most:
            return AnyLogError(502, f"{self.journal.size:,} bytes wait in the journal to be loaded")
        now = self._clock.seconds()
        if now - self._free[0] >= 0.5:
            try:
                self._free = (now, self._disk.free(self._folder))
            except OSError as fault:
                return AnyLogError(504, f"the folder of the journal cannot be used: {fault}")
        if self._free[1] < FLOOR:
            return AnyLogError(503, f"{self._free[1]:,} bytes of disk are free, {FLOOR:,} are needed")
        return None

    def accept(
        self,
        dbms: str,
        table: str,
        body: bytes,
        rows: Sequence[Mapping[str, Any]],
        *,
        source: str = "0",
        instructions: str = "0",
        whole: bool = False,
        key: str = "",
    ) -> Deferred[Receipt]:
        """See `interfaces.IIntake`. Names are normalised by the caller."""
        refusal = self.refusal()
        if refusal is None and dbms not in self._loaders:
            try:
                self._databases.get(dbms)
            except AnyLogError as unknown:
                refusal = unknown
        if refusal is None and table.startswith(RESERVED):
            refusal = AnyLogError(28, f"'{table}': names that begin with {', '.join(RESERVED)} are not for tables")
        if refusal is not None:
            self.counts.add("refused", 1, str(refusal))
            return fail(refusal)
        if dbms in self._attaching:
            # The keys of a database that was just connected are being read: a repeat must be known as one.
            ready: Deferred[None] = Deferred()
            self._attaching[dbms].append(ready)
            return ready.addCallback(
                lambda _: self.accept(
                    dbms, table, body, rows, source=source, instructions=instructions, whole=whole, key=key
                )
            )
        if len(key) > LONGEST_KEY:
            key = sha256(key.encode()).hexdigest()
        where = Where(dbms, table, source, instructions)
        now = self._clock.seconds()
        if not whole and not key:
            return self._keep(where, body, rows, "", "", now)
        if whole and len(body) > LARGE:
            named = self._lanes.open("cpu").run(_hash, dbms, table, rows)
            return named.addCallback(lambda hash: self._once(where, body, rows, key, hash, now))
        return self._once(where, body, rows, key, _hash(dbms, table, rows) if whole else "", now)

    def _once(
        self, where: Where, body: bytes, rows: Sequence[Mapping[str, Any]], key: str, hash: str, now: float
    ) -> Deferred[Receipt]:
        """Keep what may be a repeat: of a sender's key, or of a whole content."""
        known = (where.dbms, where.table, key) if key else (where.dbms, hash)
        coming = self.once.begin(known, now)
        if coming is not None:
            return coming
        receipt = self._keep(where, body, rows, key, hash, now)

        def kept(receipt: Receipt) -> Receipt:
            self.once.end(known, now, receipt)
            return receipt

        def unkept(failure: Any) -> Any:
            self.once.fail(known, failure.value)
            return failure

        return receipt.addCallbacks(kept, unkept)

    def _keep(
        self, where: Where, body: bytes, rows: Sequence[Mapping[str, Any]], key: str, hash: str, now: float
    ) -> Deferred[Receipt]:
        """One record of the journal; the receipt follows its sync."""
        buffer = self._open.get(where) if not hash else None
        if buffer is None:
            buffer = self._begin(where, hash, now)
        meta = orjson.dumps({"key": key, "at": now, "rows": len(rows)}) if key else b""
        stored = self.journal.append(Kind.ROWS, buffer.id, pack_rows(meta, body))
        weight = len(body)
        buffer.unsynced += 1
        buffer.volume += weight
        buffer.rows += len(rows)
        if hash or buffer.volume >= buffer.threshold.volume:
            self._cut(buffer)
        return stored.addCallbacks(
            self._synced,
            self._unsynced,
            (buffer, rows, weight, key),
            {},
            (buffer,),
            {},
        )

    def _begin(self, where: Where, hash: str, now: float) -> Buffer:
        threshold = self.thresholds.of(where.dbms, where.table)
        at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S")
        buffer = Buffer(self.journal.new_buffer(), where, threshold, now, at, hash)
        self._buffers[buffer.id] = buffer
        if not hash:
            self._open[where] = buffer
        self._describe(buffer).addErrback(lambda failure: None)
        return buffer

    def _describe(self, buffer: Buffer) -> Deferred[None]:
        """Its OPEN record, without which its readings would not be understood after a start."""

        def opened(stored: Stored) -> None:
            buffer.opened = True

        return self.journal.append(Kind.OPEN, buffer.id, buffer.describe()).addCallback(opened)

    def _synced(
        self, stored: Stored, buffer: Buffer, rows: Sequence[Mapping[str, Any]], weight: int, key: str
    ) -> Receipt | Deferred[Receipt]:
        """The readings are safe, if what describes their buffer is."""
        if buffer.opened:
            return self._take_in(stored, buffer, rows, weight, key)
        # A full disk refused its OPEN record, and there was room again for the readings behind it.
        return self._open_late(buffer).addCallbacks(
            lambda _: self._take_in(stored, buffer, rows, weight, key), self._unsynced, errbackArgs=(buffer,)
        )

    def _open_late(self, buffer: Buffer) -> Deferred[None]:
        """Describe a buffer once for all who wait. If that fails nothing of it is understood after a start, so nothing
        of it may be promised, now or later: its id is never used again."""
        told: Deferred[None] = Deferred()
        buffer.opening.append(told)
        if len(buffer.opening) == 1:
            if self._open.get(buffer.where) is buffer:
                del self._open[buffer.where]
            refused = AnyLogError(503, "the journal has no room")
            described = fail(refused) if buffer.lost else self._describe(buffer)

            def ended(result: Any) -> None:
                waiting, buffer.opening = buffer.opening, []
                for each in waiting:
                    if buffer.opened:
                        each.callback(None)
                    else:
                        buffer.lost = True
                        each.errback(result.value)
                if buffer.opened and buffer.state == "open":
                    self._cut(buffer)  # nothing more comes to it, so nobody else would

            described.addBoth(ended)
        return told

    def _take_in(
        self, stored: Stored, buffer: Buffer, rows: Sequence[Mapping[str, Any]], weight: int, key: str
    ) -> Receipt | Deferred[Receipt]:
        """They are loaded soon; the yes waits only if too much is on its way already."""
        buffer.unsynced -= 1
        buffer.last = stored.sequence
        pending = Pending(stored, stored.sequence, weight, rows, key)
        self.tank.put(weight)
        buffer.pending.append(pending)
        self._count(buffer, len(rows))
        self._send(buffer, [pending])
        receipt = Receipt(buffer.whole or "0", len(rows))
        if self.tank.full:
            return self.tank.room().addCallback(lambda _: receipt)
        return receipt

    def _unsynced(self, failure: Any, buffer: Buffer) -> Any:
        """Not kept. A buffer that never held anything is forgotten."""
        buffer.unsynced -= 1
        if self.journal.broken and not self._closing:
            self._start_anew()
        elif not buffer.last and not buffer.unsynced:
            if self._open.get(buffer.where) is buffer:
                del self._open[buffer.where]
            self._finish(buffer)
        return failure

    def _send(self, buffer: Buffer, pendings: Sequence[Pending]) -> None:
        """To the loader, if they may be loaded now; what has to wait is not kept in memory, the journal has it."""
        loader = self._loaders.get(buffer.where.dbms)
        if loader is not None and buffer.loadable:
            loader.add(buffer, pendings)
            return
        for pending in pendings:
            if pending.rows is not None:
                pending.rows = None
                self.tank.take(pending.weight)

    def _count(self, buffer: Buffer, rows: int) -> None:
        traffic = self.traffic.setdefault((buffer.where.dbms, buffer.where.table), Traffic())
        if buffer.whole:
            traffic.file_calls += 1
            traffic.file_rows += rows
        else:
            traffic.calls += 1
            traffic.rows += rows
        traffic.last = self._clock.seconds()
        traffic.first = traffic.first or traffic.last

    # Buffers end

    def cut_due(self) -> int:
        """Cut the buffers whose time is over; give how many."""
        now = self._clock.seconds()
        due = [buffer for buffer in self._open.values() if buffer.due(now)]
        for buffer in due:
            self._cut(buffer)
        return len(due)

    def open_buffers(self) -> list[Buffer]:
        """The buffers that take readings now."""
        return list(self._open.values())

    def waiting(self) -> dict[str, str]:
        """Database, or `database.table` -> why its readings wait in the journal."""
        reasons = {name: loader.waiting for name, loader in self._loaders.items() if loader.waiting}
        for name, loader in self._loaders.items():
            reasons |= {f"{name}.{table}": "waits for the ledger" for table in loader.agreeing}
        for buffer in self._buffers.values():
            if buffer.pending and buffer.where.dbms not in self._loaders:
                reasons.setdefault(buffer.where.dbms, "not connected")
        return reasons

    def _cut(self, buffer: Buffer) -> Deferred[None]:
        """No more readings for this buffer; the next one begins another. Fires when all of it is synced, or failed."""
        if self._open.get(buffer.where) is buffer:
            del self._open[buffer.where]
        was_loadable, buffer.state = buffer.loadable, "cut"
        self.counts.add("cuts")
        if not was_loadable and buffer.pending:
            self._send(buffer, list(buffer.pending))
        kept = self.journal.append(Kind.CUT, buffer.id)
        return kept.addCallbacks(lambda _: self._check(buffer), lambda failure: None)

    def _loaded(self, buffer: Buffer, rows: int, parked: int) -> None:
        traffic = self.traffic.setdefault((buffer.where.dbms, buffer.where.table), Traffic())
        traffic.immediate += rows if buffer.state == "open" else 0
        traffic.parked += parked
        self._check(buffer)

    def _check(self, buffer: Buffer) -> None:
        """A buffer that is cut and loaded is done, and its segments may go."""
        if buffer.finished:
            self.point("done")
            self._finish(buffer)

    def _finish(self, buffer: Buffer) -> None:
        buffer.state = "done"
        self._buffers.pop(buffer.id, None)
        # Not awaited: if it is lost, the mark says the same at the next start.
        self.journal.append(Kind.DONE, buffer.id).addBoth(lambda _: self.journal.release(buffer.id))

    # Databases come and go

    def _connected(self, name: str, connected: bool) -> None:
        if connected:
            self._attaching.setdefault(name, [])
            if self._ready:
                self._attach(name)
            return
        # What is loaded is done with: a database that is dropped after this does not get it again.
        for buffer in [buffer for buffer in self._open.values() if buffer.where.dbms == name]:
            self._cut(buffer)
        loader = self._loaders.pop(name, None)
        for ready in self._attaching.pop(name, ()):
            ready.callback(None)
        if loader is not None:
            loader.stop().addErrback(lambda failure: self.log.failure("stopping {name}", failure=failure, name=name))

    def _attach(self, name: str) -> None:
        self._attached(name).addErrback(
            lambda failure: self.log.failure("attaching {name}", failure=failure, name=name)
        )

    @deferring
    async def _attached(self, name: str) -> None:
        """Learn from the database what it holds already, then load the rest (hard-parts.md 2.2)."""
        journal = self.journal
        wait = 0.1
        while True:
            try:
                database = self._databases.get(name)
                for key, at, hash in await database.keys(self._clock.seconds() - self.once.lasting):
                    table, _, own = key.partition("/")
                    self.once.remember((name, table, own), at, Receipt(hash, 0))
                marks = await database.marks([str(buffer.id) for buffer in self._of(name)])
                break
            except AnyLogError as refusal:
                self.log.warn("{name} cannot be read yet: {why}", name=name, why=str(refusal))
                await pause(self._clock, wait)
                wait = min(wait * 2, 5.0)
            if name not in self._attaching or self.journal is not journal:
                return  # disconnected meanwhile; or the journal began anew, and attaches it again
        if name not in self._attaching or self.journal is not journal:
            return
        loader = self._loaders[name] = self._new_loader(database)
        for buffer in self._of(name):
            applied = marks.get(str(buffer.id), 0)
            while buffer.pending and buffer.pending[0].sequence <= applied:
                gone = buffer.pending.popleft()
                if gone.rows is not None:
                    self.tank.take(gone.weight)
            buffer.applied = applied
            if buffer.pending and buffer.loadable:
                loader.add(buffer, list(buffer.pending))
            self._check(buffer)
        for ready in self._attaching.pop(name):
            ready.callback(None)

    def _of(self, name: str) -> list[Buffer]:
        return [buffer for buffer in self._buffers.values() if buffer.where.dbms == name]

    def _new_loader(self, database: Schemas) -> Loader:
        return Loader(
            database=database,
            journal=self.journal,
            clock=self._clock,
            lane=self._lanes.open("cpu"),
            agree=self._agree,
            tank=self.tank,
            settled=self._loaded,
            gather=self._gather,
            point=self.point,
            counts=self.counts,
        )

    # The journal

    def _new_journal(self) -> Journal:
        return Journal(
            disk=self._disk,
            lane=self._lanes.open("journal"),
            making=self._lanes.open("disk", 2),
            folder=self._folder,
            token=self._token,
            segment_size=self.segment_size,
            most=self.most,
            point=self.point,
            soon=self._soon,
            counts=self.counts,
        )

    def _start_anew(self) -> None:
        """The journal failed: forget what was not promised and begin again from what the disk holds."""
        if self._ready:
            self._ready = False
            self._anew().addErrback(lambda failure: self.log.failure("starting the journal anew", failure=failure))

    @deferring
    async def _anew(self) -> None:
        names = sorted(self._loaders)
        await gather([loader.stop() for loader in self._loaders.values()])
        self._loaders.clear()
        wait = ANEW
        while not self._closing:
            await pause(self._clock, wait)
            wait = min(wait * 2, 30.0)
            try:
                await self.journal.close()
            except (OSError, AnyLogError) as fault:
                self.log.warn("closing the broken journal: {why}", why=str(fault))
            for buffer in self._buffers.values():
                for pending in buffer.pending:
                    if pending.rows is not None:
                        self.tank.take(pending.weight)
            self._open.clear()
            self._buffers.clear()
            self.journal = self._new_journal()
            for name in names:
                self._attaching.setdefault(name, [])
            try:
                await self.start()
            except AnyLogError as fault:
                self.log.error("the journal cannot be opened: {why}", why=str(fault))
                continue
            self.log.warn("the journal was started anew; readings are taken again")
            return

    def relieve(self) -> None:
        """Called now and then: a slow or waiting table must not pin the journal (hard-parts.md 1.6)."""
        if not self._ready or self.journal.size <= self.most // 4:
            return
        for segment, ids in self.journal.oldest(RELIEVED):
            for buffer in [self._buffers[id] for id in sorted(ids, key=str) if id in self._buffers]:
                loader = self._loaders.get(buffer.where.dbms)
                if buffer.state == "open":
                    self._cut(buffer)
                elif (loader is None or loader.waits_for(buffer)) and buffer.id not in self._carrying:
                    self._carrying.add(buffer.id)
                    self._carry(buffer, segment).addErrback(
                        lambda failure: self.log.warn("carrying on: {why}", why=failure.value)
                    ).addBoth(lambda _, id: self._carrying.discard(id), buffer.id)

    @deferring
    async def _carry(self, buffer: Buffer, segment: int) -> None:
        """Write what waits of `buffer` in `segment` again at the end, so that the segment may go."""
        old = [pending for pending in buffer.pending if pending.stored.segment == segment]
        kept = self.journal.append(Kind.OPEN, buffer.id, buffer.describe())
        written = []
        for pending, packed in zip(old, await self.journal.read([each.stored for each in old]), strict=True):
            meta, body = unpack_rows(packed)
            told = {**(orjson.loads(meta) if meta else {}), "was": pending.sequence}
            written.append(self.journal.append(Kind.ROWS, buffer.id, pack_rows(orjson.dumps(told), body)))
        await kept
        for pending, stored in zip(old, await gather(written), strict=True):
            pending.stored = stored
        self.journal.moved(buffer.id, segment)
        if buffer.state == "done":
            self.journal.release(buffer.id)  # it was loaded meanwhile: what was written again is needed no more


def _hash(dbms: str, table: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return content_hash(dbms, table, normal_form(rows))
