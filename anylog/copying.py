"""Where a node keeps its copy equal to those of the other members of its cluster (operator-ha.md 6-8).

The rooms that do the work know neither the network nor the ledger; here they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from anylog.databases.tsd import Tsd
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Lanes
from anylog.ledger.cluster import Clusters, Operator
from anylog.network.peers import Peers
from anylog.process import Processes
from anylog.processes.agreement import Place
from anylog.processes.consumer import Consumer, ConsumerOptions, Mode
from anylog.processes.exchange import Exchange, Folders
from anylog.processes.operator import Operator as OperatorProcess
from anylog.processes.pulling import Peer, Puller, Range
from anylog.processes.standing import Standing
from anylog.waiting import deferring, gather, pause

NEVER = "9999"  # a time from which on there are no files
KNOWN = 3.0  # seconds for a member to tell the last id it knows of ours


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
    place: Callable[[], Place | None]  # of the operator that runs
    tsd: Callable[[], Tsd | None]  # the tables of files, if they are here
    point: Callable[[str], None] = field(default=lambda name: None)
    delivered: Callable[[Sequence[str]], object] = field(default=lambda names: None)  # files in the watch directory
    standing: Standing = field(factory=Standing)
    exchange: Exchange = field(init=False)
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.exchange = Exchange(
            clock=self.clock,
            disk=self.disk,
            lane=self.lanes.open("disk", 2),
            place=self.place,
            members=self.cluster_ids,
            tsd=self.tsd,
            folders=self.folders,
            complete=lambda: self.complete,
            standing=self.standing,
            met=self._met,
        )
        for kind, handler in self.exchange.handlers().items():
            self.peers.serve(kind, handler)

    def members(self) -> list[Operator]:
        """The other operators of the own cluster, with an address and a member id, by that; empty without a place."""
        place = self.place()
        if place is None:
            return []
        share = self.clusters.cluster_of(place.operator)
        operators = share.operators if share is not None else ()
        found = [each for each in operators if each.id != place.operator and each.member and each.address]
        return sorted(found, key=lambda each: each.member or 0)

    def cluster_ids(self) -> set[int]:
        """The member ids of the own cluster, the own one included."""
        place = self.place()
        return {each.member or 0 for each in self.members()} | ({place.member} if place is not None else set())

    # ------------------------------------------------------------------ pulling

    def folders(self) -> Folders | None:
        """Of the operator that runs."""
        operator = self.processes.find("operator")
        if not isinstance(operator, OperatorProcess):
            return None
        given = operator.options.given
        named = {
            key: Path(str(given[key])).expanduser().absolute() for key in ("archive_dir", "distr_dir", "error_dir")
        }
        return Folders(
            watch=operator.watch.options.folder,
            archive=named["archive_dir"],
            distr=named["distr_dir"],
            error=named["error_dir"],
        )

    @property
    def consumer(self) -> Consumer | None:
        """The one that runs."""
        found = self.processes.find("consumer")
        return found if isinstance(found, Consumer) else None

    @property
    def complete(self) -> bool:
        """Whether this member has had all that the others hold. True where nothing is pulled."""
        return self.consumer is None or self.consumer.complete

    def peers_of_cluster(self) -> list[Peer]:
        """The other members, as the consumer knows them."""
        return [Peer(each.member or 0, each.address, each.name) for each in self.members()]

    def active(self, address: str) -> bool:
        """Whether a node is thought to be there; one that was never heard of may be."""
        state = self.peers.state(address)
        return state is None or state.active

    def puller(self) -> Puller:
        """Asks other members for this one."""
        return Puller(
            clock=self.clock,
            disk=self.disk,
            lane=self.lanes.open("disk", 2),
            cpu=self.lanes.open("cpu"),
            ask=self.peers.ask,
            folders=self.folders,
            delivered=lambda names: self.delivered(names),
            point=self.point,
        )

    def new_consumer(self, options: ConsumerOptions, mode: Mode) -> Consumer:
        """One that is to be started. Raises AnyLogError 175 for what is no date."""
        return Consumer(
            clock=self.clock,
            options=options,
            mode=mode,
            puller=self.puller(),
            place=self.place,
            peers=self.peers_of_cluster,
            active=self.active,
            tsd=self.tsd,
            standing=self.standing,
        )

    def consensus(self) -> dict[int, int]:
        """Member -> the id up to which all members have its files, as far as that is known here."""
        return self.standing.agreed(self.cluster_ids())

    def _met(self, member: int) -> None:
        if self.consumer is not None:
            self.consumer.heard(member)

    @deferring
    async def known_by_members(self) -> list[int | None]:
        """The last id of this node's own files that each of the other members knows; None of one that does not tell."""
        if self.place() is None:
            await pause(self.clock, 0)  # the operator is being started, and has its place a moment later
        place = self.place()
        if place is None:
            return []
        puller = self.puller()

        async def ask(peer: Peer) -> int | None:
            try:
                told = await puller.members(
                    peer, place, Range(NEVER), safe=None, complete=False, seconds=KNOWN
                )  # fmt: skip
            except AnyLogError as why:
                self.log.info("member {member} was not asked for ids: {why}", member=peer.member, why=str(why))
                return None
            return told.known

        found: list[Any] = await gather([ask(peer) for peer in self.peers_of_cluster()])
        return found
