"""An outside Mosquitto that has queued messages of QoS 1: how soon they are delivered, beside paho alone.

Each runs in a process of its own, one after the other, on the same messages.  ``python bench/outside.py [messages]``
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from node import free_port

ROUNDS = 3
PAYLOAD = '{"device": "dev-%06d", "timestamp": "2026-01-01T00:00:00.000000Z", "value": 20.5, "humidity": 40, "seq": %d}'


def alone(port: int, name: str, count: int) -> float:
    """paho as its documentation shows it: loop_forever, automatic acknowledgement."""
    import paho.mqtt.client as paho

    seen, begin = 0, 0.0

    def received(client: Any, data: Any, message: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            client.disconnect()

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    client.on_message = received
    client.on_connect = lambda client, *_: client.subscribe("bench/#", 1)
    if not count:
        client.on_subscribe = lambda client, *_: client.disconnect()
    begin = time.perf_counter()
    client.connect("127.0.0.1", port)
    client.loop_forever()
    return time.perf_counter() - begin


def ours(port: int, name: str, count: int) -> float:
    """Our subscription; what it delivers is taken at once."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, succeed

    from anylog.net import Net
    from anylog.network.outside import OutsideBroker
    from anylog.network.outside_access import Access

    import_module("anylog.network.outside_link")  # that this takes a moment is not measured
    seen = 0

    def deliver(items: Any) -> Deferred[None]:
        nonlocal seen
        seen += len(items)
        if seen >= count:
            reactor.callLater(0, leave)  # type: ignore[attr-defined]
        return succeed(None)

    def leave() -> None:
        Deferred.fromCoroutine(broker.stop()).addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]

    broker = OutsideBroker(
        clock=reactor,  # type: ignore[arg-type]
        net=Net(reactor),
        chance=Random(1),
        read=lambda function: succeed(function()),
        token=os.urandom,
        access=Access(host="127.0.0.1", port=port, client_id=name, persistent=True),
        topics=[("bench/#", 1)],
        deliver=deliver,
    )
    begin = time.perf_counter()
    broker.start()
    reactor.run()  # type: ignore[attr-defined]
    return time.perf_counter() - begin


def run(port: int, who: str, count: int) -> float:
    """Seconds it took in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "as", who, str(port), str(count)], capture_output=True, check=True, timeout=600
    )
    return float(done.stdout)


def main(count: int) -> None:
    """The table."""
    with tempfile.TemporaryDirectory(prefix="outside-") as folder:
        port, conf = free_port(), Path(folder) / "conf"
        conf.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
        )
        broker = subprocess.Popen(["mosquitto", "-c", str(conf)], stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            rates: dict[str, list[float]] = {"paho": [], "ours": []}
            for who in rates:
                run(port, "away-" + who, 0)
            lines = "".join(f"{PAYLOAD % (number, number)}\n" for number in range(count)).encode()
            for _ in range(ROUNDS):
                subprocess.run(
                    ["mosquitto_pub", "-p", str(port), "-t", "bench/a", "-q", "1", "-l"], input=lines, check=True
                )
                for who, found in rates.items():
                    found.append(count / run(port, who, count))
            best = {who: sorted(found)[len(found) // 2] for who, found in rates.items()}
            print(
                f"paho alone {best['paho']:,.0f} messages/s, "
                f"ours {best['ours']:,.0f}: {best['ours'] / best['paho']:.2f}"
            )
        finally:
            broker.terminate()
            broker.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["as"]:
        who, port, count = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
        if who.startswith("away-"):
            print(alone(port, who[5:], 0))
        else:
            print((ours if who == "ours" else alone)(port, who, count))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
