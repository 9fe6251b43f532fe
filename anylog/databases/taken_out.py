"""Tables whose rows are out for a moment: a file that is mended is taken out and loaded once more, in two commits.

In between its rows are nowhere, and whoever believes that this node has them asks nobody else. So no select looks at
the table then, and no file is taken out while one looks.
"""

from __future__ import annotations

from attrs import define, field

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.waiting import pause

STEP = 0.02  # seconds between looks
LONGEST = 10.0  # seconds that either side waits for the other


@define(eq=False)
class TakenOut:
    """Which tables that are, by database and table."""

    _clock: Clock
    _out: dict[tuple[str, str], int] = field(factory=dict)  # files
    _looking: dict[tuple[str, str], int] = field(factory=dict)  # selects that look or wait
    _times: dict[tuple[str, str], int] = field(factory=dict)  # that anything was taken out

    async def begin(self, dbms: str, table: str) -> None:
        """A file is to be taken out; waits for those who look now, but not for ever: they look again then."""
        key, until = (dbms.lower(), table.lower()), self._clock.seconds() + LONGEST
        while self._looking.get(key) and self._clock.seconds() < until:
            await pause(self._clock, STEP)
        self._out[key] = self._out.get(key, 0) + 1
        self._times[key] = self._times.get(key, 0) + 1

    def end(self, dbms: str, table: str) -> None:
        """It is in again, or what is to become of it is told otherwise."""
        _less(self._out, (dbms.lower(), table.lower()))

    async def look(self, dbms: str, table: str) -> int:
        """Wait until nothing is out; `looked` gets what this gives. Raises AnyLogError 508 if that takes too long."""
        key, until = (dbms.lower(), table.lower()), self._clock.seconds() + LONGEST
        self._looking[key] = self._looking.get(key, 0) + 1
        try:
            while self._out.get(key):
                if self._clock.seconds() >= until:
                    raise AnyLogError(508, f"files of {dbms}.{table} are being loaded again")
                await pause(self._clock, STEP)
        except BaseException:
            _less(self._looking, key)
            raise
        return self._times.get(key, 0)

    def looked(self, dbms: str, table: str, number: int) -> bool:
        """The snapshot was taken, or given up; whether nothing was taken out since `look`."""
        key = (dbms.lower(), table.lower())
        _less(self._looking, key)
        return self._times.get(key, 0) == number


def _less(counts: dict[tuple[str, str], int], key: tuple[str, str]) -> None:
    counts[key] = counts.get(key, 0) - 1
    if counts[key] <= 0:
        del counts[key]
