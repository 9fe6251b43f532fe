"""Bodies on their way: credit in bytes, for each exchange and for the connection (hard-parts.md 5)."""

from __future__ import annotations

from collections import deque

from attrs import define, field

from anylog.wire.frames import Malformed
from anylog.wire.messages import LAST, PAGE_ENDS, PIECE

WINDOW = 256 << 10  # credit of an exchange to begin with
CONNECTION = 64 << 20  # credit of a connection to begin with, at most
LEAST = 128 << 10  # and at least
FLOOR = 512  # a data frame costs at least this: tiny pages are not free to hold
PAGE = 1 << 20  # bytes of a page; longer ones arrive as several


def cost(size: int, flags: int) -> int:
    """The credit that a data frame spends. Only the mere end of a body is free."""
    return max(size, FLOOR) if size or not flags & LAST else 0


@define(eq=False)
class Outflow:
    """One body that is sent, page by page."""

    side: str  # "id": the body of our question, "re": of our answer
    number: int
    credit: int = WINDOW
    ending: bool = False  # no page comes after those that are here
    since: float | None = None  # when it was first seen to have no credit
    queued: bool = False  # it has a turn
    upload: bool = field(init=False)
    _pieces: deque[tuple[bytes, int]] = field(factory=deque, repr=False)

    def __attrs_post_init__(self) -> None:
        self.upload = self.side == "id"

    def add(self, page: bytes) -> None:
        """A page to be sent; an empty one is none."""
        for begin in range(0, len(page), PAGE):
            end = min(begin + PAGE, len(page))
            for at in range(begin, end, PIECE):
                stop = min(at + PIECE, end)
                self._pieces.append((page[at:stop], PAGE_ENDS if stop == end else 0))

    def end(self) -> None:
        """No more pages."""
        self.ending = True
        if self._pieces:
            piece, flags = self._pieces.pop()
            self._pieces.append((piece, flags | LAST))
        else:
            self._pieces.append((b"", LAST))

    @property
    def price(self) -> int:
        """What the next piece costs."""
        piece, flags = self._pieces[0]
        return cost(len(piece), flags)

    def pop(self) -> tuple[bytes, int]:
        """The next piece and its flags; it is paid for."""
        self.credit -= self.price
        self.since = None
        return self._pieces.popleft()

    def __bool__(self) -> bool:
        """Whether there is something to send."""
        return bool(self._pieces)


@define(eq=False)
class Inflow:
    """One body that comes; its credit goes back as pages are taken."""

    window: int = WINDOW  # what the peer may still send
    waited: bool = False  # somebody wants a page: what comes is taken at once
    ended: bool = False
    owed: int = 0  # taken, and not yet given back to the peer
    held: int = 0  # came, and not taken
    _pages: deque[tuple[bytes, int]] = field(factory=deque, repr=False)  # with what they still cost
    _parts: list[bytes] = field(factory=list, repr=False)
    _size: int = 0  # bytes of the page that is not whole
    _unpaid: int = 0  # and what they cost, as far as they were not taken

    def receive(self, piece: bytes, flags: int) -> int:
        """A piece came; gives what of it was taken at once. Raises `Malformed` if it has no credit."""
        price = cost(len(piece), flags)
        if price > self.window:
            raise Malformed("data without credit")
        if not piece and not flags & LAST:
            raise Malformed("data without content")
        self.window -= price
        self.held += price
        self._unpaid += price
        if piece:
            self._parts.append(piece)
            self._size += len(piece)
            if self._size > PAGE:
                raise Malformed(f"a page of more than {PAGE:,} bytes")
        taken = self._take() if self.waited else 0
        if self._parts and flags:
            page = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._pages.append((page, self._unpaid))
            self._parts, self._size, self._unpaid = [], 0, 0
            self.waited = False  # what comes after this page is not wanted yet
        self.ended = bool(flags & LAST)
        return taken

    def take(self) -> tuple[bytes | None, int]:
        """The next page and the credit that is free by it: None after the last, empty if it must be waited for."""
        self.waited = False
        if self._pages:
            page, price = self._pages.popleft()
            self.held -= price
            self.owed += price
            return page, price
        if self.ended:
            return None, self._take()
        self.waited = True
        return b"", self._take()

    @property
    def ready(self) -> bool:
        """Whether `take` would give a page or the end."""
        return bool(self._pages) or self.ended

    def drop(self) -> int:
        """Nobody wants the rest; gives the credit of what was held."""
        held, self.held = self.held, 0
        self._pages.clear()
        self._parts = []
        return held

    def _take(self) -> int:
        taken, self._unpaid = self._unpaid, 0
        self.held -= taken
        self.owed += taken
        return taken
