"""What is missing here of what another member holds, and up to where nothing is (operator-ha.md 7). Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import frozen

from anylog.databases.tsd import FAILED, FOREIGN_IDS, OWN
from anylog.databases.tsd_ranges import Line

OFFERED = ("loaded", "dropped")  # states in which a member has the file in its archive
SETTLED = ("loaded", "dropped", "double")  # and in which nothing of it is missing
AGAIN, SELDOM = 60.0, 3600.0  # seconds until a file is asked for again; one that failed or that nobody has
OFTEN = 3  # times that it is asked for at the shorter distance
NO_HASH = ("open:", f"{FAILED}:")  # how what stands in the place of a hash begins


@frozen
class Tried:
    """When a file was asked for last."""

    at: float
    times: int = 1
    without: frozenset[int] = frozenset()  # members that said they do not have it


@frozen(kw_only=True)
class Plan:
    """What to do about one page of entries of a member."""

    fetch: Sequence[Line] = ()
    doubles: Sequence[tuple[Line, tuple[str, int]]] = ()  # whose content is here, with the entry that holds it
    absent: Sequence[Line] = ()  # the member does not have them either
    pending: Sequence[Line] = ()  # in work here, and seen so for the first time
    apart: Sequence[str] = ()  # the database of each that is not asked for since that is not connected here
    busy: Sequence[int] = ()  # asked for already, and not here yet
    open: int = 0  # how many are not here, and may still come
    first: int = 0  # the lowest id that is not settled here; 0: none


def plan(
    theirs: Sequence[Line],
    ours: Mapping[int, str],
    held: Mapping[str, tuple[str, int]],
    tried: Mapping[int, Tried],
    on_way: Collection[str],
    *,
    peer: int,
    into: str,
    now: float,
    resting: Collection[str] = (),
    away: Collection[str] = (),
) -> Plan:
    """Look at entries of a member, by id. `ours`: id -> state here; `held`: hash -> the entry here that holds its rows;
    `on_way`: hashes that were asked for; `into`: the table of files they belong in here; `resting`: states here in
    which files are not asked for now, unless it is known when they were; `away`: databases that are not connected here.
    """
    fetch: list[Line] = []
    doubles: list[tuple[Line, tuple[str, int]]] = []
    absent: list[Line] = []
    pending: list[Line] = []
    apart: list[str] = []
    busy: list[int] = []
    hashes = set(on_way)
    waiting = first = 0
    for line in theirs:
        here = ours.get(line.id, "")
        if here in SETTLED or line.state in ("pending", "failed") or here == line.state == "missing":
            continue
        holder = held.get(line.hash)
        if holder is not None and holder[0] == into == OWN:
            continue  # our own table has one entry for a content, so this one has no room beside it
        before = tried.get(line.id)
        if here == "pending" and before is None:
            pending.append(line)
            waiting += 1
        elif holder is not None and here != "pending":
            doubles.append((line, holder))
            continue
        elif line.dbms in away and here not in ("pending", "missing") and line.state != "missing":
            apart.append(line.dbms)
        elif line.state == "double":
            waiting += 1  # its content comes with another entry
        elif line.state == "missing" or lacks(before, peer, now):
            if here == "":
                absent.append(line)
                waiting += 1
        elif (never_asked(before) and here in resting) or not due(before, here, peer, now):
            if here not in ("missing", "failed"):
                busy.append(line.id)
                waiting += 1
        elif line.hash in hashes:
            busy.append(line.id)
            waiting += 1
        else:
            hashes.add(line.hash)
            fetch.append(line)
            waiting += 1
        if here != "missing":
            first = first or line.id
    return Plan(
        fetch=fetch, doubles=doubles, absent=absent, pending=pending, apart=apart, busy=busy, open=waiting, first=first,
    )  # fmt: skip


def clashes(line: Line, hash: str, state: str) -> bool:
    """Whether an id has two contents: the one that a member holds, and the one that has it here (operator-ha.md 9.3).

    What holds nothing here, and is waited for by nobody, gives way to the other.
    """
    here = state in SETTLED or state == "pending"
    return here and line.state in SETTLED and hash != line.hash and not hash.startswith(NO_HASH)


def held(theirs: Sequence[Line], last: int) -> int:
    """How many entries of a member are among the files that it told of before, the last of which was `last`."""
    return sum(1 for line in theirs if (line.rows or line.state == "double") and not last < line.id < FOREIGN_IDS)


def lacks(before: Tried | None, peer: int, now: float) -> bool:
    """Whether a member said a while ago that it does not have the file."""
    return before is not None and peer in before.without and now - before.at < SELDOM


def never_asked(before: Tried | None) -> bool:
    """Whether nobody was asked for a file, which may have been seen in work here."""
    return before is None or not before.times


def due(before: Tried | None, here: str, peer: int, now: float) -> bool:
    """Whether a file may be asked for now."""
    if before is None or (never_asked(before) and here == "missing"):
        return True
    if before.without and peer not in before.without and here in ("", "missing"):
        return True  # the next one that lists it
    seldom = here in ("missing", "failed") or before.times >= OFTEN
    return now - before.at >= (SELDOM if seldom else AGAIN)


def validated(before: int, bound: int, *firsts: int) -> int:
    """The highest id up to which nothing is missing: at most `bound`, in front of each of `firsts` (0: none).

    Never less than it was.
    """
    return max(before, min([bound, *(first - 1 for first in firsts if first)]))


def consensus(before: int, members: Collection[int], safe: Mapping[int, int]) -> int:
    """The id up to which every member has validated; never less than it was. Whoever is not heard of has nothing."""
    return max(before, min((safe.get(member, 0) for member in members), default=0))
