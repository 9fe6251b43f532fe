"""A cluster in the world of queries: files that members take in, send to one another, and have twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from attrs import define, field
from place import COLUMNS
from world import Network, Operator, Share

from anylog.interfaces import Load, Mark

Row = Sequence[Any]


@define(eq=False)
class File:
    """One file of a member; without a hash while it is open."""

    owner: int
    id: int
    rows: list[Row] = field(factory=list)
    hash: str | None = None
    loads: int = 0
    at: set[int] = field(factory=set)  # members that hold it or its content


class Cluster(Network):
    """Members 1, 2, ... at `op1:1`, `op2:1`, ... of one cluster; the one database `whole:1` has each reading once."""

    operators = 2
    on_disk = False

    def setUp(self) -> None:
        super().setUp()
        self.whole = self.start_operator("whole:1")
        del self.peers.handlers["whole:1"]
        self.form()
        for address in self.databases:
            self.fill(address, "readings", [])
        self.files: list[File] = []
        self.ids = {member: 10 * member for member in self.members}

    @property
    def members(self) -> list[int]:
        return list(range(1, self.operators + 1))

    def form(self, main: int = 1) -> None:
        """The ledger says who is the main one; 0: nobody."""
        self.clusters.held["plant", "readings"] = [
            Share("c1", "cluster1", [Operator(f"op{each}:1", each == main, each) for each in self.members])
        ]

    def load(self, at: int, file: File, rows: Sequence[Row], table: str = "readings") -> bool:
        """Rows of a file at one member; False if it has the content under another name."""
        number = file.loads = file.loads + 1
        mark = Mark(
            f"b-{file.owner}-{file.id}", table, number, len(rows), 0, file.hash, file.owner, file.id,
        )  # fmt: skip
        load = Load(
            table=table,
            columns=list(COLUMNS),
            values=orjson.dumps(rows).decode(),
            rows=len(rows),
            marks=[mark],
            parked=[],
            keys=[],
            tsd_name=str(file.owner),
            tsd_id=file.id,
            inserted="2026-01-01 12:00:00.000000",
            create=COLUMNS,
        )
        (fault,) = self.successResultOf(self.databases[f"op{at}:1"].load([load]))
        self.assertIn(fault and fault.kind, (None, "duplicate"))
        return fault is None

    def take(self, owner: int, rows: Sequence[Row], hash: str | None = None, gap: int = 1) -> File:
        """A member takes rows in: into an open buffer, or as a whole file if there is a hash."""
        self.ids[owner] += gap
        file = File(owner, self.ids[owner], list(rows), hash, at={owner})
        known = hash is not None and any(each.hash == hash for each in self.files)
        if self.load(owner, file, rows):
            self.files.append(file)
            if not known:
                self.fill(self.whole, "readings", rows)
        return file

    def grow(self, file: File, rows: Sequence[Row]) -> None:
        """More rows for an open buffer."""
        file.rows += rows
        self.load(file.owner, file, rows)
        self.fill(self.whole, "readings", rows)

    def deliver(self, file: File, to: int) -> None:
        """Another member loads the file, unless it has its content."""
        if to not in file.at:
            file.at.add(to)
            self.load(to, file, file.rows)

    def heads(self, *names: str) -> list[tuple[str, str]]:
        """Whom was asked what, since this was looked at last."""
        told = []
        for address, head in self.peers.asked:
            kind = next((name for name in ("only", "peek", "check", "marks") if name in head), "bulk")
            if not names or kind in names:
                told.append((address, kind))
        self.peers.asked.clear()
        return told


def counted(rows: Sequence[Mapping[str, Any]], column: str = "n") -> list[Any]:
    """The values of a column, sorted."""
    return sorted(row[column] for row in rows)
