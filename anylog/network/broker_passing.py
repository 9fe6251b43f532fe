"""A keeper that keeps nothing: sessions, retained messages and wills end with the node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred, succeed

from anylog.wire.mqtt_records import Record


class Passing:
    """A `Keeper` for a broker without a store."""

    def load(self) -> Deferred[Iterable[Record]]:
        """Nothing."""
        return succeed(())

    def keep(self, records: Sequence[Record]) -> Deferred[None]:
        """At once: there is nothing to wait for."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Nothing is held."""
        return succeed(None)
