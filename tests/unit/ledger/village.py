"""Nodes with nothing but the language and the ledger, that ask each other without a network."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from registry import NOW
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import anylog.databases.commands
import anylog.language.commands
import anylog.language.later
import anylog.ledger.commands
from anylog.databases.catalog import Catalog
from anylog.disk.durable import RealDisk
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, PeerState
from anylog.language.context import Context, Result
from anylog.language.dictionary import Dictionary
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.words import Words
from anylog.ledger.cluster import Clusters, Own
from anylog.ledger.ledger import Ledger
from anylog.ledger.master import Master, handlers
from anylog.ledger.sending import fetch, settle
from anylog.process import Processes
from anylog.testing.lanes import InlineLanes
from anylog.waiting import deferring

COMMANDS = (
    *anylog.language.commands.COMMANDS,
    *anylog.language.later.COMMANDS,
    *anylog.databases.commands.COMMANDS,
    *anylog.ledger.commands.COMMANDS,
)


class Road:
    """All nodes by address; those in `down` cannot be reached."""

    def __init__(self) -> None:
        self.nodes: dict[str, House] = {}
        self.down: set[str] = set()
        self.asked: list[tuple[str, str, str]] = []  # from, to, kind

    def peers_of(self, own: str) -> Any:
        def ask(address: str, kind: str, head: Any, body: bytes = b"", *, until: Any = None, hops: int = 0) -> Any:
            self.asked.append((own, address, kind))
            if address not in self.nodes or address in self.down:
                return fail(AnyLogError(208, f"connection to {address} refused", node=address))
            house = self.nodes[address]
            return handlers(lambda: house.master, house.ledger.confirmed)[kind](
                head, body, Asker(host="h", address=own)
            )

        def state(address: str) -> PeerState | None:
            return PeerState(address=address, active=False, at=0) if address in self.down else None

        return SimpleNamespace(ask=ask, state=state)


class House:
    """One node."""

    synchronized = False

    def __init__(self, road: Road, address: str, home: Path, clock: Clock, master: str = "") -> None:
        self.road, self.address, self.clock, self.of = road, address, clock, master or address
        self.chance, self.environ, self.dictionary = Random(address), {}, Dictionary()
        self.lanes, self.disk, self.logs, self.processes = (
            InlineLanes(),
            RealDisk("none"),
            Logs(clock),
            Processes(clock),
        )
        self.membership = SimpleNamespace(open_master=lambda: succeed(False))  # the master is made by hand
        self.copying = SimpleNamespace(syncing=lambda member, own: False)  # nobody here has copies
        self.places = Places.under(home)
        self.places.make_all(self.disk)
        ip, _, port = address.rpartition(":")
        for key, value in {
            **self.places.keys(),
            "ip": ip,
            "external_ip": ip,
            "anylog_server_port": int(port),
            "ledger_conn": self.of,
        }.items():
            self.dictionary.set(key, value)
        self.databases = Catalog(places=self.places, lanes=self.lanes, clock=clock, home_id=address)
        self.ledger = Ledger(
            disk=self.disk,
            lane=self.lanes.open("ledger"),
            path=lambda: Path(self.dictionary.get("blockchain_file")),
            clock=clock,
            chance=self.chance,
        )
        self.peers: Any = road.peers_of(address)
        self.clusters = Clusters(policies=lambda: self.ledger.policies, state=self.peers.state, own=lambda: Own(ip, ip))
        self.master: Master | None = None
        self.words = Words(COMMANDS)
        self.interpreter = Interpreter(
            words=self.words,
            dictionary=self.dictionary,
            environ=self.environ,
            clock=clock,
            node=self,
            logs=self.logs,
            read_file=self.no_file,
        )
        road.nodes[address] = self

    async def no_file(self, name: str, folder: str, local: bool) -> tuple[str, str]:
        raise AnyLogError(112, name)

    def execute(self, asked: Any, context: Context) -> Deferred[Result]:
        return self.interpreter.execute(asked, context)

    def meaning(self, word: str) -> Any:
        return self.interpreter.meaning(word)

    @deferring
    async def refresh(self, fresh: bool = False) -> None:
        """What the synchronizer does in each of its cycles."""
        data = self.master.data if self.master else await fetch(self, self.of, self.ledger.version)
        if data is not None:
            await settle(self, self.of, await self.ledger.take(data))

    def follows(self, master: str) -> bool:
        """A node here has a synchronizer if a test says so."""
        return self.synchronized and master == self.of

    @deferring
    async def elect(self) -> None:
        """Become a master."""
        context = Context(origin="console")
        await self.execute("connect dbms blockchain where type = sqlite and memory = true", context)
        await self.execute("create table ledger where dbms = blockchain", context)
        self.master = Master(database=self.databases.get("blockchain"), clock=self.clock)
        await self.master.load()


class VillageCase(SynchronousTestCase):
    """A master `hill` and a member `roof`."""

    def setUp(self) -> None:
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.folder, self.clock, self.road = Path(kept.name), Clock(), Road()
        self.clock.advance(NOW)
        self.hill = self.build("10.0.0.1:32048")
        self.successResultOf(self.hill.elect())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.hill.databases.stop()))
        self.roof = self.build("10.0.0.2:32148", self.hill.address)
        self.context = Context(origin="console", who="tester")

    def build(self, address: str, master: str = "") -> House:
        house = House(self.road, address, self.folder / address, self.clock, master)
        self.successResultOf(house.ledger.load())
        return house

    def ask(self, asked: str, at: House | None = None, context: Context | None = None) -> Result:
        """The result of what takes no time; a second of the clock goes by before."""
        self.clock.advance(1)
        result: Result = self.successResultOf((at or self.roof).execute(asked, context or self.context))
        return result

    def refused(self, asked: str, at: House | None = None) -> AnyLogError:
        error: AnyLogError = self.failureResultOf((at or self.roof).execute(asked, self.context), AnyLogError).value
        return error

    def value(self, key: str, at: House | None = None) -> Any:
        return (at or self.roof).dictionary.get(key)

    def sync(self, *houses: House) -> None:
        for house in houses or self.road.nodes.values():
            self.successResultOf(house.refresh())
