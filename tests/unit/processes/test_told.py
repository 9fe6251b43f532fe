"""What members tell is read before it is used: nonsense of any kind is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from attrs import astuple
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.tsd_ranges import Line, Totals
from anylog.disk.archive import LARGEST
from anylog.errors import AnyLogError
from anylog.processes.exchange import numbers
from anylog.processes.told import files_told, known_told, lines_told, state_told

HUGE = 1 << 63
TOTALS = [2, 30, 1, 2, "2026-09-21 14:13:20", 0, 0]
LINE = Line(5, "h5", "town", "t", 3, "loaded", "2026-09-21 14:13:20")


class ToldTests(SynchronousTestCase):
    def refused(self, read: Callable[..., Any], *told: Any) -> bool:
        """Whether it is refused as what it is: nonsense. All else that is raised fails the test."""
        try:
            read(*told)
        except AnyLogError as refusal:
            return refusal.number == 21
        return False

    def test_a_state(self) -> None:
        """It is what was told; a longer list is of a newer version; wrong types and bounds are no state."""
        good = {"complete": True, "tables": {"7": TOTALS}, "parts": {"7": [1, 2, 0]}, "safe": {"7": 2}, "yours": 9}
        told = state_told({**good, "tables": {"7": [*TOTALS, "more"]}})
        self.assertEqual((told.complete, told.tables, told.parts), (True, {7: Totals(*TOTALS)}, {7: (1, 2, 0)}))
        self.assertEqual((told.safe, told.known), ({7: 2}, 9))
        odd: list[Any] = [{"tables": {"7": TOTALS[:6]}}, {"tables": [TOTALS]}, {"tables": {"256": TOTALS}}]
        for place, values in enumerate([("2", -1, HUGE, 1.0, None), ("x", HUGE), (True,), ([],), (7, "x" * 41),
                                        ("0", float("inf")), ("0", -1)]):  # fmt: skip
            odd += [{"tables": {"7": [*TOTALS[:place], each, *TOTALS[place + 1 :]]}} for each in values]
        odd += [{"parts": {"7": [1, 2]}}, {"parts": {"x": [1, 2, 3]}}, {"parts": {"7": ["1", 2, 3]}}, {"parts": None}]
        odd += [{"yours": each} for each in (None, "1", float("inf"), HUGE, -1, True)]
        odd += [{"safe": {"7": each}} for each in ("1", HUGE, True, 1.0)] + [{"safe": {float("inf"): 1}}, {"safe": 3}]
        for each in odd:
            self.assertTrue(self.refused(state_told, {**good, **each}), each)
        self.assertEqual(numbers({"safe": {"7": 2}}, "safe"), {7: 2})

    def test_entries(self) -> None:
        """Ids grow from behind the last one, and every part of an entry is what it should be."""
        good = list(astuple(LINE))
        self.assertEqual(lines_told(orjson.dumps([good, [6, *good[1:], "more"]]), 4)[0], LINE)
        odd = [b"", b"{}", b"7", b"[7]", b"[[]]", orjson.dumps([good, good]), orjson.dumps([[6, *good[1:]], good])]
        for place, value in [(0, True), (0, 0), (0, HUGE), (0, "5"), (1, None), (2, 7), (4, "3"), (4, None), (4, -1),
                             (5, "gone"), (5, None), (6, 7), (6, "x" * 41), (7, 0), (8, None)]:  # fmt: skip
            odd.append(orjson.dumps([[*good[:place], value, *good[place + 1 :]]]))
        for each in odd:
            self.assertTrue(self.refused(lines_told, each, 4), each)
        self.assertTrue(self.refused(lines_told, orjson.dumps([good]), 5))

    def test_files(self) -> None:
        """What is missing and what comes later is of what was asked for."""
        good = {"files": [[5, "a", 10]], "missing": [[6, ""], [99, "x"]], "later": [8, 98]}
        told = files_told(good, [5, 6, 7, 8])
        self.assertEqual((told.files, told.without, told.later, told.size), ([(5, "a", 10)], {6}, {8}, 10))
        for odd in [
            {"files": None}, {"files": [5]}, {"files": [[5, "a"]]}, {"files": [[5, 7, 10]]}, {"files": [["5", "a", 1]]},
            {"files": [[5, "a", 0]]}, {"files": [[5, "a", float("inf")]]}, {"files": [[5, "a", LARGEST + 1]]},
            {"files": [[5, "a", 8 << 20], [6, "b", 8 << 20]]}, {"missing": [[]]}, {"missing": [6]}, {"missing": "x"},
            {"later": ["8"]}, {"later": None}, {"later": [float("inf")]}, {"later": [True]},
        ]:  # fmt: skip
            self.assertTrue(self.refused(files_told, {**good, **odd}, [5, 6, 7, 8]), odd)
        self.assertTrue(self.refused(files_told, {}, [5]))

    def test_known_ids(self) -> None:
        """Of those that were asked for alone, each with hash, rows and state; and whether more waits."""
        good = {"known": [[5, "h5", 3, "loaded"], [6, "h6", 0, "pending"]], "waits": True}
        told = {5: ("h5", 3, "loaded"), 6: ("h6", 0, "pending")}
        self.assertEqual(known_told(good, [4, 5, 6]), (told, True))
        self.assertEqual(known_told({"known": []}, [5]), ({}, False))
        self.assertEqual(known_told({**good, "waits": 1}, [5, 6]), (told, False))
        for odd in [
            None, "x", 7, [5], [[]], [[5, "h5", 3]], [[5, "h5", 3, "loaded", 1]], [["5", "h5", 3, "loaded"]],
            [[HUGE, "h5", 3, "loaded"]], [[True, "h5", 3, "loaded"]], [[5, 7, 3, "loaded"]], [[5, "h5", -1, "loaded"]],
            [[5, "h5", "3", "loaded"]], [[5, "h5", 3.0, "loaded"]], [[5, "h5", 3, "gone"]], [[5, "h5", 3, None]],
            [[7, "h7", 3, "loaded"]],
        ]:  # fmt: skip
            self.assertTrue(self.refused(known_told, {"known": odd}, [5, 6]), odd)
        self.assertTrue(self.refused(known_told, {}, [5]))
