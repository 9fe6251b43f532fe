"""What breaks MQTT is found, with the reason that the standard gives, wherever the stream is cut; nothing else is."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_cases import CONNECT_4, CONNECT_5, FIRST, MOST, NONE, Case, c4, c5, p, q, t
from mqtt_cases_later import BROKER_4, BROKER_5, CLIENT_4, CLIENT_5

from anylog.wire.mqtt_packets import Connect, Malformed, Packet, Pingreq, Pingresp, Publish, Reason
from anylog.wire.mqtt_read import Reader

LATER = [
    *((4, "broker", case) for case in BROKER_4),
    *((5, "broker", case) for case in BROKER_5),
    *((4, "client", case) for case in CLIENT_4),
    *((5, "client", case) for case in CLIENT_5),
]


def outcome(reader: Reader, *pieces: bytes) -> tuple[list[Packet], Malformed | None]:
    """All packets, and the fault if there is one."""
    packets: list[Packet] = []
    for piece in pieces:
        try:
            packets += reader.feed(piece)
        except Malformed as wrong:
            return packets + wrong.packets, wrong
    return packets, None


def check(case: Case, make: object, before: bytes, packets: list[Packet], version: int | None) -> None:
    """The fault of a case: at once, after what was right, byte by byte, and from then on always."""
    statement, text, data, reason = case
    for pieces in ([before + data], [before, data], [bytes([byte]) for byte in before + data]):
        if len(data) > 1000 and len(pieces) > 2:
            continue  # the fixed header says it; the rest need not come byte by byte
        reader = make()  # type: ignore[operator]
        found, wrong = outcome(reader, *pieces)
        assert wrong is not None, f"[{statement}] is not found: {data!r}"
        assert text in wrong.text, (statement, wrong.text)
        assert (wrong.reason, wrong.version) == (reason, version), (statement, str(wrong))
        assert found == packets
        assert reader.held == 0
        with pytest.raises(Malformed) as again:
            reader.feed(b"\xc0\0")
        assert (again.value.reason, again.value.text, again.value.packets) == (reason, wrong.text, [])


def named(value: object) -> str:
    """A case is called by its statement and what is said."""
    return f"{value[0]} {value[1]}" if type(value) is tuple else str(value)


def test_there_are_cases_enough() -> None:
    """The tables are what this file is about."""
    assert len(FIRST) + len(CONNECT_4) + len(BROKER_4) + len(CLIENT_4) >= 180
    assert len(CONNECT_5) + len(BROKER_5) + len(CLIENT_5) >= 180


@pytest.mark.parametrize("case", FIRST, ids=named)
def test_before_connect(case: Case) -> None:
    """What is no MQTT, or none yet; there is no telling how to answer."""
    check(case, lambda: Reader(most=MOST), b"", [], None)


@pytest.mark.parametrize("case", CONNECT_4, ids=named)
def test_connect_of_3_1_1(case: Case) -> None:
    """A wrong CONNECT of 3.1.1 and before: answered with a return code where there is one, closed without else."""
    check(case, lambda: Reader(most=MOST), b"", [], 4)
    _, wrong = outcome(Reader(most=MOST), case[2])
    assert wrong is not None
    codes = {Reason.UNSUPPORTED_PROTOCOL_VERSION: 1, Reason.CLIENT_IDENTIFIER_NOT_VALID: 2}
    assert wrong.return_code == codes.get(wrong.reason)


@pytest.mark.parametrize("case", CONNECT_5, ids=named)
def test_connect_of_5(case: Case) -> None:
    """A wrong CONNECT of 5.0: answered with a CONNACK of 5.0."""
    check(case, lambda: Reader(most=MOST), b"", [], 5)


@pytest.mark.parametrize(
    ("version", "side", "case"),
    LATER,
    ids=named,
)
def test_after_connect(version: int, side: str, case: Case) -> None:
    """What is wrong later; a PING before it is read."""
    before, packet = (b"\xc0\0", Pingreq()) if side == "broker" else (b"\xd0\0", Pingresp())
    check(case, lambda: Reader(version, most=MOST, side=side), before, [packet], version)  # type: ignore[arg-type]


def test_after_a_connect_that_was_read() -> None:
    """The version is learnt from the CONNECT, also for what comes in the same piece."""
    for version, connect in ((4, c4(2, t("c"))), (5, c5(2, b"\0", t("c")))):
        publish = p(0x30, t("a"), *([b"\0"] if version == 5 else []), b"x")
        packets, wrong = outcome(Reader(), connect + publish + p(0xC1) + publish)
        assert packets == [Connect("c", keep_alive=60, version=version), Publish("a", b"x")]
        assert wrong is not None and (wrong.reason, wrong.version) == (Reason.MALFORMED_PACKET, version)


def test_remaining_length_of_3_1_1_may_be_long() -> None:
    """3.1.1 does not ask for the shortest form, 5.0 does ([MQTT-1.5.5-1])."""
    stream = b"\x10\x8d\0" + c4(2, t("c"))[2:] + b"\xc0\x80\x80\0"
    assert Reader().feed(stream) == [Connect("c", keep_alive=60), Pingreq()]


def test_the_size_is_looked_at_before_the_body_is_there() -> None:
    """Of what is too large nothing is held; the CONNECT may have a limit of its own."""
    for most, fits in ((71, False), (72, True)):
        data = p(0x30, t("a"), b"x" * 67)
        assert len(data) == 72
        reader = Reader(4, most=most)
        _, wrong = outcome(reader, data[:2])
        assert (wrong is None) == fits and reader.held == (2 if fits else 0)
    assert outcome(Reader(), b"\x10\x80\x80\x10")[1].text == "a packet of 262,148 bytes, at most 262,144"  # type: ignore[union-attr]
    data = c4(2, t("c" * 100))
    assert outcome(Reader(first=50), data)[1].reason is Reason.PACKET_TOO_LARGE  # type: ignore[union-attr]
    assert len(Reader(first=200, most=150).feed(data + p(0x30, t("a"), b"x" * 100))) == 2
    assert outcome(Reader(first=200, most=50), data + p(0x30, t("a"), b"x" * 100))[1].text == (  # type: ignore[union-attr]
        "a packet of 105 bytes, at most 50"
    )


@pytest.mark.parametrize("size", [10, 300, 70_000])
def test_text_payloads(size: int) -> None:
    """A payload that is marked as UTF-8 is looked at if that is wanted: reason 0x99 (5.0, 3.3.2.3.2)."""
    good, bad = b"\xc3\xa4" * (size // 2), b"\xff" * size
    for marked, payload, wanted, fault in [
        (True, bad, True, True),
        (True, bad, False, False),
        (True, good, True, False),
        (False, bad, True, False),
    ]:
        data = p(0x30, t("a"), q(b"\1\1") if marked else b"\0", payload)
        for pieces in ([data], [data[:5], data[5:]], [data[:-1], data[-1:]]):
            packets, wrong = outcome(Reader(5, text_payloads=wanted), *pieces)
            assert (wrong is not None) == fault
            assert wrong is None or wrong.reason is Reason.PAYLOAD_FORMAT_INVALID
            assert fault or [packet.payload for packet in packets] == [payload]  # type: ignore[union-attr]


@pytest.mark.parametrize("case", [case for case in BROKER_5 if case[2][0] >> 4 == 3 and len(case[2]) < 1000])
def test_a_large_publish_is_as_strict(case: Case) -> None:
    """A large PUBLISH that comes in pieces is read on another way: the same faults, whatever is cut where."""
    statement, text, data, reason = case
    size = 2
    while data[size - 1] & 0x80 and size < 5:
        size += 1
    if data[0] & 6 == 6 or data[0] & 0xE == 8 or "remaining length" in text or "bytes" in text or "cut off" in text:
        return  # found in the fixed header, or of the size itself
    large = p(data[0], data[size:], b"z" * 70_000)
    for pieces in ([large], [large[:1000], large[1000:]], [large[:7], large[7:9], large[9:40_000], large[40_000:]]):
        _, wrong = outcome(Reader(5, most=MOST), *pieces)
        assert wrong is not None and (wrong.reason, text in wrong.text) == (reason, True), (statement, str(wrong))


@pytest.mark.parametrize("version", [4, 5])
def test_many_small_values_are_too_many(version: int) -> None:
    """Bytes of which each few become a value are fewer than those of a payload; the header alone may say it."""
    none = NONE if version == 5 else b""
    for first, head, unit in ((0x82, b"\0\1" + none, t("a") + b"\0"), (0xA2, b"\0\1" + none, t("a"))):
        right, large = (p(first, head, unit * (size // len(unit))) for size in (200_000, 300_000))
        assert len(Reader(version).feed(right)) == 1
        for pieces in ([large], [large[:10], large[10:]], [large[:7]]):
            packets, wrong = outcome(Reader(version), *pieces)
            assert not packets and wrong is not None and wrong.reason is Reason.QUOTA_EXCEEDED, first
    if version == 5:
        pair = b"\x26" + t("") + t("")
        right, large = (p(0x30, t("a"), q(pair * (size // 5)), b"z" * 300_000) for size in (250_000, 300_000))
        assert len(Reader(version).feed(right)) == 1
        for pieces in ([large], [large[:10], large[10:]], [large[at : at + 5000] for at in range(0, len(large), 5000)]):
            packets, wrong = outcome(Reader(version), *pieces)
            assert not packets and wrong is not None and wrong.reason is Reason.QUOTA_EXCEEDED


MAKERS = [
    lambda: Reader(most=MOST),
    lambda: Reader(4, most=MOST),
    lambda: Reader(5, most=MOST, text_payloads=True),
    lambda: Reader(4, most=MOST, side="client"),
    lambda: Reader(5, most=MOST, side="client"),
]
HEADERS = [0x10, 0x20, 0x30, 0x31, 0x32, 0x3D, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0]


def facts(reader: Reader, *pieces: bytes) -> tuple[list[Packet], tuple[int, str, int | None] | None]:
    """The outcome, comparable."""
    packets, wrong = outcome(reader, *pieces)
    return packets, wrong and (int(wrong.reason), wrong.text, wrong.version)


@given(st.binary(max_size=200), st.integers(0, 4), st.integers(0, 200))
@settings(max_examples=400, deadline=None)
def test_garbage_is_never_a_surprise(data: bytes, maker: int, cut: int) -> None:
    """Random bytes give packets or `Malformed`, the same wherever they are cut."""
    assert facts(MAKERS[maker](), data) == facts(MAKERS[maker](), data[:cut], data[cut:])


@given(st.sampled_from(HEADERS), st.binary(max_size=60), st.integers(1, 4))
@settings(max_examples=600, deadline=None)
def test_garbage_in_a_frame_is_no_surprise_either(first: int, body: bytes, maker: int) -> None:
    """The same of bodies that are random behind a fixed header that is right."""
    data = p(first, body)
    assert facts(MAKERS[maker](), data) == facts(MAKERS[maker](), *(bytes([byte]) for byte in data))


def test_a_changed_byte_is_no_surprise() -> None:
    """Packets of all kinds with bytes changed: packets or `Malformed`, and nothing else."""
    chance = Random(7)
    sources = [case[2] for _, _, case in LATER if len(case[2]) < 300]
    for _ in range(20_000):
        data = bytearray(chance.choice(sources))
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 2, 127, 128, 255, chance.randrange(256)))
        outcome(chance.choice(MAKERS)(), bytes(data))


def test_a_changed_byte_and_any_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed packets in pieces are what they are in one, also where what counts as large is small."""
    monkeypatch.setattr("anylog.wire.mqtt_read.LARGE", 12)
    monkeypatch.setattr("anylog.wire.mqtt_read._PIECE", 4)
    chance = Random(8)
    sources = [case[2] for _, _, case in LATER if len(case[2]) < 300]
    sources += [
        p(0x34, t("a/b"), b"\0\7", q(b"\x26" + t("key") + t("value"), b"\1\1"), b"text \xc3\xa4") for _ in range(200)
    ]
    sources += [p(0x30, t("topic"), b"\0", b"payload") for _ in range(200)]
    for _ in range(20_000):
        data = bytearray(b"".join(chance.choice(sources) for _ in range(chance.randrange(1, 4))))
        for _ in range(chance.randrange(3)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 2, 127, 128, 255, chance.randrange(256)))
        whole = bytes(data)
        places = sorted(chance.randrange(len(whole) + 1) for _ in range(chance.randrange(1, 8)))
        pieces = [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]
        make = chance.choice(MAKERS)
        assert facts(make(), whole) == facts(make(), *pieces), pieces
