"""What storms hold members to tells of what is wrong."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from anylog.databases.tsd import Entry
from anylog.mapping.body import content_hash
from anylog.testing import laws

DATA = b'{"v":1}\n'
HASH = content_hash("town", "t", DATA)


class ArchivedTests(SynchronousTestCase):
    def told(self, *names: str, forgetful: bool = False) -> list[str]:
        """What is told of a member with one entry that is loaded, and these files in its archive."""
        held = laws.Holding(name="op1", member=11, dbms="town", forgetful=forgetful)
        held.entries["tsd_info"] = [
            Entry(
                id=1, dbms="town", table="t", source="0", hash=HASH, instructions="0", time="2027-01-15 08:00:09.7",
                rows=1,
            )
        ]  # fmt: skip
        held.files = {folder: {} for folder in laws.FOLDERS}
        folder = held.places.folder("archive_dir") / "27/01/15"
        held.files["archive_dir"] = {str(folder / name): DATA for name in names}
        return [told.partition(" /")[0] for told in laws.archived(held)]

    def test_files_without_an_entry(self) -> None:
        """They are told of; only a double of what is loaded may be left, where the tables of files were lost."""
        named = f"town.t.0.{HASH}.0.11.1.270115080009.json"
        double = f"town.t.0.{HASH}.0.33.7.270115080009.json"
        other = f"town.t.0.{'a' * 32}.0.33.7.270115080009.json"
        nobody = "I-5 op1: nobody knows"
        for names, forgetful, expected in [
            ((named,), False, []),
            ((named, double), False, [nobody]),
            ((named, double), True, []),
            ((named, other), True, [nobody]),
            ((named, "notes.json"), True, [nobody]),
            ((), True, ["I-5 op1 tsd_info: 0 files"]),
        ]:
            self.assertEqual(self.told(*names, forgetful=forgetful), expected, (names, forgetful))
