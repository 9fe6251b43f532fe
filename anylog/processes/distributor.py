"""The distributor: what this member took from its sources goes to the others of its cluster, then to the archive.

Files lie in the distribution directory until every other member that is active has them or has failed to take them
(operator-ha.md 6). What a member did not take it fetches itself later. Each member has a queue of its own, so that none
waits for another.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.disk.archive import folder_of, gunzip
from anylog.disk.names import FileName, error_name
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, Forget, ILane, Move, Publish, Read, unix
from anylog.language.logs import Logs
from anylog.process import WORKERS, Process, Rhythm
from anylog.processes.backups import BACKUP, Loggers, is_backup
from anylog.processes.courier import FILES, Brought, Courier
from anylog.processes.files import LARGEST
from anylog.processes.lying import printable
from anylog.waiting import deadline, deferring, gather

EVERY = 5.0  # seconds between two looks at the directory
AGAIN = 1.0  # and after the archive refused files
MOST = 20_000  # files that are known here; those beyond are found by a later look
AT_ONCE = 2  # questions to one member: while one is being synced there, the next is on its way
MANY = 64  # files that wait for a member from which on a second question is asked
TOGETHER = 256  # files moved in one go
PATIENCE = 10.0  # seconds that stopping waits for questions that are on their way
TOLD = 10_000  # names of which it was said that they are left alone
REMEMBERED = 5_000  # names of files that went to others


class Peer(Protocol):
    """Another operator of the cluster."""

    @property
    def member(self) -> int | None: ...

    @property
    def address(self) -> str: ...


@frozen(kw_only=True)
class Cluster:
    """Who this member is, and who the others are."""

    id: str
    member: int
    others: Sequence[Peer]
    departed: Callable[[int], bool] = lambda member: False  # whether files of that member are here, and it is none now


@frozen(kw_only=True)
class Folders:
    """Where files lie, and where they go."""

    distr: Path
    archive: Path
    errors: Path


@define(eq=False)
class Waiting:
    """A file of the distribution directory, or one that was archived before this process ran."""

    name: str
    parsed: FileName
    archived: Path | None = None  # where it lies, if it has its place already
    has: Collection[int] = ()  # members that fetched it before
    left: dict[str, None] = field(factory=dict)  # addresses of members that have not answered


@define(eq=False)
class Line:
    """What goes to one member."""

    address: str
    member: int
    queue: list[tuple[int, str, Waiting]] = field(factory=list)  # a heap: lower ids go first
    sending: int = 0  # how many questions are on their way
    going: list[Deferred[None]] = field(factory=list)  # who asks them
    files: int = 0
    errors: int = 0
    last_file: str = ""
    last_error: str = ""
    last_time: float = 0.0


class Distributor(Process):
    """Pushes files of this member to the other members."""

    name = "distributor"
    floor = WORKERS
    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        disk: Disk,
        lane: ILane,
        courier: Courier,
        cluster: Callable[[], Cluster | None],
        active: Callable[[str], bool],
        folders: Callable[[], Folders],
        logs: Logs,
        only: str = "",
        apart: Callable[[], str] = lambda: "",
        unpushed: Callable[[], Sequence[tuple[Path, Collection[int]]]] = lambda: (),
        went: dict[str, set[str]] | None = None,
        backups: Courier | None = None,
        loggers: Callable[[], Sequence[str]] = lambda: (),
        point: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`cluster` gives None until the node has a place; `only` is the id of the one cluster to work for; `apart`
        tells what the operator that runs has otherwise, so that its files do not come here; `unpushed` gives, once,
        files of the archive that no distributor knew of, and which members have them; `went`: to whom files went in
        this life of the node, by name, also from a distributor that was ended before it had their answers; `backups`
        brings files to nodes at the addresses of `loggers`."""
        self._clock, self._disk, self._lane, self._courier = clock, disk, lane, courier
        self._cluster, self._active, self._folders, self._logs = cluster, active, folders, logs
        self._only, self._apart, self._unpushed, self.point = only, apart, unpushed, point
        self.counts = Counts()
        self.lines: dict[str, Line] = {}
        self._files: dict[str, Waiting] = {}
        self._done: dict[str, Path] = {}  # name -> where it goes now
        self._told: dict[str, str] = {}  # name -> why it is left alone
        # name -> to whom it went. What is found again, as after a start in the middle, goes to nobody a second time.
        self._went: dict[str, set[str]] = {} if went is None else went
        self._gone: set[str] = set()  # archived since the last look began: its list may still have them
        self._moving: Deferred[None] | None = None
        self._stopping = False
        self._why = ""  # why nothing is done
        self._fault = ""  # what is wrong with the directory
        self._unmoved = ""  # why files cannot be archived
        self.loggers = Loggers(
            clock=clock, courier=backups or courier, loggers=loggers, active=active,
            folder=lambda: folders().distr, finished=self._backed_up, say=self._say,
        )  # fmt: skip
        self._rhythm = Rhythm(clock=clock, every=EVERY, do=self.look, name="distribution directory")

    # ------------------------------------------------------------------ starting and stopping

    def start(self) -> None:
        """Take what was left at the last end."""
        self._rhythm.start()
        self.look()

    @deferring
    async def stop(self) -> None:
        """Ask no more; who did not answer by then fetches it: it is not sent again in this life of the node."""
        self._stopping = True
        await self._rhythm.stop()
        going = [each for line in self.lines.values() for each in line.going] + self.loggers.stop()
        moving = [self._moving] if self._moving is not None else []
        waits = Deferred.fromCoroutine(gather([_watched(each) for each in (*going, *moving)]))
        try:
            await deadline(self._clock, PATIENCE, waits, "ending the questions on their way")
        except AnyLogError:
            for each in going:
                each.cancel()

    def describe(self) -> str:
        """As `get processes` shows it."""
        return self.status or f"Members: {len(self.lines)}, Files Waiting: {self.waiting}"

    @property
    def waiting(self) -> int:
        """Files that are not in the archive yet."""
        return len(self._files)

    @property
    def left(self) -> int:
        """Files of the distribution directory that are left alone, as they are not this member's."""
        return len(self._told.keys() - {BACKUP})

    @property
    def left_for(self) -> str:
        """One of them, and why it is; empty if there is none."""
        name = next((name for name in self._told if name != BACKUP), "")
        return f"{printable(name)}: {self._told[name]}" if name else ""

    @property
    def status(self) -> str:
        """Why nothing is done, or what goes wrong, or an empty text."""
        return self._why or self._fault or self._unmoved

    # ------------------------------------------------------------------ finding files

    def nudge(self, paths: Sequence[Path]) -> None:
        """Files that were published a moment ago."""
        folder = self._folders().distr
        self._add([path.name for path in paths if path.parent == folder])

    @deferring
    async def look(self) -> None:
        """At the whole directory."""
        if self._stopping or self._here() is None:
            return
        try:
            self._gone.clear()
            most = 5_000 + len(self._files) + len(self._told)
            entries = await self._lane.run(self._disk.entries, self._folders().distr, most)
        except (OSError, AnyLogError) as why:
            fault = f"{self._folders().distr} cannot be read: {getattr(why, 'strerror', None) or why}"
            if fault != self._fault:
                self._say("Error", fault)
            self._fault = fault
            return
        self._fault = ""
        if len(entries) < most:
            there = {entry.name for entry in entries}
            self._told = {name: why for name, why in self._told.items() if name in there or name == BACKUP}
            for name in self.loggers.keep_only(there):
                self._files.pop(name, None)
        names = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name in self._gone:
                continue
            if entry.kind == "file":
                names.append(entry.name)
            else:
                self._leave_alone(entry.name, "it is not a file")
        self._add(names)

    def _here(self) -> Cluster | None:
        """The cluster, if this node has its place in it and is to work for it."""
        here = self._cluster()
        why = ""
        if here is None:
            why = "waits for the operator, and its place in the ledger"
        elif self._only not in ("", here.id):
            why, here = f"this node is in cluster {here.id}, not in {self._only}", None
            if why != self._why:
                self._say("Error", f"nothing is distributed: {why}")
        elif why := self._apart():
            here = None
            if why != self._why:
                self._say("Error", f"nothing is distributed: {why}")
        self._why = why
        return here

    def _add(self, names: Sequence[str]) -> None:
        """Each that is new goes to all other members that are active; without any it is done."""
        here = self._here()
        if here is None or self._stopping:
            return
        others = [each for each in here.others if each.address and self._active(each.address)]
        new = {file.name: file for file in self._late(here)}
        for name in names:
            if name in self._files or name in self._told:
                continue
            if len(self._files) >= MOST:
                self.counts.add("left for a later look")
                break
            if is_backup(name):
                self._files[name] = Waiting(name, FileName(dbms=BACKUP, table=BACKUP))
                self.loggers.add(name)
                if not self.loggers.any and BACKUP not in self._told:
                    self._told[BACKUP] = "there is no logger node"
                    folder = self._folders().archive / BACKUP
                    self._say("Event", f"there is no logger node: {printable(name)} and others go to {folder}")
                continue
            parsed = self._own(name, here)
            if parsed is not None:  # also one that was made again in the archive: it must not stay here
                new[name] = Waiting(name, parsed, has=new[name].has if name in new else ())
        for file in sorted(new.values(), key=lambda each: (each.parsed.id, each.name)):
            self._files[file.name] = file
            for other in others:
                if other.member in file.has or other.address in self._went.get(file.name, ()):
                    continue
                line = self.lines.get(other.address)
                if line is None:
                    line = self.lines[other.address] = Line(other.address, other.member or 0)
                file.left[other.address] = None
                heappush(line.queue, (file.parsed.id, file.name, file))
            if not file.left:
                self._finish(file)
        for other in others:
            self._go_on(self.lines.get(other.address))
        for address in [address for address in self.lines if address not in {each.address for each in here.others}]:
            if not self.lines[address].sending:
                del self.lines[address]
        self.loggers.look()
        self._move_soon()

    def _backed_up(self, name: str) -> None:
        """All loggers have it, or it waits for them no longer."""
        self._done[name] = self._folders().archive / BACKUP / name
        self._move_soon()

    def _late(self, here: Cluster) -> list[Waiting]:
        """What was archived before this process ran, and is to be brought as well."""
        found = []
        for path, has in self._unpushed():
            parsed = FileName.parse(path.name)
            if path.name not in self._files and _of(parsed, here):
                found.append(Waiting(path.name, parsed, path, has))
        return found

    def _own(self, name: str, here: Cluster) -> FileName | None:
        """Its name read, if it is a file of this member, or of one that left, as whom this node may have registered it;
        others are left alone, which is said once."""
        try:
            parsed = FileName.parse(name)
        except AnyLogError as wrong:
            self._leave_alone(name, str(wrong))
            return None
        if str(parsed) == name and not parsed.full and parsed.member != "@":
            self._leave_alone(name, "it has no member and id: it was loaded while this node was no member")
        elif str(parsed) != name or parsed.kind != "json" or not parsed.full or not parsed.date:
            self._leave_alone(name, "it is not the name of a registered file")
        elif not _of(parsed, here):
            self._leave_alone(name, f"it is a file of member {parsed.member}, and this is member {here.member}")
        else:
            return parsed
        return None

    def _leave_alone(self, name: str, why: str) -> None:
        if name not in self._told:
            if len(self._told) >= TOLD:
                del self._told[next(iter(self._told))]
            self._told[name] = why
            self._say("File", f"{printable(name)} stays in the distribution directory: {why}")

    # ------------------------------------------------------------------ sending

    def _go_on(self, line: Line | None) -> None:
        while line is not None and not self._stopping and self._more(line, line.sending):
            self._begin(line)

    def _more(self, line: Line, others: int) -> bool:
        """Whether another question goes out beside so many; few files are no reason for a second one."""
        return len(line.queue) >= MANY if 0 < others < AT_ONCE else bool(line.queue) and not others

    def _begin(self, line: Line) -> None:
        line.sending += 1
        going = self._serve(line)
        line.going.append(going)
        going.addErrback(lambda failure: failure.trap(CancelledError) and None)
        going.addBoth(lambda _: line.going.remove(going))

    @deferring
    async def _serve(self, line: Line) -> None:
        """Those with the lowest ids first, until the queue of the member is empty, or the other asker sees to it."""
        try:
            while not self._stopping and self._more(line, line.sending - 1):
                files = [heappop(line.queue)[2] for _ in range(min(FILES, len(line.queue)))]
                why = await self._send(line, files)
                for file in files:
                    if line.address in file.left:
                        self._answered(line, file, Brought("failed", why))
        finally:
            line.sending -= 1

    async def _send(self, line: Line, files: Sequence[Waiting]) -> str:
        """Gives why those that were not answered for were not."""
        if not self._active(line.address):
            return "the member is not active"
        for file in files:
            self._went.setdefault(file.name, set()).add(line.address)
        while len(self._went) > REMEMBERED:
            del self._went[next(iter(self._went))]
        folder = self._folders().distr
        by_path = {file.archived or folder / file.name: file for file in files}
        try:
            await self._courier.send(
                line.address, list(by_path), lambda path, what: self._answered(line, by_path[path], what)
            )
        except (AnyLogError, OSError) as fault:  # of the lane, or of the disk
            return str(fault)
        except CancelledError:
            raise
        except Exception as stumble:  # a fault of ours over these files must not hold up what is behind them
            self.log.failure("files for {peer}", peer=line.address)
            return f"internal error: {stumble!r}"
        return ""

    def _answered(self, line: Line, file: Waiting, what: Brought) -> None:
        line.last_time, line.last_file = unix(self._clock), file.name
        if what.kind == "failed":
            line.errors += 1
            line.last_error = what.why
            self.counts.add("not taken", last=f"{line.address}: {file.name}: {what.why}")
        else:
            line.files += 1
            self.counts.add(what.kind)
        file.left.pop(line.address, None)
        if not file.left:
            self._finish(file)
            self._move_soon()

    # ------------------------------------------------------------------ to the archive

    def _finish(self, file: Waiting) -> None:
        """Everybody answered for."""
        if file.archived is not None:
            del self._files[file.name]
            return
        self._done[file.name] = folder_of(self._folders().archive, file.parsed.date) / file.name

    def _move_soon(self) -> None:
        if self._done and self._moving is None:
            self._moving = Deferred()
            self._clock.callLater(0, self._move)

    @deferring
    async def _move(self) -> None:
        ended = self._moving
        try:
            while self._done:
                some = [(name, self._done.pop(name)) for name in list(self._done)[:TOGETHER]]
                left = await self._move_some(some)
                if left:
                    self._done.update(left)
                    break
        finally:
            self._moving = None
            if ended is not None:
                ended.callback(None)
            if self._done and not self._stopping:
                self._clock.callLater(AGAIN, self._move_soon)

    async def _move_some(self, some: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
        """Gives those that have to be tried again."""
        folders = self._folders()
        try:
            outcomes = await self._lane.run(
                put_away, self._disk, folders, [(folders.distr / name, to) for name, to in some], unix(self._clock)
            )
        except (OSError, AnyLogError) as why:
            outcomes = [str(why)] * len(some)
        self.point("archived")
        left = []
        for (name, target), outcome in zip(some, outcomes, strict=True):
            if outcome and outcome != ASIDE:
                if self.counts.last("not archived") != outcome:
                    self._say("Error", f"{printable(name)} cannot be archived: {outcome}")
                self.counts.add("not archived", last=outcome)
                left.append((name, target))
                continue
            if outcome:
                self._say("Error", f"{target} is there with other content: the new file is in {folders.errors}")
            self.counts.add("archived")
            self._files.pop(name, None)
            self._gone.add(name)
        self._unmoved = f"files cannot be archived: {self.counts.last('not archived')}" if left else ""
        return left

    def _say(self, kind: str, text: str) -> None:
        self._logs.event.add(kind, text, "distributor")


def _of(parsed: FileName, here: Cluster) -> bool:
    """Whether a file is one of this member, or of one that left, as whom this node may have registered it."""
    return parsed.member == str(here.member) or (parsed.member.isdecimal() and here.departed(int(parsed.member)))


ASIDE = "aside"


def put_away(disk: Disk, folders: Folders, moves: Sequence[tuple[Path, Path]], now: float) -> list[str]:
    """In a lane: bring files to their places, never over another file. An empty text for each, or why it stays.

    An equal file there is as good; with another content the new file goes to the error directory: `ASIDE`.
    """
    for folder in dict.fromkeys(target.parent for _, target in moves):
        disk.make(folder)
    told = []
    for (source, target), outcome in zip(
        moves, disk.batch([Move(source, target) for source, target in moves]), strict=True
    ):
        if isinstance(outcome, OSError):
            try:
                told.append(_put_otherwise(disk, folders, source, target, outcome, now))
            except OSError as why:
                told.append(f"{target}: {why.strerror or why}")
        else:
            told.append("")
    return told


def _put_otherwise(disk: Disk, folders: Folders, source: Path, target: Path, fault: OSError, now: float) -> str:
    """It cannot be renamed: there is such a file, the archive is another file system, or somebody took it away."""
    if fault.errno == errno.ENOENT and source.name not in disk.names(source.parent):
        return ""
    if fault.errno not in (errno.EEXIST, errno.EXDEV):
        raise fault
    data = _read(disk, source)
    if fault.errno == errno.EXDEV:
        (outcome,) = disk.batch([Publish(target, data)])
        if isinstance(outcome, OSError):
            raise outcome
        equal = outcome != "other" or _plain(target, _read(disk, target)) == _plain(source, data)
    else:
        equal = _plain(target, _read(disk, target)) == _plain(source, data)
    if not equal:
        aside = folders.errors / error_name(source.name, 86, now, disk.names(folders.errors))
        (outcome,) = disk.batch([Publish(aside, data)])
        if isinstance(outcome, OSError):
            raise outcome
    (outcome,) = disk.batch([Forget(source)])
    if isinstance(outcome, OSError):
        raise outcome
    return "" if equal else ASIDE


def _read(disk: Disk, path: Path) -> bytes:
    (outcome,) = disk.batch([Read(path, LARGEST)])
    if isinstance(outcome, OSError):
        raise outcome
    return bytes(outcome[0])


def _plain(path: Path, data: bytes) -> bytes:
    """Unpacked: it may have been packed by another version of the packer."""
    try:
        return gunzip(data, LARGEST) if path.name.endswith(".gz") else data
    except AnyLogError:
        return data


def _watched(waited: Deferred[Any]) -> Deferred[None]:
    """Fires when that has ended, and takes nothing of it."""
    ended: Deferred[None] = Deferred()

    def over(result: Any) -> Any:
        ended.callback(None)
        return result

    waited.addBoth(over)
    return ended
