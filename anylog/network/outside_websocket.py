"""The client's end of a WebSocket that carries MQTT (RFC 6455; MQTT 5.0, 6): a layer, without sockets.

paho has one of its own; it waits for the answer of the server byte by byte, and masks byte by byte.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha1
from urllib.parse import quote

from anylog.network.outside_access import Access, Refused

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
LONGEST_HEAD = 16 << 10  # bytes
CONTINUED, BINARY, CLOSE, PING, PONG = 0x0, 0x2, 0x8, 0x9, 0xA
CONTROL_MOST = 125


class WebSocketLayer:
    """Frames on bytes. `token(n)` gives n bytes that nobody foresees."""

    def __init__(self, access: Access, token: Callable[[int], bytes]) -> None:
        self.ready = False
        self._token, self._largest = token, access.largest + 16
        self._held = bytearray()
        self._key = b64encode(token(16)).decode()
        scheme = "https" if access.tls else "http"
        self._own = (
            f"GET {quote(access.websocket, safe='/%')} HTTP/1.1\r\nHost: {access.address}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nOrigin: {scheme}://{access.address}\r\nSec-WebSocket-Key: {self._key}\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        ).encode()

    def taken(self) -> bytes:
        """The request, and answers to pings."""
        own, self._own = self._own, b""
        return own

    def receive(self, data: bytes) -> bytes:
        """What the frames carried. Where one frame ends says nothing (MQTT 5.0, 6.0)."""
        self._held += data
        if not self.ready:
            self._read_head()
            if not self.ready:
                return b""
        carried = bytearray()
        at = 0
        while (frame := self._frame(at)) is not None:
            kind, begin, at = frame
            if kind in (BINARY, CONTINUED):
                carried += self._held[begin:at]
            elif kind == PING:
                self._own += self._framed(PONG, bytes(self._held[begin:at]))
            elif kind == CLOSE:
                code = int.from_bytes(self._held[begin : begin + 2], "big") if at - begin >= 2 else 1005
                if carried:
                    break  # what came before is read first; the connection ends by itself
                raise Refused(f"the broker closed the WebSocket with code {code}")
            elif kind != PONG:
                raise Refused(f"a WebSocket frame of kind {kind} carries no MQTT")
        del self._held[:at]
        return bytes(carried)

    def wrap(self, data: bytes) -> bytes:
        """One frame."""
        return self._framed(BINARY, data)

    def _read_head(self) -> None:
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            if len(self._held) > LONGEST_HEAD:
                raise Refused("the answer to the WebSocket request has no end")
            return
        status, *lines = self._held[:end].decode("latin-1").split("\r\n")
        del self._held[: end + 4]
        if not status.startswith("HTTP/1.1 101"):
            raise Refused(f"no WebSocket there: the answer was '{status[:100]}'")
        heads = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        wanted = b64encode(sha1((self._key + MAGIC).encode()).digest()).decode()
        if heads.get("sec-websocket-accept") != wanted or heads.get("upgrade", "").lower() != "websocket":
            raise Refused("the answer to the WebSocket request is not one to ours")
        if heads.get("sec-websocket-protocol", "").lower() != "mqtt":
            raise Refused("the server of the WebSocket does not speak MQTT")
        self.ready = True

    def _frame(self, at: int) -> tuple[int, int, int] | None:
        """Kind, begin and end of the payload of the frame that begins there, None if it is not whole."""
        held = self._held
        if len(held) < at + 2:
            return None
        kind, size = held[at] & 0x0F, held[at + 1]
        if held[at] & 0x70 or size & 0x80:
            raise Refused("a WebSocket frame is masked, or has bits that nobody agreed on")
        if kind & 0x8 and (size > CONTROL_MOST or not held[at] & 0x80):
            raise Refused("a WebSocket control frame is too long, or in pieces")
        begin = at + 2
        more = {126: 2, 127: 8}.get(size, 0)
        if more:
            if len(held) < begin + more:
                return None
            size = int.from_bytes(held[begin : begin + more], "big")
            begin += more
        if size > self._largest:
            raise Refused(f"a WebSocket frame of {size:,} bytes, at most {self._largest:,} are taken")
        return (kind, begin, begin + size) if len(held) >= begin + size else None

    def _framed(self, kind: int, data: bytes) -> bytes:
        size = len(data)
        if size < 126:
            head = bytes((0x80 | kind, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((0x80 | kind, 0x80 | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | kind, 0x80 | 127)) + size.to_bytes(8, "big")
        mask = self._token(4)
        pattern = (mask * (size // 4 + 1))[:size]
        hidden = (int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")
        return head + mask + hidden
