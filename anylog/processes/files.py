"""Bytes of a watched file -> its rows, normal form and hash (S1 and S2 of operator-ha.md 3.2; ingest.md 9, 10)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from anylog.columns import AUTOMATIC
from anylog.databases.tables import RESERVED
from anylog.databases.tsd import Entry
from anylog.disk.archive import gunzip
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.mapping.body import content_hash, is_sealed, normal_form, read_body
from anylog.mapping.sql_file import read_sql
from anylog.names import normalise
from anylog.processes.agreement import SYSTEM
from anylog.processes.forms import Early, Size, early_of

LARGEST = 64 << 20  # bytes of one file, also unpacked
KINDS = ("json", "sql", "gz")  # values of `file_type`


@frozen(kw_only=True, eq=False)
class Content:
    """What a file holds."""

    rows: Sequence[Mapping[str, Any]]
    normal: bytes
    hash: str
    note: str = ""  # what was odd about it
    early: Early | None = None  # its rows as they go to the table: then `rows` is empty


def understand(name: FileName, data: bytes, member: int, columns: Mapping[str, str] | None = None) -> Content:
    """Unpack, parse, bring into normal form and hash; `member` is this node's own.

    A hash in the name must be one of this content, else it is replaced and noted: of the normal form, of the bytes as
    they came, or with member and id of the name in front, as for files cut from streams (ingest.md 9.2), or with the
    seal of a publisher. The bytes of a file that another member hashed are kept as they are, so that every member keeps
    the same; with another content than its hash tells it was damaged on its way, and is none.
    With the `columns` of its table the rows are converted, too. Raises AnyLogError 6, 16 or 501, also for what would
    be too large as others read it.
    """
    if name.compressed:
        data = gunzip(data, LARGEST)
    if len(data) > LARGEST:
        raise too_large(len(data))
    if not data or data.isspace():
        raise AnyLogError(6, "the file is empty")
    rows = read_sql(data, name.dbms, name.table) if name.kind == "sql" else read_body(data)
    normal = normal_form(rows)
    found = content_hash(name.dbms, name.table, normal)
    if name.hash in ("0", found):
        return _content(name, rows, columns, normal, found, original=True)
    if name.full or name.member == "@":
        owner = str(member) if name.member == "@" else name.member
        for kept in (normal, data):
            prefixed = content_hash(name.dbms, f"{name.table}.{owner}.{name.id}", kept)
            if name.hash in (prefixed, content_hash(name.dbms, name.table, kept)):
                return _content(name, rows, columns, kept, name.hash, original=name.hash != prefixed)
    elif name.hash == content_hash(name.dbms, name.table, data):
        return _content(name, rows, columns, normal, found, original=True)
    for kept in (normal, data) if name.full else (normal,):
        if is_sealed(name.hash, name.dbms, name.table, kept):
            return _content(name, rows, columns, kept, name.hash, original=False)
    note = f"the hash {name.hash} in the name is not the one of the content, which is {found}"
    if name.full and name.member.isdecimal() and int(name.member) != member:
        raise AnyLogError(6, f"it was damaged: {note}")
    note += ": that is used"
    return _content(name, rows, columns, normal, found, original=True, note=note)


def _content(
    name: FileName,
    rows: list[dict[str, Any]],
    columns: Mapping[str, str] | None,
    normal: bytes,
    hash: str,
    *,
    original: bool,
    note: str = "",
) -> Content:
    """With its rows as they go to the table, if that can be; what a policy is to map is not what goes there."""
    refusal = Size.of(normal).refusal if name.kind == "json" else None  # others never get a file of SQL
    if refusal is not None:
        raise refusal
    mapped = original and name.instructions != "0" and name.kind == "json"
    early = None if mapped else early_of(rows, columns)
    return Content(rows=rows if early is None else [], normal=normal, hash=hash, note=note, early=early)


def understand_all(
    found: Sequence[tuple[FileName, bytes, Mapping[str, str] | None]], member: int, most: int
) -> list[Content | AnyLogError]:
    """The contents of files in order, or what is wrong with each; in a lane. Each comes with the columns of its table.

    Ends early once `most` bytes of normal form are made (packed files may hold much more than their size says): the
    list is shorter then, but never empty.
    """
    made = 0
    done: list[Content | AnyLogError] = []
    for name, data, columns in found:
        try:
            content = understand(name, data, member, columns)
        except AnyLogError as wrong:
            done.append(wrong)
            continue
        except (RecursionError, MemoryError, ValueError, OverflowError) as odd:
            done.append(AnyLogError(6, f"the file cannot be understood: {odd}"))
            continue
        done.append(content)
        made += len(content.normal)
        if made >= most:
            break
    return done


def too_large(size: int) -> AnyLogError:
    """The refusal of a file of that size."""
    return AnyLogError(501, f"the file has {size:,} bytes, it may have {LARGEST:,}: send it in parts")


def unconnected(dbms: str) -> str:
    """Why a file of a database is not loaded that is not connected."""
    return f"the database '{dbms}' is not connected"


def _unlisted(dbms: str, table: str) -> str:
    return f"{dbms}.{table} is not in limit_tables"


def _unmade(dbms: str, table: str) -> str:
    return f"{dbms}.{table} may not be made (create_table = false), and is not"


def retried(entry: Entry) -> bool:
    """Whether a file failed for what this node was told, and not for what it holds: it may be loaded later."""
    reasons = unconnected(entry.dbms), f"{entry.dbms} is not open", _unlisted(entry.dbms, entry.table)
    return entry.status2 in reasons or entry.status2.startswith(_unmade(entry.dbms, entry.table))


@frozen(kw_only=True)
class Limits:
    """What an operator takes: `limit_tables`, `create_table`, and databases that are connected (S2, S3)."""

    connected: Callable[[str], Any]  # the database; raises AnyLogError if it is not
    members: Callable[[], Collection[int] | None] = lambda: None  # of the own cluster; None: not known
    departed: Callable[[int], bool] = lambda member: False  # of which there are files although it left the cluster
    tables: frozenset[str] = field(default=frozenset())  # "dbms.table", or "table" of any database; empty: all
    # What the ledger lacks of a table, in words, or ""; None if the operator may make tables (storage.md 2.1).
    lacks: Callable[[str, str], str] | None = None

    @staticmethod
    def read(names: Sequence[str]) -> frozenset[str]:
        """Names as in `limit_tables = (dbms.table, table)`. Raises AnyLogError 40 for what cannot be a name."""
        return frozenset(".".join(normalise(part, "table") for part in name.split(".", 1)) for name in names)

    def columns(self, name: FileName) -> Mapping[str, str] | None:
        """The data columns of its table as it is now; None if there is none."""
        try:
            schema = self.connected(name.dbms).schema(name.table)
        except AnyLogError:
            return None
        return None if schema is None else {column: kind for column, kind in schema.items() if column not in AUTOMATIC}

    @property
    def limited(self) -> bool:
        """Whether there are tables that are not taken."""
        return bool(self.tables) or self.lacks is not None

    def excluded(self, dbms: str, table: str) -> AnyLogError | None:
        """Why readings of that table are not taken: AnyLogError 130 or 171; None if they are."""
        if self.tables and not {f"{dbms}.{table}", table} & self.tables:
            return AnyLogError(130, _unlisted(dbms, table))
        if self.lacks is None or dbms in SYSTEM:
            return None
        try:
            here = self.connected(dbms).schema(table) is not None
        except AnyLogError:
            return None  # that is another refusal
        lacks = self.lacks(dbms, table) if here else "in its database"
        return AnyLogError(171, f"{_unmade(dbms, table)} {lacks}") if lacks else None

    def refusal(self, name: FileName) -> AnyLogError | None:
        """Why the file is not taken: AnyLogError 130, 28, 171, 131 or 10; None if it is."""
        dbms, table = name.dbms, name.table
        excluded = self.excluded(dbms, table)
        if excluded is not None:
            return excluded
        if table.startswith(RESERVED):
            return AnyLogError(28, f"'{table}': names that begin with {', '.join(RESERVED)} are not for tables")
        if dbms in SYSTEM:
            return AnyLogError(171, f"'{dbms}' is a database of the node's own: no file is loaded into it")
        if name.full and name.member.isdecimal():
            members, member = self.members(), int(name.member)
            if members is not None and member not in members and not self.departed(member):
                return AnyLogError(131, f"member {name.member} is not in the cluster of this node")
        try:
            self.connected(dbms)
        except AnyLogError:
            return AnyLogError(10, unconnected(dbms))
        return None
