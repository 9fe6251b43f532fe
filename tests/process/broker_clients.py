"""What the tests of a real message broker share: a node that runs one, clients of others, certificates."""

from __future__ import annotations

import datetime
import ipaddress
import queue
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess, free_port

SECONDS = 60.0  # that anything may take on a busy machine
mosquitto = pytest.mark.skipif(
    not (shutil.which("mosquitto_pub") and shutil.which("mosquitto_sub")),
    reason="mosquitto_pub and mosquitto_sub are missing (Debian: mosquitto-clients)",
)


def until(what: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


class BrokerNode(NodeProcess):
    """A node with a message broker."""

    def __init__(self, home: Path, options: str = "") -> None:
        super().__init__(home, dbms="")
        self.broker = free_port({self.port})
        self.set(options)

    def set(self, options: str) -> None:
        """Other options from the next start on."""
        more = f" and {options}" if options else ""
        where = f"internal_ip = 127.0.0.1 and internal_port = {self.broker} and sys_interval = 1{more}"
        self.commands = (f"run message broker where {where}",)

    def rows(self) -> list[dict[str, Any]]:
        """As `get local broker` gives them."""
        import json

        found: list[dict[str, Any]] = json.loads(self.command("get local broker where format = json"))
        return found

    def raw(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.broker), SECONDS)


def read_all(connection: socket.socket) -> bytes:
    """Until the other end closes."""
    data = b""
    connection.settimeout(SECONDS)
    while piece := connection.recv(65536):
        data += piece
    return data


def patient(client: Any) -> None:
    """It comes back soon, however often it finds nobody, and then goes on where it was, as the standard asks for.

    paho-mqtt 2 does that at its first attempt alone: at the next one it forgets that it had PUBREC for a message, and
    sends that again as a new one, without DUP ([MQTT-4.3.3-6] forbids it). No broker can tell that from a new message.
    """
    mqtt = pytest.importorskip("paho.mqtt.client")
    client.reconnect_delay_set(0.05, 0.2)
    reset = client._messages_reconnect_reset_out

    def resumed() -> None:
        for each in list(client._out_messages.values()):
            if each.state == mqtt.mqtt_ms_resend_pubrel:
                each.state = mqtt.mqtt_ms_wait_for_pubcomp
        reset()

    client._messages_reconnect_reset_out = resumed


def answered(sent: Any) -> bool:
    """Whether a message of QoS 1 or 2 was answered to the end.

    `is_published` raises for one that was given to paho while it was away, although it sends that when it is back.
    """
    return bool(sent._published)


class Paho:
    """A client of paho-mqtt with a thread of its own."""

    def __init__(
        self, node: BrokerNode, name: str = "", *, version: int = 4, transport: Any = "tcp", port: int = 0, **how: Any
    ) -> None:
        mqtt = pytest.importorskip("paho.mqtt.client", reason="the package paho-mqtt is not installed")
        self.mqtt = mqtt
        self.messages: queue.Queue[Any] = queue.Queue()
        self.connected: queue.Queue[Any] = queue.Queue()
        self.left: queue.Queue[Any] = queue.Queue()
        self.subscribed: queue.Queue[Any] = queue.Queue()
        self.version = version
        clean = how.pop("clean", True)
        settings: dict[str, Any] = {} if version == 5 else {"clean_session": clean}
        client = self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, name, protocol=version, transport=transport, **settings
        )
        client.on_connect = lambda _, __, flags, reason, properties: self.connected.put((flags, reason))
        client.on_disconnect = lambda _, __, flags, reason, properties: self.left.put(reason)
        client.on_message = lambda _, __, message: self.messages.put(message)
        client.on_subscribe = lambda _, __, mid, reasons, properties: self.subscribed.put(reasons)
        client.max_inflight_messages_set(200)
        for prepare in how.pop("prepare", ()):
            prepare(client)
        if version == 5:
            from paho.mqtt.packettypes import PacketTypes
            from paho.mqtt.properties import Properties

            properties = Properties(PacketTypes.CONNECT)
            for key, value in how.pop("properties", {}).items():
                setattr(properties, key, value)
            how.update(clean_start=clean, properties=properties)
        client.connect("127.0.0.1", port or node.broker, **how)
        client.loop_start()
        self.flags, self.reason = self.connected.get(timeout=SECONDS)

    def subscribe(self, *args: Any, **how: Any) -> Any:
        """Gives the reasons of the SUBACK."""
        self.client.subscribe(*args, **how)
        return self.subscribed.get(timeout=SECONDS)

    def publish(self, topic: str, payload: bytes, qos: int = 0, **how: Any) -> None:
        """Waits until it is acknowledged."""
        self.client.publish(topic, payload, qos, **how).wait_for_publish(SECONDS)

    def take(self, number: int) -> list[Any]:
        """So many messages."""
        return [self.messages.get(timeout=SECONDS) for _ in range(number)]

    def close(self) -> None:
        """Say goodbye."""
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self) -> None:
        """The connection breaks; nothing is said."""
        connection = self.client.socket()
        self.client.reconnect_delay_set(3600, 3600)
        assert connection is not None
        raw = getattr(connection, "_socket", connection)
        raw.shutdown(socket.SHUT_RDWR)
        self.left.get(timeout=SECONDS)
        self.client.disconnect()
        self.client.loop_stop()


def mosquitto_sub(node: BrokerNode, topic: str, number: int, *words: str) -> subprocess.Popen[str]:
    """Ends after so many messages."""
    end = str(int(SECONDS))
    command = ["mosquitto_sub", "-p", str(node.broker), "-t", topic, "-C", str(number), "-W", end, "-v", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def mosquitto_pub(node: BrokerNode, topic: str, text: str, *words: str) -> None:
    """Raises if it was refused."""
    command = ["mosquitto_pub", "-p", str(node.broker), "-t", topic, "-m", text, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr


class Authority:
    """Certificates as files in a folder: `ca.crt`, and a pair for each name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self._write("ca.crt", self._made(self._name, self._key.public_key(), True))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._write(f"{name}.crt", self._made(subject, key.public_key(), False))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / f"{name}.key").write_bytes(pem)
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    @property
    def path(self) -> Path:
        """Its own certificate."""
        return self.folder / "ca.crt"

    def _made(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        local = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(local, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, certificate: x509.Certificate) -> None:
        (self.folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
