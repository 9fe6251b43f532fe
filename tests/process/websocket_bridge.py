"""A WebSocket server in front of a broker that has none of its own, with the framing of others (wsproto)."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, RejectConnection, Request


class Behind(Protocol):
    """To the broker."""

    front: Front

    def dataReceived(self, data: bytes) -> None:
        self.front.say(data)

    def connectionLost(self, reason: Any = None) -> None:
        assert self.front.transport is not None
        self.front.transport.loseConnection()


class Front(Protocol):
    """One client. Messages are cut in frames of odd sizes; each is followed by a ping."""

    def __init__(self, port: int, refuse: int = 0) -> None:
        self.port, self.refuse = port, refuse
        self.socket = WSConnection(ConnectionType.SERVER)
        self.behind: Behind | None = None
        self.early: list[bytes] = []
        self.pongs = 0

    def send(self, event: Any) -> None:
        assert self.transport is not None
        self.transport.write(self.socket.send(event))

    def say(self, data: bytes) -> None:
        for at in range(0, len(data), 777):
            self.send(BytesMessage(data[at : at + 777], message_finished=at + 777 >= len(data)))
        self.send(Ping(b"there?"))

    def dataReceived(self, data: bytes) -> None:
        self.socket.receive_data(data)
        for event in self.socket.events():
            if isinstance(event, Request):
                if self.refuse:
                    self.send(RejectConnection(status_code=self.refuse))
                    continue
                assert event.target == "/mqtt" and event.subprotocols == ["mqtt"]
                self.send(AcceptConnection(subprotocol="mqtt"))
                behind = Behind()
                behind.front = self
                place = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
                connectProtocol(place, behind).addCallback(self.through)
            elif isinstance(event, BytesMessage):
                if self.behind is None or self.behind.transport is None:
                    self.early.append(bytes(event.data))
                else:
                    self.behind.transport.write(bytes(event.data))
            elif isinstance(event, Pong):
                assert event.payload == b"there?"
                self.pongs += 1
            elif isinstance(event, CloseConnection):
                self.send(event.response())

    def through(self, behind: Behind) -> None:
        self.behind = behind
        assert behind.transport is not None
        behind.transport.write(b"".join(self.early))

    def connectionLost(self, reason: Any = None) -> None:
        if self.behind is not None and self.behind.transport is not None:
            self.behind.transport.loseConnection()


class Bridge(Factory):
    """Listens; `fronts` are its connections."""

    noisy = False

    def __init__(self, port: int, refuse: int = 0) -> None:
        self.port, self.refuse = port, refuse
        self.fronts: list[Front] = []

    def buildProtocol(self, address: Any) -> Front:
        self.fronts.append(Front(self.port, self.refuse))
        return self.fronts[-1]
