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


class GetArchiver(_Later):
    """Not in this build: show what the archiver of images and other large values has done."""

    words = "get blobs archiver"
    examples = ("get blobs archiver",)
    guarded = False


class RunPull(_Later):
    """Not in this build: read logs of this machine, or devices, from time to time."""

    words = "run scheduled pull"
    examples = ("run scheduled pull where name = log and type = eventlog and frequency = 10 and dbms = town",)


class GetPull(_Later):
    """Not in this build: show what is read from time to time."""

    words = "get scheduled pull"
    examples = ("get scheduled pull",)
    guarded = False


COMMANDS: tuple[type[Command], ...] = (RunArchiver, GetArchiver, RunPull, GetPull)
