"""What one round of loading is made of: a share for each buffer, and the flight that takes them to the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.interfaces import AnyLogFault, IDatabase, Load, Mark, Parked
from anylog.mapping.body import written
from anylog.mapping.rows import Converted, convert_each
from anylog.processes.buffers import Buffer, Pending

SHORT, TOGETHER = 200, 2000  # rows of a file that is converted together with others, and of all of these


class Agree(Protocol):
    """Make columns of a table known to the network before they are made here (hard-parts.md 4.2)."""

    def __call__(self, dbms: str, table: str, columns: Mapping[str, str]) -> Deferred[Mapping[str, str]]:
        """Give the columns that were agreed on; waits while the ledger is away. What is agreed on comes at once."""


class Schemas(IDatabase, Protocol):
    """A database whose schemas are known without waiting."""

    def schema(self, table: str) -> Mapping[str, str] | None:
        """Column -> ledger type, automatic columns included; None if there is no such table."""

    def forget_parked(self, hash: str) -> Deferred[bool]:
        """Forget a whole content of which every row was parked, and what was parked; False if there is none."""


class Waits(Exception):
    """The ledger does not know the columns of this table yet."""


class Fails(Exception):
    """This file cannot be loaded; the text says why."""


@define(eq=False)
class Plan:
    """A table as it will be within this transaction, and what makes it so from what it is now."""

    columns: dict[str, str]
    create: dict[str, str] | None = None
    alter: dict[str, str] = field(factory=dict)


@define(eq=False)
class Share:
    """What one buffer has in a round."""

    buffer: Buffer
    pendings: list[Pending]
    rows: list[Mapping[str, Any]] = field(factory=list)
    sizes: list[int] = field(factory=list)  # rows of each record
    parked: int = 0
    converted: tuple[Converted | None, Mapping[str, str]] = (None, {})  # and for which columns
    # Of a content that a policy maps: by which one and as of when, rows that it cannot map, who made the others.
    made_by: tuple[object, str] | None = None
    unmapped: Sequence[tuple[Mapping[str, Any], str]] = ()
    makers: frozenset[str] = frozenset()

    def begin_anew(self) -> None:
        """Its rows are read and mapped once more."""
        self.rows, self.sizes, self.converted = [], [], (None, {})
        self.made_by, self.unmapped, self.makers = None, (), frozenset()

    def take_made(
        self,
        made_by: tuple[object, str],
        rows: list[Mapping[str, Any]],
        unmapped: Sequence[tuple[Mapping[str, Any], str]],
        makers: frozenset[str],
    ) -> None:
        """What a policy made of its one record stands for that."""
        self.made_by, self.rows, self.sizes = made_by, rows, [len(rows)]
        self.unmapped, self.makers, self.converted = unmapped, makers, (None, {})

    @property
    def skipped(self) -> bool:
        """Whether the policy takes nothing of it, which is no fault of the file; and nobody has registered it."""
        nothing = self.made_by is not None and not self.rows and not self.unmapped
        return nothing and self.buffer.file is not None and not self.buffer.known

    @property
    def mended(self) -> bool:
        """Whether a policy makes rows of it that fit: if all of it was parked before, that was mended."""
        return self.made_by is not None and len(self.rows) + len(self.unmapped) > self.parked

    def mark(self, rows: int, parked: int) -> Mark:
        """Of a whole file with its hash, also if all of it was parked: a repeat would park it twice."""
        buffer = self.buffer
        return Mark(
            buffer.key,
            buffer.where.table,
            self.pendings[-1].sequence,
            rows,
            parked,
            buffer.whole or None,
            buffer.owner,
            buffer.tsd,
            buffer.where.source,
            buffer.where.instructions,
            buffer.time,
        )

    @property
    def named_by(self) -> int:
        """The member under whose name a whole file may be there already; 0 for what has no such name."""
        buffer, file = self.buffer, self.buffer.file
        if not (buffer.whole and buffer.tsd):
            return 0
        return buffer.owner if file is None else int(file.member) if file.member.isdecimal() else 0

    def is_held(self, mark: Mark) -> bool:
        """Whether the mark under its name says that all of it is loaded."""
        buffer, file = self.buffer, self.buffer.file
        return mark.rows > 0 and (
            mark.hash == buffer.whole or (file is not None and holds(mark, buffer.whole, file.count))
        )

    def keys(self, now: float, hash: str) -> list[tuple[str, float, str]]:
        """The Idempotency-Keys of its records, and those of messages."""
        table = self.buffer.where.table
        keys = [(f"{table}/{each.key}", now, hash) for each in self.pendings if each.key]
        for each in self.pendings:
            keys += [(f"{table}/{key}", now, token) for key, token in each.tokens.items()]
        return keys

    def left_out(self, reasons: Mapping[int, str]) -> list[Parked]:
        """Misfits by their index in the share, each with the record and the place in it where it came.

        What could not be mapped comes behind all places.
        """
        buffer, parked, first = self.buffer, list[Parked](), 0
        for place, (odd, why) in enumerate(self.unmapped, len(self.rows)):
            sequence = self.pendings[-1].sequence
            parked.append(Parked(buffer.key, sequence, place, buffer.where.table, why, written(odd).decode()))
        if not reasons:
            return parked  # and of what was converted early nothing was counted
        for pending, size in zip(self.pendings, self.sizes, strict=True):
            for position in range(size):
                reason = reasons.get(first + position)
                if reason is not None:
                    row = written(self.rows[first + position]).decode()
                    parked.append(Parked(buffer.key, pending.sequence, position, buffer.where.table, reason, row))
            first += size
        return parked

    def aside(self, reasons: Mapping[int, str], now: float, inserted: str) -> Load:
        """What keeps its misfits, where nothing of it goes into its table."""
        parked = self.left_out(reasons)
        self.parked = len(parked)
        return Load(
            table=self.buffer.where.table,
            columns=(),
            values="[]",
            rows=0,
            marks=[self.mark(0, len(parked))],
            parked=parked,
            keys=self.keys(now, self.buffer.whole if self.made_by else "0"),
            tsd_name="0",
            tsd_id=0,
            inserted=inserted,
        )

    def nothing(self, now: float, inserted: str) -> Load:
        """Of a content of which a policy makes no row: what came by PUT is kept aside. Raises Fails for a file."""
        if self.buffer.file is None:
            return self.aside({}, now, inserted)
        raise Fails(f"no row fits: {self.unmapped[0][1]}" if self.unmapped else "its policy takes none of its rows")


@define(eq=False)
class Ready:
    """What can be loaded, and what cannot although it should."""

    loads: list[tuple[Share, Load]] = field(factory=list)
    stumbled: list[tuple[Share, str]] = field(factory=list)


@define(eq=False)
class Flight:
    """A transaction on its way."""

    loads: list[tuple[Share, Load]]
    result: Deferred[list[AnyLogFault | None]]
    begin: float
    flying: dict[Buffer, int] = field(init=False)  # how many records of each buffer
    weight: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.flying = {share.buffer: len(share.pendings) for share, _ in self.loads}
        self.weight = sum(pending.weight for share, _ in self.loads for pending in share.pendings)

    @property
    def changes(self) -> bool:
        """Whether it makes or changes a table."""
        return any(load.create is not None or load.alter for _, load in self.loads)


def convert_short(shares: Sequence[Share], planned: Mapping[str, Plan]) -> None:
    """Many files of a few rows cost more one by one than what is in them."""
    groups: dict[tuple[str, str], list[Share]] = {}
    for share in shares:
        if 0 < len(share.rows) <= SHORT and share.buffer.where.table in planned:
            groups.setdefault((share.buffer.where.table, share.buffer.at), []).append(share)
    for (table, at), group in groups.items():
        columns = planned[table].columns
        while len(group) > 1:
            part, rows = [], 0
            while group and rows < TOGETHER:
                part.append(group.pop())
                rows += len(part[-1].rows)
            done = convert_each([share.rows for share in part], columns, at)
            for share, converted in zip(part, done or (), strict=False):
                share.converted = converted, columns


def holds(mark: Mark, hash: str, rows: int) -> bool:
    """Whether the whole file of its id, with that hash and so many rows, is loaded. Of a stream a part may be."""
    return mark.rows > 0 and (mark.hash == hash or (mark.hash is None and mark.rows >= rows))
