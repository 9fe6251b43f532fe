"""What makes a node a member of a network: its peers, its copy of the ledger, its place in a cluster.

The rooms that do the work do not know each other; here they meet (architecture.md 3).
"""

from __future__ import annotations

from anylog.errors import AnyLogError
from anylog.interfaces import IBody

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
