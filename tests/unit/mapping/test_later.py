"""Time columns that came after their table: a row without one is the same on every member (hard-parts.md 4.1)."""

from __future__ import annotations

from anylog.columns import Later, kept_type, later, read_type
from anylog.mapping.rows import convert, convert_each

AT = "2026-11-21 10:00:00"


def test_no_default() -> None:
    """Missing, null and empty are NULL there, and the time of the file in a column the table began with."""
    columns = {"v": "BIGINT", "began": "TIMESTAMP", "came": later("TIMESTAMP")}
    done = convert([{"v": 1}, {"v": 2, "came": None}, {"v": 3, "came": ""}, {"v": 4, "came": AT}], columns, AT)
    moment = f'"{AT}.000000"'
    assert done.values == f"[[1,{moment},null],[2,{moment},null],[3,{moment},null],[4,{moment},{moment}]]"
    assert not done.misfits


def test_at_once() -> None:
    """Rows without it need no time, so they can be converted before their file has one."""
    rows = [{"v": n} for n in range(3)]
    assert convert_each([rows], {"v": "BIGINT", "came": later("DATE")}, None) is not None
    assert convert_each([rows], {"v": "BIGINT", "began": "DATE"}, None) is None


def test_kept() -> None:
    """It is a type like any other, and known again when the database is opened."""
    kind = later("TIMESTAMP")
    assert (kind, kept_type(kind)) == ("TIMESTAMP", "TIMESTAMP NULL")
    assert isinstance(read_type("TIMESTAMP NULL"), Later)
    assert not isinstance(read_type("TIMESTAMP"), Later)
    assert type(later("VARCHAR")) is str
