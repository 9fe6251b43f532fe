"""The storm of the message broker with rows: devices, hub, what it keeps, message clients, journal and table.

Broker and journal share a disk that loses its power at any write and sync, is full, and fails; the table is a database
that commits or does not. What was acknowledged is in the table: at QoS 2 exactly once, and at QoS 1, too, as long as
the session lasts (decisions.md 36).
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from test_intake import FOLDER, Catalog, Engine, agree
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from anylog.language.dictionary import Dictionary, Scope
from anylog.language.logs import Logs
from anylog.mapping.topics import read_topic
from anylog.processes.intake import Intake
from anylog.processes.msg_client import ClientOptions, Door
from anylog.processes.msg_clients import MsgClients
from anylog.processes.msg_lines import LineFiles
from anylog.processes.msg_topics import Subscribed
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane
from anylog.wire.mqtt_hub import Hub
from anylog.wire.mqtt_packets import Packet, Puback, Pubrec, Reason
from anylog.wire.mqtt_session import Ticket

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from test_hub_on_disk import OnDisk, StepLane
from test_hub_storm import LIMITS, Device

TOPIC = "(name = t/# and dbms = town and dynamic = true)"
TABLES = ("a", "b")


@define(eq=False)
class SteppedLanes:
    """Lanes that work when the storm lets one of them."""

    lanes: list[StepLane]

    def open(self, name: str, threads: int = 1) -> StepLane:
        found = [lane for lane in self.lanes if lane.name == name]
        if not found:
            self.lanes.append(StepLane(name))
        return (found or self.lanes[-1:])[0]

    def close(self, name: str) -> Deferred[None]:
        raise AssertionError("nobody says goodbye in a storm")


@define(eq=False)
class Broker:
    """The node's own broker, for message clients."""

    hub: Hub

    def subscribe_local(self, name: str, filter: str, qos: int, deliver: Any) -> None:
        self.hub.subscribe_local(name, filter, qos)

    def unsubscribe_local(self, name: str) -> bool:
        return True

    def guard(self, name: str, filter: str, user: str, password: str) -> None:
        raise AssertionError("nobody has a password in a storm")


class WithRows(OnDisk):
    """A storm whose messages go into tables."""

    def __attrs_post_init__(self) -> None:
        self.engine: Any = Engine()
        self.clients: MsgClients | None = None
        self.numbers = count(1)
        self.refused: set[str] = set()
        self.repeats = self.intakes = self.commits = 0
        super().__attrs_post_init__()

    def fresh(self) -> Hub:
        hub = Hub(LIMITS)
        self.own = Broker(hub)
        if self.clients is not None:
            self.clients.use(self.own)
        return hub

    def start(self, disk: MemoryDisk) -> None:
        while True:
            super().start(disk)
            begun = self.begin()
            while not begun and self.image is None:
                self.step_lane()
            if self.image is None:
                break
            disk = self.image
        if isinstance(begun[0], Failure):
            begun[0].raiseException()
        self.catalog.connect(self.engine)

    def begin(self) -> list[Any]:
        """An intake and message clients on what is found."""
        if self.intakes:
            self.repeats += self.intake.counts["repeats"]
        self.intakes += 1
        self.delivering = 0  # batches that the message client is busy with
        self.clock = Clock()
        self.clock.advance(self.now)
        self.catalog: Any = Catalog()
        lanes: Any = SteppedLanes(self.lanes)
        self.engine.lane = self.engine_lane = StepLane("town")
        self.engine.load = self.loading
        self.lanes.append(self.engine_lane)
        self.intake = Intake(
            clock=self.clock,
            disk=self.disk_,
            lanes=lanes,
            folder=FOLDER,
            databases=self.catalog,
            agree=agree,
            token=lambda size: next(self.numbers).to_bytes(size, "big"),
            segment_size=4096,
            most=1 << 20,
        )
        self.intake.thresholds.set(time=self.chance.choice([0.5, 20.0]), volume=self.chance.choice([200, 20_000]))
        self.clients = MsgClients(
            door=Door(
                clock=self.clock,
                keep=self.intake.accepting.messages,
                declare=self.intake.declare,
                lines=LineFiles(disk=self.disk_, lane=InlineLane()),
                lane=InlineLane(),
                logs=Logs(self.clock),
            )
        )
        folders: Any = {
            name: Path(f"/{name}") for name in ("prep_dir", "watch_dir", "err_dir", "blobs_dir", "bwatch_dir")
        }
        topic = Subscribed(read_topic(TOPIC, Scope(Dictionary(), {})), 0)
        self.client = self.clients.add(ClientOptions(broker="local", **folders), [topic])
        self.clients.use(self.own)
        begun: list[Any] = []
        Deferred.fromCoroutine(self.intake.start()).addBoth(begun.append)
        return begun

    def loading(self, loads: Any) -> Deferred[Any]:
        """A commit; the power may be cut before it."""
        lane, disk = self.engine_lane, self.disk_

        def commit() -> Any:
            disk.point("commit")
            if self.image is not None or disk is not self.disk_:
                return Deferred()  # it never happens
            self.commits += 1
            return self.engine._load(loads)

        return lane.run(commit)

    # ------------------------------------------------------------------ what happens

    def step(self) -> None:
        super().step()
        self.pass_time()
        if self.image is not None:
            self.crash()

    def pass_time(self) -> None:
        self.clock.advance(max(0.0, self.now - self.clock.seconds()))
        self.intake.cut_due()

    def disk(self) -> None:
        crashes = self.crashes
        self.now += 0.01
        self.pass_time()
        super().disk()
        for _ in range(self.chance.randrange(12)):
            if self.crashes == crashes:
                self.step_lane()
                if self.image is not None:
                    self.crash()

    def rows(self) -> None:
        """The message clients get what came; some of what they have done is told."""
        hub = self.hub
        came, hub.delivery.local = hub.delivery.local, []
        batch = [(ticket, packet) for ticket, packet, _ in came]
        if batch:
            self.delivering += 1
            self.client.deliver(batch).addCallback(self.dealt_with, hub, [ticket for ticket, _ in batch])
        while self.working and self.chance.random() < 0.6:
            ticket, reason = self.working.pop(self.chance.randrange(len(self.working)))
            hub.done(ticket, Reason(int(reason)))

    def dealt_with(self, reasons: Any, hub: Hub, tickets: list[Ticket | None]) -> None:
        if hub is self.hub and self.image is None:
            self.delivering -= 1
            for ticket in tickets:
                if ticket is not None:
                    self.working.append((ticket, str(int((reasons or {}).get(ticket, 0)))))

    def hear(self, device: Device, packet: Packet) -> None:
        if isinstance(packet, Puback | Pubrec) and packet.reason >= 0x80:
            self.refused.add(device.unacknowledged.pop(packet.packet_id).packet.payload.decode())
            return
        super().hear(device, packet)

    # ------------------------------------------------------------------ the end

    def calm(self) -> None:
        super().calm()
        for _ in range(20_000):
            if not self.delivering:
                break
            self.now += 0.1
            self.pass_time()
            self.step_lane()
            if not self.delivering or self.chance.random() < 0.01:
                super().calm()
        else:
            raise AssertionError("a message client does not come to rest")
        self.load_all()

    def load_all(self) -> None:
        """Until all that the journal holds is loaded."""
        for _ in range(20_000):
            self.now += 0.1
            self.pass_time()
            self.step_lane()
            busy = any(lane.queue for lane in self.lanes)
            if not busy and not any(buffer.pending for buffer in self.intake._buffers.values()):
                break
        else:
            raise AssertionError("it is never loaded")
        self.journal = Counter(row["value"] for table in TABLES for row in self.engine.rows.get(table, []))

    def check(self) -> None:
        super().check()
        self.load_all()
        for text, times in self.journal.items():
            assert times == 1 or text not in self.once(), f"{text} is {times} times in its table"

    def once(self) -> set[str]:
        """Messages that may not be in a table twice."""
        found = set()
        for sent in self.sent:
            text, qos = sent.packet.payload.decode(), sent.packet.qos
            # Who does not wait for CONNACK may say things in a session that a crash forgets.
            passing = ("fleeting", "clean") if qos == 2 else ("fleeting", "clean", "eager")
            if qos and not text.startswith(passing):
                found.add(text)
        return found


def storm(seed: int, steps: int) -> WithRows:
    """One storm from its beginning to its end."""
    made = WithRows(seed, eager=True, ids=9)
    for device in made.devices:
        made.connect(device)
    for _ in range(steps):
        made.step()
    made.calm()
    made.check()
    return made


def test_storms() -> None:
    """Each message is in its table as its QoS says, after each of many crashes."""
    made = [storm(seed, 400) for seed in range(60)]
    assert sum(each.crashes for each in made) > 150
    assert sum(each.repeats for each in made) > 50
    assert sum(each.commits for each in made) > 300
    assert sum(len(each.refused) for each in made) > 2


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_long_storms(seed: int) -> None:
    """The same over more crashes."""
    assert storm(seed, 2500).crashes > 5


@pytest.mark.long
@pytest.mark.parametrize("first", range(10_000, 11_000, 100))
def test_many_storms(first: int) -> None:
    """A thousand storms."""
    for seed in range(first, first + 100):
        storm(seed, 600)
