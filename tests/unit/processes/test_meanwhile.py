"""What was read before a wait may be over after it: streams end, marks go, databases are connected anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from anylog.databases.tsd import Done, Entry, Tsd, Wanted
from anylog.disk.archive import folder_of
from anylog.disk.journal import Journal
from anylog.errors import AnyLogError
from anylog.mapping.body import content_hash, normal_form
from anylog.processes.registry import Registry, Verdict
from anylog.processes.whole import Outcome, WholeFile
from tests.unit.processes.test_intake_restarts import FILES, MEMBER, RestartCase


def made(first: int, end: int) -> list[dict[str, Any]]:
    """Rows as `put` makes them."""
    return [{"timestamp": "2026-11-21T10:00:00Z", "v": n, "value": n / 2} for n in range(first, end)]


class MeanwhileTests(RestartCase):
    def tsd(self) -> Tsd:
        tsd = self.intake.registry.tsd
        assert isinstance(tsd, Tsd)
        return tsd

    def entries(self) -> list[Entry]:
        found = self.ask("select file_id from tsd_info order by 1", "almgm")
        entries: dict[int, Entry] = self.wait(self.tsd().by_ids("tsd_info", [row[0] for row in found]))
        return list(entries.values())

    def test_filed_while_the_pending_are_read(self) -> None:
        """A stream that ends while a comparison reads what is pending has its file already: it is made no other one.

        The rows of its table say more than it: they have the times that some of its own lacked.
        """
        self.begin(operates=False)
        operating = self.intake.operate(evolve(FILES, distributor=True), lambda: MEMBER)
        self.wait(operating)
        self.put(3, "t0", "timeless")
        self.clock.pump([0.001] * 30)
        found = self.wait(self.tsd().pending())
        self.assertEqual(len(found), 1)
        late: Deferred[Any] = Deferred()
        self.patch(Tsd, "pending", lambda tsd: late)
        compared = self.intake.operating.compared("town")
        self.clock.pump([0.001] * 30)
        self.rest()
        (entry,) = self.entries()
        late.callback(found)
        self.wait(compared)
        self.assertEqual(self.entries(), [entry])
        files = [Path(name).name.split(".")[3] for name in self.disk._files if name.startswith("/distr/")]
        self.assertEqual(files, [entry.hash])

    def test_undone_while_a_file_is_brought(self) -> None:
        """Its mark said that it is loaded, and was gone when it was registered: it is loaded once more."""
        self.begin()
        self.rest()
        self.put(3, "t0")
        self.rest()
        (entry,) = self.entries()
        (name,) = (name for name in self.disk._files if name.startswith("/archive/"))
        rows = made(0, 3)
        path = Path("/watch") / Path(name).name
        self.disk.put(path, self.disk._files[name].data)
        file = WholeFile(
            path=path, dbms="town", table="t0", source="0", instructions="0", hash=entry.hash, rows=rows,
            normal=normal_form(rows), stamp=self.disk.stat(path)[:2], member=str(MEMBER), id=entry.id,
            date=Path(name).name.split(".")[7],
        )  # fmt: skip
        register = Registry.register
        undone: list[int] = []

        async def registered(registry: Registry, buffers: Any) -> list[Verdict]:
            if not undone:  # as when a stream of an earlier time is given up for this file
                undone.append(entry.id)
                await self.tsd().finish([Done(into="tsd_info", id=entry.id, rows=0)])
                await self.catalog.get("town").undo("t0", MEMBER, entry.id)  # type: ignore[union-attr]
            return await register(registry, buffers)

        self.patch(Registry, "register", registered)
        outcome: Outcome = self.wait(self.intake.bring(file))
        self.assertEqual((outcome.kind, outcome.rows), ("loaded", 3))
        self.assertEqual(undone, [entry.id])
        self.rest()
        self.check()

    def test_connected_anew_while_it_is_registered(self) -> None:
        """A database that comes back gets what the loader of before has at hand once that is settled."""
        waits: list[Deferred[None]] = []
        register = Registry.register
        held = False

        async def registered(registry: Registry, buffers: Any) -> list[Verdict]:
            verdicts = await register(registry, buffers)
            if held and not waits:
                waits.append(Deferred())
                await waits[0]
            return verdicts

        self.patch(Registry, "register", registered)
        self.begin()
        self.rest()
        self.put(1, "t0")
        self.rest()
        wanted = Wanted(
            dbms="town", table="t0", source="0", hash=content_hash("town", "t0", normal_form(made(1, 3))),
            instructions="0", id=5, into="tsd_9", time="2026-11-21 10:00:00",
        )  # fmt: skip
        self.wait(self.tsd().register([wanted]))
        self.wait(self.tsd().finish([Done(into="tsd_9", id=5, rows=2)]))
        held = True
        self.put(2, "t0", whole=True)
        self.clock.pump([0.001] * 50)
        self.assertEqual(len(waits), 1)
        assert self.catalog is not None
        self.wait(Deferred.fromCoroutine(self.catalog.disconnect("town")))
        self.wait(Deferred.fromCoroutine(self.catalog.connect("town", "sqlite")))
        for _ in range(50):
            if "town" in self.intake._loaders:
                break
            self.clock.advance(0.001)
        waits[0].callback(None)
        self.acknowledged -= {1, 2}  # another member has brought them
        self.rest()
        self.put(1, "t0")
        self.rest()
        self.check()

    def test_orphans_while_the_journal_is_opened_anew(self) -> None:
        """What it held is in work all the time, though the database of it is away: it is not given up."""
        self.begin()
        self.rest()
        self.put(3, "t0")
        self.clock.pump([0.001] * 30)
        self.kill()
        self.begin(town=False)
        self.wait(self.operating)
        self.assertEqual(len(self.wait(self.tsd().pending())), 1)
        opened = Journal.open

        async def refused(journal: Journal) -> Any:
            raise AnyLogError(63, "the disk is away")

        self.patch(Journal, "open", refused)
        self.intake._start_anew()
        for _ in range(20):
            self.clock.advance(0.1)
        self.wait(Deferred.fromCoroutine(self.intake.recovery.orphans()))
        self.patch(Journal, "open", opened)
        for _ in range(50):
            self.clock.advance(0.1)
        assert self.catalog is not None
        self.wait(Deferred.fromCoroutine(self.catalog.connect("town", "sqlite")))
        self.rest()
        self.check()

    def test_disconnected_while_the_journal_is_opened_anew(self) -> None:
        """Nobody waits for a database that went meanwhile; what the journal holds for it waits until it is back."""
        self.begin()
        self.rest()
        self.put(2, "t0")
        self.clock.pump([0.001] * 30)
        self.intake._start_anew()
        self.clock.advance(0.01)
        assert self.catalog is not None
        self.wait(Deferred.fromCoroutine(self.catalog.disconnect("town")))
        for _ in range(50):
            self.clock.advance(0.1)
        self.assertTrue(self.intake._ready)
        self.assertFalse(self.intake.attaching.reads)
        self.wait(Deferred.fromCoroutine(self.catalog.connect("town", "sqlite")))
        self.rest()
        self.check()

    def test_another_database_before_the_file_is_made(self) -> None:
        """It has no rows of a stream that is loaded: they come from its file once that is there."""
        for rows in (3, 0):
            self.kill()
            self.setUp()
            self.begin()
            self.rest()
            day = folder_of(Path("/archive"), "270115")
            self.disk.refuses.add(day)
            self.put(2, "t0")
            self.clock.pump([0.001] * 30)
            if not rows:  # all of it is loaded, and waits to be a file
                self.wait(Deferred.fromCoroutine(self.intake.flush(1.0)))
            assert self.catalog is not None
            self.wait(Deferred.fromCoroutine(self.catalog.disconnect("town")))
            for path in self.places.folder("dbms_dir").glob("town.dbms*"):
                path.unlink()
            self.wait(Deferred.fromCoroutine(self.catalog.connect("town", "sqlite")))
            if rows:
                self.put(rows, "t0")
            self.clock.pump([0.01] * 50)
            self.disk.refuses.discard(day)
            self.rest()
            self.clock.pump([0.1] * 300)
            self.rest()
            self.check(f"{rows} after it")
