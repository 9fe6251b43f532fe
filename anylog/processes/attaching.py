"""What the journal holds is hung on its buffers, and what a database holds already is left out (hard-parts.md 2.2)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.disk.journal import Journal, Stored
from anylog.disk.records import BufferId, Kind, unpack_ids, unpack_rows
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Receipt
from anylog.processes.buffers import Buffer, Pending
from anylog.processes.loading import Loader
from anylog.processes.once import Known, Once
from anylog.processes.readback import Unreadable, described, understood
from anylog.processes.recovery import Marked
from anylog.processes.registry import Registry
from anylog.processes.shares import Schemas
from anylog.tank import Tank
from anylog.waiting import deferring, pause

READ_AT_ONCE = 256  # journal records read back together at a start
_log = Logger()


async def recall_buffers(journal: Journal, stored: Sequence[Stored], now: float) -> dict[BufferId, Buffer]:
    """The buffers of records that were not done with when the journal ended, without their readings.

    The records of all others are let go.
    """
    found: dict[BufferId, Buffer] = {}
    odd: dict[BufferId, str] = {}  # why nobody knows what they are
    done: dict[BufferId, int] = {}  # in which segment that is told
    kinds = (Kind.OPEN, Kind.CUT, Kind.DONE, Kind.WHOLE)
    wanted = [each for each in stored if each.kind in kinds and each.size]
    for first in range(0, len(wanted), READ_AT_ONCE):
        part = wanted[first : first + READ_AT_ONCE]
        for each, body in zip(part, await journal.read(part), strict=True):
            if each.kind is Kind.DONE:
                try:
                    done.update(dict.fromkeys(unpack_ids(body), each.segment))
                except struct.error:  # what it tells of is found to be done with once more
                    await _put_aside(journal, each, "it does not say which buffers are done with")
            else:
                try:
                    text = orjson.loads(unpack_rows(body)[0] if each.kind is Kind.WHOLE else body)
                    found[each.buffer] = Buffer.described(each.buffer, text.get("buffer", text), now)
                except (ValueError, KeyError, TypeError, AttributeError) as why:
                    odd[each.buffer] = f"what describes its buffer cannot be read: {type(why).__name__} {why}"
    done.update({each.buffer: each.segment for each in stored if each.kind is Kind.DONE})
    found = {id: buffer for id, buffer in found.items() if id not in done}
    waits: set[BufferId] = set()
    for each in stored:
        lost = each.kind in (Kind.ROWS, Kind.WHOLE) and each.buffer not in found and each.buffer not in done
        reason = odd.get(each.buffer, "what describes its buffer is lost" if journal.counts["damaged"] else "")
        if lost and reason and not await _put_aside(journal, each, reason):
            waits.add(each.buffer)  # it stays in the journal until the next start
    for id in {each.buffer: None for each in stored}:
        if id not in found and id not in waits:
            journal.release(id, done.get(id))
    return found


async def _put_aside(journal: Journal, record: Stored, why: str) -> bool:
    """False if there is no room for it: no node fails to start for that."""
    try:
        await journal.put_aside(record, why)
    except AnyLogError as full:
        _log.critical("a record of the journal is left in it: {why}; {full}", why=why, full=str(full))
        return False
    return True


async def recall(journal: Journal, stored: Sequence[Stored], buffers: Mapping[BufferId, Buffer], once: Once) -> None:
    """Hang the records of unfinished buffers on them, each once, in order; and the keys they carry."""
    seen: set[tuple[BufferId, int]] = set()
    for first in range(0, len(stored), READ_AT_ONCE):
        part = stored[first : first + READ_AT_ONCE]
        for each, packed in zip(part, await journal.read(part), strict=True):
            told: Mapping[str, Any] = {}
            try:
                told, _ = described(packed)
                if told.get("key") or told.get("tokens"):
                    understood(packed)
            except Unreadable:  # put aside when it is to be loaded; whoever sends it again is not told that it came
                told = {name: told[name] for name in ("was",) if name in told}
            sequence = told.get("was", each.sequence)
            if (each.buffer, sequence) in seen:
                continue
            seen.add((each.buffer, sequence))
            buffer = buffers[each.buffer]
            key = told.get("key", "")
            tokens = told.get("tokens", {})
            buffer.pending.append(Pending(each, sequence, each.size, None, key, tokens=tokens))
            buffer.volume += each.size
            for name, token in tokens.items():
                once.remember((buffer.where.dbms, buffer.where.table, name), told.get("at", 0.0), Receipt(token, 0))
            if key:
                where = buffer.where
                once.remember(
                    (where.dbms, where.table, key),
                    told.get("at", 0.0),
                    Receipt(buffer.whole or "0", told.get("rows", 0)),
                )
    for buffer in buffers.values():
        if buffer.file is not None:
            continue
        ordered = sorted(buffer.pending, key=lambda pending: pending.sequence)
        buffer.pending.clear()
        buffer.pending.extend(ordered)
        if buffer.filed or buffer.published:
            buffer.records = list(ordered)
        if buffer.published:
            buffer.pending.clear()
        buffer.last = ordered[-1].sequence if ordered else 0


class Kept(Schemas, Marked, Protocol):
    """A database of readings."""


class Databases(Protocol):
    """What the intake asks of the catalog."""

    def get(self, name: str) -> Kept:
        """The connected database of that name; AnyLogError 5."""

    def watch(self, told: Callable[[str, bool], None]) -> None:
        """Call `told(name, connected)`."""


@define(kw_only=True, eq=False)
class Attaching:
    """Gives each database that is connected what the journal holds for it."""

    _clock: Clock
    _databases: Databases
    _buffers: Mapping[BufferId, Buffer]
    _loaders: MutableMapping[str, Loader]
    _new_loader: Callable[[Schemas], Loader]
    _once: Once
    _tank: Tank
    _registry: Registry
    _check: Callable[[Buffer], None]
    _compared: Callable[[str], Deferred[None]]  # with the tables of files, once all is at hand
    _published: Callable[[str], Collection[Known]]  # what of a database went to operators, and may come again
    _left: set[str] = field(factory=set)  # were disconnected: what comes back under that name may be another one
    _stopping: dict[str, Deferred[None]] = field(factory=dict)  # the loader of before, until its round is over
    _waiting: dict[str, list[Deferred[None]]] = field(factory=dict)  # who waits for a database that is being read
    _round: int = 0  # grows when the journal is read anew
    _going: bool = False
    log = Logger()

    def begin(self) -> None:
        """The journal was read."""
        self._going = True
        self._round += 1
        for buffer in self._buffers.values():
            if buffer.named:
                self._registry.adopt(buffer)  # before any id is given: nobody else gets that, nor comes with its file
        for name in sorted(self._waiting):
            self._attach(name)

    def end(self) -> None:
        """The journal is going to be read anew."""
        self._going = False

    def connected(self, name: str) -> None:
        """Read that database, as soon as the journal was read."""
        self._waiting.setdefault(name, [])
        if self._going:
            self._attach(name)

    def again(self, names: Sequence[str]) -> None:
        """Those that are connected still wait for the journal once more."""
        for name in names:
            try:
                self._databases.get(name)
            except AnyLogError:  # disconnected while the journal was closed
                continue
            self.connected(name)

    def disconnected(self, name: str) -> None:
        """Nothing more goes there."""
        self._left.add(name)
        loader = self._loaders.pop(name, None)
        for ready in self._waiting.pop(name, ()):
            ready.callback(None)
        if loader is not None:
            stopping = self._stopping[name] = loader.stop()
            stopping.addErrback(lambda failure: self.log.failure("stopping {name}", failure=failure, name=name))

    @property
    def reads(self) -> bool:
        """Whether databases are being read."""
        return self._going and bool(self._waiting)

    def ready(self, name: str) -> Deferred[None] | None:
        """Fires when that database was read; None if it was."""
        if name not in self._waiting:
            return None
        told: Deferred[None] = Deferred()
        self._waiting[name].append(told)
        return told

    def _attach(self, name: str) -> None:
        self._attached(name).addErrback(
            lambda failure: self.log.failure("attaching {name}", failure=failure, name=name)
        )

    @deferring
    async def _attached(self, name: str) -> None:
        """Learn from the database what it holds already, then load the rest."""
        this = self._round
        wait = 0.1
        if name in self._stopping:
            await self._stopping[name]  # the round at hand waits for `almgm`, say: what two have would be settled twice
            if name not in self._waiting or self._round != this:
                return
        while True:
            try:
                database = self._databases.get(name)
                keys = await database.keys(self._clock.seconds() - self._once.lasting)
                whole = [known[1] for known in self._once.of(name) if len(known) == 2] if name in self._left else []
                held = await database.hash_marks(whole) if whole else {}
                marks = await database.marks([buffer.key for buffer in self._of(name)])
                named = [(buffer.member, buffer.tsd) for buffer in self._of(name) if buffer.named]
                files = await database.file_marks(named) if named else {}
                break
            except AnyLogError as refusal:
                self.log.warn("{name} cannot be read yet: {why}", name=name, why=str(refusal))
                await pause(self._clock, wait)
                wait = min(wait * 2, 5.0)
            if name not in self._waiting or self._round != this:
                return  # disconnected meanwhile; or the journal began anew, and attaches it again
        if name not in self._waiting or self._round != this:
            return
        if name in self._left:
            self._left.discard(name)
            self._once.forget(name, {*self._on_its_way(name), *((name, hash) for hash in held)})
        for key, at, hash in keys:
            table, _, own = key.partition("/")
            self._once.remember((name, table, own), at, Receipt(hash, 0))
        loader = self._loaders[name] = self._new_loader(database)
        for buffer in self._of(name):
            mark = marks.get(buffer.key)
            applied = 0
            if mark is not None:
                applied = mark.sequence
                buffer.stored, buffer.parked = mark.rows, mark.parked
                if mark.id:
                    buffer.member = mark.member  # it may have been registered under another than it came under
                    buffer.registered(mark.id, mark.time)
                    self._registry.adopt(buffer)
            elif buffer.named and (buffer.member, buffer.tsd) in files:  # its file was loaded instead
                self._registry.unname(buffer)
                buffer.verdict, applied = "duplicate", buffer.last
            while buffer.pending and buffer.pending[0].sequence <= applied:
                gone = buffer.pending.popleft()
                self._tank.take(gone.let_go())
            buffer.applied = applied
            if buffer.pending and buffer.loadable:
                loader.add(buffer, list(buffer.pending))
            self._check(buffer)
        self._newer(name)
        for ready in self._waiting.pop(name):
            ready.callback(None)
        await self._compared(name)

    def _on_its_way(self, name: str) -> set[Known]:
        """What is known of readings that are to be loaded yet, or that go to operators."""
        found = set(self._published(name))
        for buffer in self._buffers.values():
            if buffer.where.dbms == name and buffer.file is None:
                waits = buffer.records if buffer.published else buffer.pending
                found |= {(name, buffer.where.table, key) for each in waits for key in (each.key, *each.tokens)}
                found |= {(name, buffer.whole)} if waits else set()
        return found

    def _newer(self, name: str) -> None:
        """What waits to be loaded was kept after what the database holds: a token of the same key is that of an older
        message there, which had the same packet id (see `accepting.Keyed`)."""
        waiting = [(each.sequence, buffer.where, each.tokens) for buffer in self._of(name) for each in buffer.pending]
        now = self._clock.seconds()
        for _, where, tokens in sorted(waiting, key=itemgetter(0)):
            for key, token in tokens.items():
                self._once.remember((where.dbms, where.table, key), now, Receipt(token, 0))

    def _of(self, name: str) -> list[Buffer]:
        return [
            buffer
            for buffer in self._buffers.values()
            if buffer.where.dbms == name and buffer.file is None and not buffer.published
        ]
