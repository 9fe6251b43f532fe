"""Selects and files that are taken out of a table do not meet."""

from __future__ import annotations

from typing import Any

from town import TownCase, load
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases import audits, marks
from anylog.databases.taken_out import LONGEST, TakenOut
from anylog.errors import AnyLogError


class TakenOutTests(SynchronousTestCase):
    """Both wait for each other, and neither for ever."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.out = TakenOut(self.clock)

    def look(self, table: str = "t") -> Deferred[int]:
        return Deferred.fromCoroutine(self.out.look("town", table))

    def begin(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.out.begin("Town", "T"))

    def test_a_select_waits(self) -> None:
        """Until the file is in again; one of another table does not."""
        self.successResultOf(self.begin())
        waits = self.look()
        self.successResultOf(self.look("other"))
        self.clock.pump([0.02] * 20)
        self.assertNoResult(waits)
        self.out.end("town", "t")
        self.clock.pump([0.02])
        self.assertTrue(self.out.looked("town", "t", self.successResultOf(waits)))

    def test_no_file_is_taken_out_while_one_looks(self) -> None:
        """Nor while one waits to look: a repair of many files keeps nobody out."""
        self.successResultOf(self.begin())
        first = self.look()
        second = self.begin()
        self.out.end("town", "t")
        self.clock.pump([0.02] * 5)
        self.assertNoResult(second)
        self.assertTrue(self.out.looked("town", "t", self.successResultOf(first)))
        self.clock.pump([0.02])
        self.successResultOf(second)

    def test_neither_waits_for_ever(self) -> None:
        """A select is refused; a file is taken out, and the select is told to look again."""
        self.successResultOf(self.begin())
        waits = self.look()
        self.clock.pump([1] * int(LONGEST + 1))
        self.assertEqual(self.failureResultOf(waits, AnyLogError).value.number, 508)
        self.out.end("town", "t")
        number = self.successResultOf(self.look())
        begun = self.begin()
        self.clock.pump([1] * int(LONGEST + 1))
        self.successResultOf(begun)
        self.out.end("town", "t")
        self.assertFalse(self.out.looked("town", "t", number))


class RemovedMarks(TownCase):
    """What others remember of the marks is void once one was removed."""

    def test_positions(self) -> None:
        """Told before, they are none of this database any more, also of marks that are there still."""

        def positions(connection: Any) -> tuple[int, str]:
            return marks.position(connection)

        columns = {"a": "INT"}
        for number in (1, 2):
            made = load("t", [{"a": number}], buffer=f"b{number}", create=columns if number == 1 else None)
            self.assertEqual(self.successResultOf(self.town.load([made])), [None])
        before = self.successResultOf(self.town.read(positions))

        def same(position: tuple[int, str]) -> bool:
            found: bool = self.successResultOf(self.town.read(lambda connection: marks.is_at(connection, *position)))
            return found

        for remove in (
            lambda connection: marks.undo(connection, "t", 7, 9),
            lambda connection: audits.take_out(connection, "t", 7, 9),
        ):
            self.assertTrue(same(before))
            self.successResultOf(self.town.write(remove))
            self.assertFalse(same(before))
            before = self.successResultOf(self.town.read(positions))
        self.reopen()
        self.assertTrue(same(before))
