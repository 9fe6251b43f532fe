"""Who holds which table, and where its operators are (metadata.md 10, network.md 3)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from anylog.columns import AUTOMATIC, columns_of, parse_type, widened
from anylog.errors import AnyLogError
from anylog.interfaces import PeerState
from anylog.ledger.ledger import Ledger
from anylog.ledger.policy import Policy


@frozen(kw_only=True)
class Operator:
    """A node that keeps data, as others see it."""

    id: str
    name: str
    member: int
    cluster: str  # id
    address: str  # ip:port by which this node reaches it; empty if that cannot be told
    company: str
    main: bool
    policy: Policy


@frozen(kw_only=True)
class Share:
    """One cluster's part of a table; its operators hold copies of one another, the main one first."""

    cluster_id: str
    name: str
    status: str = "active"
    operators: Sequence[Operator] = ()


@frozen
class Own:
    """The addresses of this node (network.md 2)."""

    ip: str = ""
    external_ip: str = ""
    address: str = ""


@define
class _View:
    """All that follows from one state of the ledger."""

    change: int
    operators: dict[str, Operator] = field(factory=dict)  # by id
    members: dict[str, list[Operator]] = field(factory=dict)  # by cluster id
    clusters: dict[str, Policy] = field(factory=dict)  # base clusters
    holders: dict[tuple[str, str], dict[str, str]] = field(factory=dict)  # (dbms, table) -> cluster id -> status
    open: set[str] = field(factory=set)  # clusters without any list of tables: they take every table
    tables: dict[tuple[str, str], Policy] = field(factory=dict)
    columns: dict[tuple[str, str], dict[str, str]] = field(factory=dict)
    direct: dict[tuple[str, str], list[Operator]] = field(factory=dict)  # operators without a cluster


def is_private(ip: str) -> bool:
    """A LAN address."""
    try:
        return ipaddress.ip_address(ip).is_private
    except ValueError:
        return False


def address_of(policy: Policy, own: Own) -> str:
    """`ip:port` by which this node reaches another, empty if the policy does not say (network.md 3)."""
    ip, local_ip, port = policy.get("ip"), policy.get("local_ip"), policy.get("port")
    local_port = policy.get("local_port") or port
    if not ip:
        ip, port = local_ip, local_port
    elif not is_private(str(ip)) and ip == own.external_ip:
        ip, port = local_ip or own.ip, local_port
    if not ip or not port:
        return ""
    return f"[{ip}]:{port}" if ":" in str(ip) and not str(ip).startswith("[") else f"{ip}:{port}"


@define(kw_only=True, eq=False)
class Clusters:
    """Answers from the ledger of now; worked out anew, once, after each change of it."""

    _ledger: Ledger
    _own: Callable[[], Own]
    _state: Callable[[str], PeerState | None]
    _view: _View | None = None
    _seen: Own = field(factory=Own)

    def _now(self) -> _View:
        own = self._own()
        if self._view is None or self._view.change != self._ledger.policies.change or own != self._seen:
            self._seen = own
            self._view = self._made(own)
        return self._view

    def _made(self, own: Own) -> _View:
        policies = self._ledger.policies
        view = _View(policies.change)
        for policy in policies.of_type("operator"):
            operator = Operator(
                id=policy.id,
                name=str(policy.get("name", "")),
                member=int(policy.get("member") or 0),
                cluster=str(policy.get("cluster", "")),
                address=address_of(policy, own),
                company=str(policy.get("company", "")),
                main=policy.get("main") in (True, "true"),
                policy=policy,
            )
            view.operators[policy.id] = operator
            if operator.cluster:
                view.members.setdefault(operator.cluster, []).append(operator)
            elif policy.get("dbms"):
                for name in _names(policy.get("table")):
                    view.direct.setdefault((str(policy.get("dbms")).lower(), name), []).append(operator)
        for members in view.members.values():
            members.sort(key=lambda operator: not operator.main)  # the order of the ledger, the main one first
        listed: set[str] = set()
        for policy in policies.of_type("cluster"):
            base = str(policy.get("parent") or policy.id)
            if base == policy.id:
                view.clusters[base] = policy
            for entry in policy.get("table") or ():
                if isinstance(entry, dict) and entry.get("name") and entry.get("dbms"):
                    table = (str(entry["dbms"]).lower(), str(entry["name"]).lower())
                    view.holders.setdefault(table, {})[base] = str(entry.get("status", "active"))
                    listed.add(base)
        view.open = set(view.clusters) - listed
        for policy in policies.of_type("table"):
            view.tables[str(policy.get("dbms", "")).lower(), str(policy.get("name", "")).lower()] = policy
        return view

    # ------------------------------------------------------------------ tables

    def databases(self) -> list[str]:
        """Databases that the ledger knows, sorted."""
        return sorted({dbms for dbms, _ in self._now().tables})

    def tables(self, dbms: str | None = None) -> list[tuple[str, str]]:
        """(dbms, table) of the table policies, of one database or of all, sorted."""
        return sorted(key for key in self._now().tables if dbms in (None, key[0]))

    def table(self, dbms: str, table: str) -> Policy | None:
        """The policy of a table."""
        return self._now().tables.get((dbms.lower(), table.lower()))

    def columns(self, dbms: str, table: str) -> Mapping[str, str] | None:
        """Column -> ledger type, the automatic ones first; None for a table the ledger does not know."""
        view, key = self._now(), (dbms.lower(), table.lower())
        policy = view.tables.get(key)
        if policy is None:
            return None
        known = view.columns.get(key)
        if known is None:
            known = view.columns[key] = self._columns(policy, key)
        return known

    def _columns(self, policy: Policy, key: tuple[str, str]) -> dict[str, str]:
        columns = {**AUTOMATIC, **columns_of(str(policy.get("create", "")))}
        for added in self._ledger.policies.having("column", "dbms", key[0]):
            if str(added.get("table", "")).lower() != key[1]:
                continue
            name = str(added.get("name", "")).lower()
            try:
                kind = parse_type(str(added.get("type", "")))
            except AnyLogError:
                continue
            columns[name] = kind if name not in columns else widened(columns[name], kind) or columns[name]
        return columns

    def holds(self, cluster: str, dbms: str, table: str) -> bool:
        """Whether a cluster has the table on its list."""
        return cluster in self._now().holders.get((dbms.lower(), table.lower()), {})

    # ------------------------------------------------------------------ who holds them

    def shares(self, dbms: str, table: str) -> list[Share]:
        """The clusters that have the table, with their operators; each operator without a cluster by itself."""
        view, key = self._now(), (dbms.lower(), table.lower())
        found = [self._share(view, cluster, status) for cluster, status in view.holders.get(key, {}).items()]
        if not found:
            found = [
                Share(cluster_id=operator.id, name=operator.name, operators=(operator,))
                for operator in view.direct.get(key, ())
            ]
        if not found and key in view.tables:  # a cluster without a list takes any table of its operators
            found = [self._share(view, cluster, "active") for cluster in sorted(view.open) if cluster in view.members]
        return found

    def _share(self, view: _View, cluster: str, status: str) -> Share:
        policy = view.clusters.get(cluster)
        name = str(policy.get("name", "")) if policy is not None else cluster
        return Share(cluster_id=cluster, name=name, status=status, operators=tuple(view.members.get(cluster, ())))

    def cluster_of(self, operator: str) -> Share | None:
        """The cluster of an operator, by the id of its policy."""
        view = self._now()
        found = view.operators.get(operator)
        if found is None or found.cluster not in view.clusters:
            return None
        return self._share(view, found.cluster, "active")

    def cluster(self, id: str) -> Policy | None:
        """A base cluster."""
        return self._now().clusters.get(id)

    def tables_of(self, cluster: str) -> list[tuple[str, str]]:
        """(dbms, table) that a cluster holds, sorted."""
        return sorted(key for key, holders in self._now().holders.items() if cluster in holders)

    def clusters_of(self, dbms: str, table: str) -> Mapping[str, str]:
        """Cluster id -> status of a table."""
        return self._now().holders.get((dbms.lower(), table.lower()), {})

    def operator(self, id: str) -> Operator | None:
        """An operator, by the id of its policy."""
        return self._now().operators.get(id)

    def operators(self) -> Iterable[Operator]:
        """All of them."""
        return self._now().operators.values()

    # ------------------------------------------------------------------ where nodes are

    def nodes(self, types: Sequence[str]) -> list[Policy]:
        """Policies of nodes."""
        return self._ledger.policies.of_type(*types)

    def address_of(self, policy: Policy) -> str:
        """See `address_of`."""
        return address_of(policy, self._own())

    def active(self, address: str) -> bool:
        """Whether nothing is known against it."""
        state = self._state(address)
        return state is None or state.active


def _names(value: Any) -> list[str]:
    """Tables that an operator policy of the older kind names."""
    if isinstance(value, str):
        return [name.strip().lower() for name in value.split(",") if name.strip()]
    return [str(name).lower() for name in value] if isinstance(value, list) else []
