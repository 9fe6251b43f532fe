"""What was read before a wait may be over after it: streams end, marks go, databases are connected anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from anylog.databases.tsd import Entry, Tsd
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
