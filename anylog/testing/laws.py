"""The laws of files and copies, each a function of what the nodes hold (operator-ha.md 14).

What a node holds is read from its databases and its disk, without asking it. A law gives every breach in words that
name the law, the node, the table and the file.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from attrs import define, field, frozen

from anylog.columns import AUTOMATIC
from anylog.databases import file_sums
from anylog.databases.tables import quoted
from anylog.databases.tsd import DROPPED, DUPLICATE, MISSING, OWN, Entry
from anylog.disk.archive import folder_of, gunzip
from anylog.disk.places import Places
from anylog.mapping.body import content_hash, is_sealed, normal_form, read_body
from anylog.processes.filing import FAILED, streamed_hash
from anylog.processes.registry import PLACEHOLDER
from anylog.testing.world import Place

FOLDERS = ("watch_dir", "distr_dir", "archive_dir", "bkup_dir", "err_dir")
REPEATED, STRANGE = "86", "131"
_COLUMNS = "file_id, dbms_name, table_name, source, file_hash, instructions, file_time, rows, status1, status2"
_CODE = re.compile(r"\.err_(\d+)\.\d+")
_SAFE = re.compile(r"copies safe\.(\d+)\.(\d+)")
_FULL = re.compile(r"[^.]+\.[^.]+\.[^.]+\.([0-9a-f]{32})\.[^.]+\.(\d+)\.(\d+)\.(\d{12})")


@frozen(kw_only=True)
class Mark:
    """A line of `anylog_marks`."""

    table: str
    rows: int
    parked: int
    hash: str
    member: int
    id: int


OF_ITS_FILE = "the time of its file"


@define(kw_only=True)
class Holding:
    """What one operator holds."""

    name: str
    member: int
    dbms: str
    forgetful: bool = False  # it once lost `almgm`: doubles have no mark by which they could be registered again
    # Both its databases were once put back: what it had alone by then stays in its archive without an entry.
    older: bool = False
    entries: dict[str, list[Entry]] = field(factory=dict)  # by table of files
    marks: list[Mark] = field(factory=list)
    tags: Counter[tuple[str, str, int]] = field(factory=Counter)  # rows by table, tsd_name, tsd_id
    rows: dict[str, list[dict[str, Any]]] = field(factory=dict)  # by table, without automatic columns and nulls
    parked: list[tuple[str, dict[str, Any]]] = field(factory=list)  # table, row
    files: dict[str, dict[str, bytes]] = field(factory=dict)  # folder -> path -> content
    # Up to which id it thinks that a member has the files of a member: (who, whose) -> id.
    safe: dict[tuple[int, int], int] = field(factory=dict)
    sums: list[str] = field(factory=list)  # what is wrong with those of the tables of files
    places: Places = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.places = Places.under(Path("/") / self.name)

    def of(self, whose: int) -> Sequence[Entry]:
        """The entries of a member's files."""
        return self.entries.get(OWN if whose == self.member else f"tsd_{whose}", ())

    def owner(self, into: str) -> int:
        """The member whose files a table of files lists."""
        return self.member if into == OWN else int(into.removeprefix("tsd_"))

    def all(self) -> Iterator[tuple[str, Entry]]:
        """Every entry and its table of files."""
        for into, entries in self.entries.items():
            for entry in entries:
                yield into, entry

    def content(self, path: str) -> bytes:
        """A file, unpacked."""
        data = next(files[path] for files in self.files.values() if path in files)
        return gunzip(data, 1 << 26) if path.endswith(".gz") else data


def read(place: Place, member: int, dbms: str = "town") -> Holding:
    """What lies at a place now; the node may run."""
    found = Holding(name=place.name, member=member, dbms=dbms)
    for folder in FOLDERS:
        found.files[folder] = place.disk.under(found.places.folder(folder))
    if place.files is None:
        return found
    databases = found.places.folder("dbms_dir")
    almgm = place.files.look(databases / "almgm.dbms")
    if almgm is not None:
        for table in _tables(almgm):
            if table == OWN or re.fullmatch(r"tsd_\d+", table):
                lines = almgm.execute(f"select {_COLUMNS} from {table} order by 1").fetchall()
                found.entries[table] = [_entry(line) for line in lines]
                found.sums += _wrong_sums(almgm, table)
        if "anylog_ids" in _tables(almgm):
            for name, id in almgm.execute("select name, id from anylog_ids order by 1").fetchall():
                if note := _SAFE.fullmatch(str(name)):
                    found.safe[int(note[1]), int(note[2])] = int(str(id))
        almgm.close()
    town = place.files.look(databases / f"{dbms}.dbms")
    if town is not None:
        _read_rows(town, found)
        town.close()
    return found


def _read_rows(town: Any, found: Holding) -> None:
    tables = _tables(town)
    times = {(str(found.owner(into)), entry.id): f"{entry.time[:19]}.000000" for into, entry in found.all()}
    for table in tables:
        if table.startswith("anylog_"):
            continue
        columns = [row[0] for row in town.execute("select name from pragma_table_info(?)", (table,)).fetchall()]
        rows = found.rows[table] = []
        for line in town.execute(f"select * from {quoted(table)} order by row_id").fetchall():
            row = dict(zip(columns, line, strict=True))
            found.tags[table, str(row["tsd_name"]), int(row["tsd_id"] or 0)] += 1
            time = times.get((str(row["tsd_name"]), int(row["tsd_id"] or 0)))
            rows.append(
                {
                    # One content that two members took has two files, and each its own time (operator-ha.md 9.2).
                    name: OF_ITS_FILE if value == time else value
                    for name, value in row.items()
                    if name not in AUTOMATIC and value is not None
                }
            )
    if "anylog_marks" in tables:
        marks = town.execute("select table_name, rows, parked, hash, member, tsd_id from anylog_marks order by 5, 6")
        found.marks = [
            Mark(table=row[0], rows=row[1], parked=row[2], hash=row[3] or "", member=row[4] or 0, id=row[5] or 0)
            for row in marks.fetchall()
        ]
        parked = town.execute("select table_name, row from anylog_parked order by 1, buffer, sequence, position")
        found.parked = [(row[0], orjson.loads(row[1])) for row in parked.fetchall()]


def _tables(connection: Any) -> list[str]:
    found = connection.execute("select name from sqlite_master where type = 'table' order by name").fetchall()
    return [row[0] for row in found if not row[0].startswith("sqlite_")]


def _wrong_sums(connection: Any, table: str) -> list[str]:
    found: list[str] = []
    at: file_sums.Place | None = file_sums.Place()
    while at is not None:
        told, at = file_sums.faults(connection, table, at)
        found += told
    return found


def _entry(line: Sequence[Any]) -> Entry:
    id, dbms, table, source, hash, instructions, time, rows, status1, status2 = line
    return Entry(
        id=id, dbms=dbms, table=table, source=source, hash=hash, instructions=instructions, time=time, rows=rows or 0,
        status1=status1 or "", status2=status2 or "",
    )  # fmt: skip


def _digits(time: str) -> str:
    return re.sub(r"\D", "", time)[2:14]


# ---------------------------------------------------------------------- of one member


def at_rest(held: Holding) -> Iterator[str]:
    """What is still to be done: nothing is quiet before that."""
    for path in held.files["watch_dir"]:
        name = path.rpartition("/")[2]
        if name.endswith((".json", ".gz", ".sql")) and name[0] != ".":
            yield f"{held.name}: {name} lies in the watch directory"
    for into, entry in held.all():
        if entry.pending or entry.hash.startswith(PLACEHOLDER):
            yield f"{held.name} {into}: {entry.table} {entry.id} {entry.hash} is pending"


def loaded_once(held: Holding, dropped: Sequence[str] = ()) -> Iterator[str]:
    """I-4: an entry has all of its rows in its table, or none; rows have an entry; the marks agree."""
    wanted: Counter[tuple[str, str, int]] = Counter()
    for into, entry in held.all():
        if entry.rows and entry.dbms == held.dbms and entry.status2 != DROPPED:
            wanted[entry.table, str(held.owner(into)), entry.id] += entry.rows
    marked: Counter[tuple[str, str, int]] = Counter()
    for mark in held.marks:
        marked[mark.table, str(mark.member), mark.id] += mark.rows
    for key in sorted({*wanted, *held.tags, *marked}):
        table, owner, id = key
        numbers = {"the entry": wanted[key], "the mark": marked[key], "the table": held.tags[key]}
        if table in dropped and numbers["the table"] < numbers["the mark"]:
            numbers.pop("the table")  # what is there came after the drop
        if len(set(numbers.values())) > 1:
            told = ", ".join(f"{count} says {where}" for where, count in numbers.items())
            yield f"I-4 {held.name}: {table}, file {id} of member {owner}: {told}"
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for into, entry in held.all():
        if entry.rows:
            holders[entry.hash].append(f"{into} {entry.id}")
    for hash, entries in holders.items():
        if len(entries) > 1:
            yield f"I-4 {held.name}: {hash} is loaded as {entries}"


def archived(held: Holding) -> Iterator[str]:
    """I-5: every entry with rows has its file, whose hash and lines are right; and no other files lie there, except of
    doubles whose entries were lost with `almgm` and which no other member knows."""
    known = set()
    loaded = {entry.hash for _, entry in held.all() if entry.rows}
    parked = {(mark.member, mark.id): mark.parked for mark in held.marks}
    for into, entry in held.all():
        if not entry.rows and entry.status1 != DUPLICATE:
            continue
        owner, date = held.owner(into), _digits(entry.time)
        parts = (entry.dbms, entry.table, entry.source, entry.hash, entry.instructions, owner, entry.id, date)
        path = str(folder_of(held.places.folder("archive_dir"), date) / ".".join(map(str, parts)))
        there = [each for each in (f"{path}.json", f"{path}.json.gz") if each in held.files["archive_dir"]]
        waits = str(held.places.folder("distr_dir") / path.rpartition("/")[2])
        there += [each for each in (f"{waits}.json", f"{waits}.json.gz") if each in held.files["distr_dir"]]
        known.update(there)
        if not entry.rows:
            continue
        if len(there) != 1:
            yield f"I-5 {held.name} {into}: {len(there)} files {path}"
            continue
        data = held.content(there[0])
        whole = content_hash(entry.dbms, entry.table, data)
        streamed = streamed_hash(f"{entry.dbms}.{entry.table}.{owner}.{entry.id}", data)
        sealed = is_sealed(entry.hash, entry.dbms, entry.table, data)
        if entry.hash not in (whole, streamed) and not sealed:
            yield f"I-5 {held.name} {into}: {there[0]} has another hash"
        # The stream of a publisher came as a file: what of it was parked here is in it, as with all that came as files.
        lines = entry.rows + (parked.get((owner, entry.id), 0) if entry.hash == whole or sealed else 0)
        mapped = entry.instructions != "0" and entry.hash == whole  # then a line may be any number of rows
        if data.count(b"\n") != lines and not mapped:
            yield f"I-5 {held.name} {into}: {there[0]} has {data.count(bytes((10,)))} lines, {lines} are wanted"
    for path in held.files["archive_dir"]:
        name = _FULL.match(path.rpartition("/")[2])
        if path not in known and not (held.forgetful and name is not None and name[1] in loaded):
            yield f"I-5 {held.name}: nobody knows {path}"


def in_one_place(held: Holding) -> Iterator[str]:
    """I-6: no file is in two folders; drafts are gone; watch and distribution directories are empty."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for folder, files in held.files.items():
        for path in files:
            name = path.rpartition("/")[2]
            if name.startswith(".") or name.endswith((".tmp", ".uzp")):
                yield f"I-6 {held.name}: a draft was left, {path}"
            code = _CODE.search(name)
            if folder == "err_dir" and code is not None and code[1] == REPEATED:
                continue  # what it repeats is elsewhere
            if folder == "err_dir" and code is not None and code[1] == STRANGE:
                continue  # its member had left then; it came once more when that was back
            if full := _FULL.match(name):
                found[full[0]].add(folder)
            if folder in ("watch_dir", "distr_dir"):
                yield f"I-6 {held.name}: {name} was left in {folder}"
    for name, folders in found.items():
        if len(folders) > 1:
            yield f"I-6 {held.name}: {name} is in {sorted(folders)}"


def ids_once(held: Holding, known: MutableMapping[tuple[int, int], tuple[str, str]]) -> Iterator[str]:
    """I-10: no id of a member stands for two hashes, at any member, at any time; `known` is brought up to date."""
    for into, entry in held.all():
        if entry.hash.startswith((PLACEHOLDER, f"{FAILED}:")):
            continue  # no content: what failed without a file is known to these databases alone
        where = f"{held.name} {into}"
        hash, first = known.setdefault((held.owner(into), entry.id), (entry.hash, where))
        if hash != entry.hash:
            yield f"I-10 {where}: id {entry.id} is {entry.table} {entry.hash}, and {hash} at {first}"


def failed(held: Holding, wanted: Mapping[str, int]) -> Iterator[str]:
    """I-16: every file that cannot be loaded (name -> code) is in the error directory with its code; all have one.

    What is put aside as a repeat is one: its content is loaded.
    """
    found: set[tuple[str, int]] = set()
    loaded = {entry.hash for _, entry in held.all() if entry.rows}
    for path in held.files["err_dir"]:
        name = path.rpartition("/")[2]
        code = _CODE.search(name)
        if code is None:
            yield f"I-16 {held.name}: no code in {name}"
        else:
            found.add((name[: code.start()], int(code[1])))
        if code is not None and code[1] == REPEATED:
            dbms, table = name.split(".")[:2]
            data = normal_form(read_body(held.content(path)))
            named = [table, *(f"{table}.{full[2]}.{full[3]}" for full in [_FULL.match(name)] if full)]
            sealed = {hash for hash in loaded if is_sealed(hash, dbms, table, data)}
            if not sealed and not loaded & {content_hash(dbms, each, data) for each in named}:
                yield f"I-16 {held.name}: {name} is put aside as a repeat, and its content is not loaded"
    for name, number in wanted.items():
        if (name.removesuffix(".json"), number) not in found:
            yield f"I-16 {held.name}: {name} is not in the error directory with the code {number}"


def summed(held: Holding) -> Iterator[str]:
    """What members tell each other of their tables of files is what a count of the entries gives."""
    yield from (f"{held.name}: sums: {each}" for each in held.sums)


ALONE: tuple[Callable[[Holding], Iterator[str]], ...] = (archived, in_one_place, summed)


# ---------------------------------------------------------------------- of a cluster


def same_files(members: Sequence[Holding]) -> Iterator[str]:
    """I-1: the same content is loaded at all members."""
    sets = {
        held.name: {(entry.dbms, entry.table, entry.hash) for _, entry in held.all() if entry.rows} for held in members
    }
    everything = set().union(*sets.values())
    for name, have in sets.items():
        if lacking := sorted(everything - have):
            yield f"I-1 {name}: {len(lacking)} files are not loaded, such as {'.'.join(lacking[0])}"


def same_rows(members: Sequence[Holding], dropped: Sequence[str] = ()) -> Iterator[str]:
    """I-2: each table holds the same rows at all members."""
    for table in sorted({table for held in members for table in held.rows} - set(dropped)):
        bags = {held.name: Counter(map(_line, held.rows.get(table, ()))) for held in members}
        most: Counter[str] = Counter()
        for bag in bags.values():
            most |= bag
        for name, bag in bags.items():
            if lacking := sorted((most - bag).elements()):
                yield f"I-2 {name}: {table} lacks {len(lacking)} rows, such as {lacking[0]}"


def _line(row: Mapping[str, Any]) -> str:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode()


def mirrored(members: Sequence[Holding]) -> Iterator[str]:
    """I-7: what a member loaded of its own is known to all others under the same id, with the same facts."""
    for held in members:
        for other in members:
            if other is held:
                continue
            into = f"tsd_{held.member}"
            theirs = {entry.id: entry for entry in other.entries.get(into, ())}
            for entry in held.entries.get(OWN, ()):
                copy = theirs.get(entry.id)
                if not entry.rows:
                    continue
                what = f"I-7 {other.name} {into}: {entry.table} {entry.id} {entry.hash} of {held.name}"
                if copy is None:
                    yield f"{what} is not there"
                elif _facts(copy) != _facts(entry):
                    yield f"{what} is {_facts(copy)}, and {_facts(entry)} there"
                elif copy.rows != entry.rows and not (copy.rows == 0 and copy.status1 == DUPLICATE):
                    yield f"{what} has {copy.rows} rows, status {copy.status1!r}, and {entry.rows} there"


def settled(members: Sequence[Holding]) -> Iterator[str]:
    """I-11: who is thought to have the files of a member up to an id has them, or notes that nobody does.

    `members` are those that never lost a database, or all at rest: who lost one is behind what it had until then.
    """
    by_id = {held.member: held for held in members}
    for held in members:
        for (who, whose), upto in held.safe.items():
            if who not in by_id or whose not in by_id:
                continue
            told = f"I-11 {held.name}: member {who} is thought to have the files of {whose} up to {upto}"
            given = {entry.id: entry for other in members for entry in other.of(whose) if entry.rows}
            for entry in given.values():
                if entry.id <= upto and not _settled(by_id[who], whose, entry):
                    yield f"{told}, and lacks {entry.id} {entry.hash}"
            if upto > max((entry.id for other in members for entry in other.of(whose)), default=0):
                yield f"{told}, which nobody gave"


def _settled(held: Holding, whose: int, entry: Entry) -> bool:
    copy = next((each for each in held.of(whose) if each.id == entry.id), None)
    if copy is not None:
        return copy.rows > 0 or copy.status1 in (MISSING, DUPLICATE)
    # There is no room for a content twice in the own table.
    return whose == held.member and any(each.rows and each.hash == entry.hash for each in held.of(whose))


def pushed_once(pushed: Mapping[tuple[str, int, str, str], int]) -> Iterator[str]:
    """I-8: in one life (name, number) a file is sent to an address once; how often: (name, life, address, file)."""
    for (name, life, address, file), times in pushed.items():
        if times > 1:
            yield f"I-8 {name}: {file} was pushed to {address} {times} times in its life {life}"


def _facts(entry: Entry) -> tuple[str, ...]:
    return entry.hash, entry.dbms, entry.table, entry.source, entry.instructions, entry.time[:19]


CLUSTER: tuple[Callable[[Sequence[Holding]], Iterator[str]], ...] = (same_files, mirrored, settled)
