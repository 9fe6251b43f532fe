"""Two databases without a common commit are compared when both are there (hard-parts.md 2.3, operator-ha.md 3.4).

Counts and sums of each table first; line by line only where they differ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from attrs import define, evolve, field
from twisted.logger import Logger

from anylog.databases.returned import note_later
from anylog.databases.tsd import DROPPED, FOREIGN_IDS, OWN, Done, Entry, Tsd, Wanted
from anylog.databases.unlisted import note_listed, unlisted_above
from anylog.disk.archive import folder_of, highest_id, ids_in
from anylog.disk.names import FileName, error_name
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, IDatabase, ILane, Mark, Move, unix
from anylog.mapping.body import read_body
from anylog.processes.others import Others
from anylog.processes.registry import PLACEHOLDER, Registry, member_of_table, table_of_member
from anylog.processes.streamed import Damaged, Named, Streamed, digits, read_again
from anylog.processes.unlisted import Unlisted
from anylog.processes.unread import Unread
from anylog.processes.whole import FilingOptions, Outcome, WholeFile
from anylog.waiting import deferring, gather

PAGE = 1000  # lines looked at together
KEPT = 8  # directories whose names are remembered during a comparison
TOGETHER = 32  # files that are loaded again at the same time
MISSING = "01"  # status 1: its file is not in the archive
UNREAD = "archived files that cannot be read"  # one of what `compare` gives
UNMADE = "streams without rows here until they are files"  # another
UNTOLD = "streams of which the other members have to tell first"  # a third
GONE = "03"  # status 1: never loaded
USABLE_IDS = FOREIGN_IDS - (1 << 48)  # ids of our own are below, with room for all that are given after them


class Marked(IDatabase, Protocol):
    """A database that says what it holds."""

    @property
    def lasting(self) -> bool:
        """Whether it is kept on disk; one in memory is empty after each start, and nothing is lost by that."""

    def mark_sums(self, member: int) -> Awaitable[dict[str, tuple[int, int, int]]]:
        """Table -> files of a member that hold rows, their rows, the sum of their ids."""

    def mark_lines(self, member: int, table: str, after: int, most: int) -> Awaitable[list[Mark]]:
        """Marks of a member's files, by id."""

    def mark_members(self) -> Awaitable[list[int]]:
        """The members of whose files something is loaded here."""

    def highest_mark(self, member: int) -> Awaitable[int]:
        """The highest id of a file of that member."""

    def rows_of(self, table: str, member: int, id: int) -> Awaitable[list[dict[str, Any]]]:
        """The rows of one file in their order of arrival."""

    def undo(self, table: str, member: int, id: int) -> Awaitable[None]:
        """Forget the rows and the mark of one file."""


@define(kw_only=True, eq=False)
class Recovery:
    """Brings tables of files, marks and archive into agreement."""

    clock: Clock
    disk: Disk
    lane: ILane
    registry: Registry
    bring: Callable[[WholeFile], Awaitable[Outcome]]
    in_work: Callable[[], Set[str]]  # names of the buffers and hashes of the files that are on their way
    # The last id of our own files that each other member knows, None of one that does not tell (operator-ha.md 8.3).
    known_by_members: Callable[[], Awaitable[list[int | None]]] = field(default=lambda: _nobody())
    # Told before anything is given up here that other members may have: this member is not complete then.
    lacking: Callable[[int], Awaitable[None]] = field(default=lambda member: _nothing())
    # The names of the files that wait in the watch directory.
    waiting: Callable[[], Awaitable[Sequence[str]]] = field(default=lambda: _nobody())
    others: Others = field(factory=Others)
    since: dict[tuple[str, int], float] = field(factory=dict)  # streams that wait for what the others tell
    log = Logger()

    async def see_ids(self, databases: Sequence[Marked], options: FilingOptions, *, files: bool = True) -> None:
        """Ids go on above all that was ever given here, as far as anybody knows of it: marks, files, other members.

        Called before anything is registered; `files`: look at files, too, in the archive and before it, and at those
        that failed. Raises AnyLogError.
        """
        tsd, member = self.registry.tsd, self.registry.member()
        today = f"{datetime.fromtimestamp(unix(self.clock), UTC):%y%m%d}"
        ids: list[int] = []
        try:
            if files:
                # In the order in which files move: one on its way is seen before, or after, and never missed.
                # What failed has an id of ours in its name, and comes back under that name.
                for folder in (options.watch_dir, options.err_dir, options.distr_dir):
                    if folder is not None:
                        ids += await self.lane.run(_own_ids, self.disk, folder, member)
                ids.append(await self.lane.run(highest_id, self.disk, options.archive_dir, member, today, USABLE_IDS))
        except OSError as fault:
            raise AnyLogError(63, f"{fault.filename or options.archive_dir}: {fault.strerror or fault}") from None
        ids += [await database.highest_mark(member) for database in databases if database.lasting]
        known: list[int | None] = []
        if self.registry.sure is not tsd:
            known = await self.known_by_members()
        # A file may be called anything, and a member may say anything: ids of which nothing can follow are nobody's.
        told = [*ids, self.registry.highest(), *(id for id in known if id is not None)]
        highest = max((id for id in told if id < USABLE_IDS), default=0)
        last = await tsd.last_id()
        if any(id is not None and last < id < USABLE_IDS for id in known):
            await self.lacking(member)  # what has these ids is not here
            await note_later(tsd, max([last, *(id for id in ids if id < USABLE_IDS)]) + 1)
        elif None in known:
            await note_later(tsd, max([last, *(id for id in ids if id < USABLE_IDS)]) + 1)
        lost = highest > last or (not last and bool(known))
        if lost or None in known:
            # `almgm` was lost, or is an older copy; or it may be, and who could tell does not. Others may know ids
            # that are higher still, and of a life before this one there may be files that reached nobody.
            await tsd.ids_beyond(max(highest, last), lost)

    async def compare(self, name: str, database: Marked, options: FilingOptions) -> dict[str, int]:
        """Look at one database; gives what had to be done, and how often. Raises AnyLogError if it cannot be done."""
        if not database.lasting or not options.tsd:
            return {}
        tsd, member = self.registry.tsd, self.registry.member()
        await self.see_ids([database], options, files=self.registry.sure is not tsd)
        done: dict[str, int] = {}
        comparisons: dict[int, _Comparison] = {}
        owners = {member_of_table(into, member) for into in await tsd.tables()}
        for owner in sorted(owners | set(await database.mark_members()), key=lambda each: (each != member, each)):
            if not owner and not member:
                continue  # what was loaded without being registered
            one = comparisons[owner] = await self._comparison(name, database, options, member, owner, done)
            await one.pending()
            counted, held = await tsd.sums(one.into, name), await database.mark_sums(owner)
            for table in sorted(counted.keys() | held.keys()):
                if counted.get(table) != held.get(table):
                    await one.table(table)
        for into, entry in await tsd.leaning(name):
            owner = member_of_table(into, member)
            if owner not in comparisons:
                comparisons[owner] = await self._comparison(name, database, options, member, owner, done)
            await comparisons[owner].leaning(entry)
        await self._unlisted(name, database, options, member, done)
        if done:
            told = ", ".join(f"{times} {what}" for what, times in sorted(done.items()))
            self.log.warn("{name} and almgm were brought into agreement: {told}", name=name, told=told)
        return done

    async def _unlisted(
        self, name: str, database: Marked, options: FilingOptions, member: int, done: dict[str, int]
    ) -> None:  # fmt: skip
        """After a loss of `almgm`: what has neither entry nor mark is registered again and loaded from the archive."""
        tsd = self.registry.tsd
        above = await unlisted_above(tsd.database, name)
        if above is None or not member:
            return
        comparisons: dict[int, _Comparison] = {}

        async def load(owner: int, entry: Entry, path: Path) -> None:
            one = comparisons.get(owner)
            if one is None:
                one = comparisons[owner] = _Comparison(
                    room=self, name=name, database=database, options=options, tsd=tsd, member=member, owner=owner,
                    done=done,
                )  # fmt: skip
            await one.again(entry, path, "found in the archive alone")

        found = Unlisted(
            disk=self.disk, lane=self.lane, tsd=tsd, member=member, dbms=name, options=options, busy=self.registry.has,
            load=load,
        )  # fmt: skip
        if not await found.load(above):
            done[UNREAD] = done.get(UNREAD, 0) + 1  # it is looked at again in a while
        elif UNREAD not in done:
            self.registry.still(member)
            await note_listed(tsd.database, name, above)

    async def _comparison(
        self, name: str, database: Marked, options: FilingOptions, member: int, owner: int, done: dict[str, int]
    ) -> _Comparison:
        """With what waits for the distributor now: looked at before any of the archive, where these files move."""
        one = _Comparison(
            room=self, name=name, database=database, options=options, tsd=self.registry.tsd, member=member,
            owner=owner, done=done,
        )  # fmt: skip
        # Also of other owners: this node may have been another member before.
        one.waits = await one.names(options.distr_dir)
        return one

    async def orphans(self) -> int:
        """Registered before this start, and nobody has come with them since: they are never going to be loaded.

        Those of other members are forgotten: whoever misses them can ask for them again. What may be a file that waits
        in the watch directory is left as it is; gives how many these are. Raises AnyLogError.
        """
        tsd = self.registry.tsd
        found = await tsd.pending()  # first: what is taken from the directory meanwhile is in work below
        member = self.registry.member()
        waits = Unread.of(await self.waiting(), member) if found else Unread()
        held = await tsd.by_hash([entry.hash for _, entry in found])
        busy = self.in_work()
        left = [
            (into, entry)
            for into, entry in found
            if not self.registry.has(into, entry.id) and entry.hash.removeprefix(PLACEHOLDER) not in busy
        ]
        if self.registry.member() != member:
            return len(left)  # the tables are those of another: they are looked at anew
        gone = [
            (into, entry)
            for into, entry in left
            if not waits.may_be(into, entry) and (into != OWN or (entry.dbms, entry.id) not in self.since)
        ]
        useless = [
            (into, entry.id)
            for into, entry in gone  # own files that others have are asked for, too
            if into != OWN
            or entry.id in self.registry.returned
            or any(each.rows for _, each in held.get(entry.hash, ()))
        ]
        told = "never loaded, and its source is gone"
        done = [
            # A stream that never became a file has the hash of any that failed: of when it was open it has none.
            Done(
                into=into,
                id=entry.id,
                rows=0,
                status1=GONE,
                status2=told,
                hash=entry.hash.replace(PLACEHOLDER, f"{GONE}:") if entry.hash.startswith(PLACEHOLDER) else "",
            )
            for into, entry in gone
            if (into, entry.id) not in useless
        ]
        if gone:
            await tsd.give_up(useless, done)  # but for those that were counted since they were looked at
        return len(left) - len(gone)


@define(kw_only=True, eq=False)
class _Comparison:
    """One database beside the table of the files of one member, the owner."""

    room: Recovery
    name: str
    database: Marked
    options: FilingOptions
    tsd: Tsd
    member: int
    owner: int
    done: dict[str, int] = field(factory=dict)
    # Id -> name of a file: what waited for the distributor at first, and what was found in the archive after that.
    waits: dict[int, str] = field(factory=dict)
    folders: dict[Path, dict[int, str]] = field(factory=dict)
    streamed: Streamed = field(init=False)
    log = Logger()

    def __attrs_post_init__(self) -> None:
        room = self.room
        self.streamed = Streamed(
            dbms=self.name, database=self.database, options=self.options, member=self.member, owner=self.owner,
            clock=room.clock, disk=room.disk, lane=room.lane, others=room.others, in_work=room.in_work,
            find=self._find, since=room.since,
        )  # fmt: skip

    @property
    def into(self) -> str:
        """The table of files. Raises AnyLogError 203 once it is that of another."""
        self.room.registry.still(self.member)
        return table_of_member(self.owner, self.member)

    def _note(self, what: str, times: int = 1) -> None:
        self.done[what] = self.done.get(what, 0) + times

    async def names(self, folder: Path) -> dict[int, str]:
        """Id -> name of the owner's files in a directory."""
        try:
            return await self.room.lane.run(ids_in, self.room.disk, folder, self.owner)
        except OSError as fault:
            raise AnyLogError(63, f"{folder}: {fault.strerror or fault}") from None

    @deferring
    async def _find(self, date: str, id: int) -> Path | None:
        """Its file: in the archive, or where it waited for the distributor if it is our own."""
        folder = folder_of(self.options.archive_dir, date)
        names = self.folders.get(folder)
        if names is None:
            if len(self.folders) > KEPT:
                self.folders.pop(next(iter(self.folders)))
            names = self.folders[folder] = await self.names(folder)
        if id in names:
            return folder / names[id]
        return self.options.distr_dir / self.waits[id] if id in self.waits else None

    async def table(self, table: str) -> None:
        """Line by line, a page of each side at a time, merged by id."""
        after = 0
        while True:
            entries = await self.tsd.lines(self.into, self.name, table, after, PAGE)
            marks = await self.database.mark_lines(self.owner, table, after, PAGE)
            if not entries and not marks:
                return
            ends = [page[-1].id for page in (entries, marks) if len(page) == PAGE]
            upto = min(ends) if ends else max(page[-1].id for page in (entries, marks) if page)
            known = {entry.id: entry for entry in entries if entry.id <= upto}
            loaded = {mark.id: mark for mark in marks if mark.id <= upto}
            await self._counts(known, loaded)
            await self._unknown([mark for id, mark in loaded.items() if id not in known and mark.rows])
            lost = [entry for id, entry in sorted(known.items()) if id not in loaded]
            for first in range(0, len(lost), TOGETHER):
                await gather([self._lost(entry) for entry in lost[first : first + TOGETHER]])
            after = upto

    async def _counts(self, known: Mapping[int, Entry], loaded: Mapping[int, Mark]) -> None:
        wrong: dict[int, int] = {}
        fewer: dict[int, tuple[Entry, Mark]] = {}
        for id, entry in known.items():
            mark = loaded.get(id)
            if mark is None or mark.rows == entry.rows:
                continue
            if self.room.registry.has(self.into, id):
                continue  # the journal has the rest of it, which is loaded now
            if mark.rows < entry.rows and await self._find(digits(entry.time), id) is not None:
                # An older copy, of when the buffer was open still: all of its file is loaded, or nothing.
                if mark.hash:
                    await self.database.undo(mark.table, self.owner, id)
                await self._lost(entry)
            elif mark.rows < entry.rows:
                fewer[id] = entry, mark
            else:
                wrong[id] = mark.rows
        if fewer:
            parts, alls = await self.streamed.in_part([mark for _, mark in fewer.values()])
            wrong |= {id: fewer[id][1].rows for id in alls}
            for id in parts:
                entry, mark = fewer[id]
                told = f"{mark.rows} of its {entry.rows} rows are here, and its file is not"
                done = Done(into=self.into, id=id, rows=0, status1=MISSING, status2=told)
                await self._missing(done, "here in part")
        if wrong:
            await self.tsd.finish([Done(into=self.into, id=id, rows=rows) for id, rows in wrong.items()])
            self._note("counts corrected", len(wrong))

    async def _unknown(self, marks: Sequence[Mark]) -> None:
        """Loaded, but `almgm` knows nothing of them: registered again from their marks, with the ids they had."""
        if not marks:
            return
        busy = self.room.in_work()  # first: what ends from here on is registered, but not found below
        there = await self.tsd.by_ids(self.into, [mark.id for mark in marks])
        await self._ask([mark for mark in marks if mark.id not in there and mark.buffer not in busy])
        for mark in marks:
            known = there.get(mark.id)
            if known is not None:
                await self._known(known, mark)
                continue
            if mark.buffer in busy:
                continue  # it is registered, and counted, when its file is there
            named = Named(mark.hash) if mark.hash else await self._named(mark)
            if not named.hash:
                continue
            wanted = Wanted(
                dbms=self.name,
                table=mark.table,
                source=mark.source,
                hash=named.hash,
                instructions=mark.instructions,
                id=mark.id,
                time=mark.time,
                into=self.into,
            )
            (found,) = await self.tsd.register([wanted])
            if (found.into, found.entry.id) != (self.into, mark.id):
                continue  # the same came again meanwhile, and is found to be loaded
            if found.kind == "conflict":
                self.log.error(
                    "{into} {id}: {table} was loaded with another hash", into=self.into, id=mark.id, table=mark.table
                )
                continue
            if named.whole:
                await self._count(found.entry, mark, "registered again")
            else:
                await self._in_part(found.entry, mark)

    async def _known(self, entry: Entry, mark: Mark) -> None:
        """Loaded, and its entry says that it is not: else it is on its way, and `pending` has looked at it."""
        if not entry.status1 or self.room.registry.has(self.into, mark.id):
            return
        if mark.hash == entry.hash:  # it was loaded after all, and the entry is an older copy
            await self.tsd.finish([Done(into=self.into, id=mark.id, rows=mark.rows)])
            self._note("counted")
        elif await self.streamed.is_left(mark, entry.status1 == MISSING):
            named = await self._named(mark)
            if named.hash and named.whole:  # else it is missing, and is asked for already
                await self._count(evolve(entry, hash=named.hash), mark)

    async def _ask(self, marks: Sequence[Mark]) -> None:
        """All at once of what has no file here and no hash."""
        files = [(await self._find(digits(mark.time), mark.id), mark) for mark in marks if not mark.hash]
        await self.streamed.ask([mark.id for path, mark in files if path is None])

    async def _named(self, mark: Mark) -> Named:
        named = await self.streamed.named(mark)
        if named.waits:
            self._note(UNTOLD)
        return named

    async def _in_part(self, entry: Entry, mark: Mark) -> None:
        told = f"{mark.rows} rows of it are here, and its file is not"
        done = Done(into=self.into, id=entry.id, rows=0, hash=entry.hash, status1=MISSING, status2=told)
        await self._missing(done, "here in part", pending=True)

    async def _missing(self, done: Done, told: str, *, pending: bool = False) -> None:
        """It comes back if somebody has its file. `pending`: unless that was loaded meanwhile."""
        await self.room.lacking(self.member)
        await (self.tsd.give_up([], [done]) if pending else self.tsd.finish([done]))
        await self.room.lacking(self.member)  # once more: a look at the others that fell between saw nothing of it
        self._note(told)

    async def _count(self, entry: Entry, mark: Mark, told: str = "counted") -> None:
        """Its rows are those of its mark, unless that is of when its buffer was open still, and there is its file."""
        try:
            path = await self.streamed.more_than(mark)
        except Damaged as damage:
            parts, alls = await self.streamed.in_part([mark])
            if parts:
                await self._damaged(entry, damage.path, damage.why)
            if not alls:
                return
            self.log.error("{why}", why=str(damage))
            path = None  # what is here is all there is
        except OSError as why:
            self.log.error("{path} cannot be read: {why}", path=why.filename, why=str(why))
            self._note(UNREAD)  # it stays pending, and is looked at again in a while
            return
        if path is None:
            await self.tsd.finish([Done(into=self.into, id=entry.id, rows=mark.rows, hash=entry.hash)])
            self._note(told)
            return
        # With its hash first: of what has none nobody would know that it can be loaded again.
        await self.tsd.finish([Done(into=self.into, id=entry.id, rows=0, hash=entry.hash)])
        await self.again(entry, path)

    @deferring
    async def _lost(self, entry: Entry) -> None:
        """Counted, but there is no mark: the user's database was lost or is an older copy. Its file is loaded again."""
        if entry.status2 == DROPPED:
            return
        date = digits(entry.time)
        path = await self._find(date, entry.id)
        if path is None and self.owner != self.member:
            await self.room.lacking(self.member)
            await self.tsd.forget([(self.into, entry.id)])  # missing: it can be had from others
            self._note("missing")
            return
        if path is None:
            told = f"its rows are lost, and its file is not in {folder_of(self.options.archive_dir, date)}"
            self.log.error(
                "{d}.{t} {into} {id}: {why}", into=self.into, d=entry.dbms, t=entry.table, id=entry.id, why=told
            )
            done = Done(into=self.into, id=entry.id, rows=0, status1=MISSING, status2=told)
            await self._missing(done, "lost without a file")
            return
        await self.again(entry, path)

    async def leaning(self, entry: Entry) -> None:
        """Its content was here under another entry, which holds it no more: its own file is loaded."""
        marks = await self.database.hash_marks([entry.hash])
        if any(mark.rows for mark in marks.values()):
            return  # held by what has no entry
        path = await self._find(digits(entry.time), entry.id)
        if path is not None:
            await self.again(entry, path)
        else:
            await self.room.lacking(self.member)
            await self.tsd.forget([(self.into, entry.id)])
            self._note("missing")

    async def again(self, entry: Entry, path: Path, told: str = "loaded again") -> None:
        """Load a file of the archive."""
        date = digits(entry.time)
        try:
            path, data, fine = await self.room.lane.run(
                read_again, self.room.disk, path, folder_of(self.options.archive_dir, date), entry, self.owner
            )
            if not fine:
                raise AnyLogError(6, f"its content is not that of the hash {entry.hash}")
            rows = read_body(data, most=len(data))
        except OSError as why:
            self.log.error("{path} cannot be read: {why}", path=path, why=str(why))
            self._note(UNREAD)
            return
        except AnyLogError as damage:
            if damage.number == 501:  # there may be nothing wrong with it
                self.log.error("{path} cannot be read: {why}", path=path, why=str(damage))
                self._note(UNREAD)
                return
            await self._damaged(entry, path, damage)
            return
        # Pending again first: what is counted would be taken for loaded.
        await self.tsd.finish([Done(into=self.into, id=entry.id, rows=0)])
        outcome = await self.room.bring(
            WholeFile(
                path=path, dbms=entry.dbms, table=entry.table, source=entry.source, instructions=entry.instructions,
                hash=entry.hash, rows=rows, normal=data, stamp=(0, 0), member=str(self.owner), id=entry.id, date=date,
                archived=True,
            )
        )  # fmt: skip
        if outcome.kind == "failed":
            await self.room.lacking(self.member)
        self._note(told if outcome.kind != "failed" else f"not loaded again ({outcome.text})")

    async def _damaged(self, entry: Entry, path: Path, damage: AnyLogError) -> None:
        """It makes room for a good copy, and is missing until that comes."""
        self.log.error("{path} is damaged: {why}", path=path, why=str(damage))
        self._note("damaged in the archive")
        await self.room.lacking(self.member)
        name = error_name(path.name, damage.number, unix(self.room.clock), ())
        moved = await self.room.lane.run(self.room.disk.batch, [Move(path, self.options.err_dir / name)])
        if isinstance(moved[0], OSError):
            self.log.warn("{path} stays: {why}", path=path, why=moved[0].strerror or str(moved[0]))
        if self.owner != self.member:
            await self.tsd.forget([(self.into, entry.id)])
        else:
            told = f"its rows are lost, and its file is damaged: {damage}"
            done = Done(into=self.into, id=entry.id, rows=0, hash=entry.hash, status1=MISSING, status2=told)
            await self.tsd.finish([done])
        await self.room.lacking(self.member)  # once more: a look at the others that fell between saw it here still

    async def pending(self) -> None:
        """Registered, not counted: those with a mark were loaded, and the node ended before it was counted; those
        without one whose file is archived were to be loaded again. What is in work with its hash may be its double."""
        found, busy = await self.tsd.pending(), self.room.in_work()
        waiting = [
            entry
            for into, entry in found
            if into == self.into
            and entry.dbms == self.name
            and not self.room.registry.has(into, entry.id)
            and (entry.hash not in busy or await self._find(digits(entry.time), entry.id) is not None)
            and not (entry.hash.startswith(PLACEHOLDER) and entry.hash.removeprefix(PLACEHOLDER) in busy)
        ]
        if waiting:  # what ended while they were read is counted by now, and its file may lie where none was seen
            now = await self.tsd.by_ids(self.into, [entry.id for entry in waiting])
            waiting = [now[entry.id] for entry in waiting if entry.id in now and now[entry.id].pending]
        # Loaded before this database came here: it gets those rows when there is a file of them.
        loaded = {
            (self.owner, entry.id): rows
            for into, entry in found
            if into == self.into and entry.dbms == self.name and (rows := self.room.registry.stored(into, entry.id))
        }
        asked = [*loaded, *((self.owner, entry.id) for entry in waiting)]
        marks = await self.database.file_marks(asked) if asked else {}
        if lacking := sum(file not in marks or marks[file].rows < rows for file, rows in loaded.items()):
            self._note(UNMADE, lacking)
        again: list[tuple[Entry, Path]] = []
        open = {entry.id for entry in waiting if entry.hash.startswith(PLACEHOLDER)}
        await self._ask([mark for mark in marks.values() if mark.rows and mark.id in open])
        for entry in waiting:
            mark = marks.get((self.owner, entry.id))
            if mark is None or not mark.rows:
                path = await self._find(digits(entry.time), entry.id)
                if path is not None and entry.hash.startswith(PLACEHOLDER):
                    # A copy of when it was open and nothing of it was in its table: its file has all of that.
                    entry = evolve(entry, hash=FileName.parse(path.name).hash)
                    await self.tsd.finish([Done(into=self.into, id=entry.id, rows=0, hash=entry.hash)])
                    if mark is not None:
                        await self.database.undo(mark.table, self.owner, mark.id)
                if path is not None:  # it was to be loaded from there once more
                    again.append((entry, path))
                continue
            named = Named(entry.hash)
            if entry.hash.startswith(PLACEHOLDER):
                named = await self._named(mark)
            elif await self._find(digits(entry.time), entry.id) is None:
                continue  # its file lies in the watch directory still, and is counted when it is archived
            if named.hash:
                entry = evolve(entry, hash=named.hash)
                await (self._count(entry, mark) if named.whole else self._in_part(entry, mark))
        for first in range(0, len(again), TOGETHER):
            await gather([self.again(entry, path) for entry, path in again[first : first + TOGETHER]])


def _own_ids(disk: Disk, folder: Path, member: int) -> list[int]:
    """In a lane: ids of this member in one directory, also of files that say with `@` that they are its own."""
    return [*ids_in(disk, folder, member), *ids_in(disk, folder, "@")]


async def _nobody() -> list[Any]:
    return []


async def _nothing() -> None:
    return None
