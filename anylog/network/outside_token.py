"""Brokers of a cloud: instead of a password a token that we sign, good for an hour (ingest.md 4; RFC 7519, RFC 7518).

The token says who made it (`aud`: the project), when, and how long it holds. The broker knows the public half of our
key, and leaves us when the token is over: before that we connect again with another one.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from attrs import frozen

from anylog.disk.places import Places
from anylog.errors import AnyLogError

LIFE = 3600  # seconds; brokers take a day at most, and clocks that are off by ten minutes
RENEWED = 0.9  # of its life, when we connect again


@frozen(kw_only=True)
class Token:
    """What a password is made of."""

    project: str
    key: Path  # a PEM file
    life: int = LIFE

    @property
    def renewed_after(self) -> float:
        """Seconds on one connection."""
        return self.life * RENEWED

    def sign(self, now: float) -> str:
        """The password for a connection that begins `now`, in unix seconds. Reads the key: for a lane.

        Raises AnyLogError 40 for a file that is no private key, or of a kind that signs no such tokens.
        """
        try:
            return self._signed(self.key.read_bytes(), int(now))
        except (OSError, ValueError, TypeError) as wrong:
            raise AnyLogError(40, f"the private key {self.key} cannot be used: {wrong}") from None

    def _signed(self, pem: bytes, now: int) -> str:
        """Raises ValueError or TypeError."""
        from cryptography.hazmat.primitives import hashes  # a part of TLS, and slow to load
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(pem, None)
        if isinstance(key, rsa.RSAPrivateKey):
            text = self._text("RS256", now)
            signature = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            text = self._text("ES256", now)
            numbers = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
            signature = b"".join(number.to_bytes(32, "big") for number in numbers)
        elif isinstance(key, ed25519.Ed25519PrivateKey):
            text = self._text("EdDSA", now)
            signature = key.sign(text)
        else:
            raise ValueError("it is neither RSA, nor on the curve P-256, nor Ed25519")
        return (text + b"." + _base64(signature)).decode()

    def _text(self, kind: str, now: int) -> bytes:
        head = {"alg": kind, "typ": "JWT"}
        claims = {"aud": self.project, "iat": now, "exp": now + self.life}
        return _base64(orjson.dumps(head)) + b"." + _base64(orjson.dumps(claims))


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def token_of(reach: Mapping[str, Any], places: Places) -> Token | None:
    """Of what `run msg client` was told. A file name without a path is looked for in !pem_dir."""
    if not reach.get("private_key"):
        return None
    path = Path(reach["private_key"]).expanduser()
    return Token(
        project=reach["project_id"],
        key=places.folder("pem_dir") / path if path.name == reach["private_key"] else path,
    )


def client_of(reach: Mapping[str, Any], client_id: str) -> str:
    """The id of a client as a broker of a cloud knows it: with a location its whole path."""
    if not reach.get("location") or client_id.startswith("projects/"):
        return client_id
    return f"projects/{reach['project_id']}/locations/{reach['location']}/{client_id.strip('/')}"
