"""Asks the other members of the cluster what they have under ids of this node's own files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from anylog.databases.tsd_ranges import Line
from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.processes.agreement import Place
from anylog.processes.buffers import Buffer
from anylog.processes.earlier import Elsewhere, Others, Told
from anylog.processes.pulling import Peer, Puller
from anylog.waiting import gather, pause


@define(kw_only=True, eq=False)
class Members(Others):
    """The other members, by the ledger of now."""

    _clock: Clock
    _place: Callable[[], Place | None]  # of the operator that runs
    _peers: Callable[[], Sequence[Peer] | None]  # all other operators of the cluster; None: not known
    _puller: Callable[[], Puller]
    log = Logger()

    async def known(self, ids: Sequence[int]) -> Told:
        """What they have under these ids of this node's own."""
        if self._place() is None:
            await pause(self._clock, 0)  # the operator is being started, and has its place a moment later
        place, peers = self._place(), self._peers()
        if place is None or peers is None:
            return Told(silent="the members of the cluster are not known here")
        found: dict[int, list[Elsewhere]] = {}
        silent = []
        asked = [peer for peer in peers if peer.member]  # who has no member id never had a file
        for peer, told in zip(asked, await gather([self._ask(place, peer, ids) for peer in asked]), strict=True):
            if isinstance(told, str):
                silent.append(f"member {peer.member} ({peer.name} at {peer.address or 'no address'}): {told}")
                continue
            for id, (hash, rows, state) in told.items():
                found.setdefault(id, []).append(
                    Elsewhere(member=peer.member, id=id, hash=hash, rows=rows, state=state)
                )  # fmt: skip
        told_of = f"whether they were filed before is not told by {', '.join(silent)}" if silent else ""
        return Told(known=found, silent=told_of)

    async def _ask(self, place: Place, peer: Peer, ids: Sequence[int]) -> dict[int, tuple[str, int, str]] | str:
        if not peer.address:
            return "it cannot be asked"
        try:
            return await self._puller().known(peer, place, place.member, ids)
        except AnyLogError as why:
            return str(why)
        except Exception as fault:
            if isinstance(fault, CancelledError):
                raise
            self.log.failure("asking member {member} for ids", member=peer.member)
            return "internal error, see the log"

    async def content(self, buffer: Buffer, file: Elsewhere) -> bytes | None:
        """The file, unpacked; None if that member cannot give it. Raises AnyLogError."""
        place, peer = self._at(file)
        return await self._puller().content(peer, place, place.member, _line(buffer, file))

    async def back(self, buffer: Buffer, file: Elsewhere) -> None:
        """Have it come to the watch directory soon. Raises AnyLogError."""
        place, peer = self._at(file)
        puller = self._puller()
        got = await puller.fetch(peer, place, place.member, [_line(buffer, file)])
        await puller.deliver(place.member, got.names, ())

    def _at(self, file: Elsewhere) -> tuple[Place, Peer]:
        place = self._place()
        for peer in self._peers() or ():
            if place is not None and peer.member == file.member and peer.address:
                return place, peer
        raise AnyLogError(40, f"there is no member {file.member} now")


def _line(buffer: Buffer, file: Elsewhere) -> Line:
    where = buffer.where
    return Line(
        file.id, file.hash, where.dbms, where.table, file.rows, file.state, buffer.time, where.source,
        where.instructions,
    )  # fmt: skip
