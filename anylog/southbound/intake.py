"""The doors of a southbound plug-in to the node it works for (see `interfaces.ISouthboundIntake`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from zlib import crc32

from attrs import define
from twisted.internet.defer import Deferred, fail

from anylog.errors import AnyLogError
from anylog.interfaces import Connection, IRules, Outside, Readings
from anylog.language.logs import Logs
from anylog.mapping.body import normal_form, read_body
from anylog.mapping.names import normalise
from anylog.processes.accepting import Keyed
from anylog.processes.intake import Intake

MOST_KEY = 200  # characters of a key


class Subscribing(Protocol):
    """Makes a message client of topics that are written as in the command."""

    def __call__(
        self, outside: Outside, topics: Sequence[str], make: Callable[[Outside], Connection]
    ) -> tuple[int, Connection]: ...


@define(kw_only=True, eq=False)
class SouthboundIntake:
    """One plug-in's."""

    who: str  # the plug-in's name, and a part of its keys
    node: str
    rules: IRules
    _intake: Intake
    _subscribing: Subscribing
    _remove: Callable[[int], Deferred[bool]]
    _leave: Callable[[str], None]
    _logs: Logs

    def accept(self, batch: Readings) -> Deferred[int]:
        """See `interfaces.ISouthboundIntake`."""
        try:
            dbms, table = normalise(batch.dbms, "database"), normalise(batch.table, "table")
            rows = _plain(batch.rows)
        except AnyLogError as why:
            return fail(why)
        keyed: Sequence[Keyed] = ()
        if batch.key:
            if len(batch.key) > MOST_KEY:
                return fail(AnyLogError(40, f"{self.who}: a key has at most {MOST_KEY} characters"))
            # Another content under a key that was used is another batch.
            token = f"{crc32(normal_form(rows)):08x}"
            keyed = [Keyed(f"south:{self.who}:{batch.key}", token, 0, len(rows))]
        return self._intake.accepting.messages(dbms, table, rows, keyed)

    def refusal(self) -> AnyLogError | None:
        """See `interfaces.ISouthboundIntake`."""
        return self._intake.refusal()

    def subscribe(
        self, outside: Outside, topics: Sequence[str], make: Callable[[Outside], Connection]
    ) -> tuple[int, Connection]:
        """See `interfaces.ISouthboundIntake`."""
        return self._subscribing(outside, topics, make)

    def unsubscribe(self, number: int) -> Deferred[bool]:
        """See `interfaces.ISouthboundIntake`."""
        return self._remove(number)

    def ended(self, name: str) -> None:
        """See `interfaces.ISouthboundIntake`."""
        self._leave(name)

    def tell(self, text: str) -> None:
        """See `interfaces.ISouthboundIntake`."""
        self._logs.error.add("Error", text, self.who)


def _plain(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a stranger gives as rows, as JSON has it. Raises AnyLogError 6 for what is none, also if it is empty."""
    if not rows:
        raise AnyLogError(6, "a batch without rows")
    try:
        body = normal_form(rows)
    except TypeError as why:
        raise AnyLogError(6, f"rows that are no JSON: {why}") from None
    return read_body(body)
