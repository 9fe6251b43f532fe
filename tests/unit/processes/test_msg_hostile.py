"""Whatever a device sends, a subscription makes rows that can be kept of it, or says in words why not."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.body import normal_form, read_body
from anylog.mapping.topics import read_topic
from anylog.processes.msg_client import MESSAGE_FAULTS
from anylog.processes.msg_topics import Subscribed, file_part

NOW = 1_800_000_000.0
TOPICS = [
    Subscribed(read_topic(text, Scope(Dictionary(), {})), 0)
    for text in (
        "(name = a and dbms = d and table = 'bring [t]' and column.v.int = 'bring [v]' and column.w.str = 'bring [w]')",
        "(name = a and dbms = d and table = t and column.v = (type = float and value = 'bring [v]' and optional = true)"
        " and column.at.timestamp = now)",
        "(name = a and dbms = d and table = t and column.v.nonetype = 'bring [v][][v]'"
        " and column.w.bool = 'bring [w]')",
        "(name = a and dbms = d and dynamic = true)",
        "(name = a and dbms = 'bring [d]' and dynamic = true and table_name_as_topic = true)",
    )
]

_LEAVES = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20)
_JSON: Any = some.recursive(
    _LEAVES,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.sampled_from("tvwdV0é "), inner, max_size=4),
    max_leaves=20,
)


def check(name: str, payload: bytes) -> None:
    for topic in TOPICS:
        try:
            made = topic.rows(name, payload, NOW)
        except AnyLogError as why:
            assert why.number in MESSAGE_FAULTS and why.detail, why
            continue
        for each in made:
            assert each.rows and each.dbms and each.table
            read_body(normal_form(each.rows))


@settings(max_examples=300, deadline=None)
@given(_JSON)
def test_any_json(value: Any) -> None:
    """JSON of any shape, with numbers of any size."""
    check("plant/a", json.dumps(value).encode())


@settings(max_examples=300, deadline=None)
@given(some.text(max_size=30), some.binary(max_size=60))
def test_any_bytes(name: str, payload: bytes) -> None:
    """Bytes of any kind, topics of any text."""
    check(name, payload)
    part = file_part(name)
    assert part and "/" not in part and "." not in part and len(part) < 64


def test_deep_and_large() -> None:
    """What is nested beyond measure is refused, what is long is taken."""
    for opens, closes in (("[", "]"), ('{"v":', "}")):
        check("a", (opens * 100_000 + "1" + closes * 100_000).encode())
        check("a", (opens * 70 + "1" + closes * 70).encode())
    check("a", json.dumps({"t": "t", "v": 1, "w": "x" * 5_000_000}).encode())
    check("a", json.dumps([{"t": "t", "v": each, "w": "x"} for each in range(20_000)]).encode())
