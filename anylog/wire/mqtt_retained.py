"""What a message broker retains: the last message of each topic that was to be (OASIS MQTT 5.0, 3.3.1.3)."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from attrs import define, evolve, field

from anylog.wire.mqtt_limits import Counts, Limits
from anylog.wire.mqtt_packets import Publish
from anylog.wire.mqtt_session import Message
from anylog.wire.topics import Retained


@define(eq=False)
class Shelf:
    """Retained messages, within their limits."""

    limits: Limits
    counts: Counts
    bytes: int = 0
    expiring: list[tuple[str, float]] = field(factory=list)  # newly retained: topic, and unix seconds of its end
    _messages: Retained[Message] = field(factory=Retained)

    def __len__(self) -> int:
        return len(self._messages)

    def retain(self, message: Message) -> bool:
        """Retain a message, or forget one if it has no payload; whether that is to be recorded."""
        topic = message.packet.topic
        lasts = not topic.startswith("$SYS/")
        old = self._messages.get(topic)
        if not message.packet.payload:
            if old is not None:
                self.forget(topic, old)
            return old is not None and lasts
        number, size = len(self._messages) + 1, self.bytes + message.size
        if old is not None:
            number, size = number - 1, size - old.size
        if number > self.limits.retained_messages or size > self.limits.retained_bytes:
            self.counts.retained_refused += 1
            return False
        return self.replace(message) and lasts

    def replace(self, message: Message) -> bool:
        """As it was recorded, whatever the limits are by now; False if the topic has too many levels."""
        topic = message.packet.topic
        old = self._messages.get(topic)
        if old is not None:
            self.forget(topic, old)
        if message.packet.payload:
            try:
                self._messages.set(topic, message)
            except ValueError:
                self.counts.retained_refused += 1
                return False
            self.bytes += message.size
            if message.expires is not None:
                self.expiring.append((topic, message.expires))
        return True

    def forget(self, topic: str, message: Message) -> None:
        """What was retained is too old, if it is still that."""
        if self._messages.get(topic) is message:
            self._messages.remove(topic)
            self.bytes -= message.size

    def end(self, topic: str) -> float | None:
        """Unix seconds until which something is retained; None for nothing, or without an end."""
        message = self._messages.get(topic)
        return None if message is None else message.expires

    def fresh(self, topic: str, now: float) -> Message | None:
        """What is retained for a topic and is not too old."""
        message = self._messages.get(topic)
        return None if message is None or (message.expires is not None and message.expires <= now) else message

    def expire(self, topic: str, now: float) -> None:
        """What was retained goes, if it is too old."""
        message = self._messages.get(topic)
        if message is not None and message.expires is not None and message.expires <= now:
            self.forget(topic, message)

    def everything(self) -> list[Message]:
        """All messages."""
        return [message for _, message in self._messages.everything()]

    def found(self, filter: str, now: float) -> Iterator[Message]:
        """What a filter matches and is not too old."""
        for topic, message in self._messages.match(filter):
            if message.expires is not None and message.expires <= now:
                self.forget(topic, message)
            else:
                yield message


def aged(message: Message, now: float) -> Publish:
    """A message with what is left of its time ([MQTT-3.3.2-6])."""
    left = message.packet.message_expiry_interval
    if message.expires is None or left is None:
        return message.packet
    return evolve(message.packet, message_expiry_interval=max(0, min(left, ceil(message.expires - now))))
