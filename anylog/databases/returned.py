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


@deferring
async def later(tsd: Tsd) -> int:
    """From which id on own files may be of a later life; 0: none are."""
    return (await remembered(tsd)).get("later", 0)


def counted_as(tsd: Tsd, ids: Sequence[int]) -> Deferred[dict[int, str]]:
    """Which of these own files a stream of here was counted as lately: id -> what it was called, "open:" and its
    name."""
    asked = orjson.dumps(list(ids)).decode()

    def work(connection: Connection) -> dict[int, str]:
        there = "select 1 from sqlite_master where type = 'table' and name = 'anylog_counted'"
        if not connection.execute(there).fetchall():
            return {}
        rows = connection.execute(
            "select file_id, stream from anylog_counted where file_id in (select value from json_each(?))", (asked,)
        ).fetchall()
        return {row[0]: row[1] for row in rows}

    return tsd.database.read(work)
