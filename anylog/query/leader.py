"""Asks one operator of each cluster, another one if that does not answer, and says who could not be asked (query.md 7).

A node that is silent is found out by pings while its answer is waited for, so that it costs a bounded time; a node that
works for minutes is waited for as long as it answers them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, IPeers, Reply
from anylog.jobs import COMPLETED, DELIVERED, EMPTY, PROCESSING, UNREACHED, Job, Part
from anylog.query.formats import Missing
from anylog.query.rows import ReceivedPages
from anylog.waiting import deadline

FIRST_LOOK = 0.5  # seconds without an answer after which a node is pinged
PATIENCE = 1.0  # seconds it has for that, and between pings
QUICK = 0.3  # seconds that a node has which did not answer before
SUSPECTED = 10.0  # seconds for which it is remembered here that a node did not answer
_UNREACHABLE = (8, 15, 21, 81, 208)
_NOT_READY = (5, 10, 29)  # another member of its cluster may well have it
_SAME_ELSEWHERE = (26, 76, 77)


@frozen
class Target:
    """One part of a table: a cluster, and the operators that hold it, in the order in which they are tried."""

    name: str
    addresses: Sequence[str]
    cluster: bool = True  # False: a node that was named by the user


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
    """Nodes that did not answer a moment ago: they get less time."""

    _clock: Clock
    _peers: Callable[[], IPeers]
    _since: dict[str, float] = field(factory=dict)

    def add(self, address: str) -> None:
        """It did not answer."""
        self._since[address] = self._clock.seconds()

    def clear(self, address: str) -> None:
        """It did."""
        self._since.pop(address, None)

    def __contains__(self, address: str) -> bool:
        """Whether it is known not to answer."""
        state = self._peers().state(address)
        if state is not None and not state.active:
            return True
        since = self._since.get(address)
        if since is None:
            return False
        if self._clock.seconds() - since > SUSPECTED or (state is not None and state.at > since):
            del self._since[address]
            return False
        return True


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


@define(eq=False, kw_only=True)
class Asked:
    """One target of a query: the node that answers for it, and its pages."""

    number: int
    target: Target
    head: Mapping[str, Any]
    peers: IPeers
    clock: Clock
    suspects: Suspects
    own: str = ""  # the address of this node
    hops: int = 0
    body: bytes = b""  # what is too large for the head
    job: Job | None = None
    volume: int = 0  # bytes that one node may send, 0: any number
    rows: int = 0  # that the node says it will send
    taken: int = 0
    _bytes: int = 0
    _left: list[str] = field(init=False)
    _failed: list[tuple[str, AnyLogError]] = field(factory=list)
    _part: Part | None = None
    _address: str = ""
    _pages: ReceivedPages | None = None
    _closed: bool = False
    _scouted: bool = False
    given_up: bool = False  # it takes no part in a partial answer

    def __attrs_post_init__(self) -> None:
        self._left = list(self.target.addresses)

    @property
    def over(self) -> bool:
        """Whether all rows are here."""
        return self.taken >= self.rows

    @property
    def address(self) -> str:
        """The node that was asked last."""
        return self._address or next(iter(self.target.addresses), "")

    async def open(self) -> None:
        """Ask node after node until one begins to answer. Raises AnyLogError that names the target."""
        while self._left:
            address = self._left.pop(0)
            self._address = address
            self._part = self.job.part(address, self.clock.seconds()) if self.job else None
            try:
                reply = await self._reach(address)
                rows, first = reply.head.get("rows"), reply.head.get("page", b"")
                if not isinstance(rows, int) or not isinstance(first, bytes):
                    raise AnyLogError(21, "not an answer to a select", node=address)
            except AnyLogError as error:
                self._note(error)
                if not elsewhere(error):
                    raise self._named(error) from None
                continue
            self.suspects.clear(address)
            self.rows, self.taken, self._bytes = rows, 0, 0
            self._pages = ReceivedPages.of(address, first, reply.body)
            self._say(PROCESSING if rows else EMPTY)
            if not rows:
                self.close()
            return
        raise self.refusal()

    async def describe(self) -> dict[str, str]:
        """The columns of the table, as the first node that answers knows them. Raises AnyLogError."""
        for address in self.target.addresses:
            self._address = address
            try:
                reply = await self._reach(address)
            except AnyLogError as error:
                self._note(error)
                continue
            columns = reply.head.get("columns")
            if isinstance(columns, dict):
                return {str(name): str(kind) for name, kind in columns.items()}
        raise self.refusal()

    async def next(self) -> tuple[int, bytes] | None:
        """Rows and text of the next page, None after the last.

        Another node is asked if this one breaks before its first row. Raises AnyLogError 15 if rows are missing, 77.
        """
        while True:
            if self._pages is None or self.over:
                return None
            try:
                page = await self._pages.next()
                if page is None:
                    why = f"{self.rows - self.taken} of {self.rows} rows are missing"
                    raise AnyLogError(15, why, node=self._address)
                break
            except AnyLogError as error:
                self._note(error)
                if self.taken or not self.again(error):
                    raise self._named(error) from None
            await self.open()
        self.taken += page[0]
        self._bytes += len(page[1])
        if self._part is not None:
            self._part.blocks += 1
            self._part.rows += page[0]
        if self.volume and self._bytes > self.volume:
            large = AnyLogError(77, f"{self._address} sends more than {self.volume:,} bytes", node=self._address)
            self._note(large)
            raise large
        if self.over:
            self._say(COMPLETED)
            self.close()
        return page

    def again(self, error: AnyLogError) -> bool:
        """Whether another node may be asked for the whole part, after `error` broke the answer of the last one."""
        return bool(self._left) and elsewhere(error) and not self._closed

    def refusal(self) -> AnyLogError:
        """Why nobody answers for the target."""
        if not self._failed:
            return AnyLogError(203, f"cluster '{self.target.name}' has no operator")
        address, last = self._failed[-1]
        if not self.target.cluster or not unreachable(last):
            return self._named(last)
        why = "; ".join(f"{address}: {error}" for address, error in self._failed)
        return AnyLogError(203, f"No active operator for cluster: {self.target.name} ({why})", node=address)

    def missing(self, error: AnyLogError) -> Missing:
        """The target as one that takes no part."""
        if not self._failed or self._failed[-1][1] is not error:
            self._note(error)
        self.given_up, self.rows, self.taken = True, 0, 0
        return Missing(error.node or self.address, error.number, str(error))

    def close(self) -> None:
        """No more is wanted."""
        pages, self._pages = self._pages, None
        if pages is not None:
            pages.close()

    def stop(self) -> None:
        """The query has ended, for good or bad."""
        self._closed = True
        self.close()
        if self._part is not None and self._part.ended is None:
            self._say("Stopped")

    async def _reach(self, address: str) -> Reply:
        """Raises AnyLogError 15 or 208 within a bounded time if the node is not there."""
        if address == self.own:
            return await self.peers.ask(address, "select", self.head, self.body, hops=self.hops)
        if address in self.suspects:
            try:
                await deadline(self.clock, QUICK, self.peers.ping(address, QUICK), "a ping")
            except AnyLogError as error:
                raise AnyLogError(15, f"{address} did not answer before, nor now: {error}", node=address) from None
        asked = self.peers.ask(address, "select", self.head, self.body, hops=self.hops)
        self._say(DELIVERED)

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

    def _silent(self, _: Failure, address: str) -> None:
        self.suspects.add(address)

    def _note(self, error: AnyLogError) -> None:
        self._failed.append((self._address, error))
        if unreachable(error) and self.target.addresses:
            self.suspects.add(self._address)
        self._say(UNREACHED if error.number == 208 else f"Error: {error}")
        self.close()

    def _named(self, error: AnyLogError) -> AnyLogError:
        if not error.node:
            error.node = self._address
        return error

    def _say(self, status: str) -> None:
        part = self._part
        if part is not None and part.ended is None:
            part.status = status
            if status not in (DELIVERED, PROCESSING):
                part.ended = self.clock.seconds()
