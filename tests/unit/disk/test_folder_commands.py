"""What lies in directories: names, sizes, days of the archive."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from desk import Desk
from twisted.internet.task import Clock

from anylog.disk.folders import SLICE
from anylog.language.context import Context
from anylog.network.replies import dump
from anylog.testing.lanes import ClockLane

HASH = "bd617b6ddb873750d9db561814297f23"
FULL = f"litsanleandro.ping_sensor.0.{HASH}.0.120.119.210404201021.json"


class Listings(Desk):
    def setUp(self) -> None:
        super().setUp()
        self.day = self.node.places.folder("archive_dir") / "21/04/04"
        self.day.mkdir(parents=True)

    def test_of_a_day(self) -> None:
        """As the manual writes it: the files of a day; links and pipes are none."""
        (self.day / FULL).write_bytes(b"12345")
        (self.day / "b.t.json.gz").write_bytes(b"1")
        (self.day / "sub").mkdir()
        (self.day / "link").symlink_to(self.day / FULL)
        os.mkfifo(self.day / "pipe")
        both = f"b.t.json.gz\r\n{FULL}"
        for command, expected in [
            ("get files !archive_dir/21/04/04", both),
            ("get files !archive_dir/21/04/04/", both),
            ("get archived files 2021-04-04", both),
            ("get archived files 2021-04-05", ""),
            ("get directories !archive_dir/21/04/04", "sub"),
            ("get directories !archive_dir/21", "04"),
            ("get files !archive_dir", ""),
            ("get files in !archive_dir/21/04/04 where type = json", both),
            ("get files in !archive_dir/21/04/04 where type = gz", "b.t.json.gz"),
            (f"get files in !archive_dir/21/04/04 where type = json and hash = {HASH}", FULL),
            (f"get files in !archive_dir/21/04/04 where hash = {HASH.upper()}", FULL),
            ("get files in !archive_dir/21/04/04 where type = sql", ""),
            ("get files in !archive_dir/21/04/04", both),
        ]:
            self.assertEqual(self.text(command), expected, command)
        result = self.ask("get files !archive_dir/21/04/04 where format = json")
        self.assertEqual((result.data, result.format), ([*both.split("\r\n")], "json"))
        self.ask("found = get files !archive_dir/21/04/04")
        self.assertEqual(self.node.dictionary.get("found"), both)

    def test_what_is_not_there(self) -> None:
        """Each refusal names what was asked."""
        (self.prep / "a").touch()
        for command, number in [
            ("get files !prep_dir/none", 12),
            ("get files !prep_dir/a", 12),
            ("get size !prep_dir/none", 12),
            ("get archived files yesterday", 175),
            ("get archived files 2021-02-30", 175),
            ("get archived files 21-04-04", 175),
            ("get size !archive_dir 2021", 175),
            ("get file timestamp !prep_dir/none", 12),
            ("get access !prep_dir/none", 12),
            ("get files", 2),
        ]:
            found, said = self.refused(command)
            self.assertEqual(found, number, (command, said))
        self.assertIn("none", self.refused("get files !prep_dir/none")[1])

    def test_sizes(self) -> None:
        """A directory with all below it, then those in it; links are not counted."""
        (self.day / "a").write_bytes(b"12345")
        (self.day / "sub").mkdir()
        (self.day / "sub" / "b").write_bytes(b"1" * 2000)
        (self.day / "sub" / "link").symlink_to(self.prep)
        data = self.ask("get size !archive_dir 2021-04-04").data
        self.assertEqual(
            data,
            [
                {"Directory": str(self.day), "Files": 2, "Size": 2005},
                {"Directory": "sub", "Files": 1, "Size": 2000},
            ],
        )
        self.assertEqual([row["Size"] for row in self.ask("get size !archive_dir").data], [2005, 2005])
        lines = self.text("get size !archive_dir/21/04/04").split("\r\n")
        self.assertEqual(lines[1].split(), ["Directory", "Files", "Size(Bytes)"])
        self.assertEqual(lines[4].replace(" ", ""), "sub|1|2,000|")

    def test_archive_elsewhere(self) -> None:
        """Where a script has put the archive, there it is looked for."""
        (self.outside / "21/04/04").mkdir(parents=True)
        (self.outside / "21/04/04/x.json").touch()
        self.ask(f'archive_dir = "{self.outside}"')
        self.assertEqual(self.text("get archived files 2021-04-04"), "x.json")
        self.assertEqual(self.text("get files !archive_dir/21/04/04", local=False), "x.json")

    def test_many(self) -> None:
        """A large directory is listed in slices and answered in pages, in order."""
        names = [f"f{number:05}" for number in range(3 * SLICE + 10)]
        for name in reversed(names):
            (self.prep / name).touch()
        pages = self.pages(self.ask("get files !prep_dir"))
        self.assertEqual((b"".join(pages).decode().split(), len(pages)), (names, 4))
        clock = Clock()
        self.node.lanes._lanes["files"] = lane = ClockLane(clock, 1.0)  # type: ignore[attr-defined]
        waited = self.node.execute("get size !prep_dir", Context(origin="console"))
        clock.advance(1)
        self.assertEqual((lane.depth, waited.called), (1, False))  # others may use the lane now
        clock.pump([1] * 10)
        self.assertEqual(self.successResultOf(waited).data[0]["Files"], len(names))

    def test_days_that_others_may_miss(self) -> None:
        """They stay, and that is said, unless it is known that all have them, or forced."""
        archive = self.node.places.folder("archive_dir")
        for day in ("26/08/31", "26/09/01"):
            (archive / day).mkdir(parents=True)
            (archive / day / "a.json").write_bytes(b"12345")
        number, text = self.refused("delete archive where days = 1")
        self.assertEqual(number, 2)
        self.assertRegex(text, "3 days are kept: other members may miss their files")
        self.assertEqual(len(list(archive.rglob("a.json"))), 2)

        async def copied(copying: object, days: Sequence[date], root: Path) -> set[date]:
            self.assertEqual(root, archive)
            return set(days[:2])

        self.patch(type(self.node.copying), "copied", copied)
        self.assertEqual(self.ask("delete archive where days = 1").data, {"days": 2, "files": 1, "bytes": 5, "kept": 1})
        self.assertTrue((archive / "26/09/01/a.json").exists())
        self.assertEqual(self.ask("delete archive where days = 1 and force = true").data["days"], 1)

    def test_old_days(self) -> None:
        """Days older than asked go, with the months and years that are empty then; nothing else is touched."""
        archive = self.node.places.folder("archive_dir")
        today = "26/09/21"  # by the clock of the node
        for day in ("21/04/04", "26/08/31", "26/09/19", "26/09/20", today, "26/13/01", "notes/01/01", "20/1/01"):
            (archive / day).mkdir(parents=True, exist_ok=True)
            (archive / day / "a.json").write_bytes(b"12345")
        (archive / "26/09/19/sub").mkdir()
        (archive / "26/09/18").symlink_to(self.prep)
        (archive / "19").symlink_to(self.outside)
        (self.outside / "01/01").mkdir(parents=True)
        for folder in (self.prep, self.outside / "01/01"):
            (folder / "kept").touch()
        (archive / "21/04/04/link").symlink_to(self.prep / "kept")
        self.assertEqual(self.refused("delete archive where days = 1", local=False)[0], 212)
        self.assertEqual(self.refused("delete archive")[0], 2)
        self.assertEqual(self.refused("delete archive where days = 2")[0], 2)  # no operator runs: who is there to ask?

        async def alone(copying: object, days: Sequence[date], root: Path) -> set[date]:
            return set(days)

        self.patch(type(self.node.copying), "copied", alone)
        self.assertEqual(self.text("delete archive where days = 2"), "Days: 2, files: 2, bytes: 10")
        self.assertEqual(self.ask("delete archive where days = 1").data, {"days": 1, "files": 1, "bytes": 5})
        self.assertEqual(self.ask("delete archive where days = 0").data["files"], 1)
        left = sorted(str(path.relative_to(archive)) for path in archive.rglob("a.json"))
        self.assertEqual(left, ["20/1/01/a.json", f"{today}/a.json", "26/13/01/a.json", "notes/01/01/a.json"])
        self.assertFalse((archive / "21").exists())
        self.assertTrue((archive / "26/09/19/sub").exists())
        self.assertEqual((self.names(self.prep), self.names(self.outside / "01/01")), (["kept"], ["kept"]))

    def test_structure(self) -> None:
        """Under all the names it is asked by."""
        for command in ("get json file structure", "get json file struct", "show json file structure"):
            self.assertTrue(self.text(command).startswith("[dbms name].[table name].[data source]."), command)
            self.assertEqual(self.text(command).count("["), 8)

    def test_odd_names(self) -> None:
        """A name that is no UTF-8, or holds a line end, does not break a listing, nor its JSON."""
        for name in (b"odd\xff", b"two\r\nlines"):
            Path(os.fsdecode(os.fsencode(self.prep) + b"/" + name)).touch()
        found = self.ask("get files !prep_dir")
        self.assertEqual((found.text, dump(found.data).count(b"odd")), ("odd\ufffd\r\ntwo\ufffd\ufffdlines", 1))
        (self.prep / "two\r\nlines").unlink()
        Path(os.fsdecode(os.fsencode(self.prep) + b"/sub\xff")).mkdir()
        self.assertEqual(self.ask("get size !prep_dir").data[1]["Directory"], "sub\ufffd")
