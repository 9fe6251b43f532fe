"""A node that ends right after its start does what it took before, and says what it cannot do."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from tests.unit.processes.test_intake_restarts import RestartCase


class StoppedSoon(RestartCase):
    def start_again(self, whole: bool) -> None:
        """A node that was killed when it had said yes starts on what its journal holds."""
        self.kill()
        self.setUp()
        self.begin()
        self.rest()
        for rows in (1, 40, 3):
            self.put(rows, whole=whole)
        while len(self.acknowledged) < 44:
            self.clock.advance(0.001)
        self.kill()
        self.begin(town=False)

    def stop(self) -> float:
        """End it; gives the seconds that took."""
        begun = self.clock.seconds()
        ended = Deferred.fromCoroutine(self.intake.stop())
        while not ended.called:
            self.clock.advance(0.001)
        self.successResultOf(ended)
        return self.clock.seconds() - begun

    def test_after_each_millisecond(self) -> None:
        """While its database is read, while the operator looks around, while others are asked: all is done."""
        for moment in range(2, 60):
            whole = moment % 2 == 0
            self.start_again(whole)
            if moment % 3 == 2:
                self.wait(self.operating)
            connected = Deferred.fromCoroutine(self.catalog.connect("town", "sqlite"))  # type: ignore[union-attr]
            self.clock.pump([0.001] * (moment // 2))
            self.stop()
            self.successResultOf(connected)
            self.assertEqual(list(self.intake._buffers), [], f"stopped after {moment // 2} ms, whole: {whole}")
            self.check(f"stopped after {moment // 2} ms, whole: {whole}")

    def test_what_cannot_be_done(self) -> None:
        """No database for it: it stays, that is said, and the next start does it."""
        told: list[str] = []

        def hear(event: object) -> None:
            told.append(str(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        self.start_again(True)
        self.clock.pump([0.001] * 50)
        self.assertLess(self.stop(), 0.5)
        self.assertTrue([each for each in told if "its readings stay in the journal" in each and "town" in each])
        self.kill()
        self.begin()
        self.rest()
        self.check()
