"""What makes a node a member of a network: its peers, its copy of the ledger, its place in a cluster.

The rooms that do the work do not know each other; here they meet (architecture.md 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.columns import AUTOMATIC
from anylog.databases.catalog import Catalog
from anylog.databases.dates import stored_date
from anylog.databases.tsd import Tsd
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Disk, Lanes, Reply, unix
from anylog.language.dictionary import Dictionary
from anylog.ledger.cluster import Clusters, Own, View
from anylog.ledger.ledger import Ledger
from anylog.ledger.master import Master, Outcome, handlers
from anylog.ledger.merge import Merged
from anylog.ledger.policy import Policy, prepared
from anylog.ledger.sending import Changes, fetch_changes, push_to, settle
from anylog.net import INet
from anylog.network.peers import Peers
from anylog.process import Processes
from anylog.processes.agreement import SYSTEM, Agreement, Place, bring_up
from anylog.processes.operator import Operator
from anylog.processes.synchronizer import Synchronizer
from anylog.tank import Tank
from anylog.waiting import deferring

LATEST = 20  # policies among which one has a date
HELD = 64 << 20  # bytes of answers of other nodes that are held until they are taken, of all connections
LEDGER_DBMS, TABLE = "blockchain", "ledger"
TELL = 0.02  # seconds that changes of the ledger are gathered before members are told
SPREAD = 0.1  # seconds between two tellings: members look less often, and each costs all of them


@define(kw_only=True, eq=False)
class Membership:
    """One node's part in the network."""

    _name: Callable[[], str]
    _address: Callable[[], str]
    clock: Clock
    _net: INet
    chance: Random
    _disk: Disk
    _lanes: Lanes
    _dictionary: Dictionary
    _processes: Processes
    _databases: Catalog
    peers: Peers = field(init=False)
    ledger: Ledger = field(init=False)
    clusters: Clusters = field(init=False)
    agreement: Agreement = field(init=False)
    master: Master | None = None
    _tsd: Tsd | None = None
    _telling: bool = False
    _told: float = -1e9  # when members were told last
    last: Place | None = None  # of the operator that was run last
    last_master: str = ""  # and where its policies went
    _placed: tuple[View, dict[str, Place | None]] | None = None
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.peers = Peers(
            net=self._net,
            clock=self.clock,
            chance=self.chance,
            hello=self._hello,
            tank=Tank(HELD // 2, HELD),
        )
        self.ledger = Ledger(
            disk=self._disk,
            lane=self._lanes.open("disk", 2),
            path=lambda: Path(str(self._dictionary.get("blockchain_file"))),
            clock=self.clock,
            chance=self.chance,
        )
        self.clusters = Clusters(policies=lambda: self.ledger.policies, own=self._own, state=self.peers.state)
        self.agreement = Agreement(
            clock=self.clock,
            tables=self.clusters,
            publish=self.publish,
            refresh=self._look_now,
            place=self.agreeing,
        )
        for kind, handler in handlers(lambda: self.master, self.ledger.confirmed).items():
            self.peers.serve(kind, handler)
        self.peers.serve("moved", self._told_moved)
        self._databases.watch(self._database)

    @deferring
    async def start(self) -> None:
        """Read the local copy."""
        await self.ledger.load()

    @deferring
    async def stop(self) -> None:
        """Leave the network."""
        await self.peers.stop()
        await self.ledger.stop()

    def _hello(self) -> Mapping[str, Any]:
        listens = self._processes.find("tcp") is not None
        return {
            "name": self._name(),
            "address": self.peers.ways.reply_to(self.address) if listens else "",
            "version": self.ledger.version,
        }

    def _own(self) -> Own:
        ip, external_ip = (str(self._dictionary.get(key) or "") for key in ("ip", "external_ip"))
        return Own(external_ip, ip)

    @property
    def address(self) -> str:
        """Own ip:port as others know it."""
        return self._address()

    # ------------------------------------------------------------------ the ledger, as a member

    @property
    def synchronizer(self) -> Synchronizer | None:
        """The one that runs."""
        found = self._processes.find("synchronizer")
        return found if isinstance(found, Synchronizer) else None

    @deferring
    async def refresh(self, fresh: bool = False) -> None:
        """Look at the ledger now, unless that was done a moment ago and is not to be `fresh`.

        Nothing without a synchronizer.
        """
        if self.synchronizer is not None:
            await (self.synchronizer.look() if fresh else self.synchronizer.refresh())

    def follows(self, master: str) -> bool:
        """Whether this node's ledger comes from that master."""
        options = self.synchronizer.options if self.synchronizer is not None else None
        return options is not None and options.source == "master" and options.connection == master

    async def look_for_all(self) -> str:
        """Look at the ledger, so that all is known here that was in it at this moment.

        Gives why it could not be reached; empty if it was, or if this node knows of no other than its own copy.
        """
        synchronizer = self.synchronizer
        if synchronizer is not None:
            await synchronizer.look()
            return synchronizer.looks.failure
        master = self._master()
        try:
            if master:
                await self.look(master)
        except AnyLogError as away:
            return f"the ledger of {master} cannot be reached: {away}"
        return ""

    async def _look_now(self) -> None:
        if self.synchronizer is not None:
            await self.synchronizer.look()
        elif self.last_master:
            await self.look(self.last_master)

    def master_address(self) -> str:
        """ip:port of the master by the policies of the local copy. Raises AnyLogError 3 if they name none."""
        for policy in self.ledger.policies.of_type("master"):
            address = self.clusters.address_of(policy)
            if address:
                return address
        raise AnyLogError(3, "no connection is given, and no master policy in the local copy of the ledger", http=400)

    def _master(self) -> str:
        """Where policies of this node's own go: empty for its own store, or if there is no network."""
        operator = self._processes.find("operator")
        if isinstance(operator, Operator) and operator.options.master:
            return operator.options.master
        if self.synchronizer is not None:
            return self.synchronizer.options.connection if self.synchronizer.options.source == "master" else ""
        # Both are ended, as when the node stops: what is agreed on until all is loaded is still the network's.
        return self.last_master

    async def publish(self, made: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
        """Give policies to the ledger and keep them here: an error number (0: stored) and a text for each.

        Raises AnyLogError while the ledger cannot be reached. Without a network they are kept here alone.
        """
        policies = [prepared(Policy.read(dict(each)), unix(self.clock)) for each in made]
        master = self._master()
        if master:
            outcomes = await push_to(self, master, policies)
        elif self.master is not None:
            outcomes = await self.master.push(policies, self.address)
        else:
            outcomes = [Outcome(policy.id, 0, "") for policy in policies]
        mark = "global" if master or self.master is not None else "local"
        for policy, outcome in zip(policies, outcomes, strict=True):
            if not outcome.code and policy.id not in self.ledger.policies:
                # The same that the master has: its defaults come with the next look.
                await self.ledger.change(policy.having(ledger=mark))
        return [(outcome.code, outcome.text) for outcome in outcomes]

    async def look(self, connection: str) -> bool:
        """Fetch the ledger if it changed, merge it with what waits here, send that (metadata.md 7.2, 7.3)."""
        before = self.ledger.version
        source = connection or self.address
        # Before it is asked: what it has not then was deleted there, and what was deleted here is so there, too.
        taken, settles = self.ledger.taken_by(source), self.ledger.settles()
        changes = await self._changes(connection, before, self.ledger.base_of(source))
        if changes is None:
            return False
        told: Merged | None = None
        if changes.base:
            told = await self.ledger.follow(changes.data, changes.dropped, changes.version, taken)
            if told is None:
                changes = await self._changes(connection, "", "")
        if told is None:
            told = await self.ledger.take(b"" if changes is None else changes.data, taken, source, settles)
        synchronizer = self.synchronizer
        if synchronizer is not None and "dbms" in synchronizer.options.dest and source != self.address:
            await self._copy(source)
        if told.resend or told.delete:
            # Not waited for: what is sent may itself ask for a look.
            sending = Deferred.fromCoroutine(settle(self, source, told))
            sending.addErrback(self._unsettled)
        return self.ledger.version != before

    async def _changes(self, connection: str, version: str, base: str) -> Changes | None:
        """What the master at that address, or this node itself if it is none, tells."""
        if connection:
            return await fetch_changes(self, connection, version, base)
        if self.master is None:
            raise AnyLogError(30, "the database 'blockchain' of this node is not connected")
        now = self.master.version
        if now == version:
            return None
        since = self.master.since(base) if base else None
        return Changes(self.master.data, now) if since is None else Changes(since[0], now, base, since[1])

    async def _copy(self, source: str) -> None:
        """Make the own database like the ledger that was fetched; what others put there stays."""
        master = self.master
        if master is None:
            return
        confirmed = {policy.id: policy for policy in self.ledger.raw if not policy.local}
        stored = master.policies
        stale = [
            ident
            for ident in await master.by_host(source)
            if (old := stored.get(ident)) and (ident not in confirmed or confirmed[ident].text != old.text)
        ]
        if stale and self.master is master:
            await master.drop(stale)
        if self.master is not master:
            return  # its database went meanwhile; another one is made equal by the next look that finds something new
        await master.push([each for each in confirmed.values() if each.id not in stored], source, True)

    def _unsettled(self, failure: Any) -> None:
        if failure.check(AnyLogError):
            self.log.warn("what waits for the ledger could not be sent: {why}", why=str(failure.value))
        elif not failure.check(CancelledError):
            self.log.failure("sending what waits for the ledger", failure)

    # ------------------------------------------------------------------ the ledger, as its master

    def _database(self, name: str, connected: bool) -> None:
        """The database of the ledger comes or goes."""
        if name != LEDGER_DBMS:
            return
        if not connected:
            self.master = None
            return
        self.open_master().addErrback(lambda failure: self.log.failure("reading the table ledger", failure))

    @deferring
    async def open_master(self) -> bool:
        """Be the master, if the table `ledger` of the database `blockchain` is here."""
        database = self._databases.known(LEDGER_DBMS)
        if database is None or TABLE not in await database.tables():
            return False
        if self.master is None:
            master = Master(database=database, clock=self.clock, changed=self._moved)
            await master.load()
            # Somebody else may have opened it meanwhile, and what was pushed then is known to that one; or it is gone.
            if self.master is None and self._databases.known(LEDGER_DBMS) is database:
                self.master = master
        return self.master is not None

    def _moved(self) -> None:
        """The global ledger has changed: it is told soon, once for all changes that come meanwhile."""
        if not self._telling:
            self._telling = True
            rest = self._told + SPREAD - self.clock.seconds()
            self.clock.callLater(max(TELL, rest), self._tell)

    def _tell(self) -> None:
        """Tell who is connected, and this node itself."""
        self._telling, self._told = False, self.clock.seconds()
        if self.master is not None:
            self.peers.tell("moved", {"version": self.master.version})
            if self.synchronizer is not None:
                self.synchronizer.moved()

    @deferring
    async def _told_moved(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        # Whoever says so: the master may be known here by another of its addresses, and a look is cheap and limited.
        if self.synchronizer is not None and head.get("version") != self.ledger.version:
            self.synchronizer.moved()
        return Reply(head={})

    # ------------------------------------------------------------------ a place in a cluster

    def tsd(self) -> Tsd | None:
        """The tables of files; None without `almgm.tsd_info`."""
        database = self._databases.known("almgm")
        if database is None or database.schema("tsd_info") is None:
            self._tsd = None
        elif self._tsd is None or self._tsd.database is not database or self._tsd.gone:
            self._tsd = Tsd(database=database, clock=self.clock, chance=self.chance, since=self._newest)
        return self._tsd

    def _newest(self) -> str:
        """The date of the newest policy of the local copy, as times are stored; "" if there is none that has one."""
        for policy in reversed(self.ledger.policies.last(LATEST)):
            try:
                return stored_date("date", policy.date, 0)
            except AnyLogError:
                continue
        return ""

    def place(self) -> Place | None:
        """Of the operator that runs; None if there is none, or its policy is gone, or that of another cluster."""
        operator = self._processes.find("operator")
        return operator.place if isinstance(operator, Operator) else None

    def agreeing(self) -> Place | None:
        """Where tables are agreed on. Also while the operator is ended, or without its policy: what comes then is
        registered as its member's, so the others get it. A table that was made here alone might be another than theirs.
        """
        place = self.place()
        if place is None and self.last is not None and self.clusters.share(self.last.cluster) is not None:
            return self.last
        return place

    def operates(self, place: Place) -> None:
        """An operator was run there."""
        self.last, self.last_master = place, self._master()

    def follows_another(self) -> None:
        """The ledger is fetched from elsewhere from now on."""
        if self.last is not None and self.synchronizer is not None:
            self.last_master = self.synchronizer.options.connection

    def astray(self) -> str:
        """Why the operator that runs has no place although its policy is there; else ""."""
        operator = self._processes.find("operator")
        return operator.astray if isinstance(operator, Operator) else ""

    def place_of(self, id: str) -> Place | None:
        """The place that an operator policy gives; None if the ledger does not know it."""
        view = self.clusters.view  # another one when the ledger is another
        if self._placed is None or self._placed[0] is not view:
            self._placed = (view, {})
        found = self._placed[1]
        if id not in found:
            try:
                found[id] = self.check_place(id)
            except AnyLogError:
                found[id] = None
        return found[id]

    def check_place(self, id: str) -> Place:
        """The same. Raises AnyLogError 113, 87 or 222 that says what is missing."""
        policy = self.ledger.policies.get(id)
        if policy is None:
            raise AnyLogError(113, f"no policy with the id '{id}' is in the ledger")
        if policy.type != "operator":
            raise AnyLogError(87, f"the policy {id} is of type {policy.type}, not operator")
        operator, share = self.clusters.operator(id), self.clusters.cluster_of(id)
        if operator is None or share is None:
            told = f"operator {policy.name}: no cluster policy has the id '{policy.text_of('cluster')}'"
            raise AnyLogError(222, told)
        return Place(
            operator=id,
            cluster=share.cluster_id,
            cluster_name=share.name,
            company=share.company,
            member=operator.member or 0,
            address=operator.address,
            name=operator.name,
        )

    @deferring
    async def announce(self) -> None:
        """Tell the ledger of the tables that were made here before this node had its place."""
        for dbms in self._databases.names():
            if dbms in SYSTEM:
                continue
            database = self._databases.known(dbms)
            if database is None:
                continue
            for table, columns in (await database.tables()).items():
                if "tsd_id" not in columns:
                    continue  # nobody's readings
                wanted = {name: kind for name, kind in columns.items() if name not in AUTOMATIC}
                try:
                    await self.agreement.agree(dbms, table, wanted)
                except CancelledError:
                    raise
                except AnyLogError as refused:
                    self.log.error("{dbms}.{table}: {why}", dbms=dbms, table=table, why=str(refused))

    @deferring
    async def ensure_table(self, dbms: str, table: str, needed: Sequence[str] = ()) -> bool:
        """Make or grow the local table as the ledger knows it; False if the ledger does not, or nothing was to do.

        `needed` are columns that somebody knows of: if the local copy lacks one it is behind, and is fetched anew.
        Raises AnyLogError 5 for a database that is not connected here, 16 if the engine refuses.
        """
        database = self._databases.get(dbms)
        columns = self.clusters.columns(dbms, table)
        if self.synchronizer is not None and (columns is None or not set(needed) <= columns.keys()):
            await self.synchronizer.look()
            columns = self.clusters.columns(dbms, table)
        return columns is not None and await bring_up(database, table, columns)
