"""What a policy of a known type must be like, and what it must not share with others (metadata.md 3.1).

A wrong structure is AnyLogError 87, a value that is not unique 180, an address 149, a cluster that is missing 222 or
does not fit its parent 118, another policy that is missing 113. All name type, attribute and value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from anylog.errors import AnyLogError
from anylog.ledger.policies import Policies, folded, spelled
from anylog.ledger.policy import Policy
from anylog.ledger.tables import known_columns
from anylog.ledger.types import columns_of, parse_type, widened
from anylog.names import column as column_name

MEMBERS = range(1, 256)

_WORDS: Mapping[type, str] = {
    str: "text",
    int: "a whole number",
    dict: "an object",
    list: "a list",
    bool: "true or false",
}

# Attributes that must be there, and those that may, with their types.
_NEEDED: Mapping[str, Mapping[str, type]] = {
    "operator": {"company": str, "name": str, "ip": str, "port": int, "cluster": str},
    "cluster": {"company": str, "name": str},
    "table": {"name": str, "dbms": str, "create": str},
    "column": {"dbms": str, "table": str, "name": str, "type": str},
    "mapping": {"dbms": str, "table": str, "schema": dict},
    "transform": {"dbms": str, "table": str, "column": str},
    "distribution": {"dbms": str, "table": str},
    "member": {"type": str, "public_key": str},
    "permissions": {"name": str, "enable": list, "public_key": str, "signature": str},
    "assignment": {"permissions": str, "members": list, "public_key": str, "signature": str},
    "license": {"activation_key": str, "company": str, "expiration": str, "type": str},
    "tag": {"dbms": str, "table": str, "ns": int},
    "uns": {"name": str, "namespace": str},
    "bucket": {"name": str, "operator": str},
}
_NODE: Mapping[str, type] = {
    "member": int,
    "main": bool,
    "ip": str,
    "local_ip": str,
    "port": int,
    "local_port": int,
    "rest_port": int,
    "broker_port": int,
}
_ALLOWED: Mapping[str, Mapping[str, type]] = {
    **dict.fromkeys(("operator", "master", "query", "publisher", "generic", "logger"), _NODE),
    "cluster": {"status": str, "parent": str, "master": str, "dbms": str},
    "table": {"company": str},
    "mapping": {"readings": str, "condition": str, "import": dict},
    "member": {"name": str, "company": str},
    "permissions": {"disable": list, "databases": list, "tables": list},
}
_REACHED = ("master", "query", "publisher", "generic", "logger")


def check(policy: Policy, policies: Policies) -> None:
    """Raise what is wrong with the policy, beside the others; one of its own id among them is not another."""
    kind = policy.type
    for name, wanted in _NEEDED.get(kind, {}).items():
        value = policy.get(name)
        if value is None or value == "":
            if kind == "operator" and name in ("company", "name") and policy.text_of("cluster"):
                _in_cluster(policy, policies)  # it gives them once it is known: the first thing to say
            raise AnyLogError(87, f"policy '{kind}': '{name}' is missing")
        _typed(policy, name, value, wanted)
    for name, wanted in _ALLOWED.get(kind, {}).items():
        if (value := policy.get(name)) is not None:
            _typed(policy, name, value, wanted)
    if kind in _REACHED:
        _reachable(policy)
    if kind in _FURTHER:
        _FURTHER[kind](policy, policies)


def doubts(policy: Policy, policies: Policies) -> str:
    """What may be a mistake and is no error: another node of the type with the same address; empty if nothing is."""
    ip, port = policy.text_of("ip"), policy.whole("port")
    if policy.type in _REACHED and ip and port is not None:
        for other in policies.at(ip, port):
            if other.type == policy.type and other.id != policy.id:
                return f"Warning: policy '{policy.type}': ip:{ip}, port:{port} is in the policy {other.id} already"
    return ""


def completed(policy: Policy, policies: Policies, chance: Random, avoid: Iterable[int] = ()) -> Policy:
    """The policy with what the network adds: a status of a cluster, a member number of an operator (metadata.md 1.1).

    An operator without a company has that of its cluster, one without a name is called by cluster and address (seed
    000). Raises AnyLogError 180 if all 255 numbers of the cluster are taken; numbers of `avoid` are not drawn.
    """
    if policy.type == "cluster" and not policy.body.get("status"):
        return policy.having(status="active")
    cluster = policy.text_of("cluster")
    if policy.type != "operator" or not cluster:
        return policy
    joined = policies.get(cluster)
    if joined is not None and joined.type == "cluster":
        named = {"company": joined.text_of("company"), "name": _called(policy, joined)}
        policy = policy.having(**{key: value for key, value in named.items() if value and policy.get(key) is None})
    if policy.get("member") is not None:
        return policy
    taken = {other.whole("member") for other in policies.find("operator", cluster=cluster)} | set(avoid)
    free = [number for number in MEMBERS if number not in taken]
    if not free:
        raise AnyLogError(180, f"policy 'operator': no member number is left in the cluster {cluster}")
    return policy.having(member=chance.choice(free))


def _called(policy: Policy, cluster: Policy) -> str:
    """A name for an operator that has none: its address is its alone, and known before it has a member number."""
    ip, port = policy.text_of("ip"), policy.whole("port")
    return f"{cluster.name}-{ip}-{port}" if ip and port is not None else ""


def _typed(policy: Policy, name: str, value: Any, wanted: type) -> None:
    fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    if wanted is bool and isinstance(value, str):
        fits = value.lower() in ("true", "false")
    if not fits:
        raise AnyLogError(87, f"policy '{policy.type}': {name}:{str(value)[:80]} is not {_WORDS[wanted]}")
    if name.endswith("port") and isinstance(value, int) and not 0 < value < 65536:
        raise AnyLogError(87, f"policy '{policy.type}': {name}:{value} is no port")


def _reachable(policy: Policy) -> None:
    for names in (("ip", "local_ip"), ("port", "local_port")):
        if all(policy.get(name) in (None, "") for name in names):
            raise AnyLogError(87, f"policy '{policy.type}': '{names[0]}' is missing")


def _others(policy: Policy, policies: Policies, **attributes: Any) -> list[Policy]:
    return [other for other in policies.find(policy.type, **attributes) if other.id != policy.id]


def _unique(policy: Policy, policies: Policies, *names: str, number: int = 180) -> None:
    """No other policy of the type has these values."""
    if any(policy.get(name) is None for name in names):
        return
    others = _others(policy, policies, **{name: policy.get(name) for name in names})
    if others:
        told = ", ".join(f"{name}:{str(policy.get(name))[:80]}" for name in names)
        raise AnyLogError(number, f"policy '{policy.type}': {told} is in the policy {others[0].id} already")


def _operator(policy: Policy, policies: Policies) -> None:
    ip, port = policy.text_of("ip"), policy.whole("port")
    for other in policies.at(ip, port or 0):
        if other.type == "operator" and other.id != policy.id:
            raise AnyLogError(149, f"policy 'operator': ip:{ip}, port:{port} is in the policy {other.id} already")
    _unique(policy, policies, "name")
    _in_cluster(policy, policies)
    member = policy.whole("member")
    if member is not None:
        if member not in MEMBERS:
            raise AnyLogError(87, f"policy 'operator': member:{member} is no member number, 1 to {MEMBERS[-1]}")
        _unique(policy, policies, "cluster", "member")


def _in_cluster(policy: Policy, policies: Policies) -> None:
    cluster = policies.get(policy.text_of("cluster"))
    if cluster is None or cluster.type != "cluster":
        raise AnyLogError(222, f"policy 'operator': cluster:{policy.text_of('cluster')[:80]} is no cluster's id")


def _cluster(policy: Policy, policies: Policies) -> None:
    seen = set()
    tables = policy.get("table")
    if tables is not None and not isinstance(tables, list):
        raise AnyLogError(87, f"policy 'cluster': table:{str(tables)[:80]} is not a list")
    for entry in tables or ():
        if not isinstance(entry, Mapping):
            raise AnyLogError(87, f"policy 'cluster': table:{str(entry)[:80]} is not an object")
        for name in ("dbms", "name"):
            if not isinstance(entry.get(name), str) or not entry[name]:
                raise AnyLogError(87, f"policy 'cluster': '{name}' is missing in table:{str(dict(entry))[:80]}")
        key = (spelled(entry["dbms"]), spelled(entry["name"]))
        if key in seen:
            raise AnyLogError(180, f"policy 'cluster': the table {'.'.join(key)} is listed twice")
        seen.add(key)
    if policy.get("parent") is None:
        for other in _others(policy, policies, name=policy.name):
            if other.get("parent") is None:
                raise AnyLogError(180, f"policy 'cluster': name:{policy.name[:80]} is in the policy {other.id} already")
        return
    parent = policies.get(policy.text_of("parent"))
    if parent is None or parent.type != "cluster" or parent.id == policy.id:
        raise AnyLogError(118, f"policy 'cluster': parent:{policy.text_of('parent')[:80]} is no cluster's id")
    _no_circle(policy, policies)
    for name in ("name", "company"):
        if policy.text_of(name) != parent.text_of(name):
            told = f"policy 'cluster': {name}:{policy.text_of(name)[:80]} is not that of its parent {parent.id}"
            raise AnyLogError(118, f"{told}, {parent.text_of(name)[:80]}")


def _no_circle(policy: Policy, policies: Policies) -> None:
    """It is not its own parent, nor the parent of its parents."""
    seen = {policy.id}
    above = policies.get(policy.text_of("parent"))
    while above is not None:
        if above.id in seen:
            told = f"policy '{policy.type}': parent:{policy.text_of('parent')[:80]} leads back to {above.id}: a circle"
            raise AnyLogError(118, told)
        seen.add(above.id)
        above = policies.get(above.text_of("parent"))


def _table(policy: Policy, policies: Policies) -> None:
    dbms, name = policy.text_of("dbms"), policy.name
    for other in policies.of_table("table", dbms, name):
        if other.id != policy.id:
            raise AnyLogError(180, f"policy 'table': dbms:{dbms}, name:{name} is in the policy {other.id} already")
    try:
        columns_of(policy.text_of("create"))
    except AnyLogError as error:
        raise AnyLogError(87, f"policy 'table': create: {error}") from None


def _column(policy: Policy, policies: Policies) -> None:
    dbms, table = policy.text_of("dbms"), policy.text_of("table")
    try:
        name, kind = column_name(policy.name), parse_type(policy.text_of("type"))
    except AnyLogError as error:
        raise AnyLogError(87, f"policy 'column': {error}") from None
    known = known_columns(policies, dbms, table)
    if known is None:
        raise AnyLogError(113, f"policy 'column': no table {dbms}.{table} is in the ledger")
    if name in known and widened(known[name], kind) is None:
        told = f"policy 'column': type:{kind} of {dbms}.{table}.{name} does not widen the present {known[name]}"
        raise AnyLogError(180, told)


def _mapping(policy: Policy, policies: Policies) -> None:
    for name, column in policy.body["schema"].items():
        if name.startswith("__") and name.endswith("__"):
            continue
        for each in column if isinstance(column, list) and column else [column]:
            if not isinstance(each, Mapping):
                raise AnyLogError(87, f"policy 'mapping': schema {name}:{str(each)[:80]} is not an object")
            _mapping_column(name, each)
    for name, ident in (policy.get("import") or {}).items():
        if not isinstance(ident, str) or ident not in policies:
            raise AnyLogError(113, f"policy 'mapping': import {name}:{str(ident)[:80]} is no policy's id")


def _mapping_column(name: str, column: Mapping[str, Any]) -> None:
    def wrong(attribute: str) -> AnyLogError:
        told = f"{attribute}:{str(column[attribute])[:80]}" if attribute in column else f"'{attribute}' is missing"
        return AnyLogError(87, f"policy 'mapping': schema {name}: {told}")

    if not isinstance(column.get("type"), str):
        raise wrong("type")
    if not isinstance(column.get("bring", ""), str | list):
        raise wrong("bring")
    if not isinstance(column.get("script", []), list):
        raise wrong("script")
    for flag in ("root", "blob"):
        if str(column.get(flag, "false")).lower() not in ("true", "false"):
            raise wrong(flag)
    default, kind = column.get("default"), column["type"].lower()
    expected: Sequence[type] = {"int": (int,), "float": (int, float), "bool": (bool,)}.get(kind, ())
    if default is not None and expected and not isinstance(default, tuple(expected)) and not isinstance(default, str):
        raise wrong("default")


def _distribution(policy: Policy, policies: Policies) -> None:
    if not policy.get("operator") and not policy.get("dest"):
        raise AnyLogError(87, "policy 'distribution': 'operator' or 'dest' is missing")


def _member(policy: Policy, policies: Policies) -> None:
    kind = policy.text_of("type").lower()
    if kind not in ("root", "node", "user", "certificate"):
        raise AnyLogError(87, f"policy 'member': type:{kind[:80]} is not one of root, node, user, certificate")
    _unique(policy, policies, "public_key")
    if kind == "root" and _others(policy, policies, type="root"):
        raise AnyLogError(180, "policy 'member': type:root is in another policy already, there is one root")


def _permissions(policy: Policy, policies: Policies) -> None:
    _unique(policy, policies, "name")


def _assignment(policy: Policy, policies: Policies) -> None:
    permissions = policies.get(policy.text_of("permissions"))
    if permissions is None or permissions.type != "permissions":
        told = f"policy 'assignment': permissions:{policy.text_of('permissions')[:80]} is no permissions policy's id"
        raise AnyLogError(87, told)


def _license(policy: Policy, policies: Policies) -> None:
    _unique(policy, policies, "activation_key")


def _tag(policy: Policy, policies: Policies) -> None:
    nodes = [name for name in ("node_iid", "node_sid") if policy.get(name) is not None]
    if len(nodes) != 1:
        raise AnyLogError(87, "policy 'tag': one of 'node_iid' and 'node_sid' is needed")
    _unique(policy, policies, "dbms", "table")
    _unique(policy, policies, "dbms", "table", nodes[0])


def _uns(policy: Policy, policies: Policies) -> None:
    _unique(policy, policies, "namespace")
    _unique(policy, policies, "dbms", "table", "name")
    parent = policy.get("parent")
    if parent is not None:
        found = policies.get(str(parent))
        if found is None or found.type != "uns":
            raise AnyLogError(118, f"policy 'uns': parent:{str(parent)[:80]} is no uns policy's id")
        _no_circle(policy, policies)


def _bucket(policy: Policy, policies: Policies) -> None:
    _unique(policy, policies, "name")


def _anmp(policy: Policy, policies: Policies) -> None:
    own = {"id", "date", "ledger", "name", "company"}
    for name, attributes in policy.body.items():
        if folded(name) not in own and not isinstance(attributes, Mapping):
            raise AnyLogError(87, f"policy 'anmp': {name}:{str(attributes)[:80]} is not an object")


_FURTHER: Mapping[str, Callable[[Policy, Policies], None]] = {
    "operator": _operator,
    "cluster": _cluster,
    "table": _table,
    "column": _column,
    "mapping": _mapping,
    "distribution": _distribution,
    "member": _member,
    "permissions": _permissions,
    "assignment": _assignment,
    "license": _license,
    "tag": _tag,
    "uns": _uns,
    "bucket": _bucket,
    "anmp": _anmp,
}
