"""Where readings go, whatever door they came through: journal, yes, database (hard-parts.md 1, architecture.md 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.databases.tsd import Tsd
from anylog.disk.journal import Journal, Stored
from anylog.disk.records import BufferId, Kind, pack_rows
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Lanes, Receipt
from anylog.mapping.body import normal_form
from anylog.processes.accepting import NO_TOKENS, Accepting
from anylog.processes.attaching import Attaching, Databases, recall, recall_buffers
from anylog.processes.bringing import Bringing
from anylog.processes.buffers import Buffer, Drafts, Pending, Second, Traffic, Where, coming
from anylog.processes.file_policies import FilePolicies
from anylog.processes.filing import MOST, Filing
from anylog.processes.flushing import SOON, drained, held_up
from anylog.processes.forms import MANY, Form, Size, early_of
from anylog.processes.free import Free
from anylog.processes.loading import SMALL, Loader
from anylog.processes.once import Once
from anylog.processes.opening import Ending, Opening
from anylog.processes.operating import Operating
from anylog.processes.outgoing import Outgoing
from anylog.processes.recovery import Recovery
from anylog.processes.registry import Registry
from anylog.processes.relief import Relief
from anylog.processes.shares import Agree, Schemas
from anylog.processes.thresholds import Thresholds
from anylog.processes.waits import reasons
from anylog.processes.whole import FilingOptions, Outcome, WholeFile
from anylog.tank import Tank
from anylog.waiting import deferring, gather, pause

FLOOR = 24 << 20  # bytes of free disk below which doors refuse
IN_MEMORY = 8 << 20  # bytes of readings held to be loaded, beyond which the yes waits
ANEW = 1.0  # seconds before a journal that failed is opened anew


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
    _tsd: Callable[[], Tsd | None] = field(default=lambda: None)  # the tables of files, if `almgm` is here
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
    accepting: Accepting = field(init=False)
    # What files of a watch directory pass, as long as there is anything to be done with their rows.
    passing: Callable[[WholeFile, Callable[[WholeFile], Deferred[Outcome]]], Deferred[Outcome]] | None = None
    policies: FilePolicies | None = None  # to be said before the start
    attaching: Attaching = field(init=False)
    _opening: Opening = field(init=False)
    _ending: Ending = field(init=False)
    _relief: Relief = field(factory=Relief)
    _free: Free = field(init=False)
    registry: Registry = field(init=False)
    filing: Filing = field(init=False)
    outgoing: Outgoing = field(init=False)
    _drafts: Drafts = field(factory=Drafts)
    _declared: dict[tuple[str, str], dict[str, str]] = field(factory=dict)
    files: Bringing = field(init=False)
    recovery: Recovery = field(init=False)
    operating: Operating = field(init=False)
    _second: Second = field(factory=Second)
    _closing: bool = False
    _ready: bool = False

    def __attrs_post_init__(self) -> None:
        disk_lane = self._lanes.open("disk", 2)
        self.once = Once(counts=self.counts)
        self.tank = Tank(IN_MEMORY // 2, IN_MEMORY)
        self.journal = self._new_journal()
        self._free = Free(clock=self._clock, disk=self._disk, folder=self._folder)
        self._opening = Opening(counts=self.counts, journal=lambda: self.journal, open=self._open, cut=self._cut)
        self._ending = Ending(journal=lambda: self.journal, soon=self._soon)
        self.registry = Registry(tsd=self._tsd, now=self._clock.seconds)
        self.filing = Filing(
            clock=self._clock,
            disk=self._disk,
            lane=disk_lane,
            registry=self.registry,
            records=lambda: self.journal,
            database=self._databases.get,
            finished=self._filed,
            drafts=self._drafts,
            name=self._opening.name,
            point=self.point,
            counts=self.counts,
        )
        self.outgoing = Outgoing(
            clock=self._clock,
            disk=self._disk,
            lane=disk_lane,
            cpu=self._lanes.open("cpu"),
            folder=self._folder / "publisher",
            records=lambda: self.journal,
            finished=self._finish,
            point=self.point,
            counts=self.counts,
        )
        self.attaching = Attaching(
            clock=self._clock,
            databases=self._databases,
            buffers=self._buffers,
            loaders=self._loaders,
            new_loader=self._new_loader,
            once=self.once,
            tank=self.tank,
            registry=self.registry,
            check=self._check,
            compared=lambda name: self.operating.compared(name),
            published=self.outgoing.keys,
        )
        self.accepting = Accepting(
            clock=self._clock,
            databases=self._databases,
            loaders=self._loaders,
            attaching=self.attaching,
            once=self.once,
            lane=lambda: self._lanes.open("cpu"),
            keep=self._keep,
            columns=self._columns,
            refusal=self.refusal,
            away=self._away,
            counts=self.counts,
            published=self.outgoing.takes,
        )
        self.files = Bringing(
            clock=self._clock,
            disk=self._disk,
            lane=disk_lane,
            databases=self._databases,
            registry=self.registry,
            loaders=self._loaders,
            buffers=self._buffers,
            tank=self.tank,
            new_id=lambda: self.journal.new_buffer(),
            member=lambda dbms: self.operating.member(dbms),
            check=self._check,
            refusal=self._away,
        )
        self.recovery = Recovery(
            clock=self._clock,
            disk=self._disk,
            lane=disk_lane,
            registry=self.registry,
            bring=self.files.bring,
            in_work=self.in_work,
        )
        self.operating = Operating(
            clock=self._clock,
            disk=self._disk,
            lane=disk_lane,
            folder=self._folder,
            databases=self._databases,
            registry=self.registry,
            filing=self.filing,
            recovery=self.recovery,
            tsd=self._tsd,
            attached=lambda: self._loaders.keys(),
            buffers=self._buffers,
            accept=self.accepting.accept,
            ended=self._finish,
        )
        self._databases.watch(self._connected)

    def declare(self, dbms: str, table: str, columns: Mapping[str, str]) -> None:
        """Column -> ledger type of a table, in case it is made: what its first rows hold does not decide then."""
        self._declared[(dbms, table)] = dict(columns)

    def operate(self, options: FilingOptions | None, member: Callable[[], int] = lambda: 0) -> Deferred[None]:
        """An operator runs from now on: what comes is registered, if `options.tsd`, and kept as files; None: no more.

        `member` gives its id in its cluster, as the ledger says at the moment. Fires when databases, tables of
        files and archive agree; readings are taken in the meantime.
        """
        if options is None:
            self.operating.end()
            return succeed(None)
        return self.operating.begin(options, member)

    def in_work(self) -> set[str]:
        """Names of buffers and hashes of files that are on their way."""
        return {str(id) for id in self._buffers} | {buffer.whole for buffer in self._buffers.values()}

    def coming(self) -> dict[str, bool]:
        """Hashes of the files that are on their way, and whether they are safe here."""
        return coming(self._buffers.values())

    async def start(self) -> None:
        """Read the journal; what is not loaded yet follows as its databases are connected. There is no other start."""
        stored = await self.journal.open()
        await self.operating.recall()
        recalled = await recall_buffers(self.journal, stored, self._clock.seconds())
        for id in [id for id, buffer in self._buffers.items() if buffer.file is None]:
            del self._buffers[id]  # of before a journal that failed: until here they were in work
        self._buffers.update(recalled)
        await recall(
            self.journal,
            [each for each in stored if each.kind in (Kind.ROWS, Kind.WHOLE) and each.buffer in self._buffers],
            self._buffers,
            self.once,
        )
        await self.outgoing.recall(self.once)
        self._ready = True
        self.attaching.begin()
        for buffer in [each for each in self._buffers.values() if each.published]:
            self._check(buffer)
        if self._buffers:
            rows = sum(len(buffer.pending) for buffer in self._buffers.values())
            self.log.info("{records} records of the journal are looked after", records=rows)

    async def stop(self, seconds: float = 10.0) -> None:
        """Take nothing more, cut all, load what can be loaded within `seconds`, and close the journal."""
        self._closing = True
        await self.flush(seconds)
        await held_up(self._clock, min(seconds, SOON), self._held_up, lambda: self.flush(seconds))
        for name, why in sorted(self.waiting().items()):
            self.log.warn("{name}: {why}; its readings stay in the journal", name=name, why=why)
        for name in list(self._loaders):
            await self._loaders[name].stop()
        await self.filing.stop()
        await self.outgoing.stop()
        self.files.stop()
        self._ending.tell()
        await self.journal.close()

    def _held_up(self) -> bool:
        """Whether something waits that usually takes an instant."""
        held = any(loader.held or loader.agreeing for loader in self._loaders.values())
        return held or self.attaching.reads or self.operating.earlier.depth > 0

    async def flush(self, seconds: float = 10.0) -> int:
        """Cut every open buffer and wait until it is loaded; give how many there were."""
        due = list(self._open.values())
        await gather([self._cut(buffer) for buffer in due])
        await drained(self._clock, seconds, self._loaders, (self.filing, self.outgoing))
        return len(due)

    def refusal(self) -> AnyLogError | None:
        """Why nothing is taken at the moment, or None; asked before a body is read."""
        away = self._away()
        if away is not None:
            return away
        if self.journal.broken:
            # Perhaps by a record that says that something is done: no reading failed that would have had this begun.
            self._start_anew()
            return AnyLogError(504, self.journal.broken)
        if self.journal.size >= self.most:
            return AnyLogError(502, f"{self.journal.size:,} bytes wait in the journal to be loaded")
        for making in (self.filing, self.outgoing):
            if making.depth >= MOST:
                why = f": {making.waiting}" if making.waiting else ""
                return AnyLogError(502, f"{making.depth:,} files wait to be written{why}")
        return self._free.refusal(FLOOR)

    def _away(self) -> AnyLogError | None:
        """Why nothing can be done with readings at the moment."""
        if self._closing:
            return AnyLogError(506, "the node is shutting down")
        return None if self._ready else AnyLogError(502, "the journal is being read")

    def bring(self, file: WholeFile) -> Deferred[Outcome]:
        """See `whole.IFiles`."""
        passing = self.passing
        return self.files.bring(file) if passing is None else passing(file, self.files.bring)

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
        """See `interfaces.IIntake`. Names are normalised by the caller; a policy that is named maps the rows."""
        how: dict[str, Any] = {"source": source, "instructions": instructions, "whole": whole, "key": key}
        if instructions != "0" and self.policies is not None:
            return self.policies.take(self.accepting, dbms, table, body, rows, **how)
        return self.accepting.accept(dbms, table, body, rows, **how)

    def _keep(
        self,
        where: Where,
        body: bytes,
        rows: Sequence[Mapping[str, Any]],
        key: str,
        form: Form,
        now: float,
        tokens: Mapping[str, str] = NO_TOKENS,
    ) -> Deferred[Receipt]:
        """One record of the journal; the receipt follows its sync. `tokens` are those of messages, see `Accepting`.

        Fails with AnyLogError 501 for what would be too large as a file.
        """
        hash, normal, size = form.hash, form.normal, Size()
        buffer = self._open.get(where) if not hash else None
        dbms = where.dbms
        if buffer.becomes_file if buffer else self.outgoing.takes(dbms) or self.operating.member(dbms)[0]:
            # While the rows are at hand: later each of them has to be fetched from memory again.
            normal = normal or normal_form(rows)
            size = Size.of(normal)
            refusal = size.refusal
            if refusal is not None:
                return fail(refusal)
            if buffer is not None and (buffer.size + size).refusal is not None:
                self._cut(buffer)
                buffer = None
        if buffer is None:
            buffer = self._begin(where, hash, now)
        buffer.size += size
        if buffer.filed:
            self._drafts.add(buffer, normal)
        told: dict[str, Any] = {"key": key, "at": now, "rows": len(rows)} if key else {}
        if tokens:
            told |= {"tokens": tokens, "at": now}
        if hash:
            told["buffer"] = buffer.description()
        kind, meta = Kind.WHOLE if hash else Kind.ROWS, orjson.dumps(told) if told else b""
        stored = self.journal.append(kind, buffer.id, pack_rows(meta, body))
        weight, early = len(body), form.early
        if not hash and not buffer.doubtful and MANY <= len(rows) <= SMALL:
            columns = self._columns(where)
            early = early_of(rows, columns)
            buffer.doubtful = early is None and columns is not None
        pending = Pending(None, 0, weight, rows if early is None else None, key, early, tokens)
        buffer.unsynced += 1
        buffer.volume += weight
        buffer.rows += len(rows)
        if not hash and buffer.volume >= buffer.threshold.volume:
            self._cut(buffer)
        return stored.addCallbacks(self._synced, self._unsynced, (buffer, pending, len(rows)), {}, (buffer,), {})

    def _columns(self, where: Where) -> Mapping[str, str] | None:
        loader = self._loaders.get(where.dbms)
        return loader.columns(where.table) if loader is not None else None

    def _begin(self, where: Where, hash: str, now: float) -> Buffer:
        threshold = self.thresholds.of(where.dbms, where.table)
        at = self._second.text(now)
        published = self.outgoing.takes(where.dbms)
        filed, member = (False, 0) if published else self.operating.member(where.dbms)
        buffer = Buffer(
            self.journal.new_buffer(), where, threshold, now, at, hash, filed, member, published=published
        )  # fmt: skip
        self._buffers[buffer.id] = buffer
        if hash:
            buffer.state, buffer.opened = "cut", True  # by its one record
            self.counts.add("cuts")
        else:
            self._open[where] = buffer
            self._opening.describe(buffer).addErrback(lambda failure: None)
        return buffer

    def _synced(self, stored: Stored, buffer: Buffer, pending: Pending, rows: int) -> Receipt | Deferred[Receipt]:
        """The readings are safe, if what describes their buffer is."""
        if buffer.opened:
            return self._take_in(stored, buffer, pending, rows)
        # A full disk refused its OPEN record, and there was room again for the readings behind it.
        return self._opening.late(buffer).addCallbacks(
            lambda _: self._take_in(stored, buffer, pending, rows), self._unsynced, errbackArgs=(buffer,)
        )

    def _take_in(self, stored: Stored, buffer: Buffer, pending: Pending, rows: int) -> Receipt | Deferred[Receipt]:
        """They are loaded soon; the yes waits only if too much is on its way already."""
        buffer.unsynced -= 1
        buffer.last = stored.sequence
        pending.stored, pending.sequence = stored, stored.sequence
        traffic = self.traffic.setdefault((buffer.where.dbms, buffer.where.table), Traffic())
        traffic.came(bool(buffer.whole), rows, self._clock.seconds())
        receipt = Receipt(buffer.whole or "0", rows)
        if buffer.published:
            pending.let_go()
            buffer.records.append(pending)
            self._check(buffer)
            return receipt
        self.tank.put(pending.weight)
        buffer.pending.append(pending)
        if buffer.filed:
            buffer.records.append(pending)
        self._send(buffer, [pending])
        if self.tank.full:
            return self.tank.room().addCallback(lambda _: receipt)
        return receipt

    def _unsynced(self, failure: Any, buffer: Buffer) -> Any:
        """Not kept. A buffer that never held anything is forgotten."""
        buffer.unsynced -= 1
        self._drafts.drop(buffer)
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
            self.tank.take(pending.let_go())

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
        return reasons(self._loaders, self._buffers.values(), self.outgoing.reason)

    def _cut(self, buffer: Buffer) -> Deferred[None]:
        """No more readings for this buffer; the next one begins another. Fires when all of it is synced, or failed."""
        if self._open.get(buffer.where) is buffer:
            del self._open[buffer.where]
        was_loadable, buffer.state = buffer.loadable, "cut"
        self.counts.add("cuts")
        if not was_loadable and buffer.pending:
            self._send(buffer, list(buffer.pending))
        return self._opening.end(buffer).addCallbacks(lambda _: self._check(buffer), lambda failure: None)

    def _loaded(self, buffer: Buffer, rows: int, parked: int, seconds: float) -> None:
        traffic = self.traffic.setdefault((buffer.where.dbms, buffer.where.table), Traffic())
        traffic.loaded(buffer, rows, parked, seconds, self._clock.seconds())
        self._check(buffer)

    def _check(self, buffer: Buffer) -> None:
        """A buffer that is cut and loaded is made a file, or is done."""
        if not buffer.finished or buffer.leaving:
            return
        if buffer.published:
            buffer.leaving = True
            self.outgoing.add(buffer)
        elif buffer.file is None and (not buffer.filed or (buffer.verdict == "duplicate" and not buffer.tsd)):
            self._finish(buffer)
        else:
            buffer.leaving = True
            if buffer.file is not None:
                buffer.file.let_go()
            self.operating.earlier.add(buffer)

    def _filed(self, buffer: Buffer, outcome: Outcome) -> None:
        """Its file lies where it belongs, and is counted."""
        if buffer.whole and outcome.kind == "loaded":
            self.traffic.setdefault((buffer.where.dbms, buffer.where.table), Traffic()).files += 1
        if buffer.file is None:
            self._finish(buffer)
            return
        self.files.ended(buffer, outcome)

    def _finish(self, buffer: Buffer) -> None:
        """All of it lasts elsewhere, and its segments may go."""
        self.point("done")
        buffer.state = "done"
        self._drafts.drop(buffer)
        if self._ready and self._buffers.get(buffer.id) is buffer:  # else the journal is read anew: it comes from there
            self._ending.add(self._buffers.pop(buffer.id).id)

    def _connected(self, name: str, connected: bool) -> None:
        if connected:
            self.attaching.connected(name)
            return
        # What is loaded is done with: a database that is dropped after this does not get it again.
        for buffer in [each for each in self._open.values() if each.where.dbms == name and not each.published]:
            self._cut(buffer)
        self.attaching.disconnected(name)
        self.files.interrupt(lambda buffer: buffer.where.dbms == name and not buffer.leaving, f"{name} is disconnected")

    def _new_loader(self, database: Schemas) -> Loader:
        return Loader(
            database=database,
            journal=self.journal,
            clock=self._clock,
            lane=self._lanes.open("cpu"),
            agree=self._agree,
            policies=self.policies,
            declared=lambda table: self._declared.get((database.name, table), {}),
            tank=self.tank,
            settled=self._loaded,
            register=self.registry.register,
            rename=self.files.rename,
            holder=self.registry.held,
            drafts=self._drafts,
            gather=self._gather,
            point=self.point,
            counts=self.counts,
        )

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
            self.attaching.end()
            self._anew().addErrback(lambda failure: self.log.failure("starting the journal anew", failure=failure))

    @deferring
    async def _anew(self) -> None:
        names = sorted(self._loaders)
        await gather([loader.stop() for loader in self._loaders.values()])
        self._loaders.clear()
        self.files.interrupt(lambda buffer: not buffer.leaving, "the journal is read anew")
        wait = ANEW
        while not self._closing:
            await pause(self._clock, wait)
            wait = min(wait * 2, 30.0)
            try:
                await self.journal.close()
            except (OSError, AnyLogError) as fault:
                self.log.warn("closing the broken journal: {why}", why=str(fault))
            for buffer in self._buffers.values():
                self._drafts.drop(buffer)
                for pending in buffer.pending:
                    self.tank.take(pending.let_go())
            self._open.clear()
            self.operating.begin_anew()
            self.outgoing.begin_anew()
            self.journal = self._new_journal()
            self.attaching.again(names)
            try:
                await self.start()
            except AnyLogError as fault:
                self.log.error("the journal cannot be opened: {why}", why=str(fault))
                continue
            self.log.warn("the journal was started anew; readings are taken again")
            return

    def relieve(self) -> None:
        """Called now and then: a slow or waiting table must not pin the journal (hard-parts.md 1.6)."""
        if self._ready and self.journal.size > self.most // 4:
            self._relief.look(self.journal, self._buffers, self._cut, self._waits)

    def _waits(self, buffer: Buffer) -> bool:
        """Whether nobody knows how long it will keep its segment."""
        if buffer.published:
            return bool(self.outgoing.waiting) or self.outgoing.watch is None
        if buffer.leaving:
            return self.operating.waits or bool(self.filing.waiting)
        loader = self._loaders.get(buffer.where.dbms)
        return loader is None or loader.waits_for(buffer)
