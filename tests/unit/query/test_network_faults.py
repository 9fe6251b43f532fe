"""Nodes that are down, silent, slow, break or refuse: the answer is complete, or says that it is not (decisions 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from place import COLUMNS, ROWS
from twisted.internet.defer import CancelledError, Deferred
from world import AUTOMATIC, Network

from anylog.errors import AnyLogError
from anylog.language.context import Result

COUNT = 'plant stat = false "select count(*) as n from readings"'
RAW = 'plant stat = false "select n from readings"'
SORTED = 'plant stat = false "select n from readings order by n"'
EVERY = (COUNT, RAW, SORTED, 'plant format = table and stat = false "select n from readings"')


class FaultTests(Network):
    operators = 4

    def setUp(self) -> None:
        super().setUp()
        self.declare("readings", COLUMNS, [["op1:1", "op2:1"], ["op3:1", "op4:1"]])
        for address in ("op1:1", "op2:1"):
            self.fill(address, "readings", ROWS[:3])
        for address in ("op3:1", "op4:1"):
            self.fill(address, "readings", ROWS[3:])
        self.clusters.held["plant", "readings"][0].operators[0].main = True
        self.clusters.held["plant", "readings"][1].operators[0].main = True

    def whom(self) -> list[str]:
        asked = [address for address, _ in self.peers.asked]
        self.peers.asked.clear()
        return asked

    def test_main_then_others(self) -> None:
        """The main operator; in turn with `nodes = all`; another one while it does not answer."""
        for _ in range(2):
            self.assertEqual(self.body(COUNT), '{"Query":[{"n":5}]}')
            self.assertEqual(self.whom(), ["op1:1", "op3:1"])
        for expected in (["op1:1", "op3:1"], ["op2:1", "op4:1"], ["op1:1", "op3:1"]):
            self.body(COUNT.replace("stat", "nodes = all and stat"))
            self.assertEqual(self.whom(), expected)
        self.peers.down.add("op1:1")
        for line in EVERY:
            self.body(line)
        self.assertEqual(self.whom()[:4], ["op1:1", "op2:1", "op3:1", "op2:1"])
        self.assertNotIn("op1:1", [address for address, _ in self.peers.asked])

    def test_a_cluster_that_is_down(self) -> None:
        """An error that names it, at once the second time; other tables are not concerned."""
        self.declare("others", COLUMNS, [["op1:1"]])
        self.peers.down |= {"op3:1", "op4:1"}
        for line in (*EVERY, *EVERY):
            error = self.refusal(line)
            self.assertEqual((error.number, error.http), (203, 503), line)
            self.assertIn("cluster2", str(error))
            self.assertIn("op3:1", str(error))
            self.assertEqual([lane.busy for lane in self.databases.values()], [0] * 4)
        self.assertEqual(orjson.loads(self.body(COUNT.replace("readings", "others"))), {"Query": [{"n": 0}]})

    def test_silent_nodes(self) -> None:
        """A node that says nothing costs less than two seconds once; with nobody left that is an error."""
        self.peers.silent.add("op3:1")
        for line in EVERY:
            self.peers.silent = {"op3:1"}
            self.peers.flagged.pop("op3:1", None)
            asked, waited = self.asking(line), 0.0
            while not asked.called:
                self.clock.advance(0.01)
                waited += 0.01
            self.assertLess(waited, 1.9, line)
            self.pages(self.successResultOf(asked))
            self.whom()
            self.body(line)  # from now on it is not asked
            self.assertNotIn("op3:1", self.whom())
        self.peers.silent.add("op4:1")
        self.peers.flagged.pop("op3:1", None)
        for least, most in [(1.0, 4.0), (0.0, 0.7)]:
            asked, waited = self.asking(COUNT), 0.0
            while not asked.called:
                self.clock.advance(0.01)
                waited += 0.01
            self.assertTrue(least <= waited < most, waited)
            self.assertEqual(self.failureResultOf(asked, AnyLogError).value.number, 203)
        self.peers.silent.clear()
        self.clock.advance(20)
        self.assertEqual(self.body(COUNT), '{"Query":[{"n":5}]}')

    def test_all_are_late(self) -> None:
        """While the machine is held up for a moment all members seem silent at once: they have more time, and whoever
        answers then is asked, also one that was silent before."""
        self.peers.silent = {"op3:1"}
        for before, line in [(before, line) for before in (False, True) for line in EVERY]:
            self.peers.flagged.clear()
            if before:
                self.peers.doubt("op4:1", "before")
            self.peers.late = {"op4:1": self.clock.seconds() + 3.0}
            asked = self.asking(line)
            self.clock.pump([0.01] * 400)
            self.pages(self.successResultOf(asked))
            self.assertEqual(self.whom()[-1], "op4:1", (before, line))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_slow_node_is_waited_for(self) -> None:
        """Minutes of work are no fault while the node answers pings."""
        self.peers.slow["op3:1"] = 60
        asked = self.asking(COUNT)
        self.clock.pump([0.1] * 599)
        self.assertNoResult(asked)
        self.clock.pump([0.1] * 2)
        self.assertEqual(self.pages(self.successResultOf(asked)), '{"Query":[{"n":5}]}')
        self.assertGreater(self.peers.pinged.count("op3:1"), 20)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_time_is_over(self) -> None:
        """`timeout`, `max_time` and the deadline of the caller end it, with their numbers; partial with subset."""
        self.peers.slow["op3:1"] = 60
        for line, more, number in [
            (COUNT, {"timeout": 5.0}, 26),
            (COUNT, {"deadline": self.clock.seconds() + 5}, 26),
            (COUNT.replace("stat", "max_time = 5 seconds and stat"), {}, 76),
            (RAW, {"timeout": 5.0}, 26),
        ]:
            asked = self.asking(line, **({"deadline": self.clock.seconds() + 5} if "deadline" in more else more))
            self.clock.pump([0.5] * 9)
            self.assertNoResult(asked)
            self.clock.pump([0.5] * 2)
            error = self.failureResultOf(asked, AnyLogError).value
            self.assertEqual((error.number, error.node), (number, "op3:1"), line)
        asked = self.asking(COUNT, timeout=5.0, subset=True)
        self.clock.advance(5)
        body = orjson.loads(self.pages(self.successResultOf(asked)))
        self.assertEqual(body["Query"], [{"n": 3}])
        self.assertEqual(body["Reply errors"][0]["Ret-Code"], 26)

    def test_subset(self) -> None:
        """Partial answers say who is missing, in every layout."""
        self.peers.down |= {"op3:1", "op4:1"}
        body = orjson.loads(self.body(COUNT.replace("stat = false", "stat = true"), subset=True))
        self.assertEqual(body["Query"], [{"n": 3}])
        self.assertEqual(
            {key: body["Statistics"][0].get(key) for key in ("Nodes", "Target Nodes", "Participating Nodes")},
            {"Nodes": None, "Target Nodes": 2, "Participating Nodes": 1},
        )
        (wrong,) = body["Reply errors"]
        self.assertEqual((wrong["Node IP"], wrong["Port"], wrong["Ret-Code"]), ("op4", "1", 203))
        for layout in ("json:list", "json:output", "table"):
            for statement in (
                "select n from readings",
                "select count(*) from readings",
                "select n from readings order by n",
            ):
                text = self.body(f'plant format = {layout} and stat = false "{statement}"', subset=True)
                self.assertIn("Reply errors", text, layout)
                self.assertIn("op4", text, layout)
        self.peers.down |= {"op1:1", "op2:1"}
        self.assertEqual(self.refusal(COUNT, subset=True).number, 203)

    def test_subset_by_mode(self) -> None:
        """`set query mode` may allow what is not connected, or not there in time."""
        mode = self.node.network_queries.mode
        self.peers.down |= {"op3:1", "op4:1"}
        mode.send = "any"
        self.assertEqual(orjson.loads(self.body(COUNT))["Query"], [{"n": 3}])
        mode.send, mode.reply = "all", "any"
        self.assertEqual(self.refusal(COUNT).number, 203)
        self.peers.down.clear()
        self.peers.flagged.clear()
        self.clock.advance(20)
        self.peers.slow["op3:1"] = 60
        mode.timeout = 5
        asked = self.asking(COUNT)
        self.clock.advance(5)
        self.assertEqual(orjson.loads(self.pages(self.successResultOf(asked)))["Query"], [{"n": 3}])

    def test_volume(self) -> None:
        """What an operator may send has a limit once one is set."""
        mode = self.node.network_queries.mode
        mode.max_volume, mode.given = 10, True
        self.assertEqual(self.refusal(SORTED.replace("stat", "pass_through = false and stat")).number, 77)
        self.assertEqual(self.body(COUNT), '{"Query":[{"n":5}]}')

    def test_errors_name_the_node(self) -> None:
        """What an operator says is told with its address, and is not asked elsewhere unless that may help."""
        for number, elsewhere in [(16, False), (46, False), (212, False), (5, True), (29, True), (506, True)]:
            self.peers.refusals = {"op3:1": AnyLogError(number, "so it is")}
            if elsewhere:
                self.assertEqual(self.body(COUNT), '{"Query":[{"n":5}]}', number)
                self.peers.refusals["op4:1"] = AnyLogError(number, "so it is")
            error = self.refusal(COUNT)
            self.assertEqual((error.number, str(error)), (number, "so it is"))
            self.assertEqual(error.node, "op4:1" if elsewhere else "op3:1", number)
            self.assertNotIn("op3:1", self.node.network_queries.suspects)


class BreakTests(Network):
    """The connection breaks while rows come."""

    operators = 3

    def setUp(self) -> None:
        super().setUp()
        self.declare("readings", COLUMNS, [["op1:1", "op2:1"], ["op3:1"]])
        rows = [[f"d{n % 7}", f"2026-01-{n % 28 + 1:02} 00:00:00.000000", n / 8, n, n % 2] for n in range(20_000)]
        for address, part in [("op1:1", rows[::2]), ("op2:1", rows[::2]), ("op3:1", rows[1::2])]:
            self.fill(address, "readings", part)
        self.want = list(range(20_000))

    def outcome(self, line: str) -> list[int] | AnyLogError:
        """All rows, or the error that ended them."""
        asked = self.asking(line)
        results: list[Any] = []
        asked.addBoth(results.append)
        if not isinstance(results[0], Result):
            return self.error(results[0])
        pages, parts = results[0].pages, []
        assert pages is not None
        while True:
            outcome: list[Any] = []
            pages.next().addBoth(outcome.append)
            if outcome[0] is None:
                break
            if not isinstance(outcome[0], bytes):
                pages.close()
                return self.error(outcome[0])
            parts.append(outcome[0])
        return [row["n"] for row in orjson.loads(b"".join(parts))["Query"]]

    def error(self, failure: Any) -> AnyLogError:
        assert isinstance(failure.value, AnyLogError)
        return failure.value

    def test_a_break_anywhere(self) -> None:
        """At any page: all rows, each once, from another member; or an error, never a short answer."""
        lines: list[tuple[str, Callable[[list[int]], object]]] = [
            ("plant stat = false \"select n, printf('%050d', n) as pad from readings\"", sorted),
            ("plant stat = false \"select n, printf('%050d', n) as pad from readings order by n\"", lambda rows: rows),
            ('plant stat = false and pass_through = false "select n from readings order by n"', lambda rows: rows),
            ('plant stat = false "select n, count(*) as c from readings group by n order by n"', lambda rows: rows),
        ]
        for line, rows in lines:
            whole = failed = 0
            for after in (0, 1, 2, 5, 20):
                for broken in ("op1:1", "op3:1"):
                    self.peers.breaks = {broken: after}
                    self.peers.flagged.pop(broken, None)
                    found = self.outcome(line)
                    if isinstance(found, AnyLogError):
                        failed += 1
                        self.assertIn(found.number, (15, 203), line)
                        self.assertIn("op", found.node)
                    else:
                        whole += 1
                        self.assertEqual(rows(found), self.want, f"{line} {after} {broken}")
                    self.assertEqual([database.busy for database in self.databases.values()], [0] * 3, line)
            self.assertTrue(whole >= 1 and failed >= 1, f"{line} {whole} {failed} {found}")
        self.peers.breaks = {"op1:1": 3}
        self.peers.flagged.pop("op1:1", None)
        self.assertEqual(self.outcome(lines[3][0]), self.want)  # the part is asked anew, as a whole

    def test_close_in_the_middle(self) -> None:
        """A client who leaves ends the work at every operator."""
        for line in (RAW, SORTED, RAW.replace("stat", "pass_through = false and stat")):
            result = self.successResultOf(self.asking(line))
            assert result.pages is not None
            self.assertTrue(self.successResultOf(result.pages.next()))
            result.pages.close()
            result.pages.close()
            self.assertEqual([database.busy for database in self.databases.values()], [0] * 3, line)
            self.assertTrue(all(body.closed for body in self.peers.bodies))
            last = self.node.jobs.last
            assert last is not None
            self.assertEqual((last.status, last.active), ("Stopped", False))

    def test_cancel_while_it_is_asked(self) -> None:
        """Cancelling the question cancels what waits for its answers."""
        for line in (COUNT, RAW):
            self.peers.silent = {"op3:1"}
            asked = self.asking(line)
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.assertEqual([database.busy for database in self.databases.values()], [0] * 3)
            self.assertEqual(self.clock.getDelayedCalls(), [], line)

    def test_stop_by_the_job(self) -> None:
        """`job stop` ends a query that is under way, and one whose pages are being read."""
        self.peers.silent = {"op3:1"}
        asked: Deferred[Result] = self.asking(RAW)
        job = self.node.jobs.last
        assert job is not None and job.stop is not None
        job.stop()
        self.assertIsInstance(self.failureResultOf(asked).value, AnyLogError | CancelledError)
        self.peers.silent.clear()
        result = self.successResultOf(self.asking(RAW))
        assert result.pages is not None
        self.successResultOf(result.pages.next())
        self.node.jobs.last.stop()
        self.assertEqual([database.busy for database in self.databases.values()], [0] * 3)
        outcome: list[Any] = []
        result.pages.next().addBoth(outcome.append)
        self.assertEqual(self.error(outcome[0]).number, 23)


class LedgerTests(Network):
    """What is not known yet, or not at all."""

    def test_unknown(self) -> None:
        """The ledger is looked at once more before a name is unknown."""
        for line, number, text in [
            ('plant "select count(*) from nosuch"', 45, "nosuch"),
            ('nosuch "select count(*) from readings"', 45, "nosuch"),
            ('plant "select nosuch from readings"', 46, "Column 'nosuch' is not recognized in table: plant.readings"),
        ]:
            before = self.refreshed
            error = self.refusal(line)
            self.assertEqual((error.number, self.refreshed - before), (number, 1), line)
            self.assertIn(text, str(error))
        self.clusters.held["plant", "readings"] = []
        self.assertEqual(self.refusal(COUNT).number, 73)

    def test_a_new_table_and_a_new_column(self) -> None:
        """What the newest ledger knows is asked for at once; an operator without it brings its table up to date."""
        self.fill("op1:1", "readings", [["a", None, 1.0, 1, 1]])
        wider = {**COLUMNS, "extra": "BIGINT"}

        def learn() -> None:
            self.declare("readings", wider)
            self.declare("fresh", {"n": "BIGINT"})
            self.fill("op2:1", "readings", [["b", None, 2.0, 2, 0, 7]], wider)

        self.on_refresh = learn
        self.assertEqual(
            self.rows_of("select device, extra from readings order by device"),
            [{"device": "a", "extra": None}, {"device": "b", "extra": 7}],
        )
        self.on_refresh = lambda: None
        self.assertEqual(self.rows_of("select count(*) as n, sum(n) as s from fresh"), [{"n": 0, "s": None}])
        self.assertEqual(list(self.rows_of("select * from readings")[0]), [*AUTOMATIC, *wider])

    def test_addresses(self) -> None:
        """Named nodes are asked, whatever the ledger says of them."""
        self.fill("op1:1", "readings", [["a", None, 1.0, 1, 1]])
        self.fill("op2:1", "readings", [["b", None, 2.0, 2, 0]])
        self.assertEqual(self.body(COUNT, ["op1:1"]), '{"Query":[{"n":1}]}')
        self.assertEqual(self.body(COUNT, ["op1:1", "op2:1", "op1:1"]), '{"Query":[{"n":2}]}')
        self.clusters.tables.clear()
        self.clusters.held.clear()
        self.assertEqual(self.body(COUNT, ["op2:1"]), '{"Query":[{"n":1}]}')
        error = self.refusal(COUNT, ["127.0.0.1:9"])
        self.assertEqual((error.number, error.node), (208, "127.0.0.1:9"))
        self.assertEqual(self.refusal(COUNT, []).number, 155)

    def test_refusals(self) -> None:
        """What the network does not do is refused by name, before anybody is asked."""
        for line, number, text in [
            ('plant "select a.device from readings a, readings b"', 134, "Unrecognized SELECT"),
            ('plant "select * from readings a join readings b on a.n = b.n"', 18, "join"),
            ('plant "select n from readings where n in (select n from readings)"', 18, "one select"),
            ('plant "select n from readings union select 1"', 18, "one select"),
            ('plant "select sum(n) over () from readings"', 18, "over"),
            ('plant "select from where"', 134, "projected"),
            ('plant "select 1"', 46, "from"),
            ('plant "select device, count(*) from readings"', 46, "'device'"),
            ('plant "select device, n from readings group by device"', 46, "'n'"),
            ('plant "select group_concat(device) from readings"', 46, "group_concat(device)"),
            ('plant "select n, n from readings"', 46, "Duplicate projected column names: 'n'"),
            ('plant "select n::int from readings"', 195, "int"),
            ('plant "select n from readings limit 3 per device"', 237, "per"),
            ('plant "select n from readings limit x"', 134, "limit"),
            ('plant "select n from readings order by 3"', 134, "order by 3"),
            ('plant "select increments(timestamp), max(n) from readings"', 46, "where condition"),
            ('plant "selec n from readings"', 16, "selec"),
            ('plant "drop table readings"', 155, "drop"),
            ('plant "insert into readings (n) values (1)"', 155, "insert"),
            ('plant format = mqtt "select n from readings"', 161, "mqtt"),
            ('plant timezone = Mars/Base "select n from readings"', 173, "Mars"),
            ('plant include = (other) "select n from readings"', 237, "include"),
            ('plant "select n from anylog_marks"', 18, "anylog_marks"),
        ]:
            error = self.refusal(line)
            self.assertEqual(error.number, number, f"{line}: {error}")
            self.assertIn(text, str(error), line)
        self.assertEqual(self.peers.asked, [])
