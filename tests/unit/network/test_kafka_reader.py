"""librdkafka's consumer as it is asked, with a stand-in that says when the group takes partitions away."""

from __future__ import annotations

from collections import deque
from threading import Event
from typing import Any

from attrs import define, field, frozen

from anylog.network.southbound.kafka_reader import Access, Reader


@frozen
class Part:
    """A partition with an offset."""

    topic: str
    partition: int
    offset: int = -1001
    error: Any = None


@frozen
class Record:
    """A message as librdkafka gives it."""

    number: int
    content: bytes | None
    part: int = 0

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return self.part

    def offset(self) -> int:
        return self.number

    def value(self) -> bytes | None:
        return self.content

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_800_000_000_000


class Refused(Exception):
    """What librdkafka raises."""


class Failed:
    """An error of a commit."""

    def str(self) -> str:
        return "rebalance in progress"


@define(eq=False)
class Library:
    """confluent_kafka, and the one consumer that is made with it. `coming` is what polls give, one after the other."""

    coming: deque[Any] = field(factory=deque)
    begun: dict[tuple[str, int], int] = field(factory=dict)  # what the group has committed
    commits: list[dict[int, int]] = field(factory=list)
    settings: dict[str, Any] = field(factory=dict)
    on: dict[str, Any] = field(factory=dict)
    refusing: bool = False
    KafkaException: type[Exception] = Refused

    class KafkaError:
        _PARTITION_EOF = -191

    def TopicPartition(self, topic: str, partition: int, offset: int = -1001) -> Part:
        return Part(topic, partition, offset)

    def Consumer(self, settings: dict[str, Any]) -> Library:
        self.settings = settings
        return self

    def subscribe(self, topics: list[str], **on: Any) -> None:
        self.on = on

    def committed(self, parts: list[Part], timeout: float) -> list[Part]:
        return [Part(each.topic, each.partition, self.begun[each.topic, each.partition]) for each in parts]

    def assign(self, parts: list[Part]) -> None:
        pass

    def commit(self, offsets: list[Part], asynchronous: bool) -> None:
        if self.refusing:
            raise Refused(Failed())
        self.commits.append({each.partition: each.offset for each in offsets})

    def poll(self, wait: float) -> Any:
        found = self.coming.popleft() if self.coming else None
        return found() if callable(found) else found

    def assigned(self, *partitions: int) -> None:
        """The group gives partitions, from within a poll."""
        for each in partitions:
            self.begun.setdefault(("t", each), 0)
        self.on["on_assign"](self, [Part("t", each) for each in partitions])

    def revoked(self, *partitions: int) -> None:
        """It takes them away."""
        self.on["on_revoke"](self, [Part("t", each) for each in partitions])


def reader() -> tuple[Reader, Library]:
    library, safe = Library(), Event()
    safe.set()
    made = Reader(library, Access(brokers="b:1", group="g", instance="i", earliest=True), ["t"], safe)
    made.open()
    return made, library


def test_what_a_partition_had_goes_with_it() -> None:
    """A message that was read, but not handed over when its partition went to another, is for that one alone."""
    made, library = reader()
    library.coming.append(lambda: library.assigned(0, 1))
    made.look(False)
    library.coming.extend([Record(0, b"ours", 1), Record(0, b"theirs"), Record(1, None), lambda: library.revoked(0)])
    came = made.look(False)
    assert [each.payload for each in came.messages] == [b"ours"] and came.empty == {}


def test_it_comes_back() -> None:
    """A partition that came back is read from where it was committed: what was dropped comes again, once."""
    made, library = reader()
    library.coming.append(lambda: library.assigned(0))
    made.look(False)
    library.coming.extend([Record(0, b"a"), lambda: library.revoked(0), lambda: library.assigned(0), Record(0, b"a")])
    found = [each.payload for _ in range(4) for each in made.look(False).messages]
    assert found == [b"a"]


def test_an_offset_is_told_until_it_is_taken() -> None:
    """A commit that failed is made again, though no message comes; one that a later one has overtaken is not."""
    made, library = reader()
    library.coming.append(lambda: library.assigned(0, 1))
    made.look(False)
    made.offsets.update({("t", 0): 5, ("t", 1): 7})
    made.look(False)
    assert library.commits == [{0: 5, 1: 7}]
    told = library.settings["on_commit"]
    library.coming.append(lambda: told(None, [Part("t", 0, 5), Part("t", 1, 7, Failed())]))
    faults = made.look(False).faults
    made.look(False)
    assert library.commits == [{0: 5, 1: 7}, {1: 7}] and "rebalance in progress" in faults[0]
    made.offsets[("t", 1)] = 9
    made.look(False)
    library.coming.append(lambda: told(Failed(), [Part("t", 1, 7)]))
    made.look(False)
    made.look(False)
    assert library.commits == [{0: 5, 1: 7}, {1: 7}, {1: 9}]


def test_a_commit_that_cannot_even_be_sent() -> None:
    """It is tried again at the next look, and said."""
    made, library = reader()
    library.coming.append(lambda: library.assigned(0))
    made.look(False)
    made.offsets[("t", 0)] = 5
    library.refusing = True
    assert "rebalance in progress" in made.look(False).faults[0]
    library.refusing = False
    assert made.look(False).faults == [] and library.commits == [{0: 5}]
