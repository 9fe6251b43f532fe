"""The operator: what gives a node its place among the copies of its cluster (operator-ha.md 1, 2; decisions.md 33)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.process import WORKERS, Process
from anylog.processes.agreement import Place
from anylog.waiting import deferring


@frozen(kw_only=True)
class OperatorOptions:
    """What `run operator` was told."""

    policy: str
    master: str = ""  # ip:port
    threads: int = 1
    create_table: bool = True
    given: Mapping[str, Any]  # every option as it was resolved, as `get operator config` shows it


@define
class Seen:
    """What `get operator summary` told last; the next one tells what is new."""

    at: float = 0.0
    rows: int = 0
    errors: int = 0


class Operator(Process):
    """Holds the node's place. Announces the tables that were here before it was taken."""

    name = "operator"
    floor = WORKERS
    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        options: OperatorOptions,
        place: Callable[[], Place | None],
        announce: Callable[[], Deferred[Any]],
    ) -> None:
        """`place` looks the policy up in the ledger of now; `announce` tells the ledger of the tables of this node."""
        self.options = options
        self.started = clock.seconds()
        self._find, self._announce = place, announce
        self._announcing: Deferred[Any] | None = None

    def start(self) -> None:
        """Readings are taken in any case; the tables are announced beside that."""
        announcing = self._announcing = self._announce()
        announcing.addErrback(self._unannounced)

    @deferring
    async def stop(self) -> None:
        """Give the place up."""
        if self._announcing is not None:
            self._announcing.cancel()

    def _unannounced(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("announcing the tables of this node", failure)

    @property
    def policy(self) -> str:
        """The id of its policy."""
        return self.options.policy

    @property
    def place(self) -> Place | None:
        """Where it stands by the ledger of now; None if its policy is gone."""
        return self._find()

    def describe(self) -> str:
        """As `get processes` shows it."""
        given = self.options
        told = f"Cluster Member: {self.place is not None}"
        if given.master:
            told += f", Using Master: {given.master}"
        return f"{told}, Threads Pool: {given.threads}"


def checked(given: Mapping[str, Any], running: Sequence[str]) -> None:
    """What does not go together in `run operator`. Raises AnyLogError 2."""
    if given["distributor"] and given["archive"] is False:
        raise AnyLogError(2, "run operator: archive = false and distributor = true: peers could not be served")
    if given["archive"] is False and {"distributor", "consumer"} & set(running):
        raise AnyLogError(2, "run operator: archive = false while the distributor or the consumer runs")
