"""What the tests of pulling share: a member that pulls, and one that is asked; both with real tables and a disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from filing_case import DATE, MEMBER, TIME, FilesCase
from twisted.internet.defer import Deferred, succeed

from anylog.databases.library import STANDARD
from anylog.databases.sqlite import SQLite
from anylog.databases.tables import BUILT_IN
from anylog.databases.tsd import Done, Tsd, Wanted
from anylog.databases.tsd_ranges import Line
from anylog.disk.archive import folder_of
from anylog.disk.names import FileName
from anylog.interfaces import Asker, Reply
from anylog.mapping.body import content_hash
from anylog.processes.agreement import Place
from anylog.processes.consumer import Consumer
from anylog.processes.exchange import Exchange, Folders
from anylog.processes.pulled import ConsumerOptions
from anylog.processes.pulling import Peer, Puller
from anylog.processes.standing import Standing
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane, InlineLanes

OTHER = 7
FOLDERS = Folders(watch=Path("/watch"), archive=Path("/archive"), distr=Path("/distr"), error=Path("/error"))
Answer = Callable[[Mapping[str, Any]], "Deferred[Reply]"]


class OddDisk(MemoryDisk):
    """A disk whose ways a test may replace one by one."""


def place_of(member: int) -> Place:
    return Place(
        operator=f"o{member}", cluster="c", cluster_name="pair", company="acme", member=member,
        address=f"10.0.0.{member}:1", name=f"n{member}",
    )  # fmt: skip


class Body:
    """Pages of a body, and how often it was closed. `None` in the list: a page that does not come."""

    def __init__(self, pages: list[bytes | None]) -> None:
        self.pages, self.closed, self.waited = pages, 0, Deferred[Any]()

    def next(self) -> Deferred[Any]:
        if not self.pages:
            return succeed(None)
        page = self.pages.pop(0)
        if page is None:
            self.waited = Deferred()
            return self.waited
        return succeed(page)

    def close(self) -> None:
        self.closed += 1


class PullCase(FilesCase):
    """This node is member 3, and pulls from member 7, which has files of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = OddDisk()
        self.theirs = SQLite(
            name="almgm", path=Path(self.almgm.path).with_name("theirs.dbms"), home="there", library=STANDARD,
            lanes=InlineLanes(), clock=self.clock,
        )  # fmt: skip
        self.get(self.theirs.open())
        self.addCleanup(lambda: self.get(self.theirs.close()))
        self.get(self.theirs.create("tsd_info", BUILT_IN["almgm", "tsd_info"]))
        self.other, self.other_disk, self.busy = (
            Tsd(database=self.theirs, clock=self.clock, chance=Random(4)),
            OddDisk(),
            set[str](),
        )
        self.exchange = Exchange(
            clock=self.clock, disk=self.other_disk, lane=InlineLane(), place=lambda: place_of(OTHER),
            members=lambda: {MEMBER, OTHER}, tsd=lambda: self.other, folders=lambda: FOLDERS, complete=lambda: True,
            standing=Standing(), in_work=lambda: self.busy,
        )  # fmt: skip
        self.odd: dict[str, Answer] = {}  # kind -> what is answered instead
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.place = place_of(MEMBER)
        self.peer = Peer(OTHER, "10.0.0.7:1", "n7")
        self.delivered: list[str] = []
        self.refusal = ""
        self.puller = Puller(
            clock=self.clock, disk=self.disk, lane=InlineLane(), cpu=InlineLane(), ask=self.ask,
            folders=lambda: FOLDERS, delivered=lambda files: self.delivered.extend(name for name, _ in files),
        )  # fmt: skip
        self.consumer = Consumer(
            clock=self.clock, options=ConsumerOptions(start="-30d"), puller=self.puller, place=lambda: self.place,
            peers=lambda: [self.peer], active=lambda address: True, tsd=lambda: self.tsd, standing=Standing(),
            refuses=lambda: self.refusal,
        )  # fmt: skip

    def ask(self, address: str, kind: str, head: Mapping[str, Any], until: float) -> Deferred[Reply]:
        self.asked.append((kind, head))
        assert len(self.asked) < 5000, "it asks for ever"
        if kind in self.odd:
            return self.odd[kind](head)
        return self.exchange.handlers()[kind](head, b"", Asker(host="", address=address))

    def count(self, kind: str) -> int:
        return sum(each == kind for each, _ in self.asked)

    def name(self, id: int, data: bytes, member: int = OTHER) -> FileName:
        return FileName(
            dbms="town", table="t", source="0", hash=content_hash("town", "t", data), instructions="0",
            member=str(member), id=id, date=DATE,
        )  # fmt: skip

    def give(self, id: int, data: bytes = b"", *, archived: bool = True, rows: int = 1) -> FileName:
        """A file of the other member, that it holds."""
        data = data or b'{"v":%d}\n' % id
        name = self.name(id, data)
        self.hold(self.other, "tsd_info", name, rows)
        if archived:
            self.other_disk.put(folder_of(FOLDERS.archive, DATE) / str(name), data)
        return name

    def hold(self, tsd: Tsd, into: str, name: FileName, rows: int = 1) -> None:
        """An entry that is loaded."""
        wanted = Wanted(dbms="town", table="t", hash=name.hash, source="0", instructions="0", id=name.id, time=TIME,
                        into=into)  # fmt: skip
        self.get(tsd.register([wanted]))
        if rows:
            self.get(tsd.finish([Done(into=into, id=name.id, rows=rows)]))

    def line(self, name: FileName) -> Line:
        return Line(name.id, name.hash, name.dbms, name.table, 1, "loaded", TIME[:19])

    def load(self) -> None:
        """What came is loaded, and leaves the watch directory."""
        for text in self.disk.names(FOLDERS.watch):
            name = FileName.parse(text)
            self.hold(self.tsd, f"tsd_{OTHER}", evolve(name, compressed=False))
            self.disk.forget(FOLDERS.watch / text)

    def begin(self) -> None:
        self.consumer.start()
        self.addCleanup(lambda: self.get(self.consumer.stop()))
        self.go(0.1)

    def go(self, seconds: float, step: float = 0.1) -> None:
        """Time passes, and all that it brings."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
