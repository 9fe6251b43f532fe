"""What the journal recalls may be older than what the other members have of it.

A home that is put back from an older copy, journal and all, opens the buffers of then once more. Since that copy was
taken they may have been cut, with more readings in them, and given to the other members under the ids that they had:
under those no other file may ever come. So no recalled stream is made a file before all other members have said that
they know nothing of it. What is known elsewhere is given up here and comes back from there; readings of it that the
file does not hold, such as were parked when it was made, are taken in anew.

Every step may happen twice. The stream is noted as counted under the file's id before its rows go, so that a start in
between does not load it once more (`Registry.register`); only then the journal hears that it is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.databases.returned import note_returned
from anylog.databases.tsd import OWN
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Receipt
from anylog.mapping.body import normal_form, read_body
from anylog.processes.buffers import Buffer
from anylog.processes.filing import Filing
from anylog.processes.recovery import Marked
from anylog.processes.registry import Registry, table_of
from anylog.waiting import deferring, pause

PAUSES = (1.0, 1.0, 2.0, 5.0, 10.0)  # seconds between questions while somebody does not answer


@frozen(kw_only=True)
class Elsewhere:
    """A file of this node's own at another member."""

    member: int
    id: int
    hash: str
    rows: int
    state: str


@frozen(kw_only=True)
class Told:
    """What the other members know of ids."""

    known: Mapping[int, Sequence[Elsewhere]] = field(factory=dict)  # by id, at each member that has something there
    silent: str = ""  # who did not tell, and why; empty: all did


class Others:
    """The other members of the cluster. This one has none."""

    async def known(self, ids: Sequence[int]) -> Told:
        """What they have under these ids of this node's own."""
        return Told()

    async def content(self, buffer: Buffer, file: Elsewhere) -> bytes | None:
        """The file, unpacked; None if that member cannot give it. Raises AnyLogError."""
        return None

    async def back(self, buffer: Buffer, file: Elsewhere) -> None:
        """Have it come to the watch directory soon. Raises AnyLogError."""


Accept = Callable[..., Deferred[Receipt]]  # see `IIntake.accept`


@define(kw_only=True, eq=False)
class Earlier:
    """Keeps recalled streams back until the other members have told whether they know them."""

    _clock: Clock
    _registry: Registry
    _filing: Filing
    _database: Callable[[str], Marked]
    _accept: Accept
    _ended: Callable[[Buffer], None]  # nothing of it is left here: the journal may let go of it
    _lacking: Callable[[int], Awaitable[None]]
    others: Others = field(factory=Others)
    waiting: str = ""  # why some are kept back
    _held: list[Buffer] = field(factory=list)
    _running: bool = False
    log = Logger()

    @property
    def depth(self) -> int:
        """Buffers that are kept back."""
        return len(self._held)

    def add(self, buffer: Buffer) -> None:
        """All of it is loaded: it is made a file, at once unless it may be one elsewhere already."""
        if not buffer.recalled or buffer.file is not None or buffer.whole or not buffer.tsd:
            self._filing.add(buffer)
            return
        self._held.append(buffer)
        self.go_on()

    def go_on(self) -> None:
        """An operator runs now, or something came."""
        if self._held and not self._running and self._filing.options is not None:
            self._running = True
            self._clock.callLater(0, self._work)

    def begin_anew(self) -> None:
        """The journal is read again: forget what was known of before."""
        self._held.clear()

    @deferring
    async def _work(self) -> None:
        attempt = 0
        try:
            while self._held and self._filing.options is not None:
                before, count = self.waiting, len(self._held)
                try:
                    self.waiting = await self._look(list(self._held))
                except AnyLogError as why:
                    self.waiting = str(why)
                except CancelledError:
                    raise
                except Exception:  # a fault of ours: the readings are safe where they are, and the reason is told
                    self.log.failure("asking for what was recalled")
                    self.waiting = "internal error, see the log"
                if self.waiting and self.waiting != before:
                    self.log.warn("{count} recalled buffers wait: {why}", count=len(self._held), why=self.waiting)
                if self._held:
                    attempt = 0 if len(self._held) < count else attempt
                    await pause(self._clock, PAUSES[min(attempt, len(PAUSES) - 1)])
                    attempt += 1
        finally:
            self._running = False
            if not self._held:
                self.waiting = ""

    async def _look(self, buffers: Sequence[Buffer]) -> str:
        """Ask once; gives why some have to wait."""
        member = self._registry.member()
        for buffer in buffers:
            if not member or table_of(buffer, member) != OWN:
                self._release(buffer)
        asked = [buffer for buffer in buffers if buffer in self._held]
        if not asked:
            return ""
        here = await self._registry.tsd.by_ids(OWN, [buffer.tsd for buffer in asked])
        for buffer in list(asked):
            entry = here.get(buffer.tsd)
            if entry is not None and (entry.rows or entry.status1):  # counted before the journal noticed
                self._release(buffer)
                asked.remove(buffer)
        told = await self.others.known([buffer.tsd for buffer in asked]) if asked else Told()
        waits = told.silent
        for buffer in asked:
            files = [file for file in told.known.get(buffer.tsd, ()) if file.state not in NOBODYS]
            if files:
                waits = await self._known(buffer, member, files) or waits
            elif not told.silent:
                self._release(buffer)
        return waits

    def _release(self, buffer: Buffer) -> None:
        """It is this node's to make a file of."""
        if buffer in self._held:
            self._held.remove(buffer)
            self._filing.add(buffer)

    async def _known(self, buffer: Buffer, member: int, files: Sequence[Elsewhere]) -> str:
        """Somebody has a file under its id; gives why it has to wait."""
        hash, data = await self._filing.content(buffer)
        if all(file.hash == hash for file in files):
            self._release(buffer)  # made and sent before the node ended, and is made once more
            return ""
        whole = [file for file in files if file.state != "pending" and file.hash == files[0].hash]
        for file in whole:
            content = await self.others.content(buffer, file)
            if content is None and file.state == DOUBLE:
                content = data  # its rows are there under another id
            if content is not None:
                await self._give_up(buffer, member, file, _without(data, content))
                return ""
        return f"member {files[0].member} has another file with the id {buffer.tsd}, and cannot give it now"

    async def _give_up(self, buffer: Buffer, member: int, file: Elsewhere, rest: Sequence[Mapping[str, Any]]) -> None:
        """The file that others have takes its place. `rest`: rows that are not in that."""
        if buffer not in self._held:
            return
        where, id = buffer.where, buffer.tsd
        if rest:
            key = f"rest of {member}.{id}"  # once, however often this comes here
            await self._accept(
                where.dbms, where.table, normal_form(rest), rest, source=where.source,
                instructions=where.instructions, key=key,
            )  # fmt: skip
        await self._lacking(member)
        await note_returned(self._registry.tsd, [file.id])
        await self._registry.finish([(buffer, file.hash, 0, "", "")])
        self._registry.returned.add(file.id)
        await self._database(where.dbms).undo(where.table, member, id)
        told = "{dbms}.{table} {id}: member {other} has {rows} rows of it, a later state than this node's own {own}"
        self.log.warn(
            told, dbms=where.dbms, table=where.table, id=id, other=file.member, rows=file.rows, own=buffer.stored
        )
        if buffer in self._held:
            self._held.remove(buffer)
            self._registry.forget(buffer)
            self._ended(buffer)
        try:
            await self.others.back(buffer, file)
        except AnyLogError as why:  # then the consumer asks for it
            self.log.info("{id} does not come back yet: {why}", id=id, why=str(why))


DOUBLE = "double"
NOBODYS = ("missing", "failed")  # states of an id at a member who has nothing under it


def _without(data: bytes, content: bytes) -> list[Mapping[str, Any]]:
    """The rows of one content that are not in another, as often as they are missing there."""
    there = Counter(normal_form([row]) for row in read_body(content))
    rest: list[Mapping[str, Any]] = []
    for row in read_body(data) if data else ():
        line = normal_form([row])
        if there[line]:
            there[line] -= 1
        else:
            rest.append(row)
    return rest
