"""One answer from many nodes: every layout, every way, and what happens when a node is not there (query.md 7)."""

from __future__ import annotations

from place import ROWS
from twisted.internet.defer import succeed
from world import Network

from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Reply
from anylog.query.rows import framed

ORDERED = '"select device, timestamp, value from readings order by timestamp limit 3"'
FIRST = '{"device":"dev-0001","timestamp":"2026-01-01 00:00:00.000000","value":1.5}'
SECOND = '{"device":"dev-0002","timestamp":"2026-01-01 00:00:20.123456","value":2.5}'
THIRD = '{"device":"dev-0001","timestamp":"2026-01-01 00:01:10.000000","value":-3.25}'
STAT = '"Statistics":[{"Count": 3,"Time":"00:00:00","Nodes": 2}]'


class AnswerTests(Network):
    def setUp(self) -> None:
        super().setUp()
        self.fill("op1:1", "readings", ROWS[::2])
        self.fill("op2:1", "readings", ROWS[1::2])

    def test_layouts(self) -> None:
        """The bytes of each layout are those of a query of one node."""
        table = (
            "\ndevice   timestamp                  value\n-------- -------------------------- ----- \n"
            "dev-0001 2026-01-01 00:00:00.000000   1.5 \ndev-0002 2026-01-01 00:00:20.123456   2.5 \n"
            "dev-0001 2026-01-01 00:01:10.000000 -3.25 \n"
        )
        for layout, stat, expected in [
            ("json", "true", f'{{"Query":[{FIRST},\n{SECOND},\n{THIRD}],\n{STAT}}}'),
            ("json", "false", f'{{"Query":[{FIRST},\n{SECOND},\n{THIRD}]}}'),
            ("json:list", "true", f"[{FIRST},\n{SECOND},\n{THIRD}]\n{{{STAT}}}"),
            ("json:output", "false", f"{FIRST}\n{SECOND}\n{THIRD}"),
            ("table", "true", f"{table}\n{{{STAT}}}"),
        ]:
            self.assertEqual(self.body(f"plant format={layout} and stat={stat} {ORDERED}"), expected, layout)

    def test_aggregates(self) -> None:
        """Partial results unify to what one database would say."""
        for statement, expected in [
            ("select count(*) from readings", [{"count(*)": 5}]),
            ("select count(*) as n, min(value) as lo from readings", [{"n": 5, "lo": -3.25}]),
            ("select avg(value), sum(value) from readings", [{"avg(value)": 1.1875, "sum(value)": 4.75}]),
            ("select avg(n) as a, sum(n) as s from readings where n < 10", [{"a": 10 / 3, "s": 10}]),
            ("select count(distinct device) as d, count(value) as v from readings", [{"d": 4, "v": 4}]),
            ("select range(value) as r from readings", [{"r": 7.25}]),
            (
                "select device, count(*) as n from readings group by device order by n desc, device limit 2",
                [{"device": "dev-0001", "n": 2}, {"device": "dev-0002", "n": 1}],
            ),
            ("select device from readings group by device having count(*) > 1", [{"device": "dev-0001"}]),
            ("select count(*), min(value) from readings where value > 1e9", [{"count(*)": 0, "min(value)": None}]),
            ("select max(timestamp) as t from readings", [{"t": "2026-02-01 10:00:00.000000"}]),
            ("select max(ok) as t from readings", [{"t": True}]),
        ]:
            self.assertEqual(self.rows_of(statement), expected, statement)

    def test_automatic_columns(self) -> None:
        """They keep their types, by every way."""
        for statement in ("select row_id, tsd_id from readings", "select row_id, tsd_id from readings order by row_id",
                          "select distinct row_id, tsd_id from readings"):  # fmt: skip
            for options in ("", "and pass_through = false"):
                kinds = {type(value) for row in self.rows_of(statement, options) for value in row.values()}
                self.assertEqual(kinds, {int}, statement)

    def test_empty(self) -> None:
        """No rows are an answer, too (decisions 13)."""
        for layout, expected in [
            ("json", '{"Query":[]}'),
            ("json:list", "[]"),
            ("json:output", ""),
            ("table", "\ndevice value\n------ ----- \n"),
        ]:
            for order in ("", " order by value", " group by device, value"):
                statement = f'"select device, value from readings where value > 1e9{order}"'
                self.assertEqual(self.body(f"plant format = {layout} and stat = false {statement}"), expected, order)

    def test_nothing_is_left_out(self) -> None:
        """What is not a whole select is refused by name; no part of it is dropped without a word."""
        for statement, number, culprit in [
            ("select value from readings where", 134, "nothing follows 'where'"),
            ("select value from readings where limit 3", 134, "nothing follows 'where'"),
            ("select value from readings order by", 134, "nothing follows 'order by'"),
            ("select value from readings group by", 134, "nothing follows 'group by'"),
            ("select value from readings limit", 134, "nothing follows 'limit'"),
            ("select count(*) from readings having", 134, "nothing follows 'having'"),
            ("select value from readings order value", 134, "'order' without 'by'"),
            ("select value from readings group value", 134, "'group' without 'by'"),
            ("select value from readings where ok where n = 1", 134, "'where' twice"),
            ("select value from readings limit 1 limit 2", 134, "'limit' twice"),
            ("select value from readings limit 1 where ok", 134, "'where' after 'limit'"),
            ("select value from readings order by value asc desc", 134, "value asc desc"),
            ("select value n device from readings", 134, "value n"),
            ("select value from readings having value > 1", 46, "having"),
            ("select distinct value from readings having value > 1", 46, "having"),
        ]:
            error = self.refusal(f'plant "{statement}"')
            self.assertEqual((error.number, culprit in str(error)), (number, True), (statement, str(error)))
        for statement in (
            "select count(*) as n from readings where n is not distinct from null",
            "select count(*) as n from readings having count(*) > 4",
        ):
            self.assertEqual(len(self.rows_of(statement)), 1, statement)

    def test_very_many_columns(self) -> None:
        """Wide tables by every way; the question is not too large for a head."""
        wide = {f"a_rather_long_name_of_a_column_{place}": "FLOAT" for place in range(1500)}
        self.declare("wide", wide)
        self.fill("op1:1", "wide", [[place / 2 for place in range(1500)]], wide)
        self.fill("op2:1", "wide", [[None] * 1500], wide)
        for order in ("", " order by row_id, 7 desc"):
            for options in ("", "and pass_through = false"):
                rows = self.rows_of(f"select * from wide{order}", options)
                values = sorted(([row[name] for name in wide] for row in rows), key=lambda each: each[0] is None)
                self.assertEqual(values, [[place / 2 for place in range(1500)], [None] * 1500], order)

    def test_nonsense_from_peers(self) -> None:
        """What another node says is looked at before it is used."""
        for head, number in [
            ({}, 21),
            ({"dbms": "plant"}, 21),
            ({"dbms": 3, "table": "readings", "statement": "select 1"}, 21),
            ({"dbms": "plant", "table": "readings"}, 21),
            ({"dbms": "nosuch", "table": "readings", "statement": "select 1"}, 5),
            ({"dbms": "plant", "table": "nosuch", "statement": "select 1 from nosuch"}, 29),
            ({"dbms": "plant", "table": "readings", "statement": "drop table readings"}, 212),
            ({"dbms": "plant", "table": "readings", "statement": "select * from anylog_marks"}, 18),
            ({"dbms": "plant", "table": "readings", "statement": "select 1", "form": "xml"}, 21),
            ({"dbms": "plant", "table": "readings", "statement": "select 1", "form": "keyed"}, 21),
            ({"dbms": "plant", "table": "readings", "statement": "select 1", "form": "keyed", "keys": 10**9}, 21),
            ({"dbms": "plant", "table": "readings", "statement": "select 1", "titles": [1], "types": [2]}, 21),
            ({"dbms": "plant", "table": "readings", "statement": "select 1", "zone": "Mars"}, 173),
            ({"dbms": "plant", "table": "readings", "statement": "select nosuch from readings"}, 16),
        ]:
            failed = self.failureResultOf(self.peers.ask("op1:1", "select", head), AnyLogError)
            self.assertEqual(failed.value.number, number, head)
        self.assertEqual(self.databases["op1:1"].busy, 0)
        failed = self.failureResultOf(self.peers.handlers["op1:1"]({}, b"[", Asker(host="", address="")), AnyLogError)
        self.assertEqual(failed.value.number, 21)
        for number, reply in enumerate(
            [
                {},
                {"rows": "x"},
                {"rows": 2, "page": b"abc"},
                {"rows": 1, "page": framed(b"[1", 1)},
                {"rows": 1, "page": 3},
            ]
        ):
            self.peers.handlers["op1:1"] = lambda *_, reply=reply: succeed(Reply(head=reply))  # type: ignore[assignment]
            error = self.refusal('plant "select count(*) from readings"')
            self.assertIn(error.number, (15, 16, 203), number)
