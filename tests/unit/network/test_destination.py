"""The grammar of destinations: one row a promise (network.md 5.1)."""

from __future__ import annotations

from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.network.asking import read_request, sent_on
from anylog.network.destination import Destination, read_destination

A, B = "10.0.0.5:32148", "10.0.0.6:32148"


def scope() -> Scope:
    dictionary = Dictionary()
    for key, value in {"dest": A, "both": f"{A}, {B}", "ip": "10.0.0.5", "port": 32148, "list": [A, B]}.items():
        dictionary.set(key, value)
    return Scope(dictionary, {})


ROWS: list[tuple[str, Destination, str]] = [
    (f"{A} get status", Destination([A]), "get status"),
    (f"({A}) get status", Destination([A]), "get status"),
    ("10.0.0.5 32148 get status", Destination([A]), "get status"),
    ("!dest get status", Destination([A]), "get status"),
    ("!ip !port get status", Destination([A]), "get status"),
    ("!ip:!port get status", Destination([A]), "get status"),
    ("edge-1.local:32148 get status", Destination(["edge-1.local:32148"]), "get status"),
    ("[fe80::1]:32148 get status", Destination(["[fe80::1]:32148"]), "get status"),
    (f"({A}, {B}) get status", Destination([A, B]), "get status"),
    (f"({A}, {A}) get status", Destination([A]), "get status"),
    ("(10.0.0.5 32148, 10.0.0.6 32148) get status", Destination([A, B]), "get status"),
    ("(!both) get status", Destination([A, B]), "get status"),
    ("(!list) get status", Destination([A, B]), "get status"),
    ("(!nothing, !dest) get status", Destination([A]), "get status"),
    ('() sql d "select 1"', Destination(ledger=True), 'sql d "select 1"'),
    ("(subset = true) sql d x", Destination(ledger=True, subset=True), "sql d x"),
    ("(dbms = d and table = t) get status", Destination(dbms="d", table="t"), "get status"),
    ("(dbms = d, table = t, timeout = 2 minutes) x", Destination(dbms="d", table="t", timeout=120.0), "x"),
    ("(operator) get status", Destination(queries=["operator"]), "get status"),
    (
        '(operator where company = "a, b" , subset = true, timeout = 3) get status',
        Destination(queries=['operator where company = "a, b"'], subset=True, timeout=3.0),
        "get status",
    ),
    ("((operator, query) where x = 1) y", Destination(queries=["(operator, query) where x = 1"]), "y"),
    (
        "(blockchain get operator bring [*][ip] : [*][port] separator = ,) y",
        Destination(queries=["operator bring [*][ip] : [*][port] separator = ,"]),
        "y",
    ),
]


@pytest.mark.parametrize(("text", "wanted", "rest"), ROWS, ids=[row[0] for row in ROWS])
def test_read(text: str, wanted: Destination, rest: str) -> None:
    """Who is meant, and what is left for them."""
    assert read_destination(text, scope()) == (wanted, rest)


REFUSED: list[tuple[str, int]] = [
    ("", 155),
    ("!nothing get status", 155),
    ("(!nothing) get status", 155),
    ("(10.0.0.5) get status", 20),
    ("10.0.0.5 get status", 20),
    ("10.0.0.5:99999 get status", 20),
    ("(10.0.0.5:0) get status", 20),
    ("(10.0.0.5:32148", 2),
    (f"({A}, subset = maybe) x", 2),
    (f"({A}, timeout = soon) x", 182),
    ("(table = t) x", 155),
]


@pytest.mark.parametrize(("text", "number"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(text: str, number: int) -> None:
    """Each with its number, and the culprit in the text."""
    with pytest.raises(AnyLogError) as refused:
        read_destination(text, scope())
    assert refused.value.number == number, refused.value


def test_replies_know_who_was_asked() -> None:
    """`.len`, `.replies` and `.diff` count nodes, whatever form the value has (network.md 6, decisions 15, 16)."""
    from anylog.language.replies import Replies

    replies = Replies([A, B], [(A, {"n": 1})])
    values: dict[str, Any] = {"": [{"n": 1}], "[]": [[A, {"n": 1}]], "{}": {A: {"n": 1}}}
    for collects, wanted in values.items():
        value = replies.value(collects)
        assert value == wanted, collects
        dictionary = Dictionary()
        dictionary.set("x", value)
        found = Scope(dictionary, {})
        assert [found.resolve(f"!x.{cast}") for cast in ("len", "replies", "diff")] == [2, 1, 1], collects
    assert Replies([A], [(A, "text")]).value("") == "text"
    assert Replies([A], []).value("") is None


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (A, f"run client ({A}) get status"),
        (f"({A})", f"run client ({A}) get status"),
        ("(operator, query) where name = x", "run client ((operator, query) where name = x) get status"),
        ("((operator, query) where name = x)", "run client ((operator, query) where name = x) get status"),
        ("(", "run client (() get status"),
    ],
)
def test_header(header: str, wanted: str) -> None:
    """The header of REST is what stands between the parentheses, or has these itself."""
    asked = read_request("GET", "", {"command": "get status", "destination": header, "user-agent": "AnyLog/1"}, b"")
    assert sent_on(asked).command == wanted
