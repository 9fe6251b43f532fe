"""The whole of a place as it was at some moment, as a snapshot of a virtual machine keeps it; and what that forgets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from random import Random

from attrs import define, field

from anylog.mapping.body import read_body
from anylog.testing.disk import MemoryDisk
from anylog.testing.lasting import LastingFiles
from anylog.testing.laws import Holding
from anylog.testing.load import POISON, Load
from anylog.testing.world import Place

_FULL = re.compile(r"[^.]+\.([^.]+)\.[^.]+\.[0-9a-f]{32}\.[^.]+\.(\d+)\.(\d+)\.\d{12}\.json(\.gz)?")


@define(kw_only=True, eq=False, repr=False)
class Snapshot:
    """Disk and databases of one place, of one moment of a life that goes on; and what senders were told by then."""

    disk: MemoryDisk
    files: LastingFiles
    heard: dict[int, int]  # how often the place said yes to each body
    alone: frozenset[int] = frozenset()  # bodies of which one row may be all that a buffer held: nobody can tell it
    bad: dict[str, int] = field(factory=dict)  # files that cannot be loaded -> code

    @classmethod
    def of(cls, place: Place, load: Load, chance: Random, held: Holding) -> Snapshot:
        """Taken while it runs: what was not synced is in it or not, as after a power cut. `held`: what it has then."""
        assert place.files is not None
        filed = rows_of([held], held.member)
        power = chance.random() < 0.5
        return cls(
            disk=place.disk.crash(chance, power),
            files=place.files.crash(chance, power),
            heard={body.number: body.heard[place.name] for body in load.bodies},
            alone=frozenset(
                body.number
                for body in load.bodies
                if body.mode != "whole" and body.sent[place.name] and sum(row["n"] != POISON for row in body.rows) < 2
                if min(filed[body.table, row["v"]] for row in body.rows) < body.sent[place.name]
            ),
            bad=dict(load.bad[place.name]),
        )

    def put_back(self, place: Place, load: Load, chance: Random, others: Sequence[Holding], member: int) -> None:
        """It takes the place of what is there, while nobody runs there; it may be put back again later.

        What the place said yes to since may be lost, but for what `others` have of its files: those of `member`.
        """
        assert place.files is not None
        place.files.end()
        place.disk, place.files = self.disk.crash(chance, power=False), self.files.crash(chance, power=False)
        there = rows_of(others, member)
        for body in load.bodies:
            copied = min((there[body.table, row["v"]] for row in body.rows), default=0)
            before, now = self.heard.get(body.number, 0), body.heard[place.name]
            body.heard[place.name] = max(before, min(now, copied))
        load.again_there.update(self.alone)  # each may come back, and be there as well
        load.bad[place.name] = dict(self.bad)

    def end(self) -> None:
        """It is not put back any more."""
        self.files.end()


def rows_of(members: Sequence[Holding], owner: int) -> Counter[tuple[str, int]]:
    """(table, value) -> how often it is in the files of `owner`, at whichever of the members has it most often: loaded,
    or waiting to be."""
    most: Counter[tuple[str, int]] = Counter()
    for held in members:
        rows: Counter[tuple[str, int]] = Counter()
        for table, _, path in _files(held, owner):
            rows.update((table, row["v"]) for row in read_body(held.content(path)))
        most |= rows
    return most


def forget_ids(
    known: MutableMapping[tuple[int, int], tuple[str, str]], members: Sequence[Holding], owner: int
) -> None:  # fmt: skip
    """Ids that `owner` gave and nobody knows may be given again: only those that `members` have stay known."""
    there = {id for held in members for _, id, _ in _files(held, owner)}
    there |= {entry.id for held in members for entry in held.of(owner)}
    for whose, id in list(known):
        if whose == owner and id not in there:
            del known[whose, id]


def _files(held: Holding, owner: int) -> Sequence[tuple[str, int, str]]:
    """Table, id and path of the owner's files, each once, wherever they lie."""
    found: Mapping[int, tuple[str, int, str]] = {
        int(name[3]): (name[1], int(name[3]), path)
        for folder in ("watch_dir", "archive_dir", "distr_dir")
        for path in held.files[folder]
        if (name := _FULL.fullmatch(path.rpartition("/")[2])) is not None and name[2] == str(owner)
    }
    return list(found.values())
