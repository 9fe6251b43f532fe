"""Words that change the tables of files, or the name of a file: what they do, and what they refuse."""

from __future__ import annotations

import gzip
import hashlib

from files_desk import CREATE, NAME, A, B, C, D, FilesDesk

from anylog.databases.tsd import Entry


class Changing(FilesDesk):
    def test_new(self) -> None:
        """The name says all but id and time, which are the next and now; a status may be given."""
        self.assertEqual(self.text(f"time file new {NAME}"), "1")
        self.assertEqual(self.text(f'time file new !prep_dir/town.air.s1.{B}.m1.json.gz 03 "no such column"'), "2")
        time = "2026-09-21 14:13:20.000000"
        self.assertEqual(self.entry(2), Entry(
            id=2, dbms="town", table="air", source="s1", hash=B, instructions="m1", time=time, rows=0, status1="03",
            status2="no such column",
        ))  # fmt: skip
        self.assertEqual(self.ask(f"time file new town.weather.0.{C}.0.json").data, 3)

    def test_new_by_full_name(self) -> None:
        """A full name has its id, its time and its table; `into` says otherwise."""
        full = "town.weather.0.{}.0.{}.{}.260401102030.json"
        self.assertEqual(self.refused("time file new " + full.format(A, 9, 5))[0], 40)
        self.become_member()
        for command, into, id in [
            (full.format(A, 7, 5), "tsd_info", 5),
            (full.format(B, 9, 5), "tsd_9", 5),
            (full.format(C, 9, 6) + " 01 lost into tsd_8 44", "tsd_8", 44),
            (full.format(D, 9, 7) + " into tsd_7 99", "tsd_info", 99),
        ]:
            self.assertEqual(self.text(f"time file new {command}"), str(id))
            found = self.entry(id, into)
            assert found is not None
            self.assertEqual(found.time, "2026-04-01 10:20:30.000000")

    def test_known_before(self) -> None:
        """A content has one entry, and an id one content."""
        self.register(A, rows=5)
        self.register(B)
        for command, told in [
            (f"time file new {NAME}", f"{A} is loaded in town.weather already, as tsd_info 1"),
            (f"time file new town.weather.0.{B}.0.json", f"{B} is registered for town.weather already, as tsd_info 2"),
            (f"time file new {NAME.replace(A, C)} into tsd_info 1", f"TSD id conflict: tsd_info 1 is the file {A}"),
        ]:
            self.assertEqual(self.refused(command)[0], 86)
            self.assertIn(told, self.refused(command)[1])
        self.assertEqual(self.ids(), [2, 1])

    def test_what_was_not_loaded_stays(self) -> None:
        """An entry that says so does not give way to what is registered by hand, whatever database that names."""
        self.register(A, status1="03", status2="no such column")
        for command in (f"time file new {NAME}", f"time file new other.weather.0.{A}.0.json"):
            number, why = self.refused(command)
            self.assertEqual(number, 86)
            self.assertIn(f"{A} is registered for town.weather already, as tsd_info 1", why)
        found = self.entry(1)
        assert found is not None
        self.assertEqual((found.dbms, found.status2), ("town", "no such column"))

    def test_add(self) -> None:
        """As new, but the file must be there."""
        self.assertEqual(self.refused(f"time file add !prep_dir/{NAME}")[0], 12)
        (self.prep / NAME).write_bytes(b"{}")
        self.assertEqual(self.text(f"time file add !prep_dir/{NAME} 03"), "1")
        self.assertEqual(self.refused(f"time file add /etc/{NAME}")[0], 212)

    def test_update(self) -> None:
        """Status 1, and status 2 where it is given; other entries keep theirs."""
        self.register(A, status2="kept")
        self.register(B)
        self.ask(f"time file update {A.upper()} 03")
        self.assertEqual([(e.status1, e.status2) for e in map(self.entry, (1, 2)) if e], [("03", "kept"), ("", "")])
        self.ask(f'time file update {A} 01 "lost with its disk"')
        self.assertEqual([(e.status1, e.status2) for e in [self.entry(1)] if e], [("01", "lost with its disk")])

    def test_delete(self) -> None:
        """One entry of one table."""
        self.register(A)
        self.register(B)
        self.register(C, into="tsd_9", id=1)
        self.ask("time file delete 1 from tsd_9")
        self.assertEqual((self.ids(), self.entry(1, "tsd_9")), ([2, 1], None))
        self.ask("time file delete 1 from tsd_info")
        self.assertEqual(self.ids(), [2])

    def test_drop(self) -> None:
        """One or all; ids go on where they were when the table is made again."""
        self.register(A)
        self.register(B, into="tsd_9", id=1)
        self.ask("time file drop tsd_9")
        self.assertEqual(self.data("get tsd list"), ["tsd_info"])
        self.register(B, into="tsd_9", id=1)
        self.ask("time file drop all")
        self.assertEqual(self.data("get tsd list"), [])
        self.ask(CREATE)
        self.assertEqual(self.text(f"time file new {NAME}"), "2")

    def test_drop_table(self) -> None:
        """The general word does the same, and for a name that was typed alone."""
        self.register(A)
        self.register(B, into="tsd_9", id=1)
        self.assertEqual(self.refused("drop table * where dbms = almgm")[0], 29)
        self.assertEqual(self.refused("drop table tsd_33 where dbms = almgm")[0], 29)
        self.ask("drop table tsd_9 where dbms = almgm")
        self.assertEqual(self.data("get tsd list"), ["tsd_info"])
        self.ask("drop table TSD_INFO where dbms = almgm")
        self.assertEqual(self.data("get tsd list"), [])
        self.ask(CREATE)
        self.assertEqual(self.text(f"time file new {NAME}"), "2")

    def test_refused(self) -> None:
        """What is wrong is named, and nothing is changed."""
        self.register(D)
        for command, number, told in [
            ("time file new", 2, "file name"),
            ("time file new readings.txt", 119, "readings.txt"),
            ("time file new town.weather.json", 119, "no hash"),
            (f"time file new town.weather.0.{A[:31]}.0.json", 119, A[:31]),
            (f"time file new town.weather.0.{A}.0.300.1.260401102030.json", 119, "300"),
            (f"time file new {NAME} 01 lost again", 2, "again"),
            (f"time file new {NAME} into tsd_9", 2, "into"),
            (f"time file new {NAME} into weather 5", 28, "weather"),
            (f"time file new {NAME} into tsd_9 0", 40, "'0'"),
            (f"time file new {NAME} into tsd_9 -4", 40, "'-4'"),
            (f"time file new {NAME} into tsd_9 9223372036854775808", 40, "9223372036854775808"),
            (f"time file new {NAME} {'x' * 1001}", 40, "1000"),
            (f"time file new {NAME} 99", 40, "'99'"),
            (f"time file update {A} 99", 40, "'99'"),
            (f"time file new ../../{NAME}", 119, "without '..'"),
            (f"time file update {A}", 2, "status 1"),
            (f"time file update {A} 03", 29, A),
            ("time file update \"' or ''='\" 03", 175, "or"),
            ("time file delete 5 tsd_info", 2, "from"),
            ("time file delete 5 in tsd_info", 2, "'in'"),
            ("time file delete five from tsd_info", 40, "five"),
            ('time file delete "1 or 1=1" from tsd_info', 40, "1 or 1=1"),
            ("time file delete 1 from weather", 28, "weather"),
            ("time file delete 5 from tsd_info", 29, "5"),
            ("time file delete 1 from tsd_9", 29, "tsd_9"),
            ("time file drop weather", 28, "weather"),
            ("time file drop *", 28, "*"),
            ("time file drop tsd_9", 29, "tsd_9"),
            ("time file drop", 2, "table"),
        ]:
            got = self.refused(command)
            self.assertEqual((got[0], told in got[1]), (number, True), f"{command}: {got}")
        self.assertEqual((self.ids(), self.data("get tsd list")), ([1], ["tsd_info"]))

    def test_strangers(self) -> None:
        """Who asks from elsewhere reads, and changes nothing."""
        (self.prep / "a.json").write_bytes(b"{}")
        for command in (
            *(f"time file new {NAME}", f"time file update {A} 03", "time file drop all"),
            *("time file delete 1 from tsd_info", "time file rename !prep_dir/a.json to dbms = a and table = b"),
        ):
            self.assertEqual(self.refused(command, local=False)[0], 212)
        self.assertEqual(self.ask("get tsd list", local=False).data, ["tsd_info"])


class Renaming(FilesDesk):
    def names(self) -> list[str]:
        return sorted(path.name for path in self.prep.iterdir())

    def test_rename(self) -> None:
        """The hash is that of database, table and content, packed or not, unless it is given."""
        content = b'{"value": 1}\n'
        hash = hashlib.md5(b"town.weather" + content).hexdigest()
        for old, given, new in [
            ("a.json", "to dbms = town and table = weather", f"town.weather.0.{hash}.0.json"),
            ("a.json", "to dbms=town and table=weather", f"town.weather.0.{hash}.0.json"),
            ("a b.json", "to dbms = Town and table = weather and source = s1", f"town.weather.s1.{hash}.0.json"),
            ("a.json.gz", "to dbms = town and table = weather", f"town.weather.0.{hash}.0.json.gz"),
            ("town.weather.json", "", f"town.weather.0.{hash}.0.json"),
            ("town.weather.json", "to instructions = m1", f"town.weather.0.{hash}.m1.json"),
            ("town.air.json", "to table = weather", f"town.weather.0.{hash}.0.json"),
            (f"town.weather.s7.{A}.m1.9.5.260401102030.json", "", f"town.weather.0.{hash}.0.json"),
            ("a.json", f"to dbms = town and table = weather and hash = {A.upper()}", NAME),
            ("backup.table.2026_11_21_10_00_00.town.weather.json", "to dbms = town and table = weather",
             f"town.weather.0.{hash}.0.json"),
            ("a.sql", f"to dbms = town and table = weather and hash = {A}", f"town.weather.0.0.{A}.0.sql"),
        ]:  # fmt: skip
            (self.prep / old).write_bytes(gzip.compress(content) if old.endswith(".gz") else content)
            self.assertEqual(self.text(f'time file rename "!prep_dir/{old}" {given}'), new)
            self.assertEqual(self.names(), [new], old)
            (self.prep / new).unlink()

    def test_again(self) -> None:
        """A file that has its name already keeps it; one is never replaced by another."""
        (self.prep / "a.json").write_bytes(b"{}\n")
        name = self.text("time file rename !prep_dir/a.json to dbms = town and table = weather")
        self.assertEqual(self.text(f"time file rename !prep_dir/{name}"), name)
        (self.prep / "b.json").write_bytes(b"{}\n")
        number, told = self.refused("time file rename !prep_dir/b.json to dbms = town and table = weather")
        self.assertEqual((number, name in told), (86, True))
        self.assertEqual(self.names(), ["b.json", name])

    def test_power_cut(self) -> None:
        """Between the new name and the end of the old one both are there; doing it again ends it."""
        (self.prep / "a.json").write_bytes(b"{}\n")
        name = f"town.weather.0.{hashlib.md5(b'town.weather{}' + bytes([10])).hexdigest()}.0.json"
        (self.prep / name).hardlink_to(self.prep / "a.json")
        self.assertEqual(self.text("time file rename !prep_dir/a.json to dbms = town and table = weather"), name)
        self.assertEqual(self.names(), [name])

    def test_refused(self) -> None:
        """The file keeps its name, and what is wrong is named."""
        (self.prep / "a.json").write_bytes(b"{}\n")
        (self.prep / "a.txt").write_bytes(b"")
        (self.prep / "c.json.gz").write_bytes(b"no gzip")
        (self.prep / "link.json").symlink_to(self.prep / "a.json")
        both = "to dbms = town and table = weather"
        for command, number, told in [
            ("", 2, "path"),
            ("!prep_dir/a.json", 119, "a.json"),
            ("!prep_dir/a.json to dbms = town", 119, "a.json"),
            (f"!prep_dir/none.json {both}", 12, "none.json"),
            (f"!prep_dir/a.txt {both}", 119, "a.txt"),
            (f"!prep_dir/c.json.gz {both}", 63, "gzip"),
            (f"!prep_dir/link.json {both}", 40, "link"),
            (f"!prep_dir {both}", 119, "prep"),
            (f"/etc/hosts.json {both}", 212, "hosts"),
            (f"!prep_dir/a.json as {both}", 2, "'as'"),
            ("!prep_dir/a.json to", 2, "key = value"),
            ("!prep_dir/a.json to weather", 2, "weather"),
            ("!prep_dir/a.json to color = red", 2, "color"),
            (f"!prep_dir/a.json {both} and table = air", 2, "table"),
            (f"!prep_dir/a.json {both} and hash = 12", 119, "12"),
            (f"!prep_dir/a.json {both} and source = ../../x", 119, "../../x"),
            (f"!prep_dir/a.json {both} and source = a/b", 119, "a/b"),
            (f"!prep_dir/a.json {both} and source = a.b", 119, "a.b"),
        ]:
            got = self.refused(f"time file rename {command}")
            self.assertEqual((got[0], told in got[1]), (number, True), f"{command}: {got}")
        self.assertEqual(self.names(), ["a.json", "a.txt", "c.json.gz", "link.json"])
