"""The laws themselves: a home as it should be breaks none, and each fault put into it is told."""

from __future__ import annotations

import gzip
import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import files_laws
import pytest

MEMBER = 7
TIME = "2026-11-21 10:00:00.123456"
DAY = Path("26/11/21")
WHOLE = b'{"name":"a"}\n{"name":"b"}\n{"name":"parked"}\n'
STREAMED = b'{"name":"c"}\n'


def md5(prefix: str, content: bytes) -> str:
    return hashlib.md5(prefix.encode() + content, usedforsecurity=False).hexdigest()


HASHES = {1: md5("town.t", WHOLE), 2: md5(f"town.t.{MEMBER}.2", STREAMED)}


def file_name(id: int) -> str:
    return f"town.t.0.{HASHES[id]}.0.{MEMBER}.{id}.261121100000.json"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    data = files_laws.data(tmp_path)
    for folder in (*files_laws.FOLDERS, "dbms", "archive" / DAY):
        (data / folder).mkdir(parents=True, exist_ok=True)
    almgm = sqlite3.connect(data / "dbms" / "almgm.dbms")
    almgm.execute(
        "create table tsd_info (file_id integer primary key, dbms_name, table_name, source, file_hash, instructions,"
        " file_time, rows, status1, status2)"
    )
    town = sqlite3.connect(data / "dbms" / "town.dbms")
    town.execute("create table t (row_id integer primary key, tsd_name text, tsd_id int, name text)")
    town.execute("create table anylog_marks (buffer, table_name, rows, parked, hash, member, tsd_id)")
    for id, rows, parked, names in ((1, 2, 1, "ab"), (2, 1, 1, "c")):
        almgm.execute(
            "insert into tsd_info values (?, 'town', 't', '0', ?, '0', ?, ?, '', null)", (id, HASHES[id], TIME, rows)
        )
        town.execute(
            "insert into anylog_marks values (?, 't', ?, ?, ?, ?, ?)",
            (f"b{id}", rows, parked, HASHES[1] if id == 1 else None, MEMBER, id),
        )
        town.executemany("insert into t values (null, ?, ?, ?)", [(str(MEMBER), id, name) for name in names])
    for connection in (almgm, town):
        connection.commit()
        connection.close()
    (data / "archive" / DAY / f"{file_name(1)}.gz").write_bytes(gzip.compress(WHOLE))
    (data / "archive" / DAY / file_name(2)).write_bytes(STREAMED)
    (data / "error" / "town.t.again.err_86.1795255200.json").write_bytes(WHOLE)
    return tmp_path


def broken(home: Path, ids: dict[tuple[str, int], str] | None = None) -> str:
    return "\n".join(files_laws.broken(home, MEMBER, acknowledged="abc", sent="abc", ids=ids))


def test_a_home_as_it_should_be(home: Path) -> None:
    """Whole and streamed files, packed or not, parked rows of both: nothing to tell, again and again."""
    ids: dict[tuple[str, int], str] = {}
    assert files_laws.at_rest(home) == ""
    assert broken(home, ids) == broken(home, ids) == ""
    assert ids == {("tsd_info", 1): HASHES[1], ("tsd_info", 2): HASHES[2]}


def sql(database: str, statement: str) -> Callable[[Path], None]:
    def change(home: Path) -> None:
        connection = sqlite3.connect(files_laws.data(home) / "dbms" / f"{database}.dbms")
        connection.execute(statement)
        connection.commit()
        connection.close()

    return change


def written(place: str, content: bytes) -> Callable[[Path], None]:
    return lambda home: (files_laws.data(home) / place).write_bytes(content) and None


def renamed(place: str, to: str) -> Callable[[Path], None]:
    def change(home: Path) -> None:
        (files_laws.data(home) / to).parent.mkdir(parents=True, exist_ok=True)
        (files_laws.data(home) / place).rename(files_laws.data(home) / to)

    return change


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a reading is lost": (sql("town", "delete from t where name = 'c'"), "are lost, such as ['c']"),
    "a reading is doubled": (sql("town", "insert into t select null, tsd_name, tsd_id, name from t"), "more than once"),
    "one that nobody sent": (sql("town", "update t set name = 'z' where name = 'c'"), "never sent"),
    "rows without an entry": (sql("town", "update t set tsd_name = '0', tsd_id = 0 where name = 'c'"), "('0', 0)"),
    "a wrong count": (sql("almgm", "update tsd_info set rows = 5 where file_id = 2"), "5 in the table of files"),
    "no mark": (sql("town", "delete from anylog_marks where tsd_id = 2"), "0 in the mark"),
    "pending": (sql("almgm", "update tsd_info set rows = 0 where file_id = 1"), "pending for ever"),
    "a placeholder": (sql("almgm", "update tsd_info set file_hash = 'open:1' where file_id = 2"), "not a file yet"),
    "an id for two hashes": (sql("almgm", f"update tsd_info set file_hash = '{'0' * 32}' where file_id = 2"), "id 2"),
    "one content twice": (
        sql("almgm", "create table tsd_9 as select * from tsd_info where file_id = 1"), "is loaded as"),
    "a double of nothing": (
        sql("almgm", f"insert into tsd_info values (3, 'town', 't', '0', '{'0' * 32}', '0', '{TIME}', 0, '02', 'x 9')"),
        "None holds the content"),
    "no file": (renamed(f"archive/{DAY}/{file_name(2)}", "bkup/elsewhere.json"), "0 files"),
    "another day": (renamed(f"archive/{DAY}/{file_name(2)}", f"archive/26/11/22/{file_name(2)}"), "nobody knows"),
    "two forms of one file": (written(f"archive/{DAY}/{file_name(1)}", WHOLE), "2 files"),
    "other content": (written(f"archive/{DAY}/{file_name(2)}", b'{"name":"d"}\n'), "hashes to"),
    "a line too many": (written(f"archive/{DAY}/{file_name(2)}", STREAMED * 2), "2 lines, 1 are wanted"),
    "left in watch": (written("watch/town.t.late.json", STREAMED), "left in watch"),
    "in two places": (written(f"bkup/{file_name(2)}", STREAMED), "is in ['archive', 'bkup']"),
    "failed and loaded": (
        written(f"error/{file_name(2)[:-5]}.err_27.1795255200.json", STREAMED), "is in ['archive', 'error']"),
    "a failure without code": (written("error/town.t.json", STREAMED), "no code"),
    "a draft": (written(f"archive/{DAY}/.{file_name(2)}.draft", STREAMED), "a draft was left"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_told(home: Path, fault: str) -> None:
    """One thing wrong, and the law that it breaks says so."""
    change, wanted = FAULTS[fault]
    ids: dict[tuple[str, int], str] = {}
    assert broken(home, ids) == ""
    change(home)
    assert wanted in broken(home, ids)


def test_not_at_rest(home: Path) -> None:
    """What is still in work is told apart from what is wrong."""
    written("watch/town.t.late.json", STREAMED)(home)
    assert "1 files in the watch directory" in files_laws.at_rest(home)
    sql("almgm", "update tsd_info set rows = 0 where file_id = 2")(home)
    (files_laws.data(home) / "watch/town.t.late.json").unlink()
    assert "1 entries are pending" in files_laws.at_rest(home)
