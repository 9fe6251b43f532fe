"""What policies of known types must be like: one row a rule (metadata.md 3.1)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from registry import NOW, child, cluster, operator, policy, table

from anylog.errors import AnyLogError
from anylog.ledger.checks import check, completed
from anylog.ledger.lines import read_lines
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy, prepared

PLANT = cluster("plant")
CREATE = "create table t (v int)"
KEYS = {"public_key": "k", "signature": "s"}
KNOWN = Policies(
    [
        PLANT,
        operator("first", PLANT.id, 1, member=7),
        table("t", create=CREATE),
        policy("member", id="root", type="root", public_key="p"),
        policy("permissions", id="perm", name="all", enable=["*"], public_key="k", signature="s"),
        policy("uns", id="top", name="top", namespace="top"),
        policy("bucket", id="bucket", name="b", operator="o"),
        policy("tag", id="tag", dbms="d", table="t", ns=2, node_iid=1),
        policy("license", id="lic", activation_key="a", company="c", expiration="e", type="t"),
        policy("mapping", id="map", dbms="d", table="t", schema={}),
    ]
)
OPERATOR = {"company": "Acme", "name": "new", "ip": "10.0.0.9", "port": 9, "cluster": PLANT.id}


def op(**changes: Any) -> dict[str, Any]:
    return {**OPERATOR, **changes}


@pytest.mark.parametrize(
    ("kind", "body", "number", "named"),
    [
        ("operator", op(), 0, ""),
        ("operator", op(port="9"), 0, ""),
        ("operator", op(main="true", member="8"), 0, ""),
        ("operator", op(company=None), 87, "'company'"),
        ("operator", op(name=5), 87, "name:5"),
        ("operator", op(ip=""), 87, "'ip'"),
        ("operator", op(port="x"), 87, "port:x"),
        ("operator", op(port=0), 87, "port:0"),
        ("operator", op(port=70_000), 87, "port:70000"),
        ("operator", op(port=True), 87, "port:True"),
        ("operator", op(cluster=None), 87, "'cluster'"),
        ("operator", op(cluster="x"), 222, "cluster:x"),
        ("operator", op(cluster="root"), 222, "cluster:root"),
        ("operator", op(main="perhaps"), 87, "main:perhaps"),
        ("operator", op(member=0), 87, "member:0"),
        ("operator", op(member=255), 0, ""),
        ("operator", op(member=256), 87, "member:256"),
        ("operator", op(member=7), 180, "member:7"),
        ("operator", op(name="FIRST"), 180, "name:FIRST"),
        ("operator", op(ip="10.0.0.1", port=1), 149, "10.0.0.1"),
        ("operator", op(local_ip=5), 87, "local_ip:5"),
        ("query", {"ip": "10.0.0.1", "port": 1}, 0, ""),
        ("query", {"local_ip": "10.0.0.1", "local_port": 1}, 0, ""),
        ("query", {"name": "q"}, 87, "'ip'"),
        ("master", {"ip": "10.0.0.1"}, 87, "'port'"),
        ("master", {"ip": "10.0.0.1", "port": "many"}, 87, "port:many"),
        ("cluster", {"company": "Acme", "name": "other"}, 0, ""),
        ("cluster", {"company": "Acme"}, 87, "'name'"),
        ("cluster", {"company": "Acme", "name": "Plant", "status": "x"}, 180, "name:Plant"),
        (
            "cluster",
            {"company": "Acme", "name": "plant", "parent": PLANT.id, "table": [{"dbms": "d", "name": "t"}]},
            0,
            "",
        ),
        ("cluster", {"company": "Acme", "name": "plant", "parent": "x"}, 118, "parent:x"),
        ("cluster", {"company": "Acme", "name": "plant", "parent": "root"}, 118, "parent:root"),
        ("cluster", {"company": "Other", "name": "plant", "parent": PLANT.id}, 118, "company:Other"),
        ("cluster", {"company": "Acme", "name": "other", "parent": PLANT.id}, 118, "name:other"),
        ("cluster", {"company": "Acme", "name": "x", "table": {"dbms": "d", "name": "t"}}, 87, "not a list"),
        ("cluster", {"company": "Acme", "name": "x", "table": ["t"]}, 87, "table:t"),
        ("cluster", {"company": "Acme", "name": "x", "table": [{"dbms": "d"}]}, 87, "'name'"),
        (
            "cluster",
            {"company": "Acme", "name": "x", "table": [{"dbms": "d", "name": "A b"}, {"dbms": "D", "name": "a_b"}]},
            180,
            "d.a_b",
        ),
        ("cluster", {"company": "Acme", "name": "x", "dbms": 5}, 87, "dbms:5"),
        ("table", {"name": "u", "dbms": "town", "create": CREATE}, 0, ""),
        ("table", {"name": "u", "dbms": "town"}, 87, "'create'"),
        ("table", {"name": "u", "dbms": "town", "create": "drop table x"}, 87, "drop table"),
        ("table", {"name": "u", "dbms": "town", "create": "create table u (a strange)"}, 87, "strange"),
        ("table", {"name": "T", "dbms": "Town", "create": CREATE, "company": "other"}, 180, "name:T"),
        ("column", {"dbms": "town", "table": "t", "name": "w", "type": "float"}, 0, ""),
        ("column", {"dbms": "town", "table": "t", "name": "v", "type": "float"}, 0, ""),
        ("column", {"dbms": "town", "table": "t", "name": "v", "type": "varchar"}, 180, "type:VARCHAR"),
        ("column", {"dbms": "town", "table": "t", "name": "w", "type": "odd"}, 87, "odd"),
        ("column", {"dbms": "town", "table": "nowhere", "name": "w", "type": "int"}, 113, "town.nowhere"),
        (
            "mapping",
            {"dbms": "d", "table": "t", "schema": {"a": {"type": "int", "bring": "[x]", "default": 1}, "__x__": 5}},
            0,
            "",
        ),
        (
            "mapping",
            {"dbms": "d", "table": "t", "schema": {"a": [{"type": "int"}, {"type": "str", "default": None}]}},
            0,
            "",
        ),
        ("mapping", {"dbms": "d", "table": "t", "schema": []}, 87, "schema"),
        ("mapping", {"dbms": "d", "table": "t", "schema": {"a": 5}}, 87, "a:5"),
        ("mapping", {"dbms": "d", "table": "t", "schema": {"a": {"bring": "[x]"}}}, 87, "'type'"),
        ("mapping", {"dbms": "d", "table": "t", "schema": {"a": {"type": "int", "bring": 5}}}, 87, "bring:5"),
        ("mapping", {"dbms": "d", "table": "t", "schema": {"a": {"type": "int", "script": "x"}}}, 87, "script:x"),
        ("mapping", {"dbms": "d", "table": "t", "schema": {"a": {"type": "int", "root": "x"}}}, 87, "root:x"),
        ("mapping", {"dbms": "d", "table": "t", "schema": {"a": {"type": "int", "default": []}}}, 87, "default"),
        ("mapping", {"dbms": "d", "table": "t", "schema": {}, "import": {"x": "map"}}, 0, ""),
        ("mapping", {"dbms": "d", "table": "t", "schema": {}, "import": {"x": "nowhere"}}, 113, "nowhere"),
        ("transform", {"dbms": "d", "table": "t"}, 87, "'column'"),
        ("distribution", {"dbms": "d", "table": "t"}, 87, "'operator'"),
        ("distribution", {"dbms": "d", "table": "t", "dest": "x"}, 0, ""),
        ("member", {"type": "user", "public_key": "q"}, 0, ""),
        ("member", {"type": "king", "public_key": "q"}, 87, "type:king"),
        ("member", {"type": "user"}, 87, "'public_key' is missing"),
        ("member", {"type": "user", "public_key": "p"}, 180, "public_key:p"),
        ("member", {"type": "root", "public_key": "q"}, 180, "root"),
        ("permissions", {"name": "all", "enable": [], **KEYS}, 180, "name:all"),
        ("permissions", {"name": "some", "enable": "x", **KEYS}, 87, "enable:x"),
        ("assignment", {"permissions": "perm", "members": ["p"], **KEYS}, 0, ""),
        ("assignment", {"permissions": "nowhere", "members": ["p"], **KEYS}, 87, "permissions:nowhere"),
        ("license", {"activation_key": "a", "company": "c", "expiration": "e", "type": "t"}, 180, "activation_key:a"),
        ("tag", {"dbms": "d", "table": "t", "ns": 2, "node_iid": 2}, 180, "table:t"),
        ("tag", {"dbms": "d", "table": "u", "ns": 2}, 87, "node_iid"),
        ("tag", {"dbms": "d", "table": "u", "ns": 2, "node_sid": "x"}, 0, ""),
        ("uns", {"name": "x", "namespace": "top"}, 180, "namespace:top"),
        ("uns", {"name": "x", "namespace": "x", "parent": "top"}, 0, ""),
        ("uns", {"name": "x", "namespace": "x", "parent": "perm"}, 118, "parent:perm"),
        ("bucket", {"name": "B", "operator": "o"}, 180, "name:B"),
        ("anmp", {"top": {"name": "new"}}, 0, ""),
        ("anmp", {"top": 5}, 87, "top:5"),
        ("anything", {"name": ["at", "all"]}, 0, ""),
    ],
)
def test_rules(kind: str, body: dict[str, Any], number: int, named: str) -> None:
    """Taken, or refused by number with the culprit's name."""
    given = prepared(Policy(kind, {key: value for key, value in body.items() if value is not None}), NOW)
    if not number:
        check(given, KNOWN)
        return
    with pytest.raises(AnyLogError) as refusal:
        check(given, KNOWN)
    assert refusal.value.number == number, refusal.value
    assert named in str(refusal.value) and f"'{kind}'" in str(refusal.value), refusal.value


def test_itself() -> None:
    """A policy is not in the way of itself, so that it may be replaced."""
    for each in KNOWN:
        check(each, KNOWN)


def test_completed() -> None:
    """A status, a member number that nobody in the cluster has; what is given stays."""
    assert completed(Policy("cluster", {"name": "n"}), KNOWN, Random(1)).get("status") == "active"
    assert completed(Policy("cluster", {"status": "x"}), KNOWN, Random(1)).get("status") == "x"
    assert completed(Policy("site", {}), KNOWN, Random(1)).body == {}
    assert completed(Policy("operator", op(member=3)), KNOWN, Random(1)).get("member") == 3
    drawn = {completed(Policy("operator", op()), KNOWN, Random(seed), [9]).get("member") for seed in range(2000)}
    assert drawn == set(range(1, 256)) - {7, 9}
    bare = Policy("operator", {key: value for key, value in op().items() if key not in ("company", "name")})
    done = completed(bare, KNOWN, Random(1))
    assert done.get("company") == PLANT.get("company")
    assert done.get("name") == f"{PLANT.name}-{bare.get('ip')}-{bare.get('port')}"
    assert completed(Policy("operator", op()), KNOWN, Random(1)).name == op()["name"]
    full = Policies([PLANT, *(operator(f"o{at}", PLANT.id, at, member=at) for at in range(1, 256))])
    with pytest.raises(AnyLogError) as refusal:
        completed(Policy("operator", op()), full, Random(1))
    assert refusal.value.number == 180


def test_a_bare_operator_of_an_unknown_cluster() -> None:
    """It is the cluster that is missing, so that a node that has not heard of it yet looks for it."""
    for named, number in (("nowhere", 222), (PLANT.id, 87), ("", 87)):
        with pytest.raises(AnyLogError) as refusal:
            check(Policy("operator", {"cluster": named, "ip": "10.9.9.9", "port": 9}), KNOWN)
        assert refusal.value.number == number, named


def test_policies_of_older_networks() -> None:
    """Policies as they are printed in the guides are read unchanged, though they lack what is needed today."""
    data = b"\n".join(
        [
            b'{"cluster": {"company": "Lit San Leandro", "name": "lsl-cluster2", "status": "active", "id": "7a00",'
            b' "date": "2022-12-23T01:48:33.794562Z", "ledger": "global"}}',
            b'{"operator": {"cluster": "7a00", "ip": "24.23.250.144", "local_ip": "10.0.0.78", "port": 7848,'
            b' "id": "5261", "date": "2021-04-02T21:43:20.129597Z", "member": 145}}',
            b'{"cluster": {"company": "Lit San Leandro", "name": "old", "master": "45.33.41.185:2048", "table":'
            b' [{"name": "ping_sensor", "dbms": "litsanleandro", "status": "active"}], "id": "1161",'
            b' "date": "2021-04-02T18:31:46.802694Z", "status": "active"}}',
        ]
    )
    lines = read_lines(data)
    assert not lines.faults
    known = Policies(lines.policies)
    assert [each.id for each in known] == ["1161", "5261", "7a00"]
    for each in known.of_type("cluster"):
        check(each, known)
    with pytest.raises(AnyLogError, match="'company'"):
        check(known.of_type("operator")[0], known)
    assert check(child(PLANT, "t"), KNOWN) is None  # type: ignore[func-returns-value]
