"""The message broker of a real node under `kill -9`: nothing acknowledged is lost, nothing of QoS 2 comes twice."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from broker_clients import SECONDS, BrokerNode, Paho, answered, patient, until

EACH = 150  # messages of each QoS in a round


@pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5.0"])
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.long)])
def test_kill(tmp_path: Path, rounds: int, version: int) -> None:
    """Sessions, retained messages and exchanges that were half done go on where they were, while clients send on."""
    node = BrokerNode(tmp_path / "home")
    node.start()
    chance = Random(rounds + version)
    lasting: dict[str, Any] = {"version": version, "clean": False, "prepare": (patient,)}
    if version == 5:
        lasting["properties"] = {"SessionExpiryInterval": 3600}
    reader, writer = Paho(node, "reader", **lasting), Paho(node, "writer", **lasting)
    try:
        reader.subscribe("kept/#", 2)
        for number in range(rounds):
            sent = []
            kill = chance.uniform(0.0, 0.3)
            begin = time.monotonic()
            killed = False
            for each in range(EACH):
                for qos in (1, 2):
                    sent.append(writer.client.publish(f"kept/{qos}", b"%d" % (number * EACH + each), qos))
                if not killed and time.monotonic() - begin > kill:
                    node.kill()
                    killed = True
            if not killed:
                node.kill()
            writer.client.publish("last", b"%d" % number, 1, retain=True)
            node.start()
            until(lambda sent=sent: all(map(answered, sent)))
        wanted = rounds * EACH
        until(lambda: reader.messages.qsize() >= 2 * wanted)
        marked = writer.client.publish("kept/end", b"", 2)
        marked.wait_for_publish(SECONDS)
        got: list[Any] = []
        while not got or got[-1].topic != "kept/end":
            got += reader.take(1)
        twice = Counter(m.payload for m in got if m.topic == "kept/2")
        assert sorted(map(int, twice)) == list(range(wanted)), "lost at QoS 2"
        assert set(twice.values()) == {1}, "doubled at QoS 2"
        assert {int(m.payload) for m in got if m.topic == "kept/1"} == set(range(wanted)), "lost at QoS 1"
        reader.subscribe("last", 1)
        (last,) = reader.take(1)
        assert (last.payload, last.retain) == (b"%d" % (rounds - 1), True)
        assert "Traceback" not in node.log.read_text()
    finally:
        for client in (reader, writer):
            client.close()
        node.remove()
