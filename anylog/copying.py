"""Where a node keeps its copy equal to those of the other members of its cluster (operator-ha.md 6-8).

The rooms that do the work know neither the network nor the ledger; here they meet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import date

from attrs import define
from twisted.logger import Logger

from anylog.databases.tsd import Tsd
from anylog.disk.places import Places
from anylog.interfaces import Clock, Disk, IPeers, Lanes
from anylog.ledger.cluster import Clusters, Operator
from anylog.process import Processes
from anylog.processes.agreement import Place


@define(kw_only=True, eq=False)
class Copying:
    """One member's part in what its cluster does together."""

    clock: Clock
    peers: IPeers
    clusters: Clusters
    disk: Disk
    lanes: Lanes
    places: Places
    processes: Processes
    place: Callable[[], Place | None]  # of the operator that runs
    tsd: Callable[[], Tsd | None]  # the tables of files, if they are here
    # Which of these days all members have whole, as far as this node knows; given by whoever compares with them.
    agreed: Callable[[Sequence[date]], Awaitable[set[date]]] | None = None
    log = Logger()

    def members(self) -> list[Operator]:
        """The other operators of the own cluster, with an address and a member id, by that; empty without a place."""
        place = self.place()
        if place is None:
            return []
        share = self.clusters.cluster_of(place.operator)
        operators = share.operators if share is not None else ()
        found = [each for each in operators if each.id != place.operator and each.member and each.address]
        return sorted(found, key=lambda each: each.member or 0)

    async def copied(self, days: Sequence[date]) -> set[date]:
        """Of which days it is known that all members of the cluster have what is archived here."""
        if not self.members():
            return set(days)
        return await self.agreed(days) if self.agreed is not None else set()

    def cluster_ids(self) -> set[int]:
        """The member ids of the own cluster, the own one included."""
        place = self.place()
        return {each.member or 0 for each in self.members()} | ({place.member} if place is not None else set())
