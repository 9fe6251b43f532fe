"""One message to an outside broker: connect, publish, wait until the broker has it, leave (ingest.md 7.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.net import INet
from anylog.network.outside import open_link
from anylog.network.outside_access import Access, Debug
from anylog.waiting import deadline
from anylog.wire.mqtt_packets import Publish

if TYPE_CHECKING:
    from anylog.network.outside_link import Link


@define(eq=False)
class Errand:
    """A listener that has one message to bring."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    done: Deferred[None] = field(factory=Deferred)  # fails with AnyLogError 81
    _sent: bool = False
    _packet_id: int = 0

    def connected(self, link: Link, session_present: bool) -> None:
        """At QoS 0 nobody answers: it has gone out before the DISCONNECT that follows it."""
        self._packet_id = link.publish(self.topic, self.payload, self.qos, self.retain)
        if not self.qos:
            self._sent = True
            link.disconnect()

    def received(self, link: Link, events: Sequence[Publish | int]) -> None:
        """Nothing was subscribed."""

    def subscribed(self, link: Link, refused: Sequence[tuple[int, str]]) -> None:
        """Nothing was subscribed."""

    def published(self, link: Link, packet_id: int, why: str) -> None:
        """PUBACK or PUBCOMP."""
        if packet_id == self._packet_id and self.qos:
            self._sent = True
            if why:
                self._end(AnyLogError(81, f"{link.access.address} does not take the message: {why}"))
            else:
                self._end(None)
            link.disconnect()

    def lost(self, link: Link, why: str) -> None:
        """The end; too early if the message had not gone out."""
        self._end(None if self._sent else AnyLogError(81, f"{link.access.address}: {why}"))

    def _end(self, error: AnyLogError | None) -> None:
        if not self.done.called:
            if error is None:
                self.done.callback(None)
            else:
                self.done.errback(error)


async def publish_outside(
    topic: str,
    payload: bytes,
    *,
    clock: Clock,
    net: INet,
    read: Callable[..., Deferred[Any]],
    token: Callable[[int], bytes],
    access: Access,
    qos: int = 0,
    retain: bool = False,
    seconds: float = 30.0,
    debug: Debug | None = None,
) -> None:
    """Returns when the broker has the message: after PUBACK or PUBCOMP, at QoS 0 when it was sent.

    Raises AnyLogError 81 if the broker cannot be reached or refuses, 26 after `seconds`, 40 and 99 as `open_link`.
    """
    errand = Errand(topic, payload, qos, retain)
    link: Link | None = None

    async def bring() -> None:
        nonlocal link
        link = await open_link(
            clock=clock, net=net, read=read, token=token, access=access, listener=errand, debug=debug
        )
        await errand.done

    try:
        await deadline(clock, seconds, Deferred.fromCoroutine(bring()), f"publishing to {access.address}")
    except BaseException:
        if link is not None:
            link.drop("given up")
        raise
