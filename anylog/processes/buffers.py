"""Open and cut buffers of readings, and what waits of each to be loaded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from anylog.disk.journal import Stored
from anylog.disk.records import BufferId
from anylog.processes.forms import Early, Size
from anylog.processes.thresholds import Threshold
from anylog.processes.whole import Outcome, WholeFile


@frozen
class Where:
    """Which buffer a reading belongs to (ingest.md 8.1)."""

    dbms: str
    table: str
    source: str = "0"
    instructions: str = "0"


@define(eq=False)
class Pending:
    """One journal record of readings that is not loaded yet."""

    stored: Stored | None  # None: it lies in the watch directory
    sequence: int  # its own, also after it was written again further on in the journal
    weight: int  # bytes
    rows: Sequence[Mapping[str, Any]] | None  # None: read them back when needed
    key: str = ""  # Idempotency-Key
    early: Early | None = None  # the rows as they go to the table; then `rows` is None
    tokens: Mapping[str, str] = field(factory=dict)  # of the messages in it, by key; see `accepting`

    def let_go(self) -> int:
        """Keep no rows in memory; gives the bytes that were held."""
        held = self.rows is not None or self.early is not None
        self.rows = self.early = None
        return self.weight if held else 0


@define(eq=False)
class Buffer:
    """A run of readings of one table: open until it is due, then cut, loaded, made into a file, and done.

    Its readings lie in the journal, or in `file`, which somebody put into the watch directory.
    """

    id: BufferId
    where: Where
    threshold: Threshold
    since: float  # seconds of the node's clock
    at: str  # UTC time of its first row, to the second: default of missing timestamps (hard-parts.md 4.1)
    whole: str = ""  # the hash, if it is one whole file
    filed: bool = False  # an operator keeps it as a file once it is loaded
    member: int = 0  # the member in whose table of files it is registered, 0 if it is not
    tsd: int = 0  # its id there, 0 until it is registered
    time: str = ""  # when it was registered, "YYYY-MM-DD HH:MM:SS.ffffff" UTC
    named: bool = False  # its id and time are those in the journal, and it is registered under them again
    noted: bool = False  # the journal has its id and time
    known_to: object = None  # the tables of files that know it
    file: WholeFile | None = None
    path: Path = Path()  # where `file` lies now
    published: bool = False  # it is not loaded here, but becomes a file that is sent to an operator
    recalled: bool = False  # read back from the journal after a start
    doubtful: bool = False  # its rows need a second look before they can be converted
    leaving: bool = False  # it is loaded, and with those that are made into files
    repeated: bool = False  # a delivery of what is loaded under this very name
    told: Deferred[Outcome] | None = None  # who waits for what becomes of `file`
    interrupted: bool = False  # whoever brought `file` was told to try again, with another buffer
    opened: bool = False  # its OPEN record is synced
    opening: list[Deferred[None]] = field(factory=list)  # who waits for that, where it was refused at first
    lost: bool = False  # it was refused again: nothing of it was promised
    volume: int = 0  # bytes of its readings as they came
    size: Size = field(factory=Size)  # of the file that it becomes
    rows: int = 0
    last: int = 0  # sequence of its newest record
    unsynced: int = 0  # records that are on their way to the disk
    applied: int = 0  # sequence up to which it is loaded
    stored: int = 0  # rows of it in the table
    parked: int = 0  # rows of it that fit no column
    # Why nothing of it is loaded, and in words; of a double: which entry holds its content.
    verdict: Literal["", "duplicate", "conflict", "failed", "double", "repeated", "skipped"] = ""
    fault: str = ""
    state: Literal["open", "cut", "done"] = "open"
    pending: deque[Pending] = field(factory=deque)  # not loaded yet
    records: list[Pending] = field(factory=list)  # all, until they are a file; none if it is not to be one
    original: bool | None = None  # of a whole file: whether it is as it came, not cut from a stream; None: unseen
    normal: list[bytes] | None = field(factory=list)  # the file as far as it is loaded; None: read the journal again

    def due(self, now: float) -> bool:
        """Whether its time is over."""
        return self.state == "open" and now - self.since >= self.threshold.time

    @property
    def loadable(self) -> bool:
        """Whether its rows may go to the table now (`write_immediate`, ingest.md 8.4)."""
        return self.threshold.write_immediate or self.state != "open"

    @property
    def becomes_file(self) -> bool:
        """Whether others are to read what is made of it."""
        return self.filed or self.published

    @property
    def finished(self) -> bool:
        """Cut, and everything of it is in the table."""
        return self.state == "cut" and not self.pending and not self.unsynced

    @property
    def known(self) -> bool:
        """Whether a member registered it before: it is a file under its full name."""
        return self.file is not None and self.file.known

    @property
    def unregistered(self) -> bool:
        """Whether it is to have its row in `almgm` before any of it is loaded."""
        return bool(self.member) and (self.named or not self.tsd)

    @property
    def owner(self) -> int:
        """The member that got it from a source, 0 if it is not registered: its rows are known by that."""
        if self.file is not None and self.file.known and self.member:
            return int(self.file.member)
        return self.member

    @property
    def key(self) -> str:
        """What its mark is known by: the same for the same readings, whenever they are loaded."""
        if self.file is None:
            return str(self.id)
        return f"file-{self.owner}.{self.tsd}" if self.tsd else f"hash-{self.whole}"

    @property
    def date(self) -> str:
        """The 12 digits of its file's name (ingest.md 9.1)."""
        at = self.time or self.at
        return at[2:4] + at[5:7] + at[8:10] + at[11:13] + at[14:16] + at[17:19]

    @property
    def safe(self) -> bool:
        """Whether any of it is where a power cut leaves it: of a whole file that is all."""
        kept = self.file is not None and (self.file.kept or self.file.archived)
        return bool(self.last or self.stored) or kept

    def registered(self, id: int, time: str) -> None:
        """It has its row in `almgm`; times that its rows lack are the time of that, on every member."""
        self.tsd, self.time, self.at, self.named = id, time, time[:19], False

    def description(self) -> dict[str, Any]:
        """What is to be known of it after a start; the body of its OPEN record, and of its CUT record, as JSON.

        With its id and time once it has them. A whole file is known by its hash, whatever id it gets.
        """
        registered = {"tsd": self.tsd, "time": self.time} if self.tsd and not self.whole else {}
        published = {"published": True} if self.published else {}
        return (
            registered
            | published
            | {
                "dbms": self.where.dbms,
                "table": self.where.table,
                "source": self.where.source,
                "instructions": self.where.instructions,
                "at": self.at,
                "whole": self.whole,
                "immediate": self.threshold.write_immediate,
                "filed": self.filed,
                "member": self.member,
            }
        )

    @classmethod
    def described(cls, id: BufferId, told: Mapping[str, Any], now: float) -> Buffer:
        """The buffer of a description read back after a start: no more rows come to it, so it counts as cut."""
        where = Where(told["dbms"], told["table"], told["source"], told["instructions"])
        tsd = told.get("tsd", 0)
        return cls(
            id,
            where,
            Threshold(),
            now,
            told["at"],
            told["whole"],
            told.get("filed", False),
            told.get("member", 0),
            tsd,
            told.get("time", ""),
            named=bool(tsd),
            noted=bool(tsd),
            published=told.get("published", False),
            recalled=True,
            opened=True,
            state="cut",
            normal=None,
        )


def coming(buffers: Iterable[Buffer]) -> dict[str, bool]:
    """The hash of each whole file among them -> whether it is safe here. Another may hold the same content."""
    found: dict[str, bool] = {}
    for buffer in buffers:
        if buffer.whole:
            found[buffer.whole] = buffer.safe or found.get(buffer.whole, False)
    return found


@define(eq=False)
class Drafts:
    """Files in memory while they grow: `most` bytes of all buffers; the others are read back from the journal."""

    most: int = 32 << 20
    held: int = 0

    def add(self, buffer: Buffer, normal: bytes) -> None:
        """The next part of a buffer's file, if there is room."""
        if buffer.normal is None:
            return
        if self.held + len(normal) > self.most:
            self.drop(buffer)
            return
        self.held += len(normal)
        buffer.normal.append(normal)

    def drop(self, buffer: Buffer) -> None:
        """Let go of what is held of it."""
        self.held -= sum(map(len, buffer.normal or ()))
        buffer.normal = None


@define
class Second:
    """The time of day as buffers have it, written once a second."""

    _written: tuple[int, str] = (-1, "")

    def text(self, now: float) -> str:
        """UTC to the second; `now` in seconds of the node's clock."""
        if int(now) != self._written[0]:
            self._written = int(now), datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return self._written[1]


@define
class Traffic:
    """What came for one table, for `get streaming`."""

    file_calls: int = 0
    file_rows: int = 0
    calls: int = 0
    rows: int = 0
    immediate: int = 0
    parked: int = 0
    first: float = 0.0  # seconds of the node's clock
    last: float = 0.0
    files: int = 0  # that are loaded
    batch_rows: int = 0  # loaded from files
    first_insert: float = 0.0
    last_insert: float = 0.0
    seconds: float = 0.0  # that the database took

    def came(self, whole: bool, rows: int, now: float) -> None:
        """Rows were taken in: as a whole file, or streaming."""
        if whole:
            self.file_calls += 1
            self.file_rows += rows
        else:
            self.calls += 1
            self.rows += rows
        self.last = now
        self.first = self.first or now

    def loaded(self, buffer: Buffer, rows: int, parked: int, seconds: float, now: float) -> None:
        """Rows of a buffer are in the table."""
        self.immediate += rows if buffer.state == "open" else 0
        self.parked += parked
        self.batch_rows += rows if buffer.whole else 0
        self.seconds += seconds
        if rows:
            self.first_insert, self.last_insert = self.first_insert or now, now
