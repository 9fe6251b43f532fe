"""librdkafka's consumer, asked in a lane: plain values in, plain values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from threading import Event
from typing import Any, NamedTuple

from attrs import frozen

from anylog.interfaces import Repeat

OVERHEAD = 300  # bytes of memory that a message costs beside its content
AT_ONCE, BYTES_AT_ONCE = 1000, 2 << 20  # messages, and bytes, of one hand-over
POLL = 0.2  # seconds that the lane waits for a first message
PATIENCE = 10.0  # seconds for an answer of the broker where we wait for one
REVOKED = 5.0  # seconds that a partition we lose waits for what we have of it to be safe


class Message(NamedTuple):
    """One message; a NamedTuple since there are many."""

    topic: str
    payload: bytes
    partition: int
    offset: int
    time: int  # milliseconds since 1970 as its producer or the broker says; -1: not said

    @property
    def repeat(self) -> Repeat:
        """What tells that it is the same, whenever it comes: nothing marks it when it comes again.

        A topic that was made anew counts from 0 again, and so do those of another cluster. Time and content are part of
        the key, not its token, so that what others have at the same place does not make this one forgotten.
        """
        digest = blake2b(self.payload, digest_size=8).hexdigest()
        return f"{self.topic}:{self.partition}:{self.offset}:{self.time:x}:{digest}", "1", True


Place = tuple[str, int]  # topic and partition


@frozen(kw_only=True)
class Access:
    """How a cluster is reached."""

    brokers: str
    group: str
    instance: str  # by which the group knows this consumer again after a restart
    earliest: bool
    user: str = "unused"
    password: str = "unused"
    tls: bool = False
    tls_ca: str = ""
    session: float = 10.0  # seconds of silence after which the group gives its partitions to others

    def settings(self) -> dict[str, Any]:
        """As librdkafka is told."""
        told: dict[str, Any] = {
            "bootstrap.servers": self.brokers,
            "client.id": self.instance,
            "group.id": self.group,
            "group.instance.id": self.instance,
            "session.timeout.ms": int(self.session * 1000),
            "heartbeat.interval.ms": max(int(self.session * 300), 100),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # Where we began is committed (see `Reader.assigned`). If that place is gone, what is left is all read.
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 16 << 10,
            "fetch.wait.max.ms": 100,
            "reconnect.backoff.max.ms": 10_000,
        }
        secret = self.user not in ("", "unused")
        if secret:
            told |= {"sasl.mechanism": "PLAIN", "sasl.username": self.user, "sasl.password": self.password}
        told["security.protocol"] = ("SASL_" if secret else "") + ("SSL" if self.tls else "PLAINTEXT")
        if self.tls_ca:
            told["ssl.ca.location"] = self.tls_ca
        return told


@frozen
class Came:
    """What one look at librdkafka gave: plain values only."""

    messages: Sequence[Message]
    empty: Mapping[Place, int]  # the offset after messages without content
    without: int  # how many those were
    faults: Sequence[str]
    fatal: bool
    assigned: int  # partitions that are ours; -1: the group has not answered yet


class Reader:
    """librdkafka's consumer. All is called in one lane, and so are its callbacks, from within `look`."""

    def __init__(self, library: Any, access: Access, topics: Sequence[str], safe: Event) -> None:
        self._library, self._access, self._topics, self._safe = library, access, topics, safe
        self._consumer: Any = None
        self._faults: list[str] = []
        self._fatal = False
        self._paused = False
        self._ours: dict[Place, Any] = {}
        self._answered = False
        self.offsets: dict[Place, int] = {}  # that are safe; written by the reactor, item by item
        self._told: dict[Place, int] = {}  # the last ones that the broker was told
        # What the look under way has found.
        self._messages: list[Message] = []
        self._empty: dict[Place, int] = {}
        self._without: Counter[Place] = Counter()

    def open(self) -> None:
        """Begin; connecting is done behind it. Raises what librdkafka says of settings."""
        told = {**self._access.settings(), "error_cb": self._fault, "on_commit": self._committed}
        self._consumer = self._library.Consumer(told)
        self._consumer.subscribe(
            list(self._topics), on_assign=self.assigned, on_revoke=self._revoked, on_lost=self._gone
        )

    def _fault(self, error: Any) -> None:
        self._faults.append(error.str())
        self._fatal = self._fatal or bool(error.fatal())

    def assigned(self, consumer: Any, parts: Sequence[Any]) -> None:
        """Partitions are ours. Of one that we never read it is written down where we begin, before we read it."""
        self._answered = True
        library = self._library
        try:
            known = consumer.committed(list(parts), timeout=PATIENCE)
            begun = []
            for part in known:
                if part.error is not None:
                    raise library.KafkaException(part.error)
                if part.offset < 0:
                    first, last = consumer.get_watermark_offsets(part, timeout=PATIENCE)
                    part.offset = first if self._access.earliest else last
                    begun.append(part)
            if begun:
                consumer.commit(offsets=begun, asynchronous=False)
        except library.KafkaException as why:
            # Without that place nothing may be read: what is skipped now would never be missed.
            self._faults.append(f"where to begin is not known: {why.args[0].str()}")
            self._fatal = True
            return
        consumer.assign(known)
        self._ours.update({(part.topic, part.partition): part for part in known})
        if self._paused:
            consumer.pause(known)

    def _revoked(self, consumer: Any, parts: Sequence[Any]) -> None:
        """Others get them: what we have is made safe and committed first, or it comes to them once more."""
        if self._ours:
            self._safe.wait(REVOKED)
            self.commit(wait=True)
        self._gone(consumer, parts)

    def _gone(self, consumer: Any, parts: Sequence[Any]) -> None:
        gone = {(part.topic, part.partition) for part in parts}
        for place in gone:
            for known in (self._ours, self.offsets, self._told, self._empty, self._without):
                known.pop(place, None)
        # What was not handed over yet comes to those who get the partition, from where it was committed.
        self._messages = [each for each in self._messages if (each.topic, each.partition) not in gone]

    def _committed(self, error: Any, parts: Sequence[Any]) -> None:
        """What the broker did not take is told again, unless it was told of more meanwhile: nothing else may come."""
        for part in parts:
            place, why = (part.topic, part.partition), part.error if error is None else error
            if why is not None and place in self._ours and self._told.get(place) == part.offset:
                self.offsets.setdefault(place, part.offset)
                self._faults.append(f"{part.topic}: offsets cannot be committed: {why.str()}")

    def look(self, hold: bool) -> Came:
        """What came, at most so much. With `hold` partitions are paused, and the group is told that we live."""
        consumer, library = self._consumer, self._library
        if hold is not self._paused and self._ours:
            (consumer.pause if hold else consumer.resume)(list(self._ours.values()))
        self._paused = hold
        self.commit()
        self._messages, self._empty, self._without = [], {}, Counter()
        size, wait = 0, POLL
        while len(self._messages) < AT_ONCE and size < BYTES_AT_ONCE:
            found = consumer.poll(wait)  # a callback may take away what was found before
            if found is None:
                break
            wait = 0.0
            error = found.error()
            if error is not None:
                if error.code() != library.KafkaError._PARTITION_EOF:
                    self._faults.append(f"{found.topic() or ''}: {error.str()}".removeprefix(": "))
                    self._fatal = self._fatal or bool(error.fatal())
                continue
            value, part, offset = found.value(), found.partition(), found.offset()
            if value is None:
                self._empty[(found.topic(), part)] = offset + 1
                self._without[(found.topic(), part)] += 1
                continue
            self._messages.append(Message(found.topic(), value, part, offset, found.timestamp()[1]))
            size += len(value) + OVERHEAD
        faults, self._faults = self._faults, []
        assigned = len(self._ours) if self._answered else -1
        return Came(self._messages, self._empty, self._without.total(), faults[:20], self._fatal, assigned)

    def commit(self, wait: bool = False) -> None:
        """Tell the broker what is safe."""
        parts = []
        for place in list(self.offsets):
            offset = self.offsets.pop(place)
            if place in self._ours:
                self._told[place] = offset
                parts.append(self._library.TopicPartition(*place, offset))
        if parts:
            try:
                self._consumer.commit(offsets=parts, asynchronous=not wait)
            except self._library.KafkaException as why:
                self._faults.append(f"offsets cannot be committed: {why.args[0].str()}")
                for part in parts:
                    self.offsets.setdefault((part.topic, part.partition), part.offset)

    def seek(self, offsets: Mapping[Place, int]) -> None:
        """Read from there once more."""
        for place, offset in offsets.items():
            if place in self._ours:
                try:
                    self._consumer.seek(self._library.TopicPartition(*place, offset))
                except self._library.KafkaException as why:
                    self._faults.append(f"{place[0]}: reading again: {why.args[0].str()}")
                    self._fatal = True

    def close(self) -> None:
        """Commit what is safe, and leave."""
        if self._consumer is not None:
            self.commit(wait=True)
            self._ours = {}
            self._consumer.close()
            self._consumer = None
