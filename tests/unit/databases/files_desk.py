"""A node with tables of files, asked as anybody asks: what the tests of their commands share."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.tsd import Done, Entry, Registered, Tsd, Wanted
from anylog.disk.durable import RealDisk
from anylog.errors import AnyLogError
from anylog.language.context import Context, Result
from anylog.node import Node
from anylog.testing.lanes import InlineLanes
from anylog.testing.network import MemoryNetwork

BEGIN = 1_790_000_000.0  # 2026-09-21 14:13:20
DAY = 86_400
A, B, C, D = "a" * 32, "b" * 32, "c" * 32, "d" * 32
NAME = f"town.weather.0.{A}.0.json"
CREATE = "create table tsd_info where dbms = almgm"


class FilesDesk(SynchronousTestCase):
    """A node on a real disk that has an almgm; `files` are its tables of files."""

    def setUp(self) -> None:
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.clock = Clock()
        self.clock.advance(BEGIN)
        self.node = Node(
            home=Path(kept.name).resolve() / "home",
            clock=self.clock,
            net=MemoryNetwork(self.clock, Random(1)).net("127.0.0.1"),
            lanes=InlineLanes(),
            disk=RealDisk("none"),
            chance=Random(1),
        )
        self.get(Deferred.fromCoroutine(self.node.start()))
        self.addCleanup(lambda: self.get(self.node.stop()))
        self.prep = self.node.places.folder("prep_dir")
        self.ask("connect dbms almgm where type = sqlite")
        self.ask(CREATE)

    def get(self, waited: Deferred[Any]) -> Any:
        return self.successResultOf(waited)

    @property
    def files(self) -> Tsd:
        return Tsd(database=self.node.databases.get("almgm"), clock=self.clock, chance=self.node.chance)

    def ask(self, command: str, *, local: bool = True) -> Result:
        waited = self.node.execute(command, Context(origin="console" if local else "rest", local=local))
        self.clock.advance(0)
        result: Result = self.get(waited)
        return result

    def text(self, command: str) -> str:
        result = self.ask(command)
        return b"".join(self.pages(result)).decode() if result.pages else result.text or ""

    def data(self, command: str) -> Any:
        """The JSON of an answer, in pages or not."""
        result = self.ask(command)
        return json.loads(b"".join(self.pages(result))) if result.pages else result.data

    def pages(self, result: Result) -> list[bytes]:
        assert result.pages is not None
        found: list[bytes] = []
        while (page := self.get(result.pages.next())) is not None:
            found.append(page)
        result.pages.close()
        return found

    def refused(self, command: str, *, local: bool = True) -> tuple[int, str]:
        waited = self.node.execute(command, Context(origin="console" if local else "rest", local=local))
        error = self.failureResultOf(waited, AnyLogError).value
        return error.number, str(error)

    def register(self, hash: str, *, rows: int = 0, table: str = "weather", **options: Any) -> Registered:
        """One file, loaded if it has rows."""
        given = {"dbms": "town", "source": "0", "instructions": "0", **options}
        (told,) = self.get(self.files.register([Wanted(hash=hash, table=table, **given)]))
        if rows:
            self.get(self.files.finish([Done(into=told.into, id=told.entry.id, rows=rows)]))
        result: Registered = told
        return result

    def ids(self, options: str = "") -> list[int]:
        """Which entries of tsd_info are shown."""
        return [each["file_id"] for each in self.data(f"time file get where {options}format = json")["tsd_info"]]

    def entry(self, id: int, into: str = "tsd_info") -> Entry | None:
        found: dict[int, Entry] = self.get(self.files.by_ids(into, [id]))
        return found.get(id)

    def become_member(self) -> None:
        """Member 7 of a cluster of 7 and 9."""
        self.ask(
            "run tcp server where external_ip = 127.0.0.1 and external_port = 32148 and"
            " internal_ip = 127.0.0.1 and internal_port = 32148 and bind = true and threads = 1"
        )
        cluster = '{"cluster": {"id": "c1", "name": "north", "company": "acme"}}'
        policies = [cluster, *(
            json.dumps({"operator": {"id": f"o{member}", "name": f"op{member}", "company": "acme", "cluster": "c1",
                                     "ip": "127.0.0.1", "port": 32141 + member, "member": member}})
            for member in (7, 9)
        )]  # fmt: skip
        for policy in policies:
            self.node.dictionary.set("p", policy)
            self.ask("blockchain insert where policy = !p and local = true")
        self.ask("run operator where policy = o7")
