"""The consumer: what it asks for and when, what it takes for settled, and what stops it."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

import orjson
from attrs import astuple, evolve
from filing_case import DATE, MEMBER, TIME
from pull_case import FOLDERS, OTHER, Body, PullCase, place_of
from twisted.internet.defer import Deferred, ensureDeferred, succeed

from anylog.databases import tsd_ranges
from anylog.databases.owners import hand_over
from anylog.databases.tsd import Asked, Done, Wanted
from anylog.databases.tsd_ranges import Line
from anylog.disk.archive import folder_of
from anylog.interfaces import Asker, Reply
from anylog.processes import absent, consumer, exchange, pulling, told
from anylog.processes.consumer import EVERY, PATIENCE, STUCK, Consumer
from anylog.processes.missing import SELDOM
from anylog.processes.pulled import ConsumerOptions, Tries
from anylog.processes.standing import Standing


class ConsumerCase(PullCase):
    def complete(self) -> bool:
        return self.consumer.standing.own_complete

    def validated(self) -> int:
        return self.consumer.standing.of(3).get(OTHER, 0)

    def safe(self, id: int) -> None:
        """What the other member says of its own files."""
        self.get(self.exchange.standing.recall(self.other, OTHER))
        self.exchange.standing.of(OTHER)[OTHER] = id

    def ids_asked(self) -> list[int]:
        return [id for kind, head in self.asked if kind == "fetch" for id in head["ids"]]

    def entries(self) -> dict[int, str]:
        """Id -> status 1, of the other's files here."""
        return {each.id: each.status1 for each in self.get(self.tsd.entries(f"tsd_{OTHER}", Asked()))}


class ConflictTests(ConsumerCase):
    def test_two_contents_of_one_id(self) -> None:
        """Count and ids agree, and yet it is seen and told; nothing behind it is validated. When it gives way here, the
        other content comes."""
        for id in (1, 2, 3):
            name = self.give(id)
            self.hold(self.tsd, f"tsd_{OTHER}", name if id != 2 else self.name(2, b"another"))
        self.safe(3)
        self.begin()
        (found,) = self.consumer.conflicts()
        self.assertEqual((found.into, found.id, found.dbms, found.table), (f"tsd_{OTHER}", 2, "town", "t"))
        self.assertEqual((found.hash, found.other), (self.name(2, b"another").hash, self.name(2, b'{"v":2}\n').hash))
        self.assertEqual((self.count("fetch"), self.validated()), (0, 1))
        self.go(2 * EVERY)
        self.assertEqual((self.count("fetch"), self.validated(), len(self.consumer.conflicts())), (0, 1, 1))
        self.get(self.tsd.remove([(f"tsd_{OTHER}", 2)]))
        self.go(EVERY)
        self.load()
        self.go(EVERY)
        self.assertEqual((self.ids_asked(), self.validated(), self.consumer.conflicts()), ([2], 3, []))

    def test_what_holds_nothing_gives_way(self) -> None:
        """An entry of a content that nobody had does not keep another content of that id out."""
        other = self.name(1, b"another")
        line = self.line(other)
        self.get(tsd_ranges.record(self.tsd, f"tsd_{OTHER}", [(line, "01", "nobody has it")]))
        name = self.give(1)
        self.begin()
        self.assertEqual((self.delivered, self.entries()), ([str(name)], {}))


class FaultTests(ConsumerCase):
    def test_a_fault_of_any_kind(self) -> None:
        """A pass that ends so is not fine: nothing is concluded from what it had looked at until then."""
        name = self.give(1, archived=False)
        self.busy.add(name.hash)
        self.begin()
        link = self.consumer.links[OTHER]
        self.assertEqual((link.fine, link.looks[OTHER].open), (True, 1))

        def broken(head: Mapping[str, Any]) -> Deferred[Reply]:
            raise ZeroDivisionError

        self.odd["entries"] = broken
        self.go(EVERY + 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((link.fine, link.errors, self.complete()), (False, 1, False))
        self.assertIn("ZeroDivisionError", link.error)
        del self.odd["entries"]
        self.busy.clear()
        self.go(2 * EVERY)
        self.assertEqual((link.fine, link.error, self.complete(), self.entries()), (True, "", True, {1: "01"}))

    def test_a_pass_that_begins_while_a_round_ends(self) -> None:
        """What it has not looked at yet is not taken for settled."""
        self.give(1, archived=False)
        later = self.give(2, archived=False)
        self.busy.add(later.hash)
        held: Deferred[Any] = Deferred()

        def record(*args: Any) -> Deferred[Any]:
            return held.addCallback(lambda _: tsd_ranges.record(*args))

        self.patch(consumer, "record", record)
        self.begin()
        self.odd["entries"] = lambda head: Deferred()
        self.consumer.nudge()
        self.go(0.1)
        self.assertEqual(self.consumer.links[OTHER].looks[OTHER].open, 0)
        held.callback(None)
        self.assertEqual((self.complete(), self.entries()), (False, {1: "01"}))

    def test_counted_while_it_comes(self) -> None:
        """A stream that others have, too, is made a file while its copy is on the way: its entry stays."""
        name = self.name(1, b'{"v":1}\n', member=MEMBER)
        self.hold(self.other, f"tsd_{MEMBER}", name)
        self.other_disk.put(folder_of(FOLDERS.archive, DATE) / str(name), b'{"v":1}\n')
        wanted = Wanted(dbms="town", table="t", hash="open:e.1", source="0", instructions="0", id=1, time=TIME)
        self.get(self.tsd.register([wanted]))

        def fetch(head: Mapping[str, Any]) -> Deferred[Reply]:
            self.get(self.tsd.finish([Done(into="tsd_info", id=1, rows=1, hash=name.hash)]))
            return self.exchange.fetch(head, b"", Asker(host="", address=""))

        self.odd["fetch"] = fetch
        self.begin()
        self.go(2 * EVERY)
        self.assertEqual(self.delivered, [str(name)])
        found = self.get(self.tsd.entries("tsd_info", Asked()))
        self.assertEqual([(each.id, each.hash, each.rows) for each in found], [(1, name.hash, 1)])

    def test_validated_while_it_is_told(self) -> None:
        """What a member registers and validates while it looks for what it tells is not here yet."""
        self.hold(self.tsd, f"tsd_{OTHER}", self.give(1))
        self.safe(1)

        def late(*args: Any) -> Deferred[Any]:
            counted = tsd_ranges.totals(*args)
            if self.count("members") == 1:
                self.give(2)
                self.exchange.standing.of(OTHER)[OTHER] = 2
            return counted

        self.patch(exchange, "totals", late)
        self.begin()
        self.assertEqual((self.count("members"), self.validated()), (1, 1))
        self.go(EVERY + 1)
        self.load()
        self.go(EVERY + 1)
        self.assertEqual(self.validated(), 2)

    def test_put_back_while_it_is_told(self) -> None:
        """A member tells how far it is, and its databases are put back to older ones before it tells of its files: what
        it does not list is not taken for what is here."""
        for id in (1, 2, 3):
            self.give(id)
        self.safe(3)

        def entries(head: Mapping[str, Any]) -> Deferred[Reply]:
            if self.count("entries") > 1:
                return self.exchange.entries(head, b"", Asker(host="", address=""))
            return succeed(Reply(head={"more": False}, body=Body([orjson.dumps([])])))

        self.odd["entries"] = entries
        self.begin()
        self.assertEqual((self.count("entries"), self.validated(), self.complete()), (1, 0, False))
        self.go(EVERY + 1)
        self.load()
        self.go(EVERY + 1)
        self.assertEqual((self.count("fetch"), self.validated(), self.complete()), (1, 3, True))

    def test_put_back_behind_what_is_alike(self) -> None:
        """So it is with files behind those of which both know that they are the same."""
        for id in (1, 2):
            self.hold(self.tsd, f"tsd_{OTHER}", self.give(id))
        self.safe(2)
        self.begin()
        self.assertEqual((self.validated(), self.complete()), (2, True))
        self.give(3)
        self.safe(3)
        self.odd["entries"] = lambda head: succeed(Reply(head={"more": False}, body=Body([orjson.dumps([])])))
        self.go(EVERY + 1)
        look = self.consumer.links[OTHER].looks[OTHER]
        self.assertEqual((self.asked[-1][1]["after"], look.open, look.first, self.validated()), (2, 1, 3, 2))

    def test_what_is_not_listed_before_what_is(self) -> None:
        """Of three that it tells of a member lists the last: nothing is known of the two before."""
        for id in (1, 2, 3):
            self.give(id)
        self.safe(3)

        def entries(head: Mapping[str, Any]) -> Deferred[Reply]:
            return self.exchange.entries({**head, "after": 2}, b"", Asker(host="", address=""))

        self.odd["entries"] = entries
        self.begin()
        look = self.consumer.links[OTHER].looks[OTHER]
        self.assertEqual((self.count("fetch"), look.first, self.validated(), self.complete()), (1, 1, 0, False))

    def test_whose_content_is_lost_meanwhile(self) -> None:
        """Another entry holds the content of a file, and is forgotten before that is noted: the file is asked for."""
        name = self.give(1)
        self.hold(self.tsd, "tsd_9", evolve(name, id=5))

        def record(*args: Any) -> Deferred[Any]:
            self.get(self.tsd.forget([("tsd_9", 5)]))
            return tsd_ranges.record(*args)

        self.patch(consumer, "record", record)
        self.begin()
        self.assertEqual((self.complete(), self.entries()), (False, {}))
        self.go(EVERY + 1)
        self.assertEqual(self.delivered, [str(name)])

    def test_later_for_ever(self) -> None:
        """Files that are always to come later are asked for once in a cycle, not as fast as that goes."""
        name = self.give(1, archived=False)
        self.busy.add(name.hash)
        self.begin()
        self.assertEqual(self.count("fetch"), 1)
        self.go(EVERY + 1)
        self.assertEqual((self.count("fetch"), self.complete()), (2, False))

    def test_entries_for_ever(self) -> None:
        """A member that always has more entries does not hold a pass for ever."""
        self.give(1)
        self.patch(consumer, "ENTRIES", 50)

        def more(head: Mapping[str, Any]) -> Deferred[Reply]:
            told = [Line(head["after"] + n + 1, "h", "town", "t", 0, "pending", "x") for n in range(10)]
            return succeed(Reply(head={"more": True}, body=Body([orjson.dumps([astuple(each) for each in told])])))

        self.odd["entries"] = more
        self.begin()
        look = self.consumer.links[OTHER].looks[OTHER]
        self.assertEqual((self.count("entries"), look.open, look.first), (6, 1, 1))
        self.assertFalse(self.complete())


class AnotherMemberTests(ConsumerCase):
    """While it asks, this node becomes another member: its tables of files are others from then on."""

    def setUp(self) -> None:
        super().setUp()
        self.mine = [self.name(id, b'{"v":%d}\n' % id, member=MEMBER) for id in (1, 2)]
        for name in self.mine:
            self.hold(self.other, f"tsd_{MEMBER}", name)

    def becomes(self, kind: str) -> None:
        """When it asks for that the first time."""

        def answer(head: Mapping[str, Any]) -> Deferred[Reply]:
            del self.odd[kind]
            self.get(ensureDeferred(hand_over(self.tsd, MEMBER, 5)))
            self.place = place_of(5)
            return self.exchange.handlers()[kind](head, b"", Asker(host="", address=""))

        self.odd[kind] = answer

    def own(self) -> list[int]:
        return [each.id for each in self.get(self.tsd.entries("tsd_info", Asked()))]

    def test_what_is_known(self) -> None:
        """The files of before are not entered as doubles among those of the new member."""
        self.hold(self.tsd, "tsd_info", self.mine[0])
        self.becomes("entries")
        self.begin()
        self.assertEqual((self.place.member, self.own()), (5, []))

    def test_what_nobody_has(self) -> None:
        """Nor as missing ones."""
        self.becomes("fetch")
        self.begin()
        self.assertEqual((self.place.member, self.own()), (5, []))


class UnconnectedTests(ConsumerCase):
    def setUp(self) -> None:
        super().setUp()
        self.here = {"almgm"}
        self.consumer = Consumer(
            clock=self.clock, options=ConsumerOptions(start="-30d"), puller=self.puller, place=lambda: self.place,
            peers=lambda: [self.peer], active=lambda address: True, tsd=lambda: self.tsd, standing=Standing(),
            connected=self.here.__contains__,
        )  # fmt: skip

    def test_a_database_that_is_not_connected(self) -> None:
        """Its files are not asked for, and are told to be missing, with its name; this member is complete all the
        same, validates nothing of them, and fetches them at once when it is connected."""
        names = [str(self.give(id)) for id in (1, 2)]
        self.safe(2)
        self.begin()
        self.go(EVERY + 1)
        link = self.consumer.links[OTHER]
        self.assertEqual((self.count("fetch"), self.complete(), self.validated(), self.entries()), (0, True, 0, {}))
        self.assertEqual((self.consumer.missing(), link.looks[OTHER].lacking, link.fine), (2, 2, True))
        self.assertEqual(link.error, "not fetched, since the database is not connected here: 'town' (2 files)")
        self.here.add("town")
        self.consumer.connected("town")
        self.go(0.2)
        self.assertEqual((self.ids_asked(), self.delivered), ([1, 2], names))
        self.load()
        self.go(3)
        self.assertEqual((link.error, self.consumer.missing(), self.validated()), ("", 0, 2))

    def test_it_looks_each_minute(self) -> None:
        """Also when nobody says that the database is connected."""
        self.give(1)
        self.begin()
        self.here.add("town")
        self.go(EVERY + 1)
        self.assertEqual(self.ids_asked(), [1])

    def test_what_failed_for_want_of_it(self) -> None:
        """It is asked for as soon as the database is connected, and not an hour later; what failed for what it holds is
        left alone."""
        reasons = ("the database 'town' is not connected", "town.t is not in limit_tables", "it was damaged")
        self.here.add("town")
        for id in (1, 2, 3):
            self.give(id)
        self.begin()
        for id, why in enumerate(reasons, 1):
            line = self.line(self.name(id, b'{"v":%d}\n' % id))
            self.get(tsd_ranges.record(self.tsd, f"tsd_{OTHER}", [(line, "03", why)]))
        for text in self.disk.names(FOLDERS.watch):
            self.disk.forget(FOLDERS.watch / text)
        self.here.remove("town")
        self.go(2 * EVERY)
        self.assertEqual((self.ids_asked(), self.complete()), ([1, 2, 3], True))
        self.here.add("town")
        self.consumer.connected("town")
        self.go(0.2)
        self.assertEqual(self.ids_asked(), [1, 2, 3, 1, 2])


class RoomTests(ConsumerCase):
    def test_the_operator_refuses(self) -> None:
        """While it may take no files none are asked for, and why is told; then it goes on at once."""
        self.give(1)
        self.refusal = "no space"
        self.begin()
        self.go(STUCK + 1)
        link = self.consumer.links[OTHER]
        self.assertEqual((self.count("fetch"), link.fine, link.error, link.looks[OTHER].open), (0, True, "no space", 1))
        self.assertEqual((self.consumer.counts["held back"], self.complete()), (1, False))
        self.refusal = ""
        self.go(2)
        self.assertEqual(self.count("fetch"), 1)
        self.load()
        self.go(3)
        self.assertEqual((link.error, self.complete()), ("", True))

    def test_files_that_wait(self) -> None:
        """A place is free when a file has left the watch directory: not by the time, and not when it is loaded."""
        self.patch(consumer, "TOGETHER", 1)
        self.patch(consumer, "ARRIVED", 2)
        for id in range(1, 6):
            self.give(id)
        self.begin()
        self.go(PATIENCE + 10)
        self.assertEqual(self.ids_asked(), [1, 2])
        for name in (self.name(1, b'{"v":1}\n'), self.name(2, b'{"v":2}\n')):
            self.hold(self.tsd, f"tsd_{OTHER}", evolve(name, compressed=False))
        self.go(20)
        self.assertEqual(self.ids_asked(), [1, 2])
        for text in self.disk.names(FOLDERS.watch):
            self.disk.forget(FOLDERS.watch / text)
        self.go(3)
        self.assertEqual(self.ids_asked(), [1, 2, 3, 4])

    def test_bytes_that_wait(self) -> None:
        """They count, whatever the number of the files is."""
        self.patch(consumer, "TOGETHER", 1)
        self.patch(consumer, "BYTES", 12)
        for id in range(1, 6):
            self.give(id)
        self.begin()
        self.go(5)
        self.assertEqual(self.ids_asked(), [1, 2])


class MissingTests(ConsumerCase):
    def test_more_than_there_is_room_for(self) -> None:
        """All files that nobody has are noted, some in each cycle; until then this member is not complete."""
        self.patch(absent, "MOST", 2)
        self.patch(absent, "TOLD", 1)
        for id in range(1, 6):
            self.give(id, archived=False)
        self.begin()
        self.assertEqual((len(self.entries()), self.complete()), (2, False))
        self.go(10)
        self.assertEqual((self.entries(), self.complete()), (dict.fromkeys(range(1, 6), "01"), True))

    def test_too_large(self) -> None:
        """What is larger than a file may be, packed or not, is not called missing without a word: the entry and the
        peer say why. Whatever else is asked for comes."""
        for packed in (False, True):
            self.setUp()
            self.patch(exchange, "LARGEST", 4000)
            self.patch(told, "LARGEST", 4000)
            self.patch(pulling, "LARGEST", 4000)
            self.give(1)
            data = b'{"v":1}\n' * 1000
            name = self.give(2, data, archived=False)
            path = folder_of(FOLDERS.archive, DATE) / (str(name) + ".gz" * packed)
            self.other_disk.put(path, gzip.compress(data) if packed else data)
            self.begin()
            self.load()
            self.go(EVERY + 1)
            error = next(iter(self.consumer.links.values())).error
            self.assertIn("not fetched, a file that is larger than 64 MiB, which only its owner can load: 2 of", error)
            entry = self.get(self.tsd.by_ids(f"tsd_{OTHER}", [1, 2]))
            self.assertEqual([(e.status1, e.status2) for e in (entry[1], entry[2])],
                             [("", ""), ("01", "It is larger than 64 MiB, which only its owner can load")])  # fmt: skip

    def test_once_an_hour(self) -> None:
        """Files that nobody has are asked for once an hour, also more of them than can be kept in mind."""
        self.consumer._tried = Tries(2)
        for id in range(1, 8):
            self.give(id, archived=False)
        self.begin()
        self.go(EVERY + 1)
        self.asked.clear()
        for minute in range(8):
            self.give(100 + minute)  # so that there is something to be looked at
            self.go(EVERY + 1, 1.0)
            self.load()
        self.assertEqual([id for id in self.ids_asked() if id < 100 and self.ids_asked().count(id) > 1], [])
        self.asked.clear()
        self.give(200)
        self.go(SELDOM, 2.0)
        self.assertEqual(sorted({id for id in self.ids_asked() if id < 100}), list(range(1, 8)))
