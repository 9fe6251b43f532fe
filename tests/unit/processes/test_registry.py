"""Which entry in the tables of files a buffer gets, and what becomes of one whose content was seen before."""

from __future__ import annotations

from typing import Any

from filing_case import DATE, MEMBER, FilesCase
from twisted.internet.defer import Deferred

from anylog.databases import tsd
from anylog.databases.tsd import DROPPED, Done
from anylog.errors import AnyLogError
from anylog.processes.buffers import Buffer
from anylog.processes.registry import PLACEHOLDER, time_of


class RegisterTests(FilesCase):
    def refused(self, buffer: Buffer) -> int:
        waited = Deferred.fromCoroutine(self.registry.register([buffer]))
        error: AnyLogError = self.failureResultOf(waited, AnyLogError).value
        return error.number

    def full(self, member: str | int, id: int, **options: Any) -> Buffer:
        return self.buffer(member=str(member), id=id, date=DATE, **options)

    def test_new(self) -> None:
        """Each has its row, in order, and knows its id and its time."""
        first, second = self.buffer(), self.buffer()
        self.assertEqual([each.kind for each in self.register(first, second)], ["load", "load"])
        self.assertEqual((first.tsd, second.tsd, first.date), (1, 2, DATE))
        entry = self.entry(first)
        assert entry is not None
        self.assertEqual((entry.hash, entry.source, entry.rows, entry.time), (first.whole, "s1", 0, first.time))
        self.assertTrue(self.registry.has("tsd_info", 1))

    def test_not_before_it_is_sure(self) -> None:
        """Ids must go on above all that were given: until that is seen to, and while `almgm` is away, nothing is."""
        buffer = self.buffer()
        self.registry.sure = None
        self.assertEqual(self.refused(buffer), 502)
        self.there = None
        self.assertEqual(self.refused(buffer), 5)
        self.there = self.tsd
        self.assertEqual((buffer.tsd, self.get(self.tsd.last_id())), (0, 0))
        self.registry.sure = self.tsd
        self.assertEqual(self.verdict(buffer), "load")

    def test_streamed(self) -> None:
        """They have no hash yet; two are never one, and one stays one."""
        first, second = self.streamed(b'{"v":1}\n'), self.streamed(b'{"v":1}\n')
        self.register(first, second)
        self.assertEqual(self.verdict(first), "load")
        self.assertEqual((first.tsd, second.tsd), (1, 2))
        entry = self.entry(first)
        assert entry is not None
        self.assertEqual(entry.hash, f"{PLACEHOLDER}{first.id}")

    def test_the_same_in_work(self) -> None:
        """Whoever comes second waits for the first, also within one call; once that is gone it takes its entry over."""
        first, second = self.buffer(normal=b"{}\n"), self.buffer(normal=b"{}\n")
        one, other = self.register(first, second)
        self.assertEqual((one.kind, other.kind, second.tsd), ("load", "wait", 0))
        self.assertIn("tsd_info 1 is in work", other.text)
        self.registry.forget(second)
        self.assertEqual(self.verdict(second), "wait")
        self.registry.forget(first)
        self.assertEqual((self.verdict(second), second.tsd), ("load", 1))

    def test_what_is_in_work_when_the_tables_are_handed_over(self) -> None:
        """It goes with its entry: the own files into the table of the member that this was, those of the new one out of
        theirs."""
        own, other, third = self.buffer(), self.full(7, 40), self.full(8, 41)
        own.member = MEMBER
        self.register(own, other, third)
        self.registry.handed_over(MEMBER, 7)
        for into, id in [(f"tsd_{MEMBER}", 1), ("tsd_info", 40), ("tsd_8", 41)]:
            self.assertTrue(self.registry.has(into, id), into)
        self.assertFalse(self.registry.has("tsd_7", 40))
        self.assertFalse(self.registry.has("tsd_info", 1))

    def test_forgetting_is_for_the_owner(self) -> None:
        """Who took an entry over keeps it, whatever the one before does."""
        first, second = self.buffer(normal=b"{}\n"), self.buffer(normal=b"{}\n")
        self.register(first)
        self.registry.forget(first)
        self.register(second)
        self.registry.forget(first)
        self.assertTrue(self.registry.has("tsd_info", 1))
        self.registry.forget(second)
        self.assertFalse(self.registry.has("tsd_info", 1))

    def test_pending_under_another_name(self) -> None:
        """Registered before the node ended, and then renamed: it is called as its row says."""
        buffer = self.buffer()
        before = self.known(buffer.whole, instructions="policy").entry
        self.assertEqual(self.verdict(buffer), "load")
        where = buffer.where
        self.assertEqual((where.source, where.instructions, where.table), ("before", "policy", "t"))
        self.assertEqual((buffer.tsd, buffer.time), (before.id, before.time))

    def test_loaded(self) -> None:
        """A duplicate, whatever it is called; nothing of it is registered or kept in mind."""
        buffer = self.buffer()
        self.known(buffer.whole, rows=2)
        (verdict,) = self.register(buffer)
        self.assertEqual((verdict.kind, buffer.tsd), ("duplicate", 0))
        self.assertIn("tsd_info 1", verdict.text)
        self.assertFalse(self.registry.has("tsd_info", 1))

    def test_loaded_by_another_member(self) -> None:
        """What came from member 7 is no news."""
        buffer = self.buffer()
        self.known(buffer.whole, rows=2, into="tsd_7", id=40)
        self.assertEqual(self.verdict(buffer), "duplicate")

    def test_failed_before(self) -> None:
        """It may be tried again, under a new id."""
        buffer = self.buffer()
        self.known(buffer.whole, status1="03")
        self.assertEqual((self.verdict(buffer), buffer.tsd), ("load", 2))

    def test_its_database_was_dropped(self) -> None:
        """Then it is loaded anew, with the entry it had."""
        buffer = self.buffer()
        self.known(buffer.whole, rows=2, status2=DROPPED)
        self.assertEqual((self.verdict(buffer), buffer.tsd), ("load", 1))

    def test_full_names(self) -> None:
        """The id is that of the name: of this member in its own table, of another in that one's."""
        for member, into in [(MEMBER, "tsd_info"), ("@", "tsd_info"), (7, "tsd_7"), (0, "tsd_0")]:
            buffer = self.full(member, 40 + len(into) + (member == "@"))
            self.assertEqual(self.verdict(buffer), "load")
            entry = self.entry(buffer, into)
            assert entry is not None and buffer.file is not None
            self.assertEqual((entry.id, entry.time), (buffer.file.id, time_of(DATE)))
            self.assertEqual(buffer.date, DATE)

    def test_loaded_under_this_very_name(self) -> None:
        """Its mark is asked, as the database may have lost it."""
        for member, into in [(MEMBER, "tsd_info"), (7, "tsd_7")]:
            buffer = self.full(member, 40)
            self.known(buffer.whole, rows=2, into=into, id=40)
            self.assertEqual((self.verdict(buffer), buffer.tsd), ("repeated", 40))

    def test_conflict(self) -> None:
        """The id of its name is that of another content."""
        buffer = self.full(7, 40)
        self.known("a" * 32, rows=2, into="tsd_7", id=40)
        (verdict,) = self.register(buffer)
        self.assertEqual((verdict.kind, buffer.tsd), ("conflict", 0))
        self.assertIn("a" * 32, verdict.text)
        entry = self.get(self.tsd.by_ids("tsd_7", [40]))[40]
        self.assertEqual((entry.hash, entry.rows), ("a" * 32, 2))

    def test_pending_elsewhere(self) -> None:
        """Under another id, or of another member: while somebody is at work on that, what becomes of it decides."""
        for asked, before in [
            ((7, 40), {}), ((7, 41), {"member": 7, "id": 39}), ((7, 42), {"member": 8, "id": 40}),
            ((MEMBER, 43), {}),
        ]:  # fmt: skip
            normal = b'{"v":%d}\n' % (1000 + asked[1])
            first = self.full(before["member"], before["id"], normal=normal) if before else self.buffer(normal=normal)
            second = self.full(*asked, normal=normal)
            self.assertEqual(self.verdict(first), "load")
            (verdict,) = self.register(second)
            self.assertEqual((verdict.kind, second.tsd), ("wait", 0), (asked, before))
            self.assertRegex(verdict.text, "is in work|is not loaded yet")
            self.registry.forget(first)
            # One that nobody comes with is not waited for: its file may lie behind this one, or be gone. There is no
            # room for two in the own table.
            self.assertEqual(self.verdict(second), "load", (asked, before))
            if asked[0] == MEMBER:
                self.assertEqual((second.tsd, self.entry(first)), (43, None))

    def test_adopted(self) -> None:
        """What had its row before this start is in work; what has none is not."""
        old, new = self.streamed(b"{}\n"), self.streamed(b"{}\n")
        old.registered(5, "2026-09-20 10:00:00.000000")
        for buffer in (old, new):
            self.registry.adopt(buffer)
        self.assertEqual((self.registry.has("tsd_info", 5), self.registry.has("tsd_info", 0)), (True, False))

    def test_finish(self) -> None:
        """Rows and hash of each in its own table; nothing asks `almgm` if there is nothing to tell."""
        own, other = self.streamed(b"{}\n"), self.full(7, 40)
        self.register(own, other)
        self.get(Deferred.fromCoroutine(self.registry.finish([(own, "h", 1, "", ""), (other, "", 9, "", "")])))
        first, second = self.entry(own), self.entry(other, "tsd_7")
        assert first is not None and second is not None
        self.assertEqual((first.hash, first.rows, second.hash, second.rows), ("h", 1, other.whole, 9))
        self.there = None
        self.get(Deferred.fromCoroutine(self.registry.finish([])))

    def test_an_own_file_that_came_back(self) -> None:
        """That one of another member with the same number is loaded says nothing of it."""
        own, theirs = self.full(MEMBER, 5), self.full(7, 5)
        self.register(own, theirs)
        self.registry.returned.add(5)
        self.get(Deferred.fromCoroutine(self.registry.finish([(theirs, theirs.whole, 2, "", "")])))
        self.assertEqual(self.registry.returned, {5})
        self.get(Deferred.fromCoroutine(self.registry.finish([(own, own.whole, 2, "", "")])))
        self.assertEqual(self.registry.returned, set())

    def test_counted_before_this_start(self) -> None:
        """A stream that the journal did not let go of is not loaded again if it is counted; it is if nothing is left of
        it, under its id if it was to be loaded anew when the node ended."""
        for rows, status, removed, expected in [
            (2, ("", ""), False, "duplicate"),
            (2, ("", DROPPED), False, "duplicate"),
            (0, ("", ""), False, "load"),
            (0, ("01", ""), False, "load"),
            (0, ("03", ""), False, "load"),
            (2, ("", ""), True, "load"),
        ]:
            old = self.streamed(b"{}\n")
            self.register(old)
            self.get(Deferred.fromCoroutine(self.registry.finish([(old, f"h{old.id}", 2, "", "")])))
            self.registry.forget(old)
            again = Done(into="tsd_info", id=old.tsd, rows=rows, status1=status[0], status2=status[1])
            self.get(self.tsd.finish([again]))
            if removed:
                self.get(self.tsd.remove([("tsd_info", old.tsd)]))
            new = self.streamed(b"{}\n")
            new.id, new.recalled = old.id, True
            what = (rows, status, removed)
            self.assertEqual(self.verdict(new), expected, what)
            same = {"duplicate": 0, "load": old.tsd if (rows, status[0]) == (0, "") else old.tsd + 1}[expected]
            self.assertEqual(new.tsd, same, what)
            self.registry.forget(new)

    def test_what_is_remembered_of_streams(self) -> None:
        """The last of them, each by its own buffer; others that come for the first time are not mixed up with them."""
        self.patch(tsd, "STREAMS", 3)
        made = [self.streamed(b"{}\n") for _ in range(5)]
        for old in made:
            self.register(old)
            self.get(Deferred.fromCoroutine(self.registry.finish([(old, f"h{old.id}", 1, "", "")])))
            self.registry.forget(old)
        told = []
        for old in made:
            new = self.streamed(b"{}\n")
            new.id, new.recalled = old.id, True
            told.append(self.verdict(new))
        self.assertEqual(told, ["load", "load", "duplicate", "duplicate", "duplicate"])


def test_the_year_of_a_name() -> None:
    """A clock that nobody set begins in 1970; a member took its file for one of 2070."""
    for date, told in [
        ("700101000105", "1970-01-01 00:01:05.000000"), ("991231235959", "1999-12-31 23:59:59.000000"),
        ("000101000000", "2000-01-01 00:00:00.000000"), ("691231235959", "2069-12-31 23:59:59.000000"),
    ]:  # fmt: skip
        assert time_of(date) == told
