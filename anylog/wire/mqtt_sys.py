"""What a message broker tells of itself below `$SYS/broker`, under the names that Mosquitto made common."""

from __future__ import annotations

from attrs import define, field

from anylog.wire.mqtt_deliver import Delivery
from anylog.wire.mqtt_packets import Publish


@define(eq=False)
class SelfReport:
    """Counters as topics, each retained, and published when it changed."""

    delivery: Delivery
    _told: dict[str, str] = field(factory=dict)

    def publish(self, clients: int, seconds: float) -> None:
        """Tell what changed, of so many connected clients after so many seconds."""
        delivery = self.delivery
        counts, known = delivery.counts, len(delivery.sessions)
        dropped = counts.dropped_slow + counts.dropped_full + counts.dropped_large + counts.dropped_shared
        values = {
            "uptime": f"{int(seconds)} seconds",
            "clients/connected": clients,
            "clients/disconnected": known - clients,
            "clients/total": known,
            "bytes/received": counts.bytes_in,
            "bytes/sent": counts.bytes_out,
            "messages/received": counts.messages_in + counts.packets_in,
            "messages/sent": counts.messages_out + counts.packets_out,
            "publish/messages/received": counts.messages_in,
            "publish/messages/sent": counts.messages_out,
            "publish/messages/dropped": dropped,
            "retained messages/count": len(delivery.shelf),
            "subscriptions/count": len(delivery.routes.filters),
        }
        for name, value in values.items():
            text = str(value)
            if self._told.get(name) != text:
                self._told[name] = text
                delivery.publish(Publish(f"$SYS/broker/{name}", text.encode(), retain=True), None, None)
