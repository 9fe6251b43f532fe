"""Files for other nodes, and files from them: the kind `transfer` (network.md 10).

Who fetches a file takes its bytes as pages, who brings one sends slices, each of which is answered when it is written.
Neither side holds more than a slice or two. All work on files is done in the lane of the file commands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.disk.arrivals import KEEP, Arrival, Departure, Wanted, content, departures, placed, sweep
from anylog.disk.confined import Confines, FileAccess
from anylog.disk.steps import Steps
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, DelayedCall, Disk, ILane, Lanes, Reply, unix
from anylog.language.dictionary import Scope
from anylog.ledger.master import Pages
from anylog.network.peers import Peers
from anylog.waiting import deferring

KIND = "transfer"
MOST = 16  # transfers at once, whoever asked for them
IDLE = 60.0  # seconds after which one is not counted any more of which nothing was heard
REMEMBERED = 256  # that have ended in the middle: their threads may still be at work
FIRST = 60.0  # seconds after the start when drafts are looked at that a life before has left
LARGEST = 1 << 44  # bytes of a file


@define(eq=False)
class Going:
    """The content of a file in pages, an `IBody`."""

    _steps: Steps[bytes, None]
    _owner: Transfers

    def __attrs_post_init__(self) -> None:
        """Raises AnyLogError 502."""
        self._owner.count()
        self._owner.going.add(self)

    def next(self) -> Deferred[bytes | None]:
        """The next slice, None after the last. Fails with AnyLogError."""
        return self._steps.next().addCallback(lambda slice: slice[0])

    def close(self) -> None:
        """Let go of the file."""
        self._owner.going.discard(self)
        self._steps.close()


@define(eq=False)
class Transfers:
    """All transfers of one node. It serves its kind as soon as it is made."""

    _clock: Clock
    _disk: Disk
    _lanes: Lanes
    _token: Callable[[int], bytes]
    _peers: Peers
    _access: FileAccess
    going: set[Going] = field(factory=set)
    _coming: dict[str, Arrival] = field(factory=dict)  # by the name of the draft
    _sweep: DelayedCall | None = None
    log = Logger()

    def __attrs_post_init__(self) -> None:
        self._peers.serve(KIND, self)
        self._sweep = self._clock.callLater(FIRST, self._swept)

    @deferring
    async def stop(self) -> None:
        """Nothing is looked at any more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    # ------------------------------------------------------------------ for both sides

    @property
    def _lane(self) -> ILane:
        return self._lanes.open("files", 2)

    def count(self) -> None:
        """Raise AnyLogError 502 if no more transfers are begun now."""
        since = self._clock.seconds() - IDLE
        busy = sum(arrival.used > since for arrival in self._coming.values()) + len(self.going)
        if busy >= MOST:
            raise AnyLogError(502, f"{busy} files are being transferred, at most {MOST} at once; try again later")

    def read(self, confines: Confines, file: Departure, at: int) -> Going:
        """The content of a file of this node. Raises AnyLogError 502."""
        return Going(Steps(self._lane, content(confines, file, at)), self)

    def look(self, confines: Confines, text: str) -> Deferred[list[Departure]]:
        """What a source means. Fails with AnyLogError."""
        return Steps(self._lane, departures(confines, text)).result()

    @deferring
    async def begin(self, confines: Confines, who: str, file: Departure, target: str, several: bool) -> Arrival:
        """Be ready for a file, or for the rest of it. Fails with AnyLogError."""
        folder = self._access.places.folder("tmp_dir")
        wanted = Wanted(
            disk=self._disk, confines=confines, folder=folder, who=who, file=file, target=target, several=several
        )
        final, draft = await self._lane.run(placed, wanted)
        before = self._coming.get(draft)
        if before is not None:
            before.used = 0.0
        self.count()
        arrival = Arrival(wanted=wanted, target=final, draft=draft, token=self._token(16).hex(), before=before)
        arrival.used = self._clock.seconds()
        self._coming.pop(draft, None)
        self._coming[draft] = arrival
        self._forget_old()
        since = self._clock.seconds() - IDLE
        busy = {name for name, each in self._coming.items() if each.used > since}
        try:
            await Steps(self._lane, arrival.open(unix(self._clock), busy)).result()
        except BaseException:
            self.leave(arrival)
            raise
        return arrival

    @deferring
    async def write(self, arrival: Arrival, at: int, data: bytes) -> int:
        """Some more of it; gives how much is there. Fails with AnyLogError."""
        arrival.used = self._clock.seconds()
        return await self._lane.run(arrival.write, at, data)

    @deferring
    async def finish(self, arrival: Arrival, digest: bytes) -> str:
        """All came: see `Arrival.finish`. Fails with AnyLogError."""
        arrival.used = self._clock.seconds()
        try:
            return await Steps(self._lane, arrival.finish(digest)).result()
        finally:
            self.leave(arrival)

    @deferring
    async def drop(self, arrival: Arrival) -> None:
        """Its draft is of no use any more. Fails with AnyLogError."""
        self.leave(arrival)
        await self._lane.run(arrival.abandon)

    def leave(self, arrival: Arrival) -> None:
        """Nobody goes on with it now; its draft stays."""
        arrival.used = 0.0

    def _forget_old(self) -> None:
        since = self._clock.seconds() - IDLE
        for name in list(self._coming)[:-REMEMBERED]:
            if self._coming[name].used <= since:
                del self._coming[name]

    def _swept(self) -> None:
        self._sweep = self._clock.callLater(KEEP / 24, self._swept)
        folder, since = self._access.places.folder("tmp_dir"), self._clock.seconds() - IDLE
        busy = {name for name, each in self._coming.items() if each.used > since}
        swept = self._lane.run(sweep, self._disk, folder, unix(self._clock), busy)
        swept.addErrback(lambda failure: self.log.warn("old drafts: {why}", why=failure.getErrorMessage()))

    # ------------------------------------------------------------------ what peers ask

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        """Answer a peer. Fails with AnyLogError 212 unless this node was opened to others, 21 for what is no question.

        A peer of the same machine is a stranger, too: any program could be one. This node itself is none.
        """
        if asker.host and not self._access.access.off:
            raise AnyLogError(212, "that node gives and takes files once it is told 'set authentication off'")
        confines, told = evolve(self._access.confines(local=False), trusted=True), _Told(head)
        match head.get("do"):
            case "list":
                found = await self.look(confines, self._path(told.text("source")))
                return Reply(head={}, body=Pages(orjson.dumps([(each.path, each.size, each.stamp) for each in found])))
            case "read":
                return Reply(head={}, body=self.read(confines, told.file(), told.number("at")))
            case "begin":
                who, target = asker.name or asker.host, self._path(told.text("target"))
                arrival = await self.begin(confines, who, told.file(), target, bool(head.get("several")))
                return Reply(head={"draft": arrival.draft, "token": arrival.token, "at": arrival.at})
            case "write" | "end" | "drop" as doing:
                there = self._coming.get(told.text("draft"))
                if there is None or not there.used:  # it begins anew
                    return Reply(head={"again": True})
                if there.token != told.text("token"):
                    raise AnyLogError(35, f"{there.target.name}: another transfer of the same file has taken over")
                if doing == "write":
                    return Reply(head={"at": await self.write(there, told.number("at"), body)})
                if doing == "drop":
                    await self.drop(there)
                    return Reply(head={})
                return Reply(head={"outcome": await self.finish(there, body)})
        raise AnyLogError(21, "a question about files that this node does not know")

    def _path(self, text: str) -> str:
        """A path as a peer names it: a key that it begins with is one of this node. Raises AnyLogError 2."""
        path = Scope(self._access.dictionary, {}, guarded=True).text(text) if text.startswith("!") else text
        if path is None:
            raise AnyLogError(2, f"Missing dictionary definition for '{text}'")
        return path


@define
class _Told:
    """What a peer said. Its methods raise AnyLogError 21."""

    _head: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A text."""
        value = self._head.get(name)
        if not isinstance(value, str) or len(value) > 4096:
            raise AnyLogError(21, f"a transfer without '{name}'")
        return value

    def number(self, name: str) -> int:
        """A number of bytes."""
        value = self._head.get(name)
        if type(value) is not int or not 0 <= value <= LARGEST:
            raise AnyLogError(21, f"a transfer without '{name}'")
        return value

    def file(self) -> Departure:
        """The file that is meant."""
        return Departure(self.text("path"), self.number("size"), self.text("stamp"))
