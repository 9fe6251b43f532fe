"""The broker and its clients: who may come, who is let go and why, what is left of them (OASIS MQTT 5.0, 3.1, 3.14)."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hub_talk import QUIET, Table, bye

from anylog.wire.mqtt_limits import FOREVER, Limits
from anylog.wire.mqtt_packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Filter,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Reason,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from anylog.wire.mqtt_session import Link
from anylog.wire.mqtt_write import encode


def test_session_present() -> None:
    """A session is there again only if it was kept and is wanted ([MQTT-3.2.2-2], [MQTT-3.2.2-3], [MQTT-3.1.2-4])."""
    for version, first, second, present in [
        (4, {"clean": True}, {"clean": False}, False),
        (4, {"clean": False}, {"clean": False}, True),
        (4, {"clean": False}, {"clean": True}, False),
        (5, {"clean": True}, {"clean": False}, False),  # 3.1.2.11.2: no expiry interval is 0
        (5, {"clean": True, "session_expiry_interval": 60}, {"clean": False}, True),
        (5, {"clean": True, "session_expiry_interval": 60}, {"clean": True}, False),
        (5, {"clean": False, "session_expiry_interval": 0}, {"clean": False}, False),
    ]:
        table = Table()
        table.client("a", version, **first).subscribe("t")
        hub = table.hub
        table.hub.close(next(iter(hub.links)), table.now)
        _, got = table.connect("a", version, **second)
        assert got == [evolve(got[0], session_present=present)], (version, first, second)
        assert len(hub.delivery.routes.filters) == (1 if present else 0), (version, first, second)


def test_what_the_broker_grants() -> None:
    """CONNACK of 5.0 says what is different from what was asked for (5.0, 3.2.2.3)."""
    limits = Limits(sys_seconds=0, keep_alive=60, session_seconds=100, receive=10, packet=5000, aliases=3)
    for asked, field, said in [
        ({"session_expiry_interval": 5000}, "session_expiry_interval", 100),
        ({"session_expiry_interval": 50}, "session_expiry_interval", None),
        ({"session_expiry_interval": FOREVER}, "session_expiry_interval", 100),
        ({"keep_alive": 0}, "server_keep_alive", 60),  # [MQTT-3.2.2-22]
        ({"keep_alive": 61}, "server_keep_alive", 60),
        ({"keep_alive": 59}, "server_keep_alive", None),
        ({}, "receive_maximum", 10),
        ({}, "maximum_packet_size", 5000),
        ({}, "topic_alias_maximum", 3),
        ({}, "assigned_client_identifier", None),
    ]:
        _, got = Table(limits).connect("a", 5, **asked)
        assert getattr(got[0], field) == said, (asked, field)


def test_client_ids_are_given() -> None:
    """Whoever has no name gets one that nobody has ([MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16])."""
    table = Table()
    names = []
    for _ in range(3):
        _, got = table.connect("", 5)
        names.append(got[0].assigned_client_identifier)
    table.client("", 4)
    assert all(names) and len(table.hub.delivery.sessions) == 4 and len(set(names)) == 3


def test_refused() -> None:
    """Who may not come is told so and closed, in the words of its version ([MQTT-3.1.4-1], [MQTT-3.2.2-7])."""
    full = Limits(sys_seconds=0, clients=0)
    for limits, version, settings, allowed, reason in [
        (QUIET, 4, {}, False, Reason.NOT_AUTHORIZED),
        (QUIET, 5, {}, False, Reason.NOT_AUTHORIZED),
        (QUIET, 4, {"user_name": "u", "password": b"p"}, False, Reason.BAD_USER_NAME_OR_PASSWORD),
        (QUIET, 5, {"user_name": "u", "password": b"p"}, False, Reason.BAD_USER_NAME_OR_PASSWORD),
        (QUIET, 5, {"authentication_method": "SCRAM"}, True, Reason.BAD_AUTHENTICATION_METHOD),  # [MQTT-4.12.0-1]
        (full, 4, {}, True, Reason.SERVER_UNAVAILABLE),
        (full, 5, {}, True, Reason.SERVER_BUSY),
    ]:
        table = Table(limits, allow=lambda link, action, topic, said=allowed: said)
        client, got = table.connect("a", version, **settings)
        assert [each.reason for each in got] == [reason], (version, settings)
        assert client.link.closing and not table.hub.delivery.sessions


def test_a_decision_may_take_its_time() -> None:
    """While a password is looked at nothing is read, and what came is not lost; then it is forgotten."""
    seen: list[tuple[str | None, bytes | None]] = []

    def allow(link: Link, action: str, topic: str) -> bool | None:
        if action == "connect":
            seen.append((link.user_name, link.password))
            return None
        return True

    for answer in (True, False):
        table = Table(allow=allow)
        client = table.open(5)
        client.send(Connect("a", version=5, user_name="u", password=b"p"), Pingreq())
        client.raw(b"\xc0\x00")
        assert client.link.hold and not client.got()
        table.hub.admit(client.link, answer, table.now)
        kinds = [type(each) for each in client.got()]
        assert kinds == ([Connack, Pingresp, Pingresp] if answer else [Connack])
        assert client.link.closing is not answer and not client.link.hold and client.link.password is None
    assert seen == [("u", b"p")] * 2


def test_versions_that_are_refused() -> None:
    """An unknown version hears it in a language it may know, others are closed (3.1.1: [MQTT-3.1.2-2])."""
    for data, said in [
        (b"\x10\x11\0\6MQIsdp\3\2\0\0\0\3abc", b"\x20\2\0\1"),
        (b"\x10\x0f\0\4MQTT\3\2\0\0\0\3abc", b"\x20\2\0\1"),
        (b"\x10\x0c\0\4MQTX\4\2\0\0\0\0", b""),
        (b"\xc0\0", b""),  # [MQTT-3.1.0-1]
        (b"GET / HTTP/1.1\r\n\r\n", b""),
    ]:
        table = Table()
        client = table.open()
        client.raw(data)
        assert b"".join(client.link.take())[:4] == said, data
        assert client.link.closing and not table.hub.links


@pytest.mark.parametrize("version", [4, 5])
def test_take_over(version: int) -> None:
    """The newer connection wins; the older is told, and its will is sent ([MQTT-3.1.4-3]; 3.1.1: [MQTT-3.1.4-2])."""
    table = Table()
    watcher = table.client("w")
    watcher.subscribe("#")
    old = table.lasting("a", version, will=Will("gone", b"a"))
    old.subscribe("t", qos=1)
    new, got = table.connect("a", version, clean=False, **({"session_expiry_interval": 60} if version == 5 else {}))
    assert got[0].session_present
    assert bye(old) == (Reason.SESSION_TAKEN_OVER if version == 5 else None)
    assert watcher.messages() == [("gone", b"a", 0)]
    old.publish("t")
    watcher.publish("t", b"new", 1)
    assert new.messages() == [("t", b"new", 1)]
    old.cut()
    assert not new.link.closing and table.hub.clients == 2


def test_keep_alive() -> None:
    """Who is silent for one and a half times the keep alive is gone ([MQTT-3.1.2-22])."""
    for version, keep_alive, silence, stays in [
        (4, 10, 14.9, True),
        (4, 10, 15.1, False),
        (5, 10, 15.1, False),
        (4, 0, 1e9, True),
    ]:
        table = Table()
        client = table.client("a", version, keep_alive=keep_alive)
        table.wait(silence / 2)
        client.send(Pingreq())
        assert client.one(Pingresp)
        table.wait(silence)
        assert client.link.closing is not stays, (version, keep_alive, silence)
        if not stays:
            assert bye(client) == (Reason.KEEP_ALIVE_TIMEOUT if version == 5 else None)


def test_no_connect() -> None:
    """Who says nothing is closed, and leaves nothing (5.0, 3.1.4)."""
    table = Table()
    client = table.open()
    table.wait(9.9)
    assert not client.link.closing
    table.wait(0.2)
    assert client.link.closing and not client.got() and table.hub.next_time() is None


def test_sessions_expire() -> None:
    """So long and no longer is a session kept without its client ([MQTT-4.1.0-1], 3.1.2.11.2)."""
    for connect, goodbye, seconds, present in [
        (60, None, 59, True),
        (60, None, 61, False),
        (FOREVER, None, 1e9, True),
        (60, 600, 599, True),  # 3.14.2.2.2
        (60, 600, 601, False),
        (60, 0, 0, False),
    ]:
        table = Table()
        client = table.client("a", 5, session_expiry_interval=connect)
        client.subscribe("t", qos=1)
        client.send(Disconnect(session_expiry_interval=goodbye))
        assert client.link.closing and not client.got()
        table.wait(seconds)
        assert ("a" in table.hub.delivery.sessions) is present, (connect, goodbye, seconds)
        table.crash()
        _, got = table.connect("a", 5, clean=False)
        assert got[0].session_present is present, (connect, goodbye, seconds)


def test_wills() -> None:
    """A will is published when the connection ends without a word, once its delay is over or the session ends.

    [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.1.3-9], 3.1.3.2.2, 3.14.2.1.
    """
    cases: list[tuple[int, dict[str, Any], int | None, Packet | None, list[float]]] = [
        # version, settings, delay, the last word (None: cut), seconds after which it was published or not
        (4, {}, None, None, [0]),
        (4, {}, None, Disconnect(), []),
        (5, {}, None, None, [0]),
        (5, {}, None, Disconnect(), []),
        (5, {}, None, Disconnect(Reason.DISCONNECT_WITH_WILL_MESSAGE), [0]),
        (5, {}, 30, None, [0]),  # the session ends with the connection
        (5, {"session_expiry_interval": 60}, 30, None, [30]),
        (5, {"session_expiry_interval": 60}, 90, None, [60]),
        (5, {"session_expiry_interval": 60}, 30, Disconnect(), []),
    ]
    for version, settings, delay, word, expected in cases:
        table = Table()
        watcher = table.client("w")
        watcher.subscribe("will/#")
        client = table.client("a", version, will=Will("will/a", b"gone", will_delay_interval=delay), **settings)
        if word is None:
            client.cut()
        else:
            client.send(word)
        seen = []
        for second in range(0, 120):
            seen += [float(second) for _ in watcher.messages()]
            table.wait(1)
        assert seen == expected, (version, settings, delay, word)


def test_a_will_is_taken_back() -> None:
    """Who comes back in time is not gone ([MQTT-3.1.3-9]); a clean start ends the session, and the will is sent."""
    for clean, expected in [(False, []), (True, [("will/a", b"gone", 0)])]:
        table = Table()
        watcher = table.client("w")
        watcher.subscribe("will/#")
        will = Will("will/a", b"gone", will_delay_interval=30)
        table.client("a", 5, will=will, session_expiry_interval=60).cut()
        table.wait(10)
        table.client("a", 5, clean=clean)
        table.wait(60)
        assert watcher.messages() == expected


def test_a_will_survives_a_crash() -> None:
    """The broker that comes back publishes what it could not, each will once (5.0, 3.1.2.5)."""
    table = Table()
    table.lasting("w").subscribe("will/#", qos=1)
    table.client("a", 5, will=Will("will/a", b"gone", 1, will_delay_interval=30), session_expiry_interval=60)
    for _ in range(3):
        table.crash()
        table.wait(40)
    table.crash()
    assert table.lasting("w").messages() == [("will/a", b"gone", 1)]


def test_a_will_that_is_not_allowed() -> None:
    """It is refused when it is made, not when its maker is gone (5.0, 5.4.2)."""
    table = Table(allow=lambda link, action, topic: topic != "secret")
    client, got = table.connect("a", 5, will=Will("secret"))
    assert got[0].reason is Reason.NOT_AUTHORIZED and client.link.closing
    _, got = table.connect("a", 5, will=Will("$SYS/broker/uptime"))
    assert got[0].reason is Reason.NOT_AUTHORIZED


def test_what_breaks_the_standard() -> None:
    """The connection is closed, with the reason where there is a word for it ([MQTT-4.13.1-1], [MQTT-4.8.0-1])."""
    for statement, version, data, reason in [
        ("MQTT-3.1.0-2", 5, encode(Connect("a", version=5), 5), Reason.PROTOCOL_ERROR),
        ("MQTT-3.1.0-2", 4, encode(Connect("a"), 4), None),
        ("MQTT-3.3.1-4", 5, b"\x36\x05\0\1a\0\1", Reason.MALFORMED_PACKET),
        ("MQTT-3.3.2-2", 5, b"\x30\x04\0\1#\0", Reason.TOPIC_NAME_INVALID),
        ("MQTT-3.3.2-7", 5, encode(Publish("a", topic_alias=65), 5), Reason.TOPIC_ALIAS_INVALID),
        ("3.3.4", 5, encode(Publish("", topic_alias=7), 5), Reason.PROTOCOL_ERROR),
        ("4.12", 5, encode(Auth(Reason.RE_AUTHENTICATE, "x"), 5), Reason.PROTOCOL_ERROR),
        ("3.14.2.2.2", 5, encode(Disconnect(session_expiry_interval=9), 5), Reason.PROTOCOL_ERROR),
        ("3.1.2.11.4", 5, b"\x30\xff\xff\xff\x01", Reason.PACKET_TOO_LARGE),
    ]:
        table = Table()
        client = table.client("x", version)
        client.raw(data)
        assert bye(client) == reason, statement
        assert table.hub.counts.faults == 1 and not table.hub.delivery.sessions


def test_reasons_in_words_are_given_to_who_wants_them() -> None:
    """[MQTT-3.1.2-29]."""
    for wanted, said in [(None, True), (True, True), (False, False)]:
        client = Table().client("x", 5, request_problem_information=wanted)
        client.raw(b"\x36\x05\0\1a\0\1")
        (packet,) = client.got()
        assert (packet.reason_string is not None) is said


def test_stop() -> None:
    """All are told that the broker goes; sessions that last are kept, wills are published (5.0, 3.14.2.1)."""
    table = Table()
    table.lasting("w").subscribe("will", qos=1)
    five, four = table.lasting("five", 5), table.client("four", will=Will("will", b"4", 1))
    table.hub.stop(Reason.SERVER_SHUTTING_DOWN, table.now)
    table.turn()
    assert bye(five) == Reason.SERVER_SHUTTING_DOWN and bye(four) is None and not table.hub.links
    table.crash()
    assert table.lasting("w").messages() == [("will", b"4", 1)]
    assert table.connect("five", 5, clean=False)[1][0].session_present


def test_pause() -> None:
    """Nobody is read from while there is no room; whoever holds is told of (architecture: full is felt upstream)."""
    table = Table()
    client = table.client("a")
    table.hub.taken_dirty()
    table.hub.pause_all()
    assert client.link.hold and table.hub.taken_dirty() == [client.link]
    client.link.take()
    table.hub.resume()
    assert not client.link.hold and table.hub.taken_dirty() == [client.link]


def test_who_asks_and_does_not_read() -> None:
    """It is not read from until it has read; nor is one whose answers wait for the disk."""
    table = Table(Limits(sys_seconds=0, pending=100, receive=10))
    client = table.client("a")
    client.send(*[Pingreq()] * 101)
    assert client.link.hold and len(client.got()) == 101 and not client.link.hold
    lasting = table.lasting("b")
    table.synced = False
    lasting.send(*(Subscribe(number, (Filter("t", number % 2),)) for number in range(1, 12)))
    assert lasting.link.hold and not lasting.got()
    table.sync()
    assert not lasting.link.hold and len(lasting.got()) == 11


def test_unsubscribe() -> None:
    """Each filter is ended as it is spelled, and each is answered ([MQTT-3.10.4-1], [MQTT-3.11.3-1])."""
    table = Table()
    client = table.client("a", 5)
    client.subscribe("t/+", "u")
    client.send(Unsubscribe(5, ("t/a", "t/+")))
    answer = client.one(Unsuback)
    assert answer == Unsuback(5, (Reason.NO_SUBSCRIPTION_EXISTED, Reason.SUCCESS))
    client.publish("t/a").publish("u")
    assert client.messages() == [("u", b"x", 0)]


def test_subscriptions_that_are_refused() -> None:
    """Each filter has its own answer ([MQTT-3.8.4-6], [MQTT-3.9.3-1]); 3.1.1 knows one no ([MQTT-3.9.3-2])."""
    limits = Limits(sys_seconds=0, subscriptions=2)
    deep = "/".join("a" * 200)
    for version, said in [
        (5, [2, 0x87, 0x8F, 1, 0x97, 2]),
        (4, [2, 0x80, 0x80, 1, 0x80, 2]),
    ]:
        table = Table(limits, allow=lambda link, action, topic: action != "subscribe" or topic != "secret")
        client = table.client("a", version)
        answer = client.subscribe(
            Filter("a", 2), Filter("secret", 1), Filter(deep), Filter("b", 1), Filter("c"), Filter("a", 2)
        )
        assert [int(reason) for reason in answer.reasons] == said


def test_a_session_of_another_user() -> None:
    """Whoever takes it up gets nothing that it may not subscribe to, of what waits and of what comes; also not by a
    crash."""
    table = Table(allow=lambda link, action, topic: link.user_name == "u" or topic not in ("secret", "#"))
    owner = table.lasting("a", 5, user_name="u")
    owner.subscribe("secret", "open", "#", qos=1)
    owner.cut()
    publisher = table.client("p", user_name="u")
    publisher.publish("secret", b"1", 1).publish("open", b"2", 1)
    other = table.lasting("a", 5, user_name="v")
    publisher.publish("secret", b"3", 1).publish("open", b"4", 1).publish("more", b"5", 1)
    assert other.messages() == [("open", b"2", 1), ("open", b"4", 1)]
    table.crash()
    assert list(table.hub.delivery.sessions["a"].subscriptions) == ["open"]
    assert not table.lasting("a", 5, user_name="u").messages()


def test_messages_that_are_not_allowed() -> None:
    """5.0 is told ([MQTT-3.3.5-2]); 3.1.1 has no word for it, and is acknowledged ([MQTT-3.3.5-2] of 3.1.1)."""
    for version, topic, qos, reason in [
        (5, "secret", 1, Reason.NOT_AUTHORIZED),
        (5, "$SYS/broker/uptime", 1, Reason.NOT_AUTHORIZED),
        (4, "secret", 1, Reason.SUCCESS),
        (5, "open", 1, Reason.SUCCESS),
    ]:
        table = Table(allow=lambda link, action, topic: action != "publish" or topic != "secret")
        watcher = table.client("w")
        watcher.subscribe("#", "$SYS/#")
        client = table.client("a", version)
        client.publish(topic, b"x", qos)
        assert client.one(Puback).reason is reason
        assert len(watcher.messages()) == (topic == "open")
        assert table.hub.counts.refused_messages == (topic != "open")


def test_sys() -> None:
    """The broker tells of itself, to those who ask by name (5.0, 4.7.2); what does not change is not told again."""
    table = Table(Limits(sys_seconds=10))
    watcher, other = table.client("w"), table.client("o")
    other.subscribe("#")
    table.wait(10)
    watcher.subscribe("$SYS/#")
    first = {topic: payload for topic, payload, _ in watcher.messages()}
    assert first["$SYS/broker/clients/connected"] == b"2" and len(first) > 10
    table.wait(10)
    second = {topic: payload for topic, payload, _ in watcher.messages()}
    assert second["$SYS/broker/uptime"] == b"20 seconds" and "$SYS/broker/clients/connected" not in second
    assert not other.messages() and not table.log


def test_a_second_subscribe_in_one_turn() -> None:
    """Many packets in one piece are answered in their order."""
    client = Table().client("a")
    client.send(*(Subscribe(number, (Filter("t", 1),)) for number in range(1, 6)), Pingreq())
    assert [getattr(each, "packet_id", 0) for each in client.got()] == [1, 2, 3, 4, 5, 0]
