"""The logs of a node, each a ring: the oldest entry goes when it is full (monitoring.md 6)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import define, field

from anylog.interfaces import Clock
from anylog.language.tables import bar_table

SIZES = {"event": 100, "error": 20, "file": 20, "query": 20, "rest": 20, "msg": 20}

_SECRET = re.compile(
    r"\b(password|passwd|private_key|secret_key|access_key|activation_key|token|old|new)(\s*=\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,)}]+)",
    re.I,
)


def masked(text: str) -> str:
    """The text with the values of secret keys hidden (language.md 12)."""
    return _SECRET.sub(r"\1\2****", text)


@define
class Entry:
    """One thing that happened; `count` times in a row."""

    number: int
    thread: str
    time: float
    type: str
    text: str
    count: int = 1


@define
class Log:
    """A ring of entries. An entry like the one before raises its count."""

    _clock: Clock
    size: int
    _entries: deque[Entry] = field(factory=deque)
    _number: int = 0

    def add(self, type: str, text: str, thread: str = "main") -> None:
        """Note it now."""
        now = self._clock.seconds()
        last = self._entries[-1] if self._entries else None
        if last is not None and (last.type, last.text, last.thread) == (type, text, thread):
            last.count += 1
            last.time = now
            return
        self._number += 1
        self._entries.append(Entry(self._number, thread, now, type, text))
        while len(self._entries) > self.size:
            self._entries.popleft()

    def clear(self) -> None:
        """Forget all; numbers go on."""
        self._entries.clear()

    def find(self, keys: Sequence[str] = ()) -> list[Entry]:
        """Entries, oldest first, whose type or text holds one of `keys` (any letter case); all without keys."""
        wanted = [key.lower() for key in keys]
        return [
            entry
            for entry in self._entries
            if not wanted or any(key in entry.text.lower() or key in entry.type.lower() for key in wanted)
        ]

    def table(self, keys: Sequence[str] = ()) -> str:
        """As a bar table."""
        rows = [
            (entry.number, entry.count, entry.thread, _time(entry.time), entry.type, entry.text)
            for entry in self.find(keys)
        ]
        return bar_table(("ID", "Count", "Thread", "Time", "Type", "Text"), rows)

    def objects(self, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
        """As JSON values."""
        return [
            {
                "ID": entry.number,
                "Count": entry.count,
                "Thread": entry.thread,
                "Time": _time(entry.time),
                "Type": entry.type,
                "Text": entry.text,
            }
            for entry in self.find(keys)
        ]


class Logs:
    """All logs of one node."""

    def __init__(self, clock: Clock) -> None:
        self._logs = {name: Log(clock, size) for name, size in SIZES.items()}
        self.event, self.error = self._logs["event"], self._logs["error"]
        self.file, self.query = self._logs["file"], self._logs["query"]
        self.rest, self.msg = self._logs["rest"], self._logs["msg"]
        self.query_seconds: float | None = None  # queries as slow as that are noted; None: none, 0: all

    def named(self, name: str) -> Log:
        """The log of that name; `streaming` is another name of `rest`. Raises KeyError."""
        return self._logs["rest" if name == "streaming" else name]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%a %b %e %H:%M:%S %Y")
