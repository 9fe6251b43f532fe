"""Records of the journal whose checksum is right and that nobody understands: put aside, and all behind goes on."""

from __future__ import annotations

from pathlib import Path

import orjson
from test_intake_restarts import FOLDER, RestartCase
from twisted.internet.defer import Deferred

from anylog.disk.journal import PUT_ASIDE
from anylog.disk.records import Kind, pack_rows
from anylog.testing.disk import MemoryDisk

BAD = {
    "no JSON": pack_rows(b"", b'{"v": 1, "value": '),
    "no rows": pack_rows(b"", b"17"),
    "no text": pack_rows(b"", b"\xff\xfe\x00\x01"),
    "no description": pack_rows(b'{"key": ', b'{"v": 1}'),
    "another description": pack_rows(b'{"key": 7, "was": "x"}', b'{"v": 1}'),
    "nothing": b"",
}


class UnreadableRecords(RestartCase):
    def asides(self) -> list[bytes]:
        """What lies beside the journal."""
        names = sorted(name for name in self.disk._files if name.endswith(".unreadable"))
        self.assertEqual([name for name in names if Path(name).parent != FOLDER], [])
        return [bytes(self.disk._files[name].data) for name in names]

    def parked(self) -> list[str]:
        return [row[0] for row in self.ask("select reason from anylog_parked")]

    def not_loaded(self) -> None:
        """A node in whose life nothing is loaded any more."""
        self.begin()
        self.rest()
        self.intake._loaders["town"]._stopped = True

    def keep(self, *told: Deferred[object]) -> None:
        for each in told:
            self.wait(each)

    def again(self) -> None:
        """Killed, started, and left alone until all is done."""
        self.kill()
        self.begin()
        self.rest()

    def test_in_a_stream(self) -> None:
        """The others of its buffer and those behind it are loaded and filed; it is kept, with the reason, and counted.
        One more start finds nothing to do."""
        for name, bad in BAD.items():
            self.kill()
            self.setUp()
            self.not_loaded()
            self.keep(self.put(3))
            (buffer,) = self.intake._open.values()
            self.keep(self.intake.journal.append(Kind.ROWS, buffer.id, bad))
            self.keep(self.put(2), self.put(4, table="other"))
            self.again()
            self.check(name)
            self.assertEqual(self.asides(), [bad], name)
            (reason,) = self.parked()
            self.assertIn("a record of the journal was put aside", reason, name)
            self.assertEqual(self.intake.counts[PUT_ASIDE], 1, name)
            self.again()
            self.check(name)
            self.assertEqual((len(self.parked()), self.intake.counts[PUT_ASIDE]), (1, 0), name)

    def test_the_only_one(self) -> None:
        """Nothing else is in its buffer: that ends, and a content of that name may come again."""
        self.not_loaded()
        told = self.put(40, whole=True)
        self.keep(told)
        (buffer,) = self.intake._buffers.values()
        meta = orjson.dumps({"buffer": buffer.description()})
        odd = self.intake.journal.new_buffer()
        self.keep(self.intake.journal.append(Kind.WHOLE, odd, pack_rows(meta, b"[nonsense")))
        stream = self.intake.journal.new_buffer()
        description = orjson.dumps({**buffer.description(), "whole": ""})
        self.keep(self.intake.journal.append(Kind.OPEN, stream, description))
        self.keep(self.intake.journal.append(Kind.ROWS, stream, pack_rows(b"", b"{")))
        self.keep(self.put(3))
        self.again()
        self.check()
        self.assertEqual(len(self.asides()), 2)
        failed = [name for name in self.disk._files if name.startswith("/error/")]
        self.assertEqual([bytes(self.disk._files[name].data) for name in failed], [b"[nonsense"])

    def test_nobody_knows_whose(self) -> None:
        """What describes its buffer cannot be read: the node starts, keeps its readings aside, and goes on."""
        for name, kind, bad in [
            ("open", Kind.OPEN, b'{"dbms": "town"}'),
            ("text", Kind.OPEN, b"\xff"),
            ("list", Kind.OPEN, b"[1]"),
            ("whole", Kind.WHOLE, pack_rows(b"{", b'{"v": 7}')),
        ]:
            self.kill()
            self.setUp()
            self.not_loaded()
            self.keep(self.put(3))
            odd = self.intake.journal.new_buffer()
            rows = pack_rows(b"", b'{"v": 5}')
            self.keep(self.intake.journal.append(kind, odd, bad), self.intake.journal.append(Kind.ROWS, odd, rows))
            self.keep(self.put(2, whole=True))
            self.again()
            self.check(name)
            self.assertEqual(sorted(self.asides()), sorted([rows, *([bad] if kind is Kind.WHOLE else [])]), name)

    def test_what_is_done_with(self) -> None:
        """A record that does not say of which buffers: they are found to be done with once more."""
        self.begin()
        self.rest()
        self.keep(self.put(3), self.put(4, whole=True))
        self.keep(self.intake.journal.append(Kind.DONE, self.intake.journal.new_buffer(), b"12345"))
        self.again()
        self.check()
        self.assertEqual(self.asides(), [b"12345"])

    def no_room(self) -> list[bool]:
        """Nothing can be kept aside as long as there is something in the list."""
        publish, full = MemoryDisk.publish, [True]

        def refused(disk: MemoryDisk, path: Path, data: bytes) -> None:
            if full and path.suffix == ".unreadable":
                raise OSError(28, "No space left on device")
            publish(disk, path, data)

        self.patch(MemoryDisk, "publish", refused)
        return full

    def test_a_full_disk(self) -> None:
        """There is no room to keep it aside: it waits in the journal, and is not thrown away."""
        self.not_loaded()
        self.keep(self.put(3))
        (buffer,) = self.intake._open.values()
        self.keep(self.intake.journal.append(Kind.ROWS, buffer.id, BAD["no JSON"]))
        self.kill()
        self.begin(town=False)
        full = self.no_room()
        assert self.catalog is not None
        self.wait(Deferred.fromCoroutine(self.catalog.connect("town", "sqlite")))
        self.clock.pump([0.01] * 200)
        self.assertIn("No space left on device", str(self.intake.waiting()))
        full.clear()
        self.clock.pump([0.05] * 200)
        self.rest()
        self.check()
        self.assertEqual(self.asides(), [BAD["no JSON"]])

    def test_a_full_disk_at_the_start(self) -> None:
        """The node starts all the same. What nobody knows the buffer of is kept aside after a later start."""
        self.not_loaded()
        self.keep(self.put(3))
        odd = self.intake.journal.new_buffer()
        rows = pack_rows(b"", b'{"v": 5}')
        self.keep(
            self.intake.journal.append(Kind.OPEN, odd, b"[1]"), self.intake.journal.append(Kind.ROWS, odd, rows),
            self.intake.journal.append(Kind.DONE, self.intake.journal.new_buffer(), b"12345"),
        )  # fmt: skip
        full = self.no_room()
        self.again()
        self.check()
        self.assertEqual(self.asides(), [])
        full.clear()
        self.again()
        self.check()
        self.assertIn(rows, self.asides())

    def test_its_keys(self) -> None:
        """Whoever sends it again is not told that it came before; of what can be read the sender is."""
        self.not_loaded()
        self.keep(self.put(3))
        (buffer,) = self.intake._open.values()
        for body, meta in [
            (b'{"v": ', {"key": "bad", "at": self.clock.seconds(), "rows": 1}),
            (b'{"v": ', {"at": self.clock.seconds(), "tokens": {"message": "1"}}),
            (b'{"v": 1000, "value": 500.0}', {"key": "good", "at": self.clock.seconds(), "rows": 1}),
        ]:
            self.keep(self.intake.journal.append(Kind.ROWS, buffer.id, pack_rows(orjson.dumps(meta), body)))
        self.kill()
        self.begin(town=False)
        known = [self.intake.once.knows(("town", "t", key)) for key in ("bad", "message", "good")]
        self.assertEqual(known, [False, False, True])
        self.again()
        known = [self.intake.once.knows(("town", "t", key)) for key in ("bad", "message", "good")]
        self.assertEqual(known, [False, False, True])

    def test_carried_on(self) -> None:
        """Written again at the end of the journal it is what it was."""
        self.not_loaded()
        self.intake._loaders["town"].waiting = "away"
        for _ in range(4):
            self.keep(self.put(40))
            for buffer in list(self.intake._buffers.values())[-1:]:
                self.keep(self.intake.journal.append(Kind.ROWS, buffer.id, BAD["no description"]))
        self.kill()
        self.begin(town=False)
        self.intake.most = 1
        for _ in range(3):
            self.intake.relieve()
            self.clock.pump([0.001] * 40)
        self.again()
        self.check()
        self.assertEqual({*self.asides()}, {BAD["no description"]})
