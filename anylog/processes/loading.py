"""From the journal into one database: one transaction at a time with its marks (hard-parts.md 1.3, 2).

This is the only place where a streaming row enters a table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from anylog.columns import AUTOMATIC, later
from anylog.counts import Counts
from anylog.disk.journal import Journal
from anylog.errors import AnyLogError
from anylog.interfaces import AnyLogFault, Clock, IDatabase, ILane, Load
from anylog.mapping.rows import Converted, convert
from anylog.mapping.schema import infer
from anylog.processes.buffers import Buffer, Drafts, Pending
from anylog.processes.file_policies import Asking, FilePolicies
from anylog.processes.forms import joined
from anylog.processes.readback import Unreadable, put_aside, read_back
from anylog.processes.registry import Verdict
from anylog.processes.shares import Agree, Fails, Flight, Plan, Ready, Schemas, Share, Waits, convert_short
from anylog.tank import Tank
from anylog.waiting import deferring, pause

ROUND_BYTES = 1 << 20  # readings of one transaction, about
SMALL = 4096  # rows up to which converting is not worth a hop to another thread
MET = ("conflict", "duplicate")  # faults of what is there already
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between attempts while a database refuses


Register = Callable[[Sequence[Buffer]], Awaitable[Sequence[Verdict]]]


@define(kw_only=True, eq=False)
class Loader:
    """Loads what is synced into one database, round after round."""

    database: Schemas
    _journal: Journal
    _clock: Clock
    _lane: ILane  # for converting large batches
    _agree: Agree
    _tank: Tank  # bytes of rows held in memory
    # Told after each commit: buffer, rows loaded, rows parked, seconds that the database took.
    _settled: Callable[[Buffer, int, int, float], None]
    _register: Register  # give buffers their rows in `almgm` (S4, S5)
    _rename: Callable[[Sequence[Buffer]], Awaitable[None]]  # and files their full names (S6)
    _holder: Callable[[Buffer, IDatabase], Awaitable[Verdict]]  # see `Registry.held`
    _drafts: Drafts = field(factory=Drafts)
    _declared: Callable[[str], Mapping[str, str]] = field(default=lambda table: {})  # columns said before rows came
    _policies: FilePolicies | None = None
    # Seconds between rounds while less than a quarter of a full one waits: one transaction for what comes meanwhile
    # costs the engine and the disk a fraction of many, and a reading is still seen long before its second is over.
    _gather: float = 0.0
    point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    waiting: str = ""  # why the database takes nothing at the moment
    log = Logger()

    _queue: dict[Buffer, deque[Pending]] = field(factory=dict)
    _queued: int = 0  # bytes of it
    _alone: dict[Buffer, int] = field(factory=dict)  # how many of a buffer's next records are tried one by one
    # How many of a buffer's next records go together because they went before, and nobody knows whether they were
    # committed: with the same mark they are left out if they were (hard-parts.md 2.6).
    _again: dict[Buffer, int] = field(factory=dict)
    _outdated: set[Buffer] = field(factory=set)  # refused once because the schema was another than thought
    agreeing: dict[str, Deferred[Any]] = field(factory=dict)  # tables whose columns the ledger is asked for
    held: dict[Buffer, str] = field(factory=dict)  # not registered yet, and why
    _moment: tuple[float, str] = (-1.0, "")
    _gathering: bool = False  # a pause in which more may come
    _running: bool = False
    _stopped: bool = False
    _pausing: Deferred[None] | None = None
    _idle: list[Deferred[None]] = field(factory=list)

    def add(self, buffer: Buffer, pendings: Sequence[Pending]) -> None:
        """These records are synced: load them, in this order."""
        self._queue.setdefault(buffer, deque()).extend(pendings)
        self._queued += sum(pending.weight for pending in pendings)
        if self._gathering and self._pausing is not None and self.database.schema(buffer.where.table) is None:
            self._pausing.cancel()  # whoever makes a table looks for it at once
        if self.waiting or buffer.where.table in self.agreeing:
            self._let_go(pendings)
        self._go_on()

    def waits_for(self, buffer: Buffer) -> bool:
        """Whether the readings of a buffer wait for the database or for the ledger."""
        return bool(self.waiting) or buffer.where.table in self.agreeing or buffer in self.held

    def _go_on(self) -> None:
        if not self._running and not self._stopped and self._ready():
            self._running = True
            self._clock.callLater(0, self._work)

    def _ready(self) -> bool:
        """Whether something is queued that does not wait for the ledger or for `almgm`."""
        agreeing, held = self.agreeing, self.held
        return any(buffer.where.table not in agreeing and buffer not in held for buffer in self._queue)

    def drained(self) -> Deferred[None]:
        """Fires when nothing is left to load but what waits for database or ledger, or when loading was stopped."""
        told: Deferred[None] = Deferred()
        if (self._running or self._ready()) and not self.waiting and not self._stopped:
            self._idle.append(told)
            if self._pausing is not None:
                self._pausing.cancel()
        else:
            told.callback(None)
        return told

    def stop(self) -> Deferred[None]:
        """Load no more after the round at hand; what is left stays in the journal."""
        self._stopped = True
        if self._pausing is not None:
            self._pausing.cancel()
        for asked in list(self.agreeing.values()):
            asked.cancel()
        told: Deferred[None] = Deferred()
        if self._running:
            self._idle.append(told)
        else:
            told.callback(None)
        for queue in self._queue.values():
            self._let_go(queue)
        return told

    @deferring
    async def _work(self) -> None:
        attempt = 0
        flight: Flight | None = None
        try:
            while flight is not None or (self._ready() and not self._stopped):
                before, flight = flight, None
                try:
                    flight = await self._turn(before)
                    attempt, self.waiting = 0, ""
                    if flight is None and self._gather and not self._idle and self._queued < ROUND_BYTES // 4:
                        self._gathering = True
                        await self._wait(self._gather)
                        self._gathering = False
                except AnyLogError as refusal:
                    if not self.waiting:
                        self.log.warn("{dbms} takes nothing: {why}", dbms=self.database.name, why=str(refusal))
                    self.waiting = str(refusal)
                    self.counts.add("refused", 1, self.waiting)
                    for queue in self._queue.values():
                        self._let_go(queue)
                    self._tell_idle()
                    await self._wait(PAUSES[min(attempt, len(PAUSES) - 1)])
                    attempt += 1
                except Exception:  # a fault of ours: rows stay safe in the journal, and the reason is told
                    self.log.failure("loading into {dbms} failed", dbms=self.database.name)
                    self.waiting = "internal error, see the log"
                    self._tell_idle()
                    await self._wait(PAUSES[-1])
        finally:
            self._running = False
            self._tell_idle()

    async def _wait(self, seconds: float) -> None:
        if self._stopped:
            return
        self._pausing = pause(self._clock, seconds)
        try:
            await self._pausing
        except CancelledError:
            pass  # told to stop, or to hurry
        finally:
            self._pausing = None

    def _tell_idle(self) -> None:
        idle, self._idle = self._idle, []
        for told in idle:
            told.callback(None)

    def _take(self, flight: Flight | None) -> list[Share]:
        """The oldest records of each buffer that are not on their way, about ROUND_BYTES in all."""
        shares, left = [], ROUND_BYTES
        flying = flight.flying if flight is not None else {}
        for buffer, queue in self._queue.items():
            if left <= 0:
                break
            first = flying.get(buffer, 0)
            if first >= len(queue) or buffer.where.table in self.agreeing or buffer in self.held:
                continue
            taken: list[Pending] = []
            again = self._again.get(buffer, 0)
            most = 1 if self._alone.get(buffer) else again or len(queue)
            for pending in islice(queue, first, None) if first else queue:
                if len(taken) >= most or (taken and left <= 0 and not again):
                    break
                taken.append(pending)
                left -= pending.weight
            shares.append(Share(buffer, taken))
        return shares

    async def _turn(self, flight: Flight | None) -> Flight | None:
        """See what is on its way arrive, and send what comes behind it, which is made ready meanwhile.

        Nothing is taken from the queues before it is committed: what was made ready counts on what is before it, and
        is made anew if that fails.
        """
        ready, refusal = Ready(), None
        if flight is None or self._presses(flight):
            try:
                ready = await self._make_ready(flight)
            except Exception as why:
                if flight is None:
                    raise
                refusal = why  # of no use to those on their way
        if flight is not None and not await self._arrived(flight):
            ready = Ready()
        if refusal is not None:
            raise refusal
        for share, reason in ready.stumbled:
            await self._leave_out(share, reason)
        if not ready.loads:
            return None
        begin = self._clock.seconds()
        return Flight(ready.loads, self.database.load([load for _, load in ready.loads]), begin)

    def _presses(self, flight: Flight) -> bool:
        """Whether enough waits behind a flight, and nothing about it is uncertain."""
        certain = not (self._alone or self._again or self._outdated or self._stopped or flight.changes)
        return certain and self._queued - flight.weight >= ROUND_BYTES // 4

    async def _make_ready(self, flight: Flight | None) -> Ready:
        """All that goes before one transaction."""
        ready = Ready()
        shares = await self._fill(self._take(flight), ready)
        planned: dict[str, Plan] = {}
        known = await self._registered(await self._known(shares, planned, ready))
        convert_short(known, planned)
        for share in known:
            try:
                ready.loads.append((share, await self._prepare(share, planned)))
            except Waits:
                self._put_back(share, planned)
            except Fails as why:
                self._fail(share, str(why))
            except (Unreadable, OSError) as why:
                self._unread(share, why, ready)
            except (AnyLogError, CancelledError):
                raise
            except Exception as stumble:  # a fault of ours over these rows must not hold up what is behind them
                self.log.failure("rows for {table} cannot be converted", table=share.buffer.where.table)
                ready.stumbled.append((share, f"internal error: {stumble!r}"))
        return ready

    async def _arrived(self, flight: Flight) -> bool:
        """Committed: each share is settled, or tried in another way. False if one was left out."""
        try:
            faults = await flight.result
        except Exception:
            self._again.update(flight.flying)
            raise
        seconds = (self._clock.seconds() - flight.begin) / max(1, len(flight.loads))
        self.point("loaded")
        left_out: list[tuple[Share, AnyLogFault]] = []
        for (share, load), fault in zip(flight.loads, faults, strict=True):
            if fault is None:
                self._settle(share, load.rows, seconds)
            else:
                left_out.append((share, fault))
        for share, fault in left_out:  # after those that are committed: this may be refused, and they must not go again
            if share.mended and fault.kind in MET and await self.database.forget_parked(share.buffer.whole):
                continue  # its policy made nothing of it when it came, and does now
            if fault.kind == "duplicate":
                verdict = Verdict("duplicate", "its content is loaded")
                if share.buffer.known and share.buffer.tsd:  # a file that a member registered keeps its entry
                    verdict = await self._holder(share.buffer, self.database)
                self._not_loaded(share, verdict)
            elif fault.kind == "conflict" and await self._done_before([share]):
                continue  # the node ended before it could note in `almgm` what a file of that content had loaded
            elif fault.kind == "missing table" and share.buffer not in self._outdated:
                self._outdated.add(share.buffer)  # dropped or altered meanwhile: once more, with the schema of now
            else:
                await self._leave_out(share, fault.text)
        return not left_out

    async def _known(self, shares: Sequence[Share], planned: dict[str, Plan], ready: Ready) -> list[Share]:
        """Those whose tables are known here or agreed on (S3): nothing is registered that has no table yet."""
        known = []
        for share in shares:
            try:
                if await self._map(share):
                    await self._plan(share, planned)
                elif share.skipped:
                    self._fail(share, "its policy takes none of its rows", "skipped")
                    continue
            except Waits:
                self._put_back(share, planned)
                continue
            except (Unreadable, OSError) as why:
                self._unread(share, why, ready)
                continue
            except Fails as why:
                if not share.buffer.known:  # else its entry is to say so
                    self._fail(share, str(why))
                    continue
            known.append(share)
        self.point("agreed")
        return known

    async def _map(self, share: Share) -> bool:
        """See `FilePolicies.map`. Raises Fails, Waits."""
        if self._policies is None:
            return True
        try:
            return await self._policies.map(share, self._rows_of)
        except Asking as why:
            self._hold(share.buffer, str(why))
            raise Waits(share.buffer.where.table) from None

    def _put_back(self, share: Share, planned: dict[str, Plan]) -> None:
        """Its table waits for the ledger; in memory its rows would keep the readings of other tables out."""
        planned.pop(share.buffer.where.table, None)
        self._let_go(share.pendings)
        self._let_go(self._queue[share.buffer])

    async def _registered(self, shares: Sequence[Share]) -> list[Share]:
        """Those that have their row in `almgm`, or need none (S4 to S6)."""
        new = [share for share in shares if share.buffer.unregistered]
        if not new:
            return list(shares)
        left: dict[Share, str] = {}
        self.point("looked")  # what was registered before is looked up and written in one transaction
        try:
            verdicts = await self._register([share.buffer for share in new])
        except AnyLogError as away:
            for share in new:
                left[share] = str(away)
        else:
            self.point("registered")
            for share, verdict in zip(new, verdicts, strict=True):
                if verdict.kind == "wait":
                    left[share] = verdict.text
                elif verdict.kind != "load" and not verdict.again:
                    self._not_loaded(share, verdict)
            named = [
                share.buffer
                for share in new
                if share.buffer.tsd and share.buffer.file is not None and not share.buffer.verdict
            ]
            if named:
                await self._rename(named)
                self.point("renamed")
            done = await self._done_before(
                [share for share, verdict in zip(new, verdicts, strict=True) if verdict.kind == "repeated"]
            )
            shares = [share for share in shares if share not in done]
        for share, why in left.items():
            self._hold(share.buffer, why)
        return [share for share in shares if not (share.buffer.verdict or share.buffer.unregistered)]

    def _not_loaded(self, share: Share, verdict: Verdict) -> None:
        """Its content is here, or its id is that of another."""
        self.counts.add("duplicates", 1, verdict.text)
        verdict.tell(share.buffer)
        self._settle(share, 0)

    async def _done_before(self, shares: Sequence[Share]) -> list[Share]:
        """Those that were loaded under their very names, as when they waited here for others of the same content."""
        whose = {share: (whose, share.buffer.tsd) for share in shares if (whose := share.named_by)}
        marks = await self.database.file_marks(list(whose.values())) if whose else {}
        done = []
        for share, name in whose.items():
            mark = marks.get(name)
            if mark is not None and share.is_held(mark):
                share.buffer.stored, share.buffer.parked = mark.rows, mark.parked
                self._settle(share, 0)
                done.append(share)
        return done

    def _hold(self, buffer: Buffer, why: str) -> None:
        """Try it again a little later, and go on with the others."""
        self.held[buffer] = why
        if buffer in self._queue:
            self._let_go(self._queue[buffer])

        def again() -> None:
            self.held.pop(buffer, None)
            self._go_on()

        self._clock.callLater(PAUSES[1], again)

    def _fail(self, share: Share, reason: str, verdict: Literal["failed", "skipped"] = "failed") -> None:
        """A file of the watch directory that cannot be loaded: its owner puts it aside."""
        share.buffer.verdict, share.buffer.fault = verdict, reason
        self._settle(share, 0)

    async def _leave_out(self, share: Share, reason: str) -> None:
        """These records cannot be loaded together: try each alone next time; one that is alone is parked."""
        if len(share.pendings) > 1:
            self._alone[share.buffer] = len(share.pendings)
        elif share.buffer.file is not None:
            self._fail(share, reason)
        else:
            self._again[share.buffer] = 1
            await self._park_all(share, reason)

    def _unread(self, share: Share, why: Unreadable | OSError, ready: Ready) -> None:
        """What its records say is not known: for good, or while the disk does not give them."""
        if isinstance(why, Unreadable):
            ready.stumbled.append((share, str(why)))
        else:
            self._hold(share.buffer, f"the journal cannot be read: {why.strerror or why}")

    async def _fill(self, shares: Sequence[Share], ready: Ready) -> list[Share]:
        """Have all rows at hand, unless they are converted already; gives those of which that is so."""
        filled = []
        for share in shares:
            if self._policies is not None and await self._policies.concerns(share.buffer):
                filled.append(share)
                continue  # they are read when they are mapped
            columns = self.columns(share.buffer.where.table)
            early = [pending.early for pending in share.pendings if pending.early is not None]
            # A table that was made anew may have the same columns in another order.
            alike = len({each.converted.names for each in early}) == 1 and all(e.columns == columns for e in early)
            if columns is not None and len(early) == len(share.pendings) and alike:
                share.converted = joined(early), columns
            else:
                try:
                    await self._rows_of(share)
                except (Unreadable, OSError) as why:
                    self._unread(share, why, ready)
                    continue
            filled.append(share)
        return filled

    async def _rows_of(self, share: Share) -> list[Mapping[str, Any]]:
        """Those that were let go are read back: from the journal, or from the normal form of their file."""
        if share.rows or share.made_by is not None:
            return share.rows
        return await read_back(share, self._journal, self._lane)

    def columns(self, table: str) -> dict[str, str] | None:
        """The data columns of a table as it is now; None if there is none."""
        schema = self.database.schema(table)
        return None if schema is None else {name: kind for name, kind in schema.items() if name not in AUTOMATIC}

    async def _plan(self, share: Share, planned: dict[str, Plan]) -> Plan:
        """The table as it is, or as the ledger agrees that it is to be made."""
        table = share.buffer.where.table
        plan = planned.get(table)
        if plan is None:
            columns = self.columns(table)
            plan = Plan(columns or {})
            if columns is None:
                rows = await self._rows_of(share)
                inferred = infer(rows) if len(rows) <= SMALL else await self._lane.run(infer, rows)
                declared = self._declared(table)
                if self._policies is not None:
                    declared = {**self._policies.types(share.buffer.where, share.makers), **declared}
                plan.columns = self._agreed(table, {**declared, **inferred, **declared})
                plan.create = dict(plan.columns)
            planned[table] = plan
        return plan

    async def _prepare(self, share: Share, planned: dict[str, Plan]) -> Load:
        """The rows of a share by the columns of its table, which is made or grown if need be.

        Every load says all that its table needs, also if one before it in the round says the same: that one may be
        left out.
        """
        buffer = share.buffer
        table = buffer.where.table
        if not await self._map(share):
            return share.nothing(self._clock.seconds(), self._now())
        plan = planned[table] if table in planned else await self._plan(share, planned)
        while True:
            converted, made_for = share.converted
            if converted is None or made_for != plan.columns:
                converted = await self._convert(await self._rows_of(share), plan.columns, buffer.at)
            grown = {name: kind for name, kind in converted.wanted.items() if plan.columns.get(name) != kind}
            if not grown:
                break
            agreed = {
                name: kind if name in plan.columns else later(kind)
                for name, kind in self._agreed(table, grown).items()
                if name in grown or name not in plan.columns
            }
            if agreed.items() <= plan.columns.items():
                break  # the ledger keeps to its types
            plan.columns.update(agreed)
            plan.alter.update(agreed)
        reasons = dict(converted.misfits)
        if buffer.file is not None and not converted.count:
            raise Fails(f"no row fits: {min(reasons.items())[1]}" if reasons else "no rows")
        parked = share.left_out(reasons)
        share.parked = len(parked)
        return Load(
            table=table,
            columns=converted.names,
            values=converted.values,
            rows=converted.count,
            marks=[share.mark(converted.count, len(parked))],
            parked=parked,
            keys=share.keys(self._clock.seconds(), buffer.whole or "0"),
            tsd_name=str(buffer.owner) if buffer.tsd else "0",
            tsd_id=buffer.tsd,
            inserted=self._now(),
            create=plan.create,
            alter=dict(plan.alter) or None,
        )

    def _agreed(self, table: str, columns: Mapping[str, str]) -> dict[str, str]:
        """What the ledger knows; raises Waits while it is asked, and goes on with this table once it has answered."""
        if table in self.agreeing:
            raise Waits(table)
        asked = self._agree(self.database.name, table, columns)
        found: list[Any] = []
        asked.addBoth(found.append)
        if found and not isinstance(found[0], Failure):
            return dict(found[0])
        self.agreeing[table] = asked

        def ended(result: object) -> None:
            if isinstance(found[0], Failure) and not self._stopped:
                self.log.warn("{dbms}.{table}: {why}", dbms=self.database.name, table=table, why=str(found[0].value))
                self._clock.callLater(PAUSES[3], again)
            else:
                again()

        def again() -> None:
            # The next round asks again, and is answered at once if the ledger has agreed.
            self.agreeing.pop(table, None)
            self._go_on()

        asked.addBoth(ended)
        raise Waits(table)

    async def _convert(self, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], at: str) -> Converted:
        if len(rows) <= SMALL:
            return convert(rows, columns, at)
        return await self._lane.run(convert, rows, columns, at)

    async def _park_all(self, share: Share, reason: str) -> None:
        """The engine refuses this one record: keep its rows aside, so that what is behind it flows on."""
        now, inserted = self._clock.seconds(), self._now()
        try:
            load = share.aside(dict.fromkeys(range(len(await self._rows_of(share))), reason), now, inserted)
        except Unreadable as why:
            load = await put_aside(share, self._journal, str(why), now, inserted)
        faults = await self.database.load([load])
        if faults[0] is not None and faults[0].kind in MET:
            # What it is called is taken: kept aside without a name, it holds nobody up.
            nameless = [evolve(mark, id=0, hash=None) for mark in load.marks]
            faults = await self.database.load([evolve(load, marks=nameless)])
        if faults[0] is not None:
            raise AnyLogError(16, f"{load.table}: {faults[0].text}")
        self._settle(share, 0)

    def _settle(self, share: Share, rows: int, seconds: float = 0.0) -> None:
        """The share is committed: it leaves the queue."""
        buffer = share.buffer
        queue = self._queue[buffer]
        for pending in share.pendings:
            queue.popleft()
            self._queued -= pending.weight
            buffer.pending.popleft()
            self._tank.take(pending.let_go())
            buffer.applied = pending.sequence
        if buffer in self._alone:
            self._alone[buffer] -= 1
            if not self._alone[buffer]:
                del self._alone[buffer]
        self._again.pop(buffer, None)
        self._outdated.discard(buffer)
        if not queue:
            del self._queue[buffer]
        self.counts.add("rows", rows)
        self.counts.add("parked", share.parked)
        buffer.stored += rows
        buffer.parked += share.parked
        if share.parked and not buffer.whole:
            self._drafts.drop(buffer)  # its file is without them
        self._settled(buffer, rows, share.parked, seconds)

    def _let_go(self, pendings: Sequence[Pending] | deque[Pending]) -> None:
        """Keep no rows in memory while a database is away: they are safe in the journal."""
        for pending in pendings:
            self._tank.take(pending.let_go())

    def _now(self) -> str:
        """Kept for a millisecond: many files are loaded in one."""
        now = self._clock.seconds()
        if not 0 <= now - self._moment[0] < 0.001:
            self._moment = now, datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        return self._moment[1]
