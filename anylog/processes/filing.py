"""What is loaded becomes a file: published, counted in `almgm`, and only then let go of (S8, S9, hard-parts.md 1.4).

Every step may happen twice: the same records give the same bytes under the same name, the same count, the same end.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.disk.archive import folder_of
from anylog.disk.names import LONGEST_ERROR, FileName, error_name
from anylog.disk.records import unpack_rows
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Forget, IDatabase, ILane, Publish, Step, unix
from anylog.mapping.body import normal_form
from anylog.processes.buffers import Buffer, Drafts
from anylog.processes.readback import Unreadable, understood
from anylog.processes.registry import Registry, table_of
from anylog.processes.rounds import Records, Rounds
from anylog.processes.whole import FilingOptions, Outcome
from anylog.waiting import gather

GATHER = 0.05  # seconds between rounds while little waits: each costs the disk some syncs, however few its files are
MOST = 50_000  # files that wait, beyond which doors refuse
NOT_LOADED, DUPLICATE = 27, 86
FAILED = "03"  # status 1 of a file that could not be loaded
DOUBLE = "02"  # status 1 of one whose content another holds


@define(eq=False)
class _File:
    """A buffer on its way to a file."""

    buffer: Buffer
    data: bytes = b""
    hash: str = ""
    path: Path | None = None
    compress: bool = False
    status1: str = ""
    status2: str = ""
    counted: bool = False  # its row in `almgm` says so already
    pushed: bool = False  # the other members are to be brought it


@define(kw_only=True, eq=False)
class Filing:
    """Makes files of buffers, in rounds."""

    _clock: Clock
    _disk: Disk
    _lane: ILane
    _registry: Registry
    _records: Callable[[], Records]
    _database: Callable[[str], IDatabase]
    _finished: Callable[[Buffer, Outcome], None]
    _drafts: Drafts
    # Tell the journal the id of a stream before anybody else can see it.
    _name: Callable[[Buffer], Deferred[None]] = field(default=lambda buffer: succeed(None))
    point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    # Who distributes is told of own files, by id: in the distribution directory, or archived while nobody did.
    to_distribute: Callable[[Mapping[int, Path]], None] = field(default=lambda files: None)
    log = Logger()

    _options: FilingOptions | None = None
    _day: tuple[tuple[Path, str], Path] = ((Path(), ""), Path())  # root and date, and the directory of that
    _rounds: Rounds = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rounds = Rounds(
            clock=self._clock,
            counts=self.counts,
            round=self._round,
            open=lambda: self._options is not None,
            gather=GATHER,
        )

    @property
    def waiting(self) -> str:
        """Why nothing is filed at the moment."""
        return self._rounds.waiting

    @property
    def depth(self) -> int:
        """Buffers that wait or are being filed."""
        return len(self._rounds)

    @property
    def options(self) -> FilingOptions | None:
        """Where files go; None while no operator runs, and then they wait."""
        return self._options

    @options.setter
    def options(self, options: FilingOptions | None) -> None:
        self._options = options
        self._rounds.go_on()

    def add(self, buffer: Buffer) -> None:
        """All of it is loaded: make it a file."""
        self._rounds.add(buffer)

    def drained(self) -> Deferred[None]:
        """Fires when all is filed, or what is left has to wait."""
        return self._rounds.drained()

    def stop(self) -> Deferred[None]:
        """File no more after the round at hand; the rest stays where it is."""
        return self._rounds.stop()

    def begin_anew(self) -> None:
        """The journal is read again: forget what was known of before."""
        for buffer in self._rounds.clear(but=lambda buffer: buffer.file is not None):
            self._drafts.drop(buffer)

    async def _round(self, buffers: Sequence[Buffer]) -> dict[Buffer, str]:
        """Publish, count, let go. Gives why some have to be tried again."""
        options = self._options
        assert options is not None, "asked for before each round"
        files = [_File(buffer) for buffer in buffers]
        # One sync of the journal for all, while they are made; whole files are known by their hash without it.
        streams = [each for each in buffers if each.tsd and each.file is None and not (each.whole or each.verdict)]
        named = [self._name(each) for each in streams]
        await self._skip_counted([file for file in files if file.buffer.recalled and file.buffer.tsd])
        refused: dict[_File, str] = {}
        for file in files:
            try:
                await self._make(file, options)
            except (AnyLogError, OSError) as why:  # the others need not wait for this one
                where = file.buffer.where
                refused[file] = f"{where.dbms}.{where.table}: {why}"
        await gather(named)
        refused |= await self._publish([file for file in files if file not in refused], options)
        published = [file for file in files if file not in refused]
        await self._count(published)
        self.point("counted")
        kept = await self._let_go(published, options)
        pushed = {file.buffer.tsd: file.path for file in published if file.pushed and file.path is not None}
        if pushed:
            self.to_distribute(pushed)
        for file, outcome in kept:
            self._drafts.drop(file.buffer)
            self._registry.forget(file.buffer)
            self._finished(file.buffer, outcome)
        return {file.buffer: why for file, why in refused.items()}

    async def _skip_counted(self, files: Sequence[_File]) -> None:
        """Ended before the journal noticed: those whose row says how many rows there are need nothing more."""
        if not files:
            return
        tsd, by_table = self._registry.tsd, dict[str, list[_File]]()
        for file in files:
            by_table.setdefault(table_of(file.buffer, self._registry.member()), []).append(file)
        for into, there in by_table.items():
            found = await tsd.by_ids(into, [file.buffer.tsd for file in there])
            for file in there:
                entry = found.get(file.buffer.tsd)
                if entry is not None and (entry.rows or entry.status1):
                    file.counted, file.hash = True, entry.hash

    async def _make(self, file: _File, options: FilingOptions) -> None:
        """Its bytes, its name, and where it goes."""
        buffer = file.buffer
        if buffer.verdict == "double":
            file.status1, file.status2 = DOUBLE, buffer.fault
        elif buffer.verdict == "skipped" and buffer.file is not None and (options.archive or not options.delete):
            file.data, file.compress = buffer.file.normal, options.compress  # nothing else would tell that it came
            name = buffer.path.name.removesuffix(".gz")
            file.path = options.bkup_dir / _backup_name(name, unix(self._clock), options.compress)
            return
        elif file.counted or buffer.verdict:
            if buffer.verdict == "failed":
                file.status1, file.status2 = FAILED, buffer.fault
            return
        elif not buffer.stored:
            # All of it was parked, or refused: a file that fails, and its rows are looked at by hand.
            file.status1, file.status2 = FAILED, buffer.fault or f"no row fits, {buffer.parked} are parked"
            file.hash = buffer.whole or f"{FAILED}:{buffer.id}"
            if buffer.whole and buffer.file is None:  # a watched file is moved there by whoever brought it
                file.data = await self._bytes(buffer)
                name = error_name(full_name(buffer, buffer.whole, False), NOT_LOADED, unix(self._clock), ())
                file.path = options.err_dir / name
            return
        if buffer.file is not None and buffer.file.kind == "sql":
            if options.keep_sql:
                file.data = buffer.file.normal
                file.compress = options.compress_sql
                file.path = options.bkup_dir / _backup_name(buffer.path.name, unix(self._clock), file.compress)
            return
        if buffer.file is not None and buffer.file.archived:
            file.hash = buffer.whole
            return
        file.data = await self._bytes(buffer)
        file.hash = buffer.whole or streamed_hash(_whose(buffer), file.data)
        file.compress = options.compress
        name = full_name(buffer, file.hash, options.compress)
        # What came from a member is known there: also an own file that was lost here.
        came = buffer.tsd in self._registry.returned or (buffer.file is not None and buffer.file.delivered)
        own = not came and table_of(buffer, self._registry.member()) == "tsd_info"
        if own and options.distributes:
            file.path, file.pushed = options.distr_dir / name, True
        elif options.archive:
            day = options.archive_dir, buffer.date[:6]
            if self._day[0] != day:
                self._day = day, folder_of(*day)
            file.path, file.pushed = self._day[1] / name, own and bool(buffer.tsd) and options.follows is not None
        elif options.move or not options.delete:
            plain = full_name(buffer, file.hash, False)
            file.path = options.bkup_dir / (name if buffer.tsd else _backup_name(plain, 0, options.compress))

    async def content(self, buffer: Buffer) -> tuple[str, bytes]:
        """The hash and the bytes of the file that a stream of which all is loaded becomes. Raises AnyLogError."""
        data = await self._bytes(buffer)
        return streamed_hash(_whose(buffer), data), data

    @staticmethod
    def hash_of(buffer: Buffer, id: int, data: bytes) -> str:
        """The hash of those bytes as a stream of that buffer's table and member under an id."""
        return streamed_hash(f"{buffer.where.dbms}.{buffer.where.table}.{buffer.member}.{id}", data)

    async def _bytes(self, buffer: Buffer) -> bytes:
        """The normal form of its records in order; of streamed ones without the rows that were parked."""
        if buffer.file is not None:
            return buffer.file.normal
        if buffer.normal is not None:
            return b"".join(buffer.normal)
        left_out: set[tuple[int, int]] = set()
        if buffer.parked and not buffer.whole:
            places = await self._database(buffer.where.dbms).parked_places([buffer.key])
            left_out = places.get(buffer.key, set())
        parts = []
        stored = [pending.stored for pending in buffer.records if pending.stored is not None]
        for pending, packed in zip(buffer.records, await self._records().read(stored), strict=True):
            if buffer.whole and not buffer.stored:
                parts.append(unpack_rows(packed)[1])  # nobody may be able to read it
                continue
            rows: Sequence[Mapping[str, Any]]
            try:
                rows = understood(packed)[1]
            except Unreadable as why:
                if (pending.sequence, 0) in left_out:
                    continue  # it was put aside
                raise AnyLogError(6, f"record {pending.sequence} of the journal: {why}") from None
            if left_out:
                rows = [row for place, row in enumerate(rows) if (pending.sequence, place) not in left_out]
            parts.append(normal_form(rows))
        return b"".join(parts)

    async def _publish(self, files: Sequence[_File], options: FilingOptions) -> dict[_File, str]:
        """Put them where they belong; gives those that have to be tried again, and why."""
        steps: list[Step] = []
        placed = []
        for file in files:
            if file.path is not None:
                steps.append(Publish(file.path, file.data, file.compress))
                placed.append(file)
        outcomes = await self._lane.run(self._disk.batch, steps) if steps else []
        self.point("published")
        refused: dict[_File, str] = {}
        for file, outcome in zip(placed, outcomes, strict=True):
            if isinstance(outcome, OSError):
                refused[file] = f"{file.path}: {outcome.strerror or outcome}"
            elif outcome == "other" and (why := await self._aside(file, options)):
                refused[file] = why
        return refused

    async def _aside(self, file: _File, options: FilingOptions) -> str:
        """Another file of its name lies there: neither is overwritten (operator-ha.md 3.5). Gives why that failed."""
        assert file.path is not None
        told = f"{file.path} is there with other content"
        path = options.err_dir / error_name(file.path.name, DUPLICATE, unix(self._clock), ())
        (outcome,) = await self._lane.run(self._disk.batch, [Publish(path, file.data, file.compress)])
        if isinstance(outcome, OSError):
            return f"{told}, and {path}: {outcome.strerror or outcome}"
        self.log.error("{why}; the new file goes to the error directory", why=told)
        self.counts.add("conflicts", 1, told)
        return ""

    async def _count(self, files: Sequence[_File]) -> None:
        """S8: how many rows each holds, in one commit."""
        done = [
            (file.buffer, file.hash or file.buffer.whole, 0 if file.status1 else file.buffer.stored,
             file.status1, file.status2)
            for file in files
            if file.buffer.tsd and not file.counted and (not file.buffer.verdict or file.status1)
        ]  # fmt: skip
        await self._registry.finish(done)
        useless = [
            (table_of(file.buffer, self._registry.member()), file.buffer.tsd)
            for file in files
            if file.buffer.tsd and file.buffer.verdict == "duplicate"
        ]
        if useless:
            await self._registry.tsd.remove(useless)

    async def _let_go(self, files: Sequence[_File], options: FilingOptions) -> list[tuple[_File, Outcome]]:
        """S9: the watch file goes, unless it failed."""
        steps: list[Step] = []
        going = []
        for file in files:
            buffer = file.buffer
            source = buffer.file
            if source is None or source.archived:
                continue
            if buffer.verdict not in ("double", "repeated", "skipped") and (buffer.verdict or file.status1):
                continue
            if buffer.path != file.path:
                steps.append(Forget(buffer.path, source.stamp))
                going.append(file)
        outcomes = await self._lane.run(self._disk.batch, steps) if steps else []
        for file, outcome in zip(going, outcomes, strict=True):
            if isinstance(outcome, OSError) and outcome.errno != errno.ESTALE:  # another of its name is a new file
                # It is loaded and stays loaded; a file that cannot be removed is told of by whoever brought it.
                file.buffer.fault = f"{file.buffer.path} cannot be removed: {outcome.strerror or outcome}"
                self.log.error("{why}", why=file.buffer.fault)
        if going:
            self.point("removed")
        return [(file, self._outcome(file)) for file in files]

    def _outcome(self, file: _File) -> Outcome:
        buffer = file.buffer
        code, repeated, text = 0, buffer.repeated, buffer.fault or file.status2
        if buffer.verdict in ("double", "repeated"):
            repeated = True
            if buffer.verdict == "double":
                text = f"its content is loaded as {buffer.fault}"
        elif buffer.verdict and buffer.verdict != "skipped":
            code = NOT_LOADED if buffer.verdict == "failed" else DUPLICATE
        elif file.status1 and not file.counted:
            code = NOT_LOADED
        return Outcome(
            kind="failed" if code else "repeated" if repeated else "loaded",
            path=buffer.path,
            code=code,
            text=text,
            rows=buffer.stored,
            parked=buffer.parked,
            member=buffer.owner,
            id=buffer.tsd,
            date=buffer.date,
        )


def full_name(buffer: Buffer, hash: str, compressed: bool) -> str:
    """The name of a buffer's file (ingest.md 9.1); a short one if it is not registered."""
    where, file = buffer.where, buffer.file
    member = str(buffer.member) if buffer.tsd else ""
    if file is not None and buffer.tsd and file.member not in ("", "@"):
        member = file.member
    return str(
        FileName(
            dbms=where.dbms,
            table=where.table,
            source=where.source,
            hash=hash,
            instructions=where.instructions,
            member=member,
            id=buffer.tsd,
            date=buffer.date if buffer.tsd else "",
            compressed=compressed,
        )
    )


def streamed_hash(whose: str, data: bytes) -> str:
    """Equal buffers are not duplicates, so the hash says whose one is (ingest.md 9.2): database, table, member, id."""
    md5 = hashlib.md5(whose.encode(), usedforsecurity=False)
    md5.update(data)
    return md5.hexdigest()


def _whose(buffer: Buffer) -> str:
    where = buffer.where
    return f"{where.dbms}.{where.table}." + (f"{buffer.member}.{buffer.tsd}" if buffer.tsd else str(buffer.id))


def _backup_name(name: str, now: float, compressed: bool) -> str:
    """A name in the backup directory, which is flat; `now` makes it unique where the name alone is not."""
    end = (f".{int(now)}" if now else "") + (".gz" if compressed else "")
    return name.encode()[: LONGEST_ERROR - len(end)].decode(errors="ignore") + end
