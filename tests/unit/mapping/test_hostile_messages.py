"""Whatever a message holds, mapping gives rows that can be written, or AnyLogError 6, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.body import TooWide, normal_form
from anylog.mapping.policies import compile_policy
from anylog.mapping.topics import Mapped, read_topic

SCOPE = Scope(Dictionary(), {})
NOW = 1_700_000_000.0
KINDS = ("str", "int", "bigint", "float", "bool", "timestamp", "date", "time", "uuid", "char(3)", "nonetype")
PATHS = (
    *("[a]", "[a][b]", "[a][]", "[a][][b]", "[a][][b][][c]", "[*][b]", "[a][*][][c]", "[a]:[b]:[c][0]", "[a] _ [b][]"),
    *("[a(prefix(2))]", "[][a]", "[]", "[*]", "[a][0][b]", "[A][B]"),
)
MODS = ("", ".first", ".unique", ".sort", ".min", ".count", ".json")


def deep(levels: int, value: Any = 1) -> Any:
    """A list in a list, or an object in an object, that many levels down."""
    for level in range(levels):
        value = [value] if level % 2 else {"b": value}
    return value


EXTREMES: list[Any] = [
    *(None, True, "", " ", "x" * 100_000, "\0", "\ud800", "ü", "1e999", "9" * 10_000, "-", "2026-99-99T00:00:00Z"),
    *(0, -1, 2**63, 2**64, -(2**70), 10**10_000, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *(TooWide("9" * 40), [], {}, [[]], [{}], [None], {"b": None}, [{"b": [{"c": 1}]}], [1, 2], [1, 2, 3], b"bytes"),
    *({1: 2}, {"b": {3, 4}}, object(), deep(300), deep(5000), deep(90_000), {"b": deep(5000)}, [deep(300), deep(300)]),
]
TOPICS = [
    read_topic(
        f"( name = x and dbms = {dbms} and table = {table} and column.n.timestamp = now and"
        f" column.v = (type = {kind} and value = 'bring{mod} {path}' and optional = {optional}) )".replace("'", '"'),
        SCOPE,
    )
    for kind in KINDS
    for place, path in enumerate(PATHS)
    for mod, optional in [(MODS[place % len(MODS)], "true"), ("", "false")]
    for dbms, table in [("d", "t" if place % 3 else '"bring [b] : [a]"')]
]
TYPED = [
    read_topic(
        f'( name = x and dbms = d and table = t and column.v = (type = "bring {a}" and value = "bring {b}") )', SCOPE
    )
    for a in PATHS[:9]
    for b in PATHS[:9]
]
POLICIES = [
    compile_policy(body, SCOPE)
    for body in (
        *(
            {
                "mapping": {
                    "id": "p",
                    "dbms": "d",
                    "table": "bring [b]" if place % 4 == 3 else "t",
                    "source": {"bring": path},
                    "readings": "a" if place % 2 else "",
                    "condition": "if [a] != 1 or [b] < 5 or [c] contains x" if place % 3 else "",
                    "schema": {
                        "v": {"type": kind, "bring": path, "default": None, "root": place % 5 == 4},
                        "b": {"type": kind, "optional": True, "condition": "if [b] >= 0"},
                        "j": {"type": "str", "bring": "[a]", "apply": "json_dump", "default": ""},
                        "t": {"type": "str", "bring": "[b]", "apply": "epoch_to_datetime", "default": ""},
                        "*": {"type": "*", "bring": ["*", "b", "a"]},
                    },
                }
            }
            for kind in KINDS
            for place, path in enumerate(PATHS)
        ),
        {"transform": {"id": "t", "re_match": "(.*)", "dbms": "d", "table": "re.group(1)", "column": "c"}},
        {
            "transform": {
                "id": "t",
                "dbms": "d",
                "table": "t",
                "column": "c",
                "schema": {"id": {"type": "nonetype", "bring": "[a]", "default": 1}},
            }
        },
    )
]


def check(message: Any) -> None:
    """Every mapping answers the message with rows that can be written, or with AnyLogError 6."""
    for each in (*TOPICS, *TYPED, *POLICIES):
        try:
            found: list[Mapped] = each.apply(message, NOW)
        except AnyLogError as failed:
            assert failed.number == 6 and len(str(failed)) < 2000
        else:
            for mapped in found:
                assert mapped.rows and mapped.dbms and mapped.table
                normal_form(mapped.rows)


@pytest.mark.parametrize("place", range(len(EXTREMES)))
def test_extremes(place: int) -> None:
    """Each extreme, where a value, an object, a list or a whole message is expected."""
    value = EXTREMES[place]
    for message in (value, {"a": value}, {"a": {"b": value}}, {"a": [{"b": value}, {"b": 1}], "b": 1}, [{"a": value}]):
        check(message)


def test_two_extremes() -> None:
    """Lists of different lengths, types that do not agree, and one strange value beside another."""
    for value in EXTREMES[::3]:
        for other in EXTREMES[1::4]:
            for each in (*TOPICS[::7], *TYPED[::5], *POLICIES[::7]):
                try:
                    each.apply({"a": [{"b": value}, other], "b": [other]}, NOW)
                except AnyLogError as failed:
                    assert failed.number == 6


LONG = "x" * 1_000_000
MANY = [{"n": place} for place in range(1000)]


@pytest.mark.parametrize(
    "columns",
    [
        'column.n.int = "bring [r][][n]" and column.l.str = "bring [l]"',
        'column.l.str = "bring [l] _ [r][][n]"',
        'column.n.int = "bring [r][][n]" and column.l = (type = "bring [k][]" and value = "bring [o]")',
    ],
)
def test_a_list_does_not_multiply_a_long_text(columns: str) -> None:
    """A message of a megabyte does not become rows of a gigabyte, by a topic or by a policy."""
    message = {"l": LONG, "r": MANY, "k": ["str"] * len(MANY), "o": {"l": LONG}}
    with pytest.raises(AnyLogError):
        read_topic(f"( name = x and dbms = d and table = t and {columns} )", SCOPE).apply(message, NOW)


def test_nor_does_a_policy() -> None:
    """Nor do the readings of a policy, or the rows of a transform."""
    schema = {"n": {"type": "int"}, "l": {"type": "str", "root": True}}
    mapping = {"id": "p", "dbms": "d", "table": "t", "readings": "r", "schema": schema}
    transform = {"id": "t", "re_match": "(.*)", "dbms": "d", "table": "re.group(1)", "column": "c"}
    many = {f"a{place}": 1 for place in range(1000)}
    for body, message in (
        ({"mapping": mapping}, {"l": LONG, "r": MANY}),
        ({"transform": {**transform, "schema": {"l": {"type": "str"}}}}, {"l": LONG, **many}),
    ):
        with pytest.raises(AnyLogError, match=r"in the rows of one message|in each of many rows"):
            compile_policy(body, SCOPE).apply(message, NOW)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=12)
    | st.sampled_from(["1700000000", "2026-11-20T12:34:56Z", "int", "str", "5.5", "true"])
)
KEYS = st.sampled_from(["a", "b", "c", "A", "", "x y"]) | st.text(max_size=3)
MESSAGES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MESSAGES)
def test_any_message(message: Any) -> None:
    """Anything that JSON can say, and a little more."""
    check(message)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("bring [].:'\"()_*afixpe0\\={}") | st.characters(), max_size=60))
def test_any_declaration(text: str) -> None:
    """A declaration is read or refused, whatever is written in it."""
    body: dict[str, Any] = {"id": "p", "dbms": "d", "table": "t", "schema": {"v": {"type": "int"}}}
    for declare in (
        lambda: read_topic(text, SCOPE),
        lambda: read_topic(f"( {text} )", SCOPE),
        lambda: read_topic(f"( name = x and dbms = d and table = t and column.v.int = {text} )", SCOPE),
        lambda: compile_policy({"mapping": {**body, "dbms": text, "schema": {text: {"type": text}}}}, SCOPE),
        lambda: compile_policy({"mapping": {**body, "schema": {"v": {"type": "int", "bring": text}}}}, SCOPE),
        lambda: compile_policy({"mapping": {**body, "condition": text}}, SCOPE),
        lambda: compile_policy({"mapping": {**body, "script": f"if [a] == 1 then {text}"}}, SCOPE),
        lambda: compile_policy({"transform": {**body, "column": text, "re_match": text}}, SCOPE),
    ):
        try:
            declare()
        except AnyLogError:
            pass
