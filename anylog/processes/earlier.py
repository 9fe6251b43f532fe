"""What the journal recalls may be older than what the other members have of it.

A home that is put back from an older copy, journal and all, opens the buffers of then once more. Since that copy was
taken they may have been cut, with more readings in them, and given to the other members under the ids that they had:
under those no other file may ever come. So no recalled stream is made a file before all other members have said that
they know nothing of it. What is known elsewhere is given up here and comes back from there; readings of it that the
file does not hold, such as were parked when it was made, are taken in anew.

A stream that had no id yet when the copy was taken got one later, of which nobody here knows. It is found by what it
holds, among those of its table that others have and that came after the copy (`later`): one that begins with all of its
rows. Rows that are all alike prove nothing; then it is kept, and its readings may be there twice, which is better than
not at all.

This ends: what is still kept back when the operator has run for a while (`LONGEST`) becomes a file without the answers
that are missing. Somebody may have left for ever, or was declared and never started.

Every step may happen twice. The stream is noted as counted under the file's id before its rows go, so that a start in
between does not load it once more (`Registry.register`); only then the journal hears that it is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.databases.returned import counted_as, later, note_later, note_returned
from anylog.databases.tsd import OWN, Tsd, Wanted
from anylog.disk.records import BufferId
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Receipt
from anylog.mapping.body import normal_form, read_body
from anylog.processes.buffers import Buffer
from anylog.processes.filing import Filing
from anylog.processes.others import LONGEST, NOBODYS, Elsewhere, Others, Suspended, Told
from anylog.processes.recovery import Marked
from anylog.processes.registry import Registry, stream_of, table_of
from anylog.waiting import deferring, pause

PAUSES = (1.0, 1.0, 2.0, 5.0, 10.0)  # seconds between questions while somebody does not answer
UNTOLD = "filed untold"  # what is counted: recalled buffers that were not kept back any longer


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
    _buffers: Mapping[BufferId, Buffer]  # all that are not done
    others: Others = field(factory=Others)
    waiting: str = ""  # why some are kept back
    _held: list[Buffer] = field(factory=list)
    _until: float = 0.0  # when that ends, in seconds of the clock
    _running: bool = False
    log = Logger()

    @property
    def depth(self) -> int:
        """Buffers that are kept back."""
        return len(self._held)

    def add(self, buffer: Buffer) -> None:
        """All of it is loaded: it is made a file, at once unless it may be one elsewhere already."""
        if not _recalled(buffer) or not buffer.tsd:
            self._filing.add(buffer)
            return
        self._held.append(buffer)
        self.go_on()

    def go_on(self) -> None:
        """An operator runs now, or something came."""
        if self._held and not self._running and self._filing.options is not None:
            self._running = True
            self._until = self._clock.seconds() + LONGEST
            self._clock.callLater(0, self._work)

    def begin_anew(self) -> None:
        """The journal is read again: forget what was known of before."""
        self._held.clear()

    async def settle(self, tsd: Tsd) -> None:
        """Nothing that the journal recalls is left to be asked for: later starts need not look for it. Raises
        AnyLogError."""
        if not any(_recalled(buffer) for buffer in self._buffers.values()):
            await note_later(tsd, 0)

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
                    seconds = PAUSES[min(attempt, len(PAUSES) - 1)]
                    left = self._until - self._clock.seconds()
                    await pause(self._clock, min(seconds, left) if left > 0 else seconds)
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
        if not asked:
            return ""
        first = await later(self._registry.tsd)
        fresh = {buffer.where for buffer in asked if first and buffer.tsd >= first}
        told = await self.others.known([buffer.tsd for buffer in asked], first if fresh else 0, fresh)
        late = self._clock.seconds() >= self._until
        silent = "" if late else told.silent
        waits = silent
        for buffer in asked:
            files = [file for file in told.known.get(buffer.tsd, ()) if file.state not in NOBODYS]
            try:
                if files:
                    waits = await self._known(buffer, member, files, late) or waits
                elif silent:
                    continue
                elif buffer.where in fresh and buffer.tsd >= first:
                    waits = await self._fresh(buffer, member, told, late) or waits
                else:
                    self._release(buffer, told.silent)
            except (AnyLogError, OSError) as why:  # the others need not wait for this one
                waits = str(why)
        if not self._held:
            await self.settle(self._registry.tsd)
        return waits

    def _release(self, buffer: Buffer, untold: str = "") -> None:
        """It is this node's to make a file of. `untold`: what was not heard in time."""
        if buffer not in self._held:
            return
        if untold:
            where, id = buffer.where, buffer.tsd
            self._filing.counts.add(UNTOLD, 1, f"{where.dbms}.{where.table} {id}")
            told = "{dbms}.{table} {id} is made a file, though {why}"
            self.log.warn(told, dbms=where.dbms, table=where.table, id=id, why=untold)
        self._held.remove(buffer)
        self._filing.add(buffer)

    async def _content(self, buffer: Buffer, file: Elsewhere, late: bool) -> bytes | None:
        """The file, unpacked; None if that member cannot give it, also for the moment if it is `late`. Raises
        AnyLogError."""
        try:
            return await self.others.content(buffer.where, file)
        except Suspended:
            raise
        except AnyLogError:
            if late:
                return None
            raise

    async def _known(self, buffer: Buffer, member: int, files: Sequence[Elsewhere], late: bool) -> str:
        """Somebody has a file under its id; gives why it has to wait."""
        hash, data = await self._filing.content(buffer)
        if all(file.hash == hash for file in files):
            # Made and sent before the node ended, and is made once more; who lacks it asks for it.
            self._registry.returned.add(buffer.tsd)
            self._release(buffer)
            return ""
        whole = [file for file in files if file.state != "pending" and file.hash == files[0].hash]
        for file in whole:
            content = await self._content(buffer, file, late)
            if content is None and file.state == DOUBLE:
                content = data  # its rows are there under another id
            if content is not None:
                await self._give_up(buffer, member, file, "rest", _without(data, content))
                return ""
        if late:  # under its id no other file may come: its readings do without it, perhaps once more
            self._filing.counts.add(UNTOLD, 1, f"{buffer.where.dbms}.{buffer.where.table} {buffer.tsd}")
            await self._give_up(buffer, member, (whole or files)[0], "all", list(read_body(data)) if data else ())
            return ""
        return f"member {files[0].member} has another file with the id {buffer.tsd}, and cannot give it now"

    async def _fresh(self, buffer: Buffer, member: int, told: Told, late: bool) -> str:
        """It got its id in this life: perhaps it had another in a later one. Gives why it has to wait."""
        if told.loading and not late:
            return told.loading
        untold = told.silent or told.loading
        tsd, database = self._registry.tsd, self._database(buffer.where.dbms)
        files = [file for file in told.later if file.where == buffer.where and file.state in GIVEN]
        ids = sorted({file.id for file in files} - {buffer.tsd})
        if not ids:
            self._release(buffer, untold)
            return ""
        here = await tsd.by_ids(OWN, ids)
        marks = await database.file_marks([(member, id) for id in ids])
        others = await counted_as(tsd, ids)
        _, data = await self._filing.content(buffer)
        for id in ids:
            entry, mark = here.get(id), marks.get((member, id))
            if others.get(id, stream_of(buffer)) != stream_of(buffer) or self._registry.has(OWN, id):
                continue  # it is another stream of here
            if entry is not None and entry.rows and (mark is None or not mark.hash):
                continue  # loaded here as a stream, not as a file that came back
            there = [file for file in files if file.id == id]
            if all(file.state == "pending" for file in there) and not late:
                return f"member {there[0].member} has not loaded all files of this node yet"
            for file in there:
                content = await self._content(buffer, file, late)
                if content is None:
                    continue
                if self._filing.hash_of(buffer, id, content) == file.hash and _begins(content, data):
                    await self._give_up(buffer, member, file, "rest", ())
                    return ""
                break
        self._release(buffer, untold)
        return ""

    async def _give_up(
        self, buffer: Buffer, member: int, file: Elsewhere, what: str, rest: Sequence[Mapping[str, Any]]
    ) -> None:  # fmt: skip
        """The file that others have takes its place. `rest`: rows that are taken in anew, which are `what` of it."""
        if buffer not in self._held:
            return
        where, id = buffer.where, buffer.tsd
        if rest:
            key = f"{what} of {member}.{id}"  # once, however often this comes here
            await self._accept(
                where.dbms, where.table, normal_form(rest), rest, source=where.source,
                instructions=where.instructions, key=key,
            )  # fmt: skip
        await self._lacking(member)
        tsd, back = self._registry.tsd, True
        await note_returned(tsd, [file.id])
        if file.id == id:
            await self._registry.finish([(buffer, file.hash, 0, "", "")])
        else:
            back = await self._counted_as(buffer, file)
        if back:
            self._registry.returned.add(file.id)
        await self._database(where.dbms).undo(where.table, member, id)
        if file.id != id:
            await tsd.forget([(OWN, id)])
        told = "{dbms}.{table} {id}: member {other} has {rows} rows of it, this node {own} of an earlier time: given up"
        self.log.warn(
            told, dbms=where.dbms, table=where.table, id=file.id, other=file.member, rows=file.rows, own=buffer.stored
        )
        if buffer in self._held:
            self._held.remove(buffer)
            self._registry.forget(buffer)
            self._ended(buffer)
        if not back:
            return
        try:
            await self.others.back(where, file)
        except AnyLogError as why:  # then the consumer asks for it
            self.log.info("{id} does not come back yet: {why}", id=id, why=str(why))

    async def _counted_as(self, buffer: Buffer, file: Elsewhere) -> bool:
        """It was counted as another file. Whether that has still to come back."""
        tsd, where = self._registry.tsd, buffer.where
        entry = (await tsd.by_ids(OWN, [file.id])).get(file.id)
        if entry is None:
            wanted = Wanted(
                dbms=where.dbms, table=where.table, source=where.source, hash=file.hash,
                instructions=where.instructions, id=file.id, time=file.time,
            )  # fmt: skip
            (found,) = await tsd.register([wanted])
            entry = found.entry
        counted = await tsd.note_counted(stream_of(buffer), file.id)  # it may have come back and be loaded by now
        return not (entry.rows or counted)


def _recalled(buffer: Buffer) -> bool:
    """Whether it is a stream of before the start."""
    return buffer.recalled and buffer.file is None and not buffer.whole


DOUBLE = "double"
GIVEN = ("loaded", "dropped", "pending")  # states of what may be a stream that a member has, or is about to have


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


def _begins(content: bytes, data: bytes) -> bool:
    """Whether one content begins with all rows of another, which are not all alike: then it is what became of that."""
    rows = [normal_form([row]) for row in read_body(data)] if data else []
    return len(set(rows)) > 1 and rows == [normal_form([row]) for row in read_body(content)][: len(rows)]
