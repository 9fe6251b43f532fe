"""A whole node on the real disk, asked as anybody asks: what the tests of the file commands share."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.durable import RealDisk
from anylog.errors import AnyLogError
from anylog.language.context import Context, Result, Upload
from anylog.node import Node
from anylog.testing.lanes import InlineLanes
from anylog.testing.network import MemoryNetwork

BEGIN = 1_790_000_000.0


class Desk(SynchronousTestCase):
    """A node with its directories; `outside` is a directory that is not its own."""

    def setUp(self) -> None:
        kept = TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        base = Path(kept.name).resolve()
        self.outside = base / "outside"
        self.outside.mkdir()
        self.clock = Clock()
        self.clock.advance(BEGIN)
        self.disk = self.make_disk()
        self.node = Node(
            home=base / "home",
            clock=self.clock,
            net=MemoryNetwork(self.clock, Random(1)).net("127.0.0.1"),
            lanes=InlineLanes(),
            disk=self.disk,
            chance=Random(1),
        )
        self.successResultOf(Deferred.fromCoroutine(self.node.start()))
        self.addCleanup(lambda: self.successResultOf(self.node.stop()))
        self.root = self.node.places.root
        self.prep, self.tmp, self.watch = (self.node.places.folder(key) for key in ("prep_dir", "tmp_dir", "watch_dir"))

    def make_disk(self) -> RealDisk:
        """Without syncs: what lasts is not the question here."""
        return RealDisk("none")

    def ask(self, command: str, *, local: bool = True, **context: Any) -> Result:
        """The result of a command."""
        waited = self.node.execute(command, Context(origin="console" if local else "rest", local=local, **context))
        return self.successResultOf(waited)

    def sent(self, name: str, content: bytes) -> Upload:
        """What the REST server makes of a file of that name; it lies where nobody else looks."""
        path = self.outside.parent / f".{self.node.chance.getrandbits(64):016x}.upload"
        path.write_bytes(content)
        self.addCleanup(path.unlink, missing_ok=True)
        return Upload(name=name, path=path)

    def text(self, command: str, *, local: bool = True, **context: Any) -> str:
        """Its text."""
        result = self.ask(command, local=local, **context)
        return b"".join(self.pages(result)).decode() if result.pages else result.text or ""

    def pages(self, result: Result) -> list[bytes]:
        """All pages of an answer."""
        assert result.pages is not None
        found = []
        while (page := self.successResultOf(result.pages.next())) is not None:
            found.append(page)
        return found

    def refused(self, command: str, *, local: bool = True, **context: Any) -> tuple[int, str]:
        """Number and detail of its error."""
        waited = self.node.execute(command, Context(origin="console" if local else "rest", local=local, **context))
        error = self.failureResultOf(waited, AnyLogError).value
        return error.number, str(error)

    def names(self, folder: Path) -> list[str]:
        """What lies there, hidden things included."""
        return sorted(path.name for path in folder.iterdir())
