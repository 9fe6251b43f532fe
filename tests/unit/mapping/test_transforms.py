"""Transform policies: one flat object becomes rows of many tables (ingest.md 5.1)."""

from __future__ import annotations

from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.policies import compile_policy
from anylog.mapping.topics import Mapped
from anylog.mapping.transforms import LONGEST

NOW = 1_700_000_000.0
NOW_TEXT = "2023-11-14T22:13:20Z"
BODY: dict[str, Any] = {
    "id": "plc",
    "re_match": r"([a-z]+)_(\d+)_(.*)",
    "dbms": "plant",
    "table": "re.group(1)",
    "column": "re.group(3)",
}
MESSAGE = {"gen_1_kw": 5, "gen_1_v": 230.5, "gen_2_kw": 6, "pump_1_rpm": None, "other": 1, "at": 1700000000}


def apply(message: Any, given: dict[str, Any] | None = None, **keys: Any) -> list[Mapped]:
    found = compile_policy({"transform": {**BODY, **keys}}, Scope(Dictionary(), {}))
    return found.apply(message, NOW, **(given or {}))


def test_one_row_a_table() -> None:
    """Attributes that resolve to one table are one row; those that do not match are left out."""
    message = {"gen_1_kw": 5, "gen_1_v": 230.5, "pump_1_rpm": None, "other": 1}
    assert apply(message) == [
        Mapped("plant", "gen", [{"kw": 5, "v": 230.5}], "0", "plc"),
        Mapped("plant", "pump", [{"rpm": None}], "0", "plc"),
    ]


def test_one_row_an_id() -> None:
    """A schema column `id` parts the rows of one table; columns of the schema are in each row once."""
    schema = {
        "at": {"type": "timestamp", "bring": "[at]"},
        "id": {"type": "int", "value": "re.group(2)"},
        "made": {"type": "timestamp", "value": "now()"},
        "site": {"type": "str", "value": "north"},
        "n": {"type": "int", "bring": "[gone]", "default": 3},
    }
    static = {"at": NOW_TEXT, "made": NOW_TEXT, "site": "north", "n": 3}
    assert [(each.table, each.rows) for each in apply(MESSAGE, schema=schema)] == [
        ("gen", [{"id": 1, **static, "kw": 5, "v": 230.5}, {"id": 2, **static, "kw": 6}]),
        ("pump", [{"id": 1, **static, "rpm": None}]),
    ]


PLACES: list[tuple[dict[str, Any], Any, list[tuple[str, str, list[dict[str, Any]]]]]] = [
    ({"table": "t_re.group(1)"}, {"gen_1_kw": 5}, [("plant", "t_gen", [{"kw": 5}])]),
    ({"dbms": "re.group(1)", "table": "X y"}, {"gen_1_kw": 5}, [("gen", "x_y", [{"kw": 5}])]),
    ({"re_match": r"(a)?b(.*)", "column": "re.group(2)"}, {"bx": 1, "abx": 2}, [("plant", "a", [{"x": 2}])]),
    ({"re_match": None, "table": "t", "column": "c"}, {"x": 1}, [("plant", "t", [{"c": 1}])]),
    ({}, {"none": 1}, []),
    ({}, {}, []),
    ({}, [{"gen_1_kw": 5}, {"gen_1_kw": 6}], [("plant", "gen", [{"kw": 5}, {"kw": 6}])]),
    ({}, {"gen_1_Flow Rate": {"a": 1}}, [("plant", "gen", [{"flow_rate": {"a": 1}}])]),
    ({}, {"gen_1_" + "x" * LONGEST: 1}, []),
    ({}, {"gen_1_row_id": 1}, []),
]


@pytest.mark.parametrize(("keys", "message", "expected"), PLACES)
def test_places(keys: dict[str, Any], message: Any, expected: list[Any]) -> None:
    """Literals, groups, and groups within literals; a group that is not there does not resolve."""
    assert [(each.dbms, each.table, each.rows) for each in apply(message, **keys)] == expected


def test_the_caller_wins() -> None:
    """A database and table given by the caller have priority."""
    assert [each[:2] for each in apply({"gen_1_kw": 5}, {"dbms": "d", "table": "t"})] == [("d", "t")]


@pytest.mark.parametrize(
    ("message", "schema", "told"),
    [
        ({"gen_1_kw": 5, "gen_2_kw": 6}, {}, "policy 'plc', attribute, 'gen_2_kw': another is the column 'kw' already"),
        ({"gen_1_kw": 5}, {"at": {"type": "timestamp"}}, "policy 'plc', column 'at', 'at': no value"),
        ({"gen_1_kw": 5, "at": "x"}, {"at": {"type": "timestamp"}}, "not a time"),
        ({"gen_1_kw": float("nan")}, {}, "attribute, 'gen_1_kw': not a finite number"),
        ({"gen_1_" + "x" * 64: 1}, {}, "longer than 63 bytes"),
        ({5: 1}, {}, "a name is a text"),
        ([5], {}, "an object is needed, not 5"),
    ],
)
def test_faults(message: Any, schema: dict[str, Any], told: str) -> None:
    """What cannot be mapped names policy, attribute or column, and the reason."""
    with pytest.raises(AnyLogError) as failed:
        apply(message, schema=schema)
    assert failed.value.number == 6 and told in str(failed.value)


@pytest.mark.parametrize(
    ("keys", "number", "told"),
    [
        ({"id": None}, 170, "needs an 'id'"),
        ({"dbms": ""}, 87, "policy 'plc': 'dbms' is missing"),
        ({"re_match": "("}, 87, "'re_match'"),
        ({"re_match": 5}, 87, "'re_match'"),
        ({"re_match": None}, 87, "'re_match' has 0 groups"),
        ({"column": "re.group(4)"}, 87, "'column' \"re.group(4)\": 're_match' has 3 groups"),
        ({"schema": 5}, 87, "'schema' is an object"),
        ({"schema": {"x": 5}}, 87, "column 'x': an object is needed"),
        ({"schema": {"x": {}}}, 87, "column 'x': 'type' is missing"),
        ({"schema": {"x": {"type": "bogus"}}}, 40, "column 'x': 'bogus' is not a type"),
        ({"schema": {"insert timestamp": {"type": "timestamp"}}}, 40, "'insert_timestamp' is a column that the node"),
        ({"schema": {"x": {"type": "int", "default": "y"}}}, 87, "column 'x': not a number"),
        ({"schema": {"x": {"type": "int", "bring": "y"}}}, 2, "column 'x': 'y' names no attribute"),
    ],
)
def test_refused(keys: dict[str, Any], number: int, told: str) -> None:
    """A wrong policy is refused when it is declared."""
    with pytest.raises(AnyLogError) as refused:
        apply({}, **keys)
    assert refused.value.number == number and told in str(refused.value)
