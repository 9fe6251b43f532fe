"""The commands of the message broker, on a whole node (ingest.md 7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from anylog.disk.durable import RealDisk
from anylog.errors import AnyLogError
from anylog.language.context import Context, Result
from anylog.network.broker import Broker
from anylog.network.broker_commands import user_of
from anylog.network.broker_tls import context_of
from anylog.network.broker_users import User, Users
from anylog.node import Node
from anylog.testing.clock import HeapClock
from anylog.testing.lanes import InlineLanes
from anylog.testing.network import MemoryNetwork


class Desk:
    """A node in a network of memory."""

    def __init__(self, home: Any) -> None:
        from random import Random

        self.clock = HeapClock(1_790_000_000.0)
        self.network = MemoryNetwork(self.clock, Random(1))
        self.node = Node(
            home=home,
            clock=self.clock,
            net=self.network.net("10.0.0.1"),
            lanes=InlineLanes(),
            disk=RealDisk("none"),
            chance=Random(1),
        )
        self.wait(Deferred.fromCoroutine(self.node.start()))

    def wait(self, waited: Deferred[Any]) -> Any:
        """Its result, as time goes by."""
        found: list[Any] = []
        waited.addBoth(found.append)
        for _ in range(10_000):
            if found:
                break
            self.clock.advance(0.01)
        assert found, "it takes too long"
        if hasattr(found[0], "raiseException"):
            found[0].raiseException()
        return found[0]

    def ask(self, text: str, local: bool = True) -> Result:
        """The result of a command."""
        result = self.wait(self.node.execute(text, Context(origin="console" if local else "rest", local=local)))
        assert isinstance(result, Result)
        return result

    def refused(self, text: str) -> AnyLogError:
        """Of a command that is."""
        with pytest.raises(AnyLogError) as error:
            self.ask(text)
        return error.value

    @property
    def broker(self) -> Broker:
        found = self.node.processes.find("broker")
        assert isinstance(found, Broker)
        return found


@pytest.fixture
def desk(tmp_path: Any) -> Any:
    made = Desk(tmp_path / "home")
    yield made
    made.wait(made.node.stop())


FORMS = [
    ("10.0.0.1 7850", ("10.0.0.1:7850",) * 3, "Listening on: 10.0.0.1:7850, Threads Pool: 6, TLS: False"),
    (
        "1.2.3.4 7850 10.0.0.1 7851 8",
        ("1.2.3.4:7850", "10.0.0.1:7851", "10.0.0.1:7851"),
        "Listening on: 1.2.3.4:7850 and 10.0.0.1:7851, Threads Pool: 8, TLS: False",
    ),
    ("10.0.0.1 7850 3", ("10.0.0.1:7850",) * 3, "Listening on: 10.0.0.1:7850, Threads Pool: 3, TLS: False"),
    (
        "where external_ip = 1.2.3.4 and external_port = 1883 and bind = false and workers = 2",
        ("1.2.3.4:1883", "1.2.3.4:1883", "0.0.0.0:1883"),
        "Listening on: 1.2.3.4:1883, Threads Pool: 2, TLS: False",
    ),
    (
        "where internal_ip = 10.0.0.1 and internal_port = 1883 and websocket = 9001",
        ("10.0.0.1:1883",) * 3,
        "Listening on: 10.0.0.1:1883, Threads Pool: 6, WebSocket: 9001, TLS: False",
    ),
]


@pytest.mark.parametrize(("text", "addresses", "details"), FORMS)
def test_forms(desk: Desk, text: str, addresses: tuple[str, str, str], details: str) -> None:
    """Both forms; where it listens is shown, and it is there for the node's own clients as long as it runs."""
    assert desk.node.broker is None
    desk.ask(f"run message broker {text}")
    assert desk.broker.addresses() == addresses
    assert desk.node.broker is desk.broker
    shown = desk.ask("get processes where format = json").data
    assert shown["Message Broker"] == {"Status": "Running", "Details": details}
    places = desk.ask("get connections where format = json").data["Messaging"]
    assert tuple(places.values()) == addresses
    port = int(addresses[2].rpartition(":")[2])
    assert desk.network.port("10.0.0.1", port) is not None
    assert desk.refused("run message broker 10.0.0.1 7999").number == 136
    desk.ask("exit broker")
    assert desk.node.broker is None and desk.network.port("10.0.0.1", port) is None
    desk.ask(f"run message broker {text}")


PLACE = "where internal_ip = 10.0.0.1 and internal_port = 1883"
REFUSALS = [
    ("", 2, "an address and a port are missing"),
    ("10.0.0.1", 2, "an address and a port are missing"),
    ("10.0.0.1 x", 221, "'x' is not a port for 'external_port'"),
    ("10.0.0.1 99999", 221, "'99999' is not a port"),
    ("10.0.0.1 1883 where external_port = 1884", 2, "'external_port' is given twice"),
    (f"{PLACE} and threads = many", 175, "'many' is not a number of threads"),
    (f"{PLACE} and websocket = x", 221, "'x' is not a port for 'websocket'"),
    (f"{PLACE} and websockets = 9001", 2, "did you mean 'websocket'"),
    (f"{PLACE} and enable_tls = true", 2, "needs 'tls_cert'"),
    (f"{PLACE} and tls_key = x.key", 2, "'tls_key' is given without enable_tls"),
    (f"{PLACE} and enable_tls = true and tls_cert = none.crt and tls_key = none.key", 12, "file of 'tls_cert'"),
    (f"{PLACE} and allowed_users = a", 2, "'allowed_users' needs 'users_ca'"),
    (f"{PLACE} and user = pump", 175, "'user' is written as"),
    (f"{PLACE} and user = (name = pump)", 2, "user 'pump' has no password"),
    (f"{PLACE} and user = (nam = pump)", 2, "Unknown key in command: nam"),
    (f"{PLACE} and user = (name = a and password = b and deny = a/#/b)", 175, "'a/#/b' is not a pattern of topics"),
    (
        f"{PLACE} and user = (name = a and password = b) and user = (name = a and password = c)",
        2,
        "user 'a' is given twice",
    ),
    (f"{PLACE} and max_packet_size = 10", 175, "'max_packet_size' is from 128"),
    (f"{PLACE} and max_packet_size = 1 GB", 175, "'max_packet_size' is from 128"),
    (f"{PLACE} and max_queued_messages = 0", 175, "'0' is not a value for 'max_queued_messages'"),
    (f"{PLACE} and max_inflight_messages = 70000", 175, "'70000' is not a value for 'max_inflight_messages'"),
    (f"{PLACE} and allow_anonymous = maybe", 175, "'maybe' is not a value for 'allow_anonymous'"),
    ("10.0.0.9 1883", 3, "Failed to open a message broker on 10.0.0.9:1883"),
]


@pytest.mark.parametrize(("text", "number", "said"), REFUSALS)
def test_refusals(desk: Desk, text: str, number: int, said: str) -> None:
    """Each names the culprit, and nothing runs after it."""
    error = desk.refused(f"run message broker {text}")
    assert (error.number, said in str(error)) == (number, True), str(error)
    assert desk.node.broker is None and desk.node.processes.find("broker") is None
    desk.ask("run message broker 10.0.0.1 1883")


def test_limits(desk: Desk) -> None:
    """All that can be set, in its unit."""
    desk.ask(
        f"run message broker {PLACE} and max_connections = 5 and max_packet_size = 1 MB and max_inflight_messages = 7"
        " and max_queued_messages = 11 and max_queued_bytes = 2 MB and max_keepalive = 2 minutes"
        " and persistent_client_expiration = 1 day and sys_interval = 0"
    )
    limits = desk.broker.hub.limits
    assert (limits.clients, limits.packet, limits.inflight, limits.queue_messages) == (5, 1 << 20, 7, 11)
    assert (limits.queue_bytes, limits.keep_alive, limits.session_seconds, limits.sys_seconds) == (
        2 << 20,
        120,
        86400,
        0,
    )


def test_users() -> None:
    """What is said of one, and who may connect then."""
    found = user_of("(name = pump and password = 'a b' and allow = a/# and publish = p and deny = '#')")
    proof = Users.proof(b"a b")
    assert found == User(name="pump", proof=proof, publish=("a/#", "p"), subscribe=("a/#",), deny=("#",))
    assert user_of('(publish = "b/+")') == User(publish=("b/+",))


@pytest.mark.parametrize(
    ("text", "anonymous"),
    [
        ("", True),
        (" and user = (name = a and password = b)", False),
        (" and user = (name = a and password = b) and allow_anonymous = true", True),
        (" and user = (name = a and password = b) and user = (publish = open/#)", True),
        (" and user = (publish = open/#)", True),
        (" and allow_anonymous = false", False),
    ],
)
def test_who_may_connect_without_a_name(desk: Desk, text: str, anonymous: bool) -> None:
    """Once there is a user nobody else, unless it is said."""
    desk.ask(f"run message broker {PLACE}{text}")
    assert desk.broker.users.anonymous is anonymous


def test_passwords_are_not_shown(tmp_path: Any) -> None:
    """Neither where the start echoes its commands nor in what is asked of the broker."""
    from anylog.network.lines import masked

    line = f"run message broker {PLACE} and user = (name = a and password = 'very secret' and publish = x)"
    assert "secret'" not in masked(line) and "publish = x" in masked(line)


def test_get_local_broker(desk: Desk) -> None:
    """The fields of the documentation; without a broker it says how to run one."""
    error = desk.refused("get local broker")
    assert error.http == 400 and "use 'run message broker'" in str(error)
    desk.ask(f"run message broker {PLACE}")
    text = desk.ask("get broker").text or ""
    for title in ("Protocol", "IP", "Event", "Success", "Last message time", "Error", "Error Code", "Details"):
        assert title in text
    assert desk.ask("get local broker where format = json").data == []


JUNK = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
LOCKED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("certificate", "key", "authority", "said"),
    [
        (b"nothing", b"", None, "file of 'tls_cert' has no certificate"),
        (JUNK, b"", b"nothing", "file of 'users_ca' has no certificate"),
        (JUNK, LOCKED, None, "the key of 'tls_key' has a password"),
        (JUNK, b"nothing", None, "'tls_key' cannot be used"),
    ],
)
def test_certificates_that_are_none(certificate: bytes, key: bytes, authority: bytes | None, said: str) -> None:
    """The option is named, and nobody asks a terminal for a password."""
    with pytest.raises(AnyLogError, match=said) as refused:
        context_of(certificate, key, authority)
    assert refused.value.number == 175


def test_from_elsewhere(desk: Desk) -> None:
    """A stranger may look at the broker and not run one."""
    with pytest.raises(AnyLogError) as refused:
        desk.ask("run message broker 10.0.0.1 1883", local=False)
    assert refused.value.number == 212
    desk.ask("run message broker 10.0.0.1 1883")
    assert json.dumps(desk.ask("get local broker", local=False).data) == "[]"


@pytest.mark.parametrize("user", ["(password = x)", "(password = x and publish = a)"])
def test_a_password_is_somebodys(desk: Desk, user: str) -> None:
    """A user without a name is all who give none: a password that nobody would be asked for is refused."""
    error = desk.refused(f"run message broker {PLACE} and user = {user}")
    assert error.number == 2 and "'password'" in str(error) and "'name'" in str(error)
    assert desk.node.processes.find("broker") is None
