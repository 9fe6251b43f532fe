"""How far the members of a cluster are, as it is kept beside the tables of files."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from filing_case import MEMBER, FilesCase
from twisted.internet.defer import Deferred

from anylog.databases.tsd import Tsd
from anylog.databases.tsd_ranges import remember
from anylog.processes import standing
from anylog.processes.standing import Standing


class StandingTests(FilesCase):
    """What was kept is recalled once."""

    def test_something_is_lost(self) -> None:
        """This member is not complete then, nor after a start, until it is seen to be again."""
        found = Standing(own_complete=True)
        self.get(found.recall(self.tsd, MEMBER))
        found.own_complete = True
        self.get(found.keep(self.tsd, MEMBER, {MEMBER, 7}))
        self.assertTrue(self.again().own_complete)
        lacks = Standing()
        self.get(lacks.lack(self.tsd, MEMBER))
        self.assertFalse(lacks.own_complete)
        self.assertFalse(self.again().own_complete)
        lacks.own_complete = True
        self.get(lacks.keep(self.tsd, MEMBER, {MEMBER, 7}))
        self.assertTrue(self.again().own_complete)

    def test_lost_while_it_is_kept(self) -> None:
        """That this member is complete does not outlast what it lost while that was being written."""
        found = Standing()
        self.get(found.recall(self.tsd, MEMBER))
        found.own_complete = True
        waiting: list[Deferred[Any]] = []

        def late(tsd: Tsd, notes: dict[str, int]) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: remember(tsd, notes))

        with patch.object(standing, "remember", late):
            keeping, lacking = found.keep(self.tsd, MEMBER, {MEMBER, 7}), found.lack(self.tsd, MEMBER)
            for each in waiting:
                each.callback(None)
            self.get(keeping)
            self.get(lacking)
        self.assertFalse(self.again().own_complete)
        found.own_complete = True
        self.get(found.keep(self.tsd, MEMBER, {MEMBER, 7}))
        self.assertTrue(self.again().own_complete)

    def again(self) -> Standing:
        """After a start."""
        found = Standing()
        self.get(found.recall(self.tsd, MEMBER))
        return found

    def test_two_recall_at_once(self) -> None:
        """What the first of them noted since stays."""
        kept = Standing()
        kept.of(MEMBER)[7] = 5
        self.get(kept.keep(self.tsd, MEMBER, {MEMBER, 7}))
        waiting: list[Deferred[Any]] = []

        def late(tsd: Tsd) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        found = Standing()
        with patch.object(standing, "remembered", late):
            first, second = found.recall(self.tsd, MEMBER), found.recall(self.tsd, MEMBER)
            waiting[0].callback({f"safe.{MEMBER}.7": 5})
            self.get(first)
            mine = found.of(MEMBER)
            mine[7] = 9
            found.hear(7, {MEMBER: 3}, True, 1.0)
            for each in waiting[1:]:
                each.callback({f"safe.{MEMBER}.7": 5})
            self.get(second)
        self.assertIs(found.of(MEMBER), mine)
        self.assertEqual(found.safe, {MEMBER: {7: 9}, 7: {MEMBER: 3}})
