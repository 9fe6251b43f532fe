"""Columns and indexes that every table of readings has, whatever the engine (storage.md 2.2, 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import md5

from anylog.names import LONGEST

AUTOMATIC: Mapping[str, str] = {
    "row_id": "SERIAL PRIMARY KEY",
    "insert_timestamp": "TIMESTAMP",
    "tsd_name": "CHAR(3)",
    "tsd_id": "BIGINT",
}
DATED = ("TIMESTAMP", "DATE", "TIME")


class Later(str):
    """The type of a time column that came after its table. A row that lacks it holds NULL there.

    Only columns that a table began with have the time of the file as a default (storage.md 2.7: they are NOT NULL).
    Else a row would differ between the member that loaded it before the column came and those that did later.
    """

    __slots__ = ()


def later(kind: str) -> str:
    """A ledger type as that of a column that came after its table."""
    return Later(kind) if kind in DATED else kind


_NULL = " NULL"  # behind the type, where it is kept


def kept_type(kind: str) -> str:
    """How a type is kept beside a table."""
    return f"{kind}{_NULL}" if isinstance(kind, Later) else kind


def read_type(text: str) -> str:
    """What was kept."""
    return Later(text.removesuffix(_NULL)) if text.endswith(_NULL) else text


def indexes(table: str, columns: Mapping[str, str]) -> list[tuple[str, tuple[str, ...]]]:
    """Name and columns of each index of a data table, in the order of storage.md 2.2."""
    chosen: list[tuple[str, ...]] = [("tsd_name", "tsd_id")]
    chosen += [(column,) for column, kind in columns.items() if kind == "TIMESTAMP"]
    chosen += [(column,) for column, kind in columns.items() if kind == "UUID"][:1]
    chosen += [(column,) for column in columns if "sensor_id" in column]
    chosen.append(("insert_timestamp",))
    unique = dict.fromkeys(chosen)  # a uuid column may be a sensor_id, too
    return [(_index_name(table, "tsd" if len(each) == 2 else each[0]), each) for each in unique]


def _index_name(table: str, what: str) -> str:
    name = f"{table}_{what}_index"
    if len(name) <= LONGEST:
        return name
    # Cut by the engine, two long names could become one and the second index be skipped.
    return f"{name[:46]}_{md5(name.encode(), usedforsecurity=False).hexdigest()[:10]}_index"
