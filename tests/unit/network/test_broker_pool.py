"""`get msg pool`: slots that are busy while messages are made safe, and how many messages came."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from broker_desk import Desk
from twisted.internet.defer import Deferred

from anylog.language.context import Context
from anylog.network.broker_pool_commands import GetMsgPool
from anylog.wire.mqtt_packets import Publish


def shown(desk: Desk | None, **options: bool) -> str:
    """What the command says."""
    node: Any = SimpleNamespace(
        processes=SimpleNamespace(find=lambda name: desk.broker if desk and name == "broker" else None)
    )
    told = Deferred.fromCoroutine(
        GetMsgPool().run(node, Context(), (), **GetMsgPool.read((), [(name, "true") for name in options]))
    )
    return str(told.result.text)  # type: ignore[attr-defined]


def test_pool() -> None:
    """A batch is in work until the node's own client has kept it; what came is counted, and again from a reset on."""
    assert shown(None) == "Message Pool is not declared"
    desk = Desk(threads=3)
    waits: list[Deferred[None]] = []

    def deliver(batch: Any) -> Deferred[None]:
        waits.append(Deferred())
        return waits[-1]

    desk.broker.subscribe_local("msg client 1", "a", 1, deliver)
    device = desk.client("d")
    title = f"{'Message Pool with 3 threads:':<60}"
    assert shown(desk) == f"{title}[0, 0, 0] (0)"
    device.send(Publish("a", b"1", qos=1, packet_id=1), Publish("a", b"2", qos=1, packet_id=2))
    assert shown(desk) == f"{title}[1, 0, 0] (2)"
    for number in range(3, 7):
        device.send(Publish("a", b"x" * 100, qos=1, packet_id=number))
    details = shown(desk, details=True, reset=True)
    assert details.startswith(f"{title}[1, 1, 1] (6)"), details
    assert "batches in work          |     5|" in details and "connections              |     1|" in details, details
    for wait in waits:
        wait.callback(None)
    desk.turn()
    device.send(Publish("b", b"", qos=0))
    assert shown(desk) == f"{title}[0, 0, 0] (1)"
