"""Files between two nodes: each form of the two commands, whole or not at all, and inside the confines."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.durable import RealDisk
from anylog.disk.forms import SLICE
from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.network import transfers
from anylog.node import Node
from anylog.testing.lanes import InlineLanes
from anylog.testing.network import MemoryNetwork

BEGIN = 1_790_000_000.0
HERE, THERE, THIRD = "10.0.0.1", "10.0.0.2", "10.0.0.3"
LARGE = Random(7).randbytes(SLICE * 3 + 12345)


class Nodes(SynchronousTestCase):
    """Nodes on the real disk, in a network in memory; `there` and `third` take files."""

    def setUp(self) -> None:
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.base = Path(kept.name).resolve()
        self.clock = Clock()
        self.clock.advance(BEGIN)
        self.network = MemoryNetwork(self.clock, Random(1))
        self.here, self.there, self.third = (
            self.node(name, host) for name, host in (("here", HERE), ("there", THERE), ("third", THIRD))
        )
        for node in (self.there, self.third):
            node.access.nodes_off = True

    def node(self, name: str, host: str) -> Node:
        node = Node(
            home=self.base / name,
            name=name,
            clock=self.clock,
            net=self.network.net(host),
            lanes=InlineLanes(),
            disk=RealDisk("none"),
            chance=Random(1),
        )
        self.successResultOf(Deferred.fromCoroutine(node.start()))
        self.addCleanup(self.stop, node)
        self.ask(f"run tcp server where internal_ip = {host} and internal_port = 32148", node=node)
        return node

    def stop(self, node: Node) -> None:
        found: list[Any] = []
        node.stop().addBoth(found.append)
        self.until(found)

    def until(self, found: list[Any]) -> Any:
        for _ in range(4000):
            if found:
                return found[0]
            self.clock.advance(0.05)
        raise AssertionError("nothing came of it")

    def outcome(self, command: str, *, node: Node | None = None, local: bool = True) -> Any:
        """The result of a command, or its Failure."""
        found: list[Any] = []
        context = Context(origin="console" if local else "peer", local=local)
        (node or self.here).execute(command, context).addBoth(found.append)
        return self.until(found)

    def ask(self, command: str, *, node: Node | None = None) -> str:
        """Its text."""
        result = self.outcome(command, node=node)
        if isinstance(getattr(result, "value", None), BaseException):
            result.raiseException()
        return result.text or ""

    def refused(self, command: str, *, node: Node | None = None, local: bool = True) -> tuple[int, str]:
        """Number and text of its error."""
        error = self.outcome(command, node=node, local=local).value
        assert isinstance(error, AnyLogError), error
        return error.number, str(error)

    def copy(self, source: str, target: str, nodes: str = f"{THERE}:32148") -> str:
        return self.ask(f"run client ({nodes}) file copy {source} {target}")

    def get(self, source: str, target: str) -> str:
        return self.ask(f"run client ({THERE}:32148) file get {source} {target}")

    def folder(self, node: Node, key: str) -> Path:
        return node.places.folder(key)

    def put(self, node: Node, name: str, content: bytes = b"new", key: str = "prep_dir") -> Path:
        path = self.folder(node, key) / name
        path.write_bytes(content)
        return path

    def names(self, node: Node, key: str = "prep_dir") -> list[str]:
        """What lies there, hidden things included."""
        return sorted(path.name for path in self.folder(node, key).iterdir())


class Forms(Nodes):
    def test_copy(self) -> None:
        """To a name, to a directory with and without `/`, over another file; nothing of it stays in tmp_dir."""
        self.put(self.here, "a.json", LARGE)
        self.put(self.there, "b.json", b"old")
        for target, name in [("!!prep_dir/b.json", "b.json"), ("!!prep_dir/", "a.json"), ("!!bkup_dir", "a.json")]:
            said = self.copy("!prep_dir/a.json", target)
            self.assertEqual(said, f"[From Node {THERE}:32148]\r\n1 file copied, {len(LARGE):,} bytes")
            key = target[2:].partition("/")[0]
            self.assertEqual((self.folder(self.there, key) / name).read_bytes(), LARGE)
        self.assertEqual((self.names(self.there, "tmp_dir"), self.names(self.here)), ([], ["a.json"]))

    def test_get(self) -> None:
        """The same the other way, empty files and quoted names too."""
        self.put(self.there, "a.json", LARGE)
        self.put(self.there, "e f", b"")
        self.put(self.here, "b.json", b"old")
        for source, target, name in [
            ("!!prep_dir/a.json", "!prep_dir/b.json", "b.json"),
            ("!!prep_dir/a.json", "!prep_dir/", "a.json"),
            ("data/prep/a.json", "!prep_dir", "a.json"),
            ('"!!prep_dir/e f"', '"!prep_dir/g h"', "g h"),
        ]:
            said = self.get(source, target)
            content = b"" if name == "g h" else LARGE
            self.assertEqual(said, f"[From Node {THERE}:32148]\r\n1 file fetched, {len(content):,} bytes")
            self.assertEqual((self.folder(self.here, "prep_dir") / name).read_bytes(), content)
        self.assertEqual(self.names(self.here, "tmp_dir"), [])

    def test_patterns(self) -> None:
        """By prefix of name and type, into a directory alone; none is error 152."""
        for name in ("blue.json", "black.jsonx", "blue.txt", "red.json"):
            self.put(self.here, name, name.encode())
        self.assertIn("2 files copied, 20 bytes", self.copy("!prep_dir/bl*.js*", "!!prep_dir/"))
        self.assertEqual(self.names(self.there), ["black.jsonx", "blue.json"])
        self.assertIn("2 files fetched, 20 bytes", self.get("!!prep_dir/bl*.js*", "!bkup_dir"))
        self.assertEqual(self.names(self.here, "bkup_dir"), ["black.jsonx", "blue.json"])
        for verb, source, target in [("copy", "!prep_dir", "!!prep_dir"), ("get", "!!prep_dir", "!prep_dir")]:
            for wrong, into, number in [("none*.js*", "/", 152), ("bl*.js*", "/one", 40), ("bl*.js*", "/no/", 12)]:
                told = self.refused(f"run client ({THERE}:32148) file {verb} {source}/{wrong} {target}{into}")
                self.assertEqual(told[0], number, told)

    def test_keys(self) -> None:
        """`!k` is resolved here, `!!k` there."""
        self.ask("place = data/prep")
        self.ask("place = data/bkup", node=self.there)
        self.put(self.here, "a")
        self.copy("!place/a", "!!place/")
        self.assertEqual((self.names(self.there), self.names(self.there, "bkup_dir")), ([], ["a"]))
        self.copy("!place/a", "!place/")
        self.assertEqual(self.names(self.there), ["a"])
        for rest in ("copy !!place/a !place/", "get !place/a !!place/"):
            self.assertIn("a key of the other node", self.refused(f"run client ({THERE}:32148) file {rest}")[1])

    def test_several_nodes(self) -> None:
        """Each gets the file, and what came of it is said of each."""
        self.put(self.here, "a")
        nodes = f"{THERE}:32148, {THIRD}:32148"
        one = "1 file copied, 3 bytes"
        said = f"[From Node {THERE}:32148]\r\n{one}\r\n\r\n[From Node {THIRD}:32148]\r\n{one}"
        self.assertEqual(self.copy("!prep_dir/a", "!!prep_dir/", nodes), said)
        self.third.access.nodes_off = False
        self.put(self.here, "a", b"newer")
        number, said = self.refused(f"run client ({nodes}) file copy !prep_dir/a !!prep_dir/")
        self.assertEqual((number, f"{THIRD}:32148" in said), (212, True))
        said = self.copy("!prep_dir/a", "!!prep_dir/", f"{nodes}, subset = true")
        self.assertIn(f"[From Node {THERE}:32148]\r\n1 file copied", said)
        self.assertIn(f"[From Node {THIRD}:32148] Failed: ", said)
        self.assertEqual((self.folder(self.there, "prep_dir") / "a").read_bytes(), b"newer")
        self.assertEqual(self.refused(f"run client ({nodes}) file get !!prep_dir/a !prep_dir/")[0], 155)

    def test_this_very_node(self) -> None:
        """Its own address is a destination as any other."""
        self.put(self.here, "a", LARGE)
        self.assertIn("1 file copied", self.copy("!prep_dir/a", "!!bkup_dir/", f"{HERE}:32148"))
        self.assertEqual((self.folder(self.here, "bkup_dir") / "a").read_bytes(), LARGE)

    def test_faults(self) -> None:
        """Each names the culprit, and leaves no target and no draft."""
        self.put(self.here, "a")
        (self.folder(self.there, "prep_dir") / "folder").mkdir()
        for rest, number, culprit in [
            ("copy !prep_dir/none !!prep_dir/", 12, "none"),
            ("copy !prep_dir !!prep_dir/", 40, "a directory"),
            ("copy !prep_dir/a !!prep_dir/no/a", 12, "no does not exist"),
            ("copy !prep_dir/a !!nosuch/a", 2, "nosuch"),
            ("copy !prep_dir/a", 2, "source and target"),
            ("copy !prep_dir/a b c", 2, "source and target"),
            ("copy !prep_dir/a !!prep_dir/*", 40, "*"),
            ("get !!prep_dir/none !prep_dir/", 12, "none"),
            ("get !!prep_dir/folder !prep_dir/", 40, "a directory"),
        ]:
            told = self.refused(f"run client ({THERE}:32148) file {rest}")
            self.assertEqual((told[0], culprit in told[1]), (number, True), told)
        self.assertEqual((self.names(self.there), self.names(self.there, "tmp_dir")), (["folder"], []))
        self.assertEqual(self.refused("run client (10.0.0.9:32148) file copy !prep_dir/a !!prep_dir/")[0], 208)
        number, said = self.refused("file get !!prep_dir/a !tmp_dir/")
        self.assertEqual((number, "run client (ip:port) file get" in said), (237, True))


class Rights(Nodes):
    def test_closed(self) -> None:
        """Without `set authentication off` nothing goes in or out, also not for who is on the same machine."""
        self.there.access.nodes_off = False
        self.put(self.here, "a")
        self.put(self.there, "b")
        for rest in ("copy !prep_dir/a !!prep_dir/", "get !!prep_dir/b !prep_dir/", "get !!prep_dir/* !prep_dir/"):
            number, said = self.refused(f"run client ({THERE}:32148) file {rest}")
            self.assertEqual((number, "set authentication off" in said), (212, True), rest)
        self.assertEqual((self.names(self.here), self.names(self.there)), (["a"], ["b"]))

    def test_who_asks_from_elsewhere(self) -> None:
        """A stranger moves no files by way of this node, unless it was opened; then within its directories."""
        self.put(self.here, "a")
        command = f"run client ({THERE}:32148) file copy !prep_dir/a !!prep_dir/"
        self.assertEqual(self.refused(command, local=False)[0], 212)
        self.here.access.nodes_off = True
        self.assertEqual(self.names(self.there), [])
        self.assertIn("1 file copied", self.outcome(command, local=False).text)
        self.assertEqual(self.refused(command.replace("!prep_dir/a", "/etc/hostname"), local=False)[0], 212)

    def test_confines(self) -> None:
        """Of the other node its work directories alone: not what leads out, its keys, databases, journal, identity."""
        self.put(self.here, "a")
        secret = self.put(self.there, "k.pem")
        (self.folder(self.there, "prep_dir") / "link").symlink_to("/etc/hostname")
        self.put(self.there, "town.dbms", key="dbms_dir")
        home, before = self.there.places.home, (self.there.places.home / "node.id").read_bytes()
        outside = [
            "/etc/hostname", "../../node.id", f"{home}/node.id", f"{home}/node.lock", f"{home}/journal/x",
            "!!dbms_dir/town.dbms", "!!id_dir/x", "!!pem_dir/x", "!!prep_dir/link", "!!prep_dir/../../../../x",
            str(secret), "data/prep/x.key",
        ]  # fmt: skip
        for path in outside:
            if "/x" not in path:
                told = self.refused(f"run client ({THERE}:32148) file get {path} !tmp_dir/stolen")
                self.assertEqual(told[0], 212, (path, told))
            if "link" not in path:
                told = self.refused(f"run client ({THERE}:32148) file copy !prep_dir/a {path}")
                self.assertEqual(told[0], 212, (path, told))
        told = self.refused(f"run client ({THERE}:32148) file copy !prep_dir/a !!local_scripts/a.al")
        self.assertEqual(told[0], 212, told)
        self.assertEqual((home / "node.id").read_bytes(), before)
        self.assertEqual(self.names(self.here, "tmp_dir"), [])
        self.copy("!prep_dir/a", "!!prep_dir/link")  # the link is replaced, not what it leads to
        self.assertFalse((self.folder(self.there, "prep_dir") / "link").is_symlink())

    def test_this_side_too(self) -> None:
        """What is fetched never lands on this node's identity or journal."""
        self.put(self.there, "a")
        for target in (f"{self.here.places.home}/node.id", f"{self.here.places.journal}/x", "/etc/x", "!dbms_dir/x"):
            self.assertEqual(self.refused(f"run client ({THERE}:32148) file get !!prep_dir/a {target}")[0], 212)

    def test_watched(self) -> None:
        """In a watch directory nothing is replaced, as on one node."""
        self.put(self.here, "a.b.c.json")
        self.assertIn("1 file copied", self.copy("!prep_dir/a.b.c.json", "!!watch_dir/"))
        self.assertIn("0 files copied, 0 bytes, 1 were there", self.copy("!prep_dir/a.b.c.json", "!!watch_dir/"))
        self.put(self.here, "a.b.c.json", b"other")
        told = self.refused(f"run client ({THERE}:32148) file copy !prep_dir/a.b.c.json !!watch_dir/")
        self.assertEqual((told[0], self.names(self.there, "tmp_dir")), (86, []))

    def test_garbage(self) -> None:
        """Questions of a peer that mean nothing are refused, and a name without a directory in it is taken alone."""
        file = {"path": "x/../..", "size": 3, "stamp": "1"}
        for head, number in [
            ({}, 21),
            ({"do": "read"}, 21),
            ({"do": "begin", "target": "data/prep/"}, 21),
            ({"do": "begin", "target": "data/prep/", **file}, 119),
            ({"do": "begin", "target": "data/prep/", **file, "size": -1}, 21),
            ({"do": "begin", "target": "data/prep/", **file, "path": "a\nb"}, 119),
            ({"do": "write", "draft": 5}, 21),
            ({"do": "list", "source": "x" * 5000}, 21),
        ]:
            found: list[Any] = []
            self.here.peers.ask(f"{THERE}:32148", "transfer", head).addBoth(found.append)
            error = self.until(found).value
            self.assertEqual(error.number, number, (head, error))


class Drafts(Nodes):
    def begun(self, content: bytes, size: int) -> str:
        """A copy of `a` that stopped after `size` bytes: the connection is cut there."""
        self.put(self.here, "a", content)
        found: list[Any] = []
        context = Context(origin="console")
        waited = self.here.execute(f"run client ({THERE}:32148) file copy !prep_dir/a !!prep_dir/", context)
        waited.addBoth(found.append)
        tmp = self.folder(self.there, "tmp_dir")
        for _ in range(10000):
            drafts = list(tmp.iterdir())
            if drafts and drafts[0].stat().st_size >= size:
                break
            self.clock.advance(0.001)
        waited.cancel()
        self.until(found)
        (draft,) = tmp.iterdir()
        self.assertLess(draft.stat().st_size, len(content))
        return draft.name

    def written(self, node: Node) -> list[int]:
        """Sizes of what is written to its disk from here on."""
        sizes: list[int] = []
        wrote = type(node.transfers).write

        def write(arrival: Any, at: int, data: bytes) -> Any:
            sizes.append(len(data))
            return wrote(node.transfers, arrival, at, data)

        self.patch(transfers.Transfers, "write", lambda owner, *values: write(*values))
        return sizes

    def test_goes_on(self) -> None:
        """A transfer that was given up goes on where it ended; no partial target is ever seen."""
        self.begun(LARGE, SLICE)
        self.assertEqual(self.names(self.there), [])
        sizes = self.written(self.there)
        self.copy("!prep_dir/a", "!!prep_dir/")
        self.assertLess(sum(sizes), len(LARGE) - SLICE + 1)
        self.assertEqual((self.folder(self.there, "prep_dir") / "a").read_bytes(), LARGE)
        self.assertEqual(self.names(self.there, "tmp_dir"), [])

    def test_a_draft_that_is_damaged(self) -> None:
        """What is not the source's is noticed by its sha256, thrown away, and all is sent anew."""
        draft = self.folder(self.there, "tmp_dir") / self.begun(LARGE, SLICE)
        draft.write_bytes(b"x" + draft.read_bytes()[1:])
        self.copy("!prep_dir/a", "!!prep_dir/")
        self.assertEqual((self.folder(self.there, "prep_dir") / "a").read_bytes(), LARGE)
        self.assertEqual(self.names(self.there, "tmp_dir"), [])

    def test_another_source(self) -> None:
        """A draft is of one source as it was: another content begins anew, and the old draft goes after a day."""
        old = self.begun(LARGE, SLICE)
        other = hashlib.sha256(LARGE).digest() * (len(LARGE) // 32)
        self.put(self.here, "a", other)
        self.copy("!prep_dir/a", "!!prep_dir/")
        self.assertEqual((self.folder(self.there, "prep_dir") / "a").read_bytes(), other)
        self.assertEqual(self.names(self.there, "tmp_dir"), [old])
        draft = self.folder(self.there, "tmp_dir") / old
        os.utime(draft, (BEGIN, BEGIN))
        self.clock.advance(3600.0)
        self.assertEqual(self.names(self.there, "tmp_dir"), [old])
        for _ in range(26):
            self.clock.advance(3600.0)
        self.assertEqual(self.names(self.there, "tmp_dir"), [])

    def test_not_too_many(self) -> None:
        """The oldest of many drafts go when another begins; what is no draft stays."""
        tmp = self.folder(self.there, "tmp_dir")
        for number in range(80):
            path = tmp / f".{number:032x}.part"
            path.write_bytes(b"x")
            os.utime(path, (BEGIN - number, BEGIN - number))
        (tmp / "mine.part").write_bytes(b"x")
        self.put(self.here, "a")
        self.copy("!prep_dir/a", "!!prep_dir/")
        self.assertEqual(self.names(self.there, "tmp_dir"), [*(f".{n:032x}.part" for n in range(64)), "mine.part"])

    def test_a_source_that_changes(self) -> None:
        """Noticed, said, and no target is made; either way."""
        for verb, node, source, target in [
            ("copy", self.here, "!prep_dir", "!!prep_dir"), ("get", self.there, "!!bkup_dir", "!bkup_dir"),
        ]:  # fmt: skip
            path = self.put(node, "a", LARGE, source.strip("!"))
            other = self.there if node is self.here else self.here
            found: list[Any] = []
            command = f"run client ({THERE}:32148) file {verb} {source}/a {target}/"
            self.here.execute(command, Context(origin="console")).addBoth(found.append)
            while not found:
                if any(each.stat().st_size for each in self.folder(other, "tmp_dir").iterdir()):
                    path.write_bytes(LARGE[::-1])
                self.clock.advance(0.001)
            error = found[0].value
            self.assertEqual((error.number, "has changed" in str(error)), (35, True), error)
            self.assertEqual((self.names(other, target.strip("!")), self.names(other, "tmp_dir")), ([], []))

    def test_two_at_once(self) -> None:
        """The later of two of the same file takes over; the other one is told, and the file is whole."""
        self.put(self.here, "a", LARGE)
        found: list[Any] = []
        for _ in range(2):
            command = f"run client ({THERE}:32148) file copy !prep_dir/a !!prep_dir/"
            self.here.execute(command, Context(origin="console")).addBoth(found.append)
        while len(found) < 2:
            self.clock.advance(0.01)
        errors = [each.value for each in found if isinstance(getattr(each, "value", None), AnyLogError)]
        self.assertEqual([(each.number, "taken over" in str(each)) for each in errors], [(35, True)])
        self.assertEqual((self.folder(self.there, "prep_dir") / "a").read_bytes(), LARGE)

    def test_a_limit(self) -> None:
        """Only so many at once; who comes later is told so."""
        for number in range(transfers.MOST + 1):
            self.put(self.here, f"a{number}", LARGE)
        found: list[Any] = []
        for number in range(transfers.MOST + 1):
            command = f"run client ({THERE}:32148) file copy !prep_dir/a{number} !!prep_dir/"
            self.here.execute(command, Context(origin="console")).addBoth(found.append)
        while len(found) < transfers.MOST + 1:
            self.clock.advance(0.01)
        errors = [each.value for each in found if isinstance(getattr(each, "value", None), AnyLogError)]
        self.assertEqual([(each.number, "at most 16" in str(each)) for each in errors], [(502, True)], errors)
        self.assertEqual(len(self.names(self.there)), transfers.MOST)
        self.assertIn("1 file copied", self.copy(f"!prep_dir/a{transfers.MOST}", "!!prep_dir/"))
