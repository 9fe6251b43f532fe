"""What the tests of registering and filing share: real tables of files, a disk in memory, buffers that were loaded."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.library import STANDARD
from anylog.databases.sqlite import SQLite
from anylog.databases.tables import BUILT_IN
from anylog.databases.tsd import Done, Entry, Registered, Tsd, Wanted
from anylog.disk.records import BufferId
from anylog.mapping.body import content_hash
from anylog.processes.buffers import Buffer, Where
from anylog.processes.registry import Registry, Verdict
from anylog.processes.thresholds import Threshold
from anylog.processes.whole import WholeFile
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLanes

BEGIN = 1_790_000_000  # 2026-09-21 14:13:20
DATE, TIME = "260921141320", "2026-09-21 14:13:20.000000"
WATCH = Path("/watch")
MEMBER = 3


class FilesCase(SynchronousTestCase):
    """This node is member 3."""

    def setUp(self) -> None:
        self.clock, self.disk = Clock(), MemoryDisk()
        self.clock.advance(BEGIN)
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.almgm = SQLite(
            name="almgm", path=Path(kept.name) / "almgm.dbms", home="here", library=STANDARD, lanes=InlineLanes(),
            clock=self.clock,
        )  # fmt: skip
        self.get(self.almgm.open())
        self.addCleanup(lambda: self.get(self.almgm.close()))
        self.get(self.almgm.create("tsd_info", BUILT_IN["almgm", "tsd_info"]))
        self.tsd = Tsd(database=self.almgm, clock=self.clock, chance=Random(1))
        self.there: Tsd | None = self.tsd
        self.registry = Registry(tsd=lambda: self.there, member=lambda: MEMBER)
        self.registry.sure = self.tsd
        self.number = 0

    def get(self, waited: Deferred[Any]) -> Any:
        return self.successResultOf(waited)

    def buffer(self, rows: int = 2, name: str = "", **options: Any) -> Buffer:
        """A file of the watch directory whose rows are loaded; its content is another one each time."""
        self.number += 1
        normal = options.pop("normal", b'{"v":%d}\n' % self.number * max(rows, 1))
        hash = content_hash("town", "t", normal)
        path = WATCH / (name or f"town.t.s{self.number}.json")
        self.disk.put(path, normal)
        where = Where("town", "t", options.pop("source", f"s{self.number}"))
        file = WholeFile(
            path=path, dbms="town", table="t", source=where.source, instructions="0", hash=hash,
            rows=[{"v": self.number}] * rows, normal=normal, stamp=self.disk.stat(path)[:2], **options,
        )  # fmt: skip
        return self.made(where, whole=hash, file=file, path=path, stored=rows, rows=rows, volume=len(normal))

    def streamed(self, *parts: bytes) -> Buffer:
        """Readings that came through a door, and are loaded; `parts` are their normal form."""
        rows = sum(part.count(b"\n") for part in parts)
        return self.made(Where("town", "t"), stored=rows, rows=rows, normal=list(parts))

    def made(self, where: Where, **options: Any) -> Buffer:
        self.number += 1
        id = BufferId(b"epoch", self.number)
        at = TIME[:19]
        return Buffer(id, where, Threshold(), BEGIN, at, filed=True, member=MEMBER, state="cut", **options)

    def register(self, *buffers: Buffer) -> list[Verdict]:
        return self.get(Deferred.fromCoroutine(self.registry.register(buffers)))

    def verdict(self, buffer: Buffer) -> str:
        (found,) = self.register(buffer)
        return found.kind

    def entry(self, buffer: Buffer, into: str = "tsd_info") -> Entry | None:
        found: dict[int, Entry] = self.get(self.tsd.by_ids(into, [buffer.tsd]))
        return found.get(buffer.tsd)

    def known(self, hash: str, rows: int = 0, **options: Any) -> Registered:
        """An entry from before."""
        given = {"dbms": "town", "table": "t", "source": "before", "instructions": "0", **options}
        status = {key: given.pop(key) for key in ("status1", "status2") if key in given}
        (found,) = self.get(self.tsd.register([Wanted(hash=hash, **given)]))
        if rows or status:
            self.get(self.tsd.finish([Done(into=found.into, id=found.entry.id, rows=rows, **status)]))
        assert isinstance(found, Registered)
        return found
