"""Who came to the message broker, what they did, and what went wrong last (ingest.md 14, `get local broker`)."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, evolve, field

from anylog.network.broker_device import Device
from anylog.wire.mqtt_packets import Reason

MOST = 2000  # rows that are remembered; what more there is counts as one of `others`


@define
class Row:
    """What clients at one address did in one way."""

    protocol: str
    ip: str
    event: str
    tls: bool
    user: str = ""  # of the last one
    success: int = 0
    last: float = 0.0  # unix seconds; 0: never
    errors: int = 0
    last_error: float = 0.0
    code: int = 0
    details: str = ""

    def well(self, number: int, at: float) -> None:
        """So many more that went well."""
        self.success += number
        self.last = max(self.last, at)

    def ill(self, number: int, at: float, why: tuple[Reason, str]) -> None:
        """So many more that did not."""
        self.errors += number
        if at >= self.last_error:
            self.last_error, self.code = at, int(why[0])
            name = why[0].name.lower().replace("_", " ")
            self.details = f"{name}: {why[1]}" if why[1] else name


_Key = tuple[str, str, str, bool]


@define
class Seen:
    """Rows by protocol, address, event and encryption."""

    _rows: dict[_Key, Row] = field(factory=dict)

    def add(self, device: Device, now: float) -> None:
        """A connection is over."""
        _tell(self._rows, device, now, True)

    def rows(self, there: Iterable[Device], now: float) -> list[Row]:
        """All that was, with those that are `there`."""
        found = {key: evolve(row) for key, row in self._rows.items()}
        for device in there:
            _tell(found, device, now, False)
        return [found[key] for key in sorted(found)]


def _tell(rows: dict[_Key, Row], device: Device, now: float, over: bool) -> None:
    link, kind = device.link, device.kind
    if not kind:
        return

    def row(event: str) -> Row:
        key = kind, device.ip, event, device.encrypted
        if key not in rows and len(rows) >= MOST:
            key = kind, "others", event, device.encrypted
        found = rows.get(key)
        if found is None:
            found = rows[key] = Row(*key)
        if link.user_name:
            found.user = link.user_name[:40]
        return found

    if kind == "UNKNOWN":
        row("CONNECT").ill(1, link.opened, (Reason.PROTOCOL_ERROR, "neither MQTT nor WebSocket"))
        return
    if device.text is not None:
        row("EVENT").well(device.text.events, now)
        return
    why = link.ended
    if link.accepted:
        row("CONNECT").well(1, link.opened)
    elif over or link.closing:
        row("CONNECT").ill(1, link.opened, why or (Reason.UNSPECIFIED_ERROR, "closed before it had connected"))
    taken = link.published - link.refused
    if taken > 0:
        row("PUBLISH").well(taken, link.last)
    if link.refused and why is not None:
        row("PUBLISH").ill(link.refused, link.last, why)
    if link.accepted and over:
        if why is not None and not link.refused:
            row("DISCONNECT").ill(1, now, why)
        else:
            row("DISCONNECT").well(1, now)
