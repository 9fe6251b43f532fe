"""One connection to an outside broker: paho's client, with a transport of Twisted below it.

paho reads and writes a socket of its own, byte by byte, and connects, resolves names and shakes hands (TLS, WebSocket)
while everybody waits. Here the reactor has the connection from the first moment, and paho is given a thing that looks
like a socket (its protocol `SocketLike`) and holds what has arrived: `recv` never waits, and `send` gathers what one
turn of the reactor has to say for a single write. So paho has no threads, no select and no system calls.

Five methods of paho's client are replaced, all in `_Client`; each says why. What there is a lot of goes past it, since
it takes three reads, some locks and two objects for each: messages that are whole and plain (`Link._plain`), and the
answers to messages (`Link.answer`). Three more things of paho are not used:

* `loop_misc`, its keep alive: it would take our own pause of reading for a silent broker; ours is in `Link.tick`.
* reconnecting on the same client: a new one is made for each connection, so that nothing half done is left in it. What
  must outlive a connection is known to who uses the link.
* `reconnect_on_failure`: where a broker refuses 3.1.1 paho would try the older 3.1 by a connect that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as Line
from twisted.python.failure import Failure
from zope.interface import implementer

from anylog.interfaces import Clock, DelayedCall
from anylog.network.outside_access import Access, Debug, Layer, Refused
from anylog.wire.mqtt_packets import MQTT_5, Publish

TICK = 1.0  # seconds between two looks at the silence
GOODBYE = 5.0  # seconds in which the broker should close after our DISCONNECT
PINGREQ = b"\xc0\x00"
RELEASED = 3  # beside QoS 1 and 2 in `Link.answer`: what is answered is a PUBREL
_PLAIN = 1 << 14  # bytes of a packet whose length takes at most two of them
_ANSWERS = {1: b"\x40\x02", 2: b"\x50\x02", RELEASED: b"\x70\x02"}  # PUBACK, PUBREC, PUBCOMP up to the packet id


class Listener(Protocol):
    """Who uses a link is told what happens on it, in order."""

    def connected(self, link: Link, session_present: bool) -> None:
        """The broker has accepted us."""

    def received(self, link: Link, events: Sequence[Publish | int]) -> None:
        """All that came in one turn of the reactor: messages, and packet ids that are released (QoS 2)."""

    def subscribed(self, link: Link, refused: Sequence[tuple[int, str]]) -> None:
        """The answer to `subscribe`: which of the filters were refused, by their place, and why."""

    def published(self, link: Link, packet_id: int, why: str) -> None:
        """The broker has taken a message of QoS 1 or 2 (`why` is empty), or refuses it."""

    def lost(self, link: Link, why: str) -> None:
        """The connection is gone; the last call."""


class _Socket:
    """What paho takes for its socket."""

    def __init__(self, close: Callable[[], None]) -> None:
        self.data, self.at = b"", 0
        self.said: list[bytes] = []
        self._close = close

    def feed(self, data: bytes) -> None:
        self.data = self.data[self.at :] + data if self.at < len(self.data) else data
        self.at = 0

    def recv(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if not piece:
            raise BlockingIOError
        self.at += len(piece)
        return piece

    def send(self, data: bytes | bytearray) -> int:
        self.said.append(bytes(data))
        return len(data)

    def close(self) -> None:
        self._close()

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None:
        pass


class _Client(paho.Client):
    link: Link

    def _create_socket(self) -> Any:
        """Where paho would resolve, connect and shake hands: the reactor has done so."""
        return self.link.socket

    def _send_pubrec(self, mid: int) -> MQTTErrorCode:
        """Where paho answers a PUBLISH of QoS 2, even with manual acknowledgement. By this answer the message becomes
        ours, and the broker forgets it: it must be safe before. `say_pubrec` says it then."""
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def say_pubrec(self, mid: int) -> None:
        super()._send_pubrec(mid)

    def _handle_publish(self) -> MQTTErrorCode:
        """A message of QoS 2 is handed on now and not when it is released, as it is to be safe before PUBREC."""
        told = super()._handle_publish()
        while self._in_messages:
            self._handle_on_message(self._in_messages.popitem()[1])
        return told

    def _handle_on_message(self, message: paho.MQTTMessage) -> None:
        """Where paho looks for a callback by the topic, under locks: there is one for all. A quarter of its time."""
        self.link.came(publish_of(message))

    def _handle_pubrel(self) -> MQTTErrorCode:
        """With manual acknowledgement paho tells of it only by the message, which it does not have (see above)."""
        packet = self._in_packet["packet"]
        if len(packet) < 2:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        self.link.came(int.from_bytes(packet[:2], "big"))
        return MQTTErrorCode.MQTT_ERR_SUCCESS


@implementer(IPushProducer)
class Link(Line):
    """A connection. Its owner is the listener; what it is to say it says by `answer`, `subscribe` and so on, and then
    `flush`."""

    def __init__(
        self,
        *,
        clock: Clock,
        access: Access,
        layers: Sequence[Layer],
        listener: Listener,
        debug: Debug | None = None,
    ) -> None:
        """`layers` from the transport upward. `debug` is told of each packet while it is on."""
        self.access, self.packets = access, 0
        self._clock, self._layers, self._listener, self._debug = clock, layers, listener, debug
        self._client: _Client | None = None
        self._events: list[Publish | int] = []
        self._paused: set[str] = set()  # why nothing is read
        self._why, self._over, self._closing = "", False, False
        self._open = False  # CONNACK has come
        self._within = False  # paho is at work
        self._leaving, self._left = False, 0.0
        self._heard = self._said = self._pinged = self._begun = clock.seconds()
        self._keep_alive = access.keep_alive
        self._tick: DelayedCall | None = None
        self.socket = _Socket(self._close)

    # The transport.

    def connectionMade(self) -> None:
        """The layers begin, and as soon as they are done the CONNECT goes out."""
        transport = cast(Any, self.transport)
        transport.registerProducer(self, True)
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        self._begun = self._heard = self._clock.seconds()
        self._tick = self._clock.callLater(TICK, self.tick)
        self._rise()

    def dataReceived(self, data: bytes) -> None:
        """All of a turn goes to the listener at once."""
        if self._over or self._closing:
            return
        self._heard = self._clock.seconds()
        try:
            for layer in self._layers:
                ready = layer.ready
                data = layer.receive(data)
                if not ready:
                    self._rise()
                elif own := layer.taken():
                    self._send(own, below=layer)
                if not layer.ready:
                    return
        except Refused as wrong:
            self._rise()  # an alert may be left to say
            self.drop(str(wrong))
            return
        if self._client is None:
            self._rise()
        self.socket.feed(data)
        if not self._paused:
            self._read()

    def connectionLost(self, reason: Failure = Failure(ConnectionError("gone"))) -> None:  # noqa: B008
        """Tell why: what we know better than the transport, else what that says."""
        if self._over:
            return
        self._over = True
        if self._tick is not None and self._tick.active():
            self._tick.cancel()
        if self._client is not None:
            self._client._sock = None  # it is closed: paho would say so once more when it is collected
        self._listener.lost(self, self._why or f"the connection was lost: {reason.getErrorMessage()}")

    def pauseProducing(self) -> None:
        """The broker does not take our answers: it is not listened to either."""
        self.pause("answers wait")

    def resumeProducing(self) -> None:
        """It takes them again."""
        self.resume("answers wait")

    def stopProducing(self) -> None:
        """The connection is gone, which `connectionLost` tells."""

    def pause(self, why: str) -> None:
        """Read no more, for that reason."""
        if not self._paused and not self._over:
            cast(Any, self.transport).pauseProducing()
        self._paused.add(why)

    def resume(self, why: str) -> None:
        """That reason is gone; with the last one reading goes on."""
        if why not in self._paused:
            return
        self._paused.discard(why)
        if self._paused or self._over or self._closing:
            return
        self._heard = self._clock.seconds()  # who was not listened to was not silent
        self._read()
        if not self._paused and not self._over:
            cast(Any, self.transport).resumeProducing()

    def drop(self, why: str) -> None:
        """End it here and now; `why` is told to the listener."""
        if not self._over:
            self._why = self._why or why
            self._closing = True
            cast(Any, self.transport).unregisterProducer()
            cast(Any, self.transport).abortConnection()

    # Time.

    def tick(self) -> None:
        """Say that we live, and see whether the broker does."""
        self._tick = self._clock.callLater(TICK, self.tick)
        self._listen_in()
        now, keep = self._clock.seconds(), self._keep_alive
        if self._closing:
            if self._leaving and now - self._left >= GOODBYE:
                self.drop("stopped")
        elif not self._open:
            if now - self._begun >= self.access.patience:
                self.drop(f"no answer to CONNECT within {self.access.patience:g} seconds")
        elif keep and not self._paused and now - self._heard >= keep * 1.5:
            self.drop(f"the broker was silent for {now - self._heard:.0f} seconds")
        elif keep and (now - self._said >= keep / 2 or now - max(self._heard, self._pinged) >= keep / 2):
            self._pinged = now
            self.flush()
            self.socket.said.append(PINGREQ)
            self._log("Sending PINGREQ")
            self.flush()

    # paho.

    def _rise(self) -> None:
        """Let the layers say what they have; above the last one paho says CONNECT."""
        for layer in self._layers:
            if own := layer.taken():
                self._send(own, below=layer)
            if not layer.ready:
                return
        if self._client is None:
            self._begin()

    def _begin(self) -> None:
        access = self.access
        five = access.version == MQTT_5
        client = self._client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=access.client_id,
            protocol=paho.MQTTv5 if five else paho.MQTTv311,
            clean_session=None if five else not access.persistent,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.link = self
        if access.user or access.password:
            client.username_pw_set(access.user, access.password or None)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_publish = self._published
        client.on_disconnect = self._disconnected
        client.on_socket_register_write = lambda *_: None  # so that it queues, and `flush` writes
        self._listen_in()
        more = Properties(PacketTypes.CONNECT) if five else None
        if more is not None:
            more.MaximumPacketSize = access.largest
            if access.persistent:
                more.SessionExpiryInterval = access.expiry
        client.connect_async(access.host, access.port, access.keep_alive, clean_start=not access.persistent,
                             properties=more)  # fmt: skip
        client.reconnect()
        self.flush()

    def _read(self) -> None:
        client, socket = self._client, self.socket
        if client is None or self._within:
            return
        self._within = True
        try:
            while socket.at < len(socket.data) and not self._closing:
                self._plain(client)
                if socket.at < len(socket.data):
                    client.loop_read()
            if client._in_packet["remaining_length"] > self.access.largest:
                size = client._in_packet["remaining_length"]
                self.drop(f"a packet of {size:,} bytes, at most {self.access.largest:,} are taken")
        except Exception as wrong:  # paho raises what it pleases where packets are odd
            self.drop(f"not understood: {type(wrong).__name__}: {wrong}")
        finally:
            self._within = False
        events, self._events = self._events, []
        if events and not self._over:
            self._listener.received(self, events)
        self.flush()

    def _plain(self, client: _Client) -> None:
        """Take messages that are whole, up to the first packet that is anything else, or odd: that one is for paho.

        While packets are shown it gets them all.
        """
        if not self._open or client.on_log is not None or client._in_packet["command"]:
            return
        socket, five, largest = self.socket, self.access.version == MQTT_5, min(self.access.largest, _PLAIN)
        data, at, end, events = socket.data, socket.at, len(socket.data), self._events
        while end - at > 3:
            first, size, start = data[at], data[at + 1], at + 2
            if size > 0x7F:
                size, start = size & 0x7F | data[start] << 7, start + 1
            stop, qos = start + size, first >> 1 & 3
            if first & 0xF0 != 0x30 or qos == 3 or not 4 < size < largest or stop > end:
                break
            middle = start + 2 + (data[start] << 8 | data[start + 1])
            begin = middle + (2 if qos else 0) + five
            if middle < start + 3 or begin > stop or (five and data[begin - 1]):  # no topic, too short, properties
                break
            packet_id = data[middle] << 8 | data[middle + 1] if qos else 0
            if qos and not packet_id:
                break
            try:
                topic = data[start + 2 : middle].decode()
            except UnicodeDecodeError:
                break
            events.append(Publish(topic, data[begin:stop], qos, first & 1 == 1, first & 8 == 8, packet_id))
            at = stop
        socket.at = at

    def flush(self) -> None:
        """Write what was said, in one piece.

        Asked from within paho it is done when paho has come back: it holds locks while it calls us, and would wait for
        itself.
        """
        if self._over or self._client is None or self._within:
            return
        if self._client.want_write():
            self._within = True
            try:
                self._client.loop_write()
            finally:
                self._within = False
        self._write_said()

    def _write_said(self) -> None:
        if self.socket.said:
            data = b"".join(self.socket.said)
            self.socket.said.clear()
            self._said = self._clock.seconds()
            self._send(data)

    def _send(self, data: bytes, below: Layer | None = None) -> None:
        layers = list(self._layers)
        for layer in reversed(layers[: layers.index(below)] if below is not None else layers):
            data = layer.wrap(data)
        cast(Any, self.transport).write(data)

    def _close(self) -> None:
        """paho lets go of its socket: what it said goes out before.

        After a DISCONNECT it is the broker that closes: then it has read our last answers. Were we to close, and come
        again at once, it might see the new connection before it has read the old one to its end.
        """
        if not self._over and not self._closing:
            self._closing = True
            self._write_said()
            transport = cast(Any, self.transport)
            transport.unregisterProducer()
            if self._leaving:
                self._left = self._clock.seconds()
                transport.resumeProducing()  # what still comes is not looked at, but the end of it is
            else:
                transport.loseConnection()

    def _listen_in(self) -> None:
        """paho makes its texts only for who listens."""
        if self._client is not None:
            on = self._debug is not None and self._debug.on
            self._client.on_log = (lambda client, data, level, text: self._log(text)) if on else None

    def _log(self, text: str) -> None:
        if self._debug is not None:
            self._debug.say(f"{self.access.address}: {text}")

    # What paho tells.

    def _connected(self, client: Any, data: Any, flags: Any, reason: ReasonCode, more: Properties | None) -> None:
        if reason.is_failure:
            told = getattr(more, "ReasonString", "")
            self._why = f"the broker refuses us: {reason}" + (f" ({told})" if told else "")
            return
        self._open = True
        self._keep_alive = getattr(more, "ServerKeepAlive", self._keep_alive)
        self._listener.connected(self, bool(flags.session_present))

    def _disconnected(self, client: Any, data: Any, flags: Any, reason: ReasonCode, more: Properties | None) -> None:
        if flags.is_disconnect_packet_from_server:
            told = getattr(more, "ReasonString", "")
            self._why = self._why or f"the broker ended it: {reason}" + (f" ({told})" if told else "")
        elif reason.is_failure and not self._open:
            self._why = self._why or "the broker refuses us, or does not speak this version of MQTT"
        elif reason.is_failure:
            self._why = self._why or f"what the broker said is not MQTT: {reason}"

    def came(self, event: Publish | int) -> None:
        """A message, or the packet id of a PUBREL."""
        if isinstance(event, int):
            self._log(f"Received PUBREL (Mid: {event})")
        self._events.append(event)

    def _subscribed(self, client: Any, data: Any, packet_id: int, reasons: list[ReasonCode], more: Any) -> None:
        self._listener.subscribed(self, [(at, str(why)) for at, why in enumerate(reasons) if why.is_failure])

    def _published(self, client: Any, data: Any, packet_id: int, reason: ReasonCode, more: Any) -> None:
        self._listener.published(self, packet_id, str(reason) if reason.is_failure else "")

    # What is said to the broker; `flush` sends it.

    def answer(self, answers: Sequence[tuple[int, int]]) -> None:
        """PUBACK (QoS 1), PUBREC (2) or PUBCOMP (`RELEASED`) with their packet ids."""
        client = self._client
        if client is None or self._over:
            return
        if client.on_log is None:
            self.socket.said.append(b"".join([_ANSWERS[kind] + number.to_bytes(2, "big") for kind, number in answers]))
            return
        for kind, number in answers:
            if kind == 2:
                client.say_pubrec(number)
            else:
                client.ack(number, 1 if kind == 1 else 2)

    def subscribe(self, topics: Sequence[tuple[str, int]]) -> None:
        """All in one packet. In 5.0 retained messages come with a new subscription only."""
        assert self._client is not None
        if self.access.version == MQTT_5:
            once = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            self._client.subscribe([(name, SubscribeOptions(qos=qos, retainHandling=once)) for name, qos in topics])
        else:
            self._client.subscribe(list(topics))

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """All in one packet."""
        if self._client is not None:
            self._client.unsubscribe(list(filters))

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> int:
        """The packet id. Raises ValueError for a topic that is none."""
        assert self._client is not None
        return int(self._client.publish(topic, payload, qos, retain).mid)

    def disconnect(self) -> None:
        """Say DISCONNECT and close; `lost` tells when it is done."""
        if self._client is None or not self._open:
            self.drop("stopped")
        elif not self._over and not self._closing:
            self._why = self._why or "stopped"
            self._leaving = True
            self._client.disconnect()
            self.flush()


def publish_of(message: paho.MQTTMessage) -> Publish:
    """paho's message as ours. A topic that is not UTF-8 becomes an empty one: nothing else is empty."""
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic = ""
    found = Publish(topic, bytes(message.payload), message.qos, message.retain, message.dup, message.mid)
    more = message.properties
    if more is None or more.isEmpty():
        return found
    return Publish(
        topic,
        found.payload,
        found.qos,
        found.retain,
        found.dup,
        found.packet_id,
        payload_format_indicator=getattr(more, "PayloadFormatIndicator", None),
        message_expiry_interval=getattr(more, "MessageExpiryInterval", None),
        response_topic=getattr(more, "ResponseTopic", None),
        correlation_data=getattr(more, "CorrelationData", None),
        content_type=getattr(more, "ContentType", None),
        subscription_identifiers=tuple(getattr(more, "SubscriptionIdentifier", ())),
        user_properties=tuple(getattr(more, "UserProperty", ())),
    )
