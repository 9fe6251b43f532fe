"""What makes a node a member of a network: its peers, its copy of the ledger, its place in a cluster.

The rooms that do the work do not know each other; here they meet (architecture.md 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.columns import AUTOMATIC
from anylog.databases.catalog import Catalog
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Disk, IBody, Lanes, Reply
from anylog.language.dictionary import Dictionary
from anylog.ledger.cluster import Clusters, Own
from anylog.ledger.ledger import Ledger, version_of
from anylog.ledger.master import TABLE, Master, Outcome
from anylog.ledger.policy import Policy, read_lines
from anylog.net import INet
from anylog.network.peers import Peers
from anylog.process import Processes
from anylog.processes.agreement import SYSTEM, Agreement, Place, bring_up
from anylog.processes.operator import Operator
from anylog.processes.synchronizer import Synchronizer
from anylog.waiting import deferring

LEDGER_DBMS = "blockchain"
LEDGER_SECONDS = 10.0  # the longest that one exchange with the ledger may take
TELL = 0.02  # seconds that changes of the ledger are gathered before members are told
LARGEST_LEDGER = 64 << 20  # bytes of a ledger that is fetched
PAGE = 256 << 10  # bytes of it that are sent at once


async def collected(body: IBody | None, most: int) -> bytes:
    """All pages of an answer. Raises AnyLogError 77 if they are more than `most` bytes."""
    parts: list[bytes] = []
    size = 0
    if body is None:
        return b""
    try:
        while (page := await body.next()) is not None:
            parts.append(page)
            size += len(page)
            if size > most:
                raise AnyLogError(77, f"an answer of more than {most:,} bytes")
    finally:
        body.close()
    return b"".join(parts)


@define(eq=False)
class TextBody:
    """Bytes that are there already, given in pages."""

    _text: bytes
    _at: int = 0

    def next(self) -> Deferred[bytes | None]:
        """See `interfaces.IBody`."""
        page, self._at = self._text[self._at : self._at + PAGE], self._at + PAGE
        told: Deferred[bytes | None] = Deferred()
        told.callback(page or None)
        return told

    def close(self) -> None:
        """Nothing is held."""


@define(kw_only=True, eq=False)
class Membership:
    """One node's part in the network."""

    _name: Callable[[], str]
    _address: Callable[[], str]  # own ip:port as others know it
    _clock: Clock
    _net: INet
    _chance: Random
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
    _telling: bool = False
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self.peers = Peers(net=self._net, clock=self._clock, chance=self._chance, hello=self._hello)
        self.ledger = Ledger(
            disk=self._disk,
            lane=self._lanes.open("disk", 2),
            path=lambda: Path(str(self._dictionary.get("blockchain_file"))),
        )
        self.clusters = Clusters(ledger=self.ledger, own=self._own, state=self.peers.state)
        self.agreement = Agreement(
            clock=self._clock,
            tables=self.clusters,
            publish=self.publish,
            refresh=self.refresh,
            place=self.place,
        )
        self.peers.serve("ledger", self._asked_for_ledger)
        self.peers.serve("push", self._asked_to_push)
        self.peers.serve("drop", self._asked_to_drop)
        self.peers.serve("moved", self._told_moved)
        self._databases.watch(self._database)

    @deferring
    async def start(self) -> None:
        """Read the local copy."""
        await self.ledger.load()

    def stop(self) -> Deferred[None]:
        """Leave the network."""
        return self.peers.stop()

    def _hello(self) -> Mapping[str, Any]:
        listens = self._processes.find("tcp") is not None
        return {"name": self._name(), "address": self._address() if listens else "", "version": self.ledger.version}

    def _own(self) -> Own:
        ip, external_ip = (str(self._dictionary.get(key) or "") for key in ("ip", "external_ip"))
        return Own(ip=ip, external_ip=external_ip)

    # ------------------------------------------------------------------ the ledger, as a member

    @property
    def synchronizer(self) -> Synchronizer | None:
        """The one that runs."""
        found = self._processes.find("synchronizer")
        return found if isinstance(found, Synchronizer) else None

    @deferring
    async def refresh(self) -> None:
        """Look at the ledger now, unless that was done a moment ago; nothing without a synchronizer."""
        if self.synchronizer is not None:
            await self.synchronizer.refresh()

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
        if self.synchronizer is not None and self.synchronizer.options.source == "master":
            return self.synchronizer.options.connection
        return ""

    async def push(self, master: str, policies: Sequence[Policy], *, ignore: bool = False) -> list[Outcome]:
        """Send policies to a master, this very node if it is one. Raises AnyLogError while it cannot be reached."""
        body = orjson.dumps([policy.value for policy in policies])
        until = self._clock.seconds() + LEDGER_SECONDS
        reply = await self.peers.ask(master, "push", {"ignore": ignore}, body, until=until)
        return [(str(id), int(code), str(text)) for id, code, text in reply.head["results"]]

    async def publish(self, made: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
        """Give policies to the ledger and keep them here: an error number (0: stored) and a text for each.

        Raises AnyLogError while the ledger cannot be reached. Without a network they are kept here alone.
        """
        now = self._clock.seconds()
        policies = [Policy.read(dict(each)).prepared(now) for each in made]
        master = self._master()
        confirmed = bool(master) or self.master is not None
        if master:
            outcomes = await self.push(master, policies)
        elif self.master is not None:
            outcomes = await self.master.push(policies, self._address())
        else:
            outcomes = [(policy.id, 0, "") for policy in policies]
        stored = [policy for policy, (_, code, _) in zip(policies, outcomes, strict=True) if not code]
        if stored:
            await self.ledger.keep(stored, confirmed=confirmed)
        return [(code, text) for _, code, text in outcomes]

    async def look(self, connection: str) -> bool:
        """Fetch the ledger if it changed, merge it with what waits here, send that (metadata.md 7.2, 7.3)."""
        until = self._clock.seconds() + LEDGER_SECONDS
        head = {"version": self.ledger.version}
        if connection:
            reply = await self.peers.ask(connection, "ledger", head, until=until)
        else:
            reply = await self._asked_for_ledger(head, b"", Asker(host="", address=""))
        if not reply.head.get("changed"):
            return False
        mine = self.ledger.text
        text = await collected(reply.body, LARGEST_LEDGER)
        common = reply.head.get("common", 0)
        if common and isinstance(common, int):
            text = mine[:common] + text
        if version_of(text) != reply.head.get("version"):
            self.ledger.version = ""  # so that all of it comes next time
            raise AnyLogError(21, "the ledger that came is not of the version that was announced")
        downloaded = self.ledger.read(text)
        if len(downloaded) != int(reply.head.get("policies", -1)):
            raise AnyLogError(21, f"{len(downloaded)} policies came, {reply.head.get('policies')} were announced")
        if not downloaded and any(policy.ledger != "local" for policy in self.ledger.policies):
            raise AnyLogError(21, "the ledger that came is empty; the local copy is kept")
        before = self.ledger.version
        made = await self.ledger.merge(downloaded)
        if made.send:
            await self._send_again(connection, made.send)
        if made.drop:
            await self._drop_again(connection, made.drop)
        return self.ledger.version != before

    async def _send_again(self, connection: str, policies: Sequence[Policy]) -> None:
        """What was inserted while the ledger was away (metadata.md 7.3)."""
        if connection:
            outcomes = await self.push(connection, policies)
        elif self.master is not None:
            outcomes = await self.master.push(policies, self._address())
        else:
            return
        confirmed = []
        for policy, (_, code, text) in zip(policies, outcomes, strict=True):
            if code in (0, 70):
                confirmed.append(policy)
            else:
                self.log.error(
                    "the ledger refuses the {type} policy {id}: {why}", type=policy.type, id=policy.id, why=text
                )
        if confirmed:
            await self.ledger.keep(confirmed, confirmed=True)

    async def _drop_again(self, connection: str, ids: Sequence[str]) -> None:
        if connection:
            until = self._clock.seconds() + LEDGER_SECONDS
            await self.peers.ask(connection, "drop", {"ids": list(ids)}, until=until)
        elif self.master is not None:
            await self.master.drop(ids)

    @deferring
    async def ledger_text(self) -> bytes:
        """The file of the local copy as it is. Raises AnyLogError 63."""
        return await self._read(Path(str(self._dictionary.get("blockchain_file"))))

    @deferring
    async def take_file(self, path: Path) -> None:
        """The policies of a file become the local copy. Raises AnyLogError 63, 87."""
        policies, wrong = read_lines(await self._read(path))
        if wrong:
            raise AnyLogError(87, f"{path}: {wrong[0]}; the local copy is kept")
        old = Path(str(self._dictionary.get("blockchain_file"))).with_suffix(".old")
        if self.ledger.there:
            await self._lanes.open("disk", 2).run(self._disk.publish, old, await self.ledger_text())
        await self.ledger.merge(policies)

    @deferring
    async def _read(self, path: Path) -> bytes:
        try:
            return await self._lanes.open("disk", 2).run(self._disk.read, path)
        except OSError as fault:
            raise AnyLogError(63, f"{path}: {fault}") from fault

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
            master = Master(store=database, clock=self._clock, chance=self._chance, changed=self._moved)
            await master.load()
            self.master = master
        return True

    def _moved(self) -> None:
        """The global ledger has changed: it is told soon, once for all changes that come meanwhile."""
        if not self._telling:
            self._telling = True
            self._clock.callLater(TELL, self._tell)

    def _tell(self) -> None:
        """Tell who is connected, and this node itself."""
        self._telling = False
        if self.master is not None:
            self.peers.tell("moved", {"version": self.master.file()[1]})
            if self.synchronizer is not None:
                self.synchronizer.moved()

    @deferring
    async def _asked_for_ledger(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        if self.master is None:
            raise AnyLogError(30, "this node is no master: the table 'ledger' of dbms 'blockchain' is not here")
        text, version = self.master.file()
        told = {"changed": head.get("version") != version, "version": version, "policies": len(self.master.policies)}
        if not told["changed"]:
            return Reply(head=told)
        common = self.master.common(str(head.get("version", "")))
        return Reply(head={**told, "common": common}, body=TextBody(text[common:]))

    @deferring
    async def _asked_to_push(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        if self.master is None:
            raise AnyLogError(30, "this node is no master: the table 'ledger' of dbms 'blockchain' is not here")
        try:
            values = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise AnyLogError(6, f"the policies are no JSON: {wrong}") from None
        if not isinstance(values, list):
            raise AnyLogError(6, "policies come as a list")
        read: list[Policy | AnyLogError] = []
        for value in values:
            try:
                read.append(Policy.read(value))
            except AnyLogError as wrong:
                read.append(wrong)
        fine = [each for each in read if isinstance(each, Policy)]
        stored = iter(await self.master.push(fine, asker.address or asker.host, bool(head.get("ignore"))))
        results = [list(next(stored)) if isinstance(each, Policy) else ["", each.number, str(each)] for each in read]
        return Reply(head={"results": results})

    @deferring
    async def _asked_to_drop(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        if self.master is None:
            raise AnyLogError(30, "this node is no master: the table 'ledger' of dbms 'blockchain' is not here")
        ids = head.get("ids")
        if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids) or len(ids) > 1000:
            raise AnyLogError(2, "ids of policies come as a list")
        return Reply(head={"dropped": await self.master.drop(ids)})

    @deferring
    async def _told_moved(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        synchronizer = self.synchronizer
        if synchronizer is not None and head.get("version") != self.ledger.version:
            given = synchronizer.options
            if asker.address == given.connection or not asker.address:
                synchronizer.moved()
        return Reply(head={})

    # ------------------------------------------------------------------ a place in a cluster

    def place(self) -> Place | None:
        """Of the operator that runs; None if there is none, or its policy is gone."""
        operator = self._processes.find("operator")
        return self.place_of(operator.options.policy) if isinstance(operator, Operator) else None

    def place_of(self, id: str) -> Place | None:
        """The place that an operator policy gives; None if the ledger does not know it."""
        try:
            return self.check_place(id)
        except AnyLogError:
            return None

    def check_place(self, id: str) -> Place:
        """The same. Raises AnyLogError 113, 87 or 222 that says what is missing."""
        policy = self.ledger.policies.get(id)
        if policy is None:
            raise AnyLogError(113, f"no policy with the id '{id}' is in the ledger")
        if policy.type != "operator":
            raise AnyLogError(87, f"the policy {id} is of type {policy.type}, not operator")
        operator, cluster = self.clusters.operator(id), self.clusters.cluster(str(policy.get("cluster", "")))
        if operator is None or cluster is None:
            raise AnyLogError(
                222, f"operator {policy.get('name')}: no cluster policy has the id '{policy.get('cluster')}'"
            )
        return Place(
            operator=id,
            cluster=cluster.id,
            cluster_name=str(cluster.get("name", "")),
            company=str(cluster.get("company", "")),
            member=operator.member,
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
