"""One connection of the message broker: bytes in to the hub, bytes out of it, and a close that can be read.

Nothing is made for a message: what a socket gives goes to the hub as it came, and what the hub has for a connection is
written in one piece at the end of the reactor's turn, at once to the socket if that takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from anylog.interfaces import DelayedCall
from anylog.network.broker_tls import common_name
from anylog.network.broker_websocket import Talk as WebTalk
from anylog.network.channel import address_text
from anylog.network.southbound.syslog import Talk
from anylog.wire.mqtt_session import Link

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from anylog.network.broker import Broker

AT_ONCE = 4 << 20  # bytes that are offered to a socket at once, where Twisted offers 128 KiB a turn of the reactor
LINGER = 5.0  # seconds in which a client may read why it is closed
_CONNECT = 0x10  # first byte of MQTT: type and flags of CONNECT
_REQUEST = b"GET "  # first bytes of a WebSocket
_SHOWN = 100  # bytes of what came, in a trace


@implementer(IPushProducer)
class Device(Protocol):
    """A client of the broker, by MQTT or by MQTT over WebSocket: its first bytes tell which."""

    transport: Any
    link: Link

    def __init__(self, broker: Broker, encrypted: bool) -> None:
        self.encrypted = encrypted
        self.kind = ""  # "MQTT", "MQTT/WS", "RAW": text for which there are rules, "UNKNOWN"; empty: it said nothing
        self.text: Talk | None = None
        self.proof = b""  # of the password that it gave
        self._broker = broker
        self._begun = b""
        self._talk: WebTalk | None = None
        self._name: str | None = None  # in its certificate
        self._full = False  # the transport holds bytes that the socket does not take
        self._held = False  # it is not read from
        self._ending = False
        self._late: DelayedCall | None = None
        self._direct: Callable[[bytes], Any] | None = None

    # ------------------------------------------------------------------ what Twisted calls

    def connectionMade(self) -> None:
        """Somebody is there."""
        transport = self.transport
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        if hasattr(type(transport), "writeSomeData"):  # of TLS only what is below it has that
            self._direct = transport.writeSomeData
        transport.registerProducer(self, True)
        self._broker.came(self)

    def dataReceived(self, data: bytes) -> None:
        """The first bytes; those that follow go where they belong without coming by here."""
        data = self._begun + data
        if data[:4] == _REQUEST:
            self.kind = "MQTT/WS"
            self._talk = WebTalk(self.write, self._feed, self._left, lambda: self._full)
            self.dataReceived = self._talk.received  # type: ignore[method-assign]
        elif _REQUEST.startswith(data):
            self._begun = data  # too little to know
            return
        elif data[0] & 0xF0 != _CONNECT and self._broker.takes_text(self):
            self.text = self._broker.text_of(self)
            self.dataReceived = self.text.received  # type: ignore[method-assign]
        else:
            self.kind = "MQTT" if data[0] & 0xF0 == _CONNECT else "UNKNOWN"
            self.dataReceived = self._feed  # type: ignore[method-assign]
        self.dataReceived(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Nobody is there any more."""
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._ending = True
        if self.text is not None:
            self.text.over()
        self._talk = self._direct = None
        self.__dict__.pop("dataReceived", None)
        self._broker.left(self)

    def pauseProducing(self) -> None:
        """The client does not read: what is for it stays in the hub, whose limits count it."""
        self._full = True

    def resumeProducing(self) -> None:
        """All was written."""
        self._full = False
        if self.link.pending or self.link.closing:
            self._broker.look_at(self.link)

    def stopProducing(self) -> None:
        """`connectionLost` follows."""

    # ------------------------------------------------------------------ what the broker calls

    def flush(self) -> None:
        """Do what the hub wants of this connection: write, pause, go on, close."""
        if self.text is not None:
            return  # it is none of the hub's
        link = self.link
        if link.hold is not self._held and not self._ending:
            self._held = link.hold
            if link.hold:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()
        if self._full:
            link.listed = False  # so that the next change is heard of
            if link.closing:
                self._expect_end()
            return
        out = link.take()
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            if self._talk is not None:
                data = self._talk.framed(data)
            self.write(data)
        if link.closing and not self._full:
            self._end()
        elif link.closing:
            self._expect_end()

    def write(self, data: bytes) -> None:
        """To the socket, without a turn of the reactor if it takes it now."""
        direct = self._direct
        if direct is not None and not self._full:
            sent = direct(data)
            if sent == len(data):
                return
            if isinstance(sent, int):
                if sent == self.transport.SEND_LIMIT:  # not the socket's limit, which takes megabytes of a fast client
                    self.transport.SEND_LIMIT = AT_ONCE
                    self.write(data[sent:])
                    return
                data = data[sent:]
                self._full = True
                self.transport.producerPaused = True  # so that the transport says when it is through
        self.transport.write(data)

    def abort(self) -> None:
        """Close without ceremony."""
        self.transport.abortConnection()

    @property
    def peer(self) -> str:
        """`ip:port` of the client."""
        return address_text(self.transport.getPeer())

    @property
    def ip(self) -> str:
        """Its address alone."""
        return str(getattr(self.transport.getPeer(), "host", "")).removeprefix("::ffff:") or "local"

    @property
    def port(self) -> int:
        """The port of this node that it came to."""
        return int(getattr(self.transport.getHost(), "port", 0))

    def common_name(self) -> str:
        """Of its certificate; empty if it was not asked for one. It is asked for each message: read once."""
        if self._name is None:
            self._name = common_name(self.transport.getPeerCertificate()) if self.encrypted else ""
        return self._name

    # ------------------------------------------------------------------ its own

    def _feed(self, data: bytes) -> None:
        broker = self._broker
        if broker.trace:
            self._traced(data)
        broker.hub.feed(self.link, data, broker.clock.seconds())
        if broker.turning is None:
            broker.turn_soon()

    def _traced(self, data: bytes) -> None:
        more = " ..." if len(data) > _SHOWN else ""
        # Until it has connected it may be saying its password.
        shown = repr(data[:_SHOWN])[2:-1] if self.link.version else "CONNECT"
        self._broker.log.info("{peer} {data}{more}", peer=self.peer, data=shown, more=more)

    def _left(self) -> None:
        """The WebSocket was closed, or never was one."""
        self._expect_end()
        self._half_close()

    def _end(self) -> None:
        """All is written: close our half, and wait until the client has read it and closes its own."""
        if self._ending:
            return
        if self._talk is not None:
            self._talk.close()
        self._expect_end()
        self._half_close()

    def _half_close(self) -> None:
        if self._ending:
            return
        self._ending = True
        transport = self.transport
        if self._held:  # bytes that nobody reads would make the system reset the connection
            self._held = False
            transport.resumeProducing()
        transport.unregisterProducer()
        if self.encrypted:
            transport.loseConnection()  # says so within TLS, and waits for the client to say it too
        else:
            getattr(transport, "loseWriteConnection", transport.loseConnection)()

    def _expect_end(self) -> None:
        if self._late is None:
            self._late = self._broker.clock.callLater(LINGER, self._overdue)

    def _overdue(self) -> None:
        self._ending = True
        self.transport.abortConnection()
