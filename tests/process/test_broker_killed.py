"""What the message broker keeps, by a process that is killed with `kill -9` at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from threading import Timer

from twisted.internet.defer import Deferred

from anylog.disk.durable import RealDisk
from anylog.network.broker_store import BrokerStore
from anylog.testing.lanes import InlineLane
from anylog.wire.mqtt_packets import Publish
from anylog.wire.mqtt_records import Came, Finished, Opened, Record, pack_message
from anylog.wire.mqtt_session import Message

WAITING = 20  # messages that are not acknowledged, at any time
WORKER = """
import sys
from test_broker_killed import work
work(sys.argv[1])
"""


def new_store(folder: Path) -> BrokerStore:
    lane = InlineLane()
    return BrokerStore(
        disk=RealDisk(),
        lane=lane,
        making=lane,
        work=lane,
        folder=folder,
        token=os.urandom,
        now=lambda: 0.0,
        segment_size=1 << 14,
        least=1 << 13,
        piece=1 << 10,
    )


def now(waited: Deferred[list[Record]]) -> list[Record]:
    found: list[list[Record]] = []
    waited.addCallback(found.append)
    return found[0]


def numbers(records: list[Record]) -> list[int]:
    """The messages that wait for the client."""
    return [each[1] for record in records if isinstance(record, Came) for each in record.to]


def work(folder: str) -> None:
    """In the process: messages come and are acknowledged; each is said once it is kept."""
    store = new_store(Path(folder))
    waiting = numbers(now(store.load()))
    number = max(waiting, default=0)
    kept: list[None] = []
    if not waiting:
        store.keep([Opened("a", 1, 100)]).addCallback(kept.append)
    while True:
        number += 1
        to = (("a", number, 2, False, (), number, ""),)
        records: list[Record] = [Came(pack_message(Message(Publish("t", bytes(100), 2))), to)]
        if number > WAITING:
            records.append(Finished("a", number - WAITING))
        told = store.keep(records)
        if not told.called or told.result is not None:
            raise AssertionError(told)
        os.write(1, b"%d\n" % number)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """All that was said to be kept is found, and at most the one after it; what is over is over."""
    chance, last, rounds = Random(6), 0, 5
    for _ in range(rounds):
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "broker")],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert process.stdout is not None
        late = Timer(60.0, process.kill)
        late.start()
        try:
            for _ in range(chance.randrange(1, 300)):
                last = int(process.stdout.readline())
            process.kill()
            last = max([last, *map(int, process.stdout.read().split())])
        finally:
            late.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
        store = new_store(tmp_path / "broker")
        found = numbers(now(store.load()))
        expected = [list(range(max(1, end - WAITING + 1), end + 1)) for end in (last, last + 1)]
        assert found in expected, f"after {last}"
        assert not store.counts["damaged"] and not store.counts["unfollowed"]
        now(store.close())  # type: ignore[arg-type]
        last = found[-1]
    assert last > 300
    assert sum(path.stat().st_size for path in (tmp_path / "broker").iterdir()) < 200_000, "the log is never cut"
