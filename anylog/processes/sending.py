"""Brings whole files to operators: each to one cluster, to any of its members, until one says that it has it.

What a cluster was offered and may have taken is offered to that cluster until somebody there confirms it: its members
find out among themselves that they got one content twice, two clusters do not. Only what was surely refused goes on to
another one.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.disk.archive import folder_of
from anylog.disk.batch import packed
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Forget, ILane, PeerState, Publish, unix
from anylog.mapping.body import is_sealed
from anylog.processes.courier import BYTES, FILES, Ask
from anylog.processes.placing import Group, by_hash
from anylog.processes.sent_notes import Note, Notes
from anylog.processes.whole import Outcome, WholeFile
from anylog.waiting import deferring, pause

SECONDS = 30.0  # for the answer to a question
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds until a cluster that took nothing is asked again
OFFERED = "offered"  # the kind of note: hash -> group
LARGEST = 15 << 20  # packed bytes that go in a question
WRONG = frozenset({6, 28, 119, 171, 501})  # what no other operator would think otherwise of
# Answers of an operator that took nothing, and failures before anything was asked.
REFUSED = frozenset({10, 21, 29, 130, 131, 203, 208, 212, 224, 502, 503, 509, *WRONG})


@frozen(kw_only=True)
class Keeping:
    """What becomes of a file that was sent."""

    bkup_dir: Path
    archive_dir: Path
    delete: bool = False
    delete_sql: bool = False
    archive: bool = False
    compress: bool = False
    compress_sql: bool = False

    def packs(self, file: WholeFile) -> bool:
        """Whether the copy of that file is compressed."""
        return self.compress_sql if file.kind == "sql" else self.compress


@define(eq=False)
class Job:
    """One file on its way."""

    file: WholeFile
    name: str  # as the operator is to call it
    told: Deferred[Outcome] = field(factory=Deferred)
    group: Group | None = None
    order: Sequence[str] = ()  # groups in the order in which they are tried
    doubtful: bool = False  # its group may have it
    data: bytes = b""  # packed


@define(eq=False)
class Line:
    """What is on its way to one group."""

    jobs: deque[Job] = field(factory=deque)
    busy: bool = False
    attempt: int = 0
    turn: int = 0
    pausing: Deferred[None] | None = None


@define
class Sent:
    """Of one table and operator."""

    files: int = 0
    repeats: int = 0
    errors: int = 0
    rows: int = 0
    bytes: int = 0  # that went over the wire
    last: float = 0.0  # unix seconds
    last_file: str = ""
    last_error: str = ""


@define(kw_only=True, eq=False)
class Sending:
    """`whole.IFiles` for the watch directory of a publisher."""

    _clock: Clock
    _disk: Disk
    _lane: ILane  # of the disk
    _cpu: ILane
    _ask: Ask
    _groups: Callable[[str, str, str], Sequence[Group]]  # dbms, table, source
    _known: Callable[[str], Group | None]
    _state: Callable[[str], PeerState | None]
    _notes: Notes
    keeping: Keeping
    point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    sent: dict[tuple[str, str, str], Sent] = field(factory=dict)  # by dbms, table, ip:port
    waits: dict[str, str] = field(factory=dict)  # dbms.table, or group -> why its files wait
    log = Logger()

    _new: list[Job] = field(factory=list)
    _homeless: list[Job] = field(factory=list)
    # Hash of what is on its way -> files of that content, which follow it: where it gets is not known yet.
    _equal: dict[str, deque[Job]] = field(factory=dict)
    _lines: dict[str, Line] = field(factory=dict)
    _turns: dict[tuple[str, str], int] = field(factory=dict)
    _planning: bool = False
    _again: Any = None  # the call that looks for a place for what has none
    _stopping: bool = False

    def bring(self, file: WholeFile) -> Deferred[Outcome]:
        """Fires when an operator has it and it is out of the watch directory; 506 when the publisher stops."""
        if file.id or file.member:
            told = f"a publisher sends what came from a source, and this is a file of member {file.member}"
            return _now(Outcome(kind="failed", path=file.path, code=131, text=told))
        name = FileName(
            dbms=file.dbms, table=file.table, source=file.source, hash=file.hash, instructions=file.instructions,
            compressed=True,
        ).fitting()  # fmt: skip
        job = Job(file, str(name))
        if self._stopping:
            job.told.errback(AnyLogError(506, "the publisher stops"))
        elif file.hash in self._equal:
            self._equal[file.hash].append(job)
        else:
            self._equal[file.hash] = deque()
            self._new.append(job)
            self._plan_soon()
        return job.told

    def stop(self) -> None:
        """What is not being asked about is given back."""
        self._stopping = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        given = [*self._new, *self._homeless, *(job for jobs in self._equal.values() for job in jobs)]
        self._new, self._homeless, self._equal = [], [], {}
        for line in self._lines.values():
            if line.pausing is not None:
                line.pausing.cancel()
            given += line.jobs
            line.jobs.clear()
        for job in given:
            job.told.errback(AnyLogError(506, "the publisher stops"))

    # ------------------------------------------------------------------ where to

    def _plan_soon(self) -> None:
        if not self._planning and not self._stopping:
            self._planning = True
            self._clock.callLater(0, self._plan)

    @deferring
    async def _plan(self) -> None:
        """A group for each new file, noted before any of them is offered to it."""
        try:
            while self._new:
                jobs, self._new = self._new, []
                chosen: dict[Job, Group] = {}
                notes: list[Note] = []
                offered = self._notes.of(OFFERED)
                for job in jobs:
                    try:
                        group = self._group_of(job, offered)
                    except Exception:  # a policy that is odd in a way nobody thought of: the files wait
                        self.log.failure("where {file} goes", file=job.name)
                        self._wait_for_place(job, "internal error, see the log")
                        continue
                    if group is None:
                        continue
                    chosen[job] = group
                    if offered.get(job.file.hash) != group.key:
                        notes.append((OFFERED, job.file.hash, group.key))
                try:
                    if notes:
                        await self._notes.add(notes)
                except Exception as why:
                    if not isinstance(why, AnyLogError | OSError):
                        self.log.failure("writing the notes of the publisher")
                    told = f"the notes of the publisher cannot be written: {getattr(why, 'strerror', None) or why}"
                    for job in chosen:
                        self._wait_for_place(job, told)
                    continue
                self.point("noted")
                if self._stopping:
                    for job in chosen:
                        job.told.errback(AnyLogError(506, "the publisher stops"))
                    return
                for job, group in chosen.items():
                    self.waits.pop(f"{job.file.dbms}.{job.file.table}", None)
                    job.group = group
                    self._lines.setdefault(group.key, Line()).jobs.append(job)
                for key in sorted({group.key for group in chosen.values()}):
                    self._go_on(key)
        finally:
            self._planning = False

    def _group_of(self, job: Job, offered: Mapping[str, str]) -> Group | None:
        """Where it was offered before, if that is still there; else its turn. None: it waits for a place."""
        file = job.file
        groups = {group.key: group for group in self._groups(file.dbms, file.table, file.source)}
        before = offered.get(file.hash)
        if before is not None and job.group is None:
            known = groups.get(before) or self._known(before)
            if known is not None:
                job.doubtful = True  # another life of this node may have had no answer
                return known
        if not groups:
            self._wait_for_place(job, "no operator takes this table, by the ledger of this node")
            return None
        if job.order and set(job.order) >= set(groups):
            left = [key for key in job.order if key in groups]
            last = job.group.key if job.group is not None else ""
            at = (left.index(last) + 1) % len(left) if last in left else 0
            return groups[left[at]]
        job.order = [group.key for group in self._ordered(file, list(groups.values()))]
        return groups[job.order[0]]

    def _ordered(self, file: WholeFile, groups: Sequence[Group]) -> list[Group]:
        """A whole file by its hash: a repeat of it has to meet the first one; what was cut from a stream by turns."""
        if len(groups) < 2:
            return list(groups)
        if not is_sealed(file.hash, file.dbms, file.table, file.normal):
            return by_hash(groups, file.hash)
        turn = self._turns.get((file.dbms, file.table), 0)
        self._turns[file.dbms, file.table] = turn + 1
        at = turn % len(groups)
        return [*groups[at:], *groups[:at]]

    def _wait_for_place(self, job: Job, why: str) -> None:
        table = f"{job.file.dbms}.{job.file.table}"
        if self._stopping:
            job.told.errback(AnyLogError(506, "the publisher stops"))
            return
        if table not in self.waits:
            self.log.warn("files of {table} wait: {why}", table=table, why=why)
        self.waits[table] = why
        self._homeless.append(job)
        if self._again is None:
            self._again = self._clock.callLater(PAUSES[2], self._look_again)

    def _look_again(self) -> None:
        if self._again is not None and self._again.active():
            self._again.cancel()
        self._again = None
        homeless, self._homeless = self._homeless, []
        if homeless:
            self._new += homeless
            self._plan_soon()

    # ------------------------------------------------------------------ sending

    def _go_on(self, key: str) -> None:
        line = self._lines[key]
        if line.jobs and not line.busy and not self._stopping:
            line.busy = True
            self._work(key, line).addErrback(
                lambda failure: self.log.failure("sending to {key}", failure, key=key)
            ).addBoth(lambda _: self._rested(key, line))

    def _rested(self, key: str, line: Line) -> None:
        line.busy = False
        if self._stopping:  # what was put back since
            given, line.jobs = line.jobs, deque()
            for job in given:
                job.told.errback(AnyLogError(506, "the publisher stops"))
        if not (self._new or self._homeless or any(each.jobs or each.busy for each in self._lines.values())):
            self.waits.clear()  # what a group refused, another has
        if line.jobs and not self._stopping:
            self._clock.callLater(PAUSES[0], self._go_on, key)

    @deferring
    async def _work(self, key: str, line: Line) -> None:
        while line.jobs and not self._stopping:
            jobs: list[Job] = []
            try:
                await self._packed(line, jobs)
                left = await self._offer(key, line, jobs) if jobs else []
            except BaseException:
                again = [job for job in jobs if not job.told.called]
                if self._stopping:
                    for job in again:
                        job.told.errback(AnyLogError(506, "the publisher stops"))
                else:
                    line.jobs.extendleft(reversed(again))
                raise
            if self._stopping:
                for job in left:
                    job.told.errback(AnyLogError(506, "the publisher stops"))
                return
            if not left:
                line.attempt = 0
                self.waits.pop(key, None)
                continue
            await self._pass_on(key, line, left)

    async def _packed(self, line: Line, jobs: list[Job]) -> None:
        """Add the next that go together, packed; if that fails the one it failed with, too."""
        size = 0
        while line.jobs and len(jobs) < FILES:
            job = line.jobs.popleft()
            if not job.data:
                try:
                    job.data = await self._cpu.run(packed, job.file.normal)
                except BaseException:
                    jobs.append(job)
                    raise
                job.file.let_go()
            if len(job.data) > LARGEST:
                self._end(job, Outcome(kind="failed", path=job.file.path, code=501, text=_too_large(job)))
                continue
            # Of one cluster not the same operators may be named for two tables.
            full = jobs and (size + len(job.data) > BYTES or jobs[0].group != job.group)
            if full or any(each.name == job.name for each in jobs):
                line.jobs.appendleft(job)
                break
            jobs.append(job)
            size += len(job.data)

    async def _offer(self, key: str, line: Line, jobs: Sequence[Job]) -> list[Job]:
        """Ask one operator after the other; gives what none of them confirmed."""
        left = list(jobs)
        for address in self._candidates(key, line, jobs):
            if not left or self._stopping:
                break
            try:
                answers = await self._asked(address, left)
            except AnyLogError as why:
                surely = why.number in REFUSED
                self._failed(left, address, f"{why.number} {why}")
                for job in left:
                    job.doubtful = job.doubtful or not surely
                continue
            self.point("confirmed")
            confirmed: list[Job] = []
            refused: list[Job] = []
            for job, text in zip(left, answers, strict=True):
                if text in ("taken", "known"):
                    confirmed.append(job)
                    job.doubtful = True  # should it be asked about again: this group has it
                    self._count(job, address, repeated=text == "known")
                    continue
                self._failed([job], address, text)
                number = int(text.split(" ", 1)[0]) if text[:1].isdecimal() else 0
                if number in WRONG and not job.doubtful:
                    self._end(job, Outcome(kind="failed", path=job.file.path, code=number, text=text))
                else:
                    job.doubtful = job.doubtful or number not in REFUSED
                    refused.append(job)
            await self._keep(confirmed)
            left = refused
        return left

    def _candidates(self, key: str, line: Line, jobs: Sequence[Job]) -> list[str]:
        """The operators of a group by turns, those that answered last first."""
        file = jobs[0].file
        groups = {group.key: group for group in self._groups(file.dbms, file.table, file.source)}
        group = groups.get(key) or self._known(key) or jobs[0].group
        addresses = list(group.addresses) if group is not None else []
        if not addresses:
            return []
        at = line.turn % len(addresses)
        line.turn += 1
        turned = [*addresses[at:], *addresses[:at]]
        return sorted(turned, key=lambda address: not self._active(address))

    def _active(self, address: str) -> bool:
        state = self._state(address)
        return state is None or state.active

    async def _asked(self, address: str, jobs: Sequence[Job]) -> Sequence[str]:
        head = {"files": [[job.name, len(job.data)] for job in jobs]}
        until = self._clock.seconds() + SECONDS
        self.point("offered")
        reply = await self._ask(address, "publish", head, b"".join(job.data for job in jobs), until=until)
        if reply.body is not None:
            reply.body.close()
        told = reply.head.get("told")
        if not isinstance(told, Sequence) or isinstance(told, str) or len(told) != len(jobs):
            raise AnyLogError(15, f"{address} answered {len(jobs)} files with {ascii(told)[:200]}", node=address)
        return [str(each) for each in told]

    async def _pass_on(self, key: str, line: Line, left: Sequence[Job]) -> None:
        """What was surely refused goes on to another group; what may be there waits for its own."""
        others: list[Job] = []
        stay: list[Job] = []
        for job in left:
            free = not job.doubtful and len(job.order) > 1 and job.order[-1] != key
            (others if free else stay).append(job)
        self.waits[key] = self.counts.last("errors")
        self._new += others
        if others:
            self.counts.add("passed on", len(others))
            self._plan_soon()
        if not stay:
            return
        # Those that went round begin again with the first group a while later, by the ledger of then.
        again = [job for job in stay if not job.doubtful]
        line.jobs.extendleft(reversed([job for job in stay if job.doubtful]))
        line.pausing = pause(self._clock, PAUSES[min(line.attempt, len(PAUSES) - 1)])
        line.attempt += 1
        self._homeless += again
        if again and self._again is None:
            self._again = self._clock.callLater(PAUSES[min(line.attempt, len(PAUSES) - 1)], self._look_again)
        try:
            await line.pausing
        except CancelledError:
            pass  # stopped, or there is news
        finally:
            line.pausing = None

    # ------------------------------------------------------------------ afterwards

    async def _keep(self, jobs: Sequence[Job]) -> None:
        """Kept as the options say, and out of the watch directory."""
        steps: list[Publish] = []
        for job in jobs:
            target = self._target(job.file)
            if target is not None:
                steps.append(Publish(target, job.file.normal, self.keeping.packs(job.file)))
        for step, outcome in zip(steps, await self._lane.run(self._disk.batch, steps) if steps else [], strict=True):
            if isinstance(outcome, OSError):  # an operator has it: the copy is not what keeps it
                self.log.error("{path}: {why}", path=step.path, why=outcome.strerror or outcome)
                self.counts.add("not kept", last=f"{step.path}: {outcome.strerror or outcome}")
        self.point("kept")
        removed = [Forget(job.file.path, job.file.stamp) for job in jobs]
        outcomes = await self._lane.run(self._disk.batch, removed) if removed else []
        for job, outcome in zip(jobs, outcomes, strict=True):
            text = ""
            if isinstance(outcome, OSError) and outcome.errno != errno.ESTALE:
                text = f"{job.file.path} cannot be removed: {outcome.strerror or outcome}"
                self.log.error("{why}", why=text)
            self._end(job, Outcome(kind="loaded", path=job.file.path, text=text, rows=job.file.normal.count(b"\n")))

    def _target(self, file: WholeFile) -> Path | None:
        """Where a copy is kept; None: nowhere."""
        if self.keeping.delete_sql if file.kind == "sql" else self.keeping.delete:
            return None
        name = FileName(
            dbms=file.dbms, table=file.table, source=file.source, hash=file.hash, instructions=file.instructions,
            compressed=self.keeping.packs(file),
        ).fitting()  # fmt: skip
        if not self.keeping.archive:
            return self.keeping.bkup_dir / str(name)
        return folder_of(self.keeping.archive_dir, _today(unix(self._clock))) / str(name)

    def _end(self, job: Job, outcome: Outcome) -> None:
        if job.told.called:
            return
        following = self._equal.pop(job.file.hash, None)
        if following:
            after, self._equal[job.file.hash] = following.popleft(), following
            if outcome.kind == "failed":
                after.group = job.group  # nobody has it
            self._new.append(after)
            self._plan_soon()
        job.told.callback(outcome)

    def _count(self, job: Job, address: str, *, repeated: bool) -> None:
        self.counts.add("repeats" if repeated else "files", last=job.name)
        seen = self.sent.setdefault((job.file.dbms, job.file.table, address), Sent())
        seen.files += not repeated
        seen.repeats += repeated
        seen.rows += 0 if repeated else job.file.normal.count(b"\n")
        seen.bytes += len(job.data)
        seen.last, seen.last_file = unix(self._clock), job.name

    def _failed(self, jobs: Sequence[Job], address: str, why: str) -> None:
        self.counts.add("errors", len(jobs), last=f"{address}: {why}")
        for job in jobs:
            seen = self.sent.setdefault((job.file.dbms, job.file.table, address), Sent())
            seen.errors += 1
            seen.last_error = why


def _too_large(job: Job) -> str:
    return f"packed it has {len(job.data):,} bytes, {LARGEST:,} can be sent: split it"


def _today(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%y%m%d%H%M%S")


def _now(outcome: Outcome) -> Deferred[Outcome]:
    told: Deferred[Outcome] = Deferred()
    told.callback(outcome)
    return told
