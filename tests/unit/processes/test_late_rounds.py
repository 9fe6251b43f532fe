"""What was begun before the journal was opened anew, or before this node became another member, ends late."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from filing_case import MEMBER as OWNER
from test_filing import DAY, FilingCase
from twisted.internet.defer import Deferred

from anylog.databases.tsd import Done, Tsd, Wanted
from anylog.errors import AnyLogError
from anylog.processes.buffers import Buffer
from anylog.processes.filing import Filing, full_name
from tests.unit.processes.test_intake_restarts import MEMBER, Moody, RestartCase


class FormerMemberTests(FilingCase):
    def test_counted_under_its_id(self) -> None:
        """A stream of the member that this node was before is looked for among the files of that one."""
        self.begin()
        buffer = self.streamed(b'{"v":1}\n')
        buffer.member, buffer.recalled = OWNER + 1, True
        buffer.registered(1, "2026-09-21 14:13:20.000000")
        other = self.known("other", rows=5)
        self.assertEqual(other.entry.id, buffer.tsd)
        self.file(buffer, register=False)
        self.assertEqual(self.counted(buffer), 5)
        entry = self.entry(buffer, f"tsd_{OWNER + 1}")
        assert entry is not None
        self.assertEqual(entry.rows, 1)
        self.assertEqual(self.lies(DAY), [full_name(buffer, entry.hash, True)])

    def test_counted_there(self) -> None:
        """If that says that it is counted, its file is there."""
        self.begin()
        buffer = self.streamed(b'{"v":1}\n')
        buffer.member, buffer.recalled = OWNER + 1, True
        buffer.registered(1, "2026-09-21 14:13:20.000000")
        self.known("its hash", rows=1, id=1, time=buffer.time, into=f"tsd_{OWNER + 1}")
        self.file(buffer, register=False)
        self.assertEqual(self.lies(DAY), [])
        self.assertIn(buffer, self.told)


class AnewTests(RestartCase):
    """The journal is opened anew."""

    def setUp(self) -> None:
        super().setUp()
        self.held: list[Deferred[None]] = []

    def hold(self, name: str) -> None:
        """The first round of filing waits there."""
        step = getattr(Filing, name)

        async def held(filing: Filing, files: Sequence[Any], *options: Any) -> Any:
            if files and not self.held:
                self.held.append(Deferred())
                await self.held[0]
            return await step(filing, files, *options)

        self.patch(Filing, name, held)

    def stream(self) -> Buffer:
        """One whose file is being made."""
        self.put(3, "t0")
        (buffer,) = self.intake._buffers.values()
        while not self.held:
            self.clock.advance(0.01)
            self.intake.cut_due()
        return buffer

    def anew(self) -> None:
        self.intake._start_anew()
        self.clock.pump([0.01] * 200)
        self.assertTrue(self.intake._ready)

    def test_a_round_that_ends_after_it(self) -> None:
        """What was read back is looked after until it ends itself, though what it was before is a file by then."""
        self.begin()
        self.rest()
        self.hold("_count")
        before = self.stream()
        assert self.catalog is not None
        self.wait(Deferred.fromCoroutine(self.catalog.disconnect("town")))
        self.anew()
        (after,) = self.intake._buffers.values()
        self.assertIsNot(before, after)
        self.held[0].callback(None)
        self.clock.pump([0.01] * 20)
        self.assertEqual(list(self.intake._buffers.values()), [after])
        self.wait(Deferred.fromCoroutine(self.catalog.connect("town", "sqlite")))
        self.rest()
        self.assertFalse(self.intake.registry.has("tsd_info", before.tsd))
        self.check()

    def test_a_round_that_ends_meanwhile(self) -> None:
        """While the journal is read it is told of nothing that was read back already."""
        for moment in range(20):
            self.kill()
            self.setUp()
            with self.subTest(moment=moment):
                self.begin()
                self.rest()
                self.hold("_count")
                self.stream()
                self.intake._start_anew()
                self.clock.pump([0.1] * 10)
                self.clock.pump([0.001] * moment)
                self.held[0].callback(None)
                self.clock.pump([0.001] * 200)
                self.rest()
                self.assertEqual(list(self.intake.registry._live), [])
                self.check(f"after {moment} ms")

    def test_a_round_that_fails_after_it(self) -> None:
        """What was read back becomes the file; what it was before is not tried again."""
        self.begin()
        self.rest()
        self.hold("_publish")
        before = self.stream()
        self.anew()
        self.held[0].errback(AnyLogError(63, "the disk is away"))
        self.clock.advance(0)
        self.assertFalse(any(each is before for each in self.intake.filing._rounds._queue))
        self.rest()
        self.check()

    def test_registered_and_not_loaded(self) -> None:
        """It has its id still when it is read back."""
        self.begin()
        self.rest()
        loader: Any = self.intake._loaders["town"]

        class Away:
            def random(self) -> float:
                return 0.0

        loader.database = Moody(loader.database, Away())  # type: ignore[arg-type]
        for whole in (True, False):
            self.put(3, "t0", whole=whole)
        self.clock.pump([0.01] * 50)
        self.assertEqual(len(self.ask("select file_id from tsd_info", "almgm")), 2)
        self.anew()
        self.rest()
        self.check()
