"""Words that compare the members of a cluster, and tell whether a node can keep a copy (operator-ha.md 11)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred

from anylog.databases.dates import stored_interval
from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Flag, Format, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.ledger.cluster import Operator
from anylog.processes.agreement import SYSTEM, Place
from anylog.processes.audit_commands import deep
from anylog.processes.operator import Operator as OperatorProcess
from anylog.processes.overview import read_overview
from anylog.waiting import gather

if TYPE_CHECKING:
    from anylog.node import Node

PATIENCE = 3.0  # seconds that a member has to answer
_MEMBER = re.compile(r"tsd_([0-9]{1,3})")


class TestClusterSetup(Command):
    """Show whether this node is ready to keep a copy of the data of its cluster, and what is missing.

    For high availability an operator runs with a distributor and a consumer, its policy gives it a member id in a
    cluster, and `almgm.tsd_info` is there: 'create table tsd_info where dbms = almgm'.
    """

    words = "test ha setup"
    also = ("test cluster setup",)
    where = {"format": Format}
    examples = ("test ha setup", "test cluster setup where format = json")
    index = ("high availability", "cluster", "test")
    http = ("GET",)
    titles: ClassVar[Sequence[str]] = ("Functionality", "Details")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        operator = node.processes.find("operator")
        place = node.membership.place()
        runs = "Disabled"
        if isinstance(operator, OperatorProcess):
            runs = f"Running: distributor flag {'enabled' if operator.distributor else 'disabled'}"
        data = {
            "Operator": runs,
            **{
                title: "Running" if node.processes.find(title.lower()) is not None else "Disabled"
                for title in ("Distributor", "Consumer")
            },
            "Operator Name": place.name if place is not None else "Not Defined",
            "Member ID": place.member if place is not None and place.member else "Not Defined",
            "Cluster ID": place.cluster if place is not None else "Not Defined",
            "almgm.tsd_info": "Defined" if node.membership.tsd() is not None else "Not Defined",
        }
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=framed(bar_table(self.titles, list(data.items()))), data=data, format="table")


class _Compared(Command):
    """Ask all members of the own cluster for one thing, and show their answers side by side."""

    where = {"format": Format}
    index = ("high availability", "cluster", "test")
    http = ("GET",)

    async def told(self, node: Node, subject: str, **asked: str) -> list[tuple[Operator, Any]]:
        """Each member, this one included, with what it tells; None where it does not answer in time.

        Raises AnyLogError 222 if this node is not a member of a cluster.
        """
        share = node.clusters.cluster_of(own_place(node, self.words).operator)
        operators = sorted(share.operators if share is not None else (), key=lambda each: each.member or 0)
        return await ask_all(node, operators, subject, **asked)

    def result(
        self, heading: str, firsts: Sequence[str], rows: Sequence[Sequence[Any]], told: Sequence[tuple[Operator, Any]],
        format: str, more: Sequence[str] = (),
    ) -> Result:  # fmt: skip
        """Rows that begin with `firsts` and go on with a cell for each member."""
        names = [f"Node_{operator.member}" for operator, _ in told]
        data = [dict(zip((*firsts, *names), row, strict=True)) for row in rows]
        if format == "json":
            return Result(data=data, format="json")
        titles = [*firsts, *(f"{name}\n{operator.address}" for name, (operator, _) in zip(names, told, strict=True))]
        lines = [bar_table(titles, rows, heading=heading)]
        lines += [f"{operator.name or operator.address} does not answer" for operator, each in told if each is None]
        return Result(text=framed("\r\n".join([*lines, *more])), data=data, format="table")


class TestClusterData(_Compared):
    """Compare how many files and rows of each table the members of the cluster have, as `files/rows`.

    Counted are the entries of all tables of files, so the numbers are equal once nothing is on its way any more. An
    interval limits that to files that were registered in it; `start_date = -7d` are the last seven days.

    Where a member has one id with another content than a member that knows it too, there is a column `Conflicts`, and
    each such id is named with both contents, whatever the interval.

    With `deep = true` all rows and archive files are read, which takes its time: for each day as
    `files/rows digest`, where equal digests mean equal rows, with a last column that tells what differs, and the files
    that do by name. `dbms` and `table` limit it; with `archive = false` the archive is not read.
    """

    words = "test cluster data"
    where = {
        "start_date": Text(help="files registered then or later, such as -7d"),
        "end_date": Text(help="files registered before that"),
        "deep": Flag(default=False, help="compare the rows and the archive files, too"),
        "dbms": Text(help="of this database only"),
        "table": Text(help="this table only"),
        "archive": Flag(default=True, help="false: rows only"),
        "format": Format,
    }
    examples = (
        "test cluster data",
        "test cluster data where start_date = -7d",
        "test cluster data where deep = true and dbms = plant and table = sensors and start_date = -1d",
    )

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5, 28, 40, 171, 175 or 222."""
        if not (options["archive"] or options["deep"]):
            raise AnyLogError(175, f"{self.words}: 'archive = false' needs 'deep = true': else no archive is read")
        now = unix(node.clock)
        start, end = stored_interval(options["start_date"] or None, options["end_date"] or None, now)
        told = await self.told(node, "files", start=start, end=end)
        names = sorted({name for _, each in told for name in each or ()})
        dbms, table = ((options[key] or "").strip().lower() for key in ("dbms", "table"))

        def fits(name: str) -> bool:
            return all(asked in ("", part) for asked, part in zip((dbms, table), name.split(".", 1), strict=True))

        names = [name for name in names if fits(name)]
        if (dbms or table) and not names:
            await self._check(node, dbms, table)
        if options["deep"]:
            tables = [(name.split(".", 1)[0], name.split(".", 1)[1]) for name in names]
            if dbms and table:
                tables = [(dbms, table)]
            operators = [operator for operator, _ in told]
            return await deep(node, operators, tables, start, end, options["archive"], options["format"])
        clashes = conflicts_told(await self.told(node, "conflicts"))
        names = sorted({*names, *(name for name in clashes if fits(name))})
        rows = []
        differ = []
        for name in names:
            cells = [None if each is None else each.get(name, (0, 0)) for _, each in told]
            rows.append([*name.split(".", 1), *("" if cell is None else f"{cell[0]}/{cell[1]}" for cell in cells)])
            if len({tuple(cell) for cell in cells if cell is not None}) > 1:
                differ.append(name)
        more = [f"The members differ in {', '.join(differ)}"] if differ else []
        shown = [clashes.get(name, []) for name in names]
        more += [text for texts in shown for text in texts]
        heading = "TSD Summary on all nodes in the cluster (files/rows)"
        if not any(shown):
            return self.result(heading, ("DBMS", "Table"), rows, told, options["format"], more)
        json = options["format"] == "json"
        rows = [[*row[:2], texts if json else len(texts), *row[2:]] for row, texts in zip(rows, shown, strict=True)]
        return self.result(heading, ("DBMS", "Table", "Conflicts"), rows, told, options["format"], more)

    async def _check(self, node: Node, dbms: str, table: str) -> None:
        """Whether some member, or the ledger for this cluster, knows that database and table.

        Raises AnyLogError 5 or 28 naming what nobody knows, 171 for a database of the node's own.
        """
        if dbms in SYSTEM:
            raise AnyLogError(171, f"{self.words}: '{dbms}' is a database of the node's own: it is not compared")
        hosted = node.clusters.hosted(own_place(node, self.words).cluster)
        told = await self.told(node, "files")
        known = {(each.dbms, each.table) for each in hosted}
        known |= {(name.split(".", 1)[0], name.split(".", 1)[1]) for _, each in told for name in each or ()}
        if any(dbms in ("", one) and table in ("", other) for one, other in known):
            return
        silent = [operator.name or operator.address for operator, each in told if each is None]
        more = f" ({', '.join(silent)}: no answer)" if silent else ""
        databases = {name for _, each in await self.told(node, "databases") for name in each or ()}
        if dbms and dbms not in databases and dbms not in {one for one, _ in known}:
            raise AnyLogError(5, f"{self.words}: no member of the cluster knows a database '{dbms[:80]}'{more}")
        if table:
            name = f"{dbms}.{table}" if dbms else table
            raise AnyLogError(28, f"{self.words}: no member of the cluster knows a table '{name[:160]}'{more}")


class TestClusterDatabases(_Compared):
    """Show which databases are connected on which member of the cluster."""

    words = "test cluster databases"
    examples = ("test cluster databases",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 222."""
        told = await self.told(node, "databases")
        names = sorted({name for _, each in told for name in each or ()})
        rows = [[name, *("+" if name in (each or ()) else "" for _, each in told)] for name in names]
        return self.result("Databases on all nodes in the cluster", ("DBMS",), rows, told, options["format"])


class TestClusterPartitions(_Compared):
    """Show which partitions of the tables of the cluster are on which member. This version has no partitions.

    All rows of a table are in one place, so that there is nothing to compare but the tables: each has `none`, with `+`
    for a member that has files of it.
    """

    words = "test cluster partitions"
    examples = ("test cluster partitions",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 222."""
        told = await self.told(node, "files")
        names = sorted({name for _, each in told for name in each or ()})
        rows = [
            [*name.split(".", 1), "none", *("+" if name in (each or ()) else "" for _, each in told)] for name in names
        ]
        heading, firsts = "Partitions on all nodes in the cluster", ("DBMS", "Table", "Partition")
        return self.result(heading, firsts, rows, told, options["format"], [NO_PARTITIONS])


NO_PARTITIONS = "No partitions declared: this version keeps each table whole"


class TestNodeCluster(Command):
    """Compare the tables of files on this node with the members that its cluster has by the ledger.

    `Not in the ledger`: files of a member that is not there any more. `No files yet`: none came from that member.
    """

    words = "test node cluster"
    where = {"format": Format}
    examples = ("test node cluster",)
    index = ("high availability", "cluster", "test")
    http = ("GET",)
    titles: ClassVar[Sequence[str]] = ("TSD Table", "Member", "Operator", "IP:Port", "Status")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5 or 222."""
        place, tsd = own_place(node, self.words), node.membership.tsd()
        if tsd is None:
            raise AnyLogError(5, "almgm.tsd_info is not there: use 'create table tsd_info where dbms = almgm'")
        share = node.clusters.cluster_of(place.operator)
        members = {each.member or 0: each for each in (share.operators if share is not None else ())}
        rows = compared(await tsd.tables(), place.member, members)
        data = [dict(zip(self.titles, row, strict=True)) for row in rows]
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=framed(bar_table(self.titles, rows)), data=data, format="table")


class TestNetworkClusters(Command):
    """Compare the tables of files of every operator of the network with the members of its cluster by the ledger."""

    words = "test network clusters"
    where = {"format": Format}
    examples = ("test network clusters",)
    index = ("high availability", "cluster", "test")
    http = ("GET",)
    titles: ClassVar[Sequence[str]] = ("Cluster", "Operator", "Member", "IP:Port", "TSD Tables", "Status")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 211 if the ledger knows no cluster with operators."""
        shares = [share for share in node.clusters.all_shares() if share.operators]
        if not shares:
            raise AnyLogError(211, "no cluster with operators is in the local copy of the ledger")
        told = await ask_all(node, [each for share in shares for each in share.operators], "tables")
        answers = {operator.id: each for operator, each in told}
        rows: list[tuple[Any, ...]] = []
        for share in shares:
            members = {each.member or 0: each for each in share.operators}
            for operator in sorted(share.operators, key=lambda each: each.member or 0):
                tables = answers[operator.id]
                status = "No reply"
                if tables is not None:
                    odd = [
                        f"{row[0]}: {row[4].lower()}"
                        for row in compared(tables, operator.member or 0, members)
                        if row[4] == STRANGE
                    ]
                    status = "; ".join(odd) or "Passed"
                listed = ", ".join(tables or ())
                rows.append((share.name, operator.name, operator.member or "", operator.address, listed, status))
        data = [dict(zip(self.titles, row, strict=True)) for row in rows]
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=framed(bar_table(self.titles, rows)), data=data, format="table")


FINE, NONE_YET, STRANGE = "Passed", "No files yet", "Not in the ledger"


def compared(tables: Sequence[str], own: int, members: dict[int, Operator]) -> list[tuple[Any, ...]]:
    """Table of files, member, operator, address and status: of what is there, then of members without a table."""
    rows: list[tuple[Any, ...]] = []
    seen = set()
    for table in tables:
        found = _MEMBER.fullmatch(table)
        member = int(found[1]) if found else own
        operator = members.get(member)
        seen.add(member)
        named = (operator.name, operator.address) if operator is not None else ("", "")
        rows.append((table, member, *named, FINE if operator is not None else STRANGE))
    for member, operator in sorted(members.items()):
        if member not in seen:
            name = "tsd_info" if member == own else f"tsd_{member}"
            rows.append((name, member, operator.name, operator.address, NONE_YET))
    return rows


def conflicts_told(told: Sequence[tuple[Operator, Any]]) -> dict[str, list[str]]:
    """Table of a database -> in words, what members told of ids with two contents there."""
    found: dict[str, list[str]] = {}
    for operator, conflicts in told:
        for each in conflicts or ():
            if not isinstance(each, list) or len(each) != 6 or "." not in str(each[0]):
                continue  # whatever a node of another version tells
            table, into, id, hash, other, name = map(str, each)
            found.setdefault(table, []).append(
                f"TSD id conflict at {operator.name or operator.address}: {into} {id} has the hash {hash} there,"
                f" and {other} by {name}"
            )
    return found


def own_place(node: Node, words: str) -> Place:
    """The place of this node. Raises AnyLogError 222."""
    place = node.membership.place()
    if place is None:
        raise AnyLogError(222, f"{words}: no operator with a place in a cluster runs on this node")
    return place


async def ask_all(node: Node, operators: Sequence[Operator], subject: str, **asked: str) -> list[tuple[Operator, Any]]:
    """Each operator with its overview; None where it has none, or does not answer in time."""

    async def one(operator: Operator) -> Any:
        until = node.clock.seconds() + PATIENCE
        try:
            reply = await node.peers.ask(operator.address, "overview", {"of": subject, **asked}, until=until)
            return await read_overview(reply.body)
        except AnyLogError:
            return None

    told = await gather([Deferred.fromCoroutine(one(operator)) for operator in operators])
    return list(zip(operators, told, strict=True))


COMMANDS: tuple[type[Command], ...] = (
    TestClusterSetup,
    TestClusterData,
    TestClusterDatabases,
    TestClusterPartitions,
    TestNodeCluster,
    TestNetworkClusters,
)
