"""Words about who holds what: clusters, data nodes, servers, tables of the network (metadata.md 10)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.ledger.cluster import Clusters, Operator, Share, joined
from anylog.ledger.policies import folded, spelled
from anylog.ledger.policy import Policy
from anylog.ledger.reading_commands import Question

if TYPE_CHECKING:
    from anylog.node import Node

NODE_COLUMNS = (
    "Company",
    "DBMS",
    "Table",
    "Cluster ID",
    "Cluster Status",
    "Node Name",
    "Member ID",
    "External IP/Port",
    "Local IP/Port",
    "Main",
    "Node Status",
)


def _status(clusters: Clusters, operator: Operator) -> str:
    return "active" if clusters.active(operator) else "not responding"


def _addresses(policy: Policy) -> tuple[str, str]:
    """External and local ip:port, as the policy has them."""
    port, local_port = policy.whole("port"), policy.whole("local_port")
    local = joined(policy.text_of("local_ip"), port if local_port is None else local_port)
    return joined(policy.text_of("ip"), port), local


def _hosted(clusters: Clusters, company: str, dbms: str, table: str) -> Iterator[tuple[str, str, str, Share]]:
    """Company, database, table and cluster of all that is hosted, or of what these values ask for."""
    for share in clusters.all_shares():
        for each in clusters.hosted(share.cluster_id):
            if _fits(company, each.company) and _fits(dbms, each.dbms) and _fits(table, each.table):
                yield each.company, each.dbms, each.table, share
    listed = {share.cluster_id for share in clusters.all_shares()}
    for name in clusters.databases():
        for known in clusters.tables(name):
            owner = clusters.company(name, known)
            if not (_fits(company, owner) and _fits(dbms, name) and _fits(table, known)):
                continue
            for share in clusters.shares(name, known):
                # By their database, or by operators without a cluster; those that list the table came before.
                if share.cluster_id not in listed or (name, known) not in clusters.view.hosted.get(
                    share.cluster_id, ()
                ):
                    yield owner, name, known, share


def _fits(asked: str | None, value: str) -> bool:
    return not asked or asked == "*" or folded(asked) == folded(value) or spelled(asked) == value


class GetDataNodes(Command):
    """List which node holds the data of which table, with cluster, member number, addresses and state."""

    words = "get data nodes"
    where = {
        "company": Text(),
        "dbms": Text(),
        "table": Text(),
        "sort": Text(help="columns, the first is 0: (1, 2)"),
        "format": Format,
    }
    examples = ("get data nodes", "get data nodes where dbms = town and sort = (1, 2)")
    index = ("blockchain", "cluster", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        clusters = node.clusters
        rows: list[list[Any]] = []
        for company, dbms, table, share in _hosted(clusters, options["company"], options["dbms"], options["table"]):
            left = [company or share.company, dbms, table, share.cluster_id, share.status]
            rows += [left + _columns(clusters, operator) for operator in share.operators]
            if not share.operators:
                rows.append([*left, *[""] * 6])
        for place in reversed(_order(options["sort"])):
            rows.sort(key=lambda row: _sorted_by(row[place]))
        data = [dict(zip(NODE_COLUMNS, row, strict=True)) for row in rows]
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=framed(bar_table(NODE_COLUMNS, rows)), data=data, format="table")


def _columns(clusters: Clusters, operator: Operator) -> list[Any]:
    member = "" if operator.member is None else operator.member
    main = " +" if operator.main else " -"
    return [operator.name, member, *_addresses(operator.policy), main, _status(clusters, operator)]


def _sorted_by(cell: Any) -> tuple[bool, int, str]:
    """Numbers as numbers, before texts."""
    return (False, cell, "") if isinstance(cell, int) else (True, 0, folded(cell))


def _order(text: str | None) -> list[int]:
    if not text:
        return []
    numbers = [int(number) for number in re.findall(r"[0-9]{1,3}", text)]
    if not numbers or not re.fullmatch(r"[\s(),0-9]*", text) or max(numbers) >= len(NODE_COLUMNS):
        raise AnyLogError(175, f"get data nodes: '{text}' are not columns, from 0 to {len(NODE_COLUMNS) - 1}")
    return numbers


def own_operator(node: Node) -> Operator | None:
    """The operator that this node is: by its running process, else by its address."""
    process: Any = node.processes.find("operator")
    found = node.clusters.operator(str(getattr(process, "policy", ""))) if process is not None else None
    if found is not None:
        return found
    return next((each for each in node.clusters.operators() if each.address == node.address), None)


class GetClusterInfo(Command):
    """Show the cluster of this operator: its members, and the tables whose data they hold.

    A member is `active`, `syncing` while it takes over what it lacks of the data, or `not responding`. How far another
    member is it tells about once a minute.
    """

    words = "get cluster info"
    where = {"format": Format}
    examples = ("get cluster info", "get cluster info where format = json")
    index = ("cluster", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        clusters = node.clusters
        operator = own_operator(node)
        if operator is None:
            why = "this node is not an operator: no operator policy has its address"
            return Result(text=f"Cluster data is not available: {why}", data={})
        share = clusters.cluster_of(operator.id)
        if share is None:
            why = f"operator '{operator.name}' is not a member of a cluster"
            return Result(text=f"Cluster data is not available: {why}", data={})
        members = []
        for each in share.operators:
            ip, _, port = each.address.rpartition(":")
            status = _status(clusters, each)
            if status == "active" and node.copying.syncing(each.member or 0, own=each.id == operator.id):
                status = "syncing"
            members.append((ip, port, "" if each.member is None else each.member, status))
        tables = [(each.company or share.company, each.dbms, each.table) for each in clusters.hosted(share.cluster_id)]
        titles, names = ("IP", "Port", "Member", "Status"), ("Company", "DBMS", "Table")
        head = {
            "Cluster ID": share.cluster_id,
            "Member ID": "" if operator.member is None else operator.member,
            "Cluster Name": share.name,
            "Company": share.company,
        }
        data = {
            **head,
            "Participating Operators": [dict(zip(titles, row, strict=True)) for row in members],
            "Tables Supported": [dict(zip(names, row, strict=True)) for row in tables],
        }
        if options["format"] == "json":
            return Result(data=data, format="json")
        lines = [
            *(f"{key.ljust(12)} : {value}" for key, value in head.items()),
            "",
            bar_table(titles, members, heading="Participating Operators:", indent=2),
            "",
            bar_table(names, tables, heading="Tables Supported:", indent=2),
        ]
        return Result(text=framed("\r\n".join(lines)), data=data, format="table")


class GetVirtualTables(Command):
    """List the tables of the network: company, database and table."""

    words = "get virtual tables"
    where = {"company": Text(), "dbms": Text(), "table": Text(), "format": Format}
    examples: ClassVar[tuple[str, ...]] = ("get virtual tables", "get virtual tables where dbms = town")
    index = ("blockchain", "tables")
    http = ("GET",)
    titles: ClassVar[tuple[str, ...]] = ("Company", "DBMS", "Table")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        rows = self.rows(node.clusters, options)
        data = [dict(zip(self.titles, row, strict=True)) for row in rows]
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=framed(bar_table(self.titles, rows)), data=data, format="table")

    def rows(self, clusters: Clusters, options: dict[str, Any]) -> list[tuple[str, ...]]:
        """In the order of the ledger."""
        return [
            (company, dbms, table)
            for dbms, tables in clusters.view.tables.items()
            for table, company in tables.items()
            if _fits(options["company"], company)
            and _fits(options["dbms"], dbms)
            and _fits(options.get("table"), table)
        ]


class GetNetworkDatabases(GetVirtualTables):
    """List the databases of the network: company and database."""

    words = "get network databases"
    where = {"company": Text(), "dbms": Text(), "format": Format}
    examples = ("get network databases",)
    titles = ("Company", "DBMS")

    def rows(self, clusters: Clusters, options: dict[str, Any]) -> list[tuple[str, ...]]:
        """Each once."""
        return list(dict.fromkeys(row[:2] for row in super().rows(clusters, options)))


class GetServers(Command):
    """List the operators that hold data, by company, database and table; `bring` tells parts of their policies."""

    words = "get servers"
    raw = True
    usage = "get servers [where company = .. and dbms = .. and table = .. and format = table/json] [bring ...]"
    examples = ("get servers", "get servers where dbms = town and table = weather bring.ip_port")
    index = ("blockchain", "cluster")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        question = Question.read(operands[0] if operands else "", typed=False)
        asked = dict.fromkeys(("company", "dbms", "table", "format"), "")
        for pair in question.where.pairs if question.where is not None else ():
            if pair.path[0] not in asked or len(pair.path) > 1 or len(pair.values) != 1:
                raise AnyLogError(
                    2, f"{self.words}: Unknown key in command: {'.'.join(pair.path)}; usage: {self.usage}"
                )
            asked[pair.path[0]] = pair.values[0]
        if question.where is not None and question.where.test is not None:
            raise AnyLogError(2, f"{self.words}: usage: {self.usage}")
        rows, found = [], {}
        for company, dbms, table, share in _hosted(node.clusters, asked["company"], asked["dbms"], asked["table"]):
            for operator in share.operators:
                rows.append((company or share.company, dbms, table, operator.address))
                found[operator.id] = operator.policy
        if question.bring is not None:
            return question.bring.tell(list(found.values()), node.ledger.policies, node.clusters.address_of)
        titles = ("Company", "DBMS", "Table", "IP:Port")
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        if asked["format"].lower() == "json":
            return Result(data=data, format="json")
        return Result(text=framed(bar_table(titles, rows)), data=data, format="table")


class QueryMetadata(Command):
    """Show the tables of the network as a tree: company, database, table, cluster and its nodes."""

    words = "blockchain query metadata"
    examples = ("blockchain query metadata",)
    index = ("blockchain", "cluster")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        lines: list[str] = []
        above: tuple[str, ...] = ()
        rows = sorted(_hosted(node.clusters, "", "", ""), key=lambda row: row[:3])
        for company, dbms, table, share in rows:
            path = (company or share.company, dbms, table)
            for level, name in enumerate(path):
                if above[: level + 1] != path[: level + 1]:
                    lines.append("    " * level + f"==> {name}")
            above = path
            lines.append(" " * 12 + f"==> {share.cluster_id} ({share.name})")
            for each in share.operators:
                place = "local" if each.address == node.address else "remote"
                member = "" if each.member is None else f"{each.member:03}"
                lines.append(" " * 16 + f"==> {each.address} [{member} {place} {_status(node.clusters, each)}]")
        return Result(text=framed("\r\n".join(lines)) if lines else "No tables are known to the ledger")


class TestCluster(Command):
    """Check the clusters of the metadata: `ok`, or the first defect."""

    words = "blockchain test cluster"
    examples = ("blockchain test cluster",)
    index = ("blockchain", "cluster", "monitor")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        defect = next(defects(node.clusters, node.ledger.policies.of_type("cluster")), "")
        return Result(text=defect or "ok", data=not defect)


def defects(clusters: Clusters, policies: Sequence[Policy]) -> Iterator[str]:
    """What is wrong with clusters and their operators, each in one line."""
    parents = {policy.id: policy.text_of("parent") for policy in policies}
    idents = parents.keys()
    for policy in policies:
        parent = policy.text_of("parent")
        if parent and parent not in idents:
            yield f"{policy.summary} ({policy.id}): its parent {parent} is not in the ledger"
        if circle(policy, parents):
            yield f"{policy.summary} ({policy.id}): its parents go round in a circle"
    for operator in clusters.operators():
        if operator.cluster and operator.cluster not in idents:
            yield f"operator '{operator.name}': its cluster {operator.cluster} is not in the ledger"
    twice = clusters.twice()
    for share in clusters.all_shares():
        name = f"cluster '{share.name}' ({share.cluster_id})"
        for dbms, table in twice.get(share.cluster_id, ()):
            yield f"{name}: the table {dbms}.{table} is listed twice"
        if not share.operators:
            yield f"{name}: no operator"
        if sum(each.main for each in share.operators) > 1:
            yield f"{name}: more than one main operator"
        numbers = [each.member for each in share.operators if each.member is not None]
        for number in sorted(set(numbers)):
            if numbers.count(number) > 1:
                yield f"{name}: member {number} is more than one operator"


def circle(policy: Policy, parents: Mapping[str, str]) -> bool:
    """Whether one comes back to the policy by its parents."""
    seen: set[str] = set()
    above = parents.get(policy.id, "")
    while above and above not in seen:
        if above == policy.id:
            return True
        seen.add(above)
        above = parents.get(above, "")
    return False


COMMANDS: tuple[type[Command], ...] = (
    GetDataNodes,
    GetClusterInfo,
    GetVirtualTables,
    GetNetworkDatabases,
    GetServers,
    QueryMetadata,
    TestCluster,
)
