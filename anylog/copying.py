"""Where a node keeps its copy equal to those of the other members of its cluster (operator-ha.md 6-8).

The rooms that do the work know neither the network nor the ledger; here they meet.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from datetime import date
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.databases.catalog import Catalog
from anylog.databases.returned import note_returned
from anylog.databases.taken_out import TakenOut
from anylog.databases.tsd import Tsd
from anylog.databases.tsd_ranges import Range
from anylog.disk.names import FileName
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Disk, Lanes
from anylog.ledger.cluster import LOGGER, Clusters, Operator, addresses_of
from anylog.network.peers import Peers
from anylog.process import Processes
from anylog.processes.agreement import Place
from anylog.processes.audit import Audit, AuditService
from anylog.processes.backups import BACKUP, Backups
from anylog.processes.buffers import Where
from anylog.processes.consumer import Consumer, Mode
from anylog.processes.courier import Courier
from anylog.processes.delivery import WAITING, Delivery
from anylog.processes.distributor import Cluster, Distributor
from anylog.processes.elsewhere import Members
from anylog.processes.exchange import Exchange, Folders
from anylog.processes.operator import Operator as OperatorProcess
from anylog.processes.overview import OverviewService
from anylog.processes.pulled import ConsumerOptions
from anylog.processes.pulling import Peer, Puller
from anylog.processes.registry import Conflict
from anylog.processes.repairing import Repair
from anylog.processes.retention import Retention
from anylog.processes.standing import Standing
from anylog.processes.told import State
from anylog.processes.turns import InTurn
from anylog.processes.unpushed import Unpushed
from anylog.processes.whole import FilingOptions, Outcome, WholeFile
from anylog.waiting import deferring, gather, pause

NEVER = "9999"  # a time from which on there are no files
UNAGREED = "committed = true: which rows all members have is not known on this node"
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
    databases: Catalog
    place: Callable[[], Place | None]  # of the operator that runs
    tsd: Callable[[], Tsd | None]  # the tables of files, if they are here
    courier: Courier = field(init=False)
    backups: Courier = field(init=False)  # of files for loggers
    delivery: Delivery = field(init=False)
    filing: Callable[[], FilingOptions | None]  # where the files of the operator that runs go
    bring: Callable[[WholeFile], Deferred[Outcome]]
    made: Callable[[Where, str, str, bytes], Awaitable[bytes]]  # see `FilePolicies.content`
    in_work: Callable[[], Set[str]]  # names of the buffers and hashes of the files that are on their way
    agrees: Callable[[], bool]  # whether the databases hold what the tables of files say is loaded
    compare_again: Callable[[str], object]  # a database that does not
    out: TakenOut
    settled: Callable[[int], bool]  # whether `tsd_info` is of that member: of another until it was handed over
    returned: set[int]  # own files that came back from other members and are not loaded yet
    conflicted: Callable[[], Iterable[Conflict]] = field(default=lambda: ())  # ids that came with two contents
    point: Callable[[str], None] = field(default=lambda name: None)  # told where a kill may be tried
    repairs: set[str] = field(factory=set)  # the tables that are being repaired
    standing: Standing = field(factory=Standing)
    exchange: Exchange = field(init=False)
    unpushed: Unpushed = field(init=False)
    went: dict[str, set[str]] = field(factory=dict)  # by the distributors of this life: file -> addresses
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.databases.watch(self._connected)
        self.peers.near = lambda: [each.address for each in self.members()]
        self.peers.listed = self.clusters.listed
        self.peers.came = lambda address: self.hasten() if address in self.peers.near() else None
        self.peers.serve("audit", AuditService(audit=self.audit))
        overview = OverviewService(databases=self.databases, tsd=self.tsd, conflicts=self.conflicts)
        self.peers.serve("overview", InTurn(overview))
        lane = self.lanes.open("disk", 2)
        self.courier = Courier(clock=self.clock, disk=self.disk, lane=lane, ask=self.peers.ask, point=self.point)
        self.backups = Courier(
            clock=self.clock, disk=self.disk, lane=lane, ask=self.peers.ask, kind="backup",
            packing=self.lanes.open("cpu"), point=self.point,
        )  # fmt: skip
        self.peers.serve(
            "backup",
            Backups(
                disk=self.disk, lane=lane, folder=lambda: self.places.folder("archive_dir") / BACKUP,
                logger=self.is_logger, sender=self._sender, point=self.point,
            ),
        )  # fmt: skip
        self.delivery = Delivery(
            disk=self.disk,
            lane=lane,
            operator=self.operator,
            tsd=self.own_tsd,
            members=self.cluster_ids,
            departed=self.departed,
            trusted=self.trusted,
            missed=self.hasten,
            point=self.point,
        )
        self.unpushed = Unpushed(clock=self.clock)
        self.exchange = Exchange(
            clock=self.clock,
            disk=self.disk,
            lane=self.lanes.open("disk", 2),
            place=self.place,
            members=self.cluster_ids,
            tsd=self.own_tsd,
            folders=self.folders,
            complete=lambda: self.complete,
            standing=self.standing,
            in_work=self.in_work,
            met=self._met,
            gave=self.unpushed.given,
        )
        for kind, handler in self.exchange.handlers().items():
            self.peers.serve(kind, InTurn(handler))

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
            made=self.made,
            in_work=self.in_work,
            watch=self._watched,
            out=self.out,
            compare=self.compare_again,
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
        found = [each for each in self.others() or () if each.member and each.address]
        return sorted(found, key=lambda each: each.member or 0)

    def others(self) -> list[Operator] | None:
        """All other operators of the own cluster, whether they can be asked or not; None if that is not known."""
        place = self.place()
        share = self.clusters.cluster_of(place.operator) if place is not None else None
        if place is None or share is None:
            return None
        return [each for each in share.operators if each.id != place.operator]

    async def copied(self, days: Sequence[date], root: Path) -> set[date]:
        """Of which days all other members of the cluster say now that they have what is archived here, at `root`.

        Nothing is known of a member that cannot be asked. All days, if this operator is the only one by the ledger.
        """
        place, others, peers, tsd = self.place(), self.others(), self.peers_of_cluster(), self.tsd()
        if place is None or others is None:
            return set()
        if not others:
            return set(days)
        if tsd is None or len(peers) < len(others):
            return set()
        puller = self.puller()

        def ask(peer: Peer, range: Range) -> Awaitable[State]:
            return puller.members(peer, place, range, safe=None, complete=False)

        retention = Retention(disk=self.disk, lane=self.lanes.open("disk", 2), tsd=tsd, place=place, ask=ask)
        return await retention.copied(days, root, peers)

    def cluster_ids(self) -> set[int]:
        """The member ids of the own cluster, the own one included."""
        place = self.place()
        return {each.member or 0 for each in self.members()} | ({place.member} if place is not None else set())

    def departed(self, member: int) -> bool:
        """Whether there are files of a member here that is none of the cluster now."""
        tsd = self.tsd()
        return tsd is not None and tsd.has_of(member) and member not in self.cluster_ids()

    def own_tsd(self) -> Tsd | None:
        """The tables of files, as far as others may be told of them; None while they are those of another member."""
        place = self.place()
        return None if place is not None and not self.settled(place.member) else self.tsd()

    # ------------------------------------------------------------------ pushing

    def operator(self) -> OperatorProcess | None:
        """The operator that runs."""
        found = self.processes.find("operator")
        return found if isinstance(found, OperatorProcess) else None

    def trusted(self, asker: Asker) -> bool:
        """Whether files are taken from a node: of the own cluster, as far as it tells who it is (decisions.md 10). By
        the address that it listens on, since it may come from another one: through a gateway, or out of a container.
        """
        known = {address for each in self.members() for address in (each.address, *addresses_of(each.policy))}
        return not asker.host or asker.address in known - {""}

    def loggers(self) -> list[str]:
        """Addresses of the nodes that keep backups, but this one."""
        found = [self.clusters.address_of(policy) for policy in self.clusters.nodes((LOGGER,))]
        return [address for address in dict.fromkeys(found) if address and address not in self.peers.own]

    def is_logger(self) -> bool:
        """Whether this node keeps backups of others."""
        return any(self.clusters.addresses(policy) & self.peers.own for policy in self.clusters.nodes((LOGGER,)))

    def _sender(self, asker: Asker) -> str:
        """How the folder of a node's backups is called; empty: no policy has the address that it listens on."""
        for policy in sorted(self.clusters.nodes(), key=lambda each: (each.type != "operator", each.id)):
            if asker.address in self.clusters.addresses(policy):
                return re.sub(r"[^A-Za-z0-9_-]", "_", f"{policy.name[:60]}-{policy.id[:64]}")
        return "" if asker.host else "unnamed"

    def cluster(self) -> Cluster | None:
        """Who this member is, and who the others are; None without a place."""
        place = self.place()
        if place is None:
            return None
        return Cluster(id=place.cluster, member=place.member, others=self.members(), departed=self.departed)

    def active(self, address: str) -> bool:
        """False from a failure until the node is heard of again."""
        state = self.peers.state(address)
        return state is None or state.active

    def distribute(self, files: Mapping[int, Path]) -> None:
        """Own files, by id, were published: for the distributor, or in the archive while none ran."""
        options, found = self.filing(), self.processes.find("distributor")
        self.unpushed.note(
            {id: path for id, path in files.items() if options is None or path.parent != options.distr_dir}
        )
        if isinstance(found, Distributor):
            found.nudge(list(files.values()))

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
        """Whether this member has had all that the others hold, and has it; without a consumer only the second."""
        return self.agrees() and (self.consumer is None or self.consumer.complete)

    def syncing(self, member: int, *, own: bool) -> bool:
        """Whether that member still takes over what it lacks: this one (`own`), or as another told last.

        One that is new and was not heard of yet does; without a consumer here nobody is asked.
        """
        return not self.complete if own else not self.standing.complete.get(member, self.consumer is None)

    def peers_of_cluster(self) -> list[Peer]:
        """The other members, as the consumer knows them."""
        return [Peer(each.member or 0, each.address, each.name) for each in self.members()]

    def elsewhere(self) -> Members:
        """Asks the other members, also those that cannot be, what they have of this node's own files."""

        def peers() -> list[Peer] | None:
            others = self.others()
            return None if others is None else [Peer(each.member or 0, each.address, each.name) for each in others]

        return Members(
            clock=self.clock, place=self.place, peers=peers, puller=self.puller,
            suspended=lambda: self.consumer is not None and self.consumer.mode == "suspend",
        )  # fmt: skip

    def puller(self) -> Puller:
        """Asks other members for this one."""
        return Puller(
            clock=self.clock,
            disk=self.disk,
            lane=self.lanes.open("disk", 2),
            cpu=self.lanes.open("cpu"),
            ask=self.peers.ask,
            folders=self.folders,
            delivered=self._delivered,
            coming=self._returning,
            point=self.point,
        )

    def new_consumer(self, options: ConsumerOptions, mode: Mode) -> Consumer:
        """One that is to be started. Raises AnyLogError 175 for what is no date."""
        return Consumer(
            clock=self.clock,
            options=options,
            mode=mode,
            puller=self.puller(),
            place=self._pulling_place,
            peers=self.peers_of_cluster,
            active=self.active,
            tsd=self.own_tsd,  # what is kept in those of another member is not of this one
            standing=self.standing,
            refuses=self._refuses,
            connected=lambda dbms: self.databases.known(dbms) is not None,
        )

    def _connected(self, dbms: str, here: bool) -> None:
        if here and self.consumer is not None:
            self.consumer.connected(dbms)

    def _pulling_place(self) -> Place | None:
        """The place once files may be put into the watch directory: its start deletes what is half written there."""
        operator = self.operator()
        return self.place() if operator is not None and operator.watch.ready else None

    def hasten(self) -> None:
        """What the members hold and this one lacks is pulled soon."""
        if self.consumer is not None:
            self.consumer.hasten()

    def conflicts(self) -> list[Conflict]:
        """Ids that have two contents, by the files that came, and by what other members hold."""
        found = list(self.conflicted())
        return found if self.consumer is None else found + self.consumer.conflicts()

    def _refuses(self) -> str:
        """Why no files may be put into the watch directory; empty: they may."""
        operator = self.operator()
        if operator is None or not operator.watch.ready:
            return "the operator of this node does not run, starts, or stops"
        watch = operator.watch
        if watch.holds:
            return watch.holds
        if watch.errors.full or watch.directory.delivered >= WAITING:
            return f"{watch.directory.delivered:,} files that came wait still"
        return ""

    def consensus(self) -> dict[int, int]:
        """Member -> the id up to which all members have its files, as far as that is known here."""
        place, others = self.place(), self.others() or ()
        own = {place.member} if place is not None else set()
        # One without an id, 0, is a member all the same, and has validated nothing.
        return self.standing.agreed(own | {each.member or 0 for each in others})

    def agreed_ids(self) -> dict[int, int] | None:
        """The same for queries: None where there is nobody to agree with. Raises AnyLogError 508 if it is not known."""
        others = self.others()
        if others is None and self.tsd() is None:
            return None  # no member's rows are here
        if others is None:
            raise AnyLogError(508, f"{UNAGREED}: no operator runs")
        if others and self.consumer is None:
            raise AnyLogError(508, f"{UNAGREED}: no consumer runs")
        return self.consensus() if others else None

    def _delivered(self, files: Sequence[tuple[str, int]]) -> None:
        """Files (name, bytes) were published in the watch directory."""
        operator = self.operator()
        if operator is not None:
            operator.watch.delivered(files)

    @deferring
    async def _returning(self, names: Sequence[str]) -> None:
        """Own files among those that come are remembered as such, also after a start in between: they are pushed to
        nobody."""
        parsed, tsd, member = [FileName.parse(name) for name in names], self.tsd(), self._member()
        own = [name.id for name in parsed if name.full and name.member == str(member)]
        if own and tsd is not None:
            self.returned.update(own)
            try:
                await note_returned(tsd, own)
            except AnyLogError as why:
                self.log.warn("own files that came back: {why}", why=str(why))

    @deferring
    async def lacking(self, member: int) -> None:
        """This node, `member`, lost what it had loaded, and others may have it."""
        tsd = self.tsd()
        if tsd is not None:
            await self.standing.lack(tsd, member)

    @deferring
    async def watched(self) -> list[str]:
        """The names of the files in the watch directory. Raises AnyLogError 63."""
        folders = self.folders()
        if folders is None:
            return []
        try:
            return await self.lanes.open("disk", 2).run(self.disk.names, folders.watch)
        except OSError as why:
            raise AnyLogError(63, f"{folders.watch}: {why.strerror or why}") from None

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
            except Exception as fault:
                if isinstance(fault, CancelledError):
                    raise
                self.log.failure("asking member {member} for ids", member=peer.member)
                return None
            return told.known

        found: list[Any] = await gather([ask(peer) for peer in self.peers_of_cluster()])
        return found
