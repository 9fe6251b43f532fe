"""Asks one operator of each cluster, another one if that does not answer, and says who could not be asked (query.md 7).

A node that is silent is found out by pings while its answer is waited for, so that it costs a bounded time; a node that
works for minutes is waited for as long as it answers them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, IPeers, Reply
from anylog.jobs import COMPLETED, DELIVERED, EMPTY, PROCESSING, Job, Part
from anylog.query.formats import Missing
from anylog.query.rows import ReceivedPages, question
from anylog.query.tails import CHECKED, NOWHERE, Known, Marked, Peek, Position, Tails, listed, pairs, shared_out
from anylog.waiting import deadline, deferring, gather

FIRST_LOOK = 0.5  # seconds without an answer after which a node is pinged
PATIENCE = 1.0  # seconds it has for that, and between pings
QUICK = 0.3  # seconds that a node has which did not answer before
LAST = 2.0  # and that all of a target have when all seem to have fallen silent at once
SYNCING, STOPS = 508, 506  # an operator that missed something; a node that goes
_UNREACHABLE = (8, 15, 21, 81, 208)
_NOT_READY = (5, 10, 29, 509)  # another member of its cluster may well have it
_SAME_ELSEWHERE = (26, 76, 77)


@frozen
class Target:
    """One part of a table: a cluster, and the operators that hold it, in the order in which they are tried."""

    name: str
    addresses: Sequence[str]
    cluster: bool = True  # False: a node that was named by the user
    members: Mapping[str, int] = field(factory=dict)  # address -> id, of those that have one


def elsewhere(error: AnyLogError) -> bool:
    """Whether another member of the cluster may do better."""
    if error.number in (*_UNREACHABLE, *_NOT_READY):
        return True
    return error.http >= 500 and error.number not in _SAME_ELSEWHERE


def unreachable(error: AnyLogError) -> bool:
    """Whether the node itself was not there, rather than that it refused."""
    return error.number in _UNREACHABLE


@define(eq=False)
class Suspects:
    """Nodes that are not active: they did not answer, and nothing was heard of them since."""

    _peers: Callable[[], IPeers]

    def add(self, address: str, why: str) -> None:
        """It did not answer."""
        self._peers().doubt(address, why)

    def __contains__(self, address: str) -> bool:
        """Whether it is known not to answer."""
        state = self._peers().state(address)
        return state is not None and not state.active


def guarded(clock: Clock, asked: Deferred[Reply], ping: Callable[[float], Deferred[Any]], name: str) -> Deferred[Reply]:
    """Give what `asked` gives; while it takes long the node is pinged, and error 15 ends the wait when it is silent."""
    given: Deferred[Reply] = Deferred(lambda _: asked.cancel())
    call: Any = None
    silent: AnyLogError | None = None

    def look() -> None:
        deadline(clock, PATIENCE, ping(PATIENCE), "a ping").addCallbacks(answered, lost)

    def answered(_: object) -> None:
        nonlocal call
        if not given.called:
            call = clock.callLater(PATIENCE, look)

    def lost(failure: Any) -> None:
        nonlocal silent
        if not given.called:
            silent = AnyLogError(15, f"{name} does not answer: {failure.value}", node=name)
            asked.cancel()

    def ended(result: Any) -> None:
        if call is not None and call.active():
            call.cancel()
        if not given.called:
            given.callback(result) if silent is None else given.errback(silent)

    call = clock.callLater(FIRST_LOOK, look)
    asked.addBoth(ended)
    return given


@define(eq=False)
class Stream:
    """The rows of one node."""

    address: str
    number: int  # within its target
    rows: int  # that the node says it will send
    part: Part | None
    pages: ReceivedPages | None
    taken: int = 0
    size: int = 0  # bytes that came

    @property
    def over(self) -> bool:
        """Whether all rows are here."""
        return self.taken >= self.rows

    def close(self) -> None:
        """No more is wanted."""
        pages, self.pages = self.pages, None
        if pages is not None:
            pages.close()


@define(eq=False, kw_only=True)
class Asked:
    """One target of a query: the node that answers for it, what others have each for itself, and their pages.

    The first stream is the bulk, each other one the tail of another member (`tails`).
    """

    number: int
    target: Target
    head: Mapping[str, Any]
    peers: IPeers
    clock: Clock
    suspects: Suspects
    tails: Tails | None = None  # None: only one member is asked, whatever others have
    own: str = ""  # the address of this node
    hops: int = 0
    job: Job | None = None
    volume: int = 0  # bytes that one node may send, 0: any number
    streams: list[Stream] = field(factory=list)
    _left: list[str] = field(init=False)
    _syncing: list[str] = field(factory=list)  # those that would answer if there is nobody else
    _without: set[str] = field(factory=set)  # those whose tail is not asked for any more
    _failed: list[tuple[str, AnyLogError]] = field(factory=list)
    _parts: dict[str, Part] = field(factory=dict)  # of the nodes that are being asked
    _address: str = ""
    _closed: bool = False
    _scouted: bool = False
    _hasty: list[str] = field(factory=list)  # those that had little time, as they did not answer before
    _patient: bool = False  # they had more time since
    given_up: bool = False  # it takes no part in a partial answer

    def __attrs_post_init__(self) -> None:
        self._left = list(self.target.addresses)

    @property
    def rows(self) -> int:
        """Rows that the nodes say they will send."""
        return sum(stream.rows for stream in self.streams)

    @property
    def taken(self) -> int:
        """Rows that came."""
        return sum(stream.taken for stream in self.streams)

    @property
    def over(self) -> bool:
        """Whether all rows are here."""
        return all(stream.over for stream in self.streams)

    @property
    def address(self) -> str:
        """The node that was asked last."""
        return self._address or next(iter(self.target.addresses), "")

    async def open(self) -> None:
        """Ask node after node until one begins to answer. Raises AnyLogError that names the target."""
        self.close()
        while self._left or self._syncing or await self._once_more():
            anyway = not self._left
            address = self._address = (self._left or self._syncing).pop(0)
            try:
                self.streams = await self._ask(address, {**self.head, "anyway": True} if anyway else self.head)
            except AnyLogError as error:
                if error.number == SYNCING and not anyway:
                    self._syncing.append(address)
                self._note(address, error)
                if not elsewhere(error):
                    raise self._named(error) from None
                continue
            for stream in self.streams:
                self._say(stream.part, PROCESSING if stream.rows else EMPTY)
                if not stream.rows:
                    stream.close()
            return
        raise self.refusal()

    async def describe(self) -> dict[str, str]:
        """The columns of the table, as the first node that answers knows them. Raises AnyLogError."""
        while self._left or await self._once_more():
            address = self._address = self._left.pop(0)
            try:
                reply = await self._reach(address, self.head)
            except AnyLogError as error:
                self._note(address, error)
                continue
            columns = reply.head.get("columns")
            if isinstance(columns, dict):
                return {str(name): str(kind) for name, kind in columns.items()}
        raise self.refusal()

    async def next(self) -> tuple[int, bytes] | None:
        """Rows and text of the next page, the bulk first; None after the last. Raises AnyLogError as `take`."""
        while True:
            stream = next((stream for stream in self.streams if not stream.over), None)
            if stream is None or self._closed:
                return None
            page = await self.take(stream)
            if page is not None:
                return page

    async def take(self, stream: Stream) -> tuple[int, bytes] | None:
        """Rows and text of the next page of one stream.

        If that breaks before any row of the target was taken, all of it is asked anew, and None is given: there are
        other streams now. Raises AnyLogError 15 if rows are missing, 77.
        """
        try:
            page = await stream.pages.next() if stream.pages is not None else None
            if page is None:
                why = f"{stream.rows - stream.taken} of {stream.rows} rows are missing"
                raise AnyLogError(15, why, node=stream.address)
        except AnyLogError as error:
            self._note(stream.address, error, stream.part)
            if stream.number and unreachable(error):  # without its tail, then
                self._without.add(stream.address)
                self._left.insert(0, self._address)
            if self.taken or not self.again(error):
                raise self._named(error, stream.address) from None
            await self.open()
            return None
        stream.taken += page[0]
        stream.size += len(page[1])
        if stream.part is not None:
            stream.part.blocks += 1
            stream.part.rows += page[0]
        if self.volume and stream.size > self.volume:
            large = AnyLogError(77, f"{stream.address} sends more than {self.volume:,} bytes", node=stream.address)
            self._note(stream.address, large, stream.part)
            raise large
        if stream.over:
            self._say(stream.part, COMPLETED)
            stream.close()
        return page

    def ready(self, stream: Stream) -> bool:
        """Whether a stream is to be read now: a tail after the bulk has begun, which may have to be asked anew."""
        return not stream.number or bool(self.streams[0].taken) or self.streams[0].over

    def again(self, error: AnyLogError) -> bool:
        """Whether another node may be asked for the whole part, after `error` broke the answer of the last one."""
        return bool(self._left or self._syncing) and elsewhere(error) and not self._closed

    def refusal(self) -> AnyLogError:
        """Why nobody answers for the target."""
        if not self._failed:
            return AnyLogError(203, f"cluster '{self.target.name}' has no operator")
        address, last = self._failed[-1]
        if not self.target.cluster or not unreachable(last):
            return self._named(last, address)
        why = "; ".join(f"{address}: {error}" for address, error in self._failed)
        return AnyLogError(203, f"No active operator for cluster: {self.target.name} ({why})", node=address)

    def missing(self, error: AnyLogError) -> Missing:
        """The target as one that takes no part."""
        if not self._failed or self._failed[-1][1] is not error:
            self._note(self._address, error)
        self.close()
        self.given_up = True
        return Missing(error.node or self.address, error.number, str(error))

    def close(self) -> None:
        """What came is not wanted, nor what is still to come."""
        streams, self.streams = self.streams, []
        for stream in streams:
            stream.close()

    def stop(self) -> None:
        """The query has ended, for good or bad."""
        self._closed = True
        for stream in self.streams:
            stream.close()
        for part in [*self._parts.values(), *[stream.part for stream in self.streams]]:
            if part is not None and part.ended is None:
                self._say(part, "Stopped")

    # Asking the chosen member, and the others for their tails

    async def _ask(self, address: str, head: Mapping[str, Any]) -> list[Stream]:
        """The answer of one member, with what others have each for itself."""
        self._begin(address)
        others = self._others(address)
        if not others:
            return [self._stream(address, await self._reach(address, head))]
        tails, table = self.tails, (str(head["dbms"]), str(head["table"]))
        assert tails is not None
        known = {other: tails.get(address, other, *table) for other in others}
        since = sorted({each.seen for each in known.values()} - {NOWHERE})
        told = [file for other, each in known.items() for file in listed(others[other], each.open)]
        question = {"since": since, "open": told if len(told) <= CHECKED else []}
        early: dict[
            str, tuple[list[int], Stream]
        ] = {}  # rows of what was open the last time, which most often still is
        shares = shared_out(known)
        peeks = {
            other: self._peek(other, others[other], known[other].at, head, shares.get(other, []), early)
            for other in others
        }
        try:
            reply = await self._reach(address, {**head, "marks": question})
        except BaseException:
            for peek in peeks.values():
                peek.addErrback(lambda _: None)
                peek.cancel()
            self._drop(early)
            raise
        bulk = self._stream(address, reply)
        try:
            marked = Marked.read(reply)
            looked = dict(zip(peeks, await gather(peeks.values()), strict=True))
            if not marked.same:  # its database is another one: what was known of it is not so
                known = {other: Known() for other in others}
                looked = {other: await self._peek(other, others[other], NOWHERE, head, [], early) for other in others}
            now: dict[str, Known] = {}
            for other, peek in looked.items():
                if peek is None:
                    continue
                held = len(told) <= CHECKED and marked.same  # it was asked for these
                before = known[other].open if peek.same else {}
                now[other] = await self._known(
                    address, others[other], before if held else {}, marked, peek, {} if held else before
                )
                tails.keep(address, other, *table, now[other])
            return [bulk, *await self._tails(now, others, head, early)]
        except BaseException:
            bulk.close()
            self._drop(early)
            raise

    def _others(self, chosen: str) -> dict[str, int]:
        """Address and id of the members whose tails are asked for."""
        if self.tails is None:
            return {}
        return {
            address: member
            for address, member in self.target.members.items()
            if address != chosen and address not in self._without and address not in self.suspects
        }

    @deferring
    async def _peek(
        self,
        address: str,
        member: int,
        after: Position,
        head: Mapping[str, Any],
        ids: list[int],
        early: dict[str, tuple[list[int], Stream]],
    ) -> Peek | None:
        """All of a member's own files behind a position, and the rows of `ids`; None if it takes no part."""
        files: dict[int, str | None] = {}
        same = True
        while True:
            question: dict[str, Any] = {"peek": {"member": member, "after": after}}
            rows, ids = ids, []
            try:
                if rows:
                    self._begin(address)
                    reply = await self._reach(address, {**head, **question, "only": {"member": member, "ids": rows}})
                    early[address] = rows, self._stream(address, reply)
                    found = Peek.read(reply.head.get("peek"))
                else:
                    found = Peek.read((await self._reach(address, {**self._table(), **question})).head)
            except AnyLogError as error:
                self._left_out(address, error)
                return None
            if not found.same:
                files, same = {}, False
            files.update(found.files)
            if not found.more:
                return Peek(files, found.at, False, same)
            after = found.at

    async def _known(
        self,
        chosen: str,
        member: int,
        told: Mapping[int, str | None],
        marked: Marked,
        peek: Peek,
        untold: Mapping[int, str | None],
    ) -> Known:
        """Which of a member's files the chosen one does not hold at the moment of its answer."""
        still = {id: hash for id, hash in told.items() if (member, id) in marked.open}
        asked = {id: hash for id, hash in {**untold, **peek.files}.items() if id not in still}
        files = listed(member, asked)
        for at in range(0, len(files), CHECKED):
            check = {"at": marked.at[0], "files": files[at : at + CHECKED]}
            reply = await self._reach(chosen, {**self._table(), "check": check})
            for _, id in pairs(reply.head.get("open", ())):
                still[id] = asked.get(id)
        return Known(peek.at, marked.at, still)

    async def _tails(
        self,
        known: dict[str, Known],
        others: Mapping[str, int],
        head: Mapping[str, Any],
        early: dict[str, tuple[list[int], Stream]],
    ) -> list[Stream]:
        """The rows of the members' own files that the chosen one does not hold; `early` are those that came already."""
        while True:
            shares = shared_out(known)
            came: dict[str, Stream] = {}
            for address in [each for each in early if sorted(shares.get(each, ())) == sorted(early[each][0])]:
                came[address] = early.pop(address)[1]
            self._drop(early)
            waits = [
                self._tail(address, {**head, "only": {"member": others[address], "ids": ids}}, came)
                for address, ids in shares.items()
                if address not in came
            ]
            try:
                await gather(waits)
            except BaseException:
                for stream in came.values():
                    stream.close()
                raise
            lost = [address for address in shares if address not in came]
            for address in lost:
                del known[address]
            if not lost or shared_out(known) == {address: shares[address] for address in came}:
                streams = [came[address] for address in shares if address in came]
                for number, stream in enumerate(streams, 1):
                    stream.number = number
                return streams
            for stream in came.values():  # they have to answer for what the lost one was asked for, too
                stream.close()

    @deferring
    async def _tail(self, address: str, head: Mapping[str, Any], came: dict[str, Stream]) -> None:
        self._begin(address)
        try:
            came[address] = self._stream(address, await self._reach(address, head))
        except AnyLogError as error:
            self._left_out(address, error)

    def _left_out(self, address: str, error: AnyLogError) -> None:
        """A member of which no tail comes. Raises the error if that may not be: it is active and has something."""
        if not unreachable(error) and error.number not in (*_NOT_READY, STOPS):
            raise self._named(error, address)
        self._without.add(address)
        if error.number not in _NOT_READY:
            self._begin(address)
            self._note(address, error)
            self._failed.pop()  # it says nothing of the target

    def _drop(self, early: dict[str, tuple[list[int], Stream]]) -> None:
        """These rows are not wanted."""
        for _, stream in early.values():
            stream.close()
            self._say(stream.part, EMPTY)
        early.clear()

    def _table(self) -> dict[str, Any]:
        return {"dbms": self.head["dbms"], "table": self.head["table"]}

    def _stream(self, address: str, reply: Reply) -> Stream:
        rows, first = reply.head.get("rows"), reply.head.get("page", b"")
        if not isinstance(rows, int) or not isinstance(first, bytes):
            raise AnyLogError(21, "not an answer to a select", node=address)
        return Stream(address, 0, rows, self._parts.get(address), ReceivedPages.of(address, first, reply.body))

    async def _reach(self, address: str, head: Mapping[str, Any]) -> Reply:
        """Raises AnyLogError 15 or 208 within a bounded time if the node is not there."""
        head, body = question(head if self.job is None else {**head, "job": self.job.slot})
        if address == self.own:
            return await self.peers.ask(address, "select", head, body, hops=self.hops)
        if address in self.suspects:
            try:
                await deadline(self.clock, QUICK, self.peers.ping(address, QUICK), "a ping")
            except AnyLogError as error:
                if address not in self._hasty:
                    self._hasty.append(address)
                raise AnyLogError(15, f"{address} did not answer before, nor now: {error}", node=address) from None
        asked = self.peers.ask(address, "select", head, body, hops=self.hops)
        self._say(self._parts.get(address), DELIVERED)

        def ping(seconds: float) -> Deferred[float]:
            self._scout(seconds)
            return self.peers.ping(address, seconds)

        return await guarded(self.clock, asked, ping, address)

    def _scout(self, seconds: float) -> None:
        """See which of the others answer, so that two silent members cost no more time than one."""
        if self._scouted:
            return
        self._scouted = True
        for address in self._left:
            if address not in self.suspects and address != self.own:
                looked = deadline(self.clock, seconds, self.peers.ping(address, seconds), "a ping")
                looked.addErrback(self._silent, address)

    async def _once_more(self) -> bool:
        """Whether one of those that had little time is to be asked after all, now that nobody answered.

        That many fall silent at one moment is mostly the load of this very machine, or of all; only in the query that
        found it out, so that a target that is gone is told of at once from then on.
        """
        if not self._scouted or self._patient or not self._hasty or self._closed:
            return False
        self._patient = True
        looks = [deadline(self.clock, LAST, self.peers.ping(each, LAST), "a ping") for each in self._hasty]
        first = DeferredList(looks, fireOnOneCallback=True, consumeErrors=True)
        try:
            found: Any = await first
        finally:
            for look in looks:
                look.cancel()
        if isinstance(found, tuple):  # of the first that answered; a list: nobody did
            self._left.append(self._hasty[found[1]])
        return bool(self._left)

    def _silent(self, failure: Failure, address: str) -> None:
        self.suspects.add(address, str(failure.value))

    # What is told of it

    def _begin(self, address: str) -> None:
        """One more participant, or the same once more."""
        part = self._parts.get(address)
        if self.job is not None and (part is None or part.ended is not None):
            self._parts[address] = self.job.part(address, self.clock.seconds())

    def _note(self, address: str, error: AnyLogError, part: Part | None = None) -> None:
        self._failed.append((address, error))
        if unreachable(error) and self.target.addresses:
            self.suspects.add(address, str(error))
        self._say(part or self._parts.get(address), f"Error: {error}")

    def _named(self, error: AnyLogError, address: str = "") -> AnyLogError:
        if not error.node:
            error.node = address or self._address
        return error

    def _say(self, part: Part | None, status: str) -> None:
        if part is not None and part.ended is None:
            part.status = status
            if status not in (DELIVERED, PROCESSING):
                part.ended = self.clock.seconds()
