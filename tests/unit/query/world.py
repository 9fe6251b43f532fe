"""A network without sockets: operators with real databases, a query node that calls their handlers directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import msgpack
import orjson
from attrs import define, field
from place import COLUMNS, NOW
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.sqlite import SQLite
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, IBody, Load, Mark, PeerState, Reply
from anylog.jobs import Jobs
from anylog.language.context import Context, Result
from anylog.language.logs import Logs
from anylog.query.network import network_sql
from anylog.query.serve import SelectService
from anylog.query.state import NetworkQueries
from anylog.query.watch import QueryTimes
from anylog.testing.lanes import InlineLanes
from anylog.waiting import deferring

AUTOMATIC = {
    "row_id": "SERIAL PRIMARY KEY",
    "insert_timestamp": "TIMESTAMP",
    "tsd_name": "CHAR(3)",
    "tsd_id": "BIGINT",
}


@define
class Operator:
    """As the ledger's."""

    address: str
    main: bool = False
    member: int | None = None


@define
class Share:
    """As the ledger's."""

    cluster_id: str
    name: str
    operators: list[Operator]


@define(eq=False)
class Cut:
    """A body whose pages are cut anywhere, and that breaks after `breaks` pieces."""

    body: IBody
    chance: Random
    breaks: int | None = None
    held: bytes = b""
    given: int = 0
    closed: bool = False

    @deferring
    async def next(self) -> bytes | None:
        if self.breaks is not None and self.given >= self.breaks:
            raise AnyLogError(15, "the connection broke")
        self.given += 1
        if not self.held:
            page = await self.body.next()
            if page is None:
                return None
            self.held = page
        size = self.chance.randint(1, max(1, len(self.held)))
        piece, self.held = self.held[:size], self.held[size:]
        return piece

    def close(self) -> None:
        self.closed = True
        self.body.close()


@define(eq=False)
class FakePeers:
    """Asks by calling. Nodes may be down, silent, or break."""

    clock: Clock
    handlers: dict[str, SelectService] = field(factory=dict)
    down: set[str] = field(factory=set)  # nothing listens there
    silent: set[str] = field(factory=set)  # nothing ever comes
    slow: dict[str, float] = field(factory=dict)  # seconds before a reply
    late: dict[str, float] = field(factory=dict)  # until when pings have no answer
    breaks: dict[str, int] = field(factory=dict)  # pieces of a body before the connection breaks
    refusals: dict[str, AnyLogError] = field(factory=dict)
    flagged: dict[str, PeerState] = field(factory=dict)
    before: Callable[[str, Mapping[str, Any]], object] = field(default=lambda address, head: None)  # each question
    asked: list[tuple[str, Mapping[str, Any]]] = field(factory=list)
    pinged: list[str] = field(factory=list)
    bodies: list[Cut] = field(factory=list)
    chance: Random = field(factory=lambda: Random(7))

    def ask(
        self,
        address: str,
        kind: str,
        head: Mapping[str, Any],
        body: bytes = b"",
        *,
        until: float | None = None,
        hops: int = 0,
    ) -> Deferred[Reply]:
        packed = msgpack.packb(dict(head))
        assert len(packed) <= 64 << 10, "a head is small"
        head = msgpack.unpackb(packed)
        self.before(address, head)
        self.asked.append((address, head))
        if address in self.silent:
            return Deferred()
        if address in self.down or address not in self.handlers:
            self.flagged[address] = PeerState(address=address, active=False, at=self.clock.seconds(), why="refused")
            return fail(AnyLogError(208, f"Failed to create a socket using: {address}", node=address))
        if address in self.refusals:
            told = self.refusals[address]
            return fail(AnyLogError(told.number, told.detail, node=address))
        asker = Asker(host="127.0.0.1", address="query:1", until=until, hops=hops + 1)
        done = Deferred.fromCoroutine(self._reply(address, self.handlers[address](head, body, asker)))
        if address not in self.slow:
            return done
        waited: Deferred[Reply] = Deferred(lambda _: done.cancel())
        self.clock.callLater(self.slow[address], done.chainDeferred, waited)
        return waited

    async def _reply(self, address: str, asked: Deferred[Reply]) -> Reply:
        reply = await asked
        self.flagged.pop(address, None)  # something was heard of it
        head = msgpack.unpackb(msgpack.packb(dict(reply.head)))
        if reply.body is None:
            return Reply(head=head)
        body = Cut(reply.body, self.chance, self.breaks.get(address))
        self.bodies.append(body)
        return Reply(head=head, body=body)

    def ping(self, address: str, seconds: float) -> Deferred[float]:
        self.pinged.append(address)
        if address in self.silent:
            return Deferred()
        if address in self.down:
            return fail(AnyLogError(208, f"Failed to create a socket using: {address}", node=address))
        if self.clock.seconds() < self.late.get(address, 0.0):
            waited: Deferred[float] = Deferred(lambda _: call.cancel() if call.active() else None)
            call = self.clock.callLater(self.late[address] - self.clock.seconds(), self._ponged, address, waited)
            return waited
        return succeed(0.001)

    def _ponged(self, address: str, waited: Deferred[float]) -> None:
        self.flagged.pop(address, None)
        waited.callback(1.0)

    def tell(self, kind: str, head: Mapping[str, Any]) -> int:
        return 0

    def doubt(self, address: str, why: str) -> None:
        self.flagged[address] = PeerState(address=address, active=False, at=self.clock.seconds(), why=why)

    def state(self, address: str) -> PeerState | None:
        return self.flagged.get(address)

    def states(self) -> Sequence[PeerState]:
        return list(self.flagged.values())


@define(eq=False)
class FakeClusters:
    """Who holds which table."""

    tables: dict[tuple[str, str], dict[str, str]] = field(factory=dict)
    held: dict[tuple[str, str], list[Share]] = field(factory=dict)

    def columns(self, dbms: str, table: str) -> Mapping[str, str] | None:
        return self.tables.get((dbms, table))

    def shares(self, dbms: str, table: str) -> Sequence[Share]:
        return self.held.get((dbms, table), [])


def load_of(table: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]], number: int = 1) -> Load:
    """Rows as the intake brings them."""
    return Load(
        table=table,
        columns=list(columns),
        values=orjson.dumps(rows).decode(),
        rows=len(rows),
        marks=[Mark(f"b-{table}-{number}", table, 1, len(rows), 0)],
        parked=[],
        keys=[],
        tsd_name="0",
        tsd_id=number,
        inserted="2026-01-01 12:00:00.000000",
        create=columns,
    )


class Network(SynchronousTestCase):
    """Operators `op1:1`, `op2:1`, ...; each in a cluster of its own unless a test says otherwise."""

    operators = 2
    on_disk = True

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.peers = FakePeers(self.clock)
        self.clusters = FakeClusters()
        self.databases: dict[str, SQLite] = {}
        self.refreshed = 0
        self.on_refresh: Callable[[], object] = lambda: None
        self.written: list[str] = []
        for number in range(1, self.operators + 1):
            self.start_operator(f"op{number}:1")
        self.node: Any = SimpleNamespace(
            clock=self.clock,
            databases=SimpleNamespace(known=lambda name: None),
            logs=Logs(self.clock),
            jobs=Jobs(self.clock),
            peers=self.peers,
            clusters=self.clusters,
            address="query:1",
            refresh=self.refresh,
            network_queries=NetworkQueries(self.clock, InlineLanes(), lambda: self.peers),
        )
        self.node.queries = QueryTimes(self.clock, self.node.logs)
        self.declare("readings", COLUMNS)
        self.addCleanup(self.node.network_queries.scratches.close)

    def start_operator(self, address: str) -> SQLite:
        """One more operator, with an empty database."""
        database = SQLite(
            name="plant",
            path=self.folder / f"{address.replace(':', '_')}.dbms" if self.on_disk else None,
            lanes=InlineLanes(),
            clock=self.clock,
            home=address,
        )
        self.successResultOf(database.open())
        self.addCleanup(lambda: self.successResultOf(database.close()))
        self.databases[address] = database

        def get(name: str) -> SQLite:
            if name != "plant":
                raise AnyLogError(5, f"Logical DBMS '{name}' not opened on Operator Node")
            return database

        def ensure(dbms: str, table: str, needed: Sequence[str]) -> Deferred[None]:
            return maybeDeferred(self.ensure, database, table)

        self.peers.handlers[address] = SelectService(
            databases=lambda: SimpleNamespace(get=get),
            clock=self.clock,
            times=QueryTimes(self.clock, Logs(self.clock)),
            ensure_table=ensure,
        )
        return database

    def ensure(self, database: SQLite, table: str) -> None:
        """The table as the ledger knows it."""
        columns = self.clusters.tables.get(("plant", table))
        if columns is not None:
            self.fill(database, table, [], {name: kind for name, kind in columns.items() if name not in AUTOMATIC})

    def declare(self, table: str, columns: Mapping[str, str], groups: Sequence[Sequence[str]] | None = None) -> None:
        """A table in the ledger, held by clusters of these operators (default: each alone)."""
        self.clusters.tables["plant", table] = {**AUTOMATIC, **columns}
        self.clusters.held["plant", table] = [
            Share(f"c{number}", f"cluster{number}", [Operator(address) for address in group])
            for number, group in enumerate(groups or [[address] for address in self.databases], 1)
        ]

    def fill(
        self, database: SQLite | str, table: str, rows: Sequence[Sequence[Any]], columns: Mapping[str, str] = COLUMNS
    ) -> None:
        """Rows for one operator."""
        if isinstance(database, str):
            database = self.databases[database]
        self.filled = getattr(self, "filled", 0) + 1
        self.assertEqual(self.successResultOf(database.load([load_of(table, columns, rows, self.filled)])), [None])

    def refresh(self) -> Deferred[None]:
        self.refreshed += 1
        self.on_refresh()
        return succeed(None)

    def asking(
        self, line: str, targets: Sequence[str] | None = None, subset: bool = False, timeout: float | None = None,
        **context: Any,
    ) -> Deferred[Result]:  # fmt: skip
        """The question, under way."""
        made = Context(write=self.written.append, **context)
        return Deferred.fromCoroutine(network_sql(self.node, made, line, targets, subset=subset, timeout=timeout))

    def body(self, line: str, targets: Sequence[str] | None = None, **more: Any) -> str:
        """The whole answer."""
        return self.pages(self.successResultOf(self.asking(line, targets, **more)))

    def pages(self, result: Result) -> str:
        """All pages of a result."""
        assert result.pages is not None
        parts = []
        while (page := self.successResultOf(result.pages.next())) is not None:
            parts.append(page.decode())
        return "".join(parts)

    def rows_of(self, statement: str, options: str = "", **more: Any) -> list[dict[str, Any]]:
        """The rows of a select."""
        found: list[dict[str, Any]] = orjson.loads(
            self.body(f'plant format = json:list and stat = false {options} "{statement}"', **more)
        )
        return found

    def refusal(self, line: str, targets: Sequence[str] | None = None, **more: Any) -> AnyLogError:
        """The error that the question ends with."""
        error = self.failureResultOf(self.asking(line, targets, **more), AnyLogError).value
        assert isinstance(error, AnyLogError)
        return error
