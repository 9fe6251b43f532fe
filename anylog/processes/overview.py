"""What a member tells of itself to those who compare the members of a cluster (operator-ha.md 11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from anylog.databases.tsd import Tsd
from anylog.databases.tsd_ranges import counted
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, IBody, Reply
from anylog.pages import all_pages
from anylog.processes.agreement import SYSTEM
from anylog.processes.registry import Conflict
from anylog.waiting import deferring

PAGE = 128 << 10  # bytes
LARGEST = 16 << 20  # bytes of an overview that is held
SUBJECTS = ("files", "databases", "tables", "conflicts")


class Databases(Protocol):
    """What is asked of the catalog."""

    def names(self) -> Sequence[str]:
        """Of all that are connected."""


@define(eq=False)
class Text:
    """A text that is there already, in pages."""

    _left: bytes

    def next(self) -> Deferred[bytes | None]:
        """See `interfaces.IBody.next`."""
        page, self._left = self._left[:PAGE], self._left[PAGE:]
        return succeed(page or None)

    def close(self) -> None:
        """See `interfaces.IBody.close`."""
        self._left = b""


@define(kw_only=True, eq=False)
class OverviewService:
    """Handler of the kind `overview`.

    Question: of (a text of SUBJECTS), start and end (times as they are stored, may be empty).
    Reply: the body is JSON. files: "dbms.table" -> [entries, rows] over all tables of files; databases: names; tables:
    names of the tables of files; conflicts: [dbms.table, table of files, id, hash here, other hash, the file that has
    it] of ids with two contents. Fails with AnyLogError 5 without tables of files, 21 for what is no question.
    """

    _databases: Databases
    _tsd: Callable[[], Tsd | None]
    _conflicts: Callable[[], Sequence[Conflict]] = field(default=lambda: ())

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        told = await self.tell(head)
        return Reply(head={}, body=Text(orjson.dumps(told)))

    async def tell(self, head: Mapping[str, Any]) -> Any:
        """What is asked, as a value of JSON."""
        subject, start, end = (head.get(key, "") for key in ("of", "start", "end"))
        if subject not in SUBJECTS or not isinstance(start, str) or not isinstance(end, str):
            raise AnyLogError(21, f"an overview is asked of {', '.join(SUBJECTS)}, not of {str(subject)[:60]!r}")
        if subject == "databases":
            return [name for name in self._databases.names() if name not in SYSTEM]
        tsd = self._tsd()
        if tsd is None:
            raise AnyLogError(5, "almgm.tsd_info is not there")
        if subject == "conflicts":
            return await self._told_conflicts(tsd)
        if subject == "tables":
            return await tsd.tables()
        found = await counted(tsd, start, end)
        return {f"{dbms}.{table}": [files, rows] for (dbms, table), (files, rows) in sorted(found.items())}

    async def _told_conflicts(self, tsd: Tsd) -> list[list[Any]]:
        """Each once, without those of which the other content is here by now."""
        known = {(each.into, each.id, each.other): each for each in self._conflicts()}
        here: dict[tuple[str, int], str] = {}
        for into in sorted({into for into, _, _ in known}):
            found = await tsd.by_ids(into, [id for table, id, _ in known if table == into])
            here.update({(into, id): entry.hash for id, entry in found.items()})
        return [
            [f"{each.dbms}.{each.table}", into, id, each.hash, other, each.name]
            for (into, id, other), each in sorted(known.items(), key=lambda pair: pair[0])
            if here.get((into, id)) != other
        ]


async def read_overview(body: IBody | None) -> Any:
    """The value that a member told. Raises AnyLogError 21 for one that is no JSON, 77 for one that is too large."""
    data = await all_pages(body, LARGEST, "an overview")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as wrong:
        raise AnyLogError(21, f"an overview that is no JSON: {wrong}") from None
