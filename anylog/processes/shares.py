"""What one round of loading is made of: a share for each buffer, and the flight that takes them to the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.interfaces import AnyLogFault, IDatabase, Load, Mark, Parked
from anylog.mapping.body import written
from anylog.mapping.rows import Converted
from anylog.processes.buffers import Buffer, Pending


class Agree(Protocol):
    """Make columns of a table known to the network before they are made here (hard-parts.md 4.2)."""

    def __call__(self, dbms: str, table: str, columns: Mapping[str, str]) -> Deferred[Mapping[str, str]]:
        """Give the columns that were agreed on; waits while the ledger is away. What is agreed on comes at once."""


class Schemas(IDatabase, Protocol):
    """A database whose schemas are known without waiting."""

    def schema(self, table: str) -> Mapping[str, str] | None:
        """Column -> ledger type, automatic columns included; None if there is no such table."""


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

    def keys(self, now: float, hash: str) -> list[tuple[str, float, str]]:
        """The Idempotency-Keys of its records, and those of messages."""
        table = self.buffer.where.table
        keys = [(f"{table}/{each.key}", now, hash) for each in self.pendings if each.key]
        for each in self.pendings:
            keys += [(f"{table}/{key}", now, token) for key, token in each.tokens.items()]
        return keys

    def left_out(self, reasons: Mapping[int, str]) -> list[Parked]:
        """Misfits by their index in the share, each with the record and the place in it where it came."""
        buffer, parked, first = self.buffer, list[Parked](), 0
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
