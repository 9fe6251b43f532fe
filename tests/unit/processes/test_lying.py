"""What may be taken from a watch directory: what is still, in which order, and what is left alone."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Entry
from anylog.processes.lying import Directory, Lying, printable

NEW = 10**15  # nanoseconds: later than the clocks of these tests


def lies(name: str, size: int = 10, mtime_ns: int = NEW, kind: str = "file") -> Entry:
    return Entry(name, size, mtime_ns, kind)


class DirectoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.here = Directory(("json", "sql", "gz"))

    def look(self, now: float, *entries: Entry, busy: Sequence[str] = ()) -> list[str]:
        return self.here.look(entries, now, busy)

    def taken(self) -> list[str]:
        """All that may be taken, in order."""
        found = []
        while (lying := self.here.next()) is not None:
            found.append(lying.name)
        return found

    def settled(self, *entries: Entry) -> list[str]:
        """What may be taken of what lay still for two looks."""
        self.look(10.0, *entries)
        self.look(11.0, *entries)
        return self.taken()


class SettlingTests(DirectoryCase):
    def test_two_looks_a_second_apart(self) -> None:
        """Not at the first look, not at one that comes too soon; at the one a second after the first."""
        for now, ready in [(10.0, 0), (10.5, 0), (10.999, 0), (11.0, 1), (15.0, 1)]:
            self.look(now, lies("a.b.json"))
            self.assertEqual((self.here.ready, self.here.unsettled), (ready, not ready), now)

    def test_old_by_its_own_word(self) -> None:
        """What was written to a second ago or longer is taken at once, unless it changes after that."""
        moved, fresh = lies("a.b.json", mtime_ns=9 * 10**9), lies("a.c.json", mtime_ns=9 * 10**9 + 1)
        self.look(10.0, moved, fresh)
        self.assertEqual((self.taken(), self.here.unsettled), (["a.b.json"], True))
        self.look(10.25, lies("a.b.json", 11, 9 * 10**9), fresh)
        self.assertEqual(self.taken(), [])
        self.look(11.25, lies("a.b.json", 11, 9 * 10**9), fresh)
        self.assertEqual(self.taken(), ["a.b.json", "a.c.json"])

    def test_delivered(self) -> None:
        """Whole from the beginning; a list that was begun before it came does not hide it, one that has it neither."""
        self.look(10.0)
        self.here.deliver("a.b.json", 10, 10.1)
        self.assertEqual((self.here.ready, self.here.delivered), (1, 1))
        self.look(10.2)
        self.look(10.3, lies("a.b.json"))
        self.assertEqual((self.taken(), self.here.delivered), (["a.b.json"], 0))
        self.look(10.4, lies("a.b.json"), busy=["a.b.json"])
        self.assertEqual((self.taken(), self.here.unsettled), ([], False))

    def test_known_to_be_synced(self) -> None:
        """What this node published is, also after looks that have it; what somebody wrote, or wrote anew, is not."""
        for name in ("a.b.json", "a.c.json", "a.d.json"):
            self.here.deliver(name, 10, 9.5)
        self.look(10.0, lies("a.b.json"), lies("a.c.json", 11), lies("a.e.json", mtime_ns=1))
        self.look(11.0, lies("a.b.json"), lies("a.c.json", 11), lies("a.e.json", mtime_ns=1))
        found = {}
        while (lying := self.here.next()) is not None:
            found[lying.name] = lying.kept
        self.assertEqual(found, {"a.b.json": True, "a.c.json": False, "a.d.json": True, "a.e.json": False})

    def test_a_change_begins_anew(self) -> None:
        """Another size or another time, even an earlier one: the second counts from then on."""
        first = lies("a.b.json", 10, NEW + 100)
        for changed in (
            lies("a.b.json", 11, NEW + 100),
            lies("a.b.json", 9, NEW + 100),
            lies("a.b.json", 10, NEW + 99),
        ):
            self.here = Directory(("json",))
            self.look(10.0, first)
            self.look(11.0, changed)
            self.assertEqual((self.here.ready, self.here.unsettled), (0, True))
            self.look(11.9, changed)
            self.assertEqual(self.here.ready, 0)
            self.look(12.0, changed)
            self.assertEqual(self.here.next(), Lying(changed.mtime_ns, "a.b.json", changed.size))

    def test_changed_and_back(self) -> None:
        """Only the look before counts, not one that was before that."""
        was, other = lies("a.b.json", 10, NEW + 100), lies("a.b.json", 20, NEW + 200)
        for now, each in [(10.0, was), (10.5, other), (11.0, was)]:
            self.look(now, each)
            self.assertEqual(self.here.ready, 0)
        self.look(12.0, was)
        self.assertEqual(self.here.ready, 1)

    def test_gone_and_back(self) -> None:
        """A name that was not there at one look is a new one."""
        self.look(10.0, lies("a.b.json"))
        self.look(11.0)
        self.assertEqual((self.here.waiting, self.here.unsettled), (0, False))
        self.look(12.0, lies("a.b.json"))
        self.assertEqual(self.here.ready, 0)

    def test_a_clock_that_was_put_back(self) -> None:
        """The second counts from the new time; it does not wait until the old one is reached again."""
        self.look(1000.0, lies("a.b.json"))
        self.look(10.0, lies("a.b.json"))
        self.assertEqual(self.here.ready, 0)
        self.look(11.0, lies("a.b.json"))
        self.assertEqual(self.here.ready, 1)

    def test_changed_while_it_was_read(self) -> None:
        """It has to settle again; others do not."""
        entries = lies("a.b.json"), lies("a.c.json", mtime_ns=NEW + 2)
        self.look(10.0, *entries)
        self.look(11.0, *entries)
        self.here.changed("a.b.json")
        self.assertTrue(self.here.unsettled)
        self.look(12.0, *entries)
        self.assertEqual(self.taken(), ["a.c.json"])
        self.look(13.0, *entries)
        self.assertEqual(self.taken(), ["a.b.json", "a.c.json"])

    def test_what_is_in_work_is_not_told_of(self) -> None:
        """It does not wait, it is not ready; when it is given back it has to settle."""
        self.look(10.0, lies("a.b.json"), lies("a.c.json", 7))
        self.look(11.0, lies("a.b.json"), lies("a.c.json", 7), busy={"a.b.json"})
        self.assertEqual((self.here.waiting, self.here.waiting_bytes, self.taken()), (1, 7, ["a.c.json"]))
        self.look(12.0, lies("a.b.json"))
        self.assertEqual(self.here.ready, 0)
        self.look(13.0, lies("a.b.json"))
        self.assertEqual(self.here.ready, 1)


class OrderTests(DirectoryCase):
    def test_the_oldest_first_then_by_name(self) -> None:
        """Whatever the order in which a file system names them."""
        entries = [
            lies("t.z.json", mtime_ns=5), lies("t.b.json", mtime_ns=9), lies("t.a.json", mtime_ns=9),
            lies("t.y.json", mtime_ns=1), lies("t.10.json", mtime_ns=9),
        ]  # fmt: skip
        expected = ["t.y.json", "t.z.json", "t.10.json", "t.a.json", "t.b.json"]
        self.assertEqual(self.settled(*entries), expected)
        self.assertEqual(self.settled(*reversed(entries)), expected)

    def test_given_back(self) -> None:
        """It takes its place among those that wait."""
        entries = [lies(f"t.t.{number}.json", mtime_ns=number) for number in range(6)]
        self.look(10.0, *entries)
        self.look(11.0, *entries)
        taken = [self.here.next() for _ in range(3)]
        self.here.back([each for each in reversed(taken) if each is not None])
        self.assertEqual(self.taken(), [f"t.t.{number}.json" for number in range(6)])
        self.assertIsNone(self.here.next())

    def test_put_aside_and_delivered_again(self) -> None:
        """It lies there once, so it is taken once."""
        self.look(10.0)
        aside = []
        for at in (10.1, 10.2):
            self.here.deliver("a.b.json", 10, at)
            aside += [each for each in [self.here.next()] if each is not None]
        self.here.back(aside)
        self.assertEqual((len(aside), self.taken(), self.here.ready), (2, ["a.b.json"], 0))

    def test_numbers(self) -> None:
        """How many and how much waits counts what is not settled, too; what is ignored is not counted."""
        self.look(10.0, lies("a.b.json", 5, NEW + 70))
        self.look(11.0, lies("a.b.json", 5, NEW + 70), lies("a.c.json", 6, NEW + 30), lies("x.txt", 900, 1))
        told = self.here.waiting, self.here.waiting_bytes, self.here.oldest, self.here.ready
        self.assertEqual(told, (2, 11, NEW + 30, 1))
        self.look(12.0)
        self.assertEqual((self.here.waiting, self.here.waiting_bytes, self.here.oldest), (0, 0, 0))


class LeftAloneTests(DirectoryCase):
    def test_somebody_writes_it(self) -> None:
        """Names by which writers say so are left alone without a word, of whatever kind they are."""
        for name in (".a.b.json", ".hidden", "a.b.json.tmp", "a.b.json_tmp", "a.b.json.uzp", ".a.b.json.draft"):
            for kind in ("file", "folder", "link", "other"):
                self.assertEqual(self.look(10.0, lies(name, kind=kind)), [], name)
                self.assertEqual(self.here.ignored, {}, name)
                self.assertEqual(self.settled(lies(name, kind=kind)), [], name)

    def test_other_kinds(self) -> None:
        """Directories, links and devices, even with a name that would be right."""
        for kind, told in [("folder", "a directory"), ("link", "a link"), ("other", "not a file")]:
            self.assertEqual(self.look(10.0, lies("a.b.json", kind=kind)), [f"a.b.json: left alone, it is {told}"])
            self.assertEqual(self.here.ignored, {"a.b.json": f"left alone, it is {told}"})
            self.assertEqual(self.settled(lies("a.b.json", kind=kind)), [])
            self.look(12.0)

    def test_types(self) -> None:
        """`file_type` names what is taken; packed files need their inner type, too."""
        names = [
            "a.json",
            "a.sql",
            "a.json.gz",
            "a.sql.gz",
            "a.txt",
            "a.gz",
            "json",
            "a.csv.gz",
            "a.JSON",
            "a.json.gz.gz",
        ]
        for kinds, expected in [
            (("json", "sql", "gz"), names[:4]),
            (("json",), names[:1]),
            (("sql",), names[1:2]),
            (("json", "gz"), [names[0], names[2]]),
            (("gz",), []),
        ]:
            self.here = Directory(kinds)
            entries = [lies(name, mtime_ns=place) for place, name in enumerate(names)]
            self.assertEqual(self.settled(*entries), expected, kinds)
            self.assertEqual(set(self.here.ignored), set(names) - set(expected), kinds)

    def test_told_once(self) -> None:
        """Not at every look; again if it was gone meanwhile."""
        odd = lies("a.txt")
        self.assertEqual(len(self.look(10.0, odd)), 1)
        self.assertEqual(self.look(11.0, odd), [])
        self.assertEqual(len(self.look(12.0, odd, lies("b.txt"))), 1)
        self.assertEqual(self.look(13.0), [])
        self.assertEqual(self.here.ignored, {})
        self.assertEqual(len(self.look(14.0, odd)), 1)

    def test_names_of_any_bytes(self) -> None:
        """What is told of them can be shown on one line and written as UTF-8."""
        for name in ("a\nb.txt", "caf\udce9.txt", "\x1b[2J.txt", "a\u202eb.txt", "wörld-温度.txt"):
            (note,) = self.look(10.0, lies(name))
            self.assertTrue(note.isprintable(), note)
            note.encode()
            self.look(11.0)
        self.assertEqual(printable("温度 ö"), "温度 ö")
        self.assertEqual(printable("a\nb\udce9"), "a\\nb\\udce9")

    def test_unicode_names_are_taken(self) -> None:
        """Also one that is no UTF-8: that is found wrong where its name is read, not here."""
        names = ["town.温度.json", "town.caf\udce9.json"]
        self.assertEqual(self.settled(*(lies(name, mtime_ns=place) for place, name in enumerate(names))), names)


class NamedTests(DirectoryCase):
    def test_parsed_once(self) -> None:
        """Also what is wrong with a name; forgotten when the file is gone."""
        self.assertEqual(self.here.named("town.t.s.json"), FileName(dbms="town", table="t", source="s"))
        wrong = self.here.named("town.json")
        assert isinstance(wrong, AnyLogError)
        self.assertEqual(wrong.number, 119)
        self.assertIs(self.here.named("town.json"), wrong)
        self.look(10.0, lies("town.json"))
        self.assertIs(self.here.named("town.json"), wrong)
        self.look(11.0)
        self.assertIsNot(self.here.named("town.json"), wrong)
