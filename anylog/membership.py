"""What makes a node a member of a network: its peers, its copy of the ledger, its place in a cluster.

The rooms that do the work do not know each other; here they meet (architecture.md 3).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.databases.catalog import Catalog
from anylog.databases.tables import AUTOMATIC
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, Disk, IBody, Lanes, Reply
from anylog.language.dictionary import Dictionary
from anylog.ledger.cluster import Clusters
from anylog.ledger.ledger import Ledger
from anylog.ledger.master import Master
from anylog.ledger.merge import merged
from anylog.ledger.policy import Policy
from anylog.net import INet
from anylog.network.peers import Peers
from anylog.process import Processes
from anylog.processes.agreement import SYSTEM, Agreement, Place, bring_up
from anylog.processes.operator import Operator
from anylog.processes.synchronizer import Synchronizer
from anylog.waiting import deferring

LEDGER_SECONDS = 10.0  # the longest that one exchange with the ledger may take
LARGEST_LEDGER = 64 << 20  # bytes of a ledger that is fetched
PUSHED_AT_ONCE = 200  # policies in one message


async def collected(body: IBody | None, most: int) -> bytes:
    """All pages of an answer. Raises AnyLogError 77 if they are more than `most` bytes."""
    parts: list[bytes] = []
    size = 0
    if body is None:
        return b""
    try:
        while (page := await body.next()) is not None:
            parts.append(page)
            size += len(page)
            if size > most:
                raise AnyLogError(77, f"an answer of more than {most:,} bytes")
    finally:
        body.close()
    return b"".join(parts)
