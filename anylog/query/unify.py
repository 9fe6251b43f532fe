"""Partial results go into a result table as they come; what few bytes there are is put together at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

from anylog.errors import AnyLogError
from anylog.query.leader import Asked
from anylog.query.scratch import SMALL, Scratch


@define(eq=False, kw_only=True)
class Unified:
    """Collects the parts of one query."""

    make: Callable[[bool], Scratch]  # a result table; True: its work is done at once
    plain: bool  # the unifying select is quick over few rows
    _table: Scratch | None = None
    _held: dict[int, list[bytes]] = field(factory=dict)  # by part, while there is little
    _size: int = 0

    async def collect(self, asked: Asked) -> None:
        """All rows of one part; from another member of its cluster if the first one breaks. Raises AnyLogError."""
        while True:
            await asked.open()
            try:
                while (page := await asked.next()) is not None:
                    await self._add(asked.number, page[1])
                return
            except AnyLogError as error:
                await self.forget(asked.number)
                if not asked.again(error):
                    raise asked.refusal() from None

    async def forget(self, part: int) -> None:
        """Leave a part out."""
        self._size -= sum(map(len, self._held.pop(part, [])))
        if self._table is not None:
            await self._table.forget(part)

    async def table(self) -> Scratch:
        """The result table with all that was collected."""
        if self._table is None:
            self._table = self.make(self.plain)
            await self._table.create()
        await self._spill(self._table)
        return self._table

    def close(self) -> None:
        """Nobody wants it any more."""
        if self._table is not None:
            self._table.release()

    async def _add(self, part: int, rows: bytes) -> None:
        self._held.setdefault(part, []).append(rows)
        self._size += len(rows)
        if self._size <= SMALL and self._table is None:
            return
        if self._table is None:
            self._table = self.make(False)
            await self._table.create()
        await self._spill(self._table)

    async def _spill(self, table: Scratch) -> None:
        held, self._held, self._size = self._held, {}, 0
        for part, pages in held.items():
            await table.insert(part, joined(pages))


def joined(pages: Sequence[bytes]) -> bytes:
    """Lists of several pages, with commas between them."""
    return pages[0] if len(pages) == 1 else b",".join(pages)
