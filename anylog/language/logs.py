"""What happened on this node lately: rings of entries, by kind (monitoring.md 6, language.md 12)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, unix

TITLES = ("ID", "Count", "Thread", "Time", "Type", "Text")

# Names whose values are secret, in `name = value` up to the next `and`, and in JSON; passwords in URLs; and those in
# `user@address:password`, the older way to name a database: elsewhere a port may stand there, as of a node.
# Each is linear in the length of the text, whatever the text.
_SECRET = (
    r"(?:passwd|password|passphrase|(?<![a-z])pass|pwd|access_key|private_key|secret_key|token"
    r"|(?<![\w.\-])(?:old|new)(?![\w.\-]))"
)
_ASSIGNED = re.compile(
    rf"(?is)^(\s*(?:set\s+)?[$!]?[\w.\-\[\]]{{0,200}}{_SECRET}[\w.\-\[\]]{{0,200}}\s*=(?!=)\s*)(.+)$"
)
_PAIR = re.compile(
    rf"(?i)({_SECRET}\]?(?:\[[^\[\]]*\])?\s*=(?!=)\s*)"
    r"(\*{4}(?=[:\s]|$)|(?:\"[^\"]*\"|'[^']*'|.+?)(?=\sand\s|$))",  # what is hidden already does not hide the rest
    re.DOTALL,
)
_JSON = re.compile(rf"(?i)({_SECRET}[\"']\s*:\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,}}\]]+)")
_DATABASE = re.compile(r"((?<![\w.\-])[\w.\-]{1,64}@[\w.\-]{1,255}:)([^\s,;()]+)")
_POSITION = re.compile(r"((?<![\w.\-/])[\w.\-]{1,64}@[\w.\-]{1,255}:)(?![0-9]{1,5}(?![\w@\-]|\.\w)|[/\s])([^\s,;()]+)")
_ADDRESS = re.compile(r"(://[^\s/:@]{0,64}:)([^\s/]{1,256})(?=@)")  # the last @ before the host
_WORD = re.compile(r"[\w\-]+")
_BASIC = re.compile(r"(?i)\b(basic|bearer)\s+[A-Za-z0-9+/=._\-]{6,}")


def masked(text: str) -> str:
    """The text with the values of secrets shown as `****`."""
    # Most texts hold none of these, and the patterns look at every place of a text.
    lower = text.lower()
    if "@" not in text and not any(word in lower for word in _SIGNS):
        return text
    position = _DATABASE if "connect dbms" in lower else _POSITION
    for sign, pattern in (("=", _ASSIGNED), ("=", _PAIR), (":", _JSON), ("@", position), ("@", _ADDRESS)):
        if sign in text:
            text = pattern.sub(r"\1****", text)
    return _BASIC.sub(r"\1 ****", text)


# One of these is in each secret that the patterns know, if it is no address.
_SIGNS = ("pass", "pwd", "_key", "token", "old", "new", "basic", "bearer")
CUT = 4  # letters from which on the begin of a secret is one: values are cut where they are long


def without_secrets(detail: str, text: str) -> str:
    """What an error says of a statement, or nothing if it repeats a word of a secret that the statement holds."""
    hidden = set(_WORD.findall(text)) - set(_WORD.findall(masked(text)))
    said = set(_WORD.findall(detail))
    cut = {word for word in said if len(word) >= CUT and any(secret.startswith(word) for secret in hidden)}
    return "" if cut or hidden & said else detail


LONGEST = 4000  # characters of an entry that are kept
BRIEF = 200  # characters of a command that is traced
FAILED = 500  # and of a command in the error log: the event log has more


@define
class Entry:
    """One entry; `count` grows when it comes again with nothing between."""

    number: int
    count: int
    thread: str
    time: float  # unix seconds
    kind: str
    text: str
    more: Mapping[str, Any] = field(factory=dict)  # what JSON shows beside the columns


class Log:
    """A ring of entries, the oldest dropped first."""

    def __init__(self, clock: Clock, name: str, size: int) -> None:
        self.name = name
        self._clock, self._entries = clock, deque[Entry](maxlen=size)
        self._number = 0

    def add(self, kind: str, text: str, thread: str = "", more: Mapping[str, Any] | None = None) -> None:
        """Add an entry; secrets in the text are masked. `thread` is who or what did it."""
        self.put(kind, masked(text[:LONGEST]), thread, more)

    def put(self, kind: str, text: str, thread: str = "", more: Mapping[str, Any] | None = None) -> None:
        """The same for a text in which nothing is secret."""
        now = unix(self._clock)
        last = self._entries[-1] if self._entries else None
        if last is not None and (last.text, last.kind, last.thread) == (text, kind, thread):
            last.count += 1
            last.time = now
            return
        self._number += 1
        self._entries.append(Entry(self._number, 1, thread, now, kind, text, more or {}))

    def clear(self) -> None:
        """Forget all entries; numbers go on."""
        self._entries.clear()

    def find(self, keys: Sequence[str] = ()) -> list[Entry]:
        """Entries, oldest first; with keys those whose type or text holds one of them, any letter case."""
        wanted = [key.lower() for key in keys]
        return [
            entry
            for entry in self._entries
            if not wanted or any(key in f"{entry.kind}\n{entry.text}".lower() for key in wanted)
        ]

    def rows(self, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The same by title, as `get event log` shows them; then what else is known of each."""
        return [
            {
                **dict(
                    zip(
                        TITLES,
                        (entry.number, entry.count, entry.thread, _moment(entry.time), entry.kind, entry.text),
                        strict=True,
                    )
                ),
                **entry.more,
            }
            for entry in self.find(keys)
        ]


_PLACES = 12  # of a call stack that are told: the last ones


class Logs:
    """The logs of one node."""

    log = Logger()

    def __init__(self, clock: Clock) -> None:
        self.event = Log(clock, "event", 100)
        self.error = Log(clock, "error", 20)
        self.file = Log(clock, "file", 1000)
        self.query = Log(clock, "query", 20)
        self.rest = Log(clock, "rest", 20)
        self.msg = Log(clock, "msg", 20)
        self.error_traceback: str | None = None  # entries with that text say where the error came from; None: none
        self.exception_traceback = False  # and those about faults of ours
        self.rest_all = False  # whether HTTP calls that went well are noted, too
        self.traces: dict[str, int] = {}  # words that commands begin with (none: all commands) -> trace level
        self.query_seconds: float | None = None  # queries as slow as that are noted; None: none, 0: all

    def named(self, name: str) -> Log:
        """The log of that name; AnyLogError 2 if there is none."""
        logs = {log.name: log for log in (self.event, self.error, self.file, self.query, self.rest, self.msg)}
        if name not in logs:
            raise AnyLogError(2, f"'{name}' is not a log: one of {', '.join(logs)}")
        return logs[name]

    def call(self, text: str, who: str, error: str | None = None) -> None:
        """An HTTP call was answered: one that failed is noted, others if `set rest log on` was said."""
        if error is not None:
            self.rest.add("Error", f"(Failed: {error}) {text}", who)
        elif self.rest_all:
            self.rest.add("Call", f"(OK) {text}", who)

    def kept(self, topics: Sequence[str], who: str) -> None:
        """Messages of these topics are safe."""
        for topic in topics:
            self.msg.add("Message", f"(OK) topic '{topic[:200]}'", who)

    def lost(self, text: str, who: str) -> None:
        """Messages could not be kept: in the log of errors, too."""
        self.error.add("Error", text, who)
        self.msg.add("Error", text, who)

    def command(self, text: str, who: str, error: AnyLogError | None = None) -> None:
        """A command was run: `(ok) command` or `(Failed: text) command`; failures also in the error log."""
        if self.traces:
            self._trace(text, who, error)
        if error is None:
            self.event.put("Command", f"(ok) {masked(text[:LONGEST])}", who)
            return
        length, text = len(text), text[:LONGEST]
        self.event.add("Command", f"(Failed: {error.text}) {masked(text)}", who)
        detail = without_secrets(error.detail, text)
        told = f": {detail}" if detail and detail != error.text else ""
        told += self._origin(error, f"{error.text} {detail}")
        begin = masked(text)
        if len(begin) > FAILED:
            begin = f"{begin[:FAILED]}... ({length:,} characters)"
        self.error.add("Error", f"(Failed: {error.text}) {begin}{told}", who)

    def _trace(self, text: str, who: str, error: AnyLogError | None) -> None:
        """Into the log of the node: the beginning of a command and what came of it or, from level 2 on, all of it."""
        written = f"{' '.join(text[:LONGEST].lower().split())} "
        levels = (level for words, level in self.traces.items() if written.startswith(f"{words} ".lstrip()))
        level = max(levels, default=0)
        if level:
            shown = masked(text[: LONGEST if level > 1 else BRIEF])
            told = "ok" if error is None else f"{error.text}: {without_secrets(error.detail, text)}"
            self.log.info("trace: {who}: {command} --> {told}", who=who, command=shown, told=told)

    def _origin(self, error: AnyLogError, text: str) -> str:
        """Where in our code an error came from, if that is wanted. No values: only files, lines and functions."""
        fault = error.__cause__ if error.number == 500 else None
        wanted = self.error_traceback is not None and self.error_traceback in text.lower()
        if not wanted and not (fault is not None and self.exception_traceback):
            return ""
        places = [
            f"{name.rpartition('/')[2]}:{line} {function}"
            for one in (error, fault)
            if one is not None
            for name, line, function, _ in extract_tb(one.__traceback__)
        ]
        return " at " + " > ".join(places[-_PLACES:]) if places else ""


def _moment(seconds: float) -> str:
    """`Wed May  1 10:00:00 2024`, UTC."""
    return datetime.fromtimestamp(seconds, UTC).ctime()
