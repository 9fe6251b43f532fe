"""The process that cuts buffers whose time is over (ingest.md 8.2)."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from anylog.interfaces import Clock
from anylog.process import STREAMER, Process, Rhythm
from anylog.processes.intake import Intake


class Streamer(Process):
    """Cuts buffers by time; those that reach their volume are cut without it."""

    name = "streamer"
    floor = STREAMER

    def __init__(self, *, clock: Clock, intake: Intake) -> None:
        self._intake = intake
        self._rhythm = Rhythm(clock=clock, every=0.5, do=self._beat, name="streamer")

    def start(self) -> None:
        """Look every half second."""
        self._rhythm.start()

    def stop(self) -> Deferred[None]:
        """Look no more; the buffers stay open, and safe."""
        return self._rhythm.stop()

    def describe(self) -> str:
        """As `get processes` shows it."""
        default = self._intake.thresholds.default
        return f"Default streaming thresholds are {default.time:g} seconds and {default.volume:,} bytes"

    def _beat(self) -> None:
        self._intake.cut_due()
