"""What must hold for any bytes that come where MQTT packets are expected.

* They are read as packets, or the codec's own fault comes, with a reason that the standard names for it.
* However the bytes are cut, packets and fault are the same, and no more is held than was sent or may come.
* A packet that was read can be written, and what was written is read as the same packet.
* A packet of thousands of repeated parts costs memory in proportion to its bytes; its time is the fuzzer's to watch.
"""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

from attrs import evolve

from anylog.wire.mqtt_fields import variable
from anylog.wire.mqtt_packets import Connect, Malformed, Packet, Publish, Reason, Subscribe, Unsubscribe
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_write import PublishBytes, encode
from anylog.wire.topics import Filters, matches, most_specific, precision, share

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "wire"))

# Reasons that can be known from bytes alone (5.0, 2.4 and 4.13).
REASONS = {
    Reason.MALFORMED_PACKET,
    Reason.PROTOCOL_ERROR,
    Reason.UNSUPPORTED_PROTOCOL_VERSION,
    Reason.CLIENT_IDENTIFIER_NOT_VALID,
    Reason.TOPIC_FILTER_INVALID,
    Reason.TOPIC_NAME_INVALID,
    Reason.TOPIC_ALIAS_INVALID,
    Reason.PACKET_TOO_LARGE,
    Reason.PAYLOAD_FORMAT_INVALID,
    Reason.QUOTA_EXCEEDED,
}
# Who reads: version, side, whether payloads that are marked as texts are looked at, and the largest packet.
READERS: list[tuple[int | None, Any, bool, int]] = [
    *((version, "broker", text, 1 << 20) for version in (None, 4, 5) for text in (False, True)),
    *((version, "client", False, 1 << 20) for version in (4, 5)),
    *((version, "broker", False, 40) for version in (None, 5)),
]
LARGE = (200_000, 1_000_000)  # bytes of a packet of repeated parts
SINGLE = 2000  # bytes of a stream that may come one by one
FACTOR, BASE = 64, 1 << 20  # bytes of memory for each of these bytes, and at least
MOST_PEAK = 24 << 20  # bytes of memory for a packet of any size, beyond what its payload takes

Told = tuple[list[Packet], tuple[Reason, str, int | None] | None]


def law(data: bytes) -> None:
    """The first byte says who reads, the second how the bytes are cut, the rest comes; raises AssertionError."""
    if len(data) < 3:
        return
    how, cut, stream = data[0], data[1], data[2:]
    if how & 0x80 and how & 0x60 == 0x60:
        repeated(how & 0x1F, cut, stream)
        return
    who = READERS[how % len(READERS)]
    told = fed(who, [stream])
    for pieces in (cuts(stream, cut), [stream[place : place + 1] for place in range(len(stream))][:SINGLE]):
        if sum(map(len, pieces)) < len(stream):
            continue
        assert fed(who, pieces) == told, f"cut otherwise it is read otherwise: {pieces}"
    version = who[0]
    for packet in told[0]:
        if isinstance(packet, Connect):
            version = packet.version
        assert version is not None
        written(packet, version, who[1])
    grammar(told[0])


def cuts(stream: bytes, seed: int) -> list[bytes]:
    """Pieces of lengths that follow from a number, up to 4,096 bytes."""
    pieces, at, state = [], 0, seed + 1
    while at < len(stream):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        size = 1 + (state >> 8) % (1 << (state >> 20) % 13)
        pieces.append(stream[at : at + size])
        at += size
    return pieces


def fed(who: tuple[int | None, Any, bool, int], pieces: list[bytes]) -> Told:
    """What is read of the pieces, and the fault."""
    version, side, text, most = who
    reader = Reader(version, side=side, text_payloads=text, most=most)
    packets: list[Packet] = []
    sent = 0
    for place, piece in enumerate(pieces):
        sent += len(piece)
        try:
            packets += reader.feed(piece)
        except Malformed as wrong:
            packets += wrong.packets
            assert wrong.reason in REASONS and wrong.text and len(wrong.text) < 500, wrong
            assert not reader.held
            for again in pieces[place : place + 2]:
                try:
                    reader.feed(again)
                except Malformed as same:
                    assert (same.reason, same.text, same.packets) == (wrong.reason, wrong.text, [])
                else:
                    raise AssertionError("it reads on after a fault") from None
            return packets, (wrong.reason, wrong.text, wrong.version)
        assert reader.held <= min(sent, most), "more is held than may come"
    return packets, None


def written(packet: Packet, version: int, side: Any) -> None:
    """It is read as it was written, and written as it was read."""
    data = encode(packet, version)
    first = isinstance(packet, Connect)
    reader = Reader(None if first else version, side=side, most=1 << 22)
    (again,) = reader.feed(data)
    assert again == packet and not reader.held, f"{packet} is written as {data!r}, which is {again}"
    assert encode(again, version) == data
    if isinstance(packet, Publish):
        shared = PublishBytes.of(packet, version)
        assert shared.bytes_for(packet.packet_id, packet.dup) == data
        if packet.qos:
            other = shared.bytes_for(7)
            assert other == encode(evolve(packet, packet_id=7, dup=False), version)


def grammar(packets: list[Packet]) -> None:
    """The filters of all packets find the topics of all packets as the grammar says, and leave nothing behind."""
    names = {packet.topic for packet in packets if isinstance(packet, Publish) and packet.topic}
    wanted = [each.filter for packet in packets if isinstance(packet, Subscribe) for each in packet.filters]
    wanted += [each for packet in packets if isinstance(packet, Unsubscribe) for each in packet.filters]
    found: Filters[int, str] = Filters()
    known: dict[str, int] = {}
    for each in wanted:
        try:
            share(each)
        except ValueError:
            continue  # 3.1.1 knows no shared subscriptions: it is a filter like any other there
        known.setdefault(each, len(known))
        found.add(each, known[each], each)
    plain = [each for each in known if not share(each)[0]]
    for name in sorted(names):
        right = sorted(known[each] for each in plain if matches(each, name))
        assert sorted(who for who, _ in found.match(name)) == right
        best = most_specific(plain, name)
        assert best is None if not right else precision(best or "") == max(precision(plain_of(known, r)) for r in right)
    for each, who in known.items():
        assert found.remove(each, who)
    assert not len(found) and all(not found.match(name) for name in names)


def plain_of(known: dict[str, int], who: int) -> str:
    """The filter of a number."""
    return next(each for each, number in known.items() if number == who)


def repeated(how: int, cut: int, stream: bytes) -> None:
    """A large packet: some bytes, then others again and again, as its properties or after them, and some at the end."""
    first, before, end = stream[0], stream[1] % 24 if len(stream) > 1 else 0, how % 8
    body = stream[2:]
    head, unit, tail = body[:before], body[before : len(body) - end], body[len(body) - end :] if end else b""
    if not unit:
        return
    block = unit * (LARGE[cut >> 7] // len(unit))
    if how & 8:
        block = variable(len(block)) + block
    size = len(head) + len(block) + len(tail)
    data = bytes([first]) + variable(size) + head + block + tail
    who = READERS[(cut & 0x0F) % 8]
    if who[0] is None:
        who = (5, *who[1:])
    step = (50, 700, 1024, 1500, 5000, 1 << 16)[(cut >> 4) % 8 % 6]
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    told = fed(who, [data])
    assert fed(who, pieces) == told
    del told
    tracemalloc.start()
    try:
        kept = fed(who, pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= FACTOR * len(data) + BASE and peak <= MOST_PEAK + 3 * len(data), f"{peak:,} bytes for {len(data):,}"
    del pieces
    for packet in kept[0]:
        assert who[0] is not None
        written(packet, who[0], who[1])


def seeds() -> list[bytes]:
    """Where a fuzzer begins: every case of the tables of malformed packets, and good ones."""
    from mqtt_cases import CONNECT_4, CONNECT_5, FIRST, c5, p, q, t
    from mqtt_cases_later import BROKER_4, BROKER_5, CLIENT_4, CLIENT_5

    pair = b"\x26" + t("k") + t("v")
    publish = p(0x32, t("a/b"), b"\0\7", q(b"\x01\1", b"\2\0\0\0\5", b"\x23\0\1", b"\x08" + t("r"), pair, pair), b"{}")
    subscribe = p(0x82, b"\0\1", q(b"\x0b\5", pair), t("a/+/#"), b"\x2d", t("$share/g/a"), b"\2")
    will = c5(0xEE, q(b"\x11\0\0\0\5"), t("id"), q(b"\x18\0\0\0\1"), t("w"), t("gone"), t("user"), t("password"))
    found = [b"\0\5" + will + publish + subscribe + b"\xc0\0\xe0\0", b"\4\7" + publish * 3 + subscribe]
    found += [b"\2\1" + p(0x82, b"\0\1", t("a"), b"\1") + p(0x30, t("a"), b"x") + p(0xA2, b"\0\2", t("a"))]
    found += [b"\xe8\x24\x30\5\0\1a" + pair, b"\xe8\x32\x82\2\0\1" + pair + b"\0\1a\1", b"\xe1\x13\x82\3\0\1\0\0\1a\1"]
    for who, cases in (
        (0, [*FIRST, *CONNECT_4, *CONNECT_5]), (2, BROKER_4), (4, BROKER_5), (6, CLIENT_4), (7, CLIENT_5),
    ):  # fmt: skip
        found += [bytes([who, place % 256]) + case[2] for place, case in enumerate(cases) if len(case[2]) < SINGLE]
    return found
