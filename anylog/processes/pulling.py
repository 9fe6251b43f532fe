"""Questions to other members of the cluster, and their files into the watch directory (operator-ha.md 7.1)."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.databases.tsd_ranges import Line, Range
from anylog.disk.archive import LARGEST, gunzip
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Forget, IBody, ILane, Publish, Reply
from anylog.mapping.body import content_hash, is_sealed
from anylog.pages import Patient, all_pages
from anylog.processes.agreement import Place
from anylog.processes.exchange import Folders
from anylog.processes.told import Files, State, files_told, known_told, lines_told, state_told
from anylog.waiting import deadline

QUESTION = 10.0  # seconds for a state
SILENCE = 60.0  # seconds until an answer begins, and between its bytes
SLOWEST = 4096  # bytes a second, with which a large file over a slow link still comes to its end
ENTRIES = 1000  # of one page
IDS = 500  # of one question what is known of them
LONGEST_PAGE = 8 << 20  # bytes
TOO_LARGE = f"is larger than {LARGEST >> 20} MiB, which only its owner can load"

T = TypeVar("T")
Ask = Callable[..., Deferred[Reply]]  # as `IPeers.ask`


@frozen
class Peer:
    """Another operator of the cluster."""

    member: int
    address: str
    name: str = ""


@frozen(kw_only=True)
class Got:
    """What came of a question for files."""

    published: Sequence[int] = ()
    names: Sequence[tuple[str, int]] = ()
    size: int = 0
    without: Collection[int] = ()  # the member does not have them
    later: Collection[int] = ()
    large: Collection[int] = ()  # of those: it has them, and nobody else could load them
    full: Collection[int] = ()  # there was no room for them here


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
    # These files (names) are about to be put there: whoever ends this in the middle, it is known where they come from.
    _coming: Callable[[Sequence[str]], Awaitable[object]] = field(default=lambda names: succeed(None))
    _point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    log = Logger()

    def _asked(self, peer: Peer, kind: str, head: Mapping[str, Any], seconds: float) -> Deferred[Reply]:
        return self._ask(peer.address, kind, head, until=self._clock.seconds() + seconds)

    async def _asked_slowly(
        self, peer: Peer, kind: str, head: Mapping[str, Any], most: int
    ) -> tuple[Reply, IBody | None]:
        """An answer with a body of at most `most` bytes, that may take as long as bytes go on coming."""
        longest = 2 * SILENCE + most / SLOWEST
        asked = self._asked(peer, kind, head, longest)
        until = self._clock.seconds() + longest
        reply = await deadline(self._clock, SILENCE, asked, f"{kind} of member {peer.member}")
        if reply.body is None:
            return reply, None
        return reply, Patient(reply.body, self._clock, SILENCE, until)

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
        return _of(peer, state_told, told)

    async def entries(
        self, peer: Peer, place: Place, whose: int, range: Range, after: int
    ) -> tuple[list[Line], bool]:  # fmt: skip
        """A page of what a member has of somebody's files, by id, and whether there is more. Raises AnyLogError."""
        head = {
            "cluster": place.cluster, "asker": place.member, "member": whose, "start": range.start, "end": range.end,
            "after": after, "most": ENTRIES,
        }  # fmt: skip
        reply, body = await self._asked_slowly(peer, "entries", head, LONGEST_PAGE)
        data = await all_pages(body, LONGEST_PAGE)
        found = _of(peer, lines_told, data, after)
        return found, bool(reply.head.get("more")) and bool(found)

    async def known(
        self, peer: Peer, place: Place, whose: int, ids: Sequence[int], first: int = 0
    ) -> tuple[dict[int, tuple[str, int, str]], bool]:  # fmt: skip
        """What a member has under ids of somebody's files: id -> hash, rows, state; and whether it has files of that
        one, from the id `first` on (0: not asked), that it has not registered yet. Raises AnyLogError."""
        found: dict[int, tuple[str, int, str]] = {}
        waits = False
        for at in range(0, len(ids), IDS):
            asked = list(ids[at : at + IDS])
            head = {"cluster": place.cluster, "asker": place.member, "member": whose, "ids": asked, "first": first}
            reply = await self._asked(peer, "known", head, QUESTION)
            _close(reply.body)
            known, waiting = _of(peer, known_told, reply.head, asked)
            found, waits = found | known, waits or waiting
        return found, waits

    async def content(self, peer: Peer, place: Place, whose: int, line: Line) -> bytes | None:
        """One file of a member, unpacked; None if it has none. Raises AnyLogError, 502 while it is on its way."""
        told, came, large = await self._fetched(peer, place, whose, [line])
        if line.id in told.large or large:
            raise AnyLogError(501, f"the file {line.id} of member {peer.member} {TOO_LARGE}")
        if line.id in told.later:
            raise AnyLogError(502, f"member {peer.member} is about to put the file {line.id} into its archive")
        for _, name, data in came:
            return gunzip(data, LARGEST) if FileName.parse(name).compressed else data
        return None

    async def fetch(self, peer: Peer, place: Place, whose: int, asked: Sequence[Line]) -> Got:
        """Files of a member, published in the watch directory in one batch. Raises AnyLogError."""
        folders = self._folders()
        if folders is None:
            raise AnyLogError(203, "no operator runs on this node")
        told, came, large = await self._fetched(peer, place, whose, asked)
        damaged = {id for id, _, _ in told.files} - {id for id, _, _ in came}
        without = set(told.without) | (damaged & {line.id for line in asked})
        if came:
            await self._coming([name for _, name, _ in came])
        published, names, full = await self._publish(folders.watch, came)
        return Got(published=published, names=names, size=told.size, without=without, later=told.later, full=full,
                   large={*told.large, *large} & without)  # fmt: skip

    async def _fetched(
        self, peer: Peer, place: Place, whose: int, asked: Sequence[Line]
    ) -> tuple[Files, list[tuple[int, str, bytes]], list[int]]:  # fmt: skip
        """The answer to a question for files, those of them that are sound: id, name, bytes; and those that hold too
        much. Raises AnyLogError."""
        head = {
            "cluster": place.cluster, "asker": place.member, "member": whose, "ids": [line.id for line in asked],
        }  # fmt: skip
        reply, body = await self._asked_slowly(peer, "fetch", head, LARGEST)
        wanted = {line.id: line for line in asked}
        try:
            told = _of(peer, files_told, reply.head, wanted.keys())
            data = memoryview(await all_pages(body, told.size))
        finally:
            _close(body)
        if len(data) != told.size:
            raise AnyLogError(15, f"{len(data):,} of {told.size:,} bytes of files came", node=peer.address)
        came, at = [], 0
        for id, name, length in told.files:
            came.append((id, name, bytes(data[at : at + length])))
            at += length
        good = await self._cpu.run(_sound_files, [(name, wanted.get(id), whose, content) for id, name, content in came])
        for (_, name, _), fine in zip(came, good, strict=True):
            if fine is False:
                self.log.error("{name} of member {member} is not what it should be", name=name, member=peer.member)
                self.counts.add("damaged", last=f"{name} at member {peer.member}")
        large = [each[0] for each, fine in zip(came, good, strict=True) if fine is None]
        return told, [each for each, fine in zip(came, good, strict=True) if fine], large

    async def _publish(
        self, watch: Path, files: Sequence[tuple[int, str, bytes]]
    ) -> tuple[list[int], list[tuple[str, int]], set[int]]:
        """The ids of those that are there, with name and size; and of those for which there is no room."""
        steps = [Publish(watch / name, data) for _, name, data in files]
        try:
            outcomes = await self._lane.run(self._disk.batch, steps) if steps else []
        except OSError as why:
            raise AnyLogError(14, f"{watch}: {why.strerror or why}") from None
        published, names, full, fault = [], [], set[int](), ""
        for (id, name, data), outcome in zip(files, outcomes, strict=True):
            if isinstance(outcome, OSError):
                self.counts.add("not kept", last=f"{name}: {outcome.strerror or outcome}")
                if outcome.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                    full.add(id)
                    fault = f"{watch}: {outcome.strerror}"
                continue
            if outcome == "other":
                self.counts.add("not kept", last=f"another file called {name} waits to be loaded")
                continue
            published.append(id)
            names.append((name, len(data)))
        if full and not published:
            raise AnyLogError(503, fault)
        if published:
            self._point("fetched")
        return published, names, full

    async def lying(self, names: Collection[str]) -> set[str]:
        """Which of these files are in the watch directory still; all of them while that cannot be read."""
        folders = self._folders()
        if folders is None:
            return set()
        try:
            there = await self._lane.run(self._disk.names, folders.watch)
        except OSError as why:
            self.log.warn("{folder}: {why}", folder=folders.watch, why=why.strerror or str(why))
            return set(names)
        return set(there) & set(names)

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


def _of(peer: Peer, read: Callable[..., T], *told: Any) -> T:
    """What a member told, read; what is wrong with it names that node. Raises AnyLogError 21."""
    try:
        return read(*told)
    except AnyLogError as odd:
        odd.node = peer.address
        raise


def _close(body: IBody | None) -> None:
    if body is not None:
        body.close()


def no_room(error: AnyLogError) -> bool:
    """Whether it is of the disk of this very node."""
    return error.number == 503 and not error.node


# In a lane.


def _sound_files(files: Sequence[tuple[str, Line | None, int, bytes]]) -> list[bool | None]:
    """Whether files are what was asked for, and their contents what their names say: what is damaged would be loaded
    under a hash of its own. None of one that holds too much to tell."""
    return [line is not None and _sound_file(name, line, whose, data) for name, line, whose, data in files]


def _sound_file(text: str, line: Line, whose: int, data: bytes) -> bool | None:
    try:
        name = FileName.parse(text)
        plain = gunzip(data, LARGEST) if name.compressed else data
    except AnyLogError as why:
        return None if why.number == 501 else False
    told = (name.kind, name.id, name.member, name.dbms, name.table, name.hash)
    if told != ("json", line.id, str(whose), line.dbms, line.table, line.hash):
        return False
    tables = (name.table, f"{name.table}.{name.member}.{name.id}")
    known = [content_hash(name.dbms, table, plain) for table in tables]
    return name.hash in known or is_sealed(name.hash, name.dbms, name.table, plain)


def _forget_failed(disk: Disk, folder: Path, whose: int, ids: Collection[int]) -> None:
    steps = []
    for name in disk.names(folder):
        parts = name.split(".")
        if len(parts) > 9 and parts[5] == str(whose) and parts[6].isdecimal() and int(parts[6]) in ids:
            steps.append(Forget(folder / name))
    for outcome in disk.batch(steps) if steps else []:
        if isinstance(outcome, OSError):
            raise outcome
