"""Types and values of columns: one row a rule of ingest.md 4.4 and 4.5."""

from __future__ import annotations

from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.mapping.body import TooWide
from anylog.mapping.values import Unfit, as_it_is, instant, kind_of

TYPES = [
    ("str string varchar bytestring nodeid expandednodeid qualifiedname qualifiedmame localizedtext", "VARCHAR"),
    ("variant datavalue diagnosticinfo", "VARCHAR"),
    ("int integer int16 uint16 int32 uint32 sbyte statuscode", "INT"),
    ("int64 uint64 bigint", "BIGINT"),
    ("float float64 double decimal numeric", "FLOAT"),
    ("char character byte", "CHAR(1)"),
    ("bool boolean", "BOOLEAN"),
    ("timestamp datetime", "TIMESTAMP"),
    ("date", "DATE"),
    ("time", "TIME"),
    ("uuid", "UUID"),
    ("nonetype", None),
]


@pytest.mark.parametrize(("names", "ledger"), TYPES)
def test_type(names: str, ledger: str | None) -> None:
    """Every name, in any letter case, is the one type of the table."""
    for name in names.split():
        assert kind_of(name).ledger == kind_of(f" {name.upper()} ").ledger == ledger, name


@pytest.mark.parametrize(
    ("text", "ledger"),
    [
        ("char varying", "VARCHAR"),
        ("Char  Varying(20)", "VARCHAR"),
        ("character varying", "VARCHAR"),
        ("varchar(20)", "VARCHAR"),
        ("CHAR(5)", "CHAR(5)"),
        ("char ( 5 )", "CHAR(5)"),
        ("character(7)", "CHAR(7)"),
        ("decimal(10,2)", "FLOAT"),
        ("numeric(10, 2)", "FLOAT"),
    ],
)
def test_sized_type(text: str, ledger: str) -> None:
    """Sizes count for CHAR alone."""
    assert kind_of(text).ledger == ledger


@pytest.mark.parametrize(
    "text", ["", "bogus", "*", "int(5)", "char(0)", "char(x)", "str;", "none", "char(99999999999)"]
)
def test_no_type(text: str) -> None:
    """An unknown type is refused by name."""
    with pytest.raises(AnyLogError, match="is not a type of a column"):
        kind_of(text)


U = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
VALUES: list[tuple[str, Any, Any]] = [
    ("str", "x", "x"),
    ("str", "", ""),
    ("str", "ü€𝄞", "ü€𝄞"),
    ("str", 5, "5"),
    ("str", 1.5, "1.5"),
    ("str", True, "true"),
    ("str", {"a": [1, None]}, '{"a":[1,null]}'),
    ("str", [1, "null"], '[1,"null"]'),
    ("str", TooWide("123456789012345678901"), "123456789012345678901"),
    ("str", 10**30, str(10**30)),
    ("char(2)", "longer", "longer"),
    ("int", 5, 5),
    ("int", "5", 5),
    ("int", " -7 ", -7),
    ("int", 5.0, 5),
    ("int", "5.0", 5),
    ("int", 5.5, 5.5),
    ("int", "5.5", 5.5),
    ("int", True, 1),
    ("int", 2**63 - 1, 2**63 - 1),
    ("int64", -(2**63), -(2**63)),
    ("float", 5, 5),
    ("float", 5.25, 5.25),
    ("float", "5.25", 5.25),
    ("float", "1e3", 1000.0),
    ("float", ".5", 0.5),
    ("bool", True, True),
    ("bool", 0, False),
    ("bool", "TRUE", True),
    ("bool", " false ", False),
    ("bool", "1", True),
    ("timestamp", "2026-11-20T12:34:56Z", "2026-11-20T12:34:56Z"),
    ("timestamp", "2026-11-20T12:34:56", "2026-11-20T12:34:56Z"),
    ("timestamp", "2026-11-20T12:34:56.5Z", "2026-11-20T12:34:56.500000Z"),
    ("timestamp", "2026-11-20T12:34:56.000000Z", "2026-11-20T12:34:56Z"),
    ("timestamp", "2026-11-20T12:34:56.123456Z", "2026-11-20T12:34:56.123456Z"),
    ("timestamp", "2026-11-20T12:34:56.123456789Z", "2026-11-20T12:34:56.123456Z"),
    ("timestamp", "2026-11-20T12:34:56+02:00", "2026-11-20T10:34:56Z"),
    ("timestamp", "2026-11-20T23:34:56-02:00", "2026-11-21T01:34:56Z"),
    ("timestamp", "2026-11-20 12:34:56", "2026-11-20T12:34:56Z"),
    ("timestamp", "2026-11-20", "2026-11-20T00:00:00Z"),
    ("timestamp", "2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
    ("timestamp", 1700000000, "2023-11-14T22:13:20Z"),
    ("timestamp", "1700000000", "2023-11-14T22:13:20Z"),
    ("timestamp", 1700000000123, "2023-11-14T22:13:20.123000Z"),
    ("timestamp", "1700000000123", "2023-11-14T22:13:20.123000Z"),
    ("timestamp", 1700000000123456, "2023-11-14T22:13:20.123456Z"),
    ("timestamp", 1700000000123456789, "2023-11-14T22:13:20.123456Z"),
    ("timestamp", 1700000000.25, "2023-11-14T22:13:20.250000Z"),
    ("timestamp", "1700000000.25", "2023-11-14T22:13:20.250000Z"),
    ("date", "2026-11-20", "2026-11-20"),
    ("time", "12:34:56", "12:34:56.000000"),
    ("uuid", U.upper(), U),
    ("nonetype", 5, 5),
    ("nonetype", "x", "x"),
    ("nonetype", {"a": 1}, {"a": 1}),
]


@pytest.mark.parametrize(("kind", "value", "expected"), VALUES, ids=lambda value: value if type(value) is str else "")
def test_value(kind: str, value: Any, expected: Any) -> None:
    """A value, alone and among others of its kind, becomes the same."""
    typed = kind_of(kind)
    found = typed.convert(value)
    assert found == expected and type(found) is type(expected)
    several = typed.convert_all([value] * 7)
    assert several is None or list(several) == [expected] * 7


NAN = float("nan")
UNFIT: list[tuple[str, Any, str]] = [
    ("str", NAN, "not a finite number"),
    ("str", [NAN], "not a finite number inside"),
    ("str", "\ud800", "half a character"),
    ("str", b"x", "no JSON value"),
    ("str", 10**5000, "more than a thousand digits"),
    ("str", {1: object()}, "cannot be written as JSON"),
    ("int", "x", "not a number"),
    ("int", "5 6", "not a number"),
    ("int", "٣", "not a number"),
    ("int", "", "an empty text is no number"),
    ("int", None, "not a number"),
    ("int", [], "not a number"),
    ("int", {}, "not a number"),
    ("int", NAN, "not a finite number"),
    ("int", float("inf"), "not a finite number"),
    ("int", 2**63, "beyond 64 bits"),
    ("int", 1e300, "beyond 64 bits"),
    ("int", TooWide("9" * 30), "beyond 64 bits"),
    ("int", "9" * 30, "beyond 64 bits"),
    ("float", "1e999", "not a finite number"),
    ("float", "nan", "not a number"),
    ("float", "9" * 5000, "beyond 64 bits"),
    ("float", "1." + "9" * 5000, "not a number"),
    ("bool", "yes", "neither true nor false"),
    ("bool", 2, "neither true nor false"),
    ("bool", "", "neither true nor false"),
    ("timestamp", "yesterday", "not a time"),
    ("timestamp", "2026-02-30T00:00:00Z", "not a time"),
    ("timestamp", "2026-02-29T00:00:00Z", "not a time"),
    ("timestamp", "0000-01-01T00:00:00Z", "not a time"),
    ("timestamp", "", "an empty text is no time"),
    ("timestamp", True, "not a time"),
    ("timestamp", NAN, "not a time"),
    ("timestamp", 10**400, "not a time"),
    ("timestamp", "9" * 5000, "not a time"),
    ("timestamp", {}, "not a time"),
    ("date", "2026-13-01", "not a date"),
    ("date", 5, "not a date"),
    ("time", "25:00:00", "not a time of day"),
    ("uuid", "x", "not a UUID"),
    ("uuid", "", "an empty text"),
    ("nonetype", NAN, "not a finite number"),
    ("nonetype", {1, 2}, "no JSON value"),
]


@pytest.mark.parametrize(("kind", "value", "told"), UNFIT, ids=lambda value: value if type(value) is str else "")
def test_unfit(kind: str, value: Any, told: str) -> None:
    """What cannot be the type is refused with the reason, alone and in a list."""
    typed = kind_of(kind)
    with pytest.raises(Unfit, match=told):
        typed.convert(value)
    assert typed.convert_all([value] * 7) is None or kind == "str"


@pytest.mark.parametrize("kind", ["str", "int", "float", "bool", "timestamp", "date", "nonetype"])
def test_lists_and_single_values_agree(kind: str) -> None:
    """The quick way through a list never gives what a look at each would not."""
    typed = kind_of(kind)
    pool = [row[1] for row in VALUES] + [row[1] for row in UNFIT if row[1] is not None]
    for value in pool:
        for other in (value, "2026-11-20T12:34:56Z", 7, 0.5, True, "x"):
            column = [other, value, other, other, other, other]
            done = typed.convert_all(column)
            if done is not None:
                assert list(done) == [typed.convert(each) for each in column]


def test_wide_numbers_are_kept() -> None:
    """A whole number that no column takes is not rounded: it stays its digits, and the load parks the row."""
    assert as_it_is(2**64) == TooWide(str(2**64)) and as_it_is(2**64 - 1) == 2**64 - 1


def test_instant() -> None:
    """The time of the node as text; one no year has is refused."""
    assert instant(0) == "1970-01-01T00:00:00Z"
    assert instant(1700000000.25) == "2023-11-14T22:13:20.250000Z"
    with pytest.raises(AnyLogError):
        instant(1e300)


def test_the_least_whole_number() -> None:
    """-2**63 is one of 64 bits, also as a float; the next ones are not."""
    whole = kind_of("bigint").convert
    assert whole(-(2.0**63)) == whole("-9223372036854775808.0") == -(2**63)
    for beyond in (2.0**63, -(2.0**63) * 1.0000000000000003):
        with pytest.raises(Unfit, match="beyond 64 bits"):
            whole(beyond)
