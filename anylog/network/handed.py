"""What was handed over to a message client together, by whoever reads from a broker elsewhere."""

from __future__ import annotations

from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure

from anylog.errors import AnyLogError


@define(eq=False)
class Handed:
    """How far it is with what was handed over."""

    size: int = field(default=0, kw_only=True)  # bytes
    ended: bool = field(default=False, kw_only=True)  # it is known whether it is kept
    why: str = field(default="", kw_only=True)  # why it could not be kept

    def not_kept(self, failure: Failure, log: Logger, name: str) -> None:
        """It could not be kept; a fault of ours is in the log of the node."""
        self.why = failure.getErrorMessage() or repr(failure.value)
        if not failure.check(AnyLogError):
            log.failure("keeping messages of {name}", failure, name=name)
