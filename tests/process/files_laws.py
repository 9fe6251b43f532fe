"""The laws of files, read from a home at rest: its database files and its folders, without asking the node.

Sources: operator-ha.md 14 (I-3, I-4, I-5, I-6, I-10), hard-parts.md 2.3.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from attrs import define, field, frozen

FOLDERS = ("watch", "distr", "archive", "bkup", "error")
DUPLICATE, DOUBLE = "86", "02"
_FULL = re.compile(r"[^.]+\.[^.]+\.[^.]+\.([0-9a-f]{32})\.[^.]+\.(\d+)\.(\d+)\.(\d{12})")
_TABLES = "select name from sqlite_master where type = 'table' and name not like 'sqlite!_%' escape '!' order by name"


@frozen(kw_only=True)
class Entry:
    """A row of a table of files (storage.md 5)."""

    into: str
    id: int
    dbms: str
    table: str
    source: str
    hash: str
    instructions: str
    time: str
    rows: int
    status1: str
    status2: str

    @property
    def date(self) -> str:
        """The date segment of its file's name."""
        return re.sub(r"\D", "", self.time)[2:14]

    @property
    def pending(self) -> bool:
        """Registered, and neither loaded nor given up."""
        return not self.rows and not self.status1


@frozen(kw_only=True)
class Mark:
    """A row of `anylog_marks`."""

    buffer: str
    table: str
    rows: int
    parked: int
    hash: str
    member: int
    id: int


@define(kw_only=True)
class Home:
    """What lies in one home."""

    entries: list[Entry] = field(factory=list)
    marks: dict[str, list[Mark]] = field(factory=dict)  # by database
    tags: dict[str, Counter[tuple[str, int]]] = field(factory=dict)  # by database: rows of each (tsd_name, tsd_id)
    files: dict[str, list[Path]] = field(factory=dict)  # by kind of folder


def data(home: Path) -> Path:
    """Where the folders of files lie."""
    return home / "AnyLog-Network" / "data"


def read(home: Path, databases: Iterable[str] = ("town",)) -> Home:
    """All of it as it is now. The node may run; it should be at rest."""
    found = Home()
    with _opened(data(home) / "dbms" / "almgm.dbms") as almgm:
        for table in _tables(almgm):
            if re.fullmatch(r"tsd_(info|\d+)", table):
                found.entries += [_entry(table, row) for row in almgm.execute(f"select * from {table} order by 1")]
    for name in databases:
        path = data(home) / "dbms" / f"{name}.dbms"
        if not path.exists():
            continue
        with _opened(path) as connection:
            found.marks[name] = _marks(connection)
            tags = found.tags[name] = Counter()
            for table in _user_tables(connection):
                for tsd_name, tsd_id, rows in connection.execute(
                    f'select tsd_name, tsd_id, count(*) from "{table}" group by 1, 2'
                ):
                    tags[str(tsd_name), int(tsd_id)] += rows
    for folder in FOLDERS:
        found.files[folder] = sorted(
            path for path in (data(home) / folder).rglob("*") if path.is_file() and not path.is_symlink()
        )
    return found


def names(home: Path, database: str = "town", column: str = "name") -> Counter[str]:
    """Every value of a column in all user tables of a database, and how often it is there."""
    path = data(home) / "dbms" / f"{database}.dbms"
    found: Counter[str] = Counter()
    if path.exists():
        with _opened(path) as connection:
            for table in _user_tables(connection):
                if column in {row[1] for row in connection.execute(f'pragma table_info("{table}")')}:
                    found.update(row[0] for row in connection.execute(f'select "{column}" from "{table}"'))
    return found


def parked(home: Path, database: str = "town") -> list[str]:
    """The names of readings that are kept aside."""
    path = data(home) / "dbms" / f"{database}.dbms"
    if not path.exists():
        return []
    with _opened(path) as connection:
        return [str(row[0]) for row in connection.execute("select row->>'name' from anylog_parked")]


def at_rest(home: Path) -> str:
    """What is still to be done, or an empty text."""
    try:
        found = read(home)
    except (sqlite3.OperationalError, FileNotFoundError) as missing:
        return str(missing)
    waiting = [
        path.name for path in found.files["watch"] if path.suffix in (".json", ".gz", ".sql") and path.name[0] != "."
    ]
    if waiting:
        return f"{len(waiting)} files in the watch directory, such as {waiting[0]}"
    unfinished = [entry for entry in found.entries if entry.pending or entry.hash.startswith("open:")]
    if unfinished:
        return f"{len(unfinished)} entries are pending, such as {unfinished[0]}"
    return ""


def broken(
    home: Path, member: int, *, acknowledged: Collection[str] = (), sent: Collection[str] | None = None,
    ids: dict[tuple[str, int], str] | None = None, databases: Iterable[str] = ("town",),
) -> list[str]:  # fmt: skip
    """Every breach of a law, in words; none if all is well.

    `acknowledged`: names of readings that somebody heard "yes" for; `sent`: all that were ever sent. `ids`: which hash
    each id of a table of files had before; it is brought up to date.
    """
    found = read(home, databases)
    told = _readings(names(home), acknowledged, sent)
    told += _entries(found)
    told += _ids(found, {} if ids is None else ids)
    told += _rows(found, member)
    told += _doubles(found, member)
    told += _archive(home, found, member)
    told += _folders(found)
    return told


def _readings(found: Counter[str], acknowledged: Collection[str], sent: Collection[str] | None) -> list[str]:
    """I-3."""
    told = []
    if lost := sorted(set(acknowledged) - set(found)):
        told.append(f"{len(lost)} acknowledged readings are lost, such as {lost[:3]}")
    if twice := sorted(name for name, times in found.items() if times > 1):
        told.append(f"{len(twice)} readings are there more than once, such as {twice[0]}: {found[twice[0]]} times")
    if sent is not None and (foreign := sorted(set(found) - set(sent))):
        told.append(f"{len(foreign)} readings were never sent, such as {foreign[:3]}")
    return told


def _entries(found: Home) -> list[str]:
    """At rest nothing is pending, and no buffer holds the place of a file."""
    told = [f"pending for ever: {entry}" for entry in found.entries if entry.pending]
    return told + [f"not a file yet: {entry}" for entry in found.entries if entry.hash.startswith("open:")]


def _ids(found: Home, before: dict[tuple[str, int], str]) -> list[str]:
    """I-10, and one content is loaded once."""
    told = []
    holders: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in found.entries:
        if entry.rows:
            holders[entry.hash].append(entry)
        if entry.hash.startswith("open:"):
            continue
        was = before.setdefault((entry.into, entry.id), entry.hash)
        if was != entry.hash:
            told.append(f"id {entry.id} of {entry.into} was {was} and is {entry.hash}")
    for hash, entries in holders.items():
        if len(entries) > 1:
            told.append(f"{hash} is loaded as {[(entry.into, entry.id) for entry in entries]}")
    for marks in found.marks.values():
        twice = Counter(mark.hash for mark in marks if mark.hash and mark.rows)
        told += [f"{hash} has {times} marks" for hash, times in twice.items() if times > 1]
    return told


def _rows(found: Home, member: int) -> list[str]:
    """I-4: an entry has all of its rows in the tables, rows have an entry, and the marks agree."""
    told = []
    wanted: defaultdict[str, dict[tuple[str, int], int]] = defaultdict(dict)
    for entry in found.entries:
        if entry.rows:
            owner = member if entry.into == "tsd_info" else int(entry.into.removeprefix("tsd_"))
            wanted[entry.dbms][str(owner), entry.id] = entry.rows
    for name in sorted({*wanted, *found.tags}):
        have = found.tags.get(name, Counter())
        marked = {(str(mark.member), mark.id): mark.rows for mark in found.marks.get(name, ()) if mark.rows}
        for key in sorted({*wanted[name], *have, *marked}):
            numbers = {
                "the table of files": wanted[name].get(key, 0), "tables": have[key], "the mark": marked.get(key, 0),
            }  # fmt: skip
            if len(set(numbers.values())) > 1:
                told.append(f"rows of {name} {key}: " + ", ".join(f"{n} in {where}" for where, n in numbers.items()))
    return told


def _doubles(found: Home, member: int) -> list[str]:
    """Where an entry says that its content is here under another, that is the one that holds it."""
    told = []
    holders = {entry.hash: f"{entry.into} {entry.id}" for entry in found.entries if entry.rows}
    for entry in found.entries:
        if entry.status1 == DOUBLE and holders.get(entry.hash) != entry.status2:
            told.append(f"{holders.get(entry.hash)} holds the content of {entry}")
    return told


def _archive(home: Path, found: Home, member: int) -> list[str]:
    """I-5, and nothing lies there that is not registered."""
    told, known = [], set()
    root = data(home) / "archive"
    parked = {(mark.member, mark.id): mark.parked for marks in found.marks.values() for mark in marks}
    for entry in found.entries:
        if not entry.rows and entry.status1 != DOUBLE:
            continue
        owner = member if entry.into == "tsd_info" else int(entry.into.removeprefix("tsd_"))
        named = (entry.dbms, entry.table, entry.source, entry.hash, entry.instructions, owner, entry.id, entry.date)
        name = ".".join(str(part) for part in named) + ".json"
        folder = root / entry.date[:2] / entry.date[2:4] / entry.date[4:6]
        there = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        known.update(there)
        if entry.status1 == DOUBLE and not there:
            continue  # told of, and not sent
        if len(there) != 1:
            told.append(f"{len(there)} files {folder / name}")
            continue
        content = unpacked(there[0])
        whole = _md5(f"{entry.dbms}.{entry.table}", content)
        streamed = _md5(f"{entry.dbms}.{entry.table}.{owner}.{entry.id}", content)
        if entry.hash not in (whole, streamed):
            told.append(f"{there[0]} hashes to {whole} as a whole file and to {streamed} as a buffer")
        if entry.status1 == DOUBLE:
            continue
        lines = entry.rows + (parked.get((owner, entry.id), 0) if entry.hash == whole else 0)
        if (have := content.count(b"\n")) != lines:
            told.append(f"{there[0]} has {have} lines, {lines} are wanted by {entry}")
    told += [f"nobody knows {path}" for path in found.files["archive"] if path not in known]
    return told


def _folders(found: Home) -> list[str]:
    """I-6, empty places of work, and names of failed files."""
    told = []
    places: defaultdict[str, set[str]] = defaultdict(set)
    for folder, paths in found.files.items():
        for path in paths:
            if path.name.startswith(".") or path.suffix in (".tmp", ".uzp"):
                told.append(f"a draft was left: {path}")
            if folder == "error":
                code = re.search(r"\.err_(\d+)\.\d+", path.name)
                if code is None:
                    told.append(f"no code in {path}")
                elif code[1] == DUPLICATE:
                    continue  # what it repeats is elsewhere
            if full := _FULL.match(path.name):
                places[full[0]].add(folder)
            if folder in ("watch", "distr"):
                told.append(f"left in {folder}: {path.name}")
    return told + [f"{name} is in {sorted(folders)}" for name, folders in places.items() if len(folders) > 1]


def unpacked(path: Path) -> bytes:
    """The content of a file, packed or not."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def errors(home: Path) -> Mapping[str, str]:
    """Name as it was given -> code, of all in the error directory."""
    found = {}
    for path in sorted((data(home) / "error").rglob("*")):
        name, _, rest = path.name.partition(".err_")
        found[name] = rest.partition(".")[0]
    return found


def _md5(prefix: str, content: bytes) -> str:
    return hashlib.md5(prefix.encode() + content, usedforsecurity=False).hexdigest()


class _opened:
    """A connection that only reads, and is closed afterwards. FileNotFoundError if there is no file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing")
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20, isolation_level=None)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _tables(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute(_TABLES)]


def _user_tables(connection: sqlite3.Connection) -> list[str]:
    return [name for name in _tables(connection) if not name.startswith("anylog_")]


def _entry(into: str, row: tuple[object, ...]) -> Entry:
    id, dbms, table, source, hash, instructions, time, rows, status1, status2 = row
    return Entry(
        into=into, id=int(str(id)), dbms=str(dbms), table=str(table), source=str(source), hash=str(hash),
        instructions=str(instructions), time=str(time), rows=int(str(rows or 0)), status1=str(status1 or ""),
        status2=str(status2 or ""),
    )  # fmt: skip


def _marks(connection: sqlite3.Connection) -> list[Mark]:
    there = {row[1] for row in connection.execute("pragma table_info(anylog_marks)")}
    if "tsd_id" not in there:
        raise AssertionError("anylog_marks has no tsd_id: files are not registered by this build")
    return [
        Mark(buffer=row[0], table=row[1], rows=row[2], parked=row[3], hash=row[4] or "", member=row[5] or 0,
             id=row[6] or 0)
        for row in connection.execute(
            "select buffer, table_name, rows, parked, hash, member, tsd_id from anylog_marks order by buffer"
        )
    ]  # fmt: skip
