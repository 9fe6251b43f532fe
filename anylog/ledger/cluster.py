"""Which node holds which part of which table: a view of the ledger, made anew after it changed (metadata.md 10)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from anylog.interfaces import PeerState
from anylog.ledger.policies import ANYTHING, Policies, folded, spelled
from anylog.ledger.policy import Policy
from anylog.ledger.tables import known_columns

NODE_TYPES = ("master", "operator", "query", "publisher", "generic")
LOGGER = "logger"  # a node that keeps backups of others


@frozen
class Own:
    """How this node is known: what decides which address of another one it takes (network.md 3)."""

    external_ip: str = ""
    ip: str = ""


@frozen(kw_only=True)
class Operator:
    """A node that holds the data of its cluster."""

    id: str
    name: str
    company: str
    cluster: str  # id as its policy has it; empty: none
    member: int | None
    main: bool
    address: str  # ip:port by which this node asks it; empty: the policy names none
    policy: Policy = field(eq=False, repr=False)


@frozen(kw_only=True)
class Share:
    """One cluster's part of a table. Each of its operators holds all of that part; the main one stands first."""

    cluster_id: str  # empty: an operator without a cluster
    name: str
    company: str = ""
    status: str = "active"
    operators: Sequence[Operator] = ()


@frozen
class Hosted:
    """A table that a cluster lists."""

    company: str
    dbms: str
    table: str


@frozen
class View:
    """All of it, of one state of the ledger."""

    shares: Mapping[str, Share]  # by the id of a cluster without parent
    bases: Mapping[str, str]  # id of any cluster -> id of the one its operators name
    hosted: Mapping[str, Mapping[tuple[str, str], Hosted]]  # base id -> (dbms, table) -> what is listed
    hosts: Mapping[tuple[str, str], Sequence[str]]  # (dbms, table) -> base ids
    whole: Mapping[str, Sequence[str]]  # dbms -> base ids of clusters that take all its tables
    operators: Mapping[str, Operator]
    alone: Sequence[Operator]  # those whose policy names tables itself
    tables: Mapping[str, Mapping[str, str]]  # dbms -> table -> company
    addresses: Collection[str]  # ip:port of all nodes that have a policy
    known: dict[tuple[str, str], dict[str, str] | None] = field(factory=dict)


@define(kw_only=True, eq=False)
class Clusters:
    """Asks one ledger. Names of databases and tables may come in any spelling."""

    _policies: Callable[[], Policies]
    _state: Callable[[str], PeerState | None] = field(default=lambda address: None)
    _own: Callable[[], Own] = field(factory=lambda: Own)
    _view: View | None = None
    _of: tuple[Policies, int, Own] | None = None

    @property
    def view(self) -> View:
        """The view of the ledger as it is now."""
        policies, own = self._policies(), self._own()
        made = (policies, policies.changes, own)
        if self._view is None or self._of is None or self._of[0] is not policies or self._of[1:] != made[1:]:
            self._view, self._of = _made(policies, own), made
        return self._view

    def databases(self) -> list[str]:
        """Names of all databases that have tables in the ledger, sorted."""
        return sorted(self.view.tables)

    def tables(self, dbms: str | None = None) -> list[str]:
        """Names of the tables of one database, or of all as `dbms.table`, sorted."""
        view = self.view
        if dbms is not None:
            return sorted(view.tables.get(spelled(dbms), ()))
        return sorted(f"{name}.{table}" for name, tables in view.tables.items() for table in tables)

    def company(self, dbms: str, table: str) -> str:
        """The company a table belongs to, empty if unknown."""
        return self.view.tables.get(spelled(dbms), {}).get(spelled(table), "")

    def columns(self, dbms: str, table: str) -> dict[str, str] | None:
        """Column -> ledger type, the automatic columns first; None if the ledger does not know the table."""
        view, key = self.view, (spelled(dbms), spelled(table))
        if key not in view.known:
            view.known[key] = known_columns(self._policies(), *key)
        found = view.known[key]
        return None if found is None else dict(found)

    def shares(self, dbms: str, table: str) -> list[Share]:
        """The parts of a table, one a cluster. Without any cluster: the operators whose policies name the table."""
        view, key = self.view, (spelled(dbms), spelled(table))
        idents = dict.fromkeys((*view.hosts.get(key, ()), *view.whole.get(key[0], ())))
        if idents:
            return [view.shares[ident] for ident in idents]
        return [
            Share(cluster_id="", name=each.name or each.address, company=each.company, operators=(each,))
            for each in view.alone
            if _names(each.policy, *key)
        ]

    def lists(self, cluster_id: str, dbms: str, table: str) -> bool:
        """Whether the cluster, its parent or a child of it takes that table by name or with its database."""
        view, key = self.view, (spelled(dbms), spelled(table))
        base = view.bases.get(cluster_id, cluster_id)
        return key in view.hosted.get(base, ()) or base in view.whole.get(key[0], ())

    def hosted(self, cluster_id: str) -> list[Hosted]:
        """The tables that a cluster and its children list."""
        view = self.view
        return list(view.hosted.get(view.bases.get(cluster_id, cluster_id), {}).values())

    def twice(self) -> dict[str, list[tuple[str, str]]]:
        """Base id -> (dbms, table) of what a cluster and its children list more than once."""
        seen: set[tuple[str, str, str]] = set()
        found: dict[str, list[tuple[str, str]]] = {}
        for policy in self._policies().of_type("cluster"):
            base = self.view.bases[policy.id]
            for dbms, table in _listed(policy.body.get("table")):
                key = (base, spelled(dbms), spelled(table))
                if key in seen and key[1:] not in found.setdefault(base, []):
                    found[base].append(key[1:])
                seen.add(key)
        return found

    def all_shares(self) -> list[Share]:
        """Every cluster without parent, in the order of the ledger."""
        return list(self.view.shares.values())

    def share(self, cluster_id: str) -> Share | None:
        """The cluster of that id, of a child its parent; None if the ledger has none."""
        view = self.view
        return view.shares.get(view.bases.get(cluster_id, cluster_id))

    def cluster_of(self, operator_id: str) -> Share | None:
        """The cluster that an operator is a member of."""
        operator = self.view.operators.get(operator_id)
        return self.share(operator.cluster) if operator and operator.cluster else None

    def operator(self, operator_id: str) -> Operator | None:
        """The operator of that policy id."""
        return self.view.operators.get(operator_id)

    def operators(self) -> list[Operator]:
        """All operators, in the order of the ledger."""
        return list(self.view.operators.values())

    def active(self, operator: Operator) -> bool:
        """False from a failure until the node is heard of again; a node never heard of counts as active."""
        state = self._state(operator.address)
        return state is None or state.active

    def nodes(self, types: Iterable[str] = NODE_TYPES) -> list[Policy]:
        """Policies of nodes, of these types."""
        return self._policies().of_type(*types)

    def listed(self, address: str) -> bool:
        """Whether a node of the ledger is known by that ip:port."""
        return address in self.view.addresses

    def addresses(self, policy: Policy) -> set[str]:
        """Every ip:port by which the node of a policy may be known."""
        return {self.address_of(policy), *addresses_of(policy)} - {""}

    def address_of(self, policy: Policy) -> str:
        """ip:port by which this node asks the one of a policy; empty if it names none."""
        return address_of(policy, self._own())

    def hosts(self, operator: Policy, dbms: str | None, table: str | None) -> bool:
        """Whether an operator holds data of that database or table, by its cluster or by its policy."""
        view = self.view
        base = view.bases.get(operator.text_of("cluster"), operator.text_of("cluster"))
        if dbms is not None and spelled(dbms) in view.whole and base in view.whole[spelled(dbms)]:
            return True
        wanted_dbms, wanted = (None if each is None else spelled(each) for each in (dbms, table))
        if wanted_dbms is not None and wanted is not None:
            return (wanted_dbms, wanted) in view.hosted.get(base, ())
        return any(
            wanted_dbms in (None, listed_dbms) and wanted in (None, listed)
            for listed_dbms, listed in view.hosted.get(base, ())
        )


def address_of(policy: Policy, own: Own) -> str:
    """ip:port by which a node that is known as `own` asks the node of a policy; empty if it names none."""
    ip, local_ip = policy.text_of("ip"), policy.text_of("local_ip")
    port = policy.whole("port")
    local_port = policy.whole("local_port")
    local_port = port if local_port is None else local_port
    if not ip:
        return joined(local_ip, local_port)
    if _private(ip) or ip != own.external_ip:
        return joined(ip, port)
    return joined(local_ip or own.ip, local_port)  # behind the same router as this node


def addresses_of(policy: Policy) -> list[str]:
    """Every ip:port by which the node of a policy may say that it listens."""
    ports = [policy.whole(key) for key in ("port", "local_port")]
    found = [joined(policy.text_of(key), port) for key in ("ip", "local_ip") for port in ports]
    return [address for address in dict.fromkeys(found) if address]


def joined(ip: str, port: int | None) -> str:
    """`ip:port`, `[ip]:port` for the sixth version of the protocol; empty if one of them is missing."""
    if not ip or port is None:
        return ""
    return f"[{ip}]:{port}" if ":" in ip and not ip.startswith("[") else f"{ip}:{port}"


def _private(ip: str) -> bool:
    try:
        return ipaddress.ip_address(ip.strip("[]")).is_private
    except ValueError:
        return False


def _made(policies: Policies, own: Own) -> View:
    clusters = {policy.id: policy for policy in policies.of_type("cluster")}
    bases = {ident: _base(ident, clusters) for ident in clusters}
    operators = {policy.id: _operator(policy, own) for policy in policies.of_type("operator")}
    members: dict[str, list[Operator]] = {}
    for operator in operators.values():
        if operator.cluster:
            members.setdefault(bases.get(operator.cluster, operator.cluster), []).append(operator)
    tables: dict[str, dict[str, str]] = {}
    for policy in policies.of_type("table"):
        dbms, table = policy.body.get("dbms"), policy.body.get("name")
        if isinstance(dbms, str) and isinstance(table, str):
            tables.setdefault(spelled(dbms), {}).setdefault(spelled(table), policy.text_of("company"))
    shares: dict[str, Share] = {}
    hosted: dict[str, dict[tuple[str, str], Hosted]] = {}
    hosts: dict[tuple[str, str], list[str]] = {}
    whole: dict[str, list[str]] = {}
    for ident, policy in clusters.items():
        base = bases[ident]
        if base not in shares:
            first = clusters.get(base, policy)
            shares[base] = Share(
                cluster_id=base,
                name=first.name,
                company=first.text_of("company"),
                status=first.text_of("status") or "active",
                operators=tuple(sorted(members.get(base, ()), key=lambda each: not each.main)),
            )
        company = policy.text_of("company")
        listed = policy.body.get("table")
        for dbms, table in _listed(listed):
            key = (spelled(dbms), spelled(table))
            entry = Hosted(tables.get(key[0], {}).get(key[1]) or company, *key)
            if hosted.setdefault(base, {}).setdefault(key, entry) is entry:
                hosts.setdefault(key, []).append(base)
            tables.setdefault(key[0], {}).setdefault(key[1], company)
        if not listed and isinstance(policy.body.get("dbms"), str):
            whole.setdefault(spelled(policy.body["dbms"]), []).append(base)
    return View(
        shares=shares,
        bases=bases,
        hosted=hosted,
        hosts=hosts,
        whole=whole,
        operators=operators,
        alone=[each for each in operators.values() if each.policy.body.get("dbms")],
        tables=tables,
        addresses={
            address
            for policy in policies.of_type(*NODE_TYPES, LOGGER)
            for address in (address_of(policy, own), *addresses_of(policy))
        },
    )


def _base(ident: str, clusters: Mapping[str, Policy]) -> str:
    """The cluster at the end of the chain of parents: the one that operators name."""
    seen = {ident}
    while ident in clusters:
        parent = clusters[ident].text_of("parent")
        if not parent or parent in seen:
            break
        seen.add(parent)
        ident = parent
    return ident


def _listed(value: Any) -> list[tuple[str, str]]:
    """dbms and table of each active entry of a cluster's list."""
    found = []
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, Mapping):
            continue
        dbms, table = entry.get("dbms"), entry.get("name")
        if isinstance(dbms, str) and isinstance(table, str) and folded(entry.get("status") or "active") == "active":
            found.append((dbms, table))
    return found


def _operator(policy: Policy, own: Own) -> Operator:
    return Operator(
        id=policy.id,
        name=policy.name,
        company=policy.text_of("company"),
        cluster=policy.text_of("cluster"),
        member=policy.whole("member"),
        main=policy.text_of("main").lower() == "true",
        address=address_of(policy, own),
        policy=policy,
    )


def _names(policy: Policy, dbms: str, table: str) -> bool:
    """Whether the policy of an operator itself names that table; without the attribute `table` it names all."""
    return _among(policy.body.get("dbms"), dbms) and (
        policy.body.get("table") is None or _among(policy.body["table"], table)
    )


def _among(stored: Any, name: str) -> bool:
    values = stored if isinstance(stored, list) else [stored]
    return any(isinstance(each, str) and (each == ANYTHING or spelled(each) == name) for each in values)
