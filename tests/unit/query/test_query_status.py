"""Watching queries, and the limits of `set query mode` (query.md 7.3, 8)."""

from __future__ import annotations

from typing import Any

from place import ROWS
from twisted.internet.defer import Deferred
from world import Network

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.query import status_commands as words

COUNT = "select count(*) as n from readings"


class StatusTests(Network):
    def setUp(self) -> None:
        super().setUp()
        self.fill("op1:1", "readings", ROWS[:2])

    def say(self, command: type[Command], *operands: str, **options: Any) -> Result:
        given = {**command.read(operands, ()), **options} if not command.raw else {}
        asked = Deferred.fromCoroutine(command().run(self.node, Context(), operands, **given))
        return self.successResultOf(asked) or Result()

    def text(self, command: type[Command], *operands: str) -> str:
        return self.say(command, *operands).text or ""

    def test_status(self) -> None:
        """All together first, then each operator; the layout is the one that clients parse."""
        for command in (words.QueryStatus, words.QueryDestination, words.QueryExplain):
            self.assertEqual(self.text(command), "Job instances do not contain queries info")
        self.body(f'plant "{COUNT}"', origin="rest")
        lines = self.text(words.QueryStatus).split("\r\n")
        self.assertEqual(
            lines,
            [
                "",
                "Job  ID Output   Run Time Operator Par Status    Blocks Rows Command                            ",
                "----|--|--------|--------|--------|---|---------|------|----|----------------------------------|",
                f"0000| 1|['rest']|00:00:00|All     |---|Completed|     2|   2|{COUNT}|",
                "    |  |        |00:00:00|op1:1   |  0|Completed|     1|   1|                                  |",
                "    |  |        |00:00:00|op2:1   |  0|Completed|     1|   1|                                  |",
                "",
            ],
        )
        self.body('plant "select n from readings where n < -100"')
        found = self.say(words.QueryStatus, "all").data
        self.assertEqual([row["Status"] for row in found], ["Completed"] * 3 + ["Empty Set"] * 3)
        self.assertEqual(len(self.say(words.QueryStatus, "0").data), 3)
        self.assertEqual(self.say(words.QueryStatus, "99").data, [])
        with self.assertRaises(AnyLogError):
            words.jobs_of(self.node, ["x"], "query status")

    def test_errors_are_shown(self) -> None:
        """A node that was not there and the one that stood in for it are both shown."""
        self.clusters.held["plant", "readings"][0].operators.append(
            self.clusters.held["plant", "readings"].pop().operators[0]
        )
        self.peers.down.add("op1:1")
        self.body(f'plant "{COUNT}"')
        shown = [(row["Operator"], row["Status"].split(":")[0]) for row in self.say(words.QueryStatus).data]
        self.assertEqual(shown, [("All", "Completed"), ("op1:1", "Error"), ("op2:1", "Completed")])
        self.peers.down.add("op2:1")
        self.refusal(f'plant "{COUNT}"')
        self.assertIn("Error: No active operator for cluster", self.say(words.QueryStatus).data[0]["Status"])

    def test_destination_and_explain(self) -> None:
        """Who takes part, and what is asked."""
        self.body(f'plant "{COUNT}"')
        rows = self.say(words.QueryDestination).data
        self.assertEqual([row["Destination"] for row in rows], ["op1:1", "op2:1"])
        (told,) = self.say(words.QueryExplain).data
        self.assertEqual(told["Remote Query"], 'select count(*) as "count_all" from readings')
        self.assertEqual(told["Local Query"], 'select coalesce(sum("count_all"), 0) from "query_result"')
        self.assertEqual(told["Remote DBMS"], "plant")
        self.assertIn("count_all", told["Local Create"])
        self.body('plant "select increments(timestamp, 10), max(n) from readings where timestamp > now() - 1 day"')
        self.assertEqual(self.say(words.QueryExplain).data[0]["Increment Info"], "hour 2")

    def test_mode(self) -> None:
        """Shown as it was; each limit alone, or several."""
        self.assertEqual(
            self.text(words.GetQueryMode),
            "\r\ntimeout    : [0]\r\nmax_volume : [10000000]\r\nsend_mode  : ['all']\r\n"
            "reply_mode : ['all']\r\nshow_id    : [False]\r\n",
        )
        mode = self.node.network_queries.mode
        for line, expected in [
            ("using timeout = 30 seconds and max_volume = 2MB and send_mode = any", (30, 2 << 20, "any", "all", False)),
            ("using reply_mode = any, show_id = true", (30, 2 << 20, "any", "any", True)),
            ("using timeout=0, max_volume = 10000000, send_mode=all, reply_mode=all", (0, 10**7, "all", "all", True)),
        ]:
            self.say(words.SetQueryMode, line)
            self.assertEqual((mode.timeout, mode.max_volume, mode.send, mode.reply, mode.show_id), expected, line)
        for wrong, number in [("timeout = 3", 2), ("using", 2), ("using speed = 3", 2), ("using send_mode = x", 175)]:
            asked = Deferred.fromCoroutine(words.SetQueryMode().run(self.node, Context(), [wrong]))
            self.assertEqual(self.failureResultOf(asked, AnyLogError).value.number, number, wrong)

    def test_pool(self) -> None:
        """The number of threads, how many work, how many queries there were."""
        self.body(f'plant "{COUNT}"')
        self.assertEqual(
            self.text(words.GetQueryPool), "Query Pool with 3 threads:                                  [0, 0, 0] (1)"
        )
        self.say(words.SetQueryPool, "2")
        self.assertIn("[0, 0] (1)", self.text(words.GetQueryPool))
        self.body(f'plant format = table "{COUNT}"')

    def test_console(self) -> None:
        """The number of the job comes first."""
        self.body(f'plant "{COUNT}"', origin="console")
        self.assertEqual(self.written, ["[0]"])
