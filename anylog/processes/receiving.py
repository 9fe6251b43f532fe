"""Takes files that publishers send: the kind `publish` (operator-ha.md 5).

What is told to be taken is synced in the watch directory, as if it had been put there; from there on it is a file of
this member's own. The look-up here only keeps repeats out of the error directory: that nothing is loaded twice is
decided by the unique marks of the databases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.databases.tsd import DROPPED, Entry, Tsd
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Disk, ILane, Publish, Reply
from anylog.processes.delivery import KNOWN, TAKEN, WAITING, Delivered, read_question
from anylog.processes.operator import Operator
from anylog.waiting import deferring

_GZIP = b"\x1f\x8b"


@define(kw_only=True, eq=False)
class Receiving:
    """Handler of the kind `publish`.

    Question: files ([name, bytes] of each), and the bytes of all of them behind each other. Reply: told, a text for
    each: taken, known, or the number of an error and why it is refused. Fails with AnyLogError 21 for a question that
    is none, 203, 212, 502, 503 or 509; then nothing was taken.
    """

    _disk: Disk
    _lane: ILane  # of the disk
    _operator: Callable[[], Operator | None]  # the one that runs
    _tsd: Callable[[], Tsd | None]
    _coming: Callable[[], Mapping[str, bool]]  # hashes of the files on their way, and whether they are safe here
    _trusted: Callable[[Asker], bool]  # whether files are taken from that node
    point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    log = Logger()

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        who = asker.address or asker.host
        if not self._trusted(asker):
            self.counts.add("strangers", last=who)
            raise AnyLogError(212, f"{who} is no node of the ledger: a publisher needs a policy of its own")
        operator = self._ready()
        files = [_checked(each, operator) for each in read_question(head, body)]
        told = await self._take(files, operator)
        for file, text in zip(files, told, strict=True):
            kind = {TAKEN: "taken", KNOWN: "repeats"}.get(text, "refused")
            self.counts.add(kind, last=f"{file.given[:120]!a} of {who}" + (f": {text}" if kind == "refused" else ""))
        return Reply(head={"told": told})

    def _ready(self) -> Operator:
        """Who takes files here. Raises AnyLogError 203, 502, 503 or 509."""
        operator = self._operator()
        if operator is None:
            raise AnyLogError(203, "the operator does not run on this node")
        if told := operator.astray:
            raise AnyLogError(509, told)
        if not operator.watch.ready:
            raise AnyLogError(502, "the operator of this node is starting, or stops")
        if operator.options.given.get("update_tsd_info") and self._tsd() is None:
            raise AnyLogError(502, "almgm.tsd_info is away on this node")
        if operator.watch.holds:
            raise AnyLogError(503, operator.watch.holds)
        if operator.watch.directory.delivered >= WAITING or operator.watch.errors.full:
            raise AnyLogError(502, f"{operator.watch.directory.delivered:,} files that came before wait still")
        return operator

    async def _take(self, files: Sequence[Delivered], operator: Operator) -> list[str]:
        """What is told of each."""
        told = [f"{each.refusal.number} {each.refusal}" if each.refusal is not None else "" for each in files]
        names = {place: each.name for place, each in enumerate(files) if each.name is not None}
        registered = operator.options.given.get("update_tsd_info")
        tsd = self._tsd() if registered else None
        entries = await tsd.by_hash([name.hash for name in names.values()]) if tsd is not None and names else {}
        coming = self._coming() if tsd is not None else {}
        steps: dict[int, Publish] = {}
        for place, name in names.items():
            if any(_held(entry, name) for _, entry in entries.get(name.hash, ())):
                told[place] = KNOWN
            elif coming.get(name.hash):
                told[place] = TAKEN  # it lies in the watch directory or in the journal, synced, and is being loaded
            elif name.hash in coming:
                # A number that keeps it with this cluster: a publisher comes with it again, and there it is known.
                told[place] = "86 its content is coming in at this moment, and is not safe yet"
            else:
                steps[place] = Publish(operator.watch.options.folder / files[place].given, files[place].data)
        if not steps:
            return told
        outcomes = await self._lane.run(self._disk.batch, list(steps.values()))
        taken = []
        for (place, step), outcome in zip(steps.items(), outcomes, strict=True):
            if isinstance(outcome, OSError):
                told[place] = f"14 {outcome.strerror or outcome}"
            elif outcome == "other":
                told[place] = f"86 another file called {step.path.name} waits to be loaded"
            else:
                told[place] = TAKEN
                taken.append((step.path.name, len(step.data)))
        self.point("received")
        now = self._operator()
        if now is not None and now.watch.options.folder == operator.watch.options.folder:
            now.watch.delivered(taken)
        return told


def _checked(file: Delivered, operator: Operator) -> Delivered:
    """With its name read, or with what is wrong with it."""
    try:
        name = FileName.parse(file.given)
        if str(name) != file.given or name.kind != "json" or name.full or name.member or name.hash == "0":
            raise AnyLogError(119, "a publisher names a file by database, table, source, hash and instructions")
        if name.compressed != file.data.startswith(_GZIP):
            raise AnyLogError(6, f"it is {'no' if name.compressed else 'a'} gzip file")
        refusal = operator.watch.options.limits.refusal(name)
    except AnyLogError as wrong:
        return evolve(file, refusal=wrong)
    return evolve(file, name=name) if refusal is None else evolve(file, refusal=refusal)


def _held(entry: Entry, name: FileName) -> bool:
    """Whether its rows are here, or were and were dropped on purpose."""
    if (entry.dbms, entry.table) != (name.dbms, name.table):
        return False
    return bool(entry.rows) or entry.status2 == DROPPED
