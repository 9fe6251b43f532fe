"""Three members of a cluster on hosts of their own: one that is silent is found out, one that hears badly keeps up."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import files_laws
import pytest
from copies_laws import check, fed, told_by, unequal
from files_load import THRESHOLDS
from network_of_hosts import NetworkOfHosts, hosts_or_skip
from node import NodeProcess

COUNT = "select count(*) as n from t0"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[NetworkOfHosts]:
    hosts_or_skip()
    made = NetworkOfHosts(tmp_path / "network", 3, clusters=(1, 1, 1), every="2", copies=True, more=(THRESHOLDS,))
    try:
        yield made
    finally:
        made.remove()


def until(network: NetworkOfHosts, holds: Any, seconds: float, doing: str) -> float:
    """Wait for it; gives the seconds that took."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds, f"{doing}: not within {seconds:g} seconds\n{told_by(network)}"
        time.sleep(0.05)
    return time.monotonic() - begin


def put(node: NodeProcess, name: str) -> list[str]:
    """A file of four rows; gives their names."""
    rows = [{"name": f"{name}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n in range(4)]
    status, said = node.request("PUT", "/", json.dumps(rows).encode(), type="json", dbms="town", table="t0")
    assert status == 200, said
    return [str(row["name"]) for row in rows]


def inactive(network: NetworkOfHosts, place: int) -> set[str]:
    """The members that this one thinks are not there."""
    found = json.loads(network.operators[place].command("get distributor where format = json"))
    return {each["Peer"] for each in found["Peers"] if each["Status"] == "Not Active"}


def names_of(network: NetworkOfHosts, places: Sequence[int]) -> set[str]:
    return {network.address(f"operator{place}") for place in places}


def known(network: NetworkOfHosts) -> bool:
    """All know each other, and hold that the others are there."""
    found = [json.loads(node.command("get distributor where format = json")) for node in network.operators]
    return all([each["Status"] for each in told["Peers"]] == ["Active"] * 2 for told in found)


def silence(network: NetworkOfHosts, victim: int, number: int, rows: set[str]) -> None:
    """One is cut off while nothing goes on, noticed, missed by nobody, and back when it is heard again."""
    others = [place for place in range(3) if place != victim]
    network.hosts.cut(f"operator{victim}")
    for _ in range(6):  # in turn of all members, before it is noticed
        assert network.ask(COUNT) == [{"n": len(rows)}]
    took = [
        until(network, lambda place=place: inactive(network, place) == names_of(network, [victim]), 60, "noticing it")
        for place in others
    ]
    took.append(until(network, lambda: inactive(network, victim) == names_of(network, others), 60, "noticing there"))
    print(f"noticed after {[round(each, 1) for each in took]} s")
    for place in others:
        rows |= set(put(network.operators[place], f"cut{number}-{place}"))
    assert network.ask_until(COUNT, [{"n": len(rows)}]) == [{"n": len(rows)}]
    rows |= set(put(network.operators[victim], f"cut{number}-{victim}"))
    network.hosts.heal(f"operator{victim}")
    back = until(network, lambda: known(network), 120, "taking part again")
    equal = until(network, lambda: not unequal(network.operators, rows), 180, "being equal")
    print(f"active again after {back:.1f} s, equal after {back + equal:.1f} s")
    assert network.ask_until(COUNT, [{"n": len(rows)}]) == [{"n": len(rows)}]
    for node in network.operators:
        assert set(files_laws.names(node.home).values()) == {1}


@pytest.mark.parametrize("times", [1, pytest.param(12, marks=pytest.mark.long)])
def test_a_silent_host(network: NetworkOfHosts, times: int) -> None:
    """Nothing tells that packets are dropped; heartbeats do, and healing is enough for all to be equal."""
    network.start()
    until(network, lambda: known(network), 120, "meeting")
    rows = set(put(network.operators[0], "first"))
    until(network, lambda: not unequal(network.operators, rows), 120, "being equal at first")
    assert network.ask_until(COUNT, [{"n": len(rows)}]) == [{"n": len(rows)}]
    for number in range(times):
        silence(network, (2 + number) % 3, number, rows)


@pytest.mark.parametrize(
    ("percent", "seconds"), [(25, 4.0), *(pytest.param(each, 60.0, marks=pytest.mark.long) for each in (20, 30))]
)
def test_packets_are_lost(network: NetworkOfHosts, percent: int, seconds: float) -> None:
    """Of all packets between all hosts under load a part is lost: no reading is."""
    network.start()
    until(network, lambda: known(network), 120, "meeting")
    for name in network.hosts.addresses:
        network.hosts.lose(name, percent)
    with fed(network, percent) as senders:
        time.sleep(seconds)
    network.hosts.heal()
    check(network, senders)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 4))
def test_silence_under_load(network: NetworkOfHosts, seed: int) -> None:
    """Members under load are cut off in turn, for less than it takes to notice and for more."""
    chance = random.Random(seed)
    network.start()
    until(network, lambda: known(network), 120, "meeting")
    with fed(network, seed) as senders:
        for _ in range(6):
            victim = chance.choice(list(network.hosts.addresses))
            network.hosts.cut(victim)
            time.sleep(chance.choice([1.0, 4.0, 15.0]))
            network.hosts.heal(victim)
            time.sleep(chance.uniform(0.0, 3.0))
    check(network, senders)
