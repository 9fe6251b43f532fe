"""`run msg client` with a broker elsewhere: its options, its session, and how it stands (ingest.md 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from random import Random
from typing import Any

import orjson
from attrs import define, evolve, field
from twisted.internet.defer import Deferred

from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, ILane, Outside, unix
from anylog.net import INet
from anylog.network.outside import CONNECTED, WAITING, OutsideBroker
from anylog.network.outside_access import Debug
from anylog.network.outside_memory import Exchanges
from anylog.network.outside_token import client_of, token_of
from anylog.network.publish_commands import access_of


@define(kw_only=True, eq=False)
class OutsideClients:
    """Makes them; what they need of the node."""

    clock: Clock
    net: INet
    disk: Disk
    chance: Random
    token: Callable[[int], bytes]
    lane: Callable[[str, int], ILane]
    places: Places
    debug: Debug  # of the node: `set mqtt debug`
    home_id: Callable[[], str]

    def __call__(self, told: Outside) -> OutsideClient:
        """One that has not begun. Raises AnyLogError 40 and 175 for what is no broker, and 99 without paho."""
        try:
            import anylog.network.outside_link  # noqa: F401
        except ImportError:
            raise AnyLogError(99, "outside brokers need paho-mqtt: install anylog[mqtt]") from None
        options = {**told.reach, "port": told.port, "user": told.user, "password": told.password,
                   "client_id": client_of(told.reach, told.client_id)}  # fmt: skip
        access = access_of(
            told.broker,
            options,
            client_id="-",
            persistent=not told.clean and any(qos for _, qos in told.topics),
            keep_alive=told.keep_alive,
            token=token_of(told.reach, self.places),
        )
        if not told.client_id:
            access = evolve(access, client_id=self._name(access.address, told))
        memory = None
        if access.persistent:
            name = blake2b(f"{access.address}/{access.client_id}".encode(), digest_size=8).hexdigest()
            memory = Exchanges(
                disk=self.disk,
                lane=self.lane("outside brokers", 1),
                path=self.places.outside / f"{name}.session",
                token=self.token,
            )
        broker = OutsideBroker(
            clock=self.clock,
            net=self.net,
            chance=self.chance,
            read=self.lane("disk", 2).run,
            token=self.token,
            access=access,
            topics=told.topics,
            deliver=told.deliver,
            memory=memory,
            debug=Debug(on=True) if told.log else self.debug,
        )
        return OutsideClient(broker, self.clock)

    def _name(self, address: str, told: Outside) -> str:
        """The same after a restart, so that the broker knows us, and another for other topics: a session has what was
        subscribed in it. 23 characters, which every broker takes."""
        about = orjson.dumps([address, told.user, sorted(name for name, _ in told.topics)])
        return f"anylog-{self.home_id()[:8]}-{blake2b(about, digest_size=4).hexdigest()[:7]}"


@define(eq=False)
class OutsideClient:
    """See `interfaces.IOutsideBroker`."""

    broker: OutsideBroker
    _clock: Clock
    host: str = field(init=False)
    port: int = field(init=False)
    client_id: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        access = self.broker.access
        self.host, self.port, self.client_id = access.host, access.port, access.client_id

    def start(self) -> None:
        """Connect, soon."""
        self.broker.start()

    def stop(self, forget: bool = False) -> Deferred[None]:
        """Connect no more, see `OutsideBroker.stop`."""
        return Deferred.fromCoroutine(self.broker.stop(forget))

    def describe(self) -> str:
        """The state, and what is wrong with it."""
        broker = self.broker
        if broker.state == CONNECTED:
            if not broker.refused:
                return CONNECTED
            return "connected, refused: " + ", ".join(f"{name} ({why})" for name, why in broker.refused.items())
        text = "waiting to connect again" if broker.state == WAITING else broker.state
        return f"{text}: {broker.last_error}" if broker.last_error else text

    def figures(self) -> Mapping[str, Any]:
        """Session and counters."""
        broker, counts = self.broker, self.broker.counts
        access = broker.access
        secured = ("TLS, " if access.tls else "") + (f"WebSocket {access.websocket}, " if access.websocket else "")
        return {
            "Client ID": access.client_id,
            "Protocol": f"{secured}MQTT {'5' if access.version == 5 else '3.1.1'}",
            "Session": "lasts" if access.persistent else "ends with the connection",
            "Connected since": _moment(self._clock, broker.connected_at) if broker.state == CONNECTED else "",
            **({"Tokens renewed": counts["renewed"]} if access.token is not None else {}),
            "Connects": counts["connects"],
            "Reconnects": max(0, counts["connects"] - 1),
            "Answered": counts["answered"],
            "Repeated": counts["repeated"],
            "Not kept": counts["failed"],
            "Malformed": counts["malformed"],
            "Pauses": counts["pauses"],
            "Connection errors": counts["errors"],
            "Last connection error time": _moment(self._clock, broker.last_error_at),
            "Last connection error": broker.last_error,
        }


def _moment(clock: Clock, at: float) -> str:
    """A moment of the node's clock in UTC, empty for none."""
    if not at:
        return ""
    return datetime.fromtimestamp(unix(clock) - clock.seconds() + at, UTC).strftime("%Y-%m-%d %H:%M:%S")
