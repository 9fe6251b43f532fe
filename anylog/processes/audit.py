"""What a member tells of each file of one table: its rows, their digest, and the state of its archive file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson
from attrs import astuple, define, evolve, field, frozen
from twisted.internet.defer import Deferred

from anylog.databases import audits
from anylog.databases.library import Connection
from anylog.databases.tsd import DROPPED, DUPLICATE, FAILED, MISSING, OWN, Tsd
from anylog.disk.archive import ARCHIVED, folder_of, ids_in, unpacked
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Disk, IBody, ILane, Mark, Read, Reply
from anylog.mapping.body import content_hash, is_sealed
from anylog.pages import all_pages
from anylog.processes.digests import NOTHING, Digest, of_files
from anylog.processes.overview import Text
from anylog.processes.registry import PLACEHOLDER
from anylog.processes.whole import FilingOptions
from anylog.waiting import deferring

PAGE = 500  # files looked at together
AT_ONCE = 4 << 20  # bytes of archive files in memory together; a larger one is alone
MOST = 16 << 20  # bytes of one answer
READ = 2000  # files of another member's answer that are read in one piece
ANSWERS = 4  # that are made at the same time
_KEPT = 8  # directories whose names are remembered


@frozen(kw_only=True)
class Told:
    """One file at one member."""

    hash: str  # of its content; empty while it is no file yet
    member: int
    id: int
    time: str
    source: str
    instructions: str
    state: str  # loaded, dropped (loaded, and its rows were removed), open, lost, double, pending, missing, failed
    note: str = ""
    marked: int = 0  # rows by its mark
    rows: int = 0  # that are found
    value: int = 0
    exact: int = 0
    archive: str = ""  # ok, missing, rotten, or removed with all of its day; empty: not looked at

    filed: bool = False  # its entry counts it, so its file is in the archive

    @property
    def digest(self) -> Digest:
        """Of its rows."""
        return Digest(self.rows, self.value, self.exact)

    @property
    def held(self) -> bool:
        """Whether it was loaded here, and not lost since."""
        return self.state in ("loaded", "dropped")

    @property
    def date(self) -> str:
        """The date segment of its name."""
        return digits(self.time)


class Audited(Protocol):
    """A database that says what it holds."""

    def read(self, work: Callable[[Connection], Any]) -> Awaitable[Any]:
        """`work` in a reading lane."""

    def mark_lines(self, member: int, table: str, after: int, most: int) -> Awaitable[list[Mark]]:
        """Marks of a member's files, by id."""


class Databases(Protocol):
    """What is asked of the catalog."""

    def get(self, name: str) -> Audited:
        """The connected database of that name; AnyLogError 5."""


@frozen(kw_only=True)
class Question:
    """Which files are looked at: those registered from `start` on and before `end`, whose texts may be empty."""

    dbms: str
    table: str
    start: str = ""
    end: str = ""
    archive: bool = True

    @classmethod
    def read(cls, head: Mapping[str, Any]) -> Question:
        """Raises AnyLogError 21."""
        texts = {key: head.get(key, "") for key in ("dbms", "table", "start", "end")}
        if not all(isinstance(text, str) for text in texts.values()) or not texts["dbms"] or not texts["table"]:
            raise AnyLogError(21, "an audit is asked of a dbms and a table, with dates as texts")
        return cls(**texts, archive=head.get("archive") is not False)

    def wants(self, time: str) -> bool:
        """By the second: other members know no more of it than the name of the file says."""
        return (not self.start or time[:19] >= self.start[:19]) and (not self.end or time[:19] < self.end[:19])


@define(kw_only=True, eq=False)
class Audit:
    """Looks at the files of this node."""

    databases: Databases
    tsd: Callable[[], Tsd | None]
    member: Callable[[], int]
    options: Callable[[], FilingOptions | None]  # of the operator that runs
    disk: Disk
    lane: ILane
    cpu: ILane
    _folders: dict[tuple[Path, int], dict[int, str]] = field(factory=dict)  # id -> name
    _fresh: set[tuple[Path, int]] = field(factory=set)  # those that were looked at behind the entries at hand

    async def files(self, question: Question) -> AsyncIterator[list[Told]]:
        """All that are known of one table, in pages. Raises AnyLogError 5 or 203."""
        tsd, options, member = self.tsd(), self.options(), self.member()
        if tsd is None or options is None or not options.tsd or not member:
            raise AnyLogError(203, "no operator with tables of files runs on this node")
        database = self.databases.get(question.dbms)
        known = {member if into == OWN else int(into.removeprefix("tsd_")) for into in await tsd.tables()}
        for owner in sorted(known | set(await database.read(audits.owners))):
            if not owner:
                continue
            into, after = OWN if owner == member else f"tsd_{owner}", 0
            while True:
                lines = await tsd.database.read(
                    lambda connection, into=into, after=after: audits.lines(  # type: ignore[misc]
                        connection, into, question.dbms, question.table, after, PAGE
                    )
                )
                # After the entries: what is a file by its entry has its last row, and its mark says so.
                marks = await database.mark_lines(owner, question.table, after, PAGE)
                if not marks and not lines:
                    break
                ends = [page[-1].id for page in (marks, lines) if len(page) == PAGE]
                upto = min(ends) if ends else max(page[-1].id for page in (marks, lines) if page)
                page = joined(
                    owner,
                    {mark.id: mark for mark in marks if mark.id <= upto},
                    {line.id: line for line in lines if line.id <= upto},
                )
                after = upto
                page = [each for each in page if question.wants(each.time)]
                page = await self._digests(database, question.table, owner, page)
                if question.archive:
                    page = await self._archived(question, options, page)
                yield page

    async def _digests(self, database: Audited, table: str, owner: int, page: Sequence[Told]) -> list[Told]:
        times = {each.id: each.time for each in page if each.state == "loaded"}
        found = await of_files(database, self.cpu, table, owner, times)
        done = []
        for each in page:
            if each.state == "loaded":
                digest = found.get(each.id, NOTHING)
                # A mark and no rows at all: they were removed on purpose (hard-parts.md 2.4).
                state = "loaded" if digest.rows else "dropped"
                each = evolve(each, state=state, rows=digest.rows, value=digest.value, exact=digest.exact)
            done.append(each)
        return done

    async def _archived(self, question: Question, options: FilingOptions, page: Sequence[Told]) -> list[Told]:
        self._fresh.clear()
        states = await self._states(question, options, [each for each in page if each.held and each.filed])
        gone = [each for each, state in states.items() if state == "missing"]
        if gone:  # the distributor may have moved them from one directory into the other meanwhile
            self.forget()
            states |= await self._states(question, options, gone)
        return [evolve(each, archive=states.get(each, "")) for each in page]

    async def _states(self, question: Question, options: FilingOptions, page: Sequence[Told]) -> dict[Told, str]:
        states: dict[Told, str] = {}
        waiting: list[tuple[Told, Path]] = []
        for each in page:
            path = await self.path(options, each)
            if path is None:
                states[each] = await self._absent(folder_of(options.archive_dir, each.date))
            else:
                waiting.append((each, path))
        while waiting:
            read = await self.lane.run(_read_some, self.disk, [path for _, path in waiting])
            asked = [
                (question.dbms, question.table, each, path, data)
                for (each, path), data in zip(waiting, read, strict=False)
            ]
            for (each, _), state in zip(waiting, await self.cpu.run(_states, asked), strict=False):
                states[each] = state
            waiting = waiting[len(read) :]
        return states

    async def _absent(self, folder: Path) -> str:
        """A day that was removed from the archive is no loss."""
        try:
            return "missing" if folder.name in await self.lane.run(self.disk.names, folder.parent) else "removed"
        except OSError as fault:
            raise AnyLogError(63, f"{folder.parent}: {fault.strerror or fault}") from None

    def forget(self) -> None:
        """Files were put into directories since they were looked at."""
        self._folders.clear()
        self._fresh.clear()

    @deferring
    async def path(self, options: FilingOptions, told: Told) -> Path | None:
        """Where its file lies: in the archive, or where it waits for the distributor."""
        for folder in (folder_of(options.archive_dir, told.date), options.distr_dir):
            key = folder, told.member
            names = self._folders.get(key)
            if names is None or (told.id not in names and key not in self._fresh):
                while len(self._folders) >= _KEPT:
                    self._folders.pop(next(iter(self._folders)))
                try:
                    names = await self.lane.run(ids_in, self.disk, folder, told.member)
                except OSError as fault:
                    raise AnyLogError(63, f"{folder}: {fault.strerror or fault}") from None
                self._folders[key] = names
                self._fresh.add(key)
            if told.id in names:
                return folder / names[told.id]
        return None


def joined(owner: int, marks: Mapping[int, Mark], lines: Mapping[int, audits.Line]) -> list[Told]:
    """What marks and entries of one member's files say together, by id."""
    found = []
    for id in sorted(marks.keys() | lines.keys()):
        mark, line = marks.get(id), lines.get(id)
        hash = (line.hash if line is not None else "") or (mark.hash if mark is not None else "") or ""
        still_open = hash.startswith(PLACEHOLDER)
        named: Any = line if line is not None else mark
        found.append(
            Told(
                hash="" if still_open else hash, member=owner, id=id, time=named.time, source=named.source,
                instructions=named.instructions, state=_state(mark, line, still_open or not hash),
                note=line.status2 if line is not None else "", marked=mark.rows if mark is not None else 0,
                filed=line is not None and line.rows > 0,
            )
        )  # fmt: skip
    return found


def _state(mark: Mark | None, line: audits.Line | None, still_open: bool) -> str:
    if mark is not None and mark.rows:
        return "open" if still_open else "loaded"
    if line is None:
        return "failed"  # all of it was parked
    if line.rows:
        return "dropped" if line.status2 == DROPPED else "lost"
    return {DUPLICATE: "double", MISSING: "missing", FAILED: "failed"}.get(line.status1, "pending")


def digits(time: str) -> str:
    """A time as it stands in the name of a file."""
    return "".join(char for char in time[2:19] if char.isdigit())


def fits(hash: str, dbms: str, table: str, member: int, id: int, data: bytes) -> bool:
    """Whether a content is the one that a name says, of a whole file or of a streamed one (ingest.md 9.2)."""
    known = content_hash(dbms, table, data), content_hash(dbms, f"{table}.{member}.{id}", data)
    return hash in known or is_sealed(hash, dbms, table, data)


def _read_some(disk: Disk, paths: Sequence[Path]) -> list[bytes | OSError]:
    """In a lane: the first of these files, until it is enough at once."""
    found: list[bytes | OSError] = []
    size = 0
    for path in paths:
        (outcome,) = disk.batch([Read(path, ARCHIVED)])
        found.append(outcome if isinstance(outcome, OSError) else outcome[0])
        size += 0 if isinstance(outcome, OSError) else len(outcome[0])
        if size >= AT_ONCE:
            break
    return found


def _states(asked: Sequence[tuple[str, str, Told, Path, bytes | OSError]]) -> list[str]:
    """In a lane: what archive files are worth."""
    states = []
    for dbms, table, told, path, data in asked:
        if isinstance(data, FileNotFoundError):
            states.append("missing")
            continue
        try:
            fine = not isinstance(data, OSError) and fits(
                told.hash, dbms, table, told.member, told.id, unpacked(path, data)
            )
        except AnyLogError:
            fine = False
        states.append("ok" if fine else "rotten")
    return states


@define(kw_only=True, eq=False)
class AuditService:
    """Handler of the kind `audit`.

    Question: dbms, table, start and end (times as they are stored, may be empty), archive (false: do not read it).
    Reply: the body is JSON, a list of the fields of `Told` for each file. Fails with AnyLogError 5, 21, 63, 203, with
    502 while others are answered, or 77 for an answer that would be too large.
    """

    _audit: Callable[[], Audit]
    _most: int = MOST
    _answering: int = 0

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        question = Question.read(head)
        if self._answering >= ANSWERS:
            raise AnyLogError(502, f"{ANSWERS} audits are under way")
        self._answering += 1
        try:
            lines = await self._lines(question)
        finally:
            self._answering -= 1
        return Reply(head={"files": len(lines)}, body=Text(b"[" + b",".join(lines) + b"]"))

    async def _lines(self, question: Question) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        async for page in self._audit().files(question):
            for each in page:
                lines.append(orjson.dumps(astuple(each)))
                size += len(lines[-1]) + 1
            if size > self._most:
                told = f"an audit of more than {self._most >> 20} MB: limit it with start_date and end_date"
                raise AnyLogError(77, told)
        return lines


async def read_audit(body: IBody | None, cpu: ILane) -> list[Told]:
    """What a member told. Raises AnyLogError 21 for what is none, 77 for one that is too large.

    It is read in a lane: a hundred thousand files take a second, in which this node would answer nobody.
    """
    data = await all_pages(body, MOST + (1 << 20), "an audit")
    try:
        found = await cpu.run(orjson.loads, data)
        if not isinstance(found, list):
            raise ValueError("it is no list")
        told: list[Told] = []
        for at in range(0, len(found), READ):
            told += await cpu.run(_told, found[at : at + READ])
    except (ValueError, TypeError) as wrong:
        raise AnyLogError(21, f"an audit that is none: {str(wrong)[:200]}") from None
    return told


def _told(lines: Sequence[Any]) -> list[Told]:
    kinds: list[type] = [str, int, int, str, str, str, str, str, int, int, int, int, str, bool]
    names = [each.name for each in Told.__attrs_attrs__]
    for line in lines:
        if len(line) != len(kinds) or not all(map(isinstance, line, kinds)):
            raise ValueError("a line of it is none")
    return [Told(**dict(zip(names, line, strict=True))) for line in lines]


class Ask(Protocol):
    """`peers.ask`."""

    def __call__(
        self, address: str, kind: str, head: Mapping[str, Any], body: bytes = b"", *, until: float | None = None
    ) -> Deferred[Reply]: ...


@deferring
async def ask_audit(ask: Ask, cpu: ILane, address: str, question: Question, until: float) -> list[Told]:
    """What a member tells, read in the lane `cpu`. Fails with AnyLogError."""
    head = {
        "dbms": question.dbms, "table": question.table, "start": question.start, "end": question.end,
        "archive": question.archive,
    }  # fmt: skip
    reply = await ask(address, "audit", head, until=until)
    return await read_audit(reply.body, cpu)
