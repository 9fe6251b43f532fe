"""Brings files of this node to other members of its cluster, by their full names (operator-ha.md 6.1, 7.1)."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgpack
from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.disk.batch import packed
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, ILane, Read, Reply
from anylog.waiting import deferring, pause

FILES, BYTES = 256, 4 << 20  # of one question
AT_ONCE = 2  # questions to one member: while one is being synced there, the next is read and on its way
NAMES = 56 << 10  # bytes of a packed head
LARGEST = 15 << 20  # bytes of a file that goes in a question; a larger one is fetched in pages
SMALL = 128 << 10  # bytes of files that are read many at a time
SECONDS = 30.0  # for the answer to a question
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between questions while the other node has too much that waits
PATIENCE = 30.0  # seconds of that
BUSY = 502


class Ask(Protocol):
    """`IPeers.ask`."""

    def __call__(
        self, address: str, kind: str, head: Mapping[str, Any], body: bytes = b"", *, until: float | None = None
    ) -> Deferred[Reply]: ...


@frozen
class Brought:
    """What came of one file. `taken`: it is synced there; `known`: its rows are there; else `why`."""

    kind: Literal["taken", "known", "failed"]
    why: str = ""


@define(eq=False)
class Way:
    """To one member."""

    places: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE))
    large: DeferredLock = field(factory=DeferredLock)  # only one of them holds files that are larger than a question
    users: int = 0


@define(eq=False)
class Heap:
    """The files of one sending that were not asked about yet."""

    way: Way
    unread: deque[tuple[int, Path]]
    read: deque[tuple[int, str, bytes]] = field(factory=deque)
    large: bool = False  # holds `way.large`

    @property
    def size(self) -> int:
        """Bytes that were read."""
        return sum(len(data) for _, _, data in self.read)


@define(kw_only=True, eq=False)
class Courier:
    """Sends files; each sending asks one question after the other, and a few sendings to one member go at a time."""

    _clock: Clock
    _disk: Disk
    _lane: ILane
    _ask: Ask
    kind: str = "deliver"  # of the questions
    _packing: ILane | None = None  # where files are packed that are not; None: they go as they are
    seconds: float = SECONDS
    patience: float = PATIENCE
    point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    _ways: dict[str, Way] = field(factory=dict)
    log = Logger()

    @deferring
    async def send(
        self, address: str, paths: Sequence[Path], told: Callable[[Path, Brought], None] = lambda path, what: None
    ) -> list[Brought]:
        """Bring these files there, in order; what came of each is told as soon as it is known.

        Nothing is raised for a member that refuses or does not answer: then it, and all behind it, failed.
        """
        found: dict[int, Brought] = {}

        def ended(place: int, what: Brought) -> None:
            found[place] = what
            self.counts.add(what.kind, last=f"{address}: {paths[place].name}")
            told(paths[place], what)

        way = self._ways.setdefault(address, Way())
        way.users += 1
        try:
            await way.places.acquire()
            heap = Heap(way, deque(enumerate(paths)))
            try:
                await self._send(address, heap, ended)
            finally:
                if heap.large:
                    way.large.release()
                way.places.release()
        finally:
            way.users -= 1
            if not way.users:
                del self._ways[address]
        return [found[place] for place in range(len(paths))]

    async def _send(self, address: str, heap: Heap, ended: Callable[[int, Brought], None]) -> None:
        """Question by question; what was read for one and is too much for it stays for the next."""
        unread, read = heap.unread, heap.read
        while unread or read:
            while unread and len(read) < FILES and heap.size < BYTES:
                await self._read(heap, ended)
            taken = _question(read)
            if not taken:
                continue
            try:
                answers = await self._told(address, taken)
            except AnyLogError as why:
                self.log.info("{peer} takes no files: {why}", peer=address, why=str(why))
                failed = Brought("failed", str(why))
                for place in [*(place for place, _, _ in taken), *(place for place, _, _ in read)]:
                    ended(place, failed)
                for place, _ in unread:
                    ended(place, failed)
                return
            self.point("confirmed")
            for (place, _, _), what in zip(taken, answers, strict=True):
                ended(place, what)

    async def _read(self, heap: Heap, ended: Callable[[int, Brought], None]) -> None:
        """Some more files: small ones many at a time, larger ones each alone, so that memory has a limit."""
        unread, read = heap.unread, heap.read
        some = [unread.popleft() for _ in range(min(len(unread), max(1, (BYTES // SMALL))))]
        outcomes = await self._lane.run(self._disk.batch, [Read(path, SMALL) for _, path in some])
        for number, ((place, path), outcome) in enumerate(zip(some, outcomes, strict=True)):
            if isinstance(outcome, OSError) and outcome.errno == errno.EFBIG:
                if number:
                    unread.extendleft(reversed(some[number:]))
                    return
                unread.extendleft(reversed(some[1:]))
                some = some[:1]
                outcome = await self._read_one(heap, path)
            if isinstance(outcome, OSError):
                ended(place, Brought("failed", f"{path}: {outcome.strerror or outcome}"))
            elif not outcome[0]:
                ended(place, Brought("failed", f"{path} is empty"))
            else:
                read.append((place, *await self._packed(path.name, bytes(outcome[0]))))
            if len(some) == 1:
                return

    async def _packed(self, name: str, data: bytes) -> tuple[str, bytes]:
        if self._packing is None or name.endswith(".gz"):
            return name, data
        return f"{name}.gz", await self._packing.run(packed, data)

    async def _read_one(self, heap: Heap, path: Path) -> Any:
        """One that is larger than a whole question has to wait until no other sending to this member holds any."""
        (outcome,) = await self._lane.run(self._disk.batch, [Read(path, LARGEST if heap.large else BYTES)])
        if not heap.large and isinstance(outcome, OSError) and outcome.errno == errno.EFBIG:
            await heap.way.large.acquire()
            heap.large = True
            (outcome,) = await self._lane.run(self._disk.batch, [Read(path, LARGEST)])
        return outcome

    async def _told(self, address: str, files: Sequence[tuple[int, str, bytes]]) -> list[Brought]:
        """The answer to one question; asked again while there is too much that waits there."""
        head = {"files": [[name, len(data)] for _, name, data in files]}
        body = b"".join(data for _, _, data in files)
        begin, attempt = self._clock.seconds(), 0
        while True:
            try:
                until = self._clock.seconds() + self.seconds
                reply = await self._ask(address, self.kind, head, body, until=until)
                break
            except AnyLogError as refused:
                wait = PAUSES[min(attempt, len(PAUSES) - 1)]
                if refused.number != BUSY or self._clock.seconds() + wait - begin > self.patience:
                    raise
            attempt += 1
            self.counts.add("put off")
            await pause(self._clock, wait)
        if reply.body is not None:
            reply.body.close()
        answers = reply.head.get("told")
        if not isinstance(answers, Sequence) or len(answers) != len(files):
            raise AnyLogError(21, f"{address} answered {len(files)} files with {ascii(answers)[:200]}", node=address)
        return [
            Brought("taken")
            if text == "taken"
            else Brought("known")
            if text == "known"
            else Brought("failed", f"{text}")
            for text in answers
        ]


def _question(read: deque[tuple[int, str, bytes]]) -> list[tuple[int, str, bytes]]:
    """The next that go together, taken from the left; one that is larger goes alone."""
    taken: list[tuple[int, str, bytes]] = []
    size = names = 0
    while read and len(taken) < FILES:
        name, data = read[0][1:]
        packed = len(msgpack.packb([name, len(data)]))
        if taken and (size + len(data) > BYTES or names + packed > NAMES):
            break
        taken.append(read.popleft())
        size, names = size + len(data), names + packed
    return taken
