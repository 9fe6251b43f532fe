"""The clock of a node that runs for real: intervals never jump, the time of day is what the system says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anylog.interfaces import DelayedCall


class SteadyClock:
    """Unix seconds that go on evenly from when it was made, whatever the wall clock is set to; a `Clock`.

    Deadlines and rhythms must not end early, and above all not stand still, when somebody sets the clock of the machine
    or it is corrected after a start without a battery: a reactor counts by the wall clock unless it is told otherwise.
    """

    def __init__(self, reactor: Any, *, steady: Callable[[], float], wall: Callable[[], float]) -> None:
        """`steady` gives seconds that nobody sets, `wall` Unix seconds. From now on `reactor` counts by this clock:
        its timers and those of its connections."""
        self._reactor, self._steady, self._wall = reactor, steady, wall
        self._ahead = wall() - steady()
        reactor.seconds = self.seconds

    def seconds(self) -> float:
        """Unix seconds for intervals and deadlines; of the wall clock only until that jumps."""
        return self._ahead + self._steady()

    def unix(self) -> float:
        """Unix seconds of the wall clock, which may jump."""
        return self._wall()

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kwargs: Any) -> DelayedCall:
        """Call it after `delay` seconds, however the wall clock jumps meanwhile."""
        made: DelayedCall = self._reactor.callLater(delay, call, *args, **kwargs)
        return made
