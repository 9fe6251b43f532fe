"""Files named `backup.*`: brought to every node whose policy type is `logger`, and kept there (operator-ha.md 6.4).

The sender keeps no notes: what lies in its distribution directory goes to all loggers once more after a start, and one
that has a file says so. A logger that is away gets it when it is back, as long as the sender is patient.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Disk, ILane, Publish, Reply, unix
from anylog.processes.courier import FILES, Brought, Courier
from anylog.processes.delivery import KNOWN, TAKEN, read_question
from anylog.waiting import deferring

BACKUP = "backup"  # how names of these files begin, and their place below the archive
PATIENCE = 24 * 3600.0  # seconds that a file waits for loggers that are away
MOST = 1000  # files that wait for loggers; of more the oldest wait no longer
AGAIN = (5.0, 10.0, 30.0, 60.0)  # seconds until a logger that refused is asked again
FLOOR = 64 << 20  # bytes of free disk that a logger keeps
LONGEST = 200  # characters of a name


def is_backup(name: str) -> bool:
    """Whether a file of that name is for loggers."""
    return name.split(".", 1)[0] == BACKUP


# ---------------------------------------------------------------------- at the sender


@define(eq=False)
class LoggerLine:
    """What goes to one logger."""

    address: str
    going: Deferred[None] | None = None
    refused: int = 0  # times in a row
    due: float = 0.0  # when it may be asked again
    files: int = 0
    errors: int = 0
    last_file: str = ""
    last_error: str = ""
    last_time: float = 0.0


@define(eq=False)
class _Waiting:
    since: float
    has: set[str] = field(factory=set)  # addresses of loggers that have it
    failed: Counter[str] = field(factory=Counter)  # times that it was not taken, by address


@define(kw_only=True, eq=False)
class Loggers:
    """Brings files of the distribution directory to loggers."""

    _clock: Clock
    _courier: Courier
    _loggers: Callable[[], Sequence[str]]  # addresses, by the ledger of now
    _active: Callable[[str], bool]
    _folder: Callable[[], Path]  # where the files lie
    _finished: Callable[[str], object]  # that file waits for nobody any more
    _say: Callable[[str, str], None]  # kind and text of an event
    lines: dict[str, LoggerLine] = field(factory=dict)
    _files: dict[str, _Waiting] = field(factory=dict)  # the oldest first
    _stopping: bool = False
    log = Logger()

    @property
    def any(self) -> bool:
        """Whether the ledger has a logger."""
        return bool(self._loggers())

    def add(self, name: str) -> None:
        """A file is there."""
        self._files.setdefault(name, _Waiting(self._clock.seconds()))

    def keep_only(self, there: Collection[str]) -> list[str]:
        """Somebody removed the others; gives their names."""
        gone = [name for name in self._files if name not in there]
        for name in gone:
            del self._files[name]
        return gone

    def look(self) -> None:
        """What is to be sent now, and what waits no longer."""
        if self._stopping:
            return
        now, loggers = self._clock.seconds(), set(self._loggers())
        for name, file in list(self._files.items()):
            left = loggers - file.has
            if left and now - file.since < PATIENCE and len(self._files) <= MOST:
                continue
            del self._files[name]
            if left:
                self._say("Error", f"{ascii(name)[1:-1]} goes to the archive: no logger at {', '.join(sorted(left))}")
            self._finished(name)
        self.lines = {address: line for address, line in self.lines.items() if address in loggers or line.going}
        for address in sorted(loggers):
            line = self.lines.setdefault(address, LoggerLine(address))
            names = [name for name, file in self._files.items() if address not in file.has]
            names.sort(key=lambda name: self._files[name].failed[address])  # what fails again holds up no others
            if names and line.going is None and now >= line.due and self._active(address):
                self._begin(line, names[:FILES])

    def _begin(self, line: LoggerLine, names: Sequence[str]) -> None:
        going = self._send(line, names)
        going.addErrback(lambda failure: failure.trap(CancelledError) and None)
        if not going.called:  # as it is if the lane takes nothing
            line.going = going

    @deferring
    async def _send(self, line: LoggerLine, names: Sequence[str]) -> None:
        folder, before = self._folder(), line.errors

        def told(path: Path, what: Brought) -> None:
            line.last_time, line.last_file = unix(self._clock), path.name
            if what.kind == "failed":
                line.errors, line.last_error = line.errors + 1, what.why
                if path.name in self._files:
                    self._files[path.name].failed[line.address] += 1
            else:
                line.files += 1
                if path.name in self._files:
                    self._files[path.name].has.add(line.address)

        try:
            await self._courier.send(line.address, [folder / name for name in names], told)
        except (AnyLogError, OSError) as why:
            line.errors, line.last_error = line.errors + 1, str(why)
        finally:
            line.going = None
            if line.errors > before:
                line.due = self._clock.seconds() + AGAIN[min(line.refused, len(AGAIN) - 1)]
                line.refused += 1
            else:
                line.refused = 0
        self.look()

    def stop(self) -> list[Deferred[None]]:
        """Nothing more is sent; gives what is on its way."""
        self._stopping = True
        return [line.going for line in self.lines.values() if line.going is not None]


# ---------------------------------------------------------------------- at the logger


@define(kw_only=True, eq=False)
class Backups:
    """Handler of the kind `backup`.

    Question: files ([name, bytes] of each), and the bytes of all of them behind each other. Reply: told, a text for
    each: taken (it is synced), known, or the number of an error and why it is refused. Fails with AnyLogError 21 for a
    question that is none, 63, 203, 212 or 503; then nothing was taken.
    """

    _disk: Disk
    _lane: ILane  # of the disk
    _folder: Callable[[], Path]  # where they are kept, each node's in a folder of its own
    _logger: Callable[[], bool]  # whether this node is one
    _sender: Callable[[Asker], str]  # what the folder of a node is called; empty: it is no node of the ledger
    point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    log = Logger()

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        who = asker.address or asker.host
        sender = self._sender(asker)
        if not sender:
            self.counts.add("strangers", last=who)
            raise AnyLogError(212, f"{who} is no node of the ledger")
        if not self._logger():
            raise AnyLogError(203, "this node is no logger: no policy of that type has its address")
        files = read_question(head, body)
        folder = self._folder() / sender
        told = ["" if _good(each.given) else f"119 {each.given[:LONGEST]!a} is no name of a backup" for each in files]
        steps = {
            place: Publish(folder / files[place].given, files[place].data) for place, t in enumerate(told) if not t
        }
        try:
            outcomes = await self._lane.run(_keep, self._disk, folder, list(steps.values())) if steps else []
        except OSError as why:
            raise AnyLogError(63, f"{folder}: {why.strerror or why}") from None
        self.point("backed up")
        for place, outcome in zip(steps, outcomes, strict=True):
            told[place] = outcome
        for each, text in zip(files, told, strict=True):
            kind = {TAKEN: "taken", KNOWN: "repeats"}.get(text, "refused")
            self.counts.add(kind, last=f"{each.given[:LONGEST]!a} of {who}: {text}")
        return Reply(head={"told": told})


def _good(name: str) -> bool:
    plain = name.isprintable() and "/" not in name and "\\" not in name
    return plain and is_backup(name) and 0 < len(name.encode()) <= LONGEST


def _keep(disk: Disk, folder: Path, steps: Sequence[Publish]) -> list[str]:
    """In a lane: what is told of each. One of a name that has another content is kept under its hash, too. Raises
    AnyLogError 503."""
    disk.make(folder)
    size, free = sum(len(step.data) for step in steps), disk.free(folder)
    if free < FLOOR + size:
        raise AnyLogError(503, f"{free:,} bytes of disk are free, {FLOOR + size:,} are needed")
    told = []
    for step, outcome in zip(steps, disk.batch(list(steps)), strict=True):
        if outcome == "other":
            digest = hashlib.blake2b(step.data, digest_size=8).hexdigest()
            (outcome,) = disk.batch([Publish(folder / f"{digest}.{step.path.name}", step.data)])
        if isinstance(outcome, OSError):
            told.append(f"14 {outcome.strerror or outcome}")
        else:
            told.append(KNOWN if outcome == "same" else TAKEN)
    return told
