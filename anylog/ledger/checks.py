"""What a policy must hold, and what must be unique among policies (metadata.md 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from anylog.columns import columns_of, parse_type, widened
from anylog.errors import AnyLogError
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy

MEMBERS = range(1, 256)

# Type -> attribute -> (Python type, required)
_NODE: Mapping[str, tuple[type, bool]] = {
    "ip": (str, True), "port": (int, True), "local_ip": (str, False), "local_port": (int, False),
    "rest_port": (int, False), "broker_port": (int, False), "name": (str, False), "company": (str, False),
}  # fmt: skip
_SHAPES: Mapping[str, Mapping[str, tuple[type, bool]]] = {
    "operator": {
        **_NODE, "company": (str, True), "name": (str, True), "cluster": (str, True), "member": (int, False),
        "main": (bool, False),
    },
    **dict.fromkeys(("master", "query", "publisher", "generic"), _NODE),
    "cluster": {
        "company": (str, True), "name": (str, True), "status": (str, False), "parent": (str, False),
        "master": (str, False), "table": (list, False),
    },
    "table": {"name": (str, True), "dbms": (str, True), "create": (str, True), "company": (str, False)},
    "column": {"dbms": (str, True), "table": (str, True), "name": (str, True), "type": (str, True)},
    "mapping": {"dbms": (str, True), "table": (str, True), "schema": (dict, True)},
    "transform": {"dbms": (str, True), "table": (str, True), "column": (str, True)},
    "distribution": {"dbms": (str, True), "table": (str, True)},
    "permissions": {"name": (str, True), "enable": (list, True)},
    "tag": {"dbms": (str, True), "table": (str, True), "ns": (int, True)},
    "uns": {"name": (str, True), "namespace": (str, True), "parent": (str, False)},
    "bucket": {"name": (str, True), "operator": (str, True)},
}  # fmt: skip


def check(policy: Policy, policies: Policies, chance: Random) -> Policy:
    """The policy as it is stored: with a member id, a status. Raises AnyLogError naming type, attribute and value.

    Numbers: 87 (form), 118 (cluster), 149 (address), 180 (not unique), 222 (no such cluster).
    """
    for name, (kind, required) in _SHAPES.get(policy.type, {}).items():
        value = policy.get(name)
        if value is None or value == "":
            if required:
                raise AnyLogError(87, f"{policy.type}: the attribute '{name}' is missing")
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise AnyLogError(87, f"{policy.type}: {name}:{str(value)[:200]} is not {_WORDS[kind]}")
    known = _CHECKS.get(policy.type)
    return known(policy, policies, chance) if known is not None else policy


_WORDS = {str: "a text", int: "a number", bool: "true or false", list: "a list", dict: "an object"}


def _others(policy: Policy, policies: Policies, attribute: str) -> list[Policy]:
    """Other policies of the type with the same value."""
    found = policies.having(policy.type, attribute, policy.get(attribute))
    return [other for other in found if other.id != policy.id]


def _taken(policy: Policy, *attributes: str) -> AnyLogError:
    told = ", ".join(f"{name} '{policy.get(name)}'" for name in attributes)
    return AnyLogError(180, f"{policy.type}: {told} is in use by another policy")


def _operator(policy: Policy, policies: Policies, chance: Random) -> Policy:
    if not 0 < policy.body["port"] < 65536:
        raise AnyLogError(87, f"operator: port:{policy.body['port']} is not a port")
    cluster = policies.get(policy.body["cluster"])
    if cluster is None or cluster.type != "cluster":
        raise AnyLogError(222, f"operator: no cluster policy has the id '{policy.body['cluster']}'")
    address = f"{policy.body['ip']}:{policy.body['port']}"
    for other in policies.at(address):
        if other.type == "operator" and other.id != policy.id:
            raise AnyLogError(149, f"operator: {address} is the address of operator '{other.get('name')}'")
    if _others(policy, policies, "name"):
        raise _taken(policy, "name")
    members = {other.get("member") for other in _others(policy, policies, "cluster")}
    member = policy.get("member")
    if member is None:
        free = [number for number in MEMBERS if number not in members]
        if not free:
            raise AnyLogError(180, f"operator: the cluster '{cluster.get('name')}' has {len(MEMBERS)} members")
        return policy.with_(member=chance.choice(free))
    if member not in MEMBERS:
        raise AnyLogError(87, f"operator: member:{member} is not from 1 to 255")
    if member in members:
        raise _taken(policy, "cluster", "member")
    return policy


def _cluster(policy: Policy, policies: Policies, chance: Random) -> Policy:
    listed = policy.get("table") or []
    seen = set()
    for entry in listed:
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("name"), str)
            or not isinstance(entry.get("dbms"), str)
        ):
            raise AnyLogError(118, f"cluster: table:{str(entry)[:200]} needs dbms and name")
        named = (entry["dbms"].lower(), entry["name"].lower())
        if named in seen:
            raise AnyLogError(118, f"cluster: table {'.'.join(named)} is listed twice")
        seen.add(named)
    parent = policy.get("parent")
    if parent:
        above = policies.get(parent)
        if above is None or above.type != "cluster":
            raise AnyLogError(118, f"cluster: no cluster policy has the id '{parent}' (parent)")
        for name in ("name", "company"):
            if above.get(name) != policy.get(name):
                raise AnyLogError(
                    118, f"cluster: {name} '{policy.get(name)}' is not that of its parent, '{above.get(name)}'"
                )
    elif any(not other.get("parent") for other in _others(policy, policies, "name")):
        raise _taken(policy, "name")
    return policy if policy.get("status") else policy.with_(status="active")


def _table(policy: Policy, policies: Policies, chance: Random) -> Policy:
    for other in _others(policy, policies, "name"):
        if str(other.get("dbms")).lower() == str(policy.get("dbms")).lower():
            raise _taken(policy, "dbms", "name")
    try:
        columns_of(policy.body["create"])
    except AnyLogError as wrong:
        raise AnyLogError(87, f"table: create: {wrong}") from None
    return policy


def _column(policy: Policy, policies: Policies, chance: Random) -> Policy:
    body = policy.body
    tables = [each for each in policies.having("table", "name", body["table"]) if each.get("dbms") == body["dbms"]]
    if not tables:
        raise AnyLogError(180, f"column: no table policy of {body['dbms']}.{body['table']}")
    try:
        kind = parse_type(body["type"])
    except AnyLogError as wrong:
        raise AnyLogError(87, f"column: type: {wrong}") from None
    present = columns_of(tables[0].body["create"]).get(body["name"])
    for other in policies.having("column", "name", body["name"]):
        if (other.get("dbms"), other.get("table")) == (body["dbms"], body["table"]):
            theirs = parse_type(str(other.get("type")))
            present = theirs if present is None else widened(present, theirs) or present
    if present is not None and widened(present, kind) is None:
        where = f"{body['dbms']}.{body['table']}.{body['name']}"
        raise AnyLogError(180, f"column: {where} is {present}, which cannot be widened to {kind}")
    return policy


def _unique(*attributes: str) -> Callable[[Policy, Policies, Random], Policy]:
    """No other policy of the type has all these values."""

    def checked(policy: Policy, policies: Policies, chance: Random) -> Policy:
        for other in policies.of_type(policy.type):
            if other.id != policy.id and all(other.get(name) == policy.get(name) for name in attributes):
                raise _taken(policy, *attributes)
        return policy

    return checked


_CHECKS: Mapping[str, Callable[[Policy, Policies, Random], Policy]] = {
    "operator": _operator,
    "cluster": _cluster,
    "table": _table,
    "column": _column,
    "permissions": _unique("name"),
    "bucket": _unique("name"),
    "tag": _unique("dbms", "table"),
    "uns": _unique("namespace"),
}


def defaults(kind: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """What `create policy ... with defaults` adds (metadata.md 3.3)."""
    ports = {"master": 32048, "operator": 32148, "publisher": 32248, "query": 32348, "generic": 32548}
    if kind in ports:
        port = ports[kind]
        return {"ip": own.get("external_ip"), "local_ip": own.get("ip"), "port": port, "rest_port": port + 1}
    return {"status": "active"} if kind == "cluster" else {}
