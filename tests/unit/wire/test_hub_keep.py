"""What a crash leaves: no answer before its record, and from any beginning of the log the state of that moment."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import astuple
from hub_talk import QUIET, Client, Table, snapshot
from test_hub_storm import LIMITS, Storm

from anylog.wire.mqtt_deliver import Delivery
from anylog.wire.mqtt_hub import Hub
from anylog.wire.mqtt_keep import restored
from anylog.wire.mqtt_packets import (
    Connack,
    Connect,
    Disconnect,
    Filter,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Reason,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from anylog.wire.mqtt_records import (
    Came,
    Moved,
    Numbers,
    Record,
    pack,
    pack_message,
    pack_will,
    unpack,
    unpack_message,
    unpack_will,
)
from anylog.wire.mqtt_session import Message, Session

BOTH = pytest.mark.parametrize("version", [4, 5])


def waits(client: Client, kind: type[Packet], table: Table) -> None:
    """What is said after the records are kept, and nothing of it before."""
    early = [type(each) for each in client.got()]
    assert kind not in early, "before the record was kept"
    assert table.sync()
    assert kind in [type(each) for each in client.got()]


@BOTH
def test_answers_wait_for_their_records(version: int) -> None:
    """Decision 1: success means safe. Each answer that a crash must not belie ([MQTT-4.1.0-1], 4.3.3, 4.4)."""
    table = Table(synced=False)
    subscriber = table.open(version)
    expiry = 3600 if version == 5 else None
    subscriber.send(Connect("s", False, version=version, session_expiry_interval=expiry))
    waits(subscriber, Connack, table)
    subscriber.send(Subscribe(1, (Filter("t/#", 2),)))
    waits(subscriber, Suback, table)
    publisher = table.open(version)
    publisher.send(Connect("p", False, version=version, session_expiry_interval=expiry))
    waits(publisher, Connack, table)

    publisher.publish("t/1", b"1", 1, 1)
    waits(publisher, Puback, table)
    (message,) = subscriber.got(Publish)
    subscriber.send(Puback(message.packet_id))

    publisher.publish("t/2", b"2", 2, 2)
    assert not subscriber.got(), "it would come again under another packet id"
    waits(publisher, Pubrec, table)
    (message,) = subscriber.got(Publish)
    publisher.send(Pubrel(2))
    waits(publisher, Pubcomp, table)
    publisher.send(Pubrel(2))  # it did not hear it
    assert publisher.one(Pubcomp)
    subscriber.send(Pubrec(message.packet_id))
    waits(subscriber, Pubrel, table)

    publisher.publish("u", b"nobody", 2, 3)  # for nobody, but not to be taken again
    waits(publisher, Pubrec, table)
    publisher.send(Pubrel(3), Pubrel(3))
    assert not publisher.got(), "neither the first nor the second"
    table.sync()
    assert len(publisher.got(Pubcomp)) == 2
    subscriber.send(Unsubscribe(1, ("t/#",)))
    waits(subscriber, Unsuback, table)

    clean = table.client("c", version)
    clean.publish("u", b"kept", 1, 1, retain=True)
    waits(clean, Puback, table)
    clean.publish("u", b"", 1, 1, retain=True)
    waits(clean, Puback, table)
    new = table.open(version)
    new.send(Connect("s", True, version=version))  # what was kept of it is not there any more
    waits(new, Connack, table)


@BOTH
def test_answers_that_need_no_record(version: int) -> None:
    """Between sessions that end with their connections nothing is kept, and nobody waits."""
    table = Table(synced=False)
    subscriber, publisher = table.client("s", version), table.client("p", version)
    subscriber.subscribe("t", qos=2)
    publisher.publish("t", b"1", 1, 1).publish("t", b"2", 2, 2)
    assert [type(each) for each in publisher.got()] == [Puback, Pubrec]
    publisher.send(Pubrel(2))
    first, second = subscriber.got(Publish)
    subscriber.send(Puback(first.packet_id), Pubrec(second.packet_id))
    assert publisher.one(Pubcomp) and subscriber.one(Pubrel)
    subscriber.send(Pubcomp(second.packet_id), Unsubscribe(1, ("t",)))
    assert subscriber.one(Unsuback)
    table.synced = True
    lasting = table.lasting("l", version)
    table.synced = False
    lasting.publish("t", b"3", 1, 1)
    assert lasting.one(Puback) and not table.sync()


@BOTH
def test_clean_publisher_to_lasting_subscriber_at_once(version: int) -> None:
    """At QoS 1 a lasting subscriber has the message before it is kept: more than once is allowed."""
    table = Table()
    subscriber = table.lasting("s", version)
    subscriber.subscribe("t", qos=1)
    table.synced = False
    publisher = table.client("p", version)
    publisher.publish("t", b"1", 1, 1)
    assert subscriber.one(Publish).payload == b"1"
    waits(publisher, Puback, table)


def test_nothing_is_kept_of_what_cannot_last() -> None:
    """QoS 0 and passing sessions cost the disk nothing."""
    table = Table()
    subscriber, publisher = table.lasting("s"), table.client("p")
    subscriber.subscribe("t", qos=2)
    before = len(table.log)
    publisher.publish("t").publish("u", b"x", 1).publish("u", b"x", 2, 2).cut()
    subscriber.cut()
    table.client("p").publish("t")
    assert len(table.log) == before + 1  # that `s` left


def test_the_nodes_own_clients_across_a_crash() -> None:
    """They get a message of QoS 2 once its record is kept, and after a crash again with the same marks, or for the
    first time: whatever order the client says things in by then."""
    for record_kept, done in [(False, False), (True, False), (True, True)]:
        table = Table()
        table.hub.subscribe_local("rows", "t")
        client = table.lasting("p")
        client.publish("t", b"0", 2, 4)
        ticket = table.hub.local.pop()[0]
        assert ticket is not None
        table.hub.done(ticket)
        client.send(Pubrel(4))
        assert [type(each) for each in client.got()] == [Pubrec, Pubcomp]
        table.synced = False
        client.publish("t", b"1", 2, 4)
        assert not table.hub.local
        marks = set()
        if record_kept:
            table.sync()
            first = table.hub.local.pop()[0]
            assert first is not None and first.exchange == 2
            marks.add((first.client_id, first.incarnation, first.packet_id, first.exchange))
            if done:
                table.hub.done(first)
        assert bool(client.got()) is done
        table.crash()
        table.synced = True
        table.hub.subscribe_local("rows", "t")
        client = table.lasting("p")
        client.publish("t", b"2", 2, 5)
        client.send(Publish("t", b"1", 2, dup=True, packet_id=4))
        (other, _, _), (again, packet, _) = table.hub.local
        assert other is not None and again is not None and packet.payload == b"1"
        marks.add((again.client_id, again.incarnation, again.packet_id, again.exchange))
        assert len(marks) == 1 and other.exchange != again.exchange
        table.hub.done(again)
        assert not client.got(), "answers keep the order of the messages"
        table.hub.done(other)
        assert [each.packet_id for each in client.got(Pubrec)] == [5, 4]


def test_what_was_not_taken_stays_the_same_exchange() -> None:
    """A client of 3.1.1 is closed instead of answered, and sends again: some of the node's own may have it by then, and
    other clients have it."""
    table = Table()
    table.hub.subscribe_local("rows", "t")
    reader = table.client("r")
    reader.subscribe("t", qos=1)
    client = table.lasting("p")
    marks = []
    for reason in (Reason.QUOTA_EXCEEDED, Reason.SUCCESS):
        client.send(Publish("t", b"1", 2, dup=bool(marks), packet_id=4))
        ((ticket, _, _),) = table.hub.local
        table.hub.local.clear()
        assert ticket is not None
        marks.append((ticket.client_id, ticket.incarnation, ticket.packet_id, ticket.exchange))
        table.hub.done(ticket, reason)
        if reason:
            assert client.link.closing and not client.got()
            client = table.lasting("p")
    assert marks[0] == marks[1]
    assert client.one(Pubrec).packet_id == 4
    assert reader.messages() == [("t", b"1", 1)]


def test_what_the_nodes_own_clients_had_is_not_handed_out_again_after_a_rewrite() -> None:
    """A snapshot knows that they were done."""
    for done in (True, False):
        table = Table()
        table.hub.subscribe_local("rows", "t")
        client = table.lasting("p")
        client.publish("t", b"1", 2, 4)
        ticket = table.hub.local.pop()[0]
        assert ticket is not None
        if done:
            table.hub.done(ticket)
        table.log = [pack(record) for record in snapshot(table.hub)]
        table.crash()
        table.hub.subscribe_local("rows", "t")
        table.lasting("p").send(Publish("t", b"1", 2, dup=True, packet_id=4))
        assert bool(table.hub.local) is not done


def test_incarnations_are_never_used_twice() -> None:
    """Also where the record of one was lost: a mark must not mean two messages."""
    table = Table(synced=False)
    seen: set[int] = set()
    for _ in range(5):
        table.open().send(Connect("a", False))
        seen.add(table.hub.delivery.sessions["a"].incarnation)
        table.crash(0)
        table.now += 0.01
    assert len(seen) == 5


def test_publish_of_the_node_says_when_it_lasts() -> None:
    """The number of a record, or 0 where nothing has to be kept."""
    table = Table()
    table.lasting("s").subscribe("t", qos=1)
    table.synced = False
    number = table.hub.publish(Publish("t", b"m", 1), table.now)
    assert number == table.hub.taken_records().number > table.hub.delivery.keep.kept
    assert table.hub.publish(Publish("u", b"m", 1), table.now) == 0
    assert table.hub.publish(Publish("u", b"m", 0, True), table.now) == number + 1


# ---------------------------------------------------------------------- any beginning of the log


def state(delivery: Delivery) -> dict[str, Any]:
    """All that has to last, in a form that can be compared."""
    found: dict[str, Any] = {}
    for session in delivery.sessions.values():
        if session.expiry:
            found[session.client_id] = _session(session)
    found["retained"] = sorted((m.packet.topic, m.packet.payload, m.expires) for m in delivery.shelf.everything())
    return found


def _session(session: Session) -> Any:
    out = [
        (
            each.packet_id,
            None if each.message is None else each.message.packet.payload,
            0 if each.received else (each.qos, each.retain, each.identifiers, each.group),
            each.received,
            each.serial,
            each.size,
        )
        for each in session.out.values()
    ]
    received = sorted((number, answer.number) for number, answer in session.received.items())
    subscriptions = sorted(astuple(each) for each in session.subscriptions.values())
    assert session.size == sum(each.size for each in session.out.values())
    return session.incarnation, session.expiry, subscriptions, out, received, session.exchanges


class Watched(Storm):
    """A storm without crashes, whose log is never cut, that is watched closely."""

    def crash(self) -> None:
        """Not here."""

    def rewrite(self) -> None:
        """Not here."""

    def all_records(self) -> list[Record]:
        """Kept, being written, and not taken yet."""
        writing = list(self.writing.records) if self.writing else []
        return [*(unpack(data) for data in self.log), *writing, *self.hub.delivery.keep.records]


def replayed(records: list[Record], now: float) -> Delivery:
    delivery = Delivery(LIMITS)
    restored(delivery, records, now)
    return delivery


@pytest.mark.parametrize("seed", range(4))
def test_any_beginning_of_the_log(seed: int) -> None:
    """The log up to the records of each step gives the state after that step, and any other beginning gives one."""
    storm = Watched(seed)
    for device in storm.devices:
        storm.connect(device)
    states: dict[int, dict[str, Any]] = {}
    for _ in range(700):
        storm.step()
        now = state(storm.hub.delivery)
        number = storm.hub.delivery.keep.number
        assert states.setdefault(number, now) == now, "something changed without a record"
    records = [unpack(pack(record)) for record in storm.all_records()]
    assert len(records) > 100
    for number in range(len(records) + 1):
        found = state(replayed(records[:number], storm.now))
        if number in states:
            assert found == states[number], number
    again = [unpack(pack(record)) for record in snapshot(storm.hub)]
    assert state(replayed(again, storm.now)) == states[len(records)]
    assert len(again) < len(records)


def test_a_snapshot_of_everything() -> None:
    """Sessions, subscriptions, queues, halves of exchanges, wills and what is retained: all of it comes back."""
    table = Table()
    client = table.client("a", 5, session_expiry_interval=900, will=Will("w", b"bye", 1, will_delay_interval=600))
    client.subscribe("t/#", qos=2, subscription_identifier=9)
    client.subscribe("$share/g/s", qos=1)
    publisher = table.lasting("p", 5)
    for number in range(1, 5):
        publisher.publish(f"t/{number}", b"%d" % number, 2, number, user_properties=(("k", "v"),), retain=number == 1)
    publisher.send(Pubrel(1))
    first, *_ = client.got(Publish)
    client.send(Pubrec(first.packet_id)).cut()
    publisher.publish("s", b"shared", 1, 9)
    hub = Hub(QUIET)
    hub.restore([unpack(pack(record)) for record in snapshot(table.hub)], table.now)
    assert state(hub.delivery) == state(table.hub.delivery)
    session = hub.delivery.sessions["a"]
    assert (session.gone, session.will_due) == (table.now, table.now + 600)
    assert [each.sent for each in session.out.values()] == [True, True, True, True, False]
    assert sorted(session.received) == [] and sorted(hub.delivery.sessions["p"].received) == [2, 3, 4]
    hub.tick(table.now + 600)
    assert session.will is None and hub.taken_records().records
    hub.tick(table.now + 901)
    assert "a" not in hub.delivery.sessions and not hub.delivery.routes.groups


def test_records_are_bytes() -> None:
    """What is packed is unpacked the same; what is none is refused."""
    message = Message(Publish("t", b"m", 2, True, content_type="x", user_properties=(("a", "b"),)), 12.5)
    again = unpack_message(pack_message(message))
    assert (again.packet, again.expires) == (message.packet, 12.5)
    will = Will("t", b"m", 1, True, 5, correlation_data=b"c", user_properties=(("a", "b"),))
    assert unpack_will(pack_will(will)) == will and unpack_will(b"") is None
    receiver = ("a", 1, 2, False, (3, 4), 5, "$share/g/t")
    for record in (Came(b"m", (receiver,), True, "p", 1, 2, True), Moved("a", 1, receiver), Numbers(1, 2)):
        assert unpack(pack(record)) == record
    for wrong in (b"", b"\x93", b"\x92\xcc\xff\x01", b"\x91\x01", b"\xc1", b"\x01"):
        with pytest.raises(ValueError):
            unpack(wrong)
    with pytest.raises(ValueError):
        unpack_message(b"\x91\x01")
    with pytest.raises(ValueError):
        unpack_will(b"\x01")


def test_records_that_do_not_follow() -> None:
    """A log with a hole is not read as if it had none."""
    table = Table()
    client = table.lasting("a")
    client.subscribe("t", qos=1)
    table.client("p").publish("t", b"m", 1)
    assert client.messages()
    records = [unpack(data) for data in table.log]
    kinds = [type(record).__name__ for record in records]
    assert kinds == ["Opened", "Subscribed", "Came", "Finished"]
    for hole in (0, 2):
        with pytest.raises(ValueError, match="not there"):
            replayed([*records[:hole], *records[hole + 1 :]], table.now)


def test_a_session_that_became_passing() -> None:
    """A client that comes back without wanting its session kept has it for this connection, and not after a crash."""
    table = Table()
    client = table.lasting("a", 5)
    client.subscribe("t", qos=1)
    client.cut()
    table.client("p").publish("t", b"m", 1)
    again = table.client("a", 5, clean=False)
    assert again.messages() == [("t", b"m", 1)]
    before = len(table.log)
    table.client("p").publish("t", b"m", 1)
    assert len(table.log) == before
    table.crash()
    assert "a" not in table.hub.delivery.sessions
    table = Table()
    client = table.lasting("a", 5)
    client.send(Disconnect(session_expiry_interval=0))
    table.crash()
    assert "a" not in table.hub.delivery.sessions
