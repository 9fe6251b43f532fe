"""Events of text: wherever the stream is cut the same ones come out, and each form of syslog is read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anylog.wire.syslog import Cutter, parse

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC).timestamp()
STREAM = b"one\r\ntwo\n\n\r\n11 <13>a\nb c d<14>line\n2026 no count\n12 <no\n5 <1>a\0x\n17 <13>the very last\n"


def whole(data: bytes, most: int = 100) -> tuple[list[bytes], int]:
    cutter = Cutter(most)
    return cutter.feed(data) + cutter.end(), cutter.lost


def test_framing() -> None:
    """Lines and octet counting, side by side."""
    expected = [b"one", b"two", b"<13>a\nb c d", b"<14>line", b"2026 no count"]
    assert whole(STREAM)[0][:5] == expected


@pytest.mark.parametrize("most", [100, 9, 3])
def test_any_cut_gives_the_same_events(most: int) -> None:
    """Where TCP happens to cut the stream never changes what is read, nor what is lost."""
    for cut in range(len(STREAM) + 1):
        cutter = Cutter(most)
        events = cutter.feed(STREAM[:cut]) + cutter.feed(STREAM[cut:]) + cutter.end()
        assert (events, cutter.lost) == whole(STREAM, most), cut
    single = Cutter(most)
    events = [event for at in range(len(STREAM)) for event in single.feed(STREAM[at : at + 1])]
    assert (events + single.end(), single.lost) == whole(STREAM, most)


@given(st.lists(st.sampled_from([b"<13>", b"7 ", b"\n", b"\r", b"\0", b"ab", b"123456789 <", b" ", b"<"]), max_size=30))
def test_random_cuts(parts: list[bytes]) -> None:
    """Part by part, or in one piece."""
    cutter = Cutter(8)
    events = [event for part in parts for event in cutter.feed(part)] + cutter.end()
    assert (events, cutter.lost) == whole(b"".join(parts), 8)


@pytest.mark.parametrize(
    ("data", "events", "lost"),
    [
        (b"x" * 101 + b"\nnext\n", [b"next"], 1),
        (b"x" * 100 + b"\nnext\n", [b"x" * 100, b"next"], 0),
        (b"101 <" + b"\n" * 100 + b"next\n", [b"next"], 1),
        (b"999999999 <13>nothing more", [], 1),
        (b"20 <13>cut off", [], 1),
        (b"no end", [b"no end"], 0),
        (b"1234", [b"1234"], 0),
        (b"\n\r\n\0\0\n", [], 0),
    ],
)
def test_limits(data: bytes, events: list[bytes], lost: int) -> None:
    """What is too long is lost alone, and counted once."""
    assert whole(data) == (events, lost)


def test_memory_is_bounded() -> None:
    """A line without end holds no more than one event may have."""
    cutter = Cutter(1000)
    for _ in range(1000):
        cutter.feed(b"x" * 700)
        assert len(cutter._held) <= 1000
    assert (cutter.feed(b"\nok\n"), cutter.lost) == ([b"ok"], 1)


BSD = [
    ("<34>Oct 11 22:14:15 host su: 'su root' failed", (34, "2026-10-11T22:14:15", "host", "su", "'su root' failed")),
    ("<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", (13, "2026-02-05T17:32:18", "10.0.0.99", "Use", "the BFG!")),
    ("<0>Nov 20 10:00:00 h kern[12]: text: more", (0, "2026-11-20T10:00:00", "h", "kern[12]", "text: more")),
    ("<13>Nov 20 10:00:00.123456 h t: x", (13, "2026-11-20T10:00:00.123456", "h", "t", "x")),
    ("<13>Nov 20 2024 10:00:00 h t: x", (13, "2024-11-20T10:00:00", "h", "t", "x")),
    ("<13>Dec 31 23:59:59 h t: x", (13, "2025-12-31T23:59:59", "h", "t", "x")),
    ("<13>Nov 30 10:00:00 h t: x", (13, "2026-11-30T10:00:00", "h", "t", "x")),
    ("<13>2026-11-20T10:00:00+02:00 h t: x", (13, "2026-11-20T10:00:00+02:00", "h", "t", "x")),
    ("<13>Nov 20 10:00:00 prog: no host", (13, "2026-11-20T10:00:00", None, "prog", "no host")),
    ("<13>Nov 20 10:00:00 prog[7]: no host", (13, "2026-11-20T10:00:00", None, "prog[7]", "no host")),
    ("<191>no time at all", (191, None, None, None, "no time at all")),
    ("<13>Feb 30 10:00:00 h t: x", (13, None, None, None, "Feb 30 10:00:00 h t: x")),
    ("<192>x", (13, None, None, None, "<192>x")),
    ("<007>x", (13, None, None, None, "<007>x")),
    ("x", (13, None, None, None, "x")),
    ("", (13, None, None, None, "")),
    ("<13>", (13, None, None, None, "")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BSD)
def test_rfc_3164(text: str, expected: tuple[object, ...]) -> None:
    """Its examples and what devices make of it; what cannot be read is the message."""
    event = parse(text, NOW)
    assert (event.priority, event.timestamp, event.hostname, event.tag, event.message) == expected
    assert event.well_formed is (expected[1] is not None)


IETF = [
    (
        "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed",
        (34, 1, "2003-10-11T22:14:15.003Z", "mymachine.example.com", "su", None, "ID47", None, "'su root' failed"),
    ),
    (
        '<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [exampleSDID@32473 iut="3" e="a]\\"b"][x@1] text',
        (165, 1, "2003-10-11T22:14:15.003Z", "h", "evntslog", None, "ID47",
         '[exampleSDID@32473 iut="3" e="a]\\"b"][x@1]', "text"),
    ),
    ("<0>1 - - - - - -", (0, 1, None, None, None, None, None, None, "")),
    ("<13>2 - h a 1 - - later version", (13, 2, None, "h", "a", "1", None, None, "later version")),
    ("<13>1 - h a 1 - [broken x", (13, None, None, None, None, None, None, None, "1 - h a 1 - [broken x")),
    ("<13>1 - h a", (13, None, None, None, None, None, None, None, "1 - h a")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), IETF)
def test_rfc_5424(text: str, expected: tuple[object, ...]) -> None:
    """Its examples, and broken ones."""
    event = parse(text, NOW)
    assert (
        *(event.priority, event.version, event.timestamp, event.hostname, event.application),
        *(event.process_id, event.message_id, event.structured_data, event.message),
    ) == expected


@given(st.text(max_size=300), st.sampled_from(["", "<13>", "<13>1 - ", "<13>1 - h a p m [", "<13>Nov 20 10:00:00 "]))
def test_nothing_is_refused(text: str, before: str) -> None:
    """Whatever comes is an event, and no letter of what could not be read is missing."""
    event = parse(before + text, NOW)
    assert 0 <= event.priority <= 191
    if not event.well_formed:
        assert (before + text).endswith(event.message)


@pytest.mark.parametrize(
    ("now", "time", "expected"),
    [
        ("2026-12-31T23:59:58", "Jan  1 00:00:03", "2027-01-01T00:00:03"),  # a clock that is ahead
        ("2026-12-31T14:00:00", "Jan  1 00:00:00", "2027-01-01T00:00:00"),  # the time of another zone
        ("2027-01-01T00:00:01", "Dec 31 23:59:59", "2026-12-31T23:59:59"),
        ("2027-01-01T00:00:01", "Jan  1 00:00:00", "2027-01-01T00:00:00"),
        ("2028-02-29T10:00:00", "Feb 29 09:59:59", "2028-02-29T09:59:59"),
        ("2029-01-02T00:00:00", "Feb 29 09:59:59", "2028-02-29T09:59:59"),
        ("2026-12-31T23:59:58", "Feb 10 00:00:00", "2026-02-10T00:00:00"),
    ],
)
def test_the_year(now: str, time: str, expected: str) -> None:
    """RFC 3164 has no year: it is the one by which the time is the latest that is not far ahead of now."""
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp()
    assert parse(f"<13>{time} h t: x", moment).timestamp == expected
