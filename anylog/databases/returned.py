"""Own files that came back from other members: these have them, and are not offered them again (operator-ha.md 6.3).

Kept beside the tables of files until they are loaded: one may wait in the watch directory while the node starts anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from twisted.internet.defer import Deferred

from anylog.databases.library import Connection
from anylog.databases.tsd import Tsd

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
