"""Clients of message brokers: what they subscribed to is mapped to rows and kept (ingest.md 3, 4, 7.3).

A batch of messages becomes one record of the journal for each table. A publisher is answered when all of it is synced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson
from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.interfaces import Arrived, Clock, ILane, unix
from anylog.language.logs import Logs
from anylog.ledger.types import merge
from anylog.mapping.body import read_messages
from anylog.mapping.topics import Mapped
from anylog.processes.accepting import Keyed
from anylog.processes.msg_large import LARGE, Item, Lines, Lost, Pace
from anylog.processes.msg_lines import LineFiles
from anylog.processes.msg_repeats import repeat_of
from anylog.processes.msg_topics import Counted, Subscribed, file_part
from anylog.waiting import deferring, pause
from anylog.wire.mqtt_packets import Reason
from anylog.wire.mqtt_session import Ticket
from anylog.wire.topics import most_specific

SLICE = 512  # messages of a batch that are mapped together, or one by one if one of them needs that
FEW = 4  # messages for which that is not worth while
MANY = 4 * SLICE  # that are mapped already, from which they are put together in parts
TOPICS = 10_000  # names of topics whose subscription is remembered
LONGEST_NAME = 256  # characters of one that is: a name may have 65,535 bytes
FULL = frozenset({502, 503})  # errors that say that there is no room at the moment
# Errors of a message that it would have again, whenever it came: it is acknowledged, and told in the error log.
MESSAGE_FAULTS = frozenset({6, 28, 40, 501})
FIRST_WAIT, LONGEST_WAIT = 0.05, 2.0  # seconds until a batch for which there was no room is tried again


class Keep(Protocol):
    """Keeps rows, see `Accepting.messages`."""

    def __call__(
        self,
        dbms: str,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        keyed: Sequence[Keyed] = (),
        *,
        source: str = "0",
        instructions: str = "0",
    ) -> Deferred[int]: ...


@frozen(kw_only=True)
class ClientOptions:
    """What `run msg client` was told."""

    broker: str  # "local", "rest", or a host or URL; of a client that was added the host
    port: int = 1883
    user: str = "unused"
    password: str = "unused"
    client_id: str = ""
    user_agent: str = ""  # lower case, for `rest`
    log: bool = False
    only_log: bool = False
    log_error: bool = False
    reach: Mapping[str, Any] = field(factory=dict)  # how a broker elsewhere is reached, see `interfaces.Outside`
    clean: bool = False
    keep_alive: int = 60  # seconds
    prep_dir: Path
    watch_dir: Path
    err_dir: Path
    blobs_dir: Path
    bwatch_dir: Path

    @property
    def place(self) -> str:
        """The broker as it is shown."""
        if self.broker in ("local", "rest"):
            return self.broker
        return f"[{self.broker}]:{self.port}" if ":" in self.broker else f"{self.broker}:{self.port}"


@define(kw_only=True, eq=False)
class Door:
    """What clients need of the node."""

    clock: Clock
    keep: Keep
    declare: Callable[[str, str, Mapping[str, str]], None]  # columns of a table, before its first rows come
    lines: LineFiles
    lane: ILane  # for reading large bodies
    logs: Logs
    debug: bool = False  # each message and what became of it is shown
    desk: DeferredLock = field(factory=DeferredLock)  # at which one long message at a time is mapped


@define(eq=False)
class _Group:
    """Rows of one batch that go to one place."""

    rows: list[dict[str, Any]] = field(factory=list)
    keyed: list[Keyed] = field(factory=list)
    messages: list[int] = field(factory=list)  # places in the batch, each once


@define(eq=False)
class _Declared:
    """What was said of a table, and for whose rows: a topic, and the id of a policy."""

    makers: set[tuple[Subscribed, str]] = field(factory=set)
    types: dict[str, str] = field(factory=dict)


@define(eq=False)
class _Made:
    """What becomes of one batch."""

    _declare: Callable[[Subscribed, str, str, str], None]
    groups: dict[tuple[str, str, str, str], _Group] = field(factory=dict)
    lines: list[tuple[Path, bytes]] = field(factory=list)
    logged: list[int] = field(factory=list)  # places of the messages that are among the lines

    def group(self, to: Subscribed, mapped: Mapped) -> _Group:
        """Where these rows belong."""
        where = (mapped.dbms, mapped.table, mapped.source, mapped.policy)
        group = self.groups.get(where)
        if group is None:
            group = self.groups[where] = _Group()
            self._declare(to, mapped.dbms, mapped.table, mapped.policy)
        return group


@define(eq=False)
class Client:
    """A numbered client with its topics."""

    number: int
    options: ClientOptions
    topics: Mapping[str, Subscribed]  # by filter
    _door: Door
    counted: Counted = field(factory=Counted)
    state: Callable[[], str] = field(default=lambda: "")
    figures: Callable[[], Mapping[str, Any]] = field(default=dict)  # of the connection, by titles
    stopped: bool = False
    _routes: dict[str, Subscribed | None] = field(factory=dict)
    _declared: dict[tuple[str, str], _Declared] = field(factory=dict)  # by database and table
    _waiting: Deferred[None] | None = None  # until what could not be kept is tried again
    _sharing: list[Deferred[None]] = field(factory=list)  # who waits for that
    _lines: Lines = field(init=False)
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self._lines = Lines(self._take, self._long)

    @property
    def name(self) -> str:
        """By which the node's own broker knows it."""
        return f"msg client {self.number}"

    def route(self, name: str) -> Subscribed | None:
        """The most specific subscription that a topic name matches (ingest.md 7.3)."""
        try:
            return self._routes[name]
        except KeyError:
            filter = most_specific(self.topics, name)
            found = self.topics[filter] if filter is not None else None
            if len(name) <= LONGEST_NAME:
                if len(self._routes) >= TOPICS:
                    self._routes.clear()
                self._routes[name] = found
            return found

    def deliver(self, batch: Sequence[tuple[Ticket | None, Arrived]]) -> Deferred[Mapping[Ticket, int] | None]:
        """Take messages; fires when all are dealt with, and tells the reasons of those that were not taken.

        A message that cannot be mapped is acknowledged: it would come for ever. It is counted and in the error log.
        """
        kept = self.take(
            [
                (None if ticket is None or not ticket.lasts else repeat_of(ticket, message), message)
                for ticket, message in batch
            ]
        )

        def told(lost: Mapping[int, AnyLogError]) -> Mapping[Ticket, int] | None:
            if not lost:
                return None
            return {
                ticket: _reason(why)
                for place, why in lost.items()
                if why.number not in MESSAGE_FAULTS and (ticket := batch[place][0]) is not None
            }

        return kept.addCallback(told)

    def deliver_keyed(self, batch: Sequence[Item]) -> Deferred[None]:
        """As `deliver`, where another tells what is a repeat; fails if any could not be kept."""
        kept = self.take(batch)

        def told(lost: Mapping[int, AnyLogError]) -> None:
            for why in lost.values():
                if why.number not in MESSAGE_FAULTS:
                    raise why

        return kept.addCallback(told)

    def take(
        self,
        batch: Sequence[Item],
        rows: Sequence[list[Mapped]] | None = None,
        *,
        patient: bool = True,
    ) -> Deferred[Lost]:
        """Map the messages and keep what they hold; fires with those that are not kept, by their place.

        `rows` is what they hold, if they were mapped already. While there is no room this waits, if it is `patient`.
        """
        if rows is None and self._lines.needed(batch):
            return self._lines.take(batch)
        return self._take(batch, rows, patient)

    def _take(
        self,
        batch: Sequence[Item],
        rows: Sequence[list[Mapped]] | None = None,
        patient: bool = True,
    ) -> Deferred[Lost]:
        """As `take`, without a look at how long they are."""
        now = unix(self._door.clock)
        made = _Made(self._declare)
        self.counted.messages += len(batch)
        self.counted.last_message = now
        if rows is not None and len(batch) >= MANY:
            return self._many(made, batch, now, rows, patient)
        if rows is not None or self._door.debug:
            self._each(made, batch, range(len(batch)), now, rows)
        else:
            for first in range(0, len(batch), SLICE):
                self._some(made, batch, range(first, min(first + SLICE, len(batch))), now)
        return self._keep(made, batch, patient)

    @deferring
    async def _many(
        self,
        made: _Made,
        batch: Sequence[Item],
        now: float,
        rows: Sequence[list[Mapped]],
        patient: bool,
    ) -> Lost:
        """Of many messages, which were mapped: others are served meanwhile."""
        pace = Pace(self._door.clock)
        for first in range(0, len(batch), SLICE):
            self._each(made, batch, range(first, min(first + SLICE, len(batch))), now, rows)
            await pace.rest(SLICE)
        return await self._keep(made, batch, patient)

    @deferring
    async def _long(self, item: Item) -> Lost:
        """A long message, mapped in parts; all of it is kept, or nothing."""
        message, door = item[1], self._door
        to = self.route(message.topic)
        if to is None or to.logged:
            return await self._take([item])
        await door.desk.acquire()
        try:
            try:
                large = len(message.payload) > LARGE
                read = await door.lane.run(to.read, message.payload) if large else to.read(message.payload)
            except AnyLogError as why:
                if why.number not in MESSAGE_FAULTS:  # it is not the message that is at fault
                    raise
                await self.refuse(to, message, why)
                return {}
            try:
                found = await Pace(door.clock).through(to.parts(message.topic, read, unix(door.clock)))
            except AnyLogError as why:
                await self.refuse(to, message, why)
                return {}
            except Exception:  # a fault of ours over one message must not keep the others
                self.log.failure("mapping a message of {topic}", topic=message.topic[:200])
                await self.refuse(to, message, AnyLogError(500, "a fault of this node; its log has more"))
                return {}
        finally:
            door.desk.release()
        return await self._take([item], [found])

    def _keep(self, made: _Made, batch: Sequence[Item], patient: bool) -> Deferred[Lost]:
        """What was made of a batch."""
        groups, lines, logged = made.groups, made.lines, made.logged
        if len(groups) == 1 and not lines:
            ((where, group),) = groups.items()
            return self._kept(where, group, patient).addCallbacks(
                self._settled, self._lost, callbackArgs=(batch, [group]), errbackArgs=(batch, group)
            )
        return self._all(batch, groups, lines, logged, patient)

    def _some(self, made: _Made, batch: Sequence[Item], places: range, now: float) -> None:
        """The messages of these places, those of each topic together if they can be."""
        some = batch[places.start : places.stop]
        topics: dict[str, Subscribed | None] = dict.fromkeys([message.topic for _, message in some])
        for topic in topics:
            topics[topic] = self.route(topic)
        first = next(iter(topics.values()))
        if all(to is first for to in topics.values()):
            if not self._together(made, first, some, places, now):
                self._each(made, batch, places, now)
            return
        parts: dict[Subscribed | None, list[int]] = {}
        for place in places:
            parts.setdefault(topics[batch[place][1].topic], []).append(place)
        for to, its in parts.items():
            if not self._together(made, to, [batch[place] for place in its], its, now):
                self._each(made, batch, its, now)

    def _together(
        self,
        made: _Made,
        to: Subscribed | None,
        batch: Sequence[Item],
        places: Sequence[int],
        now: float,
    ) -> bool:
        """Messages that need no look of their own; False: at least one of them does, and nothing was done."""
        if to is None or to.logged or len(batch) < FEW:
            return False
        try:
            read = read_messages([message.payload for _, message in batch])
            mapped = None if read is None else to.together(read, now)
        except Exception:  # a fault of ours: it is looked for message by message
            self.log.failure("mapping messages of {name}", name=self.name)
            return False
        if mapped is None:
            return False
        to.counted.messages += len(batch)
        to.counted.last_message = now
        group = made.group(to, mapped)
        keyed = group.keyed
        for row, (known, _) in enumerate(batch, len(group.rows)):
            if known is not None:
                key, token, repeat = known
                keyed.append(Keyed(f"{to.prefix}.{key}", token, row, row + 1, repeat))
        group.rows += mapped.rows
        group.messages += places
        return True

    def _each(
        self,
        made: _Made,
        batch: Sequence[Item],
        places: Sequence[int],
        now: float,
        rows: Sequence[list[Mapped]] | None = None,
    ) -> None:
        """The messages of these places one by one; `rows` is what those of the whole batch hold, if that is known."""
        counted, debug, routes, lines = self.counted, self._door.debug, self._routes, made.lines
        for place in places:
            known, message = batch[place]
            name = message.topic
            to = routes.get(name) or self.route(name)
            if to is None:
                continue
            to.counted.messages += 1
            to.counted.last_message = now
            try:
                if rows is not None:
                    found = rows[place]
                elif to.logged:
                    lines.append(self._line(to, message))
                    made.logged.append(place)
                    continue
                else:
                    found = to.rows(name, message.payload, now)
            except AnyLogError as why:
                self._unmapped(to, message, why, now, lines)
                continue
            except Exception:  # a fault of ours over one message must not keep the others
                self.log.failure("mapping a message of {topic}", topic=name[:200])
                self._unmapped(to, message, AnyLogError(500, "a fault of this node; its log has more"), now, lines)
                continue
            if debug:
                self._show(message, f"{sum(len(each.rows) for each in found)} rows")
            if not found:  # its policies do not apply, which is no error
                counted.success += 1
                to.counted.success += 1
            for mapped in found:
                group = made.group(to, mapped)
                more = bool(group.messages) and group.messages[-1] == place  # rows of the same message
                if not more:
                    group.messages.append(place)
                if known is not None:
                    key, token, repeat = known
                    by = "" if mapped.policy == mapped.source == "0" else f"{mapped.policy}.{mapped.source}."
                    start = group.keyed.pop().first if more else len(group.rows)
                    group.rows += mapped.rows
                    group.keyed.append(Keyed(f"{to.prefix}.{by}{key}", token, start, len(group.rows), repeat))
                else:
                    group.rows += mapped.rows

    @deferring
    async def refuse(self, to: Subscribed, message: Arrived, why: AnyLogError) -> None:
        """A message that was found to be wrong is counted, and where errors are kept it is kept with them."""
        now = unix(self._door.clock)
        lines: list[tuple[Path, bytes]] = []
        for counted in (self.counted, to.counted):
            counted.messages += 1
            counted.last_message = now
        self._unmapped(to, message, why, now, lines)
        if lines:
            await self._door.lines.append(lines)

    def stop(self) -> None:
        """Take nothing more; who waits for room is told that there is none."""
        self.stopped = True
        if self._waiting is not None:
            self._waiting.cancel()

    # ------------------------------------------------------------------ keeping

    def _kept(self, where: tuple[str, str, str, str], group: _Group, patient: bool) -> Deferred[int]:
        dbms, table, source, policy = where
        kept = maybeDeferred(self._door.keep, dbms, table, group.rows, group.keyed, source=source, instructions=policy)
        return kept.addErrback(self._patiently, where, group) if patient else kept

    def _patiently(self, failure: Failure, where: tuple[str, str, str, str], group: _Group) -> Any:
        """There is no room: the publishers wait, and with them their messages."""
        why = failure.value
        if not isinstance(why, AnyLogError) or why.number not in FULL:
            return failure
        return self._again(where, group, why)

    @deferring
    async def _again(self, where: tuple[str, str, str, str], group: _Group, why: AnyLogError) -> int:
        dbms, table, source, policy = where
        wait = FIRST_WAIT
        while True:
            if self.stopped:
                raise why
            await self._pause(wait)
            wait = min(wait * 2, LONGEST_WAIT)
            try:
                return await self._door.keep(dbms, table, group.rows, group.keyed, source=source, instructions=policy)
            except AnyLogError as still:
                if still.number not in FULL:
                    raise
                why = still

    async def _pause(self, seconds: float) -> None:
        """Batches that wait do so together."""
        if self._waiting is None:
            waiting = self._waiting = pause(self._door.clock, seconds)

            def over(result: Any) -> None:
                self._waiting = None
                sharing, self._sharing = self._sharing, []
                for each in sharing:
                    each.callback(None)

            waiting.addBoth(over)
        shared: Deferred[None] = Deferred()
        self._sharing.append(shared)
        await shared

    def _settled(self, rows: int, batch: Sequence[tuple[Any, Arrived]], groups: Sequence[_Group]) -> dict[int, Any]:
        places = groups[0].messages if len(groups) == 1 else sorted({at for each in groups for at in each.messages})
        self._succeeded(batch, places)
        return {}

    def _succeeded(self, batch: Sequence[tuple[Any, Arrived]], places: Sequence[int]) -> None:
        self.counted.success += len(places)
        self._door.logs.kept([batch[place][1].topic for place in places[:1]], self.name)
        if len(self.topics) == 1:
            for to in self.topics.values():
                to.counted.success += len(places)
            return
        for place in places:
            found = self.route(batch[place][1].topic)
            if found is not None:
                found.counted.success += 1

    def _lost(self, failure: Failure, batch: Sequence[tuple[Any, Arrived]], group: _Group) -> Lost:
        why = failure.value
        if not isinstance(why, AnyLogError):
            self.log.failure("keeping messages of {name}", failure, name=self.name)
            why = AnyLogError(500, "a fault of this node; its log has more")
        now = unix(self._door.clock)
        for place in group.messages:
            to = self.route(batch[place][1].topic)
            if to is not None:
                self._failed(to, why, now)
        self._tell(batch[group.messages[0]][1].topic, why, len(group.messages))
        return dict.fromkeys(group.messages, why)

    @deferring
    async def _all(
        self,
        batch: Sequence[tuple[Any, Arrived]],
        groups: Mapping[tuple[str, str, str, str], _Group],
        lines: Sequence[tuple[Path, bytes]],
        logged: Sequence[int],
        patient: bool,
    ) -> Lost:
        """Several places at once; each fails for itself."""
        waits: list[Deferred[Any]] = [self._kept(where, group, patient) for where, group in groups.items()]
        written: Deferred[None] = self._door.lines.append(lines) if lines else succeed(None)
        outcomes = await DeferredList([*waits, written], consumeErrors=True)
        lost: Lost = {}
        missed: set[int] = set()
        for (fine, value), group in zip(outcomes[:-1], groups.values(), strict=True):
            if not fine:
                assert isinstance(value, Failure)
                lost.update(self._lost(value, batch, group))
                missed.update(group.messages)
        fine, value = outcomes[-1]
        if not fine:
            assert isinstance(value, Failure)
            group = _Group(messages=list(logged))
            if logged:
                lost.update(self._lost(value, batch, group))
                missed.update(logged)
            else:
                self._tell("", value.value, 1)
        places = {each for group in groups.values() for each in group.messages} | set(logged)
        self._succeeded(batch, sorted(places - missed))
        return lost

    # ------------------------------------------------------------------ what is said of it

    def _declare(self, to: Subscribed, dbms: str, table: str, policy: str) -> None:
        """Say the columns of a table before its first rows come, those of all topics for it: it is made only once."""
        known = self._declared.get((dbms, table))
        if known is None:
            if len(self._declared) >= TOPICS:  # devices may name as many as they like
                return
            known = self._declared[dbms, table] = _Declared()
        if (to, policy) in known.makers:
            return
        known.makers.add((to, policy))
        for each in (to, *self.topics.values()):
            for column, kind in each.types(dbms, table, (policy,) if each is to else ()).items():
                known.types[column] = merge(known.types.get(column, kind), kind)
        if known.types:
            self._door.declare(dbms, table, known.types)

    def _unmapped(
        self, to: Subscribed, message: Arrived, why: AnyLogError, now: float, lines: list[tuple[Path, bytes]]
    ) -> None:
        self._failed(to, why, now)
        self._tell(message.topic, why, 1)
        if self._door.debug:
            self._show(message, str(why))
        if self.options.log_error:
            name = f"err_{file_part(self.options.place)}_{file_part(message.topic)}.json"
            told = {"topic": message.topic, "error": str(why), "msg": _shown(message.payload)}
            lines.append((self.options.err_dir / name, orjson.dumps(told) + b"\n"))

    def _failed(self, to: Subscribed, why: AnyLogError, now: float) -> None:
        text = str(why)
        to.counted.failed(now, text)
        self.counted.failed(now, text)

    def _tell(self, topic: str, why: object, messages: int) -> None:
        many = f"{messages:,} messages" if messages > 1 else "a message"
        self._door.logs.lost(f"{many} of topic '{topic[:200]}': {why}", self.name)

    def _show(self, message: Arrived, outcome: str) -> None:
        text = message.payload[:2000].decode("utf-8", "replace")
        self.log.info("{name} {topic}: {text} -> {out}", name=self.name, topic=message.topic, text=text, out=outcome)

    def _line(self, to: Subscribed, message: Arrived) -> tuple[Path, bytes]:
        if self._door.debug:
            self._show(message, "to a file")
        if to.topic.persist:
            dbms, table = file_part(self.options.place), file_part(message.topic)
            body = message.payload.replace(b"\r", b" ").replace(b"\n", b" ")
            return self.options.prep_dir / f"{dbms}.{table}.json", body + b"\n"
        place = f"log_{file_part(self.options.broker)}_{self.options.port}.json"
        told = {"topic": message.topic, "msg": _shown(message.payload)}
        return self.options.prep_dir / place, orjson.dumps(told) + b"\n"


def _reason(why: AnyLogError) -> int:
    """How a publisher is told that its message is not kept, and may be sent again."""
    return Reason.QUOTA_EXCEEDED if why.number in FULL else Reason.IMPLEMENTATION_SPECIFIC_ERROR


def _shown(payload: bytes) -> Any:
    """The JSON of a message, or its text."""
    try:
        return orjson.Fragment(orjson.dumps(orjson.loads(payload)))
    except (orjson.JSONDecodeError, TypeError):
        return payload.decode("utf-8", "replace")
