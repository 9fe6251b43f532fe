"""The selects that this node answered other nodes, or is answering: `get operator execution` (query.md 8)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import CancelledError

from anylog.interfaces import Asker, Clock
from anylog.waiting import deferring

REMEMBERED = 100


@define(eq=False, kw_only=True)
class Execution:
    """One select. Times in seconds."""

    _clock: Clock
    number: int
    node: str  # ip:port of who asked, or its host; empty: this very node
    job: int | None  # slot of the job there, if it was told
    dbms: str
    table: str
    statement: str
    started: float
    prepared: float = 0.0  # until the first row was there
    fetched: float = 0.0  # in all pages
    blocks: int = 0
    rows: int = 0
    error: str = ""
    completed: bool = False

    def opened(self, rows: int, page: bytes | None) -> None:
        """The database has begun to answer."""
        self.prepared = self._clock.seconds() - self.started
        self.rows = rows
        self.blocks += bool(page)

    def failed(self, error: BaseException) -> None:
        """It did not, or broke off."""
        self.error = self.error or ("given up by who asked" if isinstance(error, CancelledError) else str(error))
        self.completed = True

    def watched(self, pages: Any) -> Watched:
        """The pages that are still to come."""
        return Watched(self._clock, self, pages)

    def row(self) -> dict[str, Any]:
        """As it is shown."""
        return {
            "Node": self.node,
            "Job": "" if self.job is None else self.job,
            "ID": self.number,
            "Completed": self.completed,
            "DBMS": self.dbms,
            "Table": self.table,
            "Error": self.error,
            "Blocks": self.blocks,
            "Rows": self.rows,
            "SQL-Time": round(self.prepared, 3),
            "Fetch-Time": round(self.fetched, 3),
            "Command": self.statement,
        }


class _Pages(Protocol):
    def next(self) -> Any: ...

    def close(self) -> None: ...


@define(eq=False)
class Watched:
    """Pages on their way to who asked; an `IBody`."""

    _clock: Clock
    _execution: Execution
    _pages: _Pages

    @deferring
    async def next(self) -> bytes | None:
        """One page a piece; the first one may have been made already."""
        before = self._clock.seconds()
        try:
            page: bytes | None = await self._pages.next()
        except BaseException as error:
            self._execution.failed(error)
            raise
        self._execution.fetched += self._clock.seconds() - before
        if page is None:
            self._execution.completed = True
        else:
            self._execution.blocks += 1
        return page

    def close(self) -> None:
        """Stop the statement."""
        if not self._execution.completed:
            self._execution.failed(CancelledError())
        self._pages.close()


@define(eq=False)
class Executions:
    """The last ones."""

    _clock: Clock
    _last: deque[Execution] = field(factory=lambda: deque(maxlen=REMEMBERED))
    _count: int = 0

    def begin(self, asker: Asker, head: Mapping[str, Any], dbms: str, table: str, statement: str) -> Execution:
        """A select that came."""
        self._count += 1
        job = head.get("job")
        made = Execution(
            clock=self._clock,
            number=self._count,
            node=asker.address or asker.host,
            job=job if type(job) is int else None,
            dbms=dbms,
            table=table,
            statement=statement,
            started=self._clock.seconds(),
        )
        self._last.append(made)
        return made

    def __iter__(self) -> Iterator[Execution]:
        """Oldest first."""
        return iter(list(self._last))
