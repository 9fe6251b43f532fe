"""What marks say: what is loaded, and under which name (operator-ha.md 3.4, hard-parts.md 2.3). Blocking; in lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from anylog.databases.library import Connection
from anylog.databases.tables import id_sum, quoted
from anylog.interfaces import Mark

_COLUMNS = (
    "buffer, table_name, sequence, rows, parked, hash, member, tsd_id, source, instructions, file_time"  # as `_mark`
)


def _mark(row: Sequence[Any]) -> Mark:
    return Mark(
        buffer=row[0],
        table=row[1],
        sequence=row[2],
        rows=row[3],
        parked=row[4],
        hash=row[5],
        member=row[6] or 0,
        id=row[7] or 0,
        source=row[8] or "0",
        instructions=row[9] or "0",
        time=row[10] or "",
    )


def of_buffers(connection: Connection, buffers: Sequence[str]) -> dict[str, Mark]:
    """Those of `buffers` that have a mark."""
    found = connection.execute(
        f"select {_COLUMNS} from anylog_marks where buffer in (select value from json_each(?))",
        (orjson.dumps(list(buffers)).decode(),),
    ).fetchall()
    return {row[0]: _mark(row) for row in found}


def of_hashes(connection: Connection, hashes: Sequence[str]) -> dict[str, Mark]:
    """Marks of whole files, by their hash."""
    found = connection.execute(
        f"select {_COLUMNS} from anylog_marks where hash in (select value from json_each(?))",
        (orjson.dumps(list(hashes)).decode(),),
    ).fetchall()
    return {row[5]: _mark(row) for row in found}


def of_files(connection: Connection, files: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Mark]:
    """Marks by member and tsd id."""
    wanted = orjson.dumps([list(each) for each in files]).decode()
    found = connection.execute(
        f"select {_COLUMNS} from json_each(?) as asked cross join anylog_marks"
        " on member = asked.value->>0 and tsd_id = asked.value->>1",
        (wanted,),
    ).fetchall()
    return {(row[6], row[7]): _mark(row) for row in found}


def sums(connection: Connection, member: int) -> dict[str, tuple[int, int, int]]:
    """Of each table: files of a member that hold rows, those rows, and the `id_sum` of the files' ids."""
    found = connection.execute(
        f"select table_name, count(*), sum(rows), {id_sum('tsd_id')} from anylog_marks"
        " where member = ? and tsd_id is not null and rows > 0 group by table_name",
        (member,),
    ).fetchall()
    return {row[0]: (row[1], row[2], row[3]) for row in found}


def members(connection: Connection) -> list[int]:
    """Of whose files there are marks."""
    found: list[int] = []
    while True:  # a step for each, not one for each mark
        row = connection.execute(
            "select min(member) from anylog_marks where tsd_id is not null and member > ?",
            (found[-1] if found else -1,),
        ).fetchone()
        if row[0] is None:
            return found
        found.append(row[0])


def lines(connection: Connection, member: int, table: str, after: int, most: int) -> list[Mark]:
    """Marks of a member's files of one table, by id, from behind `after` on."""
    found = connection.execute(
        f"select {_COLUMNS} from anylog_marks where member = ? and tsd_id > ? and table_name = ?"
        " order by tsd_id limit ?",
        (member, after, table, most),
    ).fetchall()
    return [_mark(row) for row in found]


def highest(connection: Connection, member: int) -> int:
    """The highest id that a file of that member was loaded with here, 0 if there is none."""
    row = connection.execute("select max(tsd_id) from anylog_marks where member = ?", (member,)).fetchone()
    return row[0] or 0


def parked_places(connection: Connection, buffers: Sequence[str]) -> dict[str, set[tuple[int, int]]]:
    """Buffer -> (sequence, position) of its rows that were parked."""
    found: dict[str, set[tuple[int, int]]] = {}
    for buffer, sequence, position in connection.execute(
        "select buffer, sequence, position from anylog_parked where buffer in (select value from json_each(?))",
        (orjson.dumps(list(buffers)).decode(),),
    ).fetchall():
        found.setdefault(buffer, set()).add((sequence, position))
    return found


def forget_parked(connection: Connection, hash: str) -> bool:
    """Forget the mark of a whole content of which every row was parked, and what was parked; False if there is none."""
    found = connection.execute(
        "delete from anylog_marks where hash = ? and rows = 0 and parked > 0 returning buffer", (hash,)
    ).fetchall()
    for (buffer,) in found:
        connection.execute("delete from anylog_parked where buffer = ?", (buffer,))
    return bool(found)


def undo(connection: Connection, table: str, member: int, id: int) -> None:
    """As if that file had never been loaded; in a transaction."""
    _remove_rows(connection, table, member, id)
    remove(connection, member, id)


def _remove_rows(connection: Connection, table: str, member: int, id: int) -> None:
    if connection.execute("select 1 from pragma_table_info(?)", (table,)).fetchone() is not None:
        connection.execute(f"delete from {quoted(table)} where tsd_name = ? and tsd_id = ?", (str(member), id))


def remove(connection: Connection, member: int, id: int) -> None:
    """The mark of one file, in the transaction at hand. What others remember of the marks is void from then on."""
    connection.execute("delete from anylog_marks where member = ? and tsd_id = ?", (member, id))
    _removed(connection)


def make_way(connection: Connection, files: Sequence[tuple[int, int, int, str]]) -> None:
    """The whole files of these members and ids, with so many rows and in that table, are about to be loaded in the
    transaction at hand.

    A stream's mark with fewer rows under one of them is of an older copy of the database: its rows go, as the file has
    them. What was parked of it stays so, as that is not in its file.
    """
    found = connection.execute(
        "delete from anylog_marks where rowid in (select mark.rowid from json_each(?) as file cross join anylog_marks"
        " as mark on mark.member = file.value->>0 and mark.tsd_id = file.value->>1"
        " where mark.hash is null and mark.rows < file.value->>2 and mark.table_name = file.value->>3)"
        " returning table_name, member, tsd_id, rows",
        (orjson.dumps(files).decode(),),
    ).fetchall()
    for table, member, id, rows in found:
        if rows:
            _remove_rows(connection, table, member, id)
    if found:
        _removed(connection)


def _removed(connection: Connection) -> None:
    # In the head of the database, which is free for its applications, and so as lasting as the marks.
    connection.execute(f"pragma user_version = {_removals(connection) % _MOST_REMOVALS + 1}")


def rows_of(connection: Connection, table: str, columns: Sequence[str], member: int, id: int) -> list[dict[str, Any]]:
    """The rows of one file in order of arrival, without nulls."""
    if not columns:
        return []
    listed = ", ".join(map(quoted, columns))
    found = connection.execute(
        f"select {listed} from {quoted(table)} where tsd_name = ? and tsd_id = ? order by row_id", (str(member), id)
    ).fetchall()
    return [{name: value for name, value in zip(columns, row, strict=True) if value is not None} for row in found]


# What one member says of its marks to another (hard-parts.md 1). One connection writes, and marks are removed only
# where that voids all positions told before, so the row ids of marks go up in the order of commits: "up to this row"
# names what a snapshot held, also later.

_MOST_REMOVALS = (1 << 31) - 2


def _removals(connection: Connection) -> int:
    """How often marks were removed."""
    found: int = connection.execute("pragma user_version").fetchone()[0]
    return found


def _named(connection: Connection, buffer: str) -> str:
    """A buffer as a position has it."""
    removals = _removals(connection)
    return f"{buffer}#{removals}" if removals else buffer


def position(connection: Connection) -> tuple[int, str]:
    """Row and buffer of the newest mark, with the number of removals if there were any; (0, "") if there is none."""
    row = connection.execute("select rowid, buffer from anylog_marks order by rowid desc limit 1").fetchone()
    return (row[0], _named(connection, row[1])) if row else (0, "")


def is_at(connection: Connection, row: int, buffer: str) -> bool:
    """Whether that row is the mark of that buffer: not if the database was lost or put back since, or lost a mark."""
    if not row:
        return True
    found = connection.execute("select buffer from anylog_marks where rowid = ?", (row,)).fetchone()
    return found is not None and _named(connection, found[0]) == buffer


def not_held(connection: Connection, row: int, files: Sequence[Sequence[Any]]) -> list[list[int]]:
    """Member and id of those of `files` (member, id, hash or None) of which no mark up to `row` holds the content."""
    if not files:
        return []
    text = connection.execute(
        "select json_group_array(json_array(file.value->>0, file.value->>1)) from json_each(?1) as file"
        " where not exists (select 1 from anylog_marks as mark where mark.member = file.value->>0"
        " and mark.tsd_id = file.value->>1 and +mark.rowid <= ?2) and not exists (select 1 from anylog_marks as mark"
        " where mark.hash = file.value->>2 and +mark.rowid <= ?2)",
        (orjson.dumps(files).decode(), row),
    ).fetchone()[0]
    found: list[list[int]] = orjson.loads(text)
    return found


def files_after(
    connection: Connection, member: int, table: str, row: int, most: int
) -> tuple[list[list[Any]], tuple[int, str], bool]:
    """Id and hash (None while it grows) of a member's files of a table behind a row, how far that goes, if more follow.

    A whole file of which every row was parked is left out: it never gets any.
    """
    last = position(connection)
    text = connection.execute(
        "select json_group_array(json_array(at, id, hash)) from (select rowid as at, tsd_id as id, hash"
        " from anylog_marks not indexed where rowid > ? and rowid <= ? and member = ? and table_name = ?"
        " and tsd_id is not null and (rows > 0 or hash is null) order by rowid limit ?)",
        (row, last[0], member, table, most + 1),
    ).fetchone()[0]
    found = orjson.loads(text)
    more = len(found) > most
    if more:
        found = found[:most]
        at = found[-1][0]
        buffer = connection.execute("select buffer from anylog_marks where rowid = ?", (at,)).fetchone()[0]
        last = at, _named(connection, buffer)
    return [[id, hash] for _, id, hash in found], last, more
