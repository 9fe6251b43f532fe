"""Taking many files of a member goes before loading them, for a bounded time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define

from anylog.interfaces import Clock

LONGEST = 0.3  # seconds that loading waits
BETWEEN = 2.0  # seconds from then on until it may have to wait again


@define(eq=False)
class Precedence:
    """Whether no file is begun to be loaded, because others of its kind are on their way to the disk.

    A heap is safe sooner if the member that takes it does not load the first files of it with the processor and the
    disk that the others need. Only where nothing waits to be loaded: who is behind with loading must not fall back
    further, and under a heap that does not end nearly all of the time is for loading.
    """

    _clock: Clock
    _idle: Callable[[], bool]  # whether nothing is loaded or waits to be
    _over: Callable[[], object]  # called when nothing comes any more
    _coming: int = 0
    _since: float = -1e9

    @contextmanager
    def given(self) -> Iterator[None]:
        """Within this files are taken."""
        now = self._clock.seconds()
        if self._idle() and not 0 <= now - self._since < LONGEST + BETWEEN:
            self._since = now
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            if not self._coming:
                self._over()

    @property
    def taken(self) -> bool:
        """Whether loading waits at the moment."""
        return self._coming > 0 and 0 <= self._clock.seconds() - self._since < LONGEST
