"""`run msg client`: what is said in vain of the node's own brokers is refused by name (ingest.md 4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_broker_commands import Desk
from test_broker_commands import desk as desk  # a fixture

TOPIC = "topic = (name = a and dbms = town and table = t and column.v.int = 'bring [v]')"
DYNAMIC = "topic = (name = a and dbms = town and dynamic = true)"


@pytest.fixture
def asking(desk: Desk) -> Iterator[Any]:
    yield desk
    for client in desk.node.msg_clients:
        desk.node.msg_clients.remove(client.number)


@pytest.mark.parametrize(
    ("said", "number", "told"),
    [
        (f"version = 7 and {TOPIC}", 175, "'7' is not a value for 'version'"),
        (f"version = 5 and {TOPIC}", 40, "'version'"),
        (f"tls_ca = a.pem and {TOPIC}", 40, "'tls_ca'"),
        (f"tls_insecure = true and {TOPIC}", 40, "'tls_insecure'"),
        (f"clean = true and {TOPIC}", 40, "'clean'"),
        (f"keep_alive = 5 seconds and {TOPIC}", 40, "'keep_alive'"),
        (f"master_node = 10.0.0.1:32048 and {TOPIC}", 40, "'master_node'"),
        (f"master_node = nonsense and {DYNAMIC}", 20, "'nonsense' is no ip:port"),
    ],
)
@pytest.mark.parametrize("broker", ["local", "rest and user-agent = x"])
def test_in_vain(asking: Any, broker: str, said: str, number: int, told: str) -> None:
    """It names the culprit, and there is no client."""
    error = asking.refused(f"run msg client where broker = {broker} and {said}")
    assert (error.number, told in str(error)) == (number, True), str(error)
    assert list(asking.node.msg_clients) == []


@pytest.mark.parametrize(
    "said",
    [
        f"port = 32149 and log = false and version = 3.1.1 and client_id = x and {TOPIC}",
        f"master_node = 10.0.0.1:32048 and {DYNAMIC}",
    ],
)
def test_not_in_vain(asking: Any, said: str) -> None:
    """What examples say, and what has a meaning."""
    asking.ask(f"run msg client where broker = local and {said}")
    assert len(list(asking.node.msg_clients)) == 1
