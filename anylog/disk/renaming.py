"""A file of any name becomes one of readings: its new name says where it goes, what it holds (operator-ha.md 10)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from anylog.disk.confined import Confines, Use, naming
from anylog.disk.forms import gunzipped
from anylog.disk.names import FileName
from anylog.disk.transfers import Source, Work, place_new
from anylog.errors import AnyLogError
from anylog.interfaces import Disk


def renamed(disk: Disk, confines: Confines, text: str, given: Mapping[str, str]) -> Work[str]:
    """Give the file that `text` names a new name in its directory; in slices, gives that name.

    `given` are segments by name: dbms, table, source, hash, instructions. Without a hash it is that of the content,
    unpacked (ingest.md 9.2). Raises AnyLogError 12, 40, 63, 86 if another file has that name, 119 or 212.
    """
    confines = confines.real()
    path = confines.name(text, Use.CHANGE)
    wanted = new_name(path.name, given)
    source = Source.open(path, confines, text)
    try:
        if wanted.hash == "0":
            digest = hashlib.md5(f"{wanted.dbms}.{wanted.table}".encode(), usedforsecurity=False)
            chunks = source.chunks()
            for data in gunzipped(chunks, source.size) if wanted.compressed else chunks:
                digest.update(data)
                yield
            wanted = wanted.having(hash=digest.hexdigest())
    finally:
        source.close()
    target = path.with_name(str(wanted))
    if target == path:
        return target.name
    with naming(f"{path} to {target}", 14):
        if not place_new(disk, path, target):
            if path.samefile(target):  # a power cut between the new name and the end of the old one
                disk.forget(path)
                return target.name
            raise AnyLogError(86, f"another file is in {target.parent} as {target.name}")
    return target.name


def new_name(old: str, given: Mapping[str, str]) -> FileName:
    """Its segments as given; database and table of the old name where they are not. AnyLogError 119.

    With both of them given the old name may be any that has a type: that of a backup, for one.
    """
    kind = next((kind for kind in (".json", ".json.gz", ".sql", ".sql.gz") if old.endswith(kind)), "")
    if not kind:
        raise AnyLogError(119, f"file name '{old[:120]}': it does not end in .json, .sql, .json.gz or .sql.gz")
    if "dbms" in given and "table" in given:
        first = FileName(dbms="", table="", kind="sql" if "sql" in kind else "json", compressed=kind.endswith(".gz"))
    else:
        read = FileName.parse(old)
        first = FileName(dbms=read.dbms, table=read.table, kind=read.kind, compressed=read.compressed)
        first = first.having(partition=read.partition)
    for title, value in given.items():
        if title not in ("dbms", "table") and "." in value:
            raise AnyLogError(119, f"{title} = '{value[:120]}': a dot divides the segments of a name")
    plain = {title: _plain(value) if title in ("dbms", "table") else value for title, value in given.items()}
    return FileName.parse(str(first.having(**plain)))


def _plain(value: str) -> str:
    """A database or table as a segment; what a dot divides is spelled as one name, as everywhere."""
    return value.replace(".", "_")


def name_in(path: str) -> FileName:
    """What the last part of a path says. AnyLogError 119."""
    return FileName.parse(Path(path).name)
