"""A message broker's state as records, and from records (see `mqtt_records`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from anylog.wire.mqtt_deliver import Delivery
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
    unpack_will,
)
from anylog.wire.mqtt_session import Answer, Message, Out, Session, Subscription


def restored(delivery: Delivery, records: Iterable[Record], now: float) -> int:
    """Make the state of the end of a log; the highest incarnation that was used.

    Whoever was connected then is gone since `now`, and may have been sent what waited for it. Raises ValueError for
    records that cannot follow one another.
    """
    sent: dict[str, int] = {}
    incarnation = 0
    for record in records:
        if isinstance(record, Numbers):
            delivery.serial = max(delivery.serial, record.serial)
            incarnation = max(incarnation, record.incarnation)
        elif isinstance(record, Came):
            _came(delivery, record)
        elif isinstance(record, Opened):
            incarnation = max(incarnation, record.incarnation)
            _opened(delivery, record)
            sent.pop(record.client_id, None)
        else:
            session = delivery.sessions.get(record.client_id)
            if session is None:
                raise ValueError(f"a record of a session that is not there: {record}")
            if isinstance(record, Left):
                session.gone, session.expiry, session.will_due = record.at, record.expiry, record.will_due
                if record.will_due is None:
                    session.will = None
                sent[record.client_id] = record.sent
            else:
                try:
                    _step(delivery, session, record)
                except KeyError as wrong:
                    raise ValueError(f"a record of a message that is not there: {record}") from wrong
    for session in delivery.sessions.values():
        _settled(session, sent.get(session.client_id), now)
    return incarnation


def _settled(session: Session, sent: int | None, now: float) -> None:
    """The last word on a session: its queue in order, and what of it was sent before."""
    outs = sorted(session.out.values(), key=_serial)
    session.out = {out.packet_id: out for out in outs}
    for out in outs:
        # Who was connected may have had all of it: acknowledgements of what came before may be lost as well.
        out.sent = sent is None or out.serial <= sent
    session.rewind()
    session.last = outs[-1].packet_id if outs else 0
    if session.gone is None:
        session.gone = now


def _serial(out: Out) -> int:
    return out.serial


def _opened(delivery: Delivery, record: Opened) -> None:
    session = delivery.sessions.get(record.client_id)
    if session is not None and session.incarnation != record.incarnation:
        _drop(delivery, session)
        session = None
    if session is None:
        session = Session(record.client_id, record.incarnation)
        delivery.sessions[record.client_id] = session
    session.expiry = record.expiry
    session.will = unpack_will(record.will)
    session.gone = session.will_due = None


def _drop(delivery: Delivery, session: Session) -> None:
    for filter in list(session.subscriptions):
        delivery.unsubscribe(session, filter)
    del delivery.sessions[session.client_id]


def _came(delivery: Delivery, record: Came) -> None:
    message = unpack_message(record.message)
    if record.retained:
        delivery.shelf.replace(message)
    for receiver in record.to:
        _give(delivery, receiver, message)
    if record.client_id:
        session = delivery.sessions.get(record.client_id)
        if session is None:
            raise ValueError(f"a message of a session that is not there: {record.client_id}")
        _exchange(session, record.packet_id, record.exchange, record.local)


def _give(delivery: Delivery, receiver: Receiver, message: Message) -> None:
    client_id, packet_id, qos, retain, identifiers, serial, group = receiver
    session = delivery.sessions.get(client_id)
    if session is None:
        raise ValueError(f"a message for a session that is not there: {client_id}")
    out = Out(packet_id, message, qos, retain, tuple(identifiers), serial, group=group, size=message.size)
    session.out[packet_id] = out
    session.size += out.size
    delivery.serial = max(delivery.serial, serial)


def _exchange(session: Session, packet_id: int, number: int, local: bool) -> None:
    session.received[packet_id] = Answer(None, packet_id, 2, number=number, again=local, said=True)
    session.exchanges = max(session.exchanges, number)


def _step(
    delivery: Delivery,
    session: Session,
    record: Ended | Subscribed | Unsubscribed | Received | Finished | Released | Moved | Exchange,
) -> None:
    if isinstance(record, Subscribed):
        delivery.subscribe(
            session,
            Subscription(
                record.filter,
                record.qos,
                record.no_local,
                record.retain_as_published,
                record.retain_handling,
                record.identifier,
            ),
        )
    elif isinstance(record, Unsubscribed):
        delivery.unsubscribe(session, record.filter)
    elif isinstance(record, Received):
        _received(session, record)
    elif isinstance(record, Finished):
        out = session.out.pop(record.packet_id)
        session.size -= out.size
    elif isinstance(record, Released):
        session.received.pop(record.packet_id, None)
    elif isinstance(record, Moved):
        out = session.out.pop(record.packet_id)
        session.size -= out.size
        if out.message is not None:
            _give(delivery, record.to, out.message)
    elif isinstance(record, Exchange):
        session.exchanges = max(session.exchanges, record.last)
        if record.packet_id:
            _exchange(session, record.packet_id, record.exchange, record.local)
    elif isinstance(record, Ended):
        _drop(delivery, session)
    else:
        assert_never(record)


def _received(session: Session, record: Received) -> None:
    out = session.out.get(record.packet_id)
    if out is None:
        out = session.out[record.packet_id] = Out(record.packet_id, None, 2, False, (), record.serial)
    session.size -= out.size
    out.message, out.received, out.size = None, True, 0
