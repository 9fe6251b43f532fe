"""MQTT inside WebSocket: binary frames of subprotocol `mqtt`, on `/mqtt` and on `/` (OASIS MQTT 5.0, 6; RFC 6455)."""

from __future__ import annotations

from collections.abc import Callable

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

PATHS = ("/", "/mqtt")
SUBPROTOCOLS = ("mqtt", "mqttv3.1")
_GOING_AWAY, _NOT_TAKEN, _PROTOCOL = 1001, 1003, 1002


class Talk:
    """The server's side of one WebSocket.

    `write` takes bytes for the socket, `feed` bytes of MQTT as they come, `left` is called once when it is over,
    `full` says that the client does not read.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        feed: Callable[[bytes], None],
        left: Callable[[], None],
        full: Callable[[], bool],
    ) -> None:
        self._socket = WSConnection(ConnectionType.SERVER)
        self._write, self._feed, self._left, self._full = write, feed, left, full
        self._over = False

    def received(self, data: bytes) -> None:
        """Bytes of the socket, cut wherever."""
        if self._over:
            return
        try:
            self._socket.receive_data(data)
            for event in self._socket.events():
                self._heard(event)
        except RemoteProtocolError as wrong:
            self._say(wrong.event_hint or CloseConnection(code=_PROTOCOL))
            self._leave()

    def framed(self, data: bytes) -> bytes:
        """Bytes of MQTT as one frame; nothing of them if the socket is closed."""
        if self._socket.state is not ConnectionState.OPEN:
            return b""
        return self._socket.send(BytesMessage(data=data))

    def close(self) -> None:
        """The broker has said all there is."""
        if not self._over:
            self._over = True
            self._say(CloseConnection(code=_GOING_AWAY))

    def _heard(self, event: Event) -> None:
        if self._over:
            return
        if isinstance(event, BytesMessage):
            if event.data:
                self._feed(bytes(event.data))
        elif isinstance(event, Request):
            self._asked(event)
        elif isinstance(event, Ping):
            if not self._full():  # who does not read pongs gets no more of them
                self._say(event.response())
        elif isinstance(event, CloseConnection):
            self._say(event.response())
            self._leave()
        elif isinstance(event, TextMessage):  # [MQTT-6.0.0-1]
            self._say(CloseConnection(code=_NOT_TAKEN, reason="MQTT comes in binary frames"))
            self._leave()

    def _asked(self, event: Request) -> None:
        path = event.target.partition("?")[0]
        chosen = next((name for name in SUBPROTOCOLS if name in event.subprotocols), None)
        if path in PATHS and chosen is not None:
            self._say(AcceptConnection(subprotocol=chosen))
            return
        self._say(RejectConnection(status_code=400 if path in PATHS else 404))
        self._leave()

    def _say(self, event: Event) -> None:
        try:
            data = self._socket.send(event)
        except LocalProtocolError:  # it is too late for that
            return
        if data:
            self._write(data)

    def _leave(self) -> None:
        if not self._over:
            self._over = True
            self._left()
