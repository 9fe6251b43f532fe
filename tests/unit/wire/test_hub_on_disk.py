"""The storm of the message broker, on a disk that loses its power at any write and sync, is full, and fails.

After each crash what is found is the state of exactly what was said to be kept, or of that and the one call of `keep`
that had no answer. And the laws of delivery hold, for which nothing that was acknowledged may be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from test_hub_keep import replayed, state
from test_hub_storm import Device, Sent, Storm
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.network.broker_store import BrokerStore
from anylog.testing.disk import MemoryDisk
from anylog.wire.mqtt_deliver import Delivery
from anylog.wire.mqtt_packets import Publish
from anylog.wire.mqtt_records import Batch, Record

FOLDER = Path("/home/broker")


class StepLane:
    """Work waits until the storm lets it be done."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    @property
    def depth(self) -> int:
        return len(self.queue)

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.queue.append((done, work, args))
        return done

    def step(self) -> None:
        done, work, args = self.queue.pop(0)
        maybeDeferred(work, *args).chainDeferred(done)


def whole(delivery: Delivery) -> dict[str, Any]:
    """All that has to last, and what was sent of it."""
    found = state(delivery)
    for name, session in delivery.sessions.items():
        found[f"sent to {name}"] = [out.sent for out in session.out.values()]
    return found


class OnDisk(Storm):
    """A storm whose records go through a store."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.tokens = count(1)
        self.kept: list[Record] = []
        self.tries: list[tuple[Record, ...]] = []  # calls of `keep` since then that had no answer, or a bad one
        self.shelved: list[Sent] = []
        self.moments = 0  # until power is cut, in writes, syncs and other steps
        self.image: MemoryDisk | None = None
        self.refusals = self.shortened = self.anew = self.starts = 0
        self.retry = False
        self.disk_ = MemoryDisk()
        self.start(self.disk_)

    # ------------------------------------------------------------------ the disk

    def start(self, disk: MemoryDisk) -> None:
        """Begin on what is found; power may be cut meanwhile as well."""
        while True:
            self.starts += 1
            self.disk_, self.image = disk, None
            self.lanes = [StepLane("journal"), StepLane("making"), StepLane("work")]
            disk.point = self.point
            self.store = self.new_store()
            found: list[Any] = []
            self.store.load().addBoth(found.append)
            while not found and self.image is None:
                self.step_lane()
            if self.image is None:
                break
            disk = self.image
        (records,) = found
        if isinstance(records, Failure):
            records.raiseException()
        got = whole(replayed(records, self.now))
        allowed = [whole(replayed([*self.kept, *more], self.now)) for more in ((), *self.tries)]
        assert got in allowed, "what was kept is not what is found"
        assert not self.store.counts["unfollowed"]
        if self.store.counts["damaged"]:  # the first write of a segment that was torn looks like that
            assert "header" in self.store.counts.last("damaged")
        self.kept, self.tries, self.retry = records, [], False

    def new_store(self) -> BrokerStore:
        journal, making, work = self.lanes
        return BrokerStore(
            disk=self.disk_,
            lane=journal,
            making=making,
            work=work,
            folder=FOLDER,
            token=lambda size: next(self.tokens).to_bytes(size, "big"),
            now=lambda: self.now,
            segment_size=self.chance.choice([1 << 10, 1 << 12]),
            least=self.chance.choice([200, 1500]),
            factor=2,
            piece=self.chance.choice([100, 1000]),
        )

    def point(self, name: str) -> None:
        if self.moments and self.image is None:
            self.moments -= 1
            if not self.moments:
                self.image = self.disk_.crash(self.chance, self.chance.random() < 0.7)

    def step_lane(self) -> None:
        """One piece of work, of any lane."""
        waiting = [lane for lane in self.lanes if lane.queue]
        if waiting:
            self.chance.choice(waiting).step()

    def step(self) -> None:
        what = self.chance.random()
        if what < 0.012:
            self.moments = self.chance.randrange(1, 40)
        elif what < 0.017:
            self.disk_.fails = {self.chance.choice(["grow", "grow", "sync", "write"])}
        elif what < 0.035:
            self.disk_.fails = set()
        super().step()

    def disk(self) -> None:
        """Have records kept, or let the disk work."""
        if self.writing is None or self.retry:
            batch = self.hub.taken_records()
            if self.retry and self.writing is not None:
                batch = Batch(batch.number, self.writing.records + batch.records)
            self.retry = False
            if batch.records:
                self.writing = batch
                self.tries.append(batch.records)
                self.store.keep(batch.records).addCallbacks(self.was_kept, self.was_refused, (self.store, batch))
        for _ in range(self.chance.randrange(6)):
            self.step_lane()
            if self.image is not None:
                self.crash()
                return

    def was_kept(self, _: None, store: BrokerStore, batch: Batch) -> None:
        if store is self.store and self.image is None:
            self.kept += batch.records
            self.tries, self.writing = [], None
            self.hub.resume()
            self.hub.kept(batch.number)

    def was_refused(self, failure: Failure) -> None:
        failure.trap(AnyLogError)
        self.refusals += 1
        self.retry = True
        self.hub.pause_all()

    def crash(self) -> None:
        """What is found decides; what the dead broker still has to say is not heard."""
        self.crashes += 1
        self.shortened += self.store.counts["shortened"]
        self.anew += self.store.counts["opened anew"]
        image, self.moments = self.image, 0
        if image is None:
            image = self.disk_.crash(self.chance, self.chance.random() < 0.7)
        if self.chance.random() < 0.3:
            self.moments = self.chance.randrange(1, 20)
        self.start(image)
        self.writing = None
        self.hub = self.fresh()
        self.working = []
        for device in self.devices:
            device.link, device.ready = None, False
        self.hub.restore(self.kept, self.now)
        self.check_shelf()

    def rewrite(self) -> None:
        """The store does that when it likes."""

    # ------------------------------------------------------------------ what is retained

    def publish(self, device: Device) -> None:
        if self.chance.random() > 0.15 or device.name.startswith("eager"):
            super().publish(device)
            return
        device.last = device.last % self.ids + 1
        while device.last in device.unacknowledged:
            device.last = device.last % self.ids + 1
        number, qos = len(self.shelved), self.chance.randrange(1, 3)
        payload = b"" if self.chance.random() < 0.2 else b"%d" % number
        topic = f"r/{device.name}/{qos}"  # of another QoS an older one may come again after it
        sent = Sent(Publish(topic, payload, qos, True, packet_id=device.last), number)
        self.shelved.append(sent)
        device.unacknowledged[device.last] = sent
        self.say(device, sent.packet)

    def check_shelf(self) -> None:
        """A topic has what was acknowledged last, or something newer."""
        there = {each.packet.topic: each.packet.payload for each in self.hub.delivery.shelf.everything()}
        newest: dict[str, Sent] = {}
        for sent in self.shelved:
            if sent.acknowledged:
                newest[sent.packet.topic] = sent
        for topic, sent in newest.items():
            since = [each.packet.payload for each in self.shelved[sent.order :] if each.packet.topic == topic]
            assert there.get(topic, b"") in since, topic

    # ------------------------------------------------------------------ the end

    def calm(self) -> None:
        self.disk_.fails, self.moments = set(), 0
        super().calm()

    def check(self) -> None:
        """The laws; and a start after all has come to rest finds just what there is."""
        super().check()
        self.check_shelf()
        before = state(self.hub.delivery)
        self.crash()
        assert state(self.hub.delivery) == before


def storm(seed: int, steps: int) -> OnDisk:
    """One storm from its beginning to its end."""
    made = OnDisk(seed)
    for device in made.devices:
        made.connect(device)
    for _ in range(steps):
        made.step()
    made.calm()
    made.check()
    return made


def test_storms() -> None:
    """Whatever was acknowledged is there after each of many crashes, and nothing twice."""
    made = [storm(seed, 300) for seed in range(200)]
    assert sum(each.crashes for each in made) > 400
    assert sum(each.starts for each in made) > 500, "power is never cut during a start"
    assert sum(each.refusals for each in made) > 300
    assert sum(each.shortened for each in made) > 300
    assert sum(each.anew for each in made) > 50


@pytest.mark.parametrize("seed", [*range(1000, 1004), 5145])
def test_long_storms(seed: int) -> None:
    """The same over more crashes."""
    made = storm(seed, 2500)
    assert made.crashes > 5 and sum(len(device.heard) for device in made.devices) > 100
