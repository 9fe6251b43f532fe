"""Time buckets and windows as SQLite expressions over times kept as text (query.md 5.1 to 5.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.query.select import compact
from anylog.query.times import SECONDS, Zone, stored, unit_of
from anylog.query.tokens import Token, render, split

POINTS = 1000  # buckets aimed at when a statement does not say how long they are
_START = {"year": 1, "month": 6, "day": 9, "hour": 12, "minute": 15, "second": 18}  # where the digits of a unit begin
_REST = {  # what follows them at the start of a bucket
    "year": "-01-01 00:00:00.000000",
    "month": "-01 00:00:00.000000",
    "day": " 00:00:00.000000",
    "hour": ":00:00.000000",
    "minute": ":00.000000",
    "second": ".000000",
}
_PARTS = {"dow": "%w", "doy": "%j", "epoch": "%s", "week": "%W"}


@frozen
class Increments:
    """What `increments(...)` asks for; unit and number are None until the bounds of the time are looked at."""

    column: str
    unit: str | None = None
    number: int = 1
    points: int = POINTS


WRONG_PERIOD = "Inconsistent arguments for function: 'period'"


@frozen
class Period:
    """What `period(...)` asks for: the last `number` units before the newest row that is not after `until`."""

    unit: str
    number: int
    until: str  # a stored time
    column: Sequence[Token]
    also: Sequence[Token]  # a further condition, or nothing


def read_period(inside: Sequence[Token], zone: Zone) -> Period:
    """`unit, n, time, column [, and condition]`. Raises AnyLogError 46."""
    arguments = split(inside)
    wrong = AnyLogError(46, WRONG_PERIOD)
    if len(arguments) < 4 or any(not argument for argument in arguments):
        raise wrong
    unit = unit_of(arguments[0][0].value)
    number = whole_number(compact(arguments[1]))
    until = stored(arguments[2][0].value, zone) if arguments[2][0].kind == "text" else None
    also = [token for argument in arguments[4:] for token in (*argument, Token("sign", ","))][:-1]
    if len(arguments[0]) != 1 or unit is None or not number or until is None:
        raise wrong
    if also and (not also[0].says("and") or len(also) < 2):
        raise wrong
    return Period(unit, number, until, arguments[3], also[1:])


def bucket(unit: str, number: int, column: str) -> str:
    """Start of the bucket a time falls in, as a stored time; buckets begin anew with each parent unit (query.md 5.2).

    Days of a month and months of a year count from 1, so the first bucket of several is one shorter.
    """
    if unit == "week":
        unit, number = "day", number * 7
    start = _START[unit]
    width = 4 if unit == "year" else 2
    if number == 1:
        return f"(substr({column}, 1, {start + width - 1}) || '{_REST[unit]}')"
    floor = f"cast(substr({column}, {start}, {width}) as integer) / {number} * {number}"
    if unit in ("year", "month", "day"):
        floor = f"max(1, {floor})"
    head = f"substr({column}, 1, {start - 1}) || " if start > 1 else ""
    return f"({head}printf('%0{width}d', {floor}) || '{_REST[unit]}')"


def truncated(unit: str, column: str) -> str | None:
    """`date_trunc`: the start of the unit a time falls in; weeks begin on Monday. None for an unknown unit."""
    known = unit_of(unit)
    if known is None:
        return None
    if known == "week":
        return f"(date(substr({column}, 1, 10), 'weekday 0', '-6 days') || '{_REST['day']}')"
    return bucket(known, 1, column)


def part(unit: str, column: str) -> str | None:
    """`extract`: a part of a time as a whole number; None for an unknown unit."""
    known = unit_of(unit) if len(unit) > 1 else None
    if known in _START:
        return f"cast(substr({column}, {_START[known]}, {4 if known == 'year' else 2}) as integer)"
    code = _PARTS.get(known or unit)
    return code and f"cast(strftime('{code}', substr({column}, 1, 19)) as integer)"


def read_increments(arguments: Sequence[Sequence[Token]]) -> Increments:
    """`(unit, n, column)` in any order, or `(column [, points])`. Raises AnyLogError 46."""
    units: list[str] = []
    numbers: list[int] = []
    columns: list[str] = []
    for argument in arguments:
        text = argument[0].value if len(argument) == 1 else compact(argument)
        if len(argument) == 1 and argument[0].kind == "number" and text.isdigit():
            numbers.append(int(text))
        elif (
            len(argument) == 1 and argument[0].kind != "number" and unit_of(text) and not units and len(arguments) == 3
        ):
            units.append(str(unit_of(text)))
        elif argument and argument[0].kind not in ("text", "number", "sign"):
            columns.append(render(argument))
    wrong = len(columns) != 1 or any(number < 1 for number in numbers)
    if not wrong and len(arguments) == 3 and len(units) == len(numbers) == 1:
        return Increments(columns[0], units[0], numbers[0])
    if not wrong and len(arguments) == len(numbers) + 1 <= 2:
        return Increments(columns[0], points=numbers[0] if numbers else POINTS)
    said = ", ".join(render(argument) for argument in arguments)
    raise AnyLogError(46, f'Non supported SQL: Error parsing SQL stmt near function: "increments({said})"')


def chosen(first: datetime, last: datetime, points: int) -> tuple[str, int]:
    """Unit and number for about `points` buckets between two moments (query.md 5.3)."""
    seconds = max((last - first).total_seconds(), 0) / points
    for unit, length in SECONDS.items():
        if length <= seconds:
            return unit, max(1, round(seconds / length))
    return "second", 1


def window(unit: str, number: int, until: str, column: str, table: str, also: str) -> str:
    """`period`: rows in the last `number` units before the newest one that is not after `until` (query.md 5.1).

    The rest of the fraction is kept as text, since the engine's own arithmetic knows only milliseconds. `also` is a
    further condition or empty.
    """
    upto = f"{column} <= '{until}'{f' and ({also})' if also else ''}"
    seconds = "substr(newest, 1, 19)"
    if unit in ("month", "year"):
        months = number * (12 if unit == "year" else 1)
        back = (  # the day is kept, or is the last one of its month
            f"min(date({seconds}, '-{months} months'),"
            f" date({seconds}, 'start of month', '-{months} months', '+1 month', '-1 day')) || substr(newest, 11)"
        )
    else:
        back = f"datetime({seconds}, '-{number * SECONDS[unit]} seconds') || substr(newest, 20)"
    return f"({upto} and {column} > (select {back} from (select max({column}) as newest from {table} where {upto})))"


def whole_number(text: str) -> int | None:
    """A positive number in digits."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) and int(text) else None
