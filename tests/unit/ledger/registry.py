"""What the tests of this room share: policies of a small network, a ledger on a disk in memory, a master on SQLite."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.sqlite import SQLite
from anylog.databases.tables import BUILT_IN
from anylog.errors import AnyLogError
from anylog.ledger.ledger import Ledger
from anylog.ledger.master import Master
from anylog.ledger.policy import Policy, prepared
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane, InlineLanes

NOW = 1_790_000_000.0
FILE = Path("/home/n/blockchain/blockchain.json")
PLANT = "c" * 32  # the id of a cluster


def policy(kind: str, seconds: float = 0, **body: Any) -> Policy:
    """A policy with id and date, `seconds` after NOW."""
    return prepared(Policy(kind, body), NOW + seconds)


def cluster(name: str = "plant", seconds: float = 0, **body: Any) -> Policy:
    return policy("cluster", seconds, **{"company": "Acme", "name": name, **body})


def operator(name: str, of: str, port: int = 32148, seconds: float = 1, **body: Any) -> Policy:
    body = {"company": "Acme", "name": name, "cluster": of, "ip": "10.0.0.1", "port": port, **body}
    return policy("operator", seconds, **body)


def table(name: str, dbms: str = "town", create: str = "create table t (ts timestamp, v int)", **body: Any) -> Policy:
    return policy("table", 2, **{"company": "Acme", "name": name, "dbms": dbms, "create": create, **body})


def child(parent: Policy, *tables: str, dbms: str = "town", seconds: float = 3) -> Policy:
    """The policy by which an operator says that its cluster holds tables."""
    listed = [{"dbms": dbms, "name": name, "status": "active"} for name in tables]
    return policy(
        "cluster", seconds, parent=parent.id, company=parent.text_of("company"), name=parent.name, table=listed
    )


class SlowLane(InlineLane):
    """Holds its work until it is let go."""

    def __init__(self) -> None:
        super().__init__("slow")
        self.held: list[tuple[Deferred[Any], Any, tuple[Any, ...]]] = []

    def run(self, work: Any, *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.held.append((done, work, args))
        return done

    def go(self) -> None:
        """Do one piece of it."""
        done, work, args = self.held.pop(0)
        InlineLane().run(work, *args).chainDeferred(done)


class LedgerCase(SynchronousTestCase):
    """A ledger on a disk in memory."""

    def setUp(self) -> None:
        self.clock, self.disk, self.chance = Clock(), MemoryDisk(), Random(7)
        self.clock.advance(NOW)
        self.ledger = self.open()

    def open(self, lane: InlineLane | None = None) -> Ledger:
        return Ledger(
            disk=self.disk,
            lane=lane or InlineLane(),
            path=lambda: FILE,
            clock=self.clock,
            chance=self.chance,
        )

    def refused(self, waited: Deferred[Any]) -> AnyLogError:
        error: AnyLogError = self.failureResultOf(waited, AnyLogError).value
        return error


class MasterCase(LedgerCase):
    """And a master with a database."""

    def setUp(self) -> None:
        super().setUp()
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.database = SQLite(
            name="blockchain",
            path=Path(kept.name) / "blockchain.dbms",
            lanes=InlineLanes(),
            clock=self.clock,
            home="home",
        )
        self.successResultOf(self.database.open())
        self.addCleanup(self.database.close)
        self.successResultOf(self.database.create("ledger", BUILT_IN[("blockchain", "ledger")]))
        self.told = 0
        self.master = self.elect()

    def elect(self) -> Master:
        """A master that has just started."""
        master = Master(database=self.database, clock=self.clock, changed=self.count)
        self.successResultOf(master.load())
        return master

    def count(self) -> None:
        self.told += 1
