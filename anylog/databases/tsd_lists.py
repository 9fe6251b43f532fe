"""How entries of the tables of files are shown: as lines under titles, as paths, as JSON; page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from attrs import define, frozen

from anylog.databases.tsd import OWN, Asked, Entry, Summary, Tsd
from anylog.disk.archive import folder_of
from anylog.disk.names import FileName
from anylog.language.context import Result
from anylog.language.tables import bar_table, framed
from anylog.waiting import deferring

PAGE = 1000  # entries that are held at once
TITLES = ("ID", "DBMS", "Table", "Source", "Hash", "Instructions", "Date", "Rows", "Status 1", "Status 2")
SUMMARY = (
    *("DBMS", "Table", "Start Date", "From ID", "End Date", "To ID", "Files Count", "Source Count"),
    *("Status 1", "Status 2", "Total Rows"),
)
_NUMBERS = ("ID", "Source", "Instructions", "Rows")  # those of them that look like one stand at the right
_EMPTY = [0] * len(TITLES)


@frozen(kw_only=True)
class Table:
    """A table of files that is to be shown."""

    name: str
    member: int = 0  # whose files these are; 0 if that is not known

    @property
    def heading(self) -> str:
        """Above its entries; for the files of this node with the name that it has on other members."""
        also = f" (tsd_{self.member})" if self.name == OWN and self.member else ""
        return f"Info on TSD Table: {self.name}{also}"


@frozen(kw_only=True)
class Details:
    """Entries as lines of a table, and as objects by the names of the columns."""

    def json(self, table: Table, entry: Entry) -> Any:
        """One entry."""
        return {
            "file_id": entry.id,
            "dbms_name": entry.dbms,
            "table_name": entry.table,
            "source": entry.source,
            "file_hash": entry.hash,
            "instructions": entry.instructions,
            "file_time": entry.time,
            "rows": entry.rows,
            "status1": entry.status1,
            "status2": entry.status2,
        }

    def head(self, widths: Sequence[int]) -> str:
        """The titles and the line below them."""
        titles = "".join(title.ljust(width + 1) for title, width in zip(TITLES, widths, strict=True))
        return f"{titles}\r\n{''.join('-' * width + '|' for width in widths)}\r\n"

    def line(self, table: Table, entry: Entry, widths: Sequence[int]) -> str:
        """One entry."""
        cells = []
        for title, text, width in zip(TITLES, _texts(entry), widths, strict=True):
            right = title in _NUMBERS and text.isdecimal()
            cells.append((text.rjust(width) if right else text.ljust(width)) + "|")
        return "".join(cells) + "\r\n"


@frozen(kw_only=True)
class Paths:
    """Entries as the places of their files in the archive."""

    archive: Path

    def json(self, table: Table, entry: Entry) -> str:
        """One entry."""
        date = "".join(char for char in entry.time[2:19] if char.isdecimal())
        name = FileName(
            dbms=entry.dbms,
            table=entry.table,
            source=entry.source,
            hash=entry.hash,
            instructions=entry.instructions,
            member=str(table.member),
            id=entry.id,
            date=date,
        )
        return f"{folder_of(self.archive, date)}/{name}"

    def head(self, widths: Sequence[int]) -> str:
        """Nothing: a path needs no title."""
        return ""

    def line(self, table: Table, entry: Entry, widths: Sequence[int]) -> str:
        """One entry."""
        return _plain(self.json(table, entry)) + "\r\n"


Form = Details | Paths


@define(eq=False)
class Listing:
    """Pages of entries, see `language.context.Pages`."""

    media: str
    _chunks: AsyncIterator[str]

    @deferring
    async def next(self) -> bytes | None:
        """The next page. Fails with AnyLogError."""
        text = await anext(self._chunks, None)
        return None if text is None else text.encode()

    def close(self) -> None:
        """Nothing is held between two pages."""


async def listed(
    tsd: Tsd, tables: Sequence[Table], asked: Asked, *, form: Form, limit: int, format: str | None
) -> Result:
    """At most `limit` entries of each table, the newest first; all of them, in pages, if it is 0.

    Raises AnyLogError as the database does.
    """
    if not limit or limit > PAGE:
        make = _as_json if format == "json" else _as_text
        return Result(
            pages=Listing(
                "application/json" if format == "json" else "text/plain", make(tsd, tables, asked, form, limit)
            )
        )
    text, data = "\r\n", {}
    for table in tables:
        found = await tsd.entries(table.name, asked, most=limit)
        data[table.name] = [form.json(table, entry) for entry in found]
        lengths = [list(map(len, _texts(entry))) for entry in found]
        widths = _widths([max(column) for column in zip(*lengths, strict=True)] if lengths else _EMPTY)
        lines = "".join(form.line(table, entry, widths) for entry in found)
        text += f"\r\n{table.heading}\r\n{form.head(widths)}{lines}"
    return Result(text=text, data=data, format="json" if format == "json" else "table")


async def _found(tsd: Tsd, into: str, asked: Asked, limit: int) -> AsyncIterator[list[Entry]]:
    before, left = 0, limit
    while True:
        most = min(PAGE, left) if limit else PAGE
        found = await tsd.entries(into, asked, before_id=before, most=most)
        left -= len(found)
        if found:
            yield found
        if len(found) < most or (limit and not left) or found[-1].id <= 0:
            return
        before = found[-1].id


async def _as_text(tsd: Tsd, tables: Sequence[Table], asked: Asked, form: Form, limit: int) -> AsyncIterator[str]:
    for table in tables:
        widths = _widths(await tsd.widths(table.name, asked) or _EMPTY)
        yield f"\r\n\r\n{table.heading}\r\n{form.head(widths)}"
        async for entries in _found(tsd, table.name, asked, limit):
            yield "".join(form.line(table, entry, widths) for entry in entries)


async def _as_json(tsd: Tsd, tables: Sequence[Table], asked: Asked, form: Form, limit: int) -> AsyncIterator[str]:
    between = "{"
    for table in tables:
        yield f"{between}{_json(table.name)}:["
        comma = ""
        async for entries in _found(tsd, table.name, asked, limit):
            yield comma + ",\n".join(_json(form.json(table, entry)) for entry in entries)
            comma = ",\n"
        yield "]"
        between = ",\n"
    yield "}"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _widths(longest: Sequence[int]) -> list[int]:
    return [max(len(title), width) for title, width in zip(TITLES, longest, strict=True)]


def _texts(entry: Entry) -> list[str]:
    values = (entry.id, entry.dbms, entry.table, entry.source, entry.hash, entry.instructions, entry.time, entry.rows)
    return [_plain(str(value)) for value in (*values, entry.status1, entry.status2)]


def _plain(text: str) -> str:
    """As long as before, and in one line and one column."""
    return "".join(char if char.isprintable() else "?" for char in text.replace("|", "¦"))


async def summarised(tsd: Tsd, tables: Sequence[Table], asked: Asked, format: str | None) -> Result:
    """A line for each user table in each table of files, and the totals. Raises AnyLogError as the database does."""
    totals: dict[tuple[str, str], list[int]] = {}
    text = "\r\n"
    for table in tables:
        found = await tsd.summary(table.name, asked)
        text += framed(bar_table(SUMMARY, [_summary(each) for each in found], heading=table.heading))
        for each in found:
            total = totals.setdefault((each.dbms, each.table), [0, 0])
            total[0] += each.files
            total[1] += each.rows
    rows = [(*names, *total) for names, total in sorted(totals.items())]
    titles = ("DBMS", "Table", "Files Count", "Total Rows")
    text += framed(bar_table(titles, rows, heading="Total all TSD Tables"))
    data = {f"{dbms}.{name}": {"files": files, "rows": count} for dbms, name, files, count in rows}
    return Result(text=text, data=data, format="json" if format == "json" else "table")


def _summary(each: Summary) -> tuple[Any, ...]:
    return (
        *(each.dbms, each.table, each.first_time, each.first_id, each.last_time, each.last_id, each.files),
        *(each.sources, each.status1, each.status2, each.rows),
    )
