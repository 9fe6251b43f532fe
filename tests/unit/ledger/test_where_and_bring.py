"""Which policies are meant, and what is told of them: one row a promise (metadata.md 5.1, 5.2)."""

from __future__ import annotations

from typing import Any

import pytest
from registry import policy

from anylog.errors import AnyLogError
from anylog.language.tokens import tokens_of
from anylog.ledger.cluster import Own, address_of
from anylog.ledger.policies import Policies
from anylog.ledger.reading_commands import Question
from anylog.ledger.where import Where

KNOWN = Policies(
    [
        policy("master", 0, id="m", name="hill", ip="10.0.0.1", port=32048),
        policy(
            "operator",
            1,
            id="a",
            name="Roof",
            company="My Company",
            ip="10.0.0.2",
            port=32148,
            member=7,
            country="US",
            city="San Francisco",
        ),
        policy(
            "operator",
            2,
            id="b",
            name="cellar",
            company="Acme",
            ip="10.0.0.3",
            port=32148,
            main=True,
            country="US",
            city="Reno",
            parent="m",
        ),
        policy("operator", 3, id="c", name="*", company="Acme", ip="10.0.0.4", port="32249", tags=["x", "Y", 3]),
        policy(
            "cluster",
            4,
            id="k",
            name="plant",
            table=[{"dbms": "d1", "name": "t1"}, {"dbms": "d2", "name": "t2"}],
            info={"floor": 2, "deep": {"x": "1"}},
        ),
        policy("tag", 5, id="t", path="Root/Line/Motor", dbms="d1", table="*"),
    ]
)


class FakeClusters:
    """What a question needs of a node's clusters."""

    def address_of(self, each: Any) -> str:
        return address_of(each, Own())

    def hosts(self, operator: Any, dbms: str | None, table: str | None) -> bool:
        return operator.id == "a" and (dbms, table) in (("d1", "t1"), ("d1", None), (None, "t1"))


class FakeNode:
    clusters = FakeClusters()


def ask(text: str) -> Any:
    return Question.read(text).answer(FakeNode(), KNOWN)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("operator", "abc"),
        ("(operator, master)", "mabc"),
        ("(operator,master)", "mabc"),
        ("*", "mabckt"),
        ("nosuch", ""),
        ("root policies", "mackt"),
        ("root policies include operator", "ac"),
        ("root policies exclude operator tag", "mk"),
        ("operator where name = roof", "ac"),
        ('operator where name=Roof and company="my company"', "a"),
        ("operator where company = Acme", "bc"),
        ("operator where port = 32148", "ab"),
        ("operator where port = 32148.0", "ab"),
        ("operator where port = 32249", "c"),
        ("operator where port = x", ""),
        ("operator where main = TRUE", "b"),
        ("operator where id = A", "a"),
        ("* where id = k", "k"),
        ("operator where id = k", ""),
        ("operator where nosuch = 1", ""),
        ("operator where tags = y", "c"),
        ("operator where tags with y", "c"),
        ("operator where tags = 3", "c"),
        ("operator where name with [cellar, roof]", "abc"),
        ("operator where city with [reno]", "b"),
        ("operator where [name] = cellar and [operator][city] = Reno", "b"),
        ("* where table[dbms] = d1 and table[name] = t1", "k"),
        ("* where table[dbms] = d1 and table[name] = t2", ""),
        ("* where [table][dbms] = d2 and [table][name] = t2", "k"),
        ("cluster where info[floor] = 2", "k"),
        ("cluster where info[deep][x] = 1 and info[floor] = 2", "k"),
        ("cluster where info[deep][x] = 2", ""),
        ("cluster where [cluster][name] = plant", "k"),
        ("operator where dbms = d1 and table = t1", "a"),
        ("operator where dbms = d1", "a"),
        ("operator where table = t1 and name = roof", "a"),
        ("operator where dbms = d9 and table = t1", ""),
        ("tag where dbms = d1 and table = whatever", "t"),
        ("* where dbms = d1 and table = t1", "at"),
        ('operator where [country] contains us and ([city] == "San Francisco" or [city] == Reno)', "ab"),
        ("operator where [port] > 32148", "c"),
        ("operator where [operator][port] >= 32148 and [name] != cellar", "ac"),
        ("operator where [main] is declared", "b"),
        ("cluster where [info][floor] == 2", "k"),
        ("* where [*][name] startswith pl", "k"),
        ("operator where not [city]", "c"),
    ],
)
def test_where(asked: str, found: str) -> None:
    """Types and conditions."""
    result = ask(asked + " bring [*][id] separator = ,")
    assert (result.text or "").replace(",", "") == found, asked


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        ("", 2),
        ("operator where", 2),
        ("operator name = x", 2),
        ("operator where name", 181),
        ("operator where name = x or name = y", 181),
        ("operator where [name] ==", 181),
        ("operator where = x", 181),
        ("operator where name > 3", 181),
        ("operator where port > 32148", 181),
        ("operator where (port > 1 or name == x) and main == true", 181),
        ("operator where name != 'x'", 181),
        ("operator where (name > 3)", 181),
        ("operator bring", 2),
        ("operator bring.unique", 2),
        ("operator bring.nosuch [*][id]", 2),
        ("operator bring.", 2),
        ("operator bring.first(1) [*][id]", 2),
        ("operator bring.min [*][id] [*][name]", 2),
        ("operator bring.table.sort(5) [*][id]", 2),
        (f"operator bring.table.sort({'9' * 5000}) [*][id]", 2),
        ("operator bring [*][id] separator =", 2),
        ("()", 2),
        ("root policies some", 2),
    ],
)
def test_refused(asked: str, number: int) -> None:
    """What cannot be read is refused by number."""
    with pytest.raises(AnyLogError) as refusal:
        ask(asked)
    assert refusal.value.number == number, (asked, refusal.value)


@pytest.mark.parametrize(
    ("bring", "text"),
    [
        ("operator bring [*][name]", "Roofcellar*"),
        (f"operator bring [*][name(prefix({'9' * 5000}))]", ""),
        ("operator bring [*][name(prefix(²))]", ""),
        (f"operator bring [*][name][{'9' * 5000}] [name]", "Roofcellar*"),
        ("operator bring [name] separator = ,", "Roof,cellar,*"),
        ("operator bring [name] separator = \\n", "Roof\ncellar\n*"),
        ("operator bring.first ['operator']['name'] ' of ' [company]", "Roof of My Company"),
        ("operator bring.unique [company] separator = ,", "My Company,Acme"),
        ("operator bring.first [operator][ip] : [operator][port] separator = ,", "10.0.0.2:32148"),
        ("operator bring [ip]:[port] separator = ,", "10.0.0.2:32148,10.0.0.3:32148,10.0.0.4:32249"),
        ("operator bring [*][city] separator = ,", "San Francisco,Reno"),
        ("operator bring.first [*][id]", "a"),
        ("operator bring.last [*][id]", "c"),
        ("operator bring.recent [*][id]", "c"),
        ("operator bring.ip_port", "10.0.0.2:32148,10.0.0.3:32148,10.0.0.4:32249"),
        ("(master,operator) bring.first.ip_port", "10.0.0.1:32048"),
        ("operator bring.count", "3"),
        ("operator bring.count [city]", "2"),
        ("operator bring.unique.count [company]", "2"),
        ("operator bring.min [port]", "32148"),
        ("operator bring.max [*][port]", "32249"),
        ("operator bring.max [name]", "Roof"),
        ("master bring.children [*][id]", "b"),
        ("operator where id = b bring.parents [name] ' under ' [parents]", 'cellar under ["m"]'),
        ("* bring.unique [] separator = ,", "master,operator,cluster,tag"),
        ("* bring.unique [*] separator = ,", "master,operator,cluster,tag"),
        ("cluster bring [table][][name]", '["t1", "t2"]'),
        ("cluster bring [table][name]", '["t1", "t2"]'),
        ("cluster bring [table][1][name]", "t2"),
        ("cluster bring [cluster][info][deep][x]", "1"),
        ("cluster bring [info]", '{"floor": 2, "deep": {"x": "1"}}'),
        ("tag bring [tag][path(rfind(/))]", "Motor"),
        ("tag bring [path(find(/))]", "Root"),
        ("tag bring [path(prefix(4))]-[path(suffix(5))]", "Root-Motor"),
        ("operator bring [main]", "true"),
    ],
)
def test_text(bring: str, text: str) -> None:
    """What is told as a text."""
    assert ask(bring).text == text


@pytest.mark.parametrize(
    ("bring", "data"),
    [
        ("operator where id = c bring.json [*][name] [*][city]", [{"name": "*"}]),
        ("operator bring.json.null [*][city]", [{"city": "San Francisco"}, {"city": "Reno"}, {"city": ""}]),
        ("operator bring.first.json [] , [name]", [{"policy": "operator", "name": "Roof"}]),
        ("operator bring.json.unique [company]", [{"company": "My Company"}, {"company": "Acme"}]),
        ("operator bring.count.json", [{"count": 3}]),
        ("operator bring.list [name]", ["Roof", "cellar", "*"]),
        ("operator bring.max.json [port]", [{"port": 32249}]),
        ("master bring.first", [KNOWN.get("m").value]),
        ("master", [KNOWN.get("m").value]),
    ],
)
def test_data(bring: str, data: Any) -> None:
    """What is told as values."""
    result = ask(bring)
    assert (result.data, result.format) == (data, "json")


@pytest.mark.parametrize(
    "bring",
    [
        "nosuch",
        "nosuch bring.first [*][id]",
        "nosuch bring.first",
        "nosuch bring.json [*][id]",
        "nosuch bring.table [*][id]",
        "nosuch bring.ip_port",
        "nosuch bring.min [port]",
        "nosuch bring.list [port]",
        "operator bring [nosuch]",
    ],
)
def test_nothing(bring: str) -> None:
    """An empty answer is `[]` over REST, and no value for a key."""
    result = ask(bring)
    assert (result.text, result.data, result.format) == ("", [], "json")


def test_table() -> None:
    """As known clients see it: an empty line, titles from the keys, a line end behind."""
    assert ask("(master,operator) bring.table [*] [*][name] [*][port]").text == (
        "\r\nPolicy   Name   Port  \r\n--------|------|-----|\r\nmaster  |hill  |32048|\r\noperator|Roof  |32148|\r\n"
        "operator|cellar|32148|\r\noperator|*     |32249|\r\n"
    )
    ordered = ask("operator bring.table.sort(1, 0) [name] [port]").data
    assert [row["name"] for row in ordered] == ["cellar", "Roof", "*"]
    assert len(ask("operator bring.table.unique [company]").data) == 2
    assert [row["city"] for row in ask("operator bring.table.sort [city]").data] == ["", "Reno", "San Francisco"]


def test_where_alone() -> None:
    """What an index may be asked."""
    assert Where.read(tokens_of("name = x and port with [1,2] and a[b] = c")).known == {"name": "x"}
