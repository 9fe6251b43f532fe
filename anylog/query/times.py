"""Times in statements: literals, spans, units and zones (query.md 3, decisions.md 28 and 31)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from anylog.errors import AnyLogError

_LITERAL = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?\s*([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_SPAN = re.compile(r"([+-]?)\s*([0-9]{1,9})\s*([a-z]+)")
_LETTERS = {"s": "second", "t": "minute", "h": "hour", "d": "day", "w": "week", "m": "month", "y": "year"}
SECONDS = {
    "year": 31557600,
    "month": 2630016,
    "week": 604800,
    "day": 86400,
    "hour": 3600,
    "minute": 60,
    "second": 1,
}
_SHORT_ZONES = {
    "pt": "America/Los_Angeles",
    "mt": "America/Denver",
    "ct": "America/Chicago",
    "et": "America/New_York",
}
Zone = tzinfo | None  # None: the zone of the machine


def unit_of(word: str) -> str | None:
    """`day`, `days` or `d` as `day`; note that `m` is a month and `t` a minute. None for other words."""
    word = word.lower()
    if word in _LETTERS:
        return _LETTERS[word]
    return word.removesuffix("s") if word.removesuffix("s") in SECONDS else None


def zone_of(name: str) -> Zone:
    """`utc`, `local`, `pt mt ct et`, or a name of the tz database. Raises AnyLogError 173."""
    lower = name.strip().lower()
    if lower in ("utc", "default"):
        return UTC
    if lower == "local":
        return None
    try:
        return ZoneInfo(_SHORT_ZONES.get(lower, name.strip()))
    except (KeyError, ValueError, OSError):  # unknown, not a plain name, a folder of zones
        raise AnyLogError(173, f"'{name}' is not a time zone") from None


def shown(moment: datetime) -> str:
    """A naive UTC moment as times are stored: `YYYY-MM-DD HH:MM:SS.ffffff`."""
    return moment.isoformat(" ", "microseconds")


def moment_of(text: str, zone: Zone = UTC) -> datetime | None:
    """A time literal as a naive UTC moment; None if it is none.

    Read in `zone` when it has a time of day, no `T` and no zone of its own; a date alone is its midnight in UTC.
    """
    found = _LITERAL.fullmatch(text.strip())
    if found is None:
        return None
    day, hour, minute, second, fraction, own = found.groups()
    try:
        if hour is None:
            return datetime.fromisoformat(day)
        moment = datetime.fromisoformat(f"{day} {hour}:{minute}:{second or '00'}.{(fraction or '')[:6]:0<6}")
        if own and own not in "Zz":
            digits = own[1:].replace(":", "").ljust(4, "0")
            away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            return moment - away if own[0] == "+" else moment + away
        if own or zone is UTC or text.strip()[10] in "Tt":
            return moment
        return moment.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def stored(text: str, zone: Zone = UTC) -> str | None:
    """A time literal in the form of stored times; None if it is none."""
    moment = moment_of(text, zone)
    return None if moment is None else shown(moment)


def moved(moment: datetime, number: int, unit: str) -> datetime:
    """`number` units later; months and years keep the day or end at the last of the month. Raises AnyLogError 46."""
    try:
        if unit not in ("month", "year"):
            return moment + timedelta(seconds=number * SECONDS[unit])
        months = moment.year * 12 + moment.month - 1 + number * (12 if unit == "year" else 1)
        first = moment.replace(year=months // 12, month=months % 12 + 1, day=1)
        following = (months + 1) // 12, (months + 1) % 12 + 1
        last = 31 if following[0] > 9999 else (datetime(*following, 1) - timedelta(days=1)).day
        return first.replace(day=min(moment.day, last))
    except (ValueError, OverflowError):
        raise AnyLogError(46, f"{number} {unit}s from {shown(moment)} is no date") from None


def modified(moment: datetime, modifier: str) -> datetime:
    """Apply `+2 weeks`, `-1 hour`, `- 3d` or `start of year|month|day|hour|minute`. Raises AnyLogError 46."""
    words = modifier.strip().lower()
    if words.startswith("start of "):
        fields = {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0}
        units = ["year", *fields]
        unit = words.removeprefix("start of ").strip()
        if unit in units[:-2]:
            return moment.replace(**{name: fields[name] for name in units[units.index(unit) + 1 :]})  # type: ignore[arg-type]
    elif found := _SPAN.fullmatch(words):
        unit_name = unit_of(found[3])
        if unit_name:
            return moved(moment, int(found[2]) * (-1 if found[1] == "-" else 1), unit_name)
    raise AnyLogError(46, f"'{modifier}' does not change a time")


def called(name: str, arguments: Sequence[str], now: datetime, zone: Zone) -> str | None:
    """The value of `date(...)`, `timestamp(...)` or `datetime(...)`; None if its first argument is no time."""
    first = arguments[0] if arguments else "now"
    moment = now if first.lower() in ("now", "now()") else moment_of(first, zone)
    if moment is None:
        return None
    for modifier in arguments[1:]:
        moment = modified(moment, modifier)
    return shown(moment)[:10] if name == "date" else shown(moment)


def offset(moment: datetime, zone: Zone) -> int:
    """Seconds that `zone` is ahead of UTC at a naive UTC moment."""
    away = moment.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    return 0 if away is None else round(away.total_seconds())


def offsets(first: str, last: str, zone: Zone) -> list[tuple[str, int]]:
    """How far `zone` is ahead of UTC between two stored times: (until, seconds), the last one without end ("").

    Looked for week by week between 1900 and 2100, then to the second.
    """
    zero = datetime(1900, 1, 1)

    def seconds(text: str) -> int:
        moment = min(max(moment_of(text) or zero, zero), datetime(2100, 1, 1))
        return (moment - zero) // timedelta(seconds=1)

    def at(second: int) -> int:
        return offset(zero + timedelta(seconds=second), zone)

    steps: list[tuple[str, int]] = []
    low, high = seconds(first), seconds(last)
    ahead = at(low)
    while low < high:
        end = min(low + 7 * 86_400, high)
        if at(end) != ahead:
            before = low  # still as far ahead; `end` is not
            while end - before > 1:
                middle = (before + end) // 2
                before, end = (middle, end) if at(middle) == ahead else (before, middle)
            steps.append((shown(zero + timedelta(seconds=end)), ahead))
            ahead = at(end)
        low = end
    return [*steps, ("", ahead)]


def utc(seconds: float) -> datetime:
    """Unix seconds as a naive UTC moment."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
