"""How many answers with large bodies a node holds at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import DeferredSemaphore

from anylog.errors import AnyLogError
from anylog.interfaces import Asker, IBody, PeerHandler, Reply
from anylog.waiting import deferring

AT_ONCE = 8  # answers of one kind
WAITING = 256  # questions that wait for their turn, which is more than a cluster has members


@define(eq=False)
class Returned:
    """A body that gives its turn back when it ends."""

    _body: IBody
    _release: Callable[[], None]
    _over: bool = False

    @deferring
    async def next(self) -> bytes | None:
        """The next page. Fails as the body does."""
        page = await self._body.next()
        if page is None:
            self.close()
        return page

    def close(self) -> None:
        """Let go of it, and let the next one in."""
        self._body.close()
        if not self._over:
            self._over = True
            self._release()


@define(eq=False)
class InTurn:
    """A handler in front of another: `AT_ONCE` answers are made or sent at a time, other questions wait.

    Fails with AnyLogError 502 where `WAITING` questions wait already, else as the handler behind it.
    """

    _handler: PeerHandler
    _slots: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE))
    _waiting: int = WAITING

    @deferring
    async def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        if len(self._slots.waiting) >= self._waiting:
            raise AnyLogError(502, f"{self._waiting} questions of this kind wait already: ask again in a moment")
        await self._slots.acquire()
        released = False
        try:
            reply = await self._handler(head, body, asker)
            if reply.body is None:
                return reply
            released = True  # by the body
            return Reply(head=reply.head, body=Returned(reply.body, self._slots.release))
        finally:
            if not released:
                self._slots.release()
