"""The name by which the name service knows a node's own address (language.md 3, network.md 2)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from anylog.errors import AnyLogError
from anylog.waiting import deadline

if TYPE_CHECKING:
    from anylog.node import Node

PATIENCE = 1.0  # seconds that a start waits for a name


async def name_addresses(node: Node, name_of: Callable[[str], str]) -> None:
    """Keep the name of `ip` as `dns` and `external_dns`, if others can use it; undefined if there is none in time."""
    ip = str(node.dictionary.get("ip"))
    if ip_address(ip).is_loopback:
        return
    try:
        name = await deadline(node.clock, PATIENCE, node.lanes.open("names").run(name_of, ip), f"the name of {ip}")
    except AnyLogError:
        return
    if name not in ("", ip, "localhost"):
        for key in ("dns", "external_dns"):
            node.dictionary.set(key, name)
