"""The tables of files: verdicts on what was seen before, ids that never return, and what remains of it all on disk."""

from __future__ import annotations

from random import Random
from typing import Any

import apsw
from town import TownCase
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from anylog.databases.library import Library
from anylog.databases.sqlite import SQLite
from anylog.databases.tables import BUILT_IN
from anylog.databases.tsd import (
    FOREIGN_IDS,
    GAP,
    GAP_BITS,
    UNSET,
    Asked,
    Done,
    Entry,
    Registered,
    Tsd,
    Wanted,
    is_files,
)
from anylog.databases.tsd_ranges import Line, record
from anylog.errors import AnyLogError

DEFINITION = BUILT_IN["almgm", "tsd_info"]
A, B, C = "a" * 32, "b" * 32, "c" * 32


def want(hash: str = A, **options: Any) -> Wanted:
    given = {"dbms": "town", "table": "weather", "source": "0", "instructions": "0", **options}
    return Wanted(hash=hash, **given)


class FilesCase(TownCase):
    def setUp(self) -> None:
        super().setUp()
        self.get(self.town.create("tsd_info", DEFINITION))

    @property
    def tsd(self) -> Tsd:
        return Tsd(database=self.town, clock=self.clock, chance=Random(1))

    def beyond(self, highest: int) -> int:
        """The last id of which one is sure that nobody knows of it, for the same chance."""
        return max(highest, int(self.clock.seconds() * 1000)) + GAP + Random(1).getrandbits(GAP_BITS)

    def get(self, waited: Deferred[Any]) -> Any:
        return self.successResultOf(waited)

    def register(self, *wanted: Wanted) -> list[Registered]:
        return self.get(self.tsd.register(wanted))

    def told(self, *wanted: Wanted) -> list[tuple[str, str, int]]:
        return [(each.kind, each.into, each.entry.id) for each in self.register(*wanted)]

    def finish(self, into: str, id: int, rows: int, **options: Any) -> None:
        self.get(self.tsd.finish([Done(into=into, id=id, rows=rows, **options)]))

    def shown(self, into: str = "tsd_info") -> list[tuple[int, str, int, str]]:
        found: list[Entry] = self.get(self.tsd.entries(into, Asked()))
        return [(entry.id, entry.hash[:4], entry.rows, entry.status1) for entry in found]


class RegisterTests(FilesCase):
    def test_a_clock_that_was_never_set(self) -> None:
        """The newest policy is a time that is over; beside a clock that was set it says nothing, as it may be wrong."""
        clock = Clock()
        files = Tsd(database=self.town, clock=clock, chance=Random(1), since=lambda: "2027-01-15 08:00:00.000000")
        clock.advance(60)
        (first,) = self.get(files.register([want(A)]))
        self.assertEqual(first.entry.time, "2027-01-15 08:00:00.000000")
        self.get(files.drop(["tsd_info"]))
        self.get(self.town.execute("delete from anylog_ids"))
        self.get(self.town.create("tsd_info", DEFINITION))
        clock.advance(UNSET)
        (other,) = self.get(files.register([want(B)]))
        self.assertEqual(other.entry.time, "2020-01-01 00:01:00.000000")

    def test_new_files(self) -> None:
        """Ids grow, times are those of the clock, and what is given is what is read back after a restart."""
        first, second = self.register(want(A, source="s1", instructions="m1"), want(B))
        self.assertEqual((first.kind, first.into, second.kind), ("new", "tsd_info", "new"))
        self.assertEqual((first.entry.id, second.entry.id), (1, 2))
        self.assertEqual(first.entry.time, "2026-09-21 14:13:20.000000")
        self.reopen()
        self.assertEqual(self.get(self.tsd.by_ids("tsd_info", [1, 2, 7])), {1: first.entry, 2: second.entry})

    def test_verdicts(self) -> None:
        """The table of hard-parts.md 3: an entry of this hash or of this id, and what is wanted."""
        own, other = {"into": "tsd_info"}, {"into": "tsd_7"}
        for before, status, asked, expected in [
            # what is there: options and (rows, status 1); what is wanted; (kind, table, id)
            ({}, (0, ""), {}, ("pending", "tsd_info", 1)),
            ({}, (5, ""), {}, ("loaded", "tsd_info", 1)),
            ({}, (0, "01"), {}, ("new", "tsd_info", 2)),
            ({}, (0, "03"), {}, ("new", "tsd_info", 2)),
            ({}, (0, "02"), {}, ("new", "tsd_info", 2)),
            # by its full name
            ({}, (0, ""), {"id": 1}, ("pending", "tsd_info", 1)),
            ({}, (5, ""), {"id": 1}, ("loaded", "tsd_info", 1)),
            ({}, (0, "03"), {"id": 1}, ("new", "tsd_info", 1)),
            ({}, (0, ""), {"id": 1, "hash": B}, ("conflict", "tsd_info", 1)),
            ({}, (5, ""), {"id": 1, "hash": B}, ("conflict", "tsd_info", 1)),
            ({}, (0, "03"), {"id": 1, "hash": B}, ("conflict", "tsd_info", 1)),
            ({}, (5, ""), {"id": 9, "hash": B}, ("new", "tsd_info", 9)),
            ({}, (5, ""), {"id": 9}, ("loaded", "tsd_info", 1)),
            ({}, (0, ""), {"id": 9}, ("pending", "tsd_info", 1)),
            ({}, (0, "03"), {"id": 9}, ("new", "tsd_info", 9)),
            # of another member
            ({"id": 4, **other}, (5, ""), own, ("loaded", "tsd_7", 4)),
            ({"id": 4, **other}, (0, ""), own, ("pending", "tsd_7", 4)),
            ({"id": 4, **other}, (0, "01"), own, ("new", "tsd_info", 1)),
            ({"id": 4, **other}, (0, "02"), own, ("new", "tsd_info", 1)),
            ({"id": 4, **other}, (5, ""), {"id": 4, **other}, ("loaded", "tsd_7", 4)),
            ({"id": 4, **other}, (0, ""), {"id": 4, **other}, ("pending", "tsd_7", 4)),
            ({"id": 4, **other}, (0, "01"), {"id": 4, **other}, ("new", "tsd_7", 4)),
            ({"id": 4, **other}, (0, "01"), {"id": 6, **other}, ("new", "tsd_7", 6)),
            ({"id": 4, **other}, (5, ""), {"id": 4, "hash": B, **other}, ("conflict", "tsd_7", 4)),
            ({"id": 4, **other}, (5, ""), {"id": 4, "into": "tsd_8"}, ("loaded", "tsd_7", 4)),
            ({}, (5, ""), {"id": 4, **other}, ("loaded", "tsd_info", 1)),
            ({}, (0, "03"), {"id": 4, **other}, ("new", "tsd_7", 4)),
        ]:
            case = (before, status, asked)
            self.get(self.town.write(lambda c: [c.execute(f"delete from {t}") for t in self.all_tables(c)]))
            (first,) = self.register(want(A, **before))
            self.assertEqual(first.kind, "new", case)
            self.finish(first.into, first.entry.id, status[0], status1=status[1])
            self.assertEqual(self.told(want(**{"hash": A, **asked})), [expected], case)
            if expected[0] == "new":
                (entry,) = self.get(self.tsd.by_ids(expected[1], [expected[2]])).values()
                self.assertTrue(entry.pending, case)

    def all_tables(self, connection: Any) -> list[str]:
        found = connection.execute("select name from sqlite_master where name glob 'tsd_*' and type = 'table'")
        return [*(row[0] for row in found.fetchall()), *self.hidden(connection)]

    def hidden(self, connection: Any) -> list[str]:
        found = connection.execute("select name from sqlite_master where name = 'anylog_ids'").fetchall()
        return [row[0] for row in found]

    def test_an_entry_that_failed_makes_room(self) -> None:
        """There is one entry a hash in each table; an id that was given up is not given again."""
        self.register(want(A))
        self.finish("tsd_info", 1, 0, status1="03", status2="no such column")
        self.register(want(A))
        self.assertEqual(self.shown(), [(2, "aaaa", 0, "")])

    def test_twice_in_one_call(self) -> None:
        """The second gets the entry of the first, whether new or not; so does one that names its id."""
        self.assertEqual(
            self.told(want(A), want(B), want(A)),
            [("new", "tsd_info", 1), ("new", "tsd_info", 2), ("pending", "tsd_info", 1)],
        )
        self.assertEqual(
            self.told(want(C, id=17), want(C, id=17), want("d" * 32, id=17)),
            [("new", "tsd_info", 17), ("pending", "tsd_info", 17), ("conflict", "tsd_info", 17)],
        )

    def test_two_files_of_a_content_that_another_member_has(self) -> None:
        """Each had a name of its own: in one call the second waits for the first, then it takes its room."""
        self.register(want(A, into="tsd_7", id=4))
        self.finish("tsd_7", 4, 5)
        first, second = want(A, id=21, known=True), want(A, id=22, known=True)
        self.assertEqual(self.told(first, second), [("double", "tsd_info", 21), ("pending", "tsd_info", 21)])
        self.assertEqual(self.shown(), [(21, "aaaa", 0, "")])
        self.finish("tsd_info", 21, 0, status1="02")
        self.assertEqual(self.told(second), [("double", "tsd_info", 22)])
        self.assertEqual(self.shown(), [(22, "aaaa", 0, "")])

    def test_ids_go_on_above_given_ones(self) -> None:
        """What a file's name brought was given in a life that is forgotten, and so may be the ids behind it: new ones
        are far from there, in the same call, too, and after a start; what comes back later may have them all."""
        back, new = self.register(want(A, id=17), want(B))
        self.assertEqual(back.entry.id, 17)
        self.assertEqual(self.beyond(17), new.entry.id - 1)
        self.assertEqual(self.told(want(C, into="tsd_7", id=99)), [("new", "tsd_7", 99)])
        self.reopen()
        self.assertEqual(self.told(want("d" * 32)), [("new", "tsd_info", new.entry.id + 1)])
        known = [want(f"{id:032}", id=id) for id in range(18, 30)]
        self.assertEqual({kind for kind, _, _ in self.told(*known)}, {"new"})
        self.assertEqual(self.told(want("e" * 32)), [("new", "tsd_info", new.entry.id + 2)])

    def test_ids_of_a_life_that_is_forgotten(self) -> None:
        """They come back after new ids were given, which are below them since the clock was ahead then."""
        first = self.beyond(0)
        self.get(self.tsd.ids_beyond(0))
        self.register(want(A))
        was = first + (2 << GAP_BITS)
        self.register(want(B, id=was))
        (new,) = self.register(want(C))
        self.assertGreater(new.entry.id, was + GAP)
        self.assertEqual(self.told(want("d" * 32, id=was + 1)), [("new", "tsd_info", was + 1)])

    def test_ids_that_are_only_told(self) -> None:
        """Another member says that it has no row of such a file; behind its id there may be others all the same."""
        first = self.beyond(0)
        self.get(self.tsd.ids_beyond(0))
        was = first + (2 << GAP_BITS)
        line = Line(was, "d" * 32, "town", "a", 0, "double", "2026-09-01 10:00:00.000000")
        self.get(record(self.tsd, "tsd_info", [(line, "02", "tsd_2 4")]))
        (new,) = self.register(want(A))
        self.assertGreater(new.entry.id, was + GAP)

    def test_an_id_that_is_not_recorded_was_given_all_the_same(self) -> None:
        """The content has another id here already; the old one and those behind it are not given again."""
        self.register(want(A))
        self.finish("tsd_info", 1, 5)
        self.assertEqual(self.told(want(A, id=17, known=True)), [("repeated", "tsd_info", 1)])
        self.reopen()
        (new,) = self.register(want(B))
        self.assertGreater(new.entry.id, 17 + GAP)

    def test_an_absurd_id_does_not_use_up_all_others(self) -> None:
        """A file may be called anything; ours go on from where they were."""
        self.assertEqual(self.told(want(A, id=(1 << 63) - 1)), [("new", "tsd_info", (1 << 63) - 1)])
        self.get(self.tsd.ids_beyond(FOREIGN_IDS))
        self.assertEqual(self.told(want(B)), [("new", "tsd_info", 1)])
        self.register(want(C, id=FOREIGN_IDS - 1))
        first, second = self.told(want("d" * 32)), self.told(want("e" * 32))
        self.assertEqual((first[0][0], second[0][0], second[0][2] - first[0][2]), ("new", "new", 1))

    def test_times_never_go_back(self) -> None:
        """A clock that is behind, after a restart and after the table was dropped; a given time is kept."""
        (first,) = self.register(want(A))
        self.clock.rightNow = 1000.0
        self.reopen()
        (second, third) = self.register(want(B), want(C, id=70, time="2026-09-22 00:00:00"))
        self.assertEqual(second.entry.time, first.entry.time)
        self.assertEqual(third.entry.time, "2026-09-22 00:00:00.000000")
        self.get(self.tsd.drop(["tsd_info"]))
        self.get(self.town.create("tsd_info", DEFINITION))
        (fourth,) = self.register(want(A))
        self.assertGreater(fourth.entry.id, 70)
        self.assertEqual(fourth.entry.time, third.entry.time)

    def test_ids_survive_the_table(self) -> None:
        """Dropped by our word, by any statement, or emptied: the next id is greater than every one before."""
        self.register(want(A), want(B, id=40))
        for drop in (
            lambda: self.tsd.drop(["tsd_info"]),
            lambda: self.town.execute("drop table tsd_info"),
            lambda: self.town.execute("delete from tsd_info"),
        ):
            before = self.get(self.tsd.last_id())
            self.get(drop())
            self.reopen()
            self.assertEqual(self.get(self.tsd.last_id()), before)
            self.get(self.town.create("tsd_info", DEFINITION))
            self.assertEqual(self.told(want(A)), [("new", "tsd_info", before + 1)])

    def test_ids_beyond(self) -> None:
        """After a loss, ids go on above what others may know and above the time; nothing lowers them."""
        for highest in (5, 1_990_000_000_000, 5):
            least = max(self.beyond(highest), self.get(self.tsd.last_id()))
            self.get(self.tsd.ids_beyond(highest))
            self.assertEqual(self.get(self.tsd.last_id()), least)
            self.assertEqual([kind for kind, _, id in self.told(want(f"{least:032}")) if id == least + 1], ["new"])

    def test_refusals(self) -> None:
        """A table that is none of files, a file of a member without its id, and no `tsd_info`: by name, and nothing
        is kept of the call."""
        for wanted, number, part in [
            (want(B, into="weather"), 28, "'weather'"),
            (want(B, into="tsd_256", id=1), 28, "'tsd_256'"),
            (want(B, into="tsd_7"), 40, "tsd_7"),
        ]:
            error = self.refused(self.tsd.register([want(A), wanted]))
            self.assertEqual((error.number, part in str(error)), (number, True), str(error))
        self.get(self.town.execute("drop table tsd_info"))
        error = self.refused(self.tsd.register([want(A)]))
        self.assertEqual((error.number, "create table tsd_info" in str(error)), (29, True))
        self.get(self.town.create("tsd_info", DEFINITION))
        self.assertEqual(self.shown(), [])

    def test_names_of_tables(self) -> None:
        for name, expected in [
            ("tsd_info", True), ("tsd_0", True), ("tsd_255", True), ("tsd_256", False), ("tsd_07", False),
            ("tsd_", False), ("tsd_info2", False), ("tsd_7\n", False),
        ]:  # fmt: skip
            self.assertEqual(is_files(name), expected, name)


class ChangeTests(FilesCase):
    def test_finish(self) -> None:
        """Rows, hash and status of many in one commit; what is gone is skipped, also where its table is."""
        self.register(want("open:h/1"), want(B), want(C))
        self.get(
            self.tsd.finish(
                [
                    Done(into="tsd_info", id=1, rows=7, hash=A),
                    Done(into="tsd_info", id=2, rows=0, status1="03", status2='it\'s "wrong" | ½'),
                    Done(into="tsd_info", id=99, rows=1),
                    Done(into="tsd_9", id=1, rows=1),
                ]
            )
        )
        self.assertEqual(self.shown(), [(3, "cccc", 0, ""), (2, "bbbb", 0, "03"), (1, "aaaa", 7, "")])
        self.assertEqual(self.get(self.tsd.by_ids("tsd_info", [2]))[2].status2, 'it\'s "wrong" | ½')
        self.finish("tsd_info", 2, 0)
        self.assertTrue(self.get(self.tsd.by_ids("tsd_info", [2]))[2].pending)

    def test_a_hash_that_is_taken(self) -> None:
        """One of many must not keep the others from being counted, nor lose its own count; it is said aloud."""
        self.register(want(A), want("open:h/1"), want(C))
        with capturedLogs() as said:
            self.get(
                self.tsd.finish(
                    [
                        Done(into="tsd_info", id=2, rows=5, hash=A),
                        Done(into="tsd_info", id=3, rows=6, hash=B),
                    ]
                )
            )
        self.assertEqual(self.shown(), [(3, "bbbb", 6, ""), (2, "open", 5, ""), (1, "aaaa", 0, "")])
        self.assertEqual([(event["id"], event["hash"]) for event in said if "hash" in event], [(2, A)])

    def test_remove(self) -> None:
        """How many there were; entries that leaned on a removed one are missing, unless somebody else holds it."""
        self.register(want(A), want(B), want(C, id=4, into="tsd_7"))
        self.finish("tsd_info", 1, 5)
        self.finish("tsd_info", 2, 5)
        self.get(self.town.write(lambda c: [self.lean(c, 1, A), self.lean(c, 2, B), self.lean(c, 3, "d" * 32)]))
        self.assertEqual(self.get(self.tsd.remove([("tsd_info", 1), ("tsd_info", 77), ("tsd_9", 1)])), 1)
        self.assertEqual(self.shown(), [(2, "bbbb", 5, "")])
        self.assertEqual(self.shown("tsd_7"), [(4, "cccc", 0, ""), (3, "dddd", 0, "02"), (2, "bbbb", 0, "02")])

    def lean(self, connection: Any, id: int, hash: str) -> None:
        connection.execute(
            "insert into tsd_7 values (?, 'town', 'weather', '0', ?, '0', '2026-01-01 00:00:00.000000', 0, '02', 'x')",
            (id, hash),
        )

    def test_note(self) -> None:
        """The status of a hash; the second one stays where it is not given."""
        self.register(want(A), want(B))
        self.assertEqual(self.get(self.tsd.note(B, "seen", "by hand")), 2)
        self.assertEqual(self.get(self.tsd.note(B, "03", None)), 2)
        self.assertEqual(self.get(self.tsd.note(C, "03", None)), 0)
        entry = self.get(self.tsd.by_ids("tsd_info", [2]))[2]
        self.assertEqual((entry.status1, entry.status2), ("03", "by hand"))

    def test_drop(self) -> None:
        """All or none: a name that is no table of files is refused, and nothing is dropped."""
        self.register(want(A), want(B, id=4, into="tsd_7"))
        for name in ("tsd_8", "weather", "anylog_ids"):
            error = self.refused(self.tsd.drop(["tsd_7", name]))
            self.assertEqual((error.number, name in str(error)), (29, True))
        self.assertEqual(self.get(self.tsd.tables()), ["tsd_info", "tsd_7"])
        self.get(self.tsd.drop(["tsd_7"]))
        self.assertEqual((self.get(self.tsd.tables()), self.town.schema("tsd_7")), (["tsd_info"], None))

    def test_one_commit(self) -> None:
        """A disk that fails in the middle leaves nothing of the call, and the next one works."""
        armed = self.failing("insert into anylog_ids")
        error = self.refused(self.tsd.register([want(A), want(B)]))
        self.assertEqual(error.number, 16)
        armed.clear()
        self.assertEqual(self.shown(), [])
        self.assertEqual(self.told(want(A)), [("new", "tsd_info", 1)])

    def test_the_log_is_written_back(self) -> None:
        """Registrations alone bring about a checkpoint, or the log would grow for ever."""
        self.reopen(checkpoint=1 << 20)
        for turn in range(6):
            self.register(*(want(f"{turn:016x}{place:016x}") for place in range(100)))
        moved = self.path.stat().st_size
        self.assertGreater(moved, 40_000)


class ReadTests(FilesCase):
    def setUp(self) -> None:
        super().setUp()
        self.register(want(A), want(B, table="wind", source="s2"))
        self.clock.advance(86_400)
        self.finish("tsd_info", 1, 5)
        self.finish("tsd_info", 2, 0, status1="03", status2="wrong")
        self.register(want(C), want(A[:31] + "0", id=8, into="tsd_7"), want(B, id=3, into="tsd_12"))
        self.finish("tsd_info", 3, 6)

    def test_tables(self) -> None:
        """By member, not by letters; hidden ones and those of users are none."""
        self.get(self.town.execute("create table tsd_things (a)"))
        self.get(self.town.execute("create view tsd_1 as select 1"))
        self.assertEqual(self.get(self.tsd.tables()), ["tsd_info", "tsd_7", "tsd_12"])

    def test_pending(self) -> None:
        found = self.get(self.tsd.pending())
        self.assertEqual([(into, entry.id) for into, entry in found], [("tsd_7", 8), ("tsd_12", 3)])

    def test_by_hash(self) -> None:
        """All of them, each with its table; unknown ones are left out."""
        found = self.get(self.tsd.by_hash([B, C, "e" * 32]))
        told = {hash[0]: [(into, entry.id) for into, entry in each] for hash, each in found.items()}
        self.assertEqual(told, {"b": [("tsd_info", 2), ("tsd_12", 3)], "c": [("tsd_info", 3)]})

    def test_sums_and_lines(self) -> None:
        """Only files with rows count; pages go on behind an id."""
        self.assertEqual(self.get(self.tsd.sums("tsd_info", "town")), {"weather": (2, 11, 14)})
        self.assertEqual(self.get(self.tsd.sums("tsd_info", "village")), {})
        self.assertEqual(self.get(self.tsd.sums("tsd_9", "town")), {})
        pages = [self.get(self.tsd.lines("tsd_info", "town", "weather", after, 1)) for after in (0, 1, 3)]
        self.assertEqual([[entry.id for entry in page] for page in pages], [[1], [3], []])
        self.assertEqual(self.get(self.tsd.lines("tsd_9", "town", "weather", 0, 1)), [])

    def test_sums_of_large_ids(self) -> None:
        """Ids that are times in milliseconds, and larger: the sum of them stays within what the engine can hold."""
        large = [FOREIGN_IDS - number for number in range(1, 5)]
        self.register(*[want(f"{id:032}", id=id, into="tsd_9") for id in large])
        for id in large:
            self.finish("tsd_9", id, 1)
        (known,) = self.get(self.tsd.sums("tsd_9", "town")).values()
        self.finish("tsd_9", large[0], 0, status1="03")
        self.register(want("f" * 32, id=large[0] - 100, into="tsd_9"))
        self.finish("tsd_9", large[0] - 100, 1)
        (other,) = self.get(self.tsd.sums("tsd_9", "town")).values()
        self.assertEqual(known[:2], other[:2])
        self.assertNotEqual(known, other)

    def test_entries(self) -> None:
        """Newest first, from a date on and before another; a hash overrides dates; failed ones; pages."""
        day = "2026-09-22 14:13:20.000000"
        for asked, options, expected in [
            (Asked(), {}, [3, 2, 1]),
            (Asked(start=day), {}, [3]),
            (Asked(end=day), {}, [2, 1]),
            (Asked(start=day, hash=A), {}, [1]),
            (Asked(failed=True), {}, [2]),
            (Asked(failed=True, start=day), {}, []),
            (Asked(), {"most": 2}, [3, 2]),
            (Asked(), {"most": 2, "before_id": 2}, [1]),
        ]:
            found = self.get(self.tsd.entries("tsd_info", asked, **options))
            self.assertEqual([entry.id for entry in found], expected, (asked, options))
        self.assertEqual(self.get(self.tsd.entries("tsd_9", Asked())), [])

    def test_summary(self) -> None:
        """A line for each table, with the first and last id and time, and numbers of different texts."""
        weather, wind = self.get(self.tsd.summary("tsd_info", Asked()))
        self.assertEqual(
            (weather.table, weather.first_id, weather.last_id, weather.files, weather.rows), ("weather", 1, 3, 2, 11)
        )
        self.assertEqual(
            (weather.first_time, weather.last_time), ("2026-09-21 14:13:20.000000", "2026-09-22 14:13:20.000000")
        )
        self.assertEqual((wind.sources, wind.status1, wind.status2, wind.rows), (1, 1, 1, 0))
        (later,) = self.get(self.tsd.summary("tsd_info", Asked(start="2026-09-22")))
        self.assertEqual((later.files, later.rows), (1, 6))

    def test_widths(self) -> None:
        found = self.get(self.tsd.widths("tsd_info", Asked()))
        self.assertEqual(found, [1, 4, 7, 2, 32, 1, 26, 1, 2, 5])
        self.assertEqual(self.get(self.tsd.widths("tsd_9", Asked())), [])


class ApswTests(FilesCase):
    """The same statements on the library that the tests of power cuts use."""

    def test_register_and_finish(self) -> None:
        def connect(path: str, readonly: bool) -> Any:
            return apsw.Connection(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)

        self.reopen(library=Library(connect, (apsw.Error,)))
        self.assertEqual(self.told(want(A), want(A)), [("new", "tsd_info", 1), ("pending", "tsd_info", 1)])
        self.finish("tsd_info", 1, 5, hash=B)
        self.assertEqual(self.get(self.tsd.note(B, "x", None)), 1)
        self.assertEqual(self.shown(), [(1, "bbbb", 5, "x")])


class WriteTests(TownCase):
    """`SQLite.write`: work of others in one transaction of the writer."""

    def test_all_or_nothing(self) -> None:
        """What is raised in the middle takes everything with it, a new table included."""

        def work(connection: Any) -> None:
            connection.execute("create table t (a)")
            connection.execute("insert into t values (1)")
            raise AnyLogError(40, "enough")

        self.assertEqual(str(self.refused(self.town.write(work))), "enough")
        self.assertEqual(self.ask("select name from sqlite_master where name = 't'"), [])
        self.assertIsNone(self.town.schema("t"))

    def test_tables_are_known_at_once(self) -> None:
        """What it made is known without waiting, and what it gives is given."""
        given = self.successResultOf(self.town.write(lambda c: c.execute("create table t (a integer)") and 7))
        self.assertEqual((given, list(self.town.schema("t") or ())), (7, ["a"]))

    def test_after_the_end(self) -> None:
        """A database that is closed says so."""
        self.successResultOf(self.town.close())
        self.assertEqual(self.refused(self.town.write(lambda c: None)).number, 10)


class InMemoryTests(FilesCase):
    def open(self, **options: Any) -> SQLite:
        return super().open(**{**options, "path": None})

    def test_it_works_there_too(self) -> None:
        self.register(want(A), want(B, id=4, into="tsd_7"))
        self.finish("tsd_info", 1, 5)
        self.assertEqual((self.shown(), self.get(self.tsd.last_id())), ([(1, "aaaa", 5, "")], 1))
