"""What the courier sends, what the delivery takes, and what the distributor does with each file."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import define, field
from filing_case import BEGIN, DATE, MEMBER, FilesCase
from push_case import ARCHIVE, DAY, DISTR, ERRORS, OTHER, WATCH, Asks, Peer, named
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.tsd import DUPLICATE, Done, Wanted
from anylog.errors import AnyLogError
from anylog.interfaces import Asker
from anylog.language.logs import Logs
from anylog.processes import courier as sending
from anylog.processes.courier import BYTES, LARGEST, PATIENCE, Brought, Courier
from anylog.processes.delivery import FILES, MANY, MUCH, WAITING, Delivery
from anylog.processes.distributor import AGAIN, EVERY, Cluster, Distributor, Folders
from anylog.processes.distributor_commands import IDS, files_of, read_ids
from anylog.processes.files import Limits
from anylog.processes.precedence import BETWEEN, LONGEST, Precedence
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane


class CourierTests(SynchronousTestCase):
    """Two questions to each member at most, never too large, and an end in any case."""

    def setUp(self) -> None:
        self.clock, self.disk, self.ask, self.points = Clock(), MemoryDisk(), Asks(), list[str]()
        self.courier = Courier(
            clock=self.clock, disk=self.disk, lane=InlineLane(), ask=self.ask, point=self.points.append
        )

    def put(self, *sizes: int) -> list[Path]:
        paths = [DISTR / named(number + 1) for number in range(len(sizes))]
        for path, size in zip(paths, sizes, strict=True):
            self.disk.put(path, b"x" * size)
        return paths

    def send(self, paths: Sequence[Path], address: str = "a:1") -> list[Brought]:
        return self.successResultOf(self.courier.send(address, paths))

    def test_each_is_told(self) -> None:
        """Taken, known, refused or unreadable: each file has its own answer, in order."""
        paths = self.put(3, 4, 5, 0)
        self.ask.told = {paths[1].name: "known", paths[2].name: "131 member 9 is not in the cluster"}
        found = self.send([*paths, DISTR / named(9)])
        self.assertEqual([each.kind for each in found], ["taken", "known", "failed", "failed", "failed"])
        self.assertIn("131", found[2].why)
        self.assertEqual(self.ask.bodies, [b"x" * 12])
        self.assertEqual(self.points, ["confirmed"])

    def test_a_question_has_limits(self) -> None:
        """At most 256 files and 4 MB; a larger file goes alone, and one that fits no question is not sent."""
        paths = self.put(*[10] * 600)
        self.assertEqual({each.kind for each in self.send(paths)}, {"taken"})
        self.assertEqual(self.ask.to("a:1"), [path.name for path in paths])
        self.assertTrue(all(len(names) <= sending.FILES for _, names, _ in self.ask.asked))
        self.ask.asked.clear()
        self.ask.bodies.clear()
        paths = self.put(10, 3 << 20, 3 << 20, 9 << 20, 10, LARGEST + 1, 10)
        self.assertEqual([each.kind for each in self.send(paths)], ["taken"] * 5 + ["failed", "taken"])
        self.assertEqual([len(body) <= BYTES for body in self.ask.bodies].count(False), 1)
        self.assertEqual(sorted(self.ask.to("a:1")), sorted(path.name for n, path in enumerate(paths) if n != 5))

    def test_long_names_fit_the_head(self) -> None:
        """256 names of the longest kind do not fit one head of 64 KB."""
        paths = [DISTR / f"town.t.{'s' * 180}.{n:032x}.0.3.{n + 1}.{DATE}.json" for n in range(256)]
        for path in paths:
            self.disk.put(path, b"x")
        self.send(paths)
        self.assertEqual(len(self.ask.asked), 2)

    def test_a_deadline(self) -> None:
        """Each question says until when it is waited for."""
        self.send(self.put(1))
        self.assertEqual(self.ask.asked[0][2], sending.SECONDS)

    def test_one_that_does_not_answer(self) -> None:
        """The first failure ends it: nothing more is asked, all that is left failed."""
        self.ask.fails["a:1"] = [AnyLogError(208, "no connection")]
        found = self.send(self.put(*[10] * 300))
        self.assertEqual((len(self.ask.asked), {each.kind for each in found}), (1, {"failed"}))

    def test_too_much_waits_there(self) -> None:
        """Asked again a little later, but not for ever."""
        self.ask.fails["a:1"] = [AnyLogError(502, "later")] * 2
        sent = self.courier.send("a:1", self.put(1))
        self.assertNoResult(sent)
        self.clock.pump([0.1, 0.2])
        self.assertEqual(self.successResultOf(sent), [Brought("taken")])
        self.ask.fails["a:1"] = [AnyLogError(502, "later")] * 1000
        sent = self.courier.send("a:1", self.put(1))
        self.clock.pump([0.1] * int(PATIENCE * 10 + 1))
        self.assertEqual([each.kind for each in self.successResultOf(sent)], ["failed"])

    def test_an_odd_answer(self) -> None:
        """One that tells of other files than were asked for is none."""
        for odd in ({}, {"told": []}, {"told": 7}, {"told": ["taken", "taken"]}):
            self.ask.odd = odd
            self.assertEqual([each.kind for each in self.send(self.put(1))], ["failed"], odd)


@define(eq=False)
class Watching:
    """What the delivery asks of the watch directory."""

    ready: bool = True
    holds: str = ""
    delivered_here: list[tuple[str, int]] = field(factory=list)
    connected: set[str] = field(factory=lambda: {"town"})
    waits: int = 0
    full: bool = False
    precedence: Precedence = field(factory=lambda: Precedence(Clock(), lambda: True, lambda: None))
    preceded: list[bool] = field(factory=list)  # whether loading waited when files were given

    @property
    def options(self) -> Any:
        limits = Limits(connected=self.database, members=lambda: {MEMBER, OTHER})
        return SimpleNamespace(folder=WATCH, limits=limits)

    def database(self, name: str) -> Any:
        if name not in self.connected:
            raise AnyLogError(5, name)

    @property
    def directory(self) -> Any:
        return SimpleNamespace(delivered=self.waits)

    @property
    def errors(self) -> Watching:
        return self

    def delivered(self, files: Sequence[tuple[str, int]]) -> None:
        self.delivered_here += files
        self.preceded.append(self.precedence.taken)


@define(eq=False, slots=False)
class Operating:
    """What the delivery asks of the operator, which is member 3."""

    watch: Watching = field(factory=Watching)
    given: dict[str, Any] = field(factory=lambda: {"update_tsd_info": True})

    @property
    def options(self) -> Operating:
        return self

    def member(self) -> int:
        return MEMBER


PEER = Asker(host="10.0.0.8", address="10.0.0.8:32148")


class DeliveryTests(FilesCase):
    """What is taken lasts in the watch directory; what is not is told why; nothing is written elsewhere."""

    def setUp(self) -> None:
        super().setUp()
        self.operator: Any = Operating()
        self.points: list[str] = []
        self.delivery = Delivery(
            disk=self.disk, lane=InlineLane(), operator=lambda: self.operator, tsd=lambda: self.there,
            members=lambda: {MEMBER, OTHER}, trusted=lambda asker: asker is PEER, point=self.points.append,
            missed=lambda: self.points.append("missed"),
        )  # fmt: skip

    def ask(self, *files: tuple[str, bytes], asker: Asker = PEER) -> list[str]:
        head = {"files": [[name, len(data)] for name, data in files]}
        reply = self.get(self.delivery(head, b"".join(data for _, data in files), asker))
        told: list[str] = reply.head["told"]
        return told

    def refused(self, head: Any, body: bytes = b"", asker: Asker = PEER) -> AnyLogError:
        error: AnyLogError = self.failureResultOf(self.delivery(head, body, asker), AnyLogError).value
        return error

    def entry(self, id: int, rows: int, into: str = f"tsd_{OTHER}", **status: str) -> None:
        wanted = Wanted(dbms="town", table="t", source="0", hash=f"{id:032x}", instructions="0", id=id, into=into)
        self.get(self.tsd.register([wanted]))
        self.get(self.tsd.finish([Done(into=into, id=id, rows=rows, **status)]))

    def test_taken(self) -> None:
        """Published as they came, given to the watch directory, and only then told."""
        packed = gzip.compress(b'{"v":2}\n')
        one, two = named(1, OTHER), named(2, OTHER, end="json.gz")
        self.assertEqual(self.ask((one, b'{"v":1}\n'), (two, packed)), ["taken", "taken"])
        self.assertEqual(self.disk.read(WATCH / one), b'{"v":1}\n')
        self.assertEqual(self.disk.read(WATCH / two), packed)
        self.assertEqual(self.operator.watch.delivered_here, [(one, 8), (two, len(packed))])
        self.assertEqual(self.points, ["delivered"])

    def test_many_go_before_loading(self) -> None:
        """While many files, or large ones, are published nothing is begun to be loaded; a few change nothing."""
        for count, size, waits in [(1, 2, False), (MANY - 1, 2, False), (MANY, 2, True), (1, MUCH, True)]:
            self.ask(*[(named(1000 * count + size + n, OTHER), b"x" * size) for n in range(count)])
            self.assertEqual(self.operator.watch.preceded.pop(), waits, f"{count} files of {size} bytes")
            self.assertFalse(self.operator.watch.precedence.taken)
            self.operator.watch.precedence._clock.advance(LONGEST + BETWEEN)
        self.refused({"files": [[f"{n}", 1] for n in range(MANY)] + [["x", 9]]}, b"x" * MANY)
        self.assertFalse(self.operator.watch.precedence.taken)

    def test_again(self) -> None:
        """What lies there still is taken once more, also by who answers; another content under its name is not."""
        for _ in range(2):
            self.assertEqual(self.ask((named(1, OTHER), b"{}")), ["taken"])
        (told,) = self.ask((named(1, OTHER), b"{ }"))
        self.assertTrue(told.startswith("86 "), told)
        self.assertEqual(self.disk.read(WATCH / named(1, OTHER)), b"{}")

    def test_known(self) -> None:
        """Loaded, or held under another entry: nothing is written. Pending, missing or failed before: taken."""
        self.entry(1, 5)
        self.entry(2, 0, status1=DUPLICATE, status2="tsd_info 7")
        self.entry(3, 0)
        self.entry(4, 0, status1="01")
        self.entry(5, 0, status1="03")
        told = self.ask(*[(named(id, OTHER), b"{}") for id in range(1, 6)])
        self.assertEqual(told, ["known", "known", "taken", "taken", "taken"])
        self.assertEqual(len(self.disk.names(WATCH)), 3)
        self.assertEqual(self.delivery.counts["repeats"], 2)

    def test_our_own(self) -> None:
        """A file of this very member is taken only if it was lost here."""
        self.entry(1, 5, "tsd_info")
        told = self.ask((named(1), b"{}"), (named(2), b"{}"))
        self.assertEqual(told, ["known", "taken"])
        (told_other,) = self.ask((named(1, hash="a" * 32), b"{}"))
        self.assertTrue(told_other.startswith("86 "), told_other)

    def test_names_that_are_refused(self) -> None:
        """Each with the number of an error and the reason; the others of the question are taken."""
        good = named(1, OTHER)
        for name, number in [
            ("../" + named(2, OTHER), "119"),
            ("/etc/" + named(2, OTHER), "119"),
            ("town.t/../../x." + named(2, OTHER), "119"),
            (named(2, OTHER) + "/x.json", "119"),
            ("town.t.json", "119"),
            ("", "119"),
            ("town.t.0.0.0.8.2." + DATE + ".json", "119"),
            (named(2, OTHER, hash="A" * 32), "119"),
            (named(2, OTHER).replace("town", "TOWN"), "119"),
            ("town.t.0.0." + "1" * 32 + f".0.{OTHER}.2.{DATE}.insert.sql", "119"),
            (named(2, 9), "131"),
            (named(2, OTHER).replace("town", "city"), "10"),
            (named(2, OTHER).replace("town", "almgm"), "171"),
            (named(2, OTHER, end="json.gz"), "6"),
        ]:
            told = self.ask((good, b"{}"), (name, b"{}"))
            self.assertEqual((told[0], told[1].split(" ")[0]), ("taken", number), f"{name}: {told}")
            self.assertEqual(self.disk.names(Path("/")), [*{"watch"}], name)
            self.assertEqual(self.disk.names(WATCH), [good], name)

    def test_questions_that_are_none(self) -> None:
        """Refused as a whole, naming what is wrong; nothing is written."""
        name = named(1, OTHER)
        for head, body in [
            ({}, b""),
            ({"files": []}, b""),
            ({"files": "ab"}, b""),
            ({"files": [[name]]}, b""),
            ({"files": [name]}, b""),
            ({"files": [[name, -1]]}, b""),
            ({"files": [[name, 0]]}, b""),
            ({"files": [[name, True]]}, b"x"),
            ({"files": [[7, 2]]}, b"{}"),
            ({"files": [[name, 1 << 40]]}, b"{}"),
            ({"files": [[name, 3]]}, b"{}"),
            ({"files": [[name, 1]]}, b"{}"),
            ({"files": [[name, 1], [name, 1]]}, b"{}"),
            ({"files": [[f"{name}{n}", 1] for n in range(FILES + 1)]}, b"x" * (FILES + 1)),
        ]:
            self.assertEqual(self.refused(head, body).number, 21, head)
        self.assertEqual(self.disk.names(WATCH), [])

    def test_when_nothing_is_taken(self) -> None:
        """Without an operator that registers, while it starts or holds, with too much that waits; and of strangers."""
        head = {"files": [[named(1, OTHER), 2]]}
        self.assertEqual(self.refused(head, b"{}", Asker(host="1.2.3.4", address="")).number, 212)
        self.assertEqual(self.points, [])
        for change, number in [
            (lambda: setattr(self.operator.watch, "waits", WAITING), 502),
            (lambda: setattr(self.operator.watch, "full", True), 502),
            (lambda: setattr(self.operator.watch, "holds", "disk low"), 503),
            (lambda: setattr(self.operator.watch, "ready", False), 502),
            (lambda: setattr(self, "there", None), 502),
            (lambda: setattr(self.operator, "given", {}), 29),
            (lambda: setattr(self, "operator", None), 203),
        ]:
            change()
            self.assertEqual(self.refused(head, b"{}").number, number)
            self.assertEqual(self.points.pop(), "missed")

    def test_a_disk_that_refuses(self) -> None:
        """A file that cannot be written is not told to be taken."""
        self.disk.refuses = {WATCH}
        (told,) = self.ask((named(1, OTHER), b"{}"))
        self.assertTrue(told.startswith("14 "), told)
        self.assertEqual(self.points[0], "missed")
        self.assertEqual(self.operator.watch.delivered_here, [])


class DistributorTests(SynchronousTestCase):
    """Every file to every active member, each at its own pace; then to the archive."""

    def setUp(self) -> None:
        self.clock, self.disk, self.ask = Clock(), MemoryDisk(), Asks()
        self.clock.advance(BEGIN)
        self.logs, self.points = Logs(self.clock), list[str]()
        self.peers = [Peer(8, "a:1"), Peer(9, "b:1")]
        self.away: set[str] = set()
        self.here = True
        self.only = ""

    def begin(self) -> None:
        lane = InlineLane()
        courier = Courier(clock=self.clock, disk=self.disk, lane=lane, ask=self.ask)
        self.distributor = Distributor(
            clock=self.clock, disk=self.disk, lane=lane, courier=courier,
            cluster=lambda: Cluster(id="c", member=MEMBER, others=self.peers) if self.here else None,
            active=lambda address: address not in self.away,
            folders=lambda: Folders(distr=DISTR, archive=ARCHIVE, errors=ERRORS), logs=self.logs, only=self.only,
            point=self.points.append,
        )  # fmt: skip
        self.distributor.start()
        self.clock.advance(0)

    def put(self, *names: str, nudge: bool = True) -> None:
        for name in names:
            self.disk.put(DISTR / name, b'{"v":1}')
        if nudge:
            self.distributor.nudge([DISTR / name for name in names])
            self.clock.advance(0)

    def lying(self, folder: Path) -> list[str]:
        return self.disk.names(folder)

    def events(self) -> list[str]:
        return [str(each) for each in self.logs.event.find()]

    def test_to_all_then_archived(self) -> None:
        """A file goes to both members at once, in the order of ids, and leaves for the day of its registration."""
        self.begin()
        self.put(named(12), named(2), named(1))
        for address in ("a:1", "b:1"):
            self.assertEqual(self.ask.to(address), [named(1), named(2), named(12)])
        self.assertEqual((self.lying(DISTR), self.lying(DAY)), ([], sorted([named(1), named(2), named(12)])))
        self.assertEqual(self.points, ["archived"])
        self.assertEqual(self.distributor.waiting, 0)

    def test_a_slow_member_delays_nobody(self) -> None:
        """The other has all files long before; they stay until the slow one has answered."""
        self.ask.waits = {"a:1"}
        self.begin()
        self.put(named(1))
        self.put(named(2), named(3))
        self.assertEqual(self.ask.to("b:1"), [named(1), named(2), named(3)])
        self.assertEqual(self.ask.to("a:1"), [named(1)])
        self.assertEqual(len(self.lying(DISTR)), 3)
        self.ask.answer("a:1")
        self.clock.advance(0)
        self.assertEqual((len(self.lying(DISTR)), self.ask.to("a:1")), (2, [named(1), named(2), named(3)]))
        self.ask.answer("a:1")
        self.clock.advance(0)
        self.assertEqual(self.lying(DISTR), [])

    def test_members_that_fail_or_are_away(self) -> None:
        """Neither is tried again: what they lack they fetch."""
        self.away = {"a:1"}
        self.ask.fails["b:1"] = [AnyLogError(208, "refused")]
        self.begin()
        self.put(named(1))
        self.clock.advance(60)
        self.assertEqual((self.ask.to("a:1"), self.ask.to("b:1")), ([], [named(1)]))
        self.assertEqual(self.lying(DAY), [named(1)])
        line = self.distributor.lines["b:1"]
        self.assertEqual((line.files, line.errors, line.last_error), (0, 1, "refused"))

    def test_one_that_goes_away_while_files_wait_for_it(self) -> None:
        """They do not wait for it any more."""
        self.ask.waits = {"a:1"}
        self.begin()
        self.put(named(1))
        self.put(named(2))
        self.away = {"a:1"}
        self.ask.open.pop()[2].errback(AnyLogError(15, "broke"))
        self.clock.advance(0)
        self.assertEqual((self.ask.to("a:1"), self.lying(DISTR)), ([named(1)], []))

    def test_alone(self) -> None:
        """Without other members files go straight to the archive."""
        self.peers = []
        self.begin()
        self.put(named(1))
        self.assertEqual((self.ask.asked, self.lying(DAY)), ([], [named(1)]))

    def test_what_was_left(self) -> None:
        """Files of before are taken at the start, those nobody tells of at the next look, each once."""
        self.disk.put(DISTR / named(1), b"{}")
        self.begin()
        self.assertEqual(self.ask.to("a:1"), [named(1)])
        self.put(named(2), nudge=False)
        self.clock.advance(EVERY)
        self.clock.advance(EVERY)
        self.assertEqual(self.ask.to("a:1"), [named(1), named(2)])
        self.assertEqual(self.lying(DISTR), [])

    def test_before_there_is_a_place(self) -> None:
        """It waits for the operator, and then takes what lies there."""
        self.here = False
        self.disk.put(DISTR / named(1), b"{}")
        self.begin()
        self.assertIn("waits for the operator", self.distributor.describe())
        self.assertEqual(self.ask.asked, [])
        self.here = True
        self.clock.advance(EVERY)
        self.assertEqual(self.ask.to("a:1"), [named(1)])

    def test_another_cluster(self) -> None:
        """Told to work for one cluster it does nothing in another, and says so once."""
        self.only = "d"
        self.begin()
        self.put(named(1))
        self.clock.advance(EVERY)
        self.assertEqual((self.ask.asked, self.lying(DISTR)), ([], [named(1)]))
        self.assertEqual(len([each for each in self.events() if "nothing is distributed" in each]), 1)

    def test_what_is_not_ours(self) -> None:
        """Files of other members, other names, folders and links stay, and each is told of once; drafts are not."""
        others = [named(1, OTHER), "town.t.json", "notes.txt", f"town.t.0.{'1' * 32}.0.@.0.0.json"]
        self.begin()
        self.put(*others, ".abc.draft", nudge=False)
        self.disk.put(DISTR / named(5), b"", kind="link")
        for _ in range(3):
            self.clock.advance(EVERY)
        self.assertEqual(self.ask.asked, [])
        self.assertEqual(len(self.lying(DISTR)), 6)
        told = [each for each in self.events() if "stays in the distribution directory" in each]
        self.assertEqual(len(told), 5, told)

    def test_without_member_and_id(self) -> None:
        """What an earlier version cut without a place is counted as left alone, with the reason, for as long as it
        lies there."""
        name = f"town.weather.0.{'1' * 32}.0.json.gz"
        self.begin()
        self.put(name, "backup.one.json")
        self.assertEqual((self.distributor.waiting, self.distributor.left), (0, 1))
        self.assertIn("while this node was no member", self.distributor.left_for)
        self.disk.forget(DISTR / name)
        self.clock.advance(EVERY)
        self.assertEqual((self.distributor.left, self.distributor.left_for), (0, ""))

    def test_backups(self) -> None:
        """No node is a logger: such files go to a place of their own, which is said once."""
        self.begin()
        self.put("backup.one.json", "backup.two")
        self.assertEqual(self.lying(ARCHIVE / "backup"), ["backup.one.json", "backup.two"])
        self.assertEqual(len([each for each in self.events() if "logger" in each]), 1)

    def test_never_over_another_file(self) -> None:
        """An equal file in the archive is as good; one with other content stays, and the new one is put aside."""
        self.disk.put(DAY / named(1), b'{"v":1}')
        self.disk.put(DAY / named(2), b"other")
        self.begin()
        self.put(named(1), named(2))
        self.assertEqual(self.lying(DISTR), [])
        self.assertEqual(self.disk.read(DAY / named(2)), b"other")
        (aside,) = self.lying(ERRORS)
        self.assertIn(".err_86.", aside)
        self.assertTrue(any("other content" in each for each in self.events()))

    def test_an_archive_that_refuses(self) -> None:
        """Files stay, and are moved when it takes them; nobody is sent anything twice."""
        self.disk.refuses = {DAY}
        self.begin()
        self.put(named(1))
        self.clock.pump([AGAIN] * 8)
        self.assertEqual(self.lying(DISTR), [named(1)])
        self.disk.refuses = set()
        self.clock.pump([AGAIN, 0])
        self.assertEqual((self.lying(DISTR), self.lying(DAY)), ([], [named(1)]))
        self.assertEqual(self.ask.to("a:1"), [named(1)])
        self.assertEqual(len([each for each in self.events() if "cannot be archived" in each]), 1)

    def test_stop_and_start(self) -> None:
        """What nobody answered for goes again after the next start."""
        self.ask.waits = {"a:1", "b:1"}
        self.begin()
        self.put(named(1))
        stopped = self.distributor.stop()
        self.assertNoResult(stopped)
        self.clock.advance(10)
        self.successResultOf(stopped)
        self.assertEqual(self.lying(DISTR), [named(1)])
        self.ask.waits = set()
        self.begin()
        self.assertEqual((self.lying(DISTR), self.lying(DAY)), ([], [named(1)]))

    def test_stopped_while_an_answer_is_on_its_way(self) -> None:
        """It is waited for, and counts."""
        self.ask.waits = {"a:1"}
        self.begin()
        self.put(named(1))
        stopped = self.distributor.stop()
        self.ask.answer("a:1")
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.lying(DAY), [named(1)])

    def test_a_member_that_joins_or_leaves(self) -> None:
        """New files go to those who are members now."""
        self.begin()
        self.put(named(1))
        self.peers = [Peer(10, "c:1")]
        self.put(named(2))
        self.assertEqual((self.ask.to("a:1"), self.ask.to("c:1")), ([named(1)], [named(2)]))
        self.put(named(3))
        self.assertEqual(list(self.distributor.lines), ["c:1"])


class IdsTests(SynchronousTestCase):
    """`file deliver`: which ids, and where their files lie."""

    def test_read(self) -> None:
        """Numbers and ranges, each id once, in order; the end of a range is not included."""
        for text, ids in [("3", [3]), ("3,8,10-15", [3, 8, 10, 11, 12, 13, 14]), ("5,1-3,2", [1, 2, 5])]:
            self.assertEqual(read_ids(text), ids)
        for text in ("", "a", "3,", "3-", "-3", "5-5", "5-3", "3 ,4", f"1-{IDS + 2}", "1-9223372036854775807"):
            wrong = self.assertRaises(AnyLogError, read_ids, text)
            self.assertEqual(wrong.number, 40, text)

    def test_where(self) -> None:
        """In the archive by the day of registration, or waiting to be distributed."""
        disk = MemoryDisk()
        for path in (DAY / named(1), DISTR / named(2), DAY / named(3, OTHER)):
            disk.put(path, b"{}")
        folders = Folders(distr=DISTR, archive=ARCHIVE, errors=ERRORS)
        found = files_of(disk, folders, MEMBER, dict.fromkeys((1, 2, 3), DATE))
        self.assertEqual(found, {1: DAY / named(1), 2: DISTR / named(2)})
