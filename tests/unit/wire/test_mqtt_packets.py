"""MQTT packets: what is written is read, in both versions, cut wherever; what may not be written is refused."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from attrs import evolve, fields
from hypothesis import given, settings
from hypothesis import strategies as st

from anylog.wire.mqtt_fields import ALLOWED, LONGEST, PROPERTIES, Kind, variable
from anylog.wire.mqtt_packets import (
    BROKER_REASONS,
    CLIENT_REASONS,
    KINDS,
    REASONS,
    RETURN_CODES,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Filter,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Reason,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from anylog.wire.mqtt_read import LARGE, Reader
from anylog.wire.mqtt_write import PublishBytes, encode

# ---------------------------------------------------------------------- any packets

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NAMES = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=12)
LEVELS = st.lists(st.sampled_from(["", "a", "ä", "$x", "+"]), min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.builds(lambda levels, rest: levels + rest, LEVELS, st.sampled_from(["", "/#"])) | st.sampled_from(
    ["#", "$share/group/a/+", "$share/g//", "/"]
)
IDS = st.integers(1, 0xFFFF)
QOS = st.integers(0, 2)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple)
KINDS_OF_VALUES: dict[Kind, Any] = {
    Kind.FLAG: lambda each: st.booleans(),
    Kind.TEXT: lambda each: NAMES if each.name == "response_topic" else TEXTS,
    Kind.BINARY: lambda each: st.binary(max_size=12),
    Kind.PAIR: lambda each: PAIRS,
    Kind.BYTE: lambda each: st.integers(each.least, each.most),
    Kind.TWO: lambda each: st.integers(each.least, min(each.most, 0xFFFF)),
    Kind.FOUR: lambda each: st.integers(each.least, each.most),
    Kind.VARIABLE: lambda each: st.integers(each.least, 268_435_455),
}


def any_of(owner: type, **rest: Any) -> Any:
    """Packets of a kind with any of its properties, or none."""
    found = dict(rest)
    for number in ALLOWED.get(owner, ()):
        each = PROPERTIES[number]
        values = KINDS_OF_VALUES[each.kind](each)
        if owner is Publish and number == 0x0B:
            found["subscription_identifiers"] = st.lists(values, max_size=3).map(tuple)
        elif each.kind is Kind.PAIR:
            found[each.name] = values
        else:
            found[each.name] = st.none() | values
    return st.builds(owner, **found)


def lawful(packet: Any) -> Any:
    """What hypothesis joins at random, as the standard wants it."""
    if type(packet) is Publish and not packet.qos:
        packet = evolve(packet, packet_id=0, dup=False)
    if type(packet) is Connack and packet.reason:
        packet = evolve(packet, session_present=False)
    if type(packet) in (Connect, Connack) and packet.authentication_method is None:
        packet = evolve(packet, authentication_data=None)
    if type(packet) is Subscribe:
        options = [evolve(f, no_local=f.no_local and not f.filter.startswith("$share/")) for f in packet.filters]
        packet = evolve(packet, filters=tuple(options))
    return packet


def reasons(kind: type, table: Any = REASONS) -> Any:
    return st.sampled_from(sorted(table[kind]))


WILLS = any_of(Will, topic=NAMES, payload=st.binary(max_size=20), qos=QOS, retain=st.booleans())
OPTIONS = st.builds(Filter, FILTERS, QOS, st.booleans(), st.booleans(), QOS)
PUBLISHES = any_of(
    Publish,
    topic=NAMES,
    payload=st.binary(max_size=300),
    qos=QOS,
    retain=st.booleans(),
    dup=st.booleans(),
    packet_id=IDS,
)
ANSWERS = [any_of(kind, packet_id=IDS, reason=reasons(kind)) for kind in (Puback, Pubrec, Pubrel, Pubcomp)]
FROM_CLIENT = st.one_of(
    *ANSWERS,
    PUBLISHES.map(lambda packet: evolve(packet, subscription_identifiers=())),
    any_of(Subscribe, packet_id=IDS, filters=st.lists(OPTIONS, min_size=1, max_size=3).map(tuple)),
    any_of(Unsubscribe, packet_id=IDS, filters=st.lists(FILTERS, min_size=1, max_size=3).map(tuple)),
    any_of(Disconnect, reason=reasons(Disconnect, CLIENT_REASONS)).map(lambda p: evolve(p, server_reference=None)),
    any_of(Auth, reason=reasons(Auth, CLIENT_REASONS)).map(lambda p: evolve(p, authentication_method="m")),
    st.just(Pingreq()),
).map(lawful)
FROM_BROKER = st.one_of(
    *ANSWERS,
    PUBLISHES,
    any_of(Connack, reason=reasons(Connack), session_present=st.booleans()),
    any_of(Suback, packet_id=IDS, reasons=st.lists(reasons(Suback), min_size=1, max_size=3).map(tuple)),
    any_of(Unsuback, packet_id=IDS, reasons=st.lists(reasons(Unsuback), min_size=1, max_size=3).map(tuple)),
    any_of(Disconnect, reason=reasons(Disconnect, BROKER_REASONS)).map(
        lambda packet: evolve(packet, session_expiry_interval=None)
    ),
    any_of(Auth, reason=reasons(Auth, BROKER_REASONS)).map(lambda packet: evolve(packet, authentication_method="m")),
    st.just(Pingresp()),
).map(lawful)
CONNECTS = any_of(
    Connect,
    client_id=NAMES,
    clean=st.booleans(),
    keep_alive=st.integers(0, 0xFFFF),
    version=st.just(5),
    will=st.none() | WILLS,
    user_name=st.none() | TEXTS,
    password=st.none() | st.binary(max_size=12),
).map(lawful)


def plain(packet: Any) -> Any:
    """What of a packet 3.1.1 can say."""
    names = [field.name for field in fields(type(packet))]
    properties = {PROPERTIES[number].name for number in ALLOWED.get(type(packet), ())} | {"subscription_identifiers"}
    defaults = {field.name: field.default for field in fields(type(packet))}
    changes: dict[str, Any] = {name: defaults[name] for name in names if name in properties}
    if type(packet) in (Puback, Pubrec, Pubrel, Pubcomp, Disconnect):
        changes["reason"] = Reason.SUCCESS
    if type(packet) is Subscribe:
        changes["filters"] = tuple(Filter(each.filter, each.qos) for each in packet.filters)
    if type(packet) is Suback:
        changes["reasons"] = tuple(min(reason, Reason.UNSPECIFIED_ERROR) for reason in packet.reasons)
    if type(packet) is Unsuback:
        changes["reasons"] = ()
    return evolve(packet, **changes)


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    """A stream in pieces of these sizes, and the rest."""
    pieces = []
    for size in sizes:
        pieces.append(stream[:size])
        stream = stream[size:]
    return [*pieces, stream]


def read(reader: Reader, pieces: list[bytes]) -> list[Packet]:
    return [packet for piece in pieces for packet in reader.feed(piece)]


SIZES = st.lists(st.integers(0, 40), max_size=20)


@given(st.lists(FROM_CLIENT, max_size=6), SIZES)
@settings(max_examples=300, deadline=None)
def test_what_a_client_writes_is_read(packets: list[Packet], sizes: list[int]) -> None:
    """Any packets with any properties in any pieces."""
    reader = Reader(5)
    stream = b"".join(encode(packet, 5) for packet in packets)
    assert read(reader, cut(stream, sizes)) == packets
    assert reader.held == 0


@given(st.lists(FROM_BROKER, max_size=6), SIZES)
@settings(max_examples=300, deadline=None)
def test_what_a_broker_writes_is_read(packets: list[Packet], sizes: list[int]) -> None:
    """The same the other way."""
    stream = b"".join(encode(packet, 5) for packet in packets)
    assert read(Reader(5, side="client"), cut(stream, sizes)) == packets


@given(st.lists(FROM_CLIENT.filter(lambda packet: type(packet) is not Auth), max_size=6), SIZES)
@settings(max_examples=200, deadline=None)
def test_what_is_written_in_3_1_1(packets: list[Packet], sizes: list[int]) -> None:
    """The same packets say what 3.1.1 can say: properties, options and reasons are left out."""
    stream = b"".join(encode(packet, 4) for packet in packets)
    assert read(Reader(4), cut(stream, sizes)) == [plain(packet) for packet in packets]


@given(st.lists(FROM_BROKER.filter(lambda packet: type(packet) not in (Auth, Connack, Disconnect)), max_size=6), SIZES)
@settings(max_examples=200, deadline=None)
def test_what_a_broker_writes_in_3_1_1(packets: list[Packet], sizes: list[int]) -> None:
    """The same the other way."""
    stream = b"".join(encode(packet, 4) for packet in packets)
    assert read(Reader(4, side="client"), cut(stream, sizes)) == [plain(packet) for packet in packets]


@given(CONNECTS, st.sampled_from([4, 5]), SIZES)
@settings(max_examples=200, deadline=None)
def test_connect(packet: Connect, version: int, sizes: list[int]) -> None:
    """A CONNECT of both versions, and the PING behind it."""
    if version == 4:
        packet = evolve(plain(packet), version=4, password=packet.password if packet.user_name is not None else None)
        packet = evolve(packet, will=packet.will and plain(packet.will))
    reader = Reader()
    assert read(reader, cut(encode(packet, version) + b"\xc0\0", sizes)) == [packet, Pingreq()]
    assert reader.version == version


# ---------------------------------------------------------------------- each property by itself


def least(owner: type, version: int = 5) -> Any:
    """A packet of a kind with nothing that it need not have."""
    given: dict[type, dict[str, Any]] = {
        Connect: {"client_id": "c", "version": version},
        Publish: {"topic": "t"},
        Will: {"topic": "t"},
        Subscribe: {"packet_id": 7, "filters": (Filter("a"),)},
        Suback: {"packet_id": 7, "reasons": (Reason.GRANTED_QOS_1,)},
        Unsubscribe: {"packet_id": 7, "filters": ("a",)},
        Unsuback: {"packet_id": 7, "reasons": (Reason.SUCCESS,)},
        Auth: {"reason": Reason.CONTINUE_AUTHENTICATION, "authentication_method": "m"},
        **{kind: {"packet_id": 7} for kind in (Puback, Pubrec, Pubrel, Pubcomp)},
    }
    return owner(**given.get(owner, {}))


EDGES: dict[Kind, list[Any]] = {
    Kind.FLAG: [False, True],
    Kind.BYTE: [0, 1],
    Kind.TWO: [1, 0x100, 0xFFFF],
    Kind.FOUR: [1, 0x10000, 0xFFFFFFFF],
    Kind.VARIABLE: [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455],
    Kind.TEXT: ["x", "\ufeffä€\U0001f600", "x" * LONGEST],
    Kind.BINARY: [b"", b"\0\xff", b"x" * LONGEST],
    Kind.PAIR: [(("k", "v"),), (("k", "v"), ("k", "v"), ("", ""))],
}
OWNED = [(owner, PROPERTIES[number]) for owner, numbers in ALLOWED.items() for number in numbers]


@pytest.mark.parametrize(("owner", "each"), OWNED, ids=lambda value: getattr(value, "__name__", None) or value.name)
def test_each_property(owner: type, each: Any) -> None:
    """Each property of each packet by itself, at the edges of what it may be; 3.1.1 says the packet without."""
    for value in EDGES[each.kind]:
        name, held = each.name, value
        if owner is Publish and each.number == 0x0B:
            name, held = "subscription_identifiers", (value, 1)
        carried = evolve(least(owner), **{name: held})
        if name == "authentication_data":
            carried = evolve(carried, authentication_method="m")
        packet = Connect("c", version=5, will=carried) if owner is Will else carried
        from_broker = owner in (Connack, Suback, Unsuback) or name in ("server_reference", "subscription_identifiers")
        reader = Reader(None if owner in (Connect, Will) else 5, side="client" if from_broker else "broker")
        if from_broker:
            reader = Reader(5, side="client")
        assert reader.feed(encode(packet, 5)) == [packet]
        if owner not in (Auth, Connect, Will):
            assert encode(packet, 4) == encode(least(owner), 4)


def test_every_attribute_is_known() -> None:
    """What a packet of 5.0 holds beyond 3.1.1 is in the table of its properties, and nothing is there that it lacks."""
    for owner, numbers in ALLOWED.items():
        names = {PROPERTIES[number].name for number in numbers}
        if owner is Publish:
            names = names - {"subscription_identifier"} | {"subscription_identifiers"}
        held = {field.name for field in fields(owner)}
        assert names <= held, owner
        assert all(field.default in (None, ()) for field in fields(owner) if field.name in names)


# ---------------------------------------------------------------------- bytes as the standard shows them


@pytest.mark.parametrize(
    ("packet", "version", "wanted"),
    [
        (Connect("c", keep_alive=60), 4, "100d00044d5154540402003c000163"),
        (Connect("c", keep_alive=60, version=5), 5, "100e00044d5154540502003c00000163"),
        (
            # The example of 3.1.1, 3.1.2.10 and 3.1.3: all flags but one set, will of QoS 1.
            Connect("c", True, 10, 4, Will("w", b"x", 1), "u", b"p"),
            4,
            "101900044d51545404ce000a000163000177000178000175000170",
        ),
        (
            Connect("", False, 0, 5, Will("w", retain=True), password=b""),
            5,
            "101500044d515454056400000000000000017700000000",
        ),
        (Connack(), 4, "20020000"),
        (Connack(session_present=True), 4, "20020100"),
        (Connack(Reason.NOT_AUTHORIZED), 4, "20020005"),
        (Connack(Reason.NOT_AUTHORIZED), 5, "2003008700"),
        (Connack(maximum_qos=1, retain_available=False), 5, "200700000424012500"),
        (Publish("a/b", b"x", 1, packet_id=10), 4, "32080003612f62000a78"),  # 3.3.2.3
        (Publish("a/b", b"x", 1, packet_id=10), 5, "32090003612f62000a0078"),
        (Publish("a", b"", 2, True, True, 1), 4, "3d050001610001"),
        (Publish("", b"x", topic_alias=3), 5, "300700000323000378"),
        (Puback(258), 4, "40020102"),
        (Puback(258), 5, "40020102"),
        (Puback(258, Reason.NO_MATCHING_SUBSCRIBERS), 5, "4003010210"),
        (Pubrec(1), 5, "50020001"),
        (Pubrel(1), 5, "62020001"),
        (Pubrel(1, Reason.PACKET_IDENTIFIER_NOT_FOUND, "no"), 5, "6209000192051f00026e6f"),
        (Pubcomp(1), 4, "70020001"),
        # 3.8.3.1 of 3.1.1: "a/b" with QoS 1, "c/d" with QoS 2
        (Subscribe(10, (Filter("a/b", 1), Filter("c/d", 2))), 4, "820e000a0003612f62010003632f6402"),
        (Subscribe(10, (Filter("a", 1, True, True, 2),), 5), 5, "8209000a020b050001612d"),
        (Suback(10, (Reason.GRANTED_QOS_1, Reason.UNSPECIFIED_ERROR)), 4, "9004000a0180"),
        (Suback(10, (Reason.GRANTED_QOS_1, Reason.NOT_AUTHORIZED)), 5, "9005000a000187"),
        (Unsubscribe(10, ("a/b", "c/d")), 4, "a20c000a0003612f620003632f64"),
        (Unsubscribe(10, ("a/b",)), 5, "a208000a000003612f62"),
        (Unsuback(10), 4, "b002000a"),
        (Unsuback(10, (Reason.NO_SUBSCRIPTION_EXISTED,)), 5, "b004000a0011"),
        (Pingreq(), 4, "c000"),
        (Pingresp(), 5, "d000"),
        (Disconnect(), 4, "e000"),
        (Disconnect(), 5, "e000"),
        (Disconnect(Reason.DISCONNECT_WITH_WILL_MESSAGE), 5, "e00104"),
        (Auth(), 5, "f000"),
        (Auth(Reason.CONTINUE_AUTHENTICATION, "m", b"d"), 5, "f00a18081500016d16000164"),
    ],
)
def test_bytes(packet: Packet, version: int, wanted: str) -> None:
    """Each packet as the standard lays it out."""
    assert encode(packet, version).hex() == wanted


def test_short_forms_are_read() -> None:
    """Reason and properties may be left out where they say nothing (5.0, 3.4.2.1, 3.14.2.1 and 3.15.2.1)."""
    assert Reader(5).feed(bytes.fromhex("40020001 4003000110 400400010000 e000")) == [
        Puback(1),
        Puback(1, Reason.NO_MATCHING_SUBSCRIBERS),
        Puback(1),
        Disconnect(),
    ]
    assert Reader(5).feed(b"\xe0\1\4") == [Disconnect(Reason.DISCONNECT_WITH_WILL_MESSAGE)]
    assert Reader(5, side="client").feed(b"\xf0\0") == [Auth()]


def test_return_codes() -> None:
    """All return codes of 3.1.1 are read as the reason of 5.0 that means the same, and written back."""
    for code in range(6):
        (packet,) = Reader(4, side="client").feed(bytes([0x20, 2, 0, code]))
        assert type(packet) is Connack and RETURN_CODES[packet.reason] == code
        assert encode(packet, 4) == bytes([0x20, 2, 0, code])
    assert encode(Connack(Reason.SERVER_BUSY), 4) == encode(Connack(Reason.SERVER_UNAVAILABLE), 4)


# ---------------------------------------------------------------------- what may not be written

LONG = "x" * (LONGEST + 1)


@pytest.mark.parametrize(
    ("packet", "versions"),
    [
        (Connect(LONG), (4,)),
        (Connect("c\0"), (4,)),
        (Connect("\ud800"), (4,)),
        (Connect("c", version=5), (4,)),
        (Connect("c"), (5,)),
        (Connect("c", keep_alive=65_536), (4,)),
        (Connect("c", keep_alive=-1), (4,)),
        (Connect("", clean=False), (4,)),
        (Connect("c", password=b"p"), (4,)),
        (Connect("c", will=Will("a/#")), (4,)),
        (Connect("c", will=Will("")), (4,)),
        (Connect("c", will=Will("w", qos=3)), (4,)),
        (Connect("c", will=Will("w", b"x" * 65_536)), (4,)),
        (Connect("c", version=5, will=Will("w", response_topic="+")), (5,)),
        (Connect("c", version=5, receive_maximum=0), (5,)),
        (Connect("c", version=5, maximum_packet_size=0), (5,)),
        (Connect("c", version=5, session_expiry_interval=1 << 32), (5,)),
        (Connect("c", version=5, topic_alias_maximum=65_536), (5,)),
        (Connect("c", version=5, authentication_data=b"d"), (5,)),
        (Connect("c", version=5, user_properties=(("k", "\0"),)), (5,)),
        (Connack(Reason.NOT_AUTHORIZED, True), (4, 5)),
        (Connack(Reason.MALFORMED_PACKET), (4,)),
        (Connack(maximum_qos=2), (5,)),
        (Publish(""), (4, 5)),
        (Publish("a/+"), (4, 5)),
        (Publish("#"), (4, 5)),
        (Publish("a\0"), (4, 5)),
        (Publish(LONG), (4, 5)),
        (Publish("", topic_alias=1), (4,)),
        (Publish("a", topic_alias=0), (5,)),
        (Publish("a", qos=3, packet_id=1), (4, 5)),
        (Publish("a", qos=1), (4, 5)),
        (Publish("a", qos=2, packet_id=65_536), (4, 5)),
        (Publish("a", dup=True), (4, 5)),
        (Publish("a", payload_format_indicator=2), (5,)),
        (Publish("a", response_topic="a/#"), (5,)),
        (Publish("a", correlation_data=b"x" * 65_536), (5,)),
        (Publish("a", subscription_identifiers=(0,)), (5,)),
        (Publish("a", subscription_identifiers=(268_435_456,)), (5,)),
        (Puback(0), (4, 5)),
        (Pubrel(65_536), (4, 5)),
        (Subscribe(0, (Filter("a"),)), (4, 5)),
        (Subscribe(1, ()), (4, 5)),
        (Subscribe(1, (Filter("a#"),)), (4, 5)),
        (Subscribe(1, (Filter(""),)), (4, 5)),
        (Subscribe(1, (Filter("a", 3),)), (4, 5)),
        (Subscribe(1, (Filter("a", retain_handling=3),)), (5,)),
        (Subscribe(1, (Filter("$share/g/a", no_local=True),)), (5,)),
        (Subscribe(1, (Filter("$share/g"),)), (5,)),
        (Subscribe(1, (Filter("a"),), 0), (5,)),
        (Suback(1, ()), (4, 5)),
        (Unsubscribe(1, ()), (4, 5)),
        (Unsubscribe(1, ("a+",)), (4, 5)),
        (Unsuback(1), (5,)),
        (Auth(Reason.CONTINUE_AUTHENTICATION), (5,)),
        (Auth(), (4,)),
        (Pingreq(), (3, 6)),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_may_not_be_written(packet: Packet, versions: tuple[int, ...]) -> None:
    """A packet against the standard is the fault of who made it."""
    for version in versions:
        with pytest.raises(ValueError):
            encode(packet, version)


# ---------------------------------------------------------------------- cuts and sizes


def test_any_cut_gives_the_same_packets() -> None:
    """Where TCP happens to cut the stream never changes what is read: every single cut, and byte by byte."""
    packets: list[Packet] = [
        Connect("c", keep_alive=5, version=5, will=Will("w", b"x"), user_name="u"),
        Publish("a/b", b"x" * 200, 2, packet_id=3, user_properties=(("k", "v"),)),
        Pingreq(),
        Publish("", b"", topic_alias=1),
        Subscribe(4, (Filter("a/#", 1), Filter("$share/g/b"))),
        Publish("ä" * 130, b"long name"),
        Disconnect(Reason.DISCONNECT_WITH_WILL_MESSAGE),
    ]
    stream = b"".join(encode(packet, 5) for packet in packets)
    for place in range(len(stream) + 1):
        reader = Reader()
        assert (read(reader, [stream[:place], stream[place:]]), reader.held) == (packets, 0), f"cut at {place}"
    reader = Reader()
    assert read(reader, [bytes([byte]) for byte in stream]) == packets
    assert (reader.held, reader.version) == (0, 5)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("size", [LARGE - 20, LARGE, 300_000])
def test_large_payloads(version: int, size: int) -> None:
    """A large PUBLISH is put together from pieces of any size, and what comes behind it is read as well."""
    chance = Random(size)
    packet = Publish("a/b", chance.randbytes(size), 1, packet_id=9)
    stream = encode(packet, version) + b"\xc0\0" + encode(packet, version)
    for least, most in [(1, 9), (1, 3000), (1000, 2000), (60_000, 70_000)]:
        rest, reader, found = stream, Reader(version), []
        while rest:
            length = chance.randrange(least, most)
            found += reader.feed(rest[:length])
            rest = rest[length:]
        assert found == [packet, Pingreq(), packet]
        assert type(found[0].payload) is bytes  # type: ignore[union-attr]
        assert reader.held == 0


def test_a_large_head() -> None:
    """Properties that are longer than a piece, of a PUBLISH that is large and comes in pieces."""
    pairs = tuple((str(number), "v" * 1000) for number in range(80))
    packet = Publish("a/b", b"p" * 70_000, user_properties=pairs)
    stream = encode(packet, 5)
    for size in (1, 500, 5000, 64_000, len(stream) - 1):
        reader = Reader(5)
        assert read(reader, cut(stream, [size] * (len(stream) // size))) == [packet]


class Piece(bytes):
    """Counts what is copied to put it behind bytes."""

    copied = 0

    def __radd__(self, before: bytes) -> bytes:
        Piece.copied += len(before)
        return bytes(before) + bytes(self)


def test_a_head_in_many_pieces() -> None:
    """Properties that come in small pieces are not copied for each piece."""
    packet = Publish("a/b", b"p", user_properties=(("k", "v" * 60_000),) * 4)
    stream = encode(packet, 5)
    assert read(Reader(5), [Piece(stream[at : at + 1200]) for at in range(0, len(stream), 1200)]) == [packet]
    assert Piece.copied < 2 * len(stream)


def test_variable_numbers() -> None:
    """The edges of each length (5.0, table 1-1)."""
    for number, wanted in [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2_097_151, "ffff7f"),
        (2_097_152, "80808001"),
        (268_435_455, "ffffff7f"),
    ]:
        assert variable(number).hex() == wanted
    for number in (-1, 268_435_456):
        with pytest.raises(ValueError):
            variable(number)


def test_readers_need_a_version() -> None:
    """Only a broker can learn it."""
    for version, side in [(3, "broker"), (6, "client"), (None, "client")]:
        with pytest.raises(ValueError):
            Reader(version, side=side)  # type: ignore[arg-type]


def test_topics_are_shared() -> None:
    """The same topic again is the same text, not another of its kind: many messages of it cost one."""
    first, second = Reader(4).feed(encode(Publish("plant/line/temperature"), 4) * 2)
    assert first.topic is second.topic  # type: ignore[union-attr]


# ---------------------------------------------------------------------- one for many


@given(PUBLISHES.map(lawful), st.sampled_from([4, 5]), IDS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_one_publish_for_many(packet: Publish, version: int, packet_id: int, dup: bool) -> None:
    """What is encoded once is what each subscriber would have been sent; the payload is not copied."""
    shared = PublishBytes.of(packet, version)
    mine = evolve(packet, packet_id=packet_id if packet.qos else 0, dup=dup and packet.qos > 0)
    assert shared.bytes_for(packet_id, dup) == b"".join(shared.parts(packet_id, dup)) == encode(mine, version)
    assert shared.parts(packet_id)[-1] is shared.parts(packet_id % 9 + 1)[-1]


def test_one_publish_for_others() -> None:
    """QoS and retain flag of the subscriber, not of the message: what came again is new to who had none of it."""
    packet = Publish("a", b"x", 2, True, True, 9)
    assert PublishBytes.of(packet, 4, qos=0, retain=False).bytes_for() == encode(Publish("a", b"x"), 4)
    assert PublishBytes.of(packet, 4, qos=1).bytes_for(3) == encode(Publish("a", b"x", 1, True, False, 3), 4)
    assert PublishBytes.of(Publish("a"), 5, qos=1, retain=True).bytes_for(3, True) == encode(
        Publish("a", b"", 1, True, True, 3), 5
    )


def test_one_publish_for_many_needs_an_id() -> None:
    """Of QoS 1 and 2 alone."""
    assert PublishBytes.of(Publish("a"), 4).bytes_for() == encode(Publish("a"), 4)
    for packet_id in (0, 65_536):
        with pytest.raises(ValueError):
            PublishBytes.of(Publish("a", qos=1), 4).parts(packet_id)
    with pytest.raises(ValueError):
        PublishBytes.of(Publish("a"), 3)


def test_every_kind_has_a_number() -> None:
    """All fifteen, each once."""
    assert sorted(KINDS.values()) == list(range(1, 16))
