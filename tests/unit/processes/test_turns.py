"""Answers with large bodies: so many at once, the others wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Reply
from anylog.processes.turns import InTurn

ASKER = Asker(host="10.0.0.2", address="10.0.0.2:7848", name="two", until=None, hops=0)


@define(eq=False)
class Body:
    """One page, and then the end."""

    pages: list[bytes] = field(factory=lambda: [b"page"])
    closed: int = 0

    def next(self) -> Deferred[bytes | None]:
        """The next."""
        return succeed(self.pages.pop() if self.pages else None)

    def close(self) -> None:
        """Counted."""
        self.closed += 1


@define(eq=False)
class Handler:
    """Answers when it is told to."""

    asked: list[Deferred[Reply]] = field(factory=list)

    def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Deferred[Reply]:
        self.asked.append(Deferred())
        return self.asked[-1]


class InTurnTest(SynchronousTestCase):
    """Two at once, and two that wait."""

    def setUp(self) -> None:
        self.handler = Handler()
        self.turns = InTurn(self.handler, DeferredSemaphore(2), 2)

    def ask(self) -> Deferred[Reply]:
        """One more question."""
        return self.turns({}, b"", ASKER)

    def test_a_turn_lasts_until_the_body_is_closed(self) -> None:
        """What is still being sent is still held."""
        first, second, third = self.ask(), self.ask(), self.ask()
        self.assertEqual(len(self.handler.asked), 2)
        body = Body()
        self.handler.asked[0].callback(Reply(head={"n": 1}, body=body))
        reply = self.successResultOf(first)
        self.assertEqual((reply.head, len(self.handler.asked)), ({"n": 1}, 2))
        assert reply.body is not None
        reply.body.close()
        reply.body.close()
        self.assertEqual((len(self.handler.asked), body.closed), (3, 2))
        self.assertNoResult(second)
        self.assertNoResult(third)

    def test_a_body_that_was_read_to_its_end_gives_its_turn_back(self) -> None:
        """Closed or not."""
        first, _, _ = self.ask(), self.ask(), self.ask()
        self.handler.asked[0].callback(Reply(head={}, body=Body()))
        body = self.successResultOf(first).body
        assert body is not None
        self.assertEqual(self.successResultOf(body.next()), b"page")
        self.assertEqual(len(self.handler.asked), 2)
        self.assertIsNone(self.successResultOf(body.next()))
        self.assertEqual(len(self.handler.asked), 3)

    def test_failures_and_answers_without_a_body_hold_no_turn(self) -> None:
        """Nothing of them is left here."""
        first, second, _, _ = self.ask(), self.ask(), self.ask(), self.ask()
        self.handler.asked[0].errback(AnyLogError(63, "gone"))
        self.failureResultOf(first, AnyLogError)
        self.handler.asked[1].callback(Reply(head={"n": 2}))
        self.assertEqual(self.successResultOf(second).head, {"n": 2})
        self.assertEqual(len(self.handler.asked), 4)

    def test_a_handler_that_stumbles_at_once_holds_no_turn(self) -> None:
        """Neither do ten of them."""
        turns = InTurn(lambda head, body, asker: fail(AnyLogError(21, "odd")), DeferredSemaphore(1), 0)
        for _ in range(10):
            self.failureResultOf(turns({}, b"", ASKER), AnyLogError)

    def test_too_many_that_wait_are_refused(self) -> None:
        """So that they cannot fill the memory."""
        for _ in range(4):
            self.ask()
        refused = self.failureResultOf(self.ask(), AnyLogError).value
        self.assertEqual(refused.number, 502)

    def test_who_stops_waiting_leaves_the_queue(self) -> None:
        """And whoever is cancelled while being answered gives the turn back."""
        first, _, third, fourth = (self.ask() for _ in range(4))
        third.cancel()
        self.failureResultOf(third, CancelledError)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(len(self.handler.asked), 3)
        self.assertNoResult(fourth)
