"""Mends the files of one table on this node: archive files from other members, rows from the archive.

What is wrong is found by comparing the rows with the truth: the archive file whose content hashes to its name, as the
loader converts it. Rows that differ are taken out together with their mark, in one transaction, and the file goes
through the ordinary pipeline again: a node that ends in between finds an entry without a mark, and loads it from the
archive at its next start (hard-parts.md 2.3).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Protocol

from attrs import define, evolve, field
from twisted.logger import Logger

from anylog.databases import audits
from anylog.databases.library import Connection
from anylog.databases.tables import columns_of
from anylog.databases.taken_out import TakenOut
from anylog.disk.archive import ARCHIVED, LARGEST, folder_of, unpacked
from anylog.disk.names import FileName, error_name
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Mark, Move, Publish, Read, unix
from anylog.mapping.body import read_body
from anylog.pages import all_pages
from anylog.processes.agreement import Place
from anylog.processes.audit import Ask, Audit, Question, Told, ask_audit, digits, fits
from anylog.processes.buffers import Where
from anylog.processes.compared import best, name_of
from anylog.processes.digests import NOTHING, UNKNOWN, Digest, data_columns, of_content, of_files
from anylog.processes.whole import FilingOptions, Outcome, WholeFile
from anylog.waiting import gather

ROTTEN = 6  # the code of an archive file that was damaged, in the error directory
PATIENCE = 600.0  # seconds that another member has to look at its rows
TOGETHER = 4  # files that are looked at together
FETCH = 120.0  # and to give a file


class Peer(Protocol):
    """Another member of the cluster, see `ledger.cluster.Operator`."""

    @property
    def name(self) -> str: ...

    @property
    def member(self) -> int | None: ...

    @property
    def address(self) -> str: ...


class Repaired(Protocol):
    """A database whose rows can be taken out."""

    def read(self, work: Callable[[Connection], Any]) -> Awaitable[Any]: ...

    def write(self, work: Callable[[Connection], Any]) -> Awaitable[Any]: ...

    def mark_lines(self, member: int, table: str, after: int, most: int) -> Awaitable[list[Mark]]: ...

    def file_marks(self, files: Sequence[tuple[int, int]]) -> Awaitable[dict[tuple[int, int], Mark]]: ...

    def hash_marks(self, hashes: Sequence[str]) -> Awaitable[dict[str, Mark]]: ...

    def parked_places(self, buffers: Sequence[str]) -> Awaitable[dict[str, set[tuple[int, int]]]]: ...


class Databases(Protocol):
    """What is asked of the catalog."""

    def get(self, name: str) -> Repaired:
        """The connected database of that name; AnyLogError 5."""


@define
class Report:
    """What was done, file by file."""

    looked: int = 0
    dropped: int = 0  # that stay so
    healed: list[str] = field(factory=list)  # archive files that came from another member
    loaded: list[str] = field(factory=list)  # once more
    fetched: list[str] = field(factory=list)  # that were missing, and are on their way
    left: list[tuple[str, str]] = field(factory=list)  # and why
    elsewhere: dict[str, int] = field(factory=dict)  # where files differ from what is right here
    silent: list[str] = field(factory=list)  # members that did not answer, and why


@define(kw_only=True, eq=False)
class Repair:
    """Mends one table at a time."""

    clock: Clock
    audit: Audit
    databases: Databases
    ask: Ask
    members: Callable[[], Sequence[Peer]]
    place: Callable[[], Place | None]
    bring: Callable[[WholeFile], Awaitable[Outcome]]
    in_work: Callable[[], Set[str]]
    watch: Callable[[], Path]  # the watch directory
    out: TakenOut
    # A database with the tables of files and the archive, soon; this node misses rows until then.
    compare: Callable[[str], object]
    made: Callable[[Where, str, str, bytes], Awaitable[bytes]]  # see `FilePolicies.content`
    point: Callable[[str], None] = field(default=lambda name: None)
    log = Logger()

    async def table(self, question: Question, *, dropped: bool = False) -> Report:
        """Raises AnyLogError 5, 10, 16, 28, 63 or 203."""
        database = self.databases.get(question.dbms)
        if await database.read(lambda connection: columns_of(connection, question.table)) is None:
            raise AnyLogError(28, f"there is no table {question.dbms}.{question.table}")
        tsd, options, place = self.audit.tsd(), self.audit.options(), self.place()
        if tsd is None or options is None or not options.tsd or place is None:
            raise AnyLogError(203, "no operator with tables of files runs on this node")
        own = [each async for page in self.audit.files(evolve(question, archive=True)) for each in page]
        columns = await database.read(lambda connection: columns_of(connection, question.table))
        one = _Table(
            room=self, question=question, dropped=dropped, database=database, options=options, place=place,
            columns=data_columns(columns or {}),
        )  # fmt: skip
        await one.hear()
        for first in range(0, len(own), TOGETHER):
            await gather([one.look(each) for each in own[first : first + TOGETHER]])
        await one.missing(own)
        return one.report


@define(kw_only=True, eq=False)
class _Table:
    """One repair while it is under way."""

    room: Repair
    question: Question
    dropped: bool
    database: Repaired
    options: FilingOptions
    place: Place
    columns: Mapping[str, str]
    others: dict[str, dict[int, Told]] = field(factory=dict)  # hash -> member -> what it tells
    answered: list[Peer] = field(factory=list)
    report: Report = field(factory=Report)
    log = Logger()

    async def hear(self) -> None:
        """What the other members have; who does not answer is named, and nothing is concluded from that."""
        until = self.room.clock.seconds() + PATIENCE
        asked = evolve(self.question, archive=False)
        peers = self.room.members()

        async def one(peer: Peer) -> list[Told] | AnyLogError:
            try:
                return await ask_audit(self.room.ask, self.room.audit.cpu, peer.address, asked, until)
            except AnyLogError as why:
                return why

        for peer, told in zip(peers, await gather([one(peer) for peer in peers]), strict=True):
            if isinstance(told, AnyLogError):
                self.report.silent.append(f"{peer.name or peer.address}: {told}")
                continue
            self.answered.append(peer)
            await self.room.audit.cpu.run(self._note, peer.member or 0, told)

    def _note(self, member: int, told: Sequence[Told]) -> None:
        contents: dict[str, list[Told]] = {}
        for each in told:
            if each.hash:
                contents.setdefault(each.hash, []).append(each)
        for hash, found in contents.items():
            known = best(found)
            if known is not None:
                self.others.setdefault(hash, {})[member] = known

    def name(self, told: Told) -> str:
        """As it is called in the report."""
        return str(name_of(self.question.dbms, self.question.table, told))

    def leave(self, told: Told, why: str) -> None:
        """Nothing more can be done for it here."""
        self.log.warn("{name} is left: {why}", name=self.name(told), why=why)
        self.report.left.append((self.name(told), why))

    async def look(self, told: Told) -> None:
        """One file that this node has, or had."""
        if told.state not in ("loaded", "dropped", "lost") or not told.filed:
            return  # the last: it is being made into a file
        self.report.looked += 1
        if told.state == "dropped" and not self.dropped:
            self.report.dropped += 1
            return
        if told.hash in self.room.in_work():
            self.leave(told, "it is in work")
            return
        there = self.others.get(told.hash, {})
        evident = told.state != "loaded" or told.rows != told.marked
        evident |= any(each.state == "loaded" and not each.digest.same(told.digest) for each in there.values())
        if told.archive == "removed" and not evident:
            return  # its day was removed from the archive, and nothing speaks against its rows
        try:
            content = await self._content(told)
            if content is None:
                return
            truth = await self._truth(told, content)
            if told.state == "loaded" and truth.same(told.digest):
                self._elsewhere(told)
                return
            await self._again(told, content, truth)
        except (AnyLogError, OSError) as why:
            self.leave(told, str(why))

    def _elsewhere(self, told: Told) -> None:
        """This node is right: who is wrong?"""
        there = self.others.get(told.hash, {})
        for peer in self.answered:
            each = there.get(peer.member or 0)
            if each is None or not each.held or (each.state == "loaded" and not each.digest.same(told.digest)):
                name = peer.name or peer.address
                self.report.elsewhere[name] = self.report.elsewhere.get(name, 0) + 1

    # The archive

    async def _content(self, told: Told) -> bytes | None:
        """What the file holds; from another member if it is not here, or rotten. None if nobody has it."""
        if told.archive == "missing":
            self.room.audit.forget()
        path = await self.room.audit.path(self.options, told)
        rotten = ""
        if path is not None:
            (outcome,) = await self.room.audit.lane.run(self.room.audit.disk.batch, [Read(path, ARCHIVED)])
            if isinstance(outcome, FileNotFoundError):
                self.room.audit.forget()
                raise outcome  # moved meanwhile, or removed: another repair sees to it
            if isinstance(outcome, OSError):
                rotten = f"{path}: {outcome.strerror or outcome}"
            else:
                content = await self.room.audit.cpu.run(self._checked, told, path, outcome[0])
                if content is not None:
                    return content
                rotten = f"{path} is damaged"
        content, why = await self._from_others(told)
        if content is None:
            self.leave(told, f"{rotten or 'its archive file is missing'}, {why}")
            return None
        await self._heal(told, path, content)
        return content

    def _checked(self, told: Told, path: Path, data: bytes) -> bytes | None:
        """In a lane: the content, if it is what the name says."""
        try:
            content = unpacked(path, data)
        except AnyLogError:
            return None
        fine = fits(told.hash, self.question.dbms, self.question.table, told.member, told.id, content)
        return content if fine else None

    async def _from_others(self, told: Told) -> tuple[bytes | None, str]:
        """From the first member that gives the right content; or why from none."""
        there = self.others.get(told.hash, {})
        refusals = []
        for peer in self.answered:
            each = there.get(peer.member or 0)
            if each is None or not each.held:
                continue
            try:
                found = await self._fetch(peer, each)
            except AnyLogError as why:
                refusals.append(f"{peer.name or peer.address}: {why}")
                continue
            content = await self.room.audit.cpu.run(self._checked, told, *found)
            if content is not None:
                return content, ""
            refusals.append(f"{peer.name or peer.address} gave another content")
        return None, "; ".join(refusals) or "and no other member has it"

    async def _fetch(self, peer: Peer, told: Told) -> tuple[Path, bytes]:
        """Name and bytes of a file as they lie at a peer. Raises AnyLogError."""
        until = self.room.clock.seconds() + FETCH
        head = {"cluster": self.place.cluster, "asker": self.place.member, "member": told.member, "ids": [told.id]}
        reply = await self.room.ask(peer.address, "fetch", head, until=until)
        data = await all_pages(reply.body, LARGEST, "a file")
        files = reply.head.get("files")
        if not isinstance(files, list | tuple) or not files:
            raise AnyLogError(12, "it does not have the file")
        try:
            ((id, name, size),) = files
            named = FileName.parse(name)
        except (TypeError, ValueError, AnyLogError) as odd:
            raise AnyLogError(21, f"an answer that is none: {odd}") from None
        if (id, named.id, named.hash, size) != (told.id, told.id, told.hash, len(data)):
            raise AnyLogError(21, f"it gave {name[:120]} with {len(data)} bytes instead")
        return Path(name), data

    async def _heal(self, told: Told, path: Path | None, content: bytes) -> None:
        """The right content in the place of what lay there, which is kept in the error directory."""
        disk, lane = self.room.audit.disk, self.room.audit.lane
        if path is not None:
            taken = await lane.run(disk.names, self.options.err_dir)
            aside = self.options.err_dir / error_name(path.name, ROTTEN, unix(self.room.clock), taken)
            (moved,) = await lane.run(disk.batch, [Move(path, aside)])
            if isinstance(moved, OSError):
                raise moved
        self.room.point("moved aside")
        folder = path.parent if path is not None else folder_of(self.options.archive_dir, told.date)
        named = name_of(self.question.dbms, self.question.table, told)
        target = folder / str(named.having(compressed=self.options.compress))
        (outcome,) = await lane.run(disk.batch, [Publish(target, content, self.options.compress)])
        if isinstance(outcome, OSError):
            raise outcome
        if outcome == "other":
            raise AnyLogError(86, f"{target} is there with other content")
        self.room.audit.forget()
        self.report.healed.append(self.name(told))

    # The rows

    async def _truth(self, told: Told, content: bytes) -> Digest:
        where = Where(self.question.dbms, self.question.table, told.source, told.instructions)
        content = await self.room.made(where, told.hash, told.time, content)
        parked: Collection[int] = ()
        marks = await self.database.file_marks([(told.member, told.id)])
        mark = marks.get((told.member, told.id))
        if mark is not None and mark.parked and mark.hash:
            places = await self.database.parked_places([mark.buffer])
            parked = {place for _, place in places.get(mark.buffer, ())}
        return await self.room.audit.cpu.run(of_content, content, self.columns, told.time, parked)

    async def _again(self, told: Told, content: bytes, truth: Digest) -> None:
        """Out with its rows and its mark, and load the file once more."""
        if not truth.rows:
            self.leave(told, "no row of its archive file fits the table as it is now")
            return
        table, found = self.question.table, await self._rows(told)
        if told.state == "loaded" and not found.rows:
            self.leave(told, "its rows were dropped meanwhile")
            return
        dbms = self.question.dbms
        await self.room.out.begin(dbms, table)
        fine = False
        try:
            await self.database.write(lambda connection: audits.take_out(connection, table, told.member, told.id))
            self.room.point("taken out")
            # Its entry goes on saying that it is loaded: one without a mark is loaded from the archive.
            fine = await self._load(told, content)
        except AnyLogError as why:
            self.leave(told, f"its rows are out until its database is compared with the archive again: {why}")
        finally:
            if not fine:
                self.room.compare(dbms)
            self.room.out.end(dbms, table)
        if not fine:
            return
        now = await self._rows(told)
        if truth is not UNKNOWN and not truth.same(now):
            self.leave(told, f"it was loaded again, and has {now.rows} rows that still differ from its archive file")
            return
        self.report.loaded.append(self.name(told))
        self._elsewhere(evolve(told, rows=now.rows, value=now.value, exact=now.exact))

    async def _rows(self, told: Told) -> Digest:
        """Its rows as they are now."""
        times = {told.id: told.time}
        found = await of_files(self.database, self.room.audit.cpu, self.question.table, told.member, times)
        return found.get(told.id, NOTHING)

    async def _load(self, told: Told, content: bytes) -> bool:
        """From the archive, as a recovery does it. False if it was left. Raises AnyLogError 63 without a file."""
        path = await self.room.audit.path(self.options, told)
        if path is None:  # it may have moved on between a look at one directory and one at the other
            self.room.audit.forget()
            path = await self.room.audit.path(self.options, told)
        if path is None:
            raise AnyLogError(63, "its archive file is not found any more")
        outcome = await self.room.bring(
            WholeFile(
                path=path, dbms=self.question.dbms, table=self.question.table, source=told.source,
                instructions=told.instructions, hash=told.hash, rows=read_body(content), normal=content, stamp=(0, 0),
                member=str(told.member), id=told.id, date=digits(told.time), archived=True,
            )
        )  # fmt: skip
        if outcome.kind == "failed":
            self.leave(told, f"not loaded again: {outcome.text}")
        return outcome.kind != "failed"

    async def missing(self, own: Sequence[Told]) -> None:
        """What others have loaded, and this node has not: from its own archive, or from them."""
        contents: dict[str, list[Told]] = {}
        for each in own:
            contents.setdefault(each.hash, []).append(each)
        for hash in sorted(self.others):
            here = best(contents.get(hash, ()))
            holders = [each for _, each in sorted(self.others[hash].items()) if each.state == "loaded"]
            if not holders or (here is not None and here.state in ("loaded", "dropped", "lost", "pending")):
                continue
            if hash in self.room.in_work():
                continue
            if await self._came(hash):
                continue
            try:
                await self._miss(holders[0])
            except (AnyLogError, OSError) as why:
                self.leave(holders[0], str(why))

    async def _came(self, hash: str) -> bool:
        """Whether it was loaded here since this node was looked at, as what others bring is."""
        marks = await self.database.hash_marks([hash])
        if any(mark.rows for mark in marks.values()):
            return True
        tsd = self.room.audit.tsd()  # which knows the content of a stream
        entries = await tsd.by_hash([hash]) if tsd is not None else {}
        return any(entry.rows for _, entry in entries.get(hash, ()))

    async def _miss(self, told: Told) -> None:
        disk, lane = self.room.audit.disk, self.room.audit.lane
        path = await self.room.audit.path(self.options, told)
        if path is not None:
            (outcome,) = await lane.run(disk.batch, [Read(path, ARCHIVED)])
            data = None if isinstance(outcome, OSError) else outcome[0]
            content = None if data is None else await self.room.audit.cpu.run(self._checked, told, path, data)
            if content is not None:
                if await self._load(told, content):
                    self.report.loaded.append(self.name(told))
                return
        content, why = await self._from_others(told)
        if content is None:
            self.leave(told, f"missing here, {why}")
            return
        # Through the watch directory, from where it goes on after a kill, too.
        named = name_of(self.question.dbms, self.question.table, told).having(compressed=True)
        (outcome,) = await lane.run(disk.batch, [Publish(self.room.watch() / str(named), content, True)])
        if isinstance(outcome, OSError):
            raise outcome
        self.report.fetched.append(self.name(told))
