"""The message broker beside Mosquitto, both under the same load, one after the other in several rounds.

Mosquitto has no limits of queue and window, and keeps nothing on disk; ours has the widest that it can be given. The
sessions of all clients end with their connection, so that there is nothing that ours would have to sync. Beside each
rate stands what a message (or a connection) costs of a processor: on a machine that has other things to do that figure
is the one to look at.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node import NodeProcess, free_port
from outside_rows import listened

LOAD = Path(__file__).with_name("broker_load.py")
ROUNDS = 3
LIMITS = "max_inflight_messages = 65535 and max_queued_messages = 60000 and max_queued_bytes = 256 MB"
Show = Callable[..., None]
Found = dict[str, float]


@contextmanager
def mosquitto(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process of a Mosquitto."""
    port, conf = free_port(), folder / "mosquitto.conf"
    conf.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
    )
    broker = subprocess.Popen(["mosquitto", "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while not listened(port):
            if time.monotonic() > end:
                raise RuntimeError("mosquitto does not listen")
            time.sleep(0.01)
        yield port, broker.pid
    finally:
        broker.terminate()
        broker.wait()


@contextmanager
def ours(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process of a node with a message broker."""
    node = NodeProcess(folder / "broker", dbms="")
    port = free_port({node.port})
    node.commands = (f"run message broker where internal_ip = 127.0.0.1 and internal_port = {port} and {LIMITS}",)
    try:
        node.start()
        assert node.process is not None
        yield port, node.process.pid
    finally:
        node.remove()


def loaded(place: tuple[int, int], work: str, told: dict[str, Any]) -> Found:
    """What the load saw."""
    port, pid = place
    text = json.dumps({"work": work, "port": port, "pid": pid, **told})
    done = subprocess.run([sys.executable, str(LOAD), text], stdout=subprocess.PIPE, check=True, timeout=900)
    found: Found = json.loads(done.stdout)
    return found


def rounds(folder: Path, work: str, count: int, **told: Any) -> tuple[list[Found], list[Found]]:
    """Ours, and Mosquitto's; each broker is started anew for each round."""
    found: tuple[list[Found], list[Found]] = [], []
    for _ in range(count):
        for there, broker in zip(found, (ours, mosquitto), strict=True):
            with broker(folder) as place:
                there.append(loaded(place, work, told))
    return found


def middle(found: list[Found], what: Callable[[Found], float]) -> float:
    """The median."""
    return statistics.median(map(what, found))


def cost(found: Found) -> float:
    """Microseconds of a processor for one message."""
    return found["broker"] / found["count"] * 1e6


def busy(found: list[Found]) -> str:
    """How busy the broker was, and the load."""
    broker = 100 * middle(found, lambda each: each["broker"] / each["seconds"])
    own = 100 * middle(found, lambda each: each["own"] / each["seconds"])
    return f"{broker:.0f} %, load {own:.0f} %"


def compared(show: Show, name: str, both: tuple[list[Found], list[Found]], unit: str = "/s", least: float = 0) -> None:
    """The lines of one row: rate, and cost."""
    rate, yard = (middle(found, lambda each: each["count"] / each["seconds"]) for found in both)
    if least:
        show(name, f"{rate:,.0f}{unit}", f"{yard:,.0f}{unit}", rate / yard, f">= {least:,.0f}", rate >= least)
    else:
        show(name, f"{rate:,.0f}{unit}", f"{yard:,.0f}{unit}", rate / yard, ">= 1.0", rate >= yard)
    mine, theirs = (middle(found, cost) for found in both)
    show("  processor for one", f"{mine:.2f} us", f"{theirs:.2f} us", theirs / mine, ">= 1.0", mine <= theirs)
    print(f"  {'busy':44} {busy(both[0]):>22} {busy(both[1]):>22}", flush=True)


def broker(folder: Path, show: Show, scale: float = 1.0, only: str = "", times: int = ROUNDS) -> None:
    """All figures of the broker; `scale`: how much of each, of 1; `only`: names of works, with commas between them."""

    def some(count: int) -> int:
        return max(1000, int(count * scale) // 1000 * 1000)

    def at_most_once(subscribers: int, messages: int) -> None:
        told = {"messages": some(messages), "subscribers": subscribers, "size": 64}
        both = rounds(folder, "at_most_once", times, window=20_000 if subscribers == 1 else 2000, **told)
        compared(show, f"MQTT QoS 0, 64 B, 1 to {subscribers}", both, " delivered/s")

    def at_least_once() -> None:
        both = rounds(folder, "at_least_once", times, messages=some(300_000), publishers=10, size=200, window=200)
        compared(show, "MQTT QoS 1, 200 B JSON, 10 to 1", both)

    def exactly_once() -> None:
        both = rounds(folder, "exactly_once", times, messages=some(100_000), size=64, window=200)
        compared(show, "MQTT QoS 2, 64 B, 1 to 1, window 200", both)

    def paced() -> None:
        mine, theirs = rounds(folder, "paced", 1, messages=max(500, some(10_000)), every=1 / 500, size=200)
        late, yard = (middle(found, lambda each: each["p99"]) * 1e3 for found in (mine, theirs))
        show("MQTT QoS 1, 500/s, p99", f"{late:.2f} ms", f"{yard:.2f} ms", late / yard, "< 2 ms", late < 2)

    def storm() -> None:
        both = rounds(folder, "storm", times, clients=5000, at_once=100)
        compared(show, "MQTT 5,000 connect", both, least=8000)
        mine, theirs = (middle(found, lambda each: each["memory"] / each["count"]) * 1000 / 2**20 for found in both)
        show("  memory of 1,000 that are idle", f"{mine:.1f} MiB", f"{theirs:.1f} MiB", mine / theirs, "<= 5 MiB",
             mine <= 5)  # fmt: skip

    works = {
        "one": lambda: at_most_once(1, 1_000_000),
        "fifty": lambda: at_most_once(50, 40_000),
        "ten": at_least_once,
        "exact": exactly_once,
        "paced": paced,
        "storm": storm,
    }
    for name, work in works.items():
        if not only or name in only.split(","):
            work()


if __name__ == "__main__":
    import argparse
    import tempfile

    from run import show

    parser = argparse.ArgumentParser(description="the figures of the message broker alone")
    parser.add_argument("--only", default="", help="one, fifty, ten, exact, paced, storm")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="anylog-bench-") as made:
        broker(Path(made), show, options.scale, options.only, options.rounds)
