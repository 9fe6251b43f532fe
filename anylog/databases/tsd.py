from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from attrs import frozen


@frozen(kw_only=True)
class Entry:
    id: int
    dbms: str
    table: str
    source: str
    hash: str
    instructions: str
    time: str
    rows: int
    status1: str = ""
    status2: str = ""


@frozen(kw_only=True)
class Wanted:
    dbms: str
    table: str
    source: str
    hash: str
    instructions: str
    id: int = 0
    time: str = ""
    into: str = "tsd_info"


@frozen(kw_only=True)
class Registered:
    kind: Literal["new", "pending", "loaded", "conflict"]
    into: str
    entry: Entry


@frozen(kw_only=True)
class Done:
    into: str
    id: int
    rows: int
    hash: str = ""
    status1: str = ""
    status2: str = ""


def entry(row: Any) -> Entry:
    return Entry(id=row[0], dbms=row[1], table=row[2], source=row[3], hash=row[4], instructions=row[5], time=row[6],
                 rows=row[7] or 0, status1=row[8] or "", status2=row[9] or "")


class Tsd:
    def __init__(self, *, database: Any, clock: Any) -> None:
        self.database, self.clock = database, clock

    def register(self, wanted: Any) -> Any:
        now = datetime.fromtimestamp(self.clock.seconds(), UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

        def work(c: Any) -> Any:
            out = []
            for w in wanted:
                if w.id:
                    row = c.execute("select * from tsd_info where file_id = ?", (w.id,)).fetchone()
                    if row:
                        e = entry(row)
                        if e.hash != w.hash:
                            out.append(Registered(kind="conflict", into="tsd_info", entry=e))
                            continue
                        if e.status1 in ("01", "03"):
                            c.execute("delete from tsd_info where file_id = ?", (w.id,))
                        else:
                            out.append(Registered(kind="loaded" if e.rows else "pending", into="tsd_info", entry=e))
                            continue
                row = c.execute("select * from tsd_info where file_hash = ?", (w.hash,)).fetchone()
                if row:
                    e = entry(row)
                    if e.status1 in ("01", "03"):
                        c.execute("delete from tsd_info where file_id = ?", (e.id,))
                    else:
                        out.append(Registered(kind="loaded" if e.rows else "pending", into="tsd_info", entry=e))
                        continue
                time = w.time or now
                c.execute(
                    "insert into tsd_info (file_id, dbms_name, table_name, source, file_hash, instructions, file_time,"
                    " rows, status1, status2) values (?, ?, ?, ?, ?, ?, ?, 0, '', '')",
                    (w.id or None, w.dbms, w.table, w.source, w.hash, w.instructions, time),
                )
                id = w.id or c.execute("select last_insert_rowid()").fetchone()[0]
                e = Entry(id=id, dbms=w.dbms, table=w.table, source=w.source, hash=w.hash,
                          instructions=w.instructions, time=time, rows=0)
                out.append(Registered(kind="new", into="tsd_info", entry=e))
            return out

        return self.database.write(work)

    def finish(self, done: Any) -> Any:
        def work(c: Any) -> None:
            for d in done:
                c.execute("update tsd_info set rows = ?, file_hash = case when ? = '' then file_hash else ? end,"
                          " status1 = ?, status2 = ? where file_id = ?",
                          (d.rows, d.hash, d.hash, d.status1, d.status2, d.id))
        return self.database.write(work)

    def remove(self, entries: Any) -> Any:
        return self.database.write(lambda c: [c.execute("delete from tsd_info where file_id = ?", (i,)) for _, i in entries])

    def pending(self) -> Any:
        return self.database.read(lambda c: [("tsd_info", entry(r)) for r in c.execute(
            "select * from tsd_info where rows = 0 and status1 = ''").fetchall()])

    def by_ids(self, into: str, ids: Any) -> Any:
        return self.database.read(lambda c: {i: entry(r) for i in ids for r in c.execute(
            "select * from tsd_info where file_id = ?", (i,)).fetchall()})

    def sums(self, into: str, dbms: str) -> Any:
        return self.database.read(lambda c: {r[0]: tuple(r[1:]) for r in c.execute(
            "select table_name, count(*), sum(rows), sum(file_id) from tsd_info where dbms_name = ? and rows > 0 group by 1",
            (dbms,)).fetchall()})

    def lines(self, into: str, dbms: str, table: str, after: int, most: int) -> Any:
        return self.database.read(lambda c: [entry(r) for r in c.execute(
            "select * from tsd_info where dbms_name = ? and table_name = ? and file_id > ? and rows > 0 order by file_id limit ?",
            (dbms, table, after, most)).fetchall()])

    def last_id(self) -> Any:
        return self.database.read(lambda c: (c.execute("select seq from sqlite_sequence where name='tsd_info'").fetchone() or [0])[0])

    def ids_above(self, least: int) -> Any:
        return self.database.write(lambda c: c.execute("update sqlite_sequence set seq = max(seq, ?) where name = 'tsd_info'", (least,)).rowcount or
            c.execute("insert into sqlite_sequence values ('tsd_info', ?)", (least,)))
