"""What the bytes of a watched file are understood to be, and which files an operator takes at all."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.mapping.body import content_hash
from anylog.processes.files import LARGEST, Content, Limits, too_large, understand, understand_all
from anylog.processes.forms import MANY

NAME = FileName(dbms="town", table="t")
NORMAL = b'{"v":1}\n{"v":2}\n'
HASH = hashlib.md5(b"town.t" + NORMAL).hexdigest()
OTHER = "f" * 32
DATE = "260921141320"


class ContentCase(SynchronousTestCase):
    def understand(self, data: bytes, **changes: Any) -> Content:
        """As member 3; `changes` are parts of the name."""
        return understand(NAME.having(**changes), data, 3)

    def wrong(self, data: bytes, **changes: Any) -> AnyLogError:
        return self.assertRaises(AnyLogError, self.understand, data, **changes)


class JSONTests(ContentCase):
    def test_one_normal_form(self) -> None:
        """However it is written, the same rows have the same form and the same hash."""
        for data in (
            NORMAL,
            NORMAL.rstrip(),
            b'[{"v": 1}, {"v": 2}]',
            b'{"v":1}\r\n{"v":2}\r\n',
            b'\xef\xbb\xbf {"v" : 1},\n\n{"v":2}',
        ):
            found = self.understand(data)
            self.assertEqual((found.rows, found.normal, found.hash), ([{"v": 1}, {"v": 2}], NORMAL, HASH), data)
            self.assertEqual((found.note, found.early), ("", None), data)

    def test_empty(self) -> None:
        """Files that hold nothing fail, packed or not."""
        for data in (b"", b" ", b"\n\r\n\t"):
            self.assertEqual(self.wrong(data).number, 6)
            self.assertEqual(self.wrong(gzip.compress(data), compressed=True).number, 6)
        for data in (b"\xef\xbb\xbf", b"[]"):
            self.assertEqual(self.wrong(data).number, 6)

    def test_half_a_line(self) -> None:
        """Nothing of a file is taken whose end is missing, or that holds something else."""
        for data in (
            b'{"v":1}\n{"v":',
            b'{"v":1}\n{"v":2',
            b'[{"v":1}',
            b'{"v":1}\nx',
            b"[1]",
            b'"a"',
            b'{"v":"\xff"}',
        ):
            self.assertEqual(self.wrong(data).number, 6, data)

    def test_too_large(self) -> None:
        """A file that holds more than one may; the message says both sizes."""
        error = self.wrong(b" " * (LARGEST + 1))
        self.assertEqual(error.number, 501)
        self.assertIn(f"{LARGEST + 1:,}", str(error))
        self.assertIn(f"{LARGEST:,}", str(too_large(1 << 40)))


class PackedTests(ContentCase):
    def test_packed(self) -> None:
        """The hash is that of what is in it; several parts are one file."""
        for data in (gzip.compress(NORMAL), gzip.compress(NORMAL[:8]) + gzip.compress(NORMAL[8:])):
            found = self.understand(data, compressed=True)
            self.assertEqual((found.normal, found.hash, found.note), (NORMAL, HASH, ""))

    def test_damaged(self) -> None:
        """Cut, changed, or not packed at all."""
        whole = gzip.compress(NORMAL)
        for data in (whole[:-1], whole[:12], whole[:-5] + b"\0" + whole[-4:], NORMAL, whole + b"more"):
            self.assertEqual(self.wrong(data, compressed=True).number, 6, data)

    def test_a_bomb(self) -> None:
        """A small file of huge content is refused."""
        bomb = gzip.compress(b" " * (LARGEST + 1), 1)
        self.assertLess(len(bomb), LARGEST // 100)
        self.assertEqual(self.wrong(bomb, compressed=True).number, 501)


class HashTests(ContentCase):
    def prefixed(self, whose: str, data: bytes) -> str:
        return hashlib.md5(b"town.t." + whose.encode() + data).hexdigest()

    def test_right(self) -> None:
        """Of the normal form, or of the bytes as they came: then that of the normal form is used, silently."""
        loose = b'[{"v": 1},\n {"v": 2}]'
        for data, given in [(NORMAL, HASH), (loose, HASH), (loose, content_hash("town", "t", loose))]:
            found = self.understand(data, hash=given)
            self.assertEqual((found.hash, found.normal, found.note), (HASH, NORMAL, ""))

    def test_wrong(self) -> None:
        """It is replaced and told of, in short and in full names."""
        for name in ({}, {"member": "3", "id": 5, "date": DATE}, {"member": "@", "id": 5, "date": DATE}):
            found = self.understand(NORMAL, hash=OTHER, **name)
            self.assertEqual((found.hash, found.normal), (HASH, NORMAL))
            self.assertIn(OTHER, found.note)
            self.assertIn(HASH, found.note)

    def test_damaged_on_its_way(self) -> None:
        """A file of another member with another content than it says is none."""
        wrong = self.wrong(NORMAL, hash=OTHER, member="7", id=5, date=DATE)
        self.assertEqual(wrong.number, 6)
        self.assertIn(OTHER, str(wrong))

    def test_of_another_table(self) -> None:
        """The same rows in another table are another file."""
        found = self.understand(NORMAL, hash=content_hash("town", "other", NORMAL))
        self.assertEqual(found.hash, HASH)
        self.assertNotEqual(found.note, "")

    def test_cut_from_a_stream(self) -> None:
        """Member and id stand in front of what is hashed; it is right for them alone."""
        right = self.prefixed("7.5", NORMAL)
        found = self.understand(NORMAL, hash=right, member="7", id=5, date=DATE)
        self.assertEqual((found.hash, found.note), (right, ""))
        for name in ({"member": "7", "id": 6, "date": DATE}, {"member": "8", "id": 5, "date": DATE}):
            self.assertEqual(self.wrong(NORMAL, hash=right, **name).number, 6)
        for name in ({"member": "3", "id": 5, "date": DATE}, {}, {"member": "@", "id": 5, "date": DATE}):
            found = self.understand(NORMAL, hash=right, **name)
            self.assertEqual(found.hash, HASH)
            self.assertNotEqual(found.note, "", name)

    def test_at_is_this_member(self) -> None:
        """`@` stands for whoever reads the file."""
        right = self.prefixed("3.5", NORMAL)
        found = self.understand(NORMAL, hash=right, member="@", id=5, date=DATE)
        self.assertEqual((found.hash, found.note), (right, ""))
        name = NAME.having(hash=right, member="@", id=5, date=DATE)
        self.assertNotEqual(understand(name, NORMAL, 4).note, "")

    def test_of_another_writer(self) -> None:
        """Bytes that another member hashed are kept as they are."""
        loose = b'[{"v": 1},\n {"v": 2}]'
        for right in (content_hash("town", "t", loose), self.prefixed("7.5", loose)):
            found = self.understand(loose, hash=right, member="7", id=5, date=DATE)
            self.assertEqual((found.hash, found.normal, found.note), (right, loose, ""))
            self.assertEqual(found.rows, [{"v": 1}, {"v": 2}])


class SQLTests(ContentCase):
    def test_rows_of_statements(self) -> None:
        """They are rows like any other: the same form and the same hash as from JSON."""
        data = b"insert into t (v) values (1); insert into par_t_2026 (v) values (2);"
        found = self.understand(data, kind="sql")
        self.assertEqual((found.rows, found.normal, found.hash), ([{"v": 1}, {"v": 2}], NORMAL, HASH))
        self.assertEqual(self.understand(gzip.compress(data), kind="sql", compressed=True).hash, HASH)

    def test_other_statements(self) -> None:
        """Nothing else is understood, and nothing of such a file is."""
        good = b"insert into t (v) values (1);"
        for data in (
            good + b"drop table t;",
            b"insert into other (v) values (1);",
            good + b"insert into t (v) values (",
            b'{"v":1}',
        ):
            self.assertEqual(self.wrong(data, kind="sql").number, 16, data)


class EarlyTests(ContentCase):
    rows = b"".join(b'{"v":%d}\n' % number for number in range(MANY))

    def early(self, columns: Mapping[str, str] | None, data: bytes = rows) -> Content:
        return understand(NAME, data, 3, columns)

    def test_many_rows_of_a_known_table(self) -> None:
        """They are converted at once, and not kept a second time; form and hash are what they would be."""
        columns = {"v": "INT"}
        found, late = self.early(columns), self.early(None)
        assert found.early is not None
        self.assertEqual((list(found.rows), found.early.columns), ([], columns))
        self.assertEqual((found.early.converted.names, found.early.converted.count), (("v",), MANY))
        self.assertEqual((found.hash, found.normal), (late.hash, late.normal))
        self.assertEqual((late.early, len(late.rows)), (None, MANY))

    def test_columns_that_do_not_suffice(self) -> None:
        """A table that would have to change, one that is not there, or few rows: the rows are kept as they came."""
        one = b'{"v":1,"w":2}\n' + self.rows
        for columns, data in [
            (None, self.rows), ({}, self.rows), ({"w": "INT"}, self.rows), ({"v": "INT"}, one),
            ({"v": "INT"}, b"".join(self.rows.splitlines(True)[1:])),
        ]:  # fmt: skip
            found = self.early(columns, data)
            self.assertIsNone(found.early, columns)
            self.assertEqual(len(found.rows), data.count(b"\n"))


class AllTests(ContentCase):
    def test_each_its_own_outcome(self) -> None:
        """One that is wrong does not end the others."""
        deep = b"[" * 100_000
        found = understand_all([(NAME, data, None) for data in (NORMAL, b"", deep, b"x", NORMAL)], 3, 1 << 20)
        told = [each.number if isinstance(each, AnyLogError) else each.hash for each in found]
        self.assertEqual(told, [HASH, 6, 6, 6, HASH])

    def test_a_bounded_amount(self) -> None:
        """It ends once enough is made, and never without having done one."""
        asked: list[tuple[FileName, bytes, Mapping[str, str] | None]] = [(NAME, NORMAL, None)] * 5
        for most, done in [(1, 1), (16, 1), (17, 2), (48, 3), (1000, 5)]:
            self.assertEqual(len(understand_all(asked, 3, most)), done, most)


class Engine:
    def schema(self, table: str) -> dict[str, str] | None:
        return {"row_id": "BIGINT", "tsd_id": "BIGINT", "v": "INT"} if table == "t" else None


class LimitsTests(SynchronousTestCase):
    def limits(self, **options: Any) -> Limits:
        def connected(name: str) -> Engine:
            if name != "town":
                raise AnyLogError(5, name)
            return Engine()

        return Limits(connected=connected, **options)

    def told(self, limits: Limits, **changes: Any) -> int:
        refusal = limits.refusal(NAME.having(**changes))
        return refusal.number if refusal is not None else 0

    def test_tables(self) -> None:
        """By both names, or by the table's alone; names count as they are spelled in the database."""
        for given, table, number in [
            ([], "t", 0), (["t"], "t", 0), (["town.t"], "t", 0), (["Town.T"], "t", 0), (["other.t"], "t", 130),
            (["u", "town.t"], "t", 0), (["u"], "t", 130), (["town"], "t", 130),
        ]:  # fmt: skip
            self.assertEqual(self.told(self.limits(tables=Limits.read(given)), table=table), number, given)
        self.assertEqual(self.assertRaises(AnyLogError, Limits.read, ["a."]).number, 40)

    def test_databases(self) -> None:
        """One that is not connected, and those of the node itself."""
        limits = self.limits()
        told = [self.told(limits, dbms=dbms) for dbms in ("town", "village", "almgm", "system_query")]
        self.assertEqual(told, [0, 10, 171, 171])

    def test_reserved(self) -> None:
        """Tables of the node itself cannot be filled by files."""
        self.assertEqual(self.told(self.limits(), table="anylog_loads"), 28)

    def test_members(self) -> None:
        """A file of a stranger is refused where the cluster is known; 0 is in none, `@` and short names are free."""
        mine = {1, 7}
        full: dict[str, Any] = {"id": 5, "date": DATE}
        for known, member, number in [
            (mine, "7", 0), (mine, "8", 131), (mine, "0", 131), (mine, "@", 0), (None, "8", 0), (set(), "7", 131),
        ]:  # fmt: skip
            limits = self.limits(members=lambda known=known: known)
            self.assertEqual(self.told(limits, member=member, **full), number, (known, member))
        self.assertEqual(self.told(self.limits(members=lambda: mine)), 0)

    def test_columns(self) -> None:
        """Of the data alone; None where there is no table, or no database."""
        limits = self.limits()
        self.assertEqual(limits.columns(NAME), {"v": "INT"})
        self.assertIsNone(limits.columns(NAME.having(table="other")))
        self.assertIsNone(limits.columns(NAME.having(dbms="village")))
