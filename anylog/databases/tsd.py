"""The tables of files: which data file has which id, and how many rows of it are here (storage.md 5).

`tsd_info` of the database `almgm` lists what this node got from its sources, `tsd_<m>` what it got from member m of its
cluster. What is to be done with a file that was seen before is decided by `decide`, a pure function of the entries at
hand (hard-parts.md 3); everything of one call is one commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.databases.entries import DROPPED as DROPPED
from anylog.databases.entries import DUPLICATE as DUPLICATE
from anylog.databases.entries import FAILED as FAILED
from anylog.databases.entries import FOREIGN_IDS as FOREIGN_IDS
from anylog.databases.entries import MISSING as MISSING
from anylog.databases.entries import OWN as OWN
from anylog.databases.entries import Busy, Known, decide
from anylog.databases.entries import Entry as Entry
from anylog.databases.entries import Registered as Registered
from anylog.databases.entries import Summary as Summary
from anylog.databases.entries import Wanted as Wanted
from anylog.databases.entries import is_files as is_files
from anylog.databases.library import Connection
from anylog.databases.sqlite import SQLite
from anylog.databases.tables import MEMBER_FILES, id_sum, quoted
from anylog.databases.unlisted import note_loss
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, unix
from anylog.waiting import deferring

DBMS = "almgm"

UNSET = 1_577_836_800.0  # the year 2020: before that no clock was right that knows of this program

_COLUMNS = (
    "file_id", "dbms_name", "table_name", "source", "file_hash", "instructions", "file_time", 'coalesce("rows", 0)',
    "coalesce(status1, '')", "coalesce(status2, '')",
)  # fmt: skip
_PLACES = ", ".join(f"c{place}" for place in range(len(_COLUMNS)))
_NAMED = ", ".join(f"{column} as c{place}" for place, column in enumerate(_COLUMNS))
# Ids are never given again, so the last one outlives its table (operator-ha.md 8.3).
MAKE_IDS = "create table if not exists anylog_ids (name text primary key, id integer not null, file_time text not null)"
_NOTE_LAST = (
    "insert into anylog_ids values (?, ?, ?) on conflict (name) do update set id = max(id, excluded.id),"
    " file_time = max(file_time, excluded.file_time)"
)
# How many ids are left out after a loss: at least so many, for those behind the highest that anybody knows, and as many
# more as so many random bits say, for a life of which nobody knows, when the clock may have been ahead of now.
GAP, GAP_BITS = 1 << 20, 24


# The streams that were counted last, by the hashes that they had before: the journal may not have heard of it when the
# node ends, and if the database with their marks is lost then, too, nothing else tells that they were.
_COUNTED = "create table if not exists anylog_counted (stream text primary key, file_id integer not null)"
STREAMS = 10_000  # of them; the journal hears within a second or so


@frozen(kw_only=True)
class Done:
    """What is to be set in one entry; an empty `hash` leaves the one it has.

    `stream`: the hash that stood for it while it had none.
    """

    into: str
    id: int
    rows: int
    hash: str = ""
    stream: str = ""
    status1: str = ""
    status2: str = ""


@frozen(kw_only=True)
class Asked:
    """Which entries are asked for. `hash` overrides the dates; dates are from `start` on, and before `end`."""

    start: str = ""
    end: str = ""
    hash: str = ""
    failed: bool = False  # only those with status 1 `01` or `03`

    def condition(self) -> tuple[str, list[str]]:
        """As SQL, with its parameters."""
        parts, values = ["1"], []
        if self.hash:
            parts.append("file_hash = ?")
            values.append(self.hash)
        else:
            for text, sign in ((self.start, ">="), (self.end, "<")):
                if text:
                    parts.append(f"file_time {sign} ?")
                    values.append(text)
        if self.failed:
            parts.append(f"status1 in ('{MISSING}', '{FAILED}')")
        return " and ".join(parts), values


@define(kw_only=True, eq=False)
class Tsd:
    """The tables of files in the database `almgm`. What fails, fails with AnyLogError 10, 16, 29 or 503."""

    database: SQLite
    _clock: Clock
    _chance: Random
    _since: Callable[[], str] = field(default=lambda: "")  # a time that is over for sure, if the clock was never set
    gone: bool = False  # `tsd_info` was dropped through this: another is asked for when it is there again
    log = Logger()

    @deferring
    async def register(self, wanted: Sequence[Wanted], busy: Busy = lambda into, id: True) -> list[Registered]:
        """An entry for each, in one commit; of two with one hash the second gets that of the first, `pending`.

        `busy` says of pending entries whether somebody is at work on them.

        Raises AnyLogError 28 for a table that is none of files, 29 if there is no `tsd_info`, 40 for a file of another
        member without an id.
        """
        for want in wanted:
            if not is_files(want.into):
                raise AnyLogError(28, f"'{want.into}' is not a table of files: tsd_info, or tsd_ and a member id")
            if want.into != OWN and not want.id:
                raise AnyLogError(40, f"{want.into}: a file of another member has the id that member gave it")
        for into in sorted({want.into for want in wanted if want.into != OWN}):
            if self.database.schema(into) is None:
                await self.database.create(into, MEMBER_FILES)
        return await self.database.write(
            lambda connection: self._register(connection, wanted, busy), _pages(len(wanted))
        )

    def finish(self, done: Sequence[Done]) -> Deferred[None]:
        """Set rows, status and hash of entries in one commit; entries that are gone are skipped."""
        return self.database.write(lambda connection: self._finish(connection, done), _pages(len(done)))

    def note_counted(self, stream: str, id: int) -> Deferred[int]:
        """A stream was counted as an entry of `tsd_info`, by the hash it had before; gives the rows of that entry."""

        def work(connection: Connection) -> int:
            _note_counted(connection, [(stream, id)])
            return next((entry.rows for entry in _by_ids(connection, OWN, [id])), 0)

        return self.database.write(work)

    def remove(self, entries: Sequence[tuple[str, int]]) -> Deferred[int]:
        """Delete entries (table, id); gives how many there were.

        Entries that say that the content is held by one of these go, too, if nobody else holds it: it is missing now
        (operator-ha.md 9.2).
        """
        return self.database.write(lambda connection: self._remove(connection, entries), _pages(len(entries)))

    def forget(self, entries: Sequence[tuple[str, int]]) -> Deferred[None]:
        """Delete entries (table, id), and nothing else."""
        return self.database.write(lambda connection: _delete(connection, entries), _pages(len(entries)))

    def give_up(self, useless: Sequence[tuple[str, int]], done: Sequence[Done]) -> Deferred[None]:
        """Delete entries (table, id) and finish others, in one commit; what is not pending any more stays as it is."""

        def work(connection: Connection) -> None:
            waits = {(into, entry.id) for into, entry in _pending(connection)}
            _delete(connection, [each for each in useless if each in waits])
            self._finish(connection, [each for each in done if (each.into, each.id) in waits])

        return self.database.write(work, _pages(len(useless) + len(done)))

    def leaning(self, dbms: str) -> Deferred[list[tuple[str, Entry]]]:
        """Entries of a database that say that their content is here under another one, although none holds rows."""
        return self.database.read(lambda connection: _leaning(connection, dbms))

    def pending(self) -> Deferred[list[tuple[str, Entry]]]:
        """Entries that are registered and not loaded, of all tables."""
        return self.database.read(_pending)

    def by_hash(self, hashes: Sequence[str]) -> Deferred[dict[str, list[tuple[str, Entry]]]]:
        """All entries of these hashes, `tsd_info` first."""
        return self.database.read(lambda connection: _by_hash(connection, tables_in(connection), hashes))

    def by_ids(self, into: str, ids: Sequence[int]) -> Deferred[dict[int, Entry]]:
        """Those entries of one table that are there."""
        return self.database.read(
            lambda connection: {
                entry.id: entry for entry in (_by_ids(connection, into, ids) if into in tables_in(connection) else ())
            }
        )

    def tables(self) -> Deferred[list[str]]:
        """The tables of files that are there: `tsd_info`, then the others by member."""
        return self.database.read(tables_in)

    def sums(self, into: str, dbms: str) -> Deferred[dict[str, tuple[int, int, int]]]:
        """User table -> files with rows, their rows, the `id_sum` of their ids."""
        return self.database.read(
            lambda connection: {
                row[0]: (row[1], row[2], row[3])
                for row in selected(
                    connection,
                    into,
                    f'select table_name, count(*), sum("rows"), {id_sum("file_id")} from {{table}} where dbms_name = ?'
                    ' and "rows" > 0 and status2 is not ? group by table_name',
                    (dbms, DROPPED),
                )
            }
        )

    def lines(self, into: str, dbms: str, table: str, after_id: int, most: int) -> Deferred[list[Entry]]:
        """At most `most` entries with rows, by id, from behind `after_id` on."""
        where = 'file_id > ? and dbms_name = ? and table_name = ? and "rows" > 0 order by file_id limit ?'
        return self.database.read(
            lambda connection: (
                _entries(connection, into, where, (after_id, dbms, table, most))
                if into in tables_in(connection)
                else []
            )
        )

    def ids_beyond(self, highest: int, lost: bool = True) -> Deferred[None]:
        """After a loss of which `highest` is the highest id that anybody knows: the next id of `tsd_info` is beyond all
        that may have been given before. Never lowers it. If entries are `lost` for sure it is noted in the same commit
        that files above the last id may be in the archive alone (`unlisted`)."""

        def work(connection: Connection) -> None:
            if lost:
                note_loss(connection, last_given(connection)[0])
            if highest < FOREIGN_IDS:
                note_last(connection, self._beyond(highest), "")

        return self.database.write(work)

    def last_id(self) -> Deferred[int]:
        """The highest id that was given here, 0 before the first."""
        return self.database.read(lambda connection: last_given(connection)[0])

    def entries(self, into: str, asked: Asked, *, before_id: int = 0, most: int = 0) -> Deferred[list[Entry]]:
        """Entries, the newest first; only those with an id below `before_id`, and at most `most`, unless 0."""
        return self.database.read(lambda connection: _asked_entries(connection, into, asked, before_id, most))

    def widths(self, into: str, asked: Asked) -> Deferred[list[int]]:
        """The longest text of each column among these entries, in the order of `Entry`."""
        condition, values = asked.condition()
        longest = ", ".join(f"max(length({column}))" for column in _COLUMNS)

        def work(connection: Connection) -> list[int]:
            found = selected(connection, into, f"select {longest} from {{table}} where {condition}", values)
            return [width or 0 for width in found[0]] if found else []

        return self.database.read(work)

    def summary(self, into: str, asked: Asked) -> Deferred[list[Summary]]:
        """One line for each user table, by database and table."""
        condition, values = asked.condition()
        statement = (
            "select dbms_name, table_name, min(file_time), min(file_id), max(file_time), max(file_id), count(*),"
            " count(distinct source), count(distinct coalesce(status1, '')), count(distinct coalesce(status2, '')),"
            f' coalesce(sum("rows"), 0) from {{table}} where {condition} group by 1, 2 order by 1, 2'
        )
        names = [each.name for each in Summary.__attrs_attrs__]
        return self.database.read(
            lambda connection: [
                Summary(**dict(zip(names, row, strict=True))) for row in selected(connection, into, statement, values)
            ]
        )

    def info(self, into: str) -> Deferred[tuple[Any, ...]]:
        """Of one table: files, rows, those not loaded without a reason, those that failed, last id, last time."""
        statement = (
            'select count(*), coalesce(sum("rows"), 0), count(*) filter (where coalesce("rows", 0) = 0 and'
            f" coalesce(status1, '') = ''), count(*) filter (where status1 in ('{MISSING}', '{FAILED}')),"
            " coalesce(max(file_id), 0), coalesce(max(file_time), '') from {table}"
        )
        return self.database.read(lambda connection: (*selected(connection, into, statement, ()), (0,) * 5 + ("",))[0])

    def note(self, hash: str, status1: str, status2: str | None) -> Deferred[int]:
        """Set the status of a hash in `tsd_info`; None leaves the second as it is. Gives the id, 0 if there is none."""

        def work(connection: Connection) -> int:
            found = selected(
                connection,
                OWN,
                "update {table} set status1 = ?, status2 = coalesce(?, status2) where file_hash = ? returning file_id",
                (status1, status2, hash),
            )
            return found[0][0] if found else 0

        return self.database.write(work)

    def flag(self, dbms: str, status2: str) -> Deferred[None]:
        """Set status 2 of all that is loaded in a database, in all tables."""

        def work(connection: Connection) -> None:
            for into in tables_in(connection):
                statement = f'update {quoted(into)} set status2 = ? where dbms_name = ? and "rows" > 0'
                connection.execute(statement, (status2, dbms))

        return self.database.write(work)

    def drop(self, tables: Sequence[str]) -> Deferred[None]:
        """Drop tables of files. Ids of `tsd_info` go on where they were when it is made again."""
        self.gone |= OWN in tables

        def work(connection: Connection) -> None:
            there = tables_in(connection)
            for name in tables:
                if not is_files(name) or name not in there:
                    raise AnyLogError(29, f"there is no table of files '{name}'")
            for name in tables:
                if name == OWN:
                    note_last(connection, *last_given(connection))
                connection.execute(f"drop table {quoted(name)}")
                connection.execute("delete from anylog_columns where table_name = ?", (name,))

        return self.database.write(work)

    def has_of(self, member: int) -> bool:
        """Whether there is a table of the files of that other member, who may have left the cluster."""
        return self.database.schema(f"tsd_{member}") is not None

    @deferring
    async def make_of(self, member: int) -> None:
        """Make the table of the files of another member, if it is not there."""
        if not self.has_of(member):
            await self.database.create(f"tsd_{member}", MEMBER_FILES)

    def _beyond(self, highest: int) -> int:
        """Above it, and above the time in milliseconds, by a gap that is another one each time (operator-ha.md 8.3)."""
        return max(highest, int(unix(self._clock) * 1000)) + GAP + self._chance.getrandbits(GAP_BITS)

    def came_back(self, connection: Connection, ids: Iterable[int]) -> None:
        """Own ids that others tell, before they are entered in the transaction at hand.

        Those above the last one here were given in a life of this member that is forgotten. Behind them there may be
        more, which are known elsewhere and are not back yet: to go on from here would give them again.
        """
        last, _ = last_given(connection)
        back = max((id for id in ids if last < id < FOREIGN_IDS), default=0)
        if back:
            note_last(connection, self._beyond(back), "")

    def _register(self, connection: Connection, wanted: Sequence[Wanted], busy: Busy) -> list[Registered]:
        tables = tables_in(connection)
        if OWN not in tables:
            raise AnyLogError(29, "almgm.tsd_info is not there: use 'create table tsd_info where dbms = almgm'")
        by_hash = _by_hash(connection, tables, [want.hash for want in wanted])
        by_id = {}
        for into in sorted({want.into for want in wanted if want.id}):
            ids = [want.id for want in wanted if want.id and want.into == into]
            for entry in _by_ids(connection, into, ids):
                by_id[into, entry.id] = entry
        before = [want.hash for want in wanted if want.before]
        counted = _counted(connection, before) if before else {}
        self.came_back(connection, [want.id for want in wanted if want.into == OWN])
        last, time = last_given(connection)
        # A box that boots in 1970 must not file its data under 1970 (hard-parts.md 3.5). The time of others is not
        # believed beside a clock that was set: one of them may be far ahead.
        clock = unix(self._clock)
        now = max(_time(clock), time, self._since() if clock < UNSET else "")
        known = Known(by_hash, by_id, counted)
        told = decide(wanted, known, last, now, busy)
        _delete(connection, known.removed)
        _insert(connection, known.made)
        own = [entry for (into, _), entry in known.made.items() if into == OWN]
        if own:
            pairs = zip(wanted, told, strict=True)
            given = [each.entry.id for want, each in pairs if not want.id and each.kind in ("new", "double")]
            note_last(connection, max([last, *given]), max((entry.time for entry in own), default=""))
        return told

    def _finish(self, connection: Connection, done: Sequence[Done]) -> None:
        there = set(tables_in(connection))
        for into in sorted({each.into for each in done} & there):
            mine = [each for each in done if each.into == into]
            values = [(each.id, each.rows, each.status1, each.status2, each.hash) for each in mine]
            self._set(connection, into, values, "or ignore")
            if streams := [(each.stream, each.id) for each in mine if each.stream]:
                _note_counted(connection, streams)
            hashed = {each.id: each.hash for each in mine if each.hash}
            if not hashed:
                continue
            for entry in _by_ids(connection, into, list(hashed)):
                if entry.hash != hashed[entry.id]:
                    # Its hash is that of another entry. One of many: the others and the count are not given up for it.
                    self.log.error(
                        "{into} {id}: the hash {hash} has another entry", into=into, id=entry.id, hash=hashed[entry.id]
                    )
                    without = [(*value[:4], "") for value in values if value[0] == entry.id]
                    self._set(connection, into, without, "")

    def _set(self, connection: Connection, into: str, values: Sequence[Sequence[Any]], how: str) -> None:
        connection.execute(
            f'update {how} {quoted(into)} set "rows" = done.n, status1 = done.s1, status2 = done.s2,'
            " file_hash = case when done.h = '' then file_hash else done.h end from (select value->>0 as id,"
            " value->>1 as n, value->>2 as s1, value->>3 as s2, value->>4 as h from json_each(?)) as done"
            " where file_id = done.id",
            (_json(values),),
        )

    def _remove(self, connection: Connection, entries: Sequence[tuple[str, int]]) -> int:
        tables = tables_in(connection)
        found = []
        for into in sorted({into for into, _ in entries} & set(tables)):
            ids = [id for each, id in entries if each == into]
            found += [(into, entry) for entry in _by_ids(connection, into, ids)]
        _delete(connection, [(into, entry.id) for into, entry in found])
        held = [entry.hash for _, entry in found if entry.rows]
        for same in (_by_hash(connection, tables, held) if held else {}).values():
            if not any(entry.rows for _, entry in same):
                _delete(connection, [(into, entry.id) for into, entry in same if entry.status1 == DUPLICATE])
        return len(found)


# Statements. Each is one step of the engine, whatever the number of entries: what a thread asks for row by row stands
# in line for the interpreter row by row (hard-parts.md 5).


def tables_in(connection: Connection) -> list[str]:
    """The tables of files that are there: `tsd_info`, then the others by member."""
    found = connection.execute("select name from sqlite_master where type = 'table' and name glob 'tsd_*'").fetchall()
    names = [row[0] for row in found if is_files(row[0])]
    return sorted(names, key=lambda name: -1 if name == OWN else int(name.removeprefix("tsd_")))


def _entries(connection: Connection, table: str, where: str, values: Sequence[Any] = ()) -> list[Entry]:
    text = connection.execute(
        f"select json_group_array(json_array({_PLACES})) from (select {_NAMED} from {quoted(table)} where {where})",
        values,
    ).fetchone()[0]
    return [
        Entry(
            id=row[0], dbms=row[1], table=row[2], source=row[3], hash=row[4], instructions=row[5], time=row[6],
            rows=row[7], status1=row[8], status2=row[9],
        )
        for row in orjson.loads(text)
    ]  # fmt: skip


def _asked_entries(connection: Connection, table: str, asked: Asked, before: int, most: int) -> list[Entry]:
    if table not in tables_in(connection):
        return []
    condition, values = asked.condition()
    where = f"{condition} and file_id < ? order by file_id desc limit ?"
    return _entries(connection, table, where, [*values, before or (1 << 63) - 1, most or -1])


def _by_hash(
    connection: Connection, tables: Iterable[str], hashes: Sequence[str]
) -> dict[str, list[tuple[str, Entry]]]:
    found: dict[str, list[tuple[str, Entry]]] = {}
    asked = _json(list(hashes))
    for table in tables:
        for entry in _entries(connection, table, "file_hash in (select value from json_each(?))", (asked,)):
            found.setdefault(entry.hash, []).append((table, entry))
    return found


def _leaning(connection: Connection, dbms: str) -> list[tuple[str, Entry]]:
    tables = tables_in(connection)
    held = " or ".join(
        f'exists (select 1 from {quoted(other)} o where o.file_hash = e.file_hash and o."rows" > 0)' for other in tables
    )
    found = []
    for into in tables:
        ids = connection.execute(
            f"select e.file_id from {quoted(into)} e where e.dbms_name = ? and e.status1 = '{DUPLICATE}'"
            f" and not ({held}) order by e.file_id",
            (dbms,),
        ).fetchall()
        found += [(into, entry) for entry in _by_ids(connection, into, [row[0] for row in ids])]
    return found


def _by_ids(connection: Connection, table: str, ids: Sequence[int]) -> list[Entry]:
    return _entries(connection, table, "file_id in (select value from json_each(?))", (_json(list(ids)),))


def selected(connection: Connection, table: str, statement: str, values: Sequence[Any]) -> list[Any]:
    """Rows of a statement about `{table}`; none if that table is not there."""
    if table not in tables_in(connection):
        return []
    rows: list[Any] = connection.execute(statement.replace("{table}", quoted(table)), values).fetchall()
    return rows


def _insert(connection: Connection, made: Mapping[tuple[str, int], Entry]) -> None:
    for table in sorted({into for into, _ in made}):
        values = [
            (e.id, e.dbms, e.table, e.source, e.hash, e.instructions, e.time, e.rows, e.status1, e.status2)
            for (into, _), e in made.items()
            if into == table
        ]
        picked = ", ".join(f"value->>{place}" for place in range(10))
        connection.execute(f"insert into {quoted(table)} select {picked} from json_each(?)", (_json(values),))


def _pending(connection: Connection) -> list[tuple[str, Entry]]:
    return [
        (into, entry)
        for into in tables_in(connection)
        for entry in _entries(
            connection, into, "coalesce(\"rows\", 0) = 0 and coalesce(status1, '') = '' order by file_id"
        )
    ]


def _delete(connection: Connection, entries: Sequence[tuple[str, int]]) -> None:
    for table in sorted({into for into, _ in entries}):
        ids = [id for into, id in entries if into == table]
        connection.execute(
            f"delete from {quoted(table)} where file_id in (select value from json_each(?))", (_json(ids),)
        )


def last_given(connection: Connection) -> tuple[int, str]:
    """The highest id given to a file of our own, and the latest time."""
    there = {
        row[0]
        for row in connection.execute(
            "select name from sqlite_master where name in ('anylog_ids', 'tsd_info')"
        ).fetchall()
    }
    last, time = 0, ""
    for name, statement in (
        ("anylog_ids", f"select max(id), max(file_time) from anylog_ids where name = '{OWN}'"),
        (
            OWN,
            f"select (select max(file_id) from tsd_info where file_id < {FOREIGN_IDS}), max(file_time) from tsd_info",
        ),
    ):
        if name in there:
            found = connection.execute(statement).fetchone()
            last, time = max(last, found[0] or 0), max(time, found[1] or "")
    return last, time


def note_last(connection: Connection, id: int, time: str) -> None:
    """Ids go on behind this one."""
    connection.execute(MAKE_IDS)
    connection.execute(_NOTE_LAST, (OWN, id, time))


def _note_counted(connection: Connection, streams: Sequence[tuple[str, int]]) -> None:
    connection.execute(_COUNTED)
    connection.execute(
        "insert or replace into anylog_counted select value->>0, value->>1 from json_each(?)", (_json(streams),)
    )
    connection.execute(
        "delete from anylog_counted where rowid <= (select max(rowid) from anylog_counted) - ?", (STREAMS,)
    )


def _counted(connection: Connection, streams: Sequence[str]) -> dict[str, Entry]:
    """The entries of those streams that were counted here lately, by the hashes they had before."""
    connection.execute(_COUNTED)
    found = connection.execute(
        "select stream, file_id from anylog_counted where stream in (select value from json_each(?))",
        (_json(list(streams)),),
    ).fetchall()
    entries = {entry.id: entry for entry in _by_ids(connection, OWN, [id for _, id in found])} if found else {}
    return {stream: entries[id] for stream, id in found if id in entries}


def _pages(entries: int) -> int:
    """Bytes of the log for so many entries: hashes lie far from each other, so each has a page of its own."""
    return (entries + 4) * 4096


def _json(values: Any) -> str:
    return orjson.dumps(values).decode()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
