"""The message broker of a real node with the client of Node.js, the npm package `mqtt`: every way, both versions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from broker_clients import Authority, BrokerNode, until
from node_js import NodeJs, Refused, needs_node_js

pytestmark = needs_node_js
USERS = (
    "user = (name = device and password = 'a secret' and allow = '#') and "
    "user = (name = narrow and password = narrow and allow = open/# and deny = open/closed/#)"
)
VERSIONS = pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5.0"])
WAYS = pytest.mark.parametrize("way", ["mqtt", "mqtts", "ws", "wss"])
NAMES = count()


class Clients:
    """Clients of Node.js at two brokers, one for TLS and one without, both of which want a password."""

    def __init__(self, js: NodeJs, plain: BrokerNode, secure: BrokerNode, authority: Authority) -> None:
        self.js, self.plain, self.secure, self.authority = js, plain, secure, authority

    def connect(self, way: str, version: int, name: str = "", **options: Any) -> tuple[str, dict[str, Any]]:
        """Gives its name and what its CONNACK says; raises `Refused`."""
        name, number = self.connecting(way, version, name, **options)
        return name, self.js.answer(number)

    def connecting(self, way: str, version: int, name: str = "", **options: Any) -> tuple[str, int]:
        """The same without waiting: `js.answer` of the number does."""
        name = name or f"js-{next(NAMES)}"
        given = {
            "clientId": name,
            "protocolVersion": version,
            "username": "device",
            "password": "a secret",
            "connectTimeout": 60_000,
            **options,
        }
        safe = way in ("mqtts", "wss")
        url = f"{way}://127.0.0.1:{(self.secure if safe else self.plain).broker}" + "/mqtt" * (way in ("ws", "wss"))
        how = {"ca": str(self.authority.path)} if safe else {}
        return name, self.js.start(name, "connect", url=url, options=given, **how)

    def subscribe(self, name: str, topics: object, **options: Any) -> list[int]:
        """Gives what is granted, or refused."""
        granted: list[int] = self.js.do(name, "subscribe", topics=topics, options=options)["granted"]
        return granted

    def publish(self, name: str, topic: str, payload: bytes, qos: int = 0, **options: Any) -> Any:
        """Gives what the last acknowledgement says."""
        return self.js.do(name, "publish", topic=topic, payload=payload, options={"qos": qos, **options})

    def end(self, *names: str) -> None:
        for name in names:
            self.js.do(name, "end")


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    folder = tmp_path_factory.mktemp("node-js")
    authority = Authority(folder)
    certificate, key = authority.issue("localhost")
    plain = BrokerNode(folder / "plain", USERS)
    plain.start()
    secure = BrokerNode(
        folder / "secure", f"enable_tls = true and tls_cert = {certificate} and tls_key = {key} and {USERS}"
    )
    secure.start()
    js = NodeJs(folder / "node-js.log")
    yield Clients(js, plain, secure, authority)
    js.close()
    assert not js.log.read_text()
    for node in (plain, secure):
        assert node.command("get status").endswith(b"running")
        log = node.log.read_text()
        assert "Traceback" not in log and "a secret" not in log, log[-3000:]
        node.remove()


@VERSIONS
@WAYS
def test_each_qos(clients: Clients, way: str, version: int) -> None:
    """What is published at each QoS arrives once and in order at the lower of both, whatever its bytes are."""
    topic = f"qos/{way}/{version}"
    reader, _ = clients.connect(way, version)
    writer, _ = clients.connect(way, version)
    assert clients.subscribe(reader, {f"{topic}/{qos}/#": {"qos": qos} for qos in range(3)}) == [0, 1, 2]
    payloads = [b"%d" % number for number in range(100)] + [bytes(range(256)), b"", b"\0"]
    for wanted in range(3):
        for qos in range(3):
            sent = [
                clients.js.start(
                    writer, "publish", topic=f"{topic}/{wanted}/{qos}", payload=payload, options={"qos": qos}
                )
                for payload in payloads
            ]
            got = clients.js.messages(reader, len(payloads))
            assert [each["payload"] for each in got] == payloads
            assert {(each["topic"], each["qos"]) for each in got} == {(f"{topic}/{wanted}/{qos}", min(wanted, qos))}
            for number in sent:
                clients.js.answer(number)
    clients.js.do(reader, "unsubscribe", topics=f"{topic}/1/#", options={})
    clients.publish(writer, f"{topic}/1/0", b"nobody asked", 1)
    clients.publish(writer, f"{topic}/2/0", b"end", 1)
    assert [each["payload"] for each in clients.js.messages(reader, 1)] == [b"end"]
    assert not clients.js.waiting(reader)
    clients.end(reader, writer)


@VERSIONS
@WAYS
def test_a_megabyte(clients: Clients, way: str, version: int) -> None:
    """A payload of all bytes, a megabyte of it, is unharmed at each QoS."""
    name, _ = clients.connect(way, version)
    clients.subscribe(name, f"large/{way}/{version}", qos=2)
    for qos in range(3):
        large = bytes(range(qos, 256)) * 4200
        assert len(large) > 1 << 20
        clients.publish(name, f"large/{way}/{version}", large, qos)
        (message,) = clients.js.messages(name, 1)
        assert message["payload"] == large and message["qos"] == qos
    clients.end(name)


@VERSIONS
@WAYS
def test_retained(clients: Clients, way: str, version: int) -> None:
    """The last retained message is for those who come later, until an empty one takes it away."""
    topic = f"kept/{way}/{version}"
    writer, _ = clients.connect(way, version)
    for text in (b"old", b"new"):
        clients.publish(writer, topic, text, 1, retain=True)
    later, _ = clients.connect(way, version)
    clients.subscribe(later, topic, qos=1)
    (message,) = clients.js.messages(later, 1)
    assert (message["payload"], message["retain"]) == (b"new", True)
    clients.publish(writer, topic, b"live", 1, retain=True)
    (message,) = clients.js.messages(later, 1)
    assert (message["payload"], message["retain"]) == (b"live", False)
    clients.publish(writer, topic, b"", 1, retain=True)
    last, _ = clients.connect(way, version)
    clients.subscribe(last, [topic, f"{topic}/end"], qos=1)
    clients.publish(writer, f"{topic}/end", b"end", 1)
    assert [each["payload"] for each in clients.js.messages(last, 1)] == [b"end"]
    clients.end(writer, later, last)


@VERSIONS
@WAYS
def test_will(clients: Clients, way: str, version: int) -> None:
    """The will of a client whose connection breaks is published, that of one that says goodbye is not."""
    topic = f"will/{way}/{version}"
    reader, _ = clients.connect(way, version)
    clients.subscribe(reader, f"{topic}/#", qos=1)
    for word in ("end", "vanish"):
        will: dict[str, Any] = {"topic": f"{topic}/{word}", "payload": b"gone", "qos": 1, "retain": True}
        if version == 5:
            will["properties"] = {"userProperties": {"why": word}, "contentType": "text/plain"}
        name, _ = clients.connect(way, version, will=will)
        clients.js.do(name, word)
    (message,) = clients.js.messages(reader, 1)
    assert (message["topic"], message["payload"], message["qos"]) == (f"{topic}/vanish", b"gone", 1)
    if version == 5:
        assert message["properties"]["userProperties"] == {"why": "vanish"}
        assert message["properties"]["contentType"] == "text/plain"
    clients.publish(reader, f"{topic}/vanish", b"", 1, retain=True)
    clients.end(reader)


@VERSIONS
@WAYS
def test_a_session_that_is_kept(clients: Clients, way: str, version: int) -> None:
    """A client whose connection breaks comes back by itself to its session, with what came meanwhile, each once."""
    topic = f"session/{way}/{version}"
    lasting: dict[str, Any] = {"clean": False}
    if version == 5:
        lasting["properties"] = {"sessionExpiryInterval": 3600}
    name, connack = clients.connect(way, version, reconnectPeriod=20, resubscribe=False, **lasting)
    assert not connack["sessionPresent"]
    clients.subscribe(name, topic, qos=2)
    writer, _ = clients.connect(way, version)
    sent = []
    for place in range(60):
        options = {"qos": 1 + place % 2}
        sent.append(clients.js.start(writer, "publish", topic=topic, payload=b"%d" % place, options=options))
        if place == 20:
            clients.js.do(name, "drop")
    again = clients.js.event(name, "connect")
    assert again["sessionPresent"]
    for number in sent:
        clients.js.answer(number)
    got = []
    while len({each["payload"] for each in got}) < 60:
        got += clients.js.messages(name, 1)
    twice = [int(each["payload"]) for each in got if each["qos"] == 2]
    assert sorted(twice) == list(range(1, 60, 2))  # exactly once
    once = [int(each["payload"]) for each in got if each["qos"] == 1]
    assert set(once) == set(range(0, 60, 2))
    clients.end(name)
    clients.publish(writer, topic, b"while away", 1)
    _, connack = clients.connect(way, version, name, **lasting)
    assert connack["sessionPresent"]
    assert [each["payload"] for each in clients.js.messages(name, 1)] == [b"while away"]
    clients.end(name)
    _, connack = clients.connect(way, version, name, clean=True)
    assert not connack["sessionPresent"]
    clients.end(name, writer)


@WAYS
def test_properties(clients: Clients, way: str) -> None:
    """What 5.0 puts beside a message is with it at the other end; of its expiry, what is left."""
    asks, _ = clients.connect(way, 5)
    answers, _ = clients.connect(way, 5)
    clients.subscribe(asks, f"reply/{way}", qos=1)
    clients.subscribe(answers, f"asked/{way}", qos=1, properties={"subscriptionIdentifier": 77})
    properties = {
        "userProperties": {"colour": ["red", "blue"], "größe": "zwölf"},
        "responseTopic": f"reply/{way}",
        "correlationData": bytes(range(256)),
        "contentType": "application/json",
        "payloadFormatIndicator": True,
        "messageExpiryInterval": 1000,
    }
    clients.publish(asks, f"asked/{way}", b'{"level": 7.5}', 1, properties=properties)
    (message,) = clients.js.messages(answers, 1)
    told = message["properties"]
    assert 0 < told.pop("messageExpiryInterval") <= 1000
    del properties["messageExpiryInterval"]
    assert told == {**properties, "subscriptionIdentifier": 77}
    again = {"correlationData": told["correlationData"]}
    clients.publish(answers, told["responseTopic"], b"well", 1, properties=again)
    (message,) = clients.js.messages(asks, 1)
    assert (message["payload"], message["properties"]["correlationData"]) == (b"well", bytes(range(256)))
    clients.end(asks, answers)


def test_expiry(clients: Clients) -> None:
    """A message that nobody took in its time is gone, and one beside it with more time is not."""
    name, _ = clients.connect("mqtt", 5, clean=False, properties={"sessionExpiryInterval": 3600})
    clients.subscribe(name, "expiry", qos=1)
    clients.end(name)
    writer, _ = clients.connect("mqtt", 5)
    for text, seconds in ((b"short", 1), (b"long", 1000)):
        clients.publish(writer, "expiry", text, 1, properties={"messageExpiryInterval": seconds})
    clients.publish(writer, "expiry/kept", b"short", 1, retain=True, properties={"messageExpiryInterval": 1})

    def kept() -> int:
        """Retained messages there are, as they are given to who comes now."""
        reader, _ = clients.connect("mqtt", 5)
        clients.subscribe(reader, "expiry/kept", qos=1)
        clients.publish(reader, "expiry/kept", b"live", 1)
        (first,) = clients.js.messages(reader, 1)
        clients.end(reader)
        return int(first["payload"] == b"short")

    until(lambda: not kept())
    _, connack = clients.connect("mqtt", 5, name, clean=False, properties={"sessionExpiryInterval": 0})
    assert connack["sessionPresent"]
    (message,) = clients.js.messages(name, 1)
    assert message["payload"] == b"long" and message["properties"]["messageExpiryInterval"] < 1000
    clients.end(name, writer)


@WAYS
def test_topic_aliases(clients: Clients, way: str) -> None:
    """Topics become numbers in both directions: those that come again and again are written once."""
    long = f"alias/{way}/" + "x" * 500
    name, connack = clients.connect(way, 5, properties={"topicAliasMaximum": 3}, autoAssignTopicAlias=True)
    assert connack["properties"]["topicAliasMaximum"] > 0
    clients.subscribe(name, f"alias/{way}/#", qos=1)
    for place in range(30):
        clients.publish(name, f"{long}{place % 5}", b"%d" % place, place % 2)
    got = clients.js.messages(name, 30)
    wanted = {b"%d" % place: f"{long}{place % 5}" for place in range(30)}
    assert {each["payload"]: each["topic"] for each in got} == wanted
    assert any(each["properties"].get("topicAlias") for each in got)  # by the broker
    for _ in range(25):
        clients.js.event(name, "aliased")  # by the client: all but the first of each
    clients.end(name)


@VERSIONS
@WAYS
def test_refused(clients: Clients, way: str, version: int) -> None:
    """A wrong password, a user nobody knows and no user at all are told why, in the words of their version."""
    wrong: list[dict[str, Any]] = [{"password": "wrong"}, {"username": "nobody"}, {"username": None, "password": None}]
    for given, number in [(each, clients.connecting(way, version, **each)[1]) for each in wrong]:
        with pytest.raises(Refused) as refused:
            clients.js.answer(number)
        assert refused.value.code in ((4, 5) if version == 4 else (0x86, 0x87)), given


@VERSIONS
def test_not_allowed(clients: Clients, version: int) -> None:
    """A topic that is not for this user: 5.0 says so, 3.1.1 has no word for it, and the message goes nowhere."""
    narrow, _ = clients.connect("mqtt", version, username="narrow", password="narrow")
    reader, _ = clients.connect("mqtt", version)
    clients.subscribe(reader, "#", qos=1)
    assert clients.subscribe(narrow, ["elsewhere/#", "open/x"], qos=1) == [0x80 if version == 4 else 0x87, 1]
    for topic in ("elsewhere", "open/closed/x"):
        if version == 5:
            with pytest.raises(Refused) as refused:
                clients.publish(narrow, topic, b"no", 1)
            assert refused.value.code == 0x87
        else:
            clients.publish(narrow, topic, b"no", 1)
    clients.publish(narrow, "open/x", b"yes", 1)
    for name in (narrow, reader):
        assert [each["payload"] for each in clients.js.messages(name, 1)] == [b"yes"]
    clients.end(narrow, reader)


def test_taken_over(clients: Clients) -> None:
    """The older of two clients with one id is told so."""
    name, _ = clients.connect("mqtt", 5, "one-id")
    clients.connect("wss", 5, "one-id-elsewhere")
    other, _ = clients.connect("ws", 5, "the other", clientId="one-id")
    assert clients.js.event(name, "disconnect")["reasonCode"] == 0x8E
    clients.publish(other, "x", b"", 1)
    clients.end(other, "one-id-elsewhere")
