"""A whole file of readings on its way into the tables, and what came of it (operator-ha.md 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

from anylog.processes.forms import Early


@frozen(kw_only=True, eq=False)
class WholeFile:
    """A file of a watch directory, read and understood (S1 and S2 of operator-ha.md 3.2)."""

    path: Path  # where it lies
    dbms: str
    table: str
    source: str
    instructions: str
    hash: str  # of the normal form, ingest.md 9.2
    rows: Sequence[Mapping[str, Any]]
    normal: bytes  # the normal form, as it is archived
    stamp: tuple[int, int]  # size and mtime in nanoseconds when it was read
    kind: Literal["json", "sql"] = "json"
    member: str = ""  # of a full name: the member id, or "@"; empty for a short one
    id: int = 0
    date: str = ""  # 12 digits
    early: Early | None = None  # its rows as they go to the table: then `rows` is empty
    archived: bool = False  # it lies in the archive and stays there: its rows are loaded once more
    delivered: bool = False  # another member sent it
    kept: bool = False  # this node put it there: its bytes are synced

    @property
    def known(self) -> bool:
        """Whether its name says as which file of which member it is registered."""
        return bool(self.id) and self.member not in ("", "@")

    @property
    def count(self) -> int:
        """Its rows."""
        return len(self.rows) if self.early is None else self.early.converted.count

    def let_go(self) -> None:
        """Its rows are loaded: they need no memory any more, whoever still knows the file."""
        if isinstance(self.rows, list):
            self.rows.clear()


@frozen(kw_only=True)
class Outcome:
    """What came of a file. `failed`: it lies at `path`, for the error directory. `repeated`: its content was here."""

    kind: Literal["loaded", "repeated", "failed"]
    path: Path
    code: int = 0
    text: str = ""
    rows: int = 0
    parked: int = 0
    member: int = 0
    id: int = 0
    date: str = ""


@frozen(kw_only=True)
class FilingOptions:
    """Where files go once they are loaded (operator-ha.md 2)."""

    archive_dir: Path
    distr_dir: Path
    bkup_dir: Path
    err_dir: Path
    watch_dir: Path | None = None
    distributor: bool = False
    follows: Callable[[], bool] | None = field(default=None, eq=False)  # whether the distributor runs, if that decides
    archive: bool = True
    compress: bool = True
    move: bool = False
    delete: bool = False
    keep_sql: bool = False  # keep SQL files in the backup directory
    compress_sql: bool = True
    delete_sql: bool = False
    tsd: bool = False  # register in almgm.tsd_info

    @property
    def distributes(self) -> bool:
        """Whether files of this node's own go to the distributor, at this moment."""
        return self.distributor if self.follows is None else self.follows()


class IFiles(Protocol):
    """Who takes whole files in."""

    def bring(self, file: WholeFile) -> Deferred[Outcome]:
        """S3 to S9, the removal of the watch file included. Fails with AnyLogError 506 when the node stops."""
