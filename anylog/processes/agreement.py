"""Tables and columns are made known to the network before they are made here (hard-parts.md 4.2 to 4.5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from anylog.columns import AUTOMATIC
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, IDatabase, Load
from anylog.ledger.types import widened
from anylog.mapping.schema import create_statement
from anylog.waiting import deferring, pause

SYSTEM = ("almgm", "blockchain", "system_query")  # databases of the node's own (storage.md 1.4)
PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds between attempts while the ledger is away
TAKEN = (70, 180)  # somebody else was first: look again
MOST_TOLD = 1000  # columns that are left out and told of
ATTEMPTS = 8  # times that a refusal by the ledger is answered with another look, before it is an error


@frozen(kw_only=True)
class Place:
    """Where an operator stands in the network: its policy and its cluster (decisions.md 33)."""

    operator: str  # ids of the policies
    cluster: str
    cluster_name: str
    company: str
    member: int
    address: str  # ip:port
    name: str


class KnownTables(Protocol):
    """What the ledger says of tables."""

    def columns(self, dbms: str, table: str) -> Mapping[str, str] | None:
        """Column -> ledger type, automatic ones included; None for an unknown table."""

    def lists(self, cluster_id: str, dbms: str, table: str) -> bool:
        """Whether a cluster has the table."""


Publish = Callable[[Sequence[dict[str, Any]]], Awaitable[list[tuple[int, str]]]]


@define(kw_only=True, eq=False)
class Agreement:
    """Asks the ledger for tables and columns, and waits for it as long as it is away."""

    _clock: Clock
    _tables: KnownTables
    # Policies to the ledger, in one message: an error number (0: stored) and text for each. Fails with AnyLogError
    # while the ledger cannot be reached.
    _publish: Publish
    _refresh: Callable[[], Awaitable[None]]  # look at the ledger anew
    _place: Callable[[], Place | None]
    # While an operator runs that makes no tables (`create_table = false`): it is told of columns that are left out.
    fixed: Callable[[str], object] | None = None
    waiting: dict[tuple[str, str], str] = field(factory=dict)  # (dbms, table) -> why it is not agreed on yet
    _left_out: set[tuple[str, str, str]] = field(factory=set)  # columns that it was told of
    log = Logger()

    def agree(self, dbms: str, table: str, columns: Mapping[str, str]) -> Deferred[Mapping[str, str]]:
        """All data columns of the table as the ledger knows them, those asked for included; at once if it does.

        While no tables are made, readings of one that is not there wait, and columns that are not are left out, which
        is told once. A column whose type there can neither be widened nor keeps the values of the type asked for keeps
        its own: those rows are misfits on every member alike. A node without a place in the network decides alone.
        """
        place = self._place()
        if place is None or dbms in SYSTEM:
            return succeed(dict(columns))
        known = self._known(place, dbms, table, columns)
        return succeed(known) if known is not None else self._ask(dbms, table, columns)

    def _known(self, place: Place, dbms: str, table: str, columns: Mapping[str, str]) -> dict[str, str] | None:
        """The columns, if the ledger knows the table, that the cluster holds it, and all that is asked for."""
        found = self._tables.columns(dbms, table)
        if found is None or not self._tables.lists(place.cluster, dbms, table):
            return None
        lacking = _lacking(found, columns)
        if lacking and self.fixed is None:
            return None
        for name in lacking:
            self._tell_left_out(dbms, table, name)
        return {name: kind for name, kind in found.items() if name not in AUTOMATIC}

    def lacks(self, dbms: str, table: str) -> str:
        """What the ledger lacks of a table for this node to load it, in words; "" if it lacks nothing."""
        place = self._place()
        if place is None:
            return ""
        if self._tables.columns(dbms, table) is None:
            return "in the ledger"
        return "" if self._tables.lists(place.cluster, dbms, table) else "a table of this cluster"

    def _tell_left_out(self, dbms: str, table: str, column: str) -> None:
        if self.fixed is None or (dbms, table, column) in self._left_out or len(self._left_out) >= MOST_TOLD:
            return
        self._left_out.add((dbms, table, column))
        self.fixed(f"{dbms}.{table}: {column} is left out, or stays of its type: create_table = false")

    @deferring
    async def _ask(self, dbms: str, table: str, columns: Mapping[str, str]) -> Mapping[str, str]:
        attempt = refusals = 0
        self.waiting[dbms, table] = "asking the ledger"
        try:
            while True:
                place = self._place()
                if place is None:
                    return dict(columns)
                known = self._known(place, dbms, table, columns)
                if known is not None:
                    return known
                try:
                    if self.fixed is not None:
                        raise AnyLogError(171, f"{dbms}.{table}: create_table = false")
                    results = await self._publish(self._policies(place, dbms, table, columns))
                    refused = [(number, text) for number, text in results if number and number not in TAKEN]
                    taken = any(number in TAKEN for number, _ in results)
                    if not refused and not taken:
                        continue
                    refusals += 1
                    why = "; ".join(text for _, text in refused) or "somebody else was first"
                    await self._refresh()
                    if refusals <= ATTEMPTS and not refused:
                        continue
                except CancelledError:
                    raise
                except AnyLogError as away:
                    why = str(away)
                if self.waiting.get((dbms, table)) != why:  # none: another who asked has ended
                    self.log.warn("{dbms}.{table} waits for the ledger: {why}", dbms=dbms, table=table, why=why)
                self.waiting[dbms, table] = why
                await pause(self._clock, PAUSES[min(attempt, len(PAUSES) - 1)])
                attempt += 1
        finally:
            self.waiting.pop((dbms, table), None)

    def _policies(self, place: Place, dbms: str, table: str, columns: Mapping[str, str]) -> list[dict[str, Any]]:
        """What the ledger lacks (metadata.md 3.2); each id is the same whoever makes the policy."""
        found = self._tables.columns(dbms, table)
        made: list[dict[str, Any]] = []
        if found is None:
            made.append(
                {
                    "table": {
                        "name": table,
                        "dbms": dbms,
                        "create": create_statement(table, columns),
                        "company": place.company,
                        "source": f"operator {place.name}",
                    }
                }
            )
        else:
            made += [
                {"column": {"dbms": dbms, "table": table, "name": name, "type": kind}}
                for name, kind in _lacking(found, columns).items()
            ]
        if not self._tables.lists(place.cluster, dbms, table):
            made.append(
                {
                    "cluster": {
                        "parent": place.cluster,
                        "name": place.cluster_name,
                        "company": place.company,
                        "table": [{"dbms": dbms, "name": table, "status": "active"}],
                    }
                }
            )
        return made


def _lacking(found: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Columns to be added, and those to be widened with the type they need."""
    lacking = {}
    for name, kind in wanted.items():
        if name in AUTOMATIC:
            continue
        wider = kind if name not in found else widened(found[name], kind)
        if wider is not None and wider != found.get(name):
            lacking[name] = wider
    return lacking


class Local(IDatabase, Protocol):
    """A database whose schemas are known without waiting."""

    def schema(self, table: str) -> Mapping[str, str] | None:
        """Column -> ledger type; None if there is no such table."""


async def bring_up(database: Local, table: str, columns: Mapping[str, str]) -> bool:
    """Make the table, or add and widen the columns it lacks, as the ledger knows them; False if nothing was to do.

    Raises AnyLogError 16 if the engine refuses.
    """
    local = database.schema(table)
    wanted = {name: kind for name, kind in columns.items() if name not in AUTOMATIC}
    lacking = _lacking(local, wanted) if local is not None else wanted
    if local is not None and not lacking:
        return False
    load = Load(
        table=table,
        columns=(),
        values="[]",
        rows=0,
        marks=(),
        parked=(),
        keys=(),
        tsd_name="0",
        tsd_id=0,
        inserted="",
        create=wanted if local is None else None,
        alter=None if local is None else lacking,
    )
    (fault,) = await database.load([load])
    if fault is not None:
        raise AnyLogError(16, f"{database.name}.{table}: {fault.text}")
    return True
