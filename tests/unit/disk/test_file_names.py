"""Names of files (ingest.md 9.1)."""

from __future__ import annotations

import pytest

from anylog.disk.names import LARGEST_ID, LONGEST, LONGEST_FULL, FileName, error_name, segments
from anylog.errors import AnyLogError

HASH = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("db.t.json", {"dbms": "db", "table": "t"}),
        ("db.t.plc7.json", {"source": "plc7"}),
        (f"db.t.0.{HASH}.json", {"source": "0", "hash": HASH}),
        (f"db.t.0.{HASH.upper()}.map1.json.gz", {"hash": HASH, "instructions": "map1", "compressed": True}),
        (f"db.t.s.{HASH}.0.12.34.261121101500.json", {"member": "12", "id": 34, "date": "261121101500", "full": True}),
        ("db.t.s.0.0.@.0.0.json", {"member": "@", "full": False}),
        ("My DB.T-1.json", {"dbms": "my_db", "table": "t_1"}),
        ("db.t.quelle-ü.json", {"source": "quelle-ü"}),
        ("db.t.sql", {"kind": "sql"}),
        (f"db.t.p1.s.{HASH}.0.sql.gz", {"partition": "p1", "source": "s", "hash": HASH, "compressed": True}),
        (f"db.t.0.s.{HASH}.0.1.2.261121101500.7.insert.sql", {"member": "1", "id": 2, "kind": "sql"}),
    ],
)
def test_a_name_says_what_is_in_it(name, parts):
    found = FileName.parse(name)
    assert {key: getattr(found, key) for key in parts} == parts
    assert FileName.parse(str(found)) == found


@pytest.mark.parametrize(
    ("name", "culprit"),
    [
        ("readings.json", "segments"),
        ("db.t.a.0.0.1.json", "segments"),
        ("db.t.a.0.0.1.2.261121101500.x.json", "segments"),
        ("db.t.txt", "does not end"),
        ("db..json", "table is empty"),
        (".t.json", "dbms is empty"),
        ("db.t.a/b.json", "source"),
        ("db.t.a\x00b.json", "source"),
        ("db.t.a\nb.json", "source"),
        ("db.t. a.json", "source"),
        ("db.t.\udcff.json", "source"),
        ("db.t.s.abc.json", "hash"),
        ("db.t.s.0.0.256.1.261121101500.json", "member"),
        ("db.t.s.0.0.x.1.261121101500.json", "member"),
        ("db.t.s.0.0.1.0.261121101500.json", "id"),
        ("db.t.s.0.0.1.99999999999999999999.261121101500.json", "id"),
        ("db.t.s.0.0.1.9223372036854775808.261121101500.json", "id"),
        ("db.t.s.0.0.1.1.261331101500.json", "date"),
        ("db.t.s.0.0.1.1.2611211015.json", "date"),
        ("db.t.s.0.0.1.1.٢٦١١٢١١٠١٥٠٠.json", "date"),
        (f"{'d' * 64}.t.json", "longer than 63"),
    ],
)
def test_a_name_that_is_wrong_names_the_culprit(name, culprit):
    with pytest.raises(AnyLogError) as caught:
        FileName.parse(name)
    assert caught.value.number == 119
    assert culprit in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_long_name_is_cut_where_nothing_is_lost():
    name = FileName(
        dbms="d" * 63,
        table="t" * 63,
        source="ü" * 40,
        hash=HASH,
        member="255",
        id=10**12,
        date="9" * 12,
    )
    cut = name.fitting()
    assert len(str(cut).encode()) <= LONGEST
    assert (cut.dbms, cut.table, cut.hash, cut.id) == (name.dbms, name.table, HASH, 10**12)
    mapped = name.having(instructions="i" * 40).fitting()  # which policy it is must not be lost
    assert (mapped.source, mapped.instructions) == ("0", "i" * 40)
    assert len(str(name.having(instructions="i" * 64).fitting()).encode()) == LONGEST_FULL
    assert len(str(FileName(dbms="a", table="b").fitting())) == len("a.b.0.0.0.json")


def test_what_fits_into_every_name_is_as_it_came():
    short, long = ("d", "t", "s" * 63, "i" * 63), ("d" * 63, "t" * 63, "s" * 64, "i" * 42)
    assert (segments(*short), segments(*long)) == (short[2:], ("0", "i" * 42))
    source, instructions = segments("d" * 63, "t" * 63, "s" * 64, "0")
    full = FileName(
        dbms="d" * 63, table="t" * 63, source=source, hash=HASH, instructions=instructions,
        member="255", id=LARGEST_ID, date="271231235959", compressed=True,
    )  # fmt: skip
    assert (source, instructions, len(str(full))) == ("s" * 12, "0", LONGEST)


def test_names_of_failed_files_say_why_and_differ():
    assert error_name("db.t.json", 6, 1_700_000_000.9, ()) == "db.t.err_6.1700000000.json"
    assert error_name("db.t.json.gz", 6, 17, {"db.t.err_6.17.json.gz"}) == "db.t.err_6.18.json.gz"
    assert error_name("db.t.insert.sql", 16, 17, ()) == "db.t.insert.err_16.17.sql"
    assert error_name("odd", 119, 17, ()) == "odd.err_119.17"
    long = error_name(f"{'ä' * 120}.json", 119, 1_700_000_000, ())
    assert len(long.encode()) <= 255 and long.endswith(".err_119.1700000000.json")
    assert "\udcff" in error_name("a\udcff.json", 119, 17, ())
