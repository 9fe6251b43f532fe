"""What a node keeps for queries of the network: plans, turns, result tables, limits (query.md 7)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.interfaces import Clock, ILane, IPeers, Lanes
from anylog.jobs import Jobs
from anylog.query.leader import Suspects, Target
from anylog.query.plan import Plan
from anylog.query.scratch import Scratches
from anylog.query.tails import Tails
from anylog.query.watch import QueryTimes

KEPT = 256  # plans that are remembered
POOL = 3  # threads of result tables


class Operator(Protocol):
    """One operator of a cluster."""

    @property
    def address(self) -> str: ...

    @property
    def main(self) -> bool: ...

    @property
    def member(self) -> int | None: ...


class Share(Protocol):
    """One cluster that holds a part of a table."""

    @property
    def cluster_id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def operators(self) -> Sequence[Any]: ...


class Clusters(Protocol):
    """Who holds which table (metadata.md 10)."""

    def columns(self, dbms: str, table: str) -> Mapping[str, str] | None: ...

    def shares(self, dbms: str, table: str) -> Sequence[Any]: ...


@define(kw_only=True)
class Mode:
    """`set query mode` (query.md 7.3): limits for each operator, and what may be missing."""

    timeout: float = 0  # seconds, 0: none
    max_volume: int = 10_000_000  # bytes
    given: bool = False  # max_volume was set: it holds for rows that are only passed on, too
    send: str = "all"
    reply: str = "all"
    show_id: bool = False


@define(eq=False)
class NetworkQueries:
    """The memory of one node about its queries of the network. No service: the node makes one."""

    _clock: Clock
    _lanes: Lanes
    _peers: Callable[[], IPeers]
    mode: Mode = field(factory=Mode)
    scratches: Scratches = field(factory=Scratches)
    suspects: Suspects = field(init=False)
    tails: Tails = field(factory=Tails)
    threads: int = POOL
    _plans: OrderedDict[Any, tuple[Mapping[str, str], Plan]] = field(factory=OrderedDict)
    _turns: dict[str, int] = field(factory=dict)
    _pools: int = 0

    def __attrs_post_init__(self) -> None:
        self.suspects = Suspects(self._peers)

    @property
    def lane(self) -> ILane:
        """Where result tables are worked on."""
        return self._lanes.open(f"query {self._pools}" if self._pools else "query", self.threads)

    def resize(self, threads: int) -> Deferred[None]:
        """Another number of threads for the result tables of queries to come; fires when the old ones have gone."""
        if threads == self.threads:
            return self._lanes.close("query none")
        old = f"query {self._pools}" if self._pools else "query"
        self.threads, self._pools = threads, self._pools + 1
        return self._lanes.close(old)

    def plan(self, key: Any, columns: Mapping[str, str]) -> Plan | None:
        """A plan made before for the same columns."""
        known = self._plans.get(key)
        if known is None or (known[0] is not columns and known[0] != columns):
            return None
        self._plans.move_to_end(key)
        return known[1]

    def keep(self, key: Any, columns: Mapping[str, str], plan: Plan) -> None:
        """Remember a plan that holds at any time."""
        self._plans[key] = dict(columns), plan
        while len(self._plans) > KEPT:
            self._plans.popitem(last=False)

    def target(self, share: Share, nodes: str) -> Target:
        """The operators of a cluster in the order in which they are tried (metadata.md 10, operator-ha.md 12.1).

        The main one if it is active, else in turn those that are; with `nodes = all` always in turn. Those that are
        not active come last.
        """
        operators = [operator for operator in share.operators if operator.address]
        addresses = [operator.address for operator in operators]
        active = [address for address in addresses if address not in self.suspects]
        silent = [address for address in addresses if address in self.suspects]
        main = [operator.address for operator in operators if operator.main and operator.address in active][:1]
        if active and (nodes == "all" or not main):
            turn = self._turns.get(share.cluster_id, 0)
            self._turns[share.cluster_id] = turn + 1
            at = turn % len(active)
            active = active[at:] + active[:at]
        else:
            active = [*main, *[address for address in active if address not in main]]
        members = {operator.address: operator.member for operator in operators if operator.member}
        return Target(share.name or share.cluster_id, [*active, *silent], members=members)


class Place(Protocol):
    """What a query of the network needs of its node."""

    clock: Clock
    databases: Any
    queries: QueryTimes
    jobs: Jobs
    peers: IPeers
    clusters: Any
    network_queries: NetworkQueries

    @property
    def address(self) -> str: ...

    def refresh(self) -> Deferred[None]: ...
