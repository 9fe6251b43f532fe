"""Addresses that were set by hand: where others answer this node, and by which it asks itself (network.md 4). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, frozen

from anylog.errors import AnyLogError

DYNAMIC = "dynamic"  # the address that a connection comes from
_GIVEN = re.compile(r"(?P<port>and\s+port\s*)?=\s*(?P<value>\S+)", re.IGNORECASE)
_PLACE = re.compile(r"(?P<ip>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


@frozen
class Given:
    """An ip or `dynamic`, and a port; 0: that of the listener."""

    ip: str
    port: int = 0

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}" if self.port else self.ip


@define
class Ways:
    """What `set reply ip` and `set self ip` said."""

    reply: Given | None = None
    itself: Given | None = None
    machine: Sequence[str] = ()  # the addresses of this machine when `set self ip = dynamic` was said

    def reply_to(self, address: str) -> str:
        """What others are told of a node that listens at `address`."""
        if self.reply is None:
            return address
        return f"{self.reply.ip}:{self.reply.port or address.rpartition(':')[2]}"

    def own(self, port: int) -> set[str]:
        """The addresses by which this node is itself, if it listens on `port`."""
        if self.itself is None:
            return set()
        ips = self.machine if self.itself.ip == DYNAMIC else [self.itself.ip]
        return {f"{ip}:{self.itself.port or port}" for ip in ips}


def read_given(text: str, words: str) -> Given:
    """`= ip`, `= dynamic`, `and port = ip:port`, `and port = dynamic:port`. Raises AnyLogError 2, 20."""
    found = _GIVEN.fullmatch(text.strip())
    if found is None:
        raise AnyLogError(2, f"{words}: '{text.strip()[:100]}'; usage: {words} = ip | {words} and port = ip:port")
    value = found["value"].strip("\"'")
    place = _PLACE.fullmatch(value)
    if place is None or bool(place["port"]) != bool(found["port"]):
        wanted = "an ip:port" if found["port"] else "an ip; with a port it is 'ip and port = ip:port'"
        raise AnyLogError(20, f"{words}: '{value[:100]}' is not {wanted}")
    port = int(place["port"] or 0)
    if place["port"] and not 0 < port < 65536:
        raise AnyLogError(20, f"{words}: '{value}': {port} is not a port")
    ip = place["ip"]
    return Given(DYNAMIC if ip.lower() == DYNAMIC else ip, port)


def answered_at(hello: Mapping[str, Any], host: str) -> Mapping[str, Any]:
    """What a peer tells of itself; where it says `dynamic` stands the host it comes from."""
    ip, _, port = str(hello.get("address", "")).rpartition(":")
    if ip != DYNAMIC:
        return hello
    return {**hello, "address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
