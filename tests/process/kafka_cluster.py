"""A Kafka cluster for tests: librdkafka's own, which speaks the protocol over TCP within this process."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

confluent_kafka = pytest.importorskip("confluent_kafka", reason="the extra kafka is not installed")


class Cluster:
    """Some brokers, as long as this lives, and a producer to them. Topics are made when first named: 4 partitions."""

    def __init__(self, brokers: int = 1) -> None:
        self.producer: Any = confluent_kafka.Producer({"test.mock.num.brokers": brokers, "bootstrap.servers": "none"})
        known = self.producer.list_topics(timeout=30).brokers.values()
        self.addresses = [(each.host, each.port) for each in known]

    @property
    def host(self) -> str:
        return str(self.addresses[0][0])

    @property
    def port(self) -> int:
        return int(self.addresses[0][1])

    def make(self, *topics: str) -> None:
        """Topics that are there before anything comes."""
        for topic in topics:
            self.producer.list_topics(topic, timeout=30)

    def send(self, topic: str, values: Iterable[Any], **more: Any) -> None:
        """One message for each value, as JSON unless it is bytes or None; returns when all are there."""
        for value in values:
            body = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
            self.producer.produce(topic, body, on_delivery=self._told, **more)
            self.producer.poll(0)
        assert self.producer.flush(60) == 0

    def _told(self, error: Any, message: Any) -> None:
        assert error is None, error
