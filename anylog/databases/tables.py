"""What tables are made of, whatever the engine: automatic columns, indexes, quoting (storage.md 2.2, 2.3)."""

from __future__ import annotations

from collections.abc import Mapping

AUTOMATIC: Mapping[str, str] = {
    "row_id": "SERIAL PRIMARY KEY",
    "insert_timestamp": "TIMESTAMP",
    "tsd_name": "CHAR(3)",
    "tsd_id": "BIGINT",
}
HIDDEN = "anylog_"  # tables of the node's own in a user's database; they are never shown
DATED = ("TIMESTAMP", "DATE", "TIME")


def quoted(name: str) -> str:
    """An identifier as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def indexes(table: str, columns: Mapping[str, str]) -> list[tuple[str, tuple[str, ...]]]:
    """Index name -> columns, for a table with these data columns (storage.md 2.2)."""
    found: list[tuple[str, tuple[str, ...]]] = [(f"{table}_tsd_index", ("tsd_name", "tsd_id"))]
    uuids = 0
    for column, kind in columns.items():
        if kind == "UUID":
            uuids += 1
        if kind == "TIMESTAMP" or (kind == "UUID" and uuids == 1) or "sensor_id" in column:
            found.append((f"{table}_{column}_index", (column,)))
    found.append((f"{table}_insert_timestamp_index", ("insert_timestamp",)))
    return found
