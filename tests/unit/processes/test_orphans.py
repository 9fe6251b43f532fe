"""What was registered before this start and never loaded; and own files that came back from other members."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from filing_case import DATE, MEMBER, FilesCase
from twisted.internet.defer import Deferred

from anylog.databases.returned import counted_as, note_returned, returned
from anylog.databases.tsd import Done, Entry, Tsd
from anylog.processes.earlier import Earlier
from anylog.processes.others import Elsewhere
from anylog.processes.recovery import Recovery
from anylog.processes.registry import stream_of
from anylog.processes.unread import Unread
from anylog.testing.lanes import InlineLanes

A, B, C, D = (letter * 32 for letter in "abcd")


class OrphansTests(FilesCase):
    """Nobody comes with them any more, unless they wait in the watch directory still."""

    def look(self, *names: str, meanwhile: Sequence[Done] = ()) -> int:
        async def waiting() -> list[str]:
            await self.tsd.finish(meanwhile)
            return list(names)

        room = Recovery(
            clock=self.clock, disk=self.disk, lane=InlineLanes().open("disk"), registry=self.registry,
            bring=None, in_work=set, waiting=waiting,
        )  # type: ignore[arg-type]  # fmt: skip
        left: int = self.get(Deferred.fromCoroutine(room.orphans()))
        return left

    def status(self, into: str, id: int) -> str | None:
        found: dict[int, Entry] = self.get(self.tsd.by_ids(into, [id]))
        return found[id].status1 if id in found else None

    def test_files_that_wait(self) -> None:
        """By id, by hash, or by their table if they say no more: they are left alone until they are read, or gone."""
        for id, hash in enumerate((A, B, C), 1):
            self.known(hash, id=id)
        self.known(D, id=5, into="tsd_9")
        self.known("open:e.1", id=9)
        named = f"town.t.s.{A}.0.{MEMBER}.1.{DATE}.json.gz"
        other = f"town.t.s.{D}.0.9.5.{DATE}.json"
        self.assertEqual(self.look(named, f"town.t.s.{B}.json", other, "notes.txt", "town.other.json"), 3)
        self.assertEqual([self.status("tsd_info", id) for id in (1, 2, 3, 9)], ["", "", "03", "03"])
        entries: dict[int, Entry] = self.get(self.tsd.by_ids("tsd_info", [3, 9]))
        self.assertEqual([entries[id].hash for id in (3, 9)], [C, "03:e.1"])
        self.assertEqual(self.status("tsd_9", 5), "")
        self.assertEqual(self.look("town.t.json"), 3)
        self.assertEqual(self.look(), 0)
        self.assertEqual([self.status("tsd_info", id) for id in (1, 2)], ["03", "03"])
        self.assertIsNone(self.status("tsd_9", 5))

    def test_counted_meanwhile(self) -> None:
        """What ended while the directory was listed is loaded: neither forgotten nor called lost."""
        self.known(A, id=1)
        self.known("open:e.1", id=2)
        self.known(B, id=3, into="tsd_9")
        counted = [
            Done(into="tsd_info", id=1, rows=4),
            Done(into="tsd_info", id=2, rows=5, hash=C),
            Done(into="tsd_9", id=3, rows=6),
        ]
        self.assertEqual(self.look(meanwhile=counted), 0)
        found = {
            (into, entry.id): (entry.rows, entry.status1)
            for into in ("tsd_info", "tsd_9")
            for entry in self.get(self.tsd.by_ids(into, [1, 2, 3])).values()
        }
        self.assertEqual(found, {("tsd_info", 1): (4, ""), ("tsd_info", 2): (5, ""), ("tsd_9", 3): (6, "")})

    def test_counted_while_a_stream_is_given_up(self) -> None:
        """The file that takes its place came back and was loaded meanwhile: it stays counted."""
        entry = self.known(A, id=5).entry
        by_ids = Tsd.by_ids

        def counted(tsd: Tsd, into: str, ids: Sequence[int]) -> Deferred[dict[int, Entry]]:
            found = by_ids(tsd, into, ids)
            self.get(self.tsd.finish([Done(into="tsd_info", id=5, rows=4)]))
            return found

        async def nothing(*given: object) -> None:
            return None

        earlier = Earlier(
            clock=self.clock, registry=self.registry, filing=None, database=None, accept=None, ended=None,
            lacking=nothing, buffers={},
        )  # type: ignore[arg-type]  # fmt: skip
        self.patch(Tsd, "by_ids", counted)
        buffer, file = self.streamed(b'{"v":1}\n'), Elsewhere(member=4, id=5, hash=A, rows=4, state="loaded")
        back = self.get(Deferred.fromCoroutine(earlier._counted_as(buffer, file)))
        self.patch(Tsd, "by_ids", by_ids)
        self.assertEqual(self.get(self.tsd.by_ids("tsd_info", [5])), {5: evolve(entry, rows=4)})
        self.assertFalse(back)
        self.assertEqual(self.get(counted_as(self.tsd, [5])), {5: stream_of(buffer)})

    def test_a_stream_is_no_file(self) -> None:
        """What has no hash yet was never in the watch directory."""
        entry = self.known("open:e.1", id=9).entry
        self.assertFalse(Unread.of(["town.t.json"], MEMBER).may_be("tsd_info", entry))

    def test_returned(self) -> None:
        """They are remembered until they are loaded; then they are forgotten when others come."""
        self.assertEqual(self.get(returned(self.tsd)), [])
        self.get(note_returned(self.tsd, [1, 2]))
        self.get(note_returned(self.tsd, [2, 3]))
        self.assertEqual(self.get(returned(self.tsd)), [1, 2, 3])
        self.known(A, rows=4, id=2)
        self.known(B, id=3)
        self.assertEqual(self.get(returned(self.tsd)), [1, 3])
        self.get(note_returned(self.tsd, [7]))
        kept = self.get(self.almgm.read(lambda c: c.execute("select file_id from anylog_returned").fetchall()))
        self.assertEqual([row[0] for row in kept], [1, 3, 7])
