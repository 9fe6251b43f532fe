"""`get msg pool`: how busy the message broker is (monitoring.md 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.language.command import Command, Flag
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table
from anylog.network.broker import Broker

if TYPE_CHECKING:
    from anylog.node import Node


class GetMsgPool(Command):
    """Show how many batches of messages the message broker has in work at this moment, and how many messages came.

    The broker has no threads. Of as many slots as `run message broker` was told threads, one is busy (1) for each batch
    of messages that is being mapped or synced; more than that are in work, too. With details also the connections, and
    what is held. The number behind the slots is that of the messages that came, since it was `reset`.
    """

    words = "get msg pool"
    also = ("get message pool",)
    where = {
        "details": Flag(default=False, help="show connections, and what is held"),
        "reset": Flag(default=False, help="count from 0 again"),
    }
    examples = ("get msg pool", "get msg pool where details = true and reset = true")
    index = ("monitor", "mqtt", "message broker")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        broker = node.processes.find("broker")
        if not isinstance(broker, Broker):
            return Result(text="Message Pool is not declared")
        threads, came = broker.options.threads, broker.hub.counts.messages_in
        busy = min(broker.busy, threads)
        title = f"Message Pool with {threads} threads:"
        text = f"{title:<60}{[1] * busy + [0] * (threads - busy)} ({came - broker.messages_before:,})"
        if options["details"]:
            rows = [
                ("batches in work", broker.busy),
                ("bytes of messages in work", broker.tank.held),
                ("connections", len(broker.devices)),
                ("clients connected", broker.hub.clients),
            ]
            text += "\r\n" + bar_table(("Detail", "Number"), rows) + "\r\n"
        if options["reset"]:
            broker.messages_before = came
        return Result(text=text)


COMMANDS: tuple[type[Command], ...] = (GetMsgPool,)
