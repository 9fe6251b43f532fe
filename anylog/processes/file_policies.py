"""Mapping policies on whole contents: files, and what comes by PUT (ingest.md 2, 5, 5.1, 5.2).

A content is kept, hashed, archived and sent as it came; its rows are mapped each time they are loaded, on every member
alike: by the policy, the content, and the time at which the file was registered. What was cut from a stream is not
mapped again, and its hash says that it was (ingest.md 9.2). Rows that stream are mapped before they are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, ILane, Receipt, unix
from anylog.language.dictionary import Dictionary, Scope
from anylog.language.logs import Logs
from anylog.ledger.policy import Policy
from anylog.mapping.body import MOST_OBJECTS, content_hash, normal_form, read_body
from anylog.mapping.parts import at_once
from anylog.mapping.policies import MappingPolicy, compile_policy
from anylog.mapping.topics import Mapper
from anylog.mapping.values import MOST_TEXT, weight
from anylog.processes.buffers import Buffer, Where
from anylog.processes.forms import named
from anylog.processes.shares import Fails, Share
from anylog.waiting import deferring, gather

FEW = 500  # rows up to which mapping is not worth a hop to another thread
SHORT = 64 << 10  # bytes of them up to which it is not
LARGE = 256 << 10  # bytes from which hashing is
APART = 1.0  # seconds between two looks at a ledger that cannot be reached
KNOWN = 1000  # policies that are kept ready

_Rows = Sequence[Mapping[str, Any]]


class Asking(Exception):
    """The policy is not known here, and the ledger is asked for it; the text says what is waited for."""


class Nowhere(Scope):
    """Where `!key` has no value: members may differ in what they hold, and must not in what they make of a file."""

    def value(self, key: str) -> Any:
        """Raises AnyLogError 9: as undefined it would make a condition false, and the row would be skipped unseen."""
        raise AnyLogError(9, f"'!{key}' cannot be used where a file is mapped: members may differ in it")

    def variable(self, name: str) -> Any:
        """As `value`."""
        raise AnyLogError(9, f"'${name}' cannot be used where a file is mapped: members may differ in it")


class Doors(Protocol):
    """What rows pass before they are kept, see `Accepting`."""

    def accept(
        self,
        dbms: str,
        table: str,
        body: bytes,
        rows: _Rows,
        *,
        source: str = "0",
        instructions: str = "0",
        whole: bool = False,
        key: str = "",
    ) -> Deferred[Receipt]: ...

    def refused(self, dbms: str, table: str) -> AnyLogError | None: ...


@frozen(eq=False)
class Ready:
    """A policy that was read."""

    ident: str
    mapper: Mapper
    timed: bool  # what it makes of a row may depend on the time


@frozen
class Made:
    """What became of rows: those that were made, and those that could not be mapped, each with the reason."""

    rows: list[Mapping[str, Any]]
    unmapped: Sequence[tuple[Mapping[str, Any], str]] = ()
    makers: frozenset[str] = frozenset()  # ids of the policies that made them
    groups: Mapping[tuple[str, str], list[Mapping[str, Any]]] = field(factory=dict)  # by data source and policy


def made_of(
    mapper: Mapper, rows: _Rows, now: float, dbms: str, table: str, known: Callable[[Exception], AnyLogError]
) -> Made:
    """Map each row as a message; in a lane. `known` says in words what nobody expected.

    Raises AnyLogError 501 if that makes too many rows, or more text than fits in memory.
    """
    made: list[Mapping[str, Any]] = []
    unmapped: list[tuple[Mapping[str, Any], str]] = []
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    size = 0
    for row in rows:
        try:
            found = at_once(mapper.parts(row, now, dbms=dbms, table=table))
        except AnyLogError as why:
            unmapped.append((row, str(why)))
            continue
        except Exception as odd:  # a fault of ours over one row must not keep the others
            unmapped.append((row, str(known(odd))))
            continue
        for each in found:
            made += each.rows
            groups.setdefault((each.source, each.policy), []).extend(each.rows)
            size += sum(weight(one.values()) for one in each.rows)
        if len(made) > MOST_OBJECTS or size > MOST_TEXT:
            raise AnyLogError(501, f"more than {MOST_OBJECTS:,} rows or {MOST_TEXT:,} characters are made of it")
    return Made(made, unmapped, frozenset(policy for _, policy in groups), groups)


@define(kw_only=True, eq=False)
class FilePolicies:
    """The policies that files and requests of this node name."""

    _clock: Clock
    _lane: ILane
    _find: Callable[[str], Policy | None]  # in the local copy of the ledger
    _look: Callable[[], Awaitable[str]]  # look at the ledger now; why it cannot be reached, empty if it can
    _scope: Scope  # where rows that stream find `!key`
    _logs: Logs
    _ready: dict[tuple[str, bool], Ready | AnyLogError] = field(factory=dict)
    _asking: bool = False
    _away: str = ""  # why the ledger could not be reached
    _sure: float = -1e9  # when the last look began that ended well: what was in the ledger then is known
    _again: float = -1e9  # before that it is not asked again
    log = Logger()

    def forget(self) -> None:
        """The ledger has changed: policies are read anew."""
        self._ready.clear()

    # ------------------------------------------------------------------ files

    async def concerns(self, buffer: Buffer) -> bool:
        """Whether rows of that buffer are to be mapped when they are loaded."""
        if buffer.where.instructions == "0" or not buffer.whole:
            return False
        if buffer.original is None:
            buffer.original = await self._is_original(buffer)
        return buffer.original

    async def _is_original(self, buffer: Buffer) -> bool:
        """Whether a content is as it came. What is cut from a stream has another kind of hash, wherever that was."""
        file = buffer.file
        if file is None:
            return True  # by PUT
        if file.kind == "sql":
            return False
        return file.hash == await self._hash(file.dbms, file.table, file.normal)

    async def map(self, share: Share, rows_of: Callable[[Share], Awaitable[list[Mapping[str, Any]]]]) -> bool:
        """See that a share has the rows that its policy makes of it; False if these are none.

        To be asked again once it is registered: only then its time and its policy are what they stay. Raises Asking
        while it is not known whether there is such a policy, Fails if a file cannot be mapped. What came by PUT was
        acknowledged: of that all rows are unmapped then.
        """
        buffer = share.buffer
        if not await self.concerns(buffer):
            if share.made_by is not None:
                share.begin_anew()
            return True
        made_by: tuple[object, str]
        try:
            ready = self._of(buffer)
            made_by = (ready, buffer.at if ready.timed else "")
            if share.made_by == made_by:
                return bool(share.rows)
            share.begin_anew()
            made = await self._made_at_load(ready, await rows_of(share), share)
        except Fails as why:
            if buffer.file is not None:
                raise
            share.begin_anew()
            made, made_by = Made([], [(row, str(why)) for row in await rows_of(share)]), (None, "")
        share.take_made(made_by, made.rows, made.unmapped, made.makers)
        return bool(share.rows)

    async def _made_at_load(self, ready: Ready, rows: _Rows, share: Share) -> Made:
        """Raises Fails."""
        buffer, size = share.buffer, sum(each.weight for each in share.pendings)
        try:
            made = await self._made(ready, rows, size, buffer.where, _seconds(buffer.at), at_load=True)
        except AnyLogError as why:
            if why.number != 501:
                raise  # too much waits, or the node stops
            raise Fails(f"policy '{ready.ident}': {why.detail}") from None
        if buffer.file is None and not made.rows and not made.unmapped:
            raise Fails(f"policy '{ready.ident}' takes none of its rows, but it did when they came")
        return made

    def _of(self, buffer: Buffer) -> Ready:
        """Raises Asking or Fails."""
        ident = buffer.where.instructions
        found = self._known(ident, at_load=True)
        if isinstance(found, Ready):
            return found
        if found.number == 113 and self._sure < buffer.since:
            self._ask()
            raise Asking(f"{found.detail}: " + (self._away or "the ledger is asked"))
        raise Fails(found.detail)

    def _ask(self) -> None:
        """Once for all who wait."""
        begun = self._clock.seconds()
        if self._asking or begun < self._again:
            return
        self._asking = True

        def ended(away: str) -> None:
            self._away = away
            if not away:
                self._sure = begun

        def broken(failure: Any) -> None:
            self._away = failure.getErrorMessage()

        def over(_: object) -> None:
            self._asking = False
            if self._away:
                self._again = self._clock.seconds() + APART

        Deferred.fromCoroutine(_awaited(self._look)).addCallbacks(ended, broken).addBoth(over)

    def types(self, where: Where, makers: frozenset[str] = frozenset()) -> Mapping[str, str]:
        """Column -> ledger type of a table that rows of a policy are about to make; `makers` as `Share.makers`."""
        if where.instructions == "0":
            return {}
        found = self._known(where.instructions, at_load=True)
        if not isinstance(found, Ready) or not isinstance(found.mapper, MappingPolicy):
            return {}
        return found.mapper.types(where.dbms, where.table, makers or {found.ident})

    async def content(self, where: Where, hash: str, time: str, content: bytes) -> bytes:
        """What is loaded of the content of a file that was registered at `time`, in normal form.

        Raises AnyLogError 27, 87, 113 or 501 if its policy cannot be applied.
        """
        if where.instructions == "0" or hash != await self._hash(where.dbms, where.table, content):
            return content
        ready = _fine(self._known(where.instructions, at_load=True))
        made = await self._made(ready, read_body(content), len(content), where, _seconds(time[:19]), at_load=True)
        if not made.rows:
            raise AnyLogError(27, f"policy '{ready.ident}' makes no row of it")
        return normal_form(made.rows)

    async def _hash(self, dbms: str, table: str, content: bytes) -> str:
        asked = dbms, table, content
        return content_hash(*asked) if len(content) < LARGE else await self._lane.run(content_hash, *asked)

    # ------------------------------------------------------------------ doors

    @deferring
    async def take(
        self,
        doors: Doors,
        dbms: str,
        table: str,
        body: bytes,
        rows: _Rows,
        *,
        source: str,
        instructions: str,
        whole: bool,
        key: str,
    ) -> Receipt:
        """Keep rows that name a policy: a whole content as it came, others mapped.

        Rows that cannot be mapped are kept as a content of their own, which ends where misfits do. Fails with
        AnyLogError as `accept`, with 113 for a policy that is not there and 87 for one that does not map.
        """
        refusal = doors.refused(dbms, table)
        if refusal is not None:
            raise refusal
        ready = await self._named(instructions, at_load=whole)
        cut = named(dbms, table, source, instructions)[1] != instructions
        if whole and cut:
            told = f"policy '{instructions[:80]}': such an id cannot be a part of the name of a file of {dbms}.{table}"
            raise AnyLogError(40, told)
        where = Where(dbms, table, source, instructions)
        made = await self._made(ready, rows, len(body), where, unix(self._clock), at_load=whole)
        if not made.rows and not made.unmapped:
            return Receipt("0", 0)
        if made.unmapped and cut:  # they could not be kept with it
            raise AnyLogError(6, f"{len(made.unmapped)} of {len(rows)} rows are not mapped: {made.unmapped[0][1]}")
        if whole:
            return await doors.accept(
                dbms, table, body, rows, source=source, instructions=instructions, whole=True, key=key
            )
        kept: list[Deferred[Receipt]] = []
        for number, ((found, policy), some) in enumerate(made.groups.items()):
            kept.append(
                doors.accept(
                    dbms,
                    table,
                    normal_form(some),
                    some,
                    source=source if source != "0" else found,
                    instructions=policy,
                    key=f"{key}.{number}" if key and number else key,
                )
            )
        if made.unmapped:
            left = [row for row, _ in made.unmapped]
            kept.append(
                doors.accept(dbms, table, normal_form(left), left, source=source, instructions=instructions, whole=True)
            )
            told = f"{len(left)} of {len(rows)} rows for {dbms}.{table} were not mapped: {made.unmapped[0][1]}"
            self._logs.error.add("Error", told, f"policy {ready.ident}"[:80])
        receipts = await gather(kept)
        return Receipt("0", len(made.rows), all(each.repeated for each in receipts))

    async def _named(self, ident: str, at_load: bool) -> Ready:
        found = self._known(ident, at_load)
        if isinstance(found, AnyLogError) and found.number == 113:
            away = await self._look()
            found = self._known(ident, at_load)
            if away and isinstance(found, AnyLogError) and found.number == 113:
                raise AnyLogError(113, f"{found.detail}: {away}", http=503)
        return _fine(found)

    # ------------------------------------------------------------------ both

    def _known(self, ident: str, at_load: bool) -> Ready | AnyLogError:
        """As the local copy of the ledger says now."""
        ready = self._ready.get((ident, at_load))
        if ready is None:
            ready = self._read(ident, at_load)
            if len(self._ready) >= KNOWN:
                self._ready.clear()
            self._ready[ident, at_load] = ready
        return ready

    def _read(self, ident: str, at_load: bool) -> Ready | AnyLogError:
        bodies: list[Mapping[str, Any]] = []

        def find(name: str) -> Mapping[str, Any] | None:
            found = self._find(name)
            if found is None:
                return None
            bodies.append(found.body)
            return {found.type: found.body}

        policy = find(ident)
        if policy is None:
            return AnyLogError(113, f"there is no policy '{ident[:80]}'")
        scope = Nowhere(Dictionary(), {}) if at_load else self._scope
        try:
            mapper = compile_policy(policy, scope, find)
        except AnyLogError as why:
            named = why.detail if f"'{ident[:80]}'" in why.detail else f"policy '{ident[:80]}': {why.detail}"
            return AnyLogError(why.number, named)
        return Ready(ident, mapper, any(b"now" in orjson.dumps(body).lower() for body in bodies))

    async def _made(self, ready: Ready, rows: _Rows, size: int, where: Where, now: float, at_load: bool) -> Made:
        """`size` is that of the rows in bytes, about: one may hold many readings. Raises AnyLogError 501."""
        mapper = ready.mapper
        if at_load and isinstance(mapper, MappingPolicy) and rows and mapper.is_mapped(rows[0]):
            return Made(list(rows), makers=frozenset((ready.ident,)))
        asked = mapper, rows, now, where.dbms, where.table, self._odd
        most = mapper.most if isinstance(mapper, MappingPolicy) else 1
        if len(rows) * most <= FEW and size <= SHORT:
            return made_of(*asked)
        return await self._lane.run(made_of, *asked)

    def _odd(self, odd: Exception) -> AnyLogError:
        return AnyLogError(500, f"a fault of this node over this row: {odd!r}")


def _fine(found: Ready | AnyLogError) -> Ready:
    """Raises a new error each time: one that is kept would keep the places of all who raised it."""
    if isinstance(found, AnyLogError):
        raise AnyLogError(found.number, found.detail)
    return found


def _seconds(at: str) -> float:
    """Seconds since 1970 of "YYYY-MM-DD HH:MM:SS" in UTC."""
    return datetime.strptime(at, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


async def _awaited(look: Callable[[], Awaitable[str]]) -> str:
    return await look()
