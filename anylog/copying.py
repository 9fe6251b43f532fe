"""Where a node keeps its copy equal to those of the other members of its cluster (operator-ha.md 6-8).

The rooms that do the work know neither the network nor the ledger; here they meet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import date
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.databases.catalog import Catalog
from anylog.databases.tsd import Tsd
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Disk, Lanes
from anylog.ledger.cluster import Clusters, Operator, addresses_of
from anylog.network.peers import Peers
from anylog.process import Processes
from anylog.processes.agreement import Place
from anylog.processes.audit import Audit, AuditService
from anylog.processes.courier import Courier
from anylog.processes.delivery import Delivery
from anylog.processes.distributor import Cluster, Distributor
from anylog.processes.operator import Operator as OperatorProcess
from anylog.processes.overview import OverviewService
from anylog.processes.repairing import Repair
from anylog.processes.whole import FilingOptions, Outcome, WholeFile


@define(kw_only=True, eq=False)
class Copying:
    """One member's part in what its cluster does together."""

    clock: Clock
    peers: Peers
    clusters: Clusters
    disk: Disk
    lanes: Lanes
    places: Places
    processes: Processes
    databases: Catalog
    place: Callable[[], Place | None]  # of the operator that runs
    tsd: Callable[[], Tsd | None]  # the tables of files, if they are here
    courier: Courier = field(init=False)
    delivery: Delivery = field(init=False)
    # Which of these days all members have whole, as far as this node knows; given by whoever compares with them.
    agreed: Callable[[Sequence[date]], Awaitable[set[date]]] | None = None
    filing: Callable[[], FilingOptions | None]  # where the files of the operator that runs go
    bring: Callable[[WholeFile], Deferred[Outcome]]
    in_work: Callable[[], Set[str]]  # names of the buffers and hashes of the files that are on their way
    point: Callable[[str], None] = field(default=lambda name: None)  # told where a kill may be tried
    repairs: set[str] = field(factory=set)  # the tables that are being repaired
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.peers.serve("audit", AuditService(audit=self.audit))
        self.peers.serve("overview", OverviewService(databases=self.databases, tsd=self.tsd))
        lane = self.lanes.open("disk", 2)
        self.courier = Courier(clock=self.clock, disk=self.disk, lane=lane, ask=self.peers.ask, point=self.point)
        self.delivery = Delivery(
            disk=self.disk,
            lane=lane,
            operator=self.operator,
            tsd=self.tsd,
            members=self.cluster_ids,
            trusted=self.trusted,
            point=self.point,
        )

    def audit(self) -> Audit:
        """Looks at the files of this node."""
        return Audit(
            databases=self.databases,
            tsd=self.tsd,
            member=self._member,
            options=self.filing,
            disk=self.disk,
            lane=self.lanes.open("disk", 2),
            cpu=self.lanes.open("cpu"),
        )

    def repair(self) -> Repair:
        """Mends the files of this node."""
        return Repair(
            clock=self.clock,
            audit=self.audit(),
            databases=self.databases,
            ask=self.peers.ask,
            members=self.members,
            place=self.place,
            bring=self.bring,
            in_work=self.in_work,
            watch=self._watched,
            point=self.point,
        )

    def _watched(self) -> Path:
        """The watch directory. Raises AnyLogError 203 if no operator runs."""
        operator = self.processes.find("operator")
        if not isinstance(operator, OperatorProcess):
            raise AnyLogError(203, "no operator runs on this node")
        return operator.watch.options.folder

    def _member(self) -> int:
        place = self.place()
        return place.member if place is not None else 0

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

    # ------------------------------------------------------------------ pushing

    def operator(self) -> OperatorProcess | None:
        """The operator that runs."""
        found = self.processes.find("operator")
        return found if isinstance(found, OperatorProcess) else None

    def trusted(self, asker: Asker) -> bool:
        """Whether files are taken from a node: of the own cluster, as far as its address tells (decisions.md 10)."""
        known = {address for each in self.members() for address in (each.address, *addresses_of(each.policy))}
        return not asker.host or asker.address in known - {""}

    def cluster(self) -> Cluster | None:
        """Who this member is, and who the others are; None without a place."""
        place = self.place()
        return None if place is None else Cluster(id=place.cluster, member=place.member, others=self.members())

    def active(self, address: str) -> bool:
        """False from a failure until the node is heard of again."""
        state = self.peers.state(address)
        return state is None or state.active

    def distribute(self, paths: Sequence[Path]) -> None:
        """Files were published for the other members."""
        found = self.processes.find("distributor")
        if isinstance(found, Distributor):
            found.nudge(paths)
