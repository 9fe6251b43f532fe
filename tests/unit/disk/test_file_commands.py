"""Files of one node: each command does what it says, whole or not at all, and keeps inside the confines."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import socket
from pathlib import Path
from random import Random

from desk import Desk
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from anylog.disk.confined import Confines, Use
from anylog.disk.durable import RealDisk
from anylog.disk.forms import SLICE, decoded, encoded, gunzipped, gzipped
from anylog.disk.transfers import Draft, Job, Source, converted, like, matcher
from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.testing.lanes import ClockLane

SMALL = b'{"value": 1}\n'
LARGE = Random(7).randbytes(SLICE * 2 + 12345)


def open_files() -> int:
    """Descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


class OneFile(Desk):
    def test_copy(self) -> None:
        """To a name, to a directory, over another file; the source stays, and no draft is left."""
        (self.prep / "a.json").write_bytes(LARGE)
        (self.tmp / "b.json").write_bytes(b"old")
        for target, name in [("!tmp_dir/b.json", "b.json"), ("!tmp_dir", "a.json"), ("!tmp_dir/c.bin", "c.bin")]:
            self.assertEqual(self.text(f"file copy !prep_dir/a.json {target}"), "")
            self.assertEqual((self.tmp / name).read_bytes(), LARGE, target)
        self.assertEqual(self.names(self.prep), ["a.json"])
        self.assertEqual(self.names(self.tmp), ["a.json", "b.json", "c.bin"])

    def test_move(self) -> None:
        """Into a directory, or to a new name; what is there is replaced."""
        (self.prep / "a.json").write_bytes(SMALL)
        (self.tmp / "a.json").write_bytes(b"old")
        self.ask("file move !prep_dir/a.json !tmp_dir")
        self.assertEqual((self.names(self.prep), (self.tmp / "a.json").read_bytes()), ([], SMALL))
        self.ask("file move !tmp_dir/a.json !prep_dir/b.json")
        self.assertEqual((self.names(self.prep), self.names(self.tmp)), (["b.json"], []))

    def test_gzip_and_back(self) -> None:
        """Default names, names that are given, several members, and the same bytes at the end."""
        (self.prep / "a.json").write_bytes(LARGE)
        self.ask("file compress !prep_dir/a.json")
        self.assertEqual(gzip.decompress((self.prep / "a.json.gz").read_bytes()), LARGE)
        self.ask("file compress !prep_dir/a.json !tmp_dir/x.packed")
        self.ask("file decompress !tmp_dir/x.packed")
        self.assertEqual((self.tmp / "x.packed.dat").read_bytes(), LARGE)
        (self.prep / "a.json").unlink()
        self.ask("file decompress !prep_dir/a.json.gz")
        self.assertEqual((self.prep / "a.json").read_bytes(), LARGE)
        (self.prep / "two.gz").write_bytes(gzip.compress(b"one ") + gzip.compress(b"two") + bytes(20))
        self.ask("file decompress !prep_dir/two.gz !tmp_dir/")
        self.assertEqual((self.tmp / "two").read_bytes(), b"one two")

    def test_base64_and_back(self) -> None:
        """As Python's own; lines of any length are read."""
        (self.prep / "face.png").write_bytes(LARGE)
        self.ask("file encode !prep_dir/face.png")
        self.assertEqual((self.prep / "face.png.msg").read_bytes(), base64.b64encode(LARGE))
        (self.prep / "lines.msg").write_bytes(base64.encodebytes(LARGE))
        self.ask("file decode !prep_dir/lines.msg")
        self.assertEqual((self.prep / "lines.msg.png").read_bytes(), LARGE)

    def test_facts(self) -> None:
        """Test, check, hash, timestamp, access."""
        path = self.prep / "a.json"
        path.write_bytes(LARGE)
        os.utime(path, (1, 1.5))
        path.chmod(0o600)
        for command, expected in [
            ("file test !prep_dir/a.json", "true"),
            ("file test !prep_dir/b.json", "false"),
            ("file test !prep_dir", "false"),
            ("file check !prep_dir/a.json", "true"),
            ("file check !prep_dir/b.json", ""),
            ("file hash !prep_dir/a.json", hashlib.md5(LARGE).hexdigest()),
            ("get file timestamp !prep_dir/a.json", "1970-01-01 00:00:01.500000"),
            (
                "get access !prep_dir/a.json",
                "-rw------- read, write" + (", execute" if os.access(path, os.X_OK) else ""),
            ),
        ]:
            self.assertEqual(self.text(command), expected, command)
        self.ask("here = file check !prep_dir/b.json")
        self.assertIsNone(self.node.dictionary.get("here"))
        self.ask("digest = file hash !prep_dir/a.json")
        self.assertEqual(self.node.dictionary.get("digest"), hashlib.md5(LARGE).hexdigest())

    def test_from(self) -> None:
        """The content in slices, under a media type that no browser runs."""
        (self.prep / "a.html").write_bytes(LARGE)
        result = self.ask("file from !prep_dir/a.html")
        assert result.pages is not None
        self.assertEqual(result.pages.media, "application/octet-stream")
        pages = self.pages(result)
        self.assertEqual((b"".join(pages), max(map(len, pages))), (LARGE, SLICE))
        (self.prep / "empty.json").touch()
        self.assertEqual(self.pages(self.ask("file from !prep_dir/empty.json")), [])

    def test_from_is_let_go(self) -> None:
        """Who stops reading leaves no open file; a file that shrinks meanwhile is an error, not a short one."""
        path = self.prep / "a.bin"
        path.write_bytes(LARGE)
        before = open_files()
        content = self.ask("file from !prep_dir/a.bin").pages
        assert content is not None
        self.successResultOf(content.next())
        self.assertEqual(open_files(), before + 1)
        content.close()
        content.close()
        self.assertEqual(open_files(), before)
        content = self.ask("file from !prep_dir/a.bin").pages
        assert content is not None
        self.successResultOf(content.next())
        os.truncate(path, SLICE + 1)
        self.successResultOf(content.next())
        self.assertEqual(self.failureResultOf(content.next(), AnyLogError).value.number, 63)
        self.assertEqual(open_files(), before)

    def test_to(self) -> None:
        """What came along is stored under a name, or under its own in a directory; never outside by that name."""
        for command, sent, name in [
            ("file to !prep_dir/x.json", "any.json", "x.json"),
            ("file to !prep_dir", "any.json", "any.json"),
            ("file to where dest = !prep_dir/", "../../../etc/pass", "pass"),
            ("file to !prep_dir", "c:\\tmp\\win.json", "win.json"),
        ]:
            self.ask(command, upload=self.sent(sent, LARGE))
            self.assertEqual((self.prep / name).read_bytes(), LARGE, command)
        self.ask("file to !tmp_dir/y.json where source = !prep_dir/x.json")
        self.assertEqual((self.tmp / "y.json").read_bytes(), LARGE)
        for command, sent, number in [
            ("file to !prep_dir/x.json", None, 301),
            ("file to", "a", 2),
            ("file to !prep_dir/x where dest = !prep_dir/y", "a", 2),
            ("file to !prep_dir", "", 119),
            ("file to !prep_dir", "..", 119),
            ("file to !prep_dir/none/x", "a", 12),
        ]:
            upload = None if sent is None else self.sent(sent, SMALL)
            self.assertEqual(self.refused(command, upload=upload)[0], number, command)

    def test_refusals(self) -> None:
        """What is wrong is named, by number and by path, and nothing is left of the try."""
        (self.prep / "a.json").write_bytes(SMALL)
        (self.prep / "b.gz").write_bytes(gzip.compress(LARGE)[:-4])
        (self.prep / "c.msg").write_bytes(b"YWJj*")
        for command, number, said in [
            ("file copy !prep_dir/none !tmp_dir", 12, "none"),
            ("file copy !prep_dir !tmp_dir", 40, "a directory"),
            ("file copy !prep_dir/a.json !tmp_dir/none/", 12, "none does not exist"),
            ("file copy !prep_dir/a.json !prep_dir/a.json", 40, "its own target"),
            ("file copy !prep_dir/a.json", 2, "is missing"),
            ("file move !prep_dir/none !tmp_dir", 12, "none"),
            ("file move !prep_dir !tmp_dir/x", 40, "a directory"),
            ("file delete !prep_dir/none", 12, "none"),
            ("file delete !prep_dir", 40, "a directory"),
            ("file hash !prep_dir/none", 12, "none"),
            ("file from !prep_dir/" + "x" * 300, 119, "too long"),
            ("file decompress !prep_dir/a.json", 63, "gzip"),
            ("file decompress !prep_dir/b.gz", 63, "too early"),
            ("file decode !prep_dir/c.msg", 63, "base64"),
            ("file get !prep_dir/a.json !tmp_dir", 237, "file copy"),
        ]:
            found = self.refused(command) if "from" not in command else self.broken(command)
            self.assertEqual(found[0], number, (command, found))
            self.assertIn(said, found[1], command)
        self.assertEqual((self.names(self.prep), self.names(self.tmp)), (["a.json", "b.gz", "c.msg"], []))

    def broken(self, command: str) -> tuple[int, str]:
        """The error of the first page."""
        content = self.ask(command).pages
        assert content is not None
        error = self.failureResultOf(content.next(), AnyLogError).value
        return error.number, str(error)


class Patterns(Desk):
    def test_like(self) -> None:
        """`*` is any text; with a dot, name and type are matched by themselves; hidden files are left out."""
        for pattern, fitting, others in [
            ("*", ["a", "a.b", "a.b.c"], [".a", ".x.draft"]),
            ("*.json", ["a.json", "a.b.json", "db.t.0.json"], ["json", "a.jsonl", "a.json.gz", ".json"]),
            ("bl*.js*", ["blockchain.json", "bl.js", "bl.a.json"], ["abl.json", "bl.txt", "bl"]),
            ("a*b*c", ["abc", "axbxc", "abbcc"], ["ab", "acb", "abcd", "a.bc.d"]),
            ("*.*", ["a.b"], ["a"]),
            (".*", [".x"], ["x"]),
            ("**", ["a", ""], []),
        ]:
            matches = matcher(pattern)
            for name in fitting:
                self.assertTrue(matches(name), (pattern, name))
            for name in others:
                self.assertFalse(matches(name), (pattern, name))
        self.assertFalse(like("a" * 255, "*a" * 60 + "b"))  # at once, not after the end of days

    def test_all_that_match(self) -> None:
        """Each command does all files that match, says how many, and leaves the others."""
        for name in ("a.json", "b.json", "c.txt", ".h.json"):
            (self.prep / name).write_bytes(name.encode())
        (self.prep / "d.json").mkdir()
        self.assertEqual(self.text("file copy !prep_dir/*.json !tmp_dir/"), "2 files copied")
        self.assertEqual(self.names(self.tmp), ["a.json", "b.json"])
        self.assertEqual(self.text("file compress !tmp_dir/*"), "2 files compressed")
        self.assertEqual(self.text("file compress !tmp_dir/*"), "2 files compressed")  # and not what is compressed
        self.assertEqual(self.names(self.tmp), ["a.json", "a.json.gz", "b.json", "b.json.gz"])
        self.assertEqual(self.text("file delete !tmp_dir/*.json"), "2 files deleted")
        self.assertEqual(self.text("file decompress !tmp_dir/*.gz"), "2 files decompressed")
        self.assertEqual((self.tmp / "b.json").read_bytes(), b"b.json")
        self.assertEqual(self.text("file move !prep_dir/c*.t* !tmp_dir"), "1 file moved")
        self.assertEqual(self.names(self.prep), [".h.json", "a.json", "b.json", "d.json"])
        for command, number in [
            ("file delete !prep_dir/*.xml", 152),
            ("file copy !prep_dir/*.json !tmp_dir/one", 40),
            ("file delete !root*/a.json", 2),
            ("file delete !prep_dir/*/a.json", 40),
            ("file delete !prep_dir/none/*", 12),
        ]:
            self.assertEqual(self.refused(command)[0], number, command)

    def test_one_goes_meanwhile(self) -> None:
        """A file that has gone since it was listed is passed over."""
        for name in ("a", "b", "c"):
            (self.prep / name).write_bytes(SMALL)
        job = Job(
            disk=self.disk,
            confines=self.node.file_access.confines(local=True),
            source=f"{self.prep}/*",
            target=f"{self.tmp}/",
            token="t",
        )
        work = converted(job)
        while not (self.tmp / "a").exists():
            next(work)
        (self.prep / "b").unlink()
        told = None
        try:
            while True:
                next(work)
        except StopIteration as end:
            told = end.value
        self.assertEqual((told.done, self.names(self.tmp)), (2, ["a", "c"]))


class Watched(Desk):
    def test_nothing_is_replaced(self) -> None:
        """An equal file is there already; another one under that name is refused, and the source stays."""
        name = "db.t.0.json"
        (self.prep / name).write_bytes(SMALL)
        self.assertEqual(self.text(f"file copy !prep_dir/{name} !watch_dir"), "")
        found = (self.watch / name).stat().st_ino
        self.assertIn("is there already", self.text(f"file copy !prep_dir/{name} !watch_dir"))
        self.assertEqual((self.watch / name).stat().st_ino, found)
        self.assertIn("is there already", self.text(f"file move !prep_dir/{name} !watch_dir"))
        self.assertEqual((self.names(self.prep), self.names(self.watch)), ([], [name]))
        (self.prep / name).write_bytes(SMALL + SMALL)
        for command in (f"file copy !prep_dir/{name} !watch_dir", f"file move !prep_dir/{name} !watch_dir"):
            number, said = self.refused(command)
            self.assertEqual((number, name in said), (86, True), command)
        self.assertEqual(self.refused("file to !watch_dir", upload=self.sent(name, b"x"))[0], 86)
        self.assertEqual((self.names(self.prep), (self.watch / name).read_bytes()), ([name], SMALL))
        self.assertEqual(self.names(self.watch), [name])

    def test_move_in(self) -> None:
        """A file that is moved in is the very same one: it was never there in part."""
        path = self.prep / "db.t.json"
        path.write_bytes(SMALL)
        inode = path.stat().st_ino
        self.ask("file move !prep_dir/db.t.json !watch_dir")
        self.assertEqual((self.watch / "db.t.json").stat().st_ino, inode)
        self.assertEqual((self.names(self.prep), (self.watch / "db.t.json").stat().st_nlink), ([], 1))

    def test_never_in_part(self) -> None:
        """While it is written there is a hidden draft, and it goes when the work is given up."""
        (self.prep / "a.json").write_bytes(LARGE)
        clock = Clock()
        self.node.lanes._lanes["files"] = ClockLane(clock, 1.0)  # type: ignore[attr-defined]
        waited = self.node.execute("file copy !prep_dir/a.json !watch_dir", Context(origin="console"))
        clock.advance(1)
        self.assertEqual(len(self.names(self.watch)), 1)
        self.assertTrue(self.names(self.watch)[0].startswith("."))
        waited.cancel()
        self.failureResultOf(waited, CancelledError)
        clock.pump([1] * 3)
        self.assertEqual(self.names(self.watch), [])

    def test_a_watch_directory_elsewhere(self) -> None:
        """A script may put it anywhere: then nothing is replaced there."""
        self.ask(f'watch_dir = "{self.outside}"')
        (self.prep / "a").write_bytes(SMALL)
        (self.outside / "a").write_bytes(b"other")
        self.assertEqual(self.refused("file copy !prep_dir/a !watch_dir")[0], 86)


class Confined(Desk):
    def test_nothing_leads_out(self) -> None:
        """Absolute paths, `..`, and links of any kind are judged by where they lead."""
        (self.outside / "secret").write_bytes(SMALL)
        (self.prep / "a.json").write_bytes(SMALL)
        (self.prep / "link").symlink_to(self.outside / "secret")
        (self.prep / "dirlink").symlink_to(self.outside)
        (self.prep / "loop").symlink_to(self.prep / "loop")
        up = "../" * 4
        for path in (
            str(self.outside / "secret"),
            f"!prep_dir/{up}outside/secret",
            "!prep_dir/link",
            "!prep_dir/dirlink/secret",
        ):
            for command in (f"file copy {path} !tmp_dir/x", f"file hash {path}", f"file test {path}"):
                self.assertEqual(self.refused(command)[0], 212, command)
            content = self.ask(f"file from {path}").pages
            assert content is not None
            self.assertEqual(self.failureResultOf(content.next(), AnyLogError).value.number, 212, path)
        for path in (str(self.outside), f"!prep_dir/{up}outside", "!prep_dir/dirlink", "!prep_dir/dirlink/"):
            for command in (
                f"file copy !prep_dir/a.json {path}",
                f"file move !prep_dir/a.json {path}",
                f"file compress !prep_dir/a.json {path}/x.gz",
                f"get files {path}",
                f"get directories {path}",
                f"get size {path}",
                f"file delete {path}/secret",
                f"file delete {path}/*",
            ):
                self.assertEqual(self.refused(command)[0], 212, command)
        self.assertEqual(self.refused("file to !prep_dir/dirlink", upload=self.sent("x", SMALL))[0], 212)
        self.assertEqual(self.refused("file hash !prep_dir/loop")[0], 40)
        self.assertEqual(self.refused("file delete !prep_dir/link")[0], 40)
        self.assertEqual(self.refused("file move !prep_dir/link !tmp_dir")[0], 40)
        self.assertEqual((self.names(self.outside), self.names(self.tmp)), (["secret"], []))

    def test_a_target_that_is_a_link(self) -> None:
        """A copy replaces the link, never what it leads to."""
        (self.outside / "kept").write_bytes(b"kept")
        (self.prep / "a").write_bytes(SMALL)
        (self.tmp / "link").symlink_to(self.outside / "kept")
        self.ask("file copy !prep_dir/a !tmp_dir/link")
        self.assertEqual(((self.outside / "kept").read_bytes(), (self.tmp / "link").read_bytes()), (b"kept", SMALL))
        self.assertFalse((self.tmp / "link").is_symlink())

    def test_pipes_and_devices(self) -> None:
        """They are refused by what they are, before anything is opened, and nobody waits for them."""
        os.mkfifo(self.prep / "pipe")
        with socket.socket(socket.AF_UNIX) as place:
            place.bind(str(self.prep / "socket"))
        for name, what in (("pipe", "a pipe"), ("socket", "a socket")):
            for command in ("file hash !prep_dir/{}", "file copy !prep_dir/{} !tmp_dir", "file delete !prep_dir/{}"):
                number, said = self.refused(command.format(name))
                self.assertEqual((number, what in said), (40, True), (command, said))
        self.ask("set file access where any = true")
        self.assertIn("a device", self.refused("file hash /dev/zero")[1])

    def test_opened(self) -> None:
        """`set file access` opens directories for this machine, and closes them again."""
        (self.outside / "a").write_bytes(SMALL)
        self.assertIn("set file access", self.refused(f"file hash {self.outside}/a")[1])
        for setting in (f"path = {self.outside}", "any = true"):
            self.ask(f"set file access where {setting}")
            self.assertEqual(self.text(f"file test {self.outside}/a"), "true", setting)
            self.assertEqual(self.refused(f"file test {self.outside}/a", local=False)[0], 212, setting)
            self.assertIn("/" if "any" in setting else str(self.outside), self.text("get file access"))
            self.ask("set file access where any = false")
            self.assertEqual(self.refused(f"file test {self.outside}/a")[0], 212, setting)
        self.assertEqual(self.refused("set file access where path = usb")[0], 175)
        self.assertEqual(self.refused("set file access where any = true", local=False)[0], 212)

    def test_what_the_node_alone_changes(self) -> None:
        """Journals, identity and databases are not changed by these commands, however wide they are opened."""
        home = self.node.places.home
        (self.prep / "a").write_bytes(SMALL)
        journal = self.node.places.journal / "a.journal"
        journal.write_bytes(SMALL)
        broker = self.node.places.broker / "a.journal"
        broker.parent.mkdir()
        broker.write_bytes(SMALL)
        for path in (journal, broker, home / "node.id", home / "node.lock"):
            before = path.read_bytes()
            for wide in ("false", "true"):
                self.ask(f"set file access where any = {wide}")
                for command in (f"file delete {path}", f"file copy !prep_dir/a {path}", f"file move {path} !tmp_dir"):
                    self.assertEqual(self.refused(command)[0], 212, command)
            self.assertEqual(path.read_bytes(), before)
        self.ask("set file access where any = false")
        self.assertEqual(self.refused("file copy !prep_dir/a !dbms_dir/town.dbms")[0], 212)
        self.ask("set file access where any = true")
        self.ask("file copy !prep_dir/a !dbms_dir/town.dbms")

    def test_strangers(self) -> None:
        """They list the node's own directories, change nothing, read nothing, and see neither keys nor databases."""
        (self.prep / "a.json").write_bytes(SMALL)
        (self.prep / "my.pem").write_bytes(SMALL)
        for key in ("pem_dir", "id_dir", "dbms_dir"):
            (self.node.places.folder(key) / "x").write_bytes(SMALL)
        self.assertEqual(self.text("get files !prep_dir", local=False), "a.json\r\nmy.pem")
        self.assertEqual(self.text("file hash !prep_dir/a.json", local=False), hashlib.md5(SMALL).hexdigest())
        home = self.node.places.home
        for command in (
            "file from !prep_dir/a.json",
            "file copy !prep_dir/a.json !tmp_dir",
            "file move !prep_dir/a.json !tmp_dir",
            "file delete !prep_dir/a.json",
            "file compress !prep_dir/a.json",
            "file to !prep_dir/x",
            "set file access where any = true",
            "file hash !prep_dir/my.pem",
            "get files !pem_dir",
            "get files !id_dir",
            "get size !dbms_dir",
            "file test !dbms_dir/x",
            f"get files {home}",
            f"get files {home}/journal",
            f"file hash {home}/node.id",
            "get files /etc",
            "get access /etc/passwd",
        ):
            self.assertEqual(self.refused(command, local=False)[0], 212, command)
        confines = self.node.file_access.confines(local=False).real()
        for path in ("prep/a.json", "pem/x"):  # also if a door should let them in one day
            job = Job(
                disk=self.disk, confines=confines, source=f"{self.root}/data/{path}", target=str(self.tmp), token="t"
            )
            with self.assertRaises(AnyLogError):
                list(converted(job))
        self.assertEqual(self.names(self.tmp), [])

    def test_a_folder_is_swapped_meanwhile(self) -> None:
        """What was opened counts, not what the path said before."""
        (self.outside / "a").write_bytes(SMALL)
        (self.prep / "in").symlink_to(self.outside)
        confines = Confines(work=self.root, within=(self.root,)).real()
        with self.assertRaises(AnyLogError) as refused:
            Source.open(self.prep / "in" / "a", confines)
        self.assertEqual(refused.exception.number, 212)

    def test_strange_paths(self) -> None:
        """No path, no name, and what no file system takes."""
        (self.prep / "a").write_bytes(SMALL)
        for path, number in [('""', 119), ('" "', 119), (".", 40), ("..", 40), ("x" * 5000, 119), ("!nokey/a", 2)]:
            self.assertEqual(self.refused(f"file hash {path}")[0], number, path)
        with self.assertRaises(AnyLogError) as refused:
            self.node.file_access.confines(local=True).existing("a\0b", Use.LOOK)
        self.assertEqual(refused.exception.number, 119)
        self.assertEqual(self.text('file test "data/prep/a"'), "true")  # relative: from the work directories
        (self.prep / "a b+c").write_bytes(SMALL)
        for path in ('"!prep_dir/a b+c"', '!prep_dir/"a b+c"', '"!!prep_dir/a b+c"'):
            self.assertEqual(self.text(f"file test {path}"), "true", path)
        self.assertEqual(self.text("get files !!prep_dir"), "a\r\na b+c")
        self.assertEqual(self.refused('file test "!nokey/a b"')[0], 2)


class Full(RealDisk):
    """A disk with little room."""

    def free(self, folder: Path) -> int:
        return (64 << 20) + len(SMALL)


class NoRoom(Desk):
    def make_disk(self) -> RealDisk:
        return Full("none")

    def test_room_is_kept(self) -> None:
        """Copies stop before readings would have to; compressing, which makes room, does not."""
        (self.prep / "small").write_bytes(SMALL)
        (self.prep / "large").write_bytes(LARGE)
        self.ask("file copy !prep_dir/small !tmp_dir")
        number, said = self.refused("file copy !prep_dir/large !tmp_dir")
        self.assertEqual((number, "bytes of disk are free" in said), (503, True))
        self.assertEqual(self.names(self.tmp), ["small"])


class Broken(RealDisk):
    """A disk whose renames fail."""

    def move(self, source: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")


class NoTarget(Desk):
    def make_disk(self) -> RealDisk:
        return Broken("none")

    def test_no_draft_is_left(self) -> None:
        """A fault of the disk is error 14 with its text, and leaves nothing behind."""
        (self.prep / "a").write_bytes(SMALL)
        for command in (
            "file copy !prep_dir/a !tmp_dir",
            "file move !prep_dir/a !tmp_dir",
            "file compress !prep_dir/a",
        ):
            number, said = self.refused(command)
            self.assertEqual((number, "Input/output error" in said), (14, True), (command, said))
        self.assertEqual((self.names(self.prep), self.names(self.tmp)), (["a"], []))


class Forms(Desk):
    def test_any_cut(self) -> None:
        """Where slices end never changes what comes out."""
        data = b"sensor readings, many of them\n" * 9
        packed, text = gzip.compress(data), base64.encodebytes(data)
        for size in (1, 2, 3, 4, 5, 7, 1000):

            def cut(whole: bytes, size: int = size) -> list[bytes]:
                return [whole[at : at + size] for at in range(0, len(whole), size)]

            self.assertEqual(b"".join(gunzipped(iter(cut(packed)), len(packed))), data, size)
            self.assertEqual(gzip.decompress(b"".join(gzipped(iter(cut(data)), len(data)))), data, size)
            self.assertEqual(b"".join(encoded(iter(cut(data)), len(data))), base64.b64encode(data), size)
            self.assertEqual(b"".join(decoded(iter(cut(text)), len(text))), data, size)

    def test_bombs_and_rubbish(self) -> None:
        """A bomb ends early and in small slices; what is no base64 or gzip is said to be so."""
        bomb, largest = gzip.compress(bytes(80 << 20)), 0
        with self.assertRaises(AnyLogError) as refused:
            for data in gunzipped(iter([bomb]), len(bomb)):
                largest = max(largest, len(data))
        self.assertEqual((refused.exception.number, largest <= SLICE), (501, True))
        for form, rubbish in [
            (gunzipped, [b"hello"]),
            (gunzipped, []),
            (gunzipped, [gzip.compress(b"x")[:-1]]),
            (gunzipped, [gzip.compress(b"x"), b"more"]),
            (decoded, [b"YQ=", b"YWJj"]),
            (decoded, [b"YQ==", b"YWJj"]),
            (decoded, [b"YWJ"]),
            (decoded, [b"Y\xff=="]),
        ]:
            with self.assertRaises(AnyLogError) as refused:
                list(form(iter(rubbish), 1))
            self.assertEqual(refused.exception.number, 63, rubbish)

    def test_two_drafts_of_one_target(self) -> None:
        """Two who write the same target at once: the later one stays, whole."""
        target = self.tmp / "x"
        one, other = (Draft.begin(self.disk, target, token, 1) for token in ("a", "b"))
        for draft, data in ((one, b"one"), (other, b"other"), (one, b"one")):
            draft.write(data)
        for draft in (one, other):
            list(draft.finish(replace=True))
            draft.abandon()
        self.assertEqual((target.read_bytes(), self.names(self.tmp)), (b"other", ["x"]))
