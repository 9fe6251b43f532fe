"""Messages of Kafka (ingest.md 11): an offset is committed when what it stands for is safe here.

librdkafka has threads of its own; it is asked in a lane, for a bounded number of messages at a time, so nothing of it
waits in the reactor. What is handed over and not yet safe is bounded, too: above that the partitions are paused, and
the broker keeps what comes. Of a message that comes again, after a crash or a rebalance, the second one is recognised
by topic, partition, offset and content.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from importlib import import_module
from random import Random
from threading import Event
from typing import Any, ClassVar

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, ILane, ISouthbound, ISouthboundIntake, Lanes, Outside, unix
from anylog.language.command import Flag, OneOf, Option, Seconds, Text, Whole
from anylog.network.handed import Handed
from anylog.network.southbound.kafka_reader import OVERHEAD, Access, Came, Place, Reader
from anylog.process import SOURCES, Process
from anylog.tank import Tank
from anylog.waiting import deadline, deferring, gather, pause

HIGH, LOW = 16 << 20, 8 << 20  # bytes that are handed over and not safe: partitions are paused, and go on
SETTLE = 10.0  # seconds that stopping waits for the same
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds until the next attempt
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
DEFAULT_PORT = 9092


@define(eq=False)
class Batch(Handed):
    """What was handed over together."""

    ends: dict[Place, int]  # offsets behind it
    begins: dict[Place, int]
    messages: int


class Consumer:
    """One message client of a Kafka cluster (see `interfaces.IOutsideBroker`)."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        lanes: Lanes,
        chance: Random,
        library: Any,
        access: Access,
        outside: Outside,
        stopped: Callable[[Consumer], None],
        high: int = HIGH,
        low: int = LOW,
    ) -> None:
        """Nothing happens before `start`. `library` is confluent_kafka."""
        self.number, self.access, self.topics = outside.number, access, [name for name, _ in outside.topics]
        self.host, self.port, self.client_id = outside.broker, outside.port or DEFAULT_PORT, access.instance
        self.counts = Counts()
        self.state = "not started"
        self.last_error, self.last_error_at = "", 0.0  # unix seconds
        self.assigned = -1
        self._clock, self._lanes, self._chance, self._library = clock, lanes, chance, library
        self._deliver, self._told_stopped = outside.deliver, stopped
        self._name = f"kafka {outside.number}"
        self._tank = Tank(low=low, high=high)
        self._tank.watch(lambda full: self.counts.add("pauses") if full else None)
        self._owed: deque[Batch] = deque()
        self._settled: list[Deferred[None]] = []
        self._safe = Event()  # nothing is handed over and not safe: said to the lane
        self._safe.set()
        self._reader: Reader | None = None
        self._stopping = False
        self._waiting: Deferred[None] | None = None
        self._served: Deferred[None] | None = None
        self._failures = 0

    # ------------------------------------------------------------------ going and stopping

    def start(self) -> None:
        """See `interfaces.IOutsideBroker`."""
        self._served = Deferred.fromCoroutine(self._serve())
        self._served.addErrback(lambda failure: self.log.failure("{name} ended", failure, name=self._name))

    @deferring
    async def stop(self, forget: bool = False) -> None:
        """See `interfaces.IOutsideBroker`. What the group committed stays in any case: it is not ours alone."""
        if self._stopping:
            return
        self._stopping = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self._served is not None:
            await self._served
        self.state = "stopped"
        await self._lanes.close(self._name)
        self._told_stopped(self)

    def describe(self) -> str:
        """See `interfaces.IOutsideBroker`."""
        parts = [self.state]
        if self.assigned >= 0 and self.state == "connected":
            parts.append(f"{self.assigned} partitions")
        if self.last_error and self.state != "connected":
            parts.append(self.last_error)
        elif self.last_error:
            parts.append(f"last error: {self.last_error}")
        return ", ".join(parts)

    def figures(self) -> Mapping[str, Any]:
        """See `interfaces.IOutsideBroker`."""
        counts = self.counts
        at = datetime.fromtimestamp(self.last_error_at, UTC).strftime("%Y-%m-%d %H:%M:%S") if self.last_error else ""
        return {
            "Client ID": self.client_id,
            "Group": self.access.group,
            "Protocol": "TLS, Kafka" if self.access.tls else "Kafka",
            "Kept": counts["kept"],
            "Read again": counts["again"],
            "Without content": counts["without content"],
            "Pauses": counts["pauses"],
            "Connection errors": counts["errors"],
            "Last connection error time": at,
            "Last connection error": self.last_error,
        }

    async def _serve(self) -> None:
        lane = self._lanes.open(self._name)
        while not self._stopping:
            self.state = "connecting"
            reader = self._reader = Reader(self._library, self.access, self.topics, self._safe)
            try:
                await lane.run(reader.open)
                await self._consume(lane, reader)
            except CancelledError:
                raise
            except AnyLogError as why:
                self._error(str(why))
            except Exception as why:  # librdkafka raises what it pleases
                self._error(f"{type(why).__name__}: {why}")
            finally:
                await self._end(lane, reader)
            if not self._stopping:
                self.state = "waiting"
                await self._wait()

    async def _end(self, lane: ILane, reader: Reader) -> None:
        """What was handed over is made safe as far as possible, and committed."""
        try:
            await deadline(self._clock, SETTLE, self._all_settled(), "keeping the last messages")
        except AnyLogError as late:
            self._error(str(late))
        self._reader = None
        self.assigned = -1
        try:
            await lane.run(reader.close)
        except Exception as why:  # it is over in any case
            self._error(f"closing: {why}")

    async def _wait(self) -> None:
        """A little longer each time, and not all nodes at once."""
        seconds = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._failures, 16)) * (0.5 + 0.5 * self._chance.random())
        self._failures += 1
        self._waiting = pause(self._clock, seconds)
        try:
            await self._waiting
        except CancelledError:
            if not self._stopping:
                raise
        finally:
            self._waiting = None

    # ------------------------------------------------------------------ messages

    async def _consume(self, lane: ILane, reader: Reader) -> None:
        while not self._stopping:
            came = await lane.run(reader.look, self._tank.full)
            self.counts.add("looks")
            for fault in came.faults:
                self._error(fault)
            if came.fatal:
                return
            self.assigned = came.assigned
            if came.assigned >= 0:
                self.state = "connected"
            self._hand_over(came, reader)
            if any(each.ended and each.why for each in self._owed):
                await self._once_more(lane, reader)

    def _hand_over(self, came: Came, reader: Reader) -> None:
        self.counts.add("without content", came.without)
        if not came.messages and not came.empty:
            return
        begins: dict[Place, int] = {}
        ends: dict[Place, int] = dict(came.empty)
        size = 0
        for message in came.messages:
            place = (message.topic, message.partition)
            begins.setdefault(place, message.offset)
            ends[place] = max(message.offset + 1, ends.get(place, 0))
            size += len(message.payload) + OVERHEAD
        batch = Batch(ends, begins, len(came.messages), size=size)
        self._owed.append(batch)
        self._safe.clear()
        self._tank.put(size)
        self.counts.add("messages", batch.messages)
        if not came.messages:
            self._ended(batch, reader)
            return
        kept = maybeDeferred(self._deliver, [(message.repeat, message) for message in came.messages])
        kept.addErrback(batch.not_kept, self.log, self._name)
        kept.addCallback(lambda _: self._ended(batch, reader))
        kept.addErrback(lambda failure: self.log.failure("{name}: what was kept", failure, name=self._name))

    def _ended(self, batch: Batch, reader: Reader) -> None:
        batch.ended = True
        self._tank.take(batch.size)
        while self._owed and self._owed[0].ended and not self._owed[0].why:
            done = self._owed.popleft()
            self.counts.add("kept", done.messages)
            self._failures = 0
            if reader is self._reader:
                reader.offsets.update(done.ends)
        if all(each.ended for each in self._owed):
            if not self._owed:
                self._safe.set()
            settled, self._settled = self._settled, []
            for waited in settled:
                waited.callback(None)

    async def _once_more(self, lane: ILane, reader: Reader) -> None:
        """Something could not be kept: from there on all is read again, after a while."""
        await self._all_settled()
        back: dict[Place, int] = {}
        why = ""
        for batch in self._owed:
            why = why or batch.why
            self.counts.add("again", batch.messages)
            for place, offset in batch.begins.items():
                back[place] = min(offset, back.get(place, offset))
        self._owed.clear()
        self._safe.set()
        self._error(f"messages could not be kept: {why}")
        self.state = "waiting"
        await self._wait()
        if not self._stopping:
            await lane.run(reader.seek, back)

    def _all_settled(self) -> Deferred[None]:
        """Fires when of all that was handed over it is known whether it is safe."""
        waited: Deferred[None] = Deferred(lambda gone: self._settled.remove(gone) if gone in self._settled else None)
        if all(each.ended for each in self._owed):
            waited.callback(None)
        else:
            self._settled.append(waited)
        return waited

    def _error(self, why: str) -> None:
        self.last_error, self.last_error_at = why[:300], unix(self._clock)
        self.counts.add("errors", last=why)
        self.log.info("{name}: {why}", name=self._name, why=why)


class Consumers(Process):
    """All clients of Kafka of a node: runs as long as there is one."""

    name = "kafka"
    floor = SOURCES

    def __init__(self, intake: ISouthboundIntake) -> None:
        self.intake = intake
        self.consumers: dict[int, Consumer] = {}

    def stopped(self, consumer: Consumer) -> None:
        """One has ended, perhaps as a message client by its number."""
        if self.consumers.pop(consumer.number, None) is not None and not self.consumers:
            self.intake.ended(self.name)

    @deferring
    async def stop(self) -> None:
        """All end; what they were given is kept and committed first."""
        numbers, self.consumers = list(self.consumers), {}
        await gather([self.intake.unsubscribe(number) for number in numbers])

    def describe(self) -> str:
        """As `get processes` shows it."""
        brokers = sorted({each.access.brokers for each in self.consumers.values()})
        return f"Clients: {len(self.consumers)}, Brokers: {', '.join(brokers)}"


def library() -> Any:
    """confluent_kafka. Raises AnyLogError 99 without it."""
    try:
        return import_module("confluent_kafka")
    except ImportError as why:
        raise AnyLogError(99, f"Kafka needs confluent-kafka: install anylog[kafka] ({why})") from None


@implementer(ISouthbound)
class Kafka:
    """`run kafka consumer`."""

    name = "kafka"
    words = "run kafka consumer"
    help = """Subscribe to topics of a Kafka cluster; what comes is mapped to rows of tables.

    A topic is written as for `run msg client`, its name without wildcards; messages are JSON. An offset is committed
    when the rows are synced to disk here, and a message that comes again is taken once. A topic that was never read is
    begun with what comes from now on, or with reset = earliest at its beginning. Consumers of one group share the
    partitions; without a name each node is a group of its own and gets all.

    Clients are shown by `get msg client`; `exit kafka` ends all, `exit msg client` one. Needs anylog[kafka].
    """
    example = (
        "run kafka consumer where ip = 10.0.0.5 and port = 9092 and reset = earliest and topic = (name = sensors and"
        ' dbms = plant and table = "bring [sensor]" and column.timestamp.timestamp = "bring [ts]"'
        ' and column.value.float = "bring [value]")'
    )
    where: ClassVar[Mapping[str, Option]] = {
        "ip": Text(required=True, help="of a broker of the cluster"),
        "port": Whole(default=DEFAULT_PORT, least=1, most=65535),
        "reset": OneOf(default="latest", words=("latest", "earliest"), help="where a topic is begun"),
        "user": Text(default="unused", help="for SASL PLAIN"),
        "password": Text(default="unused"),
        "tls": Flag(default=False, also=("enable_tls",)),
        "tls_ca": Text(help="file with the authority of the brokers' certificates"),
        "group": Text(also=("group_id",), help="consumers of one group share what comes"),
        "session_timeout": Seconds(default=10.0, help="of silence, after which the group goes on without this one"),
        "log_error": Flag(default=False, help="keep messages that could not be mapped"),
        "topic": Text(required=True, many=True, late=True, nested=True, help="( name = .. and .. )"),
    }

    @deferring
    async def make(
        self,
        intake: ISouthboundIntake,
        *,
        net: Any,
        clock: Clock,
        lanes: Lanes,
        chance: Random,
        running: Consumers | None,
        **options: Any,
    ) -> Consumers | None:
        """See `interfaces.ISouthbound`. Raises AnyLogError 99 without the library, 2, 40 or 113 for its topics."""
        found = await lanes.open("cpu").run(library)  # its shared library has megabytes
        if not 1.0 <= options["session_timeout"] <= 1800.0:
            raise AnyLogError(175, "run kafka consumer: 'session_timeout' is from 1 second up to 30 minutes")
        process = running or Consumers(intake)
        group = options["group"] or f"anylog-{intake.node}"
        host = options["ip"].strip("[]")
        brokers = f"[{host}]:{options['port']}" if ":" in host else f"{host}:{options['port']}"

        def begin(outside: Outside) -> Consumer:
            names = [name for name, _ in outside.topics]
            for name in names:
                if not TOPIC.fullmatch(name) or name in (".", ".."):
                    raise AnyLogError(40, f"run kafka consumer: '{name[:80]}' is not the name of a topic of Kafka")
            told = blake2b("\n".join([brokers, *sorted(names)]).encode(), digest_size=4).hexdigest()
            return Consumer(
                clock=clock,
                lanes=lanes,
                chance=chance,
                library=found,
                access=Access(
                    brokers=brokers,
                    group=group,
                    instance=f"anylog-{intake.node}-{told}",
                    earliest=options["reset"] == "earliest",
                    user=options["user"],
                    password=options["password"],
                    tls=options["tls"] or bool(options["tls_ca"]),
                    tls_ca=options["tls_ca"] or "",
                    session=options["session_timeout"],
                ),
                outside=outside,
                stopped=process.stopped,
            )

        outside = Outside(
            number=0,
            broker=host,
            port=options["port"],
            user=options["user"],
            password=options["password"],
            client_id="",
            log=False,
            reach={},
            clean=False,
            keep_alive=0,
            topics=(),
            deliver=_nowhere,
            log_error=options["log_error"],
        )
        number, consumer = intake.subscribe(outside, options["topic"], begin)
        process.consumers[number] = consumer
        return None if running is not None else process


def _nowhere(batch: Sequence[Any]) -> Deferred[None]:
    raise AnyLogError(3, "a client that was not made")


plugin = Kafka()
