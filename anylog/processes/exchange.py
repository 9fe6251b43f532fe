"""What a member tells the others of its cluster: how far it is, what it has, and the files themselves.

The serving side of operator-ha.md 7.1. It runs on every operator, with a consumer or without.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import orjson
from attrs import astuple, define, field, frozen

from anylog.counts import Counts
from anylog.databases.tsd import OWN, Entry, Tsd
from anylog.databases.tsd_ranges import Line, last_id, lines, part, state_of, totals
from anylog.disk.archive import LARGEST, folder_of, ids_in
from anylog.disk.names import LARGEST_ID, FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Disk, IBody, ILane, Read, Reply
from anylog.processes.agreement import Place
from anylog.processes.missing import NO_HASH, OFFERED, SETTLED
from anylog.processes.standing import Standing
from anylog.waiting import deferring

PAGE = 128 << 10  # bytes of one page of a body
ANSWER = 4 << 20  # bytes of files in one answer; one larger file goes alone, in slices
MOST_ENTRIES, MOST_IDS = 5000, 1000  # of one question
LONGEST_DATE = 40


@frozen(kw_only=True)
class Folders:
    """Where the files of the operator that runs lie."""

    watch: Path
    archive: Path
    distr: Path
    error: Path


@frozen
class Lying:
    """A file that can be given away."""

    id: int
    path: Path
    size: int


@define(eq=False)
class Held:
    """Bytes that are there already, in pages."""

    _left: memoryview

    @deferring
    async def next(self) -> bytes | None:
        """The next page."""
        page, self._left = bytes(self._left[:PAGE]), self._left[PAGE:]
        return page or None

    def close(self) -> None:
        """Let go of them."""
        self._left = memoryview(b"")


@define(eq=False)
class Slices:
    """One large file, read piece by piece as it is taken."""

    _disk: Disk
    _lane: ILane
    _file: Lying
    _at: int = 0

    @deferring
    async def next(self) -> bytes | None:
        """The next piece. Fails with AnyLogError 63 if the file is no longer what it was."""
        size = min(PAGE, self._file.size - self._at)
        if size <= 0:
            return None
        try:
            page = await self._lane.run(_slice, self._disk, self._file.path, self._at, size)
        except OSError as why:
            raise AnyLogError(63, f"{self._file.path.name}: {why.strerror or why}") from None
        if len(page) != size:
            raise AnyLogError(63, f"{self._file.path.name} is shorter than it was")
        self._at += size
        return page

    def close(self) -> None:
        """Read no more."""
        self._at = self._file.size


@define(kw_only=True, eq=False)
class Exchange:
    """Answers the kinds `members`, `entries`, `known` and `fetch`."""

    _clock: Clock
    _disk: Disk
    _lane: ILane
    _place: Callable[[], Place | None]  # of the operator that runs
    _members: Callable[[], Collection[int]]  # of the own cluster, the own one included
    _tsd: Callable[[], Tsd | None]
    _folders: Callable[[], Folders | None]
    _complete: Callable[[], bool]
    standing: Standing
    # Names of the buffers and hashes of the files that are on their way.
    _in_work: Callable[[], Set[str]] = field(default=lambda: frozenset())
    met: Callable[[int], object] = field(default=lambda member: None)  # that member asked
    gave: Callable[[int, Sequence[int]], object] = field(default=lambda member, ids: None)  # own files to that member
    counts: Counts = field(factory=Counts)

    def handlers(self) -> Mapping[str, Any]:
        """Kind -> who answers it."""
        return {"members": self.members, "entries": self.entries, "known": self.known, "fetch": self.fetch}

    def _here(self) -> tuple[Place, Tsd]:
        """Raises AnyLogError 203 or 5 while this node can tell nothing."""
        place, tsd = self._place(), self._tsd()
        if place is None or not place.member:
            raise AnyLogError(203, "no operator runs on this node")
        if tsd is None:
            raise AnyLogError(5, "almgm.tsd_info is not there")
        return place, tsd

    def _known(self, place: Place, head: Mapping[str, Any]) -> int:
        """The member that asks. Raises AnyLogError 21 or 40 if it is none of this cluster."""
        cluster, member = head.get("cluster"), whole(head, "member", 1, 255)
        if cluster != place.cluster:
            raise AnyLogError(40, f"this operator is of the cluster {place.cluster}, not of {str(cluster)[:80]!r}")
        if member == place.member:
            raise AnyLogError(40, f"member {member} is this node itself: two operators have one member id")
        if member not in self._members():
            raise AnyLogError(40, f"the cluster {place.cluster} has no member {member} by the ledger of this node")
        return member

    def _still(self, place: Place) -> None:
        """Raises AnyLogError 203 if this node is another member by now: its tables of files are others then."""
        now = self._place()
        if now is not None and now.member != place.member:
            raise AnyLogError(203, f"this node is not member {place.member} now")

    @deferring
    async def members(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        """How far both sides are. Fails with AnyLogError 5, 21, 40 or 203."""
        place, tsd = self._here()
        asking = self._known(place, head)
        start, end = date(head, "start"), date(head, "end")
        safe, upto = numbers(head, "safe"), numbers(head, "upto")
        await self.standing.recall(tsd, place.member)
        if "safe" in head:
            self.standing.hear(asking, safe, head.get("complete") is True, self._clock.seconds())
            self.met(asking)
        mine = dict(self.standing.of(place.member))  # first: what is validated meanwhile is perhaps not counted below
        found = await totals(tsd, start, end)
        found.pop(f"tsd_{place.member}", None)  # made by hand: this member's own files are in `tsd_info`
        parts = {}
        for whose, id in sorted(upto.items()):
            into = table_of(whose, place.member)
            if into in found:
                parts[str(whose)] = list(await part(tsd, into, start, end, id))
        # Which ids did it give: also those of files that are not registered here yet, which are looked for first.
        lying = await self._lying(asking) if "safe" not in head else ()
        known = max([await last_id(tsd, f"tsd_{asking}"), *(id for id in lying if id <= LARGEST_ID)])
        self._still(place)
        told = {
            "member": place.member,
            "complete": self._complete(),
            "tables": {str(member_of(into, place.member)): list(astuple(each)) for into, each in found.items()},
            "safe": {str(whose): id for whose, id in mine.items()},
            "yours": known,
            "parts": parts,
        }
        self.counts.add("states told")
        return Reply(head=told)

    @deferring
    async def entries(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        """A page of entries of one member. Fails with AnyLogError 5, 21, 40 or 203."""
        place, tsd = self._here()
        self._known(place, {**head, "member": head.get("asker")})
        into = table_of(whole(head, "member", 0, 255), place.member)
        most = whole(head, "most", 1, MOST_ENTRIES)
        start, end, after = date(head, "start"), date(head, "end"), whole(head, "after", 0, LARGEST_ID)
        found = await lines(tsd, into, start, end, after, most + 1)
        self._still(place)
        data = orjson.dumps([astuple(line) for line in found[:most]])
        self.counts.add("entries told", len(found[:most]))
        return Reply(head={"more": len(found) > most}, body=Held(memoryview(data)))

    @deferring
    async def known(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        """What is here under ids of one member, loaded or on its way; and whether any file of it from the id `first`
        on (0: not asked) waits to be registered. Fails with AnyLogError 5, 21, 40, 63 or 203."""
        place, tsd = self._here()
        self._known(place, {**head, "member": head.get("asker")})
        member, ids = whole(head, "member", 0, 255), _ids(head)
        lying = await self._lying(member)  # first: what is taken from there meanwhile has its entry below
        found = await tsd.by_ids(table_of(member, place.member), ids)
        self._still(place)
        told = {
            id: [id, entry.hash, entry.rows, state_of(entry)]
            for id, entry in found.items()
            if not entry.hash.startswith(NO_HASH)
        }
        for id in ids:
            if id in lying and (id not in told or told[id][3] not in SETTLED):
                told[id] = [id, FileName.parse(lying[id]).hash, 0, "pending"]
        self.counts.add("ids told", len(told))
        first = whole(head, "first", 0, LARGEST_ID)
        waits = bool(first) and any(id >= first for id in lying)
        return Reply(head={"known": [told[id] for id in sorted(told)], "waits": waits})

    async def _lying(self, member: int) -> Mapping[int, str]:
        """Files of a member that wait to be registered: id -> name. Raises AnyLogError 63 or 203."""
        folders = self._folders()
        if folders is None:
            raise AnyLogError(203, "no operator runs on this node")
        try:
            return await self._lane.run(ids_in, self._disk, folders.watch, member)
        except OSError as why:
            raise AnyLogError(63, f"{folders.watch}: {why.strerror or why}") from None

    @deferring
    async def fetch(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        """Files of one member by id, as many as fit. Fails with AnyLogError 5, 21, 40, 63 or 203."""
        place, tsd = self._here()
        asking = self._known(place, {**head, "member": head.get("asker")})
        member, folders, ids = whole(head, "member", 0, 255), self._folders(), _ids(head)
        if folders is None:
            raise AnyLogError(203, "no operator runs on this node")
        wanted = list(dict.fromkeys(ids))
        known = await tsd.by_ids(table_of(member, place.member), wanted)
        self._still(place)
        names = {id: name_of(known[id], member) for id in wanted if id in known and state_of(known[id]) in OFFERED}
        asked = [(id, *name) for id, name in names.items()]
        busy = self._in_work()  # first: what ends from here on is in the archive
        try:
            found, later, data = await self._lane.run(_collect, self._disk, folders, asked)
        except OSError as why:
            raise AnyLogError(63, f"{why.filename or folders.archive}: {why.strerror or why}") from None
        there = {file.id for file in found} | set(later)
        later += [id for id in names if id not in there and known[id].hash in busy]
        # What is registered and not loaded comes; it may be in the archive and read from there after a loss.
        later += [id for id in wanted if id in known and known[id].pending and id not in there]
        there.update(later)
        missing = [[id, names[id][0] if id in names else ""] for id in wanted if id not in there]
        lost = [(id, *names[id]) for id, _ in missing if id in names]
        told: dict[str, Any] = {
            "files": [[file.id, file.path.name, file.size] for file in found],
            "missing": missing,
            "later": later,
        }
        if lost and (large := await self._lane.run(_too_large, self._disk, folders, lost)):
            told["large"] = large
        self.counts.add("files given", len(found))
        if member == place.member:
            self.gave(asking, [file.id for file in found])
        if missing:
            self.counts.add(
                "files not found", len(missing), last=f"{missing[0][1] or missing[0][0]} of member {member}"
            )
        rest: IBody | None = None
        if data is not None:
            rest = Held(memoryview(data))
        elif found:
            rest = Slices(self._disk, self._lane, found[0])
        return Reply(head=told, body=rest)


def table_of(member: int, own: int) -> str:
    """The table of files of a member, on the node of member `own`."""
    return OWN if member == own else f"tsd_{member}"


def member_of(into: str, own: int) -> int:
    """Whose files a table holds, on the node of member `own`."""
    return own if into == OWN else int(into.removeprefix("tsd_"))


def name_of(entry: Entry | Line, member: int) -> tuple[str, str]:
    """The full name of a file as the archive has it, without .gz; and its date."""
    digits = "".join(char for char in entry.time[2:19] if char.isdecimal())
    name = FileName(
        dbms=entry.dbms, table=entry.table, source=entry.source, hash=entry.hash, instructions=entry.instructions,
        member=str(member), id=entry.id, date=digits,
    )  # fmt: skip
    return str(name), digits


def whole(head: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """A number of a question. Raises AnyLogError 21 if there is none, 40 if it is out of bounds."""
    value = head.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise AnyLogError(21, f"a question without '{key}'")
    if not least <= value <= most:
        raise AnyLogError(40, f"{key} = {value}: it is {least} to {most}")
    return value


def date(head: Mapping[str, Any], key: str) -> str:
    """A time of a question, as times are stored; empty: no limit. Raises AnyLogError 21."""
    value = head.get(key, "")
    if not isinstance(value, str) or len(value) > LONGEST_DATE:
        raise AnyLogError(21, f"a question with a wrong '{key}'")
    return value


def _ids(head: Mapping[str, Any]) -> list[int]:
    """Which files are asked for. Raises AnyLogError 21 or 40."""
    ids = head.get("ids")
    if not isinstance(ids, list | tuple) or not 0 < len(ids) <= MOST_IDS:
        raise AnyLogError(21, f"a question for files without a list of 1 to {MOST_IDS} ids")
    for id in ids:
        if not isinstance(id, int) or isinstance(id, bool) or not 0 < id <= LARGEST_ID:
            raise AnyLogError(40, f"{str(id)[:40]!r} is not the id of a file")
    return list(ids)


def numbers(head: Mapping[str, Any], key: str) -> dict[int, int]:
    """Member -> id. Raises AnyLogError 21."""
    value = head.get(key) or {}
    try:
        found = {int(member): id for member, id in value.items()}
    except (AttributeError, OverflowError, TypeError, ValueError):
        raise AnyLogError(21, f"'{key}' is not ids by member") from None
    if len(found) > 256 or not all(
        0 <= member <= 255 and type(id) is int and 0 <= id <= LARGEST_ID for member, id in found.items()
    ):
        raise AnyLogError(21, f"'{key}' is not ids by member")
    return found


# In a lane.


def _collect(
    disk: Disk, folders: Folders, asked: Sequence[tuple[int, str, str]]
) -> tuple[list[Lying], list[int], bytes | None]:
    """As many of the files (id, name, date) as fit into one answer; those for later; the bytes, None for a large."""
    found: list[Lying] = []
    later: list[int] = []
    size = 0
    for id, name, digits in asked:
        file = _find(disk, id, _paths(folders, name, digits))
        if file is None:
            continue
        if found and size + file.size > ANSWER:
            later.append(id)
            continue
        found.append(file)
        size += file.size
    if size > ANSWER or not found:
        return found, later, None
    paths = {id: _paths(folders, name, digits) for id, name, digits in asked}
    read: dict[int, tuple[Lying, bytes]] = {}
    # On its way from the distributor to the archive a file may be gone from where it was found: once more, then later.
    for _ in range(2):
        left = [file for file in found if file.id not in read]
        for file, outcome in zip(left, disk.batch([Read(file.path, ANSWER) for file in left]), strict=True):
            if not isinstance(outcome, OSError):
                read[file.id] = Lying(file.id, file.path, len(outcome[0])), bytes(outcome[0])
        if len(read) == len(found):
            break
        found = [file if file.id in read else _find(disk, file.id, paths[file.id]) or file for file in found]
    later += [file.id for file in found if file.id not in read]
    given = [read[file.id] for file in found if file.id in read]
    return [file for file, _ in given], later, b"".join(data for _, data in given)


def _paths(folders: Folders, name: str, digits: str) -> list[Path]:
    return [folder_of(folders.archive, digits) / name, folders.distr / name]


def _find(disk: Disk, id: int, paths: Sequence[Path]) -> Lying | None:
    """It lies packed or not; where it waits for the distributor it may just be on its way into the archive."""
    for path in (*paths, paths[0]):
        for each in (path.with_name(f"{path.name}.gz"), path):
            try:
                size, _, kind = disk.stat(each)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if kind == "file" and 0 < size <= LARGEST:
                return Lying(id, each, size)
    return None


def _too_large(disk: Disk, folders: Folders, asked: Sequence[tuple[int, str, str]]) -> list[list[int]]:
    """Those of the files (id, name, date) that are there, and larger than one that others could load, with the size."""
    found = []
    for id, name, digits in asked:
        for path in _paths(folders, name, digits):
            for each in (path.with_name(f"{path.name}.gz"), path):
                try:
                    size, _, kind = disk.stat(each)
                except OSError:
                    continue
                if kind == "file" and size > LARGEST:
                    found.append([id, size])
    return found


def _slice(disk: Disk, path: Path, at: int, size: int) -> bytes:
    file = disk.open(path)
    try:
        return file.read(at, size)
    finally:
        file.close()
