"""Dates of options such as `start_date`: fixed, or so long before now (operator-ha.md 7). Pure; all in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from anylog.errors import AnyLogError

FORMS = "YYYY-MM-DD, YYYY-MM-DD HH:MM:SS, YY-MM-DD HH:MM:SS, now, or as -10d with d, h, m or s"
_FIXED = re.compile(
    r"(\d\d|\d{4})-(\d\d)-(\d\d)(?:[ Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?([Zz]|[+-]\d\d:?\d\d)?)?"
)
_SPAN = re.compile(r"-\s*(\d{1,9})\s*([a-z]*)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_LETTERS = {"": "day", "s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}


def stored_date(key: str, text: str, now: float) -> str:
    """As times are stored, "YYYY-MM-DD HH:MM:SS.ffffff"; `now` are unix seconds.

    A number without unit are days. A time without a zone of its own is UTC. Raises AnyLogError 175 naming the key.
    """
    words = text.strip().lower()
    try:
        if words in ("now", "now()", "-0"):
            moment = _utc(now)
        elif span := _SPAN.fullmatch(words):
            unit = _LETTERS.get(span[2]) or span[2].removesuffix("s")
            moment = _utc(now) - timedelta(seconds=int(span[1]) * _SECONDS[unit])
        elif (fixed := _FIXED.fullmatch(words)) and words.isascii():
            moment = _moment(*fixed.groups())
        else:
            raise ValueError
    except (ValueError, KeyError, OverflowError):
        raise AnyLogError(175, f"'{text[:60]}' is not a value for '{key}': {FORMS}") from None
    return moment.isoformat(" ", "microseconds")


def stored_interval(start: str | None, end: str | None, now: float) -> tuple[str, str]:
    """`start_date` and `end_date` as times are stored, empty for one that is not given; `now` are unix seconds.

    Raises AnyLogError 175 naming the key for what is no date, 40 for an interval that ends before it begins.
    """
    first = stored_date("start_date", start, now) if start is not None else ""
    last = stored_date("end_date", end, now) if end is not None else ""
    if first and last and first >= last:
        raise AnyLogError(40, f"start_date = {start} is not before end_date = {end}")
    return first, last


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _moment(year: str, month: str, day: str, *rest: str | None) -> datetime:
    hour, minute, second, fraction, zone = rest
    moment = datetime(
        int(year) + (2000 if len(year) == 2 else 0),
        int(month),
        int(day),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        int((fraction or "")[:6].ljust(6, "0")),
    )
    if zone and zone not in "zZ":
        away = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment = moment - away if zone[0] == "+" else moment + away
    return moment
