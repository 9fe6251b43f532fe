"""That files of the archive may have no entry: the tables of files were lost, or are of an older moment than it.

Noted until the archive was read for each database of readings; kept beside the entries, so that a copy of them that
is put back says what was still to be done when it was made.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from anylog.databases.library import Connection
from anylog.databases.sqlite import SQLite

# The line without a name says that there was a loss, and above which id of our own; the others for which databases the
# archive was read since.
_TABLE = "create table if not exists anylog_unlisted (dbms text primary key, above integer not null)"
_NOTE = "insert into anylog_unlisted values ('', ?) on conflict (dbms) do update set above = min(above, excluded.above)"


def note_loss(connection: Connection, above: int) -> None:
    """In a transaction: files with an id above that one may lack their entries."""
    connection.execute(_TABLE)
    connection.execute(_NOTE, (above,))
    connection.execute("delete from anylog_unlisted where dbms != ''")


def unlisted_above(almgm: SQLite, dbms: str) -> Deferred[int | None]:
    """The id above which own files of a database may lack their entries; None if all have theirs."""

    def work(connection: Connection) -> int | None:
        there = "select 1 from sqlite_master where type = 'table' and name = 'anylog_unlisted'"
        if not connection.execute(there).fetchall():
            return None
        asked = "select above from anylog_unlisted where dbms = ''"
        asked += " and not exists (select 1 from anylog_unlisted where dbms = ?)"
        found = connection.execute(asked, (dbms,)).fetchall()
        return int(found[0][0]) if found else None

    return almgm.read(work)


def note_listed(almgm: SQLite, dbms: str, above: int) -> Deferred[None]:
    """The archive was read for that database, from ids above that one; another loss may have been noted meanwhile."""

    def work(connection: Connection) -> None:
        asked = (
            "insert or ignore into anylog_unlisted select ?, above from anylog_unlisted where dbms = '' and above = ?"
        )
        connection.execute(asked, (dbms, above))

    return almgm.write(work)
