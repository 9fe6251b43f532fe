"""Why readings wait in the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from anylog.processes.buffers import Buffer
from anylog.processes.loading import Loader


def reasons(loaders: Mapping[str, Loader], buffers: Iterable[Buffer], outgoing: Callable[[], str]) -> dict[str, str]:
    """Database, or `database.table` -> why its readings wait in the journal; `outgoing`: those that are to be sent."""
    found = {name: loader.waiting for name, loader in loaders.items() if loader.waiting}
    for name, loader in loaders.items():
        found |= {f"{name}.{table}": "waits for the ledger" for table in loader.agreeing}
        found |= {f"{name}.{buffer.where.table}": why for buffer, why in loader.held.items()}
    for buffer in buffers:
        if buffer.published and (why := outgoing()):
            found.setdefault(f"{buffer.where.dbms}.{buffer.where.table}", why)
        if buffer.pending and buffer.where.dbms not in loaders:
            found.setdefault(buffer.where.dbms, "not connected")
    return found
