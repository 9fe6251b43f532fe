"""A subscription of an outside Mosquitto, until the rows can be queried, beside what paho alone receives.

Both have their messages waiting in a session that lasts (QoS 1, 120 bytes of JSON), and take them one after the other,
round by round.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import outside
from node import NodeProcess, free_port

ROUNDS = 3
THRESHOLD = "set buffer threshold where time = 2 seconds and volume = 1MB"
SESSION = "rows"  # the client id of the node
COMMAND = (
    f"run msg client where broker = 127.0.0.1 and port = {{port}} and client_id = {SESSION}"
    " and topic = (name = bench/# and qos = 1 and dbms = town and table = readings"
    ' and column.timestamp.timestamp = "bring [timestamp]" and column.device.str = "bring [device]"'
    ' and column.value.float = "bring [value]" and column.humidity.int = "bring [humidity]"'
    ' and column.seq.int = "bring [seq]")'
)


def listened(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", port))


def rows(folder: Path, show: Callable[..., None], count: int, goal: float = 0.7) -> None:
    """`count` messages a round."""
    node = NodeProcess(folder / "outside", commands=(THRESHOLD,))
    port, conf = free_port({node.port}), folder / "outside.conf"
    conf.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
    )
    broker = subprocess.Popen(["mosquitto", "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while not listened(port):
            if time.monotonic() > end:
                raise RuntimeError("mosquitto does not listen")
            time.sleep(0.01)
        for name in ("paho", SESSION):
            outside.run(port, f"away-{name}", 0)
        alone, ours = [], []
        for number in range(ROUNDS):
            first = number * count
            lines = "".join(f"{outside.PAYLOAD % (each % 50, each)}\n" for each in range(first, first + count))
            publish = ["mosquitto_pub", "-p", str(port), "-t", "bench/a", "-q", "1", "-l"]
            subprocess.run(publish, input=lines.encode(), check=True)
            alone.append(count / outside.run(port, "paho", count))
            node.start()
            begin = time.perf_counter()
            node.command(COMMAND.format(port=port), "POST")
            while (found := node.count("readings")) < first + count:
                if time.perf_counter() - begin > 300:
                    raise RuntimeError(f"{found} of {first + count} rows after 5 minutes")
                time.sleep(0.01)
            ours.append(count / (time.perf_counter() - begin))
            assert found == first + count, (found, first + count)
            node.stop()  # the session goes on, and has what comes meanwhile
        rate, yard = statistics.median(ours), statistics.median(alone)
        show("outside Mosquitto QoS 1, until queried", f"{rate:,.0f} rows/s", f"{yard:,.0f}/s", rate / yard,
             f">= {goal}", rate / yard >= goal)  # fmt: skip
    finally:
        broker.terminate()
        broker.wait()
        node.remove()
