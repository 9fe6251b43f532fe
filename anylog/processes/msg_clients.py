"""All clients of message brokers that run on a node, by number (ingest.md 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Arrived, ILocalBroker, IOutsideBroker, Outside, Repeat, unix
from anylog.mapping.body import read_body, written
from anylog.mapping.topics import Mapped
from anylog.process import SOURCES, Process
from anylog.processes.msg_client import Client, ClientOptions, Door
from anylog.processes.msg_large import LARGE, Pace
from anylog.processes.msg_topics import Subscribed
from anylog.waiting import deferring, gather

LOCAL = "Connected to local Message Server"


@frozen
class Posted:
    """A message that came by POST."""

    topic: str
    payload: bytes


@define(kw_only=True, eq=False)
class MsgClients(Process):
    """Runs as long as there is a client. The numbers of clients are not used again while the node runs."""

    door: Door
    outside: Callable[[Outside], IOutsideBroker] | None = None  # how a broker elsewhere is reached
    name = "mqtt"
    floor = SOURCES
    _clients: dict[int, Client] = field(factory=dict)
    _number: int = 0
    _broker: ILocalBroker | None = None
    _connections: dict[int, IOutsideBroker] = field(factory=dict)
    log = Logger()

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients.values()))

    def find(self, number: int) -> Client | None:
        """The client of that number."""
        return self._clients.get(number)

    # ------------------------------------------------------------------ they come and go

    def add(
        self,
        options: ClientOptions,
        topics: Sequence[Subscribed],
        outside: Callable[[Outside], IOutsideBroker] | None = None,
    ) -> Client:
        """A client subscribes. Raises AnyLogError 40 naming the owner of a topic that is taken, 237, and as brokers do.

        `outside` makes its connection, if it is of a kind of its own. Of what fails nothing is left.
        """
        by_filter: dict[str, Subscribed] = {}
        for each in topics:
            if by_filter.setdefault(each.topic.name, each) is not each:
                raise AnyLogError(40, f"topic '{each.topic.name[:80]}' is given twice")
        client = Client(self._number + 1, options, by_filter, self.door)
        if outside is not None:
            if options.broker in ("local", "rest"):
                raise AnyLogError(40, f"'{options.broker}' is this node's own broker, not the name of a host elsewhere")
            connection: IOutsideBroker | None = self._connection(client, outside)
        else:
            connection = None if options.broker in ("local", "rest") else self._connection(client, self.outside)
        self._check(client)
        if connection is not None:
            for number, other in self._connections.items():
                mine, theirs = ((each.host, each.port, each.client_id) for each in (connection, other))
                if mine == theirs:
                    raise AnyLogError(40, f"client_id '{connection.client_id}' is that of client {number}")
            self._connections[client.number] = connection
            connection.start()
        elif options.broker == "local":
            client.state = lambda: LOCAL if self._broker is not None else "Waits for 'run message broker'"
            if self._broker is not None:
                self._subscribe(self._broker, client)
        else:
            client.state = lambda: LOCAL
        self._number += 1
        self._clients[client.number] = client
        return client

    def _check(self, client: Client) -> None:
        """A topic of a broker belongs to one client."""
        place = client.options.place
        for filter in client.topics:
            for other in self._clients.values():
                if filter in other.topics and other.options.place == place:
                    raise AnyLogError(40, f"topic '{filter[:80]}' of {place} belongs to client {other.number}")

    def _subscribe(self, broker: ILocalBroker, client: Client) -> None:
        options = client.options
        try:
            for filter, each in client.topics.items():
                broker.subscribe_local(client.name, filter, each.qos, client.deliver)
                if options.user != "unused":
                    broker.guard(client.name, filter, options.user, options.password)
        except AnyLogError:
            broker.unsubscribe_local(client.name)
            raise

    def _connection(self, client: Client, outside: Callable[[Outside], IOutsideBroker] | None) -> IOutsideBroker:
        """To a broker elsewhere; the client learns what that is called."""
        options = client.options
        if outside is None:
            raise AnyLogError(237, f"not in this build: the message broker {options.place}; there are local and rest")
        connection = outside(
            Outside(
                number=client.number,
                broker=options.broker,
                port=options.port or None,
                user=options.user,
                password=options.password,
                client_id=options.client_id,
                log=options.log,
                reach=options.reach,
                clean=options.clean,
                keep_alive=options.keep_alive,
                topics=[(filter, each.qos) for filter, each in client.topics.items()],
                deliver=client.deliver_keyed,
            )
        )
        client.options = evolve(options, broker=connection.host, port=connection.port)
        client.state, client.figures = connection.describe, connection.figures
        return connection

    @deferring
    async def remove(self, number: int, forget: bool = True) -> bool:
        """A client ends; what it was given is kept first. Whether there was one.

        With `forget` a broker elsewhere is to send no more, also not to the same client later.
        """
        client = self._clients.pop(number, None)
        if client is None:
            return False
        connection = self._connections.pop(number, None)
        if connection is not None:
            await connection.stop(forget)
        elif self._broker is not None and client.options.broker == "local":
            self._broker.unsubscribe_local(client.name)
        client.stop()
        return True

    def use(self, broker: ILocalBroker | None) -> None:
        """The node's own broker runs from now on, or no more."""
        self._broker = broker
        if broker is None:
            return
        for client in self:
            if client.options.broker == "local":
                try:
                    self._subscribe(broker, client)
                except AnyLogError as why:
                    self.log.error("{name} cannot subscribe: {why}", name=client.name, why=str(why))

    # ------------------------------------------------------------------ a process

    def stop(self) -> Deferred[None]:
        """All clients end; with the node that comes back they go on where they were."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await gather([self.remove(number, forget=False) for number in list(self._clients)])

    def describe(self) -> str:
        """As `get processes` shows it."""
        places = {client.options.place: None for client in self}
        return f"Clients: {len(self._clients)}, Brokers: {', '.join(places)}"

    # ------------------------------------------------------------------ messages of the node itself

    @deferring
    async def told(self, messages: Sequence[Arrived]) -> None:
        """Messages for those who subscribed to their topics at the node's own broker, whether that runs or not.

        Fires when they are kept. Raises AnyLogError 226 if nobody subscribed to a topic of theirs: none is kept then.
        """
        local = [client for client in self if client.options.broker == "local"]
        given: list[tuple[Client, list[tuple[Repeat | None, Arrived]]]] = []
        for client in local:
            its: list[tuple[Repeat | None, Arrived]] = [(None, each) for each in messages if client.route(each.topic)]
            if its:
                given.append((client, its))
        for each in messages:
            if not any(client.route(each.topic) for client in local):
                raise AnyLogError(226, f"nobody subscribed to '{each.topic[:80]}' with 'broker = local'")
        await gather([client.deliver_keyed(its) for client, its in given])

    # ------------------------------------------------------------------ messages by POST

    def products(self) -> Sequence[str]:
        """See `interfaces.IPosts`."""
        return [client.options.user_agent for client in self._posted_to()]

    def _posted_to(self) -> list[Client]:
        return [client for client in self._clients.values() if client.options.broker == "rest"]

    def posted(self, product: str, topic: str, body: bytes, key: str) -> Deferred[int]:
        """See `interfaces.IPosts`."""
        return Deferred.fromCoroutine(self._post(product, topic, body, key))

    async def _post(self, product: str, topic: str, body: bytes, key: str) -> int:
        client, name = self._addressed(product, topic)
        to = client.route(name)
        if to is None:
            raise AnyLogError(167, f"Unrecognized topic '{name[:80]}'")
        clock = self.door.clock
        entries = await self.door.lane.run(read_body, body) if len(body) > LARGE else read_body(body)
        now = unix(clock)
        fault: AnyLogError | None = None
        mapped: list[list[Mapped]] = []
        taken: list[tuple[Repeat | None, Posted]] = []
        pace = Pace(clock)
        for place, entry in enumerate(entries):
            await pace.rest(1)
            try:
                mapped.append([] if to.logged else await pace.through(to.parts(name, entry, now)))
            except AnyLogError as why:
                fault = why
                break
            known = (f"{key[:200]}.{place}", "1", True) if key else None
            taken.append((known, Posted(name, written(entry) if to.logged else b"")))
        refusals = await client.take(taken, None if to.logged else mapped, patient=False) if taken else {}
        for refusal in refusals.values():
            raise refusal
        if fault is not None:
            await client.refuse(to, Posted(name, written(entries[len(taken)])), fault)
            told = f"{len(taken)} of {len(entries)} messages processed; message {len(taken) + 1}: "
            raise AnyLogError(fault.number, told + (fault.detail or fault.text))
        return len(taken)

    def _addressed(self, product: str, topic: str) -> tuple[Client, str]:
        """Which client is meant, and the topic. Raises AnyLogError 167 without any, 163 or 6."""
        clients = self._posted_to()
        if not clients:
            raise AnyLogError(
                167, "first say 'run msg client where broker = rest and user-agent = ... and topic = (...)'"
            )
        own = [client for client in clients if client.options.user_agent == product]
        if not own:
            known = ", ".join(sorted({client.options.user_agent for client in clients}))
            raise AnyLogError(163, f"no client takes data of the 'User-Agent' '{product[:80]}', only of {known}")
        if not topic:
            return own[0], next(iter(own[0].topics))
        for client in own:
            if client.route(topic) is not None:
                return client, topic
        known = ", ".join(sorted({filter for client in own for filter in client.topics}))
        raise AnyLogError(167, f"Unrecognized topic '{topic[:80]}'; there are {known[:500]}")
