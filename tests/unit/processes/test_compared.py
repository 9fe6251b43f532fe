"""What members tell, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from attrs import astuple
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.audits import Line
from anylog.errors import AnyLogError
from anylog.interfaces import Mark
from anylog.mapping.body import content_hash
from anylog.processes.audit import Question, Told, fits, joined, read_audit
from anylog.processes.compared import compare, compare_in
from anylog.processes.overview import Text
from anylog.waiting import deferring

HASH = "0" * 31 + "1"


class CountingLane:
    """Does at once what it is given, and remembers it."""

    depth = 0

    def __init__(self) -> None:
        self.done: list[Any] = []

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.done.append(work)
        return execute(work, *args)


def told(**given: Any) -> Told:
    return Told(**{
        "hash": HASH, "member": 1, "id": 5, "time": "2026-11-21 10:00:00.5", "source": "0", "instructions": "0",
        "state": "loaded", "marked": 2, "rows": 2, "value": 7, "exact": 7, **given,
    })  # fmt: skip


class ComparedTests(SynchronousTestCase):
    """Where they differ."""

    def test_findings(self) -> None:
        """Each kind of difference in words, and what is none."""
        for one, two, verdict, wrong, noted in [
            ([told()], [told()], "+", [], []),
            ([told()], [told(member=2, id=9, time="2026-11-22 00:00:00")], "+", [], []),  # its content has two names
            ([told()], [told(value=8)], "+", [], []),  # exactly the same
            ([told()], [told(value=8, exact=8)], "1 rows",
             ["rows differ (node_1: 2 rows 0000000000000007; node_2: 2 rows 0000000000000008)"], []),
            ([told()], [told(rows=1, value=8, exact=8)], "1 rows",
             ["1 of 2 rows at node_2",
              "rows differ (node_1: 2 rows 0000000000000007; node_2: 1 rows 0000000000000008)"], []),
            ([told()], [], "1 missing", ["missing at node_2"], []),
            ([told()], [told(state="failed", note="why")], "1 missing", ["missing at node_2 (failed: why)"], []),
            ([told()], [told(state="lost")], "1 missing", ["missing at node_2 (lost)"], []),
            ([told()], [told(state="dropped", rows=0, value=0, exact=0)], "+", [], ["dropped at node_2"]),
            ([told(archive="ok")], [told(archive="rotten")], "1 archive", ["archive rotten at node_2"], []),
            ([told()], [told(archive="missing")], "1 archive", ["archive missing at node_2"], []),
            ([told()], [told(archive="removed")], "+", [], []),
            ([told(state="double")], [told()], "1 missing", ["missing at node_1 (double)"], []),
            ([told(state="double"), told(id=6)], [told()], "+", [], []),
        ]:  # fmt: skip
            done = compare("d", "t", {1: one, 2: two})
            (day,) = done.days.values()
            self.assertEqual(day.verdict(), verdict, (one, two))
            self.assertEqual([text for each in done.findings for text in each.wrong], wrong)
            self.assertEqual([text for each in done.findings for text in each.noted], noted)

    def test_nothing_to_compare(self) -> None:
        """Open buffers, and what nobody has loaded."""
        done = compare("d", "t", {1: [told(hash="", state="open")], 2: [told(state="failed"), told(state="pending")]})
        self.assertEqual((done.days, done.findings, done.open), ({}, [], 1))

    def test_days(self) -> None:
        """Files of a day are added up, and named as they are."""
        files = [told(), told(hash="2" * 32, id=6), told(hash="3" * 32, id=7, time="2026-11-22 10:00:00")]
        done = compare("d", "t", {1: files, 2: files[:2]})
        self.assertEqual(list(done.days), ["2026-11-21", "2026-11-22"])
        self.assertEqual(done.days["2026-11-21"].cells[1], done.days["2026-11-21"].cells[2])
        self.assertEqual((done.days["2026-11-21"].cells[1][0], done.days["2026-11-21"].cells[1][1].rows), (2, 4))
        self.assertEqual([each.name for each in done.findings], [f"d.t.0.{'3' * 32}.0.1.7.261122100000.json"])


class ToldTests(SynchronousTestCase):
    """What a member tells."""

    def test_states(self) -> None:
        """Of a mark and an entry, either of which may not be there."""
        mark = Mark("b", "t", 1, 2, 0, HASH, 1, 5, time="2026-11-21 10:00:00")

        def line(rows: int = 2, status1: str = "", status2: str = "", hash: str = HASH) -> Line:
            return Line(
                id=5, source="0", hash=hash, instructions="0", time="2026-11-21 10:00:00", rows=rows, status1=status1,
                status2=status2,
            )  # fmt: skip

        for marks, lines, state in [
            ([mark], [line()], "loaded"),
            ([mark], [line(0)], "loaded"),
            ([mark], [], "loaded"),
            ([mark], [line(0, hash="open:1")], "open"),
            ([], [line()], "lost"),
            ([], [line(2, "", "its database was dropped")], "dropped"),
            ([], [line(0)], "pending"),
            ([], [line(0, "01")], "missing"),
            ([], [line(0, "02")], "double"),
            ([], [line(0, "03")], "failed"),
        ]:
            (found,) = joined(1, {each.id: each for each in marks}, {each.id: each for each in lines})
            self.assertEqual((found.state, found.hash), (state, "" if state == "open" else HASH))

    def test_question(self) -> None:
        """Dates count by the second, and nonsense is refused."""
        asked = Question.read(
            {"dbms": "d", "table": "t", "start": "2026-11-21 10:00:00.7", "end": "2026-11-21 10:00:02"}
        )
        self.assertEqual(
            [asked.wants(f"2026-11-21 10:00:0{second}") for second in ("0", "1.9", "2", "2.1")],
            [True, True, False, False],
        )
        for head in ({}, {"dbms": "d"}, {"dbms": "d", "table": 1}, {"dbms": "d", "table": "t", "start": 5}):
            self.assertRaises(AnyLogError, Question.read, head)

    def test_content(self) -> None:
        """The hash of a whole file, or of a streamed one of this member and id."""
        data = b'{"a":1}\n'
        whole, streamed = content_hash("d", "t", data), content_hash("d", "t.1.5", data)
        self.assertTrue(fits(whole, "d", "t", 1, 5, data) and fits(streamed, "d", "t", 1, 5, data))
        self.assertFalse(fits(streamed, "d", "t", 1, 6, data) or fits(whole, "d", "t", 1, 5, data + b" "))

    def test_wire(self) -> None:
        """What is told is what is read; anything else is refused."""
        lane = CountingLane()
        read = deferring(read_audit)
        self.assertEqual(self.successResultOf(read(Text(orjson.dumps([astuple(told())])), lane)), [told()])
        for body in (b"{}x", b"[[1]]", orjson.dumps([astuple(told(rows="x"))]), b"7", b"{}", b'{"a": 1}'):
            self.failureResultOf(read(Text(body), lane), AnyLogError)

    def test_in_a_lane(self) -> None:
        """Many files are read and compared in the lane, in pieces, and what comes of it is the same."""
        files = [told(hash=f"{id:032x}", id=id, time=f"2026-11-{11 + id % 9} 10:00:00") for id in range(5001)]
        lane = CountingLane()
        read = self.successResultOf(deferring(read_audit)(Text(orjson.dumps([astuple(e) for e in files])), lane))
        self.assertEqual((read, len(lane.done)), (files, 1 + 3))
        lane.done.clear()
        both = {1: files, 2: [told(state="open", hash=""), *files[:4000]]}
        done = self.successResultOf(deferring(compare_in)(lane, "d", "t", both))
        self.assertEqual((done, len(lane.done)), (compare("d", "t", both), 1 + 6))
        self.assertEqual((len(done.findings), done.open, list(done.days)), (1001, 1, sorted(done.days)))
        self.assertEqual(self.successResultOf(deferring(compare_in)(lane, "d", "t", {})), compare("d", "t", {}))
