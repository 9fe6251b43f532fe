"""Statements of an audit: what tables, marks and tables of files hold, page by page. Blocking; in lanes."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from anylog.databases import marks
from anylog.databases.library import Connection
from anylog.databases.tables import quoted
from anylog.databases.tsd import is_files

PAGE_VALUES, PAGE_ROWS = 100_000, 4000  # of one page: a snapshot is never held for long
_ARGUMENTS = 100  # an engine takes some more than that in one call
_LARGEST_REAL = 1.7976931348623157e308


@frozen(kw_only=True)
class Line:
    """An entry of a table of files, as far as an audit needs it."""

    id: int
    source: str
    hash: str
    instructions: str
    time: str
    rows: int
    status1: str
    status2: str


def owners(connection: Connection) -> list[int]:
    """The members of whose files anything was loaded here."""
    found: list[int] = []
    while True:
        after = found[-1] if found else -1
        statement = "select min(member) from anylog_marks where tsd_id is not null and member > ?"
        row = connection.execute(statement, (after,)).fetchone()
        if row[0] is None:
            return found
        found.append(row[0])


def lines(connection: Connection, into: str, dbms: str, table: str, after: int, most: int) -> list[Line]:
    """Entries of one user table in one table of files, loaded or not, by id from behind `after` on."""
    if not is_files(into) or not connection.execute("select 1 from pragma_table_info(?)", (into,)).fetchone():
        return []
    found = connection.execute(
        "select file_id, source, file_hash, instructions, file_time, coalesce(\"rows\", 0), coalesce(status1, ''),"
        f" coalesce(status2, '') from {quoted(into)} where file_id > ? and dbms_name = ? and table_name = ?"
        " order by file_id limit ?",
        (after, dbms, table, most),
    ).fetchall()
    names = [each.name for each in Line.__attrs_attrs__]
    return [Line(**dict(zip(names, row, strict=True))) for row in found]


def rows_page(
    connection: Connection, table: str, columns: Sequence[str], member: int, after: tuple[int, int], last: int
) -> bytes:
    """A page of rows of one member's files, by (tsd id, row id) from behind `after` on, up to the id `last`.

    As JSON: [tsd id, row id, [values], ...], the values of all lists in the order of `columns`. Reals have all of their
    digits; what no column of ours can hold is spelled as a text.
    """
    most = max(20, min(PAGE_ROWS, PAGE_VALUES // (len(columns) + 2)))
    listed = ", ".join(["tsd_id as i", "row_id as r", *(f"{quoted(c)} as c{n}" for n, c in enumerate(columns))])
    values = [
        f"case typeof(c{n}) when 'real' then case when abs(c{n}) > {_LARGEST_REAL} then cast(c{n} as text)"
        f" else json(printf('%!.17g', c{n})) end when 'blob' then 'blob ' || hex(c{n}) else c{n} end"
        for n in range(len(columns))
    ]
    lists = [f"json_array({', '.join(values[at : at + _ARGUMENTS])})" for at in range(0, len(values), _ARGUMENTS)]
    # As bytes: a text that somebody put there by hand may be no UTF-8.
    text = connection.execute(
        f"select cast(json_group_array(json_array({', '.join(['i', 'r', *lists])})) as blob) from (select {listed}"
        f" from {quoted(table)} where tsd_name = ? and tsd_id <= ? and (tsd_id, row_id) > (?, ?)"
        " order by tsd_id, row_id limit ?)",
        (str(member), last, *after, most),
    ).fetchone()[0]
    return bytes(text)


def take_out(connection: Connection, table: str, member: int, id: int) -> int:
    """The rows of one file and its mark, in the transaction at hand; gives how many rows there were.

    What was parked of a whole file goes, too: it is parked again when the file is loaded. A streamed file lies in the
    archive without its parked rows, so these stay.
    """
    removed = connection.execute(
        f"select count(*) from {quoted(table)} where tsd_name = ? and tsd_id = ?", (str(member), id)
    ).fetchone()[0]
    connection.execute(f"delete from {quoted(table)} where tsd_name = ? and tsd_id = ?", (str(member), id))
    connection.execute(
        "delete from anylog_parked where buffer in (select buffer from anylog_marks where member = ? and tsd_id = ?"
        " and hash is not null)",
        (member, id),
    )
    marks.remove(connection, member, id)
    return int(removed)
