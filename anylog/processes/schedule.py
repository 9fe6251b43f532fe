"""Tasks that repeat: when they begin, how often they come, what is told of them (scheduler-alerts.md 1 to 5). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from attrs import define

from anylog.errors import AnyLogError

HIGHEST = 10  # number of a scheduler
SYSTEM, USER = 0, 1  # schedulers
MOST = 1000  # tasks of one scheduler
NO_RUNS, SUCCESS = "No runs", "Success"
LONGEST = 100 * 365 * 86_400.0  # seconds between two runs
LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()  # of a start: what comes after it can still be told

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800, "month": 30 * 86_400,
          "year": 365 * 86_400}  # fmt: skip
_LETTERS = {"y": "year", "m": "month", "w": "week", "d": "day", "h": "hour", "t": "minute", "s": "second"}
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([a-z]*)")
_FIXED = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[ t]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6})[0-9]*)?)?)?(z?)"
)
_BOUNDARY = re.compile(r"start of (?:the )?(year|month|day|hour|minute)")
_TIMES = re.compile(r"(?i)(['\"]?)\bTIME\s*\(\s*(CURRENT|PREVIOUS)\s*\)\1")


@define(eq=False)
class Task:
    """One task of a scheduler. Times are unix seconds of the wall clock, but `due` those of the steady clock."""

    id: int
    name: str
    text: str  # as written: evaluated at each run
    period: float  # seconds
    start: float
    due: float  # when it is to be looked at; `begun` tells whether the start has come
    begun: bool = False
    stopped: bool = False
    runs: int = 0
    status: str = NO_RUNS
    last: float | None = None  # when the last run began
    previous: float | None = None  # and when the last that succeeded did
    slow: bool = False  # a run of it was longer than its period

    @property
    def mode(self) -> str:
        """Paused until its first run, then active, unless it was stopped."""
        return "Stopped" if self.stopped else "Active" if self.begun else "Paused"

    def at(self, now: float) -> str:
        """The command of a run that begins now: `TIME(CURRENT)` and `TIME(PREVIOUS)` stand for times in UTC."""
        before = self.previous if self.previous is not None else now - self.period
        moments = {"current": now, "previous": before}

        def moment(found: re.Match[str]) -> str:
            return f"'{datetime.fromtimestamp(moments[found[2].lower()], UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"

        return _TIMES.sub(moment, self.text)


def read_period(text: str) -> float:
    """Seconds of `N unit`; a month has 30 days, a year 365. Raises AnyLogError 175."""
    found = _SPAN.fullmatch(text.strip().lower())
    unit = (found[2].removesuffix("s") or "second") if found else ""
    seconds = float(found[1]) * _UNITS[unit] if found and unit in _UNITS else 0.0
    if not 1 <= seconds <= LONGEST:
        raise AnyLogError(
            175, f"'{text[:60]}' is not a value for 'time': a number and second(s), minute(s), hour(s), day(s),"
            " week(s), month(s) or year(s), at least one second",
        )  # fmt: skip
    return seconds


def read_start(text: str, now: float, zone: tzinfo | None = None) -> float:
    """Unix seconds of a start; a date is in the time of this machine unless it ends with Z. Raises AnyLogError 175.

    `+2h` and the like are from now on, with y, m (month), w, d, h, t (minute) and s; `start of day` is the next one.
    """
    try:
        moment = _start(" ".join(text.strip().lower().split()), now, zone)
        if moment is not None and 0 <= moment <= LATEST:
            return moment
    except (ValueError, KeyError, OverflowError):
        pass
    raise AnyLogError(
        175, f"'{text[:60]}' is not a value for 'start': YYYY-MM-DD HH:MM:SS, as +2h with y, m, w, d, h, t or s, now(),"
        " or start of year, month, day, hour or minute",
    )  # fmt: skip


def _start(words: str, now: float, zone: tzinfo | None) -> float | None:
    """The same; None, ValueError, KeyError or OverflowError for what is none."""
    if words in ("now", "now()"):
        return now
    here = datetime.fromtimestamp(now, zone) if zone else datetime.fromtimestamp(now).astimezone()
    if words.startswith("+") and (span := _SPAN.fullmatch(words[1:].strip())):
        unit = _LETTERS.get(span[2]) or span[2].removesuffix("s")
        if unit in ("month", "year"):
            return _months_later(here, int(span[1]) * (12 if unit == "year" else 1)).timestamp()
        return now + float(span[1]) * _UNITS[unit]
    if boundary := _BOUNDARY.fullmatch(words):
        return _next(here, boundary[1], zone).timestamp()
    if fixed := _FIXED.fullmatch(words):
        year, month, day, hour, minute, second, fraction, utc = fixed.groups()
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0),
            int((fraction or "").ljust(6, "0")), tzinfo=UTC if utc else zone,
        )  # fmt: skip
        return moment.timestamp()
    return None


def _months_later(here: datetime, months: int) -> datetime:
    """The same day and time of a later month, or its last day."""
    year, month = divmod(here.year * 12 + here.month - 1 + months, 12)
    first = here.replace(day=1, year=year, month=month + 1)
    following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return first.replace(day=min(here.day, (following - timedelta(days=1)).day))


def _next(here: datetime, unit: str, zone: tzinfo | None) -> datetime:
    """The next begin of a year, month, day, hour or minute, by the calendar of this machine."""
    floor = {"microsecond": 0, "second": 0}
    if unit == "minute":
        return here.replace(**floor) + timedelta(minutes=1)  # type: ignore[arg-type]
    floor["minute"] = 0
    if unit == "hour":
        return here.replace(**floor) + timedelta(hours=1)  # type: ignore[arg-type]
    day = datetime(here.year, here.month, here.day, tzinfo=zone)
    if unit == "day":
        following = day + timedelta(days=1)
    else:
        following = _months_later(day.replace(day=1), 1 if unit == "month" else 13 - day.month)
    return datetime(following.year, following.month, following.day, tzinfo=zone)  # clocks may be put ahead meanwhile


def repeat_text(seconds: float) -> str:
    """`h:m:s` without padding (scheduler-alerts.md 4)."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60}:{whole % 60}"


@define
class Tasks:
    """The tasks of one scheduler, in the order of their ids."""

    number: int
    known: dict[int, Task]

    def add(self, make: Callable[[int], Task]) -> Task:
        """Declare one under the lowest free id. Raises AnyLogError 2 for a name that is taken, 3 for too many."""
        if len(self.known) >= MOST:
            raise AnyLogError(3, f"scheduler {self.number} has {MOST} tasks, it may have no more", http=400)
        task = make(next(number for number in range(1, MOST + 1) if number not in self.known))
        if task.name and any(each.name == task.name for each in self.known.values()):
            raise AnyLogError(2, f"Duplicate task name: '{task.name}'")
        self.known[task.id] = task
        self.known = dict(sorted(self.known.items()))
        return task

    def find(self, name: str | None, number: int | None) -> Task:
        """The one of that name or id. Raises AnyLogError 2 unless one of both is given, 162 if there is none."""
        if (name is None) == (number is None):
            raise AnyLogError(
                2, "Task Name or Task ID needs to be provided" if name is None
                else "Task Name and Task ID are provided, only one is needed",
            )  # fmt: skip
        for task in self.known.values():
            if task.id == number or (name is not None and task.name == name):
                return task
        what = f"Task '{name if name is not None else number}'"
        raise AnyLogError(162, f"{what} in scheduler '{self.number}' is not valid")
