"""The pool of threads that message clients have elsewhere, and the older words that end clients (commands.md 6, 14)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Whole
from anylog.language.context import Context, Result
from anylog.processes.msg_commands import ExitMsgClient

if TYPE_CHECKING:
    from anylog.node import Node

NO_POOL = "message clients of this node need no threads: there is no pool of them"


class SetMsgClientPool(Command):
    """Taken for the sake of scripts that say it: message clients of this node need no threads, nothing changes."""

    words = "set msg client pool"
    operands = "[number]"
    least = most = 1
    examples = ("set msg client pool 4",)
    index = ("mqtt", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 175 for what is no number of threads."""
        try:
            Whole(least=1, most=1000).read(operands[0])
        except ValueError as wanted:
            raise AnyLogError(175, f"{self.words}: '{operands[0]}' is not {wanted}") from None
        return Result(text=NO_POOL)


class ExitMsgClientPool(Command):
    """Taken for the sake of scripts that say it: there is no pool to end, and the message clients go on."""

    words = "exit msg client pool"
    examples = ("exit msg client pool",)
    index = ("mqtt", "background processes")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=NO_POOL)


class ExitMqtt(Command):
    """End all message clients, or one by its number; what they were given is kept first."""

    words = "exit mqtt"
    operands = "[id or all]"
    most = 1
    examples = ("exit mqtt", "exit mqtt 1")
    index = ("background processes", "mqtt")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for what is no number."""
        return await ExitMsgClient().run(node, context, operands or ("all",))


COMMANDS: tuple[type[Command], ...] = (SetMsgClientPool, ExitMsgClientPool, ExitMqtt)
