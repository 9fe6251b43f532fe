"""Words that read the ledger: blockchain get, tests of it, and what follows from it (metadata.md 5 and 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, Text
from anylog.language.context import Context, Result
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table, framed
from anylog.language.tokens import Kind, tokens_of
from anylog.ledger.bring import brought, read_bring
from anylog.ledger.policy import Policy, read_lines
from anylog.ledger.where import EVERY, find, read_where, types_of

if TYPE_CHECKING:
    from anylog.node import Node

_JOINS = ("join", "merge")


def _holds(node: Node, policy: Policy, dbms: str, table: str) -> bool:
    """Whether the cluster of an operator policy has a table."""
    cluster = str(policy.get("cluster", ""))
    return any(dbms in ("*", each[0]) and table in ("*", each[1]) for each in node.clusters.tables_of(cluster))


def selected(node: Node, context: Context, text: str, policies: Any = None) -> Result:
    """What `<types> [where ...] [bring ...]` gives of the ledger. Raises AnyLogError 2, 60, 181 or 237."""
    tokens = tokens_of(text)
    ends = {"where": len(tokens), "bring": len(tokens)}
    for place, token in enumerate(tokens):
        if token.kind is not Kind.WORD:
            continue
        word = token.text.lower()
        if word in _JOINS and place:
            raise AnyLogError(237, f"not in this build: blockchain get ... {word}")
        if word == "bring" or word.startswith("bring."):
            ends["bring"] = place
            break
        if word == "where" and ends["where"] == len(tokens):
            ends["where"] = place
    head = tokens[: min(ends.values())]
    words = text[: head[-1].end] if head else ""
    if words.lower().startswith("root policies"):
        raise AnyLogError(237, "not in this build: blockchain get root policies")
    types = types_of(words)
    where = EVERY
    if ends["where"] < ends["bring"]:
        conditions = tokens[ends["where"] + 1 : ends["bring"]]
        if not conditions:
            raise AnyLogError(2, "conditions are missing after 'where'")
        where = read_where(
            conditions, scope_of(node, context), lambda policy, dbms, table: _holds(node, policy, dbms, table)
        )
    found = find(node.ledger.policies if policies is None else policies, types, where)
    if ends["bring"] == len(tokens):
        return Result(data=[policy.value for policy in found], format="json")
    return brought(
        found,
        read_bring(text[tokens[ends["bring"]].start :]),
        address=node.clusters.address_of,
        children=lambda policy: node.ledger.policies.having(policy.type, "parent", policy.id),
    )


class BlockchainGet(Command):
    """Show policies of the local copy of the ledger, or parts of them.

    The type is a name, several in parentheses, or `*`. After `where` stand pairs (`name = op1 and company = acme`;
    `table[dbms] = d` looks into a list), or conditions over attributes (`[port] > 32000 or [country] contains US`). An
    operator is also found by `dbms` and `table` of its cluster.

    `bring` gives parts: `[operator][ip]` or `[*][ip]` is an attribute, `[*]` the type, all else is text. Flags, joined
    by dots: first, last, recent, unique, json, list, table, sort, null, count, min, max, children, ip_port.
    `separator = ,` stands between the policies.
    """

    words = "blockchain get"
    operands = "[policy type] [where conditions] [bring[.flags] items [separator = text]]"
    least = most = 1
    raw = True
    usage = "blockchain get [policy type] [where conditions] [bring[.flags] items [separator = text]]"
    examples: ClassVar[tuple[str, ...]] = (
        "blockchain get *",
        'blockchain get operator where company = "My Company" bring.ip_port',
        "cluster_id = blockchain get cluster where name = my-cluster bring.first [*][id]",
        "blockchain get (operator, query) bring.table [*] [*][name] [*][ip] [*][port]",
    )
    index = ("blockchain", "metadata")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return selected(node, context, operands[0])


class BlockchainRead(BlockchainGet):
    """Show policies as they are in the file of the local copy; the rest is as in `blockchain get`."""

    words = "blockchain read"
    usage = "blockchain read [policy type] [where conditions] [bring[.flags] items [separator = text]]"
    examples = ("blockchain read *", "blockchain read operator bring.count")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return selected(node, context, operands[0])


class BlockchainTest(Command):
    """Say whether the file of the local copy is whole."""

    words = "blockchain test"
    examples = ("blockchain test",)
    index = ("blockchain", "test")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        ledger = node.ledger
        if not ledger.there:
            return Result(text="Blockchain data not available", data={"status": "data not available"})
        wrong = list(ledger.damaged)
        if not wrong:
            text = await node.membership.ledger_text()
            wrong = read_lines(text)[1]
        told = "OK" if not wrong else "Failure: " + "; ".join(wrong[:10])
        return Result(text=f"Blockchain file status: {told}", data={"status": told, "errors": wrong})


class BlockchainTestId(Command):
    """Say whether a policy is in the local copy."""

    words = "blockchain test id"
    operands = "[policy id]"
    least = most = 1
    examples = ("blockchain test id d93487bec012c8847bca734bcc31a3a6",)
    index = ("blockchain", "test")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = operands[0] in node.ledger.policies
        return Result(text=str(found).lower(), data=found)


class BlockchainTestCluster(Command):
    """Say `ok`, or the first defect of clusters and operators in the local copy."""

    words = "blockchain test cluster"
    examples = ("blockchain test cluster",)
    index = ("blockchain", "test", "high availability")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=self._defect(node) or "ok")

    def _defect(self, node: Node) -> str:
        policies = node.ledger.policies
        for cluster in policies.of_type("cluster"):
            parent = cluster.get("parent")
            if parent and parent not in policies:
                return f"cluster {cluster.get('name')} ({cluster.id}): no policy has the id {parent} of its parent"
            if not parent and not policies.having("operator", "cluster", cluster.id):
                return f"cluster {cluster.get('name')} ({cluster.id}) has no operators"
        seen: set[tuple[str, int]] = set()
        main: set[str] = set()
        for operator in node.clusters.operators():
            if not operator.cluster or node.clusters.cluster(operator.cluster) is None:
                return f"operator {operator.name} ({operator.id}): no cluster has the id '{operator.cluster}'"
            if (operator.cluster, operator.member) in seen:
                return f"operator {operator.name} ({operator.id}): member {operator.member} is there twice"
            seen.add((operator.cluster, operator.member))
            if operator.main and operator.cluster in main:
                return f"operator {operator.name} ({operator.id}): its cluster has another main operator"
            main |= {operator.cluster} if operator.main else set()
        return ""


class BlockchainQueryMetadata(Command):
    """Show companies, databases, tables, clusters and operators as a tree."""

    words = "blockchain query metadata"
    examples = ("blockchain query metadata",)
    index = ("blockchain", "metadata")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        lines: list[str] = []
        last = ("", "")
        for dbms, table in node.clusters.tables():
            policy = node.clusters.table(dbms, table)
            company = str(policy.get("company", "")) if policy is not None else ""
            if (company, dbms) != last:
                lines += [company] if company != last[0] else []
                lines.append(f"    ==> {dbms}")
                last = (company, dbms)
            lines.append(f"        ==> {table}")
            for share in node.clusters.shares(dbms, table):
                lines.append(f"            ==> {share.cluster_id} ({share.name})")
                for each in share.operators:
                    place = "local" if each.address in node.peers.own else "remote"
                    status = "active" if node.clusters.active(each.address) else "not responding"
                    lines.append(f"                ==> {each.address} [{each.member:03d} {place} {status}]")
        return Result(text="\r\n".join(lines) or "No tables in the metadata")


class GetClusterInfo(Command):
    """Show the cluster of this node: its operators and its tables."""

    words = "get cluster info"
    where = {"format": Format}
    examples = ("get cluster info", "get cluster info where format = json")
    index = ("high availability", "metadata", "node info")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        place = node.membership.place()
        if place is None:
            return Result(text="The node is not an operator of a cluster", data={"Status": "not a cluster member"})
        share = node.clusters.cluster_of(place.operator)
        members = [
            {
                "IP": str(each.policy.get("ip", "")),
                "Port": each.policy.get("port", ""),
                "Member": each.member,
                "Status": "active" if node.clusters.active(each.address) else "not responding",
            }
            for each in (share.operators if share is not None else ())
        ]
        tables = [
            {"Company": place.company, "DBMS": dbms, "Table": table}
            for dbms, table in node.clusters.tables_of(place.cluster)
        ]
        data = {
            "Cluster ID": place.cluster,
            "Member ID": place.member,
            "Cluster Name": place.cluster_name,
            "Participating Operators": members,
            "Tables Supported": tables,
        }
        head = [f"{title:<13}: {data[title]}" for title in ("Cluster ID", "Member ID", "Cluster Name")]
        text = "\r\n".join(
            [
                "",
                *head,
                "",
                "Participating Operators",
                bar_table(("IP", "Port", "Member", "Status"), [tuple(each.values()) for each in members]),
                "",
                "Tables Supported",
                bar_table(("Company", "DBMS", "Table"), [tuple(each.values()) for each in tables]),
                "",
            ]
        )
        return Result(text=text, data=data, format=options["format"] or "text")


class GetDataNodes(Command):
    """Show which operators hold which tables."""

    words = "get data nodes"
    where = {
        "company": Text(),
        "dbms": Text(),
        "table": Text(),
        "sort": Text(help="columns by number from 0, as (1, 2)"),
        "format": Format,
    }
    examples = ("get data nodes", "get data nodes where dbms = town and sort = (1, 2)")
    index = ("metadata", "high availability", "monitor")
    http = ("GET",)
    titles = (
        "Company", "DBMS", "Table", "Cluster ID", "Cluster Status", "Node Name", "Member ID", "External IP/Port",
        "Local IP/Port", "Main", "Node Status",
    )  # fmt: skip

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for columns that are none."""
        rows = []
        for dbms, table in node.clusters.tables(options["dbms"]):
            if options["table"] not in (None, table):
                continue
            policy = node.clusters.table(dbms, table)
            for share in node.clusters.shares(dbms, table):
                for each in share.operators:
                    body = each.policy.body
                    company = str(policy.get("company") or each.company) if policy is not None else each.company
                    if options["company"] not in (None, company):
                        continue
                    local = f"{body.get('local_ip') or body.get('ip')}:{body.get('local_port') or body.get('port')}"
                    status = "active" if node.clusters.active(each.address) else "not responding"
                    rows.append(
                        (
                            company,
                            dbms,
                            table,
                            share.cluster_id,
                            share.status,
                            each.name,
                            each.member,
                            f"{body.get('ip')}:{body.get('port')}",
                            local,
                            " +" if each.main else " -",
                            status,
                        )
                    )
        wanted = [part.strip() for part in (options["sort"] or "").strip("()").split(",") if part.strip()]
        if not all(part.isdecimal() and int(part) < len(self.titles) for part in wanted):
            raise AnyLogError(2, f"get data nodes: sort = {options['sort']} names no columns")
        if wanted:
            rows.sort(key=lambda row: tuple(str(row[int(part)]) for part in wanted))
        data = [dict(zip(self.titles, row, strict=True)) for row in rows]
        return Result(text=framed(bar_table(self.titles, rows)), data=data, format=options["format"] or "table")


class GetServers(Command):
    """Show ip and port of the operators, of all tables or of one."""

    words = "get servers"
    where = {"company": Text(), "dbms": Text(), "table": Text(), "format": Format}
    examples = ("get servers", "get servers where dbms = town and table = weather")
    index = ("metadata",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found: dict[str, None] = {}
        for dbms, table in node.clusters.tables(options["dbms"]):
            if options["table"] not in (None, table):
                continue
            for share in node.clusters.shares(dbms, table):
                for each in share.operators:
                    if options["company"] in (None, each.company) and each.address:
                        found[each.address] = None
        return Result(text=",".join(found), data=list(found), format=options["format"] or "text")


class GetMetadataVersion(Command):
    """Show the version of the local copy of the ledger: a hash of its file."""

    words = "get metadata version"
    examples = ("get metadata version",)
    index = ("metadata", "blockchain")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=node.ledger.version)


class GetMetadataInfo(Command):
    """Show the version of the local copy, how many policies it holds, and what of it the ledger has not confirmed."""

    words = "get metadata info"
    where = {"format": Format}
    examples = ("get metadata info",)
    index = ("metadata", "blockchain")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        ledger = node.ledger
        data = {
            "Metadata Version": ledger.version,
            "Policies": len(ledger.policies),
            "Waiting": [f"{policy.type} {policy.id}" for policy in ledger.waiting()],
            "Damaged": ledger.damaged,
            "File": str(node.dictionary.get("blockchain_file")),
        }
        rows = [(title, value if not isinstance(value, list) else len(value)) for title, value in data.items()]
        return Result(text=framed(bar_table(("Key", "Value"), rows)), data=data, format=options["format"] or "table")


class GetPolicyTypes(Command):
    """Show the types of policies in the local copy, and how many of each there are."""

    words = "get policy types"
    where = {"format": Format}
    examples = ("get policy types",)
    index = ("metadata", "blockchain")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        data = {kind: len(node.ledger.policies.of_type(kind)) for kind in node.ledger.policies.types()}
        table = framed(bar_table(("Type", "Policies"), list(data.items())))
        return Result(text=table, data=data, format=options["format"] or "table")


class GetVirtualTables(Command):
    """Show the tables that the network knows, wherever their rows are."""

    words = "get virtual tables"
    also = ("get global tables",)
    where = {"company": Text(), "dbms": Text(), "table": Text(), "format": Format}
    examples = ("get virtual tables", "get virtual tables where dbms = town")
    index = ("metadata", "tables")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        rows = []
        for dbms, table in node.clusters.tables(options["dbms"]):
            policy = node.clusters.table(dbms, table)
            company = str(policy.get("company", "")) if policy is not None else ""
            if options["table"] in (None, table) and options["company"] in (None, company):
                rows.append((company, dbms, table))
        titles = ("Company", "DBMS", "Table")
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        return Result(text=framed(bar_table(titles, rows)), data=data, format=options["format"] or "table")


class GetNetworkDatabases(Command):
    """Show the databases that the network knows."""

    words = "get network databases"
    where = {"company": Text(), "format": Format}
    examples = ("get network databases",)
    index = ("metadata", "dbms")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found: dict[tuple[str, str], None] = {}
        for dbms, table in node.clusters.tables():
            policy = node.clusters.table(dbms, table)
            company = str(policy.get("company", "")) if policy is not None else ""
            if options["company"] in (None, company):
                found[company, dbms] = None
        titles = ("Company", "DBMS")
        data = [dict(zip(titles, row, strict=True)) for row in found]
        return Result(text=framed(bar_table(titles, list(found))), data=data, format=options["format"] or "table")


COMMANDS: tuple[type[Command], ...] = (
    BlockchainGet,
    BlockchainRead,
    BlockchainTest,
    BlockchainTestId,
    BlockchainTestCluster,
    BlockchainQueryMetadata,
    GetClusterInfo,
    GetDataNodes,
    GetServers,
    GetMetadataVersion,
    GetMetadataInfo,
    GetPolicyTypes,
    GetVirtualTables,
    GetNetworkDatabases,
)
