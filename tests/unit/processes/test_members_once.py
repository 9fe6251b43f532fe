"""Files of other members, and own ones that come back: each content is loaded once, whatever comes first and wherever
the node is ended (hard-parts.md 2 and 3, operator-ha.md 9)."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import test_intake_restarts
from attrs import frozen
from test_intake_restarts import MEMBER, RestartCase
from twisted.internet.defer import Deferred, succeed

from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.language.logs import Logs
from anylog.mapping.body import content_hash, normal_form
from anylog.processes.files import Limits
from anylog.processes.filing import streamed_hash
from anylog.processes.record import Seen
from anylog.processes.watch import Watch, WatchOptions

WATCH, ERRORS = Path("/watch"), Path("/error")
DATE = "261121100000"
DAY = Path("/archive/26/11/21")


@frozen
class Given:
    """A file as a member gives it: its content by a letter; without a member under a short name."""

    letter: str
    member: int = 0
    id: int = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        first = ord(self.letter) * 10
        return [{"timestamp": "2026-11-21T10:00:00Z", "v": v, "value": v / 2} for v in range(first, first + 3)]

    @property
    def data(self) -> bytes:
        return normal_form(self.rows)

    @property
    def hash(self) -> str:
        return content_hash("town", "t", self.data)

    @property
    def name(self) -> str:
        given = {"member": str(self.member), "id": self.id, "date": DATE} if self.id else {"source": f"s{self.letter}"}
        return str(FileName(dbms="town", table="t", hash=self.hash, **given))  # type: ignore[arg-type]

    @property
    def into(self) -> str:
        return "tsd_info" if self.member in (0, MEMBER) else f"tsd_{self.member}"


def whole(member: int, id: int, letter: str = "a") -> Given:
    return Given(letter, member, id)


class MembersCase(RestartCase):
    """This node is member 7 of a cluster of 2, 3 and 7, and watches a directory."""

    watch: Watch | None = None
    member = MEMBER

    def begin(self, operates: bool = True, town: bool = True) -> None:
        super().begin(operates, town)
        assert self.catalog is not None
        self.logs = Logs(self.clock)
        limits = Limits(connected=self.catalog.get, members=lambda: {2, 3, MEMBER})
        self.watch = Watch(
            clock=self.clock, disk=self.disk, lanes=self.intake._lanes, files=self.intake, member=lambda: self.member,
            logs=self.logs, seen=Seen(), floor=0, poison=self.intake.registry.fail,
            options=WatchOptions(
                folder=WATCH, err_dir=ERRORS, kinds=("json", "sql", "gz"), threads=2, limits=limits
            ),
        )  # fmt: skip
        self.looking = self.watch.start()
        self.looking.addErrback(lambda failure: failure.trap(AnyLogError))

    def kill(self, power: Any = None) -> None:
        super().kill(power)
        self.watch = None

    def give(self, *files: Given) -> None:
        for file in files:
            self.disk.put(WATCH / file.name, file.data)

    def settle(self, seconds: float = 40) -> None:
        """Until nothing lies in the watch directory and nothing is in work."""
        for _ in range(int(seconds * 4)):
            self.clock.pump([0.01] * 25)
            if not self.disk.names(WATCH) and not self.intake._buffers and not self.intake.filing.depth:
                break
        self.assertEqual(self.disk.names(WATCH), [], [e.text for e in self.logs.event.find([])][-5:])
        self.rest()

    def entries(self) -> dict[tuple[str, int], tuple[int, str, str, str]]:
        """(table, id) -> rows, status 1, status 2, hash."""
        found = {}
        tables = self.ask(
            "select name from sqlite_master where type = 'table' and name glob 'tsd_*' order by 1", "almgm"
        )
        for (table,) in tables:
            rows = self.ask(f'select file_id, coalesce("rows", 0), status1, status2, file_hash from {table}', "almgm")
            found.update({(table, row[0]): (row[1], row[2] or "", row[3] or "", row[4]) for row in rows})
        return found

    def states(self) -> dict[tuple[str, int], str]:
        """(table, id) -> "3" rows, or the status and what it names."""
        return {
            key: str(rows) if rows else f"{status1} {status2}".strip()
            for key, (rows, status1, status2, _) in self.entries().items()
        }

    def tagged(self) -> Counter[tuple[str, int]]:
        schema = self.catalog.get("town").schema("t")  # type: ignore[union-attr, attr-defined]
        found = self.ask("select tsd_name, tsd_id, count(*) from t group by 1, 2") if schema is not None else []
        return Counter({(row[0], row[1]): row[2] for row in found})

    def check_laws(self, why: object, given: tuple[Given, ...]) -> None:
        """I-4, I-5, I-7: each content once, each entry with its rows, its file, and whoever holds its content."""
        entries, tagged = self.entries(), self.tagged()
        loaded = {key: rows for key, (rows, *_) in entries.items() if rows}
        names = {(str(MEMBER) if into == "tsd_info" else into[4:], id): n for (into, id), n in loaded.items()}
        self.assertEqual(dict(tagged), names, why)
        marks = self.ask("select member, tsd_id, rows from anylog_marks")
        self.assertEqual({(str(m), i): n for m, i, n in marks}, names, why)
        by_hash = Counter(entries[key][3] for key in loaded)
        self.assertEqual(dict.fromkeys({file.hash for file in given}, 1), dict(by_hash), why)
        holder = {entries[key][3]: f"{key[0]} {key[1]}" for key in loaded}
        for key, (rows, status1, status2, hash) in entries.items():
            self.assertTrue(rows or (status1, status2) == ("02", holder[hash]), (why, key, status1, status2))
        for file in given:
            if file.id:
                self.assertIn((file.into, file.id), entries, why)
        archived = sorted(
            (each.member, each.id) for path in self.disk._files if path.startswith("/archive/")
            for each in [FileName.parse(Path(path).name)]
        )  # fmt: skip
        wanted = sorted((str(MEMBER) if into == "tsd_info" else into[4:], id) for into, id in entries)
        self.assertEqual(archived, wanted, why)


class OnceTests(MembersCase):
    def test_two_of_one_content(self) -> None:
        """Of every pair of origins, in both orders, one after the other and together: one is loaded, the other says
        which; a new own file whose content is here is a duplicate."""
        origins = [whole(2, 40), whole(3, 41), whole(2, 42), whole(MEMBER, 43), Given("a")]
        for first, second in permutations(origins, 2):
            for together in (False, True):
                self.kill()
                self.setUp()
                self.begin()
                case = (first, second, together)
                self.give(first)
                if not together:
                    self.settle()
                self.give(second)
                self.settle()
                one = {first.member, second.member} == {0, MEMBER}  # the own table has one entry for a content
                self.check_laws(case, (Given("a"),) if one else (first, second))
                failed = self.disk.names(ERRORS)
                if first.id and second.id:
                    self.assertEqual(failed, [], case)
                    self.assertEqual(len(self.states()), 2, case)
                elif not second.id and not together:
                    self.assertEqual([".err_86." in name for name in failed], [True], case)

    def test_ended_anywhere(self) -> None:
        """Two of one content and one of another, ended after each few milliseconds of their way, twice."""
        given = (whole(2, 40), whole(3, 41), whole(3, 42, "b"))
        for moment in range(0, 620, 9):
            self.kill()
            self.setUp()
            self.begin()
            self.give(*given)
            for pause in (moment, 300):
                self.clock.pump([0.001] * pause)
                self.kill()
                self.begin()
            self.settle()
            self.check_laws(f"ended after {moment} ms", given)
            self.assertEqual(self.disk.names(ERRORS), [])

    def test_delivered_again(self) -> None:
        """What is loaded, or known as a double, is dropped without a word."""
        self.begin()
        given = (whole(2, 40), whole(3, 41), whole(MEMBER, 43, "b"))
        self.give(*given)
        self.settle()
        before = self.states()
        for _ in range(2):
            self.give(*given)
            self.settle()
            self.assertEqual(self.states(), before)
            self.check_laws("again", given)
        self.assertEqual(self.disk.names(ERRORS), [])

    def test_rows_are_those_of_their_owner(self) -> None:
        """Name and id of the owner; what has no time gets the one of the file's name, not of this clock; a file cut
        from a stream is known by its own hash."""
        self.begin()
        rows = [{"v": 1}, {"v": 2, "timestamp": "2026-11-20T08:00:00Z"}]
        data = normal_form(rows)
        hash = streamed_hash("town.t.2.40", data)
        name = FileName(dbms="town", table="t", hash=hash, member="2", id=40, date=DATE)
        self.give(whole(3, 40))  # the same id of another member, and the time column
        self.settle()
        self.disk.put(WATCH / str(name), data)
        self.settle()
        found = self.ask("select v, timestamp from t where tsd_name = '2' and tsd_id = 40 order by row_id")
        self.assertEqual([row[1][:19] for row in found], ["2026-11-21 10:00:00", "2026-11-20 08:00:00"])
        self.assertEqual(self.states(), {("tsd_3", 40): "3", ("tsd_2", 40): "2"})
        self.assertIn(str(name) + ".gz", self.disk.names(DAY))

    def test_misfits_are_parked_alike(self) -> None:
        """A whole file keeps its misfits aside here as at its owner; rows and parked are counted."""
        self.begin()
        self.give(whole(2, 40, "b"))
        self.settle()
        rows = [*Given("a").rows, {"timestamp": "2026-11-21T10:00:00Z", "v": 5, "value": "many"}]
        data = normal_form(rows)
        name = FileName(
            dbms="town", table="t", hash=content_hash("town", "t", data), member="3", id=9, date=DATE
        )  # fmt: skip
        self.disk.put(WATCH / str(name), data)
        self.settle()
        self.assertEqual(self.states()["tsd_3", 9], "3")
        self.assertEqual(self.ask("select rows, parked from anylog_marks where member = 3"), [(3, 1)])
        self.assertEqual(len(self.ask("select * from anylog_parked")), 1)

    def test_noticed_by_the_mark_alone(self) -> None:
        """The tables of files know nothing of it: the unique mark refuses, and says who holds the content."""
        self.begin()
        given = (whole(2, 40), whole(3, 41), whole(MEMBER, 43))
        self.give(given[0])
        self.settle()
        self.wait(self.intake.registry.tsd.forget([("tsd_2", 40)]))
        self.give(*given[1:])
        self.settle()
        self.assertEqual(self.states(), {("tsd_3", 41): "02 tsd_2 40", ("tsd_info", 43): "02 tsd_2 40"})
        self.assertEqual((self.tagged(), self.disk.names(ERRORS)), (Counter({("2", 40): 3}), []))
        self.give(given[0])  # found existing
        self.settle()
        self.check_laws("again", given)

    def test_the_same_rows_as_at_the_owner(self) -> None:
        """Whatever came there, streamed or whole, without times, with new columns and misfits: the files that were
        archived there make the same rows here, in any order."""
        self.begin()
        for table in ("t", "u"):
            self.put(2, table)
        self.rest()
        for kind in ("", "timeless", "column", "misfit"):
            for table, whole_one in (("t", True), ("u", False)):
                self.put(4, table, kind, whole=whole_one)
                self.clock.advance(3)
            self.rest()
        question = "select v, value, timestamp, tsd_name, tsd_id, {} from {} order by v"
        columns = {
            table: ", ".join(sorted(c for c in self.catalog.get("town").schema(table) if c[0] == "c"))  # type: ignore
            for table in ("t", "u")
        }
        before = {table: self.ask(question.format(columns[table], table)) for table in columns}
        files = {Path(path).name: bytes(kept.data) for path, kept in self.disk._files.items() if "/archive/" in path}
        self.assertEqual(len(files), 10)
        first = sorted(files, key=lambda name: int(name.split(".")[6]))
        for order in (first, first[:2] + first[:1:-1]):  # the tables are made of the first, as the ledger would say
            self.kill()
            self.setUp()
            self.member = 2
            self.begin()
            for name in order:
                self.disk.put(WATCH / name, files[name])
                self.settle()
            self.assertEqual(self.disk.names(ERRORS), [])
            self.assertEqual({t: self.ask(question.format(columns[t], t)) for t in columns}, before)
            self.assertEqual({into for into, _ in self.states()}, {f"tsd_{MEMBER}"})

    def test_the_ledger_is_asked(self) -> None:
        """An attribute that the table here lacks is asked for before anything is decided, and has the type it says."""
        asked: list[tuple[dict[str, str], Deferred[Any]]] = []
        columns = {"timestamp": "TIMESTAMP", "v": "INT", "value": "FLOAT"}

        def agree(dbms: str, table: str, wanted: Any) -> Deferred[Any]:
            if wanted.keys() <= columns.keys():
                return succeed(dict(columns))
            asked.append((dict(wanted), told := Deferred()))
            return told

        self.patch(test_intake_restarts, "agree", agree)
        self.begin()
        self.give(whole(2, 40))
        self.settle()
        data = normal_form([{"timestamp": "2026-11-21T10:00:00Z", "v": 1, "extra": 3}])
        hash = content_hash("town", "t", data)
        name = str(FileName(dbms="town", table="t", hash=hash, member="3", id=1, date=DATE))
        self.disk.put(WATCH / name, data)
        self.clock.pump([0.01] * 300)
        self.assertEqual([wanted for wanted, _ in asked], [{"extra": "INT"}])
        self.assertEqual((self.disk.names(WATCH), self.states().get(("tsd_3", 1), "")), ([name], ""))
        columns["extra"] = "FLOAT"
        asked[0][1].callback(dict(columns))
        self.settle()
        self.assertEqual(self.ask("select extra, typeof(extra) from t where tsd_name = '3'"), [(3.0, "real")])


class TroubleTests(MembersCase):
    def test_conflict(self) -> None:
        """An id with two contents: nothing is overwritten, one copy is put aside however often it comes, it is kept
        in mind; also where only the mark knows the first."""
        for lost in (False, True):
            self.kill()
            self.setUp()
            self.begin()
            self.give(whole(2, 40))
            self.settle()
            if lost:
                self.wait(self.intake.registry.tsd.forget([("tsd_2", 40)]))
            for _ in range(3):
                self.give(whole(2, 40, "b"))
                self.settle()
            (name,) = self.disk.names(ERRORS)
            self.assertIn(".err_86.", name)
            self.assertEqual(self.states(), {} if lost else {("tsd_2", 40): "3"})
            self.assertEqual(self.tagged(), Counter({("2", 40): 3}))
            self.assertEqual(self.intake.registry.conflicted, 3)
            last = self.intake.registry.conflicts[-1]
            self.assertEqual((last.into, last.id, last.hash), ("tsd_2", 40, whole(2, 40).hash))

    def test_poison(self) -> None:
        """Damaged, or without a row that fits: an entry with its reason, one copy aside; what is behind goes on; and it
        may come again."""
        self.begin()
        self.give(whole(3, 1, "z"))
        self.settle()
        misfit = normal_form([{"timestamp": "2026-11-21T10:00:00Z", "v": 1, "value": "many"}])
        of_others = FileName(dbms="town", table="t", member="2", date=DATE)
        hash = content_hash("town", "t", misfit)
        poison = [(whole(2, 40).name, b'{"v":1'), (str(of_others.having(hash=hash, id=42)), misfit)]
        for _ in range(2):
            for name, data in poison:
                self.disk.put(WATCH / name, data)
            self.give(whole(2, 50, "b"))
            self.settle()
            found = self.entries()
            self.assertEqual([found["tsd_2", id][:2] for id in (40, 42)], [(0, "03")] * 2)
            self.assertTrue(all(found["tsd_2", id][2] for id in (40, 42)))
            self.assertEqual(found["tsd_2", 50][0], 3)
            self.assertEqual(len(self.disk.names(ERRORS)), 2)
        self.give(whole(2, 40))
        self.settle()
        self.assertEqual(self.states()["tsd_2", 40], "3")

    def test_damaged_copy_of_what_is_loaded(self) -> None:
        """It goes to the error directory and changes no entry."""
        self.begin()
        given = (whole(2, 40), whole(3, 41))
        self.give(*given)
        self.settle()
        for file in given:
            self.disk.put(WATCH / file.name, b"{")
        self.settle()
        self.check_laws("damaged", given)
        self.assertEqual(len(self.disk.names(ERRORS)), 2)

    def test_first_fails_second_is_loaded(self) -> None:
        """Two of one content at once, and the entry of the one that failed holds nothing back."""
        self.begin()
        self.disk.put(WATCH / whole(2, 40).name, b"{")
        self.give(whole(3, 41))
        self.settle()
        self.assertEqual(self.states()["tsd_3", 41], "3")
        self.give(whole(2, 40))
        self.settle()
        self.check_laws("both", (whole(2, 40), whole(3, 41)))


class AgreementTests(MembersCase):
    """Marks and entries are compared for the files of all members."""

    given = (whole(2, 40), whole(3, 41), whole(3, 42, "b"), whole(MEMBER, 43, "c"))

    def fill(self) -> dict[tuple[str, int], str]:
        self.begin()
        self.give(*self.given)
        self.settle()
        return self.states()

    def again(self) -> None:
        self.kill()
        self.begin()
        self.clock.pump([0.01] * 400)
        self.rest()

    def lose(self, name: str) -> None:
        self.kill()
        for path in self.places.folder("dbms_dir").glob(f"{name}.dbms*"):
            path.unlink()

    def test_users_database_lost(self) -> None:
        """All is loaded again from the archive, under the entries that it had."""
        before = self.fill()
        self.lose("town")
        self.again()
        self.assertEqual(self.states(), before)
        self.check_laws("lost", self.given)

    def test_almgm_lost(self) -> None:
        """What is loaded is registered again, and what the archive has beyond that."""
        before = self.fill()
        self.lose("almgm")
        self.again()
        self.assertEqual(self.states(), before)
        self.give(*self.given)
        self.settle()
        self.assertEqual(self.states(), before)
        self.check_laws("lost", self.given)

    def test_rows_of_the_table(self) -> None:
        """Each row of hard-parts.md 2.3, for the file of another member: what is changed, and what is there then."""
        loaded, mark = "update tsd_3 set rows = {} where file_id = 42", "delete from anylog_marks where tsd_id = 42"
        rows = "delete from t where tsd_name = '3' and tsd_id = 42"
        for name, almgm, town in [
            ("not counted", [loaded.format(0)], []),
            ("miscounted", [loaded.format(9)], []),
            ("mark lost", [], [rows, mark]),
            ("neither", [loaded.format(0)], [rows, mark]),
            ("entry lost", ["delete from tsd_3 where file_id = 42"], []),
            ("older entry", ["update tsd_3 set rows = 0, status1 = '03' where file_id = 42"], []),
        ]:
            self.kill()
            self.setUp()
            before = self.fill()
            for database, statements in (("almgm", almgm), ("town", town)):
                for statement in statements:
                    self.run_in(database, statement)
            self.again()
            self.assertEqual(self.states(), before, name)
            self.check_laws(name, self.given)

    def run_in(self, database: str, statement: str) -> None:
        assert self.catalog is not None
        kept: Any = self.catalog.get(database)
        self.wait(kept.write(lambda connection: connection.execute(statement)))

    def test_lost_and_in_no_archive(self) -> None:
        """It is missing, so that others are asked; what leans on it is loaded from its own file instead."""
        before = self.fill()
        (holder,) = [each for each in (whole(2, 40), whole(3, 41)) if before[each.into, each.id] == "3"]
        (leaning,) = {whole(2, 40), whole(3, 41)} - {holder}
        for both in (False, True):
            for file in (holder, leaning)[: 1 + both]:
                self.disk.forget(DAY / f"{file.name}.gz")
            self.lose("town")
            self.again()
            states = self.states()
            self.assertNotIn((holder.into, holder.id), states)
            self.assertEqual(states.get((leaning.into, leaning.id)), None if both else "3")
            if both:
                self.assertNotIn("02", "".join(states.values()))
        self.give(holder, leaning)
        self.settle()
        self.check_laws("fetched", self.given)

    def test_damaged_in_the_archive(self) -> None:
        """What is lost and damaged is missing, own or not; a good copy that comes takes its place."""
        before = self.fill()
        damaged = (whole(3, 42, "b"), whole(MEMBER, 43, "c"))
        for file in damaged:
            self.disk.put(DAY / f"{file.name}.gz", b"rotten")
        self.lose("town")
        self.kill()
        self.begin()
        told: list[dict[Any, str]] = []

        async def lacking(member: int) -> None:
            told.append(self.states())

        self.intake.recovery.lacking = lacking
        self.clock.pump([0.01] * 400)
        self.rest()
        states = self.states()
        self.assertEqual(told[-1], states)  # said, also after they were seen here for the last time
        self.assertNotIn(("tsd_3", 42), states)
        self.assertEqual(states["tsd_info", 43][:2], "01")
        self.assertEqual(len([name for name in self.disk.names(ERRORS) if ".err_6." in name]), 2)
        self.give(*damaged)
        self.settle()
        self.assertEqual(self.states(), before)
        self.check_laws("given again", self.given)

    def test_removed(self) -> None:
        """`time file delete` of what holds a content: what leans on it is missing, too; both may come again."""
        before = self.fill()
        (holder,) = [each for each in (whole(2, 40), whole(3, 41)) if before[each.into, each.id] == "3"]
        self.wait(self.intake.registry.tsd.remove([(holder.into, holder.id)]))
        self.assertEqual(len(self.states()), len(before) - 2)
        self.give(whole(2, 40), whole(3, 41))
        self.settle()
        self.assertEqual(self.states(), before)
        self.check_laws("removed", self.given)

    def test_nobody_comes_with_it(self) -> None:
        """Registered, and its file was taken away: after a while it is missing, and holds nothing back."""
        self.begin()
        given = whole(2, 40)
        self.give(given)
        self.settle()
        self.run_in("town", "delete from anylog_marks")
        self.run_in("town", "delete from t")
        self.run_in("almgm", "update tsd_2 set rows = 0")
        self.disk.forget(DAY / f"{given.name}.gz")
        self.again()
        self.assertEqual(self.states(), {("tsd_2", 40): ""})
        self.clock.advance(61)
        self.clock.pump([0.01] * 100)
        self.assertEqual(self.states(), {})
