"""Which entries may be those of files that wait in the watch directory and were not read yet. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from anylog.databases.tsd import Entry
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.processes.registry import table_of_member


@define(eq=False)
class Unread:
    """What their names say: the id, or the hash, or only the table."""

    ids: set[tuple[str, int]] = field(factory=set)  # table of files, id
    hashes: set[str] = field(factory=set)
    tables: set[tuple[str, str]] = field(factory=set)  # dbms and table of those that say no more

    @classmethod
    def of(cls, names: Iterable[str], member: int) -> Unread:
        """By the names in the directory; `member` is this node's own id."""
        found = cls()
        for text in names:
            try:
                name = FileName.parse(text)
            except AnyLogError:
                continue  # nothing that is loaded
            if name.full and name.member.isdecimal():
                found.ids.add((table_of_member(int(name.member), member), name.id))
            if name.hash != "0":
                found.hashes.add(name.hash)
            elif not name.full:
                found.tables.add((name.dbms, name.table))
        return found

    def may_be(self, into: str, entry: Entry) -> bool:
        """Whether one of them may be the file of this entry."""
        if (into, entry.id) in self.ids or entry.hash in self.hashes:
            return True
        return not entry.hash.startswith("open:") and (entry.dbms, entry.table) in self.tables
