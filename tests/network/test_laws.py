"""The laws of files and copies speak up when they are broken, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from anylog.databases.tsd import Entry
from anylog.mapping.body import content_hash
from anylog.testing import laws
from anylog.testing.laws import Holding

ROWS = b'{"v":1}\n'
HASH = content_hash("town", "t", ROWS)


def entry(id: int, hash: str = "", rows: int = 1, **more: str) -> Entry:
    """One of a table of files."""
    return Entry(
        id=id, dbms="town", table="t", source="0", hash=hash or f"h{id}", instructions="0",
        time="2026-09-21 14:13:20.000000", rows=rows, **more,
    )  # fmt: skip


def holding(name: str, member: int, safe: Any = None, **entries: Any) -> Holding:
    """What a member holds."""
    found = Holding(name=name, member=member, dbms="town", entries=entries, safe=safe or {})
    found.files = {folder: {} for folder in laws.FOLDERS}
    return found


@pytest.mark.parametrize(
    ("copies", "safe", "broken"),
    [
        ([entry(1), entry(2)], {(22, 11): 2}, ""),
        ([entry(1)], {(22, 11): 1}, ""),
        ([entry(1)], {(22, 11): 2}, "lacks 2 h2"),
        ([entry(1), entry(2, rows=0)], {(22, 11): 2}, "lacks 2 h2"),
        ([entry(1), entry(2, rows=0, status1="03")], {(22, 11): 2}, "lacks 2 h2"),
        ([entry(1), entry(2, rows=0, status1="01")], {(22, 11): 2}, ""),
        ([entry(1), entry(2, rows=0, status1="02")], {(22, 11): 2}, ""),
        ([entry(1), entry(2)], {(22, 11): 3}, "which nobody gave"),
        ([entry(1), entry(2)], {(44, 11): 3}, ""),
    ],
)
def test_safe_ids(copies: list[Entry], safe: dict[tuple[int, int], int], broken: str) -> None:
    """I-11: whoever says so, of whomever; about strangers nothing is said."""
    for teller in (22, 33):
        op2 = holding("op2", 22, safe if teller == 22 else None, tsd_11=copies)
        op3 = holding("op3", 33, safe if teller == 33 else None, tsd_11=[entry(1), entry(2)])
        told = list(laws.settled([holding("op1", 11, tsd_info=[entry(1), entry(2)]), op2, op3]))
        assert len(told) == bool(broken), told
        assert broken in "".join(told)


def test_safe_ids_of_its_own() -> None:
    """I-11: a content has one entry in the own table."""
    members = [holding("op1", 11, {(11, 11): 2}, tsd_info=[entry(2, "h1")]), holding("op2", 22, tsd_11=[entry(1)])]
    assert not list(laws.settled(members))
    members[0].entries["tsd_info"] = [entry(2)]
    assert [told.rpartition(", ")[2] for told in laws.settled(members)] == ["and lacks 1 h1"]


def test_pushed_once() -> None:
    """I-8: once in each life."""
    assert not list(laws.pushed_once({("op1", 1, "a:1", "f"): 1, ("op1", 2, "a:1", "f"): 1}))
    assert len(list(laws.pushed_once({("op1", 1, "a:1", "f"): 2}))) == 1


@pytest.mark.parametrize(
    ("name", "content", "broken"),
    [
        ("town.t.s.err_86.1.json", b'[{"v": 1}]', ""),
        ("town.t.s.err_86.1.json", b'{"v": 1}', ""),
        ("town.t.s.err_86.1.json", b'{"v": 2}', "its content is not loaded"),
        ("town.t2.s.err_86.1.json", b'{"v": 1}', "its content is not loaded"),
        ("town.t.s.err_6.1.json", b"no rows", ""),
        ("town.t.s.json", b'{"v": 1}', "no code"),
    ],
)
def test_put_aside(name: str, content: bytes, broken: str) -> None:
    """I-16: what is put aside has its code, and a repeat is one."""
    held = holding("op1", 11, tsd_info=[entry(1, HASH), entry(2, content_hash("town", "t", b'{"v":2}\n'), rows=0)])
    held.files["err_dir"] = {f"/op1/err/{name}": content}
    told = list(laws.failed(held, {}))
    assert len(told) == bool(broken), told
    assert broken in "".join(told)
