"""A broker of a cloud: it knows us by a token that we sign, and closes when that is over (ingest.md 4)."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from anylog.wire.mqtt_packets import Connack, Connect, Puback, Publish, Reason, Suback, Subscribe
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_write import encode

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess

pytest.importorskip("paho.mqtt", reason="the extra mqtt is not installed")
WHOLE = "projects/plant-7/locations/europe-west1/registries/pumps/devices/edge1"


class Cloud:
    """Takes those whose token `key` has signed, sends each of them what is left to be sent, and closes after it."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.key, self.messages = key.public_key(), [{"v": 1}, {"v": 2}, {"v": 3}]
        self.seen: list[tuple[str, str, dict[str, Any]]] = []  # client, user, claims
        self.refused = 0
        self.acknowledged: list[int] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # it may leave at any moment
                self.talk(connection)

    def talk(self, connection: socket.socket) -> None:
        reader, connection_of = Reader(side="broker"), connection
        while data := connection_of.recv(65536):
            for packet in reader.feed(data):
                if isinstance(packet, Connect):
                    try:
                        claims = self.claims((packet.password or b"").decode())
                    except Exception:  # of whatever kind: it is no token of that key
                        self.refused += 1
                        connection.sendall(encode(Connack(reason=Reason.NOT_AUTHORIZED), 4))
                        return
                    self.seen.append((packet.client_id, packet.user_name or "", claims))
                    connection.sendall(encode(Connack(), 4))
                elif isinstance(packet, Subscribe):
                    connection.sendall(encode(Suback(packet.packet_id, (Reason.GRANTED_QOS_1,)), 4))
                    if self.messages:
                        body = json.dumps(self.messages.pop(0)).encode()
                        connection.sendall(encode(Publish("devices/edge1", body, qos=1, packet_id=7), 4))
                elif isinstance(packet, Puback):
                    self.acknowledged.append(packet.packet_id)
                    return  # the token is over

    def claims(self, token: str) -> dict[str, Any]:
        head, body, signature = token.split(".")
        signed = urlsafe_b64decode(signature + "==")
        numbers = int.from_bytes(signed[:32], "big"), int.from_bytes(signed[32:], "big")
        self.key.verify(encode_dss_signature(*numbers), f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
        return dict(json.loads(urlsafe_b64decode(body + "==")))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    process = NodeProcess(tmp_path / "home")
    process.start()
    yield process
    process.remove()


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_signed_tokens(node: NodeProcess) -> None:
    """Each connection brings a token of its own, which the broker verifies; messages come across all of them."""
    key = ec.generate_private_key(ec.SECP256R1())
    cloud = Cloud(key)

    def line(file: str, number: int) -> str:
        return (
            f"run mqtt client where broker = 127.0.0.1 and port = {cloud.port} and project_id = plant-7 and location ="
            f" europe-west1 and private_key = {file} and client_id = registries/pumps/devices/edge{number} and clean ="
            " true and topic = (name = devices/edge1 and qos = 1 and dbms = town and table = readings and"
            ' column.v.int = "bring [v]")'
        )

    try:
        pem = node.folder("pem")
        other = ec.generate_private_key(ec.SECP256R1())
        for name, each in (("edge.pem", key), ("other.pem", other)):
            (pem / name).write_bytes(each.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        begun = time.time()
        node.command(line("edge.pem", 1), "POST")
        until(lambda: sorted(v for (v,) in node.asked("town", "select v from readings")) == [1, 2, 3])
        until(lambda: len(cloud.acknowledged) == 3)
        for client, user, claims in cloud.seen:
            assert (client, user, claims["aud"]) == (WHOLE, "unused", "plant-7")
            assert begun - 60 < claims["iat"] < time.time() + 60 and claims["exp"] == claims["iat"] + 3600
        (shown,) = json.loads(node.command("get msg client where format = json"))
        assert (shown["User"], shown["Client ID"], shown["Tokens renewed"]) == ("unused", WHOLE, 0), shown
        node.command("exit mqtt", "POST")
        node.command(line("other.pem", 1), "POST")  # a stranger's
        until(lambda: cloud.refused)

        def wrong() -> str:
            return str(json.loads(node.command("get msg client where format = json"))[0]["Last connection error"])

        until(lambda: "Not authorized" in wrong())
        node.command("exit mqtt", "POST")
        node.command(line("nosuch.pem", 1), "POST")
        until(lambda: "nosuch.pem cannot be used" in wrong())
        assert b"eyJ" not in node.command("get msg client")  # tokens are shown nowhere
    finally:
        cloud.socket.close()
