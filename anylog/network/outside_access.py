"""How a message broker of others is reached: address, names, TLS; known before anything is sent (ingest.md 4)."""

from __future__ import annotations

import re
import ssl
from typing import Protocol

from attrs import define, frozen
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.network.outside_token import Token
from anylog.wire.mqtt_packets import MQTT_3_1_1

PLAIN_PORT, TLS_PORT = 1883, 8883
WEEK = 7 * 86400  # seconds that a session is kept by the broker while we are away (5.0; in 3.1.1 the broker decides)
_SCHEMES = {  # scheme -> TLS, WebSocket, port
    "mqtt": (False, False, PLAIN_PORT),
    "tcp": (False, False, PLAIN_PORT),
    "mqtts": (True, False, TLS_PORT),
    "ssl": (True, False, TLS_PORT),
    "tls": (True, False, TLS_PORT),
    "ws": (False, True, 80),
    "wss": (True, True, 443),
}
_ADDRESS = re.compile(
    r"(?:(?P<scheme>[A-Za-z]{1,5})://)?(?:\[(?P<six>[0-9A-Fa-f:.%\w]{2,60})\]|(?P<host>[\w.-]{1,253}))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^\s?#]{0,500})?",
    re.ASCII,
)


@frozen(kw_only=True)
class Tls:
    """Paths of PEM files: whom to trust (the system's authorities if empty), and who we are if the broker asks.

    With `insecure` the certificate of the broker is not looked at.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """Reads the files: for a lane. Raises OSError (ssl.SSLError is one) for what cannot be read."""
        made = ssl.create_default_context(cafile=self.ca or None)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.insecure:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if self.cert:
            made.load_cert_chain(self.cert, self.key or None)
        return made


@frozen(kw_only=True)
class Access:
    """An outside broker and who we are there."""

    host: str
    port: int = PLAIN_PORT
    client_id: str
    user: str = ""
    password: str = ""
    token: Token | None = None  # of which the password of each connection is made
    tls: Tls | None = None
    websocket: str = ""  # path of the WebSocket, such as /mqtt; empty: TCP
    version: int = MQTT_3_1_1  # protocol level, 4 or 5
    keep_alive: int = 60  # seconds; 0: none
    persistent: bool = False  # the broker keeps session and messages while we are away
    expiry: int = WEEK
    largest: int = 64 << 20  # bytes of a packet that is taken
    patience: float = 20.0  # seconds for the connection, and again until the broker has answered CONNECT

    @property
    def address(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """As Twisted writes it."""
        host = self.host.replace(":", "\\:")
        return f"tcp:{host}:{self.port}:timeout={max(1, round(self.patience))}"


def read_broker(text: str, port: int | None = None) -> tuple[str, int, bool, str]:
    """Host, port, whether TLS, and path of the WebSocket of `host`, `host:port`, `mqtts://host`, `wss://host/path`.

    `port` goes before one in the text; without scheme port 8883 means TLS. Raises AnyLogError 40.
    """
    found = _ADDRESS.fullmatch(text.strip())
    scheme = found and (found["scheme"] or "").lower()
    if found is None or (scheme and scheme not in _SCHEMES):
        raise AnyLogError(40, f"'{text}' is not the address of a broker, such as 10.0.0.5 or mqtts://broker.example")
    secure, socket, usual = _SCHEMES[scheme or "mqtt"]
    chosen = port or int(found["port"] or usual)
    if not 0 < chosen < 65536:
        raise AnyLogError(40, f"'{text}': {chosen} is not a port")
    if found["path"] not in (None, "/") and not socket:
        raise AnyLogError(40, f"'{text}': only ws:// and wss:// have a path")
    path = (found["path"] or "/mqtt") if socket else ""
    return found["six"] or found["host"], chosen, secure or (not scheme and chosen == TLS_PORT), path


@define
class Debug:
    """Whether packets of MQTT are logged, and where to: `set mqtt debug`."""

    on: bool = False
    log = Logger()

    def say(self, text: str) -> None:
        """Log it if that is wanted. Within a second after the switch what is connected follows."""
        if self.on:
            self.log.info("mqtt {text}", text=text)


class Refused(Exception):
    """The other end does not speak as it must; the text says what was wrong."""


class Layer(Protocol):
    """What lies between a transport and MQTT: bytes in, bytes out, no sockets."""

    ready: bool  # what is above may speak

    def receive(self, data: bytes) -> bytes:
        """What arrived, for those above. Raises Refused."""

    def wrap(self, data: bytes) -> bytes:
        """What those above say, for those below."""

    def taken(self) -> bytes:
        """What the layer itself has to say to the other end now."""


class TlsLayer:
    """TLS on bytes. It stands here and not as a Twisted endpoint so that connections go through an `INet`, and so that
    the authorities, our certificate and `insecure` are ours to choose."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.ready = False
        self._come, self._go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._come, self._go, server_hostname=host)

    def receive(self, data: bytes) -> bytes:
        """Plain bytes; none while hands are shaken."""
        self._come.write(data)
        try:
            if not self.ready:
                self._tls.do_handshake()
                self.ready = True
            plain = bytearray()
            while piece := self._tls.read(1 << 16):
                plain += piece
            return bytes(plain)  # the other end has said that it is done: its connection ends by itself
        except ssl.SSLWantReadError:
            return bytes(plain) if self.ready else b""
        except ssl.SSLCertVerificationError as wrong:
            raise Refused(f"the certificate of the broker is not accepted: {wrong.verify_message}") from None
        except ssl.SSLError as wrong:
            raise Refused(f"TLS failed: {wrong.reason or wrong}") from None

    def wrap(self, data: bytes) -> bytes:
        """Encrypted; only once it is ready."""
        self._tls.write(data)
        return self._go.read()

    def taken(self) -> bytes:
        """Handshakes, tickets and alerts."""
        if not self.ready:
            try:
                self._tls.do_handshake()
            except ssl.SSLError:
                pass  # it waits for the other end, or has failed: then `receive` has said so, and here is the alert
        return self._go.read()
