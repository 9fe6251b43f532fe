"""What a log of a message broker's records amounts to, without the messages themselves (see `mqtt_records`).

Messages stay where they were read from: of each only its place is held. So a log is made short beside a broker that
works, with a little memory for each thing that lasts, and one with a hole in it is read as far as it makes sense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, assert_never

from attrs import define, field

from anylog.wire.mqtt_records import (
    Came,
    Ended,
    Exchange,
    Finished,
    Left,
    Moved,
    Numbers,
    Opened,
    Received,
    Receiver,
    Record,
    Released,
    Subscribed,
    Unsubscribed,
    unpack_message,
)

P = TypeVar("P")  # where a `Came` can be read again; hashable


@define(eq=False)
class _Session(Generic[P]):
    opened: Opened
    left: Left | None = None
    subscriptions: dict[str, Subscribed] = field(factory=dict)
    out: dict[int, tuple[Receiver, P | None]] = field(factory=dict)  # by packet id; None: received
    received: dict[int, Exchange] = field(factory=dict)  # of QoS 2, until they are released
    exchanges: int = 0


@define(eq=False)
class Replay(Generic[P]):
    """The state of the end of a log, as records that are fewer."""

    serial: int = 0
    incarnation: int = 0
    _sessions: dict[str, _Session[P]] = field(factory=dict)
    _retained: dict[str, tuple[P, float | None]] = field(factory=dict)  # by topic: place, unix seconds of its end

    def apply(self, record: Record, place: P) -> str:
        """The next record of the log, which lies at `place`; why it cannot follow those before it, or an empty text.

        Of one that cannot, what can be is done. Raises ValueError for a message that is none.
        """
        if isinstance(record, Numbers):
            self.serial = max(self.serial, record.serial)
            self.incarnation = max(self.incarnation, record.incarnation)
            return ""
        if isinstance(record, Came):
            return self._came(record, place)
        if isinstance(record, Opened):
            self.incarnation = max(self.incarnation, record.incarnation)
            session = self._sessions.get(record.client_id)
            if session is None or session.opened.incarnation != record.incarnation:
                self._sessions[record.client_id] = _Session(record)
            else:
                session.opened, session.left = record, None
            return ""
        session = self._sessions.get(record.client_id)
        if session is None:
            return f"the session of '{record.client_id}' is not there"
        return self._step(session, record)

    def _step(
        self,
        session: _Session[P],
        record: Left | Ended | Subscribed | Unsubscribed | Received | Finished | Released | Moved | Exchange,
    ) -> str:
        if isinstance(record, Left):
            session.left = record
        elif isinstance(record, Ended):
            del self._sessions[record.client_id]
        elif isinstance(record, Subscribed):
            session.subscriptions[record.filter] = record
        elif isinstance(record, Unsubscribed):
            session.subscriptions.pop(record.filter, None)
        elif isinstance(record, Received):
            receiver, _ = session.out.get(record.packet_id) or (
                (record.client_id, record.packet_id, 2, False, (), record.serial, ""),
                None,
            )
            session.out[record.packet_id] = receiver, None
        elif isinstance(record, Released):
            session.received.pop(record.packet_id, None)
        elif isinstance(record, Exchange):
            session.exchanges = max(session.exchanges, record.last, record.exchange)
            if record.packet_id:
                session.received[record.packet_id] = record
        elif isinstance(record, Finished | Moved):
            found = session.out.pop(record.packet_id, None)
            if found is None:
                return f"'{record.client_id}' has no message {record.packet_id}"
            if isinstance(record, Moved) and found[1] is not None:
                return self._give(record.to, found[1])
        else:
            assert_never(record)
        return ""

    def _came(self, record: Came, place: P) -> str:
        wrong = ""
        if record.retained:
            message = unpack_message(record.message)
            if message.packet.payload:
                self._retained[message.packet.topic] = place, message.expires
            else:
                self._retained.pop(message.packet.topic, None)
        for receiver in record.to:
            wrong = self._give(receiver, place) or wrong
        if record.client_id:
            session = self._sessions.get(record.client_id)
            if session is None:
                return f"the session of '{record.client_id}' is not there"
            number = record.exchange
            session.received[record.packet_id] = Exchange(
                record.client_id, number, record.packet_id, number, record.local
            )
            session.exchanges = max(session.exchanges, number)
        return wrong

    def _give(self, receiver: Receiver, place: P) -> str:
        client_id, packet_id, *_, serial, _ = receiver
        session = self._sessions.get(client_id)
        if session is None:
            return f"the session of '{client_id}' is not there"
        session.out[packet_id] = receiver, place
        self.serial = max(self.serial, serial)
        return ""

    def records(self, read: Callable[[P], bytes], now: float) -> Iterator[Record]:
        """Records that lead to the same state; `read` gives the `message` of a `Came` again.

        What was retained until before `now`, in unix seconds, is left out.
        """
        yield Numbers(self.serial, self.incarnation)
        to: dict[P, list[Receiver]] = {}
        for client_id, session in self._sessions.items():
            yield session.opened
            yield from session.subscriptions.values()
            yield Exchange(client_id, session.exchanges)
            yield from session.received.values()
            for receiver, place in session.out.values():
                if place is None:
                    yield Received(client_id, receiver[1], receiver[5])
                else:
                    to.setdefault(place, []).append(receiver)
        for place, receivers in to.items():
            yield Came(read(place), tuple(receivers))
        for session in self._sessions.values():
            if session.left is not None:
                yield session.left
        for place, expires in self._retained.values():
            if expires is None or expires > now:
                yield Came(read(place), (), True)
