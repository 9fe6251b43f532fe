"""The laws of delivery, whatever happens: cuts, take-overs, crashes that lose what was not kept, and resends.

What was acknowledged at QoS 1 to a lasting subscriber arrives at least once, at QoS 2 exactly once; messages of one
publisher and topic arrive in their order; and the node's own clients keep each message of QoS 2 once.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from attrs import define, field
from hub_talk import snapshot

from anylog.wire.mqtt_hub import Hub
from anylog.wire.mqtt_limits import Limits
from anylog.wire.mqtt_packets import (
    Connack,
    Connect,
    Filter,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
)
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_records import Batch, pack, unpack
from anylog.wire.mqtt_session import Link, Ticket
from anylog.wire.mqtt_write import encode

TOPICS = ("t/a", "t/b")
LIMITS = Limits(sys_seconds=0, inflight=4, session_seconds=1_000_000_000)


@define(eq=False)
class Sent:
    """A message as its publisher knows it."""

    packet: Publish
    order: int  # of all in this storm
    acknowledged: bool = False
    released: bool = False


@define(eq=False)
class Device:
    """A client that keeps to the standard, and whose own memory is never lost while its session lasts."""

    name: str
    version: int
    lasting: bool
    filter: Filter | None
    link: Link | None = None
    reader: Reader | None = None
    up: bytearray = field(factory=bytearray)  # on the way to the broker
    down: bytearray = field(factory=bytearray)
    ready: bool = False  # CONNACK came
    known: bool = False  # and a session that lasts was promised
    subscribed: int | None = None  # number of the first message that it must have
    unacknowledged: dict[int, Sent] = field(factory=dict)
    received: set[int] = field(factory=set)  # packet ids of QoS 2 that are not released
    heard: list[str] = field(factory=list)
    visit: list[str] = field(factory=list)  # of QoS 2, in this session
    visits: list[list[str]] = field(factory=lambda: [[]])  # what it heard, by session
    since: list[int | None] = field(factory=lambda: [None])  # `subscribed` of each
    last: int = 0
    early: set[int] = field(factory=set)  # packet ids that it began to use before CONNACK


@define(eq=False)
class Storm:
    """Devices, the broker, the disk, and one of the node's own clients."""

    seed: int
    # Also publishers that do not wait for CONNACK: their new messages go before those that come again.
    eager: bool = False
    ids: int = 20  # packet ids that a device uses, in turn
    chance: Random = field(init=False)
    hub: Hub = field(init=False)
    now: float = 1_000_000.0
    log: list[bytes] = field(factory=list)
    writing: Batch | None = None
    devices: list[Device] = field(factory=list)
    sent: list[Sent] = field(factory=list)
    journal: Counter[str] = field(factory=Counter)  # of the node's own client
    marks: set[tuple[str, int, int, int]] = field(factory=set)
    working: list[tuple[Ticket, str]] = field(factory=list)
    crashes: int = 0

    def __attrs_post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.hub = self.fresh()
        for name, version, lasting, filter in [
            ("four", 4, True, Filter("t/#", 2)),
            ("five", 5, True, Filter("t/#", 2)),
            ("once", 5, True, Filter("t/a", 1)),
            ("share1", 5, True, Filter("$share/g/t/#", 2)),
            ("share2", 4, True, Filter("$share/g/t/#", 2)),
            ("clean", 4, False, Filter("t/#", 2)),
            ("pub4", 4, True, None),
            ("pub5", 5, True, None),
            ("fleeting", 5, False, None),
        ]:
            self.devices.append(Device(name, version, lasting, filter))
        if self.eager:
            self.devices += [Device("eager4", 4, True, None), Device("eager5", 5, True, None)]

    def fresh(self) -> Hub:
        hub = Hub(LIMITS)
        hub.subscribe_local("rows", "t/#", 0)
        return hub

    # ------------------------------------------------------------------ what may happen

    def step(self) -> None:
        """Something happens."""
        chance = self.chance
        device = chance.choice(self.devices)
        self.now += chance.random()
        self.hub.tick(self.now)
        what = chance.random()
        if what < 0.006:
            self.connect(device)
        elif what < 0.016:
            self.cut(device)
        elif what < 0.018:
            self.crash()
        elif what < 0.25:
            if device.ready and len(device.unacknowledged) < 5:
                self.publish(device)
        elif what < 0.45:
            for each in self.devices:
                self.carry_up(each, chance.randrange(1, 200))
        elif what < 0.65:
            for each in self.devices:
                self.carry_down(each, chance.randrange(1, 200))
        elif what < 0.80:
            self.disk()
        elif what < 0.97:
            self.rows()
        elif what < 0.975:
            self.rewrite()
        elif device.link is None:
            self.connect(device)

    def connect(self, device: Device) -> None:
        """Come, or come again while the broker thinks that the last connection is there."""
        old, device.link = device.link, self.hub.open(device.name, self.now)
        if old is not None and self.chance.random() < 0.5:
            self.hub.close(old, self.now)
        device.reader = Reader(device.version, side="client")
        device.up, device.down, device.ready = bytearray(), bytearray(), False
        if not device.lasting:
            device.unacknowledged, device.received, device.visit = {}, set(), []
        expiry = 1_000_000 if device.lasting and device.version == 5 else None
        most = self.chance.choice([None, 1, 3]) if device.version == 5 else None
        self.say(
            device,
            Connect(
                device.name,
                not device.lasting,
                version=device.version,
                session_expiry_interval=expiry,
                receive_maximum=most,
            ),
        )
        device.early = set()
        while device.name.startswith("eager") and self.chance.random() < 0.6 and len(device.unacknowledged) < 8:
            self.publish(device)
            device.early.add(device.last)

    def cut(self, device: Device) -> None:
        """The network is gone, and what was on it."""
        if device.link is not None:
            if self.chance.random() < 0.7:
                self.hub.feed(device.link, bytes(device.up), self.now)
            self.hub.close(device.link, self.now)
            device.link, device.ready = None, False

    def crash(self) -> None:
        """The broker loses what was not kept; of what was being written a part may have reached the disk."""
        self.crashes += 1
        if self.writing is not None:
            lucky = self.chance.randrange(len(self.writing.records) + 1)
            self.log += [pack(record) for record in self.writing.records[:lucky]]
            self.writing = None
        self.hub = self.fresh()
        self.working = []
        for device in self.devices:
            device.link, device.ready = None, False
        self.hub.restore([unpack(data) for data in self.log], self.now)

    def publish(self, device: Device) -> None:
        """A new message."""
        qos = self.chance.randrange(3)
        device.last = device.last % self.ids + 1
        while device.last in device.unacknowledged:
            device.last = device.last % self.ids + 1
        packet = Publish(
            self.chance.choice(TOPICS), f"{device.name} {qos} {len(self.sent)}".encode(), qos, packet_id=device.last
        )
        if not qos:
            packet = Publish(packet.topic, packet.payload)
        sent = Sent(packet, len(self.sent))
        self.sent.append(sent)
        if qos:
            device.unacknowledged[device.last] = sent
        self.say(device, packet)

    def disk(self) -> None:
        """Begin to sync, or have done."""
        if self.writing is None:
            self.writing = self.hub.taken_records()
        else:
            self.log += [pack(record) for record in self.writing.records]
            number, self.writing = self.writing.number, None
            self.hub.kept(number)

    def rewrite(self) -> None:
        """The log is cut: it begins with what there is."""
        if self.writing is None:
            batch = self.hub.taken_records()
            self.log = [pack(record) for record in snapshot(self.hub)]
            self.hub.kept(batch.number)

    def rows(self) -> None:
        """The node's own client syncs what came, and says so a little later."""
        for ticket, packet, names in self.hub.local:
            assert names == ("rows",)
            if ticket is None:
                continue
            mark = (ticket.client_id, ticket.incarnation, ticket.packet_id, ticket.exchange)
            if ticket.qos == 1 or mark not in self.marks:
                self.journal[packet.payload.decode()] += 1
            if ticket.qos == 2:
                self.marks.add(mark)
            self.working.append((ticket, packet.payload.decode()))
        self.hub.local.clear()
        while self.working and self.chance.random() < 0.6:
            ticket, _ = self.working.pop(self.chance.randrange(len(self.working)))
            self.hub.done(ticket)

    # ------------------------------------------------------------------ the wire

    def say(self, device: Device, packet: Packet) -> None:
        device.up += encode(packet, device.version)

    def carry_up(self, device: Device, size: int) -> bool:
        if device.link is None or not device.up or device.link.hold:
            return False
        data, device.up = bytes(device.up[:size]), device.up[size:]
        self.hub.feed(device.link, data, self.now)
        return True

    def carry_down(self, device: Device, size: int) -> bool:
        link, reader = device.link, device.reader
        if link is None or reader is None:
            return False
        device.down += b"".join(link.take())
        if link.closing:  # this one was taken over by itself, or is over
            device.link, device.ready = None, False
            self.hub.close(link, self.now)
            return True
        if not device.down:
            return False
        data, device.down = bytes(device.down[:size]), device.down[size:]
        for packet in reader.feed(data):
            self.hear(device, packet)
        return True

    def hear(self, device: Device, packet: Packet) -> None:
        """A device keeps to the standard."""
        if isinstance(packet, Connack):
            assert not packet.reason
            self.welcome(device, packet.session_present)
            return
        assert device.ready, f"{packet} before CONNACK"
        if isinstance(packet, Suback):
            if device.subscribed is None:
                device.subscribed = len(self.sent)
            if device.since[-1] is None:
                device.since[-1] = len(self.sent)
        elif isinstance(packet, Publish):
            self.message(device, packet)
        elif isinstance(packet, Puback):
            device.unacknowledged.pop(packet.packet_id).acknowledged = True
        elif isinstance(packet, Pubrec):
            sent = device.unacknowledged[packet.packet_id]
            sent.acknowledged = sent.released = True
            self.say(device, Pubrel(packet.packet_id))
        elif isinstance(packet, Pubcomp):
            del device.unacknowledged[packet.packet_id]
        elif isinstance(packet, Pubrel):
            device.received.discard(packet.packet_id)
            self.say(device, Pubcomp(packet.packet_id))
        else:
            raise AssertionError(packet)

    def welcome(self, device: Device, present: bool) -> None:
        if device.known:
            assert present, "a session that was promised is lost"
        if not present:
            device.received, device.visit = set(), []
            device.visits.append([])
            device.since.append(None)
        device.ready, device.known = True, device.lasting
        for number, sent in device.unacknowledged.items():  # [MQTT-4.4.0-1]
            packet = sent.packet
            if number in device.early and not sent.released:
                continue
            again = Publish(packet.topic, packet.payload, packet.qos, packet.retain, True, number)
            self.say(device, Pubrel(number) if sent.released else again)
        if device.filter is not None and (device.subscribed is None or not device.lasting):
            self.say(device, Subscribe(60_000, (device.filter,)))

    def message(self, device: Device, packet: Publish) -> None:
        text = packet.payload.decode()
        if packet.qos == 2:
            if packet.packet_id not in device.received:
                device.received.add(packet.packet_id)
                device.heard.append(text)
                device.visits[-1].append(text)
                device.visit.append(text)
            self.say(device, Pubrec(packet.packet_id))
        else:
            device.heard.append(text)
            device.visits[-1].append(text)
            if packet.qos:
                self.say(device, Puback(packet.packet_id))

    # ------------------------------------------------------------------ the end

    def calm(self) -> None:
        """All come back, and all that is to be said is said."""
        for device in self.devices:
            if device.link is None or device.link.closing:
                self.connect(device)
        for _ in range(20_000):
            moved = False
            for device in self.devices:
                if device.link is None:
                    self.connect(device)
                moved |= self.carry_up(device, 10_000)
                moved |= self.carry_down(device, 10_000)
            moved |= bool(self.hub.local or self.working or self.writing or self.hub.delivery.keep.records)
            self.rows()
            self.disk()
            if not moved:
                return
        raise AssertionError("it does not come to rest")

    def check(self) -> None:
        """The laws."""
        for device in self.devices:
            assert not device.unacknowledged, device.name
            assert not self.hub.delivery.sessions[device.name].out, device.name
            assert not self.hub.delivery.sessions[device.name].received, device.name
            assert max(Counter(device.visit).values(), default=0) <= 1, f"{device.name} had a message of QoS 2 twice"
            for publisher in self.devices:
                for topic in TOPICS:
                    for qos in range(3):
                        self.in_order(device, publisher.name, topic, qos)
        counts = {device.name: Counter(device.heard) for device in self.devices}
        counts["share"] = counts["share1"] + counts["share2"]
        since = {device.name: device.subscribed for device in self.devices}
        since["share"] = min((s for s in (since["share1"], since["share2"]) if s is not None), default=None)
        for sent in self.sent:
            text, qos = sent.packet.payload.decode(), sent.packet.qos
            for name in ("four", "five", "once", "share"):
                granted = 1 if name == "once" else 2
                if min(qos, granted) == 2:
                    assert counts[name][text] <= 1, f"{name} had {text} {counts[name][text]} times"
                if since[name] is None or sent.order < since[name] or (name == "once" and sent.packet.topic != "t/a"):
                    continue
                if qos and sent.acknowledged:
                    assert counts[name][text] >= 1, f"{name} never had {text}"
            if qos and sent.acknowledged:
                assert self.journal[text] >= 1, f"{text} is not in the journal"
            if qos == 2 and not text.startswith(("fleeting", "clean")):
                assert self.journal[text] <= 1, f"{text} is {self.journal[text]} times in the journal"

    def in_order(self, device: Device, publisher: str, topic: str, qos: int) -> None:
        """By their first arrival ([MQTT-4.6.0-5], [MQTT-4.6.0-6]).

        What was on its way before the subscription may come once more after it, and late.
        """
        if device.name.startswith("share") or publisher.startswith("eager"):
            return  # a message that changes hands may be overtaken; an eager publisher itself keeps no order
        topics = {each.packet.payload.decode(): each.packet.topic for each in self.sent}
        for visit, since in zip(device.visits, device.since, strict=True):
            first = dict.fromkeys(
                int(text.split()[2])
                for text in visit
                if text.startswith(f"{publisher} {qos} ") and topics[text] == topic
            )
            for number in list(first):
                if since is None or number < since:
                    del first[number]
            assert list(first) == sorted(first), (device.name, publisher, topic, qos)


@pytest.mark.parametrize("seed", range(2000, 2015))
def test_eager_publishers(seed: int) -> None:
    """Which message comes again is known whatever order they come in, after a crash, too."""
    storm = Storm(seed, eager=True)
    for device in storm.devices:
        storm.connect(device)
    for _ in range(4000):
        storm.step()
    storm.calm()
    storm.check()
    assert storm.crashes > 1


@pytest.mark.parametrize("seed", [*range(20), 1055, 1076, 1108, 1161, 1166, 1283])
def test_storm(seed: int) -> None:
    """Nothing that was acknowledged is lost, nothing of QoS 2 comes twice, nothing is overtaken."""
    storm = Storm(seed)
    for device in storm.devices:
        storm.connect(device)
    for _ in range(2500 if seed < 1000 else 4000):
        storm.step()
    storm.calm()
    storm.check()
    assert sum(len(device.heard) for device in storm.devices) > 200, "a storm in which nothing happens"
