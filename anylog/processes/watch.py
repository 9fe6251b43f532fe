"""The watch directory: files are taken from it in batches, read, and brought on their way (operator-ha.md 3).

What is in work is bounded in files and bytes, and so is what waits in memory. A batch whose files take long (the ledger
or a database is away) makes room for others; its tables take no more files meanwhile.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Lanes, Read, unix
from anylog.language.logs import Logs
from anylog.process import Rhythm
from anylog.processes.failing import ErrorDirectory, Failed
from anylog.processes.files import LARGEST, Content, Limits, too_large, understand_all
from anylog.processes.in_work import Batch, Job, Table
from anylog.processes.looking import clear_drafts, look_at
from anylog.processes.lying import Directory, Lying, printable
from anylog.processes.precedence import Precedence
from anylog.processes.record import Seen, result_of
from anylog.processes.whole import IFiles, Outcome, WholeFile
from anylog.waiting import deadline, deferring

BEAT = 0.25  # seconds between two looks whether the directory changed
APART = 1.0  # seconds between two looks at what is in a full one
LONGEST_BEAT = 5.0  # seconds after which the whole directory is looked at, even if nothing says that it changed
LOOKED_AT = 5_000  # entries of the directory
PLENTY = 3_000  # files that may be taken, with which no other look is needed yet
FILES, BYTES = 512, 8 << 20  # in work
STALLED_FILES, STALLED_BYTES = 2048, 32 << 20  # in work, and waiting for long
STALLED = 5.0  # seconds in work after which a batch makes room for others
PACKED = 8  # by how much a packed file is reckoned to be larger than it is
SMALL = 16 << 10  # bytes of a batch below which another thread costs more than it saves
PIECE, PIECE_FILES = 1 << 20, 64  # bytes and files that are understood in one go
NOT_CONNECTED = 10  # of a file whose database is not there
NOTES = 20  # of one look
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT}
PATIENCE = 10.0  # seconds that stopping waits for the files in work


@frozen(kw_only=True)
class WatchOptions:
    """What to watch, and how."""

    folder: Path
    err_dir: Path
    kinds: Sequence[str]
    threads: int
    limits: Limits


class Watch:
    """Takes files from one directory."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        disk: Disk,
        lanes: Lanes,
        options: WatchOptions,
        files: IFiles,
        member: Callable[[], int],
        logs: Logs,
        seen: Seen,
        floor: int,
        trace: Callable[[], int] = lambda: 0,
        point: Callable[[str], None] = lambda name: None,
        poison: Callable[[FileName, str], Awaitable[object]] | None = None,
        who: str = "operator",
    ) -> None:
        """`floor` are bytes of free disk below which nothing is taken; `point` is told where a kill may be tried;
        `poison` is told which files of other members cannot be used, and why."""
        self.options = options
        self._clock, self._disk, self._logs, self._seen = clock, disk, logs, seen
        self._disk_lane, self._cpu = lanes.open("disk", 2), lanes.open("cpu")
        self._files, self._member, self._floor, self._trace, self._point = files, member, floor, trace, point
        self._who, self._done = who, "Loaded" if who == "operator" else "Sent"
        self.directory = Directory(options.kinds)
        self.precedence = Precedence(clock, self._idle, self._soon)
        self.errors = ErrorDirectory(
            clock=clock,
            disk=disk,
            lane=self._disk_lane,
            watched=options.folder,
            folder=options.err_dir,
            poison=poison,
        )
        self.holds = ""  # why nothing is taken
        self.more = False  # the directory holds more than was looked at
        self.batches = self.batches_before = 0  # taken until now, and when `get operator pool` was reset
        self._slots = options.threads + 1  # one is read while others are loaded
        self._most_files, self._most_bytes = max(64, FILES // self._slots), BYTES // self._slots
        self._working: dict[str, Job] = {}
        self._contents: dict[tuple[str, str, str], int] = {}  # dbms, table, hash of files in work
        self._ended: set[Any] = set()  # names and contents done with since the last look began
        self._batches: list[Batch] = []
        self._tables: dict[tuple[str, str], Table] = {}
        self._parked: dict[tuple[str, str], list[Lying]] = {}
        self._bytes = self._stalled_files = self._stalled_bytes = 0
        self._made = self._stalled_made = 0  # bytes of what is understood and not done
        self._rooms: list[Deferred[None]] = []
        self._absent: set[str] = set()  # databases for which files that nodes have named wait
        self._rhythm = Rhythm(clock=clock, every=BEAT, do=self._beat, name="watch directory")
        self._looked, self._apart, self._stamp = -1e9, 0.0, object()
        self._going_on = self._stopping = self.ready = False
        self._finished: Deferred[None] | None = None

    # ------------------------------------------------------------------ starting and stopping

    @deferring
    async def start(self) -> None:
        """Look for the first time, once what was never finished is deleted."""
        try:
            await self._disk_lane.run(clear_drafts, self._disk, self.options.folder)
        except (OSError, AnyLogError) as why:
            self._say("Error", f"unfinished files in {self.options.folder} cannot be deleted: {why}")
        self.ready = True
        await self._beat()
        self._rhythm.start()

    @deferring
    async def stop(self) -> None:
        """Take nothing more, and finish what is in work; what takes too long stays in the directory."""
        self._stopping, self.ready = True, False
        await self._rhythm.stop()
        if self._working:
            finished = self._finished = Deferred()
            try:
                await deadline(self._clock, PATIENCE, finished, "finishing the files in work")
            except AnyLogError:
                self._say("Event", f"{len(self._working)} files were not finished; they stay in {self.options.folder}")

    # ------------------------------------------------------------------ looking

    @deferring
    async def _beat(self) -> None:
        await self._look()
        self._age()
        self.errors.again()
        self._go_on()

    async def _look(self) -> None:
        now = self._clock.seconds()
        since = now - self._looked
        late = since >= LONGEST_BEAT
        if not late and (self.directory.ready >= PLENTY or since < self._apart):
            return
        known = self._stamp if not late and not self.directory.unsettled else object()
        # What cannot be taken now must not hide what can.
        hiding = len(self.directory.ignored) + len(self.errors.held) + sum(map(len, self._parked.values()))
        most = LOOKED_AT + min(hiding, 10 * LOOKED_AT)
        self._ended.clear()
        try:
            look = await self._disk_lane.run(look_at, self._disk, self.options.folder, most, known, self.directory.ends)
        except (OSError, AnyLogError) as why:
            self._hold(f"{self.options.folder} cannot be read: {getattr(why, 'strerror', None) or why}")
            return
        low = f"{look.free:,} bytes of disk are free, {self._floor:,} are needed" if look.free < self._floor else ""
        self._hold(low)
        self._stamp = look.stamp
        if look.entries is None:
            return
        self._looked, self.more = now, len(look.entries) >= most
        self._apart = min(APART, 10 * BEAT * len(look.entries) / LOOKED_AT)
        self._absent &= {dbms for dbms, _ in self._parked}
        self._parked.clear()
        if not self.more and self.errors.held:
            self.errors.keep_only({entry.name for entry in look.entries})
        entries = [
            entry
            for entry in look.entries
            if entry.name not in self._ended and not self.errors.holds(entry.name, (entry.size, entry.mtime_ns))
        ]
        notes = self.directory.look(entries, unix(self._clock), self._working, not self.more)
        if len(notes) > NOTES:
            notes[NOTES:] = [f"{len(notes) - NOTES} more names in {self.options.folder} are left alone"]
        for note in notes:
            self._say("File", note)

    def delivered(self, files: Sequence[tuple[str, int]]) -> None:
        """Files (name, bytes) that this node published here: they are taken at once."""
        for name, size in files:
            if name not in self._working:
                self._ended.discard(name)
                self.directory.deliver(name, size, unix(self._clock))
        self._soon()

    def _idle(self) -> bool:
        return not self._working and not self.directory.ready

    def _hold(self, why: str) -> None:
        """Say it once: figures in the text change from look to look."""
        if bool(why) != bool(self.holds):
            self._say("Event", f"no files are taken: {why}" if why else "files are taken again")
        self.holds = why

    # ------------------------------------------------------------------ taking

    def _soon(self) -> None:
        """Many files end in one turn: what follows is done once."""
        if not self._going_on:
            self._going_on = True
            self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        if self._made - self._stalled_made <= BYTES:
            rooms, self._rooms = self._rooms, []
            for room in rooms:
                room.callback(None)
        while not (self._stopping or self.holds or self.errors.full or self.precedence.taken):
            if sum(not batch.stalled for batch in self._batches) >= self._slots:
                return
            if self._stalled_files >= STALLED_FILES or self._stalled_bytes >= STALLED_BYTES:
                return
            jobs = self._take()
            if not jobs:
                return
            batch = Batch(self._clock.seconds(), {job.lying.name: job for job in jobs})
            self._batches.append(batch)
            self.batches += 1
            for job in jobs:
                job.batch = batch
                self._bytes += job.weight
            self._working.update(batch.jobs)
            self._work(list(jobs)).addErrback(self._lost, list(jobs))

    def _take(self) -> list[Job]:
        """The files of the next batch, oldest first."""
        jobs: list[Job] = []
        begun: set[Table] = set()  # of which the first file is among them
        absent: dict[tuple[str, str], bool] = {}  # whether files of a table that nodes have named wait for its database
        room = self._most_bytes
        while len(jobs) < self._most_files and (lying := self.directory.next()) is not None:
            if lying.name in self._working or lying.name in self._ended:
                continue
            named = self.directory.named(lying.name)
            if isinstance(named, AnyLogError):
                jobs.append(Job(lying, self.options.folder / lying.name, None, None, 0))
                continue
            key = (named.dbms, named.table)
            if named.hash != "0":  # a node has named it: somebody was told yes, or its entry is pending
                absent[key] = absent[key] if key in absent else self._waits(lying, named)
                if absent[key]:
                    self._parked.setdefault(key, []).append(lying)
                    continue
            table = self._tables.get(key)
            content = (*key, named.hash)
            overtakes = table is not None and table.taken and table.window == 1 and table not in begun
            if (table is not None and table.stalled) or overtakes or content in self._contents:
                self._parked.setdefault(key, []).append(lying)
                continue
            if content in self._ended:
                continue  # the same file, renamed while it was in work
            weight = min(lying.size * PACKED, LARGEST) if named.compressed else lying.size
            if lying.size > LARGEST:
                weight = 0  # it is not read
            if weight > room and (jobs or self._bytes > self._stalled_bytes):
                self.directory.back([lying])
                break
            if table is None:
                if len(self._tables) > 4 * LOOKED_AT:
                    self._tables = {key: each for key, each in self._tables.items() if each.taken}
                table = self._tables[key] = Table()
            if not table.taken:
                begun.add(table)
            table.taken += 1
            room -= weight
            jobs.append(Job(lying, self.options.folder / lying.name, named, table, weight))
        return jobs

    def _waits(self, lying: Lying, name: FileName) -> bool:
        """Whether its database is not there. That is told once, until it is."""
        if (refusal := self.options.limits.refusal(name)) is None or refusal.number != NOT_CONNECTED:
            self._absent.discard(name.dbms)
            return False
        self.directory.unsettled = True  # it may come back before the directory changes
        if name.dbms not in self._absent:
            self._absent.add(name.dbms)
            self._say("File", f"{printable(lying.name)} and others wait: {refusal}")
        return True

    # ------------------------------------------------------------------ reading

    @deferring
    async def _work(self, jobs: Sequence[Job]) -> None:
        """S1 and S2 of a batch; then each file goes its own way."""
        wanted: list[Job] = []
        for job in jobs:
            refusal = self._refusal(job)
            if refusal is None:
                wanted.append(job)
            else:
                self._fail(job, refusal)
        found: list[tuple[Job, bytes]] = []
        if wanted:
            outcomes = await self._disk_lane.run(self._disk.batch, [Read(job.path, LARGEST) for job in wanted])
            for job, outcome in zip(wanted, outcomes, strict=True):
                data = self._read(job, outcome)
                if data is not None:
                    found.append((job, data))
        found.reverse()
        while found:
            while self._made - self._stalled_made > BYTES:  # packed files may hold much more than their size says
                room: Deferred[None] = Deferred()
                self._rooms.append(room)
                await room
            await self._understand(found)

    def _refusal(self, job: Job) -> AnyLogError | None:
        if job.name is None:
            named = self.directory.named(job.lying.name)
            return named if isinstance(named, AnyLogError) else None
        if job.lying.size > LARGEST:
            return too_large(job.lying.size)
        return self.options.limits.refusal(job.name)

    def _read(self, job: Job, outcome: Any) -> bytes | None:
        """The bytes, if the file is still what was seen."""
        if isinstance(outcome, OSError):
            number = outcome.errno
            if number == errno.ENOENT:
                self._say("File", f"{printable(job.lying.name)} was removed before it was read")
                self._end(job)
            elif number == errno.EFBIG:
                self._back(job)  # it grew; when it is still, its size is told
            elif number in _PASSING:
                self._say("Error", f"{printable(job.lying.name)} cannot be read now: {outcome.strerror or outcome}")
                self._back(job)
            else:
                self._fail(job, AnyLogError(63, f"the file cannot be read: {outcome.strerror or outcome}"))
            return None
        data, size, mtime_ns = outcome
        if job.lying.delivered:
            job.lying = evolve(job.lying, mtime_ns=mtime_ns)
        if (size, mtime_ns) != job.lying.stamp or len(data) != size:
            self._back(job)
            return None
        return bytes(data)

    async def _understand(self, found: list[tuple[Job, bytes]]) -> None:
        """The next piece of what was read, from the end of the list."""
        piece: list[tuple[FileName, bytes, Mapping[str, str] | None]] = []
        columns: dict[tuple[str, str], Mapping[str, str] | None] = {}
        size = 0
        for job, data in reversed(found[-PIECE_FILES:]):
            if job.name is None or (piece and size + len(data) > PIECE):
                break
            table = job.name.dbms, job.name.table
            if table not in columns:
                columns[table] = self.options.limits.columns(job.name)
            piece.append((job.name, data, columns[table]))
            size += len(data)
        asked = (piece, self._member(), PIECE)
        packed = any(name.compressed for name, _, _ in piece)
        if size < SMALL and not packed:
            contents = understand_all(*asked)
        else:
            contents = await self._cpu.run(understand_all, *asked)
        for content in contents:
            job, _ = found.pop()
            if isinstance(content, AnyLogError):
                self._fail(job, content)
            else:
                self._bring(job, content)

    # ------------------------------------------------------------------ bringing

    def _bring(self, job: Job, content: Content) -> None:
        """On its way: at once, or after those of its table that are before it."""
        name, table = job.name, job.table
        assert name is not None and table is not None
        if content.note:
            self._say("File", f"{printable(job.lying.name)}: {content.note}")
        job.file = WholeFile(
            path=job.path,
            dbms=name.dbms,
            table=name.table,
            source=name.source,
            instructions=name.instructions,
            hash=content.hash,
            rows=content.rows,
            early=content.early,
            normal=content.normal,
            stamp=job.lying.stamp,
            delivered=job.lying.delivered and name.full,  # by a member; a publisher gives short names
            kept=job.lying.kept,
            kind="sql" if name.kind == "sql" else "json",
            member=name.member,
            id=name.id,
            date=name.date,
        )
        job.made = len(content.normal)
        self._made += job.made
        more = max(0, job.made - job.weight)
        job.weight += more
        self._bytes += more
        if job.batch is not None and job.batch.stalled:
            self._stalled_made += job.made
            self._stalled_bytes += more
        key = (name.dbms, name.table, content.hash)
        self._contents[key] = self._contents.get(key, 0) + 1
        table.waiting.append((job, job.file))
        self._send(table)

    def _send(self, table: Table) -> None:
        table.sending = True
        while table.waiting and table.out < table.window:
            job, file = table.waiting.popleft()
            table.out += 1
            self._point("read")
            if self._trace() > 1:
                self.log.info("{who}: {file} has {rows} rows", who=self._who, file=job.lying.name, rows=file.count)
            try:
                brought = self._files.bring(file)
            except Exception:  # nobody above us could do better
                self.log.failure("bringing {file}", file=job.lying.name)
                self._came_back(job)
                self._back(job)
                continue
            brought.addCallbacks(self._came, self._broke, (job,), {}, (job,), {})
        table.sending = False

    def _came_back(self, job: Job) -> None:
        """One less of its table is out, and twice as many may follow."""
        table = job.table
        if table is not None:
            table.out -= 1
            table.window = min(table.window * 2, FILES)
            if not table.sending:
                self._send(table)

    def _came(self, outcome: Outcome, job: Job) -> None:
        self._came_back(job)
        if outcome.kind == "failed":
            self._fail(job, AnyLogError(outcome.code or 27, outcome.text), outcome.path)
            return
        if self._trace():
            self.log.info(
                "{who}: {file}: {what}, {rows} rows",
                who=self._who,
                file=job.lying.name,
                what=outcome.kind,
                rows=outcome.rows,
            )
        self._result(job, self._done if outcome.kind == "loaded" else "Repeated", outcome)
        self._end(job)

    def _broke(self, failure: Any, job: Job) -> None:
        """The node stops, or something that should not be: the file stays, and is taken again."""
        self._came_back(job)
        if not failure.check(AnyLogError, CancelledError):
            self.log.failure("bringing {file}", failure, file=job.lying.name)
        if not self._stopping and not (failure.check(AnyLogError) and failure.value.number == 506):
            self._say("Error", f"{printable(job.lying.name)} is tried again: {failure.getErrorMessage()}")
        self._back(job)

    def _lost(self, failure: Any, jobs: Sequence[Job]) -> None:
        """A whole batch could not be read: the lane is closed, or full."""
        if not failure.check(AnyLogError, OSError, CancelledError):
            self.log.failure("reading files", failure)
        elif not self._stopping:
            self._say("Error", f"{len(jobs)} files could not be read: {failure.getErrorMessage()}")
        for job in jobs:
            if job.file is None:
                self._back(job)

    def _result(self, job: Job, what: str, outcome: Outcome) -> None:
        result = result_of(unix(self._clock), printable(job.lying.name), job.name, what, outcome)
        self._seen.add(result)
        self._logs.file.add(what, result.line, self._who, result.values())

    def _fail(self, job: Job, error: AnyLogError, path: Path | None = None) -> None:
        """To the error directory, from where it lies now."""
        name = path.name if path is not None else job.lying.name
        told = Outcome(kind="failed", path=path or job.path, code=error.number, text=str(error))
        self._result(job, "Failed", told)
        if name != job.lying.name:
            self._working[name] = job

        def ended(where: str) -> None:
            text = f"{printable(name)}: error {error.number}, {error.text}: {error}; {where}"
            self._say("File", text)
            self._logs.error.add("File", text, self._who)
            self._working.pop(name, None)
            self._end(job)
            self._ended.add(name)

        of_others = job.name is not None and job.name.full and job.name.member not in ("@", str(self._member()))
        noting = job.name if of_others and path is None else None  # else its entry says so already
        self.errors.add(
            Failed(name=name, stamp=job.lying.stamp, error=error, ended=ended, alone=of_others, noting=noting)
        )

    def _back(self, job: Job) -> None:
        """It stays in the directory, and has to settle again before it is taken."""
        self._end(job)
        self._ended.discard(job.lying.name)
        self.directory.changed(job.lying.name)

    def _end(self, job: Job) -> None:
        """Nothing more is done with it; asking twice is fine."""
        batch, name = job.batch, job.lying.name
        if batch is None or batch.jobs.pop(name, None) is None:
            return
        self._working.pop(name, None)
        self._ended.add(name)
        self._bytes -= job.weight
        self._made -= job.made
        table, file = job.table, job.file
        if file is not None:
            content = (file.dbms, file.table, file.hash)
            self._contents[content] -= 1
            if not self._contents[content]:
                del self._contents[content]
            self._ended.add(content)
            job.file = None
        if batch.stalled:
            self._stalled_files -= 1
            self._stalled_bytes -= job.weight
            self._stalled_made -= job.made
            if table is not None:
                table.stalled -= 1
        if table is not None:
            table.taken -= 1
        if table is not None and not table.stalled and job.name is not None:
            self.directory.back(self._parked.pop((job.name.dbms, job.name.table), ()))
        if not batch.jobs:
            self._batches.remove(batch)
        if not self._working and self._finished is not None:
            finished, self._finished = self._finished, None
            finished.callback(None)
        self._soon()

    def _age(self) -> None:
        """Batches that take long make room for others."""
        now = self._clock.seconds()
        for batch in self._batches:
            if not batch.stalled and now - batch.since >= STALLED:
                batch.stalled = True
                for job in batch.jobs.values():
                    self._stalled_files += 1
                    self._stalled_bytes += job.weight
                    self._stalled_made += job.made
                    if job.table is not None:
                        job.table.stalled += 1

    def _say(self, kind: str, text: str) -> None:
        self._logs.event.add(kind, text, self._who)

    # ------------------------------------------------------------------ what can be seen

    @property
    def busy(self) -> int:
        """Batches that are read or loaded, of `threads`."""
        return min(sum(not batch.stalled for batch in self._batches), self.options.threads)

    @property
    def in_work(self) -> int:
        """Files that were taken and are not done."""
        return len(self._working)

    @property
    def bytes_in_work(self) -> int:
        """Their bytes."""
        return self._bytes

    def stalled(self) -> dict[str, int]:
        """`dbms.table` -> files that have been in work for long."""
        return {f"{dbms}.{table}": each.stalled for (dbms, table), each in self._tables.items() if each.stalled}

    @property
    def status(self) -> str:
        """One line: what it is doing, or why it holds."""
        if self.holds:
            return self.holds
        if self.errors.held:
            return f"{len(self.errors.held)} failed files cannot be moved: {self.errors.why}"
        stalled = self.stalled()
        if stalled:
            return f"waiting: {', '.join(f'{name} ({count} files)' for name, count in sorted(stalled.items())[:5])}"
        if self._absent:
            return f"files wait for databases that are not connected: {', '.join(sorted(self._absent)[:5])}"
        return "working" if self._working else "watching"
