"""What lies in a watch directory: what is whole, in which order, and what is left alone (operator-ha.md 3.1). Pure."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from attrs import define, field, frozen

from anylog.disk.names import FileName
from anylog.errors import AnyLogError

TOLD = 200_000  # names that are kept in mind
STABLE = 1.0  # seconds for which size and time of a file have to stay as they are
DRAFTS = (".tmp", ".uzp", ".draft")  # ends of names of what somebody was writing when it ended
_SILENT = (".tmp", "_tmp", ".uzp")  # somebody is still writing them
_KINDS = {"folder": "a directory", "link": "a link"}


class Entry(Protocol):
    """One name of a directory (interfaces.Disk.entries)."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def mtime_ns(self) -> int: ...

    @property
    def kind(self) -> str: ...


@frozen
class Lying:
    """A file that waits."""

    mtime_ns: int
    name: str
    size: int
    delivered: bool = False  # published by this node, whole: how the disk notes its time does not matter
    kept: bool = False  # its bytes are synced, for the same reason

    @property
    def stamp(self) -> tuple[int, int]:
        """By which it is known to be the same file still."""
        return self.size, self.mtime_ns


def printable(name: str) -> str:
    """A name of a file as it can be shown on a line, whatever bytes it is made of."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


@define
class Directory:
    """What was seen there last, and what of it may be taken."""

    kinds: Collection[str]  # of "json", "sql" and "gz"
    unsettled: bool = True  # something has to be looked at again before it can be taken
    waiting: int = 0  # files that wait, also those that are not settled; without what is in work
    waiting_bytes: int = 0
    oldest: int = 0  # mtime_ns of the oldest of them
    ignored: dict[str, str] = field(factory=dict)  # name -> why
    _told: set[str] = field(factory=set)  # names that were noted
    _seen: dict[str, tuple[tuple[int, int], float]] = field(factory=dict)
    # A heap: older ones come first, then by name.
    _ready: list[tuple[int, str, Lying]] = field(factory=list)
    _parsed: dict[str, FileName | AnyLogError] = field(factory=dict)
    _names: set[str] = field(factory=set)  # of those in the heap
    _delivered: dict[str, Lying] = field(factory=dict)  # and not taken yet

    def look(self, entries: Iterable[Entry], now: float, busy: Collection[str], whole: bool = True) -> list[str]:
        """Compare with what was seen last; `busy` are names that are in work, `whole` tells that these are all entries.
        Gives notes on what is left alone, on each once."""
        before, self._seen = self._seen, {}
        self.ignored = {}
        notes: list[str] = []
        ready: list[tuple[int, str, Lying]] = []
        unlisted = dict(self._delivered)  # a list that was begun before they came does not have them
        self.unsettled, self.waiting, self.waiting_bytes, self.oldest = False, 0, 0, 0
        for entry in entries:
            name = entry.name
            why = self._left_alone(entry)
            if why is not None:
                if why:
                    self.ignored[name] = why
                    if name not in self._told:
                        notes.append(f"{printable(name)}: {why}")
                continue
            if name in busy:
                continue
            own = unlisted.pop(name, None)
            if own is not None:
                before[name] = (entry.size, entry.mtime_ns), 0.0
            stamp, kept = (entry.size, entry.mtime_ns), own is not None and own.size == entry.size
            lying = Lying(entry.mtime_ns, name, entry.size, kept=kept)
            self.waiting += 1
            self.waiting_bytes += entry.size
            self.oldest = min(self.oldest or entry.mtime_ns, entry.mtime_ns)
            seen = before.get(name)
            if seen is None and 0 < entry.mtime_ns <= (now - STABLE) * 1e9:
                seen = stamp, entry.mtime_ns / 1e9  # by its own word, as one that was moved here
            if seen is None or seen[0] != stamp or seen[1] > now:
                self._seen[name] = (stamp, now)
                self.unsettled = True
            else:
                self._seen[name] = seen
                if now - seen[1] >= STABLE:
                    ready.append((entry.mtime_ns, name, lying))
                else:
                    self.unsettled = True
        # What a long list has no room for today was told of all the same.
        self._told = {*self.ignored} if whole or len(self._told) > TOLD else self._told | self.ignored.keys()
        ready += [(lying.mtime_ns, name, lying) for name, lying in unlisted.items()]
        heapq.heapify(ready)
        self._ready, self._names = ready, {name for _, name, _ in ready}
        self._parsed = {name: parsed for name, parsed in self._parsed.items() if name in self._seen}
        return notes

    def _left_alone(self, entry: Entry) -> str | None:
        """None if it is a file for us; else why not, empty if nothing is to be said."""
        name = entry.name
        if name.startswith(".") or name.endswith(_SILENT):
            return ""
        if entry.kind != "file":
            return f"left alone, it is {_KINDS.get(entry.kind, 'not a file')}"
        if name.endswith(self.ends):
            return None
        return "left alone, files of this type are not loaded here"

    @property
    def ends(self) -> tuple[str, ...]:
        """How names of files end that are loaded here."""
        plain = [f".{kind}" for kind in ("json", "sql") if kind in self.kinds]
        return *plain, *(f"{end}.gz" for end in plain if "gz" in self.kinds)

    @property
    def ready(self) -> int:
        """How many may be taken."""
        return len(self._ready)

    def next(self) -> Lying | None:
        """Take the oldest."""
        if not self._ready:
            return None
        lying = heapq.heappop(self._ready)[2]
        self._names.discard(lying.name)
        self._delivered.pop(lying.name, None)
        return lying

    def deliver(self, name: str, size: int, now: float) -> None:
        """A file that this node published there itself: it has nothing to settle."""
        if name in self._names:
            return
        lying = self._delivered[name] = Lying(int(now * 1e9), name, size, delivered=True, kept=True)
        self.waiting += 1
        self.waiting_bytes += size
        self.back([lying])

    @property
    def delivered(self) -> int:
        """How many such files wait."""
        return len(self._delivered)

    def back(self, lying: Sequence[Lying]) -> None:
        """It may be taken later; once, also if it was delivered again since it was put aside."""
        for each in lying:
            if each.name in self._names:
                continue
            heapq.heappush(self._ready, (each.mtime_ns, each.name, each))
            self._names.add(each.name)

    def changed(self, name: str) -> None:
        """It was changed while it was read: it has to settle again."""
        self._seen[name] = ((-1, -1), 0.0)
        self.unsettled = True

    def named(self, name: str) -> FileName | AnyLogError:
        """What the name says, or what is wrong with it."""
        found = self._parsed.get(name)
        if found is None:
            try:
                found = FileName.parse(name)
            except AnyLogError as wrong:
                found = wrong
            self._parsed[name] = found
        return found
