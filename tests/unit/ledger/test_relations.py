"""Policies beside those they refer to: join, merge, extend, parents, paths, children (metadata.md 5.2, 5.3)."""

from __future__ import annotations

from typing import Any

import pytest
from registry import policy
from test_where_and_bring import FakeNode

from anylog.errors import AnyLogError
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy
from anylog.ledger.reading_commands import Question

# The hierarchy of the manual: manufacturer, Caterpillar, Generator, and a second way to the generator.
KNOWN = Policies(
    [
        policy("object", 0, id="o1", name="manufacturer"),
        policy("object", 1, id="o2", name="Caterpillar"),
        policy("object", 2, id="o3", name="Generator"),
        policy("uns", 3, id="u1", namespace="manufacturer", object_id="o1"),
        policy("uns", 4, id="u2", namespace="manufacturer/Caterpillar", object_id="o2", parent="u1"),
        policy("uns", 5, id="u3", namespace="manufacturer/Caterpillar/Generator", object_id="o3", parent="u2"),
        policy("uns", 6, id="v1", namespace="city/Generator", object_id="o3"),
        policy("bucket", 7, id="b1", name="my_bucket", operator="op1", port=1),
        policy("bucket", 8, id="b2", name="other", operator="nobody"),
        policy("bucket", 9, id="b3", name="both", operator=["op1", "op2"]),
        policy("operator", 10, id="p1", name="op1", ip="10.0.0.1", port=7848),
        policy("operator", 11, id="p2", name="op2", ip="10.0.0.2", port=7848),
    ]
)

OPERATOR = "(blockchain get operator where name = [bucket][operator])"


def ask(text: str, known: Policies = KNOWN) -> Any:
    return Question.read(text).answer(FakeNode(), known)  # type: ignore[arg-type]


def test_join() -> None:
    """Both root keys side by side, a row for each match; what has no match is left out."""
    (row,) = ask("bucket where name = my_bucket join (blockchain get operator where name = [bucket][operator])").data
    assert list(row) == ["bucket", "operator"] and row["operator"]["ip"] == "10.0.0.1" and row["bucket"]["port"] == 1
    rows = ask("bucket join(blockchain get operator where name = [bucket][operator])").data
    assert [(row["bucket"]["name"], row["operator"]["name"]) for row in rows] == [
        ("my_bucket", "op1"),
        ("both", "op1"),
        ("both", "op2"),
    ]
    condition = "bucket where id = b1 join (blockchain get operator where [name] == [bucket][operator])"
    assert [row["operator"]["id"] for row in ask(condition).data] == ["p1"]
    short = "bucket where id = b1 join (blockchain get operator where name = [operator] and port = 7848)"
    assert [row["operator"]["id"] for row in ask(short).data] == ["p1"]
    chained = "bucket where id = b1 join (blockchain get operator where name = [bucket][operator])"
    chained += " join (blockchain get object where name = Generator)"
    assert list(ask(chained).data[0]) == ["bucket", "operator", "object"]
    own = ask("uns where id = u2 join (blockchain get uns where id = [uns][parent])").data
    assert list(own[0]) == ["uns", "uns_2"] and own[0]["uns_2"]["id"] == "u1"


def test_merge() -> None:
    """One policy of both: the left one's attributes count; without a match it stays as it was."""
    text = "bucket merge (blockchain get operator where name = [bucket][operator])"
    rows = ask(text).data
    assert [list(row) for row in rows] == [["bucket"]] * 3
    first, second, third = (row["bucket"] for row in rows)
    assert (first["name"], first["port"], first["ip"], first["id"]) == ("my_bucket", 1, "10.0.0.1", "b1")
    assert "ip" not in second and third["port"] == 7848
    assert KNOWN.get("b1") is not None and KNOWN.get("b1").get("ip") is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (f"bucket join {OPERATOR} bring.first [operator][ip]", "10.0.0.1"),
        (f"bucket join {OPERATOR} bring.ip_port", "10.0.0.1:7848,10.0.0.2:7848"),
        (f"bucket join {OPERATOR} bring.count", "3"),
        (f"bucket merge {OPERATOR} bring.ip_port", "10.0.0.1:1,10.0.0.1:7848"),
        ("operator bring [ip]:[port] separator = ' '", "10.0.0.1:7848 10.0.0.2:7848"),
        ("* where id = u1 bring.children [namespace]", "manufacturer/Caterpillar"),
        ("* where id = o3 bring.parents [name] [parents]", 'Generator["u3", "v1"]'),
        ("uns where id = u3 bring.extend [uns][parent] ' has ' [object][name]", "u2 has Generator"),
    ],
)  # fmt: skip
def test_bring(asked: str, told: str) -> None:
    """Items name attributes by root key."""
    assert ask(asked).text == told


def test_extend_parents_paths() -> None:
    """The forms of the manual."""
    rows = ask("uns bring.extend").data
    assert [list(row) for row in rows] == [["uns", "object"]] * 4 and rows[1]["object"]["name"] == "Caterpillar"
    (row,) = ask("* where id = o3 bring.parents").data
    assert list(row) == ["object", "parents"] and row["parents"] == ["u3", "v1"]
    assert ask("* where id = u3 bring.parents").data[0]["parents"] == ["u2"]
    for asked in ("object where id = o3 bring.paths", "object where name = Generator bring.paths|extend"):
        (row,) = ask(asked).data
        assert list(row["paths"]) == ["u3", "v1"]
        way = row["paths"]["u3"]
        assert [step["object"]["name"] for step in way] == ["manufacturer", "Caterpillar", "Generator"]
        assert [step["uns"]["id"] for step in way] == ["u1", "u2", "u3"]
    (row,) = ask("uns where id = u2 bring.paths").data
    assert [step["uns"]["id"] for step in row["paths"]["u2"]] == ["u1", "u2"]


def test_circles() -> None:
    """Parents that go round in a circle, and a policy that is its own parent, end a path and no node."""
    known = Policies(
        [
            Policy("uns", {"id": "a", "parent": "b", "object_id": "b"}),
            Policy("uns", {"id": "b", "parent": "a", "object_id": "a"}),
            Policy("uns", {"id": "c", "parent": "c", "object_id": "c"}),
        ]
    )
    paths = {row["uns"]["id"]: row["paths"] for row in ask("uns bring.paths", known).data}
    assert [step["uns"]["id"] for step in paths["a"]["a"]] == ["b", "a"]
    assert [step["uns"]["id"] for step in paths["c"]["c"]] == ["c"]
    assert ask("uns where id = c bring.extend", known).data[0]["uns_2"]["id"] == "c"
    assert [row["uns"]["id"] for row in ask("uns where id = c bring.children", known).data] == ["c"]


@pytest.mark.parametrize(
    "asked",
    [
        "bucket join (operator where name = x)",
        "bucket join (blockchain get operator bring [name])",
        "bucket join (blockchain get)",
        "bucket join (blockchain get operator) where name = x",
        "bucket join",
        "bucket join (blockchain get operator) nonsense",
    ],
)
def test_refused(asked: str) -> None:
    """What is no link is refused by name."""
    with pytest.raises(AnyLogError) as refusal:
        ask(asked)
    assert refusal.value.number == 2, asked
