"""Asks the other members of the cluster what they have of this node's own files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.databases.tsd_ranges import Line, Range
from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.processes.agreement import Place
from anylog.processes.buffers import Where
from anylog.processes.others import Elsewhere, Others, Suspended, Told
from anylog.processes.pulling import Peer, Puller
from anylog.waiting import deadline, gather, pause

UNANSWERED = 224  # of a member of an older version, which cannot tell: it counts as one that knows nothing
SUSPENDED = "files of other members are not asked for: the consumer is suspended"
PAGES = 30.0  # seconds for the list of a member's files

Answer = tuple[dict[int, tuple[str, int, str]], list[Line], bool]


@define(kw_only=True, eq=False)
class Members(Others):
    """The other members, by the ledger of now."""

    _clock: Clock
    _place: Callable[[], Place | None]  # of the operator that runs
    _peers: Callable[[], Sequence[Peer] | None]  # all other operators of the cluster; None: not known
    _puller: Callable[[], Puller]
    _suspended: Callable[[], bool] = field(default=lambda: False)  # whether no files may be asked for
    log = Logger()

    async def known(self, ids: Sequence[int], first: int, wheres: Collection[Where]) -> Told:
        """What they have under these ids of this node's own, and in these tables from the id `first` on, unless 0."""
        if self._place() is None:
            await pause(self._clock, 0)  # the operator is being started, and has its place a moment later
        place, peers = self._place(), self._peers()
        if place is None or peers is None:
            return Told(silent="the members of the cluster are not known here")
        known: dict[int, list[Elsewhere]] = {}
        later: list[Elsewhere] = []
        silent, loading = [], []
        asked = [peer for peer in peers if peer.member]  # who has no member id never had a file
        answers = await gather([self._ask(place, peer, ids, first, wheres) for peer in asked])
        for peer, told in zip(asked, answers, strict=True):
            if isinstance(told, str):
                silent.append(f"member {peer.member} ({peer.name} at {peer.address or 'no address'}): {told}")
                continue
            found, lines, waits = told
            for id, (hash, rows, state) in found.items():
                known.setdefault(id, []).append(
                    Elsewhere(member=peer.member, id=id, hash=hash, rows=rows, state=state)
                )  # fmt: skip
            later += [Elsewhere.of(peer.member, line) for line in lines]
            if waits:
                loading.append(f"member {peer.member} has not loaded all files of this node yet")
        why = [f"whether they were filed before is not told by {', '.join(silent)}"] if silent else []
        return Told(known=known, later=later, silent="; ".join(why), loading="; ".join(loading))

    async def _ask(
        self, place: Place, peer: Peer, ids: Sequence[int], first: int, wheres: Collection[Where]
    ) -> Answer | str:  # fmt: skip
        if not peer.address:
            return "it cannot be asked"
        try:
            # First what waits to be registered there: what is registered meanwhile is in the list.
            known, waits = await self._puller().known(peer, place, place.member, ids, first)
            lines = Deferred.fromCoroutine(self._lines(place, peer, first, wheres))
            return known, await deadline(self._clock, PAGES, lines, "asking for its files"), waits
        except AnyLogError as why:
            return ({}, [], False) if why.number == UNANSWERED else str(why)
        except Exception as fault:
            if isinstance(fault, CancelledError):
                raise
            self.log.failure("asking member {member} for ids", member=peer.member)
            return "internal error, see the log"

    async def _lines(self, place: Place, peer: Peer, first: int, wheres: Collection[Where]) -> list[Line]:
        found: list[Line] = []
        after, more = first - 1, first > 0
        while more:
            page, more = await self._puller().entries(peer, place, place.member, Range(""), after)
            found += [
                line for line in page if Where(line.dbms, line.table, line.source, line.instructions) in wheres
            ]  # fmt: skip
            after = page[-1].id if page else after
        return found

    async def content(self, where: Where, file: Elsewhere) -> bytes | None:
        """The file, unpacked; None if that member cannot give it. Raises AnyLogError."""
        if self._suspended():
            raise Suspended(203, SUSPENDED)
        place, peer = self._at(file)
        return await self._puller().content(peer, place, place.member, _line(where, file))

    async def back(self, where: Where, file: Elsewhere) -> None:
        """Have it come to the watch directory soon. Raises AnyLogError."""
        if self._suspended():
            raise Suspended(203, SUSPENDED)
        place, peer = self._at(file)
        puller = self._puller()
        got = await puller.fetch(peer, place, place.member, [_line(where, file)])
        await puller.deliver(place.member, got.names, ())

    def _at(self, file: Elsewhere) -> tuple[Place, Peer]:
        place = self._place()
        for peer in self._peers() or ():
            if place is not None and peer.member == file.member and peer.address:
                return place, peer
        raise AnyLogError(40, f"there is no member {file.member} now")


def _line(where: Where, file: Elsewhere) -> Line:
    return Line(
        file.id, file.hash, where.dbms, where.table, file.rows, file.state, file.time, where.source, where.instructions
    )  # fmt: skip
