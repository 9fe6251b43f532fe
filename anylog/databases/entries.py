"""Entries of the tables of files, and what is to be done with a file that was seen before (hard-parts.md 3). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from attrs import define, field, frozen

OWN = "tsd_info"
MISSING, DUPLICATE, FAILED = "01", "02", "03"  # status 1 of entries without rows
PLACEHOLDER = "open:"  # instead of a hash, before the name of a buffer that is not a file yet (ingest.md 8.4)
DROPPED = "its database was dropped"  # status 2: nothing of it is missed
# Ids from here on were not given by us: someone's name of a file says so. They do not move our own, or there might be
# none left to give.
FOREIGN_IDS = 1 << 62

_MEMBER = re.compile(r"tsd_(0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])")

Busy = Callable[[str, int], bool]  # whether that entry belongs to what is in work


def is_files(table: str) -> bool:
    """Whether that is the name of a table of files."""
    return table == OWN or _MEMBER.fullmatch(table) is not None


@frozen(kw_only=True)
class Entry:
    """One file, as its table of files has it."""

    id: int
    dbms: str
    table: str
    source: str
    hash: str
    instructions: str
    time: str  # of registration, UTC, "YYYY-MM-DD HH:MM:SS.ffffff"
    rows: int
    status1: str = ""
    status2: str = ""

    @property
    def pending(self) -> bool:
        """Registered and not loaded, with nothing said against it."""
        return not self.rows and not self.status1


@frozen(kw_only=True)
class Wanted:
    """A file that asks for its entry. `id` and `time` are given where the file's full name has them.

    `known`: it is a file that a member registered before, so it has its entry even if its content is here already.
    `before`: a stream that may have been counted before this start; its `hash` is the one it had until then.
    """

    dbms: str
    table: str
    source: str
    hash: str
    instructions: str
    id: int = 0
    time: str = ""
    into: str = OWN
    status1: str = ""
    status2: str = ""
    known: bool = False
    before: bool = False


@frozen(kw_only=True)
class Registered:
    """What came of it.

    `new`: this is its entry. `pending`: the content has an entry already and is not loaded. `loaded`: it has one and
    is. Either may be of another id, and in another table, than was wanted. `conflict`: its id is that of another hash.
    Only for what is `known`: `double`: this is its entry, and its content is held by `holder`; `repeated`: so it was
    before, or its content has an entry beside which its own table has no room for another.
    """

    kind: Literal["new", "pending", "loaded", "conflict", "double", "repeated"]
    into: str
    entry: Entry
    holder: tuple[str, Entry] | None = None


@define
class Known:
    """Entries at hand while several files are looked at one after another."""

    by_hash: dict[str, list[tuple[str, Entry]]]
    by_id: dict[tuple[str, int], Entry]
    counted: dict[str, Entry] = field(factory=dict)  # of streams, by the hash they had before
    removed: list[tuple[str, int]] = field(factory=list)
    made: dict[tuple[str, int], Entry] = field(factory=dict)

    def remove(self, into: str, entry: Entry) -> None:
        """Forget it."""
        self.by_hash[entry.hash].remove((into, entry))
        self.by_id.pop((into, entry.id), None)
        self.removed.append((into, entry.id))

    def make(self, into: str, entry: Entry) -> None:
        """Add it."""
        self.by_hash.setdefault(entry.hash, []).append((into, entry))
        self.by_id[into, entry.id] = self.made[into, entry.id] = entry


def decide(wanted: Sequence[Wanted], known: Known, last: int, now: str, busy: Busy) -> list[Registered]:
    """Find each its entry, or make it (hard-parts.md 3); new ids go on from `last`, and new times are `now`.

    `last` is above the ids of this node's own files that are wanted by name.
    """
    told = []
    for want in wanted:
        seen = _seen(want, known, lambda into, id: (into, id) in known.made or busy(into, id))
        if isinstance(seen, Registered):
            if (seen.entry.rows or seen.entry.hash != want.hash) and not want.id:
                # Registered before, when nobody held it; now nobody is going to load that one.
                for into, entry in list(known.by_hash.get(want.hash, ())):
                    if (
                        into == want.into
                        and entry.pending
                        and not ((into, entry.id) in known.made or busy(into, entry.id))
                    ):
                        known.remove(into, entry)
            told.append(seen)
            continue
        # What holds nothing and waits for nothing makes room where it would be in the way.
        for into, entry in list(known.by_hash.get(want.hash, ())):
            given_up = entry.status1 in (MISSING, FAILED)
            if into == want.into and not entry.rows and (into == OWN or entry.id == want.id or given_up):
                known.remove(into, entry)
        if not want.id:
            last += 1
        entry = Entry(
            id=want.id or last,
            dbms=want.dbms,
            table=want.table,
            source=want.source,
            hash=want.hash,
            instructions=want.instructions,
            time=_whole_time(want.time) if want.time else now,
            rows=0,
            status1=want.status1,
            status2=want.status2,
        )
        known.make(want.into, entry)
        told.append(Registered(kind="double" if seen else "new", into=want.into, entry=entry, holder=seen))
    return told


def _seen(want: Wanted, known: Known, busy: Busy) -> Registered | tuple[str, Entry] | None:
    """What becomes of a file by the entries that are there. If it is to have a new one: the entry that holds its
    content already, or None."""
    counted = known.counted.get(want.hash)
    if counted is not None and counted.id == (want.id or counted.id) and (counted.rows or counted.pending):
        # The journal did not hear of it. Its file is there, and its rows too, or they are loaded again from that.
        return Registered(kind="loaded" if counted.rows else "pending", into=OWN, entry=counted)
    own = known.by_id.get((want.into, want.id)) if want.id else None
    if own is not None and own.hash != want.hash and want.before and _of_stream(want, own):
        return Registered(kind="loaded" if own.rows else "pending", into=want.into, entry=own)
    if own is not None and own.hash != want.hash:
        return Registered(kind="conflict", into=want.into, entry=own)
    if own is not None and own.rows:
        return Registered(kind="loaded", into=want.into, entry=own)
    # Its own table first, so that a file is not told to wait for that of somebody else.
    same = sorted(known.by_hash.get(want.hash, ()), key=lambda each: each[0] != want.into)
    others = [each for each in same if each[1] is not own]
    holder = next((each for each in others if each[1].rows), None)
    if own is not None and own.pending and (holder is None or not want.known):
        return Registered(kind="pending", into=want.into, entry=own)
    if holder is not None and want.known and own is None and want.into == OWN:
        # Its entry would make that of another file of this content go: one that was just given has its time first.
        for into, entry in others:
            if into == OWN and (into, entry.id) in known.made:
                return Registered(kind="pending", into=into, entry=entry)
    if holder is not None:
        return _double(want, own, holder)
    for into, entry in others:
        # One that nobody is at work on may never come, or only behind this one: the marks see to it that only one of
        # them is loaded. There is no room for two in the own table, so what has no name yet takes that one's.
        if entry.pending and ((into == want.into == OWN and not want.known) or busy(into, entry.id)):
            return Registered(kind="pending", into=into, entry=entry)
    return None


def _of_stream(want: Wanted, own: Entry) -> bool:
    """Whether the entry with its id is that of a stream of before, which has the hash of its file by now."""
    same = (own.dbms, own.table, own.time[:19]) == (want.dbms, want.table, want.time[:19])
    return same and not own.hash.startswith(PLACEHOLDER)


def _double(want: Wanted, own: Entry | None, holder: tuple[str, Entry]) -> Registered | tuple[str, Entry]:
    if not want.known:
        return Registered(kind="loaded", into=holder[0], entry=holder[1])
    if own is not None:
        kind: Literal["repeated", "double"] = "repeated" if own.status1 == DUPLICATE else "double"
        return Registered(kind=kind, into=want.into, entry=own, holder=holder)
    if holder[0] == want.into == OWN:
        return Registered(kind="repeated", into=OWN, entry=holder[1], holder=holder)
    return holder


def _whole_time(text: str) -> str:
    """With six digits of a second, so that texts compare as times."""
    return text if "." in text else f"{text}.000000"


@frozen(kw_only=True)
class Summary:
    """The files of one user table in one table of files."""

    dbms: str
    table: str
    first_time: str
    first_id: int
    last_time: str
    last_id: int
    files: int
    sources: int
    status1: int  # different texts
    status2: int
    rows: int
