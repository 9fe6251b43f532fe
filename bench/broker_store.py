"""Figures of what the message broker keeps, beside a plain file: append and sync of the same bytes in the same run.

`python bench/broker_store.py [--messages N] [--folder DIR]`. Each batch stands for what comes in during one sync:
messages of 200 bytes for one session that lasts, and the acknowledgements of those before them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from anylog.disk.durable import RealDisk
from anylog.disk.lanes import ThreadLanes
from anylog.network.broker_store import BrokerStore
from anylog.wire.mqtt_packets import Publish
from anylog.wire.mqtt_records import Came, Finished, Opened, Record, pack, pack_message
from anylog.wire.mqtt_session import Message

WAITING = 100  # messages that are not acknowledged yet


def batches(messages: int, size: int) -> Iterator[list[Record]]:
    """Records as the broker gives them, `size` messages at a time."""
    yield [Opened("client", 1, 3600)]
    for first in range(0, messages, size):
        made: list[Record] = []
        for number in range(first, min(first + size, messages)):
            packet = Publish("plant/line/7/motor", b"x" * 200, 1)
            made.append(
                Came(pack_message(Message(packet)), (("client", number % 60_000 + 1, 1, False, (), number, ""),))
            )
            if number >= WAITING:
                made.append(Finished("client", (number - WAITING) % 60_000 + 1))
        yield made


def plain(folder: Path, messages: int, size: int) -> tuple[float, int]:
    """Records a second of a bare loop that packs, appends and syncs; and how many bytes that is."""
    path, count = folder / "plain", 0
    made = list(batches(messages, size))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    begin = time.perf_counter()
    for batch in made:
        os.write(descriptor, b"".join([pack(record) for record in batch]))
        os.fdatasync(descriptor)
        count += len(batch)
    seconds = time.perf_counter() - begin
    os.close(descriptor)
    written = path.stat().st_size
    path.unlink()
    return count / seconds, written


async def ours(folder: Path, messages: int, size: int) -> tuple[float, int, int]:
    """Records a second through the store, the most bytes that were in its folder, and how often it was made short."""
    lanes = ThreadLanes(reactor)
    store = BrokerStore(
        disk=RealDisk(),
        lane=lanes.open("broker"),
        making=lanes.open("disk", 2),
        work=lanes.open("cpu", 2),
        folder=folder / f"store{size}",
        token=os.urandom,
        now=time.time,
    )
    await store.load()
    made = list(batches(messages, size))
    count = most = looked = 0
    begin = time.perf_counter()
    for batch in made:
        await store.keep(batch)
        count += len(batch)
        if count - looked > 5000:
            looked, most = count, max(most, used(store.folder))
    seconds = time.perf_counter() - begin
    most = max(most, used(store.folder))
    await store.close()
    await lanes.stop()
    return count / seconds, most, store.counts["shortened"]


def used(folder: Path) -> int:
    """Bytes of all its files, as far as they are still there."""
    found = 0
    for path in folder.iterdir():
        try:
            found += path.stat().st_size
        except FileNotFoundError:
            continue
    return found


async def measure(folder: Path, messages: int) -> None:
    print(
        f"{'work':40} {'store':>16} {'append + sync':>16} {'ratio':>7} {'most on disk':>14} {'plain':>12} {'short':>6}"
    )
    for size, share in ((1, 50), (20, 5), (200, 1)):
        rates, yards, written, most, short = [], [], 0, 0, 0
        for _ in range(3):
            before, written = plain(folder, messages // share, size)
            rate, bytes_, short = await ours(folder / f"{len(rates)}", messages // share, size)
            after, _ = plain(folder, messages // share, size)
            rates.append(rate / ((before + after) / 2))
            yards.append((rate, (before + after) / 2))
            most = max(most, bytes_)
        rate, yard = yards[rates.index(statistics.median(rates))]
        print(
            f"{f'records, {size} messages a sync':40} {f'{rate:,.0f}/s':>16} {f'{yard:,.0f}/s':>16} {rate / yard:7.2f}"
            f" {f'{most / 1e6:.1f} MB':>14} {f'{written / 1e6:.1f} MB':>12} {short:6}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where the files are; default: a temporary folder")
    options = parser.parse_args()

    def begin() -> None:
        ended = Deferred.fromCoroutine(measure(Path(made), options.messages))
        ended.addErrback(lambda failure: failure.printTraceback())
        ended.addBoth(lambda _: reactor.stop())

    with tempfile.TemporaryDirectory(prefix="anylog-bench-", dir=options.folder) as made:
        reactor.callWhenRunning(begin)
        reactor.run()


if __name__ == "__main__":
    main()
