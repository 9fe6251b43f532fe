"""Query times and the query log (query.md 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from place import Asking
from twisted.internet.defer import CancelledError, Deferred

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.query.commands import GetQueriesTime, ResetQueryTimer, SetQueryLog


class WordsTests(Asking):
    def say(self, command: type[Command], *words: str) -> Deferred[Result | None]:
        operands: Sequence[str] = words
        options: dict[str, Any] = command.read(operands, ())
        return Deferred.fromCoroutine(command().run(self.node, Context(), operands, **options))

    def test_times(self) -> None:
        """The total is the sum of the lines; a reset begins anew; failed queries count, refused ones do not."""
        self.ask('plant "select 1"')
        self.refusal('plant "select nocol from readings"')
        self.refusal('plant format = mqtt "select 1"')
        self.node.queries.ended(3.2, "plant", "select 2")
        self.node.queries.ended(99.0, "plant", "select 3")
        self.clock.advance(3723)
        result = self.successResultOf(self.say(GetQueriesTime))
        assert result is not None and result.text is not None
        lines = result.text.splitlines()
        self.assertEqual(lines[0], "Up to  1 sec.: 2")
        self.assertEqual(lines[3], "Up to  4 sec.: 1")
        self.assertEqual(lines[8:], ["Up to  9 sec.: 0", "Over   9 sec.: 1", "Total queries: 4",
                                     "Time interval: 3723 (sec.) : 1:2:3 (H:M:S)"])  # fmt: skip
        self.assertEqual(result.data["Queries Statistics"]["Total queries"], 4)
        self.successResultOf(self.say(ResetQueryTimer))
        self.assertIn("Total queries: 0", self.node.queries.text())

    def test_log(self) -> None:
        """Off until it is set; all queries, or the slow ones."""
        for words, seconds, logged in [
            ((), 100, 0),
            (("on",), 0, 1),
            (("profile", "5", "seconds"), 4.9, 0),
            (("profile", "5", "seconds"), 5, 1),
            (("OFF",), 100, 0),
        ]:
            if words:
                self.successResultOf(self.say(SetQueryLog, *words))
            self.node.logs.query.clear()
            self.node.queries.ended(seconds, "plant", "select 1")
            self.assertEqual(len(self.node.logs.query.find()), logged, words)
        self.successResultOf(self.say(SetQueryLog, "on"))
        self.node.logs.query.clear()
        for error in (None, AnyLogError(16, "no such column"), CancelledError(), KeyError("x")):
            self.node.queries.ended(1.5, "plant", "select 1", error)
        rows = self.node.logs.query.rows()
        self.assertEqual(
            [row["Text"] for row in rows],
            [
                "(OK) select 1",
                "(Failed: 16 : SQL Failure) select 1",
                "(Failed: 26 : given up by who asked) select 1",
                "(Failed: 500) select 1",
            ],
        )
        self.assertEqual((rows[0]["Type"], rows[0]["Thread"]), ("1.500 sec.", "plant"))
        for wrong, number in [(("sometimes",), 2), (("profile",), 2), (("profile", "x"), 175)]:
            self.assertEqual(self.failureResultOf(self.say(SetQueryLog, *wrong), AnyLogError).value.number, number)
