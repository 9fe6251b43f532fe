"""SUBSCRIBE and UNSUBSCRIBE, as a broker answers them (OASIS MQTT 5.0, 3.8 to 3.11)."""

from __future__ import annotations

from anylog.wire.mqtt_answers import Answers
from anylog.wire.mqtt_deliver import Delivery
from anylog.wire.mqtt_packets import MQTT_5, Filter, Reason, Suback, Subscribe, Unsuback, Unsubscribe
from anylog.wire.mqtt_records import Unsubscribed, subscribed
from anylog.wire.mqtt_session import Allow, Link, Session, Subscription
from anylog.wire.mqtt_write import encode


def subscribe(delivery: Delivery, answers: Answers, allow: Allow | None, link: Link, packet: Subscribe) -> None:
    """Each filter on its own; then SUBACK, then what is retained.

    In a session that lasts SUBACK waits for the records, and what is retained may come before it (5.0, 3.8.4).
    """
    session = link.session
    if session is None:
        return
    reasons: list[Reason] = []
    shown: list[Subscription] = []
    for each in packet.filters:
        wanted = Subscription(
            each.filter,
            each.qos,
            each.no_local,
            each.retain_as_published,
            each.retain_handling,
            packet.subscription_identifier or 0,
        )
        reason, new = _one(delivery, allow, link, session, each, wanted)
        reasons.append(reason)
        show = each.retain_handling == 0 or (each.retain_handling == 1 and new)
        if show and reason < 0x80 and not each.filter.startswith("$share/"):  # 4.8.2: a shared one is sent none
            shown.append(wanted)
    said = tuple(reasons)
    if link.version != MQTT_5:
        said = tuple(reason if reason < 0x80 else Reason.UNSPECIFIED_ERROR for reason in reasons)
    needs = delivery.keep.number if session.expiry else 0
    answers.later(link, needs, encode(Suback(packet.packet_id, said), link.version))
    for wanted in shown:
        delivery.show_retained(session, wanted)


def _one(
    delivery: Delivery, allow: Allow | None, link: Link, session: Session, each: Filter, wanted: Subscription
) -> tuple[Reason, bool]:
    if allow is not None and allow(link, "subscribe", each.filter) is not True:
        return Reason.NOT_AUTHORIZED, False
    old = session.subscriptions.get(each.filter)
    if old is None and len(session.subscriptions) >= delivery.limits.subscriptions:
        return Reason.QUOTA_EXCEEDED, False
    try:
        new = delivery.subscribe(session, wanted)
    except ValueError:
        return Reason.TOPIC_FILTER_INVALID, False
    if session.expiry and old != wanted:
        delivery.keep.add(subscribed(session.client_id, wanted))
    return Reason(each.qos), new


def take_back(delivery: Delivery, allow: Allow, link: Link, session: Session) -> None:
    """Whoever takes up a session has of it what it may subscribe to: the client id alone proves nothing, and the rules
    may have changed since."""
    for filter in list(session.subscriptions):
        if allow(link, "subscribe", filter) is not True:
            delivery.unsubscribe(session, filter)
            if session.expiry:
                delivery.keep.add(Unsubscribed(session.client_id, filter))
    for out in list(session.out.values()):
        if out.message is not None and allow(link, "subscribe", out.message.packet.topic) is not True:
            delivery.finish(session, out)
    session.tidy()


def unsubscribe(delivery: Delivery, answers: Answers, link: Link, packet: Unsubscribe) -> None:
    """What is on its way still arrives ([MQTT-3.10.4-3])."""
    session = link.session
    if session is None:
        return
    reasons: list[Reason] = []
    for filter in packet.filters:
        known = delivery.unsubscribe(session, filter)
        if known and session.expiry:
            delivery.keep.add(Unsubscribed(session.client_id, filter))
        reasons.append(Reason.SUCCESS if known else Reason.NO_SUBSCRIPTION_EXISTED)
    needs = delivery.keep.number if session.expiry else 0
    answers.later(link, needs, encode(Unsuback(packet.packet_id, tuple(reasons)), link.version))
