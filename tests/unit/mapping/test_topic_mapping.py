"""Topics: what may be declared (ingest.md 4.1), and what a message becomes (4.3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.bring import MISSING
from anylog.mapping.parts import Parts
from anylog.mapping.topics import Mapped, Topic, read_topic

NOW = 1_700_000_000.25
NOW_TEXT = "2023-11-14T22:13:20.250000Z"


def scope(**values: Any) -> Scope:
    """A dictionary with these values."""
    dictionary = Dictionary()
    for key, value in values.items():
        dictionary.set(key, value)
    return Scope(dictionary, {})


def topic(text: str, **values: Any) -> Topic:
    return read_topic(f"( {text} )", scope(**values))


def mapped(columns: str, message: Any, places: str = "dbms = d and table = t") -> list[Mapped]:
    return topic(f"name = x and {places} and {columns}").apply(message, NOW)


def rows(columns: str, message: Any) -> list[dict[str, Any]]:
    """The rows of the one table."""
    found = mapped(columns, message)
    assert [(each.dbms, each.table) for each in found] == [("d", "t")]
    return found[0].rows


MESSAGE: dict[str, Any] = {
    "dbms": "My-Plant",
    "m": {"a": "Pump 7", "b": 12},
    "ts": "2026-11-20T12:34:56Z",
    "value": "1.5",
    "none": None,
    "blank": "",
    "bad": "x",
    "readings": [
        {"value": 1, "name": "One", "type": "int", "at": 1700000000},
        {"value": 2, "name": "two", "type": "str", "at": 1700000001},
        {"value": 3, "name": "one", "type": "float", "at": 1700000002},
    ],
    "gaps": [{"value": 1}, {}, {"value": 3}],
    "pair": [{"value": 1}, {"value": 2}],
    "no": [],
    "what": "int",
}
C = 'column.v.float = "bring [value]"'

ROWS: list[tuple[str, list[dict[str, Any]]]] = [
    ('column.ts.timestamp = "bring [ts]" and column.v.float = "bring [value]"', [{"ts": MESSAGE["ts"], "v": 1.5}]),
    ("column.v.float = bring [value]", [{"v": 1.5}]),
    ("column.v = (type = float and value = bring [value])", [{"v": 1.5}]),
    ('column.v=(value="bring [value]" and optional=false and type=float)', [{"v": 1.5}]),
    ('column.v = ( optional = true and type = "bring [what]" and value = "bring [m][b]" )', [{"v": 12}]),
    ("column.t.timestamp = now", [{"t": NOW_TEXT}]),
    ("column.t.timestamp = now()", [{"t": NOW_TEXT}]),
    ('column.t.timestamp = "now()"', [{"t": NOW_TEXT}]),
    ("column.t = (type = str and value = NOW)", [{"t": NOW_TEXT}]),
    ("column.l.int = 5 and column.s.str = 5 and column.q.str = 'a b'", [{"l": 5, "s": "5", "q": "a b"}]),
    ("column.b.bool = true", [{"b": True}]),
    ("column.at.timestamp = 1700000000", [{"at": "2023-11-14T22:13:20Z"}]),
    ("column.My-Col.str = x and column.'other one'.str = y", [{"my_col": "x", "other_one": "y"}]),
    ("column.7.int = 1", [{"_7": 1}]),
    ("column.j.str = bring [pair][][value] separator = ','", [{"j": "1,2"}]),
    ('column.j = (type = str and value = "bring.first [pair][][value]")', [{"j": "1"}]),
    ("column.a.b.int = 1", [{"a_b": 1}]),
    ("column.c.char(5) = abc", [{"c": "abc"}]),
    # optional, null, and texts that are empty
    (f"{C} and column.g = (type = str and value = bring [gone] and optional = true)", [{"v": 1.5}]),
    (f"{C} and column.n.int = bring [none]", [{"v": 1.5, "n": None}]),
    (f"{C} and column.e.str = bring [blank]", [{"v": 1.5, "e": ""}]),
    (f"{C} and column.e = (type = int and value = bring [blank] and optional = true)", [{"v": 1.5}]),
    (f"{C} and column.e = (type = timestamp and value = bring [bad] and optional = true)", [{"v": 1.5}]),
    # defaults
    ("column.g = (type = int and value = bring [gone] and default = 5 and optional = true)", [{"g": 5}]),
    ("column.g = (type = str and value = bring [gone] and default = 5)", [{"g": "5"}]),
    ("column.g = (type = str and value = bring [gone] and default = '')", [{"g": ""}]),
    ("column.g = (type = int and value = bring [blank] and default = '')", [{"g": None}]),
    ("column.g = (type = int and value = bring [gone] and default = null)", [{"g": None}]),
    ("column.g = (type = int and value = bring [none] and default = 5)", [{"g": None}]),
    ("column.g = (type = int and value = bring [m][b] and default = 5)", [{"g": 12}]),
    ("column.g = (type = timestamp and value = bring [bad] and default = now())", [{"g": NOW_TEXT}]),
    (
        "column.g = (type = timestamp and value = bring [gone] and default = 1700000000)",
        [{"g": "2023-11-14T22:13:20Z"}],
    ),
    ("column.g = (type = bring [what] and value = bring [gone] and default = 5)", [{"g": 5}]),
    ("column.g = (type = bring [what] and value = bring [gone] and default = '')", [{"g": None}]),
    (
        "column.v = (type = int and value = bring [gaps][][value] and default = 9) and column.l.int = 7",
        [{"v": 1, "l": 7}, {"v": 9, "l": 7}, {"v": 3, "l": 7}],
    ),
    # lists
    (
        "column.ts.timestamp = bring [ts] and column.v.float = bring [readings][][value] and column.t.timestamp = now",
        [{"ts": MESSAGE["ts"], "v": number, "t": NOW_TEXT} for number in (1, 2, 3)],
    ),
    (
        "column.n.str = bring [readings][][name] and column.v.int = bring [readings][][value] and column.l.int = 7",
        [{"n": "One", "v": 1, "l": 7}, {"n": "two", "v": 2, "l": 7}, {"n": "one", "v": 3, "l": 7}],
    ),
    (
        "column.at.timestamp = bring [readings][][at]",
        [{"at": "2023-11-14T22:13:20Z"}, {"at": "2023-11-14T22:13:21Z"}, {"at": "2023-11-14T22:13:22Z"}],
    ),
    (
        "column.v = (type = int and value = bring [gaps][][value] and optional = true) and column.l.int = 7",
        [{"v": 1, "l": 7}, {"l": 7}, {"v": 3, "l": 7}],
    ),
    (
        'column.v = (type = "bring [readings][][type]" and value = "bring [readings][][value]")',
        [{"v": 1}, {"v": "2"}, {"v": 3}],
    ),
    (
        'column.v = (type = "bring [readings][][type]" and value = "bring [m][b]")'
        " and column.n.int = bring [readings][][value]",
        [{"v": 12, "n": 1}, {"v": "12", "n": 2}, {"v": 12, "n": 3}],
    ),
    ('column.v = (type = "bring [what]" and value = "bring [pair][][value]")', [{"v": 1}, {"v": 2}]),
]


@pytest.mark.parametrize(("columns", "expected"), ROWS)
def test_rows(columns: str, expected: list[dict[str, Any]]) -> None:
    """Columns in the order of the declaration, one row, or one for each entry of a list."""
    found = rows(columns, MESSAGE)
    assert found == expected
    assert [list(row) for row in found] == [list(row) for row in expected]


def test_an_empty_list_is_no_rows() -> None:
    """A message with no readings is no error."""
    assert mapped("column.v.int = bring [no][][value]", MESSAGE) == []


PLACES = [
    ("dbms = My-Db and table = 'Pump 7'", [("my_db", "pump_7", [1, 2, 3])]),
    ('dbms = "bring [dbms]" and table = "bring [m][a] _ [m][b]"', [("my_plant", "pump_7_12", [1, 2, 3])]),
    ("dbms = bring [dbms] and table = bring [m][b]", [("my_plant", "12", [1, 2, 3])]),
    ("dbms = d and table = bring [readings][][name]", [("d", "one", [1, 3]), ("d", "two", [2])]),
    (
        "dbms = bring [readings][][type] and table = t_",
        [("int", "t_", [1]), ("str", "t_", [2]), ("float", "t_", [3])],
    ),
    ("dbms = d and table = bring x_ [readings][][name]", [("d", "x_one", [1, 3]), ("d", "x_two", [2])]),
]


@pytest.mark.parametrize(("places", "expected"), PLACES)
def test_places(places: str, expected: list[tuple[str, str, list[int]]]) -> None:
    """Database and table are fixed, of the message, or of each row; tables come as their first rows do."""
    found = mapped("column.v.int = bring [readings][][value]", MESSAGE, places)
    assert [(each.dbms, each.table, [row["v"] for row in each.rows]) for each in found] == expected


def test_a_table_for_each_entry_alone() -> None:
    """A list of tables makes a row for each, though no column is a list."""
    found = mapped("column.v.int = 1", MESSAGE, "dbms = d and table = bring [readings][][name]")
    assert [(each.table, len(each.rows)) for each in found] == [("one", 2), ("two", 1)]


FAULTS: list[tuple[str, str]] = [
    ("column.g.str = bring [gone]", "column 'g', 'bring [gone]': no value"),
    ("column.v.int = bring [bad]", "column 'v', 'bring [bad]': not a number: \"x\""),
    ("column.v = (type = int and value = bring [bad] and optional = true)", "not a number"),
    ("column.v.int = bring [blank]", "column 'v', 'bring [blank]': an empty text is no number: \"\""),
    ("column.t.timestamp = bring [bad]", "column 't', 'bring [bad]': not a time"),
    ("column.v.int = bring [gaps][][value]", "no value (entry 2 of the list)"),
    (
        "column.v.int = bring [readings][][value] and column.w.int = bring [pair][][value]",
        "column 'w', 'bring [pair][][value]': a list of 2 values, that of column 'v' has 3",
    ),
    ("column.v = (type = bring [gone] and value = 5)", "the type of column 'v', 'bring [gone]': no value"),
    ("column.v = (type = bring [bad] and value = 5)", "'x' is not a type of a column"),
    ("column.v = (type = bring [m] and value = 5)", "not a type"),
    ("column.v = (type = bring [readings][][type] and value = 5)", "a list of types for one value"),
    (
        "column.v = (type = bring [readings][][type] and value = bring [pair][][value])",
        "3 types for 2 rows",
    ),
    ("column.v = (type = int and value = bring [gone] and optional = true)", "none of the columns has a value"),
    ("column.v = (type = int and value = bring [bad] and default = 5)", 'not a number: "x"'),
    ("column.v = (type = bring [what] and value = bring [gone] and default = x)", 'the default "x": not a number'),
    (
        "column.v = (type = int and value = bring [gaps][][value] and optional = true)",
        "none of the columns has a value (entry 2 of the list)",
    ),
]


@pytest.mark.parametrize(("columns", "told"), FAULTS)
def test_faults(columns: str, told: str) -> None:
    """What cannot be mapped names the column, its path and the reason."""
    with pytest.raises(AnyLogError) as failed:
        mapped(columns, MESSAGE)
    assert failed.value.number == 6 and told in str(failed.value)


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ("dbms = bring [gone] and table = t", "the database, 'bring [gone]': no value"),
        ("dbms = bring [none] and table = t", "the database, 'bring [none]': no value"),
        ("dbms = d and table = bring [blank]", "the table, 'bring [blank]': no value"),
        ("dbms = d and table = bring [m]", "no name"),
        ("dbms = d and table = bring [gaps][][value]", "no value"),
        ("dbms = d and table = bring [pair][][value]", "the table, 'bring [pair][][value]': a list of 2 values"),
        ("dbms = d and table = bring [long]", "longer than 63 bytes"),
    ],
)
def test_faults_of_places(places: str, told: str) -> None:
    """So does a message without a database or table."""
    with pytest.raises(AnyLogError, match=r"the (database|table)") as failed:
        mapped("column.v.int = bring [readings][][value]", {**MESSAGE, "long": "x" * 64}, places)
    assert failed.value.number == 6 and told in str(failed.value)


def test_types() -> None:
    """The schema of a new table is what is declared; a type of the message is left to the values."""
    found = topic(
        "name = x and dbms = d and table = t and column.a.timestamp = now and column.b.decimal = 1"
        " and column.c.char(3) = x and column.d = (type = bring [t] and value = 1) and column.e.nonetype = 1"
    )
    assert found.mapping is not None
    assert found.mapping.types == {"a": "TIMESTAMP", "b": "FLOAT", "c": "CHAR(3)"}


def test_what_is_listed() -> None:
    """The columns of `get msg client`: name, type, function, optional."""
    found = topic(f"name = x and dbms = d and table = t and {C} and column.n.timestamp = now and column.l.int = 5")
    assert found.mapping is not None
    listed = [(each.name, each.kind and each.kind.name, each.path, each.optional) for each in found.mapping.columns]
    assert listed == [
        ("v", "float", "bring [value]", False),
        ("n", "timestamp", "now", False),
        ("l", "int", "5", False),
    ]


DECLARED: list[tuple[str, dict[str, Any]]] = [
    ("name = a/+/b and qos = 2 and policy = p1 and policy = 'p 2'", {"qos": 2, "policies": ("p1", "p 2")}),
    ('name = "power plant" and policy = p', {"name": "power plant", "qos": None}),
    ("name = a/# and persist = true", {"name": "a/#", "persist": True}),
    ("name = a and flush", {"persist": True}),
    ("name = a and flush = true and qos = 0", {"persist": True, "qos": 0}),
    ("name = a and persist", {"persist": True}),
    (
        "name = a and dynamic = true and dbms = d and table_prefix = p and table_name_as_topic = true",
        {"dynamic": True, "table_prefix": "p", "name_as_table": True, "mapping": None},
    ),
    ("name = a and policy = p and", {"policies": ("p",)}),
    ("NAME = a and POLICY = p", {"name": "a", "policies": ("p",)}),
    ("name = !t and policy = !p", {"name": "of !t", "policies": ("of !p",)}),
]


@pytest.mark.parametrize(("text", "expected"), DECLARED)
def test_declared(text: str, expected: dict[str, Any]) -> None:
    """Each key of 4.1."""
    found = topic(text, t="of !t", p="of !p")
    assert {key: getattr(found, key) for key in expected} == expected


def test_only_logged() -> None:
    """A bare name is a topic that is only logged; so is one of a client that only logs."""
    assert read_topic("#", scope()) == Topic("#", only_log=True)
    assert read_topic('"a b"', scope()) == Topic("a b", only_log=True)
    found = read_topic("(name = a)", scope(), only_log=True)
    assert found.only_log and found.mapping is None


REFUSED: list[tuple[str, str]] = [
    ("", "a 'key = value' is missing in the topic"),
    ("dbms = d", "a topic needs a 'name'"),
    ("name = a", "topic 'a': without a policy it needs 'dbms'"),
    ("name = a and dbms = d", "topic 'a': without a policy it needs 'table'"),
    ("name = a and dbms = d and table = t", "topic 'a': without a policy it needs 'column'"),
    (f"name = a and table = t and {C}", "topic 'a': without a policy it needs 'dbms'"),
    ("name = a and bogus = 1 and policy = p", "no key 'bogus' in a topic"),
    ("name = a and name = b and policy = p", "'name' is given twice"),
    ("name = '' and policy = p", "'name' of the topic is empty"),
    ("name = a and qos = 3 and policy = p", "'3' is not a value for 'qos', which is 0, 1 or 2"),
    ("name = a and qos = x and policy = p", "'x' is not a value for 'qos'"),
    ("name = a and persist = maybe", "'maybe' is not a value for 'persist', which is true or false"),
    (f"name = a and policy = p and {C}", "with 'policy' it has no columns of its own"),
    ("name = a and policy = p and persist", "'policy' and 'persist' exclude one another"),
    ("name = a and dynamic = true", "'dynamic' needs a 'dbms'"),
    (f"name = a and dbms = d and table = t and {C} and column.V.int = 1", "column 'V' is declared twice"),
    ("name = a and dbms = d and table = t and column.v = 5", "column 'v': no type"),
    ("name = a and dbms = d and table = t and column.v.bogus = 5", "column 'v': 'bogus' is not a type of a column"),
    ("name = a and dbms = d and table = t and column.v.int = x", "column 'v': \"x\": not a number"),
    ("name = a and dbms = d and table = t and column.Row-Id.int = 5", "column 'Row-Id': 'row_id' is a column that"),
    ("name = a and dbms = d and table = t and column.v.int = now", "column 'v': \"now\": not a number"),
    ("name = a and dbms = d and table = t and column.v.int = bring [a", "missing ')'"),
    (
        'name = a and dbms = d and table = t and column.v.int = "bring [a"',
        "column 'v': 'bring [a': cannot read the key",
    ),
    ("name = a and dbms = d and table = t and column.v = (type = int)", "column 'v': 'value' is missing"),
    ("name = a and dbms = d and table = t and column.v = (value = 5)", "column 'v': 'type' is missing"),
    (
        "name = a and dbms = d and table = t and column.v = (type = int and value = bring [a] and default = x)",
        "column 'v': default \"x\": not a number",
    ),
    (
        "name = a and dbms = d and table = t and column.v = (type = int and bring value = 5)",
        "column 'v': no key 'bring value', only type, value, optional",
    ),
    (
        "name = a and dbms = d and table = t and column.v = (type = int and type = int and value = 5)",
        "column 'v': 'type' is given twice",
    ),
    (
        "name = a and dbms = d and table = t and column.v = (type = int and value = 5 and optional = x)",
        "'x' is not a value for 'optional'",
    ),
    ("name = a and dbms = !gone and policy = p", "Missing dictionary definition for '!gone'"),
    ("name = a policy = p and dbms = d", "a second '=' in the value of 'name': is an 'and' missing?"),
    ("name = a and dbms = d and table = t and column.v.str = x column.w.int = 5", "value of 'column.v.str'"),
    ("name = a and and policy = p", "a 'key = value' is missing"),
    ("name = a and dbms", "'dbms' is not a 'key = value'"),
    ("name = a and dbms = " + "x" * 64 + " and policy = p", "longer than 63 bytes"),
    ("name = a and dbms = d and table = t and column..int = 5", "no type"),
]


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_refused(text: str, told: str) -> None:
    """What is wrong in a declaration is refused by name."""
    with pytest.raises(AnyLogError) as refused:
        topic(text)
    assert refused.value.number in (2, 40) and told in str(refused.value)


@pytest.mark.parametrize("text", ["", "name = a", "a b = c", "(name = a) x = y"])
def test_no_topic(text: str) -> None:
    """What is neither in parentheses nor a name is no topic."""
    with pytest.raises(AnyLogError, match="a topic is written"):
        read_topic(text, scope())


def test_policies_of_a_topic() -> None:
    """All policies see every message, with the database and table of the topic; one that fails fails it."""
    seen: list[tuple[Any, ...]] = []

    class One:
        def parts(
            self, message: Any, now: float, *, dbms: str | None = None, table: str | None = None
        ) -> Parts[list[Mapped]]:
            seen.append((message, now, dbms, table))
            if message == "bad":
                raise AnyLogError(6, "no")
            yield 1
            return [Mapped(dbms or "own", table or "own", [{"v": 1}])]

    found = topic("name = a and policy = p and policy = q and table = bring [t]")
    assert [each[:2] for each in found.apply({"t": "X"}, NOW, [One(), One()])] == [("own", "x"), ("own", "x")]
    assert seen == [({"t": "X"}, NOW, None, "x")] * 2
    assert topic("name = a and policy = p").apply({}, NOW) == []
    with pytest.raises(AnyLogError):
        topic("name = a and policy = p").apply("bad", NOW, [One()])
    with pytest.raises(AnyLogError, match="a list of names where one is needed"):
        topic("name = a and policy = p and table = bring [][t]").apply([{"t": 1}], NOW, [One()])


def test_missing_is_never_stored() -> None:
    """The mark of what is not there stays inside."""
    for columns, _ in ROWS:
        for row in rows(columns, MESSAGE):
            assert MISSING not in list(row.values())


TOGETHER = (
    'column.a.int = "bring [a]" and column.b.str = "bring [b]" and column.at.timestamp = now'
    ' and column.kind = (type = str and value = "pump")'
)

OPTIONAL = (
    'column.b = (type = str and value = "bring [b]" and optional = true)'
    ' and column.c = (type = int and value = "bring [c]" and optional = true) and column.a.str = "bring [a]"'
)


def alone(read: Topic, messages: list[Any]) -> list[Any] | None:
    """The rows of each; None if one of them is refused, or is not one row."""
    found = []
    for message in messages:
        try:
            each = read.apply(message, NOW)
        except AnyLogError:
            return None
        if len(each) != 1 or len(each[0].rows) != 1:
            return None
        found += each[0].rows
    return found


@settings(max_examples=300, deadline=None)
@given(
    columns=st.sampled_from([TOGETHER, OPTIONAL, 'column.a.float = "bring [a]"', 'column.a.timestamp = "bring [a]"']),
    messages=st.lists(
        st.fixed_dictionaries(
            {"a": st.integers(-(1 << 65), 1 << 65) | st.floats() | st.text(max_size=3) | st.none() | st.booleans()},
            optional={"b": st.text(max_size=3) | st.lists(st.integers(), max_size=2), "c": st.integers()},
        )
        | st.lists(st.integers(), max_size=1),
        min_size=1,
        max_size=9,
    ),
)
def test_together_as_alone(columns: str, messages: list[Any]) -> None:
    """Messages that are mapped in one go become what each of them becomes."""
    read = topic(f"name = x and dbms = d and table = t and {columns}")
    assert read.mapping is not None
    found = read.mapping.together(messages, NOW)
    if found is not None:
        assert found[:2] == ("d", "t")
        assert repr(found.rows) == repr(alone(read, messages))


@pytest.mark.parametrize("number", [1, 9])
def test_together(number: int) -> None:
    """Flat objects with what the columns ask for, the time and literals among them."""
    read = topic(f"name = x and dbms = d and table = t and {TOGETHER}")
    assert read.mapping is not None
    found = read.mapping.together([{"b": "x", "a": each, "more": []} for each in range(number)], NOW)
    assert found == Mapped("d", "t", [{"a": each, "b": "x", "at": NOW_TEXT, "kind": "pump"} for each in range(number)])
    assert [list(row) for row in found.rows] == [["a", "b", "at", "kind"]] * number


def test_together_with_gaps() -> None:
    """An optional attribute that is not there is left out; one that all rows need is looked for by itself."""
    read = topic(f"name = x and dbms = d and table = t and {OPTIONAL}")
    assert read.mapping is not None
    messages = [{"a": "1", "b": "2"}, {"a": "3"}, {"c": 4, "a": "5"}, {"a": "6"}]
    assert read.mapping.together(messages, NOW) == Mapped("d", "t", [dict(sorted(m.items())) for m in messages])
    assert read.mapping.together([*messages, {"b": "1"}], NOW) is None
    only = topic(
        'name = x and dbms = d and table = t and column.a = (type = int and value = "bring [a]" and optional = true)'
    )
    assert only.mapping is not None
    assert only.mapping.together([{"a": 1}, {"b": 2}], NOW) is None


@pytest.mark.parametrize(
    ("places", "columns"),
    [
        ('dbms = d and table = "bring [t]"', 'column.a.int = "bring [a]"'),
        ('dbms = "bring [t]" and table = t', 'column.a.int = "bring [a]"'),
        ("dbms = d and table = t", 'column.a.int = "bring [a][b]"'),
        ("dbms = d and table = t", 'column.a = (type = "bring [t]" and value = "bring [a]")'),
        ("dbms = d and table = t", "column.a.int = 7"),
    ],
)
def test_never_together(places: str, columns: str) -> None:
    """Rules that look at more than one attribute, or at none, are applied message by message."""
    read = topic(f"name = x and {places} and {columns}")
    assert read.mapping is not None
    assert read.mapping.together([{"a": 1, "t": "int"}] * 9, NOW) is None
