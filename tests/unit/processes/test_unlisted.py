"""Where it is kept in mind that the archive may have files without entries."""

from __future__ import annotations

from filing_case import FilesCase

from anylog.databases.unlisted import note_listed, unlisted_above


class UnlistedTests(FilesCase):
    """By database of readings, from the loss of entries until the archive was read."""

    def above(self, dbms: str = "town") -> int | None:
        found: int | None = self.get(unlisted_above(self.almgm, dbms))
        return found

    def test_no_loss(self) -> None:
        """Nothing is to be read; what was never asked for cannot have been read."""
        self.assertIsNone(self.above())
        self.get(self.tsd.ids_beyond(7))
        self.assertEqual(self.above(), 0)

    def test_read(self) -> None:
        """Once for each database; the next loss asks for all of them again."""
        last = self.known("a" * 32).entry.id
        self.get(self.tsd.ids_beyond(1 << 50))
        self.assertEqual((self.above(), self.above("city")), (last, last))
        self.get(note_listed(self.almgm, "town", last))
        self.assertEqual((self.above(), self.above("city")), (None, last))
        self.get(self.tsd.ids_beyond(1 << 51))
        self.assertEqual((self.above(), self.above("city")), (last, last))

    def test_another_loss_meanwhile(self) -> None:
        """What was read from higher ids on is to be read from lower ones."""
        self.get(self.tsd.ids_beyond(7))
        self.get(note_listed(self.almgm, "town", 5))
        self.assertEqual(self.above(), 0)
