"""Topics: the grammar and the matching of the standard, in a trie as one by one; what is gone leaves nothing."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anylog.wire.topics import (
    LEVELS,
    Filters,
    Retained,
    filter_fault,
    matches,
    most_specific,
    name_fault,
    precision,
    share,
)

# Filter, topic name, whether it matches: the examples of the standard and the corners between them.
MATCHING = [
    ("sport/tennis/player1/#", "sport/tennis/player1", True),  # 4.7.1.2
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/tennis/player1/#", "sport/tennis/player2", False),
    ("sport/#", "sport", True),
    ("sport/#", "sports", False),
    ("#", "sport", True),
    ("#", "/", True),
    ("#", "a/b/c", True),
    ("sport/tennis/+", "sport/tennis/player1", True),  # 4.7.1.3
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+", "finance", True),
    ("+", "/finance", False),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+/tennis/#", "sport/tennis", True),
    ("+/tennis/#", "sport/tennis/a/b", True),
    ("sport/+/player1", "sport/tennis/player1", True),
    ("sport/+/player1", "sport/tennis/player2", False),
    ("+/+/+", "a//b", True),
    ("+/#", "a", True),
    ("+/#", "/", True),
    ("a/+/#", "a", False),
    ("a/+/#", "a/b", True),
    ("#", "$SYS/uptime", False),  # 4.7.2
    ("#", "$SYS", False),
    ("+", "$SYS", False),
    ("+/#", "$SYS/uptime", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/monitor/Clients", True),
    ("$SYS/#", "$SYS", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("$SYS/+/Clients", "$SYS/monitor/Clients", True),
    ("a/#", "a/$b", True),  # only the first level hides
    ("a/+", "a/$b", True),
    ("+/$b", "a/$b", True),
    ("Accounts", "ACCOUNTS", False),  # 4.7.3: case counts, and so does every slash
    ("Accounts payable", "Accounts payable", True),
    ("/finance", "finance", False),
    ("a/", "a", False),
    ("a", "a/", False),
    ("a//b", "a/b", False),
    ("A\u030a", "\u00c5", False),  # nothing is normalised
]

NAMES = st.lists(st.sampled_from(["", "a", "b", "$a", "$"]), min_size=1, max_size=5).map("/".join).filter(bool)
FILTERS = (
    st.tuples(st.lists(st.sampled_from(["", "a", "b", "$a", "$", "+"]), max_size=4), st.booleans())
    .map(lambda parts: "/".join([*parts[0], *(["#"] if parts[1] else [])]))
    .filter(bool)
)


def by_pattern(filter: str, topic: str) -> bool:
    """The rules of 4.7 again, written another way."""
    if topic[0] == "$" and filter[0] in "+#":
        return False
    pattern = re.escape(filter).replace(r"\+", "[^/]*").replace("/\\#", "(/.*)?").replace(r"\#", ".*")
    return re.fullmatch(pattern, topic, re.DOTALL) is not None


@pytest.mark.parametrize(("filter", "topic", "wanted"), MATCHING)
def test_matching(filter: str, topic: str, wanted: bool) -> None:
    """One filter and one name: alone, among the filters, and among what is retained."""
    assert matches(filter, topic) == by_pattern(filter, topic) == wanted
    filters: Filters[str, int] = Filters()
    filters.add(filter, "me", 1)
    assert filters.match(topic) == ([("me", 1)] if wanted else [])
    retained: Retained[int] = Retained()
    retained.set(topic, 1)
    assert retained.match(filter) == ([(topic, 1)] if wanted else [])


@given(st.lists(FILTERS, max_size=12), st.lists(NAMES, min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_the_trie_finds_what_matches(filters: list[str], names: list[str]) -> None:
    """Any filters and names: found are those that match one by one, each once a filter."""
    trie: Filters[str, str] = Filters()
    for filter in filters:
        trie.add(filter, "me", filter)
        trie.add(f"$share/g/{filter}", "us", filter)
    retained: Retained[str] = Retained()
    for name in names:
        retained.set(name, name.upper())
        wanted = sorted({filter for filter in filters if by_pattern(filter, name)})
        assert sorted(trie.match(name)) == [("me", filter) for filter in wanted]
        groups = [(share, *group.items()) for share, group in trie.match_shared(name)]
        assert sorted(groups) == [("g", ("us", filter)) for filter in wanted]
    for filter in filters:
        assert sorted(retained.match(filter)) == sorted(
            (name, name.upper()) for name in set(names) if by_pattern(filter, name)
        )


@pytest.mark.parametrize(
    ("filter", "right"),
    [
        ("#", True),
        ("+", True),
        ("/", True),
        ("a/#", True),
        ("+/a/+/#", True),
        ("a b/ü", True),
        ("", False),
        ("a#", False),
        ("#/a", False),
        ("a/#/b", False),
        ("/##", False),
        ("a+", False),
        ("+a/b", False),
        ("a/b+/c", False),
        ("$share/g/a+", False),
    ],
)
def test_filters_have_a_grammar(filter: str, right: bool) -> None:
    """[MQTT-4.7.3-1], [MQTT-4.7.1-1] and [MQTT-4.7.1-2]; a wrong one is not subscribed to, and never was."""
    assert (filter_fault(filter) == "") == right
    trie: Filters[str, int] = Filters()
    if right:
        assert trie.add(filter, "me", 1)
        assert trie.get(filter, "me") == 1 and trie.remove(filter, "me")
    else:
        with pytest.raises(ValueError):
            trie.add(filter, "me", 1)
        with pytest.raises(ValueError):
            Retained().match(filter)
        assert trie.get(filter, "me") is None and not trie.remove(filter, "me")
    assert len(trie) == 0


def test_names_have_a_grammar() -> None:
    """[MQTT-4.7.3-1] and [MQTT-4.7.0-1]."""
    assert [name_fault(name) for name in ("a", "/", "a//b", "$SYS/x", " ")] == [""] * 5
    retained: Retained[int] = Retained()
    for name in ("", "+", "a/#", "a+b"):
        assert name_fault(name)
        with pytest.raises(ValueError):
            retained.set(name, 1)
    assert len(retained) == 0


def test_share_names() -> None:
    """[MQTT-4.8.2-1] and [MQTT-4.8.2-2]."""
    for filter, wanted in [
        ("$share/g/a/b", ("g", "a/b")),
        ("$share/g//", ("g", "/")),
        ("$share/g/#", ("g", "#")),
        ("$share/$share/$share/x/y", ("$share", "$share/x/y")),
        ("$share", ("", "$share")),
        ("$shared/g/a", ("", "$shared/g/a")),
        ("a/$share/g/b", ("", "a/$share/g/b")),
    ]:
        assert share(filter) == wanted
    for filter in ("$share/", "$share//a", "$share/g", "$share/g/", "$share/g+/a", "$share/#/a", "$share/#"):
        with pytest.raises(ValueError):
            share(filter)
        with pytest.raises(ValueError):
            Filters[str, int]().add(filter, "me", 1)


def test_subscriptions_are_replaced_and_ended() -> None:
    """A filter is compared as it is; the same one of the same subscriber is one subscription ([MQTT-3.8.4-3])."""
    trie: Filters[str, int] = Filters()
    assert trie.add("a/+", "me", 1) and not trie.add("a/+", "me", 2)
    assert trie.add("a/+", "you", 3) and trie.add("a/#", "me", 4)
    assert (len(trie), trie.get("a/+", "me"), dict(trie.group("a/+"))) == (3, 2, {"me": 2, "you": 3})
    assert sorted(trie.match("a/b")) == [("me", 2), ("me", 4), ("you", 3)]
    assert not trie.remove("a/b", "me") and not trie.remove("a", "me") and not trie.remove("a/+", "them")
    assert trie.remove("a/+", "me") and not trie.remove("a/+", "me")
    assert sorted(trie.match("a/b")) == [("me", 4), ("you", 3)]
    assert trie.get("a/+", "me") is None and len(trie) == 2


def test_groups_are_apart() -> None:
    """One of each group is to be sent a message; the group is the share name and the filter (5.0, 4.8.2)."""
    trie: Filters[str, int] = Filters()
    for filter, who, value in [
        ("a/b", "me", 1),
        ("$share/g/a/b", "me", 2),
        ("$share/g/a/b", "you", 3),
        ("$share/g/a/+", "you", 4),
        ("$share/h/#", "them", 5),
    ]:
        assert trie.add(filter, who, value)
    assert trie.match("a/b") == [("me", 1)]
    found: list[Any] = [(name, dict(group)) for name, group in trie.match_shared("a/b")]
    assert sorted(found, key=str) == [("g", {"me": 2, "you": 3}), ("g", {"you": 4}), ("h", {"them": 5})]
    assert trie.match_shared("$SYS/x") == []
    assert trie.remove("$share/g/a/b", "me") and not trie.remove("$share/h/a/b", "you")
    assert trie.get("a/b", "me") == 1 and trie.get("$share/g/a/b", "you") == 3
    assert dict(trie.group("$share/g/a/b")) == {"you": 3} and not trie.group("$share/g")


@given(st.lists(st.tuples(FILTERS, st.sampled_from("xyz"), st.booleans()), max_size=20), st.randoms())
@settings(max_examples=100, deadline=None)
def test_nothing_stays_behind(changes: list[tuple[str, str, bool]], chance: Random) -> None:
    """When all subscriptions are ended the trie is as new, in whatever order they end; so with what is retained."""
    trie: Filters[str, int] = Filters()
    there = set()
    for filter, who, shared in changes:
        filter = f"$share/g/{filter}" if shared else filter
        assert trie.add(filter, who, 1) == ((filter, who) not in there)
        there.add((filter, who))
    assert len(trie) == len(there)
    ending = sorted(there)
    chance.shuffle(ending)
    for filter, who in ending:
        assert trie.remove(filter, who)
    assert len(trie) == 0 and trie._root.empty()


@given(st.lists(NAMES, max_size=20), st.randoms())
@settings(max_examples=100, deadline=None)
def test_nothing_is_retained_for_ever(names: list[str], chance: Random) -> None:
    """The last value counts, and what was removed leaves no level behind."""
    retained: Retained[int] = Retained()
    for place, name in enumerate(names):
        retained.set(name, place)
    there = {name: place for place, name in enumerate(names)}
    assert len(retained) == len(there)
    ending = sorted(there)
    chance.shuffle(ending)
    for name in ending:
        assert retained.get(name) == there.pop(name)
        assert retained.remove(name) and not retained.remove(name)
        assert retained.get(name) is None and len(retained) == len(there)
        assert dict(retained.match("#")) == {name: place for name, place in there.items() if name[0] != "$"}
    assert not retained._root.children


def test_depth_is_limited() -> None:
    """No filter and no retained name costs more than `LEVELS` levels; a deeper name still matches what it matches."""
    trie: Filters[str, int] = Filters()
    retained: Retained[int] = Retained()
    deepest = "/".join("a" * LEVELS)
    assert trie.add(deepest, "me", 1) and trie.add("a/#", "me", 2) and trie.add("/".join("+" * LEVELS), "me", 3)
    retained.set(deepest, 1)
    for filter in (f"{deepest}/a", f"{deepest}/#", f"$share/g/{deepest}/+"):
        with pytest.raises(ValueError):
            trie.add(filter, "me", 1)
        assert not trie.remove(filter, "me")
    with pytest.raises(ValueError):
        retained.set(f"{deepest}/a", 1)
    assert retained.get(f"{deepest}/a") is None and not retained.remove(f"{deepest}/a")
    assert retained.match(deepest) == [(deepest, 1)] and retained.match(f"{deepest}/#") == [(deepest, 1)]
    assert sorted(trie.match(deepest)) == [("me", 1), ("me", 2), ("me", 3)]
    assert trie.match(f"{deepest}/a") == trie.match("a" + "/" * 65_000) == [("me", 2)]


def test_groups_are_found_by_their_filter() -> None:
    """Nobody is found under a filter that leads nowhere, or only past others."""
    trie: Filters[str, int] = Filters()
    trie.add("a/b/#", "me", 1)
    for filter in ("x", "a", "a/b", "a/#", "a/+/#", "a/b/c/#", "#", "a#"):
        assert trie.group(filter) == {} and not trie.remove(filter, "me")
    assert trie.group("a/b/#") == {"me": 1}


def test_thousands_of_filters() -> None:
    """Each of many finds its own, and of the few with wildcards what they match."""
    trie: Filters[int, str] = Filters()
    for number in range(20_000):
        trie.add(f"plant/{number % 100}/sensor/{number}", number, "exact")
    trie.add("plant/+/sensor/7", -1, "plus")
    trie.add("plant/7/#", -2, "rest")
    assert sorted(trie.match("plant/7/sensor/7")) == [(-2, "rest"), (-1, "plus"), (7, "exact")]
    assert trie.match("plant/8/sensor/19908") == [(19_908, "exact")]
    assert trie.match("plant/8/sensor/7") == [(-1, "plus")]
    assert len(trie) == 20_002


@pytest.mark.parametrize(
    ("topic", "filters", "wanted"),
    [
        ("a/b", ["#", "a/#", "a/+", "a/b"], "a/b"),
        ("a/b", ["a/b/#", "a/b"], "a/b"),
        ("a/b", ["a/b/#", "a/+"], "a/b/#"),  # the longer literal beginning
        ("a/b/c", ["a/+/c", "a/b/+"], "a/b/+"),
        ("a/b/c", ["a/b/#", "a/b/+"], "a/b/+"),
        ("a/b/c", ["a/#", "+/b/c"], "a/#"),
        ("a/b/c", ["a/+/#", "a/+/c", "a/+/+"], "a/+/c"),
        ("a/b", ["a/+/#", "a/+"], "a/+"),
        ("a", ["#", "a/#", "+"], "a/#"),
        ("a", ["#", "+"], "+"),
        ("a/b", ["b", "+", "a/b/c"], None),
        ("a/b", [], None),
        ("$SYS/a", ["#", "+/a", "$SYS/#"], "$SYS/#"),
    ],
)
def test_the_most_specific(topic: str, filters: list[str], wanted: str | None) -> None:
    """Exact, then the longest literal beginning; the order in which they were declared says nothing (ingest.md 7.3)."""
    assert most_specific(filters, topic) == most_specific(filters[::-1], topic) == wanted


@given(NAMES, FILTERS, FILTERS)
@settings(max_examples=300, deadline=None)
def test_specific_is_an_order(topic: str, one: str, other: str) -> None:
    """Of two different filters that match a name one is more specific."""
    if one != other and matches(one, topic) and matches(other, topic):
        assert precision(one) != precision(other)
