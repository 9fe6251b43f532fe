"""MQTT bytes in, whole packets out: 3.1.1 and 5.0, for a broker and for a client (OASIS MQTT 3.1.1 and 5.0, 2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from anylog.wire import mqtt_bodies as bodies
from anylog.wire.mqtt_fields import MOST_VALUES, Body, decoded, malformed
from anylog.wire.mqtt_packets import (
    KINDS,
    MQTT_3_1_1,
    MQTT_5,
    Malformed,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Reason,
)
from anylog.wire.topics import name_fault

MOST = 1 << 20  # bytes of a packet
FIRST = 256 << 10  # bytes of a CONNECT: until then it is a stranger who makes us hold them
LARGE = 64 << 10  # bytes of a PUBLISH from which its payload is put together from the pieces in which it came
_PIECE = 1 << 10  # bytes; smaller pieces are held together, each alone would cost more than it holds
_TOPIC = 256  # bytes of a topic name that may be remembered

_NAMES = {number: kind.__name__.upper() for kind, number in KINDS.items()}
_TO_BROKER = {1, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15}
_TO_CLIENT = {2, 3, 4, 5, 6, 7, 9, 11, 13, 14, 15}

# Acknowledgements without a reason, which almost all are: nothing of them can be wrong but a packet id of 0.
_SHORT: dict[int, Callable[[int], Packet]] = {0x40: Puback, 0x50: Pubrec, 0x62: Pubrel, 0x70: Pubcomp}

Wrong = dict[int, tuple[Reason, str]]


def _wrong(version: int | None, broker: bool) -> Wrong:
    """First bytes that are wrong, and why; without a version only CONNECT is right."""
    found: Wrong = {}
    for first in range(256):
        kind, flags = first >> 4, first & 15
        if version is None and kind != 1:
            found[first] = (Reason.PROTOCOL_ERROR, "the first packet is no CONNECT")  # [MQTT-3.1.0-1]
        elif kind == 0 or (kind == 15 and version == MQTT_3_1_1):
            found[first] = (Reason.MALFORMED_PACKET, f"a packet of the reserved type {kind}")
        elif kind == 3:
            if flags & 6 == 6:
                found[first] = (Reason.MALFORMED_PACKET, "PUBLISH of QoS 3")  # [MQTT-3.3.1-4]
            elif flags & 8 and not flags & 6:
                found[first] = (Reason.MALFORMED_PACKET, "PUBLISH of QoS 0 that was sent before")  # [MQTT-3.3.1-2]
        elif flags != (2 if kind in (6, 8, 10) else 0):
            found[first] = (Reason.MALFORMED_PACKET, f"{_NAMES[kind]} with flags 0x{flags:x}")  # [MQTT-2.1.3-1]
        elif version is not None and kind == 1 and broker:
            found[first] = (Reason.PROTOCOL_ERROR, "a second CONNECT")  # [MQTT-3.1.0-2]
        elif kind not in (_TO_BROKER if broker else _TO_CLIENT) or (
            kind == 14 and version == MQTT_3_1_1 and not broker
        ):
            found[first] = (Reason.PROTOCOL_ERROR, f"{_NAMES[kind]} comes from the wrong end")
    return found


_WRONG = {
    (version, broker): _wrong(version, broker)
    for version in (None, MQTT_3_1_1, MQTT_5)
    for broker in (True, False)
    if version or broker
}


class Reader:
    """Bytes in, packets out; checks all that can be known from the bytes alone.

    What depends on the session is left to it: aliases above the agreed maximum, packet ids, quotas, QoS that was not
    granted, and an order of packets other than that CONNECT comes first and once.
    """

    def __init__(
        self,
        version: int | None = None,
        *,
        most: int = MOST,
        first: int | None = None,
        side: Literal["broker", "client"] = "broker",
        text_payloads: bool = False,
    ) -> None:
        """`version` is 4 or 5; a broker learns it from the CONNECT, and one that is told it has had the CONNECT.

        `most` is the size in bytes of a packet with its fixed header, `first` that of the CONNECT, `FIRST` or `most` if
        it is not given: what is larger is refused before it is held. With `text_payloads` a payload that is marked as
        UTF-8 is looked at. Raises ValueError for another version, and for a client without one.
        """
        if version not in (None, MQTT_3_1_1, MQTT_5) or (version is None and side == "client"):
            raise ValueError(f"no version {version} of MQTT for a {side}")
        self.version = version
        self.most = most
        self.fault: Malformed | None = None  # why nothing more is read
        self._broker = side == "broker"
        self._first = min(most, FIRST) if first is None else first
        self._text_payloads = text_payloads
        self._wrong = _WRONG[version, self._broker]
        self._pieces: list[bytes | bytearray] = []  # of a packet that is not whole
        self._wanted = 0  # its size with the fixed header, 0 as long as that is not whole either
        self.held = 0  # bytes of it

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that became whole.

        Raises `Malformed` at the first that is wrong, with those before it in its `packets`; from then on always, with
        none. However the bytes are cut, the packets and the fault are the same.
        """
        if self.fault is not None:
            raise Malformed(self.fault.reason, self.fault.text, version=self.fault.version)
        packets: list[Packet] = []
        try:
            if self.held:
                self._hold(data)
                if self.held < self._wanted:
                    return packets
                data = self._released(packets)
            self._read(data, packets)
        except Malformed as wrong:
            if wrong.version is None and self.version is not None:
                wrong.version = self.version
            wrong.packets = packets
            self.fault = Malformed(wrong.reason, wrong.text, version=wrong.version)
            self._pieces, self.held = [], 0
            raise
        return packets

    def forget(self) -> None:
        """Let go of a packet that is not whole: nothing more is fed."""
        self._pieces, self.held = [], 0

    def _read(self, data: bytes, packets: list[Packet]) -> None:
        at, end = 0, len(data)
        wanted = 0
        wrong, most, version = self._wrong, self.most, self.version
        if version is None:
            most = self._first
        usual = min(most, MOST_VALUES)
        while end - at > 1:
            first, size = data[at], data[at + 1]
            start = at + 2
            if size > 0x7F:  # more bytes of the remaining length
                size &= 0x7F
                shift = 7
                while start < end:
                    byte = data[start]
                    start += 1
                    size |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                    if shift == 28:
                        raise malformed("a remaining length runs past four bytes")
                else:
                    break  # it is not whole
                if not byte and version == MQTT_5:  # [MQTT-1.5.5-1]; 3.1.1 does not ask for it
                    raise malformed("a remaining length is longer than it need be")
            if first in wrong:
                raise Malformed(*wrong[first])
            stop = start + size
            if stop - at > usual:
                if stop - at > most:
                    raise Malformed(Reason.PACKET_TOO_LARGE, f"a packet of {stop - at:,} bytes, at most {most:,}")
                if first >> 4 not in (1, 3):
                    what = f"{_NAMES[first >> 4]} of {stop - at:,} bytes, at most {MOST_VALUES:,}"
                    raise Malformed(Reason.QUOTA_EXCEEDED, what)
            if stop > end:
                wanted = stop - at
                break
            if first < 0x40 and version is not None and first >= 0x30:
                packets.append(self._publish(first, data, start, stop, version))
            elif version is None:
                packet = bodies.connect(Body(data, start, stop))
                version = packet.version
                if version == MQTT_5 and start - at > 2 and not data[start - 1]:
                    raise Malformed(
                        Reason.MALFORMED_PACKET, "a remaining length is longer than it need be", version=version
                    )
                self.version = version
                wrong = self._wrong = _WRONG[version, True]
                most = self.most
                usual = min(most, MOST_VALUES)
                packets.append(packet)
            elif size == 2 and first in _SHORT and (data[start] or data[start + 1]):
                packets.append(_SHORT[first](data[start] << 8 | data[start + 1]))
            else:
                packets.append(self._other(first >> 4, Body(data, start, stop), version))
            at = stop
        if at < end:
            self._wanted = wanted
            self._hold(data[at:] if at else data)

    def _publish(self, first: int, data: bytes, start: int, stop: int, version: int) -> Publish:
        """The common case without a detour; whatever is unusual goes the long way."""
        after = start + 2
        if after <= stop:
            at, after = after, after + (data[start] << 8 | data[start + 1])
            if at < after <= stop and after - at <= _TOPIC:
                packet_id, more = 0, False
                topic = _topic(data[at:after])
                if first & 6:
                    packet_id = data[after] << 8 | data[after + 1] if stop - after > 1 else 0
                    more = not packet_id
                    after += 2
                if version == MQTT_5:
                    more = more or after >= stop or data[after] != 0
                    after += 1
                if not more:
                    return Publish(topic, data[after:stop], first >> 1 & 3, first & 1 == 1, first & 8 == 8, packet_id)
        packet = bodies.publish(first, Body(data, start, stop), version, self._broker, None)
        if self._text_payloads:
            bodies.text_payload(packet)
        return packet

    def _other(self, kind: int, body: Body, version: int) -> Packet:
        if kind == 14:
            return bodies.disconnect(body, version, self._broker)
        if kind == 15:
            return bodies.auth(body, version, self._broker)
        return bodies.BODIES[kind](body, version)

    # ------------------------------------------------------------------ what is not whole

    def _hold(self, data: bytes) -> None:
        self.held += len(data)
        last = self._pieces[-1] if self._pieces else b""
        if type(last) is bytearray and len(data) < _PIECE and len(last) < LARGE:
            last += data
        else:
            self._pieces.append(data if len(data) >= _PIECE else bytearray(data))

    def _released(self, packets: list[Packet]) -> bytes:
        """What is held, in one piece; a large PUBLISH that is whole is read from its pieces, and is not among it."""
        pieces, wanted, held = self._pieces, self._wanted, self.held
        self._pieces, self._wanted, self.held = [], 0, 0
        if wanted < LARGE or pieces[0][0] >> 4 != 3 or self.version is None:
            return b"".join(pieces)
        version = self.version
        begun = bytearray(pieces[0])  # grows in place: what is before the payload may be many pieces long
        used = 1
        while (start := _payload_start(begun, version)) < 0 or start > len(begun):
            if len(begun) >= wanted:
                break  # it is cut off in itself: read as it stands it says how
            begun.extend(pieces[used])
            used += 1
        after = held - wanted  # bytes of the next packet, all of them in the last piece
        last = pieces[-1]
        if not 0 <= start <= wanted or used == len(pieces):
            return b"".join(pieces)
        head = bytes(begun)
        tail = bytes(last[len(last) - after :]) if after else b""
        payload = b"".join((memoryview(head)[start:], *pieces[used:-1], memoryview(last)[: len(last) - after]))
        body = Body(head, _header(head), start)
        packet = bodies.publish(head[0], body, version, self._broker, payload)
        if self._text_payloads:
            bodies.text_payload(packet)
        packets.append(packet)
        return tail


def _header(data: bytes | bytearray) -> int:
    """Where a fixed header that is whole ends."""
    at = 1
    while data[at] > 0x7F:
        at += 1
    return at + 1


def _payload_start(data: bytearray, version: int) -> int:
    """Where the payload of a PUBLISH begins; negative if there are too few bytes to tell."""
    at = _header(data)
    if len(data) < at + 2:
        return -1
    at += 2 + (data[at] << 8 | data[at + 1]) + (2 if data[0] & 6 else 0)
    if version == MQTT_3_1_1:
        return at
    size = 0
    for shift in (0, 7, 14, 21):
        if at >= len(data):
            return -1
        size |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            break
    return at + size


@lru_cache(4096)
def _topic(data: bytes) -> str:
    """The topic name of a PUBLISH. Those that come again and again are one text each, however many messages."""
    topic = decoded(data, "PUBLISH: topic name")
    if wrong := name_fault(topic):
        raise Malformed(Reason.TOPIC_NAME_INVALID, f"PUBLISH: {wrong}")
    return topic
