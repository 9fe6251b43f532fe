"""Devices publish into a table of a real node that is killed with `kill -9` again and again.

What was acknowledged is in the table, each message of QoS 2 once, and one of QoS 1 as well, since it comes again with
DUP within its session (decisions.md 36). A reader whose session lasts hears the same, and what is retained stays.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from broker_clients import SECONDS, Paho, patient, until
from node import NodeProcess, free_port

CLIENT = (
    'run msg client where broker = local and topic = (name = "plant/#" and dbms = town and table = readings'
    ' and column.device.str = "bring [device]" and column.qos.int = "bring [qos]" and column.seq.int = "bring [seq]")'
)
DEVICES, WINDOW = 3, 40
Row = tuple[str, int, int]


class Device:
    """Publishes numbers one after the other, some at QoS 1 and some at QoS 2, through all lives of the node."""

    def __init__(self, node: Any, name: str, port: int, lasting: dict[str, Any]) -> None:
        self.name, self.paho, self.sent = name, Paho(node, name, port=port, **lasting), 0
        self.done: set[int] = set()  # packet ids, none of which is used twice in these tests
        self.paho.client.on_publish = lambda client, data, mid, reason, more: self.done.add(mid)
        self._open: dict[Row, int] = {}
        self.told: set[Row] = set()

    def publish(self, qos: int) -> None:
        body = {"device": self.name, "qos": qos, "seq": self.sent}
        self._open[self.name, qos, self.sent] = self.paho.client.publish(
            f"plant/{self.name}", json.dumps(body), qos
        ).mid
        self.sent += 1

    def look(self) -> int:
        """How many are not acknowledged."""
        told = [row for row, mid in self._open.items() if mid in self.done]
        for row in told:
            del self._open[row]
        self.told.update(told)
        return len(self._open)

    def every(self) -> set[Row]:
        return self.told | set(self._open)


@pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5.0"])
@pytest.mark.parametrize("rounds", [3, pytest.param(25, marks=pytest.mark.long)])
def test_rows_over_kills(tmp_path: Path, rounds: int, version: int) -> None:
    """Nothing that was acknowledged is lost and nothing is doubled, in the table and with a reader."""
    chance = Random(rounds * 10 + version)
    node = NodeProcess(tmp_path / "home")
    port = free_port({node.port})
    node.commands = (CLIENT, f"run message broker where internal_ip = 127.0.0.1 and internal_port = {port}")
    node.start(wait=300.0)
    lasting: dict[str, Any] = {"version": version, "clean": False, "prepare": (patient,)}
    if version == 5:
        lasting["properties"] = {"SessionExpiryInterval": 36_000}
    someone: Any = node
    reader = Paho(someone, "reader", port=port, **lasting)
    devices = [Device(someone, f"d{number}", port, lasting) for number in range(DEVICES)]

    def found() -> list[Row]:
        return node.asked("town", "select device, qos, seq from readings")  # type: ignore[return-value]

    try:
        reader.subscribe("plant/#", 2)
        for number in range(rounds):
            first = [device.sent for device in devices]
            least = chance.randrange(20, 200)  # of each device before the kill
            end = time.monotonic() + SECONDS
            while any(device.sent < begun + least for device, begun in zip(devices, first, strict=True)):
                assert time.monotonic() < end, "the devices cannot send"
                for device in devices:
                    if device.look() < WINDOW:
                        device.publish(chance.choice([1, 2]))
                time.sleep(0.0005)
            for device in devices:
                device.look()
            node.kill()
            safe = set().union(*(device.told for device in devices))
            retained = devices[0].paho.client.publish("last", b"%d" % number, 2, retain=True).mid
            for device in devices:
                for _ in range(chance.randrange(5)):  # while nobody is there
                    device.publish(chance.choice([1, 2]))
            node.start(wait=300.0)  # on a machine that is busy with other things, too
            until(lambda safe=safe: safe <= set(found()))
            until(lambda retained=retained: retained in devices[0].done)
        until(lambda: not any(device.look() for device in devices))
        wanted = sorted(set().union(*(device.every() for device in devices)))
        until(lambda: set(found()) >= set(wanted))
        node.command("flush buffers", "POST")
        assert sorted(found()) == wanted
        devices[0].paho.publish("plant/end", b"{}", 2)
        heard: list[Any] = []
        while not heard or heard[-1].topic != "plant/end":
            heard += reader.take(1)
        told = Counter((body["device"], body["qos"], body["seq"]) for body in map(_body, heard[:-1]))
        assert set(told) == set(wanted), "a reader was told something else"
        assert not [row for row, times in told.items() if row[1] == 2 and times > 1], "doubled at QoS 2"
        reader.subscribe("last", 1)
        (last,) = reader.take(1)
        assert (last.payload, last.retain) == (b"%d" % (rounds - 1), True)
        assert "Traceback" not in node.log.read_text()
    finally:
        for client in (reader, *(device.paho for device in devices)):
            client.close()
        node.remove()


def _body(message: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(message.payload)
    return body
