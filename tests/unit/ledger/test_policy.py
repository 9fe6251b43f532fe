"""Policies: structure, ids and dates, and a set of them (metadata.md 1)."""

import json

import pytest
from registry import NOW, policy, table
from work import steps

from anylog.errors import AnyLogError
from anylog.ledger.lines import read_lines, rendered, version_of
from anylog.ledger.policies import Policies
from anylog.ledger.policy import LARGEST, Policy, new_id, prepared


@pytest.mark.parametrize(
    ("given", "number", "named"),
    [
        ("{}", 87, "0 root keys"),
        ('{"a": {}, "b": {}}', 87, "2 root keys"),
        ('{"a": 1}', 87, "1"),
        ('{"a b": {}}', 87, "a b"),
        ('{"": {}}', 87, "policy type"),
        ("[1]", 87, "no object"),
        ("{", 6, "{"),
        ('{"a": {"x": NaN}}', 6, "NaN"),
        ('{"a": {"id": {}}}', 87, "id"),
        ('{"a": {"date": []}}', 87, "date"),
        ('{"a": {"x": "\\ud800"}}', 6, "surrogate"),
        (json.dumps({"a": {"x": "y" * LARGEST}}), 87, "bytes"),
        (json.dumps({"a": {"x": "y" * LARGEST * 5}}), 87, "bytes"),
        ('{"a": {"x": ' + "[" * 60 + "]" * 60 + "}}", 87, "levels"),
        ('{"a": {"x": ' + "[" * 60_000 + "]" * 60_000 + "}}", 6, ""),
    ],
)
def test_refused(given: str, number: int, named: str) -> None:
    """What is no policy is refused by number, and the culprit is named."""
    with pytest.raises(AnyLogError) as refusal:
        Policy.read(given)
    assert refusal.value.number == number, given[:80]
    assert named in str(refusal.value), given[:80]


def test_text() -> None:
    """A policy is the same text after it was read, numbers beyond 64 bits and all."""
    for text in [
        '{"table":{"name":"t","x":[1,2.5,null,true,{"a":"é"}]}}',
        '{"a":{"big":123456789012345678901234567890,"f":1e300}}',
        '{"blockchain-info":{"a b":"c"}}',
    ]:
        once = Policy.read(text).text
        assert Policy.read(once).text == once
        assert json.loads(once) == json.loads(text)


def test_prepared() -> None:
    """Id and date are added if missing, kept if given; ports become numbers; the id does not depend on any of it."""
    given = Policy.read('{"query": {"name": "q", "port": "32348", "rest_port": 32349, "loc": "1"}}')
    done = prepared(given, NOW)
    assert (done.date, done.get("port"), done.get("loc")) == ("2026-09-21T14:13:20.000000Z", 32348, "1")
    assert len(done.id) == 32 and done.id == done.id.lower()
    assert prepared(given, NOW + 5).id == done.id
    assert new_id(done) == done.id
    assert new_id(done.having(ledger="local", signature="s", public_key="k")) == done.id
    assert prepared(done, NOW + 9).text == done.text
    own = prepared(Policy.read('{"mapping": {"id": "telegraf-mapping", "date": "x"}}'), NOW)
    assert (own.id, own.date) == ("telegraf-mapping", "x")


def test_the_same_declaration_has_one_id() -> None:
    """Two nodes that create the same table, column or cluster get one id; other things get others."""
    first = policy("table", name="t", dbms="d", create="create table t (a int)", company="c", source="node 1")
    other = policy("table", 9, create="create table t (b int)", dbms="d", name="t", company="c")
    assert first.id == other.id
    assert policy("table", name="u", dbms="d", company="c").id != first.id
    columns = [policy("column", dbms="d", table="t", name="x", type=kind, source=kind).id for kind in ("INT", "FLOAT")]
    assert columns[0] != columns[1]
    plain = policy("cluster", name="n", company="c", status="active").id
    assert plain == policy("cluster", name="n", company="c", master="1.2.3.4:5").id
    assert plain != policy("cluster", name="n", company="c", table=[{"dbms": "d", "name": "t"}]).id


def test_older_spellings() -> None:
    """`rest port` and `local ip` of older policies are read as `rest_port` and `local_ip`."""
    old = policy("operator", **{"rest port": "32149", "local ip": "10.0.0.78"})
    assert (old.whole("rest_port"), old.text_of("local_ip")) == (32149, "10.0.0.78")


class TestPolicies:
    """The set."""

    def test_order(self) -> None:
        """By date, then by arrival, whatever the order in which they came and went."""
        late, early, twin = (policy("a", seconds, name=str(seconds)) for seconds in (5, 1, 5.0))
        twin = twin.having(id="twin")
        known = Policies([late, early, twin])
        assert [each.id for each in known] == [early.id, late.id, "twin"]
        known.remove(early.id)
        known.add(early)
        assert [each.id for each in known] == [early.id, late.id, "twin"]
        assert known.types() == {"a": 3}

    def test_find(self) -> None:
        """Texts in any letter case, numbers by their worth, lists by what they hold, types apart."""
        known = Policies(
            [
                policy("operator", id="1", name="Roof", cluster="x", port=1),
                policy("operator", id="2", name="cellar", cluster="x", port=2),
                policy("query", id="3", name="roof"),
            ]
        )
        for asked, found in [
            (known.find("operator", name="ROOF"), ["1"]),
            (known.find(name="roof"), ["1", "3"]),
            (known.find("operator", "query", name="roof"), ["1", "3"]),
            (known.find("operator", cluster="x", port=2), ["2"]),
            (known.find("operator", name="attic"), []),
            (known.find("master"), []),
            (known.of_type("query", "operator"), ["1", "2", "3"]),
        ]:
            assert [each.id for each in asked] == found
        known.remove("1")
        assert [each.id for each in known.find(name="roof")] == ["3"]
        assert known.get("1") is None and "1" not in known and len(known) == 2

    def test_refusals(self) -> None:
        """Twice the same id, or none."""
        known = Policies([policy("a", id="1")])
        with pytest.raises(AnyLogError, match="id 1"):
            known.add(policy("b", id="1"))
        with pytest.raises(AnyLogError, match="no id"):
            known.add(Policy("b", {}))

    def test_tables(self) -> None:
        """Tables are found in any spelling of their names."""
        known = Policies([table("Air-Quality", "My Town")])
        assert known.of_table("table", "my_town", "air_quality")
        assert known.of_table("table", "MY TOWN", "Air Quality")
        assert not known.of_table("column", "my_town", "air_quality")

    def test_ten_thousand(self) -> None:
        """Look-ups are by index: they are as much work among 10,000 policies as among a hundred."""

        def work(count: int) -> int:
            known = Policies(
                prepared(Policy("table", {"name": f"t{at}", "dbms": f"d{at % 5}", "parent": f"p{at}"}), NOW + at)
                for at in range(count)
            )
            ids = [each.id for each in known]
            known.find(parent="p0")  # the index of the parents is made

            def look_up() -> None:
                for at in range(0, 100, 10):
                    assert known.get(ids[at])
                    assert len(known.find("table", name=f"T{at}", dbms=f"d{at % 5}")) == 1
                    assert len(known.find(parent=f"p{at}")) == 1
                    assert len(known.of_table("table", f"d{at % 5}", f"t{at}")) == 1

            return steps(look_up)

        assert work(10_000) < 1.1 * work(100)  # a few steps more or less: where texts meet in a table is chance


def test_lines() -> None:
    """A line that is no policy is named by its number and left out; what was read is what was written."""
    first, second = policy("a", name="1"), policy("b", 1, name="2")
    data = rendered([first, second], [policy("deleted", id="x")])
    lines = read_lines(data)
    assert [each.id for each in lines.policies] == [first.id, second.id]
    assert [each.id for each in lines.tombstones] == ["x"]
    assert not lines.faults
    assert rendered(lines.policies, lines.tombstones) == data
    broken = data.replace(b'"b":', b'"b"', 1) + b'{"c":{}}\n\xff\xfe\n' + data
    lines = read_lines(broken)
    assert [each.id for each in lines.policies] == [first.id, second.id]
    assert [number for number, _ in lines.faults] == [2, 4, 5, 6]  # and a tombstone may come twice
    assert rendered([]) == b"" and version_of(b"") == "d41d8cd98f00b204e9800998ecf8427e"
