"""What somebody may try with the file commands, by mistake or not: a clear refusal, and nothing is harmed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import SkipTest

from desk import Desk

from anylog.disk.confined import Use
from anylog.errors import AnyLogError
from anylog.language.context import Upload

SMALL = b'{"value": 5}'


class Names(Desk):
    def test_too_long(self) -> None:
        """A name or a path that no file system takes is refused by that number, as a source and as a target."""
        (self.prep / "a").write_bytes(SMALL)
        self.ask(f"file copy !prep_dir/a !tmp_dir/{'x' * 255}")
        for command in (
            f"file copy !prep_dir/a !tmp_dir/{'x' * 256}",
            f"file copy !prep_dir/* !tmp_dir/{'x' * 256}",
            f"file move !prep_dir/a !tmp_dir/{'x' * 256}",
            f"file to !tmp_dir/{'x' * 256} where source = !prep_dir/a",
            f"file hash !tmp_dir/{'x' * 256}",
            f"file delete !tmp_dir/{'x' * 256}",
            f"file compress !tmp_dir/{'x' * 255}",
            f"get files !tmp_dir/{'x' * 256}",
        ):
            self.assertEqual(self.refused(command)[0], 119, command)
        self.assertEqual(self.refused("file to !tmp_dir/", upload=self.sent("x" * 256, SMALL))[0], 119)
        self.assertEqual((self.names(self.tmp), self.names(self.prep)), (["x" * 255], ["a"]))

    def test_no_text(self) -> None:
        """What no file system can be told is no path."""
        for text in ("a\ud800b", "a\0b"):
            with self.assertRaises(AnyLogError) as refused:
                self.node.file_access.confines(local=True).existing(text, Use.LOOK)
            self.assertEqual(refused.exception.number, 119, text)

    def test_any_name(self) -> None:
        """Files that somebody else has put there may be called as they like; patterns reach them all."""
        names = [
            b"-rf",
            b"a&b",
            b"qu'ote",
            b'"',
            b"st*r",
            b"!x",
            b" ",
            b"\xff\xfe",
            b"new\nline",
            b"\xe6\x97\xa5",
            b"$(x)",
        ]
        for name in names:
            Path(os.fsdecode(bytes(self.prep) + b"/" + name)).write_bytes(SMALL)
        self.assertEqual(len(self.text("get files !prep_dir").split("\r\n")), len(names))
        self.assertEqual(self.text("file copy !prep_dir/* !tmp_dir/"), f"{len(names)} files copied")
        self.assertEqual(sorted(map(os.fsencode, self.names(self.tmp))), sorted(names))
        self.assertEqual(self.text("file compress !prep_dir/*"), f"{len(names)} files compressed")
        self.assertEqual(self.text("file delete !prep_dir/*"), f"{2 * len(names)} files deleted")
        self.assertEqual(self.names(self.prep), [])

    def test_names_that_nobody_could_say(self) -> None:
        """A target is never called so that a command could not name it: it could only be deleted with all others."""
        (self.prep / "a").write_bytes(SMALL)
        for command in ("file copy !prep_dir/a !tmp_dir/*", "file move !prep_dir/a !tmp_dir/*.x", "file encode a b*"):
            self.assertEqual(self.refused(command.replace(" a ", " !prep_dir/a "))[0], 40, command)
        for name in ("*", "a*.json", "new\nline", "esc\x1b[2J", "\u202eexe"):
            self.assertEqual(self.refused("file to !tmp_dir/", upload=self.sent(name, SMALL))[0], 119, name)
        self.assertEqual((self.names(self.tmp), self.names(self.prep)), ([], ["a"]))


class Targets(Desk):
    def test_pipes_and_devices(self) -> None:
        """Only a file or a link is replaced: a copy to /dev/null would end as a file there."""
        (self.prep / "a").write_bytes(SMALL)
        os.mkfifo(self.tmp / "pipe")
        self.ask("set file access where any = true")
        for target in ("!tmp_dir/pipe", "/dev/null"):
            for command in (
                f"file copy !prep_dir/a {target}",
                f"file move !prep_dir/a {target}",
                f"file compress !prep_dir/a {target}",
                f"file to {target} where source = !prep_dir/a",
            ):
                self.assertEqual(self.refused(command)[0], 40, command)
            self.assertEqual(self.refused(f"file to {target}", upload=self.sent("x", SMALL))[0], 40)
        self.assertTrue(stat.S_ISFIFO((self.tmp / "pipe").lstat().st_mode))
        self.assertTrue(stat.S_ISCHR(Path("/dev/null").lstat().st_mode))
        self.assertEqual((self.names(self.tmp), self.names(self.prep)), (["pipe"], ["a"]))

    def test_closed_folders(self) -> None:
        """What the node may not read or write is a fault that names it, and nothing is left of the try."""
        (self.prep / "a").write_bytes(SMALL)
        for name, mode in [("ro", 0o555), ("closed", 0o000)]:
            folder = self.prep / name
            folder.mkdir()
            (folder / "f").write_bytes(SMALL)
            folder.chmod(mode)
            self.addCleanup(folder.chmod, 0o755)
        if os.access(self.prep / "closed", os.R_OK):
            raise SkipTest("this user may read and write everything")
        for command, number, said in [
            ("file copy !prep_dir/a !prep_dir/ro/", 14, "ro/a"),
            ("file move !prep_dir/a !prep_dir/ro", 14, "ro/a"),
            ("file move !prep_dir/ro/f !tmp_dir", 14, "ro/f"),
            ("file delete !prep_dir/ro/*", 14, "ro/f"),
            ("file compress !prep_dir/ro/f", 14, "ro/f.gz"),
            ("file copy !prep_dir/a !prep_dir/closed/x", 14, "closed/x"),
            ("file copy !prep_dir/closed/f !tmp_dir", 63, "closed/f"),
            ("file copy !prep_dir/closed/* !tmp_dir", 63, "closed"),
            ("get files !prep_dir/closed", 63, "closed"),
        ]:
            number_found, said_found = self.refused(command)
            self.assertEqual((number_found, said in said_found), (number, True), (command, said_found))
        for target in ("ro/x", "closed/x"):
            self.assertEqual(self.refused(f"file to !prep_dir/{target}", upload=self.sent("x", SMALL))[0], 14)
        self.assertEqual(self.text("file test !prep_dir/closed/f"), "false")
        self.assertEqual((self.names(self.tmp), self.names(self.prep / "ro")), ([], ["f"]))


class Elsewhere(Desk):
    def setUp(self) -> None:
        super().setUp()
        shared = Path("/dev/shm")
        if not shared.is_dir() or shared.stat().st_dev == self.tmp.stat().st_dev:
            raise SkipTest("there is no other file system")
        kept = TemporaryDirectory(dir=shared)
        self.addCleanup(kept.cleanup)
        self.other = Path(kept.name).resolve()
        self.ask(f"set file access where path = {self.other}")

    def upload(self, content: bytes) -> Upload:
        """A file that came, where they come."""
        path = self.tmp / ".0000000000000001.upload"
        path.write_bytes(content)
        return Upload(name="up.bin", path=path)

    def test_other_file_systems(self) -> None:
        """Where no rename leads the content is copied: there and back, and what comes by REST."""
        self.ask(f"file to {self.other}", upload=self.upload(SMALL))
        self.assertEqual((self.other / "up.bin").read_bytes(), SMALL)
        self.ask(f"file move {self.other}/up.bin !prep_dir")
        self.assertEqual((self.names(self.other), self.names(self.prep)), ([], ["up.bin"]))
        self.ask(f"file move !prep_dir/up.bin {self.other}/")
        self.assertEqual((self.names(self.other), self.names(self.prep)), (["up.bin"], []))

    def test_a_watch_directory_there(self) -> None:
        """Nothing in it is replaced, either."""
        self.ask(f"watch_dir = {self.other}")
        for _ in range(2):
            said = self.text("file to !watch_dir", upload=self.upload(SMALL))
        self.assertIn("is there already", said)
        self.assertEqual(self.refused("file to !watch_dir", upload=self.upload(b"other"))[0], 86)
        self.assertEqual((self.names(self.other), (self.other / "up.bin").read_bytes()), (["up.bin"], SMALL))


class Hints(Desk):
    def test_there_already(self) -> None:
        """What is there is named, whether the directory or the name was."""
        (self.prep / "a").write_bytes(SMALL)
        self.ask("file copy !prep_dir/a !watch_dir/b")
        self.ask("file copy !prep_dir/a !watch_dir")
        for target, name in [("!watch_dir", "a"), ("!watch_dir/", "a"), ("!watch_dir/b", "b")]:
            self.assertEqual(self.text(f"file copy !prep_dir/a {target}"), f"{name} is there already")

    def test_packed(self) -> None:
        """The tables of files name what is archived without .gz: who asks for that name is told what is there."""
        (self.prep / "b.t.0.json.gz").write_bytes(SMALL)
        for command in ("file hash !prep_dir/b.t.0.json", "file copy !prep_dir/b.t.0.json !tmp_dir"):
            number, said = self.refused(command)
            self.assertEqual((number, said.endswith("only b.t.0.json.gz is there")), (12, True), said)


class Changes(Desk):
    def test_a_source_that_changes(self) -> None:
        """A copy is what was there when it began: grown later, or refused when it has become shorter."""
        path = self.prep / "a"
        path.write_bytes(b"x" * (3 << 20))
        change = [lambda: os.truncate(path, 5 << 20), lambda: os.truncate(path, 10)]
        for changed, size, number in [(change[0], 3 << 20, 0), (change[1], 0, 63)]:
            self.during_copy = changed
            if number:
                self.assertEqual(self.refused("file copy !prep_dir/a !tmp_dir/b")[0], number)
            else:
                self.ask("file copy !prep_dir/a !tmp_dir/b")
                self.assertEqual((self.tmp / "b").stat().st_size, size)
                (self.tmp / "b").unlink()
        self.assertEqual(self.names(self.tmp), [])

    def during_copy(self) -> None:
        """Replaced by each case."""

    def setUp(self) -> None:
        super().setUp()
        write, case = type(self.disk.create(self.outside / "x", 0)).write, self

        def writing(file: object, offset: int, data: bytes) -> None:
            if offset == 0:
                case.during_copy()
            write(file, offset, data)  # type: ignore[arg-type]

        self.patch(type(self.disk.create(self.outside / "x", 0)), "write", writing)
