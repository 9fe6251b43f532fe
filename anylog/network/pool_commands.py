"""Words about how much is done at once, and about nodes that did not answer (network.md 4, 9 and 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredList, DeferredSemaphore

from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, OneOf, Whole
from anylog.language.context import Context, Result

if TYPE_CHECKING:
    from anylog.node import Node

POOLS = {"query": "Query", "operator": "Operator", "rest": "REST", "tcp": "TCP", "msg": "Message"}
PATIENCE = 4.0  # seconds for a node to answer


class SetSendPool(Command):
    """Ask at most so many nodes at once by one after the other `run client`, or again as many as there are (`off`).

    A message takes no thread here, so there is no limit unless one is set.
    """

    words = "set send pool"
    operands = "[number | off]"
    least = most = 1
    examples = ("set send pool 10", "set send pool off")
    index = ("configuration", "network")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 175. What is under way is not held up."""
        if operands[0].lower() == "off":
            node.peers.sends = None
            return None
        try:
            node.peers.sends = DeferredSemaphore(Whole(least=1, most=1000).read(operands[0]))
        except ValueError as wanted:
            raise AnyLogError(175, f"set send pool: '{operands[0]}' is not {wanted}, nor off") from None
        return None


class GetSendPool(Command):
    """Show how many nodes are asked at once by commands, and how many of these places are taken (1) at this moment."""

    words = "get send pool"
    examples = ("get send pool",)
    index = ("monitor", "network")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        sends = node.peers.sends
        if sends is None:
            return Result(text="Send Pool without a limit")
        busy = sends.limit - sends.tokens
        title = f"Send Pool with {sends.limit} threads:"
        text = f"{title:<60}{[1] * busy + [0] * sends.tokens}"
        return Result(text=f"{text}, {len(sends.waiting)} waiting" if sends.waiting else text)


class GetSystemThreads(Command):
    """Show how busy the pools are: of queries, of the operator, of REST calls, of other nodes and of messages."""

    words = "get system threads"
    where = {
        "pool": OneOf(words=tuple(POOLS), help="one of them"),
        "with_details": Flag(default=False, also=("details",)),
        "reset": Flag(default=False, help="count from 0 again"),
    }
    examples = ("get system threads", "get system threads where pool = rest and with_details = true")
    index = ("monitor", "profiling")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Each as `get ... pool` shows it."""
        asked = [
            f"{name} = true" for name in ("details", "reset") if options[f"with_{name}" if name[0] == "d" else name]
        ]
        lines = []
        for pool in [options["pool"]] if options["pool"] else list(POOLS):
            try:
                found = await node.execute(
                    f"get {pool} pool" + (" where " + " and ".join(asked) if asked else ""), context
                )
                lines.append((found.text or "").strip())
            except AnyLogError as error:
                if error.number not in (3, 135):  # it does not run
                    raise
                lines.append(f"{POOLS[pool]} Pool is not declared")
        return Result(text="\r\n".join(lines))


class SetServersPing(Command):
    """Ask the nodes that did not answer whether they are there again."""

    words = "set servers ping"
    where = {"format": Format}
    examples = ("set servers ping",)
    index = ("network", "high availability")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """How many there were, and which of them answer."""
        flagged = [state.address for state in node.peers.states() if not state.active]
        asked = [node.peers.ping(address, PATIENCE) for address in flagged]
        outcome = await DeferredList(asked, consumeErrors=True)
        back = {address: fine for address, (fine, _) in zip(flagged, outcome, strict=True)}
        there = [address for address, fine in back.items() if fine]
        told = f"{len(flagged)} nodes did not respond, {len(there)} of them answer now"
        text = f"{told}: {', '.join(there)}" if there else told
        return Result(text=text, data=back, format=options["format"] or "text")


COMMANDS: tuple[type[Command], ...] = (SetSendPool, GetSendPool, GetSystemThreads, SetServersPing)
