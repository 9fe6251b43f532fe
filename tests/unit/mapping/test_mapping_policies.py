"""Mapping policies: one row a rule of ingest.md 5."""

from __future__ import annotations

from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.policies import MOST_CHANGES, MappingPolicy, compile_policy
from anylog.mapping.topics import Mapped

NOW = 1_700_000_000.0
NOW_TEXT = "2023-11-14T22:13:20Z"
CREATED = "2023-11-14T22:13:20.123000Z"
DICTIONARY = Dictionary()
DICTIONARY.set("wanted", "Temperature")
SCOPE = Scope(DICTIONARY, {})


def policy(schema: dict[str, Any], *imported: dict[str, Any], **keys: Any) -> MappingPolicy:
    body = {"id": "p", "dbms": "d", "table": "t", "schema": schema, **keys}
    known = {each["id"]: {"mapping": each} for each in imported}
    found = compile_policy({"mapping": body}, SCOPE, known.get)
    assert isinstance(found, MappingPolicy)
    return found


def rows(message: Any, schema: dict[str, Any], *imported: dict[str, Any], **keys: Any) -> list[dict[str, Any]]:
    return [row for each in policy(schema, *imported, **keys).apply(message, NOW) for row in each.rows]


V = {"type": "float", "bring": "[value]"}
MESSAGE: dict[str, Any] = {
    "device": "d 1",
    "created": 1700000000123,
    "value": 1.5,
    "none": None,
    "blank": "",
    "bad": "x",
    "obj": {"a": 1, "B b": [1, 2]},
    "readings": [
        {"name": "Temperature", "value": "12.5", "at": 1700000000},
        {"name": "Mode", "value": "Cool", "at": 1700000001},
    ],
    "one": {"value": 7},
    "My Col": 3,
}

RULES: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    ({"v": V}, [{"v": 1.5}]),
    ({"v": {"type": "float", "bring": "bring [value]"}}, [{"v": 1.5}]),
    ({"v": {"type": "float", "value": "bring [value]"}}, [{"v": 1.5}]),
    ({"v": {"type": "float", "value": 7}}, [{"v": 7}]),
    ({"v": {"type": "str", "value": "literal"}}, [{"v": "literal"}]),
    ({"v": {"type": "timestamp", "value": "now()"}}, [{"v": NOW_TEXT}]),
    # by the column's own name: exact, in any letter case, normalised
    ({"value": {"type": "float"}}, [{"value": 1.5}]),
    ({"VALUE": {"type": "float"}}, [{"value": 1.5}]),
    ({"my_col": {"type": "int"}}, [{"my_col": 3}]),
    ({"My Col": {"type": "int"}}, [{"my_col": 3}]),
    # order of the schema, concatenation
    ({"b": V, "a": {"type": "str", "bring": "[device] _ [value]"}}, [{"b": 1.5, "a": "d 1_1.5"}]),
    # defaults
    ({"v": {"type": "int", "bring": "[gone]", "default": 5}}, [{"v": 5}]),
    ({"v": {"type": "int", "default": "5"}}, [{"v": 5}]),
    ({"v": {"type": "int", "bring": "[gone]", "default": None}}, [{"v": None}]),
    ({"v": {"type": "str", "bring": "[gone]", "default": "''"}}, [{"v": ""}]),
    ({"v": {"type": "str", "bring": "[gone]", "default": ""}}, [{"v": ""}]),
    ({"v": {"type": "timestamp", "bring": "[gone]", "default": "''"}}, [{"v": None}]),
    ({"v": {"type": "timestamp", "bring": "[gone]", "default": "now()"}}, [{"v": NOW_TEXT}]),
    ({"v": {"type": "str", "bring": "[gone]", "default": "now"}}, [{"v": NOW_TEXT}]),
    ({"v": {"type": "timestamp", "bring": "[bad]", "default": "now()"}}, [{"v": NOW_TEXT}]),
    ({"v": {"type": "int", "bring": "[blank]", "default": 5}}, [{"v": 5}]),
    ({"v": {"type": "str", "bring": "[blank]", "default": "x"}}, [{"v": ""}]),
    ({"v": V, "w": {"type": "int", "bring": "[gone]", "optional": True}}, [{"v": 1.5}]),
    # null stays
    ({"v": {"type": "int", "bring": "[none]"}}, [{"v": None}]),
    ({"v": {"type": "int", "bring": "[none]", "default": 5}}, [{"v": None}]),
    # apply
    (
        {"v": {"type": "timestamp", "bring": "[created]", "apply": "epoch_to_datetime"}},
        [{"v": f"{NOW_TEXT[:-1]}.123000Z"}],
    ),
    ({"v": {"type": "str", "bring": "[created]", "apply": "epoch_to_datetime"}}, [{"v": f"{NOW_TEXT[:-1]}.123000Z"}]),
    ({"v": {"type": "str", "bring": "[bad]", "apply": "epoch_to_datetime"}}, [{"v": "x"}]),
    ({"v": {"type": "str", "bring": "[obj]", "apply": "json_dump"}}, [{"v": '{"a":1,"B b":[1,2]}'}]),
    ({"v": {"type": "str", "bring": "[device]", "apply": "json_dump"}}, [{"v": '"d 1"'}]),
    ({"v": {"type": "varchar", "bring": "[obj]"}}, [{"v": '{"a":1,"B b":[1,2]}'}]),
    # a list inside a reading
    ({"v": {"type": "str", "bring": "[readings][][name]"}}, [{"v": '["Temperature","Mode"]'}]),
    ({"v": {"type": "int", "bring": "[one][][value]"}}, [{"v": 7}]),
    # *
    ({"*": {"type": "*", "bring": ["value", "none", "gone"]}}, [{"value": 1.5, "none": None}]),
    ({"*": {"type": "*", "bring": ["obj"]}}, [{"obj_a": 1, "obj_b_b": [1, 2]}]),
    ({"*": {"type": "*", "bring": "[one]"}}, [{"one_value": 7}]),
    ({"*": {"type": "*", "bring": ["value"]}, "value": {"type": "int", "value": 9}}, [{"value": 9}]),
    ({"*": {"type": "*", "bring": ["value"]}, "v": V, "value": {"type": "int", "script": "if [gone]"}}, [{"v": 1.5}]),
    ({"v": V, "*": {"type": "*", "bring": ["My Col"]}}, [{"v": 1.5, "my_col": 3}]),
    # names that hold only scripts
    ({"__x__": {"script": ["if [gone] == 1 then skip event"]}, "v": V}, [{"v": 1.5}]),
    ({"__x__": {"script": ["if [value] == 1.5 then skip event"]}, "v": V}, []),
    ({"__error__": "kept by others", "v": V}, [{"v": 1.5}]),
    # conditions and lists of rules
    ({"v": V, "w": {"type": "int", "value": 1, "condition": "if [device] == other"}}, [{"v": 1.5}]),
    ({"v": V, "w": {"type": "int", "value": 1, "condition": "if [device] == 'd 1'"}}, [{"v": 1.5, "w": 1}]),
    (
        {"w": [{"type": "int", "value": 1, "condition": "if [value] > 2"}, {"type": "int", "value": 2}]},
        [{"w": 2}],
    ),
    (
        {"w": [{"type": "int", "value": 1, "condition": "if [value] > 1"}, {"type": "int", "value": 2}]},
        [{"w": 1}],
    ),
    (
        {"v": V, "w": [{"type": "int", "value": 1, "table": "Other"}, {"type": "int", "value": 2, "table": "T"}]},
        [{"v": 1.5, "w": 2}],
    ),
    ({"v": V, "w": [{"type": "int", "value": 1, "dbms": "D"}, {"type": "int", "value": 2}]}, [{"v": 1.5, "w": 1}]),
    ({"v": V, "w": {"type": "int", "value": 1, "dbms": "other"}}, [{"v": 1.5}]),
    # nothing but what is skipped: no row
    ({"w": {"type": "int", "value": 1, "condition": "if [device] == other"}}, []),
]


@pytest.mark.parametrize(("schema", "expected"), RULES, ids=str)
def test_rules(schema: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    """A column for each rule that applies, in the order of the schema."""
    found = rows(MESSAGE, schema)
    assert found == expected
    assert [list(row) for row in found] == [list(row) for row in expected]


def test_all_attributes() -> None:
    """`*` copies what the reading has; what it holds stays what it is, and columns of the system are left out."""
    found = rows({"A": 1, "b-c": "x", "o": {"d": [1]}, "row_id": 5}, {"*": {"type": "*", "bring": ["*"]}})
    assert found == [{"a": 1, "b_c": "x", "o": {"d": [1]}}]


READINGS: list[tuple[Any, dict[str, Any], list[dict[str, Any]]]] = [
    ("readings", {"n": {"type": "str", "bring": "[name]"}}, [{"n": "Temperature"}, {"n": "Mode"}]),
    ("[readings]", {"n": {"type": "str", "bring": "[name]"}}, [{"n": "Temperature"}, {"n": "Mode"}]),
    ("", {"v": V}, [{"v": 1.5}]),
    (None, {"v": V}, [{"v": 1.5}]),
    ("one", {"v": V}, [{"v": 7}]),
    ("none", {"v": V}, []),
    (
        "readings",
        {"n": {"type": "str", "bring": "[name]"}, "d": {"type": "str", "bring": "[device]", "root": True}},
        [{"n": "Temperature", "d": "d 1"}, {"n": "Mode", "d": "d 1"}],
    ),
    (
        "readings",
        {
            "at": {"type": "timestamp", "bring": "[at]"},
            "temperature": {"type": "decimal", "bring": "[value]", "condition": "if [name] == !wanted"},
            "mode": {"type": "string", "bring": "[value]", "condition": "if [name] == Mode"},
        },
        [{"at": NOW_TEXT, "temperature": 12.5}, {"at": "2023-11-14T22:13:21Z", "mode": "Cool"}],
    ),
    (
        "readings",
        {"n": {"type": "str", "bring": "[name]"}, "__s__": {"script": "if [name] == Mode then skip event"}},
        [{"n": "Temperature"}],
    ),
    ("one", {"*": {"type": "*", "bring": ["device"], "root": True}, "v": V}, [{"device": "d 1", "v": 7}]),
]


@pytest.mark.parametrize(("readings", "schema", "expected"), READINGS)
def test_readings(readings: Any, schema: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    """A row for each reading of the list that is named; a single one needs no list."""
    assert rows(MESSAGE, schema, readings=readings) == expected


def test_a_list_is_as_many_messages() -> None:
    """A message that is a list has one reading in each entry, each with its own condition and table."""
    found = policy({"v": V}, table="bring [device]", condition="if [device] != 'd 2'").apply(
        [{"device": "d 1", "value": 1}, {"device": "d 2", "value": 2}, {"device": "d 1", "value": 3}], NOW
    )
    assert found == [Mapped("d", "d_1", [{"v": 1}, {"v": 3}], "0", "p")]


@pytest.mark.parametrize(
    ("keys", "given", "expected"),
    [
        ({"dbms": "My-Db", "table": "T 1"}, {}, ("my_db", "t_1")),
        ({"table": "bring [device] _x"}, {}, ("d", "d_1_x")),
        ({"table": "bring [gone]"}, {"table": "given"}, ("d", "given")),
        ({"dbms": "bring [device]"}, {"dbms": "given"}, ("given", "t")),
    ],
)
def test_where_it_goes(keys: dict[str, Any], given: dict[str, str], expected: tuple[str, str]) -> None:
    """Literal or `bring`; what the caller gives has priority."""
    assert [each[:2] for each in policy({"v": V}, **keys).apply(MESSAGE, NOW, **given)] == [expected]


def test_a_table_for_each_reading() -> None:
    """A path through the list of readings is evaluated for each."""
    found = policy({"n": {"type": "str", "bring": "[name]"}}, readings="readings", table="bring [readings][][name]")
    assert [(each.table, len(each.rows)) for each in found.apply(MESSAGE, NOW)] == [("temperature", 1), ("mode", 1)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "0"),
        ({"bring": "[device]"}, "d_1"),
        ({"bring": "[gone]"}, "0"),
        ({"bring": "[blank]", "default": "My X"}, "my_x"),
        ({"default": "x"}, "x"),
        ("bring [device]", "d_1"),
        ("plain", "plain"),
        ({"bring": "[obj]"}, "0"),
    ],
)
def test_source(source: Any, expected: str) -> None:
    """The id of the data source, normalised; 0 if nothing is found. The rows carry the policy's id."""
    (found,) = policy({"v": V}, **({"source": source} if source else {})).apply(MESSAGE, NOW)
    assert (found.source, found.policy) == (expected, "p")


SCRIPTS: list[tuple[dict[str, Any], bool]] = [
    ({"condition": "if [device] == 'd 1'"}, True),
    ({"condition": "if [device] == other"}, False),
    ({"condition": "if [gone] == other"}, False),
    ({"condition": "if [one][value] == 7"}, True),
    ({"condition": "if ([value] > 1 and [value] < 2) or [gone]"}, True),
    ({"script": "if [device] == 'd 1'"}, True),
    ({"script": ["if [device] == other then skip event"]}, True),
    ({"script": ["if [device] == 'd 1' then skip event"]}, False),
    ({"script": ["if [device] == 'd 1' then exit script", "skip event"]}, True),
    ({"script": ["if [device] == other then exit script", "skip event"]}, False),
    ({"script": ["if [device] == other then exit script", "else skip event"]}, False),
    ({"script": ["if [device] == 'd 1' then exit script", "else skip event"]}, True),
    ({"script": ["if [value] > 9 then skip event", "else if [value] > 1 then skip event"]}, False),
    ({"script": ["if [value] > 9 then skip event", "else if [value] > 8 then skip event"]}, True),
    ({"script": ["if [value] > 1 then", "do skip event"]}, False),
    ({"script": ["if [value] > 9 then", "do skip event"]}, True),
    ({"script": ["if [value] > 1 then", "else skip event"]}, True),
    ({"script": ["if [value] > 9 then", "else skip event"]}, False),
    ({"script": ["if [value] > 1 then do skip event"]}, False),
    ({"script": ["IF [value] > 1 THEN Skip Event"]}, False),
    ({"script": ["", "  "]}, True),
    ({"script": []}, True),
]


@pytest.mark.parametrize(("keys", "taken"), SCRIPTS, ids=str)
def test_scripts_of_a_policy(keys: dict[str, Any], taken: bool) -> None:
    """A condition that is false, or `skip event`: the policy is not for this message, which is no error."""
    assert rows(MESSAGE, {"v": V}, **keys) == ([{"v": 1.5}] if taken else [])


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (["if [value] > 1 then skip attribute"], [{"v": 1.5}]),
        (["if [value] > 9 then skip attribute"], [{"v": 1.5, "w": 1}]),
        (["if [value] > 1 then exit script", "skip event"], [{"v": 1.5, "w": 1}]),
        (["if [value] > 1 then skip event"], []),
        (["skip attribute"], [{"v": 1.5}]),
        ("if [value] > 9", [{"v": 1.5}]),
    ],
)
def test_scripts_of_a_column(script: Any, expected: list[dict[str, Any]]) -> None:
    """Skip the column, skip the reading, or leave the script and take it."""
    assert rows(MESSAGE, {"v": V, "w": {"type": "int", "value": 1, "script": script}}) == expected


def test_params() -> None:
    """The schema is run once for each list of params."""
    found = rows(
        {"t": 5, "a": {"x": 1}, "b": {"x": 2}},
        {
            "t": {"type": "int", "bring": "[t]"},
            "name": {"type": "str", "value": "params.1"},
            "v": {"type": "int", "bring": "[params.0][x]"},
            "d": {"type": "int", "bring": "[gone]", "default": "params.2"},
        },
        params=[["a", "one", 7], ["b", "two", 8]],
    )
    assert found == [{"t": 5, "name": "one", "v": 1, "d": 7}, {"t": 5, "name": "two", "v": 2, "d": 8}]


OTHER = {"id": "other id", "dbms": "d2", "table": "t2", "schema": {"w": {"type": "int", "value": 2}}}


def test_change_of_policy() -> None:
    """A script hands the message, or a reading, to a policy it imports; the rows carry that one's id."""
    for keys in (
        {"script": ["if [value] > 1 then change policy alt"], "schema": {"v": V}},
        {"schema": {"v": {**V, "script": ["if [value] > 1 then change policy to alt"]}}},
        {"schema": {"v": V, "__s__": {"script": ["change policy 'alt'"]}}},
        {"schema": {"*": {"type": "*", "bring": ["*"], "script": ["change policy alt"]}}},
    ):
        body = {**keys, "import": {"alt": "other id"}}
        found = policy(body.pop("schema"), OTHER, **body)
        assert found.apply(MESSAGE, NOW) == [Mapped("d2", "t2", [{"w": 2}], "0", "other id")]
        assert [each[:2] for each in found.apply(MESSAGE, NOW, dbms="x", table="y")] == [("x", "y")]
    found = policy(
        {"n": {"type": "str", "bring": "[name]", "script": ["if [name] == Mode then change policy alt"]}},
        OTHER,
        readings="readings",
        **{"import": {"alt": "other id"}},
    )
    assert [(each.table, each.rows) for each in found.apply(MESSAGE, NOW)] == [
        ("t", [{"n": "Temperature"}]),
        ("t2", [{"w": 2}]),
    ]


def test_policies_that_change_to_one_another() -> None:
    """A circle of policies is an error, not a loop."""
    for schema, keys in (
        ({"v": V}, {"script": ["change policy back"]}),
        ({"v": {**V, "script": ["change policy back"]}}, {}),
    ):
        other = {**OTHER, "schema": schema, "import": {"back": "p"}, **keys}
        found = policy(schema, other, **{"import": {"back": "other id"}, **keys})
        with pytest.raises(AnyLogError, match=f"changed more than {MOST_CHANGES} times"):
            found.apply(MESSAGE, NOW)


FAULTS: list[tuple[Any, dict[str, Any], dict[str, Any], str]] = [
    (MESSAGE, {"v": {"type": "int", "bring": "[gone]"}}, {}, "policy 'p', column 'v', '[gone]': no value"),
    (MESSAGE, {"gone": {"type": "int"}}, {}, "policy 'p', column 'gone', '[gone]': no value"),
    (MESSAGE, {"v": {"type": "int", "bring": "[bad]", "default": 5}}, {}, "column 'v', '[bad]': not a number: \"x\""),
    (MESSAGE, {"v": {"type": "timestamp", "bring": "[bad]"}}, {}, "column 'v', '[bad]': not a time"),
    (MESSAGE, {"v": V}, {"readings": "gone"}, "policy 'p', the readings, 'gone': not in the message"),
    (MESSAGE, {"v": V}, {"table": "bring [gone]"}, "policy 'p', the table, 'bring [gone]': no value"),
    (MESSAGE, {"v": V}, {"dbms": "bring [obj]"}, "policy 'p', the database, 'bring [obj]': no name"),
    (
        {**MESSAGE, "device": "x" * 64},
        {"v": V},
        {"source": {"bring": "[device]"}},
        "policy 'p', the source, '[device]': the source 'xxx",
    ),
    (MESSAGE, {"v": V}, {"table": "bring [readings][][name]"}, "2 names for 1 readings"),
    ("text", {"v": V}, {}, "policy 'p': an object is needed, not \"text\""),
    ([1], {"v": V}, {}, "policy 'p': an object is needed, not 1"),
    (MESSAGE, {"v": V}, {"condition": "if [value] > !n.int"}, "policy 'p': 'if [value] > !n.int'"),
    ({"x" * 64: 1}, {"*": {"type": "*", "bring": ["*"]}}, {}, "policy 'p', column '*'"),
    ({"x": float("nan")}, {"*": {"type": "*", "bring": ["*"]}}, {}, "not a finite number"),
]


@pytest.mark.parametrize(("message", "schema", "keys", "told"), FAULTS, ids=lambda value: "")
def test_faults(message: Any, schema: dict[str, Any], keys: dict[str, Any], told: str) -> None:
    """What cannot be mapped names policy, column, path and reason."""
    DICTIONARY.set("n", "x")
    with pytest.raises(AnyLogError) as failed:
        policy(schema, **keys).apply(message, NOW)
    assert failed.value.number == 6 and told in str(failed.value)


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"id": ""}, 170, "needs an 'id'"),
    ({"dbms": ""}, 87, "policy 'p': 'dbms' is missing"),
    ({"table": 5}, 87, "'table' is missing"),
    ({"schema": {}}, 87, "'schema' is missing"),
    ({"schema": {"v": 5}}, 87, "column 'v': an object or a list of objects is needed"),
    ({"schema": {"tsd_id": V}}, 40, "policy 'p': column 'tsd_id': 'tsd_id' is a column that the node fills itself"),
    ({"schema": {"v": []}}, 87, "column 'v': an object or a list"),
    ({"schema": {"v": {}}}, 87, "column 'v': 'type' is missing"),
    ({"schema": {"v": {"type": "bogus"}}}, 40, "column 'v': 'bogus' is not a type of a column"),
    ({"schema": {"v": {"type": "*"}}}, 87, "the type '*' is of the column '*' alone"),
    ({"schema": {"v": V, "V": V}}, 87, "column 'V' is in the schema twice"),
    ({"schema": {"v": {"type": "int", "bring": "value"}}}, 2, "names no attribute"),
    ({"schema": {"v": {"type": "int", "bring": ["a"]}}}, 87, "'bring' is a path such as [a][b]"),
    ({"schema": {"v": {"type": "int", "value": "x"}}}, 87, "'value' \"x\" of the type int: not a number"),
    ({"schema": {"v": {"type": "int", "default": "x"}}}, 87, "'default' \"x\" of the type int: not a number"),
    ({"schema": {"v": {"type": "int", "default": "now()"}}}, 87, "of the type int: not a number"),
    ({"schema": {"v": {**V, "apply": "bogus"}}}, 87, "'apply' is one of epoch_to_datetime, json_dump"),
    ({"schema": {"v": {**V, "blob": True, "hash": "md5"}}}, 237, "column 'v': blobs in messages are not in this build"),
    ({"schema": {"v": {**V, "apply": "base64decoding"}}}, 237, "not in this build"),
    ({"schema": {"v": {**V, "condition": "if"}}}, 87, "'condition' of the column, 'if'"),
    ({"schema": {"v": {**V, "condition": "[a] == b"}}}, 87, "a script of a mapping may"),
    ({"schema": {"v": {**V, "script": ["x = 5"]}}}, 87, "a script of a mapping may"),
    ({"schema": {"v": {**V, "script": ["if [a] == 1 then print x"]}}}, 87, "a script of a mapping may"),
    ({"schema": {"v": {**V, "script": 5}}}, 87, "a text or a list of lines is needed"),
    ({"schema": {"v": {**V, "script": "skip event", "condition": "if [a]"}}}, 87, "one of them is enough"),
    (
        {"schema": {"v": {**V, "script": "change policy x"}}},
        87,
        "changes to the policy 'x', which 'import' does not name",
    ),
    ({"schema": {"v": {**V, "dbms": 5}}}, 87, "'dbms' is a name"),
    ({"schema": {"*": {"type": "int", "bring": ["*"]}}}, 87, "column '*': its type is '*', too"),
    ({"schema": {"*": {"type": "*"}}}, 87, "column '*': 'bring' is a list of attributes"),
    ({"readings": 5}, 87, "'readings' is the name of an attribute"),
    ({"condition": ["if [a"]}, 87, "missing ']'"),
    ({"import": ["x"]}, 87, "'import' is an object"),
    ({"import": {"x": "gone"}}, 113, "import 'x': no mapping policy 'gone'"),
    ({"params": "x"}, 87, "'params' is a list of lists"),
    ({"params": [["a"]], "schema": {"v": {"type": "int", "value": "params.1"}}}, 87, "there are 1 params"),
    ({"source": 5}, 87, "'source' is an object"),
    ({"dbms": "x" * 64}, 40, "longer than 63 bytes"),
]


@pytest.mark.parametrize(("keys", "number", "told"), REFUSED, ids=lambda value: "")
def test_refused(keys: dict[str, Any], number: int, told: str) -> None:
    """A wrong policy is refused when it is declared, by name."""
    with pytest.raises(AnyLogError) as refused:
        compile_policy({"mapping": {"id": "p", "dbms": "d", "table": "t", "schema": {"v": V}, **keys}}, SCOPE)
    assert refused.value.number == number and told in str(refused.value)


def test_other_policies_are_refused() -> None:
    """Only mapping and transform policies map."""
    for body in ({}, {"table": {}}, {"mapping": 5}, {"transform": []}):
        with pytest.raises(AnyLogError, match="neither a 'mapping' nor a 'transform' policy"):
            compile_policy(body, SCOPE)


def test_types() -> None:
    """The table of a policy: types of the schema, for its destination, of several rules the wider; `*` is inferred."""
    found = policy(
        {
            "t": {"type": "timestamp"},
            "v": [{"type": "int", "table": "t"}, {"type": "float", "table": "t"}, {"type": "str", "table": "u"}],
            "c": {"type": "char(3)"},
            "n": {"type": "nonetype"},
        }
    )
    assert found.types("d", "t") == {"t": "TIMESTAMP", "v": "FLOAT", "c": "CHAR(3)"}
    assert found.types("d", "u", ("p",)) == {"t": "TIMESTAMP", "v": "VARCHAR", "c": "CHAR(3)"}
    assert found.types("d", "u") == found.types("e", "t") == {}
    assert not found.inferred and policy({"*": {"type": "*", "bring": ["*"]}}).inferred


def test_types_of_imported_policies() -> None:
    """Each table has the columns of the policies that are for it, or that made rows for it."""
    other = {"id": "o", "dbms": "d", "table": "bring [name]", "schema": {"v": {"type": "str"}}}
    found = policy({"v": {"type": "float"}, "w": {"type": "int"}}, other, **{"import": {"other": "o"}})
    assert found.types("d", "t") == {"v": "FLOAT", "w": "INT"}
    assert found.types("d", "pump") == {} and found.types("d", "pump", ("o",)) == {"v": "VARCHAR"}


def test_mapped_before() -> None:
    """A row of a file that has nothing but columns of the schema was mapped by the node that took it in."""
    found = policy({"ts": {"type": "timestamp"}, "My V": {"type": "int", "bring": "[value]"}})
    for row, expected in [({"ts": 1, "my_v": 2}, True), ({"my_v": 2}, True), ({"value": 2}, False), ({}, False)]:
        assert found.is_mapped(row) is expected, row


def test_partitioned_by() -> None:
    """The column of the partitions must be in the schema."""
    found = policy({"ts": {"type": "timestamp"}})
    found.require("ts")
    found.require("insert_timestamp")
    with pytest.raises(AnyLogError, match="has no column 'at', by which its table is partitioned"):
        found.require("at")


@pytest.mark.parametrize(
    ("schema", "keys"),
    [
        ({"*": {"type": "*", "bring": ["gone"]}}, {}),
        ({"v": {"type": "int", "bring": "[gone]", "optional": True}}, {}),
        ({"*": {"type": "*", "bring": ["gone"]}}, {"readings": "readings"}),
        ({"v": {"type": "int", "bring": "[params.0]", "optional": True}}, {"params": [["gone"], ["lost"]]}),
    ],
)
def test_no_value_at_all(schema: dict[str, Any], keys: dict[str, Any]) -> None:
    """Nothing was skipped, and nothing was found: the message would be gone unseen."""
    with pytest.raises(AnyLogError, match="policy 'p': none of the columns has a value"):
        rows(MESSAGE, schema, **keys)


@pytest.mark.parametrize(
    ("message", "schema", "keys", "wanted"),
    [
        (MESSAGE, {"v": {**V, "condition": "if [device] == other"}}, {}, []),
        (MESSAGE, {"v": {**V, "table": "other"}, "*": {"type": "*", "bring": ["gone"]}}, {}, []),
        (MESSAGE, {"*": {"type": "*", "bring": ["value"], "condition": "if [device] == other"}}, {}, []),
        (MESSAGE, {"*": {"type": "*", "bring": ["gone"]}}, {"condition": "if [device] == other"}, []),
        ({"readings": []}, {"*": {"type": "*", "bring": ["gone"]}}, {"readings": "readings"}, []),
        ({"readings": [{}, {"a": 1}]}, {"*": {"type": "*", "bring": ["*"]}}, {"readings": "readings"}, [{"a": 1}]),
    ],
)
def test_skipped_or_partly_empty(
    message: dict[str, Any], schema: dict[str, Any], keys: dict[str, Any], wanted: list[dict[str, Any]]
) -> None:
    """What is skipped is no error, nor is a reading without values among others."""
    assert rows(message, schema, **keys) == wanted
