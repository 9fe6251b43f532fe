"""Subscriptions of a real broker of others: what is answered is kept, what is kept is answered, whatever breaks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from attrs import fields
from mosquitto import Mosquitto, certificates, needs_mosquitto, until
from node import NodeProcess
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.protocols.portforward import ProxyFactory
from twisted.trial.unittest import TestCase
from websocket_bridge import Bridge

from anylog.disk.durable import RealDisk
from anylog.errors import AnyLogError
from anylog.interfaces import Repeat
from anylog.net import Net
from anylog.network import outside
from anylog.network.outside import CONNECTED, CONNECTING, OutsideBroker
from anylog.network.outside_access import Access, Tls
from anylog.network.outside_memory import Exchanges
from anylog.network.publish import publish_outside
from anylog.testing.lanes import InlineLane
from anylog.wire.mqtt_packets import Publish

pytestmark = needs_mosquitto
ATTRIBUTES = {each.name for each in fields(Access)}


class Kept:
    """Where messages are kept: of two with one key and token one."""

    def __init__(self) -> None:
        self.messages: list[Publish] = []
        self.tokens: dict[str, str] = {}
        self.repeats = self.calls = 0
        self.held: list[Deferred[None]] = []
        self.hold = False
        self.failures = 0  # so many calls fail from now on
        self.told: Callable[[], object] = lambda: None  # called at each call

    def deliver(self, items: Sequence[tuple[Repeat | None, Publish]]) -> Deferred[None]:
        self.calls += 1
        self.told()
        if self.failures:
            self.failures -= 1
            raise AnyLogError(503, "the disk is full")
        for known, message in items:
            if known is not None:
                key, token, repeat = known
                if repeat and self.tokens.get(key) == token:
                    self.repeats += 1
                    continue
                self.tokens[key] = token
            self.messages.append(message)
        if not self.hold:
            return succeed(None)
        self.held.append(Deferred())
        return self.held[-1]

    def let_go(self) -> None:
        held, self.held = self.held, []
        for each in held:
            each.callback(None)

    def payloads(self, topic: str = "") -> Counter[str]:
        return Counter(each.payload.decode() for each in self.messages if not topic or each.topic == topic)


def numbers(count: int, first: int = 0) -> Counter[str]:
    return Counter(str(number) for number in range(first, first + count))


class OutsideTests(TestCase):
    """One broker and one subscription, mostly."""

    timeout = 240

    def setUp(self) -> None:
        self.folder = Path(mkdtemp(prefix="outside-"))
        self.addCleanup(rmtree, self.folder)
        self.kept = Kept()
        self.clients: list[OutsideBroker] = []
        self.patch(outside, "FIRST_WAIT", 0.05)

    async def tearDown(self) -> None:
        self.kept.hold = False
        self.kept.let_go()
        for client in self.clients:
            await client.stop()

    def broker(self, *listener: str, anonymous: bool = True, start: bool = True, port: int = 0) -> Mosquitto:
        made = Mosquitto(self.folder, *listener, anonymous=anonymous, port=port)
        self.addCleanup(made.stop)
        if start:
            made.start()
        return made

    def client(self, port: int, topics: Sequence[tuple[str, int]] = (("a/#", 2),), **more: Any) -> OutsideBroker:
        access = {name: more.pop(name) for name in [*more] if name in ATTRIBUTES}
        made = OutsideBroker(
            clock=reactor,  # type: ignore[arg-type]
            net=Net(reactor),
            chance=Random(1),
            read=lambda function: succeed(function()),
            token=os.urandom,
            access=Access(**{"host": "127.0.0.1", "port": port, "client_id": "edge", **access}),
            topics=topics,
            deliver=self.kept.deliver,
            memory=self.memory(),
            **more,
        )
        self.clients.append(made)
        made.start()
        return made

    def memory(self) -> Exchanges:
        return Exchanges(disk=RealDisk(), lane=InlineLane(), path=self.folder / "x.session", token=os.urandom)

    # What comes.

    async def test_every_qos_in_both_versions(self) -> None:
        """Wildcards and several topics: each message once, with its QoS as asked for, in order of its topic."""
        broker = self.broker()
        for version in (4, 5):
            self.kept.messages.clear()
            topics = [("plant/+/heat", 2), ("exact", 1), ("low/#", 0)]
            client = self.client(broker.port, topics, version=version, client_id=f"edge{version}")
            await until(lambda client=client: client.state == CONNECTED)
            for topic, qos in (("plant/a/heat", 2), ("plant/b/heat", 1), ("exact", 2), ("low/x/y", 2), ("plant/a", 2)):
                broker.send(topic, range(50), qos)
            await until(lambda: len(self.kept.messages) >= 200)
            for topic, qos in (("plant/a/heat", 2), ("plant/b/heat", 1), ("exact", 1), ("low/x/y", 0)):
                found = [each for each in self.kept.messages if each.topic == topic]
                self.assertEqual([each.payload.decode() for each in found], [str(number) for number in range(50)])
                self.assertEqual({each.qos for each in found}, {qos}, topic)
            self.assertEqual(len(self.kept.messages), 200)
            await until(lambda client=client: client.counts["answered"] == 50 + 50 + 50 + 50)
            self.assertEqual(client.last_error, "")
            await client.stop()

    async def test_hundred_thousand(self) -> None:
        """Many of QoS 0 and 1 at once, all there."""
        broker = self.broker()
        client = self.client(broker.port, [("zero", 0), ("one", 1)], persistent=True)
        await until(lambda: client.state == CONNECTED)
        senders = [broker.sending("zero", range(50_000), 0), broker.sending("one", range(50_000), 1)]
        await until(lambda: len(self.kept.messages) >= 100_000, 200)
        self.assertEqual([each.wait(30) for each in senders], [0, 0])
        self.assertEqual(self.kept.payloads("zero"), numbers(50_000))
        self.assertEqual(self.kept.payloads("one"), numbers(50_000))
        self.assertLess(self.kept.calls, 50_000)  # a turn is a batch
        await until(lambda: client.counts["answered"] == 50_000)

    async def test_properties_come_along(self) -> None:
        """What 5.0 says beside topic and payload is handed on."""
        broker = self.broker()
        client = self.client(broker.port, version=5)
        await until(lambda: client.state == CONNECTED)
        more = ("-V", "5", "-D", "publish", "content-type", "text/x", "-D", "publish", "user-property", "unit", "bar")
        broker.send("a/b", ["7"], 1, more)
        await until(lambda: self.kept.messages)
        self.assertEqual(self.kept.messages[0].content_type, "text/x")
        self.assertEqual(self.kept.messages[0].user_properties, (("unit", "bar"),))

    # What the broker may refuse, and how it is reached.

    async def test_wrong_password(self) -> None:
        """Told by name, tried again with pauses that grow; once the password is right it goes on."""
        names = self.folder / "names"
        names.write_text("edge:right\n")
        subprocess.run(["mosquitto_passwd", "-U", str(names)], check=True)
        broker = self.broker(f"password_file {names}", anonymous=False)
        for version, told in ((4, "Not authorized"), (5, "Not authorized")):
            client = self.client(broker.port, user="edge", password="wrong", version=version)
            await until(lambda client=client: client.counts["errors"] >= 3)
            self.assertIn(told.lower(), client.last_error.lower())
            self.assertEqual(client.counts["connects"], 0)
            await client.stop()
        client = self.client(broker.port, user="edge", password="right")
        await until(lambda: client.state == CONNECTED)

    async def test_tls(self) -> None:
        """Only a broker whose certificate our authority has signed is spoken to, and our own certificate is shown."""
        keys = self.folder / "keys"
        certificates(keys)
        broker = self.broker(
            f"cafile {keys}/ca.pem", f"certfile {keys}/server.pem", f"keyfile {keys}/server.key",
            "require_certificate true",
        )  # fmt: skip
        ours = {"cert": f"{keys}/client.pem", "key": f"{keys}/client.key"}
        good = Tls(ca=f"{keys}/ca.pem", **ours)
        client = self.client(broker.port, tls=good)
        await until(lambda: client.state == CONNECTED)
        shown = ("--cafile", f"{keys}/ca.pem", "--cert", f"{keys}/client.pem", "--key", f"{keys}/client.key")
        broker.send("a/b", ["x" * 300_000, *range(1000)], 2, shown)
        await until(lambda: len(self.kept.messages) == 1001)
        self.assertEqual(self.kept.payloads(), numbers(1000) + Counter(["x" * 300_000]))
        await client.stop()
        for tls, told in (
            (Tls(ca=f"{keys}/other.pem", **ours), "certificate of the broker is not accepted"),
            (Tls(ca=f"{keys}/none.pem"), "cannot be read"),
            (None, "connection"),
        ):
            other = self.client(broker.port, tls=tls)
            await until(lambda other=other: other.counts["errors"])
            self.assertIn(told, other.last_error)
            self.assertEqual(other.counts["connects"], 0)
            await other.stop()
        careless = self.client(broker.port, tls=Tls(insecure=True, **ours))
        await until(lambda: careless.state == CONNECTED)

    async def test_websocket(self) -> None:
        """The same through a WebSocket, large messages in many frames included; one that is none is named."""
        broker = self.broker()
        bridge = Bridge(broker.port)
        port = reactor.listenTCP(0, bridge, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        client = self.client(port.getHost().port, websocket="/mqtt")
        await until(lambda: client.state == CONNECTED)
        for number in range(20):
            await self.publish(str(number) * 20_000, number % 3, port=port.getHost().port, websocket="/mqtt")
        await until(lambda: len(self.kept.messages) == 20)
        self.assertEqual(self.kept.payloads(), Counter(str(number) * 20_000 for number in range(20)))
        await until(lambda: bridge.fronts[0].pongs > 20)
        bridge.refuse = 404
        with self.assertRaisesRegex(AnyLogError, "no WebSocket there: the answer was 'HTTP/1.1 404"):
            await self.publish("x", 0, port=port.getHost().port, websocket="/mqtt")

    async def test_publishing(self) -> None:
        """Each QoS in both versions is there when it is said to be; who does not answer is given up in time."""
        broker = self.broker()
        client = self.client(broker.port)
        await until(lambda: client.state == CONNECTED)
        for version in (4, 5):
            for qos in range(3):
                await self.publish(f"{version} {qos}", qos, port=broker.port, version=version)
        await until(lambda: len(self.kept.messages) == 6)
        self.assertEqual(self.kept.payloads(), Counter(f"{version} {qos}" for version in (4, 5) for qos in range(3)))
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        with self.assertRaisesRegex(AnyLogError, "publishing to .* no result after 0.2 seconds"):
            await self.publish("x", 1, port=silent.getsockname()[1], seconds=0.2)
        broker.stop()
        with self.assertRaisesRegex(AnyLogError, "cannot be reached: .*refused"):
            await self.publish("x", 1, port=broker.port)

    async def publish(self, payload: str, qos: int, *, seconds: float = 60.0, **access: Any) -> None:
        await publish_outside(
            "a/b",
            payload.encode(),
            clock=reactor,  # type: ignore[arg-type]
            net=Net(reactor),
            read=lambda function: succeed(function()),
            token=os.urandom,
            access=Access(**{"host": "127.0.0.1", "client_id": "them", **access}),
            qos=qos,
            seconds=seconds,
        )

    async def test_black_holes(self) -> None:
        """Where nobody answers, to the connection or to CONNECT, the reactor goes on; the error says which it was."""
        beats = 0

        def beat() -> None:
            nonlocal beats
            beats += 1

        rhythm = LoopingCall(beat)
        rhythm.start(0.005)
        self.addCleanup(rhythm.stop)
        silent = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(silent.close)
        port = silent.getsockname()[1]
        client = self.client(port, patience=1.0)
        await until(lambda: client.counts["errors"])
        self.assertIn("no answer to CONNECT within 1 seconds", client.last_error)
        await client.stop()
        # Its queue is full now or soon: then the system drops what knocks, as a host does that is not there.
        knocking = [socket.socket() for _ in range(4)]
        for each in knocking:
            self.addCleanup(each.close)
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        begin = beats
        client = self.client(port, patience=5.0)  # on a busy machine beats come late, and fewer of them
        await until(lambda: beats - begin > 20)
        self.assertEqual(client.state, CONNECTING)
        await until(lambda: client.counts["errors"])
        self.assertIn("cannot be reached", client.last_error)
        self.assertGreater(beats - begin, 40)

    # What breaks.

    async def test_what_comes_while_we_are_away(self) -> None:
        """With a session that lasts nothing of QoS 1 and 2 is missed, though the broker is restarted meanwhile."""
        broker = self.broker()
        client = self.client(broker.port, persistent=True)
        await until(lambda: client.state == CONNECTED)
        broker.send("a/one", range(500), 1)
        await client.stop()
        broker.send("a/one", range(500, 1000), 1)
        broker.send("a/two", range(500), 2)
        broker.stop()
        again = self.client(broker.port, persistent=True)
        await until(lambda: again.counts["errors"] >= 2)
        self.assertIn("refused", again.last_error)
        broker.start()
        await until(lambda: len(self.kept.messages) >= 1500)
        self.assertEqual(self.kept.payloads("a/one"), numbers(1000))
        self.assertEqual(self.kept.payloads("a/two"), numbers(500))

    async def test_broker_killed(self) -> None:
        """It comes back, and so do we, subscribed."""
        broker = self.broker()
        client = self.client(broker.port)
        await until(lambda: client.state == CONNECTED)
        for _ in range(3):
            broker.kill()
            await until(lambda: client.state != CONNECTED)
            broker.start()
            await until(lambda: client.state == CONNECTED)
        broker.send("a/b", range(10), 2)
        await until(lambda: len(self.kept.messages) >= 10)
        self.assertEqual(self.kept.payloads(), numbers(10))
        self.assertEqual((client.counts["connects"], client.counts["disconnects"]), (4, 3))

    async def test_cut_again_and_again(self) -> None:
        """Connections that break anywhere under load: QoS 1 and 2 arrive once each, as repeats are known as such."""
        broker = self.broker()
        for version in (4, 5):
            self.kept = Kept()
            factory = ProxyFactory("127.0.0.1", broker.port)
            factory.noisy = False
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
            lines: list[Any] = []
            build = factory.buildProtocol
            factory.buildProtocol = lambda address: lines.append(build(address)) or lines[-1]  # noqa: B023
            client = self.client(port.getHost().port, persistent=True, version=version, client_id=f"cut{version}")
            self.kept.told = lambda: self.kept.calls % 7 or lines[-1].transport.abortConnection()  # noqa: B023
            await until(lambda client=client: client.state == CONNECTED)
            wanted = [f"{number:0300}" for number in range(4000)]
            senders = [broker.sending("a/one", wanted, 1), broker.sending("a/two", wanted, 2)]
            await until(lambda: len(self.kept.messages) >= 8000)
            self.assertEqual([each.wait(30) for each in senders], [0, 0])
            self.assertEqual(self.kept.payloads("a/one"), Counter(wanted))
            self.assertEqual(self.kept.payloads("a/two"), Counter(wanted))
            self.assertGreaterEqual(client.counts["disconnects"], 5)
            self.assertGreater(client.counts["repeated"] + self.kept.repeats, 0)
            await client.stop()
            await port.stopListening()

    async def test_what_cannot_be_kept_comes_again(self) -> None:
        """A failing deliver is not answered: the broker sends it all again, and it is the same message."""
        broker = self.broker()
        client = self.client(broker.port, persistent=True)
        await until(lambda: client.state == CONNECTED)
        self.kept.failures = 3
        for qos in (1, 2):
            broker.send(f"a/{qos}", range(300), qos)
        await until(lambda: len(self.kept.messages) >= 600)
        self.assertEqual((self.kept.payloads("a/1"), self.kept.payloads("a/2")), (numbers(300), numbers(300)))
        self.assertEqual(client.counts["disconnects"], 3)
        self.assertIn("could not be kept: the disk is full", client.last_error)
        await until(lambda: client.counts["answered"] >= 300 + 600)

    async def test_slow_keeping_pauses_the_broker(self) -> None:
        """What waits is bounded, nothing is answered before it is kept, and all of it comes in the end."""
        broker = self.broker()
        client = self.client(broker.port, [("a/b", 1)], persistent=True, high=300_000, low=100_000)
        await until(lambda: client.state == CONNECTED)
        self.kept.hold = True
        sender = broker.sending("a/b", (f"{number:01000}" for number in range(5000)), 1)
        await until(lambda: client.counts["pauses"] >= 1)
        await until(lambda: sender.poll() is not None)
        self.assertLess(client.waiting, 300_000 + 2 * 65536)
        self.assertLess(len(self.kept.messages), 500)
        self.assertEqual(client.counts["answered"], 0)
        while len(self.kept.messages) < 5000:
            seen = client.counts["pauses"]
            self.kept.let_go()
            await until(lambda seen=seen: client.counts["pauses"] > seen or len(self.kept.messages) == 5000)
            self.assertLess(client.waiting, 300_000 + 2 * 65536)
        self.kept.let_go()
        await until(lambda: client.counts["answered"] == 5000)
        self.assertEqual(client.waiting, 0)
        self.assertGreater(client.counts["pauses"], 5)
        self.assertEqual(self.kept.repeats, 0)

    async def test_stopping_waits_for_what_is_being_kept(self) -> None:
        """It is answered, then we take leave; another run is not sent it again."""
        broker = self.broker()
        client = self.client(broker.port, persistent=True)
        await until(lambda: client.state == CONNECTED)
        self.kept.hold = True
        broker.send("a/b", range(20), 1)
        await until(lambda: len(self.kept.messages) == 20)
        stopped = Deferred.fromCoroutine(client.stop())
        self.kept.let_go()
        await stopped
        self.assertEqual(client.counts["answered"], 20)
        self.kept.hold = False
        again = self.client(broker.port, persistent=True)
        await until(lambda: again.state == CONNECTED)
        broker.send("a/b", ["last"], 1)
        await until(lambda: len(self.kept.messages) > 20)
        self.assertEqual(self.kept.payloads(), numbers(20) + Counter(["last"]))
        await again.stop(forget=True)
        broker.send("a/b", ["forgotten"], 1)
        third = self.client(broker.port, [("other", 1)], persistent=True)
        await until(lambda: third.state == CONNECTED)
        broker.send("other", ["end"], 1)
        await until(lambda: "end" in self.kept.payloads())
        self.assertNotIn("forgotten", self.kept.payloads())

    async def test_the_command_of_a_node(self) -> None:
        """`mqtt publish` to a broker, with the answer of the manual; faults are told with their reason."""
        broker = self.broker()
        client = self.client(broker.port)
        await until(lambda: client.state == CONNECTED)
        node = NodeProcess(self.folder / "home", dbms="")
        self.addCleanup(node.remove)
        node.start()
        where = f"mqtt publish where broker = 127.0.0.1 and port = {broker.port} and topic = a/b"
        node.command("set mqtt debug on", "POST")
        for qos in range(3):
            said = node.command(f"{where} and qos = {qos} and message = text{qos} and log = true", "POST")
            self.assertEqual(json.loads(said), {"MQTT Publish": "OK"})
        await until(lambda: len(self.kept.messages) == 3)
        self.assertEqual(self.kept.payloads(), Counter(f"text{qos}" for qos in range(3)))
        for more, told in (
            ("topic = a/# and message = x", "wildcard"),
            ("topic = a and message = x and port = 1", "cannot be reached"),
            ("topic = a and message = x and version = 7", "not a version of MQTT"),
            ("topic = a and message = x and tls_ca = none.pem", "certificates cannot be read"),
        ):
            with self.assertRaisesRegex(RuntimeError, told):
                node.command(f"mqtt publish where broker = 127.0.0.1 and {more}", "POST")
        with self.assertRaisesRegex(RuntimeError, "broker is not running"):
            node.command("mqtt publish where broker = local and topic = a and message = x", "POST")
        with self.assertRaisesRegex(RuntimeError, "neither on nor off"):
            node.command("set mqtt debug maybe", "POST")
        self.assertIn("Sending PUBLISH", node.log.read_text())
