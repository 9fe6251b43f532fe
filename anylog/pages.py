"""Bodies that come in pages, read at once."""

from __future__ import annotations

from anylog.errors import AnyLogError
from anylog.interfaces import IBody


async def all_pages(body: IBody | None, most: int | None, what: str = "an answer") -> bytes:
    """All pages of a body, which is closed then whatever happens; empty if there is none.

    Raises AnyLogError 77, which says `what` it is, as soon as there are more than `most` bytes; None: as many as come.
    """
    data = bytearray()
    if body is None:
        return b""
    try:
        while (page := await body.next()) is not None:
            data += page
            if most is not None and len(data) > most:
                raise AnyLogError(77, f"{what} of more than {most >> 20} MB")
    finally:
        body.close()
    return bytes(data)
