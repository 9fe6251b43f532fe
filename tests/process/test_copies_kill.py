"""Three operators of one cluster are killed while they are fed: nothing is lost, nothing is twice, all are equal."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from copies_laws import check, fed
from files_load import THRESHOLDS

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import Network

ROUNDS = 3


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path / "network", 3, clusters=(1, 1, 1), every="2", copies=True, more=(THRESHOLDS,))
    try:
        yield made
    finally:
        made.remove()


def storm(network: Network, rounds: int, seed: int, together: int = 1) -> None:
    """So many times some of the operators are killed and started again, at random moments under load."""
    chance = random.Random(seed)
    network.start()
    with fed(network, seed) as senders:
        for _ in range(rounds):
            time.sleep(chance.uniform(0.0, 1.5))
            victims = chance.sample(network.operators, chance.randint(1, together))
            for node in victims:
                node.kill()
            time.sleep(chance.choice([0.0, 0.0, 0.5, 2.0]))
            for node in victims:
                node.start()
    check(network, senders)


def test_members_are_killed_under_load(network: Network) -> None:
    """A sample of the storm: each time one of the three."""
    storm(network, ROUNDS, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 22))
def test_many_kills(network: Network, seed: int) -> None:
    """500 kills of one, two or all three members at random moments."""
    storm(network, 25, seed, together=1 + seed % 3)
