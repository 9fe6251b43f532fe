"""What members of a cluster tell each other of their tables of files: totals, pages of entries, what is remembered.

A file counts as held if its rows are here, or if its content is, under another entry (operator-ha.md 7, 9.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from attrs import frozen
from twisted.internet.defer import Deferred

from anylog.databases import file_sums
from anylog.databases.library import Connection
from anylog.databases.tables import MEMBER_FILES, quoted
from anylog.databases.tsd import (
    DROPPED,
    DUPLICATE,
    FAILED,
    FOREIGN_IDS,
    MAKE_IDS,
    MISSING,
    OWN,
    Entry,
    Tsd,
    is_files,
    selected,
    tables_in,
)
from anylog.errors import AnyLogError
from anylog.waiting import deferring

_OPEN = "file_hash glob 'open:*'"
_STATE = (
    f"case when {_OPEN} then 'pending' when \"rows\" > 0 and status2 = '{DROPPED}' then 'dropped'"
    f" when \"rows\" > 0 then 'loaded' when coalesce(status1, '') = '' then 'pending'"
    f" when status1 = '{DUPLICATE}' then 'double' when status1 = '{MISSING}' then 'missing' else 'failed' end"
)
_NOTE = "copies "  # how names of what is remembered begin


@frozen
class Range:
    """Two times as stored: from the first on, before the second; empty: no limit."""

    start: str
    end: str = ""


@frozen
class Totals:
    """The files of one member between two times, as one node has them."""

    files: int = 0  # held
    sum: int = 0  # of their ids and hashes
    first: int = 0
    last: int = 0  # that its member gave: not what somebody's name of a file says
    last_time: str = ""
    absent: int = 0  # of which it is said that nobody has them (`01`)
    pending: int = 0  # the first that is registered and not loaded; 0: none


@frozen
class Line:
    """An entry, as it is told to others."""

    id: int
    hash: str
    dbms: str
    table: str
    rows: int
    state: str  # loaded, dropped, double, pending, missing, failed
    time: str
    source: str = "0"
    instructions: str = "0"


def state_of(entry: Entry) -> str:
    """Of an entry of this node, in the words of `Line.state`."""
    if entry.hash.startswith("open:"):
        return "pending"
    if entry.rows:
        return "dropped" if entry.status2 == DROPPED else "loaded"
    return {"": "pending", DUPLICATE: "double", MISSING: "missing"}.get(entry.status1, "failed")


def _between(start: str, end: str) -> tuple[str, list[Any]]:
    parts, values = ["1"], []
    for text, sign in ((start, ">="), (end, "<")):
        if text:
            parts.append(f"file_time {sign} ?")
            values.append(text)
    return " and ".join(parts), values


def totals(tsd: Tsd, start: str, end: str) -> Deferred[dict[str, Totals]]:
    """Of each table of files; times as stored, `start` included and `end` not, empty: without a limit.

    Whole seconds: copies of an entry know no parts of one. Takes a few milliseconds whatever the number of files.
    """

    def work(connection: Connection) -> dict[str, Totals]:
        found = {}
        for table in tables_in(connection):
            each = file_sums.sums(connection, table, start, end)
            sum = each.ids + each.hashes
            last = each.last
            if last >= FOREIGN_IDS:
                last = file_sums.sums(connection, table, start, end, FOREIGN_IDS - 1).last
            found[table] = Totals(each.held, sum, each.first, last, each.last_time, each.absent, each.pending)
        return found

    return tsd.database.read(lambda connection: file_sums.at_once(connection, lambda: work(connection)))


def part(tsd: Tsd, into: str, start: str, end: str, upto: int) -> Deferred[tuple[int, int, int]]:
    """Of the entries of one table with ids up to `upto`: files held, their `Totals.sum`, files nobody has."""

    def work(connection: Connection) -> tuple[int, int, int]:
        if into not in tables_in(connection):
            return 0, 0, 0
        each = file_sums.sums(connection, into, start, end, upto)
        return each.held, each.ids + each.hashes, each.absent

    return tsd.database.read(lambda connection: file_sums.at_once(connection, lambda: work(connection)))


def counted(tsd: Tsd, start: str, end: str) -> Deferred[dict[tuple[str, str], tuple[int, int]]]:
    """Database and user table -> entries of all tables of files, and the rows of them; times as in `totals`."""

    def work(connection: Connection) -> dict[tuple[str, str], tuple[int, int]]:
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for table in tables_in(connection):
            for key, (entries, rows) in file_sums.counted(connection, table, start, end).items():
                before = found.get(key, (0, 0))
                found[key] = before[0] + entries, before[1] + rows
        return found

    return tsd.database.read(lambda connection: file_sums.at_once(connection, lambda: work(connection)))


async def check_sums(tsd: Tsd, going: Callable[[], bool] = lambda: True) -> list[str]:
    """Compare the sums of all tables of files with the entries, page by page; what is wrong is counted anew.

    Gives what was wrong, in words. It ends early when `going` says so. Raises AnyLogError as the database does.
    """
    found: list[str] = []
    for table in await tsd.tables():
        at: file_sums.Place | None = file_sums.Place()
        wrong: list[str] = []
        while at is not None and not wrong and going():
            wrong, at = await tsd.database.read(_page_of_sums(table, at))
        if wrong:
            tsd.log.error("sums of {table} were wrong ({which}): they are counted anew", table=table, which=wrong[0])
            await tsd.database.write(file_sums.renew(table))
        found += wrong
    return found


def _page_of_sums(
    table: str, at: file_sums.Place
) -> Callable[[Connection], tuple[list[str], file_sums.Place | None]]:  # fmt: skip
    def work(connection: Connection) -> tuple[list[str], file_sums.Place | None]:
        if table not in tables_in(connection):
            return [], None
        return file_sums.faults(connection, table, at)

    return lambda connection: file_sums.at_once(connection, lambda: work(connection))


def lines(tsd: Tsd, into: str, start: str, end: str, after: int, most: int) -> Deferred[list[Line]]:
    """At most so many entries of one table with ids behind `after`, by id."""
    inside, values = _between(start, end)
    statement = (
        "select json_group_array(json_array(c0, c1, c2, c3, c4, c5, c6, c7, c8)) from (select file_id as c0, file_hash"
        f' as c1, dbms_name as c2, table_name as c3, coalesce("rows", 0) as c4, {_STATE} as c5, file_time as c6,'
        f" source as c7, instructions as c8 from {{table}} where {inside} and file_id > ? order by file_id limit ?)"
    )

    def work(connection: Connection) -> list[Line]:
        rows = selected(connection, into, statement, [*values, after, most])
        return [Line(*each) for each in orjson.loads(rows[0][0])] if rows else []

    return tsd.database.read(work)


def last_id(tsd: Tsd, into: str) -> Deferred[int]:
    """The highest id that its member gave, as far as this node knows; 0 if it knows none."""

    def work(connection: Connection) -> int:
        rows = selected(connection, into, "select max(file_id) from {table} where file_id < ?", (FOREIGN_IDS,))
        return rows[0][0] or 0 if rows else 0

    return tsd.database.read(work)


def holders(tsd: Tsd, hashes: Sequence[str]) -> Deferred[dict[str, tuple[str, int]]]:
    """Those of the hashes whose rows are here, each with the table of files and the id that hold them."""
    return tsd.database.read(lambda connection: _holders(connection, hashes))


def _holders(connection: Connection, hashes: Sequence[str]) -> dict[str, tuple[str, int]]:
    asked = orjson.dumps(list(hashes)).decode()
    found: dict[str, tuple[str, int]] = {}
    for table in tables_in(connection):
        statement = (
            'select file_hash, file_id from {table} where "rows" > 0 and status2 is not ? and file_hash in'
            " (select value from json_each(?))"
        )
        for hash, id in selected(connection, table, statement, (DROPPED, asked)):
            found.setdefault(hash, (table, id))
    return found


@deferring
async def record(tsd: Tsd, into: str, told: Sequence[tuple[Line, str, str]]) -> list[int]:
    """Entries without rows for files of which nothing is loaded here, each with status 1 and 2, in one commit.

    What is here under such an id is replaced if it says that the file is missing or failed, else left as it is. One
    whose content is held by another entry (`02`) is left out if none holds it any more; gives the ids of these.
    """
    if not is_files(into):
        raise AnyLogError(28, f"'{into}' is not a table of files: tsd_info, or tsd_ and a member id")
    if into != OWN and tsd.database.schema(into) is None:
        await tsd.database.create(into, MEMBER_FILES)
    values = [
        (e.id, e.dbms, e.table, e.source, e.hash, e.instructions, e.time, 0, status1, status2)
        for e, status1, status2 in told
    ]
    doubles = [line.hash for line, status1, _ in told if status1 == DUPLICATE]
    picked = ", ".join(f"value->>{place}" for place in range(10))

    def work(connection: Connection) -> list[int]:
        held = _holders(connection, doubles) if doubles else {}
        entered = [value for value in values if value[8] != DUPLICATE or value[4] in held]
        asked = orjson.dumps(entered).decode()
        if into == OWN:
            tsd.came_back(connection, [value[0] for value in values])
        connection.execute(
            f'delete from {quoted(into)} where coalesce("rows", 0) = 0 and status1 in (?, ?) and (file_id in'
            " (select value->>0 from json_each(?)) or file_hash in (select value->>4 from json_each(?)))",
            (MISSING, FAILED, asked, asked),
        )
        connection.execute(f"insert or ignore into {quoted(into)} select {picked} from json_each(?)", (asked,))
        return [line.id for line, status1, _ in told if status1 == DUPLICATE and line.hash not in held]

    return await tsd.database.write(work, (len(values) + 4) * 4096)


def give_way(tsd: Tsd, into: str, entries: Sequence[Entry]) -> Deferred[None]:
    """Delete entries that hold nothing, of ids under which files come; what is another one by now stays."""
    asked = orjson.dumps([(entry.id, entry.hash) for entry in entries]).decode()

    def work(connection: Connection) -> None:
        if into in tables_in(connection):
            connection.execute(
                f'delete from {quoted(into)} where coalesce("rows", 0) = 0 and (file_id, file_hash) in'
                " (select value->>0, value->>1 from json_each(?))",
                (asked,),
            )

    return tsd.database.write(work, (len(entries) + 4) * 4096)


def remembered(tsd: Tsd) -> Deferred[dict[str, int]]:
    """What `remember` kept. It lies beside the tables of files: where they are lost, it is lost."""

    def work(connection: Connection) -> dict[str, int]:
        there = "select 1 from sqlite_master where type = 'table' and name = 'anylog_ids'"
        if not connection.execute(there).fetchall():
            return {}
        rows = connection.execute(f"select name, id from anylog_ids where name glob '{_NOTE}*'").fetchall()
        return {row[0].removeprefix(_NOTE): row[1] for row in rows}

    return tsd.database.read(work)


def remember(tsd: Tsd, notes: Mapping[str, int]) -> Deferred[None]:
    """Keep whole numbers by name."""
    values = orjson.dumps([[f"{_NOTE}{name}", value] for name, value in notes.items()]).decode()

    def work(connection: Connection) -> None:
        connection.execute(MAKE_IDS)
        connection.execute(
            "insert or replace into anylog_ids (name, id, file_time) select value->>0, value->>1, '' from json_each(?)",
            (values,),
        )

    return tsd.database.write(work)
