"""The view of who holds what (metadata.md 10, network.md 3)."""

from __future__ import annotations

import pytest
from registry import child, cluster, operator, policy, table
from work import steps

from anylog.interfaces import PeerState
from anylog.ledger.cluster import Clusters, Own, address_of
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy


def view(*policies: Policy, states: dict[str, PeerState] | None = None) -> Clusters:
    known = Policies(policies)
    return Clusters(policies=lambda: known, state=(states or {}).get, own=lambda: Own("1.2.3.4", "10.0.0.9"))


def test_listed() -> None:
    """An address is of the network if a node says in its policy that it listens there, on either side of a router."""
    found = view(
        Policy("operator", {"id": "o", "ip": "1.2.3.4", "local_ip": "10.0.0.5", "port": 1, "local_port": 2}),
        Policy("master", {"id": "m", "ip": "10.0.0.1", "port": 3}),
        Policy("table", {"id": "t", "ip": "10.0.0.7", "port": 1}),
    )
    asked = ("1.2.3.4:1", "10.0.0.5:2", "10.0.0.1:3", "10.0.0.7:1", "10.0.0.1:1", "")
    assert [found.listed(each) for each in asked] == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("body", "address"),
    [
        ({"local_ip": "10.0.0.5", "port": 1}, "10.0.0.5:1"),
        ({"local_ip": "10.0.0.5", "port": 1, "local_port": 2}, "10.0.0.5:2"),
        ({"ip": "10.0.0.1", "local_ip": "10.0.0.5", "port": 1, "local_port": 2}, "10.0.0.1:1"),
        ({"ip": "1.2.3.4", "local_ip": "10.0.0.5", "port": 1}, "10.0.0.5:1"),
        ({"ip": "1.2.3.4", "local_ip": "10.0.0.5", "port": 1, "local_port": 2}, "10.0.0.5:2"),
        ({"ip": "1.2.3.4", "port": 1}, "10.0.0.9:1"),
        ({"ip": "8.8.8.8", "local_ip": "10.0.0.5", "port": "32148"}, "8.8.8.8:32148"),
        ({"ip": "node.example", "port": 1}, "node.example:1"),
        ({"ip": "2001:4860::1", "port": 1}, "[2001:4860::1]:1"),
        ({"ip": "10.0.0.1"}, ""),
        ({"port": 1}, ""),
        ({"ip": "10.0.0.1", "port": "many"}, ""),
    ],
)
def test_address(body: dict[str, object], address: str) -> None:
    """The address rule, one row each."""
    assert address_of(Policy("operator", body), Own("1.2.3.4", "10.0.0.9")) == address


def test_shares() -> None:
    """One share a cluster, one operator a copy, the main one first; tables by the policies of children."""
    one, two = cluster("one"), cluster("two", 0.5)
    view_ = view(
        one,
        two,
        operator("a", one.id, 1),
        operator("b", one.id, 2, main="true"),
        operator("c", two.id, 3),
        table("weather"),
        table("tides"),
        child(one, "weather"),
        child(two, "weather", "tides"),
    )
    shares = view_.shares("Town", "Weather")
    assert [(share.name, [each.name for each in share.operators]) for share in shares] == [
        ("one", ["b", "a"]),
        ("two", ["c"]),
    ]
    assert [share.cluster_id for share in view_.shares("town", "tides")] == [two.id]
    assert view_.shares("town", "nothing") == []
    assert (view_.databases(), view_.tables("town"), view_.tables()) == (
        ["town"],
        ["tides", "weather"],
        ["town.tides", "town.weather"],
    )
    first = shares[0].operators[0]
    assert (first.address, first.cluster, first.main, first.company) == ("10.0.0.1:2", one.id, True, "Acme")
    assert view_.cluster_of(first.id) == shares[0]
    assert view_.operator(first.id) == first
    assert view_.lists(one.id, "town", "weather") and not view_.lists(one.id, "town", "tides")
    assert [(each.dbms, each.table) for each in view_.hosted(two.id)] == [("town", "weather"), ("town", "tides")]


def test_older_clusters() -> None:
    """A cluster with a table list, one with a database, and operators without any cluster."""
    listed = cluster(
        "listed", table=[{"dbms": "a", "name": "x", "status": "active"}, {"dbms": "a", "name": "y", "status": "gone"}]
    )
    whole = cluster("whole", dbms="B")
    view_ = view(
        listed,
        whole,
        operator("p", listed.id, 1),
        operator("q", whole.id, 2),
        policy("operator", name="r", ip="10.0.0.1", port=3, dbms="c", table=["x", "y"]),
        policy("operator", name="s", ip="10.0.0.1", port=4, dbms=["c", "d"]),
    )

    def names(dbms: str, name: str) -> list[list[str]]:
        return [[each.name for each in share.operators] for share in view_.shares(dbms, name)]

    for dbms, name, expected in [
        ("a", "x", [["p"]]),
        ("a", "y", []),
        ("b", "whatever", [["q"]]),
        ("c", "x", [["r"], ["s"]]),
        ("c", "z", [["s"]]),
        ("d", "x", [["s"]]),
    ]:
        assert names(dbms, name) == expected, (dbms, name)
    assert view_.lists(whole.id, "b", "x")
    assert view_.hosts(operator("q", whole.id), "b", "x") and not view_.hosts(operator("q", whole.id), "a", "x")
    assert view_.hosts(operator("p", listed.id), "a", None) and view_.hosts(operator("p", listed.id), None, "x")


def test_strange_chains() -> None:
    """Parents that are missing or go round in a ring end nothing."""
    lost = policy(
        "cluster", id="lost", name="n", parent="nowhere", table=[{"dbms": "d", "name": "t"}, "x", {"dbms": 1}]
    )
    ring = [
        policy("cluster", id=one, name="r", parent=other, table=[{"dbms": "d", "name": one}])
        for one, other in ("ab", "ba")
    ]
    view_ = view(lost, *ring, operator("o", "nowhere"))
    assert [each.name for share in view_.shares("d", "t") for each in share.operators] == ["o"]
    assert len(view_.shares("d", "a")) == 1


def test_columns() -> None:
    """Automatic ones first, then those of the table policy, widened and followed by those of column policies."""
    view_ = view(
        table("Weather", "Town", create="create table weather (ts timestamp not null, v int, name char(4))"),
        policy("column", 4, dbms="town", table="weather", name="V", type="decimal"),
        policy("column", 5, dbms="town", table="weather", name="wind", type="float"),
        policy("column", 6, dbms="town", table="weather", name="name", type="int"),
        policy("column", 7, dbms="town", table="weather", name="row_id", type="float"),
        policy("column", 8, dbms="town", table="weather", name="odd", type="nosuch"),
        table("broken", "town", create="create nothing"),
    )
    assert view_.columns("town", "weather") == {
        "row_id": "SERIAL PRIMARY KEY",
        "insert_timestamp": "TIMESTAMP",
        "tsd_name": "CHAR(3)",
        "tsd_id": "BIGINT",
        "ts": "TIMESTAMP",
        "v": "DECIMAL",
        "name": "CHAR(4)",
        "wind": "FLOAT",
    }
    assert view_.columns("town", "broken") is None
    assert view_.columns("town", "nothing") is None


def test_states() -> None:
    """A node never heard of counts as active; one that failed does not, until it is heard of again."""
    one = cluster()
    states = {"10.0.0.1:2": PeerState(address="10.0.0.1:2", active=False, at=0)}
    view_ = view(one, operator("a", one.id, 1), operator("b", one.id, 2), states=states)
    assert {each.name: view_.active(each) for each in view_.operators()} == {"a": True, "b": False}


def test_a_change_is_seen() -> None:
    """A policy that comes or goes, another ledger, or another address of our own: the view is made anew."""
    one = cluster()
    box = [Policies([one, child(one, "weather")]), Own("1.2.3.4", "10.0.0.9")]
    view_ = Clusters(policies=lambda: box[0], own=lambda: box[1])  # type: ignore[arg-type, return-value]
    assert view_.view is view_.view
    added = operator("a", one.id, ip="1.2.3.4", local_ip="10.0.0.7")
    box[0].add(added)  # type: ignore[union-attr]
    assert view_.shares("town", "weather")[0].operators[0].address == "10.0.0.7:32148"
    box[1] = Own("5.6.7.8", "10.0.0.9")
    assert view_.shares("town", "weather")[0].operators[0].address == "1.2.3.4:32148"
    box[0] = Policies()
    assert view_.shares("town", "weather") == []


def test_ten_thousand() -> None:
    """5,000 tables, each with a child cluster: the work of a view grows with the policies, and a look-up does not."""

    def work(tables: int) -> tuple[int, int]:
        ones = [cluster(f"c{at}") for at in range(10)]
        policies = [*ones]
        policies += [operator(f"o{at}", ones[at % 10].id, at + 1) for at in range(20)]
        policies += [table(f"t{at}") for at in range(tables)]
        policies += [child(ones[at % 10], f"t{at}") for at in range(tables)]
        known = Policies(policies)
        view_ = Clusters(policies=lambda: known)
        made = steps(lambda: view_.view)
        return made, steps(lambda: view_.shares("town", f"t{tables - 1}")[0].operators[0])

    few, many = work(500), work(5000)
    assert many[0] < 10.5 * few[0]
    assert many[0] < 100 * 10_000, "a hundred lines for each policy"
    assert many[1] == few[1] < 200
