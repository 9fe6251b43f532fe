"""The message broker: sockets, time and the disk for a hub that knows none of them (ingest.md 7).

All that arrives in one turn of the reactor is dealt with together at its end: messages for the node's own clients are
handed over, records go to the keeper, and each connection is written to once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, DelayedCall, IRules, Keeper, unix
from anylog.net import INet
from anylog.network.broker_device import Device
from anylog.network.broker_seen import Row, Seen
from anylog.network.broker_users import Users
from anylog.network.channel import address_text
from anylog.network.southbound.syslog import Talk
from anylog.network.tcp import TcpOptions, joined
from anylog.process import DOORS, Process
from anylog.tank import Tank
from anylog.waiting import deferring, pause
from anylog.wire.mqtt_hub import Hub
from anylog.wire.mqtt_limits import Limits
from anylog.wire.mqtt_packets import Publish, Reason
from anylog.wire.mqtt_records import Came
from anylog.wire.mqtt_session import Link, Ticket
from anylog.wire.topics import name_fault

HELD = 64 << 20  # bytes of messages that the node's own clients may be busy with before nobody is read from
OVERHEAD = 300  # bytes of memory that a small message costs beside its topic and payload
STOP_SECONDS = 5.0  # what was begun may end this long after `exit broker`, and clients read why so long after that
BACKLOG = 4096  # connections that may wait to be accepted: a network that comes back brings all its devices at once
_LOOK = 0.05  # seconds between two looks whether it has
_LONGEST_PAUSE = 10.0  # seconds between two attempts to keep what could not be kept

# The node's own client: all that came for it in one turn, in order. When it fires the messages are dealt with, those
# named with the reason that is said; a ticket is there where a publisher waits.
Deliver = Callable[[Sequence[tuple[Ticket | None, Publish]]], "Deferred[Mapping[Ticket, int] | None]"]


@frozen(kw_only=True)
class BrokerOptions:
    """What `run message broker` was told."""

    place: TcpOptions
    threads: int = 6  # shown; work is not done in threads
    websocket: int = -1  # a further port; -1: none
    tls: Any = None  # an IOpenSSLContextFactory, for all ports
    connections: int = 10_000
    trace: int = 0


@define(eq=False)
class Local:
    """One of the node's own clients."""

    deliver: Deliver
    filters: dict[str, int] = field(factory=dict)  # with their QoS
    batch: list[tuple[Ticket | None, Publish]] = field(factory=list)


class Door(Factory):
    """Makes a `Device` of each connection, up to a number."""

    noisy = False

    def __init__(self, broker: Broker, encrypted: bool) -> None:
        self._broker, self._encrypted = broker, encrypted

    def buildProtocol(self, addr: IAddress | None) -> Device | None:
        """None, so that the connection is closed, when there are too many."""
        return Device(self._broker, self._encrypted) if self._broker.has_room() else None


class Broker(Process):
    """Takes devices that speak MQTT, and gives what they say to each other and to the node's own clients."""

    name = "broker"
    floor = DOORS
    log = Logger()

    def __init__(
        self,
        *,
        net: INet,
        clock: Clock,
        keeper: Keeper,
        options: BrokerOptions,
        limits: Limits | None = None,
        users: Users | None = None,
        client_name: Callable[[], str] | None = None,
        held: int = HELD,
        rules: IRules | None = None,
        ready: Callable[[Broker | None], None] = lambda broker: None,
    ) -> None:
        """`client_name` gives an id to a client that has none; `rules` are for what is not MQTT. `held` is in bytes: of
        what the node's own clients are busy with, and of what waits for the keeper, before nobody is read from.

        `ready` is told of this broker before anybody can come to it, so that the node's own clients subscribe first:
        what comes must find them. When it has stopped it is told None.
        """
        self.options, self.clock = options, clock
        self.users = users or Users()
        self.hub = Hub(limits or Limits(clients=options.connections), None, client_name)
        self.tank = Tank(low=held // 2, high=held)
        self.counts = Counts()
        self.devices: dict[Device, None] = {}
        self.seen = Seen()
        self.port = options.place.port
        self.websocket_port = options.websocket
        self.trace = options.trace > 1
        self.turning: DelayedCall | None = None
        self._net, self._keeper, self._ready, self._rules = net, keeper, ready, rules
        self._ports: list[Any] = []
        self._locals: dict[str, Local] = {}
        self._open: dict[Ticket, tuple[int, int]] = {}  # of several clients: those that are left, and the worst reason
        self._delivering = 0
        self._keeping = False
        self._held = held
        self._weighed = 0  # records that wait for the keeper, as far as they are in the next
        self._weight = 0  # bytes of them
        self._faults = 0  # of the keeper, one after another
        self._waiting: list[tuple[int, Deferred[None]]] = []  # for a record
        self._timer: DelayedCall | None = None
        self._wakes = 0.0  # when the timer is due
        self._paused: set[str] = set()  # why nobody is read from
        self._stopped = False
        self.messages_before = 0  # that had come when `get msg pool` was reset
        self.tank.watch(lambda full: self._hold("full", full))

    # ------------------------------------------------------------------ a process

    @deferring
    async def start(self) -> None:
        """Read what was kept, then listen. Raises AnyLogError 3 if a port cannot be had."""
        try:
            records = await self._keeper.load()
        except AnyLogError:
            await self._keeper.close()
            raise
        self.users.changed = self._judge
        self._judge()
        self._ready(self)  # before the wills of those who are gone are published
        self.hub.restore(records, self.clock.seconds())
        self.turn_soon()
        place = self.options.place
        try:
            self.port = await self._listen(place)
            if self.websocket_port >= 0:
                beside = TcpOptions(internal_ip=place.ip, internal_port=self.websocket_port, bind=place.bind)
                self.websocket_port = await self._listen(beside)
        except AnyLogError:
            self._stopped = True
            self._forget_time()
            await self._close_ports()
            self._ready(None)
            await self._keeper.close()
            raise
        self.log.info("message broker listens on {address}", address=self.addresses()[2])

    async def _listen(self, place: TcpOptions) -> int:
        """The port that is listened on."""
        door: Any = Door(self, self.options.tls is not None)
        if self.options.tls is not None:
            from twisted.protocols.tls import TLSMemoryBIOFactory

            door = TLSMemoryBIOFactory(self.options.tls, False, door)
            door.noisy = False
        try:
            port: Any = await self._net.listen(f"{place.endpoint()}:backlog={BACKLOG}", door)
        except (CannotListenError, OSError) as why:
            raise AnyLogError(3, f"Failed to open a message broker on {joined(place.ip, place.port)}: {why}") from None
        self._ports.append(port)
        return place.port or int(address_text(port.getHost()).rpartition(":")[2])

    @deferring
    async def stop(self) -> None:
        """Listen no more, answer what came, tell clients why they are closed, keep their sessions."""
        await self._close_ports()
        self._hold("stopping", True)
        await self._until(lambda: not self._delivering and not self._unkept and not self.hub.local)
        for device in list(self.devices):
            if device.text is not None:
                device.transport.loseConnection()
        if self._rules is not None:
            await self._rules.settle()
        self.hub.stop(Reason.SERVER_SHUTTING_DOWN, self.clock.seconds())
        self.turn_soon()
        await self._until(lambda: not self.devices and not self._unkept)
        self._stopped = True
        for device in list(self.devices):
            device.abort()
        self._forget_time()
        for _, waited in self._waiting:
            waited.errback(AnyLogError(506, "the message broker was stopped"))
        self._waiting = []
        self._ready(None)
        await self._keeper.close()

    @property
    def _unkept(self) -> bool:
        keep = self.hub.delivery.keep
        return keep.kept < keep.number

    async def _until(self, so: Callable[[], bool]) -> None:
        end = self.clock.seconds() + STOP_SECONDS
        while not so() and self.clock.seconds() < end:
            await pause(self.clock, _LOOK)

    async def _close_ports(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)

    def _forget_time(self) -> None:
        for call in (self._timer, self.turning):
            if call is not None and call.active():
                call.cancel()

    def describe(self) -> str:
        """As `get processes` shows it."""
        external, internal, _ = self.addresses()
        places = external if external == internal else f"{external} and {internal}"
        beside = f", WebSocket: {self.websocket_port}" if self.websocket_port >= 0 else ""
        secure = f"TLS: {self.options.tls is not None}"
        return f"Listening on: {places}, Threads Pool: {self.options.threads}{beside}, {secure}"

    @property
    def busy(self) -> int:
        """Batches that are being mapped or synced at this moment."""
        return self._delivering + self._keeping

    def addresses(self) -> tuple[str, str, str]:
        """External, internal and bound address, as `get connections` shows them."""
        return self.options.place.addresses(self.port)

    # ------------------------------------------------------------------ the node's own clients

    def subscribe_local(self, name: str, filter: str, qos: int, deliver: Deliver) -> None:
        """The node's own client `name` wants messages of a filter from now on; its `deliver` is the last one given.

        Each turn it is called once with all that came, also while it is busy with what came before. A publisher at
        QoS 1 or 2 is answered when what it returns fires; if that fails its message was not taken. Raises AnyLogError
        40 for a filter that is none, or is shared.
        """
        try:
            self.hub.subscribe_local(name, filter, qos)
        except ValueError as wrong:
            raise AnyLogError(40, f"'{filter}' cannot be subscribed: {wrong}") from None
        local = self._locals.setdefault(name, Local(deliver))
        local.deliver = deliver
        local.filters[filter] = qos

    def unsubscribe_local(self, name: str) -> bool:
        """Whether there was a client of that name. What it was given it still answers."""
        local = self._locals.pop(name, None)
        for filter in local.filters if local else ():
            self.hub.unsubscribe_local(name, filter)
        self.users.unguard(name)
        return local is not None

    def guard(self, name: str, filter: str, user: str, password: str) -> None:
        """Only who connected as that user may publish to topics of a filter, until `unsubscribe_local(name)`."""
        self.users.guard(name, filter, user, password)

    def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> Deferred[None]:
        """A message of the node itself; fires when it lasts, if it is to. Raises AnyLogError 40 for a wrong topic."""
        fault = name_fault(topic)
        if fault:
            raise AnyLogError(40, f"'{topic}' is not a topic to publish to: {fault}")
        try:
            number = self.hub.publish(Publish(topic, payload, qos, retain), self.clock.seconds())
        except ValueError as wrong:  # too long, or no text that MQTT knows
            raise AnyLogError(40, f"'{topic[:80]}' is not a topic to publish to: {wrong}") from None
        if self.turning is None:
            self.turn_soon()
        if not number:
            return succeed(None)
        waited: Deferred[None] = Deferred()
        self._waiting.append((number, waited))
        return waited

    def rows(self) -> list[Row]:
        """Who came and what they did, as `get local broker` shows it."""
        ahead = unix(self.clock) - self.clock.seconds()  # what is shown is the time of day
        rows = self.seen.rows(self.devices, self.clock.seconds())
        for row in rows:
            row.last += ahead if row.last else 0.0
            row.last_error += ahead if row.last_error else 0.0
        return rows

    # ------------------------------------------------------------------ connections

    def has_room(self) -> bool:
        """Whether another connection may come: some more than may be clients, since those are told why not."""
        most = self.options.connections
        room = len(self.devices) < most + most // 10 + 10 and not self._stopped
        if not room:
            self.counts.add("connections refused")
        return room

    def came(self, device: Device) -> None:
        """A new connection."""
        self.devices[device] = None
        device.link = self.hub.open(device, self.clock.seconds())
        if self.turning is None:
            self.turn_soon()

    def left(self, device: Device) -> None:
        """A connection is over."""
        if device not in self.devices:
            return
        del self.devices[device]
        now = self.clock.seconds()
        self.seen.add(device, now)
        if not device.link.over:
            self.hub.close(device.link, now)
        if self.turning is None:
            self.turn_soon()

    def takes_text(self, device: Device) -> bool:
        """Whether there is a rule for what a client says that does not speak MQTT."""
        return self._rules is not None and self._rules.wants(device.ip, device.port)

    def text_of(self, device: Device) -> Talk:
        """Its events go where the rules say, and the hub hears nothing of it."""
        rules = self._rules
        assert rules is not None
        device.kind = "RAW"
        self.hub.close(device.link, self.clock.seconds())
        return Talk(lambda hold: rules.open(device.ip, device.port, hold), device.transport)

    def look_at(self, link: Link) -> None:
        """A connection can be written to again."""
        self.hub.delivery.mark(link)
        if self.turning is None:
            self.turn_soon()

    # ------------------------------------------------------------------ the end of a turn

    def turn_soon(self) -> None:
        """At the end of this turn of the reactor, once."""
        if self.turning is None and not self._stopped:
            self.turning = self.clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self.turning = None
        hub = self.hub
        delivery = hub.delivery
        if delivery.local:
            self._hand_over()
        if delivery.keep.records and not self._keeping:
            self._keep()
        if delivery.keep.records:
            self._weigh()
        for link in hub.taken_dirty():
            try:
                link.peer.flush()
            except Exception:  # over one connection, of which the others must not hear
                self.log.failure("writing to {peer}", peer=link.peer.peer)
                link.peer.abort()
        due = hub.next_time()
        if due is not None and (self._timer is None or due < self._wakes):
            self._wake_at(due)
        if (delivery.dirty or delivery.local) and self.turning is None:
            self.turn_soon()

    def _wake_at(self, due: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._wakes = due
        self._timer = self.clock.callLater(max(due - self.clock.seconds(), 0.0), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.hub.tick(self.clock.seconds())
        if self.turning is None:
            self.turn_soon()

    def _hold(self, why: str, so: bool) -> None:
        """Read from nobody as long as there is a reason."""
        before = bool(self._paused)
        if so:
            self._paused.add(why)
        else:
            self._paused.discard(why)
        if before is not bool(self._paused):
            if self._paused:
                self.counts.add("pauses", last=why)
                self.hub.pause_all()
            else:
                self.hub.resume()
            self.turn_soon()

    # ------------------------------------------------------------------ what is to last

    def _keep(self) -> None:
        """One sync at a time; what comes meanwhile goes into the next one."""
        batch = self.hub.taken_records()
        self._keeping = True
        self._weighed = self._weight = 0
        self._hold("slow disk", False)
        self._try(batch.records, batch.number)

    def _weigh(self) -> None:
        """A disk that is slower than what comes is felt by those who send, also where nobody waits for an answer."""
        records = self.hub.delivery.keep.records
        for record in records[self._weighed :]:
            self._weight += OVERHEAD + (len(record.message) if type(record) is Came else 0)
        self._weighed = len(records)
        if self._weight > self._held:
            self._hold("slow disk", True)

    def _try(self, records: Sequence[Any], number: int) -> None:
        if self._stopped:
            return
        kept = maybeDeferred(self._keeper.keep, records)
        kept.addCallbacks(
            lambda _: self._kept(number), lambda failure: self._not_kept(failure, records, number)
        ).addErrback(self._broken, "after a sync")

    def _kept(self, number: int) -> None:
        self._keeping = False
        if self._faults:
            self._faults = 0
            self._hold("cannot keep", False)
        self.hub.kept(number)
        while self._waiting and self._waiting[0][0] <= number:
            self._waiting.pop(0)[1].callback(None)
        self.turn_soon()

    def _not_kept(self, failure: Failure, records: Sequence[Any], number: int) -> None:
        """Nothing is acknowledged, nobody is read from, and it is tried again."""
        self._faults += 1
        self.counts.add("syncs failed", last=failure.getErrorMessage())
        if self._faults == 1:
            self.log.error("the message broker cannot keep what it is given: {why}", why=failure.getErrorMessage())
        self._hold("cannot keep", True)
        wait = min(0.1 * 2 ** min(self._faults, 10), _LONGEST_PAUSE)
        self.clock.callLater(wait, self._try, records, number)

    # ------------------------------------------------------------------ the node's own clients at work

    def _hand_over(self) -> None:
        """Each of the node's own clients gets what came for it."""
        came, self.hub.delivery.local = self.hub.delivery.local, []
        busy: dict[str, Local] = {}
        locals_ = self._locals
        for ticket, packet, names in came:
            there = 0
            for name in names:
                local = locals_.get(name)
                if local is not None:
                    local.batch.append((ticket, packet))
                    busy[name] = local
                    there += 1
            if ticket is not None:
                if there == 0:  # it unsubscribed in this very turn
                    self.hub.done(ticket)
                elif there > 1:
                    self._open[ticket] = there, 0
        for name, local in busy.items():
            batch, local.batch = local.batch, []
            size = sum(_size(packet) for _, packet in batch)
            self._delivering += 1
            self.tank.put(size)
            given = maybeDeferred(local.deliver, batch)
            given.addErrback(self._refused, name, batch).addCallback(self._delivered, batch, size)
            given.addErrback(self._broken, name)

    def _refused(self, failure: Failure, name: str, batch: Sequence[tuple[Ticket | None, Publish]]) -> Any:
        """One of the node's own clients failed: nothing of the batch was taken."""
        self.counts.add("messages not taken", len(batch), f"{name}: {failure.getErrorMessage()}")
        if not failure.check(AnyLogError):
            self.log.failure("{name} failed with what it was given", failure, name=name)
        return {ticket: Reason.UNSPECIFIED_ERROR for ticket, _ in batch if ticket is not None}

    def _delivered(
        self, reasons: Mapping[Ticket, int] | None, batch: Sequence[tuple[Ticket | None, Publish]], size: int
    ) -> None:
        self._delivering -= 1
        self.tank.take(size)
        if not reasons and not self._open:
            self.hub.done_all([ticket for ticket, _ in batch if ticket is not None])
            if self.turning is None:
                self.turn_soon()
            return
        said = reasons or {}
        done, open_ = self.hub.done, self._open
        for ticket, _ in batch:
            if ticket is None:
                continue
            reason = said.get(ticket, 0)
            if open_ and ticket in open_:
                left, worst = open_.pop(ticket)
                reason = max(reason, worst)
                if left > 1:
                    open_[ticket] = left - 1, reason
                    continue
            if reason:
                done(ticket, Reason(reason))
            else:
                done(ticket)
        if self.turning is None:
            self.turn_soon()

    def _broken(self, failure: Failure, name: str) -> None:
        self.log.failure("a fault of the message broker: {name}", failure, name=name)

    def _judge(self) -> None:
        """The rules changed."""
        self.hub.judge(self._may if self.users.rules else None)

    def _may(self, link: Link, action: str, topic: str) -> bool | None:
        device: Device = link.peer
        if action != "connect":
            return self.users.may(link.user_name or device.common_name(), link.client_id, device.proof, action, topic)
        device.proof = self.users.proof(link.password)
        if self.users.admits(link.user_name, device.common_name(), device.proof):
            return True
        self.counts.add("logins refused", last=f"{link.user_name or 'nobody'} from {device.peer}")
        self.clock.callLater(1.0, self._turned_away, link)  # to guess takes time
        return None

    def _turned_away(self, link: Link) -> None:
        self.hub.admit(link, False, self.clock.seconds())
        self.turn_soon()


def _size(packet: Publish) -> int:
    """Bytes that it costs to hold a message."""
    size = OVERHEAD + len(packet.payload) + len(packet.topic)
    if packet.user_properties or packet.correlation_data:
        size += len(packet.correlation_data or b"")
        size += sum(OVERHEAD + len(key) + len(value) for key, value in packet.user_properties)
    return size
