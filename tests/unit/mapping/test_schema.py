"""Types: the tables of storage.md 2.4 and 2.7, one row a case."""

import itertools
import sqlite3

import pytest

from anylog.columns import indexes
from anylog.errors import AnyLogError
from anylog.ledger.types import create_statement, merge, parse_type, widened
from anylog.mapping.body import TooWide
from anylog.mapping.schema import MOST_COLUMNS, infer, infer_value

INFERRED = [
    (True, "BOOLEAN"),
    (False, "BOOLEAN"),
    (0, "INT"),
    (99_999_999, "INT"),
    (-99_999_999, "INT"),
    (100_000_000, "BIGINT"),
    (-100_000_000, "BIGINT"),
    (1_795_177_196, "BIGINT"),  # an epoch as a number stays a number
    (2**63 - 1, "BIGINT"),
    (-(2**63), "BIGINT"),
    (2**63, None),
    (TooWide("1" * 30), None),
    (1.5, "DECIMAL"),
    (20.0, "DECIMAL"),
    (-3.12345, "DECIMAL"),
    (3.123456, "FLOAT"),
    (0.0, "FLOAT"),
    (1e22, "FLOAT"),
    (1e-7, "FLOAT"),
    (float("nan"), None),
    ("", "VARCHAR"),
    ({"a": 1}, "VARCHAR"),
    ([], "VARCHAR"),
    (None, None),
    ("123e4567-e89b-12d3-a456-426614174000", "UUID"),
    ("123E4567-E89B-12D3-A456-426614174000", "UUID"),
    ("123e4567e89b12d3a456426614174000", "VARCHAR"),
    ("2026-11-20T12:34:56Z", "TIMESTAMP"),
    ("2026-11-20 12:34:56.5", "TIMESTAMP"),
    ("2026-11-20T12:34:56+02:00", "TIMESTAMP"),
    ("11/20/2026 1:02:03 PM", "TIMESTAMP"),
    ("2026-02-30T12:34:56Z", "VARCHAR"),
    ("2026-11-20", "DATE"),
    ("2026-02-30", "VARCHAR"),
    ("12:34:56", "TIME"),
    ("12:34:56.123", "TIME"),
    ("25:34:56", "CHAR(8)"),
    ("10.0.0.1", "CIDR"),
    ("10.0.0.0/8", "CIDR"),
    ("10.0.0.1/8", "VARCHAR"),
    ("::1", "CIDR"),
    ("fe80::1", "CIDR"),
    ("fe80::1%eth0", "VARCHAR"),
    ("256.0.0.1", "VARCHAR"),
    ("1.5", "FLOAT"),
    (".5", "FLOAT"),
    ("-1.5e3", "FLOAT"),
    ("1.2345678901234567890", "VARCHAR"),
    ("1.5e999", "CHAR(7)"),
    ("nan.", "CHAR(4)"),
    ("1_0.5", "CHAR(5)"),
    ("12345678", "INT"),
    ("123456789", "BIGINT"),
    ("-1234567", "INT"),
    ("-12345678", "BIGINT"),
    ("9223372036854775807", "BIGINT"),
    ("9223372036854775808", "VARCHAR"),
    ("+12", "CHAR(3)"),
    ("\u0661", "CHAR(1)"),
    ("1795177196", "BIGINT"),
    ("on", "CHAR(2)"),
    ("12345abc", "CHAR(8)"),
    ("123456abc", "VARCHAR"),
    (" 12", "CHAR(3)"),
]


@pytest.mark.parametrize(("value", "kind"), INFERRED)
def test_infer_value(value, kind):
    """The first rule that fits, for a column with a neutral name."""
    assert infer_value("value", value) == kind


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("time", "1795177196", "TIMESTAMP"),
        ("Event Time", "1795177196123", "TIMESTAMP"),
        ("timestamp", "946684800", "TIMESTAMP"),
        ("timestamp", "946684799", "BIGINT"),
        ("timestamp", "12", "INT"),
        ("timestamp", "-1795177196", "BIGINT"),
        ("value", "1795177196", "BIGINT"),
        ("timestamp", "1" * 25, "VARCHAR"),
    ],
)
def test_epoch_texts(name, text, kind):
    """Digits are a time only where the column is named after time."""
    assert infer_value(name, text) == kind


MERGED = [
    ("INT", "INT", "INT"),
    ("CHAR(3)", "CHAR(5)", "CHAR(5)"),
    ("CHAR(3)", "VARCHAR", "VARCHAR"),
    ("CHAR(3)", "INT", "CHAR(32)"),
    ("CHAR(3)", "TIMESTAMP", "CHAR(32)"),
    ("CHAR(64)", "INT", "CHAR(64)"),
    ("DECIMAL", "INT", "DECIMAL"),
    ("DECIMAL", "FLOAT", "FLOAT"),
    ("FLOAT", "INT", "FLOAT"),
    ("BIGINT", "INT", "BIGINT"),
    ("BIGINT", "DECIMAL", "DECIMAL"),
    ("BIGINT", "FLOAT", "FLOAT"),
    ("BOOLEAN", "INT", "VARCHAR"),
    ("TIMESTAMP", "DATE", "VARCHAR"),
    ("TIMESTAMP", "BIGINT", "VARCHAR"),
    ("UUID", "CIDR", "VARCHAR"),
    ("VARCHAR", "INT", "VARCHAR"),
]


@pytest.mark.parametrize(("a", "b", "kind"), MERGED)
def test_merge(a, b, kind):
    """In either order."""
    assert merge(a, b) == merge(b, a) == kind


def test_widening_goes_one_way_in_any_order():
    """Numbers, and texts: whoever adds first, the same type comes out in the end (hard-parts.md 4.4)."""
    for family in (["INT", "BIGINT", "DECIMAL", "FLOAT"], ["CHAR(1)", "CHAR(4)", "CHAR(32)", "VARCHAR"]):
        for size in (2, 3, 4):
            for chosen in itertools.combinations(family, size):
                ends = set()
                for order in itertools.permutations(chosen):
                    have = order[0]
                    for want in order[1:]:
                        have = widened(have, want)
                    ends.add(have)
                assert len(ends) == 1, chosen


@pytest.mark.parametrize(
    ("have", "want", "kind"),
    [
        ("INT", "INT", "INT"),
        ("INT", "BIGINT", "BIGINT"),
        ("BIGINT", "INT", "BIGINT"),
        ("INT", "DECIMAL", "DECIMAL"),
        ("BIGINT", "FLOAT", "FLOAT"),
        ("DECIMAL", "FLOAT", "FLOAT"),
        ("CHAR(2)", "CHAR(5)", "CHAR(5)"),
        ("CHAR(5)", "CHAR(2)", "CHAR(5)"),
        ("CHAR(2)", "VARCHAR", "VARCHAR"),
        ("VARCHAR", "CHAR(2)", "VARCHAR"),
        ("INT", "VARCHAR", None),
        ("INT", "CHAR(2)", None),
        ("VARCHAR", "INT", None),
        ("TIMESTAMP", "DATE", None),
        ("BOOLEAN", "INT", None),
        ("UUID", "VARCHAR", None),
    ],
)
def test_widened(have, want, kind):
    """None is a misfit."""
    assert widened(have, want) == kind


def test_infer_merges_over_all_rows():
    """Columns in file order; null says nothing; automatic columns and names that are none are left out."""
    rows = [
        {"Device Name": "a", "value": 1, "only null": None, "row_id": 5, "TSD-ID": 1, "12": 1},
        {"value": 2.5, "": 1, "x" * 80: 1, "late": "2026-01-01", "Device Name": None},
        {"value": None, "Device Name": "abc", "late": None},
    ]
    assert infer(rows) == {"device_name": "CHAR(3)", "value": "DECIMAL", "_12": "INT", "late": "DATE"}
    assert list(infer(rows)) == ["device_name", "value", "_12", "late"]
    assert infer([]) == infer([{}]) == {}


def test_infer_with_two_spellings_of_one_column():
    """The one spelled like the column counts, else the first."""
    assert infer([{"Temp": "x", "temp": 1}]) == {"temp": "INT"}
    assert infer([{"Temp": 1, "TEMP": "x"}]) == {"temp": "INT"}


def test_infer_never_makes_a_column_its_own_rows_do_not_fit():
    """CHAR with a type whose text is longer than 32 is a VARCHAR."""
    assert infer([{"a": "x"}, {"a": "123e4567-e89b-12d3-a456-426614174000"}]) == {"a": "VARCHAR"}
    assert infer([{"a": "x"}, {"a": 12}]) == {"a": "CHAR(32)"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("int", "INT"),
        ("INTEGER NOT NULL", "INT"),
        ("bigint", "BIGINT"),
        ("numeric(10, 2)", "DECIMAL"),
        ("decimal", "DECIMAL"),
        ("double  precision", "FLOAT"),
        ("real", "FLOAT"),
        ("Float", "FLOAT"),
        ("varchar", "VARCHAR"),
        ("character varying(255)", "VARCHAR"),
        ("text default 'x'", "VARCHAR"),
        ("string", "VARCHAR"),
        ("char(7)", "CHAR(7)"),
        ("CHAR ( 07 )", "CHAR(7)"),
        ("char", "CHAR(1)"),
        ("uuid", "UUID"),
        ("timestamp not null default now()", "TIMESTAMP"),
        ("timestamp without time zone", "TIMESTAMP"),
        ("date", "DATE"),
        ("time", "TIME"),
        ("cidr", "CIDR"),
        ("inet", "CIDR"),
        ("bool", "BOOLEAN"),
        ("serial primary key", "SERIAL PRIMARY KEY"),
    ],
)
def test_parse_type(text, kind):
    """Types of statements and policies by their ledger name."""
    assert parse_type(text) == kind


@pytest.mark.parametrize("text", ["", "blob", "char(0)", "int; drop table x", "json"])
def test_parse_type_refuses(text):
    """What is no type of ours is named."""
    with pytest.raises(AnyLogError) as refused:
        parse_type(text)
    assert refused.value.number == 40


def test_create_statement():
    """Automatic columns, columns in order, indexes (storage.md 2.2)."""
    columns = {
        "timestamp": "TIMESTAMP",
        "id": "UUID",
        "other": "UUID",
        "sensor_id_a": "INT",
        "day": "DATE",
        "n": "CHAR(3)",
    }
    assert create_statement("t", columns) == (
        'CREATE TABLE IF NOT EXISTS "t" ("row_id" SERIAL PRIMARY KEY, '
        '"insert_timestamp" TIMESTAMP NOT NULL DEFAULT NOW(), "tsd_name" CHAR(3), "tsd_id" BIGINT, '
        '"timestamp" TIMESTAMP NOT NULL DEFAULT NOW(), "id" UUID, "other" UUID, "sensor_id_a" INT, '
        '"day" DATE NOT NULL DEFAULT NOW(), "n" CHAR(3)); '
        'CREATE INDEX IF NOT EXISTS "t_tsd_index" ON "t" ("tsd_name", "tsd_id"); '
        'CREATE INDEX IF NOT EXISTS "t_timestamp_index" ON "t" ("timestamp"); '
        'CREATE INDEX IF NOT EXISTS "t_id_index" ON "t" ("id"); '
        'CREATE INDEX IF NOT EXISTS "t_sensor_id_a_index" ON "t" ("sensor_id_a"); '
        'CREATE INDEX IF NOT EXISTS "t_insert_timestamp_index" ON "t" ("insert_timestamp");'
    )


def test_long_index_names_stay_apart():
    """An engine that cuts names at 63 bytes must not make one of two."""
    columns = {"x" * 50 + end: "TIMESTAMP" for end in "ab"}
    found = [name for name, _ in indexes("t" * 40, columns)]
    assert len(set(found)) == 4
    assert max(map(len, found)) <= 63


def test_statement_is_sql():
    """SQLite takes it once its one foreign word is replaced, reserved words as columns included."""
    statement = create_statement("order", {"select": "INT", "from": "TIMESTAMP"}).replace("NOW()", "CURRENT_TIMESTAMP")
    engine = sqlite3.connect(":memory:")
    engine.executescript(statement)
    found = [name for _, name, *_ in engine.execute('pragma table_info("order")')]
    engine.close()
    assert found == ["row_id", "insert_timestamp", "tsd_name", "tsd_id", "select", "from"]


def test_a_row_of_too_many_columns_makes_none():
    """It will be parked; the table is made for the others."""
    wide = {f"c{place}": place for place in range(MOST_COLUMNS + 1)}
    assert infer([wide]) == {}
    assert infer([{"a": 1}, wide, {"b": 2}]) == {"a": "INT", "b": "INT"}
    assert len(infer([{f"n{place}": 1} for place in range(2000)])) == MOST_COLUMNS
