"""Events of text: cut out of a stream (RFC 6587), and read if they are syslog (RFC 3164, RFC 5424). Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from attrs import define, field, frozen

MOST = 64 << 10  # bytes of an event
PRIORITY = 13  # of what has none: user, notice (RFC 3164 4.3.3)

_COUNTED = re.compile(rb"([1-9][0-9]{0,8}) <")
_MAY_BE_COUNTED = re.compile(rb"[1-9][0-9]{0,8} ?")
_END = re.compile(rb"[\r\n]")

_PRI = re.compile(r"<(0|[1-9][0-9]{0,2})>")
_IETF = re.compile(r"([1-9][0-9]{0,2}) (\S+) (\S+) (\S+) (\S+) (\S+) ")
_IETF_BEGIN = re.compile(r"[1-9][0-9]{0,2} (?:-|[0-9]{4}-[0-9]{2}-[0-9]{2}T\S*) ")
_DATA = re.compile(r'(?:-|(?:\[[^\s=\]"]+(?: +[^\s=\]"]+="(?:[^"\\]|\\.)*")* *\])+)(?: |$)', re.DOTALL)
_TIME = re.compile(
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([ 0-3]?[0-9]) (?:([0-9]{4}) )?"
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?:? "
)
_ISO = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?) ")
_TAG = re.compile(r"([^\s:\[]{1,64}(?:\[[^\]\s]{0,64}\])?):? ?")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_AHEAD = timedelta(days=31)  # a clock may be ahead; a time that is more so is of a year before


@define
class Cutter:
    """Cuts a stream into events, wherever TCP has cut it.

    Each event says by its first bytes how it is framed: `57 <34>...` is of 57 bytes (octet counting), all else ends
    with CR, LF or both. Zero bytes at its end, as some senders put them there, are no part of it.
    """

    most: int = MOST
    lost: int = 0  # events that were longer, or were cut off by the end
    _held: bytes = b""
    _seen: int = 0  # bytes of it in which no end of line was found
    _skip: int = 0  # bytes of an event that is too long
    _rest: bool = field(default=False)  # of a line that is too long

    def feed(self, data: bytes) -> list[bytes]:
        """The events that are complete, in order."""
        held = self._held + data if self._held else data
        at, end, events = 0, len(held), list[bytes]()
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                at, self._skip = at + step, self._skip - step
                continue
            first = held[at]
            if first in b"\r\n\0" and not self._rest:
                at += 1
                continue
            if 49 <= first <= 57 and not self._rest:
                counted = _COUNTED.match(held, at)
                if counted is not None:
                    size, begin = int(counted[1]), counted.end() - 1
                    if size > self.most:
                        self.lost += 1
                        at, self._skip = begin, size
                        continue
                    if end - begin < size:
                        break
                    events.append(held[begin : begin + size].rstrip(b"\r\n\0"))
                    at = begin + size
                    continue
                if _MAY_BE_COUNTED.fullmatch(held, at):
                    break
            found = _END.search(held, max(at, self._seen))
            if found is None:
                if self._rest:
                    at = end
                elif end - at > self.most:
                    self.lost += 1
                    self._rest, at = True, end
                else:
                    self._held, self._seen = held[at:], end - at
                    return events
                break
            line = held[at : found.start()]
            at, self._seen = found.end(), 0
            if self._rest:
                self._rest = False
            elif len(line) > self.most:
                self.lost += 1
            else:
                line = line.rstrip(b"\0")
                if line:
                    events.append(line)
        self._held, self._seen = held[at:], 0
        return events

    def end(self) -> list[bytes]:
        """The stream is over: a last line that was not ended counts, an event that lacks some of its bytes does not."""
        held, self._held = self._held.rstrip(b"\0"), b""
        if self._rest or (not held and not self._skip):
            return []
        if self._skip or _COUNTED.match(held):
            self.lost += not self._skip
            return []
        return [held]


@frozen
class Event:
    """What a syslog event says; None: it does not. `timestamp` is ISO 8601; without a zone it is UTC."""

    priority: int
    version: int | None
    timestamp: str | None
    hostname: str | None
    application: str | None
    process_id: str | None
    message_id: str | None
    structured_data: str | None
    message: str
    tag: str | None
    well_formed: bool = True  # else all that could not be read is in the message


def parse(text: str, now: float) -> Event:
    """Either form, recognised by what follows the priority. `now` (unix seconds) gives the year where there is none.

    Nothing is refused: what cannot be read is the message, as RFC 3164 4.3 asks of relays.
    """
    found = _PRI.match(text)
    if found is None or int(found[1]) > 191:
        return Event(PRIORITY, None, None, None, None, None, None, None, text, None, False)
    priority, rest = int(found[1]), text[found.end() :]
    if _IETF_BEGIN.match(rest):
        return _ietf(priority, rest)
    return _bsd(priority, rest, now)


def _ietf(priority: int, rest: str) -> Event:
    head = _IETF.match(rest)
    data = _DATA.match(rest, head.end()) if head is not None else None
    if head is None or data is None:
        return Event(priority, None, None, None, None, None, None, None, rest, None, False)
    version, timestamp, hostname, application, process, ident = head.groups()
    process_id = _there(process)
    tag = _there(application)
    if tag is not None and process_id is not None:
        tag = f"{tag}[{process_id}]"
    return Event(
        priority,
        int(version),
        _there(timestamp),
        _there(hostname),
        _there(application),
        process_id,
        _there(ident),
        _there(data[0].strip()),
        rest[data.end() :].removeprefix("\ufeff"),
        tag,
    )


def _there(text: str) -> str | None:
    return None if text == "-" else text


def _bsd(priority: int, rest: str, now: float) -> Event:
    timestamp: str | None = None
    found = _TIME.match(rest)
    if found is not None:
        timestamp = _moment(found, now)
    else:
        found = _ISO.match(rest)
        timestamp = found[1] if found is not None else None
    if found is None or timestamp is None:
        return Event(priority, None, None, None, None, None, None, None, rest, None, False)
    rest = rest[found.end() :].lstrip(" ")
    hostname, blank, after = rest.partition(" ")
    if not blank or hostname.endswith(":") or "[" in hostname.lstrip("["):
        hostname, after = "", rest  # what a local socket is told has none
    tagged = _TAG.match(after)
    if tagged is None:
        return Event(priority, None, timestamp, hostname or None, None, None, None, None, after, None)
    tag, message = tagged[1], after[tagged.end() :]
    application, bracket, process = tag.partition("[")
    return Event(
        priority,
        None,
        timestamp,
        hostname or None,
        application,
        process[:-1] if bracket else None,
        None,
        None,
        message,
        tag,
    )


def _moment(found: re.Match[str], now: float) -> str | None:
    """A time without a year is the latest one that is not far ahead of now (UTC), at new year that of the next year,
    too: clocks run ahead, and many write the time of their own zone. None for no real one."""
    month, day, year, hour, minute, second, fraction = found.groups()
    today = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    for each in (int(year),) if year else (today.year + 1, today.year, today.year - 1):
        try:
            moment = datetime(
                each,
                _MONTHS.index(month) + 1,
                int(day),
                int(hour),
                int(minute),
                min(int(second), 59) if second == "60" else int(second),
            )
        except ValueError:
            continue
        if year or moment - today <= _AHEAD:
            return moment.strftime("%Y-%m-%dT%H:%M:%S") + (fraction or "")[:7]
    return None
