"""Syslog by UDP and TCP (ingest.md 12): sockets for the rules that say what becomes of an event.

`Talk` is one connection; the message broker uses it, too, for what comes to its port and is not MQTT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, ClassVar

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.logger import Logger
from zope.interface import implementer

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, IEvents, IRules, ISouthbound, ISouthboundIntake, Lanes
from anylog.language.command import OneOf, Option, Text, Whole
from anylog.names import normalise
from anylog.net import INet
from anylog.network.tcp import joined
from anylog.process import DOORS, Process
from anylog.waiting import deadline, deferring, gather
from anylog.wire.syslog import MOST, Cutter

SENDERS = 2000  # of datagrams, that are told apart; of more the oldest is begun anew
CONNECTIONS = 1000
SETTLE = 10.0  # seconds that stopping waits until what came is kept


class Talk:
    """One connection that brings events of text."""

    def __init__(self, open_: Callable[[Callable[[bool], None]], IEvents], transport: Any, most: int = MOST) -> None:
        """`open_(hold)` makes where the events go."""
        self.events = 0
        self._transport, self._cutter, self._held = transport, Cutter(most), False
        self._gone = False
        self._to = open_(self._hold)

    def received(self, data: bytes) -> None:
        """Bytes, cut wherever."""
        self._give(self._cutter.feed(data))

    def over(self) -> None:
        """The connection is gone."""
        self._give(self._cutter.end())
        self._gone = True
        self._to.close()

    def _give(self, events: list[bytes]) -> None:
        if events:
            self.events += len(events)
            self._to.take(events)
        if self._cutter.lost:
            lost, self._cutter.lost = self._cutter.lost, 0
            self._to.lost(lost)

    def _hold(self, full: bool) -> None:
        if full is self._held or self._gone:
            return
        self._held = full
        if full:
            self._transport.pauseProducing()
        else:
            self._transport.resumeProducing()


class Line(Protocol):
    """A connection to the syslog server."""

    transport: Any
    _talk: Talk | None = None

    def __init__(self, server: Syslog) -> None:
        self._server = server

    def connectionMade(self) -> None:
        """Somebody is there."""
        ip = ip_of(self.transport.getPeer())
        server = self._server
        server.lines[self] = None
        server.counts.add("connections")
        # Who has nothing to say is silent, and who is gone without a word is, too: else there is no end of them.
        self.transport.setTcpKeepAlive(True)
        self._talk = Talk(lambda hold: server.rules.open(ip, server.port, hold, server.otherwise), self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Events, cut wherever."""
        assert self._talk is not None
        self._talk.received(data)

    def connectionLost(self, reason: Any = None) -> None:
        """Nobody is there any more."""
        self._server.lines.pop(self, None)
        if self._talk is not None:
            self._talk.over()


class Door(Factory):
    """Makes a `Line` of each connection, up to a number."""

    noisy = False

    def __init__(self, server: Syslog) -> None:
        self._server = server

    def buildProtocol(self, addr: IAddress | None) -> Line | None:
        """None, so that the connection is closed, when there are too many."""
        if len(self._server.lines) >= CONNECTIONS:
            self._server.counts.add("connections refused")
            return None
        return Line(self._server)


class Datagrams(DatagramProtocol):
    """Each datagram is one event (RFC 5426)."""

    def __init__(self, server: Syslog) -> None:
        self._server = server
        self._senders: dict[str, IEvents] = {}

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """From `addr`, which is address and port."""
        ip = str(addr[0]).removeprefix("::ffff:")
        sender = self._senders.get(ip)
        if sender is None:
            server = self._server
            if len(self._senders) >= SENDERS:
                self._senders.pop(next(iter(self._senders))).close()
            sender = self._senders[ip] = server.rules.open(ip, server.port, None, server.otherwise)
        self._server.counts.add("datagrams")
        event = datagram.rstrip(b"\r\n\0")
        if event:
            sender.take([event])

    def over(self) -> None:
        """No more come."""
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()


class Syslog(Process):
    """Listens for events of text."""

    name = "syslog"
    floor = DOORS
    log = Logger()

    def __init__(
        self,
        *,
        net: INet,
        clock: Clock,
        rules: IRules,
        ip: str,
        port: int,
        protocols: tuple[str, ...],
        otherwise: Any = None,
    ) -> None:
        """`otherwise`: see `interfaces.IRules.open`."""
        self.rules, self.port, self.otherwise = rules, port, otherwise
        self.counts = Counts()
        self.lines: dict[Line, None] = {}
        self._net, self._clock, self._ip, self._protocols = net, clock, ip, protocols
        self._ports: list[Any] = []
        self._datagrams = Datagrams(self)

    @deferring
    async def start(self) -> None:
        """Listen. Raises AnyLogError 3 if a port cannot be had: then on none."""
        try:
            if "tcp" in self._protocols:
                escaped = self._ip.replace(":", "\\:")
                place = f"tcp:{self.port}" + (f":interface={escaped}" if self._ip else "")
                door: Any = Door(self)
                port: Any = await self._net.listen(place, door)
                self._ports.append(port)
                self.port = self.port or int(port.getHost().port)
            if "udp" in self._protocols:
                port = await self._net.datagrams(self._ip, self.port, self._datagrams)
                self._ports.append(port)
                self.port = self.port or int(port.getHost().port)
        except (CannotListenError, OSError) as why:
            await self._close()
            raise AnyLogError(
                3, f"Failed to open syslog on {joined(self._ip or '0.0.0.0', self.port)}: {why}"
            ) from None

    async def _close(self) -> None:
        ports, self._ports = self._ports, []
        await gather([maybeDeferred(port.stopListening) for port in ports])

    @deferring
    async def stop(self) -> None:
        """Listen no more; what came is kept first, unless there is no room for it: the rules go on with that."""
        await self._close()
        for line in list(self.lines):
            line.transport.loseConnection()
        self._datagrams.over()
        try:
            await deadline(self._clock, SETTLE, self.rules.settle(), "keeping the last events")
        except AnyLogError as late:
            self.log.warn("syslog: {why}", why=str(late))

    def describe(self) -> str:
        """As `get processes` shows it."""
        place = joined(self._ip or "0.0.0.0", self.port)
        beside = "".join(
            f", {name}: {self.counts[name]:,}"
            for name in ("datagrams", "connections", "connections refused")
            if self.counts[name]
        )
        return f"Listening on: {place} ({' and '.join(self._protocols)}){beside}"


def ip_of(peer: Any) -> str:
    """The address of a peer alone."""
    return str(getattr(peer, "host", "")).removeprefix("::ffff:") or "local"


@implementer(ISouthbound)
class SyslogPlugin:
    """`run syslog server`."""

    name = "syslog"
    words = "run syslog server"
    help = """Listen for syslog by UDP and TCP, in the forms of RFC 3164 and RFC 5424.

    What becomes of an event is said by rules, see `set msg rule`. With dbms and table syslog that no rule takes goes
    there; without them it is dropped and counted. By TCP events are lines, or framed by octet counting. Nobody is
    told that an event was taken: what comes is synced in batches, and what is dropped is counted, see `get msg rules`.
    """
    example = "run syslog server where port = 1514 and dbms = plant and table = syslog and format = ietf"
    where: ClassVar[Mapping[str, Option]] = {
        "ip": Text(help="address that is listened on; all if it is not given"),
        "port": Whole(default=514, least=0, most=65535, help="0 takes a free one"),
        "protocol": OneOf(many=True, words=("udp", "tcp"), help="both if it is not given"),
        "dbms": Text(help="for syslog that no rule takes"),
        "table": Text(),
        "format": OneOf(default="bsd", words=("bsd", "ietf"), help="the columns of that table"),
    }

    def make(
        self,
        intake: ISouthboundIntake,
        *,
        net: INet,
        clock: Clock,
        lanes: Lanes,
        chance: Random,
        running: Syslog | None,
        **options: Any,
    ) -> Syslog:
        """See `interfaces.ISouthbound`. Raises AnyLogError 2 or 40."""
        otherwise = None
        if (options["dbms"] is None) is not (options["table"] is None):
            raise AnyLogError(2, "run syslog server: 'dbms' and 'table' go together")
        if options["dbms"] is not None:
            otherwise = {
                "dbms": normalise(options["dbms"], "database"),
                "table": normalise(options["table"], "table"),
                "ietf": options["format"] == "ietf",
            }
        return Syslog(
            net=net,
            clock=clock,
            rules=intake.rules,
            ip=(options["ip"] or "").strip("[]"),
            port=options["port"],
            protocols=tuple(dict.fromkeys(options["protocol"])) or ("udp", "tcp"),
            otherwise=otherwise,
        )


plugin = SyslogPlugin()
