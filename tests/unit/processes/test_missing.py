"""What is fetched, what is only noted, and up to where a member is safe: the tables of operator-ha.md 7."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.tsd_ranges import Line
from anylog.processes.missing import AGAIN, SELDOM, Plan, Tried, clashes, consensus, plan, validated

NOW, PEER = 10_000.0, 7
RECENTLY, LONG_AGO = NOW - AGAIN + 1, NOW - SELDOM - 1


def line(id: int, state: str = "loaded", hash: str = "") -> Line:
    return Line(id, hash or f"h{id}", "town", "t", 3, state, "2026-09-21 14:13:20.000000")


def look(
    *theirs: Line, ours: Any = None, held: Any = None, tried: Any = None, way: Any = (), into: str = "tsd_7"
) -> Plan:
    return plan(theirs, ours or {}, held or {}, tried or {}, way, peer=PEER, into=into, now=NOW)


def told(found: Plan) -> str:
    names = ("fetch", "doubles", "absent", "pending", "busy")
    return next((name for name in names if getattr(found, name)), "")


class PlanTests(SynchronousTestCase):
    def test_a_database_that_is_away(self) -> None:
        """State there, state here; whether the file waits for its database, is open, is unsettled."""
        for there, here, expected in [
            ("loaded", "", (["town"], 0, 1)),
            ("dropped", "failed", (["town"], 0, 1)),
            ("double", "", (["town"], 0, 1)),
            ("missing", "", ([], 1, 1)),
            ("loaded", "loaded", ([], 0, 0)),
            ("loaded", "pending", ([], 1, 1)),
            ("failed", "", ([], 0, 0)),
        ]:
            ours = {1: here} if here else {}
            found = plan([line(1, there)], ours, {}, {}, (), peer=PEER, into="tsd_7", now=NOW, away={"town"})
            self.assertEqual((found.apart, found.open, found.first), expected, (there, here))
            self.assertEqual(found.fetch, [])
        found = plan([line(1)], {}, {}, {}, (), peer=PEER, into="tsd_7", now=NOW, away={"city"})
        self.assertEqual((len(found.fetch), found.apart), (1, []))

    def test_one_entry(self) -> None:
        """State there, state here, when it was asked for; what follows, whether it may still come, and is unsettled."""
        for there, here, before, expected, open, unsettled in [
            ("loaded", "", None, "fetch", 1, 1),
            ("dropped", "", None, "fetch", 1, 1),
            ("loaded", "loaded", None, "", 0, 0),
            ("loaded", "double", None, "", 0, 0),
            ("loaded", "dropped", None, "", 0, 0),
            ("pending", "", None, "", 0, 0),
            ("failed", "", None, "", 0, 0),
            ("double", "", None, "", 1, 1),
            ("missing", "", None, "absent", 1, 1),
            ("missing", "missing", None, "", 0, 0),
            ("loaded", "", Tried(RECENTLY), "busy", 1, 1),
            ("loaded", "", Tried(NOW - AGAIN), "fetch", 1, 1),
            ("loaded", "", Tried(NOW - AGAIN, 3), "busy", 1, 1),
            ("loaded", "", Tried(LONG_AGO, 3), "fetch", 1, 1),
            ("loaded", "missing", None, "fetch", 1, 0),
            ("loaded", "failed", None, "fetch", 1, 1),
            ("loaded", "failed", Tried(NOW - AGAIN), "", 0, 1),
            ("loaded", "failed", Tried(LONG_AGO), "fetch", 1, 1),
            ("loaded", "missing", Tried(NOW - AGAIN, 1, frozenset({PEER})), "", 0, 0),
            ("loaded", "missing", Tried(RECENTLY, 1, frozenset({9})), "fetch", 1, 0),
            ("loaded", "missing", Tried(LONG_AGO, 1, frozenset({PEER})), "fetch", 1, 0),
            ("loaded", "", Tried(RECENTLY, 1, frozenset({PEER})), "absent", 1, 1),
            ("loaded", "", Tried(RECENTLY, 1, frozenset({9})), "fetch", 1, 1),
            ("loaded", "pending", None, "pending", 1, 1),
            ("loaded", "pending", Tried(RECENTLY, 0), "busy", 1, 1),
            ("loaded", "pending", Tried(NOW - AGAIN, 0), "fetch", 1, 1),
        ]:
            found = look(line(1, there), ours={1: here} if here else {}, tried={1: before} if before else {})
            got = (told(found), found.open, found.first)
            self.assertEqual(got, (expected, open, unsettled), f"{there} there, {here} here, {before}")

    def test_files_that_rest(self) -> None:
        """In which states here files are not asked for now; one of which it is known when it was goes by that."""
        for here, before, expected in [
            ("missing", None, ""),
            ("missing", Tried(LONG_AGO), "fetch"),
            ("missing", Tried(RECENTLY, 1, frozenset({9})), "fetch"),
            ("failed", None, "fetch"),
            ("", None, "fetch"),
        ]:
            tried = {1: before} if before else {}
            states = {1: here} if here else {}
            found = plan([line(1)], states, {}, tried, (), peer=PEER, into="tsd_7", now=NOW, resting=("missing",))
            self.assertEqual((told(found), found.open), (expected, int(bool(expected))), f"{here} {before}")

    def test_two_contents(self) -> None:
        """An id clashes where both sides hold a file under it; what holds nothing, and what is no hash, does not."""
        for there, here, hash, expected in [
            ("loaded", "loaded", "x", True),
            ("loaded", "loaded", "h1", False),
            ("dropped", "double", "x", True),
            ("double", "dropped", "x", True),
            ("loaded", "pending", "x", True),
            ("loaded", "pending", "open:b1", False),
            ("loaded", "failed", "03:7.1", False),
            ("loaded", "failed", "x", False),
            ("loaded", "missing", "x", False),
            ("missing", "loaded", "x", False),
            ("pending", "loaded", "x", False),
        ]:
            self.assertEqual(clashes(line(1, there), hash, here), expected, f"{there} there, {here} {hash} here")

    def test_known_contents(self) -> None:
        """What is here under another entry is not fetched; unless it is being loaded, that is noted at once."""
        holder = {"h1": ("tsd_info", 4)}
        self.assertEqual(look(line(1), held=holder).doubles, [(line(1), ("tsd_info", 4))])
        self.assertEqual(told(look(line(1), ours={1: "failed"}, held=holder)), "doubles")
        self.assertEqual(told(look(line(1), ours={1: "pending"}, held=holder)), "pending")
        # The member lost its table, and got the same content again.
        self.assertEqual(look(line(1), held={"h1": ("tsd_7", 4)}).doubles, [(line(1), ("tsd_7", 4))])
        own = plan([line(1)], {}, {"h1": ("tsd_info", 4)}, {}, (), peer=PEER, into="tsd_info", now=NOW)
        self.assertEqual((told(own), own.open, own.first), ("", 0, 0))

    def test_a_content_once(self) -> None:
        """Of two entries with one content one is fetched, and none if it is on its way."""
        both = [line(1, hash="x"), line(2, hash="x")]
        self.assertEqual([each.id for each in look(*both).fetch], [1])
        self.assertEqual((told(look(*both, way={"x"})), look(*both, way={"x"}).open), ("busy", 2))

    def test_the_first_that_is_not_settled(self) -> None:
        """The lowest id, whatever comes behind it."""
        found = look(line(1), line(2, "missing"), line(3), line(4), ours={1: "loaded", 2: "missing", 4: "loaded"})
        self.assertEqual((found.first, [each.id for each in found.fetch]), (3, [3]))


class SafeTests(SynchronousTestCase):
    def test_validated(self) -> None:
        """In front of the first that is missing or pending, at most what the other validated; it never falls."""
        for before, bound, firsts, expected in [
            (0, 0, (), 0),
            (0, 9, (), 9),
            (0, 9, (0, 0), 9),
            (0, 9, (4, 0), 3),
            (0, 9, (4, 3), 2),
            (0, 9, (40, 0), 9),
            (5, 9, (4, 0), 5),
            (12, 9, (), 12),
            (0, 9, (1,), 0),
        ]:
            self.assertEqual(validated(before, bound, *firsts), expected, (before, bound, firsts))

    def test_consensus(self) -> None:
        """The least of all members; one that was not heard of has nothing; never less than before."""
        for before, members, safe, expected in [
            (0, (1, 2), {1: 5, 2: 7}, 5),
            (0, (1, 2), {1: 5}, 0),
            (4, (1, 2), {1: 5}, 4),
            (0, (1,), {1: 5, 2: 1}, 5),
            (0, (), {}, 0),
        ]:
            self.assertEqual(consensus(before, members, safe), expected, (before, members, safe))
