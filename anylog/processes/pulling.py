"""Questions to other members of the cluster, and their files into the watch directory (operator-ha.md 7.1)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.databases.tsd_ranges import Line, Totals
from anylog.disk.archive import LARGEST, gunzip
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Forget, IBody, ILane, Publish, Reply
from anylog.mapping.body import content_hash
from anylog.pages import all_pages
from anylog.processes.agreement import Place
from anylog.processes.exchange import ANSWER, Folders, numbers

QUESTION, PAGE, FILES = 10.0, 30.0, 120.0  # seconds for an answer: a state, a page of entries, files
ENTRIES = 1000  # of one page
LONGEST_PAGE = 8 << 20  # bytes

Ask = Callable[..., Deferred[Reply]]  # as `IPeers.ask`


@frozen
class Peer:
    """Another operator of the cluster."""

    member: int
    address: str
    name: str = ""


@frozen
class Range:
    """Two times as stored: from the first on, before the second; empty: no limit."""

    start: str
    end: str = ""


@frozen(kw_only=True)
class State:
    """What a member told of itself."""

    complete: bool
    tables: Mapping[int, Totals]
    safe: Mapping[int, int]
    parts: Mapping[int, tuple[int, int, int]]
    known: int  # the last id it knows of this node's own files


@frozen(kw_only=True)
class Got:
    """What came of a question for files."""

    published: Sequence[int] = ()
    names: Sequence[tuple[str, int]] = ()
    size: int = 0
    without: Collection[int] = ()  # the member does not have them
    later: Collection[int] = ()


@define(kw_only=True, eq=False)
class Puller:
    """Asks, and keeps what comes."""

    _clock: Clock
    _disk: Disk
    _lane: ILane
    _cpu: ILane
    _ask: Ask
    _folders: Callable[[], Folders | None]
    _delivered: Callable[[Sequence[tuple[str, int]]], object]  # files (name, bytes) of the watch directory: take them
    _point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    log = Logger()

    def _asked(self, peer: Peer, kind: str, head: Mapping[str, Any], seconds: float) -> Deferred[Reply]:
        return self._ask(peer.address, kind, head, until=self._clock.seconds() + seconds)

    async def members(
        self, peer: Peer, place: Place, range: Range, *, safe: Mapping[int, int] | None, complete: bool,
        upto: Mapping[int, int] | None = None, seconds: float = QUESTION,
    ) -> State:  # fmt: skip
        """How far a member is. Raises AnyLogError, 21 if the answer makes no sense."""
        head = {
            "cluster": place.cluster,
            "member": place.member,
            "start": range.start,
            "end": range.end,
            **({"safe": _texts(safe)} if safe is not None else {}),
            "upto": _texts(upto or {}),
            "complete": complete,
        }
        reply = await self._asked(peer, "members", head, seconds)
        _close(reply.body)
        told = reply.head
        if told.get("member") != peer.member:
            raise AnyLogError(21, f"it says to be member {str(told.get('member'))[:20]}", node=peer.address)
        try:
            tables = {int(whose): Totals(*each[:7]) for whose, each in dict(told["tables"]).items()}
            parts = {int(whose): (int(n), int(sum), int(k)) for whose, (n, sum, k) in dict(told["parts"]).items()}
            known = int(told["yours"])
        except (KeyError, TypeError, ValueError):
            raise AnyLogError(21, "its state makes no sense", node=peer.address) from None
        safe_there = numbers(told, "safe")
        return State(
            complete=told.get("complete") is True, tables=tables, safe=safe_there, parts=parts, known=known
        )  # fmt: skip

    async def entries(
        self, peer: Peer, place: Place, whose: int, range: Range, after: int
    ) -> tuple[list[Line], bool]:  # fmt: skip
        """A page of what a member has of somebody's files, by id, and whether there is more. Raises AnyLogError."""
        head = {
            "cluster": place.cluster, "asker": place.member, "member": whose, "start": range.start, "end": range.end,
            "after": after, "most": ENTRIES,
        }  # fmt: skip
        reply = await self._asked(peer, "entries", head, PAGE)
        data = await all_pages(reply.body, LONGEST_PAGE)
        try:
            found = [Line(*each[:9]) for each in orjson.loads(data)]
            ids = [line.id for line in found]
            if ids != sorted(set(ids)) or (ids and ids[0] <= after) or not all(_sound(line) for line in found):
                raise ValueError
        except (orjson.JSONDecodeError, TypeError, ValueError):
            raise AnyLogError(21, "its entries make no sense", node=peer.address) from None
        return found, bool(reply.head.get("more")) and bool(found)

    async def fetch(self, peer: Peer, place: Place, whose: int, asked: Sequence[Line]) -> Got:
        """Files of a member, published in the watch directory in one batch. Raises AnyLogError."""
        folders = self._folders()
        if folders is None:
            raise AnyLogError(203, "no operator runs on this node")
        head = {
            "cluster": place.cluster, "asker": place.member, "member": whose, "ids": [line.id for line in asked],
        }  # fmt: skip
        reply = await self._asked(peer, "fetch", head, FILES)
        wanted = {line.id: line for line in asked}
        try:
            files = [(int(id), str(name), int(size)) for id, name, size in reply.head["files"]]
            without = {int(each[0]) for each in reply.head["missing"]} & wanted.keys()
            later = {int(id) for id in reply.head["later"]} & wanted.keys()
            sizes = [size for _, _, size in files]
            if min(sizes, default=1) < 1 or (len(sizes) > 1 and sum(sizes) > 2 * ANSWER) or sum(sizes) > LARGEST:
                raise ValueError(f"{sum(sizes):,} bytes in {len(sizes)} files")
        except (KeyError, TypeError, ValueError) as odd:
            _close(reply.body)
            raise AnyLogError(21, f"files that make no sense: {odd}"[:300], node=peer.address) from None
        size = sum(size for _, _, size in files)
        data = memoryview(await all_pages(reply.body, size))
        if len(data) != size:
            raise AnyLogError(15, f"{len(data):,} of {size:,} bytes of files came", node=peer.address)
        came, at = [], 0
        for id, name, length in files:
            came.append((id, name, bytes(data[at : at + length])))
            at += length
        good = await self._cpu.run(_sound_files, [(name, wanted.get(id), whose, content) for id, name, content in came])
        for (id, name, _), fine in zip(came, good, strict=True):
            if not fine:
                self.log.error("{name} of member {member} is not what it should be", name=name, member=peer.member)
                self.counts.add("damaged", last=f"{name} at member {peer.member}")
                if id in wanted:
                    without.add(id)
        came = [each for each, fine in zip(came, good, strict=True) if fine]
        published, names = await self._publish(folders.watch, came)
        return Got(published=published, names=names, size=size, without=without, later=later)

    async def _publish(
        self, watch: Path, files: Sequence[tuple[int, str, bytes]]
    ) -> tuple[list[int], list[tuple[str, int]]]:
        steps = [Publish(watch / name, data) for _, name, data in files]
        try:
            outcomes = await self._lane.run(self._disk.batch, steps) if steps else []
        except OSError as why:
            raise AnyLogError(14, f"{watch}: {why.strerror or why}") from None
        published, names = [], []
        for (id, name, data), outcome in zip(files, outcomes, strict=True):
            if isinstance(outcome, OSError):
                self.counts.add("not kept", last=f"{name}: {outcome.strerror or outcome}")
                if outcome.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                    raise AnyLogError(503, f"{watch}: {outcome.strerror}") from None
                continue
            published.append(id)
            names.append((name, len(data)))
        if published:
            self._point("fetched")
        return published, names

    async def deliver(self, whose: int, names: Sequence[tuple[str, int]], failed: Collection[int]) -> None:
        """Say that files may be taken; of those that failed before one copy in the error directory is enough."""
        folders = self._folders()
        if failed and folders is not None:
            try:
                await self._lane.run(_forget_failed, self._disk, folders.error, whose, set(failed))
            except OSError as why:
                self.log.warn("{folder}: {why}", folder=folders.error, why=why.strerror or str(why))
        if names:
            self._delivered(names)


def _texts(ids: Mapping[int, int]) -> dict[str, int]:
    return {str(member): id for member, id in sorted(ids.items())}


def _close(body: IBody | None) -> None:
    if body is not None:
        body.close()


def _sound(line: Line) -> bool:
    texts = (line.hash, line.dbms, line.table, line.state, line.time, line.source, line.instructions)
    return isinstance(line.id, int) and line.id > 0 and all(isinstance(each, str) for each in texts)


# In a lane.


def _sound_files(files: Sequence[tuple[str, Line | None, int, bytes]]) -> list[bool]:
    """Whether files are what was asked for, and their contents what their names say: what is damaged would be loaded
    under a hash of its own."""
    return [line is not None and _sound_file(name, line, whose, data) for name, line, whose, data in files]


def _sound_file(text: str, line: Line, whose: int, data: bytes) -> bool:
    try:
        name = FileName.parse(text)
        plain = gunzip(data, LARGEST) if name.compressed else data
    except AnyLogError:
        return False
    told = (name.kind, name.id, name.member, name.dbms, name.table, name.hash)
    if told != ("json", line.id, str(whose), line.dbms, line.table, line.hash):
        return False
    tables = (name.table, f"{name.table}.{name.member}.{name.id}")
    return name.hash in [content_hash(name.dbms, table, plain) for table in tables]


def _forget_failed(disk: Disk, folder: Path, whose: int, ids: Collection[int]) -> None:
    steps = []
    for name in disk.names(folder):
        parts = name.split(".")
        if len(parts) > 9 and parts[5] == str(whose) and parts[6].isdecimal() and int(parts[6]) in ids:
            steps.append(Forget(folder / name))
    for outcome in disk.batch(steps) if steps else []:
        if isinstance(outcome, OSError):
            raise outcome
