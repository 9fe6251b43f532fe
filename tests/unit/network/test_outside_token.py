"""Brokers of a cloud: the token that is the password, and the connection that is made anew before it is over."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from test_outside import Desk

from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.network.outside import CONNECTED, WAITING
from anylog.network.outside_token import Token, client_of, token_of
from anylog.processes.msg_cloud import check_cloud
from anylog.wire.mqtt_packets import Connect, Disconnect, Puback, Publish, Subscribe

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def written(folder: Path, key: Any) -> Path:
    path = folder / "edge.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def read(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims(token: str, key: Any) -> dict[str, Any]:
    """What a token says, if that key has signed it: the broker's side."""
    head, body, signature = token.split(".")
    text, signed, public = f"{head}.{body}".encode(), read(signature), key.public_key()
    told = orjson.loads(read(head))
    assert told["typ"] == "JWT"
    if told["alg"] == "RS256":
        public.verify(signed, text, padding.PKCS1v15(), hashes.SHA256())
    elif told["alg"] == "ES256":
        assert len(signed) == 64
        numbers = int.from_bytes(signed[:32], "big"), int.from_bytes(signed[32:], "big")
        public.verify(encode_dss_signature(*numbers), text, ec.ECDSA(hashes.SHA256()))
    else:
        public.verify(signed, text)
    return {**orjson.loads(read(body)), "alg": told["alg"]}


@pytest.mark.parametrize("kind", KEYS)
def test_a_token(tmp_path: Path, kind: str) -> None:
    """It names the project, holds for an hour, and verifies with the public half of the key."""
    token = Token(project="plant-7", key=written(tmp_path, KEYS[kind]))
    for now in (1_795_000_000.9, 1_795_003_600.0):
        begun = int(now)
        assert claims(token.sign(now), KEYS[kind]) == {
            "alg": kind, "aud": "plant-7", "iat": begun, "exp": begun + 3600,
        }  # fmt: skip


def test_keys_that_are_none(tmp_path: Path) -> None:
    """The file is named, whatever is wrong with it."""
    path = written(tmp_path, ec.generate_private_key(ec.SECP384R1()))
    token = Token(project="p", key=path)
    for content in (path.read_bytes(), b"", b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"):
        path.write_bytes(content)
        with pytest.raises(AnyLogError, match=r"edge\.pem cannot be used"):
            token.sign(1.0)
    path.unlink()
    with pytest.raises(AnyLogError, match="No such file"):
        token.sign(1.0)


def test_options(tmp_path: Path) -> None:
    """What belongs together, where the key lies, and what the client is called there."""
    plain = {"project_id": None, "location": None, "private_key": None, "password": "unused", "client_id": None}
    check_cloud("run msg client", plain, outside=False)
    check_cloud("run msg client", {**plain, "project_id": "p", "private_key": "k"}, outside=True)
    for given, outside, told in [
        ({"project_id": "p", "private_key": "k"}, False, "'project_id' has a meaning with a broker elsewhere"),
        ({"project_id": "p"}, True, "'project_id' is given without 'private_key'"),
        ({"location": "eu"}, True, "'location' is given without 'project_id'"),
        ({"project_id": "p", "private_key": "k", "password": "x"}, True, "both 'password' and 'private_key'"),
        ({"project_id": "p", "private_key": "k", "location": "eu"}, True, "without 'client_id'"),
    ]:
        with pytest.raises(AnyLogError, match=told):
            check_cloud("run msg client", {**plain, **given}, outside=outside)
    places = Places.under(tmp_path)
    reach = {"project_id": "p", "location": "eu", "private_key": "edge.pem"}
    found = token_of(reach, places)
    assert found is not None and found.key == places.folder("pem_dir") / "edge.pem"
    found = token_of({**reach, "private_key": "/keys/edge.pem"}, places)
    assert found is not None and found.key == Path("/keys/edge.pem")
    assert token_of({}, places) is None
    whole = "projects/p/locations/eu/registries/r/devices/d"
    assert client_of(reach, "registries/r/devices/d") == client_of(reach, whole) == whole
    assert client_of({**reach, "location": None}, "mine") == "mine"


def test_renewed_before_it_is_over(tmp_path: Path) -> None:
    """The broker is left and come back to with another token, after what came is answered; nothing waits for that."""
    key = KEYS["ES256"]
    desk = Desk(token=Token(project="p", key=written(tmp_path, key), life=1000), keep_alive=0)
    first = desk.accept()[0]
    assert isinstance(first, Connect) and first.user_name == "unused" and first.password is not None
    begun = claims(first.password.decode(), key)
    assert begun["exp"] - begun["iat"] == 1000
    desk.say(Publish("a/1", b"x", 1, packet_id=1))
    desk.clock.advance(899)
    assert desk.told() == []
    desk.clock.advance(2)
    assert (desk.told(), desk.broker.state) == ([], CONNECTED)  # it answers first
    desk.waits[0].callback(None)
    assert desk.told() == [Puback(1), Disconnect()]
    desk.cut()
    assert len(desk.attempts) == 2 and desk.attempts[1] == desk.clock.seconds()
    again = desk.accept(present=True)
    assert isinstance(again[0], Connect) and not any(isinstance(each, Subscribe) for each in again)
    assert claims(again[0].password.decode(), key)["iat"] == begun["iat"] + 901
    counts = desk.broker.counts
    assert (desk.broker.state, counts["renewed"], counts["errors"], counts["disconnects"]) == (CONNECTED, 1, 0, 0)
    desk.cut()  # a connection that breaks by itself takes its timer along
    assert desk.broker.state == WAITING
    desk.clock.advance(1)
    desk.accept(present=True)
    desk.clock.advance(890)
    assert desk.told() == [] and counts["renewed"] == 1
    desk.clock.advance(11)
    assert desk.told() == [Disconnect()]


def test_a_key_that_is_missing(tmp_path: Path) -> None:
    """Nobody is called without it; the state names the file, and it is tried again."""
    path = written(tmp_path, KEYS["ES256"])
    kept = path.read_bytes()
    path.unlink()
    desk = Desk(token=Token(project="p", key=path))
    assert not desk.attempts and desk.broker.state == WAITING and "edge.pem" in desk.broker.last_error
    path.write_bytes(kept)
    desk.clock.advance(2)
    desk.accept()
    assert desk.broker.state == CONNECTED
