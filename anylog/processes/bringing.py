"""Files of the watch directory on their way through the same steps as all readings (operator-ha.md 3.2, 3.3).

Their bytes stay where they are until their rows are loaded, counted and archived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.disk.names import segments
from anylog.disk.records import BufferId
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, IDatabase, ILane, Mark, Move
from anylog.processes.buffers import Buffer, Pending, Where
from anylog.processes.files import unconnected
from anylog.processes.filing import full_name
from anylog.processes.loading import Loader
from anylog.processes.registry import Registry, table_of
from anylog.processes.shares import holds
from anylog.processes.thresholds import Threshold
from anylog.processes.whole import Outcome, WholeFile
from anylog.tank import Tank
from anylog.waiting import deferring


class Databases(Protocol):
    """What is asked of the catalog."""

    def get(self, name: str) -> IDatabase:
        """The connected database of that name; AnyLogError 5."""


@define(kw_only=True, eq=False)
class Bringing:
    """Takes whole files in, see `whole.IFiles`."""

    _clock: Clock
    _disk: Disk
    _lane: ILane
    _databases: Databases
    _registry: Registry
    _loaders: Mapping[str, Loader]
    _buffers: MutableMapping[BufferId, Buffer]
    _tank: Tank  # bytes of readings on their way
    _new_id: Callable[[], BufferId]
    _member: Callable[[str], tuple[bool, int]]
    _check: Callable[[Buffer], None]  # look whether a buffer goes on
    _refusal: Callable[[], AnyLogError | None]
    _told: set[Deferred[Outcome]] = field(factory=set)
    log = Logger()

    @deferring
    async def bring(self, file: WholeFile) -> Outcome:
        """S3 to S9. Fails with AnyLogError 10 (database), 506 (stopping), or while `almgm` is away."""
        refusal = self._refusal()
        if refusal is not None:
            raise AnyLogError(506, str(refusal))
        buffer = self._buffer(file)
        if file.id and buffer.member:
            mark = await self._mark_of(buffer)
            if mark is not None and holds(mark, file.hash, file.count):
                buffer.stored, buffer.parked = mark.rows, mark.parked
                buffer.repeated = file.member not in ("@", str(buffer.member))
            elif mark is not None and mark.hash not in (None, file.hash):
                into = table_of(buffer, buffer.member)
                buffer.verdict = "conflict"
                buffer.fault = self._registry.conflict(buffer, into, file.id, str(mark.hash))
        told = buffer.told = Deferred()
        self._told.add(told)
        self._buffers[buffer.id] = buffer
        if buffer.verdict:
            self._check(buffer)
        elif buffer.stored:
            await self._name_again(buffer, file)
        else:
            self._load(buffer, file)
        return await told

    def _buffer(self, file: WholeFile) -> Buffer:
        now = self._clock.seconds()
        filed, member = self._member(file.dbms)
        named = file.source, file.instructions
        if not file.id:
            named = segments(file.dbms, file.table, *named)
        return Buffer(
            self._new_id(),
            Where(file.dbms, file.table, *named),
            Threshold(),
            now,
            datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            file.hash,
            filed,
            member if file.kind == "json" else 0,  # a file of statements is nobody's source
            file=file,
            path=file.path,
            state="cut",
            rows=file.count,
            volume=len(file.normal),
        )

    def _load(self, buffer: Buffer, file: WholeFile) -> None:
        loader = self._loaders.get(file.dbms)
        if loader is None:
            self._registry.forget(buffer)
            self._drop(buffer)
            raise AnyLogError(10, unconnected(file.dbms))
        pending = Pending(None, 1, len(file.normal), file.rows if file.early is None else None, early=file.early)
        self._tank.put(pending.weight)
        buffer.pending.append(pending)
        loader.add(buffer, [pending])

    async def _mark_of(self, buffer: Buffer) -> Mark | None:
        """The mark of a full name: it was loaded, and the node ended before its file was let go."""
        file = buffer.file
        assert file is not None
        whose = (buffer.member if file.member == "@" else int(file.member), file.id)
        return (await self._databases.get(file.dbms).file_marks([whose])).get(whose)

    async def _name_again(self, buffer: Buffer, file: WholeFile) -> None:
        """What is loaded gets its row in `almgm`, if that was lost, and goes on to be filed."""
        mark = None
        try:
            (verdict,) = await self._registry.register([buffer])
            if verdict.kind == "wait":
                raise AnyLogError(502, verdict.text)
            named = verdict.kind == "load" or verdict.again
            if named:  # its rows may have been given up, or its database be another one, before the name was its own
                mark = await self._mark_of(buffer)
        except AnyLogError:
            if buffer.interrupted:
                return  # who waits was told why
            self._registry.forget(buffer)
            self._drop(buffer)
            raise
        if buffer.interrupted:
            return
        if not named:
            verdict.tell(buffer)
        elif mark is None or not holds(mark, file.hash, file.count):
            buffer.stored, buffer.parked, buffer.repeated = 0, 0, False
            self._load(buffer, file)
            return
        self._check(buffer)

    def _drop(self, buffer: Buffer) -> None:
        """Its owner tries again."""
        self._buffers.pop(buffer.id, None)
        if buffer.told is not None:
            self._told.discard(buffer.told)

    async def rename(self, buffers: Sequence[Buffer]) -> None:
        """S6: files that have their id get their full name, where that still has to be done."""
        steps, renamed = [], []
        for buffer in buffers:
            file = buffer.file
            if file is None or file.archived:
                continue
            target = buffer.path.with_name(full_name(buffer, buffer.whole, buffer.path.name.endswith(".gz")))
            if target != buffer.path:
                steps.append(Move(buffer.path, target, file.stamp))
                renamed.append((buffer, target))
        outcomes = await self._lane.run(self._disk.batch, steps) if steps else []
        for (buffer, target), outcome in zip(renamed, outcomes, strict=True):
            if isinstance(outcome, OSError):
                self.log.warn("{path} keeps its name: {why}", path=buffer.path, why=outcome.strerror or outcome)
            else:
                buffer.path = target

    def ended(self, buffer: Buffer, outcome: Outcome) -> None:
        """Tell what came of a file."""
        buffer.state = "done"
        self._buffers.pop(buffer.id, None)
        told, buffer.told = buffer.told, None
        if told is not None and told in self._told:
            self._told.discard(told)
            told.callback(outcome)

    def interrupt(self, which: Callable[[Buffer], bool], why: str) -> None:
        """Files that cannot go on: their owner tries again."""
        for buffer in [buffer for buffer in self._buffers.values() if buffer.file is not None and which(buffer)]:
            told, buffer.told = buffer.told, None
            buffer.interrupted = True
            self._registry.forget(buffer)
            self._drop(buffer)
            if told is not None:
                self._told.discard(told)
                told.errback(AnyLogError(506, why))

    def stop(self) -> None:
        """What is not done stays where it lies, and is looked at after the next start."""
        self.interrupt(lambda buffer: True, "the node is shutting down")
