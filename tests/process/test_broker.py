"""The message broker of a real node with clients that others made: mosquitto_pub, mosquitto_sub and paho-mqtt."""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from broker_clients import SECONDS, Authority, BrokerNode, Paho, mosquitto, mosquitto_pub, mosquitto_sub, until

VERSIONS = pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5.0"])
WAYS = pytest.mark.parametrize("transport", ["tcp", "websockets"])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerNode]:
    process = BrokerNode(tmp_path_factory.mktemp("broker") / "home")
    process.start()
    yield process
    assert process.command("get status").endswith(b"running")
    log = process.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    process.remove()


def way(transport: str) -> dict[str, object]:
    """How paho comes."""
    prepare = [lambda client: client.ws_set_options(path="/mqtt")] if transport == "websockets" else []
    return {"transport": transport, "prepare": prepare}


@mosquitto
@pytest.mark.parametrize("version", ["311", "5"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_mosquitto(node: BrokerNode, version: str, qos: str) -> None:
    """Publish and subscribe at every QoS, in both versions."""
    topic = f"m/{version}/{qos}"
    reader = mosquitto_sub(node, f"{topic}/#", 3, "-q", qos, "-V", version, "-i", f"s{version}{qos}")
    until(lambda: any(row["Event"] == "CONNECT" for row in node.rows()))
    _, before = node.command("get local broker"), time.monotonic()
    mosquitto_pub(node, f"{topic}/kept", "kept", "-r", "-q", "1")  # comes in any case: the subscription may be later
    while reader.poll() is None and time.monotonic() - before < SECONDS:
        mosquitto_pub(node, f"{topic}/x", "hello", "-q", qos, "-V", version)
    told, _ = reader.communicate(timeout=SECONDS)
    assert reader.returncode == 0, told
    assert set(told.split("\n")) <= {f"{topic}/kept kept", f"{topic}/x hello", ""}, told


@VERSIONS
@WAYS
def test_qos(node: BrokerNode, version: int, transport: str) -> None:
    """A thousand messages at each QoS arrive once, in order, with 200 of them under way."""
    topic = f"qos/{version}/{transport}"
    reader = Paho(node, version=version, **way(transport))
    writer = Paho(node, version=version, **way(transport))
    for qos in (0, 1, 2):
        reader.subscribe(f"{topic}/{qos}", qos)
        sent = [writer.client.publish(f"{topic}/{qos}", b"%d" % number, qos) for number in range(1000)]
        got = reader.take(1000)
        assert [message.payload for message in got] == [b"%d" % number for number in range(1000)]
        assert {message.qos for message in got} == {qos}
        for each in sent:
            each.wait_for_publish(SECONDS)
    assert reader.messages.empty()
    reader.close()
    writer.close()


@VERSIONS
def test_large_and_empty(node: BrokerNode, version: int) -> None:
    """A payload of 5 MB, one of nothing, and one of all bytes."""
    client = Paho(node, version=version)
    client.subscribe(f"large/{version}", 1)
    wanted = [bytes(range(256)) * (5 << 12), b"", bytes(range(256))]
    for payload in wanted:
        client.publish(f"large/{version}", payload, 1)
    assert [message.payload for message in client.take(3)] == wanted
    client.close()


@VERSIONS
def test_retained(node: BrokerNode, version: int) -> None:
    """The last one is given to who comes later, until an empty one takes it away."""
    client = Paho(node, version=version)
    topic = f"retained/{version}"
    for text in (b"old", b"new"):
        client.publish(topic, text, 1, retain=True)
    later = Paho(node, version=version)
    later.subscribe(topic, 1)
    (message,) = later.take(1)
    assert (message.payload, message.retain) == (b"new", True)
    client.publish(topic, b"", 1, retain=True)
    assert later.take(1)[0].payload == b""
    last = Paho(node, version=version)
    last.subscribe([(topic, 1), (f"{topic}/live", 1)])
    client.publish(f"{topic}/live", b"live", 1)
    assert [message.payload for message in last.take(1)] == [b"live"]
    for each in (client, later, last):
        each.close()


@VERSIONS
@WAYS
def test_will(node: BrokerNode, version: int, transport: str) -> None:
    """Who vanishes has its will published, who says goodbye has not."""
    topic = f"will/{version}/{transport}"
    reader = Paho(node, version=version)
    reader.subscribe(f"{topic}/#", 1)
    how = way(transport)
    for name in ("says", "vanishes"):
        prepare = [*how["prepare"], lambda client, name=name: client.will_set(f"{topic}/{name}", b"gone", 1)]  # type: ignore[misc]
        client = Paho(node, version=version, transport=transport, prepare=prepare)
        if name == "says":
            client.close()
        else:
            client.vanish()
    (message,) = reader.take(1)
    assert (message.topic, message.payload) == (f"{topic}/vanishes", b"gone")
    reader.close()


@VERSIONS
def test_session(node: BrokerNode, version: int) -> None:
    """What comes while a client is away waits for it; a clean start forgets it."""
    name = f"away-{version}"
    lasting = {"properties": {"SessionExpiryInterval": 3600}} if version == 5 else {}
    first = Paho(node, name, version=version, clean=False, **lasting)
    assert not first.flags.session_present
    first.subscribe(f"away/{version}", 2)
    first.vanish()
    writer = Paho(node, version=version)
    for number in range(300):
        writer.publish(f"away/{version}", b"%d" % number, 1 + number % 2)
    again = Paho(node, name, version=version, clean=False, **lasting)
    assert again.flags.session_present
    got = again.take(300)
    for qos in (1, 2):  # paho hands out those of QoS 2 when they are released
        assert [int(m.payload) for m in got if m.qos == qos] == [n for n in range(300) if 1 + n % 2 == qos]
    again.close()
    anew = Paho(node, name, version=version, clean=True)
    assert not anew.flags.session_present
    anew.close()
    writer.close()


@VERSIONS
def test_shared(node: BrokerNode, version: int) -> None:
    """Each message goes to one of the group; what one does not take goes to the others."""
    members = [Paho(node, version=version) for _ in range(3)]
    for member in members:
        member.subscribe(f"$share/g/shared/{version}", 1)
    writer = Paho(node, version=version)
    for number in range(90):
        writer.publish(f"shared/{version}", b"%d" % number, 1)
    until(lambda: sum(member.messages.qsize() for member in members) >= 90)
    shares = [member.messages.qsize() for member in members]
    assert sum(shares) == 90 and min(shares) >= 10
    assert {m.payload for each in members for m in each.take(each.messages.qsize())} == {b"%d" % n for n in range(90)}
    for each in (*members, writer):
        each.close()


def test_taken_over(node: BrokerNode) -> None:
    """The older of two clients with one id is told why it is closed."""
    old = Paho(node, "double", version=5, prepare=[lambda client: client.reconnect_delay_set(3600, 3600)])
    new = Paho(node, "double", version=5)
    reason = old.left.get(timeout=SECONDS)
    assert reason.value == 0x8E, reason
    old.client.disconnect()
    old.client.loop_stop()
    new.publish("x", b"", 1)
    new.close()


def test_options_of_5(node: BrokerNode) -> None:
    """No local, retain as published, subscription identifiers, properties of a request, expiry, aliases."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.subscribeoptions import SubscribeOptions

    client = Paho(node, version=5, properties={"TopicAliasMaximum": 10, "ReceiveMaximum": 5})
    ids = Properties(PacketTypes.SUBSCRIBE)
    ids.SubscriptionIdentifier = 77
    client.client.subscribe(
        [("five/own", SubscribeOptions(1, noLocal=True)), ("five/#", SubscribeOptions(1))], properties=ids
    )
    client.subscribed.get(timeout=SECONDS)
    asked = Properties(PacketTypes.PUBLISH)
    asked.ResponseTopic, asked.CorrelationData, asked.ContentType = "five/reply", b"\x01\x02", "text/plain"
    asked.MessageExpiryInterval, asked.UserProperty = 100, ("k", "v")
    for number in range(20):
        client.publish("five/request", b"%d" % number, 1, properties=asked)
    got = client.take(20)
    assert [message.payload for message in got] == [b"%d" % number for number in range(20)]
    for message in got:
        told = message.properties
        assert (told.ResponseTopic, told.CorrelationData, told.ContentType) == ("five/reply", b"\x01\x02", "text/plain")
        assert told.SubscriptionIdentifier == [77] and told.UserProperty == [("k", "v")]
        assert 90 <= told.MessageExpiryInterval <= 100
    client.close()


@VERSIONS
def test_the_broker_of_itself(node: BrokerNode, version: int) -> None:
    """Topics of `$SYS` that others show, and nothing of them to `#`."""
    client = Paho(node, version=version)
    client.subscribe([("$SYS/broker/clients/connected", 0), ("#", 0)])
    until(lambda: client.take(1)[0].topic == "$SYS/broker/clients/connected")
    rows = {(row["Protocol"], row["Event"]) for row in node.rows()}
    assert ("MQTT", "CONNECT") in rows
    client.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[BrokerNode]:
    """A node whose broker takes TLS only, from two users with passwords, and two certificates."""
    certificate, key = authority.issue("localhost")
    process = BrokerNode(
        tmp_path_factory.mktemp("secure") / "home",
        f"enable_tls = true and tls_cert = {certificate} and tls_key = {key} and users_ca = {authority.path}"
        " and allowed_users = sensor and allowed_users = gateway"
        " and user = (name = pump and password = 'a secret' and publish = plant/%u/# and subscribe = plant/#)"
        " and user = (name = eye and password = eye and subscribe = '#' and publish = nothing)",
    )
    process.start()
    yield process
    assert "Traceback" not in process.log.read_text()
    assert "a secret" not in process.log.read_text()
    process.remove()


def encrypted(authority: Authority, name: str, user: str = "", password: str = "") -> list[object]:
    """How paho comes by TLS, with the certificate of a client."""
    certificate, key = authority.issue(name)

    def prepare(client: object) -> None:
        client.tls_set(str(authority.path), str(certificate), str(key), tls_version=ssl.PROTOCOL_TLS_CLIENT)  # type: ignore[attr-defined]
        if user:
            client.username_pw_set(user, password)  # type: ignore[attr-defined]

    return [prepare]


@VERSIONS
@WAYS
def test_tls_and_users(secure: BrokerNode, authority: Authority, version: int, transport: str) -> None:
    """Through TLS, plain and inside WebSocket: who it is decides what it may."""
    eye = Paho(secure, version=version, transport=transport, prepare=encrypted(authority, "gateway", "eye", "eye"))
    pump = Paho(
        secure, version=version, transport=transport, prepare=encrypted(authority, "sensor", "pump", "a secret")
    )
    eye.subscribe("plant/#", 2)
    for number in range(500):
        pump.client.publish("plant/pump/level", b"%d" % number, number % 3)
    pump.publish("plant/other/level", b"not allowed", 1)
    pump.publish("plant/pump/end", b"end", 1)
    got = eye.take(501)
    assert [m.payload for m in got if m.topic == "plant/pump/end"] == [b"end"]
    levels = [m for m in got if m.topic == "plant/pump/level"]
    for qos in range(3):
        assert [int(m.payload) for m in levels if m.qos == qos] == list(range(qos, 500, 3))
    (reason,) = pump.subscribe("secret/#", 1)
    assert reason.value in ((0x80,) if version == 4 else (0x87,))
    large = bytes(3 << 20)
    pump.publish("plant/pump/large", large, 1)
    assert eye.take(1)[0].payload == large
    for client in (eye, pump):
        client.close()


def test_tls_refuses(secure: BrokerNode, authority: Authority) -> None:
    """Another name in the certificate, a wrong password, no certificate, no TLS."""
    stranger = Paho(secure, version=5, prepare=encrypted(authority, "stranger", "pump", "a secret"))
    assert stranger.reason.value in (0x86, 0x87)
    stranger.client.loop_stop()
    wrong = Paho(secure, version=4, prepare=encrypted(authority, "sensor", "pump", "wrong"))
    assert wrong.reason.is_failure
    wrong.client.loop_stop()
    context = ssl.create_default_context(cafile=str(authority.path))
    with secure.raw() as plain, pytest.raises(OSError), context.wrap_socket(plain, server_hostname="localhost") as none:
        none.sendall(b"\x10\x0c\0\4MQTT\4\2\0\x3c\0\0")
        if not none.recv(100):  # closed without the alert: just as well
            raise OSError("closed")
    with secure.raw() as plain:
        plain.sendall(b"\x10\x0c\0\4MQTT\4\2\0\x3c\0\0")
        assert b"\x20\x02\0\0" not in plain.recv(100)


@mosquitto
def test_mosquitto_by_tls(secure: BrokerNode, authority: Authority) -> None:
    """Clients of OpenSSL."""
    certificate, key = authority.issue("sensor")
    words = ["--cafile", str(authority.path), "--cert", str(certificate), "--key", str(key), "-q", "1"]
    reader = mosquitto_sub(secure, "plant/#", 1, *words, "-u", "eye", "-P", "eye")
    before = time.monotonic()
    while reader.poll() is None and time.monotonic() - before < SECONDS:
        mosquitto_pub(secure, "plant/pump/m", "hello", *words, "-u", "pump", "-P", "a secret")
    told, _ = reader.communicate(timeout=SECONDS)
    assert (reader.returncode, told) == (0, "plant/pump/m hello\n")
