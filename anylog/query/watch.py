"""How long queries took: the counts of `get queries time` and the log of slow ones (query.md 8)."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.language.logs import Logs
from anylog.query.executions import Executions

SLOTS = 9  # whole seconds counted apart; what takes longer is counted together


@define(eq=False)
class QueryTimes:
    """Queries of one node by the seconds they took."""

    _clock: Clock
    _logs: Logs
    zone: str = "utc"  # of times that say none, and in which times are shown (`set timezone`)
    _slots: list[int] = field(factory=lambda: [0] * (SLOTS + 1))
    _since: float = field(init=False)
    executions: Executions = field(init=False)  # of selects that other nodes asked
    _number: int = 0

    def __attrs_post_init__(self) -> None:
        self._since = self._clock.seconds()
        self.executions = Executions(self._clock)

    def number(self) -> int:
        """A number that no other query of this node has."""
        self._number += 1
        return self._number

    def ended(self, seconds: float, dbms: str, statement: str, error: BaseException | None = None) -> None:
        """Count a query, and log it with what came of it if it was slow enough for `set query log`."""
        self._slots[min(int(max(seconds, 0)), SLOTS)] += 1
        least = self._logs.query_seconds
        if least is not None and seconds >= least:
            told = "OK"
            if isinstance(error, AnyLogError):
                told = f"Failed: {error.number} : {error.text}"
            elif error is not None:
                told = "Failed: 26 : given up by who asked" if isinstance(error, CancelledError) else "Failed: 500"
            self._logs.query.add(f"{seconds:.3f} sec.", f"({told}) {statement}", dbms)

    def reset(self) -> None:
        """Count from now on."""
        self._slots = [0] * (SLOTS + 1)
        self._since = self._clock.seconds()

    def text(self) -> str:
        """As `get queries time` shows it."""
        lines = [f"Up to {second:2} sec.: {count}" for second, count in enumerate(self._slots[:SLOTS], 1)]
        lines.append(f"Over  {SLOTS:2} sec.: {self._slots[SLOTS]}")
        lines.append(f"Total queries: {sum(self._slots)}")
        lines.append(f"Time interval: {self._passed()}")
        return "\n".join(lines)

    def values(self) -> dict[str, Any]:
        """The same as JSON values."""
        counts = {f"Up to {second} sec.": count for second, count in enumerate(self._slots[:SLOTS], 1)}
        return {
            "Queries Statistics": {
                **counts,
                f"Over {SLOTS} sec.": self._slots[SLOTS],
                "Total queries": sum(self._slots),
                "Time interval": self._passed(),
            }
        }

    def _passed(self) -> str:
        passed = int(self._clock.seconds() - self._since)
        return f"{passed} (sec.) : {passed // 3600}:{passed // 60 % 60}:{passed % 60} (H:M:S)"
