"""When tasks begin and how often they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from anylog.errors import AnyLogError
from anylog.processes.schedule import MOST, Task, Tasks, read_period, read_start, repeat_text

NOW = datetime(2027, 1, 31, 10, 20, 30, 500_000, tzinfo=UTC).timestamp()


def moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-5]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15 seconds", 15), ("1 second", 1), ("5 minutes", 300), ("1 minute", 60), ("2 hours", 7200), ("1 DAY", 86_400),
        ("1 week", 604_800), ("1 month", 2_592_000), ("2 years", 63_072_000), ("90", 90), ("1.5 minutes", 90),
        (" 3  days ", 259_200),
    ],
)  # fmt: skip
def test_period(text: str, seconds: float) -> None:
    """Numbers and units, singular or plural."""
    assert read_period(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0 seconds", "0.5 seconds", "-1 minute", "5 fortnights", "1 day ago",
                                  "999999999 years", "nan", "5 minutes 3"])  # fmt: skip
def test_no_period(text: str) -> None:
    """Told with what would be right."""
    with pytest.raises(AnyLogError, match="is not a value for 'time'") as error:
        read_period(text)
    assert error.value.number == 175


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("now()", "2027-01-31 10:20:30.5"), ("now", "2027-01-31 10:20:30.5"),
        ("+2h", "2027-01-31 12:20:30.5"), ("+1d", "2027-02-01 10:20:30.5"), ("+10t", "2027-01-31 10:30:30.5"),
        ("+5s", "2027-01-31 10:20:35.5"), ("+1w", "2027-02-07 10:20:30.5"), ("+1m", "2027-02-28 10:20:30.5"),
        ("+1y", "2028-01-31 10:20:30.5"), ("+ 2 hours", "2027-01-31 12:20:30.5"),
        ("+13 months", "2028-02-29 10:20:30.5"),
        ("start of minute", "2027-01-31 10:21:00.0"), ("start of hour", "2027-01-31 11:00:00.0"),
        ("start of day", "2027-02-01 00:00:00.0"), ("Start  of Month", "2027-02-01 00:00:00.0"),
        ("start of year", "2028-01-01 00:00:00.0"), ("start of the day", "2027-02-01 00:00:00.0"),
        ("2027-03-04 05:06:07", "2027-03-04 05:06:07.0"), ("2027-03-04T05:06:07.25Z", "2027-03-04 05:06:07.2"),
        ("2027-03-04", "2027-03-04 00:00:00.0"), ("2020-1-2 3:04", "2020-01-02 03:04:00.0"),
    ],
)  # fmt: skip
def test_start(text: str, start: str) -> None:
    """Dates, spans from now on, and the next begin of something."""
    assert moment(read_start(text, NOW, UTC)) == start


def test_start_by_the_clock_of_the_machine() -> None:
    """A day begins where the machine is; a date with Z is in UTC."""
    east = timezone(timedelta(hours=9))
    assert moment(read_start("start of day", NOW, east)) == "2027-01-31 15:00:00.0"
    assert moment(read_start("2027-03-04 05:06:07", NOW, east)) == "2027-03-03 20:06:07.0"
    assert moment(read_start("2027-03-04 05:06:07Z", NOW, east)) == "2027-03-04 05:06:07.0"


@pytest.mark.parametrize("text", ["", "soon", "+", "+2", "+2x", "-2h", "start of week", "2027-02-30", "2027-13-01",
                                  "2027-01-01 25:00:00", "+999999999 years", "+999999999 days", "9999-12-31",
                                  "1800-01-01"])  # fmt: skip
def test_no_start(text: str) -> None:
    """Told with what would be right."""
    with pytest.raises(AnyLogError, match="is not a value for 'start'") as error:
        read_start(text, NOW, UTC)
    assert error.value.number == 175


@pytest.mark.parametrize(("seconds", "text"), [(300, "0:5:0"), (86_400, "24:0:0"), (3661, "1:1:1"), (1, "0:0:1")])
def test_repeat(seconds: float, text: str) -> None:
    """Without padding."""
    assert repeat_text(seconds) == text


def task(number: int, name: str = "", text: str = "get status") -> Task:
    return Task(id=number, name=name, text=text, period=300, start=NOW, due=0)


def test_names_and_ids() -> None:
    """A name is there once, an id is given again, and there is an end."""
    tasks = Tasks(2, {})
    for name in ("a", "", "", "b"):
        tasks.add(lambda number, name=name: task(number, name))  # type: ignore[misc]
    with pytest.raises(AnyLogError, match="Duplicate task name: 'a'"):
        tasks.add(lambda number: task(number, "a"))
    assert tasks.find("b", None).id == 4 and tasks.find(None, 2).name == ""
    del tasks.known[2]
    assert tasks.add(lambda number: task(number, "c")).id == 2
    assert [(each.id, each.name) for each in tasks.known.values()] == [(1, "a"), (2, "c"), (3, ""), (4, "b")]
    for name, number, code, text in [
        (None, None, 2, "Task Name or Task ID needs to be provided"), ("a", 1, 2, "only one is needed"),
        ("x", None, 162, "Task 'x' in scheduler '2' is not valid"), (None, 9, 162, "Task '9' in scheduler '2'"),
    ]:  # fmt: skip
        with pytest.raises(AnyLogError, match=text) as error:
            tasks.find(name, number)
        assert error.value.number == code
    for _ in range(MOST - 4):
        tasks.add(task)
    with pytest.raises(AnyLogError, match="it may have no more"):
        tasks.add(task)


def test_times_of_runs() -> None:
    """The run at hand, and the one before it that succeeded, or a period ago."""
    each = task(1, text="sql d 'x' where ts >= TIME(PREVIOUS) and ts < time( current ) and timestamp(3)")
    assert each.at(NOW) == (
        "sql d 'x' where ts >= '2027-01-31T10:15:30.500000Z' and ts < '2027-01-31T10:20:30.500000Z' and timestamp(3)"
    )
    each.previous = NOW - 1000
    assert "ts >= '2027-01-31T10:03:50.500000Z'" in each.at(NOW)
    assert task(1, text="x \"TIME(CURRENT)\" 'TIME(CURRENT)'").at(NOW) == (
        "x '2027-01-31T10:20:30.500000Z' '2027-01-31T10:20:30.500000Z'"
    )
