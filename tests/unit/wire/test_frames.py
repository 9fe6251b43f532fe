"""Frames: whatever is sent is read, wherever it is cut; what is no frame ends the reading, and costs little."""

from __future__ import annotations

from random import Random
from struct import pack
from timeit import timeit
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anylog.wire.frames import LARGEST, FrameReader, frame

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)
MESSAGES = st.dictionaries(st.text(max_size=8), VALUES, max_size=6)


def raw(payload: bytes, flags: int = 0, *, size: int | None = None, check: int | None = None) -> bytes:
    """A frame of any content."""
    wanted = crc32(payload, flags) if check is None else check
    return pack(">IBI", len(payload) if size is None else size, flags, wanted) + payload


def test_any_cut_gives_the_same_messages() -> None:
    """Where TCP happens to cut the stream never changes what is read."""
    messages: list[dict[str, Any]] = [{"t": "ping", "n": 1}, {"d": b"x" * 2000}, {}, {"text": "ä", "list": [1, None]}]
    stream = b"".join(frame(message, squeeze=True) for message in messages)
    for cut in range(len(stream) + 1):
        reader = FrameReader()
        found = [*reader.receive(stream[:cut]), *reader.receive(stream[cut:])]
        assert (found, reader.held, reader.fault) == (messages, 0, ""), f"cut at {cut}"
    reader = FrameReader()
    assert [message for byte in stream for message in reader.receive(bytes([byte]))] == messages


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 40), max_size=30), st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_is_sent_is_read(messages: list[dict[str, Any]], sizes: list[int], squeeze: bool) -> None:
    """Any messages, in any pieces."""
    stream = b"".join(frame(message, squeeze=squeeze) for message in messages)
    reader, found = FrameReader(), []
    for size in sizes:
        piece, stream = stream[:size], stream[size:]
        found += reader.receive(piece)
    found += reader.receive(stream)
    assert found == messages
    assert reader.held == 0


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_garbage_is_never_a_surprise(data: bytes) -> None:
    """Random bytes give messages or a fault, nothing else; after a fault nothing is held and nothing is read."""
    reader = FrameReader(largest=200)
    found = list(reader.receive(data))
    assert all(type(message) is dict for message in found)
    if reader.fault:
        assert reader.held == 0
        assert list(reader.receive(frame({"t": "ping"}))) == []


@given(MESSAGES, st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_is_found(message: dict[str, Any], place: int, change: int) -> None:
    """No byte of a frame can change without being noticed: the checksum covers payload and flags."""
    data = bytearray(frame(message, squeeze=True))
    data[place % len(data)] ^= change
    reader = FrameReader(largest=1 << 16)
    found = list(reader.receive(bytes(data) + frame({"t": "after"})))
    if reader.fault:
        assert found == []
    else:  # the length grew: it waits for more, which will not fit the checksum
        assert place % len(data) < 4
        assert found == []


def test_squeezed_only_where_it_helps() -> None:
    """Small messages, and those that do not get smaller, go as they are."""
    noise = bytes(range(256)) * 16
    for message, squeezed in [
        ({"d": b"a" * 900}, False),
        ({"d": b"a" * 5000}, True),
        ({"d": Random(1).randbytes(5000)}, False),
        ({"d": noise}, True),
    ]:
        data = frame(message, squeeze=True)
        assert data[4] == int(squeezed), message["d"][:3]
        assert (len(data) < len(frame(message))) == squeezed
        assert list(FrameReader().receive(data)) == [message]


BAD = [
    (pack(">IBI", 0xFFFFFFFF, 0, 0), "a frame of 4,294,967,295 bytes, at most 1,048,576"),
    (b"GET / HTTP/1.1\r\n\r\n", "a frame of 1,195,725,856 bytes, at most 1,048,576"),
    (raw(b"\x80", size=LARGEST + 1), "a frame of 1,048,577 bytes"),
    (raw(b"\x81\xa1t\x01", check=5), "wrong checksum"),
    (raw(b"\x80", 2), "unknown flags 0x2"),
    (raw(b"\x80", 0x80), "unknown flags 0x80"),
    (raw(b""), "no message"),
    (raw(b"", 1), "no message"),
    (raw(b"\x01\x00\x00", 1), "no message"),
    (raw(b"\xff\xff\xff\xff\x00", 1), "a compressed frame of 4,294,967,295 bytes"),
    (raw(b"\x10\x00\x00\x00zz", 1), "no message"),
    (raw(b"\x81\xc1"), "no message"),
    (raw(b"\x82\xa1t"), "no message"),
    (raw(b"\x80\x80"), "no message"),
    (raw(b"\x90"), "a list, not a map"),
    (raw(b"\xc0"), "a NoneType, not a map"),
    (raw(b"\x81\xa1t\xa1\xff"), "no message"),  # a text that is no UTF-8
    (raw(b"\x81\x01\x01"), "no message"),  # a key that is no text
    (raw(b"\x81\x90\x01"), "no message"),
    (raw(b"\xdf\xff\xff\xff\xff"), "no message"),
    (raw(b"\x81\xa1t" + b"\x91" * 5000), "no message"),
]


@pytest.mark.parametrize(("data", "why"), BAD, ids=range(len(BAD)))
def test_what_is_no_frame(data: bytes, why: str) -> None:
    """Each has its reason; what was whole before it is read, what comes after it is not."""
    for cut in range(len(data) + 1):
        reader = FrameReader()
        first = frame({"t": "before"})
        found = [*reader.receive(first + data[:cut]), *reader.receive(data[cut:] + first)]
        assert found == [{"t": "before"}]
        assert reader.fault.startswith(why), (reader.fault, why)
        assert reader.held == 0


def test_the_length_is_looked_at_first() -> None:
    """Nothing of a frame that is too long is held; the limit may be changed between two frames."""
    reader = FrameReader(largest=10)
    small, large = frame({"t": "x"}), frame({"t": "x" * 20})
    stream = reader.receive(small + large)
    assert next(stream) == {"t": "x"}
    reader.largest = 100
    assert next(stream) == {"t": "x" * 20}
    assert list(stream) == []
    reader.largest = 10
    assert list(reader.receive(large[:9])) == []
    assert (reader.fault, reader.held) == ("a frame of 24 bytes, at most 10", 0)


def test_too_large_to_send() -> None:
    """It is refused here, before the peer must."""
    with pytest.raises(ValueError, match="1,048,586 bytes, at most 1,048,576"):
        frame({"d": b"x" * LARGEST + b"12"})
    with pytest.raises(ValueError, match="at most 10"):
        frame({"d": b"0123456789"}, most=10)
    with pytest.raises(TypeError):
        frame({"d": object()})


def test_nested_promises_cost_little() -> None:
    """A thousand lists within lists, each said to have many items, take no longer than a large honest frame."""
    hostile = raw(b"\x81\xa1t" + b"\xdd\x00\x00\x1f\xff" * 1020)
    assert timeit(lambda: list(FrameReader().receive(hostile)), number=1) < 1.0
    more = raw(b"\x81\xa1t" + b"\xdd\x7f\xff\xff\xff" * 1020)
    reader = FrameReader()
    assert timeit(lambda: list(reader.receive(more)), number=1) < 0.1
    assert "max_array_len" in reader.fault
