"""Rounds of buffers that become files, of which some cannot be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.counts import Counts
from anylog.disk.records import BufferId
from anylog.processes.buffers import Buffer, Where
from anylog.processes.rounds import AT_ONCE, Rounds
from anylog.processes.thresholds import Threshold


class RoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.refused: set[Buffer] = set()
        self.made: list[Buffer] = []
        self.rounds = Rounds(clock=self.clock, counts=Counts(), round=self.round, open=lambda: True)

    async def round(self, buffers: Sequence[Buffer]) -> Mapping[Buffer, str]:
        self.made += [buffer for buffer in buffers if buffer not in self.refused]
        return {buffer: "no" for buffer in buffers if buffer in self.refused}

    def test_one_of_more_than_a_round_takes(self) -> None:
        """The others of its table that were there already follow in the next round; it is tried again all the same."""
        buffers = [Buffer(BufferId(1, at), Where("d", "t"), Threshold(), 0.0, "") for at in range(AT_ONCE + 2)]
        self.refused.add(buffers[1])
        for buffer in buffers:
            self.rounds.add(buffer)
        self.clock.advance(0)
        self.refused.clear()
        self.clock.pump([0.1] * 100)
        self.assertEqual((len(self.made), len(self.rounds), self.rounds.waiting), (len(buffers), 0, ""))
