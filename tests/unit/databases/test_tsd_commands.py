"""Words about the tables of files: what is shown of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

from files_desk import BEGIN, CREATE, DAY, NAME, A, B, C, D, FilesDesk
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.dates import stored_date
from anylog.databases.tsd import Wanted
from anylog.databases.tsd_commands import COMMANDS
from anylog.databases.tsd_lists import PAGE
from anylog.errors import AnyLogError


class Seeds(FilesDesk):
    def test_the_examples_of_the_manual(self) -> None:
        """As its chapter on tables of files writes them, with what they are to show."""
        archived = "bd617b6ddb873750d9db561814297f23"
        self.register(A, rows=5)
        self.register(B, rows=3)
        self.register(
            archived, dbms="litsanleandro", table="ping_sensor", into="tsd_159", id=119, status1="03",
            time="2026-09-20 20:10:21",
        )  # fmt: skip
        self.register(C, into="tsd_159", id=120, status1="03", time="2026-09-01 00:00:00")
        summary = self.text("time file summary where table = * and start_date = -10d")
        own, other, total = (summary.partition(title)[2] for title in ("tsd_info", "tsd_159", "Total all TSD Tables"))
        self.assertIn("town|weather|2026-09-21 14:13:20.000000|      1|2026-09-21 14:13:20.000000|    2|", own)
        self.assertIn("|          1|           1|       1|       1|         0|", other)
        self.assertEqual([line.split("|")[-3:] for line in total.split("\r\n")[3:5]], [
            ["          1", "         0", ""],
            ["          2", "         8", ""],
        ])  # fmt: skip
        errors = self.text("time file errors where table = tsd_159 and start_date = -10d")
        folder = self.node.places.folder("archive_dir") / "26/09/20"
        name = f"litsanleandro.ping_sensor.0.{archived}.0.159.119.260920201021.json"
        self.assertEqual(errors, f"\r\n\r\nInfo on TSD Table: tsd_159\r\n{folder}/{name}\r\n")

    def test_create_table(self) -> None:
        """It has all that is needed, and making it again changes nothing."""
        self.register(A, rows=5)
        self.ask("create table tsd_info where dbms=almgm")
        self.assertEqual(self.ids(), [1])
        columns = self.data("get columns where dbms = almgm and table = tsd_info and format = json")
        self.assertEqual(list(columns), list(self.data("time file get where format = json")["tsd_info"][0]))
        indexes = self.get(
            self.node.databases.get("almgm").execute(
                'select i."unique", c.name from pragma_index_list(?) i, pragma_index_info(i.name) c order by 2',
                ("tsd_info",),
            )
        )
        self.assertEqual(indexes, [(1, "file_hash"), (0, "file_time")])

    def test_examples_of_help(self) -> None:
        """Each example of each command does what it says where its files are there."""
        hash = "bd617b6ddb873750d9db561814297f23"
        self.become_member()
        for command in COMMANDS:
            for example in command.examples:
                self.ask(CREATE)
                self.ask("time file drop all")
                self.ask(CREATE)
                if command.words in ("time file update", "time file get", "time file errors"):
                    self.register(hash, id=16)
                if command.words in ("time file delete", "time file drop"):
                    self.register(hash, id=16)
                if "tsd_159" in example and "new" not in example:
                    self.register(A, into="tsd_159", id=210)
                for name in (f"town.weather.0.{hash}.0.json", "readings.json", "town.weather.json"):
                    (self.prep / name).write_bytes(b"{}\n")
                self.text(example)
                if command.words == "time file rename":
                    for path in self.prep.iterdir():
                        path.unlink()


class Asking(FilesDesk):
    def test_synonyms(self) -> None:
        """Each pair says the same."""
        self.register(A, rows=5)
        self.register(B, status1="03")
        for one, others in [
            ("time file tables", ["get tsd list"]),
            ("time file get", ["get tsd details", "time file query"]),
            ("time file summary", ["get tsd summary"]),
            ("time file errors", ["get tsd errors", "get tsd error", "time file error"]),
        ]:
            for other in others:
                self.assertEqual(self.text(one), self.text(other), other)
                self.assertEqual(self.data(f"{one} where format = json"), self.data(f"{other} where format = json"))

    def test_list(self) -> None:
        """tsd_info first, the others by member."""
        for member in (30, 4):
            self.register(str(member) * (32 // len(str(member))), into=f"tsd_{member}", id=1)
        self.assertEqual(self.text("get tsd list"), "\r\n\r\ntsd_info\r\ntsd_4\r\ntsd_30")
        self.assertEqual(self.data("get tsd list where format = json"), ["tsd_info", "tsd_4", "tsd_30"])

    def test_details(self) -> None:
        """The newest first, with their titles; a bar or a line end in a text does not break the lines."""
        self.register(A, rows=12, source="s|1")
        self.register(B, status1="03", status2="two\nlines")
        lines = self.text("time file get").split("\r\n")
        time = "2026-09-21 14:13:20.000000"
        self.assertEqual(lines[2:], [
            "Info on TSD Table: tsd_info",
            "ID DBMS Table   Source Hash                             Instructions Date                       Rows"
            " Status 1 Status 2  ",
            "--|----|-------|------|--------------------------------|------------|--------------------------|----|"
            "--------|---------|",
            f" 2|town|weather|     0|{B}|           0|{time}|   0|03      |two?lines|",
            f" 1|town|weather|s¦1   |{A}|           0|{time}|  12|        |         |",
            "",
        ])  # fmt: skip
        self.assertEqual(self.data("get tsd details where format = json"), {"tsd_info": [
            {"file_id": 2, "dbms_name": "town", "table_name": "weather", "source": "0", "file_hash": B,
             "instructions": "0", "file_time": time, "rows": 0, "status1": "03", "status2": "two\nlines"},
            {"file_id": 1, "dbms_name": "town", "table_name": "weather", "source": "s|1", "file_hash": A,
             "instructions": "0", "file_time": time, "rows": 12, "status1": "", "status2": ""},
        ]})  # fmt: skip

    def test_which(self) -> None:
        """By date, by hash whatever the dates, and so many; the first belongs to an interval, its end does not."""
        for place, hash in enumerate((A, B, C)):  # on three days in a row
            self.register(hash)
            self.clock.advance(DAY if place < 2 else 0)
        for options, expected in [
            ("", [3, 2, 1]),
            ("limit = 2 and ", [3, 2]),
            ("limit = 0 and ", [3, 2, 1]),
            ("limit = 5000 and ", [3, 2, 1]),
            ("start_date = -1d and ", [3, 2]),
            ('start_date = "-1" and ', [3, 2]),
            ("start_date = -86399s and ", [3]),
            ("start_date = 2026-09-22 14:13:20 and ", [3, 2]),
            ("start_date = 26-09-22 14:13:20 and ", [3, 2]),
            ("end_date = 2026-09-22 14:13:20 and ", [1]),
            ("start_date = 2026-09-22T00:00:00Z and end_date = 2026-09-23 and ", [2]),
            ("start_date = 2026-09-22 16:13:20+02:00 and ", [3, 2]),
            (f"hash = {A} and start_date = -1d and ", [1]),
            (f"hash = {A.upper()} and ", [1]),
            (f"hash = {D} and ", []),
        ]:
            self.assertEqual(self.ids(options), expected, options)

    def test_summary(self) -> None:
        """Different sources and texts are counted; the totals are those of all tables that were asked for."""
        self.register(A, rows=5, source="s1")
        self.register(B, rows=6, source="s2", status1="x")
        self.register(C, rows=7, table="air")
        self.register(D, rows=8, into="tsd_9", id=3)
        cells = [line.split("|") for line in self.text("time file summary").split("\r\n") if "town|weather" in line]
        self.assertEqual([[cell.strip() for cell in line[6:]] for line in cells], [
            ["2", "2", "1", "1", "11", ""],
            [],
        ])  # fmt: skip
        for table, weather in (("tsd_info", {"files": 2, "rows": 11}), ("*", {"files": 3, "rows": 19})):
            told = self.data(f"get tsd summary where table = {table} and format = json")
            self.assertEqual(told, {"town.air": {"files": 1, "rows": 7}, "town.weather": weather})
        self.assertEqual(self.data("time file summary where end_date = 2020-01-01 and format = json"), {})

    def test_errors(self) -> None:
        """Those that its member lost and those that failed; duplicates and what waits are none."""
        for hash, status in ((A, "01"), (B, "02"), (C, "03"), (D, "")):
            self.register(hash, status1=status)
        folder = self.node.places.folder("archive_dir") / "26/09/21"
        paths = [f"{folder}/town.weather.0.{hash}.0.0.{id}.260921141320.json" for hash, id in ((C, 3), (A, 1))]
        self.assertEqual(self.data("time file errors where format = json"), {"tsd_info": paths})
        self.assertEqual(self.text("time file errors where limit = 0"), self.text("time file errors"))
        self.node.dictionary.set("archive_dir", "/mnt/archive/")
        self.assertIn(f"/mnt/archive/26/09/21/{Path(paths[0]).name}\r\n", self.text("get tsd errors"))

    def test_info(self) -> None:
        """The local half: what is known here of each member."""
        self.register(A, rows=5)
        self.register(B)
        self.register(C, into="tsd_9", id=77, status1="01")
        at = "2026-09-21 14:13:20.000000"
        own = {"files": 2, "rows": 5, "not_loaded": 1, "errors": 0, "last_id": 2, "last_date": at}
        other = {"files": 1, "rows": 0, "not_loaded": 0, "errors": 1, "last_id": 77, "last_date": at}
        self.assertEqual(self.data("time file info where format = json"), {"tsd_info": own, "tsd_9": other})
        self.assertEqual(self.data("time file info tsd_9 where format = json"), {"tsd_9": other})
        self.assertIn("tsd_9|    1|   0|         0|     1|     77|", self.text("time file info tsd_9"))

    def test_many(self) -> None:
        """More than a page: all of them once, in pages, as text and as JSON, and no more than the limit."""
        wanted = [
            Wanted(dbms="town", table="weather", source="0", hash=f"{place:032x}", instructions="0")
            for place in range(2 * PAGE + 1)
        ]
        self.get(self.files.register(wanted))
        every = list(range(2 * PAGE + 1, 0, -1))
        self.assertEqual(self.ids("limit = 0 and "), every)
        self.assertEqual(self.ids(f"limit = {PAGE + 1} and "), every[: PAGE + 1])
        self.assertEqual(self.ids(f"limit = {2 * PAGE} and "), every[: 2 * PAGE])
        self.assertEqual(self.ids(), every[:100])
        pages = self.pages(self.ask("time file get where limit = 0"))
        self.assertEqual(len(pages), 4)  # the head, two whole ones and the rest
        self.assertEqual(len({len(line) for line in b"".join(pages).split(b"\r\n")[4:-1]}), 1)

    def test_of_a_member(self) -> None:
        """The own number means tsd_info; a member of whom nothing came is an answer, a stranger is none."""
        self.become_member()
        self.register(A, rows=5)
        self.register(B, status1="03")
        self.assertIn("Info on TSD Table: tsd_info (tsd_7)\r\n", self.text("get tsd details where table = tsd_7"))
        for limit in (5, 0):
            told = self.data(f"get tsd details where table = tsd_9 and limit = {limit} and format = json")
            self.assertEqual(told, {"tsd_9": []})
        self.assertEqual(self.data("time file summary where table = tsd_9 and format = json"), {})
        self.assertIn(f"town.weather.0.{B}.0.7.2.260921141320.json", self.text("time file errors"))
        self.assertEqual(self.refused("get tsd details where table = tsd_8")[0], 29)

    def test_refused(self) -> None:
        """What is wrong is named, and nothing that looks like SQL becomes any."""
        evil = "tsd_info; drop table tsd_info; --"
        for command, number, told in [
            ("time file", 1, "time file"),
            ("time file xyz", 1, "xyz"),
            ("get tsd foo", 1, "foo"),
            ("time file summary today", 2, "today"),
            ("time file summary where limit = 5", 2, "limit"),
            ("time file get where color = red", 2, "color"),
            ("time file get where table = weather", 28, "weather"),
            ("time file get where table = tsd_256", 28, "tsd_256"),
            ("time file get where table = tsd_007", 28, "tsd_007"),
            (f"time file get where table = '{evil}'", 28, "drop table"),
            ("time file get where table = tsd_33", 29, "tsd_33"),
            ("time file get where limit = -1", 175, "-1"),
            ("time file get where limit = many", 175, "many"),
            ("time file get where start_date = yesterday", 175, "yesterday"),
            ("time file get where start_date = 2026-02-30", 175, "2026-02-30"),
            ("time file get where start_date = -10x", 175, "-10x"),
            ("time file get where start_date = -999999999d", 175, "-999999999d"),
            ("time file get where start_date = +5d", 175, "+5d"),
            ("time file get where end_date = 26", 175, "26"),
            ("time file get where start_date = -1d and end_date = -2d", 40, "start_date = -1d"),
            ('time file get where hash = "\' or 1=1 --"', 175, "or 1=1"),
            ("time file get where format = xml", 175, "xml"),
            ("time file info weather", 28, "weather"),
            ("time file info tsd_33", 29, "tsd_33"),
            ("time file info tsd_1 tsd_2", 2, "tsd_2"),
        ]:
            got = self.refused(command)
            self.assertEqual((got[0], told in got[1]), (number, True), f"{command}: {got}")
        self.assertEqual(self.text("get tsd list"), "\r\n\r\ntsd_info")

    def test_without_the_database(self) -> None:
        """What is missing is named, and how it is made."""
        self.ask("time file drop all")
        for command in ("time file get", "time file summary", f"time file new {NAME}"):
            number, told = self.refused(command)
            self.assertEqual((number, "create table tsd_info" in told), (29, True), told)
        self.assertEqual(self.refused("time file get where table = *")[0], 29)
        self.assertEqual(self.refused("time file drop all")[0], 29)
        self.assertEqual(self.text("get tsd list"), "\r\n")
        self.ask("disconnect dbms almgm")
        for command in (
            "get tsd list",
            "time file get",
            f"time file new {NAME}",
            "time file drop all",
            "time file info",
        ):
            number, told = self.refused(command)
            self.assertEqual((number, "almgm" in told), (5, True), told)


class Dates(SynchronousTestCase):
    def test_forms(self) -> None:
        """Fixed ones and so long ago, in UTC."""
        for text, expected in [
            ("2026-09-21", "2026-09-21 00:00:00.000000"),
            ("26-09-21", "2026-09-21 00:00:00.000000"),
            ("26-09-21 01:02:03", "2026-09-21 01:02:03.000000"),
            ("2026-09-21 01:02", "2026-09-21 01:02:00.000000"),
            ("2026-09-21T01:02:03.1234567Z", "2026-09-21 01:02:03.123456"),
            ("2026-09-21 01:02:03-0130", "2026-09-21 02:32:03.000000"),
            ("now", "2026-09-21 14:13:20.000000"),
            ("-0", "2026-09-21 14:13:20.000000"),
            ("-1", "2026-09-20 14:13:20.000000"),
            ("-1d", "2026-09-20 14:13:20.000000"),
            ("-2 Hours", "2026-09-21 12:13:20.000000"),
            ("-3m", "2026-09-21 14:10:20.000000"),
            ("-20s", "2026-09-21 14:13:00.000000"),
            ("-1w", "2026-09-14 14:13:20.000000"),
        ]:
            self.assertEqual(stored_date("start_date", text, BEGIN), expected, text)

    def test_wrong(self) -> None:
        """Anything else is refused with the key and the text."""
        for text in ("", "-", "5d", "-5 fortnights", "2026-13-01", "2026-09-21 25:00", "٢٠٢٦-09-21", "x" * 99):
            error = self.assertRaises(AnyLogError, stored_date, "end_date", text, BEGIN)
            self.assertEqual(error.number, 175)
            self.assertIn(f"'{text[:60]}' is not a value for 'end_date'", str(error))
