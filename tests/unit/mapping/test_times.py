"""Times: every form of ingest.md 4.5 as one text in UTC; the quick way and the careful way agree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anylog.mapping.times import date_of, epoch, time_of, timestamp, timestamp_of, timestamps

FORMS = [
    ("2026-11-20T12:34:56Z", "2026-11-20 12:34:56.000000"),
    ("2026-11-20T12:34:56", "2026-11-20 12:34:56.000000"),
    ("2026-11-20 12:34:56", "2026-11-20 12:34:56.000000"),
    ("2026-11-20t12:34:56z", "2026-11-20 12:34:56.000000"),
    ("2026-11-20T12:34Z", "2026-11-20 12:34:00.000000"),
    ("2026-11-20T12:34:56.1Z", "2026-11-20 12:34:56.100000"),
    ("2026-11-20T12:34:56,123Z", "2026-11-20 12:34:56.123000"),
    ("2026-11-20T12:34:56.123456Z", "2026-11-20 12:34:56.123456"),
    ("2026-11-20T12:34:56.123456999Z", "2026-11-20 12:34:56.123456"),
    ("2026-11-20T12:34:56.1234569999999", "2026-11-20 12:34:56.123456"),
    ("2026-11-20T12:34:56+00:00", "2026-11-20 12:34:56.000000"),
    ("2026-11-20T12:34:56-00:00", "2026-11-20 12:34:56.000000"),
    ("2026-11-20T12:34:56.5+02:00", "2026-11-20 10:34:56.500000"),
    ("2026-11-20T12:34:56+0530", "2026-11-20 07:04:56.000000"),
    ("2026-11-20 12:34:56+02", "2026-11-20 10:34:56.000000"),
    ("2026-11-20 12:34:56 -08:00", "2026-11-20 20:34:56.000000"),
    ("2026-12-31T23:30:00-01:00", "2027-01-01 00:30:00.000000"),
    ("2026-01-01T00:30:00+01:00", "2025-12-31 23:30:00.000000"),
    ("2026-11-20", "2026-11-20 00:00:00.000000"),
    ("2024-02-29T00:00:00Z", "2024-02-29 00:00:00.000000"),
    ("2016-12-31T23:59:60Z", "2017-01-01 00:00:00.000000"),
    ("2016-12-31T23:59:60.25Z", "2017-01-01 00:00:00.250000"),
    ("2017-01-01T00:59:60+01:00", "2017-01-01 00:00:00.000000"),
    ("0001-01-01T00:00:00Z", "0001-01-01 00:00:00.000000"),
    ("9999-12-31T23:59:59.999999Z", "9999-12-31 23:59:59.999999"),
    ("11/20/2026 1:02:03 PM", "2026-11-20 13:02:03.000000"),
    ("1/2/2026 12:00:00 AM", "2026-01-02 00:00:00.000000"),
    ("1/2/2026 12:00:00 pm", "2026-01-02 12:00:00.000000"),
    ("2023-02-29T00:00:00Z", None),
    ("1900-02-29T00:00:00Z", None),
    ("2026-13-01T00:00:00Z", None),
    ("2026-00-01T00:00:00Z", None),
    ("2026-11-31", None),
    ("2026-11-20T24:00:00Z", None),
    ("2026-11-20T12:60:00Z", None),
    ("2026-11-20T12:34:61Z", None),
    ("2026-11-20T12:34:56+24:00", None),
    ("2026-11-20T12:34:56+02:60", None),
    ("0000-01-01T00:00:00Z", None),
    ("0001-01-01T00:00:00+01:00", None),
    ("9999-12-31T23:30:00-01:00", None),
    ("9999-12-31T23:59:60Z", None),
    ("2026-11-20X12:34:56Z", None),
    ("2026-11-20T12:34:56.Z", None),
    ("2026-11-20T12:34:56Z\n", None),
    ("2026-11-20T1٢:34:56Z", None),
    ("2026-W47-5T12:34:56", None),
    ("20261120T123456Z", None),
    ("13/01/2026 1:02:03 PM", None),
    ("2/30/2026 1:02:03 PM", None),
    ("1/2/2026 13:02:03 PM", None),
    ("", None),
    ("yesterday", None),
]


@pytest.mark.parametrize(("text", "expected"), FORMS)
def test_timestamp(text, expected):
    """One row a form; None is no time."""
    assert timestamp(text) == expected
    assert (timestamps([text, text]) or [expected, expected]) == [expected, expected]


@pytest.mark.parametrize("end", ["", ".1", ".123", ".123456", ".123456789"])
@pytest.mark.parametrize("zone", ["", "Z", "+00:00", "+05:45", "-11:30"])
@pytest.mark.parametrize("apart", ["T", " "])
def test_common_shapes_take_the_quick_way(apart, end, zone):
    """A column of one shape is converted as a whole, to what the careful way gives."""
    column = [
        f"2026-{month:02}-{day:02}{apart}{day % 24:02}:{month:02}:59{end}{zone}"
        for month, day in [(1, 1), (2, 28), (12, 31)]
    ]
    assert timestamps(column) == [timestamp(each) for each in column]


@pytest.mark.parametrize(
    "column",
    [
        ["2026-01-01T00:00:00Z", "2026-01-01 00:00:00Z"],
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:60.1Z"],
        ["2026-01-01T00:00:00Z", *(f"2026-01-01T00:00:00.{'1' * digits}Z" for digits in range(1, 5))],
        ["2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00+02:00"],
        ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00+0100"],
        ["2026-01-01T00:00:00Z", "2026-02-30T00:00:00Z"],
        ["2026-01-01T00:00:00Z", "2026-01-01T24:00:00Z"],
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:60Z"],
        ["2026-01-01T00:00:00Z", "2026-01-01T00:0a:00Z"],
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:0\nZ"],
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:0٢Z"],
        ["0001-01-01T00:00:00+01:00", "2026-01-01T00:00:00+01:00"],
        ["short"],
        [""],
    ],
)
def test_mixed_columns_take_the_careful_way(column):
    """One that differs sends the column to the look at each."""
    assert timestamps(column) is None


@pytest.mark.parametrize(
    "column",
    [
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.1Z"],
        ["2026-01-01T00:00:00.100Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.200Z", "2026-01-01 00:00:00"],
        ["2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00", "2026-01-01T00:00:00.123456-01:00"],
    ],
)
def test_columns_of_a_few_widths_take_the_quick_way(column):
    """Whole seconds without a fraction among others: each width is a shape of its own, and all stay in order."""
    assert timestamps(column) == [timestamp(each) for each in column]


SHAPED = st.from_regex(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-6][0-9])?",
    fullmatch=True,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(SHAPED, min_size=1, max_size=4))
def test_both_ways_agree(column):
    """Whatever the quick way takes, the careful way gives too; and it never takes what is no time."""
    quick = timestamps(column)
    if quick is not None:
        assert quick == [timestamp(each) for each in column]


@settings(max_examples=100, deadline=None)
@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_iso_format_of_python(moment):
    """What `isoformat` writes is read, as Python itself would take it to UTC."""
    from datetime import UTC, datetime

    text = moment.isoformat()
    if moment.tzinfo is not None:
        if moment.utcoffset().seconds % 60:
            return  # local mean times of the nineteenth century
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:
            return
    assert timestamp(text) == datetime.isoformat(moment.replace(tzinfo=None), " ", "microseconds")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "1970-01-01 00:00:00.000000"),
        (1, "1970-01-01 00:00:01.000000"),
        (-1, "1969-12-31 23:59:59.000000"),
        (1_795_177_196, "2026-11-20 12:19:56.000000"),
        (9_999_999_999, "2286-11-20 17:46:39.000000"),
        (10_000_000_000, "1970-04-26 17:46:40.000000"),
        (1_795_177_196_123, "2026-11-20 12:19:56.123000"),
        (1_795_177_196_123_456, "2026-11-20 12:19:56.123456"),
        (1_795_177_196_123_456_789, "2026-11-20 12:19:56.123456"),
        (10**19, None),
        (1_795_177_196.5, "2026-11-20 12:19:56.500000"),
        (1_795_177_196.123456, "2026-11-20 12:19:56.123456"),
        (-0.25, "1969-12-31 23:59:59.750000"),
        (1_795_177_196_123.4, "2026-11-20 12:19:56.123400"),
        (1.795177196123456e15, "2026-11-20 12:19:56.123456"),
        (9.9e10, "5107-03-10 08:00:00.000000"),
        (float("nan"), None),
        (float("inf"), None),
        (1e300, None),
    ],
)
def test_epoch(number, expected):
    """The unit goes by the magnitude; finer than a microsecond is cut."""
    assert epoch(number) == expected
    if expected and not (type(number) is float and "e" in repr(number)):
        assert timestamp_of(str(number)) == expected
    assert timestamp_of(number) == expected


@pytest.mark.parametrize("value", [True, None, [], {}, "12345678901234567890", "9" * 5000, "1.5.2"])
def test_no_timestamps(value):
    """Booleans and others are no times, nor are endless digits."""
    assert timestamp_of(value) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20", "2026-11-20"),
        (" 2026-11-20 ", "2026-11-20"),
        ("2026-11-20T00:00:00Z", "2026-11-20"),
        ("2026-11-20T01:00:00+01:00", "2026-11-20"),
        ("2026-11-20T00:00:01Z", None),
        ("2026-02-30", None),
        ("20261120", None),
        ("2026/11/20", None),
    ],
)
def test_date_of(text, expected):
    """A time of day is not lost in silence."""
    assert date_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12:34:56", "12:34:56.000000"),
        ("12:34:56.5", "12:34:56.500000"),
        ("23:59:59.9999999", "23:59:59.999999"),
        ("24:00:00", None),
        ("12:60:00", None),
        ("12:34:60", None),
        ("12:34", None),
    ],
)
def test_time_of(text, expected):
    """Times of day with six fraction digits."""
    assert time_of(text) == expected
