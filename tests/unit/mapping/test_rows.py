"""Rows to columns: what fits, what is converted, what widens and what is parked; and that SQLite gets it exactly."""

import json
import math
import random
import sqlite3
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anylog.columns import AUTOMATIC
from anylog.errors import AnyLogError
from anylog.ledger.types import widened
from anylog.mapping import schema
from anylog.mapping.body import TooWide, normal_form, read_body
from anylog.mapping.rows import convert

NOW = "2026-11-20 10:20:30"
DEFAULT = {"TIMESTAMP": "2026-11-20 10:20:30.000000", "DATE": "2026-11-20", "TIME": "10:20:30.000000"}
KINDS = [
    "BOOLEAN",
    "INT",
    "BIGINT",
    "DECIMAL",
    "FLOAT",
    "VARCHAR",
    "CHAR(4)",
    "UUID",
    "CIDR",
    "TIMESTAMP",
    "DATE",
    "TIME",
]


def values(converted):
    return json.loads(converted.values)


CONVERTED = [
    ("INT", 5, 5),
    ("INT", -99_999_999, -99_999_999),
    ("INT", " 12 ", 12),
    ("INT", "-7", -7),
    ("BIGINT", 2**63 - 1, 2**63 - 1),
    ("BIGINT", -(2**63), -(2**63)),
    ("BIGINT", "9223372036854775807", 2**63 - 1),
    ("DECIMAL", 5, 5),
    ("DECIMAL", 0.1, 0.1),
    ("DECIMAL", 1.123456789, 1.123456789),
    ("FLOAT", "1.5", 1.5),
    ("FLOAT", "-1e-3", -0.001),
    ("FLOAT", ".5", 0.5),
    ("FLOAT", 2**53, 2**53),
    ("FLOAT", 2**60, 2**60),
    ("FLOAT", 1e308, 1e308),
    ("VARCHAR", "", ""),
    ("VARCHAR", 'quotes " \\ and ü \u2028 🚰', 'quotes " \\ and ü \u2028 🚰'),
    ("VARCHAR", 5, "5"),
    ("VARCHAR", 1.5, "1.5"),
    ("VARCHAR", 1e22, "1e+22"),
    ("VARCHAR", True, "true"),
    ("VARCHAR", {"b": [1, None], "a": "ü"}, '{"b":[1,null],"a":"ü"}'),
    ("VARCHAR", {"a": TooWide("9" * 30)}, '{"a":%s}' % ("9" * 30)),
    ("VARCHAR", ["\0"], '["\\u0000"]'),
    ("CHAR(4)", "abcd", "abcd"),
    ("CHAR(4)", 1234, "1234"),
    ("CHAR(5)", False, "false"),
    ("BOOLEAN", True, True),
    ("BOOLEAN", 0, False),
    ("BOOLEAN", "TRUE", True),
    ("UUID", "123E4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
    ("CIDR", "10.0.0.1", "10.0.0.1"),
    ("CIDR", "FE80::1", "fe80::1"),
    ("TIMESTAMP", "2026-01-01T00:00:00+01:00", "2025-12-31 23:00:00.000000"),
    ("TIMESTAMP", 1_795_177_196, "2026-11-20 12:19:56.000000"),
    ("TIMESTAMP", "1795177196123", "2026-11-20 12:19:56.123000"),
    ("TIMESTAMP", 1_795_177_196.5, "2026-11-20 12:19:56.500000"),
    ("TIMESTAMP", "2026-01-01", "2026-01-01 00:00:00.000000"),
    ("DATE", "2026-01-01", "2026-01-01"),
    ("TIME", "01:02:03", "01:02:03.000000"),
]


@pytest.mark.parametrize(("kind", "value", "out"), CONVERTED)
def test_converted(kind, value, out):
    """Alone and beside a value that sends its column the careful way."""
    for rows in ([{"a": value}], [{"a": value}, {"a": object()}], [{"a": value, "b": 1}, {"a": value}]):
        converted = convert(rows, {"a": kind}, NOW)
        assert values(converted)[0] == [out]
        assert type(values(converted)[0][0]) is type(out)


MISFITS = [
    ("INT", "abc", "not a number"),
    ("INT", "", "not a number"),
    ("INT", True, "not a number"),
    ("INT", [], "not a number"),
    ("INT", "1_0", "not a number"),
    ("INT", "\u0661", "not a number"),
    ("INT", 2**63, "beyond 64 bits"),
    ("BIGINT", "9223372036854775808", "beyond 64 bits"),
    ("BIGINT", "9" * 5000, "beyond 64 bits"),
    ("BIGINT", TooWide("9" * 30), "beyond 64 bits"),
    ("FLOAT", 2**53 + 1, "cannot keep exactly"),
    ("FLOAT", TooWide("1" + "0" * 30), "beyond 64 bits"),
    ("FLOAT", float("nan"), "not a number"),
    ("DECIMAL", float("inf"), "not a number"),
    ("FLOAT", "1e999", "not a number"),
    ("FLOAT", "nan", "not a number"),
    ("VARCHAR", float("-inf"), "not a number"),
    ("VARCHAR", TooWide("9" * 30), "beyond 64 bits"),
    ("VARCHAR", "a\0b", "NUL"),
    ("CHAR(4)", "a\0b", "NUL"),
    ("CHAR(4)", "long and \0", "NUL"),
    ("VARCHAR", [float("nan")], "NaN"),
    ("VARCHAR", object(), "no JSON value"),
    ("BOOLEAN", 2, "neither true nor false"),
    ("BOOLEAN", "yes", "neither true nor false"),
    ("UUID", "123e4567", "not a UUID"),
    ("UUID", "", "not a UUID"),
    ("CIDR", "10.0.0", "not an IP"),
    ("CIDR", 5, "not an IP"),
    ("TIMESTAMP", "2026-02-30T00:00:00Z", "not a time"),
    ("TIMESTAMP", True, "not a time"),
    ("TIMESTAMP", 10**19, "not a time"),
    ("TIMESTAMP", {}, "not a time"),
    ("DATE", "2026-01-01T10:00:00Z", "not a date"),
    ("DATE", 5, "not a date"),
    ("TIME", "25:00:00", "not a time of day"),
]


@pytest.mark.parametrize(("kind", "value", "why"), MISFITS)
def test_misfits(kind, value, why):
    """The row is parked with column, type, why and value; its neighbours are kept; nothing is widened for it."""
    good = {"b": 1}
    converted = convert([good, {"b": 2, "a": value, "new": 1}, good], {"a": kind, "b": "INT"}, NOW)
    ((position, reason),) = converted.misfits
    assert position == 1
    assert reason.startswith(f"column 'a' is {kind}: ")
    assert why in reason
    assert len(reason) < 200
    assert [row[1] for row in values(converted)] == [1, 1]
    assert converted.count == 2
    assert converted.wanted == {}


def test_a_reason_shows_the_value_cut():
    """80 characters of it."""
    ((_, reason),) = convert([{"a": "x" * 500}], {"a": "INT"}, NOW).misfits
    assert reason == "column 'a' is INT: not a number: \"" + "x" * 76 + "..."


WANTED = [
    ("INT", [100_000_000], "BIGINT"),
    ("INT", ["100000000"], "BIGINT"),
    ("INT", [1.5], "DECIMAL"),
    ("INT", ["1.5"], "DECIMAL"),
    ("INT", [1.1234567], "FLOAT"),
    ("INT", [1.5, 100_000_000], "DECIMAL"),
    ("INT", [1.5, 1.1234567], "FLOAT"),
    ("BIGINT", [1.5], "DECIMAL"),
    ("BIGINT", [1e300], "FLOAT"),
    ("CHAR(2)", ["abc"], "CHAR(3)"),
    ("CHAR(2)", ["abc", "abcdef"], "CHAR(6)"),
    ("CHAR(2)", ["123"], "CHAR(3)"),
    ("CHAR(2)", [12345678], "CHAR(8)"),
    ("CHAR(2)", ["123456789"], "VARCHAR"),
    ("CHAR(2)", [{"a": 12345}], "VARCHAR"),
    ("DECIMAL", [1.1234567, 5], None),  # holds it as it is
    ("FLOAT", [1.5, 5], None),
    ("VARCHAR", ["x" * 1000], None),
]


@pytest.mark.parametrize(("kind", "given_values", "wanted"), WANTED)
def test_widening(kind, given_values, wanted):
    """A wider number or longer text asks for the wider type; with it, nothing more is wanted and all is kept."""
    rows = [{"a": value} for value in given_values]
    converted = convert(rows, {"a": kind}, NOW)
    assert converted.misfits == []
    assert converted.wanted == ({"a": wanted} if wanted else {})
    again = convert(rows, {"a": wanted or kind}, NOW)
    assert (again.wanted, again.misfits, again.count) == ({}, [], len(rows))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", [{}, {"a": None}, {"A": None}])
def test_missing_and_null(kind, row):
    """NULL, or the default time."""
    for rows in ([row], [row, {"b": 1}], [row, {"a": None, "b": 1}, row]):
        assert values(convert(rows, {"a": kind, "b": "INT"}, NOW))[0] == [DEFAULT.get(kind), None]


@pytest.mark.parametrize("kind", ["TIMESTAMP", "DATE", "TIME"])
def test_empty_text_where_there_is_a_default(kind):
    """Is the default."""
    assert values(convert([{"a": ""}], {"a": kind}, NOW)) == [[DEFAULT[kind]]]


def test_default_time_must_be_a_time():
    """Any form will do, nothing else."""
    assert values(convert([{}], {"a": "DATE"}, "2026-11-20T23:00:00-02:00")) == [["2026-11-21"]]
    with pytest.raises(AnyLogError):
        convert([], {}, "soon")


def test_which_attribute_is_which_column():
    """Exact first, then normalised; digits too; automatic columns are ignored."""
    columns = {"temp": "INT", "Odd Name": "INT", "_12": "INT"}
    rows = [{"Temp": 1, "Odd Name": 2, "12": 3, "row_id": 9, "Insert-Timestamp": "x"}]
    converted = convert(rows, columns, NOW)
    assert converted.names == ("temp", "Odd Name", "_12")
    assert (values(converted), converted.wanted, converted.misfits) == ([[1, 2, 3]], {}, [])


def test_automatic_columns_are_left_out():
    """Also where the caller lists them."""
    assert convert([{"a": 1}], AUTOMATIC | {"a": "INT"}, NOW).names == ("a",)


def test_two_attributes_for_one_column():
    """The one spelled like the column, else the first of this very row, whatever the rows beside it do."""
    cases = [
        ({"temp": 1, "Temp": 2}, 1),
        ({"Temp": 2, "temp": 1}, 1),
        ({"Temp": 2, "TEMP": 3}, 2),
        ({"TEMP": 3, "Temp": 2}, 3),
        ({"Temp": 2, "x": 1}, 2),
    ]
    for batch in (cases, cases[::-1], cases[2:4], cases[3:1:-1]):
        out = [row[0] for row in values(convert([row for row, _ in batch], {"temp": "INT", "x": "INT"}, NOW))]
        assert out == [expected for _, expected in batch]
    assert convert([{"New": 1, "NEW": "x"}], {}, NOW).wanted == {"new": "INT"}
    assert convert([{"New": 1, "new": "x"}], {}, NOW).wanted == {"new": "CHAR(1)"}


def test_new_attributes():
    """Wanted with the type of all their values; null alone wants nothing; misfits want nothing."""
    rows = [
        {"a": 1, "New One": 5, "nothing": None},
        {"a": 1, "New One": 2.5, "nothing": None},
        {"a": "misfit", "New One": "text", "other": 1},
        {"a": 1, "time": "1795177196"},
    ]
    converted = convert(rows, {"a": "INT"}, NOW)
    assert converted.wanted == {"new_one": "DECIMAL", "time": "TIMESTAMP"}
    assert [position for position, _ in converted.misfits] == [2]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"": 1}, "needs a name"),
        ({"x" * 64: 1}, "longer than 63"),
        ({"new": TooWide("9" * 30)}, "beyond 64 bits"),
        ({"new": 2**63}, "beyond 64 bits"),
        ({"new": "a\0"}, "NUL"),
        ({"new": float("nan")}, "not a number"),
    ],
)
def test_new_attributes_that_cannot_be(row, why):
    """A misfit, not a column; but null under an impossible name is nothing at all."""
    for rows in ([row], [{"a": 1}, row]):
        converted = convert(rows, {"a": "INT"}, NOW)
        ((position, reason),) = converted.misfits
        assert position == len(rows) - 1
        assert why in reason
        assert converted.wanted == {}
    nothing = convert([dict.fromkeys(row)], {"a": "INT"}, NOW)
    assert (nothing.misfits, nothing.count) == ([], 1)


def test_positions_of_misfits():
    """Positions count from 0 among all rows, whatever their attributes; the first column's reason stays."""
    rows = [{"a": 1}, {"a": "x", "b": "y"}, {"b": 2}, {"b": "z", "c": 1}, {"a": 4}]
    converted = convert(rows, {"a": "INT", "b": "INT", "c": "INT"}, NOW)
    assert converted.misfits == [
        (1, "column 'a' is INT: not a number: \"x\""),
        (3, "column 'b' is INT: not a number: \"z\""),
    ]
    assert values(converted) == [[1, None, None], [None, 2, None], [4, None, None]]


def test_the_reason_of_a_row_hangs_on_the_row():
    """With several faults the same one is told, whatever way its neighbours sent the columns."""
    bad = {"a": "a\0", "b": "x", "": 1, "y" * 70: 1}
    for rows in ([bad], [{"a": 5}, bad], [{"a": "\0"}, bad], [{"y" * 70: 1, "": 1}, bad]):
        assert convert(rows, {"a": "VARCHAR", "b": "INT"}, NOW).misfits[-1][1].startswith("column 'b' is INT")


def test_empty():
    """No rows, no columns, neither."""
    assert convert([], {"a": "INT"}, NOW).values == "[]"
    assert convert([{}, {}], {}, NOW).values == "[[],[]]"
    assert convert([], {}, NOW).count == 0


def test_a_backslash_before_u0000_is_text():
    """Only a real NUL is refused."""
    rows = [{"a": "\\u0000"}, {"a": "a\0"}, {"a": "fine"}]
    converted = convert(rows, {"a": "VARCHAR"}, NOW)
    assert values(converted) == [["\\u0000"], ["fine"]]
    assert [position for position, _ in converted.misfits] == [1]


# The engine.


def through_sqlite(converted):
    """What a table holds after the one statement with which rows are loaded."""
    engine = sqlite3.connect(":memory:")
    types = {"BOOLEAN": "INTEGER", "INT": "INTEGER", "BIGINT": "INTEGER", "FLOAT": "REAL", "DECIMAL": "REAL"}
    defined = ", ".join(f'"{name}" {types.get(kind, "TEXT")}' for name, kind in converted[1].items())
    engine.execute(f"create table t ({defined})")
    picked = ", ".join(f"value->>{place}" for place in range(len(converted[1])))
    engine.execute(f"insert into t select {picked} from json_each(?)", (converted[0].values,))
    found = engine.execute("select * from t order by rowid").fetchall()
    engine.close()
    return found


def test_sqlite_loses_what_follows_a_nul():
    """Why such a text is a misfit; the day this fails, it need not be."""
    engine = sqlite3.connect(":memory:")
    ((found,),) = engine.execute("select value->>0 from json_each(?)", (json.dumps([["a\0b"]]),)).fetchall()
    engine.close()
    assert found == "a"


def test_floats_reach_sqlite_to_the_last_bit():
    """Doubles of any bits, short decimals and neighbours of powers."""
    chance = random.Random(7)
    doubles = [struct.unpack("d", chance.randbytes(8))[0] for _ in range(20_000)]
    doubles += [round(chance.uniform(-1000, 1000), 2) for _ in range(5_000)]
    doubles += [chance.random() for _ in range(5_000)]
    doubles += [math.nextafter(2.0**power, up) for power in range(-1074, 1024) for up in (0, math.inf)]
    doubles += [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.0]
    doubles = [double for double in doubles if math.isfinite(double)]
    columns = {"a": "FLOAT"}
    converted = convert([{"a": double} for double in doubles], columns, NOW)
    assert converted.count == len(doubles)
    wrong = [
        (sent, got) for sent, (got,) in zip(doubles, through_sqlite((converted, columns)), strict=True) if sent != got
    ]
    assert wrong == []


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ORDINARY = TEXT.filter(lambda text: "\0" not in text)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "number": st.integers(-(2**63), 2**63 - 1) | st.none(),
                "text": ORDINARY | st.none(),
                "real": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
                "flag": st.booleans() | st.none(),
                "when": st.datetimes().map(str),
            }
        ),
        min_size=1,
        max_size=6,
    )
)
def test_sqlite_holds_what_was_sent(rows):
    """Integers of 64 bits, any text, any float, null: out of the table as they came."""
    columns = {"number": "BIGINT", "text": "VARCHAR", "real": "FLOAT", "flag": "BOOLEAN", "when": "TIMESTAMP"}
    converted = convert(rows, columns, NOW)
    assert converted.misfits == []
    for row, found in zip(rows, through_sqlite((converted, columns)), strict=True):
        assert found[:4] == (row["number"], row["text"], row["real"], row["flag"])
        assert found[4] == (row["when"] if "." in row["when"] else row["when"] + ".000000")


# Any rows at all.

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 66), 1 << 66)
    | st.integers(-200, 200)
    | st.floats()
    | TEXT
    | st.sampled_from(["2026-01-01", "2026-01-01T00:00:00Z", "12:00:00", "1795177196", "10.0.0.1", "1.5", "-7", ""])
    | st.lists(st.integers(0, 3), max_size=2)
    | st.integers(1 << 64, 1 << 80).map(lambda number: TooWide(str(number)))
)
NAMES = st.sampled_from(["a", "A", "b", "b ", "time", "Time", "12", "row_id", ""]) | TEXT
ROWS = st.lists(st.dictionaries(NAMES, LEAVES, max_size=4), max_size=5)
COLUMNS = st.dictionaries(st.sampled_from(["a", "b", "time", "_12", "c"]), st.sampled_from(KINDS), max_size=4)


@settings(max_examples=300, deadline=None)
@given(ROWS, COLUMNS)
def test_a_row_depends_on_itself_alone(rows, columns):
    """Converted together, alone, in reverse or twice: the same values and the same misfits (hard-parts.md 4.1)."""
    together = convert(rows, columns, NOW)
    assert convert(rows, columns, NOW) == together
    alone = [convert([row], columns, NOW) for row in rows]
    assert together.misfits == [(place, each.misfits[0][1]) for place, each in enumerate(alone) if each.misfits]
    assert values(together) == [row for each in alone for row in values(each)]
    assert set(together.wanted) == {column for each in alone for column in each.wanted}
    backwards = convert(rows[::-1], columns, NOW)
    assert values(backwards) == values(together)[::-1]
    assert together.count == len(rows) - len(together.misfits) == len(values(together))


@settings(max_examples=300, deadline=None)
@given(ROWS, COLUMNS)
def test_a_schema_that_evolves_once_is_enough(rows, columns):
    """With what was wanted, nothing more is wanted; a further misfit is only a whole number too long for a float."""
    before = convert(rows, columns, NOW)
    for column, kind in before.wanted.items():
        assert column not in columns or widened(columns[column], kind) == kind
    after = convert(rows, columns | before.wanted, NOW)
    assert after.wanted == {}
    known = {position for position, _ in before.misfits}
    assert known <= {position for position, _ in after.misfits}
    for position, reason in after.misfits:
        assert position in known or "cannot keep exactly" in reason


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_inferred_columns_hold_their_rows(rows):
    """Nothing is wanted for a table made from these very rows."""
    converted = convert(rows, schema.infer(rows), NOW)
    assert converted.wanted == {}


def test_from_body_to_values():
    """The path of a reading: body, types, values."""
    rows = read_body(b'{"timestamp":"2026-11-20T12:34:56.5Z","value":20.5,"id":18446744073709551616}\n{"value":7}')
    columns = schema.infer(rows)
    assert columns == {"timestamp": "TIMESTAMP", "value": "DECIMAL"}
    converted = convert(rows, columns, NOW)
    assert [position for position, _ in converted.misfits] == [0]
    assert converted.values == '[["2026-11-20 10:20:30.000000",7]]'
    assert normal_form(rows).splitlines()[0].endswith(b'"id":18446744073709551616}')


def test_no_more_columns_than_a_table_takes():
    """Rows that would bring too many are parked one by one; the others, and their columns, stay."""
    known = {f"c{place}": "INT" for place in range(schema.MOST_COLUMNS - 2)}
    rows = [{"c1": 1}, {"new1": 1}, {"new2": 1, "new3": 1}, {"new1": 2, "new4": 4}, {"new5": 5}, {"c2": 2}]
    converted = convert(rows, known, NOW)
    assert [position for position, _ in converted.misfits] == [2, 4]
    assert "'new2' would be more than the 1500 columns" in converted.misfits[0][1]
    assert converted.wanted == {"new1": "INT", "new4": "INT"}
    full = convert(rows, {**known, "x": "INT", "y": "INT"}, NOW)
    assert [position for position, _ in full.misfits] == [1, 2, 3, 4] and full.wanted == {} and full.count == 2
