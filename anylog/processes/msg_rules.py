"""Rules for events of text: syslog and lines of whatever, from a port to rows of a table (ingest.md 12).

Nobody waits for an answer to such an event. So events of a moment are kept together, in one record of the journal for
each table; while too much waits, connections are not read from, and what comes by datagrams is dropped and counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, DelayedCall, IEvents, unix
from anylog.language.logs import Logs
from anylog.mapping.body import normal_form, read_message
from anylog.mapping.names import column as column_name
from anylog.mapping.times import timestamp as moment_of
from anylog.mapping.values import instant, iso
from anylog.processes.msg_client import FIRST_WAIT, FULL, LONGEST_WAIT, Keep
from anylog.processes.msg_topics import Counted
from anylog.tank import Tank
from anylog.waiting import deferring, gather, pause
from anylog.wire.syslog import Event, parse

HIGH, LOW = 16 << 20, 8 << 20  # bytes of events that wait for their sync: nobody is read from, and again is
OVERHEAD = 300  # bytes of memory that an event costs beside its text
GATHER = 0.02  # seconds: events of that long share a record
MOST_BYTES = 1 << 20  # of events in one record
MOST_RULES = 1000

BSD = {"priority": "INT", "timestamp": "TIMESTAMP", "hostname": "VARCHAR", "tag": "VARCHAR", "message": "VARCHAR"}
IETF = {
    "priority": "INT",
    "version": "INT",
    "timestamp": "TIMESTAMP",
    "hostname": "VARCHAR",
    "application": "VARCHAR",
    "process_id": "VARCHAR",
    "message_id": "VARCHAR",
    "structured_data": "VARCHAR",
    "message": "VARCHAR",
}
TEXT = {"timestamp": "TIMESTAMP", "message": "VARCHAR"}


@define(eq=False, kw_only=True)
class Rule:
    """What becomes of events; an empty `ip`, `header` or a `port` of 0 fit all."""

    name: str
    ip: str = ""
    port: int = 0
    header: str = ""
    dbms: str = ""  # normalised, as the table
    table: str = ""
    syslog: bool = False
    ietf: bool = False
    extend: bool = False  # the sender's address is a column
    topic: str = ""
    structure: bool = False  # the first event of a sender names the columns
    counted: Counted = field(factory=Counted)

    @property
    def rank(self) -> tuple[int, int, int]:
        """The smaller the more it asks for."""
        asked = bool(self.ip), bool(self.port), bool(self.header)
        return -sum(asked), -(4 * asked[0] + 2 * asked[1] + asked[2]), -len(self.header)

    @property
    def columns(self) -> Mapping[str, str]:
        """Column -> ledger type of a table that is made for it, as far as they are known before."""
        known = IETF if self.ietf else BSD if self.syslog else {} if self.structure else TEXT
        return {**known, "source_ip": "VARCHAR"} if self.extend and known else known


@frozen
class Told:
    """An event for the node's own subscribers."""

    topic: str
    payload: bytes


@define(eq=False)
class _Batch:
    """Rows for one table, or messages of one topic, that are kept together."""

    rows: list[dict[str, Any]] = field(factory=list)
    rules: dict[Rule, int] = field(factory=dict)  # how many of each
    size: int = 0


@define(kw_only=True, eq=False)
class MsgRules:
    """The rules of a node, and the events that wait to be kept."""

    clock: Clock
    keep: Keep
    declare: Callable[[str, str, Mapping[str, str]], None]
    local: Callable[[Sequence[Told]], Deferred[None]]  # to the node's own subscribers
    logs: Logs
    tank: Tank = field(factory=lambda: Tank(LOW, HIGH))
    counts: Counts = field(factory=Counts)
    version: int = 0  # of the rules
    _rules: dict[str, Rule] = field(factory=dict)
    _batches: dict[tuple[str, str, str], _Batch] = field(factory=dict)  # by database, table and topic
    _others: dict[tuple[tuple[str, Any], ...], Rule] = field(factory=dict)  # of who has a place for all else
    _said: dict[tuple[str, str], int] = field(factory=dict)  # by database and table: version that was declared
    _timer: DelayedCall | None = None
    _keeping: dict[Deferred[None], None] = field(factory=dict)
    _pauses: dict[Source, Callable[[bool], None]] = field(factory=dict)
    _stopped: bool = False
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.tank.watch(self._filled)

    def __iter__(self) -> Any:
        """By rank: the first one that fits is taken."""
        return iter(sorted(self._rules.values(), key=lambda rule: rule.rank))

    # ------------------------------------------------------------------ rules

    def add(self, rule: Rule) -> None:
        """Raises AnyLogError 40 if there is one of that name, or one that asks for the same."""
        if rule.name in self._rules:
            raise AnyLogError(40, f"there is a rule '{rule.name}' already: 'reset msg rule {rule.name}' takes it away")
        for other in self._rules.values():
            if (other.ip, other.port, other.header) == (rule.ip, rule.port, rule.header):
                raise AnyLogError(40, f"rule '{other.name}' is for the same ip, port and header")
        if len(self._rules) >= MOST_RULES:
            raise AnyLogError(40, f"there are {MOST_RULES:,} rules, more are not kept")
        self._rules[rule.name] = rule
        self.version += 1

    def remove(self, name: str) -> None:
        """Raises AnyLogError 40 if there is none of that name."""
        if self._rules.pop(name, None) is None:
            raise AnyLogError(40, f"there is no rule '{name[:80]}'")
        self.version += 1

    def fitting(self, ip: str, port: int) -> list[Rule]:
        """Those that events of that sender, come by that port of ours, may fall under, the first one first."""
        return [rule for rule in self if rule.ip in ("", ip) and rule.port in (0, port)]

    # ------------------------------------------------------------------ events

    def wants(self, ip: str, port: int) -> bool:
        """See `interfaces.IRules`."""
        return not self._stopped and bool(self.fitting(ip, port))

    def open(
        self,
        ip: str,
        port: int,
        hold: Callable[[bool], None] | None = None,
        otherwise: Mapping[str, Any] | None = None,
    ) -> IEvents:
        """See `interfaces.IRules`."""
        other = None
        if otherwise is not None:
            named = tuple(sorted(otherwise.items()))
            other = self._others.get(named)
            if other is None:
                other = self._others[named] = Rule(name="", syslog=True, **otherwise)
                self.version += 1
        source = Source(self, ip, port, hold is None, other)
        if hold is not None:
            self._pauses[source] = hold
            if self.tank.full:
                hold(True)
        return source

    def closed(self, source: Source) -> None:
        """A sender is gone."""
        self._pauses.pop(source, None)

    def _filled(self, full: bool) -> None:
        if full:
            self.counts.add("pauses")
        for hold in list(self._pauses.values()):
            hold(full)

    def put(self, rule: Rule, row: dict[str, Any], size: int) -> None:
        """A row that waits to be kept."""
        where = (rule.dbms, rule.table, rule.topic)
        batch = self._batches.get(where)
        if batch is None:
            batch = self._batches[where] = _Batch()
        batch.rows.append(row)
        batch.rules[rule] = batch.rules.get(rule, 0) + 1
        size += OVERHEAD
        batch.size += size
        self.tank.put(size)
        if batch.size >= MOST_BYTES:
            self._send(where)
        elif self._timer is None:
            self._timer = self.clock.callLater(GATHER, self._due)

    def _due(self) -> None:
        self._timer = None
        for where in list(self._batches):
            self._send(where)

    def _send(self, where: tuple[str, str, str]) -> None:
        batch = self._batches.pop(where)
        kept = Deferred.fromCoroutine(self._kept(where, batch))
        self._keeping[kept] = None

        def ended(result: Any) -> None:
            self._keeping.pop(kept, None)
            self.tank.take(batch.size)

        kept.addErrback(lambda failure: self.log.failure("keeping events", failure)).addBoth(ended)

    async def _kept(self, where: tuple[str, str, str], batch: _Batch) -> None:
        """Until there is room; what cannot be kept for another reason is lost, and that is said."""
        wait = FIRST_WAIT
        while True:
            try:
                await maybeDeferred(self._give, where, batch)
            except AnyLogError as why:
                if why.number in FULL and not self._stopped:
                    await pause(self.clock, wait)
                    wait = min(wait * 2, LONGEST_WAIT)
                    continue
                self._lost(batch, why)
            except Exception:  # a fault of ours must not hide what it cost
                self.log.failure("keeping events for {dbms}.{table}", dbms=where[0], table=where[1])
                self._lost(batch, AnyLogError(500, "a fault of this node; its log has more"))
            else:
                for rule, number in batch.rules.items():
                    rule.counted.success += number
                    self.logs.msg.add("Message", f"(OK) {where[0]}.{where[1]}", f"msg rule {rule.name}".strip())
                self.counts.add("kept", len(batch.rows))
            return

    def _give(self, where: tuple[str, str, str], batch: _Batch) -> Deferred[Any]:
        dbms, table, topic = where
        if topic:
            return self.local([Told(topic, normal_form([row])) for row in batch.rows])
        if self._said.get((dbms, table)) != self.version:
            # The table is made once, whosever events come first.
            self._said[dbms, table] = self.version
            columns: dict[str, str] = {}
            for rule in (*batch.rules, *self, *self._others.values()):
                if (rule.dbms, rule.table, rule.topic) == where:
                    columns = {**rule.columns, **columns}
            if columns:
                self.declare(dbms, table, columns)
        return self.keep(dbms, table, batch.rows)

    def _lost(self, batch: _Batch, why: AnyLogError) -> None:
        now = unix(self.clock)
        self.counts.add("dropped: could not be kept", len(batch.rows), str(why))
        for rule, number in batch.rules.items():
            rule.counted.failed(now, str(why), number)
            many = f"{number:,} events were" if number > 1 else "an event was"
            self.logs.lost(f"{many} dropped: {why}", f"msg rule {rule.name}".strip())

    # ------------------------------------------------------------------ the end

    @deferring
    async def settle(self) -> None:
        """Fires when all that has come is dealt with."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._due()
        waits = []
        for each in list(self._keeping):
            waits.append(_after(each))
        await gather(waits)

    def stop(self) -> Deferred[None]:
        """Take nothing more. What finds no room is not waited for."""
        self._stopped = True
        return self.settle()


def _after(kept: Deferred[None]) -> Deferred[None]:
    """Fires when that has ended, one way or another."""
    waited: Deferred[None] = Deferred()

    def over(result: Any) -> Any:
        waited.callback(None)
        return result

    kept.addBoth(over)
    return waited


@define(eq=False)
class Source:
    """One sender: a connection, or who sends datagrams from one address."""

    _rules: MsgRules
    ip: str
    port: int  # of ours
    _impatient: bool  # it cannot be held
    _otherwise: Rule | None
    _fitting: list[Rule] = field(factory=list)
    _version: int = -1
    _titles: dict[Rule, list[tuple[str, int, int | None]]] = field(factory=dict)  # columns with their begin and end

    def take(self, events: Sequence[bytes]) -> None:
        """See `interfaces.IEvents`."""
        rules = self._rules
        if self._version != rules.version:
            self._version, self._fitting = rules.version, rules.fitting(self.ip, self.port)
        now = unix(rules.clock)
        for event in events:
            if (self._impatient and rules.tank.full) or rules._stopped:
                rules.counts.add("dropped: no room" if not rules._stopped else "dropped: stopping")
                continue
            try:
                text = event.decode()
            except UnicodeDecodeError:
                rules.counts.add("not UTF-8")
                text = event.decode("utf-8", "replace")
            text = text.replace("\0", "\ufffd")
            rule = next((each for each in self._fitting if text.startswith(each.header)), self._otherwise)
            if rule is None:
                rules.counts.add("dropped: no rule fits", last=f"from {self.ip}: {text[:60]}")
                continue
            rule.counted.messages += 1
            rule.counted.last_message = now
            try:
                row = self._row(rule, text[len(rule.header) :].lstrip(" ") if rule.header else text, now)
            except AnyLogError as why:
                rule.counted.failed(now, str(why))
                rules.counts.add("dropped: not understood", last=str(why))
                rules.logs.lost(f"an event from {self.ip}: {why}", f"msg rule {rule.name}".strip())
                continue
            if row is None:
                rule.counted.success += 1
                continue
            if rule.extend:
                row["source_ip"] = self.ip
            rules.put(rule, row, len(event))

    def lost(self, events: int) -> None:
        """See `interfaces.IEvents`."""
        if events:
            self._rules.counts.add("dropped: too long", events)

    def close(self) -> None:
        """See `interfaces.IEvents`."""
        self._rules.closed(self)

    def _row(self, rule: Rule, text: str, now: float) -> dict[str, Any] | None:
        if rule.syslog:
            return self._syslog(rule, parse(text, now), now)
        if rule.structure:
            titles = self._titles.get(rule)
            if titles is None:
                self._titles[rule] = _titles(text)
                return None
            return {name: text[begin:end].strip() for name, begin, end in titles}
        if text.startswith("{"):
            message = read_message(text.encode())
            if not message:
                raise AnyLogError(6, "the object is empty")
            return dict(message)
        return {"timestamp": instant(now), "message": text}

    def _syslog(self, rule: Rule, event: Event, now: float) -> dict[str, Any]:
        moment = None if event.timestamp is None else moment_of(event.timestamp)
        if not event.well_formed:
            self._rules.counts.add("not syslog")
        row: dict[str, Any] = {"priority": event.priority}
        if rule.ietf:
            row["version"] = event.version
        row["timestamp"] = instant(now) if moment is None else iso(moment)
        row["hostname"] = event.hostname or self.ip
        if rule.ietf:
            row["application"], row["process_id"] = event.application, event.process_id
            row["message_id"], row["structured_data"] = event.message_id, event.structured_data
        else:
            row["tag"] = event.tag
        row["message"] = event.message
        return row


def _titles(text: str) -> list[tuple[str, int, int | None]]:
    """The columns that an event names, each as wide as its name and the blanks after it; the last one takes the rest.

    Raises AnyLogError 6 for names that cannot be columns.
    """
    found = list(re.finditer(r"\S+", text))
    names: list[str] = []
    try:
        names = [column_name(each[0]) for each in found]
    except AnyLogError as why:
        raise AnyLogError(6, f"the first event does not name columns: {why}") from None
    if not names or len(set(names)) != len(names):
        raise AnyLogError(6, f"the first event does not name columns: {text[:80]!r}")
    ends: list[int | None] = [each.start() for each in found[1:]]
    begins = [0, *[each.start() for each in found[1:]]]
    return list(zip(names, begins, [*ends, None], strict=True))
