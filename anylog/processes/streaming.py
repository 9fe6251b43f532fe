"""What rows pass on their way into a table: streaming conditions and aggregation (ingest.md 14, 15).

Nothing of it is kept across a restart: scripts declare it again, and intervals that were open begin anew.
"""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Forget, ILane, Receipt, unix
from anylog.language.dictionary import Scope
from anylog.mapping.body import content_hash, normal_form, read_body
from anylog.mapping.streaming import Condition, Conditions, screen
from anylog.mapping.windows import MOST_WAITING, Aggregations, Derived
from anylog.process import Rhythm
from anylog.processes.whole import Outcome, WholeFile
from anylog.waiting import deadline, deferring, pause

SLICE = 2000  # rows between which others are served
PENDING = 100  # commands of one condition that wait or run; beyond it they are dropped
PATIENCE = 60.0  # seconds that one command may take
BEAT = 1.0  # seconds between two looks at intervals whose time is over

_Rows = Sequence[Mapping[str, Any]]


@define(kw_only=True, eq=False)
class Stream:
    """See `accepting.Stream`; it is in the way of rows only while it has something to do."""

    _clock: Clock
    _scope: Scope
    _execute: Callable[[str], Deferred[Any]]  # a command of a condition
    _assign: Callable[[str, Any], None]  # a key of the dictionary
    _store: Callable[[str, str, _Rows], Deferred[Receipt]]  # rows that were made of others
    _use: Callable[[Stream | None], None]  # put it in the way of rows, or take it out
    _disk: Disk
    _lane: ILane  # for the disk
    _cpu: ILane
    conditions: Conditions = field(factory=Conditions)
    aggregations: Aggregations = field(factory=Aggregations)
    monitored: set[tuple[str, str, str]] = field(factory=set)  # declared by `data monitor`: dbms, table, column
    counts: Counts = field(factory=Counts)
    stored: dict[tuple[str, str], int] = field(factory=dict)  # derived rows, by where they went
    failed: dict[tuple[str, str], str] = field(factory=dict)  # why the last ones were not stored
    _late: deque[Derived] = field(factory=deque)  # that could not be stored yet
    _queues: dict[Condition, deque[Mapping[str, Any]]] = field(factory=dict)
    _full: set[Condition] = field(factory=set)
    _rhythm: Rhythm | None = None
    log = Logger()

    def changed(self) -> None:
        """Call it after conditions or aggregations were declared or removed."""
        self._use(self if len(self.conditions) or self.aggregations.declares else None)
        if self._rhythm is None and self.aggregations.active:
            self._rhythm = Rhythm(clock=self._clock, every=BEAT, do=self._beat, name="aggregations")
            self._rhythm.start()

    async def stop(self) -> None:
        """No more rows come: what is open is ended and stored."""
        rhythm, self._rhythm = self._rhythm, None
        if rhythm is not None:
            await rhythm.stop()
        now = unix(self._clock)
        self.aggregations.close(now, all=True)
        await self._give_out(self.aggregations.take(now, all=True))
        if len(self.conditions) or self.aggregations.declares:
            self._use(None)
        if self._late:
            self.log.error("{rows} rows of aggregations could not be stored", rows=len(self._late))

    # ------------------------------------------------------------------ rows

    def watches(self, dbms: str, table: str) -> bool:
        """See `accepting.Stream`."""
        return bool(self.conditions.of(dbms, table)) or self.aggregations.follows(dbms, table)

    def stores(self, dbms: str, table: str) -> bool:
        """See `accepting.Stream`."""
        return self.aggregations.stores(dbms, table)

    def screen(self, dbms: str, table: str, rows: _Rows) -> _Rows:
        """See `accepting.Stream`."""
        conditions = self.conditions.of(dbms, table)
        if not conditions:
            return rows
        left = screen(conditions, rows, self._scope, self._fire, lambda: self.aggregations.thresholds(dbms, table))
        if len(left) == len(rows):
            return rows
        self.counts.add("rows removed", len(rows) - len(left), f"{dbms}.{table}")
        return left

    @deferring
    async def through(self, dbms: str, table: str, rows: _Rows) -> _Rows:
        """See `accepting.Stream`."""
        if len(rows) <= SLICE:
            return self.screen(dbms, table, rows)
        left: list[Mapping[str, Any]] = []
        for first in range(0, len(rows), SLICE):
            if first:
                await pause(self._clock, 0)
            left += self.screen(dbms, table, rows[first : first + SLICE])
        return left

    @deferring
    async def passed(self, dbms: str, table: str, rows: _Rows) -> None:
        """See `accepting.Stream`."""
        for first in range(0, len(rows), SLICE):
            if first:
                await pause(self._clock, 0)
            self.aggregations.feed(dbms, table, rows[first : first + SLICE], unix(self._clock))

    @deferring
    async def bring(self, file: WholeFile, bring: Callable[[WholeFile], Deferred[Outcome]]) -> Outcome:
        """A file that somebody put into the watch directory; those of members have passed where they came from.

        If rows are removed the file is written anew before anything else is done with it, so that a crash cannot
        bring them back.
        """
        dbms, table = file.dbms, file.table
        own = not (file.member or file.delivered or file.archived) and file.kind == "json"
        if not own or not self.watches(dbms, table):
            return await bring(file)
        rows: _Rows = list(file.rows)
        if not rows:  # they were converted as soon as they were read
            rows = await self._cpu.run(read_body, file.normal)
        left = await self.through(dbms, table, rows)
        if not left or not self.stores(dbms, table):
            await self._lane.run(self._disk.batch, [Forget(file.path, file.stamp)])
            await self.passed(dbms, table, left)
            return Outcome(kind="loaded", path=file.path)
        if len(left) != len(rows):
            normal = normal_form(left)
            stamp = await self._lane.run(self._rewrite, file, normal)
            file = evolve(
                file,
                rows=list(left),
                normal=normal,
                hash=content_hash(dbms, table, normal),
                stamp=stamp,
                early=None,
            )
        outcome = await bring(file)
        if outcome.kind == "loaded":
            await self.passed(dbms, table, left)
        return outcome

    def _rewrite(self, file: WholeFile, normal: bytes) -> tuple[int, int]:
        """In a lane: the file as it is now, unless somebody changed it meanwhile (AnyLogError 63)."""
        if self._disk.stat(file.path)[:2] != file.stamp:
            raise AnyLogError(63, f"{file.path.name} was changed while its rows were looked at")
        self._disk.publish(file.path, gzip.compress(normal, 6, mtime=0) if file.path.suffix == ".gz" else normal)
        size, changed, _ = self._disk.stat(file.path)
        return size, changed

    # ------------------------------------------------------------------ commands

    def _fire(self, condition: Condition, row: Mapping[str, Any]) -> None:
        """Soon, one after the other: rows do not wait for what is done about them."""
        queue = self._queues.get(condition)
        if queue is None:
            queue = self._queues[condition] = deque()
            self._clock.callLater(0, self._begin, condition, queue)
        if len(queue) < PENDING:
            queue.append(row)
            return
        self.counts.add("commands dropped", 1, condition.text[:200])
        if condition not in self._full:
            self._full.add(condition)
            self.log.warn("{condition}: {most} commands wait, more are dropped", condition=condition.text, most=PENDING)

    def _begin(self, condition: Condition, queue: deque[Mapping[str, Any]]) -> None:
        self._work(condition, queue).addErrback(lambda failure: self.log.failure("streaming condition", failure))

    @deferring
    async def _work(self, condition: Condition, queue: deque[Mapping[str, Any]]) -> None:
        try:
            while queue:
                try:
                    await self._run(condition, queue[0])
                except (AnyLogError, CancelledError) as why:
                    self.counts.add("commands failed", 1, str(why))
                    self.log.warn("{condition}: {why}", condition=condition.text, why=str(why))
                queue.popleft()
                if len(queue) < PENDING // 2:
                    self._full.discard(condition)
        finally:
            self._queues.pop(condition, None)

    async def _run(self, condition: Condition, row: Mapping[str, Any]) -> None:
        command = condition.command
        assert command is not None
        self.counts.add("commands run")
        if command.key:
            self._assign(command.key, command.value(row))
            return
        await deadline(self._clock, PATIENCE, self._execute(command.text(row)), "a command of a streaming condition")

    # ------------------------------------------------------------------ rows made of others

    @deferring
    async def _beat(self) -> None:
        now = unix(self._clock)
        self.aggregations.close(now)
        await self._give_out(self.aggregations.take(now))
        if not self.aggregations.active and not self._late and self._rhythm is not None:
            rhythm, self._rhythm = self._rhythm, None
            rhythm.stop()

    async def _give_out(self, made: Sequence[Derived]) -> None:
        self._late.extend(made)
        groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        late, self._late = self._late, deque()
        for each in late:
            groups.setdefault((each.dbms, each.table), []).append(each.row)
        for where, rows in groups.items():
            try:
                await self._store(*where, rows)
                self.stored[where] = self.stored.get(where, 0) + len(rows)
                self.failed.pop(where, None)
            except AnyLogError as why:
                if where not in self.failed:
                    self.log.error(
                        "aggregations for {dbms}.{table}: {why}", dbms=where[0], table=where[1], why=str(why)
                    )
                self.failed[where] = str(why)
                self._late.extend(Derived(*where, row) for row in rows)
        while len(self._late) > MOST_WAITING:
            self._late.pop()
            self.counts.add("rows of aggregations dropped")

    def late(self, dbms: str, table: str) -> int:
        """Rows made for that table that could not be stored yet."""
        return sum((each.dbms, each.table) == (dbms, table) for each in self._late)
