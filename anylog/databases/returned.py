"""Own files that came back from other members: these have them, and are not offered them again (operator-ha.md 6.3).

Kept beside the tables of files until they are loaded: one may wait in the watch directory while the node starts anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from twisted.internet.defer import Deferred

from anylog.databases.library import Connection
from anylog.databases.tsd import Tsd
from anylog.databases.tsd_ranges import remember, remembered
from anylog.waiting import deferring

_TABLE = "create table if not exists anylog_returned (file_id integer primary key)"
_HERE = "create table if not exists anylog_here (file_id integer primary key)"


def note_returned(tsd: Tsd, ids: Sequence[int]) -> Deferred[None]:
    """Keep these in mind, and forget those that are loaded."""
    asked = orjson.dumps(list(ids)).decode()

    def work(connection: Connection) -> None:
        connection.execute(_TABLE)
        connection.execute(
            "delete from anylog_returned where file_id in"
            ' (select file_id from tsd_info where file_id in (select file_id from anylog_returned) and "rows" > 0)'
        )
        connection.execute("insert or ignore into anylog_returned select value from json_each(?)", (asked,))

    return tsd.database.write(work)


def returned(tsd: Tsd) -> Deferred[list[int]]:
    """Those that were noted and are not loaded."""

    def work(connection: Connection) -> list[int]:
        there = "select 1 from sqlite_master where type = 'table' and name = 'anylog_returned'"
        if not connection.execute(there).fetchall():
            return []
        found = connection.execute(
            "select file_id from anylog_returned where file_id not in"
            ' (select file_id from tsd_info where file_id in (select file_id from anylog_returned) and "rows" > 0)'
        ).fetchall()
        return [row[0] for row in found]

    return tsd.database.read(work)


@deferring
async def note_later(tsd: Tsd, first: int) -> None:
    """Own files with ids from `first` on may be of a later life than this one, whose home is an older copy then; 0: it
    is known of all that they are not. What was noted before stays."""
    before = await later(tsd)
    if bool(before) != bool(first):
        await remember(tsd, {"later": first})
    if not first:
        await tsd.database.write(lambda connection: connection.execute("drop table if exists anylog_here"))


@deferring
async def later(tsd: Tsd) -> int:
    """From which id on own files may be of a later life; 0: none are."""
    return (await remembered(tsd)).get("later", 0)


def note_here(tsd: Tsd, ids: Sequence[int]) -> Deferred[None]:
    """These own files were found in the archive: they are of this life, whatever else begins as they do."""
    asked = orjson.dumps(list(ids)).decode()

    def work(connection: Connection) -> None:
        connection.execute(_HERE)
        connection.execute("insert or ignore into anylog_here select value from json_each(?)", (asked,))

    return tsd.database.write(work)


def counted_as(tsd: Tsd, ids: Sequence[int]) -> Deferred[dict[int, str]]:
    """Which of these own files a stream of here was counted as lately: id -> what it was called, "open:" and its
    name; "archive" for those that were found there."""
    asked = orjson.dumps(list(ids)).decode()

    def work(connection: Connection) -> dict[int, str]:
        found: dict[int, str] = {}
        for table, stream in (("anylog_here", "'archive'"), ("anylog_counted", "stream")):
            there = "select 1 from sqlite_master where type = 'table' and name = ?"
            if connection.execute(there, (table,)).fetchall():
                rows = connection.execute(
                    f"select file_id, {stream} from {table} where file_id in (select value from json_each(?))", (asked,)
                ).fetchall()
                found |= {row[0]: row[1] for row in rows}
        return found

    return tsd.database.read(work)
