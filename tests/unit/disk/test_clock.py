"""The clock of a node that runs: what the wall clock does changes neither intervals nor timers."""

from __future__ import annotations

from typing import Any

from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock

from anylog.clock import SteadyClock
from anylog.interfaces import unix

DAY = 86_400.0


class Reactor(ReactorBase):
    """Runs what is due, without sockets."""

    def installWaker(self) -> None:
        pass


class Times:
    """Of a machine: seconds since it booted, and what its wall clock says."""

    def __init__(self) -> None:
        self.boot, self.wall = 1000.0, 1_800_000_000.0

    def pass_by(self, seconds: float) -> None:
        self.boot += seconds
        self.wall += seconds


def test_the_wall_clock_jumps() -> None:
    """A timer is due when its seconds are over: not a day early, and not two days late."""
    times, due = Times(), []
    reactor: Any = Reactor()
    clock = SteadyClock(reactor, steady=lambda: times.boot, wall=lambda: times.wall)
    begin = clock.seconds()
    assert begin == unix(clock) == times.wall
    for number, jump in enumerate((DAY, -2 * DAY, DAY)):
        clock.callLater(10, due.append, number)
        reactor.runUntilCurrent()  # it takes it up
        times.wall += jump
        times.pass_by(9)
        reactor.runUntilCurrent()
        assert due == list(range(number))
        assert 0 < reactor.timeout() <= 1
        times.pass_by(2)
        reactor.runUntilCurrent()
        assert due == list(range(number + 1))
        assert clock.seconds() == begin + 11 * (number + 1)
        assert unix(clock) == times.wall


def test_a_clock_that_is_moved_by_hand() -> None:
    """It has one time for all."""
    clock: Any = Clock()
    clock.advance(5)
    assert unix(clock) == 5
