"""How far each member of the cluster is with the files of each member, as they tell each other (operator-ha.md 7.3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from zlib import crc32

from attrs import define, field

from anylog.databases.tsd import FOREIGN_IDS, Tsd
from anylog.databases.tsd_ranges import Range, remember, remembered
from anylog.processes.missing import consensus
from anylog.waiting import deferring

DAY = 10**6  # of a time whose digits are read as one number
NO_END = 10**14
UNSURE = -1  # which member is complete by what is kept


@define(eq=False)
class Standing:
    """Safe ids of all members, by member and by the member whose files they are of."""

    safe: dict[int, dict[int, int]] = field(factory=dict)
    complete: dict[int, bool] = field(factory=dict)  # what members said of themselves last
    heard: dict[int, float] = field(factory=dict)  # unix seconds
    own_complete: bool = False
    losses: int = 0  # how often something was lost here since the start
    _agreed: dict[int, int] = field(factory=dict)
    _among: frozenset[int] = frozenset()
    _kept: dict[str, int] = field(factory=dict)
    # Start and end of the range that all this is told of, and by which words it was asked for, if that is known.
    _covered: tuple[int, int, int] | None = None
    _of: tuple[Tsd | None, int] = (None, 0)

    def of(self, member: int) -> dict[int, int]:
        """What a member validated: member whose files -> id."""
        return self.safe.setdefault(member, {})

    def hear(self, member: int, safe: Mapping[int, int], complete: bool, now: float) -> None:
        """A member told how far it is."""
        self.safe[member] = {whose: id for whose, id in safe.items() if id < FOREIGN_IDS}
        self.complete[member], self.heard[member] = complete, now

    def agreed(self, members: Collection[int]) -> dict[int, int]:
        """The consensus of each member's files, among these members."""
        among = frozenset(members)
        if among != self._among:
            self._among, self._agreed = among, {}
        for whose in sorted(among):
            told = {member: self.safe.get(member, {}).get(whose, 0) for member in among}
            self._agreed[whose] = consensus(self._agreed.get(whose, 0), among, told)
        return dict(self._agreed)

    @deferring
    async def recall(self, tsd: Tsd, member: int) -> None:
        """What was kept beside these tables of files; nothing if they are new ones."""
        if self._of == (tsd, member):
            return
        found = await remembered(tsd)
        if self._of == (tsd, member):
            return  # somebody else asked for it at the same time, and may have noted more since
        self._of, self._kept = (tsd, member), found
        self.own_complete = found.get("complete") == member
        known = {"from", "until", "asked"} <= found.keys()
        self._covered = (found["from"], found["until"], found["asked"]) if known else None
        self.safe = {}
        for name, id in found.items():
            words = name.split(".")
            if len(words) == 3 and words[0] == "safe" and id < FOREIGN_IDS:
                self.of(int(words[1]))[int(words[2])] = id

    @deferring
    async def lack(self, tsd: Tsd, member: int) -> None:
        """Something is lost here that others may have: this member is not complete until it is seen to be again."""
        await self.recall(tsd, member)
        self.own_complete = False
        self.losses += 1
        if self._kept.get("complete"):
            await remember(tsd, {"complete": 0})
            self._kept["complete"] = 0

    def covers(self, range: Range, words: str) -> None:
        """What is said of this member is said of that range, which was asked for by these words."""
        self._covered = *_numbers(range), crc32(words.encode())

    @deferring
    async def reach(self, tsd: Tsd, member: int, range: Range, words: str) -> None:
        """Files within that range are looked for from now on. If it begins earlier or ends later than what was looked
        at, there may be some that are not here: what is said of this member counts from its start, so begins anew.

        The same words mean the same range: one that moves with the time begins earlier where a clock is set back.
        """
        if self._covered is None:
            self.covers(range, words)  # nobody knows what it was before
        if self._covered is None or self._covered[2] == crc32(words.encode()):
            return
        start, end = _numbers(range)
        wider = start < self._covered[0] or end > self._covered[1]
        self.covers(range, words)
        if wider:
            self.own_complete = False
            self.safe[member] = dict.fromkeys(self.of(member), 0)
            notes = {"complete": 0, **{f"safe.{member}.{whose}": 0 for whose in self.of(member)}}
            await remember(tsd, notes)
            self._kept.update(notes)

    @deferring
    async def keep(self, tsd: Tsd, member: int, members: Collection[int]) -> None:
        """Keep what changed."""
        notes = {
            f"safe.{each}.{whose}": id
            for each, safe in self.safe.items()
            if each in members
            for whose, id in safe.items()
            if whose in members
        }
        if self.own_complete:
            notes["complete"] = member
        if self._covered is not None:
            notes |= self._range_notes(*self._covered)
        changed = {name: value for name, value in notes.items() if self._kept.get(name) != value}
        if changed:
            if "complete" in changed:
                self._kept["complete"] = UNSURE  # what is lost meanwhile is noted behind it
            await remember(tsd, changed)
            self._kept.update(changed)

    def _range_notes(self, start: int, end: int, words: int) -> dict[str, int]:
        """Kept once a day: one that moves with the time is another each time."""
        kept = [self._kept.get(name, 0) for name in ("from", "until", "asked")]
        same = [kept[0] // DAY, *kept[1:]] == [start // DAY, end, words]
        return {} if same else {"from": start, "until": end, "asked": words}


def _numbers(range: Range) -> tuple[int, int]:
    """The digits of both times; no end is later than any."""
    start, end = ("".join(filter(str.isdecimal, text)) for text in (range.start, range.end))
    return int(start), int(end) if end else NO_END
