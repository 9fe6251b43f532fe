"""Takes files that other members of the cluster deliver: the kind `deliver` (operator-ha.md 6.1).

What is told to be taken is synced in the watch directory, and goes from there the way of all files. The look-up here
only spares work: that nothing is loaded twice is decided by the unique marks of the databases.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from attrs import define, field, frozen
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.databases.tsd import DROPPED, DUPLICATE, OWN, Entry, Tsd
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Disk, ILane, Publish, Reply
from anylog.processes.files import LARGEST
from anylog.processes.operator import Operator
from anylog.waiting import deferring

FILES = 256  # of one question
MANY, MUCH = 128, 1 << 20  # files or bytes of one question which are not held up by those that came before
WAITING = 4096  # files that were delivered and wait to be taken, beyond which no more come
KNOWN, TAKEN = "known", "taken"
_GZIP = b"\x1f\x8b"


@frozen(kw_only=True, eq=False)
class Delivered:
    """One file of a question."""

    given: str  # its name, as it came
    data: bytes
    name: FileName | None = None
    refusal: AnyLogError | None = None


@define(kw_only=True, eq=False)
class Delivery:
    """Handler of the kind `deliver`.

    Question: files ([name, bytes] of each), and the bytes of all of them behind each other. Reply: told, a text for
    each: taken, known, or the number of an error and why it is refused. Fails with AnyLogError 21 for a question that
    is none, 29, 203, 212, 502 or 503; then nothing was taken.
    """

    _disk: Disk
    _lane: ILane  # of the disk
    _operator: Callable[[], Operator | None]  # the one that runs
    _tsd: Callable[[], Tsd | None]
    _members: Callable[[], Collection[int]]  # of the own cluster, the own one included
    _trusted: Callable[[Asker], bool]  # whether files are taken from that node
    # Whether there are files of a member here, which may have left the cluster.
    _departed: Callable[[int], bool] = field(default=lambda member: False)
    missed: Callable[[], None] = field(default=lambda: None)  # told of files that could not be taken now
    point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    log = Logger()

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        if not self._trusted(asker):
            self.counts.add("strangers", last=asker.address or asker.host)
            raise AnyLogError(212, f"{asker.address or asker.host} is not in the cluster of this node")
        try:
            operator, tsd = self._ready()
        except AnyLogError:
            self.missed()
            raise
        given = read_question(head, body)
        many = len(given) >= MANY or len(body) >= MUCH
        with operator.watch.precedence.given() if many else nullcontext():
            files = [self._checked(each, operator) for each in given]
            told = await self._take(files, operator, tsd)
        for file, text in zip(files, told, strict=True):
            self._count(file, text, asker)
        return Reply(head={"told": told})

    async def _take(self, files: Sequence[Delivered], operator: Operator, tsd: Tsd) -> list[str]:
        """What is told of each."""
        told = [_told(file.refusal) for file in files]
        wanted = {place: file.name for place, file in enumerate(files) if file.name is not None}
        entries = await self._entries(tsd, list(wanted.values()), operator.member())
        steps: dict[int, Publish] = {}
        for place, name in wanted.items():
            entry = entries.get((int(name.member), name.id))
            told[place] = KNOWN if _held(entry, name) else ""
            if not told[place] and entry is not None and int(name.member) == operator.member():
                told[place] = _told(self._own(entry, name))
            if not told[place]:
                steps[place] = Publish(operator.watch.options.folder / files[place].given, files[place].data)
        if steps:
            outcomes = await self._lane.run(self._disk.batch, list(steps.values()))
            for (place, step), outcome in zip(steps.items(), outcomes, strict=True):
                told[place] = _published(step, outcome)
            if any(isinstance(outcome, OSError) for outcome in outcomes):
                self.missed()
            self.point("delivered")
            taken = [(files[place].given, len(files[place].data)) for place in steps if told[place] == TAKEN]
            self._operator_of(operator).watch.delivered(taken)
        return told

    def _operator_of(self, operator: Operator) -> Operator:
        """The one that runs now: it may be another one than before a wait, of the same directory or not."""
        now = self._operator()
        same = now is not None and now.watch.options.folder == operator.watch.options.folder
        return now if now is not None and same else operator

    def _ready(self) -> tuple[Operator, Tsd]:
        """Who takes files here. Raises AnyLogError 29, 203, 502 or 503."""
        operator = self._operator()
        if operator is None:
            raise AnyLogError(203, "the operator does not run on this node")
        if not operator.options.given.get("update_tsd_info"):
            raise AnyLogError(29, "this node does not register files: use 'run operator where update_tsd_info = true'")
        tsd = self._tsd()
        if tsd is None:
            raise AnyLogError(502, "almgm.tsd_info is away on this node")
        if not operator.watch.ready or not operator.member():
            raise AnyLogError(502, "the operator of this node is starting, or stops")
        if operator.watch.holds:
            raise AnyLogError(503, operator.watch.holds)
        if operator.watch.directory.delivered >= WAITING or operator.watch.errors.full:
            raise AnyLogError(502, f"{operator.watch.directory.delivered:,} files that came before wait still")
        return operator, tsd

    def _checked(self, file: Delivered, operator: Operator) -> Delivered:
        """With its name read, or with what is wrong with it."""
        refusal: AnyLogError | None = None
        name: FileName | None = None
        try:
            name = FileName.parse(file.given)
            refusal = _wrong(name, file) or operator.watch.options.limits.refusal(name)
            member = int(name.member) if refusal is None else 0
            if refusal is None and member not in self._members() and not self._departed(member):
                refusal = AnyLogError(131, f"member {name.member} is not in the cluster of this node")
        except AnyLogError as wrong:
            refusal = wrong
        return Delivered(
            given=file.given, data=file.data, name=name if refusal is None else None, refusal=refusal
        )  # fmt: skip

    async def _entries(self, tsd: Tsd, names: Sequence[FileName], own: int) -> dict[tuple[int, int], Entry]:
        """What is known of them, by member and id."""
        ids: dict[int, list[int]] = {}
        for name in names:
            ids.setdefault(int(name.member), []).append(name.id)
        found: dict[tuple[int, int], Entry] = {}
        for member, wanted in sorted(ids.items()):
            into = OWN if member == own else f"tsd_{member}"
            for id, entry in (await tsd.by_ids(into, wanted)).items():
                found[member, id] = entry
        return found

    def _own(self, entry: Entry, name: FileName) -> AnyLogError | None:
        """A file of our own comes back: only if its content was lost here, and nothing else has its id."""
        if entry.hash == name.hash:
            return None
        return AnyLogError(86, f"TSD id conflict: {OWN} {entry.id} has the hash {entry.hash}")

    def _count(self, file: Delivered, text: str, asker: Asker) -> None:
        if text == TAKEN:
            self.counts.add("taken")
        elif text == KNOWN:
            self.counts.add("repeats", last=file.given)
        else:
            self.counts.add("refused", last=f"{file.given[:120]!a} of {asker.address or asker.host}: {text}")
            self.log.warn(
                "{file} of {peer} is not taken: {why}",
                file=ascii(file.given[:120]),
                peer=asker.address or asker.host,
                why=text,
            )


def read_question(head: Mapping[str, Any], body: bytes) -> list[Delivered]:
    """The files of a question, with their bytes. Raises AnyLogError 21."""
    files = head.get("files")
    if not isinstance(files, Sequence) or isinstance(files, str | bytes) or not 0 < len(files) <= FILES:
        raise AnyLogError(21, f"deliver: 'files' is a list of 1 to {FILES} names and sizes")
    found: list[Delivered] = []
    seen: set[str] = set()
    at = 0
    for each in files:
        name, size = each if isinstance(each, Sequence) and not isinstance(each, str) and len(each) == 2 else ("", 0)
        if not isinstance(name, str) or type(size) is not int or not 0 < size <= LARGEST:
            raise AnyLogError(21, f"deliver: {ascii(each)[:200]} is not a name and its size in bytes")
        if name in seen:
            raise AnyLogError(21, f"deliver: {name[:200]!a} is there twice")
        seen.add(name)
        found.append(Delivered(given=name, data=body[at : at + size]))
        at += size
    if at != len(body):
        raise AnyLogError(21, f"deliver: the files have {at:,} bytes in all, {len(body):,} came")
    return found


def _wrong(name: FileName, file: Delivered) -> AnyLogError | None:
    """What no file that a member registered is like."""
    if str(name) != file.given:
        return AnyLogError(119, f"a member calls this file {name}")
    if name.kind != "json" or not name.full or not name.member.isdecimal() or not name.date or name.hash == "0":
        return AnyLogError(119, "it does not say as which file of which member it is registered")
    if name.compressed != file.data.startswith(_GZIP):
        return AnyLogError(6, f"it is {'no' if name.compressed else 'a'} gzip file")
    return None


def _held(entry: Entry | None, name: FileName) -> bool:
    """Whether its rows are here, under its own entry or that of another file with this content; or were dropped."""
    if entry is None or entry.hash != name.hash:
        return False
    return bool(entry.rows) or entry.status1 == DUPLICATE or entry.status2 == DROPPED


def _told(refusal: AnyLogError | None) -> str:
    return f"{refusal.number} {refusal}" if refusal is not None else ""


def _published(step: Publish, outcome: Any) -> str:
    if isinstance(outcome, OSError):
        return _told(AnyLogError(14, f"{outcome.strerror or outcome}"))
    if outcome == "other":
        return _told(AnyLogError(86, f"another file called {step.path.name} waits to be loaded"))
    return TAKEN
