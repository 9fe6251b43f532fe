"""Above which ids an operator begins, after what is found here and told by others."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from filing_case import MEMBER, FilesCase
from twisted.internet.defer import Deferred

from anylog.databases.tsd import FOREIGN_IDS
from anylog.interfaces import Publish
from anylog.processes.recovery import Recovery
from anylog.processes.whole import FilingOptions
from anylog.testing.lanes import InlineLanes

OPTIONS = FilingOptions(
    archive_dir=Path("/archive"), distr_dir=Path("/distr"), bkup_dir=Path("/bkup"), err_dir=Path("/error")
)
LARGE = 5 << 50  # above all times in milliseconds


class SeeingTests(FilesCase):
    """Nothing that anybody knows of is given again."""

    def begin(self, *told: int | None) -> int:
        """The last id when other members told these."""

        async def known() -> list[int | None]:
            return list(told)

        self.registry.sure = None
        room = Recovery(
            clock=self.clock, disk=self.disk, lane=InlineLanes().open("disk"), registry=self.registry,
            bring=None, in_work=set, known_by_members=known,
        )  # type: ignore[arg-type]  # fmt: skip
        self.get(Deferred.fromCoroutine(room.see_ids([], OPTIONS)))
        found: int = self.get(self.tsd.last_id())
        return found

    def test_one_answer_is_absurd(self) -> None:
        """It does not hide the others."""
        for absurd in (FOREIGN_IDS - 1, FOREIGN_IDS, (1 << 63) - 1):
            self.assertGreaterEqual(self.begin(absurd, LARGE, None), LARGE)

    def test_an_older_day(self) -> None:
        """The newest days of the archive are of others alone, and one file may be called anything."""
        for member, id, day in [
            (MEMBER, LARGE, "260901"),
            (MEMBER + 1, 5, "260902"),
            (MEMBER, (1 << 63) - 1, "991231"),
        ]:
            folder = Path("/archive") / day[:2] / day[2:4] / day[4:]
            name = f"town.t.s.{id:032x}.0.{member}.{id}.{day}101500.json"
            self.disk.batch([Publish(folder / name, b"more\n")])
        self.assertGreaterEqual(self.begin(), LARGE)

    def test_what_failed(self) -> None:
        """It waits in the error directory under its name, and may come back."""
        name = f"town.t.s.{7:032x}.0.{MEMBER}.{LARGE}.260901101500.err_27.1800000016.json"
        self.disk.batch([Publish(OPTIONS.err_dir / name, b"more\n")])
        self.assertGreaterEqual(self.begin(), LARGE)

    def test_seen_once(self) -> None:
        """Another database that is connected later costs no more looks into the archive."""
        self.begin()
        self.registry.sure = self.tsd
        room = Recovery(
            clock=self.clock, disk=self.disk, lane=InlineLanes().open("disk"), registry=self.registry,
            bring=None, in_work=set,
        )  # type: ignore[arg-type]  # fmt: skip

        class Town:
            """Empty."""

            lasting = True

            async def highest_mark(self, member: int) -> int:
                """None."""
                return 0

            async def mark_members(self) -> list[int]:
                """None."""
                return []

            async def mark_sums(self, member: int) -> dict[str, tuple[int, int, int]]:
                """None."""
                return {}

        with patch.object(type(self.disk), "names", side_effect=OSError("looked")):
            done = self.get(Deferred.fromCoroutine(room.compare("town", Town(), OPTIONS)))  # type: ignore[arg-type]
        self.assertEqual(done, {})
