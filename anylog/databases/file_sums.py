"""Sums over the tables of files, kept by the engine itself: what is told of a million files is not counted each time.

Triggers keep them in the transaction that changes an entry, whoever changes it, so they are as old as the entries are:
after a crash, and in an older copy that is put back. There are two tables of them: of blocks of `BLOCK` ids that follow
each other, and of the files of one user table on one day. A question takes the blocks and days that lie within its
limits as a whole, and looks at the entries of those that do not. The times of a block or a day are bounds: the entry
that was the outermost may be gone.

Sums are used only where the triggers are those of this program; else the entries are counted. `faults` looks whether
they agree with the entries, and `make` counts anew. SQLite alone; another engine keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from attrs import frozen

from anylog.databases.entries import DUPLICATE, MISSING, is_files
from anylog.databases.library import Connection
from anylog.databases.tables import id_number, quoted

T = TypeVar("T")

_SHIFT = 10
BLOCK = 1 << _SHIFT  # ids
PAGE = 50_000  # entries that are compared with their sums in one piece
_LARGEST_ID = (1 << 63) - 1
_LAST = "char(1114111)"  # sorts behind whatever a time goes on with

_SUMS = (
    "CREATE TABLE anylog_sums (files text not null, block integer not null, entries integer not null,"
    " held integer not null, ids integer not null, hashes integer not null, absent integer not null,"
    " pending integer not null, first_time text not null, last_time text not null, primary key (files, block))"
    " without rowid",
    "CREATE TABLE anylog_days (files text not null, day text not null, dbms text not null, name text not null,"
    " entries integer not null, counted integer not null, first_time text not null, last_time text not null,"
    " primary key (files, day, dbms, name)) without rowid",
)


def held(of: str = "") -> str:
    """SQL: whether the rows of a file are here, or its content under another entry."""
    return f"(coalesce({of}\"rows\", 0) > 0 or coalesce({of}status1, '') = '{DUPLICATE}')"


def waiting(of: str = "") -> str:
    """SQL: whether a file is registered and not loaded, or still a buffer."""
    none = f"coalesce({of}\"rows\", 0) = 0 and coalesce({of}status1, '') = ''"
    return f"({none} or {of}file_hash glob 'open:*')"


def hash_number(of: str = "") -> str:
    """SQL: of an id and its hash, below 2^32: one id with two contents makes a difference, two that changed places do.

    It is made of where digits come first in the hash, with which the engine can reckon quickly.
    """
    places = " + ".join(f"(instr({of}file_hash, '{digit}') % 64 << {4 * digit})" for digit in range(8))
    return f"(({of}file_id % 65521 + 1) * (({places}) % 65521))"


_NUMBERS = ("entries", "held", "ids", "hashes", "absent", "pending")


def _numbers(of: str) -> tuple[str, ...]:
    """What an entry adds to its block, in the order of `_NUMBERS`."""
    return (
        "1",
        held(of),
        f"case when {held(of)} then {id_number(f'{of}file_id')} else 0 end",
        f"case when {held(of)} then {hash_number(of)} else 0 end",
        f"({of}status1 is '{MISSING}')",
        waiting(of),
    )


@frozen
class Sums:
    """The entries of one table of files within limits; `first`, `last` and `last_time` of those that are held."""

    held: int = 0
    ids: int = 0  # sum of `id_number` of what is held
    hashes: int = 0  # sum of `hash_number` of what is held
    absent: int = 0
    first: int = 0
    last: int = 0
    last_time: str = ""
    pending: int = 0  # the first one; 0: none


# Keeping them


@lru_cache(64)  # always the same text for a table, and asked for at every statement
def _triggers(table: str) -> tuple[str, ...]:
    here, files = quoted(table), f"'{table}'"
    block = {of: f"where files = {files} and block = {of}.file_id >> {_SHIFT}" for of in ("new", "old")}
    day = {
        of: f"where files = {files} and day = substr({of}.file_time, 1, 10) and dbms = {of}.dbms_name"
        f" and name = {of}.table_name"
        for of in ("new", "old")
    }
    bounds = "first_time = min(first_time, new.file_time), last_time = max(last_time, new.file_time)"
    plus, minus = _numbers("new."), _numbers("old.")

    def added(each: str, unique: str, key: str, numbers: Sequence[tuple[str, str]]) -> str:
        terms = ", ".join(term for _, term in numbers)
        more = ", ".join(f"{name} = {name} + excluded.{name}" for name, _ in numbers)
        return (
            f" insert into {each} values ({files}, {key}, {terms}, new.file_time, new.file_time)"
            f" on conflict ({unique}) do update set {more}, first_time = min(first_time, excluded.first_time),"
            " last_time = max(last_time, excluded.last_time);"
        )

    def taken(each: str, numbers: str, where: str) -> str:
        return f" update {each} set {numbers} {where}; delete from {each} {where} and entries = 0;"

    add_block = added("anylog_sums", "files, block", f"new.file_id >> {_SHIFT}", list(zip(_NUMBERS, plus, strict=True)))
    add_day = added(
        "anylog_days", "files, day, dbms, name", "substr(new.file_time, 1, 10), new.dbms_name, new.table_name",
        [("entries", "1"), ("counted", 'coalesce(new."rows", 0)')],
    )  # fmt: skip
    take_block = taken(
        "anylog_sums",
        ", ".join(f"{name} = {name} - {term}" for name, term in zip(_NUMBERS, minus, strict=True)),
        block["old"],
    )
    take_day = taken(
        "anylog_days", 'entries = entries - 1, counted = counted - coalesce(old."rows", 0)', day["old"]
    )  # fmt: skip
    change_block = ", ".join(
        f"{name} = {name} + {more} - {less}" for name, more, less in zip(_NUMBERS[1:], plus[1:], minus[1:], strict=True)
    )
    same = (
        f"new.file_id >> {_SHIFT} = old.file_id >> {_SHIFT} and new.dbms_name = old.dbms_name"
        " and new.table_name = old.table_name and substr(new.file_time, 1, 10) = substr(old.file_time, 1, 10)"
    )
    change = (
        f" update anylog_sums set {change_block}, {bounds} {block['new']};"
        ' update anylog_days set counted = counted + coalesce(new."rows", 0) - coalesce(old."rows", 0),'
        f" {bounds} {day['new']};"
    )
    does = (
        (f"insert on {here}", add_block + add_day),
        (f"delete on {here}", take_block + take_day),
        (f"update on {here} when {same}", change),
        (f"update on {here} when not ({same})", take_block + take_day + add_block + add_day),
    )
    return tuple(
        f"CREATE TRIGGER anylog_{table}_{number} after {when} begin{what} end"
        for number, (when, what) in enumerate(does)
    )


def kept(connection: Connection, table: str) -> bool:
    """Whether its sums are there, and what keeps them is what this program made."""
    texts = {*_SUMS, *_triggers(table)}
    found = connection.execute(
        "select sql from sqlite_master where (type = 'trigger' and tbl_name = ?)"
        " or (type = 'table' and name in ('anylog_sums', 'anylog_days'))",
        (table,),
    ).fetchall()
    return texts <= {row[0] for row in found}


def keep(connection: Connection) -> None:
    """Sums for each table of files that has none, in the transaction at hand."""
    there = {row[0]: row[1] for row in connection.execute(
        "select name, sql from sqlite_master where type = 'table' and name glob 'tsd_*' or name glob 'anylog_*'"
    ).fetchall()}  # fmt: skip
    tables = sorted(name for name in there if is_files(name))
    if not tables:
        return
    if [there.get("anylog_sums"), there.get("anylog_days")] != list(_SUMS):
        for table in tables:
            _without(connection, table)
        for name, statement in zip(("anylog_sums", "anylog_days"), _SUMS, strict=True):
            connection.execute(f"drop table if exists {name}")
            connection.execute(statement)
    for table in tables:
        if not kept(connection, table):
            make(connection, table)


def _without(connection: Connection, table: str) -> None:
    for (name,) in connection.execute(
        "select name from sqlite_master where type = 'trigger' and tbl_name = ? and name glob 'anylog_*'", (table,)
    ).fetchall():
        connection.execute(f"drop trigger {quoted(name)}")


def make(connection: Connection, table: str) -> None:
    """Count one table of files anew, in the transaction at hand."""
    _without(connection, table)
    for name in ("anylog_sums", "anylog_days"):
        connection.execute(f"delete from {name} where files = ?", (table,))
    connection.execute(f"insert into anylog_sums select ?1, * from ({_blocks(table)} group by 1)", (table,))
    connection.execute(f"insert into anylog_days select ?1, * from ({_days(table)} group by 1, 2, 3)", (table,))
    for statement in _triggers(table):
        connection.execute(statement)


def renew(table: str) -> Callable[[Connection], None]:
    """Count it anew if it is there, as the work of one transaction."""

    def work(connection: Connection) -> None:
        if connection.execute("select 1 from sqlite_master where type = 'table' and name = ?", (table,)).fetchone():
            keep(connection)
            make(connection, table)

    return work


def _blocks(table: str) -> str:
    numbers = ", ".join(f"sum({term})" for term in _numbers(""))
    return f"select file_id >> {_SHIFT}, {numbers}, min(file_time), max(file_time) from {quoted(table)}"


def _days(table: str) -> str:
    return (
        'select substr(file_time, 1, 10), dbms_name, table_name, count(*), coalesce(sum("rows"), 0), min(file_time),'
        f" max(file_time) from {quoted(table)}"
    )


# Asking


def at_once(connection: Connection, work: Callable[[], T]) -> T:
    """Several statements that see one state; for a connection that only reads."""
    connection.execute("begin")
    try:
        return work()
    finally:
        connection.execute("rollback")


_INSIDE = (
    f"files = ?4 and first_time >= ?1 and (?2 = '' or last_time < ?2) and block * {BLOCK} + {BLOCK - 1} <= ?3"
)  # fmt: skip
_ACROSS = (
    f"files = ?4 and last_time >= ?1 and (?2 = '' or first_time < ?2) and block * {BLOCK} <= ?3 and not ({_INSIDE})"
)
_WANTED = "file_time >= ?1 and (?2 = '' or file_time < ?2) and file_id <= ?3 and ?4 <> ''"


def sums(connection: Connection, table: str, start: str, end: str, upto: int = _LARGEST_ID) -> Sums:
    """Of entries with `start` <= time < `end` and ids up to `upto`; an empty time limits nothing. See `at_once`."""
    values = (start, end, upto, table)
    if not kept(connection, table):
        return _counted(connection, quoted(table), values)
    whole = connection.execute(
        "select coalesce(sum(held), 0), coalesce(sum(ids), 0), coalesce(sum(hashes), 0), coalesce(sum(absent), 0),"
        " min(case when held > 0 then block end), max(case when held > 0 then block end),"
        f" min(case when pending > 0 then block end) from anylog_sums where {_INSIDE}",
        values,
    ).fetchone()
    ids = f"file_id between block * {BLOCK} and block * {BLOCK} + {BLOCK - 1}"
    blocks = f"(select block from anylog_sums where {_ACROSS}) cross join {quoted(table)} on {ids}"
    rest = _counted(connection, blocks, values)

    def outermost(which: str, condition: str, block: int | None) -> int:
        if block is None:
            return 0
        statement = f"select {which}(file_id) from {quoted(table)} where file_id between ? and ? and {condition}"
        return connection.execute(statement, _ids(block)).fetchone()[0] or 0

    return Sums(
        held=whole[0] + rest.held,
        ids=whole[1] + rest.ids,
        hashes=whole[2] + rest.hashes,
        absent=whole[3] + rest.absent,
        first=_least(rest.first, outermost("min", held(), whole[4])),
        last=max(rest.last, outermost("max", held(), whole[5])),
        last_time=_last_time(connection, table, values, rest.last_time),
        pending=_least(rest.pending, outermost("min", waiting(), whole[6])),
    )


def _least(*ids: int) -> int:
    return min([id for id in ids if id], default=0)


def _counted(connection: Connection, where_from: str, values: Sequence[Any]) -> Sums:
    numbers = ", ".join(f"coalesce(sum({term}), 0)" for term in _numbers("")[1:5])
    row = connection.execute(
        f"select {numbers}, coalesce(min(file_id) filter (where {held()}), 0),"
        f" coalesce(max(file_id) filter (where {held()}), 0), coalesce(max(file_time) filter (where {held()}), ''),"
        f" coalesce(min(file_id) filter (where {waiting()}), 0) from {where_from} where {_WANTED}",
        values,
    ).fetchone()
    return Sums(*row)


def _last_time(connection: Connection, table: str, values: Sequence[Any], known: str) -> str:
    """Of what is held in whole blocks, if that is later than `known`. Their times are bounds, so the latest first."""
    later, at, most = known, 0, 8
    while True:
        found = connection.execute(
            f"select block, last_time from anylog_sums where {_INSIDE} and held > 0 and last_time > ?5"
            " order by last_time desc, block desc limit ?6 offset ?7",
            (*values, known, most, at),
        ).fetchall()
        for block, bound in found:
            if bound <= later:
                return later
            statement = f"select max(file_time) from {quoted(table)} where file_id between ? and ? and {held()}"
            later = max(later, connection.execute(statement, _ids(block)).fetchone()[0] or "")
        if len(found) < most:
            return later
        at, most = at + most, most * 8


def _ids(block: int) -> tuple[int, int]:
    return block * BLOCK, block * BLOCK + BLOCK - 1


def counted(connection: Connection, table: str, start: str, end: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Database and user table -> entries and their rows, with `start` <= time < `end`. See `at_once`."""
    found: dict[tuple[str, str], tuple[int, int]] = {}

    def add(statement: str) -> None:
        for dbms, name, entries, rows in connection.execute(statement, (start, end, table)).fetchall():
            before = found.get((dbms, name), (0, 0))
            found[dbms, name] = before[0] + entries, before[1] + rows

    wanted = "file_time >= ?1 and (?2 = '' or file_time < ?2) and ?3 <> ''"
    each = 'dbms_name, table_name, count(*), coalesce(sum("rows"), 0)'
    if not kept(connection, table):
        add(f"select {each} from {quoted(table)} where {wanted} group by 1, 2")
        return found
    inside = "min(first_time) >= ?1 and (?2 = '' or max(last_time) < ?2)"
    days = "select day from anylog_days where files = ?3 group by day having"
    add(
        "select dbms, name, sum(entries), sum(counted) from anylog_days where files = ?3 and day in"
        f" ({days} {inside}) group by 1, 2"
    )
    # One range of the index, no wider than it has to be.
    within = (
        f"file_time >= max(day, ?1) and file_time < min(day || {_LAST}, case ?2 when '' then day || {_LAST}"
        " else ?2 end) and substr(file_time, 1, 10) = day"
    )
    across = f"max(last_time) >= ?1 and (?2 = '' or min(first_time) < ?2) and not ({inside})"
    add(f"select {each} from ({days} {across}) cross join {quoted(table)} on {within} group by 1, 2")
    return found


_OF_DAY = f"file_time >= ?1 and file_time < ?1 || {_LAST} and substr(file_time, 1, 10) = ?1"


# Looking whether they are right


@frozen
class Place:
    """How far `faults` has come: blocks first, then days."""

    id: int = -_LARGEST_ID - 1
    day: str | None = None


def faults(connection: Connection, table: str, at: Place) -> tuple[list[str], Place | None]:
    """One page of the sums that do not agree with the entries, in words; and where to go on, None: all was looked at.

    See `at_once`.
    """
    if not kept(connection, table):
        return [f"{table} has no sums"], None
    if at.id < _LARGEST_ID:
        return _faults_of_blocks(connection, table, at)
    return _faults_of_days(connection, table, at)


def _faults_of_blocks(connection: Connection, table: str, at: Place) -> tuple[list[str], Place]:
    some = f"select file_id from {quoted(table)} where file_id >= ? order by file_id limit ?"
    highest, entries = connection.execute(f"select max(file_id), count(*) from ({some})", (at.id, PAGE)).fetchone()
    last = _LARGEST_ID if entries < PAGE else _ids(highest >> _SHIFT)[1]
    there = connection.execute(f"{_blocks(table)} where file_id between ? and ? group by 1", (at.id, last)).fetchall()
    told = connection.execute(
        f"select block, {', '.join(_NUMBERS)}, first_time, last_time from anylog_sums"
        " where files = ? and block between ? and ?",
        (table, at.id >> _SHIFT, last >> _SHIFT),
    ).fetchall()
    wrong = [f"{table}, ids from {_ids(block)[0]}" for (block,) in _unlike(there, told, 1)]
    return wrong, Place(min(last + 1, _LARGEST_ID))


def _faults_of_days(connection: Connection, table: str, at: Place) -> tuple[list[str], Place | None]:
    behind = "" if at.day is None else "where file_time > ?1 and substr(file_time, 1, 10) > ?1"
    found = connection.execute(
        f"select substr(file_time, 1, 10) from {quoted(table)} {behind} order by file_time limit 1",
        () if at.day is None else (at.day,),
    ).fetchone()
    day = found[0] if found else None
    there = connection.execute(f"{_days(table)} where {_OF_DAY} group by 1, 2, 3", (day,)).fetchall()
    told = connection.execute(
        "select day, dbms, name, entries, counted, first_time, last_time from anylog_days where files = ?1"
        " and (?2 is null or day > ?2) and (?3 is null or day <= ?3)",
        (table, at.day, day),
    ).fetchall()
    wrong = [f"{table}, {dbms}.{name} on {day}" for day, dbms, name in _unlike(there, told, 3)]
    return wrong, None if day is None else Place(at.id, day)


def _unlike(there: Iterable[Sequence[Any]], told: Iterable[Sequence[Any]], keys: int) -> list[tuple[Any, ...]]:
    """Keys of lines that are not alike; the last two columns of what is told are bounds."""
    counted, claimed = ({tuple(row[:keys]): row[keys:] for row in rows} for rows in (there, told))
    found = []
    for key in sorted({*counted, *claimed}):
        one, other = counted.get(key), claimed.get(key)
        if one is None or other is None or one[:-2] != other[:-2] or other[-2] > one[-2] or other[-1] < one[-1]:
            found.append(key)
    return found
