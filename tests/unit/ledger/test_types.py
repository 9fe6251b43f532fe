"""Tables as the ledger has them: what a `create table` text says (storage.md 2.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anylog.errors import AnyLogError
from anylog.ledger.types import columns_of, create_statement

KINDS = [
    "BOOLEAN",
    "INT",
    "BIGINT",
    "DECIMAL",
    "FLOAT",
    "VARCHAR",
    "CHAR(7)",
    "UUID",
    "CIDR",
    "TIMESTAMP",
    "DATE",
    "TIME",
]


@pytest.mark.parametrize(
    ("create", "columns"),
    [
        ("create table if not exists t (a int, b varchar(20))", {"a": "INT", "b": "VARCHAR"}),
        ("CREATE TABLE t(a INT)", {"a": "INT"}),
        (
            " create\ttable\nt (\n a  numeric ( 10 , 2 ) ,\n b double precision not null\n) ;",
            {"a": "DECIMAL", "b": "FLOAT"},
        ),
        (
            'create table "my t" ("A b" int, `c` real, [d] text, "e""f" int)',
            {"a_b": "INT", "c": "FLOAT", "d": "VARCHAR", "e0x22f": "INT"},
        ),
        (
            "create table t (ts timestamp not null default now(), v float default 1.5 check (v > 0))",
            {"ts": "TIMESTAMP", "v": "FLOAT"},
        ),
        (
            "create table t (a varchar default ')', b char(3) default 'x,y', c int)",
            {"a": "VARCHAR", "b": "CHAR(3)", "c": "INT"},
        ),
        ("create table t (a int, primary key (a), unique (a), constraint c check (a > 0))", {"a": "INT"}),
        ("create table t (primary_color int)", {"primary_color": "INT"}),
        ("create table t (a timestamp with time zone, b timestamptz, c datetime)", dict.fromkeys("abc", "TIMESTAMP")),
        (
            "create table t (row_id serial primary key, a int); create index i on t (a)",
            {"row_id": "SERIAL PRIMARY KEY", "a": "INT"},
        ),
    ],
)
def test_as_people_write(create: str, columns: dict[str, str]) -> None:
    """Any letter case, quotes, defaults, constraints."""
    assert columns_of(create) == columns


@pytest.mark.parametrize(
    "create",
    [
        "",
        "select 1",
        "create table t",
        "create table t ()",
        "create table t (a)",
        "create table t (a int",
        "create table t (a odd)",
        "create table t (a int, b 'x)",
        "create index i on t (a)",
        "create table t (" + "(" * 10_000,
    ],
)
def test_refused(create: str) -> None:
    """What is no table is refused, whatever it is."""
    with pytest.raises(AnyLogError) as refusal:
        columns_of(create)
    assert refusal.value.number == 40


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,30}", fullmatch=True), st.sampled_from(KINDS), min_size=1))
def test_our_own(columns: dict[str, str]) -> None:
    """The statement of a table says its columns."""
    automatic = {
        "row_id": "SERIAL PRIMARY KEY",
        "insert_timestamp": "TIMESTAMP",
        "tsd_name": "CHAR(3)",
        "tsd_id": "BIGINT",
    }
    columns = {name: kind for name, kind in columns.items() if name not in automatic}
    assert columns_of(create_statement("t", columns)) == automatic | columns
