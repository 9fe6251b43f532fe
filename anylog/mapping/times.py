"""Times in readings, whatever their spelling, as one text in UTC (ingest.md 4.5, decisions.md 31).

Only fixed rules are used, none of the node's clock, zone or Python version: the same text is the same time everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_MOST = 253_402_300_800_000_000  # microseconds from 1970 to the year 10000
_WIDTHS = 4  # of texts in a column that are looked at together
_LEAST = -62_135_596_800_000_000  # and back to the year 1

_TIMESTAMP = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?"
    r"\ ?(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_AMERICAN = re.compile(
    r"(?P<month>[0-9]{1,2})/(?P<day>[0-9]{1,2})/(?P<year>[0-9]{4}) "
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) (?P<half>[AaPp])[Mm]"
)
_OFFSET = re.compile(r"[+-][0-9]{2}:[0-9]{2}")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WHOLE = re.compile(r"-?[0-9]+")
_POINTED = re.compile(r"-?[0-9]+\.[0-9]+")


def timestamp(text: str) -> str | None:
    """A text with a date and a time as `YYYY-MM-DD HH:MM:SS.ffffff` in UTC; None if it is no real one.

    Without a zone it is UTC; a date alone is its midnight; more than six fraction digits are cut; a leap second is
    the first second of the next minute. Years 1 to 9999.
    """
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        return _american(text)
    day, hour, minute, second, fraction, zone = found.groups()
    try:
        moment = datetime.combine(date.fromisoformat(day), datetime.min.time())
    except ValueError:
        return None
    if hour is None:
        return f"{day} 00:00:00.000000"
    if hour > "23" or minute > "59" or (second or "00") > "60":
        return None
    if zone in (None, "Z", "z") and second is not None and second < "60":
        return f"{day} {hour}:{minute}:{second}.{(fraction or '')[:6]:0<6}"
    microseconds = _microseconds(hour, minute, second or "00", fraction or "")
    if zone not in (None, "Z", "z"):
        digits = zone[1:].replace(":", "")
        if digits[:2] > "23" or digits[2:] > "59":
            return None
        away = (int(digits[:2]) * 60 + int(digits[2:] or 0)) * 60_000_000
        microseconds += away if zone[0] == "-" else -away
    return _shifted(moment, microseconds)


def plain_timestamp(text: str) -> bool:
    """Whether inference takes the text for a timestamp: a real date and a time, not a date alone."""
    return len(text) > 10 and timestamp(text) is not None


def timestamps(column: Sequence[str]) -> list[str] | None:
    """All texts of a column as `timestamp` gives them, if they share one of the common shapes; else None.

    The shapes: date, `T` or blank, time with none to nine fraction digits, then `Z`, `+hh:mm` or nothing. They are
    checked for the column as a whole, character place by character place, which costs a tenth of a look at each text.
    Times of a few widths are told apart first: whole seconds among others are often written without a fraction.
    """
    first = column[0]
    width = len(first)
    tail = "Z" if first.endswith("Z") else first[-6:] if _OFFSET.fullmatch(first, max(width - 6, 0)) else ""
    end = width - len(tail)
    if not (end == 19 or 21 <= end <= 29):
        return None
    if set(map(len, column)) != {width}:
        return _of_widths(column)
    text = "\n".join(column) + "\n"
    step = width + 1
    apart = first[10]
    if not text.isascii() or apart not in "T ":
        return None
    marks = [(4, "-"), (7, "-"), (10, apart), (13, ":"), (16, ":"), *enumerate(tail, end)]
    if end > 19:
        marks.append((19, "."))
    count = len(column)
    if any(text[place::step] != mark * count for place, mark in marks):
        return None
    places = (*range(4), 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, *range(20, end))
    if not all(text[place::step].isdigit() for place in places):
        return None
    if not set(text[14::step]) | set(text[17::step]) <= set("012345"):
        return None
    hours = {each[:13] for each in column}
    if any(hour[11:] > "23" for hour in hours) or not all(map(_is_date, {hour[:10] for hour in hours})):
        return None
    pad = ".000000" if end == 19 else "0" * (26 - end)
    if tail not in ("", "Z", "+00:00"):
        # An offset of whole minutes: what follows the minute stays.
        moved: dict[str, str] = {}
        for minute in {each[:16] for each in column}:
            there = timestamp(f"{minute}:00{tail}")
            if there is None:
                return None
            moved[minute] = there[:16]
        return [f"{moved[each[:16]]}{each[16 : min(end, 26)]}{pad}" for each in column]
    if end > 26:
        return [f"{each[:10]} {each[11:26]}" for each in column]
    if apart == "T":
        text = text.replace("T", " ")
    if tail or pad:
        text = text.replace(tail + "\n", pad + "\n")
    return text[:-1].split("\n")


def _of_widths(column: Sequence[str]) -> list[str] | None:
    places: dict[int, list[int]] = {}
    for place, text in enumerate(column):
        places.setdefault(len(text), []).append(place)
    if len(places) > _WIDTHS:
        return None
    done = [""] * len(column)
    for some in places.values():
        texts = timestamps([column[place] for place in some])
        if texts is None:
            return None
        for place, text in zip(some, texts, strict=True):
            done[place] = text
    return done


def epoch(number: int | float) -> str | None:
    """A number of seconds, or by its magnitude milli-, micro- or nanoseconds, since 1970 as a timestamp text.

    Whole numbers go by their digits: up to 10 seconds, up to 13 milli-, up to 16 micro-, up to 19 nanoseconds. Numbers
    with a fraction are seconds below 1e11, then the same. What is finer than a microsecond is cut.
    """
    size = abs(number)
    if type(number) is int:
        if size < 10**10:
            microseconds = number * 1_000_000
        elif size < 10**13:
            microseconds = number * 1000
        elif size < 10**16:
            microseconds = number
        elif size < 10**19:
            microseconds = number // 1000
        else:
            return None
    else:
        if not size < 1e19:  # NaN, too
            return None
        exact = Decimal(repr(number))
        scale = 6 if size < 1e11 else 3 if size < 1e13 else 0 if size < 1e16 else -3
        microseconds = int(exact.scaleb(scale).to_integral_value("ROUND_FLOOR"))
    if not _LEAST <= microseconds < _MOST:
        return None
    return _shifted(_EPOCH, microseconds)


def timestamp_of(value: object) -> str | None:
    """A JSON value of a timestamp column as its text: a text in any form, digits, or a number; None if it is none."""
    if type(value) is str:
        text = value.strip()
        if _WHOLE.fullmatch(text):
            return epoch(int(text)) if len(text) <= 20 else None
        if len(text) <= 30 and _POINTED.fullmatch(text):
            return epoch(float(text))
        return timestamp(text)
    if type(value) is int or type(value) is float:
        return epoch(value)
    return None


def date_of(text: str) -> str | None:
    """A date, or a timestamp at midnight UTC, as `YYYY-MM-DD`; None for others (a time of day would be lost)."""
    text = text.strip()
    if len(text) == 10:
        return text if _is_date(text) else None
    moment = timestamp(text)
    return moment[:10] if moment and moment.endswith(" 00:00:00.000000") else None


def time_of(text: str) -> str | None:
    """A time of day as `HH:MM:SS.ffffff`; None if it is none."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    hour, minute, second, fraction = found.groups()
    if hour > "23" or minute > "59" or second > "59":
        return None
    return f"{hour}:{minute}:{second}.{(fraction or '')[:6]:0<6}"


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _american(text: str) -> str | None:
    found = _AMERICAN.fullmatch(text)
    if found is None:
        return None
    month, day, year, hour = (int(found[part]) for part in ("month", "day", "year", "hour"))
    if not 1 <= hour <= 12 or found["minute"] > "59" or found["second"] > "59":
        return None
    hour = hour % 12 + (12 if found["half"] in "Pp" else 0)
    try:
        date(year, month, day)
    except ValueError:
        return None
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{found['minute']}:{found['second']}.000000"


def _microseconds(hour: str, minute: str, second: str, fraction: str) -> int:
    return ((int(hour) * 60 + int(minute)) * 60 + int(second)) * 1_000_000 + int(f"{fraction[:6]:0<6}")


def _shifted(moment: datetime, microseconds: int) -> str | None:
    try:
        return (moment + microseconds * _MICROSECOND).isoformat(" ", "microseconds")
    except OverflowError:
        return None
