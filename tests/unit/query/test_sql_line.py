"""The command line: options, where the statement begins, and what no statement may do (query.md 1)."""

from __future__ import annotations

import pytest
from place import Asking

from anylog.errors import AnyLogError
from anylog.query.sql import read_line, read_statement
from anylog.query.tokens import render


def test_lines() -> None:
    """Database, options and statement, however they are spaced and quoted."""
    select = "select a from t"
    for line, dbms, options, statement in [
        (f"plant {select}", "plant", [], select),
        (f'Plant "{select}"', "plant", [], select),
        (f'plant "{select};" ', "plant", [], f"{select};"),
        (f"plant format=json and stat = false {select}", "plant", [("format", "json"), ("stat", "false")], select),
        (f'plant format=json"{select}"', "plant", [("format", "json")], select),
        (f'plant format = json:list AND title = "a and b" "{select}"', "plant",
         [("format", "json:list"), ("title", "a and b")], select),
        (f"plant max_time = 10 seconds and nodes = all {select}", "plant",
         [("max_time", "10 seconds"), ("nodes", "all")], select),
        (f"plant include=(t2, d.t3) and extend=(@ip, @table_name as t) {select}", "plant",
         [("include", "(t2, d.t3)"), ("extend", "(@ip, @table_name as t)")], select),
        (f'plant "{select}" --> selection (columns: ip using my_ip)', "plant", [], select),
        (f"plant {select} --> description (columns: a)", "plant", [], select),
        ("plant \"select ' --> ' from t\"", "plant", [], "select ' --> ' from t"),
        ('plant "select "A b" from t"', "plant", [], 'select "A b" from t'),
        ('plant "selec a"', "plant", [], "selec a"),
        ("plant\n  format = table\n  select a\n  from t", "plant", [("format", "table")], "select a\n  from t"),
    ]:  # fmt: skip
        line_read = read_line(line)
        assert (line_read.dbms, line_read.options, line_read.statement) == (dbms, options, statement), line


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("", 83),
        ("select a from t", 83),
        ("plant", 2),
        ("plant format = json", 2),
        ("plant format json select a from t", 2),
        ("plant format = json stat = true select a from t", 2),
        ("plant and format = json select a from t", 2),
        ('plant "select a from t', 2),
        ('plant "select a from t" more', 2),
    ],
)
def test_wrong_lines(line: str, number: int) -> None:
    """Each refusal has its number."""
    with pytest.raises(AnyLogError) as refused:
        read_line(line)
    assert refused.value.number == number, line


def test_normalised() -> None:
    """White space, comments and letter case outside quotes do not matter."""
    for statement, expected in [
        ("SELECT  A,b\n FROM T -- all\n ;", "select a, b from t"),
        ("select 'It''s  A' , \"Col A\" from t", "select 'It''s  A' , \"Col A\" from t"),
        ("select/* x */a from t where a<>1.5e3 and b||'c'!=''", "select a from t where a<>1.5e3 and b||'c'!=''"),
    ]:
        assert render(read_statement(statement)[1]) == expected


def test_verbs() -> None:
    """The verb behind `with` counts."""
    for statement, verb in [
        ("select 1", "select"),
        ("with a as (select 1) select * from a", "select"),
        ("with a as (select 1 as x) delete from t where n in (select x from a)", "delete"),
        ("insert into t select * from u", "insert"),
    ]:
        assert read_statement(statement)[0] == verb, statement


ALLOWED = """
select * from json_each('[1]')
select 'anylog_home' as a from t where b in ('anylog_x', 'y') and c like 'anylog_%'
insert into t (a) values ('anylog_home')
update t set a = 'x' where b = 'from'
select a from t join u on u.x = 'anylog_a', v
select sqlite_version()
select count(*) from (select a from t) where a = 'x'
drop table if exists t
"""
REFUSED = """
select * from anylog_home
select * from "ANYLOG_home"
select * from [anylog_marks]
select * from `anylog_marks`
select * from 'anylog_home'
select * from t, 'anylog_home'
select * from (('anylog_home'))
select * from t join 'anylog_home'
select * from main.'anylog_home'
select * from main.anylog_home
select 1 where 'x' in 'anylog_home'
with a as (select * from anylog_keys) select * from a
insert into anylog_keys values (1)
insert into 'anylog_keys' values (1)
update 'anylog_keys' set a = 1
delete from 'anylog_keys'
drop table anylog_marks
drop table if exists 'anylog_marks'
drop table main.'anylog_marks'
alter table t rename to anylog_t
alter table t rename to 'anylog_t'
create index i on 'anylog_marks' (a)
create table anylog_new (a int)
create virtual table v using fts5(a)
create temp table t (a int)
create temporary view t as select 1
select * from sqlite_master
select * from pragma_table_info('t')
select load_extension('x')
select 1; drop table t
attach database 'x' as y
pragma writable_schema = 1
vacuum into 'x'
begin
explain select 1
"""


@pytest.mark.parametrize("statement", ALLOWED.strip().splitlines())
def test_allowed(statement: str) -> None:
    """A text that only looks like a hidden name is a text."""
    read_statement(statement)


@pytest.mark.parametrize("statement", REFUSED.strip().splitlines())
def test_refused(statement: str) -> None:
    """Tables of the node, and what reaches outside the database, by any spelling."""
    with pytest.raises(AnyLogError) as refused:
        read_statement(statement)
    assert refused.value.number == 18, statement


@pytest.mark.parametrize("statement", ["selec", "select 'a", 'select "a', "select (a", "select a)", "select 1 /* a"])
def test_no_sql(statement: str) -> None:
    """What can be seen to be no SQL is said in the engine's words."""
    with pytest.raises(AnyLogError) as refused:
        read_statement(statement)
    assert refused.value.number == 16
    assert refused.value.detail.startswith(f"Error executing SQL:\r\n{statement}\r\n")


class RefusalTests(Asking):
    def test_refusals(self) -> None:
        """Everything that is wrong is said before the first page."""
        for line, number, said in [
            ('nowhere "select 1"', 5, "Logical DBMS 'nowhere' not opened on Operator Node"),
            ('plant "select count(*) from absent"', 29,
             "Table 'absent' in DBMS 'plant' not defined (using 'sqlite')"),
            ('plant "delete from absent"', 29, "Table 'absent' in DBMS 'plant' not defined (using 'sqlite')"),
            ('plant "selec"', 16, 'Error executing SQL:\r\nselec\r\nnear "selec": syntax error'),
            ('plant "select frm readings x y"', 16, 'near "x": syntax error'),
            ('plant "select nocol from readings"', 16, "no such column: nocol"),
            ('plant "insert into readings (device) vals (1)"', 16, 'near "vals": syntax error'),
            ('plant format = mqtt "select 1"', 161, "'mqtt'"),
            ('plant stat = maybe "select 1"', 175, "maybe"),
            ('plant speed = 1 "select 1"', 2, "speed"),
            ('plant timezone = mars "select 1"', 173, "mars"),
            ('plant dest = mars "select 1"', 175, "mars"),
            ('plant file = x.json "select 1"', 237, "file"),
            ('plant extend = (@ip) "select 1"', 237, "extend"),
            ('plant "select n, n from readings"', 46, "Duplicate projected column names: 'n'"),
            ('plant "select value::float(2) from readings"', 195, "Non supported casting"),
            ('plant "select from readings"', 134, "nothing is projected"),
            ('plant "select * from anylog_marks"', 18, "anylog_marks"),
        ]:  # fmt: skip
            error = self.refusal(line)
            self.assertEqual(error.number, number, line)
            self.assertIn(said, error.detail, line)
        self.assertEqual((self.temporary(), self.database.busy), ([], 0))

    def test_who_may_change(self) -> None:
        """From elsewhere only select is served; here everything is."""
        for statement in ("drop table readings", "with a as (select 1) delete from readings", "insert into readings"):
            self.assertEqual(self.refusal(f'plant "{statement}"', local=False).number, 212, statement)
        self.assertEqual(self.body('plant stat = false "select 1 as a"', local=False), '{"Query":[{"a":1}]}')
        self.assertIsNone(self.ask('plant "create table notes (at timestamp, note varchar)"'))
        self.assertIsNone(self.ask("plant insert into notes values ('2026-01-02T03:04:05Z', 'It''s 2026-01-01 00:00')"))
        self.assertIsNone(self.ask("plant update notes set at = now() - 1 day where at = '2026-01-02 03:04:05'"))
        self.assertEqual(
            self.rows_of("select * from notes"),
            [{"at": "2025-12-31 12:00:00.000000", "note": "It's 2026-01-01 00:00"}],
        )
        self.assertIsNone(self.ask('plant "drop table notes"'))
        self.assertEqual(self.refusal('plant "select * from notes"').number, 29)

    def test_unseen(self) -> None:
        """Rows that nobody wants to see are not kept."""
        for option in ("dest = none", "output = false"):
            self.assertIsNone(self.ask(f'plant {option} "select * from readings order by n"'))
            self.assertEqual((self.temporary(), self.database.busy), ([], 0))


class Limits(Asking):
    def test_no_statement_takes_the_node_along(self) -> None:
        """What would be read in the square of its length is refused."""
        for number, told, part in [
            (16, "nested more than 100 deep", f"{'abs(' * 101}1{')' * 101}"),
            (46, "stands 21 times", "period(day, 1, now(), timestamp)"),
        ]:
            condition = " or ".join([part] * 21)
            error = self.refusal(f'plant "select n from readings where {condition}"')
            self.assertEqual((error.number, told in str(error)), (number, True))
        deep = f"{'abs(' * 20}n{')' * 20}"
        self.assertEqual(self.column(f"select {deep} as x from readings where n = 4"), [4])
