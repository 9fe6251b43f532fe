"""Processes that scripts of today name and this build does not have yet: they answer by name (commands.md 15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.context import Context, Result

if TYPE_CHECKING:
    from anylog.node import Node


class _Later(Command):
    """Known by its words alone."""

    raw = literal = True
    operands = "[where option = value and ...]"
    index = ("background processes",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 237."""
        raise AnyLogError(237, f"not in this build: {self.words}")


class RunArchiver(_Later):
    """Not in this build: move images and other large values to a database or a directory of their own."""

    words = "run blobs archiver"
    examples = ("run blobs archiver where dbms = true and folder = true and compress = false",)


COMMANDS: tuple[type[Command], ...] = (RunArchiver,)
