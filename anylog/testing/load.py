"""What senders give to a cluster in a storm, what they were told, and what must be found of it (operator-ha.md I-3)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from random import Random
from typing import Any

import orjson
from attrs import define, field

from anylog.mapping.body import read_body
from anylog.testing.laws import REPEATED, Holding

TABLES = ("t0", "t1", "t2")
DROPPABLE = "t9"
POISON = "no number"
_BAD = re.compile(r"(^|\.)bad\d{1,6}\.")  # a file of the storm that nobody can load; a hash may begin like that, too


@define(kw_only=True, eq=False, repr=False)
class Body:
    """One body of readings."""

    number: int
    table: str
    rows: list[dict[str, Any]]
    mode: str  # "stream", "key", "whole"
    home: str = ""  # the one member that a body with a key is sent to
    source: str = "0"
    files: list[str] = field(factory=list)  # names of what was put into watch directories by hand
    sent: Counter[str] = field(factory=Counter)  # by member
    heard: Counter[str] = field(factory=Counter)

    @property
    def data(self) -> bytes:
        """As it is sent."""
        return orjson.dumps(self.rows)

    @property
    def key(self) -> str:
        """The sender's key, if it has one."""
        return f"k{self.number}" if self.mode == "key" else ""


@define(eq=False, repr=False)
class Load:
    """Senders."""

    chance: Random
    bodies: list[Body] = field(factory=list)
    bad: dict[str, dict[str, int]] = field(factory=lambda: defaultdict(dict))  # member -> name of a file -> code
    forgotten: set[int] = field(factory=set)  # bodies whose parked rows may be lost, with the database they were in
    again_there: Counter[int] = field(factory=Counter)  # body -> how often it may have been taken once more since
    more: list[str] = field(factory=list)  # who else may bring what they were sent, without being relied on
    _numbers: Iterator[int] = field(factory=lambda: count(1))

    def new(self, members: Sequence[str], droppable: bool = False) -> Body:
        """Something new: one reading or several, some with new columns, some that fit no column."""
        chance, rows = self.chance, []
        for _ in range(chance.choice([1, 1, 2, 3, 8])):
            number = next(self._numbers)
            row: dict[str, Any] = {"v": number, "n": number * 1000 if chance.random() < 0.93 else POISON}
            if chance.random() < 0.1:
                row[f"c{chance.randint(0, 4)}"] = f"text of {number}"
            if chance.random() < 0.2:
                row["at"] = f"2026-11-{number % 28 + 1:02} 08:00:00"
            rows.append(row)
        mode = chance.choice(["stream", "stream", "whole", "whole", "key"])
        table = DROPPABLE if droppable and chance.random() < 0.2 else chance.choice(TABLES)
        body = Body(number=len(self.bodies), table=table, rows=rows, mode=mode, home=chance.choice(list(members)))
        self.bodies.append(body)
        return body

    def again(self, keys: bool) -> Body | None:
        """Something that was sent before."""
        known = [body for body in self.bodies[-30:] if keys or body.mode != "key"]
        return self.chance.choice(known) if known else None

    def lost(self, name: str) -> None:
        """A member has lost all it had: nobody may rely on what it alone said yes to."""
        for body in self.bodies:
            body.heard[name] = 0

    def parked_lost(self) -> None:
        """A member has lost a database: of what was parked in it there is no other copy."""
        self.forgotten |= {body.number for body in self.bodies if any(row["n"] == POISON for row in body.rows)}

    def found(self, held: Holding, names: Sequence[str], dropped: Sequence[str]) -> Iterator[str]:
        """I-3: what one of `names` said yes to is in the table at this member, once, and nothing else is."""
        rows: Counter[tuple[str, int]] = Counter()
        for table, lines in held.rows.items():
            rows.update((table, row["v"]) for row in lines)
        rows.update((table, row["v"]) for table, row in held.parked)
        aside = set(_aside(held))
        for body in self.bodies:
            sent = sum(body.sent[name] for name in [*names, *self.more])
            heard = sum(body.heard[name] for name in names)
            if body.mode != "stream":
                sent, heard = min(sent, 1), min(heard, 1)
            if body.table in dropped or body.number in self.forgotten:
                heard = 0
            sent += self.again_there[body.number]
            there = [rows.pop((body.table, row["v"]), 0) for row in body.rows]
            what = f"I-3 {held.name}: {body.table}, v = {[row['v'] for row in body.rows]} ({body.mode})"
            if max(there) > sent:
                yield f"{what}: there {there} times, sent {sent} times"
            some = [
                max(times, (body.table, row["v"]) in aside)
                for times, row in zip(there, body.rows, strict=True)
                if len(names) == 1 or row["n"] != POISON  # what is parked at one member is not copied
            ]
            if some and min(some) < heard:
                yield f"{what}: there {some} times, acknowledged {heard} times"
            if len(set(some)) > 1 and body.table not in dropped and body.number not in self.forgotten:
                yield f"{what}: in parts, {some} times"
        for (table, v), times in rows.items():
            yield f"I-3 {held.name}: {table}, v = {v} is there {times} times, and was never sent"

    def wrong(self, held: Holding) -> Iterator[str]:
        """Rows say what was sent."""
        wanted: Mapping[tuple[str, int], dict[str, Any]] = {
            (body.table, row["v"]): row for body in self.bodies for row in body.rows
        }
        for table, lines in held.rows.items():
            for row in lines:
                sent = wanted.get((table, row["v"]), {})
                if sent and (sent.keys() - row.keys() or any(str(sent[name]) != str(row[name]) for name in ("v", "n"))):
                    yield f"I-3 {held.name}: {table} holds {row}, sent was {sent}"


def _aside(held: Holding) -> Iterator[tuple[str, int]]:
    """Rows in the files of the error directory, but for those that repeat something."""
    for path in held.files["err_dir"]:
        name = path.rpartition("/")[2]
        if f".err_{REPEATED}." in name or _BAD.search(name):
            continue
        for row in read_body(held.content(path)):
            yield name.split(".")[1], row["v"]
