"""A member that becomes another, or loses something, while it asks or is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filing_case import MEMBER
from pull_case import OTHER, PullCase, place_of
from twisted.internet.defer import Deferred, ensureDeferred

from anylog.databases.owners import hand_over
from anylog.interfaces import Asker, Reply
from anylog.processes import consumer

ANOTHER = 5


class HandedOverTests(PullCase):
    """The one that is asked has its tables of files handed over before they are read: nothing is told of another's."""

    def setUp(self) -> None:
        super().setUp()
        self.give(1)
        self.serves = OTHER
        self.exchange._place = lambda: place_of(self.serves)

    def asks(self, kind: str, **head: Any) -> None:
        head = {"cluster": "c", "member": OTHER, "asker": MEMBER, **head}
        handler = self.exchange.handlers()[kind]
        self.get(handler(head, b"", Asker(host="", address="")))
        read, begun = self.theirs.read, []

        def late(work: Any) -> Deferred[Any]:
            if not begun:
                begun.append(True)
                self.get(ensureDeferred(hand_over(self.other, OTHER, ANOTHER)))
                self.serves = ANOTHER
            return read(work)

        self.patch(type(self.theirs), "read", lambda this, work: late(work) if this is self.theirs else read(work))
        self.refused(203, handler(head, b"", Asker(host="", address="")))
        self.assertEqual(begun, [True])

    def refused(self, number: int, told: Deferred[Reply]) -> None:
        failure = self.failureResultOf(told)
        self.assertEqual(failure.value.number, number, failure)

    def test_members(self) -> None:
        """As if it had no files at all: who asks would think that it has all of them."""
        self.asks("members", member=MEMBER)

    def test_entries(self) -> None:
        self.asks("entries", start="", end="", after=0, most=10)

    def test_known(self) -> None:
        self.asks("known", ids=[1], first=0)

    def test_fetch(self) -> None:
        """Who asks would take them for files that nobody has."""
        self.asks("fetch", ids=[1])


class LostTests(PullCase):
    """What this member had is lost while it asks another: it is not complete by what it knew before."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.give(1)
        self.hold(self.tsd, f"tsd_{OTHER}", self.file)

    def loses(self, *, noted: bool, gone: bool) -> None:
        """At the first question."""

        def answer(head: Mapping[str, Any]) -> Deferred[Reply]:
            del self.odd["members"]
            if noted:
                self.get(self.consumer.standing.lack(self.tsd, MEMBER))
            if gone:
                self.get(self.tsd.forget([(f"tsd_{OTHER}", 1)]))
            return self.exchange.handlers()["members"](head, b"", Asker(host="", address=""))

        self.odd["members"] = answer

    def complete(self) -> bool:
        return self.consumer.standing.own_complete

    def test_nothing(self) -> None:
        """It has all."""
        self.begin()
        self.assertTrue(self.complete())

    def test_noted_and_gone(self) -> None:
        """It is pulled again soon, and then this member is complete."""
        self.loses(noted=True, gone=True)
        self.begin()
        self.assertFalse(self.complete())
        self.go(3 * consumer.BEAT)
        self.assertEqual(self.delivered, [str(self.file)])
        self.load()
        self.go(consumer.EVERY)
        self.assertTrue(self.complete())

    def test_noted_first(self) -> None:
        """It goes only behind this round."""
        self.loses(noted=True, gone=False)
        self.begin()
        self.assertFalse(self.complete())

    def test_noted_before(self) -> None:
        """It goes within this round, and the loss was noted before it."""
        self.get(self.consumer.standing.lack(self.tsd, MEMBER))
        self.loses(noted=False, gone=True)
        self.begin()
        self.assertFalse(self.complete())
