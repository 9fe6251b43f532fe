"""SQL files: INSERT statements are rows; anything else is refused with its place, and nothing is ever executed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anylog.errors import AnyLogError
from anylog.mapping.body import TooWide
from anylog.mapping.sql_file import read_sql

LITERALS = [
    ("1", 1),
    ("007", 7),
    ("-12", -12),
    ("+3", 3),
    ("- 3", -3),
    ("2.50", 2.5),
    (".5", 0.5),
    ("5.", 5.0),
    ("-1e-3", -0.001),
    ("9223372036854775807", 9223372036854775807),
    ("-9223372036854775808", -9223372036854775808),
    ("18446744073709551615", 18446744073709551615),
    ("18446744073709551616", TooWide("18446744073709551616")),
    ("-9223372036854775809", TooWide("-9223372036854775809")),
    ("'it''s; -- (x), /* y */'", "it's; -- (x), /* y */"),
    ("''", ""),
    ("''''", "'"),
    ("'two\nlines'", "two\nlines"),
    ("'ünï'", "ünï"),
    ("NULL", None),
    ("default", None),
    ("True", True),
    ("FALSE", False),
    ("TIMESTAMP '2026-11-21 09:00:00'", "2026-11-21 09:00:00"),
]


def rows(text):
    return read_sql(text.encode(), "town", "weather")


@pytest.mark.parametrize(("literal", "value"), LITERALS)
def test_literals(literal, value):
    """Every literal is the value that JSON would hold."""
    (row,) = rows(f"insert into weather (a) values ({literal})")
    assert row == {"a": value} and type(row["a"]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO weather (a, b) VALUES (1, 'x'), (2, 'y');",
        "insert into par_weather_2026_11_00_d7_timestamp (a,b) values (1,'x'),(2,'y')",
        'Insert Into "town"."weather" ("a", "b") Values (1, \'x\'); INSERT INTO town.Weather (a, b) VALUES (2, \'y\');',
        "-- a dump\n/* of\nold */ INSERT INTO weather(`a`, b) VALUES(1,'x');;;insert into weather(b,a)values('y',2);\n",
        "\ufeffinsert into weather (row_id, insert_timestamp, tsd_name, tsd_id, a, b) values "
        "(7, '2026-01-01', '12', 5, 1, 'x'), (DEFAULT, now(), CURRENT_TIMESTAMP, null, 2, 'y')",
    ],
)
def test_forms(text):
    """However it is laid out; what the node fills itself is left out."""
    assert rows(text) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no INSERT statement"),
        (" -- nothing\n", "there is no INSERT statement"),
        (
            "drop table weather",
            "statement 1, line 1, character 1: only INSERT INTO is allowed, not 'drop table weather'",
        ),
        ("insert into weather (a) values (1);\n  delete from weather", "statement 2, line 2, character 3: only INSERT"),
        ("insert or replace into weather (a) values (1)", "INTO is missing at 'or replace"),
        ("insert into weather values (1)", "the columns have to be named"),
        ("insert into weather (a) select 1", "VALUES is missing at 'select 1'"),
        ("insert into weather (a) values (1) returning a", "'returning a' is not understood behind a row"),
        ("insert into weather (a) values (1) on conflict do nothing", "'on conflict do nothing' is not"),
        ("insert into weather (a) values (select 1)", "'select 1)' is not a literal"),
        ("insert into weather (a) values ((1))", "'(1))' is not a literal"),
        ("insert into weather (a) values (1 + 1)", "'+ 1)' is not understood behind a value"),
        ("insert into weather (a) values ('x' || 'y')", "is not understood"),
        ("insert into weather (a) values (now())", "'now())' is not a literal"),
        ("insert into weather (a) values (load_extension('x'))", "is not a literal"),
        ("insert into weather (a) values (X'00')", "is not a literal"),
        ("insert into weather (a) values (1e999)", "too large"),
        ("insert into weather (a) values (1", "the end is not understood behind a value"),
        ("insert into weather (a) values ('x", '"\'x" is not understood'),
        ("insert into weather (a) values", "'(' is missing at the end"),
        ("insert into weather (a) values (1),", "'(' is missing at the end"),
        ("insert into weather (a, b) values (1)", "1 values for 2 columns"),
        ("insert into weather (a) values (1, 2)", "more values than the 1 columns"),
        ("insert into weather (a, a) values (1, 2)", "'a' is named twice"),
        ("insert into weather () values ()", "the name of a column is missing"),
        ("insert into weather (row_id) values (1)", "no column that the node does not fill itself"),
        ("insert into other (a) values (1)", "the file is for the table 'weather', not for 'other'"),
        ("insert into par_other_1 (a) values (1)", "not for 'par_other_1'"),
        ("insert into almgm.weather (a) values (1)", "the file is for the database 'town', not for 'almgm'"),
        ("insert into a.b.c (a) values (1)", "the name of a table is missing"),
        ("insert into weather (a) values (1) /* open", "is not understood"),
        ("insert into weather (a) values (12abc)", "'12abc)' is not understood"),
        ("attach database '/etc/x' as y", "only INSERT INTO"),
    ],
)
def test_refused(text, told):
    """Error 16 says what is wrong, in which statement, and where."""
    with pytest.raises(AnyLogError) as raised:
        rows(text)
    assert raised.value.number == 16 and told in str(raised.value)


def test_no_utf8():
    """A file in another encoding is refused, not guessed."""
    with pytest.raises(AnyLogError, match="byte 35"):
        read_sql(b"insert into weather (a) values ('\xfc')".replace(b"('", b"( '"), "town", "weather")


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(-10, 10), st.text()), min_size=3), min_size=1
    )
)
def test_round_trip(found):
    """What is written with doubled quotes is read as it was."""

    def literal(value):
        return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)

    lines = [
        f"INSERT INTO weather ({', '.join(row)}) VALUES ({', '.join(map(literal, row.values()))});" for row in found
    ]
    assert rows("\n".join(lines)) == found
