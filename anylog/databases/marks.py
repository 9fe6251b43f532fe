"""What marks say: what is loaded, and under which name (operator-ha.md 3.4, hard-parts.md 2.3). Blocking; in lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from anylog.databases.library import Connection
from anylog.databases.tables import quoted
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
    """Of each table: files of a member that hold rows, those rows, and the sum of the files' ids."""
    found = connection.execute(
        "select table_name, count(*), sum(rows), sum(tsd_id) from anylog_marks"
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


def rows_of(connection: Connection, table: str, columns: Sequence[str], member: int, id: int) -> list[dict[str, Any]]:
    """The rows of one file in order of arrival, without nulls."""
    if not columns:
        return []
    listed = ", ".join(map(quoted, columns))
    found = connection.execute(
        f"select {listed} from {quoted(table)} where tsd_name = ? and tsd_id = ? order by row_id", (str(member), id)
    ).fetchall()
    return [{name: value for name, value in zip(columns, row, strict=True) if value is not None} for row in found]
