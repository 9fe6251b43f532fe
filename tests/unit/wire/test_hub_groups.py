"""Shared subscriptions: each message to one of a group, whatever becomes of that one (OASIS MQTT 5.0, 4.8.2)."""

from __future__ import annotations

import pytest
from hub_talk import Client, Table

from anylog.wire.mqtt_limits import Limits
from anylog.wire.mqtt_packets import Disconnect, Puback, Publish, Pubrec, Reason, Unsubscribe

GROUP = "$share/g/t/#"


def group(table: Table, names: str, version: int = 5, qos: int = 1, lasting: bool = True) -> list[Client]:
    """Members, by name."""
    members = [table.lasting(name, version) if lasting else table.client(name, version) for name in names]
    for member in members:
        member.subscribe(GROUP, qos=qos)
    return members


def flood(table: Table, count: int, qos: int = 1) -> None:
    """Messages 1 to count."""
    publisher = table.client("publisher")
    for number in range(1, count + 1):
        publisher.publish("t/a", b"%d" % number, qos, number if qos else 0)


def payloads(client: Client) -> list[bytes]:
    return [payload for _, payload, _ in client.messages()]


@pytest.mark.parametrize("version", [4, 5])
def test_one_of_a_group(version: int) -> None:
    """They take turns; others who subscribed, and other groups, have each message as well."""
    for qos in range(3):
        table = Table()
        members = group(table, "abc", version, qos)
        other = table.client("x", version)
        other.subscribe("$share/h/t/#", "t/+", qos=qos)  # two subscriptions, two copies
        flood(table, 6, qos)
        assert [payloads(member) for member in members] == [[b"1", b"4"], [b"2", b"5"], [b"3", b"6"]]
        assert sorted(payloads(other)) == sorted([b"%d" % n for n in range(1, 7)] * 2)


def test_who_is_away_is_left_out() -> None:
    """As long as one is there; then it is queued for those whose sessions last."""
    table = Table()
    a, b = group(table, "ab")
    a.cut()
    flood(table, 3)
    assert payloads(b) == [b"1", b"2", b"3"]
    b.cut()
    flood(table, 2)
    table.crash()
    assert payloads(table.lasting("a", 5)) + payloads(table.lasting("b", 5)) == [b"1", b"2"]
    table = Table()
    (a,) = group(table, "a", lasting=False)
    a.cut()
    flood(table, 1)
    assert table.hub.counts.dropped_shared == 0 and not table.hub.delivery.routes.groups


def test_who_is_behind_is_left_out() -> None:
    """Messages go to those who read."""
    table = Table()
    a, b = table.client("a", 5, receive_maximum=1), table.client("b", 5)
    for member in (a, b):
        member.subscribe(GROUP, qos=1)
    flood(table, 6)
    assert [each.payload for each in a.got(Publish)] == [b"1"]  # and one waits for it: it had shown no weakness yet
    assert payloads(b) == [b"2", b"4", b"5", b"6"]


def test_what_was_not_sent_changes_hands() -> None:
    """What one of a group was not sent goes to another when it leaves; what it was sent stays ([MQTT-4.8.2-4])."""
    for qos in (1, 2):
        for way in ("cut", "unsubscribe"):
            table = Table(Limits(sys_seconds=0, inflight=1))
            a, b = group(table, "ab", qos=qos)
            b.cut()
            flood(table, 3, qos)
            assert [each.payload for each in a.got(Publish)] == [b"1"]
            b = table.lasting("b", 5)
            if way == "cut":
                a.cut()
            else:
                a.send(Unsubscribe(1, (GROUP,)))
            got = b.got(Publish)
            assert [each.payload for each in got] == [b"2"]
            table.crash()  # each is in one place
            a, b = table.lasting("a", 5), table.lasting("b", 5)
            assert [each.payload for each in a.got(Publish)] == [b"1"]
            again = b.got(Publish)
            assert [(each.payload, each.dup) for each in again] == [(b"2", True)]
            b.send(Puback(again[0].packet_id) if qos == 1 else Pubrec(again[0].packet_id, Reason.QUOTA_EXCEEDED))
            assert [each.payload for each in b.got(Publish)] == [b"3"]


def test_a_session_of_a_group_ends() -> None:
    """What it did not acknowledge at QoS 1 goes to another, what it was sent at QoS 2 to nobody ([MQTT-4.8.2-5])."""
    for qos, lasting, expected in [(1, True, [b"1", b"2"]), (2, True, [b"2"]), (1, False, [b"1", b"2"])]:
        table = Table(Limits(sys_seconds=0, inflight=1))
        (a,) = group(table, "a", qos=qos, lasting=lasting)
        flood(table, 2, qos)
        assert len(a.got(Publish)) == 1
        (b,) = group(table, "b", qos=qos)
        a.send(Disconnect(session_expiry_interval=0 if lasting else None))
        table.crash()
        b = table.lasting("b", 5)
        assert "a" not in table.hub.delivery.sessions
        got: list[bytes] = []
        for _ in range(3):
            for each in b.got(Publish):
                got.append(each.payload)
                b.send(Puback(each.packet_id) if qos == 1 else Pubrec(each.packet_id, Reason.QUOTA_EXCEEDED))
        assert got == expected


def test_a_message_that_is_refused_goes_to_nobody_else() -> None:
    """[MQTT-4.8.2-6]."""
    table = Table()
    a, b = group(table, "ab", qos=2)
    flood(table, 1, 2)
    (message,) = a.got(Publish)
    a.send(Pubrec(message.packet_id, Reason.QUOTA_EXCEEDED))
    a.send(Disconnect(session_expiry_interval=0))
    assert not b.got()


def test_from_a_lasting_to_a_passing_session_and_back() -> None:
    """Whoever of a group takes over: after a crash it is with who lasts."""
    for lasting in (True, False):
        table = Table(Limits(sys_seconds=0, inflight=1))
        (a,) = group(table, "a", lasting=lasting)
        flood(table, 2)
        assert len(a.got(Publish)) == 1
        (b,) = group(table, "b", lasting=not lasting)
        a.cut()
        assert payloads(b) == ([b"2"] if lasting else [b"1"])
        table.crash()
        if lasting:
            assert [each.payload for each in table.lasting("a", 5).got(Publish)] == [b"1"]
        else:
            assert payloads(table.lasting("b", 5)) == [b"2"]
