"""Whose files `tsd_info` lists: those of the member that this node is, also when it became another."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from anylog.databases.library import Connection
from anylog.databases.tables import quoted
from anylog.databases.tsd import MAKE_IDS, OWN, Tsd, last_given, note_last, tables_in
from anylog.waiting import deferring

_OWNER = "member"  # the line of `anylog_ids` that tells it


def owner(tsd: Tsd) -> Deferred[int]:
    """The member whose files are in `tsd_info`, 0 if nobody noted it yet."""

    def work(connection: Connection) -> int:
        there = connection.execute("select 1 from sqlite_master where name = 'anylog_ids'").fetchone()
        found = there and connection.execute("select id from anylog_ids where name = ?", (_OWNER,)).fetchone()
        return found[0] if found else 0

    return tsd.database.read(work)


def note_owner(tsd: Tsd, member: int) -> Deferred[None]:
    """The files in `tsd_info` are those of `member`, also in each copy of it from now on."""
    return tsd.database.write(lambda connection: _note_owner(connection, member))


@deferring
async def hand_over(tsd: Tsd, member: int, to: int) -> int:
    """`tsd_info` was of `member`, and is of `to` now: in one transaction what it lists goes into the table of `member`,
    and what is listed here of `to` comes into it. Ids go on where they were. Gives how many entries went."""
    if member != to:
        await tsd.make_of(member)

    def work(connection: Connection) -> int:
        note_last(connection, *last_given(connection))
        gone = _give(connection, member) if member != to else 0
        if f"tsd_{to}" in tables_in(connection):
            _take_back(tsd, connection, f"tsd_{to}")
        # What it told the others when it was `to` the last time, or what another home told as `to`.
        connection.execute(f"delete from anylog_ids where name = 'copies complete' or name glob 'copies safe.{to}.*'")
        _note_owner(connection, to)
        return gone

    return await tsd.database.write(work)


def _give(connection: Connection, member: int) -> int:
    # An entry of the same id there is of the same file: of whoever found its mark.
    connection.execute(f"insert or ignore into {quoted(f'tsd_{member}')} select * from {OWN}")
    gone = connection.execute(f"delete from {OWN} returning file_id").fetchall()
    if connection.execute("select 1 from sqlite_master where name = 'anylog_returned'").fetchall():
        connection.execute("delete from anylog_returned")
    return len(gone)


def _take_back(tsd: Tsd, connection: Connection, table: str) -> None:
    ids = connection.execute(f"select file_id from {quoted(table)}").fetchall()
    tsd.came_back(connection, [row[0] for row in ids])
    # Of two of one content, for which there is no room, the one that holds it comes.
    order = 'coalesce("rows", 0) > 0 desc, file_id'
    connection.execute(f"insert or ignore into {OWN} select * from {quoted(table)} order by {order}")
    connection.execute(f"delete from {quoted(table)}")
    connection.execute(f"drop table {quoted(table)}")
    connection.execute("delete from anylog_columns where table_name = ?", (table,))


def _note_owner(connection: Connection, member: int) -> None:
    connection.execute(MAKE_IDS)
    connection.execute("insert or replace into anylog_ids values (?, ?, '')", (_OWNER, member))
